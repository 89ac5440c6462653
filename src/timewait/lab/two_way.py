"""Why three: handshakes of two and four segments, and what old SYNs do to them."""

import socket
import struct

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import SPORT, open_to_server
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.hypothetical import TwoWayServer
from timewait.record.entries import Received
from timewait.tcp.states import State
from timewait.wire.packet import Segment
from timewait.world.link import Link

_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER with zero time: close() sends a RST and leaves no TIME-WAIT."""
_PRACTICE = T(
    "Nothing to do: TCP has three. The same care belongs into protocols of one's own over UDP: QUIC and DTLS check the"
    " address before they believe.",
    "无需处理：TCP 已是三次。自行基于 UDP 设计协议时也要如此：QUIC 与 DTLS 都先验证地址。",
)


def _two_way(bench: Bench, *, push: int = 0, context: bool = False) -> tuple[TwoWayServer, Link]:
    """A client of ours before the hypothetical server."""
    bench.machine("client", "10.0.0.1/24")
    server = TwoWayServer(bench, push=push, context=context)
    return server, bench.world.link(bench.client, server, delay=bench.lab.rtt // 2)


def _three_way(bench: Bench) -> Link:
    """The same with a server as it is."""
    bench.machine("client", "10.0.0.1/24")
    bench.machine("server", "10.0.0.2/24")
    return bench.world.link(bench.client, bench.server, delay=bench.lab.rtt // 2)


def _connect_past_a_held_syn(bench: Bench, link: Link) -> None:
    """The first SYN is held up for 3 s; the second opens a connection, which is then aborted."""
    link.hold("first SYN", 3 * SEC)
    client = bench.program("client")
    fd = bench.connect(client, sport=SPORT)
    bench.outcome(client, fd)
    bench.run(100 * MSEC)
    client.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    client.close(fd)


@lab(
    "EST-14",
    title=T("What the third segment is for", "第三个报文的首要目的"),
    claim=T(
        "The principal reason for three: old duplicate connection initiations must not cause confusion.",
        "三次握手的首要原因：防止旧的重复连接请求造成混乱。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.5",
    why=T(
        "The server cannot know whether a SYN is old. It asks; the client, which knows, resets; no program ever sees a"
        " connection.",
        "服务端无法判断 SYN 新旧，于是询问；知情的客户端回 RST；没有程序看到这个连接。",
    ),
    practice=_PRACTICE,
    on=ANYWHERE,
    topology="own",
)
def old_duplicates(bench: Bench) -> Verdict:
    link = _three_way(bench)
    server = bench.program("server")
    listener = bench.listen(server)
    _connect_past_a_held_syn(bench, link)
    server.close(bench.accept(server, listener))
    bench.run(3 * SEC)
    mark = bench.sent("client", flags="S")[0].time + 2900 * MSEC
    asked = bench.sent("server", flags="SA", after=mark)
    resets = bench.sent("client", flags="R", after=mark)
    again = bench.attempt(lambda: server.accept(listener))
    half = len(bench.sockets("server", State.SYN_RCVD))
    bench.check(T("the old SYN is answered by SYN-ACKs", "旧 SYN 得到 SYN-ACK"), len(asked), 1)
    bench.check(T("which the client resets", "客户端回 RST"), len(resets), 1)
    bench.check(T("accept() at the server", "服务端 accept()"), again, "EAGAIN")
    bench.check(T("half-open connections left", "剩余半连接"), half, 0)
    return bench.verdict(
        T(f"old SYN: {len(resets)} RST, accept() {again}", f"旧 SYN：RST {len(resets)} 个，accept() {again}")
    )


@lab(
    "EST-15",
    title=T("Two steps leave one number unconfirmed", "两次握手有一个序号未确认"),
    claim=T("Three steps synchronise both initial numbers, two only one.", "三次握手同步双方序号，两次只能同步一方。"),
    truth="true",
    source="S0 S1; RFC 9293 3.5",
    why=T(
        "The hypothetical server sends data at once. Its SYN-ACK was lost, so the client does not know where the"
        " server's numbers begin, and can do nothing with that data.",
        "假想的两次握手服务端立即发数据。若 SYN-ACK 丢失，客户端不知服务端序号起点，数据无从接收。",
    ),
    practice=_PRACTICE,
    on=SIM,
    topology="own",
)
def one_number_unconfirmed(bench: Bench) -> Verdict:
    server, link = _two_way(bench, push=5)
    link.drop("first SYN-ACK")
    client = bench.program("client")
    fd = bench.connect(client, sport=SPORT)
    bench.run(100 * MSEC)
    arrived = [entry for entry in bench.record if isinstance(entry, Received) and entry.where == "client"]
    octets = sum(int(each.packet.length) for each in arrived if isinstance(each.packet, Segment))
    state = bench.state("client")
    bench.check(T("the server believes in connections", "服务端自认的连接"), server.believed, 1)
    bench.check(T("octets that reach the client's host", "到达客户端主机的字节"), octets, 5000)
    bench.check(T("client", "客户端"), state, State.SYN_SENT)
    readable = client.poll([(fd, 1)])
    bench.check(T("readable for the program", "程序可读"), bool(readable), False)
    return bench.verdict(
        T(
            f"{octets} octets arrive, none can be read: {state.rfc_name}",
            f"到达 {octets} 字节，均不可读：{state.rfc_name}",
        )
    )


def _redundant(bench: Bench, server: TwoWayServer, link: Link) -> int:
    """A SYN is held up, its repetition opens, then the first one comes: how many connections are believed in."""
    link.hold("first SYN", 3 * SEC)
    client = bench.program("client")
    fd = bench.connect(client, sport=SPORT)
    bench.outcome(client, fd)
    bench.run(5 * SEC)
    bench.check(T("connections of the client", "客户端的连接"), len(bench.sockets("client", State.ESTABLISHED)), 1)
    return len(server.established)


@lab(
    "EST-16",
    title=T("Two steps: one connection per SYN", "两次握手：每个 SYN 一个连接"),
    claim=T(
        "Without the third step every repeated or delayed SYN allocates a connection.",
        "没有第三步，每个重发或迟到的 SYN 都会建立一个多余连接。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.5",
    why=T(
        "This hypothetical server takes each SYN for itself. The delayed first SYN makes a second connection in which"
        " the client has no part. A server of three steps recognises the number, or hears a RST.",
        "这个假想服务端独立对待每个 SYN，迟到的首个 SYN 造出第二个连接，客户端并不知情。"
        "三次握手的服务端认得序号，或收到 RST。",
    ),
    practice=_PRACTICE,
    on=SIM,
    topology="own",
)
def connection_per_syn(bench: Bench) -> Verdict:
    server, link = _two_way(bench)
    two = _redundant(bench, server, link)
    other = bench.another(T("three steps", "三次握手"))
    link = _three_way(other)
    program = other.program("server")
    other.listen(program)
    link.hold("first SYN", 3 * SEC)
    client = other.program("client")
    fd = other.connect(client, sport=SPORT)
    other.outcome(client, fd)
    other.run(5 * SEC)
    three = len(other.sockets("server", State.ESTABLISHED, State.SYN_RCVD))
    bench.check(T("connections the server believes in", "服务端自认的连接"), two, 2)
    other.check(T("connections of the server", "服务端的连接"), three, 1)
    return bench.verdict(
        T(
            f"server {two}, client 1; with three steps {three} and 1",
            f"服务端 {two} 个，客户端 1 个；三次握手为 {three} 与 1",
        )
    )


@lab(
    "EST-17",
    title=T("Four steps, one too many", "四次握手：多了一次"),
    claim=T("Steps two and three of four can be combined.", "四步中的第二、三步可以合并。"),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.5",
    why=T(
        "ACK and SYN of the server fit one segment, and nothing happens in between. Sent apart they lead to the same"
        " state by one more packet.",
        "服务端的 ACK 与 SYN 可放进同一报文，其间无事可做。分开发送状态相同，只是多一个包。",
    ),
    practice=_PRACTICE,
    on=("sim", "kernel"),
    topology="puppet-server",
    variants={
        "four": T("the hypothetical server acknowledges first", "假想服务端先单独确认"),
        "three": T("both in one segment", "合并在一个报文"),
    },
)
def four_steps(bench: Bench) -> Verdict:
    client = bench.program("client")
    fd = bench.connect(client)
    puppet = bench.puppet
    bench.until(puppet.segments, "the SYN")
    if bench.variant == "four":
        puppet.send("A", seq=1, ack=1)
        bench.run(10 * MSEC)
    puppet.syn_ack()
    came = bench.outcome(client, fd)
    bench.run(100 * MSEC)
    names = [bench.flags(entry) for entry in bench.sent()]
    wanted = ["SYN", "ACK", "SYN-ACK", "ACK"] if bench.variant == "four" else ["SYN", "SYN-ACK", "ACK"]
    bench.check(T("segments", "报文"), names, wanted)
    bench.check(T("connect()", "connect()"), came, "OK")
    bench.check(T("client", "客户端"), bench.state("client"), State.ESTABLISHED)
    return bench.verdict(
        T(
            f"{len(names)} segments, {bench.state('client').rfc_name}",
            f"{len(names)} 个报文，{bench.state('client').rfc_name}",
        )
    )


@lab(
    "EST-18",
    title=T("Two steps: data into a dead connection", "两次握手：向死连接发数据"),
    claim=T(
        "A two-way server may send data into a stale connection before the RST arrives.",
        "两次握手的服务端会在 RST 到达前向旧连接发数据。",
    ),
    truth="true",
    source="S1; RFC 9293 3.5",
    why=T(
        "It believes in the connection from the SYN on, and can only learn better one round trip later. With"
        " three steps"
        " the program is not told before the client has confirmed.",
        "它自收到 SYN 起就认为连接成立，一个往返后才会知道错了。三次握手在客户端确认之前不会告知程序。",
    ),
    practice=_PRACTICE,
    on=SIM,
    topology="own",
)
def data_into_the_void(bench: Bench) -> Verdict:
    server, link = _two_way(bench, push=100)
    _connect_past_a_held_syn(bench, link)
    bench.run(2700 * MSEC - bench.now)
    before, believed = server.wasted, server.believed
    bench.run(SEC)
    wasted = server.wasted - before
    bench.check(T("the stale SYN makes connections", "旧 SYN 造成的连接"), server.believed - believed, 1)
    bench.check(T("still believed in after the RST", "RST 之后仍存在"), len(server.established), 0)
    rounds = bench.lab.rtt // (2 * MSEC)
    bench.check_that(
        T("octets sent for nothing", "白发的字节"),
        0 < wasted <= 1000 * (rounds + 2),
        wasted,
        "what one round trip holds",
    )
    other = bench.another(T("three steps", "三次握手"))
    link = _three_way(other)
    program = other.program("server")
    listener = other.listen(program)
    _connect_past_a_held_syn(other, link)
    program.close(other.accept(program, listener))
    other.run(4 * SEC)
    sent = len(other.sent("server", payload=True))
    other.check(T("segments with data", "带数据的报文"), sent, 0)
    return bench.verdict(
        T(
            f"{wasted} octets wasted in one round trip; three steps: {sent}",
            f"一个往返内浪费 {wasted} 字节；三次握手：{sent}",
        )
    )


@lab(
    "EST-19",
    title=T("Two steps with a memory", "带记忆的两次握手"),
    claim=T("A two-way design could drop stale SYNs by context.", "两次握手也可借上下文丢弃旧 SYN。"),
    truth="true",
    source="S1; RFC 1644; RFC 7413",
    why=T(
        "A server that remembers the SYNs it had of a client tells the old one apart. T/TCP counted connections, Fast"
        " Open uses a cookie: the price is state or secrets, and both fall back on three steps.",
        "记住每个客户端 SYN 的服务端能认出旧的。T/TCP 用连接计数，Fast Open 用 cookie：代价是状态或密钥，"
        "且都会退回三次握手。",
    ),
    practice=T(
        "TCP Fast Open is the one in use: net.ipv4.tcp_fastopen (TFO-01).",
        "实际可用的是 TCP Fast Open：net.ipv4.tcp_fastopen（TFO-01）。",
    ),
    on=SIM,
    topology="own",
)
def two_steps_with_memory(bench: Bench) -> Verdict:
    server, link = _two_way(bench, context=True)
    count = _redundant(bench, server, link)
    bench.check(T("connections the server believes in", "服务端自认的连接"), count, 1)
    return bench.verdict(T(f"server {count}, client 1", f"服务端 {count} 个，客户端 1 个"))


@lab(
    "EST-20",
    title=T("A SYN-ACK that nobody asked for", "不请自来的 SYN-ACK"),
    claim=T("The client stays silent; or it sends a RST.", "一说客户端沉默，一说回 RST。"),
    truth="sources disagree",
    source="S0 S1 S3; RFC 9293 3.10.7.3 first check, 3.10.7.1",
    why=T(
        "A RST. In SYN-SENT an acknowledgment of something never sent is answered with RST, its number taken"
        " from there,"
        " and the client goes on waiting for the right one; a closed port answers alike.",
        "回 RST。SYN-SENT 收到确认了从未发送之物的报文，回 RST（序号取自该确认号），并继续等正确的；关闭的端口亦然。",
    ),
    practice=T(
        "Do not drop outgoing RSTs in a firewall: servers would keep half-open connections for a minute.",
        "防火墙不要丢弃出站 RST：否则服务端的半连接要留一分钟。",
    ),
    on=("sim", "kernel"),
    topology="puppet-server",
)
def unexpected_syn_ack(bench: Bench) -> Verdict:
    client = bench.program("client")
    fd = bench.connect(client)
    puppet = bench.puppet
    bench.until(puppet.segments, "the SYN")
    wrong = puppet.segment("SA", seq=0, ack=-9)
    wrong.mss = 1460
    puppet.put(wrong)
    bench.run(100 * MSEC)
    # Linux also repeats its SYN at once: the peer may have forgotten by then.
    answer = puppet.segments()[1]
    bench.check(T("answer to a SYN-ACK with a wrong ack", "对确认号错误的 SYN-ACK 的回应"), bench.flags(answer), "RST")
    bench.check(T("its seq is that ack", "其序号等于该确认号"), answer.seq, wrong.ack)
    bench.check(T("client", "客户端"), bench.state("client"), State.SYN_SENT)
    puppet.syn_ack()
    came = bench.outcome(client, fd)
    bench.check(T("the right one then connects", "正确的随后连上"), came, "OK")
    before = len(puppet.segments())
    puppet.peer_port = 9999
    puppet.put(puppet.segment("SA", seq=0, ack=1))
    bench.run(100 * MSEC)
    closed = [bench.flags(each) for each in puppet.segments()[before:] if each.sport == 9999]
    bench.check(T("a SYN-ACK to a closed port", "发往关闭端口的 SYN-ACK"), closed, ["RST"])
    return bench.verdict(
        T(
            f"{bench.flags(answer)}, then connect() {came}; closed port: {closed[0]}",
            f"{bench.flags(answer)}，随后 connect() {came}；关闭端口：{closed[0]}",
        )
    )


@lab(
    "EST-37",
    title=T("A SYN in ESTABLISHED", "ESTABLISHED 中收到 SYN"),
    claim=T("It is answered by a challenge ACK, whatever its number.", "无论序号如何，都回 challenge ACK。"),
    truth="true",
    source="S1; RFC 5961 4; RFC 9293 3.10.7.4; tcp_invalid_ratelimit",
    why=T(
        "Somebody may have forged it. A rebooted client answers the ACK with a RST that carries the right number, and"
        " that is obeyed. Linux sends one such ACK in 500 ms for each connection.",
        "可能是伪造。重启过的客户端会对该 ACK 回序号正确的 RST，随即生效。Linux 每连接 500 ms 至多一个此类 ACK。",
    ),
    practice=T(
        "A client that reboots and reuses its port connects after one extra round trip. tcp_invalid_ratelimit=0"
        " lifts the"
        " limit, at the price of ACK storms.",
        "客户端重启后复用端口，只多一个往返即可连上。tcp_invalid_ratelimit=0 取消限制，代价是可能的 ACK 风暴。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def syn_in_established(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench)
    puppet = bench.puppet
    answers = []
    for seq, pause in ((123_456_789, 100), (1, 600), (-5, 600)):
        before = len(puppet.segments())
        puppet.send("S", seq=seq)
        bench.run(pause * MSEC)
        found = puppet.segments()[before:]
        answers.append(f"{bench.flags(found[0])} {puppet.relative(found[0])}" if found else "none")
    bench.check(
        T("SYN anywhere, 100 ms later, 600 ms later", "任意 SYN、100 ms 后、再 600 ms 后"),
        answers,
        ["ACK (1, 1)", "none", "ACK (1, 1)"],
    )
    bench.check(T("server", "服务端"), bench.state("server"), State.ESTABLISHED)
    puppet.send("R", seq=1)
    bench.run(100 * MSEC)
    error = bench.attempt(lambda: program.recv(fd, 10))
    bench.check(T("the RST that follows: recv()", "随后的 RST：recv()"), error, "ECONNRESET")
    return bench.verdict(T(f"answers: {', '.join(answers)}; RST: {error}", f"回应：{'、'.join(answers)}；RST：{error}"))
