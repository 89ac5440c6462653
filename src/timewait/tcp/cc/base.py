"""The interface of a congestion control algorithm (Linux: struct tcp_congestion_ops).

Windows are in segments. An algorithm sees the numbers of its connection through the
`Window` it is given and returns decisions; it never sends.
"""

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr


@mypyc_attr(acyclic=True)
class CongestionControl:
    """One algorithm's state for one connection."""

    name: str = ""

    def own(self) -> "CongestionControl":
        """The connection's own instance, before its first use: what keeps no state is shared."""
        return self

    def ssthresh(self, cwnd: i64, now: i64) -> i64:
        """The slow-start threshold after a loss is detected with this window; at least 2."""
        raise NotImplementedError

    def increase(self, cwnd: i64, cwnd_cnt: i64, ssthresh: i64, acked: i64, now: i64) -> tuple[i64, i64]:
        """The window and the fraction counter after `acked` segments were delivered, window fully used."""
        raise NotImplementedError

    def rtt_sample(self, rtt_us: i64, cwnd: i64, slow_start: bool, una: i64, nxt: i64, now: i64) -> bool:
        """A round-trip time was measured, in us; una and nxt are SND.UNA and SND.NXT. True: end slow start here."""
        return False

    def loss_event(self, now: i64) -> None:
        """A retransmission timeout happened."""

    def after_idle(self, idle: i64, now: i64) -> None:
        """Data leaves after nothing was in flight for `idle` ns."""
