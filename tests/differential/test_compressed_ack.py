"""tests/rfc/test_compressed_ack.py against the kernel."""

import rfc.test_compressed_ack
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_compressed_ack))
