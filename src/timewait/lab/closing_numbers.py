"""The four segments of a close one by one: their numbers, states and times."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State

_NOTHING = T(
    "Nothing to tune; when you read a capture, the last ACK is one above the FIN's number.",
    "无需调优；看抓包时，最后的 ACK 比 FIN 的序号大一。",
)


def _close_both(bench: Bench, request: int = 10, answer: int = 5, pause: int = 300 * MSEC) -> None:
    """Some data each way, then the client closes, and after a pause the server."""
    pair = bench.open()
    if request:
        pair.client.send(pair.cfd, b"x" * request)
        bench.read(pair.server, pair.sfd, request)
    if answer:
        pair.server.send(pair.sfd, b"y" * answer)
        bench.read(pair.client, pair.cfd, answer)
    bench.run(pause)
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    bench.run(pause)
    pair.server.close(pair.sfd)
    bench.run(pause)


@lab(
    "CLS-02",
    title=T("A FIN uses up one sequence number", "FIN 占用一个序号"),
    claim=T(
        "The FIN's number u is that of the last octet plus one; it consumes one number even without data.",
        "FIN 的序号 u 等于最后一个字节的序号加一；即使不带数据也消耗一个序号。",
    ),
    truth="true",
    source="S0; RFC 9293 3.4",
    why=T(
        "A FIN must be delivered reliably and in order, so it needs a number that can be acknowledged.",
        "FIN 必须可靠且按序到达，所以需要一个可被确认的序号。",
    ),
    practice=_NOTHING,
    on=ANYWHERE,
    variants={"data": T("after 10 octets", "发过 10 字节"), "empty": T("without any data", "没有发过数据")},
)
def fin_takes_a_number(bench: Bench) -> Verdict:
    request = 10 if bench.variant == "data" else 0
    _close_both(bench, request, 0)
    fin = bench.sent("client", flags="FA")[0]
    ack = bench.sent("server", flags="A", after=fin.time)[0]
    u, acked = bench.relative_seq(fin), bench.relative_ack(ack)
    bench.check(T("seq of the FIN", "FIN 的序号"), u, request + 1)
    bench.check(T("acknowledged with", "确认号"), acked, u + 1)
    return bench.verdict(T(f"FIN at u={u}, acknowledged with {acked}", f"FIN 序号 u={u}，确认号 {acked}"))


@lab(
    "CLS-03",
    title=T("The passive side: ACK, CLOSE-WAIT, end of file", "被动方：ACK、CLOSE-WAIT、读到 EOF"),
    claim=T(
        "The passive side acknowledges u+1, goes to CLOSE-WAIT, and its TCP tells the program.",
        "被动方确认 u+1，进入 CLOSE-WAIT，由 TCP 通知应用进程。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.10.7.4 eighth check; tcp_fin",
    why=T(
        "The kernel acknowledges by itself, 40 ms later at most if the program might close at once. The program learns"
        " of it as recv() = 0, after all data.",
        "内核自行确认；若程序可能马上关闭，最多推迟 40 ms。程序在读完所有数据后从 recv() 返回 0 得知。",
    ),
    practice=T(
        "recv() = 0 means: the peer will send nothing more. Finish, then close(); nobody else does it.",
        "recv() 返回 0 表示对端不再发送。处理完后调用 close()，没有别人会替你关。",
    ),
    on=ANYWHERE,
)
def passive_side(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.close(pair.cfd)
    bench.run(300 * MSEC)
    fin = bench.sent("client", flags="FA")[0]
    acks = bench.sent("server", flags="A", after=fin.time)
    state = bench.state("server")
    read = bench.attempt(lambda: pair.server.recv(pair.sfd, 100))
    acked = [bench.relative_ack(entry) for entry in acks]
    bench.check(T("the FIN is acknowledged with", "FIN 的确认号"), acked, [bench.relative_seq(fin) + 1])
    bench.check(T("state", "状态"), state, State.CLOSE_WAIT)
    bench.check(T("recv()", "recv()"), read, "EOF")
    waited = acks[0].time - fin.time - bench.lab.rtt // 2
    return bench.verdict(
        T(
            f"ACK after {waited / MSEC:.0f} ms without the program; {state.rfc_name}; recv(): {read}",
            f"内核 {waited / MSEC:.0f} ms 后确认，无需程序参与；{state.rfc_name}；recv()：{read}",
        )
    )


@lab(
    "CLS-05",
    title=T("Which end a half-close closes", "半关闭关的是哪一端"),
    claim=T(
        "'After the server closes its own receiving end it can still receive from the client, only not send back.'",
        "“服务端关闭自己的接收端后，仍能接收客户端的数据，只是不能回发。”",
    ),
    truth="wrong",
    source="S0; RFC 9293 3.6; shutdown(2)",
    why=T(
        "It is the sending end that is closed, by shutdown(SHUT_WR), which sends a FIN. SHUT_RD closes the receiving"
        " end: nothing goes over the wire, and recv() gives 0.",
        "关闭的是发送端：shutdown(SHUT_WR) 发出 FIN。SHUT_RD 关闭接收端：线路上没有任何报文，recv() 返回 0。",
    ),
    practice=T(
        "Use SHUT_WR to say 'no more from me'. SHUT_RD does not stop the peer: what it sends is still acknowledged.",
        "用 SHUT_WR 表示“我不再发送”。SHUT_RD 拦不住对端：它发来的数据照样被确认。",
    ),
    on=ANYWHERE,
)
def which_end(bench: Bench) -> Verdict:
    pair = bench.open()
    begun = bench.now
    pair.client.shutdown(pair.cfd, socket.SHUT_RD)
    bench.run(100 * MSEC)
    after_rd = len(bench.sent(after=begun))
    empty = bench.attempt(lambda: pair.client.recv(pair.cfd, 10))
    pair.server.shutdown(pair.sfd, socket.SHUT_WR)
    bench.run(100 * MSEC)
    fins = len(bench.sent("server", flags="FA"))
    write = bench.attempt(lambda: pair.server.send(pair.sfd, b"x"))
    pair.client.send(pair.cfd, b"0123456789")
    got = bench.read(pair.server, pair.sfd, 10)
    bench.check(T("packets after SHUT_RD", "SHUT_RD 之后的报文"), after_rd, 0)
    bench.check(T("recv() after SHUT_RD", "SHUT_RD 之后 recv()"), empty, "EOF")
    bench.check(T("FINs after SHUT_WR", "SHUT_WR 之后的 FIN"), fins, 1)
    bench.check(T("send() after SHUT_WR", "SHUT_WR 之后 send()"), write, "EPIPE")
    bench.check(T("octets received after SHUT_WR", "SHUT_WR 之后收到字节"), len(got), 10)
    return bench.verdict(
        T(
            f"wrong: the sending end is closed ({fins} FIN, send(): {write}), {len(got)} octets still come in",
            f"说法有误：关闭的是发送端（{fins} 个 FIN，send()：{write}），仍收到 {len(got)} 字节",
        )
    )


@lab(
    "CLS-06",
    title=T("Third segment: the other FIN", "第三次挥手：被动方的 FIN"),
    claim=T(
        "The passive side sends FIN, ACK with seq=w and ack=u+1, and is in LAST-ACK.",
        "被动方发送 FIN、ACK，seq=w，ack=u+1，进入 LAST-ACK。",
    ),
    truth="true",
    source="S0 S1 S4; RFC 9293 3.6 figure 12",
    why=T(
        "w is one above what it sent last: between the two FINs it may have sent more data. The acknowledgment repeats"
        " the one of the second segment.",
        "w 比它最后发送的字节大一：两个 FIN 之间它还可能发过数据。确认号与第二次挥手相同。",
    ),
    practice=T(
        "LAST-ACK that lasts means that the peer is gone; net.ipv4.tcp_orphan_retries bounds it.",
        "LAST-ACK 持续不退说明对端已不在；由 net.ipv4.tcp_orphan_retries 限制。",
    ),
    on=ANYWHERE,
)
def third_segment(bench: Bench) -> Verdict:
    _close_both(bench)
    mine = bench.sent("client", flags="FA")[0]
    fin = bench.sent("server", flags="FA")[0]
    seq, ack = bench.relative_seq(fin), bench.relative_ack(fin)
    bench.check(T("w (after 5 octets)", "w（发过 5 字节）"), seq, 6)
    bench.check(T("ack", "确认号"), ack, bench.relative_seq(mine) + 1)
    states = (State.SYN_RCVD, State.ESTABLISHED, State.CLOSE_WAIT, State.LAST_ACK, State.CLOSED)
    bench.check_path("server", *states)
    return bench.verdict(T(f"FIN, ACK seq={seq} ack={ack}", f"FIN、ACK：seq={seq}，ack={ack}"))


@lab(
    "CLS-07",
    title=T("Fourth segment, then 2 MSL", "第四次挥手，然后等待 2MSL"),
    claim=T(
        "The closer answers with seq=u+1, ack=w+1, stays in TIME-WAIT for 2 MSL and is then CLOSED.",
        "主动方回 seq=u+1、ack=w+1，在 TIME-WAIT 停留 2MSL 后进入 CLOSED。",
    ),
    truth="true",
    source="S0 S1 S2 S3 S4; RFC 9293 3.6; TCP_TIMEWAIT_LEN",
    why=T(
        "Nobody acknowledges an ACK. Should it be lost, the FIN comes again, and somebody must be there for it.",
        "ACK 本身无人确认。若它丢失，FIN 会再来，需要有人应答。",
    ),
    practice=T(
        "60 s, fixed on Linux. It holds no descriptor and some 250 octets.",
        "Linux 上固定为 60 秒。它不占描述符，只占约 250 字节内存。",
    ),
    on=ANYWHERE,
)
def fourth_segment(bench: Bench) -> Verdict:
    _close_both(bench)
    mine, fin = bench.sent("client", flags="FA")[0], bench.sent("server", flags="FA")[0]
    last = bench.sent("client", flags="A", after=fin.time)[0]
    seq, ack = bench.relative_seq(last), bench.relative_ack(last)
    state = bench.state("client")
    bench.check(T("seq", "序号"), seq, bench.relative_seq(mine) + 1)
    bench.check(T("ack", "确认号"), ack, bench.relative_seq(fin) + 1)
    bench.check(T("then", "之后"), state, State.TIME_WAIT)
    waited = 0
    if not bench.hurried:
        bench.finish()
        waited = bench.moved_at("client", State.CLOSED) - last.time
        length = profile_named(bench.profile).timewait_len
        bench.check_time(T("CLOSED after", "CLOSED 于"), waited, length)
    told = f", CLOSED after {in_seconds([waited])}" if waited else ""
    told_zh = f"，{in_seconds([waited])} 后 CLOSED" if waited else ""
    return bench.verdict(
        T(f"ACK seq={seq} ack={ack}, {state.rfc_name}{told}", f"ACK seq={seq} ack={ack}，{state.rfc_name}{told_zh}")
    )


@lab(
    "CLS-08",
    title=T("The passive side is done first", "被动方先结束"),
    claim=T(
        "The server ends its connection earlier than the client.",
        "服务端结束连接的时间比客户端早。",
    ),
    truth="true",
    source="S0; RFC 9293 3.6",
    why=T(
        "It holds for whoever closes second: the last ACK ends it, while who closed first waits 2 MSL more.",
        "准确地说是后关闭的一方：收到最后的 ACK 即结束，而先关闭的一方还要再等 2MSL。",
    ),
    practice=T(
        "Let the side close first that can bear TIME-WAIT, mostly the client.",
        "让承受得起 TIME-WAIT 的一方先关闭，通常是客户端。",
    ),
    on=ANYWHERE,
)
def passive_ends_first(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"hello")
    bench.read(pair.server, pair.sfd, 5)
    bench.run(2 * bench.lab.rtt)
    begun = bench.now
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    pair.server.close(pair.sfd)
    bench.until(lambda: bench.state("client") is State.CLOSED, "the end of TIME-WAIT", 600 * SEC)
    server = bench.moved_at("server", State.CLOSED) - begun
    client = bench.moved_at("client", State.CLOSED) - begun
    rtt = bench.lab.rtt
    bench.check_time(T("server CLOSED after 1.5 round trips", "服务端 1.5 个往返后 CLOSED"), server, rtt * 3 // 2)
    length = profile_named(bench.profile).timewait_len
    bench.check_time(
        T("client CLOSED after a round trip and 2 MSL", "客户端一个往返加 2MSL 后 CLOSED"), client, rtt + length
    )
    return bench.verdict(
        T(
            f"server CLOSED after {in_seconds([server])}, client after {in_seconds([client])}",
            f"服务端 {in_seconds([server])} 后 CLOSED，客户端 {in_seconds([client])} 后",
        )
    )


@lab(
    "CLS-10",
    title=T("Why closing takes four segments", "为什么挥手是四次"),
    claim=T(
        "When the FIN comes the peer may still have data, so its ACK and its FIN are sent apart.",
        "收到 FIN 时对端可能还有数据要发，所以 ACK 与 FIN 分开发送。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.6; tcp_fin",
    why=T(
        "The ACK comes from the kernel, the FIN from the program. Where the program closes within the 40 ms for which"
        " the kernel delays its ACK, both travel together: three segments.",
        "ACK 由内核发出，FIN 由程序决定。若程序在内核推迟 ACK 的 40 ms 内就关闭，两者合并：三个报文。",
    ),
    practice=T(
        "Close as soon as recv() gives 0 and nothing is left to say.", "recv() 返回 0 且没有数据要发时立即 close()。"
    ),
    on=ANYWHERE,
    variants={
        "pending": T("the server still has data", "服务端还有数据"),
        "idle": T("it has none and closes at once", "没有数据，立即关闭"),
    },
)
def why_four(bench: Bench) -> Verdict:
    pair = bench.open()
    begun = bench.now
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    bench.read_end(pair.server, pair.sfd)
    if bench.variant == "pending":
        bench.run(100 * MSEC)
        pair.server.send(pair.sfd, b"the rest")
        bench.run(100 * MSEC)
    pair.server.close(pair.sfd)
    rest = bench.read_end(pair.client, pair.cfd)
    bench.run(200 * MSEC)
    sent = bench.sent(after=begun)
    names = [bench.flags(entry) for entry in sent if not segment(entry).length]
    if bench.variant == "pending":
        # The data is acknowledged by a segment of its own, which belongs to it and not to the close.
        bench.check(T("ACK and FIN of the server apart", "服务端的 ACK 与 FIN 分开"), names[:2], ["FIN-ACK", "ACK"])
        fins = [each for each in sent if bench.flags(each) == "FIN-ACK"]
        bench.check(T("FINs", "FIN 个数"), len(fins), 2)
        bench.check(T("octets between them", "两者之间的数据"), len(rest), 8)
        gap = fins[1].time - fins[0].time
        return bench.verdict(
            T(
                f"{len(rest)} octets between the FINs, {in_seconds([gap])} apart",
                f"两个 FIN 相隔 {in_seconds([gap])}，之间有 {len(rest)} 字节",
            )
        )
    bench.check(T("segments", "报文"), names, ["FIN-ACK", "FIN-ACK", "ACK"])
    return bench.verdict(T(f"{len(names)} segments: {', '.join(names)}", f"{len(names)} 个报文：{'、'.join(names)}"))


@lab(
    "CLS-26",
    title=T("The end waits behind the data", "EOF 排在数据之后"),
    claim=T(
        "The server cannot finish at once: what was received is buffered, and its FIN follows when the program has read"
        " to the end.",
        "服务端不能立即结束：收到的数据在缓冲区中，程序读到结束后才发 FIN。",
    ),
    truth="true",
    source="S3; tcp_fin, tcp_recvmsg",
    why=T(
        "The FIN is a place in the stream: recv() gives everything before it first. Meanwhile the connection stays in"
        " CLOSE-WAIT.",
        "FIN 是字节流中的一个位置：recv() 先给出它之前的全部数据。在此期间连接停在 CLOSE-WAIT。",
    ),
    practice=T(
        "Read to the end before close(): close() with unread data sends an RST instead of a FIN.",
        "close() 之前要读完：缓冲区还有未读数据时 close() 会发 RST 而不是 FIN。",
    ),
    on=ANYWHERE,
)
def end_behind_data(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"x" * 3000)
    pair.client.close(pair.cfd)
    bench.run(300 * MSEC if bench.hurried else SEC)
    waiting = bench.state("server")
    before = len(bench.sent("server", flags="FA"))
    sizes = [len(pair.server.recv(pair.sfd, 1000)) for _ in range(4)]
    pair.server.close(pair.sfd)
    bench.run(200 * MSEC)
    after = len(bench.sent("server", flags="FA"))
    bench.check(T("the server meanwhile", "期间服务端"), waiting, State.CLOSE_WAIT)
    bench.check(T("four times recv(1000)", "四次 recv(1000)"), sizes, [1000, 1000, 1000, 0])
    bench.check(T("FINs of the server before and after close()", "close() 前后服务端 FIN"), [before, after], [0, 1])
    told = ", ".join(map(str, sizes))
    return bench.verdict(
        T(f"recv(): {told}; the server's FIN only after close()", f"recv()：{told}；close() 之后服务端才发 FIN")
    )
