"""Ladders and diagrams: snapshots of the whole picture, and the rules behind it.

Snapshots lie beside this file; `UPDATE_SNAPSHOTS=1 pytest tests/unit/draw` writes them anew.
"""

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from support.story import APORT, Story, long_transfer, simultaneous_close, whole_life
from timewait.base.instant import MSEC, SEC
from timewait.draw import ladder, ladder_svg, state_svg, state_text
from timewait.draw.labels import detail, flag_names, is_dsack, options_text
from timewait.draw.text import Line, duration, octets, table
from timewait.record import Record, measure
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import TRANSITIONS
from timewait.wire.packet import ACK, FIN, PSH, RST, SYN, Datagram, IcmpMessage

HERE = Path(__file__).parent / "snapshots"


def same(name, text):
    path = HERE / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        HERE.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("story", [whole_life, long_transfer, simultaneous_close])
def test_text_ladder(story):
    same(f"{story.__name__}.txt", ladder(story()))


@pytest.mark.parametrize("story", [whole_life, simultaneous_close])
def test_svg_ladder(story):
    text = ladder_svg(story())
    same(f"{story.__name__}.svg", text)
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_ascii_is_ascii():
    text = ladder(simultaneous_close(), unicode=False)
    assert text.isascii()
    same("simultaneous_close_ascii.txt", text)


@pytest.mark.parametrize("width", [40, 80, 100, 140, 300])
@pytest.mark.parametrize("story", [whole_life, long_transfer, simultaneous_close])
def test_width_is_kept(story, width):
    text = ladder(story(), width=width, summary=False)
    assert max(map(len, text.splitlines())) <= min(140, max(80, width))


def test_colour_only_when_asked():
    assert "\x1b" not in ladder(whole_life())
    coloured = ladder(whole_life(), colour=True)
    assert "\x1b[31m" in coloured
    plain = coloured
    for code in ("0", "1", "2", "31", "32", "33", "34", "35", "36"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == ladder(whole_life())


def test_loss_retransmission_and_silence_are_visible():
    text = ladder(whole_life())
    assert "[RTO #2 +408 ms] PSH-ACK seq=1 ack=1 len=100" in text
    assert text.count("✗ lost") == 2
    assert "60 s later" in text
    assert "client closed first" in text


def test_bulk_is_told_in_a_sentence_and_rows_are_bounded():
    text = ladder(long_transfer())
    assert len(text.splitlines()) < 40
    assert "1.2 MB" in text
    full = ladder(long_transfer(30), run=1000)
    assert full.count("len=1460") == 30
    assert "left out" in ladder(long_transfer(30), run=1000, max_rows=20)


def test_crossing_fins_are_drawn_apart():
    text = ladder(simultaneous_close())
    assert "(1)" in text and text.index("──(1)") < text.index("(1)──")


def test_each_connection_has_its_ladder():
    one, two = Story(), Story(aport=APORT + 1)
    two.record = one.record
    one.handshake()
    two.handshake(SEC)
    text = ladder(one.record)
    assert text.count("SYN-ACK") == 2
    assert "40001" not in ladder(one.record, 0)
    assert "40001" in ladder(one.record, 1)


def test_connections_that_went_the_same_way_are_drawn_once():
    first = Story()
    first.handshake()
    for number in range(1, 5):
        another = Story(aport=APORT + number)
        another.record = first.record
        another.handshake(number * SEC)
    different = Story(aport=APORT + 5)
    different.record = first.record
    different.handshake(9 * SEC)
    different.close(10 * SEC)
    text = ladder(first.record)
    assert text.count("SYN-ACK") == 2
    assert "(4 more connections went the same way)" in text
    assert "TIME-WAIT" in text, "the one that went on differently"
    assert ladder(first.record, alike=5).count("SYN-ACK") == 6


def test_duplicate_and_reordered_arrivals():
    story = Story()
    at = story.handshake() + 100 * MSEC
    first = story.segment("client", ACK, 1, 1, 10, Why.DATA)
    second = story.segment("client", ACK | PSH, 11, 1, 10, Why.DATA)
    story.send("client", first, at)
    story.send("client", second, at + MSEC)
    story.arrive(second, at + 5 * MSEC)
    story.arrive(first, at + 9 * MSEC)
    story.arrive(first, at + 12 * MSEC)
    text = ladder(story.record)
    assert "[duplicate] ACK seq=1" in text
    assert text.index("len=10 ──(1)") < text.index("seq=11") < text.index("(1)── ACK seq=1")
    ElementTree.fromstring(ladder_svg(story.record))


def test_discards_by_the_host_stand_under_the_arrow():
    assert "✗ dropped, RST_OUT_OF_WINDOW: RST outside the window" in ladder(simultaneous_close())


def three_hosts():
    """A host behind a router, a datagram and its ICMP answer."""
    record = Record()
    a, r, b = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 254)), bytes((10, 1, 0, 2))
    datagram = Datagram()
    datagram.src, datagram.dst, datagram.sport, datagram.dport, datagram.payload = a, b, 5000, 53, b"12345"
    datagram.why = Why.UDP_DATA
    record.sent("a", datagram, 0)
    record.received("router", datagram, MSEC)
    onward = datagram.copy()
    onward.why = Why.FORWARDED
    record.sent("router", onward, MSEC)
    record.received("b", onward, 2 * MSEC)
    record.sent("a", datagram.copy(), 3 * MSEC)
    record.dropped("a-router", record.packets()[-1].packet, Drop.LINK_LOSS, 3 * MSEC)
    answer = IcmpMessage()
    answer.src, answer.dst, answer.type, answer.code, answer.why = r, a, 3, 1, Why.ICMP_ERROR
    record.sent("router", answer, 4 * MSEC)
    record.received("a", answer, 5 * MSEC)
    return record


