"""Buffers that are read into again once nobody looks at them any more.

A fresh 64 KiB object for each read costs more than the copy from the kernel does: its
pages are taken from the kernel, cleared and given back every time. Here a read goes
into a buffer whose views are all gone; what is small is copied out instead, so that a
few waiting octets never keep a large buffer.
"""

import os
import sys
from collections import deque
from typing import Final

from timewait.wire.packet import Buffer

MOST: Final = 256
"""Buffers kept for reuse, 16 MiB of 64 KiB each; beyond that each read makes its own."""


class ReadBuffers:
    """Reads datagrams of up to `size` octets from descriptors."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._small = size // 4
        """Below this a datagram is copied, so that at most three quarters of a kept buffer are waste."""
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._vector = [self._buffer]
        self._lent: deque[bytearray] = deque((bytearray(1),))
        self._idle_count = sys.getrefcount(self._lent[0])
        """References to a buffer that nothing but the queue holds, counted in the way `_next` counts."""
        self._lent.clear()

    def read(self, fd: int) -> Buffer:
        """The next datagram. Raises what os.readv raises: BlockingIOError when there is none."""
        count = os.readv(fd, self._vector)
        data = self._view[:count]
        if count < self._small:
            return bytes(data)
        self._next()
        return data

    def _next(self) -> None:
        """The buffer that was read into is lent; the next read goes into one that came back, or into a new one."""
        lent = self._lent
        if len(lent) < MOST:
            lent.append(self._buffer)
        # Programs read in order, so the oldest buffer is the first to be free.
        if sys.getrefcount(lent[0]) == self._idle_count:
            self._buffer = lent.popleft()
        else:
            self._buffer = bytearray(self._size)
        self._view = memoryview(self._buffer)
        self._vector = [self._buffer]
