"""The asyncio driver: one timer, never early; sockets that wait without spinning."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest

from timewait.base.errors import os_error
from timewait.base.instant import MSEC, NEVER
from timewait.host.file import EPOLLERR, EPOLLIN, EPOLLOUT, File, Watcher
from timewait.host.process import Process
from timewait.wire.packet import Buffer
from timewait.world.driver import AsyncSocket, Driver, LoopClock

if TYPE_CHECKING:
    from timewait.host.host import Host


class Timers:
    """As much of a host as the driver touches: deadlines, and when they were served."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.deadlines: list[int] = []
        self.served: list[tuple[int, int]] = []
        self.flushes = 0
        self.on_rearm: Callable[[], None] | None = None

    def next_timeout(self) -> int:
        return min(self.deadlines, default=NEVER)

    def on_timeout(self) -> None:
        now = self.clock.now()
        due = [deadline for deadline in self.deadlines if deadline <= now]
        assert due, "the timer fired too early"
        self.served += [(deadline, now) for deadline in due]
        self.deadlines = [deadline for deadline in self.deadlines if deadline > now]

    def flush(self) -> None:
        self.flushes += 1

    def add(self, deadline: int) -> None:
        self.deadlines.append(deadline)
        if self.on_rearm is not None:
            self.on_rearm()


def test_timers_fire_in_time_and_never_early() -> None:
    async def run() -> Timers:
        host = Timers()
        with Driver(cast("Host", host)):
            start = host.clock.now()
            for ms in (30, 10, 20, 10):
                host.add(start + ms * MSEC)
            await asyncio.sleep(0.06)
        assert host.on_rearm is None
        return host

    host = asyncio.run(run())
    assert len(host.served) == 4
    assert all(deadline <= now < deadline + 20 * MSEC for deadline, now in host.served)


def test_a_deadline_that_is_taken_back_costs_one_early_look() -> None:
    async def run() -> Timers:
        host = Timers()
        with Driver(cast("Host", host)) as driver:
            now = host.clock.now()
            host.add(now + 5 * MSEC)
            host.deadlines = [now + 25 * MSEC]
            driver.rearm()
            await asyncio.sleep(0.05)
        return host

    assert len(asyncio.run(run()).served) == 1


def test_readers_are_followed_by_a_flush() -> None:
    async def run() -> int:
        host = Timers()
        ours, far = socket.socketpair()
        with ours, far, Driver(cast("Host", host)) as driver:
            driver.add_reader(ours.fileno(), lambda: ours.recv(10))
            far.send(b"x")
            await asyncio.sleep(0.01)
        return host.flushes

    assert asyncio.run(run()) == 1


class Stream:
    """An open file without a network: a test fills and drains it by hand."""

    def __init__(self) -> None:
        self.refs = 1
        self.watchers: list[Watcher] = []
        self.incoming = b""
        self.sent = b""
        self.room = 0
        self.error = 0

    def watch(self, watcher: Watcher) -> None:
        self.watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        self.watchers.remove(watcher)

    def wake(self, mask: int) -> None:
        for watcher in self.watchers:
            watcher.notify(cast(File, self), mask)

    def poll(self) -> int:
        readable, writable = EPOLLIN if self.incoming else 0, EPOLLOUT if self.room else 0
        return readable | writable | (EPOLLERR if self.error else 0)


class Program:
    """As much of a process as AsyncSocket touches, with one stream as descriptor 3."""

    def __init__(self) -> None:
        self.stream = Stream()

    def socket(self, family: int, type: int) -> int:
        return 3

    def file(self, fd: int) -> Stream:
        return self.stream

    def connect(self, fd: int, address: tuple[str, int]) -> None:
        raise os_error(errno.EINPROGRESS)

    def send(self, fd: int, data: Buffer) -> int:
        stream = self.stream
        if not stream.room:
            raise os_error(errno.EAGAIN)
        taken, stream.room = min(stream.room, len(data)), max(0, stream.room - len(data))
        stream.sent += bytes(data[:taken])
        return taken

    def recv(self, fd: int, size: int) -> bytes:
        if not self.stream.refs:
            raise os_error(errno.EBADF, f"descriptor {fd}")
        if not self.stream.incoming:
            raise os_error(errno.EAGAIN)
        data, self.stream.incoming = self.stream.incoming, b""
        return data

    def getsockopt(self, fd: int, level: int, name: int) -> int:
        number, self.stream.error = self.stream.error, 0
        return number

    def close(self, fd: int) -> None:
        self.stream.refs = 0


def opened() -> tuple[AsyncSocket, Stream]:
    program = Program()
    return AsyncSocket.stream(cast(Process, program)), program.stream


def test_calls_wait_until_the_socket_is_ready() -> None:
    async def run() -> None:
        sock, stream = opened()
        receiving = asyncio.create_task(sock.recv())
        sending = asyncio.create_task(sock.sendall(b"0123456789"))
        await asyncio.sleep(0)
        assert not receiving.done() and not sending.done()
        stream.incoming = b"hello"
        stream.wake(EPOLLIN)
        assert await receiving == b"hello"
        for _ in range(3):
            stream.room = 4
            stream.wake(EPOLLOUT)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await sending
        assert stream.sent == b"0123456789"
        sock.close()

    asyncio.run(run())


@pytest.mark.parametrize("error", [0, errno.ECONNREFUSED])
def test_connect_returns_the_connections_fate(error: int) -> None:
    async def run() -> None:
        sock, stream = opened()
        connecting = asyncio.create_task(sock.connect(("10.0.0.1", 80)))
        await asyncio.sleep(0)
        stream.room, stream.error = 1, error
        stream.wake(EPOLLOUT)
        if error:
            with pytest.raises(ConnectionRefusedError):
                await connecting
        else:
            await connecting

    asyncio.run(run())


def test_closing_wakes_whoever_waits() -> None:
    async def run() -> None:
        sock, _ = opened()
        receiving = asyncio.create_task(sock.recv())
        await asyncio.sleep(0)
        sock.close()
        with pytest.raises(OSError, match="descriptor 3"):
            await receiving

    asyncio.run(run())
