"""A connection that has ended frees itself: nothing is left for the collector of reference cycles."""

import gc

from timewait.bench.simulated import Doorman, Visitor, two_hosts
from timewait.tcp.tcb import Tcb


def test_ended_connections_are_freed_without_the_collector():
    world, client, server = two_hosts()
    Doorman(server.process("server"))
    visitors = client.process("client")
    gc.collect()
    gc.disable()
    before = {id(each) for each in gc.get_objects() if isinstance(each, Tcb)}
    try:
        for _ in range(20):
            Visitor(visitors)
        world.run()
        assert not visitors.files
        assert not [each for each in gc.get_objects() if isinstance(each, Tcb) and id(each) not in before]
    finally:
        gc.enable()
