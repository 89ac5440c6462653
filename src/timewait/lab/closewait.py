"""CLOSE-WAIT: whose state it is, how long it lasts, and what ends it."""

import socket
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Program
from timewait.lab.epoll_server import NO_CLOSE, TURN, EpollServer, close_waits, lifetimes, visit
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State

FIN_TIMEOUT: Final = "net.ipv4.tcp_fin_timeout"
IDLE: Final = "net.ipv4.tcp_keepalive_time"
INTERVAL: Final = "net.ipv4.tcp_keepalive_intvl"
CLIENTS: Final = 10


@lab(
    "CW-01",
    title=T("CLOSE-WAIT is the state of who closes second", "CLOSE-WAIT 属于被动关闭的一方"),
    claim=T(
        "Who receives the first FIN is in CLOSE-WAIT until its program calls close(), then in LAST-ACK.",
        "先收到 FIN 的一方处于 CLOSE-WAIT，直到程序调用 close()，然后进入 LAST-ACK。",
    ),
    truth="true",
    source="S1 S3; RFC 9293 3.6, figure 5",
    why=T(
        "The kernel has acknowledged the FIN and waits for the program's close: that is the name. Until then the"
        " program may send as before.",
        "内核已确认 FIN，正等待程序关闭，状态因此得名。在此之前程序仍可照常发送。",
    ),
    practice=T(
        "Not only servers: a client whose server closes idle connections sits in CLOSE-WAIT until it looks. Let pools"
        " test a connection for readability before they use it; that costs one poll().",
        "不只是服务端：服务端关闭空闲连接后，客户端会停在 CLOSE-WAIT，直到它去检查。连接池取用前应先检查可读性；"
        "代价是一次 poll()。",
    ),
    on=ANYWHERE,
    variants={
        "client": T("the client closes first", "客户端先关闭"),
        "server": T("the server closes first", "服务端先关闭"),
    },
)
def who_closes_second(bench: Bench) -> Verdict:
    pair = bench.open()
    ends: dict[str, tuple[Program, int]] = {"client": (pair.client, pair.cfd), "server": (pair.server, pair.sfd)}
    first = bench.variant
    second = "server" if first == "client" else "client"
    program, fd = ends[second]
    closer, closing = ends[first]
    closer.shutdown(closing, socket.SHUT_WR)
    bench.read_end(program, fd)
    bench.run(SEC)
    before = bench.state(second)
    program.send(fd, b"still here")
    said = bench.read(closer, closing, 10)
    bench.run(SEC)
    closed_at = bench.now
    program.close(fd)
    bench.until(lambda: bench.state(second) is State.CLOSED, "the end of LAST-ACK")
    waited = max(lifetimes(bench, State.CLOSE_WAIT, second), default=0)
    fin = bench.sent(first, flags="FA")[0].time + bench.lab.rtt // 2
    bench.check(T("state a second later", "一秒后的状态"), before, State.CLOSE_WAIT)
    bench.check(T("octets sent from there arrive", "此时发送的字节到达"), len(said), 10)
    bench.check_time(T("CLOSE-WAIT lasts", "CLOSE-WAIT 持续"), waited, closed_at - fin)
    entered = State.SYN_RCVD if second == "server" else State.SYN_SENT
    bench.check_path(second, entered, State.ESTABLISHED, State.CLOSE_WAIT, State.LAST_ACK, State.CLOSED)
    return bench.verdict(
        T(
            f"the {second}: CLOSE-WAIT for {in_seconds([waited])}, {len(said)} octets sent from it, until close()",
            f"{'服务端' if second == 'server' else '客户端'}：CLOSE-WAIT {in_seconds([waited])}，期间发出 {len(said)}"
            f" 字节，直到 close()",
        )
    )


