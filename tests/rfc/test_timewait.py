"""TIME-WAIT: what it answers, who may take it over, when it ends (TW-01 to TW-34)."""

import pytest

from support.ends import ends, fin_wait_2, opened, time_wait
from support.peer import PEER, both

RFC1337 = "net.ipv4.tcp_rfc1337"
RANGE = "net.ipv4.ip_local_port_range"
REUSE = "net.ipv4.tcp_tw_reuse"
SYN_ACK = "SYN-ACK"
ACK = ["A 2:2 ack 2"]
LATER, SAME, EARLIER, NONE = {"ts": 1001}, {"ts": 1000}, {"ts": 999}, {}


# A SYN in TIME-WAIT (RFC 6191 as Linux reads it): the record has rcv_nxt 2 and TS.Recent 1000.


@both
@pytest.mark.parametrize(
    ("seq", "stamp", "answer"),
    [
        (100, LATER, SYN_ACK),
        (100, SAME, SYN_ACK),
        (100, EARLIER, ACK),
        (100, NONE, SYN_ACK),
        (2, LATER, SYN_ACK),
        (2, SAME, ACK),
        (2, EARLIER, ACK),
        (2, NONE, ACK),
        (-100, LATER, SYN_ACK),
        (-100, SAME, ACK),
        (-100, EARLIER, ACK),
        (-100, NONE, ACK),
    ],
)
def test_a_syn_meets_a_record_with_timestamps(peers, seq, stamp, answer):
    peer = peers()
    time_wait(peer, opened(peer, ts=1000), ts=1000)
    peer.listen()
    old = peer.flow.irs
    seen = peer.inject("S", seq=seq, mss=1460, **stamp)
    if answer is SYN_ACK:
        assert seen == [f"SA 0:0 ack {seq + 1}"]
        assert seen[0].segment.seq == (old + 2 + 65537) % 2**32
        assert peer.state() == "SYN-RECV"
    else:
        assert seen == answer
        assert peer.state() == "TIME-WAIT"


@both
@pytest.mark.parametrize(
    ("seq", "stamp", "answer"), [(3, NONE, SYN_ACK), (2, NONE, ACK), (-100, NONE, ACK), (-100, LATER, ACK)]
)
def test_a_syn_meets_a_record_without_timestamps(peers, seq, stamp, answer):
    peer = peers()
    time_wait(peer, opened(peer))
    peer.listen()
    seen = peer.inject("S", seq=seq, mss=1460, **stamp)
    assert seen == ([f"SA 0:0 ack {seq + 1}"] if answer is SYN_ACK else answer)


@both
def test_without_a_listener_even_a_good_syn_is_only_acknowledged(peers):
    peer = peers()
    time_wait(peer, opened(peer))
    assert peer.inject("S", seq=100, mss=1460) == ACK
    assert peer.state() == "TIME-WAIT"


@both
@pytest.mark.parametrize(("protected", "state"), [(0, ""), (1, "TIME-WAIT")])
def test_the_answer_to_an_old_syn_brings_a_reset(peers, protected, state):
    peer = peers({RFC1337: protected})
    time_wait(peer, opened(peer))
    peer.listen()
    assert peer.inject("S", seq=-100, mss=1460) == ACK
    # A client in SYN-SENT resets what does not acknowledge its SYN, at the number it was given.
    assert peer.inject("R", seq=2) == []
    assert peer.state() == state


@both
def test_a_second_syn_at_once_is_not_answered(peers):
    peer = peers()
    time_wait(peer, opened(peer))
    peer.listen()
    assert peer.inject("S", seq=-100, mss=1460) == ACK
    assert peer.inject("S", seq=-100, mss=1460) == []
    assert peer.counter("TcpExtTCPACKSkippedTimeWait") == 1


# Other segments


