"""Worlds: wiring, addresses, routers, NAT, switches, callables, running and its bounds."""

from itertools import pairwise

import pytest

from support.fake_host import FakeHost, datagram, segment
from timewait.base.errors import BudgetError, UsageError
from timewait.base.instant import MSEC, SEC
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.tap import Tap
from timewait.wire.address import pack, show
from timewait.wire.packet import IcmpMessage
from timewait.wire.parse import parse
from timewait.wire.serialize import serialize
from timewait.world.checkers import Conservation, check_quiet
from timewait.world.network import World


class Ear(Tap):
    def __init__(self):
        self.drops = []

    def dropped(self, where, packet, drop, now):
        self.drops.append((where, drop))


def world_of(*hosts, listeners=(), **options):
    """A world with fake hosts: ('a', '10.0.0.1/24'), ..."""
    ear = Ear()
    world = World(record=ear, listeners=listeners, **options)
    made = [world.add(FakeHost(name, world.clock, *addresses, tap=world.tap)) for name, *addresses in hosts]
    return world, ear, made


def echo(src, dst, ident=7):
    ping = IcmpMessage()
    ping.src, ping.dst, ping.proto, ping.type, ping.rest = pack(src), pack(dst), 1, 8, ident << 16 | 1
    ping.payload = b"hello"
    return ping


def chain(routers, *, listeners=()):
    """client - r1 - ... - rn - server."""
    world, ear, (client, server) = world_of(("client", "10.1.0.1/24"), ("server", "10.2.0.1/24"), listeners=listeners)
    names = ["client", *(world.router(f"r{n}").name for n in range(1, routers + 1)), "server"]
    for a, b in pairwise(names):
        world.link(a, b, delay=MSEC)
    return world, ear, client, server


def test_hosts_without_addresses_on_a_switch_share_a_subnet():
    world, _, hosts = world_of(("a",), ("b",), ("c",))
    world.switch(*hosts)
    assert [show(host.interfaces[0].addresses[0][0]) for host in hosts] == ["10.0.1.1", "10.0.1.2", "10.0.1.3"]


def test_hosts_without_addresses_get_some_in_one_subnet():
    world, _, (a, b, c) = world_of(("a",), ("b",), ("c", "192.0.2.7/24"))
    world.link("a", "b")
    link = world.link("a", "c")
    assert [[show(x) for x, _ in i.addresses] for i in a.interfaces] == [
        ["10.0.1.1", "fd00:0:0:1::1"],
        ["192.0.2.1"],
    ]
    assert [show(x) for x, _ in b.interfaces[0].addresses] == ["10.0.1.2", "fd00:0:0:1::2"]
    assert world.between("c", "a") is link and link.name == "a-c"
    assert world.link("a", "c").name == "a-c#2"
    assert len(c.interfaces) == 2
    assert world.names == {"a": "10.0.1.1", "b": "10.0.1.2", "c": "192.0.2.7"}
    assert world.address("a") == "10.0.1.1"


def test_names_are_checked():
    world, _, _ = world_of(("a",))
    with pytest.raises(UsageError, match="already"):
        world.router("a")
    with pytest.raises(UsageError, match="no machine 'b'; there are a"):
        world.link("a", "b")
    with pytest.raises(UsageError, match="no link between"):
        world.between("a", "b")
    with pytest.raises(UsageError, match="a word"):
        world.router("two words")
    with pytest.raises(UsageError, match="'virtual' or 'real'"):
        World(clock="fast")
    with pytest.raises(UsageError, match="keeps no record"):
        _ = World(record=False).record


def test_three_routers_forward_and_count_down():
    checker = Conservation()
    world, ear, client, server = chain(3, listeners=(checker,))
    client.send(segment("10.1.0.1", "10.2.0.1"))
    world.run()
    assert server.times == [4 * MSEC]
    assert server.packets[0].ttl == 61
    server.send(segment("10.2.0.1", "10.1.0.1"))
    world.run()
    assert client.packets[0].ttl == 61
    assert ear.drops == []
    checker.verify()
    check_quiet(world)


def test_ttl_that_runs_out_is_reported_by_the_router_that_saw_it():
    world, ear, client, _ = chain(3)
    client.send(segment("10.1.0.1", "10.2.0.1", ttl=2))
    world.run()
    assert ear.drops == [("r2", Drop.TTL_EXPIRED)]
    (error,) = client.packets
    assert (error.type, error.code, error.why) == (11, 0, Why.ICMP_ERROR)
    assert world.routers["r2"].owns(error.src)
    assert error.payload[12:20] == pack("10.1.0.1") + pack("10.2.0.1")


