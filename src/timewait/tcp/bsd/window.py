"""FreeBSD's receive window: the buffer itself, without overhead (tcp_output, tcp_mss, soreceive)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.tcb import MAX_WSCALE, Tcb

MAX_WINDOW: Final = 65535
"""TCP_MAXWIN."""


def window_scale(maxsockbuf: i64) -> i64:
    """The least scale with which the largest socket buffer can be offered (tcp_connect, syncache_add)."""
    scale: i64 = 0
    while scale < MAX_WSCALE and MAX_WINDOW << scale < maxsockbuf:
        scale += 1
    return scale


def whole_segments(size: i64, mss: i64) -> i64:
    """A buffer rounded up to whole segments, once the peer's MSS is known (tcp_mss)."""
    if size > mss > 0:
        return (size + mss - 1) // mss * mss
    return size


def acceptable_window(t: Tcb) -> i64:
    """What of the sequence space is taken: the free buffer, but not less than what was offered."""
    space = t.rcvbuf - t.rcv_queued
    if t.passive and space > MAX_WINDOW:
        # What a listener hands over takes no more than the field of its SYN-ACK could say.
        space = MAX_WINDOW
    left = t.receive_window()
    return space if space > left else left


def offered_window(t: Tcb) -> i64:
    """Choose the window for a segment that leaves now; returns the raw header field."""
    space = t.rcvbuf - t.rcv_queued
    if space < t.rcvbuf >> 2 and space < t.mss_cache:
        # Receiver's silly window avoidance.
        space = 0
    most: i64 = MAX_WINDOW << t.rcv_wscale
    if space > most:
        space = most
    left = t.receive_window()
    if space < left:
        space = left
    t.rcv_wnd = space
    t.rcv_wup = t.rcv_nxt
    return space >> t.rcv_wscale


def update_due(t: Tcb) -> bool:
    """Whether a read opened the window enough to say so: two segments and a quarter of the buffer, or half."""
    if t.rcv_fin:
        return False
    space = t.rcvbuf - t.rcv_queued
    most: i64 = MAX_WINDOW << t.rcv_wscale
    if space > most:
        space = most
    gain = space - seq_diff((t.rcv_wup + t.rcv_wnd) & 0xFFFFFFFF, t.rcv_nxt)
    if gain >= 2 * t.mss_cache and (gain >= t.rcvbuf >> 2 or t.rcvbuf <= 8 * t.mss_cache):
        return True
    return 2 * gain >= t.rcvbuf
