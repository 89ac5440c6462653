"""What a keepalive probe is, how many there are, and what the last one leads to."""

import select
import socket
from typing import Final

from timewait.base.instant import MSEC, SEC, show_ns
from timewait.lab.bench import Bench
from timewait.lab.byhand import open_to_server
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.lab.keepalive import INTERVAL, PRACTICE, PROBES, TIME, last_heard, settings, watched
from timewait.lab.keepalive_when import probes
from timewait.tcp.states import State
from timewait.wire import icmp
from timewait.wire.packet import Packet, Segment
from timewait.wire.serialize import serialize, wire_length

HOST_UNREACHABLE: Final = (3, 1)
_EVENTS: Final = ((select.EPOLLIN, "IN"), (select.EPOLLERR, "ERR"), (select.EPOLLHUP, "HUP"))


@lab(
    "KA-03",
    title=T("Nine probes or ten?", "九次还是十次探测？"),
    claim=T(
        "The server sends 10 probes, 75 s apart (S0, S3); it sends 9 (S1).",
        "服务端每隔 75 秒发 10 次探测（S0、S3）；发 9 次（S1）。",
    ),
    truth="sources disagree",
    source="S0 S1 S3; tcp_keepalive_probes; TCPTV_KEEPCNT (BSD)",
    why=T(
        "Linux's default is 9, BSD's 8. Ten is what Stevens saw on the BSD of 1994. RFC 9293 gives no number at all.",
        "Linux 默认 9 次，BSD 8 次。10 次出自 Stevens 1994 年观察的 BSD。RFC 9293 没有规定次数。",
    ),
    practice=T(
        "Choose the three numbers by the time in which you must know: idle + interval x count. Fewer probes find a dead"
        " peer sooner and drop more connections over a short outage.",
        "按需要的发现时间选三个数：空闲 + 间隔×次数。次数少则发现早，但短暂中断时误断的连接更多。",
    ),
    on=ANYWHERE,
    live={TIME: 2, INTERVAL: 1},
    variants={
        "linux": T("Linux's default", "Linux 默认"),
        "stevens": T("tcp_keepalive_probes=10", "tcp_keepalive_probes=10"),
        "bsd": T("tcp_keepalive_probes=8", "tcp_keepalive_probes=8"),
    },
)
def how_many(bench: Bench) -> Verdict:
    if bench.variant != "linux":
        bench.configure({PROBES: 10 if bench.variant == "stevens" else 8})
    pair = watched(bench)
    silent_since = last_heard(bench)
    bench.power_off("client")
    idle, interval, count = settings(bench)
    limit = idle + (count + 1) * interval + 60 * SEC
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice", limit)
    gone = bench.now - silent_since
    times = bench.times(probes(bench), since=silent_since)
    error = bench.attempt(lambda: pair.server.recv(pair.sfd, 1))
    expected = [idle + n * interval for n in range(count)]
    bench.check(T("probes (tcp_keepalive_probes)", "探测次数（tcp_keepalive_probes）"), len(times), count)
    bench.check_times(T("probes sent at", "探测发送时刻"), times, expected)
    bench.check_time(T("given up after", "放弃于"), gone, idle + count * interval)
    bench.check(T("recv() gives", "recv() 返回"), error, "ETIMEDOUT")
    told = show_ns(round(gone / MSEC) * MSEC)
    return bench.verdict(T(f"{len(times)} probes, {error} after {told}", f"探测 {len(times)} 次，{told} 后 {error}"))


