"""Two connections between the same addresses: what the first leaves to the second; see support.moments."""

from support.info_stories import CUBIC
from support.moments import Teller

MSS = 1000


def _first(t: Teller) -> int:
    """A first connection, whose third packet takes 50 ms and whose data 150 ms."""
    listener = t.peer.listen()
    t.peer.app.setsockopt(listener, *CUBIC)
    t.facts["listener"] = listener
    t.inject("S", mss=MSS, window=65535, wscale=7, sack_ok=True)
    t.wait(0.05)
    t.inject("A", seq=1, ack=1, window=1000)
    fd: int = t.do(t.peer.accept, listener)
    t.do(t.peer.app.send, fd, bytes(9000))
    t.wait(0.15)
    t.inject("A", seq=1, ack=9001, window=1000)
    return fd


def _end(t: Teller, fd: int, sent: int) -> None:
    """The peer closes first, the host in LAST-ACK."""
    t.note("before the end", fd)
    t.inject("FA", seq=1, ack=sent, window=1000)
    t.wait(0.1)
    t.do(t.peer.app.close, fd)
    t.wait(0.05)
    t.inject("A", seq=2, ack=sent + 1, window=1000)


def _second(t: Teller) -> None:
    """Another connection between the same addresses begins."""
    t.peer.flow = t.peer.new_flow(41_000)
    t.inject("S", mss=MSS, window=65535, wscale=7, sack_ok=True)
    t.wait(0.02)
    t.inject("A", seq=1, ack=1, window=1000)
    fd = t.do(t.peer.accept, t.facts["listener"])
    t.note("second", fd)


def slow_start(t: Teller) -> None:
    """The first connection never lost anything."""
    fd = _first(t)
    _end(t, fd, 9001)
    _second(t)


def after_a_loss(t: Teller) -> None:
    """It had a loss and repaired it."""
    fd = _first(t)
    t.do(t.peer.app.send, fd, bytes(10_000))
    t.wait(0.15)
    for n in range(2, 5):
        t.inject("A", seq=1, ack=9001, window=1000, sack=[(10_001, 9001 + n * 1000)])
    t.wait(0.1)
    t.inject("A", seq=1, ack=19_001, window=1000)
    t.wait(0.1)
    t.do(t.peer.app.send, fd, bytes(3000))
    t.wait(0.1)
    t.inject("A", seq=1, ack=22_001, window=1000)
    _end(t, fd, 22_001)
    _second(t)


def reordered(t: Teller) -> None:
    """The path reordered, and the connection ends in the middle of slow start after a loss."""
    fd = _first(t)
    t.do(t.peer.app.send, fd, bytes(12_000))
    t.wait(0.08)
    t.inject("A", seq=1, ack=9001, window=1000, sack=[(16_001, 17_001)])
    t.inject("A", seq=1, ack=9001, window=1000, sack=[(10_001, 12_001), (16_001, 17_001)])
    t.inject("A", seq=1, ack=21_001, window=1000)
    _end(t, fd, 21_001)
    _second(t)


def active_close(t: Teller) -> None:
    """The host closes first: saved at the beginning of TIME-WAIT."""
    fd = _first(t)
    t.note("before the end", fd)
    t.do(t.peer.app.close, fd)
    t.wait(0.05)
    t.inject("A", seq=1, ack=9002, window=1000)
    t.inject("FA", seq=1, ack=9002, window=1000)
    _second(t)


def reset(t: Teller) -> None:
    """A connection that is reset leaves nothing."""
    fd = _first(t)
    t.note("before the end", fd)
    t.inject("R", seq=1)
    _second(t)


def twice(t: Teller) -> None:
    """A second connection with a shorter round trip changes the figures slowly."""
    fd = _first(t)
    _end(t, fd, 9001)
    t.peer.flow = t.peer.new_flow(41_000)
    t.inject("S", mss=MSS, window=65535, wscale=7, sack_ok=True)
    t.wait(0.02)
    t.inject("A", seq=1, ack=1, window=1000)
    fd = t.do(t.peer.accept, t.facts["listener"])
    t.do(t.peer.app.send, fd, bytes(3000))
    t.wait(0.03)
    t.inject("A", seq=1, ack=3001, window=1000)
    _end(t, fd, 3001)


STORIES = [slow_start, after_a_loss, reordered, active_close, reset, twice]
