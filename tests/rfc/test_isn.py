"""Initial sequence numbers (ISN-01 to ISN-08)."""

from itertools import pairwise

import pytest

from support.peer import Peer, both
from timewait.base.instant import SEC


def client_isn(peer: Peer, port: int = 40000, remote: int = 80) -> int:
    """The ISN of one connect(), which is refused at once."""
    fd = peer.connect(remote, local=port)
    (syn,) = peer.take()
    peer.inject("RA", ack=1)
    peer.app.close(fd)
    return int(syn.segment.seq)


def server_isn(peer: Peer, port: int = 40000) -> int:
    """The ISN of one SYN-ACK; the half-open connection is reset."""
    flow = peer.new_flow(port)
    (syn_ack,) = flow.inject("S", mss=1460)
    flow.inject("R", seq=1)
    return int(syn_ack.segment.seq)


@both
@pytest.mark.parametrize("side", ["client", "server"])
def test_one_tuples_numbers_grow_with_a_clock_of_64_ns(peers, side):
    peer = peers()
    peer.listen(81)
    peer.listen(80)
    isn = client_isn if side == "client" else server_isn
    first, before = isn(peer), peer.world.now
    peer.run(0.5)
    second, after = isn(peer), peer.world.now
    ticks = (second - first) % 2**32
    # The number is taken somewhere within the call, which takes a kernel some ms.
    slack = 0 if peer.kind == "sim" else 0.02
    assert ticks / ((after - before) / 64) == pytest.approx(1, abs=slack or 1e-4)


@both
def test_other_tuples_have_unrelated_numbers(peers):
    peer = peers()
    peer.listen()
    numbers = [server_isn(peer, 40000 + port) for port in range(20)]
    assert len(set(numbers)) == 20
    # Neighbours differ by more than a clock would make them: half of all differences are beyond a quarter turn.
    far = [1 for a, b in pairwise(numbers) if 2**30 < (b - a) % 2**32 < 3 * 2**30]
    assert 3 <= len(far) <= 16


@both
def test_both_directions_of_a_tuple_have_numbers_of_their_own(peers):
    peer = peers()
    peer.listen(40000)
    assert len({client_isn(peer, 40001, 80), client_isn(peer, 40001, 81), client_isn(peer, 40002, 80)}) == 3


def test_a_turn_takes_275_seconds():
    """RFC 9293 section 3.4.1 has 4 us a tick and 4.77 hours a turn; Linux 64 ns."""
    peer = Peer.sim()
    peer.listen()
    first, at = server_isn(peer), peer.world.now
    peer.world.run(2**32 * 64 - (peer.world.now - at))
    assert server_isn(peer) == first
    assert pytest.approx(274.9, abs=0.05) == 2**32 * 64 / SEC


def test_a_turn_takes_nearly_five_hours_by_the_rfc():
    peer = Peer.sim(profile="rfc9293")
    peer.listen()
    first = server_isn(peer)
    peer.world.run(1_000_000_000)
    assert (server_isn(peer) - first) % 2**32 == 250_000
    peer.world.run(2**32 * 4000 - 1_000_000_000)
    assert server_isn(peer) == first


def test_the_secret_matters():
    numbers = set()
    for seed in range(8):
        peer = Peer.sim(seed=seed)
        peer.listen()
        numbers.add(server_isn(peer))
    assert len(numbers) == 8


@both
def test_a_forged_third_packet_needs_the_number(peers):
    peer = peers()
    listener = peer.listen()
    flow = peer.flow
    (syn_ack,) = flow.inject("S", mss=1460)
    right = syn_ack.segment.seq + 1
    for guess in (0, 1, right - 1, right + 1, right ^ 0x80000000):
        (reset,) = flow.inject("A", seq=flow.iss + 1, ack=guess, absolute=True)
        assert reset.segment.seq == guess % 2**32 and reset.startswith("R ")
    assert peer.attempt(peer.app.accept, listener) == "EAGAIN"
    assert flow.inject("A", seq=1, ack=1) == []
    assert peer.accept(listener) > 0


@both
def test_an_old_segment_of_the_same_tuple_falls_out_of_the_window(peers):
    """ISN-05: the old connection's numbers are a clock's distance away."""
    peer = peers()
    listener = peer.listen()
    old = peer.flow
    old.handshake()
    peer.accept(listener)
    stale = old.segment("PA", seq=1, data=b"old octets")
    old.inject("R", seq=1)
    new = peer.new_flow(old.sport, iss=(old.iss + 15_625_000) % 2**32)
    new.handshake()
    fd = peer.accept(listener)
    (answer,) = peer.put(stale)
    assert answer == "A 1:1 ack 1"
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"


@both
def test_a_segment_one_turn_old_is_refused_by_its_timestamp_only(peers):
    """ISN-08, HDR-10: with the same numbers and no timestamps nothing tells old from new."""
    peer = peers()
    listener = peer.listen()
    without, with_ts = peer.new_flow(40001), peer.new_flow(40002)
    without.handshake()
    with_ts.handshake(ts=5000)
    fds = [peer.accept(listener), peer.accept(listener)]
    assert without.inject("PA", seq=1, ack=1, data=b"old") == ["A 1:1 ack 4"]
    assert with_ts.inject("PA", seq=1, ack=1, data=b"old", ts=4000) == ["A 1:1 ack 1"]
    assert peer.counter("TcpExtPAWSEstab") == 1
    assert peer.app.recv(fds[0], 10) == b"old"
    assert peer.attempt(peer.app.recv, fds[1], 10) == "EAGAIN"
