"""What programs ask of a connection (RFC 9293 sections 3.10.1 to 3.10.6), with Linux's errno and rules.

Nothing here blocks: what would block raises EAGAIN. `now` comes in; segments go out
through `poll_transmit`.
"""

import errno

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.tcp.bsd.close import close_bsd
from timewait.tcp.bsd.layout import lay_out
from timewait.tcp.bsd.syn import begin, offer
from timewait.tcp.delack import program_read
from timewait.tcp.fastopen import attach_data
from timewait.tcp.fate import become_time_wait, drop_unsent, finish, queue_fin, send_reset
from timewait.tcp.isn import NO_ISN, initial_sequence_number, timestamp_offset
from timewait.tcp.keepalive import fin_timeout
from timewait.tcp.rate import check_app_limited
from timewait.tcp.reasons import Why
from timewait.tcp.reassembly import read, read_views
from timewait.tcp.segments import current_mss, update_mss
from timewait.tcp.send import append, append_much, end_record, force_push, mark_push
from timewait.tcp.space import charge, room, writable
from timewait.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    Cause,
)
from timewait.tcp.tcb import (
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    TS_OPTION_LENGTH,
    WAKE_ERR,
    WAKE_HUP,
    WAKE_IN,
    WAKE_OUT,
    WAKE_PRI,
    WAKE_RDHUP,
    Tcb,
)
from timewait.tcp.transmit import start_syn
from timewait.tcp.tso import size_goal
from timewait.tcp.urgent import read_to_mark, readable
from timewait.tcp.window import MSS_LEAST, full_space, initial_window, tune_buffer
from timewait.wire.packet import Buffer


def open_active(t: Tcb, now: i64, isn: i64 = NO_ISN, fast: bytes = b"") -> None:
    """OPEN: choose an ISN, send SYN, enter SYN-SENT (RFC 9293 3.10.1). `isn`: given when a TIME-WAIT is reused."""
    net = t.net
    t.ts_offset = timestamp_offset(net, t.laddr, t.raddr)
    t.iss = isn if isn != NO_ISN else initial_sequence_number(net, t.laddr, t.lport, t.raddr, t.rport, now)
    t.snd_una = t.iss
    t.snd_up = t.iss
    t.snd_sml = t.iss
    t.snd_nxt = (t.iss + 1) & 0xFFFFFFFF
    t.write_seq = t.snd_nxt
    t.pushed_seq = t.snd_nxt
    t.advmss = advertised_mss(t)
    t.announced_mss = t.advmss
    mss: i64 = t.advmss
    if t.ts_recent_stamp and net.sysctl.tcp_timestamps:
        # A TIME-WAIT is taken over, so the peer is known to send timestamps (tcp_connect_init).
        mss -= TS_OPTION_LENGTH
    t.rcv_wnd, t.window_clamp, t.rcv_wscale = initial_window(
        net, full_space(t), mss, net.sysctl.tcp_window_scaling != 0, t.path.window_limit(full_space(t), t.rcvbuf_locked)
    )
    t.rcv_wnd = t.path.first_window(t.rcv_wnd, mss)
    t.rcv_ssthresh = t.rcv_wnd
    t.rcv_nxt = 0
    # Estimated from the window that is offered, which is none yet (tcp_initialize_rcv_mss).
    t.rcv_mss = MSS_LEAST
    if t.bsd:
        offer(t)
    update_mss(t)
    t.move(SYN_SENT, Cause.ACTIVE_OPEN, now)
    net.counters.TcpActiveOpens += 1
    seg = start_syn(t, now)
    if t.fast_open_offer is not None:
        attach_data(t, seg, fast, now)
    if t.bsd:
        begin(t, now)
        seg.raw_options = lay_out(seg)


def advertised_mss(t: Tcb) -> i64:
    """The MSS we announce: the interface's MTU less headers without options (RFC 9293 3.7.1), or TCP_MAXSEG."""
    mss = t.path.advmss if t.path.advmss else t.pmtu - t.header_size
    if t.wishes.user_mss and t.wishes.user_mss < mss:
        mss = t.wishes.user_mss
    return mss if mss > 88 or t.bsd else 88


