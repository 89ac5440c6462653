"""When to acknowledge: at once, later, or with data (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2).

Linux begins in quick mode (every segment is acknowledged), leaves it when the
conversation turns out to be interactive (pingpong), and then waits between 40 and
200 ms, adapting to the gaps between segments.
"""

from typing import Final

from timewait.base.instant import NEVER, SEC, USEC
from timewait.base.ints import i64
from timewait.tcp.bsd.window import update_due
from timewait.tcp.compress import AckCompression
from timewait.tcp.reasons import Why
from timewait.tcp.rtt import rto_min_us
from timewait.tcp.tcb import (
    ACK_NOW,
    ACK_PUSHED,
    ACK_PUSHED2,
    ACK_SCHED,
    ACK_TIMER,
    ATO_MIN,
    DELACK_MAX,
    Tcb,
)
from timewait.tcp.window import WELL_FILLED, grow_window, measure_overhead, measure_receiver_rtt, usable_window
from timewait.wire.packet import PSH, Segment

TICK = SEC // 250
"""A jiffy at HZ=250: no timer fires sooner."""
FASTRETRANS_THRESH: Final = 3
"""TCP_FASTRETRANS_THRESH: so many duplicate ACKs make a sender repair the hole."""
MAX_QUICKACKS: Final = 16
"""TCP_MAX_QUICKACKS: immediate acknowledgments at the start of a connection."""


def schedule_ack(t: Tcb) -> None:
    """Something arrived that must be acknowledged sooner or later."""
    t.ack_pending |= ACK_SCHED


def ack_now(t: Tcb, why: Why) -> None:
    """Something arrived that must be acknowledged with the next segment out, at once."""
    t.ack_pending |= ACK_SCHED | ACK_NOW
    t.ack_why = why


def in_quickack_mode(t: Tcb) -> bool:
    """Whether every segment is acknowledged at once."""
    return t.quickack_forced or (t.quick > 0 and t.pingpong < t.net.sysctl.tcp_pingpong_thresh)


def in_pingpong_mode(t: Tcb) -> bool:
    """Whether the program usually answers soon, so that the acknowledgment can ride on its data."""
    return t.pingpong >= t.net.sysctl.tcp_pingpong_thresh


def enter_pingpong_mode(t: Tcb) -> None:
    t.pingpong = t.net.sysctl.tcp_pingpong_thresh


def incr_quickack(t: Tcb, most: i64) -> None:
    """Grant immediate acknowledgments for about half a window."""
    count = t.rcv_wnd // (2 * t.rcv_mss) if t.rcv_mss else 0
    if count == 0:
        count = 2
    if count > most:
        count = most
    if count > t.quick:
        t.quick = count


def enter_quickack_mode(t: Tcb, most: i64) -> None:
    """The sender needs feedback: a duplicate, a gap or an urgent pointer arrived."""
    incr_quickack(t, most)
    t.pingpong = 0
    t.ato = ATO_MIN


def ack_was_sent(t: Tcb, now: i64) -> None:
    """A segment with our acknowledgment leaves: nothing is owed any more (tcp_event_ack_sent)."""
    if t.quick > 0:
        t.quick -= 1
        if t.quick == 0:
            t.ato = ATO_MIN
    t.ack_pending = 0
    t.delack_at = NEVER
    if t.compression is not None:
        t.net.counters.TcpExtTCPAckCompressed += t.compression.held
        t.compression.held = 0
    t.last_ack_sent = t.rcv_nxt
    t.ack_why = Why.ACK


def data_received(t: Tcb, seg: Segment, now: i64) -> None:
    """New in-order data arrived: owe an acknowledgment and adapt the delay (tcp_event_data_recv)."""
    t.ack_pending |= ACK_SCHED
    length = seg.length
    measure_peer_mss(t, seg)
    measure_receiver_rtt(t, length, seg.tsecr, now)
    if t.ato == 0:
        # The first data segment: acknowledge quickly while the peer is in slow start.
        incr_quickack(t, MAX_QUICKACKS)
        t.ato = ATO_MIN
    else:
        gap = now - t.lrcvtime
        if gap <= ATO_MIN // 2:
            t.ato = (t.ato >> 1) + ATO_MIN // 2
        elif gap < t.ato:
            t.ato = (t.ato >> 1) + gap
            if t.ato > t.rto:
                t.ato = t.rto
        elif gap > t.rto:
            # The peer was idle for so long that it restarts slow start.
            incr_quickack(t, MAX_QUICKACKS)
    t.lrcvtime = now
    if length >= WELL_FILLED:
        grow_window(t, length)


def measure_peer_mss(t: Tcb, seg: Segment) -> None:
    """Estimate the peer's segment size; remember short segments, which end a write (tcp_measure_rcv_mss)."""
    length = seg.gso_size if seg.gso_size else seg.length
    if length >= t.rcv_mss:
        if length != t.rcv_mss:
            measure_overhead(t, length)
        t.rcv_mss = length if length < t.advmss else t.advmss
        if seg.length < t.rcv_mss or (seg.length == t.rcv_mss and seg.flags & PSH):
            t.ack_pending |= ACK_PUSHED
        return
    if t.ack_pending & ACK_PUSHED:
        t.ack_pending |= ACK_PUSHED2
    t.ack_pending |= ACK_PUSHED


