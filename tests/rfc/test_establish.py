"""The handshake (EST-01 to EST-38)."""

import socket

import pytest

from support.peer import Peer, both

TCP = socket.IPPROTO_TCP
TCP_DEFER_ACCEPT = 9
LINEAR = "net.ipv4.tcp_syn_linear_timeouts"
SYN_RETRIES = "net.ipv4.tcp_syn_retries"
SYNACK_RETRIES = "net.ipv4.tcp_synack_retries"


# Three packets


@both
def test_three_packets_as_the_server(peers):
    peer = peers()
    listener = peer.listen()
    assert [row.state for row in peer.rows()] == ["LISTEN"]
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert peer.state() == "SYN-RECV"
    assert peer.attempt(peer.app.accept, listener) == "EAGAIN"
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"
    assert peer.counter("TcpPassiveOpens") == 1


@both
def test_three_packets_as_the_client(peers):
    peer = peers()
    peer.connect()
    (syn,) = peer.take()
    assert syn == "S 0:0" and syn.segment.ack == 0
    assert peer.state() == "SYN-SENT"
    (ack,) = peer.inject("SA", ack=1, mss=1460)
    assert ack == "A 1:1 ack 1" and ack.options == ""
    assert peer.state() == "ESTAB"
    assert peer.counter("TcpActiveOpens") == 1


@both
def test_an_empty_third_packet_takes_no_number(peers):
    peer = peers()
    fd = peer.connect()
    peer.take()
    assert peer.inject("SA", ack=1, mss=1460) == ["A 1:1 ack 1"]
    peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]


@both
def test_the_clients_first_window_and_options(peers):
    peer = peers()
    peer.connect()
    peer.take()
    (ack,) = peer.inject("SA", ack=1, mss=1460, sack_ok=True, ts=777, wscale=7)
    assert ack.options == "nop,nop,TS" and ack.segment.tsecr == 777
    # 64240 >> 10, and the rest does not count as it has not been rounded yet (tcp_select_window rounds up).
    assert ack.window == 63


@both
def test_without_scaling_in_the_syn_ack_the_window_is_whole(peers):
    peer = peers()
    peer.connect()
    peer.take()
    (ack,) = peer.inject("SA", ack=1, mss=1460)
    assert ack.window == 64240


# Data with the handshake


@both
def test_data_in_a_syn_is_ignored(peers):
    peer = peers()
    listener = peer.listen()
    assert peer.inject("S", mss=1460, data=10) == ["SA 0:0 ack 1"]
    assert peer.inject("A", seq=1, ack=1) == []
    fd = peer.accept(listener)
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]


@both
def test_the_third_packet_may_carry_data(peers):
    peer = peers()
    listener = peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["A 1:1 ack 11"]
    fd = peer.accept(listener)
    assert len(peer.app.recv(fd, 100)) == 10


