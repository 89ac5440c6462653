"""What the nplab dialect adds: #ifdef, FreeBSD's names, and the commands by which its scripts look at the stack."""

import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from timewait.base.errors import UsageError
from timewait.drill.lexer import ScriptError
from timewait.drill.machine import Machine
from timewait.host.host import Host
from timewait.host.procfs import SocketRow
from timewait.host.sockopt import FREEBSD, TCP_FUNCTION_BLK, TCP_KEEPINIT, TCP_NOOPT, TCP_REMOTE_UDP_ENCAPS_PORT
from timewait.tcp.states import State
from timewait.wire.address import show

if TYPE_CHECKING:
    from timewait.drill.commands import Shell

FREEBSD_SETTING: Final = re.compile(r"`[^`]*\bsysctl\b[^`]*\b(?:net\.inet6?\.|kern\.ipc\.)")
_DIRECTIVE: Final = re.compile(
    r"^[ \t]*#[ \t]*(ifdef|ifndef|else|endif|define|undef)\b[ \t]*(\w*)[^\n]*$", re.MULTILINE
)

NAMES: Final[dict[str, int]] = {
    "TCP_NOOPT": TCP_NOOPT,
    "TCP_KEEPINIT": TCP_KEEPINIT,
    "TCP_FUNCTION_BLK": TCP_FUNCTION_BLK,
    "TCP_REMOTE_UDP_ENCAPS_PORT": TCP_REMOTE_UDP_ENCAPS_PORT,
    "IPV6_USE_MIN_MTU": FREEBSD + 42,
}
"""Socket options that only FreeBSD has."""

STATES: Final[dict[str, State]] = {
    "CLOSED": State.CLOSED,
    "LISTEN": State.LISTEN,
    "SYN_SENT": State.SYN_SENT,
    "SYN_RCVD": State.SYN_RCVD,
    "ESTABLISHED": State.ESTABLISHED,
    "CLOSE_WAIT": State.CLOSE_WAIT,
    "FIN_WAIT_1": State.FIN_WAIT_1,
    "CLOSING": State.CLOSING,
    "LAST_ACK": State.LAST_ACK,
    "FIN_WAIT_2": State.FIN_WAIT_2,
    "TIME_WAIT": State.TIME_WAIT,
}
"""FreeBSD's names of the states (tcpstates)."""
_SAME: Final = {"CLOSED": ("CLOSE",), "SYN_RCVD": ("SYN_RECEIVED", "SYN_RECV")}
CONSTANTS: Final[dict[str, int]] = {
    f"TCPI_{alias}": state.value
    for name, state in STATES.items()
    for alias in (name, name.replace("_1", "1").replace("_2", "2"), *_SAME.get(name, ()))
}
"""TCPI_ESTABLISHED and its like, with the numbers that tcpi_state has here."""


def for_freebsd(text: str) -> bool:
    """Whether a script sets what only FreeBSD has."""
    return FREEBSD_SETTING.search(text) is not None


def defined_names(profile: str) -> frozenset[str]:
    """What #ifdef finds defined under a profile: the system's name, or STANDARD for what the RFCs say."""
    if profile == "freebsd":
        return frozenset({"FreeBSD", "__FreeBSD__"})
    return frozenset({"STANDARD", "rfc9293"} if profile == "rfc9293" else {"Linux", "linux", "__linux__"})


def conditional(text: str, path: str, names: frozenset[str]) -> str:
    """The text with the branches of #ifdef that do not count blanked, so that lines keep their numbers."""
    if "#" not in text or _DIRECTIVE.search(text) is None:
        return text
    found: list[str] = []
    known = set(names)
    open_at: list[tuple[bool, bool, int]] = []
    """For each open #ifdef: whether its branch counts, whether #else came, its line."""
    for number, line in enumerate(text.split("\n"), 1):
        match = _DIRECTIVE.match(line)
        if match is None:
            found.append(line if all(counts for counts, _, _ in open_at) else "")
            continue
        word, name = match.groups()
        found.append("")
        if word in ("ifdef", "ifndef"):
            if not name:
                raise ScriptError(path, number, 1, f"#{word} takes a name", line)
            open_at.append(((name in known) == (word == "ifdef"), False, number))
        elif word in ("else", "endif"):
            if not open_at:
                raise ScriptError(path, number, 1, f"#{word} without #ifdef", line)
            counts, other, begun = open_at.pop()
            if word == "else":
                if other:
                    raise ScriptError(path, number, 1, f"a second #else to the #ifdef of line {begun}", line)
                open_at.append((not counts, True, begun))
        elif word == "define":
            known.add(name)
        else:
            known.discard(name)
    if open_at:
        raise ScriptError(path, open_at[-1][2], 1, "#ifdef without #endif", text.split("\n")[open_at[-1][2] - 1])
    return "\n".join(found)


def function_block(name: str, count: int) -> bytes:
    """struct tcp_function_set."""
    return struct.pack("<32sI", name.encode(), count)


