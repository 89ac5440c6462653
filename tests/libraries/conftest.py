"""Networks and certificates for tests of unmodified libraries on simulated hosts."""

import hashlib
import io
import ssl
import time

import pytest
import trustme

from timewait.record.jsonl import write_to
from timewait.run import Net

FAULTS = {"clean": {}, "lossy": {"loss": "10%"}, "slow": {"delay": "300ms", "rate": "256k"}}


class Stage:
    """A server program on one host, clients on another."""

    def __init__(self, seed, link):
        self.net = Net(seed=seed)
        self.client, self.server = self.net.host("client"), self.net.host("server")
        self.link = self.net.link(self.client, self.server, **{"delay": "10ms", **link})

    def serve(self, function, *args):
        """Start the server, and give it half a second."""
        job = self.server.run(function, *args, daemon=True)
        self.client.run(time.sleep, 0.5)
        self.net.run()
        return job

    def call(self, function, *args, timeout=1000):
        """What a client program returns."""
        job = self.client.run(function, *args)
        self.net.run_until(job, timeout=timeout)
        return job.result()

    def digest(self):
        """Of everything that happened."""
        written = io.StringIO()
        write_to(self.net.record, written)
        return hashlib.sha256(written.getvalue().encode()).hexdigest()


@pytest.fixture
def stage():
    """Makes stages, and ends them."""
    made = []

    def make(seed=1, **link):
        made.append(Stage(seed, link))
        return made[-1]

    yield make
    for each in made:
        each.net.close()


@pytest.fixture(params=list(FAULTS))
def on_each(request, stage):
    """A stage on a clean line, on a lossy one, on a slow one."""
    return stage(seed=7, **FAULTS[request.param])


@pytest.fixture(scope="session")
def authority():
    """A certificate authority."""
    return trustme.CA(key_type=trustme.KeyType.RSA) if hasattr(trustme, "KeyType") else trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority):
    """TLS of a server named 'server'."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("server").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(authority):
    """TLS of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
