"""`i64`, the machine integer that mypyc keeps unboxed.

Interpreted, it is plain `int`; the type checker and the compiler see mypyc's
native integer. This file itself is never compiled, so that the engine needs no
package at run time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import i64 as i64
else:
    i64 = int
