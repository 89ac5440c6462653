"""What leaves next: `poll_transmit` is pulled until it has nothing more (RFC 9293 section 3.10.2, 3.8.6.2.1).

The order is Linux's: what was made at once (resets, probes), retransmissions that the
congestion window admits, new data, and last an acknowledgment that nothing carried.
"""

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_gt, seq_leq, seq_lt
from timewait.tcp.arm import arm, check_probe_timer, rearm_rto
from timewait.tcp.cc.base import EVENT_CWND_RESTART, EVENT_TX_START
from timewait.tcp.chrono import account
from timewait.tcp.delack import in_pingpong_mode
from timewait.tcp.ecn import data_leaves, repeats
from timewait.tcp.loss.mark import cut_joined, resegment, split_sent
from timewait.tcp.loss.queue import Sent
from timewait.tcp.loss.tlp import schedule_loss_probe
from timewait.tcp.mtu_probe import WAIT, probe_length, probe_sent
from timewait.tcp.rate import pace, rate_sent
from timewait.tcp.reasons import Why
from timewait.tcp.rtt import set_rto
from timewait.tcp.segments import acceptable_ack_seq, current_mss, established_segment, syn_segment, urgent_mode
from timewait.tcp.send import record_length, take
from timewait.tcp.states import CLOSED, LISTEN, SYN_RCVD, SYN_SENT
from timewait.tcp.tcb import (
    ACK_NOW,
    CA_CWR,
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    NAGLE_CORK,
    NAGLE_OFF,
    TIMER_NONE,
    TIMER_PROBE0,
    TIMER_REORDER,
    TIMER_RTO,
    TIMER_TLP,
    Tcb,
    stamp,
)
from timewait.tcp.tso import packet_octets, segments_per_packet, should_defer
from timewait.wire.packet import ACK, FIN, PSH, SYN, Buffer, Segment


def poll_transmit(t: Tcb, now: i64) -> Segment | None:
    """The next segment to send, or None. May be a super-segment (gso_size > 0) of up to `gso_max` octets."""
    if t.out:
        seg = t.out.pop(0)
        if not t.out:
            t.out = None
        return seg
    if t.state is CLOSED or t.state is LISTEN:
        return None
    if t.paced and t.wstamp > now and t.tso_left == 0:
        t.pacing_at = t.wstamp
        return _acknowledge(t, now)
    if t.lost_pending:
        lost = _retransmit_next_lost(t, now)
        if lost is not None:
            return lost
    if (t.unsent_len > 0 or t.fin_queued) and not t.fin_sent:
        fresh = _send_new(t, now)
        if fresh is not None:
            t.rexmit_new = False
            return fresh
    if t.rexmit_new:
        # No new data could leave to tell a spurious timeout from a real one: the ordinary repair (tcp_xmit_recovery).
        t.rexmit_new = False
        if t.ca_state == CA_LOSS and not seq_gt(t.snd_nxt, t.high_seq):
            t.frto = False
            t.lost_pending = True
            lost = _retransmit_next_lost(t, now)
            if lost is not None:
                return lost
    return _acknowledge(t, now)


def _acknowledge(t: Tcb, now: i64) -> Segment | None:
    """An acknowledgment that nothing carried; with it this round of output ends."""
    if t.ack_pending & ACK_NOW:
        if t.state is SYN_SENT:
            return None
        return established_segment(t, ACK, acceptable_ack_seq(t), t.ack_why, now)
    if t.tso_left:
        # What was to complete the packet did not leave.
        t.tso_left = 0
        if not t.rtx.empty():
            t.rtx.join(t.rtx.items[-1], False)
    if t.chrono or t.packets_out or t.unsent_len:
        account(t, now)
    return None


# New data


