"""The record: a `Tap` that writes down what it hears, and answers questions about it.

One list in order of time. A transmission gets its number (`packet.uid`) when it is
sent; arrivals and losses carry that number, so a packet that was duplicated arrives
twice with the same one. Packets are never changed once sent: the record keeps the
object itself.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64
from timewait.record.connections import Connection, Conversations
from timewait.record.entries import (
    Called,
    Dropped,
    Entry,
    Moved,
    Noted,
    Received,
    Sent,
    TimerFired,
    reverse_flow,
)
from timewait.record.match import Match, Matcher
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import Cause, State
from timewait.tcp.tap import Tap
from timewait.wire.packet import Packet

RETRANSMISSIONS: Final = frozenset(
    {Why.RTO, Why.FAST_RTX, Why.LOST_RTX, Why.TLP, Why.SYN_ACK_AGAIN},
)
"""The reasons to send again what was sent before (a tail loss probe may carry new data)."""


class Record(Tap):
    """What happened in a world.

    `limit` bounds the memory: at most that many entries are kept (None: all). With
    keep='first' later entries are not taken; with keep='last' the oldest quarter makes
    room whenever it is full. `left_out` says how many are missing. `sink` hears every
    entry as it is made, whether kept or not: streaming writers sit there.
    """

    def __init__(
        self,
        *,
        limit: int | None = None,
        keep: str = "first",
        sink: Callable[[Entry], None] | None = None,
    ) -> None:
        if keep not in ("first", "last"):
            raise UsageError(f"keep must be 'first' or 'last', not {keep!r}")
        if limit is not None and limit < 4:
            raise UsageError(f"limit must be at least 4 entries, not {limit}")
        self.entries: list[Entry] = []
        self.meta: dict[str, str] = {}
        """What the experiment says about itself: seed, profile, title. Goes into files' headers."""
        self.left_out: int = 0
        self.limit: int | None = limit
        self.keep_last: bool = keep == "last"
        self.sink: Callable[[Entry], None] | None = sink
        self._room: i64 = limit if limit is not None else 1 << 60
        self._uid: i64 = 0
        self._views: Conversations | None = None
        self._views_of: tuple[int, int] = (-1, -1)

    # What the stack tells

    def sent(self, host: str, packet: Packet, now: i64) -> None:
        """Number the transmission and note it."""
        self._uid += 1
        packet.uid = self._uid
        self._add(Sent(now, host, packet))

    def received(self, host: str, packet: Packet, now: i64) -> None:
        """Note an arrival."""
        self._add(Received(now, host, packet, packet.uid))

    def dropped(self, where: str, packet: Packet | None, drop: Drop, now: i64) -> None:
        """Note a discard."""
        self._add(Dropped(now, where, packet, 0 if packet is None else packet.uid, drop))

    def moved(self, host: str, flow: bytes, old: State, new: State, cause: Cause, now: i64) -> None:
        """Note a change of state."""
        self._add(Moved(now, host, flow, old, new, cause))

    def timer(self, host: str, flow: bytes, name: str, now: i64) -> None:
        """Note a timer's firing."""
        self._add(TimerFired(now, host, flow, name))

    def called(self, host: str, process: str, call: str, result: str, now: i64) -> None:
        """Note a socket call and what came of it."""
        self._add(Called(now, host, process, call, result))

    def noted(self, where: str, text: str, now: i64) -> None:
        """Note a remark of the experiment."""
        self._add(Noted(now, where, text))

    def _add(self, entry: Entry) -> None:
        entries = self.entries
        if len(entries) >= self._room:
            self._make_room()
        if len(entries) < self._room:
            entries.append(entry)
        else:
            self.left_out += 1
        if self.sink is not None:
            self.sink(entry)

    def _make_room(self) -> None:
        if self.keep_last:
            gone = max(1, len(self.entries) // 4)
            del self.entries[:gone]
            self.left_out += gone

    def add(self, entry: Entry) -> None:
        """Take an entry as it is, number included: for readers of files and captures."""
        if isinstance(entry, Sent):
            self._uid = max(self._uid, entry.packet.uid)
        self._add(entry)

    # Questions

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def hosts(self) -> list[str]:
        """Names of the hosts, in order of first appearance."""
        seen: dict[str, None] = {}
        for entry in self.entries:
            if not isinstance(entry, (Dropped, Noted)):
                seen.setdefault(entry.where)
        return list(seen)

    def select(self, match: Matcher) -> list[Entry]:
        """The entries that fit, in order."""
        return [entry for entry in self.entries if match(entry)]

    def first(self, match: Matcher, after: int = -1) -> Entry | None:
        """The first entry that fits, at or after `after` ns."""
        for entry in self.entries:
            if entry.time >= after and match(entry):
                return entry
        return None

    def last(self, match: Matcher) -> Entry | None:
        """The last entry that fits."""
        for entry in reversed(self.entries):
            if match(entry):
                return entry
        return None

    def count(self, match: Matcher) -> int:
        """How many entries fit."""
        return sum(1 for entry in self.entries if match(entry))

    def times(self, match: Matcher) -> list[int]:
        """When the entries that fit happened, in ns."""
        return [entry.time for entry in self.entries if match(entry)]

    def sent_times(self, match: Matcher) -> list[int]:
        """When packets that fit were sent, in ns."""
        return [entry.time for entry in self.entries if isinstance(entry, Sent) and match(entry)]

    def packets(
        self,
        *,
        host: str | None = None,
        flags: str | int | None = None,
        why: Enum | tuple[Enum, ...] | None = None,
        flow: bytes | None = None,
        payload: bool | int | None = None,
    ) -> list[Sent]:
        """Transmissions by sender, flags, reason, flow (either direction) and payload: see `Match`."""
        match = Match(host=host, flags=flags, why=why, flow=flow, payload=payload)
        return [entry for entry in self.entries if isinstance(entry, Sent) and match(entry)]

    def drops(self, *, where: str | None = None, drop: Drop | tuple[Drop, ...] | None = None) -> list[Dropped]:
        """Discards by place and reason."""
        match = Match(host=where, drop=drop)
        return [entry for entry in self.entries if isinstance(entry, Dropped) and match(entry)]

    def retransmissions(self, host: str | None = None, flow: bytes | None = None) -> list[Sent]:
        """Transmissions whose reason is one of RETRANSMISSIONS, or that repeat a SYN or SYN-ACK."""
        match = Match(host=host, flow=flow)
        return [
            entry
            for entry in self.entries
            if isinstance(entry, Sent) and entry.packet.why in RETRANSMISSIONS and match(entry)
        ]

    def states(self, host: str, flow: bytes | None = None) -> list[Moved]:
        """The changes of state at a host, of one connection (key in either direction) or of all."""
        match = Match(host=host, flow=flow)
        return [entry for entry in self.entries if isinstance(entry, Moved) and match(entry)]

    def state_at(self, host: str, flow: bytes, time: int) -> State:
        """The state that a connection was in at `time` ns, that instant's moves done; CLOSED before the first."""
        either = (flow, reverse_flow(flow))
        for entry in reversed(self.entries):
            if isinstance(entry, Moved) and entry.time <= time and entry.where == host and entry.flow in either:
                return entry.new
        return State.CLOSED

    def arrivals(self, uid: int) -> list[Received]:
        """Where and when a transmission arrived: none when lost, several when duplicated or split."""
        return [entry for entry in self.entries if isinstance(entry, Received) and entry.uid == uid != 0]

    # Views

    def conversations(self) -> Conversations:
        """The entries sorted by connection; made anew when the record has grown."""
        key = (len(self.entries), self.left_out)
        if self._views is None or self._views_of != key:
            self._views = Conversations(self.entries)
            self._views_of = key
        return self._views

    def connections(self) -> list[Connection]:
        """TCP connections in order of their first packet, each incarnation of a four-tuple by itself."""
        return self.conversations().connections

    def connection(self, number: int = 0) -> Connection:
        """One connection by its place in `connections()`. Raises UsageError if there is none."""
        found = self.connections()
        if not -len(found) <= number < len(found):
            raise UsageError(f"no connection {number}: the record holds {len(found)}")
        return found[number]


def record_of(entries: Iterable[Entry]) -> Record:
    """A record that holds the given entries."""
    record = Record()
    for entry in entries:
        record.add(entry)
    return record
