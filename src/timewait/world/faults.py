"""Faults as verbs: `link.lossy(0.1)`, `with link.partition(): ...`, `link.drop('second SYN-ACK')`.

Each verb takes effect at once and returns a `Fault`: leaving its `with` block, or its
`undo()`, takes it back. They stand in the order of their destructiveness. `sender`
names a host and limits a fault to the direction that host sends in.
"""

from collections.abc import Callable
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.instant import SEC
from timewait.wire.packet import Packet
from timewait.world.pipe import Action, Pipe, Rule
from timewait.world.words import Matcher, Predicate, Words, parse_words

What = str | Matcher | Callable[[Packet], bool]
"""Which packets a rule catches: words, a matcher or a predicate."""

_MAX_RATE: Final = 10**15


class Fault:
    """A fault in force. Leaving its `with` block or calling `undo` takes it back; twice is once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.former: list[tuple[Pipe, str, object]] = []
        self.rules: list[tuple[Pipe, Rule]] = []
        self.barriers: list[tuple[Pipe, bool]] = []
        """Directions this fault closed, and whether by unplugging."""

    @property
    def hits(self) -> int:
        """Packets that the fault's rules have caught so far."""
        rules = {id(rule): rule for _, rule in self.rules}
        return sum(rule.hits for rule in rules.values())

    def undo(self) -> None:
        """Restore what was before. Faults of the same sort on one link are to be undone last first."""
        for pipe, attribute, value in reversed(self.former):
            setattr(pipe, attribute, value)
            pipe.refresh()
        for pipe, rule in self.rules:
            if rule in pipe.rules:
                pipe.rules.remove(rule)
                pipe.refresh()
        for pipe, unplugging in self.barriers:
            if unplugging:
                pipe.unplugged = max(pipe.unplugged - 1, 0)
            else:
                pipe.partitions = max(pipe.partitions - 1, 0)
            pipe.refresh()
        # The rules stay readable for `hits`; a second undo must not open another's barrier.
        self.former = []
        self.barriers = []

    def __enter__(self) -> "Fault":
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self.undo()

    def put(self, pipe: Pipe, attribute: str, value: object) -> None:
        """Change one parameter of a direction, remembering what it was."""
        self.former.append((pipe, attribute, getattr(pipe, attribute)))
        setattr(pipe, attribute, value)
        pipe.refresh()

    def bar(self, pipe: Pipe, unplugging: bool) -> None:
        """Close a direction."""
        if unplugging:
            pipe.unplugged += 1
        else:
            pipe.partitions += 1
        self.barriers.append((pipe, unplugging))
        pipe.refresh()


