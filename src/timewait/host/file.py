"""Open file descriptions: what descriptors of one or several processes share.

A `File` counts its references (dup, fork) and tells watchers (epoll items, blocked
callers) when something happened. An idle file carries no container: the list of
watchers appears with the first one.
"""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i16, i32, i64
from timewait.base.native import mypyc_attr
from timewait.wire.packet import Buffer

EPOLLIN: Final = 0x001
EPOLLPRI: Final = 0x002
EPOLLOUT: Final = 0x004
EPOLLERR: Final = 0x008
EPOLLHUP: Final = 0x010
EPOLLRDNORM: Final = 0x040
EPOLLRDBAND: Final = 0x080
EPOLLWRNORM: Final = 0x100
EPOLLWRBAND: Final = 0x200
EPOLLRDHUP: Final = 0x2000
EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31


@mypyc_attr(allow_interpreted_subclasses=True)
class Watcher:
    """Whoever wants to know that a file's state changed."""

    def notify(self, file: "File", mask: i64) -> None:
        """Something happened on `file`; `mask` says what kind (EPOLLIN ...), and is a hint: ask `file.poll()`."""
        raise NotImplementedError

    def file_released(self, file: "File") -> None:
        """The last reference to `file` went away; it no longer holds this watcher."""


@mypyc_attr(allow_interpreted_subclasses=True)
class File:
    """An open file description (struct file): shared by every descriptor that dup() or fork() made of it."""

    watchers: list[Watcher] | None = None
    # What is narrow stands together: compiled, it shares machine words.
    refs: i32 = 1
    """References from descriptor tables; at 0 the file is released, exactly once."""
    nonblocking: bool = False
    """O_NONBLOCK. Calls never block here; runners of blocking programs read this flag."""
    pollable: bool = True
    """Whether epoll accepts it (EPERM otherwise, as for regular files)."""
    is_socket: bool = False
    """Whether socket calls apply to it (ENOTSOCK otherwise)."""

    def poll(self) -> i64:
        """What is possible now: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLPRI or-ed together."""
        return 0

    def released(self) -> None:
        """The last reference is gone: free what the file stands for (for a socket: close())."""

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` from now on; watching twice means being told twice."""
        if self.watchers is None:
            self.watchers = []
        self.watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop telling `watcher`; nothing happens if it was not watching."""
        watchers = self.watchers
        if watchers is not None and watcher in watchers:
            watchers.remove(watcher)
            if not watchers:
                self.watchers = None

    def wake(self, mask: i64) -> None:
        """Tell the watchers that an event of kind `mask` happened (sk_data_ready, sk_write_space, sk_state_change)."""
        watchers = self.watchers
        if watchers is None:
            return
        if len(watchers) == 1:
            watchers[0].notify(self, mask)
            return
        # A watcher may unwatch while being told, so the round goes over a copy.
        for watcher in list(watchers):
            watcher.notify(self, mask)

    def retain(self) -> None:
        """One more descriptor refers to this file."""
        assert self.refs > 0, "a released file cannot come back"
        self.refs += 1

    def release(self) -> None:
        """One descriptor less; the last one releases the file and takes it out of every epoll set."""
        assert self.refs > 0, "released more often than retained"
        self.refs -= 1
        if self.refs > 0:
            return
        # Epoll sets forget the file before its close() runs, as eventpoll_release does.
        watchers = self.watchers
        self.watchers = None
        if watchers is not None:
            for watcher in watchers:
                watcher.file_released(self)
        self.released()


@mypyc_attr(allow_interpreted_subclasses=True)
class Socket(File):
    """What a process can do with a socket: TCP and UDP sockets override what they have.

    Addresses are packed here (4 octets, also for IPv4-mapped ones, or 16); the process
    converts from and to text. Every call returns at once: what would wait raises
    BlockingIOError with EAGAIN (connect says so); errors are OSError with Linux's errno.
    """

    is_socket = True
    family: i16 = 2
    """AF_INET or AF_INET6."""
    type: i16 = 1
    """SOCK_STREAM or SOCK_DGRAM."""
    proto: i16 = 0

    def bind(self, addr: bytes, port: int) -> None:
        """Take a local address; wildcard and port 0 allowed."""
        raise os_error(errno.EOPNOTSUPP)

    def listen(self, backlog: int) -> None:
        """Accept connections; `backlog` is limited by somaxconn."""
        raise os_error(errno.EOPNOTSUPP)

    def connect(self, addr: bytes, port: int) -> bool:
        """Open a connection, or set a datagram socket's peer. True: it takes time, the process raises EINPROGRESS."""
        raise os_error(errno.EOPNOTSUPP)

    def disconnect(self) -> None:
        """connect() with AF_UNSPEC."""
        raise os_error(errno.EOPNOTSUPP)

    def accept(self) -> "Socket":
        """The next finished connection, as a new open file with one reference."""
        raise os_error(errno.EOPNOTSUPP)

    def send(self, data: Buffer, flags: int) -> int:
        """Octets taken over into the send buffer."""
        raise os_error(errno.EOPNOTSUPP)

    def recv(self, size: int, flags: int) -> bytes:
        """Up to `size` octets; b'' at the end of a stream."""
        raise os_error(errno.EOPNOTSUPP)

    def sendto(self, data: Buffer, flags: int, addr: bytes, port: int) -> int:
        """As send, to somebody; a stream socket ignores the address once connected."""
        raise os_error(errno.EOPNOTSUPP)

    def recvfrom(self, size: int, flags: int) -> tuple[bytes, bytes, int]:
        """(data, sender's address, sender's port); a stream socket gives b'' and 0 for the sender."""
        raise os_error(errno.EOPNOTSUPP)

    def shutdown(self, how: int) -> None:
        """SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2."""
        raise os_error(errno.EOPNOTSUPP)

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Set an option; ENOPROTOOPT for one that is not known."""
        raise os_error(errno.ENOPROTOOPT)

    def getsockopt(self, level: int, name: int, size: int) -> int | bytes:
        """An int if size is 0, else up to `size` octets as C sees them."""
        raise os_error(errno.ENOPROTOOPT)

    def getsockname(self) -> tuple[bytes, int]:
        """Own address and port; wildcard and 0 while unbound."""
        raise os_error(errno.EOPNOTSUPP)

    def getpeername(self) -> tuple[bytes, int]:
        """The peer's; ENOTCONN without one."""
        raise os_error(errno.ENOTCONN)

    def inq(self) -> int:
        """SIOCINQ: octets that recv() would give."""
        return 0

    def at_mark(self) -> bool:
        """SIOCATMARK: whether the next octet to read is the urgent one."""
        return False

    def outq(self) -> int:
        """SIOCOUTQ: octets not yet sent or not yet acknowledged."""
        return 0

    def outq_unsent(self) -> int:
        """SIOCOUTQNSD: octets not yet sent."""
        return 0
