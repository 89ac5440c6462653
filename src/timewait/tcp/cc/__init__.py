"""Congestion control: how much may be in flight, behind one small interface."""

from timewait.base.errors import UsageError
from timewait.tcp.cc.base import CongestionControl
from timewait.tcp.cc.reno import RENO


def congestion_control(name: str) -> CongestionControl:
    """An algorithm by its Linux name; UsageError lists what there is."""
    if name == "reno":
        return RENO
    raise UsageError(f"unknown congestion control {name!r}; there is reno")
