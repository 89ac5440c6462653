"""RFC 9768, accurate ECN: negotiation, counters in both directions, the option, mangling; as Linux 6.18 has it.

6.18's sysctl refuses tcp_ecn 3 to 5, but its code is there, and the tests marked `both` meet it on two ways
(quirks.md: ECN-1): a connection whose SYN asked for classic ECN takes the answer to an accurate one, and a SYN
cookie's third packet tells which of both was agreed.
"""

import socket
import struct

import pytest

from support.peer import both
from timewait.base.errors import UsageError
from timewait.tcp.sysctl import PROFILES, Sysctl
from timewait.wire.accecn import ORDER_0, ORDER_1, ace_flags, ace_of, option_of

ECN = "net.ipv4.tcp_ecn"
OPTION, BEACON, FALLBACK = ECN + "_option", ECN + "_option_beacon", ECN + "_fallback"
COOKIES = "net.ipv4.tcp_syncookies"
RENO = "net.ipv4.tcp_congestion_control"
NOT_ECT, ECT1, ECT0, CE = range(4)
ALL = (NOT_ECT, ECT1, ECT0, CE)
REFLECTED = {NOT_ECT: 2, ECT1: 3, ECT0: 4, CE: 6}
SYN_ACK_LOST, MANGLED_ACE, MANGLED_OPTION = 1, 2, 8


def order_1(*fields):
    return bytes((ORDER_1, 2 + 3 * len(fields))) + b"".join(field.to_bytes(3, "big") for field in fields)


def order_0(*fields):
    return bytes((ORDER_0, 2 + 3 * len(fields))) + b"".join(field.to_bytes(3, "big") for field in fields)


START = order_1(1, 0, 1)


def put(peer, flags, ace, option=b"", **given):
    """Inject a segment with these AE, CWR and ECE; gives what the host sends for it."""
    return tell(peer, flags, ace, option, **given) or soon(peer)


def tell(peer, flags, ace, option=b"", *, flow=None, sacks=(), ts=True, **given):
    """The same where no answer is waited for; each segment's timestamp is newer than the last."""
    flow = flow or peer.flow
    raw = b""
    if "S" in flags:
        raw += b"\x02\x04" + given.pop("mss", 1460).to_bytes(2, "big") + (b"\x04\x02" if ts else b"\x01\x01\x04\x02")
    elif ts:
        raw += b"\x01\x01"
    if ts:
        peer.tsval = getattr(peer, "tsval", 1000) + 1
        raw += b"\x08\x0a" + struct.pack("!II", peer.tsval, flow.tsval)
    if "S" in flags:
        raw += b"\x01\x03\x03\x07"
    if sacks:
        edges = [(edge + flow.irs) % 2**32 for block in sacks for edge in block]
        raw += bytes((1, 1, 5, 2 + 4 * len(edges))) + struct.pack(f"!{len(edges)}I", *edges)
    raw += option
    seg = flow.segment(flags, options=raw + bytes(-len(raw) % 4), **given)
    seg.flags = seg.flags & ~0x1C0 | ace_flags(ace)
    return peer.put(seg)


def soon(peer):
    """What the host sends now; a busy kernel is given less time than a delayed acknowledgment takes."""
    if peer.kind == "kernel":
        peer.wait_for(lambda: peer.fresh, 0.02)
        return peer.take()
    return peer.run(0.001)


def shown(seen):
    """[(flags without ECN, ACE, codepoint)]"""
    flags = ["".join(letter for letter in each.split()[0] if letter not in "EC") for each in seen]
    return [(text, ace_of(each.segment.flags), each.segment.tos & 3) for text, each in zip(flags, seen, strict=True)]


def fields(seen):
    """What the option of a segment says, '' without one."""
    option = option_of(seen.segment)
    if option is None:
        return ""
    assert option[0] == ORDER_1
    return " ".join(str(int.from_bytes(option[1][at : at + 3], "big")) for at in range(0, len(option[1]), 3)) or "empty"


class Info:
    """What TCP_INFO says of ECN."""

    def __init__(self, peer, fd):
        raw = peer.app.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 512)
        assert len(raw) == 280
        self.state, self.options = raw[1], raw[5]
        self.ssthresh, self.cwnd = struct.unpack_from("<II", raw, 76)
        (self.delivered_ce,) = struct.unpack_from("<I", raw, 196)
        (self.received_ce,) = struct.unpack_from("<I", raw, 248)
        self.delivered = struct.unpack_from("<3I", raw, 252)
        """e1b, e0b, ceb"""
        self.received = struct.unpack_from("<3I", raw, 264)
        self.failures, self.seen = struct.unpack_from("<HH", raw, 276)


