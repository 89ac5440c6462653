"""System calls of a script on the running kernel, through the C library: NULL pointers and raw structs included."""

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from timewait.base.errors import UsageError, os_error
from timewait.drill.machine import Address, Answer
from timewait.wire.address import pack

if TYPE_CHECKING:
    from timewait.drill.kernel import KernelMachine

AF_INET: Final = 2
AF_INET6: Final = 10

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _EpollEvent(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def _call(name: str, *arguments: Any) -> int:
    """A call of the C library; raises OSError where it gives -1."""
    ctypes.set_errno(0)
    function = getattr(_libc, name)
    function.restype = ctypes.c_ssize_t if name in _WIDE else ctypes.c_int
    result = int(function(*arguments))
    if result < 0:
        raise os_error(ctypes.get_errno() or errno.EIO)
    return result


_WIDE: Final = frozenset(
    {"read", "write", "send", "recv", "sendto", "recvfrom", "sendmsg", "recvmsg", "splice", "sendfile"}
)


def _sockaddr(family: int, address: Address) -> bytes:
    host, port = address
    if port == -1:
        return struct.pack("<H14x", 0)
    if family == AF_INET6:
        raw = pack(host or "::")
        if len(raw) == 4:
            raw = bytes(10) + b"\xff\xff" + raw
        return struct.pack("=H", AF_INET6) + struct.pack("!HI", port, 0) + raw + bytes(4)
    raw = pack((host or "0.0.0.0").removeprefix("::ffff:"))
    return struct.pack("=H", AF_INET) + struct.pack("!H", port) + raw + bytes(8)


class KernelCalls:
    """The calls by name, with the arguments of `sim_calls.SimCalls`. They block as the descriptor does."""

    def __init__(self, machine: "KernelMachine") -> None:
        self.machine = machine
        self.families: dict[int, int] = {}
        self.open_fds: set[int] = set()

    def _opened(self, fd: int, family: int = 0) -> int:
        self.open_fds.add(fd)
        if family:
            self.families[fd] = family
        return fd

    def close_all(self) -> None:
        """Close what is open; a shutdown first wakes a call that still waits on it."""
        for fd in sorted(self.open_fds):
            _libc.shutdown(fd, 2)
        for fd in sorted(self.open_fds):
            try:
                os.close(fd)
            except OSError:
                continue
        self.open_fds.clear()

    # Sockets

    def socket(self, family: int, kind: int, proto: int) -> Answer:
        fd = self._opened(self.machine.namespace.call(_call, "socket", family, kind, proto), family)
        name = self.machine.congestion.encode()
        if name and kind & 0xF == 1:
            _call("setsockopt", fd, 6, 13, name, len(name))
        return Answer(fd)

    def _name(self, fd: int, address: Address | None) -> tuple[bytes | None, int]:
        if address is None:
            return None, 16
        raw = _sockaddr(self.families.get(fd, AF_INET), address)
        return raw, len(raw)

    def bind(self, fd: int, address: Address | None) -> Answer:
        return Answer(_call("bind", fd, *self._name(fd, address)))

    def listen(self, fd: int, backlog: int) -> Answer:
        return Answer(_call("listen", fd, backlog))

    def accept(self, fd: int, flags: int = 0) -> Answer:
        return Answer(self._opened(_call("accept4", fd, None, None, flags), self.families.get(fd, AF_INET)))

    def connect(self, fd: int, address: Address | None) -> Answer:
        return Answer(_call("connect", fd, *self._name(fd, address)))

    def close(self, fd: int) -> Answer:
        self.open_fds.discard(fd)
        return Answer(_call("close", fd))

    def shutdown(self, fd: int, how: int) -> Answer:
        return Answer(_call("shutdown", fd, how))

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> Answer:
        buffer = ctypes.create_string_buffer(max(size, 1))
        length = ctypes.c_uint(size)
        result = _call("getsockopt", fd, level, name, buffer, ctypes.byref(length))
        return Answer(result, values={"value": buffer.raw[: min(length.value, max(size, 0))]})

    def setsockopt(self, fd: int, level: int, name: int, value: bytes | None, size: int) -> Answer:
        return Answer(_call("setsockopt", fd, level, name, value, size))

    # Data

    def write(self, fd: int, data: bytes | None, flags: int = 0) -> Answer:
        return Answer(_call("write", fd, data, ctypes.c_size_t(1 if data is None else len(data))))

    def send(self, fd: int, data: bytes | None, flags: int = 0, address: Address | None = None) -> Answer:
        size = ctypes.c_size_t(1 if data is None else len(data))
        if address is not None:
            return Answer(_call("sendto", fd, data, size, flags, *self._name(fd, address)))
        return Answer(_call("send", fd, data, size, flags))

    def sendmsg(
        self, fd: int, data: bytes | None, flags: int, address: Address | None, controls: list[tuple[int, int, bytes]]
    ) -> Answer:
        header = _Msghdr()
        keep: list[Any] = []
        if data is not None:
            buffer = ctypes.create_string_buffer(data, len(data))
            iov = _Iovec(ctypes.addressof(buffer), len(data))
            keep += [buffer, iov]
            header.iov, header.iovlen = ctypes.addressof(iov), 1
        else:
            iov = _Iovec(None, 1)
            keep.append(iov)
            header.iov, header.iovlen = ctypes.addressof(iov), 1
        if address is not None:
            raw, size = self._name(fd, address)
            name = ctypes.create_string_buffer(raw or b"", size)
            keep.append(name)
            header.name, header.namelen = ctypes.addressof(name), size
        packed = b"".join(
            struct.pack("=Qii", 16 + len(content), level, kind) + content + bytes(-len(content) % 8)
            for level, kind, content in controls
        )
        if packed:
            control = ctypes.create_string_buffer(packed, len(packed))
            keep.append(control)
            header.control, header.controllen = ctypes.addressof(control), len(packed)
        return Answer(_call("sendmsg", fd, ctypes.byref(header), flags))

    def read(self, fd: int, size: int | None, flags: int = 0) -> Answer:
        return self._receive("read", fd, size)

    def recv(self, fd: int, size: int | None, flags: int = 0) -> Answer:
        return self._receive("recv", fd, size, flags)

    def _receive(self, name: str, fd: int, size: int | None, *flags: int) -> Answer:
        if size is None:
            return Answer(_call(name, fd, None, ctypes.c_size_t(1), *flags))
        buffer = ctypes.create_string_buffer(max(size, 1))
        got = _call(name, fd, buffer, ctypes.c_size_t(size), *flags)
        return Answer(got, values={"data": buffer.raw[: min(got, size)]})

    def recvmsg(self, fd: int, size: int | None, room: int, flags: int) -> Answer:
        header = _Msghdr()
        buffer = ctypes.create_string_buffer(max(size or 0, 1))
        iov = _Iovec(None if size is None else ctypes.addressof(buffer), 1 if size is None else size)
        header.iov, header.iovlen = ctypes.addressof(iov), 1
        control = ctypes.create_string_buffer(max(room, 1))
        header.control, header.controllen = ctypes.addressof(control), room
        got = _call("recvmsg", fd, ctypes.byref(header), flags)
        controls = _controls(control.raw[: header.controllen])
        return Answer(got, values={"data": buffer.raw[:got], "flags": header.flags, "controls": controls})

    # Descriptors

    def fcntl(self, fd: int, command: int, argument: int) -> Answer:
        result = _call("fcntl", fd, command, ctypes.c_long(argument))
        if command == 0:
            self._opened(result)
        return Answer(result)

    def ioctl(self, fd: int, request: int, argument: int) -> Answer:
        value = ctypes.c_int(argument)
        result = _call("ioctl", fd, ctypes.c_ulong(request), ctypes.byref(value))
        return Answer(result, values={"value": value.value})

    def poll(self, fds: list[tuple[int, int]], timeout: int) -> Answer:
        packed = ctypes.create_string_buffer(b"".join(struct.pack("=ihh", fd, events, 0) for fd, events in fds))
        result = _call("poll", packed, ctypes.c_ulong(len(fds)), timeout)
        entries = [struct.unpack_from("=ihH", packed.raw, 8 * number) for number in range(len(fds))]
        return Answer(result, values={"events": [(fd, revents) for fd, _, revents in entries if revents]})

    def epoll_create(self, flags: int = 0) -> Answer:
        return Answer(self._opened(_call("epoll_create1", flags)))

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int, data: int) -> Answer:
        event = _EpollEvent(events, data)
        return Answer(_call("epoll_ctl", epfd, op, fd, ctypes.byref(event)))

    def epoll_wait(self, epfd: int, most: int, timeout: int) -> Answer:
        events = (_EpollEvent * max(most, 1))()
        result = _call("epoll_wait", epfd, events, most, timeout)
        return Answer(result, values={"events": [(events[n].data, events[n].events) for n in range(result)]})

    def pipe(self) -> Answer:
        ends = (ctypes.c_int * 2)()
        result = _call("pipe", ends)
        return Answer(result, values={"ends": [self._opened(ends[0]), self._opened(ends[1])]})

    def splice(self, source: int, target: int, size: int, flags: int) -> Answer:
        return Answer(_call("splice", source, None, target, None, ctypes.c_size_t(size), ctypes.c_uint(flags)))

    def sendfile(self, target: int, source: int, offset: int | None, size: int) -> Answer:
        at = None if offset is None else ctypes.byref(ctypes.c_long(offset))
        return Answer(_call("sendfile", target, source, at, ctypes.c_size_t(size)))

    def open(self, path: str, flags: int) -> Answer:
        """A file of the script's own (made by dd, say): in memory, never one of this computer."""
        data = self.machine.files.get(path)
        if data is None:
            raise os_error(errno.ENOENT, path)
        fd = os.memfd_create("drill")
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return Answer(self._opened(fd))

    def nothing(self) -> Answer:
        return Answer(0)

    def __getattr__(self, name: str) -> Any:
        raise UsageError(f"the system call {name}() is not known here")


def _controls(data: bytes) -> list[tuple[int, int, bytes]]:
    """Control messages as (level, type, content)."""
    found = []
    at = 0
    while at + 16 <= len(data):
        size, level, kind = struct.unpack_from("=Qii", data, at)
        if size < 16 or at + size > len(data):
            break
        found.append((level, kind, data[at + 16 : at + size]))
        at += (size + 7) & ~7
    return found
