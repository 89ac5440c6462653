"""The TCP header (RFC 9293 3.1): bytes to a Segment and back."""

from struct import Struct
from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire import checksum, options
from timewait.wire.octets import u16, u32
from timewait.wire.packet import PROTO_TCP, Buffer, Segment

FIXED_LENGTH: Final = 20
MAX_LENGTH: Final = 60

_HEADER: Final = Struct("!HHIIHHHH")
_TS_HEAD: Final = 0x0101080A
_FLAGS: Final = 0x1FF
"""Eight flags and the accurate-ECN bit; three bits behind the data offset stay reserved."""


def decode(data: Buffer, head: bytes, start: i64, end: i64, addresses: bytes, verify: bool) -> Segment:
    """The segment in data[start:end]. `head` holds the same octets as data, up to the header's end at least.

    `addresses` is source and destination, as they stand in the IP header. Raises
    WireError: 'tcp-short', 'tcp-doff' (RFC 9293: at least 5, and inside the segment)
    or 'tcp-checksum'.
    """
    size = end - start
    if size < FIXED_LENGTH:
        raise WireError("tcp-short")
    offset_flags = u16(head, start + 12)
    header_size = (offset_flags >> 12) * 4
    if header_size < FIXED_LENGTH or header_size > size:
        raise WireError("tcp-doff")
    if verify:
        total = checksum.raw_sum(addresses) + PROTO_TCP + size + checksum.sum_range(data, start, end)
        if checksum.fold(total) != 0xFFFF:
            raise WireError("tcp-checksum")
    segment = Segment()
    segment.flow = addresses + head[start : start + 4]
    segment.sport = u16(head, start)
    segment.dport = u16(head, start + 2)
    segment.seq = u32(head, start + 4)
    segment.ack = u32(head, start + 8)
    segment.flags = offset_flags & _FLAGS
    segment.window = u16(head, start + 14)
    segment.urgent = u16(head, start + 18)
    if header_size == 32 and u32(head, start + 20) == _TS_HEAD:
        segment.has_ts = True
        segment.tsval = u32(head, start + 24)
        segment.tsecr = u32(head, start + 28)
    elif header_size != FIXED_LENGTH:
        options.decode(segment, head[start + FIXED_LENGTH : start + header_size])
    payload_at = start + header_size
    if payload_at < end:
        segment.length = end - payload_at
        if isinstance(data, memoryview):
            segment.payload = data[payload_at:end]
        else:
            segment.payload = memoryview(data)[payload_at:end]
    return segment


def header_length(segment: Segment) -> i64:
    """Octets of the TCP header with its options."""
    return FIXED_LENGTH + options.option_length(segment)


def encode(segment: Segment, partial: bool = False) -> bytes:
    """The TCP header. With `partial` the checksum field holds the pseudo-header's sum only (NEEDS_CSUM)."""
    raw = options.encode(segment)
    header_size: i64 = FIXED_LENGTH + len(raw)
    payload = segment.payload
    payload_size: i64 = len(payload)
    total = checksum.pseudo_sum(segment.src, segment.dst, PROTO_TCP, header_size + payload_size)
    offset_flags = header_size << 10 | (segment.flags & _FLAGS)
    if not partial:
        # A sum of 32-bit words is, folded, the sum of their 16-bit halves.
        total += (segment.sport + segment.dport + segment.seq + segment.ack) + (
            offset_flags + segment.window + segment.urgent
        )
        total += checksum.sum_range(raw, 0, len(raw))
        if payload_size:
            total += checksum.sum_range(payload, 0, payload_size)
        total = 0xFFFF ^ checksum.fold(total)
    return (
        _HEADER.pack(
            segment.sport,
            segment.dport,
            segment.seq,
            segment.ack,
            offset_flags,
            segment.window,
            total,
            segment.urgent,
        )
        + raw
    )
