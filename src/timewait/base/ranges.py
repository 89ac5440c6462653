"""A set of integers as sorted, disjoint half-open ranges."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """Disjoint ranges [start, end) in order; touching ranges are joined.

    Adding and finding are O(log n) searches plus the move of a list's tail. Used for
    received islands (SACK blocks), fragments, and what a test still expects.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self.starts, self.ends, strict=True))

    def add(self, start: int, end: int) -> tuple[int, int]:
        """Add [start, end), start < end, and return the joined range it now lies in."""
        first = bisect_left(self.ends, start)
        last = bisect_right(self.starts, end)
        if first < last:
            start = min(start, self.starts[first])
            end = max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]
        return start, end

    def discard_below(self, limit: int) -> None:
        """Forget everything below `limit`."""
        keep = bisect_right(self.ends, limit)
        del self.starts[:keep]
        del self.ends[:keep]
        if self.starts and self.starts[0] < limit:
            self.starts[0] = limit

    def covers(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is in the set."""
        i = bisect_right(self.starts, start) - 1
        return i >= 0 and end <= self.ends[i]

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any of [start, end) is in the set."""
        i = bisect_right(self.ends, start)
        return i < len(self.starts) and self.starts[i] < end

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not in the set, in order."""
        found: list[tuple[int, int]] = []
        i = bisect_right(self.ends, start)
        while start < end and i < len(self.starts) and self.starts[i] < end:
            if start < self.starts[i]:
                found.append((start, self.starts[i]))
            start = max(start, self.ends[i])
            i += 1
        if start < end:
            found.append((start, end))
        return found
