"""What TCP on a host keeps: connections and their smaller kin by flow, listeners by port, deadlines in a heap.

One dict holds connections, half-open requests and TIME-WAIT records by the flow of
what arrives, so that one look-up finds any of them. One heap holds their deadlines; a
connection's that only moved later stays where it is, and is put off when it comes up.
"""

import errno
from typing import Final

from timewait.base.deadlines import Deadlines
from timewait.base.instant import SEC
from timewait.base.ints import i32, i64
from timewait.base.native import mypyc_attr
from timewait.base.rng import Streams
from timewait.host.file import Socket
from timewait.host.icmp import Reported
from timewait.host.listener import Listener
from timewait.host.machine import Machine
from timewait.host.ports import Kind, PortOwner, PortTable
from timewait.host.recycle import PeerStamps
from timewait.host.route import Route
from timewait.host.signing import carries, is_signed, with_signature
from timewait.tcp.arrive_listen import Request
from timewait.tcp.calls import abort
from timewait.tcp.md5 import Md5Key, Md5Keys, judge, sign
from timewait.tcp.net import Net
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.segments import reset_for
from timewait.tcp.states import CLOSED, SYN_RCVD, Cause
from timewait.tcp.tcb import KIND_SIGNED, Endpoint, Tcb
from timewait.tcp.timers import next_timeout
from timewait.tcp.timewait import (
    TimeWait,
)
from timewait.tcp.transmit import poll_transmit
from timewait.wire.packet import Segment

MAX_BURST: Final = 65536
"""Segments one connection may send at once: beyond this something is wrong."""

