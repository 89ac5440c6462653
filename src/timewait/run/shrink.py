"""Smaller failing cases: fewer faults, shorter and weaker ones, rounder times, a smaller seed.

A case is smaller by `size`: the number of faults first, then how much they do, then the
seed. The search is deterministic and bounded by runs, not by time.
"""

from collections.abc import Callable, Iterator
from typing import Final

from timewait.run.case import Case, Planned
from timewait.run.explore import weaker

MOST_RUNS: Final = 100
"""Runs that one search may take."""
SMALL_SEEDS: Final = 4
"""Seeds tried in place of a larger one."""


class Shrinker:
    """Looks for the smallest case for which `fails` still holds; it is asked at most `budget` times."""

    def __init__(self, case: Case, fails: Callable[[Case], bool], budget: int = MOST_RUNS) -> None:
        self.best = case
        self.fails = fails
        self.budget = budget
        self.runs = 0
        self._known: set[Case] = {case}

    def run(self) -> Case:
        """The smallest case found."""
        while self.runs < self.budget:
            before = self.best
            self._fewer()
            self._simpler()
            self._seed()
            if self.best == before:
                break
        return self.best

    def _try(self, case: Case) -> bool:
        """Whether a case fails too; then it is the best one. What was tried is not tried again."""
        if case in self._known or self.runs >= self.budget:
            return False
        self._known.add(case)
        self.runs += 1
        if not self.fails(case):
            return False
        self.best = case
        return True

    def _fewer(self) -> None:
        """Take faults away: all, then halves, quarters, single ones (Zeller's ddmin)."""
        if self.best.faults and self._try(Case(self.best.seed)):
            return
        part = len(self.best.faults) // 2
        while part >= 1:
            start = 0
            while start < len(self.best.faults):
                faults = self.best.faults
                if not self._try(Case(self.best.seed, faults[:start] + faults[start + part :])):
                    start += part
            part //= 2

    def _simpler(self) -> None:
        """Make each fault weaker, shorter, rounder, as long as that goes."""
        for index in range(len(self.best.faults)):
            progress = True
            while progress and self.runs < self.budget:
                progress = False
                for candidate in simpler(self.best.faults[index]):
                    faults = list(self.best.faults)
                    faults[index] = candidate
                    if self._try(Case(self.best.seed, tuple(faults))):
                        progress = True
                        break

    def _seed(self) -> None:
        for seed in range(min(SMALL_SEEDS, self.best.seed)):
            if self._try(Case(seed, self.best.faults)):
                return


def simpler(fault: Planned) -> Iterator[Planned]:
    """Faults a little simpler than this one, the boldest step first. Each sequence of steps ends."""
    if fault.at % 1000:
        yield fault._replace(at=fault.at // 1000 * 1000)
    elif fault.at >= 1000:
        yield fault._replace(at=fault.at // 2000 * 1000)
    if fault.lasting > 1000 and fault.lasting % 1000:
        yield fault._replace(lasting=fault.lasting // 1000 * 1000)
    elif fault.lasting > 1000:
        yield fault._replace(lasting=fault.lasting // 2000 * 1000)
    elif fault.lasting > 100:
        yield fault._replace(lasting=max(fault.lasting // 2, 100))
    value = weaker(fault.verb, fault.value)
    if value != fault.value:
        yield fault._replace(value=value)
