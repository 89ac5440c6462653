"""Urgent data against the kernel."""

import rfc.test_urgent
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_urgent))
