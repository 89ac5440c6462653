"""Sockets, calls and names (SOCK-01 to SOCK-16)."""

import socket

import pytest

from support.peer import HOST, PEER, Peer, both
from timewait.record.match import Match

SO_REUSEPORT = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def plain_bind(peer, address, port, *options):
    """bind() of a new socket without SO_REUSEADDR: (descriptor, error's name or None)."""
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    for option in options:
        peer.app.setsockopt(fd, *option)
    return fd, peer.attempt(peer.app.bind, fd, (address, port))


@both
def test_connections_are_told_apart_by_all_four_numbers(peers):
    peer = peers()
    listener = peer.listen()
    flows = [
        peer.new_flow(40001),
        peer.new_flow(40002, iss=7),
        peer.new_flow(40001, src="10.0.0.3", iss=99),
    ]
    for flow in flows:
        flow.handshake()
    fds = [peer.accept(listener) for _ in flows]
    for number, flow in enumerate(flows):
        assert flow.inject("PA", seq=1, data=bytes([number])) == ["A 1:1 ack 2"]
    assert [peer.app.recv(fd, 10) for fd in fds] == [b"\0", b"\1", b"\2"]
    assert peer.app.getpeername(fds[2]) == ("10.0.0.3", 40001)


@both
def test_a_listener_goes_and_its_connections_stay(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.close(listener)
    assert peer.take() == []
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    assert len(peer.app.recv(fd, 100)) == 10


@both
def test_a_closed_listener_resets_what_nobody_accepted(peers):
    peer = peers()
    listener = peer.listen()
    waiting, half_open = peer.new_flow(40001), peer.new_flow(40002)
    waiting.handshake()
    assert half_open.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    peer.app.close(listener)
    assert peer.take() == ["RA 1:1 ack 1"]
    assert waiting.state() == ""
    assert half_open.state() == "SYN-RECV"
    assert half_open.inject("A", seq=1, ack=1) == ["R 1:1"]


@both
def test_connect_is_over_with_the_syn_ack_and_accept_with_the_ack(peers):
    peer = peers()
    fd = peer.connect()
    assert peer.take() == ["S 0:0"]
    assert peer.state() == "SYN-SENT"
    assert peer.app.poll([(fd, 4)]) == []
    assert peer.inject("SA", ack=1, mss=1460) == ["A 1:1 ack 1"]
    assert peer.state() == "ESTAB"
    assert peer.app.poll([(fd, 4)]) == [(fd, 4)]
    assert peer.attempt(peer.app.connect, fd, (PEER, 80)) is None
    assert peer.attempt(peer.app.connect, fd, (PEER, 80)) == "EISCONN"

    listener = peer.listen(81)
    flow = peer.new_flow(41000, 81)
    flow.inject("S", mss=1460)
    assert peer.attempt(peer.app.accept, listener) == "EAGAIN"
    flow.inject("A", seq=1, ack=1)
    assert peer.app.accept(listener)[1] == (PEER, 41000)


@both
def test_a_connection_lives_without_accept(peers):
    peer = peers()
    peer.listen()
    peer.handshake()
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    assert peer.rows()[0].recv_q == 1
    assert peer.row().recv_q == 10
    peer.inject("FA", seq=11)
    assert peer.state() == "CLOSE-WAIT"


@both
def test_nobody_listens(peers):
    peer = peers()
    fd = peer.connect()
    assert peer.take() == ["S 0:0"]
    assert peer.inject("RA", seq=0, ack=1) == []
    assert peer.state() == ""
    assert peer.error(fd) == "ECONNREFUSED"
    assert peer.run(1.5) == []


@both
@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ((HOST, ()), (HOST, ()), "EADDRINUSE"),
        ((HOST, (SO_REUSEPORT,)), (HOST, (SO_REUSEPORT,)), None),
        ((HOST, (SO_REUSEPORT,)), (HOST, ()), "EADDRINUSE"),
        ((HOST, ()), ("127.0.0.1", ()), None),
        (("0.0.0.0", ()), (HOST, ()), "EADDRINUSE"),
        ((HOST, ()), ("0.0.0.0", ()), "EADDRINUSE"),
        (("0.0.0.0", (SO_REUSEPORT,)), (HOST, (SO_REUSEPORT,)), None),
    ],
)
def test_which_listeners_may_share_a_port(peers, first, second, error):
    peer = peers()
    address, options = first
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    for option in options:
        peer.app.setsockopt(fd, *option)
    peer.app.bind(fd, (address, 80))
    peer.app.listen(fd, 5)
    address, options = second
    assert plain_bind(peer, address, 80, *options)[1] == error


