"""Super-segments: cut as Linux cuts them, and announced as virtio wants it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timewait.base.errors import WireError
from timewait.wire import gso, serialize, vnet_hdr
from timewait.wire.address import pack
from timewait.wire.packet import ACK, CWR, FIN, PSH, SYN, Datagram, IcmpMessage, Segment

A4, B4, A6, B6 = pack("10.0.0.1"), pack("10.0.0.2"), pack("fd00::1"), pack("fd00::2")


def super_segment(size=10, gso_size=4, flags=ACK, src=A4, dst=B4):
    s = Segment()
    s.src, s.dst, s.proto, s.seq, s.flags, s.gso_size, s.ident = src, dst, 6, 2**32 - 6, flags, gso_size, 0xFFFF
    s.has_ts, s.tsval, s.payload, s.length = True, 9, bytes(range(size)), size
    return s


def test_a_split_to_the_flag():
    pieces = gso.split(super_segment(flags=ACK | FIN | PSH | CWR))
    assert [(p.seq, bytes(p.payload), p.flags, p.ident) for p in pieces] == [
        (2**32 - 6, bytes((0, 1, 2, 3)), ACK | CWR, 0xFFFF),
        (2**32 - 2, bytes((4, 5, 6, 7)), ACK, 0),
        (2, bytes((8, 9)), ACK | PSH | FIN, 1),
    ]
    assert all(p.gso_size == 0 and p.length == len(p.payload) and p.tsval == 9 for p in pieces)
    assert {p.ident for p in gso.split(super_segment(src=A6, dst=B6))} == {0xFFFF}


def test_what_need_not_be_split():
    plain = super_segment(gso_size=0)
    assert gso.split(plain) == [plain]
    small = super_segment(size=4, flags=ACK | PSH | CWR)
    (only,) = gso.split(small)
    assert only is not small and (only.flags, only.gso_size, only.length) == (small.flags, 0, 4)
    with pytest.raises(AssertionError):
        gso.split(super_segment(flags=SYN))


@given(st.integers(0, 300), st.integers(1, 100))
def test_nothing_is_lost(size, gso_size):
    whole = super_segment(size % 256, gso_size)
    pieces = gso.split(whole)
    assert b"".join(bytes(p.payload) for p in pieces) == whole.payload
    assert all(p.length == gso_size for p in pieces[:-1])
    assert len(pieces) == max(1, -(-whole.length // gso_size))


def test_datagrams():
    d = Datagram()
    d.src, d.dst, d.payload, d.gso_size, d.ident = A4, B4, bytes(range(10)), 4, 3
    assert [(bytes(p.payload), p.ident, p.gso_size) for p in gso.split_datagram(d)] == [
        (bytes((0, 1, 2, 3)), 3, 0), (bytes((4, 5, 6, 7)), 4, 0), (bytes((8, 9)), 5, 0),
    ]  # fmt: skip
    d.gso_size = 0
    assert gso.split_datagram(d) == [d]


@pytest.mark.parametrize(
    ("src", "dst", "flags", "kind"),
    [(A4, B4, ACK, 1), (A4, B4, ACK | CWR, 0x81), (A6, B6, ACK, 4), (A6, B6, ACK | CWR, 0x84)],
)
def test_header_of_a_super_segment(src, dst, flags, kind):
    packet = super_segment(size=100, gso_size=40, flags=flags, src=src, dst=dst)
    ip = 20 if len(src) == 4 else 40
    head = vnet_hdr.decode(vnet_hdr.header_for(packet))
    assert (head.flags, head.gso_type, head.hdr_len, head.gso_size) == (1, kind, ip + 32, 40)
    assert (head.csum_start, head.csum_offset) == (ip, 16)
    assert head.partial and head.trusted and head.segment_size == 40
    assert head.hdr_len == len(serialize.header(packet, partial=True))
    assert len(vnet_hdr.header_for(packet, 12)) == 12


def test_headers_of_plain_packets():
    assert vnet_hdr.decode(vnet_hdr.header_for(super_segment(size=40, gso_size=40))).segment_size == 0
    udp = Datagram()
    udp.src, udp.dst, udp.payload = A4, B4, bytes(100)
    head = vnet_hdr.decode(vnet_hdr.header_for(udp, 12), 12)
    assert (head.flags, head.gso_type, head.hdr_len, head.csum_start, head.csum_offset) == (1, 0, 28, 20, 6)
    udp.gso_size = 30
    assert vnet_hdr.decode(vnet_hdr.header_for(udp)).gso_type == vnet_hdr.GSO_UDP_L4
    udp.no_checksum = True
    ping = IcmpMessage()
    ping.src, ping.dst = A4, B4
    for packet in (udp, ping):
        assert vnet_hdr.header_for(packet) == bytes(10) and vnet_hdr.is_plain(vnet_hdr.header_for(packet, 12))


@given(*[st.integers(0, 255)] * 2, *[st.integers(0, 65535)] * 5, st.sampled_from([10, 12]))
def test_round_trip(flags, kind, hdr_len, size, start, offset, buffers, length):
    head = vnet_hdr.VnetHeader(flags, kind, hdr_len, size, start, offset, buffers)
    data = head.encode(length)
    assert len(data) == length
    try:
        found = vnet_hdr.decode(data, length)
    except WireError as problem:
        assert problem.reason == "vnet-gso"
        assert size == 0 or kind & 0x7F not in (0, 1, 4, 5)
        return
    assert found.encode(length) == data
    assert found.partial == bool(flags & 1)


def test_too_short():
    with pytest.raises(WireError, match="vnet-short"):
        vnet_hdr.decode(bytes(9))
    with pytest.raises(WireError, match="vnet-short"):
        vnet_hdr.decode(bytes(11), 12)
