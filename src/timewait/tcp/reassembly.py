"""The receive queue: in-order data for the program, islands out of order, FIN and urgent data in their place."""

from bisect import bisect_right
from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_geq, seq_gt, seq_leq, seq_lt
from timewait.tcp.compress import AckCompression
from timewait.tcp.delack import ack_now, data_received, enter_quickack_mode, schedule_ack
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.segments import acceptable_ack_seq, established_segment
from timewait.tcp.tcb import WAKE_IN, Tcb
from timewait.tcp.window import WELL_FILLED, free_space, grow_buffer, grow_window
from timewait.wire.packet import ACK, FIN, Buffer, Segment

MAX_SACK_ISLANDS: Final = 4
"""Islands remembered for reporting, as many as an option has room for (TCP_NUM_SACKS); the data of all is held."""

SACK_BLOCKS_EXPECTED: Final = 2
"""TCP_SACK_BLOCKS_EXPECTED: so many islands are reported for certain, whatever else is in the segment."""


def accept_data(t: Tcb, seg: Segment, now: i64) -> bool:
    """Queue the segment's data (RFC 9293 3.10.7.4 seventh check). True when a FIN has now been reached in order.

    The caller has checked that some of the segment lies in the window.
    """
    seq = seg.seq
    end = (seq + seg.length + (seg.flags & FIN)) & 0xFFFFFFFF
    if seq == t.rcv_nxt:
        if seg.length and free_space(t) < seg.length and t.receive_window() == 0:
            return _window_full(t, seg, now)
        return _in_order(t, seg, seg.payload, seg.length, end, now)
    if not seq_gt(end, t.rcv_nxt):
        _duplicate(t, seg, seq, end, now)
        return False
    if not seq_lt(seq, (t.rcv_nxt + t.receive_window()) & 0xFFFFFFFF):
        t.dropped(seg, Drop.WINDOW_FULL, now)
        enter_quickack_mode(t, 16)
        ack_now(t, Why.DUP_ACK)
        return False
    if seq_lt(seq, t.rcv_nxt):
        # Partly old: report the old part and take the rest.
        _set_dsack(t, seq, t.rcv_nxt)
        if t.receive_window() == 0:
            return _window_full(t, seg, now)
        old = seq_diff(t.rcv_nxt, seq)
        fresh = _view(seg.payload)[old:]
        return _in_order(t, seg, fresh, seg.length - old, end, now)
    _out_of_order(t, seg, now)
    return False


def _window_full(t: Tcb, seg: Segment, now: i64) -> bool:
    """A probe of a closed window, or more than was offered: refuse it and say what we hold."""
    t.dropped(seg, Drop.WINDOW_FULL, now)
    t.net.counters.TcpExtTCPZeroWindowDrop += 1
    ack_now(t, Why.DUP_ACK)
    return False


def _view(data: Buffer) -> memoryview:
    return data if isinstance(data, memoryview) else memoryview(data)


def _in_order(t: Tcb, seg: Segment, data: Buffer, length: i64, end: i64, now: i64) -> bool:
    """Data at RCV.NXT: the program's next octets, perhaps joined by islands behind it."""
    fin = bool(seg.flags & FIN)
    if length > 0:
        enqueue(t, data, length)
    t.rcv_nxt = end
    if length > 0:
        data_received(t, seg, now)
    if t.ofo_seqs is not None:
        if not t.ofo_seqs and t.ofo_fin < 0:
            t.ofo_seqs = None
            t.ofo_data = None
        elif not fin:
            fin = join_islands(t)
            # RFC 5681 4.2: a filled gap is acknowledged at once; nothing is held any more behind a FIN.
            if fin or not t.ofo_seqs:
                ack_now(t, Why.GAP_FILLED)
        # tcp_fin() acknowledges before the islands are forgotten, so that they are still reported (quirks.md: CLS-25).
        if not fin:
            _trim_sacks(t)
    if length > 0:
        t.wake |= WAKE_IN
    return fin


def enqueue(t: Tcb, data: Buffer, length: i64) -> None:
    """Hand octets to the program's side."""
    if t.rcv_queue is None:
        t.rcv_queue = []
    t.rcv_queue.append(data)
    t.rcv_queued += length
    t.bytes_received += length


