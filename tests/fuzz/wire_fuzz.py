"""Mutated packets for the wire layer: whatever comes in, WireError is the only way out.

`fuzz(iterations, seed)` is the long campaign's entry; a failure names the bytes.
"""

import random
from io import BytesIO

from timewait.base.errors import WireError
from timewait.wire import gso, icmp, pcapng, serialize, vnet_hdr
from timewait.wire.packet import (
    ACK,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    SYN,
    Datagram,
    IcmpMessage,
    Packet,
    RawPacket,
    Segment,
)
from timewait.wire.parse import parse, parse_transport

A4, B4 = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
A6, B6 = bytes.fromhex("fd" + "00" * 14 + "01"), bytes.fromhex("fd" + "00" * 14 + "02")


def _with_addresses(packet: Packet, src: bytes, dst: bytes, proto: int) -> bytes:
    packet.src, packet.dst, packet.proto = src, dst, proto
    return serialize.serialize(packet)


def _extended(inner: bytes, chain: bytes, first: int) -> bytes:
    """An IPv6 packet with extension headers put between its header and its payload."""
    size = len(inner) - 40 + len(chain)
    return inner[:4] + size.to_bytes(2, "big") + bytes((first,)) + inner[7:40] + chain + inner[40:]


def corpus() -> list[bytes]:
    """Valid packets of every kind, to be mutated."""
    found: list[bytes] = []
    for src, dst in ((A4, B4), (A6, B6)):
        syn = Segment()
        syn.sport, syn.dport, syn.seq, syn.flags = 40000, 80, 2**32 - 3, SYN
        syn.mss, syn.sack_permitted, syn.has_ts, syn.wscale, syn.fast_open = 1460, True, True, 7, b"12345678"
        found.append(_with_addresses(syn, src, dst, PROTO_TCP))
        data = Segment()
        data.sport, data.dport, data.seq, data.ack, data.flags = 40000, 80, 1, 2, ACK
        data.has_ts, data.tsval, data.tsecr, data.sacks = True, 1, 2, ((10, 20), (30, 40))
        data.payload, data.length = b"hello, world", 12
        found.append(_with_addresses(data, src, dst, PROTO_TCP))
        plain = Segment()
        plain.flags, plain.raw_options = ACK, b"\x02\x04\x05\xb4\x1e\x04ab\x13\x12" + b"m" * 16 + b"\xfe\x06\xf9\x89zz"
        found.append(_with_addresses(plain, src, dst, PROTO_TCP))
        datagram = Datagram()
        datagram.sport, datagram.dport, datagram.payload = 53, 53, b"question"
        found.append(_with_addresses(datagram, src, dst, PROTO_UDP))
        fragment = RawPacket()
        fragment.fragment_offset, fragment.more_fragments, fragment.ident = 16, True, 7
        fragment.payload = bytes(24)
        found.append(_with_addresses(fragment, src, dst, PROTO_UDP))
        v6 = len(src) == 16
        error = IcmpMessage()
        error.type, error.code, error.payload = (1, 4, found[-4]) if v6 else (3, 4, found[-4])
        found.append(_with_addresses(error, src, dst, PROTO_ICMPV6 if v6 else PROTO_ICMP))
    tcp6 = found[-5]
    hop_by_hop = bytes((60, 0, 1, 4, 0, 0, 0, 0))
    destination = bytes((43, 0, 1, 4, 0, 0, 0, 0))
    routing = bytes((51, 0, 4, 0, 0, 0, 0, 0))
    authentication = bytes((44, 1)) + bytes(10)
    atomic = bytes((6, 0, 0, 0, 0, 0, 0, 9))
    found.append(_extended(tcp6, hop_by_hop + destination + routing + authentication + atomic, 0))
    found.append(_extended(tcp6, bytes((6, 0, 1, 4, 0, 0, 0, 0)), 0))
    return found


def mutate(data: bytes, dice: random.Random) -> bytes:
    """One to four changes: octets set, bits flipped, cut, grown, or a part doubled."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        kind = dice.randrange(7)
        size = len(found)
        if not size or kind == 0:
            found += dice.randbytes(dice.randint(1, 16))
        elif kind == 1:
            del found[dice.randrange(size) :]
        elif kind == 2:
            at = dice.randrange(size)
            found[at:at] = found[at : at + dice.randint(1, 20)]
        elif kind == 3:
            found[dice.randrange(size)] ^= 1 << dice.randrange(8)
        elif kind == 4:
            # Lengths, offsets and kinds are near the front, and the edges are where bugs are.
            found[dice.randrange(min(size, 80))] = dice.choice((0, 1, 2, 3, 4, 5, 8, 10, 34, 0x7F, 0x80, 254, 255))
        else:
            found[dice.randrange(size)] = dice.randrange(256)
    return bytes(found)


def check(data: bytes, *, verify: bool) -> Packet | None:
    """Parse, and if it is a packet then everything else must work on it. None: refused."""
    try:
        packet = parse(memoryview(data) if verify else data, verify=verify)
    except WireError:
        return None
    assert serialize.wire_length(packet) <= len(data)
    again = serialize.serialize(packet)
    assert len(again) == serialize.wire_length(packet)
    assert serialize.serialize(parse(again)) == again
    vnet_hdr.decode(vnet_hdr.header_for(packet))
    if isinstance(packet, IcmpMessage):
        icmp.describe(packet)
        try:
            icmp.parse_quote(packet)
        except WireError:
            pass
    if isinstance(packet, RawPacket) and not packet.more_fragments:
        try:
            parse_transport(packet, verify=False)
        except WireError:
            pass
    if isinstance(packet, Segment) and packet.flags & SYN == 0:
        packet.gso_size = 5
        assert b"".join(bytes(piece.payload) for piece in gso.split(packet)) == bytes(packet.payload)
    return packet


def read_all(data: bytes) -> int:
    """How many packets a capture file yields before it ends or breaks."""
    count = 0
    try:
        for _ in pcapng.read_capture(BytesIO(data)):
            count += 1
    except WireError:
        pass
    return count


def capture() -> bytes:
    """A small valid pcapng file."""
    out = BytesIO()
    writer = pcapng.PcapngWriter(out, comment="seed")
    number = writer.add_interface("a", "host a")
    for at, packet in enumerate(corpus()):
        writer.write(at, number, packet, f"packet {at}", pcapng.INBOUND)
    return out.getvalue()


def fuzz(iterations: int, seed: int = 0) -> int:
    """Mutate and parse so often; returns how many mutants were still packets. AssertionError names the bytes."""
    dice = random.Random(seed)
    seeds = corpus()
    file = capture()
    accepted = 0
    for number in range(iterations):
        data = mutate(dice.choice(seeds), dice)
        try:
            # Without checksums nearly every mutant reaches the parsers behind them.
            accepted += check(data, verify=number % 8 == 0) is not None
            vnet_hdr_round(data)
            if number % 16 == 0:
                read_all(mutate(file, dice))
        except Exception as problem:
            raise AssertionError(f"seed {seed}, iteration {number}: {problem!r} for {data.hex()}") from problem
    return accepted


def vnet_hdr_round(data: bytes) -> None:
    """Any 10 octets are a virtio-net header, or refused."""
    try:
        head = vnet_hdr.decode(data)
    except WireError:
        return
    assert head.encode() == data[:10]


if __name__ == "__main__":
    import sys

    print(fuzz(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0), "accepted")
