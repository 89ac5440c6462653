"""The text of a script with a place in it: what every part of the parser reads from.

There is no token list. A script's words mean different things in different places
(`.` is an ACK flag, a decimal point and part of `...`), so each place of the grammar
asks for what may stand there.
"""

import bisect
import re
from typing import Final

from timewait.base.errors import UsageError

_BLANK: Final = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_COMMENT_SPACE: Final = " \t\r\n/"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGER: Final = re.compile(r"0[xX][0-9a-fA-F]+|\d+")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_COMMAND: Final = re.compile(r"`([^`]*)`", re.DOTALL)
_CODE: Final = re.compile(r"%\{(.*?)\}%", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"'}


class ScriptError(UsageError):
    """A script that cannot be parsed: file, line and column (from 1) and what was expected there."""

    def __init__(self, path: str, line: int, column: int, text: str, source: str = "") -> None:
        self.path = path
        self.line = line
        self.column = column
        self.text = text
        self.source = source
        """The line of the script."""
        shown = f"{path}:{line}:{column}: {text}"
        if source:
            shown += f"\n    {source}\n    {' ' * (column - 1)}^"
        super().__init__(shown)


class Lexer:
    """A place in a script. `defines` are the -D names: a bare word that is one of them is replaced."""

    def __init__(self, text: str, path: str = "<script>", defines: dict[str, str] | None = None) -> None:
        self.text = text
        self.path = path
        self.defines = defines or {}
        self.at = 0
        self._lines = [0] + [match.end() for match in re.finditer("\n", text)]

    # Places

    def place(self, at: int | None = None) -> tuple[int, int]:
        """(line, column) of an offset, both from 1."""
        at = self.at if at is None else at
        line = bisect.bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def line_text(self, line: int) -> str:
        """A line of the script without its end."""
        begin = self._lines[line - 1]
        end = self.text.find("\n", begin)
        return self.text[begin : end if end >= 0 else len(self.text)].replace("\t", " ")

    def error(self, text: str, at: int | None = None) -> ScriptError:
        """An error at this place or at an earlier offset."""
        line, column = self.place(at)
        return ScriptError(self.path, line, column, text, self.line_text(line))

    # Reading

    def skip(self) -> None:
        """Move behind white space and comments. ScriptError for a comment without an end."""
        text = self.text
        if self.at < len(text) and text[self.at] in _COMMENT_SPACE:
            match = _BLANK.match(text, self.at)
            if match is not None:
                self.at = match.end()
            if text.startswith("/*", self.at):
                raise self.error("a comment that does not end")

    def ended(self) -> bool:
        """Whether only white space and comments are left."""
        self.skip()
        return self.at >= len(self.text)

    def peek(self, literal: str) -> bool:
        """Whether `literal` comes next."""
        self.skip()
        return self.text.startswith(literal, self.at)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What comes next, if it fits; the place moves behind it."""
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def looking_at(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What comes next, if it fits; the place stays."""
        self.skip()
        return pattern.match(self.text, self.at)

    def accept(self, literal: str) -> bool:
        """Move behind `literal` if it comes next."""
        if not self.peek(literal):
            return False
        self.at += len(literal)
        return True

    def expect(self, literal: str, where: str = "") -> None:
        """Move behind `literal`; ScriptError if something else comes next."""
        if not self.accept(literal):
            raise self.error(f"expected {literal!r}{' ' + where if where else ''}, found {self.found()}")

    def found(self) -> str:
        """A few words about what comes next, for errors."""
        self.skip()
        if self.at >= len(self.text):
            return "the end of the script"
        rest = self.text[self.at : self.at + 24].split("\n")[0]
        word = re.match(r"[\w.]+|\S", rest)
        return repr(word.group() if word else rest)

    def word(self) -> str:
        """The bare word that comes next, as written; '' if something else does."""
        found = self.match(NAME)
        return found.group() if found is not None else ""

    def peek_word(self) -> str:
        """The bare word that comes next, without moving."""
        found = self.looking_at(NAME)
        return found.group() if found is not None else ""

    def integer(self, what: str) -> int:
        """A decimal or hexadecimal number, or a -D name that stands for one."""
        found = self.match(_INTEGER)
        if found is not None:
            return int(found.group(), 0) if found.group()[:2] in ("0x", "0X") else int(found.group())
        replaced = self.defines.get(self.peek_word())
        if replaced is not None and _INTEGER.fullmatch(replaced):
            self.word()
            return int(replaced, 0)
        raise self.error(f"expected {what}, a number; found {self.found()}")

    def string(self) -> str | None:
        """A string; strings that follow one another are one. None if something else comes next."""
        parts: list[str] = []
        while True:
            found = self.match(_STRING)
            if found is not None:
                parts.append(unescape(found.group(1)))
                continue
            replaced = self.defines.get(self.peek_word(), "")
            if len(replaced) >= 2 and replaced[0] == replaced[-1] == '"':
                self.word()
                parts.append(unescape(replaced[1:-1]))
                continue
            return "".join(parts) if parts else None

    def command(self) -> str | None:
        """The text between backticks; None if something else comes next."""
        found = self.match(_COMMAND)
        if found is not None:
            return found.group(1)
        replaced = self.defines.get(self.peek_word(), "")
        if len(replaced) >= 2 and replaced[0] == replaced[-1] == "`":
            self.word()
            return replaced[1:-1]
        if self.peek("`"):
            raise self.error("a command without its closing `")
        return None

    def code(self) -> str | None:
        """The Python between %{ and }%; None if something else comes next."""
        found = self.match(_CODE)
        if found is None and self.peek("%{"):
            raise self.error("a code block without its closing }%")
        return found.group(1) if found is not None else None


def unescape(text: str) -> str:
    """Backslash escapes as C has them; hexadecimal ones give that octet (latin-1)."""

    def one(match: re.Match[str]) -> str:
        what = match.group(1)
        if what[0] == "x" and len(what) == 3:
            return chr(int(what[1:], 16))
        return _ESCAPES.get(what, what)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", one, text, flags=re.DOTALL)
