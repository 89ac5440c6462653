"""HTTP messages: heads, framing, chunks, and every way in which they end too early."""

import asyncio
from typing import cast

import pytest

from timewait.base.errors import UsageError
from timewait.run.http import CHUNKED, MAX_HEAD, UNTIL_CLOSE, Head, HttpError, Reader, body_length, parse_head
from timewait.run.http_client import Url
from timewait.run.http_server import Directory, Pattern
from timewait.world.driver import AsyncSocket


class Wire:
    """A socket from which prepared pieces arrive, then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    async def recv(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def reader(*pieces: bytes) -> Reader:
    return Reader(cast(AsyncSocket, Wire(*pieces)))


def body(length: int, *pieces: bytes) -> bytes:
    async def run() -> bytes:
        return b"".join([piece async for piece in reader(*pieces).body(length)])

    return asyncio.run(run())


def in_octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_a_head_in_single_octets_and_what_is_behind_it() -> None:
    async def run() -> None:
        source = reader(*in_octets(b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX:  1 \r\nx: 2\r\n\r\nrest"))
        head = await source.head()
        assert head is not None and head.start == "GET / HTTP/1.1"
        assert head.fields == {"host": "a", "x": "1, 2"}
        assert await source.some(10) == b"r"

    asyncio.run(run())


def test_two_heads_that_arrive_together() -> None:
    async def run() -> None:
        source = reader(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\n\n")
        starts = [head.start for _ in range(2) if (head := await source.head()) is not None]
        assert starts == ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]
        assert await source.head() is None

    asyncio.run(run())


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\n folded: 1",
        b"GET /\r\nno colon",
        b"GET /\r\nbad name: 1",
        b"GET /\r\na: \0",
        b"GET /\r\n: 1",
    ],
)
def test_what_is_no_head(text: bytes) -> None:
    with pytest.raises(HttpError):
        parse_head(text)


def test_a_head_that_never_ends_is_refused() -> None:
    with pytest.raises(HttpError) as caught:
        asyncio.run(reader(b"GET / HTTP/1.1\r\n", *[b"a: " + b"x" * 1000 + b"\r\n"] * (MAX_HEAD // 1000 + 1)).head())
    assert caught.value.status == 431
    with pytest.raises(HttpError, match="ended within a head"):
        asyncio.run(reader(b"GET / HT").head())


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({}, None),
        ({"content-length": "5"}, 5),
        ({"content-length": "5, 5"}, 5),
        ({"transfer-encoding": "chunked"}, CHUNKED),
        ({"transfer-encoding": "Chunked", "content-length": "5"}, CHUNKED),
    ],
)
def test_framing(fields: dict[str, str], length: int | None) -> None:
    assert body_length(Head("", fields)) == length


@pytest.mark.parametrize(
    "fields",
    [
        {"content-length": "5, 6"}, {"content-length": "-1"}, {"content-length": "+5"}, {"content-length": "٥"},
        {"transfer-encoding": "gzip, chunked"}, {"transfer-encoding": "chunked, identity"},
    ],
)  # fmt: skip
def test_framing_that_nobody_may_guess(fields: dict[str, str]) -> None:
    with pytest.raises(HttpError):
        body_length(Head("", fields))


CHUNKS = b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"


@pytest.mark.parametrize("pieces", [[CHUNKS], in_octets(CHUNKS)], ids=["at once", "in octets"])
def test_chunks(pieces: list[bytes]) -> None:
    assert body(CHUNKED, *pieces) == b"hello world"


@pytest.mark.parametrize(
    "data",
    [CHUNKS[:-2], CHUNKS[:12], CHUNKS[:3], b"", b"x\r\n", b"-5\r\nhello\r\n", b"\r\n", b"5\r\nhellooo\r\n0\r\n\r\n",
     b"0x5\r\nhello\r\n0\r\n\r\n", b"f" * 17 + b"\r\n"],
)  # fmt: skip
def test_broken_chunks(data: bytes) -> None:
    with pytest.raises(HttpError):
        body(CHUNKED, data)


def test_bodies_by_length_and_by_the_end_of_the_connection() -> None:
    assert body(5, b"he", b"llo and more") == b"hello"
    assert body(UNTIL_CLOSE, b"he", b"llo") == b"hello"
    with pytest.raises(HttpError, match="3 octets before the end"):
        body(5, b"he")


@pytest.mark.parametrize(
    ("head", "version", "keeps"),
    [({}, "HTTP/1.1", True), ({}, "HTTP/1.0", False), ({"connection": "Keep-Alive"}, "HTTP/1.0", True),
     ({"connection": "te, close"}, "HTTP/1.1", False)],
)  # fmt: skip
def test_keep_alive(head: dict[str, str], version: str, keeps: bool) -> None:
    assert Head("", head).keeps_alive(version) is keeps


def test_urls() -> None:
    url = Url("http://[fd00::1]:8080/a b?c=d e#f")
    assert (url.address(), url.port, url.target, url.authority) == ("fd00::1", 8080, "/a%20b?c=d%20e", "[fd00::1]:8080")
    assert (Url("10.0.0.1").target, Url("10.0.0.1").port, Url("10.0.0.1").authority) == ("/", 80, "10.0.0.1")
    for bad in ("https://a/", "http://", "http://a:99999/", "http://[::1/"):
        with pytest.raises(UsageError):
            Url(bad)
    with pytest.raises(UsageError, match="not an address"):
        Url("http://example.org/").address()


def test_a_pattern_has_its_size_and_no_two_equal_parts() -> None:
    for size in (0, 1, 65536, 262_144, 1_000_001):
        data = b"".join(Pattern(size).pieces())
        assert len(data) == size
        parts = [data[at : at + 65536] for at in range(0, size, 65536)]
        assert len(set(parts)) == len(parts)


def test_a_directory_shows_nothing_outside_of_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "circle").symlink_to(root / "circle")
    (root / "sub" / "index.html").symlink_to(tmp_path / "secret")
    source = Directory(root)
    found = source.find("/file")
    assert not isinstance(found, str) and found is not None and b"".join(found.pieces) == b"inside"
    found.close()
    for path in ("/../secret", "/link", "/circle", "/none", "/file/", "/a\0b", "/sub/../../secret"):
        assert source.find(path) is None, path
    assert source.find("/sub") == "/sub/"
    listing = source.find("/sub/")
    assert not isinstance(listing, str) and listing is not None
    assert b"outside" not in b"".join(listing.pieces)
