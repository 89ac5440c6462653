"""A process's descriptor table: small numbers to open files, the lowest free one first."""

import errno
from collections.abc import Iterator

from timewait.base.errors import os_error
from timewait.host.file import File

FIRST_FD = 3
"""0 to 2 are the standard streams, which do not exist here but count."""


class Descriptors:
    """Files by number, and an octet for each number that says whether it is taken.

    Finding a free number is a search of octets from the lowest that may be free, as
    Linux searches its bits (find_next_fd): a million take some microseconds.
    """

    def __init__(self) -> None:
        self._files: list[File | None] = [None] * FIRST_FD
        self._taken = bytearray(b"\1" * FIRST_FD)
        self._low = FIRST_FD
        """No lower number is free."""
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
        fd = self._taken.find(0, self._low)
        if fd < 0:
            fd = len(self._files)
        self._low = fd
        if fd >= limit:
            raise os_error(errno.EMFILE)
        return fd

    def put(self, fd: int, file: File) -> File | None:
        """Let `fd` stand for a file; what it stood for before."""
        if fd >= len(self._files):
            missing = fd + 1 - len(self._files)
            self._files.extend([None] * missing)
            self._taken.extend(bytes(missing))
        before = self._files[fd]
        self._files[fd] = file
        self._taken[fd] = 1
        if before is None:
            self._count += 1
        return before

    def take(self, fd: int) -> File | None:
        """Free a descriptor; what it stood for, None if it was not open."""
        found = self.get(fd)
        if found is not None:
            self._files[fd] = None
            self._taken[fd] = 0
            if fd < self._low:
                self._low = fd
            self._count -= 1
        return found

    def copy(self) -> "Descriptors":
        """The same descriptors for the same files."""
        twin = Descriptors()
        twin._files = list(self._files)
        twin._taken = bytearray(self._taken)
        twin._low = self._low
        twin._count = self._count
        return twin
