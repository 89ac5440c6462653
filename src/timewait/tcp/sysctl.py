"""Kernel parameters under Linux's names, typed, with range, meaning and per-kernel defaults.

`Sysctl` holds the values of one host as plain attributes (the hot path reads them);
`SPECS` describes each. Only parameters that do something here can be set: a name that
Linux knows and this stack does not use is refused with a text that says so.
"""

import re
from dataclasses import dataclass
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64
from timewait.tcp.bsd.parameters import BsdParameters

INT_MAX: Final = 2**31 - 1
ECN: Final = "net.ipv4.tcp_ecn"
ECN_OPTION: Final = "net.ipv4.tcp_ecn_option"
"""There is accurate ECN where there is this parameter."""
ALGORITHMS: Final = ("reno", "bbr", "cubic")
"""What tcp.cc has, under Linux's names."""


class Sysctl:
    """The parameters of one network namespace. Defaults are Linux 6.18's."""

    somaxconn: i64 = 4096
    ip_default_ttl: i64 = 64
    ip_local_port_range: tuple[int, int] = (32768, 60999)
    ip_local_reserved_ports: tuple[int, ...] = ()
    ip_no_pmtu_disc: i64 = 0
    ip_nonlocal_bind: i64 = 0
    ipfrag_high_thresh: i64 = 4194304
    ipfrag_time: i64 = 30
    ipfrag_max_dist: i64 = 64
    icmp_echo_ignore_all: i64 = 0
    icmp_ratelimit: i64 = 1000
    icmp_msgs_per_sec: i64 = 10000
    icmp_msgs_burst: i64 = 50
    tcp_abort_on_overflow: i64 = 0
    tcp_adv_win_scale: i64 = 1
    tcp_base_mss: i64 = 1024
    tcp_challenge_ack_limit: i64 = INT_MAX
    tcp_comp_sack_delay_ns: i64 = 1000000
    tcp_comp_sack_nr: i64 = 44
    tcp_comp_sack_slack_ns: i64 = 100000
    tcp_congestion_control: str = "cubic"
    tcp_available_congestion_control: str = "reno bbr cubic"
    tcp_pacing_ss_ratio: i64 = 200
    tcp_pacing_ca_ratio: i64 = 120
    tcp_tso_rtt_log: i64 = 9
    tcp_dsack: i64 = 1
    tcp_early_retrans: i64 = 3
    tcp_ecn: i64 = 2
    tcp_ecn_fallback: i64 = 1
    tcp_ecn_option: i64 = 2
    tcp_ecn_option_beacon: i64 = 3
    tcp_fastopen: i64 = 1
    tcp_fastopen_blackhole_timeout_sec: i64 = 0
    tcp_fastopen_key: str = "00000000-00000000-00000000-00000000"
    tcp_fin_timeout: i64 = 60
    tcp_frto: i64 = 2
    tcp_invalid_ratelimit: i64 = 500
    tcp_keepalive_intvl: i64 = 75
    tcp_keepalive_probes: i64 = 9
    tcp_keepalive_time: i64 = 7200
    tcp_max_orphans: i64 = 131072
    tcp_max_reordering: i64 = 300
    tcp_max_syn_backlog: i64 = 2048
    tcp_max_tw_buckets: i64 = 131072
    tcp_min_rtt_wlen: i64 = 300
    tcp_min_snd_mss: i64 = 48
    tcp_min_tso_segs: i64 = 2
    tcp_moderate_rcvbuf: i64 = 1
    tcp_mtu_probe_floor: i64 = 48
    tcp_mtu_probing: i64 = 0
    tcp_no_metrics_save: i64 = 0
    tcp_no_ssthresh_metrics_save: i64 = 1
    tcp_notsent_lowat: i64 = 4294967295
    tcp_orphan_retries: i64 = 0
    tcp_pingpong_thresh: i64 = 1
    tcp_probe_interval: i64 = 600
    tcp_probe_threshold: i64 = 8
    tcp_recovery: i64 = 1
    tcp_reordering: i64 = 3
    tcp_retrans_collapse: i64 = 1
    tcp_retries1: i64 = 3
    tcp_retries2: i64 = 15
    tcp_rfc1337: i64 = 0
    tcp_rmem: tuple[int, int, int] = (4096, 131072, 33554432)
    tcp_rto_max_ms: i64 = 120000
    tcp_rto_min_us: i64 = 200000
    tcp_sack: i64 = 1
    tcp_shrink_window: i64 = 0
    tcp_slow_start_after_idle: i64 = 1
    tcp_stdurg: i64 = 0
    tcp_syn_linear_timeouts: i64 = 4
    tcp_syn_retries: i64 = 6
    tcp_synack_retries: i64 = 5
    tcp_syncookies: i64 = 1
    tcp_thin_linear_timeouts: i64 = 0
    tcp_timestamps: i64 = 1
    tcp_tso_win_divisor: i64 = 3
    tcp_tw_recycle: i64 = 0
    tcp_tw_reuse: i64 = 2
    tcp_tw_reuse_delay: i64 = 1000
    tcp_window_scaling: i64 = 1
    tcp_wmem: tuple[int, int, int] = (4096, 16384, 4194304)
    tcp_workaround_signed_windows: i64 = 0

    def __init__(self, profile: str = "linux-6.18") -> None:
        self._absent: frozenset[str] = frozenset()
        self.bsd: BsdParameters | None = BsdParameters() if profile == "freebsd" else None
        """FreeBSD's own parameters under that profile; Linux's names then still reach the engine's."""
        for name, value in profile_defaults(profile).items():
            if value is None:
                self._absent |= {name}
                value = _WHERE_ABSENT[name]
            setattr(self, _attribute(name), value)

    def __getitem__(self, name: str) -> object:
        """The value of a full name such as 'net.ipv4.tcp_syn_retries'. UsageError if there is none."""
        if self.bsd is not None and self.bsd.knows(name):
            return self.bsd.values[name]
        if name in UNUSED:
            return UNUSED[name]
        self._check_name(name)
        return getattr(self, _attribute(name))

    def __setitem__(self, name: str, value: object) -> None:
        """Set a parameter from an int or from text as `sysctl -w` takes it ('4096 131072 33554432').

        Raises UsageError for an unknown name or a value out of range: the kernel's EINVAL.
        """
        if self.bsd is not None and not name.startswith(("net.ipv4.", "net.core.")):
            for attribute, engine_value in self.bsd.set(name, value):
                setattr(self, attribute, engine_value)
            return
        self._check_name(name)
        typed = SPECS[name].parse(value)
        if name == ECN and isinstance(typed, int) and typed > 2 and ECN_OPTION in self._absent:
            raise UsageError(f"{name} = {typed} is out of range 0..2 on this kernel profile: it has no accurate ECN")
        setattr(self, _attribute(name), typed)

    def names(self) -> list[str]:
        """All parameters that this kernel profile has, sorted."""
        if self.bsd is not None:
            return self.bsd.names()
        return sorted(name for name in SPECS if name not in self._absent)

    def show(self, name: str) -> str:
        """The value as `sysctl -n` prints it: tuples separated by tabs."""
        value = self[name]
        return "\t".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def _check_name(self, name: str) -> None:
        if name in SPECS and name not in self._absent:
            return
        if name in UNUSED:
            raise UsageError(f"sysctl {name} exists on Linux but changes nothing here; it cannot be set")
        if name in SPECS:
            raise UsageError(f"sysctl {name} does not exist on this kernel profile")
        close = sorted(SPECS, key=lambda known: _distance(known, name))[:3]
        raise UsageError(f"unknown sysctl {name!r}; did you mean {', '.join(close)}?")


