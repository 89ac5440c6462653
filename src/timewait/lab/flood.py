"""SYN floods: what they cost a server, how to see them, and what each defence does."""

from collections.abc import Mapping

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.forge import FIRST_FORGED, Forger
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.lab.synqueue import (
    COOKIES_SENT,
    MAX_SYN_BACKLOG,
    SYNACK_RETRIES,
    SYNCOOKIES,
    half_open,
    syn_acks,
)
from timewait.tcp.reasons import Drop
from timewait.tcp.states import State
from timewait.wire.packet import Packet


@lab(
    "SYNQ-06",
    title=T("A burst of honest clients fills the queue too", "正常突发也会填满半连接队列"),
    claim=T(
        "The SYN queue fills by an attack, or by many real clients at once.",
        "半连接队列被填满，可能是攻击，也可能是大量真实客户端同时到来。",
    ),
    truth="true",
    source="S0; tcp_conn_request",
    why=T(
        "A half-open connection lives for one round trip. Rate times round-trip time is what the queue must hold: with"
        " long round trips an ordinary burst is enough.",
        "半连接存活一个往返时间。队列需要容纳 到达速率×往返时间：往返很长时，普通突发就够了。",
    ),
    practice=T(
        "Size the backlog as peak connections per second times the longest round trip. It costs memory only while"
        " used.",
        "backlog 取 每秒峰值连接数×最长往返时间。只有用到时才占内存。",
    ),
    rtt=800 * MSEC,
    sysctl={SYNCOOKIES: 0},
)
def honest_burst(bench: Bench) -> Verdict:
    count, backlog = 12, 4
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server, backlog=backlog)
    begun = bench.now
    fds = [bench.connect(client) for _ in range(count)]
    bench.run(bench.lab.rtt + 100 * MSEC)
    quick = len(bench.sockets("client", State.ESTABLISHED))
    while bench.now < begun + 40 * SEC and len(bench.sockets("client", State.ESTABLISHED)) < count:
        while bench.attempt(lambda: server.accept(listener)) == "OK":
            pass
        bench.run(100 * MSEC)
    last = max(bench.moved_at("client", State.ESTABLISHED, number) for number in range(len(fds))) - begun
    done = len(bench.sockets("client", State.ESTABLISHED))
    bench.check(T("connected after one round trip", "一个往返后连上"), quick, backlog + 1)
    bench.check(T("connected in the end", "最终连上"), done, count)
    bench.check_that(
        T("the last had to repeat its SYN", "最后一个须重发 SYN"), last > SEC, in_seconds([last]), "more than 1 s"
    )
    return bench.verdict(
        T(
            f"{quick} of {count} connect at once, the last after {in_seconds([last])}",
            f"{count} 个中 {quick} 个立即连上，最后一个用了 {in_seconds([last])}",
        )
    )


@lab(
    "SYNQ-07",
    title=T("SYN flood", "SYN 洪泛攻击"),
    claim=T(
        "Many SYNs from forged addresses fill the SYN queue, and real clients are refused service.",
        "大量伪造源地址的 SYN 填满半连接队列，真实客户端得不到服务。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 4987 2",
    why=T(
        "Nobody answers the SYN-ACKs, so each entry stays for 63 s while the attacker pays one packet for it. A SYN"
        " cookie needs no entry.",
        "没有人应答 SYN-ACK，每个条目占 63 秒，而攻击者只花一个包。SYN cookie 不需要条目。",
    ),
    practice=T(
        "net.ipv4.tcp_syncookies=1 (the default). The cost under attack: connections without window scaling and SACK"
        " unless timestamps are on, and one hash per packet.",
        "net.ipv4.tcp_syncookies=1（默认）。攻击期间的代价：未开时间戳的连接没有窗口扩大与 SACK，且每包一次哈希。",
    ),
    on=ANYWHERE,
    variants={
        "off": T("without cookies", "不用 cookie"),
        "cookies": T("with cookies", "使用 cookie"),
    },
)
def flood_from_forged_sources(bench: Bench) -> Verdict:
    bench.configure({SYNCOOKIES: 0 if bench.variant == "off" else 1})
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server, backlog=64)
    forger = Forger(bench)
    forger.trickle(500, MSEC)
    bench.run(150 * MSEC)
    fds = []
    for _ in range(10):
        fds.append(bench.connect(client))
        bench.run(30 * MSEC)
    bench.run(100 * MSEC)
    open_ones = len(bench.sockets("client", State.ESTABLISHED))
    held = half_open(bench)
    expected = 0 if bench.variant == "off" else 10
    bench.check(T("honest clients connected, of 10", "10 个正常客户端连上"), open_ones, expected)
    bench.check(T("half open", "半连接数"), held, 65)
    sent = len(bench.sent("attacker"))
    return bench.verdict(
        T(
            f"{sent} forged SYNs at 1000/s: {open_ones} of 10 clients connect",
            f"每秒 1000 个、共 {sent} 个伪造 SYN：10 个客户端连上 {open_ones} 个",
        )
    )


