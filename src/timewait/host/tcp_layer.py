"""TCP on a host: whose segment this is, what leaves, and when timers run (tcp_ipv4.c, inet_hashtables.c).

One dict holds connections, half-open requests and TIME-WAIT records by the flow of
what arrives, so that one look-up finds any of them. One heap holds their deadlines;
an entry that came too early because its deadline moved on is pushed again.
"""

import errno
from heapq import heappop, heappush
from typing import Final

from timewait.base.errors import os_error
from timewait.base.instant import MSEC, NEVER
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.rng import Streams, keyed_hash
from timewait.base.seq import seq_between
from timewait.host.file import Socket
from timewait.host.icmp import Reported
from timewait.host.listener import Listener
from timewait.host.machine import Machine
from timewait.host.ports import ANY4, ANY6, PortOwner, PortTable
from timewait.host.route import Route
from timewait.tcp.arrive import arrive
from timewait.tcp.arrive_listen import (
    REQ_ACK,
    REQ_BAD_ACK,
    REQ_CHILD,
    REQ_REMOVE,
    REQ_RESET,
    REQ_SYN_ACK,
    Request,
    check_request,
    child_of,
    choose_window,
    make_request,
    request_ack,
    syn_ack,
)
from timewait.tcp.arrive_sync import icmp_error
from timewait.tcp.calls import abort
from timewait.tcp.cookies import check_cookie, decode_timestamp, wants_cookie_check
from timewait.tcp.isn import timestamp_offset
from timewait.tcp.net import Net
from timewait.tcp.pmtu import mtu_reduced
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.segments import reset_for
from timewait.tcp.states import CLOSED, LISTEN, SYN_RCVD, TIME_WAIT, Cause, State
from timewait.tcp.tcb import KIND_REQUEST, KIND_TCB, KIND_TIME_WAIT, WAKE_IN, Endpoint, Tcb
from timewait.tcp.timers import next_timeout, on_timeout
from timewait.tcp.timewait import (
    TW_ACK,
    TW_DROP,
    TW_KILL,
    TW_RST,
    TW_SYN,
    TimeWait,
    arrive_time_wait,
    takeover_isn,
    time_wait_ack,
)
from timewait.tcp.transmit import poll_transmit
from timewait.wire.packet import ACK, FIN, RST, SYN, Segment, make_flow

