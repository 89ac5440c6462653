"""tests/rfc/test_route_metrics.py against the kernel."""

import rfc.test_route_metrics
from support.peer import kernel_tests

globals().update(kernel_tests(rfc.test_route_metrics))
