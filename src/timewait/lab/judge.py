"""What a lab asks the record, and how it compares the answers with what they must be."""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.lab.frame import Check, T, Verdict
from timewait.record import measure
from timewait.record.connections import Connection
from timewait.record.entries import Called, Moved, Sent
from timewait.record.match import Match
from timewait.record.record import Record
from timewait.tcp.states import State
from timewait.wire.packet import ACK, FIN, RST, SYN, Segment

EXACT: Final = MSEC
"""How far a time in a simulation may be from its nominal value: rounding to Linux's milliseconds."""
LATE: Final = 0.04
"""How late a kernel is, as a share of the time waited (measured: up to 3.5 %), unless its timer wheel is coarser."""
TICK: Final = 4 * MSEC
"""CONFIG_HZ=250, the coarsest that is common."""
SLACK: Final = 60 * MSEC
"""What a busy machine may add in real time, 4 ms ticks included."""

_NAMES: Final = (("SYN", SYN), ("FIN", FIN), ("RST", RST), ("ACK", ACK))


class LabError(RuntimeError):
    """The experiment could not go on: the text says what was waited for in vain."""


class Judge:
    """The measuring half of a `Bench`."""

    def __init__(self, on: str, label: T | None) -> None:
        self.on = on
        self.label = label
        """What the world of a comparison is called; None for the first."""
        self.checks: list[Check] = []

    @property
    def record(self) -> Record:
        """Everything that has happened."""
        raise NotImplementedError

    def is_kernel(self, name: str) -> bool:
        """Whether this machine's TCP is a kernel's."""
        raise NotImplementedError

    def look(self) -> None:
        """Bring what the record says of kernels' states up to date."""
        raise NotImplementedError

    # Measuring the record

    def sent(
        self,
        host: str | None = None,
        *,
        flags: str | None = None,
        payload: bool | int | None = None,
        why: Enum | tuple[Enum, ...] | None = None,
        after: int = -1,
    ) -> list[Sent]:
        """Transmissions, in order. A kernel's packets have no `why`: where one takes part, ask by flags."""
        match = Match("sent", host=host, flags=flags, payload=payload, why=why)
        return [entry for entry in self.record.select(match) if isinstance(entry, Sent) and entry.time >= after]

    def times(self, entries: Iterable[Sent], since: int | None = None) -> list[int]:
        """When they were sent, in ns after the first of them or after `since`."""
        found = [entry.time for entry in entries]
        start = since if since is not None else found[0] if found else 0
        return [time - start for time in found]

    def connection(self, number: int = 0) -> Connection:
        """A connection of the record, by number."""
        return self.record.connection(number)

    def flags(self, packet: Sent | Segment) -> str:
        """'SYN-ACK', 'FIN-ACK', 'RST': what a segment is (PSH and URG left out)."""
        bits = segment(packet).flags if isinstance(packet, Sent) else packet.flags
        return "-".join(name for name, bit in _NAMES if bits & bit) or "none"

    def relative_seq(self, entry: Sent, number: int = 0) -> int:
        """Sequence number counted from the sender's SYN."""
        return self.connection(number).relative_seq(segment(entry))

    def relative_ack(self, entry: Sent, number: int = 0) -> int:
        """Acknowledgment number counted from the SYN of the side it goes to."""
        return self.connection(number).relative_ack(segment(entry))

    def path(self, host: str, number: int = 0) -> list[State]:
        """The states that the host's end of a connection went through, the first one included."""
        self.look()
        connection = self.connection(number)
        side = connection.side_at(host)
        assert side is not None, f"{host} takes no part in connection {number}"
        return measure.path(connection, side)

    def moved_at(self, host: str, state: State, number: int = 0) -> int:
        """When the host's end of a connection last came into a state, ns. LabError if it never did."""
        self.look()
        connection = self.connection(number)
        side = connection.side_at(host)
        times = [move.time for move in connection.moves(side) if move.new is state] if side is not None else []
        if not times:
            raise LabError(f"{host} never came to {state.rfc_name}")
        return times[-1]

    def entered(self, host: str, state: State) -> list[Moved]:
        """Every move of any connection of a host into a state."""
        match = Match("moved", host=host, state=state)
        return [entry for entry in self.record.select(match) if isinstance(entry, Moved)]

    def calls(self, host: str, name: str) -> list[Called]:
        """The socket calls of a host that begin so: 'recv', 'connect(3'."""
        found = self.record.select(Match("called", host=host, name=name))
        return [entry for entry in found if isinstance(entry, Called)]

    # Judging

    def close_to(self, measured: int, expected: int) -> bool:
        """Whether a time (ns) is what it should be: exact in a simulation, up to 4 % late with a kernel."""
        if self.on == "sim":
            return abs(measured - expected) <= EXACT
        return -20 * MSEC <= measured - expected <= late(expected) + SLACK

    def check(self, text: T, measured: object, expected: object) -> bool:
        """Compare; both are shown as `shown` writes them."""
        return self._check(text, shown(measured), shown(expected), measured == expected)

    def check_that(self, text: T, ok: bool, measured: object, expected: str) -> bool:
        """A comparison of any other kind: say what was measured, and in words what was expected."""
        return self._check(text, shown(measured), expected, ok)

    def check_time(self, text: T, measured: int, expected: int) -> bool:
        """Compare a time in ns with its nominal value."""
        return self._check(text, in_seconds([measured]), in_seconds([expected]), self.close_to(measured, expected))

    def check_times(self, text: T, measured: Sequence[int], expected: Sequence[int]) -> bool:
        """Compare a series of times in ns with its nominal values."""
        ok = len(measured) == len(expected)
        ok = ok and all(self.close_to(a, b) for a, b in zip(measured, expected, strict=True))
        return self._check(text, in_seconds(measured), in_seconds(expected), ok)

    def check_path(self, host: str, *states: State, number: int = 0) -> bool:
        """Compare the states that an end went through, CLOSED or LISTEN at the start left out.

        Of a kernel only what lasted is seen: there the seen ones must come in this order and end so.
        """
        path = [state for state in self.path(host, number)[1:] if state is not State.LISTEN]
        wanted = list(states)
        ok = path == wanted
        if self.is_kernel(host) and not ok and path and wanted and path[-1] is wanted[-1]:
            rest = iter(wanted)
            ok = all(state in rest for state in path)
        text = T(f"states of the {host}", f"{'客户端' if host == 'client' else '服务端'}的状态")
        return self._check(text, shown(path), shown(wanted), ok)

    def _check(self, text: T, measured: str, expected: str, ok: bool) -> bool:
        if self.label is not None:
            text = T(f"{self.label.en}: {text.en}", f"{self.label.zh}：{text.zh}")
        self.checks.append(Check(text, expected, measured, ok))
        return ok

    def verdict(self, figure: T, happened: T | None = None) -> Verdict:
        """The end of a lab: its figure, and what happened in a sentence or two (the figure, where that says it all)."""
        return Verdict(figure, happened or figure, tuple(self.checks))


def late(duration: int) -> int:
    """How late a kernel's timer for `duration` ns may fire (kernel/time/timer.c).

    A level of the wheel has 64 slots, each eight times as long as on the level below: a
    timer of 3 s has slots of 256 ms.
    """
    slot = TICK
    while duration >= 63 * slot and slot < 2**15 * TICK:
        slot *= 8
    return max(int(duration * LATE), slot)


def segment(entry: Sent) -> Segment:
    """The TCP segment of a transmission."""
    assert isinstance(entry.packet, Segment), "not a TCP segment"
    return entry.packet


def shown(value: object) -> str:
    """A value for people: states by name, lists with commas, everything else as str()."""
    if isinstance(value, State):
        return value.rfc_name
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def in_seconds(times: Sequence[int]) -> str:
    """Times in ns as '0, 1, 3.07 s'."""
    return ", ".join(f"{round(time / SEC, 3):g}" for time in times) + " s" if times else "none"
