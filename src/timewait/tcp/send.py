"""The queue of unsent data: what programs wrote, cut into segments when it may leave."""

from collections import deque
from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_gt
from timewait.tcp.tcb import Chunk, Tcb
from timewait.wire.packet import Buffer

SMALL: Final = 4096
"""Writes up to this size are merged into one chunk; larger ones are kept without copying."""


def queued(t: Tcb) -> i64:
    """Octets charged to the send buffer: unsent and unacknowledged."""
    return t.unsent_len + ((t.snd_nxt - t.snd_una) & 0xFFFFFFFF)


def append(t: Tcb, data: Buffer, length: i64, push: bool, fresh: bool = False) -> None:
    """Queue data behind what is there. `data` must not change any more.

    A push mark on a chunk that grows moves to the new end: Linux marks the last
    octet of the socket buffer, not of each write. `fresh`: it begins another buffer.
    """
    if t.unsent is None:
        t.unsent = deque()
    queue = t.unsent
    merged = False
    if t.unsent_len == 0:
        t.packet_begin = t.write_seq
    if queue and not fresh:
        last = queue[-1]
        untouched = (len(queue) > 1 or t.unsent_off == 0) and not last.end_of_record
        if untouched and last.length + length <= SMALL:
            last.data = bytes(last.data) + bytes(data)
            last.length += length
            last.push = push
            merged = True
        elif untouched and last.length + length <= 65536:
            last.push = False
    if not merged:
        chunk = Chunk(data, length)
        chunk.push = push
        queue.append(chunk)
    t.unsent_len += length
    t.write_seq = (t.write_seq + length) & 0xFFFFFFFF


def end_record(t: Tcb) -> None:
    """MSG_EOR: what is queued now shares no segment with what follows."""
    if t.unsent:
        t.tail_room = -1
        t.unsent[-1].end_of_record = True
        t.records_queued = True


def record_length(t: Tcb) -> i64:
    """Unsent octets up to the first end of a record; all of them where there is none."""
    assert t.unsent is not None
    total = -t.unsent_off
    for chunk in t.unsent:
        total += chunk.length
        if chunk.end_of_record:
            return total
    t.records_queued = False
    return total


def force_push(t: Tcb, length: i64) -> bool:
    """With `length` octets more, half a window has been queued since the last PSH (forced_push)."""
    return seq_gt((t.write_seq + length) & 0xFFFFFFFF, (t.pushed_seq + (t.max_window >> 1)) & 0xFFFFFFFF)


def append_much(t: Tcb, data: Buffer, length: i64, push: bool, goal: i64) -> None:
    """As `append` for data of more than half a window: each buffer of `goal` octets that is full may be pushed."""
    begin = t.write_seq
    if t.unsent_len:
        begin = t.snd_nxt if seq_gt(t.snd_nxt, t.packet_begin) else t.packet_begin
        if t.unsent and t.unsent[-1].end_of_record:
            begin = t.write_seq
    filled: i64 = ((t.write_seq - begin) & 0xFFFFFFFF) % goal
    view = memoryview(data)
    at: i64 = 0
    while at < length:
        piece = goal - filled
        if piece > length - at:
            piece = length - at
        append(t, view[at : at + piece], piece, push and at + piece == length, filled == 0)
        at += piece
        filled += piece
        if filled == goal:
            filled = 0
            if force_push(t, 0):
                mark_push(t)


def mark_push(t: Tcb) -> None:
    """PSH on the last octet queued."""
    if t.unsent:
        t.unsent[-1].push = True
    t.pushed_seq = t.write_seq


def take(t: Tcb, count: i64) -> tuple[Buffer, bool]:
    """Remove the next `count` octets (> 0, <= unsent_len): the data, and whether its last octet is marked PSH."""
    assert t.unsent is not None
    queue = t.unsent
    chunk = queue[0]
    offset = t.unsent_off
    left = chunk.length - offset
    t.unsent_len -= count
    if count < left:
        t.unsent_off = offset + count
        return _slice(chunk.data, offset, offset + count), False
    if count == left:
        queue.popleft()
        t.unsent_off = 0
        data = chunk.data if offset == 0 else _slice(chunk.data, offset, chunk.length)
        return data, chunk.push
    parts: list[Buffer] = []
    push = False
    while count > 0:
        chunk = queue[0]
        left = chunk.length - t.unsent_off
        if count < left:
            parts.append(_slice(chunk.data, t.unsent_off, t.unsent_off + count))
            t.unsent_off += count
            push = False
            break
        parts.append(_slice(chunk.data, t.unsent_off, chunk.length))
        push = chunk.push
        queue.popleft()
        t.unsent_off = 0
        count -= left
    return b"".join(parts), push


def _slice(data: Buffer, start: i64, end: i64) -> Buffer:
    """A part of the data: small parts of bytes are copied, anything else is a view."""
    if isinstance(data, memoryview):
        return data[start:end]
    if end - start <= 2048:
        return data[start:end]
    return memoryview(data)[start:end]


def forget_rest(t: Tcb) -> None:
    """Drop all unsent data."""
    t.unsent = None
    t.unsent_off = 0
    t.unsent_len = 0
