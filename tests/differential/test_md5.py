"""tests/rfc/test_md5.py against the kernel."""

import rfc.test_md5
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_md5))
