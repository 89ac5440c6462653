"""Deadlines in a heap that knows where each of its entries stands.

An entry is the object that waits, not a note about it: putting it off, pulling it
forward and taking it out cost O(log n) and leave nothing behind, and a million entries
cost eight octets each beside the objects themselves. Equal deadlines come up in the
order in which they were set.
"""

from typing import Final

from timewait.base.instant import NEVER
from timewait.base.ints import i32, i64
from timewait.base.native import mypyc_attr

_ORDERS: Final = 0x7FFFFFFF


@mypyc_attr(acyclic=True)
class Deadline:
    """Whatever can wait in a `Deadlines`; it stands in one of them at most."""

    at: i64 = NEVER
    """When it is due, in ns; NEVER while it stands nowhere."""
    slot: i32 = -1
    """Its place in the heap; -1: in none."""
    order: i32 = 0


class Deadlines:
    """A binary heap of `Deadline`s by (at, order)."""

    def __init__(self) -> None:
        self.heap: list[Deadline] = []
        self.count: i64 = 0

    def __len__(self) -> int:
        return len(self.heap)

    def earliest(self) -> i64:
        """When the first is due; NEVER if none waits."""
        if self.heap:
            return self.heap[0].at
        return NEVER

    def put(self, entry: Deadline, at: i64) -> None:
        """Let `entry` be due at `at`, whether it stood here before or not."""
        self.count = (self.count + 1) & _ORDERS
        later = entry.slot >= 0 and at >= entry.at
        entry.at = at
        entry.order = i32(self.count)
        if entry.slot < 0:
            self.heap.append(entry)
            self._rise(entry, len(self.heap) - 1)
        elif later:
            self._sink(entry, i64(entry.slot))
        else:
            self._rise(entry, i64(entry.slot))

    def remove(self, entry: Deadline) -> None:
        """Take `entry` out; nothing happens if it stands nowhere."""
        slot = i64(entry.slot)
        entry.at = NEVER
        if slot < 0:
            return
        entry.slot = -1
        last = self.heap.pop()
        if last is entry:
            return
        if slot and _before(last, self.heap[(slot - 1) >> 1]):
            self._rise(last, slot)
        else:
            self._sink(last, slot)

    def due(self, now: i64) -> Deadline | None:
        """Take out and return the first whose time has come; None if there is none."""
        if not self.heap:
            return None
        first = self.heap[0]
        if first.at > now:
            return None
        self.remove(first)
        return first

    def clear(self) -> None:
        """Forget everything."""
        for entry in self.heap:
            entry.slot = -1
            entry.at = NEVER
        self.heap = []

    def _rise(self, entry: Deadline, slot: i64) -> None:
        heap = self.heap
        while slot > 0:
            above = (slot - 1) >> 1
            parent = heap[above]
            if not _before(entry, parent):
                break
            heap[slot] = parent
            parent.slot = i32(slot)
            slot = above
        heap[slot] = entry
        entry.slot = i32(slot)

    def _sink(self, entry: Deadline, slot: i64) -> None:
        heap = self.heap
        size: i64 = len(heap)
        while True:
            below = 2 * slot + 1
            if below >= size:
                break
            child = heap[below]
            if below + 1 < size:
                other = heap[below + 1]
                if _before(other, child):
                    child = other
                    below += 1
            if not _before(child, entry):
                break
            heap[slot] = child
            child.slot = i32(slot)
            slot = below
        heap[slot] = entry
        entry.slot = i32(slot)


def _before(a: Deadline, b: Deadline) -> bool:
    if a.at != b.at:
        return a.at < b.at
    return a.order < b.order
