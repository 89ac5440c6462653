"""What a script consists of, as the parser leaves it."""

from dataclasses import dataclass, field

SECOND = 1_000_000_000

ANY = "..."
"""An argument that the interpreter supplies."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in its file; line and column from 1."""

    line: int
    column: int


# Times


@dataclass(frozen=True, slots=True)
class When:
    """An event's time in ns.

    `relative`: counted from the end of the event before. `end` is the latest time of a
    range (`a~b`) or the end of a blocking call (`a...b`). `any_time`: `*`.
    """

    start: int = 0
    relative: bool = False
    end: int | None = None
    blocking: bool = False
    any_time: bool = False


# Expressions


@dataclass(frozen=True, slots=True)
class Number:
    value: int


@dataclass(frozen=True, slots=True)
class Text:
    value: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name from the C headers, or several or-ed together."""

    name: str


@dataclass(frozen=True, slots=True)
class Or:
    parts: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class Ellipsis_:
    """`...`: whatever the interpreter supplies."""


@dataclass(frozen=True, slots=True)
class List:
    """`[a, b]`: values behind a pointer."""

    items: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a struct literal: `name=value`, `name(size)=value`, or a value alone (name '')."""

    name: str
    size: "Expr | None"
    value: "Expr"


@dataclass(frozen=True, slots=True)
class Struct:
    members: tuple[Member, ...]

    def get(self, *names: str) -> "Expr | None":
        """The value of the first member with one of these names."""
        for member in self.members:
            if member.name in names:
                return member.value
        return None


@dataclass(frozen=True, slots=True)
class Apply:
    """`htons(80)`, `inet_addr("192.0.2.1")`."""

    name: str
    arguments: "tuple[Expr, ...]"


Expr = Number | Text | Symbol | Or | Ellipsis_ | List | Struct | Apply


# Events


@dataclass(slots=True)
class Event:
    when: When
    place: Place


@dataclass(slots=True)
class Call(Event):
    """A system call and what it must give."""

    name: str
    arguments: tuple[Expr, ...]
    result: Expr | None
    """None: not compared."""
    errno: str = ""
    note: str = ""


@dataclass(slots=True)
class Option:
    """One TCP option as written. `kind` is its name in the script; numbers and hex text by kind."""

    kind: str
    numbers: tuple[int, ...] = ()
    data: bytes | None = None


@dataclass(slots=True)
class IpInfo:
    """What a script says about the IP header; None: nothing."""

    tos: int | None = None
    ecn: str = ""
    """'noecn', 'ect0', 'ect1', 'ect01' or 'ce'."""
    ttl: int | None = None
    flow_label: int | None = None


@dataclass(slots=True)
class TcpPacket(Event):
    """A segment to inject or to expect."""

    inbound: bool
    flags: int
    """Bits of `wire.packet`; without those of an accurate-ECN number."""
    ace: int = -1
    """The accurate-ECN counter in the three bits AE, CWR, ECE; -1: the flags are letters."""
    seq: int = 0
    length: int = 0
    ack: int | None = None
    window: int | None = None
    urgent: int | None = None
    options: list[Option] | None = field(default_factory=list)
    """None: `<...>`, not compared."""
    ip: IpInfo = field(default_factory=IpInfo)
    ports: tuple[int, int] | None = None
    any_seq: bool = False
    """The sequence number is not compared."""
    absolute: bool = False
    """Numbers are those on the wire, not relative to the ISNs."""
    extra: dict[str, int] = field(default_factory=dict)
    """What a dialect adds (an encapsulation's ports, say)."""


@dataclass(slots=True)
class UdpPacket(Event):
    """A UDP datagram of `length` octets."""

    inbound: bool
    length: int
    ip: IpInfo = field(default_factory=IpInfo)
    ports: tuple[int, int] | None = None


@dataclass(slots=True)
class IcmpPacket(Event):
    """An ICMP error that quotes the connection's last header."""

    inbound: bool
    type_name: str
    code_name: str = ""
    mtu: int | None = None
    ident: int | None = None
    quote: tuple[int, int] | None = None
    """(relative sequence number, length) of the quoted segment."""
    ip: IpInfo = field(default_factory=IpInfo)
    extra: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Command(Event):
    """Text between backticks."""

    text: str


@dataclass(slots=True)
class Code(Event):
    """A block of Python."""

    text: str


@dataclass(slots=True)
class Script:
    path: str
    options: list[tuple[str, str, Place]]
    """`--name=value` lines in order; value '' for a bare flag."""
    init: Command | None
    events: list[Event]
    cleanup: Command | None
    source: list[str] = field(default_factory=list)
    """The lines, for messages."""
