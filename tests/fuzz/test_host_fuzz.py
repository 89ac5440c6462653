"""Hostile packets for a whole host."""

import pytest

from fuzz.host_fuzz import fuzz


@pytest.mark.parametrize("seed", range(6))
def test_hostile_packets(seed):
    reasons = fuzz(3000, seed)
    assert len(reasons.drops) > 10, "the packets did not get far enough to meet the checks"


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_many_hostile_packets(seed):
    for part in range(10):
        fuzz(100_000, 1000 * seed + part)
