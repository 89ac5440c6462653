"""Congestion control: how much may be in flight, behind one small interface."""

from timewait.base.errors import UsageError
from timewait.tcp.cc.base import CongestionControl
from timewait.tcp.cc.bbr import Bbr
from timewait.tcp.cc.cubic import CUBIC
from timewait.tcp.cc.reno import RENO

AVAILABLE = ("reno", "bbr", "cubic")
"""In the order of net.ipv4.tcp_available_congestion_control."""


def congestion_control(name: str) -> CongestionControl:
    """An algorithm by its Linux name; UsageError lists what there is."""
    if name == "cubic":
        return CUBIC
    if name == "reno":
        return RENO
    if name == "bbr":
        return Bbr()
    raise UsageError(f"unknown congestion control {name!r}; there are {', '.join(AVAILABLE)}")
