"""Read buffers: reused once nobody looks at them, never before."""

import os

import pytest

from timewait.world.buffers import ReadBuffers

SIZE = 4096


@pytest.fixture
def pipe():
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for fd in ends:
        os.close(fd)


def test_a_view_that_is_held_keeps_its_octets(pipe):
    reader, writer = pipe
    buffers = ReadBuffers(SIZE)
    held = []
    for n in range(20):
        os.write(writer, bytes([n]) * SIZE)
        held.append(buffers.read(reader)[10:])
    assert [bytes(view) for view in held] == [bytes([n]) * (SIZE - 10) for n in range(20)]


def test_a_buffer_is_used_again_once_its_views_are_gone(pipe):
    reader, writer = pipe
    buffers = ReadBuffers(SIZE)
    seen = set()
    for _ in range(20):
        os.write(writer, bytes(SIZE))
        view = buffers.read(reader)
        seen.add(id(view.obj))
        del view
    assert len(seen) <= 2


def test_a_small_datagram_holds_no_buffer_and_an_empty_descriptor_blocks(pipe):
    reader, writer = pipe
    buffers = ReadBuffers(SIZE)
    with pytest.raises(BlockingIOError):
        buffers.read(reader)
    os.write(writer, b"small")
    assert type(buffers.read(reader)) is bytes
