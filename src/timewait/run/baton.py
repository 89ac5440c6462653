"""The baton: one strand of one program runs at a time, and time moves only when all of them wait.

A strand is a greenlet. Blocking calls end here: they say what they wait for and hand
the baton back. Whoever was woken runs next, in an order drawn from the seed, so that
other seeds see other interleavings; only when nobody can run is the clock asked for its
next event.
"""

import asyncio.events
import ctypes
import random
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from timewait.base.instant import NEVER
from timewait.run import current
from timewait.run.guard import held_up
from timewait.world.clock import Event, Scheduler

if TYPE_CHECKING:
    from timewait.run.program import Program

IDLE: Final = "select"
"""What a strand waits for whose event loop has nothing to do."""
MAX_TURNS: Final = 1_000_000
"""Strands that may run one after another without any time passing: beyond this they only wake each other."""


def _thread_dict() -> dict[Any, Any]:
    """What Python keeps for the running OS thread: `threading.local` stores there."""
    get: Any = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.py_object
    found: dict[Any, Any] = get()
    # The reference is a borrowed one, which ctypes takes for ours.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
    return found


def _silent(args: object) -> None:
    """In place of threading.excepthook."""


def _exchange(kept: dict[Any, Any], others: dict[Any, Any]) -> dict[Any, Any]:
    """Take the thread's `threading.local`s out, and put others in their place."""
    # asyncio's C code keeps its own entry here, and a pointer to it: only local objects are touched.
    taken = {key: kept.pop(key) for key in list(kept) if isinstance(key, str) and key.startswith("thread.local.")}
    kept.update(others)
    return taken


