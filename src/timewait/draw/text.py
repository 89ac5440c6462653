"""Text on a grid: rows of characters with colours, plain tables, numbers for people."""

from collections.abc import Sequence
from typing import Final

ANSI: Final = {
    "dim": "\x1b[2m",
    "bold": "\x1b[1m",
    "red": "\x1b[31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "blue": "\x1b[34m",
    "magenta": "\x1b[35m",
    "cyan": "\x1b[36m",
}
_RESET: Final = "\x1b[0m"


class Line:
    """One row of a drawing: a fixed number of cells, each with a character and a colour name ('' for none)."""

    def __init__(self, width: int) -> None:
        self.chars = [" "] * width
        self.colours = [""] * width

    def put(self, x: int, text: str, colour: str = "") -> None:
        """Write text from column x on; what does not fit is cut off."""
        for offset, char in enumerate(text):
            at = x + offset
            if 0 <= at < len(self.chars):
                self.chars[at] = char
                self.colours[at] = colour

    def put_right(self, end: int, text: str, colour: str = "") -> None:
        """Write text that ends just before column `end`."""
        self.put(end - len(text), text, colour)

    def show(self, *, colour: bool = False) -> str:
        """The row without trailing blanks, with ANSI colours if asked."""
        text = "".join(self.chars).rstrip()
        if not colour:
            return text
        out: list[str] = []
        now = ""
        for char, want in zip(text, self.colours, strict=False):
            if want != now and char != " ":
                out.append(_RESET if now else "")
                out.append(ANSI.get(want, ""))
                now = want
            out.append(char)
        if now:
            out.append(_RESET)
        return "".join(out)


def table(rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), right: Sequence[int] = ()) -> str:
    """Columns as wide as their contents, two blanks apart; `right` numbers the right-aligned columns."""
    everything = ([list(head)] if head else []) + [list(row) for row in rows]
    if not everything:
        return ""
    count = max(len(row) for row in everything)
    widths = [max(len(row[i]) if i < len(row) else 0 for row in everything) for i in range(count)]
    lines: list[str] = []
    for row in everything:
        cells = [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    if head:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def octets(count: int) -> str:
    """'512 B', '1.2 MB' (powers of ten)."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def many(count: int, noun: str) -> str:
    """'1 segment', '2 segments'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(ns: int) -> str:
    """A length of time with at most three significant figures below a minute: '204 ms', '1 h 59 min', '60 s'."""
    if ns >= 3600 * 10**9:
        minutes = round(ns / 60e9)
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    if ns >= 120 * 10**9:
        whole = round(ns / 10**9)
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    for size, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "us")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"


def shorten(text: str, width: int) -> str:
    """Text of at most `width` characters, '...' at its end where something was cut."""
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."
