"""Segment sizes (MSS-01 to MSS-05)."""

import socket

import pytest

from support.peer import both

TCP = socket.IPPROTO_TCP


def sizes(seen):
    return [each.segment.length for each in seen]


@both
@pytest.mark.parametrize(("mtu", "mss"), [(1500, 1460), (1400, 1360), (9000, 8960), (576, 536)])
def test_the_announced_mss_is_the_mtu_less_two_headers(peers, mtu, mss):
    peer = peers(mtu=mtu)
    peer.connect()
    (syn,) = peer.take()
    assert syn.segment.mss == mss
    peer.listen()
    (syn_ack,) = peer.new_flow(41000).inject("S", mss=500)
    assert syn_ack.segment.mss == mss


@both
@pytest.mark.parametrize(
    ("offer", "ts", "size"),
    [(1460, False, 1460), (1460, True, 1448), (500, False, 500), (500, True, 488), (0, False, 536), (0, True, 524),
     (9000, False, 1460)],
)  # fmt: skip
def test_segments_are_as_long_as_the_peer_and_the_path_take(peers, offer, ts, size):
    peer = peers()
    listener = peer.listen()
    peer.handshake(mss=offer, **({"ts": 100} if ts else {}))
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(3 * size))
    sent = peer.take()
    assert sizes(sent) == [size] * 3
    assert all(each.segment.dont_fragment for each in sent)


@both
def test_a_tiny_mss_is_raised(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake(mss=10)
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(200))
    # TCP_MIN_SND_MSS is 48, options included; ours has none here.
    assert max(sizes(peer.take())) == 48


@both
def test_max_segment_size_option_of_the_socket(peers):
    peer = peers()
    peer.connect(80, (TCP, socket.TCP_MAXSEG, 1000))
    (syn,) = peer.take()
    assert syn.segment.mss == 1000
    peer.listen(81, 5, (TCP, socket.TCP_MAXSEG, 1000))
    (syn_ack,) = peer.new_flow(41000, 81).inject("S", mss=1460)
    assert syn_ack.segment.mss == 1000


@both
def test_max_segment_size_limits_what_is_sent_too(peers):
    peer = peers()
    listener = peer.listen(80, 5, (TCP, socket.TCP_MAXSEG, 1000))
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(2000))
    assert sizes(peer.take()) == [1000, 1000]


@both
def test_only_the_lost_segment_is_sent_again(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake(sack_ok=True)
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(3 * 1460))
    assert peer.take() == ["A 1:1461 ack 1", "A 1461:2921 ack 1", "PA 2921:4381 ack 1"]
    peer.inject("A", seq=1, ack=1461)
    again = peer.inject("A", seq=1, ack=1461, sack=[(2921, 4381)]) + peer.run(0.3)
    assert again[:1] == ["A 1461:2921 ack 1"]
    assert not [each for each in again if each.segment.length > 1460]


@both
def test_small_writes_are_sent_again_as_one_segment(peers):
    """tcp_retrans_collapse: the boundaries of the first transmission mean nothing."""
    peer = peers()
    listener = peer.listen(80, 5, (TCP, socket.TCP_NODELAY, 1))
    peer.handshake()
    fd = peer.accept(listener)
    for _ in range(3):
        peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1", "PA 11:21 ack 1", "PA 21:31 ack 1"]
    (again,) = peer.run(0.3)
    assert again == "PA 1:31 ack 1"


@both
def test_a_fin_rides_along_when_data_is_sent_again(peers):
    """tcp_collapse_retrans moves the flags too: what went out as two segments comes again as one."""
    peer = peers({"net.ipv4.tcp_early_retrans": 0})
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(10))
    peer.app.close(fd)
    assert peer.take() == ["PA 1:11 ack 1", "FA 11:11 ack 1"]
    (again,) = peer.run(0.3)
    assert again == "FPA 1:11 ack 1"
    assert peer.state() == "FIN-WAIT-1"
    # The data alone acknowledged leaves the FIN to be sent again, and the flags stay as they were merged.
    assert peer.inject("A", seq=1, ack=11) == []
    assert set(peer.run(0.6)) == {"FPA 11:11 ack 1"}
    peer.inject("A", seq=1, ack=12)
    assert peer.state() == "FIN-WAIT-2"


@both
def test_data_acknowledged_without_the_fin_it_was_sent_with(peers):
    """A window that opens lets data and FIN out as one segment; what is left of it is a FIN with nothing before it."""
    peer = peers({"net.ipv4.tcp_early_retrans": 0})
    listener = peer.listen()
    peer.handshake(window=0)
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(10))
    peer.app.close(fd)
    peer.take()
    assert peer.inject("A", seq=1, ack=1, window=1000) == ["FPA 1:11 ack 1"]
    assert peer.inject("A", seq=1, ack=11, window=1000) == []
    assert set(peer.run(0.6)) == {"FPA 11:11 ack 1"}
    assert peer.inject("A", seq=1, ack=12, window=1000) == []
    assert peer.state() == "FIN-WAIT-2"


@both
def test_a_full_segment_is_sent_again_without_the_fin_behind_it(peers):
    """Only what fits into one segment is merged, and the FIN takes no room: it is the window that may keep it out."""
    peer = peers({"net.ipv4.tcp_early_retrans": 0})
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(1460))
    peer.app.close(fd)
    assert peer.take() == ["PA 1:1461 ack 1", "FA 1461:1461 ack 1"]
    (again,) = peer.run(0.3)
    assert again == "PA 1:1461 ack 1"


@both
def test_a_router_says_the_segments_are_too_long(peers):
    """RFC 1191: ICMP 3/4 with the next hop's MTU shortens what is sent, and sends it again."""
    from timewait.wire.packet import PROTO_ICMP, IcmpMessage
    from timewait.wire.serialize import serialize

    peer = peers()
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(1460))
    (sent,) = peer.take()
    told = IcmpMessage()
    told.src, told.dst, told.proto = bytes((10, 0, 0, 9)), sent.segment.src, PROTO_ICMP
    told.type, told.code, told.rest = 3, 4, 1000
    told.payload = serialize(sent.segment)[:28]
    again = peer.put(told)
    assert [str(each) for each in again] == ["A 1:961 ack 1", "PA 961:1461 ack 1"]


def test_ip_fragments_multiply_loss():
    """MSS-03: a segment of ten fragments is lost when one of them is."""
    from timewait.base.instant import SEC
    from timewait.world.network import World

    lost = {}
    for mtu in (9000, 1500):
        world = World(seed=11)
        client, server = world.host("client", "10.0.0.1/24"), world.host("server", "10.0.1.1/24")
        router = world.router("r")
        for host in (client, server):
            host.sysctl["net.ipv4.ip_no_pmtu_disc"] = 1
            host.interfaces[1].mtu = mtu
        world.link(client, router)
        world.link(router, server, mtu=1500, loss=0.05)
        app, srv = client.process(), server.process()
        listener = srv.socket(2, 1)
        srv.bind(listener, ("10.0.1.1", 80))
        srv.listen(listener, 5)
        fd = app.socket(2, 1)
        with pytest.raises(BlockingIOError):
            app.connect(fd, ("10.0.1.1", 80))
        world.run(30 * SEC)
        left = 60_000
        while left:
            left -= app.send(fd, bytes(left))
            world.run(600 * SEC)
        new, _ = srv.accept(listener)
        assert len(srv.recv(new, 100_000)) == 60_000
        counters = client.counters.as_dict(nonzero=False)
        lost[mtu] = counters["TcpRetransSegs"] * (mtu - 40)
    assert lost[9000] > 2 * lost[1500]
