"""Delayed acknowledgments, and the close in three segments that they make possible."""

import socket

from timewait.base.instant import MSEC
from timewait.host.sockopt import SOL_TCP, TCP_QUICKACK
from timewait.lab.bench import Bench, Pair
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.tcp.states import State
from timewait.wire.serialize import wire_length

DELACK_MIN = 40 * MSEC
"""TCP_DELACK_MIN: how long Linux delays at least."""
TICK = 4 * MSEC
"""The grain of the kernel's timers at HZ=250."""


def _converse(bench: Bench, pair: Pair, rounds: int = 2) -> None:
    """Requests and answers, after which both ends delay their acknowledgments."""
    for _ in range(rounds):
        pair.client.send(pair.cfd, b"request")
        bench.read(pair.server, pair.sfd, 7)
        pair.server.send(pair.sfd, b"answer")
        bench.read(pair.client, pair.cfd, 6)
    bench.run(300 * MSEC)


@lab(
    "DACK-01",
    title=T("Closing in three segments", "四次挥手变成三次"),
    claim=T(
        "Four segments become three when the passive side has nothing to send and delays its ACK.",
        "被动方没有数据要发且开启延迟确认时，四次挥手变为三次。",
    ),
    truth="true",
    source="S1 S2; tcp_fin (inet_csk_enter_pingpong_mode)",
    why=T(
        "A FIN makes Linux delay its ACK by 40 ms. If the program closes within that time, its FIN carries the ACK."
        " TCP_QUICKACK set before the FIN does not change that; set after recv() = 0 it sends the ACK out.",
        "收到 FIN 时 Linux 把 ACK 推迟 40 ms。程序若在此期间关闭，其 FIN 就带上 ACK。在 FIN 之前设置 TCP_QUICKACK"
        " 不影响；"
        "recv() 返回 0 之后再设置则会立即发出 ACK。",
    ),
    practice=T("Nothing to do: three are as good as four.", "无需处理：三次与四次同样正确。"),
    on=ANYWHERE,
    variants={
        "at-once": T("the server closes at once", "服务端立即关闭"),
        "20ms": T("after 20 ms", "20 ms 后关闭"),
        "100ms": T("after 100 ms", "100 ms 后关闭"),
        "quick-before": T("TCP_QUICKACK before the FIN", "FIN 之前设 TCP_QUICKACK"),
        "quick-after": T("TCP_QUICKACK after recv() = 0", "recv() 返回 0 之后设 TCP_QUICKACK"),
        "data": T("it still has data", "还有数据"),
    },
)
def three_segments(bench: Bench) -> Verdict:
    pair = bench.open()
    _converse(bench, pair)
    if bench.variant == "quick-before":
        pair.server.setsockopt(pair.sfd, SOL_TCP, TCP_QUICKACK, 1)
    begun = bench.now
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    bench.read_end(pair.server, pair.sfd)
    wait = {"20ms": 20 * MSEC, "100ms": 100 * MSEC, "quick-after": 20 * MSEC}.get(bench.variant, 0)
    if bench.variant == "quick-after":
        pair.server.setsockopt(pair.sfd, SOL_TCP, TCP_QUICKACK, 1)
    if bench.variant == "data":
        pair.server.send(pair.sfd, b"rest")
    if wait:
        bench.run(wait)
    pair.server.close(pair.sfd)
    bench.run(200 * MSEC)
    sent = bench.sent(after=begun)
    names = [bench.flags(entry) + ("+data" if segment(entry).length else "") for entry in sent]
    if bench.variant == "data":
        # What acknowledges the data may come as one ACK or two: that is no part of the close.
        expected = ["FIN-ACK", "ACK+data", "FIN-ACK"]
        bench.check(T("the first segments", "前几个报文"), names[:3], expected)
    else:
        four = bench.variant in ("100ms", "quick-after")
        expected = ["FIN-ACK", "ACK", "FIN-ACK", "ACK"] if four else ["FIN-ACK", "FIN-ACK", "ACK"]
        bench.check(T("segments", "报文"), names, expected)
    if bench.variant == "100ms" and len(sent) > 1:
        delay = sent[1].time - sent[0].time - bench.lab.rtt // 2
        bench.check_that(
            T("the ACK was delayed by", "ACK 推迟了"),
            DELACK_MIN <= delay <= DELACK_MIN + 2 * TICK + (20 * MSEC if bench.on != "sim" else 0),
            f"{delay / MSEC:.1f} ms",
            "40 to 48 ms",
        )
    bench.check(T("server", "服务端"), bench.state("server"), State.CLOSED)
    return bench.verdict(T(f"{len(sent)} segments: {', '.join(names)}", f"{len(sent)} 个报文：{'、'.join(names)}"))


