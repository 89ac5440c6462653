"""What is remembered to compress the acknowledgments of out-of-order data (tcp_comp_sack_*; __tcp_ack_snd_check).

The first acknowledgments of a hole leave at once, so that the sender sees the loss; the
later ones differ only in how far the SACK blocks reach, and one may stand for several.
"""

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr


@mypyc_attr(acyclic=True)
class AckCompression:
    """One connection's; made when its first hole opens."""

    def __init__(self) -> None:
        self.rcv_nxt: i64 = -1
        """The hole whose duplicate acknowledgments are counted (compressed_ack_rcv_nxt); -1: none yet."""
        self.duplicates: i64 = 0
        """How many of them left at once (dup_ack_counter)."""
        self.held: i64 = 0
        """Acknowledgments that wait for the timer and will be one (compressed_ack)."""
