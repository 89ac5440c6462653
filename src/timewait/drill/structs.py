"""Struct literals of a script: poll and epoll entries, I/O vectors, messages with control data and error queue."""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from timewait.base.errors import UsageError
from timewait.drill import values
from timewait.drill.machine import Answer
from timewait.drill.nodes import Ellipsis_, Expr, List, Member, Struct
from timewait.drill.packets import Difference
from timewait.drill.symbols import SYMBOLS, flag_names

if TYPE_CHECKING:
    from timewait.drill.context import Context

SOL_SOCKET: Final = 1
SCM_TIMESTAMPING: Final = 37
SCM_TIMESTAMP: Final = 29
SCM_TIMESTAMPNS: Final = 35
ERR: Final = struct.Struct("<IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, pad, info, data."""
MSG_CTRUNC: Final = 0x8


def _entries(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, List):
        return expr.items
    return (expr,)


def poll_entries(expr: Expr) -> list[tuple[int, int, int | None]]:
    """[{fd=3, events=POLLIN, revents=POLLIN}, ...] as (fd, events, expected revents)."""
    found = []
    for entry in _entries(expr):
        if not isinstance(entry, Struct):
            raise UsageError(f"expected {{fd=, events=, revents=}}, not {values.show(entry)}")
        members = list(entry.members)
        fd = entry.get("fd") or (members[0].value if members else None)
        events = entry.get("events") or (members[1].value if len(members) > 1 else None)
        revents = entry.get("revents")
        if revents is None and len(members) > 2 and not members[2].name:
            revents = members[2].value
        if fd is None or events is None:
            raise UsageError("a poll entry needs fd and events")
        wanted = None if revents is None or values.is_ellipsis(revents) else values.number(revents)
        found.append((values.number(fd), values.number(events), wanted))
    return found


def epoll_event(expr: Expr, fd: int) -> tuple[int, int]:
    """{events=EPOLLIN, fd=4} as (events, data)."""
    entry = values.inner(expr) if isinstance(expr, List) else expr
    if not isinstance(entry, Struct):
        raise UsageError(f"expected {{events=, fd=}}, not {values.show(entry)}")
    events = entry.get("events")
    data = entry.get("fd", "ptr", "u32", "u64", "data")
    if isinstance(data, Struct):
        data = data.get("fd", "ptr", "u32", "u64")
    number = values.number(events) if events is not None and not values.is_ellipsis(events) else 0
    return number & 0xFFFFFFFF, fd if data is None or values.is_ellipsis(data) else values.number(data)


def epoll_events(expr: Expr) -> list[tuple[int | None, int | None]] | None:
    """What epoll_wait must give, as (events, data); None for a part that is not compared."""
    if values.is_ellipsis(expr) or values.is_null(expr):
        return None
    found: list[tuple[int | None, int | None]] = []
    for entry in _entries(expr):
        if isinstance(entry, Ellipsis_):
            return None
        if not isinstance(entry, Struct):
            raise UsageError(f"expected {{events=, fd=}}, not {values.show(entry)}")
        events = entry.get("events")
        data = entry.get("fd", "ptr", "u32", "u64", "data")
        if isinstance(data, Struct):
            data = data.get("fd", "ptr", "u32", "u64")
        found.append(
            (
                None if events is None or values.is_ellipsis(events) else values.number(events) & 0xFFFFFFFF,
                None if data is None or values.is_ellipsis(data) else values.number(data),
            )
        )
    return found


# I/O vectors


def _iov_parts(expr: Expr) -> list[tuple[Expr, int]]:
    """[{..., 10}, {..., 20}] as (buffer, length)."""
    parts = []
    for entry in _entries(expr):
        if not isinstance(entry, Struct) or len(entry.members) != 2:
            raise UsageError(f"expected {{buffer, length}}, not {values.show(entry)}")
        base, size = entry.members[0].value, entry.members[1].value
        parts.append((base, values.number(size)))
    return parts


def iov_data(expr: Expr) -> bytes | None:
    """What writev() writes; None where a buffer is NULL."""
    found = b""
    for base, size in _iov_parts(expr):
        if values.is_null(base):
            return None
        found += bytes(size) if values.is_ellipsis(base) else values.octets(base)[:size].ljust(size, b"\0")
    return found


def iov_size(expr: Expr) -> int | None:
    """How much readv() may read; None where a buffer is NULL."""
    parts = _iov_parts(expr)
    if any(values.is_null(base) and size for base, size in parts):
        return None
    return sum(size for _, size in parts)


# Messages


@dataclass(slots=True)
class Control:
    """A control message of a script. `data` is None where any will do."""

    level: int
    kind: int
    data: Expr | None


@dataclass(slots=True)
class Message:
    """struct msghdr."""

    name: Expr | None
    iov: Expr | None
    flags: int | None
    controls: list[Control] | None
    """None: the caller gives no room for any."""

    def data(self) -> bytes | None:
        """What sendmsg() sends."""
        return b"" if self.iov is None or values.is_ellipsis(self.iov) else iov_data(self.iov)

    def size(self) -> int | None:
        """How much recvmsg() may receive."""
        return 0 if self.iov is None or values.is_ellipsis(self.iov) else iov_size(self.iov)

    def control_room(self) -> int:
        """Octets for control messages; ample where the script expects any."""
        return 0 if self.controls is None else 512

    def controls_out(self) -> list[tuple[int, int, bytes]]:
        """What sendmsg() passes along."""
        found = []
        for control in self.controls or []:
            found.append((control.level, control.kind, b"" if control.data is None else values.octets(control.data)))
        return found

    def check(self, ctx: "Context", answer: Answer) -> list[Difference]:
        """Flags and control messages of recvmsg() against the script's."""
        found: list[Difference] = []
        flags = answer.values.get("flags", 0)
        if self.flags is not None and self.flags != flags:
            found.append(Difference("msg_flags", flag_names(self.flags, "MSG_"), flag_names(flags, "MSG_")))
        if self.controls is None:
            return found
        got: list[tuple[int, int, bytes]] = answer.values.get("controls", [])
        if len(got) != len(self.controls):
            wanted = ", ".join(_control_name(c.level, c.kind) for c in self.controls) or "none"
            shown = ", ".join(_control_name(level, kind) for level, kind, _ in got) or "none"
            found.append(Difference("control messages", wanted, shown))
            return found
        for control, (level, kind, data) in zip(self.controls, got, strict=True):
            found += _check_control(ctx, control, level, kind, data)
        return found


def message(expr: Expr) -> Message:
    """A struct msghdr literal. UsageError for a member that is not known."""
    if not isinstance(expr, Struct):
        raise UsageError(f"expected {{msg_name=..., msg_iov(1)=[{{..., 10}}], msg_flags=0}}, not {values.show(expr)}")
    found = Message(None, None, None, None)
    for member in expr.members:
        _set_member(found, member)
    return found


def _set_member(message: Message, member: Member) -> None:
    value = member.value
    if member.name == "msg_name":
        message.name = None if values.is_null(value) else value
    elif member.name == "msg_iov":
        message.iov = value
    elif member.name == "msg_flags":
        message.flags = None if values.is_ellipsis(value) else values.number(value)
    elif member.name == "msg_control":
        message.controls = [] if values.is_ellipsis(value) or values.is_null(value) else [
            _control(entry) for entry in _entries(value)
        ]  # fmt: skip
    elif member.name not in ("msg_namelen", "msg_iovlen", "msg_controllen"):
        raise UsageError(f"struct msghdr has no member {member.name!r}")


def _control(expr: Expr) -> Control:
    if not isinstance(expr, Struct):
        raise UsageError(f"expected {{cmsg_level=, cmsg_type=, cmsg_data=}}, not {values.show(expr)}")
    level, kind, data = expr.get("cmsg_level"), expr.get("cmsg_type"), expr.get("cmsg_data")
    if level is None or kind is None:
        raise UsageError("a control message needs cmsg_level and cmsg_type")
    return Control(
        values.number(level), values.number(kind), None if data is None or values.is_ellipsis(data) else data
    )


def _control_name(level: int, kind: int) -> str:
    names = {
        (1, 37): "SCM_TIMESTAMPING",
        (1, 29): "SCM_TIMESTAMP",
        (0, 11): "IP_RECVERR",
        (41, 25): "IPV6_RECVERR",
        (6, 36): "TCP_CM_INQ",
    }
    return names.get((level, kind), f"level {level} type {kind}")


def _check_control(ctx: "Context", control: Control, level: int, kind: int, data: bytes) -> list[Difference]:
    if (control.level, control.kind) != (level, kind):
        return [Difference("control message", _control_name(control.level, control.kind), _control_name(level, kind))]
    wanted = control.data
    if wanted is None:
        return []
    if isinstance(wanted, Struct):
        names = {member.name for member in wanted.members}
        if any(name.startswith("ee_") for name in names):
            return _check_error(wanted, data)
        if names <= {"scm_sec", "scm_nsec", "tv_sec", "tv_nsec", "tv_usec"}:
            return _check_time(ctx, wanted, data)
    octets = values.octets(wanted)
    if data[: len(octets)] == octets:
        return []
    if len(octets) == 4:
        number = int.from_bytes(data[:4], "little", signed=True)
        return [Difference("cmsg_data", str(int.from_bytes(octets, "little", signed=True)), str(number))]
    return [Difference("cmsg_data", octets.hex(" "), data.hex(" "))]


def _check_error(wanted: Struct, data: bytes) -> list[Difference]:
    """Members of sock_extended_err that the script names."""
    if len(data) < ERR.size:
        return [Difference("cmsg_data", "sock_extended_err", data.hex(" "))]
    got = dict(zip(values.EE_NAMES, ERR.unpack(data[: ERR.size]), strict=True))
    found = []
    for name, number in values.extended_error(wanted).items():
        if name in got and got[name] != number:
            found.append(Difference(name, _error_word(name, number), _error_word(name, got[name])))
    return found


def _error_word(name: str, number: int) -> str:
    if name == "ee_origin":
        for symbol, value in SYMBOLS.items():
            if symbol.startswith("SO_EE_ORIGIN_") and value == number:
                return symbol
    return str(number)


def _check_time(ctx: "Context", wanted: Struct, data: bytes) -> list[Difference]:
    """The software timestamp, in seconds since the script began, with the script's tolerance."""
    seconds = wanted.get("scm_sec", "tv_sec")
    fraction = wanted.get("scm_nsec", "tv_nsec")
    expected = values.number(seconds) * 10**9 if seconds is not None else 0
    if fraction is not None:
        expected += values.number(fraction)
    got_seconds, got_fraction = struct.unpack("<qq", data[:16])
    got = ctx.script_wall_time(got_seconds * 10**9 + got_fraction)
    if abs(got - expected) <= ctx.options.tolerance:
        return []
    return [Difference("timestamp", f"{expected / 1e9:.6f}", f"{got / 1e9:.6f}")]
