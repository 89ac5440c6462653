"""Half-open connections, floods and cookies (SYNQ-01 to SYNQ-22)."""

import socket

import pytest

from support.peer import Peer, both

COOKIES = "net.ipv4.tcp_syncookies"
MAX_BACKLOG = "net.ipv4.tcp_max_syn_backlog"
SYNACK_RETRIES = "net.ipv4.tcp_synack_retries"


def flood(peer: Peer, count: int) -> list[bool]:
    """SYNs from so many forged addresses; which of them were answered."""
    answered = []
    for number in range(count):
        flow = peer.new_flow(50_000 + number, src=f"10.0.0.{100 + number % 100}", iss=1000 * number)
        answered.append(flow.inject("S", mss=1460, ts=(1, 0), sack_ok=True, wscale=7) == ["SA 0:0 ack 1"])
    return answered


def half_open(peer: Peer) -> int:
    return peer.states().count("SYN-RECV")


@both
def test_a_half_open_connection_is_listed_and_moves_on(peers):
    peer = peers()
    listener = peer.listen()
    peer.inject("S", mss=1460)
    assert peer.states() == ["SYN-RECV"]
    assert peer.rows()[0].recv_q == 0
    peer.inject("A", seq=1)
    assert peer.states() == ["ESTAB"]
    assert peer.rows()[0].recv_q == 1
    peer.accept(listener)
    assert peer.rows()[0].recv_q == 0


@both
def test_the_queue_without_cookies(peers):
    peer = peers({COOKIES: 0})
    peer.listen(80, 4)
    answered = flood(peer, 24)
    assert answered == [True] * 5 + [False] * 19
    assert half_open(peer) == 5
    # One more, an honest one.
    assert peer.inject("S", mss=1460) == []
    assert peer.counter("TcpExtTCPReqQFullDrop") == 20
    assert peer.counter("TcpExtListenDrops") == 20
    assert peer.counter("TcpExtSyncookiesSent") == 0


@both
def test_cookies_when_the_queue_is_full(peers):
    peer = peers({COOKIES: 1})
    listener = peer.listen(80, 4)
    assert flood(peer, 24) == [True] * 24
    assert half_open(peer) == 5
    peer.handshake()
    assert peer.state() == "ESTAB"
    assert peer.accept(listener) > 0
    assert peer.counter("TcpExtSyncookiesSent") == 20
    assert peer.counter("TcpExtSyncookiesRecv") == 1
    assert peer.counter("TcpExtTCPReqQFullDoCookies") == 20
    assert peer.counter("TcpExtListenDrops") == 0


@both
def test_cookies_always(peers):
    peer = peers({COOKIES: 2})
    listener = peer.listen(80, 4)
    assert flood(peer, 24) == [True] * 24
    assert half_open(peer) == 0
    peer.handshake()
    assert peer.accept(listener) > 0
    assert peer.counter("TcpExtSyncookiesSent") == 25


@both
def test_a_cookies_syn_ack_is_sent_once(peers):
    peer = peers({COOKIES: 2})
    listener = peer.listen()
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert peer.state() == ""
    assert peer.run(1.5) == []
    # The third packet was lost; data with the right number makes up for it.
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["A 1:1 ack 11"]
    assert len(peer.app.recv(peer.accept(listener), 100)) == 10


@both
def test_a_wrong_cookie_is_reset(peers):
    peer = peers({COOKIES: 2})
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("A", seq=1, ack=2_000_000_000) == ["R 2000000000:2000000000"]
    assert peer.inject("A", seq=1_000_000, ack=1) == ["R 1:1"]
    assert peer.counter("TcpExtSyncookiesFailed") == 2
    assert peer.states() == []


@both
@pytest.mark.parametrize(
    ("offer", "kept"), [(1460, 1460), (1459, 1440), (1400, 1300), (1299, 536), (9000, 1460), (0, 536)]
)
def test_a_cookie_without_timestamps_keeps_a_rounded_mss_only(peers, offer, kept):
    peer = peers({COOKIES: 2})
    listener = peer.listen()
    (syn_ack,) = peer.inject("S", mss=offer, sack_ok=True, wscale=7)
    assert syn_ack.options == "mss 1460"
    peer.inject("A", seq=1)
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(2 * kept))
    assert [each.segment.length for each in peer.take()] == [kept, kept]


@both
def test_a_cookie_with_timestamps_keeps_the_other_options(peers):
    peer = peers({COOKIES: 2})
    listener = peer.listen()
    (syn_ack,) = peer.inject("S", mss=1460, sack_ok=True, wscale=7, ts=(100, 0))
    assert syn_ack.options == "mss 1460,sackOK,TS,nop,wscale 10"
    assert peer.inject("A", seq=1, ts=101, window=500) == []
    fd = peer.accept(listener)
    assert peer.inject("A", seq=11, data=10, ts=102) == ["A 1:1 ack 1 sack 11-21"]
    # 500 << 7 octets of window: all ten segments may leave.
    peer.app.send(fd, bytes(20_000))
    assert len(peer.take()) == 10


