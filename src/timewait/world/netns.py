"""Network namespaces: kernels' network stacks of their own, made and left without touching the host's.

A `Namespace` is anonymous: one thread of this process lives in it and one descriptor
keeps it alive, so that it goes when the process goes, even by SIGKILL, and leaves no
name in /run/netns. Work that belongs inside (opening sockets, reading /proc/net,
starting programs) is handed to that thread; the calling thread never changes its own
namespace.
"""

import atexit
import contextlib
import ctypes
import errno
import itertools
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

from timewait.base.errors import UsageError

T = TypeVar("T")

CLONE_NEWNET: Final = 0x40000000
TUN_DEVICE: Final = "/dev/net/tun"

COMMAND_TIMEOUT: Final = 10.0
"""Seconds that an `ip` command may take; it talks to the local kernel only."""

OWN_TABLE: Final = 4096
"""Entries of a table of one's own: enough for thousands of connections, and read at once."""

_SIZED_BY_TABLE: Final = ("net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_syn_backlog")
"""Defaults that a kernel derives from the size of the table (tcp_sk_init)."""

_QUIET: Final = {
    "net.ipv6.conf.default.router_solicitations": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.addr_gen_mode": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
"""No router solicitations, no duplicate detection, no link-local addresses (1: none); no reverse-path filter."""

_counter = itertools.count(1)
_open: "weakref.WeakSet[Namespace]" = weakref.WeakSet()


def end_group(child: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to a program that leads a group, and to everything it started that is still in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


class NamespaceError(OSError):
    """A namespace or something inside it could not be made; the text says what and why."""


def probe() -> str:
    """'' where namespaces and TUN can be used, else one line that says what is missing and how to get it."""
    if not hasattr(os, "geteuid"):
        return "network namespaces need Linux"
    if os.geteuid() != 0 and not _has_net_admin():
        return "not root: run with sudo, or in `unshare --user --map-root-user --net`"
    if not os.path.exists(TUN_DEVICE):
        return f"{TUN_DEVICE} is missing: `modprobe tun`, or start the container with --device {TUN_DEVICE}"
    if shutil.which("ip") is None:
        return "the `ip` command is missing: install iproute2"
    try:
        with Namespace("probe") as namespace:
            os.close(namespace.call(os.open, TUN_DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{error}: the container needs --cap-add NET_ADMIN --cap-add SYS_ADMIN --device {TUN_DEVICE}"
    return ""


def _has_net_admin() -> bool:
    """Whether CAP_NET_ADMIN (12) and CAP_SYS_ADMIN (21) are in the effective set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            caps = int(line.split()[1], 16)
            return bool(caps >> 12 & 1) and bool(caps >> 21 & 1)
    return False


def _quieten() -> None:
    """Let new interfaces send nothing of their own accord, so that a trace shows the experiment only."""
    for name, value in _QUIET.items():
        path = _sysctl_path(name)
        if path.exists():
            path.write_text(value)


def _unshare_net() -> None:
    """Move the calling thread, and only it, into a new network namespace."""
    if hasattr(os, "unshare"):
        os.unshare(CLONE_NEWNET)  # Python 3.12 and newer
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise NamespaceError(number, f"unshare(CLONE_NEWNET): {os.strerror(number)}")


def _unshare_tables() -> None:
    """From a new namespace into one below it, whose hash table is small; what is sized by it stays as it was."""
    wish = _sysctl_path("net.ipv4.tcp_child_ehash_entries")
    if not wish.exists():
        return
    wish.write_text(str(OWN_TABLE))
    before = {name: _sysctl_path(name).read_text() for name in _SIZED_BY_TABLE}
    _unshare_net()
    for name, value in before.items():
        _sysctl_path(name).write_text(value)


class _Job:
    """A function to run inside, and what came of it."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run
        self.done = threading.Event()
        self.value: object = None
        self.error: BaseException | None = None


class Namespace:
    """A network namespace of our own. Use it in a `with`, or call `close()`.

    `name` is unique among processes and namespaces ('label-PID-N') and only a label.
    With `own_tables` its connections are kept in a small table of their own, where the kernel
    can do so (6.1 and newer): /proc/net/tcp then takes microseconds to read, not the
    milliseconds that walking the whole machine's table takes.
    """

    def __init__(self, label: str = "tw", *, own_tables: bool = False) -> None:
        self.name = f"{label}-{os.getpid()}-{next(_counter)}"
        self.own_tables = own_tables
        self.fd = -1
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._children: list[subprocess.Popen[bytes]] = []
        ready = _Job(lambda: None)
        self._thread = threading.Thread(target=self._live, args=(ready,), name=self.name, daemon=True)
        self._thread.start()
        ready.done.wait()
        if ready.error is not None:
            raise ready.error
        _open.add(self)
        try:
            self.call(_quieten)
            self.ip("link set lo up")
        except BaseException:
            self.close()
            raise

    def _live(self, ready: _Job) -> None:
        """The thread that is inside: moves in, then runs jobs until None comes."""
        try:
            _unshare_net()
            if self.own_tables:
                _unshare_tables()
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException as error:
            ready.error = error
            return
        finally:
            ready.done.set()
        while (job := self._jobs.get()) is not None:
            try:
                job.value = job.run()
            except BaseException as error:
                job.error = error
            job.done.set()

    def call(self, function: Callable[..., T], /, *args: object) -> T:
        """Run function(*args) inside and return its value or raise its exception.

        Calls run one after another; one that waits keeps the others waiting.
        """
        if self.fd < 0:
            raise NamespaceError(errno.ENODEV, f"namespace {self.name} is closed")
        job = _Job(lambda: function(*args))
        self._jobs.put(job)
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.value  # type: ignore[return-value]

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
        """A socket that belongs to this namespace, usable from any thread."""
        return self.call(socket.socket, family, kind, proto)

    def popen(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a program inside. It is killed when the namespace is closed."""

        def start() -> subprocess.Popen[bytes]:
            # A child inherits the namespace of the thread that forks it.
            # In a group of its own, so that what a shell starts ends with the shell.
            return subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, start_new_session=True
            )

        child = self.call(start)
        self._children = [c for c in self._children if c.poll() is None]
        self._children.append(child)
        return child

    def run(
        self, command: Sequence[str], *, input: bytes | None = None, timeout: float = 60.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, with its output as text.

        Raises subprocess.CalledProcessError for a non-zero exit with `check`, TimeoutExpired after `timeout` seconds.
        """
        stdin = subprocess.PIPE if input is not None else subprocess.DEVNULL
        child = self.popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = child.communicate(input, timeout=timeout)
        except BaseException:
            child.kill()
            child.communicate()
            raise
        result = subprocess.CompletedProcess(
            list(command), child.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )
        if check:
            result.check_returncode()
        return result

    def ip(self, *lines: str) -> None:
        """Run lines of `ip` commands inside ('link set lo up'), in one go. NamespaceError with ip's own words."""
        text = "".join(line + "\n" for line in lines).encode()
        result = self.run(["ip", "-batch", "-"], input=text, timeout=COMMAND_TIMEOUT, check=False)
        if result.returncode != 0:
            raise NamespaceError(errno.EINVAL, f"ip {'; '.join(lines)}: {result.stderr.strip()}")

    def read(self, path: str) -> str:
        """The text of a file as seen from inside. '/proc/net/...' means this namespace's."""
        if path.startswith("/proc/net/"):
            # /proc/net is /proc/self/net: the namespace of the process's first thread.
            path = "/proc/thread-self/net/" + path.removeprefix("/proc/net/")
        return self.call(Path(path).read_text)

    def get_sysctl(self, name: str) -> str:
        """The value of 'net.ipv4.tcp_sack' inside, as text. UsageError where the kernel has none such."""
        try:
            return self.call(_sysctl_path(name).read_text).strip()
        except FileNotFoundError:
            raise UsageError(f"this kernel has no sysctl {name} in a network namespace") from None

    def set_sysctl(self, name: str, value: object) -> None:
        """Set a sysctl inside; a tuple is written with spaces. OSError (EINVAL) where the kernel refuses the value."""
        text = " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        path = _sysctl_path(name)
        if not path.exists() and not self.call(path.exists):
            raise UsageError(f"this kernel has no sysctl {name} in a network namespace")
        self.call(path.write_text, text)

    def veth(self, name: str, other: "Namespace", other_name: str = "") -> None:
        """Connect this namespace and another by a cable: interfaces `name` here and `other_name` there, both up."""
        there = other_name or name
        self.ip(
            f"link add {name} type veth peer name {there} netns /proc/{os.getpid()}/fd/{other.fd}",
            f"link set {name} up",
        )
        other.ip(f"link set {there} up")

    def add_address(self, interface: str, address: str) -> None:
        """Give an interface an address '10.0.0.1/24' or 'fd00::1/64'; IPv6 without duplicate detection."""
        self.ip(f"addr add {address} dev {interface}{' nodad' if ':' in address else ''}")

    def add_route(self, destination: str, *, via: str = "", interface: str = "") -> None:
        """A route to '10.1.0.0/16', 'default' or '::/0', by way of a gateway or straight out of an interface."""
        words = [f"route add {destination}"]
        words += [f"via {via}"] if via else []
        words += [f"dev {interface}"] if interface else []
        self.ip(" ".join(words))

    def close(self) -> None:
        """Kill the programs started here and let the namespace go. Sockets of it that are still open keep it alive."""
        if self.fd < 0:
            return
        for child in self._children:
            end_group(child, signal.SIGKILL)
            child.wait()
        self._children.clear()
        self._jobs.put(None)
        self._thread.join()
        os.close(self.fd)
        self.fd = -1
        _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sysctl_path(name: str) -> Path:
    """'net.ipv4.tcp_sack' -> /proc/sys/net/ipv4/tcp_sack; an interface's dots are written as '/' as sysctl(8) does."""
    if not name.startswith("net."):
        raise UsageError(f"sysctl {name!r} is not of a network namespace: names begin with net.")
    return Path("/proc/sys", *(part.replace("/", ".") for part in name.split(".")))


def _close_all() -> None:
    """At exit: end the programs that would otherwise outlive us."""
    for namespace in list(_open):
        namespace.close()


atexit.register(_close_all)
