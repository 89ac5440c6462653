"""The bind tables: which local ports are taken, by whom, and which one a new socket gets.

TCP and UDP have one table each. The conflict rules are those of Linux's
inet_csk_get_port and udp_lib_get_port; the choice of ephemeral ports follows
RFC 6056 algorithm 4 as __inet_hash_connect does it.

A conflict depends only on an owner's address and flags, never on which owner it is.
So a port's bucket counts owners by kind: a hundred thousand accepted connections on
port 80 cost one record, and bind() looks at a handful of kinds.
"""

import errno
import random
from collections.abc import Callable
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.rng import Streams, keyed_hash
from timewait.tcp.sysctl import Sysctl

AF_INET: Final = 2
AF_INET6: Final = 10

ANY4: Final = bytes(4)
ANY6: Final = bytes(16)
MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"

PRIVILEGED_PORTS: Final = 1024
"""ip_unprivileged_port_start: lower ports need CAP_NET_BIND_SERVICE, here uid 0."""

PAGE: Final = 1024
"""Ports whose bindings are kept together."""

PERTURB_SIZE: Final = 1 << 16
"""INET_TABLE_PERTURB_SIZE: slots of the table that RFC 6056 algorithm 4 adds to the hash."""

FourTupleFree = Callable[[bytes, int, bytes, int], bool]
"""Whether no connection has (local address, local port, remote address, remote port)."""


def unmapped(addr: bytes) -> bytes:
    """The IPv4 address inside an IPv4-mapped IPv6 address; any other address as it is."""
    return addr[12:] if len(addr) == 16 and addr[:12] == MAPPED_PREFIX else addr


@mypyc_attr(acyclic=True)
class PortOwner:
    """Whoever can hold a local port: sockets and TIME-WAIT records derive from it.

    Once the owner is bound, a change of any field here takes effect for others'
    conflicts with `PortTable.refresh`.
    """

    family: i64 = 2
    """AF_INET or AF_INET6."""
    local_addr: bytes = ANY4
    """Packed. The wildcard is 4 zero octets for AF_INET, 16 for AF_INET6; IPv4-mapped addresses are stored as IPv4."""
    local_port: i64 = 0
    """0 while unbound."""
    reuse_addr: bool = False
    """SO_REUSEADDR."""
    reuse_port: bool = False
    """SO_REUSEPORT."""
    v6only: bool = False
    """IPV6_V6ONLY; it matters for the IPv6 wildcard alone."""
    listening: bool = False
    time_wait: bool = False
    connect_bound: bool = False
    """connect() chose the port, so that other connect() calls may share it (SOCK_CONNECT_BIND)."""
    uid: i64 = 0
    kind: "Kind | None" = None
    """The table's record of this owner's binding; None while unbound."""


@mypyc_attr(acyclic=True)
class Kind:
    """The owners of one port that are alike in everything that a conflict depends on."""

    def __init__(self, port: i64, owner: PortOwner) -> None:
        self.port: i64 = port
        self.addr: bytes = owner.local_addr
        self.v6only: bool = owner.v6only
        self.reuse_addr: bool = owner.reuse_addr
        self.reuse_port: bool = owner.reuse_port
        self.listening: bool = owner.listening
        self.time_wait: bool = owner.time_wait
        self.connect_bound: bool = owner.connect_bound
        self.uid: i64 = owner.uid
        self.count: i64 = 0
        self.next: Kind | None = None
        """Another kind at the same port."""

    def fits(self, owner: PortOwner) -> bool:
        """Whether the owner, as it is now, is of this kind."""
        return (
            self.addr == owner.local_addr
            and self.listening == owner.listening
            and self.time_wait == owner.time_wait
            and self.reuse_addr == owner.reuse_addr
            and self.reuse_port == owner.reuse_port
            and self.connect_bound == owner.connect_bound
            and self.v6only == owner.v6only
            and self.uid == owner.uid
        )


def addresses_meet(a: bytes, a_v6only: bool, b: bytes, b_v6only: bool) -> bool:
    """Whether some packet could be for both addresses (inet_rcv_saddr_equal with wildcards)."""
    if a == b:
        return True
    if len(a) == len(b):
        return not any(a) or not any(b)
    # One IPv4, one IPv6: they meet only under a dual-stack IPv6 wildcard.
    if len(a) == 16:
        return a == ANY6 and not a_v6only
    return b == ANY6 and not b_v6only


