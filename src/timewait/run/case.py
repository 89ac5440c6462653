"""A case: what a run depends on, and the token that says it in one word.

A token holds the test's id, the seed, the faults and the version. It is base64 of
compressed JSON with a check sum: `tw1-eJyr...`. Equal cases have equal tokens.
"""

import base64
import json
import sys
import zlib
from typing import Any, Final, NamedTuple

from timewait import __version__
from timewait.base.errors import UsageError

PREFIX: Final = "tw1-"
MOST_TOKEN: Final = 100_000
"""A longer text is no token: decompression of foreign input stays bounded."""


class Planned(NamedTuple):
    """A fault that is going to happen.

    at and lasting are ms, value is the verb's strength in its own unit (see `explore.MENU`). who and
    whom, from 0 up to 999, pick out of the hosts there are by then, in order of their making.
    """

    verb: str
    at: int
    lasting: int
    value: float
    who: int
    whom: int


class Case(NamedTuple):
    """A seed and the faults of one run."""

    seed: int
    faults: tuple[Planned, ...] = ()


class Token(NamedTuple):
    """What a token says."""

    test: str
    """The test's node id, relative to pytest's root directory."""
    case: Case
    version: str
    python: str

    def text(self) -> str:
        """The token itself."""
        row = {
            "t": self.test,
            "s": self.case.seed,
            "f": [list(fault) for fault in self.case.faults],
            "v": self.version,
            "p": self.python,
        }
        packed = zlib.compress(json.dumps(row, separators=(",", ":"), sort_keys=True).encode(), 9)
        check = zlib.crc32(packed).to_bytes(4, "big")
        return PREFIX + base64.urlsafe_b64encode(check + packed).decode().rstrip("=")


def token(test: str, case: Case) -> str:
    """The token of a case, for the version that runs."""
    return Token(test, case, __version__, python_version()).text()


def python_version() -> str:
    """'3.13': asyncio differs between these."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def read_token(text: str) -> Token:
    """What a token says. UsageError for what is none, or was damaged in copying."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise UsageError(f"no token: it begins with {PREFIX!r}, this with {text[:8]!r}")
    body = text[len(PREFIX) :]
    if len(body) > MOST_TOKEN:
        raise UsageError(f"no token: {len(body)} characters are too many")
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        if len(data) < 5 or zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
            raise UsageError("the token's check sum is wrong: a part of it is missing or was changed in copying")
        unpacker = zlib.decompressobj()
        row = json.loads(unpacker.decompress(data[4:], 10 * MOST_TOKEN))
        return Token(str(row["t"]), Case(int(row["s"]), _faults(row["f"])), str(row["v"]), str(row["p"]))
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise UsageError(f"not a token that this version reads: {error}") from None


def check_version(found: Token) -> None:
    """UsageError unless this version, on this Python, replays the token exactly."""
    wrong: list[str] = []
    if found.version != __version__:
        wrong.append(f"timewait {found.version}, and this is {__version__}")
    if found.python != python_version():
        wrong.append(f"Python {found.python}, and this is {python_version()}")
    if wrong:
        raise UsageError(f"the token was made by {'; by '.join(wrong)}: the run may differ (--any-version tries it)")


def _faults(rows: Any) -> tuple[Planned, ...]:
    found: list[Planned] = []
    for verb, at, lasting, value, who, whom in rows:
        found.append(Planned(str(verb), int(at), int(lasting), float(value), int(who), int(whom)))
    return tuple(found)
