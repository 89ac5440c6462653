"""Segment arrival in SYN-SENT (RFC 9293 section 3.10.7.3, Linux tcp_rcv_synsent_state_process)."""

import errno
from typing import Final

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.ack import process_ack
from timewait.tcp.arm import arm
from timewait.tcp.delack import ack_now, enter_quickack_mode, in_pingpong_mode
from timewait.tcp.ecn import agree
from timewait.tcp.established import ready_to_transfer, syn_ack_covers, take_options
from timewait.tcp.fastopen import syn_ack_arrived
from timewait.tcp.fate import fail, reply_reset
from timewait.tcp.rate import update_pacing_rate
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.rtt import without_sample
from timewait.tcp.segments import syn_segment, update_mss
from timewait.tcp.states import ESTABLISHED, SYN_RCVD, Cause
from timewait.tcp.tcb import ACK_SCHED, ACK_TIMER, DELACK_MAX, TIMER_RTO, TS_OPTION_LENGTH, WAKE_OUT, Tcb
from timewait.wire.packet import ACK, RST, SYN, Segment

SOON: Final = 8 * MSEC
"""TCP_TIMEOUT_MIN, two ticks: a SYN that met an old connection is repeated as soon as our RST has cleared it."""


def arrive_syn_sent(t: Tcb, seg: Segment, now: i64) -> None:
    """First ACK, second RST, fourth SYN, fifth neither."""
    if seg.flags & ACK:
        if not syn_ack_covers(t, seg):
            _refuse(t, seg, Drop.SYNSENT_BAD_ACK, now)
            return
        if seg.has_ts and seg.tsecr and not _echo_is_ours(t, seg, now):
            t.net.counters.TcpExtPAWSActive += 1
            _refuse(t, seg, Drop.SYNSENT_BAD_TSECR, now)
            return
        if seg.flags & RST:
            fail(t, errno.ECONNREFUSED, Cause.RCV_RST, now)
        elif seg.flags & SYN:
            _connected(t, seg, now)
        else:
            t.dropped(seg, Drop.SYNSENT_NO_SYN, now)
        return
    if seg.flags & RST:
        t.dropped(seg, Drop.SYNSENT_RST_NO_ACK, now)
    elif seg.flags & SYN:
        _simultaneous_open(t, seg, now)
    else:
        t.dropped(seg, Drop.SYNSENT_NO_SYN, now)


def _refuse(t: Tcb, seg: Segment, drop: Drop, now: i64) -> None:
    """<SEQ=SEG.ACK><CTL=RST>, unless it is a RST itself; we stay in SYN-SENT."""
    t.dropped(seg, drop, now)
    if t.retransmits == 0:
        arm(t, TIMER_RTO, SOON, now)
    if not seg.flags & RST:
        reply_reset(t, seg, Why.RST_BAD_ACK)


def _echo_is_ours(t: Tcb, seg: Segment, now: i64) -> bool:
    """The echoed timestamp lies between our first SYN and now (RFC 7323 5.3 in spirit, Linux PAWSActive)."""
    echoed = (seg.tsecr - t.ts_offset) & 0xFFFFFFFF
    first = (t.retrans_stamp // MSEC) & 0xFFFFFFFF
    present = (now // MSEC) & 0xFFFFFFFF
    return seq_diff(echoed, first) >= 0 and seq_diff(present, echoed) >= 0


def _take_syn(t: Tcb, seg: Segment, now: i64) -> None:
    """The peer's SYN: its ISN, window and options."""
    take_options(t, seg, now)
    agree(t, seg)
    t.irs = seg.seq
    t.rcv_nxt = (seg.seq + 1) & 0xFFFFFFFF
    t.rcv_wup = t.rcv_nxt
    t.copied_seq = t.rcv_nxt
    t.last_ack_sent = t.rcv_nxt
    # RFC 7323 2.2: the window of a SYN is never scaled.
    t.snd_wnd = seg.window
    t.snd_wl1 = seg.seq
    t.max_window = seg.window


def _connected(t: Tcb, seg: Segment, now: i64) -> None:
    """SYN-ACK: our SYN is acknowledged and we acknowledge the peer's."""
    _take_syn(t, seg, now)
    process_ack(t, seg, now)
    t.snd_wnd = seg.window
    t.max_window = seg.window
    if t.srtt_us == 0:
        without_sample(t)
    t.retransmits = 0
    t.backoff = 0
    t.move(ESTABLISHED, Cause.RCV_SYN_ACK, now)
    _first_pacing_rate(t)
    ready_to_transfer(t, now)
    if t.fast_open_offer is not None:
        syn_ack_arrived(t, seg, now)
    t.wake |= WAKE_OUT
    if t.unsent_len or in_pingpong_mode(t) or t.defer_connect_ack:
        # Data follows at once: let it carry the acknowledgment (EST-11).
        t.ack_pending |= ACK_SCHED | ACK_TIMER
        enter_quickack_mode(t, 16)
        t.delack_at = now + DELACK_MAX
        return
    if t.accecn is not None:
        t.accecn.reflect = t.accecn.agreed
    ack_now(t, Why.HANDSHAKE_ACK)


def _first_pacing_rate(t: Tcb) -> None:
    """Linux sets it while it still reckons with timestamps in every segment (tcp_ack before tcp_finish_connect)."""
    update_mss(t)
    if not t.ts_ok and t.net.sysctl.tcp_timestamps:
        t.mss_cache -= TS_OPTION_LENGTH
    update_pacing_rate(t)


def _simultaneous_open(t: Tcb, seg: Segment, now: i64) -> None:
    """SYN without ACK: both sides opened at once (RFC 9293 3.5 figure 7). Our SYN goes out again, with ACK."""
    _take_syn(t, seg, now)
    if t.rcv_wscale == 0 and t.rcv_wnd > 65535:
        t.rcv_wnd = 65535
    update_mss(t)
    t.move(SYN_RCVD, Cause.RCV_SYN, now)
    head = t.rtx.first()
    if head is not None:
        head.flags |= ACK
    t.emit(syn_segment(t, SYN | ACK, Why.SIMULTANEOUS_SYN_ACK, now))
    if seg.length:
        t.dropped(seg, Drop.SYNSENT_NO_SYN, now)
