"""Connections brought to where their end begins, and timed tests that run against the kernel side by side."""

import socket
import threading
from collections.abc import Callable
from typing import Any

from support.peer import Peer, Seen

SHUT_WR = socket.SHUT_WR
SOL_SOCKET = socket.SOL_SOCKET
TCP = socket.IPPROTO_TCP
QUIET = threading.Lock()
"""Held while a connection is opened and its RTT measured: tests that only wait do not disturb each other."""


def timed(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that waits for timers: tests/differential/test_times.py runs all of them at once on the kernel."""
    test.timed_on_kernel = True
    return test


def timed_tests(*modules: object) -> dict[str, Callable[..., None]]:
    """The tests marked with `timed`, by name."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("test_") and getattr(value, "timed_on_kernel", False)
    }


def opened(peer: Peer, *, rtt: float = 0.0, ts: int | None = None, **given: Any) -> int:
    """An accepted connection; `rtt` seconds pass before the third packet, which sets the RTO to 200 ms more."""
    listener = peer.listen()
    options = {} if ts is None else {"ts": ts}
    with QUIET:
        assert peer.inject("S", mss=1460, **options, **given) == ["SA 0:0 ack 1"]
        if rtt:
            assert peer.run(rtt) == []
        assert peer.inject("A", seq=1, ack=1, **options) == []
        fd = peer.accept(listener)
        peer.app.close(listener)
    return fd


def half_closed(peer: Peer, fd: int, *, seq: int = 1, ack: int = 1, **given: Any) -> None:
    """The peer's FIN arrives; its acknowledgment, due after at most one tick, is taken off the wire."""
    peer.inject("FA", seq=seq, ack=ack, **given)
    peer.run(0.06)
    assert peer.state() == "CLOSE-WAIT"


def fin_wait_2(peer: Peer, fd: int, *, close: bool, **given: Any) -> None:
    """Our end closes first and its FIN is acknowledged. With `close` there is no program left: an orphan."""
    if close:
        peer.app.close(fd)
    else:
        peer.app.shutdown(fd, SHUT_WR)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.state() == "FIN-WAIT-1"
    assert peer.inject("A", seq=1, ack=2, **given) == []
    assert peer.state() == "FIN-WAIT-2"


def time_wait(peer: Peer, fd: int, **given: Any) -> None:
    """Our end closed first and the peer's FIN came: TIME-WAIT, with snd_nxt 2 and rcv_nxt 2."""
    fin_wait_2(peer, fd, close=True, **given)
    assert peer.inject("FA", seq=1, ack=2, **given) == ["A 2:2 ack 2"]
    assert peer.state() == "TIME-WAIT"


def times(seen: list[Seen], text: str) -> list[float]:
    """When each packet that reads `text` was sent; every packet must read so."""
    assert {str(each) for each in seen} <= {text}, seen
    return [each.at for each in seen]


def ends(peer: Peer, limit: float, step: float = 0.01) -> float:
    """Seconds on the watch at which the first connection's state is gone; `limit` at most. Leaves packets alone."""
    if peer.kind == "kernel":
        # Each look costs a real kernel's time, and there are many peers at once.
        step = 0.03
    while peer.state() and peer.now < limit:
        peer.world.run(int(step * 1e9))
    return peer.now
