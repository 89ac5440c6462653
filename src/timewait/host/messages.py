"""recvmsg() on TCP sockets: control messages, MSG_TRUNC, the error queue (tcp_recvmsg, sock_recv_errqueue)."""

import errno
import struct
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i16, i64
from timewait.host.errqueue import ORIGIN_ZEROCOPY, RX_SOFTWARE, SOFTWARE, timestamps
from timewait.host.ports import AF_INET6
from timewait.host.sockopt import (
    IP_RECVERR,
    IPV6_RECVERR,
    MSG_ERRQUEUE,
    MSG_PEEK,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
)
from timewait.host.tcp_socket import TcpSocket

MSG_TRUNC: Final = 0x20
MSG_CTRUNC: Final = 0x8
SCM_TIMESTAMPING: Final = 37
TCP_CM_INQ: Final = 36

Control = tuple[int, int, bytes]
"""(level, type, content)."""


class Received:
    """What recvmsg() gives."""

    def __init__(self, data: bytes, length: i64, flags: i64, controls: list[Control]) -> None:
        self.data = data
        self.length: i64 = length
        """The call's result: with MSG_TRUNC octets that were thrown away count too."""
        self.flags: i64 = flags
        self.controls = controls


def receive_message(sock: TcpSocket, size: int, room: int, flags: int) -> Received:
    """recvmsg(). `room`: octets for control messages; what does not fit is left out, with MSG_CTRUNC."""
    if flags & MSG_ERRQUEUE:
        return _from_error_queue(sock, size, room)
    data = sock.recv(size, flags & ~MSG_TRUNC)
    length = len(data)
    controls: list[Control] = []
    stamping = sock.options.timestamping
    t = sock.tcb
    if t is not None and data and stamping & SOFTWARE and stamping & RX_SOFTWARE:
        controls.append((SOL_SOCKET, SCM_TIMESTAMPING, timestamps(sock.layer.machine.wall_time(t.last_data_recv))))
    if sock.options.inq and not flags & MSG_PEEK:
        controls.append((SOL_TCP, TCP_CM_INQ, struct.pack("<i", _inq_hint(sock))))
    kept, cut = _fit(controls, room)
    if flags & MSG_TRUNC:
        data = b""
    return Received(data, length, MSG_CTRUNC if cut else 0, kept)


def _inq_hint(sock: TcpSocket) -> int:
    """What still waits; 1 at the end of the stream, so that a reader comes once more (tcp_inq_hint)."""
    t = sock.tcb
    waiting = sock.inq()
    if waiting == 0 and t is not None and t.rcv_fin:
        return 1
    return waiting


def _from_error_queue(sock: TcpSocket, size: int, room: int) -> Received:
    queue = sock.errors
    if queue is None or not queue.entries:
        raise os_error(errno.EAGAIN)
    entry = queue.entries.popleft()
    if entry.packet is not None:
        # Whoever reads the report has heard of it: SO_ERROR says nothing any more (sock_dequeue_err_skb).
        t = sock.tcb
        if t is not None:
            t.err = i16(next((other.number for other in queue.entries if other.packet is not None), 0))
    length = entry.size if entry.size < size else size
    controls: list[Control] = []
    if entry.stamp >= 0 and entry.origin != ORIGIN_ZEROCOPY and sock.options.timestamping & SOFTWARE:
        controls.append((SOL_SOCKET, SCM_TIMESTAMPING, timestamps(sock.layer.machine.wall_time(entry.stamp))))
    v6 = sock.family == AF_INET6
    controls.append((SOL_IPV6 if v6 else SOL_IP, IPV6_RECVERR if v6 else IP_RECVERR, entry.extended_error(v6)))
    kept, cut = _fit(controls, room)
    result = MSG_ERRQUEUE | (MSG_TRUNC if entry.size > size else 0) | (MSG_CTRUNC if cut else 0)
    data = bytes(length) if entry.packet is None else entry.packet[:length]
    return Received(data, length, result, kept)


def _fit(controls: list[Control], room: int) -> tuple[list[Control], bool]:
    """As many control messages as fit, each with its 16-octet header, and whether some did not."""
    kept: list[Control] = []
    for control in controls:
        room -= 16 + (len(control[2]) + 7 & ~7)
        if room < 0:
            return kept, True
        kept.append(control)
    return kept, False
