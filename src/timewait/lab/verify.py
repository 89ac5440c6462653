"""The same experiment on our stack and on the running kernel, and where the two records differ.

Both runs have the same sysctls, those that shorten long waits included. A record is
laid out in lanes, one for each sender in each connection: within a lane the order of
packets is the sender's own doing, while across lanes it depends on scheduling. Packets
are compared by flags, relative numbers, length and the options of SYNs; times since the
lane's first packet by the tolerance of `Judge.close_to`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Setting
from timewait.lab.frame import Lab
from timewait.lab.judge import late
from timewait.lab.run import Result, run
from timewait.record.connections import Connection, Side
from timewait.record.entries import Sent
from timewait.record.record import Record
from timewait.wire.packet import ACK, FIN, PSH, RST, SYN, URG, Segment

REAL: Final = 120 * MSEC
"""What scheduling, 4 ms ticks and the delays of a busy machine may add to a time."""
NEAR: Final = 1 << 20
"""No lab sends as much, so that numbers further from the ISN belong to another connection."""
LAST_MOMENT: Final = 250 * MSEC
"""How long before the end of a record a packet may be missing from the other one."""
PLACES: Final = (("kernel", "server"), ("live", "server"), ("live", "client"))
"""(place, side that is the kernel's): both sides kernel, then one each."""

INTENDED: Final[dict[str, str]] = {}
"""Labs whose records differ on purpose, with the id of the entry in docs/quirks.md."""

_LETTERS: Final = (("SYN", SYN), ("FIN", FIN), ("RST", RST), ("PSH", PSH), ("ACK", ACK), ("URG", URG))


@dataclass(frozen=True, slots=True)
class Step:
    """One packet of a lane: what it says, and when it left after the lane's first."""

    key: str
    time: int
    at: int
    """ns on the record's own clock, to find it in the ladder."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two records part for the first time."""

    lane: str
    ours: Step | None
    theirs: Step | None
    late: bool = False
    """The packets agree, their times do not."""

    def __str__(self) -> str:
        mine, other = _told(self.ours), _told(self.theirs)
        return f"{self.lane}: ours {mine}, kernel {other}"


def _told(step: Step | None) -> str:
    return "sends nothing" if step is None else f"{step.key} at {step.time / SEC:.3f} s"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our record beside one with a kernel in it."""

    place: str
    kernel: str
    ours: Result
    theirs: Result
    differences: Sequence[Difference]
    runs: int = 1
    """2 where the first run with the kernel disagreed."""

    @property
    def agrees(self) -> bool:
        """Both runs met their checks, and the records are alike."""
        return not self.differences and self.ours.passed and self.theirs.passed


def verify(lab: Lab, places: Sequence[tuple[str, str]] = PLACES, variant: str = "") -> Iterator[Comparison]:
    """Run a lab on our stack with the shortened waits, then wherever a kernel takes part, and compare.

    Where they disagree the run with the kernel is repeated, once, and the comparison says so: a
    busy machine is late now and then, and a stack that is wrong is wrong again.
    """
    shortened = tuple(("", name, value) for name, value in lab.live.items())
    ours = run(lab, Setting(sysctl=shortened, variant=variant, hurried=True))
    for place, kernel in places:
        if place not in lab.on:
            continue
        setting = Setting(on=place, kernel=kernel, variant=variant)
        compared = _compare(lab, setting, ours, 1)
        yield compared if compared.agrees else _compare(lab, setting, ours, 2)


def _compare(lab: Lab, setting: Setting, ours: Result, runs: int) -> Comparison:
    theirs = run(lab, setting)
    found = differences(ours.records[0][1], theirs.records[0][1])
    return Comparison(setting.on, setting.kernel, ours, theirs, found, runs)


def differences(ours: Record, theirs: Record) -> list[Difference]:
    """The first difference of each lane, in the order of the lanes."""
    mine, other = lanes(ours), lanes(theirs)
    found: list[Difference] = []
    ends = _end(ours), _end(theirs)
    for name in [*mine, *(name for name in other if name not in mine)]:
        first = _first_difference(name, mine.get(name, []), other.get(name, []), ends)
        if first is not None:
            found.append(first)
    return found


def _end(record: Record) -> int:
    """When the record stops, ns."""
    return max((int(entry.time) for entry in record), default=0)


def lanes(record: Record) -> dict[str, list[Step]]:
    """What each side of each connection sent, in order.

    Connections are counted by the two hosts they are between: how those of several hosts follow
    each other is a matter of scheduling, and so is whose SYN of a simultaneous open is first.
    """
    found: dict[str, list[Step]] = {}
    counted: dict[str, int] = {}
    for connection in record.connections():
        sides = (connection.initiator, connection.responder)
        ends = "-".join(sorted(side.host or "outside" for side in sides))
        number = counted.get(ends, 0)
        counted[ends] = number + 1
        for side in sides:
            sent = connection.packets(side)
            if not sent:
                continue
            start = sent[0].time
            name = f"{ends} connection {number}, {side.host or 'outside'}"
            found[name] = [Step(_key(connection, side, entry), entry.time - start, entry.time) for entry in sent]
    return found


def _key(connection: Connection, side: Side, entry: Sent) -> str:
    """A packet in a few words that do not depend on the run."""
    packet = entry.packet
    if not isinstance(packet, Segment):
        return type(packet).__name__
    words = ["-".join(name for name, bit in _LETTERS if packet.flags & bit) or "no flags"]
    words.append(f"seq={_number(connection.relative_seq(packet))}")
    if packet.flags & ACK:
        words.append(f"ack={_number(connection.relative_ack(packet))}")
    if packet.length:
        words.append(f"len={packet.length}")
    if packet.flags & SYN:
        words.append(f"win={packet.window}")
        words += [f"mss={packet.mss}"] * bool(packet.mss) + [f"ws={packet.wscale}"] * (packet.wscale >= 0)
        words += ["sackOK"] * packet.sack_permitted
    if packet.has_ts:
        words.append("TS")
    peer = connection.peer(side)
    for left, right in packet.sacks:
        words.append(f"sack={connection.relative(peer, left, False)}:{connection.relative(peer, right, False)}")
    return " ".join(words)


def _number(relative: int) -> str:
    """A relative number; one that belongs to another incarnation is random, and so is the distance to it."""
    return str(relative) if abs(relative) < NEAR else "another"


def _cut_off(mine: list[Step], other: list[Step], at_end: bool, ends: tuple[int, int]) -> bool:
    """Whether only the last packets differ, sent as one of the runs ended: the record stops, not the sender."""
    if not at_end or (mine and other):
        return False
    rest, end = (mine, ends[0]) if mine else (other, ends[1])
    return all(end - step.at <= LAST_MOMENT for step in rest)


def _first_difference(lane: str, mine: list[Step], other: list[Step], ends: tuple[int, int]) -> Difference | None:
    """The first packet that one side sends and the other does not, or sends at another time."""
    matcher = SequenceMatcher(None, [step.key for step in mine], [step.key for step in other], autojunk=False)
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind != "equal":
            if _cut_off(mine[a:a_end], other[b:b_end], a_end == len(mine) and b_end == len(other), ends):
                return None
            return Difference(lane, mine[a] if a < a_end else None, other[b] if b < b_end else None)
        for i, j in zip(range(a, a_end), range(b, b_end), strict=True):
            # A program that was slow once makes everything behind it late: what counts then is the pause before.
            before, after = (mine[i - 1].time, other[j - 1].time) if i and j else (0, 0)
            pauses = mine[i].time - before, other[j].time - after
            if not _same_time(mine[i].time, other[j].time) and not _same_time(*pauses):
                return Difference(lane, mine[i], other[j], late=True)
    return None


def _same_time(nominal: int, measured: int) -> bool:
    """A kernel is never early by more than a tick, and late by its timer wheel's slot or a few percent."""
    return -REAL <= measured - nominal <= late(nominal) + REAL
