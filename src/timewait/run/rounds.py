"""The rounds of an event loop: what asyncio's `_run_once` does, for a loop whose waiting hands over the baton.

A file says itself when it may be ready, to whoever is interested in it; no epoll stands
between. What is ready stays listed and is looked at again in the next round, as
level-triggered epoll has it.

Compiled where the packet path is: every message to an asyncio program passes here.
"""

import asyncio.base_events
import asyncio.format_helpers
import heapq
import sys
from typing import TYPE_CHECKING, Any, Final

from timewait.base.instant import NEVER
from timewait.base.ints import i64
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, File, Watcher
from timewait.run.baton import IDLE, Baton, GreenletExit, Strand
from timewait.run.waiting import running

if TYPE_CHECKING:
    from timewait.run.program import Program

READ: Final = EPOLLIN | EPOLLHUP | EPOLLERR
WRITE: Final = EPOLLOUT | EPOLLHUP | EPOLLERR
_INSIDE: Final[Any] = asyncio.base_events
"""asyncio's own, which typeshed does not show."""
_FORMAT: Final[Any] = asyncio.format_helpers
_MANY: Final[int] = _INSIDE._MIN_SCHEDULED_TIMER_HANDLES
_FRACTION: Final[float] = _INSIDE._MIN_CANCELLED_TIMER_HANDLES_FRACTION
_STEPS: Final = ("TaskStepMethWrapper", "TaskWakeupMethWrapper")


