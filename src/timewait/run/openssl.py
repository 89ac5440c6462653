"""OpenSSL inside a simulation: randomness from the seed, and certificates judged by the host's clock.

OpenSSL asks the machine for both. Its random method is exchanged for one that asks who is
running (RAND_set_rand_method, where the library that Python uses has it: `deterministic`
tells). For the clock, OpenSSL is told not to look (X509_V_FLAG_NO_CHECK_TIME), and the chain
that it verified is looked at here, against what time.time() says on the host.

Session tickets carry the machine's time, encrypted; a server that leaves `num_tickets` at
its default sends none, so that equal seeds give equal octets.
"""

import _ssl
import atexit
import ctypes
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from timewait.run import current

if TYPE_CHECKING:
    from timewait.run.net import NetHost

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; Python has no name for it."""
DEFAULT_TICKETS: Final = 2
"""What SSLContext.num_tickets is unless somebody sets it."""

deterministic = False
"""Whether TLS in a simulation draws from its seed."""
_kept: list[Any] = []
"""What OpenSSL points to must stay."""


class _Method(ctypes.Structure):
    """RAND_METHOD."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("seed", "bytes", "cleanup", "add", "pseudorand", "status")]


def seed_randomness() -> None:
    """Let OpenSSL's random octets come from the running host's seed; outside of a program, as ever."""
    global deterministic  # noqa: PLW0603
    try:
        library = ctypes.CDLL(_ssl.__file__)
        setter, getter = library.RAND_set_rand_method, library.RAND_OpenSSL
    except (AttributeError, OSError):
        return  # Linked in a way that hides it: octets of TLS differ from run to run.
    getter.restype = ctypes.POINTER(_Method)
    original = getter().contents
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    real = kind(original.bytes)

    def draw(buffer: int, size: int) -> int:
        strand = current.strand
        if strand is None:
            return int(real(buffer, size))
        ctypes.memmove(buffer, strand.program.host.secrets.randbytes(size), size)
        return 1

    callback = kind(draw)
    pointer = ctypes.cast(callback, ctypes.c_void_p)
    method = _Method(original.seed, pointer, original.cleanup, original.add, pointer, original.status)
    setter.argtypes = [ctypes.c_void_p]
    if setter(ctypes.addressof(method)) == 1:
        _kept.extend((real, callback, method))
        atexit.register(setter, None)
        deterministic = True


class Judged:
    """OpenSSL's object of one connection, whose certificates are judged by the host's clock."""

    def __init__(self, below: Any, outgoing: ssl.MemoryBIO, host: "NetHost", server_side: bool) -> None:
        vars(self).update(_below=below, _outgoing=outgoing, _host=host, _server_side=server_side, _judged=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._below, name, value)

    def do_handshake(self) -> None:
        """As OpenSSL's. SSLCertVerificationError where a certificate is not valid yet, or no more."""
        self._below.do_handshake()
        if not self._judged:
            vars(self)["_judged"] = True
            self._judge(self._host.wall_ns() / 1e9)

    def _judge(self, now: float) -> None:
        if self._below.context.verify_mode == ssl.CERT_NONE:
            return
        for certificate in self._below.get_verified_chain() or ():
            info = certificate.get_info()
            if now < ssl.cert_time_to_seconds(info["notBefore"]):
                self._refuse(9, "certificate is not yet valid", 42)
            if now > ssl.cert_time_to_seconds(info["notAfter"]):
                self._refuse(10, "certificate has expired", 45)

    def _refuse(self, code: int, message: str, alert: int) -> None:
        """Raise what OpenSSL raises; numbers are X509_V_ERR_* and the alert's (RFC 8446 6.2)."""
        # Our Finished does not leave. A client of TLS 1.3 may still send its alert in the clear.
        self._outgoing.read()
        if self._below.version() == "TLSv1.3" and not self._server_side:
            self._outgoing.write(bytes((0x15, 3, 3, 0, 2, 2, alert)))
        error: Any = ssl.SSLCertVerificationError(
            1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {message} (on {self._host.name}'s clock)"
        )
        error.library, error.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
        error.verify_code, error.verify_message = code, message
        raise error


def wrap_bio(original: Callable[..., Any]) -> Callable[..., Any]:
    """What SSLContext._wrap_bio becomes: below every SSLObject, and so below asyncio's TLS and ours."""

    def wrapped(
        self: ssl.SSLContext, incoming: Any, outgoing: Any, server_side: bool = False, *args: Any, **options: Any
    ) -> Any:
        strand = current.strand
        if strand is None:
            return original(self, incoming, outgoing, server_side, *args, **options)
        flags, tickets = self.verify_flags, self.num_tickets
        self.verify_flags |= NO_CHECK_TIME
        quiet = deterministic and server_side and tickets == DEFAULT_TICKETS
        if quiet:
            self.num_tickets = 0
        try:
            below = original(self, incoming, outgoing, server_side, *args, **options)
        finally:
            self.verify_flags = flags
            if quiet:
                self.num_tickets = tickets
        return Judged(below, outgoing, strand.program.host, server_side)

    return wrapped
