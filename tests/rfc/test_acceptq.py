"""The queue of connections that wait for accept() (ACCQ-01 to ACCQ-05)."""

import pytest

from support.peer import Peer, both

OVERFLOW = "net.ipv4.tcp_abort_on_overflow"


def connections(peer: Peer, count: int) -> list[int]:
    """Open so many connections to port 80; the ports of those whose SYN was answered."""
    answered = []
    for port in range(41000, 41000 + count):
        flow = peer.new_flow(port)
        if flow.inject("S", mss=1460):
            answered.append(port)
            flow.inject("A", seq=1)
    return answered


@both
@pytest.mark.parametrize(("backlog", "fit"), [(0, 1), (1, 2), (5, 6)])
def test_one_more_than_the_backlog_fits(peers, backlog, fit):
    peer = peers()
    peer.listen(80, backlog)
    connections(peer, fit + 3)
    assert peer.states().count("ESTAB") == fit
    row = peer.rows()[0]
    assert (row.state, row.recv_q) == ("LISTEN", fit)


@both
def test_somaxconn_bounds_the_backlog(peers):
    peer = peers({"net.core.somaxconn": 2})
    peer.listen(80, 1000)
    connections(peer, 6)
    assert peer.states().count("ESTAB") == 3


def test_the_limit_is_shown_as_send_q():
    from timewait.host.procfs import ss_table

    peer = Peer.sim({"net.core.somaxconn": 2})
    peer.listen(80, 1000)
    connections(peer, 1)
    line = ss_table(peer.host.rows()).splitlines()[1].split()
    assert line[:4] == ["LISTEN", "1", "2", "0.0.0.0:80"]


@both
def test_the_backlog_of_the_time_of_listen(peers):
    peer = peers()
    listener = peer.listen(80, 5)
    peer.sysctl("net.core.somaxconn", 1)
    assert len(connections(peer, 4)) == 4
    assert peer.states().count("ESTAB") == 4
    peer.app.listen(listener, 5)
    assert peer.new_flow(42000).inject("S", mss=1460) == []


def overflow(peer: Peer):
    """Two connections half-open while the queue of one fills: the second's third packet comes too late."""
    listener = peer.listen(80, 0)
    first, second = peer.new_flow(41000), peer.new_flow(41001)
    assert first.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert second.inject("S", mss=1460) == []
    return listener, first


@both
def test_a_full_accept_queue_drops_syns(peers):
    peer = peers()
    listener = peer.listen(80, 0)
    flow = peer.new_flow(41000)
    flow.handshake()
    late = peer.new_flow(41001)
    assert late.inject("S", mss=1460) == []
    assert late.state() == ""
    assert peer.counter("TcpExtListenOverflows") == 1
    assert peer.counter("TcpExtListenDrops") == 1
    peer.accept(listener)
    assert late.inject("S", mss=1460) == ["SA 0:0 ack 1"]


@both
def test_a_full_accept_queue_ignores_the_third_packet(peers):
    peer = peers()
    listener = peer.listen(80, 1)
    flows = [peer.new_flow(41000 + number) for number in range(3)]
    # Two half-open connections fill the SYN queue, and the third is a cookie's: so all three third packets follow.
    for flow in flows[:2]:
        assert flow.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert flows[0].inject("A", seq=1) == []
    assert flows[2].inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert flows[1].inject("A", seq=1) == []
    peer.reset_watch()
    assert flows[2].inject("A", seq=1) == []
    assert [flow.state() for flow in flows] == ["ESTAB", "ESTAB", "SYN-RECV"]
    assert peer.counter("TcpExtListenOverflows") == 1
    # Data is ignored as well; the SYN-ACK comes again.
    assert flows[2].inject("PA", seq=1, data=10) == []
    (again,) = peer.run(1.2)
    assert again == "SA 0:0 ack 1" and [again.at] == peer.about(1.0)
    peer.accept(listener)
    assert flows[2].inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    assert flows[2].state() == "ESTAB"


@both
def test_abort_on_overflow_resets_the_third_packet_only(peers):
    peer = peers({OVERFLOW: 1})
    peer.listen(80, 1)
    flows = [peer.new_flow(41000 + number) for number in range(4)]
    for flow in flows[:2]:
        flow.inject("S", mss=1460)
    flows[0].inject("A", seq=1)
    flows[2].inject("S", mss=1460)
    flows[1].inject("A", seq=1)
    assert flows[2].inject("A", seq=1) == ["R 1:1"]
    assert flows[2].state() == ""
    assert flows[3].inject("S", mss=1460) == []
    assert peer.counter("TcpExtListenOverflows") == 2


@both
def test_data_before_accept_is_kept(peers):
    peer = peers()
    listener = peer.listen(80, 0)
    peer.handshake()
    assert peer.inject("PA", seq=1, data=b"early") == ["A 1:1 ack 6"]
    peer.inject("FA", seq=6)
    fd = peer.accept(listener)
    assert peer.app.recv(fd, 100) == b"early"
    assert peer.app.recv(fd, 100) == b""


@both
def test_a_connection_reset_in_the_queue_is_accepted_all_the_same(peers):
    peer = peers()
    listener = peer.listen(80, 0)
    peer.handshake()
    peer.inject("R", seq=1)
    assert peer.states() == []
    assert peer.rows()[0].recv_q == 1
    fd = peer.accept(listener)
    assert peer.attempt(peer.app.recv, fd, 10) == "ECONNRESET"
