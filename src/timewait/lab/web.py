"""A client and a server that speak HTTP on connections of a bench: who keeps a connection and who ends it (RFC 9112 9).

The lab says when each acts; the server decides by the request's version and by both
sides' Connection fields whether it closes after its answer, as nginx and Apache do.
"""

from typing import Final

from timewait.base.instant import SEC
from timewait.lab.bench import Bench, Program
from timewait.tcp.states import State

BODY: Final = b"x" * 1000
TIMEWAIT: Final = 60 * SEC


class Web:
    """One client program, one server program, and the connection they are on.

    keeps: the server's keep-alive is on. limit: requests of one connection
    (keepalive_requests); 0: no limit.
    """

    def __init__(self, bench: Bench, *, keeps: bool = True, limit: int = 0) -> None:
        self.bench = bench
        self.keeps = keeps
        self.limit = limit
        self.client: Program = bench.program("client")
        self.server: Program = bench.program("server")
        self.listener = bench.listen(self.server)
        self.cfd = self.sfd = -1
        self.connections = 0
        self.served = 0
        """Requests on the present connection."""

    @property
    def is_open(self) -> bool:
        """Whether the client has a connection that it may use again."""
        return self.cfd >= 0

    def open(self) -> None:
        """Connect, and accept."""
        self.connect()
        self.accept()

    def connect(self) -> None:
        """The client connects."""
        self.cfd = self.bench.connect(self.client)
        self.bench.outcome(self.client, self.cfd)

    def accept(self) -> None:
        """The server takes the connection."""
        self.sfd = self.bench.accept(self.server, self.listener)
        self.connections += 1
        self.served = 0

    def ask(self, version: str = "1.1", connection: str = "") -> str:
        """One request and its answer; the answer's Connection field. The server closes where it must."""
        if not self.is_open:
            self.open()
        field = f"Connection: {connection}\r\n" if connection else ""
        self.bench.write(self.client, self.cfd, f"GET / HTTP/{version}\r\nHost: server\r\n{field}\r\n".encode())
        return self.take(self.answer())

    def answer(self, *, leave_open: bool = False) -> str:
        """The server reads a request and answers it; closes unless the connection stays, or it is told to leave it."""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += self.bench.read(self.server, self.sfd, 1)
        self.served += 1
        keeps = self.keeps and _wants_to_stay(request) and (not self.limit or self.served < self.limit)
        said = "keep-alive" if keeps and b"HTTP/1.0" in request else "" if keeps else "close"
        field = f"Connection: {said}\r\n" if said else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n{field}\r\n"
        self.bench.write(self.server, self.sfd, head.encode() + BODY)
        if not keeps and not leave_open:
            self.server.close(self.sfd)
        return said

    def take(self, said: str) -> str:
        """The client reads the answer; after one that says close it reads the end and closes too."""
        response = b""
        while b"\r\n\r\n" not in response:
            response += self.bench.read(self.client, self.cfd, 1)
        assert len(self.bench.read(self.client, self.cfd, len(BODY))) == len(BODY)
        if said == "close":
            self.leave()
        return said

    def leave(self) -> None:
        """The client reads what is left, to the end of the stream, and closes."""
        self.bench.read_end(self.client, self.cfd)
        self.client.close(self.cfd)
        self.cfd = self.sfd = -1
        self.bench.run(3 * self.bench.lab.rtt)

    def settle(self) -> None:
        """Let everything on its way arrive."""
        self.bench.run(3 * self.bench.lab.rtt)


def _wants_to_stay(request: bytes) -> bool:
    """RFC 9112 9.3: 1.1 stays unless told to close, 1.0 only if asked to stay."""
    if b"Connection: close" in request:
        return False
    return b"HTTP/1.0" not in request or b"Connection: keep-alive" in request


def first_fin(bench: Bench) -> str:
    """Who sent the first FIN of the record; '' if nobody did."""
    fins = bench.sent(flags="FA")
    return fins[0].where if fins else ""


def waiting(bench: Bench) -> tuple[int, int]:
    """TIME-WAITs at the client and at the server."""
    return len(bench.sockets("client", State.TIME_WAIT)), len(bench.sockets("server", State.TIME_WAIT))
