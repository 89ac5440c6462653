"""Accurate ECN between our stack and the kernel's.

Linux 6.18 does not ask for it (quirks.md: ECN-1), but takes it when the answer is one. A box between both sets AE
on the kernel's SYN, so that ours answers accurately; the box then marks data at random.
"""

import random
import socket
import struct

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.wire.address import pack
from timewait.wire.packet import AE, CWR, SYN, Segment
from timewait.wire.parse import parse
from timewait.world.kernel import KernelHost
from timewait.world.netns import probe
from timewait.world.network import World
from timewait.world.pipe import Port

KERNEL, OURS = "10.0.0.1", "10.0.0.2"
SIZE = 200_000


class Side(Port):
    """One end of the box."""

    def __init__(self, box, name, behind):
        super().__init__(name)
        self.box, self.behind, self.other = box, behind, None

    def prefixes(self):
        return [(pack(self.behind), 32)]

    def deliver(self, packet):
        if self.box.loses(packet):
            return
        changed = self.box.passes(packet)
        pipe = self.other.pipe
        assert pipe is not None
        pipe.send(changed)

    def deliver_bytes(self, data):
        self.deliver(parse(data))


class Box:
    """Between a kernel and a host of ours, on the same network as far as both know."""

    def __init__(self, *, ask=False, mark=0.0, loss=0.0, seed=1):
        self.world = World(clock="real")
        self.kernel = KernelHost("kernel", self.world.clock, f"{KERNEL}/24")
        self.ours = self.world.host("ours", f"{OURS}/24")
        left, right = Side(self, "left", OURS), Side(self, "right", KERNEL)
        left.other, right.other = right, left
        self.world.link(self.kernel, left)
        self.world.link(self.ours, right)
        self.ask, self.mark, self.loss, self.random = ask, mark, loss, random.Random(seed)
        self.marked = {KERNEL: 0, OURS: 0}

    def loses(self, packet):
        """The handshake is spared."""
        return isinstance(packet, Segment) and not packet.flags & SYN and self.random.random() < self.loss

    def passes(self, packet):
        if not isinstance(packet, Segment):
            return packet
        packet = packet.copy()
        if self.ask and packet.flags & SYN and packet.flags & CWR and packet.src == pack(KERNEL):
            packet.flags |= AE
        elif packet.length and packet.tos & 3 and self.random.random() < self.mark:
            packet.tos |= 3
            self.marked[KERNEL if packet.src == pack(KERNEL) else OURS] += 1
        return packet

    def close(self):
        self.kernel.close()
        self.world.clock.close()

    def connect(self, client, server):
        """A connection between programs of two hosts: ((program, fd), (program, fd))."""
        into = server.process("server")
        door = into.socket(socket.AF_INET, socket.SOCK_STREAM)
        into.setsockopt(door, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        into.bind(door, ("0.0.0.0", 80))
        into.listen(door, 8)
        out = client.process("client")
        fd = out.socket(socket.AF_INET, socket.SOCK_STREAM)
        with pytest.raises(BlockingIOError):
            out.connect(fd, (KERNEL if server is self.kernel else OURS, 80))
        accepted = self.until(lambda: self.attempt(into.accept, door))
        return (out, fd), (into, accepted[0])

    def attempt(self, call, *arguments):
        try:
            return call(*arguments)
        except BlockingIOError:
            return None

    def until(self, condition, timeout=20 * SEC):
        deadline = self.world.now + timeout
        while self.world.now < deadline:
            found = condition()
            if found:
                return found
            self.world.run(2 * MSEC)
        raise AssertionError("it did not come about in time")


@pytest.fixture
def boxes():
    missing = probe()
    if missing:
        pytest.skip(f"live test: {missing}")
    made = []

    def make(**given):
        made.append(Box(**given))
        return made[-1]

    yield make
    for box in made:
        box.close()


def figures(end):
    program, fd = end
    raw = program.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 280)
    received_ce, _, told, told_ce, _, came, came_ce = struct.unpack_from("<7I", raw, 248)
    delivered_ce = struct.unpack_from("<I", raw, 196)[0]
    failures, seen = struct.unpack_from("<HH", raw, 276)
    return {
        "delivered": (delivered_ce, told, told_ce),
        "received": (received_ce, came, came_ce),
        "seen": (failures, seen),
    }


def send(box, source, target):
    """A file one way."""
    left, came = SIZE, 0
    deadline = box.world.now + 30 * SEC
    while came < SIZE and box.world.now < deadline:
        if left:
            left -= box.attempt(source[0].send, source[1], bytes(left)) or 0
        came += len(box.attempt(target[0].recv, target[1], SIZE) or b"")
        box.world.run(2 * MSEC)
    assert came == SIZE


@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_both_stacks_count_the_same(boxes, loss):
    box = boxes(ask=True, mark=0.1, loss=loss)
    box.kernel.set_sysctl("net.ipv4.tcp_ecn", 1)
    box.kernel.set_sysctl("net.ipv4.tcp_congestion_control", "reno")
    box.ours.sysctl["net.ipv4.tcp_ecn"] = 3
    kernel, ours = box.connect(box.kernel, box.ours)
    send(box, kernel, ours)
    send(box, ours, kernel)
    box.world.run(SEC)
    there, here = figures(kernel), figures(ours)
    assert there["seen"] == here["seen"] == (0, 2)
    assert here["received"][0] == box.marked[KERNEL] > 0
    assert there["received"][0] == box.marked[OURS] > 0
    assert there["delivered"] == here["received"]
    assert here["delivered"] == there["received"]
    assert sum(here["received"][1:]) >= SIZE <= sum(there["received"][1:])


@pytest.mark.parametrize("kernel_mode", [0, 1, 2])
@pytest.mark.parametrize("our_mode", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel_connects", [False, True])
def test_either_falls_back_to_what_the_other_knows(boxes, kernel_connects, our_mode, kernel_mode):
    box = boxes()
    box.kernel.set_sysctl("net.ipv4.tcp_ecn", kernel_mode)
    box.ours.sysctl["net.ipv4.tcp_ecn"] = our_mode
    ends = box.connect(box.kernel, box.ours) if kernel_connects else box.connect(box.ours, box.kernel)
    for program, fd in ends:
        program.send(fd, b"x" * 100)
    box.world.run(20 * MSEC)
    asks = kernel_mode == 1 if kernel_connects else our_mode in (1, 3, 4)
    agrees = our_mode > 0 if kernel_connects else kernel_mode > 0
    for program, fd in ends:
        options = program.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 280)[5]
        assert options & 24 == (24 if asks and agrees else 0)
        assert box.until(lambda program=program, fd=fd: box.attempt(program.recv, fd, 1000)) == b"x" * 100
