"""The header's fields, and what a stream promises (HDR-01 to HDR-21)."""

import socket

import pytest

from support.peer import ISS, Peer, both
from timewait.wire.address import pack
from timewait.wire.serialize import serialize

IPPROTO_TCP = socket.IPPROTO_TCP


@both
def test_sequence_numbers_count_octets_and_syn_and_fin(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]
    assert peer.inject("A", seq=1, ack=11) == []
    peer.app.send(fd, bytes(20))
    assert peer.take() == ["PA 11:31 ack 1"]
    assert peer.inject("A", seq=1, ack=31) == []
    peer.app.shutdown(fd, socket.SHUT_WR)
    assert peer.take() == ["FA 31:31 ack 1"]
    assert peer.inject("A", seq=1, ack=32) == []
    assert peer.state() == "FIN-WAIT-2"


@both
def test_the_acknowledgment_is_the_next_octet_expected(peers):
    peer = peers()
    peer.listen()
    peer.handshake(sack_ok=True)
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    assert peer.inject("PA", seq=21, data=10) == ["A 1:1 ack 11 sack 21-31"]
    assert peer.inject("PA", seq=11, data=10) == ["A 1:1 ack 31"]


@both
def test_resets_to_a_closed_port_carry_no_ack_if_the_cause_did(peers):
    peer = peers()
    flow = peer.flow
    flow.irs = 1000
    for flags, data in (("PA", 5), ("A", 0), ("SA", 0), ("FA", 0)):
        (reset,) = peer.inject(flags, seq=1, ack=501, data=data)
        assert reset == "R 501:501", flags
    flow.irs = None
    assert peer.inject("S", mss=1460) == ["RA 0:0 ack 1"]
    assert peer.inject("S", data=10) == ["RA 0:0 ack 11"]
    assert peer.inject("F", seq=7) == ["RA 0:0 ack 8"]
    assert peer.inject("P", seq=7, data=3) == ["RA 0:0 ack 10"]
    assert peer.inject("R", seq=7) == []
    assert peer.inject("RA", seq=7) == []
    assert peer.counter("TcpOutRsts") == 8


@both
def test_a_listener_ignores_what_has_neither_syn_nor_ack(peers):
    peer = peers()
    peer.listen()
    assert peer.inject("F") == []
    assert peer.inject("P", data=10) == []
    assert peer.inject("R") == []
    assert peer.inject("RA", ack=5) == []
    # SYN and FIN together are dropped: tcp_conn_request() is for a SYN alone.
    assert peer.inject("SF", mss=1460) == []
    assert peer.states() == []


@both
def test_a_listener_resets_what_acknowledges_nothing(peers):
    peer = peers()
    peer.listen()
    peer.flow.irs = 1000
    assert peer.inject("A", seq=1, ack=77) == ["R 77:77"]
    assert peer.inject("SA", seq=1, ack=77) == ["R 77:77"]
    assert peer.inject("PA", seq=1, ack=77, data=10) == ["R 77:77"]


@both
@pytest.mark.parametrize("distance", [1, 1000, 60000])
def test_a_reset_in_the_window_but_not_exact_is_challenged(peers, distance):
    peer = peers()
    peer.listen()
    peer.handshake()
    assert peer.inject("R", seq=1 + distance) == ["A 1:1 ack 1"]
    assert peer.state() == "ESTAB"
    assert peer.counter("TcpExtTCPChallengeACK") == 1


@both
@pytest.mark.parametrize("distance", [100000, -1])
def test_a_reset_out_of_the_window_is_ignored(peers, distance):
    peer = peers()
    peer.listen()
    peer.handshake()
    assert peer.inject("R", seq=1 + distance) == []
    assert peer.state() == "ESTAB"


@both
@pytest.mark.parametrize("flags", ["R", "RA"])
def test_an_exact_reset_ends_the_connection(peers, flags):
    peer = peers()
    fd = peer.listen()
    peer.handshake()
    fd = peer.accept(fd)
    assert peer.inject(flags, seq=1) == []
    assert peer.state() == ""
    assert peer.attempt(peer.app.recv, fd, 10) == "ECONNRESET"
    assert peer.attempt(peer.app.recv, fd, 10) == b""
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"
    assert peer.counter("TcpEstabResets") == 1


@both
def test_a_reset_at_the_right_edge_of_the_last_sack_block_is_exact(peers):
    """RFC 5961 section 3.2 knows RCV.NXT only; a sender that lost a segment resets with its own SND.NXT."""
    peer = peers()
    fd = peer.listen()
    peer.handshake(sack_ok=True)
    fd = peer.accept(fd)
    assert peer.inject("PA", seq=21, data=10) == ["A 1:1 ack 1 sack 21-31"]
    assert peer.inject("R", seq=31) == []
    assert peer.state() == ""
    assert peer.error(fd) == "ECONNRESET"


