"""FAIL, ICMP errors and closed windows against the kernel."""

import rfc.test_failures
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_failures))