def _send_new(t: Tcb, now: i64) -> Segment | None:
    """The next new segment that window, congestion window and Nagle admit (tcp_write_xmit)."""
    state = t.state
    if state is SYN_SENT or (state is SYN_RCVD and not t.fast_open):
        return None
    mss = current_mss(t)
    in_flight = t.packets_in_flight()
    if t.packets_out == 0:
        _restart_after_idle(t, now)
    if t.mtu_search is not None:
        probe = probe_length(t, mss, now)
        if probe == WAIT:
            return None
        if probe > 0:
            return _transmit_mtu_probe(t, probe, now)
    room = t.cwnd - in_flight
    if room <= 0:
        _note_cwnd_use(t, True, now)
        return None
    window = seq_diff(t.wnd_end(), t.snd_nxt)
    length = _sendable(t, mss, room, window)
    if length > 0 and t.tso_left == 0 and should_defer(t, mss, room, window, now):
        _note_cwnd_use(t, room * mss < window, now)
        return None
    if length < 0:
        if t.packets_out == 0 and t.rtx_kind == TIMER_NONE:
            check_probe_timer(t, now)
        return None
    flags: i64 = ACK
    with_fin = t.fin_queued and length == t.unsent_len and (window > length or length == 0)
    data: Buffer = b""
    packet_ends = False
    record_ends = False
    if length > 0:
        packet_ends = length > mss
        if t.gso_max == 0:
            packet_ends = _completes_packet(t, length, mss, room, window)
        if t.records_queued:
            record_ends = length == record_length(t)
        data, push = take(t, length)
        if push and t.unsent_len and room > 1 and t.snd_nxt != t.packet_begin and not t.records_queued:
            # Its buffer had taken in the next one before it was cut: the mark stands behind that (tcp_grow_skb).
            push = False
        if push:
            flags |= PSH
    if with_fin:
        flags |= FIN | PSH if t.fin_pushed else FIN
        t.fin_sent = True
    seg = _transmit_new(t, data, length, flags, mss, now)
    if packet_ends:
        # Not remembered: a retransmission may be part of another packet.
        seg.flags |= PSH
    elif t.tso_left:
        t.rtx.join(t.rtx.items[-1], True)
    if record_ends:
        t.rtx.items[-1].end_of_record = True
    return seg


def _completes_packet(t: Tcb, length: i64, mss: i64, room: i64, window: i64) -> bool:
    """Whether the segment about to leave is the last of several that Linux would hand down together."""
    if t.tso_left:
        t.tso_left -= length
        return t.tso_left == 0
    if t.unsent_len > mss and length == mss and not (t.urgent_out and urgent_mode(t)):
        t.tso_left = packet_octets(t, mss, room, window, _nagle_holds(t)) - length
        if t.tso_left < 0:
            t.tso_left = 0
    return False


def _sendable(t: Tcb, mss: i64, room: i64, window: i64) -> i64:
    """How many octets may leave in one (super-)segment now; 0 for a bare FIN; -1 for nothing."""
    if t.tso_left:
        return t.tso_left if t.tso_left < mss else mss
    unsent = t.unsent_len
    if unsent == 0:
        return 0 if window >= 1 else -1
    last = True
    if t.records_queued:
        unsent = record_length(t)
        last = unsent == t.unsent_len
    needed = unsent if unsent < mss else mss
    if t.fin_queued and last and unsent <= mss:
        # Linux's last buffer carries data and FIN: both fit the window or none goes (quirks.md: CLS-27).
        needed += 1
    if window < needed:
        # What does not fit whole waits; the probe timer sends the part that fits (tcp_snd_wnd_test).
        return -1
    limit = unsent
    largest = t.gso_max - t.gso_max % mss if t.gso_max > mss else mss
    if limit > largest:
        limit = largest
    if t.paced:
        burst = segments_per_packet(t, mss) * mss
        if limit > burst:
            limit = burst
    if limit > room * mss:
        limit = room * mss
    if limit > window:
        limit = window
    if limit < unsent:
        return limit - limit % mss if limit > mss else limit
    if t.fin_queued:
        return limit
    partial = limit % mss
    if partial and last and _nagle_holds(t):
        limit -= partial
        if limit == 0:
            return -1
    return limit


def _nagle_holds(t: Tcb) -> bool:
    """Whether a partial segment waits: cork always, Nagle while a small segment is unacknowledged (RFC 9293 3.7.4).

    Minshall's rule: only a small segment in flight holds the next small one back.
    """
    if t.nonagle & NAGLE_CORK or t.more_to_come:
        return True
    if t.nonagle & NAGLE_OFF or (t.urgent_out and urgent_mode(t)):
        return False
    return t.packets_out > 0 and seq_gt(t.snd_sml, t.snd_una) and seq_leq(t.snd_sml, t.snd_nxt)


