"""select, poll and epoll for programs on simulated hosts: the host's own epoll, waited for with the baton."""

import errno
import math
import select
from collections.abc import Iterable, Sequence
from typing import Any, Final

from timewait.base.errors import os_error
from timewait.base.instant import NEVER
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, File
from timewait.run.baton import Strand
from timewait.run.errors import MisuseError
from timewait.run.sockets import FD_BASE
from timewait.run.waiting import Waker, running, wait_for

EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3


def number(fileobj: Any) -> int:
    """The descriptor behind an int or an object with fileno(). ValueError, TypeError as select() raises them."""
    fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if not isinstance(fd, int):
        raise TypeError("argument must be an int, or have a fileno() method.")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return fd


def own(strand: Strand, fileobj: Any) -> int:
    """The number of a descriptor in its process. MisuseError for a real one."""
    fd = number(fileobj)
    if fd < FD_BASE:
        raise MisuseError(f"descriptor {fd} is a real one; programs on simulated hosts wait for simulated sockets only")
    return fd - FD_BASE


def deadline(strand: Strand, timeout: float | None) -> int:
    """The instant (ns) so many seconds from now; never early."""
    if timeout is None or timeout < 0:
        return NEVER
    return strand.baton.now() + math.ceil(timeout * 1e9)


class Epoll:
    """select.epoll."""

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._process = running("epoll").program.process
        self._fd = self._process.epoll_create()

    @classmethod
    def fromfd(cls, fd: int) -> "Epoll":
        """select.epoll.fromfd."""
        made = cls.__new__(cls)
        made._process = running("epoll").program.process
        made._fd = fd - FD_BASE
        return made

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._fd < 0

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._process.alive:
            self._process.close(fd)

    def __enter__(self) -> "Epoll":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Its own descriptor."""
        if self._fd < 0:
            raise ValueError("I/O operation on closed epoll object")
        return self._fd + FD_BASE

    def _control(self, op: int, fd: Any, eventmask: int = 0) -> None:
        target = own(running("epoll"), fd)
        self._process.epoll_ctl(self._fd, op, target, eventmask, target + FD_BASE)

    def register(self, fd: Any, eventmask: int = EPOLLIN | EPOLLOUT | EPOLLPRI) -> None:
        """EPOLL_CTL_ADD."""
        self._control(EPOLL_CTL_ADD, fd, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """EPOLL_CTL_MOD."""
        self._control(EPOLL_CTL_MOD, fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """EPOLL_CTL_DEL."""
        self._control(EPOLL_CTL_DEL, fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """epoll_wait(): (descriptor, events), waiting up to `timeout` seconds for the first."""
        strand = running("epoll")
        most = maxevents if maxevents > 0 else 1024
        found = self._process.epoll_wait(self._fd, most)
        if found or timeout == 0:
            return found
        until = deadline(strand, timeout)
        file = self._process.file(self._fd)
        while not found and wait_for(file, EPOLLIN, "epoll_wait", until):
            found = self._process.epoll_wait(self._fd, most)
        return found


class Poll:
    """select.poll(): its object."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = select.POLLIN | select.POLLPRI | select.POLLOUT) -> None:
        """Ask for events of a descriptor."""
        self._asked[number(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """Ask for other ones. OSError ENOENT."""
        if number(fd) not in self._asked:
            raise os_error(errno.ENOENT)
        self._asked[number(fd)] = eventmask

    def unregister(self, fd: Any) -> None:
        """Ask no more. KeyError."""
        del self._asked[number(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """(descriptor, events) of those ready, waiting up to `timeout` milliseconds."""
        strand = running("poll")
        until = NEVER if timeout is None or timeout < 0 else deadline(strand, timeout / 1000)
        asked = [(own(strand, fd), events) for fd, events in self._asked.items()]
        return [(fd + FD_BASE, events) for fd, events in _ready(strand, asked, until, "poll")]


def select_(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """select.select()."""
    strand = running("select")
    lists = [list(rlist), list(wlist), list(xlist)]
    masks = (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR, EPOLLOUT | EPOLLERR, EPOLLPRI)
    asked: dict[int, int] = {}
    for objects, mask in zip(lists, masks, strict=True):
        for fileobj in objects:
            fd = own(strand, fileobj)
            asked[fd] = asked.get(fd, 0) | mask
    found = dict(_ready(strand, list(asked.items()), deadline(strand, timeout), "select"))
    chosen = [
        [fileobj for fileobj in objects if found.get(own(strand, fileobj), 0) & mask]
        for objects, mask in zip(lists, masks, strict=True)
    ]
    return chosen[0], chosen[1], chosen[2]


def _ready(strand: Strand, asked: Sequence[tuple[int, int]], until: int, call: str) -> list[tuple[int, int]]:
    """poll() of the process, waited for."""
    process = strand.program.process
    found = process.poll(list(asked))
    if found or until <= strand.baton.now():
        return found
    watched: list[tuple[File, Waker]] = []
    for fd, mask in asked:
        waker = Waker(strand, mask | EPOLLERR | EPOLLHUP)
        file = process.file(fd)
        file.watch(waker)
        watched.append((file, waker))
    try:
        while not found and strand.baton.wait(f"{call} of {len(asked)} descriptors", until):
            found = process.poll(list(asked))
        return found
    finally:
        for file, waker in watched:
            file.unwatch(waker)
