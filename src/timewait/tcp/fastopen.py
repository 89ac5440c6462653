"""TCP Fast Open: data in the SYN (RFC 7413, net/ipv4/tcp_fastopen.c).

The first connection asks for a cookie with an empty option; a later one carries the
cookie and data, which the server's program may read and answer before the third packet.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.siphash import siphash
from timewait.tcp.arm import arm
from timewait.tcp.bsd.layout import lay_out
from timewait.tcp.established import ready_to_transfer
from timewait.tcp.loss.mark import mark_lost, retransmit_without_reduction
from timewait.tcp.loss.queue import Sent
from timewait.tcp.net import Net
from timewait.tcp.reasons import Why
from timewait.tcp.reassembly import enqueue
from timewait.tcp.rtt import set_rto
from timewait.tcp.segments import syn_segment, update_mss
from timewait.tcp.tcb import TIMER_RTO, WAKE_IN, Tcb, stamp
from timewait.tcp.wishes import Wishes
from timewait.wire.packet import ACK, PSH, SYN, Segment

# Bits of the sysctl tcp_fastopen.
CLIENT: Final = 0x1
SERVER: Final = 0x2
CLIENT_NO_COOKIE: Final = 0x4
SERVER_NO_COOKIE: Final = 0x200
ALL_LISTENERS: Final = 0x400

COOKIE_LENGTH: Final = 8
"""TCP_FASTOPEN_COOKIE_SIZE: what we hand out; we take 4 to 16 (RFC 7413 4.1.1)."""
KEY_LENGTH: Final = 16
"""TCP_FASTOPEN_KEY_LENGTH."""
COOKIE_UNAVAILABLE: Final = 1
DATA_NOT_ACKED: Final = 2
SYN_RETRANSMITTED: Final = 3
"""enum tcp_fastopen_client_fail."""
MAX_OPTION_SPACE: Final = 40


# Server


def cookie_for(net: Net, seg: Segment, keys: bytes = b"") -> bytes:
    """The cookie of a client: SipHash of both addresses (__tcp_fastopen_cookie_gen_cipher).

    `keys`: the listener's own (TCP_FASTOPEN_KEY), of which the first makes cookies.
    """
    key = keys or keys_of(net)
    return siphash(key[:KEY_LENGTH], seg.src + seg.dst).to_bytes(COOKIE_LENGTH, "little")


def keys_of(net: Net) -> bytes:
    """The host's keys: those of net.ipv4.tcp_fastopen_key, or a secret one while none has been set."""
    found = parse_keys(net.sysctl.tcp_fastopen_key)
    return found if any(found) else net.fast_open_key


def parse_keys(text: str) -> bytes:
    """'a1b2c3d4-...' with four words, or two of them with a comma: each word in little-endian order."""
    octets = b""
    for key in text.split(","):
        for word in key.split("-"):
            octets += (int(word, 16) & 0xFFFFFFFF).to_bytes(4, "little")
    return octets


def rotated(net: Net, seg: Segment, keys: bytes = b"") -> bool:
    """Whether the cookie was made with the second key: it is good, and the client gets a new one."""
    key = keys or keys_of(net)
    if len(key) < 2 * KEY_LENGTH or not seg.fast_open:
        return False
    return seg.fast_open == siphash(key[KEY_LENGTH:], seg.src + seg.dst).to_bytes(COOKIE_LENGTH, "little")


def may_open(net: Net, seg: Segment, keys: bytes = b"") -> bool:
    """Whether a SYN's option is a cookie that allows its data to be taken now."""
    offered = seg.fast_open
    if offered is None or len(offered) == 0:
        return False
    if offered == cookie_for(net, seg, keys):
        return True
    if rotated(net, seg, keys):
        net.counters.TcpExtTCPFastOpenPassiveAltKey += 1
        return True
    net.counters.TcpExtTCPFastOpenPassiveFail += 1
    return False


def open_passively(t: Tcb, seg: Segment, granted: bytes | None, now: i64) -> None:
    """The child of a SYN with a valid cookie: SYN-RECEIVED with data, answered by a SYN-ACK that covers it.

    `granted`: the cookie that replaces one of an old key; None for none.
    """
    t.fast_open = True
    t.snd_una = t.iss
    t.snd_sml = t.iss
    t.rtx.append(Sent(t.iss, t.snd_nxt, SYN | ACK, b"", 0, 1, now))
    t.packets_out = 1
    t.retrans_stamp = stamp(now)
    t.snd_wnd = seg.window
    t.max_window = seg.window
    t.synack_at = 0
    if seg.length:
        t.data_segs_in = 1
        enqueue(t, seg.payload, seg.length)
        t.rcv_nxt = (t.rcv_nxt + seg.length) & 0xFFFFFFFF
        t.wake |= WAKE_IN
        t.syn_data_acked = True
    set_rto(t)
    answer = syn_segment(t, SYN | ACK, Why.SYN_ACK, now)
    answer.fast_open = granted
    answer.fast_open_exp = seg.fast_open_exp
    t.emit(answer)
    t.rcv_wup = t.rcv_nxt
    began = t.retrans_stamp
    ready_to_transfer(t, now)
    t.retrans_stamp = began
    t.net.counters.TcpExtTCPFastOpenPassive += 1
    arm(t, TIMER_RTO, t.rto, now)


