"""Kernel to kernel across two TUNs and a link of ours."""

import errno
import os
import socket
import struct
import sys
import threading

import pytest

from timewait.base.errors import UsageError
from timewait.base.rng import Streams
from timewait.tcp.reasons import Drop
from timewait.tcp.states import State
from timewait.tcp.tap import Tap
from timewait.wire.packet import Packet, Segment
from timewait.world.clock import RealClock, VirtualClock
from timewait.world.kernel import KernelHost
from timewait.world.link import Link
from timewait.world.netns import NamespaceError
from timewait.world.pipe import Port


class Pump:
    """Carries packets between two ports at once, except for those that `lose` picks."""

    def __init__(self, sink: Port) -> None:
        self.sink = sink
        self.in_flight = 0
        self.seen: list[Segment] = []
        self.lost = 0
        self.lose = -1
        """The number of the data segment to drop, counted from 0."""

    def send(self, packet: Packet) -> None:
        if isinstance(packet, Segment) and packet.length:
            self.seen.append(packet)
            if len(self.seen) - 1 == self.lose:
                self.lost += 1
                return
        self.sink.deliver(packet)

    def send_bytes(self, data: bytes) -> None:
        self.sink.deliver_bytes(data)


class Calls(Tap):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent_by: dict[str, int] = {}
        self.drops: list[Drop] = []

    def called(self, host: str, process: str, call: str, result: str, now: int) -> None:
        self.calls.append(f"{process}: {call} = {result}")

    def sent(self, host: str, packet: Packet, now: int) -> None:
        self.sent_by[host] = self.sent_by.get(host, 0) + 1

    def dropped(self, where: str, packet: Packet | None, drop: Drop, now: int) -> None:
        self.drops.append(drop)


def pair(clock: RealClock, *, offload: bool, tap: Tap | None = None) -> tuple[KernelHost, KernelHost]:
    a = KernelHost("a", clock, "10.7.0.1/24", "fd07::1/64", offload=offload, tap=tap)
    b = KernelHost("b", clock, "10.7.0.2/24", "fd07::2/64", offload=offload, tap=tap)
    return a, b


def join(a: KernelHost, b: KernelHost) -> Pump:
    there = Pump(b)
    a.connect(there)  # type: ignore[arg-type]
    b.connect(Pump(a))  # type: ignore[arg-type]
    return there


