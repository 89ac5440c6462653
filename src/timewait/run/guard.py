"""Misuse that is legal but hardly meant, told with its line and its remedy: a forgotten await, a loop held up.

And what would leave the simulation unnoticed, refused: real sockets and child processes made
below the functions that `modules.py` stands in for, which CPython's audit events show.

Compiled where the packet path is: CPython tells of events wherever strands take turns.
"""

import asyncio.events
import os
import sys
import warnings
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from timewait.run import current
from timewait.run.errors import BlockedLoopWarning, ForgottenAwaitWarning, MisuseError
from timewait.run.where import line_of, users_frame

if TYPE_CHECKING:
    from timewait.run.baton import Strand

_CHILD: Final = "run what the child does as a program of the host: host.run(function)"
_REFUSED: Final = {
    "socket.__new__": ("a real socket", "make it with socket.socket(), which is the simulated host's"),
    "subprocess.Popen": ("a child process", _CHILD),
    "os.system": ("a child process", _CHILD),
    "os.fork": ("a child process", _CHILD),
    "os.forkpty": ("a child process", _CHILD),
    "os.posix_spawn": ("a child process", _CHILD),
    "os.exec": ("another program in place of this one", _CHILD),
}
"""Audit event -> what it is, and what to do instead."""
_REMEDIES: Final = {
    "sleep": "await asyncio.sleep(...)",
    "connect": "await asyncio.open_connection(...) or await loop.sock_connect(...)",
    "accept": "asyncio.start_server(...) or await loop.sock_accept(...)",
    "recv": "a StreamReader, or await loop.sock_recv(...)",
    "recvfrom": "loop.create_datagram_endpoint(...), or await loop.sock_recvfrom(...)",
    "send": "a StreamWriter, or await loop.sock_sendall(...)",
    "sendall": "a StreamWriter, or await loop.sock_sendall(...)",
    "the": "await it",
}
_shown: dict[Any, Any] = {}
"""What `warnings` remembers, so that a hundred seeds show a line once."""


def install() -> None:
    """Listen to CPython's audit events and to what it says of forgotten coroutines; once per process."""
    sys.addaudithook(_audit)
    holder: Any = warnings
    holder._warn_unawaited_coroutine = _unawaited(holder._warn_unawaited_coroutine)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    found = _REFUSED.get(event)
    if found is not None and current.strand is not None:
        what, remedy = found
        # Compiled, this has no frame of its own: `line_of` looks for the program's in either case.
        raise MisuseError(f"{line_of(sys._getframe())}: {what} inside the simulation; {remedy}")


def _unawaited(original: Any) -> Any:
    """In place of `warnings._warn_unawaited_coroutine`, which CPython calls when a coroutine goes unused."""

    def warn(coroutine: Any) -> None:
        strand = current.strand
        if strand is None:
            original(coroutine)
            return
        if strand.program.done:
            return  # A killed program leaves coroutines that never began.
        origin = getattr(coroutine, "cr_origin", None) or getattr(coroutine, "ag_origin", None)
        code = coroutine.cr_code
        filename, number, function = origin[0] if origin else (code.co_filename, code.co_firstlineno, code.co_name)
        text = (
            f"{os.path.basename(filename)}:{number} in {function}: {coroutine.__qualname__}() was called and never"
            f" awaited, so nothing of it ran; write `await {coroutine.__name__}(...)`,"
            f" or asyncio.create_task({coroutine.__name__}(...)) to let it run beside"
        )
        _tell(strand, text, ForgottenAwaitWarning, filename, number)

    return warn


def held_up(strand: "Strand", what: str, ns: int | None) -> None:
    """A strand that runs an event loop is about to wait for something else: every task of the loop stands still."""
    if strand.program.done or strand.excused or asyncio.events._get_running_loop() is None:
        return
    frame: FrameType | None = users_frame(sys._getframe())
    if frame is None:
        return
    kind = what.partition(" ")[0].partition("(")[0]
    remedy = _REMEDIES.get(kind, "await asyncio.to_thread(...)")
    most = "" if ns is None else f" for up to {ns / 1e9:g} s"
    text = (
        f"{line_of(frame)}: {what} holds up the event loop of {strand.program.label}{most},"
        f" and with it every other task; use {remedy}"
    )
    _tell(strand, text, BlockedLoopWarning, frame.f_code.co_filename, frame.f_lineno)


def _tell(strand: "Strand", text: str, kind: type[Warning], filename: str, number: int) -> None:
    """A note in the record, and a warning at the program's line."""
    host = strand.program.host
    tap = host.net.world.tap
    if tap is not None:
        tap.noted(host.name, text, host.net.world.now)
    warnings.warn_explicit(text, kind, filename, number, registry=_shown)
