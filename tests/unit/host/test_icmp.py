import errno

import pytest

from timewait.base.instant import SEC
from timewait.host.icmp import IcmpLayer, error_meaning, read_error
from timewait.host.route import NetDevice, RouteTable
from timewait.tcp.counters import Counters
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.sysctl import Sysctl
from timewait.wire import icmp as wire
from timewait.wire import parse, serialize
from timewait.wire.address import pack, parse_prefix
from timewait.wire.packet import ACK, PROTO_ICMP, PROTO_TCP, PROTO_UDP, Datagram, IcmpMessage, Segment, make_flow


@pytest.fixture
def layer():
    routes = RouteTable()
    device = NetDevice("eth0")
    routes.add_device(device)
    for text in ("10.0.0.1/24", "fd00::1/64"):
        routes.add_address(device, *parse_prefix(text))
    return IcmpLayer(Sysctl(), Counters(), routes)


def datagram(src="10.0.0.2", dst="10.0.0.1"):
    packet = Datagram()
    packet.src, packet.dst, packet.proto = pack(src), pack(dst), PROTO_UDP
    packet.sport, packet.dport, packet.payload = 4000, 53, bytes(2000)
    return packet


def message(kind, code, rest=0, v6=False):
    made = IcmpMessage()
    made.src = pack("fd00::9" if v6 else "10.0.0.9")
    made.type, made.code, made.rest = kind, code, rest
    return made


def unreachable(layer, packet, now=0):
    return layer.error(packet, wire.UNREACHABLE, wire.PORT_UNREACHABLE, now)


def test_port_unreachable_quotes_the_datagram_up_to_576_octets(layer):
    answer = unreachable(layer, datagram())
    assert (answer.src, answer.dst, answer.why) == (pack("10.0.0.1"), pack("10.0.0.2"), Why.ICMP_ERROR)
    assert serialize.wire_length(answer) == 576
    assert layer.counters.IcmpOutDestUnreachs == 1
    found = read_error(parse.parse(serialize.serialize(answer)))
    assert (found.errno, found.fatal) == (errno.ECONNREFUSED, True)
    assert found.flow == make_flow(pack("10.0.0.1"), pack("10.0.0.2"), 53, 4000)


@pytest.mark.parametrize(
    "src, dst",
    [
        ("10.0.0.2", "10.0.0.255"),
        ("10.0.0.2", "224.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("10.0.0.255", "10.0.0.1"),
        ("224.0.0.1", "10.0.0.1"),
        ("fd00::2", "ff02::1"),
    ],
)
def test_never_about_groups_or_to_nobody(layer, src, dst):
    assert unreachable(layer, datagram(src, dst)) is None


def test_never_about_errors_or_later_fragments_but_about_pings(layer):
    later = datagram()
    later.fragment_offset = 8
    assert unreachable(layer, later) is None
    about = message(wire.UNREACHABLE, 1)
    about.dst, about.proto = pack("10.0.0.1"), PROTO_ICMP
    assert unreachable(layer, about) is None
    about.type = wire.ECHO
    assert unreachable(layer, about) is not None


def test_one_destination_gets_six_at_once_then_one_a_second(layer):
    assert sum(unreachable(layer, datagram()) is not None for _ in range(20)) == 6
    assert layer.counters.IcmpOutRateLimitHost == 14
    assert [unreachable(layer, datagram(), t) is not None for t in (SEC - 1, SEC, SEC + 1)] == [False, True, False]


def test_the_whole_host_is_limited_to_its_burst(layer):
    sent = [unreachable(layer, datagram(f"10.0.0.{n}")) is not None for n in range(2, 102)]
    assert sum(sent) == 50 and layer.counters.IcmpOutRateLimitGlobal == 50
    assert unreachable(layer, datagram("10.0.0.200"), SEC // 10000) is not None
    assert unreachable(layer, datagram("10.0.0.201"), SEC // 10000) is None


def test_fragmentation_needed_is_never_limited(layer):
    assert all(layer.error(datagram(), wire.UNREACHABLE, wire.FRAGMENTATION_NEEDED, 0) for _ in range(100))


def test_echo(layer):
    ping = message(wire.ECHO, 0, 0x12340001)
    ping.dst, ping.proto, ping.payload = pack("10.0.0.1"), PROTO_ICMP, b"data"
    pong = layer.answer(ping, 0)
    assert (pong.type, pong.rest, pong.payload, pong.dst) == (0, 0x12340001, b"data", ping.src)
    assert pong.why is Why.ECHO_REPLY
    ping.dst = pack("10.0.0.255")
    assert layer.answer(ping, 0) is Drop.ECHO_IGNORED
    ping.dst = pack("10.0.0.1")
    layer.sysctl.icmp_echo_ignore_all = 1
    assert layer.answer(ping, 0) is Drop.ECHO_IGNORED


def test_meanings_of_version_4():
    names = [errno.errorcode[error_meaning(message(3, code))[0]] for code in range(16)]
    assert names == [
        "ENETUNREACH",
        "EHOSTUNREACH",
        "ENOPROTOOPT",
        "ECONNREFUSED",
        "EMSGSIZE",
        errno.errorcode[errno.EOPNOTSUPP],
        "ENETUNREACH",
        "EHOSTDOWN",
        "ENONET",
        "ENETUNREACH",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EHOSTUNREACH",
        "EHOSTUNREACH",
        "EHOSTUNREACH",
        "EHOSTUNREACH",
    ]
    fatal = [code for code in range(16) if error_meaning(message(3, code))[1]]
    assert fatal == [2, 3, 6, 7, 8, 9, 10, 13, 14, 15]
    assert error_meaning(message(11, 0)) == (errno.EHOSTUNREACH, False)
    assert error_meaning(message(12, 0)) == (errno.EPROTO, True)
    assert [error_meaning(message(*m)) for m in ((3, 16), (4, 0), (5, 0), (8, 0))] == [None] * 4


def test_meanings_of_version_6():
    assert error_meaning(message(1, 0, v6=True)) == (errno.ENETUNREACH, False)
    assert error_meaning(message(1, 4, v6=True)) == (errno.ECONNREFUSED, True)
    assert error_meaning(message(2, 0, v6=True)) == (errno.EMSGSIZE, False)
    assert error_meaning(message(3, 0, v6=True)) == (errno.EHOSTUNREACH, False)
    assert error_meaning(message(129, 0, v6=True)) is None


@pytest.mark.parametrize("named, expected", [(1400, 1400), (0, 1492)])
def test_a_tcp_quote_gives_flow_sequence_and_mtu(named, expected):
    seg = Segment()
    seg.src, seg.dst, seg.proto = pack("10.0.0.1"), pack("10.0.0.2"), PROTO_TCP
    seg.sport, seg.dport, seg.seq, seg.flags, seg.payload, seg.length = 4000, 80, 2**32 - 5, ACK, bytes(1460), 1460
    error = message(3, 4, named)
    error.payload = serialize.serialize(seg)[:28]
    found = read_error(error)
    assert (found.quote.seq, found.mtu) == (2**32 - 5, expected)
    assert found.flow == make_flow(seg.dst, seg.src, 80, 4000)
