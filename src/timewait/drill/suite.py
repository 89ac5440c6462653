"""Scripts by the file: options put together, the machine made, the result kept; many at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.siphash import siphash
from timewait.drill import nplab, pycode
from timewait.drill.lexer import ScriptError
from timewait.drill.machine import Machine
from timewait.drill.nodes import Place, Script
from timewait.drill.options import RunOptions, effective
from timewait.drill.parser import parse
from timewait.drill.runner import NO_PLACE, Result, Runner
from timewait.drill.sim import SimMachine
from timewait.record.record import Record
from timewait.tcp.fastopen import parse_keys
from timewait.wire.address import pack

SUITE_KEY: Final = "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"
"""The Fast Open key that suites set; the name TFO_COOKIE stands for the cookie that it makes for the peer."""
MAX_SCRIPTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Setting:
    """How scripts are run: what stands on the command line."""

    defines: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    on: str = "sim"
    profile: str = ""
    """The system to imitate; '': freebsd for scripts that set its sysctls, otherwise linux-6.18."""
    seed: int = 1
    shell: bool = False


@dataclass(slots=True)
class Outcome:
    """A result, and the packets that it came from."""

    result: Result
    record: Record = field(default_factory=Record)


def collect(paths: Sequence[str]) -> list[str]:
    """The .pkt files among the paths and below the directories, sorted. UsageError for what is not there."""
    found: list[str] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found += sorted(str(file) for file in path.rglob("*.pkt"))
        elif path.exists():
            found.append(name)
        else:
            raise UsageError(f"there is no file or directory {name!r}")
    if not found:
        raise UsageError("no .pkt file in " + ", ".join(paths))
    if len(found) > MAX_SCRIPTS:
        raise UsageError(f"{len(found)} scripts; {MAX_SCRIPTS} are the most at a time")
    return found


def load(path: str, setting: Setting) -> tuple[Script, RunOptions]:
    """A script and the options that hold for it. ScriptError, or OSError where it cannot be read."""
    data = Path(path).read_bytes()
    return prepare(data.decode("utf-8", errors="replace"), path, setting)


def prepare(text: str, path: str, setting: Setting) -> tuple[Script, RunOptions]:
    """The same for a text. Names that the IP version defines count where nobody else defines them."""
    profile = setting.profile or ("freebsd" if nplab.for_freebsd(text) else "linux-6.18")
    setting = replace(setting, profile=profile)
    text = nplab.conditional(text, path, nplab.defined_names(profile) | dict(setting.defines).keys())
    first = {**standard_defines(effective((), setting.options)), **dict(setting.defines)}
    script = parse(text, path, first)
    options = _options(script, setting)
    given = {**standard_defines(options), **dict(setting.defines)}
    if given != first:
        # The script's own options chose another IP version or other addresses.
        script = parse(text, path, given)
    return script, options


def _options(script: Script, setting: Setting) -> RunOptions:
    found = RunOptions()
    for name, value, place in script.options:
        try:
            found.apply(name, value)
        except UsageError as error:
            source = script.source[place.line - 1]
            raise ScriptError(script.path, place.line, place.column, str(error), source) from None
    found = effective([(name, value) for name, value, _ in script.options], setting.options)
    return replace(found, profile=setting.profile, seed=setting.seed, shell=setting.shell)


def standard_defines(options: RunOptions) -> dict[str, str]:
    """Names that a suite's runner passes for each IP version."""
    v6 = options.ip_version == "ipv6"
    ends = pack(options.remote) + pack(options.local)
    return {
        "CMSG_LEVEL_IP": "SOL_IPV6" if v6 else "SOL_IP",
        "CMSG_TYPE_RECVERR": "IPV6_RECVERR" if v6 else "IP_RECVERR",
        "TFO_COOKIE": siphash(parse_keys(SUITE_KEY), ends).to_bytes(8, "little").hex(),
    }


def machine_for(options: RunOptions, on: str) -> Machine:
    """The machine under test."""
    if on == "kernel":
        from timewait.drill.kernel import KernelMachine

        return KernelMachine(options.local, options.remote, mtu=options.mtu)
    return SimMachine(
        options.local, options.remote, gateway=options.gateway_ip, mtu=options.mtu, profile=options.profile,
        seed=options.seed,
    )  # fmt: skip


def run_file(path: str, setting: Setting, coder: "pycode.Coder | None" = None) -> Outcome:
    """Run one script. Never raises for what may stand in a file."""
    begun = time.perf_counter()
    try:
        script, options = load(path, setting)
    except ScriptError as error:
        return Outcome(_unusable(path, error.text, Place(error.line, error.column), error.source))
    except OSError as error:
        return Outcome(_unusable(path, f"cannot be read: {error.strerror}"))
    except UsageError as error:
        return Outcome(_unusable(path, str(error)))
    return run_script(script, options, setting.on, coder, begun)


def run_script(
    script: Script, options: RunOptions, on: str = "sim", coder: "pycode.Coder | None" = None, begun: float = 0.0
) -> Outcome:
    """Run a script that has been parsed."""
    begun = begun or time.perf_counter()
    try:
        machine = machine_for(options, on)
    except (UsageError, OSError) as error:
        return Outcome(_unusable(script.path, str(error)))
    try:
        result = Runner(script, options, machine, coder).run()
    finally:
        machine.close()
    result.duration = time.perf_counter() - begun
    return Outcome(result, machine.record)


def _unusable(path: str, what: str, place: Place = NO_PLACE, source: str = "") -> Result:
    return Result(path, "error", place, what, source=source.strip())


_coders: list[pycode.Coder] = []
"""The child of this process, once there is one."""


def _work(job: tuple[str, Setting]) -> Result:
    """One script in a worker process, whose child for code blocks serves all its scripts."""
    if not _coders:
        _coders.append(pycode.Coder())
    return run_file(job[0], job[1], _coders[0]).result


def run_all(
    paths: Sequence[str], setting: Setting, jobs: int = 1, told: Callable[[Result], None] | None = None
) -> list[Result]:
    """Run scripts, `jobs` at a time; results in the order of the paths. `told` hears each as it comes."""
    found: list[Result] = []
    for result in _results(paths, setting, jobs):
        found.append(result)
        if told is not None:
            told(result)
    return found


def _results(paths: Sequence[str], setting: Setting, jobs: int) -> Iterator[Result]:
    if jobs <= 1 or len(paths) == 1:
        coder = pycode.Coder()
        try:
            for path in paths:
                yield run_file(path, setting, coder).result
        finally:
            coder.close()
        return
    with ProcessPoolExecutor(min(jobs, len(paths))) as pool:
        yield from pool.map(_work, [(path, setting) for path in paths], chunksize=1)
