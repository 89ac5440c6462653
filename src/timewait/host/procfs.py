"""What a host's sockets and counters look like to people: /proc/net/tcp, ss, netstat and nstat, from rows."""

from collections.abc import Iterable
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.tcp.counters import Counters
from timewait.tcp.states import LISTEN, State
from timewait.wire.address import show

CLOCK_TICK: Final = SEC // 100
"""USER_HZ: the unit of times in /proc/net/tcp."""
TIMER_NUMBERS: Final[dict[str, int]] = {"": 0, "on": 1, "keepalive": 2, "timewait": 3, "persist": 4}
"""Column `tr` of /proc/net/tcp, by ss's name: 'on' is the retransmission timer."""
_NETSTAT_TIMERS: Final[dict[str, str]] = {
    "": "off",
    "on": "on",
    "keepalive": "keepalive",
    "timewait": "timewait",
    "persist": "probe",
}
_PROC_WIDTH4: Final = 149
_PROC_HEAD4: Final = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_PROC_HEAD6: Final = (
    "  sl  local_address                         remote_address                        st tx_queue rx_queue"
    " tr tm->when retrnsmt   uid  timeout inode"
)


class SocketRow:
    """One line of such a table: a socket, a half-open connection or a TIME-WAIT record."""

    def __init__(
        self,
        state: State,
        local: tuple[bytes, int],
        remote: tuple[bytes, int],
        *,
        recv_q: i64 = 0,
        send_q: i64 = 0,
        timer: str = "",
        remaining: i64 = 0,
        retrans: i64 = 0,
        uid: i64 = 0,
        inode: i64 = 0,
        process: str = "",
        fd: i64 = -1,
        v6: bool = False,
        v6only: bool = False,
        proto: str = "tcp",
        backlog: i64 = 0,
    ) -> None:
        self.state: State = state
        self.local: tuple[bytes, int] = local
        """Packed address and port; an IPv4 address on an IPv6 socket is shown mapped."""
        self.remote: tuple[bytes, int] = remote
        """Wildcard and 0 without a peer."""
        self.recv_q: i64 = recv_q
        """Octets received and unread; for LISTEN the connections that wait for accept()."""
        self.send_q: i64 = send_q
        """Octets not acknowledged, sent or not."""
        self.backlog: i64 = backlog
        """For LISTEN: the accept queue's limit, which ss shows as Send-Q."""
        self.timer: str = timer
        """'' none, 'on' retransmission, 'keepalive', 'timewait', 'persist'."""
        self.remaining: i64 = remaining
        """ns until the timer fires."""
        self.retrans: i64 = retrans
        """Retransmissions or probes so far."""
        self.uid: i64 = uid
        self.inode: i64 = inode
        """0 for what no file stands for: TIME-WAIT, half-open, orphans."""
        self.process: str = process
        """Who holds it; '' if nobody does."""
        self.fd: i64 = fd
        self.v6: bool = v6
        """Of an AF_INET6 socket."""
        self.v6only: bool = v6only
        self.proto: str = proto
        """'tcp' or 'udp'."""


def proc_net(rows: Iterable[SocketRow], *, v6: bool = False) -> str:
    """/proc/net/tcp, or /proc/net/tcp6 with the rows of IPv6 sockets (get_tcp4_sock, get_tcp6_sock)."""
    lines = [_PROC_HEAD6 if v6 else _PROC_HEAD4.ljust(_PROC_WIDTH4)]
    number = 0
    for row in rows:
        if row.v6 == v6:
            line = proc_line(number, row)
            lines.append(line if v6 else line.ljust(_PROC_WIDTH4))
            number += 1
    return "\n".join(lines) + "\n"


def proc_line(number: int, row: SocketRow) -> str:
    """One line of /proc/net/tcp up to the inode; what follows there is a kernel address and internals."""
    local = f"{_hex(row.local[0], row.v6)}:{row.local[1]:04X}"
    remote = f"{_hex(row.remote[0], row.v6)}:{row.remote[1]:04X}"
    send_q = 0 if row.state is LISTEN else row.send_q
    ticks = (row.remaining + CLOCK_TICK - 1) // CLOCK_TICK
    return (
        f"{number:4d}: {local} {remote} {_kernel_state(row.state):02X} {send_q:08X}:{row.recv_q:08X} "
        f"{TIMER_NUMBERS[row.timer]:02X}:{ticks:08X} {row.retrans:08X} {row.uid:5d} {0:8d} {row.inode}"
    )