def test_three_columns():
    text = ladder(three_hosts(), hosts=["a", "router", "b"])
    assert "ICMP host unreachable" in text
    same("three_hosts.txt", text)
    ElementTree.fromstring(ladder_svg(three_hosts(), hosts=["a", "router", "b"]))


def test_an_empty_record_draws_empty_columns():
    assert "s" in ladder(Record(), hosts=["a", "b"])
    ElementTree.fromstring(ladder_svg(Record(), hosts=["a", "b"]))
    assert ladder(Record()).count("\n") >= 1


def test_sack_blocks_are_relative_and_duplicates_named():
    story = Story()
    story.handshake()
    connection = story.record.connection()
    ack = story.segment("server", ACK, 1, 1)
    ack.sacks = tuple(((story.aisn + low) & 0xFFFFFFFF, (story.aisn + high) & 0xFFFFFFFF) for low, high in [(11, 21)])
    assert options_text(ack, connection) == "sack=11-21"
    ack.ack = (story.aisn + 21) & 0xFFFFFFFF
    assert is_dsack(ack)
    assert options_text(ack, connection) == "dsack=11-21"
    assert "on the wire: seq" in detail(ack, connection, 0, 5)


def test_words():
    assert flag_names(SYN | ACK) == "SYN-ACK"
    assert flag_names(FIN | PSH | ACK) == "FIN-PSH-ACK"
    assert flag_names(RST) == "RST"
    assert flag_names(0) == "no flags"
    assert [duration(ns) for ns in (204 * MSEC, 60 * SEC, 7140 * SEC, 5, 131 * SEC)] == [
        "204 ms", "60 s", "1 h 59 min", "5 ns", "2 min 11 s",
    ]  # fmt: skip
    assert octets(1_185_520) == "1.2 MB"
    assert table([["a", "1"], ["bb", "22"]], head=("x", "n"), right=(1,)) == "x    n\n--  --\na    1\nbb  22"
    line = Line(5)
    line.put(3, "abcdef")
    assert line.show() == "   ab"


def test_the_state_diagram_is_the_table():
    text = state_text()
    svg = state_svg(measure.visited(whole_life()))
    root = ElementTree.fromstring(svg)
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    for old, reached in TRANSITIONS.items():
        for new in reached:
            line = next(line for line in text.splitlines() if line.startswith(old.name.replace("_", "-") + " "))
            assert new.name.replace("_", "-") in line
            if new.name != "CLOSED":
                start = f"{old.name} to {new.name}".replace("_", "-")
                assert any(title.startswith(start) for title in titles)
    same("states.svg", svg)
