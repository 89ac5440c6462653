"""CLOSE-WAIT by programming: the six steps of an epoll server, and what each mistake leaves behind."""

from typing import Final

from timewait.base.instant import MSEC
from timewait.lab.bench import Bench
from timewait.lab.epoll_server import (
    DEADLOCK,
    NO_ACCEPT,
    NO_CLOSE,
    NO_CLOSE_EDGE,
    NO_LISTENER,
    NO_REGISTER,
    TURN,
    EpollServer,
    close_waits,
    visit,
)
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.tcp.states import State

CLIENTS: Final = 10
BACKLOG: Final = 5
OVERFLOWS: Final = "TcpExtListenOverflows"
_FIND: Final = T(
    "`ss -tnp state close-wait` names the program. Without a program the connections still wait in the accept queue"
    " (`ss -lnt`: Recv-Q); with one, look for the descriptor that its loop has lost.",
    "`ss -tnp state close-wait` 会列出程序。没有程序的连接还在全连接队列中（`ss -lnt` 的 Recv-Q）；"
    "有程序的，则查事件循环丢掉了哪个描述符。",
)


@lab(
    "CW-03",
    title=T("The six steps of an epoll server", "epoll 服务端的六个步骤"),
    claim=T(
        "Create and listen; register the listener; wait and accept; register the connection; wait and read; close when"
        " the peer has closed.",
        "创建并监听；注册监听套接字；等待并 accept；注册新连接；等待并读取；对端关闭时 close()。",
    ),
    truth="true",
    source="S1; epoll(7)",
    why=T(
        "A FIN is an event like any other: the descriptor becomes readable and recv() gives 0. A program learns of it"
        " only if it waits for that descriptor, and the connection ends only if it then calls close().",
        "FIN 与其他事件一样：描述符变为可读，recv() 返回 0。程序只有在等待该描述符时才知道，"
        "也只有随后调用 close() 连接才会结束。",
    ),
    practice=T(
        "Let one function own each descriptor from accept() to close(), with close() on every way out (a context"
        " manager, a destructor). The cost is none.",
        "让每个描述符从 accept() 到 close() 只由一个函数负责，并保证所有出口都 close()（上下文管理器、析构函数）。"
        "没有额外代价。",
    ),
    on=ANYWHERE,
)
def six_steps(bench: Bench) -> Verdict:
    server = EpollServer(bench)
    answers = visit(bench, CLIENTS)
    left, _ = close_waits(bench)
    gone = len(bench.sockets("server"))
    waits = len(bench.sockets("client", State.TIME_WAIT))
    registered = len(bench.calls("server", "epoll_ctl"))
    bench.check(T("answered", "得到应答"), answers.count("answer"), CLIENTS)
    bench.check(T("registered: listener and connections", "已注册：监听与各连接"), registered, 1 + CLIENTS)
    bench.check(T("accepted, closed", "accept、close 次数"), [server.accepted, server.closed], [CLIENTS, CLIENTS])
    bench.check(T("left in CLOSE-WAIT", "留在 CLOSE-WAIT"), left, 0)
    bench.check(T("sockets left at the server (the listener)", "服务端剩余套接字（监听）"), gone, 1)
    bench.check(T("TIME-WAIT at the clients, who closed first", "先关闭的客户端处于 TIME-WAIT"), waits, CLIENTS)
    bench.check_that(
        T("turns of the loop, two or three for each client", "循环次数，每个客户端两三次"),
        2 * CLIENTS <= server.turns <= 3 * CLIENTS,
        server.turns,
        f"{2 * CLIENTS} to {3 * CLIENTS}",
    )
    return bench.verdict(
        T(
            f"{answers.count('answer')} clients answered, {left} CLOSE-WAIT, {server.turns} turns of the loop",
            f"{answers.count('answer')} 个客户端得到应答，CLOSE-WAIT {left} 个，循环 {server.turns} 次",
        )
    )


def _never_accepts(bench: Bench, mistake: str) -> tuple[EpollServer, int, int]:
    """More clients than the accept queue holds, all of them give up: (server, CLOSE-WAIT, of these with an owner)."""
    server = EpollServer(bench, mistake, backlog=BACKLOG)
    fits = BACKLOG + 1
    answers = visit(bench, fits + 2, patience=300 * MSEC, known=fits)
    left, owned = close_waits(bench)
    queue = next(view.recv_q for view in bench.sockets("server", State.LISTEN))
    trying = len(bench.sockets("client", State.SYN_SENT))
    dropped = bench.counter("server", OVERFLOWS)
    octets = sorted({view.recv_q for view in bench.sockets("server", State.CLOSE_WAIT)})
    bench.check(T("answered", "得到应答"), answers.count("answer"), 0)
    bench.check(T("CLOSE-WAIT (backlog + 1)", "CLOSE-WAIT（backlog + 1）"), left, fits)
    bench.check(T("of these a program has", "其中程序持有"), owned, 0)
    bench.check(T("Recv-Q of the listener", "监听套接字的 Recv-Q"), queue, fits)
    bench.check(T("Recv-Q of each: the request and the FIN", "各连接 Recv-Q：请求加 FIN"), octets, [8])
    bench.check(T("clients that get no SYN-ACK any more", "再也得不到 SYN-ACK 的客户端"), trying, 2)
    bench.check_that(
        T("SYNs dropped (ListenOverflows)", "丢弃的 SYN（ListenOverflows）"), dropped >= 2, dropped, "2 or more"
    )
    return server, left, owned


