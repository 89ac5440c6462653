"""TCP sockets: the calls of a program, with Linux's order of checks and errno (af_inet.c, tcp.c)."""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.instant import SEC
from timewait.base.ints import i64
from timewait.host.errqueue import OPT_ID, TX_ANY, ErrorQueue
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, Socket
from timewait.host.listener import Listener
from timewait.host.ports import AF_INET6, ANY4, ANY6, PortOwner
from timewait.host.route import AddressKind
from timewait.host.socket_level import MIN_RCVBUF, MIN_SNDBUF, buffer_size, linger_of, socket_option, unchanging
from timewait.host.sockopt import (
    IPV6_V6ONLY,
    MSG_EOR,
    MSG_FASTOPEN,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_ZEROCOPY,
    SO_ACCEPTCONN,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_MAX_PACING_RATE,
    SO_OOBINLINE,
    SO_RCVBUF,
    SO_RCVLOWAT,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_TIMESTAMPING,
    SO_ZEROCOPY,
    SOL_IPV6,
    SOL_SOCKET,
)
from timewait.host.tcp_layer import TcpLayer
from timewait.host.tcp_options import TcpOptions
from timewait.host.tcp_tables import ConnectionOwner
from timewait.tcp import calls
from timewait.tcp.fastopen import CLIENT, offer
from timewait.tcp.info import tcp_info
from timewait.tcp.keepalive import set_keepalive
from timewait.tcp.reasons import Why
from timewait.tcp.send import append, queued, room
from timewait.tcp.states import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, Cause
from timewait.tcp.tcb import RCV_SHUTDOWN, Tcb
from timewait.tcp.urgent import receive_urgent, waiting
from timewait.wire.packet import Buffer

_UNTOUCHED: Final = TcpOptions()


