"""The timers of one connection: what is armed, when the next is due, what happens then.

One slot serves retransmission, zero-window probe, tail loss probe and reordering, as
in Linux (icsk_retransmit_timer); delayed acknowledgment and keepalive have their own.
"""

from timewait.base.instant import NEVER
from timewait.base.ints import i64
from timewait.tcp.delack import delack_timer
from timewait.tcp.keepalive import keepalive_timer
from timewait.tcp.loss.recovery import reorder_timer
from timewait.tcp.loss.tlp_probe import tail_loss_probe
from timewait.tcp.persist import probe_timer
from timewait.tcp.rto import retransmit_timer
from timewait.tcp.states import CLOSED
from timewait.tcp.tcb import TIMER_PROBE0, TIMER_RTO, TIMER_TLP, Tcb


def next_timeout(t: Tcb) -> i64:
    """The earliest deadline of this connection, in ns on the host's clock; NEVER when none is armed."""
    at = t.rtx_at
    if t.delack_at < at:
        at = t.delack_at
    if t.keepalive_at < at:
        at = t.keepalive_at
    if t.pacing_at < at:
        at = t.pacing_at
    return at


def on_timeout(t: Tcb, now: i64) -> None:
    """Run everything that is due at `now`, in the order of the deadlines' slots."""
    if t.pacing_at <= now:
        # What waited leaves when the output is drained, as after every timer.
        t.pacing_at = NEVER
    if t.delack_at <= now:
        delack_timer(t, now)
    if t.rtx_at <= now and t.state is not CLOSED:
        kind = t.rtx_kind
        t.rtx_at = NEVER
        t.rtx_kind = 0
        if kind == TIMER_RTO:
            retransmit_timer(t, now)
        elif kind == TIMER_PROBE0:
            probe_timer(t, now)
        elif kind == TIMER_TLP:
            tail_loss_probe(t, now)
        else:
            reorder_timer(t, now)
    if t.keepalive_at <= now and t.state is not CLOSED:
        t.keepalive_at = NEVER
        keepalive_timer(t, now)
