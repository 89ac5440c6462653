"""Profile freebsd: options, windows, timers, ICMP and what is reported of overlapping data."""

import socket
from contextlib import suppress

import pytest

from rfc.test_freebsd_states import ACTIVE, bsd, connected, syn_sent
from support.peer import Peer
from timewait.base.errors import UsageError
from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import SOL_TCP, TCP_KEEPINIT, TCP_NOOPT
from timewait.wire.icmp import error
from timewait.wire.packet import CWR, ECE
from timewait.wire.serialize import serialize
from timewait.world.network import World


def syn(peer: Peer, *options: tuple[int, int, int]):
    peer.connect(80, *options)
    (seen,) = peer.take()
    return seen


# The SYN


@pytest.mark.parametrize(
    ("rfc1323", "sack", "options"),
    [
        (1, 1, "mss 1460,nop,wscale 6,sackOK,TS"),
        (1, 0, "mss 1460,nop,wscale 6,nop,nop,TS"),
        (0, 1, "mss 1460,sackOK,eol,eol"),
        (0, 0, "mss 1460"),
        (2, 1, "mss 1460,nop,wscale 6,sackOK,eol,eol"),
        (3, 1, "mss 1460,sackOK,TS"),
        (3, 0, "mss 1460,nop,nop,TS"),
    ],
)
def test_options_of_a_syn(rfc1323: int, sack: int, options: str) -> None:
    seen = syn(bsd(rfc1323=rfc1323, **{"sack.enable": sack}))
    assert (seen, seen.window, seen.options) == ("S 0:0", 65535, options)


@pytest.mark.parametrize(("size", "scale"), [(2097152, 6), (73728, 1), (65535, 0), (65536, 1), (2**32, 14)])
def test_window_scale_follows_maxsockbuf(size: int, scale: int) -> None:
    peer = Peer.sim({"kern.ipc.maxsockbuf": size}, profile="freebsd")
    assert syn(peer).segment.wscale == scale


def test_noopt_sends_none() -> None:
    assert syn(bsd(), (SOL_TCP, TCP_NOOPT, 1)).options == ""


@pytest.mark.parametrize(("mtu", "mss"), [(72, 32), (1280, 1240), (9000, 8960), (65535, 65495)])
def test_mss_is_the_mtu_less_headers(mtu: int, mss: int) -> None:
    assert syn(Peer.sim({}, profile="freebsd", mtu=mtu)).segment.mss == mss


def test_syn_times_and_end() -> None:
    peer = bsd()
    fd = syn_sent(peer)
    seen = peer.run(74)
    assert [round(one.at, 3) for one in seen] == [1.0, 3.2, 7.4, 15.6, 31.8, 64.0]
    assert {one.options for one in seen} == {"mss 1460,nop,wscale 6,sackOK,TS"}
    assert peer.state() == "SYN-SENT"
    peer.run(1.1)
    assert (peer.state(), peer.error(fd)) == ("", "ETIMEDOUT")


def test_timestamps_of_repeated_syns_advance_by_milliseconds() -> None:
    peer = bsd()
    peer.connect()
    (first,) = peer.take()
    (second,) = peer.run(1.5)
    assert second.segment.tsval - first.segment.tsval == 1000


@pytest.mark.parametrize("way", ["sysctl", "option"])
def test_keepinit(way: str) -> None:
    peer = bsd(keepinit=5000) if way == "sysctl" else bsd()
    fd = peer.connect(80, *([] if way == "sysctl" else [(SOL_TCP, TCP_KEEPINIT, 5)]))
    peer.take()
    peer.run(4.9)
    assert peer.state() == "SYN-SENT"
    peer.run(0.2)
    assert peer.error(fd) == "ETIMEDOUT"


def test_keepinit_is_no_limit_once_connected() -> None:
    peer = bsd(keepinit=5000)
    connected(peer)
    assert peer.run(60) == []
    assert peer.state() == "ESTAB"


def test_rexmit_initial_and_slop() -> None:
    peer = bsd(rexmit_initial=500, rexmit_slop=50)
    syn_sent(peer)
    assert [round(one.at, 3) for one in peer.run(4)] == [0.5, 1.55, 3.6]


