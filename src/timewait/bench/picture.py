"""The figures of a run as bars, each benchmark to a scale of its own, as a standalone SVG."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from timewait.bench.suite import BENCHES, Result

WIDTH: Final = 860
LEFT: Final = 260
ROW: Final = 18
GAP: Final = 14
OURS: Final = {"compiled": "#0b7285", "interpreted": "#66b2bd"}
BESIDE: Final = "#adb5bd"


def svg(results: Sequence[Result]) -> str:
    """One group of bars for each benchmark: ours by build, then what stood beside it."""
    body: list[str] = []
    top = 44
    for name in dict.fromkeys(result["name"] for result in results):
        bars = list(_bars([result for result in results if result["name"] == name]))
        largest = max(value for _, value, _ in bars)
        body.append(_text(12, top + ROW * len(bars) / 2 - 4, name, "bold"))
        body.append(_text(12, top + ROW * len(bars) / 2 + 10, BENCHES[name].unit, "dim"))
        for label, value, colour in bars:
            long = (WIDTH - LEFT - 110) * value / largest
            body.append(_text(LEFT - 8, top + 12, label, "label"))
            body.append(
                f'<rect x="{LEFT}" y="{top + 2}" width="{long:.1f}" height="{ROW - 5}" fill="{colour}">'
                f"<title>{escape(f'{name}, {label}: {value:,g} {BENCHES[name].unit}')}</title></rect>"
            )
            body.append(_text(LEFT + long + 6, top + 12, f"{value:,.2f}" if value < 100 else f"{value:,.0f}"))
            top += ROW
        top += GAP
    style = (
        "text{font:12px system-ui,sans-serif;fill:#212529}.bold{font-weight:600}.dim{fill:#868e96;font-size:11px}"
        ".label{text-anchor:end}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
        f"<title>timewait bench</title><style>{style}</style>"
        f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>' + _text(12, 24, "timewait bench", "bold")
        + "".join(body) + "</svg>\n"
    )  # fmt: skip


def _bars(results: Sequence[Result]) -> Iterator[tuple[str, float, str]]:
    """(label, value, colour) of each bar of one benchmark."""
    for result in results:
        yield result["build"], result["value"], OURS[result["build"]]
    for label, value in results[0]["references"].items():
        yield label, value, BESIDE


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(words)}</text>'
