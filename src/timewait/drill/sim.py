"""Our stack as the machine under test, in virtual time.

A call that waits is a generator: it is resumed after every event until it is through,
so a blocked program sees exactly the instant at which what it waits for happens.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from timewait.base.errors import UsageError
from timewait.base.instant import NEVER, SEC
from timewait.drill.machine import Answer, Pending
from timewait.drill.sim_calls import SimCalls
from timewait.host.host import Host
from timewait.record.record import Record
from timewait.tcp.cc import congestion_control
from timewait.tcp.path import path_metrics
from timewait.tcp.sysctl import SPECS, UNUSED
from timewait.wire.address import pack, parse_prefix
from timewait.wire.packet import Packet
from timewait.world.clock import HostTimer, VirtualClock

START: Final = 100 * SEC
"""The clock's first instant: a machine that runs a script has been up for a while."""
ELSEWHERE: Final = ("net.core.", "net.ipv6.", "net.ipv4.conf.", "net.ipv4.route.", "kernel.", "fs.", "vm.")
"""Linux's settings that are not TCP's: they can be set, and change nothing here."""
MAX_EVENTS: Final = 500_000
"""Events between two events of a script; the longest useful wait is some thousand."""

CONGESTION: Final = "net.ipv4.tcp_congestion_control"

Waiting = Generator[int, None, Answer]
"""A call that waits: yields the time in ns at which it wants to be asked again, at the latest."""


class SimPending(Pending):
    """A call on our host, resumed while time passes."""

    def __init__(self, started: int, steps: Waiting) -> None:
        super().__init__(started)
        self._steps = steps
        self.wants: int = NEVER

    def step(self, now: int) -> bool:
        """Go on as far as possible; True once the call is through."""
        if self.answer is not None:
            return True
        try:
            self.wants = next(self._steps)
        except StopIteration as end:
            self.answer = end.value
        except OSError as error:
            self.answer = Answer(-1, error.errno or 0)
        if self.answer is None:
            return False
        self.ended = now
        return True


class SimMachine:
    """One host of ours with one interface."""

    kind = "sim"
    wall_origin = 0

    def __init__(
        self, local: str, remote: str, *, prefix: int = 0, gateway: str = "", mtu: int = 1500,
        profile: str = "linux-6.18", seed: int = 1,
    ) -> None:  # fmt: skip
        self.record = Record(limit=200_000)
        self.clock = VirtualClock(START)
        self.clock.max_events = MAX_EVENTS
        self.host = Host("local", self.clock, seed=seed, profile=profile, tap=self.record)
        timer = HostTimer(self.clock, self.host)
        self.host.on_rearm = timer.rearm
        width = prefix or (16 if ":" not in local else 48)
        self.iface = self.host.add_interface("tun0", f"{local}/{width}", mtu=mtu)
        self.iface.transmit = self._sent
        address, _ = parse_prefix(local)
        self.host.routes.add_default(
            pack(gateway) if gateway and gateway != local else pack(remote), self.iface, address
        )
        self.remote = pack(remote)
        self.process = self.host.process("script")
        self.calls = SimCalls(self)
        self.files: dict[str, bytes] = {}
        self.outgoing: deque[tuple[int, Packet]] = deque()
        self.waiting: list[SimPending] = []
        self.ignored: dict[str, str] = {}
        """Settings that exist on Linux and change nothing here."""

    def _sent(self, packet: Packet) -> None:
        self.record.received("remote", packet, self.clock.time)
        self.outgoing.append((self.clock.time, packet))

    # Time

    def now(self) -> int:
        return int(self.clock.time)

    def run_until(self, when: int) -> None:
        if self.waiting:
            self.run_while(lambda: bool(self.waiting), when)
        if when > self.clock.time:
            self.clock.run_until(when)
            self._step()

    def run_while(self, condition: Callable[[], bool], deadline: int) -> bool:
        if not self.waiting:
            return bool(self.clock.run_while(condition, deadline)) or not condition()
        while condition():
            wanted = min((pending.wants for pending in self.waiting), default=NEVER)
            due = min(self.clock.next_time(), wanted)
            if due > deadline or due == NEVER:
                if deadline < NEVER:
                    self.clock.run_until(deadline)
                    self._step()
                return not condition()
            self.clock.run_until(due)
            self._step()
        return True

    def _step(self) -> None:
        """Let every call that waits look again."""
        if self.waiting:
            now = self.now()
            self.waiting = [pending for pending in self.waiting if not pending.step(now)]

    # Packets and calls

    def inject(self, packet: Packet) -> None:
        self.record.sent("remote", packet, self.clock.time)
        self.host.receive(packet, self.iface)
        self._settle()

    def begin(self, name: str, arguments: tuple[Any, ...]) -> Pending:
        call = getattr(self.calls, name, None)
        if call is None:
            raise UsageError(f"the system call {name}() is not known here")
        now = self.now()
        try:
            outcome = call(*arguments)
        except OSError as error:
            outcome = Answer(-1, error.errno or 0)
        if isinstance(outcome, Answer):
            done = Pending(now)
            done.answer = outcome
            self._settle()
            return done
        pending = SimPending(now, outcome)
        if not pending.step(now):
            self.waiting.append(pending)
        self._settle()
        return pending

    def _settle(self) -> None:
        """What is due at this instant happens now: loopback, and calls that were woken."""
        self.clock.run_until(self.clock.time)
        self._step()

    # Settings

    def set_sysctl(self, name: str, value: str) -> None:
        elsewhere = name.startswith(ELSEWHERE) and name not in SPECS
        if name in UNUSED or elsewhere or (name == CONGESTION and not _known_algorithm(value)):
            self.ignored[name] = value
            return
        self.host.sysctl[name] = value

    def get_sysctl(self, name: str) -> str:
        if name in self.ignored:
            return self.ignored[name]
        return self.host.sysctl.show(name)

    def counters(self) -> Mapping[str, int]:
        return self.host.counters.as_dict(nonzero=False)

    def set_mtu(self, mtu: int) -> None:
        if not 68 <= mtu <= 65535:
            raise UsageError(f"an MTU is 68..65535, not {mtu}")
        self.iface.mtu = mtu

    def set_route(self, metrics: Mapping[str, str]) -> None:
        """The only route's metrics are those of the host."""
        others = dict(metrics)
        if "mtu" in others:
            self.set_mtu(int(others.pop("mtu")))
        ecn = others.pop("features", "") == "ecn"
        if not _known_algorithm(others.get("congctl", "cubic")):
            del others["congctl"]
        path = path_metrics(others)
        for prefix, length in self.host.routes.known_prefixes():
            self.host.routes.set_ecn(prefix, length, ecn)
            self.host.routes.set_path(prefix, length, path)

    def forget_metrics(self, address: str = "") -> None:
        self.host.net.metrics.flush(pack(address) if address else b"")

    def tcp_metrics(self) -> str:
        return str(self.host.tcp_metrics())

    def close(self) -> None:
        self.waiting.clear()


def _known_algorithm(name: str) -> bool:
    """Whether our stack has a congestion control of that name; scripts that only set it run with the default."""
    try:
        congestion_control(name)
    except UsageError:
        return False
    return True
