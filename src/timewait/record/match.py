"""Conditions on entries, for asking a record: `record.first(Match(flags="SA", host="server"))`."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from timewait.base.errors import UsageError
from timewait.record.entries import (
    Called,
    Dropped,
    Entry,
    Moved,
    Noted,
    Received,
    Sent,
    TimerFired,
    flow_of,
    packet_of,
    reverse_flow,
)
from timewait.tcp.reasons import Drop
from timewait.tcp.states import State
from timewait.wire.packet import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment

Matcher = Callable[[Entry], bool]
"""Says whether an entry is one of those asked for. A `Match` is one; so is any function."""

KINDS: Final[dict[str, type[Entry]]] = {
    "sent": Sent,
    "received": Received,
    "dropped": Dropped,
    "moved": Moved,
    "timer": TimerFired,
    "called": Called,
    "noted": Noted,
}
"""The short name of each kind of entry: what `Match(kind=...)` takes and what files hold."""

FLAGS_COMPARED: Final = FIN | SYN | RST | ACK
"""The flags that `Match(flags=...)` compares: those that make a segment what it is."""

_LETTERS: Final = {"S": SYN, "A": ACK, "F": FIN, "R": RST, "P": PSH, "U": URG}
_WORDS: Final = {
    "SYN": SYN,
    "ACK": ACK,
    "FIN": FIN,
    "RST": RST,
    "PSH": PSH,
    "URG": URG,
    "ECE": ECE,
    "CWR": CWR,
    "AE": AE,
}


def parse_flags(text: str) -> int:
    """Flag bits of 'SA', 'SYN-ACK', 'FIN,ACK' or 'R'. Raises UsageError for other words."""
    words = text.upper().replace(",", "-").replace("+", "-").split("-")
    bits = 0
    for word in words:
        if word in _WORDS:
            bits |= _WORDS[word]
        elif word and all(letter in _LETTERS for letter in word):
            for letter in word:
                bits |= _LETTERS[letter]
        else:
            raise UsageError(f"unknown TCP flags {text!r}; write letters of SAFRPU or names as in 'SYN-AE-CWR'")
    return bits


class Match:
    """A condition on entries: all that is given must hold, what is left out does not matter.

    kind    'sent', 'received', 'dropped', 'moved', 'timer', 'called', 'noted'
    host    name of the host or link (`where`)
    flags   'S', 'SA', 'FIN-ACK' or bits: exactly these of SYN, ACK, FIN and RST (PSH and others are free)
    why     why the packet was sent: one `Why` or several
    drop    why it was discarded: one `Drop` or several
    state   the state moved to
    flow    flow key, in either direction
    payload True: segments with payload; False: without; int: of exactly this many octets
    seq     absolute sequence number
    name    of a timer; start of a socket call
    """

    def __init__(
        self,
        kind: str | None = None,
        *,
        host: str | None = None,
        flags: str | int | None = None,
        why: Enum | tuple[Enum, ...] | None = None,
        drop: Drop | tuple[Drop, ...] | None = None,
        state: State | None = None,
        flow: bytes | None = None,
        payload: bool | int | None = None,
        seq: int | None = None,
        name: str | None = None,
    ) -> None:
        if kind is not None and kind not in KINDS:
            raise UsageError(f"unknown kind of entry {kind!r}; kinds: {', '.join(KINDS)}")
        self.kind: type[Entry] | None = KINDS[kind] if kind is not None else None
        self.host = host
        bits = parse_flags(flags) if isinstance(flags, str) else flags
        self.flags: int | None = None if bits is None else bits & FLAGS_COMPARED
        self.why: tuple[Enum, ...] | None = (why,) if isinstance(why, Enum) else why
        self.drop: tuple[Drop, ...] | None = (drop,) if isinstance(drop, Drop) else drop
        self.state = state
        self.flows: tuple[bytes, ...] | None = None if flow is None else (flow, reverse_flow(flow))
        self.payload = payload
        self.seq = seq
        self.name = name

    def __call__(self, entry: Entry) -> bool:
        """Whether the entry fulfils the condition."""
        if self.kind is not None and not isinstance(entry, self.kind):
            return False
        if self.host is not None and entry.where != self.host:
            return False
        if self.flows is not None and flow_of(entry) not in self.flows:
            return False
        return self._packet_fits(entry) and self._rest_fits(entry)

    def _packet_fits(self, entry: Entry) -> bool:
        if self.why is not None:
            packet = packet_of(entry)
            if packet is None or not any(packet.why is why for why in self.why):
                return False
        if self.flags is None and self.payload is None and self.seq is None:
            return True
        segment = packet_of(entry)
        if not isinstance(segment, Segment):
            return False
        if self.flags is not None and segment.flags & FLAGS_COMPARED != self.flags:
            return False
        if self.seq is not None and segment.seq != self.seq:
            return False
        if isinstance(self.payload, bool):
            return (segment.length > 0) is self.payload
        return self.payload is None or segment.length == self.payload

    def _rest_fits(self, entry: Entry) -> bool:
        if self.drop is not None and not (isinstance(entry, Dropped) and entry.drop in self.drop):
            return False
        if self.state is not None and not (isinstance(entry, Moved) and entry.new is self.state):
            return False
        if self.name is None:
            return True
        if isinstance(entry, TimerFired):
            return entry.name == self.name
        return isinstance(entry, Called) and entry.call.startswith(self.name)
