"""Where time passes: an event queue over a clock that jumps (virtual) or one that ticks (real).

Both kinds offer the same interface, so nothing above knows which one runs. Events of
one instant fire in the order in which they were scheduled.
"""

import select
import selectors
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from time import monotonic_ns
from typing import Final, Protocol

from timewait.base.errors import BudgetError
from timewait.base.instant import NEVER, Clock, show_ns
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.wire.packet import Packet

MAX_EVENTS: Final = 50_000_000
"""Default bound on the events of one run call: some minutes of computing, far beyond any experiment."""

_SAMPLE: Final = 1_000
"""So many events before a budget ends they are counted by name, to say what is spinning."""

_COMPACT: Final = 1_024
"""The queue is rebuilt once it holds more dead entries than this and than live ones."""

PRECISE: Final = 0.02
"""Seconds below which a wait is worth a system call more to end within microseconds."""
SELECTABLE: Final = 1_024
"""FD_SETSIZE: select() takes descriptors below it."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Event:
    """Something that happens at an instant. Subclasses override `fire`.

    An event is in the queue at most once: scheduling it again moves it. `order` is the
    number of its live queue entry, 0 while it is not queued; an entry whose number is
    not the event's is dead, so cancelling costs nothing.
    """

    lazy: bool = False
    """Whether the event may have moved to later than its queue entry says: `due` knows."""

    def __init__(self) -> None:
        self.time: i64 = NEVER
        self.order: i64 = 0

    @property
    def pending(self) -> bool:
        """Whether it is still going to happen."""
        return self.order != 0

    def fire(self, now: i64) -> None:
        """Happen; `now` is the instant in ns."""
        raise NotImplementedError

    def due(self) -> i64:
        """When a lazy event really happens: not before its queue entry; NEVER: not at all."""
        return self.time

    def describe(self) -> str:
        """A few words that tell what is happening when an event budget is used up."""
        return type(self).__name__


@mypyc_attr(acyclic=True, free_list_len=1)
class Entry:
    """Something that stands in a `Line`: when, its number in the order of all events, and what."""

    def __init__(self, time: i64, order: i64, item: Packet | bytes) -> None:
        self.time: i64 = time
        self.order: i64 = order
        self.item: Packet | bytes = item


class Line(Event):
    """Packets that come one after another: only the first of the line stands in the clock's queue.

    That keeps the queue as short as there are lines, however many packets are on the
    way. Each keeps the number it got when it joined, so that ties with other events
    break as if every packet stood in the queue itself.
    """

    def __init__(self, clock: "Scheduler") -> None:
        super().__init__()
        self.clock = clock
        self.entries: list[Entry] = []
        self.head: i64 = 0
        """Index of the first entry; what lies before it is compacted away now and then."""

    def join(self, item: Packet | bytes, when: i64) -> None:
        """Stand at the end of the line; `when` is not before the time of anybody in it."""
        clock = self.clock
        clock.live += 1
        clock.orders += 1
        entry = Entry(when, clock.orders, item)
        self.entries.append(entry)
        if self.order == 0:
            clock.enter(self, entry)

    def fire(self, now: i64) -> None:
        entries = self.entries
        entry = entries[self.head]
        item = entry.item
        entry.item = b""
        self.head += 1
        if self.head == len(entries):
            entries.clear()
            self.head = 0
        else:
            if self.head >= 256 and self.head * 2 > len(entries):
                del entries[: self.head]
                self.head = 0
            self.clock.enter(self, entries[self.head])
        self.served(item)

    def served(self, item: Packet | bytes) -> None:
        """It is this one's turn."""
        raise NotImplementedError


class Callback(Event):
    """An event that calls a function without arguments."""

    def __init__(self, callback: Callable[[], object]) -> None:
        super().__init__()
        self.callback = callback

    def fire(self, now: i64) -> None:
        self.callback()

    def describe(self) -> str:
        return f"callback {getattr(self.callback, '__qualname__', repr(self.callback))}"


class Timed(Protocol):
    """What a `HostTimer` needs of a host."""

    @property
    def name(self) -> str:
        """The host's name."""

    def next_timeout(self) -> int:
        """When the host has something to do, absolute ns; NEVER without."""

    def on_timeout(self) -> None:
        """Do what is due now."""


