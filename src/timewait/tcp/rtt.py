"""Round-trip time and the retransmission timeout (RFC 6298), with Linux's arithmetic.

RFC 6298 2.4 floors the whole RTO at 1 s. Linux floors the variance term only, at
tcp_rto_min (200 ms), so that the RTO is never below srtt + 200 ms (quirks.md: RTO-1).
"""

from typing import Final

from timewait.base.instant import SEC, USEC
from timewait.base.ints import i64
from timewait.base.seq import seq_gt
from timewait.tcp.bsd.syn import data_timeout
from timewait.tcp.tcb import Tcb
from timewait.wire.packet import Segment

RTO_FALLBACK: Final = 3 * SEC
"""TCP_TIMEOUT_FALLBACK."""


def rto_max(t: Tcb) -> i64:
    """Upper limit of the timeout in ns (TCP_RTO_MAX_MS, tcp_rto_max_ms)."""
    wished = t.wishes.rto_max
    return wished if wished else t.net.sysctl.tcp_rto_max_ms * 1_000_000


def rto_min_us(t: Tcb) -> i64:
    """Lower limit of the timeout's variance term in us (tcp_rto_min)."""
    wished = t.path.rto_min_us if t.path.rto_min_us else t.wishes.rto_min_us
    return wished if wished else t.net.sysctl.tcp_rto_min_us


def rtt_sample(t: Tcb, rtt_us: i64, now: i64, newest_us: i64 = -1) -> None:
    """Take a measured round-trip time (us, >= 0) into SRTT and RTTVAR, and set the RTO from them.

    SRTT takes the oldest segment of what an ACK covers, which has seen the ACK's delay; the minimum
    takes the newest, if `newest_us` is given (tcp_ack_update_rtt).
    """
    if rtt_us <= 0:
        rtt_us = 1
    if newest_us < 0:
        newest_us = rtt_us
    _update_min_rtt(t, newest_us if newest_us else 1, now)
    rto_min = rto_min_us(t)
    if t.srtt_us == 0:
        t.srtt_us = rtt_us << 3
        t.mdev_us = rtt_us << 1
        t.rttvar_us = t.mdev_us if t.mdev_us > rto_min else rto_min
        t.mdev_max_us = t.rttvar_us
        t.rtt_seq = t.snd_nxt
    else:
        _smooth(t, rtt_us, rto_min)
    set_rto(t)
    t.backoff = 0


def _smooth(t: Tcb, rtt_us: i64, rto_min: i64) -> None:
    """Van Jacobson's filter: SRTT gains 1/8, the deviation 1/4, and only 1/32 when it shrinks."""
    error = rtt_us - (t.srtt_us >> 3)
    t.srtt_us += error
    if t.srtt_us < 1:
        t.srtt_us = 1
    if error < 0:
        error = -error - (t.mdev_us >> 2)
        # A sudden drop of the RTT must not blow up the timeout.
        if error > 0:
            error >>= 3
    else:
        error -= t.mdev_us >> 2
    t.mdev_us += error
    if t.mdev_us > t.mdev_max_us:
        t.mdev_max_us = t.mdev_us
        if t.mdev_max_us > t.rttvar_us:
            t.rttvar_us = t.mdev_max_us
    if seq_gt(t.snd_una, t.rtt_seq):
        if t.mdev_max_us < t.rttvar_us:
            t.rttvar_us -= (t.rttvar_us - t.mdev_max_us) >> 2
        t.rtt_seq = t.snd_nxt
        t.mdev_max_us = rto_min


def set_rto(t: Tcb) -> None:
    """RTO = SRTT + RTTVAR, where RTTVAR holds the factor 4 and the floor; without a sample the initial value."""
    if t.srtt_us == 0:
        t.rto = t.net.profile.rto_init
        return
    if t.bsd:
        t.rto = data_timeout(t, 0)
        return
    rto = ((t.srtt_us >> 3) + t.rttvar_us) * USEC
    limit = rto_max(t)
    t.rto = rto if rto < limit else limit


def timestamp_sample(t: Tcb, seg: Segment, now: i64) -> None:
    """RFC 7323 4: the echo says when the segment that it answers was sent; in ms."""
    sent_ms = (seg.tsecr - t.ts_offset) & 0xFFFFFFFF
    delta = (now // 1_000_000 - sent_ms) & 0xFFFFFFFF
    if delta < 0x80000000 // 1000:
        rtt_sample(t, delta * 1000 if delta else 1000, now)


def without_sample(t: Tcb) -> None:
    """RFC 6298 5.7: the SYN had to be repeated and nothing was measured, so data gets 3 s (tcp_init_metrics)."""
    t.rto = RTO_FALLBACK
    t.rttvar_us = RTO_FALLBACK // USEC
    t.mdev_us = t.rttvar_us
    t.mdev_max_us = t.rttvar_us


def back_off(t: Tcb) -> None:
    """RFC 6298 5.5: the timer doubles, up to the limit."""
    t.backoff += 1
    limit = rto_max(t)
    doubled = t.rto << 1
    t.rto = doubled if doubled < limit else limit


def _update_min_rtt(t: Tcb, rtt_us: i64, now: i64) -> None:
    window: i64 = t.net.sysctl.tcp_min_rtt_wlen * SEC
    if t.min_rtt_us < 0 or rtt_us <= t.min_rtt_us or now - t.min_rtt_at > window:
        t.min_rtt_us = rtt_us
        t.min_rtt_at = now
