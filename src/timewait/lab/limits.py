"""What runs out: descriptors, memory, ports; and which ports may be taken twice."""

import socket
import sys

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Program
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.tcp.reasons import Why
from timewait.tcp.states import State


@lab(
    "SOCK-04",
    title=T("Too many open files", "Too many open files：描述符耗尽"),
    claim=T(
        "Each connection is a file; three limits: file-max (system), limits.conf (user), nr_open (process).",
        "每个连接是一个文件；三级限制：file-max（系统）、limits.conf（用户）、nr_open（进程）。",
    ),
    truth="simplification",
    source="S1; setrlimit(2); inet_csk_accept",
    why=T(
        "RLIMIT_NOFILE (set by limits.conf or ulimit) gives EMFILE, fs.file-max ENFILE; fs.nr_open only bounds the"
        " former. Connections not accepted, orphans and TIME-WAIT have no descriptor: the kernel goes on shaking"
        " hands.",
        "RLIMIT_NOFILE（由 limits.conf 或 ulimit 设置）给 EMFILE，fs.file-max 给 ENFILE；fs.nr_open 只是前者的上限。"
        "未 accept 的、孤儿与 TIME-WAIT 不占描述符：内核照样完成握手。",
    ),
    practice=T(
        "LimitNOFILE=1048576 in the systemd unit. Keep a spare descriptor to accept and close when full, else the loop"
        " spins on EMFILE.",
        "systemd 单元中设 LimitNOFILE=1048576。预留一个描述符，满时 accept 后立即关闭，否则循环空转于 EMFILE。",
    ),
    on=SIM,
)
def too_many_files(bench: Bench) -> Verdict:
    server = bench.simulated("server").process("server")
    server.nofile = 20
    listener = bench.listen(server)
    client = bench.program("client")
    wanted = 17
    came = []
    for _ in range(wanted):
        fd = bench.connect(client)
        came.append(bench.outcome(client, fd))
    bench.run(100 * MSEC)
    accepted = 0
    error = "OK"
    while error == "OK" and accepted < wanted:
        error = bench.attempt(lambda: server.accept(listener))
        accepted += error == "OK"
    queued = bench.sockets("server", State.LISTEN)[0].recv_q
    bench.check(
        T("descriptors below 20, three of them taken: accepted", "描述符上限 20，已用 0-2 与监听：accept 成功"),
        accepted,
        16,
    )
    bench.check(T("then accept()", "此后 accept()"), error, "EMFILE")
    bench.check(T("connect() of all", "全部 connect()"), set(came), {"OK"})
    bench.check(T("left in the queue", "留在队列中"), queued, wanted - accepted)
    return bench.verdict(
        T(
            f"{accepted} accepted, then {error}; {came.count('OK')} clients connected",
            f"accept {accepted} 个后 {error}；客户端连上 {came.count('OK')} 个",
        )
    )


def _weight(thing: object) -> int:
    """Octets of one object with its own fields, buffers and shared tables left out."""
    own = getattr(thing, "__dict__", None)
    return sys.getsizeof(thing) + (sys.getsizeof(own) if own is not None else 0)


