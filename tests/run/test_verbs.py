"""Each verb does what it says, undoes itself, and overlaps with others in any order."""

import errno
import socket

import pytest

from run.ends import Pair
from timewait.base.errors import UsageError
from timewait.base.instant import MSEC, SEC
from timewait.record.entries import Dropped, Noted
from timewait.tcp.reasons import Drop


def pipes(pair):
    return [pipe for link in pair.world.links.values() for pipe in link.directions(None)]


def echo_time(pair, fds):
    """ns that ten octets and their acknowledgment take."""
    one, two = fds
    start = pair.world.now
    pair.one.send(one, b"0123456789")
    assert pair.world.run_until(lambda: pair.two.inq(two) == 10, 100 * SEC)
    took = pair.world.now - start
    assert pair.two.recv(two, 10) == b"0123456789"
    # What was sent again over the slow line must not be in the way of the next.
    pair.run(20)
    return took


def test_slow_adds_up_and_ends_in_any_order():
    pair = Pair()
    fds = pair.opened()
    assert echo_time(pair, fds) == 10 * MSEC
    first = pair.verbs.slow("200ms", pair.client, pair.server)
    second = pair.verbs.slow(1.0, "client")
    assert echo_time(pair, fds) == 1210 * MSEC
    first.undo()
    first.undo()
    assert echo_time(pair, fds) == 1010 * MSEC
    second.undo()
    assert echo_time(pair, fds) == 10 * MSEC


def test_chances_multiply_up_and_leave_what_was_configured():
    pair = Pair()
    link = pair.world.between("client", "server")
    link.lossy(0.5)
    with pair.verbs.lossy("20%"), pair.verbs.lossy(0.5, "server"):
        assert [pipe.loss for pipe in pipes(pair)] == [pytest.approx(0.8)] * 2
    assert [pipe.loss for pipe in pipes(pair)] == [0.5, 0.5]


def test_the_narrowest_limit_holds():
    pair = Pair()
    wide, narrow = pair.verbs.throttle("10Mbit"), pair.verbs.throttle("1Mbit", queue=5)
    assert [(pipe.rate, pipe.queue) for pipe in pipes(pair)] == [(1_000_000, 5)] * 2
    narrow.undo()
    assert [(pipe.rate, pipe.queue) for pipe in pipes(pair)] == [(10_000_000, 0)] * 2
    wide.undo()
    assert all(pipe.plain for pipe in pipes(pair))


@pytest.mark.parametrize("switch", [False, True])
def test_lossy_between_two_hosts_loses_their_packets_only(switch):
    pair = Pair(switch=switch)
    with pair.verbs.lossy(1.0, "client", "server"):
        pair.listen()
        pair.connect()
        pair.run(3.5)
        dropped = [entry for entry in pair.record if isinstance(entry, Dropped)]
        assert [entry.drop for entry in dropped] == [Drop.LINK_RULE if switch else Drop.LINK_LOSS] * 4
    if switch:
        quiet = Pair(switch=True)
        with quiet.verbs.lossy(1.0, "client", "other"):
            quiet.opened()


def test_duplicate_corrupt_reorder_and_jitter_do_so():
    pair = Pair()
    one, two = pair.opened()
    with pair.verbs.duplicate(1.0, "client"):
        pair.one.send(one, b"x")
        pair.run(1)
    data = list(pair.record.packets(host="client", payload=True))
    assert [len(pair.record.arrivals(entry.packet.uid)) for entry in data] == [2]
    with pair.verbs.corrupt(1.0, "client", lasting="150ms"):
        pair.one.send(one, b"y")
        pair.run(2)
    assert any(entry.drop is Drop.BAD_CHECKSUM for entry in pair.record.drops())
    assert pair.two.recv(two, 10) == b"xy"
    with pair.verbs.reorder("50%", by="50ms"), pair.verbs.jitter("30ms", overtake=True):
        for number in range(30):
            pair.one.send(one, bytes([number]) * 1448)
        pair.run(5)
    assert pair.two.inq(two) == 30 * 1448


@pytest.mark.parametrize("switch", [False, True])
def test_partition_both_ways_and_one_way(switch):
    pair = Pair(switch=switch)
    one, two = pair.opened()
    with pair.verbs.partition("client", "server"):
        pair.one.send(one, b"a")
        pair.two.send(two, b"b")
        pair.run(1)
        assert (pair.one.inq(one), pair.two.inq(two)) == (0, 0)
    pair.run(5)
    assert (pair.one.inq(one), pair.two.inq(two)) == (1, 1)
    with pair.verbs.partition("client", "server", one_way=True):
        pair.one.send(one, b"a")
        pair.two.send(two, b"b")
        pair.run(1)
        assert (pair.one.inq(one), pair.two.inq(two)) == (2, 1)


