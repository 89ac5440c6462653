"""A script's text to its nodes: options, times, system calls, commands, code."""

import re
from typing import Final

from timewait.drill.lexer import Lexer, ScriptError
from timewait.drill.nodes import (
    Apply,
    Call,
    Code,
    Command,
    Ellipsis_,
    Event,
    Expr,
    IcmpPacket,
    List,
    Member,
    Number,
    Or,
    Place,
    Script,
    Struct,
    Symbol,
    TcpPacket,
    Text,
    UdpPacket,
    When,
)
from timewait.drill.packet_parser import parse_packet
from timewait.drill.symbols import SYMBOLS, unknown
from timewait.drill.syscalls import HANDLERS

MAX_SIZE: Final = 4 << 20
"""Longest script in octets; the largest known has 30 KiB."""
MAX_DEPTH: Final = 32
"""Struct literals inside one another."""

_OPTION: Final = re.compile(r"--([A-Za-z_][A-Za-z0-9_]*)(?:=(\"[^\"\n]*\"|`[^`\n]*`|[^\s]*))?")
_DEFINE: Final = re.compile(r"-D\s*([A-Za-z_][A-Za-z0-9_]*)=(\"[^\"\n]*\"|`[^`\n]*`|[^\s]*)")
_TIME: Final = re.compile(r"\d+\.(?!\.)\d*|\.\d+|\d+")
_ERRNO: Final = re.compile(r"E[A-Z0-9]+")
_NUMBER: Final = re.compile(r"-?\s*(?:0[xX][0-9a-fA-F]+|\d+)(?![\w.])")


def parse(text: str, path: str = "<script>", defines: dict[str, str] | None = None) -> Script:
    """The script in `text`. Raises ScriptError with line and column."""
    if len(text) > MAX_SIZE:
        raise ScriptError(path, 1, 1, f"a script of {len(text)} octets; {MAX_SIZE} is the most")
    lexer = Lexer(text, path, dict(defines or {}))
    options = _options(lexer, set(defines or {}))
    init: Command | None = None
    cleanup: Command | None = None
    place = _place(lexer)
    command = lexer.command()
    if command is not None:
        init = Command(When(), place, command)
    events: list[Event] = []
    while not lexer.ended():
        place = _place(lexer)
        command = lexer.command()
        if command is not None:
            cleanup = Command(When(), place, command)
            if not lexer.ended():
                raise lexer.error("a command without a time may stand before the first event or behind the last one")
            break
        events.append(_event(lexer))
    if not events:
        raise lexer.error("the script has no event")
    _check_times(events, lexer)
    return Script(path, options, init, events, cleanup, text.split("\n"))


def _place(lexer: Lexer) -> Place:
    lexer.skip()
    return Place(*lexer.place())


def _options(lexer: Lexer, fixed: set[str]) -> list[tuple[str, str, Place]]:
    """The lines in front: `--name=value`; `-D NAME=value` and `--define` take effect at once, unless given outside."""
    found: list[tuple[str, str, Place]] = []
    while True:
        place = _place(lexer)
        define = lexer.match(_DEFINE)
        if define is not None:
            if define.group(1) not in fixed:
                lexer.defines[define.group(1)] = define.group(2)
            continue
        option = lexer.match(_OPTION)
        if option is None:
            return found
        name, value = option.group(1), option.group(2) or ""
        if name == "define":
            key, equals, value = value.partition("=")
            if not equals:
                raise lexer.error("--define takes NAME=value", option.start())
            if key not in fixed:
                lexer.defines[key] = value
            continue
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found.append((name, value, place))


def _check_times(events: list[Event], lexer: Lexer) -> None:
    """The first event is at 0; absolute times do not go backwards."""
    last = 0
    for number, event in enumerate(events):
        when = event.when
        if when.any_time or when.relative:
            if number == 0 and when.relative and when.start:
                raise _at(lexer, event, "the first event must be at time 0")
            continue
        if number == 0 and when.start:
            raise _at(lexer, event, "the first event must be at time 0")
        if when.start < last:
            raise _at(lexer, event, f"time goes backwards: {when.start / 1e9:g} after {last / 1e9:g}")
        last = when.start


def _at(lexer: Lexer, event: Event, text: str) -> ScriptError:
    line, column = event.place.line, event.place.column
    return ScriptError(lexer.path, line, column, text, lexer.line_text(line))


# Events


def _event(lexer: Lexer) -> Event:
    place = _place(lexer)
    begin = lexer.at
    when = _when(lexer)
    command = lexer.command()
    event: Event
    if command is not None:
        event = Command(when, place, command)
    else:
        code = lexer.code()
        if code is not None:
            event = Code(when, place, code)
        elif lexer.peek("<") or lexer.peek(">"):
            event = parse_packet(lexer, when, place)
        else:
            return _call(lexer, when, place)
    outbound = isinstance(event, (TcpPacket, UdpPacket, IcmpPacket)) and not event.inbound
    if when.blocking:
        raise lexer.error("only a system call has an end time ('...')", begin)
    if (when.any_time or when.end is not None) and not outbound:
        raise lexer.error("only an expected packet may come at any time or within a range", begin)
    return event


def _when(lexer: Lexer) -> When:
    if lexer.accept("*"):
        return When(any_time=True)
    relative = lexer.accept("+")
    start = _time(lexer)
    if lexer.accept("..."):
        lexer.accept("+")
        return When(start, relative, _time(lexer), blocking=True)
    if lexer.accept("~"):
        begin = lexer.at
        if lexer.accept("+") != relative:
            raise lexer.error("both ends of a range are relative ('+a~+b') or both absolute", begin)
        end = _time(lexer)
        if end < start:
            raise lexer.error("the range ends before it begins", begin)
        return When(start, relative, end)
    return When(start, relative)


