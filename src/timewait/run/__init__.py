"""Programs on hosts: what runs on a world, in virtual time or in real time.

    from timewait.run import Net

Names are loaded when they are asked for, so that a test suite which merely has the
pytest plugin installed pays nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timewait.run.errors import BlockedLoopWarning as BlockedLoopWarning
    from timewait.run.errors import DeadlockError as DeadlockError
    from timewait.run.errors import ForgottenAwaitWarning as ForgottenAwaitWarning
    from timewait.run.errors import MisuseError as MisuseError
    from timewait.run.errors import OverdueError as OverdueError
    from timewait.run.errors import SimulationError as SimulationError
    from timewait.run.net import Net as Net
    from timewait.run.net import NetHost as NetHost
    from timewait.run.program import Program as Program

_HOMES = {
    "Net": "net", "NetHost": "net", "Program": "program",
    "SimulationError": "errors", "DeadlockError": "errors", "OverdueError": "errors", "MisuseError": "errors",
    "ForgottenAwaitWarning": "errors", "BlockedLoopWarning": "errors",
}  # fmt: skip

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
