"""Two simulated hosts as fast as they go: segments per second and whole connection lives per second.

Nobody records; programs are watchers that make their calls when they are told that
something is ready, so that what is measured is the stack, its clock and its link.
"""

import gc
import socket
import time
from typing import Final

from timewait.base.instant import MSEC
from timewait.bench import nspy
from timewait.host.file import EPOLLIN, EPOLLOUT, EPOLLRDHUP, File, Watcher
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.host.tcp_socket import TcpSocket
from timewait.world.network import World

PORT: Final = 80
SERVER: Final = ("10.0.0.2", PORT)
BLOCK: Final = bytes(1 << 16)
MESSAGE: Final = bytes(1024)
BATCH: Final = 1000
"""Connection lives that begin at the same instant."""
DELAY: Final = MSEC


def two_hosts(delay: int = DELAY) -> tuple[World, Host, Host]:
    """A client and a server on a link with so many ns of delay, and nobody recording."""
    world = World(seed=1, record=False)
    client, server = world.host("client", "10.0.0.1/24"), world.host("server", "10.0.0.2/24")
    world.link(client, server, delay=delay)
    return world, client, server


def listen(process: Process, backlog: int = 4096, port: int = PORT) -> int:
    """A listening socket's descriptor."""
    fd = process.socket(socket.AF_INET, socket.SOCK_STREAM)
    process.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    process.bind(fd, ("0.0.0.0", port))
    process.listen(fd, backlog)
    return fd


def connect(process: Process, server: tuple[str, int] = SERVER) -> int:
    """A socket whose SYN is on the way."""
    fd = process.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        process.connect(fd, server)
    except BlockingIOError:
        pass
    return fd


class Source(Watcher):
    """Keeps a send buffer full."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd = process, fd

    def notify(self, file: File, mask: int) -> None:
        if not mask & EPOLLOUT:
            return
        send, fd = self.process.send, self.fd
        try:
            while True:
                send(fd, BLOCK)
        except BlockingIOError:
            pass


class Drain(Watcher):
    """Takes whatever arrives."""

    def __init__(self, process: Process, fd: int) -> None:
        file = process.file(fd)
        assert isinstance(file, TcpSocket) and file.tcb is not None
        self.take, self.tcb = file.recv_views, file.tcb
        file.watch(self)

    def notify(self, file: File, mask: int) -> None:
        self.take()

    @property
    def octets(self) -> int:
        """What has been taken so far."""
        return int(self.tcb.bytes_received - self.tcb.rcv_queued)


def segments(seconds: float) -> dict[str, float]:
    """A bulk transfer for so many seconds of processor time: segments of both directions per second."""
    world, client, server = two_hosts()
    sender, receiver = client.process("source"), server.process("drain")
    listener = listen(receiver)
    fd = connect(sender)
    world.run(4 * DELAY)
    accepted, _ = receiver.accept(listener)
    drain, source = Drain(receiver, accepted), Source(sender, fd)
    sender.file(fd).watch(source)
    source.notify(sender.file(fd), EPOLLOUT)
    return _busy(world, client, server, drain, seconds)


def _busy(world: World, client: Host, server: Host, drain: Drain, seconds: float) -> dict[str, float]:
    # Slow start is over, and the buffers have found their size.
    world.run(100 * DELAY)
    sent, octets = _segments(client, server), drain.octets
    began = time.process_time()
    while (elapsed := time.process_time() - began) < seconds:
        world.run(DELAY)
    assert client.counters.TcpRetransSegs == 0, "nothing is lost on this link"
    return {
        "segments_per_s": (_segments(client, server) - sent) / elapsed,
        "gbit_per_s": (drain.octets - octets) * 8 / elapsed / 1e9,
    }


def dumbbell(seconds: float) -> dict[str, float]:
    """One flow through the bottleneck of `nspy.dumbbell`, in segments of the same size: both directions per second."""
    world = World(seed=1, record=False)
    client, server = world.host("client", "10.0.0.1/24"), world.host("server", "10.0.0.2/24")
    world.link(client, server, delay=10 * MSEC, rate=nspy.RATE, queue=nspy.QUEUE, mtu=40 + 12 + 512)
    client.sysctl["net.ipv4.tcp_congestion_control"] = "reno"
    sender, receiver = client.process("source"), server.process("drain")
    listener = listen(receiver)
    fd = connect(sender)
    world.run(50 * MSEC)
    accepted, _ = receiver.accept(listener)
    Drain(receiver, accepted)
    source = Source(sender, fd)
    sender.file(fd).watch(source)
    source.notify(sender.file(fd), EPOLLOUT)
    world.run(950 * MSEC)
    sent = _segments(client, server)
    began = time.process_time()
    while (elapsed := time.process_time() - began) < seconds:
        world.run(100 * MSEC)
    return {"segments_per_s": (_segments(client, server) - sent) / elapsed}


def crowd(seconds: float, others: int) -> dict[str, float]:
    """`segments` beside so many connections that do nothing."""
    world, client, server = two_hosts()
    idlers, holders = client.process("idlers"), server.process("holders")
    idlers.nofile = holders.nofile = 1 << 20
    ports = range(PORT, PORT + 20)
    listeners = [listen(holders, port=port) for port in ports]
    for first in range(0, others, BATCH):
        for number in range(first, min(first + BATCH, others)):
            connect(idlers, (SERVER[0], ports[number % len(ports)]))
        world.run(4 * DELAY)
        for listener in listeners:
            _accept_all(holders, listener)
    assert len(holders.files) == others + len(ports)
    sender = client.process("source")
    fd = connect(sender)
    world.run(4 * DELAY)
    drain, source = Drain(holders, _accept_all(holders, listeners[0])), Source(sender, fd)
    sender.file(fd).watch(source)
    source.notify(sender.file(fd), EPOLLOUT)
    return _busy(world, client, server, drain, seconds)


def _accept_all(process: Process, listener: int) -> int:
    """Take every waiting connection; the descriptor of the last."""
    last = -1
    try:
        while True:
            last, _ = process.accept(listener)
    except BlockingIOError:
        return last


def _segments(client: Host, server: Host) -> int:
    return int(client.counters.TcpOutSegs + server.counters.TcpOutSegs)


class Visitor(Watcher):
    """A client: sends a request, takes the answer, closes at its end."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.fd = connect(process)
        self.asked = False
        self.file = process.file(self.fd)
        self.file.watch(self)

    def notify(self, file: File, mask: int) -> None:
        process, fd = self.process, self.fd
        if not self.asked and mask & EPOLLOUT:
            self.asked = True
            process.send(fd, MESSAGE)
        elif mask & EPOLLIN:
            assert len(process.recv(fd, 4096)) == len(MESSAGE)
            process.close(fd)


