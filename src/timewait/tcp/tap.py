"""What can be observed from outside: the one interface between the stack and whoever listens.

The stack calls a `Tap` only where one is set, so that without a listener it costs a
single comparison. `record.Record` is the listener; everything people see comes from it.
"""

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.reasons import Drop
from timewait.tcp.states import Cause, State
from timewait.wire.packet import Packet


@mypyc_attr(allow_interpreted_subclasses=True)
class Tap:
    """Listener with empty methods: override what you want to hear. `flow` is the peer-to-us demux key."""

    def sent(self, host: str, packet: Packet, now: i64) -> None:
        """A host put this packet on its wire; `packet.why` says why. Sets packet.uid to number the transmission."""

    def received(self, host: str, packet: Packet, now: i64) -> None:
        """A packet reached a host, before the host judged it."""

    def dropped(self, where: str, packet: Packet | None, drop: Drop, now: i64) -> None:
        """A host or link discarded a packet; None where it could not even be parsed."""

    def moved(self, host: str, flow: bytes, old: State, new: State, cause: Cause, now: i64) -> None:
        """A connection changed state."""

    def timer(self, host: str, flow: bytes, name: str, now: i64) -> None:
        """A connection's timer fired: 'rto', 'delack', 'keepalive', 'persist', 'tlp', 'time_wait', 'synack', ..."""

    def called(self, host: str, process: str, call: str, result: str, now: i64) -> None:
        """A program made a socket call: 'connect(3, 10.0.0.2:80)' and 'EINPROGRESS'."""

    def noted(self, where: str, text: str, now: i64) -> None:
        """Something an experiment wants said in its record: 'cable unplugged'."""
