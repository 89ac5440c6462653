"""The commands that scripts use: sysctl, ip, nstat, and text tools."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from timewait.base.errors import UsageError
from timewait.drill import nplab
from timewait.drill.shell_words import CommandFailed

if TYPE_CHECKING:
    from timewait.drill.commands import Shell

MAX_DATA: Final = 64 << 20


def _sysctl(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """sysctl [-q] [-w] [-n] NAME[=VALUE] ...; also NAME VALUE."""
    quiet = names_only = False
    words: list[str] = []
    for arg in args:
        if arg.startswith("-") and "=" not in arg:
            quiet = quiet or "q" in arg
            names_only = names_only or "n" in arg
        else:
            words.append(arg)
    output = ""
    tolerant = any("e" in arg for arg in args if re.fullmatch(r"-[a-zA-Z]+", arg))
    for word in words:
        name, equals, value = word.partition("=")
        try:
            if equals:
                shell.set(name, value.strip().strip("\"'"))
                if not quiet:
                    output += f"{name} = {value}\n"
            else:
                from timewait.drill.commands import dotted

                value = shell.machine.get_sysctl(dotted(name))
                output += value + "\n" if names_only else f"{name} = {value}\n"
        except UsageError:
            if not tolerant:
                raise
    return 0, output


def _echo(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    end = "\n"
    while args and re.fullmatch(r"-[ne]+", args[0]):
        end = "" if "n" in args[0] else end
        args = args[1:]
    return 0, " ".join(args) + end


def _cat(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    files = [arg for arg in args if not arg.startswith("-")]
    return 0, "".join(shell.read(path).decode("latin-1") for path in files) if files else given


def _grep(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """grep [-c -q -v -i -E -o -w] PATTERN [FILE]."""
    options = "".join(arg[1:] for arg in args if re.fullmatch(r"-[a-zA-Z]+", arg))
    words = [arg for arg in args if not re.fullmatch(r"-[a-zA-Z]+", arg)]
    if not words:
        raise UsageError("a pattern is missing")
    pattern = words[0].replace(r"\+", "+").replace(r"\|", "|") if "E" not in options else words[0]
    if "F" in options:
        pattern = re.escape(pattern)
    pattern = pattern.replace("[[:space:]]", r"\s")
    if "w" in options:
        pattern = rf"\b(?:{pattern})\b"
    try:
        compiled = re.compile(pattern, re.IGNORECASE if "i" in options else 0)
    except re.error as error:
        raise UsageError(f"pattern {words[0]!r}: {error}") from None
    for path in words[1:]:
        given += shell.read(path).decode("latin-1")
    lines = [line for line in given.splitlines() if bool(compiled.search(line)) != ("v" in options)]
    status = 0 if lines else 1
    if "q" in options:
        return status, ""
    if "c" in options:
        return status, f"{len(lines)}\n"
    return status, "".join(line + "\n" for line in lines)


def _wc(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    if "-l" in args:
        return 0, f"{given.count(chr(10))}\n"
    if "-c" in args:
        return 0, f"{len(given)}\n"
    return 0, f"{given.count(chr(10))} {len(given.split())} {len(given)}\n"


def _head(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    count = next((int(word.lstrip("-n")) for word in args if re.fullmatch(r"-?n?\d+", word)), 10)
    return 0, "".join(line + "\n" for line in given.splitlines()[:count])


def _tail(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    count = next((int(word.lstrip("-n")) for word in args if re.fullmatch(r"-?n?\d+", word)), 10)
    return 0, "".join(line + "\n" for line in given.splitlines()[-count:])


def _awk(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """awk '{print $N}', with an optional /pattern/ in front."""
    match = re.fullmatch(r"\s*(?:/(.*)/)?\s*\{\s*print\s+\$(\d+|NF);?\s*\}\s*", args[0] if args else "")
    if match is None:
        raise UsageError("only awk '/PATTERN/ {print $N}' is understood")
    output = ""
    for line in given.splitlines():
        if match.group(1) and not re.search(match.group(1), line):
            continue
        fields = line.split()
        if match.group(2) == "0":
            output += line + "\n"
        else:
            number = len(fields) if match.group(2) == "NF" else int(match.group(2))
            output += (fields[number - 1] if 0 < number <= len(fields) else "") + "\n"
    return 0, output


def _test(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """test and [: numbers, strings, -n, -z, -e, -f."""
    words = args[:-1] if args and args[-1] == "]" else list(args)
    if words and words[0] == "!":
        return 1 - _test(shell, words[1:], given)[0], ""
    if len(words) == 1:
        return int(not words[0]), ""
    if len(words) == 2:
        flag, word = words
        if flag == "-n":
            return int(not word), ""
        if flag == "-z":
            return int(bool(word)), ""
        if flag in ("-e", "-f", "-r", "-x", "-s", "-d"):
            try:
                shell.read(word)
            except UsageError:
                return 1, ""
            return 0, ""
    if len(words) == 3:
        left, operator, right = words
        if operator in ("=", "=="):
            return int(left != right), ""
        if operator == "!=":
            return int(left == right), ""
        compare = {"-eq": "__eq__", "-ne": "__ne__", "-lt": "__lt__", "-le": "__le__", "-gt": "__gt__", "-ge": "__ge__"}
        if operator in compare:
            try:
                return int(not getattr(int(left), compare[operator])(int(right))), ""
            except ValueError:
                return 2, ""
    raise UsageError(f"not understood: test {' '.join(args)}")


def _sleep(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    try:
        seconds = float(args[0].rstrip("s"))
    except (IndexError, ValueError):
        raise UsageError("sleep takes a number of seconds") from None
    if not 0 <= seconds <= 86400:
        raise UsageError(f"sleep takes 0..86400 seconds, not {seconds:g}")
    shell.slept += int(seconds * 1e9)
    return 0, ""


def _nothing(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    return 0, ""


def _false(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    return 1, ""


def _printf(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    text = args[0] if args else ""
    for arg in args[1:]:
        text = re.sub(r"%[sd]", lambda _, arg=arg: arg, text, count=1)  # type: ignore[misc]
    return 0, text.replace("\\n", "\n").replace("%%", "%")


def _rm(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    for path in args:
        shell.files.pop(path, None)
    return 0, ""


def _dd(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """dd if=/dev/zero of=FILE bs=N count=N: a file of zeros that sendfile() can send."""
    given_values = dict(arg.partition("=")[::2] for arg in args)
    size = _bytes(given_values.get("bs", "512")) * _bytes(given_values.get("count", "1"))
    if not 0 <= size <= MAX_DATA:
        raise UsageError(f"a file of {size} octets; at most {MAX_DATA} here")
    source = given_values.get("if", "")
    data = bytes(size) if source in ("/dev/zero", "/dev/urandom", "/dev/random", "") else shell.read(source)[:size]
    if "of" in given_values:
        shell.files[given_values["of"]] = data
        return 0, ""
    return 0, data.decode("latin-1")


def _truncate(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    size = 0
    path = ""
    words = iter(args)
    for word in words:
        if word == "-s":
            size = _bytes(next(words, "0"))
        else:
            path = word
    shell.files[path] = shell.files.get(path, b"")[:size].ljust(size, b"\0")
    return 0, ""


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kKmMG]?)B?", text)
    if match is None:
        raise UsageError(f"not a size: {text!r}")
    return int(match.group(1)) << {"": 0, "k": 10, "K": 10, "m": 20, "M": 20, "G": 30}[match.group(2)]


def _nstat(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """nstat [-n -r -a -s -z] [NAME ...]: counters since the last call, or with -a absolute."""
    options = "".join(arg[1:] for arg in args if arg.startswith("-"))
    patterns = [arg.replace("*", ".*") for arg in args if not arg.startswith("-")]
    now = dict(shell.machine.counters())
    if "r" in options:
        shell.history = {}
    before = {} if "a" in options else shell.history
    if "s" not in options:
        shell.history = now
    if "n" in options:
        return 0, ""
    lines = ["#kernel"]
    for name, value in now.items():
        if patterns and not any(re.fullmatch(pattern, name) for pattern in patterns):
            continue
        change = value - before.get(name, 0)
        if change or "z" in options:
            lines.append(f"{name:<31} {change:<18} 0.0")
    return 0, "\n".join(lines) + "\n"


def _ip(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    """ip link set ... mtu; ip route ... metrics; ip tcp_metrics flush."""
    words = [arg for arg in args if not re.fullmatch(r"-[46sdoj]+", arg)]
    if not words:
        raise UsageError("ip link, ip route or ip tcp_metrics")
    topic = words[0]
    if "tcp_metrics".startswith(topic) and topic.startswith("tcp"):
        return _tcp_metrics(shell, words[1:])
    if "link".startswith(topic) and "mtu" in words:
        try:
            shell.machine.set_mtu(int(words[words.index("mtu") + 1]))
        except (IndexError, ValueError):
            raise UsageError("ip link set DEV mtu N") from None
        return 0, ""
    if "route".startswith(topic):
        metrics = _metrics(words[1:])
        if metrics:
            shell.machine.set_route(metrics)
        return 0, ""
    return 0, ""


def _tcp_metrics(shell: "Shell", words: list[str]) -> tuple[int, str]:
    """show [ADDRESS], flush, delete ADDRESS; words may be shortened as ip(8) lets them."""
    verb = words[0] if words else "show"
    rest = [word for word in words[1:] if word not in ("address", "all")]
    if "flush".startswith(verb):
        shell.machine.forget_metrics()
        return 0, ""
    if "delete".startswith(verb):
        if not rest:
            raise UsageError("ip tcp_metrics delete ADDRESS")
        shell.machine.forget_metrics(rest[0])
        return 0, ""
    if not ("show".startswith(verb) or "list".startswith(verb)):
        raise UsageError("ip tcp_metrics show, flush or delete ADDRESS")
    lines = shell.machine.tcp_metrics().splitlines(keepends=True)
    return 0, "".join(line for line in lines if not rest or line.split()[0] == rest[0])


_METRICS: Final = (
    "mtu advmss rtt rttvar reordering window cwnd initcwnd initrwnd ssthresh realms rto_min hoplimit quickack congctl"
    " features fastopen_no_cookie"
).split()


def _metrics(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        if words[at] in _METRICS and at + 1 < len(words):
            name = words[at]
            at += 1
            if words[at] == "lock" and at + 1 < len(words):
                at += 1
            found[name] = words[at]
        at += 1
    return found


def _failing(shell: "Shell", args: list[str], given: str) -> tuple[int, str]:
    raise CommandFailed("not understood")


Tool = Callable[["Shell", list[str], str], tuple[int, str]]

TOOLS: Final[dict[str, Tool]] = {
    "sysctl": _sysctl,
    "echo": _echo,
    "printf": _printf,
    "cat": _cat,
    "grep": _grep,
    "egrep": lambda shell, args, given: _grep(shell, ["-E", *args], given),
    "wc": _wc,
    "head": _head,
    "tail": _tail,
    "awk": _awk,
    "test": _test,
    "[": _test,
    "sleep": _sleep,
    "true": _nothing,
    ":": _nothing,
    "false": _false,
    "rm": _rm,
    "dd": _dd,
    "truncate": _truncate,
    "nstat": _nstat,
    "ip": _ip,
    **nplab.TOOLS,
}
"""Commands by name; a dialect may add its own."""
