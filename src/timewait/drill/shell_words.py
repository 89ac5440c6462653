"""The part of the shell's language that scripts use, taken apart: lists, pipes, redirections, words, if.

Nothing is executed here. What is not understood raises CommandFailed, with the words
that were not.
"""

import re
from dataclasses import dataclass, field

from timewait.base.errors import UsageError


class CommandFailed(UsageError):
    """A command ended with a status other than 0, or is not understood."""


@dataclass(slots=True)
class Simple:
    """One command with its redirections: `words`, `output` file ('' none), `append`, input file."""

    words: list[str] = field(default_factory=list)
    output: str = ""
    append: bool = False
    input: str = ""


@dataclass(slots=True)
class Pipeline:
    """Commands joined by `|`; `joint` is what stands in front: ';', '&&' or '||'."""

    commands: list[Simple]
    joint: str = ";"
    negated: bool = False


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\\\n)|(?P<comment>\#[^\n]*)|(?P<joint>&&|\|\||;|\n)|(?P<pipe>\|)
    |(?P<redirect>&>>?|[0-9]*>>?(?:&[0-9-])?|<)|(?P<background>&)
    |(?P<word>(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|\$\([^)]*\)|\$\{[^}]*\}|[^\s"'|;&<>\\])+)""",
    re.VERBOSE | re.DOTALL,
)


def split(text: str) -> list[Pipeline]:
    """A shell script as pipelines in order. CommandFailed for what is not understood."""
    found: list[Pipeline] = []
    commands: list[Simple] = [Simple()]
    joint, negated = ";", False
    at = 0
    pending = ""

    def close(next_joint: str) -> None:
        nonlocal commands, joint, negated
        if any(command.words or command.output for command in commands):
            found.append(Pipeline(commands, joint, negated))
            joint = ";"
        elif len(commands) > 1:
            raise CommandFailed(f"a pipe without a command in {text.strip()!r}")
        commands, negated = [Simple()], False
        if next_joint in ("&&", "||"):
            joint = next_joint

    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CommandFailed(f"not understood: {text[at : at + 40].strip()!r}")
        at = match.end()
        kind, value = match.lastgroup, match.group()
        if kind in ("space",) or (kind == "comment"):
            continue
        if kind in ("joint", "background"):
            # A newline behind && or || continues the list.
            if value == "\n" and joint != ";" and not commands[-1].words:
                continue
            close(value)
        elif kind == "pipe":
            commands.append(Simple())
        elif kind == "redirect":
            pending = value
        elif pending:
            _redirect(commands[-1], pending, value)
            pending = ""
            continue
        elif value == "!" and not commands[-1].words:
            negated = True
        else:
            commands[-1].words.append(value)
        if kind == "redirect" and "&" in value and value[0] != "&":
            pending = ""
    close(";")
    return found


def _redirect(command: Simple, operator: str, target: str) -> None:
    if operator == "<":
        command.input = target
        return
    if operator.startswith("2"):
        return
    command.output = target
    command.append = operator.endswith(">>")


def unquote(word: str) -> str:
    """A word without its quotes; single quotes keep everything, the others escapes of \\ only."""
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|\\(.)|([^"\'\\]+)', word, re.DOTALL)
    found = ""
    for double, single, escaped, plain in parts:
        found += re.sub(r'\\(["\\$`])', r"\1", double) if double else single or escaped or plain
    return found
