"""Room in the send buffer as Linux counts it: octets and the overhead of the packets that hold them (sk_wmem_queued).

SO_SNDBUF limits memory, not data. A packet (skb) costs 832 octets beside its data, so that small
ones fill the buffer sooner. What is unsent stands in packets of up to half a window; a writer may
fill the last of them whatever the buffer says, and is stopped only where a new one would
have to begin.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.send import queued
from timewait.tcp.tcb import Tcb
from timewait.tcp.tso import segments_per_packet, size_goal

OVERHEAD: Final[i64] = 832
"""What an skb with a small head adds to its data: measured on Linux 6.18, where MAX_TCP_HEADER is 192."""


def packets(t: Tcb) -> i64:
    """How many packets hold what is unsent or unacknowledged."""
    queue = t.rtx
    count: i64 = len(queue.items) - queue.head - queue.joined
    if t.unsent_len:
        count += _unsent_packets(t)
    return count


def memory(t: Tcb) -> i64:
    """Octets charged to the send buffer (sk_wmem_queued)."""
    if t.bsd:
        return queued(t)
    return queued(t) + OVERHEAD * packets(t)


def _unsent_packets(t: Tcb) -> i64:
    """The last packet, and those before it, which are full."""
    goal = size_goal(t, t.mss_cache)
    before = t.unsent_len - (goal - _tail_room(t, goal))
    count: i64 = 1
    if before > 0:
        count += (before + goal - 1) // goal
    if t.records_queued and t.unsent is not None and len(t.unsent) > count:
        count = len(t.unsent)
    return count


def _tail_room(t: Tcb, goal: i64) -> i64:
    """Octets that the last unsent packet still takes; the more the more of it has left already."""
    if t.unsent_len == 0 or t.tail_room < 0:
        return 0
    if goal - t.unsent_len > t.tail_room:
        return goal - t.unsent_len
    return t.tail_room if t.tail_room < goal else goal


def charge(t: Tcb, length: i64) -> None:
    """So many octets are about to be queued: how much room that leaves in the last packet (tcp_sendmsg_locked).

    A packet that is full is pushed at once. What both windows admit of it makes room in it.
    """
    if t.unsent_len == 0:
        t.tail_room = 0
    if length <= t.tail_room:
        t.tail_room -= length
        return
    goal = size_goal(t, t.mss_cache)
    room = _tail_room(t, goal)
    if length <= room:
        t.tail_room = room - length
        return
    leaves = _may_leave(t)
    stays = length - room if leaves == 0 else t.unsent_len + length - leaves
    over = stays % goal if stays > 0 else 0
    t.tail_room = goal - over if over else 0


def lowat(t: Tcb) -> i64:
    """TCP_NOTSENT_LOWAT or its sysctl: so many unsent octets are enough."""
    return t.wishes.notsent_lowat if t.wishes.notsent_lowat else t.net.sysctl.tcp_notsent_lowat


def room(t: Tcb, wanted: i64) -> i64:
    """How many of so many octets send() takes now; 0 or less for none (sk_stream_memory_free)."""
    if t.bsd:
        free = t.sndbuf - queued(t)
        return free if free < wanted else wanted
    used = memory(t)
    # Segments of more than the overhead: what is wanted costs no more than twice itself and a packet.
    plenty = used + 2 * wanted + 2 * OVERHEAD < t.sndbuf and t.mss_cache >= OVERHEAD
    if plenty and t.unsent_len + wanted < lowat(t):
        return wanted
    return _fill(t, used, wanted)


def _fill(t: Tcb, used: i64, wanted: i64) -> i64:
    """Packet by packet, as tcp_sendmsg does it: each is pushed when it is full."""
    goal = size_goal(t, t.mss_cache)
    left = _tail_room(t, goal)
    leaves = _may_leave(t)
    unsent = t.unsent_len
    enough = lowat(t)
    taken: i64 = 0
    while taken < wanted:
        if left == 0:
            if used >= t.sndbuf or unsent >= enough:
                break
            used += OVERHEAD
            left = goal
        part = left if left < wanted - taken else wanted - taken
        taken += part
        used += part
        left -= part
        unsent += part
        if left == 0 and leaves > 0:
            gone = leaves if leaves < goal else goal
            leaves -= gone
            unsent -= gone
            left = gone if gone < goal else 0
            size = segments_per_packet(t, t.mss_cache) * t.mss_cache
            used += OVERHEAD * (gone // size)
    return taken


def _may_leave(t: Tcb) -> i64:
    """Octets that both windows admit, beyond what waits already."""
    mss = t.mss_cache
    admitted = (t.cwnd - t.packets_in_flight()) * mss
    window = seq_diff(t.wnd_end(), t.snd_nxt)
    if window < admitted:
        admitted = window - window % mss
    return admitted - t.unsent_len if admitted > t.unsent_len else 0


def writable(t: Tcb) -> bool:
    """Whether poll says EPOLLOUT: a third of the buffer is free, and half of tcp_notsent_lowat."""
    used = memory(t)
    if used >= t.sndbuf or t.sndbuf - used < used >> 1:
        return False
    return t.unsent_len << 1 < lowat(t)
