"""`threading.local` for strands: what CPython keeps per OS thread is exchanged when another strand runs.

Up to Python 3.12 the values hang at the thread's dictionary. Since 3.13 each local object has
a dictionary by thread, whose key and whose sentinel (when it goes, so do the values) stand
in the thread's state. Where that state holds them is found out once, by looking for what is
known to stand there, and tried before it is relied on.
"""

import asyncio.events
import ctypes
import gc
import threading
from typing import Any, Final

_WORDS: Final = 48
"""So many machine words of a thread's state are looked through; 3.11's dictionary is the 17th, 3.13's key the 37th."""


def _thread_dict() -> dict[Any, Any]:
    """What Python keeps for the running OS thread: `threading.local` stores there until 3.12."""
    get: Any = ctypes.pythonapi.PyThreadState_GetDict
    get.restype = ctypes.py_object
    found: dict[Any, Any] = get()
    # The reference is a borrowed one, which ctypes takes for ours.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
    return found


class DictLocals:
    """The exchange up to Python 3.12: of the dictionary as a whole.

    asyncio's C code has its running loop there, and a pointer to it: after an exchange the
    running loop must be set, before anybody asks for it.
    """

    def __init__(self, place: int) -> None:
        self._place = ctypes.c_size_t.from_address(_state() + place)
        self._own = self._place.value
        self._placed: Any = None
        """The dictionary whose address stands there now; None: the thread's own."""

    def fresh(self) -> Any:
        """What a strand has that has not run: a dictionary, which must live as long as it does."""
        return {}

    def exchange(self, mine: Any) -> Any:
        """Put this in place; gives back what was there."""
        before, self._placed = self._placed, mine
        self._place.value = self._own if mine is None else id(mine)
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


class Findings:
    """What has been found out about this interpreter."""

    def __init__(self) -> None:
        self.kind = ""
        self.places: tuple[int, ...] = ()


_found: Final = Findings()


def thread_locals() -> Locals:
    """The exchange for the running OS thread."""
    probe: Any = threading.local()
    probe.value = 1
    if not _found.kind:
        _found.kind = _look(probe)
    if _found.kind == "dict":
        return DictLocals(*_found.places)
    if _found.kind == "key":
        return KeyLocals(*_found.places)
    return SharedLocals()


def _look(probe: Any) -> str:
    """Where the values of a local that has just been set are kept: 'dict', 'key' or 'unknown'."""
    key = sentinel = None
    for part in gc.get_referents(probe):
        if isinstance(part, dict) and len(part) == 1:
            key = next(iter(part))
        elif isinstance(part, set) and len(part) == 1:
            sentinel = next(iter(part))()
    of_thread = _thread_dict()
    if any(isinstance(name, str) and name.startswith("thread.local.") for name in of_thread):
        kind, known = "dict", [of_thread]
    elif key is not None and sentinel is not None:
        kind, known = "key", [key, sentinel]
    else:
        return "unknown"
    words = (ctypes.c_size_t * _WORDS).from_address(_state())
    places = [[at for at, word in enumerate(words) if word == id(wanted)] for wanted in known]
    if any(len(found) != 1 for found in places):
        return "unknown"
    _found.places = tuple(found[0] * ctypes.sizeof(ctypes.c_size_t) for found in places)
    found_out: DictLocals | KeyLocals = (DictLocals if kind == "dict" else KeyLocals)(*_found.places)
    loop = asyncio.events._get_running_loop()
    found_out.exchange(found_out.fresh())
    hidden = not hasattr(probe, "value")
    found_out.exchange(None)
    asyncio.events._set_running_loop(loop)
    return kind if hidden and hasattr(probe, "value") else "unknown"
