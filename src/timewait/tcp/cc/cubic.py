"""CUBIC with HyStart (RFC 9438, RFC 9406's ancestor), in the integer arithmetic of Linux's tcp_cubic.c.

Time is counted in jiffies (HZ=250 as everywhere in this stack) where Linux does so: the
curve moves in steps of 4 ms, and the window is recalculated at most once per jiffy.
"""

from typing import TYPE_CHECKING, Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.seq import seq_gt
from timewait.tcp.cc.base import EVENT_TX_START, NO_PACING, CongestionControl, additive_increase, slow_start

if TYPE_CHECKING:
    from timewait.tcp.tcb import Tcb

HZ: Final = 250
JIFFY: Final = 4_000_000
BETA: Final = 717
"""Multiplicative decrease in 1024ths: 0.7 (RFC 9438 4.6)."""
BETA_SCALE: Final = 15
"""8 (1024 + 717) / 3 / (1024 - 717): Reno's growth with this beta, times 8 (RFC 9438 4.3)."""
CUBE_RTT_SCALE: Final = 410
"""bic_scale 41 times 10: C = 0.4 in 1024ths."""
CUBE_FACTOR: Final = (1 << 40) // 410
SCALE_BITS: Final = 10
"""BICTCP_HZ: the curve's time in 1024ths of a second."""

HYSTART_LOW_WINDOW: Final = 16
HYSTART_ACK_DELTA_US: Final = 2000
HYSTART_MIN_SAMPLES: Final = 8
HYSTART_DELAY_MIN_US: Final = 4000
HYSTART_DELAY_MAX_US: Final = 16000
NO_RTT: Final = 0xFFFFFFFF
GSO_MAX: Final = 65536
"""sk_gso_max_size, of which an ACK train may be late by four."""
CA_LOSS: Final = 4

_CUBE_TABLE: Final = (
    "0 54 54 54 118 118 118 118 123 129 134 138 143 147 151 156 157 161 164 168 170 173 176 179 181 185 187 190 "
    "192 194 197 199 200 202 204 206 209 211 213 215 217 219 221 222 224 225 227 229 231 232 234 236 237 239 240 "
    "242 244 245 246 248 250 251 252 254"
)
CUBE_ROOTS: Final = tuple(int(word) for word in _CUBE_TABLE.split())
"""cbrt(64 i) scaled by 2**6, from which one Newton step starts."""


def cubic_root(a: i64) -> i64:
    """The cube root to 0.195 % on average: a table and one Newton-Raphson step (cubic_root)."""
    bits: i64 = int(a).bit_length()
    if bits < 7:
        # A small number is looked up whole.
        small: i64 = CUBE_ROOTS[a]
        return (small + 35) >> 6
    shift = ((bits * 84) >> 8) - 1
    start: i64 = CUBE_ROOTS[(a >> (shift * 3)) & 0x3F]
    x = ((start + 10) << shift) >> 6
    x = 2 * x + a // (x * (x - 1))
    return (x * 341) >> 10


