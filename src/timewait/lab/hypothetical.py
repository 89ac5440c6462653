"""Kernels that do not exist: what labs switch on to show what a rule of TCP is good for.

Nothing outside this package uses them, and no profile contains them. Each changes the
constants of one of our hosts in the world of one lab.
"""

from timewait.base.instant import MSEC
from timewait.host.host import Host
from timewait.lab.bench import Bench
from timewait.lab.puppet import Puppet
from timewait.tcp.profile import Profile
from timewait.wire.packet import ACK, RST, SYN, Packet, Segment, make_flow

FROZEN = 1 << 62
"""A tick of the ISN clock that is longer than any experiment."""


def _own_profile(host: Host) -> Profile:
    """The host's constants as a copy that nobody shares."""
    shared = host.net.profile
    host.net.profile = Profile(
        shared.name,
        isn_tick=shared.isn_tick,
        timewait_len=shared.timewait_len,
        rto_init=shared.rto_init,
        init_cwnd=shared.init_cwnd,
        random_ts_offset=shared.random_ts_offset,
        keyed_isn=shared.keyed_isn,
        ooo_fin_in_orphan_resets=shared.ooo_fin_in_orphan_resets,
        scaling_ratio=shared.scaling_ratio,
    )
    return host.net.profile


def without_time_wait(*hosts: Host) -> None:
    """TIME-WAIT of no length: a connection that closed first is forgotten at once."""
    for host in hosts:
        _own_profile(host).timewait_len = 0


def with_fixed_isn(*hosts: Host) -> None:
    """Every connection begins at the same sequence number."""
    for host in hosts:
        profile = _own_profile(host)
        profile.keyed_isn = False
        profile.isn_tick = FROZEN


def with_time_wait(length: int, *hosts: Host) -> None:
    """TIME-WAIT of another length, ns."""
    for host in hosts:
        _own_profile(host).timewait_len = length


def with_initial_rto(length: int, *hosts: Host) -> None:
    """Another first retransmission timeout, ns: what a BPF program can set and no sysctl can."""
    for host in hosts:
        _own_profile(host).rto_init = length


def with_clock_isn(*hosts: Host) -> None:
    """ISNs from the clock alone, as RFC 793 had it: no secret in them."""
    for host in hosts:
        _own_profile(host).keyed_isn = False


class TwoWayServer(Puppet):
    """A server that needs two segments: a SYN makes a connection at once, and its program may send.

    `context` lets it remember the SYNs it has seen of each client, so that none counts twice.
    """

    def __init__(self, bench: Bench, *, push: int = 0, context: bool = False) -> None:
        super().__init__("server", bench.world.clock, "10.0.0.2/24", "10.0.0.1", bench.world.tap)
        self.bench = bench
        self.push = push
        """Segments of 1000 octets that its program sends on each new connection, one every 2 ms."""
        self.context = context
        self.established: list[Segment] = []
        """The SYNs of the connections it believes in."""
        self.believed = 0
        """How many it has believed in, ever."""
        self.wasted = 0
        """Octets sent on connections that a RST then ended."""
        self.seen: set[tuple[int, int]] = set()
        self.on_packet = self.answer

    def answer(self, packet: Packet) -> None:
        """Everything this server knows of TCP."""
        if not isinstance(packet, Segment):
            return
        if packet.flags & SYN and not packet.flags & ACK:
            self._open(packet)
        elif packet.flags & RST:
            for syn in [each for each in self.established if each.sport == packet.sport]:
                self.established.remove(syn)

    def _open(self, syn: Segment) -> None:
        known = (int(syn.sport), int(syn.seq)) in self.seen
        self.seen.add((int(syn.sport), int(syn.seq)))
        if known and self.context:
            return
        self.established.append(syn)
        self.believed += 1
        # Its number differs for each connection, as numbers should.
        self.iss = (1_000_000 * self.believed) & 0xFFFFFFFF
        self.irs, self.port, self.peer_port = syn.seq, int(syn.dport), int(syn.sport)
        self.syn_ack()
        if self.push:
            self._push(syn, self.iss, self.push)

    def _push(self, syn: Segment, iss: int, left: int) -> None:
        if left == 0 or syn not in self.established:
            return
        made = self.segment("PA", seq=iss + 1 + 1000 * (self.push - left), ack=(syn.seq + 1) % 2**32, absolute=True)
        made.payload, made.length = b"x" * 1000, 1000
        made.dport = syn.sport
        made.flow = make_flow(made.src, made.dst, made.sport, made.dport)
        self.put(made)
        self.wasted += 1000
        self.bench.world.after(2 * MSEC, lambda: self._push(syn, iss, left - 1))