@dataclass(frozen=True, slots=True)
class Spec:
    """One parameter: range, unit and meaning (Documentation/networking/ip-sysctl.rst)."""

    name: str
    meaning: str
    unit: str = ""
    low: int = 0
    high: int = INT_MAX
    kind: str = "int"
    choices: tuple[str, ...] = ()
    fixed: bool = False
    """Cannot be set: EPERM on Linux."""

    def parse(self, value: object) -> object:
        """The typed value, or UsageError saying what is valid."""
        if self.kind == "keys":
            return _parse_keys(self.name, value)
        if self.fixed:
            raise UsageError(f"{self.name} can only be read")
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.name} is one of {', '.join(self.choices)}, not {value!r} (ENOENT on Linux)")
        if self.kind == "word":
            return str(value)
        if self.kind == "words":
            return tuple(str(value).split()) if isinstance(value, str) else value
        if self.kind == "ports":
            return _parse_ports(self.name, value)
        numbers = self._numbers(value)
        for number in numbers:
            if not self.low <= number <= self.high:
                raise UsageError(f"{self.name} = {number} is out of range {self.low}..{self.high} (EINVAL on Linux)")
        count = {"int": 1, "pair": 2, "triple": 3}[self.kind]
        if len(numbers) != count:
            raise UsageError(f"{self.name} takes {count} number{'s' * (count > 1)}, not {len(numbers)}")
        if self.kind == "pair" and numbers[0] > numbers[1]:
            raise UsageError(f"{self.name}: the range must not be empty, {numbers[0]} > {numbers[1]}")
        return numbers[0] if count == 1 else tuple(numbers)

    def _numbers(self, value: object) -> list[int]:
        if isinstance(value, (tuple, list)):
            return [int(v) for v in value]
        try:
            return [int(word, 0) for word in str(value).replace(",", " ").split()]
        except ValueError:
            raise UsageError(f"{self.name} takes whole numbers, not {value!r}") from None


