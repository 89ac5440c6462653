"""Measure transfers on our stack beside the kernel and write the table of docs/recovery.md; needs root and TUN.

PYTHONPATH=src .venv/bin/python tools/recovery.py          # print it
PYTHONPATH=src .venv/bin/python tools/recovery.py --write  # put it into the page
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.beside import POINTS, Point, compare, simulate  # type: ignore[import-not-found]  # noqa: E402

PAGE = ROOT / "docs/recovery.md"
BEGIN, END = "<!-- table: tools/recovery.py -->\n", "<!-- end of table -->\n"
HEAD = (
    "| algorithm | link | seed | ours, virtual time | ours, real time | rtx, RTO | kernel | rtx, RTO "
    "| ours to kernel's |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def row(point: Point, seed: int) -> str:
    """One line: the same transfer in virtual time, and both stacks in one real time."""
    virtual = simulate(point, seed)
    ours, kernel = compare(point, seed)
    algorithm, link = str(point).split(", ", 1)
    cells = [algorithm, link, str(seed), f"{virtual.seconds:.2f} s"]
    for each in (ours, kernel):
        cells += [f"{each.seconds:.2f} s", f"{each.final.retransmitted}, {each.final.timeouts}"]
    cells.append(f"{ours.seconds / kernel.seconds:.2f}")
    return "| " + " | ".join(cells) + " |\n"


def main() -> int:
    """Exit status 0, and 2 for arguments that it does not know."""
    if sys.argv[1:] not in ([], ["--write"]):
        print(__doc__)
        return 2
    table = HEAD
    print(HEAD, end="")
    for point in POINTS:
        for seed in (1, 2):
            line = row(point, seed)
            print(line, end="", flush=True)
            table += line
    if sys.argv[1:]:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