@lab(
    "DACK-02",
    title=T("When an ACK is delayed", "ACK 何时被推迟"),
    claim=T(
        "With an answer to send the ACK rides on it; without one it is delayed; a second segment brings it at once.",
        "有应答数据则随数据捎带；没有则推迟；收到第二个报文时立即确认。",
    ),
    truth="true",
    source="S2; RFC 1122 4.2.3.2; RFC 9293 3.8.6.3; __tcp_ack_snd_check",
    why=T(
        "Linux begins by acknowledging at once, so that slow start gets its ACKs, and delays by 40 ms or more once a"
        " connection answers as it is asked. Two full segments are never left unacknowledged.",
        "Linux 起初立即确认，使慢启动及时得到 ACK；当连接呈一问一答时才推迟 40 ms 以上。两个满段绝不会不确认。",
    ),
    practice=T(
        "Write-write-read with small pieces meets this and Nagle: 40 ms each. Write the request in one call, or set"
        " TCP_NODELAY; TCP_QUICKACK lasts only until the next answer.",
        "小块的 写-写-读 会撞上它与 Nagle：每次 40 ms。请一次写完请求，或设 TCP_NODELAY；TCP_QUICKACK"
        " 只维持到下一次应答。",
    ),
    on=ANYWHERE,
    variants={
        "fresh": T("a new connection", "新连接"),
        "answer": T("the program answers", "程序有应答"),
        "silent": T("it does not", "没有应答"),
        "two": T("two full segments", "两个满段"),
    },
)
def when_delayed(bench: Bench) -> Verdict:
    pair = bench.open()
    if bench.variant != "fresh":
        _converse(bench, pair)
    begun = bench.now
    pair.client.send(pair.cfd, b"x" * (2896 if bench.variant == "two" else 10))
    if bench.variant == "answer":
        bench.read(pair.server, pair.sfd, 10)
        pair.server.send(pair.sfd, b"answer")
    bench.run(200 * MSEC)
    # A tail loss probe may repeat the end of it: the first transmission counts.
    data = bench.sent("client", payload=True, after=begun)
    end = max(bench.relative_seq(entry) + int(segment(entry).length) for entry in data)
    last = next(entry for entry in data if bench.relative_seq(entry) + int(segment(entry).length) == end)
    answers = bench.sent("server", after=begun)
    first = answers[0]
    delay = first.time - last.time - bench.lab.rtt // 2
    carried = int(segment(first).length)
    bench.check(
        T("octets in the segment that acknowledges", "确认报文中的数据"), carried, 6 if bench.variant == "answer" else 0
    )
    slack = 0 if bench.on == "sim" else 10 * MSEC
    if bench.variant == "silent":
        ok, wanted = DELACK_MIN <= delay <= DELACK_MIN + 2 * TICK + 2 * slack, "40 to 48 ms"
    else:
        ok, wanted = delay <= MSEC + slack, "at once"
    bench.check_that(T("acknowledged after", "确认于"), ok, f"{delay / MSEC:.1f} ms", wanted)
    acked = bench.relative_ack(first)
    bench.check(T("all of it", "全部确认"), acked, end)
    return bench.verdict(
        T(
            f"acknowledged after {delay / MSEC:.0f} ms, with {carried} octets",
            f"{delay / MSEC:.0f} ms 后确认，携带 {carried} 字节",
        )
    )


