"""Threads of a simulated program: further strands of it, with locks that hand over the baton.

`threading`, `queue` and `concurrent.futures` are the standard library's own; only what
they stand on is exchanged: starting a thread, a lock, and a thread's number; the baton
exchanges what Python keeps per OS thread (`threading.local`).
"""

import _thread
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Self

from timewait.base.instant import NEVER
from timewait.run import current
from timewait.run.baton import Strand
from timewait.run.errors import MisuseError
from timewait.run.program import Program
from timewait.run.where import line_of

_IDENTS: Final = 1 << 40
"""Numbers of threads begin here; the main one's is the real one's."""


class Lock:
    """threading.Lock: whoever cannot have it waits with the baton handed over, first come, first served.

    Outside of the simulation it is a real lock. What a program held when it was killed is
    free again: on real hosts its locks would have been nobody else's.
    """

    def __init__(self) -> None:
        self._real = _real_lock()
        """Held from outside; the simulation only looks at it."""
        self._held = False
        self._owner: Strand | None = None
        """Who took it."""
        self._waiting: list[Strand] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As threading.Lock.acquire."""
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        strand = current.strand
        if strand is None:
            return self._acquire_outside(blocking, timeout)
        if not self.locked():
            self._held, self._owner = True, strand
            return True
        if not blocking or strand.program.done:
            return False
        until = NEVER if timeout == -1 else strand.baton.now() + round(timeout * 1e9)
        if self._owner is not None and self._owner.program is not strand.program:
            self._owner.program.when_done(strand.wake)
        self._waiting.append(strand)
        try:
            while self.locked():
                if not strand.baton.wait("a lock", until) and self.locked():
                    return False
        finally:
            self._waiting.remove(strand)
        self._held, self._owner = True, strand
        return True

    def _acquire_outside(self, blocking: bool, timeout: float) -> bool:
        # A strand cannot run while the world outside waits for it, so what is held inside is not waited for.
        if self._in_use():
            if blocking and timeout == -1:
                raise MisuseError(
                    f"{line_of(sys._getframe(2))}: this lock is held by {_holder(self._owner)}, which cannot run "
                    "while the code around the simulation waits; let a program take it: host.run(function)"
                )
            return False
        return self._real.acquire(blocking, timeout)

    def release(self) -> None:
        """As threading.Lock.release. RuntimeError if nobody holds it."""
        if not self._held:
            if self._real.locked():
                self._real.release()
                self._wake()
                return
            if current.strand is not None and current.strand.program.done:
                return  # Unwinding: the lock was not had when its owner was stopped.
            raise RuntimeError("release unlocked lock")
        strand = current.strand
        if strand is not None and strand.program.done and self._owner is not strand:
            return  # Unwinding: somebody else has it now.
        self._held, self._owner = False, None
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            self._waiting[0].wake()

    def _in_use(self) -> bool:
        """Whether a strand holds it whose program lives."""
        return self._held and (self._owner is None or not self._owner.program.done)

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._in_use() or self._real.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]

    acquire_lock, release_lock, locked_lock = acquire, release, locked


class RLock:
    """threading.RLock over the same waiting: a strand may take it several times."""

    def __init__(self) -> None:
        self._block = Lock()
        self._holder: tuple[int, Strand | None] | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As threading.RLock.acquire."""
        if self._is_owned():
            self._count += 1
            return True
        if not self._block.acquire(blocking, timeout):
            return False
        self._holder, self._count = _me(), 1
        return True

    def release(self) -> None:
        """As threading.RLock.release. RuntimeError if somebody else holds it."""
        if not self._is_owned():
            if current.strand is not None and current.strand.program.done:
                return
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._holder = None
            self._block.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    # What Condition needs.

    def _is_owned(self) -> bool:
        return self._holder == _me()

    def _release_save(self) -> tuple[int, Any]:
        state = self._count, self._holder
        self._count, self._holder = 0, None
        self._block.release()
        return state

    def _acquire_restore(self, state: tuple[int, Any]) -> None:
        self._block.acquire()
        self._count, self._holder = state

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]


def _me() -> tuple[int, Strand | None]:
    strand = current.strand
    return (_real_ident() if strand is None else 0), strand


def _holder(owner: Strand | None) -> str:
    return "the simulation" if owner is None else f"{owner.name} of {owner.program.label}"


_real_ident: Final = _thread.get_ident
_real_lock: Final = _thread.allocate_lock
_LOCK: Final = type(_thread.allocate_lock())
_RLOCK: Final = type(threading.RLock())
LOCKS: Final = (_LOCK, _RLOCK)


def replace_lock(value: Any) -> Any:
    """What stands for a lock that a module made when it was loaded: it may be held while a strand waits."""
    found = _replaced.get(id(value))
    if found is not None:
        return found[1]
    made: Any = None
    if type(value) is _LOCK and not value.locked():
        made = Lock()
    elif type(value) is _RLOCK and value.acquire(blocking=False):
        # Held by this very thread, it cannot be told from a free one but by its count, which repr() shows.
        value.release()
        made = RLock() if "unlocked" in repr(value) else None
    if made is not None:
        _replaced[id(value)] = value, made
    return made


_replaced: Final[dict[int, tuple[Any, Any]]] = {}
"""id of a lock -> (the lock, what stands for it): modules may have imported it from each other."""


def dismiss_pools(program: Program) -> None:
    """As concurrent.futures does at exit: workers of pools that nobody shut down end when their work is done."""
    pools = sys.modules.get("concurrent.futures.thread")
    if pools is None:
        return
    queues: dict[threading.Thread, Any] = pools._threads_queues
    idents = {strand.ident for strand in program.strands}
    for thread, work in list(queues.items()):
        if thread.ident in idents:
            executor = getattr(thread, "_args", (lambda: None,))[0]()
            if executor is not None:
                executor._shutdown = True
            work.put(None)


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
        (threading.RLock, lambda program, *args: RLock()),
        (queue.SimpleQueue, lambda program: SimpleQueue()),
    ]
    if isinstance(vars(_thread).get("lock"), type):
        found.append((vars(_thread)["lock"], lambda program: Lock()))  # threading.Lock since Python 3.13.
    if hasattr(_thread, "_set_sentinel"):
        found.append((_thread._set_sentinel, set_sentinel))
    if hasattr(_thread, "start_joinable_thread"):
        found.append((_thread.start_joinable_thread, start_joinable_thread))
        made: Any = vars(_thread)["_ThreadHandle"]
        found.append((made, lambda program: Handle()))
    return found
