"""Builds timewait; with TIMEWAIT_COMPILE=1 in the environment the packet path is compiled by mypyc.

Everything else about the package stands in pyproject.toml. Without the variable the
package is pure Python, and both builds behave alike: the tests run on each.
"""

import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src/timewait")

COMPILED = (
    "base",
    "wire",
    "tcp",
    "host",
    "record/record.py",
    "record/entries.py",
    "world/clock.py",
    "world/pipe.py",
    "world/host_port.py",
    "world/link.py",
    "world/faults.py",
    "world/words.py",
    "world/forward.py",
    "world/buffers.py",
    "world/offload.py",
    "world/attach.py",
    "run/baton.py",
    "run/guard.py",
    "run/rounds.py",
    "run/thread_state.py",
    "run/waiting.py",
)
"""What is compiled, relative to src/timewait: whole packages and single files."""

EXCLUDED = {
    "base/ints.py": "gives the interpreter `int` and the compiler `i64`; must stay interpreted to do so",
    "base/native.py": "gives the compiler `mypyc_attr` and the interpreter nothing; must stay interpreted to do so",
    "base/errors.py": "mypyc has no native subclasses of ValueError and OSError; nothing there is on a hot path",
}
"""What stays interpreted inside those packages, and why. Each package's __init__.py does too: it has no code."""


def compiled_sources() -> list[str]:
    """The files to compile, as posix paths from the repository root, sorted; those that exist."""
    found: list[Path] = []
    for name in COMPILED:
        path = SOURCE / name
        found += [path] if path.is_file() else path.rglob("*.py")
    return sorted(
        path.as_posix()
        for path in found
        if path.name != "__init__.py" and path.relative_to(SOURCE).as_posix() not in EXCLUDED
    )


class ParallelBuildExt(build_ext):
    """Compiles the C files of one extension at the same time: the whole engine is one extension group."""

    def build_extensions(self) -> None:
        """Replace the compiler's file-by-file loop with a pool as wide as the machine."""
        compiler: Any = self.compiler
        setup_compile, compile_one = compiler._setup_compile, compiler._compile

        def compile_all(
            sources: list[str],
            output_dir: str | None = None,
            macros: list[Any] | None = None,
            include_dirs: list[str] | None = None,
            debug: bool = False,
            extra_preargs: list[str] | None = None,
            extra_postargs: list[str] | None = None,
            depends: list[str] | None = None,
        ) -> list[str]:
            macros, objects, postargs, pp_opts, build = setup_compile(
                output_dir, macros, include_dirs, sources, depends, extra_postargs
            )
            cc_args = compiler._get_cc_args(pp_opts, debug, extra_preargs)

            def one(obj: str) -> None:
                source, extension = build[obj]
                compile_one(obj, source, extension, cc_args, postargs, pp_opts)

            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                list(pool.map(one, [obj for obj in objects if obj in build]))
            return list(objects)

        compiler.compile = compile_all
        super().build_extensions()


def compiler_flags() -> tuple[list[str], list[str]]:
    """For compiling and for linking with gcc: calls between modules go straight there and may be inlined.

    TIMEWAIT_PROFILE=generate makes a build that notes what runs how often, use one that knows it.
    """
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    if "Free Software Foundation" not in told:
        return [], []
    direct = ["-fno-semantic-interposition", "-fvisibility=hidden"]
    profile = os.environ.get("TIMEWAIT_PROFILE", "")
    if profile == "generate":
        counting = ["-fprofile-generate", "-fprofile-update=single"]
        return direct + counting, counting
    joined = ["-flto=auto"]
    if profile == "use":
        joined += ["-fprofile-use", "-fprofile-correction", "-Wno-missing-profile"]
    return direct + joined, ["-O3", *joined]


def extensions() -> list[Any]:
    """One shared group, so that calls between modules are C calls."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        # A build front end asks for the requirements first (egg_info) and installs mypy then.
        if "egg_info" in sys.argv:
            return []
        raise
    arguments = compiled_sources()
    found = list(
        mypycify(
            arguments,
            opt_level=os.environ.get("TIMEWAIT_OPT_LEVEL", "3"),
            debug_level="0",
            multi_file=True,
            target_dir="build/mypyc",
            group_name="timewait",
        )
    )
    compiling, linking = compiler_flags()
    for extension in found:
        extension.extra_compile_args += compiling
        extension.extra_link_args += linking
    return found


if __name__ == "__main__":
    wanted = os.environ.get("TIMEWAIT_COMPILE") == "1"
    setup(
        ext_modules=extensions() if wanted else [],
        cmdclass={"build_ext": ParallelBuildExt},
        setup_requires=["mypy>=2.4"] if wanted else [],
    )
