"""Congestion control: how much may be in flight, behind one small interface."""

from timewait.base.errors import UsageError
from timewait.tcp.cc.base import CongestionControl
from timewait.tcp.cc.cubic import CUBIC
from timewait.tcp.cc.reno import RENO

AVAILABLE = ("reno", "cubic")
"""net.ipv4.tcp_available_congestion_control."""


def congestion_control(name: str) -> CongestionControl:
    """An algorithm by its Linux name; UsageError lists what there is."""
    if name == "reno":
        return RENO
    if name == "cubic":
        return CUBIC
    raise UsageError(f"unknown congestion control {name!r}; there are {', '.join(AVAILABLE)}")
