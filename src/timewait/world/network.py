"""The world: hosts, links and a clock, wired together and run.

    world = World(seed=7)
    client, server = world.host("client"), world.host("server")
    link = world.link(client, server, delay=10 * MSEC, loss=0.01)
    world.run()

Equal seeds and equal calls give equal runs, whatever PYTHONHASHSEED says.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, Unpack

from timewait.base.errors import BudgetError, UsageError, WireError
from timewait.base.instant import SEC, show_ns
from timewait.base.rng import Streams
from timewait.host.host import Host, Interface
from timewait.record.record import Record
from timewait.tcp.tap import Tap
from timewait.wire.address import in_prefix, network, pack, parse_prefix, show
from timewait.wire.packet import Packet
from timewait.wire.parse import parse
from timewait.wire.serialize import serialize
from timewait.world.checkers import Fan
from timewait.world.clock import Event, HostTimer, RealClock, Scheduler, VirtualClock
from timewait.world.host_port import HostPort
from timewait.world.link import Link, LinkOptions
from timewait.world.pipe import Port
from timewait.world.router import Nat, Router, RouterPort, Switch, SwitchPort

MAX_TIME: Final = 400 * 86_400 * SEC
"""Default bound on the time one `run()` without a duration may take: nothing in TCP lasts longer than days."""

Machine: TypeAlias = Host | Router | Switch | Port
"""What a link ends at: a `Port` of one's own kind included."""


