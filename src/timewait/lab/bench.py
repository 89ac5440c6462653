"""What a lab works with: a world of two machines, their programs, and the record to be measured.

The machines are called client (10.0.0.1) and server (10.0.0.2) and are joined by one
link. Whether they are ours or kernels, their processes take the same calls. Time passes
only in `run`, `until` and the methods that say that they wait.
"""

import errno
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from timewait.base.errors import UsageError, errno_name
from timewait.base.instant import SEC
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.lab.frame import Lab, T
from timewait.lab.judge import Judge, LabError
from timewait.lab.kernels import KernelStates
from timewait.lab.puppet import Puppet
from timewait.record.record import Record
from timewait.tcp.states import State
from timewait.wire.address import show
from timewait.world.clock import RealClock
from timewait.world.faults import Fault, What
from timewait.world.kernel import KernelHost
from timewait.world.kernel_process import KernelProcess
from timewait.world.link import Link
from timewait.world.network import World

Computer: TypeAlias = Host | KernelHost
Program: TypeAlias = Process | KernelProcess

ADDRESSES: Final = {"client": "10.0.0.1", "server": "10.0.0.2"}
PORT: Final = 80
"""Where servers listen."""
PATIENCE: Final = 30 * SEC
"""How long waiting helpers wait, unless told otherwise."""
READABLE: Final = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
WRITABLE: Final = select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP


class Setting:
    """How a lab is to be run: what the command line offers."""

    def __init__(
        self,
        *,
        on: str = "sim",
        kernel: str = "server",
        profile: str = "",
        sysctl: Sequence[tuple[str, str, object]] = (),
        variant: str = "",
        seed: int = 1,
        hurried: bool = False,
    ) -> None:
        self.on = on
        self.kernel = kernel
        """Which side is the kernel's in 'live'."""
        self.profile = profile
        """'' for the lab's own."""
        self.sysctl = sysctl
        """(host or '' for both, name, value), stronger than what the lab sets."""
        self.variant = variant
        self.seed = seed
        self.hurried = hurried
        """Waits are as short as where real time passes, for comparison with such a run."""


class Pair:
    """An open connection: a descriptor at each end, with the program that holds it."""

    def __init__(self, client: Program, cfd: int, server: Program, sfd: int, listener: int) -> None:
        self.client = client
        self.cfd = cfd
        self.server = server
        self.sfd = sfd
        self.listener = listener


class SocketView:
    """One socket, half-open connection or TIME-WAIT record of a host, as `ss` shows it."""

    def __init__(
        self,
        state: State,
        local: tuple[str, int],
        remote: tuple[str, int],
        recv_q: int,
        send_q: int,
        timer: str,
        owned: bool = True,
    ) -> None:
        self.state = state
        self.local = local
        self.remote = remote
        self.recv_q = recv_q
        self.send_q = send_q
        self.timer = timer
        self.owned = owned
        """Whether a program has a descriptor for it: not before accept(), nor after close()."""


