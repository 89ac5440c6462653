"""A server as most are written, part of the world: one thread, epoll and six steps, each of which can be left out.

    socket/bind/listen; register the listener; epoll_wait and accept; register the connection;
    epoll_wait and recv; close when the peer has closed.

It acts by itself whenever time passes: asleep in epoll_wait() it costs nothing, on our
hosts as on a kernel's. A loop that finds something to do turns once each `TURN`, in
virtual time as in real time, so that a busy loop can be counted.
"""

from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.host.file import EPOLLET, EPOLLIN, EPOLLRDHUP, File, Watcher
from timewait.host.process import Process
from timewait.lab.bench import READABLE, Bench, Program
from timewait.tcp.states import State
from timewait.world.clock import Event

TURN: Final = MSEC
"""What one turn of the loop takes: a busy loop makes a thousand a second."""
REQUEST: Final = b"request"
ANSWER: Final = b"answer"

NO_LISTENER: Final = "listener"
"""The listener is never registered."""
NO_ACCEPT: Final = "accept"
"""The event of the listener is seen and nothing is done."""
NO_REGISTER: Final = "register"
"""The accepted connection is never registered."""
NO_CLOSE: Final = "close"
"""The end of the stream is read and nothing is done."""
NO_CLOSE_EDGE: Final = "edge"
"""The same with EPOLLET: it is told once."""
DEADLOCK: Final = "deadlock"
"""The thread waits for a lock that nobody gives back when it should close its first connection."""
_ADD: Final = 1
_DELETE: Final = 2


class EpollServer(Watcher):
    """The server's program and its loop. `mistake` is one of the words above, '' for none.

    `work` is how long a request takes it, ns: in the loop's own thread or, with `threads`,
    in one for each request, which then answers and closes.
    """

    def __init__(
        self, bench: Bench, mistake: str = "", *, backlog: int = 128, work: int = 0, threads: bool = False
    ) -> None:
        self.bench = bench
        self.mistake = mistake
        self.work = work
        self.threads = threads
        self.turns = 0
        """How often epoll_wait() returned with something."""
        self.events = 0
        """What it returned in all of them."""
        self.accepted = 0
        self.closed = 0
        self.program: Program = bench.program("server")
        self.listener = bench.listen(self.program, backlog=backlog)
        self.epoll = self.program.epoll_create()
        self._stuck = False
        self._due: Event | None = None
        self._free_at = 0
        if mistake != NO_LISTENER:
            self.program.epoll_ctl(self.epoll, _ADD, self.listener, EPOLLIN)
        if isinstance(self.program, Process):
            self.program.file(self.epoll).watch(self)
        self._sleep()

    # When it wakes up

    def _sleep(self) -> None:
        """epoll_wait(): wake up when something is ready, which may be now."""
        if not isinstance(self.program, Process):
            self.bench.world.clock.add_reader(self.program.fileno(self.epoll), self._wake)
        elif self.program.file(self.epoll).poll():
            self._wake()

    def notify(self, file: File, mask: i64) -> None:
        self._wake()

    def _wake(self) -> None:
        if not isinstance(self.program, Process):
            # A level-triggered descriptor would call again and again until the turn comes.
            self.bench.world.clock.remove_reader(self.program.fileno(self.epoll))
        if self._due is None and not self._stuck:
            self._due = self.bench.world.at(max(self.bench.now, self._free_at), self._turn)

    def _turn(self) -> None:
        self._due = None
        if self._stuck or not self.program.alive:
            return
        self._free_at = self.bench.now + TURN
        events = self.program.epoll_wait(self.epoll)
        self.turns += bool(events)
        self.events += len(events)
        for fd, _ in events:
            if fd == self.listener:
                self._arrived()
            else:
                self._readable(fd)
            if self._stuck:
                return
        self._sleep()

    # What it does

    def _arrived(self) -> None:
        if self.mistake == NO_ACCEPT:
            return
        fd, _ = self.program.accept(self.listener)
        self.accepted += 1
        if self.mistake != NO_REGISTER:
            edge = EPOLLET if self.mistake == NO_CLOSE_EDGE else 0
            self.program.epoll_ctl(self.epoll, _ADD, fd, EPOLLIN | EPOLLRDHUP | edge)

    def _readable(self, fd: int) -> None:
        try:
            data = self.program.recv(fd, 4096)
        except OSError:
            data = b""
        if data:
            self._serve(fd)
        elif self.mistake == DEADLOCK:
            self._stuck = True
        elif self.mistake not in (NO_CLOSE, NO_CLOSE_EDGE):
            self._close(fd)

    def _serve(self, fd: int) -> None:
        if not self.work:
            self.program.send(fd, ANSWER)
            return
        if self.threads:
            self.program.epoll_ctl(self.epoll, _DELETE, fd)
        else:
            self._stuck = True
        self.bench.world.after(self.work, lambda: self._worked(fd))

    def _worked(self, fd: int) -> None:
        """A long request is done: answer, close, and go back to the loop."""
        if not self.program.alive:
            return
        self.bench.attempt(lambda: self.program.send(fd, ANSWER))
        self._close(fd)
        if not self.threads:
            self._stuck = False
            self._sleep()

    def _close(self, fd: int) -> None:
        self.program.close(fd)
        self.closed += 1


def visit(bench: Bench, count: int, *, patience: int = SEC, known: int | None = None) -> list[str]:
    """So many clients connect one after the other, each with a request; each closes when it is answered.

    After `patience` ns they close without an answer. The first `known` of them (all, unless
    told) are expected to connect. What each of these got: 'answer', 'silence' or the name of an errno.
    """
    client = bench.program("client")
    begun = bench.now
    fds = []
    for number in range(count):
        fd = bench.connect(client)
        fds.append(fd)
        if known is None or number < known:
            bench.outcome(client, fd)
            client.send(fd, REQUEST)
        else:
            bench.run(2 * bench.lab.rtt)
    calm = fds[:known]
    bench.within(lambda: all(client.poll([(fd, READABLE)]) for fd in calm), max(begun + patience - bench.now, 0))
    got = []
    for fd in calm:
        if not client.poll([(fd, READABLE)]):
            got.append("silence")
        else:
            said = bench.attempt(lambda fd=fd: client.recv(fd, 100))  # type: ignore[misc]
            got.append("answer" if said == "OK" else said)
        client.close(fd)
    bench.run(10 * bench.lab.rtt)
    return got


def close_waits(bench: Bench) -> tuple[int, int]:
    """How many connections of the server are in CLOSE-WAIT, and how many of those a program has a descriptor for."""
    found = bench.sockets("server", State.CLOSE_WAIT)
    return len(found), sum(view.owned for view in found)


def lifetimes(bench: Bench, state: State, host: str = "server") -> list[int]:
    """How long each connection of the record was in a state there, ns; those that still are, until now."""
    bench.look()
    found = []
    for connection in bench.record.connections():
        side = connection.side_at(host)
        if side is None:
            continue
        since = -1
        for move in connection.moves(side):
            if move.new is state:
                since = move.time
            elif since >= 0:
                found.append(move.time - since)
                since = -1
        if since >= 0:
            found.append(bench.now - since)
    return found
