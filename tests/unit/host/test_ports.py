import errno

import pytest

from timewait.base.rng import Streams
from timewait.host.ports import PortOwner, PortTable, UdpPortTable
from timewait.tcp.sysctl import Sysctl
from timewait.wire.address import pack

US, SERVER2, SERVER3 = pack("10.0.0.1"), pack("10.0.0.2"), pack("10.0.0.3")


def table(low=32768, high=60999, seed=1, kind=PortTable):
    sysctl = Sysctl()
    sysctl.ip_local_port_range = (low, high)
    return kind(sysctl, Streams(seed))


def owner(**fields):
    made = PortOwner()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def connect(ports, taken, dst, rport=80):
    one = owner()
    port = ports.choose_for_connect(one, US, dst, rport, lambda la, lp, ra, rp: (la, lp, ra, rp) not in taken)
    taken.add((US, port, dst, rport))
    return one


def errno_of(call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    return caught.value.errno


def test_connect_takes_even_ports_first_and_bind_0_odd_ones():
    ports, taken = table(), set()
    assert {connect(ports, taken, SERVER2).local_port % 2 for _ in range(50)} == {0}
    binders = [owner() for _ in range(50)]
    assert {ports.autobind(b, US) % 2 for b in binders} == {1}


def test_every_port_is_used_once_per_destination_then_eaddrnotavail():
    ports, taken = table(32768, 32771), set()
    assert sorted(connect(ports, taken, SERVER2).local_port for _ in range(4)) == [32768, 32769, 32770, 32771]
    assert errno_of(connect, ports, taken, SERVER2) == errno.EADDRNOTAVAIL
    # SOCK-15: the same ports serve another destination, or another port of the same one.
    assert sorted(connect(ports, taken, SERVER3).local_port for _ in range(4)) == [32768, 32769, 32770, 32771]
    connect(ports, taken, SERVER2, 81)


def test_connect_leaves_ports_alone_that_somebody_bound():
    ports = table(32768, 32769)
    ports.bind(owner(), SERVER3, 32768)
    assert connect(ports, set(), SERVER2).local_port == 32769


def test_reserved_ports_are_never_chosen():
    ports = table(32768, 32771)
    ports.sysctl.ip_local_reserved_ports = (32768, 32769, 32770)
    assert connect(ports, set(), SERVER2).local_port == 32771
    assert errno_of(ports.autobind, owner(), US) == errno.EADDRINUSE


def test_bind_0_with_reuseaddr_fills_the_lower_half_first_and_shares_nothing():
    ports = table(40000, 40007)
    got = [ports.autobind(owner(reuse_addr=True), US) for _ in range(8)]
    assert set(got[:4]) == {40000, 40001, 40002, 40003} and len(set(got)) == 8


def test_time_wait_needs_so_reuseaddr():
    ports = table()
    server = owner(reuse_addr=True)
    ports.bind(server, US, 80)
    record = ports.leave(server)
    assert server.kind is None
    assert errno_of(ports.bind, owner(), US, 80) == errno.EADDRINUSE
    other = owner(reuse_addr=True)
    ports.bind(other, US, 80)
    ports.drop(record)
    ports.release(other)
    assert not ports.in_use(80)


def test_a_connected_socket_keeps_its_binding():
    ports = table()
    one = connect(ports, set(), SERVER2)
    assert errno_of(ports.bind, owner(), US, one.local_port) == errno.EADDRINUSE
    assert errno_of(ports.bind, owner(), bytes(4), one.local_port) == errno.EADDRINUSE
    ports.bind(owner(), SERVER3, one.local_port)
    ports.release(one)
    ports.bind(owner(), US, one.local_port)


def test_reuseport_only_for_the_same_user():
    ports = table()
    ports.bind(owner(reuse_port=True, uid=1000), US, 8080)
    ports.bind(owner(reuse_port=True, uid=1000), US, 8080)
    assert errno_of(ports.bind, owner(reuse_port=True, uid=1001), US, 8080) == errno.EADDRINUSE


def test_privileged_ports_need_root():
    assert errno_of(table().bind, owner(uid=1000), US, 80) == errno.EACCES


def test_accepted_connections_cost_one_record_per_port():
    ports = table()
    listener = owner(reuse_addr=True)
    ports.bind(listener, bytes(4), 80)
    ports.listen(listener)
    children = [owner(reuse_addr=True, local_addr=US) for _ in range(1000)]
    for child in children:
        ports.share(child, 80)
    kind = ports.first(80)
    assert kind.count == 1000 and kind.next.count == 1 and kind.next.next is None
    ports.release(listener)
    # A restarted server binds beside the old connections with SO_REUSEADDR only.
    assert errno_of(ports.bind, owner(), bytes(4), 80) == errno.EADDRINUSE
    ports.bind(owner(reuse_addr=True), bytes(4), 80)
    for child in children:
        ports.release(child)
    assert ports.first(80).count == 1 and ports.first(80).next is None


def test_choice_is_the_same_for_the_same_seed():
    runs = [[connect(table(seed=s), set(), SERVER2).local_port for _ in range(3)] for s in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_udp_shares_between_reuseaddr_sockets_and_exhausts():
    ports = table(40000, 40001, kind=UdpPortTable)
    ports.bind(owner(reuse_addr=True), US, 5353)
    ports.bind(owner(reuse_addr=True), US, 5353)
    assert errno_of(ports.bind, owner(), US, 5353) == errno.EADDRINUSE
    assert {ports.autobind(owner(), US), ports.autobind(owner(), US)} == {40000, 40001}
    assert errno_of(ports.autobind, owner(), US) == errno.EADDRINUSE
