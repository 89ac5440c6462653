"""The selector of an event loop on a simulated host: keys of files that a loop asks for, kept by its `Rounds`."""

import errno
import selectors
from typing import Any

from timewait.base.errors import os_error
from timewait.run.baton import IDLE
from timewait.run.program import Program
from timewait.run.rounds import READ, WRITE, Interest, Rounds
from timewait.run.selecting import deadline, own
from timewait.run.waiting import running


class SimSelector(selectors._BaseSelectorImpl):
    """A selector over the files of a simulated host's process."""

    _fd_to_key: dict[int, selectors.SelectorKey]

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.rounds = Rounds(program, program.host.net.baton)
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
            _ask(interest, changed)
        else:
            self._watch(changed)  # The number stands for another file now.
        self._fd_to_key[key.fd] = changed
        return changed

    def _watch(self, key: selectors.SelectorKey) -> None:
        file = self.program.process.file(own(running("register"), key.fd))
        if not file.pollable:
            raise os_error(errno.EPERM)
        interest = self._interests[key.fd] = Interest(self.rounds, file)
        _ask(interest, key)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, for whoever asks a loop's selector; the loop's own rounds hand out handles themselves."""
        strand, rounds = running("select"), self.rounds
        until = deadline(strand, timeout)
        rounds.strand = strand
        try:
            while True:
                found = [(interest.key, _events(interest)) for interest in rounds.listed]
                found = [(key, events) for key, events in found if events]
                if found or until <= rounds.baton.now() or not rounds.baton.leave(strand, IDLE, until):
                    return found
        finally:
            rounds.strand = None

    def close(self) -> None:
        if self.program.process.alive:
            for interest in self._interests.values():
                interest.leave()
            if self._epfd >= 0:
                self.program.process.close(self._epfd)
        self._epfd = -1
        self._interests.clear()
        self.rounds.listed.clear()
        super().close()


def _ask(interest: Interest, key: selectors.SelectorKey) -> None:
    """Let an open file's interest be that of a key, whose data asyncio makes a pair of handles."""
    reader, writer = key.data
    interest.key = key
    interest.ask(bool(key.events & selectors.EVENT_READ), bool(key.events & selectors.EVENT_WRITE), reader, writer)


def _events(interest: Interest) -> int:
    """What of that which a key asks for is ready."""
    mask = interest.file.poll() & interest.asked
    found = (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)
    return int(found & interest.key.events)
