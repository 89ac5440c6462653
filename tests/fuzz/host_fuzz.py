"""Mutated packets for a whole host: nothing raises, nothing is left inconsistent, every discard has a reason.

A target host with listeners, half-open and established connections, TIME-WAIT records
and UDP sockets talks to an honest peer. What the peer sends is mutated, as bytes and
as values, and fed in between the honest packets. Run the long campaign with

    PYTHONPATH=build/compiled:tests python -m fuzz.host_fuzz 10000000 1
"""

import random
import sys
from collections import Counter

from fuzz.wire_fuzz import corpus, mutate
from timewait.base.instant import MSEC, SEC, ManualClock
from timewait.host.host import Host, Interface
from timewait.tcp.reasons import Drop
from timewait.tcp.tap import Tap
from timewait.tcp.tcb import Tcb
from timewait.wire.packet import Packet, Segment
from timewait.wire.serialize import serialize

KEPT = 64
"""Recent honest packets to mutate."""


class Reasons(Tap):
    """Counts what is dropped and why."""

    def __init__(self) -> None:
        self.drops: Counter[Drop] = Counter()
        self.unparsed = 0
        self.arrived = 0

    def received(self, host: str, packet: Packet, now: int) -> None:
        self.arrived += 1

    def dropped(self, where: str, packet: Packet | None, drop: Drop, now: int) -> None:
        self.drops[drop] += 1
        if packet is None:
            self.unparsed += 1


