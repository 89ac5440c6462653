"""A hand-made record: handshake, data, a loss and its RTO, four-way close, TIME-WAIT."""

from timewait.base.instant import MSEC, SEC
from timewait.record import Record
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import Cause, State
from timewait.wire.packet import ACK, FIN, PSH, RST, SYN, Segment, make_flow

A = bytes((10, 0, 0, 1))
B = bytes((10, 0, 0, 2))
APORT = 40000
BPORT = 80
AISN = 0xFFFFFFF0
BISN = 1000
DELAY = 10 * MSEC


class Story:
    """Writes a two-party story into a record: relative numbers in, packets out."""

    def __init__(self, aport: int = APORT, aisn: int = AISN, bisn: int = BISN) -> None:
        self.record = Record()
        self.aport = aport
        self.aisn = aisn
        self.bisn = bisn
        self.flows = {"client": make_flow(B, A, BPORT, aport), "server": make_flow(A, B, aport, BPORT)}

    def segment(self, host: str, flags: int, seq: int = 0, ack: int = 0, size: int = 0, why: Why = Why.ACK) -> Segment:
        seg = Segment()
        mine = host == "client"
        seg.src, seg.dst = (A, B) if mine else (B, A)
        seg.sport, seg.dport = (self.aport, BPORT) if mine else (BPORT, self.aport)
        seg.flow = make_flow(seg.src, seg.dst, seg.sport, seg.dport)
        own, peer = (self.aisn, self.bisn) if mine else (self.bisn, self.aisn)
        seg.proto = 6
        seg.seq = (own + seq) & 0xFFFFFFFF
        seg.ack = (peer + ack) & 0xFFFFFFFF if flags & ACK else 0
        seg.flags = flags
        seg.window = 64240 if flags & SYN else 63
        seg.length = size
        seg.payload = bytes(size)
        seg.why = why
        if flags & SYN:
            seg.mss, seg.wscale, seg.sack_permitted, seg.has_ts = 1460, 10, True, True
        return seg

    def send(self, host: str, seg: Segment, at: int, lost: Drop | None = None) -> None:
        self.record.sent(host, seg, at)
        if lost is not None:
            self.record.dropped("link", seg, lost, at)

    def arrive(self, seg: Segment, at: int) -> None:
        self.record.received("server" if seg.src == A else "client", seg, at)

    def move(self, host: str, old: State, new: State, cause: Cause, at: int) -> None:
        self.record.moved(host, self.flows[host], old, new, cause, at)

    def pass_(self, host: str, seg: Segment, at: int) -> int:
        """Send and arrive DELAY later; gives the time of arrival."""
        self.send(host, seg, at)
        self.arrive(seg, at + DELAY)
        return at + DELAY

    def handshake(self, at: int = 0) -> int:
        r, s = self.record, State
        r.moved("server", b"", s.CLOSED, s.LISTEN, Cause.PASSIVE_OPEN, at)
        r.called("server", "httpd", "listen(3, 128)", "0", at)
        self.move("client", s.CLOSED, s.SYN_SENT, Cause.ACTIVE_OPEN, at)
        syn = self.segment("client", SYN, why=Why.SYN)
        self.send("client", syn, at)
        r.called("client", "app", "connect(3, 10.0.0.2:80)", "EINPROGRESS", at)
        at += DELAY
        self.arrive(syn, at)
        self.move("server", s.LISTEN, s.SYN_RCVD, Cause.RCV_SYN, at)
        synack = self.segment("server", SYN | ACK, ack=1, why=Why.SYN_ACK)
        self.send("server", synack, at)
        at += DELAY
        self.arrive(synack, at)
        self.move("client", s.SYN_SENT, s.ESTABLISHED, Cause.RCV_SYN_ACK, at)
        ack = self.segment("client", ACK, 1, 1, why=Why.HANDSHAKE_ACK)
        self.send("client", ack, at)
        at += DELAY
        self.arrive(ack, at)
        self.move("server", s.SYN_RCVD, s.ESTABLISHED, Cause.RCV_ACK_OF_SYN, at)
        r.called("server", "httpd", "accept(3)", "4, 10.0.0.1:40000", at)
        return at

    def loss_and_rto(self, at: int) -> int:
        r = self.record
        self.send("client", self.segment("client", ACK | PSH, 1, 1, 100, Why.DATA), at, Drop.LINK_LOSS)
        r.called("client", "app", "send(3, 100)", "100", at)
        flow = self.flows["client"]
        r.timer("client", flow, "rto", at + 204 * MSEC)
        again = self.segment("client", ACK | PSH, 1, 1, 100, Why.RTO)
        self.send("client", again, at + 204 * MSEC, Drop.LINK_LOSS)
        r.timer("client", flow, "rto", at + 612 * MSEC)
        third = self.segment("client", ACK | PSH, 1, 1, 100, Why.RTO)
        at = self.pass_("client", third, at + 612 * MSEC)
        at = self.pass_("server", self.segment("server", ACK, 1, 101, why=Why.QUICK_ACK), at)
        return at

    def bulk(self, at: int, count: int) -> int:
        for i in range(count):
            data = self.segment("server", ACK, 1 + i * 1460, 101, 1460, Why.DATA)
            self.send("server", data, at + i * MSEC)
            self.arrive(data, at + i * MSEC + 100_000)
            if i % 2:
                ack = self.segment("client", ACK, 101, 1 + (i + 1) * 1460, why=Why.EVERY_SECOND)
                self.send("client", ack, at + i * MSEC + 100_000)
                self.arrive(ack, at + i * MSEC + 200_000)
        return at + count * MSEC

    def close(self, at: int, got: int = 1, sent: int = 101) -> int:
        r, s = self.record, State
        self.move("client", s.ESTABLISHED, s.FIN_WAIT_1, Cause.CLOSE_CALL, at)
        fin = self.segment("client", FIN | ACK, sent, got, why=Why.FIN)
        self.send("client", fin, at)
        r.called("client", "app", "close(3)", "0", at)
        at += DELAY
        self.arrive(fin, at)
        self.move("server", s.ESTABLISHED, s.CLOSE_WAIT, Cause.RCV_FIN, at)
        ack = self.segment("server", ACK, got, sent + 1, why=Why.FIN_ACK)
        self.send("server", ack, at)
        at += DELAY
        self.arrive(ack, at)
        self.move("client", s.FIN_WAIT_1, s.FIN_WAIT_2, Cause.RCV_ACK_OF_FIN, at)
        at += 500 * MSEC
        r.called("server", "httpd", "recv(4, 4096)", "b''", at)
        self.move("server", s.CLOSE_WAIT, s.LAST_ACK, Cause.CLOSE_CALL, at)
        fin = self.segment("server", FIN | ACK, got, sent + 1, why=Why.FIN)
        self.send("server", fin, at)
        r.called("server", "httpd", "close(4)", "0", at)
        at += DELAY
        self.arrive(fin, at)
        self.move("client", s.FIN_WAIT_2, s.TIME_WAIT, Cause.RCV_FIN, at)
        ack = self.segment("client", ACK, sent + 1, got + 1, why=Why.FIN_ACK)
        self.send("client", ack, at)
        self.arrive(ack, at + DELAY)
        self.move("server", s.LAST_ACK, s.CLOSED, Cause.RCV_ACK_OF_FIN, at + DELAY)
        r.timer("client", self.flows["client"], "time_wait", at + 60 * SEC)
        self.move("client", s.TIME_WAIT, s.CLOSED, Cause.TIME_WAIT_TIMEOUT, at + 60 * SEC)
        return at + 60 * SEC


