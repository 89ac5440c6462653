"""Both at once: connecting to each other, to oneself, and closing at the same moment."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import ADDRESSES, Bench
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.tcp.states import State


@lab(
    "SOCK-10",
    title=T("A socket connects to itself", "套接字自连接"),
    claim=T("Without any listen(), a client can connect to itself.", "无需 listen()，客户端可以连接自己。"),
    truth="true",
    source="S1; RFC 9293 3.5 figure 7; tcp_rcv_synsent_state_process",
    why=T(
        "A SYN that comes back to the socket that sent it is a simultaneous open with oneself: SYN-SENT sees a SYN,"
        " answers with a SYN-ACK and sees that too.",
        "SYN 回到发出它的套接字，等于与自己同时打开：SYN-SENT 收到 SYN，回 SYN-ACK，又收到这个 SYN-ACK。",
    ),
    practice=T(
        "A client that retries connect() to a dead local server on a port of the ephemeral range may meet itself. Keep"
        " server ports out of net.ipv4.ip_local_port_range, or reserve them in ip_local_reserved_ports.",
        "客户端反复连接本机临时端口范围内已死的服务端时可能连到自己。服务端口应避开 net.ipv4.ip_local_port_range，"
        "或写入 ip_local_reserved_ports。",
    ),
    on=SIM,
)
def self_connect(bench: Bench) -> Verdict:
    program = bench.program("client")
    fd = program.socket(socket.AF_INET, socket.SOCK_STREAM)
    program.bind(fd, ("0.0.0.0", 7000))
    bench.try_connect(program, fd, to="client", port=7000)
    came = bench.outcome(program, fd)
    segments = bench.sent("client")
    bench.check(T("connect()", "connect()"), came, "OK")
    bench.check(T("segments", "报文"), [bench.flags(entry) for entry in segments], ["SYN", "SYN-ACK", "ACK"])
    numbers = {segment(entry).seq for entry in segments[:2]}
    bench.check(T("numbers of SYN and SYN-ACK", "SYN 与 SYN-ACK 的序号个数"), len(numbers), 1)
    found = bench.sockets("client", State.ESTABLISHED)
    bench.check(T("ESTABLISHED sockets", "ESTABLISHED 套接字"), len(found), 1)
    bench.check(T("its peer is itself", "对端就是自己"), program.getpeername(fd), program.getsockname(fd))
    program.send(fd, b"echo")
    bench.check(T("what it writes it reads", "写入的内容被自己读到"), bench.read(program, fd, 4), b"echo")
    program.shutdown(fd, socket.SHUT_WR)
    bench.run(SEC)
    after = bench.state("client")
    bench.check(T("after shutdown()", "shutdown() 之后"), after, State.TIME_WAIT)
    return bench.verdict(
        T(
            f"{len(found)} socket ESTABLISHED with itself by 3 segments, then {after.rfc_name}",
            f"{len(found)} 个套接字经 3 个报文与自己 ESTABLISHED，之后 {after.rfc_name}",
        )
    )


@lab(
    "SOCK-11",
    title=T("Two clients connect to each other at once", "两个客户端同时互连"),
    claim=T(
        "Without any listen(), two clients that connect to each other at the same time get one connection.",
        "无需 listen()，两个客户端同时互相 connect() 会得到同一条连接。",
    ),
    truth="true",
    source="S1; RFC 9293 3.5 figure 7 MUST-10; tcp_rcv_synsent_state_process",
    why=T(
        "A SYN in SYN-SENT is answered with a SYN-ACK that repeats our own number; the connection stands when that is"
        " acknowledged. Linux answers the peer's SYN-ACK with an ACK besides, whose DSACK reports the SYN had twice.",
        "SYN-SENT 收到 SYN 后用自己的原序号回 SYN-ACK，被确认后连接建立。"
        "Linux 还会对对方的 SYN-ACK 再回一个 ACK，用 DSACK 报告 SYN 收到了两次。",
    ),
    practice=T(
        "This is how TCP hole punching works: both bind() their port first (SO_REUSEADDR) and connect() within one"
        " round trip.",
        "TCP 打洞就靠它：双方先 bind() 端口（SO_REUSEADDR），并在一个往返时间内互相 connect()。",
    ),
    on=ANYWHERE,
    rtt=40 * MSEC,
)
def simultaneous_open(bench: Bench) -> Verdict:
    one, other = bench.program("client"), bench.program("server")
    fds = []
    for program, port in ((one, 5000), (other, 6000)):
        fd = program.socket(socket.AF_INET, socket.SOCK_STREAM)
        program.bind(fd, ("0.0.0.0", port))
        fds.append(fd)
    bench.try_connect(one, fds[0], to="server", port=6000)
    bench.try_connect(other, fds[1], to="client", port=5000)
    came = [bench.outcome(one, fds[0]), bench.outcome(other, fds[1])]
    bench.run(SEC)
    one.send(fds[0], b"hello")
    got = bench.read(other, fds[1], 5)
    bench.run(bench.lab.rtt)
    segments = [bench.flags(entry) for entry in bench.sent(payload=False)]
    counts = [segments.count(name) for name in ("SYN", "SYN-ACK")]
    bench.check(T("connect() on both sides", "双方 connect()"), came, ["OK", "OK"])
    bench.check(T("SYNs, SYN-ACKs", "SYN 与 SYN-ACK 个数"), counts, [2, 2])
    for host in ("client", "server"):
        numbers = {segment(entry).seq for name in ("S", "SA") for entry in bench.sent(host, flags=name)}
        bench.check(
            T(f"numbers in SYN and SYN-ACK of the {host}", f"{host} 的 SYN 与 SYN-ACK 序号个数"), len(numbers), 1
        )
        bench.check_path(host, State.SYN_SENT, State.SYN_RCVD, State.ESTABLISHED)
        repeated = [entry for entry in bench.sent(host, flags="A", payload=False) if segment(entry).sacks]
        bench.check(
            T(f"ACKs of the {host} that say the SYN came twice", f"{host} 报告 SYN 重复的 ACK"), len(repeated), 1
        )
    connections = len(bench.record.connections())
    bench.check(T("connections", "连接数"), connections, 1)
    bench.check(T("octets that arrive", "到达字节"), len(got), 5)
    return bench.verdict(
        T(
            f"{counts[0]} SYNs and {counts[1]} SYN-ACKs make {connections} connection; both ends {', '.join(came)}",
            f"{counts[0]} 个 SYN、{counts[1]} 个 SYN-ACK 得到 {connections} 条连接；双方 {'、'.join(came)}",
        )
    )


@lab(
    "CLS-09",
    title=T("Both sides close at once", "双方同时关闭"),
    claim=T("Either side may close first, or both at once.", "任何一方都可先关闭，也可同时关闭。"),
    truth="true",
    source="S1 S2 S4; RFC 9293 3.6 figure 13",
    why=T(
        "The FINs cross: each finds the other side in FIN-WAIT-1, which goes through CLOSING instead of FIN-WAIT-2."
        " Both have closed actively, so both keep TIME-WAIT.",
        "两个 FIN 交错：各自到达时对方处于 FIN-WAIT-1，于是经 CLOSING 而非 FIN-WAIT-2。"
        "双方都是主动关闭者，都进入 TIME-WAIT。",
    ),
    practice=T(
        "Protocols that let both sides close on the same event cost a TIME-WAIT on each. Let one side close: usually"
        " the client.",
        "若协议让双方在同一事件上关闭，两边都会留下 TIME-WAIT。应约定由一方关闭：通常是客户端。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
)
def simultaneous_close(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.close(pair.cfd)
    pair.server.close(pair.sfd)
    bench.run(SEC)
    for host in ("client", "server"):
        before = (State.SYN_SENT,) if host == "client" else (State.SYN_RCVD,)
        bench.check_path(host, *before, State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSING, State.TIME_WAIT)
    fins = len(bench.sent(flags="FA"))
    waiting = [host for host in ADDRESSES if bench.state(host) is State.TIME_WAIT]
    bench.check(T("FINs", "FIN 个数"), fins, 2)
    bench.check(T("in TIME-WAIT", "处于 TIME-WAIT"), waiting, ["client", "server"])
    return bench.verdict(
        T(
            f"{fins} FINs cross; TIME-WAIT at {' and '.join(waiting)}",
            f"{fins} 个 FIN 交错；TIME-WAIT 在 {'、'.join(waiting)}",
        )
    )