def active(peers, ace=2, option=b"", mark=NOT_ECT, *, after=0.0, mss=1460, **sysctl):
    """A connection of ours whose SYN asked for classic ECN and was answered for accurate ECN; the third packet too."""
    # Not every machine has the same default, and one that paces would not send at once.
    peer = peers({ECN: 1, RENO: "reno", **{"net.ipv4.tcp_ecn_" + name: value for name, value in sysctl.items()}})
    fd = peer.connect()
    assert shown(peer.run(after) if after else soon(peer)) == [("S", 3, NOT_ECT)]
    third = put(peer, "SA", ace, option, ack=1, tos=mark, window=65535, mss=mss)
    return peer, fd, third


def passive(peers, mode=3, ace=2, option=b"", *, syn_mark=NOT_ECT, mark=NOT_ECT, listen=(), **sysctl):
    """A connection to a listener that knows accurate ECN; the SYN-ACK too. Only ours does."""
    peer = peers({ECN: mode, **{"net.ipv4.tcp_ecn_" + name: value for name, value in sysctl.items()}})
    listener = peer.listen(80, 128, *listen)
    (answer,) = put(peer, "S", 7, tos=syn_mark)
    assert put(peer, "A", ace, option, seq=1, ack=1, tos=mark) == []
    return peer, peer.accept(listener), answer


def by_cookie(peers, ace=2, mode=1, mark=NOT_ECT):
    """A connection to a listener that answered with a cookie, and what its third packet said."""
    peer = peers({ECN: mode, COOKIES: 2})
    listener = peer.listen()
    (answer,) = put(peer, "S", 3)
    assert shown([answer]) == [("SA", 1 if mode else 0, NOT_ECT)]
    tell(peer, "A", ace, START, seq=1, ack=1, tos=mark)
    return peer, peer.accept(listener)


# Negotiation: what a listener answers


@both
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_listener_without_accurate_ecn_answers_as_to_classic_ecn(peers, mode):
    """AE in the SYN also shows that ECT on it is meant (RFC 8311 4.3)."""
    peer = peers({ECN: mode})
    peer.listen()
    for ace in range(8):
        for mark in ALL:
            seen = put(peer, "S", ace, flow=peer.new_flow(41000 + 8 * mark + ace), tos=mark) or soon(peer)
            agreed = mode and (ace == 7 or (ace == 3 and mark == NOT_ECT))
            assert shown(seen) == [("SA", 1 if agreed else 0, NOT_ECT)], (ace, mark)


@pytest.mark.parametrize("mode", [3, 4, 5])
@pytest.mark.parametrize("mark", ALL)
def test_a_listener_agrees_to_whatever_is_not_classic_and_tells_how_the_syn_came(peers, mode, mark):
    """RFC 9768 3.1.2: any combination but 000 and 011 is taken for 111; table 2: the SYN's codepoint."""
    peer = peers({ECN: mode})
    peer.listen()
    for ace in range(8):
        (answer,) = put(peer, "S", ace, flow=peer.new_flow(41000 + ace), tos=mark)
        expected = {0: 0, 3: 1 if mark == NOT_ECT else 0}.get(ace, REFLECTED[mark])
        assert shown([answer]) == [("SA", expected, NOT_ECT)]
        assert fields(answer) == ("" if ace in (0, 3) else "1 0 1")


def test_the_syn_ack_has_as_much_of_the_option_as_fits(peers):
    peer = peers({ECN: 3})
    peer.listen()
    (answer,) = put(peer, "S", 7)
    assert answer.options == "mss 1460,sackOK,TS,accecn1,nop,nop,wscale 10"
    (answer,) = put(peer, "S", 7, flow=peer.new_flow(41001), ts=False)
    assert answer.options == "mss 1460,accecn1,nop,nop,nop,sackOK,nop,wscale 10"
    peer.sysctl(OPTION, 0)
    (answer,) = put(peer, "S", 7, flow=peer.new_flow(41002))
    assert answer.options == "mss 1460,sackOK,TS,nop,wscale 10"


