"""Threads of a simulated program: further strands of it, with locks that hand over the baton.

`threading`, `queue` and `concurrent.futures` are the standard library's own; only what
they stand on is exchanged: starting a thread, a lock, and a thread's number; the baton
exchanges what Python keeps per OS thread (`threading.local`).
"""

import _thread
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Self

from timewait.base.instant import NEVER
from timewait.run import current
from timewait.run.baton import Strand
from timewait.run.program import Program

_IDENTS: Final = 1 << 40
"""Numbers of threads begin here; the main one's is the real one's."""


class Lock:
    """threading.Lock: whoever cannot have it waits with the baton handed over, first come, first served."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: list[Strand] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As threading.Lock.acquire; outside of the simulation nobody is left to wait for, and it succeeds."""
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        strand = current.strand
        if not self._held or strand is None:
            self._held = True
            return True
        if not blocking:
            return False
        until = NEVER if timeout == -1 else strand.baton.now() + round(timeout * 1e9)
        self._waiting.append(strand)
        try:
            while self._held:
                if not strand.baton.wait("a lock", until):
                    return False
        finally:
            self._waiting.remove(strand)
        self._held = True
        return True

    def release(self) -> None:
        """As threading.Lock.release. RuntimeError if nobody holds it."""
        if not self._held:
            if current.strand is None or current.strand.program.done:
                return  # Unwinding: the lock was not had when its owner was stopped.
            raise RuntimeError("release unlocked lock")
        self._held = False
        if self._waiting:
            self._waiting[0].wake()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]

    acquire_lock, release_lock, locked_lock = acquire, release, locked


class Handle:
    """What `threading` holds of a running thread since Python 3.13 (_thread._ThreadHandle)."""

    def __init__(self) -> None:
        self.ident = 0
        self._over = Lock()
        self._over.acquire()
        self._done = False

    def is_done(self) -> bool:
        """Whether the thread has ended."""
        return self._done

    def _set_done(self) -> None:
        if not self._done:
            self._done = True
            self._over.release()

    def join(self, timeout: float | None = -1) -> None:
        """Wait for its end."""
        if self._done:
            return
        if self._over.acquire(True, -1 if timeout is None else timeout):
            self._over.release()


def start_new_thread(
    program: Program, function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> int:
    """_thread.start_new_thread(): a strand."""
    return _start(program, lambda: function(*args, **(kwargs or {})), function)


def start_joinable_thread(
    program: Program, function: Callable[[], Any], handle: Handle | None = None, daemon: bool = True
) -> Handle:
    """_thread.start_joinable_thread()."""
    handle = handle or Handle()

    def body() -> None:
        try:
            function()
        finally:
            handle._set_done()

    handle.ident = _start(program, body, function)
    return handle


def _start(program: Program, body: Callable[[], Any], function: Any) -> int:
    thread = getattr(function, "__self__", None)
    name = getattr(thread, "name", getattr(function, "__name__", "thread"))
    strand = program.spawn(name, lambda: _run(strand, body))
    strand.ident = _IDENTS + len(program.strands) + (id(program) << 8)
    strand.foreground = isinstance(thread, threading.Thread) and not thread.daemon
    return strand.ident


def _run(strand: Strand, body: Callable[[], Any]) -> None:
    try:
        body()
    except SystemExit:
        pass
    finally:
        for lock in strand.at_end:
            if lock.locked():
                lock.release()
        strand.program.strand_ended(strand)


def set_sentinel(program: Program) -> Lock:
    """_thread._set_sentinel(): a lock that is released when the running thread has ended."""
    strand = current.strand
    assert strand is not None
    lock = Lock()
    strand.at_end.append(lock)
    return lock


def get_ident(program: Program) -> int:
    """threading.get_ident()."""
    strand = current.strand
    assert strand is not None
    return strand.ident or _real_ident()


_real_ident: Final = _thread.get_ident


class SimpleQueue(queue._PySimpleQueue):  # type: ignore[name-defined,misc]
    """queue.SimpleQueue in Python, whose waiting is the simulation's."""

    @classmethod
    def __class_getitem__(cls, item: Any) -> type[Self]:
        return cls


def stand_ins() -> list[tuple[Any, Callable[..., Any]]]:
    """(original, what programs get instead): for modules.py."""
    found: list[tuple[Any, Callable[..., Any]]] = [
        (_thread.start_new_thread, start_new_thread),
        (_thread.allocate_lock, lambda program: Lock()),
        (_thread.get_ident, get_ident),
        (threading.RLock, lambda program, *args: threading._PyRLock()),  # type: ignore[attr-defined]
        (queue.SimpleQueue, lambda program: SimpleQueue()),
    ]
    if hasattr(_thread, "_set_sentinel"):
        found.append((_thread._set_sentinel, set_sentinel))
    if hasattr(_thread, "start_joinable_thread"):
        found.append((_thread.start_joinable_thread, start_joinable_thread))
        made: Any = vars(_thread)["_ThreadHandle"]
        found.append((made, lambda program: Handle()))
    return found
