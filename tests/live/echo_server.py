"""A kernel's server that sends everything back, on one epoll.

    echo_server.py ADDRESS PORT BACKLOG

Prints 'ready' once it listens. A client's end of the stream is answered with the end of ours.
"""

import resource
import select
import socket
import sys

ADDRESS, PORT, BACKLOG = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (BACKLOG + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    listener = socket.create_server(
        (ADDRESS, PORT), family=socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET, backlog=BACKLOG
    )
    print("ready", flush=True)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    open_now: dict[int, socket.socket] = {}
    waiting: dict[int, bytes] = {}
    ended: set[int] = set()
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setblocking(False)
                open_now[sock.fileno()], waiting[sock.fileno()] = sock, b""
                epoll.register(sock, select.EPOLLIN)
                continue
            sock = open_now[fd]
            try:
                if not waiting[fd] and fd not in ended:
                    waiting[fd] = sock.recv(1 << 16)
                    if not waiting[fd]:
                        ended.add(fd)
                if waiting[fd]:
                    waiting[fd] = waiting[fd][sock.send(waiting[fd]) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                waiting[fd] = b""
                ended.add(fd)
            if fd in ended and not waiting[fd]:
                ended.discard(fd)
                del open_now[fd], waiting[fd]
                sock.close()
            else:
                epoll.modify(fd, select.EPOLLOUT if waiting[fd] else select.EPOLLIN)


main()
