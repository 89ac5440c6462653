"""Requests and responses on one connection: round trips per second and how long they take."""

import asyncio
from typing import Final

from timewait.bench.rig import OURS, cable, device, host_on, line, program, ready
from timewait.host.file import EPOLLIN, File, Watcher
from timewait.host.process import Process
from timewait.world.driver import AsyncSocket

PORT: Final = 7000
SIZE: Final = 100

CLIENT: Final = f"""
import socket, time
s = socket.create_connection(("{OURS}", {PORT})); s.setsockopt(6, 1, 1)
request = bytes({SIZE}); times = []
for _ in range(200): s.send(request); s.recv({SIZE})
clock = time.perf_counter_ns
end = clock() + int(SECONDS * 1e9); now = clock()
while now < end:
    s.send(request)
    got = 0
    while got < {SIZE}: got += len(s.recv({SIZE}))
    then, now = now, clock()
    times.append(now - then)
times.sort()
print(len(times) / (sum(times) / 1e9), times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3, flush=True)
"""
SERVER: Final = f"""
import socket
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("", {PORT})); l.listen(); print("ready", flush=True)
c, _ = l.accept(); c.setsockopt(6, 1, 1)
while data := c.recv(4096): c.send(data)
"""


class Echo(Watcher):
    """Sends back what comes, on every connection of a listener."""

    def __init__(self, process: Process, listener: int) -> None:
        self.process, self.listener = process, listener
        process.file(listener).watch(self)

    def notify(self, file: File, mask: int) -> None:
        fd, _ = self.process.accept(self.listener)
        accepted = self.process.file(fd)
        echoing = _Echoing(self.process, fd)
        accepted.watch(echoing)
        echoing.notify(accepted, int(accepted.poll()))


class _Echoing(Watcher):
    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd = process, fd

    def notify(self, file: File, mask: int) -> None:
        if mask & EPOLLIN:
            self.process.send(self.fd, self.process.recv(self.fd, 4096))


async def _serve(seconds: float) -> dict[str, float]:
    with device(1500) as (namespace, tun), host_on(tun) as host:
        process = host.process("server")
        Echo(process, AsyncSocket.listening(process, (OURS, PORT)).fd)
        with program(namespace, CLIENT.replace("SECONDS", str(seconds))) as child:
            return _answer(await asyncio.to_thread(line, child))


def _answer(told: bytes) -> dict[str, float]:
    rate, middle, slow = map(float, told.split())
    return {"trips_per_s": rate, "p50_us": middle, "p99_us": slow}


def serve(seconds: float) -> dict[str, float]:
    """The kernel's client asks our host: `SIZE` octets each way."""
    return asyncio.run(_serve(seconds))


def kernels(seconds: float) -> dict[str, float]:
    """Kernel to kernel over a cable."""
    with cable(1500) as (client, server), program(server, SERVER) as serving:
        ready(serving)
        with program(client, CLIENT.replace("SECONDS", str(seconds))) as calling:
            return _answer(line(calling))
