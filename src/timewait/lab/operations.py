"""What operators type: the views of sockets, the limits, and the kernel's parameters with what they do."""

from itertools import pairwise
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.instant import SEC
from timewait.host.host import Host
from timewait.host.procfs import netstat_table, ss_table
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.lab.parameters import MEANINGS, STORIES
from timewait.tcp.states import State

P: Final = "net.ipv4.tcp_"
BLOCK: Final = """
net.ipv4.tcp_syn_retries = 2
net.ipv4.tcp_synack_retries = 2
net.ipv4.tcp_keepalive_time = 1200
net.ipv4.tcp_orphan_retries = 3
net.ipv4.tcp_fin_timeout = 30
net.ipv4.tcp_max_syn_backlog = 4096
net.ipv4.tcp_syncookies = 1
net.ipv4.tcp_tw_reuse = 1
net.ipv4.tcp_tw_recycle = 1
net.ipv4.tcp_keepalive_probes = 5
"""
"""What an article recommends for sysctl.conf."""


@lab(
    "OPS-01",
    title=T("netstat and ss: two spellings of the states", "netstat 与 ss：状态的两种写法"),
    claim=T("netstat -napt shows the TCP states.", "netstat -napt 可查看 TCP 状态。"),
    truth="true",
    source="S1; RFC 9293 3.3.2; net-tools, iproute2",
    why=T(
        "Both read the same table of the kernel; netstat writes FIN_WAIT2 and SYN_RECV, ss FIN-WAIT-2 and SYN-RECV.",
        "两者读取内核同一张表；netstat 写作 FIN_WAIT2、SYN_RECV，ss 写作 FIN-WAIT-2、SYN-RECV。",
    ),
    practice=T(
        "`ss -tanp` is faster with many sockets and can filter (`state close-wait`); scripts that grep must know which"
        " spelling they read.",
        "套接字多时 `ss -tanp` 更快且能过滤（`state close-wait`）；脚本 grep 时要弄清是哪种写法。",
    ),
)
def two_spellings(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.close(pair.cfd)
    bench.run(3 * bench.lab.rtt)
    found: list[str] = []
    for name in ("client", "server"):
        host: Host = bench.simulated(name)
        state = bench.state(name)
        for table, word in ((netstat_table, state.netstat_name), (ss_table, state.ss_name)):
            found.append(word if word in table(host.rows()).split() else "")
    expected = ["FIN_WAIT2", "FIN-WAIT-2", "CLOSE_WAIT", "CLOSE-WAIT"]
    bench.check(T("netstat and ss at the client, at the server", "客户端与服务端的 netstat、ss"), found, expected)
    return bench.verdict(
        T(
            f"netstat: {found[0]}, {found[2]}; ss: {found[1]}, {found[3]}",
            f"netstat：{found[0]}、{found[2]}；ss：{found[1]}、{found[3]}",
        )
    )


@lab(
    "OPS-02",
    title=T("Half-open connections in netstat", "用 netstat 查看半连接"),
    claim=T(
        "netstat -n -p TCP | grep SYN_RECV shows a SYN flood.", "netstat -n -p TCP | grep SYN_RECV 可发现 SYN 攻击。"
    ),
    truth="simplification",
    source="S0 S3; net-tools",
    why=T(
        "The word TCP is another system's option, which net-tools ignores. SYN_RECV is listed; but with cookies a"
        " flood leaves few entries behind, so a short list proves nothing.",
        "TCP 一词是其他系统的选项，net-tools 会忽略。SYN_RECV 会列出；但启用 cookie 后攻击留下的条目很少，"
        "列表短并不说明问题。",
    ),
    practice=T(
        "`ss -tn state syn-recv | wc -l` for the queue, `nstat TcpExtSyncookiesSent TcpExtListenDrops` for the attack.",
        "队列看 `ss -tn state syn-recv | wc -l`，攻击看 `nstat TcpExtSyncookiesSent TcpExtListenDrops`。",
    ),
    variants={"queue": T("room in the queue", "队列未满"), "flood": T("a flood and cookies", "洪泛与 cookie")},
)
def half_open_listed(bench: Bench) -> Verdict:
    count, backlog = 20, 128 if bench.variant == "queue" else 8
    bench.listen(bench.program("server"), backlog=backlog)
    bench.drop("every ACK from client")
    bench.drop("every SYN-ACK from server")
    client = bench.program("client")
    for _ in range(count):
        bench.connect(client)
    bench.run(bench.lab.rtt)
    table = netstat_table(bench.simulated("server").rows())
    listed = table.split().count("SYN_RECV")
    cookies = bench.counter("server", "TcpExtSyncookiesSent")
    kept = count if bench.variant == "queue" else backlog + 1
    bench.check(T("lines with SYN_RECV", "SYN_RECV 行数"), listed, kept)
    bench.check(T("SYN cookies sent", "发出的 SYN cookie"), cookies, count - kept)
    return bench.verdict(
        T(
            f"{count} half-open peers: {listed} lines, {cookies} cookies",
            f"{count} 个半连接：{listed} 行，cookie {cookies} 个",
        )
    )


@lab(
    "OPS-03",
    title=T("The limit of descriptors that counts", "真正起作用的描述符上限"),
    claim=T(
        "fs.file-max, limits.conf and fs.nr_open limit the number of descriptors.",
        "fs.file-max、limits.conf、fs.nr_open 限制描述符数量。",
    ),
    truth="true",
    source="S1; getrlimit(2), proc_sys_fs(5)",
    why=T(
        "A process meets RLIMIT_NOFILE first (1024 by default, the standard streams included): EMFILE. nr_open is how"
        " far that may be raised, file-max the whole machine's. limits.conf counts for logins through PAM only.",
        "进程先碰到 RLIMIT_NOFILE（默认 1024，含三个标准流）：EMFILE。nr_open 是其可调上限，file-max 是全机上限；"
        "limits.conf 只对经 PAM 的登录生效。",
    ),
    practice=T(
        "For services set LimitNOFILE= in the unit. A server out of descriptors leaves connections in the accept queue:"
        " keep one in reserve, close it, accept, close, to turn clients away.",
        "服务应在 systemd 单元设 LimitNOFILE=。描述符耗尽时连接滞留全连接队列：可预留一个，关闭它、accept 再关闭，"
        "以拒绝客户端。",
    ),
)
def which_limit(bench: Bench) -> Verdict:
    program = bench.simulated("client").process("client")
    limit = program.nofile
    opened = 0
    while (answer := bench.attempt(lambda: program.socket(2, 1))) == "OK":
        opened += 1
    bench.check(T("sockets opened", "可打开的套接字"), opened, limit - 3)
    bench.check(T("the next one", "下一个"), answer, "EMFILE")
    other = bench.attempt(lambda: bench.program("client", "other").socket(2, 1))
    bench.check(T("in another process", "另一个进程"), other, "OK")
    return bench.verdict(
        T(
            f"limit {limit}: {opened} sockets, then {answer}; another process: {other}",
            f"上限 {limit}：{opened} 个套接字后 {answer}；另一进程 {other}",
        )
    )


@lab(
    "OPS-04",
    title=T("Parameters are one network namespace's", "参数属于网络命名空间"),
    claim=T(
        "cat and echo on /proc/sys/net/ipv4/tcp_* read and set; sysctl.conf makes it last.",
        "读写 /proc/sys/net/ipv4/tcp_*；写入 sysctl.conf 可持久化。",
    ),
    truth="true",
    source="S1 S3; sysctl(8), network_namespaces(7)",
    why=T(
        "An echo lasts until the next boot. And it is this namespace's: a container has its own values, which begin at"
        " the kernel's defaults, whatever the host says.",
        "echo 到重启为止，且只对本网络命名空间生效：容器有自己的一套值，从内核默认值开始，与宿主机无关。",
    ),
    practice=T(
        "Put settings into /etc/sysctl.d/, and for containers into the pod's or container's sysctls: setting the host's"
        " changes nothing inside.",
        "写入 /etc/sysctl.d/；容器则在 pod 或容器的 sysctls 中设置，改宿主机对容器内无效。",
    ),
    variants={"namespace": T("set here, read there", "此处设置、彼处读取"), **MEANINGS},
)
def one_namespace(bench: Bench) -> Verdict:
    if bench.variant in STORIES:
        return STORIES[bench.variant](bench)
    before = bench.sysctl(P + "fin_timeout", "client")
    bench.set_sysctl("server", P + "fin_timeout", before // 2)
    values = bench.sysctl(P + "fin_timeout", "server"), bench.sysctl(P + "fin_timeout", "client")
    bench.check(T("set here, read there", "此处设置、彼处读取"), list(values), [before // 2, before])
    return bench.verdict(
        T(f"server {values[0]}, client still {values[1]}", f"服务端 {values[0]}，客户端仍为 {values[1]}")
    )


@lab(
    "OPS-05",
    title=T("A recommended sysctl.conf, line by line", "一份推荐的 sysctl.conf 逐行检验"),
    claim=T(
        "syn_retries=2, keepalive_time=1200, keepalive_probes=5, tw_recycle=1 and more are recommended.",
        "推荐设置 syn_retries=2、keepalive_time=1200、keepalive_probes=5、tw_recycle=1 等。",
    ),
    truth="simplification",
    source="S3; ip-sysctl.rst",
    why=T(
        "tcp_tw_recycle is gone since 4.12 and an error now. Two retries mean 7 s until connect() gives up: the count"
        " is turned into a time, which kernels since 6.5 spend on five SYNs and older ones on two. A dead peer is"
        " noticed after 1200 + 5 x 75 s.",
        "tcp_tw_recycle 自 4.12 起移除，现在报错。重试两次即 connect() 7 秒放弃：次数被折算成时间，"
        "6.5 起的内核在其间重发五次，旧内核重发两次。死对端在 1200+5×75 秒后被发现。",
    ),
    practice=T(
        "Copy no block: set what you can say the effect of. `sysctl -p` prints the unknown key and goes on, so a typo"
        " is easily missed.",
        "不要整段照抄，只设置能说清效果的参数。`sysctl -p` 遇到未知键只打印一行并继续，拼写错误很容易漏掉。",
    ),
    variants={
        "today": T("on a kernel of today", "在当前内核上"),
        "5.15": T("on linux-5.15", "在 linux-5.15 上"),
        "keepalive": T("the keepalive lines", "keepalive 各行"),
    },
)
def a_block(bench: Bench) -> Verdict:
    variant = bench.variant
    first = bench
    if variant == "5.15":
        bench = bench.another(T("linux-5.15", "linux-5.15"), profile="linux-5.15")
    refused = []
    for line in BLOCK.strip().splitlines():
        name, _, value = line.partition(" = ")
        try:
            for host in ("client", "server"):
                bench.set_sysctl(host, name, int(value))
        except UsageError:
            refused.append(name.rpartition(".")[2])
    bench.check(T("lines refused", "被拒绝的行"), refused, ["tcp_tw_recycle"])
    if variant == "keepalive":
        pair = bench.open()
        pair.server.setsockopt(pair.sfd, 1, 9, 1)
        begun = bench.now
        bench.power_off("client")
        bench.until(lambda: pair.server.poll([(pair.sfd, 1)]), "the end of keepalive", 3600 * SEC)
        took, expected = bench.now - begun, (1200 + 5 * 75) * SEC
        what = T("a dead peer is noticed after", "发现死对端用时")
    else:
        client = bench.program("client")
        bench.drop("every SYN")
        begun = bench.now
        fd = bench.connect(client)
        answer = bench.outcome(client, fd)
        took, expected = bench.now - begun, 7 * SEC
        again = len(bench.sent("client", flags="S")) - 1
        bench.check(T("SYNs sent again", "SYN 重发次数"), again, 2 if variant == "5.15" else 5)
        bench.check(T("connect() ends with", "connect() 结果"), answer, "ETIMEDOUT")
        what = T("connect() gives up after", "connect() 放弃用时")
    bench.check_that(what, abs(took - expected) < SEC, in_seconds([took]), in_seconds([expected]))
    return first.verdict(
        T(
            f"refused: {', '.join(refused)}; {what.en} {in_seconds([took])}",
            f"拒绝 {'、'.join(refused)}；{what.zh} {in_seconds([took])}",
        )
    )


@lab(
    "OPS-06",
    title=T("tcp_fin_timeout is FIN-WAIT-2's, not TIME-WAIT's", "tcp_fin_timeout 管 FIN-WAIT-2 而非 TIME-WAIT"),
    claim=T("tcp_fin_timeout is the time kept in FIN-WAIT-2.", "tcp_fin_timeout 是停留在 FIN-WAIT-2 的时间。"),
    truth="true",
    source="S1 S3 S4; tcp_fin_time, TCP_TIMEWAIT_LEN",
    why=T(
        "An orphan whose peer does not close is forgotten after so long. TIME-WAIT lasts a constant 60 s, whatever the"
        " parameter says.",
        "对端不关闭时，孤儿连接在该时间后被遗忘。TIME-WAIT 恒为 60 秒，与此参数无关。",
    ),
    practice=T(
        "Lowering it does nothing against TIME-WAITs. It helps against peers that never close; the price is a RST for"
        " one that closes late.",
        "调小它对 TIME-WAIT 没有作用，只对从不关闭的对端有用；代价是对关闭较晚的对端回 RST。",
    ),
    variants={"fin-wait-2": T("the peer does not close", "对端不关闭"), "time-wait": T("it does", "对端关闭")},
)
def what_fin_timeout_is(bench: Bench) -> Verdict:
    bench.set_sysctl("client", P + "fin_timeout", 30)
    pair = bench.open()
    pair.client.close(pair.cfd)
    bench.run(2 * bench.lab.rtt)
    if bench.variant == "time-wait":
        pair.server.close(pair.sfd)
        bench.run(2 * bench.lab.rtt)
    state = State.TIME_WAIT if bench.variant == "time-wait" else State.FIN_WAIT_2
    entered = bench.moved_at("client", state)
    bench.until(lambda: bench.state("client") is State.CLOSED, "the end", 200 * SEC)
    lasted = bench.now - entered
    expected = 60 if bench.variant == "time-wait" else 30
    bench.check_that(
        T(f"{state.rfc_name} lasts", f"{state.rfc_name} 持续"),
        abs(lasted - expected * SEC) < SEC // 2,
        in_seconds([lasted]),
        f"{expected} s",
    )
    return bench.verdict(
        T(f"{state.rfc_name} for {in_seconds([lasted])}", f"{state.rfc_name} 持续 {in_seconds([lasted])}")
    )


@lab(
    "OPS-07",
    title=T("tcp_keepalive_time is a silence, not a frequency", "tcp_keepalive_time 是静默时间而非频率"),
    claim=T(
        "tcp_keepalive_time is the frequency of keepalive messages, 2 h.",
        "tcp_keepalive_time 是发送 keepalive 的频率，默认 2 小时。",
    ),
    truth="simplification",
    source="S3; RFC 9293 3.8.4; tcp_keepalive_timer",
    why=T(
        "It is how long the connection is idle before the first probe. An answered probe starts that anew; unanswered"
        " ones follow each tcp_keepalive_intvl.",
        "它是首个探测前的空闲时间。探测得到应答则重新计时；无应答时每隔 tcp_keepalive_intvl 再发。",
    ),
    practice=T(
        "Set TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT on the sockets that need it; the time until a dead peer is"
        " noticed is idle + count x interval.",
        "在需要的套接字上设置 TCP_KEEPIDLE、TCP_KEEPINTVL、TCP_KEEPCNT；发现死对端的时间为 空闲 + 次数×间隔。",
    ),
    variants={"answered": T("the peer answers", "对端应答"), "silent": T("it is gone", "对端消失")},
)
def silence_then_frequency(bench: Bench) -> Verdict:
    idle, interval = bench.sysctl(P + "keepalive_time"), bench.sysctl(P + "keepalive_intvl")
    pair = bench.open()
    pair.server.setsockopt(pair.sfd, 1, 9, 1)
    begun = bench.now
    if bench.variant == "silent":
        bench.power_off("client")
    bench.run((2 * idle + 10) * SEC if bench.variant == "answered" else (idle + 3 * interval + 10) * SEC)
    probes = [entry.time for entry in bench.sent("server", after=begun + SEC) if "A" in "ACK"][:4]
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    gap = (idle if bench.variant == "answered" else interval) * SEC
    bench.check_that(
        T("first probe after", "首个探测"),
        abs(int(probes[0]) - begun - idle * SEC) < SEC,
        in_seconds([probes[0] - begun]),
        f"{idle} s",
    )
    near = bool(gaps) and all(abs(int(each) - gap) < SEC for each in gaps)
    bench.check_that(T("the next after", "其后间隔"), near, in_seconds(gaps), in_seconds([gap]))
    return bench.verdict(
        T(
            f"first probe after {in_seconds([probes[0] - begun])}, then every {in_seconds(gaps[:1])}",
            f"首个探测 {in_seconds([probes[0] - begun])}，其后每 {in_seconds(gaps[:1])}",
        )
    )


DEFAULTS: Final[dict[str, tuple[object, object]]] = {
    "syn_retries": ("6/5", 6),
    "synack_retries": (5, 5),
    "fin_timeout": (60, 60),
    "keepalive_time": (7200, 7200),
    "keepalive_intvl": (75, 75),
    "keepalive_probes": ("9/10", 9),
    "syncookies": (0, 1),
    "max_tw_buckets": ("18000/180000", 131072),
    "tw_reuse": (0, 2),
    "timestamps": (1, 1),
    "abort_on_overflow": (0, 0),
    "rfc1337": (0, 0),
    "retries2": (15, 15),
}
"""Parameter -> (what the articles give, what Linux 6.18 has in a fresh namespace)."""


@lab(
    "OPS-08",
    title=T("The articles' defaults and today's", "文章中的默认值与今天的默认值"),
    claim=T(
        "Tables of defaults: syncookies 0, tw_reuse 0, tw_recycle 0, max_tw_buckets 18,000 or 180,000.",
        "默认值表：syncookies 0、tw_reuse 0、tw_recycle 0、max_tw_buckets 18000 或 180000。",
    ),
    truth="sources disagree",
    source="S0 S1 S3 S4; linux 6.18, a fresh namespace",
    why=T(
        "Defaults changed over the years (cookies on in 2.6.37, tw_reuse 2 since 4.19), and some grow with memory"
        " (max_syn_backlog, max_tw_buckets).",
        "默认值多年来有变化（2.6.37 起启用 cookie，4.19 起 tw_reuse 为 2），"
        "有些随内存变化（max_syn_backlog、max_tw_buckets）。",
    ),
    practice=T(
        "Read your own: `sysctl -a --pattern tcp_`. And read it in the container, not on the host.",
        "以自己的系统为准：`sysctl -a --pattern tcp_`，并且在容器内而非宿主机上读取。",
    ),
    on=ANYWHERE,
)
def defaults(bench: Bench) -> Verdict:
    differ = []
    for name, (said, today) in DEFAULTS.items():
        found = bench.sysctl(P + name)
        bench.check(T(P + name, P + name), found, today)
        if str(found) not in str(said).split("/"):
            differ.append(f"{name} {found}, not {said}")
    return bench.verdict(
        T(f"{len(DEFAULTS)} read; {'; '.join(differ)}", f"读取 {len(DEFAULTS)} 项；不同的有 {len(differ)} 项")
    )


@lab(
    "OPS-09",
    title=T("tcp_syn_retries ends at 127", "tcp_syn_retries 最大 127"),
    claim=T("tcp_syn_retries should not exceed 255.", "tcp_syn_retries 不应超过 255。"),
    truth="wrong",
    source="S3; MAX_TCP_SYNCNT, ip-sysctl.rst",
    why=T(
        "The kernel takes 1 to 127 and refuses more with EINVAL; 255 is the limit of others, such as"
        " tcp_synack_retries.",
        "内核接受 1 到 127，更大返回 EINVAL；255 是 tcp_synack_retries 等其他参数的上限。",
    ),
    practice=T(
        "Nobody needs more than six: that is two minutes. Lower it where a fast failure serves better; a slow path's"
        " first SYNs then fail too.",
        "六次已是两分多钟，没有理由更大。需要快速失败时可调小；代价是慢路径上的连接也会失败。",
    ),
    on=ANYWHERE,
    variants={
        "127": T("the largest", "最大值"),
        "128": T("one more", "再加一"),
        "255": T("what the article says", "文章的说法"),
    },
)
def largest_syn_retries(bench: Bench) -> Verdict:
    value = int(bench.variant)
    before = bench.sysctl(P + "syn_retries", "client")
    try:
        bench.set_sysctl("client", P + "syn_retries", value)
        answer = "OK"
    except (UsageError, OSError):
        answer = "refused"
    after = bench.sysctl(P + "syn_retries", "client")
    bench.check(T(f"writing {value}", f"写入 {value}"), answer, "OK" if value <= 127 else "refused")
    bench.check(T("the value then", "之后的值"), after, value if value <= 127 else before)
    other = 255
    bench.set_sysctl("client", P + "synack_retries", other)
    bench.check(
        T("tcp_synack_retries takes", "tcp_synack_retries 接受"), bench.sysctl(P + "synack_retries", "client"), other
    )
    return bench.verdict(
        T(f"{value}: {answer}, then {after}", f"{value}：{'接受' if answer == 'OK' else '拒绝'}，之后为 {after}")
    )
