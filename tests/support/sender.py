"""The host sends as much as it may, and the peer answers by hand, in numbers of segments: 0 is the first.

    sender = Sender(peer, "reno")          # ten segments have left: sender.sent == list(range(10))
    sender.wait()                          # a round trip
    assert sender.ack(1) == [10, 11]       # segment 0 is acknowledged; what leaves thereupon
    sender.ack(1, [(2, 3)])                # and a SACK of segment 2

A kernel gets a few milliseconds for each answer, which pass in the simulation as well.
"""

import functools
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from support.peer import Peer, Seen

MSS = 1000
TCP_CONGESTION = 13
ANSWER = 0.006
"""Seconds for an answer."""
PATIENCE = 0.012
"""Seconds more for a kernel that has not answered."""
OPEN, DISORDER, CWR, RECOVERY, LOSS = range(5)


class Info:
    """What TCP_INFO says: counts in segments, times in us, the state as OPEN to LOSS."""

    def __init__(self, raw: bytes) -> None:
        word = struct.unpack_from("24I", raw, 8)
        self.state = raw[1]
        self.retransmits = raw[2]
        self.rto, self.unacked, self.sacked, self.lost, self.retrans = word[0], *word[4:8]
        self.rtt, self.rttvar, self.ssthresh, self.cwnd = word[15:19]
        self.reordering = word[20]
        self.pacing_rate, self.delivered = struct.unpack_from("Q", raw, 104)[0], struct.unpack_from("I", raw, 192)[0]

    def __repr__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in vars(self).items())


class Sender:
    """A connection of the host's that has `size` octets to send, over a path of `rtt` seconds."""

    def __init__(
        self,
        peer: Peer,
        algorithm: str = "reno",
        *,
        rtt: float = 0.2,
        ts: bool = True,
        sack: bool = True,
        size: int = 2_000_000,
    ) -> None:
        self.peer = peer
        self.rtt = rtt
        self.ts = ts
        self.tsval = 1000
        self.echo = 0
        """The timestamp that the peer echoes: of the newest segment, or what a test puts here."""
        listener = peer.listen(80, 128, (socket.IPPROTO_TCP, TCP_CONGESTION, algorithm.encode()))
        self.flow = peer.new_flow(40000)
        options: dict[str, Any] = {"ts": self.tsval} if ts else {}
        self.flow.inject("S", mss=MSS + 12 * ts, window=65535, wscale=10, sack_ok=sack, **options)
        peer.run(rtt)
        self.flow.inject("A", seq=1, window=65535, **options)
        self.fd = peer.accept(listener)
        peer.app.setsockopt(self.fd, socket.SOL_SOCKET, socket.SO_SNDBUF, 8_000_000)
        self.log: list[Seen] = []
        self.sent = self.write(size)

    def write(self, size: int) -> list[int]:
        """The program writes; what leaves at once."""
        self.peer.app.send(self.fd, bytes(size))
        return self._numbers(self._answer())

    def wait(self, seconds: float = -1.0) -> list[int]:
        """Let a round trip, or so many seconds, pass; what was sent meanwhile."""
        return self._numbers(self.peer.run(self.rtt if seconds < 0 else seconds))

    def ack(self, number: int, sacks: Iterable[tuple[int, int]] = (), *, echo: int = 0) -> list[int]:
        """Acknowledge all before segment `number` and SACK [first, behind) pairs; what leaves thereupon."""
        options: dict[str, Any] = {}
        if self.ts:
            self.tsval += 1
            options["ts"] = (self.tsval, echo or self.echo)
        blocks = [(1 + a * MSS, 1 + b * MSS) for a, b in sacks]
        segment = self.flow.segment("A", seq=1, ack=1 + number * MSS, window=65535, sack=blocks, **options)
        pipe = self.peer.cable.pipe
        assert pipe is not None
        pipe.send(segment)
        return self._numbers(self._answer())

    def _answer(self) -> list[Seen]:
        """What comes in answer. A busy machine's kernel may leave it to a thread: it has a little longer then."""
        seen = self.peer.run(ANSWER)
        if not seen and self.peer.kind == "kernel":
            self.peer.wait_for(lambda: self.peer.fresh, PATIENCE)
            seen = self.peer.run(ANSWER / 2)
        return seen

    def _numbers(self, seen: list[Seen]) -> list[int]:
        self.log += seen
        for each in seen:
            if self.ts:
                self.echo = int(each.segment.tsval)
        return [((each.segment.seq - (self.flow.irs or 0)) % 2**32 - 1) // MSS for each in seen if each.segment.length]

    def info(self) -> Info:
        raw = self.peer.app.getsockopt(self.fd, socket.IPPROTO_TCP, socket.TCP_INFO, 248)
        assert isinstance(raw, bytes)
        return Info(raw)


def patiently(test: Callable[..., None]) -> Callable[..., None]:
    """Play a test up to four times: a busy machine delays steps until the kernel's timers overtake the story."""

    @functools.wraps(test)
    def played(*arguments: Any, **named: Any) -> None:
        for _ in range(3):
            try:
                return test(*arguments, **named)
            except AssertionError:
                pass
        return test(*arguments, **named)

    return played
