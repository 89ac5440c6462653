"""What TIME-WAIT is for: the last ACK, old duplicates, and what happens without it."""

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Pair
from timewait.lab.forge import Dialog
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.hypothetical import with_fixed_isn, with_time_wait, without_time_wait
from timewait.lab.judge import in_seconds
from timewait.lab.timewait_syn import time_wait
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State

TIMESTAMPS = "net.ipv4.tcp_timestamps"
SPORT = 40000
_FRIEND = T(
    "Leave TIME-WAIT alone: it costs some 250 octets for 60 s. Nothing on Linux shortens it.",
    "不要与 TIME-WAIT 作对：每个约 250 字节、60 秒。Linux 上没有办法缩短它。",
)


def resets(bench: Bench, host: str) -> int:
    """RSTs that a host has sent."""
    return len(bench.sent(host, flags="R")) + len(bench.sent(host, flags="RA"))


def close_both(bench: Bench, pair: Pair, first: str = "client") -> None:
    """One side closes, the other reads the end and closes too."""
    ends = [(pair.client, pair.cfd), (pair.server, pair.sfd)]
    if first == "server":
        ends.reverse()
    (one, fd), (two, other) = ends
    one.close(fd)
    bench.read_end(two, other)
    two.close(other)


@lab(
    "TW-01",
    title=T("Who gets TIME-WAIT", "谁会进入 TIME-WAIT"),
    claim=T(
        "Only the side that closes first gets TIME-WAIT.",
        "只有主动关闭的一方才有 TIME-WAIT。",
    ),
    truth="true",
    source="S1 S2 S3 S4; RFC 9293 3.6 figures 12 and 13",
    why=T(
        "The side whose FIN is acknowledged last needs nobody to wait. If both FINs cross, each side is a first closer,"
        " and both get it.",
        "后关闭的一方收到对其 FIN 的确认就结束，无需等待。若双方 FIN 交叉，则双方都算主动方，都会有。",
    ),
    practice=T(
        "Arrange by protocol who closes first: the client, which has few connections.",
        "用协议约定由谁先关闭：让连接少的客户端先关。",
    ),
    on=ANYWHERE,
    variants={
        "client": T("the client closes first", "客户端先关闭"),
        "server": T("the server closes first", "服务端先关闭"),
        "both": T("both at once", "双方同时"),
    },
)
def who_gets_it(bench: Bench) -> Verdict:
    pair = bench.open()
    if bench.variant == "both":
        pair.client.close(pair.cfd)
        pair.server.close(pair.sfd)
    else:
        close_both(bench, pair, bench.variant)
    bench.run(200 * MSEC)
    states = [bench.state("client"), bench.state("server")]
    waits = State.TIME_WAIT
    expected = {"client": [waits, State.CLOSED], "server": [State.CLOSED, waits], "both": [waits, waits]}
    bench.check(T("client, server", "客户端、服务端"), states, expected[bench.variant])
    names = [state.rfc_name for state in states]
    return bench.verdict(T(f"client {names[0]}, server {names[1]}", f"客户端 {names[0]}，服务端 {names[1]}"))


