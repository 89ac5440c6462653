"""Where a packet goes: local addresses, routes by longest prefix, source addresses, path MTUs, groups.

Linux's model: addresses belong to the host rather than to an interface (the weak host
model), a packet to one of our own addresses takes the loopback device, and what ICMP
says about a path's MTU is kept per destination for ten minutes.
"""

import errno
from enum import Enum
from typing import Final

from timewait.base.errors import os_error
from timewait.base.instant import NEVER, SEC
from timewait.base.ints import i64
from timewait.tcp.path import NO_METRICS, PathMetrics

MTU_EXPIRES: Final = 600 * SEC
"""net.ipv4.route.mtu_expires: how long a learned path MTU is believed."""
MIN_PMTU: Final = 552
"""net.ipv4.route.min_pmtu: smaller claims are held to this, and DF is then no longer set."""
IPV6_MIN_MTU: Final = 1280
"""RFC 8200 section 5; Linux ignores a Packet Too Big that claims less."""
MAX_EXCEPTIONS: Final = 10240
"""Learned path MTUs that are kept: FNHE_HASH_SIZE buckets of FNHE_RECLAIM_DEPTH entries."""
MAX_CACHED: Final = 4096
"""Cached route decisions; the cache starts anew when it is full."""

BROADCAST4: Final = b"\xff\xff\xff\xff"
ALL_HOSTS4: Final = b"\xe0\x00\x00\x01"
ALL_NODES6: Final = b"\xff\x02" + bytes(13) + b"\x01"
LOOPBACK4: Final = b"\x7f\x00\x00\x01"
LOOPBACK6: Final = bytes(15) + b"\x01"


class AddressKind(Enum):
    """What a destination address means to this host (the kernel's RTN_ types)."""

    ANY = "unspecified"
    LOCAL = "ours"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"
    UNICAST = "somebody else's"


class Reach(Enum):
    """What a route does with a packet."""

    UNICAST = "forward it"
    LOCAL = "deliver it here"
    BROADCAST = "send it to everybody on the link"
    MULTICAST = "send it to a group on the link"
    UNREACHABLE = "refuse with EHOSTUNREACH"
    PROHIBIT = "refuse with EACCES"
    BLACKHOLE = "refuse with EINVAL, in silence"


class NetDevice:
    """What routing knows of an interface; the host's Interface derives from it."""

    name: str = ""
    mtu: i64 = 1500
    """Octets of an IP datagram."""
    up: bool = True
    loopback: bool = False
    gso_max: i64 = 0
    """Largest IP datagram handed over whole as a super-segment; 0: nothing may exceed the MTU."""
    addresses: list[tuple[bytes, int]]
    """(address, prefix length) in the order they were added; the first of a subnet is the primary one."""

    def __init__(self, name: str, mtu: i64 = 1500, loopback: bool = False) -> None:
        self.name = name
        self.mtu = mtu
        self.loopback = loopback
        self.addresses = []


class Route:
    """A decision, or an entry of the table (then `source` may be b'' for 'choose one'). Never changed once made."""

    def __init__(
        self,
        reach: Reach,
        device: NetDevice | None,
        gateway: bytes = b"",
        source: bytes = b"",
        mtu: i64 = 0,
        metric: i64 = 0,
        ecn: bool = False,
        path: PathMetrics = NO_METRICS,
    ) -> None:
        self.reach: Reach = reach
        self.device: NetDevice | None = device
        """Where it leaves; None for routes that refuse, and for local ones on a host without a loopback device."""
        self.gateway: bytes = gateway
        """Next hop; b'' when the destination is on the link."""
        self.source: bytes = source
        self.mtu: i64 = mtu
        """The route's own `mtu` metric; 0: the device's."""
        self.metric: i64 = metric
        self.path: PathMetrics = path
        """What it says of connections over it."""
        self.ecn = ecn
        """Connections over it ask for ECN and agree to it, whatever tcp_ecn says (RTAX_FEATURE_ECN)."""

    @property
    def local(self) -> bool:
        """Whether the packet is for this host."""
        return self.reach is Reach.LOCAL


