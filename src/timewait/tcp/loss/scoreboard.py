"""What the peer has: SACK blocks applied to the retransmission queue (RFC 2018, RFC 2883, RFC 6675)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.seq import seq_between, seq_diff, seq_geq, seq_gt, seq_leq, seq_lt
from timewait.tcp.cc.base import RateSample
from timewait.tcp.loss.mark import split_sent
from timewait.tcp.loss.queue import Sent
from timewait.tcp.loss.rack import rack_advance
from timewait.tcp.rate import rate_delivered
from timewait.tcp.tcb import CA_LOSS, Tcb
from timewait.wire.packet import Segment

# What an acknowledgment did (Linux's FLAG_*).
F_DATA: Final = 0x001
"""The acknowledgment carried data."""
F_WIN_UPDATE: Final = 0x002
F_DATA_ACKED: Final = 0x004
F_SYN_ACKED: Final = 0x010
F_DATA_SACKED: Final = 0x020
F_ECE: Final = 0x040
"""The peer says that a CE mark reached it."""
F_LOST_RETRANS: Final = 0x080
F_ORIG_SACK_ACKED: Final = 0x200
"""Something that was never retransmitted has been delivered."""
F_UNA_ADVANCED: Final = 0x400
F_DSACKING: Final = 0x800
F_SET_TIMER: Final = 0x1000
F_DSACK_TLP: Final = 0x8000
"""The tail loss probe was the duplicate."""
F_RETRANS_DATA_ACKED: Final = 0x008
F_ACCURATE: Final = 0x2000
"""The acknowledgment carries accurate ECN's counter."""


@mypyc_attr(acyclic=True, free_list_len=1)
class AckState:
    """What one acknowledgment found, handed from step to step (Linux: tcp_sacktag_state, rate_sample)."""

    def __init__(self) -> None:
        self.flag: i64 = 0
        self.sack_rtt_us: i64 = -1
        self.sack_newest_us: i64 = -1
        self.rate = RateSample()
        self.sack_delivered: i64 = 0
        self.sacked_octets: i64 = 0
        """Newly SACKed, less those that were SACKed before and are acknowledged now."""
        self.ce: i64 = 0
        """Segments newly known to have been marked, by accurate ECN."""
        self.late = False
        """Something was delivered late without having been retransmitted: the path reorders."""
        self.late_seq: i64 = 0
        """Where the lowest such piece begins."""
        self.prior_fack: i64 = 0
        """End of the highest piece known to be delivered before this acknowledgment came."""
        self.newly_lost: i64 = 0


def apply_sacks(t: Tcb, seg: Segment, ack: i64, prior_una: i64, found: AckState, now: i64) -> None:
    """Mark what the SACK blocks cover as delivered; notice DSACK and reordering (tcp_sacktag_write_queue).

    prior_una: SND.UNA before the acknowledgment came.
    """
    blocks = seg.sacks
    first = True
    valid: list[tuple[int, int]] = []
    for left, right in blocks:
        if first:
            first = False
            if _check_dsack(t, blocks, ack, prior_una, found):
                continue
        if not _block_valid(t, left, right, ack):
            t.net.counters.TcpExtTCPSACKDiscard += 1
            continue
        # The newest block comes first on the wire. Taken in that order, what an ACK that
        # was lost has reported already would look as if it had overtaken something.
        at = len(valid)
        while at > 0 and seq_lt(left, valid[at - 1][0]):
            at -= 1
        valid.insert(at, (left, right))
    for left, right in valid:
        _mark_block(t, left, right, found, now)
    if found.late and (t.ca_state != CA_LOSS or t.undo_active):
        note_reordering(t, found.late_seq, False)
    found.late = False


def _block_valid(t: Tcb, left: i64, right: i64, ack: i64) -> bool:
    """A block above SND.UNA, not empty and not beyond what was sent (tcp_is_sackblock_valid).

    One that begins at SND.UNA makes no sense: the acknowledgment would cover it.
    """
    return seq_lt(left, right) and seq_leq(right, t.snd_nxt) and seq_gt(left, t.snd_una) and seq_gt(right, ack)


