"""Which SACK blocks FreeBSD reports, and in which order (tcp_sack.c): the newest first, a duplicate before it.

One list holds both kinds. A block that ends at or before RCV.NXT reports a duplicate
(RFC 2883) and is sent once; a duplicate of something held out of order stands in front of
the island that contains it.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_gt, seq_leq, seq_lt, seq_max, seq_min
from timewait.tcp.tcb import Tcb

MAX_BLOCKS: Final = 6
"""MAX_SACK_BLKS: blocks remembered; as many are sent as the option has room for."""

Block = tuple[int, int]


def duplicate_dropped(t: Tcb, left: i64, right: i64) -> None:
    """Octets before RCV.NXT came again: they are reported first; stale reports go."""
    kept: list[Block] = []
    for block in _still_ahead(t.sack_blocks if t.sack_blocks else [], t.rcv_nxt):
        if kept and not seq_lt(kept[-1][0], block[0]) and seq_leq(kept[-1][1], block[1]):
            # A duplicate reported before stands in front of the island that holds it.
            kept.pop()
        kept.append(block)
    _set(t, [(int(left), int(right)), *kept])


def keep_first(t: Tcb) -> None:
    """New data followed a duplicate part in the same segment: the report stays in front, what was joined is gone."""
    if t.sack_blocks:
        left, right = t.sack_blocks[0]
        duplicate_dropped(t, left, right)


def received(t: Tcb, left: i64, right: i64) -> None:
    """Octets in the window were received, new or not: name what was held of them before, then the island they made."""
    blocks = t.sack_blocks if t.sack_blocks else []
    nxt = t.rcv_nxt
    first: Block = (0, 0)
    if seq_lt(right, nxt) or (right == nxt and bool(blocks) and blocks[0][1] == nxt):
        first = (int(left), int(right))
    low: i64 = left
    high: i64 = right
    overlap: Block = (0, 0)
    identical = False
    for start, end in blocks:
        if seq_lt(right, start) or seq_gt(left, end):
            continue
        if seq_gt(nxt, end):
            shared = _shared(left, right, start, end)
            if shared[0] != shared[1] and (overlap[0] == overlap[1] or seq_gt(overlap[0], shared[0])):
                overlap = shared
            continue
        earlier = overlap[0] == overlap[1] or seq_lt(start, overlap[0])
        if earlier and seq_gt(end, left) and seq_leq(start, right):
            overlap = (start, end)
        low = seq_min(low, start)
        high = seq_max(high, end)
        identical = identical or (low == start and high == end)
    if seq_lt(overlap[0], overlap[1]):
        first = _shared(left, right, overlap[0], overlap[1])
    island = (int(low), int(high))
    found: list[Block] = [first]
    if identical or (seq_lt(nxt, high) and island != first):
        found.append(island)
    for block in blocks:
        apart = seq_lt(block[1], low) or seq_gt(block[0], high)
        if apart and seq_gt(block[0], nxt) and len(found) < MAX_BLOCKS:
            found.append(block)
    _set(t, [block for block in found if seq_lt(block[0], block[1])])


def _shared(left: i64, right: i64, start: i64, end: i64) -> Block:
    return int(seq_max(left, start)), int(seq_min(right, end))


def reported(t: Tcb) -> None:
    """The blocks have just been sent: a duplicate is named once."""
    if t.sack_blocks:
        _set(t, _still_ahead(t.sack_blocks, t.rcv_nxt))


def _still_ahead(blocks: list[Block], nxt: i64) -> list[Block]:
    return [block for block in blocks if seq_lt(block[0], block[1]) and not seq_leq(block[0], nxt)]


def _set(t: Tcb, blocks: list[Block]) -> None:
    t.sack_blocks = blocks[:MAX_BLOCKS] if blocks else None
