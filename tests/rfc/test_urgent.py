"""Urgent data: one octet out of band (RFC 9293 3.8.5, RFC 6093; quirk URG-1)."""

import select
import socket

import pytest

from support.ends import SOL_SOCKET, opened
from support.peer import both

OOB, PEEK = socket.MSG_OOB, socket.MSG_PEEK
INLINE = (SOL_SOCKET, socket.SO_OOBINLINE, 1)
IN, PRI = select.POLLIN, select.POLLPRI


def ready(peer, fd):
    return dict(peer.app.poll([(fd, IN | PRI)])).get(fd, 0)


@both
def test_the_pointer_goes_behind_the_octet(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.send(fd, b"abc", OOB)
    (seen,) = peer.take()
    assert seen == "PAU 1:4 ack 1"
    assert seen.segment.urgent == 3
    peer.app.send(fd, b"def")
    (seen,) = peer.take()
    assert seen == "PA 4:7 ack 1", "nothing urgent behind SND.UP"
    assert peer.inject("A", seq=1, ack=7) == []
    peer.app.send(fd, b"g")
    (seen,) = peer.take()
    assert seen == "PA 7:8 ack 1"


@both
def test_pure_acknowledgments_point_ahead(peers):
    peer = peers()
    fd = opened(peer)
    assert peer.inject("PA", seq=1, ack=1, data=5) == ["A 1:1 ack 6"]
    assert peer.inject("A", seq=6, ack=1, window=4) == []
    peer.app.send(fd, bytes(9))
    peer.app.send(fd, b"!", OOB)
    assert peer.take() == []
    # What waits for the window is announced by what may be sent.
    (seen,) = peer.inject("PA", seq=6, ack=1, data=5, window=4)
    assert seen == "AU 1:1 ack 11"
    assert seen.segment.urgent == 10


@both
def test_the_octet_is_lifted_out_of_the_stream(peers):
    peer = peers()
    fd = opened(peer)
    assert ready(peer, fd) == 0
    peer.inject("PAU", seq=1, data=b"abcdef", urgent=3)
    assert ready(peer, fd) == IN | PRI
    assert peer.app.inq(fd) == 2, "up to the mark"
    assert peer.app.recv(fd, 1, OOB | PEEK) == b"c"
    assert peer.app.recv(fd, 1, OOB) == b"c"
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"
    assert ready(peer, fd) == IN
    assert peer.app.recv(fd, 100) == b"ab", "a read stops at the mark"
    assert peer.app.recv(fd, 100) == b"def"
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"


@both
def test_reading_past_the_octet_loses_it(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PAU", seq=1, data=b"abcdef", urgent=3)
    assert peer.app.recv(fd, 100) == b"ab"
    assert ready(peer, fd) == IN | PRI
    assert peer.app.recv(fd, 100, PEEK) == b"def"
    assert peer.app.recv(fd, 1, OOB | PEEK) == b"c"
    assert peer.app.recv(fd, 100) == b"def"
    assert ready(peer, fd) == 0
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"


@both
def test_the_octet_alone_is_not_readable(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PAU", seq=1, data=b"!", urgent=1)
    assert ready(peer, fd) == PRI
    assert peer.app.inq(fd) == 0
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    # The failed read has stepped over it.
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"
    assert peer.inject("PA", seq=2, data=b"x")[-1:] in ([], ["A 1:1 ack 3"])
    assert peer.app.recv(fd, 100) == b"x"


@both
def test_inline_leaves_it_in_the_stream(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, *INLINE)
    peer.inject("PAU", seq=1, data=b"abcdef", urgent=3)
    assert ready(peer, fd) == IN | PRI
    assert peer.app.inq(fd) == 6
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"
    assert peer.app.recv(fd, 100) == b"ab"
    assert peer.app.recv(fd, 100) == b"cdef"
    assert ready(peer, fd) == 0


@both
def test_the_pointer_may_come_before_the_octet(peers):
    peer = peers()
    fd = opened(peer)
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"
    peer.inject("PAU", seq=1, data=b"ab", urgent=4)
    assert ready(peer, fd) == IN
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EAGAIN"
    peer.inject("PA", seq=3, data=b"cdef")
    assert ready(peer, fd) == IN | PRI
    assert peer.app.recv(fd, 1, OOB) == b"d"
    assert peer.app.recv(fd, 100) == b"abc"
    assert peer.app.recv(fd, 100) == b"ef"


@both
def test_a_newer_pointer_replaces_an_older_one(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PAU", seq=1, data=b"ab", urgent=2)
    peer.inject("PAU", seq=3, data=b"cd", urgent=2)
    assert peer.app.recv(fd, 1, OOB) == b"d"
    assert peer.app.recv(fd, 100) == b"abc", "the first urgent octet has become ordinary"


@both
def test_two_urgent_octets_in_a_row_both_leave_the_stream(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PAU", seq=1, data=b"a", urgent=1)
    peer.inject("PAU", seq=2, data=b"b", urgent=1)
    assert peer.app.recv(fd, 1, OOB) == b"b"
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"


@both
def test_an_old_pointer_is_ignored(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PA", seq=1, data=b"abc")
    peer.inject("PAU", seq=1, data=b"abcd", urgent=2)
    assert peer.app.recv(fd, 100) == b"abcd"
    assert peer.attempt(peer.app.recv, fd, 1, OOB) == "EINVAL"


@both
def test_stdurg_reads_the_pointer_as_rfc_793_text_did(peers):
    peer = peers({"net.ipv4.tcp_stdurg": 1})
    fd = opened(peer)
    peer.inject("PAU", seq=1, data=b"abcdef", urgent=3)
    assert peer.app.recv(fd, 1, OOB) == b"d"
    assert peer.app.recv(fd, 100) == b"abc"


@both
@pytest.mark.parametrize("ending", ["FIN", "RST"])
def test_urgent_reads_at_the_end(peers, ending):
    peer = peers()
    fd = opened(peer)
    if ending == "FIN":
        peer.inject("FPAU", seq=1, data=b"ab", urgent=2)
        assert peer.app.recv(fd, 1, OOB) == b"b"
    else:
        peer.inject("PAU", seq=1, data=b"ab", urgent=2)
        peer.inject("R", seq=3)
        assert peer.attempt(peer.app.recv, fd, 1, OOB) == "ENOTCONN"
    assert peer.app.recv(fd, 100) == b"a"


@both
def test_an_unread_urgent_octet_counts_as_unread_data(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PAU", seq=1, data=b"!", urgent=1)
    assert peer.app.recv(fd, 1, OOB) == b"!"
    peer.app.close(fd)
    assert peer.take() == ["RA 1:1 ack 2"]
