"""asyncio on a simulated host: the standard library's selector loop over a simulated selector.

Nothing of asyncio is written anew: transports, streams, TLS, datagrams and sock_* calls are
its own. What differs: `select` hands over the baton, the clock is the host's, the order
of task steps that are ready at the same time is drawn from the seed, the executor runs
functions as further strands, and child processes are refused.
"""

import asyncio
import contextvars
import math
import selectors
import sys
from collections.abc import Callable
from typing import Any, Final

from timewait.base.instant import NEVER
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from timewait.run import current
from timewait.run.baton import IDLE
from timewait.run.errors import MisuseError
from timewait.run.names import getaddrinfo, getnameinfo
from timewait.run.program import Program
from timewait.run.selecting import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, own
from timewait.run.sockets import Waker, running
from timewait.run.where import line_of

_STEPS: Final = ("TaskStepMethWrapper", "TaskWakeupMethWrapper")
_READ: Final = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_WRITE: Final = EPOLLOUT | EPOLLHUP | EPOLLERR


class SimSelector(selectors._BaseSelectorImpl):
    """A selector over a simulated host's epoll. `wake()` ends a select() that waits."""

    _fd_to_key: dict[int, selectors.SelectorKey]

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.baton = program.host.net.baton
        self._epfd = program.process.epoll_create()
        self._file = program.process.file(self._epfd)
        self._woken = False
        self._waker: Waker | None = None
        self.until: Callable[[], int] | None = None
        """The loop's next timer as ns; a timeout in seconds would be rounded on the way."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        try:
            self._control(EPOLL_CTL_ADD, key)
        except BaseException:
            super().unregister(fileobj)
            raise
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        try:
            self._control(EPOLL_CTL_DEL, key)
        except OSError:
            pass  # Closed before, which took it out.
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        changed = selectors.SelectorKey(key.fileobj, key.fd, events, data)
        if events != key.events:
            self._control(EPOLL_CTL_MOD, changed)
        self._fd_to_key[key.fd] = changed
        return changed

    def _control(self, op: int, key: selectors.SelectorKey) -> None:
        mask = (EPOLLIN if key.events & selectors.EVENT_READ else 0) | (
            EPOLLOUT if key.events & selectors.EVENT_WRITE else 0
        )
        fd = own(running("register"), key.fd)
        self.program.process.epoll_ctl(self._epfd, op, fd, mask, key.fd)

    def wake(self) -> None:
        """Let select() return."""
        self._woken = True
        if self._waker is not None:
            self._waker.strand.wake()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        wait, process = self.program.process.epoll_wait, self.program.process
        found = wait(self._epfd)
        if not found and not self._woken and (timeout is None or timeout > 0):
            until = NEVER if timeout is None else self.until() if self.until is not None else NEVER
            strand = running("select")
            waker = self._waker = Waker(strand, EPOLLIN)
            self._file.watch(waker)
            try:
                while self.baton.wait(IDLE, until):
                    found = wait(self._epfd)
                    if found or self._woken:
                        break
            finally:
                self._waker = None
                if process.alive:
                    self._file.unwatch(waker)
        self._woken = False
        ready = []
        for fd, mask in found:
            key = self._fd_to_key.get(fd)
            if key is None:
                continue
            events = (selectors.EVENT_READ if mask & _READ else 0) | (selectors.EVENT_WRITE if mask & _WRITE else 0)
            if events & key.events:
                ready.append((key, events & key.events))
        if len(ready) > 1:
            self.baton.rng.shuffle(ready)
        return ready

    def close(self) -> None:
        if self._epfd >= 0 and self.program.process.alive:
            self.program.process.close(self._epfd)
        self._epfd = -1
        super().close()


class SimLoop(asyncio.SelectorEventLoop):
    """The event loop of a program on a simulated host."""

    def __init__(self) -> None:
        program = running("a simulated event loop").program
        self.program = program
        selector = SimSelector(program)
        super().__init__(selector)
        selector.until = self._next_timer

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
        scheduled = self._scheduled  # type: ignore[attr-defined]
        if not scheduled:
            return NEVER
        when = scheduled[0]._when
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
        selector = self._selector  # type: ignore[attr-defined]
        if selector is not None:
            selector.wake()

    def _process_events(self, event_list: Any) -> None:
        super()._process_events(event_list)  # type: ignore[misc]
        self._mix()

    def _mix(self) -> None:
        """Task steps that are ready together run in an order drawn from the seed; callbacks keep their places."""
        ready = self._ready  # type: ignore[attr-defined]
        if len(ready) < 2 or not self.program.host.net.interleave:
            return
        handles = list(ready)
        steps = [at for at, handle in enumerate(handles) if type(handle._callback).__name__ in _STEPS]
        if len(steps) < 2:
            return
        mixed = [handles[at] for at in steps]
        self.program.host.net.baton.rng.shuffle(mixed)
        for at, handle in zip(steps, mixed, strict=True):
            handles[at] = handle
        ready.clear()
        ready.extend(handles)

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