@both
def test_the_third_packet_may_carry_data_and_the_end(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    answer = peer.inject("FPA", seq=1, ack=1, data=10)
    answer += peer.run(0.06)
    assert answer == ["A 1:1 ack 12"]
    assert peer.state() == "CLOSE-WAIT"


@both
def test_a_fin_completes_the_handshake(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    answer = peer.inject("FA", seq=1, ack=1)
    answer += peer.run(0.06)
    assert answer == ["A 1:1 ack 2"]
    assert peer.state() == "CLOSE-WAIT"


@both
def test_data_completes_the_handshake_when_the_ack_was_lost(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    peer.run(0.01)
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["A 1:1 ack 11"]
    assert peer.state() == "ESTAB"
    assert peer.run(1.3) == []


@both
def test_a_wrong_acknowledgment_leaves_the_half_open_connection(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("A", seq=1, ack=2) == ["R 2:2"]
    assert peer.inject("A", seq=1, ack=0) == ["R 0:0"]
    assert peer.inject("PA", seq=1, ack=500, data=10) == ["R 500:500"]
    assert peer.state() == "SYN-RECV"
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"


@both
def test_the_client_acknowledges_at_once_and_then_sends(peers):
    peer = peers()
    fd = peer.connect()
    peer.take()
    assert peer.inject("SA", ack=1, mss=1460) == ["A 1:1 ack 1"]
    peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]


@both
@pytest.mark.parametrize("option", [(TCP, socket.TCP_QUICKACK, 0), (TCP, TCP_DEFER_ACCEPT, 1)])
def test_the_client_waits_for_data_if_told_so(peers, option):
    peer = peers()
    fd = peer.connect(80, option)
    peer.take()
    assert peer.inject("SA", ack=1, mss=1460) == []
    assert peer.state() == "ESTAB"
    peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]
    assert peer.run(0.3) == ["PA 1:11 ack 1"]


@both
@pytest.mark.parametrize("option", [(TCP, socket.TCP_QUICKACK, 0), (TCP, TCP_DEFER_ACCEPT, 1)])
def test_the_client_does_not_wait_for_ever(peers, option):
    peer = peers()
    peer.connect(80, option)
    peer.take()
    peer.reset_watch()
    assert peer.inject("SA", ack=1, mss=1460) == []
    (ack,) = peer.run(0.5)
    assert ack == "A 1:1 ack 1"
    assert [ack.at] == peer.about(0.2)


# Old and unexpected segments


@both
def test_a_refused_syn_ack_is_reset_and_the_client_goes_on(peers):
    peer = peers()
    peer.connect()
    peer.take()
    assert peer.inject("SA", ack=-9, mss=1460)[:1] == ["R -9:-9"]
    assert peer.state() == "SYN-SENT"
    peer.run(0.02)
    assert peer.inject("SA", ack=1, mss=1460) == ["A 1:1 ack 1"]


@both
def test_an_old_syn_first_then_the_new_one(peers):
    """The old SYN has number 90, the new one 100: the answer to the old one is reset by the client."""
    peer = peers()
    peer.listen()
    old, new = peer.flow, peer.flow.iss + 10
    assert old.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert old.inject("R", seq=1) == []
    assert old.state() == ""
    assert peer.counter("TcpAttemptFails") == 1
    flow = peer.new_flow(old.sport, iss=new % 2**32)
    assert flow.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert flow.inject("A", seq=1, ack=1) == []
    assert flow.state() == "ESTAB"


@both
def test_a_new_syn_in_the_window_resets_a_half_open_connection(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("S", seq=10, mss=1460) == ["RA 0:0 ack 11"]
    assert peer.state() == ""
    assert peer.counter("TcpExtEmbryonicRsts") == 1


@both
@pytest.mark.parametrize("distance", [-10, 1_000_000_000])
def test_a_new_syn_out_of_the_window_is_answered_by_an_ack(peers, distance):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("S", seq=distance, mss=1460) == ["A 1:1 ack 1"]
    assert peer.state() == "SYN-RECV"
    # The rebooted client resets what it does not know.
    assert peer.inject("R", seq=1) == []
    assert peer.state() == ""


@both
def test_the_answer_to_a_new_syn_is_limited(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("S", seq=-10, mss=1460) == ["A 1:1 ack 1"]
    peer.run(0.1)
    assert peer.inject("S", seq=-10, mss=1460) == []
    assert peer.counter("TcpExtTCPACKSkippedSynRecv") == 1


@both
def test_a_repeated_syn_repeats_the_syn_ack_and_restarts_its_timer(peers):
    peer = peers()
    peer.listen()
    (first,) = peer.inject("S", mss=1460)
    peer.reset_watch()
    peer.run(0.5)
    (again,) = peer.inject("S", mss=1460)
    assert again == "SA 0:0 ack 1" and again.segment.seq == first.segment.seq
    later = peer.run(1.3)
    assert later == ["SA 0:0 ack 1"]
    assert [again.at, later[0].at] == peer.about(0.5, 1.5)


@both
def test_a_reset_outside_the_window_leaves_a_half_open_connection(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("R", seq=-5) == []
    assert peer.inject("R", seq=100_000) == []
    assert peer.inject("RA", seq=-5, ack=1) == []
    assert peer.state() == "SYN-RECV"


@both
def test_a_reset_in_the_window_of_a_half_open_connection_is_challenged(peers):
    """RFC 9293 3.10.7.4 lets any RST in the window return to LISTEN; RFC 5961 3.2 is for synchronized states."""
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("R", seq=2) == ["A 1:1 ack 1"]
    assert peer.inject("R", seq=2) == []
    assert peer.state() == "SYN-RECV"
    assert peer.counter("TcpExtTCPChallengeACK") == 1
    assert peer.counter("TcpExtTCPACKSkippedChallenge") == 1
    assert peer.inject("R", seq=1) == []
    assert peer.state() == ""


@both
def test_an_exact_reset_counts_whatever_it_acknowledges(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("RA", seq=1, ack=99) == []
    assert peer.state() == ""


@both
def test_old_timestamps_save_a_half_open_connection_from_a_reset(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460, ts=(100, 0))
    assert peer.inject("R", seq=1, ts=(90, 0)) == []
    assert peer.inject("R", seq=1000, ts=(90, 0)) == []
    assert peer.counter("TcpExtPAWSEstab") == 2
    assert peer.inject("R", seq=1, ts=(110, 77)) == []
    assert peer.counter("TcpExtTSEcrRejected") == 1
    assert peer.state() == "SYN-RECV"


@both
def test_a_half_open_connection_acknowledges_old_timestamps_and_echoes_never_sent(peers):
    peer = peers()
    peer.listen()
    flows = [peer.new_flow(41000 + number) for number in range(3)]
    for flow in flows:
        flow.inject("S", mss=1460, ts=(100, 0))
    assert flows[0].inject("A", seq=1, ts=(90, 0)) == ["A 1:1 ack 1"]
    assert flows[1].inject("A", seq=1, ts=(110, 77)) == ["A 1:1 ack 1"]
    assert flows[2].inject("S", seq=0, ts=(90, 0)) == ["A 1:1 ack 1"]
    assert [flow.state() for flow in flows] == ["SYN-RECV"] * 3


@both
def test_a_half_open_connection_drops_what_has_no_ack(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("F", seq=1) == []
    assert peer.inject("P", seq=1, data=4) == []
    assert peer.inject("PA", seq=-5, data=4) == ["A 1:1 ack 1"]
    assert peer.state() == "SYN-RECV"


@both
def test_data_beyond_a_gap_completes_the_handshake(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("PA", seq=11, data=4) == ["A 1:1 ack 1"]
    assert peer.state() == "ESTAB"


@both
def test_syn_acks_to_a_half_open_connection(peers):
    peer = peers()
    peer.listen()
    flows = [peer.new_flow(41000 + number) for number in range(3)]
    for flow in flows:
        flow.inject("S", mss=1460)
    # It repeats the SYN: before the window, and answered by what is expected.
    assert flows[0].inject("SA", seq=0, ack=1) == ["A 1:1 ack 1"]
    # A SYN in the window, from a third party as it seems.
    assert flows[1].inject("SA", seq=1, ack=1) == ["R 1:1"]
    # Its data makes it a good third packet, and then its SYN is challenged: nothing of it is taken.
    assert flows[2].inject("SPA", seq=0, ack=1, data=5) == ["A 1:1 ack 1"]
    assert [flow.state() for flow in flows] == ["SYN-RECV", "", "SYN-RECV"]
    assert peer.counter("TcpExtTCPSYNChallenge") == 1
    assert peer.counter("TcpInErrs") == 0


@both
def test_a_fin_in_the_repeated_syn_is_ignored(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    assert peer.inject("SF", seq=0) == ["SA 0:0 ack 1"]
    # Answers to repeated SYNs are limited too.
    assert peer.inject("S", seq=0, data=10) == []
    peer.run(0.55)
    assert peer.inject("S", seq=0, data=10) == ["SA 0:0 ack 1"]


@both
def test_a_syn_on_a_connection_is_challenged_at_most_each_half_second(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    assert peer.inject("S", seq=123_456_789, mss=1460) == ["A 1:1 ack 1"]
    peer.run(0.1)
    assert peer.inject("S", seq=5, mss=1460) == []
    peer.run(0.6)
    assert peer.inject("S", seq=0, mss=1460) == ["A 1:1 ack 1"]
    assert peer.state() == "ESTAB"
    assert peer.inject("R", seq=1) == []
    assert peer.error(fd) == "ECONNRESET"


@both
def test_a_syn_ack_on_a_connection_is_challenged(peers):
    peer = peers()
    peer.connect()
    peer.take()
    peer.inject("SA", ack=1, mss=1460)
    # The server did not see the third packet and repeats its SYN-ACK.
    assert peer.inject("SA", ack=1, mss=1460) == ["A 1:1 ack 1"]


@both
@pytest.mark.parametrize("given", [{"flags": "A", "ack": 1}, {"flags": "A", "ack": 9}, {"flags": "FA", "ack": 1}])
def test_a_client_waiting_for_the_syn_ack_gets_something_else(peers, given):
    peer = peers()
    peer.connect()
    peer.take()
    flags = given["flags"]
    answer = peer.inject(flags, seq=5, ack=given["ack"])
    assert answer == ([] if given["ack"] == 1 else [f"R {given['ack']}:{given['ack']}"])
    assert peer.state() == "SYN-SENT"


@both
@pytest.mark.parametrize(("flags", "ack", "error"), [("RA", 1, "ECONNREFUSED"), ("RA", 2, ""), ("R", 0, "")])
def test_which_resets_refuse_a_connection(peers, flags, ack, error):
    peer = peers()
    fd = peer.connect()
    peer.take()
    assert peer.inject(flags, seq=0, ack=ack)[1:] == []
    assert peer.error(fd) == error


# Timers


def connecting(peer: Peer, *options: tuple[int, int, int]) -> tuple[list[float], float]:
    """When SYNs leave, and when connect() fails."""
    fd = peer.connect(80, *options)
    peer.reset_watch()
    first = peer.take()
    assert peer.wait_for(lambda: peer.state() != "SYN-SENT", 1000)
    end = peer.now
    sent = first + peer.take()
    assert set(sent) == {"S 0:0"}
    assert len({seen.segment.seq for seen in sent}) == 1
    stamps = [seen.segment.tsval for seen in sent]
    assert len(set(stamps)) == len(stamps)
    assert peer.error(fd) == "ETIMEDOUT"
    return [max(seen.at, 0.0) for seen in sent], end


@pytest.mark.parametrize(
    ("retries", "linear", "times", "end"),
    [
        (6, 0, (0, 1, 3, 7, 15, 31, 63), 127),
        (5, 0, (0, 1, 3, 7, 15, 31), 63),
        (3, 0, (0, 1, 3, 7), 15),
        (2, 0, (0, 1, 3), 7),
        (6, 4, (0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67), 131),
        (5, 4, (0, 1, 2, 3, 4, 5, 7, 11, 19, 35), 67),
        (4, 4, (0, 1, 2, 3, 4, 5, 7, 11, 19), 35),
        (3, 4, (0, 1, 2, 3, 4, 5, 7, 11), 19),
        (2, 4, (0, 1, 2, 3, 4, 5), 7),
        (1, 4, (0, 1, 2), 3),
    ],
)
def test_how_long_connect_tries(retries, linear, times, end):
    peer = Peer.sim({SYN_RETRIES: retries, LINEAR: linear})
    sent, ended = connecting(peer)
    assert sent == pytest.approx(times, abs=0.02)
    assert ended == pytest.approx(end, abs=0.02)


def test_defaults():
    peer = Peer.sim()
    assert peer.sysctl(SYN_RETRIES) == "6" and peer.sysctl(LINEAR) == "4" and peer.sysctl(SYNACK_RETRIES) == "5"


@both
def test_one_retry_with_linear_timeouts(peers):
    peer = peers({SYN_RETRIES: 1})
    sent, ended = connecting(peer)
    assert sent == peer.about(0, 1, 2)
    assert [ended] == peer.about(3)


@both
def test_syn_count_of_a_socket(peers):
    peer = peers({LINEAR: 0})
    sent, ended = connecting(peer, (TCP, socket.TCP_SYNCNT, 1))
    assert sent == peer.about(0, 1)
    assert [ended] == peer.about(3)


@both
def test_a_user_timeout_ends_connecting(peers):
    peer = peers({LINEAR: 0})
    sent, ended = connecting(peer, (TCP, socket.TCP_USER_TIMEOUT, 1500))
    assert sent == peer.about(0, 1)
    assert [ended] == peer.about(1.5)


def half_open(peer: Peer, most: float) -> tuple[list[float], float]:
    """When SYN-ACKs leave for a SYN whose sender is gone, and when the entry goes."""
    peer.listen()
    peer.reset_watch()
    first = peer.inject("S", mss=1460)
    assert peer.wait_for(lambda: peer.state() == "", most)
    end = peer.now
    sent = first + peer.take()
    assert set(sent) == {"SA 0:0 ack 1"}
    return [seen.at for seen in sent], end


@pytest.mark.parametrize(
    ("retries", "times", "end"),
    [(5, (0, 1, 3, 7, 15, 31), 63), (2, (0, 1, 3), 7), (1, (0, 1), 3)],
)
def test_how_long_a_server_repeats_its_syn_ack(retries, times, end):
    peer = Peer.sim({SYNACK_RETRIES: retries})
    sent, ended = half_open(peer, 70)
    assert sent == pytest.approx(times, abs=0.02)
    assert ended == pytest.approx(end, abs=0.02)


@both
def test_a_half_open_connection_ends_in_silence_and_the_client_learns_it_later(peers):
    peer = peers({SYNACK_RETRIES: 1})
    sent, ended = half_open(peer, 5)
    assert sent == peer.about(0, 1)
    assert [ended] == peer.about(3)
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["R 1:1"]


@both
def test_each_side_repeats_its_own(peers):
    """All SYN-ACKs are lost: the client's second SYN is answered, and restarts the server's timer."""
    peer = peers({SYNACK_RETRIES: 2})
    peer.listen()
    peer.reset_watch()
    sent = peer.inject("S", mss=1460)
    sent += peer.run(0.5)
    sent += peer.inject("S", mss=1460)
    sent += peer.run(3.4)
    assert set(sent) == {"SA 0:0 ack 1"}
    assert [seen.at for seen in sent] == peer.about(0, 0.5, 1.5, 3.5)


@both
def test_only_the_first_third_packet_is_lost(peers):
    peer = peers()
    peer.listen()
    peer.inject("S", mss=1460)
    peer.reset_watch()
    (again,) = peer.run(1.2)
    assert again == "SA 0:0 ack 1" and [again.at] == peer.about(1)
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"


@both
def test_deferred_accept_waits_for_data(peers):
    peer = peers()
    listener = peer.listen(80, 5, (TCP, TCP_DEFER_ACCEPT, 5))
    peer.inject("S", mss=1460)
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "SYN-RECV"
    assert peer.attempt(peer.app.accept, listener) == "EAGAIN"
    assert peer.counter("TcpExtTCPDeferAcceptDrop") == 1
    # The SYN-ACK has been acknowledged, so that it is not repeated.
    assert peer.run(1.3) == []
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["A 1:1 ack 11"]
    assert peer.state() == "ESTAB"
    assert peer.accept(listener) > 0


@both
def test_deferred_accept_gives_in_after_its_time(peers):
    peer = peers()
    peer.listen(80, 5, (TCP, TCP_DEFER_ACCEPT, 1))
    peer.inject("S", mss=1460)
    peer.reset_watch()
    assert peer.inject("A", seq=1, ack=1) == []
    (again,) = peer.run(1.2)
    assert again == "SA 0:0 ack 1" and [again.at] == peer.about(1)
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"


@both
def test_isns_differ(peers):
    peer = peers()
    seen = set()
    for port in range(40000, 40005):
        peer.connect(80, local=port)
        (syn,) = peer.take()
        seen.add(syn.segment.seq)
    assert len(seen) == 5


@both
def test_the_rtt_of_the_handshake_sets_the_timeout(peers):
    peer = peers()
    fd = peer.connect()
    peer.take()
    peer.run(0.1)
    peer.inject("SA", ack=1, mss=1460)
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    (again,) = peer.run(0.45)[1:]
    # SRTT 100 ms, and a variance of at least the 200 ms of tcp_rto_min.
    assert [again.at] == peer.about(0.3)
