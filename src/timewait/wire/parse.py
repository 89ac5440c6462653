"""Bytes of an IP datagram to a `Packet`. The only exception is WireError, for any input."""

from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire import icmp, ipv4, ipv6, tcp, udp
from timewait.wire.octets import u16
from timewait.wire.packet import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, Buffer, Packet, RawPacket

CHECKSUM_REASONS: Final = frozenset({"ip-checksum", "tcp-checksum", "udp-checksum", "udp-no-checksum", "icmp-checksum"})
"""The reasons of a WireError that mean damage on the way rather than a wrong sender."""

_HEAD: Final = 120
"""The longest IPv4 and TCP headers together: so much of a view is copied out to be read quickly."""


def parse(data: Buffer, *, verify: bool = True) -> Packet:
    """The packet in `data`; octets beyond the IP header's length are padding and are cut off.

    Fragments and unknown protocols become a RawPacket. The payload is a view into
    `data`, which must not be written to afterwards. verify=False trusts the checksums:
    they were verified before, or are not complete yet. Raises WireError.
    """
    size: i64 = len(data)
    if size == 0:
        raise WireError("ip-short")
    head: bytes = data if isinstance(data, bytes) else bytes(data[:_HEAD])
    first: i64 = head[0]
    version = first >> 4
    if version == 4:
        return _parse4(data, head, size, verify)
    if version == 6:
        return _parse6(data, head, size, verify)
    raise WireError("ip-version")


def _parse4(data: Buffer, head: bytes, size: i64, verify: bool) -> Packet:
    start = ipv4.check(head, size, verify)
    end = u16(head, 2)
    proto: i64 = head[9]
    packet: Packet
    if u16(head, 6) & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK):
        packet = _raw(data, start, end)
    elif proto == PROTO_TCP:
        packet = tcp.decode(data, head, start, end, head[12:20], verify)
    else:
        packet = _transport(data, head, start, end, proto, head[12:20], verify)
    ipv4.fill(packet, head)
    return packet


def _parse6(data: Buffer, head: bytes, size: i64, verify: bool) -> Packet:
    end = ipv6.check(head, size)
    proto: i64 = head[6]
    packet: Packet
    if proto == PROTO_TCP:
        packet = tcp.decode(data, head, ipv6.HEADER_LENGTH, end, head[8:40], verify)
        ipv6.fill(packet, head, proto)
        return packet
    start: i64 = ipv6.HEADER_LENGTH
    if not ipv6.is_extension(proto):
        packet = _transport(data, head, start, end, proto, head[8:40], verify)
        ipv6.fill(packet, head, proto)
        return packet
    head = bytes(data)
    found = ipv6.walk(head, proto, start, end)
    start = found.start
    if found.more_fragments or found.fragment_offset:
        packet = _raw(data, start, end)
        packet.ident = found.ident
        packet.more_fragments = found.more_fragments
        packet.fragment_offset = found.fragment_offset
    else:
        packet = _transport(data, head, start, end, found.proto, head[8:40], verify)
    ipv6.fill(packet, head, found.proto)
    return packet


def _transport(data: Buffer, head: bytes, start: i64, end: i64, proto: i64, addresses: bytes, verify: bool) -> Packet:
    """What is behind the IP headers, by protocol, with no IP field set yet."""
    if proto == PROTO_TCP:
        return tcp.decode(data, head, start, end, addresses, verify)
    if proto == PROTO_UDP:
        return udp.decode(data, head, start, end, addresses, verify)
    if proto == (PROTO_ICMPV6 if len(addresses) == 32 else PROTO_ICMP):
        return icmp.decode(data, head, start, end, addresses, verify)
    return _raw(data, start, end)


def _raw(data: Buffer, start: i64, end: i64) -> RawPacket:
    packet = RawPacket()
    if start < end:
        packet.payload = data[start:end] if isinstance(data, memoryview) else memoryview(data)[start:end]
    return packet


def parse_transport(raw: RawPacket, *, verify: bool = True) -> Packet:
    """A reassembled datagram (fragment fields cleared) as the packet its protocol makes of it. Raises WireError."""
    data = raw.payload
    head = bytes(data)
    end: i64 = len(head)
    start: i64 = 0
    proto = raw.proto
    if len(raw.src) == 16 and ipv6.is_extension(proto):
        found = ipv6.walk(head, proto, 0, end, first=False)
        if found.more_fragments or found.fragment_offset:
            raise WireError("ip6-extension", "a fragment of a fragment")
        proto = found.proto
        start = found.start
    packet = _transport(data, head, start, end, proto, raw.src + raw.dst, verify)
    packet.src = raw.src
    packet.dst = raw.dst
    packet.proto = proto
    packet.ttl = raw.ttl
    packet.tos = raw.tos
    packet.ident = raw.ident
    packet.dont_fragment = raw.dont_fragment
    packet.flow_label = raw.flow_label
    packet.why = raw.why
    packet.uid = raw.uid
    return packet
