"""The congestion states Open, Disorder, CWR, Recovery and Loss (RFC 5681, 6675, 6582, 6937, 5682; tcp_input.c)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_geq, seq_gt, seq_lt
from timewait.tcp.arm import rearm_rto
from timewait.tcp.cc import congestion_control
from timewait.tcp.cc.base import EVENT_LOSS
from timewait.tcp.ecn import queue_cwr
from timewait.tcp.loss.mark import current_ssthresh, mark_lost, set_ca_state, split_sent
from timewait.tcp.loss.rack import rack_mark_lost
from timewait.tcp.loss.scoreboard import (
    F_DATA,
    F_DATA_ACKED,
    F_DATA_SACKED,
    F_DSACKING,
    F_ECE,
    F_LOST_RETRANS,
    F_ORIG_SACK_ACKED,
    F_SET_TIMER,
    F_SYN_ACKED,
    F_UNA_ADVANCED,
    F_WIN_UPDATE,
    AckState,
    note_reordering,
)
from timewait.tcp.mtu_search import MtuSearch
from timewait.tcp.pmtu import simple_retransmit
from timewait.tcp.tcb import (
    CA_CWR,
    CA_DISORDER,
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    INFINITE_SSTHRESH,
    TIMER_REORDER,
    Tcb,
)

NOT_DUPLICATE: Final = F_DATA | F_WIN_UPDATE | F_DATA_ACKED | F_SYN_ACKED
ALERT: Final = F_DATA_SACKED | F_DSACKING | F_ECE


def cc_ssthresh(t: Tcb, now: i64) -> i64:
    """What the congestion control makes of a loss."""
    cc = t.cc
    if cc is None:
        # The SYN was lost: the algorithm has not begun, but is asked (tcp_enter_loss).
        wished = t.wishes.congestion
        cc = congestion_control(wished if wished else t.net.sysctl.tcp_congestion_control).own()
    return cc.ssthresh(t, now)


def init_undo(t: Tcb) -> None:
    """Remember where this reduction began, in case it proves needless (Eifel, DSACK)."""
    t.undo_active = True
    t.undo_marker = t.snd_una
    # What was sent again before and is still on its way may cause DSACKs, a tail loss probe included.
    # -1 is 'nothing yet': 0 would say that everything sent again has proved needless (tcp_init_undo).
    pending = t.retrans_out + (1 if t.tlp_active and t.tlp_retrans else 0)
    t.undo_retrans = pending if pending else -1


def init_cwnd_reduction(t: Tcb, now: i64) -> None:
    """Begin a proportional rate reduction (RFC 6937)."""
    t.high_seq = t.snd_nxt
    t.tlp_active = False
    t.cwnd_cnt = 0
    t.prior_cwnd = t.cwnd
    t.prr_delivered = 0
    t.prr_out = 0
    t.ssthresh = cc_ssthresh(t, now)
    queue_cwr(t)


def enter_cwr(t: Tcb, now: i64) -> None:
    """The network marked instead of dropping: the same reduction without a loss (RFC 3168 6.1.2, tcp_enter_cwr)."""
    t.prior_ssthresh = 0
    if t.ca_state < CA_CWR:
        t.undo_active = False
        init_cwnd_reduction(t, now)
        set_ca_state(t, CA_CWR, now)


def cwnd_reduction(t: Tcb, delivered: i64, newly_lost: i64, flag: i64) -> None:
    """RFC 6937 with Linux's slow-start bound: bring the window to ssthresh as data is delivered."""
    if delivered <= 0 or t.prior_cwnd == 0:
        return
    in_flight = t.packets_in_flight()
    delta = t.ssthresh - in_flight
    t.prr_delivered += delivered
    if delta < 0:
        sndcnt = (t.ssthresh * t.prr_delivered + t.prior_cwnd - 1) // t.prior_cwnd - t.prr_out
    else:
        sndcnt = t.prr_delivered - t.prr_out
        if sndcnt < delivered:
            sndcnt = delivered
        if flag & F_UNA_ADVANCED and newly_lost == 0:
            sndcnt += 1
        if sndcnt > delta:
            sndcnt = delta
    # The fast retransmit itself is always let out.
    least: i64 = 0 if t.prr_out else 1
    if sndcnt < least:
        sndcnt = least
    t.cwnd = in_flight + sndcnt


