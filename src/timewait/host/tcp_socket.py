"""TCP sockets: the calls of a program, with Linux's order of checks and errno (af_inet.c, tcp.c)."""

import errno

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.host.errqueue import TX_ANY, ErrorQueue
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, Socket
from timewait.host.icmp import Reported
from timewait.host.listener import Listener
from timewait.host.optioned_socket import OptionedSocket
from timewait.host.ports import AF_INET6, ANY4, ANY6
from timewait.host.route import AddressKind, Route
from timewait.host.signing import key_of_heir, settle
from timewait.host.socket_level import unchanging
from timewait.host.sockopt import (
    MSG_EOR,
    MSG_FASTOPEN,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_ZEROCOPY,
    SO_PEEK_OFF,
    SOL_SOCKET,
)
from timewait.host.tcp_options import TcpOptions
from timewait.tcp import calls
from timewait.tcp.arrive_listen import take_path
from timewait.tcp.fastopen import CLIENT, needs_no_cookie, offer
from timewait.tcp.fastopen_pause import paused
from timewait.tcp.reasons import Why
from timewait.tcp.send import append
from timewait.tcp.space import room
from timewait.tcp.states import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, Cause
from timewait.tcp.tcb import RCV_SHUTDOWN, Tcb
from timewait.tcp.urgent import receive_urgent, waiting
from timewait.wire.packet import Buffer


class TcpSocket(OptionedSocket):
    """One TCP socket: unconnected, listening, or the program's side of a connection."""

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
        layer.listen(listener)
        tap = layer.net.tap
        if tap is not None:
            tap.moved(layer.net.name, b"", CLOSED, LISTEN, Cause.PASSIVE_OPEN, layer.machine.now())

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
            net = self.layer.net
            usable = self._knows_cookie(addr) or needs_no_cookie(net, self.options)
            if usable and not paused(net, self.layer.machine.now()):
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

    def _knows_cookie(self, addr: bytes) -> bool:
        """Whether the peer has granted one to the address that we would speak from."""
        layer = self.layer
        laddr = self.bound.local_addr
        if not any(laddr):
            laddr = layer.machine.routes.lookup(addr).source
        known = layer.net.metrics.find(laddr, addr, layer.machine.now())
        return known is not None and known.cookie != b""

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
        return self._open(laddr, addr, port, fast, route)

    def _open(self, laddr: bytes, addr: bytes, port: int, fast: bytes | None, route: Route) -> int:
        layer = self.layer
        now = layer.machine.now()
        t = Tcb(layer.net, laddr, self.bound.local_port, addr, port)
        t.pmtu = layer.machine.routes.mtu(addr, now)
        t.owner = self
        t.ecn_ok = route.ecn
        take_path(t, route.path)
        self.options.apply(t)
        try:
            isn = layer.open(t, now)
        except OSError:
            if not self.explicit_port:
                layer.ports.release(self.bound)
            raise
        self.tcb = t
        self.connecting = True
        if fast is not None and layer.net.sysctl.tcp_fastopen & CLIENT and not paused(layer.net, now):
            t.after_pause = layer.net.fast_open_pauses > 0
            known = layer.net.metrics.find(laddr, addr, now)
            offer(t, known.cookie if known is not None else b"", known.mss if known is not None else 0)
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
            data = unchanging(data, room(t, memoryview(data).nbytes))
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
            self.errors.want_stamps(t, self.options.timestamping, count, bool(flags & MSG_EOR))

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
        peek = bool(flags & MSG_PEEK)
        if self.options.kept is not None and self.options.kept_value(SOL_SOCKET, SO_PEEK_OFF) >= 0:
            data = self._receive_at_offset(t, size, peek, now)
        else:
            data = calls.receive(t, size, peek, now)
        if t.ack_pending & 16:
            self.layer.after(t, now)
        return data

    def _receive_at_offset(self, t: Tcb, size: int, peek: bool, now: i64) -> bytes:
        """With SO_PEEK_OFF peeking goes on where it ended, and reading brings that nearer (sk_peek_offset)."""
        offset = self.options.kept_value(SOL_SOCKET, SO_PEEK_OFF)
        if peek and offset >= t.rcv_queued:
            calls.nothing_to_read(t)
            return b""
        data = calls.receive(t, offset + size if peek else size, peek, now)
        if peek:
            data = data[offset:]
            offset += len(data)
        else:
            offset = max(offset - len(data), 0)
        self.own_options().keep(SOL_SOCKET, SO_PEEK_OFF, offset)
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
        rest = whole[sent : sent + max(int(room(t, len(whole) - sent)), 0)]
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

    def connection_reported(self, t: Tcb, reported: Reported) -> None:
        if len(t.raddr) == 16 and not self.options.hears_errors:
            return
        if self.errors is None:
            self.errors = ErrorQueue()
        self.errors.reported(reported)

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
        if self.options.md5 is not None:
            keys = key_of_heir(self.options.md5, child.raddr)
            if keys is not None:
                own = self.options.inherited()
                own.md5 = keys
                child.wishes = own
            settle(child)

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
        t = self.tcb
        return 0 if t is None or _handshaking(t) else int(waiting(t))

    def at_mark(self) -> bool:
        t = self.tcb
        return t is not None and t.urg_valid and t.urg_seq == t.copied_seq

    def outq(self) -> int:
        if self.listener is not None:
            raise os_error(errno.EINVAL)
        t = self.tcb
        if t is None or _handshaking(t):
            return 0
        # The SYN-ACK of a fast open that ended before its third packet never counts.
        syn = t.fast_open and t.snd_una == t.iss
        return int((t.write_seq - t.snd_una) & 0xFFFFFFFF) - syn

    def outq_unsent(self) -> int:
        if self.listener is not None:
            raise os_error(errno.EINVAL)
        t = self.tcb
        return 0 if t is None or _handshaking(t) else int(t.unsent_len)


def _handshaking(t: Tcb) -> bool:
    """Whether the queues do not count yet: data on a SYN is neither waiting nor outstanding (tcp_ioctl)."""
    return t.state is SYN_SENT or t.state is SYN_RCVD
