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
    "HDR-14": Entry("stream", "The same link without TCP", "同一链路，没有 TCP", "true", "sim", ""),
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
        "A question and its answer: 2 packets or 9",
        "一问一答：2 个包还是 9 个",
        "simplification",
        "sim live kernel",
        "",
    ),
    "UDP-13": Entry("udp_use", "Reliability built on UDP", "在 UDP 上实现可靠传输", "true", "sim", ""),
    "UDP-14": Entry(
        "udp_use", "UDP answers one round trip sooner", "UDP 早一个往返得到应答", "true", "sim live kernel", ""
    ),
    "UDP-15": Entry("udp", "TCP and UDP on the same port", "TCP 与 UDP 可用同一端口号", "true", "sim live kernel", ""),
    "SOCK-10": Entry("simultaneous", "A socket connects to itself", "套接字自连接", "true", "sim", ""),
    "SOCK-11": Entry(
        "simultaneous", "Two clients connect to each other at once", "两个客户端同时互连", "true", "sim live kernel", ""
    ),
    "EST-01": Entry("handshake", "Three packets open a connection", "三次握手建立连接", "true", "sim live kernel", ""),
    "EST-05": Entry(
        "handshake", "A SYN uses up one sequence number", "SYN 占用一个序号", "true", "sim live kernel", ""
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
    "EST-36": Entry(
        "handshake_loss",
        "Third ACK lost, then data: the data completes the handshake",
        "第三个 ACK 丢失后发数据：数据完成握手",
        "sources disagree",
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
    "SYNQ-07": Entry("flood", "SYN flood", "SYN 洪泛攻击", "true", "sim", "off cookies"),
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
    "CLS-01": Entry(
        "closing", "Four segments close a connection", "四次挥手", "true", "sim live kernel", "client server"
    ),
    "CLS-04": Entry(
        "closing", "Half-close: data still flows back", "半关闭：数据仍可反向流动", "true", "sim live kernel", ""
    ),
    "CLS-09": Entry("simultaneous", "Both sides close at once", "双方同时关闭", "true", "sim live kernel", ""),
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
    "CLS-17": Entry("closing_loss", "Second FIN lost for ever", "第三次挥手一直丢失", "true", "sim live kernel", ""),
    "CLS-18": Entry("closing_loss", "Last ACK lost for ever", "第四次挥手一直丢失", "true", "sim live kernel", ""),
    "TW-03": Entry(
        "time_wait", "TIME-WAIT lasts 60 s", "TIME-WAIT 持续 60 秒", "true", "sim live kernel", "default fin-timeout"
    ),
    "TW-05": Entry(
        "time_wait",
        "A FIN again in TIME-WAIT starts the 60 s anew",
        "TIME-WAIT 中再收到 FIN：重新计 60 秒",
        "true",
        "sim kernel",
        "",
    ),
    "KA-02": Entry(
        "keepalive",
        "Power loss with keepalive: 2 h 11 min 15 s",
        "断电加 keepalive：2 小时 11 分 15 秒",
        "true",
        "sim live kernel",
        "",
    ),
    "KA-05": Entry(
        "keepalive",
        "Keepalive, peer alive: the timer starts anew",
        "keepalive，对端存活：重新计时",
        "true",
        "sim live kernel",
        "",
    ),
    "KA-06": Entry("keepalive", "Keepalive, peer rebooted: RST", "keepalive，对端已重启：RST", "true", "sim live", ""),
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
}
