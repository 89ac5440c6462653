"""Failures while data is on its way: a crash, a reboot, a cable."""

from typing import Final

from timewait.base.instant import MSEC, SEC, show_ns
from timewait.lab import nominal
from timewait.lab.bench import Bench, Pair
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.states import State

RETRIES2: Final = "net.ipv4.tcp_retries2"
HELLO: Final = b"anybody there?"


@lab(
    "FAIL-06",
    title=T("A crash while data is in flight", "数据传输途中对端崩溃"),
    claim=T(
        "The data is retransmitted until TCP gives up with ETIMEDOUT, or until the host has rebooted and answers with"
        " RST.",
        "数据不断重传，直到 TCP 放弃（ETIMEDOUT），或主机重启后回 RST。",
    ),
    truth="true",
    source="S2 S1; RFC 9293 3.8.3; tcp_retries2",
    why=T(
        "Unacknowledged data has a timer, so that the crash is noticed without keepalive: after about 15 minutes with"
        " tcp_retries2=15. A rebooted host shortens that to the next retransmission, which may be two minutes away.",
        "未确认的数据有定时器，因此不需要 keepalive 也能发现崩溃：tcp_retries2=15 时约 15 分钟。"
        "主机若已重启，则下一次重传即可发现，而间隔可能长达两分钟。",
    ),
    practice=T(
        "TCP_USER_TIMEOUT (ms) per socket, or tcp_retries2=8 for about 100 s, the least that RFC 9293 allows. Too short"
        " a time turns each outage of the network into broken connections.",
        "对套接字设 TCP_USER_TIMEOUT（毫秒），或 tcp_retries2=8（约 100 秒，RFC 9293 允许的下限）。"
        "设得太短，每次网络中断都会断开连接。",
    ),
    on=ANYWHERE,
    live={RETRIES2: 3},
    variants={
        "silence": T("the host stays down", "主机不再启动"),
        "reboot": T("it reboots in between", "期间主机重启"),
    },
)
def crash_in_flight(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"x")
    bench.read(pair.server, pair.sfd, 1)
    bench.run(300 * MSEC)
    bench.power_off("client")
    pair.server.send(pair.sfd, HELLO)
    begun = bench.now
    booted = (1 if bench.hurried else 5) * SEC
    if bench.variant == "reboot":
        bench.run(booted)
        bench.power_on("client")
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice", 3600 * SEC)
    gone = bench.now - begun
    errors = [bench.attempt(lambda: pair.server.recv(pair.sfd, 1))]
    errors.append(bench.attempt(lambda: pair.server.send(pair.sfd, b"x")))
    sent = bench.sent("server", payload=len(HELLO))
    times = bench.times(sent)
    resets = len(bench.sent("client", flags="R", after=begun))
    retries = bench.sysctl(RETRIES2)
    rto = nominal.first_timeout(times) or SEC
    expected, end = nominal.data(retries, rto, bench.probes("server"))
    if bench.variant == "reboot":
        expected = [time for time in expected if time < booted] + [time for time in expected if time >= booted][:1]
        end = expected[-1] + bench.lab.rtt
    bench.check_times(T("the data is sent at", "数据发送时刻"), times, expected)
    bench.check(T("RSTs of the client", "客户端的 RST"), resets, 1 if bench.variant == "reboot" else 0)
    bench.check_time(T("over after", "结束于"), gone, end)
    wanted = "ECONNRESET" if bench.variant == "reboot" else "ETIMEDOUT"
    bench.check(T("recv(), then send() give", "recv()、之后 send() 返回"), errors, [wanted, "EPIPE"])
    again, told = len(sent) - 1, show_ns(round(gone / MSEC) * MSEC)
    return bench.verdict(
        T(
            f"{again} retransmissions, {resets} RST, {errors[0]} after {told}",
            f"重传 {again} 次，RST {resets} 个，{told} 后 {errors[0]}",
        )
    )