@both
def test_a_cookie_for_a_client_without_sack_and_scaling(peers):
    peer = peers({COOKIES: 2})
    listener = peer.listen()
    (syn_ack,) = peer.inject("S", mss=1460, ts=(100, 0))
    assert syn_ack.options == "mss 1460,nop,nop,TS"
    assert peer.inject("A", seq=1, ts=101, window=2000) == []
    assert peer.inject("A", seq=11, data=10, ts=102, window=2000) == ["A 1:1 ack 1"]
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(20_000))
    # Segments of half the window, so that two are out (RFC 9293 section 3.8.6.2.1); its 2000 octets are not scaled.
    assert [each.segment.length for each in peer.take()] == [1000, 1000]


@both
@pytest.mark.parametrize(("ts", "timeout"), [({}, 3.0), ({"ts": 5}, 0.25)])
def test_a_cookie_does_not_know_when_it_was_sent(peers, ts, timeout):
    peer = peers({COOKIES: 2})
    listener = peer.listen()
    peer.run(0.3)
    peer.inject("S", mss=1460, **ts)
    peer.inject("A", seq=1, **ts)
    peer.app.send(peer.accept(listener), bytes(10))
    peer.reset_watch()
    _, again = peer.run(timeout * 1.2)
    # The timestamp of a cookie lacks six bits: up to 63 ms, and as much again in the timeout's variance.
    # The kernel's timer wheel adds up to an eighth of a long timer.
    assert timeout - 0.08 <= again.at <= timeout * 1.125 + 0.15


def test_a_cookie_is_good_for_two_minutes():
    for wait, state in ((100.0, "ESTAB"), (190.0, "")):
        peer = Peer.sim({COOKIES: 2})
        peer.listen()
        peer.inject("S", mss=1460)
        peer.run(wait)
        peer.inject("A", seq=1, ack=1)
        assert peer.state() == state


@both
@pytest.mark.parametrize(
    ("cookies", "backlog", "limit", "accepted", "sent"),
    [(0, 1000, 8, 7, 0), (0, 1000, 16, 13, 0), (1, 1000, 8, 24, 0), (0, 4, 2048, 5, 0), (1, 4, 2048, 24, 19)],
)
def test_which_limits_count(peers, cookies, backlog, limit, accepted, sent):
    peer = peers({COOKIES: cookies, MAX_BACKLOG: limit})
    peer.listen(80, backlog)
    assert sum(flood(peer, 24)) == accepted
    assert peer.counter("TcpExtSyncookiesSent") == sent


def test_three_quarters_of_max_syn_backlog_and_one():
    peer = Peer.sim({COOKIES: 0, MAX_BACKLOG: 64})
    peer.listen(80, 1000)
    assert sum(flood(peer, 80)) == 49


@both
def test_somaxconn_bounds_the_queue_too(peers):
    peer = peers({COOKIES: 0, "net.core.somaxconn": 2})
    peer.listen(80, 1000)
    assert sum(flood(peer, 8)) == 3


def test_defaults():
    peer = Peer.sim()
    assert peer.sysctl(COOKIES) == "1"
    assert peer.sysctl("net.core.somaxconn") == "4096"
    assert peer.sysctl("net.core.netdev_max_backlog") == "1000"


def test_how_long_a_slot_is_taken():
    for retries, end in ((5, 63), (2, 7)):
        peer = Peer.sim({SYNACK_RETRIES: retries})
        peer.listen()
        peer.inject("S", mss=1460)
        sent = peer.run(end - 0.1)
        assert peer.state() == "SYN-RECV" and len(sent) == retries
        assert peer.run(0.2) == []
        assert peer.state() == ""


def test_a_crowded_queue_is_thinned_out():
    """12 entries where 16 fit: those that had three SYN-ACKs go until the queue is half empty (reqsk_timer_handler)."""
    peer = Peer.sim()
    peer.listen(80, 16)
    for number in range(12):
        assert peer.new_flow(50_000 + number).inject("S", mss=1460) == ["SA 0:0 ack 1"]
    sent = 12 + len(peer.run(64))
    assert half_open(peer) == 0
    assert sent == 60


@both
def test_cookies_say_nothing_about_a_socket_without_overflow(peers):
    peer = peers({COOKIES: 1})
    peer.listen()
    peer.flow.irs = 5
    assert peer.inject("A", seq=1, ack=1) == ["R 1:1"]
    assert peer.counter("TcpExtSyncookiesFailed") == 0
    assert peer.attempt(peer.app.accept, 3) == "EAGAIN"


@both
def test_a_listener_may_grow_its_queue(peers):
    peer = peers({COOKIES: 0})
    listener = peer.listen(80, 1)
    assert flood(peer, 4) == [True, True, False, False]
    peer.app.listen(listener, 5)
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert peer.app.getsockopt(listener, socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