@lab(
    "KA-07",
    title=T("Keepalive, peer gone: probes, RST, ETIMEDOUT", "keepalive，对端消失：探测、RST、ETIMEDOUT"),
    claim=T(
        "The peer is down or out of reach: after N probes TCP reports that the connection is dead.",
        "对端宕机或不可达：N 次探测后 TCP 报告连接已死。",
    ),
    truth="true",
    source="S1 S2; RFC 9293 3.8.4; tcp_keepalive_timer, tcp_v4_err",
    why=T(
        "Linux ends with a RST, should the peer be able to hear after all. An ICMP error about a probe changes nothing:"
        " the probe's number lies before SND.UNA, and errors about such segments are ignored as forgeries"
        " (OutOfWindowIcmps).",
        "Linux 最后发 RST，以防对端其实还能收到。针对探测的 ICMP 错误没有作用：探测的序号在 SND.UNA 之前，"
        "这样的错误会被当作伪造而忽略（OutOfWindowIcmps）。",
    ),
    practice=PRACTICE,
    on=("sim", "kernel"),
    topology="puppet-client",
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
    variants={
        "silent": T("nothing comes back", "没有任何回应"),
        "unreachable": T("a router answers each probe: host unreachable", "路由器对每次探测回“主机不可达”"),
    },
)
def peer_gone(bench: Bench) -> Verdict:
    server, fd = open_to_server(bench)
    puppet = bench.puppet
    server.setsockopt(fd, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    puppet.send("PA", seq=1, ack=1, data=b"x")
    bench.read(server, fd, 1)
    silent_since = last_heard(bench)
    bench.run(300 * MSEC)

    def unreachable(packet: Packet) -> None:
        if isinstance(packet, Segment):
            puppet.put(icmp.error(packet, serialize(packet), puppet.local, *HOST_UNREACHABLE))

    if bench.variant == "unreachable":
        puppet.on_packet = unreachable
    idle, interval, count = settings(bench)
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice")
    gone = bench.now - silent_since
    error = bench.attempt(lambda: server.recv(fd, 1))
    bench.run(bench.lab.rtt)
    times = bench.times(probes(bench), since=silent_since)
    last = puppet.segments()[-1]
    bench.check_times(T("probes sent at", "探测发送时刻"), times, [idle + n * interval for n in range(count)])
    bench.check_time(T("given up after", "放弃于"), gone, idle + count * interval)
    bench.check(T("recv() gives", "recv() 返回"), error, "ETIMEDOUT")
    bench.check(T("last of all", "最后的报文"), bench.flags(last), "RST-ACK")
    bench.check(T("its seq, ack (the next ones)", "其 seq、ack（均为下一个）"), puppet.relative(last), (1, 2))
    ignored = bench.counter("server", "TcpExtOutOfWindowIcmps")
    wanted = count if bench.variant == "unreachable" else 0
    bench.check(T("ICMP errors ignored", "忽略的 ICMP 错误"), ignored, wanted)
    return bench.verdict(
        T(
            f"probes at {in_seconds(times)}; {bench.flags(last)} and {error} after {in_seconds([gone])};"
            f" {ignored} ICMP errors ignored",
            f"探测于 {in_seconds(times)}；{in_seconds([gone])} 后 {bench.flags(last)} 与 {error}；"
            f"忽略 ICMP 错误 {ignored} 个",
        )
    )


@lab(
    "KA-08",
    title=T("What is in a probe: nothing", "探测里有什么：没有数据"),
    claim=T("A probe carries very little data.", "探测报文只含极少的数据。"),
    truth="simplification",
    source="S1 S2; RFC 1122 4.2.3.6; tcp_xmit_probe_skb",
    why=T(
        "On Linux it is an empty ACK with the number before the next one: old, so that the peer must answer. RFC 1122"
        " allows one octet of garbage for stacks that ignore an empty one. While data is unacknowledged there is none:"
        " the retransmission asks the same question.",
        "Linux 的探测是空的 ACK，序号为下一个减一：这是旧序号，对端必须应答。RFC 1122 允许带一字节垃圾数据，"
        "以照顾会忽略空报文的实现。有未确认的数据时不发探测：重传已经在问同样的问题。",
    ),
    practice=T(
        "In a capture look for `tcp.analysis.keep_alive`: no payload, seq one below. A probe is 52 octets of IP with"
        " timestamps, so that traffic is no argument against keepalive.",
        "抓包时用 `tcp.analysis.keep_alive` 过滤：无数据，seq 小 1。带时间戳的探测只有 52 字节 IP 报文，"
        "流量不是反对 keepalive 的理由。",
    ),
    on=ANYWHERE,
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
    variants={
        "idle": T("all data is acknowledged", "数据均已确认"),
        "unacked": T("data is on its way to a dead peer", "发往死对端的数据未确认"),
    },
)
def what_a_probe_is(bench: Bench) -> Verdict:
    pair = watched(bench)
    pair.server.send(pair.sfd, b"0123456789")
    bench.read(pair.client, pair.cfd, 10)
    bench.run(300 * MSEC)
    silent_since = last_heard(bench)
    if bench.variant == "unacked":
        bench.power_off("client")
        pair.server.send(pair.sfd, b"anybody?")
        bench.run(5 * SEC)
        found, again = probes(bench), len(bench.sent("server", payload=8)) - 1
        bench.check(T("probes in 5 s, twice the idle time", "5 秒（空闲时间的两倍多）内的探测"), len(found), 0)
        bench.check_that(T("retransmissions", "重传次数"), again >= 2, again, "2 or more")
        return bench.verdict(
            T(f"{len(found)} probes, {again} retransmissions", f"探测 {len(found)} 次，重传 {again} 次")
        )
    idle, _, _ = settings(bench)
    bench.run(silent_since + idle + idle // 2 - bench.now)
    found = probes(bench)
    answers = [entry for entry in bench.sent("client") if found and entry.time > found[0].time]
    bench.check(T("probes", "探测次数"), len(found), 1)
    probe = found[0]
    seq, length, size = bench.relative_seq(probe), segment(probe).length, int(wire_length(segment(probe)))
    bench.check(T("its flags", "其标志"), bench.flags(probe), "ACK")
    bench.check(T("octets of data", "数据字节"), length, 0)
    bench.check(T("its seq (the next octet is 11)", "其 seq（下一字节为 11）"), seq, 10)
    bench.check(T("octets of IP", "IP 报文字节"), size, 52)
    acks = [bench.relative_ack(entry) for entry in answers]
    bench.check(T("the answer: ack", "应答：ack"), acks, [11])
    return bench.verdict(
        T(
            f"{length} octets of data, seq {seq}, {size} octets of IP; answered with ack {acks[0]}",
            f"数据 {length} 字节，seq {seq}，IP 报文 {size} 字节；应答 ack {acks[0]}",
        )
    )


@lab(
    "KA-09",
    title=T("After the last probe: an error, and a descriptor to close", "最后一次探测之后：一个错误和待关闭的描述符"),
    claim=T(
        "When the probes have failed the server closes the connection.",
        "探测全部失败后，服务端关闭连接。",
    ),
    truth="true",
    source="S0 S3; tcp_write_err; socket(7) SO_ERROR",
    why=T(
        "TCP forgets the connection at once and wakes the program: the descriptor is readable, with an error. The error"
        " is told once; then recv() gives 0 and send() EPIPE. Closing the descriptor is left to the program, and sends"
        " nothing.",
        "TCP 立即删除连接并唤醒程序：描述符可读且带错误。错误只报告一次；之后 recv() 返回 0，send() 返回 EPIPE。"
        "描述符仍须由程序关闭，此时不再发送任何报文。",
    ),
    practice=T(
        "Treat ETIMEDOUT from recv() as the end of the stream: close(). A program that only writes learns of it at its"
        " next send().",
        "把 recv() 的 ETIMEDOUT 当作流结束处理：close()。只写不读的程序要到下次 send() 才知道。",
    ),
    on=ANYWHERE,
    sysctl={TIME: 2, INTERVAL: 1, PROBES: 3},
)
def what_the_program_sees(bench: Bench) -> Verdict:
    pair = watched(bench)
    server, fd = pair.server, pair.sfd
    bench.power_off("client")
    before = server.poll([(fd, select.EPOLLIN)])
    bench.until(lambda: bench.state("server") is State.CLOSED, "the server to notice")
    events = dict(server.poll([(fd, select.EPOLLIN)])).get(fd, 0)
    names = [name for bit, name in _EVENTS if events & bit]
    bench.run(bench.lab.rtt)  # A kernel's last RST may still be on its way to the link.
    sent = len(bench.sent("server"))
    told = [bench.attempt(lambda: server.recv(fd, 1)), bench.attempt(lambda: server.recv(fd, 1))]
    told.append(bench.attempt(lambda: server.send(fd, b"x")))
    held = fd in server.files
    server.close(fd)
    bench.run(300 * MSEC)
    silent = len(bench.sent("server")) - sent
    bench.check(T("readable before", "此前可读"), before != [], False)
    bench.check(T("poll() then says", "之后 poll() 返回"), names, ["IN", "ERR", "HUP"])
    bench.check(T("recv(), recv(), send() give", "recv()、recv()、send() 返回"), told, ["ETIMEDOUT", "EOF", "EPIPE"])
    bench.check(T("the descriptor is still open", "描述符仍打开"), held, True)
    bench.check(T("packets sent by close()", "close() 发出的报文"), silent, 0)
    return bench.verdict(
        T(
            f"poll(): {', '.join(names)}; {', '.join(told)}; close() sends {silent} packets",
            f"poll()：{'、'.join(names)}；{'、'.join(told)}；close() 发出报文 {silent} 个",
        )
    )