@lab(
    "CW-04",
    title=T("Mistake 1: the listener is not registered", "错误一：监听套接字没有注册"),
    claim=T(
        "A server that forgets to register its listener never accepts, and cannot close.",
        "没有把监听套接字注册到 epoll，就不会 accept，也无法关闭。",
    ),
    truth="true",
    source="S1; inet_csk_accept, sk_acceptq_is_full",
    why=T(
        "The kernel opens connections without the program and takes the clients' FINs: finished connections turn into"
        " CLOSE-WAIT in the accept queue. When the queue is full, SYNs are dropped.",
        "内核无需程序即可建立连接并接收客户端的 FIN：已完成的连接在全连接队列中变为 CLOSE-WAIT。队列满后丢弃 SYN。",
    ),
    practice=T(
        _FIND.en + " Nobody answers while everything looks alive: check the service by a request, not by a connect.",
        _FIND.zh + "端口看似正常却无人应答：健康检查应发请求，而不是只建连接。",
    ),
    on=ANYWHERE,
)
def listener_not_registered(bench: Bench) -> Verdict:
    server, left, owned = _never_accepts(bench, NO_LISTENER)
    bench.check(T("events that epoll reported", "epoll 报告的事件"), server.events, 0)
    return bench.verdict(
        T(
            f"{left} CLOSE-WAIT, {owned} of them with a program; further SYNs dropped; {server.events} events",
            f"CLOSE-WAIT {left} 个，其中 {owned} 个属于程序；之后的 SYN 被丢弃；事件 {server.events} 个",
        )
    )


@lab(
    "CW-05",
    title=T("Mistake 2: accept() is not called", "错误二：没有调用 accept()"),
    claim=T(
        "The event of the listener is not answered with accept(): many clients leave, many CLOSE-WAITs stay.",
        "收到监听事件却没有 accept()：客户端断开得多，CLOSE-WAIT 就多。",
    ),
    truth="true",
    source="S1; epoll(7)",
    why=T(
        "The same as without registration, up to backlog + 1 connections, and with a busy loop on top: epoll is"
        " level-triggered, and the listener stays readable.",
        "结果与未注册相同，上限为 backlog + 1，此外还有空转：epoll 默认水平触发，监听套接字一直可读。",
    ),
    practice=T(
        "A program that takes 100 % of a CPU and accepts nothing is caught in this. At the limit of descriptors"
        " accept() fails with EMFILE and has the same effect: keep one descriptor in reserve, or stop listening.",
        "CPU 占满却不 accept，就是这种情况。描述符用尽时 accept() 返回 EMFILE，效果相同：预留一个描述符，或暂停监听。",
    ),
    on=ANYWHERE,
)
def accept_not_called(bench: Bench) -> Verdict:
    server, left, owned = _never_accepts(bench, NO_ACCEPT)
    before, begun = server.turns, bench.now
    bench.run(100 * MSEC)
    turns = server.turns - before
    _busy(bench, turns, bench.now - begun, 1, server)
    return bench.verdict(
        T(
            f"{left} CLOSE-WAIT, {owned} of them with a program; {turns} turns of the loop in 0.1 s for nothing",
            f"CLOSE-WAIT {left} 个，其中 {owned} 个属于程序；0.1 秒内空转 {turns} 次",
        )
    )


def _busy(bench: Bench, turns: int, time: int, each: int, server: EpollServer) -> None:
    """Check that the loop turns as fast as it can, and that the last turn saw `each` events."""
    most = time // TURN + 1
    bench.check_that(
        T(f"turns in {in_seconds([time])}, at most {most}", f"{in_seconds([time])} 内循环次数，最多 {most}"),
        most // 5 <= turns <= most,
        turns,
        f"{most // 5} to {most}",
    )
    seen = len(server.program.epoll_wait(server.epoll))
    bench.check(T("events in a turn", "每次循环的事件数"), seen, each)


