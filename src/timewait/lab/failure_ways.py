"""Ways to die: what each leaves for the other side to see."""

import socket
import struct

from timewait.base.instant import MSEC, SEC, show_ns
from timewait.lab.bench import Bench, Pair
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.tcp.states import State
from timewait.wire.packet import ACK

SPORT = 40000
"""The client's port, to be found again after a reboot."""


@lab(
    "FAIL-03",
    title=T("Does every exit send a FIN?", "进程退出都会发 FIN 吗？"),
    claim=T(
        "Any exit of a process, normal or not, sends a FIN.",
        "进程无论正常还是异常退出，都会发送 FIN。",
    ),
    truth="simplification",
    source="S2; tcp_close, RFC 2525 2.17; socket(7) SO_LINGER",
    why=T(
        "Exit closes descriptors, and what close() does depends on the socket: a FIN as a rule; a RST if octets were"
        " received and not read, or with SO_LINGER 0; nothing while another process holds the same open file.",
        "退出等于关闭描述符，而 close() 的结果取决于套接字：通常发 FIN；有已收未读的数据或 SO_LINGER 为 0 时发 RST；"
        "其他进程还持有同一打开文件时什么都不发。",
    ),
    practice=T(
        "Children that were forked while a connection was open keep it open: set SOCK_CLOEXEC, close in the child. The"
        " cost is none.",
        "连接打开期间 fork 出的子进程会使连接一直不关：使用 SOCK_CLOEXEC，并在子进程中关闭。没有代价。",
    ),
    on=ANYWHERE,
    variants={
        "exit": T("it exits", "正常退出"),
        "kill": T("it is killed with -9", "被 kill -9"),
        "unread": T("it exits with unread data", "有未读数据时退出"),
        "linger": T("it exits with SO_LINGER 0", "SO_LINGER 为 0 时退出"),
        "shared": T("a child still holds the socket", "子进程仍持有该套接字"),
    },
)
def ways_to_exit(bench: Bench) -> Verdict:
    pair = bench.open()
    client = pair.client
    if bench.variant == "unread":
        pair.server.send(pair.sfd, b"0123456789")
        bench.run(300 * MSEC)
    elif bench.variant == "linger":
        client.setsockopt(pair.cfd, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    child = client.fork() if bench.variant == "shared" else None
    begun = bench.now
    if bench.variant == "kill":
        client.kill()
    else:
        client.exit()
    bench.run(300 * MSEC)
    sent = [bench.flags(entry) for entry in bench.sent("client", after=begun)]
    learns = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    expected = {
        "exit": (["FIN-ACK"], "EOF", State.FIN_WAIT_2),
        "kill": (["FIN-ACK"], "EOF", State.FIN_WAIT_2),
        "unread": (["RST-ACK"], "ECONNRESET", State.CLOSED),
        "linger": (["RST-ACK"], "ECONNRESET", State.CLOSED),
        "shared": ([], "EAGAIN", State.ESTABLISHED),
    }[bench.variant]
    state = bench.state("client")
    bench.check(T("sent by the client", "客户端发出"), sent, expected[0])
    bench.check(T("recv() at the server gives", "服务端 recv() 返回"), learns, expected[1])
    bench.check(T("the client's side is", "客户端一侧处于"), state, expected[2])
    if child is not None:
        child.exit()
        bench.run(300 * MSEC)
        later = [bench.flags(entry) for entry in bench.sent("client", after=begun)]
        bench.check(T("once the child has gone too", "子进程也退出之后"), later, ["FIN-ACK"])
    told = ", ".join(sent)
    return bench.verdict(
        T(
            f"{told or 'nothing'}; the server gets {learns}; {state.rfc_name}",
            f"{told or '没有报文'}；服务端得到 {learns}；{state.rfc_name}",
        )
    )


def _talked(bench: Bench) -> Pair:
    """An open connection over which the client has said something."""
    pair = bench.open()
    pair.client.send(pair.cfd, b"hello")
    bench.read(pair.server, pair.sfd, 5)
    bench.run(300 * MSEC)
    return pair


@lab(
    "FAIL-04",
    title=T("A process dies, a host dies", "进程崩溃与主机断电"),
    claim=T(
        "When a process dies the other side gets a FIN; when a host loses power it gets nothing.",
        "进程崩溃，对端收到 FIN；主机断电，对端什么也收不到。",
    ),
    truth="true",
    source="S1 S2; RFC 9293 3.5.1",
    why=T(
        "The FIN is the work of the kernel, which survives its processes and does not survive its power.",
        "FIN 由内核发送：内核比进程活得久，却活不过断电。",
    ),
    practice=T(
        "Test both: kill -9 for the first, for the second drop everything at a firewall (`iptables -j DROP`) or freeze"
        " the virtual machine. Only timeouts notice the second.",
        "两种都要测试：前者用 kill -9；后者用防火墙丢弃所有报文（iptables -j DROP）或冻结虚拟机。"
        "后者只有超时才能发现。",
    ),
    on=ANYWHERE,
)
def process_or_host(bench: Bench) -> Verdict:
    pair = _talked(bench)
    begun = bench.now
    pair.client.kill()
    bench.run(300 * MSEC)
    packets = len(bench.sent("client", after=begun))
    gets, state = bench.attempt(lambda: pair.server.recv(pair.sfd, 1)), bench.state("server")

    other = bench.another(T("power loss", "断电"))
    waited = 2 * SEC if bench.hurried else 3600 * SEC
    dead = _talked(other)
    begun = other.now
    other.power_off("client")
    other.run(waited)
    quiet = len(other.sent(after=begun))
    hears, still = other.attempt(lambda: dead.server.recv(dead.sfd, 1)), other.state("server")

    bench.check(T("killed: packets of the client", "进程被杀：客户端发出的报文"), packets, 1)
    bench.check(T("killed: the server's program gets", "进程被杀：服务端程序得到"), gets, "EOF")
    bench.check(T("killed: the server is", "进程被杀：服务端处于"), state, State.CLOSE_WAIT)
    other.check(T("packets after it", "之后的报文"), quiet, 0)
    other.check(T("the server's program gets", "服务端程序得到"), hears, "EAGAIN")
    other.check(T("the server is", "服务端处于"), still, State.ESTABLISHED)
    return bench.verdict(
        T(
            f"killed: {gets} at once, {state.rfc_name}; power loss: {quiet} packets and"
            f" {still.rfc_name} after {show_ns(waited)}",
            f"进程被杀：立即 {gets}，{state.rfc_name}；断电：{show_ns(waited)} 后报文 {quiet} 个，"
            f"仍为 {still.rfc_name}",
        )
    )


@lab(
    "FAIL-05",
    title=T("After a reboot: RST, whoever has the port", "重启之后：无论端口有无进程都回 RST"),
    claim=T(
        "A host that crashed and rebooted answers with RST, whether or not a process has the port.",
        "主机崩溃重启后，无论端口上有没有进程，都以 RST 应答。",
    ),
    truth="true",
    source="S2; RFC 9293 3.5.1 figure 10, 3.10.7.1, 3.10.7.2; tcp_v4_send_reset",
    why=T(
        "The segment belongs to no connection. A closed port answers it with a RST, and so does a listener: only a SYN"
        " without ACK means anything to it. The RST takes its number from the segment's ACK, so that it is believed.",
        "该报文不属于任何连接。关闭的端口回 RST，监听端口也一样：对它只有不带 ACK 的 SYN 才有意义。"
        "RST 的序号取自报文的确认号，因此会被采信。",
    ),
    practice=T(
        "After a restart clients see ECONNRESET on pooled connections: retry what is idempotent on a new connection.",
        "服务重启后，连接池中的旧连接会得到 ECONNRESET：对幂等请求应换新连接重试。",
    ),
    on=ANYWHERE,
    variants={
        "nobody": T("no process has the port", "端口上没有进程"),
        "listening": T("a process listens on it", "有进程监听该端口"),
    },
)
def rebooted(bench: Bench) -> Verdict:
    pair = bench.open(sport=SPORT)
    pair.client.send(pair.cfd, b"hello")
    bench.read(pair.server, pair.sfd, 5)
    bench.run(300 * MSEC)
    bench.power_off("client")
    bench.run(300 * MSEC)
    bench.power_on("client")
    if bench.variant == "listening":
        bench.listen(bench.program("client", "restarted"), port=SPORT)
    begun = bench.now
    pair.server.send(pair.sfd, b"are you there?")
    bench.run(5 * bench.lab.rtt)
    asked = bench.sent("server", payload=14)[0]
    answers = bench.sent("client", after=begun)
    error = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    after = bench.attempt(lambda: pair.server.send(pair.sfd, b"x"))
    kinds = [bench.flags(entry) for entry in answers]
    bench.check(T("the rebooted host answers", "重启后的主机应答"), kinds, ["RST"])
    bench.check(
        T("its number is the data's ack", "其序号等于数据的确认号"),
        [segment(entry).seq for entry in answers],
        [segment(asked).ack],
    )
    bare = [not segment(entry).flags & ACK for entry in answers]
    bench.check(T("without ACK", "不带 ACK"), bare, [True])
    bench.check(T("recv(), then send() give", "recv()、之后 send() 返回"), [error, after], ["ECONNRESET", "EPIPE"])
    state = bench.state("server")
    bench.check(T("the server then", "此时服务端"), state, State.CLOSED)
    seq = bench.relative_seq(answers[0])
    return bench.verdict(
        T(
            f"data meets {kinds[0]} seq={seq}: {error}, then {after}",
            f"数据得到 {kinds[0]} seq={seq}：{error}，之后 {after}",
        )
    )
