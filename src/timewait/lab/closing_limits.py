"""How long a close may take: orphan retries, FIN-WAIT-2 after close() and after shutdown()."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab import nominal
from timewait.lab.bench import Bench
from timewait.lab.forge import Dialog
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.states import State

ORPHAN_RETRIES = "net.ipv4.tcp_orphan_retries"
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
TIMEWAIT_LEN = 60
"""TCP_TIMEWAIT_LEN in seconds, which tcp_fin_timeout is compared with."""


@lab(
    "CLS-14",
    title=T("tcp_orphan_retries 0 means 8", "tcp_orphan_retries 为 0 即 8"),
    claim=T(
        "tcp_orphan_retries is how often a FIN is sent again.",
        "tcp_orphan_retries 是 FIN 的重传次数。",
    ),
    truth="simplification",
    source="S0 S1 S3 S4; tcp_orphan_retries(), tcp_write_timeout",
    why=T(
        "It holds for everything an orphan has unacknowledged, not only for FINs. The default 0 stands for 8, and 8 for"
        " the time that 8 doublings of 200 ms take: 102 s.",
        "它适用于孤儿连接一切未确认的内容，不只是 FIN。默认 0 代表 8，而 8 又换算成 200 ms 翻倍 8 次的时间：102 秒。",
    ),
    practice=T(
        "1 or 2 on servers with many dead peers; memory of orphans is freed within seconds. The cost: the last data to"
        " slow clients may be lost.",
        "对端常失联的服务器可设 1 或 2，几秒内释放孤儿内存。代价：慢速客户端可能收不到最后的数据。",
    ),
    on=ANYWHERE,
    live={ORPHAN_RETRIES: 1},
    variants={"FIN": T("only a FIN is left", "只剩 FIN"), "data": T("data is left too", "还有数据")},
)
def zero_means_eight(bench: Bench) -> Verdict:
    pair = bench.open()
    for _ in range(4):
        pair.client.send(pair.cfd, b"request")
        bench.read(pair.server, pair.sfd, 7)
        pair.server.send(pair.sfd, b"answer")
        bench.read(pair.client, pair.cfd, 6)
    bench.run(250 * MSEC)
    begun = bench.now
    bench.drop("every segment from client")
    if bench.variant == "data":
        pair.client.send(pair.cfd, b"last words")
    pair.client.close(pair.cfd)
    bench.until(lambda: bench.state("client") is State.CLOSED, "the orphan to be given up", 400 * SEC)
    setting = bench.sysctl(ORPHAN_RETRIES, "client")
    retries = nominal.orphan_retries(setting)
    sent = bench.sent("client", after=begun)
    ended = bench.moved_at("client", State.CLOSED)
    if bench.variant == "data":
        again = [entry for entry in sent if bench.relative_seq(entry) == bench.relative_seq(sent[0])][1:]
        patience = ended - again[0].time
        expected = nominal.patience(retries)
        bench.check_that(
            T("given up after, from the first retransmission", "自首次重传起放弃于"),
            expected <= patience <= 2 * expected + 400 * MSEC,
            in_seconds([patience]),
            f"{in_seconds([expected])} to twice that",
        )
    else:
        again = sent[1:]
        times = bench.times(sent)
        wanted, end = nominal.data(retries, nominal.first_timeout(times), bench.probes("client"))
        bench.check_times(T("FINs at", "FIN 发送时刻"), times, wanted)
        bench.check_time(T("given up after", "放弃于"), ended - begun, end)
    told = in_seconds([ended - begun])
    return bench.verdict(
        T(
            f"setting {setting} counts as {retries}: {len(again)} retransmissions, given up after {told}",
            f"设置 {setting} 即 {retries}：重传 {len(again)} 次，{told} 后放弃",
        )
    )


@lab(
    "CLS-15",
    title=T("FIN-WAIT-2 after close() ends by itself", "close() 之后的 FIN-WAIT-2 会自行结束"),
    claim=T(
        "After close() FIN-WAIT-2 lasts tcp_fin_timeout, generally 60 s, and is then closed.",
        "close() 之后 FIN-WAIT-2 最多持续 tcp_fin_timeout，一般 60 秒，随后关闭。",
    ),
    truth="true",
    source="S1 S2 S3 S4; ip-sysctl.rst; tcp_fin_time, tcp_keepalive_timer",
    why=T(
        "An orphan cannot be told of the peer's FIN, so Linux does not wait for it for ever. It vanishes without a"
        " packet, and a FIN that comes later gets an RST. Above 60 s Linux counts in two halves of T - 60: 61 gives"
        " 2 s.",
        "孤儿无法得知对端的 FIN，Linux 不会无限等待。它悄然消失，之后到达的 FIN 得到 RST。"
        "超过 60 秒时 Linux 按两段 T-60 计时：设 61 只有 2 秒。",
    ),
    practice=T(
        "net.ipv4.tcp_fin_timeout or TCP_LINGER2, at most 60. It does not shorten TIME-WAIT. The cost of a small value:"
        " slow peers get an RST.",
        "net.ipv4.tcp_fin_timeout 或 TCP_LINGER2，不超过 60。它不影响 TIME-WAIT。代价：慢速对端会收到 RST。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={
        "short": T("tcp_fin_timeout=3", "tcp_fin_timeout=3"),
        "default": T("the default", "默认值"),
        "61": T("tcp_fin_timeout=61", "tcp_fin_timeout=61"),
    },
)
def fin_wait_2_ends(bench: Bench) -> Verdict:
    if bench.variant != "default":
        bench.configure({FIN_TIMEOUT: 3 if bench.variant == "short" else 61})
    elif bench.hurried:
        bench.configure({FIN_TIMEOUT: 4})
    server = bench.program("server")
    listener = bench.listen(server)
    dialog = Dialog(bench, 40000).shake()
    server.close(bench.accept(server, listener))
    bench.run(bench.lab.rtt)
    dialog.send("A", seq=1, ack=2)
    bench.until(lambda: bench.state("server") is State.FIN_WAIT_2, "FIN-WAIT-2")
    begun = bench.now
    bench.until(lambda: bench.state("server") is State.CLOSED, "its end", 200 * SEC)
    lasted = bench.now - begun
    count = len(dialog.received())
    dialog.send("FA", seq=1, ack=2)
    bench.run(2 * bench.lab.rtt)
    late = [bench.flags(each) for each in dialog.answers(count)]
    setting = bench.sysctl(FIN_TIMEOUT)
    expected = setting if setting <= TIMEWAIT_LEN else 2 * (setting - TIMEWAIT_LEN)
    if bench.on == "sim":
        ok = abs(lasted - expected * SEC) <= bench.lab.rtt
    else:
        ok = bench.close_to(lasted, expected * SEC) or abs(lasted - expected * SEC) < 300 * MSEC
    bench.check_that(T("FIN-WAIT-2 lasted", "FIN-WAIT-2 持续"), ok, in_seconds([lasted]), f"{expected} s")
    bench.check(T("a late FIN is answered with", "迟到的 FIN 得到"), late, ["RST"])
    return bench.verdict(
        T(
            f"tcp_fin_timeout={setting}: gone after {lasted / SEC:.1f} s; a late FIN gets {', '.join(late)}",
            f"tcp_fin_timeout={setting}：{lasted / SEC:.1f} 秒后消失；迟到的 FIN 得到 {'、'.join(late)}",
        )
    )


@lab(
    "CLS-16",
    title=T("FIN-WAIT-2 after shutdown() lasts", "shutdown() 之后的 FIN-WAIT-2 没有时限"),
    claim=T(
        "After shutdown() FIN-WAIT-2 waits for ever: tcp_fin_timeout does not apply.",
        "shutdown() 之后 FIN-WAIT-2 会一直等待：tcp_fin_timeout 不起作用。",
    ),
    truth="true",
    source="S1 S2 S4; tcp_rcv_state_process, tcp_close",
    why=T(
        "The program still holds the socket and can read on. The clock begins with its close().",
        "程序仍持有套接字，还可以读。计时从它调用 close() 开始。",
    ),
    practice=T(
        "Bound the reading after shutdown() yourself, then close().",
        "shutdown() 之后的读取要自设时限，然后 close()。",
    ),
    on=ANYWHERE,
    sysctl={FIN_TIMEOUT: 2},
)
def fin_wait_2_stays(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    idle = 4 * SEC if bench.hurried else 3600 * SEC
    bench.run(idle)
    waiting = bench.state("client")
    pair.client.close(pair.cfd)
    begun = bench.now
    bench.until(lambda: bench.state("client") is State.CLOSED, "its end after close()")
    lasted = bench.now - begun
    bench.check(T("state after the wait", "等待之后的状态"), waiting, State.FIN_WAIT_2)
    bench.check_time(T("gone after close()", "close() 之后消失于"), lasted, bench.sysctl(FIN_TIMEOUT, "client") * SEC)
    return bench.verdict(
        T(
            f"{waiting.rfc_name} after {idle // SEC} s; after close() gone in {in_seconds([lasted])}",
            f"{idle // SEC} 秒后仍为 {waiting.rfc_name}；close() 后 {in_seconds([lasted])} 消失",
        )
    )
