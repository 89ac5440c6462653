"""TCP on a host: whose segment this is, and when timers run (tcp_ipv4.c, inet_hashtables.c)."""

import errno

from timewait.base.errors import os_error
from timewait.base.instant import MSEC, NEVER
from timewait.base.ints import i16, i64
from timewait.base.rng import keyed_hash
from timewait.base.seq import seq_between
from timewait.host.half_open import connection_request, cookie_ack, for_request, forget_request, request_timer
from timewait.host.icmp import Reported
from timewait.host.listener import Listener
from timewait.host.ports import ANY4, ANY6
from timewait.host.sockopt import (
    IP_MINTTL,
    IPV6_MINHOPCOUNT,
    PMTUDISC_DONT,
    PMTUDISC_INTERFACE,
    PMTUDISC_WANT,
    SOL_IP,
    SOL_IPV6,
)
from timewait.host.tcp_options import TcpOptions
from timewait.host.tcp_tables import ConnectionOwner, TcpTables
from timewait.tcp.ace import AccurateEcn
from timewait.tcp.arrive import arrive
from timewait.tcp.arrive_listen import (
    Request,
)
from timewait.tcp.arrive_sync import icmp_error
from timewait.tcp.bsd.icmp import icmp_hard_error
from timewait.tcp.bsd.parameters import BsdParameters
from timewait.tcp.cookies import wants_cookie_check
from timewait.tcp.fate import fail, send_reset
from timewait.tcp.isn import NO_ISN
from timewait.tcp.pmtu import mtu_reduced
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.rto import revert_backoff
from timewait.tcp.states import SYN_RCVD, SYN_SENT, TIME_WAIT, Cause, State
from timewait.tcp.tcb import KIND_REQUEST, KIND_SIGNED, KIND_TCB, KIND_TIME_WAIT, Endpoint, Tcb
from timewait.tcp.timers import next_timeout, on_timeout
from timewait.tcp.timewait import (
    TW_ACK,
    TW_DROP,
    TW_KILL,
    TW_RESTART,
    TW_RST,
    TW_SYN,
    TimeWait,
    arrive_time_wait,
    takeover_isn,
    time_wait_ack,
)
from timewait.tcp.wishes import Wishes
from timewait.wire.icmp import UNREACHABLE, V6_UNREACHABLE
from timewait.wire.packet import ACK, FIN, RST, SYN, Segment, make_flow


