"""tests/rfc/test_accecn.py against the kernel."""

import rfc.test_accecn
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_accecn))
