"""`threading.local` for strands: what CPython keeps per OS thread is exchanged when another strand runs.

Up to Python 3.12 the values hang at entries of the thread's dictionary, and all its entries
are taken out and put back. Since 3.13 each local object has a dictionary by thread, whose key
and whose sentinel (when it goes, so do the values) stand in the thread's state; where they
stand there is found out once, by looking for a known key, and tried before it is relied on.
"""

import ctypes
import gc
import threading
from typing import Any, Final

_WORDS: Final = 200
"""So many machine words of a thread's state are looked through; CPython 3.13's key is the 37th."""


def _thread_dict() -> dict[Any, Any]:
    """What Python keeps for the running OS thread: `threading.local` stores there until 3.12."""
    get: Any = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.py_object
    found: dict[Any, Any] = get()
    # The reference is a borrowed one, which ctypes takes for ours.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
    return found


class DictLocals:
    """The exchange up to Python 3.12."""

    def __init__(self) -> None:
        self._kept = _thread_dict()

    def fresh(self) -> Any:
        """What a strand has that has not run."""
        return {}

    def exchange(self, mine: Any) -> Any:
        """Put these in place; gives back what was there. Then the running loop must be set, before anybody asks."""
        # asyncio's C code keeps its running loop here and a pointer to it: what is given back keeps that alive.
        kept = self._kept
        before = kept.copy()
        kept.clear()
        kept.update(mine)
        return before


class _Key:
    """Stands for a thread in the dictionaries of locals; weakly referenced, it is also the sentinel."""


class KeyLocals:
    """The exchange since Python 3.13."""

    def __init__(self, key: int, sentinel: int) -> None:
        state = _state()
        self._key = ctypes.c_size_t.from_address(state + key)
        self._sentinel = ctypes.c_size_t.from_address(state + sentinel)
        self._placed: Any = None
        """Objects whose addresses stand there now; None: those of the thread itself."""
        self._own = self._key.value, self._sentinel.value

    def fresh(self) -> Any:
        """What a strand has that has not run: its own key and sentinel, which must live as long as it does."""
        return _Key(), _Key()

    def exchange(self, mine: Any) -> Any:
        """Put these in place; gives back what was there."""
        before, self._placed = self._placed, mine
        if mine is None:
            self._key.value, self._sentinel.value = self._own
        else:
            self._key.value, self._sentinel.value = id(mine[0]), id(mine[1])
        return before


class SharedLocals:
    """No exchange, where CPython keeps them in a way that is not known: all strands share their locals."""

    def fresh(self) -> Any:
        """Nothing."""
        return None

    def exchange(self, mine: Any) -> Any:
        """Nothing."""
        return None


Locals = DictLocals | KeyLocals | SharedLocals


def _state() -> int:
    """The address of the running thread's state."""
    get: Any = ctypes.pythonapi.PyThreadState_Get
    get.restype = ctypes.c_void_p
    found: int = get()
    return found


class _Probe:
    """What has been found out about this interpreter."""

    kind: str = ""
    key = 0
    sentinel = 0


def thread_locals() -> Locals:
    """The exchange for the running OS thread."""
    probe: Any = threading.local()
    probe.value = 1
    if not _Probe.kind:
        _Probe.kind = _look(probe)
    if _Probe.kind == "dict":
        return DictLocals()
    if _Probe.kind == "key":
        return KeyLocals(_Probe.key, _Probe.sentinel)
    return SharedLocals()


def _look(probe: Any) -> str:
    """Where the values of a local that has just been set are kept: 'dict', 'key' or 'unknown'."""
    if any(isinstance(key, str) and key.startswith("thread.local.") for key in _thread_dict()):
        return "dict"
    key = sentinel = None
    for part in gc.get_referents(probe):
        if isinstance(part, dict) and len(part) == 1:
            key = next(iter(part))
        elif isinstance(part, set) and len(part) == 1:
            sentinel = next(iter(part))()
    if key is None or sentinel is None:
        return "unknown"
    words = (ctypes.c_size_t * _WORDS).from_address(_state())
    places = [[at for at, word in enumerate(words) if word == id(wanted)] for wanted in (key, sentinel)]
    if any(len(found) != 1 for found in places):
        return "unknown"
    _Probe.key, _Probe.sentinel = (found[0] * ctypes.sizeof(ctypes.c_size_t) for found in places)
    locals_ = KeyLocals(_Probe.key, _Probe.sentinel)
    mine = locals_.fresh()
    locals_.exchange(mine)
    hidden = not hasattr(probe, "value")
    locals_.exchange(None)
    return "key" if hidden and hasattr(probe, "value") else "unknown"
