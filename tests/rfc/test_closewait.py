"""CLOSE-WAIT: it ends when the program says so, and not before (CW-01 to CW-09)."""

import select
import socket

from support.ends import half_closed, opened
from support.peer import both

EPOLLIN, EPOLLRDHUP = select.EPOLLIN, select.EPOLLRDHUP


def client(peer, number):
    """A client that connects and hangs up."""
    flow = peer.new_flow(41000 + number)
    flow.handshake()
    flow.inject("FA", seq=1)
    # Its acknowledgment is due within a tick.
    peer.run(0.02)
    return flow


@both
def test_it_ends_with_close(peers):
    peer = peers()
    fd = opened(peer)
    half_closed(peer, fd)
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 2"]
    assert peer.state() == "LAST-ACK"


def test_it_stays_for_ever_without_close(peers):
    peer = peers()
    listener = peer.listen()
    for number in range(50):
        client(peer, number)
        peer.accept(listener)
    peer.run(3600)
    assert peer.states() == ["CLOSE-WAIT"] * 50
    peer.app.kill()
    seen = peer.run(0)
    assert seen == ["FA 1:1 ack 2"] * 50
    assert peer.states() == ["LAST-ACK"] * 50


@both
def test_a_server_that_closes_after_the_end_of_the_stream(peers):
    peer = peers()
    listener = peer.listen()
    ep = peer.app.epoll_create()
    peer.app.epoll_ctl(ep, 1, listener, EPOLLIN)
    for number in range(10):
        client(peer, number)
    served = 0
    while events := peer.app.epoll_wait(ep):
        for fd, _ in events:
            if fd == listener:
                new = peer.accept(listener)
                peer.app.epoll_ctl(ep, 1, new, EPOLLIN)
            else:
                assert peer.app.recv(fd, 10) == b""
                peer.app.close(fd)
                served += 1
    assert served == 10
    assert "CLOSE-WAIT" not in peer.states()


@both
def test_without_accept_the_queue_fills_with_close_wait(peers):
    peer = peers()
    listener = peer.listen(backlog=5)
    for number in range(6):
        client(peer, number)
    assert peer.states() == ["CLOSE-WAIT"] * 6
    # Number seven finds the queue full: its SYN is dropped.
    assert peer.new_flow(42000).inject("S", mss=1460) == []
    assert peer.counter("TcpExtListenOverflows") == 1
    (row,) = [row for row in peer.rows() if row.state == "LISTEN"]
    assert row.recv_q == 6
    ep = peer.app.epoll_create()
    peer.app.epoll_ctl(ep, 1, listener, EPOLLIN)
    assert [peer.app.epoll_wait(ep) for _ in range(3)] == [[(listener, EPOLLIN)]] * 3, "level-triggered"


@both
def test_without_close_the_end_of_the_stream_is_reported_again_and_again(peers):
    peer = peers()
    fd = opened(peer)
    ep = peer.app.epoll_create()
    peer.app.epoll_ctl(ep, 1, fd, EPOLLIN | EPOLLRDHUP)
    assert peer.app.epoll_wait(ep) == []
    half_closed(peer, fd)
    for _ in range(100):
        assert peer.app.epoll_wait(ep) == [(fd, EPOLLIN | EPOLLRDHUP)]
        assert peer.app.recv(fd, 10) == b""
    assert peer.state() == "CLOSE-WAIT"


@both
def test_data_to_a_peer_that_has_gone_ends_it(peers):
    peer = peers()
    fd = opened(peer)
    half_closed(peer, fd)
    peer.app.send(fd, b"x")
    assert peer.take() == ["PA 1:2 ack 2"]
    assert peer.inject("R", seq=2) == []
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"
    assert peer.states() == []


@both
def test_a_half_closed_connection_can_send_a_lot(peers):
    peer = peers()
    fd = opened(peer)
    half_closed(peer, fd)
    for number in range(3):
        assert peer.app.send(fd, bytes(100)) == 100
        assert peer.take() == [f"PA {1 + 100 * number}:{101 + 100 * number} ack 2"]
        assert peer.inject("A", seq=2, ack=101 + 100 * number) == []
    peer.app.shutdown(fd, socket.SHUT_WR)
    assert peer.take() == ["FA 301:301 ack 2"]