def _duplicate(t: Tcb, seg: Segment, seq: i64, end: i64, now: i64) -> None:
    """All of it was received before: acknowledge at once, with DSACK (RFC 2883)."""
    t.net.counters.TcpExtDelayedACKLost += 1
    _set_dsack(t, seq, end)
    t.dropped(seg, Drop.OLD_DUPLICATE, now)
    enter_quickack_mode(t, 16)
    ack_now(t, Why.DUP_SEGMENT_ACK)


def repeated_syn(t: Tcb, seg: Segment) -> None:
    """The SYN-ACK of a simultaneous open brings a SYN that came before: Linux says so (tcp_data_queue)."""
    t.net.counters.TcpExtDelayedACKLost += 1
    _set_dsack(t, seg.seq, (seg.seq + 1) & 0xFFFFFFFF)
    enter_quickack_mode(t, 16)
    ack_now(t, Why.DUP_SEGMENT_ACK)


def note_old_segment(t: Tcb, seq: i64, end: i64) -> None:
    """An old data segment was refused before it got here: report it (tcp_send_dupack)."""
    if seq != end and seq_lt(seq, t.rcv_nxt):
        t.net.counters.TcpExtDelayedACKLost += 1
        enter_quickack_mode(t, 16)
        if t.sack_ok and t.net.sysctl.tcp_dsack:
            _set_dsack(t, seq, t.rcv_nxt if seq_gt(end, t.rcv_nxt) else end)


def _set_dsack(t: Tcb, left: i64, right: i64) -> None:
    """Remember a duplicate to report in the next acknowledgment."""
    if not t.sack_ok or not t.net.sysctl.tcp_dsack:
        return
    counters = t.net.counters
    if seq_lt(left, t.rcv_nxt):
        counters.TcpExtTCPDSACKOldSent += 1
    else:
        counters.TcpExtTCPDSACKOfoSent += 1
    t.dsack = (int(left), int(right))


def _extend_dsack(t: Tcb, left: i64, right: i64) -> None:
    """A duplicate to report, in one block with the one noted before if they touch, else not (tcp_dsack_extend)."""
    if t.dsack is None:
        _set_dsack(t, left, right)
        return
    known_left: i64 = t.dsack[0]
    known_right: i64 = t.dsack[1]
    if seq_leq(left, known_right) and seq_leq(known_left, right):
        t.dsack = (
            int(left if seq_lt(left, known_left) else known_left),
            int(right if seq_gt(right, known_right) else known_right),
        )


# Out of order. Positions are stream offsets from IRS, which have a plain order.


def stream_offset(t: Tcb, seq: i64) -> i64:
    """How far seq lies behind what has been received in order."""
    return t.bytes_received + seq_diff(seq, t.rcv_nxt)


def _out_of_order(t: Tcb, seg: Segment, now: i64) -> None:
    """Hold the segment until the gap before it is filled (RFC 9293 SHLD-31, tcp_data_queue_ofo)."""
    counters = t.net.counters
    counters.TcpExtTCPOFOQueue += 1
    t.rcv_ooopack += 1
    if t.ofo_seqs is None:
        t.ofo_seqs = []
        t.ofo_data = []
    start = stream_offset(t, seg.seq)
    if seg.flags & FIN and t.ofo_fin < 0:
        t.ofo_fin = start + seg.length
    if seg.length and free_space(t) < seg.length and not _make_room(t, start, seg.length):
        t.dropped(seg, Drop.OFO_FULL, now)
        counters.TcpExtTCPOFODrop += 1
        ack_now(t, Why.DUP_ACK)
        return
    schedule_ack(t)
    if seg.length and hold(t, _view(seg.payload), start, seg.length):
        _set_dsack(t, seg.seq, (seg.seq + seg.length) & 0xFFFFFFFF)
    if t.sack_ok:
        _report_island(t, seg.seq, (seg.seq + seg.length + (seg.flags & FIN)) & 0xFFFFFFFF, now)
        if seg.length >= WELL_FILLED:
            # Without SACK the window stays, for an ACK with another one would be no duplicate.
            grow_window(t, seg.length)
    if t.net.profile.scaling_ratio and not t.orphan:
        grow_buffer(t, t.rcvq_space)


