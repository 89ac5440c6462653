"""What runs beside the system and complains: taps and functions for property tests.

A checker collects what it finds in `problems`; `verify` raises AssertionError with all of it.
"""

import hashlib
from typing import TYPE_CHECKING

from timewait.base.instant import NEVER, show_ns
from timewait.base.ints import i64
from timewait.tcp.reasons import Drop
from timewait.tcp.states import TRANSITIONS, Cause, State
from timewait.tcp.tap import Tap
from timewait.wire.packet import Datagram, Packet, Segment

if TYPE_CHECKING:
    from timewait.world.network import World

MAX_PROBLEMS = 100
"""So many are kept: the first ones tell what went wrong."""


class Fan(Tap):
    """Several listeners in the place of one; the first one numbers transmissions."""

    def __init__(self, taps: tuple[Tap, ...]) -> None:
        self.taps = taps

    def sent(self, host: str, packet: Packet, now: i64) -> None:
        for tap in self.taps:
            tap.sent(host, packet, now)

    def received(self, host: str, packet: Packet, now: i64) -> None:
        for tap in self.taps:
            tap.received(host, packet, now)

    def dropped(self, where: str, packet: Packet | None, drop: Drop, now: i64) -> None:
        for tap in self.taps:
            tap.dropped(where, packet, drop, now)

    def moved(self, host: str, flow: bytes, old: State, new: State, cause: Cause, now: i64) -> None:
        for tap in self.taps:
            tap.moved(host, flow, old, new, cause, now)

    def timer(self, host: str, flow: bytes, name: str, now: i64) -> None:
        for tap in self.taps:
            tap.timer(host, flow, name, now)

    def called(self, host: str, process: str, call: str, result: str, now: i64) -> None:
        for tap in self.taps:
            tap.called(host, process, call, result, now)

    def noted(self, where: str, text: str, now: i64) -> None:
        for tap in self.taps:
            tap.noted(where, text, now)


class Checker(Tap):
    """A tap that collects violations."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.checked: int = 0
        """How many facts were looked at: a checker that saw none proves nothing."""

    def complain(self, text: str) -> None:
        """Note a violation."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def verify(self) -> None:
        """AssertionError with everything found."""
        assert not self.problems, "\n".join(self.problems)


class LegalMoves(Checker):
    """Connections move only along `tcp.states.TRANSITIONS`, and from where they were."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[tuple[str, bytes], State] = {}

    def moved(self, host: str, flow: bytes, old: State, new: State, cause: Cause, now: i64) -> None:
        self.checked += 1
        where = f"{show_ns(int(now))} {host} {flow.hex()}: {old.name} -> {new.name} ({cause.value})"
        if new not in TRANSITIONS[old]:
            self.complain(where + " is not in TRANSITIONS")
        key = (host, flow)
        known = self.states.get(key)
        if known is not None and known is not old:
            self.complain(where + f", but it was in {known.name}")
        if new is State.CLOSED:
            # The tuple may be used anew, by a connection that starts anywhere.
            self.states.pop(key, None)
        else:
            self.states[key] = new

    def open(self, host: str | None = None) -> list[State]:
        """States of connections that are not closed, of one host or of all."""
        return [state for (name, _), state in self.states.items() if host in (None, name)]


class Conservation(Checker):
    """No packet appears from nothing, and none arrives before it was sent.

    Put it behind a record (which numbers transmissions) or alone (then it numbers them).
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent_at: dict[int, int] = {}
        self.pairs: set[tuple[bytes, bytes]] = set()
        self.arrivals: dict[int, int] = {}
        """Times each transmission arrived at a host: 0 lost, 2 duplicated."""
        self._uid = 0

    def sent(self, host: str, packet: Packet, now: i64) -> None:
        self.checked += 1
        if packet.uid == 0:
            self._uid += 1
            packet.uid = self._uid
        if packet.uid in self.sent_at:
            self.complain(f"{show_ns(int(now))} {host} sent packet {packet.uid} twice: {describe(packet)}")
            return
        self.sent_at[int(packet.uid)] = int(now)
        self.pairs.add((packet.src, packet.dst))

    def received(self, host: str, packet: Packet, now: i64) -> None:
        self.checked += 1
        if packet.uid == 0:
            # Bytes carry no number: they were damaged, or come from outside through a link.
            if (packet.src, packet.dst) not in self.pairs:
                self.complain(f"{show_ns(int(now))} {host} received what nobody sent: {describe(packet)}")
            return
        uid = int(packet.uid)
        self.arrivals[uid] = self.arrivals.get(uid, 0) + 1
        sent = self.sent_at.get(uid)
        if sent is None:
            self.complain(f"{show_ns(int(now))} {host} received what nobody sent: {describe(packet)}")
        elif sent > now:
            self.complain(f"{show_ns(int(now))} {host} received packet {uid} before it was sent")


class Stream:
    """One direction of a byte stream: what is read must be what was written, in order, from the start.

    Tell it of each successful write and read; what does not fit raises AssertionError at once.
    """

    def __init__(self, name: str = "stream") -> None:
        self.name = name
        self.written = 0
        self.read = 0
        self._waiting = bytearray()
        """Written and not read yet."""
        self._sent = hashlib.blake2b()
        self._got = hashlib.blake2b()

    def wrote(self, data: bytes) -> None:
        """The sender's program handed over `data`."""
        self._sent.update(data)
        self.written += len(data)
        self._waiting += data

    def got(self, data: bytes) -> None:
        """The receiver's program read `data`."""
        assert len(data) <= len(self._waiting), (
            f"{self.name}: {self.read + len(data)} octets read of {self.written} written"
        )
        if self._waiting[: len(data)] != data:
            wrong = next(i for i, octet in enumerate(data) if octet != self._waiting[i])
            raise AssertionError(f"{self.name}: octet {self.read + wrong} differs from what was written")
        del self._waiting[: len(data)]
        self._got.update(data)
        self.read += len(data)

    def finished(self) -> None:
        """The stream ended in order: everything written was read. AssertionError otherwise."""
        assert not self._waiting, f"{self.name}: {len(self._waiting)} of {self.written} octets were never read"
        assert self._sent.digest() == self._got.digest(), f"{self.name}: digests differ"


def leftovers(world: "World") -> list[str]:
    """What a world at rest must not have: packets on the way, events, host timers."""
    found = [
        f"link {link.name}: {link.in_flight} packets on the way" for link in world.links.values() if link.in_flight
    ]
    for name, host in world.hosts.items():
        due = host.next_timeout()
        if due < NEVER:
            found.append(f"host {name}: a timer at {show_ns(int(due))}")
    if world.clock.next_time() < NEVER:
        found.extend(world.pending()[:5])
    return found


def check_quiet(world: "World") -> None:
    """AssertionError unless nothing is left in queues, on links and in timers."""
    found = leftovers(world)
    assert not found, "not at rest: " + "; ".join(found)


def describe(packet: Packet) -> str:
    """A packet for a message."""
    ends = f"{packet.src.hex()} > {packet.dst.hex()}"
    if isinstance(packet, Segment):
        ends += f" ports {packet.sport} > {packet.dport}"
        return f"{ends} seq {packet.seq} flags {packet.flags:#x} length {packet.length}"
    if isinstance(packet, Datagram):
        return f"{ends} UDP ports {packet.sport} > {packet.dport}"
    return f"{ends} protocol {packet.proto}"
