"""UDP against the kernel."""

import rfc.test_udp
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_udp))
