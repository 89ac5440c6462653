"""DACK against the kernel."""

import rfc.test_delack
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_delack))
