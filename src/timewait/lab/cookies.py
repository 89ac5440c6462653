"""SYN cookies: a connection kept in a sequence number, and what is lost on the way."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import SOL_TCP, TCP_MAXSEG
from timewait.lab.bench import Bench
from timewait.lab.forge import Dialog, Forger
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.lab.synqueue import COOKIES_SENT, SYNCOOKIES, half_open, syn_acks, waiting
from timewait.tcp.states import State


@lab(
    "SYNQ-11",
    title=T("A connection in a sequence number", "把连接存进序号：SYN cookie"),
    claim=T(
        "The server keeps nothing for a SYN: its ISN is a cookie that the ACK brings back; a good one goes to the"
        " accept"
        " queue.",
        "服务端不为 SYN 保存任何东西：其 ISN 就是 cookie，由 ACK 带回；合法则进入全连接队列。",
    ),
    truth="true",
    source="S0 S1; RFC 4987 3.6; cookie_v4_init_sequence, __cookie_v4_check",
    why=T(
        "The cookie holds a minute counter, a keyed hash of the four-tuple and an index into four MSS values. It is"
        " good"
        " for about two minutes. Nothing is kept, so nothing can be retransmitted.",
        "cookie 含分钟计数、四元组的带密钥哈希，以及四个 MSS 值的下标，约两分钟内有效。什么都不保存，所以也无法重传。",
    ),
    practice=T(
        "net.ipv4.tcp_syncookies=1. Keep timestamps on, so that cookies can carry window scale and SACK as well.",
        "net.ipv4.tcp_syncookies=1。保持时间戳开启，cookie 才能同时携带窗口扩大与 SACK。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    sysctl={SYNCOOKIES: 2},
)
def cookie_round_trip(bench: Bench) -> Verdict:
    server = bench.program("server")
    listener = bench.listen(server)
    dialog = Dialog(bench, 40000)
    syn = dialog.make("S")
    syn.mss, syn.wscale, syn.sack_permitted = 1400, 7, True
    dialog.put(syn)
    answer = dialog.answered()
    held = half_open(bench)
    bench.run(3500 * MSEC)
    repeated = len(dialog.received()) - 1
    dialog.send("A", seq=1, ack=1, data=b"0123456789")
    fd = bench.accept(server, listener)
    got = bench.read(server, fd, 10)
    mss = server.getsockopt(fd, SOL_TCP, TCP_MAXSEG)
    wrong = Dialog(bench, 40001).syn()
    wrong.answered()
    wrong.send("A", seq=1, ack=12345)
    bench.run(200 * MSEC)
    refused = bench.flags(wrong.last())
    bench.check(T("half open after the SYN", "SYN 之后半连接数"), held, 0)
    bench.check(T("SYN-ACKs again in 3.5 s", "3.5 秒内重发的 SYN-ACK"), repeated, 0)
    options = [int(answer.wscale), bool(answer.sack_permitted), answer.mss > 0]
    bench.check(T("SYN-ACK: window scale, SACK, MSS", "SYN-ACK：窗口扩大、SACK、MSS"), options, [-1, False, True])
    bench.check(T("read after 3.5 s", "3.5 秒后读到"), len(got), 10)
    bench.check(T("MSS kept of 1400", "MSS 1400 保留为"), mss, 1300)
    bench.check(T("a wrong cookie is answered with", "错误 cookie 的回应"), refused, "RST")
    return bench.verdict(
        T(
            f"{held} entries; the ACK after 3.5 s opens the connection, MSS 1400 became {mss!r}; wrong cookie:"
            f" {refused}",
            f"{held} 个条目；3.5 秒后的 ACK 仍建立连接，MSS 1400 变为 {mss!r}；错误 cookie：{refused}",
        )
    )


@lab(
    "SYNQ-12",
    title=T("Connecting during a flood", "洪泛之下仍能建立连接"),
    claim=T(
        "With cookies a normal connection can be set up although the SYN queue is full.",
        "开启 cookie 后，即使半连接队列已满仍可正常建立连接。",
    ),
    truth="true",
    source="S0 S1; tcp_conn_request",
    why=T(
        "A cookie needs no place in the queue. The accept queue must have room: what is complete needs a place there.",
        "cookie 不需要半连接队列的位置。但全连接队列必须有空位：完成的连接需要放在那里。",
    ),
    practice=T(
        "Leave tcp_syncookies at 1, and accept() fast enough: cookies do not help a full accept queue.",
        "保持 tcp_syncookies=1，并及时 accept()：全连接队列满时 cookie 帮不上忙。",
    ),
    on=ANYWHERE,
    variants={"1": T("with cookies", "使用 cookie"), "0": T("without", "不使用")},
)
def connect_during_flood(bench: Bench) -> Verdict:
    bench.configure({SYNCOOKIES: int(bench.variant)})
    bench.listen(bench.program("server"), backlog=4)
    Forger(bench).flood(10)
    held = half_open(bench)
    bench.connect(bench.program("client"))
    bench.run(500 * MSEC)
    client, queued = bench.state("client"), waiting(bench)
    on = bench.variant == "1"
    bench.check(T("half open", "半连接数"), held, 5)
    bench.check(T("the honest client", "正常客户端"), client, State.ESTABLISHED if on else State.SYN_SENT)
    bench.check(T("waiting for accept()", "等待 accept()"), queued, 1 if on else 0)
    return bench.verdict(
        T(
            f"syncookies={bench.variant}, queue full with {held}: client {client.rfc_name}",
            f"syncookies={bench.variant}，队列已满（{held}）：客户端 {client.rfc_name}",
        )
    )


@lab(
    "SYNQ-13",
    title=T("tcp_syncookies: 0, 1 and 2", "tcp_syncookies 的三个取值"),
    claim=T(
        "0: off; 1: only when the SYN queue overflows; 2: always. Use 1.",
        "0 关闭；1 仅在半连接队列溢出时启用；2 无条件启用。应设为 1。",
    ),
    truth="true",
    source="S1; ip-sysctl.rst; tcp_conn_request",
    why=T(
        "2 is meant for tests: it takes options from every connection and lets a lost third packet go unrepaired.",
        "2 用于测试：它使每个连接失去选项，第三个包丢失也无法补救。",
    ),
    practice=T("Keep 1, the default.", "保持默认值 1。"),
    on=ANYWHERE,
)
def three_modes(bench: Bench) -> Verdict:
    expected = {0: (5, 5, 0), 1: (24, 5, 19), 2: (24, 0, 24)}
    found = {}
    for mode, wanted in expected.items():
        world = bench if mode == 0 else bench.another(T(f"tcp_syncookies={mode}", f"tcp_syncookies={mode}"))
        world.configure({SYNCOOKIES: mode})
        world.listen(world.program("server"), backlog=4)
        Forger(world).flood(24)
        found[mode] = (syn_acks(world), half_open(world), world.counter("server", COOKIES_SENT))
        text = T(f"{mode}: SYN-ACKs, half open, cookies", f"{mode}：SYN-ACK、半连接、cookie")
        bench.check(text, found[mode], wanted)
    told = "; ".join(f"{mode}: {a} SYN-ACKs, {b} half open, {c} cookies" for mode, (a, b, c) in found.items())
    told_zh = "；".join(f"{mode}：SYN-ACK {a}、半连接 {b}、cookie {c}" for mode, (a, b, c) in found.items())
    return bench.verdict(T(told, told_zh))


@lab(
    "SYNQ-14",
    title=T("Cookies are on by default", "SYN cookie 默认开启"),
    claim=T(
        "'net.ipv4.tcp_syncookies: default 0, off.'",
        "“net.ipv4.tcp_syncookies：默认为 0，表示关闭。”",
    ),
    truth="wrong",
    source="S3; Linux 2.6.37 (tcp_ipv4.c: sysctl_tcp_syncookies = 1)",
    why=T(
        "The default has been 1 since Linux 2.6.37 (2011). The sentence describes older kernels.",
        "自 Linux 2.6.37（2011 年）起默认就是 1。该说法只适用于更老的内核。",
    ),
    practice=T("Nothing to set on any supported kernel.", "在任何仍受支持的内核上都无需设置。"),
    on=ANYWHERE,
)
def cookies_by_default(bench: Bench) -> Verdict:
    default = bench.sysctl(SYNCOOKIES)
    bench.listen(bench.program("server"), backlog=2)
    Forger(bench).flood(10)
    answered, cookies = syn_acks(bench), bench.counter("server", COOKIES_SENT)
    bench.check(T("the default", "默认值"), default, 1)
    bench.check(T("SYNs answered of 10, backlog 2", "backlog 2 时 10 个 SYN 应答"), answered, 10)
    bench.check(T("by cookie", "其中用 cookie"), cookies, 7)
    return bench.verdict(
        T(
            f"'default 0' is wrong: {default}; {cookies} of {answered} SYNs answered by cookie without any setting",
            f"“默认 0”有误：实为 {default}；未作设置，{answered} 个 SYN 中 {cookies} 个由 cookie 应答",
        )
    )


@lab(
    "SYNQ-15",
    title=T("What a cookie costs", "SYN cookie 的代价"),
    claim=T(
        "Do not use SYN cookies to carry normal high load: they are not a rigorous TCP.",
        "不要用 SYN cookie 承受正常的高负载：它不是严格的 TCP。",
    ),
    truth="true",
    source="S0; ip-sysctl.rst (tcp_syncookies)",
    why=T(
        "Options are lost unless timestamps carry them, and as nothing is kept, a lost third packet is not repaired:"
        " the"
        " client believes in a connection that the server never heard of. If the server should speak first, both wait.",
        "除非时间戳能携带，选项会丢失；而且由于什么都不保存，第三个包丢失后无从补救：客户端以为已连上，服务端却一无所知。"
        "若协议由服务端先发言，双方就一直等下去。",
    ),
    practice=T(
        "For normal load raise the backlog; keep cookies for floods. Protocols in which the server speaks first (SMTP,"
        " MySQL) need client timeouts.",
        "正常负载应增大 backlog，cookie 只留给洪泛。服务端先发言的协议（SMTP、MySQL）需要客户端超时。",
    ),
    on=ANYWHERE,
    variants={
        "cookie": T("with a cookie", "使用 cookie"),
        "ordinary": T("with an ordinary entry", "普通半连接"),
    },
    sysctl={"net.ipv4.tcp_timestamps": 0},
)
def cost_of_a_cookie(bench: Bench) -> Verdict:
    cookie = bench.variant == "cookie"
    bench.configure({SYNCOOKIES: 2 if cookie else 1})
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    bench.drop("first ACK from client")
    fd = bench.connect(client)
    came = bench.outcome(client, fd)
    bench.run((3 if bench.hurried else 60) * SEC)
    answer = segment(bench.sent("server", flags="SA")[0])
    options = [answer.wscale >= 0, bool(answer.sack_permitted)]
    states = [bench.state("client"), bench.state("server")]
    queued = waiting(bench)
    bench.check(T("SYN-ACK: window scale, SACK", "SYN-ACK：窗口扩大、SACK"), options, [not cookie] * 2)
    bench.check(T("connect()", "connect()"), came, "OK")
    expected = State.CLOSED if cookie else State.ESTABLISHED
    bench.check(T("client and server later", "之后客户端与服务端"), states, [State.ESTABLISHED, expected])
    bench.check(T("waiting for accept()", "等待 accept()"), queued, 0 if cookie else 1)
    if not cookie:
        fd_server = bench.accept(server, listener)
        server.send(fd_server, b"220 ready")
        greeting = bench.read(client, fd, 9)
        bench.check(T("the greeting arrives", "问候语到达"), len(greeting), 9)
    else:
        heard = bench.attempt(lambda: client.recv(fd, 100, socket.MSG_DONTWAIT))
        bench.check(T("the client hears", "客户端收到"), heard, "EAGAIN")
    return bench.verdict(
        T(
            f"third packet lost: client {states[0].rfc_name}, server {states[1].rfc_name}; options"
            f" {'lost' if cookie else 'kept'}",
            f"第三个包丢失：客户端 {states[0].rfc_name}，服务端 {states[1].rfc_name}；"
            f"选项{'丢失' if cookie else '保留'}",
        )
    )
