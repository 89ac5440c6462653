"""Sockets: what names a connection, and what the calls do on the wire."""

import socket

from timewait.base.instant import MSEC
from timewait.lab.bench import Bench, Program
from timewait.lab.byhand import open_to_server
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.tcp.states import State
from timewait.wire.address import pack, show_endpoint
from timewait.wire.packet import SYN, Segment, make_flow


@lab(
    "SOCK-01",
    title=T("A socket is an address and a port", "套接字 = 地址 + 端口"),
    claim=T("An endpoint is written 192.3.4.16:80.", "端点写作 192.3.4.16:80。"),
    truth="true",
    source="S0 S1; RFC 9293 4",
    why=T(
        "The address finds the host, the port the program. IPv6 addresses stand in brackets, since they hold colons.",
        "地址定位主机，端口定位程序。IPv6 地址含冒号，写在方括号里。",
    ),
    practice=T("`ss -tn` shows both ends of each connection so.", "`ss -tn` 就这样显示连接的两端。"),
    on=ANYWHERE,
)
def address_and_port(bench: Bench) -> Verdict:
    pair = bench.open(sport=40000)
    ends = [pair.client.getsockname(pair.cfd), pair.client.getpeername(pair.cfd)]
    told = [f"{address}:{port}" for address, port in ends]
    bench.check(T("the client's socket and its peer", "客户端套接字与其对端"), told, ["10.0.0.1:40000", "10.0.0.2:80"])
    syn = segment(bench.sent("client", flags="S")[0])
    wire = [show_endpoint(syn.src, syn.sport), show_endpoint(syn.dst, syn.dport)]
    bench.check(T("the same in the SYN", "SYN 中相同"), wire, told)
    six = show_endpoint(pack("2001:db8::1"), 80)
    bench.check(T("and for IPv6", "IPv6 写法"), six, "[2001:db8::1]:80")
    return bench.verdict(T(f"{told[0]} to {told[1]}", f"{told[0]} 到 {told[1]}"))


@lab(
    "SOCK-02",
    title=T("Four values name a connection", "四元组确定一个连接"),
    claim=T(
        "Source and destination address and port identify a connection; one client port may serve for different"
        " servers.",
        "源、目的地址与端口唯一标识连接；同一客户端端口可连不同服务器。",
    ),
    truth="true",
    source="S1 S3 S4; RFC 9293 3.4; inet_ehashfn",
    why=T(
        "A segment is given to the connection that has all four of its values. If one differs, it is another one.",
        "报文交给四个值全部相符的连接；任一不同就是另一个连接。",
    ),
    practice=T(
        "A log that names only the client's address cannot tell connections apart: log its port too.",
        "日志只记客户端地址无法区分连接：应同时记端口。",
    ),
    on=ANYWHERE,
    topology="own",
)
def four_values(bench: Bench) -> Verdict:
    client, server = _two_addresses(bench)
    listener = bench.listen(server)
    told = (("10.0.0.2", 40000), ("10.0.0.2", 40001), ("10.0.0.3", 40000))
    got = []
    for address, sport in told:
        fd = bench.connect(client, to=address, sport=sport)
        came = bench.outcome(client, fd)
        bench.check(T(f"connect() from {sport} to {address}", f"从 {sport} 连到 {address}"), came, "OK")
        client.send(fd, f"{sport} {address}".encode())
    for _ in told:
        sfd = bench.accept(server, listener)
        bench.run(50 * MSEC)
        got.append(server.recv(sfd, 100).decode())
    bench.check(
        T("each carries its own stream", "各有自己的数据流"), sorted(got), sorted(f"{port} {to}" for to, port in told)
    )
    count = len(bench.sockets("server", State.ESTABLISHED))
    bench.check(T("connections of port 80", "80 端口上的连接"), count, 3)
    return bench.verdict(T(f"{count} connections, no two with the same four values", f"{count} 个连接，四元组各不相同"))


