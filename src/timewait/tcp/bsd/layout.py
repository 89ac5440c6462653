"""The order of options in a SYN as FreeBSD lays it out (tcp_addoptions)."""

from typing import Final

from timewait.base.ints import i64
from timewait.wire.options import FAST_OPEN, MSS, NOP, SACK_PERMITTED, TIMESTAMPS, WSCALE
from timewait.wire.packet import Segment

MAX_SPACE: Final = 40


def lay_out(seg: Segment) -> bytes:
    """MSS, window scale, SACK permitted, timestamps, Fast Open: NOPs only to align what follows, EOL at the end."""
    parts = bytearray()
    if seg.mss:
        parts += bytes((MSS, 4, seg.mss >> 8, seg.mss & 0xFF))
    if seg.wscale >= 0:
        _align(parts, 2, 1)
        parts += bytes((WSCALE, 3, seg.wscale))
    if seg.sack_permitted:
        _align(parts, 2, 0)
        parts += bytes((SACK_PERMITTED, 2))
    if seg.has_ts:
        _align(parts, 4, 2)
        parts += bytes((TIMESTAMPS, 10))
        parts += int(seg.tsval).to_bytes(4, "big") + int(seg.tsecr).to_bytes(4, "big")
    cookie = seg.fast_open
    if cookie is not None and len(parts) + 2 + len(cookie) <= MAX_SPACE:
        parts += bytes((FAST_OPEN, 2 + len(cookie))) + cookie
    return bytes(parts) + bytes(-len(parts) % 4)


def _align(parts: bytearray, modulus: i64, rest: i64) -> None:
    while len(parts) % modulus != rest:
        parts.append(NOP)
