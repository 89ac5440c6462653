"""Signed segments (RFC 2385, TCP_MD5SIG): options, digests, what is dropped, what is inherited."""

import hashlib
import socket
import struct

import pytest

from support.peer import PEER, both
from timewait.tcp.md5 import sign
from timewait.wire.address import pack
from timewait.wire.packet import Segment
from timewait.wire.serialize import serialize

TCP = socket.IPPROTO_TCP
TCP_MD5SIG, TCP_MD5SIG_EXT = 14, 32
PREFIX = 1
V4 = "net.ipv4."
KEY = b"correct horse"


def md5sig(addr=PEER, key=KEY, flags=0, prefix=0, length=None):
    """struct tcp_md5sig."""
    if ":" in addr:
        where = struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, pack(addr), 0)
    else:
        where = struct.pack("=HH4s120x", socket.AF_INET, 0, pack(addr))
    return where + struct.pack("=BBHi80s", flags, prefix, len(key) if length is None else length, 0, key)


def parts(seen):
    """The bytes of a packet, and its TCP header's length."""
    raw = serialize(seen.packet if not isinstance(seen, Segment) else seen)
    ihl = (raw[0] & 15) * 4
    return raw[:ihl], raw[ihl:], (raw[ihl + 12] >> 4) * 4


def digest_of(seen):
    """What the option of a packet holds, None without one."""
    _, tcp, size = parts(seen)
    at = 20
    while at < size:
        if tcp[at] < 2:
            at += 1
            continue
        if tcp[at] == 19:
            return tcp[at + 2 : at + tcp[at + 1]]
        at += tcp[at + 1]
    return None


def expected_digest(seen, key=KEY):
    """RFC 2385 2.0 spelled out, from the octets on the wire."""
    ip, tcp, size = parts(seen)
    covered = ip[12:20] + struct.pack("!BBH", 0, 6, len(tcp)) + tcp[:16] + b"\0\0" + tcp[18:20] + tcp[size:] + key
    return hashlib.md5(covered).digest()


def well_signed(seen, key=KEY):
    return digest_of(seen) == expected_digest(seen, key)


def send(peer, flags, key=KEY, flow=None, **given):
    """A signed segment to the host; gives what it answers."""
    made = (flow or peer.flow).segment(flags, **given)
    if key is not None:
        sign(made, key)
    return peer.put(made)


def counts(peer):
    return tuple(peer.counter(f"TcpExtTCPMD5{name}") for name in ("NotFound", "Unexpected", "Failure"))


def listening(peers, *keys, sysctl=None):
    peer = peers(sysctl)
    listener = peer.listen(80, 5, *((TCP, TCP_MD5SIG, key) for key in (keys or (md5sig(),))))
    return peer, listener


def established(peers, **options):
    peer, listener = listening(peers)
    (syn_ack,) = send(peer, "S", mss=1460, **options)
    ts = {"ts": options["ts"]} if "ts" in options and not options.get("sack_ok") else {}
    assert send(peer, "A", seq=1, ack=1, **ts) == []
    return peer, peer.accept(listener), syn_ack, ts


def connecting(peers, *options):
    peer = peers()
    fd = peer.connect(80, (TCP, TCP_MD5SIG, md5sig()), *options)
    (syn,) = peer.take()
    return peer, fd, syn


@both
def test_what_setsockopt_takes(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)

    def attempt(value, name=TCP_MD5SIG):
        return peer.attempt(peer.app.setsockopt, fd, TCP, name, value)

    assert attempt(bytes(100)) == "EINVAL"
    assert attempt(md5sig()) is None
    assert attempt(md5sig(key=b"another")) is None
    assert attempt(md5sig() + b"more") is None
    assert attempt(md5sig(length=81)) == "EINVAL"
    assert attempt(md5sig(key=bytes(80))) is None
    assert attempt(md5sig("::1")) == "EINVAL"
    assert attempt(md5sig(key=b"")) is None
    assert attempt(md5sig(key=b"")) == "ENOENT"
    assert attempt(md5sig("10.0.0.0", flags=PREFIX, prefix=33)) is None
    assert attempt(md5sig("10.0.0.0", flags=PREFIX, prefix=33), TCP_MD5SIG_EXT) == "EINVAL"
    assert attempt(md5sig("10.0.0.0", flags=PREFIX, prefix=24), TCP_MD5SIG_EXT) is None
    assert attempt(md5sig("10.0.0.0", key=b"", flags=PREFIX, prefix=25), TCP_MD5SIG_EXT) == "ENOENT"
    assert attempt(md5sig("10.0.0.0", key=b"", flags=PREFIX, prefix=24), TCP_MD5SIG_EXT) is None
    # Without the flag the prefix is not looked at.
    assert attempt(md5sig("10.0.0.0", prefix=33), TCP_MD5SIG_EXT) is None
    assert peer.attempt(peer.app.getsockopt, fd, TCP, TCP_MD5SIG) == "ENOPROTOOPT"


