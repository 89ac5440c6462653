"""The transmission control block: every variable of one connection (RFC 9293 section 3.3.1).

Names are the RFC's (SND.UNA is `snd_una`) and, where the RFC has none, Linux's. Times
are ns on the host's clock. Sequence numbers are 32-bit and are compared only by
`base.seq`. This file holds state and the few rules about state; behaviour is in the
modules named after it.
"""

from collections import deque
from typing import Final

from timewait.base.deadlines import Deadline
from timewait.base.instant import NEVER, SEC
from timewait.base.ints import i16, i32, i64
from timewait.base.native import mypyc_attr
from timewait.tcp.ace import AccurateEcn
from timewait.tcp.cc.base import NO_PACING, CongestionControl
from timewait.tcp.compress import AckCompression
from timewait.tcp.loss.queue import RetransmitQueue
from timewait.tcp.mtu_search import MtuSearch
from timewait.tcp.net import Net
from timewait.tcp.path import NO_METRICS, PathMetrics
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import CLOSED, TRANSITIONS, Cause, State
from timewait.tcp.wishes import NOTHING, Wishes
from timewait.wire.packet import Buffer, Segment, make_flow

# Readiness changes that the owner of a connection is told of, as epoll names them.
WAKE_IN: Final = 0x001
WAKE_PRI: Final = 0x002
WAKE_OUT: Final = 0x004
WAKE_ERR: Final = 0x008
WAKE_HUP: Final = 0x010
WAKE_RDHUP: Final = 0x2000

# Congestion states, by Linux's numbers (enum tcp_ca_state).
CA_OPEN: Final = 0
CA_DISORDER: Final = 1
CA_CWR: Final = 2
CA_RECOVERY: Final = 3
CA_LOSS: Final = 4

# What the one retransmission timer is armed for (icsk_pending).
TIMER_NONE: Final = 0
TIMER_RTO: Final = 1
TIMER_PROBE0: Final = 2
TIMER_TLP: Final = 3
TIMER_REORDER: Final = 4

# Acknowledgment work pending (icsk_ack.pending).
ACK_SCHED: Final = 1
ACK_TIMER: Final = 2
ACK_PUSHED: Final = 4
ACK_PUSHED2: Final = 8
ACK_NOW: Final = 16

NAGLE_OFF: Final = 1
NAGLE_CORK: Final = 2

RCV_SHUTDOWN: Final = 1
SEND_SHUTDOWN: Final = 2

# What a sender's time is counted as (enum tcp_chrono).
CHRONO_IDLE: Final = 0
CHRONO_BUSY: Final = 1
CHRONO_RWND: Final = 2
CHRONO_SNDBUF: Final = 3

INFINITE_SSTHRESH: Final = 0x7FFFFFFF
MSS_DEFAULT: Final = 536
MSS_DEFAULT_V6: Final = 1220
"""Send MSS when the peer's SYN has no MSS option (RFC 9293 MUST-15)."""
TS_OPTION_LENGTH: Final = 12
"""Timestamps with two NOPs, as every Linux segment carries them."""
MAX_WSCALE: Final = 14
"""RFC 7323 2.3: larger shift counts are used as 14."""
ATO_MIN: Final = SEC // 25
"""TCP_ATO_MIN: the delayed-acknowledgment timer starts at 40 ms."""
DELACK_MAX: Final = SEC // 5
"""TCP_DELACK_MAX: and never exceeds 200 ms."""
TIMEOUT_MIN: Final = SEC // 125
"""TCP_TIMEOUT_MIN: two ticks; no timer is set closer."""
RTO_MIN: Final = SEC // 5
"""TCP_RTO_MIN: the base by which retry counts are turned into time (quirks.md: RTO-2)."""


def stamp(now: i64) -> i64:
    """A time to remember where 0 means never: the clock's origin itself counts as one ns later."""
    if now == 0:
        return 1
    return now


@mypyc_attr(acyclic=True)
class Endpoint(Deadline):
    """Whatever the demux finds under a four-tuple: a Tcb, a half-open request or a TIME-WAIT record.

    It waits in its host's heap until `at`.
    """

    kind: i32 = 0


