"""tests/rfc/test_isn.py against the kernel."""

import rfc.test_isn
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_isn))
