"""The tail loss probe itself, and what its acknowledgment tells (RFC 8985 sections 7.3 and 7.4)."""

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_geq
from timewait.tcp.arm import arm, rearm_rto
from timewait.tcp.loss.mark import set_ca_state, split_sent
from timewait.tcp.loss.recovery import end_cwnd_reduction, init_cwnd_reduction, keep_open
from timewait.tcp.persist import send_head
from timewait.tcp.reasons import Why
from timewait.tcp.segments import current_mss
from timewait.tcp.tcb import CA_CWR, TIMER_RTO, Tcb
from timewait.tcp.transmit import retransmit


def tail_loss_probe(t: Tcb, now: i64) -> None:
    """Send one new segment, or the last one again (RFC 8985 7.3, tcp_send_loss_probe)."""
    t.fired("tlp", now)
    if t.tlp_active:
        rearm_rto(t, now)
        return
    t.tlp_retrans = False
    mss = current_mss(t)
    sent_new = False
    whole_piece = mss if mss < t.unsent_len else t.unsent_len
    if whole_piece > 0 and seq_diff(t.wnd_end(), t.snd_nxt) >= whole_piece:
        # New data only if it fits the window whole (tcp_snd_wnd_test).
        sent_new = send_head(t, Why.TLP, now)
    if not sent_new:
        queue = t.rtx
        last = queue.last()
        if last is None:
            rearm_rto(t, now)
            return
        if last.length > mss:
            whole = (last.segs - 1) * mss
            if 0 < whole < last.length:
                split_sent(t, len(queue.items) - 1, whole, mss)
        seg = retransmit(t, len(queue.items) - 1, 1, Why.TLP, now)
        if seg is None:
            rearm_rto(t, now)
            return
        t.emit(seg)
        t.tlp_retrans = True
    t.tlp_high_seq = t.snd_nxt
    t.tlp_active = True
    t.net.counters.TcpExtTCPLossProbes += 1
    arm(t, TIMER_RTO, t.rto, now)


def process_tlp_ack(t: Tcb, ack: i64, duplicate: bool, dsacked: bool, now: i64) -> None:
    """Whether the probe repaired a loss or was needless (RFC 8985 7.4, tcp_process_tlp_ack).

    dsacked: a DSACK names the probe.
    """
    if not t.tlp_active or not seq_geq(ack, t.tlp_high_seq):
        return
    if not t.tlp_retrans or dsacked:
        t.tlp_active = False
    elif ack != t.tlp_high_seq and not duplicate:
        # The probe filled a hole: one loss, answered with one reduction.
        t.tlp_active = False
        init_cwnd_reduction(t, now)
        set_ca_state(t, CA_CWR, now)
        end_cwnd_reduction(t, now)
        keep_open(t, now)
        t.net.counters.TcpExtTCPLossProbeRecovery += 1
    elif duplicate:
        t.tlp_active = False
