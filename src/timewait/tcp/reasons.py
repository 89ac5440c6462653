"""Nothing disappears silently: why a packet was dropped, and why one was sent.

Each member carries what a reader is told and where the rule stands (RFC section or
kernel symbol). Ladders, counters, explanations and lessons all come from here.
"""

from enum import Enum


class Reason(Enum):
    """A member's value is (text, source)."""

    @property
    def text(self) -> str:
        """A few words for people."""
        return str(self.value[0])

    @property
    def source(self) -> str:
        """The RFC section or kernel symbol the rule comes from."""
        return str(self.value[1])


class Drop(Reason):
    """Why the input path discarded a packet, or a part of one."""

    # Before a connection is found
    BAD_PACKET = ("malformed packet", "RFC 9293 3.1")
    BAD_CHECKSUM = ("wrong checksum", "RFC 9293 3.1 MUST-3")
    NOT_FOR_US = ("destination address is not ours", "RFC 1122 3.2.1.3")
    BAD_SOURCE = ("source address is multicast, broadcast or loopback from outside", "RFC 1122 3.2.1.3")
    NO_ROUTE = ("no route to the destination", "RFC 1812 5.2.1")
    TTL_EXPIRED = ("time to live reached 0", "RFC 1812 5.3.1")
    BROADCAST_SYN = ("segment to a broadcast or multicast address", "RFC 9293 3.9.2.3 MUST-57")
    NO_PROTOCOL = ("no such protocol here", "RFC 1122 3.2.2.1")
    MIN_TTL = ("time to live is below IP_MINTTL", "RFC 5082 3")
    NO_SOCKET = ("no connection and no listener", "RFC 9293 3.10.7.1")
    UDP_NO_SOCKET = ("no socket on this UDP port", "RFC 1122 4.1.3.1")
    ECHO_IGNORED = ("echo requests are ignored", "icmp_echo_ignore_all, icmp_echo_ignore_broadcasts")
    MD5_NOT_FOUND = ("signature missing", "RFC 2385 2.0, tcp_inbound_hash")
    MD5_UNEXPECTED = ("signed, though there is no key for the peer", "tcp_inbound_md5_hash")
    MD5_FAILURE = ("wrong signature", "RFC 2385 2.0, tcp_inbound_md5_hash")
    MD5_TWICE = ("two signatures", "tcp_parse_auth_options")
    RST_TO_CLOSED = ("RST for no connection", "RFC 9293 3.10.7.1")
    FRAGMENT_OVERLAP = ("overlapping fragments", "RFC 5722 3")
    FRAGMENT_DUPLICATE = ("fragment received before", "inet_frag_queue_insert")
    FRAGMENT_LIMIT = ("reassembly memory used up", "ipfrag_high_thresh")
    FRAGMENT_TIMEOUT = ("fragments incomplete after ipfrag_time", "RFC 1122 3.3.2")
    ICMP_IGNORED = ("ICMP error that changes nothing in this state", "RFC 5927 5.2, FreeBSD")
    ICMP_UNMATCHED = ("ICMP error for no connection of ours", "RFC 5927 4")
    ICMP_OUT_OF_WINDOW = ("ICMP error quotes a sequence number not in flight", "RFC 5927 4.1")
    RCVBUF_FULL = ("receive buffer full", "sk_rmem_alloc > sk_rcvbuf")
    HOST_DOWN = ("the host is off", "world")
    PROCESS_GONE = ("nobody is left to receive", "tcp_close")

    # LISTEN and the queues
    LISTEN_RST = ("RST to a listener", "RFC 9293 3.10.7.2 first check")
    LISTEN_NO_SYN = ("neither SYN, ACK nor RST to a listener", "RFC 9293 3.10.7.2 fourth check")
    LISTEN_SYN_ACK = ("SYN with ACK to a listener", "FreeBSD tcp_input")
    SYN_FIN = ("SYN with FIN", "FreeBSD net.inet.tcp.drop_synfin")
    BLACKHOLE = ("closed ports keep silent", "FreeBSD net.inet.tcp.blackhole")
    NO_TIMESTAMP = ("timestamp missing that was agreed on", "RFC 7323 3.2, FreeBSD")
    LISTEN_SYN_FIN = ("SYN with FIN to a listener", "tcp_rcv_state_process")
    SYN_QUEUE_FULL = ("SYN queue full", "inet_csk_reqsk_queue_is_full")
    ACCEPT_QUEUE_FULL = ("accept queue full", "sk_acceptq_is_full")
    SYN_LAST_QUARTER = ("last quarter of tcp_max_syn_backlog is kept for proven peers", "tcp_conn_request")
    PAWS_PASSIVE = ("SYN's timestamp is older than the peer's last one", "tcp_tw_recycle, tcp_peer_is_proven")
    BAD_COOKIE = ("ACK carries no valid SYN cookie", "cookie_v4_check")
    DEFER_ACCEPT = ("pure ACK while TCP_DEFER_ACCEPT waits for data", "tcp_check_req")
    REQUEST_DUP_SYN = ("SYN repeated: SYN-ACK sent again", "tcp_check_req")
    REQUEST_BAD_ACK = ("ACK does not acknowledge our SYN", "RFC 9293 3.10.7.4 fifth check")
    REQUEST_BAD_TSECR = ("echoes a timestamp that no SYN-ACK of ours carried", "tcp_check_req")
    REQUEST_RST = ("RST in SYN-RECEIVED", "RFC 9293 3.10.7.4 second check")
    REQUEST_OUT_OF_WINDOW = ("outside the window of a half-open connection", "tcp_check_req")
    REQUEST_NO_ACK = ("no ACK in SYN-RECEIVED", "RFC 9293 3.10.7.4 fifth check")
    REQUEST_SYN_IN_WINDOW = ("another SYN inside the window of a half-open connection", "tcp_check_req embryonic reset")

    # SYN-SENT
    SYNSENT_BAD_ACK = ("ACK of something we never sent", "RFC 9293 3.10.7.3 first check")
    SYNSENT_RST_NO_ACK = ("RST without an acceptable ACK in SYN-SENT", "RFC 9293 3.10.7.3 second check")
    SYNSENT_NO_SYN = ("neither SYN nor RST in SYN-SENT", "RFC 9293 3.10.7.3 fifth check")
    SYNSENT_BAD_TSECR = ("echoed timestamp is not one we sent", "tcp_rcv_synsent_state_process")

    # Synchronized states: the eight checks
    OUT_OF_WINDOW = ("sequence number outside the window", "RFC 9293 3.10.7.4 first check")
    OLD_DUPLICATE = ("all of it was received before", "RFC 9293 3.10.7.4 first check")
    PAWS = ("timestamp older than the last one", "RFC 7323 5.3 R1")
    RST_OUT_OF_WINDOW = ("RST outside the window", "RFC 5961 3.2")
    RST_CHALLENGED = ("RST in the window but not at RCV.NXT", "RFC 5961 3.2")
    SYN_CHALLENGED = ("SYN in a synchronized state", "RFC 5961 4.2")
    NO_ACK = ("ACK flag missing", "RFC 9293 3.10.7.4 fifth check")
    ACK_TOO_OLD = ("acknowledges less than SND.UNA - MAX.SND.WND", "RFC 5961 5.2")
    ACK_OF_UNSENT = ("acknowledges what was never sent", "RFC 9293 3.10.7.4 fifth check")
    WINDOW_FULL = ("data beyond the offered window", "RFC 9293 3.10.7.4 first check")
    OFO_FULL = ("no room to hold data out of order", "tcp_prune_ofo_queue")
    AFTER_FIN = ("data after the peer's FIN", "RFC 9293 3.10.7.4 seventh check")
    AFTER_CLOSE = ("data after our close()", "RFC 1122 4.2.2.13")
    RCV_SHUTDOWN = ("data after shutdown(SHUT_RD) and close", "tcp_rcv_state_process")
    CLOSED_CONNECTION = ("the connection is closed", "RFC 9293 3.10.7.1")

    # TIME-WAIT
    TW_RFC1337 = ("RST ignored in TIME-WAIT", "RFC 1337, tcp_rfc1337")
    TW_RST = ("RST ended TIME-WAIT", "tcp_timewait_state_process")
    TW_OLD_SEGMENT = ("old segment in TIME-WAIT", "RFC 9293 3.10.7.4")
    TW_PAWS = ("old timestamp in TIME-WAIT", "RFC 6191 2")
    TW_SYN_UNACCEPTABLE = ("SYN not newer than the old connection", "RFC 6191 2")
    TW_PURE_ACK = ("ACK in TIME-WAIT needs no answer", "tcp_timewait_state_process")
    FW2_DATA = ("data for an orphan in FIN-WAIT-2", "tcp_timewait_state_process")
    RATE_LIMITED = ("answer suppressed by tcp_invalid_ratelimit", "tcp_oow_rate_limited")

    # Links
    LINK_LOSS = ("lost on the link", "world")
    LINK_RULE = ("dropped by a rule of the experiment", "world")
    LINK_QUEUE_FULL = ("link queue full", "world")
    LINK_DOWN = ("link down", "world")
    LINK_PARTITION = ("partitioned", "world")
    LINK_MTU = ("larger than the link's MTU", "RFC 1191")
    LINK_CORRUPT = ("damaged on the link", "world")


