"""The bind matrix: every pair of sockets bound to one port gets the same answer from us and from the running kernel."""

import errno
import itertools
import socket
import sys

import pytest

from timewait.base.rng import Streams
from timewait.host.ports import ANY4, ANY6, PortOwner, PortTable, UdpPortTable
from timewait.tcp.sysctl import Sysctl
from timewait.wire.address import pack

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel"),
    # Another program of this machine may take the same port between two questions.
    pytest.mark.flaky(reruns=2),
]

ADDRESSES = ["0.0.0.0", "127.0.0.2", "127.0.0.3", "::", "::only", "::1", "::ffff:127.0.0.2"]
Spec = tuple[str, bool, bool, bool]
"""Address, SO_REUSEADDR, SO_REUSEPORT, listening."""


def kernel_socket(spec: Spec, kind: int, port: int) -> socket.socket:
    addr, reuse, share, listening = spec
    family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, addr == "::only")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
        sock.bind(("::" if addr == "::only" else addr, port))
        if listening:
            sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock


def our_owner(spec: Spec, table: PortTable, port: int) -> PortOwner:
    addr, reuse, share, listening = spec
    owner = PortOwner()
    owner.family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    owner.local_addr = ANY6 if ":" in addr else ANY4
    owner.v6only = addr == "::only"
    owner.reuse_addr = reuse
    owner.reuse_port = share
    table.bind(owner, pack("::" if addr == "::only" else addr), port)
    if listening:
        table.listen(owner)
    return owner


def kernel_says(first: Spec, second: Spec, kind: int) -> int:
    one = kernel_socket(first, kind, 0)
    try:
        kernel_socket(second, kind, one.getsockname()[1]).close()
    except OSError as error:
        return error.errno or -1
    finally:
        one.close()
    return 0


def we_say(first: Spec, second: Spec, kind: int) -> int:
    sysctl = Sysctl()
    table = PortTable(sysctl, Streams(1)) if kind == socket.SOCK_STREAM else UdpPortTable(sysctl, Streams(1))
    one = our_owner(first, table, 0)
    try:
        our_owner(second, table, one.local_port)
    except OSError as error:
        return error.errno or -1
    return 0


def specs(kind: int) -> list[Spec]:
    listening = (False, True) if kind == socket.SOCK_STREAM else (False,)
    return list(itertools.product(ADDRESSES, (False, True), (False, True), listening))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("addr", ADDRESSES)
def test_bind_matrix_agrees_with_the_kernel(kind: int, addr: str) -> None:
    try:
        kernel_socket(("::1", False, False, False), kind, 0).close()
    except OSError:
        pytest.skip("no IPv6 loopback")
    differing = []
    for first in specs(kind):
        if first[0] != addr:
            continue
        for second in specs(kind):
            theirs, ours = kernel_says(first, second, kind), we_say(first, second, kind)
            if theirs != ours:
                differing.append((first, second, errno.errorcode.get(theirs), errno.errorcode.get(ours)))
    assert differing == []


@pytest.mark.parametrize("reuse", [(False, False), (True, False), (True, True)])
def test_second_listen_on_a_shared_binding(reuse: tuple[bool, bool]) -> None:
    """Two sockets may be bound with SO_REUSEADDR; only one of them may listen, unless both have SO_REUSEPORT."""
    spec = ("127.0.0.2", *reuse, False)
    theirs: list[int] = []
    one = kernel_socket(spec, socket.SOCK_STREAM, 0)
    socks = [one]
    try:
        socks.append(kernel_socket(spec, socket.SOCK_STREAM, one.getsockname()[1]))
        for sock in socks:
            sock.listen(1)
    except OSError as error:
        theirs.append(error.errno or -1)
    finally:
        for sock in socks:
            sock.close()
    ours: list[int] = []
    table = PortTable(Sysctl(), Streams(1))
    try:
        first = our_owner(spec, table, 0)
        second = our_owner(spec, table, first.local_port)
        table.listen(first)
        table.listen(second)
    except OSError as error:
        ours.append(error.errno or -1)
    assert ours == theirs
