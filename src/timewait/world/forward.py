"""What forwarding needs of IP: fragmentation and ICMP errors about packets of others.

Shared by routers and by links with an MTU, which stand for a path of routers.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.tcp.reasons import Why
from timewait.wire import ipv4, ipv6
from timewait.wire.packet import PROTO_ICMP, PROTO_ICMPV6, IcmpMessage, Packet, RawPacket
from timewait.wire.serialize import ip_payload, serialize

_V4_HEADER: Final = 20
_V6_HEADER: Final = 40
V4_ERROR_SIZE: Final = 576
"""An ICMPv4 error is at most this long (RFC 1812 4.3.2.3)."""
V6_ERROR_SIZE: Final = 1280
"""An ICMPv6 error is at most this long (RFC 4443 2.4 c)."""
_V4_ERRORS: Final = frozenset((3, 4, 5, 11, 12))


def may_fragment(packet: Packet) -> bool:
    """Whether a router may cut it: IPv4 without DF. In IPv6 only senders fragment (RFC 8200 5)."""
    return len(packet.src) == 4 and not packet.dont_fragment


def fragment(packet: Packet, mtu: i64) -> list[RawPacket]:
    """The IPv4 fragments of a packet, each at most `mtu` octets, 28 <= mtu (RFC 791 3.2)."""
    body = memoryview(ip_payload(packet))
    step = (mtu - _V4_HEADER) // 8 * 8
    assert step > 0, "an IPv4 link carries at least 68 octets (RFC 791)"
    parts: list[RawPacket] = []
    at: i64 = 0
    while at < len(body):
        part = RawPacket()
        copy_ip(packet, part)
        part.payload = body[at : at + step]
        part.fragment_offset = packet.fragment_offset + at
        part.more_fragments = packet.more_fragments or at + step < len(body)
        parts.append(part)
        at += step
    return parts


def raw_ip(data: bytes) -> RawPacket:
    """A datagram of which only the IP header is looked at, as a router does. Raises WireError for a bad one."""
    packet = RawPacket()
    if data and data[0] >> 4 == 6:
        end = ipv6.check(data, len(data))
        ipv6.fill(packet, data, data[6])
        packet.payload = memoryview(data)[ipv6.HEADER_LENGTH : end]
        return packet
    start = ipv4.check(data, len(data), True)
    ipv4.fill(packet, data)
    packet.payload = memoryview(data)[start : data[2] << 8 | data[3]]
    return packet


def copy_ip(source: Packet, target: Packet) -> None:
    """Give `target` the IP fields of `source`, and its place in the record."""
    target.src = source.src
    target.dst = source.dst
    target.proto = source.proto
    target.ttl = source.ttl
    target.tos = source.tos
    target.ident = source.ident
    target.dont_fragment = source.dont_fragment
    target.flow_label = source.flow_label
    target.why = source.why
    target.uid = source.uid


def too_big(packet: Packet, mtu: i64, source: bytes) -> IcmpMessage | None:
    """'Fragmentation needed' (RFC 1191) or 'packet too big' (RFC 8201) from `source`."""
    if len(packet.src) == 4:
        return icmp_error(packet, 3, 4, mtu, source)
    return icmp_error(packet, 2, 0, mtu, source)


def time_exceeded(packet: Packet, source: bytes) -> IcmpMessage | None:
    """The time to live reached 0 in transit (RFC 792, RFC 4443 3.3)."""
    return icmp_error(packet, 11 if len(packet.src) == 4 else 3, 0, 0, source)


def unreachable(packet: Packet, source: bytes) -> IcmpMessage | None:
    """No route: network unreachable in IPv4, no route to destination in IPv6."""
    return icmp_error(packet, 3 if len(packet.src) == 4 else 1, 0, 0, source)


def icmp_error(packet: Packet, kind: i64, code: i64, rest: i64, source: bytes) -> IcmpMessage | None:
    """An ICMP error about `packet`, or None where RFC 1122 3.2.2 and RFC 4443 2.4 forbid one."""
    if not source or _no_error_about(packet):
        return None
    error = IcmpMessage()
    v4 = len(packet.src) == 4
    error.src = source
    error.dst = packet.src
    error.proto = PROTO_ICMP if v4 else PROTO_ICMPV6
    error.type = kind
    error.code = code
    error.rest = rest
    limit = V4_ERROR_SIZE - _V4_HEADER - 8 if v4 else V6_ERROR_SIZE - _V6_HEADER - 8
    error.payload = serialize(packet)[:limit]
    error.why = Why.ICMP_ERROR
    return error


def _no_error_about(packet: Packet) -> bool:
    if packet.fragment_offset > 0:
        return True
    dst = packet.dst
    if len(dst) == 4:
        group = dst[0] >= 224
        icmp_failed = isinstance(packet, IcmpMessage) and packet.type in _V4_ERRORS
    else:
        group = dst[0] == 0xFF
        icmp_failed = isinstance(packet, IcmpMessage) and packet.type < 128
    return group or icmp_failed
