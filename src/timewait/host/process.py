"""A process: a table of descriptors, and methods named as the system calls.

Programs, tests and event loops talk to a host through it. fork and dup share open
files; exit and kill close what is open, in order, as the kernel does.
"""

import errno
from typing import Final

from timewait.base.errors import errno_name, os_error
from timewait.host.descriptors import Descriptors
from timewait.host.epoll import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, Epoll
from timewait.host.file import EPOLLERR, EPOLLHUP, File, Socket
from timewait.host.machine import Machine
from timewait.host.ports import AF_INET6, ANY4, ANY6, unmapped
from timewait.wire.address import pack, show, show_endpoint, to_mapped
from timewait.wire.packet import Buffer

Address = tuple[str, int]
"""('10.0.0.1', 80) or ('fd00::1', 80); '' is the wildcard."""

RLIMIT_NOFILE: Final = 1024
"""The usual soft limit of open descriptors."""
POLLNVAL: Final = 0x20
SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000

_CTL_NAMES: Final[dict[int, str]] = {EPOLL_CTL_ADD: "ADD", EPOLL_CTL_DEL: "DEL", EPOLL_CTL_MOD: "MOD"}


class Process:
    """A process on a host. Every call may raise OSError with Linux's errno; EBADF for a descriptor that is not open."""

    def __init__(self, host: Machine, name: str = "app", uid: int = 0) -> None:
        self.host: Machine = host
        self.name: str = name
        self.uid: int = uid
        self.alive: bool = True
        self.nofile: int = RLIMIT_NOFILE
        """RLIMIT_NOFILE: descriptors are smaller than this; may be set at any time."""
        self.files = Descriptors()

    # Descriptors

    def file(self, fd: int) -> File:
        """The open file behind a descriptor. OSError EBADF."""
        found = self.files.get(fd)
        if found is None:
            raise os_error(errno.EBADF, f"descriptor {fd}")
        return found

    def install(self, file: File) -> int:
        """Give an open file the lowest free descriptor, taking over one reference. OSError EMFILE."""
        fd = self.files.lowest(self.nofile)
        self.files.put(fd, file)
        return fd

    def close(self, fd: int) -> None:
        """Close a descriptor; the last one of a file closes what it stands for."""
        file = self.files.take(fd)
        if file is None:
            raise self._failed("close", (fd,), os_error(errno.EBADF, f"descriptor {fd}"))
        if self.host.tap is not None:
            self._log("close", (fd,), 0)
        file.release()

    def dup(self, fd: int) -> int:
        """A second descriptor of the same open file."""
        try:
            file = self.file(fd)
            new = self.files.lowest(self.nofile)
        except OSError as error:
            raise self._failed("dup", (fd,), error) from None
        file.retain()
        self.files.put(new, file)
        self._log("dup", (fd,), new)
        return new

    def dup2(self, fd: int, new: int) -> int:
        """Make `new` a descriptor of fd's file, closing what it was before."""
        try:
            file = self.file(fd)
            if not 0 <= new < self.nofile:
                raise os_error(errno.EBADF, f"descriptor {new}")
        except OSError as error:
            raise self._failed("dup2", (fd, new), error) from None
        self._log("dup2", (fd, new), new)
        if new == fd:
            return new
        file.retain()
        old = self.files.put(new, file)
        if old is not None:
            old.release()
        return new

    def set_nonblocking(self, fd: int, nonblocking: bool = True) -> None:
        """fcntl(F_SETFL): O_NONBLOCK belongs to the open file, so dups share it."""
        self.file(fd).nonblocking = nonblocking

    def get_nonblocking(self, fd: int) -> bool:
        """fcntl(F_GETFL) & O_NONBLOCK."""
        return self.file(fd).nonblocking

    # Life and death

    def fork(self, name: str = "") -> "Process":
        """A child that shares every open file."""
        self._check_alive()
        child = Process(self.host, name or self.name + "-child", self.uid)
        child.nofile = self.nofile
        child.files = self.files.copy()
        for file in self.files.values():
            file.retain()
        self._log("fork", (), child.name)
        return child

    def exit(self) -> None:
        """End of the program: the kernel closes every descriptor, lowest first."""
        self._check_alive()
        self._log("exit", (), "")
        self._end()

    def kill(self) -> None:
        """SIGKILL: for the descriptors the same as exit(). Without effect on a dead process."""
        if self.alive:
            self._log("kill", ("SIGKILL",), "")
            self._end()

    def vanish(self) -> None:
        """The host lost power: nothing is closed, everything is forgotten."""
        self.alive = False
        self.files = Descriptors()

    # Sockets

    def socket(self, family: int, type: int, proto: int = 0) -> int:
        """A new socket's descriptor. `type` may carry SOCK_NONBLOCK and SOCK_CLOEXEC."""
        args = (family, type, proto)
        try:
            self._check_alive()
            new = self.host.make_socket(family, type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), proto)
            new.nonblocking = bool(type & SOCK_NONBLOCK)
            try:
                fd = self.install(new)
            except OSError:
                new.release()
                raise
        except OSError as error:
            raise self._failed("socket", args, error) from None
        if self.host.tap is not None:
            self._log("socket", args, fd)
        return fd

    def bind(self, fd: int, address: Address) -> None:
        """Take a local address."""
        try:
            sock = self._socket(fd)
            sock.bind(_packed(sock, address), _port(address))
        except OSError as error:
            raise self._failed("bind", (fd, address), error) from None
        self._log("bind", (fd, address), 0)

    def listen(self, fd: int, backlog: int = 128) -> None:
        """Accept connections."""
        try:
            self._socket(fd).listen(backlog)
        except OSError as error:
            raise self._failed("listen", (fd, backlog), error) from None
        self._log("listen", (fd, backlog), 0)

    def connect(self, fd: int, address: Address | None) -> None:
        """Open a connection: raises BlockingIOError EINPROGRESS where it takes time. None dissolves (AF_UNSPEC)."""
        takes_time = False
        try:
            sock = self._socket(fd)
            if address is None:
                sock.disconnect()
            else:
                takes_time = sock.connect(_packed(sock, address), _port(address))
        except OSError as error:
            raise self._failed("connect", (fd, address), error) from None
        if takes_time:
            raise self._failed("connect", (fd, address), os_error(errno.EINPROGRESS))
        if self.host.tap is not None:
            self._log("connect", (fd, address), 0)

    def accept(self, fd: int) -> tuple[int, Address]:
        """The next finished connection and its peer. With no descriptor left (EMFILE) it stays in the queue."""
        try:
            sock = self._socket(fd)
            self.files.lowest(self.nofile)
            new = sock.accept()
            new_fd = self.install(new)
        except OSError as error:
            raise self._failed("accept", (fd,), error) from None
        try:
            peer, port = new.getpeername()
        except OSError:
            # A connection that was reset in the queue is still handed out, with no peer to name.
            peer, port = ANY4, 0
        address = (_shown(new, peer), port)
        if self.host.tap is not None:
            self._log("accept", (fd,), f"{new_fd}, {show_endpoint(peer, port)}")
        return new_fd, address

    def send(self, fd: int, data: Buffer, flags: int = 0) -> int:
        """Octets taken over; BlockingIOError EAGAIN when the send buffer is full."""
        try:
            sent = self._socket(fd).send(data, flags)
        except OSError as error:
            raise self._failed("send", (fd, data), error) from None
        if self.host.tap is not None:
            self._log("send", (fd, data), sent)
        return sent

    def recv(self, fd: int, size: int, flags: int = 0) -> bytes:
        """Up to `size` octets; b'' at end of stream; BlockingIOError EAGAIN when nothing is there."""
        try:
            data = self._socket(fd).recv(size, flags)
        except OSError as error:
            raise self._failed("recv", (fd, size), error) from None
        if self.host.tap is not None:
            self._log("recv", (fd, size), len(data))
        return data

    def sendto(self, fd: int, data: Buffer, address: Address, flags: int = 0) -> int:
        """Send to somebody."""
        try:
            sock = self._socket(fd)
            sent = sock.sendto(data, flags, _packed(sock, address), _port(address))
        except OSError as error:
            raise self._failed("sendto", (fd, data, address), error) from None
        if self.host.tap is not None:
            self._log("sendto", (fd, data, address), sent)
        return sent

    def recvfrom(self, fd: int, size: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """Data and who sent it; None for the sender on a stream."""
        try:
            sock = self._socket(fd)
            data, peer, port = sock.recvfrom(size, flags)
        except OSError as error:
            raise self._failed("recvfrom", (fd, size), error) from None
        if self.host.tap is not None:
            self._log("recvfrom", (fd, size), f"{len(data)}, {show_endpoint(peer, port)}" if peer else len(data))
        return data, ((_shown(sock, peer), port) if peer else None)

    def shutdown(self, fd: int, how: int) -> None:
        """Close one or both directions for every process that shares the socket."""
        try:
            self._socket(fd).shutdown(how)
        except OSError as error:
            raise self._failed("shutdown", (fd, how), error) from None
        self._log("shutdown", (fd, how), 0)

    def setsockopt(self, fd: int, level: int, name: int, value: int | bytes) -> None:
        """Set an option."""
        try:
            self._socket(fd).setsockopt(level, name, value)
        except OSError as error:
            raise self._failed("setsockopt", (fd, level, name, value), error) from None
        self._log("setsockopt", (fd, level, name, value), 0)

    def getsockopt(self, fd: int, level: int, name: int, size: int = 0) -> int | bytes:
        """An option's value: an int, or with `size` that many octets at most."""
        try:
            value = self._socket(fd).getsockopt(level, name, size)
        except OSError as error:
            raise self._failed("getsockopt", (fd, level, name), error) from None
        self._log("getsockopt", (fd, level, name), value)
        return value

    def getsockname(self, fd: int) -> Address:
        """Own address."""
        sock = self._socket(fd)
        addr, port = sock.getsockname()
        return _shown(sock, addr), port

    def getpeername(self, fd: int) -> Address:
        """The peer's address; OSError ENOTCONN."""
        sock = self._socket(fd)
        addr, port = sock.getpeername()
        return _shown(sock, addr), port

    def inq(self, fd: int) -> int:
        """ioctl(SIOCINQ)."""
        return self._socket(fd).inq()

    def at_mark(self, fd: int) -> bool:
        """ioctl(SIOCATMARK), sockatmark()."""
        return self._socket(fd).at_mark()

    def outq(self, fd: int) -> int:
        """ioctl(SIOCOUTQ)."""
        return self._socket(fd).outq()

    def outq_unsent(self, fd: int) -> int:
        """ioctl(SIOCOUTQNSD): octets not sent yet."""
        return self._socket(fd).outq_unsent()

    # Waiting

    def epoll_create(self) -> int:
        """A new epoll instance's descriptor."""
        try:
            self._check_alive()
            fd = self.install(Epoll())
        except OSError as error:
            raise self._failed("epoll_create", (), error) from None
        self._log("epoll_create", (), fd)
        return fd

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int = 0, data: int = -1) -> None:
        """Change an interest list; `data` is what epoll_wait reports for it, by default the descriptor."""
        args = (epfd, _CTL_NAMES.get(op, str(op)), fd, hex(events))
        try:
            epoll = self.file(epfd)
            file = self.file(fd)
            if not isinstance(epoll, Epoll):
                raise os_error(errno.EPERM if not file.pollable else errno.EINVAL)
            epoll.control(op, fd, file, events, fd if data == -1 else data)
        except OSError as error:
            raise self._failed("epoll_ctl", args, error) from None
        self._log("epoll_ctl", args, 0)

    def epoll_wait(self, epfd: int, maxevents: int = 1024) -> list[tuple[int, int]]:
        """What is ready now, as (data, events); empty where Linux would wait."""
        epoll = self.file(epfd)
        if not isinstance(epoll, Epoll):
            raise os_error(errno.EINVAL)
        return epoll.collect(maxevents)

    def poll(self, fds: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """poll() without waiting: (fd, events) of those where something asked for, an error or a hang-up is true."""
        found: list[tuple[int, int]] = []
        for fd, events in fds:
            if fd < 0:
                continue
            file = self.files.get(fd)
            happened = POLLNVAL if file is None else int(file.poll()) & (events | EPOLLERR | EPOLLHUP)
            if happened:
                found.append((fd, happened))
        return found

    # Inside

    def _socket(self, fd: int) -> Socket:
        file = self.file(fd)
        if not isinstance(file, Socket):
            raise os_error(errno.ENOTSOCK, f"descriptor {fd}")
        return file

    def _end(self) -> None:
        self.alive = False
        files = self.files
        self.files = Descriptors()
        for file in files.values():
            file.release()

    def _check_alive(self) -> None:
        if not self.alive:
            raise os_error(errno.ESRCH, self.name)

    def _log(self, call: str, args: tuple[object, ...], result: object) -> None:
        tap = self.host.tap
        if tap is not None:
            text = f"{call}({', '.join([_argument(arg) for arg in args])})"
            tap.called(self.host.name, self.name, text, str(result), self.host.now())

    def _failed(self, call: str, args: tuple[object, ...], error: OSError) -> OSError:
        """Log a call that failed, and hand back its error to be raised."""
        if self.host.tap is not None:
            self._log(call, args, errno_name(error.errno or 0))
        return error


def _argument(arg: object) -> str:
    """A call's argument for the record: data as its length, addresses as endpoints."""
    if isinstance(arg, (bytes, memoryview)):
        return f"{len(arg)} octets"
    if isinstance(arg, tuple) and len(arg) == 2:
        host, port = str(arg[0]), arg[1]
        return f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"
    return str(arg)


def _packed(sock: Socket, address: Address) -> bytes:
    """An address for a socket of a family. OSError EAFNOSUPPORT or EINVAL where the families differ."""
    text = address[0]
    if not text:
        return ANY6 if sock.family == AF_INET6 else ANY4
    addr = pack(text)
    if sock.family == AF_INET6:
        if len(addr) == 4:
            raise os_error(errno.EINVAL, f"{text} for an IPv6 socket; ::ffff:{text} is meant")
        return unmapped(addr)
    if len(addr) == 16:
        raise os_error(errno.EAFNOSUPPORT, f"{text} for an IPv4 socket")
    return addr


def _port(address: Address) -> int:
    port = address[1]
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    return port


def _shown(sock: Socket, addr: bytes) -> str:
    """As the socket's family writes it: IPv4 peers of an IPv6 socket are mapped."""
    return show(to_mapped(addr) if sock.family == AF_INET6 else addr)
