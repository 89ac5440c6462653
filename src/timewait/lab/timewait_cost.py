"""What TIME-WAIT costs: ports, memory, descriptors, and how many there are."""

import socket
import sys

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import PORT, Bench, Program
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State
from timewait.tcp.timewait import TimeWait

PORTS = "net.ipv4.ip_local_port_range"


class Visits:
    """Short connections of one client to one server; `first` closes first."""

    def __init__(self, bench: Bench, first: str = "client") -> None:
        self.bench = bench
        self.server: Program = bench.program("server")
        self.client: Program = bench.program("client")
        self.listener = bench.listen(self.server, backlog=1024)
        self.first = first

    def one(self, octets: int = 0) -> str:
        """Connect, perhaps ask and answer, close: 'OK' or what connect() failed with."""
        bench = self.bench
        fds: list[int] = []
        came = bench.attempt(lambda: fds.append(bench.connect(self.client)))
        if came == "OK":
            came = bench.outcome(self.client, fds[0])
        if came != "OK":
            return came
        peer = bench.accept(self.server, self.listener)
        if octets:
            self.client.send(fds[0], b"?" * octets)
            bench.read(self.server, peer, octets)
            self.server.send(peer, b"!" * octets)
            bench.read(self.client, fds[0], octets)
        ends = [(self.client, fds[0]), (self.server, peer)]
        if self.first == "server":
            ends.reverse()
        ends[0][0].close(ends[0][1])
        bench.read_end(*ends[1])
        ends[1][0].close(ends[1][1])
        return came

    def waiting(self, host: str = "") -> int:
        """TIME-WAITs at a host, by default at the one that closes first."""
        return len(self.bench.sockets(host or self.first, State.TIME_WAIT))


@lab(
    "TW-16",
    title=T("TIME-WAIT holds no descriptor", "TIME-WAIT 不占文件描述符"),
    claim=T(
        "'Too many TIME-WAITs use up file descriptors, memory, CPU and threads.'",
        "“TIME-WAIT 过多会占用文件描述符、内存、CPU 和线程。”",
    ),
    truth="wrong",
    source="S1 S4; tcp_time_wait, inet_twsk_alloc",
    why=T(
        "With close() the descriptor is free at once. What stays is a record without process, buffers or thread: some"
        " memory and, at a client, a port.",
        "close() 之后描述符立即可用。留下的只是一条记录，没有进程、缓冲区或线程：一点内存，在客户端还有一个端口。",
    ),
    practice=T(
        "'Too many open files' is never TIME-WAIT: look for CLOSE-WAIT and leaks instead.",
        "“Too many open files” 绝不是 TIME-WAIT 造成的：应查 CLOSE-WAIT 与描述符泄漏。",
    ),
    on=ANYWHERE,
)
def no_descriptor(bench: Bench) -> Verdict:
    visits = Visits(bench)
    for _ in range(20):
        visits.one(10)
    bench.run(100 * MSEC)
    records = bench.sockets("client", State.TIME_WAIT)
    owned = sum(view.owned for view in records)
    held = len(visits.client.files)
    fd = visits.client.socket(socket.AF_INET, socket.SOCK_STREAM)
    bench.check(T("TIME-WAITs", "TIME-WAIT 数"), len(records), 20)
    bench.check(T("of them with a descriptor", "其中有描述符的"), owned, 0)
    bench.check(T("descriptors of the program", "程序的描述符数"), held, 0)
    bench.check(T("the next descriptor is the lowest again", "下一个描述符又是最小的"), fd, 3)
    return bench.verdict(
        T(
            f"wrong: {len(records)} TIME-WAITs, {held} descriptors, {owned} owners",
            f"说法有误：{len(records)} 个 TIME-WAIT，{held} 个描述符，{owned} 个归属进程",
        )
    )


@lab(
    "TW-17",
    title=T("How much memory a TIME-WAIT takes", "一个 TIME-WAIT 占多少内存"),
    claim=T("'One TIME-WAIT uses 4 KB.'", "“一个 TIME-WAIT 占用 4 KB。”"),
    truth="wrong",
    source="S3; struct tcp_timewait_sock (slab tw_sock_TCP: 256 octets on Linux 6.18)",
    why=T(
        "The connection with its buffers is freed; the record keeps addresses, ports, numbers and a deadline.",
        "连接及其缓冲区已释放；记录只保存地址、端口、序号与截止时间。",
    ),
    practice=T(
        "100000 TIME-WAITs are about 25 MB on Linux. Memory is no reason to fight them.",
        "Linux 上十万个 TIME-WAIT 约 25 MB。内存不是与它作对的理由。",
    ),
)
def memory_of_a_record(bench: Bench) -> Verdict:
    visits = Visits(bench)
    visits.one(10)
    bench.run(100 * MSEC)
    found = bench.simulated("client").tcp.endpoints.values()
    record = next(each for each in found if isinstance(each, TimeWait))
    size = _size(record)
    bench.check(T("records", "记录数"), visits.waiting(), 1)
    bench.check_that(
        T("octets of one, with all its fields", "一条记录连同字段的字节数"), size < 4096, size, "less than 4096"
    )
    return bench.verdict(
        T(
            f"wrong: {size} octets in this stack, 256 measured on Linux 6.18",
            f"说法有误：本栈 {size} 字节，Linux 6.18 实测 256 字节",
        )
    )


