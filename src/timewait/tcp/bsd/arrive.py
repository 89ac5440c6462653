"""Segment arrival in FreeBSD's order of checks (tcp_do_segment); what each check does is the engine's.

It differs from Linux's in the order, in what is silent, and in where RFC 5961 may be switched off.
"""

import errno

from timewait.base.instant import MSEC, NEVER
from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_gt, seq_leq, seq_lt
from timewait.tcp.ack import ACK_TOO_OLD, ACK_UNSENT, ack_drop_reason, process_ack
from timewait.tcp.bsd.parameters import BsdParameters
from timewait.tcp.bsd.sack import duplicate_dropped, keep_first, received
from timewait.tcp.bsd.syn import offers_options
from timewait.tcp.bsd.window import acceptable_window, whole_segments
from timewait.tcp.delack import ack_now
from timewait.tcp.established import establish, ready_to_transfer, take_options
from timewait.tcp.fastopen import syn_ack_arrived
from timewait.tcp.fate import become_time_wait, fail, finish, queue_fin, reply_reset, send_reset
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.reassembly import enqueue, forget_islands, hold, join_islands, stream_offset
from timewait.tcp.rtt import without_sample
from timewait.tcp.segments import challenge_segment, established_segment, syn_segment, update_mss
from timewait.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
    Cause,
)
from timewait.tcp.tcb import (
    ACK_SCHED,
    ACK_TIMER,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    WAKE_IN,
    WAKE_OUT,
    WAKE_RDHUP,
    Tcb,
    stamp,
)
from timewait.tcp.urgent import check_urgent
from timewait.wire.packet import ACK, FIN, RST, SYN, URG, Segment


class Arrived:
    """What is left of a segment while it is trimmed to the window; the segment itself may belong to its sender."""

    def __init__(self, seg: Segment) -> None:
        self.seq: i64 = seg.seq
        self.length: i64 = seg.length
        self.skip: i64 = 0
        """Octets of the payload cut off at its beginning."""
        self.fin = bool(seg.flags & FIN)
        self.acknow = False
        """It will be answered whatever happens."""


def parameters(t: Tcb) -> BsdParameters:
    bsd = t.net.sysctl.bsd
    assert bsd is not None
    return bsd


def arrive_bsd(t: Tcb, seg: Segment, now: i64) -> None:
    """A segment for a connection."""
    if seg.flags & SYN and seg.flags & FIN and parameters(t).drop_synfin:
        t.dropped(seg, Drop.SYN_FIN, now)
    elif t.state is SYN_SENT:
        _syn_sent(t, seg, now)
    else:
        _synchronized(t, seg, now)


# SYN-SENT


def _syn_sent(t: Tcb, seg: Segment, now: i64) -> None:
    flags = seg.flags
    if flags & ACK and (seq_leq(seg.ack, t.iss) or seq_gt(seg.ack, t.snd_nxt)):
        t.dropped(seg, Drop.SYNSENT_BAD_ACK, now)
        if not flags & RST:
            reply_reset(t, seg, Why.RST_BAD_ACK)
    elif flags & RST:
        if flags & ACK:
            fail(t, errno.ECONNREFUSED, Cause.RCV_RST, now)
        else:
            t.dropped(seg, Drop.SYNSENT_RST_NO_ACK, now)
    elif not flags & SYN:
        t.dropped(seg, Drop.SYNSENT_NO_SYN, now)
    else:
        _take_syn(t, seg, now)
        if flags & ACK:
            _connected(t, seg, now)
        else:
            _simultaneous_open(t, seg, now)


def _take_syn(t: Tcb, seg: Segment, now: i64) -> None:
    """The peer's SYN: its number, window and options; the buffers become whole segments."""
    take_options(t, seg, now)
    if not offers_options(t):
        # What our last SYN did not offer is not agreed on, whatever the answer says.
        t.ts_ok = t.sack_ok = t.wscale_ok = False
        t.snd_wscale = 0
        t.rcv_wscale = 0
    t.irs = seg.seq
    t.rcv_nxt = (seg.seq + 1) & 0xFFFFFFFF
    t.rcv_wup = t.rcv_nxt
    t.copied_seq = t.rcv_nxt
    t.last_ack_sent = t.rcv_nxt
    t.snd_wnd = seg.window
    t.snd_wl1 = seg.seq
    t.max_window = seg.window
    round_buffers(t)


