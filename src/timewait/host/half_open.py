"""Half-open connections on a host: from a SYN to the accept queue (tcp_conn_request, tcp_v4_syn_recv_sock)."""

from timewait.base.instant import MSEC
from timewait.base.ints import i16, i32, i64
from timewait.host.listener import Listener
from timewait.host.route import Route
from timewait.host.tcp_tables import ConnectionOwner, TcpTables
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
    child_agrees,
    child_of,
    choose_window,
    make_request,
    request_ack,
    syn_ack,
    take_path,
)
from timewait.tcp.bsd.arrive import round_buffers
from timewait.tcp.bsd.syn import handshake_timeout
from timewait.tcp.cookies import check_cookie, decode_timestamp
from timewait.tcp.ecn import ACCURATE, CLASSIC
from timewait.tcp.fastopen import ALL_LISTENERS, SERVER, SERVER_NO_COOKIE, cookie_for, may_open, open_passively, rotated
from timewait.tcp.isn import NO_ISN, timestamp_offset
from timewait.tcp.md5 import Md5Keys, sign
from timewait.tcp.path import NO_METRICS
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import CLOSED, LISTEN, SYN_RCVD, Cause
from timewait.tcp.tcb import WAKE_IN, Tcb
from timewait.wire.accecn import ace_of
from timewait.wire.packet import ACK, RST, Segment


def connection_request(tables: TcpTables, listener: Listener, seg: Segment, isn: i64, now: i64) -> None:
    """A SYN (tcp_conn_request): drop, answer with a cookie, or remember it."""
    sysctl = tables.net.sysctl
    counters = tables.net.counters
    cookie = False
    if (sysctl.tcp_syncookies == 2 or listener.syn_queue_full()) and isn == NO_ISN:
        if not sysctl.tcp_syncookies:
            counters.TcpExtTCPReqQFullDrop += 1
            counters.TcpExtListenDrops += 1
            tables.dropped(seg, Drop.SYN_QUEUE_FULL, now)
            return
        cookie = True
        counters.TcpExtTCPReqQFullDoCookies += 1
        listener.overflowed_at = now
    if listener.accept_queue_full():
        counters.TcpExtListenOverflows += 1
        counters.TcpExtListenDrops += 1
        tables.dropped(seg, Drop.ACCEPT_QUEUE_FULL, now)
        return
    if not cookie and isn == NO_ISN and not sysctl.tcp_syncookies:
        most = sysctl.tcp_max_syn_backlog
        if most - listener.requests < most >> 2 and not tables.net.metrics.proven(seg.dst, seg.src, now):
            counters.TcpExtListenDrops += 1
            tables.dropped(seg, Drop.SYN_LAST_QUARTER, now)
            return
    if seg.has_ts and sysctl.tcp_tw_recycle and tables.peer_stamps.refuses(seg.src, seg.tsval, now):
        counters.TcpExtPAWSPassive += 1
        counters.TcpExtListenDrops += 1
        tables.dropped(seg, Drop.PAWS_PASSIVE, now)
        return
    route = tables.machine.routes.find(seg.src)
    if route is None:
        tables.dropped(seg, Drop.NO_ROUTE, now)
        return
    pmtu = tables.machine.routes.mtu(seg.src, now)
    options = listener.options
    options.isn = isn
    options.path = route.path
    options.advmss = _advertised_mss(tables, seg.src, options.wishes.user_mss, now)
    req = make_request(tables.net, seg, options, cookie, now, route.ecn)
    grant: bytes | None = None
    if not cookie:
        opened, grant = _fast_open(tables, listener, req, seg, pmtu, now)
        if opened:
            return
    if cookie:
        counters.TcpExtSyncookiesSent += 1
        tables.output(_marked(syn_ack(tables.net, req, Why.COOKIE_SYN_ACK, now), listener), route, now)
        return
    req.listener = listener.number
    tables.endpoints[req.flow] = req
    listener.add(req)
    tables.wait(req, now + _request_timeout(tables, req))
    tap = tables.net.tap
    if tap is not None:
        tap.moved(tables.net.name, req.flow, LISTEN, SYN_RCVD, Cause.RCV_SYN, now)
    answer = syn_ack(tables.net, req, Why.SYN_ACK, now)
    # A cookie is granted once: who repeats the SYN-ACK has the SYN no more (tcp_rtx_synack).
    answer.fast_open, answer.fast_open_exp = grant, seg.fast_open_exp
    tables.output(_marked(answer, listener), route, now)


