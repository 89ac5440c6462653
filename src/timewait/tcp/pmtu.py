"""The path turned out narrower than we thought (RFC 1191, RFC 8201; tcp_v4_mtu_reduced, tcp_simple_retransmit)."""

from timewait.base.ints import i64
from timewait.tcp.loss.mark import mark_lost, retransmit_without_reduction
from timewait.tcp.segments import current_mss, update_mss
from timewait.tcp.tcb import Tcb


def _join_packet(t: Tcb, index: i64) -> None:
    """Put together again what Linux has in one packet, so that it is cut anew."""
    queue = t.rtx
    sent = queue.items[index]
    size = sent.length
    segs = sent.segs
    last = index
    while queue.items[last].joined:
        following = queue.items[last + 1]
        if following.sacked or following.lost != sent.lost or following.retransmitted != sent.retransmitted:
            break
        segs += following.segs
        last += 1
    if last > index:
        queue.absorb(index, last)
        sent.segs = segs
        sent.size = size


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
    queue = t.rtx
    index = queue.head
    while index < len(queue.items):
        sent = queue.items[index]
        if sent.segment_size() > mss and not sent.sacked:
            _join_packet(t, index)
            mark_lost(t, sent)
        index += 1
    if t.lost_out:
        retransmit_without_reduction(t, now)
