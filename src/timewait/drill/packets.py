"""A script's packets as segments on the wire, and segments that came compared with those that were expected."""

from dataclasses import dataclass
from typing import Final

from timewait.base.errors import UsageError
from timewait.drill.connection import TestConnection
from timewait.drill.icmp_names import code_number, type_number
from timewait.drill.nodes import IcmpPacket, IpInfo, Option, TcpPacket, UdpPacket
from timewait.drill.signatures import fill_in, recognised
from timewait.wire import options as wire
from timewait.wire.icmp import error as icmp_error
from timewait.wire.packet import (
    ACE_REPEATED,
    ACK,
    AE,
    CWR,
    ECE,
    FIN,
    PROTO_UDP,
    PSH,
    RST,
    SYN,
    URG,
    Datagram,
    IcmpMessage,
    Packet,
    Segment,
)
from timewait.wire.serialize import serialize, wire_length

INBOUND_TTL: Final = 255
ECN: Final = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}
LETTERS: Final = (("F", FIN), ("S", SYN), ("R", RST), ("P", PSH), ("U", URG), ("E", ECE), ("W", CWR), ("A", AE),
                  (".", ACK))  # fmt: skip
ECN_FLAGS: Final = ECE | CWR | AE
PLAIN_FLAGS: Final = FIN | SYN | RST | PSH | ACK | URG
MAY_DIFFER: Final = FIN | PSH | CWR
"""Flags in which the pieces of one large segment may differ."""
KINDS: Final = {2: "mss", 3: "wscale", 4: "sackOK", 5: "sack", 8: "TS", 19: "md5", 34: "FO", 172: "ECN", 174: "ECN"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as the script says."""

    field: str
    expected: str
    found: str


class ScriptFault(UsageError):
    """The script asks for what cannot be done, found while it runs (an ecr that was never sent, say)."""


# Options


def encode_options(options: list[Option], conn: TestConnection, syn: bool, scaled: bool) -> bytes:
    """The octets of an inbound packet's options, with SACK blocks and TSecr as on the wire."""
    parts = [_encode_option(option, conn, syn, scaled) for option in options]
    raw = b"".join(parts)
    if len(raw) % 4:
        raise ScriptFault(f"the options take {len(raw)} octets, no multiple of 4: add nop or eol")
    if len(raw) > wire.MAX_LENGTH:
        raise ScriptFault(f"the options take {len(raw)} octets, only {wire.MAX_LENGTH} fit")
    return raw


def _encode_option(option: Option, conn: TestConnection, syn: bool, scaled: bool) -> bytes:
    kind, numbers = option.kind, option.numbers
    if kind == "nop":
        return b"\x01"
    if kind == "eol":
        return b"\x00"
    if kind == "mss":
        return bytes((wire.MSS, 4)) + (numbers[0] & 0xFFFF).to_bytes(2, "big")
    if kind == "wscale":
        return bytes((wire.WSCALE, 3, numbers[0] & 0xFF))
    if kind == "sackOK":
        return bytes((wire.SACK_PERMITTED, 2))
    if kind == "TS":
        ecr = conn.live_ecr(numbers[1], scaled)
        if ecr is None:
            if numbers[1] and conn.ts_script_to_live:
                raise ScriptFault(f"TS ecr {numbers[1]} echoes a value that no packet before this one was said to have")
            ecr = numbers[1]
        return bytes((wire.TIMESTAMPS, 10)) + (numbers[0] & 0xFFFFFFFF).to_bytes(4, "big") + ecr.to_bytes(4, "big")
    if kind == "sack":
        edges = b"".join(conn.live_local(edge, syn).to_bytes(4, "big") for edge in numbers)
        return bytes((wire.SACK, 2 + len(edges))) + edges
    if kind == "FO":
        cookie = option.data or b""
        return bytes((wire.FAST_OPEN, 2 + len(cookie))) + cookie
    if kind == "FOEXP":
        cookie = option.data or b""
        return bytes((wire.EXPERIMENTAL, 4 + len(cookie))) + wire.FAST_OPEN_MAGIC.to_bytes(2, "big") + cookie
    if kind == "md5":
        digest = option.data or bytes(16)
        return bytes((19, 2 + len(digest))) + digest
    order, counters = numbers[0], numbers[1:]
    return bytes((172 + 2 * order, 2 + 3 * len(counters))) + b"".join(
        (counter & 0xFFFFFF).to_bytes(3, "big") for counter in counters
    )


def decode_options(raw: bytes, conn: TestConnection, syn: bool, inbound: bool = False) -> list[Option]:
    """A live segment's options in a script's terms. Timestamps stay as on the wire."""
    found: list[Option] = []
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind in (0, 1):
            found.append(Option("nop" if kind else "eol"))
            at += 1
            continue
        size = raw[at + 1] if at + 1 < len(raw) else 0
        if size < 2 or at + size > len(raw):
            found.append(Option("broken", (), raw[at:]))
            break
        found.append(_decode_option(kind, raw[at + 2 : at + size], conn, syn, inbound))
        at += size
    return found


def _decode_option(kind: int, data: bytes, conn: TestConnection, syn: bool, inbound: bool) -> Option:
    name = KINDS.get(kind, f"kind-{kind}")
    words = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data) - 3, 4)]
    if kind in (2, 3):
        return Option(name, (int.from_bytes(data, "big"),))
    if kind == 4:
        return Option(name)
    if kind == 8:
        return Option(name, tuple(words))
    if kind == 5:
        script = conn.script_local if inbound else conn.script_remote
        return Option(name, tuple(script(edge, syn) for edge in words))
    if kind in (172, 174):
        counters = [int.from_bytes(data[at : at + 3], "big") for at in range(0, len(data) - 2, 3)]
        # Without counters there is no order to tell, and the script has one word for both kinds.
        return Option(name, (int(kind == 174 and bool(counters)), *counters))
    if kind == 254 and data[:2] == wire.FAST_OPEN_MAGIC.to_bytes(2, "big"):
        return Option("FOEXP", (), data[2:])
    return Option(name, (), data)


