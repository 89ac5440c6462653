"""Two hosts of a world and small blocking-free programs on them, for tests that need no `Net`."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.run.verbs import Verbs
from timewait.world.network import World


class Pair:
    """client and server on one link (or one switch with a third host), with the verbs over them."""

    def __init__(self, seed=1, switch=False, delay=10 * MSEC):
        self.world = World(seed=seed)
        self.client, self.server = self.world.host("client"), self.world.host("server")
        if switch:
            self.other = self.world.host("other")
            self.world.switch(self.client, self.server, self.other, delay=delay // 2)
        else:
            self.world.link(self.client, self.server, delay=delay)
        self.verbs = Verbs(self.world)
        self.one, self.two = self.client.process("one"), self.server.process("two")

    @property
    def record(self):
        return self.world.record

    def listen(self, port=80, backlog=16):
        fd = self.two.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.two.bind(fd, ("", port))
        self.two.listen(fd, backlog)
        return fd

    def connect(self, port=80):
        fd = self.one.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.start(fd, port)
        return fd

    def start(self, fd, port=80):
        try:
            self.one.connect(fd, (self.world.address("server"), port))
        except BlockingIOError:
            pass

    def opened(self):
        """A connection in ESTABLISHED: (client's fd, server's fd)."""
        listener = self.listen()
        fd = self.connect()
        self.run(1)
        return fd, self.two.accept(listener)[0]

    def run(self, seconds):
        self.world.run(int(seconds * SEC))
