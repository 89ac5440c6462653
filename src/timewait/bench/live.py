"""Our host on a TUN against the kernel: bulk in, bulk out, and short connections, driven by asyncio.

The kernel's programs run in a subprocess inside a network namespace of their own.
"""

import asyncio
import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from timewait.host.file import EPOLLIN, EPOLLOUT, EPOLLRDHUP, File, Watcher
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.host.tcp_socket import TcpSocket
from timewait.world.driver import AsyncSocket, Driver, LoopClock
from timewait.world.netns import Namespace
from timewait.world.tun import Tun

KERNEL: Final = "10.78.0.1"
OURS: Final = "10.78.255.2"
WARM: Final = 0.5
"""Seconds before a measurement begins: slow start, buffers, caches."""
WIDTH: Final = 64
"""Short connections in flight."""
BLOCK: Final = bytes(1 << 20)
SLACK: Final = 15.0
"""Seconds after which a measurement that got stuck is given up."""

SENDER = f"""
import socket
s = socket.create_connection(("{OURS}", 5001))
block = memoryview(bytes(1 << 20))
try:
    while True: s.send(block)
except OSError: pass
"""
RECEIVER = f"""
import socket
l = socket.socket(); l.setsockopt(1, 2, 1)
l.bind(("{KERNEL}", 5001)); l.listen(); print("ready", flush=True)
c, _ = l.accept(); block = bytearray(1 << 20)
while c.recv_into(block): pass
"""
# The kernel reuses a port only a second after its TIME-WAIT began: ten of our ports
# keep that from being the limit. Requests ride on the socket's first writability.
CLIENT = f"""
import socket, select
ep = select.epoll(); live = {{}}; n = 0
def start():
    global n
    s = socket.socket(); s.setblocking(False); n += 1
    s.connect_ex(("{OURS}", 8000 + n % 10)); live[s.fileno()] = s
    ep.register(s.fileno(), select.EPOLLOUT)
for _ in range({WIDTH}): start()
while True:
    for fd, mask in ep.poll():
        s = live[fd]
        if mask & select.EPOLLIN:
            s.recv(2048)
            live.pop(fd).close(); start()
        elif mask & (select.EPOLLERR | select.EPOLLHUP):
            live.pop(fd).close(); start()
        else:
            s.send(b"?"); ep.modify(fd, select.EPOLLIN)
"""


@contextlib.contextmanager
def device(mtu: int) -> Iterator[tuple[Namespace, Tun]]:
    """A namespace with a TUN whose kernel end has large buffers and many ports."""
    with Namespace("bench") as namespace, Tun(namespace, mtu=mtu) as tun:
        namespace.set_sysctl("net.ipv4.ip_local_port_range", (10000, 65000))
        for sysctl in ("tcp_rmem", "tcp_wmem"):
            namespace.set_sysctl(f"net.ipv4.{sysctl}", (4096, 1 << 20, 64 << 20))
        tun.add_address(f"{KERNEL}/16")
        yield namespace, tun


