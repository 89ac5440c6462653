"""Which strand of which simulated program is running; None outside of every simulation.

Everything that programs may have imported by name asks here (`modules.py`), so this
stays one attribute look-up.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timewait.run.baton import Strand
    from timewait.run.program import Program

strand: "Strand | None" = None
"""Set by the baton around each switch."""


def current() -> "Program | None":
    """The simulated program whose code is running; None outside."""
    return None if strand is None else strand.program
