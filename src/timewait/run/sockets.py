"""`socket.socket` as a program on a simulated host sees it: Python's class over our system calls.

A `SimSocket` is a `socket.socket` to everybody who asks, but its C half never gets a real
descriptor. What would block hands over the baton until the host says that something
happened. Descriptor numbers begin at FD_BASE, so that one which strays into a real
system call meets EBADF there and not a file of this process.
"""

import errno
import socket
import sys
from collections.abc import Iterable
from typing import Any, Final

from timewait.base.errors import os_error
from timewait.base.instant import NEVER
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, File
from timewait.host.process import Process
from timewait.run import current
from timewait.run.errors import MisuseError
from timewait.run.names import resolve
from timewait.run.program import Program
from timewait.run.waiting import running, wait_for
from timewait.run.where import line_of
from timewait.wire.packet import Buffer

FD_BASE: Final = 1_000_000
MSG_DONTWAIT: Final = 0x40
_ANY: Final = EPOLLERR | EPOLLHUP
_READ: Final = EPOLLIN | EPOLLRDHUP | EPOLLPRI | _ANY
_WRITE: Final = EPOLLOUT | _ANY


class SimSocket(socket.socket):
    """A socket of a simulated host. Made by `socket.socket(...)` inside a program."""

    def __init__(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
        *,
        owner: Program | None = None,
    ) -> None:
        program = owner or running("socket()").program
        self._io_refs = 0
        self._closed = False
        self._program = program
        self._process = program.process
        self._timeout: float | None = socket.getdefaulttimeout()
        if fileno is not None:
            self._fd = int(fileno) - FD_BASE
            file = self._process.file(self._fd)
            family = int(getattr(file, "family", socket.AF_INET)) if family == -1 else family
            type = int(getattr(file, "type", socket.SOCK_STREAM)) if type == -1 else type
        else:
            family = socket.AF_INET if family == -1 else family
            type = socket.SOCK_STREAM if type == -1 else type
            if family not in (socket.AF_INET, socket.AF_INET6):
                raise MisuseError(
                    f"{line_of(sys._getframe(1))}: a simulated host has IPv4 and IPv6 sockets, not family {family}; "
                    "let the program use a TCP port of 127.0.0.1 instead"
                )
            self._fd = self._process.socket(family, type, max(proto, 0))
            if type & socket.SOCK_NONBLOCK:
                self._timeout = 0.0
        self._family = family
        self._type = type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._proto = max(proto, 0)
        self._file: File | None = self._process.file(self._fd)

    # What it is

    @property
    def family(self) -> Any:
        return socket.AddressFamily(self._family)

    @property
    def type(self) -> Any:
        return socket.SocketKind(self._type)

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def __repr__(self) -> str:
        return f"<SimSocket of {self._program.label}, fd {self.fileno()}, {self.describe()}>"

    @property
    def process(self) -> Process:
        """Whose descriptor it is."""
        return self._process

    def describe(self) -> str:
        """Its ends, for people: '10.0.0.1:4711 <-> 10.0.0.2:80'."""
        if self._fd < 0:
            return "closed"
        try:
            own = self._process.getsockname(self._fd)
            text = f"{own[0]}:{own[1]}"
            try:
                peer = self._process.getpeername(self._fd)
            except OSError:
                return text
            return f"{text} <-> {peer[0]}:{peer[1]}"
        except OSError:
            return f"descriptor {self._fd}"

    def fileno(self) -> int:
        return self._fd + FD_BASE if self._fd >= 0 else -1

    def __getstate__(self) -> Any:
        raise TypeError("cannot pickle a simulated socket")

    # Waiting

    def settimeout(self, value: float | None) -> None:
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0.0

    def _deadline(self) -> int:
        if self._timeout is None:
            return NEVER
        return self._program.host.net.baton.now() + round(self._timeout * 1e9)

    def _wait(self, mask: int, call: str, deadline: int, news: bool = False) -> None:
        """Until the socket is ready. TimeoutError at the deadline, BlockingIOError if it is non-blocking."""
        file = self._file
        if file is None:
            raise os_error(errno.EBADF)
        if self._timeout == 0.0:
            raise os_error(errno.EAGAIN)
        if not wait_for(file, mask, (call, self), deadline, news):
            raise TimeoutError("timed out")
        if self._fd < 0:
            raise os_error(errno.EBADF)

    def _address(self, address: Any) -> tuple[str, int]:
        """An address as a program gives it, its name resolved. TypeError, socket.gaierror."""
        if not isinstance(address, tuple) or len(address) < 2:
            raise TypeError(f"an address is (host, port), not {address!r}")
        host, port = address[0], address[1]
        if not isinstance(host, str) or not isinstance(port, int):
            raise TypeError(f"an address is (host, port), not {address!r}")
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        if host in ("", "<broadcast>"):
            return ("255.255.255.255" if host else ""), port
        return resolve(self._program, host, self._family)[0], port

    def _outward(self, address: tuple[str, int] | None) -> Any:
        """An address as Python shows it: IPv6 has flow label and scope too."""
        if address is None:
            return None
        return address if self._family == socket.AF_INET else (*address, 0, 0)

    # Calls

    def bind(self, address: Any) -> None:
        self._process.bind(self._fd, self._address(address))

    def listen(self, backlog: int = 128) -> None:
        self._process.listen(self._fd, backlog)

    def connect(self, address: Any) -> None:
        try:
            self._process.connect(self._fd, self._address(address))
            return
        except BlockingIOError:
            if self._timeout == 0.0:
                raise
        self._wait(_WRITE, f"connect to {address[0]}:{address[1]}", self._deadline())
        number = self._process.getsockopt(self._fd, socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise os_error(int(number))

    def connect_ex(self, address: Any) -> int:
        try:
            self.connect(address)
        except TimeoutError:
            return errno.EAGAIN
        except OSError as error:
            if error.errno is None or isinstance(error, socket.gaierror):
                raise
            return error.errno
        return 0

    def _accept(self) -> tuple[int, Any]:
        deadline = self._deadline()
        while True:
            try:
                fd, address = self._process.accept(self._fd)
            except BlockingIOError:
                self._wait(_READ, "accept", deadline)
            else:
                return fd + FD_BASE, self._outward(address)

    def accept(self) -> tuple[socket.socket, Any]:
        fd, address = self._accept()
        made = SimSocket(self._family, self._type, self._proto, fd, owner=self._program)
        return made, address

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        file = self._file
        if self._timeout == 0.0 or flags & MSG_DONTWAIT or file is None or getattr(file, "listener", None) is not None:
            return self._process.recv(self._fd, bufsize, flags)
        deadline = self._deadline()
        news = False
        while True:
            # Waiting comes before asking, which costs an exception where nothing is there.
            self._wait(_READ, "recv", deadline, news)
            try:
                return self._process.recv(self._fd, bufsize, flags)
            except BlockingIOError:
                news = True

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        deadline = self._deadline()
        while True:
            try:
                data, address = self._process.recvfrom(self._fd, bufsize, flags)
            except BlockingIOError:
                if flags & MSG_DONTWAIT:
                    raise
                self._wait(_READ, "recvfrom", deadline)
            else:
                return data, self._outward(address)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or len(view), flags)
            view[: len(data)] = data
        return len(data)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        with memoryview(buffer).cast("B") as view:
            data, address = self.recvfrom(nbytes or len(view), flags)
            view[: len(data)] = data
        return len(data), address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        data, address = self.recvfrom(bufsize, flags)
        return data, [], 0, address

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[Any], int, Any]:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, address = self.recvfrom(sum(map(len, views)), flags)
        at = 0
        for view in views:
            piece = data[at : at + len(view)]
            view[: len(piece)] = piece
            at += len(piece)
        return len(data), [], 0, address

    def send(self, data: Any, flags: int = 0) -> int:
        process, fd = self._process, self._fd
        view: Buffer = data if isinstance(data, bytes) else memoryview(data).cast("B")
        size = len(view)
        try:
            done = process.send(fd, view, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
            done = 0
        if done == size or self._timeout == 0.0 or flags & MSG_DONTWAIT or (done and self._timeout is not None):
            return done
        # A blocking send() returns when everything has been taken; with a timeout, when something has.
        deadline = self._deadline()
        rest = memoryview(view)
        while done < size:
            self._wait(_WRITE, "send", deadline)
            try:
                done += process.send(fd, rest[done:], flags)
            except BlockingIOError:
                continue
            if self._timeout is not None:
                break
        return done

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest: Buffer = data if isinstance(data, bytes) else memoryview(data).cast("B")
        deadline = self._deadline()
        while rest:
            try:
                done = self._process.send(self._fd, rest, flags)
            except BlockingIOError:
                self._wait(_WRITE, "sendall", deadline)
            else:
                if done == len(rest):
                    return
                rest = memoryview(rest)[done:]

    def sendto(self, data: Any, *rest: Any) -> int:
        flags, address = rest if len(rest) == 2 else (0, rest[0])
        to = self._address(address)
        deadline = self._deadline()
        while True:
            try:
                return self._process.sendto(self._fd, memoryview(data).cast("B"), to, flags)
            except BlockingIOError as busy:
                if busy.errno == errno.EINPROGRESS:
                    raise
                self._wait(_WRITE, "sendto", deadline)

    def sendmsg(self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None) -> int:
        data = b"".join(bytes(memoryview(buffer).cast("B")) for buffer in buffers)
        return self.send(data, flags) if address is None else self.sendto(data, flags, address)

    def shutdown(self, how: int) -> None:
        self._process.shutdown(self._fd, how)

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        self._process.setsockopt(self._fd, level, optname, value if isinstance(value, int) else bytes(value or b""))

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        return self._process.getsockopt(self._fd, level, optname, buflen)

    def getsockname(self) -> Any:
        return self._outward(self._process.getsockname(self._fd))

    def getpeername(self) -> Any:
        return self._outward(self._process.getpeername(self._fd))

    def dup(self) -> Any:
        fd = self._process.dup(self._fd)
        twin = SimSocket(self._family, self._type, self._proto, fd + FD_BASE, owner=self._program)
        twin.settimeout(self._timeout)
        return twin

    def detach(self) -> int:
        fd, self._fd, self._file = self.fileno(), -1, None
        self._closed = True
        return fd

    def _real_close(self, _ss: Any = None) -> None:
        fd, self._fd, self._file = self._fd, -1, None
        if fd >= 0 and self._process.alive:
            self._process.close(fd)

    def __del__(self) -> None:
        # As CPython does: a socket that nobody holds any more is closed.
        if getattr(self, "_fd", -1) >= 0 and self._process.alive and current.strand is not None:
            self._real_close()

    def get_inheritable(self) -> bool:
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        """Nothing is executed on a simulated host, so nothing inherits."""


def socketpair(family: Any = None, type: Any = None, proto: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets of the running program's host, over its loopback."""
    door = SimSocket(socket.AF_INET, socket.SOCK_STREAM)
    strand = running("socketpair")
    before, strand.excused = strand.excused, True
    try:
        door.bind(("127.0.0.1", 0))
        door.listen(1)
        one = SimSocket(socket.AF_INET, socket.SOCK_STREAM)
        one.connect(door.getsockname())
        other, _ = door.accept()
    finally:
        strand.excused = before
        door.close()
    return one, other
