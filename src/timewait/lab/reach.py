"""Whom a packet reaches: one end, not many; and how many routers away."""

import errno
import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import SPORT, datagram_socket, datagrams
from timewait.lab.frame import SIM, T, Verdict, lab
from timewait.record.entries import Received
from timewait.tcp.states import State
from timewait.wire.address import pack, show
from timewait.wire.packet import IcmpMessage


@lab(
    "HDR-15",
    title=T("TCP has exactly two ends", "TCP 只有两端"),
    claim=T("One-to-one, never one-to-many.", "一对一，没有一对多。"),
    truth="true",
    source="S0 S1; RFC 9293 3.9.2.3 MUST-57",
    why=T(
        "Numbers and windows are those of one peer. A SYN to a group must be discarded in silence, or one packet would"
        " make every host of a network answer.",
        "序号与窗口都属于唯一的对端。发给组的 SYN 必须静默丢弃，否则一个包会引来全网应答。",
    ),
    practice=T(
        "For many receivers use UDP multicast, or a tree of TCP connections.",
        "多接收者用 UDP 组播，或用 TCP 连接树分发。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def two_ends(bench: Bench) -> Verdict:
    server = bench.program("server")
    bench.listen(server)
    puppet = bench.puppet
    groups = ("10.0.0.255", "255.255.255.255", "224.0.0.1")
    calls = []
    for group in groups:
        puppet.port, puppet.peer_port, puppet.peer = SPORT, 80, pack(group)
        puppet.put(puppet.segment("S"))
        bench.run(50 * MSEC)
        half = len(bench.sockets("server", State.SYN_RCVD))
        bench.check(
            T(f"SYN to {group}: answers, half-open", f"SYN 发往 {group}：回应、半连接"),
            (len(puppet.segments()), half),
            (0, 0),
        )
        fd = server.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.set_nonblocking(fd)
        calls.append(bench.attempt(lambda fd=fd, group=group: server.connect(fd, (group, 80))))  # type: ignore[misc]
    bench.check(T("connect() to them", "connect() 到它们"), calls, ["ENETUNREACH"] * 3)
    return bench.verdict(
        T(
            f"{len(puppet.segments())} answers; connect(): {calls[0]}",
            f"回应 {len(puppet.segments())} 个；connect()：{calls[0]}",
        )
    )


@lab(
    "HDR-21",
    title=T("TTL: how many routers a datagram may cross", "TTL：最多经过几个路由器"),
    claim=T(
        "Each router takes one off; at 0 the datagram is dropped and its source told by ICMP.",
        "每个路由器减一；减到 0 丢弃并用 ICMP 通知源。",
    ),
    truth="true",
    source="S1 S4; RFC 791 3.2; RFC 1812 5.3.1",
    why=T(
        "It ends loops. It is a count of hops, not a time, whatever its name says.",
        "它用来终结环路。名为“生存时间”，其实是跳数。",
    ),
    practice=T(
        "traceroute raises the TTL step by step and reads who complains.", "traceroute 逐步增大 TTL，看是谁回报超时。"
    ),
    on=SIM,
    topology="own",
)
def hops(bench: Bench) -> Verdict:
    world = bench.world
    bench.machine("client", "10.1.0.1/24")
    bench.machine("server", "10.2.0.1/24")
    routers = [world.router(f"r{number}") for number in (1, 2, 3)]
    world.link("client", routers[0], delay=MSEC)
    world.link(routers[0], routers[1], delay=MSEC)
    world.link(routers[1], routers[2], delay=MSEC)
    world.link(routers[2], "server", delay=MSEC)
    client, server = bench.program("client"), bench.program("server")
    sink = datagram_socket(server, 53)
    source = datagram_socket(client)
    client.connect(source, ("10.2.0.1", 53))
    came: dict[int, str] = {}
    for ttl in (2, 3, 4):
        client.setsockopt(source, socket.IPPROTO_IP, socket.IP_TTL, ttl)
        mark = bench.now
        client.send(source, b"%d" % ttl)
        bench.run(SEC)
        if datagrams(server, sink):
            came[ttl] = "delivered"
            continue
        errors = [
            entry.packet
            for entry in bench.record
            if isinstance(entry, Received) and entry.where == "client" and entry.time >= mark
        ]
        told = [each for each in errors if isinstance(each, IcmpMessage)]
        came[ttl] = f"ICMP {told[0].type}/{told[0].code} by {_which(bench, show(told[0].src))}" if told else "lost"
        client.getsockopt(source, socket.SOL_SOCKET, socket.SO_ERROR)
    expected = {2: "ICMP 11/0 by r2", 3: "ICMP 11/0 by r3", 4: "delivered"}
    for ttl, outcome in came.items():
        bench.check(T(f"TTL {ttl} over three routers", f"TTL {ttl}，经三个路由器"), outcome, expected[ttl])
    return bench.verdict(T(f"TTL 2: {came[2]}; TTL 4: {came[4]}", f"TTL 2：{came[2]}；TTL 4：{came[4]}"))


def _which(bench: Bench, address: str) -> str:
    """The router that has an address."""
    for name, router in bench.world.routers.items():
        if router.owns(pack(address)):
            return name
    raise OSError(errno.ENXIO, address)