def _make_room(t: Tcb, start: i64, length: i64) -> bool:
    """Drop the pieces furthest ahead in favour of an earlier one (tcp_prune_ofo_queue)."""
    seqs = t.ofo_seqs
    data = t.ofo_data
    assert seqs is not None and data is not None
    while seqs and seqs[-1] > start and free_space(t) < length:
        t.ofo_bytes -= len(data.pop())
        seqs.pop()
        t.net.counters.TcpExtOfoPruned += 1
        t.sack_blocks = None
    return free_space(t) >= length


def hold(t: Tcb, view: memoryview, start: i64, length: i64) -> bool:
    """Put the parts that are not held yet into the sorted list; True when some of it was held before."""
    seqs = t.ofo_seqs
    held = t.ofo_data
    assert seqs is not None and held is not None
    end = start + length
    index = bisect_right(seqs, start) - 1
    cursor = start
    if index >= 0 and seqs[index] + len(held[index]) > cursor:
        cursor = seqs[index] + len(held[index])
    index += 1
    duplicate = cursor > start
    while cursor < end:
        stop = end
        if index < len(seqs) and seqs[index] < end:
            stop = seqs[index]
        if stop > cursor:
            seqs.insert(index, int(cursor))
            held.insert(index, view[cursor - start : stop - start])
            t.ofo_bytes += stop - cursor
            index += 1
        if stop >= end:
            break
        duplicate = True
        cursor = stop + len(held[index])
        index += 1
    return duplicate


def join_islands(t: Tcb) -> bool:
    """Move islands that now touch RCV.NXT to the program's side; True when the FIN is reached (tcp_ofo_queue)."""
    seqs = t.ofo_seqs
    held = t.ofo_data
    assert seqs is not None and held is not None
    used = 0
    position = t.bytes_received
    reached = position
    reached_seq = t.rcv_nxt
    while used < len(seqs) and seqs[used] <= position:
        piece = held[used]
        length = len(piece)
        before = reached - seqs[used]
        if before > 0:
            # What has just filled the gap brought this again.
            again = length if length < before else before
            _extend_dsack(t, (reached_seq - before) & 0xFFFFFFFF, (reached_seq - before + again) & 0xFFFFFFFF)
        t.ofo_bytes -= length
        fresh_at = position - seqs[used]
        if fresh_at < length:
            if fresh_at:
                piece = _view(piece)[fresh_at:]
            enqueue(t, piece, length - fresh_at)
            t.rcv_nxt = (t.rcv_nxt + length - fresh_at) & 0xFFFFFFFF
            t.wake |= WAKE_IN
            position = t.bytes_received
        used += 1
    if used:
        del seqs[:used]
        del held[:used]
    if t.ofo_fin >= 0 and t.ofo_fin == position:
        t.rcv_nxt = (t.rcv_nxt + 1) & 0xFFFFFFFF
        return True
    return False


def _report_island(t: Tcb, left: i64, right: i64, now: i64) -> None:
    """RFC 2018 4: the island that just grew comes first; touching ones are one."""
    blocks = t.sack_blocks
    if blocks is None:
        blocks = []
        t.sack_blocks = blocks
    if t.compression is not None and t.compression.held:
        _release_held(t, t.compression, blocks, left, right, now)
    grown_left: i64 = left
    grown_right: i64 = right
    kept: list[tuple[int, int]] = []
    for block_left, block_right in blocks:
        if seq_leq(block_left, grown_right) and seq_geq(block_right, grown_left):
            if seq_lt(block_left, grown_left):
                grown_left = block_left
            if seq_gt(block_right, grown_right):
                grown_right = block_right
        else:
            kept.append((block_left, block_right))
    kept.insert(0, (int(grown_left), int(grown_right)))
    del kept[MAX_SACK_ISLANDS:]
    t.sack_blocks = kept


def _release_held(
    t: Tcb, state: AckCompression, blocks: list[tuple[int, int]], left: i64, right: i64, now: i64
) -> None:
    """Acknowledgments are held, and the blocks that change now may not be seen again: send them first.

    That is when the third island or a later one grows, and when a new one pushes the oldest out
    (tcp_sack_new_ofo_skb, tcp_sack_compress_send_ack).
    """
    for index, (block_left, block_right) in enumerate(blocks):
        if seq_leq(block_left, right) and seq_geq(block_right, left):
            if index < SACK_BLOCKS_EXPECTED:
                return
            grown = (
                int(left) if seq_lt(left, block_left) else block_left,
                int(right) if seq_gt(right, block_right) else block_right,
            )
            blocks[index] = grown
            break
    else:
        if len(blocks) < MAX_SACK_ISLANDS:
            return
    state.held -= 1
    t.emit(established_segment(t, ACK, acceptable_ack_seq(t), Why.COMPRESSED_ACK, now))


