"""RACK: losses inferred from time (RFC 8985 sections 5 and 6.2)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_gt
from timewait.tcp.arm import arm
from timewait.tcp.loss.mark import mark_lost
from timewait.tcp.loss.queue import Sent
from timewait.tcp.tcb import CA_RECOVERY, TIMER_REORDER, Tcb

RECOVERY_THRESHOLD: Final = 16
"""TCP_RACK_RECOVERY_THRESH: recoveries for which a widened reordering window is kept."""


def rack_advance(t: Tcb, sent: Sent, now: i64) -> None:
    """A piece was delivered: remember the most recently sent one of those (RFC 8985 6.2 step 2)."""
    rtt_us = (now - sent.sent_at) // 1000
    if sent.retransmissions and 0 <= rtt_us < t.min_rtt_us:
        # Too quick to answer the retransmission: the original was delivered.
        return
    t.rack_advanced = True
    t.rack_rtt_us = rtt_us
    if _sent_after(sent.order, sent.end_seq, t.rack_order, t.rack_end_seq):
        t.rack_order = sent.order
        t.rack_end_seq = sent.end_seq


def _sent_after(order: i64, end_seq: i64, other_order: i64, other_end: i64) -> bool:
    """RACK_sent_after: later in time, or in the same super-segment and later in the stream.

    Linux compares microseconds, in which it never sends twice. A simulated host sends much in one
    instant, new data before a retransmission of old among it, so the transmissions are counted.
    """
    return order > other_order or (order == other_order and seq_gt(end_seq, other_end))


def reorder_window_us(t: Tcb) -> i64:
    """How long a later delivery is forgiven (RFC 8985 6.2 step 4): none while in recovery without reordering."""
    if t.reord_seen == 0:
        if t.ca_state >= CA_RECOVERY:
            return 0
        if t.sacked_out >= t.reordering and not t.net.sysctl.tcp_recovery & 4:
            return 0
    window = (t.min_rtt_us >> 2) * t.rack_steps
    limit = t.srtt_us >> 3
    return window if window < limit else limit


def rack_mark_lost(t: Tcb, now: i64) -> bool:
    """Mark every piece that was sent long enough before the latest delivered one; True if the timer was armed."""
    if not t.rack_advanced:
        return False
    t.rack_advanced = False
    allowed = t.rack_rtt_us + reorder_window_us(t)
    timeout: i64 = 0
    sent = t.rtx.oldest
    while sent is not None:
        following = sent.after
        if not (sent.lost and not sent.retransmitted):
            if not _sent_after(t.rack_order, t.rack_end_seq, sent.order, sent.end_seq):
                break
            remaining = allowed - (now - sent.sent_at) // 1000
            if remaining <= 0:
                mark_lost(t, sent)
                t.rtx.untouch(sent)
            elif remaining > timeout:
                timeout = remaining
        sent = following
    if timeout:
        arm(t, TIMER_REORDER, timeout * 1000 + 1_000_000, now)
        return True
    return False


def update_reorder_window(t: Tcb, prior_delivered: i64) -> None:
    """Widen the window by a quarter RTT for each round trip that reports a duplicate (RFC 8985 6.2 step 4).

    It is narrow again after sixteen recoveries that were none's fault (tcp_rack_update_reo_wnd).
    `prior_delivered`: what had been delivered when the newest piece acknowledged was sent; 0: no sample.
    """
    if t.net.sysctl.tcp_recovery & 2 or prior_delivered == 0:
        return
    if prior_delivered < t.rack_last_delivered:
        # A round trip has not passed since it was widened.
        t.rack_dsack_seen = False
    if t.rack_dsack_seen:
        if t.rack_steps < 255:
            t.rack_steps += 1
        t.rack_dsack_seen = False
        t.rack_last_delivered = t.delivered
        t.rack_persist = RECOVERY_THRESHOLD
    elif t.rack_persist == 0:
        t.rack_steps = 1
