"""The host's sockets as rows for ss, netstat and /proc/net/tcp views."""

from timewait.base.ints import i64
from timewait.host.process import Process
from timewait.host.procfs import SocketRow
from timewait.host.tcp_layer import TcpLayer
from timewait.host.tcp_socket import TcpSocket
from timewait.tcp.arrive_listen import Request
from timewait.tcp.info import queues, timer_view
from timewait.tcp.states import LISTEN, SYN_RCVD
from timewait.tcp.tcb import Tcb
from timewait.tcp.timewait import TimeWait


def tcp_rows(layer: TcpLayer, processes: list[Process], now: i64) -> list[SocketRow]:
    """Listeners first, then connections, half-open ones and records in the order of their making."""
    holders = _holders(processes)
    rows: list[SocketRow] = []
    for listeners in layer.listeners.values():
        for listener in listeners:
            process, fd = holders.get(id(listener.owner), ("", -1))
            row = SocketRow(
                LISTEN,
                (listener.addr, int(listener.port)),
                (bytes(len(listener.addr)), 0),
                recv_q=len(listener.accept_queue),
                send_q=0,
                process=process,
                fd=fd,
                v6=len(listener.addr) == 16,
                v6only=listener.v6only,
                backlog=listener.backlog,
            )
            rows.append(row)
    for found in layer.endpoints.values():
        if isinstance(found, Tcb):
            rows.append(_connection(found, holders, now))
        elif isinstance(found, TimeWait):
            local = (found.laddr, int(found.lport))
            remote = (found.raddr, int(found.rport))
            rows.append(SocketRow(found.substate, local, remote, timer="timewait", remaining=max(found.at - now, 0)))
        elif isinstance(found, Request):
            local = (found.laddr, int(found.lport))
            remote = (found.raddr, int(found.rport))
            left = max(found.at - now, 0)
            rows.append(SocketRow(SYN_RCVD, local, remote, timer="on", remaining=left, retrans=int(found.timeouts)))
    return rows


def _connection(t: Tcb, holders: dict[int, tuple[str, int]], now: i64) -> SocketRow:
    recv_q, send_q = queues(t)
    timer, remaining = timer_view(t, now)
    process, fd = holders.get(id(t.owner), ("", -1))
    return SocketRow(
        t.state,
        (t.laddr, int(t.lport)),
        (t.raddr, int(t.rport)),
        recv_q=recv_q,
        send_q=send_q,
        timer="" if timer == "off" else timer,
        remaining=max(remaining, 0),
        retrans=max(t.retransmits, t.probes_out),
        process=process,
        fd=fd,
        v6=len(t.laddr) == 16,
    )


def _holders(processes: list[Process]) -> dict[int, tuple[str, int]]:
    """Which process and descriptor holds which socket."""
    found: dict[int, tuple[str, int]] = {}
    for process in processes:
        for fd, file in process.files.items():
            if isinstance(file, TcpSocket):
                found.setdefault(id(file), (process.name, fd))
    return found
