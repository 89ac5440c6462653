"""asyncio's transport over a simulated TCP socket.

Everything is the standard library's but what happens to each message: it goes from the
process's recv() to the protocol and from the protocol to send(), without a socket object
in between.
"""

import asyncio
from asyncio import selector_events
from typing import Any

from timewait.run.sockets import FD_BASE, SimSocket


class SimTransport(selector_events._SelectorSocketTransport):  # type: ignore[name-defined,misc]
    """What create_connection() and create_server() give programs on simulated hosts."""

    # asyncio's own, as they are in every version since 3.11.
    _protocol: Any
    _buffer: Any
    _conn_lost: int
    _eof: bool
    _empty_waiter: Any
    _loop: Any
    _buffered: bool

    def __init__(
        self, loop: Any, sock: SimSocket, protocol: Any, waiter: Any = None, extra: Any = None, server: Any = None
    ) -> None:
        process = sock.process
        self._number = sock.fileno() - FD_BASE
        self._take, self._give = process.recv, process.send
        super().__init__(loop, sock, protocol, waiter, extra, server)

    def set_protocol(self, protocol: Any) -> None:
        super().set_protocol(protocol)
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def _read_ready(self) -> None:
        if self._buffered:
            self._read_ready__get_buffer()
            return
        if self._conn_lost:
            return
        try:
            data = self._take(self._number, self.max_size)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal read error on socket transport")
            return
        if not data:
            self._read_ready__on_eof()
            return
        try:
            self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.data_received() call failed.")

    def write(self, data: Any) -> None:
        # Whatever is not a plain message on a plain connection goes asyncio's way.
        if type(data) is not bytes or self._buffer or self._eof or self._conn_lost or self._empty_waiter is not None:
            super().write(data)
            return
        if not data:
            return
        try:
            count = self._give(self._number, data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal write error on socket transport")
            return
        if count == len(data):
            return
        self._loop._add_writer(self._sock_fd, self._write_ready)
        # A bytearray in Python 3.11, a queue of pieces since.
        if isinstance(self._buffer, bytearray):
            self._buffer += data[count:]
        else:
            self._buffer.append(memoryview(data)[count:])
        self._maybe_pause_protocol()
