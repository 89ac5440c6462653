"""How fast data is delivered (draft-cheng-iccrg-delivery-rate-estimation; tcp_rate.c), and pacing by it."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_gt
from timewait.tcp.cc.base import NO_PACING, RateSample
from timewait.tcp.loss.queue import Sent
from timewait.tcp.tcb import Tcb

UNPACED_SEGMENTS: Final = 10
"""The first segments of a connection leave unpaced, as fq's initial quantum lets them."""


def rate_sent(t: Tcb, sent: Sent, now: i64) -> None:
    """A piece leaves: remember what had been delivered by then (tcp_rate_skb_sent)."""
    if t.packets_out == 0:
        t.first_tx_mstamp = now
        t.delivered_mstamp = now
    t.tx_order += 1
    sent.order = t.tx_order
    sent.tx_first = t.first_tx_mstamp
    sent.tx_delivered_at = t.delivered_mstamp
    sent.tx_delivered = t.delivered
    sent.tx_app_limited = t.app_limited != 0


def rate_delivered(t: Tcb, sent: Sent, rs: RateSample) -> None:
    """A piece was delivered: the latest sent of them makes the sample (tcp_rate_skb_delivered)."""
    if sent.tx_delivered_at < 0:
        return
    later = sent.order > rs.last_order or (sent.order == rs.last_order and seq_gt(sent.end_seq, rs.last_end_seq))
    if later:
        rs.prior_delivered = sent.tx_delivered
        rs.prior_mstamp = sent.tx_delivered_at
        rs.is_app_limited = sent.tx_app_limited
        rs.is_retrans = sent.retransmissions > 0
        rs.last_order = sent.order
        rs.last_end_seq = sent.end_seq
        t.first_tx_mstamp = sent.sent_at
        rs.interval_us = (sent.sent_at - sent.tx_first) // 1000
    if sent.sacked:
        sent.tx_delivered_at = -1


def rate_generate(t: Tcb, rs: RateSample, delivered: i64, lost: i64, now: i64) -> None:
    """Finish the sample, and keep the rate that TCP_INFO shows (tcp_rate_gen)."""
    if t.app_limited and seq_gt(t.delivered, t.app_limited):
        t.app_limited = 0
    if delivered:
        t.delivered_mstamp = now
    rs.acked_sacked = delivered
    rs.losses = lost
    if rs.last_order < 0:
        rs.delivered = -1
        rs.interval_us = -1
        return
    rs.delivered = t.delivered - rs.prior_delivered
    # The slower of sending and acknowledging: compressed ACKs must not pass for a faster path.
    acking = (now - rs.prior_mstamp) // 1000
    if acking > rs.interval_us:
        rs.interval_us = acking
    if rs.interval_us < t.min_rtt_us:
        rs.interval_us = -1
        return
    if not rs.is_app_limited or rs.delivered * t.rate_interval_us >= t.rate_delivered * rs.interval_us:
        t.rate_delivered = rs.delivered
        t.rate_interval_us = rs.interval_us
        t.rate_app_limited = rs.is_app_limited


def check_app_limited(t: Tcb) -> None:
    """The program, not the network, is the limit: what is in flight says nothing about the path (same name)."""
    if t.unsent_len >= t.mss_cache or t.lost_out > t.retrans_out:
        return
    in_flight = t.packets_in_flight()
    if in_flight < t.cwnd:
        limited = t.delivered + in_flight
        t.app_limited = limited if limited else 1


def delivery_rate(t: Tcb) -> i64:
    """tcpi_delivery_rate: octets per second of the latest sample that counts."""
    if t.rate_delivered == 0 or t.rate_interval_us <= 0:
        return 0
    return t.rate_delivered * t.mss_cache * 1_000_000 // t.rate_interval_us


def update_pacing_rate(t: Tcb) -> None:
    """What the window amounts to per second, with a margin to let it grow (tcp_update_pacing_rate)."""
    sysctl = t.net.sysctl
    ratio = sysctl.tcp_pacing_ca_ratio
    if t.cwnd < t.ssthresh >> 1:
        ratio = sysctl.tcp_pacing_ss_ratio
    window = t.cwnd if t.cwnd > t.packets_out else t.packets_out
    rate = t.mss_cache * 80_000 * ratio * window
    if t.srtt_us:
        rate //= t.srtt_us
    t.pacing_rate = rate if rate < t.wishes.max_pacing_rate else t.wishes.max_pacing_rate


def pace(t: Tcb, length: i64, now: i64) -> None:
    """A segment of `length` octets leaves: when may the next one (tcp_update_skb_after_send)."""
    before = t.wstamp
    if t.wstamp < now:
        t.wstamp = now
    rate = t.pacing_rate
    if rate <= 0 or rate == NO_PACING or t.data_segs_out < UNPACED_SEGMENTS:
        return
    wait = length * 1_000_000_000 // rate
    credit = t.wstamp - before
    if credit > wait >> 1:
        credit = wait >> 1
    t.wstamp += wait - credit


def limit_pacing(t: Tcb) -> None:
    """SO_MAX_PACING_RATE was set: from now on the connection is paced (sk_setsockopt)."""
    rate = t.wishes.max_pacing_rate
    if t.pacing_rate > rate:
        t.pacing_rate = rate
    if rate != NO_PACING:
        t.paced = True