def check_probability(name: str, value: float) -> None:
    """UsageError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is a probability from 0 to 1, not {value!r}")


def check_amount(name: str, value: int, unit: str, high: int = SEC * 86_400 * 366) -> None:
    """UsageError unless 0 <= value <= high, a whole number."""
    if not isinstance(value, int) or not 0 <= value <= high:
        raise UsageError(f"{name} is a whole number of {unit} from 0 to {high}, not {value!r}")


def check_burst(burst: tuple[float, ...]) -> tuple[float, float, float]:
    """(enter, leave) or (enter, leave, loss while bad) as three probabilities."""
    if len(burst) not in (2, 3):
        raise UsageError("burst takes (enter bad state, leave it) or (enter, leave, loss in it), not " + repr(burst))
    for value in burst:
        check_probability("burst", value)
    return burst[0], burst[1], burst[2] if len(burst) == 3 else 1.0


class Faults:
    """The verbs. `Link` is the one who has them."""

    def directions(self, sender: str | None) -> list[Pipe]:
        """The directions that `sender` sends in; both for None. UsageError for a stranger."""
        raise NotImplementedError

    def note(self, text: str) -> None:
        """Leave a line in the record."""
        raise NotImplementedError

    def slow(self, by: int, *, sender: str | None = None) -> Fault:
        """`by` ns longer on the way."""
        check_amount("slow", by, "ns")
        fault = Fault("slow")
        for pipe in self.directions(sender):
            fault.put(pipe, "delay", int(pipe.delay) + by)
        return fault

    def jitter(self, most: int, *, overtake: bool = False, sender: str | None = None) -> Fault:
        """Extra delay, uniform in 0..most ns; with `overtake` later packets may arrive first."""
        check_amount("jitter", most, "ns")
        fault = Fault("jitter")
        for pipe in self.directions(sender):
            fault.put(pipe, "jitter", most)
            fault.put(pipe, "overtake", overtake)
        return fault

    def throttle(
        self, rate: int, *, queue: int | None = None, queue_bytes: int | None = None, sender: str | None = None
    ) -> Fault:
        """At most `rate` bit/s (0: unlimited), with `queue` packets or bytes waiting and the rest lost."""
        check_amount("rate", rate, "bit/s", _MAX_RATE)
        fault = Fault("throttle")
        for pipe in self.directions(sender):
            fault.put(pipe, "rate", rate)
            if queue is not None:
                check_amount("queue", queue, "packets")
                fault.put(pipe, "queue", queue)
            if queue_bytes is not None:
                check_amount("queue_bytes", queue_bytes, "bytes")
                fault.put(pipe, "queue_bytes", queue_bytes)
        return fault

    def duplicate(self, probability: float, *, sender: str | None = None) -> Fault:
        """Some packets arrive twice."""
        return self._chance("duplicate", probability, sender)

    def reorder(self, probability: float, *, by: int = 0, sender: str | None = None) -> Fault:
        """Some packets are held back `by` ns (0: the link's delay, at least 1 ms) while others pass."""
        check_amount("by", by, "ns")
        fault = self._chance("reorder", probability, sender)
        for pipe in self.directions(sender):
            fault.put(pipe, "reorder_delay", by)
        return fault

    def narrow(self, mtu: int, *, blackhole: bool = False, sender: str | None = None) -> Fault:
        """Carry datagrams up to `mtu` octets only; as a black hole without telling the sender (RFC 2923)."""
        check_amount("mtu", mtu, "octets", 65_535)
        if 0 < mtu < 68:
            raise UsageError(f"mtu is 0 (unlimited) or at least 68 octets (RFC 791), not {mtu}")
        fault = Fault("narrow")
        for pipe in self.directions(sender):
            fault.put(pipe, "mtu", mtu)
            fault.put(pipe, "blackhole", blackhole)
        return fault

    def lossy(
        self, probability: float = 0.0, *, burst: tuple[float, ...] | None = None, sender: str | None = None
    ) -> Fault:
        """Packets are lost at random, or in bursts (Gilbert-Elliott: enter, leave, loss in the bad state)."""
        fault = self._chance("loss", probability, sender)
        if burst is not None:
            checked = check_burst(burst)
            for pipe in self.directions(sender):
                fault.put(pipe, "burst", checked)
                fault.put(pipe, "bad_state", False)
        return fault

    def mark(self, probability: float = 0.0, *, above: int = 0, sender: str | None = None) -> Fault:
        """Packets that are ECN-capable are marked CE: at random, or where more than `above` wait at the transmitter."""
        check_amount("above", above, "packets")
        fault = self._chance("mark", probability, sender)
        for pipe in self.directions(sender):
            fault.put(pipe, "mark_above", above)
        return fault

    def corrupt(self, probability: float, *, sender: str | None = None) -> Fault:
        """Some packets arrive with one bit flipped."""
        return self._chance("corrupt", probability, sender)

    def hold(self, what: What, by: int, *, sender: str | None = None) -> Fault:
        """Hold back the packets meant by `what` for `by` ns; others may pass them."""
        check_amount("by", by, "ns")
        return self._rule(what, Action.HOLD, by, sender)

    def repeat(self, what: What, times: int = 1, *, sender: str | None = None) -> Fault:
        """Deliver the packets meant by `what` again, `times` times."""
        check_amount("times", times, "copies", 1_000)
        return self._rule(what, Action.REPEAT, times, sender)

    def damage(self, what: What, *, sender: str | None = None) -> Fault:
        """Flip one bit in the packets meant by `what`."""
        return self._rule(what, Action.DAMAGE, 0, sender)

    def drop(self, what: What, *, sender: str | None = None) -> Fault:
        """Lose the packets meant by `what`: 'second SYN-ACK', 'every FIN from server', a predicate."""
        return self._rule(what, Action.DROP, 0, sender)

    def partition(self, *, sender: str | None = None) -> Fault:
        """Carry nothing, in both directions or, one-way, only what `sender` sends. Packets on the way still arrive."""
        fault = Fault("partition")
        for pipe in self.directions(sender):
            fault.bar(pipe, False)
        self.note("partition" if sender is None else f"one-way partition: nothing from {sender}")
        return fault

    def unplug(self) -> Fault:
        """Pull the cable: both directions drop everything until `plug` or undo."""
        fault = Fault("unplug")
        for pipe in self.directions(None):
            fault.bar(pipe, True)
        self.note("cable unplugged")
        return fault

    def plug(self) -> None:
        """Plug the cable in, however often it was pulled."""
        for pipe in self.directions(None):
            pipe.unplugged = 0
            pipe.refresh()
        self.note("cable plugged in")

    def heal(self) -> None:
        """End every partition, plug in, forget the rules: a link again that only is as configured."""
        for pipe in self.directions(None):
            pipe.unplugged = 0
            pipe.partitions = 0
            pipe.rules = []
            pipe.refresh()

    def _chance(self, attribute: str, probability: float, sender: str | None) -> Fault:
        check_probability(attribute, probability)
        fault = Fault(attribute)
        for pipe in self.directions(sender):
            fault.put(pipe, attribute, float(probability))
        return fault

    def _rule(self, what: What, action: Action, amount: int, sender: str | None) -> Fault:
        """One rule, shared by the directions it holds for: 'second SYN' counts over both."""
        pipes = self.directions(sender)
        if isinstance(what, str):
            names = tuple(pipe.source.name for pipe in self.directions(None))
            matcher: Matcher = parse_words(what, names)
        elif isinstance(what, Matcher):
            matcher = what
        else:
            matcher = Predicate(what)
        if isinstance(matcher, Words):
            if matcher.sender:
                pipes = [pipe for pipe in pipes if pipe.source.name == matcher.sender]
            if matcher.receiver:
                pipes = [pipe for pipe in pipes if pipe.sink.name == matcher.receiver]
        if not pipes:
            raise UsageError(f"no direction of the link is left for {what!r} with sender {sender!r}")
        rule = Rule(matcher, action, amount)
        fault = Fault(action.value)
        for pipe in pipes:
            pipe.rules.append(rule)
            fault.rules.append((pipe, rule))
            pipe.refresh()
        return fault
