"""Data that is not acknowledged: when it is sent again, and when TCP gives up."""

from timewait.base.instant import MSEC, SEC
from timewait.lab import nominal
from timewait.lab.bench import Bench, Pair
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.states import State

RETRIES2 = "net.ipv4.tcp_retries2"
EARLY_RETRANS = "net.ipv4.tcp_early_retrans"
RTO_MIN_US = "net.ipv4.tcp_rto_min_us"


def _exchange(bench: Bench, times: int) -> Pair:
    """A connection whose client has measured the round trip `times` times."""
    pair = bench.open()
    for _ in range(times):
        pair.client.send(pair.cfd, b"request")
        bench.read(pair.server, pair.sfd, 7)
        pair.server.send(pair.sfd, b"answer")
        bench.read(pair.client, pair.cfd, 6)
    bench.run(SEC)
    return pair


@lab(
    "RTX-03",
    title=T("The retransmission timeout follows the round trip", "重传超时随往返时间变化"),
    claim=T(
        "Data that is not acknowledged in time is sent again; the timeout adapts to the round-trip time.",
        "未及时确认的数据会重传；超时时间随往返时间自适应。",
    ),
    truth="true",
    source="S0 S1; RFC 6298 2; tcp_rtt_estimator, tcp_rto_min",
    why=T(
        "RTO = SRTT + 4 x RTTVAR. Linux floors the variance term at 200 ms, so on a steady path it is RTT + 200 ms;"
        " RFC 6298 floors the whole at 1 s.",
        "RTO = SRTT + 4×RTTVAR。Linux 给波动项设 200 ms 下限，所以稳定链路上就是 RTT + 200 ms；"
        "RFC 6298 则要求整体不低于 1 秒。",
    ),
    practice=T(
        "Inside a data centre net.ipv4.tcp_rto_min_us (Linux 6.11) or `ip route ... rto_min 5ms` repairs losses sooner;"
        " the cost is needless retransmissions where ACKs are delayed by 40 ms.",
        "数据中心内可用 net.ipv4.tcp_rto_min_us（Linux 6.11 起）或 `ip route ... rto_min 5ms` 加快恢复；"
        "代价是对端延迟确认（40 ms）时会多余重传。",
    ),
    on=ANYWHERE,
    variants={
        "20ms": T("a round trip of 20 ms", "往返 20 ms"),
        "100ms": T("a round trip of 100 ms", "往返 100 ms"),
        "300ms": T("a round trip of 300 ms", "往返 300 ms"),
    },
)
def timeout_follows_rtt(bench: Bench) -> Verdict:
    rtt = int(bench.variant.removesuffix("ms")) * MSEC
    bench.link.configure(delay=rtt // 2)
    pair = _exchange(bench, 16)
    with bench.drop("first data from client"):
        pair.client.send(pair.cfd, b"lost once")
        got = bench.read(pair.server, pair.sfd, 9)
    sent = bench.sent("client", payload=9)
    times = bench.times(sent)
    expected = rtt + bench.sysctl(RTO_MIN_US, "client") * 1000 if _has_rto_min(bench) else rtt + nominal.RTO_MIN
    # A delayed ACK in the samples, or a kernel's ticks, add a little.
    allowed = 40 * MSEC if bench.on == "sim" else 80 * MSEC
    bench.check(T("transmissions", "发送次数"), len(sent), 2)
    bench.check_that(
        T(f"sent again after (RTT {rtt // MSEC} ms)", f"重传于（RTT {rtt // MSEC} ms）"),
        len(times) == 2 and expected - 10 * MSEC <= times[1] <= expected + allowed,
        in_seconds(times[1:]),
        f"about {in_seconds([expected])}",
    )
    bench.check(T("octets that arrive", "到达字节"), len(got), 9)
    told = in_seconds(times[1:])
    return bench.verdict(T(f"RTT {rtt // MSEC} ms: sent again after {told}", f"RTT {rtt // MSEC} ms：{told} 后重传"))


def _has_rto_min(bench: Bench) -> bool:
    """Kernels before 6.11 have the floor in the route only."""
    return bench.on == "sim" or bench.sysctl(RTO_MIN_US, "client") > 0


@lab(
    "HDR-16",
    title=T("Data into a black hole: TCP gives up", "数据发往黑洞：TCP 会放弃"),
    claim=T(
        "Whatever happens to the link, TCP guarantees that a segment reaches the receiver.",
        "无论链路怎样变化，TCP 都保证报文到达接收方。",
    ),
    truth="wrong",
    source="S1; RFC 9293 3.8.3 R2; tcp_write_timeout, tcp_retries2",
    why=T(
        "TCP delivers or reports. With tcp_retries2=15 it tries for (2^10-1) x 200 ms + 6 x 120 s = 924.6 s after the"
        " first timeout, doubling the interval up to 120 s, and then tells the program ETIMEDOUT.",
        "TCP 要么送达，要么报告失败。tcp_retries2=15 时，自首次超时起尝试 (2^10-1)×200 ms + 6×120 s = 924.6 秒，"
        "间隔加倍直至 120 秒，然后向程序报告 ETIMEDOUT。",
    ),
    practice=T(
        "Set TCP_USER_TIMEOUT (ms) per socket, e.g. 30000, rather than net.ipv4.tcp_retries2 for the host. The cost:"
        " connections no longer outlive longer outages. Let the application confirm what matters: an ACK means that the"
        " peer's kernel has it, not its program.",
        "宜用套接字选项 TCP_USER_TIMEOUT（毫秒），如 30000，而非整机的 net.ipv4.tcp_retries2。"
        "代价：更长的断网会断开连接。"
        "重要数据须由应用层确认：ACK 只说明对端内核收到，而非程序。",
    ),
    on=ANYWHERE,
    live={RETRIES2: 3},
    variants={
        "default": T("as Linux does: a tail loss probe first", "Linux 默认：先有尾部丢失探测"),
        "unprobed": T("tcp_early_retrans=0: timeouts only", "tcp_early_retrans=0：只有超时重传"),
    },
)
def black_hole(bench: Bench) -> Verdict:
    if bench.variant == "unprobed":
        bench.configure({EARLY_RETRANS: 0})
    pair = _exchange(bench, 8)
    bench.drop("every data from client")
    pair.client.send(pair.cfd, b"anybody there?")
    begun = bench.now
    bench.until(lambda: bench.state("client") is State.CLOSED, "TCP to give up", 3600 * SEC)
    gone = bench.now - begun
    error = bench.attempt(lambda: pair.client.recv(pair.cfd, 1))
    later = bench.attempt(lambda: pair.client.send(pair.cfd, b"more"))
    sent = bench.sent("client", payload=14)
    times = bench.times(sent)
    retries = bench.sysctl(RETRIES2, "client")
    expected, end = nominal.data(retries, nominal.first_timeout(times) or SEC, bench.probes("client"))
    bench.check_times(T("the data is sent at", "数据发送时刻"), times, expected)
    bench.check_time(T("given up after", "放弃于"), gone, end)
    bench.check(T("recv() gives", "recv() 返回"), error, "ETIMEDOUT")
    bench.check(T("then send() gives", "此后 send() 返回"), later, "EPIPE")
    resets = len(bench.sent("client", flags="R")) + len(bench.sent("client", flags="RA"))
    bench.check(T("RSTs", "RST 个数"), resets, 0)
    server = bench.state("server")
    bench.check(T("the server still believes to be", "服务端仍处于"), server, State.ESTABLISHED)
    count, told = len(sent) - 1, in_seconds([gone])
    return bench.verdict(
        T(f"{count} retransmissions, {error} after {told}", f"重传 {count} 次，{told} 后 {error}"),
        T(
            f"With tcp_retries2={retries} the data went out {len(sent)} times; after {told} the program got {error},"
            f" and the server, still {server.rfc_name}, knew of nothing.",
            f"tcp_retries2={retries} 时数据发送 {len(sent)} 次；{told} 后程序得到 {error}，"
            f"服务端仍为 {server.rfc_name}。",
        ),
    )