class TcpLayer(TcpTables):
    """All connections of one host."""

    def note_ect(self, seg: Segment) -> None:
        """An ECN-capable segment comes: its connection counts from now on, if it did not yet."""
        found = self.endpoints.get(seg.flow)
        if isinstance(found, Tcb) and found.accecn is None and self.net.profile.accurate_ecn:
            found.accecn = AccurateEcn()

    def receive(self, seg: Segment, now: i64) -> None:
        """A segment with a good checksum, addressed to us."""
        self.net.counters.TcpInSegs += 1
        found = self.endpoints.get(seg.flow)
        if self.min_ttl and self._from_too_far(found, seg, now):
            return
        if found is None:
            self._for_listener(seg, now)
        elif found.kind == KIND_TCB:
            assert isinstance(found, Tcb)
            if seg.other_options and not self.authentic(seg, found.wishes.md5, now):
                return
            arrive(found, seg, now)
            self.after(found, now)
        elif found.kind == KIND_REQUEST:
            assert isinstance(found, Request)
            for_request(self, found, seg, now)
        elif found.kind == KIND_SIGNED:
            assert isinstance(found, Tcb)
            if self.authentic(seg, found.wishes.md5, now):
                arrive(found, seg, now)
                self.after(found, now)
        else:
            assert isinstance(found, TimeWait)
            self._for_time_wait(found, seg, now)

    def _from_too_far(self, found: Endpoint | None, seg: Segment, now: i64) -> bool:
        """Whether IP_MINTTL or IPV6_MINHOPCOUNT refuses it; half-open connections and records do not ask."""
        wishes: Wishes | None = None
        if found is None:
            listener = self.find_listener(seg)
            if listener is not None:
                wishes = listener.options.wishes
        elif isinstance(found, Tcb):
            wishes = found.wishes
        if not isinstance(wishes, TcpOptions):
            return False
        v6 = len(seg.dst) == 16
        least = wishes.kept_value(SOL_IPV6, IPV6_MINHOPCOUNT) if v6 else wishes.kept_value(SOL_IP, IP_MINTTL)
        if seg.ttl >= least:
            return False
        self.net.counters.TcpExtTCPMinTTLDrop += 1
        self.dropped(seg, Drop.MIN_TTL, now)
        return True

    def _for_listener(self, seg: Segment, now: i64, isn: i64 = NO_ISN) -> None:
        """No connection: a listener's business, or nobody's (RFC 9293 3.10.7.1 and .2)."""
        listener = self.find_listener(seg)
        if listener is None:
            self._for_nobody(seg, now)
            return
        keys = listener.options.wishes.md5
        if (seg.other_options or keys is not None) and not self.authentic(seg, keys, now):
            return
        flags = seg.flags
        bsd = self.net.sysctl.bsd
        if flags & RST:
            self.dropped(seg, Drop.LISTEN_RST, now)
        elif bsd is not None and flags & SYN:
            self._syn_for_bsd(listener, seg, bsd, now)
        elif flags & ACK:
            if not (wants_cookie_check(self.net, seg) and cookie_ack(self, listener, seg, now)):
                self.dropped(seg, Drop.BAD_COOKIE if self.net.sysctl.tcp_syncookies else Drop.NO_SOCKET, now)
                self.reset(seg, Why.RST_NO_SOCKET, listener)
        elif not flags & SYN:
            self.dropped(seg, Drop.LISTEN_NO_SYN, now)
        elif flags & FIN:
            self.dropped(seg, Drop.LISTEN_SYN_FIN, now)
        else:
            connection_request(self, listener, seg, isn, now)

    def _syn_for_bsd(self, listener: Listener, seg: Segment, bsd: BsdParameters, now: i64) -> None:
        """FreeBSD says nothing to a SYN with ACK, and takes one with FIN unless drop_synfin forbids it."""
        if seg.flags & ACK:
            self.dropped(seg, Drop.LISTEN_SYN_ACK, now)
        elif seg.flags & FIN and bsd.drop_synfin:
            self.dropped(seg, Drop.SYN_FIN, now)
        else:
            connection_request(self, listener, seg, NO_ISN, now)

    def _for_nobody(self, seg: Segment, now: i64) -> None:
        """RFC 9293 3.10.7.1: everything but a RST is answered with a RST."""
        if seg.flags & RST:
            self.dropped(seg, Drop.RST_TO_CLOSED, now)
            return
        bsd = self.net.sysctl.bsd
        if bsd is not None and bsd.blackhole and (bsd.blackhole > 1 or seg.flags & SYN):
            self.dropped(seg, Drop.BLACKHOLE, now)
            return
        self.dropped(seg, Drop.NO_SOCKET, now)
        self.reset(seg, Why.RST_NO_SOCKET)

    def find_listener(self, seg: Segment) -> Listener | None:
        """The listener for a segment: its own address before the wildcard; SO_REUSEPORT groups share by hash."""
        return self.listener_at(seg, seg.dport)

    def listener_at(self, seg: Segment, port: i64) -> Listener | None:
        """The same, on another port than the segment's."""
        at_port = self.listeners.get(int(port))
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

    def _for_time_wait(self, tw: TimeWait, seg: Segment, now: i64) -> None:
        """A segment for a connection that is only a record any more."""
        verdict = arrive_time_wait(tw, seg, self.net, now)
        if verdict & TW_RESTART:
            verdict &= ~TW_RESTART
            self.wait(tw, now + self._time_wait_length())
        if verdict == TW_DROP:
            return
        if verdict == TW_SYN:
            if self.net.profile.bsd:
                # The record goes in any case, and the ISN is as unpredictable as any other.
                self.forget_time_wait(tw, Cause.TIME_WAIT_REUSED, now)
                self._for_listener(seg, now)
                return
            if self.find_listener(seg) is not None:
                isn = takeover_isn(tw)
                self.forget_time_wait(tw, Cause.TIME_WAIT_REUSED, now)
                self._for_listener(seg, now, isn)
                return
            verdict = TW_ACK
        if verdict == TW_ACK:
            reply = time_wait_ack(tw, self.net, now)
            if self.time_wait_keys:
                self.sign_for_record(tw, reply)
            self.answer(reply, now)
        elif verdict == TW_RST:
            self.reset(seg, Why.RST_AFTER_CLOSE)
            self.forget_time_wait(tw, Cause.DATA_AFTER_CLOSE, now)
        elif verdict == TW_KILL:
            self.dropped(seg, Drop.TW_RST, now)
            self.forget_time_wait(tw, Cause.RCV_RST, now)

    def _time_wait_length(self) -> i64:
        bsd = self.net.sysctl.bsd
        return self.net.profile.timewait_len if bsd is None else 2 * bsd.msl * MSEC

    # connect()

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
        return tw.age_ms(self.machine.now()) > self.net.sysctl.tcp_tw_reuse_delay

    def open(self, t: Tcb, now: i64) -> i64:
        """Enter a connection that is about to send its SYN; returns the ISN it must use, -1 for any.

        Raises EADDRNOTAVAIL when the four-tuple is taken.
        """
        found = self.endpoints.get(t.flow)
        isn: i64 = NO_ISN
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

    def drop(self, local: tuple[bytes, int], remote: tuple[bytes, int], now: i64) -> None:
        """End a connection from outside (tcpdrop, `ss -K`): RST to the peer, ECONNABORTED to the program."""
        found = self.endpoints.get(make_flow(remote[0], local[0], remote[1], local[1]))
        if isinstance(found, TimeWait):
            self.forget_time_wait(found, Cause.ABORT, now)
        elif isinstance(found, Request):
            forget_request(self, found, Cause.ABORT, now)
        elif isinstance(found, Tcb):
            if found.state is not SYN_SENT:
                send_reset(found, Why.RST_ABORT, now)
            fail(found, errno.ECONNABORTED, Cause.ABORT, now)
            self.after(found, now)

    # ICMP

    def error(self, reported: Reported, now: i64) -> bool:
        """An ICMP error about a segment of ours (tcp_v4_err); False when it matches nothing."""
        found = self.endpoints.get(reported.flow)
        seq = reported.quote.seq
        if found is None:
            return False
        if isinstance(found, Request):
            if seq != found.iss:
                self.net.counters.TcpExtOutOfWindowIcmps += 1
                return False
            if self.net.profile.bsd:
                self.tell_ignored(reported, now)
                return True
            if not _ends_request(reported):
                return True
            self.net.counters.TcpExtListenDrops += 1
            forget_request(self, found, Cause.ICMP_ERROR, now)
            return True
        if not isinstance(found, Tcb):
            return False
        if found.bsd and reported.errno != errno.EMSGSIZE:
            return self._error_bsd(found, reported, now)
        if seq == -1 or not seq_between(found.snd_una, seq, found.snd_nxt):
            self.net.counters.TcpExtOutOfWindowIcmps += 1
            return False
        if reported.errno == errno.EMSGSIZE:
            self._too_big(found, reported, now)
        else:
            if _is_disruption(reported):
                revert_backoff(found, seq, now)
            owner = found.owner
            # A fast open counts as connected once accept() has handed it over.
            connected = found.state is not SYN_SENT and (
                found.state is not SYN_RCVD or (found.fast_open and isinstance(owner, ConnectionOwner))
            )
            if not connected and isinstance(owner, ConnectionOwner):
                owner.connection_reported(found, reported)
            icmp_error(found, reported.errno, connected, now)
        self.after(found, now)
        return True

    def _too_big(self, t: Tcb, reported: Reported, now: i64) -> None:
        """A router had to drop a segment for its size (tcp_v4_mtu_reduced, tcp_v6_mtu_reduced)."""
        v6 = len(t.raddr) == 16
        wishes = t.wishes
        discovery = wishes.pmtu_discovery(v6, self.net) if isinstance(wishes, TcpOptions) else PMTUDISC_WANT
        if self.net.sysctl.ip_no_pmtu_disc or (v6 and discovery >= PMTUDISC_INTERFACE):
            return
        routes = self.machine.routes
        routes.learn_mtu(t.raddr, reported.mtu, now)
        mtu = routes.mtu(t.raddr, now)
        if discovery == PMTUDISC_WANT and not v6 and routes.mtu_locked(t.raddr, now):
            # A path that claims to take less than route.min_pmtu is left to fragment.
            t.dont_fragment = False
        if reported.mtu < mtu and t.dont_fragment:
            # Narrower than we are ready to believe: remembered in case the connection fails.
            t.err_soft = errno.EMSGSIZE
        if discovery < PMTUDISC_INTERFACE and (v6 or discovery != PMTUDISC_DONT):
            mtu_reduced(t, mtu, now)

    def _error_bsd(self, t: Tcb, reported: Reported, now: i64) -> bool:
        """FreeBSD: a hard error counts only in SYN-SENT, for our SYN, and while icmp_may_rst allows (RFC 5927 5.2)."""
        bsd = self.net.sysctl.bsd
        assert bsd is not None
        number = icmp_hard_error(reported.message)
        if reported.quote.seq != t.snd_una:
            self.net.counters.TcpExtOutOfWindowIcmps += 1
            return False
        if number == 0:
            t.err_soft = i16(reported.errno)
        elif bsd.icmp_may_rst and t.state is SYN_SENT:
            fail(t, number, Cause.ICMP_ERROR, now)
            self.after(t, now)
        else:
            self.tell_ignored(reported, now)
        return True

    def tell_ignored(self, reported: Reported, now: i64) -> None:
        """An ICMP error was understood and changes nothing."""
        tap = self.net.tap
        if tap is not None:
            tap.dropped(self.net.name, reported.message, Drop.ICMP_IGNORED, now)

    # Time

    def on_timeout(self, now: i64) -> None:
        """Run every connection whose deadline has come."""
        deadlines = self.deadlines
        found = deadlines.due(now)
        while found is not None:
            if isinstance(found, Tcb):
                self._tcb_due(found, now)
            elif isinstance(found, TimeWait):
                self._time_wait_due(found, now)
            else:
                assert isinstance(found, Request)
                request_timer(self, found, now)
            found = deadlines.due(now)

    def _tcb_due(self, t: Tcb, now: i64) -> None:
        if t.done:
            return
        at = next_timeout(t)
        if at > now:
            if at < NEVER:
                self.wait(t, at)
            return
        on_timeout(t, now)
        self.drain(t, now)

    def _time_wait_due(self, tw: TimeWait, now: i64) -> None:
        tap = self.net.tap
        if tap is not None:
            tap.timer(self.net.name, tw.flow, "time_wait", now)
        self.net.counters.TcpExtTW += 1
        cause = Cause.TIME_WAIT_TIMEOUT if tw.substate is TIME_WAIT else Cause.FIN_WAIT_2_TIMEOUT
        self.forget_time_wait(tw, cause, now)


def _ends_request(reported: Reported) -> bool:
    """Whether an error ends a half-open connection: the peer is out of reach, not merely unwilling (tcp_v4_err)."""
    message = reported.message
    if len(message.src) == 16:
        return reported.fatal
    return message.type != UNREACHABLE or message.code < 2


def _is_disruption(reported: Reported) -> bool:
    """Net or host unreachable: what RFC 6069 takes for a loss of connectivity."""
    message = reported.message
    if len(message.src) == 16:
        return message.type == V6_UNREACHABLE and message.code == 0
    return message.type == UNREACHABLE and message.code < 2


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
