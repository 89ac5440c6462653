"""Running labs: which there are, in what order, and what comes out."""

import time
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module

from timewait.base.errors import UsageError
from timewait.lab.bench import Bench, Setting
from timewait.lab.frame import LABS, PLACES, Check, Lab, T, Verdict
from timewait.lab.judge import LabError
from timewait.record.record import Record
from timewait.tcp.profile import profile_named
from timewait.tcp.sysctl import Sysctl


class Result:
    """What a run of a lab came to."""

    def __init__(self, lab: Lab, setting: Setting, verdict: Verdict, benches: Sequence[Bench], wall: int) -> None:
        self.lab = lab
        self.setting = setting
        self.verdict = verdict
        self.records: list[tuple[T | None, Record]] = [(bench.label, bench.record) for bench in benches]
        """Label (None for the first) and record of each world the lab built."""
        self.virtual = sum(bench.now for bench in benches)
        """ns that passed in these worlds."""
        self.wall = wall
        """ns that it took."""
        self.error = ""
        """A traceback, where the lab itself failed."""

    @property
    def passed(self) -> bool:
        """Whether the measured record met what the lab expects."""
        return self.verdict.passed


def find(id: str) -> Lab:
    """The lab with this id, in any case. UsageError with the closest ids."""
    from timewait.lab.index import INDEX

    wanted = id.upper()
    entry = INDEX.get(wanted)
    if entry is not None:
        import_module("timewait.lab." + entry.module)
    elif wanted not in LABS:
        load_all()  # A lab just written may not be in the index yet.
    if wanted in LABS:
        return LABS[wanted]
    close = get_close_matches(wanted, LABS, 3, 0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`timewait lab` lists them"
    raise UsageError(f"no lab {id!r}; {hint}")


def load_all() -> dict[str, Lab]:
    """Import every lab; the labs by id, in the order of the catalogue."""
    from timewait.lab.catalogue import order, subjects

    for name in subjects():
        import_module("timewait.lab." + name)
    return {id: LABS[id] for id in sorted(LABS, key=order)}


def check_setting(lab: Lab, setting: Setting) -> Setting:
    """The setting, with the variant filled in. UsageError for what the lab cannot do or does not know."""
    if setting.on not in PLACES:
        raise UsageError(f"--on is one of {', '.join(PLACES)}, not {setting.on!r}")
    if setting.on not in lab.on:
        raise UsageError(f"{lab.id} does not run on {setting.on}; it runs on {', '.join(lab.on)}")
    if setting.kernel not in ("client", "server"):
        raise UsageError(f"--kernel is 'client' or 'server', not {setting.kernel!r}")
    profile = setting.profile or lab.profile
    profile_named(profile)
    for host, name, value in setting.sysctl:
        if host not in ("", "client", "server"):
            raise UsageError(f"a sysctl is set on client, server or (without a host) both, not on {host!r}")
        Sysctl(profile)[name] = value
    variant = setting.variant
    if variant and variant not in lab.variants:
        raise UsageError(f"{lab.id} has no variant {variant!r}; there are {', '.join(lab.variants) or 'none'}")
    if setting.on != "sim":
        _check_kernel()
    return Setting(
        on=setting.on,
        kernel=setting.kernel,
        profile=setting.profile,
        sysctl=setting.sysctl,
        variant=variant or next(iter(lab.variants), ""),
        seed=setting.seed,
        hurried=setting.hurried,
    )


def _check_kernel() -> None:
    from timewait.world.netns import probe

    missing = probe()
    if missing:
        raise UsageError(f"no kernel to run this on: {missing}")


def run(lab: Lab | str, setting: Setting | None = None, *, strict: bool = False) -> Result:
    """Run a lab. What goes wrong inside it is a check that was not met, or with `strict` raised."""
    found = find(lab) if isinstance(lab, str) else lab
    setting = check_setting(found, setting or Setting())
    begun = time.perf_counter_ns()
    bench = Bench(found, setting)
    error = ""
    try:
        try:
            verdict = found.function(bench)
        except LabError as problem:
            verdict = _failed(bench, str(problem))
        except Exception as problem:
            if strict:
                raise
            error = traceback.format_exc()
            verdict = _failed(bench, f"{type(problem).__name__}: {problem}")
        wall = time.perf_counter_ns() - begun
        result = Result(found, setting, verdict, [bench, *bench.others], wall)
        result.error = error
        return result
    finally:
        bench.close()


def _failed(bench: Bench, text: str) -> Verdict:
    """The verdict on a run that could not be finished."""
    bench.checks.append(Check(T("the experiment runs to its end", "实验运行到结束"), "yes", text, False))
    return bench.verdict(T("could not be finished", "未能完成"), T(text, text))


def run_variants(lab: Lab, setting: Setting) -> list[Result]:
    """Run every variant of a lab, the default one first."""
    names = list(lab.variants) or [""]
    return [
        run(
            lab,
            Setting(
                on=setting.on, kernel=setting.kernel, profile=setting.profile, sysctl=setting.sysctl, variant=name,
                seed=setting.seed,
            ),
        )
        for name in names
    ]  # fmt: skip


def run_all(setting: Setting) -> Iterator[list[Result]]:
    """Run every lab that runs there, each with all its variants."""
    for found in load_all().values():
        if setting.on in found.on:
            yield run_variants(found, setting)
