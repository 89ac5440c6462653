import errno

import pytest

from timewait.base.instant import ManualClock
from timewait.host.epoll import EPOLL_CTL_ADD
from timewait.host.file import EPOLLIN, EPOLLOUT, Socket
from timewait.host.machine import Machine
from timewait.host.process import POLLNVAL, Process
from timewait.tcp.tap import Tap
from timewait.wire.address import pack


class FakeSocket(Socket):
    def __init__(self, log, family=2):
        self.log, self.family = log, family
        self.waiting = []

    def poll(self):
        return EPOLLIN if self.waiting else EPOLLOUT

    def bind(self, addr, port):
        self.log.append(("bind", addr, port))

    def connect(self, addr, port):
        raise BlockingIOError(errno.EINPROGRESS, "in progress")

    def accept(self):
        return self.waiting.pop(0)

    def getpeername(self):
        return pack("10.0.0.9"), 4000

    def send(self, data, flags):
        return len(data)

    def recv(self, size, flags):
        return b""

    def released(self):
        self.log.append(("released", self))


class Host(Machine):
    def __init__(self, tap=None):
        self.name, self.tap, self.log, self.clock = "a", tap, [], ManualClock()

    def now(self):
        return self.clock.now()

    def make_socket(self, family, type, proto):
        return FakeSocket(self.log, family)


class Calls(Tap):
    def __init__(self):
        self.calls = []

    def called(self, host, process, call, result, now):
        self.calls.append((call, result))


@pytest.fixture
def app():
    return Process(Host())


def errno_of(call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    return caught.value.errno


def test_the_lowest_free_descriptor_is_taken(app):
    assert [app.socket(2, 1) for _ in range(3)] == [3, 4, 5]
    app.close(4)
    app.close(3)
    assert [app.socket(2, 1) for _ in range(3)] == [3, 4, 6]


def test_dup2_far_up_leaves_the_gap_free(app):
    app.socket(2, 1)
    assert app.dup2(3, 10) == 10
    assert [app.dup(3) for _ in range(7)] == [4, 5, 6, 7, 8, 9, 11]


def test_dup2_onto_an_open_one_closes_it(app):
    app.socket(2, 1)
    other = app.file(app.socket(2, 1))
    app.dup2(3, 4)
    assert app.host.log == [("released", other)]
    assert app.dup2(3, 3) == 3


def test_emfile_and_accept_leaves_the_connection_in_the_queue(app):
    app.nofile = 5
    listener = app.socket(2, 1)
    app.socket(2, 1)
    sock = app.file(listener)
    sock.waiting.append(FakeSocket(app.host.log))
    assert errno_of(app.accept, listener) == errno.EMFILE
    assert errno_of(app.socket, 2, 1) == errno.EMFILE
    assert len(sock.waiting) == 1
    app.close(4)
    assert app.accept(listener) == (4, ("10.0.0.9", 4000))


def test_bad_descriptors(app):
    assert errno_of(app.send, 7, b"x") == errno.EBADF
    assert errno_of(app.close, 7) == errno.EBADF
    assert errno_of(app.dup2, 7, 8) == errno.EBADF
    assert errno_of(app.send, app.epoll_create(), b"x") == errno.ENOTSOCK


def test_fork_shares_and_the_last_close_releases(app):
    fd = app.socket(2, 1)
    child = app.fork("child")
    app.close(fd)
    assert app.host.log == []
    assert child.send(fd, b"still works") == 11
    child.exit()
    assert len(app.host.log) == 1
    assert errno_of(child.socket, 2, 1) == errno.ESRCH


def test_kill_closes_everything_in_order_and_power_loss_nothing(app):
    socks = [app.file(app.socket(2, 1)) for _ in range(3)]
    other = Process(app.host)
    other.socket(2, 1)
    other.vanish()
    assert app.host.log == []
    app.kill()
    assert app.host.log == [("released", s) for s in socks]
    app.kill()


def test_addresses_by_family(app):
    four, six = app.socket(2, 1), app.socket(10, 1)
    app.bind(four, ("", 80))
    app.bind(six, ("", 80))
    app.bind(six, ("::ffff:10.0.0.1", 80))
    assert app.host.log == [("bind", bytes(4), 80), ("bind", bytes(16), 80), ("bind", pack("10.0.0.1"), 80)]
    assert errno_of(app.bind, four, ("::1", 80)) == errno.EAFNOSUPPORT
    assert errno_of(app.bind, six, ("10.0.0.1", 80)) == errno.EINVAL
    assert app.getpeername(six) == ("::ffff:10.0.0.9", 4000)
    with pytest.raises(OverflowError):
        app.bind(four, ("", 65536))


def test_poll_and_epoll(app):
    fd = app.socket(2, 1)
    assert app.poll([(fd, EPOLLIN), (fd, EPOLLIN | EPOLLOUT), (99, 0), (-1, 0)]) == [(fd, EPOLLOUT), (99, POLLNVAL)]
    ep = app.epoll_create()
    app.epoll_ctl(ep, EPOLL_CTL_ADD, fd, EPOLLOUT)
    assert app.epoll_wait(ep) == [(fd, EPOLLOUT)]
    app.close(fd)
    assert app.epoll_wait(ep) == []
    assert errno_of(app.epoll_ctl, ep, EPOLL_CTL_ADD, fd, EPOLLOUT) == errno.EBADF


def test_nonblocking_belongs_to_the_open_file(app):
    fd = app.socket(2, 1 | 0o4000)
    assert app.get_nonblocking(fd)
    app.set_nonblocking(app.dup(fd), False)
    assert not app.get_nonblocking(fd)


def test_calls_are_told_to_the_tap():
    tap = Calls()
    app = Process(Host(tap))
    fd = app.socket(2, 1)
    with pytest.raises(BlockingIOError):
        app.connect(fd, ("10.0.0.2", 80))
    app.send(fd, b"hello")
    app.close(fd)
    assert tap.calls == [
        ("socket(2, 1, 0)", "3"),
        ("connect(3, 10.0.0.2:80)", "EINPROGRESS"),
        ("send(3, 5 octets)", "5"),
        ("close(3)", "0"),
    ]
