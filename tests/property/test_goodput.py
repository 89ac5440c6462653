"""Goodput over loss, round trip and buffer, frozen: a change that moves one of these moves it knowingly."""

import json
from pathlib import Path

import pytest

from support.transfer import transfer
from timewait.base.instant import MSEC

GRID = Path(__file__).with_name("goodput.json")
"""'algorithm loss% round-trip-ms queue': kbit/s through 10 Mbit/s in 3 s, seed 1."""
FROZEN = json.loads(GRID.read_text())


def measure(key):
    algorithm, loss, rtt, queue = key.split()
    found = transfer(algorithm, loss=float(loss) / 100, delay=int(rtt) * MSEC // 2, queue=int(queue), seconds=3)
    return round(found.goodput / 1000)


@pytest.mark.parametrize("key", FROZEN)
def test_goodput(key):
    assert measure(key) == pytest.approx(FROZEN[key], rel=0.05)
