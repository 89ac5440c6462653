"""tests/rfc/test_mtu_probe.py against the kernel."""

import rfc.test_mtu_probe
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_mtu_probe))
