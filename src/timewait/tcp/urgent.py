"""Urgent data (RFC 9293 section 3.8.5, RFC 6093): one octet out of band, as BSD and Linux understand it.

The urgent octet stays in the receive queue until the program reads past it. A read
stops before it (the mark); the next one steps over it, unless SO_OOBINLINE leaves it in
the stream. recv() with MSG_OOB gives a copy, once (quirks.md: URG-1).
"""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.base.seq import seq_gt, seq_lt
from timewait.tcp.reassembly import peek_at, read
from timewait.tcp.states import CLOSED
from timewait.tcp.tcb import RCV_SHUTDOWN, WAKE_IN, WAKE_PRI, Tcb
from timewait.wire.packet import SYN, URG, Segment

# What `urg_data` holds besides the octet itself, while `urg_valid` is set.
NOT_YET: Final = -1
"""The pointer came, the octet did not (TCP_URG_NOTYET)."""
TAKEN: Final = -2
"""recv() with MSG_OOB has given it to the program (TCP_URG_READ)."""


def check_urgent(t: Tcb, seg: Segment) -> None:
    """Sixth check: take note of the pointer, and of the octet once it is here (tcp_urg)."""
    if seg.flags & URG:
        _note_pointer(t, seg)
    if t.urg_valid and t.urg_data == NOT_YET:
        # A SYN takes a sequence number, but no place in the payload.
        offset = (t.urg_seq - seg.seq - (1 if seg.flags & SYN else 0)) & 0xFFFFFFFF
        if offset < seg.length:
            t.urg_data = seg.payload[offset]
            t.wake |= WAKE_PRI | WAKE_IN


def _note_pointer(t: Tcb, seg: Segment) -> None:
    """Where the urgent octet stands; by BSD's reading it is the one before the pointer (tcp_check_urg)."""
    pointer: i64 = seg.urgent
    if pointer and not t.net.sysctl.tcp_stdurg:
        pointer -= 1
    position = (seg.seq + pointer) & 0xFFFFFFFF
    if seq_lt(position, t.copied_seq) or seq_lt(position, t.rcv_nxt):
        return
    if t.urg_valid and not seq_gt(position, t.urg_seq):
        return
    if t.urg_valid and t.urg_seq == t.copied_seq and not t.urg_inline and t.rcv_queued > 0:
        # The next octet to read was urgent and a newer one comes: it must not turn into ordinary data.
        read(t, 1, False)
    t.urg_seq = position
    t.urg_valid = True
    t.urg_data = NOT_YET


def readable(t: Tcb) -> bool:
    """Whether enough for SO_RCVLOWAT can be read: an urgent octet at the front does not count (tcp_poll).

    Less is enough when the window lets the peer send no more (tcp_epollin_ready).
    """
    target = t.wishes.rcvlowat
    if t.urg_valid and t.urg_seq == t.copied_seq and not t.urg_inline:
        target += 1
    if t.rcv_queued >= target:
        return True
    return t.wishes.rcvlowat > 1 and t.rcv_queued > 0 and t.receive_window() <= t.rcv_mss


def waiting(t: Tcb) -> i64:
    """Octets up to the mark, or all that wait (tcp_inq)."""
    ahead = (t.urg_seq - t.copied_seq) & 0xFFFFFFFF
    if t.urg_valid and not t.urg_inline and ahead < t.rcv_queued:
        return ahead
    return t.rcv_queued


def read_to_mark(t: Tcb, size: i64, peek: bool) -> bytes:
    """As `read`: stops before the urgent octet; a read that begins there steps over it (tcp_recvmsg)."""
    ahead = (t.urg_seq - t.copied_seq) & 0xFFFFFFFF
    if ahead:
        return read(t, size if size < ahead else ahead, peek)
    if t.urg_inline:
        data = read(t, size, peek)
    elif peek:
        return peek_at(t, 1, size)
    else:
        read(t, 1, False)
        data = read(t, size, False)
    if not peek:
        t.urg_valid = False
    return data


def receive_urgent(t: Tcb, peek: bool) -> bytes:
    """recv() with MSG_OOB (tcp_recv_urg).

    Raises EINVAL when there is none, it was taken already or it is left in the stream,
    EAGAIN when the pointer came before the octet, ENOTCONN without a connection.
    """
    if t.urg_inline or not t.urg_valid or t.urg_data == TAKEN:
        raise os_error(errno.EINVAL)
    if t.state is CLOSED and not t.rcv_fin:
        raise os_error(errno.ENOTCONN)
    if t.urg_data >= 0:
        octet = bytes((t.urg_data,))
        if not peek:
            t.urg_data = TAKEN
        return octet
    if t.state is CLOSED or t.shutdown_mask & RCV_SHUTDOWN:
        return b""
    raise os_error(errno.EAGAIN)
