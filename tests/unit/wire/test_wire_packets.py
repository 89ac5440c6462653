"""Whole packets: exact bytes, round trips in both directions, and every refusal by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timewait.base.errors import WireError
from timewait.wire import icmp, serialize, tcp
from timewait.wire.address import pack
from timewait.wire.checksum import checksum, pseudo_sum
from timewait.wire.packet import (
    ACK,
    PROTO_TCP,
    SYN,
    Datagram,
    IcmpMessage,
    Packet,
    RawPacket,
    Segment,
    make_flow,
)
from timewait.wire.parse import CHECKSUM_REASONS, parse, parse_transport

A4, B4 = pack("10.0.0.1"), pack("10.0.0.2")
A6, B6 = pack("fd00::1"), pack("fd00::2")

SYN_BYTES = bytes.fromhex(
    # A SYN as Linux sends it, without its checksums (test_wire_pcapng has tshark verify those).
    "4500003c1c4640004006 0000 0a000001 0a000002"
    "9c40 0050 fffffffd 00000000 a002 faf0 0000 0000"
    "020405b4 0402080a 0000000100000000 01030307"
)

DERIVED = {"copy", "reply_flow", "seq_len"}
FIELDS = {
    kind: sorted(name for name in dir(kind()) if not name.startswith("_") and name not in DERIVED)
    for kind in (Segment, Datagram, IcmpMessage, RawPacket)
}


def fields(packet):
    """Every field by name, payloads as bytes; the class stands in it too."""
    found = {name: getattr(packet, name) for name in FIELDS[type(packet)]}
    found["payload"] = bytes(found["payload"])
    return {"class": type(packet), **found}


def fill(packet, **values):
    for name, value in values.items():
        setattr(packet, name, value)
    return packet


def syn():
    return fill(
        Segment(), src=A4, dst=B4, proto=6, ident=0x1C46, dont_fragment=True, sport=40000, dport=80, seq=2**32 - 3,
        flags=SYN, window=64240, mss=1460, sack_permitted=True, has_ts=True, tsval=1, wscale=7,
    )  # fmt: skip


def test_a_syn_to_the_octet():
    data = serialize.serialize(syn())
    assert data[:10] + b"\0\0" + data[12:36] + b"\0\0" + data[38:] == SYN_BYTES
    # 0x0a74 by hand: 4500+003c+1c46+4000+4006+0a00+0001+0a00+0002 = f58b.
    assert data[10:12].hex() == "0a74"
    found = parse(data)
    expected = fields(syn())
    expected["flow"] = make_flow(A4, B4, 40000, 80)
    assert fields(found) == expected
    assert isinstance(found, Segment) and found.flow == data[12:24]


u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
addresses = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16)),
)
payloads = st.binary(max_size=60)


@st.composite
def with_ip(draw, packet):
    packet.src, packet.dst = draw(addresses)
    packet.ttl, packet.tos = draw(u8), draw(u8)
    if len(packet.src) == 4:
        packet.ident = draw(u16)
        packet.dont_fragment = draw(st.booleans())
    else:
        packet.flow_label = draw(st.integers(0, 0xFFFFF))
    return packet


@st.composite
def segments(draw):
    s = draw(with_ip(Segment()))
    s.proto = PROTO_TCP
    s.sport, s.dport, s.seq, s.ack = draw(u16), draw(u16), draw(u32), draw(u32)
    s.flags, s.window, s.urgent = draw(st.integers(0, 0x1FF)), draw(u16), draw(u16)
    s.payload = draw(payloads)
    s.length = len(s.payload)
    s.flow = make_flow(s.src, s.dst, s.sport, s.dport)
    s.has_ts = draw(st.booleans())
    if s.has_ts:
        s.tsval, s.tsecr = draw(u32), draw(u32)
    if draw(st.booleans()):
        s.sacks = tuple(draw(st.lists(st.tuples(u32, u32), max_size=2)))
    if draw(st.booleans()):
        s.mss, s.wscale = draw(st.integers(0, 0xFFFF)), draw(st.integers(-1, 255))
        s.sack_permitted = draw(st.booleans())
    elif draw(st.booleans()):
        s.fast_open = draw(st.sampled_from([b"", b"1234", b"12345678"]))
        s.fast_open_exp = draw(st.booleans())
        s.sacks = s.sacks[:1]
    return s


@st.composite
def datagrams(draw):
    d = draw(with_ip(Datagram()))
    d.proto, d.sport, d.dport, d.payload = 17, draw(u16), draw(u16), draw(payloads)
    d.no_checksum = len(d.src) == 4 and draw(st.booleans())
    return d


@st.composite
def messages(draw):
    m = draw(with_ip(IcmpMessage()))
    m.proto = 1 if len(m.src) == 4 else 58
    m.type, m.code, m.rest, m.payload = draw(u8), draw(u8), draw(u32), draw(payloads)
    return m


@st.composite
def raw_packets(draw):
    r = draw(with_ip(RawPacket()))
    r.payload = draw(payloads)
    if draw(st.booleans()):
        r.proto = draw(st.sampled_from([6, 17, 1, 58, 47]))
        r.fragment_offset = draw(st.integers(0, 8191)) * 8
        r.more_fragments = draw(st.booleans()) or r.fragment_offset == 0
        if len(r.src) == 16:
            r.ident = draw(u32)
    else:
        r.proto = draw(st.sampled_from([2, 47, 59, 132, 255]))
    return r


packets = st.one_of(segments(), datagrams(), messages(), raw_packets())


@given(packets, st.booleans(), st.binary(max_size=20))
def test_parse_undoes_serialize(packet, as_view, padding):
    data = serialize.serialize(packet)
    assert len(data) == serialize.wire_length(packet)
    assert data == serialize.header(packet) + bytes(packet.payload)
    assert data == data[: serialize.ip_header_length(packet)] + serialize.ip_payload(packet)
    padded = data + padding
    found = parse(memoryview(padded) if as_view else padded)
    assert fields(found) == fields(packet)
    assert serialize.serialize(found) == data


@given(segments())
def test_lengths_need_no_encoding(segment):
    assert tcp.header_length(segment) == len(tcp.encode(segment))


@given(segments(), st.integers(0, 10_000))
def test_damage_is_noticed(segment, where):
    data = bytearray(serialize.serialize(segment))
    # The IPv6 header has no checksum: hop limit, class and label may change unnoticed.
    first = 0 if len(segment.src) == 4 else 8
    at = first * 8 + where % ((len(data) - first) * 8)
    data[at // 8] ^= 1 << at % 8
    with pytest.raises(WireError):
        parse(bytes(data))


@given(st.one_of(segments(), datagrams()))
def test_a_partial_checksum_is_the_pseudo_header(packet):
    if isinstance(packet, Datagram):
        packet.no_checksum = False
    head = serialize.header(packet, partial=True)
    ip = serialize.ip_header_length(packet)
    at = ip + (16 if isinstance(packet, Segment) else 6)
    upper = serialize.wire_length(packet) - ip
    assert int.from_bytes(head[at : at + 2], "big") == pseudo_sum(packet.src, packet.dst, packet.proto, upper)
    full = serialize.header(packet)
    assert head[:at] == full[:at] and head[at + 2 :] == full[at + 2 :]
    assert fields(parse(head + bytes(packet.payload), verify=False)) == fields(packet)


def test_payloads_are_views_not_copies():
    segment = fill(syn(), flags=ACK, payload=b"hello", length=5)
    data = serialize.serialize(segment)
    for source in (data, memoryview(data)):
        found = parse(source)
        assert isinstance(found, Segment)
        assert isinstance(found.payload, memoryview) and found.payload.obj is data
    assert parse(serialize.serialize(syn())).payload == b""


def test_copy_copies_every_field():
    marked = Segment()
    for name in FIELDS[Segment]:
        value = getattr(marked, name)
        mark = (
            not value if isinstance(value, bool)
            else 7 if isinstance(value, int)
            else b"x" if isinstance(value, bytes) or name in ("fast_open", "raw_options")
            else None if value is None
            else ((1, 2),)
        )  # fmt: skip
        setattr(marked, name, mark)
    twin = marked.copy()
    assert twin is not marked and fields(twin) == fields(marked)
    twin.seq = 8
    assert marked.seq == 7
    assert fields(fill(Datagram(), sport=3).copy()) == fields(fill(Datagram(), sport=3))


def v4(proto, rest, first=0x45, **patch):
    """An IPv4 packet without a checksum around `rest`; patch={offset: octet} as b10=5."""
    data = bytearray(bytes((first, 0)) + (20 + len(rest)).to_bytes(2, "big") + bytes((0, 1, 0, 0, 64, proto, 0, 0)))
    data += A4 + B4 + rest
    for name, value in patch.items():
        data[int(name[1:])] = value
    return bytes(data)


def v6(proto, rest, length=-1):
    size = len(rest) if length < 0 else length
    return b"\x60\0\0\0" + size.to_bytes(2, "big") + bytes((proto, 64)) + A6 + B6 + rest


TCP20 = bytes.fromhex("9c400050000000010000000250100010 00000000")
REFUSED = [
    ("ip-short", b""),
    ("ip-version", b"\x50" + bytes(60)),
    ("ip-version", b"\x05" + bytes(60)),
    ("ip-short", b"\x45" + bytes(18)),
    ("ip-ihl", v4(6, TCP20, first=0x44)),
    ("ip-ihl", v4(6, b"", first=0x46)),
    ("ip-length", v4(6, TCP20)[:-1]),
    ("ip-length", v4(6, TCP20, b3=19)),
    ("tcp-short", v4(6, TCP20[:19])),
    ("tcp-doff", v4(6, TCP20, b32=0x40)),
    ("tcp-doff", v4(6, TCP20, b32=0x60)),
    ("udp-short", v4(17, bytes(7))),
    ("udp-length", v4(17, bytes((0, 1, 0, 2, 0, 7, 0, 0)))),
    ("udp-length", v4(17, bytes((0, 1, 0, 2, 0, 9, 0, 0)))),
    ("icmp-short", v4(1, bytes(7))),
    ("ip6-short", b"\x60" + bytes(38)),
    ("ip6-length", v6(6, TCP20, length=21)),
    ("tcp-short", v6(6, b"")),
    ("udp-no-checksum", v6(17, bytes((0, 1, 0, 2, 0, 8, 0, 0)))),
    ("ip6-extension", v6(0, bytes(7))),
    ("ip6-extension", v6(60, bytes((6, 1)) + bytes(6))),
    ("ip6-extension", v6(51, bytes(8))[:44] + bytes(8)),
    ("ip6-extension", v6(60, bytes((60, 0, 1, 4, 0, 0, 0, 0)) * 17 + bytes(8))),
    ("ip6-hop-by-hop", v6(60, bytes((0, 0, 1, 4, 0, 0, 0, 0)) + bytes(8))),
    ("ip6-option", v6(0, bytes((6, 0, 0xC2, 4, 0, 0, 0, 0)) + TCP20)),
    ("ip6-option", v6(0, bytes((6, 0, 1, 5, 0, 0, 0, 0)) + TCP20)),
    ("ip6-option", v6(0, bytes((6, 0, 1, 3, 0, 0, 0, 1)) + TCP20)),
    ("ip6-routing", v6(43, bytes((6, 0, 0, 1, 0, 0, 0, 0)) + TCP20)),
]


@pytest.mark.parametrize(("reason", "data"), REFUSED)
def test_refused(reason, data):
    for source in (data, memoryview(data)):
        with pytest.raises(WireError) as caught:
            parse(source, verify=False)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("reason", "at"), [("ip-checksum", 8), ("tcp-checksum", 21), ("udp-checksum", 21), ("icmp-checksum", 24)]
)
def test_wrong_checksums(reason, at):
    packet: Packet = syn()
    if reason == "udp-checksum":
        packet = fill(Datagram(), src=A4, dst=B4, proto=17, sport=1)
    elif reason == "icmp-checksum":
        packet = fill(IcmpMessage(), src=A4, dst=B4, proto=1, type=8)
    data = bytearray(serialize.serialize(packet))
    data[at] ^= 1
    with pytest.raises(WireError) as caught:
        parse(bytes(data))
    assert caught.value.reason == reason
    assert reason in CHECKSUM_REASONS
    parse(bytes(data), verify=False)


def test_padding_and_ip_options_are_skipped():
    inner = serialize.serialize(syn())
    with_options = bytearray(b"\x47" + inner[1:20] + b"\x01" * 8 + inner[20:])
    with_options[2:4] = len(with_options).to_bytes(2, "big")
    with_options[10:12] = b"\0\0"
    with_options[10:12] = checksum(bytes(with_options[:28])).to_bytes(2, "big")
    assert fields(parse(bytes(with_options) + b"padding")) == fields(parse(inner))


def test_extension_headers_are_skipped():
    segment = fill(syn(), src=A6, dst=B6, ident=0, dont_fragment=False)
    inner = serialize.serialize(segment)
    chain = bytes((60, 0, 1, 4, 0, 0, 0, 0))  # hop-by-hop with padding
    chain += bytes((43, 0, 0, 0, 0x1E, 2, 0, 0))  # destination: Pad1 twice, then an unknown option to be skipped
    chain += bytes((51, 0, 0, 0, 0, 0, 0, 0))  # routing, no segments left
    chain += bytes((44, 1)) + bytes(10)  # authentication: 12 octets
    chain += bytes((6, 0, 0, 0, 0, 0, 0, 9))  # an atomic fragment
    data = inner[:4] + (len(inner) - 40 + len(chain)).to_bytes(2, "big") + b"\0" + inner[7:40] + chain + inner[40:]
    for source in (data, memoryview(data)):
        assert fields(parse(source)) == fields(parse(inner))


@pytest.mark.parametrize(("src", "dst"), [(A4, B4), (A6, B6)])
def test_fragments_reassemble(src, dst):
    whole = fill(Datagram(), src=src, dst=dst, proto=17, sport=1, dport=2, payload=bytes(range(40)))
    payload = serialize.ip_payload(whole)
    pieces = []
    for at in (0, 24):
        part = fill(RawPacket(), src=src, dst=dst, proto=17, ident=5, fragment_offset=at, payload=payload[at : at + 24])
        part.more_fragments = at == 0
        found = parse(serialize.serialize(part))
        assert fields(found) == fields(part)
        pieces.append(bytes(found.payload))
    joined = fill(RawPacket(), src=src, dst=dst, proto=17, payload=b"".join(pieces))
    assert fields(parse_transport(joined)) == fields(whole)


def test_udp_surplus_is_ignored():
    packet = fill(Datagram(), src=A4, dst=B4, proto=17, sport=1, dport=2, payload=b"abc")
    upper = serialize.ip_payload(packet) + b"surplus"
    raw = fill(RawPacket(), src=A4, dst=B4, proto=17, payload=upper)
    assert bytes(parse(serialize.serialize(raw)).payload) == b"abc"


def test_a_udp_checksum_of_zero_travels_as_ffff():
    packet = fill(Datagram(), src=A4, dst=B4, proto=17, sport=0, dport=0)
    rest = pseudo_sum(A4, B4, 17, 10) + 10
    packet.payload = (0xFFFF - rest).to_bytes(2, "big")
    assert serialize.transport_header(packet)[6:] == b"\xff\xff"
    parse(serialize.serialize(packet))


def test_values_out_of_range_are_the_callers_mistake():
    with pytest.raises(Exception, match="format requires"):
        serialize.serialize(fill(syn(), window=65536))


def test_header_length_of_icmp():
    assert serialize.wire_length(fill(IcmpMessage(), src=A4, dst=B4, payload=b"abc")) == 20 + icmp.HEADER_LENGTH + 3
