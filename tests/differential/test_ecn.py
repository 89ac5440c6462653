"""tests/rfc/test_ecn.py against the kernel."""

import rfc.test_ecn
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_ecn))
