"""Blocking calls of programs wait here: for one file to become ready, with the baton handed over meanwhile."""

from timewait.base.instant import NEVER
from timewait.base.ints import i64
from timewait.host.file import File, Watcher
from timewait.run import current
from timewait.run.baton import Strand, What
from timewait.run.errors import MisuseError


class Waker(Watcher):
    """Wakes a strand when a file says that something it waits for happened."""

    def __init__(self, strand: Strand, mask: i64) -> None:
        self.strand = strand
        self.mask: i64 = mask

    def notify(self, file: File, mask: i64) -> None:
        if not mask or mask & self.mask:
            self.strand.wake()

    def file_released(self, file: File) -> None:
        self.strand.wake()


def running(what: str) -> Strand:
    """The running strand. MisuseError outside of a simulation."""
    strand = current.strand
    if strand is None:
        raise MisuseError(f"{what}: this belongs to a simulated host, and no program of it is running")
    return strand


def wait_for(file: File, mask: i64, what: What, deadline: i64 = NEVER, news: bool = False) -> bool:
    """Hand over the baton until `file` is ready for `mask`; False if the deadline came first.

    news: what it is ready for now did not help (an error in the error queue is no data), so something must happen.
    """
    if not news and (file.refs <= 0 or file.poll() & mask):
        return True
    strand = running(what if isinstance(what, str) else what[0])
    baton = strand.baton
    waker = Waker(strand, mask)
    file.watch(waker)
    try:
        while file.refs > 0 and (news or not file.poll() & mask):
            if not baton.wait(what, deadline):
                return False
            news = False
        return True
    finally:
        file.unwatch(waker)
