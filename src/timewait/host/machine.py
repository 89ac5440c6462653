"""What processes and datagram sockets need of the host they are on; `Host` derives from it."""

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.host.file import Socket
from timewait.host.route import NetDevice, Route, RouteTable
from timewait.tcp.counters import Counters
from timewait.tcp.reasons import Drop
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tap import Tap
from timewait.wire.packet import Packet


@mypyc_attr(allow_interpreted_subclasses=True)
class Machine:
    """One computer, seen from its sockets."""

    name: str
    tap: Tap | None
    sysctl: Sysctl
    counters: Counters
    routes: RouteTable

    def now(self) -> i64:
        """The time in ns."""
        raise NotImplementedError

    def wall_time(self, at: i64) -> i64:
        """An instant of this machine's clock (ns) as its programs see the time of day: timestamps on packets."""
        return at

    def make_socket(self, family: int, type: int, proto: int) -> Socket:
        """A new open socket with one reference. OSError EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT."""
        raise NotImplementedError

    def output(self, packet: Packet, route: Route) -> None:
        """Transmit a packet that fits the route's MTU, or deliver it here if the route is local."""
        raise NotImplementedError

    def loop(self, packet: Packet, device: NetDevice) -> None:
        """Receive a copy of what we sent to a group, as if it had arrived on the device."""
        raise NotImplementedError

    def timeout_changed(self) -> None:
        """A deadline came up that is earlier than any before."""
        raise NotImplementedError

    def dropped(self, packet: Packet | None, drop: Drop) -> None:
        """Report a discarded packet to whoever listens."""
        if self.tap is not None:
            self.tap.dropped(self.name, packet, drop, self.now())