@mypyc_attr(acyclic=True)
class Cubic(CongestionControl):
    """The window follows a cubic curve around the size at which the last loss happened."""

    name: str = "cubic"

    def __init__(self) -> None:
        self.cnt: i64 = 0
        """Segments to acknowledge for one more in the window."""
        self.last_max_cwnd: i64 = 0
        self.last_cwnd: i64 = 0
        self.last_time: i64 = 0
        self.origin: i64 = 0
        self.k: i64 = 0
        """Time to the origin point, in 1024ths of a second."""
        self.delay_min: i64 = 0
        """Smallest RTT, in us."""
        self.epoch_start: i64 = 0
        """Jiffy at which the curve began; 0: none."""
        self.ack_cnt: i64 = 0
        self.tcp_cwnd: i64 = 0
        """What Reno's window would be."""
        self.found = False
        """HyStart has ended slow start."""
        self.round_start: i64 = 0
        self.last_ack: i64 = 0
        self.end_seq: i64 = 0
        self.curr_rtt: i64 = NO_RTT
        self.sample_cnt: i64 = 0

    def start(self, t: "Tcb", now: i64) -> None:
        self._reset()
        self._new_round(t, now)

    def _reset(self) -> None:
        self.cnt = 0
        self.last_max_cwnd = 0
        self.last_cwnd = 0
        self.last_time = 0
        self.origin = 0
        self.k = 0
        self.delay_min = 0
        self.epoch_start = 0
        self.ack_cnt = 0
        self.tcp_cwnd = 0
        self.found = False

    def _new_round(self, t: "Tcb", now: i64) -> None:
        """bictcp_hystart_reset: rounds are counted by what was sent when they began."""
        self.round_start = now // 1000
        self.last_ack = self.round_start
        self.end_seq = t.snd_nxt
        self.curr_rtt = NO_RTT
        self.sample_cnt = 0

    def ssthresh(self, t: "Tcb", now: i64) -> i64:
        """RFC 9438 4.6 and 4.7 (fast convergence): 0.7 of the window."""
        self.epoch_start = 0
        if t.cwnd < self.last_max_cwnd:
            self.last_max_cwnd = t.cwnd * (1024 + BETA) // 2048
        else:
            self.last_max_cwnd = t.cwnd
        reduced = t.cwnd * BETA // 1024
        return reduced if reduced > 2 else 2

    def increase(self, t: "Tcb", acked: i64, now: i64) -> None:
        if t.cwnd < t.ssthresh:
            acked = slow_start(t, acked)
            if acked == 0:
                return
        self._update(t.cwnd, acked, _jiffies(now))
        additive_increase(t, self.cnt, acked)

    def _update(self, cwnd: i64, acked: i64, jiffies: i64) -> None:
        """Set `cnt` from the curve (bictcp_update)."""
        self.ack_cnt += acked
        if self.last_cwnd == cwnd and jiffies - self.last_time <= HZ // 32:
            return
        if not self.epoch_start or jiffies != self.last_time:
            self._follow_curve(cwnd, acked, jiffies)
        self._be_friendly(cwnd)
        if self.cnt < 2:
            # At most half a segment more per segment acknowledged (RFC 9438 4.4).
            self.cnt = 2

    def _follow_curve(self, cwnd: i64, acked: i64, jiffies: i64) -> None:
        """W(t) = C (t - K)^3 + W_max (RFC 9438 4.2)."""
        self.last_cwnd = cwnd
        self.last_time = jiffies
        if self.epoch_start == 0:
            self.epoch_start = jiffies
            self.ack_cnt = acked
            self.tcp_cwnd = cwnd
            if self.last_max_cwnd <= cwnd:
                self.k = 0
                self.origin = cwnd
            else:
                self.k = cubic_root(CUBE_FACTOR * (self.last_max_cwnd - cwnd))
                self.origin = self.last_max_cwnd
        at = jiffies - self.epoch_start + (self.delay_min + 3999) // 4000
        at = (at << SCALE_BITS) // HZ
        offset = self.k - at if at < self.k else at - self.k
        if offset > 600_000:
            # Ten minutes past the inflection the target is beyond any window: keep the cube within 64 bits.
            offset = 600_000
        delta = _cube(offset)
        target = self.origin - delta if at < self.k else self.origin + delta
        self.cnt = cwnd // (target - cwnd) if target > cwnd else 100 * cwnd
        if self.last_max_cwnd == 0 and self.cnt > 20:
            # Nothing is known of the path yet: grow by 5 % per round trip.
            self.cnt = 20

    def _be_friendly(self, cwnd: i64) -> None:
        """Never slower than Reno would be (RFC 9438 4.3)."""
        delta = (cwnd * BETA_SCALE) >> 3
        if delta > 0 and self.ack_cnt > delta:
            steps = (self.ack_cnt - 1) // delta
            self.ack_cnt -= steps * delta
            self.tcp_cwnd += steps
        if self.tcp_cwnd > cwnd:
            most = cwnd // (self.tcp_cwnd - cwnd)
            if self.cnt > most:
                self.cnt = most

    def event(self, t: "Tcb", what: i64, now: i64) -> None:
        """An idle period does not move the window along the curve (RFC 9438 5.8)."""
        if what != EVENT_TX_START or not self.epoch_start:
            return
        jiffies = _jiffies(now)
        idle = jiffies - _jiffies(t.lsndtime)
        if idle > 0:
            self.epoch_start += idle
            if self.epoch_start > jiffies:
                self.epoch_start = jiffies

    def state_changes(self, t: "Tcb", state: i64, now: i64) -> None:
        """After a timeout nothing that was known of the path holds."""
        if state == CA_LOSS:
            self._reset()
            self._new_round(t, now)

    def acked(self, t: "Tcb", rtt_us: i64, now: i64) -> None:
        if rtt_us < 0:
            return
        if self.epoch_start and _jiffies(now) - self.epoch_start < HZ:
            # Right after a recovery the samples tell of the old queue.
            return
        if rtt_us == 0:
            rtt_us = 1
        if self.delay_min == 0 or self.delay_min > rtt_us:
            self.delay_min = rtt_us
        if not self.found and t.cwnd < t.ssthresh:
            self._hystart(t, rtt_us, now)

    def _hystart(self, t: "Tcb", rtt_us: i64, now: i64) -> None:
        """Leave slow start when ACKs come in a train as long as the path, or the delay rises (hystart_update)."""
        if seq_gt(t.snd_una, self.end_seq):
            self._new_round(t, now)
        if t.cwnd < HYSTART_LOW_WINDOW:
            return
        counters = t.net.counters
        clock = now // 1000
        if clock - self.last_ack <= HYSTART_ACK_DELTA_US:
            self.last_ack = clock
            threshold = self.delay_min + _ack_delay_us(t.pacing_rate)
            if not t.paced:
                threshold >>= 1
            if clock - self.round_start > threshold:
                self.found = True
                counters.TcpExtTCPHystartTrainDetect += 1
                counters.TcpExtTCPHystartTrainCwnd += t.cwnd
                t.ssthresh = t.cwnd
        if self.curr_rtt > rtt_us:
            self.curr_rtt = rtt_us
        if self.sample_cnt < HYSTART_MIN_SAMPLES:
            self.sample_cnt += 1
            return
        rise = self.delay_min >> 3
        if rise < HYSTART_DELAY_MIN_US:
            rise = HYSTART_DELAY_MIN_US
        elif rise > HYSTART_DELAY_MAX_US:
            rise = HYSTART_DELAY_MAX_US
        if self.curr_rtt > self.delay_min + rise:
            self.found = True
            counters.TcpExtTCPHystartDelayDetect += 1
            counters.TcpExtTCPHystartDelayCwnd += t.cwnd
            t.ssthresh = t.cwnd


