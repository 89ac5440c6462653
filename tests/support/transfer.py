"""A bulk transfer over one simulated link, and what came through."""

import socket
from types import SimpleNamespace

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.world.network import World

MBIT = 10**6
SO_MAX_PACING_RATE = 47


def transfer(algorithm, *, rate=10 * MBIT, delay=10 * MSEC, queue=100, loss=0.0, seconds=4, pacing=0, above=0, seed=1):
    """A program that sends without end for so many seconds: its goodput in bit/s and its connection."""
    world = World(seed=seed)
    a = world.host("a", "10.0.0.1/24", sysctl={"net.ipv4.tcp_congestion_control": algorithm, "net.ipv4.tcp_ecn": 1})
    b = world.host("b", "10.0.0.2/24")
    link = world.link(a, b)
    link.configure(delay=delay, rate=rate, queue=queue)
    link.lossy(loss, sender="a")
    if above:
        link.mark(above=above, sender="a")
    sender, receiver = a.process("sender"), b.process("receiver")
    listener = receiver.socket(socket.AF_INET, socket.SOCK_STREAM)
    receiver.bind(listener, ("0.0.0.0", 80))
    receiver.listen(listener, 1)
    out = sender.socket(socket.AF_INET, socket.SOCK_STREAM)
    if pacing:
        sender.setsockopt(out, socket.SOL_SOCKET, SO_MAX_PACING_RATE, pacing)
    with pytest.raises(BlockingIOError):
        sender.connect(out, ("10.0.0.2", 80))
    world.run(3 * delay + MSEC)
    into = receiver.accept(listener)[0]
    got, end, start = 0, world.now + seconds * SEC, world.now
    block = bytes(65536)
    while world.now < end:
        try:
            while sender.send(out, block):
                pass
        except BlockingIOError:
            pass
        world.run(5 * MSEC)
        try:
            while data := receiver.recv(into, 1 << 20):
                got += len(data)
        except BlockingIOError:
            pass
    t = next(t for t in a.tcp.endpoints.values() if t.lport != 80)
    return SimpleNamespace(goodput=got * 8 * SEC / (world.now - start), tcb=t)
