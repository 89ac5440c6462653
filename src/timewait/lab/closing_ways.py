"""close() against shutdown(): references, unread data, data that comes too late, a FIN out of order."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Program
from timewait.lab.forge import Dialog
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.tcp.states import State


def _served(bench: Bench, port: int = 40000) -> tuple[Dialog, Program, int]:
    """A connection of the puppet to a program of the server: (dialog, program, descriptor)."""
    server = bench.program("server")
    listener = bench.listen(server)
    dialog = Dialog(bench, port).shake()
    return dialog, server, bench.accept(server, listener)


@lab(
    "CLS-11",
    title=T("Half-open and half-closed", "半打开与半关闭"),
    claim=T(
        "TCP forbids data in one direction while half open, and allows it while half closed.",
        "TCP 不允许半打开状态下单向传送数据，但允许半关闭状态下单向传送。",
    ),
    truth="simplification",
    source="S0; RFC 9293 3.4, 3.5.1, 3.6",
    why=T(
        "Data in SYN-RECEIVED is legal, and delivered when the connection is open; Linux ignores it in a SYN without"
        " Fast Open. 'Half-open' means something else in the RFC: one side has lost the connection, the other has not"
        " noticed.",
        "SYN-RECEIVED 时的数据合法，连接建立后交付；Linux 只是忽略没有 TFO 的 SYN 所带数据。RFC 中的 half-open"
        " 另有所指："
        "一方已失去连接而另一方还不知道。",
    ),
    practice=T(
        "A connection half open in the RFC's sense is found only by sending: data, or SO_KEEPALIVE.",
        "RFC 意义上的 half-open 只有靠发送才能发现：发数据，或开启 SO_KEEPALIVE。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def half_open_and_half_closed(bench: Bench) -> Verdict:
    server = bench.program("server")
    listener = bench.listen(server)
    dialog = Dialog(bench, 40000)
    syn = dialog.make("S", data=b"0123456789")
    syn.mss = 1460
    dialog.put(syn)
    acked = dialog.relative(dialog.answered())[1]
    dialog.send("PA", seq=1, ack=1, data=b"abcde")
    fd = bench.accept(server, listener)
    early = bench.read(server, fd, 5)
    server.shutdown(fd, socket.SHUT_WR)
    bench.run(2 * bench.lab.rtt)
    dialog.send("A", seq=6, ack=2)
    dialog.send("PA", seq=6, ack=2, data=b"more")
    late = bench.read(server, fd, 4)
    state = bench.state("server")
    dialog.iss += 5_000_000
    dialog.send("S")
    bench.run(2 * bench.lab.rtt)
    answer = bench.flags(dialog.last())
    bench.check(T("10 octets in a SYN are acknowledged with", "SYN 带 10 字节的确认号"), acked, 1)
    bench.check(T("data in SYN-RECEIVED is delivered", "SYN-RECEIVED 时的数据被交付"), early, b"abcde")
    bench.check(T("data while half closed is delivered", "半关闭时的数据被交付"), late, b"more")
    bench.check(T("the server then", "此时服务端"), state, State.FIN_WAIT_2)
    bench.check(T("a SYN to the end that still lives", "仍存活的一端收到 SYN"), answer, "ACK")
    return bench.verdict(
        T(
            f"SYN data: ack={acked}; {len(early)} octets delivered from SYN-RECEIVED, {len(late)} in {state.rfc_name}",
            f"SYN 数据：ack={acked}；SYN-RECEIVED 时 {len(early)} 字节、{state.rfc_name} 时 {len(late)} 字节均交付",
        )
    )


@lab(
    "CLS-19",
    title=T("Nobody else closes for the program", "没有人替程序关闭"),
    claim=T(
        "The kernel cannot close on behalf of a process in CLOSE-WAIT: the FIN comes with close() or exit only.",
        "处于 CLOSE-WAIT 时内核无权替进程关闭：只有 close() 或进程退出才发 FIN。",
    ),
    truth="true",
    source="S1 S3 S4; RFC 9293 3.6",
    why=T(
        "The program may still want to send, for as long as it likes. CLOSE-WAIT has no timer.",
        "程序可能还要发送，而且可以任意久。CLOSE-WAIT 没有定时器。",
    ),
    practice=T(
        "CLOSE-WAIT that grows is a bug of the program: find the path without close(). Keepalive does not help: the"
        " peer's TCP may still answer.",
        "CLOSE-WAIT 增多是程序的缺陷：找出没有 close() 的路径。keepalive 无济于事，因为对端 TCP 可能仍会应答。",
    ),
    on=ANYWHERE,
    variants={
        "close": T("close() in the end", "最后 close()"),
        "exit": T("the process exits in the end", "最后进程退出"),
    },
)
def close_wait_lasts(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    bench.read_end(pair.server, pair.sfd)
    idle = 2 * SEC if bench.hurried else 100 * SEC
    bench.run(idle)
    state, fins = bench.state("server"), len(bench.sent("server", flags="FA"))
    if bench.variant == "exit":
        pair.server.exit()
    else:
        pair.server.close(pair.sfd)
    bench.run(200 * MSEC)
    then = len(bench.sent("server", flags="FA"))
    bench.check(T("state after the wait", "等待之后的状态"), state, State.CLOSE_WAIT)
    bench.check(T("FINs before and after", "之前与之后的 FIN"), [fins, then], [0, 1])
    bench.check(T("the server has no connection left", "服务端已无连接"), bench.state("server"), State.CLOSED)
    return bench.verdict(
        T(
            f"{state.rfc_name} for {idle // SEC} s; FIN only at {bench.variant}()",
            f"{state.rfc_name} 持续 {idle // SEC} 秒；直到 {bench.variant}() 才发 FIN",
        )
    )


@lab(
    "CLS-20",
    title=T("close() gives up one reference", "close() 只减少一个引用"),
    claim=T(
        "With several processes close() sends a FIN only when the last has closed.",
        "多进程共享时，只有最后一个 close() 才发 FIN。",
    ),
    truth="true",
    source="S2; struct file f_count (fork, dup)",
    why=T(
        "fork() and dup() share one open file. Threads share the descriptor itself: there the first close() is the"
        " last.",
        "fork() 与 dup() 共享同一个打开的文件。线程共享的是描述符本身：第一个 close() 就是最后一个。",
    ),
    practice=T(
        "Close the connection in the parent after fork(), else clients wait for an end that does not come. Set"
        " CLOEXEC.",
        "fork() 之后父进程要关闭该连接，否则客户端等不到结束。请设置 CLOEXEC。",
    ),
    on=ANYWHERE,
)
def one_reference(bench: Bench) -> Verdict:
    pair = bench.open()
    child = pair.server.fork("child")
    pair.server.close(pair.sfd)
    bench.run(200 * MSEC)
    fins = [len(bench.sent("server", flags="FA"))]
    child.send(pair.sfd, b"still here")
    got = bench.read(pair.client, pair.cfd, 10)
    child.close(pair.sfd)
    bench.run(200 * MSEC)
    fins.append(len(bench.sent("server", flags="FA")))
    bench.check(T("FINs after the first and the second close()", "第一次、第二次 close() 后的 FIN"), fins, [0, 1])
    bench.check(T("octets from the child in between", "其间子进程发出的字节"), len(got), 10)
    return bench.verdict(
        T(
            f"FINs after first close(): {fins[0]}, after the last: {fins[1]}; {len(got)} octets in between",
            f"首次 close() 后 FIN {fins[0]} 个，最后一次后 {fins[1]} 个；其间收到 {len(got)} 字节",
        )
    )


@lab(
    "CLS-21",
    title=T("shutdown() acts at once, for all", "shutdown() 立即生效，影响所有进程"),
    claim=T(
        "shutdown() sends the FIN whatever the number of references, and other processes are affected.",
        "shutdown() 不管引用计数，立即发 FIN，其他进程也受影响。",
    ),
    truth="true",
    source="S2; shutdown(2), inet_shutdown",
    why=T(
        "It changes the connection, which all share; close() only gives up a descriptor.",
        "它改变的是共享的连接本身；close() 只是放弃一个描述符。",
    ),
    practice=T(
        "Use it to end a connection that children hold too. The descriptors still need close().",
        "用它结束子进程也持有的连接。描述符仍需各自 close()。",
    ),
    on=ANYWHERE,
)
def at_once_for_all(bench: Bench) -> Verdict:
    pair = bench.open()
    child = pair.server.fork("child")
    pair.server.shutdown(pair.sfd, socket.SHUT_WR)
    bench.run(200 * MSEC)
    fins = len(bench.sent("server", flags="FA"))
    write = bench.attempt(lambda: child.send(pair.sfd, b"x"))
    end = bench.attempt(lambda: pair.client.recv(pair.cfd, 10))
    bench.check(T("FINs", "FIN 个数"), fins, 1)
    bench.check(T("send() in the child", "子进程 send()"), write, "EPIPE")
    bench.check(T("the client reads", "客户端读到"), end, "EOF")
    return bench.verdict(
        T(f"{fins} FIN at once; the child's send(): {write}", f"立即 {fins} 个 FIN；子进程 send()：{write}")
    )


@lab(
    "CLS-22",
    title=T("Data after close() is answered with RST", "close() 之后到达的数据得到 RST"),
    claim=T(
        "After close() data from the peer is answered with an RST and the connection is freed, without the rest of the"
        " close.",
        "close() 之后对端发来数据，会回 RST 并释放连接，不再走完四次挥手。",
    ),
    truth="true",
    source="S2; RFC 1122 4.2.2.13; tcp_rcv_state_process (TCPAbortOnData)",
    why=T(
        "Nobody can read it any more, and silence would let the peer believe that it was received.",
        "已无人能读取；若沉默，对端会误以为数据已被收下。",
    ),
    practice=T(
        "shutdown(SHUT_WR), read to the end, then close(). The cost: a limit of your own for peers that never end.",
        "先 shutdown(SHUT_WR)，读到结束，再 close()。代价：要为迟迟不结束的对端自设时限。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={
        "FIN-WAIT-2": T("the FIN was acknowledged", "FIN 已被确认"),
        "FIN-WAIT-1": T("it was not", "FIN 未被确认"),
    },
)
def data_after_close(bench: Bench) -> Verdict:
    dialog, server, fd = _served(bench)
    server.close(fd)
    bench.run(bench.lab.rtt)
    acked = 2 if bench.variant == "FIN-WAIT-2" else 1
    if acked == 2:
        dialog.send("A", seq=1, ack=2)
        bench.run(bench.lab.rtt)
    before = bench.state("server")
    count = len(dialog.received())
    dialog.send("PA", seq=1, ack=acked, data=b"0123456789")
    bench.run(2 * bench.lab.rtt)
    answer = dialog.answers(count)
    kinds = [bench.flags(each) for each in answer]
    seqs = [dialog.relative(each)[0] for each in answer]
    after = bench.state("server")
    bench.check(T("before", "之前"), before.rfc_name, bench.variant)
    bench.check(T("answer", "回应"), kinds, ["RST"])
    bench.check(T("its seq is the data's ack", "其 seq 等于数据的 ack"), seqs, [acked])
    bench.check(T("after", "之后"), after, State.CLOSED)
    return bench.verdict(
        T(
            f"{before.rfc_name}: data gets {', '.join(kinds)}; {after.rfc_name} without TIME-WAIT",
            f"{before.rfc_name}：数据得到 {'、'.join(kinds)}；直接 {after.rfc_name}，没有 TIME-WAIT",
        )
    )


@lab(
    "CLS-23",
    title=T("Is close() rude?", "close() 粗暴吗"),
    claim=T(
        "close() is the rude way to close, shutdown() the graceful one.",
        "close() 是粗暴关闭，shutdown() 是优雅关闭。",
    ),
    truth="simplification",
    source="S2; RFC 9293 3.10.4; RFC 1122 4.2.2.13",
    why=T(
        "With nothing unread and nothing more to come close() is an ordinary FIN, and everything sent is delivered."
        " Only data that arrives later, or was not read, makes it an RST.",
        "没有未读数据、对端也不再发送时，close() 就是普通的 FIN，已发送的都会送达。"
        "只有未读或之后到达的数据才使它变成 RST。",
    ),
    practice=T(
        "Close after the exchange is complete; where the peer may still send, shutdown(SHUT_WR) and read first.",
        "交互完成后再 close()；若对端可能还会发送，先 shutdown(SHUT_WR) 并读完。",
    ),
    on=ANYWHERE,
    variants={
        "quiet": T("the peer has nothing more to send", "对端不再发送"),
        "talking": T("it sends on", "对端继续发送"),
    },
)
def rude_or_not(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"goodbye")
    pair.client.close(pair.cfd)
    got = bench.read(pair.server, pair.sfd, 7)
    bench.run(100 * MSEC)
    talking = bench.variant == "talking"
    if talking:
        pair.server.send(pair.sfd, b"wait!")
        bench.run(100 * MSEC)
    error = bench.error(pair.server, pair.sfd)
    pair.server.close(pair.sfd)
    bench.run(200 * MSEC)
    resets = len(bench.sent("client", flags="R")) + len(bench.sent("client", flags="RA"))
    state = bench.state("client")
    bench.check(T("octets sent before close() and delivered", "close() 前发送并送达的字节"), len(got), 7)
    bench.check(T("RSTs", "RST 个数"), resets, 1 if talking else 0)
    bench.check(T("the peer's error", "对端的错误"), error, "EPIPE" if talking else "OK")
    bench.check(T("the closer then", "之后主动方"), state, State.CLOSED if talking else State.TIME_WAIT)
    return bench.verdict(
        T(
            f"{resets} RSTs, closer {state.rfc_name}, peer: {error}",
            f"{resets} 个 RST，主动方 {state.rfc_name}，对端：{error}",
        )
    )


@lab(
    "CLS-24",
    title=T("close() with unread data sends RST", "有未读数据时 close() 发 RST"),
    claim=T("close() sends a FIN.", "close() 会发送 FIN。"),
    truth="simplification",
    source="S1 S2; RFC 2525 2.17; RFC 1122 4.2.2.13; tcp_close (TCPAbortOnClose)",
    why=T(
        "Data was acknowledged that no program has read: only an RST tells the peer that it was lost.",
        "已被确认的数据没有任何程序读过：只有 RST 能让对端知道它丢了。",
    ),
    practice=T(
        "Drain the socket before close(). HTTP servers that answer an error without reading the request lose their"
        " answer this way.",
        "close() 之前把接收缓冲读空。未读完请求就返回错误的 HTTP 服务器，其应答会因此丢失。",
    ),
    on=ANYWHERE,
)
def unread_data(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"0123456789")
    bench.run(100 * MSEC)
    pair.server.close(pair.sfd)
    bench.run(100 * MSEC)
    fins = len(bench.sent("server", flags="FA"))
    resets = bench.sent("server", flags="RA")
    numbers = [(bench.relative_seq(entry), bench.relative_ack(entry)) for entry in resets]
    states = [bench.state("server"), bench.state("client")]
    read = bench.attempt(lambda: pair.client.recv(pair.cfd, 10))
    bench.check(T("FINs", "FIN 个数"), fins, 0)
    bench.check(T("RST, ACK with (seq, ack)", "RST、ACK 的 (seq, ack)"), numbers, [(1, 11)])
    bench.check(T("server and client then", "之后服务端与客户端"), states, [State.CLOSED] * 2)
    bench.check(T("recv() at the client", "客户端 recv()"), read, "ECONNRESET")
    return bench.verdict(
        T(
            f"{fins} FINs, {len(resets)} RST; no TIME-WAIT; the peer gets {read}",
            f"{fins} 个 FIN，{len(resets)} 个 RST；没有 TIME-WAIT；对端得到 {read}",
        )
    )


@lab(
    "CLS-25",
    title=T("A FIN that overtakes data", "FIN 先于数据到达"),
    claim=T(
        "A FIN that comes before missing data is queued; FIN-WAIT-2 becomes TIME-WAIT only when the data has come.",
        "先到的 FIN 进入乱序队列；等缺失的数据到达后才由 FIN-WAIT-2 进入 TIME-WAIT。",
    ),
    truth="true",
    source="S2; RFC 9293 3.10.7.4 SHLD-31; tcp_data_queue_ofo",
    why=T(
        "A FIN counts at its place in the stream. Linux holds this after shutdown(); an orphan, which nobody reads,"
        " answers a FIN out of order with an RST instead.",
        "FIN 在字节流中的位置才有意义。shutdown() 之后 Linux 如此处理；无人读取的孤儿连接则对乱序 FIN 回 RST。",
    ),
    practice=T(
        "One more reason for shutdown(SHUT_WR) and reading to the end instead of close() in the middle.",
        "这也是应 shutdown(SHUT_WR) 后读到结束、而不是中途 close() 的理由。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={"shutdown": T("after shutdown()", "shutdown() 之后"), "close": T("after close()", "close() 之后")},
)
def fin_out_of_order(bench: Bench) -> Verdict:
    dialog, server, fd = _served(bench)
    if bench.variant == "close":
        server.close(fd)
    else:
        server.shutdown(fd, socket.SHUT_WR)
    bench.run(bench.lab.rtt)
    dialog.send("A", seq=1, ack=2)
    bench.run(bench.lab.rtt)
    count = len(dialog.received())
    dialog.send("FA", seq=11, ack=2)
    bench.run(2 * bench.lab.rtt)
    first = dialog.answers(count)
    if bench.variant == "close":
        kinds = [bench.flags(each) for each in first]
        bench.check(T("answer to the FIN", "对 FIN 的回应"), kinds, ["RST"])
        bench.check(T("the server then", "之后服务端"), bench.state("server"), State.CLOSED)
        return bench.verdict(T(f"orphan: the FIN gets {', '.join(kinds)}", f"孤儿连接：FIN 得到 {'、'.join(kinds)}"))
    waiting = bench.state("server")
    acks = [dialog.relative(each)[1] for each in first]
    dialog.send("PA", seq=1, ack=2, data=b"0123456789")
    bench.run(2 * bench.lab.rtt)
    final, acked = bench.state("server"), dialog.relative(dialog.last())[1]
    got = bench.read_end(server, fd)
    bench.check(T("the FIN alone is answered with ack", "只有 FIN 时的确认号"), acks, [1])
    bench.check(T("state then", "此时状态"), waiting, State.FIN_WAIT_2)
    bench.check(T("after the data: ack", "数据到达后确认号"), acked, 12)
    bench.check(T("state", "状态"), final, State.TIME_WAIT)
    bench.check(T("read, then the end", "读到字节，随后 EOF"), len(got), 10)
    return bench.verdict(
        T(
            f"FIN first: ack={acks[0]}, {waiting.rfc_name}; data: ack={acked}, {final.rfc_name}",
            f"FIN 先到：ack={acks[0]}，{waiting.rfc_name}；数据到达：ack={acked}，{final.rfc_name}",
        )
    )
