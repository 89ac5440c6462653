"""Captures: what is written is read again, by us and by tshark; damage is told, not hidden."""

import json
import shutil
import struct
import subprocess
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.wire_fuzz import corpus
from timewait.base.errors import WireError
from timewait.wire import serialize
from timewait.wire.address import pack
from timewait.wire.packet import ACK, SYN, Datagram, IcmpMessage, Segment
from timewait.wire.pcapng import (
    INBOUND,
    LINKTYPE_ETHERNET,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
    OUTBOUND,
    Captured,
    PcapngWriter,
    ip_datagram,
    read_capture,
)

PACKETS = corpus()


def written(packets, **options):
    out = BytesIO()
    writer = PcapngWriter(out, **options)
    names = [writer.add_interface("client"), writer.add_interface("server", "10.0.0.2", LINKTYPE_RAW)]
    for at, data in enumerate(packets):
        writer.write(1_000_000_007 * at, names[at % 2], data, f"Grund {at}: größer ✓" if at else "", 1 + at % 2)
    return out.getvalue()


def read(data):
    return list(read_capture(BytesIO(data)))


def test_round_trip():
    found = read(written(PACKETS, comment="an experiment"))
    assert found == [
        Captured(1_000_000_007 * at, ("client", "server")[at % 2], data, f"Grund {at}: größer ✓" if at else "")
        for at, data in enumerate(PACKETS)
    ]


def test_a_file_to_the_octet():
    out = BytesIO()
    writer = PcapngWriter(out, application="t")
    writer.add_interface("a")
    writer.write(2**32 + 5, 0, b"\x45", "c")
    assert out.getvalue().hex() == (
        "0a0d0d0a 28000000 4d3c2b1a 0100 0000 ffffffffffffffff 0400 0100 74000000 0000 0000 28000000"
        "01000000 28000000 6500 0000 00000000 0200 0100 61000000 0900 0100 09000000 0000 0000 28000000"
        "06000000 30000000 00000000 01000000 05000000 01000000 01000000 45000000 0100 0100 63000000 0000 0000 30000000"
    ).replace(" ", "")


@given(st.integers(0, 600))
def test_truncated_files_yield_what_is_whole(cut):
    whole = written(PACKETS[:6])
    data = whole[: cut % len(whole)]
    found = []
    try:
        for packet in read_capture(BytesIO(data)):
            found.append(packet)
    except WireError as problem:
        assert problem.reason in ("capture-truncated", "capture-empty", "capture-format")
    assert found == read(whole)[: len(found)]


def test_the_error_says_where():
    with pytest.raises(WireError, match=r"capture-truncated: the file ends inside a block at offset \d+"):
        read(written(PACKETS)[:-3])
    with pytest.raises(WireError, match="capture-empty"):
        read(b"")
    with pytest.raises(WireError, match="gunzip"):
        read(b"\x1f\x8b\x08\x00")
    with pytest.raises(WireError, match="capture-block"):
        read(written([]) + struct.pack("<II", 6, 13) + bytes(5))
    with pytest.raises(WireError, match="undeclared interface 9"):
        read(written([]) + struct.pack("<IIIIIIII", 6, 32, 9, 0, 0, 0, 0, 32))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_classic_pcap(order, magic, unit):
    frame = bytes(12) + b"\x08\x00" + PACKETS[0]
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    for content in (frame, arp, frame):
        data += struct.pack(order + "IIII", 3, 999_999, len(content), len(content)) + content
    assert read(data) == [Captured(3 * 10**9 + 999_999 * unit, "if0", PACKETS[0], "")] * 2
    with pytest.raises(WireError, match="capture-truncated"):
        read(data[:-1])
    with pytest.raises(WireError, match="capture-truncated"):
        read(data[:30])


def block(order, kind, body):
    size = 12 + len(body)
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def test_foreign_pcapng():
    """Big-endian, binary time resolution, an offset, a simple and an old packet block, an unknown block."""
    data = PACKETS[0]
    padded = data + bytes(-len(data) % 4)
    order = ">"
    options = struct.pack(">HHBxxx", 9, 1, 0x80 | 10) + struct.pack(">HHq", 14, 8, 5)
    file = block(order, 0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    file += block(order, 1, struct.pack(">HHI", 101, 0, 0) + options)
    file += block(order, 0xBAD, b"what")
    file += block(order, 6, struct.pack(">IIIII", 0, 0, 1536, len(data), len(data)) + padded)
    file += block(order, 3, struct.pack(">I", len(data)) + padded)
    file += block(order, 2, struct.pack(">HHIIII", 0, 9, 0, 1024, len(data), len(data)) + padded)
    # A second section, of the other byte order, starts with no interfaces.
    file += written(PACKETS[1:2])
    assert read(file) == [
        Captured(6_500_000_000, "if0", data, ""),
        Captured(5_000_000_000, "if0", data, ""),
        Captured(6_000_000_000, "if0", data, ""),
        Captured(0, "client", PACKETS[1], ""),
    ]


def test_link_types():
    data = PACKETS[0]
    mac = bytes(12)
    assert ip_datagram(LINKTYPE_ETHERNET, mac + b"\x08\x00" + data) == data
    assert ip_datagram(LINKTYPE_ETHERNET, mac + b"\x88\xa8\0\1\x81\0\0\2\x08\0" + data) == data
    assert ip_datagram(LINKTYPE_ETHERNET, mac + b"\x08\x06" + data) is None
    assert ip_datagram(LINKTYPE_ETHERNET, mac[:5]) is None
    assert ip_datagram(LINKTYPE_ETHERNET, mac + b"\x81\0\0\1" * 9) is None
    assert ip_datagram(LINKTYPE_LINUX_SLL, bytes(14) + b"\x08\x00" + data) == data
    assert ip_datagram(LINKTYPE_LINUX_SLL2, b"\x08\x00" + bytes(18) + data) == data
    assert ip_datagram(LINKTYPE_NULL, b"\2\0\0\0" + data) == data
    assert ip_datagram(LINKTYPE_NULL, b"") is None
    assert ip_datagram(LINKTYPE_RAW, b"\x15") is None
    assert ip_datagram(9999, data) is None


def test_datagrams_cut_by_the_capture_are_filled_up():
    data = PACKETS[1]
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 40, 101)
    file += struct.pack("<IIII", 0, 0, 40, len(data)) + data[:40]
    (found,) = read(file)
    assert found.data == data[:40] + bytes(len(data) - 40) and not found.complete


needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def tshark(path, *fields):
    """The named fields of each packet in a file, as tshark sees them, with every checksum verified."""
    command = ["tshark", "-r", str(path), "-T", "json", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]
    command += ["-o", "udp.check_checksum:TRUE", "-o", "tcp.relative_sequence_numbers:FALSE"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [packet["_source"]["layers"] for packet in json.loads(done.stdout)]


@needs_tshark
def test_tshark_agrees(tmp_path):
    path = tmp_path / "all.pcapng"
    path.write_bytes(written(PACKETS))
    checks = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status")
    found = tshark(path, *checks, "icmpv6.checksum.status", "frame.interface_name", "frame.comment", "frame.time_epoch")
    assert len(found) == len(PACKETS)
    seen = set()
    for at, packet in enumerate(found):
        for name in (*checks, "icmpv6.checksum.status"):
            # 1 is 'good', 2 'unverified': what an ICMP error quotes of another packet.
            if name in packet:
                assert packet[name][0] == "1", (at, packet)
                seen.add(name)
        assert packet["frame.interface_name"] == [("client", "server")[at % 2]]
        assert packet.get("frame.comment", [""]) == [f"Grund {at}: größer ✓" if at else ""]
    assert len(seen) == 5, seen


@needs_tshark
def test_tshark_reads_the_same_options(tmp_path):
    syn, data = Segment(), Segment()
    for segment in (syn, data):
        segment.src, segment.dst, segment.proto = pack("fd00::1"), pack("fd00::2"), 6
        segment.sport, segment.dport = 9, 80
        segment.has_ts, segment.tsval, segment.tsecr = True, 123, 456
    syn.flags, syn.mss, syn.wscale, syn.sack_permitted, syn.fast_open = SYN, 1440, 9, True, b"12345678"
    data.flags, data.seq, data.ack, data.sacks = ACK, 7, 8, ((100, 200), (300, 400))
    path = tmp_path / "options.pcapng"
    out = BytesIO()
    writer = PcapngWriter(out)
    number = writer.add_interface("a")
    writer.write(1, number, serialize.serialize(syn), direction=OUTBOUND)
    writer.write(2, number, serialize.serialize(data), direction=INBOUND)
    path.write_bytes(out.getvalue())
    first, second = tshark(
        path, "tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.sack_perm", "tcp.options.tfo.cookie",
        "tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr", "tcp.options.sack_le", "tcp.options.sack_re",
        "frame.packet_flags_direction", "tcp.seq",
    )  # fmt: skip
    assert first["tcp.options.mss_val"] == ["1440"] and first["tcp.options.wscale.shift"] == ["9"]
    assert first["tcp.options.tfo.cookie"] == ["3132333435363738"] and "tcp.options.sack_perm" in first
    assert second["tcp.options.sack_le"] == ["100", "300"] and second["tcp.options.sack_re"] == ["200", "400"]
    assert second["tcp.options.timestamp.tsval"] == ["123"] and second["tcp.options.timestamp.tsecr"] == ["456"]
    assert second["tcp.seq"] == ["7"]
    assert [int(p["frame.packet_flags_direction"][0], 0) for p in (first, second)] == [OUTBOUND, INBOUND]


@needs_tshark
def test_tshark_reads_odd_payloads(tmp_path):
    path = tmp_path / "odd.pcapng"
    packets = []
    for size in (1, 3, 1447):
        datagram, ping = Datagram(), IcmpMessage()
        for packet in (datagram, ping):
            packet.src, packet.dst, packet.payload = pack("10.0.0.1"), pack("10.0.0.2"), b"\xff" * size
        datagram.proto, datagram.sport, datagram.dport = 17, 5000, 5001
        ping.proto, ping.type = 1, 8
        packets += [serialize.serialize(datagram), serialize.serialize(ping)]
    path.write_bytes(written(packets))
    for packet in tshark(path, "udp.checksum.status", "icmp.checksum.status"):
        assert packet.get("udp.checksum.status", packet.get("icmp.checksum.status")) == ["1"]
