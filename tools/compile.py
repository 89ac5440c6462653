"""Builds the compiled copy of the package in build/compiled, beside the interpreted one in src.

    PYTHONPATH=build/compiled python ...    runs compiled
    PYTHONPATH=src python ...               runs interpreted

Both work in the same virtual environment. The copy holds every file of the package;
those that setup.py names have their extension module beside them. Nothing is done
when no compiled source has changed.

    python tools/compile.py                 build if needed: once to see what runs how often, and again knowing it
    python tools/compile.py --quick         only once: half the time, for code that is up to a quarter slower
    python tools/compile.py --check         only ask mypyc whether it takes the sources (no C compiler, nothing kept)
    python tools/compile.py --check base    the same for the sources whose path contains 'base'
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from setup import EXCLUDED, compiled_sources  # noqa: E402

SOURCE = ROOT / "src" / "timewait"
BUILD = ROOT / "build"
TARGET = BUILD / "compiled" / "timewait"
STAMP = BUILD / "compiled" / "stamp"
TEMPORARY = BUILD / "temp"
PROFILED = "profiled"


def main() -> int:
    """Exit status 0 when the compiled copy is up to date, 1 when mypyc or the C compiler refused."""
    parser = argparse.ArgumentParser(description="Build the compiled copy of timewait in build/compiled.")
    parser.add_argument("--check", action="store_true", help="run mypyc only: no C compiler, nothing kept")
    parser.add_argument("--quick", action="store_true", help="build once, without a profile of what runs how often")
    parser.add_argument("names", nargs="*", help="with --check: only sources whose path contains one of these")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sources = compiled_sources()
    if arguments.check:
        return check([s for s in sources if not arguments.names or any(name in s for name in arguments.names)])
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build(sources, profiled=not arguments.quick)


def build(sources: list[str], *, profiled: bool) -> int:
    """Bring build/compiled up to date with src; a profiled build serves those who would take a quick one."""
    mirror()
    wanted = fingerprint(sources)
    known = STAMP.read_text().split() if STAMP.exists() else []
    if wanted in known and (PROFILED in known or not profiled):
        print(f"compile: up to date, {len(sources)} modules in build/compiled")
        return 0
    problem = toolchain_problem()
    if problem:
        print(f"compile: {problem}")
        return 1
    STAMP.unlink(missing_ok=True)
    print(f"compile: {len(sources)} modules with mypyc ...", flush=True)
    began = time.monotonic()
    profiled = profiled and trained()
    if not translate("use" if profiled else ""):
        return 1
    STAMP.write_text(f"{wanted} {PROFILED}" if profiled else wanted)
    print(f"compile: done in {time.monotonic() - began:.0f} s; interpreted by choice: {', '.join(EXCLUDED)}")
    return 0


def trained() -> bool:
    """Build with counters and let them count; whether there is a profile now."""
    shutil.rmtree(TEMPORARY / "profiled", ignore_errors=True)
    if not translate("generate"):
        return False
    print("compile: a training run ...", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(TARGET.parent)}
    done = subprocess.run(
        [sys.executable, "tools/train.py"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"compile: no profile, the training run failed:\n{done.stderr[-2000:]}")
        return False
    return any((TEMPORARY / "profiled").rglob("*.gcda"))


def translate(profile: str) -> bool:
    """Let mypyc and the C compiler make the extension modules; see compiler_flags in setup.py for `profile`."""
    for library in TARGET.parent.rglob("*.so"):
        library.unlink()
    place = TEMPORARY / ("profiled" if profile else "plain")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "build/compiled"]
    status, output = run([*command, "--build-temp", str(place), *(["--force"] if profile else [])], profile)
    if status != 0:
        print(output, end="")
        say_refused(output)
    return status == 0


def mirror() -> None:
    """Make build/compiled hold the same files as src; extension modules stay."""
    kept = {path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    for relative in kept:
        source, copy = SOURCE / relative, TARGET / relative
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    for copy in list(TARGET.rglob("*")):
        if copy.is_file() and copy.suffix not in {".so", ".pyc"} and copy.relative_to(TARGET) not in kept:
            copy.unlink()


def fingerprint(sources: list[str]) -> str:
    """Changes with the compiled sources, the build rules, and the versions of Python and mypy."""
    from mypy.version import __version__ as mypy_version

    digest = hashlib.blake2b(f"{sys.version} {mypy_version} {os.environ.get('TIMEWAIT_OPT_LEVEL')}".encode())
    for name in [*sources, "setup.py"]:
        digest.update(name.encode() + b"\0" + Path(name).read_bytes())
    return digest.hexdigest()


def toolchain_problem() -> str | None:
    """What keeps the C part from being compiled here, and what to do; None when nothing does."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        return f"no C compiler ({compiler}); on Debian: apt-get install gcc"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python.h for this interpreter; on Debian: apt-get install python3-dev"
    return None


def check(sources: list[str]) -> int:
    """Let mypyc translate to C in a throw-away directory, so that errors show within seconds."""
    program = f"from mypyc.build import mypycify; mypycify({sources!r}, target_dir=DIR, multi_file=True)"
    with tempfile.TemporaryDirectory() as directory:
        status, output = run([sys.executable, "-c", program.replace("DIR", repr(directory))])
    print(output, end="")
    if status != 0:
        say_refused(output)
    else:
        print(f"compile: mypyc takes all {len(sources)} modules")
    return 1 if status else 0


def run(command: list[str], profile: str = "") -> tuple[int, str]:
    """Exit status and merged output of a build command."""
    environment = {**os.environ, "TIMEWAIT_COMPILE": "1", "TIMEWAIT_PROFILE": profile}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def say_refused(output: str) -> None:
    """One last line that names the modules, behind whatever the tools printed."""
    refused = sorted(set(re.findall(r"^(src/[\w/]+\.py):\d+.*error", output, re.MULTILINE)))
    print(f"compile: FAILED; mypyc refuses {', '.join(refused)}" if refused else "compile: FAILED")


if __name__ == "__main__":
    sys.exit(main())
