"""Quantities as people write them: '20ms', '10%', '10Mbit'; a bare number is seconds, a probability, bit/s."""

import re
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.instant import MSEC, NSEC, SEC, USEC

_TIMES: Final = {
    "": SEC,
    "ns": NSEC,
    "us": USEC,
    "ms": MSEC,
    "s": SEC,
    "sec": SEC,
    "min": 60 * SEC,
    "m": 60 * SEC,
    "h": 3600 * SEC,
    "d": 86_400 * SEC,
}
_RATES: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9}
_NUMBER: Final = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*([a-zµ%/]*)")


def _split(text: str) -> tuple[float, str]:
    found = _NUMBER.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(text)
    return float(found[1]), found[2].replace("µ", "u")


def duration(value: float | str) -> int:
    """ns of 0.02, '20ms', '1.5 s', '2h'; may be negative. UsageError for what is no time."""
    if not isinstance(value, str):
        return round(value * SEC)
    try:
        number, unit = _split(value)
        return round(number * _TIMES[unit])
    except (ValueError, KeyError):
        raise UsageError(f"{value!r} is no time: seconds as a number, or '20ms', '1.5s', '2min', '2h'") from None


def length(value: float | str) -> int:
    """As `duration`, and not negative."""
    found = duration(value)
    if found < 0:
        raise UsageError(f"a duration is not negative: {value!r}")
    return found


def share(value: float | str) -> float:
    """A probability of 0.1 or '10%'. UsageError outside 0..1."""
    try:
        number, unit = _split(value) if isinstance(value, str) else (float(value), "")
        found = number / {"": 1, "%": 100}[unit]
        if not 0 <= found <= 1:
            raise ValueError(value)
    except (ValueError, KeyError):
        raise UsageError(f"{value!r} is no probability: 0.1 or '10%', from 0 to 1") from None
    return found


def rate(value: float | str) -> int:
    """bit/s of 10_000_000 or '10Mbit'. UsageError for what is no rate."""
    try:
        number, unit = _split(value) if isinstance(value, str) else (float(value), "")
        found = round(number * _RATES[unit.removesuffix("/s").removesuffix("bit")])
        if found < 0:
            raise ValueError(value)
    except (ValueError, KeyError):
        raise UsageError(f"{value!r} is no rate: bit/s as a number, or '64k', '10Mbit', '1G'") from None
    return found
