"""A kernel's client: N connections open at once, each with data of its own that must come back.

    echo_client.py ADDRESS PORT COUNT OCTETS

Prints 'all open' and waits for a line. Then prints 'COUNT right' and exits 0, or says what was wrong and exits 1.
"""

import random
import resource
import select
import socket
import sys
import time

ADDRESS, PORT, COUNT, OCTETS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
PATIENCE = 60.0


class Connection:
    def __init__(self, number: int) -> None:
        self.data = random.Random(number).randbytes(OCTETS + number)
        self.sent = 0
        self.got = bytearray()
        self.sock = socket.socket(socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET)
        self.sock.setblocking(False)
        self.sock.connect_ex((ADDRESS, PORT))


def established(epoll: select.epoll, connections: dict[int, Connection], until: float) -> None:
    """Wait until every connection is open, so that all of them are at the same time."""
    waiting = set(connections)
    while waiting:
        if time.monotonic() > until:
            sys.exit(f"{len(waiting)} connections were not established")
        for fd, _ in epoll.poll(1):
            error = connections[fd].sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                sys.exit(f"connection {fd}: error {error}")
            waiting.discard(fd)
            epoll.modify(fd, 0)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (COUNT + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    until = time.monotonic() + PATIENCE
    epoll = select.epoll()
    connections = {}
    for number in range(COUNT):
        made = Connection(number)
        connections[made.sock.fileno()] = made
        epoll.register(made.sock.fileno(), select.EPOLLOUT)
    established(epoll, connections, until)
    print("all open", flush=True)
    sys.stdin.readline()
    for fd in connections:
        epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
    right = 0
    while connections:
        if time.monotonic() > until:
            sys.exit(f"{len(connections)} connections did not get their data back")
        for fd, mask in epoll.poll(1):
            one = connections[fd]
            if mask & select.EPOLLOUT and one.sent < len(one.data):
                one.sent += one.sock.send(one.data[one.sent :])
                if one.sent == len(one.data):
                    one.sock.shutdown(socket.SHUT_WR)
                    epoll.modify(fd, select.EPOLLIN)
            if mask & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP):
                part = one.sock.recv(1 << 16)
                one.got += part
                if not part:
                    if one.got != one.data:
                        sys.exit(f"connection {fd}: wrong data, {len(one.got)} of {len(one.data)} octets")
                    right += 1
                    connections.pop(fd).sock.close()
    print(f"{right} right")


main()
