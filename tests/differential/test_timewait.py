"""TW against the kernel."""

import rfc.test_timewait
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_timewait))