def _fast_open(
    tables: TcpTables, listener: Listener, req: Request, seg: Segment, pmtu: i64, now: i64
) -> tuple[bool, bytes | None]:
    """Whether the SYN's cookie opens at once; else perhaps a cookie for the SYN-ACK (tcp_try_fastopen)."""
    net = tables.net
    offered = seg.fast_open
    if offered is not None and len(offered) == 0:
        net.counters.TcpExtTCPFastOpenCookieReqd += 1
    wanted = net.sysctl.tcp_fastopen
    if not wanted & SERVER or (offered is None and not seg.length) or not _fast_open_room(tables, listener, now):
        return False, None
    granted: bytes | None = None
    if not (wanted & SERVER_NO_COOKIE or listener.options.wishes.fast_open_no_cookie):
        if offered is None:
            return False, None
        if not may_open(net, seg, listener.fast_open_keys):
            return False, cookie_for(net, seg, listener.fast_open_keys)
        if rotated(net, seg, listener.fast_open_keys):
            granted = cookie_for(net, seg, listener.fast_open_keys)
    child = child_of(net, req, listener.options, pmtu, now)
    take_path(child, listener.options.path)
    child.owner = listener
    tables.configure(child)
    tables.endpoints[req.flow] = child
    net.counters.TcpPassiveOpens += 1
    _inherit(tables, listener, child)
    if req.ecn & 3 == ACCURATE:
        child_agrees(child, req, seg, listener.tos)
    if net.tap is not None:
        net.tap.moved(net.name, req.flow, LISTEN, SYN_RCVD, Cause.RCV_SYN, now)
    open_passively(child, seg, granted, now)
    listener.fast_open_pending += 1
    child.fast_open_listener = listener
    listener.accept_queue.append(child)
    child.wake = 0
    tables.after(child, now)
    owner = listener.owner
    if isinstance(owner, ConnectionOwner):
        owner.connection_woken(WAKE_IN)
    return True, None


def _fast_open_room(tables: TcpTables, listener: Listener, now: i64) -> bool:
    """Whether one more may be opened by its SYN (tcp_fastopen_queue_check); a reset one counts for a minute."""
    limit = listener.fast_open_limit
    if not limit and tables.net.sysctl.tcp_fastopen & ALL_LISTENERS:
        limit = listener.backlog
    if limit == 0:
        return False
    if listener.fast_open_pending < limit:
        return True
    resets = listener.fast_open_resets
    if not resets or resets[0] > now:
        tables.net.counters.TcpExtTCPFastOpenListenOverflow += 1
        return False
    del resets[0]
    listener.fast_open_pending -= 1
    return True


def _advertised_mss(tables: TcpTables, peer: bytes, user_mss: i64, now: i64) -> i64:
    """MTU less fixed headers towards the peer, or the listener's TCP_MAXSEG."""
    route = tables.machine.routes.find(peer)
    mtu: i64 = 1500 if route is None else _device_mtu(route)
    mss = mtu - (40 if len(peer) == 4 else 60)
    if route is not None and route.path.advmss:
        mss = route.path.advmss
    return user_mss if user_mss and user_mss < mss else mss


def _route_has_ecn(tables: TcpTables, peer: bytes) -> bool:
    route = tables.machine.routes.find(peer)
    return route is not None and route.ecn


def _device_mtu(route: Route) -> i64:
    if route.mtu:
        return route.mtu
    return 65536 if route.device is None else route.device.mtu