def round_buffers(t: Tcb) -> None:
    """Buffers hold whole segments of what the peer takes and the path carries (tcp_mss)."""
    mss = t.pmtu - t.header_size
    if t.mss_clamp < mss:
        mss = t.mss_clamp
    t.rcvbuf = whole_segments(t.rcvbuf, mss)
    t.sndbuf = whole_segments(t.sndbuf, mss)
    t.sndbuf_locked = True


def _connected(t: Tcb, seg: Segment, now: i64) -> None:
    """SYN-ACK: established; data and FIN that it carries are taken at once."""
    process_ack(t, seg, now)
    t.snd_wnd = seg.window
    t.max_window = seg.window
    if t.srtt_us == 0:
        without_sample(t)
    t.retransmits = 0
    t.backoff = 0
    t.move(ESTABLISHED, Cause.RCV_SYN_ACK, now)
    t.keepalive_at = NEVER
    ready_to_transfer(t, now)
    if t.fast_open_offer is not None:
        syn_ack_arrived(t, seg, now)
    t.wake |= WAKE_OUT
    if t.shutdown_mask & SEND_SHUTDOWN:
        queue_fin(t, Cause.SHUTDOWN_CALL, now)
    rest = Arrived(seg)
    rest.seq = t.rcv_nxt
    rest.acknow = True
    _trim_right(t, rest)
    if not _text(t, seg, rest, now):
        ack_now(t, Why.HANDSHAKE_ACK)


def _simultaneous_open(t: Tcb, seg: Segment, now: i64) -> None:
    """Our SYN goes out again, with ACK; data waits for the peer's ACK, a FIN has to come again."""
    update_mss(t)
    t.move(SYN_RCVD, Cause.RCV_SYN, now)
    head = t.rtx.first()
    if head is not None:
        head.flags |= ACK
    if seg.length:
        rest = Arrived(seg)
        rest.seq = t.rcv_nxt
        rest.fin = False
        _trim_right(t, rest)
        _hold(t, seg, rest)
    t.emit(syn_segment(t, SYN | ACK, Why.SIMULTANEOUS_SYN_ACK, now))
    bsd = parameters(t)
    t.backoff = 0
    t.rtx_at = now + bsd.rexmit_initial * MSEC


# Synchronized states


def _synchronized(t: Tcb, seg: Segment, now: i64) -> None:
    flags = seg.flags
    state = t.state
    window = acceptable_window(t)
    if state is SYN_RCVD and flags & ACK and not flags & RST and not _acks_our_syn(t, seg):
        t.dropped(seg, Drop.REQUEST_BAD_ACK, now)
        reply_reset(t, seg, Why.RST_BAD_ACK)
        return
    if flags & RST:
        _reset(t, seg, window, now)
        return
    if flags & SYN and (state is not SYN_RCVD or not seq_lt(seg.seq, t.rcv_nxt)):
        _repeated_syn(t, seg, window, now)
        return
    if t.ts_ok and not _timestamp_passes(t, seg, now):
        return
    if state is SYN_RCVD and seq_lt(seg.seq, t.irs):
        t.dropped(seg, Drop.REQUEST_OUT_OF_WINDOW, now)
        reply_reset(t, seg, Why.RST_BAD_ACK)
        return
    rest = Arrived(seg)
    _trim_left(t, seg, rest, now)
    closed = state is not ESTABLISHED and state is not CLOSE_WAIT and state is not SYN_RCVD
    if t.orphan and closed and rest.length:
        t.dropped(seg, Drop.AFTER_CLOSE, now)
        reply_reset(t, seg, Why.RST_AFTER_CLOSE)
        fail(t, errno.ECONNRESET, Cause.DATA_AFTER_CLOSE, now)
        return
    if not _trim_right(t, rest):
        t.dropped(seg, Drop.OUT_OF_WINDOW, now)
        ack_now(t, Why.DUP_SEGMENT_ACK)
        return
    if t.ts_ok and seg.has_ts and not seq_gt(rest.seq, t.last_ack_sent):
        t.ts_recent = seg.tsval
        t.ts_recent_stamp = stamp(now)
    if flags & ACK:
        if not _ack(t, seg, now):
            if rest.acknow and state is CLOSING and t.state is TIME_WAIT:
                # What is old is answered although it brought the acknowledgment of our FIN (tcp_twstart).
                t.emit(established_segment(t, ACK, t.snd_nxt, Why.DUP_SEGMENT_ACK, now))
            return
    elif state is not SYN_RCVD:
        t.dropped(seg, Drop.NO_ACK, now)
        if rest.acknow:
            ack_now(t, Why.DUP_SEGMENT_ACK)
        return
    if flags & URG or t.urg_valid:
        check_urgent(t, seg)
    answered = _text(t, seg, rest, now)
    if rest.acknow and not answered and not t.done:
        if t.state is SYN_RCVD:
            t.emit(syn_segment(t, SYN | ACK, Why.SYN_ACK_AGAIN, now))
        else:
            ack_now(t, Why.DUP_SEGMENT_ACK)