class Answerer(Watcher):
    """The server's side of one connection: a request, an answer, and close after the client's."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process, self.fd = process, fd

    def notify(self, file: File, mask: int) -> None:
        process, fd = self.process, self.fd
        if mask & EPOLLRDHUP:
            process.close(fd)
        elif mask & EPOLLIN:
            process.send(fd, process.recv(fd, 4096))


class Doorman(Watcher):
    """Accepts for a server."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.fd = listen(process)
        process.file(self.fd).watch(self)

    def notify(self, file: File, mask: int) -> None:
        # Each connection is announced, so each time one is accepted.
        fd, _ = self.process.accept(self.fd)
        self.process.file(fd).watch(Answerer(self.process, fd))


def lifecycles(seconds: float) -> dict[str, float]:
    """Whole lives for so many seconds: connect, 1 KB each way, close, and every TIME-WAIT to its end."""
    world, client, server = two_hosts()
    visitors, answerers = client.process("visitors"), server.process("answerers")
    visitors.nofile = answerers.nofile = 4 * BATCH
    Doorman(answerers)
    _batch(world, visitors)
    done = 0
    began = time.process_time()
    while (elapsed := time.process_time() - began) < seconds:
        _batch(world, visitors)
        done += BATCH
    for host in (client, server):
        assert not host.tcp.endpoints, "every connection has ended"
        assert host.counters.TcpRetransSegs == 0 and host.counters.TcpOutRsts == 0
    return {"lifecycles_per_s": done / elapsed}


def _batch(world: World, visitors: Process) -> None:
    for _ in range(BATCH):
        Visitor(visitors)
    # Without a duration a world runs until nothing is left to happen: the last TIME-WAIT included.
    world.run()
    assert not visitors.files, "every visitor was answered"


def quiet() -> None:
    """No collection of reference cycles during a measurement (as timeit does): the stack frees what it made without."""
    gc.collect()
    gc.disable()
