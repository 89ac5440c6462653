"""Bulk data in and out: our host against the kernel over TUN, and the kernel against itself over a cable.

What arrives is compared with what was sent: each sender writes one pattern again and
again, and the receiver looks at every octet of every hundredth block.
"""

import asyncio
import json
import math
import shutil
import subprocess
import time
from typing import Final

from timewait.bench.rig import KERNEL, OURS, SLACK, WARM, Meter, cable, device, host_on, line, program, ready
from timewait.host.file import EPOLLIN, EPOLLOUT, File, Watcher
from timewait.host.process import Process
from timewait.host.tcp_socket import TcpSocket
from timewait.world.driver import AsyncSocket

PORT: Final = 5001
BLOCK: Final = 1 << 20
_PATTERN: Final = "b''.join(n.to_bytes(4, 'big') for n in range(1 << 16)) * 4"
PATTERN: Final = b"".join(n.to_bytes(4, "big") for n in range(1 << 16)) * 4
assert len(PATTERN) == BLOCK
WRONG: Final = "octets differ from what was sent"

SENDER: Final = f"""
import socket, selectors
block = memoryview({_PATTERN})
each = selectors.DefaultSelector()
for _ in range(STREAMS):
    s = socket.create_connection(("{OURS}", {PORT})); s.setblocking(False)
    each.register(s, selectors.EVENT_WRITE, [0])
while True:
    for key, _ in each.select():
        try:
            at = key.data
            while True: at[0] = (at[0] + key.fileobj.send(block[at[0]:])) % {BLOCK}
        except BlockingIOError: pass
        except OSError: raise SystemExit
"""
RECEIVER: Final = f"""
import socket, selectors, time, sys
pattern = {_PATTERN}
l = socket.socket(); l.setsockopt(1, 2, 1)
l.bind(("", {PORT})); l.listen(64); print("ready", flush=True)
each = selectors.DefaultSelector(); buffer = bytearray(1 << 20); view = memoryview(buffer)
for _ in range(STREAMS):
    c, _ = l.accept(); c.setblocking(False)
    each.register(c, selectors.EVENT_READ, [0])
total = looked = 0; told = time.monotonic()
while True:
    for key, _ in each.select():
        try: n = key.fileobj.recv_into(buffer)
        except BlockingIOError: continue
        if not n: raise SystemExit
        at = key.data; looked += 1
        if not looked % 100:
            m = min(n, {BLOCK} - at[0])
            assert view[:m] == memoryview(pattern)[at[0]:at[0] + m], "{WRONG}"
        at[0] = (at[0] + n) % {BLOCK}; total += n
    if time.monotonic() - told > 0.02:
        told = time.monotonic(); print(total, told, flush=True)
"""


class Counting(Watcher):
    """Counts what arrives on a connection, and compares some of it, without copying it."""

    def __init__(self) -> None:
        self.octets = 0
        self.looked = 0

    def notify(self, file: File, mask: int) -> None:
        assert isinstance(file, TcpSocket)
        if mask & EPOLLIN:
            for view in file.recv_views():
                self.looked += 1
                if not self.looked % 100:
                    self._compare(view)
                self.octets += len(view)

    def _compare(self, view: "memoryview | bytes | bytearray") -> None:
        at = self.octets % BLOCK
        size = min(len(view), BLOCK - at)
        assert memoryview(view)[:size] == memoryview(PATTERN)[at : at + size], WRONG