@both
def test_what_setsockopt_takes_for_ipv6(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET6, socket.SOCK_STREAM)

    def attempt(value, name=TCP_MD5SIG):
        return peer.attempt(peer.app.setsockopt, fd, TCP, name, value)

    assert attempt(md5sig()) == "EINVAL"
    assert attempt(md5sig("fe80::1")) is None
    assert attempt(md5sig("::ffff:10.0.0.2")) is None
    assert attempt(md5sig("::ffff:10.0.0.2", flags=PREFIX, prefix=33), TCP_MD5SIG_EXT) == "EINVAL"
    assert attempt(md5sig("::ffff:10.0.0.2", flags=PREFIX, prefix=24), TCP_MD5SIG_EXT) is None
    assert attempt(md5sig("fe80::1", flags=PREFIX, prefix=129), TCP_MD5SIG_EXT) == "EINVAL"


@both
def test_a_syn_has_no_timestamps_but_a_signature(peers):
    _peer, _, syn = connecting(peers)
    assert syn.options.split(",", 4)[:3] == ["nop", "nop", "md5"]
    assert "TS" not in syn.options and "sackOK" in syn.options
    assert well_signed(syn)


@both
def test_a_connection_that_is_signed_throughout(peers):
    peer, fd, _syn = connecting(peers)
    (ack,) = send(peer, "SA", seq=0, ack=1, mss=1460, wscale=7, sack_ok=True)
    assert ack == "A 1:1 ack 1" and well_signed(ack)
    assert ack.options == "nop,nop,md5"
    peer.app.send(fd, bytes(3000))
    sent = peer.take()
    assert [each.segment.length for each in sent] == [1440, 1440, 120]
    assert all(well_signed(each) for each in sent)
    assert [str(each)[:2] for each in sent] == ["A ", "A ", "PA"]
    assert send(peer, "A", seq=1, ack=3001, window=500) == []
    peer.app.shutdown(fd, socket.SHUT_WR)
    fin = peer.take()[-1]
    assert fin.startswith("FA 3001:3001") and well_signed(fin)
    assert counts(peer) == (0, 0, 0)


@both
@pytest.mark.parametrize(
    ("options", "answer"),
    [({"sack_ok": True, "ts": 100}, "nop,nop,md5,mss 1460,nop,nop,sackOK"),
     ({"ts": 100}, "nop,nop,md5,mss 1460,nop,nop,TS"),
     ({}, "nop,nop,md5,mss 1460")],
)  # fmt: skip
def test_sack_excludes_timestamps(peers, options, answer):
    peer, _ = listening(peers)
    (syn_ack,) = send(peer, "S", mss=1460, **options)
    assert syn_ack.options == answer
    assert well_signed(syn_ack)


@both
@pytest.mark.parametrize(("options", "size"), [({}, 1440), ({"ts": 100}, 1428), ({"ts": 100, "sack_ok": True}, 1440)])
def test_segments_leave_room_for_it(peers, options, size):
    peer, fd, _, _ts = established(peers, **options)
    assert peer.app.getsockopt(fd, TCP, socket.TCP_MAXSEG) == size + 20
    peer.app.send(fd, bytes(4000))
    sent = peer.take()
    assert [each.segment.length for each in sent] == [size, size, 4000 - 2 * size]
    assert all(well_signed(each) for each in sent)


