"""Run one script on one machine: events in their order, each checked when it is due."""

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from timewait.base.errors import BudgetError, UsageError, WireError
from timewait.base.instant import NEVER, SEC
from timewait.drill import commands, pycode, syscalls
from timewait.drill.connection import TestConnection
from timewait.drill.context import Context
from timewait.drill.machine import Machine, Pending
from timewait.drill.nodes import Call, Code, Command, Event, IcmpPacket, Place, Script, TcpPacket, UdpPacket
from timewait.drill.options import RunOptions
from timewait.drill.packets import (
    Difference,
    ScriptFault,
    build,
    build_icmp,
    build_udp,
    compare,
    icmp_numbers,
    learn,
    merged,
    merges,
    show_expected,
    show_packet,
)
from timewait.drill.symbols import errno_name
from timewait.wire.packet import Datagram, IcmpMessage, Packet, Segment

NO_PLACE: Final = Place(1, 1)
MISSING_AFTER: Final = 2 * SEC
"""So long after its latest time an expected packet is given up."""
CALL_LIMIT: Final = 60 * SEC
"""A call that waits longer behind its end time hangs."""
SECOND_CALL: Final = SEC
"""So long a second blocking call waits for the first one to be through."""


class Mismatch(Exception):
    """The stack did something else than the script says."""

    def __init__(
        self,
        place: Place,
        what: str,
        *,
        expected: str = "",
        found: str = "",
        differences: list[Difference] | None = None,
    ) -> None:
        super().__init__(what)
        self.place = place
        self.what = what
        self.expected = expected
        self.found = found
        self.differences = differences or []


@dataclass(slots=True)
class Result:
    """What became of a script: '' for passed, else why not."""

    path: str
    status: str = "passed"
    """passed, failed, or error (it could not be parsed, or asks for what there is not)."""
    place: Place = NO_PLACE
    what: str = ""
    expected: str = ""
    found: str = ""
    differences: list[Difference] = field(default_factory=list)
    source: str = ""
    log: list[str] = field(default_factory=list)
    """The last records before the failure."""
    warnings: list[str] = field(default_factory=list)
    printed: str = ""
    """What its code blocks printed."""
    duration: float = 0.0
    """Seconds that the run took."""
    virtual: float = 0.0
    """Seconds that passed for the script."""
    events: int = 0
    """Events that were done."""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


