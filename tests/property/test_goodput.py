"""Goodput over loss, round trip and buffer, frozen: a change that moves one of these moves it knowingly.

`PYTHONPATH=src:tests python tests/property/test_goodput.py` writes goodput.json anew; say in the commit why.
"""

import json
from itertools import product
from pathlib import Path

import pytest

from support.transfer import transfer
from timewait.base.instant import MSEC

GRID = Path(__file__).with_name("goodput.json")
"""'algorithm loss% round-trip-ms queue': kbit/s through 10 Mbit/s in 3 s, seed 1."""
FROZEN = json.loads(GRID.read_text())
KEYS = [
    " ".join(each)
    for each in product(("reno", "cubic", "bbr"), "0 1 5 10".split(), "1 20 100 300".split(), ("10", "100"))
]


def measure(key):
    algorithm, loss, rtt, queue = key.split()
    found = transfer(algorithm, loss=float(loss) / 100, delay=int(rtt) * MSEC // 2, queue=int(queue), seconds=3)
    return round(found.goodput / 1000)


@pytest.mark.parametrize("key", KEYS)
def test_goodput(key):
    assert measure(key) == pytest.approx(FROZEN[key], rel=0.05)


if __name__ == "__main__":
    GRID.write_text(json.dumps({key: measure(key) for key in KEYS}, indent=1) + "\n")