def test_the_third_repeated_syn_drops_its_options() -> None:
    peer = bsd(rexmit_drop_options=1)
    syn_sent(peer)
    assert [one.segment.has_ts for one in peer.run(20)] == [True, True, False, False]
    assert peer.run(20)[-1].options == "mss 1460"


@pytest.mark.parametrize(
    ("enable", "retries", "asking"), [(1, 1, [1, 1, 0]), (1, 0, [1, 0, 0]), (2, 1, [0] * 3), (0, 1, [0] * 3)]
)
def test_ecn_is_asked_for_until_it_was_repeated(enable: int, retries: int, asking: list[int]) -> None:
    peer = bsd(**{"ecn.enable": enable, "ecn.maxretries": retries})
    peer.connect()
    seen = [*peer.take(), *peer.run(4)]
    assert [int(one.segment.flags & (ECE | CWR) == ECE | CWR) for one in seen] == asking


@pytest.mark.parametrize(("enable", "agreed"), [(0, False), (1, True), (2, True)])
def test_ecn_is_agreed_to(enable: int, agreed: bool) -> None:
    peer = bsd(**{"ecn.enable": enable})
    peer.listen()
    asking = peer.flow.segment("S", mss=1460)
    asking.flags |= ECE | CWR
    (answer,) = peer.put(asking)
    assert answer == ("SAE 0:0 ack 1" if agreed else "SA 0:0 ack 1")


@pytest.mark.parametrize(
    ("offered", "options"),
    [
        ({"mss": 1460, "sack_ok": True}, "mss 1460,sackOK,eol,eol"),
        ({"mss": 1460}, "mss 1460"),
        ({}, "mss 1460"),
        ({"mss": 1460, "wscale": 3}, "mss 1460,nop,wscale 6"),
        ({"mss": 1460, "wscale": 3, "sack_ok": True, "ts": (5, 0)}, "mss 1460,nop,wscale 6,sackOK,TS"),
        ({"mss": 1460, "ts": (5, 0)}, "mss 1460,nop,nop,TS"),
    ],
)
def test_options_of_a_syn_ack_are_those_offered(offered: dict[str, object], options: str) -> None:
    peer = bsd()
    peer.listen()
    (answer,) = peer.inject("S", **offered)
    assert (answer.options, answer.window) == (options, 65535)


# Windows and buffers


@pytest.mark.parametrize(("mss", "size"), [(1460, 65700), (1440, 66240), (536, 65928), (65495, 130990)])
def test_the_receive_buffer_becomes_whole_segments(mss: int, size: int) -> None:
    peer = Peer.sim({}, profile="freebsd", mtu=65535 if mss > 1460 else 1500)
    fd = peer.connect()
    peer.take()
    get = peer.app.getsockopt
    assert get(fd, socket.SOL_SOCKET, socket.SO_RCVBUF) == 65536
    peer.inject("SA", seq=0, ack=1, mss=mss)
    assert get(fd, socket.SOL_SOCKET, socket.SO_RCVBUF) == size


def test_a_buffer_size_is_taken_as_it_is() -> None:
    peer = bsd()
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)
    assert peer.app.getsockopt(fd, socket.SOL_SOCKET, socket.SO_RCVBUF) == 5000
    assert peer.attempt(peer.app.setsockopt, fd, socket.SOL_SOCKET, socket.SO_RCVBUF, 3000000) == "ENOBUFS"


@pytest.mark.parametrize(("seq", "sack"), [(65700, "sack 65700-65701"), (65701, "")])
def test_data_at_the_edge_of_the_window(seq: int, sack: str) -> None:
    peer = bsd()
    connected(peer)
    (answer,) = peer.inject("A", seq=seq, ack=1, data=1)
    assert answer == f"A 1:1 ack 1 {sack}".strip()


def test_data_beyond_the_window_is_cut() -> None:
    peer = bsd()
    connected(peer)
    assert peer.inject("A", seq=65699, ack=1, data=10) == ["A 1:1 ack 1 sack 65699-65701"]


def test_window_field_and_scale() -> None:
    peer = bsd()
    peer.connect()
    peer.take()
    (ack,) = peer.inject("SA", seq=0, ack=1, mss=1460, wscale=2)
    assert ack.window == 65700 >> 6
    peer = bsd()
    connected(peer)
    (ack,) = peer.inject("PA", seq=1, ack=1, data=1000)
    assert (ack, ack.window) == ("A 1:1 ack 1001", 64700)


