"""The IPv4 header (RFC 791). Options are skipped on input and never sent."""

from struct import Struct
from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire import checksum
from timewait.wire.octets import u16
from timewait.wire.packet import Packet

HEADER_LENGTH: Final = 20
MAX_TOTAL: Final = 65535

DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
OFFSET_MASK: Final = 0x1FFF

_HEADER: Final = Struct("!BBHHHBBH4s4s")


def check(head: bytes, size: i64, verify: bool) -> i64:
    """The header length of a datagram of `size` received octets whose start is `head`.

    Raises WireError: 'ip-short', 'ip-ihl', 'ip-length' or 'ip-checksum'. Linux checks
    in this order in ip_rcv_core(), except that it sums before it looks at the length.
    """
    if size < HEADER_LENGTH:
        raise WireError("ip-short")
    first: i64 = head[0]
    header_size = (first & 0x0F) * 4
    if header_size < HEADER_LENGTH or header_size > size:
        raise WireError("ip-ihl")
    total = u16(head, 2)
    if total < header_size or total > size:
        raise WireError("ip-length")
    if verify and checksum.sum_range(head, 0, header_size) != 0xFFFF:
        raise WireError("ip-checksum")
    return header_size


def fill(packet: Packet, head: bytes) -> None:
    """Set the packet's IP fields from a checked header."""
    packet.src = head[12:16]
    packet.dst = head[16:20]
    packet.proto = head[9]
    packet.ttl = head[8]
    packet.tos = head[1]
    packet.ident = u16(head, 4)
    fragment = u16(head, 6)
    if fragment:
        packet.dont_fragment = (fragment & DONT_FRAGMENT) != 0
        packet.more_fragments = (fragment & MORE_FRAGMENTS) != 0
        packet.fragment_offset = (fragment & OFFSET_MASK) * 8


def encode(packet: Packet, payload_size: i64) -> bytes:
    """The header of a packet with so many octets behind it; at most 65,515 fit (struct.error beyond)."""
    total = HEADER_LENGTH + payload_size
    fragment = packet.fragment_offset >> 3
    if packet.dont_fragment:
        fragment |= DONT_FRAGMENT
    if packet.more_fragments:
        fragment |= MORE_FRAGMENTS
    ident = packet.ident & 0xFFFF
    words = (0x4500 | packet.tos) + total + ident + fragment + (packet.ttl << 8 | packet.proto)
    words += checksum.raw_sum(packet.src) + checksum.raw_sum(packet.dst)
    return _HEADER.pack(
        0x45,
        packet.tos,
        total,
        ident,
        fragment,
        packet.ttl,
        packet.proto,
        0xFFFF ^ checksum.fold(words),
        packet.src,
        packet.dst,
    )
