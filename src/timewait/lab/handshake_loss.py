"""Each packet of the handshake lost: who sends again, when, and when it gives up."""

from timewait.base.instant import MSEC, SEC
from timewait.lab import nominal
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State

SYN_RETRIES = "net.ipv4.tcp_syn_retries"
LINEAR = "net.ipv4.tcp_syn_linear_timeouts"
SYNACK_RETRIES = "net.ipv4.tcp_synack_retries"

_SYN_PRACTICE = T(
    "Shorten it per socket with TCP_USER_TIMEOUT or TCP_SYNCNT, or for the whole host with net.ipv4.tcp_syn_retries."
    " The cost: a path that is down for a few seconds now fails the connection.",
    "可用套接字选项 TCP_USER_TIMEOUT 或 TCP_SYNCNT 缩短，也可用 net.ipv4.tcp_syn_retries 对整机生效。"
    "代价：网络短暂中断几秒就会连接失败。",
)


def _syn_timeout(bench: Bench) -> Verdict:
    """connect() to a host whose answers never come."""
    bench.drop("every SYN from client")
    client = bench.program("client")
    fd = bench.connect(client)
    error = bench.outcome(client, fd)
    failed = bench.now
    syns = bench.sent("client", flags="S")
    retries, linear = bench.sysctl(SYN_RETRIES, "client"), bench.sysctl(LINEAR, "client")
    rto = SEC if bench.is_kernel("client") else profile_named(bench.profile).rto_init
    times, end = nominal.syn(retries, linear, rto)
    bench.check_times(T("SYNs sent at", "SYN 发送时刻"), bench.times(syns), times)
    numbers = {segment(entry).seq for entry in syns}
    bench.check(T("different sequence numbers among them", "其中不同序号的个数"), len(numbers), 1)
    waited = failed - syns[0].time
    bench.check_time(T("connect() fails after", "connect() 失败于"), waited, end)
    bench.check(T("with", "错误码"), error, "ETIMEDOUT")
    told, count = in_seconds([waited]), len(syns) - 1
    return bench.verdict(
        T(f"{error} after {told}, {count} retransmissions", f"重传 {count} 次，{told} 后 {error}"),
        T(
            f"The SYN went out at {in_seconds(bench.times(syns))}; connect() gave {error} after {told}."
            f" tcp_syn_retries was {retries}, tcp_syn_linear_timeouts {linear}.",
            f"SYN 发送于 {in_seconds(bench.times(syns))}；connect() 在 {told} 后返回 {error}。"
            f"tcp_syn_retries 为 {retries}，tcp_syn_linear_timeouts 为 {linear}。",
        ),
    )


@lab(
    "EST-27",
    title=T("How long connect() waits for a silent server", "服务器无应答时 connect() 等多久"),
    claim=T(
        "63 s (one article), 127 s (another), about 180 s (a third).",
        "一文说 63 秒，一文说 127 秒，一文说约 180 秒。",
    ),
    truth="sources disagree",
    source="S0 S1 S3; RFC 6298 5; ip-sysctl.rst tcp_syn_retries, tcp_syn_linear_timeouts",
    why=T(
        "Each timeout doubles the wait: 1+2+4+...+64 = 127 s with 6 retries. Since Linux 6.5 four timeouts of 1 s come"
        " first, which makes 131 s. With 5 retries it was 63 s; kernels before 3.1 began at 3 s, which made 189 s.",
        "每次超时等待加倍：重试 6 次共 1+2+4+…+64 = 127 秒。Linux 6.5 起先有 4 次不加倍的 1 秒超时，总计 131 秒。"
        "重试 5 次时为 63 秒；3.1 之前的内核从 3 秒起算，共 189 秒。",
    ),
    practice=_SYN_PRACTICE,
    on=ANYWHERE,
    live={SYN_RETRIES: 2},
    variants={
        "default": T("as Linux 6.5 and newer do: four timeouts of 1 s first", "Linux 6.5 起：先有 4 次 1 秒超时"),
        "classic": T("tcp_syn_linear_timeouts=0, as before 6.5", "tcp_syn_linear_timeouts=0，即 6.5 之前"),
    },
)
def syn_timeout(bench: Bench) -> Verdict:
    if bench.variant == "classic":
        bench.configure({LINEAR: 0})
    return _syn_timeout(bench)