def test_reading_half_the_buffer_says_so() -> None:
    peer = bsd()
    fd = connected(peer)
    for at in range(1, 40001, 1000):
        peer.inject("A", seq=at, ack=1, data=1000)
    peer.app.recv(fd, 10000)
    assert peer.take() == []
    peer.app.recv(fd, 30000)
    (update,) = peer.take()
    assert (update, update.window) == ("A 1:1 ack 40001", 65535)


def test_acknowledgments_are_immediate_until_delacktime_is_set() -> None:
    peer = bsd()
    connected(peer)
    assert peer.inject("A", seq=1, ack=1, data=10) == ["A 1:1 ack 11"]
    peer.sysctl("net.inet.tcp.delacktime", 100)
    peer.reset_watch()
    assert peer.inject("A", seq=11, ack=1, data=10) == []
    (late,) = peer.run(0.2)
    assert (late, round(late.at, 3)) == ("A 1:1 ack 21", 0.1)
    assert peer.inject("A", seq=21, ack=1, data=10) == []
    assert peer.inject("A", seq=31, ack=1, data=10) == ["A 1:1 ack 41"]


# Overlapping data: RFC 2018, RFC 2883


@pytest.mark.parametrize(
    ("story"),
    [
        # Islands, the newest first.
        [
            (101, 200, "1 sack 101-201"),
            (301, 400, "1 sack 301-401 101-201"),
            (501, 600, "1 sack 501-601 301-401 101-201"),
        ],
        # An island grows to the right and to the left.
        [(101, 200, "1 sack 101-201"), (201, 300, "1 sack 101-301"), (51, 100, "1 sack 51-301")],
        # The hole is filled.
        [(101, 200, "1 sack 101-201"), (1, 100, "201")],
        # An exact duplicate in order.
        [(1, 100, "101"), (1, 100, "101 sack 1-101"), (101, 200, "201")],
        # Part of what came before, then new octets.
        [(1, 100, "101"), (51, 150, "151 sack 51-101")],
        # A duplicate before an island that stays.
        [(1, 100, "101"), (201, 300, "101 sack 201-301"), (1, 100, "101 sack 1-101 201-301")],
        # The duplicate of an island stands before it.
        [(101, 200, "1 sack 101-201"), (101, 200, "1 sack 101-201 101-201")],
        # Part of an island.
        [(101, 200, "1 sack 101-201"), (121, 160, "1 sack 121-161 101-201")],
        # Overlapping an island on the right: the shared part, then the whole.
        [(101, 200, "1 sack 101-201"), (151, 250, "1 sack 151-201 101-251")],
        # Overlapping on the left.
        [(101, 200, "1 sack 101-201"), (51, 150, "1 sack 101-151 51-201")],
        # Covering it.
        [(101, 200, "1 sack 101-201"), (51, 250, "1 sack 101-201 51-251")],
        # Joining two islands exactly.
        [(101, 200, "1 sack 101-201"), (301, 400, "1 sack 301-401 101-201"), (201, 300, "1 sack 101-401")],
        # Filling the hole with part of the island in it.
        [(101, 200, "1 sack 101-201"), (1, 150, "201 sack 101-151")],
        # Two islands swallowed: the first shared part is named.
        [(101, 200, "1 sack 101-201"), (301, 400, "1 sack 301-401 101-201"), (51, 450, "1 sack 101-201 51-451")],
        # A duplicate of an island behind RCV.NXT goes away with the next report.
        [
            (1, 100, "101"),
            (301, 400, "101 sack 301-401"),
            (1, 50, "101 sack 1-51 301-401"),
            (501, 600, "101 sack 501-601 301-401"),
        ],
    ],
)
def test_what_is_reported_of_overlaps(story: list[tuple[int, int, str]]) -> None:
    peer = bsd()
    connected(peer)
    for first, last, answer in story:
        assert peer.inject("A", seq=first, ack=1, data=last + 1 - first) == [f"A 1:1 ack {answer}"]


def test_no_more_than_four_blocks_fit() -> None:
    peer = bsd()
    connected(peer)
    for at in range(101, 1101, 200):
        (answer,) = peer.inject("A", seq=at, ack=1, data=100)
    assert answer == "A 1:1 ack 1 sack 901-1001 701-801 501-601 301-401"


