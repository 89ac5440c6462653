"""HTTP keep-alive's two limits, time and requests, and what they look like from outside."""

from typing import Final

from timewait.base.instant import SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.lab.web import TIMEWAIT, Web, first_fin, waiting
from timewait.record.entries import Sent
from timewait.wire.packet import FIN

TIMEOUT: Final = 60 * SEC


def _idle_close(bench: Bench, web: Web, timeout: int) -> int:
    """The server's timer: it closes what has been idle for so long. When its FIN left after the last answer."""
    answered = bench.sent("server", payload=True)[-1].time
    bench.run(max(answered + timeout - bench.now, 0))
    web.server.close(web.sfd)
    bench.until(lambda: bench.sent("server", flags="FA", after=answered), "the server's FIN")
    return bench.sent("server", flags="FA", after=answered)[0].time - answered


@lab(
    "HTTP-09",
    title=T("The idle timeout is the server's timer", "空闲超时是服务端的定时器"),
    claim=T(
        "keepalive_timeout (example 60 s): a timer closes an idle connection; TIME-WAIT at the server.",
        "keepalive_timeout（如 60 秒）：定时器关闭空闲连接，TIME-WAIT 在服务端。",
    ),
    truth="true",
    source="S1; RFC 9112 9.5; nginx keepalive_timeout (75 s)",
    why=T(
        "It is the program's timer, not TCP's keepalive: it begins anew with each answer, and sends a FIN, no probe.",
        "这是程序的定时器，与 TCP keepalive 无关：每次应答后重新计时，到点发送 FIN，而不是探测。",
    ),
    practice=T(
        "Let the client's pool give connections up a few seconds earlier than the server does: else a request now and"
        " then meets the FIN and fails. Behind a load balancer the same holds for each hop.",
        "让客户端连接池比服务端早几秒放弃空闲连接，否则偶尔会有请求与 FIN 相撞而失败。经过负载均衡时每一跳都如此。",
    ),
    on=ANYWHERE,
)
def idle_timeout(bench: Bench) -> Verdict:
    timeout = 2 * SEC if bench.hurried else TIMEOUT
    web = Web(bench)
    web.ask()
    bench.run(timeout // 2)
    web.ask()
    after = _idle_close(bench, web, timeout)
    web.leave()
    held = waiting(bench)
    bench.check_time(T("FIN after the last answer", "最后应答到 FIN"), after, timeout)
    bench.check(T("first FIN from", "首个 FIN 来自"), first_fin(bench), "server")
    bench.check(T("TIME-WAIT at client, server", "客户端、服务端 TIME-WAIT"), list(held), [0, 1])
    return bench.verdict(
        T(
            f"the server's FIN {in_seconds([after])} after the last answer",
            f"最后应答后 {in_seconds([after])} 服务端发出 FIN",
        )
    )


@lab(
    "HTTP-10",
    title=T("keepalive_requests: a counter closes", "keepalive_requests：计数到限关闭"),
    claim=T(
        "keepalive_requests, default 100: the server closes a connection that has served so many.",
        "keepalive_requests 默认 100：服务端在连接服务满该次数后关闭。",
    ),
    truth="true-on-older-Linux",
    source="S1; nginx keepalive_requests: 100 before 1.19.10 (2021), 1000 since",
    why=T(
        "The last answer says Connection: close, so that no request is lost; then the server closes, and the client"
        " opens the next connection.",
        "最后一个应答带 Connection: close，因此不会丢请求；随后服务端关闭，客户端新建连接。",
    ),
    practice=T(
        "Raise it where few clients send much (proxies, gRPC gateways): 100,000 is usual between services. It exists"
        " to free memory that a connection's requests piled up; that is the price.",
        "少数客户端请求很多时（代理、网关）应调大，服务间常设 100000。它用于释放连接累积的内存，这就是代价。",
    ),
    on=ANYWHERE,
)
def request_limit(bench: Bench) -> Verdict:
    limit, requests = (10, 30) if bench.hurried else (100, 1000)
    web = Web(bench, limit=limit)
    said = [web.ask() for _ in range(requests)]
    held = waiting(bench)
    bench.check(T("connections", "连接数"), web.connections, requests // limit)
    bench.check(T("answers that say close", "带 close 的应答"), said.count("close"), requests // limit)
    bench.check(T("TIME-WAIT at client, server", "客户端、服务端 TIME-WAIT"), list(held), [0, requests // limit])
    return bench.verdict(
        T(
            f"{requests} requests, {limit} a connection: {web.connections} connections, {held[1]} TIME-WAITs",
            f"{requests} 个请求、上限 {limit}：{web.connections} 条连接，服务端 TIME-WAIT {held[1]} 个",
        )
    )


@lab(
    "HTTP-11",
    title=T("Requests a second, divided by the limit, times sixty", "QPS ÷ 上限 × 60"),
    claim=T(
        "At 10,000 to 50,000 requests a second a limit of 100 makes many TIME-WAITs; raise it.",
        "QPS 达 1 万至 5 万时，上限 100 会产生大量 TIME-WAIT，应调大。",
    ),
    truth="true",
    source="S1",
    why=T(
        "Closes per second are requests per second divided by the limit, and each TIME-WAIT lasts 60 s: the number held"
        " is their product (10,000/100 x 60 = 6,000).",
        "每秒关闭数等于 QPS 除以上限，每个 TIME-WAIT 存在 60 秒，存量即其乘积（10000/100×60=6000）。",
    ),
    practice=T(
        "Raise the limit for the handshakes it saves. The TIME-WAITs themselves cost some hundred octets each at the"
        " server and no port: tcp_max_tw_buckets (131,072 and more) is far away.",
        "调大上限是为了省握手。服务端的 TIME-WAIT 每个只占几百字节且不占端口，离 tcp_max_tw_buckets 还很远。",
    ),
    variants={"1": T("100 requests/s", "每秒 100 请求"), "3": T("300 requests/s", "每秒 300 请求")},
)
def rate_and_limit(bench: Bench) -> Verdict:
    closes, limit = int(bench.variant), 100
    web = Web(bench, limit=1)
    begun = bench.now
    counts: list[int] = []
    # Of each connection only the last request matters here: the one whose answer closes.
    for second in range(1, 76):
        for _ in range(closes):
            web.ask()
        bench.run(max(begun + second * SEC - bench.now, 0))
        counts.append(waiting(bench)[1])
    steady = counts[-10:]
    expected = closes * TIMEWAIT // SEC
    near = all(abs(count - expected) <= closes for count in steady)
    bench.check_that(
        T("TIME-WAITs held after a minute", "一分钟后的 TIME-WAIT"),
        near,
        steady[-1],
        f"{expected}, give or take one second's",
    )
    each = steady[-1] / closes
    bench.check_that(T("for each close a second", "每秒关闭一条对应"), abs(each - 60) <= 1, each, "60")
    return bench.verdict(
        T(
            f"{closes * limit} requests/s at a limit of {limit}: {steady[-1]} TIME-WAITs;"
            f" at 10,000/s {round(each * 10_000 / limit):,}, at 50,000/s {round(each * 50_000 / limit):,}",
            f"每秒 {closes * limit} 请求、上限 {limit}：TIME-WAIT {steady[-1]} 个；"
            f"1 万 QPS 时 {round(each * 10_000 / limit)}，5 万时 {round(each * 50_000 / limit)}",
        )
    )


def diagnose(bench: Bench, number: int) -> str:
    """What ended a connection, from its packets alone: who sent the first FIN, and what came before it."""
    sent = [entry for entry in bench.connection(number).entries if isinstance(entry, Sent)]
    fins = [entry for entry in sent if segment(entry).flags & FIN]
    if not fins:
        return "open"
    first = fins[0]
    if first.where == "client":
        return "client"
    data = [entry for entry in sent if entry.time <= first.time and segment(entry).length]
    if data and data[-1].where == "client":
        return "network"
    return "timeout" if not data or first.time - data[-1].time >= SEC else "close"


@lab(
    "HTTP-12",
    title=T("Diagnosis: who sent the first FIN, after how long", "诊断：谁先发 FIN、空闲多久"),
    claim=T(
        "Many TIME-WAITs at the server: check keep-alive on both sides; many timeouts: check the network.",
        "服务端 TIME-WAIT 多：检查双方长连接设置；超时多：检查网络。",
    ),
    truth="true",
    source="S1",
    why=T(
        "A FIN right behind an answer was said beforehand (close, or a request limit); one after silence is the idle"
        " timer; one after silence while the client repeats its request is the network.",
        "紧跟应答的 FIN 是事先声明的关闭（close 或次数上限）；静默之后的 FIN 是空闲定时器；"
        "静默期间客户端还在重传请求，则是网络问题。",
    ),
    practice=T(
        "One capture of some closings tells: `tcpdump 'tcp[tcpflags] & tcp-fin != 0'` and the time since the packet"
        " before. It costs a minute.",
        "抓取若干次关闭即可判断：`tcpdump 'tcp[tcpflags] & tcp-fin != 0'` 加上与前一报文的间隔；只需一分钟。",
    ),
    variants={
        "close": T("close was said", "声明了 close"),
        "timeout": T("the idle timer ran out", "空闲超时"),
        "network": T("requests are lost", "请求丢失"),
        "client": T("the client left", "客户端离开"),
    },
)
def diagnosis(bench: Bench) -> Verdict:
    web = Web(bench)
    if bench.variant == "close":
        web.ask(connection="close")
    else:
        web.ask()
        if bench.variant == "client":
            web.client.close(web.cfd)
        elif bench.variant == "timeout":
            _idle_close(bench, web, TIMEOUT)
        else:
            _lose_requests(bench, web)
            _idle_close(bench, web, TIMEOUT)
    bench.run(SEC)
    found = diagnose(bench, 0)
    bench.check(T("the packets say", "报文表明"), found, bench.variant)
    return bench.verdict(T(f"diagnosis from the packets: {found}", f"由报文诊断：{found}"))


def _lose_requests(bench: Bench, web: Web) -> None:
    """From now on nothing of the client arrives; it asks all the same."""
    bench.link.partition(sender="client")
    bench.write(web.client, web.cfd, b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")


@lab(
    "HTTP-13",
    title=T("Many requests on one connection", "一条连接承载多个请求"),
    claim=T(
        "Keep-alive serves many requests on one connection and saves setup and teardown.",
        "长连接在一条连接上服务多个请求，省去建立和释放的开销。",
    ),
    truth="true",
    source="S1; RFC 9112 9.3",
    why=T(
        "A new connection costs a round trip before the request, slow start begins anew, and with TLS one or two round"
        " trips more.",
        "新连接在请求之前多一个往返，慢启动重新开始，若有 TLS 还要多一到两个往返。",
    ),
    practice=T(
        "Pool connections, above all over long distances: the gain is the round-trip time, per request.",
        "使用连接池，远距离时尤其如此：每个请求省下一个往返时间。",
    ),
    on=ANYWHERE,
    variants={"kept": T("one connection", "一条连接"), "short": T("a connection for each request", "每请求一条连接")},
)
def many_requests(bench: Bench) -> Verdict:
    count = 10
    kept = bench.variant == "kept"
    web = Web(bench, keeps=kept)
    spent = 0
    for _ in range(count):
        begun = bench.now
        fresh = not web.is_open
        if fresh:
            web.connect()
        bench.write(web.client, web.cfd, b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")
        if fresh:
            web.accept()
        said = web.answer()
        response = b""
        while b"\r\n\r\n" not in response:
            response += bench.read(web.client, web.cfd, 1)
        bench.read(web.client, web.cfd, 1000)
        spent += bench.now - begun
        if said == "close":
            web.leave()
    rounds = spent / bench.lab.rtt
    expected = count + 1 if kept else 2 * count
    bench.check(T("connections", "连接数"), web.connections, 1 if kept else count)
    slack = 0.05 if bench.on == "sim" else 0.5 * count
    waited = T("round trips waited", "等待的往返数")
    bench.check_that(waited, abs(rounds - expected) <= slack, round(rounds, 1), str(expected))
    return bench.verdict(
        T(
            f"{count} requests: {web.connections} connections, {rounds:.1f} round trips",
            f"{count} 个请求：{web.connections} 条连接，{rounds:.1f} 个往返",
        )
    )


@lab(
    "HTTP-14",
    title=T("Lost data looks like an idle client", "数据丢失看似客户端空闲"),
    claim=T(
        "Network problems keep the client's data away: it looks like a keep-alive timeout.",
        "网络问题使客户端数据到不了，看起来像长连接超时。",
    ),
    truth="true",
    source="S1; RFC 6298",
    why=T(
        "The server's timer cannot tell silence from loss: both are nothing. The client meanwhile repeats its request;"
        " its counters of retransmissions tell the difference.",
        "服务端的定时器分不清沉默与丢失，看到的都是无数据。客户端此时在重传请求，它的重传计数能说明问题。",
    ),
    practice=T(
        "Before blaming clients for timeouts look at `nstat TcpRetransSegs` and `ss -ti` at the client, and whether"
        " both directions work.",
        "把超时归咎于客户端之前，先看客户端的 `nstat TcpRetransSegs` 与 `ss -ti`，并确认两个方向都通。",
    ),
    on=ANYWHERE,
)
def lost_looks_idle(bench: Bench) -> Verdict:
    timeout = 3 * SEC if bench.hurried else TIMEOUT
    web = Web(bench)
    web.ask()
    web.settle()
    _lose_requests(bench, web)
    after = _idle_close(bench, web, timeout)
    data = bench.sent("client", payload=True)
    asked = [entry for entry in data if entry.time > bench.sent("server", payload=True)[-1].time]
    again = len(asked) - 1
    bench.check_time(T("the server closes after", "服务端关闭于"), after, timeout)
    bench.check_that(T("times the request was sent again", "请求被重传次数"), again >= 3, again, "3 or more")
    return bench.verdict(
        T(
            f"request sent {again + 1} times, none arrived: the server closed after {in_seconds([after])} of silence",
            f"请求发送 {again + 1} 次均未到达：服务端在静默 {in_seconds([after])} 后关闭",
        )
    )
