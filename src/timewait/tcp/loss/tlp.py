"""Tail loss probe (RFC 8985 section 7): ask after the last segment before the timeout does."""

from typing import Final

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.tcp.arm import arm
from timewait.tcp.states import SYN_RCVD, SYN_SENT
from timewait.tcp.tcb import CA_CWR, CA_OPEN, RTO_MIN, TIMER_TLP, Tcb

TICK: Final = 4 * MSEC
"""A jiffy at HZ=250: Linux adds two to a probe's delay when more than one segment is in flight."""


def schedule_loss_probe(t: Tcb, now: i64, advancing: bool = False) -> bool:
    """Arm the probe instead of the RTO when it would come earlier (RFC 8985 7.2, tcp_schedule_loss_probe)."""
    early = t.net.sysctl.tcp_early_retrans
    if (early != 3 and early != 4) or t.packets_out == 0 or not t.sack_ok:
        return False
    if t.ca_state != CA_OPEN and t.ca_state != CA_CWR:
        return False
    if t.state is SYN_SENT or t.state is SYN_RCVD:
        return False
    if t.srtt_us:
        delay = (t.srtt_us >> 2) * 1000
        delay += RTO_MIN if t.packets_out == 1 else 2 * TICK
    else:
        delay = t.rto
    head = t.rtx.first()
    if head is None:
        return False
    # With `advancing` the timeout would start anew now; else it runs from when the head was sent.
    until_rto = t.rto if advancing else head.sent_at + t.rto - now
    if 0 < until_rto < delay:
        delay = until_rto
    arm(t, TIMER_TLP, delay, now)
    return True
