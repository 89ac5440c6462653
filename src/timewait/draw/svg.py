"""A small SVG writer: byte-stable, no external resources, readable aloud, light and dark."""

from typing import Final

_PALETTE: Final = {
    "bg": ("#ffffff", "#0f1419"),
    "fg": ("#1b1f24", "#e6e9ec"),
    "dim": ("#656d76", "#939ca6"),
    "line": ("#444c56", "#aab3bd"),
    "bad": ("#c62828", "#ff7b72"),
    "warn": ("#955200", "#e3b341"),
    "good": ("#1a7f37", "#5ed27a"),
    "call": ("#0b5cad", "#79b8ff"),
    "band": ("#f0f2f5", "#1a222b"),
    "s-none": ("#eceff1", "#1d242c"),
    "s-listen": ("#dfe3e8", "#2a333d"),
    "s-open": ("#fde7b0", "#5a4510"),
    "s-up": ("#bfe8c6", "#1d4d2b"),
    "s-close": ("#cfe0fb", "#1c3f70"),
    "s-wait": ("#e3d3f6", "#44307a"),
    "s-passive": ("#fbd3c6", "#6b2d1d"),
}
"""Each colour in light and in dark."""

_RULES: Final = (
    "text,.tip{fill:@fg}",
    "line,path,.rail,.box{stroke:@line}",
    ".tip{fill:@line;stroke:none}",
    ".bg{fill:@bg}",
    ".band{fill:@band}",
    "rect.state,.halo{stroke:@bg}",
    "text.dim{fill:@dim}",
    *(f"text.{name},.tip.{name}{{fill:@{name}}}" for name in ("bad", "warn", "good", "call")),
    *(f"line.{name},path.{name}{{stroke:@{name}}}" for name in ("bad", "warn", "good")),
    ".tip.bad,.tip.warn,.tip.good{stroke:none}",
    *(f".{name}{{fill:@{name}}}" for name in _PALETTE if name.startswith("s-")),
)
_SHAPES: Final = """svg{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;
font-size:11px}
text{white-space:pre}
.bold{font-weight:700}
.title{font-size:13px;font-weight:700}
.halo{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}
line,path{stroke-width:1.3;fill:none}
.rail{stroke-width:1.5}
.box{stroke-width:1}
.made{stroke-width:3}
.dash{stroke-dasharray:5 4}
line.hit{stroke:#000;stroke-opacity:0;stroke-width:12}
g.arrow:hover line{stroke-width:2.4}
g.arrow:hover line.hit{stroke-width:12}"""


def _style() -> str:
    """The style sheet without custom properties, which converters do not know: light, then dark on top."""
    sheets: list[str] = []
    for theme in (0, 1):
        rules = list(_RULES)
        # Longest names first: '@s-close' must not be taken for '@s' and a rest.
        for name in sorted(_PALETTE, key=len, reverse=True):
            rules = [rule.replace(f"@{name}", _PALETTE[name][theme]) for rule in rules]
        sheets.append("\n".join(rules))
    return f"{sheets[0]}\n@media (prefers-color-scheme:dark){{\n{sheets[1]}\n}}\n{_SHAPES}"


STYLE: Final = _style()


def escape(text: str) -> str:
    """Text as it may stand in an element or an attribute; characters that XML forbids become '?'."""
    for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, name)
    return "".join(char if char >= " " or char in "\n\t" else "?" for char in text)


def number(value: float) -> str:
    """A coordinate: at most two decimals, no trailing zeros, the same on every machine."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


class Svg:
    """An SVG document being written, element after element."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def open(self, name: str, title: str = "", **attributes: str | float) -> None:
        """Start an element, with a <title> (the hover text) if given."""
        self.parts.append(f"<{name}{_attributes(attributes)}>")
        if title:
            self.parts.append(f"<title>{escape(title)}</title>")

    def close(self, name: str) -> None:
        """End an element."""
        self.parts.append(f"</{name}>")

    def line(self, x1: float, y1: float, x2: float, y2: float, **attributes: str | float) -> None:
        """A straight line."""
        self.parts.append(f"<line{_attributes({'x1': x1, 'y1': y1, 'x2': x2, 'y2': y2, **attributes})}/>")

    def rect(self, x: float, y: float, width: float, height: float, title: str = "", **attributes: str | float) -> None:
        """A rectangle, with hover text if given."""
        shown = _attributes({"x": x, "y": y, "width": width, "height": height, **attributes})
        if title:
            self.parts.append(f"<rect{shown}><title>{escape(title)}</title></rect>")
        else:
            self.parts.append(f"<rect{shown}/>")

    def path(self, d: str, **attributes: str | float) -> None:
        """A path."""
        self.parts.append(f"<path{_attributes({'d': d, **attributes})}/>")

    def text(self, x: float, y: float, text: str, **attributes: str | float) -> None:
        """Words; `anchor` becomes text-anchor."""
        if "anchor" in attributes:
            attributes["text-anchor"] = attributes.pop("anchor")
        self.parts.append(f"<text{_attributes({'x': x, 'y': y, **attributes})}>{escape(text)}</text>")

    def document(self, width: float, height: float, title: str, description: str) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
            f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}">\n'
            f'<title id="title">{escape(title)}</title>\n<desc id="desc">{escape(description)}</desc>\n'
            f"<style>{STYLE}</style>\n"
            f'<rect class="bg" width="{number(width)}" height="{number(height)}"/>\n'
        )
        return head + "\n".join(self.parts) + "\n</svg>\n"


def _attributes(attributes: dict[str, str | float]) -> str:
    shown: list[str] = []
    for name, value in attributes.items():
        text = escape(value) if isinstance(value, str) else number(value)
        shown.append(f' {name.rstrip("_").replace("_", "-")}="{text}"')
    return "".join(shown)
