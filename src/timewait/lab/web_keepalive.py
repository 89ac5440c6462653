"""HTTP keep-alive: when a connection stays, who ends it, and where its TIME-WAIT is."""

from typing import Final

from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import in_seconds
from timewait.lab.web import Web, first_fin, waiting

KEEP: Final = T("the connection stays", "连接保持")


@lab(
    "HTTP-01",
    title=T("HTTP/1.0 closes unless asked", "HTTP/1.0 默认关闭连接"),
    claim=T(
        "HTTP/1.0: keep-alive is off by default; both sides say Connection: Keep-Alive to have it.",
        "HTTP/1.0 默认不保持连接，需要双方都写 Connection: Keep-Alive。",
    ),
    truth="true",
    source="S1; RFC 9112 9.3, C.2.2",
    why=T(
        "Where the answer carries no length, the end of the stream is the end of the body, so a 1.0 server closes;"
        " whoever wants otherwise must say so and be answered so.",
        "没有长度时，流的结束就是正文的结束，所以 1.0 服务端会关闭；想保持连接就必须声明并得到应答。",
    ),
    practice=T(
        "Old clients, health checks and proxies that speak 1.0 upstream (long nginx's default) open a connection for"
        " each request: set 1.1 and an empty Connection field towards upstreams. That costs idle connections there.",
        "旧客户端、健康检查和以 1.0 转发的代理（nginx 旧默认 proxy_http_version 1.0）每个请求都新建连接："
        "对上游改用 1.1 并清空 Connection 字段；代价是上游有空闲连接。",
    ),
    on=ANYWHERE,
    variants={"plain": T("without the field", "不带该字段"), "asked": T("Connection: keep-alive", "带 keep-alive")},
)
def one_point_zero(bench: Bench) -> Verdict:
    web = Web(bench)
    asked = "keep-alive" if bench.variant == "asked" else ""
    said = web.ask("1.0", asked)
    again = web.is_open
    if again:
        web.ask("1.0", asked)
    web.settle()
    bench.check(T("the answer says", "应答中的 Connection"), said, asked or "close")
    bench.check(T("first FIN from", "首个 FIN 来自"), first_fin(bench), "" if asked else "server")
    bench.check(T("requests on the connection", "该连接上的请求数"), web.served, 2 if asked else 1)
    return bench.verdict(
        T(
            f"answer: {said}; {web.served} requests on the connection, first FIN from {first_fin(bench) or 'nobody'}",
            f"应答 {said}；连接上 {web.served} 个请求，首个 FIN 来自 {first_fin(bench) or '无'}",
        )
    )


@lab(
    "HTTP-02",
    title=T("HTTP/1.1 stays", "HTTP/1.1 默认保持连接"),
    claim=T("HTTP/1.1: keep-alive is on by default.", "HTTP/1.1 默认保持连接。"),
    truth="true",
    source="S1; RFC 9112 9.3",
    why=T(
        "Every 1.1 message says where it ends (Content-Length or chunks), so that the next one can follow.",
        "1.1 的每个消息都标明结束位置（Content-Length 或分块），下一个可以紧随其后。",
    ),
    practice=T(
        "Reuse a session or pool in the client; a new one for each request throws the default away.",
        "客户端应复用会话或连接池；每个请求新建会话等于放弃默认行为。",
    ),
    on=ANYWHERE,
)
def one_point_one(bench: Bench) -> Verdict:
    web = Web(bench)
    said = [web.ask(), web.ask()]
    web.settle()
    syns = len(bench.sent("client", flags="S"))
    bench.check(T("Connection fields of the answers", "应答中的 Connection"), said, ["", ""])
    bench.check(T("SYNs for two requests", "两个请求的 SYN 数"), syns, 1)
    bench.check(T("FINs", "FIN 数"), len(bench.sent(flags="FA")), 0)
    return bench.verdict(T(f"{web.served} requests, {syns} SYN, no FIN", f"{web.served} 个请求，{syns} 个 SYN，无 FIN"))


