"""The retransmission timeout: back off, retransmit, and when to give up (RFC 6298 5.4-5.7, RFC 9293 3.8.3).

Linux turns its retry counts into time: a connection is given up at the first expiry at
which (2**(n+1) - 1) * 200 ms have passed since the first retransmission, whatever the
RTT (quirks.md: RTO-2).
"""

import errno

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.tcp.arm import arm
from timewait.tcp.bsd.syn import MAX_SHIFT, data_timeout, handshake_timeout
from timewait.tcp.fastopen_child import child_timer, waits_for_third_packet
from timewait.tcp.fastopen_pause import timed_out_opening
from timewait.tcp.fate import fail, send_reset
from timewait.tcp.loss.recovery import enter_loss
from timewait.tcp.mtu_probe import black_hole
from timewait.tcp.reasons import Why
from timewait.tcp.rtt import back_off, rto_max, set_rto
from timewait.tcp.states import ESTABLISHED, SYN_RCVD, SYN_SENT, Cause
from timewait.tcp.tcb import RTO_MIN, TIMER_RTO, Tcb, stamp
from timewait.tcp.transmit import retransmit

RESOURCE_PROBE_INTERVAL = 500_000_000
"""TCP_RESOURCE_PROBE_INTERVAL: try again soon when the segment could not leave."""


LATENESS = 28
"""Linux's timers are up to 3.6 % late (one part in so many), ours are exact: seen from its clock more has passed.

At the minimum RTO this decides whether tcp_retries2 = 15 takes 924.6 s or one timeout more
(quirks.md: RTO-2).
"""


def model_timeout(boundary: i64, base: i64, limit: i64) -> i64:
    """How long `boundary` doublings of `base` take in all, each at most `limit` (tcp_model_timeout)."""
    ratio = limit // base
    threshold: i64 = int(ratio).bit_length() - 1 if ratio > 0 else 0
    if boundary <= threshold:
        return ((2 << boundary) - 1) * base
    return ((2 << threshold) - 1) * base + (boundary - threshold) * limit


def timed_out(t: Tcb, boundary: i64, timeout: i64, now: i64) -> bool:
    """Whether retransmissions have gone on for too long (retransmits_timed_out); timeout in ns overrides."""
    if t.retransmits == 0 or t.retrans_stamp == 0:
        return False
    # Linux compares milliseconds, so a whole timeout is over in its last one.
    elapsed = now // MSEC - t.retrans_stamp // MSEC
    if timeout == 0:
        handshake = t.state is SYN_SENT or t.state is SYN_RCVD
        base: i64 = t.net.profile.rto_init if handshake else RTO_MIN
        timeout = model_timeout(boundary, base, rto_max(t))
        elapsed += elapsed // LATENESS
    return elapsed >= timeout // MSEC


def orphan_retries(t: Tcb, alive: bool) -> i64:
    """tcp_orphan_retries: 0 means 8 while the peer may be alive, and none after an ICMP error."""
    retries = t.net.sysctl.tcp_orphan_retries
    if t.err_soft and not alive:
        return 0
    return 8 if retries == 0 and alive else retries


def give_up(t: Tcb, now: i64) -> bool:
    """Whether the limit is reached; if so the connection ends here (tcp_write_timeout)."""
    if t.bsd:
        return _give_up_bsd(t, now)
    sysctl = t.net.sysctl
    if t.state is SYN_SENT or t.state is SYN_RCVD:
        retries = t.wishes.syn_retries if t.wishes.syn_retries else sysctl.tcp_syn_retries
        most = retries
        if t.state is SYN_SENT:
            most += sysctl.tcp_syn_linear_timeouts
        expired = t.retransmits >= most
    else:
        if sysctl.tcp_mtu_probing and timed_out(t, sysctl.tcp_retries1, 0, now):
            black_hole(t, now)
        retries = sysctl.tcp_retries2
        expired = False
        if t.orphan:
            alive = t.rto < rto_max(t)
            retries = orphan_retries(t, alive)
            if t.net.orphans > sysctl.tcp_max_orphans:
                if alive or not timed_out(t, retries, 0, now):
                    send_reset(t, Why.RST_NO_MEMORY, now)
                t.net.counters.TcpExtTCPAbortOnMemory += 1
                fail(t, errno.ETIMEDOUT, Cause.TIMED_OUT, now)
                return True
    if not expired:
        expired = timed_out(t, retries, t.wishes.user_timeout, now)
    if t.fast_open_offer is not None or t.syn_data:
        timed_out_opening(t, expired, now)
    if expired:
        time_out(t, Cause.TIMED_OUT, now)
    return expired


def _give_up_bsd(t: Tcb, now: i64) -> bool:
    """FreeBSD: twelve retransmissions without an answer; a handshake is ended by keepinit instead."""
    if t.state is SYN_SENT or t.state is SYN_RCVD or t.retransmits < MAX_SHIFT:
        return False
    send_reset(t, Why.RST_TIMEOUT, now)
    time_out(t, Cause.TIMED_OUT, now)
    return True


