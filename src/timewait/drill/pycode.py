"""Code blocks: Python with the tcp_info names, run in an isolated child that imports nothing.

One child serves many scripts; each script's blocks run one after another in a fresh
namespace. The child has no files, no network and little memory, and a bound on its time.
"""

import json
import os
import selectors
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any, Final

from timewait.drill.info import CONSTANTS
from timewait.drill.machine import Machine
from timewait.drill.nodes import Place
from timewait.tcp.info import unpack_info

TIMEOUT: Final = 10.0
"""Seconds that all code blocks of a script may take together."""
MAX_ANSWER: Final = 1 << 20
TCP_INFO: Final = 11
SOL_TCP: Final = 6
INFO_SIZE: Final = 280

_CHILD: Final = r'''
import sys, json
def main():
    import builtins, resource, io
    keep = """abs all any ascii bin bool bytearray bytes chr complex dict divmod enumerate filter float format frozenset
    hash hex int isinstance iter len list map max min next oct ord pow print range repr reversed round set slice sorted
    str sum tuple zip True False None ArithmeticError AssertionError AttributeError Exception IndexError KeyError
    LookupError NameError OverflowError RuntimeError StopIteration TypeError ValueError ZeroDivisionError""".split()
    safe = {name: getattr(builtins, name) for name in keep if hasattr(builtins, name)}
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    import traceback, linecache
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    while True:
        line = stdin.readline()
        if not line:
            return
        blocks = json.loads(line)
        out = io.StringIO()
        def show(*values, sep=" ", end="\n", file=None, flush=False):
            if out.tell() < 65536:
                out.write(sep.join(map(str, values)) + end)
        space = {"__builtins__": dict(safe, print=show)}
        answer = {"error": "", "block": 0, "line": 1, "names": ""}
        for number, (text, names) in enumerate(blocks):
            space.update(names)
            try:
                exec(compile(text, "<code>", "exec"), space)
            except BaseException as error:
                at = 1
                if isinstance(error, SyntaxError):
                    at = error.lineno or 1
                trace = error.__traceback__
                while trace is not None:
                    if trace.tb_frame.f_code.co_filename == "<code>":
                        at = trace.tb_lineno
                    trace = trace.tb_next
                told = str(error)
                source = text.splitlines()[at - 1].strip() if at <= len(text.splitlines()) else ""
                answer["error"] = type(error).__name__ + (": " + told if told else "") + " in: " + source
                answer["block"], answer["line"] = number, at
                used = [name for name in names if name in source]
                answer["names"] = ", ".join(name + " = " + repr(names[name]) for name in used)
                break
        answer["printed"] = out.getvalue()
        stdout.write(json.dumps(answer).encode() + b"\n")
        stdout.flush()
main()
'''


@dataclass(slots=True)
class Block:
    """One code block and what it may see."""

    text: str
    place: Place
    names: dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """What came of a script's blocks; `error` is '' where every one ran through."""

    error: str = ""
    block: int = 0
    line: int = 1
    """Line inside the block, from 1."""
    names: str = ""
    """The values of the names in the line that failed."""
    printed: str = ""


class Coder:
    """The child; started with the first script that has a code block."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _CHILD],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, close_fds=True,
                start_new_session=True,
            )  # fmt: skip
        return self._child

    def run(self, blocks: list[Block]) -> Outcome:
        """Run a script's blocks."""
        child = self._start()
        assert child.stdin is not None and child.stdout is not None
        request = json.dumps([[_dedent(block.text), block.names] for block in blocks]).encode() + b"\n"
        try:
            child.stdin.write(request)
            child.stdin.flush()
            answer = self._answer(child)
        except OSError as error:
            self.close()
            return Outcome(error=f"the child that runs code blocks is gone: {error}")
        if answer is None:
            self.close()
            return Outcome(error=f"no end within {TIMEOUT:g} s")
        return Outcome(**json.loads(answer))

    def _answer(self, child: subprocess.Popen[bytes]) -> bytes | None:
        assert child.stdout is not None
        found = b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not selector.select(TIMEOUT):
                    return None
                piece = os.read(child.stdout.fileno(), 1 << 16)
                found += piece
                if not piece or len(found) > MAX_ANSWER:
                    return None
        return found

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _dedent(text: str) -> str:
    """Leading space is taken off, so that a block may be indented with its event."""
    first, newline, rest = text.partition("\n")
    if not newline:
        return first.strip()
    if first.strip():
        return first.strip() + "\n" + textwrap.dedent(rest.replace("\t", "        ")).rstrip()
    return "\n" + textwrap.dedent(rest.replace("\t", "        ")).rstrip()


def names_of(machine: Machine, fd: int | None) -> dict[str, Any]:
    """What a code block sees of a socket: tcpi_ names, and the constants."""
    names: dict[str, Any] = dict(CONSTANTS)
    if fd is None:
        return names
    answer = machine.begin("getsockopt", (fd, SOL_TCP, TCP_INFO, INFO_SIZE)).answer
    if answer is not None and answer.result == 0:
        names.update(unpack_info(answer.values["value"]))
    return names