@lab(
    "HTTP-03",
    title=T("Connection: close from either side ends it", "任一方写 close 即结束"),
    claim=T("Connection: close from either side disables keep-alive.", "任一方发送 Connection: close 即关闭长连接。"),
    truth="true",
    source="S1; RFC 9112 9.6",
    why=T(
        "The field is about this connection: the request that carries it is the last one, and so is the answer.",
        "该字段针对本连接：带它的请求是最后一个请求，带它的应答是最后一个应答。",
    ),
    practice=T(
        "Look for a stray Connection: close in client libraries and proxies before you tune anything else.",
        "调优之前，先检查客户端库和代理是否误带了 Connection: close。",
    ),
    on=ANYWHERE,
    variants={
        "client": T("the client says so", "客户端声明"),
        "server": T("the server says so", "服务端声明"),
        "both": T("both do", "双方都声明"),
        "neither": T("neither does", "都不声明"),
    },
)
def either_side(bench: Bench) -> Verdict:
    web = Web(bench, keeps=bench.variant in ("client", "neither"))
    said = web.ask(connection="close" if bench.variant in ("client", "both") else "")
    web.settle()
    stays = bench.variant == "neither"
    bench.check(T("the answer says", "应答中的 Connection"), said, "" if stays else "close")
    bench.check(KEEP, web.is_open, stays)
    bench.check(T("FINs", "FIN 数"), len(bench.sent(flags="FA")), 0 if stays else 2)
    return bench.verdict(
        T(
            f"{bench.variant} said close: the connection {'stays' if web.is_open else 'ends'} after the answer",
            f"{bench.variant} 声明 close：应答后连接{'保持' if web.is_open else '结束'}",
        )
    )


@lab(
    "HTTP-04",
    title=T("What a short connection costs in packets", "短连接的报文开销"),
    claim=T(
        "A short connection: connect, request, response, release, for each request.",
        "短连接：每个请求都要建立连接、请求、响应、释放。",
    ),
    truth="true",
    source="S1; RFC 9293 3.5, 3.6",
    why=T(
        "Three packets open and three or four close a connection that carried one question and one answer; a kept one"
        " carries the two and their acknowledgments.",
        "一问一答之外，建立要三个报文，关闭要三四个；保持的连接只传一问一答及其确认。",
    ),
    practice=T(
        "Keep connections where the same client comes back within the idle timeout; a descriptor and some kB of kernel"
        " memory per idle client are the price.",
        "同一客户端会在空闲超时内再来时保持连接；代价是每个空闲客户端一个描述符和若干 kB 内核内存。",
    ),
    on=ANYWHERE,
    variants={"short": T("a connection for each request", "每请求一条连接"), "kept": T("one for all", "共用一条连接")},
)
def packets_of_a_request(bench: Bench) -> Verdict:
    web = Web(bench, keeps=bench.variant == "kept")
    count = 5
    if bench.variant == "kept":
        web.ask()
        web.settle()
    begun = bench.now
    for _ in range(count):
        web.ask()
        web.settle()
    packets = len(bench.sent(after=begun)) / count
    low, high = (2, 4) if bench.variant == "kept" else (8, 12)
    bench.check_that(T("packets per request", "每请求报文数"), low <= packets <= high, packets, f"{low} to {high}")
    bench.check(T("connections", "连接数"), web.connections, 1 if bench.variant == "kept" else count)
    return bench.verdict(T(f"{packets:g} packets per request", f"每请求 {packets:g} 个报文"))