def check_ack(t: Tcb, now: i64) -> None:
    """After a segment was processed: acknowledge at once, or arm the timer (__tcp_ack_snd_check)."""
    if not t.ack_pending & ACK_SCHED or t.ack_pending & ACK_NOW:
        return
    unacked = (t.rcv_nxt - t.rcv_wup) & 0xFFFFFFFF
    if t.rcv_mss < unacked < 0x80000000 and usable_window(t) >= t.rcv_wnd:
        ack_now(t, Why.EVERY_SECOND)
    elif in_quickack_mode(t):
        ack_now(t, Why.QUICK_ACK)
    elif t.ofo_seqs or t.ofo_fin >= 0:
        _acknowledge_hole(t, now)
    else:
        delay_ack(t, now)


def longest_delay(t: Tcb) -> i64:
    """A tick less than the peer's least timeout may be, taking ours for it; TCP_DELACK_MAX_US (tcp_delack_max)."""
    limit = t.wishes.delack_max if t.wishes.delack_max else DELACK_MAX
    ticks = (rto_min_us(t) * USEC + TICK - 1) // TICK
    below = (ticks - 1 if ticks > 2 else 1) * TICK
    return limit if limit < below else below


def _acknowledge_hole(t: Tcb, now: i64) -> None:
    """Data is held out of order: a duplicate ACK at once, or one for several a little later (RFC 5681 4.2)."""
    sysctl = t.net.sysctl
    state = t.compression
    if state is None:
        state = AckCompression()
        t.compression = state
    if not t.sack_ok or state.held >= sysctl.tcp_comp_sack_nr:
        ack_now(t, Why.DUP_ACK)
        return
    if state.rcv_nxt != t.rcv_nxt:
        state.rcv_nxt = t.rcv_nxt
        state.duplicates = 0
    if state.duplicates < FASTRETRANS_THRESH:
        state.duplicates += 1
        ack_now(t, Why.DUP_ACK)
        return
    state.held += 1
    if state.held > 1:
        return
    # A twentieth of the round trip, as both directions know it. An idle machine uses the slack up.
    rtt_us = t.rcv_rtt_us
    if 0 < t.srtt_us >> 3 < rtt_us:
        rtt_us = t.srtt_us >> 3
    delay = rtt_us * 1000 // 20
    if delay > sysctl.tcp_comp_sack_delay_ns:
        delay = sysctl.tcp_comp_sack_delay_ns
    # No delayed acknowledgment can wait as well: the duplicate ACKs before have settled it.
    t.delack_at = now + delay + sysctl.tcp_comp_sack_slack_ns


def _acknowledge_held(t: Tcb, state: AckCompression, now: i64) -> None:
    """The timer of compressed acknowledgments ran out (tcp_compressed_ack_kick)."""
    t.fired("compressed ack", now)
    # The one that leaves is not compressed.
    state.held -= 1
    ack_now(t, Why.COMPRESSED_ACK)


def delay_ack(t: Tcb, now: i64) -> None:
    """Arm the delayed-acknowledgment timer (tcp_send_delayed_ack)."""
    ato = t.ato
    if ato > ATO_MIN:
        most: i64 = DELACK_MAX if in_pingpong_mode(t) or t.ack_pending & ACK_PUSHED else SEC // 2
        if t.srtt_us:
            rtt = (t.srtt_us >> 3) * 1000
            if rtt < ATO_MIN:
                rtt = ATO_MIN
            if rtt < most:
                most = rtt
        if ato > most:
            ato = most
    limit = longest_delay(t)
    if ato > limit:
        ato = limit
    if ato < TICK:
        # Before the first data there is no estimate; Linux's timer then fires with the next tick, not at once.
        ato = TICK
    deadline = now + ato
    if t.ack_pending & ACK_TIMER and t.delack_at != NEVER:
        if t.delack_at <= now + (ato >> 2):
            ack_now(t, Why.DELAYED_ACK)
            return
        if deadline > t.delack_at:
            deadline = t.delack_at
    t.ack_pending |= ACK_SCHED | ACK_TIMER
    t.delack_at = deadline


def delack_timer(t: Tcb, now: i64) -> None:
    """The program did not answer in time (tcp_delack_timer_handler)."""
    t.delack_at = NEVER
    state = t.compression
    if state is not None and state.held:
        _acknowledge_held(t, state, now)
        return
    t.ack_pending &= ~ACK_TIMER
    if not t.ack_pending & ACK_SCHED:
        return
    t.fired("delack", now)
    if in_pingpong_mode(t):
        # We guessed that the program answers soon; it did not.
        t.pingpong = 0
        t.ato = ATO_MIN
    else:
        doubled = t.ato << 1
        t.ato = doubled if doubled < t.rto else t.rto
    t.net.counters.TcpExtDelayedACKs += 1
    ack_now(t, Why.DELAYED_ACK)


def program_read(t: Tcb, copied: i64) -> None:
    """The program took data: acknowledge when the window opened much, or when it was waited for (tcp_cleanup_rbuf)."""
    if t.bsd:
        if copied > 0 and update_due(t):
            ack_now(t, Why.WINDOW_UPDATE)
        return
    if t.ack_pending & ACK_SCHED:
        unacked = (t.rcv_nxt - t.rcv_wup) & 0xFFFFFFFF
        if t.rcv_mss < unacked < 0x80000000:
            ack_now(t, Why.EVERY_SECOND)
            return
        pushed = t.ack_pending & ACK_PUSHED2 or (t.ack_pending & ACK_PUSHED and not in_pingpong_mode(t))
        if copied > 0 and pushed and t.rcv_queued == 0:
            ack_now(t, Why.ACK)
            return
    if copied > 0 and not t.rcv_fin:
        offered = t.receive_window()
        if 2 * offered <= t.window_clamp:
            window = usable_window(t)
            if window and window >= 2 * offered:
                ack_now(t, Why.WINDOW_UPDATE)
