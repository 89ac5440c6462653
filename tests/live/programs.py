"""The kernel's programs in live tests: their output, while our host lives on in the same loop."""

import asyncio
import subprocess
from collections.abc import Sequence

from timewait.run.live import Live, ended, stop


async def output(net: Live, command: Sequence[str]) -> bytes:
    """What a program at the kernel's end prints; it has to succeed."""
    assert net.namespace is not None
    child = net.namespace.popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        text = await asyncio.to_thread(child.stdout.read)
        assert await ended(child) == 0, text
    finally:
        # Ended before its pipe is closed: closing waits for the thread that reads.
        await stop(child)
        child.stdout.close()
    return text
