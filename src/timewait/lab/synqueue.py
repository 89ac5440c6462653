"""The SYN queue: what it holds, how much fits, and what happens to the SYN that does not."""

from timewait.base.instant import MSEC, SEC
from timewait.lab import nominal
from timewait.lab.bench import Bench
from timewait.lab.forge import Dialog, Forger
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.record.entries import Moved
from timewait.record.match import Match
from timewait.tcp.states import State

SYNCOOKIES = "net.ipv4.tcp_syncookies"
MAX_SYN_BACKLOG = "net.ipv4.tcp_max_syn_backlog"
SYNACK_RETRIES = "net.ipv4.tcp_synack_retries"
QFULL_DROP = "TcpExtTCPReqQFullDrop"
LISTEN_DROPS = "TcpExtListenDrops"
COOKIES_SENT = "TcpExtSyncookiesSent"


def half_open(bench: Bench, port: int = 80) -> int:
    """Half-open connections at one port of the server."""
    return sum(1 for view in bench.sockets("server", State.SYN_RCVD) if view.local[1] == port)


def waiting(bench: Bench, port: int = 80) -> int:
    """Connections that wait for accept(): Recv-Q of the listener."""
    return sum(view.recv_q for view in bench.sockets("server", State.LISTEN) if view.local[1] == port)


def syn_acks(bench: Bench) -> int:
    """SYN-ACKs that the server has sent."""
    return len(bench.sent("server", flags="SA"))


@lab(
    "SYNQ-01",
    title=T("A half-open connection for each SYN", "每个 SYN 一个半连接"),
    claim=T(
        "The server puts each connection in SYN-RECEIVED into a queue, the SYN queue.",
        "服务端把每个处于 SYN-RECEIVED 的连接放入一个队列：半连接队列。",
    ),
    truth="simplification",
    source="S0 S1 S3; tcp_conn_request, inet_csk_reqsk_queue_hash_add (Linux 4.4)",
    why=T(
        "Since Linux 4.4 half-open connections stand in the same hash table as all others. The 'queue' is a counter of"
        " each listener, which is compared with its backlog.",
        "自 Linux 4.4 起，半连接与其他连接放在同一张哈希表里。所谓“队列”只是每个监听套接字的一个计数器，与其 backlog"
        " 比较。",
    ),
    practice=T(
        "Look with `ss -tn state syn-recv`. As the limit is per listener, a flood on one port does not fill another.",
        "用 `ss -tn state syn-recv` 查看。上限按监听套接字计，一个端口被打满不影响另一个端口。",
    ),
    on=ANYWHERE,
    sysctl={SYNCOOKIES: 0},
)
def half_open_entries(bench: Bench) -> Verdict:
    server = bench.program("server")
    bench.listen(server, port=80, backlog=1)
    bench.listen(server, port=81, backlog=1)
    forger = Forger(bench)
    before = half_open(bench)
    forger.flood(1)
    one = half_open(bench)
    forger.flood(3)
    full = half_open(bench)
    forger.flood(1, dport=81)
    other = half_open(bench, 81)
    bench.check(T("half open before and after a SYN", "SYN 前后半连接数"), [before, one], [0, 1])
    bench.check(T("half open at backlog 1 after 4 SYNs", "backlog 1、4 个 SYN 之后"), full, 2)
    bench.check(T("half open at the other port", "另一端口的半连接数"), other, 1)
    return bench.verdict(
        T(
            f"{before} -> {one} per SYN; port 80 full at {full}, port 81 still takes {other}",
            f"每个 SYN 使 {before} -> {one}；80 端口满于 {full}，81 端口仍接受 {other} 个",
        )
    )


