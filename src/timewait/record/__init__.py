"""The record: what happened, in order of time, and how to measure, keep and export it."""

from timewait.record.connections import Connection, Side
from timewait.record.entries import Called, Dropped, Entry, Moved, Noted, Received, Sent, TimerFired
from timewait.record.match import Match, parse_flags
from timewait.record.record import Record

__all__ = [
    "Called",
    "Connection",
    "Dropped",
    "Entry",
    "Match",
    "Moved",
    "Noted",
    "Received",
    "Record",
    "Sent",
    "Side",
    "TimerFired",
    "parse_flags",
]