def end_cwnd_reduction(t: Tcb, now: i64) -> None:
    """The reduction is over: the window is ssthresh."""
    if t.cc is not None and t.cc.controls:
        return
    if t.ssthresh < INFINITE_SSTHRESH and (t.ca_state == CA_CWR or t.undo_active):
        t.cwnd = t.ssthresh
        t.cwnd_stamp = now


def enter_recovery(t: Tcb, now: i64, marked: bool = False) -> None:
    """Fast recovery begins (RFC 6675 5, tcp_enter_recovery)."""
    counters = t.net.counters
    if t.sack_ok:
        counters.TcpExtTCPSackRecovery += 1
    else:
        counters.TcpExtTCPRenoRecovery += 1
    t.prior_ssthresh = 0
    init_undo(t)
    if t.ca_state != CA_CWR:
        if not marked:
            t.prior_ssthresh = current_ssthresh(t)
        init_cwnd_reduction(t, now)
    set_ca_state(t, CA_RECOVERY, now)


def reorder_timer(t: Tcb, now: i64) -> None:
    """The reordering window is over: what is still missing is lost (tcp_rack_reo_timeout)."""
    t.fired("reorder", now)
    before = t.packets_in_flight()
    t.rack_advanced = True
    rack_mark_lost(t, now)
    if t.packets_in_flight() != before:
        if t.ca_state != CA_RECOVERY:
            enter_recovery(t, now)
            # No ACK came, so PRR is told of one segment, which lets the retransmission out.
            cwnd_reduction(t, 1, 0, 0)
    if t.rtx_kind != TIMER_REORDER:
        rearm_rto(t, now)


def enter_loss(t: Tcb, now: i64) -> None:
    """The retransmission timer ran out: everything in flight counts as lost (RFC 5681 3.1, tcp_enter_loss)."""
    first_reduction = t.ca_state < CA_RECOVERY
    if t.ca_state <= CA_DISORDER or not seq_gt(t.high_seq, t.snd_una) or (t.ca_state == CA_LOSS and t.retransmits == 0):
        t.prior_ssthresh = current_ssthresh(t)
        t.prior_cwnd = t.cwnd
        t.ssthresh = cc_ssthresh(t, now)
        if t.cc is not None:
            t.cc.event(t, EVENT_LOSS, now)
        init_undo(t)
    _mark_all_lost(t, now)
    if t.ca_state <= CA_DISORDER and t.sacked_out >= t.net.sysctl.tcp_reordering:
        t.reordering = min(t.reordering, t.net.sysctl.tcp_reordering)
    t.cwnd = t.packets_in_flight() + 1
    t.cwnd_cnt = 0
    t.cwnd_stamp = now
    set_ca_state(t, CA_LOSS, now)
    t.high_seq = t.snd_nxt
    t.tlp_active = False
    queue_cwr(t)
    t.frto = t.net.sysctl.tcp_frto != 0 and (first_reduction or t.retransmits > 0)


def _mark_all_lost(t: Tcb, now: i64) -> None:
    """Mark what the timeout tells us: with RACK only what was sent an RTT ago, else all (tcp_timeout_mark_lost)."""
    queue = t.rtx
    head = queue.first()
    if head is None:
        return
    reneged = head.sacked
    if reneged:
        t.net.counters.TcpExtTCPSACKReneging += 1
    elif not t.sack_ok:
        t.sacked_out = 0
    spare_recent = t.sack_ok and t.net.sysctl.tcp_recovery & 1 and not reneged
    recent = t.rack_rtt_us * 1000
    for index in range(queue.head, len(queue.items)):
        sent = queue.items[index]
        if reneged and sent.sacked:
            sent.sacked = False
            t.sacked_out -= sent.segs
            queue.touch(sent)
        elif spare_recent and sent is not head and sent.sent_at + recent > now:
            continue
        mark_lost(t, sent)
    if reneged:
        queue.sacked_valid = False


# Non-SACK peers: duplicate ACKs stand for SACKed segments (tcp_add_reno_sack)