def test_a_repeated_syn_ack_loses_the_option_not_the_agreement(peers):
    """The first repetition by the timer still has it: the count is of timeouts that have passed (num_timeout)."""
    peer = peers({ECN: 3})
    peer.listen()
    first = put(peer, "S", 7, tos=CE)
    again = peer.run(3.5)
    assert shown(first + again) == [("SA", 6, NOT_ECT)] * 3
    assert [fields(each) for each in first + again] == ["1 0 1", "1 0 1", ""]


# Negotiation: what a SYN asks for


@pytest.mark.parametrize(("mode", "ace"), [(0, 0), (1, 3), (2, 0), (3, 7), (4, 3), (5, 0)])
def test_what_a_syn_asks_for(peers, mode, ace):
    peer = peers({ECN: mode})
    peer.connect()
    seen = peer.run(2.5)
    assert shown(seen) == [("S", ace, NOT_ECT), ("S", 0, NOT_ECT), ("S", 0, NOT_ECT)]
    assert {fields(each) for each in seen} == {""}, "a SYN has no option"


def test_without_fallback_a_repeated_syn_asks_for_accurate_ecn_again(peers):
    peer = peers({ECN: 3, FALLBACK: 0})
    peer.connect()
    assert shown(peer.run(1.5)) == [("S", 7, NOT_ECT)] * 2


OUTCOMES = ("none", "classic", "accurate", "accurate", "accurate", "classic", "accurate", "none")


def outcome(peer, fd):
    """Which ECN is in force, by what data looks like."""
    peer.app.send(fd, b"x")
    ((_, ace, mark),) = shown(soon(peer))
    return {(0, NOT_ECT): "none", (0, ECT0): "classic", (5, ECT0): "accurate"}[ace, mark]


@both
@pytest.mark.parametrize("ace", range(8))
def test_what_a_syn_ack_makes_of_a_syn_that_asked_for_classic_ecn(peers, ace):
    peer, fd, third = active(peers, ace)
    accurate = OUTCOMES[ace] == "accurate"
    assert shown(third) == [("A", 2 if accurate else 0, ECT0 if accurate else NOT_ECT)]
    assert outcome(peer, fd) == OUTCOMES[ace]
    assert bool(Info(peer, fd).options & 8) is (OUTCOMES[ace] != "none")


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("ace", range(8))
def test_what_a_syn_ack_makes_of_a_syn_that_asked_for_accurate_ecn(peers, ace, repeated):
    """Also where the SYN was repeated without asking (quirks.md: ECN-3)."""
    peer = peers({ECN: 3})
    fd = peer.connect()
    assert shown(peer.run(1.5 if repeated else 0))[0] == ("S", 7, NOT_ECT)
    put(peer, "SA", ace, ack=1)
    assert outcome(peer, fd) == OUTCOMES[ace]


@both
@pytest.mark.parametrize("mark", ALL)
@pytest.mark.parametrize("ace", REFLECTED.values())
def test_the_third_packet_tells_how_the_syn_ack_came(peers, ace, mark):
    """And what the SYN-ACK says of our SYN, which was not ECT, can only be that it came so (RFC 9768 3.2.2.3)."""
    peer, fd, third = active(peers, ace, mark=mark)
    failed = mark == CE and ace != 2
    assert shown(third) == [("A", REFLECTED[mark], NOT_ECT if failed else ECT0)]
    info = Info(peer, fd)
    assert info.failures == (MANGLED_ACE if failed else 0)
    assert info.received_ce == (1 if mark == CE and not failed else 0)
    peer.app.send(fd, b"x")
    assert shown(soon(peer)) == [("PA", 6 if info.received_ce else 5, NOT_ECT if failed else ECT0)]


@both
def test_without_fallback_nothing_is_implausible(peers):
    peer, fd, _ = active(peers, 4, mark=CE, fallback=0)
    info = Info(peer, fd)
    assert (info.failures, info.received_ce) == (0, 1)


@pytest.mark.parametrize("ace", range(8))
def test_what_a_third_packet_says_of_the_syn_ack(peers, ace):
    """0 is a mangled header; 2 fits a SYN-ACK that was Not-ECT; 3, 4 and 6 cannot come of one (RFC 9768 table 4)."""
    peer, fd, _ = passive(peers, ace=ace)
    failed = ace in (0, 3, 4, 6)
    info = Info(peer, fd)
    assert (info.failures, info.delivered_ce) == (MANGLED_ACE if failed else 0, 0)
    peer.app.send(fd, b"x")
    assert shown(soon(peer)) == [("PA", 5, NOT_ECT if failed else ECT0)]


