"""What dies, and what the other side learns of it."""

from timewait.base.instant import SEC, show_ns
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.tcp.states import State


@lab(
    "FAIL-01",
    title=T("A host loses power: the other side never knows", "主机断电：对端永远不知道"),
    claim=T(
        "Without keepalive and without data the other end stays ESTABLISHED for ever.",
        "没有 keepalive、也不发数据时，另一端永远保持 ESTABLISHED。",
    ),
    truth="true",
    source="S1 S2; RFC 9293 3.5.1",
    why=T(
        "TCP sends nothing while nobody has anything to say, so silence proves nothing. A connection is state at both"
        " ends and nothing in between.",
        "没有话说时 TCP 什么都不发，沉默不能说明任何问题。连接只是两端的状态，中间什么都没有。",
    ),
    practice=T(
        "Every server needs a limit on idle connections: an idle timeout in the application, SO_KEEPALIVE with"
        " TCP_KEEPIDLE, or TCP_USER_TIMEOUT where data is sent. The cost is a timer and a probe per idle period.",
        "服务端必须限制空闲连接：应用层空闲超时、SO_KEEPALIVE 配 TCP_KEEPIDLE，或有数据时用 TCP_USER_TIMEOUT。"
        "代价是每个空闲周期一个定时器和一个探测。",
    ),
    on=ANYWHERE,
)
def power_loss(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"hello")
    bench.read(pair.server, pair.sfd, 5)
    bench.run(SEC)
    bench.power_off("client")
    begun = bench.now
    waited = 3 * SEC if bench.hurried else 24 * 3600 * SEC
    bench.run(waited)
    state, packets = bench.state("server"), len(bench.sent(after=begun))
    readable = bool(pair.server.poll([(pair.sfd, 1)]))
    bench.check(T("the server is", "服务端处于"), state, State.ESTABLISHED)
    bench.check(T("packets sent since", "此后发出的报文"), packets, 0)
    bench.check(T("the server's program is told something", "服务端程序得到通知"), readable, False)
    told = show_ns(waited)
    return bench.verdict(
        T(f"{told} later: {state.rfc_name}, {packets} packets", f"{told} 之后：{state.rfc_name}，报文 {packets} 个")
    )


@lab(
    "FAIL-02",
    title=T("A process is killed: its kernel says goodbye", "进程被杀：内核替它告别"),
    claim=T(
        "After kill -9 the kernel sends the FIN and completes the close by itself.",
        "kill -9 之后，内核会发送 FIN 并自行完成挥手。",
    ),
    truth="true",
    source="S1 S2; RFC 9293 3.10.4; tcp_close; RFC 2525 2.17",
    why=T(
        "Connections belong to the kernel; the end of a process closes its descriptors as close() would. Where octets"
        " were received and not read, that is an RST instead: somebody must learn that they were lost.",
        "连接属于内核；进程结束等同于对其描述符逐一 close()。若有已收到却未读的字节，"
        "则发 RST：必须让对方知道数据丢了。",
    ),
    practice=T(
        "A crash of a process is noticed at once by its peers, that of a host is not: test both. Read to the end before"
        " you close, or the peer may lose your last answer to the RST.",
        "进程崩溃对端立即知道，主机崩溃则不然：两种都要测试。关闭前把数据读完，否则 RST 可能让对端丢失你最后的应答。",
    ),
    on=ANYWHERE,
    variants={
        "clean": T("nothing is left to read", "没有未读数据"),
        "unread": T("10 octets were received and not read", "有 10 字节已收到未读"),
    },
)
def process_killed(bench: Bench) -> Verdict:
    pair = bench.open()
    if bench.variant == "unread":
        pair.server.send(pair.sfd, b"0123456789")
        bench.run(SEC // 2)
    begun = bench.now
    pair.client.kill()
    bench.run(SEC // 4)
    if bench.variant == "unread":
        sent = [bench.flags(entry) for entry in bench.sent(after=begun)]
        error = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
        bench.check(T("segments", "报文"), sent, ["RST-ACK"])
        bench.check(T("recv() at the server gives", "服务端 recv() 返回"), error, "ECONNRESET")
        bench.check(T("the client is", "客户端处于"), bench.state("client"), State.CLOSED)
        return bench.verdict(T(f"{', '.join(sent)}; the server gets {error}", f"{'、'.join(sent)}；服务端得到 {error}"))
    end = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    pair.server.close(pair.sfd)
    bench.run(SEC // 4)
    sent = [f"{entry.where} {bench.flags(entry)}" for entry in bench.sent(after=begun)]
    expected = ["client FIN-ACK", "server ACK", "server FIN-ACK", "client ACK"]
    state = bench.state("client")
    bench.check(T("segments", "报文"), sent, expected)
    bench.check(T("recv() at the server gives", "服务端 recv() 返回"), end, "EOF")
    bench.check(T("the client, without a process, is", "已无进程的客户端处于"), state, State.TIME_WAIT)
    return bench.verdict(
        T(
            f"{len(sent)} segments without a process, {state.rfc_name}",
            f"无进程仍完成 {len(sent)} 个报文，{state.rfc_name}",
        )
    )