def add_reno_sack(t: Tcb, duplicates: i64) -> None:
    """Each duplicate ACK stands for a segment that has been delivered (tcp_add_reno_sack)."""
    if duplicates <= 0:
        return
    before = t.sacked_out
    t.sacked_out += duplicates
    _check_reno_reordering(t, 0)
    if t.sacked_out > before:
        t.delivered += t.sacked_out - before


def remove_reno_sacks(t: Tcb, acked: i64) -> None:
    """A cumulative ACK covers the hole and some of the segments that duplicate ACKs stood for."""
    if acked > 0:
        t.delivered += acked - t.sacked_out if acked - t.sacked_out > 1 else 1
        t.sacked_out = t.sacked_out - (acked - 1) if t.sacked_out > acked - 1 else 0
    _check_reno_reordering(t, acked)


def _check_reno_reordering(t: Tcb, addend: i64) -> None:
    """More duplicate ACKs than there are segments beyond the hole: the path reorders (tcp_check_reno_reordering)."""
    holes = t.lost_out if t.lost_out > 1 else 1
    if holes > t.packets_out:
        holes = t.packets_out
    if t.sacked_out + holes <= t.packets_out:
        return
    t.sacked_out = t.packets_out - holes
    most: i64 = t.net.sysctl.tcp_max_reordering
    t.reordering = t.packets_out + addend if t.packets_out + addend < most else most
    t.reord_seen += 1
    t.net.counters.TcpExtTCPRenoReorder += 1


# The decision after a dubious acknowledgment


def fast_retransmit_alert(t: Tcb, found: AckState, duplicates: i64, prior_una: i64, now: i64) -> None:
    """What an acknowledgment that hints at a loss changes (tcp_fastretrans_alert)."""
    flag = found.flag
    if t.packets_out == 0 and t.sacked_out:
        t.sacked_out = 0
    marked = bool(flag & F_ECE)
    if marked:
        # There is congestion: no reduction is undone any more.
        t.prior_ssthresh = 0
    if t.ca_state == CA_OPEN:
        t.retrans_stamp = 0
    elif seq_geq(t.snd_una, t.high_seq):
        if t.ca_state == CA_CWR:
            if t.snd_una != t.high_seq:
                end_cwnd_reduction(t, now)
                set_ca_state(t, CA_OPEN, now)
        elif t.ca_state == CA_RECOVERY:
            if not t.sack_ok:
                t.sacked_out = 0
            if try_undo_recovery(t, now):
                return
            end_cwnd_reduction(t, now)
    if t.ca_state == CA_RECOVERY:
        if not flag & F_UNA_ADVANCED:
            if not t.sack_ok:
                add_reno_sack(t, duplicates)
        elif _try_undo_partial(t, prior_una, now):
            return
        if _try_undo_dsack(t):
            _try_to_open(t, now, marked)
        _identify_losses(t, found, now)
        if t.ca_state != CA_RECOVERY and _time_to_recover(t):
            # The undo left the episode, but a loss is evident: a new one begins.
            enter_recovery(t, now, marked)
        return
    elif t.ca_state == CA_LOSS:
        _process_loss(t, found, duplicates, now)
        if t.ca_state != CA_LOSS and t.rto_stamp:
            t.total_rto_time += now - t.rto_stamp
            t.rto_stamp = 0
        _identify_losses(t, found, now)
        if t.ca_state != CA_OPEN and not found.flag & F_LOST_RETRANS:
            return
    if not t.sack_ok:
        if flag & F_UNA_ADVANCED:
            t.sacked_out = 0
        add_reno_sack(t, duplicates)
    if t.ca_state <= CA_DISORDER:
        _try_undo_dsack(t)
    _identify_losses(t, found, now)
    if not _time_to_recover(t):
        _try_to_open(t, now, marked)
        return
    if t.mtu_search is not None and _probe_lost(t, t.mtu_search, now):
        return
    enter_recovery(t, now, marked)
    if not (t.sack_ok and t.net.sysctl.tcp_recovery & 1):
        _mark_head_lost(t)


def _probe_lost(t: Tcb, search: MtuSearch, now: i64) -> bool:
    """A lost MTU probe is no congestion: its data goes again in smaller segments, the window stays (RFC 4821 7.6.2)."""
    if t.ca_state >= CA_CWR or search.probe_size == 0 or t.snd_una != search.probe_start:
        return False
    search.failed()
    t.net.counters.TcpExtTCPMTUPFail += 1
    t.cwnd += 1
    simple_retransmit(t, now)
    return True


