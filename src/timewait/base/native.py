"""`mypyc_attr`, with which a compiled class allows interpreted code to subclass it.

mypyc closes every class it compiles, because then a method call is a C call. Those that
users, tools or tests extend say so with this decorator, and pay a look-up per call.
`acyclic=True` keeps instances out of the collector of reference cycles: only for
classes whose objects cannot be part of a cycle, such as packets and other values.
Interpreted, it does nothing; like `ints` this file is never compiled.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:
    T = TypeVar("T")

    def mypyc_attr(*names: str, **values: object) -> Callable[[T], T]:
        """Does nothing where nothing is compiled."""
        return lambda cls: cls
