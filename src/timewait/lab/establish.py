"""What each of the three segments does, and what it may carry."""

import socket

from timewait.base.instant import MSEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import SPORT
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.record.entries import Received
from timewait.tcp.states import State
from timewait.wire.packet import Segment

_PUPPET = ("sim", "kernel")
_FAST_OPEN = {"net.ipv4.tcp_fastopen": 3}


@lab(
    "EST-02",
    title=T("Must one side be passive?", "必须有一方被动打开吗？"),
    claim=T(
        "One article: one side opens actively, the other passively. Another: simultaneous open needs no listener.",
        "一文说必须一方主动、一方被动；另一文说同时打开不需要监听者。",
    ),
    truth="sources disagree",
    source="S0 S1; RFC 9293 3.5 MUST-10",
    why=T(
        "Two active opens that meet make one connection. It is rare, since both must use each other's port within a"
        " round trip; passive open is the custom, not the rule.",
        "两个相遇的主动打开也能建成一个连接。因双方须在一个往返内互用对方端口，很少见；被动打开只是惯例。",
    ),
    practice=T(
        "Peers behind NATs use it: both bind a known port and connect at the same time.",
        "NAT 后的对等端就这样打洞：双方绑定已知端口并同时 connect()。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
)
def both_active(bench: Bench) -> Verdict:
    one, two = bench.program("client"), bench.program("server")
    first = one.socket(socket.AF_INET, socket.SOCK_STREAM)
    second = two.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.bind(first, ("0.0.0.0", 7001))
    two.bind(second, ("0.0.0.0", 7002))
    bench.try_connect(one, first, to="server", port=7002)
    bench.try_connect(two, second, to="client", port=7001)
    came = [bench.outcome(one, first), bench.outcome(two, second)]
    bench.run(200 * MSEC)
    one.send(first, b"no listener")
    got = bench.read(two, second, 11)
    listeners = len(bench.entered("client", State.LISTEN)) + len(bench.entered("server", State.LISTEN))
    bench.check(T("connect() at both ends", "两端 connect()"), came, ["OK", "OK"])
    bench.check(T("listeners", "监听者"), listeners, 0)
    bench.check(T("data passes", "数据通过"), got, b"no listener")
    return bench.verdict(T(f"both {came[0]} with {listeners} listeners", f"双方 {came[0]}，监听者 {listeners} 个"))


@lab(
    "EST-03",
    title=T("When the server makes its control block", "服务端何时创建控制块"),
    claim=T("The server creates the TCB before any client arrives.", "服务端先创建传输控制块 TCB，等待请求。"),
    truth="simplification",
    source="S0; tcp_conn_request; tcp_v4_syn_recv_sock",
    why=T(
        "What waits is a listener, which is no connection. A SYN makes a small request (320 bytes on Linux), the third"
        " segment the full block (2368 bytes).",
        "等待的只是监听套接字，不是连接。SYN 到来时创建小的 request（Linux 上 320 字节），"
        "第三个报文才创建完整控制块（2368 字节）。",
    ),
    practice=T("Half-open ones: `ss -tn state syn-recv`.", "查看半连接：`ss -tn state syn-recv`。"),
    on=_PUPPET,
    topology="puppet-client",
)
def when_blocks_are_made(bench: Bench) -> Verdict:
    puppet = bench.puppet
    states = (State.LISTEN, State.SYN_RCVD, State.ESTABLISHED)

    def count() -> list[int]:
        bench.run(50 * MSEC)
        return [len(bench.sockets("server", state)) for state in states]

    server = bench.program("server")
    bench.listen(server)
    found = [count()]
    puppet.syn()
    found.append(count())
    puppet.send("A", seq=1, ack=1)
    found.append(count())
    names = (
        T("before any client", "无客户端时"),
        T("after the SYN", "SYN 之后"),
        T("after the third segment", "第三个报文之后"),
    )
    for name, numbers, wanted in zip(names, found, ([1, 0, 0], [1, 1, 0], [1, 0, 1]), strict=True):
        bench.check(
            T(f"{name.en}: LISTEN, SYN-RECEIVED, ESTABLISHED", f"{name.zh}：LISTEN、SYN-RECEIVED、ESTABLISHED"),
            numbers,
            wanted,
        )
    told = "; ".join("/".join(map(str, numbers)) for numbers in found)
    return bench.verdict(T(f"listener/half-open/open: {told}", f"监听/半连接/连接：{told}"))


@lab(
    "EST-04",
    title=T("Does a SYN carry seq=1?", "SYN 的序号是 1 吗？"),
    claim=T(
        "One article: x is generally 1. Others: a random number that changes with time.",
        "一文说 x 一般为 1；其余说是随时间变化的随机数。",
    ),
    truth="sources disagree",
    source="S0 S1 S3; RFC 9293 3.4.1; RFC 6528",
    why=T(
        "The number is a clock plus a keyed hash of the four-tuple. Small numbers are what capture tools show: they"
        " count from the SYN.",
        "序号是时钟加四元组的带密钥散列。小数字只是抓包工具的相对显示。",
    ),
    practice=T(
        "Wireshark: Preferences, TCP, 'Relative sequence numbers' shows the raw ones.",
        "Wireshark 首选项 TCP 中取消“相对序号”可看原始值。",
    ),
    on=ANYWHERE,
)
def first_number(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    for _ in range(5):
        fd = bench.connect(client)
        bench.outcome(client, fd)
    numbers = [segment(entry).seq for entry in bench.sent("client", flags="S")]
    ones = sum(number == 1 for number in numbers)
    bench.check(T("different numbers in 5 SYNs", "5 个 SYN 中不同的序号"), len(set(numbers)), 5)
    bench.check(T("of them equal to 1", "其中等于 1 的"), ones, 0)
    return bench.verdict(
        T(
            f"{len(set(numbers))} different numbers, {ones} of them 1",
            f"{len(set(numbers))} 个不同序号，等于 1 的 {ones} 个",
        )
    )


@lab(
    "EST-07",
    title=T("SYN-ACK: ack=x+1, seq=y", "SYN-ACK 的内容：ack=x+1，seq=y"),
    claim=T(
        "The server answers with SYN and ACK and its own number y, and is in SYN-RECEIVED.",
        "服务端回 SYN+ACK，带自己的序号 y，进入 SYN-RECEIVED。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.10.7.2",
    why=T(
        "One segment acknowledges the client's number and announces the server's.",
        "一个报文同时确认客户端序号并宣布自己的序号。",
    ),
    practice=T(
        "Many SYN-RECV in `ss`: the third segments do not come (flood, or a lossy way back).",
        "`ss` 中 SYN-RECV 很多：第三个报文没来（攻击或回程丢包）。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def second_segment(bench: Bench) -> Verdict:
    server = bench.program("server")
    bench.listen(server)
    puppet = bench.puppet
    puppet.syn(iss=777)
    bench.until(puppet.segments, "the SYN-ACK")
    answer = puppet.segments()[0]
    bench.check(T("flags", "标志"), bench.flags(answer), "SYN-ACK")
    bench.check(T("ack", "确认号"), answer.ack, 778)
    bench.check_that(
        T("seq is its own", "序号是自己的"), answer.seq not in (0, 1, 777, 778), answer.seq, "a number of its own"
    )
    bench.check(T("server", "服务端"), bench.state("server"), State.SYN_RCVD)
    return bench.verdict(
        T(
            f"{bench.flags(answer)} ack={answer.ack}, SYN-RECEIVED",
            f"{bench.flags(answer)} ack={answer.ack}，SYN-RECEIVED",
        )
    )


@lab(
    "EST-09",
    title=T("The third segment uses up no number", "第三个报文不消耗序号"),
    claim=T("seq=x+1, ack=y+1; an empty ACK consumes no number.", "seq=x+1，ack=y+1；空 ACK 不消耗序号。"),
    truth="true",
    source="S0 S1; RFC 9293 3.4",
    why=T(
        "Only what must be acknowledged is numbered; acknowledging acknowledgments would never end.",
        "只有需要确认的才编号；确认“确认”将无穷无尽。",
    ),
    practice=T(
        "Two segments with the same seq in a capture need not be a retransmission: one may be empty.",
        "抓包中序号相同的两个报文未必是重传：可能一个是空的。",
    ),
    on=ANYWHERE,
)
def third_segment(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"0123456789")
    bench.run(100 * MSEC)
    third = bench.sent("client", flags="A", payload=False)[0]
    data = bench.sent("client", payload=True)[0]
    numbers = [bench.relative_seq(third), bench.relative_ack(third), bench.relative_seq(data)]
    bench.check(T("third segment: seq, ack; first data: seq", "第三个报文 seq、ack；首个数据 seq"), numbers, [1, 1, 1])
    return bench.verdict(
        T(
            f"third segment seq {numbers[0]}, data seq {numbers[2]}",
            f"第三个报文 seq {numbers[0]}，数据 seq {numbers[2]}",
        )
    )


@lab(
    "EST-12",
    title=T("The two ends are ready at different times", "两端就绪时刻不同"),
    claim=T(
        "The client is ESTABLISHED on the SYN-ACK, the server on the ACK.",
        "客户端收到 SYN-ACK 即 ESTABLISHED，服务端收到 ACK 才是。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.5 figure 6",
    why=T(
        "Each is ready when its own SYN has been acknowledged: half a round trip apart.",
        "各自的 SYN 被确认即就绪：相差半个往返。",
    ),
    practice=T(
        "A server that speaks first (SMTP, SSH) is heard after one and a half round trips and the way back.",
        "服务端先说话的协议（SMTP、SSH）要在一个半往返后才开口。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
)
def ready_at_different_times(bench: Bench) -> Verdict:
    bench.open()
    begun = bench.sent("client", flags="S")[0].time
    times = [bench.moved_at(host, State.ESTABLISHED) - begun for host in ("client", "server")]
    half = bench.lab.rtt // 2
    bench.check_times(
        T("client, server ESTABLISHED after", "客户端、服务端 ESTABLISHED 于"), times, [2 * half, 3 * half]
    )
    apart = (times[1] - times[0]) // MSEC
    return bench.verdict(T(f"{apart} ms apart", f"相差 {apart} ms"))


@lab(
    "EST-38",
    title=T("How soon the SYN-ACK comes", "SYN-ACK 多快到来"),
    claim=T("A normal server answers within milliseconds.", "正常服务端在几毫秒内应答。"),
    truth="true",
    source="S0; RFC 9293 3.10.7.2",
    why=T(
        "The kernel answers, no program is involved: the round trip is all there is to wait for.",
        "由内核应答，不经过程序：只需等一个往返。",
    ),
    practice=T(
        "The time from SYN to SYN-ACK measures the network; from request to answer, the program as well.",
        "SYN 到 SYN-ACK 的时间反映网络；请求到应答则还含程序。",
    ),
    on=ANYWHERE,
)
def answer_time(bench: Bench) -> Verdict:
    told = []
    for rtt in (2 * MSEC, 20 * MSEC, 200 * MSEC):
        bench.link.configure(delay=rtt // 2)
        server, client = bench.program("server"), bench.program("client")
        port = 100 + rtt // MSEC
        bench.listen(server, port=port)
        begun = bench.now
        fd = bench.connect(client, port=port)
        bench.outcome(client, fd)
        arrived = [
            entry.time - begun
            for entry in bench.record
            if isinstance(entry, Received) and entry.where == "client" and isinstance(entry.packet, Segment)
            and entry.packet.sport == port
        ]  # fmt: skip
        bench.check_time(
            T(f"RTT {rtt // MSEC} ms: SYN-ACK after", f"RTT {rtt // MSEC} ms：SYN-ACK 于"), arrived[0], rtt
        )
        told.append(f"{arrived[0] / MSEC:.0f}")
    return bench.verdict(
        T(f"{', '.join(told)} ms for RTTs of 2, 20, 200 ms", f"RTT 2、20、200 ms 时为 {'、'.join(told)} ms")
    )


@lab(
    "EST-23",
    title=T("A SYN sent again has the same number", "重传的 SYN 序号相同"),
    claim=T(
        "SYN retransmissions keep the sequence number; a rebooted client's SYN has another.",
        "SYN 重传序号不变；重启后的客户端用另一个。",
    ),
    truth="true",
    source="S1; RFC 9293 3.8.1; tcp_retransmit_skb",
    why=T(
        "It is the same SYN, so its number stays; its timestamp is new. A new connect() reads the clock again.",
        "同一个 SYN 序号不变，时间戳更新；新的 connect() 重新取时钟。",
    ),
    practice=T(
        "Same port, other number: the client gave up and came again, or is another one behind the same NAT.",
        "同端口不同序号：客户端放弃后重来，或是同一 NAT 后的另一台。",
    ),
    on=ANYWHERE,
    sysctl={"net.ipv4.tcp_syn_linear_timeouts": 4},
)
def same_number(bench: Bench) -> Verdict:
    client = bench.program("client")
    lost = bench.drop("first 3 SYN")
    fd = bench.connect(client, sport=SPORT)
    bench.run(2500 * MSEC)
    lost.undo()
    client.close(fd)
    syns = [segment(entry) for entry in bench.sent("client", flags="S")]
    bench.connect(client, sport=SPORT)
    bench.run(50 * MSEC)
    new = segment(bench.sent("client", flags="S")[-1])
    numbers = {syn.seq for syn in syns}
    stamps = {syn.tsval for syn in syns}
    bench.check(T("SYNs of one connect()", "一次 connect() 的 SYN"), len(syns), 3)
    bench.check(T("different numbers among them", "其中不同的序号"), len(numbers), 1)
    bench.check(T("different timestamps", "不同的时间戳"), len(stamps), 3)
    bench.check(T("a new connect() has another number", "新的 connect() 序号不同"), new.seq not in numbers, True)
    return bench.verdict(
        T(
            f"{len(syns)} SYNs, {len(numbers)} number, {len(stamps)} timestamps",
            f"{len(syns)} 个 SYN，{len(numbers)} 个序号，{len(stamps)} 个时间戳",
        )
    )
