"""The same packets at the same times for a kernel and for our stack, and what TCP_INFO says of both.

A story is a function of a `Teller`. Told to a kernel it writes down when each step happened; told
again to our stack every step happens at that time, so that what the machine's load did to the
first telling is part of the second too.
"""

import socket
from collections.abc import Callable
from typing import Any

from support.peer import Flow, Peer, Seen
from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import TCP_INFO
from timewait.tcp.info import unpack_info

MOST = 1024
"""More octets than any kernel's struct tcp_info has."""

HISTORY = 10 * SEC
"""How long a host exists before the story begins, so that 'never' is longer ago than anything in it."""
NEVER = -1
SPANS = {
    # The kernel counts these in ticks of 4 ms and rounds, besides what the timer wheel adds.
    "rto": 12_000,
    "ato": 12_000,
    "last_data_sent": 40,
    "last_data_recv": 12,
    # Linux's fast path does not note that data without a new acknowledgment says ACK, too.
    "last_ack_recv": 60,
    # Microseconds: how long a packet is under way through the TUN.
    "rtt": 3_000,
    "rttvar": 4_000,
    "min_rtt": 3_000,
    "rcv_rtt": 5_000,
    "busy_time": 12_000,
    "rwnd_limited": 8_000,
    "sndbuf_limited": 8_000,
    "total_rto_time": 40,
}
"""By how much a duration may differ, in the field's unit."""
RATES = {"pacing_rate", "delivery_rate"}
"""What is divided by a measured time: may differ by an eighth."""


class Teller:
    """One telling of a story: steps with their times, and the moments at which TCP_INFO was read."""

    def __init__(self, peer: Peer, told: "Teller | None" = None) -> None:
        self.peer = peer
        self.times: list[int] = [] if told is None else told.times
        self.facts: dict[str, int] = {}
        """What one part of a story leaves to another: descriptors."""
        self.step = 0
        self.replay = told is not None
        if self.replay:
            peer.run(HISTORY / SEC)
        self.start = int(peer.world.now)
        self.moments: list[tuple[str, dict[str, int]]] = []
        self.said: list[str] = []
        """Every segment the host sent."""

    def _step(self) -> None:
        """The next step's time: now, and written down; or the one written down."""
        if not self.replay:
            self.times.append(int(self.peer.world.now) - self.start)
            return
        due = self.start + self.times[self.step]
        self.step += 1
        if due > self.peer.world.now:
            self._heard(self.peer.run((due - self.peer.world.now) / 1e9))

    def _heard(self, seen: list[Seen]) -> list[Seen]:
        self.said.extend(seen)
        return seen

    def wait(self, seconds: float) -> None:
        """Let time pass until the next step."""
        if not self.replay:
            self._heard(self.peer.run(seconds))

    def inject(self, flags: str, flow: Flow | None = None, **given: Any) -> list[Seen]:
        self._step()
        return self._heard((flow or self.peer.flow).inject(flags, **given))

    def do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call of the program; errors as text."""
        self._step()
        found = self.peer.attempt(call, *arguments)
        self._heard(self.peer.take())
        return found

    def note(self, label: str, fd: int) -> None:
        """Read TCP_INFO."""
        self._step()
        raw = self.peer.app.getsockopt(fd, socket.IPPROTO_TCP, TCP_INFO, MOST)
        assert isinstance(raw, bytes)
        info = {name.removeprefix("tcpi_"): value for name, value in unpack_info(raw).items()}
        info["length"] = len(raw)
        told = (self.peer.world.now - self.start) // MSEC
        for name in ("last_data_sent", "last_data_recv", "last_ack_recv"):
            if info[name] > told + HISTORY // 2 // MSEC:
                info[name] = NEVER
        self.moments.append((label, info))


def tell(story: Callable[[Teller], None], peer: Peer, told: Teller | None = None) -> Teller:
    """Tell a story to a peer; with `told`, at the times of that telling."""
    teller = Teller(peer, told)
    story(teller)
    return teller


def differences(kernel: Teller, ours: Teller) -> list[str]:
    """What differs between two tellings, a line for each field; empty when they agree."""
    found: dict[str, list[str]] = {}
    for (label, theirs), (_, own) in zip(kernel.moments, ours.moments, strict=True):
        for name, value in theirs.items():
            mine = own[name]
            if not _agree(name, value, mine):
                found.setdefault(name, []).append(f"{label} {value} here {mine}")
    lines = [f"{name}: {', '.join(places)}" for name, places in found.items()]
    pairs = zip([*kernel.said, "nothing"], [*ours.said, "nothing"], strict=False)
    first = next(((n, a, b) for n, (a, b) in enumerate(pairs) if a != b), None)
    if first is not None:
        lines.append(f"segment {first[0]}: {first[1]} in the kernel, {first[2]} here")
    return lines


def _agree(name: str, theirs: int, ours: int) -> bool:
    if NEVER in (theirs, ours):
        return theirs == ours
    if name in SPANS:
        return abs(theirs - ours) <= SPANS[name] + theirs // 50
    if name in RATES:
        return abs(theirs - ours) <= theirs // 8
    return theirs == ours
