"""Reno: slow start and congestion avoidance (RFC 5681 section 3.1)."""

from typing import TYPE_CHECKING, Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.cc.base import CongestionControl, additive_increase, slow_start

if TYPE_CHECKING:
    from timewait.tcp.tcb import Tcb


@mypyc_attr(acyclic=True)
class Reno(CongestionControl):
    """One more segment per ACKed segment below ssthresh, one more per window above it; half after a loss."""

    name: str = "reno"

    def increase(self, t: "Tcb", acked: i64, now: i64) -> None:
        if t.cwnd < t.ssthresh:
            acked = slow_start(t, acked)
            if acked == 0:
                return
        additive_increase(t, t.cwnd, acked)


RENO: Final = Reno()
"""It keeps no state, so that all connections share it."""
