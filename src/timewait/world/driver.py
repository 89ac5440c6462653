"""One of our hosts on an asyncio loop: TUNs in, one timer, and sockets to await.

After every drain of input the host sends what it may and one timer is re-armed; there
is nothing else to drive.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from timewait.base.errors import os_error
from timewait.base.instant import NEVER, SEC, Clock
from timewait.base.ints import i64
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, File, Watcher
from timewait.host.process import Process
from timewait.wire.packet import Buffer
from timewait.world.attach import TunInterface
from timewait.world.clock import Entry, Event, Line, Scheduler
from timewait.world.tun import Tun

if TYPE_CHECKING:
    from timewait.host.host import Host, Interface

RECV_SIZE: Final = 1 << 20
"""Octets that one `recv` asks for by default: no more than a receive buffer usually holds."""


class LoopClock(Scheduler):
    """Real time in ns since the clock was made, for hosts that live on an asyncio loop: the one that runs.

    Events of a world that has this clock (packets on links, timers of hosts) fire from
    the loop, so that programs await while the world goes on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.origin: i64 = time.monotonic_ns()
        self._timer: asyncio.TimerHandle | None = None
        self._armed = NEVER
        self._firing = False

    def now(self) -> i64:
        return time.monotonic_ns() - self.origin

    def schedule(self, event: Event, when: i64) -> None:
        super().schedule(event, when)
        if when < self._armed and not self._firing:
            self._arm()

    def enter(self, line: Line, first: Entry) -> None:
        super().enter(line, first)
        if first.time < self._armed and not self._firing:
            self._arm()

    def _arm(self) -> None:
        """One timer of the loop, for the first event."""
        due = self.next_time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = due
        if due < NEVER:
            self._timer = _call_at(asyncio.get_running_loop(), self, due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._firing = True
        try:
            # What falls due meanwhile waits for the next turn, so that the loop's other work gets its own.
            self._start()
            self.fire_due(self.now())
        finally:
            self._firing = False
            self._arm()

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        asyncio.get_running_loop().add_reader(fd, callback)

    def remove_reader(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        asyncio.get_running_loop().add_writer(fd, callback)

    def remove_writer(self, fd: int) -> None:
        asyncio.get_running_loop().remove_writer(fd)

    def close(self) -> None:
        """Fire nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = -1


def _call_at(
    loop: asyncio.AbstractEventLoop, clock: Clock, when: int, callback: Callable[[], object]
) -> asyncio.TimerHandle:
    """Call back at `when` ns of the clock, never before."""
    delay = max(when - clock.now(), 0)
    # A microsecond more than asked, so that rounding to floats never makes a timer early.
    return loop.call_later((delay + 1000) / SEC, callback)


class Driver:
    """Runs a host on an asyncio loop (default: the running one). Use it in a `with`, or call `close()`."""

    def __init__(self, host: "Host", loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.host = host
        self.loop = loop if loop is not None else asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = NEVER
        self._attached: list[TunInterface] = []
        self._readers: set[int] = set()
        host.on_rearm = self.rearm
        self.rearm()

    def attach(self, iface: "Interface", tun: Tun) -> TunInterface:
        """Connect an interface of the host to a TUN, until close()."""
        attached = TunInterface(self.host, iface, tun, self.loop, self.settle)
        self._attached.append(attached)
        return attached

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Call back when fd is readable; the host sends once the callback has drained it."""

        def drain() -> None:
            callback()
            self.settle()

        self._readers.add(fd)
        self.loop.add_reader(fd, drain)

    def remove_reader(self, fd: int) -> None:
        """Undo add_reader."""
        self._readers.discard(fd)
        self.loop.remove_reader(fd)

    def call_at(self, when: int, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back at `when` ns of the host's clock, never before."""
        return _call_at(self.loop, self.host.clock, when, callback)

    def settle(self) -> None:
        """After a drain of input: send, and re-arm."""
        self.host.flush()
        self.rearm()

    def rearm(self) -> None:
        """See that the timer fires in time. One that fires too early is cheaper than moving it for each packet."""
        due = self.host.next_timeout()
        if due >= self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer, self._due = None, NEVER
        host = self.host
        if host.next_timeout() <= host.clock.now():
            host.on_timeout()
            host.flush()
        self.rearm()

    def close(self) -> None:
        """Leave the loop: no more input, no more timers."""
        self.host.on_rearm = None
        for attached in self._attached:
            attached.close()
        self._attached.clear()
        for fd in list(self._readers):
            self.remove_reader(fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, NEVER

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSocket(Watcher):
    """A socket of one of our processes, with calls that can be awaited on the driver's loop.

    Errors are those of the call it stands for. Cancelling an awaited call leaves the
    socket as it is.
    """

    def __init__(self, process: Process, fd: int) -> None:
        self.process = process
        self.fd = fd
        self._file = process.file(fd)
        self._waiting: list[asyncio.Future[None]] = []
        self._file.watch(self)

    @classmethod
    def stream(cls, process: Process, family: int = socket.AF_INET) -> "AsyncSocket":
        """A new TCP socket."""
        return cls(process, process.socket(family, socket.SOCK_STREAM))

    @classmethod
    def listening(cls, process: Process, address: tuple[str, int], backlog: int = 128) -> "AsyncSocket":
        """A listener on ('10.0.0.2', 80); SO_REUSEADDR is set as servers do."""
        made = cls.stream(process, socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        process.setsockopt(made.fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        process.bind(made.fd, address)
        process.listen(made.fd, backlog)
        return made

    def notify(self, file: File, mask: i64) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def file_released(self, file: File) -> None:
        # Whoever waits finds out by making its call again: EBADF.
        self.notify(file, EPOLLHUP)

    async def _until(self, mask: int) -> None:
        """Wait until the file says one of mask's events; errors and hang-ups count as each of them."""
        while not self._file.poll() & (mask | EPOLLERR | EPOLLHUP) and self._file.refs > 0:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                self._waiting.remove(waiter)

    async def connect(self, address: tuple[str, int]) -> None:
        """Open a connection: returns once it is established, or raises its fate (ECONNREFUSED, ETIMEDOUT ...)."""
        try:
            self.process.connect(self.fd, address)
        except BlockingIOError:
            await self._until(EPOLLOUT)
            number = self.process.getsockopt(self.fd, socket.SOL_SOCKET, socket.SO_ERROR)
            if isinstance(number, int) and number:
                raise os_error(number, f"connect to {address[0]} port {address[1]}") from None

    async def accept(self) -> tuple["AsyncSocket", tuple[str, int]]:
        """The next connection and its peer's address."""
        while True:
            try:
                fd, address = self.process.accept(self.fd)
            except BlockingIOError:
                await self._until(EPOLLIN)
            else:
                return AsyncSocket(self.process, fd), address

    async def recv(self, size: int = RECV_SIZE) -> bytes:
        """What has arrived, up to size octets, waiting for the first; b'' at the end of the stream."""
        while True:
            try:
                return self.process.recv(self.fd, size)
            except BlockingIOError:
                await self._until(EPOLLIN)

    async def send(self, data: Buffer) -> int:
        """Hand over as much of data as there is room for, waiting for the first octet; how many that were."""
        while True:
            try:
                return self.process.send(self.fd, data)
            except BlockingIOError:
                await self._until(EPOLLOUT)

    async def sendall(self, data: Buffer) -> None:
        """Hand over all of data, waiting for room; acknowledged it need not be yet."""
        view = memoryview(data)
        while view:
            view = view[await self.send(view) :]

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """No more data from us (SHUT_WR), or to us."""
        self.process.shutdown(self.fd, how)

    def close(self) -> None:
        """close(): what was handed over is still delivered."""
        self._file.unwatch(self)
        self.process.close(self.fd)
        self.file_released(self._file)
