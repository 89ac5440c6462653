"""`i64`, the machine integer that mypyc keeps unboxed, and its smaller kin for objects held by the million.

Interpreted, they are plain `int`; the type checker and the compiler see mypyc's
native integers. This file itself is never compiled, so that the engine needs no
package at run time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import i16 as i16
    from mypy_extensions import i32 as i32
    from mypy_extensions import i64 as i64
else:
    i16 = i32 = i64 = int
