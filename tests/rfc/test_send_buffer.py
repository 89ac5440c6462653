"""The send buffer grows when the program is the limit, not when the network is (tcp_should_expand_sndbuf)."""

import select
import socket

import pytest

from support.peer import both

MSS = 1000
MSG_EOR = 0x80
TCP_NOTSENT_LOWAT = 25


@both
def test_a_buffer_larger_than_the_window_does_not_grow(peers):
    peer = peers()
    listener = peer.listen(80, 128, (socket.IPPROTO_TCP, 13, b"reno"))
    flow = peer.new_flow(40000)
    flow.handshake(mss=MSS, window=65535, wscale=10, sack_ok=True)
    fd = peer.accept(listener)

    def size():
        return peer.app.getsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF)

    def fill():
        while peer.attempt(peer.app.send, fd, bytes(65536)) != "EAGAIN":
            pass

    begun = size()
    fill()
    assert len(peer.take()) == 10
    # The window grows by two and is filled again: the buffer is large enough.
    assert len(flow.inject("A", seq=1, ack=1 + 2 * MSS, window=65535)) == 4
    assert size() == begun
    acked = 1 + 2 * MSS
    for _ in range(40):
        if size() > begun:
            break
        # Once the window holds more than the buffer, the program is what the network waits for.
        acked += 4 * MSS
        flow.inject("A", seq=1, ack=acked, window=65535)
    assert size() > begun


def fill_with(peers, piece, sndbuf, *options, times=-1):
    """Write pieces until no more is taken, or so many; (peer, fd, octets taken)."""
    peer = peers()
    listener = peer.listen(80, 128, (socket.IPPROTO_TCP, 13, b"reno"), *options)
    peer.handshake(mss=1460, window=500, wscale=7, sack_ok=True)
    fd = peer.accept(listener)
    if sndbuf:
        peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    total = 0
    while times and (taken := peer.attempt(peer.app.send, fd, bytes(piece))) != "EAGAIN":
        total += taken
        times -= 1
    return peer, fd, total


@both
@pytest.mark.parametrize(
    ("piece", "total", "acked"),
    [(20, 43820, 24820), (100, 43900, 24820), (1460, 45260, 26280), (4000, 44880, 26280), (16384, 45260, 26280),
     (65536, 45260, 26280)],
)  # fmt: skip
def test_packets_cost_memory_beside_their_data(peers, piece, total, acked):
    """832 octets each (sk_wmem_queued); but the last unsent packet may be filled to half the window."""
    peer, fd, taken = fill_with(peers, piece, 20_000)
    assert peer.app.getsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF) == 40_000
    assert taken == total
    assert peer.app.poll([(fd, select.EPOLLOUT)]) == []
    # EPOLLOUT comes when a third of the buffer is free.
    at = 0
    while not peer.app.poll([(fd, select.EPOLLOUT)]) and at < total:
        at += 1460
        peer.inject("A", seq=1, ack=1 + at, window=500)
    assert at == acked


@both
def test_small_packets_fill_the_buffer_sooner(peers):
    """Each write of a record is a packet of its own: what holds 12 octets costs 844."""
    peer = peers()
    listener = peer.listen(80, 128, (socket.IPPROTO_TCP, 13, b"reno"))
    peer.handshake(mss=1460, window=500, wscale=7, sack_ok=True)
    fd = peer.accept(listener)
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    count = 0
    while peer.attempt(peer.app.send, fd, bytes(12), MSG_EOR) != "EAGAIN":
        count += 1
    assert count == -(-20_000 // (832 + 12))


@both
def test_the_last_packet_is_filled_although_the_buffer_is_full(peers):
    peer, fd, total = fill_with(peers, 65536, 2304)
    # Ten segments have left, and the rest stands in one packet of half the window.
    assert total == 10 * 1460 + 21 * 1460
    assert peer.attempt(peer.app.send, fd, b"x") == "EAGAIN"


@both
@pytest.mark.parametrize(("piece", "wanted"), [(1000, 19), (5000, 3)])
def test_a_low_mark_of_unsent_octets_is_half_a_mark_for_poll(peers, piece, wanted):
    """TCP_NOTSENT_LOWAT 10000: EPOLLOUT goes once 5000 octets wait behind the ten segments that left."""
    peer, fd, _ = fill_with(peers, 1, 0, times=0)
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, 10_000)
    count = 0
    while peer.app.poll([(fd, select.EPOLLOUT)]):
        peer.app.send(fd, bytes(piece))
        count += 1
    assert count == wanted + 1
