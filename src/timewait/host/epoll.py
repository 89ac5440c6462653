"""epoll: a ready list that costs what is ready, not what is watched (fs/eventpoll.c's semantics)."""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.host.file import (
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    EPOLLRDNORM,
    EPOLLWAKEUP,
    File,
    Watcher,
)

EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3

MAX_NESTS: Final = 4
"""EP_MAX_NESTS: how deep epoll files may watch epoll files."""
PRIVATE_BITS: Final = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
EXCLUSIVE_OK: Final = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE


class EpollItem(Watcher):
    """One entry of an interest list: a descriptor number together with the open file it meant when it was added."""

    def __init__(self, epoll: "Epoll", file: File, fd: int, events: i64, data: int) -> None:
        self.epoll: Epoll = epoll
        self.file: File = file
        self.fd: int = fd
        self.events: i64 = events
        """Asked for, with EPOLLERR and EPOLLHUP always; only private bits once a one-shot fired."""
        self.data: int = data

    def notify(self, file: File, mask: i64) -> None:
        """ep_poll_callback: put the item on the ready list; whether it is ready is asked when it is collected."""
        if not self.events & ~PRIVATE_BITS:
            return
        if mask and not mask & self.events:
            return
        self.epoll.make_ready(self)

    def file_released(self, file: File) -> None:
        self.epoll.forget(self)


class Epoll(File):
    """An epoll instance. Itself a file: it is readable while something it watches is ready."""

    def __init__(self) -> None:
        self.items: dict[tuple[int, int], EpollItem] = {}
        """By (descriptor, identity of the open file): dup() makes a second entry possible."""
        self.ready: dict[EpollItem, None] = {}
        """The ready list, an ordered set."""

    def control(self, op: int, fd: int, file: File, events: int, data: int) -> None:
        """epoll_ctl(). OSError EPERM, EINVAL, EEXIST, ENOENT or ELOOP as Linux gives them."""
        if not file.pollable:
            raise os_error(errno.EPERM)
        if file is self:
            raise os_error(errno.EINVAL)
        if op != EPOLL_CTL_DEL and events & EPOLLEXCLUSIVE:
            if op == EPOLL_CTL_MOD:
                raise os_error(errno.EINVAL)
            if isinstance(file, Epoll) or events & ~EXCLUSIVE_OK:
                raise os_error(errno.EINVAL)
        if op == EPOLL_CTL_ADD and isinstance(file, Epoll):
            self._check_nesting(file)
        key = (fd, id(file))
        item = self.items.get(key)
        if op == EPOLL_CTL_ADD:
            if item is not None:
                raise os_error(errno.EEXIST)
            self._add(key, EpollItem(self, file, fd, events | EPOLLERR | EPOLLHUP, data))
        elif op == EPOLL_CTL_DEL:
            if item is None:
                raise os_error(errno.ENOENT)
            file.unwatch(item)
            self.forget(item)
        elif op == EPOLL_CTL_MOD:
            if item is None:
                raise os_error(errno.ENOENT)
            if item.events & EPOLLEXCLUSIVE:
                raise os_error(errno.EINVAL)
            item.events = events | EPOLLERR | EPOLLHUP
            item.data = data
            # A change reports what is ready now once more, edge-triggered or not (ep_modify).
            if file.poll() & item.events:
                self.make_ready(item)
        else:
            raise os_error(errno.EINVAL)

    def collect(self, most: int) -> list[tuple[int, int]]:
        """epoll_wait() without waiting: up to `most` pairs (data, events). OSError EINVAL unless most > 0.

        A level-triggered entry stays on the list, behind all others, so that with more
        ready entries than `most` everyone gets a turn.
        """
        if most <= 0:
            raise os_error(errno.EINVAL)
        found: list[tuple[int, int]] = []
        again: list[EpollItem] = []
        for _ in range(len(self.ready)):
            if len(found) == most:
                break
            item = next(iter(self.ready))
            del self.ready[item]
            happened = item.file.poll() & item.events & ~PRIVATE_BITS
            if not happened:
                continue
            found.append((item.data, happened))
            if item.events & EPOLLONESHOT:
                item.events &= PRIVATE_BITS
            elif not item.events & EPOLLET:
                again.append(item)
        for item in again:
            self.ready[item] = None
        return found

    def poll(self) -> i64:
        """EPOLLIN while collect() would give something; stale entries are taken off on the way."""
        while self.ready:
            item = next(iter(self.ready))
            if item.file.poll() & item.events & ~PRIVATE_BITS:
                return EPOLLIN | EPOLLRDNORM
            del self.ready[item]
        return 0

    def released(self) -> None:
        """close(): leave every watched file."""
        items = list(self.items.values())
        self.items.clear()
        self.ready.clear()
        for item in items:
            item.file.unwatch(item)

    def make_ready(self, item: EpollItem) -> None:
        """Put an item on the ready list, and tell who waits for this epoll."""
        if item not in self.ready:
            self.ready[item] = None
        self.wake(EPOLLIN | EPOLLRDNORM)

    def forget(self, item: EpollItem) -> None:
        """Take an item off both lists."""
        self.items.pop((item.fd, id(item.file)), None)
        self.ready.pop(item, None)

    def depth(self, seek: "Epoll", level: int) -> int:
        """How many levels of epoll files are below this one; OSError ELOOP where `seek` is among them."""
        deepest = 0
        for item in self.items.values():
            file = item.file
            if isinstance(file, Epoll):
                if file is seek or level > MAX_NESTS:
                    raise os_error(errno.ELOOP)
                deepest = max(deepest, 1 + file.depth(seek, level + 1))
        return deepest

    def height(self) -> int:
        """How many levels of epoll files watch this one."""
        highest = 0
        if self.watchers is not None:
            for watcher in self.watchers:
                if isinstance(watcher, EpollItem):
                    highest = max(highest, 1 + watcher.epoll.height())
        return highest

    def _add(self, key: tuple[int, int], item: EpollItem) -> None:
        self.items[key] = item
        item.file.watch(item)
        if item.file.poll() & item.events:
            self.make_ready(item)

    def _check_nesting(self, below: "Epoll") -> None:
        """Watching `below` must close no circle and make no chain of more than MAX_NESTS links."""
        if self.height() + 1 + below.depth(self, 1) > MAX_NESTS:
            raise os_error(errno.ELOOP)