class PathMtu:
    """What ICMP taught about one destination (a FIB next-hop exception)."""

    def __init__(self, mtu: i64, expires: i64, locked: bool) -> None:
        self.mtu: i64 = mtu
        self.expires: i64 = expires
        self.locked: bool = locked
        """The claim was below MIN_PMTU: send without DF from now on."""


class RouteTable:
    """Addresses, routes, learned path MTUs and group memberships of one host, both families."""

    def __init__(self) -> None:
        self.devices: list[NetDevice] = []
        self.loopback: NetDevice | None = None
        self.local: dict[bytes, NetDevice] = {}
        """Our addresses and the device each is on."""
        self.own: dict[bytes, bytes] = {}
        """Each of our addresses once: connections share the object instead of keeping a copy."""
        self.broadcasts: dict[bytes, NetDevice] = {}
        self.prefixes: dict[int, dict[bytes, list[Route]]] = {}
        """By prefix length (+ 1000 for IPv6), then by masked prefix; lowest metric first."""
        self.lengths4: list[int] = []
        self.lengths6: list[int] = []
        self.learned: dict[bytes, PathMtu] = {}
        self.groups: dict[tuple[bytes, str], int] = {}
        self.cache: dict[bytes, Route] = {}

    def add_device(self, device: NetDevice) -> None:
        """Make a device known; one with `loopback` takes what the host sends to itself."""
        self.devices.append(device)
        if device.loopback:
            self.loopback = device
        for addr, length in device.addresses:
            self._connect(device, addr, length)
        self.cache.clear()

    def add_address(self, device: NetDevice, addr: bytes, length: int) -> None:
        """Give a known device an address, with the connected route of its prefix. OSError EEXIST if we have it."""
        if addr in self.local:
            raise os_error(errno.EEXIST)
        device.addresses.append((addr, length))
        self._connect(device, addr, length)
        self.cache.clear()

    def remove_address(self, device: NetDevice, addr: bytes) -> None:
        """Take an address away, and the connected route unless another address has it. OSError EADDRNOTAVAIL."""
        for entry in device.addresses:
            if entry[0] == addr:
                break
        else:
            raise os_error(errno.EADDRNOTAVAIL)
        length = entry[1]
        device.addresses.remove(entry)
        del self.local[addr]
        del self.own[addr]
        prefix = masked(addr, length)
        self._forget(prefix, length, device, b"")
        self.cache.clear()
        for other, other_length in device.addresses:
            if other_length == length and masked(other, length) == prefix:
                # The next address of the subnet becomes its primary one (promote_secondaries).
                self._connect(device, other, length)
                return
        if len(addr) == 4:
            self.broadcasts.pop(last_address(addr, length), None)
        self.cache.clear()

    def add_route(self, prefix: bytes, length: int, route: Route) -> None:
        """Add a route; of equal prefixes the one with the lowest metric is used, of equal metrics the first."""
        key = length if len(prefix) == 4 else length + 1000
        by_prefix = self.prefixes.get(key)
        if by_prefix is None:
            by_prefix = {}
            self.prefixes[key] = by_prefix
            lengths = self.lengths4 if len(prefix) == 4 else self.lengths6
            lengths.append(length)
            lengths.sort(reverse=True)
        routes = by_prefix.setdefault(masked(prefix, length), [])
        at = 0
        while at < len(routes) and routes[at].metric <= route.metric:
            at += 1
        routes.insert(at, route)
        self.cache.clear()

    def add_default(self, gateway: bytes, device: NetDevice, source: bytes = b"") -> None:
        """The default route of the gateway's family."""
        self.add_route(bytes(len(gateway)), 0, Route(Reach.UNICAST, device, gateway, source))

    def remove_route(self, prefix: bytes, length: int, device: NetDevice | None, gateway: bytes = b"") -> None:
        """Remove a route. OSError ESRCH if there is none like it."""
        if not self._forget(masked(prefix, length), length, device, gateway):
            raise os_error(errno.ESRCH)
        self.cache.clear()

    def known_prefixes(self) -> list[tuple[bytes, int]]:
        """(prefix, length) of every route of the table, IPv4 first, in no particular order otherwise."""
        return [(prefix, key % 1000) for key in sorted(self.prefixes) for prefix in self.prefixes[key]]

    def set_ecn(self, prefix: bytes, length: int, ecn: bool) -> None:
        """`ip route change PREFIX features ecn`, or without it, for all routes of it. OSError ESRCH if none."""
        routes = self.prefixes.get(length if len(prefix) == 4 else length + 1000, {}).get(masked(prefix, length))
        if not routes:
            raise os_error(errno.ESRCH)
        for at, old in enumerate(routes):
            routes[at] = Route(old.reach, old.device, old.gateway, old.source, old.mtu, old.metric, ecn, old.path)
        self.cache.clear()

    def set_path(self, prefix: bytes, length: int, path: PathMetrics) -> None:
        """`ip route change PREFIX initcwnd 20 ...` for all routes of it, from now on. OSError ESRCH if none."""
        routes = self.prefixes.get(length if len(prefix) == 4 else length + 1000, {}).get(masked(prefix, length))
        if not routes:
            raise os_error(errno.ESRCH)
        for at, old in enumerate(routes):
            routes[at] = Route(old.reach, old.device, old.gateway, old.source, old.mtu, old.metric, old.ecn, path)
        self.cache.clear()

    def set_up(self, device: NetDevice, up: bool) -> None:
        """Bring a device up or down; the routes of one that is down are not used."""
        device.up = up
        self.cache.clear()

    def is_local(self, addr: bytes) -> bool:
        """Whether the address is ours: one that an interface has, or loopback."""
        return addr in self.local or (self.loopback is not None and is_loopback(addr))

    def classify(self, addr: bytes) -> AddressKind:
        """What the address means here, whichever interface a packet arrived on (the weak host model)."""
        if addr in self.local:
            return AddressKind.LOCAL
        if is_multicast(addr):
            return AddressKind.MULTICAST
        if addr == BROADCAST4 or addr in self.broadcasts:
            return AddressKind.BROADCAST
        if not any(addr):
            return AddressKind.ANY
        return AddressKind.LOCAL if self.is_local(addr) else AddressKind.UNICAST

    def find(self, dst: bytes) -> Route | None:
        """The decision for a destination, or None without a route. Cached until the table changes."""
        found = self.cache.get(dst)
        if found is None:
            found = self.decide(dst, None)
            if found is not None:
                if len(self.cache) >= MAX_CACHED:
                    self.cache.clear()
                self.cache[dst] = found
        return found

    def lookup(self, dst: bytes, device: NetDevice | None = None) -> Route:
        """As `find`, for a socket call: OSError ENETUNREACH without a route, and the errno of a refusing route."""
        route = self.find(dst) if device is None else self.decide(dst, device)
        if route is None:
            raise os_error(errno.ENETUNREACH)
        if route.reach is Reach.UNREACHABLE:
            raise os_error(errno.EHOSTUNREACH)
        if route.reach is Reach.PROHIBIT:
            raise os_error(errno.EACCES)
        if route.reach is Reach.BLACKHOLE:
            raise os_error(errno.EINVAL)
        return route

    def decide(self, dst: bytes, device: NetDevice | None) -> Route | None:
        """Work out a decision, only by routes of `device` if one is given (SO_BINDTODEVICE, IP_MULTICAST_IF)."""
        kind = self.classify(dst)
        if kind is AddressKind.LOCAL:
            return Route(Reach.LOCAL, self.loopback, b"", self._own_source(dst))
        if kind is AddressKind.ANY:
            # Linux sends what is meant for the unspecified address to itself (ip_route_output_key_hash_rcu).
            own = LOOPBACK4 if len(dst) == 4 else LOOPBACK6
            return Route(Reach.LOCAL, self.loopback, b"", own)
        entry = self._longest(dst, device)
        if entry is None:
            if device is None:
                return self._link_scope(dst, kind)
            # Told which device to use and without a route, Linux takes the destination to be on its link.
            entry = Route(Reach.UNICAST, device)
        reach = entry.reach
        gateway = entry.gateway
        if reach is Reach.UNICAST and kind is not AddressKind.UNICAST:
            reach = Reach.MULTICAST if kind is AddressKind.MULTICAST else Reach.BROADCAST
            gateway = b""
        source = entry.source
        if not source and entry.device is not None:
            source = self.source_for(gateway or dst, entry.device)
        return Route(reach, entry.device, gateway, source, entry.mtu, entry.metric, entry.ecn, entry.path)

    def source_for(self, dst: bytes, device: NetDevice) -> bytes:
        """The source address for a next hop on a device: RFC 6724 rules 2 and 8, inet_select_addr; b'' if none."""
        best = b""
        best_match = -1
        for addr, length in device.addresses:
            if len(addr) != len(dst):
                continue
            if len(dst) == 4:
                # IPv4: the first address whose subnet has the next hop, else the first one.
                match = 1 if masked(dst, length) == masked(addr, length) else 0
            else:
                match = _ipv6_match(addr, dst)
            if match > best_match:
                best = addr
                best_match = match
        if best:
            return best
        for other in self.devices:
            for addr, _ in other.addresses:
                if len(addr) == len(dst) and not is_loopback(addr) and not is_link_local(addr):
                    return addr
        return b""

    def mtu(self, dst: bytes, now: i64) -> i64:
        """The path MTU towards dst in octets: learned, the route's or the device's; 0 without a route."""
        route = self.find(dst)
        if route is None:
            return 0
        return self.route_mtu(route, dst, now)

    def route_mtu(self, route: Route, dst: bytes, now: i64) -> i64:
        """As `mtu`, for a decision that is at hand."""
        limit = route.mtu
        if limit == 0:
            limit = 65536 if route.device is None else route.device.mtu
        if self.learned:
            known = self.learned.get(dst)
            if known is not None:
                if known.expires <= now:
                    del self.learned[dst]
                elif known.mtu < limit:
                    limit = known.mtu
        return limit

    def mtu_locked(self, dst: bytes, now: i64) -> bool:
        """Whether packets to dst go without DF because a path claimed less than MIN_PMTU."""
        known = self.learned.get(dst)
        return known is not None and known.locked and known.expires > now

    def learn_mtu(self, dst: bytes, mtu: i64, now: i64) -> bool:
        """Note an ICMP message's next-hop MTU (__ip_rt_update_pmtu, __ip6_rt_update_pmtu); whether the MTU fell.

        RFC 8201 and Linux never let such a message raise the MTU. An IPv4 router that
        gives none (0) is answered by `plateau` before.
        """
        current = self.mtu(dst, now)
        if mtu > current or current == 0:
            return False
        locked = False
        if len(dst) == 16:
            if mtu < IPV6_MIN_MTU or mtu >= current:
                return False
        elif mtu < MIN_PMTU:
            locked = True
            mtu = min(current, MIN_PMTU)
        if dst not in self.learned and len(self.learned) >= MAX_EXCEPTIONS:
            del self.learned[next(iter(self.learned))]
        self.learned.pop(dst, None)
        self.learned[dst] = PathMtu(mtu, now + MTU_EXPIRES, locked)
        return mtu < current or locked

    def mtu_expires(self, dst: bytes) -> i64:
        """When the learned MTU is forgotten; NEVER if none was learned."""
        known = self.learned.get(dst)
        return NEVER if known is None else known.expires

    def join(self, group: bytes, device: NetDevice) -> None:
        """Join a multicast group on a device; counted, so that each join needs a leave."""
        key = (group, device.name)
        self.groups[key] = self.groups.get(key, 0) + 1

    def leave(self, group: bytes, device: NetDevice) -> None:
        """Undo one join."""
        key = (group, device.name)
        count = self.groups[key] - 1
        if count:
            self.groups[key] = count
        else:
            del self.groups[key]

    def is_member(self, group: bytes, device: NetDevice) -> bool:
        """Whether packets to the group that arrive on the device are for us."""
        if group in (ALL_HOSTS4, ALL_NODES6):
            return True
        if len(group) == 16 and group[:13] == b"\xff\x02" + bytes(9) + b"\x01\xff":
            # Solicited-node groups of our own addresses (RFC 4291 2.7.1).
            for addr in self.local:
                if len(addr) == 16 and addr[13:] == group[13:]:
                    return True
        return (group, device.name) in self.groups

    def _connect(self, device: NetDevice, addr: bytes, length: int) -> None:
        self.local[addr] = device
        self.own[addr] = addr
        prefix = masked(addr, length)
        if len(addr) == 4 and length < 31 and not device.loopback:
            self.broadcasts[last_address(addr, length)] = device
        if length == 8 * len(addr) and not device.loopback:
            return
        key = length if len(addr) == 4 else length + 1000
        for route in self.prefixes.get(key, {}).get(prefix, []):
            if route.device is device and not route.gateway:
                return
        # IPv4's connected route prefers the address it came with; IPv6 chooses by RFC 6724.
        self.add_route(prefix, length, Route(Reach.UNICAST, device, b"", addr if len(addr) == 4 else b""))

    def _forget(self, prefix: bytes, length: int, device: NetDevice | None, gateway: bytes) -> bool:
        key = length if len(prefix) == 4 else length + 1000
        by_prefix = self.prefixes.get(key)
        routes = None if by_prefix is None else by_prefix.get(prefix)
        if by_prefix is None or routes is None:
            return False
        for route in routes:
            if route.device is device and route.gateway == gateway:
                routes.remove(route)
                if not routes:
                    del by_prefix[prefix]
                return True
        return False

    def _longest(self, dst: bytes, device: NetDevice | None) -> Route | None:
        four = len(dst) == 4
        for length in self.lengths4 if four else self.lengths6:
            routes = self.prefixes[length if four else length + 1000].get(masked(dst, length))
            if routes is None:
                continue
            for route in routes:
                out = route.device
                if out is None or (out.up and (device is None or device is out)):
                    return route
        return None

    def _link_scope(self, dst: bytes, kind: AddressKind) -> Route | None:
        """IPv6 has ff00::/8 and fe80::/10 on every device; IPv4 has nothing of the kind without a route."""
        if len(dst) == 4 or not (kind is AddressKind.MULTICAST or is_link_local(dst)):
            return None
        for device in self.devices:
            if device.up and not device.loopback:
                reach = Reach.MULTICAST if kind is AddressKind.MULTICAST else Reach.UNICAST
                return Route(reach, device, b"", self.source_for(dst, device))
        return None

    def _own_source(self, dst: bytes) -> bytes:
        """To one of our addresses we send from that address; within 127/8 from 127.0.0.1."""
        if dst in self.local:
            return dst
        return LOOPBACK4 if len(dst) == 4 else LOOPBACK6


