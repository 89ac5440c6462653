"""Marks on sent pieces, with the connection's segment counts kept in step, and the congestion state."""

from timewait.base.ints import i16, i64
from timewait.base.seq import seq_lt
from timewait.tcp.loss.queue import Sent
from timewait.tcp.tcb import CA_CWR, CA_LOSS, CA_RECOVERY, Tcb


def set_ca_state(t: Tcb, state: i64, now: i64) -> None:
    """Change the congestion state; the algorithm hears of it first (tcp_set_ca_state)."""
    if t.cc is not None:
        t.cc.state_changes(t, state, now)
    t.ca_state = i16(state)


def current_ssthresh(t: Tcb) -> i64:
    """The threshold to fall back to when a reduction proves needless (tcp_current_ssthresh)."""
    if t.ca_state == CA_CWR or t.ca_state == CA_RECOVERY:
        return t.ssthresh
    three_quarters = (t.cwnd >> 1) + (t.cwnd >> 2)
    return t.ssthresh if t.ssthresh > three_quarters else three_quarters


def mark_lost(t: Tcb, sent: Sent) -> None:
    """The piece is believed lost: retransmit it when the window admits (tcp_mark_skb_lost)."""
    if sent.sacked:
        return
    if sent.lost:
        if sent.retransmitted:
            # The retransmission was lost as well.
            sent.retransmitted = False
            t.retrans_out -= sent.segs
            t.lost += sent.segs
            t.net.counters.TcpExtTCPLostRetransmit += sent.segs
        else:
            return
    else:
        sent.lost = True
        t.lost_out += sent.segs
        t.lost += sent.segs
        if sent.retransmitted:
            sent.retransmitted = False
            t.retrans_out -= sent.segs
    t.lost_pending = True
    queue = t.rtx
    if not queue.scan_valid or seq_lt(sent.seq, queue.scan_seq):
        queue.scan_seq = sent.seq
        queue.scan_valid = True


def split_sent(t: Tcb, index: i64, offset: i64, mss: i64) -> None:
    """Cut a sent piece in two and keep the segment counts in step (tcp_fragment)."""
    sent = t.rtx.items[index]
    before = sent.segs
    t.rtx.split(index, offset, mss)
    _count_more(t, sent, sent.segs + t.rtx.items[index + 1].segs - before)


def resegment(t: Tcb, sent: Sent, mss: i64) -> None:
    """A sent piece leaves again in segments of `mss`, be they more or fewer than before (tcp_set_skb_tso_segs)."""
    before = sent.segs
    sent.cut_into(mss)
    _count_more(t, sent, sent.segs - before)


def cut_joined(t: Tcb, index: i64, mss: i64) -> None:
    """Cut a sent piece into single segments, still one packet of Linux's."""
    items = t.rtx.items
    while items[index].length > mss:
        split_sent(t, index, mss, mss)
        t.rtx.join(items[index], True)
        index += 1


def _count_more(t: Tcb, sent: Sent, more: i64) -> None:
    """A sent piece stands for so many segments more, or fewer (tcp_adjust_pcount)."""
    if more == 0:
        return
    t.packets_out += more
    if more < 0 and not t.sack_ok:
        # Duplicate ACKs stand for segments, of which there are fewer now.
        t.sacked_out = t.sacked_out + more if t.sacked_out > -more else 0
    if sent.sacked:
        t.sacked_out += more
    if sent.lost:
        t.lost_out += more
    if sent.retransmitted:
        t.retrans_out += more


def retransmit_without_reduction(t: Tcb, now: i64) -> None:
    """Send again what is marked lost though no congestion caused it (tcp_non_congestion_loss_retransmit)."""
    if t.ca_state != CA_LOSS:
        t.high_seq = t.snd_nxt
        t.ssthresh = current_ssthresh(t)
        t.prior_ssthresh = 0
        t.undo_active = False
        set_ca_state(t, CA_LOSS, now)
    t.lost_pending = True
