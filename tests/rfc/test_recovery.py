"""Recovery from loss, one acknowledgment at a time: PRR, undo, F-RTO, RACK, TLP, NewReno, idle windows."""

import pytest

from support.peer import both
from support.sender import DISORDER, LOSS, OPEN, RECOVERY, Sender

INFINITE = 0x7FFFFFFF


def twenty(peer, **options):
    """Twenty segments in flight, 10 to 29, after one round trip of slow start."""
    sender = Sender(peer, "reno", **options)
    assert sender.sent == list(range(10))
    sender.wait()
    for number in range(1, 11):
        assert sender.ack(number) == [8 + 2 * number, 9 + 2 * number]
    sender.wait()
    return sender


def probed(peer):
    """The last of ten segments is unacknowledged, and has just been sent again as a probe."""
    sender = Sender(peer, size=10_000, ts=False)
    sender.wait()
    for number in range(1, 9):
        sender.ack(number)
    assert sender.wait(0.6) == [9]
    return sender


# RFC 5681 3.2, RFC 3042, RFC 6937


@both
def test_limited_transmit_lets_two_new_segments_out(peers):
    sender = Sender(peers())
    sender.wait()
    assert sender.ack(0, [(1, 2)]) == [10]
    assert sender.ack(0, [(1, 3)]) == [11]
    assert sender.info().state == DISORDER
    assert sender.ack(0, [(1, 4)]) == [0]
    assert sender.info().state == RECOVERY


@both
def test_prr_lets_every_second_segment_out(peers):
    # ssthresh is half of the window: one segment leaves for two delivered (RFC 6937 3.1).
    sender = twenty(peers())
    assert [sender.ack(10, [(11, n)]) for n in (12, 13, 14)] == [[30], [31], [10]]
    assert [sender.ack(10, [(11, n)]) for n in range(15, 22)] == [[], [32], [], [33], [], [34], []]
    info = sender.info()
    assert (info.ssthresh, info.cwnd, info.state) == (10, 15, RECOVERY)
    assert sender.ack(21) == [35]
    for number in range(22, 32):
        sender.ack(number)
    assert (sender.info().cwnd, sender.info().state) == (10, RECOVERY)
    assert len(sender.ack(32)) == 1
    assert (sender.info().cwnd, sender.info().state) == (10, OPEN)
    assert sender.info().unacked == 10


@both
def test_below_the_threshold_prr_grows_like_slow_start_while_nothing_more_is_lost(peers):
    # Six of ten are lost. An ACK that brings no progress lets out what was delivered, and one more if it does.
    sender = Sender(peers())
    sender.wait()
    assert [sender.ack(0, [(6, n)]) for n in (7, 8, 9, 10)] == [[10], [11], [0], [1]]
    assert (sender.info().cwnd, sender.info().lost, sender.info().ssthresh) == (4, 6, 5)
    sender.wait()
    # 10 and 11 were overtaken by a round trip: lost as well, so that the first ACK lets one out.
    assert sender.ack(1, [(6, 10)]) == [2]
    assert sender.ack(2, [(6, 10)]) == [3, 4]
    assert sender.ack(3, [(6, 10)]) == [5, 10]
    assert sender.ack(4, [(6, 10)]) == [11, 12]
    assert sender.ack(5, [(6, 10)]) == [13]
    assert sender.ack(10) == [14]
    assert (sender.info().cwnd, sender.info().state) == (5, RECOVERY)


# RFC 6582


@both
@pytest.mark.parametrize("ts", [False, True])
def test_without_sack_a_partial_ack_brings_the_next_retransmission(peers, ts):
    peer = peers()
    sender = Sender(peer, sack=False, ts=ts)
    sender.wait()
    assert [sender.ack(0) for _ in range(6)] == [[10], [11], [0], [], [12], []]
    info = sender.info()
    assert (info.state, info.ssthresh, info.cwnd, info.sacked, info.delivered) == (RECOVERY, 5, 7, 6, 7)
    sender.wait()
    # The head is marked at once; PRR lets it out with the next delivery.
    assert sender.ack(4) == []
    assert (sender.info().lost, sender.info().sacked) == (1, 3)
    assert sender.ack(4) == [4]
    assert sender.ack(12) == [13, 14, 15, 16]
    # Everything up to the recovery point is acknowledged, and it takes more to leave (RFC 6582 3.2 step 3).
    assert sender.info().state == RECOVERY
    assert sender.ack(13) == [17]
    assert (sender.info().state, sender.info().cwnd) == (OPEN, 5)
    assert peer.counter("TcpExtTCPRenoRecovery") == 1


