"""`peers` makes the far end of a connection with our stack; tests/differential has one for the kernel."""

from collections.abc import Callable

import pytest

from support.peer import Peer


@pytest.fixture
def peers() -> Callable[..., Peer]:
    return Peer.sim