@lab(
    "SOCK-05",
    title=T("What a connection weighs, and what ends it", "连接占多少内存，谁来限制"),
    claim=T("Memory bounds the number of connections; without it: OOM.", "内存限制连接数，用尽则 OOM。"),
    truth="simplification",
    source="S1; tcp_mem, tcp_max_orphans, tcp_out_of_resources; /proc/slabinfo",
    why=T(
        "States differ: on Linux 6.18 a half-open connection has 320 bytes, a TIME-WAIT record 256, an open one 2368"
        " and about 1 kB for inode and file, before any buffer. tcp_mem and tcp_max_orphans end it before the OOM"
        " killer does.",
        "各状态开销不同：Linux 6.18 上半连接 320 字节，TIME-WAIT 256 字节，已建立 2368 字节（另加 inode、file"
        " 约 1 kB），"
        "缓冲区另计。tcp_mem 与 tcp_max_orphans 先于 OOM 起作用。",
    ),
    practice=T(
        "Reckon with 3.5 kB per idle connection and add the buffers in use; watch /proc/net/sockstat.",
        "空闲连接按 3.5 kB 估算，再加在用的缓冲区；观察 /proc/net/sockstat。",
    ),
    on=SIM,
    variants={
        "weight": T("what each state weighs in this stack", "本协议栈各状态的大小"),
        "orphans": T("tcp_max_orphans=2: the rest is reset", "tcp_max_orphans=2：超出者被 RST"),
    },
)
def weight(bench: Bench) -> Verdict:
    if bench.variant == "orphans":
        return _orphans(bench)
    found = bench.simulated("server").tcp.endpoints
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    fd = bench.connect(client)
    bench.until(lambda: bench.sockets("server", State.SYN_RCVD), "a half-open connection")
    half = _weight(next(iter(found.values())))
    sfd = bench.accept(server, listener)
    full = _weight(next(iter(found.values())))
    server.close(sfd)
    bench.run(50 * MSEC)
    client.close(fd)
    bench.run(100 * MSEC)
    bench.check(T("server", "服务端"), bench.state("server"), State.TIME_WAIT)
    waiting = _weight(next(iter(found.values())))
    text = T("half-open, TIME-WAIT: octets, against an open one", "半连接、TIME-WAIT 字节数，与已建立相比")
    bench.check_that(text, half < full // 2 and waiting < full // 2, [half, waiting, full], "less than half")
    return bench.verdict(
        T(
            f"half-open {half}, open {full}, TIME-WAIT {waiting} octets",
            f"半连接 {half}，已建立 {full}，TIME-WAIT {waiting} 字节",
        )
    )


def _orphans(bench: Bench) -> Verdict:
    """Connections closed while their data cannot get through."""
    bench.configure({"net.ipv4.tcp_max_orphans": 2})
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    fds = [bench.connect(client) for _ in range(5)]
    for fd in fds:
        bench.outcome(client, fd)
        bench.accept(server, listener)
    bench.drop("every data from client")
    bench.drop("every ACK from server")
    for fd in fds:
        client.send(fd, b"x" * 100)
        client.close(fd)
    bench.run(30 * SEC)
    resets = len(bench.sent("client", why=Why.RST_NO_MEMORY))
    left = len(bench.sockets("client", State.FIN_WAIT_1))
    bench.check(T("connections reset", "被 RST 的连接"), resets, 3)
    bench.check(T("orphans left", "剩余孤儿连接"), left, 2)
    return bench.verdict(
        T(
            f"{resets} of {len(fds)} orphans reset, {left} go on",
            f"{len(fds)} 个孤儿连接中 {resets} 个被 RST，{left} 个继续",
        )
    )


@lab(
    "SOCK-13",
    title=T("Several servers on one port", "多个服务端绑定同一端口"),
    claim=T("Can several TCP servers bind the same port?", "多个 TCP 服务端能绑定同一端口吗？"),
    truth="simplification",
    source="S1; inet_csk_get_port; socket(7) SO_REUSEPORT",
    why=T(
        "On different addresses: yes. On the same one only if all set SO_REUSEPORT (and have the same user); the kernel"
        " then spreads connections by a hash. 0.0.0.0 counts as every address.",
        "不同地址可以；同一地址须全部设 SO_REUSEPORT（且同一用户），内核按哈希分配连接。0.0.0.0 等于所有地址。",
    ),
    practice=T(
        "SO_REUSEPORT with one listener per worker ends lock contention; when a worker dies, what waited in its"
        " queue is"
        " reset (net.ipv4.tcp_migrate_req=1 moves it).",
        "每个 worker 一个 SO_REUSEPORT 监听可消除争用；worker 退出时其队列中的连接被 RST"
        "（net.ipv4.tcp_migrate_req=1 可迁移）。",
    ),
    on=ANYWHERE,
    topology="own",
)
def same_port(bench: Bench) -> Verdict:
    bench.machine("server", "10.0.0.2/24", "10.0.0.3/24")
    bench.machine("client", "10.0.0.1/24")
    bench.world.link(bench.client, bench.server)
    reuse_addr, reuse_port = socket.SO_REUSEADDR, socket.SO_REUSEPORT
    cases: tuple[tuple[str, tuple[str, str], int, str], ...] = (
        ("same address", ("10.0.0.2", "10.0.0.2"), 0, "EADDRINUSE"),
        ("same address, SO_REUSEADDR", ("10.0.0.2", "10.0.0.2"), reuse_addr, "EADDRINUSE"),
        ("same address, SO_REUSEPORT", ("10.0.0.2", "10.0.0.2"), reuse_port, "OK"),
        ("two addresses", ("10.0.0.2", "10.0.0.3"), 0, "OK"),
        ("0.0.0.0 and one address", ("0.0.0.0", "10.0.0.2"), 0, "EADDRINUSE"),
    )
    server = bench.program("server")
    found = []
    for port, (name, addresses, option, expected) in enumerate(cases, 8000):
        outcome = _bind_both(bench, server, addresses, option, port)
        found.append(outcome)
        bench.check(T(name, f"情形：{name}"), outcome, expected)
    return bench.verdict(
        T(
            f"{found.count('OK')} of {len(found)} pairs bind: " + ", ".join(found),
            f"{len(found)} 组中 {found.count('OK')} 组成功：" + "、".join(found),
        )
    )


def _bind_both(bench: Bench, server: Program, addresses: tuple[str, str], option: int, port: int) -> str:
    """What becomes of the second of two listeners."""
    outcome = ""
    for address in addresses:
        fd = server.socket(socket.AF_INET, socket.SOCK_STREAM)
        if option:
            server.setsockopt(fd, socket.SOL_SOCKET, option, 1)
        outcome = bench.attempt(lambda fd=fd, address=address: _bind_and_listen(server, fd, address, port))  # type: ignore[misc]
    return outcome


def _bind_and_listen(server: Program, fd: int, address: str, port: int) -> None:
    server.bind(fd, (address, port))
    server.listen(fd, 5)


@lab(
    "SOCK-14",
    title=T("Address already in use after a restart", "重启后 Address already in use"),
    claim=T("Why it happens and how to avoid it.", "为什么出现，如何避免。"),
    truth="true",
    source="S1; inet_csk_bind_conflict; socket(7) SO_REUSEADDR",
    why=T(
        "The server closed first, so its end keeps the port in TIME-WAIT for 60 s. SO_REUSEADDR before bind() says that"
        " this is meant; there is no danger, as the old connections' four-tuples stay taken.",
        "服务端先关闭，于是端口以 TIME-WAIT 占用 60 秒。bind() 前设 SO_REUSEADDR 表明有意为之；"
        "没有危险，旧连接的四元组仍被占用。",
    ),
    practice=T(
        "Every server sets SO_REUSEADDR before bind(). It lets nobody steal a port that is listened on.",
        "服务端都应在 bind() 之前设 SO_REUSEADDR；它不会让别人抢走正在监听的端口。",
    ),
    on=ANYWHERE,
)
def address_in_use(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.server.close(pair.sfd)
    bench.run(50 * MSEC)
    pair.client.close(pair.cfd)
    bench.run(50 * MSEC)
    pair.server.close(pair.listener)
    bench.check(T("server", "服务端"), bench.state("server"), State.TIME_WAIT)
    outcomes = []
    for reuse in (False, True):
        again = bench.program("server", "again")
        fd = again.socket(socket.AF_INET, socket.SOCK_STREAM)
        if reuse:
            again.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        outcomes.append(bench.attempt(lambda again=again, fd=fd: _bind_and_listen(again, fd, "0.0.0.0", 80)))  # type: ignore[misc]
        again.close(fd)
    bench.check(T("bind() at once", "立即 bind()"), outcomes[0], "EADDRINUSE")
    bench.check(T("bind() at once with SO_REUSEADDR", "立即 bind()，设 SO_REUSEADDR"), outcomes[1], "OK")
    if bench.on == "sim":
        bench.run(60 * SEC)
        later = bench.program("server", "later")
        fd = later.socket(socket.AF_INET, socket.SOCK_STREAM)
        outcomes.append(bench.attempt(lambda: _bind_and_listen(later, fd, "0.0.0.0", 80)))
        bench.check(T("bind() after 60 s", "60 秒后 bind()"), outcomes[2], "OK")
    told = ", ".join(outcomes)
    return bench.verdict(T(f"bind(): {told}", f"bind()：{told}"))


@lab(
    "SOCK-15",
    title=T("One client port for two servers", "一个客户端端口连两个服务端"),
    claim=T(
        "Lookup is by four-tuple, so one local port serves connections to different destinations.",
        "按四元组查找，所以同一本地端口可连不同目的地。",
    ),
    truth="true",
    source="S1 S4; __inet_check_established; __inet_hash_connect",
    why=T(
        "connect() looks for a port with which the four-tuple is new. Only towards the same destination do ports run"
        " out, and then it gives EADDRNOTAVAIL.",
        "connect() 选择使四元组唯一的端口。只有对同一目的地端口才会用尽，此时返回 EADDRNOTAVAIL。",
    ),
    practice=T(
        "A proxy out of ports: widen net.ipv4.ip_local_port_range, add addresses on either side, reuse"
        " connections; with"
        " bind(), set IP_BIND_ADDRESS_NO_PORT.",
        "代理端口耗尽：扩大 net.ipv4.ip_local_port_range，增加任一侧地址，复用连接；若先 bind()，"
        "设 IP_BIND_ADDRESS_NO_PORT。",
    ),
    on=ANYWHERE,
    topology="own",
    sysctl={"net.ipv4.ip_local_port_range": "40000 40000"},
)
def one_port_two_servers(bench: Bench) -> Verdict:
    bench.machine("client", "10.0.0.1/24")
    bench.machine("server", "10.0.0.2/24", "10.0.0.3/24")
    bench.world.link(bench.client, bench.server, delay=bench.lab.rtt // 2)
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    outcomes = []
    ports = []
    for address in ("10.0.0.2", "10.0.0.3", "10.0.0.2"):
        fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.set_nonblocking(fd)
        tried = bench.attempt(lambda fd=fd, address=address: bench.try_connect(client, fd, to=address))  # type: ignore[misc]
        outcomes.append(bench.outcome(client, fd) if tried == "OK" else tried)
        if outcomes[-1] == "OK":
            ports.append(client.getsockname(fd)[1])
    bench.check(
        T("connect() to .2, to .3, to .2 again", "connect() 到 .2、.3、再到 .2"),
        outcomes,
        ["OK", "OK", "EADDRNOTAVAIL"],
    )
    bench.check(T("local ports used", "使用的本地端口"), ports, [40000, 40000])
    told = ", ".join(outcomes)
    return bench.verdict(T(f"port {ports[0]}: {told}", f"端口 {ports[0]}：{told}"))
