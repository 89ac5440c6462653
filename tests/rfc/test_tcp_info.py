"""What TCP_INFO counts, where it is easily got wrong; tests/differential compares every field with the kernel's."""

import socket

from support.peer import both
from timewait.host.sockopt import TCP_INFO
from timewait.tcp.info import pack_info, unpack_info

MSS = 1000


def info(peer, fd):
    raw = peer.app.getsockopt(fd, socket.IPPROTO_TCP, TCP_INFO, 1024)
    return {name.removeprefix("tcpi_"): value for name, value in unpack_info(raw).items()}


def connected(peer):
    listener = peer.listen()
    peer.handshake(mss=MSS, window=1000, wscale=7, sack_ok=True)
    return listener, peer.accept(listener)


@both
def test_the_struct_is_as_long_as_the_kernel_s(peers):
    peer = peers()
    assert len(peer.app.getsockopt(peer.listen(), socket.IPPROTO_TCP, TCP_INFO, 1024)) == 280


@both
def test_a_listener_shows_its_queue(peers):
    peer = peers()
    listener = peer.listen(80, 5)
    peer.handshake(mss=MSS)
    found = info(peer, listener)
    assert (found["state"], found["unacked"], found["sacked"], found["rto"]) == (10, 1, 5, 0)


@both
def test_a_fresh_socket_shows_what_it_would_begin_with(peers):
    peer = peers()
    found = info(peer, peer.app.socket(socket.AF_INET, socket.SOCK_STREAM))
    assert (found["state"], found["rto"], found["rttvar"], found["snd_mss"]) == (7, 1_000_000, 250_000, 536)
    assert (found["snd_cwnd"], found["min_rtt"], found["delivery_rate_app_limited"]) == (10, 2**32 - 1, 1)


@both
def test_the_syn_counts_as_a_segment(peers):
    peer = peers()
    _, fd = connected(peer)
    assert info(peer, fd)["segs_in"] == 2


@both
def test_retransmissions_count_as_sent(peers):
    peer = peers()
    _, fd = connected(peer)
    peer.app.send(fd, bytes(4 * MSS))
    peer.take()
    peer.inject("A", seq=1, ack=1, window=1000, sack=[(1 + MSS, 1 + 4 * MSS)])
    found = info(peer, fd)
    assert (found["data_segs_out"], found["bytes_sent"], found["bytes_retrans"]) == (5, 5 * MSS, MSS)


@both
def test_the_path_is_not_held_up_while_the_program_is(peers):
    peer = peers()
    _, fd = connected(peer)
    peer.app.send(fd, bytes(MSS))
    peer.run(0.05)
    peer.inject("A", seq=1, ack=1 + MSS, window=1000)
    assert info(peer, fd)["delivery_rate_app_limited"] == 1


@both
def test_a_duplicate_counts_and_a_fin_is_an_octet(peers):
    peer = peers()
    _, fd = connected(peer)
    peer.inject("PA", seq=1, ack=1, data=100, window=1000)
    peer.inject("PA", seq=1, ack=1, data=100, window=1000)
    peer.inject("FA", seq=101, ack=1, window=1000)
    found = info(peer, fd)
    assert (found["data_segs_in"], found["bytes_received"]) == (2, 101)


@both
def test_islands_to_report_leave_snd_mss_alone(peers):
    peer = peers()
    _, fd = connected(peer)
    peer.inject("PA", seq=1 + MSS, ack=1, data=MSS, window=1000)
    found = info(peer, fd)
    assert (found["snd_mss"], found["rcv_ooopack"]) == (MSS, 1)


@both
def test_a_timeout_is_counted_while_it_lasts(peers):
    peer = peers()
    _, fd = connected(peer)
    peer.app.send(fd, bytes(MSS))
    assert peer.wait_for(lambda: info(peer, fd)["total_rto"] >= 1)
    peer.run(0.1)
    found = info(peer, fd)
    assert (found["total_rto_recoveries"], found["rehash"]) == (1, found["total_rto"])
    assert found["total_rto_time"] >= 90


@both
def test_a_syn_is_no_busy_time(peers):
    peer = peers()
    fd = peer.connect()
    peer.run(0.1)
    assert info(peer, fd)["busy_time"] == 0
    peer.inject("SA", seq=0, ack=1, mss=MSS, wscale=3, window=8000)
    found = info(peer, fd)
    assert (found["busy_time"], found["delivery_rate"]) == (0, 0)


@both
def test_a_child_of_a_fast_open_is_marked(peers):
    peer = peers({"net.ipv4.tcp_fastopen": 0x202})
    listener = peer.listen()
    peer.app.setsockopt(listener, socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    peer.inject("S", mss=MSS, data=10)
    fd = peer.accept(listener)
    before = info(peer, fd)
    peer.inject("A", seq=11, ack=1, window=1000)
    after = info(peer, fd)
    assert (before["options"] & 0xA0, after["options"] & 0xA0) == (0xA0, 0xA0)
    assert (before["state"], after["state"], after["data_segs_in"], after["bytes_received"]) == (3, 1, 1, 10)


def test_packing_and_unpacking_are_inverse():
    raw = bytes(range(1, 8)) + b"\x03" + bytes(range(8, 256)) + bytes(range(24))
    assert pack_info(unpack_info(raw)) == raw
    assert unpack_info(raw[:7]) == {}