def cookie_ack(tables: TcpTables, listener: Listener, seg: Segment, now: i64) -> bool:
    """An ACK that may carry a SYN cookie; False when it does not (cookie_v4_check)."""
    counters = tables.net.counters
    if tables.net.sysctl.tcp_syncookies != 2 and not listener.saw_overflow(now):
        return False
    irs = (seg.seq - 1) & 0xFFFFFFFF
    mss = check_cookie(tables.net, seg.flow, irs, (seg.ack - 1) & 0xFFFFFFFF, now)
    if mss == 0:
        counters.TcpExtSyncookiesFailed += 1
        return False
    req = Request(seg.flow, irs)
    req.iss = (seg.ack - 1) & 0xFFFFFFFF
    req.mss = i32(mss)
    route = tables.machine.routes.find(seg.src)
    listener.options.path = NO_METRICS if route is None else route.path
    req.advmss = i32(_advertised_mss(tables, seg.src, listener.options.wishes.user_mss, now))
    if seg.has_ts and tables.net.sysctl.tcp_timestamps:
        req.ts_ok = True
        req.timestamps = seg.tsval << 32 | timestamp_offset(tables.net, req.laddr, req.raddr)
        decoded = decode_timestamp(tables.net, seg.tsecr, req.ts_offset)
        if decoded is None:
            return False
        req.snd_wscale, req.sack_ok = i16(decoded[0]), decoded[1]
        if decoded[2] and (tables.net.sysctl.tcp_ecn or _route_has_ecn(tables, seg.src)):
            # What the third packet reflects tells accurate ECN from the classic one (RFC 9768 5.1).
            accurate = tables.net.profile.accurate_ecn and ace_of(seg.flags) > 1
            req.ecn = ACCURATE if accurate else CLASSIC
    choose_window(tables.net, req, listener.options)
    req.cookie = True
    counters.TcpExtSyncookiesRecv += 1
    if listener.accept_queue_full():
        counters.TcpExtListenOverflows += 1
        counters.TcpExtListenDrops += 1
        tables.dropped(seg, Drop.ACCEPT_QUEUE_FULL, now)
        return True
    _accept_child(tables, listener, req, seg, now)
    return True


def for_request(tables: TcpTables, req: Request, seg: Segment, now: i64) -> None:
    """A segment for a half-open connection."""
    listener = tables.listener_of(req)
    if listener.closed:
        if (seg.flags & ACK or tables.net.profile.bsd) and not seg.flags & RST:
            tables.reset(seg, Why.RST_NO_SOCKET)
        tables.dropped(seg, Drop.NO_SOCKET, now)
        return
    keys = listener.options.wishes.md5
    if (seg.other_options or keys is not None) and not tables.authentic(seg, keys, now):
        return
    verdict = check_request(tables.net, req, seg, listener.defer_accept, now)
    if verdict == REQ_CHILD:
        _finish_handshake(tables, listener, req, seg, now)
    elif verdict == REQ_SYN_ACK:
        _send_syn_ack(tables, req, Why.SYN_ACK_AGAIN, now)
        tables.wait(req, now + _request_timeout(tables, req))
    elif verdict == REQ_ACK:
        answer = request_ack(tables.net, req, now)
        # Linux sends it from nobody's socket (ip_send_unicast_reply), FreeBSD from its syncache.
        if keys is not None:
            _sign(answer, keys, True)
        tables.answer(_marked(answer, listener) if tables.net.profile.bsd else answer, now)
    elif verdict == REQ_BAD_ACK:
        tables.dropped(seg, Drop.REQUEST_BAD_ACK, now)
        if not seg.flags & RST:
            tables.reset(seg, Why.RST_BAD_ACK, listener)
    elif verdict in (REQ_RESET, REQ_REMOVE):
        if verdict == REQ_RESET:
            tables.reset(seg, Why.RST_EMBRYONIC, listener)
        tables.net.counters.TcpAttemptFails += 1
        tables.net.counters.TcpExtEmbryonicRsts += 1
        forget_request(tables, req, Cause.RCV_RST, now)


def _finish_handshake(tables: TcpTables, listener: Listener, req: Request, seg: Segment, now: i64) -> None:
    """The third packet is good: a full connection, if the accept queue has room (tcp_v4_syn_recv_sock)."""
    if listener.accept_queue_full():
        counters = tables.net.counters
        counters.TcpExtListenOverflows += 1
        counters.TcpExtListenDrops += 1
        tables.dropped(seg, Drop.ACCEPT_QUEUE_FULL, now)
        if tables.net.sysctl.tcp_abort_on_overflow:
            tables.reset(seg, Why.RST_OVERFLOW, listener)
            forget_request(tables, req, Cause.ABORT, now)
        else:
            req.acked = True
        return
    tables.leave(listener, req)
    tables.deadlines.remove(req)
    _accept_child(tables, listener, req, seg, now)


