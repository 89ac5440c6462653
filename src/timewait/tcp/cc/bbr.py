"""BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00), as Linux's tcp_bbr.c does it.

The path is modelled by two numbers, the highest rate of delivery over ten round trips
and the smallest RTT over ten seconds; pacing follows the first, the window twice their
product. Rates are in segments per us scaled by 2**24, gains in 256ths.
"""

from typing import TYPE_CHECKING, Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.cc.base import EVENT_TX_START, NO_PACING, CongestionControl, RateSample

if TYPE_CHECKING:
    from timewait.tcp.tcb import Tcb

BW_SCALE: Final = 24
BW_UNIT: Final = 1 << 24
UNIT: Final = 256
BW_ROUNDS: Final = 10
MIN_RTT_WINDOW: Final = 10 * SEC
PROBE_RTT_TIME: Final = 200 * MSEC
HIGH_GAIN: Final = 256 * 2885 // 1000 + 1
"""2 / ln 2: the smallest gain that doubles the rate each round."""
DRAIN_GAIN: Final = 256 * 1000 // 2885
CWND_GAIN: Final = 512
LEAST_WINDOW: Final = 4
FULL_BW_ROUNDS: Final = 3
INFINITE_SSTHRESH: Final = 0x7FFFFFFF
INIT_CWND: Final = 10
LT_MIN_ROUNDS: Final = 4
LT_MAX_ROUNDS: Final = 48
LT_LOSS: Final = 50
"""A fifth of the segments lost looks like a policer."""
LT_DIFFERENCE: Final = 4000 // 8
EXTRA_ROUNDS: Final = 5
EXTRA_MAX_US: Final = 100_000
MIN_TSO_RATE: Final = 1_200_000 // 8

STARTUP: Final = 0
DRAIN: Final = 1
PROBE_BW: Final = 2
PROBE_RTT: Final = 3
CA_RECOVERY: Final = 3
CA_LOSS: Final = 4


@mypyc_attr(acyclic=True)
class WindowedMax:
    """The largest value of the last so many rounds, by Kathleen Nichols' three estimates (lib/win_minmax.c)."""

    def __init__(self) -> None:
        self.t0: i64 = 0
        self.v0: i64 = 0
        self.t1: i64 = 0
        self.v1: i64 = 0
        self.t2: i64 = 0
        self.v2: i64 = 0

    def update(self, window: i64, at: i64, value: i64) -> None:
        """Take in a value of round `at`."""
        if value >= self.v0 or at - self.t2 > window:
            self.t0 = self.t1 = self.t2 = at
            self.v0 = self.v1 = self.v2 = value
            return
        if value >= self.v1:
            self.t1 = self.t2 = at
            self.v1 = self.v2 = value
        elif value >= self.v2:
            self.t2 = at
            self.v2 = value
        age = at - self.t0
        if age > window:
            self._shift(at, value)
            if at - self.t0 > window:
                self._shift(at, value)
        elif self.t1 == self.t0 and age > window // 4:
            self.t1 = self.t2 = at
            self.v1 = self.v2 = value
        elif self.t2 == self.t1 and age > window // 2:
            self.t2 = at
            self.v2 = value

    def _shift(self, at: i64, value: i64) -> None:
        self.t0 = self.t1
        self.v0 = self.v1
        self.t1 = self.t2
        self.v1 = self.v2
        self.t2 = at
        self.v2 = value


