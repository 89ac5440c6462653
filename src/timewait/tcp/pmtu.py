"""The path turned out narrower than we thought (RFC 1191, RFC 8201; tcp_v4_mtu_reduced, tcp_simple_retransmit)."""

from timewait.base.ints import i64
from timewait.tcp.loss.mark import mark_lost, retransmit_without_reduction
from timewait.tcp.segments import current_mss, update_mss
from timewait.tcp.tcb import Tcb


def mtu_reduced(t: Tcb, mtu: i64, now: i64) -> None:
    """Take over a smaller path MTU and send again what no longer fits."""
    if mtu >= t.pmtu:
        return
    t.pmtu = mtu
    update_mss(t)
    simple_retransmit(t, now)


def simple_retransmit(t: Tcb, now: i64) -> None:
    """What is longer than a segment may be now was lost for that; no sign of congestion, so no reduction."""
    mss = current_mss(t)
    for index in range(t.rtx.head, len(t.rtx.items)):
        sent = t.rtx.items[index]
        if sent.segment_size() > mss and not sent.sacked:
            mark_lost(t, sent)
    if t.lost_out:
        retransmit_without_reduction(t, now)