def _size(record: TimeWait) -> int:
    """Octets of a record and of the values only it holds; small numbers and shared objects are not counted."""
    fields = getattr(record, "__dict__", None)
    total = sys.getsizeof(record)
    if fields is not None:
        total += sys.getsizeof(fields)
        total += sum(sys.getsizeof(value) for value in fields.values() if isinstance(value, int) and value > 256)
    return total


@lab(
    "TW-18",
    title=T("A client runs out of ports", "客户端端口耗尽"),
    claim=T(
        "With all ports in TIME-WAIT a client cannot connect to the same address and port any more; others are not"
        " affected.",
        "端口都处于 TIME-WAIT 时，客户端无法再连接同一目的 IP 和端口；其他目的不受影响。",
    ),
    truth="true",
    source="S1 S4; __inet_hash_connect; ip_local_port_range",
    why=T(
        "A connection is four values; towards one server port only the own port can differ. 32768..60999 (28232 ports,"
        " since Linux 4.2) at 60 s each make 470 connections a second.",
        "连接由四个值确定；对同一服务端口只有本地端口可变。32768..60999（28232 个，自 Linux 4.2）每个 60 秒，即每秒"
        " 470 个连接。",
    ),
    practice=T(
        "Keep connections alive; then a wider ip_local_port_range, tcp_tw_reuse=1 on the client, more server addresses."
        " The cost of a wider range: fewer ports for services.",
        "首选长连接；其次加宽 ip_local_port_range、客户端设 tcp_tw_reuse=1、增加服务端地址。加宽的代价："
        "留给服务的端口变少。",
    ),
    on=ANYWHERE,
    sysctl={PORTS: "40000 40003"},
)
def ports_run_out(bench: Bench) -> Verdict:
    visits = Visits(bench)
    came = [visits.one(10) for _ in range(5)]
    bench.listen(visits.server, port=81)
    fds: list[int] = []
    other = bench.attempt(lambda: fds.append(bench.connect(visits.client, port=81)))
    if other == "OK":
        other = bench.outcome(visits.client, fds[0])
    bench.check(T("five connections over four ports", "四个端口、五次连接"), came, ["OK"] * 4 + ["EADDRNOTAVAIL"])
    bench.check(T("to another port of the server", "连接服务端另一端口"), other, "OK")
    ok = came.count("OK")
    return bench.verdict(
        T(
            f"4 ports: {ok} connections, then {came[-1]}; another destination: {other}",
            f"4 个端口：{ok} 个连接，随后 {came[-1]}；另一目的：{other}",
        )
    )


@lab(
    "TW-19",
    title=T("A server does not run out of ports", "服务端不会因 TIME-WAIT 耗尽端口"),
    claim=T(
        "Many TIME-WAITs at a server use up its 65535 ports, so that clients are refused (S3); or they do not (S1,"
        " S4).",
        "服务端大量 TIME-WAIT 会占满 65535 个端口，导致客户端被拒（S3）；或并不会（S1、S4）。",
    ),
    truth="sources disagree",
    source="S1 S3 S4; RFC 9293 3.3.1",
    why=T(
        "S1 and S4 are right: all accepted connections share the listening port. S3's story fits a proxy, which is a"
        " client of its backends.",
        "S1、S4 正确：所有被接受的连接共用监听端口。S3 说的情形适用于代理，它是后端的客户端。",
    ),
    practice=T(
        "Nothing on a pure server. On a proxy: keep-alive to the backends.",
        "纯服务端无需处理。代理应对后端使用长连接。",
    ),
    on=ANYWHERE,
)
def server_ports(bench: Bench) -> Verdict:
    visits = Visits(bench, "server")
    count = 20 if bench.hurried else 100
    came = [visits.one(10) for _ in range(count)]
    bench.run(100 * MSEC)
    views = bench.sockets("server", State.TIME_WAIT)
    ports = sorted({view.local[1] for view in views})
    bench.check(T("TIME-WAITs at the server", "服务端 TIME-WAIT"), len(views), count)
    bench.check(T("local ports they use", "占用的本地端口"), ports, [PORT])
    bench.check(T("connections refused", "被拒的连接"), count - came.count("OK"), 0)
    return bench.verdict(
        T(
            f"{len(views)} TIME-WAITs share port {ports[0]}; none of {count} refused",
            f"{len(views)} 个 TIME-WAIT 共用端口 {ports[0]}；{count} 个连接无一被拒",
        )
    )


