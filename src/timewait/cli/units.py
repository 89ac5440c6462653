"""Quantities on the command line: '100M' octets, '5%' of the packets, '20ms', '10Mbit'."""

import re
from typing import Final

import click

from timewait.base.instant import MSEC, SEC, USEC

_SIZES: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_TIMES: Final = {"us": USEC, "ms": MSEC, "s": SEC}
_RATES: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9}
_NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z%/]*)")


def _split(text: str) -> tuple[float, str]:
    found = _NUMBER.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(text)
    return float(found[1]), found[2]


def size(text: str) -> int:
    """Octets: 1000000, 100M, 64Ki."""
    try:
        number, unit = _split(text)
        return round(number * _SIZES[unit.removesuffix("b")])
    except (ValueError, KeyError):
        raise click.BadParameter(f"{text!r} is no size: a number, perhaps with k, M, G, Ki, Mi or Gi") from None


def share(text: str) -> float:
    """A probability: 5% or 0.05."""
    try:
        number, unit = _split(text)
        found = number / {"": 1, "%": 100}[unit]
        if found > 1:
            raise ValueError(text)
    except (ValueError, KeyError):
        raise click.BadParameter(f"{text!r} is no share: 5% or 0.05") from None
    return found


def time(text: str) -> int:
    """A duration in ns: 20ms, 1.5s, 100us."""
    try:
        number, unit = _split(text)
        return round(number * _TIMES[unit])
    except (ValueError, KeyError):
        raise click.BadParameter(f"{text!r} is no time: a number with us, ms or s") from None


def rate(text: str) -> int:
    """Bits a second: 10Mbit, 64k."""
    try:
        number, unit = _split(text)
        return round(number * _RATES[unit.removesuffix("/s").removesuffix("bit")])
    except (ValueError, KeyError):
        raise click.BadParameter(f"{text!r} is no rate: 10Mbit, 64k or 1G, in bit/s") from None


def show_octets(count: int) -> str:
    """'104.9 MB' for people."""
    for scale, unit in ((10**9, "GB"), (10**6, "MB"), (1000, "kB")):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def show_rate(octets: int, seconds: float) -> str:
    """'2.41 Gbit/s' for so many octets in so many seconds."""
    bits = octets * 8 / seconds if seconds > 0 else 0.0
    for scale, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= scale:
            return f"{bits / scale:.2f} {unit}"
    return f"{bits:.0f} bit/s"
