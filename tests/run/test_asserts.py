"""Each assertion holds where it should, and where it does not its message tells numbers and draws the ladder."""

import copy

import pytest

from run.ends import Pair
from timewait.base.errors import UsageError
from timewait.base.instant import SEC
from timewait.record.entries import Received
from timewait.record.record import Record
from timewait.run.asserts import (
    NetworkAssertion,
    closed_first,
    data_conserved,
    no_leaks,
    no_reset,
    retransmissions,
    time_to_detect,
)
from timewait.tcp.states import State
from timewait.wire.packet import Segment


def closed(pair, one, two):
    """Close in order, the client first."""
    pair.one.close(one)
    pair.run(1)
    pair.two.close(two)
    pair.run(100)


def failure(check, *args, **kwargs):
    with pytest.raises(NetworkAssertion) as caught:
        check(*args, **kwargs)
    return str(caught.value)


def test_an_orderly_life_passes_everything():
    pair = Pair()
    one, two = pair.opened()
    pair.one.send(one, b"hello")
    closed(pair, one, two)
    no_leaks(pair)
    closed_first(pair, "client")
    retransmissions(pair, at_most=0)
    data_conserved(pair)


def test_close_wait_is_a_leak_and_says_whose_fault_it_is():
    pair = Pair()
    one, _ = pair.opened()
    pair.one.close(one)
    pair.run(100)
    text = failure(no_leaks, pair)
    assert "1 end of a connection leaked" in text
    assert "server 10.0.1.2:80 in CLOSE-WAIT for 60.0" in text
    assert "the peer has closed, this program has not" in text
    assert "FIN" in text and "─" in text
    no_leaks(pair, states=(State.ESTABLISHED,))
    no_leaks(pair, host="client")


def test_an_idle_connection_is_a_leak_on_both_ends():
    pair = Pair()
    pair.opened()
    text = failure(no_leaks, pair)
    assert "2 ends of connections leaked" in text and "client 10.0.1.1:" in text and "in ESTABLISHED" in text
    no_leaks(pair, port=81)


def test_power_off_leaves_nothing_on_the_dead_host():
    pair = Pair()
    pair.opened()
    pair.server.power_off()
    pair.verbs.note("server power off")
    pair.run(1)
    assert "1 end of a connection leaked" in failure(no_leaks, pair)


def test_who_closed_first():
    pair = Pair()
    one, two = pair.opened()
    closed(pair, one, two)
    assert "client closed first" in failure(closed_first, pair, "server")
    idle = Pair()
    idle.opened()
    assert "nobody sent a FIN" in failure(closed_first, idle, "client")
    assert "the record holds none" in failure(closed_first, Pair(), "client")


def test_retransmissions_are_counted_by_reason():
    pair = Pair()
    one, _ = pair.opened()
    with pair.verbs.partition("client", "server"):
        pair.one.send(one, b"x")
        pair.run(3)
    text = failure(retransmissions, pair, at_most=1)
    assert "retransmissions, at most 1 were to be" in text and "RTO" in text
    retransmissions(pair, at_most=0, host="server")


def test_no_reset_names_the_sender_and_the_reason():
    pair = Pair()
    one, two = pair.opened()
    pair.one.send(one, b"unread")
    pair.run(1)
    pair.two.close(two)
    pair.run(1)
    text = failure(no_reset, pair)
    assert "1 RST sent" in text and "by server after 2" in text
    no_reset(pair, host="client")


def test_time_to_detect_a_dead_peer():
    pair = Pair()
    one, _ = pair.opened()
    pair.run(9)
    pair.verbs.unplug("server")
    pair.one.send(one, b"x")
    pair.run(60)
    text = failure(time_to_detect, pair, "client", at_most="30s", since="unplugged")
    assert "not noticed within" in text and "SO_KEEPALIVE" in text
    pair.run(3600)
    took = time_to_detect(pair, "client", at_most="20min", since="unplugged")
    # tcp_retries2 = 15: RFC 1122's R2 with a first timeout of 220 ms.
    assert 900 * SEC < took < 1000 * SEC
    assert "was to notice a dead peer within 10 min" in failure(time_to_detect, pair, "client", at_most="10min")
    with pytest.raises(UsageError, match="no note in the record says 'flood'"):
        time_to_detect(pair, "client", at_most=1, since="flood")


def test_data_that_did_not_arrive_is_counted():
    pair = Pair()
    one, _ = pair.opened()
    pair.one.send(one, bytes(1000))
    pair.run(1)
    with pair.verbs.unplug("server"):
        pair.one.send(one, bytes(500))
        pair.run(1)
        assert "500 of 1500 octets never arrived, the first at 1000" in failure(data_conserved, pair)
    pair.run(10)
    data_conserved(pair)


def test_data_behind_a_reset_is_not_conserved():
    pair = Pair()
    one, two = pair.opened()
    pair.one.send(one, b"unread")
    pair.run(1)
    pair.one.send(one, b"late")
    pair.two.close(two)
    pair.run(1)
    assert "4 of 10 octets never arrived, the first at 6" in failure(data_conserved, pair)


def test_data_that_arrives_changed_is_counted():
    pair = Pair()
    one, _ = pair.opened()
    pair.one.send(one, b"abcdefgh")
    pair.run(1)
    spoiled = Record()
    for entry in pair.record:
        if isinstance(entry, Received) and isinstance(entry.packet, Segment) and entry.packet.length:
            packet = copy.copy(entry.packet)
            packet.payload = b"abXdefgh"
            entry = Received(entry.time, entry.where, packet, 0)
        spoiled.add(entry)
    assert "1 of 8 octets arrived changed" in failure(data_conserved, spoiled)


def test_many_connections_are_named_and_few_are_drawn():
    pair = Pair()
    listener = pair.listen()
    for _ in range(9):
        pair.connect()
        pair.run(1)
        pair.two.accept(listener)
    text = failure(no_leaks, pair, host="client")
    assert "9 ends of connections leaked" in text
    assert "and 7 more: #2 client:" in text
