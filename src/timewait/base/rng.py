"""Randomness by purpose: one seeded stream per use, so that a new draw in one place moves nothing elsewhere."""

import hashlib
import random
from typing import Any, Final


class Streams:
    """A family of independent random streams that grow from one seed.

    The stream of a purpose depends on the seed and the purpose's name alone: not on
    the order of first use and not on PYTHONHASHSEED.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._streams: dict[str, random.Random] = {}

    def stream(self, purpose: str) -> random.Random:
        """The stream for a purpose such as 'link a-b loss'; the same object each time."""
        found = self._streams.get(purpose)
        if found is None:
            found = random.Random(self._derive(purpose))
            self._streams[purpose] = found
        return found

    def secret(self, purpose: str, size: int = 16) -> bytes:
        """A key of `size` bytes for a purpose: cookies, ISNs, fast open."""
        return self._derive("secret " + purpose).to_bytes(32, "big")[:size]

    def child(self, name: str) -> "Streams":
        """Streams of a part of the world (a host, say), independent of its siblings'."""
        return Streams(self._derive("child " + name) & 0xFFFFFFFFFFFFFFFF)

    def _derive(self, purpose: str) -> int:
        text = f"{self.seed}/{purpose}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=32).digest(), "big")


_MAX_KEYED: Final = 1024
_keyed: Final[dict[bytes, Any]] = {}
"""Hashes that have taken in their key, which is half of the work; forgotten when there are too many."""


def keyed_hash(key: bytes, data: bytes) -> int:
    """A 64-bit keyed hash: what RFC 6528's F and Linux's siphash are used for."""
    ready = _keyed.get(key)
    if ready is None:
        if len(_keyed) >= _MAX_KEYED:
            _keyed.clear()
        ready = hashlib.blake2s(digest_size=8, key=key)
        _keyed[key] = ready
    fresh = ready.copy()
    fresh.update(data)
    return int.from_bytes(fresh.digest(), "big")