KIND_TCB: Final = 1
KIND_REQUEST: Final = 2
KIND_TIME_WAIT: Final = 3
KIND_SIGNED: Final = 4
"""A Tcb whose segments are signed: there is a key for its peer (RFC 2385)."""


@mypyc_attr(acyclic=True, free_list_len=1)
class Chunk:
    """A piece of unsent data: what one send() left, or several small ones merged."""

    def __init__(self, data: Buffer, length: i64) -> None:
        self.data: Buffer = data
        self.length: i64 = length
        self.push = False
        """PSH on the segment that carries the last octet."""
        self.end_of_record = False
        """MSG_EOR: nothing that follows shares a segment with it."""


class Tcb(Endpoint):
    """One connection."""

    # Flags are declared together: compiled, eight of them share a machine word. What they mean stands below.
    urgent_out: bool
    rcvbuf_locked: bool
    rcv_fin: bool
    ts_ok: bool
    sack_ok: bool
    wscale_ok: bool
    fin_queued: bool
    fin_sent: bool
    fin_pushed: bool
    sndbuf_locked: bool
    more_to_come: bool
    no_space: bool
    lost_pending: bool
    undo_active: bool
    eifel_delayed: bool
    frto: bool
    is_cwnd_limited: bool
    rack_advanced: bool
    rack_dsack_seen: bool
    tlp_active: bool
    tlp_retrans: bool
    urg_valid: bool
    urg_inline: bool
    quickack_forced: bool
    defer_connect_ack: bool
    fast_open: bool
    syn_data: bool
    syn_data_acked: bool
    after_pause: bool
    dirty: bool
    retired: bool
    keepalive: bool
    orphan: bool
    passive: bool
    done: bool
    dont_fragment: bool
    no_options: bool
    records_queued: bool
    ecn_ok: bool
    ecn_queue_cwr: bool
    ecn_demand_cwr: bool
    ecn_seen: bool
    rate_app_limited: bool
    paced: bool
    rexmit_new: bool
    watched: bool
    bsd: bool
    # So do these, four of them.
    rtx_kind: i16
    ca_state: i16
    chrono: i16
    nonagle: i16
    shutdown_mask: i16
    ack_pending: i16
    err_soft: i16
    err: i16

    def __init__(self, net: Net, laddr: bytes, lport: i64, raddr: bytes, rport: i64) -> None:
        self.kind = KIND_TCB
        self.net: Net = net
        self.bsd = net.profile.bsd
        """FreeBSD's rules apply (tcp.bsd)."""
        self.no_options = False
        """TCP_NOOPT: no options in the SYN, which also rules all later ones out."""
        self.state: State = CLOSED
        self.laddr: bytes = laddr
        self.lport: i64 = lport
        self.raddr: bytes = raddr
        self.rport: i64 = rport
        self.flow: bytes = make_flow(raddr, laddr, rport, lport)
        """The demux key of segments that arrive."""
        self.out_flow: bytes = make_flow(laddr, raddr, lport, rport)
        self.header_size: i64 = 40 if len(laddr) == 4 else 60
        """IP plus TCP header without options."""
        self.tos: i64 = 0
        self.ttl: i64 = net.sysctl.ip_default_ttl
        self.dont_fragment = net.sysctl.ip_no_pmtu_disc == 0
        """Path MTU discovery wants DF on every segment (RFC 1191); without it routers may fragment."""
        self.owner: object = None
        """The socket above, for the host's use."""

        # Send sequence space (RFC 9293 figure 3).
        self.iss: i64 = 0
        self.snd_una: i64 = 0
        """Oldest unacknowledged."""
        self.snd_nxt: i64 = 0
        """Next to be sent for the first time."""
        self.write_seq: i64 = 0
        """Behind the last octet the program wrote, FIN included."""
        self.pushed_seq: i64 = 0
        self.snd_wnd: i64 = 0
        """Peer's window in octets, scaled."""
        self.snd_wl1: i64 = 0
        self.max_window: i64 = 0
        """Largest window the peer ever offered (MAX.SND.WND)."""
        self.snd_wscale: i64 = 0
        self.snd_up: i64 = 0
        self.snd_sml: i64 = 0
        """End of the last small segment sent (Minshall's Nagle)."""
        self.urgent_out = False

        # Receive sequence space (figure 4).
        self.irs: i64 = 0
        self.rcv_nxt: i64 = 0
        self.rcv_wnd: i64 = 0
        """Window offered at rcv_wup."""
        self.rcv_wup: i64 = 0
        """RCV.NXT when the window was last offered."""
        self.copied_seq: i64 = 0
        """Next octet the program reads."""
        self.rcv_wscale: i64 = 0
        self.window_clamp: i64 = 0
        self.rcv_ssthresh: i64 = 0
        """Current limit on the offered window; grows with well-filled segments."""
        self.rcvbuf: i64 = net.sysctl.tcp_rmem[1]
        self.scaling_ratio: i64 = 0
        """Window per 256 octets of receive buffer, measured from the peer's segments; 0: not yet."""
        self.rcvbuf_locked = False
        self.rcv_fin = False
        """The peer's FIN has been received in order."""

        # Sizes and options.
        self.path: PathMetrics = NO_METRICS
        """What the route says of its connections."""
        self.pmtu: i64 = 1500
        self.mtu_search: MtuSearch | None = None
        """The search for the path's MTU with probes, if this connection makes one (RFC 4821)."""
        self.mss_clamp: i64 = MSS_DEFAULT if len(raddr) == 4 else MSS_DEFAULT_V6
        """Largest segment the peer takes."""
        self.mss_cache: i64 = MSS_DEFAULT
        """Payload octets per segment towards this peer with the options in use."""
        self.advmss: i64 = 1460
        """What we announce, less the options that every segment carries once connected."""
        self.announced_mss: i64 = 1460
        """The MSS option of our SYN."""
        self.rcv_mss: i64 = MSS_DEFAULT
        """Estimate of the peer's segment size, for delayed acknowledgments."""
        self.gso_max: i64 = 0
        """Largest super-segment payload the path takes; 0: one MSS at a time."""
        self.ts_ok = False
        self.ts_recent: i64 = 0
        self.ts_recent_stamp: i64 = 0
        """When ts_recent was taken, in ns; 0 when never."""
        self.ts_offset: i64 = 0
        self.saw_tsval: i64 = 0
        self.sack_ok = False
        self.wscale_ok = False
        self.last_ack_sent: i64 = 0
        """RCV.NXT in our last segment (RFC 7323 Last.ACK.sent)."""

        # Unsent data.
        self.unsent: deque[Chunk] | None = None
        self.unsent_off: i64 = 0
        """Octets of the first chunk that have been sent."""
        self.unsent_len: i64 = 0
        self.tail_room: i64 = 0
        """Octets that fit into the last packet of unsent data (tcp.space); -1: it ends a record."""
        self.tso_left: i64 = 0
        """Octets still to come of what Linux would hand down as one packet."""
        self.packet_begin: i64 = 0
        """Where Linux began to fill buffers with what is unsent now: they are full at multiples of its size goal."""
        self.fin_queued = False
        self.fin_sent = False
        self.fin_pushed = False
        """A probe took the data off the buffer of the FIN, which keeps the PSH."""
        self.sndbuf: i64 = net.sysctl.tcp_wmem[1]
        self.sndbuf_locked = False
        self.nonagle = 0
        self.records_queued = False
        """Some unsent chunk ends a record (MSG_EOR)."""
        self.more_to_come = False
        """The last send() carried MSG_MORE; holds until output is drained."""
        self.no_space = False
        """A writer was refused for lack of buffer space and waits for WAKE_OUT."""

        # In flight.
        self.rtx = RetransmitQueue()
        self.packets_out: i64 = 0
        self.sacked_out: i64 = 0
        self.lost_out: i64 = 0
        self.retrans_out: i64 = 0
        self.total_retrans: i64 = 0
        self.retransmits: i64 = 0
        """Consecutive timeouts without progress (icsk_retransmits)."""
        self.backoff: i64 = 0
        self.total_rto: i64 = 0
        self.total_rto_recoveries: i64 = 0
        """Timeouts in a row count once here (tcpi_total_rto_recoveries)."""
        self.total_rto_time: i64 = 0
        self.rto_stamp: i64 = 0
        """When the first timeout of the current row was; 0: none."""
        self.ecn_ok = False
        """Both ends agreed to ECN, or our SYN has asked (TCP_ECN_OK)."""
        self.ecn_queue_cwr = False
        """The next new data says CWR."""
        self.ecn_demand_cwr = False
        """Every segment of ours says something of ECN: ECE after a CE mark until the peer's CWR, or the counter."""
        self.accecn: AccurateEcn | None = None
        """Accurate ECN, and counts of ECN-capable packets; None while there were none of either."""
        self.ecn_seen = False
        self.delivered_ce: i64 = 0
        """Segments delivered with CE marks, as far as the peer's ECE or counter tells."""
        self.retrans_stamp: i64 = 0
        """When the first retransmission of the current episode was sent; 0: none."""
        self.lost_pending = False
        """Retransmissions wait for room in the congestion window."""

        # Round-trip time (Linux's scaled integers, microseconds).
        self.srtt_us: i64 = 0
        """Smoothed RTT times 8."""
        self.mdev_us: i64 = 0
        self.mdev_max_us: i64 = 0
        self.rttvar_us: i64 = 0
        self.rtt_seq: i64 = 0
        self.min_rtt_us: i64 = -1
        self.min_rtt_at: i64 = 0
        self.rcv_rtt_us: i64 = 0
        self.rto: i64 = net.profile.rto_init
        """Current retransmission timeout in ns, backoff included."""
        self.synack_at: i64 = 0
        """When a passive opener's SYN-ACK went out, for its RTT sample; 0 when it was repeated."""
        self.first_synack_ts: i64 = 0
        """The TSval of the first SYN-ACK: the ACK that echoes it shows that repeating it was needless."""

        # Congestion (RFC 5681) and recovery.
        self.cwnd: i64 = net.profile.init_cwnd
        self.cwnd_cnt: i64 = 0
        self.cwnd_stamp: i64 = 0
        self.ssthresh: i64 = INFINITE_SSTHRESH
        self.prior_ssthresh: i64 = 0
        self.prior_cwnd: i64 = 0
        self.ca_state = CA_OPEN
        self.high_seq: i64 = 0
        """SND.NXT when the current reduction began."""
        self.undo_marker: i64 = 0
        self.undo_active = False
        self.undo_retrans: i64 = 0
        self.eifel_delayed = False
        """The latest ACK echoes a timestamp from before the first retransmission of the episode."""
        self.prr_delivered: i64 = 0
        self.prr_out: i64 = 0
        self.delivered: i64 = 0
        self.lost: i64 = 0
        self.reordering: i64 = net.sysctl.tcp_reordering
        self.reord_seen: i64 = 0
        self.frto = False
        self.is_cwnd_limited = False
        self.app_limited: i64 = 0xFFFFFFFF
        """Segments delivered after which the rate is the network's again; 0: it is (tp->app_limited)."""
        self.first_tx_mstamp: i64 = 0
        self.delivered_mstamp: i64 = -1
        """When something was delivered last, or a flight began; -1: never."""
        self.tx_order: i64 = 0
        """Transmissions so far, of super-segments one each."""
        self.rate_delivered: i64 = 0
        self.rate_interval_us: i64 = 0
        self.rate_app_limited = True
        self.pacing_rate: i64 = NO_PACING
        """Octets per second (sk_pacing_rate)."""
        self.paced = False
        """Segments leave no faster than pacing_rate (SK_PACING_NEEDED)."""
        self.wstamp: i64 = 0
        """When the next paced segment may leave (tcp_wstamp_ns)."""
        self.max_packets_out: i64 = 0
        self.cwnd_usage_seq: i64 = 0
        self.cc: CongestionControl | None = None
        self.cwnd_used: i64 = 0
        """Most segments in flight since the window was last fully used (snd_cwnd_used)."""
        self.rexmit_new = False
        """F-RTO has asked for new data; retransmissions follow if none can leave (REXMIT_NEW)."""
        self.rack_order: i64 = 0
        """Transmission of the most recently sent piece that was delivered (rack.mstamp)."""
        self.rack_rtt_us: i64 = 0
        self.rack_end_seq: i64 = 0
        self.rack_advanced = False
        self.rack_steps: i64 = 1
        self.rack_persist: i64 = 0
        self.rack_last_delivered: i64 = 0
        self.rack_dsack_seen = False
        self.tlp_high_seq: i64 = 0
        self.tlp_active = False
        self.tlp_retrans = False

        # Received data: in order for the program, out of order in `ofo`.
        self.rcv_queue: list[Buffer] | None = None
        self.rcv_head: i64 = 0
        """Index of the first piece that has not been read."""
        self.rcv_head_off: i64 = 0
        """Octets of it that have been read."""
        self.rcv_queued: i64 = 0
        """Octets in rcv_queue not read yet."""
        self.ofo_seqs: list[int] | None = None
        """Stream offsets (from irs) of the out-of-order pieces, sorted."""
        self.ofo_data: list[Buffer] | None = None
        self.ofo_bytes: i64 = 0
        self.ofo_fin: i64 = -1
        """Stream offset at which an out-of-order FIN stands; -1: none."""
        self.sack_blocks: list[tuple[int, int]] | None = None
        """Islands to report, latest first."""
        self.dsack: tuple[int, int] | None = None
        self.compression: AckCompression | None = None
        """How duplicate acknowledgments are compressed, once something came out of order."""
        self.urg_seq: i64 = 0
        self.urg_valid = False
        self.urg_data: i64 = -1
        """The urgent octet, -1 when none waits."""
        self.urg_inline = False
        self.rcvq_seq: i64 = 0
        self.rcvq_space: i64 = 0
        self.rcvq_time: i64 = 0
        self.rcv_rtt_mark: i64 = 0
        """The last echoed timestamp above the number at which a whole window has come since rcv_rtt_time."""
        self.rcv_rtt_time: i64 = 0

        # Acknowledgments to send.
        self.ack_pending = 0
        self.quick: i64 = 0
        """Immediate acknowledgments left in quick mode."""
        self.pingpong: i64 = 0
        self.ato: i64 = 0
        self.lrcvtime: i64 = 0
        self.lsndtime: i64 = 0
        self.rcv_tstamp: i64 = 0
        """When the last acknowledgment or data arrived, for keepalive."""
        self.ack_why: Why = Why.ACK
        self.last_oow_ack: i64 = 0
        self.quickack_forced = False
        self.defer_connect_ack = False
        """TCP_DEFER_ACCEPT or TCP_QUICKACK=0 before connect(): the third packet waits for data."""

        # Fast open.
        self.fast_open = False
        """A passive open that took data from the SYN: it may send before the third packet."""
        self.fast_open_listener: object = None
        """The host's note: the listener that counts it as pending until its third packet."""
        self.fast_open_offer: bytes | None = None
        """What our SYN's option carries: b'' asks for a cookie; None: no option."""
        self.syn_data = False
        self.syn_data_acked = False
        self.after_pause = False
        """The first fast open after a pause: if data comes through, the next pause is short again (syn_fastopen_ch)."""
        self.fast_open_fail: i16 = 0
        """Why data on our SYN was not taken, by tcpi_fastopen_client_fail's numbers."""

        # Timers: absolute deadlines.
        self.rtx_kind = TIMER_NONE
        self.rtx_at: i64 = NEVER
        self.delack_at: i64 = NEVER
        """The delayed acknowledgment's, or that of the acknowledgments that `compression` holds."""
        self.keepalive_at: i64 = NEVER
        self.pacing_at: i64 = NEVER
        self.dirty = False
        """The host's note: touched while it collects input, to be drained at the end."""
        self.retired = False
        """The host's note: taken out of its tables."""
        self.probes_out: i64 = 0
        self.probe_stamp: i64 = 0

        # The program's wishes and the connection's fate.
        self.wishes: Wishes = NOTHING
        """Values of socket options, shared with other connections: never assigned to through here."""
        self.keepalive = False
        self.shutdown_mask = 0
        self.orphan = False
        """close() was called: no program is left (SOCK_DEAD)."""
        self.err = 0
        """errno to report once (sk_err)."""
        self.err_soft = 0
        self.passive = False
        self.wake: i64 = 0
        """Readiness changes since the owner last looked."""
        self.watched = False
        """The owner waits for data to leave or to be acknowledged, and is told after every change."""
        self.done = False
        """CLOSED for good: the owner may forget the connection."""
        self.time_wait_state: State | None = None
        """Set when the connection has become a TIME-WAIT record: TIME_WAIT, or FIN_WAIT_2 for an orphan."""
        self.time_wait_for: i64 = 0
        self.out: list[Segment] | None = None
        """Segments made at once (resets, probes, retransmissions), in order, before anything pulled."""

        # Figures for TCP_INFO.
        self.chrono = CHRONO_IDLE
        """What the sender is doing or held up by."""
        self.chrono_since: i64 = 0
        self.chrono_busy: i64 = 0
        """ns spent so, by kind."""
        self.chrono_rwnd: i64 = 0
        self.chrono_sndbuf: i64 = 0
        self.bytes_acked: i64 = 0
        self.bytes_received: i64 = 0
        self.bytes_sent: i64 = 0
        self.bytes_retrans: i64 = 0
        self.segs_in: i64 = 0
        self.segs_out: i64 = 0
        self.data_segs_in: i64 = 0
        self.data_segs_out: i64 = 0
        self.dsack_dups: i64 = 0
        self.rcv_ooopack: i64 = 0
        self.last_data_recv: i64 = 0

    def move(self, state: State, cause: Cause, now: i64) -> None:
        """Change state: the one place where it happens (style: everything that changes state in one place)."""
        old = self.state
        assert state in TRANSITIONS[old], f"{old.name} -> {state.name} is no move of RFC 9293"
        self.state = state
        tap = self.net.tap
        if tap is not None:
            tap.moved(self.net.name, self.flow, old, state, cause, now)

    def dropped(self, seg: Segment, drop: Drop, now: i64) -> None:
        """Say that a segment, or what is left of it, is discarded."""
        tap = self.net.tap
        if tap is not None:
            tap.dropped(self.net.name, seg, drop, now)

    def fired(self, name: str, now: i64) -> None:
        """Say that a timer ran out."""
        tap = self.net.tap
        if tap is not None:
            tap.timer(self.net.name, self.flow, name, now)

    def emit(self, seg: Segment) -> None:
        """Queue a segment that was made at once."""
        if self.out is None:
            self.out = []
        self.out.append(seg)

    def first_cwnd(self) -> i64:
        """Segments of the congestion window at the start and after a pause (tcp_init_cwnd)."""
        return self.path.initcwnd if self.path.initcwnd else self.net.profile.init_cwnd

    def packets_in_flight(self) -> i64:
        """Segments believed to be in the network (RFC 6675 pipe, in Linux's counts)."""
        return self.packets_out - self.sacked_out - self.lost_out + self.retrans_out

    def wnd_end(self) -> i64:
        """First sequence number beyond the peer's window."""
        return (self.snd_una + self.snd_wnd) & 0xFFFFFFFF

    def receive_window(self) -> i64:
        """What is left of the window last offered; never negative."""
        left = self.rcv_wup + self.rcv_wnd - self.rcv_nxt
        left = ((left + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        # Not a conditional expression: mypyc boxes both sides of one when a side is a literal.
        if left < 0:
            return 0
        return left
