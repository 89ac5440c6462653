"""What goes wrong with a simulation itself, not with a connection in it."""

from timewait.base.errors import UsageError


class SimulationError(RuntimeError):
    """A program cannot go on in the simulation; the text says why and what to do."""


class DeadlockError(SimulationError):
    """Every program waits and nothing is left to happen: on real hosts they would hang for ever."""


class OverdueError(SimulationError):
    """The programs did not end within the time a run was given."""


class MisuseError(SimulationError, UsageError):
    """A program tried what cannot be simulated; the text names the line and the remedy."""


class ForgottenAwaitWarning(RuntimeWarning):
    """A program called a coroutine function and did not await what it gave."""


class BlockedLoopWarning(RuntimeWarning):
    """A program waits inside a coroutine without awaiting: none of its other tasks runs meanwhile."""
