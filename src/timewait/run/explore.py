"""Random exploration: verbs composed in time from a seed, as far as a group of them goes.

`plan` draws faults without knowing any host; each picks whom it hits when it is due,
out of the hosts there are then. So one plan serves any network, and a shrunken plan
still means the same.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from timewait.base.errors import UsageError
from timewait.base.instant import MSEC
from timewait.base.rng import Streams
from timewait.run.case import Planned
from timewait.run.verbs import Act, ProgramLike, Verbs

TEST_HOST: Final = "test"
"""The host that async tests run on: lines to it may fail, the test itself is not killed."""


class Dish(NamedTuple):
    """One verb on the menu: its group, the strengths it comes in (weakest first), their unit, and how it is done."""

    group: str
    values: tuple[float, ...]
    unit: str
    serve: "Callable[[Verbs, Planned], Act | None]"


def plan(seed: int, faults: str | tuple[str, ...], *, within: int = 10_000, most: int = 5) -> tuple[Planned, ...]:
    """One to `most` faults that begin within so many ms, in order of time.

    faults: 'network', 'process', 'all', or names of verbs. Equal arguments give equal plans.
    """
    verbs = menu(faults)
    draws = Streams(seed).stream("explore")
    found: list[Planned] = []
    for _ in range(draws.randint(1, most)):
        verb = draws.choice(verbs)
        # Short faults are the rule, and long ones happen.
        lasting = round(100 * 10 ** (draws.random() * 2))
        found.append(
            Planned(
                verb,
                draws.randrange(within),
                lasting,
                draws.choice(MENU[verb].values),
                draws.randrange(1000),
                draws.randrange(1000),
            )
        )
    return tuple(sorted(found, key=lambda fault: (fault.at, fault)))


def menu(faults: str | tuple[str, ...]) -> list[str]:
    """The verbs that a group or names stand for, in order of destructiveness. UsageError for others."""
    names = (faults,) if isinstance(faults, str) else tuple(faults)
    groups = {dish.group for dish in MENU.values()}
    for name in names:
        if name != "all" and name not in groups and name not in MENU:
            raise UsageError(f"no fault {name!r}; there are all, {', '.join(sorted(groups))}, {', '.join(MENU)}")
    return [verb for verb, dish in MENU.items() if "all" in names or dish.group in names or verb in names]


def schedule(net: Verbs, faults: tuple[Planned, ...]) -> None:
    """Let the faults happen in a net that has just been made."""
    for fault in faults:
        if fault.verb not in MENU:
            raise UsageError(f"no fault {fault.verb!r}; there are {', '.join(MENU)}")
        net.world.at(fault.at * MSEC, _Due(net, fault))


class _Due:
    """A planned fault as a callable."""

    def __init__(self, net: Verbs, fault: Planned) -> None:
        self.net = net
        self.fault = fault

    def __call__(self) -> None:
        if MENU[self.fault.verb].serve(self.net, self.fault) is None:
            self.net.note(f"nobody to {self.fault.verb}")


def weaker(verb: str, value: float) -> float:
    """The next weaker strength of a verb; the same when it is the weakest."""
    values = MENU[verb].values if verb in MENU else (value,)
    return values[max(values.index(value) - 1, 0)] if value in values else value


def show_value(fault: Planned) -> str:
    """A fault's strength with its unit; '' where it has none."""
    dish = MENU.get(fault.verb)
    if dish is None or dish.values == _NONE:
        return ""
    if dish.unit == "%":
        return f"{fault.value * 100:g} %"
    return f"{fault.value:g} {dish.unit}"


# Whom it hits


def _hosts(net: Verbs) -> list[str]:
    """Hosts that have a cable: the others take no part yet."""
    linked = {port.name for link in net.world.links.values() for port in (link.a, link.b)}
    return [name for name in net.world.hosts if name in linked]