@mypyc_attr(acyclic=True)
class Bbr(CongestionControl):
    """Paces at the bottleneck's rate instead of filling its queue until something is lost."""

    name: str = "bbr"
    needs_pacing: bool = True
    controls: bool = True

    def __init__(self) -> None:
        self.mode: i64 = STARTUP
        self.bw = WindowedMax()
        self.min_rtt_us: i64 = -1
        self.min_rtt_at: i64 = 0
        self.probe_rtt_done_at: i64 = 0
        self.probe_rtt_round_done = False
        self.rounds: i64 = 0
        self.next_rtt_delivered: i64 = 0
        self.round_start = False
        self.cycle_at: i64 = 0
        self.cycle_idx: i64 = 0
        self.prev_ca_state: i64 = 0
        self.packet_conservation = False
        self.idle_restart = False
        self.has_seen_rtt = False
        self.pacing_gain: i64 = HIGH_GAIN
        self.cwnd_gain: i64 = HIGH_GAIN
        self.full_bw: i64 = 0
        self.full_bw_cnt: i64 = 0
        self.full_bw_reached = False
        self.prior_cwnd: i64 = 0
        # Long-term sampling: a policer's rate (bbr_lt_*).
        self.lt_sampling = False
        self.lt_rounds: i64 = 0
        self.lt_use = False
        self.lt_bw: i64 = 0
        self.lt_delivered: i64 = 0
        self.lt_at_ms: i64 = 0
        self.lt_lost: i64 = 0
        # ACK aggregation.
        self.epoch_at: i64 = 0
        self.epoch_acked: i64 = 0
        self.extra0: i64 = 0
        self.extra1: i64 = 0
        self.extra_idx: i64 = 0
        self.extra_rounds: i64 = 0

    def start(self, t: "Tcb", now: i64) -> None:
        t.ssthresh = INFINITE_SSTHRESH
        self.next_rtt_delivered = t.delivered
        self.min_rtt_us = t.min_rtt_us
        self.min_rtt_at = now
        self.epoch_at = now
        self._init_pacing(t)
        self._reset_lt(t)

    # What the connection asks

    def ssthresh(self, t: "Tcb", now: i64) -> i64:
        """Losses do not move the threshold; the window is remembered for afterwards."""
        self._save_cwnd(t)
        return t.ssthresh

    def increase(self, t: "Tcb", acked: i64, now: i64) -> None:
        """Never called: `control` does it."""

    def undo_window(self, t: "Tcb") -> i64:
        self.full_bw = 0
        self.full_bw_cnt = 0
        self._reset_lt(t)
        return t.cwnd

    def sndbuf_factor(self) -> i64:
        return 3

    def min_tso_segs(self, t: "Tcb") -> i64:
        return 1 if t.pacing_rate < MIN_TSO_RATE else 2

    def state_changes(self, t: "Tcb", state: i64, now: i64) -> None:
        """A timeout ends the round (bbr_set_state)."""
        if state == CA_LOSS:
            self.prev_ca_state = CA_LOSS
            self.full_bw = 0
            self.round_start = True
            sample = RateSample()
            sample.losses = 1
            self._sample_lt(t, sample)

    def event(self, t: "Tcb", what: i64, now: i64) -> None:
        """Restarting from idle does not send faster than the path (bbr_cwnd_event)."""
        if what != EVENT_TX_START or not t.app_limited:
            return
        self.idle_restart = True
        self.epoch_at = now
        self.epoch_acked = 0
        if self.mode == PROBE_BW:
            self._set_pacing(t, self._current_bw(), UNIT)
        elif self.mode == PROBE_RTT:
            self._check_probe_rtt_done(t, now)

    def control(self, t: "Tcb", rs: RateSample, now: i64) -> None:
        """bbr_main: update the model, then rate and window from it."""
        self._update_bw(t, rs)
        self._update_aggregation(t, rs)
        if self.mode == PROBE_BW and self._next_phase(t, rs, now):
            self._advance_phase(t)
        self._check_full_bw(rs)
        self._check_drain(t, now)
        self._update_min_rtt(t, rs, now)
        self._update_gains()
        bw = self._current_bw()
        self._set_pacing(t, bw, self.pacing_gain)
        self._set_cwnd(t, rs, rs.acked_sacked, bw)

    # Rate

    def _current_bw(self) -> i64:
        return self.lt_bw if self.lt_use else self.bw.v0

    def _pacing_rate(self, t: "Tcb", bw: i64, gain: i64) -> i64:
        """Octets per second, one per cent below the estimate (bbr_rate_bytes_per_sec)."""
        scaled = bw * t.mss_cache
        if scaled > 1 << 50:
            return t.wishes.max_pacing_rate
        scaled = scaled * gain >> 8
        if scaled > 1 << 42:
            return t.wishes.max_pacing_rate
        rate = scaled * 990_000 >> BW_SCALE
        return rate if rate < t.wishes.max_pacing_rate else t.wishes.max_pacing_rate

    def _init_pacing(self, t: "Tcb") -> None:
        """bbr_init_pacing_rate_from_rtt: the initial window in one RTT, or 1 ms."""
        rtt_us: i64 = 1000
        if t.srtt_us:
            rtt_us = t.srtt_us >> 3
            if rtt_us < 1:
                rtt_us = 1
            self.has_seen_rtt = True
        t.pacing_rate = self._pacing_rate(t, t.cwnd * BW_UNIT // rtt_us, HIGH_GAIN)

    def _set_pacing(self, t: "Tcb", bw: i64, gain: i64) -> None:
        if not self.has_seen_rtt and t.srtt_us:
            self._init_pacing(t)
        rate = self._pacing_rate(t, bw, gain)
        if self.full_bw_reached or rate > t.pacing_rate:
            t.pacing_rate = rate

    # Window

    def _tso_goal(self, t: "Tcb") -> i64:
        octets = t.pacing_rate >> 10 if t.pacing_rate != NO_PACING else 65535
        if octets > 65216:
            octets = 65216
        segs = octets // t.mss_cache
        least = self.min_tso_segs(t)
        if segs < least:
            segs = least
        return segs if segs < 0x7F else 0x7F

    def _bdp(self, bw: i64, gain: i64) -> i64:
        if self.min_rtt_us < 0:
            return INIT_CWND
        return ((bw * self.min_rtt_us * gain >> 8) + BW_UNIT - 1) // BW_UNIT

    def _quantize(self, t: "Tcb", cwnd: i64) -> i64:
        """Room for the segments that batching holds up (bbr_quantization_budget)."""
        cwnd += 3 * self._tso_goal(t)
        cwnd = (cwnd + 1) & ~1
        if self.mode == PROBE_BW and self.cycle_idx == 0:
            cwnd += 2
        return cwnd

    def _inflight(self, t: "Tcb", bw: i64, gain: i64) -> i64:
        return self._quantize(t, self._bdp(bw, gain))

    def _in_net_at_departure(self, t: "Tcb", inflight: i64, now: i64) -> i64:
        """What will be in flight when the next paced segment leaves (bbr_packets_in_net_at_edt)."""
        wait = t.wstamp - now
        gone: i64 = 0
        if wait > 0:
            gone = self._current_bw() * (wait // 1000) >> BW_SCALE
        if self.pacing_gain > UNIT:
            inflight += self._tso_goal(t)
        return inflight - gone if inflight > gone else 0

    def _save_cwnd(self, t: "Tcb") -> None:
        if (self.prev_ca_state < CA_RECOVERY and self.mode != PROBE_RTT) or t.cwnd > self.prior_cwnd:
            self.prior_cwnd = t.cwnd

    def _recover_or_restore(self, t: "Tcb", rs: RateSample, acked: i64) -> bool:
        """Packet conservation in the first round of a recovery; the old window afterwards."""
        state = i64(t.ca_state)
        cwnd = t.cwnd
        in_flight = t.packets_in_flight()
        if rs.losses > 0:
            cwnd = cwnd - rs.losses if cwnd - rs.losses > 1 else 1
        if state == CA_RECOVERY and self.prev_ca_state != CA_RECOVERY:
            self.packet_conservation = True
            self.next_rtt_delivered = t.delivered
            cwnd = in_flight + acked
        elif self.prev_ca_state >= CA_RECOVERY and state < CA_RECOVERY:
            if cwnd < self.prior_cwnd:
                cwnd = self.prior_cwnd
            self.packet_conservation = False
        self.prev_ca_state = state
        if self.packet_conservation and cwnd < in_flight + acked:
            cwnd = in_flight + acked
        t.cwnd = cwnd
        return self.packet_conservation

    def _set_cwnd(self, t: "Tcb", rs: RateSample, acked: i64, bw: i64) -> None:
        if acked > 0 and not self._recover_or_restore(t, rs, acked):
            target = self._quantize(t, self._bdp(bw, self.cwnd_gain) + self._aggregation_window(bw))
            cwnd = t.cwnd
            if self.full_bw_reached:
                cwnd = cwnd + acked if cwnd + acked < target else target
            elif cwnd < target or t.delivered < INIT_CWND:
                cwnd += acked
            t.cwnd = cwnd if cwnd > LEAST_WINDOW else LEAST_WINDOW
        if self.mode == PROBE_RTT and t.cwnd > LEAST_WINDOW:
            t.cwnd = LEAST_WINDOW

    def _aggregation_window(self, bw: i64) -> i64:
        if not self.full_bw_reached:
            return 0
        extra = self.extra0 if self.extra0 > self.extra1 else self.extra1
        most = bw * EXTRA_MAX_US // BW_UNIT
        return extra if extra < most else most

    # The gain cycle

    def _next_phase(self, t: "Tcb", rs: RateSample, now: i64) -> bool:
        whole = (t.delivered_mstamp - self.cycle_at) // 1000 > self.min_rtt_us
        if self.pacing_gain == UNIT:
            return whole
        inflight = self._in_net_at_departure(t, rs.prior_in_flight, now)
        bw = self.bw.v0
        if self.pacing_gain > UNIT:
            return whole and (rs.losses > 0 or inflight >= self._inflight(t, bw, self.pacing_gain))
        return whole or inflight <= self._inflight(t, bw, UNIT)

    def _advance_phase(self, t: "Tcb") -> None:
        self.cycle_idx = (self.cycle_idx + 1) & 7
        self.cycle_at = t.delivered_mstamp

    def _enter_probe_bw(self, t: "Tcb") -> None:
        """Begin anywhere in the cycle but in the draining phase."""
        self.mode = PROBE_BW
        self.cycle_idx = 7 - t.net.rng.randrange(7)
        self._advance_phase(t)

    def _update_gains(self) -> None:
        if self.mode == STARTUP:
            self.pacing_gain = HIGH_GAIN
            self.cwnd_gain = HIGH_GAIN
        elif self.mode == DRAIN:
            self.pacing_gain = DRAIN_GAIN
            self.cwnd_gain = HIGH_GAIN
        elif self.mode == PROBE_BW:
            self.pacing_gain = UNIT
            if not self.lt_use:
                if self.cycle_idx == 0:
                    self.pacing_gain = 320
                elif self.cycle_idx == 1:
                    self.pacing_gain = 192
            self.cwnd_gain = CWND_GAIN
        else:
            self.pacing_gain = UNIT
            self.cwnd_gain = UNIT

    # The model

    def _update_bw(self, t: "Tcb", rs: RateSample) -> None:
        self.round_start = False
        if rs.delivered < 0 or rs.interval_us <= 0:
            return
        if rs.prior_delivered >= self.next_rtt_delivered:
            self.next_rtt_delivered = t.delivered
            self.rounds += 1
            self.round_start = True
            self.packet_conservation = False
        self._sample_lt(t, rs)
        bw = rs.delivered * BW_UNIT // rs.interval_us
        if not rs.is_app_limited or bw >= self.bw.v0:
            self.bw.update(BW_ROUNDS, self.rounds, bw)

    def _update_aggregation(self, t: "Tcb", rs: RateSample) -> None:
        """How many more segments than expected are acknowledged at once (bbr_update_ack_aggregation)."""
        if rs.acked_sacked <= 0 or rs.delivered < 0 or rs.interval_us <= 0:
            return
        if self.round_start:
            self.extra_rounds += 1
            if self.extra_rounds >= EXTRA_ROUNDS:
                self.extra_rounds = 0
                self.extra_idx = 1 - self.extra_idx
                if self.extra_idx:
                    self.extra1 = 0
                else:
                    self.extra0 = 0
        epoch_us = (t.delivered_mstamp - self.epoch_at) // 1000
        expected = self._current_bw() * epoch_us // BW_UNIT
        if self.epoch_acked <= expected or self.epoch_acked + rs.acked_sacked >= 1 << 20:
            self.epoch_acked = 0
            self.epoch_at = t.delivered_mstamp
            expected = 0
        self.epoch_acked += rs.acked_sacked
        if self.epoch_acked > 0xFFFFF:
            self.epoch_acked = 0xFFFFF
        extra = self.epoch_acked - expected
        if extra > t.cwnd:
            extra = t.cwnd
        if self.extra_idx:
            if extra > self.extra1:
                self.extra1 = extra
        elif extra > self.extra0:
            self.extra0 = extra

    def _check_full_bw(self, rs: RateSample) -> None:
        """Three rounds without a quarter more: the pipe is full (bbr_check_full_bw_reached)."""
        if self.full_bw_reached or not self.round_start or rs.is_app_limited:
            return
        if self.bw.v0 >= self.full_bw * 320 >> 8:
            self.full_bw = self.bw.v0
            self.full_bw_cnt = 0
            return
        self.full_bw_cnt += 1
        self.full_bw_reached = self.full_bw_cnt >= FULL_BW_ROUNDS

    def _check_drain(self, t: "Tcb", now: i64) -> None:
        if self.mode == STARTUP and self.full_bw_reached:
            self.mode = DRAIN
            t.ssthresh = self._inflight(t, self.bw.v0, UNIT)
        if self.mode == DRAIN:
            left = self._in_net_at_departure(t, t.packets_in_flight(), now)
            if left <= self._inflight(t, self.bw.v0, UNIT):
                self._enter_probe_bw(t)

    def _update_min_rtt(self, t: "Tcb", rs: RateSample, now: i64) -> None:
        """Every ten seconds the pipe is emptied to measure it (bbr_update_min_rtt)."""
        expired = now > self.min_rtt_at + MIN_RTT_WINDOW
        if rs.rtt_us >= 0 and (
            self.min_rtt_us < 0 or rs.rtt_us < self.min_rtt_us or (expired and not rs.is_ack_delayed)
        ):
            self.min_rtt_us = rs.rtt_us
            self.min_rtt_at = now
        if expired and not self.idle_restart and self.mode != PROBE_RTT:
            self.mode = PROBE_RTT
            self._save_cwnd(t)
            self.probe_rtt_done_at = 0
        if self.mode == PROBE_RTT:
            in_flight = t.packets_in_flight()
            t.app_limited = t.delivered + in_flight
            if t.app_limited == 0:
                t.app_limited = 1
            if self.probe_rtt_done_at == 0 and in_flight <= LEAST_WINDOW:
                self.probe_rtt_done_at = now + PROBE_RTT_TIME
                self.probe_rtt_round_done = False
                self.next_rtt_delivered = t.delivered
            elif self.probe_rtt_done_at:
                if self.round_start:
                    self.probe_rtt_round_done = True
                if self.probe_rtt_round_done:
                    self._check_probe_rtt_done(t, now)
        if rs.delivered > 0:
            self.idle_restart = False

    def _check_probe_rtt_done(self, t: "Tcb", now: i64) -> None:
        if self.probe_rtt_done_at == 0 or now <= self.probe_rtt_done_at:
            return
        self.min_rtt_at = now
        if t.cwnd < self.prior_cwnd:
            t.cwnd = self.prior_cwnd
        if self.full_bw_reached:
            self._enter_probe_bw(t)
        else:
            self.mode = STARTUP

    # A policer's rate

    def _reset_lt_interval(self, t: "Tcb") -> None:
        self.lt_at_ms = t.delivered_mstamp // MSEC
        self.lt_delivered = t.delivered
        self.lt_lost = t.lost
        self.lt_rounds = 0

    def _reset_lt(self, t: "Tcb") -> None:
        self.lt_bw = 0
        self.lt_use = False
        self.lt_sampling = False
        self._reset_lt_interval(t)

    def _sample_lt(self, t: "Tcb", rs: RateSample) -> None:
        """Between two losses the rate of a token bucket shows (bbr_lt_bw_sampling)."""
        if self.lt_use:
            if self.mode == PROBE_BW and self.round_start:
                self.lt_rounds += 1
                if self.lt_rounds >= LT_MAX_ROUNDS:
                    self._reset_lt(t)
                    self._enter_probe_bw(t)
            return
        if not self.lt_sampling:
            if not rs.losses:
                return
            self._reset_lt_interval(t)
            self.lt_sampling = True
        if rs.is_app_limited:
            self._reset_lt(t)
            return
        if self.round_start:
            self.lt_rounds += 1
        if self.lt_rounds < LT_MIN_ROUNDS:
            return
        if self.lt_rounds > 4 * LT_MIN_ROUNDS:
            self._reset_lt(t)
            return
        if not rs.losses:
            return
        lost = t.lost - self.lt_lost
        delivered = t.delivered - self.lt_delivered
        if not delivered or lost << 8 < LT_LOSS * delivered:
            return
        elapsed = t.delivered_mstamp // MSEC - self.lt_at_ms
        if elapsed < 1:
            return
        if elapsed >= 0xFFFFFFFF // 1000:
            self._reset_lt(t)
            return
        self._lt_interval_done(t, delivered * BW_UNIT // (elapsed * 1000))

    def _lt_interval_done(self, t: "Tcb", bw: i64) -> None:
        if self.lt_bw:
            difference = bw - self.lt_bw if bw > self.lt_bw else self.lt_bw - bw
            alike = difference * UNIT <= (UNIT // 8) * self.lt_bw
            if alike or self._pacing_rate(t, difference, UNIT) <= LT_DIFFERENCE:
                self.lt_bw = (bw + self.lt_bw) >> 1
                self.lt_use = True
                self.pacing_gain = UNIT
                self.lt_rounds = 0
                return
        self.lt_bw = bw
        self._reset_lt_interval(t)
