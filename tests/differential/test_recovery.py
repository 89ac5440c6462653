"""The same tests against the running kernel, played again where a busy machine was late."""

from rfc import test_recovery
from support.peer import kernel_tests
from support.sender import patiently

globals().update({name: patiently(test) for name, test in kernel_tests(test_recovery).items()})