def _acks_our_syn(t: Tcb, seg: Segment) -> bool:
    """SND.UNA < SEG.ACK <= SND.NXT; a listener's child has the acknowledgment of its SYN behind it."""
    if t.passive and not t.fast_open:
        return seg.ack == t.snd_una
    return seq_lt(t.snd_una, seg.ack) and seq_leq(seg.ack, t.snd_nxt)


def _inside(t: Tcb, seq: i64, window: i64) -> bool:
    """RFC 5961's test of a RST or SYN, counted from the last acknowledgment that left."""
    if window == 0:
        return seq == t.last_ack_sent
    return not seq_lt(seq, t.last_ack_sent) and seq_lt(seq, (t.last_ack_sent + window) & 0xFFFFFFFF)


def _reset(t: Tcb, seg: Segment, window: i64, now: i64) -> None:
    """RFC 5961 3.2: exactly at RCV.NXT it resets, elsewhere in the window it is challenged; insecure_rst resets."""
    if not _inside(t, seg.seq, window):
        t.dropped(seg, Drop.RST_OUT_OF_WINDOW, now)
    elif parameters(t).insecure_rst or seg.seq == t.last_ack_sent:
        fail(t, errno.ECONNREFUSED if t.state is SYN_RCVD else errno.ECONNRESET, Cause.RCV_RST, now)
    else:
        t.dropped(seg, Drop.RST_CHALLENGED, now)
        _challenge(t, now)


def _repeated_syn(t: Tcb, seg: Segment, window: i64, now: i64) -> None:
    """RFC 5961 4.2: any SYN is challenged; with insecure_syn one inside the window resets."""
    t.dropped(seg, Drop.SYN_CHALLENGED, now)
    if parameters(t).insecure_syn and _inside(t, seg.seq, window):
        send_reset(t, Why.RST_SYN_IN_WINDOW, now)
        fail(t, errno.ECONNRESET, Cause.RCV_SYN, now)
        return
    t.net.counters.TcpExtTCPSYNChallenge += 1
    _challenge(t, now)


