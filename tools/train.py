"""What a profiled build is trained with: the work of the benchmarks, and two hosts on one wire, in a few seconds.

    PYTHONPATH=build/compiled python tools/train.py

Run by tools/compile.py on a build that counts what runs how often. Needs no rights and
no device: the wire is a pair of sockets that behaves like two TUNs back to back.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Iterator
from typing import cast

from timewait.bench import simulated
from timewait.bench.bulk import Counting, Filling
from timewait.bench.rig import KERNEL, OURS
from timewait.bench.short import Serving
from timewait.host.file import EPOLLIN, EPOLLOUT, File, Watcher
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.world.driver import AsyncSocket, Driver, LoopClock
from timewait.world.tun import Tun

SECONDS = 0.4
"""Of each kind of work."""
CLIENT, SERVER = KERNEL, OURS
WIDTH = 32
OCTETS = 4 << 20
"""What a socket of the wire keeps."""


class End:
    """One end of the wire, as far as an interface knows a TUN."""

    mtu = 1500
    offload = True

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, OCTETS)
        self.fd = end.fileno()


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Process, Process]]:
    """A program on each of two hosts, on the running loop."""
    with contextlib.ExitStack() as stack:
        processes = []
        for end, address in zip(
            socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET), (CLIENT, SERVER), strict=True
        ):
            stack.enter_context(end)
            host = Host(address, LoopClock())
            driver = stack.enter_context(Driver(host))
            driver.attach(host.add_interface("eth0", f"{address}/16"), cast(Tun, End(end)))
            processes.append(host.process("program"))
        yield processes[0], processes[1]


async def bulk() -> None:
    """One connection, as much as goes."""
    with two_hosts() as (client, server):
        listener = AsyncSocket.listening(server, (SERVER, 5001))
        sender = AsyncSocket.stream(client)
        await sender.connect((SERVER, 5001))
        receiver, _ = await listener.accept()
        counting, filling = Counting(), Filling(client, sender.fd)
        server.file(receiver.fd).watch(counting)
        client.file(sender.fd).watch(filling)
        filling.notify(client.file(sender.fd), EPOLLOUT)
        await asyncio.sleep(SECONDS)
        assert counting.octets > 1 << 20, "the wire carries nothing"


class Asking(Watcher):
    """A connection that asks with an octet, takes the answer and closes; then the next begins."""

    numbers = itertools.count()

    def __init__(self, process: Process, ports: range) -> None:
        self.process, self.ports = process, ports
        self.fd = process.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.asked = False
        process.file(self.fd).watch(self)
        with contextlib.suppress(BlockingIOError):
            process.connect(self.fd, (SERVER, ports[next(self.numbers) % len(ports)]))

    def notify(self, file: File, mask: int) -> None:
        if mask & EPOLLIN:
            self.process.recv(self.fd, 2048)
            self.process.close(self.fd)
            Asking(self.process, self.ports)
        elif mask & EPOLLOUT and not self.asked:
            self.asked = True
            self.process.send(self.fd, b"?")


async def short() -> None:
    """Short connections, many at a time."""
    with two_hosts() as (client, server):
        ports = range(8000, 8010)
        served = [Serving(server, port) for port in ports]
        for _ in range(WIDTH):
            Asking(client, ports)
        await asyncio.sleep(SECONDS)
        assert sum(each.done for each in served) > WIDTH, "no connection came to its end"


def main() -> None:
    """All of it, one after the other."""
    for measure in (simulated.segments, simulated.dumbbell, simulated.lifecycles):
        measure(SECONDS)
    simulated.crowd(SECONDS, 100)
    with contextlib.suppress(ModuleNotFoundError):
        from timewait.bench import echo  # Needs greenlet.

        for measure in (echo.protocols, echo.streams, echo.blocking):
            measure(SECONDS)
    asyncio.run(bulk())
    asyncio.run(short())


if __name__ == "__main__":
    main()