@lab(
    "DACK-03",
    title=T("What a pure ACK costs", "纯 ACK 的开销"),
    claim=T(
        "A pure ACK costs 40 octets of IP and TCP headers.",
        "一个纯 ACK 要花 40 字节的 IP 与 TCP 首部。",
    ),
    truth="true",
    source="S2; RFC 9293 3.1; RFC 7323 3",
    why=T(
        "20 octets each. The timestamp option, which Linux uses by default, adds 12.",
        "IP 与 TCP 各 20 字节。Linux 默认的时间戳选项再加 12 字节。",
    ),
    practice=T(
        "Leave timestamps on: they protect against old segments and measure round trips. 12 octets are the price.",
        "保持时间戳开启：它防范旧报文并测量往返时间，代价是 12 字节。",
    ),
    on=ANYWHERE,
    variants={"1": T("with timestamps", "有时间戳"), "0": T("without", "无时间戳")},
)
def size_of_an_ack(bench: Bench) -> Verdict:
    bench.configure({"net.ipv4.tcp_timestamps": int(bench.variant)})
    pair = bench.open()
    pair.client.send(pair.cfd, b"x")
    bench.run(300 * MSEC)
    ack = bench.sent("server", flags="A")[-1]
    size = wire_length(ack.packet)
    expected = 52 if bench.variant == "1" else 40
    bench.check(T("octets of the IP datagram", "IP 数据报字节数"), size, expected)
    return bench.verdict(T(f"{size} octets to acknowledge 1", f"确认 1 字节花了 {size} 字节"))


@lab(
    "DACK-04",
    title=T("A FIN without close()", "不调用 close() 也会发 FIN"),
    claim=T(
        "A FIN need not come from close(): when a process ends, the kernel sends it.",
        "FIN 不一定来自 close()：进程退出时由内核发送。",
    ),
    truth="true",
    source="S2; exit_files, tcp_close",
    why=T(
        "The connection belongs to the kernel. It closes every descriptor of a process that ends, in whatever way.",
        "连接属于内核。进程无论如何结束，内核都会关闭它的所有描述符。",
    ),
    practice=T(
        "A crashed process leaves no connection behind; a machine without power does. Only keepalive or timeouts help"
        " against that.",
        "进程崩溃不会遗留连接，断电则会。后者只能靠 keepalive 或超时。",
    ),
    on=ANYWHERE,
    variants={
        "exit": T("exit()", "exit()"),
        "kill": T("kill -9", "kill -9"),
        "shutdown": T("shutdown()", "shutdown()"),
    },
)
def fin_without_close(bench: Bench) -> Verdict:
    pair = bench.open()
    if bench.variant == "exit":
        pair.client.exit()
    elif bench.variant == "kill":
        pair.client.kill()
    else:
        pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    bench.run(200 * MSEC)
    fins, closes = len(bench.sent("client", flags="FA")), len(bench.calls("client", "close"))
    state = bench.state("client")
    read = bench.attempt(lambda: pair.server.recv(pair.sfd, 10))
    bench.check(T("calls of close()", "close() 调用次数"), closes, 0)
    bench.check(T("FINs", "FIN 个数"), fins, 1)
    bench.check(T("the client's end", "客户端一端"), state, State.FIN_WAIT_2)
    bench.check(T("the peer reads", "对端读到"), read, "EOF")
    return bench.verdict(
        T(
            f"{closes} calls of close(), {fins} FIN, {state.rfc_name}",
            f"close() {closes} 次，FIN {fins} 个，{state.rfc_name}",
        )
    )