@mypyc_attr(acyclic=True)
class CubicSeed(CongestionControl):
    """What connections share that have sent nothing yet."""

    name: str = "cubic"
    shared: bool = True

    def own(self) -> CongestionControl:
        return Cubic()

    def increase(self, t: "Tcb", acked: i64, now: i64) -> None:
        """Nothing was sent that could be acknowledged."""


CUBIC: Final = CubicSeed()


def _jiffies(now: i64) -> i64:
    """Linux's clock begins near its wrap, ours at 1: 0 means 'no epoch'."""
    return now // JIFFY + 1


def _cube(offset: i64) -> i64:
    """CUBE_RTT_SCALE * offset**3 >> 40 without leaving 63 bits: large offsets lose their lowest bits first."""
    if offset < 200_000:
        return (CUBE_RTT_SCALE * offset * offset * offset) >> 40
    offset >>= 4
    return (CUBE_RTT_SCALE * offset * offset * offset) >> 28


def _ack_delay_us(rate: i64) -> i64:
    """What batching below us may add to an ACK train: four super-segments at the pacing rate, at most 1 ms."""
    if rate <= 0 or rate == NO_PACING:
        return 0
    delay = GSO_MAX * 4 * 1_000_000 // rate
    return delay if delay < 1000 else 1000
