"""Every lab in a few words, so that listing them imports none. Written by tools/lab_index.py."""

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A lab as the list shows it."""

    module: str
    title: str
    title_zh: str
    truth: str
    on: str
    variants: str


INDEX: Final[dict[str, Entry]] = {
    "HDR-01": Entry("header", "Sequence numbers count octets", "序号按字节计数", "true", "sim live kernel", ""),
    "HDR-02": Entry("header", "An acknowledgment is cumulative", "确认号是累积的", "true", "sim live kernel", ""),
    "HDR-03": Entry("header", "Which segments have no ACK", "哪些报文没有 ACK 位", "simplification", "sim kernel", ""),
    "HDR-04": Entry(
        "header", "Only a RST with the exact number resets", "只有序号精确的 RST 才会复位", "true", "sim kernel", ""
    ),
    "HDR-05": Entry(
        "header", "SYN sets the initial sequence number", "SYN 设定初始序号", "true", "sim live kernel", ""
    ),
    "HDR-06": Entry("header", "FIN closes one direction only", "FIN 只关闭一个方向", "true", "sim live kernel", ""),
    "HDR-07": Entry(
        "header", "ack = seq + octets + SYN + FIN", "ack = seq + 字节数 + SYN + FIN", "true", "sim live kernel", ""
    ),
    "HDR-08": Entry(
        "header", "A TCP header is 20 to 60 octets long", "TCP 首部长 20 到 60 字节", "true", "sim live kernel", ""
    ),
    "HDR-09": Entry("header", "TCP has no length field", "TCP 没有长度字段", "true", "sim kernel", ""),
    "HDR-10": Entry(
        "timestamps",
        "Numbers wrap at 4 GB: old or new?",
        "序号 4 GB 回绕：新还是旧？",
        "true",
        "sim kernel",
        "paws bare wrap",
    ),
    "HDR-11": Entry(
        "timestamps",
        "Timestamps: my clock and your last one",
        "时间戳：我的时钟与你的最近值",
        "true",
        "sim live kernel",
        "",
    ),
    "HDR-12": Entry(
        "stream",
        "The address finds the host, the port the program",
        "地址找主机，端口找程序",
        "true",
        "sim live kernel",
        "",
    ),
    "HDR-13": Entry("stream", "A whole stream over a bad link", "劣质链路上的完整数据流", "true", "sim", ""),
    "HDR-14": Entry("stream", "The same link without TCP", "同一链路，没有 TCP", "true", "sim live kernel", ""),
    "HDR-15": Entry("reach", "TCP has exactly two ends", "TCP 只有两端", "true", "sim kernel", ""),
    "HDR-16": Entry(
        "retransmission",
        "Data into a black hole: TCP gives up",
        "数据发往黑洞：TCP 会放弃",
        "wrong",
        "sim live kernel",
        "default unprobed",
    ),
    "HDR-17": Entry("stream", "A stream has no messages in it", "字节流中没有消息边界", "true", "sim live kernel", ""),
    "HDR-18": Entry(
        "stream", "Out of order: held back. Twice: dropped", "乱序暂存，重复丢弃", "true", "sim kernel", ""
    ),
    "HDR-19": Entry("stream", "What a connection consists of", "连接由什么构成", "true", "sim live kernel", ""),
    "HDR-20": Entry("stream", "A window of 0 stops the sender", "窗口为 0 时发送方停下", "true", "sim kernel", ""),
    "HDR-21": Entry(
        "reach", "TTL: how many routers a datagram may cross", "TTL：最多经过几个路由器", "true", "sim", ""
    ),
    "UDP-01": Entry("udp", "No handshake, no acknowledgment", "无握手，无确认", "true", "sim live kernel", ""),
    "UDP-02": Entry("udp", "The UDP header: 8 octets", "UDP 首部：8 字节", "true", "sim live kernel", ""),
    "UDP-03": Entry("udp", "Its length counts header and data", "长度字段含首部与数据", "true", "sim kernel", ""),
    "UDP-04": Entry(
        "udp", "The checksum detects, it does not repair", "校验和只检测，不修复", "sources disagree", "sim kernel", ""
    ),
    "UDP-05": Entry("udp", "UDP needs no header length", "UDP 不需要首部长度字段", "true", "sim live kernel", ""),
    "UDP-06": Entry(
        "udp", "A length that IP knows already", "IP 已知的长度，为何再写一遍", "simplification", "sim kernel", ""
    ),
    "UDP-07": Entry("udp_use", "One datagram for three receivers", "一个数据报，三个接收者", "true", "sim", ""),
    "UDP-08": Entry(
        "udp_use",
        "Datagrams keep their boundaries, not their order",
        "数据报保边界，不保顺序",
        "true",
        "sim live kernel",
        "",
    ),
    "UDP-09": Entry(
        "udp_use", "A narrow link: UDP keeps pushing, TCP adapts", "窄链路：UDP 照发，TCP 适应", "true", "sim", ""
    ),
    "UDP-10": Entry(
        "udp_use",
        "3000 octets: TCP segments, UDP is fragmented",
        "3000 字节：TCP 分段，UDP 被 IP 分片",
        "true",
        "sim live kernel",
        "",
    ),
    "UDP-11": Entry("udp_use", "A call over TCP and over UDP", "语音走 TCP 与走 UDP", "simplification", "sim", ""),
    "UDP-12": Entry(
        "udp_use",
        "A question and its answer: 2 packets or 11",
        "一问一答：2 个包还是 11 个",
        "simplification",
        "sim live kernel",
        "",
    ),
    "UDP-13": Entry("udp_use", "Reliability built on UDP", "在 UDP 上实现可靠传输", "true", "sim", ""),
    "UDP-14": Entry(
        "udp_use", "UDP answers one round trip sooner", "UDP 早一个往返得到应答", "true", "sim live kernel", ""
    ),
    "UDP-15": Entry("udp", "TCP and UDP on the same port", "TCP 与 UDP 可用同一端口号", "true", "sim live kernel", ""),
    "SOCK-01": Entry(
        "sockets", "A socket is an address and a port", "套接字 = 地址 + 端口", "true", "sim live kernel", ""
    ),
    "SOCK-02": Entry("sockets", "Four values name a connection", "四元组确定一个连接", "true", "sim live kernel", ""),
    "SOCK-03": Entry(
        "sockets", "One port, very many connections", "一个端口，极多连接", "simplification", "sim kernel", ""
    ),
    "SOCK-04": Entry("limits", "Too many open files", "Too many open files：描述符耗尽", "simplification", "sim", ""),
    "SOCK-05": Entry(
        "limits",
        "What a connection weighs, and what ends it",
        "连接占多少内存，谁来限制",
        "simplification",
        "sim",
        "weight orphans",
    ),
    "SOCK-06": Entry("sockets", "The calls and the packets", "API 调用与报文", "true", "sim live kernel", ""),
    "SOCK-07": Entry(
        "sockets",
        "Listening and connected are two sockets",
        "监听套接字与已连接套接字是两个",
        "true",
        "sim live kernel",
        "",
    ),
    "SOCK-08": Entry(
        "sockets", "When connect() and accept() return", "connect() 与 accept() 何时返回", "true", "sim live kernel", ""
    ),
    "SOCK-09": Entry(
        "sockets", "Connected without accept()", "没有 accept() 也能建立连接", "true", "sim live kernel", ""
    ),
    "SOCK-10": Entry("simultaneous", "A socket connects to itself", "套接字自连接", "true", "sim", ""),
    "SOCK-11": Entry(
        "simultaneous", "Two clients connect to each other at once", "两个客户端同时互连", "true", "sim live kernel", ""
    ),
    "SOCK-12": Entry("sockets", "Connecting where nobody listens", "连接无人监听的端口", "true", "sim live kernel", ""),
    "SOCK-13": Entry(
        "limits", "Several servers on one port", "多个服务端绑定同一端口", "simplification", "sim live kernel", ""
    ),
    "SOCK-14": Entry(
        "limits",
        "Address already in use after a restart",
        "重启后 Address already in use",
        "true",
        "sim live kernel",
        "",
    ),
    "SOCK-15": Entry(
        "limits", "One client port for two servers", "一个客户端端口连两个服务端", "true", "sim live kernel", ""
    ),
    "SOCK-16": Entry("sockets", "End of file waits behind the data", "EOF 排在数据之后", "true", "sim kernel", ""),
    "EST-01": Entry("handshake", "Three packets open a connection", "三次握手建立连接", "true", "sim live kernel", ""),
    "EST-02": Entry(
        "establish", "Must one side be passive?", "必须有一方被动打开吗？", "sources disagree", "sim live kernel", ""
    ),
    "EST-03": Entry(
        "establish",
        "When the server makes its control block",
        "服务端何时创建控制块",
        "simplification",
        "sim kernel",
        "",
    ),
    "EST-04": Entry(
        "establish", "Does a SYN carry seq=1?", "SYN 的序号是 1 吗？", "sources disagree", "sim live kernel", ""
    ),
    "EST-05": Entry(
        "handshake", "A SYN uses up one sequence number", "SYN 占用一个序号", "true", "sim live kernel", ""
    ),
    "EST-06": Entry("establish_data", "Data in the SYN", "SYN 携带数据", "wrong", "sim live kernel", "plain cookie"),
    "EST-07": Entry("establish", "SYN-ACK: ack=x+1, seq=y", "SYN-ACK 的内容：ack=x+1，seq=y", "true", "sim kernel", ""),
    "EST-08": Entry(
        "establish_data", "Data right behind the SYN-ACK", "SYN-ACK 之后立刻发数据", "simplification", "sim kernel", ""
    ),
    "EST-09": Entry(
        "establish", "The third segment uses up no number", "第三个报文不消耗序号", "true", "sim live kernel", ""
    ),
    "EST-10": Entry("establish_data", "Data in the third segment", "第三个报文携带数据", "true", "sim kernel", ""),
    "EST-11": Entry(
        "establish_data",
        "Why the third segment is usually empty",
        "第三个报文为何通常为空",
        "simplification",
        "sim live kernel",
        "",
    ),
    "EST-12": Entry(
        "establish", "The two ends are ready at different times", "两端就绪时刻不同", "true", "sim live kernel", ""
    ),
    "EST-13": Entry(
        "establish_loss",
        "Who knows what after each step",
        "每一步之后谁知道什么",
        "simplification",
        "sim live kernel",
        "",
    ),
    "EST-14": Entry("two_way", "What the third segment is for", "第三个报文的首要目的", "true", "sim live kernel", ""),
    "EST-15": Entry("two_way", "Two steps leave one number unconfirmed", "两次握手有一个序号未确认", "true", "sim", ""),
    "EST-16": Entry("two_way", "Two steps: one connection per SYN", "两次握手：每个 SYN 一个连接", "true", "sim", ""),
    "EST-17": Entry("two_way", "Four steps, one too many", "四次握手：多了一次", "true", "sim kernel", "four three"),
    "EST-18": Entry("two_way", "Two steps: data into a dead connection", "两次握手：向死连接发数据", "true", "sim", ""),
    "EST-19": Entry("two_way", "Two steps with a memory", "带记忆的两次握手", "true", "sim", ""),
    "EST-20": Entry(
        "two_way", "A SYN-ACK that nobody asked for", "不请自来的 SYN-ACK", "sources disagree", "sim kernel", ""
    ),
    "EST-21": Entry(
        "old_syn", "An old SYN arrives before the new one", "旧 SYN 先于新 SYN 到达", "true", "sim live kernel", ""
    ),
    "EST-22": Entry(
        "old_syn",
        "A second, different SYN while the first is half open",
        "半连接期间收到另一个不同的 SYN",
        "simplification",
        "sim kernel",
        "inside outside",
    ),
    "EST-23": Entry(
        "establish", "A SYN sent again has the same number", "重传的 SYN 序号相同", "true", "sim live kernel", ""
    ),
    "EST-24": Entry(
        "establish_loss", "The first SYN is repeated after 1 s", "首个 SYN 1 秒后重传", "true", "sim kernel live", ""
    ),
    "EST-25": Entry(
        "establish_loss", "The first timeout can be changed after all", "初始超时并非写死", "simplification", "sim", ""
    ),
    "EST-26": Entry(
        "establish_loss", "tcp_syn_retries: 5 or 6?", "tcp_syn_retries：5 还是 6？", "sources disagree", "sim", ""
    ),
    "EST-27": Entry(
        "handshake_loss",
        "How long connect() waits for a silent server",
        "服务器无应答时 connect() 等多久",
        "sources disagree",
        "sim live kernel",
        "default classic",
    ),
    "EST-28": Entry(
        "handshake_loss",
        "tcp_syn_retries=3: SYN at 0, 1, 3, 7 s",
        "tcp_syn_retries=3：SYN 发送于 0、1、3、7 秒",
        "true",
        "sim live kernel",
        "classic linear",
    ),
    "EST-29": Entry("establish_loss", "Failing fast inside a network", "内网中快速失败", "true", "sim live kernel", ""),
    "EST-30": Entry(
        "handshake_loss",
        "SYN-ACK lost: both sides send again",
        "SYN-ACK 丢失：双方都重传",
        "true",
        "sim live kernel",
        "",
    ),
    "EST-31": Entry(
        "handshake_loss",
        "SYN-ACK unanswered: sent again after 1, 2, 4, 8, 16 s",
        "SYN-ACK 无应答：间隔 1、2、4、8、16 秒重传",
        "true",
        "sim kernel",
        "",
    ),
    "EST-32": Entry(
        "handshake_loss",
        "Third ACK lost: the server sends its SYN-ACK again",
        "第三个 ACK 丢失：服务端重发 SYN-ACK",
        "true",
        "sim live kernel",
        "first every",
    ),
    "EST-33": Entry("establish_loss", "An ACK is never sent again", "纯 ACK 从不重传", "true", "sim live kernel", ""),
    "EST-34": Entry(
        "establish_loss",
        "What a server does when the handshake fails",
        "握手失败时服务端做什么",
        "sources disagree",
        "sim kernel",
        "",
    ),
    "EST-35": Entry(
        "establish_loss",
        "The server gave up; the client does not know",
        "服务端已放弃，客户端并不知道",
        "wrong",
        "sim live kernel",
        "",
    ),
    "EST-36": Entry(
        "handshake_loss",
        "Third ACK lost, then data: the data completes the handshake",
        "第三个 ACK 丢失后发数据：数据完成握手",
        "sources disagree",
        "sim live kernel",
        "",
    ),
    "EST-37": Entry("two_way", "A SYN in ESTABLISHED", "ESTABLISHED 中收到 SYN", "true", "sim kernel", ""),
    "EST-38": Entry("establish", "How soon the SYN-ACK comes", "SYN-ACK 多快到来", "true", "sim live kernel", ""),
    "ISN-01": Entry(
        "isn", "Every connection begins at another number", "每个连接的初始序号都不同", "true", "sim live kernel", ""
    ),
    "ISN-02": Entry("isn", "How fast the ISN clock ticks", "ISN 时钟多快", "sources disagree", "sim live kernel", ""),
    "ISN-03": Entry("isn", "How long the ISN clock takes for a turn", "ISN 时钟一圈多久", "wrong", "sim", ""),
    "ISN-04": Entry(
        "isn",
        "ISN = clock + hash(four-tuple, secret)",
        "ISN = 时钟 + 散列（四元组，密钥）",
        "simplification",
        "sim",
        "",
    ),
    "ISN-05": Entry("isn", "Equal ISNs let old segments in", "ISN 相同会让旧报文混入", "true", "sim", "fixed hashed"),
    "ISN-06": Entry(
        "isn", "A predictable ISN can be attacked blindly", "可预测的 ISN 可被盲攻击", "true", "sim", "clock hashed"
    ),
    "ISN-07": Entry("isn", "Can an ISN come again?", "ISN 会重复吗？", "simplification", "sim", ""),
    "ISN-08": Entry("isn", "Different ISNs are not enough", "ISN 不同仍不够", "true", "sim", "bare paws"),
    "MSS-01": Entry("segmentation", "MSS = MTU - 40", "MSS 等于 MTU - 40", "true", "sim", ""),
    "MSS-02": Entry(
        "segmentation",
        "MSS is announced, not negotiated",
        "MSS 是通告，不是协商",
        "simplification",
        "sim kernel",
        "small none",
    ),
    "MSS-03": Entry(
        "segmentation", "One lost fragment costs the whole segment", "丢一个分片，整段重传", "true", "sim", ""
    ),
    "MSS-04": Entry(
        "segmentation", "One segment lost, one segment resent", "丢一段，只重传一段", "true", "sim live kernel", ""
    ),
    "MSS-05": Entry(
        "segmentation",
        "Segments are not put together again",
        "报文段并不会“还原”",
        "simplification",
        "sim live kernel",
        "collapse apart",
    ),
    "MSS-06": Entry(
        "black_hole", "A black hole for large segments", "吞掉大报文段的“黑洞”", "true", "sim", "0 1 narrow 2 wider"
    ),
    "RTX-01": Entry(
        "recovery",
        "A large write: cut, numbered, put in order",
        "大块数据：切分、编号、还原",
        "true",
        "sim live kernel",
        "",
    ),
    "RTX-02": Entry(
        "recovery",
        "The acknowledgment is the sender's next number",
        "确认号就是发送方的下一个序号",
        "true",
        "sim live kernel",
        "",
    ),
    "RTX-03": Entry(
        "retransmission",
        "The retransmission timeout follows the round trip",
        "重传超时随往返时间变化",
        "true",
        "sim live kernel",
        "20ms 100ms 300ms",
    ),
    "RTX-04": Entry(
        "recovery",
        "Three duplicate ACKs: sent again at once",
        "三个重复 ACK：立即重传",
        "true",
        "sim kernel",
        "sack bare",
    ),
    "RTX-05": Entry(
        "recovery",
        "One duplicate ACK for each segment behind a gap",
        "缺口之后每段一个重复 ACK",
        "true",
        "sim kernel",
        "",
    ),
    "RTX-06": Entry("recovery", "What numbers are good for", "序号有什么用", "true", "sim", ""),
    "RTX-07": Entry(
        "recovery",
        "Each timeout twice the last, up to 120 s",
        "超时逐次加倍，最多 120 秒",
        "simplification",
        "sim",
        "default capped",
    ),
    "SYNQ-01": Entry(
        "synqueue",
        "A half-open connection for each SYN",
        "每个 SYN 一个半连接",
        "simplification",
        "sim live kernel",
        "",
    ),
    "SYNQ-02": Entry("synqueue", "From one queue to the other", "从半连接队列到全连接队列", "true", "sim kernel", ""),
    "SYNQ-03": Entry(
        "synqueue",
        "A half-open connection ends with its SYN-ACKs",
        "SYN-ACK 重传用尽，半连接消失",
        "true",
        "sim live kernel",
        "",
    ),
    "SYNQ-04": Entry(
        "synqueue", "Both queues have an end", "两个队列都有上限", "true", "sim live kernel", "syn accept"
    ),
    "SYNQ-05": Entry(
        "synqueue",
        "SYN queue full: new clients get no answer",
        "半连接队列满：新客户端得不到应答",
        "true",
        "sim live kernel",
        "",
    ),
    "SYNQ-06": Entry(
        "flood", "A burst of honest clients fills the queue too", "正常突发也会填满半连接队列", "true", "sim", ""
    ),
    "SYNQ-07": Entry("flood", "SYN flood", "SYN 洪泛攻击", "true", "sim live kernel", "off cookies"),
    "SYNQ-08": Entry(
        "flood", "Who allocates memory, and when", "谁在何时分配资源", "simplification", "sim live kernel", ""
    ),
    "SYNQ-09": Entry(
        "flood", "Each forged SYN is answered six times", "每个伪造 SYN 换来六个应答", "true", "sim live kernel", ""
    ),
    "SYNQ-10": Entry(
        "flood", "How a flood shows in the tables", "怎样看出 SYN 洪泛", "simplification", "sim live kernel", ""
    ),
    "SYNQ-11": Entry(
        "cookies", "A connection in a sequence number", "把连接存进序号：SYN cookie", "true", "sim kernel", ""
    ),
    "SYNQ-12": Entry("cookies", "Connecting during a flood", "洪泛之下仍能建立连接", "true", "sim live kernel", "1 0"),
    "SYNQ-13": Entry(
        "cookies", "tcp_syncookies: 0, 1 and 2", "tcp_syncookies 的三个取值", "true", "sim live kernel", ""
    ),
    "SYNQ-14": Entry("cookies", "Cookies are on by default", "SYN cookie 默认开启", "wrong", "sim live kernel", ""),
    "SYNQ-15": Entry(
        "cookies", "What a cookie costs", "SYN cookie 的代价", "true", "sim live kernel", "cookie ordinary"
    ),
    "SYNQ-16": Entry(
        "flood",
        "What three parameters do for a full SYN queue",
        "三个参数对半连接队列各有什么作用",
        "simplification",
        "sim live kernel",
        "",
    ),
    "SYNQ-17": Entry(
        "synqueue",
        "Which of three numbers limits the SYN queue",
        "三个参数谁决定半连接队列长度",
        "true",
        "sim live kernel",
        "",
    ),
    "SYNQ-18": Entry(
        "synqueue",
        "What tcp_max_syn_backlog is by default",
        "tcp_max_syn_backlog 的默认值",
        "simplification",
        "sim",
        "",
    ),
    "SYNQ-19": Entry(
        "flood",
        "A longer input queue does not help the SYN queue",
        "加长网卡输入队列救不了半连接队列",
        "simplification",
        "sim",
        "",
    ),
    "SYNQ-20": Entry("flood", "Fewer SYN-ACKs, fewer places taken", "减少 SYN-ACK 重传，减少占用", "true", "sim", ""),
    "SYNQ-21": Entry(
        "flood", "Other defences against SYN floods", "抵御 SYN 洪泛的其他办法", "true", "sim live kernel", ""
    ),
    "SYNQ-22": Entry(
        "synqueue", "When cookies begin", "SYN cookie 从何时开始", "sources disagree", "sim live kernel", ""
    ),
    "ACCQ-01": Entry(
        "acceptqueue", "Connected, and not accepted yet", "已建立、尚未 accept 的连接", "true", "sim live kernel", ""
    ),
    "ACCQ-02": Entry("acceptqueue", "What backlog means", "backlog 的含义", "true", "sim live kernel", ""),
    "ACCQ-03": Entry(
        "acceptqueue", "How long the accept queue is", "全连接队列有多长", "simplification", "sim live kernel", ""
    ),
    "ACCQ-04": Entry(
        "acceptqueue",
        "Accept queue full: the third packet is ignored",
        "全连接队列满：第三次握手被忽略",
        "true",
        "sim kernel",
        "",
    ),
    "ACCQ-05": Entry(
        "acceptqueue",
        "tcp_abort_on_overflow: refuse instead",
        "tcp_abort_on_overflow：改为拒绝",
        "true",
        "sim kernel",
        "",
    ),
    "TFO-01": Entry(
        "fastopen", "Which packet carries data early", "快速打开的数据在第几个包里", "wrong", "sim live kernel", ""
    ),
    "TFO-02": Entry(
        "fastopen", "First a cookie, then data in the SYN", "先取 cookie，再在 SYN 中带数据", "true", "sim kernel", ""
    ),
    "TFO-03": Entry("fastopen", "A round trip saved", "省下一个往返", "true", "sim live kernel", ""),
    "CLS-01": Entry(
        "closing", "Four segments close a connection", "四次挥手", "true", "sim live kernel", "client server"
    ),
    "CLS-02": Entry(
        "closing_numbers",
        "A FIN uses up one sequence number",
        "FIN 占用一个序号",
        "true",
        "sim live kernel",
        "data empty",
    ),
    "CLS-03": Entry(
        "closing_numbers",
        "The passive side: ACK, CLOSE-WAIT, end of file",
        "被动方：ACK、CLOSE-WAIT、读到 EOF",
        "true",
        "sim live kernel",
        "",
    ),
    "CLS-04": Entry(
        "closing", "Half-close: data still flows back", "半关闭：数据仍可反向流动", "true", "sim live kernel", ""
    ),
    "CLS-05": Entry(
        "closing_numbers", "Which end a half-close closes", "半关闭关的是哪一端", "wrong", "sim live kernel", ""
    ),
    "CLS-06": Entry(
        "closing_numbers", "Third segment: the other FIN", "第三次挥手：被动方的 FIN", "true", "sim live kernel", ""
    ),
    "CLS-07": Entry(
        "closing_numbers", "Fourth segment, then 2 MSL", "第四次挥手，然后等待 2MSL", "true", "sim live kernel", ""
    ),
    "CLS-08": Entry("closing_numbers", "The passive side is done first", "被动方先结束", "true", "sim live kernel", ""),
    "CLS-09": Entry("simultaneous", "Both sides close at once", "双方同时关闭", "true", "sim live kernel", ""),
    "CLS-10": Entry(
        "closing_numbers",
        "Why closing takes four segments",
        "为什么挥手是四次",
        "true",
        "sim live kernel",
        "pending idle",
    ),
    "CLS-11": Entry("closing_ways", "Half-open and half-closed", "半打开与半关闭", "simplification", "sim kernel", ""),
    "CLS-12": Entry(
        "closing_loss",
        "First FIN lost for ever",
        "第一次挥手一直丢失",
        "simplification",
        "sim live kernel",
        "close shutdown unprobed",
    ),
    "CLS-13": Entry(
        "closing_loss", "ACK of the first FIN lost", "第二次挥手（ACK）丢失", "true", "sim live kernel", "first every"
    ),
    "CLS-14": Entry(
        "closing_limits",
        "tcp_orphan_retries 0 means 8",
        "tcp_orphan_retries 为 0 即 8",
        "simplification",
        "sim live kernel",
        "FIN data",
    ),
    "CLS-15": Entry(
        "closing_limits",
        "FIN-WAIT-2 after close() ends by itself",
        "close() 之后的 FIN-WAIT-2 会自行结束",
        "true",
        "sim kernel",
        "short default 61",
    ),
    "CLS-16": Entry(
        "closing_limits",
        "FIN-WAIT-2 after shutdown() lasts",
        "shutdown() 之后的 FIN-WAIT-2 没有时限",
        "true",
        "sim live kernel",
        "",
    ),
    "CLS-17": Entry("closing_loss", "Second FIN lost for ever", "第三次挥手一直丢失", "true", "sim live kernel", ""),
    "CLS-18": Entry("closing_loss", "Last ACK lost for ever", "第四次挥手一直丢失", "true", "sim live kernel", ""),
    "CLS-19": Entry(
        "closing_ways",
        "Nobody else closes for the program",
        "没有人替程序关闭",
        "true",
        "sim live kernel",
        "close exit",
    ),
    "CLS-20": Entry(
        "closing_ways", "close() gives up one reference", "close() 只减少一个引用", "true", "sim live kernel", ""
    ),
    "CLS-21": Entry(
        "closing_ways",
        "shutdown() acts at once, for all",
        "shutdown() 立即生效，影响所有进程",
        "true",
        "sim live kernel",
        "",
    ),
    "CLS-22": Entry(
        "closing_ways",
        "Data after close() is answered with RST",
        "close() 之后到达的数据得到 RST",
        "true",
        "sim kernel",
        "FIN-WAIT-2 FIN-WAIT-1",
    ),
    "CLS-23": Entry(
        "closing_ways", "Is close() rude?", "close() 粗暴吗", "simplification", "sim live kernel", "quiet talking"
    ),
    "CLS-24": Entry(
        "closing_ways",
        "close() with unread data sends RST",
        "有未读数据时 close() 发 RST",
        "simplification",
        "sim live kernel",
        "",
    ),
    "CLS-25": Entry(
        "closing_ways", "A FIN that overtakes data", "FIN 先于数据到达", "true", "sim kernel", "shutdown close"
    ),
    "CLS-26": Entry(
        "closing_numbers", "The end waits behind the data", "EOF 排在数据之后", "true", "sim live kernel", ""
    ),
    "DACK-01": Entry(
        "delack",
        "Closing in three segments",
        "四次挥手变成三次",
        "true",
        "sim live kernel",
        "at-once 20ms 100ms quick-before quick-after data",
    ),
    "DACK-02": Entry(
        "delack", "When an ACK is delayed", "ACK 何时被推迟", "true", "sim live kernel", "fresh answer silent two"
    ),
    "DACK-03": Entry("delack", "What a pure ACK costs", "纯 ACK 的开销", "true", "sim live kernel", "1 0"),
    "DACK-04": Entry(
        "delack", "A FIN without close()", "不调用 close() 也会发 FIN", "true", "sim live kernel", "exit kill shutdown"
    ),
    "TW-01": Entry(
        "timewait_reasons", "Who gets TIME-WAIT", "谁会进入 TIME-WAIT", "true", "sim live kernel", "client server both"
    ),
    "TW-02": Entry(
        "timewait_reasons", "MSL, TTL and 60 seconds", "MSL、TTL 与 60 秒", "simplification", "sim", "64 32"
    ),
    "TW-03": Entry(
        "time_wait", "TIME-WAIT lasts 60 s", "TIME-WAIT 持续 60 秒", "true", "sim live kernel", "default fin-timeout"
    ),
    "TW-04": Entry("timewait_reasons", "When the 2 MSL begin", "2MSL 从何时算起", "true", "sim", ""),
    "TW-05": Entry(
        "time_wait",
        "A FIN again in TIME-WAIT starts the 60 s anew",
        "TIME-WAIT 中再收到 FIN：重新计 60 秒",
        "true",
        "sim kernel",
        "",
    ),
    "TW-06": Entry(
        "timewait_reasons",
        "Reason one: the last ACK may be lost",
        "原因一：最后的 ACK 可能丢失",
        "true",
        "sim",
        "without with",
    ),
    "TW-07": Entry(
        "timewait_reasons", "Reason two: old duplicates", "原因二：旧连接的迟到数据", "true", "sim", "without with"
    ),
    "TW-08": Entry(
        "timewait_reasons",
        "An old FIN meets a new connection",
        "旧连接的 FIN 遇到新连接",
        "simplification",
        "sim",
        "fixed hashed",
    ),
    "TW-09": Entry("timewait_reasons", "Why 2 MSL and not less", "为什么是 2MSL", "simplification", "sim", "10% 30%"),
    "TW-10": Entry(
        "timewait_syn", "Using the four-tuple again within 2 MSL", "2MSL 之内复用四元组", "wrong", "sim live kernel", ""
    ),
    "TW-11": Entry(
        "timewait_reasons", "What the RFC says TIME-WAIT is for", "RFC 对 TIME-WAIT 的定义", "true", "sim kernel", ""
    ),
    "TW-12": Entry("timewait_syn", "Which SYN ends TIME-WAIT", "哪些 SYN 能结束 TIME-WAIT", "wrong", "sim kernel", ""),
    "TW-13": Entry("timewait_syn", "A SYN that TIME-WAIT refuses", "TIME-WAIT 拒绝的 SYN", "true", "sim kernel", "0 1"),
    "TW-14": Entry(
        "timewait_syn", "Without timestamps only numbers count", "没有时间戳时只比较序号", "true", "sim kernel", ""
    ),
    "TW-15": Entry("timewait_syn", "An RST in TIME-WAIT", "TIME-WAIT 收到 RST", "true", "sim kernel", "0 1 off"),
    "TW-16": Entry(
        "timewait_cost", "TIME-WAIT holds no descriptor", "TIME-WAIT 不占文件描述符", "wrong", "sim live kernel", ""
    ),
    "TW-17": Entry(
        "timewait_cost", "How much memory a TIME-WAIT takes", "一个 TIME-WAIT 占多少内存", "wrong", "sim", ""
    ),
    "TW-18": Entry("timewait_cost", "A client runs out of ports", "客户端端口耗尽", "true", "sim live kernel", ""),
    "TW-19": Entry(
        "timewait_cost",
        "A server does not run out of ports",
        "服务端不会因 TIME-WAIT 耗尽端口",
        "sources disagree",
        "sim live kernel",
        "",
    ),
    "TW-20": Entry("timewait_cost", "How many TIME-WAITs there are", "TIME-WAIT 会有多少", "true", "sim", ""),
    "TW-21": Entry("timewait_cost", "Several minutes?", "真的要几分钟吗", "wrong", "sim", ""),
    "TW-22": Entry("timewait_reasons", "Whom an RST concerns", "RST 影响谁", "wrong", "sim", ""),
    "TW-23": Entry(
        "timewait_reuse",
        "tcp_tw_reuse: the port again after a second",
        "tcp_tw_reuse：一秒后复用端口",
        "simplification",
        "sim live kernel",
        "1 0 2 200ms",
    ),
    "TW-24": Entry(
        "timewait_reuse",
        "tcp_tw_reuse needs timestamps",
        "tcp_tw_reuse 依赖时间戳",
        "true",
        "sim live kernel",
        "none server-off both",
    ),
    "TW-25": Entry(
        "timewait_reuse",
        "What timestamps protect from, and what not",
        "时间戳能防什么、不能防什么",
        "simplification",
        "sim live kernel",
        "data rst",
    ),
    "TW-26": Entry(
        "timewait_advice",
        "Too many TIME-WAITs",
        "超过 tcp_max_tw_buckets",
        "sources disagree",
        "sim live kernel",
        "limit default",
    ),
    "TW-27": Entry(
        "timewait_advice",
        "Raising tcp_max_tw_buckets",
        "调高 tcp_max_tw_buckets",
        "simplification",
        "sim live kernel",
        "",
    ),
    "TW-28": Entry(
        "timewait_reuse",
        "tcp_tw_recycle behind a NAT",
        "NAT 之后的 tcp_tw_recycle",
        "true-on-older-Linux",
        "sim",
        "1 0",
    ),
    "TW-29": Entry(
        "timewait_advice",
        "SO_LINGER {1, 0}: no TIME-WAIT, but an RST",
        "SO_LINGER {1, 0}：没有 TIME-WAIT，只有 RST",
        "true",
        "sim live kernel",
        "",
    ),
    "TW-30": Entry("timewait_advice", "Let the clients close first", "让客户端先关闭", "true", "sim live kernel", ""),
    "TW-31": Entry(
        "timewait_advice",
        "One long connection or many short ones",
        "一个长连接还是许多短连接",
        "true",
        "sim live kernel",
        "",
    ),
    "TW-32": Entry("timewait_reasons", "Why not CLOSED at once", "为何不直接进入 CLOSED", "true", "sim kernel", ""),
    "TW-33": Entry(
        "timewait_reuse", "What tcp_tw_reuse is by default", "tcp_tw_reuse 的默认值", "true-on-older-Linux", "sim", ""
    ),
    "TW-34": Entry(
        "timewait_advice", "Long connections and many of them", "长连接与高并发", "simplification", "sim", ""
    ),
    "CW-01": Entry(
        "closewait",
        "CLOSE-WAIT is the state of who closes second",
        "CLOSE-WAIT 属于被动关闭的一方",
        "true",
        "sim live kernel",
        "client server",
    ),
    "CW-02": Entry(
        "closewait",
        "Without close(): for ever, and ever more",
        "不 close()：永远停留，越积越多",
        "true",
        "sim live kernel",
        "kill data keepalive",
    ),
    "CW-03": Entry(
        "closewait_server", "The six steps of an epoll server", "epoll 服务端的六个步骤", "true", "sim live kernel", ""
    ),
    "CW-04": Entry(
        "closewait_server",
        "Mistake 1: the listener is not registered",
        "错误一：监听套接字没有注册",
        "true",
        "sim live kernel",
        "",
    ),
    "CW-05": Entry(
        "closewait_server",
        "Mistake 2: accept() is not called",
        "错误二：没有调用 accept()",
        "true",
        "sim live kernel",
        "",
    ),
    "CW-06": Entry(
        "closewait_server",
        "Mistake 3: the connection is not registered",
        "错误三：accept 得到的连接没有注册",
        "true",
        "sim live kernel",
        "",
    ),
    "CW-07": Entry(
        "closewait_server",
        "Mistake 4: close() is not called",
        "错误四：没有调用 close()",
        "true",
        "sim live kernel",
        "close edge deadlock",
    ),
    "CW-08": Entry(
        "closewait",
        "A busy thread: close() comes late",
        "线程繁忙：close() 来得晚",
        "true",
        "sim live kernel",
        "threads one",
    ),
    "CW-09": Entry(
        "closewait",
        "TIME-WAIT is harmless, CLOSE-WAIT an alarm",
        "TIME-WAIT 无害，CLOSE-WAIT 报警",
        "true",
        "sim live kernel",
        "healthy broken",
    ),
    "KA-01": Entry(
        "keepalive_when",
        "Each sign of life puts keepalive off",
        "任何收发都会推迟 keepalive",
        "true",
        "sim live kernel",
        "received sent",
    ),
    "KA-02": Entry(
        "keepalive",
        "Power loss with keepalive: 2 h 11 min 15 s",
        "断电加 keepalive：2 小时 11 分 15 秒",
        "true",
        "sim live kernel",
        "",
    ),
    "KA-03": Entry(
        "keepalive_probes",
        "Nine probes or ten?",
        "九次还是十次探测？",
        "sources disagree",
        "sim live kernel",
        "linux stevens bsd",
    ),
    "KA-04": Entry(
        "keepalive_when",
        "Nothing without SO_KEEPALIVE",
        "不设 SO_KEEPALIVE 就没有探测",
        "true",
        "sim live kernel",
        "unset numbers listener timeout",
    ),
    "KA-05": Entry(
        "keepalive",
        "Keepalive, peer alive: the timer starts anew",
        "keepalive，对端存活：重新计时",
        "true",
        "sim live kernel",
        "",
    ),
    "KA-06": Entry(
        "keepalive", "Keepalive, peer rebooted: RST", "keepalive，对端已重启：RST", "true", "sim live kernel", ""
    ),
    "KA-07": Entry(
        "keepalive_probes",
        "Keepalive, peer gone: probes, RST, ETIMEDOUT",
        "keepalive，对端消失：探测、RST、ETIMEDOUT",
        "true",
        "sim kernel",
        "silent unreachable",
    ),
    "KA-08": Entry(
        "keepalive_probes",
        "What is in a probe: nothing",
        "探测里有什么：没有数据",
        "simplification",
        "sim live kernel",
        "idle unacked",
    ),
    "KA-09": Entry(
        "keepalive_probes",
        "After the last probe: an error, and a descriptor to close",
        "最后一次探测之后：一个错误和待关闭的描述符",
        "true",
        "sim live kernel",
        "",
    ),
    "KA-10": Entry(
        "keepalive_when",
        "A heartbeat of one's own finds what keepalive cannot",
        "应用层心跳能发现 keepalive 发现不了的问题",
        "true",
        "sim live kernel",
        "hung power",
    ),
    "FAIL-01": Entry(
        "failure",
        "A host loses power: the other side never knows",
        "主机断电：对端永远不知道",
        "true",
        "sim live kernel",
        "",
    ),
    "FAIL-02": Entry(
        "failure",
        "A process is killed: its kernel says goodbye",
        "进程被杀：内核替它告别",
        "true",
        "sim live kernel",
        "clean unread",
    ),
    "FAIL-03": Entry(
        "failure_ways",
        "Does every exit send a FIN?",
        "进程退出都会发 FIN 吗？",
        "simplification",
        "sim live kernel",
        "exit kill unread linger shared",
    ),
    "FAIL-04": Entry(
        "failure_ways", "A process dies, a host dies", "进程崩溃与主机断电", "true", "sim live kernel", ""
    ),
    "FAIL-05": Entry(
        "failure_ways",
        "After a reboot: RST, whoever has the port",
        "重启之后：无论端口有无进程都回 RST",
        "true",
        "sim live kernel",
        "nobody listening",
    ),
    "FAIL-06": Entry(
        "failure_flight",
        "A crash while data is in flight",
        "数据传输途中对端崩溃",
        "true",
        "sim live kernel",
        "silence reboot",
    ),
    "FAIL-07": Entry(
        "failure_flight", "The cable is pulled", "拔掉网线", "true", "sim live kernel", "replugged late idle"
    ),
    "HTTP-01": Entry(
        "web_keepalive",
        "HTTP/1.0 closes unless asked",
        "HTTP/1.0 默认关闭连接",
        "true",
        "sim live kernel",
        "plain asked",
    ),
    "HTTP-02": Entry("web_keepalive", "HTTP/1.1 stays", "HTTP/1.1 默认保持连接", "true", "sim live kernel", ""),
    "HTTP-03": Entry(
        "web_keepalive",
        "Connection: close from either side ends it",
        "任一方写 close 即结束",
        "true",
        "sim live kernel",
        "client server both neither",
    ),
    "HTTP-04": Entry(
        "web_keepalive",
        "What a short connection costs in packets",
        "短连接的报文开销",
        "true",
        "sim live kernel",
        "short kept",
    ),
    "HTTP-05": Entry(
        "web_keepalive",
        "Who closes: the RFC leans to the server",
        "由谁关闭：RFC 倾向服务端",
        "simplification",
        "sim live kernel",
        "told client server",
    ),
    "HTTP-06": Entry(
        "web_keepalive",
        "Whoever disables it, the server closes",
        "无论谁禁用，都由服务端关闭",
        "true",
        "sim live kernel",
        "client old server",
    ),
    "HTTP-07": Entry(
        "web_keepalive", "The answer and the FIN go together", "应答与 FIN 相随", "true", "sim live kernel", ""
    ),
    "HTTP-08": Entry("web_keepalive", "One call or three", "一次调用还是三次", "simplification", "sim", "closes waits"),
    "HTTP-09": Entry(
        "web_limits",
        "The idle timeout is the server's timer",
        "空闲超时是服务端的定时器",
        "true",
        "sim live kernel",
        "",
    ),
    "HTTP-10": Entry(
        "web_limits",
        "keepalive_requests: a counter closes",
        "keepalive_requests：计数到限关闭",
        "true-on-older-Linux",
        "sim live kernel",
        "",
    ),
    "HTTP-11": Entry(
        "web_limits", "Requests a second, divided by the limit, times sixty", "QPS ÷ 上限 × 60", "true", "sim", "1 3"
    ),
    "HTTP-12": Entry(
        "web_limits",
        "Diagnosis: who sent the first FIN, after how long",
        "诊断：谁先发 FIN、空闲多久",
        "true",
        "sim",
        "close timeout network client",
    ),
    "HTTP-13": Entry(
        "web_limits", "Many requests on one connection", "一条连接承载多个请求", "true", "sim live kernel", "kept short"
    ),
    "HTTP-14": Entry(
        "web_limits", "Lost data looks like an idle client", "数据丢失看似客户端空闲", "true", "sim live kernel", ""
    ),
    "OPS-01": Entry(
        "operations", "netstat and ss: two spellings of the states", "netstat 与 ss：状态的两种写法", "true", "sim", ""
    ),
    "OPS-02": Entry(
        "operations",
        "Half-open connections in netstat",
        "用 netstat 查看半连接",
        "simplification",
        "sim",
        "queue flood",
    ),
    "OPS-03": Entry("operations", "The limit of descriptors that counts", "真正起作用的描述符上限", "true", "sim", ""),
    "OPS-04": Entry(
        "operations",
        "Parameters are one network namespace's",
        "参数属于网络命名空间",
        "true",
        "sim",
        "namespace nonlocal echo unreachable all-unreachable frto paced reordering holes given-up remembered idle urgent ecn-fallback accurate-ecn ecn-beacon fragments",
    ),
    "OPS-05": Entry(
        "operations",
        "A recommended sysctl.conf, line by line",
        "一份推荐的 sysctl.conf 逐行检验",
        "simplification",
        "sim",
        "today 5.15 keepalive",
    ),
    "OPS-06": Entry(
        "operations",
        "tcp_fin_timeout is FIN-WAIT-2's, not TIME-WAIT's",
        "tcp_fin_timeout 管 FIN-WAIT-2 而非 TIME-WAIT",
        "true",
        "sim",
        "fin-wait-2 time-wait",
    ),
    "OPS-07": Entry(
        "operations",
        "tcp_keepalive_time is a silence, not a frequency",
        "tcp_keepalive_time 是静默时间而非频率",
        "simplification",
        "sim",
        "answered silent",
    ),
    "OPS-08": Entry(
        "operations",
        "The articles' defaults and today's",
        "文章中的默认值与今天的默认值",
        "sources disagree",
        "sim live kernel",
        "",
    ),
    "OPS-09": Entry(
        "operations",
        "tcp_syn_retries ends at 127",
        "tcp_syn_retries 最大 127",
        "wrong",
        "sim live kernel",
        "127 128 255",
    ),
}
