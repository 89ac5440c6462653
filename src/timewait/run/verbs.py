"""Faults as verbs on a network of programs, each undone by leaving its `with`, by `undo()`, or after `lasting`.

    with net.lossy("10%", client, server):
        ...
    net.at(3.0, net.partition, client, server, lasting="5s")

In the order of their destructiveness: slow, jitter, reorder, duplicate, throttle, lossy, corrupt,
narrow, drop, partition, unplug, shift_clock, freeze, fill_accept_queue, exhaust_ports, exhaust_fds,
crash, reboot, power_off. What a fault is about is named behind its value: nothing (every host's
cable), one host (its cables), two hosts (what passes between them). Faults that overlap add up and may
be undone in any order: the line's parameters are worked out anew from those in force.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final, Protocol

from timewait.base.errors import UsageError
from timewait.base.instant import show_ns
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.run import quantity
from timewait.wire.packet import Packet
from timewait.world.clock import Event
from timewait.world.faults import check_burst
from timewait.world.host_port import HostPort
from timewait.world.link import Link
from timewait.world.network import World
from timewait.world.pipe import Action, Pipe, Rule
from timewait.world.words import Matcher, Predicate, parse_words


class Named(Protocol):
    """A machine, or what stands for one: its name is enough."""

    @property
    def name(self) -> str:
        """The host's name in the world."""
        ...


class ProgramLike(Protocol):
    """What the verbs do to a program."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def process(self) -> Process:
        """Its descriptors."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it still runs, or is frozen."""
        ...

    def kill(self) -> object:
        """SIGKILL: the kernel closes its descriptors."""
        ...

    def freeze(self) -> object:
        """SIGSTOP: it does nothing more, its host's TCP goes on."""
        ...

    def thaw(self) -> object:
        """SIGCONT."""
        ...


Who = str | Named
"""A host by name, or an object that has its name."""
Several = Who | Iterable[Who]

_CHANCES: Final = ("loss", "duplicate", "corrupt", "reorder")
_LEAST: Final = ("rate", "queue", "mtu")
_MOST: Final = ("jitter", "reorder_delay", "overtake", "blackhole")
NO_DESCRIPTOR: Final = 3
"""RLIMIT_NOFILE while descriptors are exhausted: 0 to 2 always exist, so none is left to give."""


class Act:
    """A fault in force. Leaving its `with` block or `undo()` ends it; twice is once."""

    def __init__(self, verbs: "Verbs", text: str, undo: Callable[[], None] | None = None) -> None:
        self.verbs = verbs
        self.text = text
        """What it is, for people: 'lossy 10 % between client and server'."""
        self.since = verbs.world.now
        """When it began, ns."""
        self.over = False
        self.settings: list[tuple[Pipe, str, object]] = []
        self.rules: list[tuple[Pipe, Rule]] = []
        self.barriers: list[tuple[Pipe, bool]] = []
        self.timer: Event | None = None
        self._undo = undo

    @property
    def hits(self) -> int:
        """Packets that its rules have caught so far."""
        return sum(rule.hits for rule in {id(rule): rule for _, rule in self.rules}.values())

    def undo(self) -> None:
        """End the fault."""
        if self.over:
            return
        self.over = True
        if self.timer is not None:
            self.verbs.world.cancel(self.timer)
        self.verbs.end(self)
        if self._undo is not None:
            self._undo()
        self.verbs.note(f"end of: {self.text}")

    def __enter__(self) -> "Act":
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<{'past ' if self.over else ''}fault: {self.text}>"


class Between(Matcher):
    """Packets from some addresses to others, of those the ones a further matcher picks."""

    def __init__(
        self, sources: frozenset[bytes] | None, targets: frozenset[bytes] | None, inner: Matcher | None = None
    ) -> None:
        self.sources = sources
        self.targets = targets
        self.inner = inner

    def matches(self, packet: Packet) -> bool:
        if self.sources is not None and packet.src not in self.sources:
            return False
        if self.targets is not None and packet.dst not in self.targets:
            return False
        return self.inner is None or self.inner.matches(packet)


