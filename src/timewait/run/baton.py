"""The baton: one strand of one program runs at a time, and time moves only when all of them wait.

A strand is a greenlet. Blocking calls end here: they say what they wait for and hand
the baton back. Whoever was woken runs next, in an order drawn from the seed, so that
other seeds see other interleavings; only when nobody can run is the clock asked for its
next event.

Compiled where the packet path is, since every message of a program passes here twice.
"""

import asyncio.events
import importlib
import random
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from timewait.base.instant import NEVER
from timewait.base.ints import i64
from timewait.run import current
from timewait.run.guard import held_up
from timewait.run.thread_state import Locals, thread_locals
from timewait.world.clock import Event, Scheduler

if TYPE_CHECKING:
    from timewait.run.program import Program

# Not by an import statement: whoever compiles this need not have greenlet, which has no types of its own.
_greenlet: Final[Any] = importlib.import_module("greenlet")
GreenletExit: Final[Any] = _greenlet.GreenletExit

What = str | tuple[str, Any]
"""What is waited for: words, or a call and the object it is about, which says of itself `describe()`."""
IDLE: Final = "select"
"""What a strand waits for whose event loop has nothing to do."""
_running_loop: Final[Any] = asyncio.events._get_running_loop
_set_running_loop: Final[Any] = asyncio.events._set_running_loop
_hooks: Final[Any] = sys.get_asyncgen_hooks
_set_hooks: Final[Any] = sys.set_asyncgen_hooks
MAX_TURNS: Final = 1_000_000
"""Strands that may run one after another without any time passing: beyond this they only wake each other."""


def _silent(args: object) -> None:
    """In place of threading.excepthook."""


def _silenced(loop: Any, context: Any) -> None:
    """In place of a loop's exception handler."""


def shown(what: What) -> str:
    """'recv on 10.0.0.1:80 <-> 10.0.0.2:4711': made when somebody asks, for hardly anybody does."""
    return what if isinstance(what, str) else f"{what[0]} on {what[1].describe()}"


class Alarm(Event):
    """The end of what a strand is willing to wait."""

    def __init__(self, strand: "Strand") -> None:
        super().__init__()
        self.strand = strand

    def fire(self, now: i64) -> None:
        self.strand.time_out()

    def describe(self) -> str:
        return f"{self.strand.name} waits no longer"


class Strand:
    """One line of control of a program: its main function, or a thread of it."""

    def __init__(self, baton: "Baton", program: "Program", name: str, body: Callable[[], object]) -> None:
        self.baton = baton
        self.program = program
        self.name = name
        self.greenlet: Any = _greenlet.greenlet(body)
        self.waiting = True
        """It has handed the baton back (or has not begun), and runs when it is woken."""
        self.queued = False
        self.timed_out = False
        self.what: What = "start"
        """What it waits for, for people: `shown` puts it into words."""
        self.kept_loop: Any = None
        """The loop it runs, while that is not the OS thread's: `loop` says it at any time."""
        self.hooks: Any = (None, None)
        self.locals: Any = None
        """What `threading.local` keeps for it, while that is not in place; None: it has not run yet."""
        self.hub: Any = None
        self.alarm = Alarm(self)
        self.ident = 0
        """Its thread's number; 0: the main thread's."""
        self.excused = False
        """What it waits for takes no time on a real host, so nobody is told that it does."""
        self.foreground = False
        """A thread that its program waits for at the end."""
        self.at_end: list[Any] = []
        """Locks to release when it has ended."""

    @property
    def loop(self) -> Any:
        """The event loop it runs; None without."""
        return _running_loop() if self.baton.inside is self else self.kept_loop

    @property
    def ended(self) -> bool:
        """Whether its function has returned, or it was killed."""
        return bool(self.greenlet.dead)

    def wake(self) -> None:
        """Let it run in turn; without effect while it runs or is about to."""
        if self.waiting and not self.queued:
            self.queued = True
            baton = self.baton
            baton.ready.append(self)
            baton.clock.halt = True

    def time_out(self) -> None:
        """What it waited for did not come in time."""
        if self.waiting and not self.queued:
            self.timed_out = True
            self.wake()

    def frame(self) -> Any:
        """Where it waits: its innermost frame."""
        return self.greenlet.gr_frame


