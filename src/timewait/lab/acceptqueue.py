"""The accept queue: finished connections that nobody has taken yet."""

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.forge import Dialog, Forger
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.lab.synqueue import LISTEN_DROPS, half_open, waiting
from timewait.tcp.states import State

ABORT = "net.ipv4.tcp_abort_on_overflow"
SOMAXCONN = "net.core.somaxconn"
OVERFLOWS = "TcpExtListenOverflows"


def _fill(bench: Bench, count: int, port: int = 80) -> None:
    """`count` clients connect one after the other; nobody accepts."""
    client = bench.program("client")
    for _ in range(count):
        bench.connect(client, port=port)
        bench.run(2 * bench.lab.rtt)
    bench.run(3 * bench.lab.rtt)


@lab(
    "ACCQ-01",
    title=T("Connected, and not accepted yet", "已建立、尚未 accept 的连接"),
    claim=T(
        "The accept queue holds connections that are complete and wait for accept().",
        "全连接队列存放已完成握手、等待 accept() 的连接。",
    ),
    truth="true",
    source="S0 S1 S3; sk_ack_backlog, inet_csk_accept",
    why=T(
        "The kernel finishes the handshake without the program. accept() only gives a descriptor to what exists.",
        "握手由内核完成，不需要程序参与。accept() 只是为已存在的连接分配描述符。",
    ),
    practice=T(
        "`ss -lnt`: Recv-Q is the length, Send-Q the limit. A Recv-Q that stays above 0 means that accept() is too"
        " slow.",
        "`ss -lnt`：Recv-Q 为当前长度，Send-Q 为上限。Recv-Q 长期大于 0 说明 accept() 太慢。",
    ),
    on=ANYWHERE,
)
def complete_and_waiting(bench: Bench) -> Verdict:
    server = bench.program("server")
    listener = bench.listen(server)
    _fill(bench, 3)
    lengths = [waiting(bench)]
    open_ones = len(bench.sockets("server", State.ESTABLISHED))
    for _ in range(3):
        bench.accept(server, listener)
        lengths.append(waiting(bench))
    bench.check(T("ESTABLISHED before accept()", "accept() 之前的 ESTABLISHED"), open_ones, 3)
    bench.check(
        T("Recv-Q of LISTEN, then after each accept()", "LISTEN 的 Recv-Q 及每次 accept() 之后"), lengths, [3, 2, 1, 0]
    )
    told = " -> ".join(map(str, lengths))
    return bench.verdict(T(f"{open_ones} ESTABLISHED; Recv-Q {told}", f"{open_ones} 个 ESTABLISHED；Recv-Q {told}"))


@lab(
    "ACCQ-02",
    title=T("What backlog means", "backlog 的含义"),
    claim=T(
        "In early kernels backlog was the length of the SYN queue; since Linux 2.2 it is that of the accept queue.",
        "早期内核中 backlog 指半连接队列长度；Linux 2.2 起指全连接队列长度。",
    ),
    truth="true",
    source="S1; listen(2); inet_csk_reqsk_queue_is_full",
    why=T(
        "It limits the accept queue. Since Linux 4.3 the same number also bounds the half-open connections of the"
        " listener, beyond which cookies begin.",
        "它限制全连接队列。自 Linux 4.3 起同一数字也限制该监听套接字的半连接数，超出后开始用 cookie。",
    ),
    practice=T(
        "listen(fd, SOMAXCONN) or a number of your own; it is cut to net.core.somaxconn without a word.",
        "listen(fd, SOMAXCONN) 或自定数值；会被悄悄截断为 net.core.somaxconn。",
    ),
    on=ANYWHERE,
)
def meaning_of_backlog(bench: Bench) -> Verdict:
    server = bench.program("server")
    bench.listen(server, port=80, backlog=2)
    bench.listen(server, port=81, backlog=2)
    _fill(bench, 5)
    queued = waiting(bench)
    Forger(bench).flood(6, dport=81)
    opened = half_open(bench, 81)
    bench.check(T("complete with backlog 2", "backlog 2 时已完成"), queued, 3)
    bench.check(T("half open with backlog 2", "backlog 2 时半连接"), opened, 3)
    return bench.verdict(
        T(
            f"backlog 2: {queued} complete, and {opened} half open before cookies",
            f"backlog 2：完成 {queued} 个；半连接 {opened} 个后启用 cookie",
        )
    )