def ss_table(rows: Iterable[SocketRow], *, timers: bool = False, processes: bool = False) -> str:
    """As `ss -tan` prints it; with `timers` as -o, with `processes` as -p."""
    head = ["State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port"]
    table: list[list[str]] = []
    for row in rows:
        line = [
            row.state.ss_name,
            str(row.recv_q),
            str(row.backlog if row.state is LISTEN else row.send_q),
            _endpoint(row, row.local, False),
            _endpoint(row, row.remote, True),
        ]
        if processes:
            line.append(f'users:(("{row.process}",fd={row.fd}))' if row.process else "")
        if timers:
            line.append(f"timer:({row.timer},{ss_time(row.remaining)},{row.retrans})" if row.timer else "")
        table.append(line)
    if processes:
        head.append("Process")
    if timers:
        head.append("Timer")
    widths = [max(len(line[column]) for line in [head, *table]) for column in range(len(head))]
    lines: list[str] = []
    for line in [head, *table]:
        cells = [
            # Addresses stand against their colon: own and peer's are right-aligned, as ss aligns them.
            cell.rjust(width) if 3 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append(" ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def netstat_table(rows: Iterable[SocketRow], *, timers: bool = False, processes: bool = False) -> str:
    """As `netstat -nat` prints it; with `timers` as -o, with `processes` as -p."""
    columns = f"{'Proto':<5} {'Recv-Q':>6} {'Send-Q':>6} {'Local Address':<23} {'Foreign Address':<23} {'State':<11}"
    if processes:
        columns += f" {'Program name':<19}"
    lines = ["Active Internet connections (servers and established)", columns + (" Timer" if timers else "")]
    for row in rows:
        listening = row.state is LISTEN
        line = (
            f"{row.proto + ('6' if row.v6 else ''):<5} {row.recv_q:>6} {0 if listening else row.send_q:>6} "
            f"{_netstat_endpoint(row, row.local):<23} {_netstat_endpoint(row, row.remote):<23} "
            f"{row.state.netstat_name:<11}"
        )
        if processes:
            line += f" {row.process or '-':<19}"
        if timers:
            line += f" {_NETSTAT_TIMERS[row.timer]} ({row.remaining / SEC:.2f}/{row.retrans}/0)"
        lines.append(line)
    return "\n".join(lines) + "\n"


def nstat_table(counters: Counters, *, zeros: bool = False, since: dict[str, int] | None = None) -> str:
    """As `nstat -a` prints it (with `zeros`, -az); with `since` only what grew since that as_dict(), as plain nstat."""
    values = counters.as_dict(nonzero=not zeros) if since is None else counters.since(since)
    lines = ["#kernel"]
    lines.extend(f"{name:<32}{value:<16d}{0.0:>6.1f}" for name, value in values.items())
    return "\n".join(lines) + "\n"


def count_states(rows: Iterable[SocketRow]) -> dict[State, int]:
    """How many rows are in each state that occurs: `ss -tan | awk '{print $1}' | sort | uniq -c`."""
    found: dict[State, int] = {}
    for row in rows:
        found[row.state] = found.get(row.state, 0) + 1
    return found


def ss_time(ns: i64) -> str:
    """A timer's rest as ss writes it: '210ms', '1.500ms' for 1.5 s, '59sec', '1min30sec', '119min'."""
    total = int(ns) // MSEC
    minutes, rest = divmod(total, 60_000)
    secs, msecs = divmod(rest, 1000)
    text = ""
    if minutes:
        msecs = 0
        text = f"{minutes}min"
        if minutes > 9:
            secs = 0
    if secs:
        if secs > 9:
            msecs = 0
        text += f"{secs}{'.' if msecs else 'sec'}"
    if msecs:
        text += f"{msecs:03d}ms"
    return text or "0ms"


def _kernel_state(state: State) -> int:
    """The kernel lists half-open connections as SYN_RECV (3), the value State has for it."""
    number: int = state.value
    return number


def _hex(addr: bytes, v6: bool) -> str:
    """An address as /proc prints it: 32-bit words in the machine's order, which is little-endian here."""
    if v6 and len(addr) == 4:
        addr = bytes(16) if not any(addr) else bytes(10) + b"\xff\xff" + addr
    words = [addr[i : i + 4] for i in range(0, len(addr), 4)]
    return "".join([word[::-1].hex().upper() for word in words])


def _endpoint(row: SocketRow, end: tuple[bytes, int], peer: bool) -> str:
    """ss: '10.0.0.1:80', '[::1]:80', '*:80' for a dual-stack wildcard, ':*' for port 0."""
    addr, port = end
    port_text = "*" if port == 0 and (peer or row.state is not LISTEN) else str(port)
    if row.v6 and not any(addr):
        return f"[::]:{port_text}" if row.v6only else f"*:{port_text}"
    if len(addr) == 4:
        return f"[::ffff:{show(addr)}]:{port_text}" if row.v6 else f"{show(addr)}:{port_text}"
    return f"[{show(addr)}]:{port_text}"


def _netstat_endpoint(row: SocketRow, end: tuple[bytes, int]) -> str:
    """netstat: no brackets, mapped addresses in plain IPv4, ':::80' for the IPv6 wildcard."""
    addr, port = end
    text = "::" if row.v6 and not any(addr) else show(addr)
    return f"{text}:{port or '*'}"