def test_data_is_delivered_once_and_in_order() -> None:
    peer = bsd()
    fd = connected(peer)
    whole = bytes(range(250))
    for first, last in ((100, 200), (50, 120), (180, 250), (0, 60)):
        peer.inject("A", seq=1 + first, ack=1, data=whole[first:last])
    assert peer.app.recv(fd, 999) == whole


def test_fin_behind_a_hole() -> None:
    peer = bsd()
    connected(peer)
    assert peer.inject("FA", seq=11, ack=1, data=10) == ["A 1:1 ack 1 sack 11-21"]
    assert peer.state() == "ESTAB"
    assert peer.inject("A", seq=1, ack=1, data=10) == ["A 1:1 ack 22"]
    assert peer.state() == "CLOSE-WAIT"


@pytest.mark.parametrize("has", [True, False])
def test_a_missing_timestamp_is_silent(has: bool) -> None:
    peer = bsd()
    peer.listen()
    peer.inject("S", ts=(5, 0), **ACTIVE)
    peer.inject("A", seq=1, ack=1, ts=6)
    assert bool(peer.inject("A", seq=1, ack=1, data=10, **({"ts": 7} if has else {}))) == has


# ICMP


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (3, 2, "ECONNREFUSED"),
        (3, 3, "ECONNREFUSED"),
        (3, 9, "ECONNREFUSED"),
        (3, 10, "ECONNREFUSED"),
        (3, 13, "ECONNREFUSED"),
        (11, 0, "EHOSTUNREACH"),
        (3, 0, ""),
        (3, 1, ""),
        (3, 5, ""),
        (11, 1, ""),
        (4, 0, ""),
        (5, 0, ""),
    ],
)
@pytest.mark.parametrize("may", [0, 1])
@pytest.mark.parametrize("right", [True, False])
def test_icmp_in_syn_sent(kind: int, code: int, name: str, may: int, right: bool) -> None:
    peer = bsd(icmp_may_rst=may)
    fd = peer.connect()
    (seen,) = peer.take()
    about = seen.segment.copy()
    if not right:
        about.seq = (about.seq + 1) % 2**32
    peer.put(error(about, serialize(about), about.dst, kind, code))
    fatal = bool(name) and bool(may) and right
    assert peer.state() == ("" if fatal else "SYN-SENT")
    assert peer.error(fd) == (name if fatal else "")
    assert (peer.run(2) == []) == fatal


def test_icmp_does_not_end_a_connection() -> None:
    peer = bsd()
    peer.app.send(connected(peer), b"x")
    (data,) = peer.take()
    peer.put(error(data.segment, serialize(data.segment), data.segment.dst, 3, 3))
    assert peer.state() == "ESTAB"


# Names