class Why(Reason):
    """Why a packet was sent."""

    SYN = ("connection request", "RFC 9293 3.10.1")
    SYN_ACK = ("connection accepted", "RFC 9293 3.10.7.2")
    SYN_ACK_AGAIN = ("SYN repeated by the peer", "tcp_check_req")
    COOKIE_SYN_ACK = ("SYN cookie", "RFC 4987 3.6")
    HANDSHAKE_ACK = ("acknowledges the SYN-ACK", "RFC 9293 3.10.7.3")
    SIMULTANEOUS_SYN_ACK = ("simultaneous open", "RFC 9293 3.5 MUST-10")
    DATA = ("data", "RFC 9293 3.10.2")
    FIN = ("nothing more to send", "RFC 9293 3.10.4")
    ACK = ("acknowledgment", "RFC 9293 3.10.7.4")
    ECN_ACK = ("other packets are marked than before", "RFC 9768 3.2.2.5.1")
    QUICK_ACK = ("immediate acknowledgment", "tcp_in_quickack_mode")
    DELAYED_ACK = ("delayed-acknowledgment timer", "RFC 9293 3.8.6.3")
    EVERY_SECOND = ("second full-sized segment", "RFC 9293 3.8.6.3")
    DUP_ACK = ("out of order: duplicate acknowledgment", "RFC 5681 4.2")
    COMPRESSED_ACK = ("out of order: one acknowledgment for several", "__tcp_ack_snd_check, tcp_comp_sack_nr")
    DUP_SEGMENT_ACK = ("already received: acknowledged again", "RFC 9293 3.10.7.4 first check")
    GAP_FILLED = ("gap filled", "RFC 5681 4.2")
    WINDOW_UPDATE = ("window opened", "RFC 9293 3.8.6.2.2")
    FIN_ACK = ("acknowledges the FIN", "RFC 9293 3.10.7.4 eighth check")
    RTO = ("retransmission timeout", "RFC 6298 5.4")
    FAST_RTX = ("fast retransmit", "RFC 5681 3.2")
    LOST_RTX = ("retransmission of a segment marked lost", "RFC 6675 5")
    TLP = ("tail loss probe", "RFC 8985 7.3")
    MTU_PROBE = ("path MTU probe", "RFC 4821 7.3")
    WINDOW_PROBE = ("zero-window probe", "RFC 9293 3.8.6.1")
    KEEPALIVE = ("keepalive probe", "RFC 9293 3.8.4")
    CHALLENGE_ACK = ("challenge ACK", "RFC 5961")
    PAWS_ACK = ("answers an old timestamp", "RFC 7323 5.3 R1")
    TIME_WAIT_ACK = ("TIME-WAIT answers", "RFC 9293 3.10.7.4")
    RST_NO_SOCKET = ("no such connection", "RFC 9293 3.10.7.1")
    RST_BAD_ACK = ("unacceptable acknowledgment", "RFC 9293 3.10.7.3 first check")
    RST_UNREAD = ("closed with unread data", "RFC 2525 2.17")
    RST_AFTER_CLOSE = ("data after close", "RFC 1122 4.2.2.13")
    RST_LINGER = ("SO_LINGER with zero time", "RFC 9293 3.10.5")
    RST_ABORT = ("aborted", "RFC 9293 3.10.5")
    RST_OVERFLOW = ("accept queue full and tcp_abort_on_overflow", "tcp_check_req")
    RST_EMBRYONIC = ("in-window SYN in SYN-RECEIVED", "tcp_check_req")
    RST_SYN_IN_WINDOW = ("SYN inside the window", "RFC 793 3.9, FreeBSD net.inet.tcp.insecure_syn")
    RST_KEEPALIVE = ("keepalive unanswered", "tcp_keepalive_timer")
    RST_LISTENER_CLOSED = ("listener closed with connections waiting", "inet_csk_listen_stop")
    RST_FIN_WAIT_2 = ("orphan left FIN-WAIT-2", "tcp_keepalive_timer")
    RST_NO_MEMORY = ("too many orphans", "tcp_max_orphans")
    RST_TIMEOUT = ("retransmissions of an orphan used up", "tcp_write_timeout")
    UDP_DATA = ("datagram", "RFC 768")
    ICMP_ERROR = ("ICMP error", "RFC 1122 3.2.2")
    ECHO_REPLY = ("echo reply", "RFC 1122 3.2.2.6")
    FORWARDED = ("forwarded", "RFC 1812 5.2.1")
