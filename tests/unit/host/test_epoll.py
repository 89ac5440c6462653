import errno
import select

import pytest

from timewait.host.epoll import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, Epoll
from timewait.host.file import (
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    EPOLLRDHUP,
    File,
)


class Source(File):
    mask = 0

    def poll(self):
        return self.mask

    def becomes(self, mask):
        self.mask = mask
        self.wake(mask)


@pytest.fixture
def epoll():
    return Epoll()


def watched(epoll, events, fd=4, mask=0):
    source = Source()
    source.mask = mask
    epoll.control(EPOLL_CTL_ADD, fd, source, events, fd)
    return source


def errno_of(call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    return caught.value.errno


def test_level_triggered_reports_until_it_is_over(epoll):
    source = watched(epoll, EPOLLIN)
    assert epoll.collect(8) == []
    source.becomes(EPOLLIN)
    assert epoll.collect(8) == epoll.collect(8) == [(4, EPOLLIN)]
    source.mask = 0
    assert epoll.collect(8) == [] and not epoll.ready


def test_edge_triggered_reports_each_wake_once(epoll):
    source = watched(epoll, EPOLLIN | EPOLLET)
    source.becomes(EPOLLIN)
    assert [epoll.collect(8), epoll.collect(8)] == [[(4, EPOLLIN)], []]
    source.becomes(EPOLLIN)
    assert epoll.collect(8) == [(4, EPOLLIN)]


def test_adding_or_modifying_a_ready_file_reports_it(epoll):
    source = watched(epoll, EPOLLIN | EPOLLET, mask=EPOLLIN)
    assert epoll.collect(8) == [(4, EPOLLIN)]
    epoll.control(EPOLL_CTL_MOD, 4, source, EPOLLIN | EPOLLET, 77)
    assert epoll.collect(8) == [(77, EPOLLIN)]


def test_oneshot_is_silent_until_rearmed(epoll):
    source = watched(epoll, EPOLLIN | EPOLLONESHOT, mask=EPOLLIN)
    assert epoll.collect(8) == [(4, EPOLLIN)]
    source.becomes(EPOLLIN | EPOLLERR)
    assert epoll.collect(8) == []
    epoll.control(EPOLL_CTL_MOD, 4, source, EPOLLIN | EPOLLONESHOT, 4)
    assert epoll.collect(8) == [(4, EPOLLIN | EPOLLERR)]


def test_err_and_hup_are_always_reported_rdhup_when_asked(epoll):
    source = watched(epoll, EPOLLOUT)
    source.becomes(EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
    assert epoll.collect(8) == [(4, EPOLLHUP | EPOLLERR)]
    epoll.control(EPOLL_CTL_MOD, 4, source, EPOLLRDHUP, 4)
    assert epoll.collect(8) == [(4, EPOLLHUP | EPOLLERR | EPOLLRDHUP)]


def test_a_wake_of_another_kind_does_not_make_it_ready(epoll):
    source = watched(epoll, EPOLLIN | EPOLLET)
    source.becomes(EPOLLOUT)
    assert not epoll.ready


def test_more_ready_than_asked_take_turns(epoll):
    for fd in range(4, 8):
        watched(epoll, EPOLLIN, fd, EPOLLIN)
    seen = [fd for _ in range(2) for fd, _ in epoll.collect(2)]
    assert seen == [4, 5, 6, 7]


def test_errors(epoll):
    source = watched(epoll, EPOLLIN)
    plain = Source()
    plain.pollable = False
    assert errno_of(epoll.control, EPOLL_CTL_ADD, 4, source, EPOLLIN, 4) == errno.EEXIST
    assert errno_of(epoll.control, EPOLL_CTL_MOD, 5, source, EPOLLIN, 5) == errno.ENOENT
    assert errno_of(epoll.control, EPOLL_CTL_DEL, 5, source, 0, 5) == errno.ENOENT
    assert errno_of(epoll.control, EPOLL_CTL_ADD, 6, plain, EPOLLIN, 6) == errno.EPERM
    assert errno_of(epoll.control, EPOLL_CTL_ADD, 7, epoll, EPOLLIN, 7) == errno.EINVAL
    assert errno_of(epoll.control, 9, 4, source, EPOLLIN, 4) == errno.EINVAL
    assert errno_of(epoll.control, EPOLL_CTL_MOD, 4, source, EPOLLIN | EPOLLEXCLUSIVE, 4) == errno.EINVAL
    assert errno_of(epoll.control, EPOLL_CTL_ADD, 8, Epoll(), EPOLLIN | EPOLLEXCLUSIVE, 8) == errno.EINVAL
    assert errno_of(epoll.control, EPOLL_CTL_ADD, 8, Source(), EPOLLRDHUP | EPOLLEXCLUSIVE, 8) == errno.EINVAL
    assert errno_of(epoll.collect, 0) == errno.EINVAL
    watched(epoll, EPOLLIN | EPOLLEXCLUSIVE, 9)


def test_closing_the_last_descriptor_removes_it_and_a_dup_keeps_it(epoll):
    source = watched(epoll, EPOLLIN, mask=EPOLLIN)
    source.retain()
    source.release()
    assert epoll.collect(8) == [(4, EPOLLIN)]
    source.release()
    assert epoll.collect(8) == [] and not epoll.items


def test_closing_the_epoll_leaves_its_files(epoll):
    source = watched(epoll, EPOLLIN)
    epoll.release()
    assert source.watchers is None


def test_an_epoll_in_an_epoll_is_readable_while_something_is_ready(epoll):
    outer = Epoll()
    outer.control(EPOLL_CTL_ADD, 3, epoll, EPOLLIN, 3)
    source = watched(epoll, EPOLLIN)
    source.becomes(EPOLLIN)
    assert outer.collect(8) == [(3, EPOLLIN)]
    source.mask = 0
    assert outer.collect(8) == []


def test_circles_are_refused(epoll):
    other = Epoll()
    other.control(EPOLL_CTL_ADD, 3, epoll, EPOLLIN, 3)
    assert errno_of(epoll.control, EPOLL_CTL_ADD, 4, other, EPOLLIN, 4) == errno.ELOOP


@pytest.mark.parametrize("upwards", [False, True])
def test_chains_end_where_the_kernel_ends_them(upwards):
    def build(make, add):
        chain = [make()]
        while len(chain) < 10:
            fresh = make()
            try:
                add(chain[-1], fresh) if upwards else add(fresh, chain[-1])
            except OSError as error:
                return len(chain), error.errno
            chain.append(fresh)
        return len(chain), 0

    def ours(inner, outer):
        outer.control(EPOLL_CTL_ADD, 3, inner, EPOLLIN, 3)

    def theirs(inner, outer):
        outer.register(inner.fileno(), EPOLLIN)

    assert build(Epoll, ours) == build(select.epoll, theirs)
