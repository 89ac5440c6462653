"""Arming the retransmission slot (Linux tcp_reset_xmit_timer, tcp_rearm_rto)."""

from timewait.base.instant import NEVER
from timewait.base.ints import i16, i64
from timewait.tcp.rtt import rto_max
from timewait.tcp.tcb import RTO_MIN, TIMER_NONE, TIMER_PROBE0, TIMER_RTO, Tcb


def arm(t: Tcb, kind: i64, delay: i64, now: i64) -> None:
    """Let the slot fire as `kind` after `delay` ns, at most the RTO limit."""
    limit = rto_max(t)
    t.rtx_kind = i16(kind)
    t.rtx_at = now + (delay if delay < limit else limit)


def disarm(t: Tcb) -> None:
    """Nothing is waited for any more."""
    t.rtx_kind = TIMER_NONE
    t.rtx_at = NEVER


def rearm_rto(t: Tcb, now: i64) -> None:
    """RFC 6298 5.2, 5.3: off when nothing is in flight, else a full RTO from now.

    When a tail loss probe or the reordering timer ran instead of it, the time already
    waited since the head was sent counts.
    """
    if t.packets_out == 0:
        disarm(t)
        return
    delay = t.rto
    if t.rtx_kind > TIMER_PROBE0:
        head = t.rtx.first()
        if head is not None:
            left = head.sent_at + t.rto - now
            delay = left if left > 1 else 1
    arm(t, TIMER_RTO, delay, now)


def probe0_base(t: Tcb) -> i64:
    """First interval of zero-window probing: the RTO, at least 200 ms (tcp_probe0_base)."""
    return t.rto if t.rto > RTO_MIN else RTO_MIN


def probe0_delay(t: Tcb) -> i64:
    """Interval before the next zero-window probe: doubles each time, up to the RTO limit."""
    limit = rto_max(t)
    shift = t.backoff if t.backoff < 24 else 24
    delay = probe0_base(t) << shift
    return delay if delay < limit else limit


def check_probe_timer(t: Tcb, now: i64) -> None:
    """Nothing in flight, yet something to send: make sure that a timer pushes it (tcp_check_probe_timer)."""
    if t.packets_out == 0 and t.rtx_kind == TIMER_NONE:
        arm(t, TIMER_PROBE0, probe0_base(t), now)
