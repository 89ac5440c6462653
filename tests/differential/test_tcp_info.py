"""Every field of struct tcp_info, at the moments of support.info_stories, on the kernel and on our stack."""

import pytest

import rfc.test_tcp_info
from support.info_stories import STORIES
from support.moments import differences, tell
from support.peer import Peer, kernel_tests

globals().update(kernel_tests(rfc.test_tcp_info))

TELLINGS = 3


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_field_is_the_kernel_s(peers, story):
    """A machine that halts in the middle of a step spoils a telling; three in a row it does not."""
    for _ in range(TELLINGS):
        kernel = tell(story, peers())
        ours = tell(story, Peer.sim(), kernel)
        found = differences(kernel, ours)
        if not found:
            return
    pytest.fail("\n".join(found))
