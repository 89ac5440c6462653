"""Namespaces: apart from the host's, and gone without a trace."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from timewait.base.errors import UsageError
from timewait.world.netns import Namespace, NamespaceError, probe


def own_namespace() -> str:
    return os.readlink("/proc/self/ns/net")


def test_the_calling_thread_stays_where_it_is(namespace: Namespace) -> None:
    before = own_namespace()
    inside = namespace.call(os.readlink, "/proc/thread-self/ns/net")
    assert inside != before
    assert own_namespace() == before
    assert namespace.run(["readlink", "/proc/self/ns/net"]).stdout.strip() == inside


def test_probe_has_nothing_to_say() -> None:
    assert probe() == ""


def test_two_namespaces_on_a_cable() -> None:
    with Namespace("left") as left, Namespace("right") as right:
        assert left.name != right.name
        left.veth("eth0", right, "eth9")
        left.add_address("eth0", "10.9.0.1/24")
        right.add_address("eth9", "10.9.0.2/24")
        left.add_address("eth0", "fd09::1/64")
        left.add_route("10.10.0.0/16", via="10.9.0.2")
        left.add_route("fd0a::/64", interface="eth0")
        with right.socket() as listener, left.socket() as client:
            listener.bind(("10.9.0.2", 80))
            listener.listen()
            client.settimeout(5)
            client.connect(("10.9.0.2", 80))
            assert client.getsockname()[0] == "10.9.0.1"
        assert "10.10.0.0/16 via 10.9.0.2" in left.run(["ip", "route"]).stdout


def test_sysctls_are_the_namespaces_own(namespace: Namespace) -> None:
    with Namespace("other") as other:
        namespace.set_sysctl("net.ipv4.tcp_fin_timeout", 7)
        namespace.set_sysctl("net.ipv4.tcp_rmem", (4096, 8192, 16384))
        assert namespace.get_sysctl("net.ipv4.tcp_fin_timeout") == "7"
        assert namespace.get_sysctl("net.ipv4.tcp_rmem").split() == ["4096", "8192", "16384"]
        assert other.get_sysctl("net.ipv4.tcp_fin_timeout") == "60"
    with pytest.raises(UsageError, match="no sysctl"):
        namespace.set_sysctl("net.ipv4.tcp_nonsense", 1)
    with pytest.raises(UsageError, match=r"net\."):
        namespace.get_sysctl("kernel.hostname")


def test_errors_come_back_to_the_caller(namespace: Namespace) -> None:
    with pytest.raises(NamespaceError, match="nonsense"):
        namespace.ip("link set nonsense up")
    with pytest.raises(ZeroDivisionError):
        namespace.call(divmod, 1, 0)
    with pytest.raises(subprocess.CalledProcessError):
        namespace.run(["false"])


def test_closing_ends_the_programs_started_inside() -> None:
    with Namespace("gone") as namespace:
        child = namespace.popen(["sleep", "60"])
        name = namespace.name
    assert child.poll() is not None
    with pytest.raises(NamespaceError, match=name):
        namespace.call(os.getpid)


def test_nothing_is_left_after_an_error() -> None:
    threads_and_fds = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError), Namespace("failing") as namespace:
        namespace.socket(socket.AF_INET6).close()
        raise RuntimeError
    assert len(os.listdir("/proc/self/fd")) == threads_and_fds


def test_what_a_shell_started_ends_with_the_namespace():
    with Namespace("group") as namespace:
        child = namespace.popen(["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
    status = Path(f"/proc/{grandchild}/stat")
    for _ in range(100):
        # It has been killed; when it is gone is for the scheduler to say.
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] in "ZX":
            return
        time.sleep(0.05)
    raise AssertionError("what the shell started still runs")
