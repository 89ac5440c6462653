"""Kernels that do not exist: what labs switch on to show what a rule of TCP is good for.

Nothing outside this package uses them, and no profile contains them. Each changes the
constants of one of our hosts in the world of one lab.
"""

from timewait.host.host import Host
from timewait.tcp.profile import Profile

FROZEN = 1 << 62
"""A tick of the ISN clock that is longer than any experiment."""


def _own_profile(host: Host) -> Profile:
    """The host's constants as a copy that nobody shares."""
    shared = host.net.profile
    host.net.profile = Profile(
        shared.name,
        isn_tick=shared.isn_tick,
        timewait_len=shared.timewait_len,
        rto_init=shared.rto_init,
        init_cwnd=shared.init_cwnd,
        random_ts_offset=shared.random_ts_offset,
        keyed_isn=shared.keyed_isn,
        ooo_fin_in_orphan_resets=shared.ooo_fin_in_orphan_resets,
    )
    return host.net.profile


def without_time_wait(*hosts: Host) -> None:
    """TIME-WAIT of no length: a connection that closed first is forgotten at once."""
    for host in hosts:
        _own_profile(host).timewait_len = 0


def with_fixed_isn(*hosts: Host) -> None:
    """Every connection begins at the same sequence number."""
    for host in hosts:
        profile = _own_profile(host)
        profile.keyed_isn = False
        profile.isn_tick = FROZEN


def with_time_wait(length: int, *hosts: Host) -> None:
    """TIME-WAIT of another length, ns."""
    for host in hosts:
        _own_profile(host).timewait_len = length
