"""A process's descriptor table: small numbers to open files, the lowest free one first."""

import errno
import heapq
from collections.abc import Iterator

from timewait.base.errors import os_error
from timewait.host.file import File

FIRST_FD = 3
"""0 to 2 are the standard streams, which do not exist here but count."""


class Descriptors:
    """Finding, adding and taking out cost O(1), or O(log n) where lower numbers are free."""

    def __init__(self) -> None:
        self._files: list[File | None] = [None] * FIRST_FD
        self._free: list[int] = []
        """A heap of free descriptors, each once; `put` may have taken one of them meanwhile."""
        self._listed = bytearray(FIRST_FD)
        """Which descriptors stand in `_free`."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, fd: int) -> bool:
        return self.get(fd) is not None

    def __iter__(self) -> Iterator[int]:
        """The open descriptors, ascending, as they are now."""
        return iter([fd for fd, file in enumerate(self._files) if file is not None])

    def items(self) -> list[tuple[int, File]]:
        """(descriptor, file), ascending."""
        return [(fd, file) for fd, file in enumerate(self._files) if file is not None]

    def values(self) -> list[File]:
        """The files; one that has two descriptors stands there twice."""
        return [file for file in self._files if file is not None]

    def get(self, fd: int) -> File | None:
        """The file behind a descriptor; None if it is not open."""
        return self._files[fd] if 0 <= fd < len(self._files) else None

    def lowest(self, limit: int) -> int:
        """The lowest free descriptor. OSError EMFILE if it is not below the limit."""
        while self._free and self._files[self._free[0]] is not None:
            self._listed[heapq.heappop(self._free)] = 0
        fd = self._free[0] if self._free else len(self._files)
        if fd >= limit:
            raise os_error(errno.EMFILE)
        return fd

    def put(self, fd: int, file: File) -> File | None:
        """Let `fd` stand for a file; what it stood for before."""
        if fd == len(self._files):
            self._files.append(file)
            self._listed.append(0)
            self._count += 1
            return None
        while len(self._files) <= fd:
            heapq.heappush(self._free, len(self._files))
            self._files.append(None)
            self._listed.append(1)
        if self._free and self._free[0] == fd:
            self._listed[heapq.heappop(self._free)] = 0
        before = self._files[fd]
        self._files[fd] = file
        if before is None:
            self._count += 1
        return before

    def take(self, fd: int) -> File | None:
        """Free a descriptor; what it stood for, None if it was not open."""
        found = self.get(fd)
        if found is not None:
            self._files[fd] = None
            self._count -= 1
            if not self._listed[fd]:
                heapq.heappush(self._free, fd)
                self._listed[fd] = 1
        return found

    def copy(self) -> "Descriptors":
        """The same descriptors for the same files."""
        twin = Descriptors()
        twin._files = list(self._files)
        twin._free = list(self._free)
        twin._listed = bytearray(self._listed)
        twin._count = self._count
        return twin
