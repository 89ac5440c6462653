"""Which modules hold labs, and in which order the catalogue has them."""

from pathlib import Path
from typing import Final

GROUPS: Final = (*"HDR UDP SOCK EST ISN MSS RTX SYNQ ACCQ TFO CLS DACK TW CW KA FAIL HTTP OPS".split(),)
"""Groups in the order of the catalogue: the letters before the number of an id."""


def subjects() -> list[str]:
    """The names of the modules of this package that hold labs, sorted: those with the decorator in them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [path.stem for path in files if "\n@lab(\n" in path.read_text(encoding="utf-8")]


def order(id: str) -> tuple[int, str, int]:
    """A key that sorts ids as the catalogue does; groups it does not have come last."""
    group, _, number = id.partition("-")
    place = GROUPS.index(group) if group in GROUPS else len(GROUPS)
    return place, group, int(number) if number.isdigit() else 0