@lab(
    "TW-02",
    title=T("MSL, TTL and 60 seconds", "MSL、TTL 与 60 秒"),
    claim=T(
        "MSL is the longest life of a segment; Linux assumes that TTL 64 is used up within 30 s.",
        "MSL 是报文最大生存时间；Linux 认为 64 跳在 30 秒内耗尽。",
    ),
    truth="simplification",
    source="S0 S1 S3 S4; RFC 9293 3.4.2; include/net/tcp.h TCP_TIMEWAIT_LEN",
    why=T(
        "The RFC says 2 minutes. Linux has no MSL at all, only TIME-WAIT's 60 s; TTL counts routers and not seconds.",
        "RFC 规定 2 分钟。Linux 根本没有 MSL 常量，只有 TIME-WAIT 的 60 秒；TTL 数的是路由器而不是秒。",
    ),
    practice=T(
        "Nothing to set: ip_default_ttl changes the reach of packets, not TIME-WAIT.",
        "无可设置：ip_default_ttl 只改变能走多远，与 TIME-WAIT 无关。",
    ),
    variants={"64": T("TTL 64", "TTL 64"), "32": T("TTL 32", "TTL 32")},
)
def msl_and_ttl(bench: Bench) -> Verdict:
    bench.configure({"net.ipv4.ip_default_ttl": int(bench.variant)})
    pair = bench.open()
    close_both(bench, pair)
    bench.finish()
    ttls = sorted({int(entry.packet.ttl) for entry in bench.sent()})
    lasted = bench.moved_at("client", State.CLOSED) - bench.moved_at("client", State.TIME_WAIT)
    bench.check(T("TTL of every packet", "每个报文的 TTL"), ttls, [int(bench.variant)])
    bench.check_time(T("TIME-WAIT", "TIME-WAIT"), lasted, profile_named(bench.profile).timewait_len)
    return bench.verdict(
        T(f"TTL {ttls[0]}, TIME-WAIT {in_seconds([lasted])}", f"TTL {ttls[0]}，TIME-WAIT {in_seconds([lasted])}")
    )


@lab(
    "TW-04",
    title=T("When the 2 MSL begin", "2MSL 从何时算起"),
    claim=T(
        "The clock starts when the FIN is received and its ACK sent.",
        "2MSL 从收到 FIN 并发出 ACK 时开始计时。",
    ),
    truth="true",
    source="S1 S4; RFC 9293 3.10.7.4 eighth check",
    why=T(
        "It is that ACK which may be lost. Time spent in FIN-WAIT-2 does not count.",
        "可能丢失的正是这个 ACK。在 FIN-WAIT-2 中度过的时间不算。",
    ),
    practice=_FRIEND,
)
def clock_start(bench: Bench) -> Verdict:
    pair = bench.open()
    begun = bench.now
    pair.client.shutdown(pair.cfd, 1)
    bench.run(30 * SEC)
    pair.client.close(pair.cfd)
    pair.server.close(pair.sfd)
    bench.finish()
    fin = bench.sent("server", flags="FA")[0]
    ack = bench.sent("client", flags="A", after=fin.time)[0]
    ended = bench.moved_at("client", State.CLOSED)
    length = profile_named(bench.profile).timewait_len
    bench.check_time(T("from the ACK of the FIN", "自对 FIN 的 ACK 起"), ended - ack.time, length)
    bench.check_time(T("FIN-WAIT-2 before that", "此前的 FIN-WAIT-2"), fin.time - begun, 30 * SEC)
    return bench.verdict(
        T(
            f"CLOSED {in_seconds([ended - ack.time])} after the last ACK, {in_seconds([ended - begun])} after"
            f" shutdown()",
            f"最后的 ACK 之后 {in_seconds([ended - ack.time])} CLOSED，距 shutdown() {in_seconds([ended - begun])}",
        )
    )


@lab(
    "TW-06",
    title=T("Reason one: the last ACK may be lost", "原因一：最后的 ACK 可能丢失"),
    claim=T(
        "Without TIME-WAIT a repeated FIN meets an RST, and the passive side sees 'Connection reset by peer'.",
        "没有 TIME-WAIT，重传的 FIN 会得到 RST，被动方看到 Connection reset by peer。",
    ),
    truth="true",
    source="S0 S1 S3 S4; RFC 9293 3.6; RFC 1122 4.2.2.13",
    why=T(
        "A host that remembers nothing must answer a FIN with an RST. Only a program that still holds the socket sees"
        " it: after close() nobody is left to be told.",
        "什么都不记得的主机只能对 FIN 回 RST。只有仍持有套接字的程序看得到错误：close() 之后已无人可通知。",
    ),
    practice=_FRIEND,
    variants={
        "without": T("hypothetical: TIME-WAIT of zero", "假想：TIME-WAIT 为零"),
        "with": T("as it is", "实际情况"),
    },
)
def last_ack(bench: Bench) -> Verdict:
    if bench.variant == "without":
        without_time_wait(bench.simulated("client"))
        bench.note("hypothetical: no TIME-WAIT at the client")
    pair = bench.open()
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    bench.run(100 * MSEC)
    bench.drop("first ACK from client")
    pair.server.shutdown(pair.sfd, 1)
    bench.run(2 * SEC)
    fins = len(bench.sent("server", flags="FA"))
    error, sent = bench.error(pair.server, pair.sfd), resets(bench, "client")
    without = bench.variant == "without"
    bench.check(T("FINs of the server", "服务端 FIN 次数"), fins, 2)
    bench.check(T("RSTs of the client", "客户端 RST"), sent, 1 if without else 0)
    bench.check(T("SO_ERROR at the server", "服务端 SO_ERROR"), error, "ECONNRESET" if without else "OK")
    return bench.verdict(
        T(
            f"last ACK lost, TIME-WAIT {'of zero' if without else 'kept'}: {sent} RST, server: {error}",
            f"最后的 ACK 丢失，{'没有' if without else '有'} TIME-WAIT：{sent} 个 RST，服务端 {error}",
        )
    )


