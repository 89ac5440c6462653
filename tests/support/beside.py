"""One transfer on two stacks at once: the same link, the same seeded losses, the same real time.

Ours and the kernel's pair of hosts have a world each, of the same seed, on one shared clock:
whatever the machine does to the link's timing it does to both, so that only the stack differs.
"""

import os
import socket
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from timewait.base.instant import MSEC, SEC
from timewait.wire.packet import Packet
from timewait.world.clock import RealClock
from timewait.world.kernel import KernelHost
from timewait.world.network import World
from timewait.world.pipe import Port

STEP = 2 * MSEC
"""How often the programs look after their sockets."""
BLOCK = bytes(1 << 16)
TCP_CONGESTION = 13


class Point:
    """What is compared: an algorithm over a link. Times in ns, rate in bit/s, queue in packets, loss in per cent."""

    def __init__(
        self, algorithm: str, loss: float, rtt: int, queue: int, *, rate: int = 20_000_000, size: int = 1_500_000
    ) -> None:
        self.algorithm = algorithm
        self.loss = loss
        self.rtt = rtt
        self.queue = queue
        self.rate = rate
        self.size = size

    def __str__(self) -> str:
        return (
            f"{self.algorithm}, {self.size / 1e6:g} MB, {self.rate / 1e6:g} Mbit/s, {self.rtt / 1e6:g} ms, "
            f"{self.loss:g} % lost, queue {self.queue}"
        )


class Descriptor(Port):
    """What a TUN does to a kernel's packets, for ours: they leave when the clock next looks after its descriptors.

    Without it every packet of the kernel would wait for the machine a little longer than ours.
    """

    def __init__(self, world: World, host: Any) -> None:
        super().__init__(host.name[0])
        self.waiting: list[Packet] = []
        self.far: Port | None = None
        self.inner = Inner(self, host.name + " tun")
        self.own = host.process
        self.event = os.eventfd(0, os.EFD_NONBLOCK)
        world.link(host, self.inner)
        world.clock.add_reader(self.event, self.read)

    def process(self, name: str) -> Any:
        return self.own(name)

    def read(self) -> None:
        os.eventfd_read(self.event)
        waiting, self.waiting = self.waiting, []
        for packet in waiting:
            assert self.pipe is not None
            self.pipe.send(packet)

    def deliver(self, packet: Packet) -> None:
        assert self.inner.pipe is not None
        self.inner.pipe.send(packet)


class Inner(Port):
    """The host's side of it."""

    def __init__(self, outer: Descriptor, name: str) -> None:
        super().__init__(name)
        self.outer = outer

    def deliver(self, packet: Packet) -> None:
        self.outer.waiting.append(packet)
        os.eventfd_write(self.outer.event, 1)


