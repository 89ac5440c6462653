"""tests/rfc/test_retransmit.py against the kernel."""

import rfc.test_retransmit
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_retransmit))
