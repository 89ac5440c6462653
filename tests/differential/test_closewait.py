"""CW against the kernel."""

import rfc.test_closewait
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_closewait))