class BytesPort(Port):
    """A machine outside that is driven by callables: what arrives here is handed to `send` as bytes."""

    def __init__(self, name: str, send: Callable[[bytes], object], addresses: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self.send = send
        self.addresses = [parse_prefix(_with_prefix(text)) for text in addresses]

    def prefixes(self) -> list[tuple[bytes, int]]:
        return self.addresses

    def deliver(self, packet: Packet) -> None:
        self.send(serialize(packet))

    def deliver_bytes(self, data: bytes) -> None:
        self.send(data)

    def receive(self, data: bytes) -> None:
        """Bytes of a datagram from outside go onto the link; what cannot be read goes as it is."""
        if self.pipe is None:
            return
        try:
            packet = parse(data)
        except WireError:
            self.pipe.send_bytes(bytes(data))
            return
        self.pipe.send(packet)


class World:
    """Hosts, links and a clock. All randomness grows from `seed`.

    clock: 'virtual' jumps from event to event; 'real' is the machine's own; a `Scheduler` is
    somebody else's, such as the driver's LoopClock. record: keep a
    `Record` (True), none (False), or write to a tap of one's own. listeners hear the same.
    """

    def __init__(
        self,
        seed: int = 0,
        clock: str | Scheduler = "virtual",
        record: bool | Tap = True,
        *,
        listeners: tuple[Tap, ...] = (),
    ) -> None:
        if isinstance(clock, str):
            if clock not in ("virtual", "real"):
                raise UsageError(f"clock is 'virtual' or 'real', not {clock!r}")
            clock = VirtualClock() if clock == "virtual" else RealClock()
        self.seed = seed
        self.streams = Streams(seed)
        self.clock: Scheduler = clock
        self._record: Record | None = None
        taps: list[Tap] = []
        if record is True:
            self._record = Record()
            self._record.meta["seed"] = str(seed)
        elif isinstance(record, Record):
            self._record = record
        if self._record is not None:
            taps.append(self._record)
        elif isinstance(record, Tap):
            taps.append(record)
        taps.extend(listeners)
        self.tap: Tap | None = None if not taps else taps[0] if len(taps) == 1 else Fan(tuple(taps))
        self.hosts: dict[str, Host] = {}
        self.routers: dict[str, Router] = {}
        self.switches: dict[str, Switch] = {}
        self.links: dict[str, Link] = {}
        self.names: dict[str, str] = {}
        """Machine -> its first address, as text."""
        self.timers: dict[str, HostTimer] = {}
        self._ports: list[HostPort] = []
        self._subnets = 0

    # Building

    @property
    def record(self) -> Record:
        """What has happened. UsageError for a world that keeps no record."""
        if self._record is None:
            raise UsageError("this world keeps no record: World(record=True)")
        return self._record

    def host(
        self, name: str, *addresses: str, profile: str = "linux-6.18", sysctl: Mapping[str, object] | None = None
    ) -> Host:
        """A new host; with addresses ('10.0.0.1/24', '10.0.0.1', 'fd00::1') it gets `eth0`, else when it is linked.

        Without a prefix length, 24 and 64 are meant. UsageError for a name in use, or a bad sysctl.
        """
        self._check_name(name)
        seed = self.streams.child("host " + name).seed
        host = Host(name, self.clock, seed=seed, profile=profile, tap=self.tap)
        for key, value in (sysctl or {}).items():
            host.sysctl[key] = value
        if addresses:
            self._interface(host, "eth0", addresses)
        return self.add(host)

    def add(self, host: Host) -> Host:
        """Let a host that exists take part: its timers run on this clock."""
        if self.hosts.get(host.name) is not host:
            self._check_name(host.name)
        self.hosts[host.name] = host
        for iface in host.interfaces:
            if iface.name != "lo" and iface.addresses:
                self.names.setdefault(host.name, show(iface.addresses[0][0]))
        timer = HostTimer(self.clock, host)
        self.timers[host.name] = timer
        host.on_rearm = timer.rearm
        timer.rearm()
        return host

    def router(self, name: str) -> Router:
        """A router; each link to it gives it an interface in the neighbour's subnet, and routes are found."""
        self._check_name(name)
        router = Router(name, self.clock, self.tap)
        self.routers[name] = router
        return router

    def nat(self, name: str, public: str = "198.51.100.1/24", *, timeout: int | None = None) -> Nat:
        """A router that masquerades: behind it, everybody has the address `public`.

        A link to a neighbour in the public address's subnet is its outside. `timeout` (ns)
        ends idle mappings; None: never.
        """
        self._check_name(name)
        nat = Nat(name, public, self.clock, self.tap)
        if timeout is not None:
            nat.timeout = timeout
        self.routers[name] = nat
        return nat

    def switch(self, *machines: Host | Router | str, name: str = "", **options: Unpack[LinkOptions]) -> Switch:
        """A shared segment of these machines, each with its own cable: links '<switch>-<machine>'."""
        name = name or f"switch{len(self.switches)}"
        self._check_name(name)
        switch = Switch(name, self.clock, self.tap)
        self.switches[name] = switch
        subnet: list[tuple[bytes, int]] = []
        for machine in machines:
            found = self._machine(machine)
            subnet = subnet or self._prefixes_of(found)
        subnet = subnet or self._new_subnet()
        for machine in machines:
            self.link(self._port(self._machine(machine), subnet), switch, **options)
        self._route()
        return switch

    def link(self, a: Machine | str, b: Machine | str, *, name: str = "", **options: Unpack[LinkOptions]) -> Link:
        """Connect two machines (or names of them). Options as in `Link.configure`, for both directions.

        A host uses its first interface without a link, or gets a new one with an address in
        the other's subnet.
        """
        first, second = self._machine(a), self._machine(b)
        port_a, port_b = self._ends(first, second)
        base = name or f"{port_a.name}-{port_b.name}"
        name, number = base, 2
        while name in self.links:
            name, number = f"{base}#{number}", number + 1
        link = Link(name, self.clock, port_a, port_b, self.streams, self.tap)
        link.configure(**options)
        self.links[name] = link
        self._route()
        return link

    def attach(self, host: Host | str, send: Callable[[bytes], object]) -> Callable[[bytes], None]:
        """Drive a host by callables: `send` gets each datagram it sends; call the result with what arrives for it."""
        machine = self._machine(host)
        if isinstance(machine, (Router, Switch, Port)):
            raise UsageError("only a host can be driven by callables")
        iface = self._free_interface(machine)
        if iface is None:
            raise UsageError(f"{machine.name} has no interface without a link")
        outside = BytesPort(machine.name + " outside", send)
        self.link(HostPort(machine, iface), outside)
        return outside.receive

    def between(self, a: str, b: str) -> Link:
        """The first link between two machines. UsageError if there is none."""
        for link in self.links.values():
            if {link.a.name, link.b.name} == {a, b}:
                return link
        raise UsageError(f"no link between {a} and {b}; there are {', '.join(self.links) or 'none'}")

    def address(self, name: str) -> str:
        """The first address of a machine, as text. UsageError for a stranger."""
        if name not in self.names:
            raise UsageError(f"no address of {name!r} is known; there are {', '.join(self.names) or 'none'}")
        return self.names[name]

    # Running

    @property
    def now(self) -> int:
        """ns since the world began."""
        return int(self.clock.now())

    def run(self, duration_ns: int | None = None, *, max_events: int | None = None, max_time: int = MAX_TIME) -> None:
        """Let `duration_ns` pass, or without it run until nothing is left to happen.

        BudgetError beyond max_events, or when something still goes on after max_time.
        """
        if max_events is not None:
            self.clock.max_events = max_events
        if duration_ns is not None:
            self.clock.run_until(self.now + duration_ns)
            return
        start = self.now
        self.clock.run_while(_always, start + max_time)
        if self.clock.live:
            waiting = ", ".join(self.pending()[:5])
            raise BudgetError(f"not at rest after {show_ns(max_time)}: waiting for {waiting}")

    def run_until(self, condition: Callable[[], bool], timeout: int = 3600 * SEC) -> bool:
        """Run until `condition()` holds (it is asked before each event); False after `timeout` ns."""
        deadline = self.now + timeout
        if self.clock.run_while(lambda: not condition(), deadline):
            return True
        if self.now < deadline:
            self.clock.run_until(deadline)
        return condition()

    def at(self, when: int, callback: Callable[[], object]) -> Event:
        """Call back at an instant (ns since the world began)."""
        return self.clock.at(when, callback)

    def after(self, duration: int, callback: Callable[[], object]) -> Event:
        """Call back in `duration` ns."""
        return self.clock.at(self.now + duration, callback)

    def cancel(self, event: Event) -> None:
        """Undo `at` or `after`."""
        self.clock.cancel(event)

    def pending(self) -> list[str]:
        """What is still going to happen, in order of time: '12 ms: packet a -> b'."""
        entries = sorted(self.clock.heap, key=lambda entry: entry[:2])
        return [f"{show_ns(when)}: {event.describe()}" for when, order, event in entries if event.order == order]

    # Wiring

    def _machine(self, machine: Machine | str) -> Machine:
        if not isinstance(machine, str):
            return machine
        found: Machine | None = self.hosts.get(machine) or self.routers.get(machine)
        found = found or self.switches.get(machine)
        if found is None:
            raise UsageError(f"no machine {machine!r}; there are {', '.join(self._all_names()) or 'none'}")
        return found

    def _all_names(self) -> list[str]:
        return [*self.hosts, *self.routers, *self.switches]

    def _check_name(self, name: str) -> None:
        if not name or " " in name:
            raise UsageError(f"a machine's name is a word, not {name!r}")
        if name in self._all_names():
            raise UsageError(f"there is a machine named {name!r} already")

    def _ends(self, a: Machine, b: Machine) -> tuple[Port, Port]:
        """The two ports of a new link: who has an address says in which subnet the other one gets his."""
        if isinstance(a, Switch) and isinstance(b, Switch):
            raise UsageError("a switch is not linked to a switch: put the machines on one")
        if isinstance(a, Switch):
            peer = self._port(b, self._switch_subnet(a))
            return a.add_port(peer), peer
        if isinstance(b, Switch):
            peer = self._port(a, self._switch_subnet(b))
            return peer, b.add_port(peer)
        known = self._prefixes_of(a) or self._prefixes_of(b)
        if isinstance(a, Nat) or isinstance(b, Nat):
            known = known or self._new_subnet()
        subnet = known or self._new_subnet()
        return self._port(a, subnet), self._port(b, subnet)

    def _prefixes_of(self, machine: Machine) -> list[tuple[bytes, int]]:
        """The subnets a machine brings along to a new link."""
        if isinstance(machine, Port):
            return machine.prefixes()
        if isinstance(machine, (Router, Switch)):
            return []
        iface = self._free_interface(machine)
        return [] if iface is None else iface.addresses

    def _switch_subnet(self, switch: Switch) -> list[tuple[bytes, int]]:
        for port in switch.ports:
            if port.peer.prefixes():
                return port.peer.prefixes()
        return self._new_subnet()

    def _new_subnet(self) -> list[tuple[bytes, int]]:
        self._subnets += 1
        return [parse_prefix(f"10.0.{self._subnets}.0/24"), parse_prefix(f"fd00:0:0:{self._subnets:x}::/64")]

    def _port(self, machine: Machine, subnet: list[tuple[bytes, int]]) -> Port:
        """The machine's end of a new link; who has no address yet gets one of `subnet`."""
        assert not isinstance(machine, Switch), "a switch's port depends on its peer"
        if isinstance(machine, Port):
            if machine.prefixes():
                self.names.setdefault(machine.name, show(machine.prefixes()[0][0]))
            return machine
        if isinstance(machine, Router):
            own = [(self._router_address(machine, base, length), length) for base, length in subnet]
            self.names.setdefault(machine.name, show(own[0][0]))
            return machine.add_port(own)
        iface = self._free_interface(machine)
        if iface is None:
            number = sum(1 for each in machine.interfaces if each.name.startswith("eth"))
            addresses = [f"{show(self._free_address(base, length))}/{length}" for base, length in subnet]
            iface = self._interface(machine, f"eth{number}", tuple(addresses))
        port = HostPort(machine, iface)
        self._ports.append(port)
        return port

    def _interface(self, host: Host, name: str, addresses: tuple[str, ...]) -> Interface:
        texts = [_with_prefix(text) for text in addresses]
        iface = host.add_interface(name, *texts)
        self.names.setdefault(host.name, texts[0].partition("/")[0])
        return iface

    def _free_interface(self, host: Host) -> Interface | None:
        for iface in host.interfaces:
            if iface.name != "lo" and iface.transmit is None:
                return iface
        return None

    def _taken(self) -> set[bytes]:
        """Every address that somebody has."""
        taken = {address for host in self.hosts.values() for iface in host.interfaces for address, _ in iface.addresses}
        for router in self.routers.values():
            taken.update(address for port in router.ports for address, _ in port.addresses)
            if isinstance(router, Nat):
                taken.add(router.public)
        return taken

    def _free_address(self, base: bytes, length: int) -> bytes:
        taken = self._taken()
        number = int.from_bytes(network(base, length), "big")
        for offset in range(1, 1 << min(8 * len(base) - length, 16)):
            address = (number + offset).to_bytes(len(base), "big")
            if address not in taken:
                return address
        raise UsageError(f"no address is free in {show(base)}/{length}")

    def _router_address(self, router: Router, base: bytes, length: int) -> bytes:
        """The public address for a NAT's outside, else the highest free one: .254, and ::ffff in IPv6."""
        if isinstance(router, Nat) and in_prefix(router.public, base, length):
            return router.public
        taken = self._taken()
        bits = 8 * len(base) - length
        number = int.from_bytes(network(base, length), "big")
        top = (1 << bits) - 2 if len(base) == 4 else min(1 << bits, 1 << 16) - 1
        for offset in range(max(top, 0), -1, -1):
            address = (number + offset).to_bytes(len(base), "big")
            if address not in taken:
                return address
        raise UsageError(f"no address is free in {show(base)}/{length}")

    # Routes

    def _route(self) -> None:
        """Work out routes anew: routers by fewest hops, hosts by a default route to their router."""
        neighbours = self._neighbours()
        for router in self.routers.values():
            learned: list[tuple[int, bytes, RouterPort]] = []
            seen = {router.name}
            edge = [(port, peer) for port in router.ports for peer in neighbours.get(id(port), [])]
            while edge:
                reached: list[tuple[RouterPort, RouterPort]] = []
                for first, peer in edge:
                    if peer.router.name in seen:
                        continue
                    seen.add(peer.router.name)
                    for port in _advertised(peer.router):
                        learned.extend((length, network(address, length), first) for address, length in port.addresses)
                    if not isinstance(peer.router, Nat):
                        reached.extend(
                            (first, far) for port in peer.router.ports for far in neighbours.get(id(port), [])
                        )
                edge = reached
            router.learn(learned)
        for host_port in self._ports:
            self._default(host_port, neighbours.get(id(host_port), []))

    def _neighbours(self) -> dict[int, list[RouterPort]]:
        """For each port the router ports it can hand packets to directly."""
        segments: list[list[Port]] = []
        for link in self.links.values():
            if not isinstance(link.a, SwitchPort) and not isinstance(link.b, SwitchPort):
                segments.append([link.a, link.b])
        segments.extend([port.peer for port in switch.ports] for switch in self.switches.values())
        found: dict[int, list[RouterPort]] = {}
        for ports in segments:
            for port in ports:
                found[id(port)] = [peer for peer in ports if peer is not port and isinstance(peer, RouterPort)]
        return found

    def _default(self, port: HostPort, routers: list[RouterPort]) -> None:
        for peer in routers:
            for address, _ in peer.addresses:
                table = port.host.routes
                if table.find(pack("203.0.113.255") if len(address) == 4 else pack("2001:db8:ffff::1")) is None:
                    table.add_default(address, port.iface)


def _advertised(router: Router) -> list[RouterPort]:
    """The ports whose subnets others may know of: of a NAT only the outside."""
    if isinstance(router, Nat):
        return [port for port in router.ports if router.outside(port)]
    return router.ports


def _with_prefix(text: str) -> str:
    return text if "/" in text else text + ("/64" if ":" in text else "/24")


def _always() -> bool:
    return True
