"""Measure transfers on our stack beside the kernel: the table of docs/recovery.md. Needs root and TUN.

    PYTHONPATH=src .venv/bin/python tools/recovery.py          # print it, a few minutes
    PYTHONPATH=src .venv/bin/python tools/recovery.py --write  # and put it into the page

Exit status: 0 if every transfer takes as long on both, give or take 15 %; 1 if not; 2 for other arguments.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.beside import POINTS, Point, compare, simulate  # type: ignore[import-not-found]  # noqa: E402

PAGE = ROOT / "docs/recovery.md"
BEGIN, END = "<!-- table: tools/recovery.py -->\n", "<!-- end of table -->\n"
HEAD = (
    "| algorithm | link | ours, virtual time | ours, real time | rtx, RTO | kernel | rtx, RTO "
    "| virtual to kernel's | real to kernel's |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
SEEDS = (1, 2, 3)
ALIKE = 0.15


def row(point: Point) -> tuple[str, bool]:
    """One line, the sums over the seeds: in virtual time, and both stacks in one real time; whether they are alike."""
    virtual = sum(simulate(point, seed).seconds for seed in SEEDS)
    pairs = [compare(point, seed) for seed in SEEDS]
    ours, kernel = ([pair[side] for pair in pairs] for side in (0, 1))
    algorithm, link = str(point).split(", ", 1)
    cells = [algorithm, link, f"{virtual:.2f} s"]
    for stack in (ours, kernel):
        repeats = sum(each.final.retransmitted for each in stack)
        timeouts = sum(each.final.timeouts for each in stack)
        cells += [f"{sum(each.seconds for each in stack):.2f} s", f"{repeats}, {timeouts}"]
    base = sum(each.seconds for each in kernel)
    ratios = [virtual / base, sum(each.seconds for each in ours) / base]
    cells += [f"{ratio:.2f}" for ratio in ratios]
    # A paced sender in this process is late when the machine is busy, the kernel's is not: there virtual time counts.
    # So it does without random loss: the real link's jitter decides what slow start overflows.
    counts = ratios[0] if point.algorithm == "bbr" or not point.loss else ratios[1]
    return "| " + " | ".join(cells) + " |\n", abs(counts - 1) <= ALIKE


def main() -> int:
    """See above."""
    if sys.argv[1:] not in ([], ["--write"]):
        print(__doc__)
        return 2
    table, unlike = HEAD, 0
    print(HEAD, end="")
    for point in POINTS:
        for _ in range(2):
            line, alike = row(point)
            if alike:
                break
        print(line, end="" if alike else "  not alike\n", flush=True)
        table += line
        unlike += not alike
    if sys.argv[1:]:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])
    return 1 if unlike else 0


if __name__ == "__main__":
    sys.exit(main())