class Baton:
    """Runs strands on a clock."""

    def __init__(self, clock: Scheduler, rng: random.Random) -> None:
        self.clock = clock
        self.rng = rng
        self.ready: list[Strand] = []
        self.held: list[Strand] = []
        """Woken, but their program is frozen."""
        self.hub: Any = None
        """Whoever called run()."""
        self.inside: Strand | None = None
        """Whose running loop, hooks and locals the OS thread has: the strand that ran last. None: those of the hub."""
        self.outer: Any = None
        """The hub's, meanwhile."""
        self.locals: Locals
        self.news = True
        """A program has ended since it was last asked whether the run goes on."""
        self.buried: list[Strand] = []
        """Strands of programs that were killed: they never run again, not even their `finally` clauses."""

    def now(self) -> int:
        """ns since the world began."""
        return int(self.clock.now())

    def spawn(self, program: "Program", name: str, body: Callable[[], object]) -> Strand:
        """A new strand, which runs in turn."""
        strand = Strand(self, program, name, body)
        strand.wake()
        return strand

    def wait(self, what: What, deadline: int = NEVER) -> bool:
        """Hand the baton back until the running strand is woken; False if the deadline (ns) came first."""
        strand = current.strand
        assert strand is not None, "only a strand waits"
        if _running_loop() is not None and what is not IDLE and deadline > self.now():
            held_up(strand, shown(what), None if deadline == NEVER else deadline - self.now())
        return self.leave(strand, what, deadline)

    def leave(self, strand: Strand, what: What, deadline: i64) -> bool:
        """As wait(), for the strand that is running, and nobody is told that it holds up a loop."""
        if strand.program.done:
            raise GreenletExit  # It is being unwound: what its clean-up waits for does not come.
        strand.what = what
        strand.waiting = True
        strand.timed_out = False
        clock, alarm = self.clock, strand.alarm
        if deadline < NEVER:
            # Most waits of a loop are for the same timer as the one before: its alarm stands already.
            due = max(deadline, clock.now())
            if alarm.order == 0 or alarm.time != due:
                clock.schedule(alarm, due)
        elif alarm.order != 0:
            clock.cancel(alarm)
        self.hub.switch()
        return not strand.timed_out

    def turn(self) -> None:
        """Let everybody else who can run do so first."""
        strand = current.strand
        if strand is not None and self.ready:
            strand.waiting = True
            strand.wake()
            self.hub.switch()

    def run(self, unfinished: Callable[[], bool], deadline: int = NEVER, *, outside: bool = False) -> bool:
        """Run strands and clock while `unfinished()`; False when nothing is left to happen by the deadline.

        outside: what is waited for may end without any strand's doing, so it is asked before each event.
        """
        if current.strand is not None:
            raise RuntimeError("a program cannot run the simulation it is part of; await what it waits for")
        self.hub = _greenlet.getcurrent()
        self.locals = thread_locals()
        tracked = sys.get_coroutine_origin_tracking_depth()
        # A coroutine that is never awaited can then say where it was made.
        sys.set_coroutine_origin_tracking_depth(max(tracked, 1))
        try:
            return self._run(unfinished, deadline, outside)
        finally:
            self._restore()
            sys.set_coroutine_origin_tracking_depth(tracked)

    def _run(self, unfinished: Callable[[], bool], deadline: int, outside: bool) -> bool:
        turns = 0
        ready, clock = self.ready, self.clock
        self.news = True
        while True:
            while ready:
                strand = ready.pop(0 if len(ready) == 1 else self.rng.randrange(len(ready)))
                if strand.program.frozen:
                    self.held.append(strand)
                    continue
                self._resume(strand)
                turns += 1
                if turns > MAX_TURNS:
                    self._endless()
            if self.news or outside:
                self.news = False
                if not unfinished():
                    return True
            before = clock.now()
            clock.halt = False
            if outside:
                goes_on = clock.run_while(lambda: not ready and unfinished(), deadline)
            else:
                goes_on = clock.run_until_halt(deadline)
            if not goes_on:
                return not unfinished()
            if clock.now() != before:
                turns = 0

    def bury(self, strand: Strand) -> None:
        """A strand runs no more."""
        strand.waiting = False
        self.clock.cancel(strand.alarm)
        if strand in self.ready:
            self.ready.remove(strand)
        if strand in self.held:
            self.held.remove(strand)
        if not strand.ended and strand is not current.strand:
            self.buried.append(strand)

    def thaw(self) -> None:
        """Programs may have been thawed: those of their strands that were woken meanwhile run in turn."""
        self.ready += self.held
        self.held.clear()
        self.clock.halt = True

    def close(self) -> None:
        """Unwind what was buried; whatever its clean-up calls then, its process is gone."""
        if not self.buried:
            return
        self.hub = _greenlet.getcurrent()
        self.locals = thread_locals()
        hook, threading.excepthook = threading.excepthook, _silent
        try:
            for strand in self.buried:
                self._enter(strand)
                current.strand = strand
                loop = strand.loop
                if loop is not None:
                    loop.set_exception_handler(_silenced)
                try:
                    strand.greenlet.throw(GreenletExit)
                except BaseException:
                    pass  # What a dead program complains about interests nobody.
                finally:
                    if loop is not None:
                        loop.abandon()
                    current.strand = None
        finally:
            self._restore()
            threading.excepthook = hook
        self.buried.clear()

    def _resume(self, strand: Strand) -> None:
        """Let a strand run until it waits or ends."""
        strand.queued = strand.waiting = False
        if strand is not self.inside:
            self._enter(strand)
        current.strand = strand
        try:
            strand.greenlet.switch()
        finally:
            current.strand = None
        if strand.alarm.order != 0 and strand.ended:
            self.clock.cancel(strand.alarm)

    def _enter(self, strand: Strand) -> None:
        """Give the OS thread what Python keeps for another strand than the one that ran last."""
        before = self.inside
        if strand.locals is None:
            strand.locals = self.locals.fresh()
        if strand.hub is not self.hub:
            strand.hub = strand.greenlet.parent = self.hub
        hooks = _hooks()
        if before is None:
            self.outer = _running_loop(), hooks, self.locals.exchange(strand.locals)
        else:
            before.kept_loop, before.hooks = _running_loop(), hooks
            before.locals = self.locals.exchange(strand.locals)
        self.inside = strand
        _set_running_loop(strand.kept_loop)
        # Those of our loops are all the same (`loop.py`).
        if strand.hooks != hooks:
            _set_hooks(*strand.hooks)

    def _restore(self) -> None:
        """Give the OS thread back what it had when the hub ran."""
        last = self.inside
        if last is None:
            return
        last.kept_loop, last.hooks = _running_loop(), _hooks()
        loop, hooks, locals_ = self.outer
        last.locals = self.locals.exchange(locals_)
        self.inside = self.outer = None
        _set_running_loop(loop)
        _set_hooks(*hooks)

    def _endless(self) -> None:
        names = sorted({f"{strand.program.name} ({shown(strand.what)})" for strand in self.ready})
        raise RuntimeError(f"programs wake each other without any time passing: {', '.join(names[:4])}")
