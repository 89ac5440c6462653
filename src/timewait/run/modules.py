"""What programs may have imported by name answers for the running program: time, sockets, select, randomness, names.

Each function stands in for the original wherever a loaded module holds it, and asks
who is running: outside of a simulation, the original does its work. Installed once per
process, with the first Net; modules loaded later are looked through when a run begins.
"""

import _socket
import asyncio.events
import multiprocessing
import multiprocessing.context
import multiprocessing.process
import os
import random
import select
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from timewait.run import current, dates, guard, openssl, selecting, threads, tls
from timewait.run.errors import MisuseError
from timewait.run.loop import new_event_loop
from timewait.run.names import getaddrinfo, getnameinfo, resolve
from timewait.run.program import Program
from timewait.run.sockets import SimSocket, socketpair
from timewait.run.where import line_of

Dispatch = Callable[..., Any]

_OWN: Final = "timewait."
_seen: set[str] = set()
_stand_ins: dict[int, tuple[Any, Any]] = {}
"""id of an original -> (original, what stands in for it)."""


def install() -> None:
    """Put everything in place; what was loaded since the last call is brought up to date."""
    if not _stand_ins:
        _collect()
        _patch_classes()
        guard.install()
    if len(sys.modules) != len(_seen):
        for name, module in list(sys.modules.items()):
            if name not in _seen:
                _seen.add(name)
                if isinstance(module, ModuleType) and not name.startswith(_OWN) and name != "timewait":
                    _replace(module)


def _replace(module: ModuleType) -> None:
    """Let the stand-ins take the originals' places in a module."""
    names = vars(module)
    for name, value in list(names.items()):
        found = _stand_ins.get(id(value))
        if found is not None and found[0] is value:
            names[name] = found[1]
        elif type(value) in threads.LOCKS and module is not threading:
            lock = threads.replace_lock(value)
            if lock is not None:
                names[name] = lock


def stand_in(original: Any, inside: Dispatch) -> None:
    """`inside(program, ...)` is called instead of `original(...)` while a program runs."""

    def dispatch(*args: Any, **options: Any) -> Any:
        strand = current.strand
        if strand is None:
            return original(*args, **options)
        return inside(strand.program, *args, **options)

    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        try:
            setattr(dispatch, name, getattr(original, name))
        except AttributeError:
            pass
    dispatch.__wrapped__ = original  # type: ignore[attr-defined]
    _stand_ins[id(original)] = (original, dispatch)


# Time


