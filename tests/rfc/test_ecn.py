"""RFC 3168: negotiation with its fallback, ECT on new data, ECE until CWR, one reduction per window; on both stacks."""

import socket
import struct

import pytest

from support.peer import HOST, both
from timewait.wire.address import pack

MSS = 1000
CE, ECT0 = 3, 2


def tos(seen):
    return [each.segment.tos & 3 for each in seen]


def flags(seen):
    return [each.split()[0] for each in seen]


def answer(peer, *given, **fields):
    """What the host sends for a segment; a busy kernel is given less time than it delays an acknowledgment."""
    return waited(peer, peer.inject(*given, **fields))


def waited(peer, seen):
    """`seen`, or what comes soon where that is nothing."""
    if not seen and peer.kind == "kernel":
        peer.wait_for(lambda: peer.fresh, 0.02)
    return seen or peer.take()


def agreed(peer, after=0.0):
    """A connection whose peer asked for ECN and is so many seconds away."""
    listener = peer.listen()
    (syn_ack,) = answer(peer, "SYN-ECE-CWR", mss=MSS, sack_ok=True, window=65535)
    assert syn_ack.startswith("SAE 0:0")
    if after:
        assert peer.run(after) == []
    assert peer.inject("A", seq=1, ack=1, window=65535) == []
    return peer.accept(listener)


@both
@pytest.mark.parametrize(
    ("given", "mark", "answered"),
    [("SYN-ECE-CWR", 0, "SAE"), ("SYN-ECE", 0, "SA"), ("S", 0, "SA"), ("SYN-ECE-CWR", 2, "SA")],
)
def test_a_listener_agrees_when_asked(peers, given, mark, answered):
    peer = peers()
    peer.listen()
    (seen,) = answer(peer, given, mss=MSS, tos=mark)
    assert flags([seen]) == [answered]
    assert tos([seen]) == [0]


@both
def test_a_listener_refuses_with_tcp_ecn_0(peers):
    peer = peers({"net.ipv4.tcp_ecn": 0})
    peer.listen()
    assert flags(answer(peer, "SYN-ECE-CWR", mss=MSS)) == ["SA"]


@both
def test_a_repeated_syn_asks_no_more(peers):
    peer = peers({"net.ipv4.tcp_ecn": 1})
    peer.connect()
    assert flags(peer.run(1.5)) == ["SEC", "S"]


@both
def test_without_fallback_a_repeated_syn_asks_again(peers):
    peer = peers({"net.ipv4.tcp_ecn": 1, "net.ipv4.tcp_ecn_fallback": 0})
    peer.connect()
    assert flags(peer.run(1.5)) == ["SEC", "SEC"]


@both
def test_new_data_is_ect_and_nothing_else(peers):
    peer = peers({"net.ipv4.tcp_congestion_control": "reno"})
    fd = agreed(peer)
    peer.app.send(fd, bytes(3 * MSS))
    first = waited(peer, [])
    assert tos(first) == [ECT0] * 3
    again = peer.inject("A", seq=1, ack=1, window=65535, sack=[(1 + MSS, 1 + 3 * MSS)]) + peer.run(0.1)
    assert [str(each)[:8] for each in again][:1] == ["A 1:1001"]
    assert tos(again[:1]) == [0]
    (ack,) = answer(peer, "PA", seq=1, ack=3 * MSS + 1, window=65535, data=10, tos=ECT0)
    assert tos([ack]) == [0]


@both
def test_a_mark_is_echoed_until_cwr(peers):
    peer = peers()
    agreed(peer)
    assert flags(answer(peer, "A", seq=1, ack=1, data=MSS, tos=CE)) == ["AE"]
    assert flags(answer(peer, "A", seq=1 + MSS, ack=1, data=MSS, tos=ECT0)) == ["AE"]
    assert flags(answer(peer, "ACK-CWR", seq=1 + 2 * MSS, ack=1, data=MSS, tos=ECT0)) == ["A"]
    assert flags(answer(peer, "A", seq=1 + 3 * MSS, ack=1, data=MSS, tos=CE)) == ["AE"]