def _failed(handle: Any, error: BaseException) -> None:
    """A callback raised: the loop's exception handler is told what asyncio tells it."""
    if isinstance(error, (SystemExit, KeyboardInterrupt, GreenletExit)):
        raise error
    loop = handle._loop
    options = {"debug": loop.get_debug()} if sys.version_info >= (3, 13) else {}
    source = _FORMAT._format_callback_source(handle._callback, handle._args, **options)
    context = {"message": f"Exception in callback {source}", "exception": error, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


class Interest(Watcher):
    """What a loop asks of one open file, and the handles to run then."""

    def __init__(self, rounds: "Rounds", file: File) -> None:
        self.rounds = rounds
        self.file = file
        self.asked: i64 = 0
        self.reader: Any = None
        self.writer: Any = None
        self.key: Any = None
        """The selector's, for who asks it."""
        self.listed = False
        """It may be ready, and is looked at in the next round."""
        file.watch(self)

    def ask(self, reading: bool, writing: bool, reader: Any, writer: Any) -> None:
        """Ask for this from now on. What is ready already is told once more (EPOLL_CTL_MOD)."""
        self.reader, self.writer = reader, writer
        self.asked = (READ if reading else 0) | (WRITE if writing else 0)
        if self.file.refs > 0 and self.file.poll() & self.asked:
            self.notify(self.file, 0)

    def notify(self, file: File, mask: i64) -> None:
        if self.listed or (mask and not mask & self.asked):
            return
        self.listed = True
        rounds = self.rounds
        rounds.listed.append(self)
        strand = rounds.strand
        if strand is not None:
            strand.wake()

    def file_released(self, file: File) -> None:
        self.asked = 0

    def leave(self) -> None:
        """Nothing is asked any more."""
        self.asked = 0
        self.reader = self.writer = None
        if self.file.refs > 0:
            self.file.unwatch(self)


class Rounds:
    """What one loop has to do."""

    def __init__(self, program: "Program", baton: Baton) -> None:
        self.program: Any = program
        self.baton = baton
        self.host: Any = program.host
        self.loop: Any = None
        self.ready: Any = None
        """The loop's deque of handles."""
        self.scheduled: list[Any] = []
        """The loop's heap of timers."""
        self.when: float = -1.0
        """The time of a timer, in the host's seconds,"""
        self.until: i64 = NEVER
        """and what `_due` found for it."""
        self.strand: Strand | None = None
        """Who waits for something to happen; None: nobody does."""
        self.listed: list[Interest] = []
        """What may be ready, in the order in which it became so."""

    def serve(self, loop: Any) -> None:
        """The loop whose rounds these are."""
        self.loop, self.ready, self.scheduled = loop, loop._ready, loop._scheduled

    def round(self) -> None:
        """Wait until something is ready, and run it."""
        loop, ready, scheduled = self.loop, self.ready, self.scheduled
        if self.program.done:
            raise GreenletExit  # It is being unwound, and nothing of it runs any more.
        if scheduled:
            self._drop_cancelled()
        if self.listed:
            self.take()
        if not ready and not loop._stopping:
            self._wait()
        if len(ready) > 1:
            self._mix()
        if scheduled:
            self._take_timers()
        if loop._debug:
            self._run_slowly(len(ready))
            return
        # What these add runs in the next round.
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            # Handle._run, without its call.
            try:
                handle._context.run(handle._callback, *handle._args)
            except BaseException as error:
                _failed(handle, error)

    def take(self) -> None:
        """Let what asked for ready files run, in an order drawn from the seed."""
        listed = self.listed
        if len(listed) == 1:
            self._offer(listed[0])
            if not listed[0].listed:
                listed.clear()
            return
        found: list[Interest] = []
        for interest in listed:
            if interest.asked and interest.file.poll() & interest.asked:
                found.append(interest)
            else:
                interest.listed = False
        self.listed = found
        if len(found) > 1:
            self.baton.rng.shuffle(found)
        for interest in list(found):
            self._offer(interest)

    def _offer(self, interest: Interest) -> None:
        """Let its handles run if it is ready; else it is listed no more."""
        asked = interest.asked
        mask: i64 = interest.file.poll() & asked if asked else 0
        if not mask:
            interest.listed = False
            return
        reader, writer = interest.reader, interest.writer
        if reader is not None and mask & READ and not reader._cancelled:
            self.ready.append(reader)
        if writer is not None and mask & WRITE and not writer._cancelled:
            self.ready.append(writer)

    def _wait(self) -> None:
        """Hand over the baton until something is ready or the next timer is due."""
        baton, ready = self.baton, self.ready
        until: i64 = NEVER
        if self.scheduled:
            until = self._due()
            if until <= baton.clock.now():
                return
        strand = running("an event loop")
        self.strand = strand
        try:
            while baton.leave(strand, IDLE, until):
                if self.listed:
                    self.take()
                if ready:
                    return
        finally:
            self.strand = None

    # Timers

    def _due(self) -> i64:
        """The first ns of the world at which the earliest timer's time has come."""
        when: float = self.scheduled[0]._when
        if when != self.when:
            due = int(when * 1e9)
            while due / 1e9 < when:
                due += 1
            world: int = self.host.world_ns(due)
            self.when, self.until = when, min(world, NEVER)
        return self.until

    def _drop_cancelled(self) -> None:
        """Timers that were cancelled go, all of them once they are many."""
        scheduled = self.scheduled
        if len(scheduled) > _MANY and self.loop._timer_cancelled_count / len(scheduled) > _FRACTION:
            for handle in scheduled:
                if handle._cancelled:
                    handle._scheduled = False
            scheduled[:] = [handle for handle in scheduled if not handle._cancelled]
            heapq.heapify(scheduled)
            self.loop._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0]._cancelled:
            self.loop._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False

    def _take_timers(self) -> None:
        """Let timers run that are due."""
        scheduled, now = self.scheduled, self.baton.clock.now()
        while scheduled and self._due() <= now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            self.ready.append(handle)

    # The rest

    def _mix(self) -> None:
        """Task steps that are ready together run in an order drawn from the seed; callbacks keep their places."""
        if not self.host.net.interleave:
            return
        handles: list[Any] = list(self.ready)
        steps: list[int] = []
        for at in range(len(handles)):
            if type(handles[at]._callback).__name__ in _STEPS:
                steps.append(at)
        if len(steps) < 2:
            return
        mixed = [handles[at] for at in steps]
        self.baton.rng.shuffle(mixed)
        for at, handle in zip(steps, mixed, strict=True):
            handles[at] = handle
        self.ready.clear()
        self.ready.extend(handles)

    def _run_slowly(self, count: int) -> None:
        """As asyncio's debug mode does: a callback that took long (of the host's time) is told."""
        loop = self.loop
        for _ in range(count):
            handle = self.ready.popleft()
            if handle._cancelled:
                continue
            try:
                loop._current_handle = handle
                began = loop.time()
                handle._run()
                took = loop.time() - began
                if took >= loop.slow_callback_duration:
                    shown = _INSIDE._format_handle(handle)
                    _INSIDE.logger.warning("Executing %s took %.3f seconds", shown, took)
            finally:
                loop._current_handle = None
