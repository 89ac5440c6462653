"""Connections of which a puppet plays one end, ready made; and datagrams in and out.

A lab that writes segments by hand mostly wants the handshake done first: these
functions do it, step by step and visible in the record.
"""

import socket
from typing import Final

from timewait.lab.bench import PORT, READABLE, Bench, Program
from timewait.lab.judge import LabError
from timewait.wire.packet import ACK, Segment

SPORT: Final = 40000
"""The puppet client's port."""


def open_to_server(
    bench: Bench, *, iss: int | None = None, mss: int = 1460, sack: bool = False, tsval: int | None = None
) -> tuple[Program, int]:
    """The puppet client opens a connection to a program of the server, which accepts it: that program, its socket.

    `sack` permits SACK, `tsval` switches timestamps on with this value in the SYN and in the third segment.
    """
    server = bench.program("server")
    listener = bench.listen(server)
    puppet = bench.puppet
    puppet.port, puppet.peer_port = SPORT, PORT
    if iss is not None:
        puppet.iss = iss
    syn = puppet.segment("S")
    syn.mss, syn.sack_permitted = mss, sack
    if tsval is not None:
        syn.has_ts, syn.tsval = True, tsval
    puppet.put(syn)
    bench.until(puppet.segments, "the SYN-ACK")
    third = puppet.segment("A", seq=1, ack=1)
    stamp(bench, third, tsval)
    puppet.put(third)
    return server, bench.accept(server, listener)


def stamp(bench: Bench, made: Segment, tsval: int | None) -> Segment:
    """Give a segment the timestamp option: this value, echoing the last one that came."""
    last = bench.puppet.last()
    if tsval is not None and last is not None:
        made.has_ts, made.tsval, made.tsecr = True, tsval, last.tsval
    return made


def open_to_client(bench: Bench, *, mss: int = 1460, sack: bool = False) -> tuple[Program, int]:
    """A program of the client connects to the puppet server, which answers: that program, its socket."""
    client = bench.program("client")
    fd = bench.connect(client)
    puppet = bench.puppet
    bench.until(puppet.segments, "the SYN")
    answer = puppet.segment("SA", seq=0, ack=1)
    answer.mss, answer.sack_permitted = mss, sack
    puppet.put(answer)
    came = bench.outcome(client, fd)
    if came != "OK":
        raise LabError(f"connect() gave {came}")
    bench.until(lambda: len(puppet.segments()) > 1, "the third segment")
    return client, fd


def acknowledgments(bench: Bench, after: int = 0) -> list[int]:
    """What the segments that came to the puppet acknowledge, relative; those after the first `after` ones."""
    puppet = bench.puppet
    return [puppet.relative(each)[1] for each in puppet.segments()[after:] if each.flags & ACK]


def datagram_socket(program: Program, port: int = 0) -> int:
    """A UDP socket, bound to a port if one is given."""
    fd = program.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if port:
        program.bind(fd, ("0.0.0.0", port))
    return fd


def datagrams(program: Program, fd: int) -> list[bytes]:
    """Every datagram that waits at a socket, in the order of arrival."""
    found: list[bytes] = []
    while program.poll([(fd, READABLE)]):
        found.append(program.recv(fd, 65536))
    return found