def time_out(t: Tcb, cause: Cause, now: i64) -> None:
    """The connection is dead: ETIMEDOUT, or what ICMP said before (tcp_write_err)."""
    t.net.counters.TcpExtTCPAbortOnTimeout += 1
    fail(t, i64(t.err_soft) if t.err_soft else errno.ETIMEDOUT, cause, now)


def retransmit_timer(t: Tcb, now: i64) -> None:
    """The RTO ran out (tcp_retransmit_timer)."""
    if t.packets_out == 0 or t.rtx.empty():
        return
    if t.fast_open and waits_for_third_packet(t):
        child_timer(t, now)
        return
    t.fired("rto", now)
    shrunk = t.snd_wnd == 0 and not t.orphan and t.state is not SYN_SENT and t.state is not SYN_RCVD
    if shrunk:
        if _zero_window_timed_out(t, now):
            time_out(t, Cause.TIMED_OUT, now)
            return
    else:
        t.net.counters.TcpExtTCPTimeouts += 1
        if give_up(t, now):
            return
    enter_loss(t, now)
    if not shrunk:
        _count_timeout(t, now)
    # With the window shut the head is retransmitted all the same: it probes the window.
    seg = retransmit(t, t.rtx.head, 1, Why.RTO, now)
    if seg is None:
        arm(t, TIMER_RTO, t.rto if t.rto < RESOURCE_PROBE_INTERVAL else RESOURCE_PROBE_INTERVAL, now)
        return
    t.emit(seg)
    _next_timeout(t, now)


def _count_timeout(t: Tcb, now: i64) -> None:
    """tcp_update_rto_stats. Linux also takes another path where there are several, which TCP_INFO tells as rehash."""
    t.net.counters.TcpExtTcpTimeoutRehash += 1
    if t.retransmits == 0:
        t.rto_stamp = stamp(now)
        t.total_rto_recoveries += 1
    t.retransmits += 1
    t.total_rto += 1


def _next_timeout(t: Tcb, now: i64) -> None:
    """RFC 6298 5.5: double the RTO; Linux lets the first SYN timeouts and thin streams stay linear."""
    if t.bsd and (t.state is SYN_SENT or t.state is SYN_RCVD):
        t.backoff += 1
        t.rto = handshake_timeout(t.net, t.retransmits)
        arm(t, TIMER_RTO, t.rto, now)
        return
    if t.bsd and t.srtt_us:
        t.backoff += 1
        t.rto = data_timeout(t, t.retransmits)
        arm(t, TIMER_RTO, t.rto, now)
        return
    sysctl = t.net.sysctl
    wanted = sysctl.tcp_thin_linear_timeouts != 0 or t.wishes.thin_linear
    thin = t.state is ESTABLISHED and wanted and t.packets_out < 4
    if thin and t.ca_state >= 0 and t.retransmits <= 6:
        t.backoff = 0
    elif t.state is not SYN_SENT or t.total_rto > sysctl.tcp_syn_linear_timeouts:
        back_off(t)
    arm(t, TIMER_RTO, _within_user_timeout(t, now), now)


def _within_user_timeout(t: Tcb, now: i64) -> i64:
    """The RTO, or what is left of TCP_USER_TIMEOUT: it ends on time (tcp_clamp_rto_to_user_timeout)."""
    if t.wishes.user_timeout == 0 or t.retrans_stamp == 0:
        return t.rto
    left = t.wishes.user_timeout - (now - t.retrans_stamp)
    if left <= 0:
        return MSEC
    return left if left < t.rto else t.rto


def revert_backoff(t: Tcb, seq: i64, now: i64) -> None:
    """The network said that it cannot reach the peer: the loss was no congestion, so undo one doubling.

    RFC 6069, tcp_ld_RTO_revert; seq is what the ICMP error quotes.
    """
    head = t.rtx.first()
    if seq != t.snd_una or t.retransmits == 0 or t.backoff == 0 or head is None:
        return
    t.backoff -= 1
    set_rto(t)
    limit = rto_max(t)
    shifted = t.rto << t.backoff
    t.rto = shifted if shifted < limit else limit
    left = t.rto - (now - head.sent_at)
    if left > 0:
        arm(t, TIMER_RTO, left, now)
    else:
        retransmit_timer(t, now)


def _zero_window_timed_out(t: Tcb, now: i64) -> bool:
    """The peer shrank its window to nothing and has been silent for two minutes (tcp_rtx_probe0_timed_out)."""
    head = t.rtx.first()
    since = t.retrans_stamp
    if since == 0 and head is not None:
        since = head.sent_at
    limit: i64 = 2 * rto_max(t)
    if t.wishes.user_timeout:
        if now - since > t.wishes.user_timeout:
            return True
        if t.wishes.user_timeout < limit:
            limit = t.wishes.user_timeout
    return now - t.rcv_tstamp > limit and now - since > limit