def test_a_marked_syn_ack_is_a_delivered_mark(peers):
    peer, fd, _ = passive(peers, ace=6, fallback=0)
    assert Info(peer, fd).delivered_ce == 1


@both
def test_a_third_packet_with_data_is_not_judged(peers):
    peer = peers({ECN: 1, COOKIES: 2})
    listener = peer.listen()
    put(peer, "S", 3)
    assert shown(put(peer, "PA", 6, seq=1, ack=1, data=10, tos=CE)) == [("A", 6, ECT0)]
    info = Info(peer, peer.accept(listener))
    assert (info.failures, info.delivered_ce, info.received_ce) == (0, 0, 1)


@both
@pytest.mark.parametrize("ace", range(8))
def test_a_cookie_remembers_ecn_and_the_third_packet_which(peers, ace):
    """RFC 9768 5.1: with ACE 2 to 7 it was the accurate one."""
    peer, fd = by_cookie(peers, ace)
    assert outcome(peer, fd) == ("classic" if ace < 2 else "accurate") if ace not in (3, 4, 6) else True
    info = Info(peer, fd)
    assert info.options & 8
    assert info.failures == (MANGLED_ACE if ace in (3, 4, 6) else 0)
    assert info.seen == 0, "the third packet's option is not looked at"


@both
def test_a_cookie_without_timestamps_forgets_ecn(peers):
    peer = peers({ECN: 1, COOKIES: 2})
    listener = peer.listen()
    assert shown(put(peer, "S", 3, ts=False)) == [("SA", 0, NOT_ECT)]
    tell(peer, "A", 2, seq=1, ack=1, ts=False)
    assert outcome(peer, peer.accept(listener)) == "none"


@both
def test_a_cookie_forgets_ecn_that_was_turned_off_meanwhile(peers):
    peer = peers({ECN: 1, COOKIES: 2})
    listener = peer.listen()
    assert shown(put(peer, "S", 3)) == [("SA", 1, NOT_ECT)]
    peer.sysctl(ECN, 0)
    tell(peer, "A", 0, seq=1, ack=1)
    assert outcome(peer, peer.accept(listener)) == "none"


def test_a_simultaneous_open_agrees_when_both_ask(peers):
    peer = peers({ECN: 3})
    fd = peer.connect()
    assert shown(soon(peer)) == [("S", 7, NOT_ECT)]
    (crossed,) = put(peer, "S", 7, tos=ECT0)
    assert shown([crossed]) == [("SA", 4, NOT_ECT)]
    assert fields(crossed) == "1 0 1"
    (third,) = put(peer, "SA", 2, START, ack=1)
    assert shown([third]) == [("A", 4, ECT0)]
    tell(peer, "A", 2, seq=1, ack=1)
    assert outcome(peer, fd) == "accurate"
    assert Info(peer, fd).failures == 0


@both
def test_a_simultaneous_open_with_classic_ecn(peers):
    peer = peers({ECN: 1})
    fd = peer.connect()
    soon(peer)
    assert shown(put(peer, "S", 3)) == [("SA", 1, NOT_ECT)]
    assert shown(put(peer, "SA", 1, ack=1)) == [("A", 0, NOT_ECT)]
    tell(peer, "A", 0, seq=1, ack=1)
    assert outcome(peer, fd) == "classic"


@both
def test_a_syn_ack_that_comes_again_is_answered_as_the_first_was(peers):
    """Its option counts if there was none before."""
    peer, fd, _ = active(peers, mark=ECT1)
    peer.run(0.6)
    (again,) = put(peer, "SA", 2, START, ack=1)
    assert shown([again]) == [("A", 3, ECT0)]
    assert fields(again) == "1 0 1"
    assert Info(peer, fd).seen == 2


# Counters: what came


