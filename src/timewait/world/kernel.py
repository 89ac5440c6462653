"""A kernel's TCP as a machine of our world: a network namespace whose only interface is a TUN of ours.

Its packets come out of the TUN's descriptor and travel over the same links, faults and
record as those of our own hosts; its programs make the same calls on real sockets. It
lives in real time only: a kernel's timers cannot be told to jump.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from select import EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from types import TracebackType
from typing import Final, Self

from timewait.base.errors import UsageError, WireError
from timewait.base.instant import SEC, seconds
from timewait.tcp.reasons import Drop
from timewait.tcp.tap import Tap
from timewait.wire.address import parse_prefix
from timewait.wire.packet import Buffer, Packet
from timewait.world.attach import TunEnd
from timewait.world.clock import Scheduler, VirtualClock
from timewait.world.kernel_process import KernelProcess
from timewait.world.netns import Namespace
from timewait.world.offload import packet_of
from timewait.world.pipe import Port
from timewait.world.procnet import KernelSocket, parse_counters, parse_sockets
from timewait.world.tun import VNET_LEN, Tun

RUN_TIMEOUT: Final = 60 * SEC


class KernelHost(Port):
    """A host whose TCP is the kernel's. Use it in a `with`, or call `close()`.

    `world.link(kernel, other)` takes it like any other machine. `addresses` are
    '10.0.0.1/24' or 'fd00::1/64'; everything else is routed into the TUN too. Without
    `offload` every packet is at most `mtu` long with its checksums complete, as on a wire;
    with it packets may be super-segments. Raises OSError without root or TUN.
    """

    def __init__(
        self,
        name: str,
        clock: Scheduler,
        *addresses: str,
        mtu: int = 1500,
        offload: bool = False,
        tap: Tap | None = None,
    ) -> None:
        super().__init__(name)
        if isinstance(clock, VirtualClock):
            raise UsageError("a kernel lives in real time: World(clock='real')")
        self.clock = clock
        self.tap = tap
        self.takes_super = offload
        self.addresses = [parse_prefix(address) for address in addresses]
        self.powered = True
        self.processes: list[KernelProcess] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self.namespace = Namespace(name, own_tables=True)
        try:
            self.tun = Tun(self.namespace, mtu=mtu, offload=offload)
            try:
                for address in addresses:
                    self.tun.add_address(address)
                self._add_routes()
                self._end = TunEnd(self.tun, clock, deliver=self._from_kernel, drained=_nothing, lost=self._lost)
            except BaseException:
                self.tun.close()
                raise
        except BaseException:
            self.namespace.close()
            raise
        # Whatever happens on a socket wakes the clock, so that a condition that waits for it is asked again.
        self._wakeups = epoll()
        clock.add_reader(self._wakeups.fileno(), self._woken)

    def _add_routes(self) -> None:
        for version, destination in ((4, "default"), (16, "::/0")):
            if any(len(address) == version for address, _ in self.addresses):
                self.namespace.add_route(destination, interface=self.tun.name)

    # The link's side

    def deliver(self, packet: Packet) -> None:
        """A packet arrives from the link and goes into the kernel."""
        if not self.powered:
            self._lost(packet, Drop.HOST_DOWN)
            return
        if self.tap is not None:
            self.tap.received(self.name, packet, self.clock.now())
        self._end.transmit(packet)

    def deliver_bytes(self, data: bytes) -> None:
        """Bytes arrive, perhaps damaged: the kernel judges them."""
        if self.powered:
            self._end.transmit(data)
        else:
            self._lost(data, Drop.HOST_DOWN)

    def prefixes(self) -> list[tuple[bytes, int]]:
        return self.addresses

    def _from_kernel(self, data: Buffer) -> None:
        """The kernel sent a datagram: out on the link with it."""
        try:
            packet = packet_of(data)
        except WireError:
            # A kernel's raw sockets may send what is no packet; the far end shall judge it.
            if self.pipe is not None and self.powered:
                self.pipe.send_bytes(bytes(data[VNET_LEN:]))
            else:
                self._lost(data, Drop.LINK_DOWN)
            return
        if not self.powered:
            self._lost(packet, Drop.HOST_DOWN)
            return
        if self.tap is not None:
            self.tap.sent(self.name, packet, self.clock.now())
        if self.pipe is None:
            self._lost(packet, Drop.LINK_DOWN)
        else:
            self.pipe.send(packet)

    def _lost(self, packet: Packet | Buffer, drop: Drop) -> None:
        if self.tap is not None:
            self.tap.dropped(self.name, packet if isinstance(packet, Packet) else None, drop, self.clock.now())

    def _woken(self) -> None:
        self._wakeups.poll(0)

    def wake_on(self, fd: int) -> None:
        """Wake the clock on each event of a real descriptor (edge-triggered)."""
        self._wakeups.register(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

    # Programs

    def process(self, name: str = "app") -> KernelProcess:
        """A program: the calls of `host.process.Process`, on sockets of this kernel."""
        process = KernelProcess(self, name)
        self.processes.append(process)
        return process

    def start(self, command: Sequence[str], **files: int) -> subprocess.Popen[bytes]:
        """Start a program inside (a server, say); `stdout` and `stderr` as in subprocess. Killed on close()."""
        child = self.namespace.popen(command, stdout=files.get("stdout"), stderr=files.get("stderr"))
        self._children.append(child)
        return child

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: int = RUN_TIMEOUT,
        while_: Callable[[Callable[[], bool], int], object] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end while the world's clock goes on. TimeoutExpired after `timeout` ns.

        while_(predicate, deadline) lets the world go on instead of the clock's run_while.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = self.start(command, stdout=out.fileno(), stderr=err.fileno())
            pidfd = os.pidfd_open(child.pid)
            self.clock.add_reader(pidfd, _nothing)
            try:
                goes_on = while_ or self.clock.run_while
                goes_on(lambda: child.poll() is None, self.clock.now() + timeout)
            finally:
                self.clock.remove_reader(pidfd)
                os.close(pidfd)
                ended = child.poll() is not None
                if not ended:
                    child.kill()
                    child.wait()
            out.seek(0)
            err.seek(0)
            texts = [file.read().decode(errors="replace") for file in (out, err)]
        if not ended:
            raise subprocess.TimeoutExpired(list(command), timeout / SEC, texts[0], texts[1])
        return subprocess.CompletedProcess(list(command), child.returncode, texts[0], texts[1])

    def wait(self, condition: Callable[[], object], timeout: float = 10.0) -> bool:
        """Let the world's clock go on until condition() is true; False if it is not within `timeout` seconds."""
        return self.clock.run_while(lambda: not condition(), self.clock.now() + seconds(timeout))

    # What the kernel knows

    def set_sysctl(self, name: str, value: object) -> None:
        """Set 'net.ipv4.tcp_...' of this kernel. UsageError for an unknown name, OSError for a bad value."""
        self.namespace.set_sysctl(name, value)

    def get_sysctl(self, name: str) -> str:
        """The value as `sysctl -n` prints it."""
        return self.namespace.get_sysctl(name)

    def states(self) -> list[KernelSocket]:
        """All TCP sockets, half-open connections and TIME-WAIT records, with their timers."""
        return [entry for file in ("tcp", "tcp6") for entry in parse_sockets(self.namespace.read(f"/proc/net/{file}"))]

    def counters(self) -> dict[str, int]:
        """The counters under nstat's names, zeros included."""
        return parse_counters(*(self.namespace.read(f"/proc/net/{file}") for file in ("snmp", "netstat", "snmp6")))

    # Power

    def power_off(self) -> None:
        """Nothing goes in or out any more. The kernel and its timers run on, which nobody can tell from outside."""
        self.powered = False

    def power_on(self) -> None:
        """Reachable again, with the memory it had, unless `forget` has been called: a namespace cannot be rebooted."""
        self.powered = True

    def forget(self) -> None:
        """Lose the programs and every socket they hold without a word to anybody, as a crash would.

        Sockets in repair mode are closed silently (TCP_REPAIR, tcp_close()). Connections that no
        program holds (TIME-WAIT, orphans, half-open ones) are beyond reach; see `states`.
        UsageError while the power is on, since what waits in an accept queue is reset.
        """
        if self.powered:
            raise UsageError(f"{self.name} has power: power_off() comes first")
        for process in list(self.processes):
            process.vanish()
        # The resets of connections that nobody had accepted die here, without power.
        self._end.on_readable()

    def close(self) -> None:
        """End its programs and remove the namespace."""
        for process in list(self.processes):
            process.kill()
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()
        self._end.close()
        self.clock.remove_reader(self._wakeups.fileno())
        self._wakeups.close()
        self.tun.close()
        self.namespace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing() -> None:
    """A callback for descriptors that only need to wake the clock."""
