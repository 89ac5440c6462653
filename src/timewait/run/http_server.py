"""An HTTP/1.1 server as a program on one of our hosts: a directory, or octets made up on the way."""

import asyncio
import hashlib
import html
import itertools
import mimetypes
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.parse import quote, unquote

from timewait.run.http import PIECE, REASONS, HttpError, Reader, body_length, discard, message
from timewait.world.driver import AsyncSocket

IDLE: Final = 60.0
"""Seconds that a connection may wait for its next request, or for the rest of one."""
LINGER: Final = 2.0
"""Seconds that we listen on after our last answer, lest unread data turn our FIN into a RST (RFC 9112 9.6)."""
MAX_REQUEST_BODY: Final = 1 << 20
MAX_CONNECTIONS: Final = 4096
"""Connections served at once; the next ones stay in the accept queue."""
_CYCLE: Final = 64 << 10


class Body:
    """What a response carries: how many octets, of which media type, and the octets piece by piece."""

    def __init__(self, length: int, kind: str, pieces: Iterator[bytes], file: BinaryIO | None = None) -> None:
        self.length = length
        self.kind = kind
        self.pieces = pieces
        self.file = file

    def close(self) -> None:
        """Nobody wants the rest."""
        if self.file is not None:
            self.file.close()


class Source(Protocol):
    """Where bodies come from."""

    def find(self, path: str) -> Body | str | None:
        """The body for a decoded path that begins with '/'; a str is where it is to be found instead; None: nowhere."""


