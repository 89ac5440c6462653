"""Round trips of ordinary programs between two simulated hosts, and of the same over a pair of transports without TCP.

One connection, one message at a time, nobody recording. What the programs are made of
is the benchmark: protocols, streams, blocking sockets; `watchers` is the stack alone.
"""

import asyncio
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from timewait.bench import simulated
from timewait.host.file import EPOLLIN, EPOLLOUT, File, Watcher
from timewait.host.process import Process
from timewait.run.net import Net

PORT: Final = 7
MESSAGE: Final = bytes(64)
DELAY: Final = 50e-6
"""Seconds from one host to the other."""
SLICE: Final = 0.1
"""Seconds of virtual time between two looks at the processor's clock: a thousand round trips."""


class Trips:
    """What this process has done."""

    count = 0
    """Round trips so far."""


class Answer(asyncio.Protocol):
    """The server's side: everything back."""

    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Ask(Answer):
    """The client's side: the next message when the answer is there."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        Trips.count += 1
        self.transport.write(data)


async def serve_protocols() -> None:
    """A server of `Answer`s, for ever."""
    server = await asyncio.get_running_loop().create_server(Answer, "0.0.0.0", PORT)
    await server.serve_forever()


async def ask_protocols() -> None:
    """One `Ask`, for ever."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(Ask, "server", PORT)
    await loop.create_future()


async def answer_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back."""
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def serve_streams() -> None:
    """A server of streams, for ever."""
    server = await asyncio.start_server(answer_stream, "0.0.0.0", PORT)
    await server.serve_forever()


async def ask_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A message, its answer, and so on."""
    size = len(MESSAGE)
    while True:
        writer.write(MESSAGE)
        await writer.drain()
        await reader.readexactly(size)
        Trips.count += 1


async def ask_streams() -> None:
    """One client of streams, for ever."""
    await ask_stream(*await asyncio.open_connection("server", PORT))


def serve_blocking() -> None:
    """A server of one blocking socket."""
    with socket.create_server(("0.0.0.0", PORT)) as door:
        connection, _ = door.accept()
        while data := connection.recv(4096):
            connection.sendall(data)


def ask_blocking() -> None:
    """A client of one blocking socket, for ever."""
    with socket.create_connection(("server", PORT)) as connection:
        while True:
            connection.sendall(MESSAGE)
            connection.recv(4096)
            Trips.count += 1


def programs(server: Callable[..., Any], client: Callable[..., Any], seconds: float) -> dict[str, float]:
    """Two programs on two hosts, for so many seconds of processor time."""
    with Net(seed=1, record=False) as net:
        here, there = net.host("client", "10.0.0.1/24"), net.host("server", "10.0.0.2/24")
        net.link(here, there, delay=DELAY)
        there.run(server, daemon=True)
        here.run(client)
        found = _measure(lambda: net.run(SLICE), seconds)
        assert there.host.counters.TcpRetransSegs == 0, "nothing is lost on this link"
    return found


def _measure(go_on: Callable[[], object], seconds: float) -> dict[str, float]:
    """Round trips per second of processor time, after a warm-up."""
    go_on()
    first = Trips.count
    assert first, "the programs have met"
    began = time.process_time()
    while (elapsed := time.process_time() - began) < seconds:
        go_on()
    return {"round_trips_per_s": (Trips.count - first) / elapsed}


def protocols(seconds: float) -> dict[str, float]:
    """asyncio protocols over TCP."""
    return programs(serve_protocols, ask_protocols, seconds)


def streams(seconds: float) -> dict[str, float]:
    """asyncio streams over TCP."""
    return programs(serve_streams, ask_streams, seconds)


def blocking(seconds: float) -> dict[str, float]:
    """Blocking sockets over TCP."""
    return programs(serve_blocking, ask_blocking, seconds)


class Echoer(Watcher):
    """A socket that answers what it is told of, called by the stack itself."""

    def __init__(self, process: Process, fd: int, asks: bool) -> None:
        self.process, self.fd, self.asks = process, fd, asks
        process.file(fd).watch(self)

    def notify(self, file: File, mask: int) -> None:
        if mask & EPOLLIN:
            Trips.count += self.asks
            self.process.send(self.fd, self.process.recv(self.fd, 4096))
        elif mask & EPOLLOUT and self.asks:
            self.process.send(self.fd, MESSAGE)


class Doorman(Watcher):
    """Accepts for a server."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.fd = simulated.listen(process)
        process.file(self.fd).watch(self)

    def notify(self, file: File, mask: int) -> None:
        fd, _ = self.process.accept(self.fd)
        Echoer(self.process, fd, False)


def watchers(seconds: float) -> dict[str, float]:
    """No programs: the stack, its clock and its link alone."""
    world, client, server = simulated.two_hosts(round(DELAY * 1e9))
    Doorman(server.process("answer"))
    process = client.process("ask")
    Echoer(process, simulated.connect(process), True)
    return _measure(lambda: world.run(round(SLICE * 1e9)), seconds)


# The same without a TCP: a loop in virtual time and transports that hand their data over.


class Jump(selectors.BaseSelector):
    """A selector whose waiting makes the time jump."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits")
        self.now += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Any:
        return {}


class JumpLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on a clock that jumps to the next timer."""

    def __init__(self) -> None:
        self.jump = Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.now


class Pipe(asyncio.Transport):
    """One end of a pair: what is written arrives at the other's protocol after a delay."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__()
        self.loop, self.protocol = loop, protocol
        self.peer = self

    def write(self, data: Any) -> None:
        self.loop.call_later(DELAY, self.peer.protocol.data_received, bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Only the loop's end ends it."""


def pair(loop: asyncio.AbstractEventLoop, one: Any, other: Any) -> None:
    """Connect two protocols."""
    first, second = Pipe(loop, one), Pipe(loop, other)
    first.peer, second.peer = second, first
    other.connection_made(second)
    one.connection_made(first)


def without_tcp(begin: Callable[[asyncio.AbstractEventLoop], object], seconds: float) -> dict[str, float]:
    """The same programs over a pair of transports."""
    loop = JumpLoop()
    asyncio.set_event_loop(loop)
    loop.call_soon(begin, loop)
    found = _measure(lambda: loop.run_until_complete(asyncio.sleep(SLICE)), seconds)
    # What the tasks say of being cancelled in the middle interests nobody.
    loop.set_exception_handler(lambda loop, context: None)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return found


def bare_protocols(seconds: float) -> dict[str, float]:
    """Protocols over a pair."""
    return without_tcp(lambda loop: pair(loop, Ask(), Answer()), seconds)


def bare_streams(seconds: float) -> dict[str, float]:
    """Streams over a pair."""

    def begin(loop: asyncio.AbstractEventLoop) -> None:
        reader = asyncio.StreamReader(loop=loop)
        asker = asyncio.StreamReaderProtocol(reader, lambda r, w: None, loop=loop)
        server = asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), answer_stream, loop=loop)
        pair(loop, asker, server)
        transport: Any = server._transport.peer  # type: ignore[attr-defined]
        writer = asyncio.StreamWriter(transport, asker, reader, loop)
        loop.running = loop.create_task(ask_stream(reader, writer))  # type: ignore[attr-defined]

    return without_tcp(begin, seconds)