def _two_addresses(bench: Bench) -> tuple[Program, Program]:
    """A client, and a server with the addresses .2 and .3."""
    bench.machine("client", "10.0.0.1/24")
    bench.machine("server", "10.0.0.2/24", "10.0.0.3/24")
    bench.world.link(bench.client, bench.server, delay=bench.lab.rtt // 2)
    return bench.program("client"), bench.program("server")


@lab(
    "SOCK-03",
    title=T("One port, very many connections", "一个端口，极多连接"),
    claim=T(
        "At most about 2^48 connections: 2^32 addresses times 2^16 ports.",
        "最多约 2^48 个连接：2^32 个地址乘 2^16 个端口。",
    ),
    truth="simplification",
    source="S1; RFC 9293 3.4; RFC 6890",
    why=T(
        "That is the count of four-tuples with our end fixed, for IPv4 (2^144 for IPv6); reserved addresses and port 0"
        " do not count. Memory and descriptors end it long before.",
        "这是本端固定时四元组的数目（IPv4；IPv6 为 2^144），保留地址与端口 0 不算。内存与描述符早就先到上限。",
    ),
    practice=T(
        "A server does not run out of ports; a client or a proxy does: 28232 by default for each destination.",
        "服务端不会用尽端口；客户端或代理会：默认对每个目的地只有 28232 个。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    sysctl={"net.core.somaxconn": 4096},
)
def many_connections(bench: Bench) -> Verdict:
    server = bench.program("server")
    listener = bench.listen(server, backlog=1000)
    puppet = bench.puppet
    home = puppet.local
    wanted = 200

    def complete(packet: object) -> None:
        if isinstance(packet, Segment) and packet.flags & SYN:
            third = puppet.segment("A", seq=1, ack=(packet.seq + 1) % 2**32)
            third.seq, third.ack = packet.ack, (packet.seq + 1) % 2**32
            third.src, third.sport = packet.dst, packet.dport
            third.flow = make_flow(third.src, third.dst, third.sport, third.dport)
            puppet.put(third)

    puppet.on_packet = complete
    for number in range(wanted):
        syn = puppet.segment("S")
        # Twenty ports at each of ten addresses.
        syn.src, syn.sport, syn.dport = home[:3] + bytes((100 + number // 20,)), 1024 + number % 20, 80
        syn.flow = make_flow(syn.src, syn.dst, syn.sport, syn.dport)
        puppet.put(syn)
    bench.run(200 * MSEC)
    found = bench.sockets("server", State.ESTABLISHED)
    ports = {view.local[1] for view in found}
    accepted = 0
    while server.poll([(listener, 1)]) and accepted < 2 * wanted:
        server.accept(listener)
        accepted += 1
    bench.check(T("ESTABLISHED", "ESTABLISHED 连接"), len(found), wanted)
    bench.check(T("local ports used", "用掉的本地端口"), sorted(ports), [80])
    bench.check(T("accepted", "accept() 得到"), accepted, wanted)
    bench.check(T("four-tuples possible: bits", "可能的四元组：位数"), (2**32 * 2**16).bit_length() - 1, 48)
    return bench.verdict(
        T(f"{len(found)} connections on {len(ports)} port", f"{len(ports)} 个端口上 {len(found)} 个连接")
    )


@lab(
    "SOCK-06",
    title=T("The calls and the packets", "API 调用与报文"),
    claim=T(
        "Server: socket, bind, listen, accept; client: connect; then write and read; close gives the other side EOF.",
        "服务端 socket、bind、listen、accept；客户端 connect；随后读写；close 让对端读到 EOF。",
    ),
    truth="true",
    source="S1; RFC 9293 3.9; POSIX",
    why=T(
        "connect() sends the SYN, close() the FIN; the kernel does the rest. accept() and read() send nothing"
        " themselves.",
        "connect() 发 SYN，close() 发 FIN，其余由内核完成；accept() 与 read() 本身不发包。",
    ),
    practice=T(
        "Read until 0 (EOF), then close: else connections stay in CLOSE-WAIT.",
        "读到 0（EOF）后要 close，否则连接停在 CLOSE-WAIT。",
    ),
    on=ANYWHERE,
)
def calls_and_packets(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"question")
    bench.read(pair.server, pair.sfd, 8)
    pair.server.send(pair.sfd, b"answer")
    bench.read(pair.client, pair.cfd, 6)
    bench.run(100 * MSEC)
    mark = bench.now
    pair.client.close(pair.cfd)
    bench.run(100 * MSEC)
    end = pair.server.recv(pair.sfd, 10)
    pair.server.close(pair.sfd)
    bench.run(100 * MSEC)
    names = [bench.flags(entry) for entry in bench.sent()]
    closing = [bench.flags(entry) for entry in bench.sent(after=mark)]
    bench.check(T("handshake", "握手"), names[:3], ["SYN", "SYN-ACK", "ACK"])
    carried = len(bench.sent(payload=True))
    bench.check(T("segments with data", "带数据的报文"), carried, 2)
    bench.check(T("the server's read() after the close()", "close() 后服务端 read()"), len(end), 0)
    bench.check(T("end", "挥手"), closing, ["FIN-ACK", "ACK", "FIN-ACK", "ACK"])
    bench.check(
        T("client, server", "客户端、服务端"),
        [bench.state("client"), bench.state("server")],
        [State.TIME_WAIT, State.CLOSED],
    )
    return bench.verdict(
        T(
            f"3 segments to open, {carried} with data, {len(closing)} to close",
            f"建立 3 个报文，数据 {carried} 个，关闭 {len(closing)} 个",
        )
    )


@lab(
    "SOCK-07",
    title=T("Listening and connected are two sockets", "监听套接字与已连接套接字是两个"),
    claim=T("accept() returns a new socket; the listener stays.", "accept() 返回新套接字，监听套接字仍在。"),
    truth="true",
    source="S1; tcp_v4_syn_recv_sock; inet_csk_listen_stop",
    why=T(
        "The kernel makes the child when the third segment comes; accept() only hands it out. Closing the listener"
        " leaves accepted ones alone, and resets those not accepted yet.",
        "第三个报文到达时内核创建子套接字，accept() 只是取出。关闭监听套接字不影响已取出的，未取出的被 RST。",
    ),
    practice=T(
        "For a restart without resets: accept what waits before closing, or hand the listener to the new process.",
        "平滑重启：关闭前先取空队列，或把监听描述符交给新进程。",
    ),
    on=ANYWHERE,
)
def two_sockets(bench: Bench) -> Verdict:
    pair = bench.open()
    waiting = bench.program("client", "waiting")
    fd = bench.connect(waiting)
    bench.outcome(waiting, fd)
    bench.run(50 * MSEC)
    pair.server.close(pair.listener)
    bench.run(50 * MSEC)
    pair.client.send(pair.cfd, b"still there?")
    got = bench.read(pair.server, pair.sfd, 12)
    error = bench.attempt(lambda: waiting.recv(fd, 10))
    resets = len(bench.sent("server", flags="RA"))
    left = len(bench.sockets("server", State.LISTEN))
    bench.check(T("descriptors differ", "描述符不同"), pair.sfd != pair.listener, True)
    bench.check(T("listeners after close()", "close() 之后的监听"), left, 0)
    bench.check(T("the accepted connection still carries", "已 accept 的连接仍传输"), got, b"still there?")
    bench.check(T("the one that waited: recv()", "未 accept 的：recv()"), error, "ECONNRESET")
    bench.check(T("RST-ACKs", "RST-ACK 个数"), resets, 1)
    return bench.verdict(
        T(
            f"accepted: {len(got)} octets pass; not accepted: {error}",
            f"已 accept：仍传 {len(got)} 字节；未 accept：{error}",
        )
    )


@lab(
    "SOCK-08",
    title=T("When connect() and accept() return", "connect() 与 accept() 何时返回"),
    claim=T(
        "connect() succeeds with the second segment, accept() with the third.",
        "connect() 在第二个报文到达时成功，accept() 在第三个之后。",
    ),
    truth="true",
    source="S1; RFC 9293 3.5; RFC 7413 (exception)",
    why=T(
        "The client knows after one round trip that the server is there; the server knows half a trip later. With Fast"
        " Open a server may accept with the SYN.",
        "客户端一个往返后知道服务端在；服务端再晚半程。启用 Fast Open 时服务端收到 SYN 就可 accept。",
    ),
    practice=T(
        "connect()'s success does not mean that a program has accepted you: only an answer does.",
        "connect() 成功不代表对端程序已 accept：要看应答。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
)
def when_calls_return(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    begun = bench.now
    fd = bench.connect(client)
    bench.outcome(client, fd)
    connected = bench.now - begun
    bench.accept(server, listener)
    accepted = bench.now - begun
    half = bench.lab.rtt // 2
    bench.check_time(T("connect() returns after", "connect() 返回于"), connected, 2 * half)
    bench.check_time(T("accept() returns after", "accept() 返回于"), accepted, 3 * half)
    return bench.verdict(
        T(
            f"connect() after {connected / MSEC:.0f} ms, accept() after {accepted / MSEC:.0f} ms",
            f"connect() {connected / MSEC:.0f} ms，accept() {accepted / MSEC:.0f} ms",
        )
    )


@lab(
    "SOCK-09",
    title=T("Connected without accept()", "没有 accept() 也能建立连接"),
    claim=T("accept() only takes a finished connection from the queue.", "accept() 只是从队列取出已建立的连接。"),
    truth="true",
    source="S1; tcp_check_req; inet_csk_accept",
    why=T(
        "The kernel finishes the handshake and acknowledges data on its own. The listener's Recv-Q counts who waits.",
        "内核自行完成握手并确认数据。监听套接字的 Recv-Q 显示排队数。",
    ),
    practice=T(
        "A hung server looks alive to a TCP health check: check with a request. Watch Recv-Q in `ss -ltn`.",
        "挂死的服务端在 TCP 健康检查看来仍活着：应发真实请求检查，并留意 `ss -ltn` 的 Recv-Q。",
    ),
    on=ANYWHERE,
)
def without_accept(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    fd = bench.connect(client)
    came = bench.outcome(client, fd)
    client.send(fd, b"0123456789")
    bench.run(200 * MSEC)
    child = bench.sockets("server", State.ESTABLISHED)
    queued = bench.sockets("server", State.LISTEN)[0].recv_q
    acked = bench.relative_ack(bench.sent("server")[-1])
    client.shutdown(fd, socket.SHUT_WR)
    bench.run(200 * MSEC)
    after = [view.state for view in bench.sockets("server") if view.state is not State.LISTEN]
    bench.check(T("connect()", "connect()"), came, "OK")
    bench.check(
        T("10 octets acknowledged, waiting unread", "10 字节已确认、未读"),
        (acked, [view.recv_q for view in child]),
        (11, [10]),
    )
    bench.check(T("Recv-Q of the listener", "监听套接字的 Recv-Q"), queued, 1)
    bench.check(T("after the client's FIN", "客户端 FIN 之后"), after, [State.CLOSE_WAIT])
    return bench.verdict(
        T(f"ESTABLISHED, ack {acked}, {queued} waits in the queue", f"ESTABLISHED，确认号 {acked}，队列中 {queued} 个")
    )


@lab(
    "SOCK-12",
    title=T("Connecting where nobody listens", "连接无人监听的端口"),
    claim=T("What happens when the server has no listen().", "服务端没有 listen() 会怎样。"),
    truth="true",
    source="S1; RFC 9293 3.10.7.1; tcp_v4_send_reset",
    why=T(
        "A SYN to a closed port is answered with RST-ACK, sequence number 0 and acknowledgment ISN+1. The client stops"
        " at once: no retries.",
        "发往关闭端口的 SYN 得到 RST-ACK，序号 0、确认号 ISN+1。客户端立即停止，不重试。",
    ),
    practice=T(
        "ECONNREFUSED: host up, program down, answer in one round trip. ETIMEDOUT: a firewall drops, or the host"
        " is down.",
        "ECONNREFUSED：主机在、程序不在，一个往返即知。ETIMEDOUT：防火墙丢弃或主机不在。",
    ),
    on=ANYWHERE,
)
def nobody_listens(bench: Bench) -> Verdict:
    client = bench.program("client")
    begun = bench.now
    fd = bench.connect(client)
    error = bench.outcome(client, fd)
    took = bench.now - begun
    bench.run(bench.lab.rtt)
    syn, answer = segment(bench.sent("client")[0]), segment(bench.sent("server")[0])
    bench.check(T("answer", "回应"), bench.flags(answer), "RST-ACK")
    bench.check(
        T("its seq, and ack minus ISN", "其序号，确认号减 ISN"), (answer.seq, (answer.ack - syn.seq) % 2**32), (0, 1)
    )
    bench.check(T("connect()", "connect()"), error, "ECONNREFUSED")
    bench.check_time(T("after", "用时"), took, bench.lab.rtt)
    bench.check(T("segments in all", "报文总数"), len(bench.sent()), 2)
    return bench.verdict(
        T(
            f"{error} after {took / MSEC:.0f} ms, {len(bench.sent('client'))} SYN",
            f"{took / MSEC:.0f} ms 后 {error}，{len(bench.sent('client'))} 个 SYN",
        )
    )


@lab(
    "SOCK-16",
    title=T("End of file waits behind the data", "EOF 排在数据之后"),
    claim=T("FIN puts EOF behind what waits in the receive buffer.", "FIN 使 EOF 排在接收缓冲区数据之后。"),
    truth="true",
    source="S1; RFC 9293 3.10.7.4 eighth check; tcp_recvmsg",
    why=T(
        "The state changes the moment the FIN arrives; the program sees it only after all octets before it.",
        "FIN 到达的瞬间状态就改变；程序要读完之前的字节才看到。",
    ),
    practice=T(
        "EPOLLRDHUP says that a FIN is here while data still waits: read on until 0.",
        "EPOLLRDHUP 表示 FIN 已到但可能仍有数据：继续读到 0。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def end_behind_data(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench)
    bench.puppet.send("FPA", seq=1, ack=1, data=b"0123456789")
    bench.run(100 * MSEC)
    state = bench.state("server")
    reads = [len(program.recv(fd, 100)) for _ in range(2)]
    last = bench.puppet.segments()[-1]
    acked = bench.puppet.relative(last)[1]
    bench.check(T("state before any read", "读之前的状态"), state, State.CLOSE_WAIT)
    bench.check(T("reads", "读取"), reads, [10, 0])
    bench.check(T("acknowledged: data and FIN", "确认号：数据与 FIN"), acked, 12)
    return bench.verdict(
        T(
            f"{state.rfc_name} at once; reads {reads[0]}, then {reads[1]}",
            f"立即 {state.rfc_name}；读到 {reads[0]}，再读 {reads[1]}",
        )
    )
