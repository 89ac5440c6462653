"""ICMP: names, replies, errors and what they quote."""

import pytest

from timewait.base.errors import WireError
from timewait.wire import icmp, serialize
from timewait.wire.address import pack
from timewait.wire.packet import ACK, Datagram, IcmpMessage, RawPacket, Segment
from timewait.wire.parse import parse

A4, B4, R4 = pack("10.0.0.1"), pack("10.0.0.2"), pack("10.0.0.254")
A6, B6, R6 = pack("fd00::1"), pack("fd00::2"), pack("fd00::ff")


def segment(src, dst, size):
    s = Segment()
    s.src, s.dst, s.proto, s.sport, s.dport, s.seq, s.flags, s.tos = src, dst, 6, 40000, 80, 2**32 - 3, ACK, 0xFF
    s.payload, s.length, s.ident = bytes(size), size, 77 if len(src) == 4 else 0
    return s


@pytest.mark.parametrize(("src", "dst", "router"), [(A4, B4, R4), (A6, B6, R6)])
@pytest.mark.parametrize("size", [0, 10, 2000])
def test_an_error_quotes_and_is_understood(src, dst, router, size):
    original = segment(src, dst, size)
    data = serialize.serialize(original)
    v6 = len(src) == 16
    kind, code = (icmp.V6_PACKET_TOO_BIG, 0) if v6 else (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED)
    error = icmp.error(original, data, router, kind, code, rest=1400)
    sent = serialize.serialize(error)
    assert len(sent) == min((1280 if v6 else 576), (48 if v6 else 28) + len(data))
    assert error.tos == (0 if v6 else 0xDE)
    found = parse(sent)
    assert isinstance(found, IcmpMessage) and found.dst == src
    assert icmp.is_error(found) and icmp.next_hop_mtu(found) == 1400
    quote = icmp.parse_quote(found)
    assert (quote.src, quote.dst, quote.proto) == (src, dst, 6)
    assert (quote.sport, quote.dport, quote.seq, quote.length) == (40000, 80, 2**32 - 3, len(data))
    assert quote.ident == original.ident
    reply = segment(dst, src, 0)
    reply.sport, reply.dport = 80, 40000
    assert quote.reply_flow == parse(serialize.serialize(reply)).flow == original.reply_flow


def test_the_minimal_quote():
    original = segment(A4, B4, 100)
    error = icmp.error(original, serialize.serialize(original), R4, 3, 3, limit=icmp.V4_MINIMAL)
    assert len(error.payload) == 28
    assert icmp.parse_quote(error).seq == 2**32 - 3


@pytest.mark.parametrize("size", range(20, 28))
def test_short_quotes_tell_what_they_have(size):
    error = IcmpMessage()
    error.src, error.type, error.payload = R4, 3, serialize.serialize(segment(A4, B4, 0))[:size]
    quote = icmp.parse_quote(error)
    assert quote.sport == (40000 if size >= 24 else -1)
    assert quote.seq == -1
    assert (quote.reply_flow == b"") == (size < 24)


@pytest.mark.parametrize(
    "payload", [b"", b"\x45" + bytes(18), b"\x65" + bytes(30), b"\x44" + bytes(30), b"\x4f" + bytes(30)]
)
def test_no_quote(payload):
    error = IcmpMessage()
    error.src, error.payload = R4, payload
    with pytest.raises(WireError, match="icmp-quote"):
        icmp.parse_quote(error)
    error.src = R6
    with pytest.raises(WireError, match="icmp-quote"):
        icmp.parse_quote(error)


def test_a_quote_cut_inside_an_extension_header():
    error = IcmpMessage()
    error.src = R6
    error.payload = b"\x60\0\0\0\0\x40" + bytes((60, 64)) + A6 + B6 + bytes((6, 3, 0, 0))
    quote = icmp.parse_quote(error)
    assert (quote.src, quote.dst, quote.sport, quote.length) == (A6, B6, -1, 104)


@pytest.mark.parametrize(("src", "dst", "request_type", "reply_type"), [(A4, B4, 8, 0), (A6, B6, 128, 129)])
def test_echo(src, dst, request_type, reply_type):
    ping = IcmpMessage()
    ping.src, ping.dst, ping.proto, ping.type = src, dst, 58 if len(src) == 16 else 1, request_type
    ping.rest, ping.payload = 0x12340001, b"ping"
    reply = parse(serialize.serialize(icmp.echo_reply(ping)))
    assert (reply.src, reply.dst, reply.type, reply.rest, bytes(reply.payload)) == (
        dst, src, reply_type, 0x12340001, b"ping",
    )  # fmt: skip


def message(src, kind, code, rest=0):
    found = IcmpMessage()
    found.src, found.type, found.code, found.rest = src, kind, code, rest
    return found


def test_names():
    assert icmp.describe(message(A4, 3, 3)) == "port unreachable"
    assert icmp.describe(message(A4, 3, 4, 0xABCD0578)) == "fragmentation needed (mtu 1400)"
    assert icmp.describe(message(A4, 3, 99)) == "destination unreachable, code 99"
    assert icmp.describe(message(A4, 8, 0)) == "echo request"
    assert icmp.describe(message(A4, 77, 0)) == "ICMP type 77"
    assert icmp.describe(message(A6, 2, 0, 1280)) == "packet too big (mtu 1280)"
    assert icmp.describe(message(A6, 1, 4)) == "port unreachable"
    assert [icmp.V4_CODES[3, code] for code in range(16)] and [icmp.V6_CODES[1, code] for code in range(7)]


def test_when_no_error_is_sent():
    def about(packet, src=A4, dst=B4):
        packet.src, packet.dst = src, dst
        return icmp.error_allowed(packet)

    assert about(Datagram()) and about(message(A4, 8, 0)) and about(Datagram(), A6, B6)
    assert not about(message(A4, 3, 3)) and not about(message(A6, 2, 0), A6, B6)
    later = RawPacket()
    later.fragment_offset = 8
    assert not about(later)
    for bad in ("224.0.0.1", "255.255.255.255", "0.0.0.0"):
        assert not about(Datagram(), pack(bad))
    assert not about(Datagram(), A4, pack("224.0.0.1")) and not about(Datagram(), A6, pack("ff02::1"))