def _check_dsack(t: Tcb, blocks: tuple[tuple[int, int], ...], ack: i64, prior_una: i64, found: AckState) -> bool:
    """RFC 2883: a first block below the ACK, or inside the second block, reports a duplicate."""
    left: i64 = blocks[0][0]
    right: i64 = blocks[0][1]
    below = seq_lt(left, ack)
    inside = len(blocks) > 1 and seq_leq(right, blocks[1][1]) and seq_geq(left, blocks[1][0])
    if not (below or inside):
        return False
    counters = t.net.counters
    if below:
        counters.TcpExtTCPDSACKRecv += 1
    else:
        counters.TcpExtTCPDSACKOfoRecv += 1
    size = seq_diff(right, left)
    if size <= 0 or size > t.max_window:
        counters.TcpExtTCPDSACKIgnoredDubious += 1
        return True
    segs: i64 = 1
    if size > t.mss_cache:
        segs = (size + t.mss_cache - 1) // t.mss_cache
    elif t.tlp_active and right == t.tlp_high_seq:
        found.flag |= F_DSACK_TLP
    t.dsack_dups += segs
    if t.dsack_dups > t.total_retrans:
        # More duplicates than were ever sent again: not of our making (tcp_dsack_seen).
        counters.TcpExtTCPDSACKIgnoredDubious += 1
        return True
    counters.TcpExtTCPDSACKRecvSegs += segs
    found.flag |= F_DSACKING
    if t.reord_seen and not found.flag & F_DSACK_TLP:
        t.rack_dsack_seen = True
    # A needless retransmission is a delivered one.
    found.sack_delivered += segs
    t.delivered += segs
    # Only what was acknowledged before and sent again in this episode tells of it (tcp_check_dsack, tcp_sacktag_one).
    ours = seq_gt(right, t.undo_marker) and (inside or not seq_gt(right, prior_una))
    if t.undo_active and t.undo_retrans > 0 and ours:
        t.undo_retrans = t.undo_retrans - segs if t.undo_retrans > segs else 0
    return True


def _mark_block(t: Tcb, left: i64, right: i64, found: AckState, now: i64) -> None:
    """Walk the pieces that the block covers; a super-segment it covers in part is split between segments."""
    queue = t.rtx
    index = queue.index_of(left)
    while index < len(queue.items):
        sent = queue.items[index]
        if not seq_lt(sent.seq, right):
            return
        if not sent.sacked:
            if seq_lt(sent.seq, left):
                offset = seq_diff(left, sent.seq)
                if sent.segs > 1:
                    offset += (sent.size - offset % sent.size) % sent.size
                    if offset < sent.length:
                        split_sent(t, index, offset, sent.size)
                index += 1
                continue
            if seq_gt(sent.end_seq, right):
                if sent.segs <= 1:
                    return
                offset = seq_diff(right, sent.seq)
                offset -= offset % sent.size
                if not 0 < offset < sent.length:
                    return
                split_sent(t, index, offset, sent.size)
            _mark_sacked(t, sent, found, now)
        index += 1


def _mark_sacked(t: Tcb, sent: Sent, found: AckState, now: i64) -> None:
    """The peer holds this piece (tcp_sacktag_one)."""
    rack_advance(t, sent, now)
    if sent.retransmitted:
        if sent.lost:
            sent.lost = False
            t.lost_out -= sent.segs
        sent.retransmitted = False
        t.retrans_out -= sent.segs
    else:
        if not sent.retransmissions:
            if seq_lt(sent.seq, highest_sack(t)):
                delivered_late(found, sent)
            if not seq_gt(sent.end_seq, t.high_seq):
                found.flag |= F_ORIG_SACK_ACKED
            found.sack_newest_us = (now - sent.sent_at) // 1000
            if found.sack_rtt_us < 0:
                found.sack_rtt_us = found.sack_newest_us
        if sent.lost:
            sent.lost = False
            t.lost_out -= sent.segs
    sent.sacked = True
    rate_delivered(t, sent, found.rate)
    found.flag |= F_DATA_SACKED
    t.sacked_out += sent.segs
    found.sack_delivered += sent.segs
    found.sacked_octets += sent.length
    t.delivered += sent.segs
    if seq_gt(sent.end_seq, t.rtx.sacked_end) or not t.rtx.sacked_valid:
        t.rtx.sacked_end = sent.end_seq
        t.rtx.sacked_valid = True
    t.rtx.untouch(sent)


def highest_sack(t: Tcb) -> i64:
    """End of the highest delivered piece above SND.UNA; SND.UNA when none (FACK point)."""
    if t.rtx.sacked_valid and seq_between(t.snd_una, t.rtx.sacked_end, t.snd_nxt):
        return t.rtx.sacked_end
    return t.snd_una


def delivered_late(found: AckState, sent: Sent) -> None:
    """A piece that was never retransmitted arrived behind later ones."""
    if not found.late or seq_lt(sent.seq, found.late_seq):
        found.late = True
        found.late_seq = sent.seq


def note_late(t: Tcb, found: AckState) -> None:
    """As for SACKs, where the cumulative ACK filled the hole."""
    if found.late and seq_lt(found.late_seq, found.prior_fack):
        note_reordering(t, found.late_seq, False)


def note_reordering(t: Tcb, low_seq: i64, by_timestamp: bool) -> None:
    """A delivery was late but not lost: tolerate more of it (tcp_check_sack_reordering)."""
    fack = highest_sack(t)
    if not seq_lt(low_seq, fack):
        return
    mss = t.mss_cache
    distance = seq_diff(fack, low_seq)
    if mss and distance > t.reordering * mss:
        most: i64 = t.net.sysctl.tcp_max_reordering
        segments = (distance + mss - 1) // mss
        t.reordering = segments if segments < most else most
    t.reord_seen += 1
    if by_timestamp:
        t.net.counters.TcpExtTCPTSReorder += 1
    else:
        t.net.counters.TcpExtTCPSACKReorder += 1
