"""Each parameter that the stack implements changes some experiment's record; one that does nothing is refused."""

import hashlib
import io

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timewait.base.errors import UsageError
from timewait.cli.main import group
from timewait.lab.bench import Setting
from timewait.lab.run import check_setting, find, load_all, run
from timewait.record.jsonl import write_to
from timewait.tcp.sysctl import SPECS, UNUSED, Sysctl

V4 = "net.ipv4."
SHOWN = {
    "net.core.somaxconn": ("SYNQ-04", "syn", 0),
    V4 + "icmp_echo_ignore_all": ("OPS-04", "echo", 1),
    V4 + "icmp_msgs_burst": ("UDP-01", "", 0),
    V4 + "icmp_msgs_per_sec": ("OPS-04", "all-unreachable", 3),
    V4 + "icmp_ratelimit": ("OPS-04", "unreachable", 100),
    V4 + "ip_default_ttl": ("EST-07", "", 1),
    V4 + "ip_local_port_range": ("SOCK-12", "", "40000 40003"),
    V4 + "ip_local_reserved_ports": ("SOCK-12", "", "32768-50000"),
    V4 + "ip_no_pmtu_disc": ("EST-07", "", 1),
    V4 + "ip_nonlocal_bind": ("OPS-04", "nonlocal", 1),
    V4 + "ipfrag_high_thresh": ("UDP-10", "", 0),
    V4 + "ipfrag_max_dist": ("OPS-04", "fragments", 1),
    V4 + "ipfrag_time": ("UDP-10", "", 0),
    V4 + "tcp_abort_on_overflow": ("ACCQ-04", "", 1),
    V4 + "tcp_adv_win_scale": ("EST-07", "", 0),
    V4 + "tcp_base_mss": ("MSS-06", "1", 800),
    V4 + "tcp_challenge_ack_limit": ("CLS-11", "", 0),
    V4 + "tcp_comp_sack_delay_ns": ("OPS-04", "holes", 0),
    V4 + "tcp_comp_sack_nr": ("OPS-04", "holes", 0),
    V4 + "tcp_comp_sack_slack_ns": ("OPS-04", "holes", 5_000_000),
    V4 + "tcp_congestion_control": ("RTX-06", "", "reno"),
    V4 + "tcp_dsack": ("HDR-18", "", 0),
    V4 + "tcp_early_retrans": ("KA-08", "unacked", 0),
    V4 + "tcp_ecn": ("CLS-01", "", 1),
    V4 + "tcp_ecn_fallback": ("OPS-04", "ecn-fallback", 0),
    V4 + "tcp_ecn_option": ("OPS-04", "accurate-ecn", 0),
    V4 + "tcp_ecn_option_beacon": ("OPS-04", "ecn-beacon", 0),
    V4 + "tcp_fastopen": ("TFO-02", "", 0),
    V4 + "tcp_fastopen_blackhole_timeout_sec": ("OPS-04", "given-up", 3600),
    V4 + "tcp_fastopen_key": ("TFO-02", "", "11111111-22222222-33333333-44444444"),
    V4 + "tcp_fin_timeout": ("CLS-15", "61", 0),
    V4 + "tcp_frto": ("OPS-04", "frto", 0),
    V4 + "tcp_invalid_ratelimit": ("EST-37", "", 0),
    V4 + "tcp_keepalive_intvl": ("KA-07", "silent", 2),
    V4 + "tcp_keepalive_probes": ("KA-07", "silent", 1),
    V4 + "tcp_keepalive_time": ("OPS-07", "answered", 1),
    V4 + "tcp_max_orphans": ("CLS-25", "close", 0),
    V4 + "tcp_max_reordering": ("OPS-04", "reordering", 3),
    V4 + "tcp_max_syn_backlog": ("SYNQ-04", "syn", 0),
    V4 + "tcp_max_tw_buckets": ("CLS-25", "close", 0),
    V4 + "tcp_min_tso_segs": ("OPS-04", "paced", 8),
    V4 + "tcp_pacing_ca_ratio": ("OPS-04", "paced", 60),
    V4 + "tcp_pacing_ss_ratio": ("OPS-04", "paced", 100),
    V4 + "tcp_tso_rtt_log": ("OPS-04", "paced", 12),
    V4 + "tcp_min_rtt_wlen": ("HDR-13", "", 0),
    V4 + "tcp_min_snd_mss": ("MSS-02", "none", 1000),
    V4 + "tcp_moderate_rcvbuf": ("RTX-06", "", 0),
    V4 + "tcp_mtu_probe_floor": ("MSS-06", "narrow", 700),
    V4 + "tcp_mtu_probing": ("MSS-06", "0", 1),
    V4 + "tcp_no_metrics_save": ("OPS-04", "remembered", 1),
    V4 + "tcp_no_ssthresh_metrics_save": ("OPS-04", "remembered", 0),
    V4 + "tcp_notsent_lowat": ("EST-17", "four", 0),
    V4 + "tcp_orphan_retries": ("CLS-14", "data", 1),
    V4 + "tcp_pingpong_thresh": ("DACK-01", "at-once", 2),
    V4 + "tcp_probe_interval": ("MSS-06", "wider", 60),
    V4 + "tcp_probe_threshold": ("MSS-06", "2", 100),
    V4 + "tcp_recovery": ("RTX-04", "sack", 5),
    V4 + "tcp_reordering": ("RTX-04", "sack", 0),
    V4 + "tcp_retrans_collapse": ("MSS-05", "apart", 2),
    V4 + "tcp_retries1": ("MSS-06", "1", 5),
    V4 + "tcp_retries2": ("KA-08", "unacked", 0),
    V4 + "tcp_rfc1337": ("TW-13", "0", 1),
    V4 + "tcp_rmem": ("EST-07", "", "4096 16384 4194304"),
    V4 + "tcp_rto_max_ms": ("EST-34", "", 1000),
    V4 + "tcp_rto_min_us": ("MSS-02", "none", 1),
    V4 + "tcp_sack": ("SOCK-12", "", 0),
    V4 + "tcp_shrink_window": ("HDR-01", "", 1),
    V4 + "tcp_slow_start_after_idle": ("OPS-04", "idle", 0),
    V4 + "tcp_stdurg": ("OPS-04", "urgent", 1),
    V4 + "tcp_syn_linear_timeouts": ("EST-29", "", 1),
    V4 + "tcp_syn_retries": ("EST-27", "default", 1),
    V4 + "tcp_synack_retries": ("EST-34", "", 0),
    V4 + "tcp_syncookies": ("EST-07", "", 2),
    V4 + "tcp_thin_linear_timeouts": ("KA-08", "unacked", 1),
    V4 + "tcp_timestamps": ("SOCK-12", "", 0),
    V4 + "tcp_tso_win_divisor": ("MSS-03", "", 0),
    V4 + "tcp_tw_recycle": ("SOCK-10", "", 1),
    V4 + "tcp_tw_reuse": ("TW-23", "2", 1),
    V4 + "tcp_tw_reuse_delay": ("EST-26", "", 1),
    V4 + "tcp_window_scaling": ("SOCK-12", "", 0),
    V4 + "tcp_wmem": ("RTX-06", "", "4096 8192 16384"),
    V4 + "tcp_workaround_signed_windows": ("EST-07", "", 1),
}
"""Parameter -> a lab, its variant, and a value with which other packets are sent, or other calls answered."""


