"""Opening a connection when nothing goes wrong: three segments."""

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.tcp.states import State


@lab(
    "EST-01",
    title=T("Three packets open a connection", "三次握手建立连接"),
    claim=T(
        "SYN, SYN-ACK, ACK: the client goes from CLOSED through SYN-SENT, the server from LISTEN through"
        " SYN-RECEIVED to ESTABLISHED.",
        "SYN、SYN-ACK、ACK：客户端由 CLOSED 经 SYN-SENT，服务端由 LISTEN 经 SYN-RECEIVED，到达 ESTABLISHED。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.5 figure 6",
    why=T(
        "Each side must send its initial sequence number and have it acknowledged; the server's SYN and its"
        " ACK travel in one segment. The client is done after one round trip, the server half a trip later.",
        "双方都要发送自己的初始序号并得到确认；服务端的 SYN 与 ACK 合在一个报文里。"
        "客户端一个往返后就绪，服务端再晚半个往返。",
    ),
    practice=T(
        "A connection costs one round trip before the first octet of a request. Keep connections alive, or use"
        " TCP Fast Open (net.ipv4.tcp_fastopen), which repeats a request if its SYN was duplicated.",
        "请求的第一个字节前要付出一个往返。请复用长连接，或用 TCP Fast Open（net.ipv4.tcp_fastopen），"
        "代价是 SYN 重复时请求可能被执行两次。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
)
def three_packets(bench: Bench) -> Verdict:
    pair = bench.open()
    segments = bench.sent()
    names = ["SYN", "SYN-ACK", "ACK"]
    bench.check(T("segments on the wire", "线路上的报文"), [bench.flags(entry) for entry in segments], names)
    half = bench.lab.rtt // 2
    bench.check_times(T("sent at", "发送时刻"), bench.times(segments), [0, half, 2 * half])
    bench.check_path("client", State.SYN_SENT, State.ESTABLISHED)
    bench.check_path("server", State.SYN_RCVD, State.ESTABLISHED)
    begun = segments[0].time
    client = bench.moved_at("client", State.ESTABLISHED) - begun
    server = bench.moved_at("server", State.ESTABLISHED) - begun
    bench.check_time(T("client ESTABLISHED after", "客户端进入 ESTABLISHED"), client, 2 * half)
    bench.check_time(T("server ESTABLISHED after", "服务端进入 ESTABLISHED"), server, 3 * half)
    bench.check(T("the server's program has the connection", "服务端程序拿到连接"), pair.sfd >= 0, True)
    count = len(segments)
    return bench.verdict(
        T(
            f"{count} segments; client ready after {client / MSEC:.0f} ms, server after {server / MSEC:.0f} ms",
            f"{count} 个报文；客户端 {client / MSEC:.0f} ms 后就绪，服务端 {server / MSEC:.0f} ms 后就绪",
        ),
    )


@lab(
    "EST-05",
    title=T("A SYN uses up one sequence number", "SYN 占用一个序号"),
    claim=T(
        "SYN consumes one number: it is acknowledged with x+1, and data starts at x+1.",
        "SYN 消耗一个序号：确认号是 x+1，数据也从 x+1 开始。",
    ),
    truth="true",
    source="S0; RFC 9293 3.4",
    why=T(
        "What must be delivered reliably needs a number that can be acknowledged. SYN and FIN count as one"
        " octet each in the sequence space, a bare ACK counts as none.",
        "需要可靠送达的东西必须有可被确认的编号。SYN 与 FIN 在序号空间中各算一个字节，纯 ACK 不占序号。",
    ),
    practice=T(
        "When you read a capture: relative data offset = relative seq - 1.",
        "阅读抓包时：数据偏移 = 相对序号 - 1。",
    ),
    on=ANYWHERE,
)
def syn_takes_a_number(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"0123456789")
    bench.run(SEC)
    syn, syn_ack = bench.sent("client", flags="S")[0], bench.sent("server", flags="SA")[0]
    data = bench.sent("client", payload=True)[0]
    acked, first = bench.relative_ack(syn_ack), bench.relative_seq(data)
    bench.check(T("seq of the SYN", "SYN 的序号"), bench.relative_seq(syn), 0)
    bench.check(T("the SYN-ACK acknowledges", "SYN-ACK 的确认号"), acked, 1)
    bench.check(T("seq of the first octet", "首个数据字节的序号"), first, 1)
    last = bench.sent("server")[-1]
    bench.check(T("10 octets are acknowledged with", "10 字节数据的确认号"), bench.relative_ack(last), 11)
    return bench.verdict(
        T(f"SYN at 0, acknowledged with {acked}, data from {first}", f"SYN 在 0，确认号 {acked}，数据从 {first} 开始")
    )
