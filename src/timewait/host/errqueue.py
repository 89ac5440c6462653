"""The error queue of a TCP socket: zerocopy completions and transmit timestamps (net/core/skbuff.c, tcp_tx_timestamp).

A send may ask to be told when its data is no longer needed (MSG_ZEROCOPY) or when it
left and was acknowledged (SO_TIMESTAMPING). The answer waits here until
recvmsg(MSG_ERRQUEUE) takes it.
"""

import errno
import struct
from collections import deque
from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_leq
from timewait.host.icmp import Reported
from timewait.tcp.states import CLOSED
from timewait.tcp.tcb import Tcb
from timewait.tcp.tso import LARGEST

ORIGIN_ICMP: Final = 2
ORIGIN_ICMP6: Final = 3
ORIGIN_TIMESTAMPING: Final = 4
ORIGIN_ZEROCOPY: Final = 5
CODE_ZEROCOPY_COPIED: Final = 1
"""The data was copied after all: what is sent through an interface that a program reads always is."""

TX_SOFTWARE: Final = 0x2
RX_SOFTWARE: Final = 0x8
SOFTWARE: Final = 0x10
OPT_ID: Final = 0x80
OPT_ID_TCP: Final = 0x10000
"""Keys count from what has been written, not from what is unacknowledged."""
TX_SCHED: Final = 0x100
TX_ACK: Final = 0x200
OPT_TSONLY: Final = 0x800
TX_ANY: Final = TX_SOFTWARE | TX_SCHED | TX_ACK

TSTAMP_SND: Final = 0
TSTAMP_SCHED: Final = 1
TSTAMP_ACK: Final = 2

MAX_ENTRIES: Final = 4096
"""Answers kept; the kernel charges them to the receive buffer, which ends at about as many."""

_ERR: Final = struct.Struct("<IBBBBII")
_OFFENDER4: Final = struct.Struct("<HH4s8x")
_OFFENDER6: Final = struct.Struct("<HHI16sI")


class ErrorEntry:
    """One answer: the fields of struct sock_extended_err, when it happened, and how much of the packet comes along."""

    def __init__(self, number: i64, origin: i64, code: i64, info: i64, data: i64) -> None:
        self.number: i64 = number
        self.origin: i64 = origin
        self.code: i64 = code
        self.info: i64 = info
        self.data: i64 = data
        self.stamp: i64 = -1
        """ns; -1: it carries no timestamp."""
        self.size: i64 = 0
        """Octets of the packet that recvmsg() returns."""
        self.type: i64 = 0
        self.offender = b""
        """Who sent the ICMP error; b'' for none."""
        self.packet: bytes | None = None
        """What the ICMP error quoted; None: nobody looks at what comes along."""

    def extended_error(self, v6: bool) -> bytes:
        """struct sock_extended_err and the offender's address."""
        error = _ERR.pack(self.number, self.origin, self.type, self.code, 0, self.info, self.data)
        if v6:
            address = _OFFENDER6.pack(10, 0, 0, self.offender, 0) if self.offender else b""
            return error + address.ljust(28, b"\0")
        address = _OFFENDER4.pack(2, 0, self.offender) if self.offender else b""
        return error + address.ljust(16, b"\0")


class Wish:
    """A send that wants to be told: the end of its data, and the number that the answer carries."""

    def __init__(self, end: i64, number: i64, size: i64, flags: i64) -> None:
        self.end: i64 = end
        self.number: i64 = number
        self.size: i64 = size
        self.flags: i64 = flags
        """SOF_TIMESTAMPING_ bits; 0 for zerocopy."""
        self.sent = False
        self.closed = False
        """MSG_EOR: nothing more joins it."""
        self.times: i64 = 0
        """How often its last octet has been retransmitted."""


