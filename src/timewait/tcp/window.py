"""The receive window: what we offer, and how it grows (RFC 9293 section 3.8.6, Linux tcp_select_window).

A receive buffer of n octets offers less than n as window, because Linux charges
overhead to the same buffer; tcp_adv_win_scale is that share (quirks.md: WIN-1).
"""

from typing import Final

from timewait.base.instant import USEC
from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.bsd.window import offered_window
from timewait.tcp.net import Net
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tcb import MAX_WSCALE, MSS_DEFAULT, RCV_SHUTDOWN, Tcb, stamp

OFO_OVERHEAD: Final = 256
"""Octets charged per out-of-order piece beyond its payload, so that tiny segments cannot pile up."""

SEGMENT_HEADROOM: Final = 424
"""What stands beside the payload in a packet's memory: link and IP and TCP headers, struct skb_shared_info."""
SKB_SIZE: Final = 256
"""struct sk_buff, as SKB_TRUESIZE counts it."""
RATIO_ONE: Final = 256
"""1 << TCP_RMEM_TO_WIN_SCALE."""

WELL_FILLED: Final = 128
"""Shorter segments waste too much of the buffer for the window to grow by them (tcp_event_data_recv)."""

MSS_LEAST: Final = 88
"""TCP_MIN_MSS."""


def window_from_space(sysctl: Sysctl, space: i64) -> i64:
    """How much window a buffer of `space` octets offers."""
    scale = sysctl.tcp_adv_win_scale
    if scale <= 0:
        return space >> -scale
    return space - (space >> scale)


def space_from_window(sysctl: Sysctl, window: i64) -> i64:
    """How large a buffer must be to offer `window` octets."""
    scale = sysctl.tcp_adv_win_scale
    if scale <= 0:
        return window << -scale
    return (window << scale) // ((1 << scale) - 1)


def initial_window(net: Net, space: i64, mss: i64, scaling: bool, most: i64 = 0) -> tuple[i64, i64, i64]:
    """(window to offer in a SYN, window clamp, scale) for a buffer that offers `space`.

    The window is a multiple of mss; the scale is the least with which the largest
    allowed buffer can be offered (tcp_select_initial_window). `most`: what a buffer that
    the program has fixed can ever offer; 0: no such limit.
    """
    clamp: i64 = 65535 << MAX_WSCALE
    if 0 < most < clamp:
        clamp = most
    if space > clamp:
        space = clamp
    window = space
    if window > mss > 0:
        window -= window % mss
    sysctl = net.sysctl
    if sysctl.tcp_workaround_signed_windows:
        if window > 32767:
            window = 32767
    elif window > 65535 and not net.profile.wide_first_window:
        window = 65535
    scale: i64 = 0
    if scaling:
        largest = space if space > sysctl.tcp_rmem[2] else sysctl.tcp_rmem[2]
        if largest > clamp:
            largest = clamp
        scale = min(max(int(largest).bit_length() - 1 - 15, 0), MAX_WSCALE)
    if 65535 << scale < clamp:
        clamp = 65535 << scale
    return window, clamp, scale


def full_space(t: Tcb) -> i64:
    """The window an empty buffer offers."""
    if t.scaling_ratio:
        return t.rcvbuf * t.scaling_ratio // RATIO_ONE
    return window_from_space(t.net.sysctl, t.rcvbuf)


def true_size(length: i64) -> i64:
    """Octets of receive buffer that a segment of `length` takes: its memory is a power of two (skb->truesize)."""
    memory: i64 = 1024
    while memory < length + SEGMENT_HEADROOM:
        memory <<= 1
    return memory + SKB_SIZE


def measure_overhead(t: Tcb, mss: i64) -> None:
    """Learn from the peer's segment size which share of the buffer is payload (tcp_measure_rcv_mss, since 6.6).

    Full segments waste less than the half that was assumed at first, so that the
    window may go on growing although nobody has read yet.
    """
    if not t.net.profile.scaling_ratio:
        return
    t.scaling_ratio = mss * RATIO_ONE // true_size(mss)
    t.window_clamp = full_space(t)
    offered = t.rcv_wnd if t.rcv_wnd < t.window_clamp else t.window_clamp
    if t.rcv_ssthresh < offered:
        t.rcv_ssthresh = offered
    if t.rcv_ssthresh > t.window_clamp:
        t.rcv_ssthresh = t.window_clamp
    if t.window_clamp < t.rcvq_space:
        t.rcvq_space = t.window_clamp