@both
def test_every_marked_packet_counts_and_octets_by_codepoint(peers):
    peer, fd, _ = active(peers)
    seen = put(peer, "A", 5, seq=1, data=100, tos=CE)
    seen += put(peer, "A", 5, seq=101, data=200, tos=CE)
    seen += put(peer, "A", 5, seq=301, data=300, tos=ECT0)
    seen += put(peer, "A", 5, seq=601, tos=CE)
    seen += put(peer, "A", 5, seq=601, data=400, tos=ECT1)
    assert [ace for _, ace, _ in shown(seen)] == [6, 7, 7, 0]
    info = Info(peer, fd)
    assert info.received_ce == 3
    assert info.received == (400, 300, 300)
    assert info.options & 16


@both
def test_duplicates_and_what_is_out_of_order_count(peers):
    peer, fd, _ = active(peers)
    seen = put(peer, "A", 5, seq=1, data=10, tos=CE)
    seen += put(peer, "A", 5, seq=1, data=10, tos=CE)
    seen += put(peer, "A", 5, seq=31, data=10, tos=CE)
    assert [ace for _, ace, _ in shown(seen)] == [6, 7, 0]
    assert Info(peer, fd).received == (0, 0, 30)


@both
def test_what_is_out_of_window_does_not_count(peers):
    peer, fd, _ = active(peers)
    seen = put(peer, "A", 5, seq=10**7, data=10, tos=CE)
    assert shown(seen) == [("A", 5, ECT0)]
    assert Info(peer, fd).received_ce == 0


@both
def test_marks_count_in_established_only(peers):
    peer, fd, _ = active(peers)
    tell(peer, "A", 5, seq=1, data=10, tos=CE)
    peer.app.shutdown(fd, socket.SHUT_WR)
    assert shown(soon(peer)) == [("FA", 6, ECT0)]
    assert shown(put(peer, "A", 5, seq=11, ack=1, data=10, tos=CE)) == [("A", 6, ECT0)]
    tell(peer, "A", 5, seq=21, ack=2)
    assert shown(put(peer, "A", 5, seq=21, ack=2, data=10, tos=CE)) == [("A", 6, ECT0)]
    assert Info(peer, fd).received_ce == 1
    assert shown(put(peer, "FA", 5, seq=31, ack=2, tos=CE)) == [("A", 6, ECT0)]
    assert shown(put(peer, "FA", 5, seq=31, ack=2, tos=CE)) == [("A", 0, NOT_ECT)], "TIME-WAIT remembers no counters"


@both
def test_a_connection_without_ecn_counts_what_comes(peers):
    peer = peers({ECN: 0})
    listener = peer.listen()
    peer.handshake()
    fd = peer.accept(listener)
    for n, mark in enumerate((CE, ECT1, ECT0)):
        assert shown(peer.inject("A", seq=1 + 100 * n, data=100, tos=mark)) == [("A", 0, NOT_ECT)]
    peer.inject("A", seq=301, tos=CE)
    info = Info(peer, fd)
    assert (info.received_ce, info.received, info.options & 24) == (2, (100, 100, 100), 16)


@both
def test_everything_that_leaves_is_ect_and_has_the_counter(peers):
    """RFC 9768 allows it: the counter protects what RFC 3168 could not."""
    peer, fd, _ = active(peers)
    for level, name, value in ((1, 9, 1), (6, 4, 2)):
        peer.app.setsockopt(fd, level, name, value)
    tell(peer, "A", 5, seq=1, data=10, tos=CE)
    peer.app.send(fd, b"x" * 200)
    assert shown(soon(peer)) == [("PA", 6, ECT0)]
    assert set(shown(peer.run(0.4))) == {("PA", 6, ECT0)}, "a retransmission"
    tell(peer, "A", 5, seq=11, ack=201)
    assert shown(peer.run(2.2)) == [("A", 6, ECT0)], "a keepalive probe"
    tell(peer, "A", 5, seq=11, ack=201)
    assert shown(put(peer, "R", 5, seq=100)) == [("A", 6, ECT0)], "a challenge"
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.app.close(fd)
    assert shown(soon(peer)) == [("RA", 6, ECT0)]


# Acknowledgments that come at once


@both
def test_a_change_of_codepoint_is_acknowledged_at_once(peers):
    """RFC 9768 3.2.2.5.1, change-triggered ACKs; a marked packet like the one before waits its turn."""
    peer, fd, _ = active(peers)
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    at_once = []
    for n, mark in enumerate((ECT0, ECT0, CE, CE, ECT0, ECT0, ECT1, NOT_ECT)):
        seen = put(peer, "A", 5, seq=1 + 10 * n, data=10, tos=mark)
        at_once.append(bool(seen))
        peer.run(0.3)
        peer.app.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    assert at_once == [True, False, True, False, True, False, True, True]