@lab(
    "SYNQ-02",
    title=T("From one queue to the other", "从半连接队列到全连接队列"),
    claim=T(
        "A SYN makes a half-open entry; the ACK turns it into a connection in the accept queue; accept() takes it.",
        "SYN 产生半连接；ACK 把它变成全连接队列中的连接；accept() 取走它。",
    ),
    truth="true",
    source="S0 S1; tcp_conn_request, tcp_check_req, inet_csk_complete_hashdance",
    why=T(
        "The full connection object is made only when the third packet has proved that the client exists.",
        "只有第三个报文证明客户端存在之后，才创建完整的连接对象。",
    ),
    practice=T(
        "Recv-Q of the LISTEN line of `ss -lnt` is the accept queue. If it grows, the program accepts too slowly; more"
        " backlog only hides that.",
        "`ss -lnt` 中 LISTEN 行的 Recv-Q 就是全连接队列。若它增长，说明程序 accept 太慢；加大 backlog 只是掩盖。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def through_both_queues(bench: Bench) -> Verdict:
    server = bench.program("server")
    listener = bench.listen(server)
    steps = [(half_open(bench), waiting(bench))]
    dialog = Dialog(bench, 40000).syn()
    dialog.answered()
    steps.append((half_open(bench), waiting(bench)))
    dialog.send("A", seq=1, ack=1)
    bench.run(bench.lab.rtt)
    steps.append((half_open(bench), waiting(bench)))
    bench.accept(server, listener)
    steps.append((half_open(bench), waiting(bench)))
    text = T("(half open, waiting) at each step", "各步（半连接, 等待 accept）")
    bench.check(text, [f"{a}/{b}" for a, b in steps], ["0/0", "1/0", "0/1", "0/0"])
    told = " -> ".join(f"{a}/{b}" for a, b in steps)
    return bench.verdict(T(f"half open/waiting: {told}", f"半连接/等待：{told}"))


@lab(
    "SYNQ-03",
    title=T("A half-open connection ends with its SYN-ACKs", "SYN-ACK 重传用尽，半连接消失"),
    claim=T(
        "An entry is removed when the retransmissions of its SYN-ACK are used up.",
        "SYN-ACK 的重传次数用尽后，半连接被删除。",
    ),
    truth="true",
    source="S0 S1 S3; reqsk_timer_handler",
    why=T(
        "Each timeout is twice the one before; after the last retransmission one more passes. Nothing is sent at the"
        " end: whoever is out there did not answer anyway.",
        "每次超时翻倍；最后一次重传之后再等一个超时。最后什么也不发：反正对方没有应答。",
    ),
    practice=T(
        "net.ipv4.tcp_synack_retries (5): 2 frees the place after 7 s instead of 63 s. The cost: clients behind very"
        " lossy paths get fewer chances.",
        "net.ipv4.tcp_synack_retries（5）：设为 2 时 7 秒即释放，而非 63 秒。代价：丢包严重的客户端机会更少。",
    ),
    on=ANYWHERE,
    live={SYNACK_RETRIES: 1},
)
def entry_expires(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    forger = Forger(bench)
    forger.syn()
    bench.until(lambda: half_open(bench), "the half-open connection")
    bench.until(lambda: not half_open(bench), "the half-open connection to end", 200 * SEC)
    bench.run(20 * MSEC)
    bench.look()
    sent = bench.sent("server", flags="SA")
    retries = bench.sysctl(SYNACK_RETRIES)
    gone = bench.record.select(Match("moved", host="server", state=State.CLOSED))
    lasted = [entry.time - sent[0].time for entry in gone if isinstance(entry, Moved)]
    times = bench.times(sent)
    bench.check_times(T("SYN-ACKs at", "SYN-ACK 发送时刻"), times, nominal.doubling(SEC, retries + 1))
    bench.check_times(T("entry gone after", "条目消失于"), lasted, nominal.doubling(SEC, retries + 2)[-1:])
    resets = len(bench.sent("server", flags="R")) + len(bench.sent("server", flags="RA"))
    bench.check(T("RSTs at the end", "结束时的 RST"), resets, 0)
    return bench.verdict(
        T(
            f"{len(sent)} SYN-ACKs at {in_seconds(times)}; gone after {in_seconds(lasted)}",
            f"{len(sent)} 个 SYN-ACK，于 {in_seconds(times)}；{in_seconds(lasted)} 后消失",
        )
    )


@lab(
    "SYNQ-04",
    title=T("Both queues have an end", "两个队列都有上限"),
    claim=T(
        "Both queues are bounded; what does not fit is dropped by default.",
        "两个队列都有上限；装不下的默认丢弃。",
    ),
    truth="true",
    source="S0 S1 S3; tcp_conn_request, tcp_v4_syn_recv_sock",
    why=T(
        "One more than the backlog fits, as the kernel tests 'greater than'. With SYN cookies on (the default) a full"
        " SYN queue does not drop; a full accept queue always does.",
        "内核用“大于”判断，所以能多装一个。默认开启 SYN cookie 时半连接队列满不会丢；全连接队列满则总是丢。",
    ),
    practice=T(
        "Watch TcpExtListenDrops and TcpExtListenOverflows with nstat: each is a client that waits a second or more.",
        "用 nstat 观察 TcpExtListenDrops 与 TcpExtListenOverflows：每计一次就有一个客户端多等一秒以上。",
    ),
    on=ANYWHERE,
    sysctl={SYNCOOKIES: 0},
    variants={
        "syn": T("the SYN queue", "半连接队列"),
        "accept": T("the accept queue", "全连接队列"),
    },
)
def both_are_bounded(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"), backlog=2)
    if bench.variant == "syn":
        Forger(bench).flood(6)
        held = half_open(bench)
        overflows = bench.counter("server", QFULL_DROP)
        expected_overflows = 3
    else:
        client = bench.program("client")
        for _ in range(6):
            bench.connect(client)
            bench.run(2 * bench.lab.rtt)
        held = waiting(bench)
        overflows = bench.counter("server", "TcpExtListenOverflows")
        expected_overflows = 3
    drops = bench.counter("server", LISTEN_DROPS)
    bench.check(T("held with backlog 2", "backlog 2 时容纳"), held, 3)
    bench.check(T("SYNs dropped", "丢弃的 SYN"), [overflows, drops], [expected_overflows, expected_overflows])
    bench.check(T("RSTs", "RST 个数"), len(bench.sent("server", flags="RA")), 0)
    return bench.verdict(
        T(
            f"backlog 2: {held} held, {drops} of 6 dropped in silence",
            f"backlog 2：容纳 {held}，6 个中静默丢弃 {drops} 个",
        )
    )


@lab(
    "SYNQ-05",
    title=T("SYN queue full: new clients get no answer", "半连接队列满：新客户端得不到应答"),
    claim=T(
        "When the SYN queue is full and cookies are off, new SYNs are dropped and clients cannot connect.",
        "半连接队列满且未开 cookie 时，新 SYN 被丢弃，客户端无法建立连接。",
    ),
    truth="true",
    source="S0 S1; tcp_conn_request, inet_csk_reqsk_queue_is_full",
    why=T(
        "A SYN is dropped while more half-open connections exist than min(backlog, somaxconn). Nothing tells the"
        " client;"
        " it repeats its SYN until it gives up.",
        "半连接数大于 min(backlog, somaxconn) 时 SYN 被丢弃。客户端得不到任何通知，只能重发 SYN 直到放弃。",
    ),
    practice=T(
        "Leave net.ipv4.tcp_syncookies at 1. A larger backlog costs some 300 octets for each half-open connection and"
        " only raises the number that an attacker must send.",
        "保持 net.ipv4.tcp_syncookies=1。加大 backlog 每个半连接约占 300 字节，也只是抬高攻击者所需的数量。",
    ),
    on=ANYWHERE,
    sysctl={SYNCOOKIES: 0},
)
def syn_queue_full(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"), backlog=4)
    Forger(bench).flood(24)
    answered, drops = syn_acks(bench), bench.counter("server", QFULL_DROP)
    client = bench.program("client")
    bench.connect(client)
    bench.run(500 * MSEC)
    state = bench.state("client")
    bench.check(T("SYNs answered of 24", "24 个 SYN 中被应答"), answered, 5)
    bench.check(T("dropped", "丢弃"), drops, 19)
    bench.check(T("an honest client after 0.5 s", "正常客户端 0.5 秒后"), state, State.SYN_SENT)
    return bench.verdict(
        T(
            f"backlog 4: {answered} of 24 SYNs answered, {drops} dropped; honest client {state.rfc_name}",
            f"backlog 4：24 个 SYN 应答 {answered}、丢弃 {drops}；正常客户端 {state.rfc_name}",
        )
    )


@lab(
    "SYNQ-17",
    title=T("Which of three numbers limits the SYN queue", "三个参数谁决定半连接队列长度"),
    claim=T(
        "To lengthen the SYN queue, tcp_max_syn_backlog, the listen backlog and somaxconn must be raised together.",
        "要加长半连接队列，必须同时增大 tcp_max_syn_backlog、listen 的 backlog 与 somaxconn。",
    ),
    truth="true",
    source="S1; tcp_conn_request",
    why=T(
        "Without cookies the limit is the smaller of min(backlog, somaxconn)+1 and 3/4 of tcp_max_syn_backlog, +1: the"
        " last quarter is for peers already known. With cookies tcp_max_syn_backlog is not looked at.",
        "不开 cookie 时，上限是 min(backlog, somaxconn)+1 与 tcp_max_syn_backlog×3/4+1 中较小者：最后四分之一留给"
        "已知的对端。开 cookie 时不看 tcp_max_syn_backlog。",
    ),
    practice=T(
        "Raise the backlog in listen() and net.core.somaxconn, then restart listen(); tcp_max_syn_backlog matters only"
        " where cookies are off. The cost is memory held by half-open connections.",
        "增大 listen() 的 backlog 与 net.core.somaxconn 并重新 listen()；tcp_max_syn_backlog 只在关闭 cookie 时起作用。"
        "代价是半连接占用的内存。",
    ),
    on=ANYWHERE,
)
def three_limits(bench: Bench) -> Verdict:
    cases = [(0, 4, 2048, 4096), (0, 1000, 8, 4096), (0, 1000, 64, 4096), (0, 1000, 2048, 6), (1, 1000, 8, 4096)]
    found = []
    for number, (cookies, backlog, most, somaxconn) in enumerate(cases):
        name = f"cookies {cookies}, backlog {backlog}, max_syn_backlog {most}, somaxconn {somaxconn}"
        world = bench if number == 0 else bench.another(T(name, name))
        world.configure({SYNCOOKIES: cookies, MAX_SYN_BACKLOG: most, "net.core.somaxconn": somaxconn})
        world.listen(world.program("server"), backlog=backlog)
        Forger(world).flood(80)
        allowed = min(backlog, somaxconn) + 1
        if not cookies:
            allowed = min(allowed, most * 3 // 4 + 1)
        held = half_open(world)
        found.append(held)
        world.check(T(f"half open with {name}", f"半连接数（{name}）"), held, min(allowed, 80))
    return bench.verdict(
        T(
            f"of 80 SYNs held: {', '.join(map(str, found))}",
            f"80 个 SYN 中容纳：{'、'.join(map(str, found))}",
        )
    )


@lab(
    "SYNQ-18",
    title=T("What tcp_max_syn_backlog is by default", "tcp_max_syn_backlog 的默认值"),
    claim=T(
        "tcp_max_syn_backlog is 1024 by default.",
        "tcp_max_syn_backlog 默认为 1024。",
    ),
    truth="simplification",
    source="S3; tcp_sk_init: max(128, ehash_entries / 128)",
    why=T(
        "It is computed from the size of the connection table, and that from the memory: 128 on a small machine, 2048"
        " where 262144 entries fit. With cookies off three quarters of it, and one, can be half open.",
        "它由连接哈希表大小算出，后者又取决于内存：小机器 128，表有 262144 项时为 2048。"
        "关闭 cookie 时最多可有其四分之三再加一个半连接。",
    ),
    practice=T(
        "Read it instead of remembering it: sysctl net.ipv4.tcp_max_syn_backlog. It only counts with tcp_syncookies=0.",
        "不要背数字，直接读：sysctl net.ipv4.tcp_max_syn_backlog。它只在 tcp_syncookies=0 时起作用。",
    ),
    sysctl={SYNCOOKIES: 0},
)
def default_max_syn_backlog(bench: Bench) -> Verdict:
    limit = bench.sysctl(MAX_SYN_BACKLOG)
    bench.listen(bench.program("server"), backlog=4096)
    Forger(bench).flood(limit * 3 // 4 + 40)
    held = half_open(bench)
    bench.check_that(
        T("the default here", "此处默认值"), limit != 1024 and limit >= 128, limit, "at least 128, by memory"
    )
    bench.check(T("half open of a flood", "洪泛下的半连接数"), held, limit * 3 // 4 + 1)
    return bench.verdict(
        T(f"default {limit}, not 1024; {held} half open fit", f"默认 {limit}，并非 1024；可容纳 {held} 个半连接")
    )


@lab(
    "SYNQ-22",
    title=T("When cookies begin", "SYN cookie 从何时开始"),
    claim=T(
        "With tcp_syncookies=1 cookies begin when the queue is about to be full (S0), or when a SYN no longer fits"
        " (S1).",
        "tcp_syncookies=1 时，队列快满时开始用 cookie（S0），或装不下时才用（S1）。",
    ),
    truth="sources disagree",
    source="S0 S1; tcp_conn_request",
    why=T(
        "S1 is right: the only test is whether more half-open connections exist than min(backlog, somaxconn). There is"
        " no early warning.",
        "S1 正确：唯一的判断是半连接数是否大于 min(backlog, somaxconn)，没有预警水位。",
    ),
    practice=T(
        "SyncookiesSent in nstat tells that the queue overflowed. On a healthy server under normal load it is 0.",
        "nstat 中的 SyncookiesSent 表示队列溢出过。正常负载的健康服务器上它为 0。",
    ),
    on=ANYWHERE,
    sysctl={SYNCOOKIES: 1},
)
def where_cookies_begin(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"), backlog=4)
    forger = Forger(bench)
    steps = []
    for number in range(8):
        forger.syn()
        bench.until(lambda count=number + 1: syn_acks(bench) >= count, "the SYN-ACK")  # type: ignore[misc]
        steps.append(bench.counter("server", COOKIES_SENT))
    held = half_open(bench)
    bench.check(T("cookies after each of 8 SYNs", "8 个 SYN 后累计 cookie"), steps, [0] * 5 + [1, 2, 3])
    bench.check(T("half open", "半连接数"), held, 5)
    first = steps.index(1) + 1 if 1 in steps else 0
    return bench.verdict(
        T(
            f"backlog 4: {held} ordinary entries, cookies from SYN {first}",
            f"backlog 4：{held} 个普通条目，第 {first} 个 SYN 起用 cookie",
        )
    )