FAST_OPEN_RESET: Final = 60 * SEC
"""So long a fast open that was accepted and reset takes a place (reqsk_fastopen_remove)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionOwner(Socket):
    """What the layer needs of the socket above a connection."""

    bound: PortOwner

    def connection_woken(self, mask: i64) -> None:
        """Readiness changed."""
        raise NotImplementedError

    def connection_progress(self, t: Tcb, now: i64) -> None:
        """Something may have left or been acknowledged on a connection that is watched."""

    def connection_reported(self, t: Tcb, reported: Reported) -> None:
        """An ICMP error ends a connection that was not established yet."""

    def connection_gone(self) -> None:
        """The connection is CLOSED, or a TIME-WAIT record now."""
        raise NotImplementedError

    def inherit(self, child: Tcb) -> None:
        """Of a listening socket: give the child what its options say."""
        raise NotImplementedError


class TcpTables:
    """The tables, and what happens to any connection after something touched it."""

    def __init__(self, machine: Machine, net: Net, streams: Streams) -> None:
        self.machine: Machine = machine
        self.net: Net = net
        self.ports = PortTable(net.sysctl, streams)
        self.endpoints: dict[bytes, Endpoint] = {}
        self.listeners: dict[int, list[Listener]] = {}
        self.numbered: dict[int, Listener] = {}
        self.listens: i64 = 0
        self.min_ttl = False
        """Some socket has set IP_MINTTL or IPV6_MINHOPCOUNT."""
        self.time_waits: i64 = 0
        self.time_wait_keys: dict[bytes, Md5Key] = {}
        """With which records of signed connections sign what they answer, by flow."""
        self.peer_stamps = PeerStamps()
        self.deadlines = Deadlines()
        self.key = streams.secret("tcp reuseport")
        self.batching = False
        self.dirty: list[Tcb] = []

    # Connections

    def configure(self, t: Tcb) -> None:
        """What the path to the peer allows: super-segments, MTU."""
        route = self.machine.routes.find(t.raddr)
        if route is not None and route.device is not None and not route.local:
            limit = route.device.gso_max
            t.gso_max = limit - t.header_size - 40 if limit and t.kind != KIND_SIGNED else 0

    def after(self, t: Tcb, now: i64) -> None:
        """Whatever touched a connection: send, wake the program, retire it, set its timer."""
        if self.batching and not t.done:
            if not t.dirty:
                t.dirty = True
                self.dirty.append(t)
            return
        self.drain(t, now)

    def drain(self, t: Tcb, now: i64) -> None:
        """Send everything the connection may send now, then do what follows from its events."""
        self._send_all(t, now)
        if t.wake:
            mask = t.wake
            t.wake = 0
            owner = t.owner
            if isinstance(owner, ConnectionOwner):
                owner.connection_woken(mask)
                if t.out or t.ack_pending & 16:
                    self._send_all(t, now)
        if t.watched:
            watcher = t.owner
            if isinstance(watcher, ConnectionOwner):
                watcher.connection_progress(t, now)
        if t.fast_open_listener is not None and t.state is not SYN_RCVD:
            pending = t.fast_open_listener
            t.fast_open_listener = None
            assert isinstance(pending, Listener)
            if t.err == errno.ECONNRESET and not isinstance(t.owner, Listener) and not pending.closed:
                pending.fast_open_resets.append(now + FAST_OPEN_RESET)
            else:
                pending.fast_open_pending -= 1
        if t.done:
            self._retire(t, now)
            return
        at = next_timeout(t)
        if at < t.at:
            self.wait(t, at)

    def flush(self) -> None:
        """Drain the connections that were touched while batching."""
        now = self.machine.now()
        while self.dirty:
            touched = self.dirty
            self.dirty = []
            for t in touched:
                t.dirty = False
                self.drain(t, now)

    def _send_all(self, t: Tcb, now: i64) -> None:
        seg = poll_transmit(t, now)
        if seg is None:
            return
        route = self.machine.routes.find(t.raddr)
        signed = t.kind == KIND_SIGNED
        for _ in range(MAX_BURST):
            if signed:
                with_signature(t, seg)
            if route is None:
                self.dropped(seg, Drop.NO_ROUTE, now)
            else:
                self.machine.output(seg, route)
            seg = poll_transmit(t, now)
            if seg is None:
                return
        raise AssertionError("a connection never stops sending")

    def _retire(self, t: Tcb, now: i64) -> None:
        """A connection is CLOSED or has become a record."""
        if t.retired:
            return
        t.retired = True
        if t.orphan:
            self.net.orphans -= 1
        if t.time_wait_state is not None:
            self._enter_time_wait(t, now)
        else:
            self.remove(t)
        owner = t.owner
        if isinstance(owner, ConnectionOwner):
            owner.connection_gone()
            # Without this knot the connection is freed as soon as its socket is closed.
            t.owner = None
        elif isinstance(owner, Listener) and t in owner.accept_queue and t.err:
            # A connection reset while it waits for accept() stays queued, as on Linux.
            return

    def remove(self, t: Tcb) -> None:
        self.deadlines.remove(t)
        if self.endpoints.get(t.flow) is t:
            del self.endpoints[t.flow]

    def listen(self, listener: Listener) -> None:
        """A listener begins: segments find it, and requests know it by its number."""
        self.listens += 1
        listener.number = i32(self.listens)
        self.numbered[int(self.listens)] = listener
        self.listeners.setdefault(int(listener.port), []).append(listener)

    def listener_of(self, req: Request) -> Listener:
        """Whose half-open connection it is; a listener that was closed is kept until its last is gone."""
        return self.numbered[int(req.listener)]

    def leave(self, listener: Listener, req: Request) -> None:
        """A half-open connection is finished, refused or given up."""
        listener.remove(req)
        if listener.closed and not listener.requests:
            del self.numbered[int(listener.number)]

    def stop_listening(self, listener: Listener, now: i64) -> None:
        """Close a listener: what waits for accept() is reset, half-open ones fade away (inet_csk_listen_stop)."""
        listener.closed = True
        if not listener.requests:
            del self.numbered[int(listener.number)]
        at_port = self.listeners.get(int(listener.port))
        if at_port is not None and listener in at_port:
            at_port.remove(listener)
            if not at_port:
                del self.listeners[int(listener.port)]
        while listener.accept_queue:
            child = listener.accept_queue.popleft()
            if not child.done:
                abort(child, Why.RST_LISTENER_CLOSED, now)
                self.after(child, now)

    # TIME-WAIT records

    def _enter_time_wait(self, t: Tcb, now: i64) -> None:
        """Replace a connection by its record, or by nothing if there are too many (tcp_time_wait)."""
        substate = t.time_wait_state
        assert substate is not None
        counters = self.net.counters
        if self.time_waits >= self.net.sysctl.tcp_max_tw_buckets:
            counters.TcpExtTCPTimeWaitOverflow += 1
            self.remove(t)
            t.move(CLOSED, Cause.TIME_WAIT_OVERFLOW, now)
            return
        lifetime = t.time_wait_for
        if self.net.sysctl.tcp_tw_recycle and t.ts_ok:
            self.peer_stamps.remember(t.raddr, t.ts_recent, now)
            lifetime = (t.rto << 2) - (t.rto >> 1)
        tw = TimeWait(t, substate, now)
        self.deadlines.remove(t)
        if t.kind == KIND_SIGNED and t.wishes.md5 is not None:
            key = t.wishes.md5.find(t.raddr)
            assert key is not None
            self.time_wait_keys[t.flow] = key
        self.endpoints[t.flow] = tw
        self.time_waits += 1
        owner = t.owner
        if isinstance(owner, ConnectionOwner) and owner.bound.kind is not None:
            tw.bound = self.ports.leave(owner.bound)
        self.wait(tw, now + lifetime)

    def forget_time_wait(self, tw: TimeWait, cause: Cause, now: i64) -> None:
        """The record ends."""
        self.deadlines.remove(tw)
        if self.time_wait_keys:
            self.time_wait_keys.pop(tw.flow, None)
        if self.endpoints.get(tw.flow) is tw:
            del self.endpoints[tw.flow]
        self.time_waits -= 1
        bound = tw.bound
        if isinstance(bound, Kind):
            self.ports.drop(bound)
        tap = self.net.tap
        if tap is not None:
            tap.moved(self.net.name, tw.flow, tw.substate, CLOSED, cause, now)

    # Time

    def next_timeout(self) -> i64:
        """The earliest deadline of any connection; may be earlier than anything that is really due."""
        return self.deadlines.earliest()

    def wait(self, what: Endpoint, at: i64) -> None:
        """Let something come up at `at`."""
        before = self.deadlines.earliest()
        self.deadlines.put(what, at)
        if at < before:
            self.machine.timeout_changed()

    # Out

    def answer(self, seg: Segment, now: i64) -> None:
        """Send a segment that belongs to no full connection."""
        route = self.machine.routes.find(seg.dst)
        if route is None:
            self.dropped(seg, Drop.NO_ROUTE, now)
            return
        self.output(seg, route, now)

    def output(self, seg: Segment, route: Route, now: i64) -> None:
        """Hand a segment to IP."""
        self.machine.output(seg, route)

    def authentic(self, seg: Segment, keys: Md5Keys | None, now: i64) -> bool:
        """Whether a segment counts for who has these keys; if not it is dropped here."""
        drop = judge(seg, keys, self.net.counters)
        if drop is not None:
            self.dropped(seg, drop, now)
        return drop is None

    def sign_for_record(self, tw: TimeWait, reply: Segment) -> None:
        """What a TIME-WAIT record answers bears the signature of the connection it was."""
        key = self.time_wait_keys.get(tw.flow)
        if key is not None:
            sign(reply, key.key, True)

    def listener_at(self, seg: Segment, port: i64) -> Listener | None:
        """The listener for a segment's address on a port."""
        raise NotImplementedError

    def _key_for_reset(self, seg: Segment, listener: Listener | None) -> Md5Key | None:
        """The key of a reset: the listener's; without one, of who listens on the port that the segment comes from.

        The latter are peers that use the same port on both sides, as BGP speakers (tcp_v4_send_reset).
        """
        if listener is not None:
            keys = listener.options.wishes.md5
            return None if keys is None else keys.find(seg.src)
        if not is_signed(seg):
            return None
        other = self.listener_at(seg, seg.sport)
        key = None if other is None or other.options.wishes.md5 is None else other.options.wishes.md5.find(seg.src)
        return key if key is not None and carries(seg, key) else None

    def reset(self, seg: Segment, why: Why, listener: Listener | None = None) -> None:
        """Answer with RST. Who signs and is not known gets none."""
        key = self._key_for_reset(seg, listener)
        if key is None and listener is None and is_signed(seg):
            return
        reply = reset_for(seg, why)
        reply.ttl = self.net.sysctl.ip_default_ttl
        if key is not None:
            sign(reply, key.key)
        self.net.counters.TcpOutRsts += 1
        self.net.counters.TcpOutSegs += 1
        self.answer(reply, self.machine.now())

    def dropped(self, seg: Segment, drop: Drop, now: i64) -> None:
        tap = self.net.tap
        if tap is not None:
            tap.dropped(self.net.name, seg, drop, now)

    def vanish(self) -> None:
        """Power is gone: everything is forgotten, nothing is sent."""
        self.endpoints = {}
        self.listeners = {}
        self.deadlines.clear()
        self.dirty = []
        self.time_waits = 0
        self.time_wait_keys = {}