PLATEAUS: Final = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 216, 128, 68)
"""RFC 1191 section 7: MTUs to fall back to when a router does not name one."""


def plateau(size: i64) -> i64:
    """The next MTU below a datagram of `size` octets that was too big (RFC 1191 section 7.1)."""
    for step in PLATEAUS:
        if size > step:
            return step
    return 68


def masked(addr: bytes, length: int) -> bytes:
    """The first `length` bits of an address, the rest 0."""
    bits = 8 * len(addr)
    if length >= bits:
        return addr
    shift = bits - length
    return (int.from_bytes(addr, "big") >> shift << shift).to_bytes(len(addr), "big")


def last_address(addr: bytes, length: int) -> bytes:
    """The prefix's highest address: for IPv4 its directed broadcast."""
    bits = 8 * len(addr)
    return (int.from_bytes(addr, "big") | ((1 << (bits - length)) - 1)).to_bytes(len(addr), "big")


def is_multicast(addr: bytes) -> bool:
    """224.0.0.0/4 or ff00::/8."""
    return addr[0] & 0xF0 == 0xE0 if len(addr) == 4 else addr[0] == 0xFF


def is_loopback(addr: bytes) -> bool:
    """127.0.0.0/8 or ::1."""
    return addr[0] == 127 if len(addr) == 4 else addr == LOOPBACK6


def is_link_local(addr: bytes) -> bool:
    """169.254.0.0/16 or fe80::/10."""
    if len(addr) == 4:
        return addr[0] == 169 and addr[1] == 254
    return addr[0] == 0xFE and addr[1] & 0xC0 == 0x80


def _ipv6_match(addr: bytes, dst: bytes) -> int:
    """How well a source fits: the same scope first (RFC 6724 rule 2), then the longest common prefix (rule 8)."""
    link_dst = is_link_local(dst) or (dst[0] == 0xFF and dst[1] & 0x0F == 2)
    same_scope = 1000 if is_link_local(addr) == link_dst else 0
    common = 128 - (int.from_bytes(addr, "big") ^ int.from_bytes(dst, "big")).bit_length()
    return same_scope + common
