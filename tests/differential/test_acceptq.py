"""tests/rfc/test_acceptq.py against the kernel."""

import rfc.test_acceptq
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_acceptq))
