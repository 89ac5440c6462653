"""`Net`: hosts with names, links with faults, and ordinary programs on them, on one clock.

    net = Net(seed=7)
    client, server = net.host("client"), net.host("server")
    net.link(client, server, delay="20ms", loss="10%")
    server.run(serve, daemon=True)
    job = client.run(fetch, "http://server/")
    net.run()
    print(job.result())

A program is a coroutine function, a coroutine or a plain function. Times here are
seconds, or words such as '20ms'.
"""

import random
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from timewait.base.errors import UsageError
from timewait.base.instant import NEVER, show_ns
from timewait.base.rng import Streams
from timewait.host.host import Host
from timewait.host.route import Reach, Route
from timewait.record.record import Record
from timewait.run import quantity
from timewait.run.baton import Baton
from timewait.run.dates import node
from timewait.run.errors import DeadlockError, OverdueError
from timewait.run.modules import install
from timewait.run.names import numeric
from timewait.run.program import Program
from timewait.run.verbs import ProgramLike, Verbs
from timewait.wire.address import network, pack, show
from timewait.world.clock import RealClock
from timewait.world.kernel import KernelHost
from timewait.world.link import Link
from timewait.world.network import World

EPOCH: Final = 1_767_225_600 * 10**9
"""The wall clock of every host at the beginning: 2026-01-01 00:00:00 UTC, in ns."""
UPTIME: Final = 1000 * 10**9
"""What the monotonic clock of a host shows at the beginning, in ns."""
LIMIT: Final = 30 * 86_400.0
"""Seconds of virtual time after which a run is given up: nothing in TCP lasts longer."""
SINK: Final = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): an address that nobody has and every packet to is lost."""
LOCALHOST: Final = ("127.0.0.1", "::1")


class NetHost:
    """A host of the network, as programs and tests see it. `host` is the stack itself."""

    def __init__(self, net: "Net", host: Host, skew_ns: int) -> None:
        self.net = net
        self.host = host
        self.name = host.name
        self.skew_ns = skew_ns
        """Added to the wall clock of its programs."""
        self.programs: list[Program] = []
        self.random = random.Random(net.world.streams.child("programs of " + host.name).seed)
        """What `random` and os.urandom give its programs."""
        self.secrets = random.Random(net.world.streams.child("secrets of " + host.name).seed)
        """What OpenSSL draws for its programs."""
        self.node = node(net.world.streams.child("node of " + host.name).seed)
        """What uuid.getnode() tells its programs."""
        self.last_stamp = 0
        """The time in the last uuid1() of its programs."""
        self._booted = 0
        """When it last booted, in ns of the world."""

    def __repr__(self) -> str:
        return f"<NetHost {self.name}>"

    @property
    def address(self) -> str:
        """Its first address."""
        self.net.wire()
        return self.net.world.address(self.name)

    @property
    def addresses(self) -> list[str]:
        """All its addresses, loopback's not."""
        self.net.wire()
        return [show(addr) for iface in self.host.interfaces if iface.name != "lo" for addr, _ in iface.addresses]

    @property
    def sysctl(self) -> Any:
        """Its kernel parameters by their Linux names."""
        return self.host.sysctl

    @property
    def up(self) -> bool:
        """Whether it has power."""
        return self.host.up

    def run(self, function: Any, *args: Any, name: str = "", daemon: bool = False, restart: bool = False) -> Program:
        """Start a program: a coroutine function, a coroutine, or a plain function that may block.

        daemon: a run does not wait for its end. restart: it begins anew whenever the host boots.
        """
        label = name or getattr(function, "__name__", type(function).__name__)
        program = Program(self, function, args, label, daemon, restart)
        self.programs.append(program)
        return program

    def wall_ns(self) -> int:
        """What time.time_ns() says here."""
        return EPOCH + self.net.world.now + self.skew_ns

    def monotonic_ns(self) -> int:
        """What time.monotonic_ns() says here."""
        return UPTIME + self.net.world.now

    def world_ns(self, monotonic_ns: int) -> int:
        """The instant of the world at which the monotonic clock shows so much."""
        return monotonic_ns - UPTIME

    def power_off(self) -> None:
        """Lose power: programs stop in their tracks, nothing is closed, nothing is sent, memory is lost."""
        for program in self.programs:
            program.vanish()
        self.host.power_off()

    def power_on(self) -> None:
        """Boot: connections are gone; programs marked `restart` begin anew."""
        if self.host.up:
            return
        self.host.power_on()
        self._booted = self.net.world.now
        for program in list(self.programs):
            if program.restart and program.done:
                self.programs.remove(program)
                self.run(program.function, *program.args, name=program.name, daemon=program.daemon, restart=True)


