"""How a connection ends before its time: errors, resets, giving up (tcp_done, tcp_reset, tcp_write_err)."""

from timewait.base.instant import MSEC, NEVER
from timewait.base.ints import i16, i64
from timewait.base.seq import seq_diff
from timewait.tcp.fastopen_pause import look_back
from timewait.tcp.reasons import Why
from timewait.tcp.remember import save_metrics
from timewait.tcp.segments import reset_for, reset_segment
from timewait.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
    Cause,
    State,
)
from timewait.tcp.tcb import (
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    WAKE_ERR,
    WAKE_HUP,
    WAKE_IN,
    WAKE_OUT,
    WAKE_RDHUP,
    Tcb,
    stamp,
)
from timewait.wire.packet import Segment


def finish(t: Tcb, cause: Cause, now: i64) -> None:
    """Enter CLOSED: timers off, queues for sending emptied, both directions shut (tcp_done)."""
    state = t.state
    if state is not CLOSED:
        counters = t.net.counters
        if state is ESTABLISHED or state is CLOSE_WAIT:
            counters.TcpEstabResets += 1
        elif state is SYN_SENT or state is SYN_RCVD:
            counters.TcpAttemptFails += 1
        t.move(CLOSED, cause, now)
    if t.fast_open_offer is not None:
        look_back(t, now)
    t.rtx_kind = 0
    t.rtx_at = NEVER
    t.delack_at = NEVER
    t.keepalive_at = NEVER
    t.pacing_at = NEVER
    t.shutdown_mask = RCV_SHUTDOWN | SEND_SHUTDOWN
    drop_unsent(t)
    t.ack_pending = 0
    t.done = True
    t.wake |= WAKE_IN | WAKE_OUT | WAKE_HUP | WAKE_RDHUP


def fail(t: Tcb, errno: i64, cause: Cause, now: i64) -> None:
    """End the connection and let the program know why: `errno` is reported once."""
    t.err = i16(errno)
    t.wake |= WAKE_ERR
    finish(t, cause, now)


def drop_unsent(t: Tcb) -> None:
    """Forget everything that waits to be sent or acknowledged (tcp_write_queue_purge)."""
    t.unsent = None
    t.unsent_off = 0
    t.unsent_len = 0
    t.rtx.clear()
    t.packets_out = 0
    t.sacked_out = 0
    t.lost_out = 0
    t.retrans_out = 0
    t.lost_pending = False


def acceptable_seq(t: Tcb) -> i64:
    """SND.NXT, or the window's end when the peer took its window back (tcp_acceptable_seq)."""
    end = t.wnd_end()
    beyond = seq_diff(t.snd_nxt, end)
    if beyond <= 0 or (t.wscale_ok and beyond < 1 << t.rcv_wscale):
        return t.snd_nxt
    return end


def send_reset(t: Tcb, why: Why, now: i64) -> None:
    """Tell the peer that the connection is gone."""
    t.emit(reset_segment(t, acceptable_seq(t), why, now))


def reply_reset(t: Tcb, seg: Segment, why: Why) -> None:
    """Answer one segment with a RST that fits it rather than the connection (tcp_v4_send_reset)."""
    reply = reset_for(seg, why)
    reply.ttl = t.net.sysctl.ip_default_ttl
    t.net.counters.TcpOutRsts += 1
    t.net.counters.TcpOutSegs += 1
    t.emit(reply)


def limit_answer(t: Tcb, now: i64) -> bool:
    """Whether the last answer to an invalid segment is less than tcp_invalid_ratelimit ago; if not, this one counts."""
    interval: i64 = t.net.sysctl.tcp_invalid_ratelimit * MSEC
    if t.last_oow_ack and now - t.last_oow_ack < interval:
        return True
    t.last_oow_ack = stamp(now)
    return False


def queue_fin(t: Tcb, cause: Cause, now: i64) -> None:
    """Our FIN stands behind everything queued: on to FIN-WAIT-1 or LAST-ACK."""
    if t.fin_queued:
        return
    t.fin_queued = True
    t.write_seq = (t.write_seq + 1) & 0xFFFFFFFF
    if t.state is CLOSE_WAIT:
        t.move(LAST_ACK, cause, now)
    elif t.state is ESTABLISHED or (t.state is SYN_RCVD and t.fast_open):
        t.move(FIN_WAIT_1, cause, now)


def become_time_wait(t: Tcb, substate: State, lifetime: i64, cause: Cause, now: i64) -> None:
    """Shrink to a compact record for `lifetime` ns; FIN_WAIT_2 as substate for an orphan (tcp_time_wait)."""
    save_metrics(t, now)
    if t.fast_open_offer is not None:
        look_back(t, now)
    t.time_wait_state = substate
    t.time_wait_for = lifetime
    if substate is TIME_WAIT and t.state is not TIME_WAIT:
        t.move(TIME_WAIT, cause, now)
    t.rtx_kind = 0
    t.rtx_at = NEVER
    t.delack_at = NEVER
    t.keepalive_at = NEVER
    t.pacing_at = NEVER
    t.shutdown_mask = RCV_SHUTDOWN | SEND_SHUTDOWN
    t.done = True
    t.wake |= WAKE_IN | WAKE_OUT | WAKE_HUP | WAKE_RDHUP