def _parse_ports(name: str, value: object) -> tuple[int, ...]:
    """'8080,9000-9002' as the kernel's bitmap files take it."""
    if isinstance(value, (tuple, list)):
        return tuple(int(v) for v in value)
    ports: list[int] = []
    for part in str(value).replace(" ", "").split(","):
        if not part:
            continue
        low, _, high = part.partition("-")
        if not low.isdigit() or (high and not high.isdigit()):
            raise UsageError(f"{name} takes ports such as 8080,9000-9002, not {value!r}")
        ports.extend(range(int(low), int(high or low) + 1))
    return tuple(ports)


def _specs() -> dict[str, Spec]:
    v4, core = "net.ipv4.", "net.core."
    rows = [
        Spec(core + "somaxconn", "upper limit of listen()'s backlog", "connections"),
        Spec(v4 + "ip_default_ttl", "time to live of packets we originate", "hops", 1, 255),
        Spec(v4 + "ip_local_port_range", "ports for connect() and bind(0)", "port", 1, 65535, "pair"),
        Spec(v4 + "ip_local_reserved_ports", "ports never chosen automatically", "port", kind="ports"),
        Spec(v4 + "ip_no_pmtu_disc", "path MTU discovery: 0 on, 1 off", "", 0, 3),
        Spec(v4 + "ip_nonlocal_bind", "allow bind() to addresses that are not ours", "", 0, 1),
        Spec(v4 + "ipfrag_high_thresh", "memory for reassembling fragments", "bytes"),
        Spec(v4 + "ipfrag_time", "time to wait for missing fragments", "s"),
        Spec(v4 + "ipfrag_max_dist", "fragments from one source that may overtake each other", "packets"),
        Spec(v4 + "icmp_echo_ignore_all", "do not answer pings", "", 0, 1),
        Spec(v4 + "icmp_ratelimit", "least time between ICMP errors to one target", "ms"),
        Spec(v4 + "icmp_msgs_per_sec", "most ICMP errors a second", "packets"),
        Spec(v4 + "icmp_msgs_burst", "ICMP errors allowed in a burst", "packets"),
        Spec(v4 + "tcp_abort_on_overflow", "reset a finished handshake when the accept queue is full", "", 0, 255),
        Spec(v4 + "tcp_adv_win_scale", "share of the receive buffer kept for overhead", "", -31, 31),
        Spec(v4 + "tcp_base_mss", "segment size with which a search for the path MTU begins", "bytes"),
        Spec(v4 + "tcp_challenge_ack_limit", "challenge ACKs a second, whole host", "packets"),
        Spec(v4 + "tcp_available_congestion_control", "algorithms there are; read only", kind="word", fixed=True),
        *_newer_specs(v4),
        Spec(v4 + "tcp_congestion_control", "algorithm of new connections", kind="word", choices=ALGORITHMS),
        Spec(v4 + "tcp_pacing_ss_ratio", "pacing rate in slow start, of what the window needs", "%", 0, 1000),
        Spec(v4 + "tcp_pacing_ca_ratio", "pacing rate in congestion avoidance", "%", 0, 1000),
        Spec(v4 + "tcp_tso_rtt_log", "super-segments halve for each 2**n us of RTT; 0: never grow for it", "", 0, 255),
        Spec(v4 + "tcp_dsack", "report duplicates with SACK (RFC 2883)", "", 0, 255),
        Spec(v4 + "tcp_early_retrans", "3: tail loss probe on, 0: off", "", 0, 4),
        *_ecn_specs(v4),
        Spec(v4 + "tcp_fastopen", "bit 0 client, 1 server, 2 client without cookie, 9 server without cookie", ""),
        Spec(v4 + "tcp_fastopen_key", "keys of the server's cookies, the second for older ones", kind="keys"),
        Spec(v4 + "tcp_fin_timeout", "life of an orphan in FIN-WAIT-2", "s"),
        Spec(v4 + "tcp_frto", "detect spurious timeouts (RFC 5682)", "", 0, 255),
        Spec(v4 + "tcp_invalid_ratelimit", "least time between answers to invalid segments", "ms"),
        Spec(v4 + "tcp_keepalive_intvl", "time between unanswered keepalive probes", "s", 1, 32767),
        Spec(v4 + "tcp_keepalive_probes", "unanswered probes before the connection is dead", "probes", 1, 255),
        Spec(v4 + "tcp_keepalive_time", "idle time before the first probe", "s", 1, INT_MAX),
        Spec(v4 + "tcp_max_orphans", "connections without a process", "connections"),
        Spec(v4 + "tcp_max_reordering", "upper limit of measured reordering", "packets"),
        Spec(v4 + "tcp_max_syn_backlog", "half-open connections of a listener when cookies are off", "connections"),
        Spec(v4 + "tcp_max_tw_buckets", "TIME-WAIT records of the host", "records"),
        Spec(v4 + "tcp_min_rtt_wlen", "window of the minimum-RTT filter", "s", 0, 86400),
        Spec(v4 + "tcp_min_snd_mss", "smallest segment size we send", "bytes", 48, 65535),
        Spec(v4 + "tcp_min_tso_segs", "least segments of a packet handed down together", "segments", 1, 65535),
        Spec(v4 + "tcp_moderate_rcvbuf", "grow the receive buffer with the connection", "", 0, 255),
        Spec(v4 + "tcp_mtu_probe_floor", "black holes shrink segments no further", "bytes", 48, 65535),
        Spec(v4 + "tcp_mtu_probing", "probe the path MTU: 0 never, 1 after a black hole, 2 always", "", 0, 255),
        Spec(v4 + "tcp_notsent_lowat", "unsent bytes below which a socket is writable", "bytes", 0, 4294967295),
        Spec(v4 + "tcp_orphan_retries", "retransmissions of an orphan; 0 means 8", "retries", 0, 255),
        Spec(v4 + "tcp_pingpong_thresh", "exchanges before acknowledgments are delayed", "", 1, 255),
        Spec(v4 + "tcp_probe_interval", "time after which the path MTU is searched again", "s", 0, 17179869),
        Spec(v4 + "tcp_probe_threshold", "range of MTUs too narrow to search any further", "bytes"),
        Spec(v4 + "tcp_recovery", "bit 0: RACK loss detection (RFC 8985)", "", 0, 7),
        Spec(v4 + "tcp_reordering", "duplicate ACKs that count as a loss", "packets"),
        Spec(v4 + "tcp_retrans_collapse", "merge small segments when retransmitting", "", 0, 255),
        Spec(v4 + "tcp_retries1", "timeouts before the path is suspected to be a black hole", "retries", 0, 255),
        Spec(v4 + "tcp_retries2", "timeouts before a live connection is given up", "retries", 0, 255),
        Spec(v4 + "tcp_rfc1337", "ignore RST in TIME-WAIT", "", 0, 255),
        Spec(v4 + "tcp_rmem", "receive buffer: least, default, most", "bytes", 1, INT_MAX, "triple"),
        Spec(v4 + "tcp_rto_max_ms", "upper limit of the retransmission timeout", "ms", 1000, 120000),
        Spec(v4 + "tcp_rto_min_us", "lower limit of the timeout's variance term", "us", 1, INT_MAX),
        Spec(v4 + "tcp_sack", "selective acknowledgments (RFC 2018)", "", 0, 255),
        Spec(v4 + "tcp_shrink_window", "let the right window edge move left", "", 0, 1),
        Spec(v4 + "tcp_slow_start_after_idle", "restart slow start after an idle RTO (RFC 2861)", "", 0, 255),
        Spec(v4 + "tcp_stdurg", "urgent pointer names the last urgent octet (RFC 1122)", "", 0, 255),
        Spec(v4 + "tcp_syn_linear_timeouts", "SYN timeouts of 1 s before doubling", "retries", 0, 127),
        Spec(v4 + "tcp_syn_retries", "SYN retransmissions of connect()", "retries", 1, 127),
        Spec(v4 + "tcp_synack_retries", "SYN-ACK retransmissions of a listener", "retries", 0, 255),
        Spec(v4 + "tcp_syncookies", "0 off, 1 when the SYN queue is full, 2 always", "", 0, 255),
        Spec(v4 + "tcp_thin_linear_timeouts", "no backoff for thin streams", "", 0, 255),
        Spec(v4 + "tcp_timestamps", "0 off, 1 with random offset, 2 without", "", 0, 255),
        Spec(v4 + "tcp_tso_win_divisor", "share of the window a packet waits to fill; 0: none", "", 0, 255),
        Spec(v4 + "tcp_tw_recycle", "fast recycling of TIME-WAIT; removed in 4.12", "", 0, 255),
        Spec(v4 + "tcp_tw_reuse", "connect() may take over TIME-WAIT: 1 yes, 2 on loopback", "", 0, 2),
        Spec(v4 + "tcp_tw_reuse_delay", "age of TIME-WAIT before it may be taken over", "ms", 1, 60000),
        Spec(v4 + "tcp_window_scaling", "window scale option (RFC 7323)", "", 0, 255),
        Spec(v4 + "tcp_wmem", "send buffer: least, default, most", "bytes", 1, INT_MAX, "triple"),
        Spec(v4 + "tcp_workaround_signed_windows", "keep unscaled windows below 32768", "", 0, 255),
    ]
    return {spec.name: spec for spec in rows}


