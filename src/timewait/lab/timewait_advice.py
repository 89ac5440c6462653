"""What is done about TIME-WAIT: limits, SO_LINGER, and who closes first."""

import socket
import struct

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.lab.timewait_cost import PORTS, Visits
from timewait.tcp.states import State

BUCKETS = "net.ipv4.tcp_max_tw_buckets"
OVERFLOW = "TcpExtTCPTimeWaitOverflow"


@lab(
    "TW-26",
    title=T("Too many TIME-WAITs", "超过 tcp_max_tw_buckets"),
    claim=T(
        "tcp_max_tw_buckets is 18000 (S1, S4) or 180000 (S3) by default; what exceeds it is reset.",
        "tcp_max_tw_buckets 默认 18000（S1、S4）或 180000（S3）；超出的连接被重置。",
    ),
    truth="sources disagree",
    source="S1 S3 S4; tcp_sk_init (ehash_entries / 2), tcp_time_wait (TCPTimeWaitOverflow)",
    why=T(
        "It was 180000 on older kernels and is computed today: 131072 here. What exceeds it is CLOSED without a word."
        " But an orphan in FIN-WAIT-2 needs a place too, and without one the peer's ordinary FIN meets an RST.",
        "老内核为 180000，如今按哈希表计算：此处 131072。超出者悄然 CLOSED。但 FIN-WAIT-2 的孤儿也占名额，"
        "没有名额时对端正常的 FIN 会得到 RST。",
    ),
    practice=T(
        "Do not lower it: the kernel then drops the protection at random. Its cost is 250 octets each.",
        "不要调低它：那等于随机放弃保护。每个只占 250 字节。",
    ),
    on=ANYWHERE,
    variants={"limit": T("a limit of 1", "上限为 1"), "default": T("the default", "默认值")},
)
def too_many(bench: Bench) -> Verdict:
    default = bench.sysctl(BUCKETS, "client")
    if bench.variant == "limit":
        bench.configure({BUCKETS: 1})
    visits = Visits(bench)
    pairs = []
    for _ in range(3):
        fd = bench.connect(visits.client)
        bench.outcome(visits.client, fd)
        pairs.append((fd, bench.accept(visits.server, visits.listener)))
    for fd, _ in pairs:
        visits.client.close(fd)
        bench.run(100 * MSEC)
    for _, peer in pairs:
        visits.server.close(peer)
        bench.run(100 * MSEC)
    kept, over = visits.waiting(), bench.counter("client", OVERFLOW)
    resets = len(bench.sent("client", flags="R"))
    limited = bench.variant == "limit"
    if bench.on == "sim":
        bench.check_that(
            T("the default", "默认值"), default not in (18000, 180000), default, "neither 18000 nor 180000"
        )
    bench.check(T("TIME-WAITs of 3 closes", "3 次关闭后的 TIME-WAIT"), kept, 1 if limited else 3)
    bench.check(T("TCPTimeWaitOverflow", "TCPTimeWaitOverflow"), over, 2 if limited else 0)
    bench.check(T("FINs of the server answered with RST", "服务端 FIN 得到 RST"), resets, 2 if limited else 0)
    return bench.verdict(
        T(
            f"default {default}; {'limit 1' if limited else 'default'}: {kept} kept, {over} overflows, {resets} RSTs",
            f"默认 {default}；{'上限 1' if limited else '默认'}：保留 {kept} 个，溢出 {over} 次，RST {resets} 个",
        )
    )


@lab(
    "TW-27",
    title=T("Raising tcp_max_tw_buckets", "调高 tcp_max_tw_buckets"),
    claim=T("Raising it only mitigates.", "调高它治标不治本。"),
    truth="simplification",
    source="S3; tcp_time_wait",
    why=T(
        "It allows more TIME-WAITs, it does not reduce them, and it frees no port: a low limit would.",
        "它允许更多 TIME-WAIT，并不减少，也不释放端口：反倒是低上限才会。",
    ),
    practice=T(
        "Leave the default. For ports see TW-18; the limit is a guard against running out of memory.",
        "保持默认。端口问题见 TW-18；这个上限只是防止内存耗尽。",
    ),
    on=ANYWHERE,
    sysctl={PORTS: "40000 40009"},
)
def raising_the_limit(bench: Bench) -> Verdict:
    found = []
    for number, limit in enumerate((4, 1000)):
        world = bench if number == 0 else bench.another(T("limit 1000", "上限 1000"))
        world.configure({BUCKETS: limit})
        visits = Visits(world)
        came = [visits.one(10) for _ in range(16)]
        world.run(50 * MSEC)
        found.append((visits.waiting(), came.count("OK")))
    low, high = found
    bench.check(T("limit 4: TIME-WAITs, connections of 16", "上限 4：TIME-WAIT、16 次中成功"), low, (4, 16))
    bench.check(T("limit 1000: TIME-WAITs, connections of 16", "上限 1000：TIME-WAIT、16 次中成功"), high, (10, 10))
    return bench.verdict(
        T(
            f"limit 4 -> 1000: TIME-WAITs {low[0]} -> {high[0]}, connections over 10 ports {low[1]} -> {high[1]}",
            f"上限 4 -> 1000：TIME-WAIT {low[0]} -> {high[0]}，10 个端口上的连接 {low[1]} -> {high[1]}",
        )
    )


