"""Super-segments cut into what travels on a wire, as Linux's tcp_gso_segment() and udp segmentation do."""

from timewait.base.ints import i64
from timewait.base.seq import seq_add
from timewait.wire.packet import ACE_REPEATED, CWR, FIN, PSH, SYN, Datagram, Segment


def split(segment: Segment) -> list[Segment]:
    """The wire segments of a super-segment, in order; a plain segment alone is returned as it is.

    Every piece has the header of the whole, with seq moved on. FIN and PSH stay on the
    last piece only, CWR on the first unless it is part of a counter, and the IPv4 identification counts up. A SYN never
    leads a super-segment.
    """
    size = segment.gso_size
    if size <= 0 or segment.length <= size:
        if size <= 0:
            return [segment]
        single = segment.copy()
        single.gso_size = 0
        return [single]
    assert segment.flags & SYN == 0, "a SYN is never part of a super-segment"
    whole = segment.payload
    # A slice of bytes would copy, a slice of a view does not.
    payload = whole if isinstance(whole, memoryview) else memoryview(whole)
    whole_flags = segment.flags & ~ACE_REPEATED
    behind: i64 = whole_flags if segment.flags & ACE_REPEATED else whole_flags & ~CWR
    inner: i64 = ~(FIN | PSH)
    ipv4 = len(segment.src) == 4
    pieces: list[Segment] = []
    at: i64 = 0
    number: i64 = 0
    while at < segment.length:
        end = min(at + size, segment.length)
        piece = segment.copy()
        piece.gso_size = 0
        piece.seq = seq_add(segment.seq, at)
        piece.payload = payload[at:end]
        piece.length = end - at
        flags: i64 = whole_flags if at == 0 else behind
        piece.flags = flags if end == segment.length else flags & inner
        if ipv4:
            piece.ident = (segment.ident + number) & 0xFFFF
        pieces.append(piece)
        at = end
        number += 1
    return pieces


def split_datagram(datagram: Datagram) -> list[Datagram]:
    """The datagrams of a UDP super-datagram (UDP_SEGMENT), in order; a plain one alone is returned as it is."""
    size = datagram.gso_size
    if size <= 0:
        return [datagram]
    whole = datagram.payload
    payload = whole if isinstance(whole, memoryview) else memoryview(whole)
    length: i64 = len(payload)
    ipv4 = len(datagram.src) == 4
    pieces: list[Datagram] = []
    at: i64 = 0
    number: i64 = 0
    while at < length or number == 0:
        end = min(at + size, length)
        piece = datagram.copy()
        piece.gso_size = 0
        piece.payload = payload[at:end]
        if ipv4:
            piece.ident = (datagram.ident + number) & 0xFFFF
        pieces.append(piece)
        at = end
        number += 1
    return pieces
