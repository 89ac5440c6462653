"""The interface of a congestion control algorithm (Linux: struct tcp_congestion_ops).

Windows are in segments. An algorithm keeps its own variables, reads its connection's
and sets `cwnd`, `cwnd_cnt`, `ssthresh` and `pacing_rate`; it never sends.
"""

from typing import TYPE_CHECKING, Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr

if TYPE_CHECKING:
    from timewait.tcp.tcb import Tcb

# What `event` tells (enum tcp_ca_event).
EVENT_TX_START: Final = 0
"""The first segment leaves while nothing is in flight."""
EVENT_CWND_RESTART: Final = 1
"""Slow start after idle is about to shrink the window."""
EVENT_LOSS: Final = 3
"""A retransmission timeout."""

NO_PACING: Final = 0x7FFFFFFFFFFFFFFF
"""A pacing rate without limit (Linux: ~0UL)."""


@mypyc_attr(acyclic=True, free_list_len=1)
class RateSample:
    """What one acknowledgment says about the rate of delivery (struct rate_sample, tcp_rate.c)."""

    def __init__(self) -> None:
        self.prior_mstamp: i64 = 0
        """When `prior_delivered` was reached, in ns; 0: no sample."""
        self.prior_delivered: i64 = 0
        self.delivered: i64 = -1
        """Segments delivered in the interval; -1: no sample."""
        self.interval_us: i64 = -1
        self.rtt_us: i64 = -1
        """Round trip of the latest segment delivered; -1: unknown."""
        self.losses: i64 = 0
        """Segments newly marked lost."""
        self.acked_sacked: i64 = 0
        """Segments newly delivered."""
        self.prior_in_flight: i64 = 0
        self.last_order: i64 = -1
        self.last_end_seq: i64 = 0
        self.is_app_limited = False
        self.is_retrans = False
        self.is_ack_delayed = False


@mypyc_attr(acyclic=True)
class CongestionControl:
    """One algorithm's state for one connection. The defaults are Reno's."""

    name: str = ""
    needs_pacing: bool = False
    """The algorithm wants its segments paced (SK_PACING_NEEDED)."""
    controls: bool = False
    """It sets the window and the rate itself in `control`; PRR and cwnd growth stay out (cong_control)."""

    shared: bool = False
    """One instance serves all connections that have sent nothing yet; `own` makes the connection's."""

    def own(self) -> "CongestionControl":
        """The connection's own instance, before its first data: a hundred thousand idle ones need none."""
        return self

    def start(self, t: "Tcb", now: i64) -> None:
        """The connection begins to use the algorithm (init)."""

    def ssthresh(self, t: "Tcb", now: i64) -> i64:
        """The slow-start threshold after a loss is detected; at least 2."""
        half = t.cwnd >> 1
        return half if half > 2 else 2

    def increase(self, t: "Tcb", acked: i64, now: i64) -> None:
        """`acked` segments were delivered with the window fully used: let it grow (cong_avoid)."""
        raise NotImplementedError

    def acked(self, t: "Tcb", rtt_us: i64, now: i64) -> None:
        """Data was acknowledged; its round trip in us, -1 when unknown (pkts_acked)."""

    def state_changes(self, t: "Tcb", state: i64, now: i64) -> None:
        """The congestion state is about to become one of CA_* (set_state)."""

    def event(self, t: "Tcb", what: i64, now: i64) -> None:
        """One of EVENT_* (cwnd_event)."""

    def undo_window(self, t: "Tcb") -> i64:
        """The window to go back to after a needless reduction (undo_cwnd)."""
        return t.cwnd if t.cwnd > t.prior_cwnd else t.prior_cwnd

    def control(self, t: "Tcb", rs: RateSample, now: i64) -> None:
        """For algorithms with `controls`: every acknowledgment comes here (cong_control)."""

    def min_tso_segs(self, t: "Tcb") -> i64:
        """Fewest segments of a super-segment; 0: tcp_min_tso_segs."""
        return 0

    def sndbuf_factor(self) -> i64:
        """How many windows the send buffer holds (sndbuf_expand)."""
        return 2


def slow_start(t: "Tcb", acked: i64) -> i64:
    """RFC 5681 3.1: one segment more per segment acknowledged, up to ssthresh; what is left of `acked`."""
    grown = t.cwnd + acked
    if grown > t.ssthresh:
        grown = t.ssthresh
    acked -= grown - t.cwnd
    t.cwnd = grown
    return acked


def additive_increase(t: "Tcb", per: i64, acked: i64) -> None:
    """One segment more per `per` segments acknowledged (tcp_cong_avoid_ai)."""
    if t.cwnd_cnt >= per:
        # Credit gathered under a larger divisor counts once.
        t.cwnd_cnt = 0
        t.cwnd += 1
    t.cwnd_cnt += acked
    if t.cwnd_cnt >= per:
        steps = t.cwnd_cnt // per
        t.cwnd_cnt -= steps * per
        t.cwnd += steps
