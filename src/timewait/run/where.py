"""Where in somebody's program something happens: the innermost line that is neither ours nor a library's."""

import asyncio
import os
import sysconfig
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

_HERE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES: Final = tuple(
    {
        path + os.sep
        for name, path in sysconfig.get_paths().items()
        if name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
)


def foreign(filename: str) -> bool:
    """Whether a file is the standard library's, an installed package's or ours."""
    return filename.startswith(("<", _HERE, *_LIBRARIES))


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's own, of these; None if there is none."""
    while frame is not None and foreign(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def line_of(frame: FrameType | None) -> str:
    """'chat.py:12 in fetch' for the innermost frame of the user's own; of any if there is none."""
    found = users_frame(frame) or frame
    if found is None:
        return "nowhere"
    return f"{os.path.basename(found.f_code.co_filename)}:{found.f_lineno} in {found.f_code.co_name}"


def _awaited(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a chain of awaits, outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None) or getattr(
            coroutine, "ag_frame", None
        )  # fmt: skip
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def lines_of_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Where each unfinished task of a loop waits, innermost line of the user's own, in the order they were named."""
    found: list[str] = []
    for task in sorted(asyncio.all_tasks(loop), key=age):
        frames = list(_awaited(task.get_coro()))
        own = [frame for frame in frames if not foreign(frame.f_code.co_filename)]
        if frames:
            frame = (own or frames)[-1]
            found.append(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}")
    return found


def age(task: "asyncio.Task[Any]") -> tuple[int, str]:
    """Sorts tasks by the order in which asyncio named them."""
    name = task.get_name()
    return len(name), name