@lab(
    "TW-29",
    title=T("SO_LINGER {1, 0}: no TIME-WAIT, but an RST", "SO_LINGER {1, 0}：没有 TIME-WAIT，只有 RST"),
    claim=T(
        "With SO_LINGER on and zero time close() sends an RST and skips the close and TIME-WAIT; it is dangerous.",
        "SO_LINGER 打开且时间为零时，close() 直接发 RST，跳过四次挥手与 TIME-WAIT；很危险。",
    ),
    truth="true",
    source="S1 S4; RFC 9293 3.10.5; tcp_disconnect",
    why=T(
        "It is the ABORT of the RFC: what was not sent or not acknowledged is thrown away, and the peer gets ECONNRESET"
        " even for what it has not read yet.",
        "这就是 RFC 的 ABORT：未发送或未确认的数据被丢弃，对端得到 ECONNRESET，甚至尚未读取的数据也作废。",
    ),
    practice=T(
        "Only to throw out misbehaving peers. Its cost is lost data; TIME-WAIT costs 250 octets.",
        "只用于踢掉异常的对端。代价是丢数据；而 TIME-WAIT 只占 250 字节。",
    ),
    on=ANYWHERE,
)
def linger_zero(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.server.send(pair.sfd, b"unread")
    bench.run(100 * MSEC)
    pair.client.recv(pair.cfd, 100)
    pair.client.setsockopt(pair.cfd, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    begun = bench.now
    pair.client.close(pair.cfd)
    bench.run(100 * MSEC)
    kinds = [bench.flags(entry) for entry in bench.sent("client", after=begun)]
    states = [bench.state("client"), bench.state("server")]
    read = bench.attempt(lambda: pair.server.recv(pair.sfd, 100))
    bench.check(T("sent by close()", "close() 发出"), kinds, ["RST-ACK"])
    bench.check(T("states", "状态"), states, [State.CLOSED] * 2)
    bench.check(T("recv() at the peer", "对端 recv()"), read, "ECONNRESET")
    return bench.verdict(
        T(
            f"close() sends {', '.join(kinds)}; {states[0].rfc_name}; peer: {read}",
            f"close() 发出 {'、'.join(kinds)}；{states[0].rfc_name}；对端：{read}",
        )
    )


@lab(
    "TW-30",
    title=T("Let the clients close first", "让客户端先关闭"),
    claim=T(
        "TIME-WAIT is our friend: do not fight it, let clients close first.",
        "TIME-WAIT 是我们的朋友：不要逃避，让客户端先关闭。",
    ),
    truth="true",
    source="S1 S4; Stevens, UNIX Network Programming 2.7; RFC 9112 9.6",
    why=T(
        "Then each client keeps a few of its own, instead of one server those of all.",
        "这样每个客户端只保留自己的几个，而不是由服务端承担全部。",
    ),
    practice=T(
        "In your protocol let the client say goodbye; the server closes only after a timeout of its own.",
        "协议中由客户端告别；服务端只在自己的超时之后才关闭。",
    ),
    on=ANYWHERE,
)
def clients_first(bench: Bench) -> Verdict:
    found = []
    for number, first in enumerate(("server", "client")):
        world = bench if number == 0 else bench.another(T("clients close first", "客户端先关闭"))
        visits = Visits(world, first)
        for _ in range(20):
            visits.one(10)
        world.run(100 * MSEC)
        found.append((visits.waiting("server"), visits.waiting("client")))
    bench.check(T("server first: at the server, at the client", "服务端先关：服务端、客户端"), found[0], (20, 0))
    bench.check(T("client first", "客户端先关"), found[1], (0, 20))
    return bench.verdict(
        T(
            f"TIME-WAITs at the server: {found[0][0]} -> {found[1][0]}",
            f"服务端的 TIME-WAIT：{found[0][0]} -> {found[1][0]}",
        )
    )


@lab(
    "TW-31",
    title=T("One long connection or many short ones", "一个长连接还是许多短连接"),
    claim=T("Use long connections instead of many short ones.", "用长连接代替大量短连接。"),
    truth="true",
    source="S1 S3; RFC 9112 9.3",
    why=T(
        "Each short connection pays the handshake, the close and a TIME-WAIT for its request.",
        "每个短连接都要为一次请求付出握手、挥手和一个 TIME-WAIT。",
    ),
    practice=T(
        "Pools and keep-alive. The cost: idle connections hold memory and a descriptor, and need timeouts.",
        "使用连接池与 keep-alive。代价：空闲连接占内存与描述符，并需要超时。",
    ),
    on=ANYWHERE,
)
def long_or_short(bench: Bench) -> Verdict:
    count = 100
    short = Visits(bench)
    begun = bench.now
    for _ in range(count):
        short.one(10)
    took = [bench.now - begun]
    bench.run(100 * MSEC)
    packets, waits = [len(bench.sent())], [short.waiting()]
    other = bench.another(T("one connection", "一个连接"))
    pair = other.open()
    begun = other.now
    for _ in range(count):
        pair.client.send(pair.cfd, b"?" * 10)
        other.read(pair.server, pair.sfd, 10)
        pair.server.send(pair.sfd, b"!" * 10)
        other.read(pair.client, pair.cfd, 10)
    took.append(other.now - begun)
    pair.client.close(pair.cfd)
    other.read_end(pair.server, pair.sfd)
    pair.server.close(pair.sfd)
    other.run(100 * MSEC)
    packets.append(len(other.sent()))
    waits.append(len(other.sockets("client", State.TIME_WAIT)))
    bench.check(T("TIME-WAITs", "TIME-WAIT 数"), waits, [count, 1])
    bench.check_that(T("packets", "报文数"), packets[1] * 2 < packets[0], packets, "less than half")
    bench.check_that(T("time", "用时"), took[1] < 0.6 * took[0], in_seconds(took), "about half")
    return bench.verdict(
        T(
            f"{count} requests: packets {packets[0]} -> {packets[1]}, TIME-WAITs {waits[0]} -> {waits[1]}",
            f"{count} 个请求：报文 {packets[0]} -> {packets[1]}，TIME-WAIT {waits[0]} -> {waits[1]}",
        )
    )


@lab(
    "TW-34",
    title=T("Long connections and many of them", "长连接与高并发"),
    claim=T(
        "Services with long connections need not care about TIME-WAIT; they rarely have many connections at once.",
        "长连接服务不必在意 TIME-WAIT；这类服务很少有高并发。",
    ),
    truth="simplification",
    source="S3",
    why=T(
        "TIME-WAITs follow the rate of closes, not the number of open connections. The second half is not so: messaging"
        " and push servers hold millions.",
        "TIME-WAIT 数量取决于关闭速率，而不是打开的连接数。后半句并不成立：即时通讯与推送服务器可有数百万连接。",
    ),
    practice=T(
        "Count closes a second. Beware of restarts that close all at once: a minute later they are gone.",
        "看每秒关闭数。重启会一次关闭全部，一分钟后即消失。",
    ),
)
def many_long_ones(bench: Bench) -> Verdict:
    visits = Visits(bench)
    fds = []
    for _ in range(300):
        fd = bench.connect(visits.client)
        bench.outcome(visits.client, fd)
        fds.append(fd)
        bench.accept(visits.server, visits.listener)
    bench.run(600 * SEC)
    open_ones, waits = len(bench.sockets("client", State.ESTABLISHED)), [visits.waiting()]
    for fd in list(visits.server.files):
        if fd != visits.listener:
            visits.server.close(fd)
    bench.run(SEC)
    for fd in fds:
        visits.client.close(fd)
    bench.run(SEC)
    visits.first = "server"
    waits.append(visits.waiting())
    bench.run(61 * SEC)
    waits.append(visits.waiting())
    bench.check(T("open at once", "同时打开"), open_ones, 300)
    bench.check(
        T("TIME-WAITs while open, after closing all, a minute later", "打开时、全部关闭后、一分钟后的 TIME-WAIT"),
        waits,
        [0, 300, 0],
    )
    return bench.verdict(
        T(
            f"{open_ones} connections for 10 minutes: {waits[0]} TIME-WAITs; all closed: {waits[1]}, then {waits[2]}",
            f"{open_ones} 个连接保持 10 分钟：{waits[0]} 个 TIME-WAIT；全部关闭后 {waits[1]}，随后 {waits[2]}",
        )
    )