def _again(bench: Bench) -> tuple[str, int]:
    """connect() from the same port: what it comes to, and the descriptor."""
    program = bench.program("client", "again")
    fds: list[int] = []
    came = bench.attempt(lambda: fds.append(bench.connect(program, sport=SPORT)))
    if came == "OK":
        came = bench.outcome(program, fds[0])
    return came, fds[0] if fds else -1


@lab(
    "TW-07",
    title=T("Reason two: old duplicates", "原因二：旧连接的迟到数据"),
    claim=T(
        "A delayed segment of the old connection could be accepted by a new one with the same addresses and ports.",
        "旧连接中迟到的数据可能被相同四元组的新连接接收。",
    ),
    truth="true",
    source="S0 S1 S3 S4; RFC 9293 3.4.3; RFC 6191",
    why=T(
        "The new connection cannot tell: addresses, ports and a sequence number inside the window are all it looks at."
        " TIME-WAIT keeps the four-tuple from being used until what was on its way is gone.",
        "新连接无从分辨：它只看地址、端口与窗口内的序号。TIME-WAIT 使该四元组在旧报文消失之前不被使用。",
    ),
    practice=T(
        "Keep TIME-WAIT and timestamps. Whoever recycles ports by SO_LINGER 0 gives this protection up.",
        "保留 TIME-WAIT 与时间戳。用 SO_LINGER 0 回收端口就放弃了这层保护。",
    ),
    sysctl={TIMESTAMPS: 0},
    variants={
        "without": T("hypothetical: TIME-WAIT of zero and one ISN for all", "假想：TIME-WAIT 为零且 ISN 固定"),
        "with": T("as it is", "实际情况"),
    },
)
def old_duplicates(bench: Bench) -> Verdict:
    without = bench.variant == "without"
    if without:
        hosts = (bench.simulated("client"), bench.simulated("server"))
        without_time_wait(*hosts)
        with_fixed_isn(*hosts)
        bench.note("hypothetical: no TIME-WAIT, every ISN is 0")
    pair = bench.open(sport=SPORT)
    bench.link.hold("first data", 3 * SEC, sender="client")
    old = b"old!" * 25
    pair.client.send(pair.cfd, old)
    first = bench.read(pair.server, pair.sfd, 100)
    close_both(bench, pair)
    bench.run(200 * MSEC)
    came, _ = _again(bench)
    got = b""
    if came == "OK":
        fd = bench.accept(pair.server, pair.listener)
        if bench.within(lambda: pair.server.poll([(fd, 1)]), 5 * SEC):
            got = pair.server.recv(fd, 1000)
    bench.check(T("octets the old connection delivered", "旧连接交付的字节"), len(first), 100)
    bench.check(
        T("connect() from the same port", "从同一端口再次 connect()"), came, "OK" if without else "EADDRNOTAVAIL"
    )
    text = T("old octets in the new connection", "新连接读到旧连接的字节")
    bench.check(text, len(got) if got == old else 0, 100 if without else 0)
    if without:
        return bench.verdict(
            T(
                f"counterexample: {len(got)} octets sent to the old connection were read from the new one",
                f"反例：发给旧连接的 {len(got)} 字节从新连接读出",
            )
        )
    return bench.verdict(T(f"connect() from the same port: {came}", f"从同一端口 connect()：{came}"))