def _ecn_specs(v4: str) -> list[Spec]:
    return [
        Spec(
            v4 + "tcp_ecn",
            "0 no ECN, 1 ask and agree, 2 agree; accurate: 3 both, 4 agree, ask classic, 5 agree",
            "",
            0,
            5,
        ),
        Spec(v4 + "tcp_ecn_fallback", "a repeated SYN does not ask for ECN", "", 0, 1),
        Spec(v4 + "tcp_ecn_option", "accurate ECN's option: 0 never, 1 when needed, 2 always", "", 0, 2),
        Spec(v4 + "tcp_ecn_option_beacon", "how often per round trip it comes at least", "", 0, 3),
    ]


def _newer_specs(v4: str) -> list[Spec]:
    return [
        Spec(v4 + "tcp_fastopen_blackhole_timeout_sec", "first pause of fast open after a black hole; 0: none", "s"),
        Spec(v4 + "tcp_no_metrics_save", "what a connection learnt of the path is not kept for the next", "", 0, 255),
        Spec(v4 + "tcp_no_ssthresh_metrics_save", "the slow-start threshold is not kept", "", 0, 1),
        Spec(v4 + "tcp_comp_sack_delay_ns", "most time for which ACKs of a hole are held back; 5 % of the RTT", "ns"),
        Spec(v4 + "tcp_comp_sack_nr", "most ACKs of a hole that become one; 0: none are held back", "ACKs", 0, 255),
        Spec(v4 + "tcp_comp_sack_slack_ns", "by how much that timer may be late", "ns"),
    ]


