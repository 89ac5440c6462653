"""CUBIC's windows, round trip by round trip, on both stacks: growth after a loss, and what a timeout leaves."""

import socket
import struct

import pytest

from support.peer import both

MSS = 1000
TCP_CONGESTION = 13


def info(peer, fd):
    """(snd_cwnd, snd_ssthresh, ca_state) of a connection."""
    raw = peer.app.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    return struct.unpack_from("I", raw, 80)[0], struct.unpack_from("I", raw, 76)[0], raw[1]


def sending(peer, algorithm):
    """A connection that always has data to send, and the flow of its peer."""
    listener = peer.listen()
    flow = peer.new_flow(40000)
    flow.handshake(mss=MSS, window=65535, wscale=10, sack_ok=True)
    fd = peer.accept(listener)
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, TCP_CONGESTION, algorithm)
    peer.app.send(fd, bytes(1_500_000))
    return fd, flow


def edge(seen, before):
    """Behind the last octet that was sent."""
    ends = [int(each.split()[1].split(":")[1]) for each in seen if each.segment.length]
    return max([*ends, before])


@both
@pytest.mark.parametrize(("algorithm", "share"), [(b"cubic", 717 / 1024), (b"reno", 0.5)])
def test_what_a_loss_leaves_of_the_window(peers, algorithm, share):
    peer = peers()
    fd, flow = sending(peer, algorithm)
    acked, top = 1, 1
    for _ in range(3):
        goal = top = edge(peer.run(0.02), top)
        while acked < goal:
            acked = min(acked + MSS, goal)
            top = edge(flow.inject("A", seq=1, ack=acked, window=65535), top)
    full, _, _ = info(peer, fd)
    for n in range(1, 5):
        flow.inject("A", seq=1, ack=acked, window=65535, sack=[(acked + MSS, acked + (n + 1) * MSS)])
    _, ssthresh, state = info(peer, fd)
    assert state == 3 and ssthresh == int(full * share)
