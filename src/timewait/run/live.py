"""One of our hosts and a kernel at the two ends of a TUN, on an asyncio loop: what programs for real use live in."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from timewait.base.errors import UsageError
from timewait.host.host import Host, Interface
from timewait.host.route import Reach, Route
from timewait.tcp.tap import Tap
from timewait.tcp.tcb import Tcb
from timewait.wire.address import network, parse_prefix, show
from timewait.world.driver import Driver, LoopClock
from timewait.world.kernel import KernelHost
from timewait.world.link import LinkOptions
from timewait.world.netns import Namespace, end_group
from timewait.world.network import World
from timewait.world.tun import Tun

ADDRESSES: Final = ("10.77.0.2/24", "fd77::2/64")
"""Of our host, unless others are asked for. The kernel's are the first free ones beside them."""
SETTLE: Final = 3.0
"""Seconds that connections get to finish closing at the end."""
TERMINATE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL for a program that was started inside."""


class Live:
    """Our host, and the namespace whose kernel it talks to (None: the one this process lives in)."""

    def __init__(
        self, host: Host, namespace: Namespace | None, addresses: Sequence[str], kernel: Sequence[str]
    ) -> None:
        self.host = host
        self.namespace = namespace
        self.addresses = [text.partition("/")[0] for text in addresses]
        """Ours, without prefix lengths."""
        self.kernel = [text.partition("/")[0] for text in kernel]
        """The kernel's, in the same order."""

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a program at the kernel's end, with our standard output and error."""
        if self.namespace is None:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        return self.namespace.popen(command)

    async def run(self, command: Sequence[str]) -> int:
        """Run a program at the kernel's end to its end: its exit status, 128 + N where signal N ended it."""
        child = self.start(command)
        try:
            return await ended(child)
        finally:
            await stop(child)

    async def settle(self, timeout: float = SETTLE) -> None:
        """Wait until no connection needs us any more, TIME-WAIT apart; at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while any(isinstance(each, Tcb) for each in self.host.tcp.endpoints.values()):
                    await asyncio.sleep(0.002)


async def ended(child: "subprocess.Popen[bytes]") -> int:
    """Wait for the end of a program: its exit status as a shell tells it."""
    fd = os.pidfd_open(child.pid)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(fd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    status = child.wait()
    return status if status >= 0 else 128 - status


async def stop(child: "subprocess.Popen[bytes]") -> None:
    """End a program and what it started: politely, then not."""
    end_group(child, signal.SIGTERM)
    if child.poll() is not None:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TERMINATE):
            await ended(child)
            return
    end_group(child, signal.SIGKILL)
    child.wait()


def beside(prefix: str) -> str:
    """The first other address of a prefix, for the kernel: '10.77.0.2/24' -> '10.77.0.1/24'."""
    address, length = parse_prefix(prefix)
    if length >= 8 * len(address) - 1:
        raise UsageError(f"{prefix}: a prefix length that leaves room for the kernel's end, such as /24 or /64")
    base = int.from_bytes(network(address, length), "big")
    for offset in (1, 2):
        other = (base + offset).to_bytes(len(address), "big")
        if other != address:
            break
    return f"{show(other)}/{length}"


@contextlib.asynccontextmanager
async def live(
    addresses: Sequence[str] = ADDRESSES,
    *,
    mtu: int = 1500,
    offload: bool = True,
    faults: LinkOptions | None = None,
    device: str = "",
    profile: str = "linux-6.18",
    seed: int | None = None,
    tap: Tap | None = None,
) -> AsyncIterator[Live]:
    """A host at `addresses` ('10.0.0.2/24', 'fd00::2/64') and a kernel beside it.

    The kernel is that of a new namespace, so that nothing outside is touched. With
    `faults` the packets of both cross a link that has them. With `device` the host sits
    on that existing TUN of this process's own namespace, which an administrator has made
    and configured. `seed` None: ISNs and ports are drawn from the system's entropy.
    Raises OSError without the privileges, UsageError for addresses that make no sense.
    """
    for text in addresses:
        parse_prefix(text)
    kernel = [] if device else [beside(text) for text in addresses]
    if seed is None:
        seed = int.from_bytes(os.urandom(8), "big")
    if device:
        if faults:
            raise UsageError("faults need a namespace of their own: they are not for an existing device")
        with (
            Tun(None, device, mtu=mtu, offload=offload, existing=True) as tun,
            _driven(tun, addresses, profile, seed, tap) as host,
        ):
            yield Live(host, None, addresses, kernel)
    elif faults:
        with _across(addresses, kernel, mtu, faults, profile, seed, tap) as (host, namespace):
            yield Live(host, namespace, addresses, kernel)
    else:
        with Namespace("timewait") as namespace, Tun(namespace, mtu=mtu, offload=offload) as tun:
            for text in kernel:
                tun.add_address(text)
            with _driven(tun, addresses, profile, seed, tap) as host:
                yield Live(host, namespace, addresses, kernel)


@contextlib.contextmanager
def _driven(tun: Tun, addresses: Sequence[str], profile: str, seed: int, tap: Tap | None) -> Iterator[Host]:
    """A host straight on a TUN."""
    host = Host("timewait", LoopClock(), seed=seed, profile=profile, tap=tap)
    iface = host.add_interface("eth0", *addresses, mtu=tun.mtu)
    _default_routes(host, iface)
    with Driver(host) as driver:
        driver.attach(iface, tun)
        yield host


def _default_routes(host: Host, iface: Interface) -> None:
    """Everything else is beyond the TUN too, which has no next hops."""
    for length in {len(address) for address, _ in iface.addresses}:
        host.routes.add_route(bytes(length), 0, Route(Reach.UNICAST, iface))


@contextlib.contextmanager
def _across(
    addresses: Sequence[str],
    kernel: Sequence[str],
    mtu: int,
    faults: LinkOptions,
    profile: str,
    seed: int,
    tap: Tap | None,
) -> Iterator[tuple[Host, Namespace]]:
    """A host and a kernel on a link of ours. The kernel's packets are as on a wire: faults are per packet."""
    clock = LoopClock()
    world = World(seed, clock, record=tap if tap is not None else False)
    host = world.host("timewait", profile=profile)
    iface = host.add_interface("eth0", *addresses, mtu=mtu)
    _default_routes(host, iface)
    try:
        with KernelHost("kernel", clock, *kernel, mtu=mtu, tap=tap) as machine:
            world.link(machine, host, **faults)
            yield host, machine.namespace
    finally:
        clock.close()
