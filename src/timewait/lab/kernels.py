"""A kernel's changes of state in the record: the table of its sockets, read whenever something may have changed.

A kernel does not tell when a socket changes state. It is asked after each packet and
socket call, and every 10 ms, and each difference becomes a move. A state that lasts for
no time at all is not seen.
"""

from typing import Final

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.tcp.states import Cause, State
from timewait.tcp.tap import Tap
from timewait.wire.address import pack
from timewait.wire.packet import Packet, make_flow
from timewait.world.clock import Event
from timewait.world.kernel import KernelHost

TICK: Final = 10 * MSEC
"""How often the table is read when no packet moves: finer than a kernel's own 4 ms ticks would need."""

_CAUSES: Final = {
    (State.CLOSED, State.SYN_SENT): Cause.ACTIVE_OPEN,
    (State.CLOSED, State.LISTEN): Cause.PASSIVE_OPEN,
    (State.LISTEN, State.SYN_RCVD): Cause.RCV_SYN,
    (State.LISTEN, State.ESTABLISHED): Cause.RCV_ACK_OF_SYN,
    (State.SYN_SENT, State.ESTABLISHED): Cause.RCV_SYN_ACK,
    (State.SYN_SENT, State.SYN_RCVD): Cause.RCV_SYN,
    (State.SYN_RCVD, State.ESTABLISHED): Cause.RCV_ACK_OF_SYN,
    (State.ESTABLISHED, State.FIN_WAIT_1): Cause.CLOSE_CALL,
    (State.ESTABLISHED, State.CLOSE_WAIT): Cause.RCV_FIN,
    (State.CLOSE_WAIT, State.LAST_ACK): Cause.CLOSE_CALL,
    (State.LAST_ACK, State.CLOSED): Cause.RCV_ACK_OF_FIN,
    (State.FIN_WAIT_1, State.FIN_WAIT_2): Cause.RCV_ACK_OF_FIN,
    (State.FIN_WAIT_1, State.CLOSING): Cause.RCV_FIN,
    (State.FIN_WAIT_1, State.TIME_WAIT): Cause.RCV_FIN_AND_ACK_OF_FIN,
    (State.FIN_WAIT_2, State.TIME_WAIT): Cause.RCV_FIN,
    (State.CLOSING, State.TIME_WAIT): Cause.RCV_ACK_OF_FIN,
    (State.TIME_WAIT, State.CLOSED): Cause.TIME_WAIT_TIMEOUT,
    (State.SYN_RCVD, State.CLOSED): Cause.SYN_ACK_RETRIES,
}
"""What usually moves a connection so. Any other move is one whose reason a kernel keeps to itself."""


class KernelStates(Tap):
    """Reads the tables of kernel hosts and tells `tap` of every move."""

    def __init__(self) -> None:
        self.tap: Tap | None = None
        self.hosts: dict[str, KernelHost] = {}
        self._known: dict[str, dict[bytes, State]] = {}
        self._due: Event | None = None
        self._tick: Event | None = None

    def watch(self, host: KernelHost, tap: Tap) -> None:
        """Follow this host too."""
        self.tap = tap
        self.hosts[host.name] = host
        self._known[host.name] = {}
        if self._tick is None:
            self._tick = host.clock.at(host.clock.now() + TICK, self._ticked)

    def stop(self) -> None:
        """Read no more."""
        for event in (self._due, self._tick):
            if event is not None:
                next(iter(self.hosts.values())).clock.cancel(event)
        self.hosts = {}

    def sent(self, host: str, packet: Packet, now: i64) -> None:
        self._soon(host)

    def received(self, host: str, packet: Packet, now: i64) -> None:
        self._soon(host)

    def called(self, host: str, process: str, call: str, result: str, now: i64) -> None:
        self._soon(host)

    def _soon(self, host: str) -> None:
        """Look once what is being done now is done: a packet is told of before the kernel has it."""
        found = self.hosts.get(host)
        if found is not None and (self._due is None or not self._due.pending):
            self._due = found.clock.at(found.clock.now(), self.look)

    def _ticked(self) -> None:
        self.look()
        clock = next(iter(self.hosts.values())).clock
        self._tick = clock.at(clock.now() + TICK, self._ticked)

    def look(self) -> None:
        """Read every table and tell what is new."""
        for host in self.hosts.values():
            self._look_at(host)

    def _look_at(self, host: KernelHost) -> None:
        now = host.clock.now()
        known = self._known[host.name]
        current: dict[bytes, State] = {}
        for entry in host.states():
            local, remote = pack(entry.local[0]), pack(entry.remote[0])
            if entry.state is State.LISTEN:
                key = b"L" + local + entry.local[1].to_bytes(2, "big")
            else:
                key = make_flow(remote, local, entry.remote[1], entry.local[1])
            current[key] = entry.state
        assert self.tap is not None
        for key in [*known, *(key for key in current if key not in known)]:
            old, new = known.get(key, State.CLOSED), current.get(key, State.CLOSED)
            if old is not new:
                if old is State.CLOSED and new in (State.SYN_RCVD, State.ESTABLISHED) and _listens(current, key):
                    old = State.LISTEN
                flow = b"" if key[:1] == b"L" and len(key) in (7, 19) else key
                self.tap.moved(host.name, flow, old, new, _CAUSES.get((old, new), Cause.UNSEEN), now)
        self._known[host.name] = current


def _listens(current: dict[bytes, State], flow: bytes) -> bool:
    """Whether a listener has the port that a connection arrived at."""
    return any(state is State.LISTEN and key[-2:] == flow[-2:] for key, state in current.items())
