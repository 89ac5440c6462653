"""What all connections of one host share: parameters, counters, secrets and the listener of events."""

import random

from timewait.base.ints import i64
from timewait.base.rng import Streams
from timewait.tcp.counters import Counters
from timewait.tcp.metrics import MetricsCache
from timewait.tcp.profile import Profile, profile_named
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tap import Tap


class Net:
    """A network namespace, as far as TCP needs to know it."""

    def __init__(self, name: str, streams: Streams, profile: str = "linux-6.18", tap: Tap | None = None) -> None:
        self.name = name
        self.profile: Profile = profile_named(profile)
        self.sysctl = Sysctl(profile)
        self.counters = Counters()
        self.tap: Tap | None = tap
        self.rng: random.Random = streams.stream("tcp")
        self.isn_key = streams.secret("isn")
        self.ts_key = streams.secret("timestamps")
        self.ts_offsets: dict[bytes, int] = {}
        """What `timestamp_offset` gave, by address pair."""
        self.cookie_key = streams.secret("syn cookies", 32)
        self.fast_open_key = streams.secret("fast open")
        self.fast_open_pauses: i64 = 0
        """How often in a row fast open was given up for a while (tcp.fastopen_pause)."""
        self.fast_open_paused_at: i64 = 0
        self.fast_open_pause_set: i64 = 0
        """tcp_fastopen_blackhole_timeout_sec when it was looked at last."""
        self.metrics = MetricsCache()
        """What is remembered of peers."""
        self.orphans: i64 = 0
        """Connections whose file is closed but which are not CLOSED yet."""
        self.discards: dict[str, int] = {}
        """Malformed packets by the parser's reason."""
        self.challenge_second: i64 = -1
        """The second that challenge_count counts for (tcp_challenge_ack_limit)."""
        self.challenge_count: i64 = 0
