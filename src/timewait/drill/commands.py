"""Commands between backticks: a small interpreter of what scripts do with them.

It knows sysctl, ip, tc, nstat and a handful of text tools, and acts on the machine under
test only: no file is written and nothing is started on this computer. A shell script
named by a command is read and interpreted the same way. With `--shell`, what is not
understood is given to a real shell.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from timewait.base.errors import UsageError
from timewait.drill.machine import Machine
from timewait.drill.options import RunOptions
from timewait.drill.shell_words import CommandFailed, Pipeline, Simple, split, unquote

__all__ = ["CommandFailed", "Shell"]

MAX_DEPTH: Final = 8
MAX_FILE: Final = 16 << 20
SHELL_TIMEOUT: Final = 30

DEFAULTS: Final[dict[str, str]] = {
    "net.ipv4.tcp_rmem": "4096 540000 15728640",
    "net.ipv4.tcp_wmem": "4096 262144 4194304",
    "net.ipv4.tcp_syn_retries": "5",
    "net.ipv4.tcp_synack_retries": "5",
    "net.ipv4.tcp_congestion_control": "cubic",
    "net.ipv4.tcp_slow_start_after_idle": "0",
    "net.ipv4.tcp_ecn": "0",
    "net.ipv4.tcp_fastopen": "0x70403",
    "net.ipv4.tcp_syncookies": "1",
}
"""What the suite's defaults.sh sets, for scripts that come without it."""

_RESTORE: Final = re.compile(r"/tmp/[\w.${}-]*sysctl_restore[\w.${}-]*\.sh")
_HARMLESS: Final = frozenset(
    "tc ethtool iptables ip6tables modprobe ulimit umask trap wait set export unset sync".split()
)

Tool = Callable[["Shell", list[str], str], tuple[int, str]]
"""A command: the shell, its arguments, standard input -> exit status and standard output."""