def _host(net: Verbs, fault: Planned) -> str | None:
    hosts = _hosts(net)
    return hosts[fault.who * len(hosts) // 1000] if hosts else None


def _pair(net: Verbs, fault: Planned) -> tuple[str, str] | None:
    hosts = _hosts(net)
    one = _host(net, fault)
    others = [name for name in hosts if name != one]
    if one is None or not others:
        return None
    return one, others[fault.whom * len(others) // 1000]


def _machine(net: Verbs, fault: Planned) -> str | None:
    """A host that is up and is not the test's own."""
    hosts = [name for name in _hosts(net) if name != TEST_HOST and net.world.hosts[name].up]
    return hosts[fault.who * len(hosts) // 1000] if hosts else None


def _program(net: Verbs, fault: Planned) -> ProgramLike | None:
    programs = [program for name in _hosts(net) if name != TEST_HOST for program in net.programs_of(name)]
    return programs[fault.who * len(programs) // 1000] if programs else None


# What it does


def _line(do: "Callable[[Verbs, Planned, str], Act]") -> "Callable[[Verbs, Planned], Act | None]":
    """A verb about all cables of a host."""

    def serve(net: Verbs, fault: Planned) -> Act | None:
        host = _host(net, fault)
        return None if host is None else do(net, fault, host)

    return serve


def _between(do: "Callable[[Verbs, Planned, str, str], Act]") -> "Callable[[Verbs, Planned], Act | None]":
    """A verb about two hosts."""

    def serve(net: Verbs, fault: Planned) -> Act | None:
        pair = _pair(net, fault)
        return None if pair is None else do(net, fault, *pair)

    return serve


def _on_machine(do: "Callable[[Verbs, Planned, str], Act | None]") -> "Callable[[Verbs, Planned], Act | None]":
    def serve(net: Verbs, fault: Planned) -> Act | None:
        host = _machine(net, fault)
        return None if host is None else do(net, fault, host)

    return serve


def _to_program(do: "Callable[[Verbs, Planned, ProgramLike], Act]") -> "Callable[[Verbs, Planned], Act | None]":
    def serve(net: Verbs, fault: Planned) -> Act | None:
        program = _program(net, fault)
        return None if program is None else do(net, fault, program)

    return serve


def _fill(net: Verbs, fault: Planned, host: str) -> Act | None:
    ports = sorted(net.world.hosts[host].tcp.listeners)
    if not ports:
        return None
    return net.fill_accept_queue(host, ports[fault.whom * len(ports) // 1000], lasting=_lasting(fault))


def _lasting(fault: Planned) -> float:
    return fault.lasting / 1000


_NONE: Final = (0.0,)
_CHANCE: Final = (0.05, 0.1, 0.2, 0.3, 0.5)
_DELAY: Final = (10.0, 50.0, 200.0, 1000.0, 3000.0)

MENU: Final[dict[str, Dish]] = {
    "slow": Dish("network", _DELAY, "ms", _line(lambda n, f, a: n.slow(f.value / 1000, a, lasting=_lasting(f)))),
    "jitter": Dish(
        "network",
        _DELAY[:4],
        "ms",
        _line(lambda n, f, a: n.jitter(f.value / 1000, a, overtake=True, lasting=_lasting(f))),
    ),
    "reorder": Dish(
        "network", _CHANCE, "%", _line(lambda n, f, a: n.reorder(f.value, a, by=0.05, lasting=_lasting(f)))
    ),
    "duplicate": Dish("network", _CHANCE, "%", _line(lambda n, f, a: n.duplicate(f.value, a, lasting=_lasting(f)))),
    "throttle": Dish(
        "network",
        (1000.0, 256.0, 64.0),
        "kbit/s",
        _line(lambda n, f, a: n.throttle(f.value * 1000, a, queue=20, lasting=_lasting(f))),
    ),
    "lossy": Dish("network", _CHANCE, "%", _line(lambda n, f, a: n.lossy(f.value, a, lasting=_lasting(f)))),
    "corrupt": Dish("network", _CHANCE, "%", _line(lambda n, f, a: n.corrupt(f.value, a, lasting=_lasting(f)))),
    "one_way": Dish(
        "network",
        _NONE,
        "",
        _between(lambda n, f, a, b: n.partition(a, b, one_way=True, lasting=_lasting(f))),
    ),
    "partition": Dish("network", _NONE, "", _between(lambda n, f, a, b: n.partition(a, b, lasting=_lasting(f)))),
    "unplug": Dish("network", _NONE, "", _line(lambda n, f, a: n.unplug(a, lasting=_lasting(f)))),
    "shift_clock": Dish(
        "process",
        (1.0, 60.0, 3600.0),
        "s",
        _on_machine(lambda n, f, a: n.shift_clock(a, f.value, lasting=_lasting(f))),
    ),
    "freeze": Dish("process", _NONE, "", _to_program(lambda n, f, p: n.freeze(p, lasting=_lasting(f)))),
    "fill_accept_queue": Dish("process", _NONE, "", _on_machine(_fill)),
    "exhaust_ports": Dish("process", _NONE, "", _on_machine(lambda n, f, a: n.exhaust_ports(a, lasting=_lasting(f)))),
    "exhaust_fds": Dish("process", _NONE, "", _to_program(lambda n, f, p: n.exhaust_fds(p, lasting=_lasting(f)))),
    "crash": Dish("process", _NONE, "", _to_program(lambda n, f, p: n.crash(p))),
    "reboot": Dish("process", _NONE, "", _on_machine(lambda n, f, a: n.reboot(a, down=_lasting(f)))),
}
"""Every verb that may be explored, in order of destructiveness."""


def describe(fault: Planned) -> str:
    """For people: 'at 1.5 s lossy 30 % for 2 s'."""
    value = show_value(fault)
    lasting = "" if fault.verb == "crash" else f" for {fault.lasting / 1000:g} s"
    return f"at {fault.at / 1000:g} s {fault.verb}{' ' + value if value else ''}{lasting}"
