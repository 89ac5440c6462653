"""Packets in words: what stands on a ladder's arrow, short or in full."""

from typing import Final

from timewait.base.instant import show_ns
from timewait.base.seq import seq_geq, seq_leq
from timewait.record.connections import Connection
from timewait.tcp.reasons import Reason, Why
from timewait.wire.accecn import CE, COUNTERS, KINDS, counters
from timewait.wire.packet import (
    ACK,
    AE,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    URG,
    Datagram,
    IcmpMessage,
    Packet,
    Segment,
)

ORDINARY: Final = frozenset(
    {
        Why.SYN,
        Why.SYN_ACK,
        Why.HANDSHAKE_ACK,
        Why.DATA,
        Why.FIN,
        Why.ACK,
        Why.QUICK_ACK,
        Why.EVERY_SECOND,
        Why.FIN_ACK,
        Why.UDP_DATA,
        Why.FORWARDED,
    }
)
"""Reasons that go without saying on a ladder: the packet speaks for itself."""

_FLAG_NAMES: Final = (
    (SYN, "SYN"),
    (FIN, "FIN"),
    (RST, "RST"),
    (PSH, "PSH"),
    (URG, "URG"),
    (ACK, "ACK"),
    (ECE, "ECE"),
    (CWR, "CWR"),
    (AE, "AE"),
)
_ICMP4: Final = {
    (0, 0): "echo reply",
    (3, 0): "net unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 13): "prohibited",
    (8, 0): "echo request",
    (11, 0): "time exceeded",
    (11, 1): "reassembly time exceeded",
}
_ICMP6: Final = {
    (1, 0): "no route",
    (1, 1): "prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (2, 0): "packet too big",
    (3, 0): "hop limit exceeded",
    (128, 0): "echo request",
    (129, 0): "echo reply",
}


def flag_names(flags: int) -> str:
    """'SYN-ACK', 'FIN-ACK', 'PSH-ACK', 'RST'; 'no flags' for none."""
    return "-".join(name for bit, name in _FLAG_NAMES if flags & bit) or "no flags"


def why_name(packet: Packet) -> str:
    """The reason to show: 'RTO', 'WINDOW_PROBE'; '' where it goes without saying."""
    why = packet.why
    if why is None or why in ORDINARY:
        return ""
    return why.name


def why_text(packet: Packet) -> str:
    """The reason in words, with its source; '' for a packet without one."""
    why = packet.why
    if isinstance(why, Reason):
        return f"{why.name}: {why.text} ({why.source})"
    return why.name if why is not None else ""


def head(packet: Packet, connection: Connection | None) -> str:
    """Flags and relative numbers: 'PSH-ACK seq=1 ack=1 len=100', with CE behind it where it is marked."""
    if isinstance(packet, Segment):
        return _segment_head(packet, connection)
    if isinstance(packet, Datagram):
        return f"UDP {packet.sport} > {packet.dport} len={len(packet.payload)}"
    if isinstance(packet, IcmpMessage):
        names = _ICMP4 if len(packet.src) == 4 else _ICMP6
        name = names.get((packet.type, packet.code), f"type {packet.type} code {packet.code}")
        mtu = f" mtu={packet.rest & 0xFFFF}" if (packet.type, packet.code) == (3, 4) else ""
        return f"ICMP {name}{mtu}"
    kind = "fragment" if packet.more_fragments or packet.fragment_offset else "packet"
    return f"IP {kind} proto={packet.proto} offset={packet.fragment_offset}"


def _segment_head(segment: Segment, connection: Connection | None) -> str:
    seq = connection.relative_seq(segment) if connection else segment.seq
    words = [flag_names(segment.flags), f"seq={seq}"]
    if segment.flags & ACK:
        words.append(f"ack={connection.relative_ack(segment) if connection else segment.ack}")
    if segment.length:
        words.append(f"len={segment.length}")
        if segment.gso_size and segment.gso_size < segment.length:
            words.append(f"({-(-segment.length // segment.gso_size)} x {segment.gso_size})")
    if segment.tos & 3 == CE:
        words.append("CE")
    return " ".join(words)


def window_text(segment: Segment, connection: Connection | None) -> str:
    """'win=64240', scaled."""
    return f"win={connection.window(segment) if connection else segment.window}"


def options_text(segment: Segment, connection: Connection | None, *, timestamps: bool = False) -> str:
    """The options of a segment: SACK blocks always, the rest on SYNs, timestamp values on demand."""
    words: list[str] = []
    if segment.mss:
        words.append(f"mss={segment.mss}")
    if segment.wscale >= 0:
        words.append(f"ws={segment.wscale}")
    if segment.sack_permitted:
        words.append("sackOK")
    if segment.has_ts:
        if timestamps:
            words.append(f"TS={segment.tsval}/{segment.tsecr}")
        elif segment.flags & SYN:
            words.append("TS")
    if segment.fast_open is not None:
        words.append(f"TFO={segment.fast_open.hex()}" if segment.fast_open else "TFO?")
    if segment.sacks:
        words.append(_sack_text(segment, connection))
    words += [_other_text(kind, content) for kind, content in segment.other_options]
    return " ".join(words)


def _other_text(kind: int, content: bytes) -> str:
    """'e1b=1,ceb=0,e0b=1' for accurate ECN's counters as they are on the wire, 'opt77' for what has no name."""
    if kind not in KINDS:
        return f"opt{kind}"
    return ",".join(f"{COUNTERS[mark]}={value}" for mark, value in counters(kind, content)) or "accecn"


def _sack_text(segment: Segment, connection: Connection | None) -> str:
    blocks = list(segment.sacks)
    shown: list[str] = []
    for left, right in blocks:
        if connection is not None:
            peer = connection.peer(connection.side(segment.flow))
            left_shown = connection.relative(peer, left, False)
            right_shown = connection.relative(peer, right, False)
        else:
            left_shown, right_shown = left, right
        shown.append(f"{left_shown}-{right_shown}")
    if is_dsack(segment):
        rest = f" sack={','.join(shown[1:])}" if len(shown) > 1 else ""
        return f"dsack={shown[0]}{rest}"
    return f"sack={','.join(shown)}"


def is_dsack(segment: Segment) -> bool:
    """Whether the first SACK block reports a duplicate (RFC 2883 section 4)."""
    if not segment.sacks:
        return False
    left, right = segment.sacks[0]
    if seq_leq(right, segment.ack):
        return True
    if len(segment.sacks) < 2:
        return False
    low, high = segment.sacks[1]
    return seq_geq(left, low) and seq_leq(right, high)


def detail(packet: Packet, connection: Connection | None, sent: int | None, arrived: int | None) -> str:
    """Everything about a packet, a line per matter: for hover titles and comments."""
    lines = [head(packet, connection)]
    if isinstance(packet, Segment):
        words = [window_text(packet, connection), options_text(packet, connection, timestamps=True)]
        lines.append(" ".join(word for word in words if word))
        ack = f" ack {packet.ack}" if packet.flags & ACK else ""
        lines.append(f"on the wire: seq {packet.seq}{ack} window {packet.window}")
    if packet.why is not None:
        lines.append(why_text(packet))
    if sent is not None:
        lines.append(f"sent at {show_ns(sent)}")
    if arrived is not None:
        flight = f", {show_ns(arrived - sent)} on its way" if sent is not None else ""
        lines.append(f"arrived at {show_ns(arrived)}{flight}")
    return "\n".join(lines)
