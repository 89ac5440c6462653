"""FreeBSD's sysctls: the ones that act here, and those that are accepted because nothing here depends on them.

The engine reads Linux's parameters on its hot path. What FreeBSD calls `net.inet.tcp.rfc1323`
or `recvspace` is therefore handed on to the parameter of the same meaning; what only FreeBSD
knows is kept here and read where its rules are applied.
"""

from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64

TCP: Final = "net.inet.tcp."
INT_MAX: Final = 2**31 - 1

ACTIVE: Final[dict[str, tuple[int, int, int, str]]] = {
    "kern.ipc.maxsockbuf": (2097152, 4096, 2**62, "largest socket buffer; sets the window scale of a SYN"),
    "kern.ipc.soacceptqueue": (128, 0, INT_MAX, "upper limit of listen()'s backlog"),
    "net.inet.ip.ttl": (64, 1, 255, "time to live of packets we originate"),
    TCP + "blackhole": (0, 0, 3, "silence for a closed port: 1 to SYNs, 2 and 3 to everything"),
    TCP + "delacktime": (
        40,
        0,
        60000,
        "ms an acknowledgment waits; none does until this is set",
    ),
    TCP + "delayed_ack": (1, 0, 1, "0: no acknowledgment is delayed"),
    TCP + "drop_synfin": (0, 0, 1, "ignore segments with SYN and FIN"),
    TCP + "ecn.enable": (2, 0, 4, "1: ask for ECN with SYN, 2: agree when asked"),
    TCP + "ecn.maxretries": (1, 0, 12, "retransmitted SYNs that still ask for ECN"),
    TCP + "fast_finwait2_recycle": (0, 0, 1, "an orphan leaves FIN-WAIT-2 after finwait2_timeout"),
    TCP + "fastopen.client_enable": (1, 0, 1, "TCP_FASTOPEN of a client"),
    TCP + "finwait2_timeout": (60000, 1, INT_MAX, "ms"),
    TCP + "icmp_may_rst": (1, 0, 1, "a hard ICMP error ends a connection in SYN-SENT"),
    TCP + "insecure_rst": (0, 0, 1, "any RST inside the window resets (before RFC 5961)"),
    TCP + "insecure_syn": (0, 0, 1, "a SYN inside the window resets (before RFC 5961)"),
    TCP + "keepcnt": (8, 1, 255, "unanswered keepalive probes"),
    TCP + "keepidle": (7200000, 1, INT_MAX, "ms of idleness before the first keepalive probe"),
    TCP + "keepinit": (75000, 1, INT_MAX, "ms that establishing a connection may take"),
    TCP + "keepintvl": (75000, 1, INT_MAX, "ms between keepalive probes"),
    TCP + "mssdflt": (536, 1, 65535, "segment size of a peer without MSS option"),
    TCP + "msl": (30000, 1, INT_MAX, "maximum segment lifetime in ms; TIME-WAIT is two of it"),
    TCP + "recvspace": (65536, 1, INT_MAX, "receive buffer"),
    TCP + "rexmit_drop_options": (0, 0, 1, "the third repeated SYN and later ones carry only MSS"),
    TCP + "rexmit_initial": (1000, 1, 64000, "first retransmission timeout in ms"),
    TCP + "rexmit_slop": (200, 0, 64000, "ms added to every computed retransmission timeout"),
    TCP + "rfc1323": (1, 0, 3, "0 neither, 1 both, 2 only window scale, 3 only timestamps"),
    TCP + "sack.enable": (1, 0, 1, "selective acknowledgments"),
    TCP + "sendspace": (32768, 1, INT_MAX, "send buffer"),
    TCP + "syncache.rexmtlimit": (3, 0, 12, "retransmissions of a SYN-ACK"),
    TCP + "syncookies": (1, 0, 1, "SYN cookies when the queue is full"),
    TCP + "syncookies_only": (0, 0, 1, "SYN cookies always"),
    TCP + "tolerate_missing_ts": (0, 0, 1, "take segments without the timestamp that was agreed on"),
}
"""Name: default, lowest, highest, meaning."""

