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
from timewait.bench.simulated import DELAY, SERVER, Doorman, Visitor, connect, two_hosts
from timewait.host.file import File, Watcher
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_TCP, SYN, Packet, Segment, make_flow
from timewait.world.network import World

MANY: Final = 20_000
WARM: Final = 2_000
STEP: Final = 500
"""Connections that are opened and closed at a time where only what they leave behind counts."""


def roomy_hosts() -> tuple[World, Host, Host]:
    """The two hosts, with so many ephemeral ports that finding one is no search."""
    world, client, server = two_hosts()
    client.sysctl["net.ipv4.ip_local_port_range"] = (1024, 65535)
    return world, client, server


def resident() -> int:
    """Octets of this process in memory, garbage collected."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def growth(add: Callable[[int], None]) -> float:
    """Octets that each of MANY costs, when `add(n)` makes n more."""
    add(WARM)
    before = resident()
    add(MANY)
    return (resident() - before) / MANY


class Accepting(Watcher):
    """Accepts and does nothing more."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.listener = Doorman(process)
        process.file(self.listener.fd).unwatch(self.listener)
        process.file(self.listener.fd).watch(self)

    def notify(self, file: File, mask: int) -> None:
        self.process.accept(self.listener.fd)


def idle(_: float = 0) -> dict[str, float]:
    """An established connection that has carried nothing, with its socket and descriptor: half of a pair's cost."""
    world, client, server = roomy_hosts()
    visitors, answerers = client.process("visitors"), server.process("answerers")
    visitors.nofile = answerers.nofile = 1 << 20
    Accepting(answerers)

    def add(count: int) -> None:
        for _ in range(count // STEP):
            for _ in range(STEP):
                connect(visitors)
            world.run(4 * DELAY)

    each = growth(add) / 2
    assert len(client.tcp.endpoints) == len(server.tcp.endpoints) == MANY + WARM
    return {"octets": each}


def time_wait(_: float = 0) -> dict[str, float]:
    """A TIME-WAIT record, its port and its timer included."""
    world, client, server = roomy_hosts()
    visitors, answerers = client.process("visitors"), server.process("answerers")
    visitors.nofile = answerers.nofile = 4 * STEP
    Doorman(answerers)

    def add(count: int) -> None:
        for _ in range(count // STEP):
            for _ in range(STEP):
                Visitor(visitors)
            # Long enough for SYN and FIN timers to come up and be gone, and a small part of a TIME-WAIT.
            world.run(SEC + SEC // 10)

    return {"octets": growth(add)}


def syn_queue(_: float = 0) -> dict[str, float]:
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

    each = growth(add)
    assert len(host.tcp.endpoints) == MANY + WARM
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