@both
@pytest.mark.parametrize(
    ("flags", "given", "answer"),
    [
        ("FA", {"seq": 1, "ack": 2}, ACK),
        ("PA", {"seq": -9, "ack": 2, "data": 10}, ACK),
        ("PA", {"seq": 2, "ack": 2, "data": 10}, ACK),
        ("A", {"seq": 2, "ack": 2}, []),
        ("A", {"seq": 2, "ack": 77}, []),
        ("A", {"seq": 1, "ack": 2}, ACK),
        ("A", {"seq": 500, "ack": 2}, ACK),
        ("SA", {"seq": 100, "ack": 2}, ACK),
        ("F", {"seq": 1}, ACK),
        ("R", {"seq": 3}, []),
        ("RA", {"seq": 1, "ack": 2}, []),
    ],
)
def test_segments_that_meet_a_record(peers, flags, given, answer):
    peer = peers()
    time_wait(peer, opened(peer))
    assert peer.inject(flags, **given) == answer
    assert peer.state() == "TIME-WAIT"


@both
def test_each_repeated_fin_is_acknowledged(peers):
    peer = peers()
    time_wait(peer, opened(peer))
    for _ in range(5):
        assert peer.inject("FA", seq=1, ack=2) == ACK


@both
@pytest.mark.parametrize(("protected", "state"), [(0, ""), (1, "TIME-WAIT")])
@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_reset_at_rcv_nxt(peers, flags, protected, state):
    peer = peers({RFC1337: protected})
    time_wait(peer, opened(peer))
    assert peer.inject(flags, seq=2, ack=2) == []
    assert peer.state() == state


@both
def test_an_old_timestamp_does_not_protect_against_nor_from_a_reset(peers):
    peer = peers()
    time_wait(peer, opened(peer, ts=1000), ts=1000)
    assert peer.inject("R", seq=2, ts=900) == []
    assert peer.state() == "TIME-WAIT"
    assert peer.counter("TcpExtPAWSTimewait") == 1
    assert peer.inject("R", seq=2, ts=1000) == []
    assert peer.state() == ""


@both
@pytest.mark.parametrize(
    ("flags", "given", "restarts"),
    [
        ("FA", {"seq": 1, "ack": 2}, True),
        ("PA", {"seq": -9, "ack": 2, "data": 10}, True),
        ("A", {"seq": 2, "ack": 2}, True),
        ("A", {"seq": 500, "ack": 2}, True),
        ("S", {"seq": -100}, False),
        ("S", {"seq": 100, "ts": 900}, True),
        ("SA", {"seq": -100}, True),
        ("R", {"seq": 3}, False),
        ("R", {"seq": 2}, False),
    ],
)
def test_what_restarts_the_clock(peers, flags, given, restarts):
    peer = peers({RFC1337: 1})
    time_wait(peer, opened(peer, ts=1000), ts=1000)
    peer.run(0.5)
    assert 59.2 < peer.row().left < 59.7
    stamp = {} if flags == "R" else {"ts": 1000}
    peer.inject(flags, **{**stamp, **given})
    assert (peer.row().left > 59.7) is restarts


@both
def test_the_record_shows_no_owner_and_a_timer(peers):
    peer = peers()
    fd = opened(peer)
    time_wait(peer, fd)
    assert peer.row().timer == "time_wait"
    assert 59.5 < peer.row().left <= 60.1
    # The descriptors of listener and connection are free again at once.
    assert {peer.app.socket(2, 1), peer.app.socket(2, 1)} == {fd - 1, fd}


def test_it_lasts_60_seconds_whatever_tcp_fin_timeout_says(peers):
    peer = peers({"net.ipv4.tcp_fin_timeout": 5})
    time_wait(peer, opened(peer))
    peer.reset_watch()
    assert [ends(peer, 90)] == peer.about(60)


def test_a_repeated_fin_makes_it_60_seconds_again(peers):
    peer = peers()
    time_wait(peer, opened(peer))
    peer.reset_watch()
    peer.run(20)
    assert peer.inject("FA", seq=1, ack=2) == ACK
    assert [ends(peer, 90)] == peer.about(80)


# connect() and TIME-WAIT


def dial(peer, stamp):
    """A connection from the one port there is, closed by us: 'ok', or connect()'s error."""
    fd = peer.app.socket(2, 1)
    peer.outgoing(40000)
    result = peer.attempt(peer.app.connect, fd, (PEER, 80))
    if result != "EINPROGRESS":
        peer.app.close(fd)
        return result, None
    (syn,) = peer.take()
    assert peer.inject("SA", seq=0, ack=1, mss=1460, **stamp) == ["A 1:1 ack 1"]
    fin_wait_2(peer, fd, close=True, **stamp)
    assert peer.inject("FA", seq=1, ack=2, **stamp) == ["A 2:2 ack 2"]
    return "ok", syn.segment.seq


