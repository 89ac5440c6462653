"""CLS against the kernel."""

import rfc.test_terminate
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_terminate))