def send(t: Tcb, data: Buffer, more: bool, now: i64, end_of_record: bool = False) -> int:
    """SEND: queue as much as the buffer takes; returns how many octets. `data` must not change afterwards.

    Raises EAGAIN when there is no room or the handshake is not finished, EPIPE after
    shutdown, and the connection's error once.
    """
    state = t.state
    if state is not ESTABLISHED and state is not CLOSE_WAIT and not (t.fast_open and state is SYN_RCVD):
        if t.err:
            raise take_error(t)
        if state is SYN_SENT or state is SYN_RCVD:
            t.no_space = True
            raise os_error(errno.EAGAIN)
        raise os_error(errno.EPIPE)
    if t.err:
        raise take_error(t)
    if t.shutdown_mask & SEND_SHUTDOWN:
        raise os_error(errno.EPIPE)
    if t.accecn is not None:
        t.accecn.clock = now
    check_app_limited(t)
    length: i64 = len(data)
    space = room(t, length)
    if length > space:
        t.no_space = True
        if space <= 0:
            raise os_error(errno.EAGAIN)
        data = memoryview(data)[:space]
        length = space
        _queue(t, data, length, True)
        t.pushed_seq = t.write_seq
    elif length:
        _queue(t, data, length, not more)
        if not more:
            t.pushed_seq = t.write_seq
        if end_of_record:
            end_record(t)
    t.more_to_come = more
    return int(length)


def _queue(t: Tcb, data: Buffer, length: i64, push: bool) -> None:
    charge(t, length)
    if force_push(t, length):
        append_much(t, data, length, push, size_goal(t, current_mss(t)))
    else:
        append(t, data, length, push)


def send_urgent(t: Tcb, now: i64) -> None:
    """MSG_OOB: the last octet queued is urgent (RFC 9293 3.8.5, RFC 6093)."""
    t.snd_up = t.write_seq
    t.urgent_out = True
    mark_push(t)


def receive(t: Tcb, size: i64, peek: bool, now: i64) -> bytes:
    """RECEIVE: up to `size` octets in order; b"" is the end of the stream.

    Data that waits comes first, then a pending error, then EOF; EAGAIN when there is
    none of them; ENOTCONN on a connection that never was.
    """
    if t.rcv_queued > 0:
        data = read_to_mark(t, size, peek) if t.urg_valid else read(t, size, peek)
        if not peek:
            tune_buffer(t, len(data), now)
            program_read(t, len(data))
        if data or size == 0:
            return data
    nothing_to_read(t)
    return b""


def receive_views(t: Tcb, now: i64) -> list[Buffer]:
    """Everything that waits, without copying; an empty list is the end of the stream. Errors as `receive`."""
    if t.urg_valid:
        data = receive(t, t.rcv_queued, False, now)
        return [data] if data else []
    if t.rcv_queued > 0:
        count = t.rcv_queued
        views = read_views(t)
        tune_buffer(t, count, now)
        program_read(t, count)
        return views
    nothing_to_read(t)
    return []


def nothing_to_read(t: Tcb) -> None:
    """Return for EOF, raise for everything else (the order of tcp_recvmsg).

    Behind the peer's FIN a read gives the end of the stream, even if a RST came later
    (quirks.md: TW-06).
    """
    if t.rcv_fin and not (t.bsd and t.err):
        return
    if t.err:
        raise take_error(t)
    if t.shutdown_mask & RCV_SHUTDOWN:
        return
    if t.state is CLOSED or t.state is LISTEN:
        raise os_error(errno.ENOTCONN)
    raise os_error(errno.EAGAIN)


def take_error(t: Tcb) -> OSError:
    """The pending error, which is thereby reported (sock_error)."""
    number = t.err
    t.err = 0
    return os_error(int(number))


def shutdown_send(t: Tcb, now: i64) -> None:
    """CLOSE of the sending side: FIN behind everything queued (RFC 9293 3.10.4, tcp_shutdown)."""
    if t.state is ESTABLISHED or t.state is CLOSE_WAIT:
        queue_fin(t, Cause.SHUTDOWN_CALL, now)
    # In SYN-RECEIVED the FIN waits for the third packet: see `establish`.
    t.shutdown_mask |= SEND_SHUTDOWN
    t.wake |= WAKE_OUT


