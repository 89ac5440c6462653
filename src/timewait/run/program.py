"""A program on a simulated host: a function or coroutine, the process it runs as, and what came of it."""

import asyncio
import inspect
from collections.abc import Callable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

from timewait.host.process import Process
from timewait.run import current
from timewait.run.baton import Strand, shown
from timewait.run.errors import SimulationError
from timewait.run.where import line_of, lines_of_tasks

if TYPE_CHECKING:
    from timewait.run.net import NetHost


class Program:
    """What `host.run(...)` gives back.

    `daemon` programs do not keep a run going, as servers that serve for ever.
    """

    def __init__(
        self, host: "NetHost", function: Any, args: tuple[Any, ...], name: str, daemon: bool, restart: bool
    ) -> None:
        self.host = host
        self.function = function
        self.args = args
        self.name = name
        self.daemon = daemon
        self.restart = restart
        """Whether it is started anew when its host boots."""
        self.process: Process = host.host.process(name)
        self.strands: list[Strand] = []
        self.began = host.monotonic_ns()
        """When it was started, by its host's monotonic clock in ns."""
        self.done = False
        self.killed = False
        self.frozen = False
        self.observed = False
        """Somebody has been told of its failure."""
        self.error: BaseException | None = None
        self.value: Any = None
        self.signals: dict[int, Any] = {}
        """Signal number -> handler, as signal.signal() set it."""
        self._last_waits: Strand | None = None
        """The main strand, once only threads keep it."""
        self._callbacks: list[Callable[[], object]] = []
        self.spawn(name, self._main)

    def __repr__(self) -> str:
        return f"<Program {self.label}: {self.state}>"

    @property
    def label(self) -> str:
        """'fetch on client'."""
        return f"{self.name} on {self.host.name}"

    @property
    def alive(self) -> bool:
        """Whether it has neither ended nor been killed."""
        return not self.done

    @property
    def state(self) -> str:
        """'running', 'frozen', 'killed', 'returned' or 'failed: ...'."""
        if not self.done:
            return "frozen" if self.frozen else "running"
        if self.killed:
            return "killed"
        return "returned" if self.error is None else f"failed: {type(self.error).__name__}: {self.error}"

    def result(self) -> Any:
        """What the function returned; raises what it raised, SimulationError if it has not ended or was killed."""
        if not self.done:
            raise SimulationError(f"{self.label} has not ended: {'; '.join(self.waits()) or 'it can run'}")
        self.observed = True
        if self.error is not None:
            raise self.error
        if self.killed:
            raise SimulationError(f"{self.label} was killed")
        return self.value

    def exception(self) -> BaseException | None:
        """What the function raised; None if it returned. SimulationError if it has not ended."""
        if not self.done:
            raise SimulationError(f"{self.label} has not ended")
        self.observed = True
        return self.error

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for its end and take its result: inside another program, or outside by running the simulation."""
        if current.strand is None:
            self.host.net.run_until(self)
            return self.result()
            yield
        if not self.done:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self.when_done(lambda: loop.call_soon_threadsafe(_settle, future))
            yield from future
        return self.result()

    def join(self, timeout: float | None = None) -> bool:
        """From another blocking program: wait for its end; False if it took longer than `timeout` seconds."""
        strand = current.strand
        assert strand is not None, "outside of the simulation: net.run_until(program)"
        baton = self.host.net.baton
        deadline = None if timeout is None else baton.now() + round(timeout * 1e9)
        self.when_done(strand.wake)
        while not self.done:
            if deadline is None:
                baton.wait(f"the end of {self.label}")
            elif not baton.wait(f"the end of {self.label}", deadline):
                return False
        return True

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back when it has ended, at once if it has."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def kill(self) -> None:
        """SIGKILL: no more of its code runs, and the kernel closes its descriptors, lowest first."""
        self._stop(self.process.kill)

    def vanish(self) -> None:
        """Its host lost power: no code runs, nothing is closed, nobody is told."""
        self._stop(self.process.vanish)

    def freeze(self) -> None:
        """SIGSTOP: its code stands still, its sockets do not: the kernel goes on acknowledging."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self.host.net.baton.thaw()

    def signal(self, number: int) -> None:
        """Deliver a signal: to its handler, to its loop's, or let it end the program as the default does."""
        handler = self.signals.get(number)
        if callable(handler):
            self.spawn(f"signal {number}", lambda: handler(number, None))
        else:
            self.kill()

    def spawn(self, name: str, body: Callable[[], object]) -> Strand:
        """A further line of control of this program."""
        strand = self.host.net.baton.spawn(self, name, body)
        self.strands.append(strand)
        return strand

    def waits(self) -> list[str]:
        """For people: what each of its strands waits for, and on which line."""
        found: list[str] = []
        for strand in self.strands:
            if strand.ended or not strand.waiting:
                continue
            if strand.loop is not None:
                lines = lines_of_tasks(strand.loop)
                found += [f"awaits at {line}" for line in lines] or [f"{shown(strand.what)}, no task left"]
            else:
                frame: FrameType | None = strand.frame()
                found.append(f"{shown(strand.what)} at {line_of(frame)}")
        return found

    def _main(self) -> None:
        try:
            value = self.function(*self.args) if callable(self.function) else self.function
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            self.value = value
            self._join_threads()
        except SystemExit as leaving:
            self.value = leaving.code
        except BaseException as error:
            self.error = error
        if not self.done:
            self._end(self.process.exit)

    def strand_ended(self, strand: Strand) -> None:
        """A thread of it has run to its end."""
        if strand in self.strands:
            self.strands.remove(strand)
        if self._last_waits is not None and not any(each.foreground for each in self.strands):
            self._last_waits.wake()

    def _join_threads(self) -> None:
        """As Python does at exit: wait for the threads that are no daemons."""
        self._last_waits = current.strand
        from timewait.run import threads  # Which itself needs programs.

        threads.dismiss_pools(self)
        while any(each.foreground for each in self.strands):
            self.host.net.baton.wait("its threads to end")

    def _stop(self, close: Callable[[], object]) -> None:
        if self.done:
            return
        self.killed = True
        self._end(close)
        strand = current.strand
        if strand is not None and strand.program is self:
            # It killed itself: nothing after this line runs.
            strand.baton.buried.append(strand)
            strand.baton.hub.switch()

    def _end(self, close: Callable[[], object]) -> None:
        self.done = True
        self.host.net.baton.news = True
        for strand in self.strands:
            self.host.net.baton.bury(strand)
        if self.process.alive:
            close()
        for callback in self._callbacks:
            callback()
        self._callbacks.clear()


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
