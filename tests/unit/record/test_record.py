"""The record: order, numbering, bounds, questions and connections."""

import pytest

from support.story import AISN, BISN, Story, long_transfer, simultaneous_close, whole_life
from timewait.base.errors import UsageError
from timewait.base.instant import MSEC, SEC
from timewait.record import Match, Moved, Record, Sent, measure, parse_flags
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import State
from timewait.wire.packet import ACK, RST, SYN


def test_transmissions_are_numbered_and_arrivals_refer_to_them():
    record = whole_life()
    numbers = [entry.packet.uid for entry in record.packets()]
    assert numbers == list(range(1, 12))
    assert [entry.where for entry in record.arrivals(1)] == ["server"]
    assert record.arrivals(4) == []  # lost


def test_questions_by_flags_reason_and_host():
    record = whole_life()
    assert record.sent_times(Match(flags="S")) == [0]
    assert record.sent_times(Match(flags="SYN-ACK", host="server")) == [10 * MSEC]
    assert measure.intervals(record.sent_times(Match(payload=100))) == [204 * MSEC, 408 * MSEC]
    assert len(record.packets(why=Why.RTO)) == 2
    assert len(record.retransmissions("client")) == 2
    assert record.count(Match(drop=Drop.LINK_LOSS)) == 2
    first = record.first(Match("moved", state=State.TIME_WAIT))
    assert isinstance(first, Moved) and first.where == "client"
    assert record.last(Match("called", name="close")).where == "server"
    assert record.first(Match("timer", name="nosuch")) is None


def test_flags_are_read_in_letters_and_words():
    assert parse_flags("SA") == parse_flags("SYN-ACK") == parse_flags("syn,ack") == SYN | ACK
    with pytest.raises(UsageError, match="flags"):
        parse_flags("X")


def test_state_at_a_time():
    record = whole_life()
    flow = record.connection().initiator.flow
    assert record.state_at("client", flow, 5 * MSEC) is State.SYN_SENT
    assert record.state_at("client", flow, 20 * MSEC) is State.ESTABLISHED
    assert record.state_at("client", flow, 30 * SEC) is State.TIME_WAIT
    assert record.state_at("client", flow, 62 * SEC) is State.CLOSED


def test_connection_knows_its_sides_and_relative_numbers():
    connection = whole_life().connection()
    client, server = connection.initiator, connection.responder
    assert (client.host, client.port, client.isn) == ("client", 40000, AISN)
    assert (server.host, server.port, server.isn) == ("server", 80, BISN)
    data = connection.packets(client)[2].packet
    assert (connection.relative_seq(data), connection.relative_ack(data)) == (1, 1)
    assert connection.window(data) == 63 << 10
    last = connection.packets(client)[-1].packet
    assert connection.relative_seq(last) == 102  # across the wrap of the numbers


def test_measurements_of_a_whole_life():
    connection = whole_life().connection()
    client, server = connection.initiator, connection.responder
    assert measure.first_to_close(connection) is client
    assert measure.reset_by(connection) is None
    assert measure.handshake_time(connection) == 20 * MSEC
    assert measure.payload_bytes(connection, client) == 100
    assert measure.payload_bytes(connection, server) == 0
    assert measure.time_in(connection, client, State.TIME_WAIT) == 60 * SEC
    assert measure.died_at(connection, server) == 1352 * MSEC
    assert len(measure.lost(connection)) == 2
    assert measure.path(connection, client)[-2:] == [State.TIME_WAIT, State.CLOSED]


def test_payload_counts_once():
    connection = long_transfer(50).connection()
    assert measure.payload_bytes(connection, connection.responder) == 50 * 1460
    assert measure.retransmissions(connection) == []


def test_incarnations_of_one_tuple_are_separate_connections():
    story = Story()
    story.close(story.handshake())
    story.aisn, story.bisn = 5000, 9000
    story.handshake(100 * SEC)
    first, second = story.record.connections()
    assert (first.incarnation, second.incarnation) == (1, 2)
    assert (first.initiator.isn, second.initiator.isn) == (AISN, 5000)
    assert second.entries[0].time == 100 * SEC


def test_a_refused_syn_after_a_lost_one_is_a_connection_of_its_own():
    """A kernel's record has no moves: that the first attempt was given up shows in the other number alone."""
    story = Story()
    story.send("client", story.segment("client", SYN, why=None), 0, lost=Drop.LINK_LOSS)
    story.aisn = 5000
    story.pass_("client", story.segment("client", SYN, why=None), SEC)
    refusal = story.segment("server", RST | ACK, ack=1, why=None)
    refusal.seq = 0
    story.pass_("server", refusal, SEC + 10 * MSEC)
    first, second = story.record.connections()
    assert (first.initiator.isn, second.initiator.isn) == (AISN, 5000)
    assert len(second.packets()) == 2


def test_a_stray_syn_inside_a_connection_stays_part_of_it():
    story = Story()
    at = story.handshake()
    stray = story.segment("client", SYN, 70, why=None)
    story.pass_("client", stray, at + SEC)
    connections = story.record.connections()
    assert len(connections) == 1
    assert connections[0].entries[-1].packet is stray


def test_simultaneous_close_and_reset():
    connection = simultaneous_close().connection()
    assert measure.reset_by(connection) is connection.responder


@pytest.mark.parametrize(("keep", "first_time"), [("first", 0), ("last", None)])
def test_memory_is_bounded_and_what_is_missing_is_counted(keep, first_time):
    whole = whole_life()
    heard = []
    record = Record(limit=8, keep=keep, sink=heard.append)
    for entry in whole:
        record.add(entry)
    assert len(record) <= 8
    assert record.left_out == len(whole) - len(record)
    assert heard == whole.entries
    if first_time is None:
        assert record.entries[-1] is whole.entries[-1]
    else:
        assert record.entries[0] is whole.entries[0]


def test_usage_errors_say_what_is_valid():
    with pytest.raises(UsageError, match="keep"):
        Record(keep="middle")
    with pytest.raises(UsageError, match="holds 0"):
        Record().connection()
    with pytest.raises(UsageError, match="kinds"):
        Match("eaten")


def test_views_follow_a_growing_record():
    story = Story()
    assert story.record.connections() == []
    story.handshake()
    assert len(story.record.connections()) == 1
    assert all(isinstance(entry, Sent) for entry in story.record.packets())