@contextlib.contextmanager
def program(namespace: Namespace, text: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A kernel's program in the namespace, ended at the end."""
    child = namespace.popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def ready(child: "subprocess.Popen[bytes]") -> None:
    """Wait until a program listens."""
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"


@contextlib.contextmanager
def host_on(tun: Tun) -> Iterator[Host]:
    """Our host on the TUN, on the running loop."""
    host = Host("ours", LoopClock())
    with Driver(host) as driver:
        driver.attach(host.add_interface("eth0", f"{OURS}/16", mtu=tun.mtu), tun)
        yield host


class Counting(Watcher):
    """Counts what arrives on a connection without copying it."""

    def __init__(self) -> None:
        self.octets = 0

    def notify(self, file: File, mask: int) -> None:
        assert isinstance(file, TcpSocket)
        if mask & EPOLLIN:
            for view in file.recv_views():
                self.octets += len(view)


class Filling(Watcher):
    """Keeps a connection's send buffer full."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd = process, fd

    def notify(self, file: File, mask: int) -> None:
        if mask & EPOLLOUT:
            try:
                while True:
                    self.process.send(self.fd, BLOCK)
            except BlockingIOError:
                pass


class Meter:
    """Wall time, processor time and a count, from a moment on."""

    def __init__(self, count: int) -> None:
        self.count, self.wall, self.cpu = count, time.monotonic(), time.process_time()

    def rates(self, count: int) -> tuple[float, float]:
        """(per second, share of a processor) since then."""
        wall = time.monotonic() - self.wall
        return (count - self.count) / wall, (time.process_time() - self.cpu) / wall


async def _receive(seconds: float, mtu: int) -> dict[str, float]:
    with device(mtu) as (namespace, tun), host_on(tun) as host:
        listener = AsyncSocket.listening(host.process("server"), (OURS, 5001))
        with program(namespace, SENDER):
            connection, _ = await asyncio.wait_for(listener.accept(), SLACK)
            counting = Counting()
            file = connection.process.file(connection.fd)
            file.watch(counting)
            counting.notify(file, int(file.poll()))
            await asyncio.sleep(WARM)
            packets = int(host.counters.TcpInSegs)
            meter = Meter(counting.octets)
            await asyncio.sleep(seconds)
            rate, share = meter.rates(counting.octets)
            packets = int(host.counters.TcpInSegs) - packets
            mean = (counting.octets - meter.count) / max(packets, 1)
    return {"gbit_per_s": rate * 8 / 1e9, "cpu_share": share, "mean_super_segment": mean}


async def _send(seconds: float, mtu: int) -> dict[str, float]:
    with device(mtu) as (namespace, tun), host_on(tun) as host, program(namespace, RECEIVER) as child:
        ready(child)
        client = AsyncSocket.stream(host.process("client"))
        await asyncio.wait_for(client.connect((KERNEL, 5001)), SLACK)
        filling = Filling(client.process, client.fd)
        file = client.process.file(client.fd)
        assert isinstance(file, TcpSocket) and file.tcb is not None
        t = file.tcb
        file.watch(filling)
        filling.notify(file, EPOLLOUT)
        await asyncio.sleep(WARM)
        meter = Meter(int(t.bytes_acked))
        await asyncio.sleep(seconds)
        rate, share = meter.rates(int(t.bytes_acked))
        return {"gbit_per_s": rate * 8 / 1e9, "cpu_share": share, "retransmitted": float(t.total_retrans)}


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
        try:
            while True:
                fd, _ = self.process.accept(self.fd)
                answering = Answering(self, fd)
                accepted = self.process.file(fd)
                accepted.watch(answering)
                if accepted.poll() & EPOLLIN:
                    answering.notify(accepted, EPOLLIN)
        except BlockingIOError:
            pass


async def _connections(seconds: float, mtu: int) -> dict[str, float]:
    with device(mtu) as (namespace, tun), host_on(tun) as host:
        process = host.process("server")
        process.nofile = 1 << 16
        served = [Serving(process, 8000 + n) for n in range(10)]
        with program(namespace, CLIENT):
            await asyncio.sleep(WARM)
            meter = Meter(sum(each.done for each in served))
            await asyncio.sleep(seconds)
            rate, share = meter.rates(sum(each.done for each in served))
        resets = int(host.counters.TcpOutRsts)
    return {"connections_per_s": rate, "cpu_share": share, "resets": float(resets)}


def receive_bulk(seconds: float, mtu: int = 1500) -> dict[str, float]:
    """The kernel sends as fast as it can: what our socket delivers."""
    return asyncio.run(_receive(seconds, mtu))


def send_bulk(seconds: float, mtu: int = 1500) -> dict[str, float]:
    """We send as fast as we can: what the kernel acknowledges."""
    return asyncio.run(_send(seconds, mtu))


def connections(seconds: float, mtu: int = 1500) -> dict[str, float]:
    """The kernel's client: connect, an octet each way, close, so many at a time; those that came to their end."""
    return asyncio.run(_connections(seconds, mtu))


def limit_memory(octets: int) -> None:
    """Refuse this process more address space."""
    resource.setrlimit(resource.RLIMIT_AS, (octets, octets))
