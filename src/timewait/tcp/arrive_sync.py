"""Segment arrival in the synchronized states: the eight checks in their order (RFC 9293 section 3.10.7.4).

First sequence number (with PAWS before it, RFC 7323 5.3), second RST, third security
(none here), fourth SYN, fifth ACK, sixth URG, seventh segment text, eighth FIN.
"""

import errno
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i16, i64
from timewait.base.seq import seq_diff, seq_geq, seq_gt, seq_lt
from timewait.tcp.accecn import arrived, syn_arrived_again
from timewait.tcp.ack import ACK_OK, ack_drop_reason, process_ack
from timewait.tcp.delack import ack_now, check_ack, enter_pingpong_mode, schedule_ack
from timewait.tcp.ecn import data_arrived
from timewait.tcp.established import establish
from timewait.tcp.fastopen_child import check_child, waits_for_third_packet
from timewait.tcp.fastopen_pause import strange_reset
from timewait.tcp.fate import become_time_wait, fail, finish, limit_answer, reply_reset
from timewait.tcp.keepalive import fin_timeout
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.reassembly import accept_data, forget_islands, note_old_segment, repeated_syn
from timewait.tcp.remember import save_metrics
from timewait.tcp.segments import established_segment
from timewait.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    TIME_WAIT,
    Cause,
)
from timewait.tcp.sysctl import INT_MAX
from timewait.tcp.tcb import (
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    WAKE_ERR,
    WAKE_IN,
    WAKE_OUT,
    WAKE_RDHUP,
    Tcb,
    stamp,
)
from timewait.tcp.urgent import check_urgent
from timewait.wire.packet import ACK, FIN, RST, SYN, URG, Segment

PAWS_IDLE: Final = 24 * 24 * 3600 * SEC
"""TCP_PAWS_24DAYS: after so long a timestamp says nothing any more (RFC 7323 5.5)."""


def arrive_synchronized(t: Tcb, seg: Segment, now: i64) -> None:
    """A segment for a connection beyond SYN-SENT."""
    if t.fast_open and t.state is not ESTABLISHED and waits_for_third_packet(t) and not check_child(t, seg, now):
        return
    if not seg.flags & (ACK | RST | SYN):
        # Linux looks for this before the sequence number: such a segment is never answered.
        t.dropped(seg, Drop.NO_ACK, now)
        return
    if t.ts_ok and seg.has_ts and not _check_paws(t, seg, now):
        return
    if not _check_sequence(t, seg, now):
        return
    if seg.flags & RST:
        _check_reset(t, seg, now)
        return
    if seg.flags & SYN and not _is_syn_ack_of_simultaneous_open(t, seg):
        _challenge(t, seg, Drop.SYN_CHALLENGED, now)
        return
    if t.accecn is not None:
        arrived(t, seg, now)
    if seg.has_ts and t.ts_ok:
        _take_timestamp(t, seg, now)
    if not _check_ack(t, seg, now):
        return
    if not seg.length:
        # What a program held back with MSG_MORE leaves with the next good acknowledgment (tcp_data_snd_check).
        t.more_to_come = False
    if seg.flags & URG or t.urg_valid:
        check_urgent(t, seg)
    if seg.length or seg.flags & FIN:
        _check_text(t, seg, now)
    elif seg.flags & SYN:
        repeated_syn(t, seg)
        syn_arrived_again(t, seg, True)
    if t.state is not CLOSED and not t.done:
        check_ack(t, now)


# First check: sequence number and timestamp


def _check_paws(t: Tcb, seg: Segment, now: i64) -> bool:
    """RFC 7323 5.3 R1: an older timestamp is an old duplicate. A RST is exempt, as on Linux."""
    age = seq_diff(t.ts_recent, seg.tsval)
    if age <= 1 or t.ts_recent_stamp == 0 or t.ts_recent == 0:
        return True
    if now - t.ts_recent_stamp >= PAWS_IDLE or seg.flags & RST:
        return True
    if seg.flags & SYN:
        _challenge(t, seg, Drop.SYN_CHALLENGED, now)
        return False
    if _disordered_ack(t, seg, age):
        return True
    if seg.seq_len == 0 and seg.flags & ACK and seq_lt(seg.seq, t.rcv_nxt):
        # Old pure ACKs are common and need no answer (Linux 6.14).
        t.net.counters.TcpExtPAWSOldAck += 1
        t.dropped(seg, Drop.PAWS, now)
        return False
    t.net.counters.TcpExtPAWSEstab += 1
    t.dropped(seg, Drop.PAWS, now)
    if _rate_limited(t, seg, now):
        t.net.counters.TcpExtTCPACKSkippedPAWS += 1
    else:
        _send_dup_ack(t, seg, Why.PAWS_ACK)
    return False