def _sleep(program: Program, seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    strand = current.strand
    assert strand is not None
    baton = strand.baton
    until = baton.now() + round(seconds * 1e9)
    while baton.wait(f"sleep({seconds:g})", until):
        pass


# Randomness


def _random_function(name: str) -> Dispatch:
    def inside(program: Program, *args: Any, **options: Any) -> Any:
        return getattr(program.host.random, name)(*args, **options)

    return inside


def _urandom(program: Program, size: int) -> bytes:
    return program.host.random.randbytes(size)


# Refusals


def _refused(what: str, remedy: str) -> Dispatch:
    def inside(program: Program, *args: Any, **options: Any) -> Any:
        raise MisuseError(f"{line_of(sys._getframe(2))}: {what} inside the simulation; {remedy}")

    return inside


CHILD: Final = "run what the child does as a program of the host: host.run(function)"


def _signal(program: Program, number: int, handler: Any) -> Any:
    """signal.signal(): kept for Program.signal()."""
    before = program.signals.get(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    program.signals[number] = handler
    return before


def _getsignal(program: Program, number: int) -> Any:
    return program.signals.get(number, signal.SIG_DFL)


def _collect() -> None:
    for original, inside in (*dates.stand_ins(), *threads.stand_ins()):
        stand_in(original, inside)
    stand_in(time.sleep, _sleep)
    shared: Any = vars(random)["_inst"]
    for name, value in list(vars(random).items()):
        if getattr(value, "__self__", None) is shared:
            stand_in(value, _random_function(name))
    stand_in(os.urandom, _urandom)
    if hasattr(os, "getrandom"):
        stand_in(os.getrandom, lambda program, size, flags=0: _urandom(program, size))
    stand_in(select.select, lambda program, *args: selecting.select_(*args))
    stand_in(select.poll, lambda program: selecting.Poll())
    stand_in(select.epoll, lambda program, *args, **options: selecting.Epoll(*args, **options))
    stand_in(_socket.getaddrinfo, getaddrinfo)
    stand_in(_socket.getnameinfo, getnameinfo)
    stand_in(_socket.gethostname, lambda program: program.host.name)
    stand_in(_socket.gethostbyname, lambda program, host: resolve(program, host, socket.AF_INET)[0])
    stand_in(_socket.gethostbyname_ex, lambda program, host: (host, [], resolve(program, host, socket.AF_INET)))
    stand_in(socket.socketpair, lambda program, *args, **options: socketpair(*args, **options))
    stand_in(socket.getfqdn, lambda program, name="": name or program.host.name)
    stand_in(signal.signal, _signal)
    stand_in(signal.getsignal, _getsignal)
    stand_in(signal.set_wakeup_fd, lambda program, fd, **options: -1)
    for name in ("fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "execv", "execve", "execvp"):
        stand_in(getattr(os, name), _refused(f"os.{name}()", CHILD))
    for name in _MULTIPROCESSING:
        stand_in(getattr(multiprocessing, name), _refused(f"multiprocessing.{name}()", CHILD))


_MULTIPROCESSING: Final = ("Pipe", "Queue", "SimpleQueue", "JoinableQueue", "Pool", "Manager", "Lock", "Semaphore")


def _patch_classes() -> None:
    """Classes stay the objects they are, so that who imported them by name is served too."""
    cls: Any = socket.socket
    cls.__new__ = staticmethod(_new_socket)
    # These hold the original as a class attribute, which no module does.
    holders: list[tuple[Any, Any]] = [(selectors.PollSelector, select.poll), (selectors.EpollSelector, select.epoll)]
    for holder, original in holders:
        holder._selector_cls = staticmethod(_stand_ins[id(original)][1])
    chooser: Any = selectors.SelectSelector
    chooser._select = staticmethod(_stand_ins[id(select.select)][1])
    policy: Any = asyncio.events.BaseDefaultEventLoopPolicy
    policy.new_event_loop = new_event_loop(policy.new_event_loop)
    popen: Any = subprocess.Popen
    popen.__init__ = _guarded(popen.__init__, "subprocess", CHILD)
    dates.patch()
    tls_context: Any = ssl.SSLContext
    tls_context._wrap_bio = openssl.wrap_bio(tls_context._wrap_bio)
    openssl.seed_randomness()
    tls_context.wrap_socket = tls.wrap_socket(tls_context.wrap_socket)
    process: Any = multiprocessing.process.BaseProcess
    process.start = _guarded(process.start, "multiprocessing", CHILD)
    context: Any = multiprocessing.context.BaseContext
    for name in _MULTIPROCESSING:
        setattr(context, name, _guarded(getattr(context, name), f"multiprocessing.{name}()", CHILD))
    seeded: Any = random.Random
    seeded.seed = _seed(seeded.seed)
    names: Any = vars(tempfile)["_RandomNameSequence"]
    names.rng = property(_from_outside(names.rng.fget))


_kinds: Final[dict[Any, Any]] = {}
"""A program's subclass of socket.socket -> the same over a SimSocket."""


def _new_socket(cls: Any, *args: Any, **options: Any) -> Any:
    if current.strand is not None and not issubclass(cls, (SimSocket, ssl.SSLSocket)):
        if cls is socket.socket:
            cls = SimSocket
        else:
            if cls not in _kinds:
                _kinds[cls] = type(cls.__name__, (cls, SimSocket), {"__module__": cls.__module__})
            cls = _kinds[cls]
    return _socket.socket.__new__(cls)


def _guarded(original: Any, what: str, remedy: str) -> Any:
    def guarded(*args: Any, **options: Any) -> Any:
        if current.strand is not None:
            raise MisuseError(f"{line_of(sys._getframe(1))}: {what} inside the simulation; {remedy}")
        return original(*args, **options)

    return guarded


def _from_outside(original: Any) -> Any:
    """Called as if no program ran: names of real files are the machine's, and whoever asks first makes their source."""

    def outside(*args: Any) -> Any:
        strand, current.strand = current.strand, None
        try:
            return original(*args)
        finally:
            current.strand = strand

    return outside


def _seed(original: Any) -> Any:
    """random.Random() without a seed takes one from the host, not from the machine."""

    def seed(self: Any, a: Any = None, version: int = 2) -> None:
        strand = current.strand
        if a is None and strand is not None and not isinstance(self, random.SystemRandom):
            a = strand.program.host.random.getrandbits(64)
        original(self, a, version)

    return seed