IGNORED: Final[dict[str, tuple[str, str]]] = {
    "kern.ipc.somaxconn": ("128", "old name of kern.ipc.soacceptqueue"),
    TCP + "abc_l_var": ("2", "congestion control is the engine's"),
    TCP + "ack_war_cnt": ("5", "challenge acknowledgments have no limit here"),
    TCP + "ack_war_timewindow": ("1000", "challenge acknowledgments have no limit here"),
    TCP + "always_keepalive": ("1", "keepalive is per socket here"),
    TCP + "blackhole_local": ("0", "only with blackhole"),
    TCP + "cc.algorithm": ("cubic", "congestion control is the engine's"),
    TCP + "cc.abe": ("0", "congestion control is the engine's"),
    TCP + "do_prr": ("1", "loss recovery is the engine's"),
    TCP + "fastopen.ccache_bucket_limit": ("16", "the cache of cookies has one limit"),
    TCP + "fastopen.ccache_buckets": ("2048", "the cache of cookies has one limit"),
    TCP + "fastopen.path_disable_time": ("900", "a path is not shut for Fast Open"),
    TCP + "fastopen.server_enable": ("0", "no Fast Open server under this profile"),
    TCP + "functions_default": ("freebsd", "one implementation"),
    TCP + "hostcache.enable": ("1", "nothing is remembered about hosts"),
    TCP + "hostcache.purge": ("0", "nothing is remembered about hosts"),
    TCP + "hostcache.purgenow": ("0", "nothing is remembered about hosts"),
    TCP + "initcwnd_segments": ("10", "RFC 6928, as everywhere here"),
    TCP + "insecure_ack": ("0", "RFC 5961 5.2 is always followed"),
    TCP + "log_in_vain": ("0", "drops have reasons here"),
    TCP + "minmss": ("216", "segments are as small as the peer asks"),
    TCP + "nolocaltimewait": ("0", "TIME-WAIT for everybody"),
    TCP + "path_mtu_discovery": ("1", "always on"),
    TCP + "pmtud_blackhole_detection": ("0", "no black hole detection"),
    TCP + "recvbuf_auto": ("1", "buffers keep their size"),
    TCP + "recvbuf_max": ("2097152", "buffers keep their size"),
    TCP + "reass.maxqueuelen": ("100", "the window limits what is held"),
    TCP + "rexmit_min": ("30", "the timeout's floor is the engine's"),
    TCP + "rfc3042": ("1", "limited transmit is the engine's"),
    TCP + "rfc3390": ("1", "RFC 6928, as everywhere here"),
    TCP + "rfc6675_pipe": ("1", "loss recovery is the engine's"),
    TCP + "sack.revised": ("1", "loss recovery is the engine's"),
    TCP + "sack.tso": ("1", "segmentation is the link's"),
    TCP + "sendbuf_auto": ("1", "buffers keep their size"),
    TCP + "sendbuf_max": ("2097152", "buffers keep their size"),
    TCP + "ts_offset_per_conn": ("1", "always"),
    TCP + "tso": ("1", "segmentation is the link's"),
    TCP + "udp_tunneling_overhead": ("0", "no TCP over UDP"),
    TCP + "v6mssdflt": ("1220", "mssdflt counts for both families"),
}
"""Name: default and why setting it changes nothing here. The value is kept and shown."""

REFUSED: Final[dict[str, str]] = {
    TCP + "udp_tunneling_port": "TCP over UDP is not implemented; only 0 is taken",
}