# Client


def offer(t: Tcb, cookie: bytes | None, mss: i64) -> None:
    """Before the SYN leaves: ask for a cookie (b''), or use one with the MSS learnt beside it (0: unknown)."""
    t.fast_open_offer = cookie
    if not mss and not t.bsd:
        # Nothing is known of the peer: it may take what we take (tcp_send_syn_data).
        mss = t.pmtu - t.header_size
        if t.wishes.user_mss and t.wishes.user_mss < mss:
            mss = t.wishes.user_mss
    if mss:
        t.mss_clamp = mss
        update_mss(t)


def needs_no_cookie(net: Net, wishes: Wishes) -> bool:
    """Whether data goes on the SYN without any option (tcp_fastopen_no_cookie)."""
    return wishes.fast_open_no_cookie or net.sysctl.tcp_fastopen & CLIENT_NO_COOKIE != 0


def attach_data(t: Tcb, seg: Segment, data: bytes, now: i64) -> None:
    """Put the option and, with a cookie, as much of the data as fits into the SYN (tcp_send_syn_data)."""
    if not needs_no_cookie(t.net, t.wishes):
        seg.fast_open = t.fast_open_offer
        seg.fast_open_exp = not t.bsd and t.net.metrics.experimental(t.laddr, t.raddr, now)
        if not t.fast_open_offer:
            t.fast_open_fail = COOKIE_UNAVAILABLE
            return
    # Linux leaves room for the most options there may be, FreeBSD for those there are.
    reserve: i64 = len(lay_out(seg)) if t.bsd else MAX_OPTION_SPACE
    space = min(t.mss_cache, t.pmtu - t.header_size) - reserve
    length: i64 = len(data)
    if length > space:
        length = space
    if length <= 0:
        return
    seg.payload = data[:length]
    seg.length = length
    end_seq = (t.snd_nxt + length) & 0xFFFFFFFF
    t.rtx.append(Sent(t.snd_nxt, end_seq, ACK | PSH, seg.payload, length, 1, now))
    t.packets_out += 1
    t.snd_nxt = end_seq
    t.write_seq = end_seq
    t.pushed_seq = end_seq
    t.syn_data = True
    t.bytes_sent += length
    t.data_segs_out += 1


def syn_ack_arrived(t: Tcb, seg: Segment, now: i64) -> None:
    """Learn the cookie; data that the SYN-ACK did not cover is sent again at once (tcp_rcv_fastopen_synack)."""
    counters = t.net.counters
    if seg.fast_open and 4 <= len(seg.fast_open) <= 16:
        t.net.metrics.remember_cookie(t.laddr, t.raddr, seg.fast_open, seg.mss, now, bool(seg.fast_open_exp))
    elif not t.syn_data and t.total_retrans == 0:
        t.net.metrics.asked_in_vain(t.laddr, t.raddr, seg.mss, now)
    elif t.syn_data and t.total_retrans and t.rtx.first() is not None:
        t.net.metrics.syn_was_lost(t.laddr, t.raddr, seg.mss, now)
    head = t.rtx.first() if t.syn_data else None
    if head is None:
        if t.syn_data:
            t.syn_data_acked = True
            counters.TcpExtTCPFastOpenActive += 1
            if t.delivered > 1:
                # SYN and data are one packet, though each is counted where it is acknowledged.
                t.delivered -= 1
        if seg.length:
            # Data on the SYN-ACK itself (tcp_fastopen_add_skb).
            enqueue(t, seg.payload, seg.length)
            t.rcv_nxt = (t.rcv_nxt + seg.length) & 0xFFFFFFFF
            t.wake |= WAKE_IN
        return
    counters.TcpExtTCPFastOpenActiveFail += 1
    t.fast_open_fail = SYN_RETRANSMITTED if t.total_retrans else DATA_NOT_ACKED
    mark_lost(t, head)
    retransmit_without_reduction(t, now)
