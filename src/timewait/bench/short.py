"""Short connections, an octet each way: our host serves the kernel's client, and beside it the kernel serves itself."""

import asyncio
import contextlib
import multiprocessing
import os
import subprocess
from typing import Final

from timewait.bench.rig import OURS, SLACK, WARM, Meter, a_core_each, cable, device, host_on, line, program, ready
from timewait.host.file import EPOLLIN, EPOLLRDHUP, File, Watcher
from timewait.host.process import Process
from timewait.world.driver import AsyncSocket
from timewait.world.tun import Tun

PORT: Final = 8000
PORTS: Final = 10
"""The kernel reuses a port a second after its TIME-WAIT began: several of ours keep that from being the limit."""

# The request rides on the socket's first writability.
CLIENT: Final = f"""
import socket, select, time
ep = select.epoll(); live = {{}}; n = done = 0
def start():
    global n
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK); n += 1
    s.connect_ex(("{OURS}", {PORT} + n % {PORTS})); live[s.fileno()] = s
    ep.register(s.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
for _ in range(WIDTH): start()
told = time.monotonic()
while True:
    for fd, mask in ep.poll():
        s = live[fd]
        if mask & select.EPOLLIN:
            done += s.recv(2048) == b"!"
            live.pop(fd).close(); start()
        elif mask & (select.EPOLLERR | select.EPOLLHUP):
            live.pop(fd).close(); start()
        else:
            s.send(b"?")
    if time.monotonic() - told > 0.02:
        told = time.monotonic(); print(done, told, flush=True)
"""
SERVER: Final = f"""
import socket, select
ep = select.epoll(); doors = {{}}; live = {{}}
for port in range({PORT}, {PORT} + {PORTS}):
    l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("", port)); l.listen(4096); l.setblocking(False)
    doors[l.fileno()] = l; ep.register(l.fileno(), select.EPOLLIN)
print("ready", flush=True)
while True:
    for fd, mask in ep.poll():
        if fd in doors:
            try:
                while True:
                    c, _ = doors[fd].accept(); live[c.fileno()] = c
                    c.setblocking(False); ep.register(c.fileno(), select.EPOLLIN)
            except BlockingIOError: continue
        try: asked = live[fd].recv(4096)
        except OSError: asked = b""
        if asked: live[fd].send(b"!")
        else: live.pop(fd).close()
"""


class Answering(Watcher):
    """The server's side of a short connection: an octet is answered, the peer's close is followed."""

    def __init__(self, served: "Serving", fd: int) -> None:
        self.served, self.fd = served, fd

    def notify(self, file: File, mask: int) -> None:
        process, fd = self.served.process, self.fd
        if mask & EPOLLRDHUP:
            self.served.done += 1
            process.close(fd)
        elif mask & EPOLLIN:
            process.recv(fd, 4096)
            process.send(fd, b"!")


class Serving(Watcher):
    """Accepts on one descriptor and counts connections that ended."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.done = process, 0
        self.fd = AsyncSocket.listening(process, (OURS, port), 4096).fd
        process.file(self.fd).watch(self)

    def notify(self, file: File, mask: int) -> None:
        # Each connection is announced, so each time one is accepted.
        fd, _ = self.process.accept(self.fd)
        answering = Answering(self, fd)
        accepted = self.process.file(fd)
        accepted.watch(answering)
        if accepted.poll() & EPOLLIN:
            answering.notify(accepted, EPOLLIN)


async def _serve(seconds: float, width: int, apart: bool) -> dict[str, float]:
    with device(1500) as (namespace, tun), host_on(tun) as host:
        process = host.process("server")
        process.nofile = 1 << 16
        served = [Serving(process, PORT + n) for n in range(PORTS)]
        with contextlib.ExitStack() as stack:
            others = stack.enter_context(a_core_each(namespace, tun)) if apart else None
            calling = stack.enter_context(program(namespace, CLIENT.replace("WIDTH", str(width))))
            if others is not None:
                os.sched_setaffinity(calling.pid, others)
            await asyncio.sleep(WARM)
            meter = Meter(sum(each.done for each in served))
            await asyncio.sleep(seconds)
            rate, share = meter.rates(sum(each.done for each in served))
    return {"connections_per_s": rate, "cpu_share": share}


def serve(seconds: float, width: int = 32, *, apart: bool = False) -> dict[str, float]:
    """The kernel's client, so many at a time: connections that came to their end.

    `apart`: our process has a processor, and the kernel's half has the others.
    """
    return asyncio.run(_serve(seconds, width, apart))


def kernels(seconds: float, width: int = 32) -> dict[str, float]:
    """The same client against an epoll server on the kernel's own sockets, over a cable."""
    with cable(1500) as (client, server), program(server, SERVER) as serving:
        ready(serving)
        with program(client, CLIENT.replace("WIDTH", str(width))) as calling:
            return {"connections_per_s": _rate(calling, seconds)}


def _rate(calling: "subprocess.Popen[bytes]", seconds: float) -> float:
    """Connections per second by the client's own count, after it has warmed up."""
    began: tuple[int, float] | None = None
    start = 0.0
    while True:
        done, now = line(calling).split()
        start = start or float(now)
        if began is None and float(now) - start >= WARM:
            began = int(done), float(now)
        elif began is not None and float(now) - began[1] >= seconds:
            return (int(done) - began[0]) / (float(now) - began[1])


def two_processes(seconds: float, width: int = 32) -> dict[str, float]:
    """Two processes of ours, one for each queue of the device; the kernel keeps a connection on its queue."""
    context = multiprocessing.get_context("fork")
    with device(1500, queues=2) as (namespace, tun):
        children = []
        for fd in tun.fds:
            children.append(context.Process(target=_one_queue, args=(tun, fd, seconds + 2 * SLACK), daemon=True))
        for child in children:
            child.start()
        try:
            with program(namespace, CLIENT.replace("WIDTH", str(width))) as calling:
                return {"connections_per_s": _rate(calling, seconds)}
        finally:
            for child in children:
                child.kill()
                child.join()


def _one_queue(tun: Tun, fd: int, seconds: float) -> None:
    """A process that serves one queue for so long, or until it is ended."""
    tun.fd = fd

    async def serving() -> None:
        with host_on(tun) as host:
            process = host.process("server")
            process.nofile = 1 << 16
            for n in range(PORTS):
                Serving(process, PORT + n)
            await asyncio.sleep(seconds)

    asyncio.run(serving())
