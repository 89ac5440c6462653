"""The IPv6 header (RFC 8200). Extension headers are skipped on input; only fragment headers are sent."""

from struct import Struct
from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire.octets import u16, u32
from timewait.wire.packet import Packet

HEADER_LENGTH: Final = 40
FRAGMENT_LENGTH: Final = 8
MIN_MTU: Final = 1280

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
AUTHENTICATION: Final = 51
NO_NEXT: Final = 59
DESTINATION: Final = 60

MAX_EXTENSIONS: Final = 16
"""More extension headers than this are an attack: RFC 8200 4.1 gives no reason for more than seven."""

_HEADER: Final = Struct("!IHBB16s16s")
_FRAGMENT: Final = Struct("!BBHI")


class Extensions:
    """What lies between the IPv6 header and the transport."""

    def __init__(self) -> None:
        self.proto: i64 = 0
        """The transport, or the first header that is not understood."""
        self.start: i64 = 0
        """Where its header starts."""
        self.fragment_offset: i64 = 0
        self.more_fragments: bool = False
        self.ident: i64 = 0
        """The identification, for real fragments only: an atomic one (RFC 6946) is a whole packet."""


def check(head: bytes, size: i64) -> i64:
    """The length of header and payload in `size` received octets. Raises WireError: 'ip6-short', 'ip6-length'."""
    if size < HEADER_LENGTH:
        raise WireError("ip6-short")
    total = HEADER_LENGTH + u16(head, 4)
    if total > size:
        raise WireError("ip6-length")
    return total


def is_extension(proto: i64) -> bool:
    """Whether a next-header value is an extension header that walk() can step over."""
    return proto in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION)


def walk(data: bytes, proto: i64, start: i64, end: i64, first: bool = True) -> Extensions:
    """Step over the extension headers of data[start:end], the first of which is `proto`.

    Stops at the transport, at a fragment's payload (it is not to be looked into before
    reassembly) and at what is unknown. `first`: start is right behind the IPv6 header,
    the only place for hop-by-hop options. Raises WireError: 'ip6-extension' (cut short,
    or too many), 'ip6-hop-by-hop' (in another place), 'ip6-option' (an unknown option
    that asks to be discarded, RFC 8200 4.2), 'ip6-routing' (segments left: we route for
    nobody).
    """
    found = Extensions()
    count: i64 = 0
    while is_extension(proto):
        if start + 8 > end or count == MAX_EXTENSIONS:
            raise WireError("ip6-extension")
        if proto == HOP_BY_HOP and not (first and count == 0):
            raise WireError("ip6-hop-by-hop")
        follows: i64 = data[start]
        length_field: i64 = data[start + 1]
        size = (length_field + 1) * 8
        if proto == FRAGMENT:
            size = FRAGMENT_LENGTH
            offset = u16(data, start + 2)
            found.fragment_offset = offset & 0xFFF8
            found.more_fragments = (offset & 1) != 0
            if offset & 0xFFF9:
                found.ident = u32(data, start + 4)
        elif proto == AUTHENTICATION:
            size = (length_field + 2) * 4
        if size < 8 or start + size > end:
            raise WireError("ip6-extension")
        if proto == ROUTING and data[start + 3] != 0:
            raise WireError("ip6-routing")
        if proto in (HOP_BY_HOP, DESTINATION):
            _check_options(data, start + 2, start + size)
        proto = follows
        start += size
        count += 1
        if found.more_fragments or found.fragment_offset:
            break
    found.proto = proto
    found.start = start
    return found


def _check_options(data: bytes, at: i64, end: i64) -> None:
    """The two upper bits of an option's type say what who does not know it must do: 0 skips it."""
    while at < end:
        kind: i64 = data[at]
        if kind == 0:
            at += 1
            continue
        if at + 1 >= end:
            raise WireError("ip6-option")
        size: i64 = data[at + 1]
        if at + 2 + size > end or (kind >> 6) != 0:
            raise WireError("ip6-option")
        at += 2 + size


def fill(packet: Packet, head: bytes, proto: i64) -> None:
    """Set the packet's IP fields from a checked header and the transport found behind it."""
    word = u32(head, 0)
    packet.src = head[8:24]
    packet.dst = head[24:40]
    packet.proto = proto
    packet.ttl = head[7]
    packet.tos = (word >> 20) & 0xFF
    packet.flow_label = word & 0xFFFFF


def header_length(packet: Packet) -> i64:
    """40, or 48 for a fragment."""
    if packet.more_fragments or packet.fragment_offset:
        return HEADER_LENGTH + FRAGMENT_LENGTH
    return HEADER_LENGTH


def encode(packet: Packet, payload_size: i64) -> bytes:
    """The header of a packet with so many octets behind it (struct.error beyond 65,535), with its fragment header."""
    word = 0x60000000 | packet.tos << 20 | packet.flow_label
    if packet.more_fragments or packet.fragment_offset:
        offset = packet.fragment_offset | (1 if packet.more_fragments else 0)
        return _HEADER.pack(
            word, payload_size + FRAGMENT_LENGTH, FRAGMENT, packet.ttl, packet.src, packet.dst
        ) + _FRAGMENT.pack(packet.proto, 0, offset, packet.ident)
    return _HEADER.pack(word, payload_size, packet.proto, packet.ttl, packet.src, packet.dst)
