"""Path MTU discovery with probes (RFC 4821, tcp_mtu_probing)."""

import socket
import struct

import pytest

from support.peer import both
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_ICMP, IcmpMessage
from timewait.wire.serialize import serialize

V4 = "net.ipv4."
TCP = socket.IPPROTO_TCP
IP_MTU_DISCOVER = 10
DONT, WANT, DO, PROBE, INTERFACE, OMIT = range(6)
RENO = {V4 + "tcp_congestion_control": "reno"}


def sizes(seen):
    return [each.segment.length for each in seen]


def starts(seen):
    return [(int(each.split()[1].split(":")[0]), each.segment.length) for each in seen]


def flight(peer, octets, seen=()):
    """What the host sends, once it is so many octets."""
    seen = [*seen, *peer.take()]
    peer.wait_for(lambda: sum(sizes(seen)) + sum(sizes(peer.fresh)) >= octets, 5)
    return [*seen, *peer.take()]


def mss(peer, fd):
    return peer.app.getsockopt(fd, TCP, socket.TCP_MAXSEG)


def windows(peer, fd):
    """Congestion window and slow start threshold from TCP_INFO."""
    extra = () if peer.kind == "sim" else (232,)
    told = struct.unpack_from("<24I", peer.app.getsockopt(fd, TCP, socket.TCP_INFO, *extra), 8)
    return told[18], told[17]


def probes(peer):
    return peer.counter("TcpExtTCPMTUPSuccess"), peer.counter("TcpExtTCPMTUPFail")


def accepted(peers, *, value=2, options=(), handshake=None, mtu=1500, **sysctl):
    peer = peers({**RENO, V4 + "tcp_mtu_probing": value, **{V4 + name: it for name, it in sysctl.items()}}, mtu=mtu)
    listener = peer.listen(80, 5, *options)
    peer.handshake(**{"wscale": 7, "window": 500, "sack_ok": True, **(handshake or {})})
    return peer, peer.accept(listener)


def searching(peers, **options):
    """A connection with a congestion window of more than ten segments, everything acknowledged; (peer, fd, next)."""
    peer, fd = accepted(peers, **options)
    # The window has to change for the MSS to be worked out again: 1024 from here on.
    peer.app.send(fd, bytes(1000))
    flight(peer, 1000)
    peer.inject("A", seq=1, ack=1001, window=600)
    assert mss(peer, fd) == 1024
    peer.app.send(fd, bytes(12000))
    assert sizes(flight(peer, 10240)) == [1024] * 10
    flight(peer, 1760, peer.inject("A", seq=1, ack=1001 + 4096, window=600))
    peer.inject("A", seq=1, ack=13001, window=600)
    peer.app.send(fd, bytes(1))
    flight(peer, 1)
    peer.inject("A", seq=1, ack=13002, window=600)
    return peer, fd, 13002


@both
def test_off_by_default(peers):
    peer = peers(RENO)
    assert peer.sysctl(V4 + "tcp_mtu_probing").strip() == "0"
    listener = peer.listen()
    peer.handshake(wscale=7, window=500)
    fd = peer.accept(listener)
    assert mss(peer, fd) == 1460


@both
@pytest.mark.parametrize("ts", [False, True])
def test_who_connects_begins_with_the_base(peers, ts):
    peer = peers({**RENO, V4 + "tcp_mtu_probing": 2})
    fd = peer.connect()
    peer.take()
    peer.inject("SA", seq=0, ack=1, mss=1460, wscale=7, sack_ok=True, **({"ts": 100} if ts else {}))
    # The search began while the SYN had timestamps: without them segments are longer by these at first.
    assert mss(peer, fd) == (1024 if ts else 1036)
    peer.app.send(fd, bytes(1000))
    peer.inject("A", seq=1, ack=1001, window=600, **({"ts": 101} if ts else {}))
    assert mss(peer, fd) == 1024


