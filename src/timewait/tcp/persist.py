"""Zero-window probes (RFC 9293 section 3.8.6.1, Linux tcp_probe_timer)."""

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_gt
from timewait.tcp.arm import arm, disarm, probe0_delay, rearm_rto
from timewait.tcp.loss.queue import Sent
from timewait.tcp.rate import rate_sent
from timewait.tcp.reasons import Why
from timewait.tcp.rto import orphan_retries, time_out
from timewait.tcp.rtt import rto_max
from timewait.tcp.segments import current_mss, established_segment, probe_segment, urgent_mode
from timewait.tcp.send import take
from timewait.tcp.states import Cause
from timewait.tcp.tcb import TIMEOUT_MIN, TIMER_PROBE0, Tcb, stamp
from timewait.wire.packet import ACK, FIN, PSH, Buffer


def probe_timer(t: Tcb, now: i64) -> None:
    """Nothing is in flight and the peer's window is shut: ask whether it opened (tcp_probe_timer)."""
    if t.packets_out or not (t.unsent_len > 0 or (t.fin_queued and not t.fin_sent)):
        t.probes_out = 0
        t.probe_stamp = 0
        return
    t.fired("persist", now)
    user_timeout = t.wishes.user_timeout
    if t.probe_stamp == 0:
        t.probe_stamp = stamp(now)
    elif user_timeout and now - t.probe_stamp >= user_timeout:
        time_out(t, Cause.TIMED_OUT, now)
        return
    most: i64 = t.net.sysctl.tcp_retries2
    if t.orphan:
        alive = probe0_delay(t) < rto_max(t)
        most = orphan_retries(t, alive)
        if not alive and t.backoff >= most:
            time_out(t, Cause.TIMED_OUT, now)
            return
    if t.probes_out >= most:
        time_out(t, Cause.TIMED_OUT, now)
        return
    send_probe0(t, now)


def send_probe0(t: Tcb, now: i64) -> None:
    """One probe, and the next one after twice the time (tcp_send_probe0)."""
    if not send_head(t, Why.WINDOW_PROBE, now):
        _send_bare_probe(t, now)
    if t.packets_out:
        t.probes_out = 0
        t.backoff = 0
        t.probe_stamp = 0
        return
    t.probes_out += 1
    if t.backoff < t.net.sysctl.tcp_retries2:
        t.backoff += 1
    t.net.counters.TcpExtTCPWinProbe += 1
    arm(t, TIMER_PROBE0, _within_user_timeout(t, probe0_delay(t), now), now)


def _within_user_timeout(t: Tcb, delay: i64, now: i64) -> i64:
    """The last probe's wait ends when the user timeout does (tcp_clamp_probe0_to_user_timeout)."""
    if t.wishes.user_timeout == 0 or t.probe_stamp == 0:
        return delay
    left = t.wishes.user_timeout - (now - t.probe_stamp)
    if left < TIMEOUT_MIN:
        left = TIMEOUT_MIN
    return left if left < delay else delay


def _send_bare_probe(t: Tcb, now: i64) -> None:
    """A segment without data one below SND.UNA: whoever lives must answer it (tcp_xmit_probe_skb)."""
    if t.urgent_out and urgent_mode(t) and ((t.snd_up - t.snd_una) & 0xFFFFFFFF) <= 0xFFFF:
        # A probe at SND.UNA, which the peer takes as new, brings it the urgent pointer (tcp_write_wakeup).
        t.emit(probe_segment(t, t.snd_una, Why.WINDOW_PROBE, now))
    t.emit(probe_segment(t, (t.snd_una - 1) & 0xFFFFFFFF, Why.WINDOW_PROBE, now))


def send_head(t: Tcb, why: Why, now: i64) -> bool:
    """Send as much of the next segment as the window covers, however little; False if it covers nothing."""
    window = seq_diff(t.wnd_end(), t.snd_nxt)
    if window <= 0:
        return False
    length = t.unsent_len
    mss = current_mss(t)
    if length > mss:
        length = mss
    if length > window:
        length = window
    data: Buffer = b""
    # A probe asks to be answered; a tail loss probe leaves as it would have left without one.
    push = why is not Why.TLP
    if length > 0:
        data, marked = take(t, length)
        push = push or marked
    flags: i64 = ACK | PSH if push else ACK
    if t.fin_queued and t.unsent_len == 0 and window > length:
        flags |= FIN
        t.fin_sent = True
    elif length == 0:
        return False
    elif t.fin_queued and t.unsent_len == 0:
        t.fin_pushed = True
    seg = established_segment(t, flags, t.snd_nxt, why, now)
    seg.payload = data
    seg.length = length
    end_seq = (t.snd_nxt + length + (flags & FIN)) & 0xFFFFFFFF
    sent = Sent(t.snd_nxt, end_seq, flags, data, length, 1, now)
    rate_sent(t, sent, now)
    t.rtx.append(sent)
    t.snd_nxt = end_seq
    t.packets_out += 1
    t.bytes_sent += length
    t.data_segs_out += 1
    if length < mss:
        t.snd_sml = end_seq
    t.emit(seg)
    disarm(t)
    rearm_rto(t, now)
    return True


def window_opened(t: Tcb, now: i64) -> None:
    """An acknowledgment came while probing: stop if the next segment fits now, else go on (tcp_ack_probe)."""
    if t.unsent_len == 0 and not (t.fin_queued and not t.fin_sent):
        return
    mss = current_mss(t)
    needed = t.unsent_len if t.unsent_len < mss else mss
    if needed == 0:
        needed = 1
    if not seq_gt((t.snd_nxt + needed) & 0xFFFFFFFF, t.wnd_end()):
        t.backoff = 0
        t.probes_out = 0
        t.probe_stamp = 0
        if t.rtx_kind == TIMER_PROBE0:
            disarm(t)
    else:
        arm(t, TIMER_PROBE0, _within_user_timeout(t, probe0_delay(t), now), now)
