"""asyncio on a simulated host: the standard library's selector loop over a simulated selector.

Little of asyncio is written anew: transports, streams, TLS, datagrams and sock_* calls are
its own. What differs: waiting hands over the baton, the clock is the host's, the order
of task steps that are ready at the same time is drawn from the seed, the executor runs
functions as further strands, and child processes are refused. One round of the loop and
what a transport does with each message are written out here, because everything passes there.
"""

import asyncio
import contextvars
import heapq
import math
import sys
from asyncio import base_events, selector_events
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from timewait.base.instant import NEVER
from timewait.run import current
from timewait.run.baton import IDLE, GreenletExit
from timewait.run.errors import MisuseError
from timewait.run.names import getaddrinfo, getnameinfo
from timewait.run.selector import READ, WRITE, Interest, SimSelector
from timewait.run.sockets import SimSocket, running
from timewait.run.transport import SimTransport
from timewait.run.where import line_of

_INSIDE: Final[Any] = base_events
"""asyncio's own, which typeshed does not show."""
_STEPS: Final = ("TaskStepMethWrapper", "TaskWakeupMethWrapper")


class SimLoop(asyncio.SelectorEventLoop):
    """The event loop of a program on a simulated host."""

    # asyncio's own, as they are in every version since 3.11.
    _selector: SimSelector
    _ready: "deque[Any]"
    _scheduled: list[Any]
    _stopping: bool
    _debug: bool
    _timer_cancelled_count: int
    _current_handle: Any
    _remove_reader: Callable[[Any], bool]
    _remove_writer: Callable[[Any], bool]

    def __init__(self) -> None:
        program = running("a simulated event loop").program
        self.program = program
        self.baton = program.host.net.baton
        super().__init__(SimSelector(program))

    def time(self) -> float:
        """Seconds of the host's monotonic clock."""
        return self.program.host.monotonic_ns() / 1e9

    @property
    def _clock_resolution(self) -> float:
        """What asyncio lets a timer run early by: the least step of a float, so that one due now runs, and no other."""
        return math.ulp(self.time())

    @_clock_resolution.setter
    def _clock_resolution(self, value: float) -> None:
        """The base class sets the machine's."""

    def _next_timer(self) -> int:
        """The first ns of the world at which the earliest timer's time has come; NEVER without one."""
        scheduled = self._scheduled
        if not scheduled:
            return NEVER
        when = scheduled[0].when()
        host = self.program.host
        due = int(when * 1e9)
        while due / 1e9 < when:
            due += 1
        return host.world_ns(due)

    # The self-pipe of a real loop: here the selector is woken directly.

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        if self._selector is not None:
            self._selector.wake()

    # One round.

    def _run_once(self) -> None:
        """Wait until something is ready, and run it: as asyncio's, which asks a selector with a timeout."""
        ready, selector = self._ready, self._selector
        if self.program.done:
            raise GreenletExit  # It is being unwound, and nothing of it runs any more.
        if self._scheduled:
            self._drop_cancelled()
        if selector.listed:
            self._take(selector.take())
        if not ready and not self._stopping:
            self._wait()
        if len(ready) > 1:
            self._mix()
        if self._scheduled:
            self._take_timers()
        if self._debug:
            self._run_ready_slowly(len(ready))
            return
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _wait(self) -> None:
        """Hand over the baton until something is ready or the next timer is due."""
        until, ready, selector, baton = NEVER, self._ready, self._selector, self.baton
        if self._scheduled:
            until = self._next_timer()
            if until <= baton.now():
                return
        strand = selector.strand = running("an event loop")
        try:
            while baton.leave(strand, IDLE, until):
                if selector.listed:
                    self._take(selector.take())
                if ready:
                    return
        finally:
            selector.strand = None

    def _take(self, interests: list[Interest]) -> None:
        """Let what asked for ready files run (_process_events)."""
        ready = self._ready
        for interest in interests:
            mask = interest.file.poll() & interest.asked
            reader, writer = interest.key.data
            if reader is not None and mask & READ:
                if reader._cancelled:
                    self._remove_reader(interest.key.fileobj)
                else:
                    ready.append(reader)
            if writer is not None and mask & WRITE:
                if writer._cancelled:
                    self._remove_writer(interest.key.fileobj)
                else:
                    ready.append(writer)

    def _drop_cancelled(self) -> None:
        """Timers that were cancelled go, all of them once they are many."""
        scheduled = self._scheduled
        count = len(scheduled)
        if count > _INSIDE._MIN_SCHEDULED_TIMER_HANDLES and (
            self._timer_cancelled_count / count > _INSIDE._MIN_CANCELLED_TIMER_HANDLES_FRACTION
        ):
            for handle in scheduled:
                if handle._cancelled:
                    handle._scheduled = False
            scheduled[:] = [handle for handle in scheduled if not handle._cancelled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False

    def _take_timers(self) -> None:
        """Let timers run that are due."""
        scheduled, ready = self._scheduled, self._ready
        end = self.time() + self._clock_resolution
        while scheduled and scheduled[0].when() < end:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)

    def _run_ready_slowly(self, count: int) -> None:
        """As asyncio's debug mode does: a callback that took long (of the host's time) is told."""
        for _ in range(count):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            try:
                self._current_handle = handle
                began = self.time()
                handle._run()
                took = self.time() - began
                if took >= self.slow_callback_duration:
                    shown = _INSIDE._format_handle(handle)
                    _INSIDE.logger.warning("Executing %s took %.3f seconds", shown, took)
            finally:
                self._current_handle = None

    def _mix(self) -> None:
        """Task steps that are ready together run in an order drawn from the seed; callbacks keep their places."""
        if not self.program.host.net.interleave:
            return
        handles = list(self._ready)
        steps = [at for at, handle in enumerate(handles) if type(handle._callback).__name__ in _STEPS]
        if len(steps) < 2:
            return
        mixed = [handles[at] for at in steps]
        self.baton.rng.shuffle(mixed)
        for at, handle in zip(steps, mixed, strict=True):
            handles[at] = handle
        self._ready.clear()
        self._ready.extend(handles)

    # Transports

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        kind = SimTransport if type(sock) is SimSocket else vars(selector_events)["_SelectorSocketTransport"]
        return kind(self, sock, protocol, waiter, extra, server)

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        return getaddrinfo(self.program, host, port, family, type, proto, flags)

    async def _create_server_getaddrinfo(self, host: Any, port: Any, family: int, flags: int) -> list[Any]:
        """create_server puts these into a set: their order there must not hang on PYTHONHASHSEED."""
        infos = await self.getaddrinfo(host or None, port, family=family, type=1, flags=flags)
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return [_Info(info) for info in infos]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        return getnameinfo(self.program, sockaddr, flags)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """The function runs as a further strand of the program: deterministic, and blocking calls in it are fine."""
        self._check_closed()  # type: ignore[attr-defined]
        future = self.create_future()
        context = contextvars.copy_context()

        def body() -> None:
            try:
                value = context.run(func, *args)
            except BaseException as error:
                if not self.is_closed():
                    self.call_soon_threadsafe(_fail, future, error)
            else:
                if not self.is_closed():
                    self.call_soon_threadsafe(_succeed, future, value)

        self.program.spawn(f"executor: {getattr(func, '__name__', func)}", body)
        return future

    async def _make_subprocess_transport(self, *args: Any, **options: Any) -> Any:
        raise MisuseError(
            f"{line_of(sys._getframe(1))}: a program on a simulated host cannot start child processes; "
            "run what the child does as a program: host.run(function)"
        )

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Called when `Program.signal(sig)` is."""
        self.program.signals[sig] = lambda number, frame: self.call_soon_threadsafe(callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self.program.signals.pop(sig, None) is not None


class _Info(tuple[Any, ...]):
    """An entry of getaddrinfo whose hash is the same in every process: its family."""

    def __hash__(self) -> int:
        return int(self[0])


def _succeed(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):
        error = RuntimeError("the executor's function raised StopIteration")
    future.set_exception(error)


def new_event_loop(original: Callable[..., Any]) -> Callable[..., Any]:
    """What the policy's new_event_loop becomes: inside a program a SimLoop."""

    def made(policy: Any) -> Any:
        return original(policy) if current.strand is None else SimLoop()

    return made