@both
def test_fin_ends_one_direction_only(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake()
    fd = peer.accept(fd)
    peer.app.shutdown(fd, socket.SHUT_WR)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"
    assert peer.inject("PA", seq=1, ack=2, data=10) == ["A 2:2 ack 11"]
    assert len(peer.app.recv(fd, 100)) == 10


@both
def test_a_syn_has_four_options_in_a_header_of_40_octets(peers):
    peer = peers()
    peer.connect()
    (syn,) = peer.take()
    assert syn == "S 0:0"
    assert syn.options == "mss 1460,sackOK,TS,nop,wscale 10"
    assert syn.window == 64240
    assert syn.segment.tsecr == 0
    assert syn.segment.ttl == 64 and syn.segment.dont_fragment


@both
def test_a_syn_ack_offers_what_the_syn_offered(peers):
    offers = {
        "mss 1460": {},
        "mss 1460,nop,wscale 10": {"wscale": 7},
        "mss 1460,nop,nop,sackOK": {"sack_ok": True},
        "mss 1460,nop,nop,TS": {"ts": (100, 0)},
        "mss 1460,sackOK,TS": {"ts": (100, 0), "sack_ok": True},
        "mss 1460,nop,nop,sackOK,nop,wscale 10": {"wscale": 7, "sack_ok": True},
        "mss 1460,sackOK,TS,nop,wscale 10": {"wscale": 7, "sack_ok": True, "ts": (100, 0)},
    }
    peer = peers()
    peer.listen()
    for number, (expected, offer) in enumerate(offers.items()):
        (syn_ack,) = peer.new_flow(41000 + number).inject("S", mss=1460, **offer)
        assert syn_ack.options == expected
        # Half of the buffer in whole segments: of 1448 octets with timestamps, of 1460 without.
        assert syn_ack.window == (65160 if "ts" in offer else 64240)
        if "ts" in offer:
            assert syn_ack.segment.tsecr == 100


@both
def test_octets_behind_the_ip_total_length_are_not_payload(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake()
    fd = peer.accept(fd)
    padded = serialize(peer.flow.segment("PA", seq=1, data=b"0123456789")) + b"padding"
    assert peer.put(padded) == ["A 1:1 ack 11"]
    assert peer.app.recv(fd, 100) == b"0123456789"


@both
def test_a_data_offset_below_five_words_is_no_segment(peers):
    peer = peers()
    peer.listen()
    data = bytearray(serialize(peer.flow.segment("S", mss=1460)))
    data[32] = 0x40
    assert peer.put(bytes(data)) == []
    assert peer.counter("TcpInErrs") == 1
    assert peer.states() == []


@both
def test_a_wrong_checksum_is_counted_and_dropped(peers):
    peer = peers()
    peer.listen()
    data = bytearray(serialize(peer.flow.segment("S", mss=1460)))
    data[36] ^= 1
    assert peer.put(bytes(data)) == []
    assert peer.counter("TcpInErrs") == 1 and peer.counter("TcpInCsumErrors") == 1


@both
def test_forty_octets_of_options_are_read(peers):
    peer = peers()
    peer.listen()
    options = b"\x01" * 36 + b"\x02\x04\x02\x00"
    (syn_ack,) = peer.inject("S", options=options)
    assert syn_ack == "SA 0:0 ack 1"


@both
def test_the_stream_crosses_the_wrap_of_sequence_numbers(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake()
    fd = peer.accept(fd)
    assert ISS == 0xFFFFFFF8
    (ack,) = peer.inject("PA", seq=1, data=16)
    assert ack == "A 1:1 ack 17" and ack.segment.ack == 9
    assert len(peer.app.recv(fd, 100)) == 16


@both
def test_the_hosts_own_numbers_cross_the_wrap(peers):
    peer = peers()
    fd = peer.listen()
    # Initial numbers are not ours to choose, so many octets are: here only that octets of a second flight count on.
    peer.handshake()
    fd = peer.accept(fd)
    peer.app.send(fd, bytes(2920))
    assert peer.take() == ["A 1:1461 ack 1", "PA 1461:2921 ack 1"]


@both
def test_timestamps_on_every_segment_once_both_syns_had_them(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake(ts=500)
    fd = peer.accept(fd)
    (ack,) = peer.inject("PA", seq=1, data=10, ts=600)
    assert ack.options == "nop,nop,TS" and ack.segment.tsecr == 600
    peer.app.send(fd, bytes(10))
    (data,) = peer.take()
    assert data.options == "nop,nop,TS" and data.segment.tsecr == 600
    peer.app.shutdown(fd, socket.SHUT_WR)
    (fin,) = peer.take()
    assert fin.options == "nop,nop,TS"


@both
def test_old_timestamps_are_refused_with_a_duplicate_ack(peers):
    peer = peers()
    peer.listen()
    peer.handshake(ts=500)
    assert peer.inject("PA", seq=1, data=10, ts=600) == ["A 1:1 ack 11"]
    # One tick less is still taken (TCP_PAWS_WINDOW).
    (ack,) = peer.inject("PA", seq=11, data=10, ts=598)
    assert ack == "A 1:1 ack 11" and ack.segment.tsecr == 600
    assert peer.counter("TcpExtPAWSEstab") == 1


@both
def test_a_segment_without_the_agreed_timestamp_is_taken(peers):
    """RFC 7323 section 3.2 says it should be dropped; Linux processes it."""
    peer = peers()
    peer.listen()
    peer.handshake(ts=500)
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]


@both
def test_no_timestamps_by_sysctl(peers):
    peer = peers({"net.ipv4.tcp_timestamps": 0})
    peer.connect()
    (syn,) = peer.take()
    assert syn.options == "mss 1460,nop,nop,sackOK,nop,wscale 10"
    peer.listen(81)
    (syn_ack,) = peer.new_flow(41000, 81).inject("S", mss=1460, ts=(1, 0), sack_ok=True, wscale=7)
    assert syn_ack.options == "mss 1460,nop,nop,sackOK,nop,wscale 10"


@both
def test_sysctls_take_sack_and_window_scaling_out_of_the_syn(peers):
    peer = peers({"net.ipv4.tcp_sack": 0, "net.ipv4.tcp_window_scaling": 0})
    peer.connect()
    (syn,) = peer.take()
    assert syn.options == "mss 1460,nop,nop,TS"


@both
@pytest.mark.parametrize("target", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_no_connection_to_many(peers, target):
    peer = peers()
    peer.listen()
    flow = peer.flow
    flow.dst = pack(target)
    assert flow.inject("S", mss=1460) == []
    assert peer.states() == []
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert peer.attempt(peer.app.connect, fd, (target, 80)) == "ENETUNREACH"


def give_up(peer: Peer, *options: tuple[int, int, int]) -> tuple[list[float], float]:
    """When data that nobody acknowledges is sent, and when the connection ends."""
    fd = peer.listen()
    peer.handshake()
    fd = peer.accept(fd)
    for option in options:
        peer.app.setsockopt(fd, *option)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    assert peer.wait_for(lambda: peer.state() != "ESTAB", 1200)
    end = peer.now
    sent = peer.take()
    assert set(sent) == {"PA 1:11 ack 1"}
    assert peer.error(fd) == "ETIMEDOUT"
    return [seen.at for seen in sent], end


@both
def test_data_is_given_up_by_time(peers):
    peer = peers({"net.ipv4.tcp_retries2": 2})
    times, end = give_up(peer)
    assert times == peer.about(0, 0.2, 0.6, 1.4)
    assert [end] == peer.about(3.0)


def test_data_is_given_up_after_three_retries(peers):
    peer = peers({"net.ipv4.tcp_retries2": 3})
    times, end = give_up(peer)
    assert times == peer.about(0, 0.2, 0.6, 1.4, 3.0)
    assert [end] == peer.about(6.2)


def test_data_is_given_up_after_fifteen_minutes_by_default(peers):
    peer = peers()
    times, end = give_up(peer)
    doubled = [0.2 * (2**n - 1) for n in range(11)]
    assert times == peer.about(*doubled, *[doubled[10] + 120 * n for n in range(1, 6)])
    # The first timeout with 924.6 s behind the first retransmission.
    assert [end] == peer.about(doubled[10] + 120 * 6)


@both
def test_a_user_timeout_ends_it_sooner(peers):
    peer = peers()
    times, end = give_up(peer, (IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000))
    assert times == peer.about(0, 0.2, 0.6)
    # The last wait is cut to end when the user's timeout has passed since the first retransmission.
    assert [end] == peer.about(1.2)


@both
def test_writes_and_reads_do_not_correspond(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake(mss=1000)
    fd = peer.accept(fd)
    for at in (1, 101, 201):
        peer.inject("PA", seq=at, data=100)
    assert len(peer.app.recv(fd, 1000)) == 300
    peer.app.send(fd, bytes(3000))
    assert [str(each) for each in peer.take()] == ["A 1:1001 ack 301", "A 1001:2001 ack 301", "PA 2001:3001 ack 301"]


@both
def test_data_out_of_order_waits_and_duplicates_go(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake(sack_ok=True)
    fd = peer.accept(fd)
    assert peer.inject("PA", seq=11, data=10) == ["A 1:1 ack 1 sack 11-21"]
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 21"]
    assert len(peer.app.recv(fd, 100)) == 20
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 21 sack 1-11"]
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    assert peer.counter("TcpExtTCPDSACKOldSent") == 1


@both
def test_without_sack_a_duplicate_is_answered_by_a_plain_ack(peers):
    peer = peers()
    peer.listen()
    peer.handshake()
    assert peer.inject("PA", seq=11, data=10) == ["A 1:1 ack 1"]
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 21"]
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 21"]


@both
def test_octets_partly_received_already_are_trimmed(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake(sack_ok=True)
    fd = peer.accept(fd)
    assert peer.inject("PA", seq=1, data=b"0123456789") == ["A 1:1 ack 11"]
    assert peer.inject("PA", seq=6, data=b"56789abcde") == ["A 1:1 ack 16 sack 6-11"]
    assert peer.app.recv(fd, 100) == b"0123456789abcde"


@both
def test_data_beyond_the_window_is_refused_with_an_ack(peers):
    peer = peers()
    peer.listen()
    syn_ack = peer.handshake(sack_ok=True)
    window = syn_ack.window
    assert peer.inject("PA", seq=1 + window, data=10) == ["A 1:1 ack 1"]
    assert peer.counter("TcpExtTCPOFOQueue") == 0
    # The last octet of the window still belongs to it: what begins inside is taken.
    assert peer.inject("PA", seq=1 + window - 10, data=10) == [f"A 1:1 ack 1 sack {window - 9}-{window + 1}"]


@both
def test_a_zero_window_is_probed_as_long_as_the_peer_answers(peers):
    peer = peers()
    fd = peer.listen()
    peer.handshake()
    fd = peer.accept(fd)
    peer.inject("A", seq=1, ack=1, window=0)
    peer.reset_watch()
    peer.app.send(fd, bytes(100))
    assert peer.take() == []
    probes = []
    while len(probes) < 4:
        assert peer.wait_for(lambda: peer.fresh, 5)
        seen = peer.take()
        assert seen == ["A 0:0 ack 1"]
        probes += seen
        assert peer.inject("A", seq=1, ack=1, window=0) == []
    assert [seen.at for seen in probes] == peer.about(0.2, 0.6, 1.4, 3.0)
    assert peer.inject("A", seq=1, ack=1, window=65535) == ["PA 1:101 ack 1"]


@both
def test_the_window_of_a_syn_is_not_scaled(peers):
    peer = peers()
    fd = peer.listen()
    assert peer.inject("S", mss=1460, wscale=2, window=1000) == ["SA 0:0 ack 1"]
    assert peer.inject("A", seq=1, ack=1, window=1000) == []
    fd = peer.accept(fd)
    peer.app.send(fd, bytes(5000))
    # 1000 << 2 octets may be in flight: two whole segments, and no part of one (RFC 9293 section 3.8.6.2.1).
    assert peer.take() == ["A 1:1461 ack 1", "PA 1461:2921 ack 1"]


@both
def test_the_window_after_the_handshake_is_scaled(peers):
    peer = peers()
    peer.listen()
    syn_ack = peer.handshake(wscale=7)
    assert syn_ack.window == 64240
    (ack,) = peer.inject("PA", seq=1, data=10)
    # 64240 >> 10 is 62.7; Linux rounds the free space up to what the scale can say.
    assert ack.window == 63


@both
def test_without_scaling_the_window_is_told_in_octets(peers):
    peer = peers()
    peer.listen()
    peer.handshake()
    (ack,) = peer.inject("PA", seq=1, data=10)
    assert ack.window == 64230


@both
@pytest.mark.parametrize(
    ("held", "filled", "reported"),
    [
        ([(201, 301)], 201, ""),
        ([(201, 301)], 251, " sack 201-251"),
        ([(201, 301)], 301, " sack 201-301"),
        ([(201, 301)], 401, " sack 201-301"),
        ([(201, 301), (301, 401)], 501, " sack 201-401"),
        ([(201, 301), (251, 401)], 501, " sack 201-401"),
        ([(201, 301), (401, 501)], 451, " sack 201-301"),
        ([(401, 501), (201, 301)], 601, " sack 201-301"),
    ],
)
def test_data_that_fills_a_gap_and_brings_held_octets_again_is_reported(peers, held, filled, reported):
    """RFC 2883 4.1.1: once, and of two islands the first."""
    peer = peers()
    peer.listen()
    peer.handshake(sack_ok=True)
    for left, right in held:
        peer.inject("A", seq=left, data=right - left)
    (answer,) = peer.inject("A", seq=1, data=filled - 1)
    most = max([filled, *(right for left, right in sorted(held) if left <= filled)])
    assert answer == f"A 1:1 ack {most}{reported}"
    assert peer.counter("TcpExtTCPDSACKOldSent") == (1 if reported else 0)
