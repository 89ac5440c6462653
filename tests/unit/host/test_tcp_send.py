"""send(): what a program may do with its buffer afterwards, and what is taken when not everything fits."""

import array

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.host.process import Process
from timewait.world.network import World


def connected() -> tuple[World, Process, int, Process, int]:
    """A client and a server with a connection between them."""
    world = World(1)
    a, b = world.host("a", "10.0.0.1/24"), world.host("b", "10.0.0.2/24")
    world.link(a, b, delay=MSEC)
    client, server = a.process(), b.process()
    listener = server.socket(2, 1)
    server.bind(listener, ("10.0.0.2", 80))
    server.listen(listener)
    fd = client.socket(2, 1)
    with pytest.raises(BlockingIOError):
        client.connect(fd, ("10.0.0.2", 80))
    world.run(SEC)
    return world, client, fd, server, server.accept(listener)[0]


@pytest.mark.parametrize(
    "kind", [bytearray, lambda data: memoryview(bytearray(data)), lambda data: array.array("I", data)]
)
def test_what_is_changed_after_send_was_sent_before(kind) -> None:  # type: ignore[no-untyped-def]
    world, client, fd, server, far = connected()
    data = bytes(range(256)) * 32
    buffer = kind(data)
    # The initial window is ten segments, so most of this waits in the send buffer.
    sent = [client.send(fd, buffer) for _ in range(3)]
    assert sent == [len(data)] * 3
    memoryview(buffer).cast("B")[:] = bytes(len(data))
    world.run(SEC)
    assert server.recv(far, 1 << 20) == data * 3


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_does_not_fit_is_not_taken(kind) -> None:  # type: ignore[no-untyped-def]
    world, client, fd, server, far = connected()
    data = bytes(range(256)) * 4096
    taken = client.send(fd, kind(data))
    assert 0 < taken < len(data)
    with pytest.raises(BlockingIOError):
        client.send(fd, kind(data))
    world.run(SEC)
    assert server.recv(far, 1 << 20) == data[:taken]
