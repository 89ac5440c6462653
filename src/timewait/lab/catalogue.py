"""Which modules hold labs, and in which order the catalogue has them."""

from pathlib import Path
from typing import Final

FRAME: Final = frozenset("__init__ bench catalogue forge frame hypothetical index judge kernels life nominal puppet report run verify".split())
"""The modules of this package that hold no labs."""

GROUPS: Final = (
    "HDR UDP SOCK EST ISN MSS RTX SYNQ ACCQ TFO CLS DACK TW CW KA FAIL HTTP OPS"
).split()  # fmt: skip
"""Groups in the order of the catalogue: the letters before the number of an id."""


def subjects() -> list[str]:
    """The names of the modules that hold labs, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in FRAME)


def order(id: str) -> tuple[int, str, int]:
    """A key that sorts ids as the catalogue does; groups it does not have come last."""
    group, _, number = id.partition("-")
    place = GROUPS.index(group) if group in GROUPS else len(GROUPS)
    return place, group, int(number) if number.isdigit() else 0
