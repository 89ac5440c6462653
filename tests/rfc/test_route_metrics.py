"""What a route says of its connections (`ip route ... initcwnd 20`), on both stacks."""

import socket

import pytest

from support.peer import HOST, both
from timewait.base.errors import UsageError
from timewait.host.sockopt import TCP_INFO
from timewait.tcp.info import unpack_info
from timewait.tcp.path import path_metrics
from timewait.wire.address import pack

MSS = 1000
CUBIC = (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def set_route(peer, **metrics):
    """`ip route change 10.0.0.0/24 NAME VALUE ...` on the host."""
    words = [word for name, value in metrics.items() for word in (name, str(value))]
    if peer.kind == "kernel":
        namespace = peer.host.namespace
        device = namespace.run(["ip", "route", "show", "10.0.0.0/24"]).stdout.split("dev ")[1].split()[0]
        namespace.run(["ip", "route", "replace", "10.0.0.0/24", "dev", device, "src", HOST, *words])
    else:
        given = {name: str(value) for name, value in metrics.items()}
        peer.host.routes.set_path(pack("10.0.0.0"), 24, path_metrics(given))


def info(peer, fd):
    raw = peer.app.getsockopt(fd, socket.IPPROTO_TCP, TCP_INFO, 1024)
    return {name.removeprefix("tcpi_"): value for name, value in unpack_info(raw).items()}


def accepted(peer, **metrics):
    set_route(peer, **metrics)
    listener = peer.listen()
    peer.app.setsockopt(listener, *CUBIC)
    syn_ack = peer.handshake(mss=MSS, window=65535, wscale=7, sack_ok=True)
    return syn_ack, peer.accept(listener)


@both
@pytest.mark.parametrize("window", [3, 25])
def test_initcwnd_is_the_first_window(peers, window):
    peer = peers()
    _, fd = accepted(peer, initcwnd=window)
    assert info(peer, fd)["snd_cwnd"] == window
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
    peer.app.send(fd, bytes(40 * MSS))
    assert sum(each.segment.length for each in peer.take()) == window * MSS


@both
def test_initrwnd_limits_what_is_offered_first(peers):
    peer = peers()
    syn_ack, _ = accepted(peer, initrwnd=4)
    assert syn_ack.window == 4 * 1460


@both
def test_initrwnd_in_our_own_syn(peers):
    peer = peers()
    set_route(peer, initrwnd=4)
    peer.connect()
    (syn,) = peer.take()
    assert syn.window == 4 * 1460


@both
def test_advmss_is_what_is_announced(peers):
    peer = peers()
    syn_ack, _ = accepted(peer, advmss=700)
    assert syn_ack.options.startswith("mss 700")
    peer.connect(81, local=40_500)
    (syn,) = peer.take()
    assert syn.options.startswith("mss 700")


@both
def test_window_limits_what_the_handshake_offers(peers):
    peer = peers()
    syn_ack, fd = accepted(peer, window=20_000)
    assert 18_000 <= syn_ack.window <= 20_000
    assert info(peer, fd)["rcv_ssthresh"] <= 20_000


@both
def test_rto_min_is_the_floor_of_the_variance(peers):
    peer = peers()
    _, fd = accepted(peer, rto_min="700ms")
    assert info(peer, fd)["rto"] == pytest.approx(704_000, abs=12_000)


@both
def test_congctl_is_the_algorithm_whatever_the_listener_says(peers):
    peer = peers()
    _, fd = accepted(peer, congctl="reno")
    name = peer.app.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    assert name.rstrip(b"\0") == b"reno"


@both
def test_quickack_acknowledges_every_segment(peers):
    peer = peers()
    _, fd = accepted(peer, quickack=1)
    seen = []
    for n in range(40):
        seen.append(len(peer.inject("A", seq=1 + n * 100, ack=1, data=100, window=1000)))
        peer.app.recv(fd, 65536)
    assert seen == [1] * 40


@pytest.mark.parametrize("given", [{"initcwnd": "many"}, {"speed": "9"}, {"congctl": "warp"}, {"rto_min": "soon"}])
def test_mistakes_are_said(given):
    with pytest.raises(UsageError):
        path_metrics(given)
