"""The tests of tests/rfc that are marked `both`, against the kernel of this machine."""

from collections.abc import Iterator

import pytest

from support.peer import Peer
from timewait.world.netns import probe


@pytest.fixture
def peers() -> Iterator[object]:
    """Makes peers of the kernel; their namespaces go when the test ends."""
    missing = probe()
    if missing:
        pytest.skip(f"live test: {missing}")
    made: list[Peer] = []

    def make(*args: object, **options: object) -> Peer:
        peer = Peer.kernel(*args, **options)
        made.append(peer)
        return peer

    yield make
    for peer in made:
        peer.close()
