"""Two flows and more share a bottleneck, frozen: who gets how much, and Jain's index.

`PYTHONPATH=src:tests python tests/property/test_fairness.py` writes fairness.json anew; say in the commit why.
"""

import json
from pathlib import Path

import pytest

from support.fairness import jain, share

FROZEN = Path(__file__).with_name("fairness.json")
"""Each flow's kbit/s of 10 Mbit/s between the tenth second and the thirtieth, and the index."""
CASES = {
    "reno, reno": {},
    "cubic, cubic": {},
    "bbr, bbr": {},
    "reno, cubic": {},
    "cubic, bbr": {},
    "reno, bbr": {"queue": 200},
    "cubic, cubic, cubic, cubic": {},
    "reno, reno; 20 and 80 ms": {"rtts": (20, 80)},
    "cubic, cubic; 20 and 80 ms": {"rtts": (20, 80)},
    "cubic, cubic; CE above 20 packets": {"mark": 20},
}


def measure(name):
    """[kbit/s of each flow ..., Jain's index]."""
    algorithms = name.split(";")[0].split(", ")
    shares = share(algorithms, **CASES[name])
    return [*(round(each / 1000) for each in shares), round(jain(shares), 3)]


QUICK = ("reno, reno", "cubic, cubic", "reno, cubic", "cubic, bbr", "cubic, cubic; CE above 20 packets")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES])
def test_shares(name):
    frozen = json.loads(FROZEN.read_text())[name]
    found = measure(name)
    assert found == pytest.approx(frozen, rel=0.05)
    # Nobody starves, and nothing of the link is left unused.
    assert min(found[:-1]) > 300
    assert sum(found[:-1]) > 8500


if __name__ == "__main__":
    FROZEN.write_text(json.dumps({name: measure(name) for name in CASES}, indent=1) + "\n")
