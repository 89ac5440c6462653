"""TCP Fast Open: data in the SYN, for those who have been here before (RFC 7413)."""

import socket

from timewait.base.instant import MSEC
from timewait.host.sockopt import MSG_FASTOPEN, SOL_TCP, TCP_FASTOPEN
from timewait.lab.bench import ADDRESSES, PORT, Bench, Program
from timewait.lab.forge import Dialog
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import LabError, segment
from timewait.tcp.states import State
from timewait.wire.packet import Segment

FASTOPEN = "net.ipv4.tcp_fastopen"
_ON = {FASTOPEN: 3}


def _serve(bench: Bench) -> tuple[Program, int]:
    """A server that takes data in a SYN: (program, listener)."""
    server = bench.program("server")
    listener = bench.listen(server)
    server.setsockopt(listener, SOL_TCP, TCP_FASTOPEN, 8)
    return server, listener


def _send_at_once(bench: Bench, client: Program, data: bytes) -> int:
    """sendto() with MSG_FASTOPEN, which connects: the new descriptor."""
    fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        client.sendto(fd, data, (ADDRESSES["server"], PORT), MSG_FASTOPEN)
    except BlockingIOError:
        if bench.outcome(client, fd) != "OK":
            raise LabError("the connection was refused") from None
        bench.write(client, fd, data)
    return fd


def _exchange(bench: Bench, client: Program, server: Program, listener: int) -> int:
    """A request of 10 octets and an answer of 5: how long the client waits for it, ns."""
    begun = bench.now
    fd = _send_at_once(bench, client, b"0123456789")
    peer = bench.accept(server, listener)
    bench.read(server, peer, 10)
    server.send(peer, b"hello")
    bench.read(client, fd, 5)
    waited = bench.now - begun
    client.close(fd)
    server.close(peer)
    bench.run(2 * bench.lab.rtt)
    return waited


@lab(
    "TFO-01",
    title=T("Which packet carries data early", "快速打开的数据在第几个包里"),
    claim=T(
        "'TCP Fast Open lets data ride in the third packet of the handshake.'",
        "“TFO 允许在第三次握手时携带数据。”",
    ),
    truth="wrong",
    source="S0; RFC 7413 2; RFC 9293 3.10.7.3",
    why=T(
        "The third packet may carry data in plain TCP. What Fast Open adds is data in the first one, the SYN, and an"
        " answer before the third has arrived.",
        "普通 TCP 的第三个包本来就可以带数据。TFO 增加的是：第一个包（SYN）带数据，且服务端在第三个包到达前就能应答。",
    ),
    practice=T(
        "Only for requests that may be executed twice: a SYN that is duplicated by the network delivers its data"
        " again.",
        "只用于可重复执行的请求：SYN 若在网络中被复制，其数据会再次交付。",
    ),
    on=ANYWHERE,
    rtt=40 * MSEC,
    sysctl=_ON,
)
def data_in_which_packet(bench: Bench) -> Verdict:
    server, listener = _serve(bench)
    client = bench.program("client")
    _exchange(bench, client, server, listener)
    mark = bench.now
    fd = _send_at_once(bench, client, b"0123456789")
    peer = bench.accept(server, listener)
    got = bench.read(server, peer, 10)
    found = [view.state for view in bench.sockets("server") if view.state not in (State.LISTEN, State.TIME_WAIT)]
    state = found[0] if found else State.CLOSED
    bench.run(2 * bench.lab.rtt)
    first = bench.sent("client", after=mark)[0]
    carried = int(segment(first).length)
    bench.check(T("first packet", "第一个包"), bench.flags(first), "SYN")
    bench.check(T("octets in it", "其中数据字节"), carried, 10)
    bench.check(T("read by the server's program", "服务端程序读到"), len(got), 10)
    bench.check(T("the server's state then", "此时服务端状态"), state, State.SYN_RCVD)
    client.close(fd)
    return bench.verdict(
        T(
            f"wrong: {carried} octets in the {bench.flags(first)}, read in {state.rfc_name}, before the third packet",
            f"说法有误：{carried} 字节在 {bench.flags(first)} 中，服务端在 {state.rfc_name} 即读到，早于第三个包",
        )
    )


