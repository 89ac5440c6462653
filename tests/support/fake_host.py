"""A host that only notes what arrives: for tests of what lies between hosts."""

from timewait.base.instant import NEVER
from timewait.host.host import Host, Interface
from timewait.host.route import RouteTable
from timewait.wire.address import pack, parse_prefix
from timewait.wire.packet import ACK, Datagram, Packet, Segment, make_flow


class FakeHost(Host):
    """A host without protocols and without a loopback device; `got` is [(ns, packet or bytes)]."""

    def __init__(self, name, clock, *addresses, tap=None):
        super().__init__(name, clock, tap=tap)
        self.interfaces = []
        self.routes = RouteTable()
        self.got = []
        self.due = NEVER
        self.fired = []
        for number, address in enumerate(addresses):
            self.add_interface(f"eth{number}", address)

    def add_interface(self, name, *addresses, mtu=1500):
        iface = Interface(name, mtu)
        iface.addresses.extend(parse_prefix(text) for text in addresses)
        self.interfaces.append(iface)
        self.routes.add_device(iface)
        return iface

    def receive(self, packet, iface):
        if self.tap is not None:
            self.tap.received(self.name, packet, self.clock.now())
        self.got.append((self.clock.now(), packet))

    def receive_bytes(self, data, iface, verified=False):
        self.got.append((self.clock.now(), bytes(data)))

    def next_timeout(self):
        return self.due

    def on_timeout(self):
        self.fired.append(self.clock.now())
        self.due = NEVER

    def send(self, packet: Packet, interface=0):
        if self.tap is not None:
            self.tap.sent(self.name, packet, self.clock.now())
        self.interfaces[interface].transmit(packet)

    @property
    def times(self):
        return [when for when, _ in self.got]

    @property
    def packets(self):
        return [packet for _, packet in self.got]


def segment(src="10.0.0.1", dst="10.0.0.2", *, sport=40000, dport=80, flags=ACK, seq=0, payload=b"", **fields):
    """A TCP segment, DF set as Linux does."""
    made = Segment()
    made.src, made.dst, made.proto = pack(src), pack(dst), 6
    made.sport, made.dport, made.flags, made.seq = sport, dport, flags, seq
    made.payload, made.length = payload, len(payload)
    made.dont_fragment = True
    made.flow = make_flow(made.src, made.dst, sport, dport)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def datagram(src="10.0.0.1", dst="10.0.0.2", *, sport=5000, dport=53, payload=b"", **fields):
    """A UDP datagram."""
    made = Datagram()
    made.src, made.dst, made.proto = pack(src), pack(dst), 17
    made.sport, made.dport, made.payload = sport, dport, payload
    for name, value in fields.items():
        setattr(made, name, value)
    return made