@both
def test_an_echo_reduces_the_window_once_and_is_answered_with_cwr(peers):
    peer = peers({"net.ipv4.tcp_congestion_control": "reno"})
    fd = agreed(peer, after=0.3)
    peer.app.send(fd, bytes(40 * MSS))
    assert len(peer.take()) == 10
    seen = []
    for n in range(1, 11):
        seen += peer.inject("ACK-ECE", seq=1, ack=1 + n * MSS, window=65535)
    raw = peer.app.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    state, options = raw[1], raw[5]
    cwnd, ssthresh = struct.unpack_from("I", raw, 80)[0], struct.unpack_from("I", raw, 76)[0]
    assert options & 8
    assert (state, ssthresh) == (2, 5)
    assert cwnd <= 6
    assert [text for text in flags(seen) if "C" in text] == [flags(seen)[0]]
    assert flags(seen)[0] in ("AC", "PAC")
    assert struct.unpack_from("I", raw, 196)[0] == 10, "tcpi_delivered_ce"


@both
def test_cwr_ends_the_echo_on_a_pure_acknowledgment_too(peers):
    peer = peers()
    agreed(peer)
    assert flags(answer(peer, "A", seq=1, ack=1, data=MSS, tos=CE)) == ["AE"]
    assert peer.inject("ACK-CWR", seq=1 + MSS, ack=1) == []
    assert flags(answer(peer, "A", seq=1 + MSS, ack=1, data=MSS, tos=ECT0)) == ["A"]


@both
def test_a_duplicate_does_not_begin_an_echo_but_its_cwr_ends_one(peers):
    peer = peers()
    agreed(peer)
    assert flags(answer(peer, "A", seq=1, ack=1, data=MSS, tos=ECT0)) == ["A"]
    assert flags(answer(peer, "A", seq=1, ack=1, data=MSS, tos=CE)) == ["A"]
    assert flags(answer(peer, "A", seq=1 + MSS, ack=1, data=MSS, tos=CE)) == ["AE"]
    assert flags(answer(peer, "ACK-CWR", seq=1 + MSS, ack=1, data=MSS, tos=ECT0)) == ["A"]


@both
def test_what_is_out_of_order_begins_an_echo_and_a_marked_fin_does_not(peers):
    peer = peers()
    agreed(peer)
    assert flags(answer(peer, "A", seq=1 + MSS, ack=1, data=MSS, tos=CE)) == ["AE"]
    other = peers()
    agreed(other)
    assert flags(answer(other, "FA", seq=1, ack=1, tos=CE) or other.run(0.3)) == ["A"]


@both
def test_probes_and_resets_carry_the_echo(peers):
    peer = peers()
    fd = agreed(peer)
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    assert flags(answer(peer, "A", seq=1, ack=1, data=MSS, tos=CE)) == ["AE"]
    assert flags(peer.run(1.5)) == ["AE"], "a keepalive probe"
    peer.inject("A", seq=1 + MSS, ack=1, window=0)
    peer.app.send(fd, b"abc")
    probes = peer.run(0.5)
    assert probes and set(flags(probes)) == {"AE"} and set(tos(probes)) == {0}
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.app.close(fd)
    assert flags(waited(peer, [])) == ["RAE"]


@both
def test_what_has_no_connection_is_never_ect(peers):
    """RST, the ACK of a half-open connection and of TIME-WAIT, whatever they answer and were sent before."""
    peer = peers()
    seen = waited(peer, peer.put(peer.new_flow(41000, 81).segment("S", tos=CE)))
    seen += waited(peer, peer.put(peer.new_flow(41001, 81).segment("A", tos=ECT0)))
    listener = peer.listen()
    half_open = peer.new_flow(41002)
    waited(peer, half_open.inject("SYN-ECE-CWR", mss=MSS, ts=1000))
    seen += waited(peer, half_open.inject("A", seq=10**6, ack=1, data=10, tos=CE, ts=1001))
    answer(peer, "SYN-ECE-CWR", mss=MSS)
    peer.inject("A", seq=1, ack=1)
    fd = peer.accept(listener)
    peer.app.send(fd, b"abc")
    assert tos(waited(peer, [])) == [ECT0]
    peer.app.close(fd)
    seen += waited(peer, [])
    peer.inject("A", seq=1, ack=5)
    seen += answer(peer, "FA", seq=1, ack=5, tos=ECT0)
    seen += answer(peer, "FA", seq=1, ack=5, tos=CE)
    assert flags(seen) == ["RA", "R", "A", "FA", "A", "A"]
    assert set(tos(seen)) == {0}


@both
def test_a_repeated_syn_ack_still_agrees(peers):
    peer = peers()
    peer.listen()
    seen = peer.inject("SYN-ECE-CWR", mss=MSS) + peer.run(3.5)
    assert flags(seen) == ["SAE"] * 3


