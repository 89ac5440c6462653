"""tests/rfc/test_mss.py against the kernel."""

import rfc.test_mss
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_mss))