class PortTable:
    """TCP's bind table (inet_hashinfo.bhash)."""

    def __init__(self, sysctl: Sysctl, streams: Streams) -> None:
        self.sysctl: Sysctl = sysctl
        self.pages: list[list[Kind | None]] = [[] for _ in range(65536 // PAGE)]
        """The first of each port's kinds, by PAGE ports at a time; a page without any may be empty."""
        self.rng: random.Random = streams.stream(self.purpose())
        self.key: bytes = streams.secret(self.purpose() + " offset")
        self.path: bytes = b""
        self.hashed: int = 0
        """The keyed hash of `path`, the latest destination."""
        self.perturb: dict[int, int] = {}
        self.reserved: tuple[int, ...] = ()
        self.reserved_set: frozenset[int] = frozenset()

    def purpose(self) -> str:
        """The name of this table's random stream."""
        return "tcp ports"

    def bind(self, owner: PortOwner, addr: bytes, port: i64) -> None:
        """bind(): give the owner addr:port; port 0 picks one.

        Raises OSError EACCES for a privileged port without uid 0, EADDRINUSE on a
        conflict. Whether `addr` is ours is for the caller to check (EADDRNOTAVAIL).
        """
        assert owner.kind is None, "bound twice"
        addr = unmapped(addr)
        if port == 0:
            self.autobind(owner, addr)
            return
        if port < PRIVILEGED_PORTS and owner.uid != 0:
            raise os_error(errno.EACCES, f"port {port}")
        if self.conflict(owner, addr, port, True):
            raise os_error(errno.EADDRINUSE, f"port {port}")
        self._take(owner, addr, port)

    def listen(self, owner: PortOwner) -> None:
        """Mark a bound owner as listening. OSError EADDRINUSE if its port is shared with another listener.

        Linux asks again at listen(): two sockets may be bound to one address with
        SO_REUSEADDR, but only one of them may listen (inet_csk_listen_start).
        """
        if self.conflict(owner, owner.local_addr, owner.local_port, True):
            raise os_error(errno.EADDRINUSE, f"port {owner.local_port}")
        owner.listening = True
        self.refresh(owner)

    def autobind(self, owner: PortOwner, addr: bytes) -> i64:
        """bind() to port 0 (inet_csk_find_open_port): a free ephemeral port, those of connect()'s parity last.

        Raises OSError EADDRINUSE when none is free.
        """
        addr = unmapped(addr)
        low, last = self.sysctl.ip_local_port_range
        high = last + 1
        # With SO_REUSEADDR the lower half is used up first, so that such ports cluster.
        half = low + (((high - low) >> 2) << 1)
        halves = [(low, half), (half, high)] if owner.reuse_addr and high - low >= 4 else [(low, high)]
        for start, end in halves:
            port = self._free_port(owner, addr, start, end)
            if port:
                self._take(owner, addr, port)
                return port
        raise os_error(errno.EADDRINUSE, "no free port in ip_local_port_range")

    def choose_for_connect(
        self, owner: PortOwner, laddr: bytes, raddr: bytes, rport: i64, is_free: FourTupleFree
    ) -> i64:
        """connect() of an unbound socket: claim and return a port, or raise OSError EADDRNOTAVAIL.

        A port that other connections got from connect() is shared where `is_free`
        says that the four-tuple is unused; a port that anybody bound is left alone.
        """
        assert owner.kind is None, "bound twice"
        laddr = unmapped(laddr)
        low, last = self.sysctl.ip_local_port_range
        remaining = last + 1 - low
        if remaining > 1:
            remaining &= ~1
        path = laddr + raddr + bytes((rport >> 8, rport & 0xFF))
        if path != self.path:
            # Most programs connect to the same place again and again.
            self.path, self.hashed = path, keyed_hash(self.key, path)
        hashed = self.hashed
        index = hashed & (PERTURB_SIZE - 1)
        perturb = self._perturbation(index)
        offset = (perturb + (hashed >> 32)) % remaining & ~1
        # The first pass tries ports of the parity of `low`; bind(0) takes the others first.
        for parity in range(2 if remaining > 1 else 1):
            for step in range(0, remaining, 2):
                port = low + (offset + parity + step) % remaining
                if not self._connect_may_take(port, laddr, raddr, rport, is_free):
                    continue
                # On low contention the next port is hard to guess; on high contention it is the next one.
                moved = max(step, self.rng.getrandbits(3) * 2)
                self.perturb[index] = (perturb + moved + 2) & 0xFFFFFFFF
                owner.connect_bound = True
                self._take(owner, laddr, port)
                return port
        raise os_error(errno.EADDRNOTAVAIL, "every ephemeral port has a connection to that destination")

    def share(self, owner: PortOwner, port: i64) -> None:
        """Bind without questions: an accepted connection on its listener's port (__inet_inherit_port)."""
        assert owner.kind is None, "bound twice"
        self._take(owner, owner.local_addr, port)

    def leave(self, owner: PortOwner) -> "Kind":
        """Release an owner whose TIME-WAIT record keeps the port; what is returned goes to `drop` when that ends."""
        kind = owner.kind
        assert kind is not None, "not bound"
        heir = PortOwner()
        heir.family = owner.family
        heir.local_addr = owner.local_addr
        heir.reuse_addr = owner.reuse_addr
        heir.reuse_port = owner.reuse_port
        heir.v6only = owner.v6only
        heir.connect_bound = owner.connect_bound
        heir.time_wait = True
        port = kind.port
        self.release(owner)
        self._enter(heir, port)
        assert heir.kind is not None
        return heir.kind

    def refresh(self, owner: PortOwner) -> None:
        """Take notice of changed flags or address of a bound owner; without effect on an unbound one."""
        kind = owner.kind
        if kind is not None and not kind.fits(owner):
            self.drop(kind)
            self._enter(owner, kind.port)

    def release(self, owner: PortOwner) -> None:
        """Give the port back. The owner keeps its local_port number for those who still print it."""
        kind = owner.kind
        if kind is not None:
            owner.kind = None
            owner.connect_bound = False
            self.drop(kind)

    def first(self, port: i64) -> Kind | None:
        """The first of the port's kinds, which leads to the others; None if nobody holds the port."""
        page = self.pages[port // PAGE]
        return page[port % PAGE] if page else None

    def in_use(self, port: i64) -> bool:
        """Whether anybody holds the port."""
        return self.first(port) is not None

    def held(self) -> list[int]:
        """The ports that somebody holds, ascending."""
        return [port for port in range(65536) if self.first(port) is not None]

    def conflict(self, owner: PortOwner, addr: bytes, port: i64, relax: bool) -> bool:
        """Whether binding owner to addr:port would meet another owner's binding.

        relax=False is bind(0)'s question: then nothing is shared (inet_csk_bind_conflict).
        """
        own = owner.kind
        kind = self.first(port)
        while kind is not None:
            alone = kind is own and kind.count == 1
            if not alone and not self._may_share(owner, kind, relax):
                if addresses_meet(addr, owner.v6only, kind.addr, kind.v6only):
                    return True
            kind = kind.next
        return False

    def _may_share(self, owner: PortOwner, kind: Kind, relax: bool) -> bool:
        """inet_bind_conflict, turned around."""
        if not relax:
            return False
        if owner.reuse_addr and kind.reuse_addr and not kind.listening:
            return True
        return owner.reuse_port and kind.reuse_port and (kind.time_wait or owner.uid == kind.uid)

    def _free_port(self, owner: PortOwner, addr: bytes, start: i64, end: i64) -> i64:
        """A port in [start, end) without conflict, odd offsets first; 0 if there is none."""
        remaining = end - start
        if remaining > 1:
            remaining &= ~1
        offset = self.rng.randrange(remaining) | 1
        for parity in range(2):
            for step in range(0, remaining, 2):
                port = start + (offset - parity + step) % remaining
                if not self._reserved(port) and not self.conflict(owner, addr, port, False):
                    return port
        return 0

    def _connect_may_take(self, port: i64, laddr: bytes, raddr: bytes, rport: i64, is_free: FourTupleFree) -> bool:
        if self._reserved(port):
            return False
        kind = self.first(port)
        if kind is None:
            return True
        while kind is not None:
            if not kind.connect_bound:
                return False
            kind = kind.next
        return is_free(laddr, port, raddr, rport)

    def _perturbation(self, index: int) -> int:
        found = self.perturb.get(index, -1)
        if found < 0:
            found = self.rng.getrandbits(32)
            self.perturb[index] = found
        return found

    def _reserved(self, port: i64) -> bool:
        ports = self.sysctl.ip_local_reserved_ports
        if ports is not self.reserved:
            self.reserved = ports
            self.reserved_set = frozenset(ports)
        return port in self.reserved_set

    def _take(self, owner: PortOwner, addr: bytes, port: i64) -> None:
        owner.local_addr = addr
        owner.local_port = port
        self._enter(owner, port)

    def _enter(self, owner: PortOwner, port: i64) -> None:
        first = self.first(port)
        kind = first
        while kind is not None:
            if kind.fits(owner):
                kind.count += 1
                owner.kind = kind
                return
            kind = kind.next
        fresh = Kind(port, owner)
        fresh.count = 1
        fresh.next = first
        self._set_first(port, fresh)
        owner.kind = fresh

    def drop(self, kind: Kind) -> None:
        """One owner of this kind less."""
        kind.count -= 1
        assert kind.count >= 0, "a port was given back twice"
        if kind.count:
            return
        before = self.first(kind.port)
        if before is kind:
            self._set_first(kind.port, kind.next)
            return
        while before is not None and before.next is not kind:
            before = before.next
        assert before is not None, "a kind that is not at its port"
        before.next = kind.next

    def _set_first(self, port: i64, kind: Kind | None) -> None:
        page = self.pages[port // PAGE]
        if not page:
            page.extend([None] * PAGE)
        page[port % PAGE] = kind


class UdpPortTable(PortTable):
    """UDP's bind table: SO_REUSEADDR on both sides always shares, and ports are chosen at random."""

    def purpose(self) -> str:
        return "udp ports"

    def conflict(self, owner: PortOwner, addr: bytes, port: i64, relax: bool) -> bool:
        """udp_lib_lport_inuse; bind(0) asks the same question as bind(port)."""
        return super().conflict(owner, addr, port, True)

    def autobind(self, owner: PortOwner, addr: bytes) -> i64:
        """A free ephemeral port, each as likely as the others. Raises OSError EADDRINUSE when none is free."""
        addr = unmapped(addr)
        low, high = self.sysctl.ip_local_port_range
        count = high + 1 - low
        first = self.rng.randrange(count)
        for step in range(count):
            port = low + (first + step) % count
            if not self._reserved(port) and not self.conflict(owner, addr, port, True):
                self._take(owner, addr, port)
                return port
        raise os_error(errno.EADDRINUSE, "no free port in ip_local_port_range")