class Bench(Judge):
    """One run's world. Labs get it ready made; `another()` makes one more for a comparison."""

    def __init__(
        self, lab: Lab, setting: Setting, *, sysctl: Mapping[str, object] | None = None, label: T | None = None
    ) -> None:
        self.lab = lab
        self.setting = setting
        super().__init__(setting.on, label)
        self.variant = setting.variant
        self.others: list[Bench] = []
        self._extra = dict(sysctl or {})
        self._states = KernelStates()
        self._kernels: list[KernelHost] = []
        clock = "virtual" if self.on == "sim" else "real"
        self.world = World(setting.seed, clock, listeners=() if self.on == "sim" else (self._states,))
        self.record.meta.update(lab=lab.id, title=lab.title.en, profile=self.profile, on=self.on)
        self._built: dict[str, Computer] = {}
        self._puppet: Puppet | None = None
        self._link: Link | None = None
        try:
            if lab.topology != "own":
                self._pair()
        except BaseException:
            self.close()
            raise

    @property
    def hurried(self) -> bool:
        """Whether the lab should keep its own pauses short: real time passes, here or in the run to be matched."""
        return self.on != "sim" or self.setting.hurried

    # Building

    @property
    def profile(self) -> str:
        """The kernel that our hosts imitate."""
        return self.setting.profile or self.lab.profile

    @property
    def record(self) -> Record:
        return self.world.record

    def _pair(self) -> None:
        ends: list[Computer | Puppet] = []
        for name in ("client", "server"):
            if self.lab.topology == "puppet-" + name:
                other = "server" if name == "client" else "client"
                address = ADDRESSES[name] + "/24"
                self._puppet = Puppet(name, self.world.clock, address, ADDRESSES[other], self.world.tap)
                ends.append(self._puppet)
            else:
                ends.append(self.machine(name, ADDRESSES[name] + "/24"))
        self._link = self.world.link(ends[0], ends[1], delay=self.lab.rtt // 2)

    def machine(self, name: str, *addresses: str, kernel: bool | None = None) -> Computer:
        """A new host, of ours or a kernel's as the run demands, with the lab's profile and sysctls."""
        if kernel is None:
            kernel = self.on == "kernel" or (self.on == "live" and self.setting.kernel == name)
        if not kernel:
            host = self.world.host(name, *addresses, profile=self.profile)
            self._built[name] = host
        else:
            made = KernelHost(name, self.world.clock, *addresses, tap=self.world.tap)
            self._kernels.append(made)
            assert self.world.tap is not None
            self._states.watch(made, self.world.record)
            self._built[name] = made
        self._configure(name)
        return self._built[name]

    def _configure(self, name: str) -> None:
        """The lab's own sysctls where this kernel has them, then what the caller asks for."""
        wanted: dict[str, object] = dict(self.lab.sysctl)
        if self.on != "sim":
            wanted |= {"net.ipv4.tcp_congestion_control": "reno", **self.lab.live}
        host = self._built[name]
        for key, value in (wanted | self._extra).items():
            if not isinstance(host, Host) or key in host.sysctl.names():
                self.set_sysctl(name, key, value)
        for where, key, value in self.setting.sysctl:
            if where in ("", name):
                self.set_sysctl(name, key, value)

    def configure(self, sysctl: Mapping[str, object]) -> None:
        """What a variant sets on both hosts; where `--set` has named a parameter, that stays."""
        chosen = {name for _, name, _ in self.setting.sysctl}
        for host in self._built:
            for name, value in sysctl.items():
                machine = self._built[host]
                if name not in chosen and (not isinstance(machine, Host) or name in machine.sysctl.names()):
                    self.set_sysctl(host, name, value)

    def another(
        self,
        label: T,
        *,
        sysctl: Mapping[str, object] | None = None,
        variant: str | None = None,
        profile: str | None = None,
    ) -> "Bench":
        """A second world like this one, with other sysctls: for labs that compare. Its ladder is drawn too."""
        setting = self.setting
        if variant is not None or profile is not None:
            setting = Setting(
                on=setting.on,
                kernel=setting.kernel,
                profile=setting.profile if profile is None else profile,
                sysctl=setting.sysctl,
                variant=setting.variant if variant is None else variant,
                seed=setting.seed,
                hurried=setting.hurried,
            )
        made = Bench(self.lab, setting, sysctl=sysctl, label=label)
        made.checks = self.checks
        self.others.append(made)
        return made

    def close(self) -> None:
        """Give back what a kernel lent: namespaces, descriptors."""
        for other in self.others:
            other.close()
        if self._kernels:
            self._states.stop()
        for kernel in self._kernels:
            kernel.tap = None  # What is torn down afterwards is no part of the experiment.
            kernel.close()
        self._kernels = []
        if isinstance(self.world.clock, RealClock):
            self.world.clock.close()

    # Who is there

    @property
    def client(self) -> Computer:
        """The host at 10.0.0.1."""
        return self.computer("client")

    @property
    def server(self) -> Computer:
        """The host at 10.0.0.2."""
        return self.computer("server")

    @property
    def puppet(self) -> Puppet:
        """The machine whose segments the lab writes."""
        if self._puppet is None:
            raise UsageError(f"{self.lab.id} has no puppet: topology='puppet-client' or 'puppet-server'")
        return self._puppet

    @property
    def link(self) -> Link:
        """The cable between client and server, with all its faults."""
        if self._link is None:
            raise UsageError(f"{self.lab.id} builds its own topology: use bench.world.link(...)")
        return self._link

    def computer(self, name: str) -> Computer:
        """A host by name."""
        if name not in self._built:
            raise UsageError(f"no host {name!r}; there are {', '.join(self._built) or 'none'}")
        return self._built[name]

    def look(self) -> None:
        self._states.look()

    def simulated(self, name: str) -> Host:
        """A host of ours, for labs with on=SIM that reach inside (power, tables)."""
        host = self.computer(name)
        assert isinstance(host, Host), f"{name} is a kernel"
        return host

    def is_kernel(self, name: str) -> bool:
        return isinstance(self._built.get(name), KernelHost)

    def program(self, host: str, name: str = "") -> Program:
        """A new process on a host."""
        return self.computer(host).process(name or host)

    def sysctl(self, name: str, host: str = "server") -> int:
        """The value that counts at a host; where its kernel has no such parameter, how it behaves."""
        machine = self.computer(host)
        if isinstance(machine, KernelHost):
            return int(machine.get_sysctl(name).split()[0])
        if name not in machine.sysctl.names():
            return int(getattr(machine.sysctl, name.rpartition(".")[2]))
        value = machine.sysctl[name]
        assert isinstance(value, int)
        return value

    def probes(self, host: str) -> bool:
        """Whether connections of a host use tail loss probes: tcp_early_retrans, and SACK at both ends."""
        sack = all(self.sysctl("net.ipv4.tcp_sack", name) for name in self._built)
        return sack and self.sysctl("net.ipv4.tcp_early_retrans", host) in (3, 4)

    def set_sysctl(self, host: str, name: str, value: object) -> None:
        """Set a parameter of one host, now."""
        machine = self.computer(host)
        if isinstance(machine, KernelHost):
            machine.set_sysctl(name, value)
        else:
            machine.sysctl[name] = value

    # Time

    @property
    def now(self) -> int:
        """ns since the world began."""
        return self.world.now

    def run(self, duration: int) -> None:
        """Let `duration` ns pass."""
        self.world.run(duration)

    def finish(self, limit: int = 400 * 86_400 * SEC) -> None:
        """Run until nothing is left to happen; in real time, which never ends, for at most `limit` ns."""
        if self.on == "sim":
            self.world.run(None, max_time=limit)
        else:
            self.world.run(limit)

    def until(self, condition: Callable[[], object], waiting_for: str, timeout: int = PATIENCE) -> None:
        """Let time pass until the condition holds. LabError after `timeout` ns."""
        if not self.world.run_until(lambda: bool(condition()), timeout):
            raise LabError(f"waited {timeout / SEC:g} s in vain for {waiting_for}")

    def within(self, condition: Callable[[], object], timeout: int) -> bool:
        """The same, saying whether the condition came to hold."""
        return self.world.run_until(lambda: bool(condition()), timeout)

    # Programs: helpers that wait as a blocking call would

    def listen(self, program: Program, *, port: int = PORT, backlog: int = 128) -> int:
        """A listening socket, SO_REUSEADDR set."""
        fd = program.socket(socket.AF_INET, socket.SOCK_STREAM)
        program.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        program.bind(fd, ("0.0.0.0", port))
        program.listen(fd, backlog)
        return fd

    def connect(self, program: Program, *, to: str = "server", port: int = PORT, sport: int = 0) -> int:
        """Begin a connection, from port `sport` if given; `outcome` tells what becomes of it."""
        fd = program.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sport:
            program.setsockopt(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            program.bind(fd, ("0.0.0.0", sport))
        self.try_connect(program, fd, to=to, port=port)
        return fd

    def try_connect(self, program: Program, fd: int, *, to: str = "server", port: int = PORT) -> None:
        """connect() on a socket that exists already."""
        try:
            program.connect(fd, (ADDRESSES.get(to, to), port))
        except BlockingIOError as error:
            if error.errno != errno.EINPROGRESS:
                raise

    def outcome(self, program: Program, fd: int, timeout: int = 3600 * SEC) -> str:
        """Wait until connect() has ended: 'OK', or the name of its errno."""
        self.until(lambda: program.poll([(fd, WRITABLE)]), "connect() to end", timeout)
        return self.error(program, fd)

    def error(self, program: Program, fd: int) -> str:
        """getsockopt(SO_ERROR): 'OK', or the name of the errno that waits for the program."""
        value = program.getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR)
        assert isinstance(value, int)
        return errno_name(value) if value else "OK"

    def accept(self, program: Program, listener: int, timeout: int = PATIENCE) -> int:
        """Wait for a connection and take it."""
        self.until(lambda: program.poll([(listener, READABLE)]), "a connection to accept", timeout)
        return program.accept(listener)[0]

    def open(self, *, port: int = PORT, sport: int = 0, settle: bool = True) -> Pair:
        """A new connection of two new programs; `settle` lets what the handshake left over (an ACK) pass."""
        server = self.program("server")
        client = self.program("client")
        listener = self.listen(server, port=port)
        cfd = self.connect(client, port=port, sport=sport)
        came = self.outcome(client, cfd, PATIENCE)
        if came != "OK":
            raise LabError(f"connect() gave {came}")
        sfd = self.accept(server, listener)
        if settle:
            self.run(self.lab.rtt)
        return Pair(client, cfd, server, sfd, listener)

    def read(self, program: Program, fd: int, count: int, timeout: int = PATIENCE) -> bytes:
        """Wait for `count` octets or the end of the stream. OSError as recv() raises it."""
        got = b""
        deadline = self.now + timeout
        while len(got) < count:
            self.until(lambda: program.poll([(fd, READABLE)]), f"{count} octets", max(deadline - self.now, 0))
            part = program.recv(fd, count - len(got))
            if not part:
                break
            got += part
        return got

    def read_end(self, program: Program, fd: int, timeout: int = PATIENCE) -> bytes:
        """Wait for the end of the stream and give everything before it."""
        got = b""
        while True:
            self.until(lambda: program.poll([(fd, READABLE)]), "the end of the stream", timeout)
            part = program.recv(fd, 65536)
            if not part:
                return got
            got += part

    def write(self, program: Program, fd: int, data: bytes, timeout: int = 3600 * SEC) -> None:
        """Send all of it, waiting for room in the send buffer."""
        view = memoryview(data)
        while view:
            try:
                view = view[program.send(fd, view) :]
            except BlockingIOError:
                self.until(lambda: program.poll([(fd, WRITABLE)]), "room to send", timeout)

    def transfer(self, pair: Pair, data: bytes, timeout: int = 3600 * SEC) -> bytes:
        """Let the client send all of it while the server reads: what the server has read."""
        view = memoryview(data)
        got = bytearray()
        deadline = self.now + timeout
        while len(got) < len(data):
            if view and pair.client.poll([(pair.cfd, WRITABLE)]):
                view = view[pair.client.send(pair.cfd, view) :]
                continue
            if pair.server.poll([(pair.sfd, READABLE)]):
                part = pair.server.recv(pair.sfd, 1 << 20)
                if not part:
                    break
                got += part
                continue
            left = max(deadline - self.now, 0)
            writer = [(pair.cfd, WRITABLE)] if view else []
            self.until(
                lambda writer=writer: pair.server.poll([(pair.sfd, READABLE)]) or pair.client.poll(writer),  # type: ignore[misc]
                f"{len(data) - len(got)} octets more",
                left,
            )
        return bytes(got)

    def attempt(self, call: Callable[[], object]) -> str:
        """What a call comes to: 'OK', 'EOF' for b'', or the name of its errno."""
        try:
            value = call()
        except OSError as error:
            return errno_name(error.errno or 0)
        return "EOF" if value == b"" else "OK"

    # Faults

    def drop(self, what: What) -> Fault:
        """Lose packets by words: 'every SYN-ACK', '2nd FIN from server' (see `world.words`)."""
        return self.link.drop(what)

    def power_off(self, host: str) -> None:
        """The machine stops in its tracks: nothing is closed, nothing more is sent."""
        self.note(f"{host} loses power")
        self.computer(host).power_off()

    def power_on(self, host: str) -> None:
        """The machine boots, with an empty memory. LabError for a kernel that holds what no program does."""
        machine = self.computer(host)
        if isinstance(machine, KernelHost):
            machine.forget()
            left = machine.states()
            if left:
                raise LabError(f"{host} is a kernel, which cannot forget {len(left)} connections without a program")
        self.note(f"{host} boots")
        machine.power_on()

    def note(self, text: str) -> None:
        """A remark in the record, drawn in the ladder."""
        if self.world.tap is not None:
            self.world.tap.noted("lab", text, self.now)

    # What the hosts know

    def sockets(self, host: str, *states: State) -> list[SocketView]:
        """What `ss -a` shows now at a host, of these states or of all."""
        machine = self.computer(host)
        views: list[SocketView] = []
        if isinstance(machine, KernelHost):
            for entry in machine.states():
                views.append(
                    SocketView(
                        entry.state,
                        entry.local,
                        entry.remote,
                        entry.receive_queue,
                        entry.send_queue,
                        entry.timer,
                        entry.inode != 0,
                    )
                )
        else:
            for row in machine.rows():
                local, remote = (show(row.local[0]), row.local[1]), (show(row.remote[0]), row.remote[1])
                recv_q, send_q = int(row.recv_q), int(row.send_q)
                views.append(SocketView(row.state, local, remote, recv_q, send_q, row.timer, row.fd >= 0))
        return [view for view in views if not states or view.state in states]

    def state(self, host: str) -> State:
        """The state of the one connection a host has now; CLOSED when there is none."""
        found = [view for view in self.sockets(host) if view.state is not State.LISTEN]
        return found[0].state if found else State.CLOSED

    def counter(self, host: str, name: str) -> int:
        """A counter by nstat's name: 'TcpExtListenOverflows', 'TcpRetransSegs'."""
        machine = self.computer(host)
        if isinstance(machine, KernelHost):
            return machine.counters().get(name, 0)
        return machine.counters.as_dict(False).get(name, 0)
