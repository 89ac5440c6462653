"""What an event loop of a program waits for: open files of its simulated host, which say when they are ready.

No epoll file stands between: a file tells whoever is interested in it, and the loop, if it
waits, gets the baton. What is ready stays on the list, as level-triggered epoll has it.
"""

import errno
import selectors
from typing import Any, Final

from timewait.base.errors import os_error
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, File, Watcher
from timewait.run.baton import IDLE, Strand
from timewait.run.program import Program
from timewait.run.selecting import deadline, own
from timewait.run.sockets import running

_ALWAYS: Final = EPOLLHUP | EPOLLERR
READ: Final = EPOLLIN | _ALWAYS
WRITE: Final = EPOLLOUT | _ALWAYS


class Interest(Watcher):
    """What is asked of one open file, by a key of the selector."""

    def __init__(self, selector: "SimSelector", file: File, key: selectors.SelectorKey) -> None:
        self.selector = selector
        self.file = file
        self.listed = False
        """It may be ready, and is looked at in the next round."""
        self.ask(key)
        file.watch(self)

    def ask(self, key: selectors.SelectorKey) -> None:
        """Ask for this from now on. What is ready already is told once more (EPOLL_CTL_MOD)."""
        self.key = key
        self.asked = (READ if key.events & selectors.EVENT_READ else 0) | (
            WRITE if key.events & selectors.EVENT_WRITE else 0
        )
        if self.file.refs > 0 and self.file.poll() & self.asked:
            self.notify(self.file, 0)

    def notify(self, file: File, mask: int) -> None:
        if self.listed or (mask and not mask & self.asked):
            return
        self.listed = True
        selector = self.selector
        selector.listed.append(self)
        if selector.strand is not None:
            selector.strand.wake()

    def file_released(self, file: File) -> None:
        self.asked = 0

    def leave(self) -> None:
        """Nothing is asked any more."""
        self.asked = 0
        if self.file.refs > 0:
            self.file.unwatch(self)


class SimSelector(selectors._BaseSelectorImpl):
    """A selector over the files of a simulated host's process. `wake()` ends a select() that waits."""

    _fd_to_key: dict[int, selectors.SelectorKey]

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.baton = program.host.net.baton
        self.strand: Strand | None = None
        """Who waits for something to happen; None: nobody does."""
        self.listed: list[Interest] = []
        """What may be ready, in the order in which it became so."""
        self._interests: dict[int, Interest] = {}
        self._epfd = program.process.epoll_create()
        """Nobody asks it anything, but a loop holds one, and programs may be short of descriptors."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        try:
            self._watch(key)
        except BaseException:
            super().unregister(fileobj)
            raise
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self._interests.pop(key.fd).leave()
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        changed = selectors.SelectorKey(key.fileobj, key.fd, events, data)
        interest = self._interests[key.fd]
        if interest.file.refs > 0:
            interest.ask(changed)
        else:
            self._watch(changed)  # The number stands for another file now.
        self._fd_to_key[key.fd] = changed
        return changed

    def _watch(self, key: selectors.SelectorKey) -> None:
        file = self.program.process.file(own(running("register"), key.fd))
        if not file.pollable:
            raise os_error(errno.EPERM)
        self._interests[key.fd] = Interest(self, file, key)

    def wake(self) -> None:
        """Let a wait return."""
        if self.strand is not None:
            self.strand.wake()

    def take(self) -> list[Interest]:
        """What is ready now, in an order drawn from the seed; it stays listed, for it may be so next time."""
        ready = []
        for interest in self.listed:
            if interest.asked and interest.file.poll() & interest.asked:
                ready.append(interest)
            else:
                interest.listed = False
        if len(ready) > 1:
            self.baton.rng.shuffle(ready)
        self.listed = ready
        return ready

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        strand = running("select")
        until = deadline(strand, timeout)
        found = self.take()
        if not found and (timeout is None or timeout > 0):
            self.strand = strand
            try:
                while not found and self.baton.leave(strand, IDLE, until):
                    found = self.take()
            finally:
                self.strand = None
        ready = []
        for interest in found:
            mask, key = interest.file.poll(), interest.key
            events = (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)
            ready.append((key, events & key.events))
        return ready

    def close(self) -> None:
        if self.program.process.alive:
            for interest in self._interests.values():
                interest.leave()
            if self._epfd >= 0:
                self.program.process.close(self._epfd)
        self._epfd = -1
        self._interests.clear()
        self.listed = []
        super().close()
