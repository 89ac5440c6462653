"""A host at the end of a link."""

from timewait.host.host import Host, Interface
from timewait.wire.packet import Packet
from timewait.world.pipe import Pipe, Port


class HostPort(Port):
    """The link's view of a host's interface."""

    def __init__(self, host: Host, iface: Interface) -> None:
        super().__init__(host.name)
        self.host = host
        self.iface = iface
        self.takes_super = iface.gso_max > 0

    def connect(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.iface.transmit = pipe.send

    def disconnect(self) -> None:
        self.pipe = None
        self.iface.transmit = None

    def prefixes(self) -> list[tuple[bytes, int]]:
        return self.iface.addresses

    def deliver(self, packet: Packet) -> None:
        self.host.receive(packet, self.iface)

    def deliver_bytes(self, data: bytes) -> None:
        self.host.receive_bytes(data, self.iface)