class BsdParameters:
    """The FreeBSD side of one host's sysctls. Times in ms, as FreeBSD shows them."""

    insecure_rst: i64 = 0
    insecure_syn: i64 = 0
    drop_synfin: i64 = 0
    blackhole: i64 = 0
    ecn_enable: i64 = 2
    ecn_maxretries: i64 = 1
    fast_finwait2_recycle: i64 = 0
    client_enable: i64 = 1
    finwait2_timeout: i64 = 60000
    icmp_may_rst: i64 = 1
    keepcnt: i64 = 8
    keepinit: i64 = 75000
    keepintvl: i64 = 75000
    maxsockbuf: i64 = 2097152
    msl: i64 = 30000
    mssdflt: i64 = 536
    rexmit_drop_options: i64 = 0
    rexmit_initial: i64 = 1000
    rexmit_slop: i64 = 200
    rexmtlimit: i64 = 3
    tolerate_missing_ts: i64 = 0
    delay: i64 = 0
    """Delay of acknowledgments in ms; 0: none."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {name: str(row[0]) for name, row in ACTIVE.items()}
        self.values.update({name: row[0] for name, row in IGNORED.items()})
        self.values.update(dict.fromkeys(REFUSED, "0"))

    def names(self) -> list[str]:
        """Every name this profile knows, sorted."""
        return sorted(self.values)

    def knows(self, name: str) -> bool:
        return name in self.values

    def set(self, name: str, value: object) -> list[tuple[str, object]]:
        """Set a parameter; returns what follows for the engine's own as (attribute, value).

        Raises UsageError for a name FreeBSD does not have, a value out of range, and
        what is not implemented.
        """
        if name in IGNORED:
            self.values[name] = str(value).strip()
            return []
        if name in REFUSED:
            if _number(name, value):
                raise UsageError(f"sysctl {name}: {REFUSED[name]}")
            return []
        if name not in ACTIVE:
            raise UsageError(f"unknown sysctl {name!r} under profile freebsd; 'sysctl -a' lists those there are")
        number = _number(name, value)
        _, low, high, _ = ACTIVE[name]
        if not low <= number <= high:
            raise UsageError(f"{name} = {number} is out of range {low}..{high}")
        self.values[name] = str(number)
        return self._act(name, number)

    def _act(self, name: str, number: int) -> list[tuple[str, object]]:
        """Let a value take effect."""
        handed_on = _handed_on(name, number, self.values)
        if handed_on:
            return handed_on
        word = name.rpartition(".")[2]
        if name == TCP + "ecn.enable":
            self.ecn_enable = number
        elif name == TCP + "ecn.maxretries":
            self.ecn_maxretries = number
        elif word in ("delacktime", "delayed_ack"):
            on = self.values[TCP + "delayed_ack"] != "0"
            self.delay = (number if word == "delacktime" else int(self.delay)) if on else 0
        else:
            setattr(self, word, number)
        if word in ("keepcnt", "keepintvl"):
            linux = "tcp_keepalive_probes" if word == "keepcnt" else "tcp_keepalive_intvl"
            return [(linux, number if word == "keepcnt" else max(number // 1000, 1))]
        return []


def _handed_on(name: str, number: int, values: dict[str, str]) -> list[tuple[str, object]]:
    """The engine's parameters of the same meaning."""
    word = name.rpartition(".")[2]
    if word == "rfc1323":
        return [("tcp_window_scaling", int(number in (1, 2))), ("tcp_timestamps", int(number in (1, 3)))]
    if name == TCP + "sack.enable":
        return [("tcp_sack", number), ("tcp_dsack", number)]
    if word == "recvspace":
        return [("tcp_rmem", (min(number, 4096), number, number))]
    if word == "sendspace":
        return [("tcp_wmem", (min(number, 4096), number, number))]
    if word in ("syncookies", "syncookies_only"):
        always = values[TCP + "syncookies_only"] != "0"
        return [("tcp_syncookies", 2 if always else int(values[TCP + "syncookies"]))]
    if word == "keepidle":
        return [("tcp_keepalive_time", max(number // 1000, 1))]
    if word == "soacceptqueue":
        return [("somaxconn", number)]
    if name == "net.inet.ip.ttl":
        return [("ip_default_ttl", number)]
    return []


def _number(name: str, value: object) -> int:
    try:
        return int(str(value).strip(), 0)
    except ValueError:
        raise UsageError(f"{name} takes a whole number, not {value!r}") from None
