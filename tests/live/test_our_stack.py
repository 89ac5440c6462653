"""Our host on a TUN, driven by asyncio, and a kernel's programs at the other end."""

import asyncio
import socket

import pytest

from timewait.host.host import Host, Interface
from timewait.world.driver import AsyncSocket, Driver, LoopClock
from timewait.world.netns import Namespace
from timewait.world.tun import Tun

KERNEL, US = "10.6.0.1", "10.6.0.2"


def our_host(tun: Tun) -> tuple[Host, Interface]:
    tun.add_address(f"{KERNEL}/24")
    host = Host("ours", LoopClock())
    return host, host.add_interface("eth0", f"{US}/24", mtu=tun.mtu)


@pytest.mark.parametrize("offload", [True, False])
def test_a_kernel_client_is_echoed(namespace: Namespace, offload: bool) -> None:
    async def run() -> None:
        with Tun(namespace, offload=offload) as tun:
            host, iface = our_host(tun)
            with Driver(host) as driver:
                driver.attach(iface, tun)
                listener = AsyncSocket.listening(host.process("server"), (US, 7))
                loop = asyncio.get_running_loop()
                message = bytes(range(256)) * 2000

                async def serve() -> None:
                    connection, peer = await listener.accept()
                    assert peer[0] == KERNEL
                    while data := await connection.recv():
                        await connection.sendall(data)
                    connection.close()

                async def ask() -> bytes:
                    with namespace.socket() as client:
                        client.setblocking(False)
                        await loop.sock_connect(client, (US, 7))
                        sending = asyncio.create_task(loop.sock_sendall(client, message))
                        got = b""
                        while len(got) < len(message):
                            part = await loop.sock_recv(client, 1 << 16)
                            assert part, "the connection ended early"
                            got += part
                        await sending
                        client.shutdown(socket.SHUT_WR)
                        assert await loop.sock_recv(client, 1) == b""
                    return got

                server = asyncio.create_task(serve())
                assert await asyncio.wait_for(ask(), 10) == message
                await asyncio.wait_for(server, 5)

    asyncio.run(run())


def test_our_client_reaches_a_kernel_server(namespace: Namespace) -> None:
    async def run() -> None:
        with Tun(namespace) as tun:
            host, iface = our_host(tun)
            with Driver(host) as driver, namespace.socket() as listener:
                driver.attach(iface, tun)
                listener.bind((KERNEL, 80))
                listener.listen()
                listener.setblocking(False)
                client = AsyncSocket.stream(host.process("client"))
                await asyncio.wait_for(client.connect((KERNEL, 80)), 5)
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                with connection:
                    await client.sendall(b"GET /\r\n")
                    assert await asyncio.get_running_loop().sock_recv(connection, 100) == b"GET /\r\n"
                    connection.sendall(b"200 OK")
                assert await asyncio.wait_for(client.recv(), 5) == b"200 OK"
                assert await asyncio.wait_for(client.recv(), 5) == b""
                client.close()

    asyncio.run(run())


def test_a_closed_port_of_a_kernel_refuses(namespace: Namespace) -> None:
    async def run() -> None:
        with Tun(namespace) as tun:
            host, iface = our_host(tun)
            with Driver(host) as driver:
                driver.attach(iface, tun)
                client = AsyncSocket.stream(host.process("client"))
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.wait_for(client.connect((KERNEL, 81)), 5)

    asyncio.run(run())
