"""How an experiment is written: the `lab` decorator, and what a verdict is made of.

    @lab(
        "EST-05",
        title=T("A SYN uses up one sequence number", "SYN 占用一个序号"),
        claim=T("SYN consumes one number, so data starts at x+1.", "SYN 消耗一个序号，数据从 x+1 开始。"),
        truth="true",
        source="S0; RFC 9293 3.4",
        why=T("...", "..."),
        practice=T("...", "..."),
    )
    def syn_uses_a_number(bench: Bench) -> Verdict:
        pair = bench.open()
        pair.client.send(pair.cfd, b"x" * 10)
        bench.run(SEC)
        data = bench.sent("client", payload=True)
        bench.check(T("first octet of data", "数据的首字节"), bench.relative_seq(data[0]), 1)
        return bench.verdict(T("data begins at seq 1", "数据从 seq 1 开始"))

The function sets the world up, lets time pass, and compares what the record shows with
what it must show. It never tells what happened in words written beforehand: every
sentence of the verdict holds a measured value. The same function runs on two hosts of
ours in virtual time, on one of ours and a kernel, and on two kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from timewait.base.errors import UsageError

if TYPE_CHECKING:
    from timewait.lab.bench import Bench

TRUTHS: Final = ("true", "simplification", "wrong", "sources disagree", "true-on-older-Linux")
"""What a claim turns out to be, judged against the RFCs and current Linux."""

PLACES: Final = ("sim", "live", "kernel")
"""Where a lab can run: two hosts of ours in virtual time; one of ours and a kernel; two kernels."""

SIM: Final = ("sim",)
ANYWHERE: Final = PLACES

LANGUAGES: Final = ("en", "zh")


class T(NamedTuple):
    """A text in both languages."""

    en: str
    zh: str

    def to(self, lang: str) -> str:
        """The text in one of LANGUAGES."""
        return self.zh if lang == "zh" else self.en


class Check(NamedTuple):
    """One comparison of the record with what it must show."""

    text: T
    expected: str
    measured: str
    ok: bool


class Verdict(NamedTuple):
    """What a run of a lab measured.

    `figure` is the one line that a table shows. `happened` tells the run in a sentence or
    two; both are made of measured values.
    """

    figure: T
    happened: T
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        """Whether every check was met. A verdict without a check proves nothing, and is not."""
        return bool(self.checks) and all(check.ok for check in self.checks)


LabFunction: TypeAlias = Callable[["Bench"], Verdict]


class Lab:
    """An experiment as it was written down; see `lab` for the fields."""

    def __init__(
        self,
        id: str,
        function: LabFunction,
        *,
        title: T,
        claim: T,
        truth: str,
        source: str,
        why: T,
        practice: T,
        on: tuple[str, ...],
        variants: Mapping[str, T],
        rtt: int,
        sysctl: Mapping[str, object],
        live: Mapping[str, object],
        topology: str,
        profile: str,
    ) -> None:
        self.id = id
        self.function = function
        self.title = title
        self.claim = claim
        self.truth = truth
        self.source = source
        self.why = why
        self.practice = practice
        self.on = on
        self.variants = variants
        self.rtt = rtt
        self.sysctl = sysctl
        self.live = live
        self.topology = topology
        self.profile = profile

    @property
    def module(self) -> str:
        """The last part of the name of the module it stands in."""
        return self.function.__module__.rpartition(".")[2]


LABS: Final[dict[str, Lab]] = {}
"""The labs of the modules imported so far, by id. `timewait.lab.index` knows all of them."""


def lab(
    id: str,
    *,
    title: T,
    claim: T,
    truth: str,
    source: str,
    why: T,
    practice: T,
    on: tuple[str, ...] = SIM,
    variants: Mapping[str, T] | None = None,
    rtt: int = 20_000_000,
    sysctl: Mapping[str, object] | None = None,
    live: Mapping[str, object] | None = None,
    topology: str = "pair",
    profile: str = "linux-6.18",
) -> Callable[[LabFunction], LabFunction]:
    """Enter a function as the lab with this id of the catalogue.

    title     a few words: what there is to see
    claim     what the sources say, in one sentence
    truth     one of TRUTHS: what becomes of the claim
    source    articles (S0..S4) and the RFC sections or kernel symbols that decide
    why       why it happens so, in one or two sentences
    practice  what to do in production: the sysctl, socket option or code that helps, with its cost
    on        where it can run, of PLACES: SIM or ANYWHERE (a puppet cannot be in 'live')
    variants  name -> what it shows; the first is run where none is chosen, `--all` runs each.
              The function asks `bench.variant`; without variants that is ''
    rtt       round-trip time of the link, ns
    sysctl    set on both hosts before anything happens; `--set` may override it
    live      set in addition where a kernel takes part: what shortens long waits
    topology  'pair': client and server on one link. 'puppet-client', 'puppet-server': that one is a
              `Puppet`, whose segments the lab writes by hand. 'own': the lab builds its world itself
    profile   the kernel that is imitated, unless `--profile` says otherwise

    UsageError for an id twice, a truth or place that does not exist.
    """
    if truth not in TRUTHS:
        raise UsageError(f"{id}: truth is one of {', '.join(TRUTHS)}, not {truth!r}")
    if not on or any(place not in PLACES for place in on):
        raise UsageError(f"{id}: on is made of {', '.join(PLACES)}, not {on!r}")
    if topology.startswith("puppet") and "live" in on:
        raise UsageError(f"{id}: a puppet has one stack before it: on=('sim', 'kernel')")

    def enter(function: LabFunction) -> LabFunction:
        known = LABS.get(id)
        if known is not None and known.function.__qualname__ != function.__qualname__:
            raise UsageError(f"{id} is written twice: {known.function.__qualname__} and {function.__qualname__}")
        LABS[id] = Lab(
            id,
            function,
            title=title,
            claim=claim,
            truth=truth,
            source=source,
            why=why,
            practice=practice,
            on=on,
            variants=variants or {},
            rtt=rtt,
            sysctl=sysctl or {},
            live=live or {},
            topology=topology,
            profile=profile,
        )
        return function

    return enter
