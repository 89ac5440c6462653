"""Expressions of a script as numbers and octets, and structs as C lays them out."""

import struct
from typing import Final

from timewait.base.errors import UsageError
from timewait.drill.nodes import Apply, Ellipsis_, Expr, List, Number, Or, Struct, Symbol, Text
from timewait.drill.nplab import function_block
from timewait.drill.symbols import symbol
from timewait.wire.address import pack

_SWAPPED: Final = ("htons", "htonl", "ntohs", "ntohl")


def number(expr: Expr) -> int:
    """An expression as an int. UsageError where it is none."""
    if isinstance(expr, Number):
        return expr.value
    if isinstance(expr, Symbol):
        return symbol(expr.name)
    if isinstance(expr, Or):
        total = 0
        for part in expr.parts:
            total |= number(part)
        return total
    if isinstance(expr, Apply):
        if expr.name == "~":
            return ~number(expr.arguments[0])
        if expr.name in _SWAPPED and len(expr.arguments) == 1:
            # Values stay in the host's order: addresses are put together here, not by the script.
            return number(expr.arguments[0])
        raise UsageError(f"{expr.name}() is no number")
    raise UsageError(f"expected a number, not {show(expr)}")


def is_ellipsis(expr: Expr) -> bool:
    """Whether the script leaves it to the interpreter."""
    return isinstance(expr, Ellipsis_)


def is_null(expr: Expr) -> bool:
    """Whether it is the NULL pointer."""
    return isinstance(expr, Symbol) and expr.name == "NULL"


def inner(expr: Expr) -> Expr:
    """The value behind a pointer: what stands in `[...]`, or the expression itself."""
    if isinstance(expr, List):
        if len(expr.items) != 1:
            raise UsageError(f"expected one value in [...], not {len(expr.items)}")
        return expr.items[0]
    return expr


def octets(expr: Expr) -> bytes:
    """A value as setsockopt() passes it on: an int, struct linger, timeval or other known struct, or a string."""
    expr = inner(expr) if isinstance(expr, List) and len(expr.items) == 1 else expr
    if isinstance(expr, Text):
        return expr.value.encode("latin-1")
    if isinstance(expr, List):
        return b"".join(octets(item) for item in expr.items)
    if isinstance(expr, Struct):
        return pack_struct(expr)
    return struct.pack("<I", number(expr) & 0xFFFFFFFF)


LAYOUTS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("onoff", "linger"), "<ii"),
    (("l_onoff", "l_linger"), "<ii"),
    (("tv_sec", "tv_usec"), "<qq"),
    (("scm_sec", "scm_nsec"), "<qq"),
    (("tv_sec", "tv_nsec"), "<qq"),
)
"""Structs that are recognised by the names of their members."""


def pack_struct(literal: Struct) -> bytes:
    """The octets of a struct whose members are known by name. UsageError for another."""
    names = tuple(member.name for member in literal.members)
    if "function_set_name" in names:
        which, count = literal.get("function_set_name"), literal.get("pcbcnt")
        return function_block(which.value if isinstance(which, Text) else "", number(count) if count else 0)
    if "tcpm_addr" in names:
        from timewait.drill.signatures import pack_md5sig

        return pack_md5sig(literal)
    for known, layout in LAYOUTS:
        if set(names) <= set(known) and names:
            given = {member.name: number(member.value) for member in literal.members}
            return struct.pack(layout, *(given.get(name, 0) for name in known))
    if names and not any(names):
        return b"".join(octets(member.value) for member in literal.members)
    raise UsageError(f"a struct with members {', '.join(names)} is not known here")


EE_NAMES: Final = ("ee_errno", "ee_origin", "ee_type", "ee_code", "ee_pad", "ee_info", "ee_data")
"""struct sock_extended_err."""


def extended_error(literal: Struct) -> dict[str, int]:
    """The members of a sock_extended_err that the script gives."""
    return {member.name: number(member.value) for member in literal.members}


def address(expr: Expr) -> tuple[str, int] | None:
    """A sockaddr literal as (address, port); None for `...`."""
    if is_ellipsis(expr):
        return None
    if not isinstance(expr, Struct):
        raise UsageError(f"expected an address struct or ..., not {show(expr)}")
    port = expr.get("sin_port", "sin6_port")
    host = expr.get("sin_addr", "sin6_addr")
    text = ""
    if isinstance(host, Apply):
        last = host.arguments[-1] if host.name == "inet_pton" else host.arguments[0]
        for argument in host.arguments:
            if isinstance(argument, Text):
                last = argument
        if isinstance(last, Text):
            text = last.value
            pack(text)
    elif isinstance(host, Text):
        text = host.value
    return text, number(port) if port is not None else 0


def family(expr: Expr) -> int | None:
    """sa_family of a sockaddr literal; None where it is not given."""
    if not isinstance(expr, Struct):
        return None
    found = expr.get("sa_family", "sin_family", "sin6_family")
    return None if found is None else number(found)


def show(expr: Expr | None) -> str:
    """An expression as a script writes it."""
    if expr is None:
        return "?"
    if isinstance(expr, Number):
        return str(expr.value)
    if isinstance(expr, Symbol):
        return expr.name
    if isinstance(expr, Text):
        return '"' + expr.value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(expr, Or):
        return "|".join(show(part) for part in expr.parts)
    if isinstance(expr, List):
        return "[" + ", ".join(show(item) for item in expr.items) + "]"
    if isinstance(expr, Struct):
        parts = []
        for member in expr.members:
            size = f"({show(member.size)})" if member.size is not None else ""
            parts.append(f"{member.name}{size}={show(member.value)}" if member.name else show(member.value))
        return "{" + ", ".join(parts) + "}"
    if isinstance(expr, Apply):
        return f"{expr.name}({', '.join(show(item) for item in expr.arguments)})"
    return "..."