SPECS: Final = _specs()

UNUSED: Final[dict[str, str]] = {
    "net.core.netdev_max_backlog": "1000",
    "net.ipv4.ip_forward": "0",
    "net.ipv4.ipfrag_low_thresh": "3145728",
    "net.ipv4.tcp_allowed_congestion_control": "reno bbr",
    "net.ipv4.tcp_app_win": "31",
    "net.ipv4.tcp_autocorking": "1",
    "net.ipv4.tcp_backlog_ack_defer": "1",
    "net.ipv4.tcp_child_ehash_entries": "0",
    "net.ipv4.tcp_early_demux": "1",
    "net.ipv4.tcp_ehash_entries": "-262144",
    "net.ipv4.tcp_fack": "0",
    "net.ipv4.tcp_fwmark_accept": "0",
    "net.ipv4.tcp_l3mdev_accept": "0",
    "net.ipv4.tcp_limit_output_bytes": "4194304",
    "net.ipv4.tcp_migrate_req": "0",
    "net.ipv4.tcp_plb_cong_thresh": "128",
    "net.ipv4.tcp_plb_enabled": "0",
    "net.ipv4.tcp_plb_idle_rehash_rounds": "3",
    "net.ipv4.tcp_plb_rehash_rounds": "12",
    "net.ipv4.tcp_plb_suspend_rto_sec": "60",
    "net.ipv4.tcp_reflect_tos": "0",
}
"""Parameters of Linux 6.18 that this stack does not act on, with their defaults: they can be read, not set."""

