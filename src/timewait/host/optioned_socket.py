"""What a TCP socket holds, and its options (tcp_setsockopt, sk_setsockopt and their opposites)."""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.instant import SEC
from timewait.base.ints import i64
from timewait.host.errqueue import OPT_ID, OPT_ID_TCP, ErrorQueue
from timewait.host.listener import Listener
from timewait.host.ports import AF_INET6, ANY4, ANY6, PortOwner
from timewait.host.signing import settle, with_key
from timewait.host.socket_level import (
    MAX_BUFFER,
    MIN_RCVBUF,
    MIN_SNDBUF,
    buffer_size,
    linger_of,
    socket_option,
)
from timewait.host.sockopt import (
    IP_MINTTL,
    IP_MTU,
    IPV6_MINHOPCOUNT,
    IPV6_MTU,
    IPV6_V6ONLY,
    SO_ACCEPTCONN,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_MAX_PACING_RATE,
    SO_OOBINLINE,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SO_TIMESTAMPING,
    SO_ZEROCOPY,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
    TCP_FASTOPEN_CONNECT,
    TCP_INFO,
    TCP_MD5SIG,
    TCP_MD5SIG_EXT,
    TCP_WINDOW_CLAMP,
)
from timewait.host.tcp_layer import TcpLayer
from timewait.host.tcp_options import TcpOptions
from timewait.host.tcp_tables import ConnectionOwner
from timewait.tcp.info import listener_info, pack_info, tcp_info
from timewait.tcp.keepalive import set_keepalive
from timewait.tcp.states import CLOSED
from timewait.tcp.tcb import Tcb

WIDE: Final = (SO_MAX_PACING_RATE, SO_TIMESTAMPING)
"""Options whose value has eight octets where there is room: a rate; flags and the clock that stamps."""
_UNTOUCHED: Final = TcpOptions()


class OptionedSocket(ConnectionOwner):
    """A TCP socket as far as its options are concerned."""

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

    # Options

    def _tell_listener(self, listener: Listener) -> None:
        """Options that a listener reads itself."""
        listener.defer_accept = self.options.defer_accept
        listener.fast_open_limit = self.options.fast_open_limit
        listener.tos, listener.ttl = self.options.tos, self.options.ttl
        listener.options.no_options = self.options.no_options
        listener.fast_open_keys = self.options.fast_open_keys

    def _take_error(self) -> int:
        """SO_ERROR: report and clear."""
        t = self.tcb
        if t is None:
            return 0
        number = t.err
        t.err = 0
        return int(number)

    def _set_key(self, value: int | bytes, extended: bool) -> None:
        """TCP_MD5SIG and TCP_MD5SIG_EXT: another key, or one less."""
        keys = with_key(self.options.md5, value, extended, self.family == AF_INET6)
        self.own_options().md5 = keys
        if self.tcb is not None:
            settle(self.tcb)

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Socket-level options here, TCP's and IP's in `TcpOptions`; ENOPROTOOPT for unknown ones."""
        if level == SOL_SOCKET and name == SO_LINGER:
            self.linger = linger_of(value)
            return
        if level == SOL_SOCKET:
            if isinstance(value, bytes) and len(value) < 4:
                raise os_error(errno.EINVAL)
            number = value if isinstance(value, int) else int.from_bytes(value[:4], "little", signed=True)
            self._set_socket_option(name, number)
            return
        if level == SOL_IPV6 and name == IPV6_V6ONLY and self.family == AF_INET6:
            if self.bound.kind is not None or (isinstance(value, bytes) and len(value) < 4):
                raise os_error(errno.EINVAL)
            self.bound.v6only = bool(value)
            return
        if level == SOL_TCP and name in (TCP_MD5SIG, TCP_MD5SIG_EXT):
            self._set_key(value, name == TCP_MD5SIG_EXT)
            return
        if level == SOL_TCP and self.listener is not None:
            # A listening socket is beyond the choice (tcp_setsockopt).
            if name == TCP_FASTOPEN_CONNECT or (name == TCP_WINDOW_CLAMP and not value):
                raise os_error(errno.EINVAL)
        now = self.layer.machine.now()
        self.own_options().set(level, name, value, self.tcb, self.layer.net, now)
        if (level, name) in ((SOL_IP, IP_MINTTL), (SOL_IPV6, IPV6_MINHOPCOUNT)):
            self.layer.min_ttl = True
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
        elif name in (SO_SNDBUF, SO_SNDBUFFORCE):
            limit = MAX_BUFFER if name == SO_SNDBUF else 2**30
            self.own_options().sndbuf = buffer_size(number, MIN_SNDBUF, limit, self.layer.net.sysctl)
            self.options.apply_buffers(self.tcb)
        elif name in (SO_RCVBUF, SO_RCVBUFFORCE):
            limit = MAX_BUFFER if name == SO_RCVBUF else 2**30
            self.own_options().rcvbuf = buffer_size(number, MIN_RCVBUF, limit, self.layer.net.sysctl)
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
        if number & ~0x3FFFF or (number & OPT_ID_TCP and not number & OPT_ID):
            raise os_error(errno.EINVAL)
        t = self.tcb
        if number & OPT_ID and not self.options.timestamping & OPT_ID:
            if t is None or t.state is CLOSED:
                raise os_error(errno.EINVAL)
            if self.errors is None:
                self.errors = ErrorQueue()
            self.errors.key_base = t.write_seq if number & OPT_ID_TCP else t.snd_una
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
        elif level == SOL_TCP and name == TCP_INFO and self.listener is not None:
            value = pack_info(self.info())
        elif (level, name) in ((SOL_IP, IP_MTU), (SOL_IPV6, IPV6_MTU)):
            value = self._path_mtu()
        else:
            value = self.options.get(level, name, self.tcb, self.layer.net, self.layer.machine.now())
        if size and isinstance(value, int):
            if level == SOL_SOCKET and name in WIDE and size >= 8:
                return (0xFFFFFFFFFFFFFFFF if value == 0xFFFFFFFF else value).to_bytes(8, "little")
            if level == SOL_IP and size < 4 and 0 <= value <= 255:
                return bytes((value,))
            return (value & 0xFFFFFFFF).to_bytes(4, "little")[:size]
        return value[:size] if size and isinstance(value, bytes) else value

    def info(self) -> dict[str, int]:
        """TCP_INFO by field name; OSError ENOTCONN on a socket that neither listens nor ever was connected."""
        if self.listener is not None:
            return listener_info(self.layer.net, len(self.listener.accept_queue), int(self.listener.backlog))
        if self.tcb is None:
            raise os_error(errno.ENOTCONN)
        return tcp_info(self.tcb, self.layer.machine.now())

    def _path_mtu(self) -> int:
        """IP_MTU, IPV6_MTU: that of the path to the peer; ENOTCONN before there is one."""
        t = self.tcb
        if t is None:
            raise os_error(errno.ENOTCONN)
        return int(t.pmtu)

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
