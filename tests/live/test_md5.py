"""Our stack and the kernel sign for each other (RFC 2385), over a link of the world, IPv4 and IPv6, both ways."""

import errno
import socket
import struct

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.wire.address import pack
from timewait.world.kernel import KernelHost
from timewait.world.network import World

TCP_MD5SIG = 14


def key(addr: str, secret: bytes) -> bytes:
    if ":" in addr:
        where = struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, pack(addr), 0)
    else:
        where = struct.pack("=HH4s120x", socket.AF_INET, 0, pack(addr))
    return where + struct.pack("=BBHi80s", 0, 0, len(secret), 0, secret)


class Two:
    """Our host 'ours' and the kernel's 'kernel', each with one program."""

    def __init__(self) -> None:
        self.world = World(clock="real")
        ours = self.world.host("ours", "10.7.0.1/24", "fd07::1/64")
        self.kernel = KernelHost("kernel", self.world.clock, "10.7.0.2/24", "fd07::2/64")
        self.world.link(ours, self.kernel)
        self.hosts = {"ours": ours, "kernel": self.kernel}
        self.programs = {"ours": ours.process("app"), "kernel": self.kernel.process("app")}

    def close(self) -> None:
        self.kernel.close()
        self.world.clock.close()

    def until(self, condition, limit: int = 10 * SEC) -> bool:
        deadline = self.world.now + limit
        while not condition():
            if self.world.now >= deadline:
                return False
            self.world.run(4 * MSEC)
        return True


@pytest.fixture
def two():
    made = Two()
    yield made
    made.close()


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


@pytest.mark.live
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("active", ["ours", "kernel"])
@pytest.mark.parametrize("secrets", [(b"secret", b"secret"), (b"secret", b"other"), (b"secret", None)])
def test_signed_both_ways(two, active, v6, secrets):
    passive = "kernel" if active == "ours" else "ours"
    family = socket.AF_INET6 if v6 else socket.AF_INET
    addrs = {"ours": "fd07::1", "kernel": "fd07::2"} if v6 else {"ours": "10.7.0.1", "kernel": "10.7.0.2"}
    client, server = two.programs[active], two.programs[passive]
    listener, fd = server.socket(family, socket.SOCK_STREAM), client.socket(family, socket.SOCK_STREAM)
    server.setsockopt(listener, socket.IPPROTO_TCP, TCP_MD5SIG, key(addrs[active], secrets[0]))
    if secrets[1] is not None:
        client.setsockopt(fd, socket.IPPROTO_TCP, TCP_MD5SIG, key(addrs[passive], secrets[1]))
    server.bind(listener, ("::" if v6 else "0.0.0.0", 179))
    server.listen(listener, 5)
    attempt(client.connect, fd, (addrs[passive], 179))
    accepted = []

    def accepts():
        found = attempt(server.accept, listener)
        if not isinstance(found, str):
            accepted.append(found[0])
        return accepted

    if secrets[0] != secrets[1]:
        counters = two.hosts[passive].counters
        if passive == "kernel":
            counters = counters()
            refused = lambda: sum(two.kernel.counters()[f"TcpExtTCPMD5{n}"] for n in ("NotFound", "Failure"))  # noqa: E731
        else:
            refused = lambda: counters.TcpExtTCPMD5NotFound + counters.TcpExtTCPMD5Failure  # noqa: E731
        assert two.until(refused)
        assert not accepts()
        return
    assert two.until(accepts)
    for sender, sfd, receiver, rfd in ((client, fd, server, accepted[0]), (server, accepted[0], client, fd)):
        data, got = bytes(i * 7 % 251 for i in range(100_000)), b""
        left = memoryview(data)
        deadline = two.world.now + 20 * SEC
        while len(got) < len(data) and two.world.now < deadline:
            if left:
                count = attempt(sender.send, sfd, left[:16384])
                left = left if isinstance(count, str) else left[count:]
            part = attempt(receiver.recv, rfd, 65536)
            got += part if isinstance(part, bytes) else b""
            two.world.run(MSEC)
        assert got == data
    for fdes, program in ((fd, client), (accepted[0], server)):
        program.close(fdes)
    two.world.run(50 * MSEC)
    for name in ("NotFound", "Unexpected", "Failure"):
        assert two.kernel.counters()[f"TcpExtTCPMD5{name}"] == 0
        assert getattr(two.hosts["ours"].counters, f"TcpExtTCPMD5{name}") == 0
