"""EST against the kernel."""

import rfc.test_establish
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_establish))
