"""The same tests against the running kernel."""

from rfc import test_recovery
from support.peer import kernel_tests

globals().update(kernel_tests(test_recovery))
