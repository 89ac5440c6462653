"""When a connection takes from its host's metrics, and what it leaves there (tcp_init_metrics, tcp_update_metrics)."""

from typing import Final

from timewait.base.instant import SEC, USEC
from timewait.base.ints import i64
from timewait.tcp.metrics import Metrics
from timewait.tcp.rtt import rto_min_us
from timewait.tcp.tcb import CA_OPEN, INFINITE_SSTHRESH, Tcb

JIFFY: Final = SEC // 250


def save_metrics(t: Tcb, now: i64) -> None:
    """The connection is over: leave what it learnt (tcp_update_metrics)."""
    sysctl = t.net.sysctl
    if sysctl.tcp_no_metrics_save or t.bsd:
        return
    if t.backoff or t.srtt_us == 0:
        # No answer came in time: what is remembered of the round trip is no good either.
        found = t.net.metrics.find(t.laddr, t.raddr, now)
        if found is not None:
            found.rtt = 0
        return
    entry = t.net.metrics.obtain(t.laddr, t.raddr, now)
    error = entry.rtt - t.srtt_us
    # A larger round trip counts at once, a smaller one slowly: too long is better than too short.
    entry.rtt = t.srtt_us if error <= 0 else entry.rtt - (error >> 3)
    if error < 0:
        error = -error
    error >>= 1
    if error < t.mdev_us:
        error = t.mdev_us
    entry.rttvar = error if error >= entry.rttvar else entry.rttvar - ((entry.rttvar - error) >> 2)
    _save_window(t, entry, sysctl.tcp_no_ssthresh_metrics_save == 0)
    entry.stamp = now


def _save_window(t: Tcb, entry: Metrics, thresholds: bool) -> None:
    if t.ssthresh >= INFINITE_SSTHRESH:
        # Slow start was never left.
        half = t.cwnd >> 1
        if thresholds and entry.ssthresh and half > entry.ssthresh:
            entry.ssthresh = half
        if t.cwnd > entry.cwnd:
            entry.cwnd = t.cwnd
    elif t.cwnd >= t.ssthresh and t.ca_state == CA_OPEN:
        if thresholds:
            half = t.cwnd >> 1
            entry.ssthresh = half if half > t.ssthresh else t.ssthresh
        entry.cwnd = (entry.cwnd + t.cwnd) >> 1
    else:
        # A repair was under way: the window says nothing, the threshold little.
        entry.cwnd = (entry.cwnd + t.ssthresh) >> 1
        if thresholds and entry.ssthresh and t.ssthresh > entry.ssthresh:
            entry.ssthresh = t.ssthresh
        if entry.reordering < t.reordering and t.reordering != t.net.sysctl.tcp_reordering:
            entry.reordering = t.reordering


def take_metrics(t: Tcb, now: i64) -> None:
    """A connection begins: what is known of the peer (tcp_init_metrics). Called with the SYN's round trip measured."""
    # What a lost SYN or SYN-ACK made of it says nothing about the path.
    t.ssthresh = INFINITE_SSTHRESH
    entries = t.net.metrics.entries
    if not entries or t.bsd:
        return
    entry = t.net.metrics.find(t.laddr, t.raddr, now)
    if entry is None:
        return
    if entry.ssthresh and not t.net.sysctl.tcp_no_ssthresh_metrics_save:
        t.ssthresh = entry.ssthresh
    if entry.reordering:
        t.reordering = entry.reordering
    if entry.rtt > t.srtt_us:
        # SYNs are small: a data segment may take as long as those before did. Only the first timeout follows it.
        rtt = entry.rtt // (8 * (JIFFY // USEC)) * JIFFY
        margin = rto_min_us(t) * USEC
        t.rto = rtt + (2 * rtt if 2 * rtt > margin else margin)
        if t.srtt_us == 0:
            t.rttvar_us = 0
            t.mdev_us = 0
            t.mdev_max_us = 0