# Commands


def _host(machine: Machine, command: str) -> Host:
    host = getattr(machine, "host", None)
    if not isinstance(host, Host):
        raise UsageError(f"{command} looks at our own stack; on the running kernel there is none")
    return host


def _value(args: list[str], flag: str) -> str | None:
    """What stands behind -p, or in -p80."""
    for at, arg in enumerate(args):
        if arg == flag:
            return args[at + 1] if at + 1 < len(args) else ""
        if arg.startswith(flag) and not arg.startswith("--") and len(arg) > 2:
            return arg[2:]
    return None


def _letters(args: list[str]) -> str:
    """The options without a value; what stands behind -P, -p, -j and -f belongs to those."""
    return "".join(re.sub("[Ppjf].*", "", arg[1:]) for arg in args if re.match("-[46a-zA-Z]", arg))


def _wanted_ports(text: str | None) -> list[tuple[int, int]]:
    found = []
    for part in (text or "").split(","):
        low, _, high = part.partition("-")
        if low.isdigit():
            found.append((int(low), int(high or low)))
    return found


def _sockstat(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """sockstat [-46lcsnq] [-P tcp] [-p PORTS]: TCP sockets with their states, half-open and TIME-WAIT included."""
    letters = _letters(args)
    ports = _wanted_ports(_value(args, "-p"))
    lines = [] if "q" in letters else [_line("USER", "COMMAND", "PID", "FD", "PROTO", "LOCAL", "FOREIGN", "STATE")]
    for row in _host(shell.machine, "sockstat").rows():
        v6 = len(row.local[0]) == 16
        if ("4" in letters) != ("6" in letters) and v6 != ("6" in letters):
            continue
        listening = row.state is State.LISTEN
        if ("l" in letters) != ("c" in letters) and listening != ("l" in letters):
            continue
        if ports and not any(low <= port <= high for low, high in ports for port in (row.local[1], row.remote[1])):
            continue
        lines.append(_row(row, v6))
    return 0, "".join(line + "\n" for line in lines)


def _row(row: SocketRow, v6: bool) -> str:
    held = row.process != ""
    names = {state: name for name, state in STATES.items()}
    return _line(
        "root" if held else "?", row.process or "?", "1" if held else "?", str(row.fd) if held else "?",
        "tcp6" if v6 else "tcp4", _end(row.local), _end(row.remote), names[row.state],
    )  # fmt: skip


def _end(end: tuple[bytes, int]) -> str:
    address = show(end[0]) if any(end[0]) else "*"
    return f"{address}:{end[1] or '*'}"


def _line(*words: str) -> str:
    return " ".join(
        f"{word:<{width}}" for word, width in zip(words, (8, 10, 5, 3, 6, 21, 21, 12), strict=True)
    ).rstrip()


def _tcpdrop(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """tcpdrop [-l] -a | -s STATE | LOCAL PORT REMOTE PORT."""
    host = _host(shell.machine, "tcpdrop")
    wanted = _value(args, "-s")
    if wanted is not None and wanted not in STATES:
        raise UsageError(f"unknown state {wanted!r}; there are {', '.join(STATES)}")
    words = [word for word in args if not word.startswith("-") and word != wanted]
    if wanted is None and "-a" not in args and len(words) != 4:
        raise UsageError("tcpdrop -a, tcpdrop -s STATE, or tcpdrop LOCAL PORT REMOTE PORT")
    output = ""
    for row in host.rows():
        if row.state is State.LISTEN:
            continue
        ends = [show(row.local[0]), str(row.local[1]), show(row.remote[0]), str(row.remote[1])]
        if (wanted is not None and row.state is not STATES[wanted]) or (words and words != ends):
            continue
        output += f"{' '.join(ends)}: {'found' if '-l' in args else 'dropped'}\n"
        if "-l" not in args:
            host.tcp.drop(row.local, row.remote, host.clock.now())
    if words and not output:
        return 1, f"tcpdrop: {' '.join(words)}: No such process\n"
    return 0, output


def _kldstat(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """kldstat [-q] [-m MODULE | -n FILE]: there are no modules; without a name it lists the kernel."""
    name = _value(args, "-m") or _value(args, "-n")
    if name is None:
        return 0, "Id Refs Address                Size Name\n 1    1 0xffffffff80200000  1f3e2d0 kernel\n"
    return (0 if name == "kernel" else 1), ""


def _setkey(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    raise UsageError("keys of TCP-MD5 (RFC 2385) are not implemented")


def _kldload(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    raise UsageError("there are no kernel modules here")


TOOLS: Final[dict[str, Callable[["Shell", list[str], str], tuple[int, str]]]] = {
    "sockstat": _sockstat,
    "tcpdrop": _tcpdrop,
    "kldstat": _kldstat,
    "kldload": _kldload,
    "setkey": _setkey,
}
"""Commands of the dialect by name."""