@both
def test_more_duplicates_than_segments_tell_of_reordering(peers):
    peer = peers()
    sender = Sender(peer, sack=False, ts=False, size=4000)
    sender.wait()
    for _ in range(2):
        sender.ack(0)
    assert sender.info().reordering == 3
    sender.ack(4)
    assert (sender.info().state, peer.counter("TcpExtTCPRenoReorder")) == (OPEN, 0)


# RFC 3522, RFC 3708


@both
def test_a_dsack_undoes_the_reduction(peers):
    peer = peers()
    sender = Sender(peer, ts=False)
    sender.wait()
    assert [sender.ack(0, [(1, n)]) for n in (2, 3, 4)] == [[10], [11], [0]]
    assert sender.ack(5) == [12]
    assert (sender.info().cwnd, sender.info().ssthresh) == (8, 5)
    # The retransmission arrives as well, and the peer says that it was a duplicate.
    assert sender.ack(6, [(0, 1)]) == [13, 14, 15, 16]
    info = sender.info()
    assert (info.cwnd, info.ssthresh, info.state) == (12, INFINITE, OPEN)
    assert peer.counter("TcpExtTCPDSACKUndo") == 1


@both
def test_an_echo_of_the_original_undoes_the_reduction_and_tells_of_reordering(peers):
    peer = peers()
    sender = Sender(peer)
    original = sender.echo
    sender.wait()
    assert [sender.ack(0, [(1, n)], echo=original) for n in (2, 3, 4)] == [[10], [11], [0]]
    assert sender.ack(5, echo=original) == [12, 13, 14, 15]
    info = sender.info()
    assert (info.cwnd, info.ssthresh, info.state, info.reordering) == (12, INFINITE, OPEN, 5)
    assert (peer.counter("TcpExtTCPPartialUndo"), peer.counter("TcpExtTCPTSReorder")) == (1, 1)


@both
def test_a_dsack_of_nothing_sent_again_is_not_believed(peers):
    peer = peers()
    sender = twenty(peer)
    sender.ack(11, [(3, 4)])
    assert (sender.info().state, sender.info().reordering) == (OPEN, 3)
    assert peer.counter("TcpExtTCPDSACKRecv") == 1
    assert peer.counter("TcpExtTCPDSACKIgnoredDubious") == 1


# RFC 5682


@both
@pytest.mark.parametrize("ts", [False, True])
def test_a_spurious_timeout_is_undone_by_the_second_ack(peers, ts):
    peer = peers()
    sender = Sender(peer, ts=ts)
    # The probe sends something new, then the timer sends the head again.
    assert sender.wait(1.1) == [10, 0]
    info = sender.info()
    assert (info.state, info.cwnd, info.ssthresh, info.lost) == (LOSS, 1, 5, 11)
    # Step 2b: new data instead of retransmissions.
    assert sender.ack(1) == [11, 12]
    assert sender.info().state == LOSS
    sender.ack(2)
    info = sender.info()
    assert (info.state, info.cwnd, info.ssthresh, info.lost) == (OPEN, 11, INFINITE, 0)
    assert peer.counter("TcpExtTCPSpuriousRTOs") == 1
    assert sender.ack(3) == [13, 14]


@both
def test_a_real_timeout_goes_on_with_retransmissions(peers):
    peer = peers()
    sender = Sender(peer, ts=False)
    assert sender.wait(1.1) == [10, 0]
    assert sender.ack(1) == [11, 12]
    # Step 3a: only what was sent after the timeout is delivered.
    assert sender.ack(1, [(11, 12)]) == [1]
    assert sender.ack(1, [(11, 13)]) == [2]
    info = sender.info()
    assert (info.state, info.ssthresh, info.cwnd, info.lost) == (LOSS, 5, 2, 10)
    assert peer.counter("TcpExtTCPSpuriousRTOs") == 0


# RFC 8985


@both
def test_the_last_but_one_is_sent_again_a_quarter_round_trip_later(peers):
    peer = peers()
    sender = Sender(peer, size=2000)
    sender.wait()
    begun = peer.now
    assert sender.ack(0, [(1, 2)]) == []
    assert sender.wait(0.3) == [0]
    assert 0.04 < sender.log[-1].at - begun < 0.12
    info = sender.info()
    assert (info.state, info.cwnd, info.ssthresh) == (RECOVERY, 1, 5)


@both
def test_what_the_probe_sends_new_shows_what_was_lost_before_it(peers):
    sender = Sender(peers(), ts=False)
    assert sender.wait(0.55) == [10]
    assert sender.info().state == OPEN
    # Ten segments that left two round trips earlier are not there: no timeout is waited for.
    assert sender.ack(0, [(10, 11)]) == [0]
    assert (sender.info().state, sender.info().lost) == (RECOVERY, 10)


