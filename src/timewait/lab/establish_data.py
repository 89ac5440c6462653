"""Octets in the segments of the handshake: what is allowed, and what Linux does."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import MSG_FASTOPEN, TCP_FASTOPEN
from timewait.lab.bench import PORT, Bench
from timewait.lab.byhand import acknowledgments
from timewait.lab.forge import Forger
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.tcp.states import State

_PUPPET = ("sim", "kernel")
_FAST_OPEN = {"net.ipv4.tcp_fastopen": 3}


def _fast_pair(bench: Bench) -> tuple[int, int]:
    """Get a fast open cookie by one connection, then begin another with 10 octets in its SYN: time, listener."""
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    server.setsockopt(listener, socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
    for _ in range(2):
        fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.set_nonblocking(fd)
        mark = bench.now
        bench.attempt(lambda fd=fd: client.sendto(fd, b"0123456789", ("10.0.0.2", PORT), MSG_FASTOPEN))  # type: ignore[misc]
        bench.until(lambda mark=mark: bench.sent("client", flags="S", after=mark), "the SYN")  # type: ignore[misc]
        if not segment(bench.sent("client", flags="S", after=mark)[0]).length:
            bench.outcome(client, fd)
            bench.accept(server, listener)
            client.close(fd)
            bench.run(3 * bench.lab.rtt)
    return mark, listener


@lab(
    "EST-06",
    title=T("Data in the SYN", "SYN 携带数据"),
    claim=T("The first handshake cannot carry data.", "第一次握手不能携带数据。"),
    truth="wrong",
    source="S0 S1 S3; RFC 9293 3.4; RFC 7413",
    why=T(
        "It may; it must only not be given to the program before the connection stands. Linux ignores it (acknowledges"
        " the SYN alone), so it is sent again; with a Fast Open cookie, which proves the address, it is taken at once.",
        "可以携带，只是在连接建立前不得交给程序。Linux 忽略它（只确认 SYN），之后重发；"
        "带 Fast Open cookie（证明地址真实）时立即接收。",
    ),
    practice=T(
        "net.ipv4.tcp_fastopen=3 and TCP_FASTOPEN on the listener save one round trip. Only for requests that may be"
        " carried out twice; some middleboxes drop such SYNs.",
        "net.ipv4.tcp_fastopen=3 加监听端 TCP_FASTOPEN 可省一个往返。仅用于可重复执行的请求；"
        "部分中间设备会丢弃此类 SYN。",
    ),
    on=ANYWHERE,
    variants={
        "plain": T("without Fast Open", "无 Fast Open"),
        "cookie": T("with a Fast Open cookie", "有 Fast Open cookie"),
    },
    sysctl=_FAST_OPEN,
)
def data_in_syn(bench: Bench) -> Verdict:
    if bench.variant == "plain":
        server = bench.program("server")
        bench.listen(server)
        Forger(bench).send("S", sport=5555, seq=1000, data=b"0123456789")
        bench.run(100 * MSEC)
        acked = segment(bench.sent("server", flags="SA")[0]).ack - 1000
        bench.check(T("SYN with 10 octets: acknowledged", "SYN 带 10 字节：确认"), acked, 1)
        return bench.verdict(T(f"{acked - 1} of 10 octets taken", f"10 字节中接收 {acked - 1}"))
    mark, listener = _fast_pair(bench)
    server = bench.program("server")
    syn = segment(bench.sent("client", flags="S", after=mark)[0])
    bench.check(T("octets in the SYN", "SYN 中的字节"), syn.length, 10)
    bench.until(lambda: bench.sent("server", flags="SA", after=mark), "the SYN-ACK")
    answer = bench.sent("server", flags="SA", after=mark)[0]
    acked = (segment(answer).ack - syn.seq) % 2**32
    states = [view.recv_q for view in bench.sockets("server", State.SYN_RCVD)]
    bench.check(T("acknowledged by the SYN-ACK", "SYN-ACK 的确认号"), acked, 11)
    if not bench.is_kernel("server"):
        bench.check(T("readable in SYN-RECEIVED", "SYN-RECEIVED 时可读"), states, [10])
    bench.check(T("listener", "监听描述符"), listener >= 0, True)
    return bench.verdict(
        T(f"{acked - 1} of 10 octets taken before the third segment", f"第三个报文之前接收 {acked - 1}/10 字节")
    )


def _newest(bench: Bench) -> State:
    """Where the second connection is: the first one is past SYN-RECEIVED."""
    return State.SYN_RCVD if bench.sockets("server", State.SYN_RCVD) else State.ESTABLISHED


@lab(
    "EST-08",
    title=T("Data right behind the SYN-ACK", "SYN-ACK 之后立刻发数据"),
    claim=T(
        "The second handshake cannot carry data; it consumes one number.", "第二次握手不能带数据，但消耗一个序号。"
    ),
    truth="simplification",
    source="S0 S1 S3; RFC 7413 4.2.2; RFC 9293 3.4",
    why=T(
        "It uses up one number: true. Data is legal, though Linux puts none in. A Fast Open server may send data right"
        " behind it, before the third segment.",
        "消耗一个序号：对。携带数据合法，只是 Linux 不放；Fast Open 服务端可在其后、第三个报文之前就发数据。",
    ),
    practice=T(
        "See EST-06: with Fast Open the answer is there after one round trip.",
        "参见 EST-06：Fast Open 一个往返即得应答。",
    ),
    on=("sim", "kernel"),
    sysctl=_FAST_OPEN,
    rtt=100 * MSEC,
)
def data_behind_syn_ack(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    server.setsockopt(listener, socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
    for turn in range(2):
        fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.set_nonblocking(fd)
        mark = bench.now
        bench.attempt(lambda fd=fd: client.sendto(fd, b"question", ("10.0.0.2", PORT), MSG_FASTOPEN))  # type: ignore[misc]
        sfd = bench.accept(server, listener)
        state = bench.sockets("server", State.SYN_RCVD, State.ESTABLISHED)[-1].state if turn == 0 else _newest(bench)
        server.send(sfd, b"answer..")
        bench.run(30 * MSEC)
        if turn == 0:
            bench.run(SEC)
    names = [(bench.flags(entry), int(segment(entry).length)) for entry in bench.sent(after=mark)]
    third = [each for each in bench.sent("client", after=mark) if bench.flags(each) == "ACK"]
    bench.check(
        T("SYN, SYN-ACK and what follows, with octets", "SYN、SYN-ACK 及其后，含字节数"),
        names,
        [("SYN", 8), ("SYN-ACK", 0), ("ACK", 8)],
    )
    bench.check(T("server when it sends", "发送时服务端状态"), state, State.SYN_RCVD)
    bench.check(T("third segments so far", "此时已有的第三个报文"), len(third), 0)
    return bench.verdict(
        T(
            f"{names[-1][1]} octets sent in {state.rfc_name}, {len(third)} third segments",
            f"在 {state.rfc_name} 发出 {names[-1][1]} 字节，第三个报文 {len(third)} 个",
        )
    )


@lab(
    "EST-10",
    title=T("Data in the third segment", "第三个报文携带数据"),
    claim=T(
        "The client is ESTABLISHED already, so it may send data with the third segment.",
        "客户端已 ESTABLISHED，第三个报文可以携带数据。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.10.7.3",
    why=T(
        "The segment acknowledges the SYN-ACK, which opens the connection, and its data is then processed as any"
        " other.",
        "该报文确认 SYN-ACK 使连接建立，随后其中数据照常处理。",
    ),
    practice=T(
        "Linux merges ACK and first write with TCP_QUICKACK=0 or TCP_DEFER_ACCEPT on the client: EST-11.",
        "Linux 客户端设 TCP_QUICKACK=0 或 TCP_DEFER_ACCEPT 可合并 ACK 与首次写入：EST-11。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def data_in_third(bench: Bench) -> Verdict:
    server = bench.program("server")
    listener = bench.listen(server)
    puppet = bench.puppet
    puppet.syn()
    bench.until(puppet.segments, "the SYN-ACK")
    puppet.send("PA", seq=1, ack=1, data=b"0123456789")
    fd = bench.accept(server, listener)
    got = bench.read(server, fd, 10)
    bench.run(100 * MSEC)
    acked = acknowledgments(bench)[-1]
    bench.check(T("read", "读到"), got, b"0123456789")
    bench.check(T("acknowledged", "确认号"), acked, 11)
    return bench.verdict(
        T(f"accepted and read {len(got)} octets, ack {acked}", f"accept 并读到 {len(got)} 字节，确认号 {acked}")
    )


@lab(
    "EST-11",
    title=T("Why the third segment is usually empty", "第三个报文为何通常为空"),
    claim=T(
        "In practice it carries none: stability, security, the standard.", "实践中不带数据：出于稳定、安全与标准。"
    ),
    truth="simplification",
    source="S0; tcp_rcv_synsent_state_process; tcp(7) TCP_QUICKACK",
    why=T(
        "No standard advises against it, and nothing would be lost. The kernel acknowledges the moment the"
        " SYN-ACK comes,"
        " and only then does connect() return and the program write.",
        "没有标准反对，数据也不会丢。真正原因：SYN-ACK 一到内核立即确认，然后 connect() 才返回、程序才写。",
    ),
    practice=T(
        "TCP_QUICKACK=0 (or TCP_DEFER_ACCEPT) before connect() saves one packet; a client that then waits delays"
        " its ACK"
        " by up to 200 ms.",
        "connect() 前设 TCP_QUICKACK=0（或 TCP_DEFER_ACCEPT）省一个包；若客户端随后不写，ACK 会晚至多 200 ms。",
    ),
    on=ANYWHERE,
)
def empty_third(bench: Bench) -> Verdict:
    found = []
    for world, option in (
        (bench, None),
        (bench.another(T("TCP_QUICKACK=0", "TCP_QUICKACK=0")), (socket.TCP_QUICKACK, 0)),
        (bench.another(T("TCP_DEFER_ACCEPT", "TCP_DEFER_ACCEPT")), (socket.TCP_DEFER_ACCEPT, 1)),
    ):
        server, client = world.program("server"), world.program("client")
        world.listen(server)
        fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        if option is not None:
            client.setsockopt(fd, socket.IPPROTO_TCP, *option)
        world.try_connect(client, fd)
        world.outcome(client, fd)
        client.send(fd, b"0123456789")
        world.run(300 * MSEC)
        sizes = [int(segment(entry).length) for entry in world.sent("client", flags="A")]
        world.check(
            T("segments behind the SYN, with octets", "SYN 之后的报文，含字节数"),
            sizes,
            [0, 10] if option is None else [10],
        )
        found.append(len(sizes))
    return bench.verdict(
        T(f"{found[0]} segments; {found[1]} with TCP_QUICKACK=0", f"{found[0]} 个报文；TCP_QUICKACK=0 时 {found[1]} 个")
    )
