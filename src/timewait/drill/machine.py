"""What a runner needs of the machine that a script runs on: time, packets, system calls, settings.

`sim.SimMachine` is our host in virtual time, `kernel.KernelMachine` a namespace of the
running kernel in real time.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from timewait.record.record import Record
from timewait.wire.packet import Packet

Address = tuple[str, int]


@dataclass(slots=True)
class Answer:
    """What a system call gave: its result, or -1 with errno; and what it wrote into the caller's memory."""

    result: int
    errno: int = 0
    values: dict[str, Any] = field(default_factory=dict)


class Pending:
    """A system call that has been made; `answer` is None while it waits."""

    def __init__(self, started: int) -> None:
        self.started = started
        self.ended = started
        self.answer: Answer | None = None


class Machine(Protocol):
    """A host under test and the far end of its only cable."""

    kind: str
    record: Record
    wall_origin: int
    """What turns the machine's time into that of its wall clock, ns since 1970."""
    files: dict[str, bytes]
    """Files that commands of the script have made."""
    outgoing: deque[tuple[int, Packet]]
    """What the host has sent and nobody has looked at: (time in ns, packet)."""

    def now(self) -> int:
        """The time in ns."""

    def run_until(self, when: int) -> None:
        """Let time pass up to `when`."""

    def run_while(self, condition: Callable[[], bool], deadline: int) -> bool:
        """Let time pass while condition() holds; False if it still does at `deadline`."""

    def inject(self, packet: Packet) -> None:
        """A packet arrives at the host."""

    def begin(self, name: str, arguments: tuple[Any, ...]) -> Pending:
        """Make a system call. One that waits goes on while time passes."""

    def set_sysctl(self, name: str, value: str) -> None:
        """Set 'net.ipv4.tcp_sack'; UsageError for a name that does not exist, or a bad value."""

    def get_sysctl(self, name: str) -> str:
        """The value as `sysctl -n` prints it."""

    def counters(self) -> Mapping[str, int]:
        """The counters under nstat's names."""

    def set_mtu(self, mtu: int) -> None:
        """The MTU of the interface under test."""

    def set_route(self, metrics: Mapping[str, str]) -> None:
        """Metrics of the route to the peer: `ip route change ... mtu 1000 initcwnd 3`."""

    def forget_metrics(self, address: str = "") -> None:
        """Everything learned about destinations, or about one: `ip tcp_metrics flush`, `ip tcp_metrics delete ADDR`."""

    def tcp_metrics(self) -> str:
        """What is known of destinations: `ip tcp_metrics show`."""
        return ""

    def close(self) -> None:
        """Take it apart."""