def _time_to_recover(t: Tcb) -> bool:
    """Something is marked lost, or without RACK enough duplicates came (RFC 5681 3.2)."""
    if t.lost_out:
        return True
    return not (t.sack_ok and t.net.sysctl.tcp_recovery & 1) and t.sacked_out >= t.reordering


def _try_to_open(t: Tcb, now: i64, marked: bool) -> None:
    """No loss: Disorder while duplicates are outstanding, else Open (tcp_try_to_open)."""
    if not _any_retransmission(t):
        t.retrans_stamp = 0
    if marked:
        enter_cwr(t, now)
    if t.ca_state != CA_CWR:
        keep_open(t, now)


def keep_open(t: Tcb, now: i64) -> None:
    """Disorder while anything is SACKed, lost or sent again, else Open (tcp_try_keep_open)."""
    state: i64 = CA_OPEN
    if t.sacked_out or t.lost_out or _any_retransmission(t):
        state = CA_DISORDER
    if t.ca_state != state:
        set_ca_state(t, state, now)
        t.high_seq = t.snd_nxt


def _any_retransmission(t: Tcb) -> bool:
    """Whether a retransmission may still be in the network (tcp_any_retrans_done)."""
    if t.retrans_out:
        return True
    head = t.rtx.first()
    return head is not None and head.retransmissions > 0


def _identify_losses(t: Tcb, found: AckState, now: i64) -> None:
    """Mark what this acknowledgment shows to be lost (tcp_identify_packet_loss)."""
    if t.rtx.empty():
        return
    lost_before = t.lost
    retrans_before = t.retrans_out
    if not t.sack_ok:
        advanced = bool(found.flag & F_UNA_ADVANCED)
        if (t.ca_state < CA_RECOVERY and t.sacked_out >= t.reordering) or (t.ca_state == CA_RECOVERY and advanced):
            _mark_head_lost(t)
    elif t.net.sysctl.tcp_recovery & 1:
        if rack_mark_lost(t, now):
            found.flag &= ~F_SET_TIMER
        if retrans_before > t.retrans_out:
            found.flag |= F_LOST_RETRANS
    elif t.ca_state == CA_RECOVERY or t.sacked_out >= t.reordering:
        _mark_sack_holes(t)
    found.newly_lost += t.lost - lost_before


def _mark_head_lost(t: Tcb) -> None:
    """NewReno: the first unacknowledged segment is lost (RFC 6582)."""
    head = t.rtx.first()
    if head is None or head.lost or head.sacked:
        return
    if head.segs > 1:
        split_sent(t, t.rtx.head, head.size, head.size)
    mark_lost(t, head)


def _mark_sack_holes(t: Tcb) -> None:
    """RFC 6675 without RACK: a piece with `reordering` segments SACKed above it is lost."""
    above: i64 = t.sacked_out
    queue = t.rtx
    for index in range(queue.head, len(queue.items)):
        if above < t.reordering:
            return
        sent = queue.items[index]
        if sent.sacked:
            above -= sent.segs
        elif not sent.lost:
            mark_lost(t, sent)


# Loss state and F-RTO


def _process_loss(t: Tcb, found: AckState, duplicates: i64, now: i64) -> None:
    """An acknowledgment after a timeout: was the timeout spurious (RFC 5682), is it repaired (tcp_process_loss)."""
    recovered = seq_geq(t.snd_una, t.high_seq)
    advanced = bool(found.flag & F_UNA_ADVANCED)
    if advanced and _try_undo_loss(t, False, now):
        return
    if t.frto:
        # F-RTO step 3.b: something that was not retransmitted has been delivered.
        if found.flag & F_ORIG_SACK_ACKED and _try_undo_loss(t, True, now):
            return
        if seq_gt(t.snd_nxt, t.high_seq):
            if found.flag & F_DATA_SACKED or duplicates:
                t.frto = False
        elif advanced and not recovered:
            t.high_seq = t.snd_nxt
            # Step 2.b: send new data instead of retransmitting, if there is some.
            if t.unsent_len > 0 and seq_gt(t.wnd_end(), t.snd_nxt):
                t.lost_pending = False
                t.rexmit_new = True
                return
            t.frto = False
    if recovered:
        try_undo_recovery(t, now)
        return
    if not t.sack_ok:
        if seq_gt(t.snd_nxt, t.high_seq) and duplicates:
            add_reno_sack(t, duplicates)
        elif advanced:
            t.sacked_out = 0
    if t.lost_out:
        t.lost_pending = True