class Transfer:
    """A program that sends `size` octets and one that reads them, stepped together."""

    def __init__(self, world: World, a: Any, b: Any, point: Point) -> None:
        self.world = world
        self.size = point.size
        self.link = world.link(a, b, delay=point.rtt // 2, rate=point.rate, queue=point.queue)
        self.link.lossy(point.loss / 100, sender="a")
        self.sender, self.receiver = a.process("sender"), b.process("receiver")
        self.listener = self.receiver.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.receiver.bind(self.listener, ("0.0.0.0", 80))
        self.receiver.listen(self.listener, 1)
        self.out = self.sender.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sender.setsockopt(self.out, socket.IPPROTO_TCP, TCP_CONGESTION, point.algorithm.encode())
        self.into = -1
        self.sent = 0
        self.got = 0
        self.began = world.now
        self.ended = 0
        self.trace: list[tuple[int, ...]] = []
        for process, fd in ((self.sender, self.out), (self.receiver, self.listener)):
            process.set_nonblocking(fd)
        try:
            self.sender.connect(self.out, ("10.0.0.2", 80))
        except BlockingIOError:
            pass

    def step(self) -> bool:
        """Write and read what is possible; whether the transfer goes on."""
        if self.ended:
            return False
        try:
            while self.sent < self.size:
                self.sent += self.sender.send(self.out, BLOCK[: self.size - self.sent])
        except OSError:
            pass
        try:
            if self.into < 0:
                self.into = self.receiver.accept(self.listener)[0]
                self.receiver.set_nonblocking(self.into)
            while data := self.receiver.recv(self.into, 1 << 20):
                self.got += len(data)
        except OSError:
            pass
        if self.got >= self.size:
            self.ended = self.world.now
            return False
        return True

    def info(self) -> SimpleNamespace:
        """What TCP_INFO says of the sender."""
        raw = self.sender.getsockopt(self.out, socket.IPPROTO_TCP, socket.TCP_INFO, 248)
        ssthresh, cwnd = struct.unpack_from("II", raw, 76)
        (retransmitted,) = struct.unpack_from("I", raw, 100)
        rtt, rttvar = struct.unpack_from("II", raw, 68)
        return SimpleNamespace(
            at=self.world.now - self.began,
            cwnd=cwnd,
            ssthresh=ssthresh,
            state=raw[1],
            retransmitted=retransmitted,
            timeouts=struct.unpack_from("H", raw, 240)[0],
            rtt=rtt,
            rttvar=rttvar,
            unacked=struct.unpack_from("I", raw, 24)[0],
            rto=struct.unpack_from("I", raw, 8)[0],
            pacing=struct.unpack_from("Q", raw, 104)[0],
            unsent=struct.unpack_from("I", raw, 144)[0],
            limited=struct.unpack_from("3Q", raw, 168),
            window=struct.unpack_from("I", raw, 228)[0],
        )

    @property
    def seconds(self) -> float:
        """How long it took, from the call of connect to the last octet read."""
        return (self.ended - self.began) / SEC


def ours(point: Point, seed: int, clock: RealClock) -> tuple[Transfer, Callable[[], None]]:
    """The transfer on our stack in real time, and what closes it."""
    world = World(seed=seed, clock=clock, record=False)
    hosts = [world.host(name + "-host", f"10.0.0.{n}/24") for n, name in ((1, "a"), (2, "b"))]
    ends = [Descriptor(world, host) for host in hosts]

    def close() -> None:
        for end in ends:
            clock.remove_reader(end.event)
            os.close(end.event)

    return Transfer(world, ends[0], ends[1], point), close


def kernels(point: Point, seed: int, clock: RealClock) -> tuple[Transfer, Callable[[], None]]:
    """The transfer on the kernel's, and what gives the namespaces back."""
    world = World(seed=seed, clock=clock, record=False)
    hosts = [KernelHost(name, clock, f"10.0.0.{n}/24") for n, name in ((1, "a"), (2, "b"))]

    def close() -> None:
        for host in hosts:
            host.close()

    return Transfer(world, hosts[0], hosts[1], point), close


def simulate(point: Point, seed: int, *, most: int = 120 * SEC, watch: bool = False) -> Transfer:
    """On our stack in virtual time."""
    world = World(seed=seed, record=False)
    hosts = [world.host(name, f"10.0.0.{n}/24") for n, name in ((1, "a"), (2, "b"))]
    transfer = Transfer(world, hosts[0], hosts[1], point)
    end = transfer.world.now + most
    while transfer.step() and transfer.world.now < end:
        if watch:
            look(transfer)
        transfer.world.run(STEP)
    return transfer


def look(transfer: Transfer) -> None:
    i = transfer.info()
    entry = (i.cwnd, i.ssthresh, i.state, i.retransmitted, i.rtt, i.unacked, i.rto, i.unsent, i.window, *i.limited)
    if not transfer.trace or transfer.trace[-1][1:] != entry:
        transfer.trace.append((i.at, *entry))


def compare(point: Point, seed: int, *, most: int = 120 * SEC, watch: bool = False) -> tuple[Transfer, Transfer]:
    """(ours, the kernel's), in real time and at the same time."""
    clock = RealClock()
    closes: list[Callable[[], None]] = [clock.close]
    both: list[Transfer] = []
    try:
        for make in (ours, kernels):
            transfer, close = make(point, seed, clock)
            both.append(transfer)
            closes.append(close)
        end = clock.now() + most
        while clock.now() < end:
            going = [transfer for transfer in both if transfer.step()]
            if not going:
                break
            if watch:
                for transfer in going:
                    look(transfer)
            clock.run_until(clock.now() + STEP)
        for transfer in both:
            transfer.final = transfer.info()
    finally:
        for close in reversed(closes):
            close()
    return both[0], both[1]


POINTS = (
    Point("reno", 0, 1 * MSEC, 20, size=6_000_000),
    Point("reno", 1, 20 * MSEC, 100, size=2_000_000),
    Point("reno", 5, 20 * MSEC, 100, size=1_000_000),
    Point("reno", 10, 5 * MSEC, 100, size=400_000),
    Point("cubic", 0, 40 * MSEC, 50, rate=10_000_000, size=4_000_000),
    Point("cubic", 0, 300 * MSEC, 300, size=12_000_000),
    Point("cubic", 1, 100 * MSEC, 30, size=1_000_000),
    Point("cubic", 5, 20 * MSEC, 100, size=1_000_000),
    Point("cubic", 10, 5 * MSEC, 10, size=1_000_000),
    Point("bbr", 0, 40 * MSEC, 50, rate=10_000_000, size=4_000_000),
    Point("bbr", 1, 300 * MSEC, 300, size=4_000_000),
    Point("bbr", 5, 20 * MSEC, 30, size=6_000_000),
    Point("bbr", 10, 5 * MSEC, 100, size=2_000_000),
)
"""Loss 0 to 10 %, round trips of 1 to 300 ms, queues shorter and longer than the path holds."""
