import errno

import pytest

from timewait.base.instant import SEC
from timewait.host.route import (
    IPV6_MIN_MTU,
    MAX_EXCEPTIONS,
    MIN_PMTU,
    MTU_EXPIRES,
    AddressKind,
    NetDevice,
    Reach,
    Route,
    RouteTable,
    plateau,
)
from timewait.wire.address import pack, parse_prefix


@pytest.fixture
def routes():
    table = RouteTable()
    for name, mtu, loop, addresses in [
        ("lo", 65536, True, ["127.0.0.1/8", "::1/128"]),
        ("eth0", 1500, False, ["10.0.0.1/24", "fd00::1/64", "fe80::1/64"]),
        ("eth1", 9000, False, ["192.168.1.5/16", "192.168.9.5/24"]),
    ]:
        device = NetDevice(name, mtu, loop)
        table.add_device(device)
        for text in addresses:
            table.add_address(device, *parse_prefix(text))
    table.add_default(pack("10.0.0.254"), table.devices[1])
    return table


def find(routes, dst):
    route = routes.find(pack(dst))
    return None if route is None else (route.device.name, route.gateway, route.source)


def test_longest_prefix_and_source(routes):
    assert find(routes, "10.0.0.7") == ("eth0", b"", pack("10.0.0.1"))
    assert find(routes, "8.8.8.8") == ("eth0", pack("10.0.0.254"), pack("10.0.0.1"))
    assert find(routes, "192.168.9.1") == ("eth1", b"", pack("192.168.9.5"))
    assert find(routes, "192.168.8.1") == ("eth1", b"", pack("192.168.1.5"))
    assert find(routes, "fd00::9") == ("eth0", b"", pack("fd00::1"))
    assert find(routes, "fe80::9") == ("eth0", b"", pack("fe80::1"))
    assert find(routes, "2001:db8::1") is None


def test_own_addresses_go_to_loopback_from_themselves(routes):
    assert find(routes, "10.0.0.1") == ("lo", b"", pack("10.0.0.1"))
    assert find(routes, "127.0.0.9") == ("lo", b"", pack("127.0.0.1"))
    assert find(routes, "::1") == ("lo", b"", pack("::1"))
    assert routes.find(pack("10.0.0.1")).local


def test_classes(routes):
    kinds = {
        a: routes.classify(pack(a))
        for a in (
            "10.0.0.1",
            "10.0.0.255",
            "255.255.255.255",
            "224.0.0.1",
            "0.0.0.0",
            "10.0.0.2",
            "127.1.2.3",
            "ff02::1",
        )
    }
    assert list(kinds.values()) == [
        AddressKind.LOCAL,
        AddressKind.BROADCAST,
        AddressKind.BROADCAST,
        AddressKind.MULTICAST,
        AddressKind.ANY,
        AddressKind.UNICAST,
        AddressKind.LOCAL,
        AddressKind.MULTICAST,
    ]
    assert routes.find(pack("10.0.0.255")).reach is Reach.BROADCAST


def test_a_device_that_is_down_is_not_used(routes):
    routes.set_up(routes.devices[1], False)
    with pytest.raises(OSError) as caught:
        routes.lookup(pack("10.0.0.7"))
    assert caught.value.errno == errno.ENETUNREACH


def test_refusing_routes(routes):
    for prefix, reach, number in (
        ("9.1.0.0/16", Reach.UNREACHABLE, errno.EHOSTUNREACH),
        ("9.2.0.0/16", Reach.PROHIBIT, errno.EACCES),
        ("9.3.0.0/16", Reach.BLACKHOLE, errno.EINVAL),
    ):
        addr, length = parse_prefix(prefix)
        routes.add_route(addr, length, Route(reach, None))
        with pytest.raises(OSError) as caught:
            routes.lookup(addr)
        assert caught.value.errno == number


def test_metric_decides_between_equal_prefixes_and_removal_uncovers_the_other(routes):
    addr, length = parse_prefix("9.0.0.0/8")
    eth0, eth1 = routes.devices[1:]
    routes.add_route(addr, length, Route(Reach.UNICAST, eth0, pack("10.0.0.2"), metric=100))
    routes.add_route(addr, length, Route(Reach.UNICAST, eth1, pack("192.168.1.1"), metric=10))
    assert find(routes, "9.9.9.9")[0] == "eth1"
    routes.remove_route(addr, length, eth1, pack("192.168.1.1"))
    assert find(routes, "9.9.9.9")[0] == "eth0"


def test_removing_an_address_takes_its_connected_route(routes):
    routes.remove_address(routes.devices[2], pack("192.168.9.5"))
    assert find(routes, "192.168.9.1") == ("eth1", b"", pack("192.168.1.5"))
    assert not routes.is_local(pack("192.168.9.5"))


def test_learned_mtu_falls_only_and_expires(routes):
    dst = pack("8.8.8.8")
    assert routes.mtu(dst, 0) == 1500
    assert routes.learn_mtu(dst, 1400, 0)
    assert not routes.learn_mtu(dst, 1450, SEC)
    assert routes.mtu(dst, SEC) == 1400
    assert routes.mtu(dst, MTU_EXPIRES) == 1500


def test_an_mtu_below_min_pmtu_is_held_there_without_df(routes):
    dst = pack("8.8.8.8")
    assert routes.learn_mtu(dst, 100, 0)
    assert routes.mtu(dst, 0) == MIN_PMTU and routes.mtu_locked(dst, 0)


def test_ipv6_ignores_less_than_1280(routes):
    dst = pack("fd00::9")
    assert not routes.learn_mtu(dst, IPV6_MIN_MTU - 1, 0)
    assert routes.learn_mtu(dst, IPV6_MIN_MTU, 0)


def test_learned_mtus_are_bounded(routes):
    for i in range(MAX_EXCEPTIONS + 5):
        routes.learn_mtu(bytes((8, i >> 16, i >> 8 & 255, i & 255)), 1400, 0)
    assert len(routes.learned) == MAX_EXCEPTIONS


def test_plateau_is_below_the_datagram():
    assert [plateau(n) for n in (65535, 1500, 1492, 576, 60)] == [32000, 1492, 1006, 508, 68]


def test_groups_are_counted(routes):
    eth0, group = routes.devices[1], pack("224.1.2.3")
    routes.join(group, eth0)
    routes.join(group, eth0)
    routes.leave(group, eth0)
    assert routes.is_member(group, eth0) and not routes.is_member(group, routes.devices[2])
    routes.leave(group, eth0)
    assert not routes.is_member(group, eth0)