class Runner:
    """One run."""

    def __init__(
        self, script: Script, options: RunOptions, machine: Machine, coder: "pycode.Coder | None" = None
    ) -> None:
        self.script = script
        self.options = options
        self.machine = machine
        self.ctx = Context(machine, options)
        self.shell = commands.Shell(machine, script.path, options)
        self.coder = coder
        self.codes: list[pycode.Block] = []
        self.result = Result(script.path)
        self.log: list[str] = []
        self.last_time = 0
        """When the event before this one was over, in ns since the start."""
        self.last_inbound: int | None = None
        """The scheduled time of the event before, if it was an injected packet."""
        self.blocking: tuple[Call, syscalls.Prepared, Pending, int] | None = None

    # The whole

    def run(self) -> Result:
        """Run the script. Never raises for what a script may do."""
        result = self.result
        try:
            self._run()
        except Mismatch as failure:
            self._fail("failed", failure.place, failure)
        except ScriptFault as fault:
            self._fail("error", self._here, Mismatch(self._here, str(fault)))
        except UsageError as fault:
            self._fail("error", self._here, Mismatch(self._here, str(fault)))
        except BudgetError as fault:
            self._fail("failed", self._here, Mismatch(self._here, f"the script hangs: {fault}"))
        except Exception as fault:
            # A script must not be able to end a run of many: what it broke is its result.
            trace = traceback.extract_tb(fault.__traceback__)[-1]
            where = f"{Path(trace.filename).name}:{trace.lineno}"
            self._fail("failed", self._here, Mismatch(self._here, f"{type(fault).__name__} at {where}: {fault}"))
        finally:
            self._cleanup()
        result.warnings += self.shell.complaints
        result.virtual = (self.machine.now() - self.ctx.start) / SEC
        return result

    def _run(self) -> None:
        self._here = Place(1, 1)
        script = self.script
        if script.init is not None:
            self._here = script.init.place
            self._command(script.init)
            self.ctx.start = self.machine.now()
        for event in script.events:
            self._here = event.place
            self._event(event)
            self.result.events += 1
        self._finish_blocking(None)
        if self.codes:
            self._run_codes()

    def _cleanup(self) -> None:
        cleanup = self.script.cleanup
        if cleanup is None:
            return
        self._here = cleanup.place
        try:
            self._command(cleanup)
        except (Mismatch, UsageError) as failure:
            if self.result.passed:
                self._fail("failed", cleanup.place, Mismatch(cleanup.place, f"cleanup: {failure}"))

    def _fail(self, status: str, place: Place, failure: Mismatch) -> None:
        result = self.result
        result.status = status
        result.place = place
        result.what, result.expected, result.found = failure.what, failure.expected, failure.found
        result.differences = failure.differences
        lines = self.script.source
        result.source = lines[place.line - 1].strip() if 0 < place.line <= len(lines) else ""
        result.log = self.log[-10:]

    def _warn(self, failure: Mismatch) -> None:
        line = f"{self.script.path}:{failure.place.line}: {failure.what}"
        details = "; ".join(f"{d.field}: expected {d.expected}, got {d.found}" for d in failure.differences)
        self.result.warnings.append(line + (f" ({details})" if details else ""))

    # Time

    def _now(self) -> int:
        return self.machine.now() - self.ctx.start

    def _due(self, event: Event, when: int, relative: bool) -> int:
        """A time of an event in ns since the start."""
        if not relative:
            return when
        inbound = isinstance(event, (TcpPacket, UdpPacket, IcmpPacket)) and event.inbound
        base = self.last_inbound if inbound and self.last_inbound is not None else self.last_time
        return base + when

    def _tolerance(self, since: int) -> int:
        return max(self.options.tolerance, int(since * self.options.tolerance_percent / 100))

    def _wait(self, due: int, event: Event) -> None:
        """Let time pass until an event is due."""
        late = self._now() - due
        if late > self._tolerance(abs(due - self.last_time)):
            raise Mismatch(event.place, f"the event is due at {_clock(due)}, but it is {_clock(self._now())} already")
        if late < 0:
            self.machine.run_until(self.ctx.start + due)
            self._note_blocking()

    # Events

    def _event(self, event: Event) -> None:
        if isinstance(event, (TcpPacket, UdpPacket, IcmpPacket)) and not event.inbound:
            self._expect(event)
            self.last_inbound = None
            return
        due = self._due(event, event.when.start, event.when.relative)
        self._wait(due, event)
        inbound = None
        if isinstance(event, Call):
            self._call(event, due)
        elif isinstance(event, Command):
            self._command(event)
        elif isinstance(event, Code):
            self._code(event)
        elif isinstance(event, (TcpPacket, UdpPacket, IcmpPacket)):
            self._inject(event)
            inbound = due
        self.last_time = self._now()
        self.last_inbound = inbound

    def _command(self, event: Command) -> None:
        self._log(f"`{' '.join(event.text.split())}`")
        try:
            self.shell.run(event.text)
        except commands.CommandFailed as failure:
            raise Mismatch(event.place, str(failure)) from None
        if self.shell.slept:
            self.machine.run_until(self.machine.now() + self.shell.slept)
            self.shell.slept = 0

    def _code(self, event: Code) -> None:
        fd = self.ctx.info_fd()
        names = pycode.names_of(self.machine, fd)
        self._log(f"%{{ {' '.join(event.text.split())} }}%")
        self.codes.append(pycode.Block(event.text, event.place, names))

    def _run_codes(self) -> None:
        coder = self.coder or pycode.Coder()
        try:
            outcome = coder.run(self.codes)
        finally:
            if self.coder is None:
                coder.close()
        self.result.printed = outcome.printed
        if outcome.error:
            block = self.codes[min(outcome.block, len(self.codes) - 1)]
            place = Place(block.place.line + max(outcome.line - 1, 0), block.place.column)
            raise Mismatch(place, f"code: {outcome.error}", found=outcome.names)

    # Calls

    def _call(self, call: Call, due: int) -> None:
        self._finish_blocking(call)
        prepared = syscalls.prepare(self.ctx, call)
        pending = self.machine.begin(prepared.name, prepared.arguments)
        when = call.when
        if when.blocking:
            end = self._due(call, when.end or 0, when.relative)
            self.blocking = call, prepared, pending, end
            if end <= due and pending.answer is None:
                self._finish_blocking(call)
            self._note_blocking()
            return
        if pending.answer is None:
            raise Mismatch(
                call.place, f"{call.name}() waits, but the script says that it returns at once (a blocking call has an"
                " end time: '+0...0.2')",
            )  # fmt: skip
        self._answered(call, prepared, pending)

    def _answered(self, call: Call, prepared: syscalls.Prepared, pending: Pending) -> None:
        answer = pending.answer
        assert answer is not None
        error = f" {errno_name(answer.errno)}" if answer.result < 0 else ""
        self._log(f"{_call_text(call, self.script)} gave {answer.result}{error}", pending.ended)
        differences = syscalls.compare_result(self.ctx, call, prepared, answer)
        if prepared.after is not None:
            prepared.after(answer)
        if not differences:
            return
        failure = Mismatch(
            call.place, f"{call.name}() gave something else",
            expected=differences[0].expected, found=differences[0].found, differences=differences,
        )  # fmt: skip
        if "syscall" in self.options.non_fatal:
            self._warn(failure)
            return
        raise failure

    def _note_blocking(self) -> None:
        """A blocking call that is through is judged as soon as somebody looks."""
        if self.blocking is None:
            return
        call, prepared, pending, end = self.blocking
        if pending.answer is None:
            return
        self.blocking = None
        self._answered(call, prepared, pending)
        ended = pending.ended - self.ctx.start
        span = end - (pending.started - self.ctx.start)
        if abs(ended - end) > self._tolerance(span):
            raise Mismatch(
                call.place, f"{call.name}() returned at another time", expected=_clock(end), found=_clock(ended),
                differences=[Difference("end", _clock(end), _clock(ended))],
            )  # fmt: skip

    def _finish_blocking(self, following: Call | None) -> None:
        """Before another blocking call, and at the end of the script, the one that waits has to end."""
        self._note_blocking()
        if self.blocking is not None and self.machine.kind == "kernel":
            # What the call waits for may just have arrived, and its thread not run yet.
            waiting = self.blocking[2]
            if self.blocking[3] <= self._now() + self.options.tolerance:
                self.machine.run_while(lambda: waiting.answer is None, self.machine.now() + self.options.tolerance)
                self._note_blocking()
        if self.blocking is None or (following is not None and not following.when.blocking):
            return
        call, _, pending, end = self.blocking
        limit = SECOND_CALL if following is not None else max(end - self._now(), 0) + self._tolerance(end) + SECOND_CALL
        self.machine.run_while(lambda: pending.answer is None, self.machine.now() + limit)
        self._note_blocking()
        if self.blocking is not None:
            raise Mismatch(
                call.place, f"{call.name}() has not returned",
                expected=f"an end at {_clock(end)}", found=f"still waiting at {_clock(self._now())}",
            )  # fmt: skip

    # Packets in

    def _inject(self, event: TcpPacket | UdpPacket | IcmpPacket) -> None:
        packet: Packet
        if isinstance(event, TcpPacket):
            conn = self.ctx.for_inbound(event.ports)
            packet = build(event, conn, gso=self.options.mss, scaled=self.options.ts_ecr_scaled)
            conn.last_received = packet
        elif isinstance(event, UdpPacket):
            conn = self.ctx.for_inbound(event.ports)
            packet = build_udp(event, conn)
        else:
            conn = self.ctx.under_test()
            packet = build_icmp(event, conn, conn.remote)
        self._log(show_packet(packet, conn, True))
        try:
            self.machine.inject(packet)
        except WireError as error:
            raise ScriptFault(f"this packet cannot be made: {error}") from error

    # Packets out

    def _expect(self, event: TcpPacket | UdpPacket | IcmpPacket) -> None:
        when = event.when
        earliest = latest = NEVER
        if not when.any_time:
            earliest = latest = self._due(event, when.start, when.relative)
            if when.end is not None:
                latest = self._due(event, when.end, when.relative)
        since = latest - self.last_time
        tolerance = self._tolerance(abs(since)) if not when.any_time else 0
        time, packet, conn = self._next(event, NEVER if when.any_time else latest + max(MISSING_AFTER, tolerance))
        self.last_time = time
        differences = self._compare(event, packet, conn, tolerance)
        if not when.any_time and not earliest - tolerance <= time <= latest + tolerance:
            wanted = _clock(earliest) if when.end is None else f"{_clock(earliest)}~{_clock(latest)}"
            differences.append(Difference("time", f"{wanted} +-{tolerance / SEC:.6f}", _clock(time)))
        self._log(show_packet(packet, conn, False), self.ctx.start + time)
        if not differences:
            return
        expected = show_expected(event) if isinstance(event, TcpPacket) else self.script.source[event.place.line - 1]
        failure = Mismatch(
            event.place, "the packet is another one", expected=expected.strip(),
            found=show_packet(packet, conn, False), differences=differences,
        )  # fmt: skip
        if "packet" in self.options.non_fatal:
            self._warn(failure)
            return
        raise failure

    def _compare(
        self, event: TcpPacket | UdpPacket | IcmpPacket, packet: Packet, conn: TestConnection, tolerance: int
    ) -> list[Difference]:  # fmt: skip
        if isinstance(event, TcpPacket):
            if not isinstance(packet, Segment):
                return [Difference("protocol", "TCP", type(packet).__name__)]
            learn(event, packet, conn)
            return compare(event, packet, conn, ts_tick=self.options.ts_tick, tolerance=tolerance)
        if isinstance(event, UdpPacket):
            if not isinstance(packet, Datagram):
                return [Difference("protocol", "UDP", type(packet).__name__)]
            size = len(packet.payload)
            return [] if size == event.length else [Difference("length", str(event.length), str(size))]
        if not isinstance(packet, IcmpMessage):
            return [Difference("protocol", "ICMP", type(packet).__name__)]
        wanted = icmp_numbers(event, self.options.version)
        got = int(packet.type), int(packet.code)
        return [] if wanted == got else [Difference("type, code", str(wanted), str(got))]

    def _next(
        self, event: TcpPacket | UdpPacket | IcmpPacket, deadline: int
    ) -> tuple[int, Packet, TestConnection]:  # fmt: skip
        """The next packet of the connection under test; pieces of one large segment are put together."""
        ports = None if isinstance(event, IcmpPacket) else event.ports
        limit = NEVER if deadline >= NEVER else self.ctx.start + deadline
        taken = self._take(ports, limit)
        if taken is None:
            expected = show_expected(event) if isinstance(event, TcpPacket) else ""
            waited = "" if deadline >= NEVER else f" until {_clock(deadline)}"
            raise Mismatch(
                event.place, f"the packet did not come{waited}", expected=expected, found="nothing", differences=[]
            )
        time, packet, conn = taken
        if not isinstance(event, TcpPacket) or not isinstance(packet, Segment) or self.options.strict_segments:
            return time, packet, conn
        pieces: list[Segment] = []
        length = int(packet.length)
        while 0 < length < event.length:
            more = self._take(ports, min(limit, self.machine.now() + MISSING_AFTER), packet, length)
            if more is None:
                break
            piece = more[1]
            assert isinstance(piece, Segment)
            pieces.append(piece)
            length += int(piece.length)
        return time, merged(packet, pieces), conn

    def _take(
        self, ports: tuple[int, int] | None, limit: int, first: Segment | None = None, so_far: int = 0
    ) -> tuple[int, Packet, TestConnection] | None:  # fmt: skip
        """Take the next packet under test off the queue, waiting for it; with `first`, only one that continues it."""
        queue = self.machine.outgoing
        while True:
            while queue:
                time, packet = queue[0]
                conn = self._owner(packet, ports)
                if conn is None:
                    queue.popleft()
                    continue
                if first is not None and (not isinstance(packet, Segment) or not merges(first, so_far, packet)):
                    return None
                queue.popleft()
                return time - self.ctx.start, packet, conn
            if not self.machine.run_while(lambda: not queue, limit):
                self._note_blocking()
                return None
            self._note_blocking()

    def _owner(self, packet: Packet, ports: tuple[int, int] | None) -> TestConnection | None:
        if isinstance(packet, Segment):
            return self.ctx.owner(packet, ports)
        return self.ctx.current

    # What happened

    def _log(self, text: str, at: int | None = None) -> None:
        time = self.machine.now() if at is None else at
        self.log.append(f"{_clock(time - self.ctx.start)} {text}")


def _clock(time: int) -> str:
    """'1.234567', seconds since the start."""
    return f"{time / SEC:.6f}"


def _call_text(call: Call, script: Script) -> str:
    from timewait.drill.values import show

    return f"{call.name}({', '.join(map(show, call.arguments))})"