@lab(
    "TW-08",
    title=T("An old FIN meets a new connection", "旧连接的 FIN 遇到新连接"),
    claim=T(
        "Without TIME-WAIT a FIN of the old connection that comes again could close the new one.",
        "没有 TIME-WAIT，旧连接重发的 FIN 可能误关新连接。",
    ),
    truth="simplification",
    source="S0 S3; RFC 9293 3.10.7.4 eighth check; RFC 6528",
    why=T(
        "Only if its number is the next one expected. With clock-driven, hashed ISNs an old number lies below the new"
        " window, and the FIN is answered with an ACK and ignored.",
        "只有其序号恰为期待的下一个才会。ISN 随时钟增长并带哈希时，旧序号落在新窗口之下，该 FIN 只得到一个 ACK"
        " 而被忽略。",
    ),
    practice=_FRIEND,
    sysctl={TIMESTAMPS: 0},
    variants={
        "fixed": T("hypothetical: no TIME-WAIT, one ISN for all", "假想：没有 TIME-WAIT，ISN 固定"),
        "hashed": T("hypothetical: no TIME-WAIT, ISNs as they are", "假想：没有 TIME-WAIT，ISN 如实际"),
    },
)
def old_fin(bench: Bench) -> Verdict:
    hosts = (bench.simulated("client"), bench.simulated("server"))
    without_time_wait(*hosts)
    fixed = bench.variant == "fixed"
    if fixed:
        with_fixed_isn(*hosts)
    bench.note("hypothetical: no TIME-WAIT" + (", every ISN is 0" if fixed else ""))
    pair = bench.open(sport=SPORT)
    bench.link.hold("first FIN", 3 * SEC, sender="client")
    close_both(bench, pair)
    bench.run(500 * MSEC)
    came, _ = _again(bench)
    fd = bench.accept(pair.server, pair.listener)
    bench.run(4 * SEC)
    state = bench.state("server")
    read = bench.attempt(lambda: pair.server.recv(fd, 10))
    bench.check(T("connect() from the same port", "从同一端口再次 connect()"), came, "OK")
    bench.check(
        T("the new connection at the server", "服务端的新连接"), state, State.CLOSE_WAIT if fixed else State.ESTABLISHED
    )
    bench.check(T("its program reads", "其程序读到"), read, "EOF" if fixed else "EAGAIN")
    return bench.verdict(
        T(
            f"ISN {bench.variant}: after the old FIN the new connection is {state.rfc_name}, recv(): {read}",
            f"ISN {bench.variant}：旧 FIN 之后新连接为 {state.rfc_name}，recv()：{read}",
        )
    )


