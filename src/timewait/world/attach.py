"""Packets through a TUN on an event loop: one of our hosts, or a link, at the other end of a kernel's interface."""

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from timewait.base.errors import WireError
from timewait.tcp.reasons import Drop
from timewait.wire.gso import split
from timewait.wire.packet import Buffer, Packet
from timewait.world.buffers import ReadBuffers
from timewait.world.offload import packet_of, repeats_cwr, small_datagram, vectors_of
from timewait.world.tun import READ_SIZE, VNET_LEN, Tun

if TYPE_CHECKING:
    from timewait.host.host import Host, Interface

READS_PER_WAKEUP: Final = 64
"""Packets taken before the host sends and the loop turns."""

OCTETS_PER_WAKEUP: Final = 256 * 1024
"""As many octets end the turn too: what was read is then still in the processor's cache when a program
takes it, and the sender hears of it early. With 4 MiB bulk data came in a fifth slower (measured)."""

EARLY: Final = 32 * 1024
"""After so many octets the host sends within a turn, as long as turns end because nothing more is there: the
sender waits for acknowledgments. A kernel with BBR, whose window is small here, then sends a tenth more (measured)."""

WRITE_QUEUE: Final = 1024
"""Packets kept while the device says EAGAIN: about two of its own default queues (txqueuelen 500)."""


class Scheduler(Protocol):
    """Who calls back when a descriptor is ready. An asyncio event loop is one."""

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> object:
        """Call back each time fd is readable, until remove_reader."""

    def remove_reader(self, fd: int, /) -> object:
        """Stop it."""

    def add_writer(self, fd: int, callback: Callable[[], None], /) -> object:
        """Call back each time fd is writable, until remove_writer."""

    def remove_writer(self, fd: int, /) -> object:
        """Stop it."""


class TunEnd:
    """A TUN on a scheduler: datagrams come in by callback, packets go out through a bounded queue.

    `deliver(data)` gets each datagram with its vnet header; `drained()` is called
    after each batch, or part of one; `lost(packet, drop)` hears of every packet that could not be written.
    """

    def __init__(
        self,
        tun: Tun,
        scheduler: Scheduler,
        *,
        deliver: Callable[[Buffer], None],
        drained: Callable[[], None],
        lost: Callable[[Packet | Buffer, Drop], None],
    ) -> None:
        self.tun = tun
        self._fd = tun.fd
        self._scheduler = scheduler
        self._deliver = deliver
        self._drained = drained
        self._lost = lost
        self._starving = False
        """The last turn took everything that was there."""
        self._waiting: deque[Packet | Buffer] = deque()
        self._buffers = ReadBuffers(READ_SIZE)
        scheduler.add_reader(self._fd, self.on_readable)

    def on_readable(self) -> None:
        """Take up to READS_PER_WAKEUP datagrams, fewer if they are large."""
        read, fd, deliver = self._buffers.read, self._fd, self._deliver
        octets = unanswered = 0
        try:
            for _ in range(READS_PER_WAKEUP):
                data = read(fd)
                octets += len(data)
                unanswered += len(data)
                deliver(data)
                del data  # Its buffer is free once the program has taken what is in it.
                if octets >= OCTETS_PER_WAKEUP:
                    self._starving = False
                    break
                if self._starving and unanswered >= EARLY:
                    unanswered = 0
                    self._drained()
        except BlockingIOError:
            self._starving = True
        finally:
            self._drained()

    def transmit(self, packet: Packet | Buffer) -> None:
        """Write a packet now, or when the device can take it; what cannot wait is reported as lost."""
        if self._waiting:
            self._enqueue(packet)
            return
        try:
            small = small_datagram(packet)
            if small is None:
                if repeats_cwr(packet):
                    for piece in split(packet):
                        self.transmit(piece)
                    return
                os.writev(self._fd, vectors_of(packet))
            else:
                os.write(self._fd, small)
        except BlockingIOError:
            self._scheduler.add_writer(self._fd, self.on_writable)
            self._enqueue(packet)
        except OSError as error:
            self._failed(packet, error)

    def _enqueue(self, packet: Packet | Buffer) -> None:
        if repeats_cwr(packet):
            for piece in split(packet):
                self._enqueue(piece)
            return
        if len(self._waiting) >= WRITE_QUEUE:
            self._lost(packet, Drop.LINK_QUEUE_FULL)
        else:
            self._waiting.append(packet)

    def _failed(self, packet: Packet | Buffer, error: OSError) -> None:
        if error.errno in (errno.EIO, errno.EBADFD):  # The interface is down, or gone.
            self._lost(packet, Drop.LINK_DOWN)
        elif error.errno in (errno.ENOMEM, errno.ENOBUFS):
            self._lost(packet, Drop.LINK_QUEUE_FULL)
        else:  # EINVAL: the kernel takes no packet whose headers contradict each other.
            self._lost(packet, Drop.BAD_PACKET)

    def on_writable(self) -> None:
        """Write what waited, in order."""
        while self._waiting:
            packet = self._waiting[0]
            try:
                os.writev(self._fd, vectors_of(packet))
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(packet, error)
            self._waiting.popleft()
        self._scheduler.remove_writer(self._fd)

    def close(self) -> None:
        """Leave the scheduler; what still waits is lost, and said so. The TUN itself stays open."""
        self._scheduler.remove_reader(self._fd)
        if self._waiting:
            self._scheduler.remove_writer(self._fd)
        while self._waiting:
            self._lost(self._waiting.popleft(), Drop.LINK_DOWN)


class TunInterface:
    """One of our hosts on a TUN, so that a kernel and its programs can talk to it.

    Reads are batched: the host hears up to READS_PER_WAKEUP packets, then sends.
    `settle`, if given, is called after each batch instead of `host.flush()`; the driver
    uses it to re-arm its timer.
    """

    def __init__(
        self,
        host: "Host",
        iface: "Interface",
        tun: Tun,
        scheduler: Scheduler,
        settle: Callable[[], None] | None = None,
    ) -> None:
        self.host = host
        self.iface = iface
        self._settle = settle if settle is not None else host.flush
        iface.gso_max = 65536 if tun.offload else 0
        iface.mtu = tun.mtu
        self.port = TunEnd(tun, scheduler, deliver=self._deliver, drained=self._after, lost=self._lost)
        iface.transmit = self.port.transmit

    def _deliver(self, data: Buffer) -> None:
        host = self.host
        host.batching = True
        try:
            packet = packet_of(data)
        except WireError:
            # The host counts and reports what is malformed.
            host.receive_bytes(memoryview(data)[VNET_LEN:], self.iface)
            return
        host.receive(packet, self.iface)

    def _after(self) -> None:
        self.host.batching = False
        self._settle()

    def _lost(self, packet: Packet | Buffer, drop: Drop) -> None:
        host = self.host
        if host.tap is not None:
            host.tap.dropped(host.name, packet if isinstance(packet, Packet) else None, drop, host.clock.now())

    def close(self) -> None:
        """Take the host off the TUN; what it sends from now on is a packet on an unplugged cable."""
        self.port.close()
        self.iface.transmit = None


def attach(
    host: "Host", iface: "Interface", tun: Tun, scheduler: Scheduler, settle: Callable[[], None] | None = None
) -> TunInterface:
    """Connect a host's interface to a TUN; `close()` of the result undoes it."""
    return TunInterface(host, iface, tun, scheduler, settle)
