"""The retransmission queue: what has been sent and is not acknowledged, in order and by time of sending."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_leq
from timewait.wire.packet import FIN, PSH, Buffer


class Sent:
    """A sent piece of the stream: one segment, or a super-segment of several."""

    def __init__(self, seq: i64, end_seq: i64, flags: i64, data: Buffer, length: i64, segs: i64, now: i64) -> None:
        self.seq: i64 = seq
        self.end_seq: i64 = end_seq
        """Behind the last octet; SYN and FIN counted."""
        self.flags: i64 = flags
        self.data: Buffer = data
        self.length: i64 = length
        self.segs: i64 = segs
        """Wire segments this stands for (Linux: tcp_skb_pcount)."""
        self.size: i64 = 0
        """Octets in each of them but the last, if there are several (tcp_skb_mss)."""
        self.sent_at: i64 = now
        """Time of the last transmission."""
        self.retransmissions: i64 = 0
        self.sacked = False
        self.lost = False
        self.retransmitted = False
        """A retransmission of it is believed to be in flight (TCPCB_SACKED_RETRANS)."""
        self.order: i64 = 0
        """Number of the connection's transmission that sent it last: the order within one instant."""
        self.tx_first: i64 = 0
        """Delivery rate: when the flight began that was being measured when this was sent (tx.first_tx_mstamp)."""
        self.tx_delivered_at: i64 = -1
        """When tx_delivered was reached; -1: counted already."""
        self.tx_delivered: i64 = 0
        self.tx_app_limited = False
        self.in_time_list = False
        self.joined = False
        """Linux has it in one packet (skb) with the piece that follows, though ours left one by one (tcp.tso)."""
        self.end_of_record = False
        """MSG_EOR: what follows never shares a segment with it."""
        self.before: Sent | None = None
        self.after: Sent | None = None

    def segment_size(self) -> i64:
        """Payload of the longest segment this stands for (tcp_skb_seglen)."""
        if self.segs > 1:
            return self.size
        return self.length

    def cut_into(self, mss: i64) -> None:
        """It now stands for segments of `mss` octets (tcp_set_skb_tso_segs)."""
        self.size = mss
        self.segs = 1 if self.length <= mss else (self.length + mss - 1) // mss


_NO_ITEMS: Final[list[Sent]] = []
"""What every queue with nothing in it holds; `append` puts a list of its own in its place."""