@lab(
    "SYNQ-08",
    title=T("Who allocates memory, and when", "谁在何时分配资源"),
    claim=T(
        "The server allocates resources at the second step, the client only when the handshake is complete.",
        "服务端在第二次握手时分配资源，客户端要到握手完成才分配。",
    ),
    truth="simplification",
    source="S0; tcp_v4_connect, tcp_conn_request",
    why=T(
        "A client has its connection from connect() on, in SYN-SENT. The asymmetry is another one: an attacker uses no"
        " TCP at all and keeps nothing. A Linux server keeps a small record for a SYN, and with cookies none.",
        "客户端从 connect() 起就有连接（SYN-SENT）。真正的不对称在于：攻击者根本不用 TCP，什么也不保存。"
        "Linux 服务端对 SYN 只留一条小记录，用 cookie 时一条也不留。",
    ),
    practice=T(
        "Nothing to tune: half-open records are small (some 300 octets) and bounded by the backlog of each listener.",
        "无需调优：半连接记录很小（约 300 字节），且受各监听套接字 backlog 限制。",
    ),
    on=ANYWHERE,
)
def who_allocates(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    with bench.drop("every SYN"):
        client = bench.program("client")
        fd = bench.connect(client)
        bench.run(2 * bench.lab.rtt)
        early = [bench.state("client"), bench.state("server")]
    client.close(fd)
    Forger(bench).flood(3)
    attacked = [len(bench.sockets("client")), half_open(bench)]
    other = bench.another(T("with cookies always", "始终使用 cookie"), sysctl={SYNCOOKIES: 2})
    other.listen(other.program("server"))
    Forger(other).flood(3)
    stateless = half_open(other)
    bench.check(
        T("client and server before any SYN arrives", "SYN 到达前客户端与服务端"), early, [State.SYN_SENT, State.CLOSED]
    )
    bench.check(
        T("sockets at the sender and at the server, 3 forged SYNs", "3 个伪造 SYN：发送方与服务端的条目"),
        attacked,
        [0, 3],
    )
    other.check(T("entries at the server", "服务端条目"), stateless, 0)
    return bench.verdict(
        T(
            f"connect(): client {early[0].rfc_name} at once; 3 forged SYNs cost the sender {attacked[0]}, the server"
            f" {attacked[1]} entries, with cookies {stateless}",
            f"connect() 后客户端立即 {early[0].rfc_name}；3 个伪造 SYN 使发送方 {attacked[0]}、服务端 {attacked[1]}"
            f" 个条目，"
            f"用 cookie 时 {stateless}",
        )
    )


@lab(
    "SYNQ-09",
    title=T("Each forged SYN is answered six times", "每个伪造 SYN 换来六个应答"),
    claim=T(
        "A flood makes the server retransmit until the timeout, which loads the network and blocks the queue.",
        "洪泛使服务端不断重传直到超时，占用网络并长期占据队列。",
    ),
    truth="true",
    source="S0 S3; RFC 4987 2.2; reqsk_timer_handler",
    why=T(
        "1 + tcp_synack_retries SYN-ACKs go to an address that never asked, and the place is taken for 63 s. A cookie's"
        " SYN-ACK is sent once.",
        "向从未请求过的地址发出 1 + tcp_synack_retries 个 SYN-ACK，并占据位置 63 秒。cookie 的 SYN-ACK 只发一次。",
    ),
    practice=T(
        "net.ipv4.tcp_synack_retries=2 halves the packets and frees places after 7 s. The cost: fewer chances on lossy"
        " paths.",
        "net.ipv4.tcp_synack_retries=2 使报文减半、7 秒释放位置。代价：丢包链路上机会变少。",
    ),
    on=ANYWHERE,
    live={SYNACK_RETRIES: 1},
)
def six_answers(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    forger = Forger(bench)
    begun = bench.now
    forger.flood(10)
    bench.until(lambda: half_open(bench) == 10, "the half-open connections")
    bench.until(lambda: not half_open(bench), "them to end", 200 * SEC)
    lasted = bench.now - begun
    answers = syn_acks(bench)
    each = 1 + bench.sysctl(SYNACK_RETRIES)
    bench.check(T("SYN-ACKs for 10 SYNs", "10 个 SYN 换来的 SYN-ACK"), answers, 10 * each)
    bench.check_that(
        T("places taken for", "占据时间"),
        lasted >= (2**each - 1) * SEC and (bench.on != "sim" or lasted < (2**each) * SEC),
        in_seconds([lasted]),
        f"about {2**each - 1} s",
    )
    return bench.verdict(
        T(
            f"10 SYNs in, {answers} SYN-ACKs out; places taken for {lasted / SEC:.1f} s",
            f"收到 10 个 SYN，发出 {answers} 个 SYN-ACK；占据 {lasted / SEC:.1f} 秒",
        )
    )


@lab(
    "SYNQ-10",
    title=T("How a flood shows in the tables", "怎样看出 SYN 洪泛"),
    claim=T(
        "Many SYN_RECV from random addresses in netstat tell of an attack.",
        "netstat 中出现大量来自随机地址的 SYN_RECV 说明受到攻击。",
    ),
    truth="simplification",
    source="S0 S3; tcp_conn_request",
    why=T(
        "True until the queue is full. From then on SYNs are answered by cookies, which leave no entry: the table"
        " stands"
        " still, and only counters tell how many come.",
        "队列满之前确实如此。此后 SYN 由 cookie 应答，不留条目：表不再增长，只有计数器能说明来了多少。",
    ),
    practice=T(
        "ss -tn state syn-recv for the first look, nstat TcpExtSyncookiesSent TcpExtTCPReqQFullDoCookies for the size;"
        " the kernel also logs 'possible SYN flooding' once per listener.",
        "先看 ss -tn state syn-recv，再用 nstat 看 TcpExtSyncookiesSent 与 TcpExtTCPReqQFullDoCookies；"
        "内核日志对每个监听套接字还会提示一次 possible SYN flooding。",
    ),
    on=ANYWHERE,
)
def flood_in_tables(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"), backlog=4)
    Forger(bench).flood(24)
    views = bench.sockets("server", State.SYN_RCVD)
    peers = len({view.remote[0] for view in views})
    cookies = bench.counter("server", COOKIES_SENT)
    bench.check(T("SYN_RECV lines after 24 SYNs", "24 个 SYN 后 SYN_RECV 行数"), len(views), 5)
    bench.check(T("different addresses in them", "其中不同地址数"), peers, 5)
    bench.check(T("SyncookiesSent", "SyncookiesSent"), cookies, 19)
    return bench.verdict(
        T(
            f"24 forged SYNs: {len(views)} SYN_RECV lines, {cookies} more only in SyncookiesSent",
            f"24 个伪造 SYN：SYN_RECV 仅 {len(views)} 行，另外 {cookies} 个只见于 SyncookiesSent",
        )
    )


def _limit(bench: Bench, label: T, sysctl: Mapping[str, object], count: int) -> int:
    """How many of `count` SYNs become half open under these parameters."""
    world = bench.another(label, sysctl=sysctl)
    world.listen(world.program("server"), backlog=1000)
    Forger(world).flood(count)
    return half_open(world)


@lab(
    "SYNQ-16",
    title=T("What three parameters do for a full SYN queue", "三个参数对半连接队列各有什么作用"),
    claim=T(
        "Under high load lower tcp_synack_retries, raise tcp_max_syn_backlog, and set tcp_abort_on_overflow.",
        "高负载时应减小 tcp_synack_retries、增大 tcp_max_syn_backlog，并设置 tcp_abort_on_overflow。",
    ),
    truth="simplification",
    source="S0; tcp_conn_request, tcp_check_req",
    why=T(
        "The first frees places sooner, the second makes more of them where cookies are off. The third concerns the"
        " accept queue only; listen()'s backlog, which is left out, is the usual limit.",
        "第一个使位置更早释放，第二个在关闭 cookie 时增加位置。第三个只影响全连接队列；而真正常见的上限是未提到的"
        " listen() backlog。",
    ),
    practice=T(
        "Leave tcp_abort_on_overflow at 0: a full accept queue is mostly short, and 0 lets the client succeed later,"
        " where 1 gives it ECONNRESET.",
        "tcp_abort_on_overflow 保持 0：全连接队列多为短暂拥塞，0 让客户端稍后成功，1 则使其得到 ECONNRESET。",
    ),
    on=ANYWHERE,
    sysctl={SYNCOOKIES: 0, SYNACK_RETRIES: 1},
)
def three_parameters(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    Forger(bench).syn()
    bench.until(lambda: half_open(bench), "the half-open connection")
    begun = bench.now
    bench.until(lambda: not half_open(bench), "its end", 100 * SEC)
    freed = bench.now - begun
    small = _limit(bench, T("max_syn_backlog 8", "max_syn_backlog 8"), {MAX_SYN_BACKLOG: 8}, 60)
    large = _limit(bench, T("max_syn_backlog 64", "max_syn_backlog 64"), {MAX_SYN_BACKLOG: 64}, 60)
    aborting = {MAX_SYN_BACKLOG: 8, "net.ipv4.tcp_abort_on_overflow": 1}
    abort = _limit(bench, T("abort_on_overflow 1", "abort_on_overflow 1"), aborting, 60)
    bench.check_time(T("place freed with 1 retry", "重传 1 次时位置释放于"), freed, 3 * SEC)
    bench.check(
        T("half open with max_syn_backlog 8 and 64", "max_syn_backlog 8 与 64 时半连接数"), [small, large], [7, 49]
    )
    bench.check(T("with 8 and abort_on_overflow", "8 且 abort_on_overflow 时"), abort, small)
    return bench.verdict(
        T(
            f"retries 1: freed after {freed / SEC:.1f} s; backlog 8 -> 64: {small} -> {large}; abort_on_overflow:"
            f" {abort}",
            f"重传 1 次：{freed / SEC:.1f} 秒释放；8 -> 64：{small} -> {large}；abort_on_overflow：{abort}",
        )
    )


@lab(
    "SYNQ-19",
    title=T("A longer input queue does not help the SYN queue", "加长网卡输入队列救不了半连接队列"),
    claim=T(
        "Against SYN floods raise net.core.netdev_max_backlog (default 1000).",
        "抵御 SYN 洪泛应增大 net.core.netdev_max_backlog（默认 1000）。",
    ),
    truth="simplification",
    source="S1 S3; enqueue_to_backlog, tcp_conn_request",
    why=T(
        "That queue stands before TCP and holds packets that a CPU has not looked at yet. It loses packets of every"
        " kind when a CPU is too slow; the SYN queue fills whatever its length.",
        "该队列在 TCP 之前，存放 CPU 还来不及处理的包。CPU 太慢时它丢弃任何包；无论它多长，半连接队列照样会满。",
    ),
    practice=T(
        "Raise it only if the second column of /proc/net/softnet_stat grows. The cost is latency: what waits is old.",
        "仅当 /proc/net/softnet_stat 第二列增长时才增大。代价是延迟：排队的包会变旧。",
    ),
    sysctl={SYNCOOKIES: 0},
)
def input_queue(bench: Bench) -> Verdict:
    found = []
    for number, length in enumerate((100, 400)):
        label = T(f"input queue of {length}", f"输入队列 {length}")
        world = bench if number == 0 else bench.another(label)
        world.link.throttle(5_000_000, queue=length, sender="client")
        world.listen(world.program("server"), backlog=20)
        Forger(world).flood(300)
        world.run(SEC)
        client = world.program("client")
        world.connect(client)
        world.run(500 * MSEC)
        lost = len(world.record.drops(drop=Drop.LINK_QUEUE_FULL))
        refused = len(world.record.drops(where="server", drop=Drop.SYN_QUEUE_FULL))
        found.append((lost, refused, world.state("client")))
    short, long = found
    bench.check_that(T("lost before TCP, short queue", "短队列：TCP 之前丢弃"), short[0] > 0, short[0], "some")
    bench.check(T("lost before TCP, long queue", "长队列：TCP 之前丢弃"), long[0], 0)
    bench.check_that(
        T("dropped by the SYN queue, short and long", "半连接队列丢弃（短、长）"),
        0 < short[1] < long[1],
        [short[1], long[1]],
        "more with the long queue",
    )
    bench.check(T("the honest client", "正常客户端"), [short[2], long[2]], [State.SYN_SENT] * 2)
    return bench.verdict(
        T(
            f"lost before TCP {short[0]} -> {long[0]}, by the SYN queue {short[1]} -> {long[1]}; client"
            f" {long[2].rfc_name}",
            f"TCP 之前丢 {short[0]} -> {long[0]}，半连接队列丢 {short[1]} -> {long[1]}；客户端 {long[2].rfc_name}",
        )
    )


@lab(
    "SYNQ-20",
    title=T("Fewer SYN-ACKs, fewer places taken", "减少 SYN-ACK 重传，减少占用"),
    claim=T(
        "Under attack lower tcp_synack_retries to 2, so that entries vanish faster.",
        "受攻击时把 tcp_synack_retries 降为 2，使半连接更快消失。",
    ),
    truth="true",
    source="S0 S1 S3; reqsk_timer_handler",
    why=T(
        "Places taken = rate x time: at two SYNs a second 63 s hold 126 places, 7 s hold 14. Linux itself lowers the"
        " count once a listener's queue is half full.",
        "占用数 = 速率 × 时间：每秒两个 SYN 时，63 秒占 126 个，7 秒占 14 个。队列过半时 Linux 自己也会减少重传次数。",
    ),
    practice=T(
        "sysctl -w net.ipv4.tcp_synack_retries=2, or TCP_SYNCNT on the listener. The cost: a client must lose no more"
        " than three SYN-ACKs in a row.",
        "sysctl -w net.ipv4.tcp_synack_retries=2，或在监听套接字上设 TCP_SYNCNT。代价：客户端最多只能连续丢三个"
        " SYN-ACK。",
    ),
)
def occupancy(bench: Bench) -> Verdict:
    held = []
    for number, retries in enumerate((5, 2)):
        world = bench if number == 0 else bench.another(T("2 retries", "重传 2 次"))
        world.configure({SYNACK_RETRIES: retries})
        world.listen(world.program("server"), backlog=1000)
        Forger(world).trickle(160, SEC // 2)
        world.run(79 * SEC + 250 * MSEC)
        held.append(half_open(world))
    bench.check(T("places taken, 5 and 2 retries", "占用数（重传 5 次、2 次）"), held, [126, 14])
    return bench.verdict(
        T(
            f"2 SYNs a second hold {held[0]} places, with 2 retries {held[1]}",
            f"每秒 2 个 SYN 占 {held[0]} 个位置，重传 2 次时 {held[1]} 个",
        )
    )


def _forged(packet: Packet) -> bool:
    return packet.src[-1] >= FIRST_FORGED


@lab(
    "SYNQ-21",
    title=T("Other defences against SYN floods", "抵御 SYN 洪泛的其他办法"),
    claim=T(
        "Shorten the SYN timeout, enlarge the SYN queue, filter at a gateway.",
        "缩短 SYN 超时、加长半连接队列、在网关过滤。",
    ),
    truth="true",
    source="S3; RFC 4987 3",
    why=T(
        "The first frees places sooner, the second outnumbers a small attack, the third keeps forged packets away (RFC"
        " 2827). None of them ends a flood that is faster than the places.",
        "第一种更早释放位置，第二种能压过小规模攻击，第三种把伪造包挡在外面（RFC 2827）。面对更快的洪泛，"
        "前两种都不够。",
    ),
    practice=T(
        "Cookies first (default); then ingress filtering at the provider, which alone also saves bandwidth.",
        "首先是 cookie（默认开启）；其次是运营商入口过滤，只有它还能节省带宽。",
    ),
    on=ANYWHERE,
    sysctl={SYNCOOKIES: 0},
)
def other_defences(bench: Bench) -> Verdict:
    plan: tuple[tuple[T, dict[str, object], int, State], ...] = (
        (T("no defence", "无防御"), {}, 4, State.SYN_SENT),
        (T("one SYN-ACK retry", "SYN-ACK 只重传一次"), {SYNACK_RETRIES: 1}, 4, State.ESTABLISHED),
        (T("a queue of 128", "队列 128"), {}, 128, State.ESTABLISHED),
        (T("a filtering gateway", "网关过滤"), {}, 4, State.ESTABLISHED),
    )
    states = []
    for number, (label, sysctl, backlog, expected) in enumerate(plan):
        world = bench if number == 0 else bench.another(label, sysctl=sysctl)
        if number == 3:
            world.link.drop(_forged)
        world.listen(world.program("server"), backlog=backlog)
        Forger(world).flood(20)
        world.connect(world.program("client"))
        world.run(4500 * MSEC if number < 2 else 200 * MSEC)
        states.append(world.state("client"))
        world.check(T("the honest client", "正常客户端"), states[-1], expected)
    names = [state.rfc_name for state in states]
    return bench.verdict(
        T(
            f"none: {names[0]}; short timeout, long queue, filter: {', '.join(names[1:])}",
            f"无防御：{names[0]}；短超时、长队列、过滤：{'、'.join(names[1:])}",
        )
    )