def show_options(options: list[Option] | None) -> str:
    """`<mss 1460,nop,wscale 8>` as a script has it; '' for none."""
    if options is None:
        return "<...>"
    return "<" + ",".join(map(show_option, options)) + ">" if options else ""


def show_option(option: Option) -> str:
    """One option as a script has it."""
    kind, numbers = option.kind, option.numbers
    if kind == "TS":
        return f"TS val {numbers[0]} ecr {numbers[1]}"
    if kind == "sack":
        return "sack " + " ".join(f"{numbers[at]}:{numbers[at + 1]}" for at in range(0, len(numbers), 2))
    if kind == "ECN":
        names = ("e1b", "ceb", "e0b") if numbers[:1] == (1,) else ("e0b", "ceb", "e1b")
        return " ".join(["ECN", *(f"{name} {count}" for name, count in zip(names, numbers[1:], strict=False))])
    if option.data is not None:
        return f"{kind} {option.data.hex()}".rstrip()
    if kind == "md5":
        return "md5 valid"
    return " ".join([kind, *map(str, numbers)])


# In


def build(packet: TcpPacket, conn: TestConnection, *, gso: int = 0, scaled: bool = False) -> Segment:
    """The segment to inject. The peer's ISN is taken from a SYN."""
    syn = bool(packet.flags & SYN)
    if syn and conn.handshaking:
        conn.script_remote_isn = packet.seq
    seg = Segment()
    conn.address(seg, True)
    _fill_ip(seg, packet.ip)
    seg.flags = wire_flags(packet)
    seg.seq = packet.seq if packet.absolute else conn.live_remote(packet.seq, syn)
    if packet.flags & ACK:
        ack = packet.ack or 0
        seg.ack = ack if packet.absolute else conn.live_local(ack, syn)
    seg.window = packet.window or 0
    seg.urgent = packet.urgent or 0
    seg.payload = bytes(packet.length)
    seg.length = packet.length
    raw = encode_options(packet.options or [], conn, syn, scaled)
    if raw:
        wire.decode(seg, raw)
        seg.raw_options = raw
        fill_in(seg, packet.options or [], conn.secret)
    if gso and packet.length > gso:
        seg.gso_size = gso
    return seg