@lab(
    "HTTP-05",
    title=T("Who closes: the RFC leans to the server", "由谁关闭：RFC 倾向服务端"),
    claim=T("The RFC does not fix who closes the connection; both may.", "RFC 未规定由谁关闭连接，双方都可以。"),
    truth="simplification",
    source="S1; RFC 9112 9.5, 9.6",
    why=T(
        "Anybody may close an idle connection. But after close was said, RFC 9112 9.6 has the server close after its"
        " last answer, and the client wait for that. Whoever does it first has the TIME-WAIT.",
        "空闲连接任何一方都可关闭。但一旦声明 close，RFC 9112 9.6 要求服务端在最后的应答后关闭，客户端等待它。"
        "先关闭者承担 TIME-WAIT。",
    ),
    practice=T(
        "Where TIME-WAITs must not pile up at a server, let clients close idle connections first: their idle timeout"
        " shorter than the server's. Then their ports pay.",
        "若不愿服务端积累 TIME-WAIT，让客户端先关闭空闲连接（客户端空闲超时短于服务端）；代价由客户端端口承担。",
    ),
    on=ANYWHERE,
    variants={
        "told": T("close was said", "已声明 close"),
        "client": T("idle: the client closes", "空闲：客户端关闭"),
        "server": T("idle: the server closes", "空闲：服务端关闭"),
    },
)
def who_may_close(bench: Bench) -> Verdict:
    web = Web(bench)
    web.ask(connection="close" if bench.variant == "told" else "")
    web.settle()
    if bench.variant == "client":
        web.client.close(web.cfd)
        bench.read_end(web.server, web.sfd)
        web.server.close(web.sfd)
    elif bench.variant == "server":
        web.server.close(web.sfd)
        web.leave()
    web.settle()
    expected = "client" if bench.variant == "client" else "server"
    held = waiting(bench)
    bench.check(T("first FIN from", "首个 FIN 来自"), first_fin(bench), expected)
    where = [1, 0] if expected == "client" else [0, 1]
    bench.check(T("TIME-WAIT at client, server", "客户端、服务端 TIME-WAIT"), list(held), where)
    return bench.verdict(
        T(
            f"first FIN from the {first_fin(bench)}: TIME-WAIT {held[0]} at the client, {held[1]} at the server",
            f"首个 FIN 来自 {first_fin(bench)}：TIME-WAIT 客户端 {held[0]}，服务端 {held[1]}",
        )
    )


@lab(
    "HTTP-06",
    title=T("Whoever disables it, the server closes", "无论谁禁用，都由服务端关闭"),
    claim=T(
        "In most servers the server closes, whoever disabled keep-alive: its TIME-WAIT.",
        "大多数实现中，无论谁禁用长连接，都由服务端主动关闭，TIME-WAIT 在服务端。",
    ),
    truth="true",
    source="S1; RFC 9112 9.6",
    why=T(
        "The server acts last: it has just written its answer when the connection is over, and close() is all it"
        " needs to do.",
        "服务端最后行动：写完应答时连接已无用，只需 close()。",
    ),
    practice=T(
        "Many TIME-WAITs at a server are a sign of short connections, not a fault: harmless to its ports. Enable"
        " keep-alive on both sides if the handshakes cost too much.",
        "服务端 TIME-WAIT 多说明短连接多，并非故障，也不占用其端口。握手开销过大时，双方都启用长连接。",
    ),
    on=ANYWHERE,
    variants={
        "client": T("the client says close", "客户端声明 close"),
        "old": T("the client speaks 1.0", "客户端使用 1.0"),
        "server": T("the server has it off", "服务端关闭了长连接"),
    },
)
def server_closes(bench: Bench) -> Verdict:
    web = Web(bench, keeps=bench.variant != "server")
    web.ask("1.0" if bench.variant == "old" else "1.1", "close" if bench.variant == "client" else "")
    held = waiting(bench)
    bench.check(T("first FIN from", "首个 FIN 来自"), first_fin(bench), "server")
    bench.check(T("TIME-WAIT at client, server", "客户端、服务端 TIME-WAIT"), list(held), [0, 1])
    return bench.verdict(
        T(
            f"first FIN from the {first_fin(bench)}, {held[1]} TIME-WAIT at the server",
            f"首个 FIN 来自 {first_fin(bench)}，服务端 TIME-WAIT {held[1]} 个",
        )
    )


