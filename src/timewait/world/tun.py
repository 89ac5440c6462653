"""A TUN device: IP datagrams of a kernel read and written as bytes, whole super-segments at a time.

With IFF_VNET_HDR every datagram has a virtio header in front that says what the kernel
left undone: a partial checksum, segmentation. With TUNSETOFFLOAD the kernel hands over
up to 64 KiB per read and takes as much per write (Documentation/networking/tuntap.rst,
drivers/net/tun.c).
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from timewait.base.errors import os_error
from timewait.wire.packet import Buffer
from timewait.world.netns import TUN_DEVICE, Namespace

# include/uapi/linux/if_tun.h
TUNSETIFF: Final = 0x400454CA
TUNSETOFFLOAD: Final = 0x400454D0
TUNSETVNETHDRSZ: Final = 0x400454D8
SIOCGIFMTU: Final = 0x8921
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
IFF_MULTI_QUEUE: Final = 0x0100
TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04
TUN_F_TSO_ECN: Final = 0x08
TUN_F_USO4: Final = 0x20
TUN_F_USO6: Final = 0x40

TCP_OFFLOADS: Final = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
UDP_OFFLOADS: Final = TUN_F_USO4 | TUN_F_USO6

VNET_LEN: Final = 10
"""Octets of the struct virtio_net_hdr in front of each datagram, in the machine's byte order."""

READ_SIZE: Final = 65536 + 64
"""Room for the vnet header and the largest IP datagram; IPv6 payload may reach 65535 behind its 40-byte header."""


def _mtu_of(name: str) -> int:
    """The MTU of an interface of this process's own namespace. OSError ENODEV without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
        except OSError as error:
            raise os_error(error.errno or errno.ENODEV, f"interface {name}") from error
    mtu: int = struct.unpack_from("16si", answer)[1]
    return mtu


class Tun:
    """A TUN device inside a namespace (None: this process's own), with its descriptors.

    `offload`: exchange super-segments and partial checksums; without it packets are at
    most `mtu` long and complete. `uso` is UDP segmentation offload, where the kernel has
    it. `fds` has one descriptor a queue; `fd` is the first. `existing`: the device has been
    made and configured by somebody else; it is only opened, and `mtu` is its own. Raises
    OSError where the device cannot be made, or opened.
    """

    def __init__(
        self,
        namespace: Namespace | None = None,
        name: str = "tun0",
        *,
        mtu: int = 1500,
        offload: bool = True,
        uso: bool = True,
        queues: int = 1,
        queue_length: int = 2000,
        existing: bool = False,
    ) -> None:
        self.namespace = namespace
        self.mtu = mtu
        self.offload = offload
        self.features = 0
        self.fds: list[int] = []
        if existing:
            self.mtu = _mtu_of(name)
        flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
        try:
            for _ in range(queues):
                # The device belongs to the namespace that opens the descriptor.
                fd = self._inside(os.open, TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self.fds.append(fd)
                request = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
                name = request[:16].rstrip(b"\0").decode()
                fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_LEN))
            self._set_offload(uso)
            self.name = name
            self.fd = self.fds[0]
            if not existing:
                self._ip(f"link set {name} mtu {mtu} txqueuelen {queue_length} up")
        except BaseException:
            self.close()
            raise

    def _inside(self, function: Callable[..., int], *args: object) -> int:
        return function(*args) if self.namespace is None else self.namespace.call(function, *args)

    def _ip(self, *lines: str) -> None:
        if self.namespace is None:
            raise OSError(errno.EPERM, "interfaces are configured in namespaces of our own only")
        self.namespace.ip(*lines)

    def _set_offload(self, uso: bool) -> None:
        wanted = (TCP_OFFLOADS | (UDP_OFFLOADS if uso else 0)) if self.offload else 0
        try:
            fcntl.ioctl(self.fds[0], TUNSETOFFLOAD, wanted)
        except OSError:
            # Kernels before 6.2 know no USO and refuse the whole set.
            wanted &= ~UDP_OFFLOADS
            fcntl.ioctl(self.fds[0], TUNSETOFFLOAD, wanted)
        self.features = wanted

    def add_address(self, address: str) -> None:
        """An address of the kernel's end, '10.0.0.1/24' or 'fd00::1/64'."""
        self._ip(f"addr add {address} dev {self.name}{' nodad' if ':' in address else ''}")

    def read(self) -> bytes:
        """The next datagram with its vnet header in front. BlockingIOError when there is none."""
        return os.read(self.fd, READ_SIZE)

    def write(self, *pieces: Buffer) -> None:
        """Write one datagram given in pieces, the vnet header first. BlockingIOError when the kernel is full."""
        os.writev(self.fd, pieces)

    def statistics(self) -> dict[str, int]:
        """The kernel's count of packets that went through: rx is what we wrote, tx what it had for us."""
        text = self.namespace.read("/proc/net/dev") if self.namespace is not None else ""
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if name.strip() == self.name:
                n = [int(word) for word in rest.split()]
                return {
                    "rx_bytes": n[0], "rx_packets": n[1], "rx_errors": n[2], "rx_dropped": n[3],
                    "tx_bytes": n[8], "tx_packets": n[9], "tx_errors": n[10], "tx_dropped": n[11],
                }  # fmt: skip
        return {}

    def close(self) -> None:
        """Close the descriptors; the device goes with them."""
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = []
        self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