@lab(
    "ACCQ-03",
    title=T("How long the accept queue is", "全连接队列有多长"),
    claim=T(
        "The accept queue holds min(backlog, somaxconn) connections.",
        "全连接队列长度为 min(backlog, somaxconn)。",
    ),
    truth="simplification",
    source="S1; sk_acceptq_is_full, __sys_listen",
    why=T(
        "The kernel tests 'more than', so that one connection more fits. The limit is fixed when listen() is called: a"
        " later change of somaxconn needs another listen().",
        "内核用“大于”判断，所以多容纳一个。上限在调用 listen() 时确定：之后修改 somaxconn 需要再次 listen()。",
    ),
    practice=T(
        "net.core.somaxconn is 4096 since Linux 5.4 (128 before). Raise it together with the program's backlog; the"
        " cost"
        " is that clients wait longer in a queue that is not served.",
        "net.core.somaxconn 自 Linux 5.4 起为 4096（此前 128）。需与程序的 backlog 一起增大；"
        "代价是来不及处理时客户端排队更久。",
    ),
    on=ANYWHERE,
)
def length_of_the_queue(bench: Bench) -> Verdict:
    server = bench.program("server")
    backlogs = [0, 1, 5]
    ports = [80, 81, 82, 83]
    for port, backlog in zip(ports, backlogs, strict=False):
        bench.listen(server, port=port, backlog=backlog)
    bench.configure({SOMAXCONN: 2})
    bench.listen(server, port=83, backlog=1000)
    bench.configure({SOMAXCONN: 4096})
    for port in ports:
        _fill(bench, 8, port)
    held = [waiting(bench, port) for port in ports]
    bench.check(T("backlog 0, 1, 5; 1000 with somaxconn 2", "backlog 0、1、5；1000 且 somaxconn 2"), held, [1, 2, 6, 3])
    return bench.verdict(
        T(
            f"backlog 0/1/5 hold {held[0]}/{held[1]}/{held[2]}; 1000 with somaxconn 2 holds {held[3]}",
            f"backlog 0/1/5 容纳 {held[0]}/{held[1]}/{held[2]}；1000 且 somaxconn 2 容纳 {held[3]}",
        )
    )


def _overflow(bench: Bench) -> tuple[Dialog, int]:
    """Two connections fill backlog 1; a third handshake was begun before. (that one, a listener)"""
    server = bench.program("server")
    listener = bench.listen(server, backlog=1)
    Dialog(bench, 40001).shake()
    second, third = Dialog(bench, 40002).syn(), Dialog(bench, 40003).syn()
    second.answered()
    third.answered()
    second.send("A", seq=1, ack=1)
    bench.run(bench.lab.rtt)
    third.send("A", seq=1, ack=1)
    bench.run(2 * bench.lab.rtt)
    return third, listener