class Shell:
    """Commands of one script. `files` is what they have written: no file of this computer is."""

    def __init__(self, machine: Machine, path: str, options: RunOptions) -> None:
        self.machine = machine
        self.path = path
        self.options = options
        self.directory = Path(path).parent
        self.files = machine.files
        self.variables: dict[str, str] = {"PPID": str(os.getpid()), "PACKETDRILL_PID": str(os.getpid())}
        self.history: dict[str, int] = {}
        """nstat's: the counters when they were last shown."""
        self.complaints: list[str] = []
        """What commands that failed said; told as warnings."""
        self.slept = 0
        """ns that the runner still has to let pass (sleep)."""
        self._depth = 0

    def run(self, text: str) -> str:
        """Interpret a command; its output. CommandFailed for an exit status other than 0."""
        status, output = self.interpret(text)
        if status:
            said = self.complaints[-1] if self.complaints else output
            raise CommandFailed(f"exit status {status} of `{' '.join(text.split())}`{_tail(said)}")
        return output

    def interpret(self, text: str) -> tuple[int, str]:
        """(exit status, output) of a shell script's text."""
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise CommandFailed(f"scripts that call one another {MAX_DEPTH} deep")
            return self._list(split(text))
        finally:
            self._depth -= 1

    def _list(self, pipelines: list[Pipeline]) -> tuple[int, str]:
        status, output = 0, ""
        at = 0
        while at < len(pipelines):
            pipeline = pipelines[at]
            word = pipeline.commands[0].words[0] if pipeline.commands[0].words else ""
            if word == "if":
                status, text, at = self._if(pipelines, at)
                output += text
                continue
            at += 1
            if (pipeline.joint == "&&" and status) or (pipeline.joint == "||" and not status):
                continue
            if word == "exit":
                words = pipeline.commands[0].words
                return (int(words[1]) if len(words) > 1 and words[1].isdigit() else status), output
            status, text = self._pipeline(pipeline)
            output += text
        return status, output

    def _if(self, pipelines: list[Pipeline], at: int) -> tuple[int, str, int]:
        """`if LIST; then LIST; [elif ...] [else LIST;] fi`: its status, output and what follows it."""
        branches: list[tuple[str, list[Pipeline]]] = [("if", [])]
        depth, end = 0, at
        for end in range(at, len(pipelines)):
            pipeline = pipelines[end]
            words = pipeline.commands[0].words
            word = words[0] if words else ""
            depth += (word == "if") - (word == "fi")
            if depth == 0:
                break
            if word in ("if", "then", "elif", "else") and depth == 1:
                if word != "if":
                    branches.append((word, []))
                first = Simple(words[1:], pipeline.commands[0].output, pipeline.commands[0].append)
                pipeline = Pipeline([first, *pipeline.commands[1:]], ";", pipeline.negated)
                if first.words[:1] == ["!"]:
                    first.words.pop(0)
                    pipeline.negated = True
                if not first.words and len(pipeline.commands) == 1:
                    continue
            branches[-1][1].append(pipeline)
        else:
            raise CommandFailed("an if without its fi")
        status, output = 0, ""
        taken = False
        met = False
        for word, body in branches:
            if word in ("if", "elif"):
                met = not taken and self._list(body)[0] == 0
            elif not taken and (word == "else" or met):
                status, output = self._list(body)
                taken = True
        return status, output, end + 1

    def _pipeline(self, pipeline: Pipeline) -> tuple[int, str]:
        status, text = 0, ""
        for command in pipeline.commands:
            status, text = self._simple(command, text)
        return (int(not status) if pipeline.negated else status), text

    def _simple(self, command: Simple, given: str) -> tuple[int, str]:
        words = [self._expand(word) for word in command.words]
        while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0], re.DOTALL):
            name, _, value = words.pop(0).partition("=")
            self.variables[name] = value
        if command.input:
            given = self.read(self._expand(command.input)).decode(errors="replace")
        status, output = self._execute(words, given) if words else (0, "")
        if command.output:
            self._write(self._expand(command.output), output, command.append)
            output = ""
        return status, output

    def _expand(self, word: str) -> str:
        if word.startswith("'"):
            return unquote(word)

        def substitute(match: re.Match[str]) -> str:
            inside = match.group(1)
            if inside is not None:
                return self.interpret(inside)[1].strip()
            return self.variables.get(match.group(2) or match.group(3), "")

        return unquote(re.sub(r"\$\(([^()]*)\)|\$\{(\w+)\}|\$(\w+)", substitute, word))

    def _execute(self, words: list[str], given: str) -> tuple[int, str]:
        name, arguments = words[0], words[1:]
        while (
            name in ("sudo", "sh", "bash", "/bin/sh", "/bin/bash", "exec", ".", "source", "env", "command")
            and arguments
        ):
            if name in ("sh", "bash", "/bin/sh", "/bin/bash") and arguments[0] == "-c" and len(arguments) > 1:
                return self.interpret(arguments[1])
            name, *arguments = arguments
        tool = TOOLS.get(name) or TOOLS.get(os.path.basename(name) if not name.startswith(".") else "")
        if tool is not None:
            try:
                return tool(self, arguments, given)
            except CommandFailed:
                raise
            except UsageError as error:
                # As in a shell: the command has failed, and what stands behind it goes on.
                self.complaints.append(f"{name}: {error}")
                return 1, ""
        if os.path.basename(name) in _HARMLESS:
            return 0, ""
        if os.path.basename(name) == "set_sysctls.py":
            return self.set_all(arguments)
        if _RESTORE.fullmatch(name) or (name.startswith("/tmp/") and name.endswith(".sh")):
            return 0, ""
        if "/" in name or name.endswith(".sh"):
            return self._script(name)
        return self._unknown(words)

    def _unknown(self, words: list[str]) -> tuple[int, str]:
        if self.options.shell:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=SHELL_TIMEOUT, check=False, cwd=self.directory or None
            )  # fmt: skip
            return done.returncode, done.stdout
        raise CommandFailed(
            f"the command {words[0]!r} is not understood; with --shell it is run by a real shell on this computer"
        )

    def _script(self, name: str) -> tuple[int, str]:
        """A shell script beside the drill script."""
        path = Path(name) if name.startswith("/") else self.directory / name
        try:
            if path.stat().st_size > MAX_FILE:
                raise CommandFailed(f"{path} is too large for a script")
            text = path.read_text(errors="replace")
        except OSError:
            if path.name == "defaults.sh":
                for key, value in DEFAULTS.items():
                    self.machine.set_sysctl(key, value)
                return 0, ""
            return self._unknown([name])
        before, self.directory = self.directory, path.parent
        try:
            return self.interpret(text)
        finally:
            self.directory = before

    # Settings and files

    def set_all(self, arguments: list[str]) -> tuple[int, str]:
        """NAME=VALUE or /proc/sys/NAME=VALUE, as set_sysctls.py takes them."""
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if equals:
                self.set(name, value)
        return 0, ""

    def set(self, name: str, value: str) -> None:
        """Set a sysctl by its dotted name or its path below /proc/sys."""
        self.machine.set_sysctl(dotted(name), " ".join(value.split()))

    def read(self, path: str) -> bytes:
        """A file: what was written here, a sysctl, or zeros of /dev/zero."""
        if path in self.files:
            return self.files[path]
        if path.startswith("/proc/sys/"):
            return (self.machine.get_sysctl(dotted(path)) + "\n").encode()
        if path == "/dev/null":
            return b""
        raise UsageError(f"{path}: no such file here")

    def _write(self, path: str, text: str, append: bool) -> None:
        if path == "/dev/null":
            return
        if path.startswith("/proc/sys/"):
            self.set(path, text)
        elif path.startswith("/proc/"):
            return
        else:
            self.files[path] = (self.files.get(path, b"") if append else b"") + text.encode("latin-1", "replace")


def dotted(name: str) -> str:
    """'/proc/sys/net/ipv4/tcp_sack' as 'net.ipv4.tcp_sack'."""
    name = name.strip().removeprefix("/proc/sys/")
    return name.replace("/", ".") if "/" in name else name


def _tail(output: str) -> str:
    text = output.strip()
    return f": {text[-300:]}" if text else ""


from timewait.drill.tools import TOOLS  # noqa: E402  (the tools need Shell, and a dialect adds to them)