def _disordered_ack(t: Tcb, seg: Segment, age: i64) -> bool:
    """A pure duplicate ACK that overtook nothing important (tcp_disordered_ack)."""
    return (
        seg.seq_len == 0
        and bool(seg.flags & ACK)
        and seg.seq == t.rcv_nxt
        and seg.ack == t.snd_una
        and (seg.window << t.snd_wscale) == t.snd_wnd
        and age * MSEC <= t.rto
    )


def _check_sequence(t: Tcb, seg: Segment, now: i64) -> bool:
    """Some of the segment must lie in the window (RFC 9293 table 6, tcp_sequence)."""
    end = (seg.seq + seg.seq_len) & 0xFFFFFFFF
    edge = (t.rcv_nxt + t.receive_window()) & 0xFFFFFFFF
    if not seq_lt(end, t.rcv_wup):
        if not seq_gt(end, edge):
            return True
        # A segment that sticks out of the window is taken only while nothing waits to be read (Linux 6.17).
        if not seq_gt(seg.seq, edge) and t.rcv_queued == 0:
            return True
    if seg.flags & RST:
        if _closing_reset(t, seg):
            _reset(t, seg, now)
        else:
            t.dropped(seg, Drop.RST_OUT_OF_WINDOW, now)
        return False
    if seg.flags & SYN:
        _challenge(t, seg, Drop.SYN_CHALLENGED, now)
        return False
    if not seq_lt(end, t.rcv_wup):
        t.net.counters.TcpExtBeyondWindow += 1
    t.dropped(seg, Drop.OUT_OF_WINDOW, now)
    if _rate_limited(t, seg, now):
        t.net.counters.TcpExtTCPACKSkippedSeq += 1
    else:
        _send_dup_ack(t, seg, Why.DUP_SEGMENT_ACK)
    return False


def _send_dup_ack(t: Tcb, seg: Segment, why: Why) -> None:
    """Say what we expect, with DSACK for old data (tcp_send_dupack)."""
    note_old_segment(t, seg.seq, (seg.seq + seg.seq_len) & 0xFFFFFFFF)
    ack_now(t, why)


def _rate_limited(t: Tcb, seg: Segment, now: i64) -> bool:
    """tcp_invalid_ratelimit: two stacks must not answer each other's invalid ACKs for ever (tcp_oow_rate_limited)."""
    if seg.seq_len != 0 and not seg.flags & SYN:
        return False
    return limit_answer(t, now)


# Second check: RST (RFC 5961 3.2)


def _check_reset(t: Tcb, seg: Segment, now: i64) -> None:
    """Exactly at RCV.NXT (or at the right edge of the highest island) it resets; elsewhere it is challenged."""
    if seg.seq == t.rcv_nxt or _closing_reset(t, seg) or _at_island_edge(t, seg):
        _reset(t, seg, now)
        return
    if t.fast_open_offer is not None and t.state is ESTABLISHED:
        strange_reset(t, now)
    _challenge(t, seg, Drop.RST_CHALLENGED, now)


def _closing_reset(t: Tcb, seg: Segment) -> bool:
    """Some stacks reset one below RCV.NXT after our peer's FIN (tcp_reset_check)."""
    if t.state is not CLOSE_WAIT and t.state is not LAST_ACK and t.state is not CLOSING:
        return False
    return seg.seq == (t.rcv_nxt - 1) & 0xFFFFFFFF


def _at_island_edge(t: Tcb, seg: Segment) -> bool:
    if not t.sack_blocks:
        return False
    highest: i64 = t.sack_blocks[0][1]
    for block in t.sack_blocks:
        if seq_gt(block[1], highest):
            highest = block[1]
    return seg.seq == highest


def _reset(t: Tcb, seg: Segment, now: i64) -> None:
    """The peer aborted (tcp_reset): the program sees ECONNRESET, or EPIPE once the peer had finished sending."""
    number = errno.ECONNRESET
    if t.state is CLOSE_WAIT:
        number = errno.EPIPE
    fail(t, number, Cause.RCV_RST, now)


