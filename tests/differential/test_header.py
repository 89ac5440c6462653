"""HDR against the kernel."""

import rfc.test_header
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_header))