def _transmit_new(t: Tcb, data: Buffer, length: i64, flags: i64, mss: i64, now: i64) -> Segment:
    """Account for a piece that leaves for the first time (tcp_event_new_data_sent)."""
    seq = t.snd_nxt
    fin = flags & FIN
    end_seq = (seq + length + fin) & 0xFFFFFFFF
    segs: i64 = 1
    if length > mss:
        segs = (length + mss - 1) // mss
    if length < mss * segs and length > 0:
        t.snd_sml = end_seq
    seg = established_segment(t, flags, seq, Why.FIN if fin and length == 0 else Why.DATA, now)
    if length > 0:
        seg.payload = data
        seg.length = length
        if t.ecn_ok:
            data_leaves(t, seg)
        if length > mss:
            seg.gso_size = mss
            if t.ecn_demand_cwr:
                repeats(t, seg)
            t.segs_out += segs - 1
            t.net.counters.TcpOutSegs += segs - 1
        t.bytes_sent += length
        t.data_segs_out += segs
        _data_was_sent(t, now)
    t.snd_nxt = end_seq
    prior = t.packets_out
    sent = Sent(seq, end_seq, flags, data, length, segs, now)
    if segs > 1:
        sent.size = mss
    rate_sent(t, sent, now)
    t.rtx.append(sent)
    t.packets_out += segs
    if t.paced:
        pace(t, length, now)
    if t.ca_state == CA_RECOVERY or t.ca_state == CA_CWR:
        t.prr_out += segs
    _note_cwnd_use(t, t.packets_in_flight() >= t.cwnd, now)
    if prior == 0 or t.rtx_kind == TIMER_TLP or t.rtx_kind == TIMER_NONE or t.rtx_kind == TIMER_PROBE0:
        if t.rtx_kind == TIMER_PROBE0:
            t.rtx_kind = TIMER_NONE
        rearm_rto(t, now)
    schedule_loss_probe(t, now)
    return seg


def _transmit_mtu_probe(t: Tcb, length: i64, now: i64) -> Segment:
    """One segment longer than the path is known to take."""
    data, push = take(t, length)
    probe_sent(t, length)
    seg = _transmit_new(t, data, length, ACK | PSH if push else ACK, length, now)
    seg.why = Why.MTU_PROBE
    return seg


def _data_was_sent(t: Tcb, now: i64) -> None:
    """Data left: a reply that follows soon after data received makes the conversation interactive."""
    cc = t.cc
    if cc is not None and t.packets_in_flight() == 0:
        if cc.shared:
            cc = cc.own()
            t.cc = cc
            cc.start(t, now)
        cc.event(t, EVENT_TX_START, now)
    t.lsndtime = stamp(now)
    if now - t.lrcvtime < t.ato and not in_pingpong_mode(t):
        t.pingpong += 1


def _note_cwnd_use(t: Tcb, limited: bool, now: i64) -> None:
    """Remember whether the congestion window was the limit in this window of data (RFC 7661, tcp_cwnd_validate)."""
    if limited or seq_leq(t.cwnd_usage_seq, t.snd_una) or (not t.is_cwnd_limited and t.packets_out > t.max_packets_out):
        t.is_cwnd_limited = limited
        t.max_packets_out = t.packets_out
        t.cwnd_usage_seq = t.snd_nxt
    if t.is_cwnd_limited or (t.cwnd < t.ssthresh and t.cwnd < 2 * t.max_packets_out):
        t.cwnd_used = 0
        t.cwnd_stamp = now
        return
    if t.packets_out > t.cwnd_used:
        t.cwnd_used = t.packets_out
    if now - t.cwnd_stamp >= t.rto and t.net.sysctl.tcp_slow_start_after_idle:
        _application_limited(t, now)


def _application_limited(t: Tcb, now: i64) -> None:
    """For an RTO the window was not needed: halfway back to what was (RFC 2861, tcp_cwnd_application_limited)."""
    if t.cc is not None and t.cc.controls:
        return
    if t.ca_state == CA_OPEN and not t.no_space:
        used = t.cwnd_used
        if used < t.first_cwnd():
            used = t.first_cwnd()
        if used < t.cwnd:
            _keep_threshold(t)
            t.cwnd = (t.cwnd + used) >> 1
        t.cwnd_used = 0
    t.cwnd_stamp = now