class RetransmitQueue:
    """Sent pieces by sequence number, with a second order by time of (re)transmission for RACK.

    Appending, removing the head and moving in the time order are O(1); finding a
    sequence number is O(log n); inserting the second half of a split is a list insert.
    """

    def __init__(self) -> None:
        self.items: list[Sent] = _NO_ITEMS
        self.head: i64 = 0
        """Index of the first live item; what lies before is garbage until compaction."""
        self.joined: i64 = 0
        """Pieces that are joined to the one behind them."""
        self.scan_seq: i64 = 0
        """No lost piece before this one waits for its retransmission; meaningful if scan_valid."""
        self.scan_valid = False
        self.sacked_end: i64 = 0
        """End of the highest SACKed piece; meaningful if sacked_valid."""
        self.sacked_valid = False
        self.oldest: Sent | None = None
        self.newest: Sent | None = None

    def empty(self) -> bool:
        return self.head >= len(self.items)

    def first(self) -> Sent | None:
        """The oldest unacknowledged piece."""
        if self.head >= len(self.items):
            return None
        return self.items[self.head]

    def last(self) -> Sent | None:
        """The piece with the highest sequence number."""
        if self.head >= len(self.items):
            return None
        return self.items[len(self.items) - 1]

    def append(self, sent: Sent) -> None:
        """Add a piece that was just sent for the first time."""
        if self.items is _NO_ITEMS:
            self.items = [sent]
        else:
            self.items.append(sent)
        self.touch(sent)

    def join(self, sent: Sent, joined: bool) -> None:
        """Say whether Linux has the piece in one packet with the one behind it."""
        if sent.joined != joined:
            sent.joined = joined
            self.joined += 1 if joined else -1

    def pop_first(self) -> None:
        """Remove the head: it has been acknowledged."""
        sent = self.items[self.head]
        if sent.joined:
            self.joined -= 1
        self.untouch(sent)
        self.head += 1
        if self.head >= len(self.items):
            self.items = _NO_ITEMS
            self.head = 0
        elif self.head >= 64 and self.head * 2 > len(self.items):
            del self.items[: self.head]
            self.head = 0

    def clear(self) -> None:
        """Forget everything, as when the connection ends."""
        for i in range(self.head, len(self.items)):
            self.untouch(self.items[i])
        self.items = _NO_ITEMS
        self.head = 0
        self.joined = 0

    def touch(self, sent: Sent) -> None:
        """Move a piece to the young end of the time order: it was (re)transmitted."""
        if sent.in_time_list:
            self.untouch(sent)
        sent.before = self.newest
        if self.newest is not None:
            self.newest.after = sent
        else:
            self.oldest = sent
        self.newest = sent
        sent.in_time_list = True

    def untouch(self, sent: Sent) -> None:
        """Take a piece out of the time order."""
        if not sent.in_time_list:
            return
        if sent.before is not None:
            sent.before.after = sent.after
        else:
            self.oldest = sent.after
        if sent.after is not None:
            sent.after.before = sent.before
        else:
            self.newest = sent.before
        sent.before = None
        sent.after = None
        sent.in_time_list = False

    def index_of(self, seq: i64) -> i64:
        """Index of the first piece that ends after seq; len(items) when there is none."""
        low: i64 = self.head
        high: i64 = len(self.items)
        while low < high:
            middle = (low + high) >> 1
            if seq_leq(self.items[middle].end_seq, seq):
                low = middle + 1
            else:
                high = middle
        return low

    def split(self, index: i64, offset: i64, mss: i64) -> None:
        """Cut the piece at `index` in two, `offset` payload octets (> 0) into it.

        Marks go to both halves; PSH and FIN stay with the second, which may have no octets
        besides; SYN with the first.
        The caller keeps the connection's segment counts in step.
        """
        sent = self.items[index]
        assert 0 < offset < sent.length or (offset == sent.length and sent.flags & FIN != 0)
        data = sent.data if isinstance(sent.data, memoryview) else memoryview(sent.data)
        cut = (sent.seq + offset) & 0xFFFFFFFF
        rest = Sent(cut, sent.end_seq, sent.flags & ~0x02, data[offset:], sent.length - offset, 1, sent.sent_at)
        rest.cut_into(mss)
        rest.retransmissions = sent.retransmissions
        rest.order = sent.order
        rest.tx_first = sent.tx_first
        rest.tx_delivered_at = sent.tx_delivered_at
        rest.tx_delivered = sent.tx_delivered
        rest.tx_app_limited = sent.tx_app_limited
        rest.end_of_record = sent.end_of_record
        sent.end_of_record = False
        rest.joined = sent.joined
        sent.joined = False
        rest.sacked = sent.sacked
        rest.lost = sent.lost
        rest.retransmitted = sent.retransmitted
        sent.end_seq = cut
        sent.data = data[:offset]
        sent.length = offset
        sent.cut_into(mss)
        sent.flags &= ~0x09
        self.items.insert(index + 1, rest)
        if sent.in_time_list:
            rest.before = sent
            rest.after = sent.after
            if sent.after is not None:
                sent.after.before = rest
            else:
                self.newest = rest
            sent.after = rest
            rest.in_time_list = True

    def absorb(self, index: i64, last: i64) -> None:
        """The piece at `index` takes in those behind it, up to `last`; its segments the caller counts."""
        sent = self.items[index]
        parts = [sent.data]
        self.join(sent, False)
        for following in self.items[index + 1 : last + 1]:
            parts.append(following.data)
            sent.length += following.length
            sent.end_seq = following.end_seq
            sent.flags |= following.flags & (PSH | FIN)
            sent.retransmissions |= following.retransmissions
            sent.end_of_record = following.end_of_record
            sent.joined = following.joined
            if following.joined and following is not self.items[last]:
                self.joined -= 1
            self.untouch(following)
        sent.data = b"".join(parts)
        del self.items[index + 1 : last + 1]

    def length_from(self, seq: i64) -> i64:
        """Octets from seq to the end of the queue."""
        last = self.last()
        return 0 if last is None else seq_diff(last.end_seq, seq)