def _time(lexer: Lexer) -> int:
    """Seconds as ns; a time beyond a year is a slip of the pen."""
    found = lexer.match(_TIME)
    if found is None:
        raise lexer.error(
            f"expected an event: a time (0, +.1, 1.5, *) and then a packet, a call, a command or code;"
            f" found {lexer.found()}"
        )
    whole, _, fraction = found.group().partition(".")
    if len(fraction) > 9:
        fraction = fraction[:9]
    value = int(whole or "0") * 1_000_000_000 + int(fraction.ljust(9, "0"))
    if value > 366 * 86_400 * 1_000_000_000:
        raise lexer.error("a time beyond a year", found.start())
    return value


def _call(lexer: Lexer, when: When, place: Place) -> Call:
    begin = lexer.at
    name = lexer.word()
    if not name:
        raise lexer.error(
            f"expected '<' or '>' (a packet), a system call, `command` or %{{ code }}%; found {lexer.found()}"
        )
    if not lexer.peek("("):
        raise lexer.error(f"expected '(' behind the system call's name {name!r}, found {lexer.found()}")
    if name not in HANDLERS:
        raise lexer.error(f"unknown system call {name}(); there are {', '.join(sorted(HANDLERS))}", begin)
    if when.any_time:
        raise lexer.error("only an expected packet may come at any time", begin)
    if when.end is not None and not when.blocking:
        raise lexer.error("a range ('~') belongs to an expected packet; a blocking call has 'start...end'", begin)
    lexer.expect("(")
    arguments = _arguments(lexer, ")")
    lexer.expect("=", f"and the result behind {name}(...)")
    result: Expr | None
    if lexer.accept("?") or lexer.accept("..."):
        result = None
    else:
        result = _expression(lexer, 0)
    errno = ""
    word = lexer.looking_at(_ERRNO)
    if word is not None:
        errno = word.group()
        if errno not in SYMBOLS:
            raise lexer.error(unknown(errno), word.start())
        lexer.at = word.end()
    note = _note(lexer)
    return Call(when, place, name, arguments, result, errno, note)


def _note(lexer: Lexer) -> str:
    """Words in parentheses behind a result: a note that is never compared."""
    if not lexer.peek("("):
        return ""
    begin = lexer.at
    depth = 0
    for at in range(begin, len(lexer.text)):
        character = lexer.text[at]
        depth += (character == "(") - (character == ")")
        if depth == 0:
            lexer.at = at + 1
            return lexer.text[begin + 1 : at]
    raise lexer.error("a note without its closing ')'", begin)


# Expressions


def _arguments(lexer: Lexer, closing: str) -> tuple[Expr, ...]:
    found: list[Expr] = []
    if lexer.accept(closing):
        return ()
    while True:
        found.append(_expression(lexer, 0))
        if lexer.accept(","):
            continue
        lexer.expect(closing, "or ','")
        return tuple(found)


def _expression(lexer: Lexer, depth: int) -> Expr:
    first = _operand(lexer, depth)
    if not lexer.peek("|"):
        return first
    parts = [first]
    while lexer.accept("|"):
        parts.append(_operand(lexer, depth))
    return Or(tuple(parts))


def _operand(lexer: Lexer, depth: int) -> Expr:
    if depth > MAX_DEPTH:
        raise lexer.error(f"more than {MAX_DEPTH} levels of structs")
    if lexer.accept("..."):
        return Ellipsis_()
    number = lexer.match(_NUMBER)
    if number is not None:
        text = re.sub(r"\s", "", number.group())
        value = int(text, 16) if "x" in text.lower() else int(text)
        if lexer.accept("<<"):
            value <<= lexer.integer("a shift") & 63
        return Number(value)
    if lexer.accept("["):
        return List(_arguments(lexer, "]"))
    if lexer.accept("{"):
        return _struct(lexer, depth)
    if lexer.accept("~"):
        inner = _operand(lexer, depth + 1)
        return Apply("~", (inner,))
    string = lexer.string()
    if string is not None:
        return Text(string)
    return _named(lexer)


def _named(lexer: Lexer) -> Expr:
    """A symbol, a -D name, or a function such as htons()."""
    begin = lexer.at
    word = lexer.word()
    if not word:
        raise lexer.error(f"expected a value, found {lexer.found()}", begin)
    replaced = lexer.defines.get(word)
    if replaced is not None:
        try:
            return Number(int(replaced, 0))
        except ValueError:
            word = replaced
    if lexer.peek("("):
        lexer.expect("(")
        return Apply(word, _arguments(lexer, ")"))
    if word not in SYMBOLS:
        raise lexer.error(unknown(word), begin)
    return Symbol(word)


_MEMBER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*(\([^()]*\))?\s*=(?!=)")


def _struct(lexer: Lexer, depth: int) -> Struct:
    members: list[Member] = []
    while not lexer.accept("}"):
        name = ""
        size: Expr | None = None
        found = lexer.looking_at(_MEMBER)
        if found is not None:
            name = lexer.word()
            if lexer.accept("("):
                size = _expression(lexer, depth + 1)
                lexer.expect(")")
            lexer.expect("=")
        members.append(Member(name, size, _expression(lexer, depth + 1)))
        if not lexer.accept(",") and not lexer.peek("}"):
            raise lexer.error(f"expected ',' or '}}' in a struct, found {lexer.found()}")
    return Struct(tuple(members))
