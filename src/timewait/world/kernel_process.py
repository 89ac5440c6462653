"""A program on a kernel host: a descriptor table of its own over real, non-blocking sockets."""

import array
import contextlib
import errno
import fcntl
import os
import select
import socket
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from timewait.base.errors import errno_name, os_error
from timewait.wire.packet import Buffer

if TYPE_CHECKING:
    from timewait.world.kernel import KernelHost

T = TypeVar("T")
Address = tuple[str, int]
RealSocket = socket.socket

FIRST_FD: Final = 3
"""As in `host.process`: 0 to 2 are the standard streams."""
TCP_REPAIR: Final = 19
"""include/uapi/linux/tcp.h: a socket whose close() sends nothing."""
SOCK_FLAGS: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


class _Epoll:
    """A real epoll descriptor, and what it reports for each real descriptor it watches."""

    def __init__(self, real: select.epoll, data: dict[int, int]) -> None:
        self.real = real
        self.data = data

    def fileno(self) -> int:
        return self.real.fileno()

    def close(self) -> None:
        self.real.close()

    def dup(self) -> "_Epoll":
        return _Epoll(select.epoll.fromfd(os.dup(self.real.fileno())), self.data)


class KernelProcess:
    """The system calls of `host.process.Process` on a kernel's sockets; none of them blocks.

    Descriptors count from 3 as a program's do. fork() shares sockets and kill() closes
    all of them, which is what a kernel does for a program that dies. Errors are the
    kernel's own.
    """

    def __init__(self, host: "KernelHost", name: str = "app") -> None:
        self.host = host
        self.name = name
        self.alive = True
        self.files: dict[int, RealSocket | _Epoll] = {}

    # Descriptors

    def fileno(self, fd: int) -> int:
        """The real descriptor behind one of this program's. OSError EBADF."""
        return self._file(fd).fileno()

    def close(self, fd: int) -> None:
        file = self._file(fd)
        del self.files[fd]
        self._call("close", (fd,), file.close)

    def dup(self, fd: int) -> int:
        file = self._file(fd)
        return self._call("dup", (fd,), lambda: self._add(_duplicate(file)))

    def dup2(self, fd: int, new: int) -> int:
        """Make `new` a descriptor of fd's file, closing what it was before."""
        file, old = self._file(fd), self.files.get(new)
        if new != fd:
            self.files[new] = _duplicate(file)
            if old is not None:
                old.close()
        return new

    def set_nonblocking(self, fd: int, nonblocking: bool = True) -> None:
        """Nothing to do: every descriptor here is, and stays, non-blocking."""
        self._file(fd)

    def get_nonblocking(self, fd: int) -> bool:
        self._file(fd)
        return True

    # Life and death

    def fork(self, name: str = "") -> "KernelProcess":
        """A child that shares every open file, under the same numbers."""
        self._check_alive()
        child = self.host.process(name or f"{self.name}-child")
        for fd, file in self.files.items():
            child.files[fd] = _duplicate(file)
        return self._call("fork", (), lambda: child, child.name)

    def exit(self) -> None:
        """End of the program: the kernel closes every descriptor, lowest first."""
        self._check_alive()
        self._call("exit", (), self._end)

    def kill(self) -> None:
        """SIGKILL: for the descriptors the same as exit(). Without effect on a dead process."""
        if self.alive:
            self._call("kill", ("SIGKILL",), self._end)

    def vanish(self) -> None:
        """The host lost power: nothing is closed, everything is forgotten (see `KernelHost.forget`)."""
        for file in self.files.values():
            if isinstance(file, RealSocket) and file.type == socket.SOCK_STREAM:
                with contextlib.suppress(OSError):  # A listener cannot be repaired, and has nothing to say.
                    file.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        self._end()

    def _end(self) -> None:
        self.alive = False
        files, self.files = self.files, {}
        for fd in sorted(files):
            files[fd].close()
        if self in self.host.processes:
            self.host.processes.remove(self)

    def _check_alive(self) -> None:
        if not self.alive:
            raise os_error(errno.ESRCH, self.name)

    # Sockets

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> int:
        """A new socket of the kernel host's namespace."""
        self._check_alive()
        make = self.host.namespace.socket
        return self._call(
            "socket", (family, type, proto), lambda: self._add_socket(make(family, type & ~SOCK_FLAGS, proto))
        )

    def bind(self, fd: int, address: Address) -> None:
        sock = self._socket(fd)
        self._call("bind", (fd, address), lambda: sock.bind(address))

    def listen(self, fd: int, backlog: int = 128) -> None:
        sock = self._socket(fd)
        self._call("listen", (fd, backlog), lambda: sock.listen(backlog))

    def connect(self, fd: int, address: Address) -> None:
        """BlockingIOError (EINPROGRESS) while the handshake is under way."""
        sock = self._socket(fd)
        self._call("connect", (fd, address), lambda: sock.connect(address))

    def accept(self, fd: int) -> tuple[int, Address]:
        sock = self._socket(fd)

        def accept() -> tuple[int, Address]:
            new, address = sock.accept()
            return self._add_socket(new), _pair(address)

        return self._call("accept", (fd,), accept)

    def send(self, fd: int, data: Buffer, flags: int = 0) -> int:
        """SIGPIPE never ends this process: EPIPE is raised, as with MSG_NOSIGNAL."""
        sock = self._socket(fd)
        return self._call("send", (fd, data), lambda: sock.send(data, flags | socket.MSG_NOSIGNAL))

    def recv(self, fd: int, size: int, flags: int = 0) -> bytes:
        sock = self._socket(fd)
        return self._call("recv", (fd, size), lambda: sock.recv(size, flags))

    def sendto(self, fd: int, data: Buffer, address: Address, flags: int = 0) -> int:
        sock = self._socket(fd)
        return self._call("sendto", (fd, data, address), lambda: sock.sendto(data, flags, address))

    def recvfrom(self, fd: int, size: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """(data, sender); a stream socket names no sender."""
        sock = self._socket(fd)

        def receive() -> tuple[bytes, Address | None]:
            data, address = sock.recvfrom(size, flags)
            return data, _pair(address) if address else None

        return self._call("recvfrom", (fd, size), receive)

    def shutdown(self, fd: int, how: int) -> None:
        sock = self._socket(fd)
        self._call("shutdown", (fd, how), lambda: sock.shutdown(how))

    def setsockopt(self, fd: int, level: int, name: int, value: int | bytes) -> None:
        sock = self._socket(fd)
        self._call("setsockopt", (fd, level, name, value), lambda: sock.setsockopt(level, name, value))

    def getsockopt(self, fd: int, level: int, name: int, size: int = 0) -> int | bytes:
        """An int if size is 0, else up to `size` octets as C sees them (struct linger, tcp_info)."""
        sock = self._socket(fd)
        if size:
            return self._call("getsockopt", (fd, level, name), lambda: sock.getsockopt(level, name, size))
        return self._call("getsockopt", (fd, level, name), lambda: sock.getsockopt(level, name))

    def getsockname(self, fd: int) -> Address:
        return _pair(self._socket(fd).getsockname())

    def getpeername(self, fd: int) -> Address:
        return _pair(self._socket(fd).getpeername())

    def inq(self, fd: int) -> int:
        """ioctl(SIOCINQ): octets that can be read."""
        return _ioctl(self._socket(fd), termios.FIONREAD)

    def outq(self, fd: int) -> int:
        """ioctl(SIOCOUTQ): octets not acknowledged yet."""
        return _ioctl(self._socket(fd), termios.TIOCOUTQ)

    # Waiting

    def epoll_create(self) -> int:
        self._check_alive()
        return self._call("epoll_create", (), lambda: self._add(_Epoll(select.epoll(), {})))

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int = 0, data: int = -1) -> None:
        """EPOLL_CTL_ADD (1), DEL (2) or MOD (3); `data` is what epoll_wait reports, by default the descriptor."""
        epoll, real = self._epoll(epfd), self._file(fd).fileno()
        name = {1: "ADD", 2: "DEL", 3: "MOD"}.get(op, str(op))

        def control() -> None:
            if op == 1:
                epoll.real.register(real, events)
            elif op == 2:
                epoll.real.unregister(real)
            elif op == 3:
                epoll.real.modify(real, events)
            else:
                raise os_error(errno.EINVAL)
            epoll.data[real] = fd if data == -1 else data

        self._call("epoll_ctl", (epfd, name, fd, hex(events)), control)

    def epoll_wait(self, epfd: int, maxevents: int = 1024) -> list[tuple[int, int]]:
        """What is ready now, as (data, events); empty where the kernel would wait."""
        epoll = self._epoll(epfd)
        return [(epoll.data.get(real, -1), events) for real, events in epoll.real.poll(0, maxevents)]

    def poll(self, fds: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """poll() without waiting: (fd, events) of those where something is true; POLLNVAL for a closed one."""
        found: list[tuple[int, int]] = []
        for fd, events in fds:
            file = self.files.get(fd)
            if fd >= 0 and file is None:
                found.append((fd, select.POLLNVAL))
            elif file is not None:
                poller = select.poll()
                poller.register(file.fileno(), events)
                found.extend((fd, happened) for _, happened in poller.poll(0))
        return found

    # Inside

    def _file(self, fd: int) -> RealSocket | _Epoll:
        found = self.files.get(fd)
        if found is None:
            raise os_error(errno.EBADF, f"descriptor {fd}")
        return found

    def _socket(self, fd: int) -> RealSocket:
        file = self._file(fd)
        if not isinstance(file, RealSocket):
            raise os_error(errno.ENOTSOCK, f"descriptor {fd}")
        return file

    def _epoll(self, fd: int) -> _Epoll:
        file = self._file(fd)
        if not isinstance(file, _Epoll):
            raise os_error(errno.EINVAL, f"descriptor {fd}")
        return file

    def _add(self, file: RealSocket | _Epoll) -> int:
        fd = FIRST_FD
        while fd in self.files:
            fd += 1
        self.files[fd] = file
        return fd

    def _add_socket(self, sock: RealSocket) -> int:
        """A new open file description: dup() and fork() of it share what wakes the clock."""
        sock.setblocking(False)
        self.host.wake_on(sock.fileno())
        return self._add(sock)

    def _call(self, call: str, arguments: tuple[object, ...], function: Callable[[], T], shown: object = None) -> T:
        """Make a call and tell the tap about it, in the words of `host.process`."""
        host = self.host
        if host.tap is None:
            return function()
        text = f"{call}({', '.join(map(_argument, arguments))})"
        try:
            value = function()
        except OSError as error:
            host.tap.called(host.name, self.name, text, errno_name(error.errno or 0), host.clock.now())
            raise
        result = shown if shown is not None else 0 if value is None else value
        if isinstance(result, bytes):
            result = len(result)
        host.tap.called(host.name, self.name, text, _argument(result), host.clock.now())
        return value


def _argument(value: object) -> str:
    """A call's argument or result for the record: data as its length, addresses as endpoints."""
    if isinstance(value, (bytes, memoryview)):
        return f"{len(value)} octets"
    if isinstance(value, tuple) and len(value) == 2:
        host, port = value
        if isinstance(host, str):
            return f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"
        return ", ".join(map(_argument, value))
    return str(value)


def _pair(address: tuple[object, ...]) -> Address:
    """An IPv6 socket address has four parts; the last two are of no use here."""
    host, port = address[0], address[1]
    assert isinstance(host, str) and isinstance(port, int)
    return host, port


def _duplicate(file: RealSocket | _Epoll) -> RealSocket | _Epoll:
    copy = file.dup()
    if isinstance(copy, RealSocket):
        copy.setblocking(False)
    return copy


def _ioctl(sock: RealSocket, request: int) -> int:
    number = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), request, number)
    return number[0]
