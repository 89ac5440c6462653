"""When the handshake fails: who notices, when, and what the other side goes on believing."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import SPORT
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.handshake_loss import LINEAR, SYN_RETRIES, SYNACK_RETRIES
from timewait.lab.hypothetical import with_initial_rto
from timewait.lab.judge import in_seconds, segment
from timewait.record.entries import Received
from timewait.tcp.states import State
from timewait.wire.packet import Segment


@lab(
    "EST-13",
    title=T("Who knows what after each step", "每一步之后谁知道什么"),
    claim=T(
        "After step 2 the client knows that both directions work, after step 3 the server does.",
        "第二步后客户端知道双向可达，第三步后服务端也知道。",
    ),
    truth="simplification",
    source="S0 S1 S3; RFC 9293 3.5",
    why=T(
        "As an argument about reachability it holds, and the states show it. The reason the RFC gives is another: old"
        " duplicate SYNs (EST-14).",
        "作为可达性论证成立，从状态可以看出。但 RFC 给出的首要原因是旧的重复 SYN（EST-14）。",
    ),
    practice=T(
        "SYN-SENT here and nothing there: the way there is cut. SYN-SENT here and SYN-RECV there: the way back.",
        "本端 SYN-SENT、对端无：去程不通；本端 SYN-SENT、对端 SYN-RECV：回程不通。",
    ),
    on=ANYWHERE,
)
def who_knows_what(bench: Bench) -> Verdict:
    cases = (
        ("every packet from client", T("way there cut", "去程断"), State.SYN_SENT, State.CLOSED),
        ("every packet from server", T("way back cut", "回程断"), State.SYN_SENT, State.SYN_RCVD),
        ("every ACK from client", T("third segment lost", "第三个报文丢失"), State.ESTABLISHED, State.SYN_RCVD),
        ("", T("nothing lost", "无丢失"), State.ESTABLISHED, State.ESTABLISHED),
    )
    told = []
    for number, (fault, name, *expected) in enumerate(cases):
        world = bench if number == 0 else bench.another(name)
        if fault:
            world.drop(fault)
        world.listen(world.program("server"))
        world.connect(world.program("client"))
        world.run(300 * MSEC)
        states = [world.state("client"), world.state("server")]
        text = (
            T(f"{name.en}: client, server", f"{name.zh}：客户端、服务端")
            if number == 0
            else T("client, server", "客户端、服务端")
        )
        world.check(text, states, list(expected))
        told.append("/".join(state.rfc_name for state in states))
    return bench.verdict(T("; ".join(told), "；".join(told)))


@lab(
    "EST-24",
    title=T("The first SYN is repeated after 1 s", "首个 SYN 1 秒后重传"),
    claim=T("First retransmission after 1 s; 3 s on some systems.", "1 秒后首次重传；有的系统是 3 秒。"),
    truth="true",
    source="S0 S1; RFC 6298 2.1; RFC 2988; TCP_TIMEOUT_INIT",
    why=T(
        "Nothing is known of the path yet. RFC 2988 said 3 s, RFC 6298 says 1 s, Linux follows since 3.1.",
        "此时对路径一无所知。RFC 2988 规定 3 秒，RFC 6298 改为 1 秒，Linux 自 3.1 起遵循。",
    ),
    practice=T(
        "A connect() of 1.0x or 3.0x s in your latency graph is one lost SYN.",
        "延迟图上 1.0x 或 3.0x 秒的 connect() 就是丢了一个 SYN。",
    ),
    on=("sim", "kernel", "live"),
)
def first_repetition(bench: Bench) -> Verdict:
    found = []
    worlds = [(bench, SEC)]
    if bench.on == "sim":
        worlds.append((bench.another(T("linux-2.6.32", "linux-2.6.32"), profile="linux-2.6.32"), 3 * SEC))
    for world, expected in worlds:
        world.drop("first SYN")
        world.listen(world.program("server"))
        client = world.program("client")
        fd = world.connect(client)
        came = world.outcome(client, fd)
        times = world.times(world.sent("client", flags="S"))
        world.check_times(T("SYNs sent at", "SYN 发送时刻"), times, [0, expected])
        world.check(T("connect()", "connect()"), came, "OK")
        found.append(in_seconds(times[1:]))
    return bench.verdict(
        T(
            f"sent again after {found[0]}; on 2.6.32 {found[-1]}" if len(found) > 1 else f"sent again after {found[0]}",
            f"{found[0]} 后重传" + (f"；2.6.32 为 {found[-1]}" if len(found) > 1 else ""),
        )
    )


@lab(
    "EST-25",
    title=T("The first timeout can be changed after all", "初始超时并非写死"),
    claim=T("It is hard-wired: changing it needs a new kernel.", "初始超时写死在内核，改它要重新编译。"),
    truth="simplification",
    source="S1; BPF_SOCK_OPS_TIMEOUT_INIT (Linux 4.13); RFC 6298 2.1",
    why=T(
        "There is no sysctl for it, but a BPF program of type sock_ops may set it for each connection of a cgroup.",
        "没有对应的 sysctl，但 sock_ops 类型的 BPF 程序可为 cgroup 中每个连接设置。",
    ),
    practice=T(
        "Inside a data centre BPF with 50 ms makes a lost SYN cheap. Abroad it would repeat needlessly.",
        "数据中心内用 BPF 设为 50 ms 可让丢失的 SYN 代价很小；广域网上会多余重传。",
    ),
    on=SIM,
    sysctl={LINEAR: 0, SYN_RETRIES: 3},
)
def changed_timeout(bench: Bench) -> Verdict:
    with_initial_rto(3 * SEC, bench.simulated("client"))
    bench.drop("every SYN")
    client = bench.program("client")
    fd = bench.connect(client)
    error = bench.outcome(client, fd)
    times = bench.times(bench.sent("client", flags="S"))
    bench.check_times(T("with 3 s: SYNs sent at", "设为 3 秒：SYN 发送时刻"), times, [0, 3 * SEC, 9 * SEC, 21 * SEC])
    bench.check(T("connect()", "connect()"), error, "ETIMEDOUT")
    return bench.verdict(T(f"SYN at {in_seconds(times)}", f"SYN 发送于 {in_seconds(times)}"))


@lab(
    "EST-26",
    title=T("tcp_syn_retries: 5 or 6?", "tcp_syn_retries：5 还是 6？"),
    claim=T("One article: 6 by default. Two others: 5.", "一文说默认 6，另两文说 5。"),
    truth="sources disagree",
    source="S0 S1 S3; ip-sysctl.rst tcp_syn_retries; TCP_SYN_RETRIES",
    why=T(
        "Both were right in their time: 5 up to Linux 3.6, 6 since 3.7, which with the 1 s timeout makes 127 s.",
        "都曾正确：Linux 3.6 及之前为 5，3.7 起为 6，配合 1 秒初始超时共 127 秒。",
    ),
    practice=T(
        "Ask the machine: `sysctl net.ipv4.tcp_syn_retries`.", "以机器为准：`sysctl net.ipv4.tcp_syn_retries`。"
    ),
    on=SIM,
)
def default_retries(bench: Bench) -> Verdict:
    told = []
    worlds = [
        (bench, "linux-6.18", 6),
        (bench.another(T("linux-2.6.32", "linux-2.6.32"), profile="linux-2.6.32"), "linux-2.6.32", 5),
    ]
    for world, name, expected in worlds:
        world.configure({LINEAR: 0})
        world.drop("every SYN")
        client = world.program("client")
        fd = world.connect(client)
        world.outcome(client, fd)
        again = len(world.sent("client", flags="S")) - 1
        world.check(T(f"retransmissions on {name}", f"{name} 的重传次数"), again, expected)
        told.append(f"{name} {again}")
    return bench.verdict(T(", ".join(told), "，".join(told)))


@lab(
    "EST-29",
    title=T("Failing fast inside a network", "内网中快速失败"),
    claim=T("Lower tcp_syn_retries on intranets to expose errors fast.", "内网可调低 tcp_syn_retries，尽快暴露错误。"),
    truth="true",
    source="S0; tcp(7) TCP_SYNCNT, TCP_USER_TIMEOUT",
    why=T(
        "Where a round trip takes a millisecond, a minute of patience helps nobody. One socket alone can be told"
        " so with"
        " TCP_SYNCNT (a count) or TCP_USER_TIMEOUT (a time).",
        "往返只需一毫秒的网络里，等一分钟毫无意义。单个套接字可用 TCP_SYNCNT（次数）或 TCP_USER_TIMEOUT（时间）。",
    ),
    practice=T(
        "Prefer the socket option: the sysctl also shortens connections to far hosts. Or a timer of your own"
        " with close().",
        "优先用套接字选项：sysctl 会连带影响远程连接。也可自设定时器后 close()。",
    ),
    on=ANYWHERE,
    sysctl={LINEAR: 0},
)
def failing_fast(bench: Bench) -> Verdict:
    bench.drop("every SYN")
    client = bench.program("client")
    told = []
    for name, option, value, expected in (
        ("TCP_SYNCNT=1", socket.TCP_SYNCNT, 1, 3 * SEC),
        ("TCP_USER_TIMEOUT=2000", socket.TCP_USER_TIMEOUT, 2000, 2 * SEC),
    ):
        fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setsockopt(fd, socket.IPPROTO_TCP, option, value)
        begun = bench.now
        bench.try_connect(client, fd)
        error = bench.outcome(client, fd)
        took = bench.now - begun
        bench.check(T(f"{name}: connect()", f"{name}：connect()"), error, "ETIMEDOUT")
        bench.check_time(T("after", "用时"), took, expected)
        told.append(f"{name} {in_seconds([took])}")
    return bench.verdict(T("; ".join(told), "；".join(told)))


def _counts(entry: Received) -> bool:
    """Whether something arrived that has to be acknowledged."""
    return isinstance(entry.packet, Segment) and entry.packet.seq_len > 0


def _lose_an_ack(bench: Bench, fault: str, opening: bool) -> None:
    """A connection with one acknowledgment lost on its way; `opening`: only its beginning."""
    bench.drop(fault)
    pair = bench.open()
    bench.run(1500 * MSEC)
    if opening:
        return
    pair.client.send(pair.cfd, b"0123456789")
    bench.run(SEC)
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    bench.run(SEC)


@lab(
    "EST-33",
    title=T("An ACK is never sent again", "纯 ACK 从不重传"),
    claim=T(
        "ACKs are not retransmitted; the peer retransmits what was to be acknowledged.",
        "ACK 不重传；由对端重传需要确认的内容。",
    ),
    truth="true",
    source="S1 S2 S4; RFC 9293 3.8",
    why=T(
        "A pure ACK has no number that could be acknowledged, so its sender cannot know that it was lost. The other"
        " side's timer repairs it.",
        "纯 ACK 不占序号，发送方无从知道它丢了；由对端的定时器补救。",
    ),
    practice=T(
        "Lost ACKs cost little: the next one says the same and more. Look at data retransmissions instead.",
        "ACK 丢失代价小：下一个会包含它。排查时看数据重传。",
    ),
    on=ANYWHERE,
)
def acks_are_not_repeated(bench: Bench) -> Verdict:
    cases = (
        ("first ACK from client", T("third segment lost", "第三个报文丢失"), "server", "SA"),
        ("first ACK from server", T("ACK of data lost", "数据的 ACK 丢失"), "client", "A"),
        ("second ACK from server", T("ACK of the FIN lost", "FIN 的 ACK 丢失"), "client", "FA"),
    )
    told = []
    for number, (fault, name, repeats, flags) in enumerate(cases):
        world = bench if number == 0 else bench.another(name)
        _lose_an_ack(world, fault, number == 0)
        sent = world.sent(repeats, flags=flags, payload=True if flags == "A" else None)
        count = len(sent)
        other = "client" if repeats == "server" else "server"
        acks = len(world.sent(other, flags="A", payload=False))
        taken = sum(isinstance(each, Received) and each.where == other and _counts(each) for each in world.record)
        world.check(T(f"{name.en}: {repeats} sends it", f"{name.zh}：{repeats} 发送次数"), count, 2)
        text = T("ACKs, no more than segments to acknowledge", "ACK 数，不多于待确认的报文数")
        world.check_that(text, acks <= taken, acks, f"at most {taken}")
        told.append(str(count))
    return bench.verdict(
        T(f"what was to be acknowledged is sent {', '.join(told)} times", f"待确认的内容各发送 {'、'.join(told)} 次")
    )


@lab(
    "EST-34",
    title=T("What a server does when the handshake fails", "握手失败时服务端做什么"),
    claim=T(
        "An immediate RST without retransmission; or a RST after timeouts; or nothing.",
        "一说不重传立即 RST，一说超时后 RST，一说直接断开。",
    ),
    truth="sources disagree",
    source="S0 S1 S3; reqsk_timer_handler; RFC 9293 3.8.3",
    why=T(
        "Linux retransmits tcp_synack_retries times, then forgets in silence. A RST would go to an address that may be"
        " forged, and tell an attacker that the slot is free.",
        "Linux 重传 tcp_synack_retries 次后静默删除。若发 RST，可能发往伪造地址，还会告诉攻击者位置已空。",
    ),
    practice=T(
        "Do not wait for a RST in a client: use a timeout, or keepalive.", "客户端不要指望 RST：用超时或 keepalive。"
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    sysctl={SYNACK_RETRIES: 2},
    live={SYNACK_RETRIES: 1},
)
def no_reset_at_the_end(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    bench.puppet.syn()
    bench.until(lambda: bench.sockets("server", State.SYN_RCVD), "a half-open connection")
    bench.until(lambda: not bench.sockets("server", State.SYN_RCVD), "its end", 60 * SEC)
    bench.run(SEC)
    answers = bench.sent("server", flags="SA")
    others = len(bench.sent("server")) - len(answers)
    retries = bench.sysctl(SYNACK_RETRIES)
    gone = bench.moved_at("server", State.CLOSED) - answers[0].time
    bench.check(T("SYN-ACKs", "SYN-ACK 个数"), len(answers), retries + 1)
    bench.check_time(T("gone after", "消失于"), gone, (2 ** (retries + 1) - 1) * SEC)
    bench.check(T("anything else sent", "此外发送的报文"), others, 0)
    return bench.verdict(
        T(
            f"{len(answers)} SYN-ACKs, gone after {in_seconds([gone])}, {others} RSTs",
            f"{len(answers)} 个 SYN-ACK，{in_seconds([gone])} 后消失，RST {others} 个",
        )
    )


@lab(
    "EST-35",
    title=T("The server gave up; the client does not know", "服务端已放弃，客户端并不知道"),
    claim=T("After the server gave up, the client should also close.", "服务端超时放弃后，客户端也应关闭。"),
    truth="wrong",
    source="S3; RFC 9293 3.5.1 half-open connections",
    why=T(
        "For the client the handshake is over: it stays ESTABLISHED until it sends. Only then a RST tells it that there"
        " is no connection, with recv() giving ECONNRESET.",
        "对客户端而言握手已完成：它保持 ESTABLISHED，直到发送数据才收到 RST，recv() 得到 ECONNRESET。",
    ),
    practice=T(
        "A client that only waits (server speaks first) needs keepalive or its own timeout.",
        "只等待的客户端（服务端先说话）需要 keepalive 或自己的超时。",
    ),
    on=ANYWHERE,
    sysctl={SYNACK_RETRIES: 1},
)
def half_open_client(bench: Bench) -> Verdict:
    bench.drop("every ACK from client")
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    fd = bench.connect(client, sport=SPORT)
    bench.outcome(client, fd)
    begun = bench.now
    bench.run(5 * SEC - bench.now % SEC)
    gone = bench.moved_at("server", State.CLOSED) - bench.sent("server", flags="SA")[0].time
    state = bench.state("client")
    bench.link.heal()
    client.send(fd, b"anybody there?")
    bench.run(200 * MSEC)
    error = bench.attempt(lambda: client.recv(fd, 10))
    data = segment(bench.sent("client", payload=True)[0])
    resets = [segment(entry) for entry in bench.sent("server", flags="R")]
    bench.check_time(T("the server's half-open connection is gone after", "服务端半连接消失于"), gone, 3 * SEC)
    bench.check(
        T(
            f"client {(bench.now - begun) // SEC} s after connect()",
            f"connect() 之后 {(bench.now - begun) // SEC} 秒的客户端",
        ),
        state,
        State.ESTABLISHED,
    )
    bench.check(
        T("its data is answered by RSTs with seq", "其数据得到 RST，序号"), [reset.seq for reset in resets], [data.ack]
    )
    bench.check(T("recv()", "recv()"), error, "ECONNRESET")
    return bench.verdict(
        T(
            f"server gone after {in_seconds([gone])}, client {state.rfc_name} until it sends: {error}",
            f"服务端 {in_seconds([gone])} 后消失，客户端 {state.rfc_name}，发送后 {error}",
        )
    )
