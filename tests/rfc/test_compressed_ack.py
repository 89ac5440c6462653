"""Acknowledgments of a hole: the first leave at once, later ones become one (RFC 5681 4.2, tcp_comp_sack_*)."""

import pytest

from support.peer import both

V4 = "net.ipv4."
MSS = 1000
HOLD = {V4 + "tcp_comp_sack_delay_ns": 1_000_000_000}
"""The limit is the round trip's: a twentieth of 0.9 s."""
COMPRESSED = "TcpExtTCPAckCompressed"


class Receiver:
    """A connection that has received `first` segments, by 40 out of quick mode, and takes the round trip for 0.9 s."""

    def __init__(self, peers, sysctl=HOLD, first=40, **options):
        self.peer = peers(sysctl)
        self.listener = self.peer.listen()
        given = {"mss": MSS, "window": 65535, "wscale": 7, "sack_ok": True, **options}
        (syn_ack,) = self.peer.inject("S", ts=100, **given)
        self.echo = syn_ack.segment.tsval
        self.peer.run(0.9)
        self.peer.inject("A", seq=1, ack=1, window=1000, ts=(1000, self.echo))
        self.fd = self.peer.accept(self.listener)
        self.at = 0
        for n in range(first):
            self.data(n)
            self.peer.app.recv(self.fd, 1 << 16)
        self.peer.run(0.3)
        self.at = first
        self.peer.reset_watch()

    def data(self, number):
        """Segment `number` counted from where the stream stands: what the host says at once."""
        seq = 1 + (self.at + number) * MSS
        return self.peer.inject("A", seq=seq, ack=1, data=MSS, window=1000, ts=(1001, self.echo))

    def blocks(self, seen):
        """The SACK blocks in segments, like the numbers given to `data`."""
        base = 1 + self.at * MSS
        text = seen.split(" sack ")[1] if " sack " in seen else ""
        pairs = (pair.split("-") for pair in text.split())
        return [((int(a) - base) // MSS, (int(b) - base) // MSS) for a, b in pairs]


@both
def test_three_leave_at_once_and_the_rest_is_one(peers):
    r = Receiver(peers)
    assert [len(r.data(n)) for n in range(1, 9)] == [1, 1, 1, 0, 0, 0, 0, 0]
    before = r.peer.now
    (late,) = r.peer.run(0.2)
    assert r.blocks(late) == [(1, 9)]
    assert late.at == pytest.approx(before, abs=0.1)
    assert r.peer.counter(COMPRESSED) == 4


@both
def test_the_timer_is_a_twentieth_of_the_round_trip(peers):
    r = Receiver(peers)
    for n in range(1, 4):
        r.data(n)
    start = r.peer.now
    assert r.data(4) == []
    (late,) = r.peer.run(0.3)
    assert late.at - start >= 0.035
    if r.peer.kind == "sim":
        assert late.at - start == pytest.approx(0.045, abs=0.001)


@both
def test_no_more_are_held_than_tcp_comp_sack_nr(peers):
    r = Receiver(peers, {**HOLD, V4 + "tcp_comp_sack_nr": 2})
    assert [len(r.data(n)) for n in range(1, 7)] == [1, 1, 1, 0, 0, 1]
    assert r.peer.counter(COMPRESSED) == 2


@both
def test_none_is_held_with_tcp_comp_sack_nr_0(peers):
    r = Receiver(peers, {**HOLD, V4 + "tcp_comp_sack_nr": 0})
    assert [len(r.data(n)) for n in range(1, 9)] == [1] * 8


@both
def test_without_sack_none_is_held(peers):
    r = Receiver(peers, sack_ok=False)
    assert [len(r.data(n)) for n in range(1, 9)] == [1] * 8


@both
def test_a_filled_hole_is_acknowledged_at_once(peers):
    r = Receiver(peers)
    for n in range(1, 7):
        r.data(n)
    (filled,) = r.data(0)
    assert r.blocks(filled) == [] and filled.endswith(f"ack {1 + 47 * MSS}")
    assert r.peer.run(0.1) == []
    assert r.peer.counter(COMPRESSED) == 3


@both
def test_the_next_hole_begins_anew(peers):
    r = Receiver(peers)
    for n in (1, 2, 3, 5, 6):
        r.data(n)
    assert [len(r.data(n)) for n in (0, 7, 8, 9, 10)] == [1, 1, 1, 0, 0]


@both
def test_a_third_island_that_grows_is_told_before_it_is_forgotten(peers):
    r = Receiver(peers)
    for n in (1, 3, 5, 7):
        r.data(n)
    # Three left at once; the fourth island is held. The first grows, as the fourth of the list.
    (told,) = r.data(2)
    assert (5, 6) in r.blocks(told) or (7, 8) in r.blocks(told)
    assert r.peer.counter(COMPRESSED) == 0


@both
def test_quick_mode_holds_nothing_back(peers):
    r = Receiver(peers, first=1)
    assert [len(r.data(n)) for n in range(1, 9)] == [1] * 8
