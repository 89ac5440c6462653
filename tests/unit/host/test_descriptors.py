"""The descriptor table against a dict."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timewait.host.descriptors import FIRST_FD, Descriptors
from timewait.host.file import File

LIMIT = 12


def test_the_limit_is_said_with_emfile():
    table = Descriptors()
    for fd in range(FIRST_FD, LIMIT):
        assert table.lowest(LIMIT) == fd
        table.put(fd, File())
    with pytest.raises(OSError) as told:
        table.lowest(LIMIT)
    assert told.value.errno == errno.EMFILE


@given(st.lists(st.tuples(st.sampled_from(["add", "put", "take"]), st.integers(0, LIMIT - 1)), max_size=60))
def test_the_lowest_free_number_is_next_whatever_happened(steps):
    table, expected = Descriptors(), {}
    for step, fd in steps:
        file = File()
        if step == "take":
            assert table.take(fd) is expected.pop(fd, None)
        elif step == "put":
            assert table.put(fd, file) is expected.get(fd)
            expected[fd] = file
        elif len([n for n in expected if n >= FIRST_FD]) < LIMIT - FIRST_FD:
            free = next(n for n in range(FIRST_FD, LIMIT) if n not in expected)
            got = table.lowest(LIMIT)
            # Standard streams that were put by hand and taken away again are free numbers too.
            assert got == free or (got < FIRST_FD and got not in expected)
            table.put(got, file)
            expected[got] = file
        assert table.items() == sorted(expected.items()) and len(table) == len(expected)
        assert list(table) == sorted(expected) and table.values() == [expected[n] for n in sorted(expected)]
        assert table.copy().items() == table.items()


def test_opening_and_closing_for_ever_leaves_nothing_behind():
    table = Descriptors()
    table.put(7, File())
    for _ in range(100):
        fd = table.lowest(LIMIT)
        table.put(fd, File())
        table.put(9, File())
        table.take(9)
        table.take(fd)
    assert len(table._files) == len(table._taken) == 10
