"""Between packets and what a TUN exchanges."""

import struct

import pytest

from timewait.base.errors import WireError
from timewait.wire.address import pack
from timewait.wire.checksum import checksum
from timewait.wire.packet import ACK, CWR, PROTO_TCP, PROTO_UDP, Datagram, Segment, make_flow
from timewait.wire.serialize import serialize
from timewait.world.offload import packet_of, vectors_of
from timewait.world.tun import VNET_LEN


def segment(payload: bytes = b"", *, v6: bool = False, gso_size: int = 0, flags: int = ACK) -> Segment:
    seg = Segment()
    seg.src, seg.dst = (pack("fd00::1"), pack("fd00::2")) if v6 else (pack("10.0.0.1"), pack("10.0.0.2"))
    seg.proto, seg.sport, seg.dport = PROTO_TCP, 40000, 80
    seg.flow = make_flow(seg.src, seg.dst, seg.sport, seg.dport)
    seg.seq, seg.ack, seg.flags, seg.window = 2**32 - 5, 7, flags, 1000
    seg.payload, seg.length, seg.gso_size = payload, len(payload), gso_size
    return seg


def vnet(data: bytes) -> tuple[int, ...]:
    return struct.unpack("=BBHHHH", data[:VNET_LEN])


@pytest.mark.parametrize(("v6", "at", "kind"), [(False, 20, 1), (True, 40, 4)])
def test_super_segment_goes_out_with_its_size_and_a_partial_checksum(v6: bool, at: int, kind: int) -> None:
    body = bytes(5000)
    head, payload = vectors_of(segment(body, v6=v6, gso_size=1448))
    assert payload is body  # not copied
    assert vnet(bytes(head)) == (1, kind, at + 20, 1448, at, 16)
    back = packet_of(bytes(head) + bytes(payload))
    assert isinstance(back, Segment)
    assert (back.seq, back.ack, back.length, back.gso_size) == (2**32 - 5, 7, 5000, 1448)
    assert isinstance(back.payload, memoryview)


def test_a_super_segment_that_fits_one_segment_is_an_ordinary_one() -> None:
    head = bytes(vectors_of(segment(bytes(1448), gso_size=1448))[0])
    assert vnet(head) == (1, 0, 40, 0, 20, 16)


def test_cwr_is_for_the_first_segment_only() -> None:
    head = bytes(vectors_of(segment(bytes(5000), gso_size=1448, flags=ACK | CWR))[0])
    assert vnet(head)[1] == 1 | 0x80


def test_the_partial_checksum_is_the_pseudo_headers_sum() -> None:
    """Completed as the kernel does it, over the transport header and payload, it is the full checksum."""
    seg = segment(b"hello")
    datagram = b"".join(map(bytes, vectors_of(seg)))[VNET_LEN:]
    done = int(checksum(datagram[20:]))
    assert datagram[:36] + done.to_bytes(2, "big") + datagram[38:] == serialize(seg)


def test_trusted_checksums_are_not_verified_and_others_are() -> None:
    whole = bytearray(serialize(segment(b"hello")))
    whole[-1] ^= 1
    for flags in (1, 2):
        assert isinstance(packet_of(bytes((flags,)) + bytes(9) + whole), Segment)
    with pytest.raises(WireError, match="tcp-checksum"):
        packet_of(bytes(VNET_LEN) + whole)


@pytest.mark.parametrize("size", [0, 5, VNET_LEN])
def test_less_than_a_header_is_a_wire_error(size: int) -> None:
    with pytest.raises(WireError):
        packet_of(bytes(size))


def test_udp_super_datagram_both_ways() -> None:
    out = Datagram()
    out.src, out.dst, out.proto = pack("10.0.0.1"), pack("10.0.0.2"), PROTO_UDP
    out.sport, out.dport, out.payload, out.gso_size = 1000, 53, bytes(3000), 1200
    head, payload = vectors_of(out)
    assert vnet(bytes(head)) == (1, 5, 28, 1200, 20, 6)
    back = packet_of(bytes(head) + bytes(payload))
    assert isinstance(back, Datagram)
    assert (back.gso_size, len(back.payload)) == (1200, 3000)


def test_raw_bytes_go_as_they_are() -> None:
    assert vectors_of(b"\x45whatever") == (bytes(VNET_LEN), b"\x45whatever")