@both
@pytest.mark.parametrize(
    ("reuse", "delay", "stamp", "wait", "result"),
    [
        (1, 1000, SAME, 0.3, "EADDRNOTAVAIL"),
        (1, 1000, SAME, 1.2, "ok"),
        (1, 200, SAME, 0.3, "ok"),
        (0, 200, SAME, 0.3, "EADDRNOTAVAIL"),
        (2, 200, SAME, 0.3, "EADDRNOTAVAIL"),
        (1, 200, NONE, 0.5, "EADDRNOTAVAIL"),
    ],
)
def test_connect_takes_over_its_own_record(peers, reuse, delay, stamp, wait, result):
    peer = peers({RANGE: "40000 40000", REUSE: reuse, "net.ipv4.tcp_tw_reuse_delay": delay})
    done, first = dial(peer, stamp)
    assert done == "ok"
    assert peer.state() == "TIME-WAIT"
    peer.run(wait)
    done, second = dial(peer, LATER if stamp else NONE)
    assert done == result
    if done == "ok":
        assert second == (first + 2 + 65537) % 2**32


@both
def test_four_ports_make_four_connections(peers):
    peer = peers({RANGE: "40000 40003"})
    for _ in range(4):
        fd = peer.app.socket(2, 1)
        assert peer.attempt(peer.app.connect, fd, (PEER, 80)) == "EINPROGRESS"
    fd = peer.app.socket(2, 1)
    assert peer.attempt(peer.app.connect, fd, (PEER, 80)) == "EADDRNOTAVAIL"
    # Another destination has all ports of its own.
    assert peer.attempt(peer.app.connect, fd, (PEER, 81)) == "EINPROGRESS"


# tcp_max_tw_buckets


@both
def test_no_room_for_a_record(peers):
    peer = peers({"net.ipv4.tcp_max_tw_buckets": 0})
    fd = opened(peer)
    peer.app.close(fd)
    peer.take()
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == ""
    assert peer.inject("FA", seq=1, ack=2) == ["R 2:2"]
    assert peer.counter("TcpExtTCPTimeWaitOverflow") == 1


@both
def test_room_for_one_record(peers):
    peer = peers({"net.ipv4.tcp_max_tw_buckets": 1})
    time_wait(peer, opened(peer))
    peer.flow = peer.new_flow(40001)
    fd = opened(peer)
    peer.app.close(fd)
    peer.take()
    assert peer.inject("A", seq=1, ack=2) == []
    assert peer.state() == "", "an orphan's FIN-WAIT-2 needs a record too"
    assert peer.inject("FA", seq=1, ack=2) == ["R 2:2"]
    assert peer.counter("TcpExtTCPTimeWaitOverflow") == 1


# A new incarnation


@both
def test_old_data_does_not_reach_a_new_incarnation_but_an_old_reset_does(peers):
    peer = peers()
    time_wait(peer, opened(peer, ts=1000), ts=1000)
    listener = peer.listen()
    peer.flow.iss = (peer.flow.iss + 1000) % 2**32
    assert peer.inject("S", mss=1460, ts=2000) == ["SA 0:0 ack 1"]
    assert peer.inject("A", seq=1, ts=2000) == []
    fd = peer.accept(listener)
    assert peer.inject("PA", seq=1, data=10, ts=1001) == ["A 1:1 ack 1"]
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    assert peer.inject("R", seq=1, ts=1001) == []
    assert peer.attempt(peer.app.recv, fd, 100) == "ECONNRESET"


@both
def test_a_stray_fin_at_a_new_connection(peers):
    peer = peers()
    opened(peer, sack_ok=True)
    assert peer.inject("FA", seq=-99) == ["A 1:1 ack 1 sack -99--98"]
    assert peer.inject("FA", seq=101) == ["A 1:1 ack 1 sack 101-102"]
    assert peer.state() == "ESTAB"
    peer.inject("FA", seq=1)
    assert peer.state() == "CLOSE-WAIT"
