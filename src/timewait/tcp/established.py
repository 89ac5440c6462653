"""What happens once, when both SYNs are acknowledged (tcp_finish_connect, tcp_init_transfer)."""

from timewait.base.ints import i64
from timewait.base.seq import seq_leq
from timewait.tcp.accecn import third_packet
from timewait.tcp.ack import grow_send_buffer
from timewait.tcp.cc import congestion_control
from timewait.tcp.fate import queue_fin
from timewait.tcp.keepalive import keepalive_idle
from timewait.tcp.mtu_probe import start_search
from timewait.tcp.rate import update_pacing_rate
from timewait.tcp.remember import take_metrics
from timewait.tcp.rtt import rtt_sample, timestamp_sample, without_sample
from timewait.tcp.segments import default_mss, update_mss
from timewait.tcp.states import ESTABLISHED, FIN_WAIT_1, Cause
from timewait.tcp.tcb import (
    MAX_WSCALE,
    SEND_SHUTDOWN,
    TS_OPTION_LENGTH,
    WAKE_OUT,
    Tcb,
    stamp,
)
from timewait.tcp.window import start_receiving
from timewait.wire.packet import ACK, SYN, Segment


def take_options(t: Tcb, seg: Segment, now: i64) -> None:
    """Agree on the options that both SYNs carried (RFC 9293 3.7.1, RFC 7323, RFC 2018)."""
    sysctl = t.net.sysctl
    mss = seg.mss if seg.mss else default_mss(seg)
    if t.wishes.user_mss and t.wishes.user_mss < mss:
        mss = t.wishes.user_mss
    t.mss_clamp = mss
    t.ts_ok = bool(seg.has_ts and sysctl.tcp_timestamps)
    t.sack_ok = bool(seg.sack_permitted and sysctl.tcp_sack)
    t.wscale_ok = bool(seg.wscale >= 0 and sysctl.tcp_window_scaling)
    if t.wscale_ok:
        t.snd_wscale = seg.wscale if seg.wscale < MAX_WSCALE else MAX_WSCALE
    else:
        t.snd_wscale = 0
        if seg.flags & ACK or t.bsd:
            # At a simultaneous open Linux goes on to scale what it offers (quirks.md: EST-23).
            t.rcv_wscale = 0
            if t.window_clamp > 65535:
                t.window_clamp = 65535
    if t.ts_ok:
        t.ts_recent = seg.tsval
        t.ts_recent_stamp = stamp(now)


def ready_to_transfer(t: Tcb, now: i64) -> None:
    """Congestion control, buffers and keepalive begin."""
    if t.ts_ok:
        t.advmss -= TS_OPTION_LENGTH
    update_mss(t)
    if t.net.sysctl.tcp_mtu_probing > 1:
        start_search(t, now)
    take_metrics(t, now)
    name = t.path.congctl if t.path.congctl else t.wishes.congestion
    start_congestion_control(t, name if name else t.net.sysctl.tcp_congestion_control, now)
    # RFC 5681 3.1: after a lost SYN the initial window is one segment, unless the timeout proved spurious.
    t.cwnd = 1 if t.total_retrans > 1 and t.undo_active else t.first_cwnd()
    t.undo_active = False
    if t.passive and t.cc is not None and not t.cc.controls:
        update_pacing_rate(t)
    t.cwnd_stamp = now
    t.ca_state = 0
    t.retrans_stamp = 0
    t.high_seq = t.snd_nxt
    t.lsndtime = stamp(now)
    t.lrcvtime = now
    t.rcv_tstamp = now
    t.cwnd_usage_seq = t.snd_una
    start_receiving(t, now)
    grow_send_buffer(t)
    if t.keepalive:
        t.keepalive_at = now + keepalive_idle(t)


def start_congestion_control(t: Tcb, name: str, now: i64) -> None:
    """The connection begins to use an algorithm, or another (tcp_init_congestion_control). UsageError if unknown."""
    cc = congestion_control(name)
    t.cc = cc
    t.prior_ssthresh = 0
    cc.start(t, now)
    if cc.needs_pacing:
        t.paced = True


def establish(t: Tcb, seg: Segment, now: i64) -> None:
    """SYN-RECEIVED and our SYN is acknowledged (RFC 9293 3.10.7.4 fifth check)."""
    if t.srtt_us == 0 and t.synack_at:
        rtt_sample(t, (now - t.synack_at) // 1000, now)
    elif t.srtt_us == 0 and t.ts_ok and seg.has_ts and seg.tsecr:
        timestamp_sample(t, seg, now)
    if t.srtt_us == 0:
        without_sample(t)
    if t.fast_open:
        # It stood in the retransmission queue, which Linux's never does.
        t.bytes_acked -= 1
    else:
        # The SYN-ACK counts as delivered, though it never stood in the retransmission queue.
        t.delivered += 1
    if t.undo_active and t.ts_ok and seg.has_ts and seg.tsecr == t.first_synack_ts:
        t.undo_active = False
    t.snd_una = seg.ack
    t.snd_wnd = seg.window << t.snd_wscale
    t.max_window = t.snd_wnd
    t.snd_wl1 = seg.seq
    if t.accecn is not None and not seg.flags & SYN:
        third_packet(t, seg)
    t.move(ESTABLISHED, Cause.RCV_ACK_OF_SYN, now)
    if not t.fast_open:
        ready_to_transfer(t, now)
    elif t.cc is not None and not t.cc.controls:
        update_pacing_rate(t)
    t.wake |= WAKE_OUT
    if t.fin_queued:
        t.move(FIN_WAIT_1, Cause.CLOSE_CALL, now)
    elif t.shutdown_mask & SEND_SHUTDOWN:
        queue_fin(t, Cause.SHUTDOWN_CALL, now)


def syn_ack_covers(t: Tcb, seg: Segment) -> bool:
    """Whether SEG.ACK acknowledges our SYN: SND.UNA < SEG.ACK <= SND.NXT."""
    return seg.ack != t.snd_una and seq_leq(t.snd_una, seg.ack) and seq_leq(seg.ack, t.snd_nxt)
