"""System calls as a script writes them: arguments made ready for the machine, and answers compared.

A handler takes the call and gives what to ask of the machine and a function that
compares what came back with what the script wrote inside the arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from timewait.base.errors import UsageError
from timewait.drill import structs, values
from timewait.drill.machine import Address, Answer
from timewait.drill.nodes import Call, Expr, List, Struct
from timewait.drill.packets import Difference
from timewait.drill.symbols import SYMBOLS, errno_name, flag_names

if TYPE_CHECKING:
    from timewait.drill.context import Context

MAX_DATA: Final = 64 << 20
"""Octets that one call of a script may write or read."""
MSG_FASTOPEN: Final = 0x20000000

Check = Callable[[Answer], list[Difference]]


@dataclass(slots=True)
class Prepared:
    """A call for the machine."""

    name: str
    arguments: tuple[Any, ...]
    check: Check | None = None
    """Compares what the call wrote into memory; only called when it succeeded."""
    after: Callable[[Answer], None] | None = None
    """Takes note of what the call changed."""
    gives_fd: bool = False
    """The result is a descriptor: any one matches, and is called as the script says from now on."""


Handler = Callable[["Context", Call], Prepared]


def prepare(ctx: "Context", call: Call) -> Prepared:
    """What to ask of the machine. UsageError for a call or arguments that are not known."""
    handler = HANDLERS.get(call.name)
    if handler is None:
        raise UsageError(f"unknown system call {call.name}(); there are {', '.join(sorted(HANDLERS))}")
    return handler(ctx, call)


def compare_result(ctx: "Context", call: Call, prepared: Prepared, answer: Answer) -> list[Difference]:
    """The result and errno against the script's, then what came through pointers."""
    found: list[Difference] = []
    if call.result is not None:
        expected = values.number(call.result)
        got = answer.result
        if prepared.gives_fd and expected >= 0 and got >= 0:
            ctx.descriptors[expected] = got
        elif expected != got or (expected == -1 and call.errno and SYMBOLS.get(call.errno) != answer.errno):
            shown = f"{got} {errno_name(answer.errno)}" if got < 0 else str(got)
            found.append(Difference("result", f"{expected} {call.errno}".strip(), shown))
    if not found and prepared.check is not None and answer.result >= 0:
        found = prepared.check(answer)
    return found


# Arguments


def _args(call: Call, least: int, most: int = 0) -> tuple[Expr, ...]:
    most = most or least
    if not least <= len(call.arguments) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        raise UsageError(f"{call.name}() takes {count} arguments, not {len(call.arguments)}")
    return call.arguments


def _size(expr: Expr) -> int:
    size = values.number(expr)
    if not 0 <= size <= MAX_DATA:
        raise UsageError(f"a length of {size} octets; at most {MAX_DATA} here")
    return size


def _data(expr: Expr, size: int) -> bytes | None:
    """What a call writes: zeros for `...`, a string as it is, None for NULL."""
    if values.is_null(expr):
        return None
    if values.is_ellipsis(expr):
        return bytes(size)
    return values.octets(expr)[:size].ljust(size, b"\0")


def _check_data(expr: Expr) -> Check | None:
    """A string where the buffer stands is compared with what was read."""
    if values.is_ellipsis(expr) or values.is_null(expr):
        return None
    wanted = values.octets(expr)

    def check(answer: Answer) -> list[Difference]:
        got = answer.values.get("data", b"")
        return [] if got == wanted[: len(got)] else [Difference("data", repr(wanted), repr(got))]

    return check


# Sockets


