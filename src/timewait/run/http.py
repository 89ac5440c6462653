"""HTTP/1.1 messages over our sockets: heads, framing and bodies, with a bound on everything (RFC 9112)."""

from collections.abc import AsyncIterator
from typing import Final

from timewait.world.driver import AsyncSocket

MAX_HEAD: Final = 64 << 10
"""Octets of a message's head, or of the trailers behind a chunked body: eight times what common servers take."""
MAX_CHUNK_LINE: Final = 4096
"""Octets of the line in front of a chunk: a size and extensions, which nobody uses."""
PIECE: Final = 256 << 10
"""Octets of a body handed on at once."""

REASONS: Final = {
    200: "OK", 301: "Moved Permanently", 400: "Bad Request", 404: "Not Found", 408: "Request Timeout",
    413: "Content Too Large", 417: "Expectation Failed", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 505: "HTTP Version Not Supported",
}  # fmt: skip
"""Status codes that the server uses, with their phrases (RFC 9110 section 15)."""

_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")

UNTIL_CLOSE: Final = -1
"""Body length: the body ends with the connection."""
CHUNKED: Final = -2
"""Body length: the body comes in chunks."""


class HttpError(Exception):
    """The peer's message breaks the protocol; `status` is what a server answers to it."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Head:
    """The start line and the fields of a message. Field names are in lower case; equal ones are joined by ', '."""

    def __init__(self, start: str, fields: dict[str, str]) -> None:
        self.start = start
        self.fields = fields

    def tokens(self, name: str) -> list[str]:
        """The elements of a list field in lower case: 'Connection: Keep-Alive, TE' -> ['keep-alive', 'te']."""
        return [part.strip().lower() for part in self.fields.get(name, "").split(",") if part.strip()]

    def keeps_alive(self, version: str) -> bool:
        """Whether the connection may be used again after this message (RFC 9112 9.3)."""
        tokens = self.tokens("connection")
        return "close" not in tokens and (version == "HTTP/1.1" or "keep-alive" in tokens)

    def content_length(self) -> int | None:
        """Content-Length, None without one. HttpError if it is no number; a repeated one must repeat itself."""
        values = {part.strip() for part in self.fields.get("content-length", "").split(",") if part.strip()}
        if not values:
            return None
        value = values.pop()
        if values or not value.isascii() or not value.isdigit() or len(value) > 18:
            raise HttpError(f"Content-Length {self.fields['content-length']!r}")
        return int(value)


def parse_head(data: bytes) -> Head:
    """A head as it came, without the empty line behind it. HttpError for what is none (RFC 9112 2.2, 5)."""
    lines = data.split(b"\n")
    start = lines[0].rstrip(b"\r").decode("latin-1")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        line = line.rstrip(b"\r")
        if line[:1] in (b" ", b"\t"):
            raise HttpError("a folded header line")
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name):
            raise HttpError(f"header line {line[:60]!r}")
        if b"\0" in value or b"\r" in value:
            raise HttpError(f"a control character in the field {name.decode()}")
        key, text = name.decode().lower(), value.strip(b" \t").decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return Head(start, fields)


def message(start: str, fields: dict[str, str]) -> bytes:
    """The octets of a head."""
    lines = [start, *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def body_length(head: Head) -> int | None:
    """How a body is framed by its head alone (RFC 9112 6.3): octets, CHUNKED, or None where the head says nothing."""
    codings = head.tokens("transfer-encoding")
    if codings:
        if codings != ["chunked"]:
            raise HttpError(f"Transfer-Encoding {head.fields['transfer-encoding']!r}", 501)
        return CHUNKED
    return head.content_length()


class Reader:
    """What arrives on a connection, by lines and by octets."""

    def __init__(self, sock: AsyncSocket) -> None:
        self.sock = sock
        self._data = b""
        self._at = 0

    @property
    def waiting(self) -> int:
        """Octets that have been received and not been read."""
        return len(self._data) - self._at

    async def _more(self) -> bool:
        """Receive; False at the end of the stream."""
        data = await self.sock.recv()
        self._data = self._data[self._at :] + data if self.waiting else data
        self._at = 0
        return bool(data)

    async def head(self) -> Head | None:
        """The next head; None where the connection ended, or was reset, instead of a message beginning."""
        while True:
            # A server ignores empty lines before a request (RFC 9112 2.2).
            while self._data[self._at : self._at + 1] in (b"\r", b"\n"):
                self._at += 1
            if self.waiting:
                break
            if not await self._more():
                return None
        ended = self._head_end()
        while ended is None:
            if self.waiting > MAX_HEAD:
                raise HttpError(f"a head of more than {MAX_HEAD} octets", 431)
            if not await self._more():
                raise HttpError("the connection ended within a head")
            ended = self._head_end()
        first, end, after = self._at, *ended
        if end - first > MAX_HEAD:
            raise HttpError(f"a head of more than {MAX_HEAD} octets", 431)
        self._at = after
        return parse_head(self._data[first:end])

    def _head_end(self) -> tuple[int, int] | None:
        """Where the head ends and what is behind it begins: an empty line, with or without CRs."""
        found = [
            (at, at + len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (at := self._data.find(mark, self._at)) >= 0
        ]
        return min(found, default=None)

    async def line(self, limit: int = MAX_CHUNK_LINE) -> bytes:
        """A line without its end."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            if self.waiting > limit:
                raise HttpError(f"a line of more than {limit} octets")
            if not await self._more():
                raise HttpError("the connection ended within a line")
        line = self._data[self._at : end]
        self._at = end + 1
        return line.removesuffix(b"\r")

    async def some(self, limit: int) -> bytes:
        """What there is, up to `limit` octets, waiting for the first; b'' at the end of the stream."""
        if not self.waiting and not await self._more():
            return b""
        piece = self._data[self._at : self._at + limit] if self._at or self.waiting > limit else self._data
        self._at += len(piece)
        return piece

    async def body(self, length: int) -> AsyncIterator[bytes]:
        """The pieces of a body of `length` octets, CHUNKED or UNTIL_CLOSE. HttpError if it ends too early."""
        if length == CHUNKED:
            async for piece in self._chunks():
                yield piece
        elif length == UNTIL_CLOSE:
            while piece := await self.some(PIECE):
                yield piece
        else:
            async for piece in self._exactly(length):
                yield piece

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        left = length
        while left:
            piece = await self.some(min(left, PIECE))
            if not piece:
                raise HttpError(f"the connection ended {left} octets before the end of the body")
            left -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The chunked coding (RFC 9112 7.1); what the trailers say is not used."""
        while True:
            word = (await self.line()).partition(b";")[0].strip()
            if not word or len(word) > 16 or not _HEX.issuperset(word):
                raise HttpError(f"chunk size {word[:20]!r}")
            size = int(word, 16)
            if size == 0:
                break
            async for piece in self._exactly(size):
                yield piece
            if await self.line(2):
                raise HttpError("a chunk is longer than it says")
        total = 0
        while line := await self.line(MAX_HEAD):
            total += len(line)
            if total > MAX_HEAD:
                raise HttpError("too many trailers")


async def discard(reader: Reader, length: int, limit: int) -> None:
    """Read a body that nobody wants, up to `limit` octets; HttpError 413 beyond."""
    total = 0
    async for piece in reader.body(length):
        total += len(piece)
        if total > limit:
            raise HttpError(f"a request body of more than {limit} octets", 413)