@both
def test_who_accepts_begins_with_the_base_once_the_window_opens(peers):
    peer, fd = accepted(peers)
    assert mss(peer, fd) == 1460
    peer.app.send(fd, bytes(2000))
    assert sizes(flight(peer, 2000)) == [1460, 540]
    peer.inject("A", seq=1, ack=2001, window=500)
    assert mss(peer, fd) == 1460
    peer.inject("A", seq=1, ack=2001, window=501)
    assert mss(peer, fd) == 1024


@both
def test_binary_search(peers):
    peer, fd, at = searching(peers)
    found = []
    for _ in range(6):
        peer.app.send(fd, bytes(8000))
        sent = flight(peer, 8000)
        assert set(sizes(sent[1:-1])) == {mss(peer, fd)}
        found.append(sent[0].segment.length)
        at += 8000
        assert peer.inject("A", seq=1, ack=at, window=600) == []
    assert found == [1242, 1351, 1405, 1432, 1446, 1453]
    # The range is now narrower than tcp_probe_threshold.
    assert mss(peer, fd) == 1453
    assert probes(peer) == (6, 0)
    peer.app.send(fd, bytes(8000))
    assert set(sizes(flight(peer, 8000))[:-1]) == {1453}


@both
def test_a_probe_needs_enough_behind_it(peers):
    """Size of the probe and as many segments as show its loss: 1242 + 4 * 1024."""
    peer, fd, at = searching(peers)
    peer.app.send(fd, bytes(5337))
    assert sizes(flight(peer, 5337))[0] == 1024
    peer.inject("A", seq=1, ack=at + 5337, window=600)
    peer.app.send(fd, bytes(5338))
    assert sizes(flight(peer, 5338)) == [1242, 1024, 1024, 1024, 1024]


@both
def test_a_probe_needs_the_peers_window(peers):
    peer, fd, at = searching(peers)
    peer.app.send(fd, bytes(1))
    flight(peer, 1)
    peer.inject("A", seq=1, ack=at + 1, window=41)
    # 41 * 128 octets are less than the probe and what has to follow.
    peer.app.send(fd, bytes(6000))
    assert sizes(flight(peer, 6000))[0] == 1024


@both
def test_a_probe_needs_a_congestion_window_of_eleven(peers):
    peer, fd = accepted(peers)
    peer.app.send(fd, bytes(1000))
    flight(peer, 1000)
    peer.inject("A", seq=1, ack=1001, window=600)
    assert windows(peer, fd)[0] == 10
    peer.app.send(fd, bytes(9000))
    assert sizes(flight(peer, 9000))[0] == 1024


@both
def test_a_probe_waits_for_the_window_to_drain(peers):
    """Where the congestion window is full but the probe would be due, nothing is sent at all."""
    peer, fd, _ = searching(peers)
    cwnd = windows(peer, fd)[0]
    peer.app.send(fd, bytes(30_000))
    first = flight(peer, 1242 + 1024 * (cwnd - 2))
    assert first[0].segment.length == 1242
    assert len(first) == cwnd - 1
    # Half a window is acknowledged, the probe with it: two more fit, then the next probe is due.
    peer.inject("A", seq=1, ack=sum(starts(first)[0]), window=600)
    assert probes(peer) == (1, 0)


@both
def test_not_while_blocks_are_reported(peers):
    peer, fd, at = searching(peers)
    peer.inject("A", seq=11, ack=at, data=10, window=600)
    peer.take()
    peer.app.send(fd, bytes(10_000))
    assert set(sizes(flight(peer, 10000))[:-1]) == {1012}


