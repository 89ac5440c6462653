"""asyncio on a simulated host: the standard library's selector loop over a simulated selector.

Little of asyncio is written anew: transports, streams, TLS, datagrams and sock_* calls are
its own. What differs: waiting hands over the baton, the clock is the host's, the order
of task steps that are ready at the same time is drawn from the seed, the executor runs
functions as further strands, and child processes are refused. One round of the loop and
what a transport does with each message are written out here, because everything passes there.
"""

import asyncio
import contextvars
import functools
import math
import sys
import weakref
from asyncio import selector_events, sslproto
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from timewait.run import current
from timewait.run.errors import MisuseError
from timewait.run.names import getaddrinfo, getnameinfo
from timewait.run.selector import SimSelector
from timewait.run.sockets import SimSocket
from timewait.run.transport import SimTransport
from timewait.run.waiting import running
from timewait.run.where import age, line_of

MAX_WAITS: Final = 100
"""So many times what cleans up in a dead program's task may begin to wait: beyond this it does nothing else."""
_owners: Final[dict[int, "weakref.ref[SimLoop]"]] = {}
"""id of an asynchronous generator that has begun -> its loop. One that ended may stay, until its id is another's."""


class SimLoop(asyncio.SelectorEventLoop):
    """The event loop of a program on a simulated host."""

    # asyncio's own.
    _selector: SimSelector
    _ready: "deque[asyncio.Handle]"
    _debug: bool
    _closed: bool
    _transports: "weakref.WeakValueDictionary[int, Any]"

    def __init__(self) -> None:
        program = running("a simulated event loop").program
        self.program = program
        super().__init__(SimSelector(program))
        rounds = self._selector.rounds
        rounds.serve(self)
        # What asyncio's run_forever() asks for, without a method of ours in between.
        self._run_once = rounds.round
        self.create_future = functools.partial(asyncio.Future, loop=self)  # type: ignore[method-assign]

    # Python keeps these hooks per OS thread. All our loops have the same ones, which know whose a generator is, so
    # that nothing is to be exchanged when strands take turns.

    @staticmethod
    def _asyncgen_firstiter_hook(generator: Any) -> None:
        loop: Any = asyncio.get_running_loop()
        _owners[id(generator)] = weakref.ref(loop)
        super(SimLoop, loop)._asyncgen_firstiter_hook(generator)  # type: ignore[misc]

    @staticmethod
    def _asyncgen_finalizer_hook(generator: Any) -> None:
        owner = _owners.pop(id(generator), None)
        loop: Any = None if owner is None else owner()
        if loop is not None:
            super(SimLoop, loop)._asyncgen_finalizer_hook(generator)  # type: ignore[misc]

    def time(self) -> float:
        """Seconds of the host's monotonic clock."""
        return self.program.host.monotonic_ns() / 1e9

    @property
    def _clock_resolution(self) -> float:
        """What asyncio lets a timer run early by: the least step of a float, so that one due now runs, and no other."""
        return math.ulp(self.time())

    @_clock_resolution.setter
    def _clock_resolution(self, value: float) -> None:
        """The base class sets the machine's."""

    # The self-pipe of a real loop: here the selector is woken directly.

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        selector = self._selector
        if selector is not None and selector.rounds.strand is not None:
            selector.rounds.strand.wake()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, which is longer by what its debug mode wants."""
        if self._debug or self._closed:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def abandon(self) -> None:
        """Its program was killed: let what it holds go, now and without a word. Later it would be told as forgotten."""
        for transport in list(self._transports.values()):
            transport._closing, transport._sock = True, None
            secured = getattr(transport._protocol, "_app_transport", None)
            if secured is not None:
                secured._closed = True
        for task in sorted(asyncio.all_tasks(self), key=age):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            # Clean-up that waits is given up where it waits, as often as it does.
            for _ in range(MAX_WAITS):
                try:
                    coroutine.close()
                    break
                except BaseException:
                    pass

    # Transports

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        kind = SimTransport if type(sock) is SimSocket else vars(selector_events)["_SelectorSocketTransport"]
        return kind(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: Any = None,
        extra: Any = None,
        server: Any = None,
        **timeouts: Any,
    ) -> Any:
        secured: Any = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        self._make_socket_transport(rawsock, secured, extra=extra, server=server)
        return secured._app_transport

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        return getaddrinfo(self.program, host, port, family, type, proto, flags)

    async def _create_server_getaddrinfo(self, host: Any, port: Any, family: int, flags: int) -> list[Any]:
        """create_server puts these into a set: their order there must not hang on PYTHONHASHSEED."""
        infos = await self.getaddrinfo(host or None, port, family=family, type=1, flags=flags)
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return [_Info(info) for info in infos]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        return getnameinfo(self.program, sockaddr, flags)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """The function runs as a further strand of the program: deterministic, and blocking calls in it are fine."""
        self._check_closed()  # type: ignore[attr-defined]
        future = self.create_future()
        context = contextvars.copy_context()

        def body() -> None:
            try:
                value = context.run(func, *args)
            except BaseException as error:
                if not self.is_closed():
                    self.call_soon_threadsafe(_fail, future, error)
            else:
                if not self.is_closed():
                    self.call_soon_threadsafe(_succeed, future, value)

        self.program.spawn(f"executor: {getattr(func, '__name__', func)}", body)
        return future

    async def _make_subprocess_transport(self, *args: Any, **options: Any) -> Any:
        raise MisuseError(
            f"{line_of(sys._getframe(1))}: a program on a simulated host cannot start child processes; "
            "run what the child does as a program: host.run(function)"
        )

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Called when `Program.signal(sig)` is."""
        self.program.signals[sig] = lambda number, frame: self.call_soon_threadsafe(callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self.program.signals.pop(sig, None) is not None


class _Info(tuple[Any, ...]):
    """An entry of getaddrinfo whose hash is the same in every process: its family."""

    def __hash__(self) -> int:
        return int(self[0])


def _succeed(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):
        error = RuntimeError("the executor's function raised StopIteration")
    future.set_exception(error)


def new_event_loop(original: Callable[..., Any]) -> Callable[..., Any]:
    """What the policy's new_event_loop becomes: inside a program a SimLoop."""

    def made(policy: Any) -> Any:
        return original(policy) if current.strand is None else SimLoop()

    return made