@both
def test_reuseaddr_does_not_let_two_listen(peers):
    peer = peers()
    peer.listen(80)
    _, error = plain_bind(peer, "0.0.0.0", 80, (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
    assert error == "EADDRINUSE"


@both
def test_a_servers_port_in_time_wait(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == "TIME-WAIT"
    peer.app.close(listener)
    assert plain_bind(peer, "0.0.0.0", 80)[1] == "EADDRINUSE"
    assert peer.listen() > 0


@both
def test_one_local_port_serves_several_destinations(peers):
    peer = peers({"net.ipv4.ip_local_port_range": "40000 40000"})

    def connect(address):
        fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
        return peer.attempt(peer.app.connect, fd, (address, 80))

    assert connect("10.0.0.2") == "EINPROGRESS"
    assert connect("10.0.0.3") == "EINPROGRESS"
    assert connect("10.0.0.2") == "EADDRNOTAVAIL"
    assert [(row.local[1], row.remote[0]) for row in peer.rows()] == [(40000, "10.0.0.2"), (40000, "10.0.0.3")]


@both
def test_data_comes_before_its_end(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    assert peer.inject("FPA", seq=1, data=10) in (["A 1:1 ack 12"], [])
    assert peer.state() == "CLOSE-WAIT"
    assert len(peer.app.recv(fd, 100)) == 10
    assert peer.app.recv(fd, 100) == b""
    assert peer.app.recv(fd, 100) == b""


@both
def test_calls_on_sockets_in_the_wrong_state(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert peer.attempt(peer.app.recv, fd, 10) == "ENOTCONN"
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"
    assert peer.attempt(peer.app.accept, fd) == "EINVAL"
    assert peer.attempt(peer.app.shutdown, fd, socket.SHUT_WR) == "ENOTCONN"
    assert peer.attempt(peer.app.getpeername, fd) == "ENOTCONN"
    assert peer.attempt(peer.app.getsockname, fd) == ("0.0.0.0", 0)
    listener = peer.listen()
    assert peer.attempt(peer.app.connect, listener, (PEER, 80)) == "EISCONN"
    assert peer.attempt(peer.app.recv, listener, 10) == "ENOTCONN"
    assert peer.attempt(peer.app.send, listener, b"x") == "EPIPE"
    assert peer.attempt(peer.app.bind, listener, ("0.0.0.0", 90)) == "EINVAL"
    fd = peer.connect(local=40001)
    assert peer.attempt(peer.app.connect, fd, (PEER, 80)) == "EALREADY"
    assert peer.attempt(peer.app.send, fd, b"x") == "EAGAIN"
    assert peer.attempt(peer.app.recv, fd, 10) == "EAGAIN"


@both
def test_a_simultaneous_open(peers):
    peer = peers()
    fd = peer.connect()
    assert peer.take() == ["S 0:0"]
    (syn_ack,) = peer.inject("S", mss=1460, sack_ok=True)
    assert syn_ack == "SA 0:0 ack 1"
    assert peer.state() == "SYN-RECV"
    # The other side's SYN-ACK repeats its SYN: it is acknowledged, and reported as a duplicate.
    assert peer.inject("SA", seq=0, ack=1, mss=1460, sack_ok=True) == ["A 1:1 ack 1 sack 0-1"]
    assert peer.state() == "ESTAB"
    assert peer.error(fd) == ""
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]


@both
def test_a_simultaneous_open_without_sack(peers):
    peer = peers()
    peer.connect()
    peer.take()
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert peer.inject("SA", seq=0, ack=1, mss=1460) == ["A 1:1 ack 1"]
    assert peer.state() == "ESTAB"


@both
@pytest.mark.parametrize("offered", [{}, {"sack_ok": True, "ts": (5, 0)}, {"wscale": 3}])
@pytest.mark.parametrize("flags", ["S", "SF"])
def test_a_simultaneous_open_offers_everything_again(peers, offered, flags):
    peer = peers()
    peer.connect()
    peer.take()
    (answer,) = peer.inject(flags, seq=0, mss=1460, **offered)
    assert (answer, answer.options) == ("SA 0:0 ack 1", "mss 1460,sackOK,TS,nop,wscale 10")
    ts = {"ts": 6} if "ts" in offered else {}
    assert peer.inject("A", seq=1, ack=1, **ts) == []
    acks = [*peer.inject("PA", seq=1, data=10, **ts), *peer.run(0.1)]
    # It scales what it offers, although nobody agreed to that.
    assert [(ack, ack.window) for ack in acks] == [("A 1:1 ack 11", 63)]


@both
def test_a_reset_with_a_wrong_number_hurries_the_next_syn(peers):
    peer = peers()
    peer.connect()
    peer.take()
    peer.reset_watch()
    assert peer.inject("RA", seq=0, ack=7) == []
    (again,) = peer.run(0.3)
    assert again == "S 0:0"
    assert again.at < 0.1


@both
def test_a_simultaneous_open_may_end_with_a_plain_ack(peers):
    peer = peers()
    peer.connect()
    peer.take()
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"


@both
def test_the_syn_ack_of_a_simultaneous_open_is_repeated(peers):
    peer = peers()
    peer.connect()
    peer.take()
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    peer.reset_watch()
    again = peer.run(3.4)
    assert again == ["SA 0:0 ack 1"] * 2
    assert [seen.at for seen in again] == peer.about(1.0, 3.0)


def test_a_socket_connects_to_itself():
    peer = Peer.sim()
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    peer.app.bind(fd, ("127.0.0.1", 40000))
    assert peer.attempt(peer.app.connect, fd, ("127.0.0.1", 40000)) == "EINPROGRESS"
    peer.run(0.1)
    sent = [entry.packet for entry in peer.world.record.select(Match("sent"))]
    flow = peer.new_flow(40000, 40000, src="127.0.0.1")
    flow.iss = sent[0].seq
    assert [flow.relative(segment) for segment in sent] == ["S 0:0", "SA 0:0 ack 1", "A 1:1 ack 1 sack 0-1"]
    assert [row.state for row in peer.rows()] == ["ESTAB"]
    assert peer.app.send(fd, b"echo") == 4
    peer.run(0.1)
    assert peer.app.recv(fd, 10) == b"echo"
    peer.app.shutdown(fd, socket.SHUT_WR)
    peer.run(0.1)
    assert [row.state for row in peer.rows()] == ["TIME-WAIT"]


def test_descriptors_run_out_and_the_handshake_does_not_care():
    peer = Peer.sim()
    peer.app.nofile = 5
    listener = peer.listen()
    for number in range(3):
        peer.new_flow(40001 + number).handshake()
    peer.accept(listener)
    assert peer.attempt(peer.app.accept, listener) == "EMFILE"
    assert [row.recv_q for row in peer.rows() if row.state == "LISTEN"] == [2]


@both
def test_tos_and_ttl_of_a_listener_mark_its_syn_acks(peers):
    peer = peers()
    peer.listen(80, 5, (0, socket.IP_TOS, 0x20), (0, socket.IP_TTL, 9))
    seen = [*peer.inject("S", mss=1460), *peer.run(1.3)]
    assert [(one, one.segment.tos, one.segment.ttl) for one in seen] == [("SA 0:0 ack 1", 0x20, 9)] * 2
    peer.inject("A", seq=1, ack=1)
    seen = [*peer.inject("PA", seq=1, ack=1, data=5), *peer.run(0.1)]
    assert [(one, one.segment.tos, one.segment.ttl) for one in seen] == [("A 1:1 ack 6", 0x20, 9)]
