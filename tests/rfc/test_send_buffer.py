"""The send buffer grows when the program is the limit, not when the network is (tcp_should_expand_sndbuf)."""

import socket

from support.peer import both

MSS = 1000


@both
def test_a_buffer_larger_than_the_window_does_not_grow(peers):
    peer = peers()
    listener = peer.listen(80, 128, (socket.IPPROTO_TCP, 13, b"reno"))
    flow = peer.new_flow(40000)
    flow.handshake(mss=MSS, window=65535, wscale=10, sack_ok=True)
    fd = peer.accept(listener)

    def size():
        return peer.app.getsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF)

    def fill():
        while peer.attempt(peer.app.send, fd, bytes(65536)) != "EAGAIN":
            pass

    begun = size()
    fill()
    assert len(peer.take()) == 10
    # The window grows by two and is filled again: the buffer is large enough.
    assert len(flow.inject("A", seq=1, ack=1 + 2 * MSS, window=65535)) == 4
    assert size() == begun
    acked = 1 + 2 * MSS
    for _ in range(40):
        if size() > begun:
            break
        # Once the window holds more than the buffer, the program is what the network waits for.
        acked += 4 * MSS
        flow.inject("A", seq=1, ack=acked, window=65535)
        fill()
    assert size() > begun
