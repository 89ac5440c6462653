"""What live measurements share: a TUN in a namespace, our host on it, two kernels on a cable, programs, meters."""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from timewait.host.host import Host
from timewait.world.driver import Driver, LoopClock
from timewait.world.netns import Namespace
from timewait.world.tun import Tun

KERNEL: Final = "10.78.0.1"
OURS: Final = "10.78.255.2"
WARM: Final = 0.5
"""Seconds before a measurement begins: slow start, buffers, caches."""
SLACK: Final = 15.0
"""Seconds after which a measurement that got stuck is given up."""
QUEUE: Final = 2000


def _generous(namespace: Namespace) -> None:
    """Large buffers and many ports, so that neither is what is measured."""
    namespace.set_sysctl("net.ipv4.ip_local_port_range", (10000, 65000))
    for sysctl in ("tcp_rmem", "tcp_wmem"):
        namespace.set_sysctl(f"net.ipv4.{sysctl}", (4096, 1 << 20, 64 << 20))
    # The same sender on each machine: where BBR is the default its pacing timers would be measured.
    namespace.set_sysctl("net.ipv4.tcp_congestion_control", "reno")


@contextlib.contextmanager
def device(mtu: int, queues: int = 1) -> Iterator[tuple[Namespace, Tun]]:
    """A namespace with a TUN, whose kernel end is KERNEL."""
    with Namespace("bench") as namespace, Tun(namespace, mtu=mtu, queues=queues) as tun:
        _generous(namespace)
        tun.add_address(f"{KERNEL}/16")
        yield namespace, tun


@contextlib.contextmanager
def a_core_each(namespace: Namespace, tun: Tun) -> Iterator[list[int]]:
    """Our process on one processor and the kernel's half on the others, which are yielded for its programs.

    What we write is then received there too (RPS), as a network card's interrupt on that
    processor would have it; else the kernel's TCP runs inside our own write().
    """
    ours, *others = sorted(os.sched_getaffinity(0))
    if not others:
        yield [ours]
        return
    mask = f"{sum(1 << processor for processor in others):x}"
    script = f"mount -t sysfs none /sys && echo {mask} > /sys/class/net/{tun.name}/queues/rx-0/rps_cpus"
    namespace.run(["unshare", "-m", "sh", "-c", script])
    os.sched_setaffinity(0, [ours])
    try:
        yield others
    finally:
        os.sched_setaffinity(0, [ours, *others])


@contextlib.contextmanager
def cable(mtu: int, *, tuned: bool = True) -> Iterator[tuple[Namespace, Namespace]]:
    """Two kernels on a veth pair with its usual offloads: the client's is KERNEL, the server's OURS."""
    with Namespace("benchc") as client, Namespace("benchs") as server:
        client.veth("eth0", server)
        for namespace, address in ((client, KERNEL), (server, OURS)):
            if tuned:
                _generous(namespace)
            namespace.ip(f"link set eth0 mtu {mtu}")
            namespace.add_address("eth0", f"{address}/16")
        yield client, server


@contextlib.contextmanager
def program(namespace: Namespace, text: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A kernel's program in the namespace, ended at the end."""
    child = namespace.popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def line(child: "subprocess.Popen[bytes]") -> bytes:
    """The next line that a program prints."""
    assert child.stdout is not None
    found: bytes = child.stdout.readline()
    if not found:
        raise RuntimeError(f"the kernel's program ended: exit status {child.wait(SLACK)}")
    return found


def ready(child: "subprocess.Popen[bytes]") -> None:
    """Wait until a program listens."""
    assert line(child) == b"ready\n"


@contextlib.contextmanager
def host_on(tun: Tun) -> Iterator[Host]:
    """Our host on the TUN, on the running loop."""
    host = Host("ours", LoopClock())
    with Driver(host) as driver:
        driver.attach(host.add_interface("eth0", f"{OURS}/16", mtu=tun.mtu), tun)
        yield host


class Meter:
    """Wall time, processor time and a count, from a moment on."""

    def __init__(self, count: int) -> None:
        self.count, self.wall, self.cpu = count, time.monotonic(), time.process_time()

    def rates(self, count: int) -> tuple[float, float]:
        """(per second, share of a processor) since then."""
        wall = time.monotonic() - self.wall
        return (count - self.count) / wall, (time.process_time() - self.cpu) / wall


def limit_memory(octets: int) -> None:
    """Refuse this process more address space."""
    resource.setrlimit(resource.RLIMIT_AS, (octets, octets))
