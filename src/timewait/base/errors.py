"""The three kinds of error: bad bytes, a connection's fate or a caller's mistake, and the impossible.

Bad bytes raise `WireError` and are counted where packets are taken apart. What a
socket call reports is an `OSError` with Linux's errno, made by `os_error`. The
impossible is an `assert`.
"""

import errno
import os


class WireError(ValueError):
    """Bytes that are not a packet of the kind they claim to be.

    `reason` is a short fixed word such as 'tcp-doff' that counters are keyed by.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class UsageError(ValueError):
    """A name, value or option that does not exist or is out of range; the text says what is valid."""


class BudgetError(RuntimeError):
    """A run used up its bound on events or on time; the text says what was spinning."""


_TEXTS = {number: os.strerror(number) for number in errno.errorcode}
"""What strerror says: it asks the locale each time, and EAGAIN is raised often."""


def os_error(number: int, detail: str = "") -> OSError:
    """An OSError (its fitting subclass) with Linux's errno; `detail` says what was tried."""
    text = _TEXTS.get(number) or os.strerror(number)
    return OSError(number, f"{text}: {detail}" if detail else text)


def errno_name(number: int) -> str:
    """'ECONNRESET' for 104; the number itself where Linux has no name for it."""
    return errno.errorcode.get(number, str(number))