def _keep_threshold(t: Tcb) -> None:
    """The window shrinks without a loss: three quarters of it stay known to be safe (tcp_current_ssthresh)."""
    three_quarters = (t.cwnd >> 1) + (t.cwnd >> 2)
    if t.ca_state != CA_CWR and t.ca_state != CA_RECOVERY and three_quarters > t.ssthresh:
        t.ssthresh = three_quarters


def _restart_after_idle(t: Tcb, now: i64) -> None:
    """RFC 2861, tcp_slow_start_after_idle: an idle period longer than the RTO halves the window per RTO."""
    if not t.net.sysctl.tcp_slow_start_after_idle or t.lsndtime == 0:
        return
    idle = now - t.lsndtime
    if idle <= t.rto or t.cc is None or t.cc.controls:
        return
    t.cc.event(t, EVENT_CWND_RESTART, now)
    restart = t.first_cwnd()
    if t.cwnd < restart:
        restart = t.cwnd
    _keep_threshold(t)
    cwnd = t.cwnd
    idle -= t.rto
    while idle > 0 and cwnd > restart:
        cwnd >>= 1
        idle -= t.rto
    t.cwnd = cwnd if cwnd > restart else restart
    t.cwnd_stamp = now
    t.cwnd_used = 0


# Retransmission


def _retransmit_next_lost(t: Tcb, now: i64) -> Segment | None:
    """The next piece marked lost whose retransmission is not in flight yet (tcp_xmit_retransmit_queue)."""
    if t.packets_in_flight() >= t.cwnd:
        return None
    queue = t.rtx
    index = queue.index_of(queue.scan_seq) if queue.scan_valid else queue.head
    count: i64 = len(queue.items)
    while index < count:
        sent = queue.items[index]
        if sent.lost and not sent.sacked and not sent.retransmitted:
            queue.scan_seq = sent.seq
            queue.scan_valid = True
            room = t.cwnd - t.packets_in_flight()
            largest = segments_per_packet(t, current_mss(t))
            if room > largest:
                room = largest
            if t.ca_state == CA_LOSS:
                seg = retransmit(t, index, room, Why.LOST_RTX, now)
                if seg is not None:
                    t.net.counters.TcpExtTCPSlowStartRetrans += sent.segs
            else:
                seg = retransmit(t, index, room, Why.FAST_RTX, now)
                if seg is not None:
                    t.net.counters.TcpExtTCPFastRetrans += sent.segs
            if seg is not None and index == queue.head and t.rtx_kind != TIMER_REORDER:
                # The head is on its way again: its timeout begins now (tcp_xmit_retransmit_queue).
                arm(t, TIMER_RTO, t.rto, now)
            return seg
        index += 1
    t.lost_pending = False
    return None


def retransmit(t: Tcb, index: i64, most: i64, why: Why, now: i64) -> Segment | None:
    """Send the piece at `index` again, at most `most` segments of it (tcp_retransmit_skb).

    None when the peer's window no longer covers it.
    """
    queue = t.rtx
    sent = queue.items[index]
    if not seq_lt(sent.seq, t.wnd_end()) and sent.seq != t.snd_una and not sent.flags & SYN:
        return None
    if t.mtu_search is not None:
        # Whether a probe that is sent again arrived the first time nobody will know.
        t.mtu_search.probe_size = 0
    if t.accecn is not None:
        t.accecn.clock = now
    mss = current_mss(t)
    if most < 1:
        most = 1
    if t.gso_max == 0:
        several = _packet_again(t, index, mss, most, why is Why.RTO or why is Why.TLP)
    else:
        several = _fit_again(t, index, mss, most)
    if sent.length < mss and not several and not sent.flags & (SYN | FIN) and t.net.sysctl.tcp_retrans_collapse:
        _collapse(t, index, mss)
    if sent.flags & SYN:
        seg = syn_segment(t, sent.flags, why, now)
    else:
        seg = established_segment(t, sent.flags, sent.seq, why, now)
        seg.payload = sent.data
        seg.length = sent.length
        if sent.length > mss:
            seg.gso_size = mss
            if t.ecn_demand_cwr:
                repeats(t, seg)
        if several and not sent.joined:
            seg.flags |= PSH
    _account_retransmission(t, sent, why is Why.TLP, now)
    return seg