@both
def test_a_pure_acknowledgment_is_not_acknowledged_but_the_next_data_is(peers):
    peer, fd, _ = active(peers)
    tell(peer, "A", 5, seq=1, data=10, tos=ECT0)
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    assert put(peer, "A", 5, seq=11, tos=CE) == []
    assert shown(put(peer, "A", 5, seq=11, data=10, tos=CE)) == [("A", 7, ECT0)]


# The option


@both
@pytest.mark.parametrize(
    ("option", "seen", "failures", "first"),
    [
        (START, 2, 0, "1 0 1"),
        (order_0(1, 0, 1), 2, 0, "1 0 1"),
        (order_1(), 1, 0, "1 0 1"),
        (order_1(1), 2, 0, "1 0 1"),
        (order_1(1, 0), 2, 0, "1 0 1"),
        (order_1(0, 0, 0), 3, MANGLED_OPTION, "1 0 1"),
        (order_1(1, 0, 0), 3, MANGLED_OPTION, "1 0 1"),
        (bytes((174, 4, 0, 1)), 1, 0, "1 0 1"),
        (b"", 0, 0, ""),
    ],
)
def test_the_option_of_the_syn_ack_opens_the_way_for_ours(peers, option, seen, failures, first):
    """One that a middlebox zeroed is not read any more (RFC 9768 3.2.3.2.4), but ours is still sent."""
    peer, fd, third = active(peers, option=option)
    assert [fields(each) for each in third] == [first]
    info = Info(peer, fd)
    assert (info.seen, info.failures) == (seen, failures)


@both
def test_the_option_tells_octets_and_takes_its_room_from_the_data(peers):
    peer, fd, _ = active(peers, option=START)
    seen = put(peer, "A", 5, START, seq=1, data=100, tos=CE)
    seen += put(peer, "A", 5, START, seq=101, data=50, tos=ECT0)
    seen += put(peer, "A", 5, START, seq=151, data=7, tos=ECT1)
    assert [fields(each) for each in seen] == ["1 100 1", "1 100 51", "8 100 51"]
    peer.app.send(fd, bytes(3000))
    assert [each.split()[1] for each in soon(peer)] == ["1:1437", "1437:2873", "2873:3001"]


@both
def test_without_the_option_nothing_but_the_counter_is_sent(peers):
    peer = peers({ECN: 1, OPTION: 0})
    peer.connect()
    soon(peer)
    seen = put(peer, "SA", 2, START, ack=1) + put(peer, "A", 5, START, seq=1, data=100, tos=CE)
    assert [fields(each) for each in seen] == ["", ""]


@both
def test_sparing_options_are_sent_when_something_changed(peers):
    """tcp_ecn_option=1: the two segments after a mark, and those that the peer's first option asks for."""
    peer, _, third = active_sparing(peers, beacon=0)
    seen = list(third)
    for n, mark in enumerate((CE, ECT0, ECT0, ECT0, ECT0, ECT1, NOT_ECT, NOT_ECT, NOT_ECT)):
        seen += put(peer, "A", 5, START, seq=1 + 10 * n, data=10, tos=mark)
    told = [fields(each) for each in seen]
    assert told == ["1 0 1", "1 10 1", "1 10 11", "1 10 21", "", "", "11 10 41", "11 10 41", "11 10 41", ""]


def active_sparing(peers, beacon, after=0.0):
    peer = peers({ECN: 1, OPTION: 1, BEACON: beacon})
    fd = peer.connect()
    peer.run(after) if after else soon(peer)
    return peer, fd, put(peer, "SA", 2, START, ack=1)


@both
def test_a_beacon_comes_once_in_so_many_parts_of_a_round_trip(peers):
    peer, _, _ = active_sparing(peers, beacon=1, after=0.9)
    seen = []
    for n in range(4):
        seen += put(peer, "A", 5, START, seq=1 + 10 * n, data=10, tos=ECT0)
    assert [fields(each) for each in seen] == ["1 0 11", "1 0 21", "", ""]
    peer.run(1.0)
    seen = put(peer, "A", 5, START, seq=41, data=10, tos=ECT0) + put(peer, "A", 5, START, seq=51, data=10, tos=ECT0)
    assert [fields(each) for each in seen] == ["1 0 51", ""]