def free_space(t: Tcb) -> i64:
    """The window the buffer offers now."""
    used = t.rcv_queued + t.ofo_bytes
    if t.ofo_seqs is not None:
        used += OFO_OVERHEAD * len(t.ofo_seqs)
    return full_space(t) - used


def usable_window(t: Tcb) -> i64:
    """The window worth offering now: receiver-side silly window avoidance (RFC 9293 3.8.6.2.2)."""
    mss = t.rcv_mss
    free = free_space(t)
    allowed = full_space(t)
    full = t.window_clamp if t.window_clamp < allowed else allowed
    if mss > full:
        mss = full
        if mss <= 0:
            return 0
    if free < full >> 1:
        t.quick = 0
        if t.rcv_wscale:
            free -= free & ((1 << t.rcv_wscale) - 1)
        if free < allowed >> 4 or free < mss:
            return 0
    if free > t.rcv_ssthresh:
        free = t.rcv_ssthresh
    if t.rcv_wscale:
        step: i64 = 1 << t.rcv_wscale
        return (free + step - 1) & ~(step - 1)
    window = t.rcv_wnd
    if window <= free - mss or window > free:
        return free - free % mss
    if mss == full and free > window + (full >> 1):
        return free
    return window


def select_window(t: Tcb) -> i64:
    """Choose the window for a segment that leaves now; returns the raw header field.

    What was offered is never taken back (RFC 9293 3.8.6 SHLD-14), unless
    tcp_shrink_window says so.
    """
    if t.bsd:
        return offered_window(t)
    current = t.receive_window()
    window = usable_window(t)
    if window < current and not (t.net.sysctl.tcp_shrink_window and t.rcv_wscale):
        step: i64 = 1 << t.rcv_wscale
        window = (current + step - 1) & ~(step - 1)
    old = t.rcv_wnd
    t.rcv_wnd = window
    t.rcv_wup = t.rcv_nxt
    # What the field cannot say is taken all the same if it comes: RCV.WND stays.
    most: i64 = 65535
    if t.rcv_wscale == 0 and t.net.sysctl.tcp_workaround_signed_windows:
        most = 32767
    field = window >> t.rcv_wscale
    if field > most:
        field = most
    counters = t.net.counters
    if field == 0:
        if old:
            counters.TcpExtTCPToZeroWindowAdv += 1
    elif old == 0:
        counters.TcpExtTCPFromZeroWindowAdv += 1
    return field


def grow_window(t: Tcb, length: i64) -> None:
    """A well-filled segment lets the offered window grow towards the buffer (tcp_grow_window)."""
    free = free_space(t)
    limit = t.window_clamp if t.window_clamp < free else free
    room = limit - t.rcv_ssthresh
    if room <= 0:
        return
    step = 2 * t.advmss
    if step < 2 * length:
        step = 2 * length
    t.rcv_ssthresh += step if step < room else room
    t.quick |= 1


def measure_receiver_rtt(t: Tcb, length: i64, tsecr: i64, now: i64) -> None:
    """Estimate the RTT from the receiving side, for receive buffer tuning: by timestamps, and by a whole window."""
    if t.ts_ok and tsecr != t.rcv_rtt_mark >> 32 & 0xFFFFFFFF:
        t.rcv_rtt_mark = tsecr << 32 | t.rcv_rtt_mark & 0xFFFFFFFF
        if length >= t.rcv_mss:
            _measure_by_timestamp(t, length, tsecr, now)
    if t.rcv_rtt_time == 0 or seq_diff(t.rcv_nxt, t.rcv_rtt_mark & 0xFFFFFFFF) >= 0:
        if t.rcv_rtt_time:
            sample = (now - t.rcv_rtt_time) // USEC
            if sample <= 0:
                sample = 1
            # What the program reads slowly takes long, too: only a shorter time tells something.
            if t.rcv_rtt_us == 0 or sample < t.rcv_rtt_us:
                t.rcv_rtt_us = sample
        t.rcv_rtt_mark = t.rcv_rtt_mark >> 32 << 32 | (t.rcv_nxt + t.rcv_wnd) & 0xFFFFFFFF
        t.rcv_rtt_time = stamp(now)


