"""What a kernel tells about its TCP in /proc/net: sockets with their timers, and counters under nstat's names."""

import socket
from dataclasses import dataclass
from typing import Final

from timewait.base.instant import MSEC
from timewait.tcp.states import State

_TICK: Final = 10 * MSEC
"""/proc/net/tcp counts in clock_t, a hundredth of a second on every architecture (USER_HZ)."""

_TIMERS: Final = ("", "retransmit", "keepalive", "time_wait", "persist")
"""net/ipv4/tcp_ipv4.c get_tcp4_sock: 2 is any other socket timer too, such as FIN-WAIT-2's."""


@dataclass(frozen=True, slots=True)
class KernelSocket:
    """One line of /proc/net/tcp or tcp6."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: State
    send_queue: int
    """Octets not acknowledged yet; for a listener always 0."""
    receive_queue: int
    """Octets not read yet; for a listener the connections that wait for accept()."""
    timer: str
    """'retransmit', 'keepalive', 'time_wait', 'persist', or '' when none runs."""
    expires: int
    """Nanoseconds until it does, in steps of 10 ms."""
    retransmits: int
    """Timeouts in a row; of a half-open connection the SYN-ACKs sent again."""
    probes: int
    """Unanswered keepalive or window probes."""
    inode: int


def parse_sockets(text: str) -> list[KernelSocket]:
    """The lines of /proc/net/tcp or tcp6. Half-open connections and TIME-WAIT are among them."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10:
            continue
        tx, _, rx = words[4].partition(":")
        timer, _, when = words[5].partition(":")
        number = int(words[3], 16)
        # TCP_NEW_SYN_RECV (12) is how a half-open connection is kept inside; it is shown as 3.
        state = State.SYN_RCVD if number == 12 else State(number)
        code = int(timer, 16)
        found.append(
            KernelSocket(
                local=_endpoint(words[1]),
                remote=_endpoint(words[2]),
                state=state,
                send_queue=int(tx, 16),
                receive_queue=int(rx, 16),
                timer=_TIMERS[code] if code < len(_TIMERS) else str(code),
                expires=int(when, 16) * _TICK if code else 0,
                retransmits=int(words[6], 16),
                probes=int(words[8]),
                inode=int(words[9]),
            )
        )
    return found


def _endpoint(word: str) -> tuple[str, int]:
    """'0100007F:0050' -> ('127.0.0.1', 80): addresses are 32-bit words in the machine's byte order."""
    address, _, port = word.partition(":")
    packed = b"".join(int(address[i : i + 8], 16).to_bytes(4, _ORDER) for i in range(0, len(address), 8))
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed), int(port, 16)


_ORDER: Final = "little" if int.from_bytes(b"\1\0", "little") == memoryview(b"\1\0").cast("H")[0] else "big"


def parse_counters(snmp: str = "", netstat: str = "", snmp6: str = "") -> dict[str, int]:
    """Counters by nstat's names ('TcpRetransSegs', 'TcpExtListenDrops') from the three files' texts."""
    counters: dict[str, int] = {}
    for text in (snmp, netstat):
        lines = text.splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            prefix = names.partition(":")[0]
            for name, value in zip(names.split()[1:], values.split()[1:], strict=True):
                counters[prefix + name] = int(value)
    for line in snmp6.splitlines():
        name, value = line.split()
        counters[name] = int(value)
    return counters
