"""What a run of a lab looks like to people (text with ladders) and to programs (JSON)."""

from collections.abc import Sequence
from typing import Final
from unicodedata import east_asian_width

from timewait.base.instant import show_ns
from timewait.draw.ladder import ladder
from timewait.draw.text import duration
from timewait.lab.frame import Check, Lab, T
from timewait.lab.run import Result

MAX_ROWS: Final = 160
"""Rows of a ladder beyond which its middle is left out."""

TRUTHS: Final = {
    "true": T("true", "属实"),
    "simplification": T("a simplification", "过于简化"),
    "wrong": T("wrong", "错误"),
    "sources disagree": T("the sources disagree", "各文说法不一"),
    "true-on-older-Linux": T("true on older Linux only", "仅旧版 Linux 属实"),
}
_CLAIM: Final = T("claim", "说法")
_SOURCE: Final = T("source", "出处")
_TRUTH: Final = T("verdict on it", "结论")
_MEASURED: Final = T("Measured", "测量")
_EXPECTED: Final = T("expected", "应为")
_HAPPENED: Final = T("What happened", "发生了什么")
_WHY: Final = T("Why", "为什么")
_PRACTICE: Final = T("In production", "生产环境中")
_MET: Final = T("met", "符合")
_NOT_MET: Final = T("NOT MET", "不符合")


def text(result: Result, *, lang: str = "en", width: int = 100, colour: bool = False, ladders: bool = True) -> str:
    """The whole run: claim, ladder, measurements, explanation."""
    lab = result.lab
    lines = [_paint(f"{lab.id}  {lab.title.to(lang)}", "1", colour)]
    variant = result.setting.variant
    if variant:
        lines.append(f"{variant}: {lab.variants[variant].to(lang)}")
    lines.append("")
    lines += _entry(_CLAIM.to(lang), lab.claim.to(lang), width)
    lines += _entry(_TRUTH.to(lang), TRUTHS[lab.truth].to(lang), width)
    lines += _entry(_SOURCE.to(lang), lab.source, width)
    lines.append("")
    if ladders:
        for label, record in result.records:
            if label is not None:
                lines.append(f"── {label.to(lang)}")
            lines.append(ladder(record, width=width, colour=colour, max_rows=MAX_ROWS))
    lines.append(_MEASURED.to(lang))
    for check in result.verdict.checks:
        lines += _check(check, lang, width, colour)
    lines.append("")
    for head, body in (
        (_HAPPENED, result.verdict.happened), (_WHY, lab.why), (_PRACTICE, lab.practice)
    ):  # fmt: skip
        lines.append(head.to(lang))
        lines += wrap(body.to(lang), width, "  ")
    lines += ["", _conclusion(result, lang, colour)]
    if result.error:
        lines += ["", result.error.rstrip()]
    return "\n".join(lines) + "\n"


def _conclusion(result: Result, lang: str, colour: bool) -> str:
    met = (_MET if result.passed else _NOT_MET).to(lang)
    met = _paint(met, "32;1" if result.passed else "31;1", colour)
    virtual, wall = show_ns(result.virtual), duration(result.wall)
    if result.setting.on != "sim":
        wall = ""
    if lang == "zh":
        time = f"虚拟时间 {virtual}，实际用时 {wall}" if wall else f"实际用时 {virtual}"
        return f"{met}：{result.verdict.figure.zh}（{time}）"
    time = f"{virtual} of virtual time in {wall}" if wall else f"{virtual} of real time"
    return f"{met}: {result.verdict.figure.en} ({time})"


def _check(check: Check, lang: str, width: int, colour: bool) -> list[str]:
    mark = _paint("✓", "32", colour) if check.ok else _paint("✗", "31", colour)
    told = f"{check.text.to(lang)}: {check.measured}"
    if check.expected != check.measured:
        told += f"  ({_EXPECTED.to(lang)}: {check.expected})"
    first, *rest = wrap(told, width - 4, "")
    return [f"  {mark} {first}", *(f"    {line}" for line in rest)]


def _entry(head: str, body: str, width: int) -> list[str]:
    return wrap(f"{head}: {body}", width, "", "  ")


def wrap(text: str, width: int, first: str, later: str | None = None) -> list[str]:
    """Lines of at most `width` columns; a Chinese character takes two, and may end a line."""
    indent, lines, line, used = first, [], first, len(first)
    later = first if later is None else later
    for word in _words(text):
        size = columns(word.rstrip())
        if used + size > width and used > len(indent):
            lines.append(line.rstrip())
            line, used, indent = later, len(later), later
            word = word.lstrip()
        line += word
        used += columns(word)
    return [*lines, line.rstrip()]


def _words(text: str) -> list[str]:
    """What must not be torn apart: Latin words with the space behind them, single Chinese characters."""
    words: list[str] = []
    current = ""
    for char in text:
        wide = east_asian_width(char) in "WF"
        if wide and current and char not in "，。：；、）」？！":
            words.append(current)
            current = char
        elif char == " ":
            words.append(current + char)
            current = ""
        elif current and east_asian_width(current[-1]) in "WF" and not wide:
            words.append(current)
            current = char
        else:
            current += char
    return [*words, current] if current else words


def columns(text: str) -> int:
    """How many columns a terminal needs for a text."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def table(rows: Sequence[tuple[str, bool, str, str]]) -> str:
    """`lab --all`: id, whether it was met, the claim's verdict and the measured figure, in columns."""
    width = max((columns(truth) for _, _, truth, _ in rows), default=0)
    lines = []
    for id, passed, truth, figure in rows:
        pad = " " * (width - columns(truth))
        lines.append(f"{'✓' if passed else '✗'} {id:<8} {truth}{pad}  {figure}")
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result], lang: str = "en") -> dict[str, object]:
    """One lab with the variants that were run; the figure is that of the first."""
    first = results[0]
    lab = first.lab
    return {
        "id": lab.id,
        "title": lab.title.to(lang),
        "passed": all(result.passed for result in results),
        "verdict": lab.truth,
        "figure": first.verdict.figure.to(lang),
        **_described(lab, lang),
        "on": first.setting.on,
        "profile": first.setting.profile or lab.profile,
        "runs": [_run(result, lang) for result in results],
    }


def _described(lab: Lab, lang: str) -> dict[str, object]:
    return {
        "claim": lab.claim.to(lang),
        "source": lab.source,
        "why": lab.why.to(lang),
        "practice": lab.practice.to(lang),
        "runs_on": list(lab.on),
    }


def _run(result: Result, lang: str) -> dict[str, object]:
    run: dict[str, object] = {
        "variant": result.setting.variant,
        "passed": result.passed,
        "figure": result.verdict.figure.to(lang),
        "happened": result.verdict.happened.to(lang),
        "checks": [
            {"text": check.text.to(lang), "expected": check.expected, "measured": check.measured, "ok": check.ok}
            for check in result.verdict.checks
        ],
        "world_ns": result.virtual,
        "wall_ns": result.wall,
    }
    if result.error:
        run["error"] = result.error
    return run
