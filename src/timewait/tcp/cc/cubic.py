"""CUBIC: the window grows with the cube of the time since the last reduction (RFC 9438; tcp_cubic.c's integers).

Below its own curve it grows as Reno would (RFC 9438 4.3), and slow start ends early when
ACK trains or delays show that a queue fills (HyStart, which RFC 9406 refines).
"""

from typing import Final

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.seq import seq_gt
from timewait.tcp.cc.base import CongestionControl

JIFFY: Final = 4 * MSEC
"""HZ=250. The curve is drawn in jiffies, so that the kernel's windows come out."""
HZ: Final = 250
BETA: Final = 717
"""Of 1024: what a loss leaves of the window (RFC 9438 4.6: 0.7)."""
BETA_SCALE: Final = 15
"""8 * (1024 + BETA) / 3 / (1024 - BETA): ACKs times eight for each segment that Reno would add."""
RTT_SCALE: Final = 410
"""bic_scale * 10: C = 0.4 in units of 2^-40 and 2^-10 s."""
CUBE_FACTOR: Final = (1 << 40) // RTT_SCALE
BICTCP_HZ: Final = 10

HYSTART_LOW_WINDOW: Final = 16
HYSTART_MIN_SAMPLES: Final = 8
HYSTART_ACK_DELTA: Final = 2000
"""us between ACKs of one train."""
HYSTART_DELAY_MIN: Final = 4000
HYSTART_DELAY_MAX: Final = 16000
NONE: Final = 1 << 62