@both
def test_two_blocks_fit_beside_it(peers):
    peer, _fd, _, _ = established(peers, sack_ok=True)
    answers = [send(peer, "A", seq=1 + 20 * i, ack=1, data=10) for i in (1, 2, 3)]
    assert [str(each[0]) for each in answers] == [
        "A 1:1 ack 1 sack 21-31",
        "A 1:1 ack 1 sack 41-51 21-31",
        "A 1:1 ack 1 sack 61-71 41-51",
    ]
    assert all(well_signed(each[0]) for each in answers)


@both
def test_what_is_dropped_and_counted(peers):
    peer, fd, _, _ = established(peers)
    assert send(peer, "PA", seq=1, ack=1, data=10, key=None) == []
    assert counts(peer) == (1, 0, 0)
    assert send(peer, "PA", seq=1, ack=1, data=10, key=b"wrong") == []
    assert counts(peer) == (1, 0, 1)
    assert send(peer, "R", seq=1, key=None) == []
    assert counts(peer) == (2, 0, 1)
    assert peer.state() == "ESTAB"
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    send(peer, "PA", seq=1, ack=1, data=10)
    assert len(peer.app.recv(fd, 100)) == 10
    send(peer, "R", seq=11)
    assert peer.state() == ""


@both
def test_a_listener_with_a_key_is_silent_to_others(peers):
    peer, _ = listening(peers)
    assert send(peer, "S", mss=1460, key=None) == []
    assert send(peer, "S", mss=1460, key=b"wrong") == []
    assert counts(peer) == (1, 0, 1)
    # Whom the key does not concern is served, unless he signs.
    other = peer.new_flow(41000, src="10.0.0.7")
    (syn_ack,) = send(peer, "S", mss=1460, key=None, flow=other)
    assert syn_ack == "SA 0:0 ack 1" and digest_of(syn_ack) is None
    third = peer.new_flow(41001, src="10.0.0.8")
    assert send(peer, "S", mss=1460, flow=third) == []
    assert counts(peer) == (1, 1, 1)


@both
def test_a_signed_segment_is_refused_where_nobody_has_a_key(peers):
    peer = peers()
    peer.listen()
    assert send(peer, "S", mss=1460) == []
    assert counts(peer) == (0, 1, 0)
    (_syn_ack,) = send(peer, "S", mss=1460, key=None)
    send(peer, "A", seq=1, ack=1, key=None)
    assert send(peer, "PA", seq=1, ack=1, data=10) == []
    assert counts(peer) == (0, 2, 0)


@both
def test_a_malformed_option_is_no_signature(peers):
    peer, _ = listening(peers)
    # Of another length it is none; two of them are not counted.
    for content, counted in ((b"\x13\x0a" + bytes(8) + b"\x01\x01", 1), (2 * (b"\x13\x12" + bytes(16)), 1)):
        made = peer.flow.segment("S", mss=1460, options=content)
        assert peer.put(serialize(made)) == []
        assert counts(peer) == (counted, 0, 0)


@both
def test_half_open_connections_are_guarded_too(peers):
    peer, _ = listening(peers)
    (_syn_ack,) = send(peer, "S", mss=1460)
    assert send(peer, "A", seq=1, ack=1, key=None) == []
    assert send(peer, "A", seq=1, ack=1, key=b"wrong") == []
    assert peer.state() == "SYN-RECV"
    assert counts(peer) == (1, 0, 1)
    # What is wrong otherwise is answered, signed.
    (rst,) = send(peer, "A", seq=1, ack=77)
    assert rst == "R 77:77" and well_signed(rst)
    assert rst.options == "nop,nop,md5"
    (again,) = send(peer, "S", mss=1460)
    assert again == "SA 0:0 ack 1" and well_signed(again)


@both
def test_a_reset_from_a_listener_is_signed(peers):
    peer, _ = listening(peers)
    peer.flow.irs = 0
    (rst,) = send(peer, "A", seq=1, ack=77)
    assert rst.startswith("R ") and well_signed(rst)


@both
def test_who_signs_to_a_closed_port_gets_no_reset(peers):
    peer = peers()
    peer.flow.irs = 0
    assert send(peer, "A", seq=1, ack=77) == []
    assert len(send(peer, "A", seq=1, ack=77, key=None)) == 1


@both
def test_unless_somebody_here_has_the_key_at_the_same_port(peers):
    """As between two BGP speakers after a restart: both use port 179."""
    peer, _ = listening(peers)
    flow = peer.new_flow(80, 4444)
    flow.irs = 0
    (rst,) = send(peer, "A", seq=1, ack=77, flow=flow)
    assert rst.startswith("R ") and well_signed(rst)
    assert send(peer, "A", seq=1, ack=77, flow=flow, key=b"wrong") == []


