"""Pipes and files in memory: what splice() and sendfile() move data between."""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM, File

PIPE_SIZE: Final = 65536
"""Sixteen pages: the default capacity (pipe(7))."""


class PipeBuffer:
    """What both ends of a pipe share."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.readers: i64 = 1
        self.writers: i64 = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class PipeEnd(File):
    """One end of a pipe."""

    def __init__(self, buffer: PipeBuffer, reading: bool) -> None:
        self.buffer = buffer
        self.reading = reading
        self.other: PipeEnd | None = None

    def poll(self) -> i64:
        buffer = self.buffer
        if self.reading:
            mask: i64 = EPOLLIN | EPOLLRDNORM if buffer.data else 0
            return mask if buffer.writers else mask | EPOLLHUP
        mask = EPOLLOUT | EPOLLWRNORM if len(buffer.data) < PIPE_SIZE else 0
        return mask if buffer.readers else mask | EPOLLERR

    def read(self, size: int) -> bytes:
        """Up to `size` octets; b'' when every writer is gone. EAGAIN, EBADF."""
        if not self.reading:
            raise os_error(errno.EBADF)
        buffer = self.buffer
        if not buffer.data and buffer.writers and size:
            raise os_error(errno.EAGAIN)
        found = bytes(buffer.data[:size])
        del buffer.data[:size]
        if found and self.other is not None:
            self.other.wake(EPOLLOUT)
        return found

    def write(self, data: bytes) -> int:
        """Octets taken; EPIPE without a reader, EAGAIN when full, EBADF at the reading end."""
        if self.reading:
            raise os_error(errno.EBADF)
        buffer = self.buffer
        if not buffer.readers:
            raise os_error(errno.EPIPE)
        room = PIPE_SIZE - len(buffer.data)
        if room <= 0 and data:
            raise os_error(errno.EAGAIN)
        buffer.data += data[:room]
        if self.other is not None:
            self.other.wake(EPOLLIN)
        return min(room, len(data))

    def released(self) -> None:
        if self.reading:
            self.buffer.readers = 0
        else:
            self.buffer.writers = 0
        if self.other is not None:
            self.other.wake(EPOLLHUP | EPOLLERR)


def make_pipe() -> tuple[PipeEnd, PipeEnd]:
    """pipe(): the reading end and the writing end."""
    buffer = PipeBuffer()
    reader, writer = PipeEnd(buffer, True), PipeEnd(buffer, False)
    reader.other, writer.other = writer, reader
    return reader, writer


class MemoryFile(File):
    """A regular file's content with a position."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at: i64 = 0
        self.pollable = False

    def read(self, size: int) -> bytes:
        """The next octets; b'' at the end."""
        found = self.data[self.at : self.at + size]
        self.at += len(found)
        return found
