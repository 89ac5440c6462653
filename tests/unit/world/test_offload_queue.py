"""A TUN that takes no more: packets wait in a bounded queue, and none disappears silently."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from timewait.base.instant import SEC
from timewait.tcp.reasons import Drop
from timewait.wire.packet import ACE_REPEATED, ACK, AE, CWR, Buffer, Packet, Segment
from timewait.world.attach import WRITE_QUEUE, TunEnd
from timewait.world.clock import RealClock
from timewait.world.offload import packet_of
from timewait.world.tun import VNET_LEN, Tun


class Device:
    """Datagrams through a socket pair: like a TUN it keeps their borders and says EAGAIN when it is full."""

    def __init__(self) -> None:
        self.ours, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.far.setblocking(False)
        self.fd = self.ours.fileno()

    def close(self) -> None:
        self.ours.close()
        self.far.close()


class Heard:
    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.drains = 0
        self.lost: list[Drop] = []

    def drained(self) -> None:
        self.drains += 1

    def lose(self, packet: Packet | Buffer, drop: Drop) -> None:
        self.lost.append(drop)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


@pytest.fixture
def clock() -> Iterator[RealClock]:
    made = RealClock()
    yield made
    made.close()


def make(device: Device, clock: RealClock) -> tuple[TunEnd, Heard]:
    heard = Heard()
    deliver: Callable[[bytes], None] = heard.data.append
    end = TunEnd(cast(Tun, device), clock, deliver=deliver, drained=heard.drained, lost=heard.lose)
    return end, heard


def packet(number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(1400)


def test_what_has_to_wait_arrives_in_order(device: Device, clock: RealClock) -> None:
    end, heard = make(device, clock)
    total = 600
    for number in range(total):
        end.transmit(packet(number))
    assert clock.writers, "the device was never full: the test tests nothing"
    got: list[int] = []

    def drain() -> bool:
        try:
            while True:
                got.append(int.from_bytes(device.far.recv(2000)[VNET_LEN : VNET_LEN + 4], "big"))
        except BlockingIOError:
            return len(got) < total

    assert clock.run_while(drain, clock.now() + 5 * SEC)
    assert got == list(range(total))
    assert heard.lost == []
    assert not clock.writers


def test_the_queue_is_bounded_and_says_what_it_refused(device: Device, clock: RealClock) -> None:
    end, heard = make(device, clock)
    sent = 0
    while not heard.lost:
        end.transmit(packet(sent))
        sent += 1
        assert sent < 10 * WRITE_QUEUE
    assert heard.lost == [Drop.LINK_QUEUE_FULL]
    end.close()
    assert heard.lost == [Drop.LINK_QUEUE_FULL] + [Drop.LINK_DOWN] * WRITE_QUEUE
    assert not clock.readers and not clock.writers


def test_a_batch_is_drained_once(device: Device, clock: RealClock) -> None:
    end, heard = make(device, clock)
    for number in range(5):
        os.write(device.far.fileno(), packet(number))
    clock.run_while(lambda: not heard.data, clock.now() + SEC)
    assert len(heard.data) == 5
    assert heard.drains == 1
    end.close()


def test_a_sender_that_waits_for_acknowledgments_gets_them_within_a_batch(device: Device, clock: RealClock) -> None:
    """Only once a batch has ended because nothing was left: before that, and in bulk, batches are whole."""
    end, heard = make(device, clock)

    def drains_of(count: int) -> int:
        before, got = heard.drains, len(heard.data)
        for _ in range(count):
            os.write(device.far.fileno(), bytes(16_000))
        clock.run_while(lambda: len(heard.data) < got + count, clock.now() + SEC)
        return heard.drains - before

    assert drains_of(6) == 1
    assert drains_of(6) == 3  # After the third and the sixth, where 32 KiB are complete, and at the end.
    end.close()


@pytest.mark.parametrize("full", [False, True])
def test_a_counter_with_cwr_stands_on_every_piece(device: Device, clock: RealClock, full: bool) -> None:
    """The kernel would clear CWR behind the first piece of a super-segment; with accurate ECN it is a digit."""
    end, heard = make(device, clock)
    before = 0
    while full and not clock.writers:
        end.transmit(packet(before))
        before += 1
    whole = Segment()
    whole.src, whole.dst, whole.proto = bytes(4), bytes(4), 6
    whole.flags = ACK | CWR | AE | ACE_REPEATED
    whole.payload, whole.length, whole.gso_size = bytes(2500), 2500, 1000
    end.transmit(whole)
    plain = whole.copy()
    plain.flags = ACK | AE | ACE_REPEATED
    end.transmit(plain)
    read: list[bytes] = []

    def drain() -> bool:
        try:
            while True:
                read.append(device.far.recv(70000))
        except BlockingIOError:
            return len(read) < before + 4

    assert clock.run_while(drain, clock.now() + 5 * SEC)
    segments = [packet_of(data) for data in read[before:]]
    assert [(int(seg.flags), int(seg.length)) for seg in segments if isinstance(seg, Segment)] == [
        (ACK | CWR | AE, 1000),
        (ACK | CWR | AE, 1000),
        (ACK | CWR | AE, 500),
        (ACK | AE, 2500),
    ]
    assert heard.lost == []