@lab(
    "EST-28",
    title=T("tcp_syn_retries=3: SYN at 0, 1, 3, 7 s", "tcp_syn_retries=3：SYN 发送于 0、1、3、7 秒"),
    claim=T(
        "After 3 retransmissions it waits twice the last timeout and then fails: 15 s in all.",
        "重传 3 次后再等上次超时的两倍便失败：共 15 秒。",
    ),
    truth="true",
    source="S1; ip-sysctl.rst tcp_syn_retries; tcp_write_timeout",
    why=T(
        "True with tcp_syn_linear_timeouts=0. With the default 4 of Linux 6.5, up to four more SYNs go out at"
        " intervals of 1 s and the attempt ends after 19 s.",
        "在 tcp_syn_linear_timeouts=0 时属实。Linux 6.5 的默认值 4 会先多发至多 4 个间隔 1 秒的 SYN，19 秒后才失败。",
    ),
    practice=_SYN_PRACTICE,
    on=ANYWHERE,
    sysctl={SYN_RETRIES: 3},
    variants={
        "classic": T("tcp_syn_linear_timeouts=0", "tcp_syn_linear_timeouts=0"),
        "linear": T("tcp_syn_linear_timeouts=4, the default", "tcp_syn_linear_timeouts=4，默认值"),
    },
)
def syn_retries(bench: Bench) -> Verdict:
    if bench.variant == "classic":
        bench.configure({LINEAR: 0})
    return _syn_timeout(bench)


@lab(
    "EST-30",
    title=T("SYN-ACK lost: both sides send again", "SYN-ACK 丢失：双方都重传"),
    claim=T(
        "Client and server retransmit independently; with tcp_syn_retries=1 and tcp_synack_retries=2 the client gives"
        " up after one, the server after two.",
        "客户端与服务端各自重传；tcp_syn_retries=1、tcp_synack_retries=2 时，客户端一次、服务端两次后放弃。",
    ),
    truth="true",
    source="S1; tcp_check_req; reqsk_timer_handler",
    why=T(
        "Each side has a timer of its own. A repeated SYN is answered at once with another SYN-ACK, which counts as no"
        " retry and starts the server's timer anew.",
        "双方各有定时器。收到重复的 SYN 会立即再发一个 SYN-ACK，这不计入重试次数，但会重启服务端的定时器。",
    ),
    practice=T(
        "Lower net.ipv4.tcp_synack_retries to free half-open entries earlier; the cost is fewer chances on lossy"
        " paths.",
        "降低 net.ipv4.tcp_synack_retries 可更早释放半连接；代价是在丢包链路上少了重试机会。",
    ),
    on=ANYWHERE,
    sysctl={SYN_RETRIES: 1, LINEAR: 0, SYNACK_RETRIES: 2},
)
def syn_ack_lost(bench: Bench) -> Verdict:
    bench.drop("every SYN-ACK")
    # Held back, the first SYN arrives so that the second one meets a timer that has not run out yet.
    held = 200 * MSEC
    bench.link.hold("first SYN", held)
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    fd = bench.connect(client)
    error = bench.outcome(client, fd)
    failed = bench.now
    syns = bench.sent("client", flags="S")
    bench.within(lambda: not bench.sockets("server", State.SYN_RCVD), 20 * SEC)
    answers = bench.sent("server", flags="SA")
    gone = bench.moved_at("server", State.CLOSED) - answers[0].time
    bench.check_times(T("SYNs sent at", "SYN 发送时刻"), bench.times(syns), [0, SEC])
    bench.check_time(T("connect() fails after", "connect() 失败于"), failed - syns[0].time, 3 * SEC)
    bench.check(T("with", "错误码"), error, "ETIMEDOUT")
    # The repeated SYN is answered at once, and the timer starts again from there.
    again = SEC - held
    expected = [0, again, again + SEC, again + 3 * SEC]
    bench.check_times(T("SYN-ACKs sent at", "SYN-ACK 发送时刻"), bench.times(answers), expected)
    bench.check_time(T("half-open entry gone after", "半连接消失于"), gone, again + 7 * SEC)
    bench.check(T("RSTs", "RST 个数"), len(bench.sent(flags="R")) + len(bench.sent(flags="RA")), 0)
    told = in_seconds([failed - syns[0].time])
    return bench.verdict(
        T(
            f"client: {len(syns)} SYNs, {error} after {told}; server: {len(answers)} SYN-ACKs, gone after"
            f" {in_seconds([gone])}",
            f"客户端：{len(syns)} 个 SYN，{told} 后 {error}；服务端：{len(answers)} 个 SYN-ACK，"
            f"{in_seconds([gone])} 后消失",
        )
    )


