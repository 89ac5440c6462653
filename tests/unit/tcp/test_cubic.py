"""CUBIC by itself: the curve of RFC 9438, Reno's pace below it, fast convergence, HyStart."""

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.base.rng import Streams
from timewait.tcp.cc import congestion_control
from timewait.tcp.cc.base import EVENT_TX_START
from timewait.tcp.cc.cubic import CUBE_FACTOR, cubic_root
from timewait.tcp.net import Net
from timewait.tcp.tcb import CA_LOSS, Tcb

INFINITE = 0x7FFFFFFF


def connection(cwnd, ssthresh=INFINITE):
    """CUBIC at the beginning of a connection, and the connection."""
    t = Tcb(Net("host", Streams(1)), bytes(4), 1, bytes(4), 2)
    t.cwnd, t.ssthresh = cwnd, ssthresh
    t.cc = congestion_control("cubic").own()
    t.cc.start(t, 0)
    return t.cc, t


def grow(cubic, t, rtt, seconds, now=SEC):
    """The window at the end of each round trip in which all of it is acknowledged, segment by segment."""
    seen, end = [], now + seconds * SEC
    while now < end:
        step, count = rtt // t.cwnd, t.cwnd
        for _ in range(count):
            now += step
            cubic.acked(t, rtt // 1000, now)
            cubic.increase(t, 1, now)
        seen.append((now - SEC, t.cwnd))
    return seen


def test_a_loss_leaves_seven_tenths():
    cubic, t = connection(100)
    assert cubic.ssthresh(t, SEC) == 70
    t.cwnd = 2
    assert cubic.ssthresh(t, SEC) == 2


def test_the_plateau_is_reached_after_k_and_left_by_the_cube():
    cubic, t = connection(400)
    t.cwnd = t.ssthresh = cubic.ssthresh(t, SEC)
    assert t.cwnd == 280
    k = (0.3 * 400 / 0.4) ** (1 / 3)
    seen = grow(cubic, t, 100 * MSEC, 14)
    at_k = next(cwnd for at, cwnd in seen if at >= k * SEC)
    assert at_k == pytest.approx(400, rel=0.03)
    for at, cwnd in seen:
        curve = 400 + 0.4 * (at / SEC - k) ** 3
        assert cwnd == pytest.approx(curve, rel=0.06), f"at {at / SEC} s"


def test_short_round_trips_grow_as_reno_would():
    cubic, t = connection(20)
    start = t.cwnd = t.ssthresh = cubic.ssthresh(t, SEC)
    seen = grow(cubic, t, 2 * MSEC, 1)
    # W_est grows by 3 * (1 - 0.7) / (1 + 0.7) = 0.53 segments a round trip.
    rounds = 100
    assert seen[rounds - 1][1] == pytest.approx(start + 0.53 * rounds, rel=0.1)


def test_a_second_loss_below_the_first_gives_way():
    cubic, t = connection(100)
    cubic.ssthresh(t, SEC)
    t.cwnd = 80
    cubic.ssthresh(t, 2 * SEC)
    assert cubic.last_max_cwnd == 80 * (1024 + 717) // 2048


def test_rising_delay_ends_slow_start_beyond_sixteen_segments():
    for cwnd, ends in ((15, False), (16, True)):
        cubic, t = connection(cwnd)
        cubic.acked(t, 40_000, SEC)
        t.snd_nxt = 100
        for n in range(2, 14):
            t.snd_una = 5
            cubic.acked(t, 50_000, SEC + n * 5 * MSEC)
        assert (t.ssthresh == cwnd) is ends
        assert t.net.counters.TcpExtTCPHystartDelayDetect == int(ends)


def test_acks_in_a_train_of_half_a_round_trip_end_slow_start():
    cubic, t = connection(64)
    cubic.start(t, SEC)
    found = []
    for n in range(30):
        cubic.acked(t, 20_000, SEC + n * MSEC)
        found.append(t.ssthresh == 64)
    assert found.index(True) == 11
    assert t.net.counters.TcpExtTCPHystartTrainDetect == 1


def test_a_timeout_forgets_and_idle_time_does_not_count():
    cubic, t = connection(400)
    t.cwnd = t.ssthresh = cubic.ssthresh(t, SEC)
    grow(cubic, t, 100 * MSEC, 1)
    epoch = cubic.epoch_start
    t.lsndtime = 50 * SEC
    cubic.event(t, EVENT_TX_START, 60 * SEC)
    assert cubic.epoch_start == epoch + 2500
    cubic.state_changes(t, CA_LOSS, 60 * SEC)
    assert cubic.epoch_start == cubic.last_max_cwnd == 0


@pytest.mark.parametrize("value", [1, 7, 8, 26, 27, 64, 1000, 10**6, CUBE_FACTOR, CUBE_FACTOR * 10_000])
def test_cube_roots_are_as_near_as_the_kernels(value):
    """One Newton step from a table of 64: within 0.2 % for large numbers, one off for small ones."""
    assert cubic_root(value) == pytest.approx(value ** (1 / 3), rel=0.005, abs=1)


def test_connections_that_sent_nothing_share_one():
    assert congestion_control("cubic") is congestion_control("cubic")
    assert congestion_control("cubic").own() is not congestion_control("cubic").own()