_LINUX_ALONE: Final[dict[str, object]] = dict.fromkeys(
    (
        "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
        "net.ipv4.tcp_no_metrics_save",
        "net.ipv4.tcp_no_ssthresh_metrics_save",
        "net.ipv4.tcp_comp_sack_delay_ns",
        "net.ipv4.tcp_comp_sack_nr",
        "net.ipv4.tcp_comp_sack_slack_ns",
        "net.ipv4.tcp_ecn_option",
        "net.ipv4.tcp_ecn_option_beacon",
        "net.ipv4.tcp_tw_recycle",
    )
)
"""Parameters that a profile of another stack does not have."""

_PROFILES: Final[dict[str, dict[str, object]]] = {
    "linux-6.18": {"net.ipv4.tcp_tw_recycle": None},
    "linux-5.15": {
        "net.ipv4.tcp_ecn_option": None,
        "net.ipv4.tcp_ecn_option_beacon": None,
        "net.ipv4.tcp_syn_linear_timeouts": None,
        "net.ipv4.tcp_tw_recycle": None,
        "net.ipv4.tcp_tw_reuse_delay": None,
        "net.ipv4.tcp_rto_max_ms": None,
        "net.ipv4.tcp_shrink_window": None,
        "net.ipv4.tcp_challenge_ack_limit": 1000,
        "net.ipv4.tcp_max_tw_buckets": 131072,
        "net.ipv4.tcp_rmem": (4096, 131072, 6291456),
    },
    "linux-4.19": {
        "net.ipv4.tcp_fastopen_blackhole_timeout_sec": 3600,
        "net.ipv4.tcp_no_ssthresh_metrics_save": None,
        "net.ipv4.tcp_comp_sack_slack_ns": None,
        "net.core.somaxconn": 128,
        "net.ipv4.tcp_mtu_probe_floor": None,
        "net.ipv4.tcp_rmem": (4096, 131072, 6291456),
    },
    "linux-3.10": {
        "net.ipv4.tcp_fastopen_blackhole_timeout_sec": None,
        "net.ipv4.tcp_comp_sack_delay_ns": None,
        "net.ipv4.tcp_comp_sack_nr": None,
        "net.ipv4.tcp_comp_sack_slack_ns": None,
        "net.ipv4.ip_local_port_range": (32768, 61000),
        "net.ipv4.tcp_tw_recycle": 0,
        "net.ipv4.tcp_tw_reuse": 0,
        "net.ipv4.tcp_base_mss": 512,
        "net.ipv4.tcp_probe_interval": None,
        "net.ipv4.tcp_probe_threshold": None,
        "net.ipv4.tcp_recovery": 0,
        "net.ipv4.tcp_challenge_ack_limit": 100,
        "net.ipv4.tcp_max_tw_buckets": 180000,
        "net.ipv4.tcp_rmem": (4096, 87380, 6291456),
    },
    "linux-2.6.32": {
        "net.ipv4.tcp_syn_retries": 5,
        "net.ipv4.tcp_syncookies": 0,
        "net.ipv4.tcp_early_retrans": 0,
    },
    "rfc9293": {
        **_LINUX_ALONE,
        "net.ipv4.tcp_congestion_control": "reno",
        "net.ipv4.tcp_syn_linear_timeouts": 0,
        "net.ipv4.tcp_early_retrans": 0,
        "net.ipv4.tcp_rto_min_us": 1000000,
        "net.ipv4.tcp_rfc1337": 1,
    },
    "freebsd": {
        **_LINUX_ALONE,
        "net.core.somaxconn": 128,
        "net.ipv4.tcp_congestion_control": "reno",
        "net.ipv4.ip_local_port_range": (10000, 65535),
        "net.ipv4.tcp_adv_win_scale": 0,
        "net.ipv4.tcp_early_retrans": 0,
        "net.ipv4.tcp_invalid_ratelimit": 0,
        "net.ipv4.tcp_keepalive_probes": 8,
        "net.ipv4.tcp_moderate_rcvbuf": 0,
        "net.ipv4.tcp_rfc1337": 1,
        "net.ipv4.tcp_rmem": (4096, 65536, 65536),
        "net.ipv4.tcp_rto_max_ms": 64000,
        "net.ipv4.tcp_syn_linear_timeouts": 0,
        "net.ipv4.tcp_tw_reuse": 0,
        "net.ipv4.tcp_wmem": (4096, 32768, 32768),
    },
}
_OLDER: Final = {"linux-4.19": "linux-5.15", "linux-3.10": "linux-4.19", "linux-2.6.32": "linux-3.10"}
"""A profile is the one it points to, with its own differences on top."""