class HostTimer(Event):
    """The one timer of a host. `rearm` is the host's `on_rearm`.

    A timeout that moves later, as each ACK does to a retransmission timer, leaves the
    queue entry alone: only when that entry comes up it is moved to where it belongs.
    """

    def __init__(self, clock: "Scheduler", host: Timed) -> None:
        super().__init__()
        self.lazy = True
        self.clock = clock
        self.host = host

    def rearm(self) -> None:
        """The host's next timeout may have become earlier."""
        due: i64 = self.host.next_timeout()
        if due < self.time:
            self.clock.schedule(self, max(due, self.clock.now()))

    def due(self) -> i64:
        return max(self.host.next_timeout(), self.time)

    def fire(self, now: i64) -> None:
        # Not queued while the host works: what it does may re-arm, and the rest is looked up after.
        self.time = NEVER
        self.host.on_timeout()
        self.rearm()

    def describe(self) -> str:
        return f"timers of {self.host.name}"


@mypyc_attr(allow_interpreted_subclasses=True)
class Scheduler(Clock):
    """The event queue. `VirtualClock`, `RealClock` and the driver's `LoopClock` differ only in who waits."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Event]] = []
        self.orders: i64 = 0
        self.live: i64 = 0
        """Events that are still going to happen."""
        self.fired: i64 = 0
        """Events that have happened since the start."""
        self.halt: bool = False
        """What `run_until_halt` heeds: whoever sets it is served after the event that is happening."""
        self.max_events: i64 = MAX_EVENTS
        self._left: i64 = MAX_EVENTS
        self._spinning: dict[str, int] = {}

    def schedule(self, event: Event, when: i64) -> None:
        """Let `event` fire at `when` (ns); what was queued for it before is forgotten."""
        if event.order == 0:
            self.live += 1
        self.orders += 1
        event.order = self.orders
        event.time = when
        heappush(self.heap, (when, self.orders, event))

    def enter(self, line: Line, first: Entry) -> None:
        """Let a line stand in the queue with the time and the number of its first entry."""
        line.order = first.order
        line.time = first.time
        heappush(self.heap, (first.time, first.order, line))

    def at(self, when: i64, callback: Callable[[], object]) -> Event:
        """Call `callback` at `when` (ns; an instant that has passed means at once, in turn)."""
        event = Callback(callback)
        self.schedule(event, when)
        return event

    def cancel(self, event: Event) -> None:
        """The event does not happen; without effect if it has, or was cancelled before."""
        if event.order == 0:
            return
        event.order = 0
        event.time = NEVER
        self.live -= 1
        if len(self.heap) > _COMPACT + 2 * self.live:
            self._compact()

    def next_time(self) -> i64:
        """When the next event is due, NEVER without one."""
        heap = self.heap
        while heap:
            entry = heap[0]
            event = entry[2]
            if event.order != entry[1]:
                heappop(heap)
            elif event.lazy and event.due() > entry[0]:
                self._postpone(event)
            else:
                return entry[0]
        return NEVER

    def _postpone(self, event: Event) -> None:
        """A lazy event moved: time must not pass just to find that out."""
        due = event.due()
        if due >= NEVER:
            self.cancel(event)
        else:
            self.schedule(event, due)

    def run_until(self, when: i64) -> None:
        """Fire everything due up to and at `when`, then it is `when`. BudgetError beyond max_events."""
        raise NotImplementedError

    def run_while(self, predicate: Callable[[], bool], deadline: i64) -> bool:
        """Fire events while `predicate()` holds; it is asked before each event.

        True once it no longer holds; False when nothing is left to happen by `deadline`,
        a virtual clock then showing the time of the last event.
        """
        raise NotImplementedError

    def run_until_halt(self, deadline: i64) -> bool:
        """Fire events until one of them sets `halt`. True then; False when nothing is left to happen by `deadline`."""
        return self.run_while(self._goes_on, deadline)

    def _goes_on(self) -> bool:
        return not self.halt

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Call `callback` whenever the file descriptor is readable: real time only."""
        raise NotImplementedError("only a real clock serves file descriptors")

    def remove_reader(self, fd: int) -> None:
        """Undo add_reader; without effect for an unknown descriptor."""

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        """Call `callback` whenever the file descriptor is writable: real time only."""
        raise NotImplementedError("only a real clock serves file descriptors")

    def remove_writer(self, fd: int) -> None:
        """Undo add_writer; without effect for an unknown descriptor."""

    def fire_due(self, limit: i64) -> None:
        """Fire what is due now and not after `limit`."""
        now = self.now()
        while True:
            due = self.next_time()
            if due > now or due > limit:
                return
            self._fire_next(now)

    def _start(self) -> None:
        self._left = self.max_events
        self._spinning = {}

    def _fire_next(self, now: i64) -> None:
        """Fire the first event, known to be alive and due."""
        event = heappop(self.heap)[2]
        event.order = 0
        self.live -= 1
        self.fired += 1
        self._left -= 1
        if self._left < 1000:
            self._count(event, now)
        event.fire(now)

    def _count(self, event: Event, now: i64) -> None:
        """Near the end of the budget: remember who fires, and at the end say so."""
        what = event.describe()
        self._spinning[what] = self._spinning.get(what, 0) + 1
        if self._left >= 0:
            return
        ranking = sorted(self._spinning.items(), key=_by_count)[:4]
        names = ", ".join(f"{name} ({count} of the last {_SAMPLE})" for name, count in ranking)
        raise BudgetError(f"{self.max_events} events without an end at {show_ns(now)}: {names}")

    def _compact(self) -> None:
        heap = [entry for entry in self.heap if entry[2].order == entry[1]]
        heapify(heap)
        # The list stays the same object: a running loop holds it.
        self.heap[:] = heap


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


