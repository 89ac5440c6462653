"""What happens on a host, told line by line while it happens."""

from collections.abc import Callable

from timewait.base.ints import i64
from timewait.tcp.reasons import Drop
from timewait.tcp.states import Cause, State
from timewait.tcp.tap import Tap
from timewait.wire.address import show_endpoint
from timewait.wire.packet import Packet


class StateLines(Tap):
    """Says each change of state: '0.001204  10.77.0.1:40312  LISTEN -> SYN-RECEIVED  (SYN received)'."""

    def __init__(self, say: Callable[[str], object], host: str = "timewait") -> None:
        self.say = say
        self.host = host

    def moved(self, host: str, flow: bytes, old: State, new: State, cause: Cause, now: i64) -> None:
        if host == self.host:
            self.say(f"{stamp(now)}  {peer(flow):<22}  {old.rfc_name} -> {new.rfc_name}  ({cause.value})")

    def timer(self, host: str, flow: bytes, name: str, now: i64) -> None:
        if host == self.host and name in ("rto", "persist", "keepalive"):
            self.say(f"{stamp(now)}  {peer(flow):<22}  timer: {name}")

    def dropped(self, where: str, packet: Packet | None, drop: Drop, now: i64) -> None:
        if where == self.host:
            self.say(f"{stamp(now)}  {'':<22}  dropped: {drop.name} ({drop.text})")


def stamp(now: int) -> str:
    """An instant in seconds."""
    return f"{now / 1e9:.6f}"


def peer(flow: bytes) -> str:
    """The peer in a flow; 'listener' where there is none."""
    if len(flow) < 12:
        return "listener"
    return show_endpoint(flow[: (len(flow) - 4) // 2], int.from_bytes(flow[-4:-2], "big"))