# Undoing a needless reduction


def _may_undo(t: Tcb) -> bool:
    return t.undo_active and (t.undo_retrans == 0 or _packet_delayed(t))


def _packet_delayed(t: Tcb) -> bool:
    """Eifel (RFC 3522): the ACK echoes a timestamp from before the retransmission."""
    if t.retrans_stamp:
        return t.ts_ok and t.eifel_delayed
    # Nothing was sent again yet, unless the stamp was taken back while old duplicates are waited for.
    return t.sack_ok or seq_lt(t.snd_una, t.high_seq)


def _undo_reduction(t: Tcb, unmark: bool, now: i64) -> None:
    """Give back window and threshold (tcp_undo_cwnd_reduction)."""
    if unmark:
        queue = t.rtx
        for index in range(queue.head, len(queue.items)):
            queue.items[index].lost = False
        t.lost_out = 0
        t.lost_pending = False
    if t.prior_ssthresh:
        if t.cc is not None:
            t.cwnd = t.cc.undo_window(t)
        if t.prior_ssthresh > t.ssthresh:
            t.ssthresh = t.prior_ssthresh
    t.cwnd_stamp = now
    t.undo_active = False
    t.ecn_queue_cwr = False
    t.rack_advanced = True


def try_undo_recovery(t: Tcb, now: i64) -> bool:
    """Everything of the episode is acknowledged: leave it, undoing it if it was needless; True: stay a moment."""
    if _may_undo(t):
        counters = t.net.counters
        if t.ca_state == CA_LOSS:
            counters.TcpExtTCPLossUndo += 1
        else:
            counters.TcpExtTCPFullUndo += 1
        _undo_reduction(t, False, now)
    elif t.rack_persist:
        t.rack_persist -= 1
    if t.snd_una == t.high_seq and not t.sack_ok:
        # RFC 6582 4: hold the state until the ACK passes high_seq, lest old duplicates start a second episode.
        if not _any_retransmission(t):
            t.retrans_stamp = 0
        return True
    set_ca_state(t, CA_OPEN, now)
    return False


def _try_undo_dsack(t: Tcb) -> bool:
    """Every retransmission turned out to be a duplicate (tcp_try_undo_dsack)."""
    if t.undo_active and t.undo_retrans == 0:
        t.net.counters.TcpExtTCPDSACKUndo += 1
        _undo_reduction(t, False, t.lsndtime)
        return True
    return False


def _try_undo_partial(t: Tcb, prior_una: i64, now: i64) -> bool:
    """A partial ACK shows that the original arrived late, not never (tcp_try_undo_partial).

    True while retransmissions are out: new data is clocked out, and nothing more is marked lost.
    """
    if not t.undo_active or not _packet_delayed(t):
        return False
    note_reordering(t, prior_una, True)
    if t.retrans_out:
        return True
    if not _any_retransmission(t):
        t.retrans_stamp = 0
    _undo_reduction(t, True, now)
    t.net.counters.TcpExtTCPPartialUndo += 1
    keep_open(t, now)
    return False


def _try_undo_loss(t: Tcb, frto_undo: bool, now: i64) -> bool:
    """The timeout was spurious (tcp_try_undo_loss)."""
    if not frto_undo and not _may_undo(t):
        return False
    _undo_reduction(t, True, now)
    t.net.counters.TcpExtTCPLossUndo += 1
    if frto_undo:
        t.net.counters.TcpExtTCPSpuriousRTOs += 1
    t.retransmits = 0
    set_ca_state(t, CA_OPEN, now)
    t.retrans_stamp = 0
    return True


def dubious(flag: i64, ca_state: i64) -> bool:
    """Whether an acknowledgment needs more than growing the window (tcp_ack_is_dubious)."""
    return not flag & NOT_DUPLICATE or bool(flag & ALERT) or ca_state != CA_OPEN