def wire_flags(packet: TcpPacket) -> int:
    """The flags with an accurate-ECN number in its three bits."""
    if packet.ace < 0:
        return packet.flags
    return packet.flags | ace_flags(packet.ace)


def ace_flags(ace: int) -> int:
    """An accurate-ECN number as AE, CWR and ECE."""
    return (AE if ace & 4 else 0) | (CWR if ace & 2 else 0) | (ECE if ace & 1 else 0)


def _fill_ip(packet: Packet, ip: IpInfo) -> None:
    packet.ttl = INBOUND_TTL if ip.ttl is None else ip.ttl
    tos = ip.tos or 0
    if ip.ecn:
        tos = tos & 0xFC | (2 if ip.ecn == "ect01" else ECN[ip.ecn])
    packet.tos = tos
    packet.flow_label = ip.flow_label or 0
    packet.dont_fragment = len(packet.src) == 4


def build_udp(packet: UdpPacket, conn: TestConnection) -> Datagram:
    """The datagram to inject."""
    made = Datagram()
    made.src, made.dst, made.sport, made.dport = conn.remote, conn.local, conn.remote_port, conn.local_port
    made.proto = PROTO_UDP
    _fill_ip(made, packet.ip)
    made.payload = bytes(packet.length)
    return made


def build_icmp(packet: IcmpPacket, conn: TestConnection, gateway: bytes) -> IcmpMessage:
    """The error to inject, from `gateway`, quoting a segment of the connection as the stack would have sent it."""
    version = 4 if len(conn.local) == 4 else 6
    kind, code = icmp_numbers(packet, version)
    quoted = Segment()
    conn.address(quoted, False)
    quoted.flags = ACK
    quoted.ttl = 64
    quoted.dont_fragment = True
    seq, length = packet.quote or (0, 0)
    quoted.seq = conn.live_local(seq, False)
    last = conn.last_sent
    if last is not None:
        quoted.flags, quoted.ack, quoted.window = last.flags, last.ack, last.window
    quoted.payload = bytes(min(length, 1 << 16))
    quoted.length = len(quoted.payload)
    message = icmp_error(quoted, serialize(quoted), gateway, kind, code)
    if packet.mtu is not None:
        message.rest = packet.mtu
    if packet.ident is not None:
        message.rest = packet.ident << 16
    _fill_ip(message, packet.ip)
    message.dont_fragment = False
    return message


def icmp_numbers(packet: IcmpPacket, version: int) -> tuple[int, int]:
    """Type and code in an IP version. ScriptFault where it has no such name."""
    kind = type_number(packet.type_name, version)
    if kind is None:
        raise ScriptFault(f"ICMPv{version} has no type {packet.type_name!r}")
    code = code_number(kind, packet.code_name, version)
    if code is None:
        raise ScriptFault(f"ICMPv{version} type {packet.type_name!r} has no code {packet.code_name!r}")
    return kind, code


# Out


def merges(first: Segment, so_far: int, more: Segment) -> bool:
    """Whether `more` continues a segment that was cut into equal pieces (the last may be shorter)."""
    if more.seq != (first.seq + so_far) & 0xFFFFFFFF or more.length > first.length or not more.length:
        return False
    if (more.flags ^ first.flags) & ~MAY_DIFFER or more.ack != first.ack or more.window != first.window:
        return False
    return so_far % first.length == 0 and wire.encode(more) == wire.encode(first)


def merged(first: Segment, rest: list[Segment]) -> Segment:
    """The pieces as one segment."""
    if not rest:
        return first
    whole = first.copy()
    whole.payload = b"".join([bytes(piece.payload) for piece in (first, *rest)])
    whole.length = len(whole.payload)
    for piece in rest:
        whole.flags |= piece.flags & MAY_DIFFER
    return whole


