"""Reno: slow start and congestion avoidance (RFC 5681 section 3.1)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.cc.base import CongestionControl


@mypyc_attr(acyclic=True)
class Reno(CongestionControl):
    """One more segment per ACKed segment below ssthresh, one more per window above it; half after a loss."""

    name: str = "reno"

    def ssthresh(self, cwnd: i64, now: i64) -> i64:
        """RFC 5681 equation 4, on the window as Linux does (tcp_reno_ssthresh)."""
        half = cwnd >> 1
        return half if half > 2 else 2

    def increase(self, cwnd: i64, cwnd_cnt: i64, ssthresh: i64, acked: i64, now: i64) -> tuple[i64, i64]:
        if cwnd < ssthresh:
            grown = cwnd + acked
            if grown > ssthresh:
                grown = ssthresh
            acked -= grown - cwnd
            cwnd = grown
            if acked == 0:
                return cwnd, cwnd_cnt
        cwnd_cnt += acked
        if cwnd_cnt >= cwnd:
            steps = cwnd_cnt // cwnd
            cwnd_cnt -= steps * cwnd
            cwnd += steps
        return cwnd, cwnd_cnt


RENO: Final = Reno()
"""It keeps no state, so that all connections share it."""