class ErrorQueue:
    """What waits for recvmsg(MSG_ERRQUEUE), and the sends that are going to put something there."""

    def __init__(self) -> None:
        self.entries: deque[ErrorEntry] = deque()
        self.zerocopy: deque[Wish] = deque()
        self.stamps: deque[Wish] = deque()
        self.next_zerocopy: i64 = 0
        self.key_base: i64 = 0
        """write_seq when SOF_TIMESTAMPING_OPT_ID was set: keys count octets from here."""
        self.retransmissions: i64 = 0
        """The connection's when it was last looked at."""

    def want_zerocopy(self, t: Tcb) -> None:
        """A send with MSG_ZEROCOPY has queued data."""
        self.zerocopy.append(Wish(t.write_seq, self.next_zerocopy, 0, 0))
        self.next_zerocopy = (self.next_zerocopy + 1) & 0xFFFFFFFF
        t.watched = True

    def want_stamps(self, t: Tcb, flags: i64, length: i64, ends_record: bool) -> None:
        """A send has queued data whose last octet's way is to be timed.

        While the packet that Linux would append it to has not left, one stamp serves all that it holds
        (tcp_tx_timestamp sets the key of the last buffer).
        """
        key: i64 = (t.write_seq - self.key_base - 1) & 0xFFFFFFFF if flags & OPT_ID else 0
        last = self.stamps[-1] if self.stamps else None
        if last is None or last.sent or last.closed or last.size + length > LARGEST:
            last = Wish(t.write_seq, key, 0, 0)
            self.stamps.append(last)
        last.end = t.write_seq
        last.number = key
        last.size += length
        last.flags |= flags
        last.closed = ends_record
        t.watched = True

    def reported(self, reported: Reported) -> None:
        """An ICMP error ended the connection attempt (ip_icmp_error, ipv6_icmp_error)."""
        message = reported.message
        v6 = len(message.src) == 16
        entry = ErrorEntry(reported.errno, ORIGIN_ICMP6 if v6 else ORIGIN_ICMP, message.code, 0, 0)
        entry.type = message.type
        entry.offender = message.src
        entry.packet = reported.quote.transport
        entry.size = len(entry.packet)
        self._add(entry)

    def progress(self, t: Tcb, now: i64) -> bool:
        """Data has left or been acknowledged: note what was waited for. True if something new waits."""
        before = len(self.entries)
        changed = False
        over = t.state is CLOSED
        for wish in self.stamps:
            if not wish.sent and seq_leq(wish.end, t.snd_nxt):
                wish.sent = True
                self._left(t, wish, now)
            elif wish.sent and t.total_retrans != self.retransmissions:
                # What leaves again is stamped again: the packet still carries the wish.
                index = t.rtx.index_of((wish.end - 1) & 0xFFFFFFFF)
                if index < len(t.rtx.items) and t.rtx.items[index].retransmissions > wish.times:
                    wish.times = t.rtx.items[index].retransmissions
                    if t.rtx.items[index].length < wish.size:
                        wish.size = t.rtx.items[index].length
                    self._left(t, wish, now)
        self.retransmissions = t.total_retrans
        while self.stamps and (over or (self.stamps[0].sent and seq_leq(self.stamps[0].end, t.snd_una))):
            wish = self.stamps.popleft()
            if wish.flags & TX_ACK and not over:
                self._stamp(wish, TSTAMP_ACK, wish.size, now)
        while self.zerocopy and (over or seq_leq(self.zerocopy[0].end, t.snd_una)):
            self._completed(self.zerocopy.popleft().number)
            changed = True
        t.watched = bool(self.stamps) or bool(self.zerocopy)
        return changed or len(self.entries) != before

    def _left(self, t: Tcb, wish: Wish, now: i64) -> None:
        """The octet was handed to the queue and to the device."""
        header = t.header_size + (12 if t.ts_ok else 0)
        if wish.flags & TX_SCHED:
            self._stamp(wish, TSTAMP_SCHED, header + wish.size, now)
        if wish.flags & TX_SOFTWARE:
            tail = wish.size % t.mss_cache or (t.mss_cache if wish.size else 0)
            self._stamp(wish, TSTAMP_SND, header + tail, now)

    def _stamp(self, wish: Wish, kind: i64, size: i64, now: i64) -> None:
        entry = ErrorEntry(errno.ENOMSG, ORIGIN_TIMESTAMPING, 0, kind, wish.number)
        entry.stamp = now
        entry.size = 0 if wish.flags & OPT_TSONLY else size
        self._add(entry)

    def _completed(self, number: i64) -> None:
        """A zerocopy send is through; neighbours share one answer (skb_zerocopy_notify_extend)."""
        if self.entries:
            last = self.entries[-1]
            if last.origin == ORIGIN_ZEROCOPY and (last.data + 1) & 0xFFFFFFFF == number:
                last.data = number
                return
        self._add(ErrorEntry(0, ORIGIN_ZEROCOPY, CODE_ZEROCOPY_COPIED, number, number))

    def _add(self, entry: ErrorEntry) -> None:
        if len(self.entries) < MAX_ENTRIES:
            self.entries.append(entry)


def timestamps(stamp: i64) -> bytes:
    """struct scm_timestamping with a software timestamp (ns)."""
    return struct.pack("<qq32x", stamp // 1_000_000_000, stamp % 1_000_000_000)