@lab(
    "HTTP-07",
    title=T("The answer and the FIN go together", "应答与 FIN 相随"),
    claim=T(
        "The client disables keep-alive: the server is the last to act, so it closes.",
        "客户端禁用长连接：交互中最后行动的是服务端，因此由它关闭。",
    ),
    truth="true",
    source="S1; RFC 9112 9.6",
    why=T(
        "With the server closing, its FIN follows its last octet at once. Were it the client's turn, the server would"
        " keep the connection a round trip longer.",
        "由服务端关闭，FIN 紧跟最后一个字节。若由客户端关闭，服务端要多保留一个往返。",
    ),
    practice=T(
        "Nothing to tune. A server that must be sure its answer arrived shuts down, reads to the end, then closes"
        " (nginx: lingering_close): a RST for unread data would destroy the answer. That costs the round trip again.",
        "无需调优。服务端若须确保应答送达，应先 shutdown、读到结尾再关闭（nginx lingering_close），"
        "否则未读数据引发的 RST 会毁掉应答；代价仍是一个往返。",
    ),
    on=ANYWHERE,
)
def last_to_act(bench: Bench) -> Verdict:
    web = Web(bench)
    web.ask(connection="close")
    answer = bench.sent("server", payload=True)[-1]
    fin = bench.sent("server", flags="FA")[0]
    gap = fin.time - answer.time
    between = [entry for entry in bench.sent("client", payload=True) if answer.time < entry.time < fin.time]
    bench.check_time(T("from the answer to the FIN", "应答到 FIN"), gap, 0)
    bench.check(T("data of the client in between", "期间客户端的数据"), len(between), 0)
    bench.check(T("first FIN from", "首个 FIN 来自"), first_fin(bench), "server")
    return bench.verdict(T(f"FIN {in_seconds([gap])} after the answer", f"应答后 {in_seconds([gap])} 发出 FIN"))


@lab(
    "HTTP-08",
    title=T("One call or three", "一次调用还是三次"),
    claim=T(
        "Server disables: close is one system call; to wait for the client takes epoll, read and close.",
        "服务端禁用时：自己关闭只需一次系统调用；等客户端关闭需要 epoll、read 再 close。",
    ),
    truth="simplification",
    source="S1",
    why=T(
        "The direction is right, the counts depend on the server. What counts more: the socket lives a round trip"
        " longer when the client is to close.",
        "方向正确，次数取决于实现。更重要的是：等客户端关闭时套接字多存活一个往返。",
    ),
    practice=T(
        "Leave it to the server software; it matters only at tens of thousands of short connections a second.",
        "交给服务端软件即可；只有每秒数万条短连接时才有意义。",
    ),
    variants={"closes": T("the server closes", "服务端关闭"), "waits": T("it waits for the client", "等待客户端关闭")},
)
def one_call_or_three(bench: Bench) -> Verdict:
    web = Web(bench, keeps=False)
    web.open()
    bench.write(web.client, web.cfd, b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")
    waits = bench.variant == "waits"
    web.answer(leave_open=waits)
    answered = bench.now
    if waits:
        web.take("")
        web.client.close(web.cfd)
        bench.until(lambda: web.server.poll([(web.sfd, 1)]), "the client's FIN")
        web.server.recv(web.sfd, 100)
        web.server.close(web.sfd)
    else:
        web.take("close")
    names = [call.call.partition("(")[0] for call in bench.calls("server", "") if call.time >= answered]
    lived = bench.calls("server", "close(")[-1].time - answered
    expected = ["recv", "close"] if waits else ["close"]
    last = names[-len(expected) :]
    bench.check(T("calls after the answer, waiting left out", "应答后的调用（不含等待）"), last, expected)
    bench.check_time(T("the descriptor lives on for", "描述符继续存活"), lived, bench.lab.rtt if waits else 0)
    count = len(expected) + waits
    return bench.verdict(
        T(
            f"{count} calls, the waiting one included; descriptor open {in_seconds([lived])} more",
            f"{count} 次调用（含等待），描述符多保留 {in_seconds([lived])}",
        )
    )