@lab(
    "FAIL-07",
    title=T("The cable is pulled", "拔掉网线"),
    claim=T(
        "The connection survives; with data it goes on if the cable comes back in time, or else times out.",
        "连接不会因此断开；有数据时，及时插回则继续，否则超时。",
    ),
    truth="true",
    source="S1; RFC 9293 3.8.1, 3.8.3; tcp_retries2",
    why=T(
        "TCP knows nothing of cables. It sees acknowledgments that stay away, and retransmits ever more slowly: after"
        " an outage of a time it needs up to as long again to find out that the line is back.",
        "TCP 不知道网线的存在，只看到确认没有来，重传也越来越慢：中断多久，就可能还要同样久才发现线路恢复。",
    ),
    practice=T(
        "After a short outage let the application send something, or wait: connections recover by themselves. Where"
        " minutes count, TCP_USER_TIMEOUT or a heartbeat decide when to give up and connect anew.",
        "短暂中断后不必处理，连接会自行恢复。若以分钟计较，则用 TCP_USER_TIMEOUT 或心跳决定何时放弃并重连。",
    ),
    on=ANYWHERE,
    live={RETRIES2: 3},
    variants={
        "replugged": T("plugged in again in time", "及时插回"),
        "late": T("plugged in again too late", "插回太迟"),
        "idle": T("nobody has anything to say meanwhile", "期间没有数据"),
    },
)
def cable_pulled(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"x")
    bench.read(pair.server, pair.sfd, 1)
    bench.run(300 * MSEC)
    bench.link.unplug()
    pulled = bench.now
    if bench.variant == "idle":
        waited = 2 * SEC if bench.hurried else 24 * 3600 * SEC
        bench.run(waited)
        quiet = len(bench.sent(after=pulled))
        bench.link.plug()
        bench.write(pair.client, pair.cfd, HELLO)
        got = bench.read(pair.server, pair.sfd, len(HELLO))
        bench.check(T("packets while unplugged", "拔线期间的报文"), quiet, 0)
        bench.check(T("octets that arrive afterwards", "之后到达的字节"), len(got), len(HELLO))
        long = show_ns(waited)
        return bench.verdict(
            T(
                f"{long} unplugged: {quiet} packets, then {len(got)} octets arrive",
                f"拔线 {long}：报文 {quiet} 个，之后 {len(got)} 字节到达",
            )
        )
    bench.write(pair.client, pair.cfd, HELLO)
    return _replugged(bench, pair, pulled) if bench.variant == "replugged" else _too_late(bench, pair, pulled)


def _replugged(bench: Bench, pair: Pair, pulled: int) -> Verdict:
    """The cable comes back while retransmissions still go out."""
    down = (1 if bench.hurried else 10) * SEC
    bench.run(down)
    bench.link.plug()
    got = bench.read(pair.server, pair.sfd, len(HELLO))
    resumed = bench.now - pulled
    bench.run(300 * MSEC)
    times = bench.times(bench.sent("client", payload=len(HELLO)))
    expected, _ = nominal.data(15, nominal.first_timeout(times) or SEC, bench.probes("client"))
    expected = expected[: sum(time < down for time in expected) + 1]
    bench.check_times(T("the data is sent at", "数据发送时刻"), times, expected)
    bench.check_time(T("it arrives", "到达于"), resumed, expected[-1] + bench.lab.rtt // 2)
    bench.check(T("octets", "字节"), len(got), len(HELLO))
    bench.check(T("both ends are", "两端处于"), [bench.state("client"), bench.state("server")], [State.ESTABLISHED] * 2)
    again, told = len(times) - 1, in_seconds([resumed])
    return bench.verdict(
        T(
            f"unplugged for {in_seconds([down])}; goes on after {told}, at retransmission {again}",
            f"拔线 {in_seconds([down])}；{told} 后继续，第 {again} 次重传成功",
        )
    )


def _too_late(bench: Bench, pair: Pair, pulled: int) -> Verdict:
    """The cable comes back after the sender has given up: the other end still believes in the connection."""
    bench.until(lambda: bench.state("client") is State.CLOSED, "the client to give up", 3600 * SEC)
    gone = bench.now - pulled
    error = bench.attempt(lambda: pair.client.recv(pair.cfd, 1))
    times = bench.times(bench.sent("client", payload=len(HELLO)))
    retries = bench.sysctl(RETRIES2, "client")
    expected, end = nominal.data(retries, nominal.first_timeout(times) or SEC, bench.probes("client"))
    still = bench.state("server")
    bench.link.plug()
    pair.server.send(pair.sfd, b"hello")
    bench.run(5 * bench.lab.rtt)
    learns = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    bench.check_times(T("the data is sent at", "数据发送时刻"), times, expected)
    bench.check_time(T("given up after", "放弃于"), gone, end)
    bench.check(T("recv() at the client gives", "客户端 recv() 返回"), error, "ETIMEDOUT")
    bench.check(T("the server meanwhile", "此时服务端"), still, State.ESTABLISHED)
    bench.check(
        T("plugged in again, the server's data meets a RST", "插回后服务端发数据，遇到 RST"), learns, "ECONNRESET"
    )
    told = show_ns(round(gone / MSEC) * MSEC)
    return bench.verdict(
        T(
            f"{error} after {told}; the server, still {still.rfc_name}, gets {learns} once it is plugged in",
            f"{told} 后 {error}；服务端仍为 {still.rfc_name}，插回后发数据得到 {learns}",
        )
    )
