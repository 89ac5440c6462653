"""A link between two machines: two directions, each with its own parameters and faults."""

from typing import TypedDict

from timewait.base.errors import UsageError
from timewait.base.rng import Streams
from timewait.tcp.tap import Tap
from timewait.world.clock import Scheduler
from timewait.world.faults import Faults
from timewait.world.pipe import Pipe, Port


class LinkOptions(TypedDict, total=False):
    """What `Link.configure` takes, by name."""

    delay: int
    jitter: int
    overtake: bool
    rate: int
    queue: int
    queue_bytes: int
    duplicate: float
    reorder: float
    reorder_delay: int
    mtu: int
    blackhole: bool
    loss: float
    burst: tuple[float, ...] | None
    corrupt: float
    drop: str | None


class Link(Faults):
    """Two `Pipe`s back to back, and the verbs of `Faults` over them."""

    def __init__(self, name: str, clock: Scheduler, a: Port, b: Port, streams: Streams, tap: Tap | None = None) -> None:
        self.name = name
        self.clock = clock
        self.a = a
        self.b = b
        self.tap = tap
        self.there = Pipe(name, clock, a, b, streams)
        """From a to b."""
        self.back = Pipe(name, clock, b, a, streams)
        self.there.back = self.back
        self.back.back = self.there
        self.there.tap = tap
        self.back.tap = tap
        a.connect(self.there)
        b.connect(self.back)

    @property
    def in_flight(self) -> int:
        """Packets on the way, in both directions."""
        return int(self.there.in_flight + self.back.in_flight)

    def directions(self, sender: str | None) -> list[Pipe]:
        if sender is None:
            return [self.there, self.back]
        return [self.direction(sender)]

    def direction(self, sender: str) -> Pipe:
        """The direction that `sender` sends in. UsageError for a machine not on this link."""
        for pipe in (self.there, self.back):
            if pipe.source.name == sender:
                return pipe
        raise UsageError(f"{sender!r} is not on link {self.name}; {self.a.name} and {self.b.name} are")

    def note(self, text: str) -> None:
        if self.tap is not None:
            self.tap.noted(self.name, text, self.clock.now())

    def configure(
        self,
        *,
        delay: int = 0,
        jitter: int = 0,
        overtake: bool = False,
        rate: int = 0,
        queue: int = 0,
        queue_bytes: int = 0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        reorder_delay: int = 0,
        mtu: int = 0,
        blackhole: bool = False,
        loss: float = 0.0,
        burst: tuple[float, ...] | None = None,
        corrupt: float = 0.0,
        drop: str | None = None,
        sender: str | None = None,
    ) -> None:
        """Set every parameter at once, for both directions or that of `sender`: the flat form of the verbs.

        Times in ns, rate in bit/s, queue in packets, mtu in octets, 0 meaning none or unlimited;
        loss, duplicate, reorder and corrupt are probabilities. UsageError where out of range.
        """
        for pipe in self.directions(sender):
            # `slow` adds to the delay, and `lossy` leaves bursts alone where none are asked for.
            pipe.delay = 0
            pipe.burst = None
        self.slow(delay, sender=sender)
        self.jitter(jitter, overtake=overtake, sender=sender)
        self.throttle(rate, queue=queue, queue_bytes=queue_bytes, sender=sender)
        self.duplicate(duplicate, sender=sender)
        self.reorder(reorder, by=reorder_delay, sender=sender)
        self.narrow(mtu, blackhole=blackhole, sender=sender)
        self.lossy(loss, burst=burst, sender=sender)
        self.corrupt(corrupt, sender=sender)
        if drop is not None:
            self.drop(drop, sender=sender)

    def disconnect(self) -> None:
        """Take the link away for good; packets on the way still arrive."""
        self.a.disconnect()
        self.b.disconnect()

    def __repr__(self) -> str:
        return f"Link({self.name})"