def test_sysctls_that_do_nothing_are_kept_and_shown() -> None:
    peer = bsd(**{"hostcache.purgenow": 1, "rfc3042": 0})
    assert peer.sysctl("net.inet.tcp.rfc3042") == "0"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("net.inet.tcp.nonsense", 1, "unknown sysctl"),
        ("net.inet.tcp.udp_tunneling_port", 9899, "not implemented"),
        ("net.inet.tcp.insecure_rst", 5, "out of range"),
        ("net.inet.tcp.msl", "long", "whole number"),
    ],
)
def test_sysctls_are_refused_in_words(name: str, value: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Peer.sim({name: value}, profile="freebsd")


@pytest.mark.parametrize(("rtt", "times"), [(0.0, [0.203, 0.409, 0.621]), (0.1, [0.5, 1.3, 2.7])])
def test_data_timeouts_double_without_their_slop(rtt: float, times: list[float]) -> None:
    peer = bsd()
    fd = syn_sent(peer)
    peer.run(rtt)
    peer.inject("SA", seq=0, ack=1, **ACTIVE)
    peer.reset_watch()
    peer.app.send(fd, b"x" * 10)
    seen = peer.run(3)
    assert [round(one.at, 3) for one in seen[: len(times) + 1]] == [0.0, *times]


ALL = {"mss": 1460, "wscale": 3, "sack_ok": True}


def test_noopt_agrees_to_nothing() -> None:
    peer = bsd()
    peer.connect(80, (SOL_TCP, TCP_NOOPT, 1))
    peer.take()
    (ack,) = peer.inject("SA", seq=0, ack=1, **ALL)
    assert (ack, ack.options, ack.window) == ("A 1:1 ack 1", "", 65535)
    assert peer.inject("A", seq=11, ack=1, data=5) == ["A 1:1 ack 1"]


def test_a_listener_with_noopt_offers_nothing() -> None:
    peer = bsd()
    peer.listen(80, 5, (SOL_TCP, TCP_NOOPT, 1))
    (answer,) = peer.inject("S", **ALL)
    assert (answer.options, answer.window) == ("", 65535)
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.inject("A", seq=11, ack=1, data=5) == ["A 1:1 ack 1"]


def test_dropped_options_are_not_agreed_on() -> None:
    peer = bsd(rexmit_drop_options=1)
    peer.connect()
    peer.take()
    assert peer.run(8)[-1].options == "mss 1460"
    (ack,) = peer.inject("SA", seq=0, ack=1, **ALL)
    assert ack.window == 65535


def test_keepinit_resets_a_simultaneous_open() -> None:
    peer = bsd(keepinit=3000)
    fd = syn_sent(peer)
    peer.inject("S", seq=0, **ACTIVE)
    assert peer.run(3.1)[-1] == "RA 1:1 ack 1"
    assert peer.error(fd) == "ETIMEDOUT"


def test_a_fin_before_the_handshake_is_complete_has_to_come_again() -> None:
    peer = bsd()
    syn_sent(peer)
    peer.inject("S", seq=0, **ACTIVE)
    peer.inject("F", seq=1)
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.inject("A", seq=1, ack=1, data=5) == ["A 1:1 ack 6"]
    assert peer.state() == "ESTAB"
    assert peer.inject("FA", seq=6, ack=1) == ["A 1:1 ack 7"]
    assert peer.state() == "CLOSE-WAIT"


def test_a_fin_before_octets_that_are_held_is_dropped() -> None:
    peer = bsd()
    connected(peer)
    peer.inject("A", seq=101, ack=1, data=100)
    assert peer.inject("FA", seq=51, ack=1, data=100) == ["A 1:1 ack 1 sack 101-201"]
    assert peer.inject("A", seq=1, ack=1, data=100) == ["A 1:1 ack 201"]
    assert peer.state() == "ESTAB"


def test_octets_behind_a_fin_that_is_held_are_dropped() -> None:
    peer = bsd()
    fd = connected(peer)
    peer.inject("FA", seq=101, ack=1, data=100)
    assert peer.inject("A", seq=201, ack=1, data=100) == ["A 1:1 ack 1 sack 101-201"]
    assert peer.inject("A", seq=1, ack=1, data=100) == ["A 1:1 ack 202"]
    assert (peer.state(), len(peer.app.recv(fd, 999))) == ("CLOSE-WAIT", 200)


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize(
    ("sender", "receiver"), [("freebsd", "linux-6.18"), ("linux-6.18", "freebsd"), ("freebsd", "freebsd")]
)
def test_a_transfer_arrives_whole(sender: str, receiver: str, loss: float) -> None:
    world = World(seed=3)
    one, two = world.host("a", "10.0.0.1/24", profile=sender), world.host("b", "10.0.0.2/24", profile=receiver)
    world.link(one, two, delay=10 * MSEC, loss=loss)
    client, server = one.process("client"), two.process("server")
    listener = server.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(listener, ("0.0.0.0", 80))
    server.listen(listener, 5)
    fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(BlockingIOError):
        client.connect(fd, ("10.0.0.2", 80))
    world.run(30 * SEC)
    conn = server.accept(listener)[0]
    whole = bytes(i * 7 % 251 for i in range(200_000))
    sent, got = 0, b""
    for _ in range(20_000):
        with suppress(BlockingIOError):
            if sent < len(whole):
                sent += client.send(fd, whole[sent:])
                if sent == len(whole):
                    client.shutdown(fd, socket.SHUT_WR)
        with suppress(BlockingIOError):
            piece = server.recv(conn, 65536)
            got += piece
            if not piece:
                break
        world.run(10 * MSEC)
    assert got == whole
    server.close(conn)
    client.close(fd)
    world.run(200 * SEC)
    assert [row.state.name for host in (one, two) for row in host.rows()] == ["LISTEN"]
