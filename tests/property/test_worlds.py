"""Random worlds, a few hundred of them; thousands with `make soak`."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from property.worlds import play
from timewait.record.record import Record


@pytest.mark.parametrize("block", range(20))
def test_worlds(block):
    for seed in range(block * 20, block * 20 + 20):
        play(seed)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(3289, id="a narrowed path leaves pieces lost in Open"),
        pytest.param(3488, id="the same with IPv6"),
        pytest.param(7167, id="a cookie's ACK that overtook the first octet"),
    ],
)
def test_worlds_that_failed_once(seed):
    play(seed)


@given(st.integers(min_value=1 << 20, max_value=1 << 40))
@settings(max_examples=40, deadline=None)
def test_any_world(seed):
    play(seed)


def digest(seed: int) -> str:
    record = Record()
    play(seed, record)
    text = "\n".join(f"{type(entry).__name__} {entry.time}" for entry in record)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("seed", [3, 49, 95])
def test_a_seed_is_a_world(seed):
    assert digest(seed) == digest(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(100))
def test_ten_thousand_worlds(block):
    for seed in range(block * 100, block * 100 + 100):
        play(seed)