@both
def test_the_ecn_bits_of_ip_tos_are_not_the_programs(peers):
    peer = peers()
    listener = peer.listen(80, 128, (0, 1, 0x13))
    (syn_ack,) = answer(peer, "SYN-ECE-CWR", mss=MSS)
    assert syn_ack.segment.tos == 0x10
    peer.inject("A", seq=1, ack=1)
    fd = peer.accept(listener)
    assert peer.app.getsockopt(fd, 0, 1) == 0x10
    peer.app.send(fd, b"abc")
    assert [each.segment.tos for each in waited(peer, [])] == [0x12]


@both
def test_a_lost_syn_counts_as_a_reduction(peers):
    """The first data of a connection whose SYN was repeated says CWR."""
    peer = peers({"net.ipv4.tcp_ecn": 1})
    fd = peer.connect()
    assert len(peer.run(1.5)) == 2
    peer.inject("SYN-ACK-ECE", mss=MSS, ack=1)
    peer.app.send(fd, b"abc")
    assert flags(waited(peer, [])) == ["PAC"]


def over_an_ecn_route(peers, mode):
    """`ip route change ... features ecn`."""
    peer = peers({"net.ipv4.tcp_ecn": mode})
    if peer.kind == "kernel":
        namespace = peer.host.namespace
        listed = namespace.run(["ip", "route", "show", "10.0.0.0/24"]).stdout
        device = (listed if isinstance(listed, str) else listed.decode()).split("dev ")[1].split()[0]
        namespace.run(["ip", "route", "replace", "10.0.0.0/24", "dev", device, "src", HOST, "features", "ecn"])
    else:
        peer.host.routes.set_ecn(pack("10.0.0.0"), 24, True)
    return peer


@both
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_route_may_ask_for_ecn(peers, mode):
    peer = over_an_ecn_route(peers, mode)
    peer.connect()
    assert flags(peer.run(1.5)) == ["SEC", "S"]


@both
@pytest.mark.parametrize("cookies", [1, 2])
def test_a_route_may_agree_to_ecn(peers, cookies):
    peer = over_an_ecn_route(peers, 0)
    peer.sysctl("net.ipv4.tcp_syncookies", cookies)
    listener = peer.listen()
    (ect,) = peer.new_flow(41000).inject("SYN-ECE-CWR", mss=MSS, tos=ECT0)
    (syn_ack,) = answer(peer, "SYN-ECE-CWR", mss=MSS, ts=1000)
    assert flags([ect, syn_ack]) == ["SA", "SAE"]
    peer.inject("A", seq=1, ack=1, ts=1001)
    fd = peer.accept(listener)
    peer.app.send(fd, b"abc")
    assert tos(waited(peer, [])) == [ECT0]


@both
@pytest.mark.parametrize(
    ("given", "mark", "agreed"), [("SYN-ECE-CWR", 0, True), ("SYN-ECE-CWR", 2, False), ("S", 0, False)]
)
def test_a_fast_opened_child_has_what_its_syn_asked_for(peers, given, mark, agreed):
    peer = peers({"net.ipv4.tcp_ecn": 1, "net.ipv4.tcp_fastopen": 0x203})
    listener = peer.listen(80, 128, (socket.IPPROTO_TCP, 23, 5))
    (syn_ack,) = answer(peer, given, mss=MSS, data=100, tos=mark)
    assert syn_ack == ("SAE" if agreed else "SA") + " 0:0 ack 101"
    fd = peer.accept(listener)
    options = peer.app.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 280)[5]
    # TCPI_OPT_TFO_CHILD, SYN_DATA, ECN
    assert options == 128 + 32 + (8 if agreed else 0)
    peer.app.send(fd, b"abc")
    assert tos(waited(peer, [])) == [ECT0 if agreed else 0]


@both
def test_packets_are_counted_by_codepoint(peers):
    """Whatever they are, and whoever gets them (nstat)."""
    peer = peers()
    agreed(peer)
    names = ("InECT1Pkts", "InECT0Pkts", "InCEPkts")
    before = [peer.counter("IpExt" + name) for name in names]
    peer.inject("A", seq=1, ack=1, data=MSS, tos=CE)
    peer.inject("A", seq=1, ack=1, data=MSS, tos=CE)
    peer.inject("A", seq=1 + MSS, ack=1, tos=1)
    peer.put(peer.new_flow(41000, 81).segment("S", tos=ECT0))
    peer.inject("A", seq=1 + MSS, ack=1, data=MSS)
    assert [peer.counter("IpExt" + name) - old for name, old in zip(names, before, strict=True)] == [1, 1, 2]
