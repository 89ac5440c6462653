"""The options of a run: those of the original tool, in the script and on the command line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from timewait.base.errors import UsageError
from timewait.wire.address import pack

VERSIONS: Final = ("ipv4", "ipv6", "ipv4-mapped-ipv6")
NON_FATAL: Final = ("packet", "syscall")

DEFAULT_LOCAL: Final = {"ipv4": "192.168.0.1", "ipv6": "fd3d:fa7b:d17d::1", "ipv4-mapped-ipv6": "192.168.0.1"}
DEFAULT_REMOTE: Final = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "ipv4-mapped-ipv6": "192.0.2.1"}

IGNORED: Final = frozenset(
    "speed verbose v dry_run is_anyip so_filename so_flags wire_client wire_server wire_client_dev wire_server_dev"
    " wire_server_ip wire_server_port code_command code_format code_sockopt debug persistent_tun_dev tun_dev"
    " netmask_ip init_scripts send_omit_free".split()
)
"""Options of the original tool that mean nothing here: accepted, so that its command lines work."""


@dataclass(slots=True)
class RunOptions:
    """How a script is run. Times in ns."""

    ip_version: str = "ipv4"
    local_ip: str = ""
    remote_ip: str = ""
    gateway_ip: str = ""
    bind_port: int = 8080
    connect_port: int = 8080
    mtu: int = 1500
    mss: int = 0
    """Cut injected packets longer than this into one super-segment; 0: not."""
    tolerance: int = 4_000_000
    tolerance_percent: float = 12.5
    ts_tick: int = 0
    """Microseconds per tick of outbound timestamps; 0: their values are not compared."""
    ts_ecr_scaled: bool = False
    strict_segments: bool = False
    non_fatal: frozenset[str] = frozenset()
    profile: str = "linux-6.18"
    seed: int = 1
    udp_encapsulation: str = ""
    tcp_md5_secret: str = ""
    """The key with which `md5 valid` is computed."""
    shell: bool = False
    """Run commands that are not understood in a real shell."""
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def local(self) -> str:
        return self.local_ip or DEFAULT_LOCAL[self.ip_version]

    @property
    def remote(self) -> str:
        return self.remote_ip or DEFAULT_REMOTE[self.ip_version]

    @property
    def version(self) -> int:
        """The IP version on the wire."""
        return 6 if self.ip_version == "ipv6" else 4

    def apply(self, name: str, value: str) -> None:
        """Take one option over. UsageError that says what is valid."""
        if name == "ip_version":
            if value not in VERSIONS:
                raise UsageError(f"--ip_version is one of {', '.join(VERSIONS)}, not {value!r}")
            self.ip_version = value
        elif name in ("local_ip", "remote_ip", "gateway_ip"):
            text = value.removeprefix("::ffff:") if "." in value else value
            pack(text)
            setattr(self, name, text)
        elif name in ("bind_port", "connect_port"):
            setattr(self, name, _number(name, value, 1, 65535))
        elif name == "mtu":
            self.mtu = _number(name, value, 68, 65535)
        elif name == "mss":
            self.mss = _number(name, value, 1, 65535)
        elif name == "tolerance_usecs":
            self.tolerance = _number(name, value, 1, 10**9) * 1000
        elif name == "tolerance_percent":
            self.tolerance_percent = _real(name, value)
        elif name == "tcp_ts_tick_usecs":
            self.ts_tick = _number(name, value, 0, 10**6)
        elif name == "tcp_ts_ecr_scaled":
            self.ts_ecr_scaled = True
        elif name == "strict_segments":
            self.strict_segments = True
        elif name == "non_fatal":
            kinds = frozenset(word for word in re.split(r"[,\s]+", value) if word)
            if not kinds <= set(NON_FATAL):
                raise UsageError(f"--non_fatal takes {', '.join(NON_FATAL)}, not {value!r}")
            self.non_fatal = kinds
        elif name == "tcp_md5_secret":
            self.tcp_md5_secret = value
        elif name == "udp_encapsulation":
            raise UsageError("--udp_encapsulation: TCP in UDP (RFC 6951's way) is not implemented")
        elif name in IGNORED:
            self.ignored[name] = value
        else:
            raise UsageError(f"unknown option --{name}")


def _number(name: str, value: str, low: int, high: int) -> int:
    try:
        found = int(value, 0)
    except ValueError:
        raise UsageError(f"--{name} takes a number, not {value!r}") from None
    if not low <= found <= high:
        raise UsageError(f"--{name} is {low}..{high}, not {found}")
    return found


def _real(name: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        raise UsageError(f"--{name} takes a number, not {value!r}") from None
    if not 0 <= found <= 1000:
        raise UsageError(f"--{name} is 0..1000, not {found}")
    return found


def effective(script: Sequence[tuple[str, str]], command_line: Sequence[tuple[str, str]]) -> RunOptions:
    """The script's options first, the command line's behind them, which therefore win."""
    found = RunOptions()
    for name, value in (*script, *command_line):
        found.apply(name, value)
    return found
