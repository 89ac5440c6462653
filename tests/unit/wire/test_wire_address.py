"""Addresses: reading, showing, classifying."""

import pytest

from timewait.base.errors import UsageError
from timewait.wire import address as a


@pytest.mark.parametrize("text", ["0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_round_trip(text):
    assert a.show(a.pack(text)) == text


@pytest.mark.parametrize("text", ["", "1", "127.1", "256.0.0.1", "10.0.0.1 ", "host", "fe80::1%eth0", "1::2::3", "\0"])
def test_not_an_address(text):
    with pytest.raises(UsageError, match="not an IP address"):
        a.pack(text)


def test_show():
    assert a.show(b"") == "*"
    assert a.show(b"\1\2") == "?0102"
    assert a.show_endpoint(a.pack("10.0.0.1"), 80) == "10.0.0.1:80"
    assert a.show_endpoint(a.pack("fd00::1"), 80) == "[fd00::1]:80"


def test_prefixes():
    assert a.parse_prefix("10.0.0.1/24") == (a.pack("10.0.0.1"), 24)
    assert a.parse_prefix("10.0.0.1") == (a.pack("10.0.0.1"), 32)
    assert a.parse_prefix("fd00::1/64") == (a.pack("fd00::1"), 64)
    for text in ("10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/x", "fd00::/129", "/8", "10.0.0.1/\u0663"):
        with pytest.raises(UsageError):
            a.parse_prefix(text)
    assert a.network(a.pack("10.1.2.3"), 8) == a.pack("10.0.0.0")
    assert a.network(a.pack("10.1.2.3"), 0) == a.ANY4
    assert a.in_prefix(a.pack("10.1.2.3"), a.pack("10.1.0.0"), 16)
    assert not a.in_prefix(a.pack("10.1.2.3"), a.pack("10.2.0.0"), 16)
    assert not a.in_prefix(a.pack("10.1.2.3"), a.ANY6, 0)
    assert a.in_prefix(a.pack("10.1.2.3"), a.ANY4, 0)


def test_kinds():
    p = a.pack
    assert [a.is_multicast(p(t)) for t in ("224.0.0.1", "239.1.1.1", "ff02::1", "::ffff:224.0.0.1")] == [True] * 4
    assert [a.is_multicast(p(t)) for t in ("223.0.0.1", "240.0.0.1", "fe80::1", "::ffff:10.0.0.1")] == [False] * 4
    assert [a.is_loopback(p(t)) for t in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")] == [True] * 4
    assert [a.is_loopback(p(t)) for t in ("128.0.0.1", "::2", "::")] == [False] * 3
    assert a.is_broadcast(p("255.255.255.255")) and not a.is_broadcast(p("10.0.0.255"))
    assert a.is_unspecified(p("0.0.0.0")) and a.is_unspecified(p("::")) and not a.is_unspecified(p("::1"))
    assert a.is_link_local(p("169.254.1.1")) and a.is_link_local(p("fe80::1")) and not a.is_link_local(p("fec0::1"))
    local = p("10.0.0.1")
    assert a.is_directed_broadcast(p("10.0.0.255"), local, 24)
    assert not a.is_directed_broadcast(p("10.0.0.254"), local, 24)
    assert not a.is_directed_broadcast(p("10.0.1.255"), local, 24)
    assert not a.is_directed_broadcast(p("10.0.0.1"), local, 31)


def test_mapped():
    four = a.pack("10.0.0.1")
    assert a.to_mapped(four) == a.pack("::ffff:10.0.0.1") and a.is_mapped(a.to_mapped(four))
    assert a.from_mapped(a.to_mapped(four)) == four
    assert a.from_mapped(a.pack("fd00::1")) == a.to_mapped(a.pack("fd00::1")) == a.pack("fd00::1")