class TcpSocket(ConnectionOwner):
    """One TCP socket: unconnected, listening, or the program's side of a connection."""

    # Flags are declared together: compiled, they share a machine word. What they mean stands below.
    connecting: bool
    connected: bool
    explicit_port: bool
    owns_options: bool

    def __init__(self, layer: TcpLayer, family: int) -> None:
        self.layer: TcpLayer = layer
        self.family = family
        self.type = 1
        self.proto = 6
        self.bound: PortOwner = PortOwner()
        self.bound.family = family
        self.bound.local_addr = ANY6 if family == AF_INET6 else ANY4
        self.tcb: Tcb | None = None
        self.listener: Listener | None = None
        self.connecting = False
        """connect() was called and has not reported its success yet (SS_CONNECTING)."""
        self.connected = False
        self.explicit_port = False
        """bind() named the port, which therefore outlives the connection (SOCK_BINDPORT_LOCK)."""
        self.linger: i64 = -1
        """SO_LINGER in ns; -1: off."""
        self.deferred: tuple[bytes, int] | None = None
        """Where TCP_FASTOPEN_CONNECT will connect to with the first data."""
        self.errors: ErrorQueue | None = None
        """What waits for recvmsg(MSG_ERRQUEUE)."""
        self.options: TcpOptions = _UNTOUCHED
        """Shared with other sockets until `own_options` is asked for: most programs set none, or all alike."""
        self.owns_options = False

    def own_options(self) -> TcpOptions:
        """The options, for a change that concerns no other socket."""
        if self.listener is not None:
            self.listener.heirs = None
        if not self.owns_options:
            self.options = self.options.copy()
            self.owns_options = True
            if self.tcb is not None:
                self.tcb.wishes = self.options
            if self.listener is not None:
                self.listener.options.wishes = self.options
        return self.options

    # bind, listen, connect, accept

    def bind(self, addr: bytes, port: int) -> None:
        """OSError EINVAL if bound already, EADDRNOTAVAIL for a foreign address, EADDRINUSE, EACCES."""
        if self.bound.kind is not None or self.tcb is not None:
            raise os_error(errno.EINVAL, "the socket is bound already")
        routes = self.layer.machine.routes
        if any(addr) and not self.layer.net.sysctl.ip_nonlocal_bind:
            kind = routes.classify(addr)
            if kind is not AddressKind.LOCAL:
                raise os_error(errno.EADDRNOTAVAIL)
        self.layer.ports.bind(self.bound, addr, port)
        self.explicit_port = port != 0

    def listen(self, backlog: int) -> None:
        """Begin to accept, or change the backlog. OSError EINVAL when connected, EADDRINUSE."""
        layer = self.layer
        limit = layer.net.sysctl.somaxconn
        # The kernel compares unsigned: a negative backlog is the largest.
        length: i64 = limit if backlog < 0 or backlog > limit else backlog
        if self.listener is not None:
            self.listener.backlog = length
            return
        if self.tcb is not None:
            raise os_error(errno.EINVAL)
        if self.bound.kind is None:
            layer.ports.autobind(self.bound, self.bound.local_addr)
        layer.ports.listen(self.bound)
        listener = Listener(layer.net, self.bound.local_addr, self.bound.local_port, length)
        listener.owner = self
        listener.v6only = self.bound.v6only
        listener.options.rcvbuf = self.options.rcvbuf or layer.net.sysctl.tcp_rmem[1]
        listener.options.rcvbuf_locked = self.options.rcvbuf != 0
        listener.options.wishes = self.options
        listener.syn_retries = self.options.syn_retries
        self._tell_listener(listener)
        self.listener = listener
        layer.listeners.setdefault(int(listener.port), []).append(listener)
        tap = layer.net.tap
        if tap is not None:
            tap.moved(layer.net.name, b"", CLOSED, LISTEN, Cause.PASSIVE_OPEN, layer.machine.now())

    def _tell_listener(self, listener: Listener) -> None:
        """Options that a listener reads itself."""
        listener.defer_accept = self.options.defer_accept
        listener.fast_open_limit = self.options.fast_open_limit
        listener.tos, listener.ttl = self.options.tos, self.options.ttl
        listener.options.no_options = self.options.no_options
        listener.fast_open_keys = self.options.fast_open_keys

    def connect(self, addr: bytes, port: int) -> bool:
        """Send a SYN: True, EINPROGRESS; the second call after success gives False, later ones raise EISCONN."""
        if self.listener is not None:
            raise os_error(errno.EISCONN)
        if self.connected:
            raise os_error(errno.EISCONN)
        if self.connecting:
            self._connect_again()
            return False
        if self.options.fast_open_connect:
            if addr in self.layer.net.fast_open_cookies.known:
                # TCP_FASTOPEN_CONNECT: the SYN waits for the first data.
                self.deferred = (addr, port)
                self.connecting = True
                return False
            self._start(addr, port, b"")
        else:
            bsd = self.layer.net.sysctl.bsd
            fast = b"" if bsd is not None and bsd.client_enable and self.options.fast_open_limit > 0 else None
            self._start(addr, port, fast)
        return True

    def _start(self, addr: bytes, port: int, fast: bytes | None) -> int:
        """Choose addresses and ports and send the SYN; `fast`: data for a fast open. Returns octets sent with it."""
        layer = self.layer
        routes = layer.machine.routes
        if not any(addr):
            # Linux connects to itself when asked for the wildcard.
            addr = b"\x7f\0\0\1" if len(addr) == 4 else bytes(15) + b"\1"
        kind = routes.classify(addr)
        route = routes.lookup(addr)
        if kind is AddressKind.MULTICAST or kind is AddressKind.BROADCAST:
            raise os_error(errno.ENETUNREACH)
        laddr = self.bound.local_addr if any(self.bound.local_addr) else route.source
        if not laddr:
            raise os_error(errno.EADDRNOTAVAIL, "no source address for that destination")
        if self.bound.kind is None:
            self.bound.local_addr = laddr
            try:
                layer.ports.choose_for_connect(self.bound, laddr, addr, port, layer.four_tuple_free)
            except OSError:
                self.bound.local_addr = ANY6 if self.family == AF_INET6 else ANY4
                raise
        elif laddr != self.bound.local_addr:
            self.bound.local_addr = laddr
            layer.ports.refresh(self.bound)
        return self._open(laddr, addr, port, fast)

    def _open(self, laddr: bytes, addr: bytes, port: int, fast: bytes | None) -> int:
        layer = self.layer
        now = layer.machine.now()
        t = Tcb(layer.net, laddr, self.bound.local_port, addr, port)
        t.pmtu = layer.machine.routes.mtu(addr, now)
        t.owner = self
        self.options.apply(t)
        try:
            isn = layer.open(t, now)
        except OSError:
            if not self.explicit_port:
                layer.ports.release(self.bound)
            raise
        self.tcb = t
        self.connecting = True
        if fast is not None and layer.net.sysctl.tcp_fastopen & CLIENT:
            cookie, mss = layer.net.fast_open_cookies.known.get(addr, (b"", 0))
            offer(t, cookie, mss)
            calls.open_active(t, now, isn, fast)
        else:
            calls.open_active(t, now, isn)
        layer.after(t, now)
        return int((t.snd_nxt - t.iss - 1) & 0xFFFFFFFF)

    def _connect_again(self) -> None:
        """connect() while an earlier one is under way, or to learn its result."""
        t = self.tcb
        if self.deferred is not None:
            raise os_error(errno.EISCONN)  # To the caller the connection exists (__inet_stream_connect).
        if t is not None and (t.state is SYN_SENT or t.state is SYN_RCVD):
            raise os_error(errno.EALREADY)
        self.connecting = False
        number = self._take_error()
        if t is None or (t.state is CLOSED and number):
            self.tcb = None
            raise os_error(number if number else errno.ECONNABORTED)
        self.connected = True

    def accept(self) -> Socket:
        """The oldest finished connection. OSError EINVAL if not listening, EAGAIN if none waits."""
        listener = self.listener
        if listener is None:
            raise os_error(errno.EINVAL, "the socket is not listening")
        if not listener.accept_queue:
            raise os_error(errno.EAGAIN)
        t = listener.accept_queue.popleft()
        sock = TcpSocket(self.layer, int(self.family))
        sock.tcb = t
        sock.connected = True
        sock.linger = self.linger
        wishes = t.wishes
        assert isinstance(wishes, TcpOptions)
        sock.options = wishes
        sock.bound.local_addr = t.laddr
        sock.bound.local_port = t.lport
        sock.bound.reuse_addr = self.bound.reuse_addr
        sock.bound.reuse_port = self.bound.reuse_port
        sock.bound.v6only = self.bound.v6only
        t.owner = sock
        if not t.retired:
            self.layer.ports.share(sock.bound, t.lport)
        return sock

    # Data

    def send(self, data: Buffer, flags: int) -> int:
        """Queue data; see `calls.send` for errors. Unconnected sockets give EPIPE, as Linux does."""
        if self.deferred is not None:
            addr, port = self.deferred
            self.deferred = None
            self.connecting = False
            return self._send_fast(data, addr, port)
        t = self.tcb
        if t is None:
            raise os_error(errno.EPIPE)
        if not isinstance(data, bytes):
            data = unchanging(data, room(t))
        now = self.layer.machine.now()
        count = calls.send(t, data, bool(flags & MSG_MORE), now, bool(flags & MSG_EOR))
        if flags & MSG_OOB:
            calls.send_urgent(t, now)
        if count and (flags & MSG_ZEROCOPY or self.options.timestamping & TX_ANY):
            self._wish(t, flags, count)
        self.layer.after(t, now)
        return count

    def _wish(self, t: Tcb, flags: int, count: int) -> None:
        """Data was queued whose sender wants to be told (MSG_ZEROCOPY, SO_TIMESTAMPING)."""
        if self.errors is None:
            self.errors = ErrorQueue()
        if flags & MSG_ZEROCOPY and self.options.zerocopy:
            self.errors.want_zerocopy(t)
        if self.options.timestamping & TX_ANY:
            self.errors.want_stamps(t, self.options.timestamping, count)

    def connection_progress(self, t: Tcb, now: i64) -> None:
        if self.errors is None:
            t.watched = False
        elif self.errors.progress(t, now):
            self.wake(EPOLLERR)

    def recv(self, size: int, flags: int) -> bytes:
        """Up to `size` octets, b'' at the end. ENOTCONN when there never was a connection."""
        t = self.tcb
        if t is None:
            raise os_error(errno.ENOTCONN if self.deferred is None else errno.EAGAIN)
        if flags & MSG_OOB:
            return receive_urgent(t, bool(flags & MSG_PEEK))
        now = self.layer.machine.now()
        data = calls.receive(t, size, bool(flags & MSG_PEEK), now)
        if t.ack_pending & 16:
            self.layer.after(t, now)
        return data

    def recv_views(self) -> list[Buffer]:
        """Everything that waits, in the buffers in which it arrived; [] at the end of the stream. Errors as recv."""
        t = self.tcb
        if t is None:
            raise os_error(errno.ENOTCONN)
        now = self.layer.machine.now()
        views = calls.receive_views(t, now)
        if t.ack_pending & 16:
            self.layer.after(t, now)
        return views

    def sendto(self, data: Buffer, flags: int, addr: bytes, port: int) -> int:
        """As send: Linux ignores the address on a connected stream socket. With MSG_FASTOPEN: connect and send."""
        if self.layer.net.profile.bsd and self.tcb is None and self.listener is None and port:
            return self._send_opening(data, addr, port)
        if flags & MSG_FASTOPEN and not self.connected:
            if not self.layer.net.sysctl.tcp_fastopen & CLIENT:
                raise os_error(errno.EOPNOTSUPP)
            if not self.connecting:
                return self._send_fast(data, addr, port)
            t = self.tcb
            if t is not None and (t.state is SYN_SENT or t.state is SYN_RCVD):
                raise os_error(errno.EALREADY)
        return self.send(data, flags)

    def _send_opening(self, data: Buffer, addr: bytes, port: int) -> int:
        """FreeBSD's implied connect: the data is queued behind the SYN, or rides on it if TCP_FASTOPEN was set."""
        bsd = self.layer.net.sysctl.bsd
        assert bsd is not None
        whole = bytes(data)
        fast = whole if self.options.fast_open_limit > 0 and bsd.client_enable else None
        sent = self._start(addr, port, fast)
        t = self.tcb
        assert t is not None
        rest = whole[sent : sent + int(room(t))]
        if rest:
            append(t, rest, len(rest), True)
            t.pushed_seq = t.write_seq
        return sent + len(rest)

    def _send_fast(self, data: Buffer, addr: bytes, port: int) -> int:
        """Open with data in the SYN; EINPROGRESS where only a cookie could be asked for."""
        sent = self._start(addr, port, bytes(data))
        if sent == 0:
            raise os_error(errno.EINPROGRESS)
        return sent

    def recvfrom(self, size: int, flags: int) -> tuple[bytes, bytes, int]:
        return self.recv(size, flags), b"", 0

    # The end

    def shutdown(self, how: int) -> None:
        """Close one direction or both; ENOTCONN without a connection, EINVAL for another `how`."""
        if not 0 <= how <= 2:
            raise os_error(errno.EINVAL)
        now = self.layer.machine.now()
        if self.listener is not None:
            if how != 1:
                self._stop_listening()
            return
        t = self.tcb
        if t is None or t.state is CLOSED or t.retired:
            raise os_error(errno.ENOTCONN)
        if how != 1:
            t.shutdown_mask |= RCV_SHUTDOWN
            t.wake |= EPOLLIN
        if t.state is SYN_SENT and not t.bsd:
            # Linux gives the attempt up, whichever side was meant (inet_shutdown).
            calls.abort(t, Why.RST_ABORT, now)
            t.err = errno.ECONNRESET
            t.shutdown_mask = 0
        elif how != 0:
            calls.shutdown_send(t, now)
        self.layer.after(t, now)

    def disconnect(self) -> None:
        """connect() with AF_UNSPEC: abort and become unconnected (tcp_disconnect)."""
        t = self.tcb
        if t is not None and not t.retired:
            now = self.layer.machine.now()
            calls.abort(t, Why.RST_ABORT, now)
            self.layer.after(t, now)
        self.tcb = None
        self.connecting = False
        self.connected = False

    def released(self) -> None:
        """close() of the last reference."""
        if self.listener is not None:
            self._stop_listening()
        t = self.tcb
        if t is None or t.retired:
            self.layer.ports.release(self.bound)
            return
        now = self.layer.machine.now()
        calls.close(t, self.linger, now)
        if t.orphan:
            self.layer.net.orphans += 1
        self.layer.after(t, now)

    def _stop_listening(self) -> None:
        listener = self.listener
        if listener is None:
            return
        self.listener = None
        now = self.layer.machine.now()
        self.layer.stop_listening(listener, now)
        self.layer.ports.release(self.bound)
        tap = self.layer.net.tap
        if tap is not None:
            tap.moved(self.layer.net.name, b"", LISTEN, CLOSED, Cause.CLOSE_CALL, now)

    # What the layer tells

    def connection_woken(self, mask: i64) -> None:
        self.wake(mask)

    def connection_gone(self) -> None:
        if self.bound.kind is not None and (self.refs <= 0 or not self.explicit_port):
            self.layer.ports.release(self.bound)

    def inherit(self, child: Tcb) -> None:
        self.options.apply(child)
        listener = self.listener
        assert listener is not None
        if listener.heirs is None:
            listener.heirs = self.options.inherited()
        child.wishes = listener.heirs

    # State

    def poll(self) -> i64:
        if self.listener is not None:
            return EPOLLIN if self.listener.accept_queue else 0
        t = self.tcb
        if self.deferred is not None:
            return EPOLLOUT
        if t is None:
            return EPOLLOUT | EPOLLHUP
        mask = calls.poll_mask(t)
        if self.errors is not None and self.errors.entries:
            mask |= EPOLLERR
        return mask

    def _take_error(self) -> int:
        """SO_ERROR: report and clear."""
        t = self.tcb
        if t is None:
            return 0
        number = t.err
        t.err = 0
        return int(number)

    def getsockname(self) -> tuple[bytes, int]:
        return self.bound.local_addr, int(self.bound.local_port)

    def getpeername(self) -> tuple[bytes, int]:
        t = self.tcb
        if t is None or t.state is CLOSED or t.state is SYN_SENT or t.retired:
            raise os_error(errno.ENOTCONN)
        return t.raddr, int(t.rport)

    def inq(self) -> int:
        if self.listener is not None:
            raise os_error(errno.EINVAL)
        return 0 if self.tcb is None else int(waiting(self.tcb))

    def outq(self) -> int:
        if self.listener is not None:
            raise os_error(errno.EINVAL)
        return 0 if self.tcb is None else int(queued(self.tcb))

    def outq_unsent(self) -> int:
        if self.listener is not None:
            raise os_error(errno.EINVAL)
        return 0 if self.tcb is None else int(self.tcb.unsent_len)

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Socket-level options here, TCP's and IP's in `TcpOptions`; ENOPROTOOPT for unknown ones."""
        if level == SOL_SOCKET and name == SO_LINGER:
            self.linger = linger_of(value)
            return
        if level == SOL_SOCKET:
            number = value if isinstance(value, int) else int.from_bytes(value[:4], "little", signed=True)
            self._set_socket_option(name, number)
            return
        if level == SOL_IPV6 and name == IPV6_V6ONLY and self.family == AF_INET6:
            if self.bound.kind is not None:
                raise os_error(errno.EINVAL)
            self.bound.v6only = bool(value)
            return
        now = self.layer.machine.now()
        self.own_options().set(level, name, value, self.tcb, self.layer.net, now)
        if self.listener is not None:
            self._tell_listener(self.listener)
        t = self.tcb
        if t is not None and not t.retired:
            self.layer.after(t, now)

    def _set_socket_option(self, name: int, number: int) -> None:
        if name in (SO_REUSEADDR, SO_REUSEPORT):
            if name == SO_REUSEADDR:
                self.bound.reuse_addr = bool(number)
            else:
                self.bound.reuse_port = bool(number)
            self.layer.ports.refresh(self.bound)
        elif name == SO_KEEPALIVE:
            self.own_options().keepalive = bool(number)
            t = self.tcb
            if t is not None and not t.retired:
                set_keepalive(t, bool(number), self.layer.machine.now())
                self.layer.after(t, self.layer.machine.now())
        elif name == SO_SNDBUF:
            self.own_options().sndbuf = buffer_size(number, MIN_SNDBUF, self.layer.net.sysctl)
            self.options.apply_buffers(self.tcb)
        elif name == SO_RCVBUF:
            self.own_options().rcvbuf = buffer_size(number, MIN_RCVBUF, self.layer.net.sysctl)
            self.options.apply_buffers(self.tcb)
            if self.listener is not None:
                self.listener.options.rcvbuf, self.listener.options.rcvbuf_locked = self.options.rcvbuf, True
        elif name == SO_OOBINLINE:
            self.own_options().oob_inline = bool(number)
            if self.tcb is not None:
                self.tcb.urg_inline = bool(number)
        elif name in (SO_RCVLOWAT, SO_MAX_PACING_RATE):
            self.own_options().set_limit(name, number, self.tcb, self.layer.net)
        elif name == SO_ZEROCOPY:
            if number not in (0, 1):
                raise os_error(errno.EINVAL)
            self.own_options().zerocopy = bool(number)
        elif name == SO_TIMESTAMPING:
            self._set_timestamping(number)
        else:
            self.own_options().keep(SOL_SOCKET, name, number)

    def _set_timestamping(self, number: int) -> None:
        """SO_TIMESTAMPING: with OPT_ID the keys count from what is unacknowledged now (sock_set_timestamping)."""
        if number & ~0x3FFFF:
            raise os_error(errno.EINVAL)
        t = self.tcb
        if number & OPT_ID and not self.options.timestamping & OPT_ID:
            if t is None or t.state is CLOSED or t.state is SYN_SENT:
                raise os_error(errno.EINVAL)
            if self.errors is None:
                self.errors = ErrorQueue()
            self.errors.key_base = t.snd_una
        self.own_options().timestamping = number

    def getsockopt(self, level: int, name: int, size: int) -> int | bytes:
        """The value of an option; ENOPROTOOPT for unknown ones."""
        if level == SOL_SOCKET and name == SO_LINGER:
            on = self.linger >= 0
            return int(on).to_bytes(4, "little") + int(self.linger // SEC if on else 0).to_bytes(4, "little")
        if level == SOL_IPV6 and name == IPV6_V6ONLY:
            return int(self.bound.v6only)
        if level == SOL_SOCKET:
            value: int | bytes = self._get_socket_option(name)
        else:
            value = self.options.get(level, name, self.tcb, self.layer.net, self.layer.machine.now())
        if size and isinstance(value, int):
            return (value & 0xFFFFFFFF).to_bytes(4, "little")[:size]
        return value[:size] if size and isinstance(value, bytes) else value

    def _get_socket_option(self, name: int) -> int:
        t = self.tcb
        if name == SO_ERROR:
            number = self._take_error()
            if number == 0 and t is not None and not t.bsd:
                # Asking takes the soft error too, which would otherwise be told at the timeout (sk_getsockopt).
                number = int(t.err_soft)
                t.err_soft = 0
            return number
        if name == SO_ACCEPTCONN:
            return int(self.listener is not None)
        return socket_option(name, self.options, self.bound, t, self.layer.net.sysctl)

    def info(self) -> dict[str, int]:
        """TCP_INFO by field name; OSError ENOTCONN without a connection."""
        if self.tcb is None:
            raise os_error(errno.ENOTCONN)
        return tcp_info(self.tcb, self.layer.machine.now())
