"""Packets picked by words."""

import pytest

from support.fake_host import datagram, segment
from timewait.base.errors import UsageError
from timewait.tcp.reasons import Why
from timewait.wire.packet import ACK, FIN, PSH, RST, SYN, IcmpMessage, RawPacket
from timewait.world.words import Kind, parse_words


def fragment():
    packet = RawPacket()
    packet.more_fragments = True
    return packet


SAMPLES = {
    "SYN": segment(flags=SYN),
    "SYN-ACK": segment(flags=SYN | ACK),
    "ACK": segment(flags=ACK),
    "data": segment(flags=ACK | PSH, payload=b"x"),
    "FIN": segment(flags=FIN | ACK),
    "FIN with data": segment(flags=FIN | ACK | PSH, payload=b"x"),
    "RST": segment(flags=RST),
    "RTO": segment(flags=ACK, payload=b"x", why=Why.RTO),
    "window probe": segment(flags=ACK, why=Why.WINDOW_PROBE),
    "UDP": datagram(),
    "ICMP": IcmpMessage(),
    "fragment": fragment(),
}
SEGMENTS = [name for name, packet in SAMPLES.items() if name not in ("UDP", "ICMP", "fragment")]


@pytest.mark.parametrize(
    ("words", "caught"),
    [
        ("SYN", ["SYN"]),
        ("every SYN", ["SYN"]),
        ("all SYN-ACKs", ["SYN-ACK"]),
        ("synack", ["SYN-ACK"]),
        ("SYN ACK", ["SYN-ACK"]),
        ("ACK", ["ACK", "window probe"]),
        ("pure ACKs", ["ACK", "window probe"]),
        ("any FIN", ["FIN", "FIN with data"]),
        ("RST", ["RST"]),
        ("resets", ["RST"]),
        ("data", ["data", "FIN with data", "RTO"]),
        ("data segments", ["data", "FIN with data", "RTO"]),
        ("segment", SEGMENTS),
        ("every packet", list(SAMPLES)),
        ("retransmissions", ["RTO"]),
        ("RTO", ["RTO"]),
        ("window probe", ["window probe"]),
        ("zero window_probe", None),
        ("UDP", ["UDP"]),
        ("datagrams", ["UDP"]),
        ("ICMP", ["ICMP"]),
        ("fragment", ["fragment"]),
    ],
)
def test_kinds(words, caught):
    if caught is None:
        with pytest.raises(UsageError):
            parse_words(words)
        return
    matcher = parse_words(words)
    assert [name for name, packet in SAMPLES.items() if matcher.matches(packet)] == caught


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("data", [1, 2, 3, 4, 5, 6, 7]),
        ("first data", [1]),
        ("second data", [2]),
        ("2nd data", [2]),
        ("third data segment", [3]),
        ("7th data", [7]),
        ("every second data", [2, 4, 6]),
        ("every 3rd data", [3, 6]),
        ("first 3 data segments", [1, 2, 3]),
        ("5th and later data", [5, 6, 7]),
        ("sixth and following data", [6, 7]),
    ],
)
def test_counts(words, numbers):
    matcher = parse_words(words)
    caught = []
    for number in range(1, 8):
        matcher.matches(SAMPLES["ACK"])
        if matcher.matches(SAMPLES["data"]):
            caught.append(number)
    assert caught == numbers


def test_counting_for_each_connection():
    matcher = parse_words("second data of each connection")
    a, b = segment(payload=b"x"), segment(payload=b"x", sport=40001)
    answer = segment("10.0.0.2", "10.0.0.1", sport=80, dport=40000, payload=b"x")
    assert [matcher.matches(p) for p in (a, b, answer, a, b)] == [False, False, True, False, True]


def test_ends():
    matcher = parse_words("2nd SYN-ACK from server to client", ("client", "server"))
    assert (matcher.kind, matcher.first, matcher.last) == (Kind.SYN_ACK, 2, 2)
    assert (matcher.sender, matcher.receiver) == ("server", "client")
    with pytest.raises(UsageError, match="no host 'moon' on this link; there are client, server"):
        parse_words("every FIN from moon", ("client", "server"))


@pytest.mark.parametrize("words", ["", "every", "second", "0th SYN", "SYN SYN", "first 0 SYN", "the FIN"])
def test_what_is_not_understood_is_told_what_is(words):
    with pytest.raises(UsageError, match=r"which: every, first, 2nd.*syn ack.*handshake ack"):
        parse_words(words)