def test_a_partition_of_groups():
    pair = Pair(switch=True)
    with pair.verbs.partition(["client", pair.other]):
        pair.listen()
        pair.connect()
        pair.run(0.5)
        assert len(pair.record.drops(drop=Drop.LINK_RULE)) == 1
    assert pair.verbs.acts == []


def test_unplug_and_plug():
    pair = Pair()
    one, two = pair.opened()
    pair.verbs.unplug("server")
    pair.one.send(one, b"a")
    pair.run(1)
    assert pair.two.inq(two) == 0
    pair.verbs.plug(pair.server)
    pair.run(2)
    assert pair.two.inq(two) == 1


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize(
    "what", ["second SYN", "2nd SYN from client", "second SYN to server", lambda packet: packet.uid == 0]
)
def test_drop_looks_at_each_packet_once(switch, what):
    pair = Pair(switch=switch)
    fault = pair.verbs.drop(what)
    pair.connect()
    pair.run(1)
    pair.connect()
    pair.run(0.5)
    assert fault.hits == (0 if callable(what) else 1)


def test_drop_between_two_hosts_spares_a_third():
    pair = Pair(switch=True)
    with pair.verbs.drop("every SYN", "client", "other") as spared:
        pair.opened()
    with pair.verbs.drop("every SYN", "server") as caught:
        pair.connect()
        pair.run(0.5)
    assert (spared.hits, caught.hits) == (0, 1)


def test_narrow_as_a_black_hole_stops_what_is_big():
    pair = Pair()
    one, two = pair.opened()
    with pair.verbs.narrow(576, blackhole=True):
        pair.one.send(one, bytes(1400))
        pair.run(1)
        assert pair.two.inq(two) == 0
        assert pair.record.drops(drop=Drop.LINK_MTU)


def test_a_full_accept_queue_takes_nobody():
    pair = Pair()
    listener = pair.listen()
    with pair.verbs.fill_accept_queue("server", 80):
        pair.connect()
        pair.run(10)
        assert pair.record.drops(where="server", drop=Drop.ACCEPT_QUEUE_FULL)
        with pytest.raises(BlockingIOError):
            pair.two.accept(listener)
    pair.run(30)
    pair.two.accept(listener)
    with pytest.raises(UsageError, match="nothing listens on port 81"):
        pair.verbs.fill_accept_queue("server", 81)


def test_no_ports_and_no_descriptors_are_left():
    pair = Pair()
    pair.listen()
    with pair.verbs.exhaust_ports("client"):
        fd = pair.one.socket(socket.AF_INET, socket.SOCK_STREAM)
        with pytest.raises(OSError) as caught:
            pair.one.connect(fd, (pair.world.address("server"), 80))
        assert caught.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(OSError) as caught:
            pair.one.bind(fd, ("", 0))
        assert caught.value.errno == errno.EADDRINUSE
    pair.start(fd)
    with pair.verbs.exhaust_fds(pair.one):
        with pytest.raises(OSError) as caught:
            pair.one.socket(socket.AF_INET, socket.SOCK_STREAM)
        assert caught.value.errno == errno.EMFILE
    pair.one.socket(socket.AF_INET, socket.SOCK_STREAM)


def test_lasting_ends_by_itself_and_the_record_tells():
    pair = Pair()
    pair.verbs.partition("client", "server", lasting="2s")
    pair.run(3)
    notes = [(entry.time // SEC, entry.text) for entry in pair.record if isinstance(entry, Noted)]
    assert notes == [(0, "partition between client and server"), (2, "end of: partition between client and server")]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda verbs: verbs.slow("fast"), "is no time"),
        (lambda verbs: verbs.slow("-1s"), "not negative"),
        (lambda verbs: verbs.lossy("110%"), "no probability"),
        (lambda verbs: verbs.lossy(0.1, "nobody"), "no host 'nobody'; there are client, server"),
        (lambda verbs: verbs.throttle("1 bit/fortnight"), "is no rate"),
        (lambda verbs: verbs.throttle("1M", "client", "other"), "share no link"),
        (lambda verbs: verbs.drop("second thoughts"), "cannot tell which packets"),
        (lambda verbs: verbs.exhaust_fds("one"), "takes a program"),
    ],
)
def test_what_is_refused_says_why(call, said):
    pair = Pair(switch="other" in said or said == "share no link")
    with pytest.raises(UsageError, match=said):
        call(pair.verbs)
    assert pair.verbs.acts == []