@lab(
    "TW-09",
    title=T("Why 2 MSL and not less", "为什么是 2MSL"),
    claim=T(
        "One MSL for the ACK there, one for the FIN back: it tolerates one loss, and at 1 % loss two in a row happen"
        " once in 10000.",
        "一个 MSL 让 ACK 到达，一个 MSL 让重发的 FIN 返回：可容忍一次丢失；丢包率 1% 时连续两次丢失只有万分之一。",
    ),
    truth="simplification",
    source="S0 S1 S4; RFC 9293 3.4.3",
    why=T(
        "The RFC argues with lifetimes, not with probabilities. In time, TIME-WAIT must outlast the retransmissions of"
        " the peer's FIN: each one restarts it, and a FIN that keeps being lost can back off beyond any length.",
        "RFC 依据的是报文寿命而非概率。从时间上看，TIME-WAIT 要比对端 FIN 的重传更久：每个重传都会重启计时，"
        "而一直丢失的 FIN 经退避可以超过任何长度。",
    ),
    practice=_FRIEND,
    variants={"10%": T("10 % of packets lost", "丢包 10%"), "30%": T("30 % lost", "丢包 30%")},
)
def why_twice(bench: Bench) -> Verdict:
    count = 80
    lengths = (0, SEC, 60 * SEC)
    bad: list[int] = []
    for number, length in enumerate(lengths):
        name = f"TIME-WAIT of {length // SEC} s"
        world = bench if number == 0 else bench.another(T(name, f"TIME-WAIT {length // SEC} 秒"))
        with_time_wait(length, world.simulated("client"))
        world.note("hypothetical: " + name)
        pairs = []
        server, client = world.program("server"), world.program("client")
        listener = world.listen(server, backlog=256)
        for _ in range(count):
            fd = world.connect(client)
            pairs.append((fd, world.accept(server, listener)))
        world.run(SEC)
        world.link.lossy(0.1 if bench.variant == "10%" else 0.3)
        for fd, _ in pairs:
            client.close(fd)
        world.run(20 * SEC)
        for _, peer in pairs:
            server.shutdown(peer, 1)
        world.run(300 * SEC)
        bad.append(sum(1 for _, peer in pairs if world.error(server, peer) == "ECONNRESET"))
    bench.check_that(
        T("passive ends reset, at 0, 1 and 60 s", "被 RST 的被动方（0、1、60 秒）"),
        bad[0] > bad[1] >= bad[2] and bad[2] <= 1,
        bad,
        "fewer with each, none or one at 60 s",
    )
    bench.check_that(
        T("at 0 s about the loss rate", "0 秒时约等于丢包率"),
        0.5 <= bad[0] / count / (0.1 if bench.variant == "10%" else 0.3) <= 2,
        f"{100 * bad[0] / count:.0f} %",
        f"about {bench.variant}",
    )
    return bench.verdict(
        T(
            f"of {count} closes reset at 0/1/60 s of TIME-WAIT: {bad[0]}/{bad[1]}/{bad[2]}",
            f"{count} 次关闭中被 RST（TIME-WAIT 0/1/60 秒）：{bad[0]}/{bad[1]}/{bad[2]}",
        )
    )


@lab(
    "TW-11",
    title=T("What the RFC says TIME-WAIT is for", "RFC 对 TIME-WAIT 的定义"),
    claim=T(
        "TIME-WAIT: 'waiting for enough time to pass to be sure the remote TCP received the acknowledgment of its"
        " connection termination request'.",
        "TIME-WAIT：等待足够长的时间，以确保远端 TCP 收到了对其连接终止请求的确认。",
    ),
    truth="true",
    source="S1; RFC 793 3.2; RFC 9293 3.3.2",
    why=T(
        "RFC 9293 adds: 'and to avoid new connections being impacted by delayed segments from previous connections'."
        " Both show: a FIN that comes again is acknowledged, old data is answered and not delivered.",
        "RFC 9293 补充：“并避免新连接受到旧连接迟到报文的影响”。两者都能看到：再次到来的 FIN 得到确认，"
        "旧数据只被应答而不交付。",
    ),
    practice=_FRIEND,
    on=("sim", "kernel"),
    topology="puppet-client",
)
def definition(bench: Bench) -> Verdict:
    dialog = time_wait(bench, SPORT)
    count = len(dialog.received())
    dialog.send("FA", seq=1, ack=2)
    bench.run(2 * bench.lab.rtt)
    for_fin = [(bench.flags(each), dialog.relative(each)[1]) for each in dialog.answers(count)]
    count = len(dialog.received())
    dialog.send("PA", seq=-100, ack=2, data=b"x" * 100)
    bench.run(2 * bench.lab.rtt)
    for_data = [(bench.flags(each), dialog.relative(each)[1]) for each in dialog.answers(count)]
    state = bench.state("server")
    bench.check(T("answer to the FIN again", "对重发 FIN 的回应"), for_fin, [("ACK", 2)])
    bench.check(T("answer to old data", "对旧数据的回应"), for_data, [("ACK", 2)])
    bench.check(T("state", "状态"), state, State.TIME_WAIT)
    return bench.verdict(
        T(
            f"FIN again: {for_fin[0][0]}; old data: {for_data[0][0]}; still {state.rfc_name}",
            f"FIN 重发：{for_fin[0][0]}；旧数据：{for_data[0][0]}；仍为 {state.rfc_name}",
        )
    )