@lab(
    "CW-02",
    title=T("Without close(): for ever, and ever more", "不 close()：永远停留，越积越多"),
    claim=T(
        "Without close() CLOSE-WAIT stays for ever, and such connections accumulate.",
        "不调用 close()，CLOSE-WAIT 会永远存在并不断累积。",
    ),
    truth="true",
    source="S1 S3; RFC 9293 3.6",
    why=T(
        "No timer runs in CLOSE-WAIT. Meanwhile the client has forgotten (tcp_fin_timeout): whatever is sent to it -"
        " the FIN of a dying process, data, a keepalive probe - meets a RST.",
        "CLOSE-WAIT 没有定时器。期间客户端早已遗忘（tcp_fin_timeout）：此后发给它的任何东西"
        "（进程退出的 FIN、数据、keepalive 探测）都会得到 RST。",
    ),
    practice=T(
        "Mend the program; a restart only frees what has piled up. SO_KEEPALIVE cleans up behind it after"
        " tcp_keepalive_time, but the descriptor stays open until close().",
        "修复程序；重启只能释放已积压的连接。SO_KEEPALIVE 会在 tcp_keepalive_time 之后清理连接，"
        "但描述符在 close() 之前一直占用。",
    ),
    on=ANYWHERE,
    live={FIN_TIMEOUT: 1, IDLE: 4, INTERVAL: 1},
    variants={
        "kill": T("an hour later the process is killed", "一小时后杀死进程"),
        "data": T("an hour later the program sends", "一小时后程序发送数据"),
        "keepalive": T("SO_KEEPALIVE is set", "设置了 SO_KEEPALIVE"),
    },
)
def for_ever(bench: Bench) -> Verdict:
    count = CLIENTS if bench.hurried else 50
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    fds = []
    for _ in range(count):
        cfd = bench.connect(client)
        bench.outcome(client, cfd)
        fds.append(bench.accept(server, listener))
        if bench.variant == "keepalive":
            server.setsockopt(fds[-1], socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bench.run(bench.lab.rtt)
        client.close(cfd)
        bench.run(3 * bench.lab.rtt)
    begun = bench.now
    waited = SEC * 3 // 2 if bench.hurried else 3600 * SEC
    bench.run(waited)
    held, owned = close_waits(bench)
    bench.check(T("CLOSE-WAIT, of these a program has", "CLOSE-WAIT，其中程序持有"), [held, owned], [count, count])
    bench.check(T("packets of the server meanwhile", "期间服务端发出的报文"), len(bench.sent("server", after=begun)), 0)
    bench.check(T("connections left at the clients", "客户端剩余连接"), len(bench.sockets("client")), 0)
    then = bench.now
    if bench.variant == "kill":
        server.kill()
    elif bench.variant == "data":
        for fd in fds:
            server.send(fd, b"x")
    else:
        bench.run(bench.sysctl(IDLE) * SEC)
    bench.run(5 * bench.lab.rtt)
    left = len(bench.sockets("server", State.CLOSE_WAIT, State.LAST_ACK))
    resets = len(bench.sent("client", flags="R", after=then))
    flags = "FA" if bench.variant == "kill" else "A"
    last = bench.sent("server", flags=flags, after=then, payload=bench.variant == "data")
    bench.check(T("sent by the server then", "随后服务端发出"), len(last), count)
    bench.check(T("RSTs in return", "得到的 RST"), resets, count)
    bench.check(T("left", "剩余"), left, 0)
    if bench.variant != "kill":
        bench.check(T("open descriptors of the program", "程序仍打开的描述符"), len(server.files), count + 1)
    long = in_seconds([waited])
    return bench.verdict(
        T(
            f"{held} CLOSE-WAIT after {long}; then {len(last)} segments meet {resets} RSTs, {left} left",
            f"{long}后 CLOSE-WAIT {held} 个；随后 {len(last)} 个报文换来 {resets} 个 RST，剩余 {left} 个",
        )
    )


@lab(
    "CW-08",
    title=T("A busy thread: close() comes late", "线程繁忙：close() 来得晚"),
    claim=T(
        "A blocked thread, slow work, or a client with too short a timeout delay the close: CLOSE-WAIT.",
        "线程阻塞、任务缓慢或客户端超时过短，都会推迟关闭，造成 CLOSE-WAIT。",
    ),
    truth="true",
    source="S3",
    why=T(
        "The client gives up and closes; its FIN waits until the program comes back to the descriptor. With one thread"
        " for all the delays add up, and those not yet accepted wait in CLOSE-WAIT too.",
        "客户端放弃并关闭；FIN 要等程序回来处理该描述符。只有一个线程时延迟累加，尚未 accept 的连接也停在 CLOSE-WAIT。",
    ),
    practice=T(
        "Clients' timeouts longer than the slowest answer, and a limit on the server's work shorter than that. A server"
        " may watch for EPOLLRDHUP and stop working for a client that has left; that costs a check in long work.",
        "客户端超时应长于最慢的应答，服务端的处理时限应更短。服务端可关注 EPOLLRDHUP，客户端离开便停止处理；"
        "代价是长任务中要加检查。",
    ),
    on=ANYWHERE,
    variants={
        "threads": T("a thread for each request", "每个请求一个线程"),
        "one": T("one thread for all", "所有请求共用一个线程"),
    },
)
def late_close(bench: Bench) -> Verdict:
    count, patience = 3, SEC
    work = 2 * SEC if bench.hurried else 30 * SEC
    server = EpollServer(bench, work=work, threads=bench.variant == "threads")
    answers = visit(bench, count, patience=patience)
    held, owned = close_waits(bench)
    bench.run((work if bench.variant == "threads" else count * work) + SEC)
    left, _ = close_waits(bench)
    waited = sorted(lifetimes(bench, State.CLOSE_WAIT))
    way = bench.lab.rtt // 2
    # The loop accepts in one turn and reads in the next.
    begun = [entry.time + way + TURN for entry in bench.sent("client", payload=True)]
    fins = [entry.time + way for entry in bench.sent("client", flags="FA")]
    if bench.variant == "one":
        begun = [begun[0] + number * work for number in range(count)]
    expected = sorted(start + work - fin for start, fin in zip(begun, fins, strict=True))
    bench.check(T("clients that leave without an answer", "未得应答便离开的客户端"), answers.count("silence"), count)
    bench.check(T("CLOSE-WAIT after that", "此后 CLOSE-WAIT"), held, count)
    known = count if bench.variant == "threads" else 1
    bench.check(T("of these a program has", "其中程序持有"), owned, known)
    bench.check_times(T("CLOSE-WAIT lasts", "CLOSE-WAIT 持续"), waited, expected)
    bench.check(T("left in the end", "最终剩余"), [left, server.closed], [0, count])
    return bench.verdict(
        T(
            f"work {in_seconds([work])}, patience {in_seconds([patience])}: CLOSE-WAIT for {in_seconds(waited)}",
            f"处理 {in_seconds([work])}，客户端耐心 {in_seconds([patience])}：CLOSE-WAIT 持续 {in_seconds(waited)}",
        )
    )


@lab(
    "CW-09",
    title=T("TIME-WAIT is harmless, CLOSE-WAIT an alarm", "TIME-WAIT 无害，CLOSE-WAIT 报警"),
    claim=T(
        "CLOSE-WAIT is normally very short; many of them mean a bug of the program, while TIME-WAIT is normal.",
        "正常情况下 CLOSE-WAIT 极短；数量多说明程序有缺陷，而 TIME-WAIT 属正常现象。",
    ),
    truth="true",
    source="S3; RFC 9293 3.6.1",
    why=T(
        "TIME-WAIT has a timer and no descriptor: it goes away by itself. CLOSE-WAIT has a descriptor and no timer: it"
        " waits for the program.",
        "TIME-WAIT 有定时器而没有描述符，会自行消失。CLOSE-WAIT 有描述符而没有定时器，只等程序。",
    ),
    practice=T(
        "Alarm on CLOSE-WAIT that is older than your slowest request (`ss -tnp state close-wait` twice, the same"
        " ports): any number is wrong. Do not alarm on the number of TIME-WAITs.",
        "对比最慢请求还老的 CLOSE-WAIT 报警（隔一段时间执行两次 `ss -tnp state close-wait`，看端口是否相同）："
        "出现一个都不正常。不要对 TIME-WAIT 的数量报警。",
    ),
    on=ANYWHERE,
    variants={
        "healthy": T("a server that closes", "会关闭的服务端"),
        "broken": T("a server that does not", "不关闭的服务端"),
    },
)
def harmless_and_alarming(bench: Bench) -> Verdict:
    healthy = bench.variant == "healthy"
    EpollServer(bench, "" if healthy else NO_CLOSE)
    visit(bench, CLIENTS)
    waiting = bench.sockets("client", State.TIME_WAIT)
    held = sum(view.owned for view in waiting)
    length = profile_named(bench.profile).timewait_len
    bench.run(SEC if bench.hurried or not healthy else length)
    left, owned = close_waits(bench)
    longest = max(lifetimes(bench, State.CLOSE_WAIT), default=0)
    lasted = lifetimes(bench, State.TIME_WAIT, "client")
    if healthy:
        bench.check_that(
            T("longest CLOSE-WAIT, less than a round trip", "最长的 CLOSE-WAIT，短于一个往返"),
            longest < bench.lab.rtt + (40 * MSEC if bench.on != "sim" else 0),
            f"{round(longest / MSEC, 1):g} ms",
            f"less than {bench.lab.rtt // MSEC} ms",
        )
        bench.check(T("TIME-WAITs, of these a program has", "TIME-WAIT，其中程序持有"), [len(waiting), held], [10, 0])
        if not bench.hurried:
            bench.check_times(T("TIME-WAIT lasts", "TIME-WAIT 持续"), lasted, [length] * CLIENTS)
            bench.check(T("left of them", "剩余"), len(bench.sockets("client", State.TIME_WAIT)), 0)
    expected = [0, 0] if healthy else [CLIENTS, CLIENTS]
    bench.check(T("CLOSE-WAIT, of these a program has", "CLOSE-WAIT，其中程序持有"), [left, owned], expected)
    shown = f"{round(longest / MSEC, 1):g} ms"
    return bench.verdict(
        T(
            f"{len(waiting)} TIME-WAITs without a descriptor; CLOSE-WAIT at most {shown}, {left} left",
            f"TIME-WAIT {len(waiting)} 个，不占描述符；CLOSE-WAIT 最长 {shown}，剩余 {left} 个",
        )
    )
