"""Faults in force and what they do to the lines: the machinery under `verbs`.

Faults that overlap add up and may be undone in any order: the parameters of a line are worked
out anew from what it was configured to be and the acts in force.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final, Protocol

from timewait.base.errors import UsageError
from timewait.run import quantity
from timewait.wire.packet import Packet
from timewait.world.clock import Event
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


Who = str | Named
"""A host by name, or an object that has its name."""
Several = Who | Iterable[Who]

_CHANCES: Final = ("loss", "duplicate", "corrupt", "reorder")
_LEAST: Final = ("rate", "queue", "mtu")
_MOST: Final = ("jitter", "reorder_delay", "overtake", "blackhole")


class Act:
    """A fault in force. Leaving its `with` block or `undo()` ends it; twice is once."""

    def __init__(self, verbs: "Lines", text: str, undo: Callable[[], None] | None = None) -> None:
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


class Lines:
    """The lines of a world, the faults on them, and who is meant by a name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acts: list[Act] = []
        """The faults in force, oldest first."""
        self._base: dict[int, tuple[Pipe, dict[str, object]]] = {}
        self._number = 0

    def wire(self) -> None:
        """Make the lines that come about by themselves; called before faults look for lines."""

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
        self.wire()
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

    def _group(self, who: Several) -> list[str]:
        self.wire()
        if isinstance(who, str) or hasattr(who, "name"):
            return [self._name(who)]  # type: ignore[arg-type]
        return [self._name(each) for each in who]

    def _addresses(self, name: str) -> frozenset[bytes]:
        interfaces = self.world.hosts[name].interfaces
        return frozenset(address for iface in interfaces if iface.name != "lo" for address, _ in iface.addresses)

    def _direct(self, a: str, b: str) -> list[Link]:
        return [link for link in self.world.links.values() if {link.a.name, link.b.name} == {a, b}]

    def _cables(self, name: str) -> list[Pipe]:
        """Both directions of every link that ends at a host. UsageError for a host without one."""
        self.wire()
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