@lab(
    "TW-22",
    title=T("Whom an RST concerns", "RST 影响谁"),
    claim=T(
        "'Without TIME-WAIT the RST that answers a late FIN may affect the peer's other connections.'",
        "“没有 TIME-WAIT 时，对迟到 FIN 回的 RST 可能影响被动方的其他业务连接。”",
    ),
    truth="wrong",
    source="S3; RFC 9293 3.10.7.4 second check",
    why=T(
        "An RST concerns the connection of its own four addresses and ports, and no other.",
        "RST 只针对它自己的四元组，与其他连接无关。",
    ),
    practice=_FRIEND,
)
def whom_it_concerns(bench: Bench) -> Verdict:
    without_time_wait(bench.simulated("client"))
    bench.note("hypothetical: no TIME-WAIT at the client")
    one = bench.open()
    fd = bench.connect(one.client)
    other = bench.accept(one.server, one.listener)
    one.client.close(one.cfd)
    bench.read_end(one.server, one.sfd)
    bench.run(100 * MSEC)
    with bench.drop("first ACK from client"):
        one.server.shutdown(one.sfd, 1)
        bench.run(2 * SEC)
    hit = bench.error(one.server, one.sfd)
    one.client.send(fd, b"0123456789")
    got = bench.read(one.server, other, 10)
    state = [view.state for view in bench.sockets("server") if view.state is State.ESTABLISHED]
    bench.check(T("the connection of the late FIN", "迟到 FIN 所属的连接"), hit, "ECONNRESET")
    bench.check(T("octets over the other one", "另一连接传送的字节"), len(got), 10)
    bench.check(T("other connections ESTABLISHED", "其他 ESTABLISHED 连接"), len(state), 1)
    return bench.verdict(
        T(
            f"wrong: one connection {hit}, the other carries {len(got)} octets",
            f"说法有误：该连接 {hit}，另一连接照常传送 {len(got)} 字节",
        )
    )


@lab(
    "TW-32",
    title=T("Why not CLOSED at once", "为何不直接进入 CLOSED"),
    claim=T(
        "TIME-WAIT cannot be CLOSED at once, as a state is needed to acknowledge again; without it only an RST is"
        " possible.",
        "不能直接进入 CLOSED：需要保留状态以便再次确认，否则只能回 RST。",
    ),
    truth="true",
    source="S3; RFC 9293 3.10.7.1",
    why=T(
        "In CLOSED the only answer to a segment is an RST, made from the segment itself. TIME-WAIT knows the numbers.",
        "CLOSED 对任何报文只能回 RST，其内容取自该报文本身。TIME-WAIT 才知道序号。",
    ),
    practice=_FRIEND,
    on=("sim", "kernel"),
    topology="puppet-client",
)
def state_is_needed(bench: Bench) -> Verdict:
    dialog = time_wait(bench, SPORT)
    count = len(dialog.received())
    dialog.send("FA", seq=1, ack=2)
    bench.run(2 * bench.lab.rtt)
    kept = [bench.flags(each) for each in dialog.answers(count)]
    stranger = Dialog(bench, SPORT + 1)
    stranger.irs = 5_000_000
    stranger.send("FA", seq=1, ack=2)
    bench.run(2 * bench.lab.rtt)
    none = [bench.flags(each) for each in stranger.received()]
    bench.check(T("a FIN to TIME-WAIT gets", "TIME-WAIT 收到 FIN 后回应"), kept, ["ACK"])
    bench.check(T("a FIN to CLOSED gets", "CLOSED 收到 FIN 后回应"), none, ["RST"])
    return bench.verdict(T(f"TIME-WAIT: {kept[0]}; CLOSED: {none[0]}", f"TIME-WAIT：{kept[0]}；CLOSED：{none[0]}"))
