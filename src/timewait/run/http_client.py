"""An HTTP/1.1 client as a program on one of our hosts: keep-alive, chunked bodies, streaming."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Final
from urllib.parse import quote, urlsplit

from timewait.base.errors import UsageError
from timewait.host.process import Process
from timewait.run.http import UNTIL_CLOSE, Head, HttpError, Reader, body_length, message
from timewait.world.driver import AsyncSocket

_NO_BODY: Final = frozenset((204, 304))
MAX_INTERIM: Final = 16
"""Interim responses (1xx) that may stand in front of a final one."""


class Url:
    """'http://10.0.0.1:8080/a?b' taken apart. UsageError for one that we cannot fetch."""

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text if "://" in text else "http://" + text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{text!r} is no URL: {error}") from error
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"{text!r}: a URL here is http://HOST[:PORT]/PATH")
        self.host = parts.hostname
        self.port = 80 if port is None else port
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = quote(parts.query, safe="/?%:@!$&'()*+,;=~-._")
        self.target = f"{path}?{query}" if query else path
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = host if self.port == 80 else f"{host}:{self.port}"

    def address(self) -> str:
        """The host as an address. UsageError for a name: names are resolved by whoever knows a resolver."""
        try:
            return str(ip_address(self.host))
        except ValueError:
            raise UsageError(f"{self.host!r} is not an address") from None


class Response:
    """A response whose head has arrived. Read `body` to its end before the next request."""

    def __init__(self, status: int, reason: str, head: Head, body: AsyncIterator[bytes]) -> None:
        self.status = status
        self.reason = reason
        self.head = head
        self.body = body

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.body])


class Client:
    """Requests of one process. A connection is kept for the next request to the same server."""

    def __init__(self, process: Process, *, timeout: float = 60.0) -> None:
        self.process = process
        self.timeout = timeout
        """Seconds without any progress after which a request fails with TimeoutError."""
        self.connects = 0
        """Connections opened so far."""
        self._kept: Reader | None = None
        self._where = ("", 0)

    async def get(self, url: Url, address: str = "", *, method: str = "GET") -> Response:
        """Send a request and read the response's head. `address`: where the host is, if its name is not one."""
        where = (address or url.address(), url.port)
        request = message(
            f"{method} {url.target} HTTP/1.1", {"Host": url.authority, "User-Agent": "timewait", "Accept": "*/*"}
        )
        again = self._kept is not None and self._where == where
        reader = self._kept if again else None
        self._kept = None if again else self._kept
        if reader is None:
            self.close()
            reader = await self._connect(where)
        self._where = where
        try:
            try:
                head = await self._ask(reader, request)
            except ConnectionError:
                # The server closed the idle connection at the same moment: only then a request may be repeated.
                if not again:
                    raise
                head = None
            if head is None and again:
                reader.sock.close()
                reader = await self._connect(where)
                head = await self._ask(reader, request)
            if head is None:
                raise HttpError("the server closed the connection without an answer")
            status, reason, version = _status(head)
            length = 0 if method == "HEAD" or status in _NO_BODY else body_length(head)
            keep = head.keeps_alive(version) and length is not None
            body = self._body(reader, UNTIL_CLOSE if length is None else length, keep)
        except BaseException:
            reader.sock.close()
            raise
        return Response(status, reason, head, body)

    async def _connect(self, where: tuple[str, int]) -> Reader:
        sock = AsyncSocket.stream(self.process, AF_INET6 if ":" in where[0] else AF_INET)
        self.connects += 1
        try:
            await sock.connect(where)
        except BaseException:
            sock.close()
            raise
        return Reader(sock)

    async def _ask(self, reader: Reader, request: bytes) -> Head | None:
        """Send the request, read the final response's head; None if the connection ended instead."""
        async with asyncio.timeout(self.timeout):
            await reader.sock.sendall(request)
            for _ in range(MAX_INTERIM):
                head = await reader.head()
                if head is None or not 100 <= _status(head)[0] < 200:
                    return head
        raise HttpError(f"more than {MAX_INTERIM} interim responses")

    async def _body(self, reader: Reader, length: int, keep: bool) -> AsyncIterator[bytes]:
        """The body's pieces; at its end the connection is kept or closed."""
        whole = False
        pieces = reader.body(length)
        try:
            while True:
                try:
                    async with asyncio.timeout(self.timeout):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    whole = True
                    return
                yield piece
        finally:
            if whole and keep and self._kept is None:
                self._kept = reader
            else:
                reader.sock.close()

    def close(self) -> None:
        """Close the connection that was kept."""
        if self._kept is not None:
            self._kept.sock.close()
            self._kept = None


def _status(head: Head) -> tuple[int, str, str]:
    """(200, 'OK', 'HTTP/1.1') of a status line. HttpError for another line."""
    version, _, rest = head.start.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise HttpError(f"status line {head.start[:60]!r}")
    return int(code), reason, version
