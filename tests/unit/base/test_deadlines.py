"""The heap of deadlines against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from timewait.base.deadlines import Deadline, Deadlines
from timewait.base.instant import NEVER


def drained(deadlines):
    out = []
    while (entry := deadlines.due(NEVER - 1)) is not None:
        out.append(entry)
    return out


def test_equal_deadlines_come_up_in_the_order_in_which_they_were_set():
    entries = [Deadline() for _ in range(9)]
    deadlines = Deadlines()
    for entry in entries:
        deadlines.put(entry, 7)
    deadlines.put(entries[0], 7)
    assert drained(deadlines) == [*entries[1:], entries[0]]


def test_nothing_is_due_before_its_time():
    deadlines, entry = Deadlines(), Deadline()
    deadlines.put(entry, 5)
    assert deadlines.due(4) is None and deadlines.earliest() == 5
    assert deadlines.due(5) is entry
    assert deadlines.earliest() == NEVER and entry.at == NEVER and entry.slot == -1


@given(st.lists(st.tuples(st.integers(0, 15), st.one_of(st.none(), st.integers(0, 30))), max_size=120))
def test_what_is_put_put_off_and_removed_comes_up_sorted(steps):
    entries = [Deadline() for _ in range(16)]
    deadlines, expected = Deadlines(), {}
    for count, (which, at) in enumerate(steps):
        if at is None:
            deadlines.remove(entries[which])
            expected.pop(which, None)
        else:
            deadlines.put(entries[which], at)
            expected[which] = (at, count)
        assert len(deadlines) == len(expected)
        assert deadlines.earliest() == min((at for at, _ in expected.values()), default=NEVER)
    assert drained(deadlines) == [entries[which] for which in sorted(expected, key=expected.get)]