def _syn(dialog: Dialog, cookie: bytes, data: bytes = b"") -> Segment:
    """A SYN with the Fast Open option, and the SYN-ACK it gets."""
    made = dialog.make("S", data=data)
    made.mss, made.fast_open = 1460, cookie
    dialog.put(made)
    return dialog.answered()


@lab(
    "TFO-02",
    title=T("First a cookie, then data in the SYN", "先取 cookie，再在 SYN 中带数据"),
    claim=T(
        "Both sides must support it; the first connection gets a cookie, which later SYNs carry.",
        "需要双方支持；首次连接取得 cookie，此后的 SYN 携带它。",
    ),
    truth="true",
    source="S0; RFC 7413 3; tcp_try_fastopen",
    why=T(
        "The cookie proves that the client receives at the address it sends from, so that a forged SYN cannot make the"
        " server work. A wrong one costs nothing but the round trip: the data is not taken, and a new cookie comes.",
        "cookie 证明客户端确实能在其源地址收包，伪造的 SYN 因此不能让服务端做事。cookie 错误只多花一个往返："
        "数据不收，并发来新 cookie。",
    ),
    practice=T(
        "net.ipv4.tcp_fastopen=3 and TCP_FASTOPEN on the listener; the default 1 is for clients only. Some middleboxes"
        " drop SYNs with data, which costs a timeout.",
        "net.ipv4.tcp_fastopen=3，并在监听套接字上设 TCP_FASTOPEN；默认值 1 只对客户端生效。"
        "有些中间设备会丢弃带数据的 SYN，代价是一次超时。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    sysctl=_ON,
)
def cookie_then_data(bench: Bench) -> Verdict:
    server, listener = _serve(bench)
    first = Dialog(bench, 40001)
    granted = _syn(first, b"").fast_open or b""
    first.send("A", seq=1, ack=1)
    bench.run(bench.lab.rtt)
    server.close(bench.accept(server, listener))
    second = Dialog(bench, 40002)
    taken = second.relative(_syn(second, granted, b"0123456789"))[1]
    peer = bench.accept(server, listener)
    early = bench.read(server, peer, 10)
    third = Dialog(bench, 40003)
    refused = _syn(third, bytes(8), b"0123456789")
    not_taken = third.relative(refused)[1]
    fresh = refused.fast_open or b""
    bench.check(T("cookie granted, octets", "得到的 cookie 字节数"), len(granted), 8)
    bench.check(T("SYN + cookie + 10 octets is acknowledged with", "SYN+cookie+10 字节的确认号"), taken, 11)
    bench.check(T("read before the third packet", "第三个包之前读到"), len(early), 10)
    bench.check(T("with a wrong cookie", "cookie 错误时"), not_taken, 1)
    bench.check(T("a new cookie comes", "发来新 cookie"), len(fresh), 8)
    return bench.verdict(
        T(
            f"cookie of {len(granted)} octets; with it ack={taken}, with a wrong one ack={not_taken}",
            f"cookie {len(granted)} 字节；携带它 ack={taken}，错误 cookie ack={not_taken}",
        )
    )


@lab(
    "TFO-03",
    title=T("A round trip saved", "省下一个往返"),
    claim=T("Fast Open lowers latency.", "快速打开降低延迟。"),
    truth="true",
    source="S0; RFC 7413 1",
    why=T(
        "Request and answer travel with the handshake instead of after it: one round trip instead of two.",
        "请求与应答随握手一起传送，而不是在其后：一个往返代替两个。",
    ),
    practice=T(
        "Worth it for short connections over long paths. A kept-alive connection saves the same without its risks.",
        "适合长距离短连接。复用长连接同样省一个往返，且没有它的风险。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
    sysctl=_ON,
)
def round_trip_saved(bench: Bench) -> Verdict:
    server, listener = _serve(bench)
    client = bench.program("client")
    waits = [_exchange(bench, client, server, listener) for _ in range(2)]
    bench.check_times(
        T("answer after (first, second connection)", "得到应答（首次、第二次）"), waits, [200 * MSEC, 100 * MSEC]
    )
    told = [f"{wait / MSEC:.0f} ms" for wait in waits]
    return bench.verdict(
        T(f"answer after {told[0]}, with a cookie after {told[1]}", f"首次 {told[0]} 得到应答，有 cookie 时 {told[1]}")
    )
