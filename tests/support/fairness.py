"""Flows that share one bottleneck, and how fairly."""

import functools
import socket
from collections.abc import Callable, Sequence
from typing import Any

from timewait.base.instant import MSEC, SEC
from timewait.world.network import World

TCP_CONGESTION = 13
BLOCK = bytes(1 << 16)
STEP = 5 * MSEC


def share(
    algorithms: Sequence[str],
    *,
    rate: int = 10_000_000,
    rtts: Sequence[int] = (),
    queue: int = 50,
    seconds: int = 30,
    skip: int = 10,
    late: int = 1,
    seed: int = 1,
    mark: int = 0,
    world: World | None = None,
    host: Callable[..., Any] | None = None,
) -> list[float]:
    """Goodput in bit/s of one flow per algorithm, from the `skip`th second to the end.

    Each has a sender of its own with a round trip of `rtts` ms (access links without limits) and shares a router's link
    to the receiver; each begins `late` seconds after the one before. mark: CE on what finds more packets in the queue.
    With a `world` in real time, host(name, address) may make the kernel's hosts.
    """
    world = world or World(seed=seed, record=False)
    make = host or functools.partial(world.host, sysctl={"net.ipv4.tcp_ecn": 1 if mark else 2})
    router = world.router("r")
    receiver = make("receiver", "10.9.0.2/24")
    bottleneck = world.link(router, receiver, rate=rate, queue=queue)
    if mark:
        bottleneck.mark(above=mark, sender="r")
    reader = receiver.process("reader")
    listener = reader.socket(socket.AF_INET, socket.SOCK_STREAM)
    reader.bind(listener, ("0.0.0.0", 80))
    reader.listen(listener, 8)
    flows = []
    for number, algorithm in enumerate(algorithms):
        sender = make(f"sender{number}", f"10.{number}.0.1/24")
        world.link(sender, router, delay=(rtts[number] if rtts else 40) * MSEC // 2)
        process = sender.process("writer")
        fd = process.socket(socket.AF_INET, socket.SOCK_STREAM)
        process.setsockopt(fd, socket.IPPROTO_TCP, TCP_CONGESTION, algorithm.encode())
        process.set_nonblocking(fd)
        flows.append((process, fd))
    reader.set_nonblocking(listener)
    started, taken = 0, list[int]()
    got = list[int]()
    end = seconds * SEC
    counted = False
    while world.now < end:
        if started < len(flows) and world.now >= started * late * SEC:
            process, fd = flows[started]
            try:
                process.connect(fd, ("10.9.0.2", 80))
            except BlockingIOError:
                pass
            started += 1
        for process, fd in flows[:started]:
            try:
                while process.send(fd, BLOCK):
                    pass
            except OSError:
                pass
        try:
            while True:
                taken.append(reader.accept(listener)[0])
                reader.set_nonblocking(taken[-1])
                got.append(0)
        except BlockingIOError:
            pass
        if not counted and world.now >= skip * SEC:
            counted = True
            got = [0] * len(got)
        for number, fd in enumerate(taken):
            try:
                while data := reader.recv(fd, 1 << 20):
                    got[number] += len(data)
            except BlockingIOError:
                pass
        world.run(STEP)
    return [octets * 8 / (seconds - skip) for octets in got]


def jain(shares: list[float]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all."""
    total = sum(each * each for each in shares)
    return sum(shares) ** 2 / (len(shares) * total) if total else 0.0