class Strand:
    """One line of control of a program: its main function, or a thread of it."""

    def __init__(self, baton: "Baton", program: "Program", name: str, body: Callable[[], object]) -> None:
        self.baton = baton
        self.program = program
        self.name = name
        self.greenlet = greenlet(body)
        self.waiting = True
        """It has handed the baton back (or has not begun), and runs when it is woken."""
        self.queued = False
        self.timed_out = False
        self.what = "start"
        """What it waits for, for people."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.hooks: Any = (None, None)
        self.locals: dict[Any, Any] = {}
        """What `threading.local` keeps for it, while it does not run."""
        self.ident = 0
        """Its thread's number; 0: the main thread's."""
        self.excused = False
        """What it waits for takes no time on a real host, so nobody is told that it does."""
        self.foreground = False
        """A thread that its program waits for at the end."""
        self.at_end: list[Any] = []
        """Locks to release when it has ended."""

    @property
    def ended(self) -> bool:
        """Whether its function has returned, or it was killed."""
        return bool(self.greenlet.dead)

    def wake(self) -> None:
        """Let it run in turn; without effect while it runs or is about to."""
        if self.waiting and not self.queued:
            self.queued = True
            self.baton.ready.append(self)

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
        self.hub: greenlet | None = None
        """Whoever called run()."""
        self.kept: dict[Any, Any] = {}
        """What Python keeps for the OS thread that runs us."""
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

    def wait(self, what: str, deadline: int = NEVER) -> bool:
        """Hand the baton back until the running strand is woken; False if the deadline (ns) came first."""
        strand = current.strand
        assert strand is not None and self.hub is not None, "only a strand waits"
        if strand.program.done:
            raise GreenletExit  # It is being unwound: what its clean-up waits for does not come.
        if what is not IDLE and deadline > self.now():
            held_up(strand, what, None if deadline == NEVER else deadline - self.now())
        event: Event | None = None
        if deadline < NEVER:
            event = self.clock.at(max(deadline, self.now()), strand.time_out)
        strand.what = what
        strand.waiting = True
        strand.timed_out = False
        self.hub.switch()
        if event is not None:
            self.clock.cancel(event)
        return not strand.timed_out

    def turn(self) -> None:
        """Let everybody else who can run do so first."""
        strand = current.strand
        if strand is not None and self.ready:
            strand.waiting = True
            strand.wake()
            assert self.hub is not None
            self.hub.switch()

    def run(self, unfinished: Callable[[], bool], deadline: int = NEVER, *, outside: bool = False) -> bool:
        """Run strands and clock while `unfinished()`; False when nothing is left to happen by the deadline.

        outside: what is waited for may end without any strand's doing, so it is asked before each event.
        """
        if current.strand is not None:
            raise RuntimeError("a program cannot run the simulation it is part of; await what it waits for")
        self.hub = getcurrent()
        self.kept = _thread_dict()
        tracked = sys.get_coroutine_origin_tracking_depth()
        # A coroutine that is never awaited can then say where it was made.
        sys.set_coroutine_origin_tracking_depth(max(tracked, 1))
        try:
            return self._run(unfinished, deadline, outside)
        finally:
            sys.set_coroutine_origin_tracking_depth(tracked)

    def _run(self, unfinished: Callable[[], bool], deadline: int, outside: bool) -> bool:
        turns = 0
        while True:
            while self.ready:
                self._resume(self._next())
                turns += 1
                if turns > MAX_TURNS:
                    self._endless()
            if not unfinished():
                return True
            before = self.now()
            idle = (lambda: not self.ready and unfinished()) if outside else self._nobody
            if not self.clock.run_while(idle, deadline):
                return not unfinished()
            if self.now() != before:
                turns = 0

    def bury(self, strand: Strand) -> None:
        """A strand runs no more."""
        strand.waiting = False
        if strand in self.ready:
            self.ready.remove(strand)
        if strand in self.held:
            self.held.remove(strand)
        if not strand.ended and strand is not current.strand:
            self.buried.append(strand)

    def thaw(self) -> None:
        """Programs may have been thawed: those of their strands that were woken meanwhile run in turn."""
        held, self.held = self.held, []
        self.ready.extend(held)

    def close(self) -> None:
        """Unwind what was buried; whatever its clean-up calls then, its process is gone."""
        hook, threading.excepthook = threading.excepthook, _silent
        try:
            for strand in self.buried:
                strand.greenlet.parent = getcurrent()
                current.strand = strand
                try:
                    strand.greenlet.throw(GreenletExit)
                except BaseException:
                    pass  # What a dead program complains about interests nobody.
                finally:
                    current.strand = None
        finally:
            threading.excepthook = hook
        self.buried.clear()

    def _nobody(self) -> bool:
        return not self.ready

    def _next(self) -> Strand:
        ready = self.ready
        which = 0 if len(ready) == 1 else self.rng.randrange(len(ready))
        return ready.pop(which)

    def _resume(self, strand: Strand) -> None:
        """Let a strand run until it waits or ends; what Python keeps per OS thread is exchanged around it."""
        if strand.program.frozen:
            self.held.append(strand)
            return
        strand.queued = strand.waiting = False
        assert self.hub is not None
        strand.greenlet.parent = self.hub
        outer_loop, outer_hooks = asyncio.events._get_running_loop(), sys.get_asyncgen_hooks()
        asyncio.events._set_running_loop(strand.loop)
        sys.set_asyncgen_hooks(*strand.hooks)
        outer_locals = _exchange(self.kept, strand.locals)
        current.strand = strand
        try:
            strand.greenlet.switch()
        finally:
            current.strand = None
            strand.locals = _exchange(self.kept, outer_locals)
            strand.loop, strand.hooks = asyncio.events._get_running_loop(), sys.get_asyncgen_hooks()
            asyncio.events._set_running_loop(outer_loop)
            sys.set_asyncgen_hooks(*outer_hooks)

    def _endless(self) -> None:
        names = sorted({f"{strand.program.name} ({strand.what})" for strand in self.ready})
        raise RuntimeError(f"programs wake each other without any time passing: {', '.join(names[:4])}")
