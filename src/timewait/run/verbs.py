"""Faults as verbs on a network of programs, each undone by leaving its `with`, by `undo()`, or after `lasting`.

    with net.lossy("10%", client, server):
        ...
    net.at(3.0, net.partition, client, server, lasting="5s")

In the order of their destructiveness: slow, jitter, reorder, duplicate, throttle, lossy, corrupt,
narrow, drop, partition, unplug, shift_clock, freeze, fill_accept_queue, exhaust_ports, exhaust_fds,
crash, reboot, power_off. What a fault is about is named behind its value: nothing (every host's
cable), one host (its cables), two hosts (what passes between them).
"""

from collections.abc import Callable
from typing import Final, Protocol

from timewait.base.errors import UsageError
from timewait.base.instant import show_ns
from timewait.host.process import Process
from timewait.run import quantity
from timewait.run.acts import Act as Act
from timewait.run.acts import Lines, Several, Who
from timewait.wire.packet import Packet
from timewait.world.clock import Event
from timewait.world.faults import check_burst
from timewait.world.pipe import Action
from timewait.world.words import Matcher

NO_DESCRIPTOR: Final = 3
"""RLIMIT_NOFILE while descriptors are exhausted: 0 to 2 always exist, so none is left to give."""


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


class Verbs(Lines):
    """The verbs over a world. `Net` is the one who has them; alone it serves a `World` of hosts without programs."""

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
        group = self._group(a)
        rest = self._group(b) if b is not None else [name for name in self.world.hosts if name not in group]
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
