"""The Internet checksum against RFC 1071's own example, a plain loop, and RFC 1624's."""

from hypothesis import given
from hypothesis import strategies as st

from timewait.wire import checksum


def plain_sum(data: bytes) -> int:
    """RFC 1071 4.1, word by word."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def test_example_of_rfc_1071():
    # Section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
    assert checksum.raw_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2
    assert checksum.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


def test_zero_and_all_ones_differ():
    assert checksum.raw_sum(b"") == 0
    assert checksum.raw_sum(bytes(40)) == 0
    assert checksum.raw_sum(b"\xff\xff") == 0xFFFF
    assert checksum.raw_sum(b"\xff\xff" * 1000) == 0xFFFF


@given(st.binary(max_size=3000), st.integers(0, 8))
def test_both_ways_are_the_plain_sum(data, repeat):
    data *= repeat
    assert checksum.raw_sum(data) == plain_sum(data)
    assert checksum.raw_sum(memoryview(data)) == plain_sum(data)
    assert checksum._sum_loop(data, 0, len(data)) == plain_sum(data)
    assert checksum._sum_number(data) == plain_sum(data)


@given(st.binary(min_size=4, max_size=100), st.data())
def test_a_range(data, draw):
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    assert checksum.sum_range(data, start, end) == plain_sum(data[start:end])
    assert checksum.sum_range(memoryview(data), start, end) == plain_sum(data[start:end])


def test_large_buffer():
    data = bytes(range(256)) * 256 + b"\x07"
    assert checksum.raw_sum(data) == plain_sum(data)


@given(st.binary(max_size=64).filter(lambda data: len(data) % 2 == 0), st.integers(0, 0xFFFF))
def test_computed_checksums_verify(data, initial):
    whole = data + checksum.checksum(data, initial).to_bytes(2, "big")
    assert checksum.verify(whole, initial)


def test_update_of_rfc_1624():
    # Section 4: header checksum dd2f, a word goes from 5555 to 3285, the new checksum is 0000.
    assert checksum.update(0xDD2F, 0x5555, 0x3285) == 0x0000


@given(st.binary(min_size=8, max_size=8).filter(any), st.binary(min_size=4, max_size=4).filter(any))
def test_update_is_a_new_computation(data, new):
    old_sum = checksum.checksum(data)
    changed = new + data[4:]
    updated = checksum.update32(old_sum, int.from_bytes(data[:4], "big"), int.from_bytes(new, "big"))
    assert updated == checksum.checksum(changed)


def test_pseudo_header():
    v4 = checksum.pseudo_sum(b"\x0a\0\0\1", b"\x0a\0\0\2", 6, 20)
    assert v4 == plain_sum(bytes.fromhex("0a000001 0a000002 0006 0014"))
    a, b = bytes(range(16)), bytes(range(16, 32))
    assert checksum.pseudo_sum(a, b, 58, 70000) == plain_sum(a + b + (70000).to_bytes(4, "big") + b"\0\0\0\x3a")
