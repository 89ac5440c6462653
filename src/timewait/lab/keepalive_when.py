"""When keepalive runs: who asks for it, what puts it off, and what a heartbeat of one's own does better."""

import socket
from typing import Final

from timewait.base.instant import MSEC, SEC, show_ns
from timewait.lab.bench import READABLE, Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.lab.keepalive import INTERVAL, PROBES, TIME, last_heard, settings, watched
from timewait.record.entries import Sent
from timewait.tcp.states import State
from timewait.wire.packet import FIN, SYN

HOUR: Final = 3600 * SEC
USER_TIMEOUT: Final = 5500 * MSEC


def probes(bench: Bench, host: str = "server") -> list[Sent]:
    """The keepalive probes of a host, known by their number: one below the next to be sent."""
    found: list[Sent] = []
    following = 0
    for entry in bench.sent(host):
        sent, seq = segment(entry), bench.relative_seq(entry)
        if seq == following - 1 and following and not sent.flags & (SYN | FIN):
            found.append(entry)
        following = max(following, seq + sent.length + bool(sent.flags & SYN) + bool(sent.flags & FIN))
    return found


@lab(
    "KA-01",
    title=T("Each sign of life puts keepalive off", "任何收发都会推迟 keepalive"),
    claim=T(
        "Activity resets the timer; after the idle time probes follow at an interval, and when none of them is answered"
        " the connection counts as dead.",
        "有收发就重新计时；空闲到期后按间隔探测，全部无应答则认为连接已死并报告程序。",
    ),
    truth="true",
    source="S0 S1 S2 S3; RFC 1122 4.2.3.6; RFC 9293 3.8.4; keepalive_time_elapsed",
    why=T(
        "Linux measures the time since the last segment came in, data or acknowledgment. What the program sends counts"
        " too, since it is acknowledged; while it is not, the retransmission timer watches instead.",
        "Linux 计算的是距上次收到报文（数据或确认）的时间。程序发送的数据也算，因为会得到确认；"
        "未得到确认时，则由重传定时器负责。",
    ),
    practice=T(
        "On a connection that always carries data keepalive never runs: there, TCP_USER_TIMEOUT limits how long a dead"
        " peer goes unnoticed. It costs connections that a longer outage would have spared.",
        "数据不断的连接上 keepalive 永远不会触发：此时用 TCP_USER_TIMEOUT 限制发现死连接的时间。"
        "代价是本可熬过较长中断的连接也会断开。",
    ),
    on=ANYWHERE,
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
    variants={
        "received": T("the client sends now and then", "客户端不时发送"),
        "sent": T("the server sends now and then", "服务端不时发送"),
    },
)
def put_off(bench: Bench) -> Verdict:
    pair = watched(bench)
    idle, interval, count = settings(bench)
    begun = bench.now
    for _ in range(3):
        bench.run(idle * 3 // 4)
        if bench.variant == "received":
            pair.client.send(pair.cfd, b"x")
            bench.read(pair.server, pair.sfd, 1)
        else:
            pair.server.send(pair.sfd, b"x")
            bench.read(pair.client, pair.cfd, 1)
    bench.run(300 * MSEC)
    busy, early = bench.now - begun, len(probes(bench))
    silent_since = last_heard(bench)
    bench.power_off("client")
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice")
    gone = bench.now - silent_since
    times = bench.times(probes(bench), since=silent_since)
    error = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    bench.check(T("probes while there was traffic", "有收发期间的探测"), early, 0)
    expected = [idle + n * interval for n in range(count)]
    bench.check_times(T("probes after the last segment came in", "最后收到报文之后的探测"), times, expected)
    bench.check_time(T("given up after", "放弃于"), gone, idle + count * interval)
    bench.check(T("recv() gives", "recv() 返回"), error, "ETIMEDOUT")
    return bench.verdict(
        T(
            f"{early} probes in {in_seconds([busy])} of traffic, then at {in_seconds(times)}, {error}",
            f"收发 {in_seconds([busy])} 期间探测 {early} 次，之后于 {in_seconds(times)} 探测，{error}",
        )
    )


@lab(
    "KA-04",
    title=T("Nothing without SO_KEEPALIVE", "不设 SO_KEEPALIVE 就没有探测"),
    claim=T(
        "The application must set SO_KEEPALIVE, or keepalive is never used.",
        "应用程序必须设置 SO_KEEPALIVE，否则不会使用 keepalive。",
    ),
    truth="true",
    source="S1; socket(7), tcp(7); RFC 1122 4.2.3.6 (off by default)",
    why=T(
        "The sysctls are only defaults for sockets that ask. A socket's own TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT"
        " replace them, and do nothing by themselves. With TCP_USER_TIMEOUT a time replaces the count.",
        "sysctl 只是为开启者提供默认值。套接字自己的 TCP_KEEPIDLE、TCP_KEEPINTVL、TCP_KEEPCNT 会取代默认值，"
        "但单独设置无效。设置 TCP_USER_TIMEOUT 后由时间取代次数。",
    ),
    practice=T(
        "Set SO_KEEPALIVE on the listener: accepted sockets inherit it, the three numbers too. Changing the sysctls"
        " alone changes nothing for programs that do not ask.",
        "在监听套接字上设置 SO_KEEPALIVE：accept 得到的套接字会继承，三个数值也一样。"
        "只改 sysctl 对未开启的程序毫无作用。",
    ),
    on=ANYWHERE,
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
    variants={
        "unset": T("no option is set", "不设任何选项"),
        "numbers": T(
            "only TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT", "只设 TCP_KEEPIDLE、TCP_KEEPINTVL、TCP_KEEPCNT"
        ),
        "listener": T("all four, set on the listener", "四个都设，设在监听套接字上"),
        "timeout": T("SO_KEEPALIVE and TCP_USER_TIMEOUT 5.5 s", "SO_KEEPALIVE 加 TCP_USER_TIMEOUT 5.5 秒"),
    },
)
def who_asks(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    options: list[tuple[int, int, int]] = []
    if bench.variant in ("numbers", "listener"):
        options += [(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)]
        options += [(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)]
    if bench.variant == "timeout":
        options += [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT // MSEC)]
    if bench.variant in ("listener", "timeout"):
        options += [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for level, option, value in options:
        server.setsockopt(listener, level, option, value)
    cfd = bench.connect(client)
    bench.outcome(client, cfd)
    fd = bench.accept(server, listener)
    client.send(cfd, b"x")
    bench.read(server, fd, 1)
    bench.run(300 * MSEC)
    silent_since = last_heard(bench)
    bench.power_off("client")
    waited = 8 * SEC if bench.hurried else 10 * HOUR
    noticed = bench.within(lambda: bench.state("server") is State.CLOSED, waited)
    gone = bench.now - silent_since
    times = bench.times(probes(bench), since=silent_since)
    expected, end = _timetable(bench)
    bench.check_times(T("probes sent at", "探测发送时刻"), times, expected)
    bench.check(T("the server notices", "服务端发现"), noticed, bool(end))
    if end:
        bench.check_time(T("given up after", "放弃于"), gone, end)
        end_en, end_zh = f"ended after {in_seconds([gone])}", f"{in_seconds([gone])} 后结束"
    else:
        state = bench.state("server")
        bench.check(T("the connection is", "连接处于"), state, State.ESTABLISHED)
        end_en, end_zh = f"{state.rfc_name} after {show_ns(waited)}", f"{show_ns(waited)} 后仍为 {state.rfc_name}"
    return bench.verdict(T(f"{len(times)} probes, {end_en}", f"探测 {len(times)} 次，{end_zh}"))


def _timetable(bench: Bench) -> tuple[list[int], int]:
    """When the variants of KA-04 probe, and when they give up; 0 for never."""
    idle, interval, _ = settings(bench)
    if bench.variant == "listener":
        return [1 * SEC, 3 * SEC], 5 * SEC
    if bench.variant != "timeout":
        return [], 0
    # Time is looked at when a probe is due, and at least one has to be sent.
    times = [idle]
    while times[-1] + interval < USER_TIMEOUT:
        times.append(times[-1] + interval)
    return times, times[-1] + interval


@lab(
    "KA-10",
    title=T("A heartbeat of one's own finds what keepalive cannot", "应用层心跳能发现 keepalive 发现不了的问题"),
    claim=T(
        "The kernel's keepalive is slow: use a heartbeat in the application.",
        "内核 keepalive 太慢：应在应用层做心跳。",
    ),
    truth="true",
    source="S1; RFC 9293 3.8.4",
    why=T(
        "A heartbeat is answered by the program, so that it finds a program that hangs; a probe, and even data, is"
        " acknowledged by the peer's kernel, which is well. And its times are the application's own.",
        "心跳由程序应答，因此能发现卡死的程序；而探测甚至数据都由对端内核确认，内核一切正常。心跳的时间也由应用自己决定。",
    ),
    practice=T(
        "Three misses of five seconds each find a dead peer in 15 to 20 s. The price: code at both ends, a packet each"
        " way per period, and false alarms where a busy program answers late.",
        "五秒一次、连续三次无应答，可在 15 到 20 秒内发现。代价：双方都要写代码，每周期来回各一个包，"
        "程序繁忙应答迟时会误报。",
    ),
    on=ANYWHERE,
    variants={
        "hung": T("the client's program hangs", "客户端程序卡死"),
        "power": T("the client loses power", "客户端断电"),
    },
)
def heartbeat(bench: Bench) -> Verdict:
    pair = watched(bench)
    beat, misses = (SEC if bench.hurried else 5 * SEC), 3
    answer = 4 * bench.lab.rtt
    missed, beats, died_at = 0, 0, -1
    while missed < misses and beats < 20:
        pair.server.send(pair.sfd, b"ping")
        beats += 1
        due = bench.now + beat
        if died_at < 0:
            bench.read(pair.client, pair.cfd, 4)
            pair.client.send(pair.cfd, b"pong")
        bench.run(answer)
        if beats == 3:
            bench.run(beat // 2 - answer)
            died_at = bench.now
            if bench.variant == "power":
                bench.power_off("client")
            else:
                bench.note("the client's program hangs")
        bench.run(due - bench.now)
        heard = pair.server.poll([(pair.sfd, READABLE)]) != []
        missed = 0 if heard else missed + 1
        if heard:
            bench.read(pair.server, pair.sfd, 4)
    found = bench.now - died_at
    state, probed = bench.state("server"), len(probes(bench))
    pair.server.close(pair.sfd)
    bench.run(2 * bench.lab.rtt)
    acked = [entry for entry in bench.sent("client", payload=False) if entry.time > died_at]
    bench.check(T("beats missed", "无应答的心跳"), missed, misses)
    bench.check_that(
        T("found after", "发现用时"),
        misses * beat <= found <= (misses + 1) * beat + (beat // 4 if bench.on != "sim" else 0),
        in_seconds([found]),
        f"{misses * beat // SEC} to {(misses + 1) * beat // SEC} s",
    )
    bench.check(T("TCP still believes to be", "TCP 仍认为处于"), state, State.ESTABLISHED)
    bench.check(T("keepalive probes (the first after 7200 s)", "keepalive 探测（7200 秒后才有第一次）"), probed, 0)
    if bench.variant == "hung":
        bench.check_that(
            T("beats that the hung side's kernel acknowledged", "卡死一方的内核确认的心跳"),
            len(acked) >= misses,
            len(acked),
            f"{misses} or more",
        )
    return bench.verdict(
        T(
            f"{missed} beats missed, found after {in_seconds([found])}; meanwhile {len(acked)} ACKs, {probed} probes",
            f"{missed} 次心跳无应答，{in_seconds([found])} 后发现；期间 ACK {len(acked)} 个，探测 {probed} 次",
        )
    )