# Fourth check: SYN (RFC 5961 4.2)


def _is_syn_ack_of_simultaneous_open(t: Tcb, seg: Segment) -> bool:
    """In SYN-RECEIVED of a simultaneous open the peer's SYN comes once more, with its ACK."""
    return (
        t.state is SYN_RCVD
        and not t.passive
        and bool(seg.flags & ACK)
        and (seg.seq + 1) & 0xFFFFFFFF == t.rcv_nxt
        and seg.ack == t.snd_nxt
    )


def _challenge(t: Tcb, seg: Segment, drop: Drop, now: i64) -> None:
    """Answer with a challenge ACK, which a peer that really lost its state meets with a RST (RFC 5961)."""
    t.dropped(seg, drop, now)
    counters = t.net.counters
    if drop is Drop.SYN_CHALLENGED:
        if t.state is ESTABLISHED:
            counters.TcpInErrs += 1
        counters.TcpExtTCPSYNChallenge += 1
        syn_arrived_again(t, seg)
    send_challenge_ack(t, now)


def send_challenge_ack(t: Tcb, now: i64) -> None:
    """A challenge ACK, unless the connection's or the host's limit forbids it (tcp_send_challenge_ack)."""
    if limit_answer(t, now):
        t.net.counters.TcpExtTCPACKSkippedChallenge += 1
        return
    net = t.net
    limit = net.sysctl.tcp_challenge_ack_limit
    if limit != INT_MAX:
        second = now // SEC
        if net.challenge_second != second:
            net.challenge_second = second
            # Linux starts each second with a random share, so that the limit tells an attacker nothing.
            net.challenge_count = (limit >> 1) + net.rng.randrange(max(int(limit), 1))
        if net.challenge_count <= 0:
            return
        net.challenge_count -= 1
    net.counters.TcpExtTCPChallengeACK += 1
    ack_now(t, Why.CHALLENGE_ACK)


# Fifth check: ACK


def _take_timestamp(t: Tcb, seg: Segment, now: i64) -> None:
    """RFC 7323 4.3: TS.Recent follows segments that reach Last.ACK.sent."""
    if not seq_gt(seg.seq, t.last_ack_sent) and seq_diff(seg.tsval, t.ts_recent) >= 0:
        t.ts_recent = seg.tsval
        t.ts_recent_stamp = stamp(now)