@lab(
    "TW-20",
    title=T("How many TIME-WAITs there are", "TIME-WAIT 会有多少"),
    claim=T(
        "Many TIME-WAITs arise on busy servers that close short connections themselves.",
        "高并发短连接且由服务端主动关闭时，会产生大量 TIME-WAIT。",
    ),
    truth="true",
    source="S1 S3; TCP_TIMEWAIT_LEN",
    why=T(
        "Their number is the rate of closes times 60 s, and then stays: 1000 a second make 60000.",
        "数量 = 每秒关闭数 × 60 秒，此后不再增长：每秒 1000 个即 60000 个。",
    ),
    practice=T(
        "Expect rate x 60. It is no fault; long connections lower the rate.",
        "预期值就是 速率×60，不是故障；长连接可降低速率。",
    ),
)
def steady_state(bench: Bench) -> Verdict:
    visits = Visits(bench, "server")
    rate = 3
    counts: list[int] = []
    for second in range(1, 121):
        start = bench.now
        for _ in range(rate):
            visits.one(10)
        bench.run(SEC - (bench.now - start))
        if second in (30, 60, 90, 120):
            counts.append(visits.waiting())
    length = profile_named(bench.profile).timewait_len // SEC
    bench.check(
        T("after 30, 60, 90, 120 s", "30、60、90、120 秒后"),
        counts,
        [min(rate * at, rate * length) for at in (30, 60, 90, 120)],
    )
    return bench.verdict(
        T(
            f"{rate} closes a second: {', '.join(map(str, counts))} after 30, 60, 90, 120 s",
            f"每秒关闭 {rate} 个：30、60、90、120 秒后为 {'、'.join(map(str, counts))}",
        )
    )


@lab(
    "TW-21",
    title=T("Several minutes?", "真的要几分钟吗"),
    claim=T(
        "'The port stays in TIME-WAIT for several minutes; useful time to waiting is 1 to several hundred.'",
        "“端口会在 TIME-WAIT 停留几分钟，有用时间与等待时间之比为 1 比数百。”",
    ),
    truth="wrong",
    source="S3; TCP_TIMEWAIT_LEN; RFC 9293 3.4.2",
    why=T(
        "60 s on Linux; 4 minutes are the RFC's. The ratio depends on how long the connection was used, and the port"
        " serves other destinations meanwhile.",
        "Linux 上是 60 秒；4 分钟是 RFC 的值。比值取决于连接用了多久，而且期间该端口仍可用于其他目的。",
    ),
    practice=T(
        "Count with 60 s: ports / 60 = connections a second to one destination.",
        "按 60 秒计算：端口数/60 = 对同一目的每秒连接数。",
    ),
    sysctl={PORTS: "40000 40000"},
)
def several_minutes(bench: Bench) -> Verdict:
    visits = Visits(bench)
    begun = bench.now
    visits.one(10)
    used = bench.now - begun
    visits.client.close(_elsewhere(bench, visits))
    came = "EADDRNOTAVAIL"
    while came == "EADDRNOTAVAIL" and bench.now < begun + 600 * SEC:
        bench.run(SEC // 2)
        came = visits.one(10)
    waited = bench.now - begun
    bench.check(T("connect() in the end", "最终 connect()"), came, "OK")
    bench.check_that(T("after", "经过"), 60 * SEC <= waited <= 61 * SEC, in_seconds([waited]), "60 to 61 s")
    return bench.verdict(
        T(
            f"wrong: the port is back after {waited / SEC:.1f} s (used for {used / SEC:.2f} s), and serves others at"
            f" once",
            f"说法有误：端口 {waited / SEC:.1f} 秒后可再用（使用了 {used / SEC:.2f} 秒），对其他目的立即可用",
        )
    )


def _elsewhere(bench: Bench, visits: Visits) -> int:
    """A connection to another port of the server, from the port that waits."""
    bench.listen(visits.server, port=81)
    fd = bench.connect(visits.client, port=81)
    bench.check(T("to another destination meanwhile", "其间连接其他目的"), bench.outcome(visits.client, fd), "OK")
    return fd