@lab(
    "EST-31",
    title=T("SYN-ACK unanswered: sent again after 1, 2, 4, 8, 16 s", "SYN-ACK 无应答：间隔 1、2、4、8、16 秒重传"),
    claim=T(
        "tcp_synack_retries is 5 by default; the interval doubles, then the entry leaves the queue.",
        "tcp_synack_retries 默认 5；间隔加倍，用尽后从队列移除。",
    ),
    truth="true",
    source="S0 S1; ip-sysctl.rst tcp_synack_retries; reqsk_timer_handler",
    why=T(
        "The last of 5 retransmissions goes out at 31 s, and the entry waits 32 s more. It then vanishes without a"
        " packet. tcp_syn_linear_timeouts has no part in it.",
        "第 5 次重传在 31 秒发出，之后再等 32 秒，条目静默消失。tcp_syn_linear_timeouts 与此无关。",
    ),
    practice=T(
        "net.ipv4.tcp_synack_retries=2 frees a slot after 7 s instead of 63 s; clients on very lossy paths then must"
        " begin again.",
        "net.ipv4.tcp_synack_retries=2 可使条目 7 秒（而非 63 秒）释放；代价是丢包严重的客户端需要重连。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    live={SYNACK_RETRIES: 1},
)
def syn_ack_unanswered(bench: Bench) -> Verdict:
    server = bench.program("server")
    bench.listen(server)
    bench.puppet.syn()
    bench.until(lambda: bench.sockets("server", State.SYN_RCVD), "a half-open connection")
    bench.until(lambda: not bench.sockets("server", State.SYN_RCVD), "its end", 600 * SEC)
    answers = bench.sent("server", flags="SA")
    retries = bench.sysctl(SYNACK_RETRIES)
    gone = bench.moved_at("server", State.CLOSED) - answers[0].time
    expected = nominal.doubling(SEC, retries + 1)
    bench.check_times(T("SYN-ACKs sent at", "SYN-ACK 发送时刻"), bench.times(answers), expected)
    bench.check_time(T("entry gone after", "条目消失于"), gone, (2 ** (retries + 1) - 1) * SEC)
    bench.check(T("other segments from the server", "服务端的其他报文"), len(bench.sent("server")) - len(answers), 0)
    return bench.verdict(
        T(
            f"{len(answers)} SYN-ACKs, gone after {in_seconds([gone])} without an RST",
            f"{len(answers)} 个 SYN-ACK，{in_seconds([gone])} 后消失，没有 RST",
        )
    )


@lab(
    "EST-32",
    title=T("Third ACK lost: the server sends its SYN-ACK again", "第三个 ACK 丢失：服务端重发 SYN-ACK"),
    claim=T(
        "With tcp_synack_retries=2 the SYN-ACK goes out at 0, 1 and 3 s, and at 7 s the server gives up; one ACK that"
        " arrives in between completes the handshake.",
        "tcp_synack_retries=2 时 SYN-ACK 发送于 0、1、3 秒，7 秒放弃；其间任一 ACK 到达即完成握手。",
    ),
    truth="true",
    source="S1 S3; RFC 9293 3.10.7.4; tcp_check_req",
    why=T(
        "An ACK is never sent again by itself. The server repeats the SYN-ACK, and the client, long ESTABLISHED,"
        " answers each with another ACK.",
        "ACK 不会自行重传。服务端重发 SYN-ACK，早已 ESTABLISHED 的客户端对每个都再回一个 ACK。",
    ),
    practice=T(
        "Between 0 and 7 s the client believes in a connection that the server has not accepted: a client that speaks"
        " first repairs it with its data; one that waits for a banner needs a timeout.",
        "这段时间客户端以为已连接而服务端尚未接受：先发言的客户端会靠数据修复；等待对方先发言的需要设超时。",
    ),
    on=ANYWHERE,
    sysctl={SYNACK_RETRIES: 2},
    variants={
        "first": T("only the first ACK is lost", "只丢第一个 ACK"),
        "every": T("every ACK is lost", "每个 ACK 都丢"),
    },
)
def third_ack_lost(bench: Bench) -> Verdict:
    bench.drop("every ACK from client" if bench.variant == "every" else "first ACK from client")
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    fd = bench.connect(client)
    came = bench.outcome(client, fd)
    bench.check(T("connect() at the client", "客户端 connect()"), came, "OK")
    retries = bench.sysctl(SYNACK_RETRIES)
    if bench.variant == "first":
        bench.until(lambda: bench.state("server") is State.ESTABLISHED, "the server to be ESTABLISHED")
        answers = bench.sent("server", flags="SA")
        done = bench.moved_at("server", State.ESTABLISHED) - answers[0].time
        bench.check_times(T("SYN-ACKs sent at", "SYN-ACK 发送时刻"), bench.times(answers), [0, SEC])
        bench.check_time(T("server ESTABLISHED after", "服务端 ESTABLISHED 于"), done, SEC + bench.lab.rtt)
        text = T(f"SYN-ACK again, ESTABLISHED after {in_seconds([done])}", f"重发 SYN-ACK，{in_seconds([done])} 后建立")
        return bench.verdict(text)
    bench.until(lambda: not bench.sockets("server", State.SYN_RCVD), "the server to give up", 600 * SEC)
    answers = bench.sent("server", flags="SA")
    gone = bench.moved_at("server", State.CLOSED) - answers[0].time
    expected = nominal.doubling(SEC, retries + 1)
    bench.check_times(T("SYN-ACKs sent at", "SYN-ACK 发送时刻"), bench.times(answers), expected)
    bench.check_time(T("server gives up after", "服务端放弃于"), gone, (2 ** (retries + 1) - 1) * SEC)
    bench.check(T("the client still believes to be", "客户端仍处于"), bench.state("client"), State.ESTABLISHED)
    bench.check(T("ACKs the client sent", "客户端发出的 ACK"), len(bench.sent("client", flags="A")), retries + 1)
    told = in_seconds([gone])
    return bench.verdict(
        T(
            f"{len(answers)} SYN-ACKs, server gone after {told}, client still ESTABLISHED",
            f"{len(answers)} 个 SYN-ACK，服务端 {told} 后放弃，客户端仍为 ESTABLISHED",
        )
    )


@lab(
    "EST-36",
    title=T("Third ACK lost, then data: the data completes the handshake", "第三个 ACK 丢失后发数据：数据完成握手"),
    claim=T(
        "One article: the data carries an acknowledgment, so the server becomes ESTABLISHED and takes the data."
        " Another: no data can be transferred.",
        "一文说：数据报文带有确认，服务端进入 ESTABLISHED 并接收数据；另一文说：此时无法传输数据。",
    ),
    truth="sources disagree",
    source="S1 S3; RFC 9293 3.10.7.4 fifth check; tcp_check_req",
    why=T(
        "Every segment after the SYN carries the acknowledgment number, so any of them does what the third packet was"
        " to do. The first article is right.",
        "SYN 之后的每个报文都带确认号，任何一个都能起到第三个报文的作用。第一篇是对的。",
    ),
    practice=T(
        "Let the client speak first. TCP_DEFER_ACCEPT makes a server wait for that data before it wakes accept();"
        " the cost is that clients who stay silent are dropped.",
        "让客户端先发言。TCP_DEFER_ACCEPT 让服务端等到数据才唤醒 accept()；代价是不先发言的客户端会被丢弃。",
    ),
    on=ANYWHERE,
)
def data_completes(bench: Bench) -> Verdict:
    bench.drop("first ACK from client")
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    fd = bench.connect(client)
    bench.outcome(client, fd)
    bench.run(10 * MSEC)
    client.send(fd, b"0123456789")
    new = bench.accept(server, listener)
    got = bench.read(server, new, 10)
    bench.run(2 * SEC)
    data = bench.sent("client", payload=True)
    waited = bench.moved_at("server", State.ESTABLISHED) - data[0].time
    ack = bench.relative_ack(bench.sent("server", flags="A")[0])
    bench.check(T("SYN-ACKs", "SYN-ACK 个数"), len(bench.sent("server", flags="SA")), 1)
    bench.check_time(T("ESTABLISHED after the data was sent", "数据发出后多久 ESTABLISHED"), waited, bench.lab.rtt // 2)
    bench.check(T("the server acknowledges", "服务端确认号"), ack, 11)
    bench.check(T("octets read", "读到字节"), len(got), 10)
    bench.check(T("transmissions of the data", "数据发送次数"), len(data), 1)
    return bench.verdict(
        T(
            f"ESTABLISHED {waited / MSEC:.0f} ms after the data was sent, ack={ack}, {len(got)} octets read",
            f"数据发出 {waited / MSEC:.0f} ms 后 ESTABLISHED，ack={ack}，读到 {len(got)} 字节",
        )
    )