def _accept_child(tables: TcpTables, listener: Listener, req: Request, seg: Segment, now: i64) -> None:
    """Make the full connection, let it process the segment, and queue it for accept()."""
    pmtu = tables.machine.routes.mtu(req.raddr, now)
    child = child_of(tables.net, req, listener.options, pmtu, now)
    route = tables.machine.routes.find(req.raddr)
    if route is not None:
        take_path(child, route.path)
    child.laddr = tables.machine.routes.own.get(child.laddr, child.laddr)
    child.owner = listener
    tables.configure(child)
    tables.endpoints[req.flow] = child
    tables.net.counters.TcpPassiveOpens += 1
    _inherit(tables, listener, child)
    if req.ecn & 3 == ACCURATE:
        child_agrees(child, req, seg, listener.tos)
    arrive(child, seg, now)
    if child.done and child.state is CLOSED:
        tables.after(child, now)
        return
    listener.accept_queue.append(child)
    child.wake = 0
    tables.after(child, now)
    owner = listener.owner
    if isinstance(owner, ConnectionOwner):
        owner.connection_woken(WAKE_IN)


def _inherit(tables: TcpTables, listener: Listener, child: Tcb) -> None:
    owner = listener.owner
    if isinstance(owner, ConnectionOwner):
        owner.inherit(child)
    if child.bsd:
        round_buffers(child)


def _marked(seg: Segment, listener: Listener) -> Segment:
    """With what the listening socket's IP_TOS and IP_TTL say (ip_build_and_send_pkt), and its key."""
    seg.tos = listener.tos
    if listener.ttl:
        seg.ttl = listener.ttl
    keys = listener.options.wishes.md5
    if keys is not None:
        _sign(seg, keys, False)
    return seg


def _sign(seg: Segment, keys: Md5Keys, timestamps_first: bool) -> None:
    key = keys.find(seg.dst)
    if key is not None:
        sign(seg, key.key, timestamps_first)


def _send_syn_ack(tables: TcpTables, req: Request, why: Why, now: i64) -> None:
    """Repeat the SYN-ACK (inet_rtx_syn_ack)."""
    req.retransmits += 1
    tables.net.counters.TcpRetransSegs += 1
    tables.net.counters.TcpExtTCPSynRetrans += 1
    listener = tables.listener_of(req)
    tables.answer(_marked(syn_ack(tables.net, req, why, now), listener), now)


def _request_timeout(tables: TcpTables, req: Request) -> i64:
    if tables.net.profile.bsd:
        return handshake_timeout(tables.net, i64(req.timeouts))
    shift: i64 = min(i64(req.timeouts), 24)
    timeout: i64 = tables.net.profile.rto_init << shift
    limit: i64 = tables.listener_of(req).options.wishes.rto_max
    if not limit:
        limit = tables.net.sysctl.tcp_rto_max_ms * MSEC
    return timeout if timeout < limit else limit


def request_timer(tables: TcpTables, req: Request, now: i64) -> None:
    """A SYN-ACK was not answered (reqsk_timer_handler, syn_ack_recalc)."""
    listener = tables.listener_of(req)
    if listener.closed:
        forget_request(tables, req, Cause.LISTENER_CLOSED, now)
        return
    bsd = tables.net.sysctl.bsd
    retries = listener.synack_retries() if bsd is None else bsd.rexmtlimit
    timeouts = i64(req.timeouts)
    expire = timeouts >= retries
    resend = True
    if listener.defer_accept:
        expire = expire and (not req.acked or timeouts >= listener.defer_accept)
        resend = not req.acked or timeouts >= listener.defer_accept - 1
    tap = tables.net.tap
    if tap is not None:
        tap.timer(tables.net.name, req.flow, "synack", now)
    if expire:
        forget_request(tables, req, Cause.SYN_ACK_RETRIES, now)
        return
    if resend:
        _send_syn_ack(tables, req, Why.RTO, now)
    if timeouts == 0:
        listener.young -= 1
    req.timeouts += 1
    tables.wait(req, now + _request_timeout(tables, req))


def forget_request(tables: TcpTables, req: Request, cause: Cause, now: i64) -> None:
    listener = tables.listener_of(req)
    tables.leave(listener, req)
    tables.deadlines.remove(req)
    if tables.endpoints.get(req.flow) is req:
        del tables.endpoints[req.flow]
    tap = tables.net.tap
    if tap is not None:
        tap.moved(tables.net.name, req.flow, SYN_RCVD, CLOSED, cause, now)