class VirtualClock(Scheduler):
    """Time that jumps to the next event: nothing waits, and equal inputs give equal runs."""

    def __init__(self, start: i64 = 0) -> None:
        super().__init__()
        self.time: i64 = start

    def now(self) -> i64:
        return self.time

    def run_until(self, when: i64) -> None:
        self._start()
        while True:
            due = self.next_time()
            if due > when or due == NEVER:
                break
            if due > self.time:
                self.time = due
            self._fire_next(self.time)
        if when > self.time and when < NEVER:
            self.time = when

    def run_while(self, predicate: Callable[[], bool], deadline: i64) -> bool:
        self._start()
        while predicate():
            due = self.next_time()
            if due > deadline or due == NEVER:
                return False
            if due > self.time:
                self.time = due
            self._fire_next(self.time)
        return True

    def run_until_halt(self, deadline: i64) -> bool:
        self._start()
        while not self.halt:
            due = self.next_time()
            if due > deadline or due == NEVER:
                return False
            if due > self.time:
                self.time = due
            self._fire_next(self.time)
        return True


class RealClock(Scheduler):
    """Time that passes by itself, with file descriptors served while waiting for the next event."""

    def __init__(self) -> None:
        super().__init__()
        self.origin: i64 = monotonic_ns()
        self.selector = selectors.DefaultSelector()
        fileno: int = self.selector.fileno() if isinstance(self.selector, selectors.EpollSelector) else SELECTABLE
        self.waiting: list[int] | None = [fileno] if fileno < SELECTABLE else None
        """The selector's own descriptor, to be waited for in less than milliseconds."""
        self.readers: dict[int, Callable[[], object]] = {}
        self.writers: dict[int, Callable[[], object]] = {}

    def now(self) -> i64:
        return monotonic_ns() - self.origin

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        self.readers[fd] = callback
        self._watch(fd)

    def remove_reader(self, fd: int) -> None:
        if self.readers.pop(fd, None) is not None:
            self._watch(fd)

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        self.writers[fd] = callback
        self._watch(fd)

    def remove_writer(self, fd: int) -> None:
        if self.writers.pop(fd, None) is not None:
            self._watch(fd)

    def _watch(self, fd: int) -> None:
        """Bring the selector in line with readers and writers."""
        events = (fd in self.readers) * selectors.EVENT_READ | (fd in self.writers) * selectors.EVENT_WRITE
        known = fd in self.selector.get_map()
        if events and known:
            self.selector.modify(fd, events)
        elif events:
            self.selector.register(fd, events)
        elif known:
            self.selector.unregister(fd)

    def close(self) -> None:
        """Give the selector's file descriptor back."""
        self.selector.close()

    def run_until(self, when: i64) -> None:
        self._start()
        while True:
            self.fire_due(when)
            now = self.now()
            if now >= when:
                return
            if when == NEVER and not self.readers and self.next_time() == NEVER:
                return
            self._wait(now, when)

    def run_while(self, predicate: Callable[[], bool], deadline: i64) -> bool:
        self._start()
        while predicate():
            due = self.next_time()
            now = self.now()
            if due <= now and due <= deadline:
                self._fire_next(now)
                continue
            if now >= deadline:
                return False
            if due == NEVER and not self.readers:
                return False
            self._wait(now, deadline)
        return True

    def _wait(self, now: i64, limit: i64) -> None:
        """Sleep until the next event, `limit` or a readable descriptor, and serve the descriptors."""
        until = min(self.next_time(), limit)
        timeout = None if until == NEVER else int(max(until - now, 0)) / 1e9
        if timeout is not None and 0 < timeout < PRECISE and self.waiting is not None:
            # epoll counts whole milliseconds and rounds up, which would make paced senders slower and slower.
            select.select(self.waiting, [], [], timeout)
            timeout = 0
        for key, events in self.selector.select(timeout):
            # An earlier callback of this round may have removed this one.
            reader = self.readers.get(key.fd) if events & selectors.EVENT_READ else None
            if reader is not None:
                reader()
            writer = self.writers.get(key.fd) if events & selectors.EVENT_WRITE else None
            if writer is not None:
                writer()
