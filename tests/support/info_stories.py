"""Connections at the moments that TCP_INFO's fields tell about; see support.moments."""

import socket

from support.moments import Teller

MSS = 1000
CUBIC = (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def _listen(t: Teller, backlog: int = 128) -> int:
    """A listener whose connections use CUBIC, whatever the machine's default is."""
    fd = t.peer.listen(80, backlog)
    t.peer.app.setsockopt(fd, *CUBIC)
    return fd


def _accepted(t: Teller, *, window: int = 65535, wscale: int = 7, **options: object) -> tuple[int, int]:
    """(listener, connection): a handshake whose third packet takes 100 ms."""
    listener = _listen(t)
    t.inject("S", mss=MSS, window=65535, wscale=wscale, sack_ok=True, **options)
    t.wait(0.1)
    t.inject("A", seq=1, ack=1, window=window, **options)
    return listener, t.do(t.peer.accept, listener)


def sender(t: Teller) -> None:
    """Handshake, data under way, acknowledged in part and in whole, idle."""
    listener, fd = _accepted(t, window=1000)
    t.note("listener", listener)
    t.note("handshake", fd)
    t.do(t.peer.app.send, fd, bytes(2500))
    t.note("sent", fd)
    t.wait(0.1)
    t.note("before the ACK", fd)
    t.inject("A", seq=1, ack=1001, window=1000)
    t.note("one acknowledged", fd)
    t.wait(0.02)
    t.inject("A", seq=1, ack=2501, window=1000)
    t.note("all acknowledged", fd)
    t.do(t.peer.app.send, fd, bytes(30_000))
    t.note("full window", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=12_501, window=1000)
    t.note("window moves", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=32_501, window=900)
    t.note("window smaller", fd)
    t.wait(0.3)
    t.note("idle", fd)


def recovery(t: Teller) -> None:
    """SACKs, fast retransmission, its end, DSACK."""
    _, fd = _accepted(t, window=1000)
    t.do(t.peer.app.send, fd, bytes(10_000))
    t.wait(0.1)
    t.inject("A", seq=1, ack=1, window=1000, sack=[(1001, 2001)])
    t.note("one SACK", fd)
    t.inject("A", seq=1, ack=1, window=1000, sack=[(1001, 3001)])
    t.inject("A", seq=1, ack=1, window=1000, sack=[(1001, 4001)])
    t.note("recovery", fd)
    t.wait(0.05)
    t.inject("A", seq=1, ack=1, window=1000, sack=[(1001, 6001)])
    t.note("more SACKs", fd)
    t.wait(0.05)
    t.inject("A", seq=1, ack=6001, window=1000)
    t.note("partial", fd)
    t.wait(0.05)
    t.inject("A", seq=1, ack=10_001, window=1000)
    t.note("over", fd)
    t.wait(0.02)
    t.inject("A", seq=1, ack=10_001, window=1000, sack=[(1, 1001)])
    t.note("DSACK", fd)


def reordered(t: Teller) -> None:
    """A hole that fills by itself: reordering is seen."""
    _, fd = _accepted(t, window=1000)
    t.do(t.peer.app.send, fd, bytes(8000))
    t.wait(0.1)
    t.inject("A", seq=1, ack=1, window=1000, sack=[(2001, 5001)])
    t.note("late", fd)
    t.inject("A", seq=1, ack=1, window=1000, sack=[(1001, 5001)])
    t.note("seen", fd)
    t.inject("A", seq=1, ack=5001, window=1000)
    t.note("filled", fd)


def timeouts(t: Teller) -> None:
    """Retransmission timeouts, then an answer."""
    _, fd = _accepted(t, window=1000)
    t.do(t.peer.app.send, fd, bytes(3000))
    t.wait(0.25)
    t.note("probe", fd)
    t.wait(0.55)
    t.note("timed out", fd)
    t.wait(1.0)
    t.note("twice", fd)
    t.inject("A", seq=1, ack=1001, window=1000)
    t.note("answered", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=3001, window=1000)
    t.note("recovered", fd)
    t.do(t.peer.app.send, fd, bytes(3000))
    t.wait(0.1)
    t.inject("A", seq=1, ack=6001, window=1000)
    t.note("afterwards", fd)


def shut_window(t: Teller) -> None:
    """The peer's window closes and opens; the program fills the buffer."""
    _, fd = _accepted(t, window=16)
    t.do(t.peer.app.send, fd, bytes(5000))
    t.note("window used", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=2001, window=0)
    t.note("shut", fd)
    t.wait(0.5)
    t.note("probed", fd)
    t.inject("A", seq=1, ack=2001, window=0)
    t.note("still shut", fd)
    t.wait(0.3)
    t.inject("A", seq=1, ack=2001, window=1000)
    t.note("open", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=5001, window=1000)
    t.note("done", fd)


def receiver(t: Teller) -> None:
    """Data in order, out of order, twice; read and unread."""
    _, fd = _accepted(t, window=1000)
    t.inject("PA", seq=1, ack=1, data=1000, window=1000)
    t.note("first", fd)
    t.wait(0.05)
    t.inject("PA", seq=2001, ack=1, data=1000, window=1000)
    t.note("hole", fd)
    t.inject("PA", seq=4001, ack=1, data=1000, window=1000)
    t.inject("PA", seq=3001, ack=1, data=1000, window=1000)
    t.note("more", fd)
    t.inject("PA", seq=1001, ack=1, data=1000, window=1000)
    t.note("filled", fd)
    t.inject("PA", seq=1, ack=1, data=1000, window=1000)
    t.note("twice", fd)
    t.wait(0.05)
    t.do(t.peer.app.recv, fd, 10_000)
    t.note("read", fd)
    for n in range(12):
        t.inject("PA" if n % 3 == 2 else "A", seq=5001 + n * 1000, ack=1, data=1000, window=1000)
        t.wait(0.01)
    t.note("stream", fd)
    t.do(t.peer.app.recv, fd, 100_000)
    t.note("read again", fd)
    t.inject("PA", seq=17_001, ack=1, data=100, window=1000)
    t.wait(0.2)
    t.note("small", fd)


def conversation(t: Teller) -> None:
    """Requests and answers with timestamps."""
    listener = _listen(t)
    t.inject("S", mss=MSS, window=65535, wscale=7, sack_ok=True, ts=100)
    t.wait(0.1)
    t.inject("A", seq=1, ack=1, window=1000, ts=200)
    fd = t.do(t.peer.accept, listener)
    t.note("handshake", fd)
    sent = 1
    for n in range(4):
        t.inject("PA", seq=1 + n * 500, ack=sent, data=500, window=1000, ts=300 + 100 * n)
        t.note(f"request {n}", fd)
        t.do(t.peer.app.recv, fd, 1000)
        t.do(t.peer.app.send, fd, bytes(700))
        sent += 700
        t.note(f"answer {n}", fd)
        t.wait(0.1)
        t.inject("A", seq=501 + n * 500, ack=sent, window=1000, ts=350 + 100 * n)
        t.note(f"acknowledged {n}", fd)


def opener(t: Teller) -> None:
    """connect(): the SYN, the SYN-ACK, close()."""
    fd = t.do(t.peer.connect, 80, CUBIC)
    t.note("SYN sent", fd)
    t.wait(0.1)
    t.inject("SA", seq=0, ack=1, mss=MSS, wscale=3, window=8000)
    t.note("established", fd)
    t.do(t.peer.app.send, fd, bytes(100))
    t.wait(0.1)
    t.inject("A", seq=1, ack=101, window=2000)
    t.do(t.peer.app.shutdown, fd, socket.SHUT_WR)
    t.note("FIN sent", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=102, window=2000)
    t.note("FIN acknowledged", fd)
    t.inject("FA", seq=1, ack=102, window=2000)
    t.note("closed", fd)


def lost_syn(t: Teller) -> None:
    """The SYN is repeated before it is answered."""
    fd = t.do(t.peer.connect, 80, CUBIC)
    t.wait(1.2)
    t.note("repeated", fd)
    t.inject("SA", seq=0, ack=1, mss=MSS, wscale=3, sack_ok=True, window=8000)
    t.note("established", fd)
    t.do(t.peer.app.send, fd, bytes(3000))
    t.note("data", fd)
    t.wait(0.1)
    t.inject("A", seq=1, ack=1001, window=2000)
    t.note("acknowledged", fd)


def refused(t: Teller) -> None:
    """A connection that was reset, and a socket that was never connected."""
    fresh = t.peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    t.note("fresh socket", fresh)
    fd = t.do(t.peer.connect, 80, CUBIC)
    t.inject("RA", seq=0, ack=1)
    t.note("refused", fd)
    t.peer.flow = t.peer.new_flow(40_001)
    _, accepted = _accepted(t)
    t.do(t.peer.app.send, accepted, bytes(100))
    t.inject("R", seq=1)
    t.note("reset", accepted)


def accept_queue(t: Teller) -> None:
    """What a listener shows of its queue."""
    listener = _listen(t, 3)
    t.note("empty", listener)
    for n in range(2):
        flow = t.peer.new_flow(41_000 + n)
        t.inject("S", flow, mss=MSS, window=65535)
        t.inject("A", flow, seq=1, ack=1, window=1000)
        t.note(f"{n + 1} waiting", listener)
    t.do(t.peer.accept, listener)
    t.note("one taken", listener)


def peer_closes(t: Teller) -> None:
    """The peer ends first; data follows, the answer to it and our end."""
    _, fd = _accepted(t, window=1000)
    t.inject("PA", seq=1, ack=1, data=300, window=1000)
    t.inject("FA", seq=301, ack=1, window=1000)
    t.note("FIN came", fd)
    t.do(t.peer.app.send, fd, bytes(1500))
    t.wait(0.1)
    t.inject("A", seq=302, ack=1501, window=1000)
    t.note("answered", fd)
    t.do(t.peer.app.shutdown, fd, socket.SHUT_WR)
    t.note("FIN sent", fd)


def marked(t: Teller) -> None:
    """ECN agreed, CE received and echoed."""
    listener = _listen(t)
    t.inject("SYN-ECE-CWR", mss=MSS, window=65535, wscale=7, sack_ok=True)
    t.wait(0.1)
    t.inject("A", seq=1, ack=1, window=1000)
    fd = t.do(t.peer.accept, listener)
    t.note("handshake", fd)
    t.inject("PA", seq=1, ack=1, data=1000, window=1000, tos=2)
    t.note("capable", fd)
    t.inject("PA", seq=1001, ack=1, data=1000, window=1000, tos=3)
    t.note("CE", fd)
    t.do(t.peer.app.send, fd, bytes(5000))
    t.wait(0.1)
    t.inject("ACK-ECE", seq=2001, ack=2001, window=1000)
    t.note("echo", fd)
    t.wait(0.05)
    t.inject("A", seq=2001, ack=5001, window=1000)
    t.note("after", fd)


def full_buffer(t: Teller) -> None:
    """The program writes more than its send buffer holds."""
    _, fd = _accepted(t, window=65535)
    t.peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    taken = t.do(t.peer.app.send, fd, bytes(100_000))
    t.note("refused", fd)
    t.wait(0.1)
    t.note("waiting", fd)
    t.inject("A", seq=1, ack=taken + 1, window=65535)
    t.note("acknowledged", fd)
    t.wait(0.05)
    t.note("later", fd)


def limited(t: Teller) -> None:
    """The program sends less than the path takes: the rate is its own."""
    _, fd = _accepted(t, window=1000)
    t.peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    sent = 1
    for n in range(3):
        t.do(t.peer.app.send, fd, bytes(2000))
        sent += 2000
        t.note(f"sent {n}", fd)
        t.wait(0.1)
        t.inject("A", seq=1, ack=sent, window=1000)
        t.note(f"acknowledged {n}", fd)
    t.do(t.peer.app.send, fd, bytes(60_000))
    while sent < 66_001:
        t.wait(0.05)
        sent = min(sent + 10_000, 66_001)
        t.inject("A", seq=1, ack=sent, window=1000)
        t.note(f"to {sent}", fd)


STORIES = [
    sender, recovery, reordered, timeouts, shut_window, receiver, conversation, opener, lost_syn,
    refused, accept_queue, peer_closes, marked, full_buffer, limited,
]  # fmt: skip
