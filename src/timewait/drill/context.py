"""What a run knows at each moment: descriptors, sockets under test, connections, time."""

from timewait.base.errors import UsageError
from timewait.drill.connection import CONNECTING, LISTENING, NEW, OPEN, TestConnection
from timewait.drill.machine import Address, Machine
from timewait.drill.options import RunOptions
from timewait.host.ports import AF_INET, AF_INET6
from timewait.wire.address import pack
from timewait.wire.packet import SYN, Segment

FIRST_PORT = 40000
"""The peer's first port, where it connects to us."""


class Context:
    """The state of one run."""

    def __init__(self, machine: Machine, options: RunOptions) -> None:
        self.machine = machine
        self.options = options
        self.family = AF_INET if options.ip_version == "ipv4" else AF_INET6
        self.local, self.remote = pack(options.local), pack(options.remote)
        mapped = "::ffff:" if options.ip_version == "ipv4-mapped-ipv6" else ""
        self.bind_address = mapped + options.local
        self.connect_address = mapped + options.remote
        self.descriptors: dict[int, int] = {}
        """The machine's descriptor for each of the script's."""
        self.sockets: dict[int, TestConnection] = {}
        self.connections: list[TestConnection] = []
        self.current: TestConnection | None = None
        """The connection under test: injected packets are its own."""
        self.start = machine.now()
        """The machine's time when the script began, ns."""
        self._next_port = FIRST_PORT

    def fd(self, script: int) -> int:
        """The machine's descriptor. One that the script never got is passed on as it is, and gives EBADF."""
        return self.descriptors.get(script, script if script < 0 else 900_000 + script)

    def script_wall_time(self, wall: int) -> int:
        """A timestamp of the machine (ns since 1970) as ns since the script began."""
        return wall - self.machine.wall_origin - self.start

    # What calls change

    def socket_made(self, fd: int, kind: int) -> None:
        """socket(): the new socket is the one under test."""
        conn = self._made(self.local, self.remote)
        conn.fd = fd
        self.sockets[fd] = conn
        self.connections.append(conn)
        self.current = conn

    def bound(self, fd: int, port: int) -> None:
        conn = self.sockets.get(fd)
        if conn is not None and port:
            conn.local_port = port

    def listens(self, fd: int) -> None:
        conn = self.sockets.get(fd)
        if conn is not None:
            conn.state = LISTENING

    def connects(self, fd: int, address: Address) -> None:
        """connect(): the next SYN to that address is its own."""
        conn = self.sockets.get(fd)
        if conn is None or conn.state not in (NEW, CONNECTING):
            return
        conn.state = CONNECTING
        conn.remote_port = address[1]
        host = address[0].removeprefix("::ffff:")
        if host:
            conn.remote = pack(host)

    def sends(self, fd: int) -> None:
        """Data may open a connection whose SYN was deferred (TCP_FASTOPEN_CONNECT)."""

    def accepted(self, fd: int, listener: int) -> None:
        """accept(): the connection that waits longest gets its descriptor."""
        parent = self.sockets.get(listener)
        for conn in self.connections:
            if conn.state == OPEN and conn.fd < 0 and (parent is None or conn.local_port == parent.local_port):
                conn.fd = fd
                self.sockets[fd] = conn
                return
        conn = self._made(self.local, self.remote)
        conn.fd, conn.state = fd, OPEN
        self.sockets[fd] = conn

    def closed(self, fd: int) -> None:
        self.sockets.pop(fd, None)
        self.descriptors.pop(fd, None)

    # Which connection a packet belongs to

    def for_inbound(self, ports: tuple[int, int] | None) -> TestConnection:
        """The connection that an injected packet is for; the first one after listen() begins a new one."""
        if ports is not None:
            return self._by_ports(ports[1], ports[0])
        conn = self.current
        if conn is None or conn.state == LISTENING:
            conn = self._child((conn.local_port if conn is not None else 0) or self.options.bind_port)
        if not conn.local_port:
            conn.local_port = self.options.bind_port
        if not conn.remote_port:
            conn.remote_port = self._port()
        self.current = conn
        return conn

    def _child(self, local_port: int) -> TestConnection:
        conn = self._made(self.local, self.remote, local_port, self._port())
        conn.state = OPEN
        self.connections.append(conn)
        return conn

    def _made(self, local: bytes, remote: bytes, local_port: int = 0, remote_port: int = 0) -> TestConnection:
        conn = TestConnection(local, remote, local_port, remote_port)
        conn.secret = self.options.tcp_md5_secret.encode("latin-1")
        return conn

    def _port(self) -> int:
        self._next_port += 1
        return self._next_port - 1

    def _by_ports(self, local: int, remote: int) -> TestConnection:
        for conn in reversed(self.connections):
            if conn.local_port == local and conn.remote_port == remote:
                self.current = conn
                return conn
        listener = next((c for c in self.connections if c.state == LISTENING and c.local_port == local), None)
        unbound = self.current if listener is None else None
        if unbound is not None and not unbound.remote_port:
            conn = unbound
        else:
            conn = self._made(self.local, self.remote)
            conn.state = OPEN
            self.connections.append(conn)
        conn.local_port, conn.remote_port = local, remote
        self.current = conn
        return conn

    def owner(self, seg: Segment, ports: tuple[int, int] | None) -> TestConnection | None:
        """The connection that the stack sent this segment on; None for one that is not under test."""
        if ports is not None:
            if (seg.sport, seg.dport) != ports:
                return None
            return self._by_ports(int(seg.sport), int(seg.dport))
        conn = self.current
        if conn is None or not conn.owns(seg):
            return None
        if (not conn.local_port or not conn.remote_port) and not seg.flags & SYN:
            return None
        return conn

    def under_test(self) -> TestConnection:
        """The connection under test. UsageError before there is a socket."""
        if self.current is None:
            raise UsageError("there is no socket yet")
        return self.current

    def info_fd(self) -> int | None:
        """The machine's descriptor whose TCP_INFO a code block sees."""
        conn = self.current
        if conn is None:
            return None
        if conn.fd >= 0 and conn.fd in self.descriptors:
            return self.descriptors[conn.fd]
        open_fds = [fd for fd, other in self.sockets.items() if other.state == LISTENING and fd in self.descriptors]
        return self.descriptors[open_fds[-1]] if open_fds else None