def established(a: KernelHost, b: KernelHost, address: str = "10.7.0.2") -> tuple[int, int, int]:
    """Descriptors: a's client, b's listener and b's connection, each in a process called 'app'."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client, server = a.process(), b.process()
    listener = server.socket(family)
    server.bind(listener, (address, 80))
    server.listen(listener, 5)
    fd = client.socket(family)
    with pytest.raises(BlockingIOError) as caught:
        client.connect(fd, (address, 80))
    assert caught.value.errno == errno.EINPROGRESS
    assert b.wait(lambda: server.poll([(listener, 1)]))
    new, peer = server.accept(listener)
    assert peer[0] == a.namespace.call(client.getsockname, fd)[0]
    return fd, listener, new


@pytest.mark.parametrize("address", ["10.7.0.2", "fd07::2"])
@pytest.mark.parametrize("offload", [False, True])
def test_data_arrives_although_one_packet_is_dropped(clock: RealClock, address: str, offload: bool) -> None:
    a, b = pair(clock, offload=offload)
    with a, b:
        pump = join(a, b)
        pump.lose = 3
        fd, _, new = established(a, b, address)
        client, server = a.processes[0], b.processes[0]
        message = bytes(range(256)) * 400
        sent, got = 0, bytearray()

        def step() -> bool:
            nonlocal sent
            if sent < len(message) and client.poll([(fd, 4)]):
                sent += client.send(fd, message[sent:])
            while server.poll([(new, 1)]):
                got.extend(server.recv(new, 65536))
            return len(got) == len(message)

        assert a.wait(step)
        assert bytes(got) == message
        assert pump.lost == (1 if len(pump.seen) > 3 else 0)
        if not offload:
            assert max(s.length for s in pump.seen) <= 1460
            assert a.counters()["TcpRetransSegs"] >= 1


def test_states_timers_and_the_end(clock: RealClock) -> None:
    tap = Calls()
    a, b = pair(clock, offload=False, tap=tap)
    with a, b:
        join(a, b)
        fd, listener, new = established(a, b)
        client, server = a.processes[0], b.processes[0]
        assert [s.state for s in a.states()] == [State.ESTABLISHED]
        assert {s.state for s in b.states()} == {State.LISTEN, State.ESTABLISHED}
        client.close(fd)
        assert a.wait(lambda: server.poll([(new, 1)]))
        assert server.recv(new, 10) == b""
        server.close(new)
        assert a.wait(lambda: [s.state for s in a.states()] == [State.TIME_WAIT], 5)
        last = a.states()[0]
        assert last.timer == "time_wait" and 50e9 < last.expires <= 60e9
        server.close(listener)
        assert "app: connect(3, 10.7.0.2:80) = EINPROGRESS" in tap.calls
        with pytest.raises(OSError, match="descriptor 3") as caught:
            client.recv(fd, 1)
        assert caught.value.errno == errno.EBADF
        assert a.wait(lambda: tap.sent_by["a"] >= 4)  # the last ACK may still be in the TUN


def test_half_open_connections_are_seen_while_the_syn_ack_is_lost(clock: RealClock) -> None:
    a, b = pair(clock, offload=False)
    with a, b:
        there = Pump(b)
        a.connect(there)  # type: ignore[arg-type]
        back = Pump(a)
        back.send = lambda packet: None  # type: ignore[method-assign]
        b.connect(back)  # type: ignore[arg-type]
        server, client = b.process(), a.process()
        listener = server.socket()
        server.bind(listener, ("10.7.0.2", 80))
        server.listen(listener, 5)
        fd = client.socket()
        with pytest.raises(BlockingIOError):
            client.connect(fd, ("10.7.0.2", 80))
        assert b.wait(lambda: State.SYN_RCVD in {s.state for s in b.states()})
        half = next(s for s in b.states() if s.state is State.SYN_RCVD)
        assert half.timer == "retransmit"
        assert a.states()[0].state is State.SYN_SENT


def test_power_off_is_silence_both_ways(clock: RealClock) -> None:
    tap = Calls()
    a, b = pair(clock, offload=False, tap=tap)
    with a, b:
        join(a, b)
        fd, _, new = established(a, b)
        client, server = a.processes[0], b.processes[0]
        b.power_off()
        client.send(fd, b"anybody?")
        assert not b.wait(lambda: server.poll([(new, 1)]), 0.3)
        assert Drop.HOST_DOWN in tap.drops
        b.power_on()
        assert b.wait(lambda: server.poll([(new, 1)]))
        assert server.recv(new, 100) == b"anybody?"


def test_a_kernel_that_forgets_answers_with_a_reset(clock: RealClock) -> None:
    tap = Calls()
    a, b = pair(clock, offload=False, tap=tap)
    with a, b:
        join(a, b)
        fd, _, _ = established(a, b)
        client, listening = a.processes[0], b.processes[0]
        waiting = client.socket()
        with pytest.raises(BlockingIOError):
            client.connect(waiting, ("10.7.0.2", 80))
        assert b.wait(lambda: any(s.receive_queue for s in b.states() if s.state is State.LISTEN))
        with pytest.raises(UsageError, match="power_off"):
            b.forget()
        b.power_off()
        b.forget()
        assert not listening.alive
        assert b.states() == []
        b.power_on()
        # Nobody was told, neither the accepted connection nor the one that waited.
        assert not a.wait(lambda: client.poll([(fd, 1), (waiting, 1)]), 0.3)
        client.send(fd, b"anybody?")
        assert a.wait(lambda: client.poll([(fd, 1)]))
        with pytest.raises(ConnectionResetError):
            client.recv(fd, 1)


def test_kill_fork_dup_and_epoll(clock: RealClock) -> None:
    a, b = pair(clock, offload=False)
    with a, b:
        join(a, b)
        fd, _, new = established(a, b)
        client, server = a.processes[0], b.processes[0]
        child = server.fork("worker")
        server.kill()
        client.send(fd, b"for the child")
        events = child.epoll_create()
        child.epoll_ctl(events, 1, new, 1)
        assert b.wait(lambda: child.epoll_wait(events))
        assert child.epoll_wait(events) == [(new, 1)]
        assert child.recv(new, 100) == b"for the child"
        other = child.dup(new)
        child.close(new)
        child.send(other, b"still here")
        assert a.wait(lambda: client.poll([(fd, 1)]))
        assert client.recv(fd, 100) == b"still here"
        child.kill()
        assert a.wait(lambda: client.poll([(fd, 1)]))
        assert client.recv(fd, 100) == b""


def test_a_program_inside_talks_across_our_link(clock: RealClock) -> None:
    """A real Link with 20 ms of delay, and a real server and client program."""
    a, b = pair(clock, offload=True)
    with a, b:
        link = Link("cable", clock, a, b, Streams(1))
        link.slow(10_000_000)
        serve = "import socket; l = socket.create_server(('10.7.0.2', 80)); c, _ = l.accept(); c.sendall(b'x' * 100000)"
        fetch = "import socket; c = socket.create_connection(('10.7.0.2', 80)); print(len(c.makefile('rb').read()))"
        b.start([sys.executable, "-c", serve])
        # Nothing on the wire tells that a program listens, so the kernel is asked every 10 ms.
        while not b.states():
            clock.run_until(clock.now() + 10_000_000)
        before = clock.now()
        result = a.run([sys.executable, "-c", fetch], timeout=10 * 10**9)
        assert result.stdout.strip() == "100000", result.stderr
        assert clock.now() - before >= 40_000_000


def test_a_host_that_cannot_be_made_leaves_nothing(clock: RealClock) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    with pytest.raises(NamespaceError, match="fd07::1"):
        KernelHost("a", clock, "fd07::1/64", mtu=1000)  # below IPv6's least MTU
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    with pytest.raises(UsageError, match="real time"):
        KernelHost("a", VirtualClock(), "10.7.0.1/24")


def test_sysctls_and_queues(clock: RealClock) -> None:
    a, b = pair(clock, offload=False)
    with a, b:
        join(a, b)
        a.set_sysctl("net.ipv4.tcp_timestamps", 0)
        assert (a.get_sysctl("net.ipv4.tcp_timestamps"), b.get_sysctl("net.ipv4.tcp_timestamps")) == ("0", "1")
        fd, _, new = established(a, b)
        client, server = a.processes[0], b.processes[0]
        client.send(fd, b"12345")
        assert b.wait(lambda: server.inq(new) == 5)
        assert a.wait(lambda: client.outq(fd) == 0)
        assert server.recv(new, 100) == b"12345"
        client.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close(fd)
        assert b.wait(lambda: server.poll([(new, 1)]))
        with pytest.raises(ConnectionResetError):
            server.recv(new, 100)
        assert a.counters()["TcpOutRsts"] == 1