def learn(expected: TcpPacket, live: Segment, conn: TestConnection) -> None:
    """Take over what a packet that the stack sent teaches: ports, its ISN, timestamps."""
    conn.learn_ports(live)
    conn.last_sent = live
    if not live.flags & (SYN | RST):
        conn.handshaking = False
    if expected.flags & SYN and live.flags & SYN:
        conn.script_local_isn = expected.seq
        conn.live_local_isn = int(live.seq)
    if live.has_ts and expected.options:
        for option in expected.options:
            if option.kind == "TS":
                conn.bind_ts(option.numbers[0], int(live.tsval))


def compare(expected: TcpPacket, live: Segment, conn: TestConnection, *, ts_tick: int = 0, tolerance: int = 0) -> list[
    Difference
]:  # fmt: skip
    """The fields of a segment that are not as expected. `learn` has been called for it."""
    found: list[Difference] = []
    syn = bool(expected.flags & SYN)
    _compare_ip(expected.ip, live, found)
    _compare_flags(expected, live, found)
    if not expected.any_seq:
        seq = live.seq if expected.absolute else conn.script_local(int(live.seq), syn)
        if seq != expected.seq:
            found.append(Difference("seq", str(expected.seq), str(seq)))
    if expected.length != live.length:
        found.append(Difference("length", str(expected.length), str(live.length)))
    elif live.length and bytes(live.payload).count(0) != live.length:
        found.append(Difference("payload", "zeros", "other octets"))
    if live.flags & ACK and expected.flags & ACK:
        ack = live.ack if expected.absolute else conn.script_remote(int(live.ack), syn)
        if ack != (expected.ack or 0):
            found.append(Difference("ack", str(expected.ack or 0), str(ack)))
    if expected.window is not None and expected.window != live.window:
        found.append(Difference("win", str(expected.window), str(live.window)))
    if (expected.urgent or 0) != live.urgent:
        found.append(Difference("urg", str(expected.urgent or 0), str(live.urgent)))
    if expected.options is not None:
        _compare_options(expected.options, live, conn, syn, ts_tick, tolerance, found)
    return found


def _compare_ip(ip: IpInfo, live: Packet, found: list[Difference]) -> None:
    ecn = live.tos & 3
    if ip.ecn and not (ecn in (1, 2) if ip.ecn == "ect01" else ecn == ECN[ip.ecn]):
        name = next(name for name, bits in ECN.items() if bits == ecn)
        found.append(Difference("ecn", ip.ecn, name))
    if ip.tos is not None and ip.tos != (live.tos if not ip.ecn else live.tos & 0xFC):
        found.append(Difference("tos", hex(ip.tos), hex(live.tos)))
    if ip.ttl is not None and ip.ttl != live.ttl:
        found.append(Difference("ttl", str(ip.ttl), str(live.ttl)))
    if ip.flow_label is not None and ip.flow_label != live.flow_label:
        found.append(Difference("flowlabel", hex(ip.flow_label), hex(live.flow_label)))


def _compare_flags(expected: TcpPacket, live: Segment, found: list[Difference]) -> None:
    if expected.ace >= 0:
        wanted = expected.flags & PLAIN_FLAGS | ace_flags(expected.ace)
    else:
        wanted = expected.flags
    got = live.flags & ~ACE_REPEATED
    if wanted != got:
        ace = expected.ace >= 0
        found.append(Difference("flags", show_flags(wanted, ace), show_flags(got, ace)))


def _compare_options(
    expected: list[Option], live: Segment, conn: TestConnection, syn: bool, ts_tick: int, tolerance: int,
    found: list[Difference],
) -> None:  # fmt: skip
    got = recognised(live, decode_options(wire.encode(live), conn, syn), conn.secret)
    same = len(got) == len(expected) and all(
        a.kind == b.kind and (a.kind == "TS" or (a.numbers == b.numbers and (a.data or b"") == (b.data or b"")))
        for a, b in zip(expected, got, strict=True)
    )
    if not same:
        found.append(
            Difference("options", show_options(expected) or "none", show_options(named_ts(got, conn)) or "none")
        )
        return
    if not ts_tick or conn.ts_first is None:
        return
    for option in expected:
        if option.kind == "TS":
            script = (option.numbers[0] - conn.ts_first[0]) & 0xFFFFFFFF
            actual = (int(live.tsval) - conn.ts_first[1]) & 0xFFFFFFFF
            if abs(script - actual) * ts_tick * 1000 > tolerance + ts_tick * 1000:
                shown = (conn.ts_first[0] + actual) & 0xFFFFFFFF
                found.append(Difference("TS val", str(option.numbers[0]), str(shown)))


