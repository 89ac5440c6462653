"""TIME-WAIT: how long it lasts, and what starts it anew."""

from timewait.base.instant import SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State

FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"


def _length(bench: Bench, host: str) -> int:
    """2 MSL: a constant of the kernel, not a sysctl."""
    return 60 * SEC if bench.is_kernel(host) else int(profile_named(bench.profile).timewait_len)


@lab(
    "TW-03",
    title=T("TIME-WAIT lasts 60 s", "TIME-WAIT 持续 60 秒"),
    claim=T(
        "On Linux TIME-WAIT lasts a fixed 60 s (TCP_TIMEWAIT_LEN); changing it needs a recompiled kernel.",
        "Linux 的 TIME-WAIT 固定为 60 秒（TCP_TIMEWAIT_LEN）；修改需重新编译内核。",
    ),
    truth="true",
    source="S1 S3 S4; RFC 9293 3.6.1; include/net/tcp.h TCP_TIMEWAIT_LEN",
    why=T(
        "The RFC asks for twice the longest life of a segment, 4 min; Linux has taken 60 s. tcp_fin_timeout, often"
        " mistaken for it, bounds FIN-WAIT-2 only.",
        "RFC 要求报文最大生存时间的两倍，即 4 分钟；Linux 取 60 秒。常被混淆的 tcp_fin_timeout 只限制 FIN-WAIT-2。",
    ),
    practice=T(
        "Do not try to shorten it. Let the side with few connections close first, keep connections alive, and on a"
        " client net.ipv4.tcp_tw_reuse=1 lets connect() take over a TIME-WAIT of more than 1 s; it needs timestamps.",
        "不要试图缩短它。让连接少的一方先关闭，使用长连接；客户端可设 net.ipv4.tcp_tw_reuse=1，让 connect() 接管"
        "超过 1 秒的 TIME-WAIT，前提是启用时间戳。",
    ),
    on=ANYWHERE,
    variants={
        "default": T("tcp_fin_timeout=60", "tcp_fin_timeout=60"),
        "fin-timeout": T("tcp_fin_timeout=5: it makes no difference", "tcp_fin_timeout=5：没有区别"),
    },
)
def sixty_seconds(bench: Bench) -> Verdict:
    if bench.variant == "fin-timeout":
        bench.configure({FIN_TIMEOUT: 5})
    pair = bench.open()
    pair.client.send(pair.cfd, b"bye")
    bench.read(pair.server, pair.sfd, 3)
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    pair.server.close(pair.sfd)
    bench.until(lambda: bench.state("client") is State.TIME_WAIT, "TIME-WAIT")
    begun = bench.now
    bench.until(lambda: bench.state("client") is State.CLOSED, "the end of TIME-WAIT", 600 * SEC)
    lasted = bench.moved_at("client", State.CLOSED) - bench.moved_at("client", State.TIME_WAIT)
    quiet = len(bench.sent(after=begun)) - len(bench.sent("client", flags="A", after=begun))
    bench.check_time(T("TIME-WAIT at the client lasts", "客户端 TIME-WAIT 持续"), lasted, _length(bench, "client"))
    bench.check(
        T("TIME-WAITs at the server", "服务端 TIME-WAIT 次数"), len(bench.entered("server", State.TIME_WAIT)), 0
    )
    bench.check(T("packets during it, the last ACK aside", "其间报文（最后的 ACK 除外）"), quiet, 0)
    fin_timeout = bench.sysctl(FIN_TIMEOUT, "client")
    told = in_seconds([lasted])
    return bench.verdict(
        T(
            f"TIME-WAIT for {told} with tcp_fin_timeout={fin_timeout}",
            f"tcp_fin_timeout={fin_timeout} 时 TIME-WAIT {told}",
        )
    )


@lab(
    "TW-05",
    title=T("A FIN again in TIME-WAIT starts the 60 s anew", "TIME-WAIT 中再收到 FIN：重新计 60 秒"),
    claim=T(
        "A retransmitted FIN is acknowledged again and restarts the 2 MSL timer.",
        "重传的 FIN 会被再次确认，并重启 2MSL 定时器。",
    ),
    truth="true",
    source="S0 S1 S2 S3 S4; RFC 9293 3.10.7.4 eighth check; tcp_timewait_state_process",
    why=T(
        "The FIN came again because our ACK was lost, so the other side is still in LAST-ACK. It needs that ACK, and"
        " TIME-WAIT must outlast its next attempt.",
        "FIN 再次到来说明我们的 ACK 丢了，对端仍在 LAST-ACK。它需要这个 ACK，而 TIME-WAIT 必须撑过它的下一次重试。",
    ),
    practice=T(
        "Nothing to do: it is what TIME-WAIT is for. SO_LINGER with 0 s avoids it by an RST, at the cost of data loss.",
        "无需处理：TIME-WAIT 正为此存在。SO_LINGER 设 0 秒会用 RST 绕过它，代价是可能丢数据。",
    ),
    on=("sim", "kernel"),
    topology="puppet-server",
)
def fin_again(bench: Bench) -> Verdict:
    client, puppet = bench.program("client"), bench.puppet
    fd = bench.connect(client)
    bench.until(puppet.segments, "the SYN")
    puppet.syn_ack()
    bench.outcome(client, fd)
    client.close(fd)
    bench.until(lambda: any(bench.flags(found) == "FIN-ACK" for found in puppet.segments()), "the client's FIN")
    puppet.send("FA", seq=1, ack=2)
    bench.until(lambda: bench.state("client") is State.TIME_WAIT, "TIME-WAIT")
    begun = bench.now
    # A kernel's clock cannot be hurried: there the FIN comes sooner, and the rule is the same.
    pause = 2 * SEC if bench.hurried else 20 * SEC
    bench.run(pause)
    before = len(puppet.segments())
    puppet.send("FA", seq=1, ack=2)
    bench.run(SEC)
    answers = puppet.segments()[before:]
    arrived = pause + bench.lab.rtt // 2
    bench.until(lambda: bench.state("client") is State.CLOSED, "the end of TIME-WAIT", 600 * SEC)
    ended = bench.now - begun
    bench.check(
        T("answers to the second FIN", "对第二个 FIN 的应答"), [bench.flags(found) for found in answers], ["ACK"]
    )
    numbers = [puppet.relative(found) for found in answers]
    bench.check(T("its seq, ack", "其 seq、ack"), numbers, [(2, 2)])
    bench.check_time(T("TIME-WAIT ends after", "TIME-WAIT 结束于"), ended, arrived + _length(bench, "client"))
    again, told = in_seconds([arrived]), in_seconds([ended])
    return bench.verdict(
        T(
            f"FIN again at {again}: ACK, TIME-WAIT over at {told}",
            f"{again} 再收到 FIN：回 ACK，{told} 时 TIME-WAIT 结束",
        )
    )