def _measure_by_timestamp(t: Tcb, length: i64, tsecr: i64, now: i64) -> None:
    """tcp_rcv_rtt_measure_ts: the first segment that echoes a timestamp."""
    sent_ms = (tsecr - t.ts_offset) & 0xFFFFFFFF
    delta_ms = (now // 1_000_000 - sent_ms) & 0xFFFFFFFF
    if delta_ms == 0 and t.net.profile.scaling_ratio:
        # Since 6.16 less than a millisecond is no sample.
        return
    sample = (delta_ms if delta_ms else 1) * 1000
    if t.rcv_rtt_us == 0 or sample < t.rcv_rtt_us:
        t.rcv_rtt_us = sample
    elif t.rcv_queued > length and t.net.profile.scaling_ratio:
        # The program has not read what came before: a long trip then is of its own making (tcp_rcv_rtt_update).
        return
    else:
        t.rcv_rtt_us += (sample - t.rcv_rtt_us) >> 3


def tune_buffer(t: Tcb, count: i64, now: i64) -> None:
    """The program took `count` octets: grow the receive buffer when it takes more per RTT than the last window.

    What still waits is subtracted: a program that cannot keep up needs no larger buffer
    (tcp_rcv_space_adjust since 6.16). Linux looks after each segment it copies, so that the
    first one of a read decides.
    """
    elapsed = (now - t.rcvq_time) // USEC
    if t.rcv_rtt_us == 0 or elapsed < t.rcv_rtt_us:
        return
    if not t.net.profile.scaling_ratio:
        _tune_buffer_before_6_16(t)
    else:
        rest = count - t.rcv_mss
        seen = (t.copied_seq - rest) & 0xFFFFFFFF if rest > 0 else t.copied_seq
        copied = seq_diff(seen, t.rcvq_seq) - seq_diff(t.rcv_nxt, seen)
        if copied > t.rcvq_space:
            grow_buffer(t, copied)
        t.rcvq_seq = seen
    t.rcvq_time = now


def grow_buffer(t: Tcb, space: i64) -> None:
    """`space` octets are read per RTT: room for twice that, for a sender in slow start, and for what is out of order.

    tcp_rcvbuf_grow.
    """
    before = t.rcvq_space
    t.rcvq_space = space
    sysctl = t.net.sysctl
    if not sysctl.tcp_moderate_rcvbuf or t.rcvbuf_locked or before <= 0:
        return
    window = 2 * space
    window += 2 * (window * (space - before) // before)
    if t.ofo_seqs and t.ofo_data:
        window += t.ofo_seqs[-1] + len(t.ofo_data[-1]) - t.bytes_received
    _set_buffer(t, window)


def _tune_buffer_before_6_16(t: Tcb) -> None:
    copied = seq_diff(t.copied_seq, t.rcvq_seq)
    if copied > t.rcvq_space:
        if t.net.sysctl.tcp_moderate_rcvbuf and not t.rcvbuf_locked and t.rcvq_space > 0:
            window = 2 * copied + 16 * t.advmss
            window += 2 * (window * (copied - t.rcvq_space) // t.rcvq_space)
            _set_buffer(t, window)
        t.rcvq_space = copied
    t.rcvq_seq = t.copied_seq


def _set_buffer(t: Tcb, window: i64) -> None:
    """The buffer that offers `window`, if it is larger and allowed; the clamp follows."""
    sysctl = t.net.sysctl
    wanted = window * RATIO_ONE // t.scaling_ratio if t.scaling_ratio else space_from_window(sysctl, window)
    most: i64 = sysctl.tcp_rmem[2]
    if wanted > most:
        wanted = most
    if wanted > t.rcvbuf:
        t.rcvbuf = wanted
        t.window_clamp = full_space(t)


def start_receiving(t: Tcb, now: i64) -> None:
    """Set the receiver's limits when the connection is established (tcp_init_buffer_space)."""
    full = full_space(t)
    if t.window_clamp > full:
        t.window_clamp = full
    # One segment's room stays in reserve (tcp_app_win is never 0 here).
    if t.window_clamp > 2 * t.advmss and t.window_clamp + t.advmss > full:
        reserve = full - t.advmss
        t.window_clamp = reserve if reserve > 2 * t.advmss else 2 * t.advmss
    if t.rcv_ssthresh > t.window_clamp:
        t.rcv_ssthresh = t.window_clamp
    t.rcvq_space = min(min(t.rcv_ssthresh, t.rcv_wnd), 10 * t.advmss)
    t.rcvq_seq = t.copied_seq
    t.rcvq_time = now
    hint = min(min(t.advmss, t.mss_cache), t.rcv_wnd >> 1)
    if hint > MSS_DEFAULT:
        hint = MSS_DEFAULT
    if hint < MSS_LEAST:
        hint = MSS_LEAST
    t.rcv_mss = hint


def receiving(t: Tcb) -> bool:
    """Whether a program may still read what arrives."""
    return not t.shutdown_mask & RCV_SHUTDOWN