def _check_ack(t: Tcb, seg: Segment, now: i64) -> bool:
    """RFC 9293 3.10.7.4 fifth check; False when the segment is done with."""
    t.eifel_delayed = (
        seg.has_ts
        and seg.tsecr != 0
        and t.retrans_stamp != 0
        and seq_lt(seg.tsecr, (t.retrans_stamp // 1_000_000 + t.ts_offset) & 0xFFFFFFFF)
    )
    verdict = process_ack(t, seg, now)
    state = t.state
    if state is ESTABLISHED:
        if verdict >= 0:
            return True
        t.dropped(seg, ack_drop_reason(verdict), now)
        send_challenge_ack(t, now)
        return False
    if verdict != ACK_OK:
        if state is SYN_RCVD:
            t.dropped(seg, Drop.REQUEST_BAD_ACK, now)
            reply_reset(t, seg, Why.RST_BAD_ACK)
            return False
        if verdict < 0:
            t.dropped(seg, ack_drop_reason(verdict), now)
            send_challenge_ack(t, now)
            return False
        return True
    if state is SYN_RCVD:
        establish(t, seg, now)
    elif state is FIN_WAIT_1:
        return _fin_wait_1_acked(t, seg, now)
    elif state is CLOSING:
        if t.snd_una == t.write_seq:
            become_time_wait(t, TIME_WAIT, t.net.profile.timewait_len, Cause.RCV_ACK_OF_FIN, now)
            return False
    elif state is LAST_ACK and t.snd_una == t.write_seq:
        save_metrics(t, now)
        finish(t, Cause.RCV_ACK_OF_FIN, now)
        return False
    return True


def _fin_wait_1_acked(t: Tcb, seg: Segment, now: i64) -> bool:
    """Our FIN may now be acknowledged: FIN-WAIT-2, where an orphan waits for a limited time only."""
    if t.snd_una != t.write_seq:
        return True
    t.shutdown_mask |= SEND_SHUTDOWN
    t.move(FIN_WAIT_2, Cause.RCV_ACK_OF_FIN, now)
    if not t.orphan:
        t.wake |= WAKE_OUT
        return True
    end = (seg.seq + seg.length) & 0xFFFFFFFF
    if t.wishes.linger2 < 0:
        t.net.counters.TcpExtTCPAbortOnData += 1
        reply_reset(t, seg, Why.RST_FIN_WAIT_2)
        finish(t, Cause.FIN_WAIT_2_TIMEOUT, now)
        return False
    if seg.seq_len and seq_gt(end, t.rcv_nxt):
        _data_after_close(t, seg, now)
        return False
    timeout = fin_timeout(t)
    limit: i64 = t.net.profile.timewait_len
    if timeout > limit:
        t.keepalive_at = now + timeout - limit
    elif seg.flags & FIN:
        t.keepalive_at = now + timeout
    else:
        become_time_wait(t, FIN_WAIT_2, timeout, Cause.RCV_ACK_OF_FIN, now)
        return False
    return True


def _data_after_close(t: Tcb, seg: Segment, now: i64) -> None:
    """RFC 1122 4.2.2.13: data that no program will read is answered with RST."""
    t.net.counters.TcpExtTCPAbortOnData += 1
    t.dropped(seg, Drop.AFTER_CLOSE, now)
    reply_reset(t, seg, Why.RST_AFTER_CLOSE)
    fail(t, errno.EPIPE if t.state is CLOSE_WAIT else errno.ECONNRESET, Cause.DATA_AFTER_CLOSE, now)


# Seventh check: segment text


def _check_text(t: Tcb, seg: Segment, now: i64) -> None:
    """Data and FIN go to the receive queue where the state allows it."""
    state = t.state
    if state is CLOSE_WAIT or state is CLOSING or state is LAST_ACK:
        if seq_geq(seg.seq, t.rcv_nxt):
            t.dropped(seg, Drop.AFTER_FIN, now)
            return
    if t.shutdown_mask & RCV_SHUTDOWN and state is not ESTABLISHED and state is not SYN_RCVD:
        end = (seg.seq + seg.length) & 0xFFFFFFFF
        if seg.seq_len and seq_gt(end, t.rcv_nxt):
            _data_after_close(t, seg, now)
            return
    if seg.length:
        t.last_data_recv = now
    if t.ecn_ok:
        data_arrived(t, seg)
    if accept_data(t, seg, now):
        _fin_received(t, now)


# Eighth check: FIN


def _fin_received(t: Tcb, now: i64) -> None:
    """The peer's FIN is reached in order (tcp_fin)."""
    schedule_ack(t)
    t.rcv_fin = True
    t.shutdown_mask |= RCV_SHUTDOWN
    t.wake |= WAKE_IN | WAKE_RDHUP
    state = t.state
    if state is ESTABLISHED or state is SYN_RCVD:
        t.move(CLOSE_WAIT, Cause.RCV_FIN, now)
        # The program will probably close soon: let its FIN carry the acknowledgment (quirks.md: DACK-01).
        enter_pingpong_mode(t)
    elif state is FIN_WAIT_1:
        t.emit(established_segment(t, ACK, t.snd_nxt, Why.FIN_ACK, now))
        t.move(CLOSING, Cause.RCV_FIN, now)
    elif state is FIN_WAIT_2:
        t.emit(established_segment(t, ACK, t.snd_nxt, Why.FIN_ACK, now))
        become_time_wait(t, TIME_WAIT, t.net.profile.timewait_len, Cause.RCV_FIN, now)
    forget_islands(t)


def icmp_error(t: Tcb, number: i64, connected: bool, now: i64) -> None:
    """An ICMP error that concerns this connection (RFC 1122 4.2.3.9, RFC 5927, tcp_v4_err).

    An error ends a connection only in SYN-SENT or SYN-RECEIVED; otherwise it is
    remembered and reported if the connection times out.
    """
    if not connected:
        fail(t, number, Cause.ICMP_ERROR, now)
    elif t.wishes.hears_errors:
        # IP_RECVERR: the program wants to know at once, and the connection goes on.
        t.err = i16(number)
        t.wake |= WAKE_ERR
    else:
        t.err_soft = i16(number)