@mypyc_attr(acyclic=True)
class Cubic(CongestionControl):
    """One connection's curve. Windows are in segments, times in ns of the host's clock unless named otherwise."""

    name: str = "cubic"

    def __init__(self) -> None:
        self.cnt: i64 = 0
        """ACKed segments for one more segment of window."""
        self.last_max: i64 = 0
        """W_max: the window at the last reduction, less if it came before the plateau (fast convergence)."""
        self.last_cwnd: i64 = 0
        self.last_time: i64 = 0
        """When the target was last computed, in jiffies."""
        self.origin: i64 = 0
        self.k: i64 = 0
        """Time to reach the origin, in 2^-10 s."""
        self.delay_min: i64 = 0
        """Smallest RTT, us."""
        self.epoch: i64 = 0
        """When the current curve began, in jiffies; 0: not yet."""
        self.ack_cnt: i64 = 0
        self.reno_cwnd: i64 = 0
        """W_est."""
        self.found = False
        """HyStart has ended slow start."""
        self.samples: i64 = 0
        self.round_start: i64 = 0
        """us."""
        self.round_end: i64 = 0
        """Sequence number whose acknowledgment ends the round."""
        self.round_valid = False
        self.last_ack: i64 = 0
        """us."""
        self.round_rtt: i64 = NONE

    def ssthresh(self, cwnd: i64, now: i64) -> i64:
        """RFC 9438 4.6 and 4.7."""
        self.epoch = 0
        if cwnd < self.last_max:
            self.last_max = cwnd * (1024 + BETA) // 2048
        else:
            self.last_max = cwnd
        return max(cwnd * BETA // 1024, 2)

    def increase(self, cwnd: i64, cwnd_cnt: i64, ssthresh: i64, acked: i64, now: i64) -> tuple[i64, i64]:
        if cwnd < ssthresh:
            grown = min(cwnd + acked, ssthresh)
            acked -= grown - cwnd
            cwnd = grown
            if acked == 0:
                return cwnd, cwnd_cnt
        self._update(cwnd, acked, now)
        # tcp_cong_avoid_ai: what was saved up at a larger count is spent gently.
        if cwnd_cnt >= self.cnt:
            cwnd_cnt = 0
            cwnd += 1
        cwnd_cnt += acked
        if cwnd_cnt >= self.cnt:
            steps = cwnd_cnt // self.cnt
            cwnd_cnt -= steps * self.cnt
            cwnd += steps
        return cwnd, cwnd_cnt

    def _update(self, cwnd: i64, acked: i64, now: i64) -> None:
        """Set `cnt` for this window at this time (bictcp_update)."""
        jiffies = now // JIFFY + 1
        self.ack_cnt += acked
        if self.last_cwnd == cwnd and jiffies - self.last_time <= HZ // 32:
            return
        if self.epoch == 0 or jiffies != self.last_time:
            self.last_cwnd = cwnd
            self.last_time = jiffies
            self._aim(cwnd, acked, jiffies)
        # RFC 9438 4.3: never slower than Reno with the same reduction would be.
        delta = cwnd * BETA_SCALE >> 3
        if delta > 0 and self.ack_cnt > delta:
            steps = (self.ack_cnt - 1) // delta
            self.ack_cnt -= steps * delta
            self.reno_cwnd += steps
        if self.reno_cwnd > cwnd:
            self.cnt = min(self.cnt, cwnd // (self.reno_cwnd - cwnd))
        self.cnt = max(self.cnt, 2)

    def _aim(self, cwnd: i64, acked: i64, jiffies: i64) -> None:
        """Where the curve is one round trip from now, and how fast to go there (RFC 9438 4.2)."""
        if self.epoch == 0:
            self.epoch = jiffies
            self.ack_cnt = acked
            self.reno_cwnd = cwnd
            if self.last_max <= cwnd:
                self.k = 0
                self.origin = cwnd
            else:
                self.k = _cube_root(CUBE_FACTOR * (self.last_max - cwnd))
                self.origin = self.last_max
        ahead = jiffies - self.epoch + (self.delay_min * 1000 + JIFFY - 1) // JIFFY
        t = (ahead << BICTCP_HZ) // HZ
        distance = self.k - t if t < self.k else t - self.k
        delta = _cubed(distance)
        target = self.origin - delta if t < self.k else self.origin + delta
        self.cnt = cwnd // (target - cwnd) if target > cwnd else 100 * cwnd
        if self.last_max == 0 and self.cnt > 20:
            # The first curve has no W_max yet: at least 5 % a round trip.
            self.cnt = 20

    def rtt_sample(self, rtt_us: i64, cwnd: i64, slow_start: bool, una: i64, nxt: i64, now: i64) -> bool:
        """Note the delay; whether HyStart ends slow start at this window."""
        if self.epoch and now // JIFFY + 1 - self.epoch < HZ:
            # Right after a reduction delays tell of the queue that overflowed.
            return False
        delay: i64 = rtt_us if rtt_us else 1
        if self.delay_min == 0 or delay < self.delay_min:
            self.delay_min = delay
        if self.found or not slow_start:
            return False
        return self._hystart(delay, cwnd, una, nxt, now // 1000)

    def _hystart(self, delay: i64, cwnd: i64, una: i64, nxt: i64, now_us: i64) -> bool:
        """hystart_update: ACK trains as long as half a round trip, or delays an eighth above the smallest."""
        if not self.round_valid or seq_gt(una, self.round_end):
            self.round_valid = True
            self.round_start = now_us
            self.last_ack = now_us
            self.round_end = nxt
            self.round_rtt = NONE
            self.samples = 0
        if cwnd < HYSTART_LOW_WINDOW:
            return False
        if now_us - self.last_ack <= HYSTART_ACK_DELTA:
            self.last_ack = now_us
            if now_us - self.round_start > self.delay_min >> 1:
                self.found = True
        if delay < self.round_rtt:
            self.round_rtt = delay
        if self.samples < HYSTART_MIN_SAMPLES:
            self.samples += 1
        else:
            threshold = min(max(self.delay_min >> 3, HYSTART_DELAY_MIN), HYSTART_DELAY_MAX)
            if self.round_rtt > self.delay_min + threshold:
                self.found = True
        return self.found

    def loss_event(self, now: i64) -> None:
        """A timeout forgets the curve (bictcp_reset)."""
        self.cnt = 0
        self.last_max = 0
        self.last_cwnd = 0
        self.last_time = 0
        self.origin = 0
        self.k = 0
        self.delay_min = 0
        self.epoch = 0
        self.ack_cnt = 0
        self.reno_cwnd = 0
        self.found = False
        self.round_valid = False

    def after_idle(self, idle: i64, now: i64) -> None:
        """Nothing was in flight for `idle` ns: the curve waits meanwhile (CA_EVENT_TX_START)."""
        if self.epoch and idle > 0:
            self.epoch = min(self.epoch + idle // JIFFY, now // JIFFY + 1)


@mypyc_attr(acyclic=True)
class CubicSeed(CongestionControl):
    """What connections share that have sent nothing yet: a hundred thousand idle ones need no curve."""

    name: str = "cubic"

    def own(self) -> CongestionControl:
        return Cubic()


CUBIC: Final = CubicSeed()


def _cubed(distance: i64) -> i64:
    """C * distance^3 with distance in 2^-10 s; capped where the product would not fit."""
    far: i64 = min(distance, 1 << 17)
    return RTT_SCALE * far * far * far >> 40


def _cube_root(value: i64) -> i64:
    """The integer cube root, by Newton's steps from above."""
    if value <= 0:
        return 0
    root: i64 = 1
    while root * root * root < value and root < 1 << 20:
        root <<= 1
    while root * root * root > value:
        root = (2 * root + value // (root * root)) // 3
    return root