def test_no_route_is_reported_and_errors_about_errors_are_not():
    world, ear, client, _ = chain(1)
    client.send(segment("10.1.0.1", "192.0.2.1"))
    error = echo("10.1.0.1", "192.0.2.1")
    error.type = 3
    client.send(error)
    world.run()
    assert ear.drops == [("r1", Drop.NO_ROUTE)] * 2
    assert [(p.type, p.code) for p in client.packets] == [(3, 0)]


def test_a_router_answers_pings():
    world, _, client, _ = chain(1)
    client.send(echo("10.1.0.1", "10.1.0.254"))
    world.run()
    (reply,) = client.packets
    assert (reply.type, reply.rest, bytes(reply.payload), show(reply.src)) == (0, 7 << 16 | 1, b"hello", "10.1.0.254")


def test_a_narrow_hop_behind_a_router():
    world, ear, client, server = chain(2)
    world.between("r1", "r2").narrow(600)
    client.send(segment("10.1.0.1", "10.2.0.1", payload=b"x" * 1000))
    client.send(datagram("10.1.0.1", "10.2.0.1", payload=b"x" * 1000, ident=3))
    world.run()
    (error,) = client.packets
    assert (error.type, error.code, error.rest) == (3, 4, 600) and show(error.src) == "10.1.0.254"
    assert [part.fragment_offset for part in server.packets] == [0, 576]
    world.routers["r1"].silent = True
    client.send(segment("10.1.0.1", "10.2.0.1", payload=b"x" * 1000))
    world.run()
    assert len(client.packets) == 1
    assert ear.drops == [("r1", Drop.LINK_MTU)] * 2


def test_a_damaged_packet_crosses_a_router_with_its_wrong_checksum():
    world, _, client, server = chain(1)
    world.between("client", "r1").damage("data")
    for n in range(40):
        client.send(segment("10.1.0.1", "10.2.0.1", seq=n, payload=b"x" * 400))
    world.run()
    data = [p for p in server.packets if isinstance(p, bytes)]
    assert len(data) > 30, "those whose IP header is hit end at the router"
    for each in data:
        with pytest.raises(ValueError, match=r"checksum|doff|short|length"):
            parse(each)


def test_nat_hides_who_is_behind_it():
    world, ear, (one, two, server) = world_of(
        ("one", "192.168.1.1/24"), ("two", "192.168.1.2/24"), ("server", "198.51.100.7/24")
    )
    nat = world.nat("nat", "198.51.100.1/24")
    world.switch("one", "two", nat)
    world.link("nat", "server")
    one.send(segment("192.168.1.1", "198.51.100.7", sport=5000))
    two.send(segment("192.168.1.2", "198.51.100.7", sport=5000))
    one.send(echo("192.168.1.1", "198.51.100.7"))
    world.run()
    assert {show(p.src) for p in server.packets} == {"198.51.100.1"}
    assert [p.sport for p in server.packets[:2]] == [5000, 1024]
    assert server.packets[1].flow == parse(serialize(server.packets[1])).flow
    server.send(segment("198.51.100.7", "198.51.100.1", sport=80, dport=1024))
    server.send(segment("198.51.100.7", "198.51.100.1", sport=80, dport=2))
    world.run()
    assert [(show(p.dst), p.dport) for p in two.packets] == [("192.168.1.2", 5000)]
    assert one.packets == [] and ear.drops == [("nat", Drop.NOT_FOR_US)]
    nat.forward_port(6, 80, "192.168.1.1", 8080)
    server.send(segment("198.51.100.7", "198.51.100.1", sport=9, dport=80))
    world.run()
    assert [(show(p.dst), p.dport) for p in one.packets] == [("192.168.1.1", 8080)]


