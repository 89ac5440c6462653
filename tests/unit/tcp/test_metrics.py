"""The cache of what is known of peers: how much is kept, for how long, and how it reads."""

from timewait.base.instant import SEC
from timewait.tcp.metrics import MOST, TIMEOUT, MetricsCache, show_entry

OWN = bytes((10, 0, 0, 1))
PEER = bytes((10, 0, 0, 2))


def address(number):
    return number.to_bytes(4, "big")


def test_the_entry_not_written_for_longest_goes_first():
    cache = MetricsCache()
    for number in range(MOST):
        cache.obtain(OWN, address(number), 0)
    cache.obtain(OWN, address(0), 1)
    cache.obtain(OWN, address(MOST), 2)
    assert len(cache.entries) == MOST
    assert cache.find(OWN, address(0), 2) is not None
    assert cache.find(OWN, address(1), 2) is None


def test_looking_does_not_keep_an_entry():
    cache = MetricsCache()
    for number in range(MOST):
        cache.obtain(OWN, address(number), 0)
    cache.find(OWN, address(0), 1)
    cache.obtain(OWN, address(MOST), 2)
    assert cache.find(OWN, address(0), 2) is None


def test_after_an_hour_all_but_the_cookie_is_forgotten():
    cache = MetricsCache()
    cache.remember_cookie(OWN, PEER, b"12345678", 1460, 0)
    entry = cache.obtain(OWN, PEER, 0)
    entry.rtt, entry.cwnd, entry.ssthresh = 800, 10, 7
    assert cache.find(OWN, PEER, TIMEOUT).rtt == 800
    late = cache.find(OWN, PEER, TIMEOUT + 1)
    assert (late.rtt, late.cwnd, late.ssthresh, late.cookie, late.mss) == (0, 0, 0, b"12345678", 1460)


def test_own_addresses_have_entries_of_their_own():
    cache = MetricsCache()
    cache.obtain(OWN, PEER, 0).rtt = 8
    assert cache.find(address(77), PEER, 0) is None
    assert cache.proven(OWN, PEER, 0) and not cache.proven(address(77), PEER, 0)


def test_flush_takes_everything_or_one_peer():
    cache = MetricsCache()
    for number in range(3):
        cache.obtain(OWN, address(number), 0)
    assert cache.flush(address(1)) == 1
    assert len(cache.entries) == 2
    assert cache.flush() == 2 and not cache.entries


def test_it_reads_like_ip_tcp_metrics():
    cache = MetricsCache()
    cache.remember_cookie(OWN, PEER, bytes(range(8)), 1400, 0)
    entry = cache.obtain(OWN, PEER, 0)
    entry.rtt, entry.rttvar, entry.cwnd, entry.ssthresh, entry.reordering = 8000, 2000, 20, 9, 5
    key = PEER + OWN
    assert show_entry(key, entry, 1500 * SEC // 1000) == (
        PEER,
        OWN,
        "age 1.500sec ssthresh 9 cwnd 20 reordering 5 rtt 1000us rttvar 500us fo_mss 1400 fo_cookie 0001020304050607",
    )