@both
@pytest.mark.parametrize("sack", [True, False])
def test_a_lost_probe_is_no_congestion(peers, sack):
    peer, fd, at = searching(peers, handshake={"sack_ok": sack})
    cwnd, ssthresh = windows(peer, fd)
    peer.app.send(fd, bytes(8000))
    sent = starts(flight(peer, 8000))
    assert sent[0] == (at, 1242)
    assert windows(peer, fd)[0] == cwnd - 1
    if sack:
        again = peer.inject("A", seq=1, ack=at, window=600, sack=[(sent[1][0], sum(sent[3]))])
    else:
        again = [seen for _ in range(3) for seen in peer.inject("A", seq=1, ack=at, window=600)]
    again = flight(peer, 1242, again)
    assert starts(again)[:2] == [(at, 1024), (at + 1024, 218)]
    assert probes(peer) == (0, 1)
    assert windows(peer, fd) == (cwnd, ssthresh)
    peer.inject("A", seq=1, ack=at + 8000, window=600)
    if sack:
        # The next one is halfway to what failed.
        peer.app.send(fd, bytes(8000))
        assert sizes(flight(peer, 8000))[0] == 1132


@both
def test_a_probe_sent_again_proves_nothing(peers):
    """Its segments were sent again by a timer: whether the first arrived is not known."""
    peer, fd, at = searching(peers)
    peer.app.send(fd, bytes(5338))
    assert sizes(flight(peer, 5338))[0] == 1242
    seen = peer.run(3)
    assert seen
    peer.inject("A", seq=1, ack=at + 5338, window=600)
    assert probes(peer) == (0, 0)
    assert mss(peer, fd) == 1024


@both
def test_base_and_threshold(peers):
    peer, fd = accepted(peers, tcp_base_mss=1400, tcp_probe_threshold=61)
    peer.app.send(fd, bytes(1000))
    flight(peer, 1000)
    peer.inject("A", seq=1, ack=1001, window=600)
    assert mss(peer, fd) == 1400
    peer.app.send(fd, bytes(14000))
    flight(peer, 14000)
    peer.inject("A", seq=1, ack=1001 + 14000, window=600)
    peer.take()
    peer.inject("A", seq=1, ack=15001, window=600)
    peer.app.send(fd, bytes(14000))
    # 1400 to 1460 is narrower than 61.
    assert sizes(flight(peer, 14000))[0] == 1400


@both
def test_the_search_begins_again_after_the_interval(peers):
    peer, fd = accepted(peers, tcp_base_mss=1400, tcp_probe_threshold=61, tcp_probe_interval=1)
    peer.app.send(fd, bytes(1000))
    flight(peer, 1000)
    peer.inject("A", seq=1, ack=1001, window=600)
    peer.app.send(fd, bytes(14000))
    flight(peer, 14000)
    peer.inject("A", seq=1, ack=15001, window=600)
    peer.take()
    peer.sysctl(V4 + "tcp_probe_threshold", 8)
    peer.sysctl(V4 + "tcp_slow_start_after_idle", 0)
    peer.app.send(fd, bytes(14000))
    sent = flight(peer, 14000)
    assert sent[0].segment.length == 1430


@both
def test_a_black_hole_shrinks_segments(peers):
    """tcp_mtu_probing 1: once retransmissions have gone on for as long as tcp_retries1 says."""
    peer, fd = accepted(peers, value=1, tcp_base_mss=800)
    peer.app.send(fd, bytes(3000))
    assert sizes(flight(peer, 3000)) == [1460, 1460, 80]
    tried = []
    for _ in range(60):
        tried += starts(peer.run(0.25))
        if any(length <= 800 and length != 80 for _, length in tried):
            break
    assert tried[-1] == (1, 800)
    assert mss(peer, fd) == 800
    assert tried[-2] == (1, 1460)
    # Acknowledged, the rest follows in small segments.
    rest = flight(peer, 660, peer.inject("A", seq=1, ack=801, window=600))
    assert starts(rest)[0] == (801, 660)
    assert probes(peer) == (0, 0)


@both
def test_a_black_hole_that_stays_halves_them_down_to_the_floor(peers):
    peer, fd = accepted(peers, value=1, tcp_base_mss=800, tcp_mtu_probe_floor=300, tcp_retries1=0)
    peer.app.send(fd, bytes(1460))
    flight(peer, 1460)
    tried = []
    for _ in range(80):
        tried += sizes(peer.run(0.1))
        if tried.count(300) >= 1:
            break
    distinct = list(dict.fromkeys(tried))
    assert distinct == [1460, 800, 400, 300]


