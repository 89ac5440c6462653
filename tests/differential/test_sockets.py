"""SOCK against the kernel."""

import rfc.test_sockets
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_sockets))
