"""What a connection that does nothing costs: resident octets per idle connection, TIME-WAIT record and SYN-queue entry.

Resident memory is what counts in the end: it holds dicts, heaps and the allocator's
slack as well as the objects. Each figure is the growth over many, after a smaller
number has warmed the allocator up.
"""

import gc
import os
import socket
from collections.abc import Callable
from typing import Final

from timewait.base.instant import SEC, ManualClock
from timewait.bench.simulated import DELAY, PORT, SERVER, connect, listen
from timewait.host.file import EPOLLRDHUP, File, Watcher
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_TCP, SYN, Packet, Segment, make_flow
from timewait.world.network import World

HELD: Final = 50_000
"""Pairs of idle connections: a hundred thousand ends."""
RECORDS: Final = 1_000_000
HALF_OPEN: Final = 100_000
WARM: Final = 2_000
STEP: Final = 500
"""Connections that are opened and closed at a time where only what they leave behind counts."""
ADDRESSES: Final = 20
"""Addresses of a client that makes a million connections to one port: each has fewer than 65,536 ports."""


def roomy_hosts(*addresses: str) -> tuple[World, Host, Host]:
    """A client with many addresses and ports, and a server with room for many records."""
    world = World(seed=1, record=False)
    client = world.host("client", "10.0.0.1/16", *addresses)
    server = world.host("server", "10.0.0.2/16")
    world.link(client, server, delay=DELAY)
    for host in (client, server):
        host.sysctl["net.ipv4.ip_local_port_range"] = (1024, 65535)
        host.sysctl["net.ipv4.tcp_max_tw_buckets"] = 2 * RECORDS
    return world, client, server


def resident() -> int:
    """Octets of this process in memory, garbage collected."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def growth(add: Callable[[int], None], many: int) -> float:
    """Octets that each of `many` costs, when `add(n)` makes n more."""
    add(WARM)
    before = resident()
    add(many)
    return (resident() - before) / many


class Accepting(Watcher):
    """Accepts, and leaves each connection to a watcher if one is given."""

    def __init__(self, process: Process, port: int, then: Callable[[Process, int], Watcher] | None = None) -> None:
        self.process, self.then = process, then
        self.fd = listen(process, port=port)
        process.file(self.fd).watch(self)

    def notify(self, file: File, mask: int) -> None:
        # Each connection is announced, so each time one is accepted.
        fd, _ = self.process.accept(self.fd)
        if self.then is not None:
            self.then(self.process, fd)


def idle(_: float = 0, many: int = HELD) -> dict[str, float]:
    """An established connection that has carried nothing, with its socket and descriptor: half of a pair's cost."""
    crowd = Crowd(many + WARM)
    each = growth(crowd.add, many) / 2
    assert len(crowd.client.tcp.endpoints) == len(crowd.server.tcp.endpoints) == many + WARM
    return {"octets": each}


def million(_: float = 0, many: int = 1_000_000) -> dict[str, float]:
    """What a process takes that holds so many connections, both ends of each."""
    crowd = Crowd(many)
    crowd.add(many)
    assert len(crowd.client.tcp.endpoints) == len(crowd.server.tcp.endpoints) == many
    return {"gib": resident() / (1 << 30)}


class Crowd:
    """Two hosts between which idle connections are made."""

    def __init__(self, most: int) -> None:
        self.world, self.client, self.server = roomy_hosts()
        self.visitors, answerers = self.client.process("visitors"), self.server.process("answerers")
        self.visitors.nofile = answerers.nofile = 1 << 21
        # Each port of the server has fewer connections than there are ephemeral ports that connect() tries first.
        self.ports = [PORT + n for n in range(most // 25_000 + 1)]
        for port in self.ports:
            Accepting(answerers, port)

    def add(self, count: int) -> None:
        """So many more connections, a step at a time."""
        for _ in range(count // STEP):
            for number in range(STEP):
                connect(self.visitors, (SERVER[0], self.ports[number % len(self.ports)]))
            self.world.run(4 * DELAY)


def time_wait(_: float = 0, many: int = RECORDS) -> dict[str, float]:
    """A server's TIME-WAIT record: it closes first, as servers that end idle connections do."""
    addresses = [f"10.0.1.{n}" for n in range(1, ADDRESSES + 1)]
    world, client, server = roomy_hosts(*(f"{address}/16" for address in addresses))
    visitors, answerers = client.process("visitors"), server.process("answerers")
    visitors.nofile = answerers.nofile = 4 * STEP
    Accepting(answerers, PORT, Leaving)
    number = 0

    def add(count: int) -> None:
        nonlocal number
        for _ in range(count // STEP):
            for _ in range(STEP):
                fd = visitors.socket(socket.AF_INET, socket.SOCK_STREAM)
                visitors.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                visitors.bind(fd, (addresses[number % ADDRESSES], 1024 + number // ADDRESSES))
                number += 1
                visitors.file(fd).watch(Following(visitors, fd))
                try:
                    visitors.connect(fd, SERVER)
                except BlockingIOError:
                    pass
            world.run(6 * DELAY)

    each = growth(add, many)
    assert server.tcp.time_waits == many + WARM and not client.tcp.endpoints
    return {"octets": each}


class Leaving(Watcher):
    """A server's side that closes as soon as it is told of the connection."""

    def __init__(self, process: Process, fd: int) -> None:
        process.close(fd)

    def notify(self, file: File, mask: int) -> None:
        """Nothing is left to hear of."""


class Following(Watcher):
    """A client that closes when the server has."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd = process, fd

    def notify(self, file: File, mask: int) -> None:
        if mask & EPOLLRDHUP:
            self.process.close(self.fd)


def syn_queue(_: float = 0, many: int = HALF_OPEN) -> dict[str, float]:
    """A half-open connection in a listener's SYN queue: the SYNs come from nowhere and nobody answers."""
    host = Host("server", ManualClock(SEC))
    iface = host.add_interface("eth0", "10.0.0.2/8")
    iface.transmit = _nowhere
    for name, value in (("net.core.somaxconn", 1 << 20), ("net.ipv4.tcp_max_syn_backlog", 1 << 20)):
        host.sysctl[name] = value
    process = host.process("server")
    fd = process.socket(socket.AF_INET, socket.SOCK_STREAM)
    process.bind(fd, SERVER)
    process.listen(fd, 1 << 20)
    target = pack(SERVER[0])
    number = 0

    def add(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            host.receive(_syn(number, target), iface)

    each = growth(add, many)
    assert len(host.tcp.endpoints) == many + WARM
    return {"octets": each}


def _syn(number: int, target: bytes) -> Segment:
    seg = Segment()
    seg.src, seg.dst, seg.proto = bytes((10, 1, number >> 8 & 255, number & 255)), target, PROTO_TCP
    seg.sport, seg.dport, seg.seq, seg.flags, seg.window = 1024 + (number >> 16), SERVER[1], number, SYN, 65535
    seg.mss, seg.sack_permitted, seg.has_ts, seg.tsval, seg.wscale = 1460, True, True, number, 7
    seg.flow = make_flow(seg.src, seg.dst, seg.sport, seg.dport)
    return seg


def _nowhere(_: Packet) -> None:
    """Where SYN-ACKs go."""