class Chance(Matcher):
    """Packets by lot."""

    def __init__(self, probability: float, draws: Random) -> None:
        self.probability = probability
        self.draws = draws

    def matches(self, packet: Packet) -> bool:
        return self.draws.random() < self.probability


class Verbs:
    """The verbs over a world. `Net` is the one who has them; alone it serves a `World` of hosts without programs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acts: list[Act] = []
        """The faults in force, oldest first."""
        self._base: dict[int, tuple[Pipe, dict[str, object]]] = {}
        self._number = 0

    # Gentle: the line gets worse

    def slow(self, by: float | str, *between: Who, lasting: float | str | None = None) -> Act:
        """Every packet takes `by` longer on its way."""
        delay = quantity.length(by)
        act = self._act(f"slow by {show_ns(delay)}", between)
        self._line(act, between, {"delay": delay}, Action.HOLD, None, delay)
        return self._begin(act, lasting)

    def jitter(
        self, most: float | str, *between: Who, overtake: bool = False, lasting: float | str | None = None
    ) -> Act:
        """Every packet takes up to `most` longer; with `overtake` later ones may arrive first."""
        extra = quantity.length(most)
        act = self._act(f"jitter up to {show_ns(extra)}", between)
        self._line(act, between, {"jitter": extra, "overtake": overtake})
        return self._begin(act, lasting)

    def reorder(
        self, probability: float | str, *between: Who, by: float | str = 0, lasting: float | str | None = None
    ) -> Act:
        """Some packets are held back `by` (0: the link's delay, at least 1 ms) while others pass."""
        chance, held = quantity.share(probability), quantity.length(by)
        act = self._act(f"reorder {chance:.3g}", between)
        settings: dict[str, object] = {"reorder": chance, "reorder_delay": held}
        self._line(act, between, settings, Action.HOLD, chance, held or 1_000_000)
        return self._begin(act, lasting)

    def duplicate(self, probability: float | str, *between: Who, lasting: float | str | None = None) -> Act:
        """Some packets arrive twice."""
        chance = quantity.share(probability)
        act = self._act(f"duplicate {chance:.3g}", between)
        self._line(act, between, {"duplicate": chance}, Action.REPEAT, chance, 1)
        return self._begin(act, lasting)

    def throttle(self, rate: float | str, *between: Who, queue: int = 0, lasting: float | str | None = None) -> Act:
        """At most `rate` bit/s, with up to `queue` packets waiting (0: any number) and the rest lost."""
        bits = quantity.rate(rate)
        if bits < 1:
            raise UsageError("a throttled link carries at least 1 bit/s; `partition` carries nothing")
        act = self._act(f"throttle to {bits} bit/s", between)
        self._line(act, between, {"rate": bits, "queue": queue})
        return self._begin(act, lasting)

    def lossy(
        self,
        probability: float | str,
        *between: Who,
        burst: tuple[float, ...] | None = None,
        lasting: float | str | None = None,
    ) -> Act:
        """Packets are lost at random, or in bursts: (enter the bad state, leave it[, loss in it])."""
        chance = quantity.share(probability)
        act = self._act(f"lossy {chance:.3g}", between)
        if burst is not None:
            self._line(act, between, {"loss": chance, "burst": check_burst(burst)})
        else:
            self._line(act, between, {"loss": chance}, Action.DROP, chance)
        return self._begin(act, lasting)

    def corrupt(self, probability: float | str, *between: Who, lasting: float | str | None = None) -> Act:
        """Some packets arrive with one bit flipped."""
        chance = quantity.share(probability)
        act = self._act(f"corrupt {chance:.3g}", between)
        self._line(act, between, {"corrupt": chance}, Action.DAMAGE, chance)
        return self._begin(act, lasting)

    def narrow(self, mtu: int, *between: Who, blackhole: bool = False, lasting: float | str | None = None) -> Act:
        """Carry datagrams up to `mtu` octets; as a black hole without telling the sender (RFC 2923)."""
        if mtu < 68:
            raise UsageError(f"mtu is at least 68 octets (RFC 791), not {mtu}")
        act = self._act(f"narrow to {mtu} octets{' (black hole)' if blackhole else ''}", between)
        self._line(act, between, {"mtu": mtu, "blackhole": blackhole})
        return self._begin(act, lasting)

    def drop(
        self, what: str | Matcher | Callable[[Packet], bool], *between: Who, lasting: float | str | None = None
    ) -> Act:
        """Lose chosen packets: 'second SYN-ACK', 'every FIN from server', or what a function of the packet picks."""
        act = self._act(f"drop {what if isinstance(what, str) else 'chosen packets'}", between)
        self._pick(act, what, between, Action.DROP, 0)
        return self._begin(act, lasting)

    def hold(
        self,
        what: str | Matcher | Callable[[Packet], bool],
        by: float | str,
        *between: Who,
        lasting: float | str | None = None,
    ) -> Act:
        """Hold back chosen packets for `by`; others may pass them."""
        act = self._act(f"hold {what if isinstance(what, str) else 'chosen packets'}", between)
        self._pick(act, what, between, Action.HOLD, quantity.length(by))
        return self._begin(act, lasting)

    # Hard: nothing passes

    def partition(
        self, a: Several, b: Several | None = None, *, one_way: bool = False, lasting: float | str | None = None
    ) -> Act:
        """Nothing passes between a (a host or several) and b (None: everybody else).

        one_way: nothing from a to b, while the other direction works.
        """
        group = self._names(a)
        rest = self._names(b) if b is not None else [name for name in self.world.hosts if name not in group]
        arrow = "from {} to {}" if one_way else "between {} and {}"
        text = "partition " + arrow.format("+".join(group), "+".join(rest) or "nobody")
        act = Act(self, text)
        for name in group:
            for other in rest:
                self._separate(act, name, other, one_way)
        return self._begin(act, lasting)

    def unplug(self, host: Who, *, lasting: float | str | None = None) -> Act:
        """Pull the cables of a host, until `plug` or undo."""
        name = self._name(host)
        act = Act(self, f"cable of {name} unplugged")
        for pipe in self._cables(name):
            self._bar(act, pipe, True)
        return self._begin(act, lasting)

    def plug(self, host: Who) -> None:
        """Plug the cables of a host in again."""
        name = self._name(host)
        for act in [act for act in self.acts if act.text == f"cable of {name} unplugged"]:
            act.undo()

    # On a machine

    def fill_accept_queue(self, host: Who, port: int, *, lasting: float | str | None = None) -> Act:
        """The listener at `port` takes no more connections: new SYNs and last ACKs of handshakes are dropped.

        As when the program does not call accept() and the queue has filled up (tcp_conn_request,
        tcp_v4_syn_recv_sock). Connections already queued stay.
        """
        name = self._name(host)
        found = [(each, each.backlog) for each in self.world.hosts[name].tcp.listeners.get(port, [])]
        if not found:
            raise UsageError(f"nothing listens on port {port} of {name}")
        for listener, _ in found:
            listener.backlog = -1

        def undo() -> None:
            for listener, backlog in found:
                if listener.backlog == -1:
                    listener.backlog = backlog

        return self._begin(Act(self, f"accept queue of {name}:{port} full", undo), lasting)

    def exhaust_ports(self, host: Who, *, lasting: float | str | None = None) -> Act:
        """No local port is left: connect() and bind to port 0 fail with EADDRNOTAVAIL and EADDRINUSE."""
        name = self._name(host)
        sysctl = self.world.hosts[name].sysctl
        former = sysctl.ip_local_reserved_ports
        low, high = sysctl.ip_local_port_range
        sysctl.ip_local_reserved_ports = tuple(range(low, high + 1))

        def undo() -> None:
            sysctl.ip_local_reserved_ports = former

        return self._begin(Act(self, f"no ports left on {name}", undo), lasting)

    def exhaust_fds(self, program: object, *, lasting: float | str | None = None) -> Act:
        """No descriptor is left to the program: socket() and accept() fail with EMFILE; what is open works on."""
        process = program if isinstance(program, Process) else getattr(program, "process", None)
        if not isinstance(process, Process):
            raise UsageError(f"exhaust_fds takes a program, not {program!r}")
        found: Process = process
        former = found.nofile
        found.nofile = NO_DESCRIPTOR

        def undo() -> None:
            found.nofile = former

        return self._begin(Act(self, f"no descriptors left to {found.name}", undo), lasting)

    def shift_clock(self, host: Who, by: float | str, *, lasting: float | str | None = None) -> Act:
        """The host's wall clock jumps by so much, back or forth; undone, it jumps back. Timers are not touched."""
        name, shift = self._name(host), quantity.duration(by)
        self.skew(name, shift)
        return self._begin(
            Act(self, f"clock of {name} shifted by {show_ns(shift)}", lambda: self.skew(name, -shift)), lasting
        )

    def freeze(self, program: ProgramLike, *, lasting: float | str | None = None) -> Act:
        """The program stops (SIGSTOP) while its host's TCP goes on answering; undone, it goes on."""
        if not program.alive:
            raise UsageError(f"{program.name} has ended: only a running program can be frozen")
        program.freeze()

        def undo() -> None:
            if program.alive:
                program.thaw()

        return self._begin(Act(self, f"{program.name} frozen", undo), lasting)

    def crash(self, program: ProgramLike) -> Act:
        """The program is killed (SIGKILL); its host closes what it had open. Nothing undoes that."""
        self.note(f"{program.name} crashed")
        program.kill()
        return self._past(f"{program.name} crashed")

    def power_off(self, host: Who, *, lasting: float | str | None = None) -> Act:
        """The host stops in its tracks: no FIN, no RST, everything forgotten. Undone, it boots (see `power_on`)."""
        name = self._name(host)
        if self.world.hosts[name].up:
            self.lose_power(name)
        return self._begin(Act(self, f"{name} power off", lambda: self.boot(name)), lasting)

    def power_on(self, host: Who) -> None:
        """Boot a host: it knows its addresses and settings, and answers old connections with RST."""
        name = self._name(host)
        acts = [act for act in self.acts if act.text == f"{name} power off"]
        for act in acts:
            act.undo()
        if not acts and not self.world.hosts[name].up:
            self.boot(name)
            self.note(f"{name} power on")

    def reboot(self, host: Who, *, down: float | str = 1.0) -> Act:
        """Power off, and on again after `down`."""
        return self.power_off(host, lasting=down)

    def at(self, when: float | str, verb: Callable[..., object], *args: object, **options: object) -> Event:
        """Call a verb, or anything, at an instant (seconds since the world began): `net.at(3, net.partition, a, b)`."""
        instant = quantity.length(when)
        if instant < self.world.now:
            raise UsageError(f"{show_ns(instant)} has passed: it is {show_ns(self.world.now)}")
        return self.world.at(instant, lambda: verb(*args, **options))

    def after(self, delay: float | str, verb: Callable[..., object], *args: object, **options: object) -> Event:
        """As `at`, counted from now."""
        return self.world.after(quantity.length(delay), lambda: verb(*args, **options))

    # What a network of programs knows better

    def programs_of(self, host: str) -> list[ProgramLike]:
        """The programs alive on a host, in order of their start."""
        return []

    def lose_power(self, host: str) -> None:
        """Programs and connections of the host are gone, without a sound."""
        self.world.hosts[host].power_off()

    def boot(self, host: str) -> None:
        """The host comes up."""
        self.world.hosts[host].power_on()

    def skew(self, host: str, by: int) -> None:
        """Move the host's wall clock by ns."""
        raise UsageError(f"{host} runs no programs, so that nobody reads its clock")

    # Inside

    def _past(self, text: str) -> Act:
        """An act that is over as soon as it is done."""
        act = Act(self, text)
        act.over = True
        return act

    def note(self, text: str) -> None:
        """Leave a line in the record."""
        if self.world.tap is not None:
            self.world.tap.noted("faults", text, self.world.now)

    def undo_all(self) -> None:
        """End every fault in force, the youngest first."""
        for act in list(reversed(self.acts)):
            act.undo()

    def end(self, act: Act) -> None:
        """Take an act's effects off the lines."""
        if act in self.acts:
            self.acts.remove(act)
        for pipe, rule in act.rules:
            if rule in pipe.rules:
                pipe.rules.remove(rule)
            pipe.refresh()
        for pipe, unplugging in act.barriers:
            if unplugging:
                pipe.unplugged = max(pipe.unplugged - 1, 0)
            else:
                pipe.partitions = max(pipe.partitions - 1, 0)
            pipe.refresh()
        for pipe in {id(pipe): pipe for pipe, _, _ in act.settings}.values():
            self._settle(pipe)

    def _begin(self, act: Act, lasting: float | str | None) -> Act:
        self.acts.append(act)
        for pipe in {id(pipe): pipe for pipe, _, _ in act.settings}.values():
            self._settle(pipe)
        self.note(act.text)
        if lasting is not None:
            act.timer = self.world.after(quantity.length(lasting), act.undo)
        return act

    def _act(self, text: str, between: tuple[Who, ...]) -> Act:
        names = [self._name(who) for who in between]
        if len(names) > 2:
            raise UsageError(f"a fault is about no host (all), one, or two, not {len(names)}")
        where = {0: "", 1: f" at {names[0] if names else ''}", 2: f" between {' and '.join(names)}"}[len(names)]
        return Act(self, text + where)

    def _line(
        self,
        act: Act,
        between: tuple[Who, ...],
        settings: dict[str, object],
        action: Action | None = None,
        chance: float | None = None,
        amount: int = 0,
    ) -> None:
        """Give the lines parameters; between two hosts that share no link, the same by a rule, where there is one."""
        names = [self._name(who) for who in between]
        if len(names) == 2 and not self._direct(*names):
            if action is None:
                raise UsageError(
                    f"{names[0]} and {names[1]} share no link, and {act.text.split()[0]} is a property of one:"
                    " name one host, or link the two"
                )
            self._number += 1
            draws = self.world.streams.stream(f"verb {self._number}")
            inner = None if chance is None else Chance(chance, draws)
            self._between(act, names[0], names[1], action, amount, inner)
            return
        for pipe in self._pipes(names):
            act.settings.extend((pipe, attribute, value) for attribute, value in settings.items())

    def _between(self, act: Act, a: str, b: str, action: Action, amount: int = 0, inner: Matcher | None = None) -> None:
        """A rule at a's cables for what passes between a and b, in both directions."""
        here, there = self._addresses(a), self._addresses(b)
        for pipe in self._cables(a):
            sending = pipe.source.name == a
            match = Between(here if sending else there, there if sending else here, inner)
            self._add_rule(act, pipe, Rule(match, action, amount))

    def _pick(
        self,
        act: Act,
        what: str | Matcher | Callable[[Packet], bool],
        between: tuple[Who, ...],
        action: Action,
        amount: int,
    ) -> None:
        """One rule over the cables packets leave their hosts by, so that each packet is looked at once."""
        names = [self._name(who) for who in between]
        sources: frozenset[bytes] | None = None
        targets: frozenset[bytes] | None = None
        inner: Matcher
        if isinstance(what, str):
            words = parse_words(what, tuple(self.world.hosts))
            sources = self._addresses(words.sender) if words.sender else None
            targets = self._addresses(words.receiver) if words.receiver else None
            inner = words
        else:
            inner = what if isinstance(what, Matcher) else Predicate(what)
        if len(names) == 2:
            both = self._addresses(names[0]) | self._addresses(names[1])
            inner = Between(both, both, inner)
        elif names:
            inner = _Touching(self._addresses(names[0]), inner)
        rule = Rule(Between(sources, targets, inner), action, amount)
        for pipe in self._pipes([]):
            self._add_rule(act, pipe, rule)

    def _add_rule(self, act: Act, pipe: Pipe, rule: Rule) -> None:
        pipe.rules.append(rule)
        pipe.refresh()
        act.rules.append((pipe, rule))

    def _bar(self, act: Act, pipe: Pipe, unplugging: bool) -> None:
        if unplugging:
            pipe.unplugged += 1
        else:
            pipe.partitions += 1
        pipe.refresh()
        act.barriers.append((pipe, unplugging))

    def _separate(self, act: Act, a: str, b: str, one_way: bool) -> None:
        direct = self._direct(a, b)
        for link in direct:
            for pipe in link.directions(a if one_way else None):
                self._bar(act, pipe, False)
        if direct:
            return
        here, there = self._addresses(a), self._addresses(b)
        for pipe in self._cables(a):
            if pipe.source.name == a:
                self._add_rule(act, pipe, Rule(Between(here, there), Action.DROP))
            elif not one_way:
                self._add_rule(act, pipe, Rule(Between(there, here), Action.DROP))

    def _settle(self, pipe: Pipe) -> None:
        """Work out a line's parameters from what it was configured to be and the acts in force."""
        key = id(pipe)
        active = [(name, value) for act in self.acts for each, name, value in act.settings if each is pipe]
        if key not in self._base:
            self._base[key] = (pipe, {})
        base = self._base[key][1]
        for name, _ in active:
            base.setdefault(name, getattr(pipe, name))
        for name, was in list(base.items()):
            values = [value for other, value in active if other == name]
            setattr(pipe, name, _combined(name, was, values))
            if not values:
                del base[name]
        if not base:
            del self._base[key]
        pipe.refresh()

    def _name(self, who: Who) -> str:
        name = who if isinstance(who, str) else getattr(who, "name", None)
        if not isinstance(name, str) or name not in self.world.hosts:
            raise UsageError(f"no host {name or who!r}; there are {', '.join(self.world.hosts) or 'none'}")
        return name

    def _names(self, who: Several) -> list[str]:
        if isinstance(who, str) or hasattr(who, "name"):
            return [self._name(who)]  # type: ignore[arg-type]
        return [self._name(each) for each in who]

    def _host(self, who: Who) -> Host:
        return self.world.hosts[self._name(who)]

    def _addresses(self, name: str) -> frozenset[bytes]:
        interfaces = self.world.hosts[name].interfaces
        return frozenset(address for iface in interfaces if iface.name != "lo" for address, _ in iface.addresses)

    def _direct(self, a: str, b: str) -> list[Link]:
        return [link for link in self.world.links.values() if {link.a.name, link.b.name} == {a, b}]

    def _cables(self, name: str) -> list[Pipe]:
        """Both directions of every link that ends at a host. UsageError for a host without one."""
        links = [link for link in self.world.links.values() if name in (link.a.name, link.b.name)]
        if not links:
            raise UsageError(f"{name} has no link")
        return [pipe for link in links for pipe in link.directions(None)]

    def _pipes(self, names: list[str]) -> list[Pipe]:
        """The lines meant: of all hosts where packets leave them, of one host, or shared by two."""
        if len(names) == 1:
            return self._cables(names[0])
        if names:
            return [pipe for link in self._direct(*names) for pipe in link.directions(None)]
        every = [pipe for link in self.world.links.values() for pipe in link.directions(None)]
        return [pipe for pipe in every if isinstance(pipe.source, HostPort)]


class _Touching(Matcher):
    """Packets from or to some addresses."""

    def __init__(self, addresses: frozenset[bytes], inner: Matcher) -> None:
        self.addresses = addresses
        self.inner = inner

    def matches(self, packet: Packet) -> bool:
        return (packet.src in self.addresses or packet.dst in self.addresses) and self.inner.matches(packet)


def _combined(name: str, was: object, values: list[object]) -> object:
    """One parameter under several faults: chances multiply up, delays add, the narrowest limit holds."""
    if not values:
        return was
    if name in _CHANCES:
        if len(values) == 1 and not was:
            return values[0]
        kept = 1.0 - _number(was)
        for value in values:
            kept *= 1.0 - _number(value)
        return 1.0 - kept
    if name == "delay":
        return int(_number(was)) + sum(int(_number(value)) for value in values)
    if name in _LEAST:
        limits = [int(_number(value)) for value in (was, *values) if value]
        return min(limits, default=0)
    if name in _MOST:
        most = max(_number(value) for value in (was, *values))
        return bool(most) if name in ("overtake", "blackhole") else int(most)
    return values[-1]


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return value