class Filling(Watcher):
    """Keeps a connection's send buffer full."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd, self.at = process, fd, 0

    def notify(self, file: File, mask: int) -> None:
        if not mask & EPOLLOUT:
            return
        try:
            while True:
                block = memoryview(PATTERN)[self.at :] if self.at else PATTERN
                self.at = (self.at + self.process.send(self.fd, block)) % BLOCK
        except BlockingIOError:
            pass


async def _receive(seconds: float, mtu: int, streams: int) -> dict[str, float]:
    with device(mtu) as (namespace, tun), host_on(tun) as host:
        listener = AsyncSocket.listening(host.process("server"), (OURS, PORT))
        counters: list[Counting] = []
        with program(namespace, SENDER.replace("STREAMS", str(streams))):
            for _ in range(streams):
                connection, _ = await asyncio.wait_for(listener.accept(), SLACK)
                counting = Counting()
                file = connection.process.file(connection.fd)
                file.watch(counting)
                counting.notify(file, int(file.poll()))
                counters.append(counting)
            await asyncio.sleep(WARM)
            meter = Meter(sum(each.octets for each in counters))
            await asyncio.sleep(seconds)
            rate, share = meter.rates(sum(each.octets for each in counters))
    return {"gbit_per_s": rate * 8 / 1e9, "cpu_share": share}


async def _send(seconds: float, mtu: int, streams: int) -> dict[str, float]:
    receiver = RECEIVER.replace("STREAMS", str(streams))
    with device(mtu) as (namespace, tun), host_on(tun) as host, program(namespace, receiver) as child:
        ready(child)
        sockets: list[TcpSocket] = []
        for _ in range(streams):
            client = AsyncSocket.stream(host.process("client"))
            await asyncio.wait_for(client.connect((KERNEL, PORT)), SLACK)
            file = client.process.file(client.fd)
            assert isinstance(file, TcpSocket) and file.tcb is not None
            filling = Filling(client.process, client.fd)
            file.watch(filling)
            filling.notify(file, EPOLLOUT)
            sockets.append(file)
        tcbs = [file.tcb for file in sockets if file.tcb is not None]
        await asyncio.sleep(WARM)
        meter = Meter(sum(int(t.bytes_acked) for t in tcbs))
        await asyncio.sleep(seconds)
        rate, share = meter.rates(sum(int(t.bytes_acked) for t in tcbs))
        if child.poll() is not None:
            raise RuntimeError(f"the kernel's receiver ended: {WRONG}?")
        return {
            "gbit_per_s": rate * 8 / 1e9,
            "cpu_share": share,
            "retransmitted": float(sum(t.total_retrans for t in tcbs)),
        }


def receive(seconds: float, mtu: int = 1500, streams: int = 1) -> dict[str, float]:
    """The kernel sends as fast as it can: what our sockets deliver."""
    return asyncio.run(_receive(seconds, mtu, streams))


def send(seconds: float, mtu: int = 1500, streams: int = 1) -> dict[str, float]:
    """We send as fast as we can: what the kernel acknowledges."""
    return asyncio.run(_send(seconds, mtu, streams))


def kernels(seconds: float, mtu: int = 1500, streams: int = 1) -> dict[str, float]:
    """The same programs, kernel to kernel over a cable."""
    with cable(mtu) as (client, server), program(server, RECEIVER.replace("STREAMS", str(streams))) as sink:
        ready(sink)
        with program(client, SENDER.replace("STREAMS", str(streams))):
            first, began = _told(sink, WARM)
            last, ended = _told(sink, seconds)
    return {"gbit_per_s": (last - first) * 8 / (ended - began) / 1e9}


def _told(sink: "subprocess.Popen[bytes]", seconds: float) -> tuple[int, float]:
    """What the receiver has counted once so many seconds have passed by its own clock, and when that was."""
    start = 0.0
    while True:
        total, now = line(sink).split()
        start = start or float(now)
        if float(now) - start >= seconds:
            return int(total), float(now)


def iperf3(seconds: float) -> dict[str, float]:
    """What iperf3 tells of one stream, kernel to kernel over a cable, with the machine's own settings throughout."""
    if shutil.which("iperf3") is None:
        raise ModuleNotFoundError(name="iperf3")
    with cable(1500, tuned=False) as (client, server):
        server.popen(["iperf3", "--server", "--one-off"], stdout=subprocess.DEVNULL)
        end = time.monotonic() + SLACK
        while not server.run(["ss", "-Htln", "sport = :5201"]).stdout and time.monotonic() < end:
            time.sleep(0.01)
        told = client.run(["iperf3", "--client", OURS, "--json", "--omit", "1", "--time", str(math.ceil(seconds))])
    return {"gbit_per_s": json.loads(told.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9}