def _fit_again(t: Tcb, index: i64, mss: i64, most: i64) -> bool:
    """Cut a piece to what may leave as one super-segment; whether it is one (__tcp_retransmit_skb)."""
    sent = t.rtx.items[index]
    limit = mss * most
    window = seq_diff(t.wnd_end(), sent.seq)
    if 0 < window < limit and window < sent.length and window >= mss:
        limit = window - window % mss
    if sent.length > limit:
        split_sent(t, index, limit, mss)
    elif sent.length > mss or sent.segs > 1:
        resegment(t, sent, mss)
    return sent.segs > 1


def _packet_again(t: Tcb, index: i64, mss: i64, most: i64, alone: bool) -> bool:
    """The same where segments leave one by one: settle which of them Linux would send again as one packet.

    Whether the piece at `index` is one of several; the last of them carries PSH.
    """
    queue = t.rtx
    cut_joined(t, index, mss)
    sent = queue.items[index]
    if index > queue.head:
        former = queue.items[index - 1]
        if former.joined and not former.sacked and not alone:
            return True
        queue.join(former, False)
    last = index
    while queue.items[last].joined:
        following = queue.items[last + 1]
        if last - index + 1 >= most or following.sacked or following.retransmitted or not following.lost:
            queue.join(queue.items[last], False)
            break
        last += 1
    return sent.joined


def _account_retransmission(t: Tcb, sent: Sent, probe: bool, now: i64) -> None:
    """Count it; a tail loss probe is no step of a recovery and does not start the clock of giving up."""
    sent.retransmissions += 1
    sent.sent_at = now
    rate_sent(t, sent, now)
    if t.paced:
        pace(t, sent.length, now)
    t.rtx.touch(sent)
    t.total_retrans += sent.segs
    t.bytes_retrans += sent.length
    counters = t.net.counters
    if sent.length:
        # What is sent again counts as sent, too (__tcp_transmit_skb).
        t.bytes_sent += sent.length
        t.data_segs_out += sent.segs
        t.segs_out += sent.segs - 1
        counters.TcpOutSegs += sent.segs - 1
        _data_was_sent(t, now)
    counters.TcpRetransSegs += sent.segs
    if sent.flags & SYN:
        counters.TcpExtTCPSynRetrans += 1
    if probe:
        return
    if not sent.retransmitted:
        sent.retransmitted = True
        t.retrans_out += sent.segs
    if t.retrans_stamp == 0:
        t.retrans_stamp = stamp(now)
    if t.undo_retrans < 0:
        t.undo_retrans = 0
    t.undo_retrans += sent.segs
    if t.ca_state == CA_RECOVERY or t.ca_state == CA_CWR:
        t.prr_out += sent.segs


def _collapse(t: Tcb, index: i64, mss: i64) -> None:
    """Let small neighbours ride along in the retransmission, a FIN too (tcp_retrans_try_collapse)."""
    queue = t.rtx
    sent = queue.items[index]
    length = sent.length
    last = index
    while last + 1 < len(queue.items) and not queue.items[last].end_of_record:
        following = queue.items[last + 1]
        length += following.length
        if following.sacked or following.flags & SYN or length > mss or following.segs > 1:
            break
        if not seq_leq(following.end_seq, t.wnd_end()):
            break
        t.packets_out -= 1
        if following.lost:
            t.lost_out -= 1
        if following.retransmitted:
            t.retrans_out -= 1
        if not t.sack_ok and t.sacked_out:
            # Duplicate ACKs stand for segments, of which there are fewer now (tcp_adjust_pcount).
            t.sacked_out -= 1
        last += 1
    if last > index:
        queue.absorb(index, last)


def start_syn(t: Tcb, now: i64) -> Segment:
    """Send our SYN for the first time and arm its timer (tcp_connect); returns it, still to be drained."""
    set_rto(t)
    syn = Sent(t.iss, t.snd_nxt, SYN, b"", 0, 1, now)
    t.rtx.append(syn)
    t.packets_out += 1
    # It counts as in flight already, so that no delivery rate is measured by it.
    rate_sent(t, syn, now)
    t.retrans_stamp = stamp(now)
    seg = syn_segment(t, SYN, Why.SYN, now)
    t.emit(seg)
    arm(t, TIMER_RTO, t.rto, now)
    return seg
