"""A connection that its SYN opened, until the third packet comes: Linux still asks its half-open request.

Such a child may send and receive at once, but its SYN-ACK is repeated like a request's,
and its SYN and RST are judged like a request's (tcp_check_req).
"""

import errno

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_gt
from timewait.tcp.arm import arm
from timewait.tcp.arrive_listen import in_window
from timewait.tcp.fate import fail, limit_answer, reply_reset
from timewait.tcp.loss.recovery import enter_loss
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.rtt import rto_max
from timewait.tcp.segments import established_segment, syn_segment
from timewait.tcp.states import Cause
from timewait.tcp.tcb import TIMER_RTO, Tcb, stamp
from timewait.wire.packet import ACK, RST, SYN, Segment


def waits_for_third_packet(t: Tcb) -> bool:
    """Whether our SYN-ACK is not acknowledged yet (tp->fastopen_rsk)."""
    head = t.rtx.first()
    return head is not None and head.flags & SYN != 0


def check_child(t: Tcb, seg: Segment, now: i64) -> bool:
    """False when the segment is done with; the ordinary checks follow otherwise."""
    flags = seg.flags & (SYN | ACK | RST)
    old = t.ts_ok and seg.has_ts and t.ts_recent != 0 and seq_diff(t.ts_recent, seg.tsval) > 0
    if seg.seq == t.irs and flags == SYN and not old:
        t.dropped(seg, Drop.REQUEST_DUP_SYN, now)
        if limit_answer(t, now):
            t.net.counters.TcpExtTCPACKSkippedSynRecv += 1
        else:
            _repeat(t, Why.SYN_ACK_AGAIN, now)
        return False
    end = (seg.seq + seg.seq_len) & 0xFFFFFFFF
    inside = in_window(seg.seq, end, t.rcv_nxt, (t.rcv_nxt + t.rcv_wnd) & 0xFFFFFFFF)
    if old or not inside:
        t.dropped(seg, Drop.PAWS if old else Drop.REQUEST_OUT_OF_WINDOW, now)
        limited = (seg.seq_len == 0 or seg.flags & SYN) and limit_answer(t, now)
        if limited:
            t.net.counters.TcpExtTCPACKSkippedSynRecv += 1
        elif not flags & RST:
            t.emit(established_segment(t, ACK, t.snd_nxt, Why.DUP_SEGMENT_ACK, now))
        return False
    if seg.seq == t.irs:
        flags &= ~SYN
    if flags & RST:
        # The general check resets or challenges.
        return True
    if flags & SYN:
        t.dropped(seg, Drop.REQUEST_SYN_IN_WINDOW, now)
        t.net.counters.TcpAttemptFails += 1
        t.net.counters.TcpExtEmbryonicRsts += 1
        reply_reset(t, seg, Why.RST_EMBRYONIC)
        return False
    if not flags & ACK:
        t.dropped(seg, Drop.REQUEST_NO_ACK, now)
        return False
    if not seq_gt(seg.ack, t.iss):
        t.dropped(seg, Drop.REQUEST_BAD_ACK, now)
        reply_reset(t, seg, Why.RST_BAD_ACK)
        return False
    return True


def _repeat(t: Tcb, why: Why, now: i64) -> None:
    """The SYN-ACK once more, without the cookie (tcp_rtx_synack)."""
    head = t.rtx.first()
    if head is not None:
        head.retransmissions += 1
    t.total_retrans += 1
    t.net.counters.TcpRetransSegs += 1
    t.net.counters.TcpExtTCPSynRetrans += 1
    t.emit(syn_segment(t, SYN | ACK, why, now))


def child_timer(t: Tcb, now: i64) -> None:
    """The third packet has not come: only the SYN-ACK is repeated, no data and no FIN (tcp_fastopen_synack_timer)."""
    t.fired("rto", now)
    most = t.wishes.syn_retries if t.wishes.syn_retries else t.net.sysctl.tcp_synack_retries + 1
    t.net.counters.TcpExtTCPTimeouts += 1
    if t.retransmits >= most:
        t.net.counters.TcpExtTCPAbortOnTimeout += 1
        fail(t, i64(t.err_soft) if t.err_soft else errno.ETIMEDOUT, Cause.TIMED_OUT, now)
        return
    if t.retransmits == 1:
        enter_loss(t, now)
        t.lost_pending = False
    _repeat(t, Why.RTO, now)
    t.retransmits += 1
    t.total_rto += 1
    if t.rto_stamp == 0:
        t.rto_stamp = stamp(now)
        t.total_rto_recoveries += 1
    if t.retrans_stamp == 0:
        t.retrans_stamp = stamp(now)
    delay: i64 = t.net.profile.rto_init << (t.retransmits if t.retransmits < 24 else 24)
    limit = rto_max(t)
    arm(t, TIMER_RTO, delay if delay < limit else limit, now)