def _challenge(t: Tcb, now: i64) -> None:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, without SACK blocks."""
    t.net.counters.TcpExtTCPChallengeACK += 1
    t.emit(challenge_segment(t, now))


def _timestamp_passes(t: Tcb, seg: Segment, now: i64) -> bool:
    """RFC 7323 3.2 and 5.3: a missing timestamp is silent, an old one is answered if it came with data."""
    if not seg.has_ts:
        if parameters(t).tolerate_missing_ts:
            return True
        t.dropped(seg, Drop.NO_TIMESTAMP, now)
        return False
    if t.ts_recent == 0 or seq_diff(seg.tsval, t.ts_recent) >= 0:
        return True
    t.net.counters.TcpExtPAWSEstab += 1
    t.dropped(seg, Drop.PAWS, now)
    if seg.length:
        ack_now(t, Why.PAWS_ACK)
    return False


def _trim_left(t: Tcb, seg: Segment, rest: Arrived, now: i64) -> None:
    """Cut off what came before, and report it as a duplicate (RFC 2883)."""
    old = seq_diff(t.rcv_nxt, rest.seq)
    if old <= 0:
        return
    if seg.flags & SYN:
        rest.seq = (rest.seq + 1) & 0xFFFFFFFF
        old -= 1
    if old > rest.length or (old == rest.length and not rest.fin):
        rest.fin = False
        rest.acknow = True
        old = rest.length
        t.dropped(seg, Drop.OLD_DUPLICATE, now)
    if old > 0 and t.sack_ok:
        duplicate_dropped(t, rest.seq, (rest.seq + old) & 0xFFFFFFFF)
        rest.acknow = True
    rest.seq = (rest.seq + old) & 0xFFFFFFFF
    rest.skip += old
    rest.length -= old


def _trim_right(t: Tcb, rest: Arrived) -> bool:
    """Cut off what lies beyond the window; False when nothing of it lies inside."""
    window = acceptable_window(t)
    beyond = seq_diff((rest.seq + rest.length) & 0xFFFFFFFF, (t.rcv_nxt + window) & 0xFFFFFFFF)
    if beyond <= 0:
        return True
    if beyond >= rest.length:
        if window or rest.seq != t.rcv_nxt:
            return False
        rest.acknow = True
    rest.length = rest.length - beyond if beyond < rest.length else 0
    rest.fin = False
    return True


def _ack(t: Tcb, seg: Segment, now: i64) -> bool:
    """Fifth check; False when the segment is done with."""
    verdict = process_ack(t, seg, now)
    if verdict in (ACK_UNSENT, ACK_TOO_OLD):
        t.dropped(seg, ack_drop_reason(verdict), now)
        ack_now(t, Why.CHALLENGE_ACK)
        return False
    state = t.state
    if state is SYN_RCVD:
        t.keepalive_at = NEVER
        establish(t, seg, now)
        if t.ofo_seqs:
            _present(t)
    elif t.snd_una != t.write_seq or not t.fin_queued:
        return True
    elif state is FIN_WAIT_1:
        t.shutdown_mask |= SEND_SHUTDOWN
        t.move(FIN_WAIT_2, Cause.RCV_ACK_OF_FIN, now)
        t.wake |= WAKE_OUT
        if t.orphan:
            t.keepalive_at = now + orphan_time(t)
    elif state is CLOSING:
        become_time_wait(t, TIME_WAIT, time_wait_time(t), Cause.RCV_ACK_OF_FIN, now)
        return False
    elif state is LAST_ACK:
        finish(t, Cause.RCV_ACK_OF_FIN, now)
        return False
    return True


def orphan_time(t: Tcb) -> i64:
    """How long an orphan waits in FIN-WAIT-2 (TP_MAXIDLE), in ns."""
    bsd = parameters(t)
    if bsd.fast_finwait2_recycle:
        return bsd.finwait2_timeout * MSEC
    return bsd.keepcnt * bsd.keepintvl * MSEC


def time_wait_time(t: Tcb) -> i64:
    """2 MSL in ns."""
    return 2 * parameters(t).msl * MSEC


# Text and FIN


def _text(t: Tcb, seg: Segment, rest: Arrived, now: i64) -> bool:
    """Queue data and FIN where no FIN came before; True when an acknowledgment of it has been arranged."""
    state = t.state
    if not rest.length and not rest.fin:
        return False
    if t.rcv_fin or state is CLOSED or state is TIME_WAIT:
        t.dropped(seg, Drop.AFTER_FIN, now)
        return False
    if state is SYN_RCVD:
        # What the reassembly queue returns of a FIN is lost before the handshake is complete (tcp_reass).
        rest.fin = False
        if not rest.length:
            return False
    before = t.rcv_nxt
    start = rest.seq
    fin = rest.fin
    delayed = False
    if rest.length:
        t.last_data_recv = now
    if start == before and not t.ofo_seqs and t.ofo_fin < 0 and state is not SYN_RCVD:
        if rest.length:
            _deliver(t, seg, rest)
            t.rcv_nxt = (t.rcv_nxt + rest.length) & 0xFFFFFFFF
        delayed = not rest.acknow and not fin
        if fin:
            t.rcv_nxt = (t.rcv_nxt + 1) & 0xFFFFFFFF
    elif _contradicts_fin(t, rest):
        t.dropped(seg, Drop.AFTER_FIN, now)
        ack_now(t, Why.DUP_ACK)
        return True
    else:
        _hold(t, seg, rest)
        fin = state is not SYN_RCVD and _present(t)
    if rest.length and t.sack_ok:
        _report(t, start, rest.length, before)
    if fin:
        _fin(t, now)
    elif delayed:
        _acknowledge(t, rest.length, now)
    else:
        ack_now(t, Why.DUP_ACK if t.rcv_nxt == before else Why.ACK)
    return True


def _contradicts_fin(t: Tcb, rest: Arrived) -> bool:
    """A FIN before octets that are held, or octets behind a FIN that is: somebody plays games (tcp_reass)."""
    end = stream_offset(t, rest.seq) + rest.length
    if t.ofo_fin >= 0:
        return end > t.ofo_fin
    if not rest.fin or not t.ofo_seqs or t.ofo_data is None:
        return False
    return end < t.ofo_seqs[-1] + len(t.ofo_data[-1])


def _report(t: Tcb, start: i64, length: i64, before: i64) -> None:
    end = (start + length) & 0xFFFFFFFF
    blocks = t.sack_blocks
    if seq_gt(t.rcv_nxt, before) and blocks and blocks[0][1] == start:
        keep_first(t)
    else:
        received(t, start, end)


def _deliver(t: Tcb, seg: Segment, rest: Arrived) -> None:
    """In order: to the program, or away if it does not read any more."""
    if t.shutdown_mask & RCV_SHUTDOWN:
        t.bytes_received += rest.length
        t.copied_seq = (t.copied_seq + rest.length) & 0xFFFFFFFF
        return
    enqueue(t, memoryview(seg.payload)[rest.skip : rest.skip + rest.length], rest.length)
    t.wake |= WAKE_IN


def _hold(t: Tcb, seg: Segment, rest: Arrived) -> None:
    """Out of order, or before the handshake is complete."""
    if t.ofo_seqs is None:
        t.ofo_seqs = []
        t.ofo_data = []
    at = stream_offset(t, rest.seq)
    if rest.fin and t.ofo_fin < 0:
        t.ofo_fin = at + rest.length
    if rest.length:
        t.rcv_ooopack += 1
        hold(t, memoryview(seg.payload)[rest.skip : rest.skip + rest.length], at, rest.length)


def _present(t: Tcb) -> bool:
    """Hand over what now follows RCV.NXT; True when the FIN is reached."""
    fin = join_islands(t)
    if not t.ofo_seqs and t.ofo_fin < 0:
        t.ofo_seqs = None
        t.ofo_data = None
    if t.shutdown_mask & RCV_SHUTDOWN:
        t.rcv_queue = None
        t.rcv_queued = 0
    return fin


def _acknowledge(t: Tcb, length: i64, now: i64) -> None:
    """Data in order: at once, unless delacktime was set; then every second segment or after that time."""
    delay = parameters(t).delay * MSEC
    if delay == 0 or t.ack_pending & ACK_TIMER or length > t.mss_cache:
        ack_now(t, Why.ACK)
        return
    t.ack_pending |= ACK_SCHED | ACK_TIMER
    t.delack_at = now + delay


def _fin(t: Tcb, now: i64) -> None:
    """The peer's FIN is reached in order: acknowledged at once."""
    t.rcv_fin = True
    t.shutdown_mask |= RCV_SHUTDOWN
    t.wake |= WAKE_IN | WAKE_RDHUP
    state = t.state
    if state is FIN_WAIT_2:
        t.emit(established_segment(t, ACK, t.snd_nxt, Why.FIN_ACK, now))
        become_time_wait(t, TIME_WAIT, time_wait_time(t), Cause.RCV_FIN, now)
    else:
        t.move(CLOSING if state is FIN_WAIT_1 else CLOSE_WAIT, Cause.RCV_FIN, now)
        ack_now(t, Why.FIN_ACK)
    forget_islands(t)
