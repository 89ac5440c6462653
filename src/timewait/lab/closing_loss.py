"""Each packet of the close lost for ever: who sends again, when, and when it gives up."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab import nominal
from timewait.lab.bench import Bench, Pair
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.profile import profile_named
from timewait.tcp.states import State

ORPHAN_RETRIES = "net.ipv4.tcp_orphan_retries"
RETRIES2 = "net.ipv4.tcp_retries2"
EARLY_RETRANS = "net.ipv4.tcp_early_retrans"
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"

_PRACTICE = T(
    "Lower net.ipv4.tcp_orphan_retries on busy servers: 1 frees a dead orphan after 1.4 s. The cost: peers on slow or"
    " lossy paths lose what was still to be delivered. It does nothing for sockets that a program still holds.",
    "繁忙服务器可调低 net.ipv4.tcp_orphan_retries：设为 1 时孤儿连接 1.4 秒即释放。代价：慢速或丢包链路上的对端"
    "可能收不全尚未送达的数据。对程序仍持有的套接字无效。",
)


def _fins(bench: Bench, host: str, retries: int) -> tuple[str, str]:
    """Compare a FIN's retransmissions and the sender's end with the timetable; both as text."""
    fins = bench.sent(host, flags="FA")
    times = bench.times(fins)
    rto = nominal.first_timeout(times)
    expected, end = nominal.data(retries, rto, bench.probes(host)) if rto else ([0], 0)
    name = "客户端" if host == "client" else "服务端"
    floor = bench.lab.rtt + nominal.RTO_MIN
    late = 2 * bench.lab.rtt if bench.on == "sim" else 200 * MSEC
    bench.check_that(
        T("first retransmission after RTT + 200 ms", "首次重传：RTT + 200 ms 后"),
        floor - bench.lab.rtt // 2 <= rto <= floor + late,
        in_seconds([rto]),
        f"about {in_seconds([floor])}",
    )
    bench.check_times(T(f"FINs of the {host} at", f"{name} FIN 发送时刻"), times, expected)
    gone = bench.moved_at(host, State.CLOSED) - fins[0].time
    bench.check_time(T(f"{host} gone after", f"{name}消失于"), gone, end)
    resets = len(bench.sent(host, flags="R")) + len(bench.sent(host, flags="RA"))
    bench.check(T(f"RSTs of the {host}", f"{name} RST 个数"), resets, 0)
    return in_seconds(times), in_seconds([gone])


def _exchange(bench: Bench) -> Pair:
    """A connection that has measured its round-trip time with a request and an answer."""
    pair = bench.open()
    for _ in range(8):
        pair.client.send(pair.cfd, b"request")
        bench.read(pair.server, pair.sfd, 7)
        pair.server.send(pair.sfd, b"answer")
        bench.read(pair.client, pair.cfd, 6)
    bench.run(SEC // 4)
    return pair


def _orphan_limit(bench: Bench, host: str) -> int:
    return nominal.orphan_retries(bench.sysctl(ORPHAN_RETRIES, host))


def _wait_for_end(bench: Bench, host: str) -> None:
    bench.until(lambda: bench.state(host) is State.CLOSED, f"the {host} to give up", 3600 * SEC)


@lab(
    "CLS-12",
    title=T("First FIN lost for ever", "第一次挥手一直丢失"),
    claim=T(
        "The FIN is sent again tcp_orphan_retries times (here 3); after twice the last timeout the connection is"
        " CLOSED.",
        "FIN 重传 tcp_orphan_retries 次（此处 3 次），再等上次超时的两倍后进入 CLOSED。",
    ),
    truth="simplification",
    source="S1 S2 S4; tcp_write_timeout, tcp_model_timeout",
    why=T(
        "Linux turns the count into a time: it gives up at the first timeout at which (2^(n+1)-1) x 200 ms have passed"
        " since the first retransmission by timeout. With SACK a tail loss probe comes before, which neither doubles"
        " the timeout nor counts. With short round trips that makes more than n retransmissions, with long ones fewer."
        " After shutdown() tcp_retries2 counts.",
        "Linux 把次数换算成时间：自首次超时重传起经过 (2^(n+1)-1)×200 ms 后的第一个超时才放弃；启用 SACK 时还先有"
        "一次不使超时加倍、也不计入的尾部丢失探测（TLP）。往返短时重传多于 n 次，往返长时更少。"
        "若用 shutdown()，则由 tcp_retries2 决定。",
    ),
    practice=_PRACTICE,
    on=ANYWHERE,
    sysctl={ORPHAN_RETRIES: 3, RETRIES2: 5},
    live={ORPHAN_RETRIES: 1, RETRIES2: 3},
    variants={
        "close": T("close(): nobody holds the socket", "close()：已无程序持有"),
        "shutdown": T("shutdown(): the program still holds it", "shutdown()：程序仍持有"),
        "unprobed": T(
            "close() with tcp_early_retrans=0: no tail loss probe", "close()，tcp_early_retrans=0：无尾部丢失探测"
        ),
    },
)
def first_fin_lost(bench: Bench) -> Verdict:
    if bench.variant == "unprobed":
        bench.configure({EARLY_RETRANS: 0})
    pair = _exchange(bench)
    bench.drop("every FIN from client")
    if bench.variant == "shutdown":
        pair.client.shutdown(pair.cfd, socket.SHUT_WR)
        retries = bench.sysctl(RETRIES2, "client")
    else:
        pair.client.close(pair.cfd)
        retries = _orphan_limit(bench, "client")
    _wait_for_end(bench, "client")
    times, gone = _fins(bench, "client", retries)
    if bench.variant == "shutdown":
        bench.check(T("the program is told", "程序得到"), bench.error(pair.client, pair.cfd), "ETIMEDOUT")
    server = bench.state("server")
    bench.check(T("the server knows of nothing", "服务端一无所知"), server, State.ESTABLISHED)
    count = len(bench.sent("client", flags="FA")) - 1
    return bench.verdict(
        T(
            f"{count} retransmissions for n={retries}, CLOSED after {gone}",
            f"n={retries} 重传 {count} 次，{gone} 后 CLOSED",
        ),
        T(
            f"The FIN went out at {times}; the client was gone after {gone}, the server still {server.rfc_name}.",
            f"FIN 发送于 {times}；客户端 {gone} 后消失，服务端仍为 {server.rfc_name}。",
        ),
    )


@lab(
    "CLS-13",
    title=T("ACK of the first FIN lost", "第二次挥手（ACK）丢失"),
    claim=T(
        "An ACK is not retransmitted; the FIN is, until an ACK comes or tcp_orphan_retries (here 2) is used up.",
        "ACK 不重传；FIN 会重传，直到收到 ACK 或 tcp_orphan_retries（此处 2）用尽。",
    ),
    truth="true",
    source="S1 S2 S4; RFC 9293 3.10.7.4 eighth check",
    why=T(
        "Only what takes a sequence number is retransmitted. The other side, in CLOSE-WAIT, answers each repeated FIN"
        " with an ACK.",
        "只有占用序号的报文才会重传。处于 CLOSE-WAIT 的对端对每个重复的 FIN 都回一个 ACK。",
    ),
    practice=_PRACTICE,
    on=ANYWHERE,
    sysctl={ORPHAN_RETRIES: 2},
    live={ORPHAN_RETRIES: 1},
    variants={
        "first": T("only the first ACK is lost", "只丢第一个 ACK"),
        "every": T("every ACK is lost", "每个 ACK 都丢"),
    },
)
def ack_of_fin_lost(bench: Bench) -> Verdict:
    pair = _exchange(bench)
    bench.drop("every ACK from server" if bench.variant == "every" else "first ACK from server")
    begun = bench.now
    pair.client.close(pair.cfd)
    if bench.variant == "every":
        _wait_for_end(bench, "client")
        times, gone = _fins(bench, "client", _orphan_limit(bench, "client"))
        acks = len(bench.sent("server", flags="A", after=begun))
        bench.check(T("ACKs of the server", "服务端发出的 ACK"), acks, len(bench.sent("client", flags="FA")))
        bench.check(T("the server stays in", "服务端停在"), bench.state("server"), State.CLOSE_WAIT)
        return bench.verdict(
            T(
                f"FIN at {times}; {acks} ACKs lost; client gone after {gone}",
                f"FIN 于 {times}；丢 {acks} 个 ACK；{gone} 后消失",
            )
        )
    bench.run(SEC)
    fins = bench.times(bench.sent("client", flags="FA"))
    state = bench.state("client")
    bench.check(T("transmissions of the FIN", "FIN 发送次数"), len(fins), 2)
    bench.check(T("the client is in", "客户端处于"), state, State.FIN_WAIT_2)
    bench.check(T("the server is in", "服务端处于"), bench.state("server"), State.CLOSE_WAIT)
    again = in_seconds(fins[1:])
    return bench.verdict(
        T(f"FIN again after {again}, then {state.rfc_name}", f"{again} 后重发 FIN，随后 {state.rfc_name}")
    )


@lab(
    "CLS-17",
    title=T("Second FIN lost for ever", "第三次挥手一直丢失"),
    claim=T(
        "The server retransmits its FIN by tcp_orphan_retries (here 3); the client leaves FIN-WAIT-2 after"
        " tcp_fin_timeout. Each gives up by itself.",
        "服务端按 tcp_orphan_retries（此处 3）重传 FIN；客户端在 tcp_fin_timeout 后离开 FIN-WAIT-2。双方各自放弃。",
    ),
    truth="true",
    source="S1 S2 S4; tcp_write_timeout; tcp_fin_time",
    why=T(
        "LAST-ACK is an orphan with data (its FIN) unacknowledged, so the orphan rule holds. An orphan in FIN-WAIT-2"
        " waits for tcp_fin_timeout and then vanishes.",
        "LAST-ACK 是尚有未确认 FIN 的孤儿，适用孤儿规则。FIN-WAIT-2 中的孤儿等待 tcp_fin_timeout 后消失。",
    ),
    practice=T(
        "net.ipv4.tcp_fin_timeout (60 s) bounds FIN-WAIT-2 after close(), and nothing else: not TIME-WAIT, and not"
        " FIN-WAIT-2 after shutdown(). TCP_LINGER2 sets it per socket.",
        "net.ipv4.tcp_fin_timeout（60 秒）只限制 close() 之后的 FIN-WAIT-2：既不影响 TIME-WAIT，"
        "也不影响 shutdown() 之后的 FIN-WAIT-2。TCP_LINGER2 可按套接字设置。",
    ),
    on=ANYWHERE,
    sysctl={ORPHAN_RETRIES: 3},
    live={ORPHAN_RETRIES: 1, FIN_TIMEOUT: 5},
)
def second_fin_lost(bench: Bench) -> Verdict:
    pair = _exchange(bench)
    bench.drop("every FIN from server")
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    bench.run(SEC // 4)
    pair.server.close(pair.sfd)
    _wait_for_end(bench, "server")
    times, gone = _fins(bench, "server", _orphan_limit(bench, "server"))
    _wait_for_end(bench, "client")
    waited = bench.moved_at("client", State.CLOSED) - bench.moved_at("client", State.FIN_WAIT_2)
    limit = bench.sysctl(FIN_TIMEOUT, "client") * SEC
    bench.check_time(T("client in FIN-WAIT-2 for", "客户端 FIN-WAIT-2 持续"), waited, limit)
    told = in_seconds([waited])
    return bench.verdict(
        T(
            f"server gone after {gone}, client after {told} in FIN-WAIT-2",
            f"服务端 {gone} 后消失，客户端 FIN-WAIT-2 {told} 后消失",
        ),
        T(
            f"The server sent its FIN at {times} and was gone after {gone}; the client left FIN-WAIT-2 after {told}.",
            f"服务端 FIN 发送于 {times}，{gone} 后消失；客户端在 FIN-WAIT-2 {told} 后离开。",
        ),
    )


@lab(
    "CLS-18",
    title=T("Last ACK lost for ever", "第四次挥手一直丢失"),
    claim=T(
        "The server retransmits its FIN by tcp_orphan_retries (here 2); each time the client acknowledges again and"
        " begins TIME-WAIT anew.",
        "服务端按 tcp_orphan_retries（此处 2）重传 FIN；客户端每次重新确认并重新开始 TIME-WAIT。",
    ),
    truth="true",
    source="S0 S1 S2 S3 S4; RFC 9293 3.10.7.4 eighth check; tcp_timewait_state_process",
    why=T(
        "This is what TIME-WAIT is for: somebody must be there to acknowledge a FIN that comes again.",
        "TIME-WAIT 正是为此存在：必须有人在场，确认再次到来的 FIN。",
    ),
    practice=_PRACTICE,
    on=ANYWHERE,
    sysctl={ORPHAN_RETRIES: 2},
    live={ORPHAN_RETRIES: 1},
)
def last_ack_lost(bench: Bench) -> Verdict:
    pair = _exchange(bench)
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    bench.run(SEC // 4)
    bench.drop("every ACK from client")
    begun = bench.now
    pair.server.close(pair.sfd)
    _wait_for_end(bench, "server")
    times, gone = _fins(bench, "server", _orphan_limit(bench, "server"))
    fins = bench.sent("server", flags="FA")
    acks = bench.sent("client", flags="A", after=begun)
    bench.check(T("each FIN is acknowledged", "每个 FIN 都被确认"), len(acks), len(fins))
    bench.check(T("the client meanwhile", "此时客户端"), bench.state("client"), State.TIME_WAIT)
    if bench.on == "sim":
        bench.finish()
        waited = bench.moved_at("client", State.CLOSED) - acks[-1].time
        length = profile_named(bench.profile).timewait_len
        bench.check_time(T("TIME-WAIT ends after the last FIN", "最后一个 FIN 之后 TIME-WAIT 结束于"), waited, length)
    return bench.verdict(
        T(
            f"FIN at {times}, {len(acks)} ACKs lost; server gone after {gone}",
            f"FIN 于 {times}，丢 {len(acks)} 个 ACK；服务端 {gone} 后消失",
        )
    )
