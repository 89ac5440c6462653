"""A SYN that comes too late, and what the handshake does about it."""

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import LabError, segment
from timewait.tcp.states import State

_SPORT = 40000


@lab(
    "EST-21",
    title=T("An old SYN arrives before the new one", "旧 SYN 先于新 SYN 到达"),
    claim=T(
        "The server answers the old SYN (seq 90) with ack 91; the client, which has sent seq 100, resets that; the"
        " server forgets it, and the new SYN succeeds.",
        "服务端对旧 SYN（seq 90）回应 ack 91；已发出 seq 100 的客户端回 RST；服务端回到 LISTEN，新 SYN 成功。",
    ),
    truth="true",
    source="S0 S1; RFC 9293 3.5 figure 8, 3.10.7.3 first check",
    why=T(
        "Only the client can know which of its SYNs is current. The third segment is where it says so: this is what a"
        " third segment is for.",
        "只有客户端知道哪个 SYN 是当前的。第三个报文就是它表态的机会：这正是需要第三次握手的原因。",
    ),
    practice=T(
        "Nothing to do. On a busy client reusing ports fast, some RSTs in SYN-SENT are this, and harmless.",
        "无需处理。快速复用端口的客户端上，SYN-SENT 中出现的个别 RST 就是这种情况，无害。",
    ),
    on=ANYWHERE,
)
def old_syn_first(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    bench.link.hold("first SYN", 500 * MSEC)
    bench.link.hold("second SYN", 600 * MSEC)
    bench.note("the first SYN is held up on its way")
    given_up = bench.connect(client, sport=_SPORT)
    bench.run(100 * MSEC)
    client.close(given_up)
    bench.run(100 * MSEC)
    fd = bench.connect(client, sport=_SPORT)
    came = bench.outcome(client, fd)
    bench.accept(server, listener)
    old, new = (segment(entry) for entry in bench.sent("client", flags="S")[:2])
    answers = [segment(entry) for entry in bench.sent("server", flags="SA")]
    resets = [segment(entry) for entry in bench.sent("client", flags="R")]
    bench.check_that(
        T("the two SYNs have different numbers", "两个 SYN 的序号不同"), old.seq != new.seq, old.seq != new.seq, "yes"
    )
    bench.check(
        T("SYN-ACKs acknowledge old+1, then new+1", "SYN-ACK 先确认旧+1，再确认新+1"),
        [answer.ack for answer in answers],
        [(old.seq + 1) % 2**32, (new.seq + 1) % 2**32],
    )
    bench.check(
        T("the client's RST carries seq = that ack", "客户端 RST 的 seq 等于该确认号"),
        [reset.seq for reset in resets],
        [answers[0].ack],
    )
    bench.check(T("the new connect()", "新的 connect()"), came, "OK")
    bench.check(T("server", "服务端"), bench.state("server"), State.ESTABLISHED)
    return bench.verdict(
        T(
            f"{len(answers)} SYN-ACKs, {len(resets)} RST, then connect() {came}",
            f"{len(answers)} 个 SYN-ACK，{len(resets)} 个 RST，随后 connect() {came}",
        )
    )


@lab(
    "EST-22",
    title=T("A second, different SYN while the first is half open", "半连接期间收到另一个不同的 SYN"),
    claim=T(
        "In SYN-RECEIVED the server answers a new SYN with a challenge ACK that repeats the acknowledgment 91, which"
        " the client resets.",
        "SYN-RECEIVED 状态的服务端用 challenge ACK 重复确认 91，客户端随后回 RST。",
    ),
    truth="simplification",
    source="S1; RFC 9293 3.10.7.4 fourth check; tcp_check_req",
    why=T(
        "Linux does so only where the new number lies outside the receive window, as clock-driven numbers mostly do."
        " Inside the window (90 then 100) it resets and forgets the half-open connection, and the client's connect()"
        " fails.",
        "只有新序号落在接收窗口之外时 Linux 才这样做（随时钟增长的序号多半如此）。若在窗口内（90 之后 100），"
        "它回 RST 并删除半连接，客户端 connect() 失败。",
    ),
    practice=T(
        "A client that reuses its port at once after a crash may see ECONNREFUSED here: retry. Random source ports make"
        " it rare.",
        "崩溃后立即复用端口的客户端可能在此得到 ECONNREFUSED：重试即可。随机源端口使之罕见。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={
        "inside": T("the new SYN is 10 above the first, inside the window", "新 SYN 比旧的大 10，在窗口内"),
        "outside": T("the new SYN is far outside the window", "新 SYN 远在窗口之外"),
    },
)
def syn_while_half_open(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    puppet = bench.puppet
    puppet.syn(sport=_SPORT, iss=90)
    bench.until(puppet.segments, "the SYN-ACK")
    server_isn = puppet.irs
    puppet.syn(sport=_SPORT, iss=100 if bench.variant == "inside" else 1_000_000_090)
    bench.run(200 * MSEC)
    if len(puppet.segments()) < 2 or server_isn is None:
        raise LabError("the server did not answer the second SYN")
    reply = puppet.segments()[1]
    left = len(bench.sockets("server", State.SYN_RCVD))
    if bench.variant == "inside":
        bench.check(T("the answer", "回应"), bench.flags(reply), "RST-ACK")
        bench.check(T("its seq and ack", "其 seq 与 ack"), (reply.seq, reply.ack), (0, 101))
        bench.check(T("half-open connections left", "剩余半连接"), left, 0)
        return bench.verdict(
            T(
                f"answer: {bench.flags(reply)} ack={reply.ack}; {left} half-open connections left",
                f"回应：{bench.flags(reply)} ack={reply.ack}；剩余半连接 {left} 个",
            )
        )
    bench.check(T("the answer", "回应"), bench.flags(reply), "ACK")
    bench.check(T("its seq and ack", "其 seq 与 ack"), (reply.seq, reply.ack), ((server_isn + 1) % 2**32, 91))
    bench.check(T("half-open connections left", "剩余半连接"), left, 1)
    puppet.send("R", seq=91, absolute=True)
    bench.run(SEC // 2)
    after = len(bench.sockets("server", State.SYN_RCVD))
    bench.check(T("and after the client's RST", "客户端 RST 之后"), after, 0)
    return bench.verdict(
        T(
            f"answer: {bench.flags(reply)} ack={reply.ack}; half open {left}, after the RST {after}",
            f"回应：{bench.flags(reply)} ack={reply.ack}；半连接 {left} 个，RST 之后 {after} 个",
        )
    )
