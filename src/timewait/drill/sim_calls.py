"""System calls of a script on our host. Each is a generator that yields while the call waits."""

import errno
import struct
from typing import TYPE_CHECKING, Any

from timewait.base.errors import os_error
from timewait.base.instant import MSEC, NEVER
from timewait.drill.machine import Address, Answer
from timewait.host.file import EPOLLOUT
from timewait.host.messages import receive_message
from timewait.host.pipe import PIPE_SIZE, MemoryFile, PipeEnd, make_pipe
from timewait.host.sockopt import MSG_ERRQUEUE, SO_RCVTIMEO, SO_SNDTIMEO, SO_TIMESTAMPING, SOL_SOCKET
from timewait.host.tcp_socket import TcpSocket
from timewait.tcp.states import CLOSING, FIN_WAIT_1, LAST_ACK, SYN_SENT

if TYPE_CHECKING:
    from timewait.drill.sim import SimMachine, Waiting

SOL_TCP = 6
TCP_TEXT = (13, 14, 31, 32, 33)
"""Options of TCP whose value is no number: congestion control, MD5 keys, ULP, the fast open key."""
LINGERING = (FIN_WAIT_1, CLOSING, LAST_ACK)
"""States in which close() with SO_LINGER still waits (sk_stream_closing)."""
TX_RECORD = 0x303
"""SOF_TIMESTAMPING_TX_RECORD_MASK: what a single send may ask for."""
MSG_OOB = 0x1
MSG_DONTWAIT = 0x40
MSG_WAITALL = 0x100
MSG_MORE = 0x8000
SPLICE_F_NONBLOCK = 2
SPLICE_F_MORE = 4
MSG_PEEK = 0x2
MSG_FASTOPEN = 0x20000000


