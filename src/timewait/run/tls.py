"""TLS on simulated sockets for blocking programs: `SSLContext.wrap_socket` over OpenSSL's memory buffers.

asyncio needs none of this: its TLS works on buffers already. Randomness and the validity of
certificates are the host's: see openssl.py.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar

from timewait.run.sockets import MSG_DONTWAIT, SimSocket

RECORD: Final = 1 << 16
T = TypeVar("T")


class SimTLSSocket(SimSocket, ssl.SSLSocket):  # type: ignore[misc]
    """A TLS socket of a simulated host; made by SSLContext.wrap_socket."""

    def __init__(self, raw: SimSocket, context: ssl.SSLContext, **options: Any) -> None:
        timeout = raw.gettimeout()
        super().__init__(raw._family, raw._type, raw._proto, raw.detach(), owner=raw._program)
        self._timeout = timeout
        self._context = context
        self._session_given = options["session"]
        self.server_side = options["server_side"]
        self.server_hostname = options["server_hostname"]
        self.do_handshake_on_connect = options["do_handshake_on_connect"]
        self.suppress_ragged_eofs = options["suppress_ragged_eofs"]
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent = b""
        self._sslobj: ssl.SSLObject | None = None
        try:
            super().getpeername()
        except OSError:
            return
        self._begin()

    def _begin(self) -> None:
        self._sslobj = self._context.wrap_bio(
            self._in, self._out, self.server_side, self.server_hostname, self._session_given
        )
        if self.do_handshake_on_connect:
            if self._timeout == 0.0:
                raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
            self.do_handshake()

    def _object(self) -> ssl.SSLObject:
        if self._sslobj is None:
            raise OSError(107, "Transport endpoint is not connected")
        return self._sslobj

    # The loop around OpenSSL: it says what it lacks.

    def _do(self, function: Callable[..., T], *args: Any) -> T:
        while True:
            try:
                result = function(*args)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLWantWriteError:
                self._flush()
            except ssl.SSLError:
                try:
                    self._flush()  # The alert that tells the peer why.
                except OSError:
                    pass
                raise
            else:
                try:
                    self._flush()
                except ssl.SSLWantWriteError:
                    pass  # Taken over by OpenSSL; the rest goes out with the next call.
                return result

    def _flush(self) -> None:
        self._unsent += self._out.read()
        while self._unsent:
            try:
                sent = SimSocket.send(self, self._unsent)
            except BlockingIOError:
                raise ssl.SSLWantWriteError(
                    ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
                ) from None
            self._unsent = self._unsent[sent:]

    def _fill(self) -> None:
        try:
            data = SimSocket.recv(self, RECORD)
        except BlockingIOError:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)") from None
        except TimeoutError:
            raise TimeoutError("The read operation timed out") from None
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def do_handshake(self, block: bool = False) -> None:
        """RFC 8446 4: agree on keys."""
        self._do(self._object().do_handshake)

    # Data

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Decrypted octets; b'' (or 0) at the end."""
        try:
            if buffer is not None:
                return self._do(self._object().read, len, buffer)
            return self._do(self._object().read, len)
        except ssl.SSLZeroReturnError:
            return 0 if buffer is not None else b""
        except ssl.SSLError as error:
            if error.args[0] == ssl.SSL_ERROR_EOF and self.suppress_ragged_eofs:
                return 0 if buffer is not None else b""
            raise

    def write(self, data: Any) -> int:
        """Encrypt and send; how many octets were taken."""
        return self._do(self._object().write, data)

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        if self._sslobj is None:
            return super().recv(bufsize, flags)
        _no_flags(flags, "recv")
        found: bytes = self.read(bufsize)
        return found

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if self._sslobj is None:
            return super().recv_into(buffer, nbytes or 0, flags)
        _no_flags(flags, "recv_into")
        with memoryview(buffer).cast("B") as view:
            size = nbytes or len(view)
            data: bytes = self.read(size)
            view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        if self._sslobj is None:
            return super().send(data, flags)
        _no_flags(flags & ~MSG_DONTWAIT, "send")
        return self.write(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self._sslobj is None:
            super().sendall(data, flags)
            return
        with memoryview(data).cast("B") as view:
            at = 0
            while at < len(view):
                at += self.send(view[at:])

    def pending(self) -> int:
        """Decrypted octets that read() gives at once."""
        return self._sslobj.pending() if self._sslobj is not None else 0

    # Connecting and leaving

    def connect(self, address: Any) -> None:
        if self.server_side or self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        SimSocket.connect(self, address)
        self._begin()

    def connect_ex(self, address: Any) -> int:
        number = SimSocket.connect_ex(self, address)
        if number == 0:
            self._begin()
        return number

    def accept(self) -> tuple[Any, Any]:
        made, address = SimSocket.accept(self)
        wrapped = self._context.wrap_socket(
            made,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )
        return wrapped, address

    def unwrap(self) -> socket.socket:
        """close_notify both ways; the plain socket below."""
        self._do(self._object().unwrap)
        self._sslobj = None
        plain = SimSocket(self._family, self._type, self._proto, self.fileno(), owner=self._program)
        plain.settimeout(self._timeout)
        self.detach()
        return plain

    def shutdown(self, how: int) -> None:
        self._sslobj = None
        SimSocket.shutdown(self, how)

    # What it knows

    @property
    def context(self) -> ssl.SSLContext:
        return self._context

    @context.setter
    def context(self, value: ssl.SSLContext) -> None:
        self._context = value
        self._object().context = value

    @property
    def session(self) -> Any:
        return self._sslobj.session if self._sslobj is not None else None

    @session.setter
    def session(self, value: Any) -> None:
        self._session_given = value

    @property
    def session_reused(self) -> Any:
        return self._sslobj.session_reused if self._sslobj is not None else None

    def getpeercert(self, binary_form: bool = False) -> Any:
        return self._object().getpeercert(binary_form)

    def selected_alpn_protocol(self) -> str | None:
        return self._sslobj.selected_alpn_protocol() if self._sslobj is not None else None

    def selected_npn_protocol(self) -> None:
        return None

    def cipher(self) -> Any:
        return self._sslobj.cipher() if self._sslobj is not None else None

    def shared_ciphers(self) -> Any:
        return self._sslobj.shared_ciphers() if self._sslobj is not None else None

    def compression(self) -> str | None:
        return self._sslobj.compression() if self._sslobj is not None else None

    def version(self) -> str | None:
        return self._sslobj.version() if self._sslobj is not None else None

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        return self._sslobj.get_channel_binding(cb_type) if self._sslobj is not None else None

    def verify_client_post_handshake(self) -> None:
        self._object().verify_client_post_handshake()

    def dup(self) -> Any:
        raise NotImplementedError("Can't dup() SSLSocket instances")


def _no_flags(flags: int, call: str) -> None:
    if flags:
        raise ValueError(f"non-zero flags not allowed in calls to {call}() on SSLSocket")


def wrap_socket(original: Callable[..., Any]) -> Callable[..., Any]:
    """What SSLContext.wrap_socket becomes: simulated sockets are wrapped here."""

    def wrapped(
        self: ssl.SSLContext,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: Any = None,
    ) -> Any:
        options: dict[str, Any] = {
            "server_side": server_side,
            "do_handshake_on_connect": do_handshake_on_connect,
            "suppress_ragged_eofs": suppress_ragged_eofs,
            "server_hostname": server_hostname,
            "session": session,
        }
        if isinstance(sock, SimSocket):
            return SimTLSSocket(sock, self, **options)
        return original(self, sock, **options)

    return wrapped
