"""The kinds of thing that a record holds: one small class each.

Every entry has `time` (ns on the world's clock) and `where` (the name of a host, or
of a link for some drops). Entries are never changed once made.
"""

from timewait.base.ints import i64
from timewait.tcp.reasons import Drop
from timewait.tcp.states import Cause, State
from timewait.wire.packet import Packet, Segment


class Entry:
    """Something that happened at `time` ns, at the host or link `where`."""

    __slots__ = ("time", "where")

    def __init__(self, time: i64, where: str) -> None:
        self.time: i64 = time
        self.where: str = where


class Sent(Entry):
    """A host put a packet on its wire; packet.uid numbers the transmission, packet.why says why."""

    __slots__ = ("packet",)

    def __init__(self, time: i64, where: str, packet: Packet) -> None:
        self.time = time
        self.where = where
        self.packet: Packet = packet


class Received(Entry):
    """A packet reached a host. `uid` is its transmission's number, 0 where that is not known."""

    __slots__ = ("packet", "uid")

    def __init__(self, time: i64, where: str, packet: Packet, uid: i64) -> None:
        self.time = time
        self.where = where
        self.packet: Packet = packet
        self.uid: i64 = uid


class Dropped(Entry):
    """A host or link discarded a packet; packet is None where it could not be parsed."""

    __slots__ = ("drop", "packet", "uid")

    def __init__(self, time: i64, where: str, packet: Packet | None, uid: i64, drop: Drop) -> None:
        self.time = time
        self.where = where
        self.packet: Packet | None = packet
        self.uid: i64 = uid
        self.drop: Drop = drop


class Moved(Entry):
    """A connection changed state. `flow` is the peer-to-us key, b'' where there is no peer (LISTEN)."""

    __slots__ = ("cause", "flow", "new", "old")

    def __init__(self, time: i64, where: str, flow: bytes, old: State, new: State, cause: Cause) -> None:
        self.time = time
        self.where = where
        self.flow: bytes = flow
        self.old: State = old
        self.new: State = new
        self.cause: Cause = cause


class TimerFired(Entry):
    """A connection's timer fired: name is 'rto', 'delack', 'keepalive', ..."""

    __slots__ = ("flow", "name")

    def __init__(self, time: i64, where: str, flow: bytes, name: str) -> None:
        self.time = time
        self.where = where
        self.flow: bytes = flow
        self.name: str = name


class Called(Entry):
    """A program made a socket call: 'connect(3, 10.0.0.2:80)' gave 'EINPROGRESS'."""

    __slots__ = ("call", "process", "result")

    def __init__(self, time: i64, where: str, process: str, call: str, result: str) -> None:
        self.time = time
        self.where = where
        self.process: str = process
        self.call: str = call
        self.result: str = result


class Noted(Entry):
    """Something that an experiment wanted said: 'cable unplugged'."""

    __slots__ = ("text",)

    def __init__(self, time: i64, where: str, text: str) -> None:
        self.time = time
        self.where = where
        self.text: str = text


def packet_of(entry: Entry) -> Packet | None:
    """The packet that an entry is about; None where it is about something else."""
    if isinstance(entry, Sent):
        return entry.packet
    if isinstance(entry, Received):
        return entry.packet
    if isinstance(entry, Dropped):
        return entry.packet
    return None


def segment_of(entry: Entry) -> Segment | None:
    """The TCP segment that an entry is about; None where it is about something else."""
    packet = packet_of(entry)
    return packet if isinstance(packet, Segment) else None


def uid_of(entry: Entry) -> int:
    """The number of the transmission that an entry is about; 0 where there is none or it is not known."""
    if isinstance(entry, Sent):
        return entry.packet.uid
    if isinstance(entry, Received):
        return entry.uid
    if isinstance(entry, Dropped):
        return entry.uid
    return 0


def flow_of(entry: Entry) -> bytes:
    """The flow key of an entry, as it stands there (of a packet: sender to receiver); b'' without one."""
    segment = segment_of(entry)
    if segment is not None:
        return segment.flow
    if isinstance(entry, Moved):
        return entry.flow
    if isinstance(entry, TimerFired):
        return entry.flow
    return b""


def reverse_flow(flow: bytes) -> bytes:
    """The key of the opposite direction: source and destination exchanged."""
    size = (len(flow) - 4) // 2
    if size <= 0:
        return flow
    return flow[size : 2 * size] + flow[:size] + flow[-2:] + flow[-4:-2]