def close(t: Tcb, linger: i64, now: i64) -> None:
    """CLOSE by a program that lets go of the connection (tcp_close). linger: SO_LINGER in ns, -1 when off.

    Unread data, or linger 0, aborts with RST; otherwise FIN is sent and the connection
    goes on as an orphan.
    """
    if t.bsd:
        close_bsd(t, linger, now)
        return
    unread = t.rcv_queued > 0
    t.shutdown_mask = RCV_SHUTDOWN | SEND_SHUTDOWN
    state = t.state
    if state is CLOSED:
        t.done = True
        return
    counters = t.net.counters
    t.rcv_queue = None
    t.rcv_queued = 0
    if unread:
        counters.TcpExtTCPAbortOnClose += 1
        send_reset(t, Why.RST_UNREAD, now)
        finish(t, Cause.UNREAD_DATA, now)
        return
    if linger == 0:
        counters.TcpExtTCPAbortOnData += 1
        abort(t, Why.RST_LINGER, now)
        return
    if state is SYN_SENT:
        finish(t, Cause.CLOSE_CALL, now)
        return
    if state is ESTABLISHED or state is CLOSE_WAIT or state is SYN_RCVD:
        queue_fin(t, Cause.CLOSE_CALL, now)
    t.orphan = True
    if t.state is FIN_WAIT_2:
        _orphan_in_fin_wait_2(t, now)
    if not t.done and t.net.orphans >= t.net.sysctl.tcp_max_orphans:
        counters.TcpExtTCPAbortOnMemory += 1
        send_reset(t, Why.RST_NO_MEMORY, now)
        finish(t, Cause.ABORT, now)


def _orphan_in_fin_wait_2(t: Tcb, now: i64) -> None:
    """close() after shutdown(): from here on tcp_fin_timeout limits FIN-WAIT-2 (quirks.md: CLS-15)."""
    if t.wishes.linger2 < 0:
        send_reset(t, Why.RST_FIN_WAIT_2, now)
        finish(t, Cause.CLOSE_CALL, now)
        t.net.counters.TcpExtTCPAbortOnLinger += 1
        return
    timeout = fin_timeout(t)
    limit: i64 = t.net.profile.timewait_len
    if timeout > limit:
        t.keepalive_at = now + timeout - limit
    else:
        become_time_wait(t, FIN_WAIT_2, timeout, Cause.CLOSE_CALL, now)


def abort(t: Tcb, why: Why, now: i64) -> None:
    """ABORT: RST if the peer believes in a connection, then CLOSED (RFC 9293 3.10.5, tcp_disconnect)."""
    state = t.state
    synchronized = (
        state is ESTABLISHED or state is CLOSE_WAIT or state is FIN_WAIT_1 or state is FIN_WAIT_2 or state is SYN_RCVD
    )
    if synchronized or (t.snd_nxt != t.write_seq and (state is CLOSING or state is LAST_ACK)):
        send_reset(t, why, now)
    drop_unsent(t)
    t.rcv_queue = None
    t.rcv_queued = 0
    finish(t, Cause.ABORT, now)


def poll_mask(t: Tcb) -> i64:
    """Readiness as poll and epoll report it (tcp_poll)."""
    mask: i64 = 0
    both = t.shutdown_mask == RCV_SHUTDOWN | SEND_SHUTDOWN
    if both or t.state is CLOSED:
        mask |= WAKE_HUP
    if t.shutdown_mask & RCV_SHUTDOWN:
        mask |= WAKE_IN | WAKE_RDHUP
    if t.state is not SYN_SENT and (t.state is not SYN_RCVD or t.fast_open):
        if readable(t):
            mask |= WAKE_IN
        if t.shutdown_mask & SEND_SHUTDOWN or t.state is CLOSED or writable(t):
            mask |= WAKE_OUT
        else:
            t.no_space = True
        if t.urg_valid and t.urg_data >= 0:
            mask |= WAKE_PRI
    if t.err:
        mask |= WAKE_ERR
    return mask
