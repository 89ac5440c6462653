"""Any bytes at all: the wire layer answers with a packet or a WireError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.wire_fuzz import check, corpus, fuzz, read_all
from timewait.wire.parse import parse


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data, verify):
    check(data, verify=verify)


@given(st.sampled_from([4, 6]), st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 60]), st.binary(max_size=120))
def test_any_transport(version, proto, rest):
    """A valid IP header in front, so that the bytes reach the transport parsers."""
    if version == 4:
        head = b"\x45\x00" + (20 + len(rest)).to_bytes(2, "big") + bytes((0, 1, 0, 0, 64, proto, 0, 0)) + bytes(8)
    else:
        head = b"\x60\x00\x00\x00" + len(rest).to_bytes(2, "big") + bytes((proto, 64)) + bytes(32)
    check(head + rest, verify=False)


@given(st.binary(max_size=200))
def test_any_file(data):
    read_all(data)
    read_all(b"\x0a\x0d\x0d\x0a" + data)
    read_all(b"\xd4\xc3\xb2\xa1" + data)


def test_the_corpus_is_valid():
    for data in corpus():
        parse(data)


def test_mutants():
    assert fuzz(3000, seed=1) > 100


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_many_mutants(seed):
    fuzz(500_000, seed=seed)
