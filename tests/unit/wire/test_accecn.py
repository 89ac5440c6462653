"""Accurate ECN's option: its layout among others, and which of it fits."""

import pytest

from timewait.wire import accecn, options, tcp
from timewait.wire.gso import split
from timewait.wire.packet import ACE_REPEATED, ACK, CWR, PSH, Segment


def made(**fields):
    seg = Segment()
    for name, value in fields.items():
        setattr(seg, name, value)
    return seg


def laid_out(fields, **given):
    seg = made(**given)
    accecn.lay_out(seg, accecn.content_of([0, 0x111111, 0x222222, 0x333333], fields))
    return options.encode(seg).hex()


TS = {"has_ts": True, "tsval": 1, "tsecr": 2}
TS_WIRE = "0101080a" + "00000001" + "00000002"
BLOCK = (10, 20)
BLOCK_WIRE = "0000000a00000014"


@pytest.mark.parametrize(
    ("fields", "given", "wire"),
    [
        (3, {}, "ae0b111112333333 22222301"),
        (3, TS, TS_WIRE + "ae0b111112333333 22222301"),
        (2, TS, TS_WIRE + "ae08111112333333"),
        (1, TS, TS_WIRE + "ae051111 12010101"),
        (0, TS, TS_WIRE + "ae020101"),
        (3, TS | {"sacks": (BLOCK,)}, TS_WIRE + "ae0b111112333333 22222301 0101050a" + BLOCK_WIRE),
        (1, TS | {"sacks": (BLOCK,)}, TS_WIRE + "ae051111 1201050a" + BLOCK_WIRE),
        (0, TS | {"sacks": (BLOCK,)}, TS_WIRE + "ae02050a" + BLOCK_WIRE),
        (3, {"mss": 1460, "sack_permitted": True, "wscale": 7}, "020405b4 ae0b111112333333 22222301 01010402 01030307"),
        (1, {"mss": 1460, "sack_permitted": True, "wscale": 7}, "020405b4 ae051111 12010402 01030307"),
        (0, {"mss": 1460, "sack_permitted": True, "wscale": 7}, "020405b4 ae020402 01030307"),
        (1, {"mss": 1460, "wscale": 7}, "020405b4 ae051111 12030307"),
        (0, {"mss": 1460, "wscale": 7}, "020405b4 01030307 ae020101"),
        (
            1,
            {"mss": 1460, **TS, "sack_permitted": True, "wscale": 7},
            "020405b4 0402080a0000000100000002 ae051111 12030307",
        ),
    ],
)
def test_layout(fields, given, wire):
    assert laid_out(fields, **given) == wire.replace(" ", "")


@pytest.mark.parametrize("fields", [0, 1, 2, 3])
def test_what_was_laid_out_is_read_again(fields):
    seg = made(mss=1460, sack_permitted=True, wscale=7, src=bytes(4), dst=bytes(4), flags=2 | 0x1C0)
    content = accecn.content_of([0, 5, 6, 7], fields)
    accecn.lay_out(seg, content)
    raw = tcp.encode(seg)
    back = tcp.decode(raw, raw, 0, len(raw), bytes(8), True)
    assert accecn.option_of(back) == (174, content)
    assert (back.mss, back.wscale, back.sack_permitted) == (1460, 7, True)
    assert accecn.ace_of(back.flags) == 7
    assert tcp.encode(back) == tcp.encode(seg)
    assert accecn.counters(174, content) == [(1, 6), (3, 7), (2, 7)][:fields]


def test_order_0_begins_with_ect_0():
    assert accecn.counters(172, bytes(range(9))) == [(2, 0x000102), (3, 0x030405), (1, 0x060708)]


def test_a_field_that_is_cut_off_does_not_count():
    assert accecn.counters(174, bytes((0, 0, 1, 9, 9))) == [(1, 1)]


def test_of_two_options_the_last_counts():
    assert accecn.option_of(made(other_options=((174, b"\0\0\1"), (77, b""), (172, b"")))) == (172, b"")
    assert accecn.option_of(made(other_options=((77, b"abc"),))) is None


@pytest.mark.parametrize(
    ("room", "saving", "required", "blocks", "result"),
    [
        (28, 0, 0, 0, (3, 12, 0)),
        (16, 2, 0, 1, (3, 12, 1)),
        (8, 2, 0, 2, (2, 8, 2)),
        (8, 2, 3, 2, (-1, 0, 2)),
        (0, 2, 0, 3, (0, 0, 3)),
        (0, 2, 1, 3, (2, 8, 2)),
        (0, 2, 2, 3, (2, 8, 2)),
        (0, 2, 3, 3, (-1, 0, 3)),
        (4, 2, 1, 4, (1, 4, 4)),
        (4, 0, 0, 0, (0, 4, 0)),
        (3, 0, 0, 0, (-1, 0, 0)),
        (4, 1, 0, 0, (1, 4, 0)),
    ],
)
def test_what_fits(room, saving, required, blocks, result):
    """Fewer fields first; SACK blocks beyond two give way to fields that are needed (tcp_options_fit_accecn)."""
    assert accecn.fit(room, saving, required, blocks) == result


@pytest.mark.parametrize("ace", range(8))
def test_the_counter_in_the_flags(ace):
    assert accecn.ace_of(accecn.ace_flags(ace)) == ace
    assert accecn.ace_of(accecn.ace_flags(ace + 8) | ACK | PSH) == ace


def test_a_counter_stands_on_every_piece_of_a_super_segment():
    whole = made(flags=ACK | PSH | CWR | ACE_REPEATED, payload=bytes(2500), length=2500, gso_size=1000)
    assert [int(piece.flags) for piece in split(whole)] == [ACK | CWR, ACK | CWR, ACK | PSH | CWR]
    whole.flags = ACK | PSH | CWR
    assert [int(piece.flags) for piece in split(whole)] == [ACK | CWR, ACK, ACK | PSH]


@pytest.mark.parametrize(("room", "fields"), [(40, 3), (20, 2), (16, 1), (12, 0)])
def test_a_signature_leaves_room_for_fewer_fields(room, fields):
    seg = made(mss=1460, sack_permitted=True, wscale=7, other_options=((77, b""),))
    accecn.lay_out(seg, accecn.content_of([0, 1, 2, 3], 3))
    accecn.shorten(seg, room + 4)
    assert accecn.option_of(seg) == (174, accecn.content_of([0, 1, 2, 3], fields))
    assert len(options.encode(seg)) <= room + 4


def test_where_nothing_of_it_fits_the_option_goes():
    seg = made(has_ts=True)
    accecn.lay_out(seg, b"")
    accecn.shorten(seg, 12)
    assert accecn.option_of(seg) is None
    assert len(options.encode(seg)) == 12
