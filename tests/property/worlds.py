"""Random worlds: two of our stacks, a bad link between them, two programs that read, write and close at random.

A world grows from one number. What must hold, whatever happens: every byte that arrives
is the right one in the right place; all bytes arrive unless a program was told why not
or had let go of its socket; both hosts end with empty tables, queues and timers. Run many with

    PYTHONPATH=build/compiled:tests python -m property.worlds 10000 0
"""

import errno
import random
import sys
import time
from itertools import pairwise
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.seq import seq_leq
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.record.record import Record
from timewait.tcp.states import CLOSED
from timewait.tcp.tap import Tap
from timewait.tcp.tcb import Tcb
from timewait.world.network import World

MOST_STEPS: Final = 20_000
"""Turns of the programs; what is not finished by then is closed as it stands."""
FATES: Final = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENOTCONN}
)
"""What a program may be told when its connection dies."""


class Side:
    """One program's end: what it must say, what it heard, and what it was told."""

    def __init__(self, process: Process, say: bytes) -> None:
        self.process = process
        self.fd = -1
        self.say = say
        self.said = 0
        self.heard = b""
        self.finished = False
        """It has shut its sending side."""
        self.eof = False
        self.closed = False
        self.error = 0


class RandomWorld:
    """A world made from a seed."""

    def __init__(self, seed: int, tap: Tap | None = None) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        dice = self.dice
        self.world = World(seed=seed, record=tap if tap is not None else False)
        self.v6 = dice.random() < 0.3
        self.rtt = dice.choice([0, 100_000, MSEC, 20 * MSEC, 100 * MSEC, 300 * MSEC, 2 * SEC])
        self.a = self._host("a", 1)
        self.b = self._host("b", 2)
        self._link()
        self.hurry = dice.random() < 0.2
        """Close at random instead of when all is said."""
        sizes = [0, 1, 100, 3000, 60_000, 200_000]
        self.client = Side(self.a.process("client"), random.Random(seed).randbytes(dice.choice(sizes)))
        self.server = Side(self.b.process("server"), random.Random(seed + 1).randbytes(dice.choice(sizes)))
        self.listener = self._listen()
        self._connect()

    def _host(self, name: str, number: int) -> Host:
        dice = self.dice
        sysctl: dict[str, object] = {
            "net.ipv4.tcp_sack": dice.choice([0, 1, 1, 1]),
            "net.ipv4.tcp_dsack": dice.choice([0, 1, 1]),
            "net.ipv4.tcp_timestamps": dice.choice([0, 1, 1, 2]),
            "net.ipv4.tcp_window_scaling": dice.choice([0, 1, 1]),
            "net.ipv4.tcp_recovery": dice.choice([0, 1, 1]),
            "net.ipv4.tcp_frto": dice.choice([0, 2]),
            "net.ipv4.tcp_early_retrans": dice.choice([0, 3]),
            "net.ipv4.tcp_retrans_collapse": dice.choice([0, 1]),
            "net.ipv4.tcp_slow_start_after_idle": dice.choice([0, 1]),
            "net.ipv4.tcp_syncookies": dice.choice([0, 1, 1, 2]),
        }
        address = f"fd00::{number}/64" if self.v6 else f"10.0.0.{number}/24"
        return self.world.host(name, address, sysctl=sysctl)

    def _link(self) -> None:
        dice = self.dice
        options: dict[str, object] = {"delay": self.rtt // 2}
        self.loss = dice.choice([0, 0, 0.01, 0.05, 0.1, 0.3])
        if self.loss:
            options["loss"] = self.loss
        for name, chances in (("duplicate", [0.01, 0.2]), ("reorder", [0.01, 0.3]), ("corrupt", [0.01, 0.1])):
            if dice.random() < 0.3:
                options[name] = dice.choice(chances)
        if dice.random() < 0.3:
            options["jitter"] = dice.choice([MSEC, self.rtt // 4])
        if dice.random() < 0.3:
            options["rate"] = dice.choice([100_000, 10_000_000])
            options["queue"] = dice.choice([3, 20, 1000])
        if dice.random() < 0.3:
            options["mtu"] = dice.choice([1280, 1400, 1499]) if self.v6 else dice.choice([600, 1000, 1400])
        self.link = self.world.link(self.a, self.b, **options)

    def _options(self, process: Process, fd: int) -> None:
        """Small buffers and segments, Nagle off, keepalive."""
        dice = self.dice
        if dice.random() < 0.3:
            process.setsockopt(fd, 1, 8, dice.choice([500, 3000, 20_000]))
        if dice.random() < 0.3:
            process.setsockopt(fd, 1, 7, dice.choice([3000, 20_000]))
        if dice.random() < 0.3:
            process.setsockopt(fd, 6, 2, dice.choice([88, 200, 536]))
        if dice.random() < 0.3:
            process.setsockopt(fd, 6, 1, 1)
        if dice.random() < 0.2:
            process.setsockopt(fd, 1, 9, 1)

    def _listen(self) -> int:
        process = self.server.process
        fd = process.socket(10 if self.v6 else 2, 1)
        self._options(process, fd)
        process.bind(fd, ("::" if self.v6 else "0.0.0.0", 80))
        process.listen(fd, 5)
        return fd

    def _connect(self) -> None:
        process = self.client.process
        self.client.fd = process.socket(10 if self.v6 else 2, 1)
        self._options(process, self.client.fd)
        try:
            process.connect(self.client.fd, ("fd00::2" if self.v6 else "10.0.0.2", 80))
        except BlockingIOError:
            pass

    # The programs

    def play(self) -> None:
        """Let both programs take turns with time until all is said, heard and closed; then let the world run out."""
        dice = self.dice
        waits = [MSEC // 10, MSEC, 10 * MSEC, self.rtt + MSEC, 250 * MSEC, SEC, 5 * SEC]
        for _ in range(MOST_STEPS):
            self._turn()
            if self._settled():
                break
            self.world.run(dice.choice(waits))
            self.check_counts()
        for side in (self.client, self.server):
            self._close(side)
        self.server.process.close(self.listener)
        self.world.run(None, max_time=30 * 86_400 * SEC)

    def _settled(self) -> bool:
        return all(side.closed or side.error for side in (self.client, self.server))

    def _turn(self) -> None:
        if self.server.fd < 0:
            try:
                self.server.fd = self.server.process.accept(self.listener)[0]
            except BlockingIOError:
                if self.client.error:
                    self.server.closed = True
        for side in (self.client, self.server):
            if side.fd >= 0 and not side.closed and not side.error:
                self._speak(side)
                self._listen_to(side)
                if side.finished and side.eof:
                    self._close(side)

    def _speak(self, side: Side) -> None:
        dice = self.dice
        if side is self.client and not side.said and not side.process.poll([(side.fd, 4)]):
            return
        try:
            if side.said < len(side.say) and not (self.hurry and dice.random() < 0.01):
                end = side.said + dice.choice([1, 100, 5000, 60_000])
                side.said += side.process.send(side.fd, side.say[side.said : end])
            elif not side.finished:
                side.finished = True
                if self.hurry and dice.random() < 0.3:
                    self._close(side)
                else:
                    side.process.shutdown(side.fd, 1)
        except BlockingIOError:
            pass
        except OSError as error:
            side.error = error.errno or 0

    def _listen_to(self, side: Side) -> None:
        dice = self.dice
        if side.closed or dice.random() < 0.3:
            return
        try:
            for _ in range(20):
                part = side.process.recv(side.fd, dice.choice([10, 1000, 100_000]))
                if part == b"":
                    side.eof = True
                    return
                side.heard += part
        except BlockingIOError:
            pass
        except OSError as error:
            side.error = side.error or error.errno or 0

    def _close(self, side: Side) -> None:
        if side.fd >= 0 and not side.closed:
            side.process.close(side.fd)
            side.closed = True

    # What must hold

    def check_counts(self) -> None:
        """A connection's counts agree with its queues, at any time."""
        for host in (self.a, self.b):
            for found in host.tcp.endpoints.values():
                if isinstance(found, Tcb):
                    check_connection(found)

    def check(self) -> None:
        """The end: the right bytes, a reason for each that is missing, and nothing left behind."""
        for talker, hearer in ((self.client, self.server), (self.server, self.client)):
            assert talker.say.startswith(hearer.heard), "a wrong, doubled or misplaced byte"
            complete = len(hearer.heard) == len(talker.say)
            assert complete or self._excused(talker, hearer), (
                f"{len(talker.say) - len(hearer.heard)} bytes never arrived and nobody was told"
            )
            assert talker.error in FATES | {0}, errno.errorcode.get(talker.error, talker.error)
        for host in (self.a, self.b):
            assert not host.tcp.endpoints, [type(found).__name__ for found in host.tcp.endpoints.values()]
            assert not host.tcp.ports.held(), f"{host.name} holds ports: {host.tcp.ports.held()}"
            assert not host.tcp.listeners
            assert host.net.orphans == 0, f"{host.name}: {host.net.orphans} orphans"
            assert not host.tcp.dirty and not host.looped

    def _excused(self, talker: Side, hearer: Side) -> bool:
        """Somebody was told of an error, gave up, let go early, or an orphan's patience ran out."""
        if talker.error or hearer.error or self.hurry:
            return True
        if not (talker.finished and hearer.eof) and self.loss >= 0.1:
            # Timeouts of minutes make some worlds slower than the programs' patience.
            return True
        timeouts = [host.counters.TcpExtTCPAbortOnTimeout for host in (self.a, self.b)]
        return any(timeouts)


def check_connection(t: Tcb) -> None:
    """Counts against the retransmission queue, sequence numbers in order, windows kept."""
    live = t.rtx.items[t.rtx.head :]
    assert t.packets_out == sum(sent.segs for sent in live), "packets_out"
    assert t.lost_out == sum(sent.segs for sent in live if sent.lost), "lost_out"
    assert t.retrans_out == sum(sent.segs for sent in live if sent.retransmitted), "retrans_out"
    if t.sack_ok:
        assert t.sacked_out == sum(sent.segs for sent in live if sent.sacked), "sacked_out"
    assert 0 <= t.sacked_out <= t.packets_out, "sacked_out"
    if t.state is not CLOSED:
        assert seq_leq(t.snd_una, t.snd_nxt) and seq_leq(t.snd_nxt, t.write_seq), "SND.UNA <= SND.NXT <= write_seq"
        assert seq_leq(t.copied_seq, t.rcv_nxt), "copied beyond RCV.NXT"
    assert t.cwnd >= 1, "congestion window"
    assert t.ofo_bytes == sum(len(piece) for piece in t.ofo_data or ()), "ofo_bytes"
    assert t.rcv_queued >= 0
    seqs = t.ofo_seqs or []
    assert all(a < b for a, b in pairwise(seqs)), "islands out of order"


def play(seed: int, tap: Tap | None = None) -> RandomWorld:
    """One world, played and judged; AssertionError where something does not hold."""
    made = RandomWorld(seed, tap)
    made.play()
    made.check()
    return made


def recorded(seed: int) -> Record:
    """The record of a world, for looking at a failure."""
    record = Record()
    try:
        play(seed, record)
    except AssertionError as error:
        print(error)
    return record


def main() -> None:
    count, start = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    begun = time.monotonic()
    bad: list[int] = []
    told = 0
    for seed in range(start, start + count):
        try:
            made = play(seed)
            told += bool(made.client.error or made.server.error)
        except Exception as error:
            bad.append(seed)
            print(f"world {seed}: {type(error).__name__}: {error}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{count} worlds in {seconds:.0f} s; in {told} a program was told of an error; {len(bad)} failed: {bad[:20]}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
