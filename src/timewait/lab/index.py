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
    "SYNQ-22": Entry(
        "synqueue", "When cookies begin", "SYN cookie 从何时开始", "sources disagree", "sim live kernel", ""
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
