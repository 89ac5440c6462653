"""Congestion control: how much may be in flight, behind one small interface."""

from timewait.base.errors import UsageError
from timewait.tcp.cc.base import CongestionControl
from timewait.tcp.cc.reno import Reno


def congestion_control(name: str) -> CongestionControl:
    """A fresh instance of an algorithm by its Linux name; UsageError lists what there is."""
    if name == "reno":
        return Reno()
    raise UsageError(f"unknown congestion control {name!r}; there is reno")
