"""tests/rfc/test_fastopen_pause.py against the kernel."""

import rfc.test_fastopen_pause
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_fastopen_pause))
