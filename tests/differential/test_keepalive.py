"""KA against the kernel."""

import rfc.test_keepalive
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_keepalive))
