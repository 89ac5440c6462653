"""A listening socket's two queues: half-open connections and finished ones (RFC 9293 3.10.7.2, inet_connection_sock.c).

`backlog` limits both: n + 1 finished connections fit, and as many half-open ones
before SYN cookies or drops begin (SYNQ-05, ACCQ-03).
"""

from collections import deque
from typing import Final

from timewait.base.instant import SEC
from timewait.base.ints import i32, i64
from timewait.tcp.arrive_listen import ListenOptions, Request
from timewait.tcp.net import Net
from timewait.tcp.tcb import Tcb
from timewait.tcp.wishes import Wishes

COOKIE_VALID: Final = 120 * SEC
"""TCP_SYNCOOKIE_VALID: how long after the last overflow an ACK may still bring a cookie."""


class Listener:
    """The queues of one listening socket."""

    def __init__(self, net: Net, addr: bytes, port: i64, backlog: i64) -> None:
        self.net: Net = net
        self.number: i32 = 0
        """What its requests know it by."""
        self.addr: bytes = addr
        self.port: i64 = port
        self.backlog: i64 = backlog
        self.options = ListenOptions()
        self.heirs: Wishes | None = None
        """What accepted sockets share; None: to be made."""
        self.accept_queue: deque[Tcb] = deque()
        self.requests: i64 = 0
        """Half-open connections (reqsk_queue_len)."""
        self.young: i64 = 0
        """Those whose SYN-ACK has not been repeated."""
        self.defer_accept: i64 = 0
        """TCP_DEFER_ACCEPT as a number of SYN-ACK timeouts; 0: off."""
        self.syn_retries: i64 = 0
        """TCP_SYNCNT; 0: tcp_synack_retries."""
        self.tos: i64 = 0
        """Type of service of what is sent before there is a connection."""
        self.ttl: i64 = 0
        """Time to live of the same; 0: ip_default_ttl."""
        self.fast_open_limit: i64 = 0
        """TCP_FASTOPEN: how many connections opened by SYN data may wait for their third packet; 0: off."""
        self.fast_open_keys: bytes = b""
        """TCP_FASTOPEN_KEY: 16 octets, or 32 with the key of older cookies; b'': the host's."""
        self.fast_open_pending: i64 = 0
        self.fast_open_resets: list[int] = []
        """Until when those that were accepted and then reset still count, as a defense against forged SYNs."""
        self.overflowed_at: i64 = -1
        """When the SYN queue last overflowed; -1: never."""
        self.closed = False
        self.v6only = False
        self.owner: object = None
        """The socket."""

    def accept_queue_full(self) -> bool:
        """sk_acceptq_is_full: more than `backlog` connections wait for accept()."""
        return len(self.accept_queue) > self.backlog

    def syn_queue_full(self) -> bool:
        """inet_csk_reqsk_queue_is_full."""
        return self.requests > self.backlog

    def add(self, req: Request) -> None:
        """A new half-open connection."""
        self.requests += 1
        self.young += 1

    def remove(self, req: Request) -> None:
        """A half-open connection is finished, refused or given up."""
        self.requests -= 1
        if req.timeouts == 0:
            self.young -= 1

    def synack_retries(self) -> i64:
        """How often a SYN-ACK is repeated; fewer under pressure, to make room (reqsk_timer_handler)."""
        retries = self.syn_retries if self.syn_retries else self.net.sysctl.tcp_synack_retries
        if self.requests << 1 <= max(8, self.backlog):
            return retries
        young = self.young << 1
        while retries > 2 and self.requests >= young:
            retries -= 1
            young <<= 1
        return retries

    def saw_overflow(self, now: i64) -> bool:
        """Whether cookies were handed out lately: otherwise an ACK out of nowhere is not even checked."""
        return self.overflowed_at >= 0 and now - self.overflowed_at < COOKIE_VALID
