"""Keepalive, and the end of an orphan in FIN-WAIT-2, which share a timer (RFC 9293 3.8.4, tcp_keepalive_timer)."""

from timewait.base.instant import NEVER, SEC
from timewait.base.ints import i64
from timewait.tcp.fate import become_time_wait, finish, send_reset
from timewait.tcp.reasons import Why
from timewait.tcp.rto import time_out
from timewait.tcp.segments import probe_segment
from timewait.tcp.states import CLOSED, FIN_WAIT_2, LISTEN, SYN_RCVD, SYN_SENT, Cause
from timewait.tcp.tcb import Tcb


def keepalive_idle(t: Tcb) -> i64:
    """Idle time before the first probe, in ns (TCP_KEEPIDLE, tcp_keepalive_time)."""
    return t.wishes.keep_idle if t.wishes.keep_idle else t.net.sysctl.tcp_keepalive_time * SEC


def keepalive_interval(t: Tcb) -> i64:
    """Time between unanswered probes, in ns (TCP_KEEPINTVL, tcp_keepalive_intvl)."""
    return t.wishes.keep_intvl if t.wishes.keep_intvl else t.net.sysctl.tcp_keepalive_intvl * SEC


def keepalive_count(t: Tcb) -> i64:
    """Unanswered probes before the peer counts as dead (TCP_KEEPCNT, tcp_keepalive_probes)."""
    return t.wishes.keep_cnt if t.wishes.keep_cnt else t.net.sysctl.tcp_keepalive_probes


def fin_timeout(t: Tcb) -> i64:
    """Life of an orphan in FIN-WAIT-2, at least 3.5 RTO (tcp_fin_time)."""
    timeout = t.wishes.linger2 if t.wishes.linger2 else t.net.sysctl.tcp_fin_timeout * SEC
    least = (t.rto << 2) - (t.rto >> 1)
    return timeout if timeout > least else least


def idle_since(t: Tcb) -> i64:
    """When something last arrived (keepalive_time_elapsed)."""
    return t.rcv_tstamp if t.rcv_tstamp > t.lrcvtime else t.lrcvtime


def set_keepalive(t: Tcb, on: bool, now: i64) -> None:
    """SO_KEEPALIVE was set or cleared (tcp_set_keepalive)."""
    was = t.keepalive
    t.keepalive = on
    if t.state is CLOSED or t.state is LISTEN:
        return
    if on and not was:
        t.keepalive_at = now + keepalive_idle(t)
    elif not on and not (t.orphan and t.state is FIN_WAIT_2):
        t.keepalive_at = NEVER


def keepalive_timer(t: Tcb, now: i64) -> None:
    """Probe an idle peer, or end an orphan's FIN-WAIT-2; under FreeBSD's rules also a handshake that takes too long."""
    if t.bsd and (t.state is SYN_SENT or t.state is SYN_RCVD):
        t.fired("keepinit", now)
        if t.state is SYN_RCVD:
            send_reset(t, Why.RST_TIMEOUT, now)
        time_out(t, Cause.TIMED_OUT, now)
        return
    if t.bsd and t.state is FIN_WAIT_2 and t.orphan:
        t.fired("fin_wait_2", now)
        finish(t, Cause.FIN_WAIT_2_TIMEOUT, now)
        return
    if t.state is FIN_WAIT_2 and t.orphan:
        _fin_wait_2_over(t, now)
        return
    if not t.keepalive or t.state is CLOSED or t.state is SYN_SENT:
        return
    if t.packets_out or t.unsent_len:
        # Data in flight is proof enough: the retransmission timer decides.
        t.keepalive_at = now + keepalive_idle(t)
        return
    idle = now - idle_since(t)
    if idle < keepalive_idle(t):
        t.keepalive_at = now + keepalive_idle(t) - idle
        return
    t.fired("keepalive", now)
    if _peer_is_dead(t, idle):
        send_reset(t, Why.RST_KEEPALIVE, now)
        time_out(t, Cause.KEEPALIVE_FAILED, now)
        return
    t.emit(probe_segment(t, (t.snd_una - 1) & 0xFFFFFFFF, Why.KEEPALIVE, now))
    t.probes_out += 1
    t.net.counters.TcpExtTCPKeepAlive += 1
    t.keepalive_at = now + keepalive_interval(t)


def _peer_is_dead(t: Tcb, idle: i64) -> bool:
    """User timeout over with at least one probe unanswered, or all probes unanswered."""
    if t.wishes.user_timeout:
        return idle >= t.wishes.user_timeout and t.probes_out > 0
    return t.probes_out >= keepalive_count(t)


def _fin_wait_2_over(t: Tcb, now: i64) -> None:
    """The part of tcp_fin_timeout beyond 60 s is over: the rest is spent as a compact record (quirks.md: CLS-15)."""
    if t.wishes.linger2 >= 0:
        rest = fin_timeout(t) - t.net.profile.timewait_len
        if rest > 0:
            become_time_wait(t, FIN_WAIT_2, rest, Cause.FIN_WAIT_2_TIMEOUT, now)
            return
    t.fired("fin_wait_2", now)
    send_reset(t, Why.RST_FIN_WAIT_2, now)
    finish(t, Cause.FIN_WAIT_2_TIMEOUT, now)
