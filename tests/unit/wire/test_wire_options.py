"""TCP options: Linux's layout to the octet, and Linux's tolerance of broken lists."""

import pytest

from timewait.base.errors import UsageError
from timewait.wire import options
from timewait.wire.packet import Segment


def with_options(**fields):
    segment = Segment()
    for name, value in fields.items():
        setattr(segment, name, value)
    return segment


TS = {"has_ts": True, "tsval": 0x01020304, "tsecr": 0x05060708}
TS_HEX = "0102030405060708"
LAYOUTS = [
    ({}, ""),
    ({"mss": 1460}, "020405b4"),
    # What Linux sends in a SYN: tcpdump shows mss, sackOK, TS, nop, wscale.
    ({"mss": 1460, "sack_permitted": True, **TS, "wscale": 7}, f"020405b4 0402080a{TS_HEX} 01030307"),
    ({"mss": 1460, **TS, "wscale": 7}, f"020405b4 0101080a{TS_HEX} 01030307"),
    ({"mss": 1460, "sack_permitted": True, "wscale": 0}, "020405b4 01010402 01030300"),
    ({"mss": 536, "sack_permitted": True}, "02040218 01010402"),
    (TS, f"0101080a{TS_HEX}"),
    ({"sacks": ((1, 2),)}, "0101050a 00000001 00000002"),
    ({**TS, "sacks": ((1, 2), (3, 4), (5, 6))},
     f"0101080a{TS_HEX} 0101051a" + "".join(f"{n:08x}" for n in range(1, 7))),
    ({"fast_open": b""}, "22020101"),
    ({"fast_open": b"12345678"}, "220a 3132333435363738 0101"),
    ({"fast_open": b"1234"}, "2206 31323334 0101"),
    ({"fast_open": b"", "fast_open_exp": True}, "fe04f989"),
    ({"fast_open": b"12345678", "fast_open_exp": True}, "fe0cf989 3132333435363738"),
    ({"mss": 1460, "sack_permitted": True, **TS, "wscale": 7, "fast_open": b"12345678"},
     f"020405b4 0402080a{TS_HEX} 01030307 220a3132333435363738 0101"),
    ({"other_options": ((30, b"\x81\x01"), (253, b""))}, "1e048101 fd020101"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), LAYOUTS)
def test_layout_both_ways(fields, text):
    segment = with_options(**fields)
    raw = bytes.fromhex(text)
    assert options.encode(segment).hex() == raw.hex()
    assert options.option_length(segment) == len(raw)
    found = Segment()
    options.decode(found, raw)
    assert {name: getattr(found, name) for name in fields} == fields
    assert found.raw_options is None


def decoded(text):
    found = Segment()
    options.decode(found, bytes.fromhex(text))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "020405b4 02000000",  # a length of 0
        "020405b4 02010000",  # a length of 1
        "020405b4 08ff0000",  # past the end
        "020405b4 01010108",  # a kind without its length
        "020405b4 00030307",  # behind the end of the list
    ],
)
def test_what_follows_a_broken_option_is_ignored(text):
    found = decoded(text)
    assert found.mss == 1460
    assert (found.wscale, found.has_ts, found.other_options) == (-1, False, ())
    assert found.raw_options == bytes.fromhex(text)
    assert options.encode(found) == bytes.fromhex(text)


@pytest.mark.parametrize(
    "text",
    [
        "0203ff 020405b4 01",  # MSS of length 3
        "08080000000000 00 020405b4",  # timestamps of length 8
        "030400 00 020405b4",  # window scale of length 4
        "040300 020405b4 01",  # SACK permitted of length 3
        "0508000000010000 020405b4",  # SACK with less than a block
        "050d 0000000100000002 000000 020405b4 010101",  # SACK of one block and 3 octets
        "2203ff 020405b4 01",  # an odd cookie
        "2204ffff 020405b4",  # a cookie of 2
    ],
)
def test_known_options_of_a_wrong_length_are_absent(text):
    found = decoded(text)
    assert found.mss == 1460
    assert not found.has_ts and found.wscale == -1 and not found.sack_permitted
    assert found.sacks == () and found.fast_open is None
    assert options.encode(found) == bytes.fromhex(text)


def test_a_cookie_longer_than_16_is_absent():
    assert decoded("2214" + "00" * 18).fast_open is None
    assert decoded("fe16f989" + "00" * 18).fast_open is None


def test_the_last_of_two_counts():
    found = decoded("020405b4 02040218")
    assert found.mss == 536
    assert options.encode(found).hex() == "020405b402040218"


def test_experimental_options_of_others_are_kept():
    assert decoded("fe041234").other_options == ((254, b"\x12\x34"),)
    assert decoded("fe020101").other_options == ((254, b""),)


def test_window_scale_is_kept_raw():
    assert decoded("010303ff").wscale == 255


def test_raw_options_are_sent_as_they_are():
    assert options.encode(with_options(mss=9, raw_options=b"\x01\x02\x03\x04")) == b"\x01\x02\x03\x04"
    assert options.encode(with_options(raw_options=b"\x01")) == b"\x01\0\0\0"
    assert options.option_length(with_options(raw_options=b"\x01")) == 4


def test_too_many():
    with pytest.raises(UsageError, match="48 octets, only 40"):
        options.encode(with_options(**TS, sacks=((1, 2),) * 4))
