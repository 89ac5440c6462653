"""JSON lines and pcapng: what is written is what happened, byte for byte the same each time."""

import io
import shutil
import subprocess
import sys

import pytest

from support.story import simultaneous_close, whole_life
from timewait.base.errors import UsageError
from timewait.record import Record
from timewait.record.jsonl import JsonlWriter, read_from, read_jsonl, write_jsonl, write_to
from timewait.record.pcap import write_pcapng
from timewait.wire.packet import Datagram, Segment

MAKE = """
import io, sys
sys.path[:0] = sys.argv[1:]
from support.story import whole_life
from timewait.draw import ladder, ladder_svg
from timewait.record.jsonl import write_to
record = whole_life()
record.meta.update(seed="1", profile="linux-6.18")
out = io.StringIO()
write_to(record, out)
sys.stdout.write(out.getvalue() + ladder(record) + ladder_svg(record))
"""


def lines(record, **options):
    out = io.StringIO()
    write_to(record, out, **options)
    return out.getvalue()


@pytest.mark.parametrize("story", [whole_life, simultaneous_close])
def test_round_trip(story):
    text = lines(story())
    again = read_from(io.StringIO(text))
    assert lines(again) == text
    assert [type(entry) for entry in again] == [type(entry) for entry in story()]


def test_every_packet_field_survives():
    record = Record()
    segment = Segment()
    segment.src, segment.dst, segment.flow = b"\1" * 16, b"\2" * 16, b"\1" * 16 + b"\2" * 16 + b"\0\1\0\2"
    segment.sport, segment.dport = 1, 2
    segment.sacks, segment.fast_open = ((1, 2), (3, 4)), b"cookie"
    segment.other_options, segment.raw_options = ((9, b"x"),), b"\1\1"
    segment.payload, segment.length, segment.ttl, segment.dont_fragment = memoryview(b"hello"), 5, 3, True
    datagram = Datagram()
    datagram.src, datagram.dst, datagram.payload = b"\1" * 4, b"\2" * 4, b"data"
    record.sent("a", segment, 1)
    record.sent("a", datagram, 2)
    got, other = (entry.packet for entry in read_from(io.StringIO(lines(record))).packets())
    for name in ("flow", "sacks", "fast_open", "other_options", "raw_options", "ttl", "dont_fragment", "length", "uid"):
        assert getattr(got, name) == getattr(segment, name)
    assert bytes(got.payload) == b"hello"
    assert other.payload == b"data"
    short = read_from(io.StringIO(lines(record, payload=2))).packets()[0].packet
    assert short.payload == b"he\0\0\0"


def test_byte_identical_under_any_hash_seed():
    command = [sys.executable, "-c", MAKE, *sys.path]
    made = [
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, check=True).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1] != b""


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "run.jsonl"
    record = whole_life()
    record.meta["odd"] = object()  # not something that JSON can hold
    with pytest.raises(TypeError):
        write_jsonl(record, path)
    assert list(tmp_path.iterdir()) == []
    write_jsonl(whole_life(), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.jsonl"]
    assert len(read_jsonl(path)) == len(whole_life())


def test_streaming_writes_what_a_bounded_record_forgets():
    out = io.StringIO()
    bounded = Record(limit=4, sink=JsonlWriter(out).write)
    for entry in whole_life():
        bounded.add(entry)
    assert out.getvalue() == lines(whole_life())
    assert read_from(io.StringIO(lines(bounded))).left_out == bounded.left_out > 0


def test_reader_refuses_what_is_no_record():
    with pytest.raises(UsageError, match="first line"):
        read_from(["{}\n"])
    with pytest.raises(UsageError, match="version 99"):
        read_from(['{"format":"timewait-record","version":99}\n'])
    with pytest.raises(UsageError, match="line 2"):
        read_from([lines(Record()), "nonsense\n"])
    with pytest.raises(UsageError, match="not an entry"):
        read_from([lines(Record()), '{"k":"eaten","t":1,"at":"a"}\n'])
    assert len(read_from([lines(Record()), '{"k":"noted","t"'])) == 0  # a stream cut short


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is the oracle")
def test_wireshark_reads_packets_and_comments(tmp_path):
    path = tmp_path / "life.pcapng"
    assert write_pcapng(whole_life(), path) == 11
    fields = ["frame.time_epoch", "tcp.flags", "tcp.seq", "tcp.analysis.retransmission", "frame.comment"]
    command = ["tshark", "-r", str(path), "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    assert [row[1] for row in rows[:3]] == ["0x0002", "0x0012", "0x0010"]
    assert [bool(row[3]) for row in rows] == [False] * 4 + [True] * 2 + [False] * 5
    assert "RTO: retransmission timeout (RFC 6298 5.4)" in rows[4][4]
    assert "LINK_LOSS" in rows[4][4]
    assert "LISTEN to SYN_RCVD" in rows[0][4]


def test_one_hosts_view_has_what_it_sent_and_what_reached_it(tmp_path):
    assert write_pcapng(whole_life(), tmp_path / "server.pcapng", host="server") == 4 + 5