@both
def test_the_least_size_of_segments_holds_there_too(peers):
    peer, fd = accepted(peers, value=1, tcp_base_mss=800, tcp_min_snd_mss=500, tcp_retries1=0)
    peer.app.send(fd, bytes(1460))
    flight(peer, 1460)
    tried = []
    for _ in range(60):
        tried += sizes(peer.run(0.1))
        if tried.count(500) >= 1:
            break
    assert list(dict.fromkeys(tried)) == [1460, 800, 500]


@both
def test_a_black_hole_without_probing_stays_one(peers):
    peer, fd = accepted(peers, value=0, tcp_base_mss=800, tcp_retries1=0)
    peer.app.send(fd, bytes(1460))
    flight(peer, 1460)
    assert set(sizes(peer.run(4))) == {1460}


def too_big(peer, sent, mtu):
    """A router's ICMP: fragmentation needed."""
    message = IcmpMessage()
    message.src, message.dst = pack("10.0.0.2"), pack("10.0.0.1")
    message.proto, message.ttl, message.type, message.code, message.rest = PROTO_ICMP, 64, 3, 4, mtu
    message.payload = serialize(sent.packet)[:28]
    return peer.put(message)


@both
@pytest.mark.parametrize("probing", [0, 2])
def test_icmp_tells_what_probes_would_find(peers, probing):
    peer, fd = accepted(peers, value=probing)
    peer.app.send(fd, bytes(4000))
    sent = flight(peer, 4000)
    assert sizes(sent) == [1460, 1460, 1080]
    cwnd = windows(peer, fd)[0]
    again = flight(peer, 4000, too_big(peer, sent[0], 1300))
    assert mss(peer, fd) == (1024 if probing else 1260)
    assert again[0].segment.length == mss(peer, fd)
    assert sizes(again) == [mss(peer, fd)] * (4000 // mss(peer, fd)) + [4000 % mss(peer, fd)]
    assert windows(peer, fd)[0] == cwnd


@both
@pytest.mark.parametrize(
    ("value", "df", "believes"),
    [(DONT, False, False), (WANT, True, True), (DO, True, True), (PROBE, False, True), (INTERFACE, False, False),
     (OMIT, False, False)],
)  # fmt: skip
def test_path_mtu_discovery_of_a_socket(peers, value, df, believes):
    """IP_MTU_DISCOVER: whether segments say 'do not fragment', and whether ICMP is believed."""
    peer, fd = accepted(peers, value=0, options=((socket.IPPROTO_IP, IP_MTU_DISCOVER, value),))
    assert peer.app.getsockopt(fd, socket.IPPROTO_IP, IP_MTU_DISCOVER) == value
    peer.app.send(fd, bytes(4000))
    sent = flight(peer, 4000)
    assert [each.packet.dont_fragment for each in sent] == [df] * 3
    too_big(peer, sent[0], 1300)
    assert mss(peer, fd) == (1260 if believes else 1460)


@both
def test_a_path_that_claims_to_be_very_narrow_is_left_to_fragment(peers):
    peer, fd = accepted(peers, value=0)
    peer.app.send(fd, bytes(1000))
    again = flight(peer, 1000, too_big(peer, flight(peer, 1000)[0], 300))
    assert mss(peer, fd) == 512
    assert sizes(again) == [512, 488]
    assert [each.packet.dont_fragment for each in again] == [False, False]


@both
def test_path_mtu_discovery_changes_while_connected(peers):
    peer, fd = accepted(peers, value=0)
    peer.app.setsockopt(fd, socket.IPPROTO_IP, IP_MTU_DISCOVER, DONT)
    peer.app.send(fd, bytes(100))
    assert [each.packet.dont_fragment for each in flight(peer, 100)] == [False]
    for value in (-1, 6):
        assert peer.attempt(peer.app.setsockopt, fd, socket.IPPROTO_IP, IP_MTU_DISCOVER, value) == "EINVAL"