class NetKernel:
    """A kernel of its own in the network (a namespace): its programs are real processes."""

    def __init__(self, net: "Net", host: KernelHost) -> None:
        self.net = net
        self.host = host
        self.name = host.name

    def run(self, command: Sequence[str], *, timeout: float | str = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end while the network goes on: its exit status and output. TimeoutExpired."""
        self.net.prepare()
        run = partial(self.net.baton.run, outside=True)
        return self.host.run(command, timeout=quantity.length(timeout), while_=run)


class Net(Verbs):
    """A simulated network and the programs in it. Equal seeds and equal programs give equal runs."""

    BLACK_HOLE: Final = SINK
    """An address for names: everything sent there is lost."""

    def __init__(self, seed: int = 0, *, record: bool = True, interleave: bool = True, clock: str = "virtual") -> None:
        install()
        self.seed = seed
        super().__init__(World(seed, clock, record))
        self.interleave = interleave
        """Draw the order of task steps that are ready together from the seed; else as asyncio has it."""
        streams: Streams = self.world.streams.child("programs")
        self.baton = Baton(self.world.clock, random.Random(streams.seed))
        self.hosts: dict[str, NetHost] = {}
        self.kernels: dict[str, NetKernel] = {}
        self._names: dict[str, list[str]] = {}
        self._linked: set[str] = set()
        self._lan: Any = None
        self._closed = False

    # Building

    def host(
        self,
        name: str,
        *addresses: str,
        sysctl: Mapping[str, object] | None = None,
        profile: str = "linux-6.18",
        skew: float | str = 0.0,
    ) -> NetHost:
        """A new host; without addresses it gets one when it is wired. skew: how far its wall clock is ahead."""
        made = NetHost(self, self.world.host(name, *addresses, profile=profile, sysctl=sysctl), quantity.duration(skew))
        self.hosts[name] = made
        return made

    def kernel(self, name: str, *addresses: str, mtu: int = 1500) -> "NetKernel":
        """A network namespace as a further machine: the running kernel's TCP, for its own programs.

        Only with clock="real", root and /dev/net/tun. It takes part in nothing but its `link`s.
        """
        made = NetKernel(self, KernelHost(name, self.world.clock, *addresses, mtu=mtu, tap=self.world.tap))
        self.kernels[name] = made
        return made

    def link(self, a: "NetHost | NetKernel | str", b: "NetHost | NetKernel | str", **options: Any) -> Link:
        """A cable between two machines: delay, jitter ('20ms'), loss, duplicate, corrupt ('10%'), rate ('10Mbit')."""
        first, second = self._machine(a), self._machine(b)
        self._linked |= {first.name, second.name}
        made = self.world.link(first.host, second.host, **_options(options))
        self._lose()
        return made

    def name(self, name: str, *targets: "NetHost | str") -> None:
        """Let a name resolve to hosts or addresses, as /etc/hosts would. Unknown names fail at once."""
        found: list[str] = []
        for target in targets:
            found += target.addresses if isinstance(target, NetHost) else [self._address(target)]
        self._names[name] = found

    def wire(self) -> None:
        """Put every host that has no link on one switch; done by itself before programs run."""
        loose = [host for host in self.hosts.values() if host.name not in self._linked]
        if not loose:
            return
        self._linked |= {host.name for host in loose}
        if self._lan is None:
            self._lan = self.world.switch(*(host.host for host in loose), name="lan")
        else:
            for host in loose:
                self.world.link(host.host, self._lan)
        self._lose()

    def _lose(self) -> None:
        """Everything for SINK leaves by the first interface and meets nobody."""
        prefix = network(pack(SINK), 24)
        for host in self.hosts.values():
            for iface in host.host.interfaces:
                if iface.name != "lo" and any(len(addr) == 4 for addr, _ in iface.addresses):
                    if host.host.routes.find(pack(SINK)) is None:
                        host.host.routes.add_route(prefix, 24, Route(Reach.UNICAST, iface))
                    break

    # What faults do here

    def programs_of(self, host: str) -> list[ProgramLike]:
        """The programs alive on a host, in order of their start."""
        return [program for program in self.hosts[host].programs if program.alive]

    def lose_power(self, host: str) -> None:
        """See `NetHost.power_off`."""
        self.hosts[host].power_off()

    def boot(self, host: str) -> None:
        """See `NetHost.power_on`."""
        self.hosts[host].power_on()

    def skew(self, host: str, by: int) -> None:
        """Move a host's wall clock by ns."""
        self.hosts[host].skew_ns += by

    def settle(self, duration: float | str) -> None:
        """Let time pass for what is still under way, until nothing is or so much has passed. Failures stay unasked."""
        self.prepare()
        self.baton.run(lambda: True, self.world.now + quantity.length(duration))

    # Names

    def addresses_of(self, asking: NetHost, name: str) -> list[str]:
        """Addresses of a name; none for an unknown one."""
        if name == "localhost":
            return list(LOCALHOST)
        if name in self._names:
            return self._names[name]
        host = self.hosts.get(name)
        return host.addresses if host is not None else []

    def name_of(self, address: str) -> str:
        """The host that has an address, '' if none."""
        for host in self.hosts.values():
            if address in host.addresses:
                return host.name
        return ""

    def _address(self, text: str) -> str:
        if text in self.hosts:
            return self.hosts[text].address
        found = numeric(text)
        if found is None:
            raise UsageError(f"{text!r} is neither a host ({', '.join(self.hosts) or 'there is none'}) nor an address")
        return found

    def _machine(self, machine: "NetHost | NetKernel | str") -> "NetHost | NetKernel":
        if isinstance(machine, NetKernel):
            return machine
        if isinstance(machine, str) and machine in self.kernels:
            return self.kernels[machine]
        return self._host(machine)

    def _host(self, host: NetHost | str) -> NetHost:
        if isinstance(host, NetHost):
            return host
        if host not in self.hosts:
            raise UsageError(f"no host {host!r}; there are {', '.join(self.hosts) or 'none'}")
        return self.hosts[host]

    # Running

    @property
    def now(self) -> float:
        """Seconds since the network was made."""
        return self.world.now / 1e9

    @property
    def record(self) -> Record:
        """Everything that happened. UsageError with record=False."""
        return self.world.record

    @property
    def programs(self) -> list[Program]:
        """Every program, ended or not."""
        return [program for host in self.hosts.values() for program in host.programs]

    def run(self, duration: float | str | None = None, *, timeout: float | str = LIMIT) -> None:
        """Let so much time pass; without a duration, run until every program that is no daemon has ended.

        Raises what a program raised if nobody asked it for its result; DeadlockError when all
        wait and nothing is left to happen; OverdueError when `timeout` (seconds) has passed.
        """
        self.prepare()
        if duration is not None:
            until = self.world.now + quantity.length(duration)
            self.baton.run(lambda: True, until)
            if self.world.now < until:
                self.world.clock.run_until(until)
            self._complain()
            return
        self._until(self._unfinished, timeout)
        self._complain()

    def run_until(self, *programs: Program, timeout: float | str = LIMIT) -> None:
        """Run until these programs have ended. As run() raises, but for what they themselves raised."""
        self.prepare()
        self._until(lambda: not all(program.done for program in programs), timeout)

    def _until(self, unfinished: Any, timeout: float | str) -> None:
        limit = quantity.length(timeout)
        deadline = min(self.world.now + limit, NEVER)
        if self.baton.run(unfinished, deadline):
            return
        waits = "\n".join(f"  {line}" for line in self.waits())
        if self.world.clock.next_time() < NEVER:
            raise OverdueError(f"not finished after {show_ns(limit)} of virtual time:\n{waits}")
        at = show_ns(self.world.now)
        raise DeadlockError(f"every program waits and nothing is left to happen, at {at}:\n{waits}")

    def waits(self) -> list[str]:
        """For people: who waits for what, and where."""
        found = []
        for program in self.programs:
            if program.done:
                continue
            state = "frozen; " if program.frozen else ""
            found += [f"{program.label} {state}{line}" for line in program.waits()]
        return found

    def _unfinished(self) -> bool:
        return any(not program.done and not program.daemon for program in self.programs)

    def prepare(self) -> None:
        """Before programs run: modules loaded meanwhile are looked through, loose hosts wired."""
        install()
        self.wire()

    def _complain(self) -> None:
        """A failure that nobody asked about is raised here."""
        for program in self.programs:
            if program.error is not None and not program.observed:
                program.observed = True
                at = show_ns(self.world.now)
                program.error.add_note(f"raised in {program.label}, by {at} of virtual time")
                raise program.error

    def close(self) -> None:
        """End every program and unwind what they left."""
        if self._closed:
            return
        self._closed = True
        for program in self.programs:
            program.vanish()
        self.baton.close()
        for kernel in self.kernels.values():
            kernel.host.close()
        if isinstance(self.world.clock, RealClock):
            self.world.clock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_TIMES: Final = ("delay", "jitter")
_SHARES: Final = ("loss", "duplicate", "corrupt", "reorder")


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Link options with their words turned into ns, probabilities and bit/s."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name in _TIMES:
            value = quantity.length(value)
        elif name in _SHARES:
            value = quantity.share(value)
        elif name == "rate":
            value = quantity.rate(value)
        found[name] = value
    return found