@both
def test_time_wait_answers_signed(peers):
    peer, fd, _, _ = established(peers)
    peer.app.close(fd)
    peer.take()
    (ack,) = send(peer, "FA", seq=1, ack=2)
    assert ack == "A 2:2 ack 2" and well_signed(ack)
    assert peer.state() == "TIME-WAIT"
    (again,) = send(peer, "FA", seq=1, ack=2)
    assert again == "A 2:2 ack 2" and well_signed(again)
    # A record has no means to check.
    (third,) = send(peer, "FA", seq=1, ack=2, key=None)
    assert third == "A 2:2 ack 2" and well_signed(third)


@both
def test_a_key_for_a_prefix(peers):
    peer = peers()
    keys = [("0.0.0.0", b"anybody", 0), ("10.0.0.0", b"near", 24), (PEER, KEY, 32)]
    peer.listen(80, 5, *((TCP, TCP_MD5SIG_EXT, md5sig(addr, key, PREFIX, length)) for addr, key, length in keys))
    (syn_ack,) = send(peer, "S", mss=1460)
    assert well_signed(syn_ack)
    near = peer.new_flow(41000, src="10.0.0.77")
    (syn_ack,) = send(peer, "S", mss=1460, key=b"near", flow=near)
    assert well_signed(syn_ack, b"near")
    assert send(peer, "S", mss=1460, key=b"anybody", flow=peer.new_flow(41001, src="10.0.0.78")) == []


@both
def test_an_accepted_connection_keeps_its_key(peers):
    peer, listener = listening(peers)
    send(peer, "S", mss=1460)
    send(peer, "A", seq=1, ack=1)
    fd = peer.accept(listener)
    peer.app.setsockopt(fd, TCP, socket.TCP_NODELAY, 1)
    # Taken from the listener, it is still the connection's.
    peer.app.setsockopt(listener, TCP, TCP_MD5SIG, md5sig(key=b""))
    peer.app.send(fd, b"hello")
    (sent,) = peer.take()
    assert well_signed(sent)
    # A connection may change its own.
    peer.app.setsockopt(fd, TCP, TCP_MD5SIG, md5sig(key=b"new"))
    peer.app.send(fd, b"hello")
    (sent,) = peer.take()
    assert well_signed(sent, b"new")
    peer.app.setsockopt(fd, TCP, TCP_MD5SIG, md5sig(key=b""))
    peer.app.send(fd, b"hello")
    (sent,) = peer.take()
    assert digest_of(sent) is None
    assert send(peer, "A", seq=1, ack=16, key=None) == []
    assert counts(peer) == (0, 0, 0)


@both
def test_retransmissions_and_probes_are_signed(peers):
    peer, fd, _, _ = established(peers)
    peer.app.send(fd, bytes(100))
    peer.take()
    again = peer.run(1.0)
    assert again and all(well_signed(each) for each in again)


@both
def test_an_abort_is_signed(peers):
    peer, fd, _, _ = established(peers)
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.app.close(fd)
    (rst,) = peer.take()
    assert rst.startswith("RA 1:1") and well_signed(rst)


def test_accurate_ecn_and_a_signature_share_the_room(peers):
    """Half of it is the signature's: the SYN-ACK tells two counters; three of them make data shorter."""
    peer, listener = listening(peers, sysctl={"net.ipv4.tcp_ecn": 3})
    (answer,) = send(peer, "SYN-AE-ECE-CWR", mss=1460, sack_ok=True, wscale=7)
    assert well_signed(answer)
    assert answer.options == "nop,nop,md5,mss 1460,accecn1,nop,nop,sackOK,nop,wscale 10"
    assert send(peer, "ACK-CWR", seq=1, ack=1, other_options=((174, b"\0\0\1\0\0\0\0\0\1"),)) == []
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(2000))
    seen = peer.take()
    assert [each.segment.length for each in seen] == [1460 - 20 - 12, 2000 - 1428]
    assert all(well_signed(each) for each in seen)
    assert {each.options for each in seen} == {"nop,nop,md5,accecn1,nop"}