@both
@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (NOT_ECT, [(1, "1 0 1"), (2, "1 0"), (3, "empty"), (3, "empty")]),
        (ECT1, [(1, "11 0 1"), (2, "21 0"), (2, "31 0"), (2, "41 0")]),
        (ECT0, [(1, "1 0 11"), (2, ""), (3, ""), (3, "")]),
        (CE, [(1, "1 10 1"), (2, "1 20"), (2, "1 30"), (2, "1 40")]),
    ],
)
def test_sack_blocks_and_the_option_share_the_room(peers, mark, told):
    """Fields that tell nothing new are left out first; a third block gives way to one that does."""
    peer, _, _ = active(peers, option=START)
    found = []
    for n in range(len(told)):
        seen = put(peer, "A", 5, START, seq=101 + 100 * n, data=10, tos=mark) or soon(peer)
        found += [(len(each.segment.sacks), fields(each)) for each in seen]
    assert found == told


# What the peer's counters say


def sender(peers, option=START, segments=60):
    """A connection that sends 10 segments and has more; the size of a segment too."""
    peer, fd, _ = active(peers, option=option, mss=1000, after=0.3)
    peer.app.send(fd, bytes(segments * 1000))
    size = 976 if option else 988
    assert sum(each.segment.length for each in soon(peer)) == 10 * size
    return peer, fd, size


@both
def test_each_step_of_the_counter_is_a_marked_packet(peers):
    peer, fd, size = sender(peers, b"")
    known = []
    for n, ace in enumerate((5, 6, 6, 7, 1)):
        tell(peer, "A", ace, seq=1, ack=1 + (2 * n + 2) * size)
        known.append(Info(peer, fd).delivered_ce)
    assert known == [0, 1, 1, 2, 4]


@both
def test_marks_reduce_the_window_once_in_a_round_trip(peers):
    peer, fd, size = sender(peers)
    for n in range(1, 6):
        tell(peer, "A", 5 + n, order_1(1, n * size, 1 + n * size), seq=1, ack=1 + 2 * n * size)
    info = Info(peer, fd)
    assert (info.state, info.ssthresh, info.delivered_ce) == (2, 5, 5)
    assert info.cwnd <= 5
    assert peer.counter("TcpExtTCPDeliveredCE") == 5


@both
@pytest.mark.parametrize(("ace", "marked"), [(5, 8), (6, 9), (7, 10), (0, 3), (2, 5)])
def test_a_counter_that_may_have_wrapped_is_read_on_the_safe_side(peers, ace, marked):
    """Ten packets acknowledged at once and no option: as many marks as fit (RFC 9768 A.2.1)."""
    peer, fd, size = sender(peers, b"")
    tell(peer, "A", ace, seq=1, ack=1 + 10 * size)
    assert Info(peer, fd).delivered_ce == marked


@both
@pytest.mark.parametrize(
    ("ace", "packets", "marked"), [(5, 0, 0), (6, 1, 1), (6, 9, 9), (7, 2, 2), (7, 1, 2), (7, 10, 10)]
)
def test_marked_octets_tell_whether_the_counter_wrapped(peers, ace, packets, marked):
    peer, fd, size = sender(peers)
    tell(peer, "A", 5, order_1(1, 0, 3), seq=1, ack=3)
    tell(peer, "A", ace, order_1(1, packets * size, 1 + (10 - packets) * size), seq=1, ack=1 + 10 * size)
    assert Info(peer, fd).delivered_ce == marked


@both
@pytest.mark.parametrize(
    ("ace", "packets", "marked"), [(5, 0, 0), (6, 1, 1), (6, 9, 9), (6, 17, 17), (5, 8, 8), (5, 16, 16)]
)
def test_of_many_packets_marked_octets_tell_how_often_it_wrapped(peers, ace, packets, marked):
    peer, fd, size = sender(peers)
    tell(peer, "A", 5, order_1(1, 0, 3), seq=1, ack=3)
    seen = tell(peer, "A", 5, order_1(1, 0, 1 + 10 * size), seq=1, ack=1 + 10 * size) + peer.run(0.1)
    assert sum(each.segment.length for each in seen) == 20 * size
    tell(peer, "A", ace, order_1(1, packets * size, 1 + (30 - packets) * size), seq=1, ack=1 + 30 * size)
    assert Info(peer, fd).delivered_ce == marked


