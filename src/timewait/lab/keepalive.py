"""TCP keepalive: a peer that is alive, one that has rebooted, one that is gone."""

import socket

from timewait.base.instant import MSEC, SEC, show_ns
from timewait.lab.bench import Bench, Pair
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.tcp.states import State

TIME = "net.ipv4.tcp_keepalive_time"
INTERVAL = "net.ipv4.tcp_keepalive_intvl"
PROBES = "net.ipv4.tcp_keepalive_probes"

PRACTICE = T(
    "Set SO_KEEPALIVE and, per socket, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT (30/10/3 finds a dead peer in a"
    " minute). The cost is one small packet per idle period; behind NATs keep it below their timeout.",
    "设置 SO_KEEPALIVE，并按套接字设 TCP_KEEPIDLE、TCP_KEEPINTVL、TCP_KEEPCNT（30/10/3 可在一分钟内发现死连接）。"
    "代价是每个空闲周期一个小包；在 NAT 之后应小于其超时时间。",
)


def watched(bench: Bench) -> Pair:
    """An open connection whose server has SO_KEEPALIVE set, with one octet each way."""
    pair = bench.open()
    pair.server.setsockopt(pair.sfd, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pair.client.send(pair.cfd, b"x")
    bench.read(pair.server, pair.sfd, 1)
    bench.run(300 * MSEC)
    return pair


def last_heard(bench: Bench) -> int:
    """When something of the client last arrived at the server, ns: idle time counts from there."""
    heard = [entry.time for entry in bench.record if type(entry).__name__ == "Received" and entry.where == "server"]
    return heard[-1]


def settings(bench: Bench) -> tuple[int, int, int]:
    """tcp_keepalive_time and _intvl in ns, tcp_keepalive_probes."""
    return bench.sysctl(TIME) * SEC, bench.sysctl(INTERVAL) * SEC, bench.sysctl(PROBES)


@lab(
    "KA-02",
    title=T("Power loss with keepalive: 2 h 11 min 15 s", "断电加 keepalive：2 小时 11 分 15 秒"),
    claim=T(
        "Linux's defaults are 7200 s, 75 s and 9 probes: a dead peer is found after 2 h 11 min 15 s.",
        "Linux 默认 7200 秒、75 秒、9 次：2 小时 11 分 15 秒后发现对端已死。",
    ),
    truth="true",
    source="S1; RFC 9293 3.8.4; tcp_keepalive_timer",
    why=T(
        "After tcp_keepalive_time of silence a probe goes out, then one each tcp_keepalive_intvl; when"
        " tcp_keepalive_probes of them are unanswered, 7200 + 9 x 75 = 7875 s have passed.",
        "静默 tcp_keepalive_time 后发探测，之后每隔 tcp_keepalive_intvl 一次；tcp_keepalive_probes 次无应答时，"
        "共 7200 + 9×75 = 7875 秒。",
    ),
    practice=PRACTICE,
    on=ANYWHERE,
    live={TIME: 2, INTERVAL: 1, PROBES: 3},
)
def power_loss(bench: Bench) -> Verdict:
    pair = watched(bench)
    idle_since = last_heard(bench)
    bench.power_off("client")
    idle, interval, count = settings(bench)
    limit = idle + (count + 1) * interval + 60 * SEC
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice", limit)
    gone = bench.now - idle_since
    probes = bench.sent("server", flags="A", payload=False, after=idle_since + SEC // 2)
    times = bench.times(probes, since=idle_since)
    error = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    bench.run(bench.lab.rtt)  # A kernel's RST may still be on its way to the link.
    resets = bench.sent("server", flags="RA")
    bench.check_times(T("probes sent at", "探测发送时刻"), times, [idle + n * interval for n in range(count)])
    bench.check_time(T("given up after", "放弃于"), gone, idle + count * interval)
    bench.check(T("recv() gives", "recv() 返回"), error, "ETIMEDOUT")
    bench.check(T("RSTs sent at the end", "最后发出的 RST"), len(resets), 1)
    before = {bench.connection().relative_seq(segment(entry)) for entry in probes}
    bench.check(T("seq of each probe (one below the next to send)", "探测的 seq（比下一个小 1）"), sorted(before), [0])
    told = show_ns(round(gone / MSEC) * MSEC)
    return bench.verdict(
        T(f"{len(probes)} probes, {error} after {told}", f"{len(probes)} 次探测，{told} 后 {error}"),
        T(
            f"The client lost power; the server probed {len(probes)} times, first after {in_seconds(times[:1])}, and"
            f" gave up after {told} with {error} and {len(resets)} RST.",
            f"客户端断电；服务端探测 {len(probes)} 次，首次在 {in_seconds(times[:1])} 后，{told} 后放弃，"
            f"返回 {error}，发出 {len(resets)} 个 RST。",
        ),
    )


@lab(
    "KA-05",
    title=T("Keepalive, peer alive: the timer starts anew", "keepalive，对端存活：重新计时"),
    claim=T(
        "The peer answers the probe, and the keepalive time begins again.", "对端应答探测，keepalive 时间重新开始计。"
    ),
    truth="true",
    source="S1; RFC 9293 3.8.4; tcp_keepalive_timer",
    why=T(
        "A probe carries a sequence number that was acknowledged long ago, so the peer's kernel must answer with an"
        " ACK. Its program takes no part: keepalive proves that the host lives, not the program.",
        "探测使用早已确认过的序号，对端内核必须回 ACK。其程序并不参与：keepalive 只证明主机活着，而不证明程序正常。",
    ),
    practice=T(
        "Use a heartbeat of the application's own where a hung program must be noticed; it costs code on both sides.",
        "若要发现卡死的程序，请用应用层心跳；代价是双方都要写代码。",
    ),
    on=ANYWHERE,
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
)
def peer_alive(bench: Bench) -> Verdict:
    watched(bench)
    idle_since = last_heard(bench)
    idle, _, _ = settings(bench)
    bench.run(idle_since + 4 * idle + idle // 2 - bench.now)
    probes = bench.sent("server", flags="A", payload=False, after=idle_since + SEC // 2)
    answers = bench.sent("client", flags="A", payload=False, after=idle_since + SEC // 2)
    times = bench.times(probes, since=idle_since)
    # Each answer is heard a round trip after its probe, and the next idle period begins there.
    expected = [(n + 1) * idle + n * bench.lab.rtt for n in range(4)]
    bench.check_times(T("probes sent at", "探测发送时刻"), times, expected)
    bench.check(T("answers", "应答"), len(answers), len(probes))
    bench.check(T("octets in the probes", "探测携带字节"), sum(segment(entry).length for entry in probes), 0)
    state = bench.state("server")
    bench.check(T("the connection is", "连接处于"), state, State.ESTABLISHED)
    return bench.verdict(
        T(
            f"probes at {in_seconds(times)}, {len(answers)} answers, still {state.rfc_name}",
            f"探测于 {in_seconds(times)}，应答 {len(answers)} 个，仍为 {state.rfc_name}",
        )
    )


@lab(
    "KA-06",
    title=T("Keepalive, peer rebooted: RST", "keepalive，对端已重启：RST"),
    claim=T(
        "The peer has crashed and rebooted: it answers the probe with an RST, and the connection is reset at once.",
        "对端崩溃并重启：它对探测回 RST，连接立即被重置。",
    ),
    truth="true",
    source="S1; RFC 9293 3.5.1 figure 10, 3.10.7.1",
    why=T(
        "After a reboot there is no connection that the probe could belong to, and a segment without a connection is"
        " answered with an RST. The program gets ECONNRESET, not ETIMEDOUT.",
        "重启后没有与探测对应的连接，无连接的报文一律回 RST。程序得到 ECONNRESET，而非 ETIMEDOUT。",
    ),
    practice=PRACTICE,
    on=ANYWHERE,
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
)
def peer_rebooted(bench: Bench) -> Verdict:
    pair = watched(bench)
    idle_since = last_heard(bench)
    idle, _, _ = settings(bench)
    bench.power_off("client")
    bench.run(SEC // 2)
    bench.power_on("client")
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice")
    gone = bench.now - idle_since
    error = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    probes = bench.sent("server", flags="A", payload=False, after=idle_since + SEC // 2)
    resets = bench.sent("client", flags="R")
    bench.check_times(T("probes sent at", "探测发送时刻"), bench.times(probes, since=idle_since), [idle])
    bench.check(T("RSTs of the rebooted client", "重启后的客户端发出 RST"), len(resets), 1)
    bench.check_time(T("over after", "结束于"), gone, idle + bench.lab.rtt)
    bench.check(T("recv() gives", "recv() 返回"), error, "ECONNRESET")
    return bench.verdict(
        T(
            f"{len(probes)} probe, {len(resets)} RST, {error} after {in_seconds([gone])}",
            f"{len(probes)} 次探测，{len(resets)} 个 RST，{in_seconds([gone])} 后 {error}",
        )
    )