@lab(
    "CW-06",
    title=T("Mistake 3: the connection is not registered", "错误三：accept 得到的连接没有注册"),
    claim=T(
        "A connection that was accepted and not registered: its FIN is never noticed.",
        "accept 之后没有注册到 epoll：永远感知不到它的 FIN。",
    ),
    truth="true",
    source="S1; epoll(7)",
    why=T(
        "Each connection costs a descriptor and stays in CLOSE-WAIT for good. The queue does not fill up, so that only"
        " the limit of descriptors ends it: then accept() fails with EMFILE.",
        "每条连接占一个描述符并永远停在 CLOSE-WAIT。队列不会满，直到描述符用尽，accept() 返回 EMFILE。",
    ),
    practice=_FIND,
    on=ANYWHERE,
)
def connection_not_registered(bench: Bench) -> Verdict:
    server = EpollServer(bench, NO_REGISTER, backlog=BACKLOG)
    answers = visit(bench, CLIENTS, patience=300 * MSEC)
    left, owned = close_waits(bench)
    before = server.turns
    bench.run(100 * MSEC)
    bench.check(T("answered", "得到应答"), answers.count("answer"), 0)
    bench.check(T("CLOSE-WAIT, of these a program has", "CLOSE-WAIT，其中程序持有"), [left, owned], [CLIENTS] * 2)
    bench.check(T("turns of the loop in 0.1 s", "0.1 秒内循环次数"), server.turns - before, 0)
    return bench.verdict(
        T(
            f"{left} CLOSE-WAIT, {owned} of them with a program, which sleeps",
            f"CLOSE-WAIT {left} 个，{owned} 个由程序持有，而程序在睡眠",
        )
    )


@lab(
    "CW-07",
    title=T("Mistake 4: close() is not called", "错误四：没有调用 close()"),
    claim=T(
        "The end of the stream is seen and close() is not called: a branch was missed, or the thread is in a deadlock.",
        "读到流结束却没有 close()：漏写分支，或线程死锁。",
    ),
    truth="true",
    source="S1 S3; epoll(7)",
    why=T(
        "The end of the stream does not go away by being read. A level-triggered epoll reports it in each turn: the"
        " loop spins. With EPOLLET it is told once and then silent; a deadlocked thread does not even accept any more.",
        "流结束的状态不会因读取而消失。水平触发的 epoll 每次都报告：循环空转。EPOLLET 只通知一次便沉默；"
        "死锁的线程连 accept 都不做了。",
    ),
    practice=T(
        "CLOSE-WAIT with a program at 100 % CPU: a missing close(). With an idle one: a lost event or a deadlock (`gdb"
        " -p`, a stack dump). Answer recv() == 0 and each error with close().",
        "CLOSE-WAIT 且 CPU 100%：缺少 close()。CPU 空闲：事件丢失或死锁（用 gdb -p 或线程栈）。"
        "recv() 返回 0 或任何错误都应 close()。",
    ),
    on=ANYWHERE,
    variants={
        NO_CLOSE: T("a missed branch, level-triggered", "漏写分支，水平触发"),
        NO_CLOSE_EDGE: T("a missed branch, edge-triggered", "漏写分支，边缘触发"),
        DEADLOCK: T("the thread waits for a lock", "线程等锁"),
    },
)
def close_not_called(bench: Bench) -> Verdict:
    server = EpollServer(bench, bench.variant, backlog=BACKLOG)
    answers = visit(bench, CLIENTS, patience=300 * MSEC)
    left, owned = close_waits(bench)
    before, begun = server.turns, bench.now
    bench.run(100 * MSEC)
    turns = server.turns - before
    bench.check(T("answered", "得到应答"), answers.count("answer"), CLIENTS)
    bench.check(T("CLOSE-WAIT, of these a program has", "CLOSE-WAIT，其中程序持有"), [left, owned], [CLIENTS] * 2)
    bench.check(T("closed by the program", "程序关闭的"), server.closed, 0)
    if bench.variant == NO_CLOSE:
        _busy(bench, turns, bench.now - begun, CLIENTS, server)
    else:
        bench.check(T("turns of the loop in 0.1 s", "0.1 秒内循环次数"), turns, 0)
    if bench.variant == DEADLOCK:
        late = visit(bench, 1, patience=300 * MSEC)
        bench.check(T("one more client gets", "再来一个客户端得到"), late, ["silence"])
        left, owned = close_waits(bench)
        bench.check(T("CLOSE-WAIT, of these a program has", "CLOSE-WAIT，其中程序持有"), [left, owned], [11, 10])
    return bench.verdict(
        T(
            f"{left} CLOSE-WAIT, {owned} of them with a program; {turns} turns of the loop in 0.1 s",
            f"CLOSE-WAIT {left} 个，{owned} 个由程序持有；0.1 秒内循环 {turns} 次",
        )
    )