MAX_BURST: Final = 65536
"""Segments one connection may send at once: beyond this something is wrong."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionOwner(Socket):
    """What the layer needs of the socket above a connection."""

    bound: PortOwner

    def connection_woken(self, mask: i64) -> None:
        """Readiness changed."""
        raise NotImplementedError

    def connection_gone(self) -> None:
        """The connection is CLOSED, or a TIME-WAIT record now."""
        raise NotImplementedError

    def inherit(self, child: Tcb) -> None:
        """Of a listening socket: give the child what its options say."""
        raise NotImplementedError


class TcpLayer:
    """All connections of one host."""

    def __init__(self, machine: Machine, net: Net, streams: Streams) -> None:
        self.machine: Machine = machine
        self.net: Net = net
        self.ports = PortTable(net.sysctl, streams)
        self.endpoints: dict[bytes, Endpoint] = {}
        self.listeners: dict[int, list[Listener]] = {}
        self.time_waits: i64 = 0
        self.heap: list[tuple[int, int, Endpoint]] = []
        self.order: i64 = 0
        self.earliest: i64 = NEVER
        self.key = streams.secret("tcp reuseport")
        self.batching = False
        self.dirty: list[Tcb] = []

    # In

    def receive(self, seg: Segment, now: i64) -> None:
        """A segment with a good checksum, addressed to us."""
        self.net.counters.TcpInSegs += 1
        found = self.endpoints.get(seg.flow)
        if found is None:
            self._for_listener(seg, now)
        elif found.kind == KIND_TCB:
            assert isinstance(found, Tcb)
            arrive(found, seg, now)
            self.after(found, now)
        elif found.kind == KIND_REQUEST:
            assert isinstance(found, Request)
            self._for_request(found, seg, now)
        else:
            assert isinstance(found, TimeWait)
            self._for_time_wait(found, seg, now)

    def _for_listener(self, seg: Segment, now: i64, isn: i64 = -1) -> None:
        """No connection: a listener's business, or nobody's (RFC 9293 3.10.7.1 and .2)."""
        listener = self.find_listener(seg)
        if listener is None:
            self._for_nobody(seg, now)
            return
        flags = seg.flags
        if flags & RST:
            self._dropped(seg, Drop.LISTEN_RST, now)
        elif flags & ACK:
            if not (wants_cookie_check(self.net, seg) and self._cookie_ack(listener, seg, now)):
                self._dropped(seg, Drop.BAD_COOKIE if self.net.sysctl.tcp_syncookies else Drop.NO_SOCKET, now)
                self._reset(seg, Why.RST_NO_SOCKET)
        elif not flags & SYN:
            self._dropped(seg, Drop.LISTEN_NO_SYN, now)
        elif flags & FIN:
            self._dropped(seg, Drop.LISTEN_SYN_FIN, now)
        else:
            self._connection_request(listener, seg, isn, now)

    def _for_nobody(self, seg: Segment, now: i64) -> None:
        """RFC 9293 3.10.7.1: everything but a RST is answered with a RST."""
        if seg.flags & RST:
            self._dropped(seg, Drop.RST_TO_CLOSED, now)
            return
        self._dropped(seg, Drop.NO_SOCKET, now)
        self._reset(seg, Why.RST_NO_SOCKET)

    def find_listener(self, seg: Segment) -> Listener | None:
        """The listener for a segment: its own address before the wildcard; SO_REUSEPORT groups share by hash."""
        at_port = self.listeners.get(int(seg.dport))
        if at_port is None:
            return None
        group: list[Listener] = []
        best: i64 = 0
        for listener in at_port:
            score = _score(listener, seg.dst)
            if score > best:
                best = score
                group = [listener]
            elif score and score == best:
                group.append(listener)
        if len(group) < 2:
            return group[0] if group else None
        return group[keyed_hash(self.key, seg.flow) % len(group)]

    # LISTEN

    def _connection_request(self, listener: Listener, seg: Segment, isn: i64, now: i64) -> None:
        """A SYN (tcp_conn_request): drop, answer with a cookie, or remember it."""
        sysctl = self.net.sysctl
        counters = self.net.counters
        cookie = False
        if (sysctl.tcp_syncookies == 2 or listener.syn_queue_full()) and isn < 0:
            if not sysctl.tcp_syncookies:
                counters.TcpExtTCPReqQFullDrop += 1
                counters.TcpExtListenDrops += 1
                self._dropped(seg, Drop.SYN_QUEUE_FULL, now)
                return
            cookie = True
            counters.TcpExtTCPReqQFullDoCookies += 1
            listener.overflowed_at = now
        if listener.accept_queue_full():
            counters.TcpExtListenOverflows += 1
            counters.TcpExtListenDrops += 1
            self._dropped(seg, Drop.ACCEPT_QUEUE_FULL, now)
            return
        if not cookie and isn < 0 and not sysctl.tcp_syncookies:
            most = sysctl.tcp_max_syn_backlog
            if most - listener.requests < most >> 2:
                counters.TcpExtListenDrops += 1
                self._dropped(seg, Drop.SYN_LAST_QUARTER, now)
                return
        route = self.machine.routes.find(seg.src)
        if route is None:
            self._dropped(seg, Drop.NO_ROUTE, now)
            return
        options = listener.options
        options.isn = isn
        options.advmss = self._advertised_mss(seg.src, options.user_mss, now)
        req = make_request(self.net, seg, options, cookie, now)
        if cookie:
            counters.TcpExtSyncookiesSent += 1
            self.output(syn_ack(self.net, req, Why.COOKIE_SYN_ACK, now), route, now)
            return
        req.owner = listener
        self.endpoints[req.flow] = req
        listener.add(req)
        req.deadline = now + self.net.profile.rto_init
        self._push(req.deadline, req)
        tap = self.net.tap
        if tap is not None:
            tap.moved(self.net.name, req.flow, LISTEN, SYN_RCVD, Cause.RCV_SYN, now)
        self.output(syn_ack(self.net, req, Why.SYN_ACK, now), route, now)

    def _advertised_mss(self, peer: bytes, user_mss: i64, now: i64) -> i64:
        """MTU less fixed headers towards the peer, or the listener's TCP_MAXSEG."""
        route = self.machine.routes.find(peer)
        mtu: i64 = 1500 if route is None else self._device_mtu(route)
        mss = mtu - (40 if len(peer) == 4 else 60)
        return user_mss if user_mss and user_mss < mss else mss

    def _device_mtu(self, route: Route) -> i64:
        if route.mtu:
            return route.mtu
        return 65536 if route.device is None else route.device.mtu

    def _cookie_ack(self, listener: Listener, seg: Segment, now: i64) -> bool:
        """An ACK that may carry a SYN cookie; False when it does not (cookie_v4_check)."""
        counters = self.net.counters
        if self.net.sysctl.tcp_syncookies != 2 and not listener.saw_overflow(now):
            return False
        irs = (seg.seq - 1) & 0xFFFFFFFF
        mss = check_cookie(self.net, seg.flow, irs, (seg.ack - 1) & 0xFFFFFFFF, now)
        if mss == 0:
            counters.TcpExtSyncookiesFailed += 1
            return False
        req = Request(seg)
        req.irs = irs
        req.iss = (seg.ack - 1) & 0xFFFFFFFF
        req.mss = mss
        req.advmss = self._advertised_mss(seg.src, listener.options.user_mss, now)
        if seg.has_ts and self.net.sysctl.tcp_timestamps:
            req.ts_ok = True
            req.ts_recent = seg.tsval
            req.ts_offset = timestamp_offset(self.net, req.laddr, req.raddr)
            decoded = decode_timestamp(self.net, seg.tsecr, req.ts_offset)
            if decoded is None:
                return False
            req.snd_wscale, req.sack_ok = decoded
        choose_window(self.net, req, listener.options)
        req.retransmits = 0
        counters.TcpExtSyncookiesRecv += 1
        if listener.accept_queue_full():
            counters.TcpExtListenOverflows += 1
            counters.TcpExtListenDrops += 1
            self._dropped(seg, Drop.ACCEPT_QUEUE_FULL, now)
            return True
        self._accept_child(listener, req, seg, now)
        return True

    # Half-open

    def _for_request(self, req: Request, seg: Segment, now: i64) -> None:
        """A segment for a half-open connection."""
        listener = req.owner
        assert isinstance(listener, Listener)
        if listener.closed:
            if seg.flags & ACK and not seg.flags & RST:
                self._reset(seg, Why.RST_NO_SOCKET)
            self._dropped(seg, Drop.NO_SOCKET, now)
            return
        verdict = check_request(self.net, req, seg, listener.defer_accept, now)
        if verdict == REQ_CHILD:
            self._finish_handshake(listener, req, seg, now)
        elif verdict == REQ_SYN_ACK:
            self._send_syn_ack(req, Why.SYN_ACK_AGAIN, now)
            req.deadline = now + self._request_timeout(req)
            self._push(req.deadline, req)
        elif verdict == REQ_ACK:
            self._answer(request_ack(self.net, req, now), now)
        elif verdict == REQ_BAD_ACK:
            self._dropped(seg, Drop.REQUEST_BAD_ACK, now)
            if not seg.flags & RST:
                self._reset(seg, Why.RST_BAD_ACK)
        elif verdict in (REQ_RESET, REQ_REMOVE):
            if verdict == REQ_RESET:
                self._reset(seg, Why.RST_EMBRYONIC)
            self.net.counters.TcpAttemptFails += 1
            self.net.counters.TcpExtEmbryonicRsts += 1
            self._forget_request(req, Cause.RCV_RST, now)

    def _finish_handshake(self, listener: Listener, req: Request, seg: Segment, now: i64) -> None:
        """The third packet is good: a full connection, if the accept queue has room (tcp_v4_syn_recv_sock)."""
        if listener.accept_queue_full():
            counters = self.net.counters
            counters.TcpExtListenOverflows += 1
            counters.TcpExtListenDrops += 1
            self._dropped(seg, Drop.ACCEPT_QUEUE_FULL, now)
            if self.net.sysctl.tcp_abort_on_overflow:
                self._reset(seg, Why.RST_OVERFLOW)
                self._forget_request(req, Cause.ABORT, now)
            else:
                req.acked = True
            return
        listener.remove(req)
        req.deadline = NEVER
        self._accept_child(listener, req, seg, now)

    def _accept_child(self, listener: Listener, req: Request, seg: Segment, now: i64) -> None:
        """Make the full connection, let it process the segment, and queue it for accept()."""
        pmtu = self.machine.routes.mtu(req.raddr, now)
        child = child_of(self.net, req, listener.options, pmtu, now)
        child.owner = listener
        self.configure(child)
        self.endpoints[req.flow] = child
        self.net.counters.TcpPassiveOpens += 1
        self._inherit(listener, child)
        arrive(child, seg, now)
        if child.done and child.state is CLOSED:
            self.after(child, now)
            return
        listener.accept_queue.append(child)
        child.wake = 0
        self.after(child, now)
        owner = listener.owner
        if isinstance(owner, ConnectionOwner):
            owner.connection_woken(WAKE_IN)

    def _inherit(self, listener: Listener, child: Tcb) -> None:
        owner = listener.owner
        if isinstance(owner, ConnectionOwner):
            owner.inherit(child)

    def _send_syn_ack(self, req: Request, why: Why, now: i64) -> None:
        """Repeat the SYN-ACK (inet_rtx_syn_ack)."""
        req.retransmits += 1
        self.net.counters.TcpRetransSegs += 1
        self.net.counters.TcpExtTCPSynRetrans += 1
        self._answer(syn_ack(self.net, req, why, now), now)

    def _request_timeout(self, req: Request) -> i64:
        shift = req.timeouts if req.timeouts < 24 else 24
        timeout: i64 = self.net.profile.rto_init << shift
        limit: i64 = self.net.sysctl.tcp_rto_max_ms * MSEC
        return timeout if timeout < limit else limit

    def _request_timer(self, req: Request, now: i64) -> None:
        """A SYN-ACK was not answered (reqsk_timer_handler, syn_ack_recalc)."""
        listener = req.owner
        assert isinstance(listener, Listener)
        if listener.closed:
            self._forget_request(req, Cause.LISTENER_CLOSED, now)
            return
        retries = listener.synack_retries()
        expire = req.timeouts >= retries
        resend = True
        if listener.defer_accept:
            expire = expire and (not req.acked or req.timeouts >= listener.defer_accept)
            resend = not req.acked or req.timeouts >= listener.defer_accept - 1
        tap = self.net.tap
        if tap is not None:
            tap.timer(self.net.name, req.flow, "synack", now)
        if expire:
            self._forget_request(req, Cause.SYN_ACK_RETRIES, now)
            return
        if resend:
            self._send_syn_ack(req, Why.RTO, now)
        if req.timeouts == 0:
            listener.young -= 1
        req.timeouts += 1
        req.deadline = now + self._request_timeout(req)
        self._push(req.deadline, req)

    def _forget_request(self, req: Request, cause: Cause, now: i64) -> None:
        listener = req.owner
        assert isinstance(listener, Listener)
        listener.remove(req)
        req.deadline = NEVER
        if self.endpoints.get(req.flow) is req:
            del self.endpoints[req.flow]
        tap = self.net.tap
        if tap is not None:
            tap.moved(self.net.name, req.flow, SYN_RCVD, CLOSED, cause, now)

    # TIME-WAIT

    def _for_time_wait(self, tw: TimeWait, seg: Segment, now: i64) -> None:
        """A segment for a connection that is only a record any more."""
        verdict = arrive_time_wait(tw, seg, self.net, now)
        if verdict == TW_DROP:
            return
        if verdict == TW_SYN:
            if self.find_listener(seg) is not None:
                isn = takeover_isn(tw)
                self.forget_time_wait(tw, Cause.TIME_WAIT_REUSED, now)
                self._for_listener(seg, now, isn)
                return
            verdict = TW_ACK
        if verdict == TW_ACK:
            self._answer(time_wait_ack(tw, self.net, now), now)
        elif verdict == TW_RST:
            self._reset(seg, Why.RST_AFTER_CLOSE)
            self.forget_time_wait(tw, Cause.DATA_AFTER_CLOSE, now)
        elif verdict == TW_KILL:
            self._dropped(seg, Drop.TW_RST, now)
            self.forget_time_wait(tw, Cause.RCV_RST, now)

    def _enter_time_wait(self, t: Tcb, now: i64) -> None:
        """Replace a connection by its record, or by nothing if there are too many (tcp_time_wait)."""
        substate = t.time_wait_state
        assert substate is not None
        counters = self.net.counters
        if self.time_waits >= self.net.sysctl.tcp_max_tw_buckets:
            counters.TcpExtTCPTimeWaitOverflow += 1
            self._remove(t)
            t.move(CLOSED, Cause.TIME_WAIT_OVERFLOW, now)
            return
        tw = TimeWait(t, substate, now + t.time_wait_for, now)
        self.endpoints[t.flow] = tw
        self.time_waits += 1
        owner = t.owner
        if isinstance(owner, ConnectionOwner) and owner.bound.kind is not None:
            bound = PortOwner()
            bound.family = owner.bound.family
            bound.local_addr = owner.bound.local_addr
            bound.local_port = t.lport
            bound.reuse_addr = owner.bound.reuse_addr
            bound.reuse_port = owner.bound.reuse_port
            bound.v6only = owner.bound.v6only
            bound.time_wait = True
            self.ports.replace(owner.bound, bound)
            tw.owner = bound
        self._push(tw.deadline, tw)

    def forget_time_wait(self, tw: TimeWait, cause: Cause, now: i64) -> None:
        """The record ends."""
        tw.deadline = NEVER
        if self.endpoints.get(tw.flow) is tw:
            del self.endpoints[tw.flow]
        self.time_waits -= 1
        if isinstance(tw.owner, PortOwner):
            self.ports.release(tw.owner)
        tap = self.net.tap
        if tap is not None:
            tap.moved(self.net.name, tw.flow, tw.substate, CLOSED, cause, now)

    # Connections

    def configure(self, t: Tcb) -> None:
        """What the path to the peer allows: super-segments, MTU."""
        route = self.machine.routes.find(t.raddr)
        if route is not None and route.device is not None and not route.local:
            limit = route.device.gso_max
            t.gso_max = limit - t.header_size - 40 if limit else 0

    def four_tuple_free(self, laddr: bytes, lport: int, raddr: bytes, rport: int) -> bool:
        """Whether connect() may use it: unused, or a TIME-WAIT record that may be taken over (tcp_twsk_unique)."""
        found = self.endpoints.get(make_flow(raddr, laddr, rport, lport))
        if found is None:
            return True
        if found.kind != KIND_TIME_WAIT:
            return False
        assert isinstance(found, TimeWait)
        return self._may_reuse(found)

    def _may_reuse(self, tw: TimeWait) -> bool:
        reuse = self.net.sysctl.tcp_tw_reuse
        if reuse == 0 or tw.ts_recent_stamp == 0 or tw.substate is not TIME_WAIT:
            return False
        if reuse == 2 and not self.machine.routes.is_local(tw.raddr):
            return False
        age = self.machine.now() - tw.created
        return age > self.net.sysctl.tcp_tw_reuse_delay * MSEC

    def open(self, t: Tcb, now: i64) -> i64:
        """Enter a connection that is about to send its SYN; returns the ISN it must use, -1 for any.

        Raises EADDRNOTAVAIL when the four-tuple is taken.
        """
        found = self.endpoints.get(t.flow)
        isn: i64 = -1
        if found is not None:
            if not isinstance(found, TimeWait) or not self._may_reuse(found):
                raise os_error(errno.EADDRNOTAVAIL, "a connection with these addresses and ports exists")
            isn = takeover_isn(found)
            t.ts_recent = found.ts_recent
            t.ts_recent_stamp = found.ts_recent_stamp
            self.forget_time_wait(found, Cause.TIME_WAIT_REUSED, now)
            self.net.counters.TcpExtTWRecycled += 1
        self.endpoints[t.flow] = t
        self.configure(t)
        return isn

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
        if t.done:
            self._retire(t, now)
            return
        at = next_timeout(t)
        if at < t.armed_at:
            t.armed_at = at
            self._push(at, t)

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
        for _ in range(MAX_BURST):
            if route is None:
                self._dropped(seg, Drop.NO_ROUTE, now)
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
            self._remove(t)
        owner = t.owner
        if isinstance(owner, ConnectionOwner):
            owner.connection_gone()
        elif isinstance(owner, Listener) and t in owner.accept_queue and t.err:
            # A connection reset while it waits for accept() stays queued, as on Linux.
            return

    def _remove(self, t: Tcb) -> None:
        if self.endpoints.get(t.flow) is t:
            del self.endpoints[t.flow]

    def stop_listening(self, listener: Listener, now: i64) -> None:
        """Close a listener: what waits for accept() is reset, half-open ones fade away (inet_csk_listen_stop)."""
        listener.closed = True
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

    # ICMP

    def error(self, reported: Reported, now: i64) -> bool:
        """An ICMP error about a segment of ours (tcp_v4_err); False when it matches nothing."""
        found = self.endpoints.get(reported.flow)
        seq = reported.quote.seq
        if found is None:
            return False
        if isinstance(found, Request):
            if seq != found.iss or reported.errno == errno.EMSGSIZE:
                return False
            self.net.counters.TcpExtListenDrops += 1
            self._forget_request(found, Cause.ICMP_ERROR, now)
            return True
        if not isinstance(found, Tcb):
            return False
        if seq < 0 or not seq_between(found.snd_una, seq, found.snd_nxt):
            self.net.counters.TcpExtOutOfWindowIcmps += 1
            return False
        if reported.errno == errno.EMSGSIZE:
            if self.net.sysctl.ip_no_pmtu_disc == 0:
                self.machine.routes.learn_mtu(found.raddr, reported.mtu, now)
                mtu_reduced(found, self.machine.routes.mtu(found.raddr, now))
        else:
            icmp_error(found, reported.errno, now)
        self.after(found, now)
        return True

    # Time

    def next_timeout(self) -> i64:
        """The earliest deadline of any connection; may be earlier than anything that is really due."""
        return self.heap[0][0] if self.heap else NEVER

    def on_timeout(self, now: i64) -> None:
        """Run every connection whose deadline has come."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            found = heappop(heap)[2]
            kind = found.kind
            if kind == KIND_TCB:
                assert isinstance(found, Tcb)
                self._tcb_due(found, now)
            elif kind == KIND_TIME_WAIT:
                assert isinstance(found, TimeWait)
                self._time_wait_due(found, now)
            else:
                assert isinstance(found, Request)
                if found.deadline <= now:
                    found.deadline = NEVER
                    self._request_timer(found, now)
        self.earliest = heap[0][0] if heap else NEVER

    def _tcb_due(self, t: Tcb, now: i64) -> None:
        t.armed_at = NEVER
        if t.done:
            return
        at = next_timeout(t)
        if at > now:
            if at < NEVER:
                t.armed_at = at
                self._push(at, t)
            return
        on_timeout(t, now)
        self.drain(t, now)

    def _time_wait_due(self, tw: TimeWait, now: i64) -> None:
        if tw.deadline == NEVER:
            return
        if tw.deadline > now:
            self._push(tw.deadline, tw)
            return
        tap = self.net.tap
        if tap is not None:
            tap.timer(self.net.name, tw.flow, "time_wait", now)
        self.net.counters.TcpExtTW += 1
        cause = Cause.TIME_WAIT_TIMEOUT if tw.substate is TIME_WAIT else Cause.FIN_WAIT_2_TIMEOUT
        self.forget_time_wait(tw, cause, now)

    def _push(self, at: i64, what: Endpoint) -> None:
        self.order += 1
        heappush(self.heap, (int(at), int(self.order), what))
        if at < self.earliest:
            self.earliest = at
            self.machine.timeout_changed()

    # Out

    def _answer(self, seg: Segment, now: i64) -> None:
        """Send a segment that belongs to no full connection."""
        route = self.machine.routes.find(seg.dst)
        if route is None:
            self._dropped(seg, Drop.NO_ROUTE, now)
            return
        self.output(seg, route, now)

    def output(self, seg: Segment, route: Route, now: i64) -> None:
        """Hand a segment to IP."""
        self.machine.output(seg, route)

    def _reset(self, seg: Segment, why: Why) -> None:
        reply = reset_for(seg, why)
        reply.ttl = self.net.sysctl.ip_default_ttl
        self.net.counters.TcpOutRsts += 1
        self.net.counters.TcpOutSegs += 1
        self._answer(reply, self.machine.now())

    def _dropped(self, seg: Segment, drop: Drop, now: i64) -> None:
        tap = self.net.tap
        if tap is not None:
            tap.dropped(self.net.name, seg, drop, now)

    def vanish(self) -> None:
        """Power is gone: everything is forgotten, nothing is sent."""
        self.endpoints = {}
        self.listeners = {}
        self.heap = []
        self.dirty = []
        self.time_waits = 0
        self.earliest = NEVER


def _score(listener: Listener, dst: bytes) -> i64:
    """How well a listener fits a destination: 0 not at all, 1 wildcard of the other family, 2 own wildcard, 3 exact."""
    addr = listener.addr
    if addr == dst:
        return 3
    if addr == ANY4:
        return 2 if len(dst) == 4 else 0
    if addr == ANY6:
        if len(dst) == 16:
            return 2
        return 0 if listener.v6only else 1
    return 0


def row_state(found: Endpoint) -> State:
    """The state to show for whatever stands in the table."""
    if isinstance(found, Tcb):
        return found.state
    return found.substate if isinstance(found, TimeWait) else SYN_RCVD