def _socket(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    family = ctx.family if values.is_ellipsis(args[0]) else values.number(args[0])
    kind, proto = values.number(args[1]), values.number(args[2])

    def after(answer: Answer) -> None:
        if answer.result >= 0 and call.result is not None:
            ctx.socket_made(values.number(call.result), kind & 0xF)

    return Prepared("socket", (family, kind, proto), after=after, gives_fd=True)


def _address(ctx: "Context", expr: Expr, default: Address) -> Address | None:
    """`...`: the default; NULL: None."""
    if values.is_null(expr):
        return None
    found = values.address(expr)
    return default if found is None else found


def _bind(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    fd = values.number(args[0])
    address = _address(ctx, args[1], (ctx.bind_address, ctx.options.bind_port))

    def after(answer: Answer) -> None:
        if answer.result == 0 and address is not None:
            ctx.bound(fd, address[1])

    return Prepared("bind", (ctx.fd(fd), address), after=after)


def _listen(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 2)
    fd = values.number(args[0])

    def after(answer: Answer) -> None:
        if answer.result == 0:
            ctx.listens(fd)

    return Prepared("listen", (ctx.fd(fd), values.number(args[1])), after=after)


def _accept(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3, 4)
    flags = values.number(args[3]) if len(args) == 4 else 0

    def after(answer: Answer) -> None:
        if answer.result >= 0 and call.result is not None:
            ctx.accepted(values.number(call.result), values.number(args[0]))

    return Prepared("accept", (ctx.fd(values.number(args[0])), flags), after=after, gives_fd=True)


def _connect(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    fd = values.number(args[0])
    if values.family(args[1]) == 0:
        return Prepared("connect", (ctx.fd(fd), ("", -1)))
    address = _address(ctx, args[1], (ctx.connect_address, ctx.options.connect_port))
    if address is not None:
        ctx.connects(fd, address)
    return Prepared("connect", (ctx.fd(fd), address))


def _close(ctx: "Context", call: Call) -> Prepared:
    fd = values.number(_args(call, 1)[0])
    live = ctx.fd(fd)

    def after(answer: Answer) -> None:
        if answer.result == 0:
            ctx.closed(fd)

    return Prepared("close", (live,), after=after)


def _shutdown(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 2)
    return Prepared("shutdown", (ctx.fd(values.number(args[0])), values.number(args[1])))


def _setsockopt(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 5)
    level, name = values.number(args[1]), values.number(args[2])
    value = None if values.is_null(args[3]) else values.octets(args[3])
    size = values.number(args[4])
    if value is not None and isinstance(args[3], (List, Struct)) and size > len(value):
        value = value.ljust(size, b"\0")
    return Prepared("setsockopt", (ctx.fd(values.number(args[0])), level, name, value, size))


def _getsockopt(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 5)
    level, name = values.number(args[1]), values.number(args[2])
    size = values.number(values.inner(args[4])) if not values.is_ellipsis(args[4]) else 4
    expected = args[3]

    def check(answer: Answer) -> list[Difference]:
        if values.is_ellipsis(expected) or values.is_null(expected):
            return []
        got = answer.values["value"]
        wanted = values.octets(expected)[: len(got)]
        if got[: len(wanted)] == wanted and (isinstance(expected, List) or len(got) >= len(wanted)):
            return []
        if len(wanted) == 4 and len(got) >= 4 and isinstance(expected, List):
            number = int.from_bytes(got[:4], "little", signed=True)
            return [Difference("value", str(int.from_bytes(wanted, "little", signed=True)), str(number))]
        return [Difference("value", values.show(expected), got.hex(" "))]

    return Prepared("getsockopt", (ctx.fd(values.number(args[0])), level, name, size), check)


# Data


def _write(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    return _sending(ctx, args[0], _data(args[1], _size(args[2])), 0, "write")


def _sending(ctx: "Context", fd: Expr, data: bytes | None, flags: int, name: str = "send") -> Prepared:
    number = values.number(fd)
    ctx.sends(number)
    return Prepared(name, (ctx.fd(number), data, flags))


def _writev(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    return _sending(ctx, args[0], structs.iov_data(args[1]), 0, "write")


def _send(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 4)
    return _sending(ctx, args[0], _data(args[1], _size(args[2])), values.number(args[3]))


def _sendto(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 6)
    fd, flags = values.number(args[0]), values.number(args[3])
    data = _data(args[1], _size(args[2]))
    address: Address | None = None
    if not values.is_null(args[4]):
        address = _address(ctx, args[4], (ctx.connect_address, ctx.options.connect_port))
    if (flags & MSG_FASTOPEN or ctx.options.profile == "freebsd") and address is not None:
        ctx.connects(fd, address)
    else:
        ctx.sends(fd)
    return Prepared("send", (ctx.fd(fd), data, flags, address))


def _sendmsg(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    fd, flags = values.number(args[0]), values.number(args[2])
    if values.is_null(args[1]):
        return Prepared("sendmsg", (ctx.fd(fd), None, flags, None, []))
    message = structs.message(args[1])
    address = None
    if message.name is not None:
        address = _address(ctx, message.name, (ctx.connect_address, ctx.options.connect_port))
    if (flags & MSG_FASTOPEN or ctx.options.profile == "freebsd") and address is not None:
        ctx.connects(fd, address)
    else:
        ctx.sends(fd)
    return Prepared("sendmsg", (ctx.fd(fd), message.data(), flags, address, message.controls_out()))


def _read(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    size = None if values.is_null(args[1]) else _size(args[2])
    return Prepared("read", (ctx.fd(values.number(args[0])), size, 0), _check_data(args[1]))


def _readv(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    return Prepared("read", (ctx.fd(values.number(args[0])), structs.iov_size(args[1]), 0))


def _recv(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 4)
    size = None if values.is_null(args[1]) else _size(args[2])
    return Prepared("recv", (ctx.fd(values.number(args[0])), size, values.number(args[3])), _check_data(args[1]))


def _recvfrom(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 6)
    size = None if values.is_null(args[1]) else _size(args[2])
    return Prepared("recv", (ctx.fd(values.number(args[0])), size, values.number(args[3])), _check_data(args[1]))


def _recvmsg(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    fd, flags = values.number(args[0]), values.number(args[2])
    if values.is_null(args[1]):
        return Prepared("recvmsg", (ctx.fd(fd), None, 0, flags))
    message = structs.message(args[1])
    return Prepared(
        "recvmsg",
        (ctx.fd(fd), message.size(), message.control_room(), flags),
        lambda answer: message.check(ctx, answer),
    )


# Descriptors


def _fcntl(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 2, 3)
    argument = values.number(args[2]) if len(args) == 3 else 0
    return Prepared("fcntl", (ctx.fd(values.number(args[0])), values.number(args[1]), argument))


def _ioctl(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 2, 3)
    request = values.number(args[1])
    argument = args[2] if len(args) == 3 else None
    given = 0
    if argument is not None and not values.is_ellipsis(argument):
        given = values.number(values.inner(argument))

    def check(answer: Answer) -> list[Difference]:
        if not isinstance(argument, List) or values.is_ellipsis(values.inner(argument)):
            return []
        got = answer.values.get("value", 0)
        return [] if got == given else [Difference("value", str(given), str(got))]

    return Prepared("ioctl", (ctx.fd(values.number(args[0])), request, given), check)


def _poll(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 3)
    entries = structs.poll_entries(args[0])
    asked = [(ctx.fd(fd), events) for fd, events, _ in entries]

    def check(answer: Answer) -> list[Difference]:
        got = dict(answer.values["events"])
        found = []
        for (live, _), (fd, _, wanted) in zip(asked, entries, strict=True):
            if wanted is not None and got.get(live, 0) != wanted:
                shown = flag_names(got.get(live, 0), "POLL")
                found.append(Difference(f"revents of {fd}", flag_names(wanted, "POLL"), shown))
        return found

    return Prepared("poll", (asked, values.number(args[2])), check)


def _epoll_create(ctx: "Context", call: Call) -> Prepared:
    _args(call, 1)
    return Prepared("epoll_create", (), gives_fd=True)


def _epoll_ctl(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 4)
    fd = values.number(args[2])
    events, data = (0, fd) if values.is_null(args[3]) else structs.epoll_event(args[3], fd)
    return Prepared(
        "epoll_ctl",
        (ctx.fd(values.number(args[0])), values.number(args[1]), ctx.fd(fd), events, data),
    )


def _epoll_wait(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 4, 5)
    wanted = structs.epoll_events(args[1])

    def check(answer: Answer) -> list[Difference]:
        got = [(data, events) for data, events in answer.values["events"]]
        if wanted is None or answer.result == 0:
            return []
        found = []
        for number, (events, data) in enumerate(wanted[: answer.result]):
            got_data, got_events = got[number]
            if events is not None and events != got_events:
                found.append(Difference("events", flag_names(events, "EPOLL"), flag_names(got_events, "EPOLL")))
            if data is not None and data != got_data:
                found.append(Difference("event data", str(data), str(got_data)))
        return found

    timeout = values.number(args[3])
    return Prepared("epoll_wait", (ctx.fd(values.number(args[0])), values.number(args[2]), timeout), check)


def _pipe(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 1, 2)
    ends = args[0]
    if not isinstance(ends, List) or len(ends.items) != 2:
        raise UsageError("pipe() takes [READ, WRITE], the two descriptors")

    def after(answer: Answer) -> None:
        if answer.result == 0 and isinstance(ends, List):
            for expr, live in zip(ends.items, answer.values["ends"], strict=True):
                ctx.descriptors[values.number(expr)] = live

    return Prepared("pipe", (), after=after)


def _splice(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 6)
    source, target = ctx.fd(values.number(args[0])), ctx.fd(values.number(args[2]))
    return Prepared("splice", (source, target, _size(args[4]), values.number(args[5])))


def _sendfile(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 4)
    offset = None if values.is_null(args[2]) else values.number(values.inner(args[2]))
    ctx.sends(values.number(args[0]))
    return Prepared(
        "sendfile", (ctx.fd(values.number(args[0])), ctx.fd(values.number(args[1])), offset, _size(args[3]))
    )


def _open(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 2, 3)
    path = values.octets(args[0]).decode("latin-1")
    return Prepared("open", (path, values.number(args[1])), gives_fd=True)


def _dup(ctx: "Context", call: Call) -> Prepared:
    args = _args(call, 1)
    return Prepared("fcntl", (ctx.fd(values.number(args[0])), 0, 0), gives_fd=True)


def _cap_set(ctx: "Context", call: Call) -> Prepared:
    """Capabilities are everybody's here: the call succeeds and changes nothing."""
    return Prepared("nothing", ())


HANDLERS: Final[dict[str, Handler]] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    "connect": _connect,
    "close": _close,
    "shutdown": _shutdown,
    "setsockopt": _setsockopt,
    "getsockopt": _getsockopt,
    "read": _read,
    "readv": _readv,
    "recv": _recv,
    "recvfrom": _recvfrom,
    "recvmsg": _recvmsg,
    "write": _write,
    "writev": _writev,
    "send": _send,
    "sendto": _sendto,
    "sendmsg": _sendmsg,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "poll": _poll,
    "epoll_create": _epoll_create,
    "epoll_create1": _epoll_create,
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
    "epoll_pwait": _epoll_wait,
    "pipe": _pipe,
    "pipe2": _pipe,
    "splice": _splice,
    "sendfile": _sendfile,
    "open": _open,
    "dup": _dup,
    "cap_set": _cap_set,
}
"""The system calls that a script can make; a dialect may add its own."""
