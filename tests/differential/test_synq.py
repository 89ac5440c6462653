"""tests/rfc/test_synq.py against the kernel."""

import rfc.test_synq
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_synq))