@both
def test_options_of_both_orders_are_read_and_gaps_are_guessed(peers):
    peer, fd, size = sender(peers)
    given = [
        (order_1(1, 0, 1 + 2 * size), (0, 2 * size, 0)),
        (order_0(1 + 4 * size), (0, 4 * size, 0)),
        (b"", (0, 6 * size, 0)),
        (order_1(1, size, 1 + 7 * size), (0, 7 * size, size)),
    ]
    for n, (option, delivered) in enumerate(given):
        tell(peer, "A", 6 if n == 3 else 5, option, seq=1, ack=1 + 2 * (n + 1) * size)
        assert Info(peer, fd).delivered == delivered, n


@both
def test_an_acknowledgment_that_may_have_been_overtaken_is_not_read(peers):
    """Without progress of data or timestamps (RFC 9768 3.2.2.5.1)."""
    peer, fd, size = sender(peers)
    tell(peer, "A", 5, order_1(1, 0, 1 + 2 * size), seq=1, ack=1 + 2 * size)
    peer.tsval -= 1
    tell(peer, "A", 7, order_1(1, size, 1 + size), seq=1, ack=1 + 2 * size)
    assert Info(peer, fd).delivered_ce == 0
    tell(peer, "A", 7, order_1(1, size, 1 + size), seq=1, ack=1 + 2 * size)
    assert Info(peer, fd).delivered_ce == 2


@both
def test_sacked_packets_count_as_delivered(peers):
    peer, fd, size = sender(peers)
    peer.run(0.05)
    tell(peer, "A", 6, sacks=[(1 + size, 1 + 3 * size)], seq=1, ack=1)
    assert Info(peer, fd).delivered_ce == 1
    tell(peer, "A", 0, sacks=[(1 + size, 1 + 4 * size)], seq=1, ack=1)
    assert Info(peer, fd).delivered_ce == 3


# Parameters


def test_only_the_latest_kernel_knows_accurate_ecn():
    for profile in PROFILES:
        sysctl = Sysctl(profile)
        if profile == "linux-6.18":
            assert [sysctl[ECN], sysctl[OPTION], sysctl[BEACON]] == [2, 2, 3]
            for value in range(6):
                sysctl[ECN] = value
            continue
        with pytest.raises(UsageError, match="tcp_ecn"):
            sysctl[ECN] = 3
        with pytest.raises(UsageError, match=OPTION):
            sysctl[OPTION] = 1
        if profile != "freebsd":
            sysctl[ECN] = 1


@pytest.mark.parametrize("profile", [name for name in PROFILES if name not in ("linux-6.18", "freebsd")])
def test_other_kernels_take_no_accurate_answer_and_count_nothing(peers, profile):
    for ace, taken in ((1, "classic"), (2, "none"), (3, "none"), (4, "none"), (5, "classic"), (6, "none")):
        peer = peers({ECN: 1}, profile=profile)
        fd = peer.connect()
        peer.take()
        put(peer, "SA", ace, ack=1)
        assert outcome(peer, fd) == taken
        tell(peer, "A", 0, seq=1, ack=1, data=10, tos=CE)
        assert Info(peer, fd).received_ce == 0


@pytest.mark.parametrize("mark", ALL)
def test_a_fast_open_speaks_accurate_ecn_from_its_syn_on(peers, mark):
    peer = peers({ECN: 3, "net.ipv4.tcp_fastopen": 0x203})
    listener = peer.listen(80, 128, (socket.IPPROTO_TCP, 23, 5))
    (answer,) = put(peer, "S", 7, data=100, tos=mark)
    assert answer.endswith(" 0:0 ack 101")
    assert shown([answer]) == [("SA", REFLECTED[mark], NOT_ECT)]
    assert fields(answer) == "1 0 1"
    fd = peer.accept(listener)
    info = Info(peer, fd)
    assert info.received_ce == (1 if mark == CE else 0)
    assert sum(info.received) == (100 if mark else 0)
    assert outcome(peer, fd) == "accurate" if mark != CE else True


@both
def test_ranges_are_the_kernels(peers):
    peer = peers()
    for name, most in ((OPTION, 2), (BEACON, 3), (FALLBACK, 1)):
        peer.sysctl(name, most)
        with pytest.raises((OSError, UsageError)):
            peer.sysctl(name, most + 1)
        assert peer.sysctl(name) == str(most)