class Pattern:
    """`size` octets for every path. No two of its 64 KiB are equal, so that any mix-up shows in a digest."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._rest = random.Random(size).randbytes(_CYCLE - 8)

    def find(self, path: str) -> Body:
        return Body(self.size, "application/octet-stream", self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The octets: each 64 KiB begins with its number."""
        for start in range(0, self.size, PIECE):
            numbers = range(start // _CYCLE, (start + PIECE) // _CYCLE)
            piece = b"".join([part for number in numbers for part in (number.to_bytes(8, "big"), self._rest)])
            yield piece[: self.size - start]


class Directory:
    """The files below a directory; what is outside of it, links included, does not exist."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).resolve(strict=True)

    def find(self, path: str) -> Body | str | None:
        """A file, the index.html or a listing of a directory."""
        if "\0" in path:
            return None
        try:
            found = (self.root / path.lstrip("/")).resolve(strict=True)
            if not found.is_relative_to(self.root):
                return None
            if not found.is_dir():
                return None if path.endswith("/") else self._file(found)
            if not path.endswith("/"):
                return quote("/" + path.strip("/") + "/")
            index = found / "index.html"
            return self._file(index) if index.is_file() and not index.is_symlink() else self._listing(found, path)
        except (OSError, RuntimeError):
            # Missing, unreadable, or links in a circle.
            return None

    def _file(self, path: Path) -> Body | None:
        if not path.is_file():
            return None
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        length = path.stat().st_size
        # Opened here, so that a file that may not be read is found out before the head is sent.
        file = open(path, "rb")  # noqa: SIM115 (closed with the body)
        return Body(length, kind, _read(file, length), file)

    def _listing(self, directory: Path, path: str) -> Body:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in directory.iterdir())
        links = "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a></li>\n' for name in names)
        title = html.escape(path)
        text = f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>\n<ul>\n{links}</ul>\n'
        data = text.encode("utf-8", "surrogateescape")
        return Body(len(data), "text/html; charset=utf-8", iter((data,)))


def _read(file: BinaryIO, length: int) -> Iterator[bytes]:
    """The first `length` octets of a file. HttpError if it has become shorter."""
    left = length
    while left:
        piece = file.read(min(left, PIECE))
        if not piece:
            raise HttpError("the file has become shorter while it was sent", 500)
        left -= len(piece)
        yield piece


class Served:
    """One request and what became of it."""

    def __init__(self, peer: tuple[str, int]) -> None:
        self.peer = peer
        self.method = ""
        self.target = ""
        self.status = 0
        """0: the connection failed before an answer could be given."""
        self.octets = 0
        """Octets of the body that were handed to TCP."""
        self.seconds = 0.0
        """From the request to the last octet handed over."""
        self.digest = ""
        """SHA-256 of the body in hex, where the server was asked for it."""
        self.error = ""
        """Why it was not served to its end; '' if it was."""


class Server:
    """Serves a source on a listening socket until it is cancelled. `served` hears of each request when it is over."""

    def __init__(
        self,
        source: Source,
        *,
        digest: bool = False,
        served: Callable[[Served], object] | None = None,
        limit: int = MAX_CONNECTIONS,
        idle: float = IDLE,
    ) -> None:
        self.source = source
        self.digest = digest
        self.served = served
        self.idle = idle
        self.connections: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(limit)

    async def serve(self, listener: AsyncSocket) -> None:
        """Accept and serve; cancel it to stop, which ends its connections too."""
        process = listener.process
        # Every place, the listener, and a few to spare.
        process.nofile = max(process.nofile, MAX_CONNECTIONS + 64)
        try:
            while True:
                await self._places.acquire()
                try:
                    sock, peer = await listener.accept()
                except ConnectionError:
                    # The peer gave up while its connection stood in the queue.
                    self._places.release()
                    continue
                task = asyncio.create_task(self._connection(sock, peer))
                self.connections.add(task)
                task.add_done_callback(self._ended)
        finally:
            for task in self.connections:
                task.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.connections.discard(task)
        self._places.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _connection(self, sock: AsyncSocket, peer: tuple[str, int]) -> None:
        """Requests of one connection, one after another."""
        reader = Reader(sock)
        try:
            while await self._request(reader, peer):
                pass
            sock.shutdown()
            async with asyncio.timeout(LINGER):
                while await sock.recv():
                    pass
        except (OSError, TimeoutError):
            # The request that was under way has been reported with its error.
            pass
        finally:
            sock.close()

    async def _request(self, reader: Reader, peer: tuple[str, int]) -> bool:
        """Read a request and answer it; whether another one may follow."""
        about = Served(peer)
        begun = time.monotonic()
        try:
            try:
                async with asyncio.timeout(self.idle):
                    head = await reader.head()
                    if head is None:
                        return False
                    begun = time.monotonic()
                    words = head.start.split(" ")
                    if len(words) != 3:
                        raise HttpError(f"request line {head.start[:60]!r}")
                    about.method, about.target, version = words
                    length = body_length(head) or 0
                    if head.fields.get("expect", "").lower() == "100-continue" and length:
                        raise HttpError("a request body is not wanted", 417)
                    await discard(reader, length, MAX_REQUEST_BODY)
                _check(about.method, version, "host" in head.fields)
                # Two lengths: a proxy in between may have believed the other one (RFC 9112 6.3).
                ambiguous = "content-length" in head.fields and "transfer-encoding" in head.fields
                keep = head.keeps_alive(version) and not ambiguous
                await self._answer(reader.sock, about, keep)
                return keep
            except HttpError as error:
                about.error = str(error)
                if about.status == 0:
                    await self._refuse(reader.sock, about, error.status)
                return False
        except TimeoutError:
            if not about.method and not reader.waiting:
                return False
            about.error = f"no complete request within {self.idle:.0f} s"
            return False
        except OSError as error:
            if not about.method:
                return False
            about.error = error.strerror or str(error)
            raise
        finally:
            about.seconds = time.monotonic() - begun
            if self.served is not None and (about.method or about.error):
                self.served(about)

    async def _answer(self, sock: AsyncSocket, about: Served, keep: bool) -> None:
        """The response to a GET or HEAD."""
        path = unquote(about.target.partition("?")[0])
        if not path.startswith("/"):
            # The absolute form, as proxies are asked (RFC 9112 3.2.2).
            path = "/" + path.partition("://")[2].partition("/")[2]
        found = self.source.find(path)
        if isinstance(found, str):
            await self._send(sock, about, 301, _note(301), keep, {"Location": found})
        elif found is None:
            await self._send(sock, about, 404, _note(404), keep, {})
        else:
            await self._send(sock, about, 200, found, keep, {})

    async def _refuse(self, sock: AsyncSocket, about: Served, status: int) -> None:
        await self._send(sock, about, status, _note(status), False, {})

    async def _send(
        self, sock: AsyncSocket, about: Served, status: int, body: Body, keep: bool, fields: dict[str, str]
    ) -> None:
        """Head and body, as fast as the connection takes them."""
        head = message(
            f"HTTP/1.1 {status} {REASONS[status]}",
            {
                "Server": "timewait", "Content-Type": body.kind, "Content-Length": str(body.length), **fields,
                "Connection": "keep-alive" if keep else "close",
            },
        )  # fmt: skip
        about.status = status
        digest = hashlib.sha256() if self.digest else None
        try:
            if about.method == "HEAD":
                await sock.sendall(head)
                return
            for piece in itertools.chain((head,), body.pieces):
                await sock.sendall(piece)
                if piece is head:
                    continue
                about.octets += len(piece)
                if digest is not None:
                    digest.update(piece)
        finally:
            body.close()
        if digest is not None:
            about.digest = digest.hexdigest()


def _check(method: str, version: str, has_host: bool) -> None:
    """What is refused before anything is looked up."""
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(f"version {version[:20]!r}", 505)
    if version == "HTTP/1.1" and not has_host:
        raise HttpError("HTTP/1.1 without Host")
    if method not in ("GET", "HEAD"):
        raise HttpError(f"method {method[:20]!r}", 501)


def _note(status: int) -> Body:
    """A body that says what its status says."""
    data = f"{status} {REASONS[status]}\n".encode()
    return Body(len(data), "text/plain; charset=utf-8", iter((data,)))
