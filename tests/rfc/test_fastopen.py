"""TCP Fast Open between two hosts (RFC 7413; TFO-01 to TFO-03, EST-06, EST-08)."""

import errno

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import MSG_FASTOPEN, SOL_TCP, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_INFO
from timewait.record.match import Match
from timewait.wire.packet import Segment
from timewait.world.network import World

SERVER = ("10.0.0.2", 80)


class Story:
    """A client and a server 20 ms apart, the server with fast open on."""

    def __init__(self, server_bits: int = 3) -> None:
        self.world = World(seed=3)
        self.a = self.world.host("client", "10.0.0.1/24")
        self.b = self.world.host("server", "10.0.0.2/24", sysctl={"net.ipv4.tcp_fastopen": server_bits})
        self.link = self.world.link(self.a, self.b, delay=10 * MSEC)
        self.client = self.a.process("client")
        self.server = self.b.process("server")
        self.listener = self.server.socket(2, 1)
        self.server.bind(self.listener, SERVER)
        self.server.setsockopt(self.listener, SOL_TCP, TCP_FASTOPEN, 2)
        self.server.listen(self.listener, 5)

    def fetch_cookie(self) -> None:
        fd = self.client.socket(2, 1)
        with pytest.raises(BlockingIOError) as caught:
            self.client.sendto(fd, b"0123456789", SERVER, MSG_FASTOPEN)
        assert caught.value.errno == errno.EINPROGRESS
        self.world.run(SEC)
        self.client.close(fd)
        peer, _ = self.server.accept(self.listener)
        self.server.close(peer)
        self.world.run(SEC)

    def segments(self, host: str) -> list[Segment]:
        return [entry.packet for entry in self.world.record.select(Match("sent", host=host))]


def syns(story: Story, host: str) -> list[Segment]:
    return [seg for seg in story.segments(host) if seg.flags & 2]


def test_the_first_connection_asks_and_is_granted_a_cookie():
    story = Story()
    story.fetch_cookie()
    (asked,), (granted,) = syns(story, "client"), syns(story, "server")
    assert asked.fast_open == b"" and asked.length == 0
    assert granted.fast_open is not None and len(granted.fast_open) == 8
    assert granted.ack == (asked.seq + 1) & 0xFFFFFFFF


def test_data_in_the_syn_is_read_before_the_third_packet():
    story = Story()
    story.fetch_cookie()
    fd = story.client.socket(2, 1)
    assert story.client.sendto(fd, b"0123456789", SERVER, MSG_FASTOPEN) == 10
    story.world.run(11 * MSEC)
    peer, _ = story.server.accept(story.listener)
    assert story.server.recv(peer, 100) == b"0123456789"
    assert [row.state.ss_name for row in story.b.rows() if row.remote[1] and row.recv_q == 0][-1] == "SYN-RECV"
    story.server.send(peer, b"an answer")
    story.world.run(10 * MSEC)
    assert story.client.recv(fd, 100) == b"an answer"
    syn_ack = syns(story, "server")[-1]
    assert syn_ack.ack == (syns(story, "client")[-1].seq + 11) & 0xFFFFFFFF
    info = story.client.getsockopt(fd, SOL_TCP, TCP_INFO, 256)
    assert info[5] & 32, "TCPI_OPT_SYN_DATA"


def test_a_foreign_cookie_is_refused_and_data_is_sent_again():
    story = Story()
    story.fetch_cookie()
    story.a.net.metrics.remember_cookie(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), b"notmine!", 1460, 0)
    fd = story.client.socket(2, 1)
    assert story.client.sendto(fd, b"0123456789", SERVER, MSG_FASTOPEN) == 10
    story.world.run(SEC)
    syn, syn_ack = syns(story, "client")[-1], syns(story, "server")[-1]
    assert syn_ack.ack == (syn.seq + 1) & 0xFFFFFFFF
    assert syn_ack.fast_open not in (None, b"", b"notmine!")
    peer, _ = story.server.accept(story.listener)
    assert story.server.recv(peer, 100) == b"0123456789"
    assert story.b.counters.TcpExtTCPFastOpenPassiveFail == 1


def test_a_server_without_fast_open_ignores_the_option_and_the_data():
    story = Story(server_bits=1)
    fd = story.client.socket(2, 1)
    story.a.net.metrics.remember_cookie(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), b"12345678", 1460, 0)
    assert story.client.sendto(fd, b"0123456789", SERVER, MSG_FASTOPEN) == 10
    story.world.run(SEC)
    assert syns(story, "server")[-1].fast_open is None
    peer, _ = story.server.accept(story.listener)
    assert story.server.recv(peer, 100) == b"0123456789"


def test_pending_opens_are_limited():
    story = Story()
    story.fetch_cookie()
    story.link.drop("all ACKs from client")
    for _ in range(3):
        fd = story.client.socket(2, 1)
        story.client.sendto(fd, b"x", SERVER, MSG_FASTOPEN)
    story.world.run(15 * MSEC)
    assert story.b.counters.TcpExtTCPFastOpenListenOverflow == 1


def test_connect_then_first_write_opens_fast():
    story = Story()
    story.fetch_cookie()
    fd = story.client.socket(2, 1)
    story.client.setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, 1)
    before = len(syns(story, "client"))
    story.client.connect(fd, SERVER)
    assert len(syns(story, "client")) == before
    assert story.client.send(fd, b"hello") == 5
    assert syns(story, "client")[-1].length == 5


def test_the_round_trip_is_saved():
    story = Story()
    story.fetch_cookie()
    fd = story.client.socket(2, 1)
    start = story.world.now
    story.client.sendto(fd, b"request", SERVER, MSG_FASTOPEN)
    story.world.run_until(lambda: story.server.poll([(story.listener, 1)]) != [], SEC)
    peer, _ = story.server.accept(story.listener)
    story.server.send(peer, b"response")
    story.world.run_until(lambda: story.client.poll([(fd, 1)]) != [], SEC)
    assert story.world.now - start == 20 * MSEC


def test_a_lost_syn_falls_back_to_a_plain_one():
    story = Story()
    story.fetch_cookie()
    story.link.drop("first SYN from client")
    fd = story.client.socket(2, 1)
    story.client.sendto(fd, b"0123456789", SERVER, MSG_FASTOPEN)
    story.world.run(5 * SEC)
    assert syns(story, "client")[-1].fast_open is None
    assert syns(story, "client")[-1].length == 0
    peer, _ = story.server.accept(story.listener)
    assert story.server.recv(peer, 100) == b"0123456789"