def test_nat_translates_icmp_errors_and_forgets_idle_mappings():
    world, ear, (one, server) = world_of(("one", "192.168.1.1/24"), ("server", "198.51.100.7/24"))
    nat = world.nat("nat", "198.51.100.1/24", timeout=60 * SEC)
    world.link("one", "nat")
    world.link("nat", "server")
    nat.first_port = 2000
    nat.forward_port(6, 5000, "192.168.1.9", 1)
    one.send(segment("192.168.1.1", "198.51.100.7", sport=5000, ttl=2))
    world.run()
    error = IcmpMessage()
    error.src, error.dst, error.proto, error.type, error.code = pack("198.51.100.7"), pack("198.51.100.1"), 1, 3, 3
    error.payload = serialize(server.packets[0])[:28]
    server.send(error)
    world.run()
    (inward,) = one.packets
    assert show(inward.dst) == "192.168.1.1"
    assert bytes(inward.payload[12:16]) == pack("192.168.1.1")
    assert int.from_bytes(inward.payload[20:22], "big") == 5000
    world.run(61 * SEC)
    server.send(segment("198.51.100.7", "198.51.100.1", sport=80, dport=2000))
    world.run()
    assert ear.drops == [("nat", Drop.NOT_FOR_US)]


def test_a_switch_delivers_to_whom_it_is_for_and_broadcasts_to_all_others():
    world, ear, hosts = world_of(("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"), ("c", "10.0.0.3/24"), ("d",))
    switch = world.switch("a", "b", "c", "d", delay=MSEC)
    assert [show(x) for x, _ in hosts[3].interfaces[0].addresses] == ["10.0.0.4"]
    hosts[0].send(segment("10.0.0.1", "10.0.0.3"))
    hosts[0].send(datagram("10.0.0.1", "10.0.0.255"))
    hosts[0].send(datagram("10.0.0.1", "224.0.0.1"))
    hosts[0].send(segment("10.0.0.1", "10.0.0.99"))
    world.run()
    assert [len(h.got) for h in hosts] == [0, 2, 3, 2]
    assert hosts[2].times[0] == 2 * MSEC
    assert ear.drops == [(switch.name, Drop.NO_ROUTE)]
    assert set(world.links) == {f"{h}-{switch.name}" for h in "abcd"}


def test_hosts_learn_their_default_route():
    _, _, client, _ = chain(2)
    assert show(client.routes.find(pack("8.8.8.8")).gateway) == "10.1.0.254"


def test_a_host_driven_by_callables():
    world, _, (a,) = world_of(("a", "10.0.0.1/24"))
    out = []
    receive = world.attach("a", out.append)
    a.send(segment(seq=5))
    receive(serialize(segment("10.0.0.2", "10.0.0.1", seq=6)))
    receive(b"rubbish")
    world.run()
    assert [parse(data).seq for data in out] == [5]
    assert a.packets[0].seq == 6 and a.packets[1] == b"rubbish"
    with pytest.raises(UsageError, match="no interface without a link"):
        world.attach("a", out.append)


def test_run_for_a_while_until_rest_and_until_a_condition():
    world, _, _ = world_of(("a",))
    seen = []
    world.at(5, lambda: seen.append(world.now))
    event = world.after(8, lambda: seen.append("no"))
    world.cancel(event)
    world.after(10, lambda: seen.append(world.now))
    world.run(7)
    assert seen == [5] and world.now == 7
    world.run()
    assert seen == [5, 10] and world.now == 10
    assert world.run_until(lambda: world.now >= 30, timeout=10) is False
    assert world.now == 20
    world.after(5, lambda: seen.append(0))
    assert world.run_until(lambda: 0 in seen) and world.now == 25


def test_a_world_that_never_rests_says_who_keeps_it_busy():
    world, _, (a, b) = world_of(("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"))
    world.link("a", "b", delay=SEC)
    b.receive = lambda packet, iface: b.send(packet)
    a.receive = lambda packet, iface: a.send(packet)
    a.send(segment())
    with pytest.raises(BudgetError, match=r"not at rest after 10 min: waiting for .* packet [ab] -> [ab]"):
        world.run(max_time=600 * SEC)
    with pytest.raises(BudgetError, match=r"2000 events .* packet"):
        world.run(max_events=2000)


def test_host_timers_fire_on_the_clock():
    world, _, (a,) = world_of(("a",))
    a.due = 5 * SEC
    a.on_rearm()
    world.run()
    assert a.fired == [5 * SEC]


def test_a_world_in_real_time():
    world, _, (a, b) = world_of(("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"), clock="real")
    world.link("a", "b", delay=MSEC)
    a.send(segment())
    assert world.run_until(lambda: b.got, timeout=5 * SEC)
    assert b.times[0] >= MSEC