def _trim_sacks(t: Tcb) -> None:
    """Forget islands that RCV.NXT has passed (tcp_sack_remove)."""
    if not t.ofo_seqs and t.ofo_fin < 0:
        t.ofo_seqs = None
        t.ofo_data = None
        t.sack_blocks = None
        return
    if t.sack_blocks:
        t.sack_blocks = [block for block in t.sack_blocks if seq_gt(block[1], t.rcv_nxt)]


def forget_islands(t: Tcb) -> None:
    """Behind the FIN nothing can follow: drop what is held out of order."""
    t.ofo_seqs = None
    t.ofo_data = None
    t.ofo_bytes = 0
    t.ofo_fin = -1
    t.sack_blocks = None


def read(t: Tcb, size: i64, peek: bool) -> bytes:
    """Up to `size` octets for the program; b"" when nothing waits."""
    queue = t.rcv_queue
    if queue is None or size <= 0:
        return b""
    if peek:
        return _peek(t, size)
    first = queue[t.rcv_head]
    left = len(first) - t.rcv_head_off
    if left <= size and (len(queue) == t.rcv_head + 1 or left == size):
        _pop_first(t, queue)
        data = first if t.rcv_head_off == 0 else _view(first)[t.rcv_head_off :]
        t.rcv_head_off = 0
        _consumed(t, left)
        return data if isinstance(data, bytes) else bytes(data)
    if left > size:
        piece = bytes(_view(first)[t.rcv_head_off : t.rcv_head_off + size])
        t.rcv_head_off += size
        _consumed(t, size)
        return piece
    parts: list[Buffer] = []
    total: i64 = 0
    while t.rcv_head < len(queue) and total < size:
        first = queue[t.rcv_head]
        left = len(first) - t.rcv_head_off
        want = size - total
        if left <= want:
            parts.append(_view(first)[t.rcv_head_off :] if t.rcv_head_off else first)
            _pop_first(t, queue)
            t.rcv_head_off = 0
            total += left
        else:
            parts.append(_view(first)[t.rcv_head_off : t.rcv_head_off + want])
            t.rcv_head_off += want
            total += want
    _consumed(t, total)
    return b"".join(parts)


def read_views(t: Tcb) -> list[Buffer]:
    """Everything that waits, as the buffers in which it arrived: no copy."""
    queue = t.rcv_queue
    if queue is None:
        return []
    if t.rcv_head:
        del queue[: t.rcv_head]
    if t.rcv_head_off:
        queue[0] = _view(queue[0])[t.rcv_head_off :]
    _consumed(t, t.rcv_queued)
    return queue


def _pop_first(t: Tcb, queue: list[Buffer]) -> None:
    """Let go of the piece at the head; the places of such pieces are taken out of the list now and then."""
    queue[t.rcv_head] = b""
    t.rcv_head += 1
    if t.rcv_head >= 64 and t.rcv_head * 2 > len(queue):
        del queue[: t.rcv_head]
        t.rcv_head = 0


def _consumed(t: Tcb, count: i64) -> None:
    t.rcv_queued -= count
    t.copied_seq = (t.copied_seq + count) & 0xFFFFFFFF
    if t.rcv_queued == 0:
        t.rcv_queue = None
        t.rcv_head = 0
        t.rcv_head_off = 0


def peek_at(t: Tcb, skip: i64, size: i64) -> bytes:
    """Up to `size` octets behind the next `skip`, which all stay."""
    return b"" if t.rcv_queue is None else _peek(t, skip + size)[skip:]


def _peek(t: Tcb, size: i64) -> bytes:
    parts: list[Buffer] = []
    total: i64 = 0
    offset = t.rcv_head_off
    assert t.rcv_queue is not None
    for index in range(t.rcv_head, len(t.rcv_queue)):
        piece = t.rcv_queue[index]
        want = size - total
        part = _view(piece)[offset : offset + want]
        offset = 0
        parts.append(part)
        total += len(part)
        if total >= size:
            break
    return b"".join(parts)