@both
def test_a_probe_that_fills_a_hole_costs_one_reduction(peers):
    peer = peers()
    sender = probed(peer)
    assert peer.counter("TcpExtTCPLossProbes") == 1
    # The ACK goes beyond the probe: another segment was sent meanwhile and arrived.
    sender.write(1000)
    assert sender.ack(11) == []
    assert sender.info().state == OPEN
    assert peer.counter("TcpExtTCPLossProbeRecovery") == 1
    assert sender.info().cwnd < 10


@both
def test_a_probe_that_a_dsack_names_costs_nothing(peers):
    peer = peers()
    sender = probed(peer)
    before = sender.info().cwnd
    sender.ack(10, [(9, 10)])
    assert (sender.info().state, sender.info().ssthresh) == (OPEN, INFINITE)
    assert sender.info().cwnd >= before
    assert peer.counter("TcpExtTCPLossProbeRecovery") == 0


@both
def test_a_probe_comes_after_two_round_trips(peers):
    peer = peers()
    sender = Sender(peer, size=5000)
    sender.wait()
    for number in (1, 2, 3):
        sender.ack(number)
    begun = peer.now
    assert sender.wait(0.8) == [4]
    assert sender.log[-1].at - begun == pytest.approx(0.41, abs=0.1)


# RFC 2861, RFC 7661


@both
def test_after_an_idle_time_the_window_is_the_first_one(peers):
    sender = Sender(peers(), size=30_000)
    sender.wait()
    for number in range(1, 11):
        sender.ack(number)
    sender.wait()
    for number in range(11, 31):
        sender.ack(number)
    assert sender.info().cwnd == 40
    sender.wait(2.0)
    assert sender.info().cwnd == 40
    assert sender.write(40_000) == list(range(30, 40))
    assert sender.info().cwnd == 10


@both
def test_a_window_that_is_not_used_does_not_grow(peers):
    sender = Sender(peers(), size=4000)
    acked = 0
    for _ in range(4):
        sender.wait()
        for _ in range(4):
            acked += 1
            sender.ack(acked)
        assert sender.info().cwnd == 10
        assert len(sender.write(4000)) == 4


@both
def test_half_a_window_is_use_enough_for_slow_start(peers):
    # RFC 7661: cwnd < 2 * max_packets_out.
    sender = Sender(peers(), size=6000)
    sender.wait()
    for number in range(1, 7):
        sender.ack(number)
    assert sender.info().cwnd == 12


# Algorithms


@both
def test_cubic_is_as_fast_as_reno_where_windows_are_small(peers):
    sender = Sender(peers(), "cubic")
    sender.wait()
    for number in (2, 3, 4):
        sender.ack(0, [(1, number)])
    assert (sender.info().ssthresh, sender.info().cwnd) == (7, 9)
    sender.wait()
    sender.ack(11)
    sender.ack(13)
    assert (sender.info().cwnd, sender.info().state) == (7, OPEN)
    acked, windows = 13, []
    for _ in range(6):
        sender.wait()
        for _ in range(sender.info().cwnd):
            acked += 1
            sender.ack(acked)
        windows.append(sender.info().cwnd)
    assert windows == [8, 9, 10, 10, 10, 10]


@both
def test_bbr_starts_at_twice_and_a_bit_of_what_the_window_amounts_to(peers):
    # bbr_high_gain is 2885/1000 in 256ths, and one per cent is left (bbr_pacing_margin_percent).
    sender = Sender(peers(), "bbr")
    info = sender.info()
    assert info.pacing_rate == pytest.approx(10 * 1000 * 1e6 / info.rtt * 739 / 256 * 0.99, rel=0.02)
    sender.wait()
    for number in range(1, 11):
        sender.ack(number)
    # Every segment delivered opens the window by one, up to what the first estimate allows.
    assert sender.info().cwnd == 18 or sender.info().cwnd == 20


@both
def test_bbr_keeps_the_packets_in_flight_when_it_finds_a_loss(peers):
    sender = Sender(peers(), "bbr")
    sender.wait()
    for number in (2, 3, 4):
        sender.ack(0, [(1, number)])
    info = sender.info()
    # Packet conservation for one round, and no threshold (bbr_set_cwnd_to_recover_or_restore).
    assert (info.state, info.ssthresh, info.lost) == (RECOVERY, INFINITE, 1)
    assert info.cwnd == info.unacked - info.sacked - info.lost + info.retrans
