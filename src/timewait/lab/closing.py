"""Closing a connection when nothing is lost: four segments, and half a connection in between."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.tcp.states import State


@lab(
    "CLS-01",
    title=T("Four segments close a connection", "四次挥手"),
    claim=T(
        "Each direction needs a FIN and its ACK: FIN-WAIT-1, CLOSE-WAIT, FIN-WAIT-2, LAST-ACK, TIME-WAIT, CLOSED.",
        "每个方向需要一个 FIN 和对它的 ACK：FIN-WAIT-1、CLOSE-WAIT、FIN-WAIT-2、LAST-ACK、TIME-WAIT、CLOSED。",
    ),
    truth="true",
    source="S0 S1 S2 S3 S4; RFC 9293 3.6 figure 12",
    why=T(
        "A FIN says that one side has nothing more to send. The other side may still have, so its FIN comes when its"
        " program closes, and not with the ACK.",
        "FIN 只表示一方不再发送。另一方可能还有数据，所以它的 FIN 要等其程序关闭时才发，不与 ACK 合并。",
    ),
    practice=T(
        "Who closes first keeps TIME-WAIT for 60 s. Let clients close first, and close() as soon as recv() gives 0:"
        " until then the socket stays in CLOSE-WAIT.",
        "先关闭的一方要保留 60 秒 TIME-WAIT。让客户端先关闭；recv() 返回 0 后立即 close()，否则一直停在 CLOSE-WAIT。",
    ),
    on=ANYWHERE,
    variants={
        "client": T("the client closes first", "客户端先关闭"),
        "server": T("the server closes first", "服务端先关闭"),
    },
)
def four_segments(bench: Bench) -> Verdict:
    pair = bench.open()
    active, passive = ("client", "server") if bench.variant == "client" else ("server", "client")
    ends = {"client": (pair.client, pair.cfd), "server": (pair.server, pair.sfd)}
    (closer, fd), (other, other_fd) = ends[active], ends[passive]
    begun = bench.now
    closer.close(fd)
    rest = bench.read_end(other, other_fd)
    bench.run(300 * MSEC)
    half = [bench.state(active), bench.state(passive)]
    other.close(other_fd)
    bench.run(300 * MSEC)
    sent = [f"{entry.where} {bench.flags(entry)}" for entry in bench.sent(after=begun)]
    expected = [f"{active} FIN-ACK", f"{passive} ACK", f"{passive} FIN-ACK", f"{active} ACK"]
    bench.check(T("segments", "报文"), sent, expected)
    bench.check(T("the other side reads", "对端读到"), "EOF" if rest == b"" else len(rest), "EOF")
    bench.check(T("in between", "中间状态"), half, [State.FIN_WAIT_2, State.CLOSE_WAIT])
    opening = {"client": State.SYN_SENT, "server": State.SYN_RCVD}
    closed_first = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.TIME_WAIT)
    bench.check_path(active, opening[active], State.ESTABLISHED, *closed_first)
    closed_last = (State.CLOSE_WAIT, State.LAST_ACK, State.CLOSED)
    bench.check_path(passive, opening[passive], State.ESTABLISHED, *closed_last)
    waiting = bench.state(active)
    if bench.on == "sim":
        bench.finish()
    return bench.verdict(
        T(
            f"{len(sent)} segments; {active} ends in {waiting.rfc_name}, {passive} is done",
            f"{len(sent)} 个报文；{active} 进入 {waiting.rfc_name}，{passive} 已结束",
        )
    )


@lab(
    "CLS-04",
    title=T("Half-close: data still flows back", "半关闭：数据仍可反向流动"),
    claim=T(
        "After the client's FIN the server may go on sending for a long time, and FIN-WAIT-2 takes it.",
        "客户端发出 FIN 后，服务端仍可长时间发送，FIN-WAIT-2 照收。",
    ),
    truth="true",
    source="S0 S1 S2 S3; RFC 9293 3.6; RFC 1122 4.2.2.13",
    why=T(
        "A FIN ends one direction only. It must come from shutdown(SHUT_WR): after close() nobody is left to read, and"
        " data that arrives is answered with an RST.",
        "FIN 只结束一个方向。它必须来自 shutdown(SHUT_WR)：若用 close()，已无人读取，到达的数据会被回以 RST。",
    ),
    practice=T(
        "Use shutdown(fd, SHUT_WR) to say 'that was my request' and read on. There is no limit on FIN-WAIT-2 then: set"
        " a timeout of your own.",
        "用 shutdown(fd, SHUT_WR) 表示“请求已发完”并继续读。此时 FIN-WAIT-2 没有时限，请自设超时。",
    ),
    on=ANYWHERE,
)
def half_close(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    end = bench.read_end(pair.server, pair.sfd)
    pause = SEC // 4 if bench.hurried else SEC
    states = []
    for _ in range(3):
        bench.run(pause)
        states.append(bench.state("client"))
        pair.server.send(pair.sfd, b"x" * 100)
    got = bench.read(pair.client, pair.cfd, 300)
    write = bench.attempt(lambda: pair.client.send(pair.cfd, b"more"))
    pair.server.close(pair.sfd)
    rest = bench.read_end(pair.client, pair.cfd)
    bench.run(SEC // 2)
    last = bench.state("client")
    bench.check(T("the server reads the end", "服务端读到结束"), len(end), 0)
    bench.check(T("the client while data comes", "收数据时客户端状态"), states, [State.FIN_WAIT_2] * 3)
    bench.check(T("octets read after its own FIN", "自己发 FIN 之后读到字节"), len(got) + len(rest), 300)
    bench.check(T("send() after shutdown()", "shutdown() 之后 send()"), write, "EPIPE")
    resets = len(bench.sent(flags="R")) + len(bench.sent(flags="RA"))
    bench.check(T("RSTs", "RST 个数"), resets, 0)
    bench.check(T("after the server's FIN", "服务端 FIN 之后"), last, State.TIME_WAIT)
    return bench.verdict(
        T(
            f"{len(got)} octets read in FIN-WAIT-2, {resets} RSTs, then {last.rfc_name}",
            f"在 FIN-WAIT-2 中读到 {len(got)} 字节，{resets} 个 RST，随后 {last.rfc_name}",
        )
    )