class SimCalls:
    """The calls by name; arguments are those that `syscalls` prepares."""

    def __init__(self, machine: "SimMachine") -> None:
        self.machine = machine
        self.process = machine.process
        self.timeouts: dict[tuple[int, int], int] = {}
        """SO_RCVTIMEO and SO_SNDTIMEO in ns, by descriptor and option: hosts' calls never wait, scripts' do."""

    def _waits(self, fd: int, flags: int = 0) -> bool:
        """Whether a call on this descriptor waits rather than fail with EAGAIN."""
        return not self.process.get_nonblocking(fd) and not flags & MSG_DONTWAIT

    # Sockets

    def socket(self, family: int, kind: int, proto: int) -> Answer:
        return _done(self.process.socket(family, kind, proto))

    def bind(self, fd: int, address: Address | None) -> Answer:
        if address is None:
            raise os_error(errno.EFAULT)
        self.process.bind(fd, address)
        return _done(0)

    def listen(self, fd: int, backlog: int) -> Answer:
        self.process.listen(fd, backlog)
        return _done(0)

    def accept(self, fd: int, flags: int = 0) -> "Waiting":
        while True:
            try:
                new, address = self.process.accept(fd)
            except BlockingIOError:
                if not self._waits(fd):
                    raise
                yield NEVER
                continue
            if flags & 0o4000:
                self.process.set_nonblocking(new)
            return Answer(new, values={"address": address})

    def connect(self, fd: int, address: Address | None) -> "Waiting":
        try:
            self.process.connect(fd, address)
        except BlockingIOError:
            if not self._waits(fd):
                raise
        else:
            return _done(0)
        yield from self._connected(fd)
        return _done(0)

    def _connected(self, fd: int) -> "Any":
        """Wait until a connection attempt has ended; raises its error."""
        sock = self.process._socket(fd)
        while True:
            try:
                sock.connect(b"", 0)
                return
            except OSError as error:
                if error.errno != errno.EALREADY:
                    raise
            yield NEVER

    def close(self, fd: int) -> "Waiting":
        """With SO_LINGER it waits until the peer has acknowledged everything, or the time is over."""
        file = self.process.file(fd)
        waits = isinstance(file, TcpSocket) and file.linger > 0 and file.refs == 1 and self._waits(fd)
        self.process.close(fd)
        if isinstance(file, TcpSocket) and waits:
            machine = self.machine
            deadline = machine.now() + int(file.linger)
            t = file.tcb
            while t is not None and not t.done and t.state in LINGERING and machine.now() < deadline:
                yield deadline
        return _done(0)

    def shutdown(self, fd: int, how: int) -> Answer:
        self.process.shutdown(fd, how)
        return _done(0)

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> Answer:
        if size < 0:
            raise os_error(errno.EINVAL)
        if level == SOL_SOCKET and name in (SO_RCVTIMEO, SO_SNDTIMEO):
            self.process.file(fd)
            span = self.timeouts.get((fd, name), 0) // 1000
            return Answer(0, values={"value": struct.pack("<qq", span // 1_000_000, span % 1_000_000)[:size]})
        if not size:
            self.process.getsockopt(fd, level, name, 4)
            return Answer(0, values={"value": b""})
        value = self.process.getsockopt(fd, level, name, size)
        data = value if isinstance(value, bytes) else (value & 0xFFFFFFFF).to_bytes(4, "little")[:size]
        return Answer(0, values={"value": data})

    def _timeout(self, fd: int, name: int) -> int:
        """When a call on this descriptor gives up (SO_RCVTIMEO, SO_SNDTIMEO), ns; NEVER without such a limit."""
        span = self.timeouts.get((fd, name), 0)
        return self.machine.now() + span if span else NEVER

    def setsockopt(self, fd: int, level: int, name: int, value: bytes | None, size: int) -> Answer:
        if value is None:
            if size:
                raise os_error(errno.EFAULT)
            value = b""
        if level == SOL_SOCKET and name in (SO_RCVTIMEO, SO_SNDTIMEO):
            if len(value) < 16:
                raise os_error(errno.EINVAL)
            self.process.file(fd)
            seconds, micros = struct.unpack_from("<qq", value)
            self.timeouts[(fd, name)] = (seconds * 1_000_000 + micros) * 1000
            return _done(0)
        if level == SOL_TCP and name not in TCP_TEXT and size < 4:
            raise os_error(errno.EINVAL)
        self.process.setsockopt(fd, level, name, _value(value[:size] if size < len(value) else value))
        return _done(0)

    # Data

    def send(self, fd: int, data: bytes | None, flags: int = 0, address: Address | None = None) -> "Waiting":
        """send, sendto, write: a blocking one waits until everything is queued."""
        if data is None:
            self.process.file(fd)
            raise os_error(errno.EFAULT)
        sent = 0
        deadline = self._timeout(fd, SO_SNDTIMEO)
        while True:
            try:
                if address is not None and not sent:
                    sent += self.process.sendto(fd, data, address, flags)
                else:
                    sent += self.process.send(fd, data[sent:], flags)
            except BlockingIOError as error:
                if not self._waits(fd, flags) or self.machine.now() >= deadline:
                    if sent:
                        break
                    raise
                self._writer_waits(fd)
                if error.errno == errno.EINPROGRESS:
                    yield from self._connected(fd)
                    address = None
                    continue
                # Who waits for room is woken when a third of the buffer is free (sk_stream_write_space).
                while True:
                    yield deadline
                    if self.process.poll([(fd, EPOLLOUT)]) or self.machine.now() >= deadline:
                        break
                continue
            except OSError:
                if sent:
                    break
                raise
            if not self._waits(fd, flags):
                break
            if self._opening(fd):
                # The SYN took some of it: the call goes on when the connection is there (tcp_sendmsg_fastopen).
                yield from self._connected(fd)
                address = None
            if sent >= len(data):
                break
        return _done(sent)

    def _opening(self, fd: int) -> bool:
        """Whether a send has just begun a connection of its own."""
        sock = self.process.file(fd)
        return isinstance(sock, TcpSocket) and sock.connecting and sock.tcb is not None and sock.deferred is None

    def _writer_waits(self, fd: int) -> None:
        """Somebody waits to write: the third packet of the handshake waits for his data (sk_write_pending)."""
        sock = self.process.file(fd)
        if isinstance(sock, TcpSocket) and sock.tcb is not None and sock.tcb.state is SYN_SENT:
            sock.tcb.defer_connect_ack = True

    def recv(self, fd: int, size: int | None, flags: int = 0) -> "Waiting":
        """recv, recvfrom, read."""
        wanted = 1 if size is None else size
        got = b""
        deadline = self._timeout(fd, SO_RCVTIMEO)
        while True:
            try:
                piece = self.process.recv(fd, wanted - len(got), flags | MSG_PEEK if size is None else flags)
            except BlockingIOError:
                if got and not flags & MSG_WAITALL:
                    break
                # Out of band nobody waits (tcp_recv_urg).
                if not self._waits(fd, flags) or flags & MSG_OOB or self.machine.now() >= deadline:
                    if got:
                        break
                    raise
                yield deadline
                continue
            if piece and size is None:
                raise os_error(errno.EFAULT)
            got += piece
            if not piece or not flags & MSG_WAITALL or len(got) >= wanted:
                break
        return Answer(len(got), values={"data": got})

    def sendmsg(
        self, fd: int, data: bytes | None, flags: int, address: Address | None, controls: list[tuple[int, int, bytes]]
    ) -> "Waiting":
        """sendmsg(). SO_TIMESTAMPING among the control messages says what is stamped this once (sock_cmsg_send)."""
        sock = self.process.file(fd)
        wanted = next((int.from_bytes(raw[:4], "little") for level, kind, raw in controls
                       if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPING)), None)  # fmt: skip
        if wanted is None or not isinstance(sock, TcpSocket):
            return (yield from self.send(fd, data, flags, address))
        if wanted & ~TX_RECORD:
            raise os_error(errno.EINVAL)
        before = sock.options.timestamping
        sock.own_options().timestamping = before & ~TX_RECORD | wanted
        try:
            return (yield from self.send(fd, data, flags, address))
        finally:
            sock.own_options().timestamping = before

    def recvmsg(self, fd: int, size: int | None, room: int, flags: int) -> "Waiting":
        sock = self.process.file(fd)
        if not isinstance(sock, TcpSocket):
            raise os_error(errno.ENOTSOCK)
        while True:
            try:
                found = receive_message(sock, 1 if size is None else size, room, flags)
            except BlockingIOError:
                if flags & MSG_ERRQUEUE or not self._waits(fd, flags):
                    raise
                yield NEVER
                continue
            values = {"data": found.data, "flags": int(found.flags), "controls": found.controls}
            return Answer(int(found.length), values=values)

    def read(self, fd: int, size: int | None, flags: int = 0) -> "Waiting":
        file = self.process.file(fd)
        if not isinstance(file, (PipeEnd, MemoryFile)):
            return (yield from self.recv(fd, size, flags))
        while True:
            try:
                data = file.read(size or 0)
            except BlockingIOError:
                if not self._waits(fd):
                    raise
                yield NEVER
                continue
            return Answer(len(data), values={"data": data})

    def write(self, fd: int, data: bytes | None, flags: int = 0) -> "Waiting":
        file = self.process.file(fd)
        if not isinstance(file, PipeEnd) or data is None:
            return (yield from self.send(fd, data, flags))
        while True:
            try:
                return _done(file.write(data))
            except BlockingIOError:
                if not self._waits(fd):
                    raise
                yield NEVER

    # Files

    def open(self, path: str, flags: int) -> Answer:
        """A file of the script's own (made by dd, say)."""
        data = self.machine.files.get(path)
        if data is None:
            raise os_error(errno.ENOENT, path)
        return _done(self.process.install(MemoryFile(data)))

    def pipe(self) -> Answer:
        reader, writer = make_pipe()
        return Answer(0, values={"ends": [self.process.install(reader), self.process.install(writer)]})

    def splice(self, source: int, target: int, size: int, flags: int) -> "Waiting":
        """Between a pipe and a socket. SPLICE_F_NONBLOCK concerns the pipe, O_NONBLOCK the socket."""
        reader, writer = self.process.file(source), self.process.file(target)
        if not isinstance(reader, PipeEnd) and not isinstance(writer, PipeEnd):
            raise os_error(errno.EINVAL)
        while True:
            try:
                if isinstance(writer, PipeEnd):
                    room = PIPE_SIZE - len(writer.buffer.data)
                    if room <= 0:
                        raise os_error(errno.EAGAIN)
                    take = min(size, room)
                    data = reader.read(take) if isinstance(reader, PipeEnd) else self.process.recv(source, take)
                    return _done(writer.write(data) if data else 0)
                assert isinstance(reader, PipeEnd)
                waiting = bytes(reader.buffer.data[:size])
                if not waiting:
                    if not reader.buffer.writers:
                        return _done(0)
                    raise os_error(errno.EAGAIN)
                more = MSG_MORE if flags & SPLICE_F_MORE else 0
                return _done(len(reader.read(self.process.send(target, waiting, more))))
            except BlockingIOError:
                pipe = source if isinstance(reader, PipeEnd) else target
                if (flags & SPLICE_F_NONBLOCK and pipe == source) or not self._waits(source) or not self._waits(target):
                    raise
            yield NEVER

    def sendfile(self, target: int, source: int, offset: int | None, size: int) -> "Waiting":
        """From a file in memory to a socket."""
        file = self.process.file(source)
        if not isinstance(file, MemoryFile):
            raise os_error(errno.EINVAL)
        at = int(file.at) if offset is None else offset
        data = file.data[at : at + size]
        if not data:
            return _done(0)
        answer = yield from self.send(target, data)
        if offset is None:
            file.at += answer.result
        return answer

    def nothing(self) -> Answer:
        return _done(0)

    # Descriptors

    def fcntl(self, fd: int, command: int, argument: int) -> Answer:
        if command == 3:
            return _done(0o2 | (0o4000 if self.process.get_nonblocking(fd) else 0))
        if command == 4:
            self.process.set_nonblocking(fd, bool(argument & 0o4000))
            return _done(0)
        if command in (1, 2):
            self.process.file(fd)
            return _done(0)
        if command == 0:
            return _done(self.process.dup(fd))
        raise os_error(errno.EINVAL)

    def ioctl(self, fd: int, request: int, argument: int) -> Answer:
        if request == 0x541B:
            return Answer(0, values={"value": self.process.inq(fd)})
        if request == 0x5411:
            return Answer(0, values={"value": self.process.outq(fd)})
        if request == 0x894B:
            return Answer(0, values={"value": self.process.outq_unsent(fd)})
        if request == 0x8905:
            return Answer(0, values={"value": int(self.process.at_mark(fd))})
        if request == 0x5421:
            self.process.set_nonblocking(fd, bool(argument))
            return Answer(0, values={"value": argument})
        raise os_error(errno.ENOTTY)

    def poll(self, fds: list[tuple[int, int]], timeout: int) -> "Waiting":
        """`timeout` in ms; negative: for ever."""
        machine = self.machine
        deadline = NEVER if timeout < 0 else machine.now() + timeout * MSEC
        while True:
            found = self.process.poll(fds)
            if found or machine.now() >= deadline:
                return Answer(len(found), values={"events": found})
            yield deadline

    def epoll_create(self, flags: int = 0) -> Answer:
        return _done(self.process.epoll_create())

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int, data: int) -> Answer:
        self.process.epoll_ctl(epfd, op, fd, events, data)
        return _done(0)

    def epoll_wait(self, epfd: int, most: int, timeout: int) -> "Waiting":
        machine = self.machine
        deadline = NEVER if timeout < 0 else machine.now() + timeout * MSEC
        while True:
            found = self.process.epoll_wait(epfd, most)
            if found or machine.now() >= deadline:
                return Answer(len(found), values={"events": found})
            yield deadline


def _done(result: int) -> Answer:
    return Answer(result)


def _value(data: bytes) -> int | bytes:
    """A number where there are four octets, as most options take."""
    return struct.unpack("<i", data)[0] if len(data) == 4 else data