def named_ts(options: list[Option], conn: TestConnection) -> list[Option]:
    """Timestamps in the script's terms, as far as they are known."""
    return [
        Option("TS", (conn.script_ts(option.numbers[0]), option.numbers[1])) if option.kind == "TS" else option
        for option in options
    ]


# Shown


def show_flags(flags: int, ace: bool = False) -> str:
    """'S.', 'P.', '-' as a script has them; with `ace` the three ECN bits as a digit."""
    shown = ""
    for letter, bit in LETTERS:
        if letter == "." and ace:
            shown += str((4 if flags & AE else 0) | (2 if flags & CWR else 0) | (1 if flags & ECE else 0))
        if flags & bit and not (ace and bit & ECN_FLAGS):
            shown += letter
    return shown or "-"


def show_segment(live: Segment, conn: TestConnection, inbound: bool, window: bool = True) -> str:
    """A segment as a script would have it, numbers relative to the ISNs."""
    syn = bool(live.flags & SYN)
    if inbound:
        seq, ack = conn.script_remote(int(live.seq), syn), conn.script_local(int(live.ack), syn)
    else:
        seq, ack = conn.script_local(int(live.seq), syn), conn.script_remote(int(live.ack), syn)
    words = ["<" if inbound else ">"]
    if live.tos & 3:
        words.append("[" + next(name for name, bits in ECN.items() if bits == live.tos & 3) + "]")
    words += [show_flags(int(live.flags)), f"{seq}:{(seq + live.length) & 0xFFFFFFFF}({live.length})"]
    if live.flags & ACK:
        words.append(f"ack {ack}")
    if window:
        words.append(f"win {live.window}")
    if live.urgent:
        words.append(f"urg {live.urgent}")
    raw = wire.encode(live)
    if raw:
        options = decode_options(raw, conn, syn, inbound)
        words.append(show_options(options if inbound else named_ts(options, conn)))
    return " ".join(words)


def show_expected(packet: TcpPacket) -> str:
    """An expected or injected packet as the script has it."""
    words = ["<" if packet.inbound else ">"]
    if packet.ip.ecn:
        words.append(f"[{packet.ip.ecn}]")
    if packet.ip.tos is not None:
        words.append(f"(tos {packet.ip.tos:#x})")
    if packet.ip.ttl is not None:
        words.append(f"(ttl {packet.ip.ttl})")
    if packet.ports:
        words.append(f"{packet.ports[0]} > {packet.ports[1]}")
    words.append(show_flags(wire_flags(packet), packet.ace >= 0))
    end = (packet.seq + packet.length) & 0xFFFFFFFF
    words.append(f"...({packet.length})" if packet.any_seq else f"{packet.seq}:{end}({packet.length})")
    if packet.ack is not None:
        words.append(f"ack {packet.ack}")
    if packet.window is not None:
        words.append(f"win {packet.window}")
    if packet.urgent is not None:
        words.append(f"urg {packet.urgent}")
    shown = show_options(packet.options)
    if shown:
        words.append(shown)
    return " ".join(words)


def show_packet(packet: Packet, conn: TestConnection, inbound: bool) -> str:
    """Any packet in a script's words."""
    if isinstance(packet, Segment):
        return show_segment(packet, conn, inbound)
    arrow = "<" if inbound else ">"
    if isinstance(packet, Datagram):
        return f"{arrow} udp ({len(packet.payload)})"
    if isinstance(packet, IcmpMessage):
        return f"{arrow} icmp type_{packet.type} code_{packet.code}"
    return f"{arrow} protocol {packet.proto}, {wire_length(packet)} octets"
