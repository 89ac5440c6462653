"""An acknowledgment arrives: free what it covers, measure, decide about losses, grow the window (tcp_ack)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_gt, seq_leq, seq_lt
from timewait.tcp.accecn import acknowledged, is_accurate
from timewait.tcp.arm import rearm_rto
from timewait.tcp.cc.base import RateSample
from timewait.tcp.ecn import echoed
from timewait.tcp.loss.mark import split_sent
from timewait.tcp.loss.queue import Sent
from timewait.tcp.loss.rack import rack_advance, update_reorder_window
from timewait.tcp.loss.recovery import (
    NOT_DUPLICATE,
    cwnd_reduction,
    dubious,
    fast_retransmit_alert,
    remove_reno_sacks,
)
from timewait.tcp.loss.scoreboard import (
    F_ACCURATE,
    F_DATA,
    F_DATA_ACKED,
    F_DATA_SACKED,
    F_DSACK_TLP,
    F_DSACKING,
    F_ECE,
    F_ORIG_SACK_ACKED,
    F_RETRANS_DATA_ACKED,
    F_SET_TIMER,
    F_SYN_ACKED,
    F_UNA_ADVANCED,
    F_WIN_UPDATE,
    AckState,
    apply_sacks,
    delivered_late,
    highest_sack,
    note_late,
)
from timewait.tcp.loss.tlp import schedule_loss_probe
from timewait.tcp.loss.tlp_probe import process_tlp_ack
from timewait.tcp.mtu_probe import succeeded
from timewait.tcp.mtu_search import MtuSearch
from timewait.tcp.persist import window_opened
from timewait.tcp.rate import rate_delivered, rate_generate, update_pacing_rate
from timewait.tcp.reasons import Drop
from timewait.tcp.rtt import rtt_sample, timestamp_sample
from timewait.tcp.segments import update_mss
from timewait.tcp.space import writable
from timewait.tcp.states import SYN_SENT
from timewait.tcp.tcb import CA_CWR, CA_OPEN, CA_RECOVERY, WAKE_OUT, Tcb
from timewait.wire.packet import FIN, SYN, Segment

ACK_OK: Final = 1
ACK_OLD: Final = 0
ACK_TOO_OLD: Final = -1
ACK_UNSENT: Final = -2


def process_ack(t: Tcb, seg: Segment, now: i64) -> i64:
    """Take SEG.ACK, window and SACK blocks into account; returns what is wrong with it (RFC 9293 3.10.7.4 fifth check).

    RFC 5961 5.2 accepts SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
    """
    ack = seg.ack
    prior_una = t.snd_una
    if seq_lt(ack, prior_una):
        reach = t.max_window if t.max_window < t.bytes_acked else t.bytes_acked
        if seq_lt(ack, (prior_una - reach) & 0xFFFFFFFF):
            return ACK_TOO_OLD
        if seg.sacks and t.sack_ok:
            _old_ack(t, seg, ack, prior_una, now)
        return ACK_OLD
    if seq_gt(ack, t.snd_nxt):
        return ACK_UNSENT
    prior_packets = t.packets_out
    t.err_soft = 0
    t.probes_out = 0
    t.rcv_tstamp = now
    quiet = t.ca_state == CA_OPEN and t.sacked_out == 0 and t.lost_out == 0
    echo = t.ecn_ok and echoed(t, seg)
    if quiet and ack != prior_una and not seg.sacks and prior_packets and not echo:
        _fast_ack(t, seg, ack, now)
        return ACK_OK
    found = AckState()
    found.rate.prior_in_flight = t.packets_in_flight()
    lost_before = t.lost
    found.prior_fack = highest_sack(t)
    if ack != prior_una:
        found.flag |= F_UNA_ADVANCED
        t.retransmits = 0
    if seg.length or seg.flags & 0x03:
        found.flag |= F_DATA
    if echo:
        found.flag |= F_ACCURATE if is_accurate(t) else F_ECE
    _update_window(t, seg, ack, found)
    if seg.sacks and t.sack_ok:
        apply_sacks(t, seg, ack, prior_una, found, now)
    if prior_packets == 0:
        if found.flag & F_ACCURATE:
            acknowledged(t, seg, found, found.sack_delivered, found.sacked_octets)
        if found.flag & F_DSACKING:
            fast_retransmit_alert(t, found, 0, prior_una, now)
        window_opened(t, now)
        process_tlp_ack(t, ack, False, bool(found.flag & F_DSACK_TLP), now)
        return ACK_OK
    delivered_before = t.delivered - found.sack_delivered
    _clean_queue(t, seg, ack, found, now)
    if found.flag & F_ACCURATE:
        octets = ((ack - prior_una) & 0xFFFFFFFF) + found.sacked_octets
        acknowledged(t, seg, found, t.delivered - delivered_before, octets)
    _after_clean(t, seg, ack, prior_una, found, now)
    _rate_and_window(t, found, t.delivered - delivered_before, t.lost - lost_before, now)
    return ACK_OK


def _fast_ack(t: Tcb, seg: Segment, ack: i64, now: i64) -> None:
    """The common case: in order, nothing lost, nothing SACKed."""
    t.retransmits = 0
    t.bytes_acked += (ack - t.snd_una) & 0xFFFFFFFF
    t.snd_una = ack
    window: i64 = seg.window << t.snd_wscale
    if window != t.snd_wnd or t.snd_wl1 != seg.seq:
        _take_window(t, seg, window)
    queue = t.rtx
    acked: i64 = 0
    oldest_at: i64 = -1
    newest_at: i64 = -1
    retransmitted = False
    rs = RateSample()
    rs.prior_in_flight = t.packets_out
    while True:
        sent = queue.first()
        if sent is None:
            break
        if seq_gt(sent.end_seq, ack):
            if not seq_gt(ack, sent.seq):
                break
            acked += _trim_head(t, sent, ack)
            break
        acked += sent.segs
        if sent.retransmissions:
            retransmitted = True
            if sent.retransmitted:
                t.retrans_out -= sent.segs
        else:
            newest_at = sent.sent_at
            if oldest_at < 0:
                oldest_at = newest_at
        rack_advance(t, sent, now)
        rate_delivered(t, sent, rs)
        t.packets_out -= sent.segs
        queue.pop_first()
    t.delivered += acked
    if oldest_at >= 0 and not retransmitted:
        rs.rtt_us = (now - newest_at) // 1000
        rtt_sample(t, (now - oldest_at) // 1000, now, rs.rtt_us)
    elif t.ts_ok and seg.tsecr:
        timestamp_sample(t, seg, now)
    if t.tlp_active:
        process_tlp_ack(t, ack, False, False, now)
    if t.cc is not None:
        t.cc.acked(t, rs.rtt_us, now)
    if t.mtu_search is not None:
        _mtu_probe_arrived(t, t.mtu_search, now)
    if not schedule_loss_probe(t, now, True):
        rearm_rto(t, now)
    t.retrans_stamp = 0
    rate_generate(t, rs, acked, 0, now)
    if t.cc is not None:
        if t.cc.controls:
            t.cc.control(t, rs, now)
        else:
            if acked:
                _grow(t, acked, now)
            update_pacing_rate(t)
    _maybe_writable(t)


def _after_clean(t: Tcb, seg: Segment, ack: i64, prior_una: i64, found: AckState, now: i64) -> None:
    """Losses and timers, once the queue is cleaned."""
    duplicates: i64 = 0
    update_reorder_window(t, found.rate.prior_delivered)
    if t.tlp_active:
        is_duplicate = not found.flag & (NOT_DUPLICATE | F_UNA_ADVANCED | F_DATA_SACKED)
        process_tlp_ack(t, ack, is_duplicate, bool(found.flag & F_DSACK_TLP), now)
    if dubious(found.flag, i64(t.ca_state)):
        if not found.flag & (NOT_DUPLICATE | F_UNA_ADVANCED | F_DSACKING):
            duplicates = 1
        fast_retransmit_alert(t, found, duplicates, prior_una, now)
    if found.flag & F_SET_TIMER and not schedule_loss_probe(t, now, True):
        rearm_rto(t, now)


def _rate_and_window(t: Tcb, found: AckState, delivered: i64, lost: i64, now: i64) -> None:
    """The rate sample is complete: the window follows (tcp_cong_control)."""
    rs = found.rate
    if found.flag & F_ACCURATE:
        t.net.counters.TcpExtTCPDeliveredCE += found.ce
    elif found.flag & F_ECE:
        t.delivered_ce += delivered
        t.net.counters.TcpExtTCPDeliveredCE += delivered
    rate_generate(t, rs, delivered, lost, now)
    if t.cc is not None and t.cc.controls:
        t.cc.control(t, rs, now)
    else:
        if t.ca_state == CA_CWR or t.ca_state == CA_RECOVERY:
            cwnd_reduction(t, delivered, lost, found.flag)
        elif delivered > 0 and _may_raise(t, found.flag):
            _grow(t, delivered, now)
        update_pacing_rate(t)
    _maybe_writable(t)


def _may_raise(t: Tcb, flag: i64) -> bool:
    """On a path that reorders every delivery counts, else only the cumulative ACK (tcp_may_raise_cwnd)."""
    if t.reordering > t.net.sysctl.tcp_reordering:
        return bool(flag & (F_DATA_ACKED | F_SYN_ACKED | F_DATA_SACKED))
    return bool(flag & F_DATA_ACKED)


def _old_ack(t: Tcb, seg: Segment, ack: i64, prior_una: i64, now: i64) -> None:
    """An ACK below SND.UNA may still carry news in its SACK blocks."""
    found = AckState()
    apply_sacks(t, seg, ack, prior_una, found, now)
    if t.ecn_ok and is_accurate(t):
        acknowledged(t, seg, found, found.sack_delivered, found.sacked_octets)
    if t.packets_out:
        fast_retransmit_alert(t, found, 0, prior_una, now)


def _update_window(t: Tcb, seg: Segment, ack: i64, found: AckState) -> None:
    """RFC 9293 3.10.7.4: SND.WND from segments newer than SND.WL1/WL2 (tcp_ack_update_window)."""
    window: i64 = seg.window
    if not seg.flags & SYN:
        window <<= t.snd_wscale
    newer_ack = seq_gt(ack, t.snd_una)
    newer_seq = seq_gt(seg.seq, t.snd_wl1)
    if newer_ack or newer_seq or (seg.seq == t.snd_wl1 and (window > t.snd_wnd or window == 0)):
        # Linux calls it an update although the window is the same: it is no duplicate ACK then.
        found.flag |= F_WIN_UPDATE
        _take_window(t, seg, window)
    t.bytes_acked += (ack - t.snd_una) & 0xFFFFFFFF
    t.snd_una = ack


def _take_window(t: Tcb, seg: Segment, window: i64) -> None:
    t.snd_wl1 = seg.seq
    if window != t.snd_wnd:
        t.snd_wnd = window
        if window > t.max_window:
            t.max_window = window
            update_mss(t)


def _clean_queue(t: Tcb, seg: Segment, ack: i64, found: AckState, now: i64) -> None:
    """Free what the cumulative ACK covers and measure round trips (tcp_clean_rtx_queue)."""
    queue = t.rtx
    acked: i64 = 0
    first_at: i64 = -1
    last_at: i64 = -1
    while True:
        sent = queue.first()
        if sent is None:
            break
        if seq_gt(sent.end_seq, ack):
            if seq_gt(ack, sent.seq):
                trimmed = _trim_head(t, sent, ack)
                if trimmed:
                    acked += trimmed
                    found.flag |= F_DATA_ACKED
            break
        acked += sent.segs
        if sent.retransmissions:
            found.flag |= F_RETRANS_DATA_ACKED
        elif not sent.sacked:
            last_at = sent.sent_at
            if first_at < 0:
                first_at = last_at
            delivered_late(found, sent)
            if not seq_gt(sent.end_seq, t.high_seq):
                found.flag |= F_ORIG_SACK_ACKED
        rate_delivered(t, sent, found.rate)
        _forget_sent(t, seg, sent, found, now)
        found.flag |= F_SYN_ACKED if sent.flags & SYN else F_DATA_ACKED
        queue.pop_first()
    if queue.empty():
        queue.sacked_valid = False
    if found.flag & (F_DATA_ACKED | F_SYN_ACKED):
        _measure(t, seg, first_at, last_at, found, now)
        found.flag |= F_SET_TIMER
        if t.mtu_search is not None:
            _mtu_probe_arrived(t, t.mtu_search, now)
    elif found.sack_rtt_us >= 0:
        found.rate.rtt_us = found.sack_newest_us
        rtt_sample(t, found.sack_rtt_us, now, found.sack_newest_us)
        head = queue.first()
        if head is not None and found.sack_rtt_us > (now - head.sent_at) // 1000:
            # What was sent after the head's last transmission must not put its timeout off again and again.
            found.flag |= F_SET_TIMER
    if t.cc is not None:
        t.cc.acked(t, found.rate.rtt_us, now)
    if t.sack_ok:
        note_late(t, found)
    elif found.flag & (F_DATA_ACKED | F_SYN_ACKED):
        remove_reno_sacks(t, acked)
        if found.flag & F_RETRANS_DATA_ACKED:
            # Without SACK nothing tells which of them were delivered the first time.
            found.flag &= ~F_ORIG_SACK_ACKED


def _mtu_probe_arrived(t: Tcb, search: MtuSearch, now: i64) -> None:
    """The probe under way is acknowledged whole."""
    if search.probe_size and seq_leq(search.probe_end, t.snd_una):
        succeeded(t, search, now)


def _forget_sent(t: Tcb, seg: Segment, sent: Sent, found: AckState, now: i64) -> None:
    """Take an acknowledged piece out of the counts."""
    if sent.sacked:
        t.sacked_out -= sent.segs
        found.sacked_octets -= sent.length
    elif t.sack_ok:
        # Without SACK, duplicate ACKs have counted some of it before: remove_reno_sacks tells them apart.
        t.delivered += sent.segs
        if not (sent.retransmissions and _answers_original(t, seg, sent)):
            rack_advance(t, sent, now)
    if sent.lost:
        t.lost_out -= sent.segs
    if sent.retransmitted:
        t.retrans_out -= sent.segs
    t.packets_out -= sent.segs


def _answers_original(t: Tcb, seg: Segment, sent: Sent) -> bool:
    """The echoed timestamp is older than the retransmission, so that it was spurious (tcp_skb_spurious_retrans)."""
    if not seg.has_ts or seg.tsecr == 0:
        return False
    return seq_lt(seg.tsecr, (sent.sent_at // 1_000_000 + t.ts_offset) & 0xFFFFFFFF)


def _trim_head(t: Tcb, sent: Sent, ack: i64) -> i64:
    """A partial ACK inside a piece: cut the acknowledged part off; returns whole segments freed (tcp_tso_acked)."""
    offset = (ack - sent.seq) & 0xFFFFFFFF
    before = sent.segs
    mss = sent.size if sent.segs > 1 else t.mss_cache
    if not 0 < offset < sent.length and not (offset == sent.length and sent.flags & FIN != 0):
        return 0
    split_sent(t, t.rtx.head, offset, mss)
    freed = sent.segs
    rest = t.rtx.items[t.rtx.head + 1]
    if freed + rest.segs > before:
        freed = before - rest.segs if before > rest.segs else 0
    head = t.rtx.first()
    assert head is not None
    t.packets_out -= head.segs
    if head.sacked:
        t.sacked_out -= head.segs
    if head.lost:
        t.lost_out -= head.segs
    if head.retransmitted:
        t.retrans_out -= head.segs
    t.rtx.pop_first()
    return freed


def _measure(t: Tcb, seg: Segment, first_at: i64, last_at: i64, found: AckState, now: i64) -> None:
    """RFC 6298 3, Karn: sample what was not retransmitted, else the SACK's, else the echoed timestamp.

    Without any of them a timeout that was backed off stays so.
    """
    if first_at >= 0 and not found.flag & F_RETRANS_DATA_ACKED:
        found.rate.rtt_us = (now - last_at) // 1000
        rtt_sample(t, (now - first_at) // 1000, now, found.rate.rtt_us)
    elif found.sack_rtt_us >= 0:
        found.rate.rtt_us = found.sack_newest_us
        rtt_sample(t, found.sack_rtt_us, now, found.sack_newest_us)
    elif t.ts_ok and seg.has_ts and seg.tsecr:
        timestamp_sample(t, seg, now)


def _grow(t: Tcb, acked: i64, now: i64) -> None:
    """Delivered data opens the congestion window if it was in use (RFC 5681 3.1, RFC 7661)."""
    cc = t.cc
    if cc is None or t.state is SYN_SENT:
        return
    limited = t.is_cwnd_limited
    if not limited and t.cwnd < t.ssthresh:
        limited = t.cwnd < 2 * t.max_packets_out
    if not limited:
        return
    cc.increase(t, acked, now)
    t.cwnd_stamp = now


SKB_HEAD: Final = 512
"""MAX_TCP_HEADER and struct skb_shared_info: measured on Linux 6.18, other kernels have up to 640."""


def grow_send_buffer(t: Tcb) -> None:
    """Room for two congestion windows, unless the program fixed the size (tcp_sndbuf_expand)."""
    if t.sndbuf_locked:
        return
    need = t.mss_clamp + SKB_HEAD
    per_mss: i64 = 1
    while per_mss < need:
        per_mss <<= 1
    per_mss += 256
    segments = t.cwnd if t.cwnd > 10 else 10
    if segments < t.reordering + 1:
        segments = t.reordering + 1
    wanted = (t.cc.sndbuf_factor() if t.cc is not None else 2) * segments * per_mss
    most: i64 = t.net.sysctl.tcp_wmem[2]
    if wanted > most:
        wanted = most
    if wanted > t.sndbuf:
        t.sndbuf = wanted


def _maybe_writable(t: Tcb) -> None:
    """A writer waits: give it more room if the path has more (tcp_new_space), tell it once a third is free.

    The path has more when the congestion window is not used up by what has been written (tcp_should_expand_sndbuf).
    """
    if not t.no_space:
        return
    in_flight = t.packets_in_flight()
    if in_flight < t.cwnd and (t.paced or in_flight * t.mss_cache + t.unsent_len < t.cwnd * t.mss_cache):
        grow_send_buffer(t)
        t.cwnd_stamp = t.rcv_tstamp
    if writable(t):
        t.no_space = False
        t.wake |= WAKE_OUT


def ack_drop_reason(verdict: i64) -> Drop:
    """The reason under which a refused acknowledgment is counted."""
    return Drop.ACK_TOO_OLD if verdict == ACK_TOO_OLD else Drop.ACK_OF_UNSENT