_WHERE_ABSENT: Final[dict[str, object]] = {
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec": 0,
    "net.ipv4.tcp_no_metrics_save": 1,
    "net.ipv4.tcp_no_ssthresh_metrics_save": 0,
    "net.ipv4.tcp_comp_sack_delay_ns": 1000000,
    "net.ipv4.tcp_comp_sack_nr": 0,
    "net.ipv4.tcp_comp_sack_slack_ns": 0,
    "net.ipv4.tcp_mtu_probe_floor": 48,
    "net.ipv4.tcp_probe_interval": 17179869,
    "net.ipv4.tcp_probe_threshold": 0,
    "net.ipv4.tcp_ecn_option": 0,
    "net.ipv4.tcp_ecn_option_beacon": 0,
    "net.ipv4.tcp_syn_linear_timeouts": 0,
    "net.ipv4.tcp_tw_recycle": 0,
    "net.ipv4.tcp_tw_reuse_delay": 1000,
    "net.ipv4.tcp_rto_max_ms": 120000,
    "net.ipv4.tcp_shrink_window": 0,
}
"""How a kernel without the parameter behaves, as a value of it."""

PROFILES: Final = tuple(_PROFILES)


def profile_defaults(profile: str) -> dict[str, object]:
    """What differs from Linux 6.18 under a profile; None marks a parameter that kernel does not have."""
    if profile not in _PROFILES:
        raise UsageError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    base = profile_defaults(_OLDER[profile]) if profile in _OLDER else {}
    merged = {**base, **_PROFILES[profile]}
    return merged


def _parse_keys(name: str, value: object) -> str:
    """One key or two of four hexadecimal words each."""
    text = str(value).strip()
    for key in text.split(","):
        words = key.split("-")
        if len(words) != 4 or not all(re.fullmatch("[0-9a-fA-F]{1,8}", word) for word in words):
            raise UsageError(f"{name} takes xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx, or two of these with a comma")
    return text


def _attribute(name: str) -> str:
    return name.rpartition(".")[2]


def _distance(a: str, b: str) -> float:
    """How unlike two names are, for 'did you mean'."""
    from difflib import SequenceMatcher

    return 1 - SequenceMatcher(None, a, b).ratio()