@lab(
    "ACCQ-04",
    title=T("Accept queue full: the third packet is ignored", "全连接队列满：第三次握手被忽略"),
    claim=T(
        "When the accept queue is full, packets are dropped.",
        "全连接队列满时丢弃报文。",
    ),
    truth="true",
    source="S0 S1 S3; tcp_v4_syn_recv_sock, tcp_conn_request",
    why=T(
        "The last ACK of a handshake is ignored, and the entry stays half open; new SYNs are dropped. The client thinks"
        " that it is connected. The SYN-ACK is sent again, and whatever answers it once there is room completes.",
        "握手的最后一个 ACK 被忽略，条目仍为半连接；新 SYN 被丢弃。客户端却以为已连上。SYN-ACK 会重发，"
        "等有空位后的应答即完成握手。",
    ),
    practice=T(
        "Count TcpExtListenOverflows. Accept faster (more threads, SO_REUSEPORT) before raising backlog and somaxconn.",
        "监控 TcpExtListenOverflows。应先加快 accept（多线程、SO_REUSEPORT），再增大 backlog 与 somaxconn。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def overflow_is_ignored(bench: Bench) -> Verdict:
    third, listener = _overflow(bench)
    begun = bench.now
    held, opened = waiting(bench), half_open(bench)
    third.send("PA", seq=1, ack=1, data=b"0123456789")
    fourth = Dialog(bench, 40004).syn()
    bench.run(2 * bench.lab.rtt)
    heard, silent = len(third.received()), len(fourth.received())
    counted = bench.counter("server", OVERFLOWS)
    bench.until(lambda: len(third.received()) > heard, "the SYN-ACK again")
    again = bench.now - begun
    kind = bench.flags(third.last())
    accepted = bench.computer("server").processes[0]
    for _ in range(2):
        bench.accept(accepted, listener)
    third.send("A", seq=1, ack=1)
    bench.run(bench.lab.rtt)
    completed = waiting(bench)
    bench.check(T("waiting and half open", "等待 accept 与半连接"), [held, opened], [2, 1])
    bench.check(T("answers to data and to a fourth SYN", "对数据与第四个 SYN 的应答"), [heard - 1, silent], [0, 0])
    bench.check(T("ListenOverflows (ACK, data, SYN)", "ListenOverflows（ACK、数据、SYN）"), counted, 3)
    bench.check(T("what comes then", "随后发来"), kind, "SYN-ACK")
    bench.check_that(
        T("about 1 s after the first", "距第一个约 1 秒"),
        0.8 * SEC < again < 1.2 * SEC,
        in_seconds([again]),
        "about 1 s",
    )
    bench.check(T("complete once there is room", "有空位后完成"), completed, 1)
    return bench.verdict(
        T(
            f"backlog 1: {held} wait, the third stays half open, {counted} drops counted; after accept() it completes",
            f"backlog 1：{held} 个等待，第三个仍为半连接，计 {counted} 次丢弃；accept() 之后才完成",
        )
    )


@lab(
    "ACCQ-05",
    title=T("tcp_abort_on_overflow: refuse instead", "tcp_abort_on_overflow：改为拒绝"),
    claim=T(
        "With tcp_abort_on_overflow=1 the server simply refuses what it cannot handle.",
        "tcp_abort_on_overflow=1 时，服务端处理不了就直接拒绝。",
    ),
    truth="true",
    source="S0; tcp_check_req",
    why=T(
        "The last ACK of a handshake is answered with an RST and the entry forgotten. SYNs are still dropped in silence"
        " while the queue is full.",
        "握手的最后一个 ACK 得到 RST，条目被删除。但队列满期间 SYN 仍是静默丢弃。",
    ),
    practice=T(
        "Leave it at 0 unless clients must fail over at once: with 1 a short burst becomes ECONNRESET instead of a"
        " second's delay.",
        "除非客户端必须立即切换，否则保持 0：设为 1 时，短暂突发不再是延迟一秒，而是 ECONNRESET。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    sysctl={ABORT: 1},
)
def overflow_is_refused(bench: Bench) -> Verdict:
    third, _ = _overflow(bench)
    answer = third.last()
    kind, (seq, _) = bench.flags(answer), third.relative(answer)
    opened = half_open(bench)
    fourth = Dialog(bench, 40004).syn()
    bench.run(200 * MSEC)
    silent = len(fourth.received())
    drops = bench.counter("server", LISTEN_DROPS)
    bench.check(T("the third packet is answered with", "第三个包得到"), kind, "RST")
    bench.check(T("its seq", "其 seq"), seq, 1)
    bench.check(T("half open then", "之后半连接"), opened, 0)
    bench.check(T("answers to a fourth SYN", "对第四个 SYN 的应答"), silent, 0)
    bench.check(T("ListenDrops", "ListenDrops"), drops, 2)
    return bench.verdict(
        T(
            f"third packet: {kind} seq={seq}; a new SYN: {silent} answers",
            f"第三个包：{kind} seq={seq}；新的 SYN：{silent} 个应答",
        )
    )
