"""The running kernel as the machine under test: a namespace behind a TUN, in real time."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from timewait.base.errors import UsageError, WireError
from timewait.base.instant import SEC
from timewait.drill.kernel_calls import KernelCalls
from timewait.drill.machine import Answer, Pending
from timewait.record.record import Record
from timewait.tcp.reasons import Drop
from timewait.tcp.sysctl import Sysctl
from timewait.wire.address import pack
from timewait.wire.packet import Buffer, Packet
from timewait.world.attach import TunEnd
from timewait.world.clock import RealClock
from timewait.world.netns import Namespace
from timewait.world.offload import packet_of
from timewait.world.procnet import parse_counters
from timewait.world.tun import Tun

WAIT_FOREVER: Final = 60 * SEC
"""Real time has to end some day: a script's wait without limit is over after this."""
STARTED_WITHIN: Final = 0.2
"""Seconds within which a call is either through or asleep in the kernel."""
FUTEX: Final = "202"


class _Worker:
    """A thread that makes calls, so that one that waits does not stop the script."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[Callable[[], Answer], Pending, Callable[[], int]] | None]
        self.jobs = queue.SimpleQueue()
        self.busy = False
        self.tid = 0
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        self.tid = threading.get_native_id()
        while (job := self.jobs.get()) is not None:
            call, pending, now = job
            try:
                answer = call()
            except OSError as error:
                answer = Answer(-1, error.errno or 0)
            except BaseException as error:
                answer = Answer(-1, 0, {"fault": error})
            pending.ended = now()
            pending.answer = answer
            self.busy = False
            os.write(self.wake_write, b"!")

    def asleep(self) -> bool:
        """Whether it waits inside a system call other than for Python's own lock."""
        try:
            with open(f"/proc/self/task/{self.tid}/syscall") as file:
                number = file.read().split()[0]
        except (OSError, IndexError):
            return False
        return number not in ("running", FUTEX)


class KernelMachine:
    """A namespace of the running kernel with one TUN."""

    kind = "kernel"

    def __init__(self, local: str, remote: str, *, mtu: int = 1500) -> None:
        self.record = Record(limit=200_000)
        self.outgoing: deque[tuple[int, Packet]] = deque()
        self.files: dict[str, bytes] = {}
        self.congestion = ""
        """The algorithm that every socket is given; '': the namespace's default."""
        self.remote = pack(remote)
        self.clock = RealClock()
        self.wall_origin = time.time_ns() - self.clock.now()
        self.namespace = Namespace("drill", own_tables=True)
        self.workers: list[_Worker] = []
        try:
            self.tun = Tun(self.namespace, mtu=mtu, offload=False)
            self.tun.add_address(f"{local}/{48 if ':' in local else 16}")
            self.route = "::/0" if ":" in local else "default"
            self.namespace.add_route(self.route, interface=self.tun.name)
            self._end = TunEnd(self.tun, self.clock, deliver=self._arrived, drained=_nothing, lost=self._lost)
        except BaseException:
            self.namespace.close()
            raise
        self.calls = KernelCalls(self)
        self.set_sysctl("net.ipv4.tcp_congestion_control", Sysctl().tcp_congestion_control)

    def _arrived(self, data: Buffer) -> None:
        try:
            packet = packet_of(bytes(data))
        except WireError:
            return
        now = int(self.clock.now())
        if packet.dst == self.remote:
            self.record.sent("local", packet, now)
            self.record.received("remote", packet, now)
            self.outgoing.append((now, packet))

    def _lost(self, packet: Packet | Buffer, drop: Drop) -> None:
        self.record.noted("local", f"a packet could not be given to the kernel: {drop.name}", int(self.clock.now()))

    # Time

    def now(self) -> int:
        return int(self.clock.now())

    def run_until(self, when: int) -> None:
        self.clock.run_until(min(when, self.now() + WAIT_FOREVER))

    def run_while(self, condition: Callable[[], bool], deadline: int) -> bool:
        self.clock.run_while(condition, min(deadline, self.now() + WAIT_FOREVER))
        return not condition()

    # Packets and calls

    def inject(self, packet: Packet) -> None:
        self.record.sent("remote", packet, int(self.clock.now()))
        self.record.received("local", packet, int(self.clock.now()))
        self._end.transmit(packet)

    def begin(self, name: str, arguments: tuple[Any, ...]) -> Pending:
        pending = Pending(self.now())
        call = getattr(self.calls, name)
        worker = self._worker()
        worker.busy = True
        worker.jobs.put((lambda: call(*arguments), pending, self.now))
        limit = time.monotonic() + STARTED_WITHIN
        while pending.answer is None and time.monotonic() < limit:
            if worker.asleep():
                # A call that is about to return may be seen asleep for an instant.
                time.sleep(0.0005)
                if pending.answer is None and worker.asleep():
                    break
            time.sleep(0.0001)
        self._drain(worker)
        if pending.answer is not None and "fault" in pending.answer.values:
            raise pending.answer.values["fault"]
        return pending

    def _worker(self) -> _Worker:
        for worker in self.workers:
            if not worker.busy:
                return worker
        worker = _Worker()
        self.clock.add_reader(worker.wake_read, lambda: self._drain(worker))
        self.workers.append(worker)
        return worker

    def _drain(self, worker: _Worker) -> None:
        try:
            os.read(worker.wake_read, 4096)
        except BlockingIOError:
            return

    # Settings

    def set_sysctl(self, name: str, value: str) -> None:
        if not name.startswith("net."):
            return
        try:
            self.namespace.set_sysctl(name, value)
            if name == "net.ipv4.tcp_congestion_control":
                self.congestion = ""
        except PermissionError:
            if name != "net.ipv4.tcp_congestion_control":
                raise UsageError(f"sysctl {name} cannot be set in a network namespace") from None
            # Only the machine's unrestricted algorithms can be a namespace's default; a socket may have any.
            self.congestion = value
        except OSError as error:
            raise UsageError(f"sysctl {name} = {value!r}: {error.strerror}") from None

    def get_sysctl(self, name: str) -> str:
        return self.namespace.get_sysctl(name)

    def counters(self) -> Mapping[str, int]:
        return parse_counters(*(self.namespace.read(f"/proc/net/{file}") for file in ("snmp", "netstat", "snmp6")))

    def set_mtu(self, mtu: int) -> None:
        self.namespace.ip(f"link set {self.tun.name} mtu {mtu}")

    def set_route(self, metrics: Mapping[str, str]) -> None:
        words = " ".join(f"{name} {value}" for name, value in metrics.items())
        family = "-6 " if self.route == "::/0" else ""
        self.namespace.run(["ip", *f"{family}route replace {self.route} dev {self.tun.name} {words}".split()])

    def forget_metrics(self, address: str = "") -> None:
        what = ["delete", address] if address else ["flush"]
        self.namespace.run(["ip", "tcp_metrics", *what], check=False)

    def tcp_metrics(self) -> str:
        return self.namespace.run(["ip", "tcp_metrics", "show"], check=False).stdout

    def close(self) -> None:
        self.calls.close_all()
        for worker in self.workers:
            worker.jobs.put(None)
            self.clock.remove_reader(worker.wake_read)
            worker.thread.join(0.05)
            if not worker.thread.is_alive():
                os.close(worker.wake_read)
                os.close(worker.wake_write)
        self._end.close()
        self.tun.close()
        self.namespace.close()
        self.clock.close()


def _nothing() -> None:
    """Nothing to do after a batch of packets."""