class Arena:
    """The target, its peer, and the wire between them."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = ManualClock(SEC)
        self.reasons = Reasons()
        self.target = Host("target", self.clock, seed=seed, tap=self.reasons)
        self.peer = Host("peer", self.clock, seed=seed + 1)
        self.to_target: list[Packet] = []
        self.to_peer: list[Packet] = []
        self.recent: list[Packet] = []
        self.iface = self._join(self.target, "10.0.0.2/24", "fd00::2/64", self.to_peer)
        self.peer_iface = self._join(self.peer, "10.0.0.1/24", "fd00::1/64", self.to_target)
        self.seeds = corpus()
        self.server = self.target.process("server")
        self.client = self.peer.process("client")
        self.listeners = [self._listen(2, "10.0.0.2"), self._listen(10, "fd00::2")]
        self.udp = self.server.socket(2, 2)
        self.server.bind(self.udp, ("10.0.0.2", 53))
        self.open: list[int] = []
        self.mine: list[int] = []
        self.target.sysctl["net.ipv4.tcp_syncookies"] = 1

    def _join(self, host: Host, v4: str, v6: str, wire: list[Packet]) -> Interface:
        iface = host.add_interface("eth0", v4, v6)
        iface.transmit = wire.append
        return iface

    def _listen(self, family: int, address: str) -> int:
        fd = self.server.socket(family, 1)
        self.server.bind(fd, (address, 80))
        self.server.listen(fd, 8)
        return fd

    # Honest traffic

    def carry(self) -> None:
        """Deliver what both hosts sent, in both directions, a bounded number of rounds."""
        for _ in range(20):
            if not self.to_target and not self.to_peer:
                return
            arrived, self.to_target[:] = list(self.to_target), []
            answers, self.to_peer[:] = list(self.to_peer), []
            for packet in arrived:
                self.recent.append(packet)
                if self.dice.random() > 0.05:
                    self.target.receive(packet, self.iface)
            for packet in answers:
                if self.dice.random() > 0.05:
                    self.peer.receive(packet, self.peer_iface)
        del self.recent[:-KEPT]

    def connect(self) -> None:
        """One more honest connection."""
        family, address = self.dice.choice([(2, "10.0.0.2"), (10, "fd00::2")])
        fd = self.client.socket(family, 1)
        try:
            self.client.connect(fd, (address, 80))
        except BlockingIOError:
            self.open.append(fd)
        except OSError:
            self.client.close(fd)

    def programs(self) -> None:
        """The programs on both sides do something."""
        dice = self.dice
        for listener in self.listeners:
            try:
                self.mine.append(self.server.accept(listener)[0])
            except OSError:
                pass
        for process, fds in ((self.client, self.open), (self.server, self.mine)):
            for fd in list(fds):
                what = dice.random()
                try:
                    if what < 0.4:
                        process.send(fd, bytes(dice.randrange(1, 6000)))
                    elif what < 0.8:
                        process.recv(fd, dice.randrange(1, 9000))
                    elif what < 0.85:
                        process.shutdown(fd, dice.randrange(3))
                except OSError:
                    pass
                if what > 0.93:
                    fds.remove(fd)
                    process.close(fd)
        while len(self.open) < 4:
            self.connect()

    # Hostile traffic

    def bent(self, packet: Segment) -> Segment:
        """A copy with fields changed near to what is valid."""
        dice = self.dice
        seg = packet.copy()
        for _ in range(dice.randrange(1, 4)):
            what = dice.randrange(10)
            near = dice.choice([0, 1, -1, 2, 1000, -1000, 65535, 1 << 20, 1 << 31, dice.randrange(1 << 32)])
            if what < 2:
                seg.seq = (seg.seq + near) & 0xFFFFFFFF
            elif what < 4:
                seg.ack = (seg.ack + near) & 0xFFFFFFFF
            elif what < 6:
                seg.flags ^= 1 << dice.randrange(9)
            elif what == 6:
                seg.window = dice.choice([0, 1, 100, 65535])
            elif what == 7:
                seg.tsval = (seg.tsval + near) & 0xFFFFFFFF
                seg.tsecr = dice.choice([seg.tsecr, 0, dice.randrange(1 << 32)])
            elif what == 8:
                # Three blocks fit beside timestamps; beside a SYN's options none does.
                blocks = 0 if seg.mss else dice.randrange(4)
                seg.sacks = tuple(
                    (
                        (seg.ack + dice.randrange(-3000, 30000)) & 0xFFFFFFFF,
                        (seg.ack + dice.randrange(30000)) & 0xFFFFFFFF,
                    )
                    for _ in range(blocks)
                )
            else:
                size = dice.randrange(2000)
                seg.payload = bytes(size)
                seg.length = size
                seg.urgent = dice.randrange(65536)
        seg.raw_options = None
        return seg

    def attack(self) -> None:
        """One hostile packet."""
        dice = self.dice
        if self.recent and dice.random() < 0.9:
            packet = dice.choice(self.recent)
            if isinstance(packet, Segment) and dice.random() < 0.7:
                bent = self.bent(packet)
                if dice.random() < 0.5:
                    self.target.receive(bent, self.iface)
                    return
                packet = bent
            data = serialize(packet)
        else:
            data = dice.choice(self.seeds)
        if dice.random() < 0.5:
            data = mutate(data, dice)
        self.target.receive_bytes(data, self.iface, verified=dice.random() < 0.3)

    def step(self, hostile: int) -> None:
        """Some hostile packets, then honest life goes on for a while."""
        for _ in range(hostile):
            self.attack()
        self.programs()
        self.carry()
        self.clock.advance(self.dice.choice([0, MSEC, 40 * MSEC, 250 * MSEC, SEC, 70 * SEC]))
        for host in (self.target, self.peer):
            for _ in range(10):
                if host.next_timeout() > self.clock.now():
                    break
                host.on_timeout()
        self.carry()
        self.check()

    def check(self) -> None:
        """What must hold whatever arrived."""
        assert sum(self.target.net.discards.values()) == self.reasons.unparsed
        for found in self.target.tcp.endpoints.values():
            if isinstance(found, Tcb):
                live = found.rtx.items[found.rtx.head :]
                assert found.packets_out == sum(sent.segs for sent in live)
                assert found.sacked_out >= 0 and found.lost_out >= 0 and found.retrans_out >= 0
                assert found.rcv_queued <= 2 * found.rcvbuf + 65536
                assert found.ofo_bytes == sum(len(piece) for piece in found.ofo_data or ())
        for listener in self.listeners:
            queue = self.server.file(listener).listener
            assert 0 <= queue.requests <= queue.backlog + 1
            assert len(queue.accept_queue) <= queue.backlog + 1
        assert len(self.target.tcp.endpoints) < 5000
        assert len(self.target.tcp.deadlines) < 50_000


def fuzz(iterations: int, seed: int, hostile: int = 50) -> Reasons:
    """Feed `iterations` hostile packets; the reasons for which packets were discarded come back."""
    arena = Arena(seed)
    arena.programs()
    arena.carry()
    for _ in range(iterations // hostile):
        arena.step(hostile)
    return arena.reasons


def main() -> None:
    iterations, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    chunk = 100_000
    total: Counter[Drop] = Counter()
    for number in range(0, iterations, chunk):
        total += fuzz(min(chunk, iterations - number), seed + number).drops
    for drop, count in total.most_common():
        print(f"{count:10}  {drop.name:24} {drop.text}")
    print(f"{iterations} hostile packets, {sum(total.values())} discards, no exception")


if __name__ == "__main__":
    main()