def whole_life() -> Record:
    """Birth to death, with two losses."""
    story = Story()
    at = story.handshake()
    at = story.loss_and_rto(at + 100 * MSEC)
    story.close(at + 50 * MSEC)
    return story.record


def long_transfer(count: int = 812) -> Record:
    """A handshake, many data segments, a close."""
    story = Story()
    at = story.handshake()
    at = story.bulk(at + 5 * MSEC, count)
    story.close(at + 50 * MSEC, got=1 + count * 1460)
    return story.record


def simultaneous_close() -> Record:
    """Both FINs cross; then a RST from nowhere is discarded."""
    story, s = Story(), State
    r = story.record
    at = story.handshake() + 100 * MSEC
    for host in ("client", "server"):
        story.move(host, s.ESTABLISHED, s.FIN_WAIT_1, Cause.CLOSE_CALL, at)
        fin = story.segment(host, FIN | ACK, 1, 1, why=Why.FIN)
        story.send(host, fin, at)
        at += 2 * MSEC
    fins = [entry.packet for entry in r.packets(flags="FA")]
    at += DELAY - 4 * MSEC
    for host, fin in (("server", fins[0]), ("client", fins[1])):
        assert isinstance(fin, Segment)
        story.arrive(fin, at)
        story.move(host, s.FIN_WAIT_1, s.CLOSING, Cause.RCV_FIN, at)
        story.send(host, story.segment(host, ACK, 2, 2, why=Why.FIN_ACK), at)
        at += 2 * MSEC
    acks = [entry.packet for entry in r.packets(flags="A", why=Why.FIN_ACK)]
    at += DELAY - 4 * MSEC
    for host, ack in (("client", acks[0]), ("server", acks[1])):
        assert isinstance(ack, Segment)
        story.arrive(ack, at)
        story.move(host, s.CLOSING, s.TIME_WAIT, Cause.RCV_ACK_OF_FIN, at)
        at += 2 * MSEC
    rst = story.segment("server", RST, 5, why=Why.RST_ABORT)
    at = story.pass_("server", rst, at)
    r.dropped("client", rst, Drop.RST_OUT_OF_WINDOW, at)
    r.noted("link", "cable unplugged", at + SEC)
    return r