OF_ITS_TIME = {V4 + "tcp_tw_recycle": "linux-3.10"}
"""Where a parameter is one of older kernels."""


def digest(id, variant, *sysctl, profile=""):
    """Of everything that a lab's worlds recorded."""
    written = io.StringIO()
    for _, record in run(id, Setting(variant=variant, sysctl=sysctl, profile=profile)).records:
        write_to(record, written)
    return hashlib.sha256(written.getvalue().encode()).hexdigest()


SETTABLE = sorted(name for name, spec in SPECS.items() if not spec.fixed)


@pytest.mark.parametrize("name", SETTABLE)
def test_it_changes_what_happens(name):
    assert name in SHOWN, "no experiment shows what this parameter does: write one, or enter it in UNUSED"
    id, variant, value = SHOWN[name]
    profile = OF_ITS_TIME.get(name, "")
    usual = digest(id, variant, profile=profile)
    assert usual == digest(id, variant, profile=profile), "the experiment is no measure: it differs from run to run"
    assert usual != digest(id, variant, ("", name, value), profile=profile)


@pytest.mark.parametrize("name", sorted(UNUSED))
def test_one_that_does_nothing_is_read_and_refused(name):
    assert str(Sysctl()[name]) == UNUSED[name]
    with pytest.raises(UsageError, match=name):
        Sysctl()[name] = UNUSED[name]
    told = CliRunner().invoke(group, ["lab", "EST-01", "--set", f"{name}=1"])
    assert told.exit_code == 2 and name in told.output


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["EST-271"], "EST-27"),
        (["nonsense"], "timewait lab"),
        (["EST-27", "--set", "net.ipv4.tcp_syn_retires=3"], "tcp_syn_retries"),
        (["EST-27", "--set", "net.ipv4.tcp_syn_retries=128"], "1..127"),
        (["EST-27", "--set", "net.ipv4.tcp_syn_retries=many"], "tcp_syn_retries"),
        (["EST-27", "--set", "net.ipv4.tcp_rmem=1 2"], "tcp_rmem"),
        (["EST-27", "--variant", "nonsense"], "default"),
        (["EST-27", "--profile", "linux-7.1"], "linux-6.18"),
    ],
)
def test_nonsense_is_answered_with_what_is_valid(arguments, hint):
    told = CliRunner().invoke(group, ["lab", *arguments])
    assert told.exit_code == 2
    assert hint in told.output and "Traceback" not in told.output


def _values(spec):
    if spec.kind == "int":
        return st.integers(spec.low, min(spec.high, 10**6))
    if spec.kind == "triple":
        return (
            st.tuples(*[st.integers(max(spec.low, 4096), 10**6)] * 3).map(sorted).map(lambda v: " ".join(map(str, v)))
        )
    if spec.kind == "word":
        return st.sampled_from(["reno", "cubic"])
    return st.sampled_from(["40000 40100"] if spec.kind == "pair" else [])


NUMERIC = [name for name, spec in SPECS.items() if not spec.fixed and spec.kind in ("int", "triple", "word", "pair")]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_valid_value_gives_a_verdict_and_no_traceback(data):
    name = data.draw(st.sampled_from([name for name in NUMERIC if name in Sysctl().names()]))
    value = data.draw(_values(SPECS[name]))
    id = data.draw(st.sampled_from(["EST-07", "EST-27", "CLS-01", "TW-02", "RTX-02", "KA-02", "SYNQ-04", "HTTP-04"]))
    setting = check_setting(find(id), Setting(sysctl=(("", name, value),)))
    assert run(id, setting).error == ""


def test_every_claim_of_the_index_has_its_experiment():
    labs = load_all()
    assert len(labs) >= 253
    assert {id.partition("-")[0] for id in labs} >= {"HTTP", "OPS", "CW", "KA", "FAIL"}
