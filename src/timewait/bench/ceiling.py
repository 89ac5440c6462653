"""What this machine's TUN allows a Python loop without any TCP in it: the ceilings the stack is held against.

    sudo PYTHONPATH=src python bench/ceiling.py [--seconds 3] [--repeat 3] [--mtu 1500]

Each loop is as bare as it can be: fixed header templates, no timers, no checks. The
kernel's programs run in a subprocess inside a network namespace. Prints JSON.
"""

import argparse
import json
import os
import platform
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from timewait.world.netns import Namespace, probe
from timewait.world.tun import READ_SIZE, VNET_LEN, Tun

KERNEL, US = bytes((10, 77, 0, 1)), bytes((10, 77, 255, 2))
TCP_AT = VNET_LEN + 20
SYN, ACK, FIN, PSH = 2, 16, 1, 8
MEMORY_LIMIT = 2 << 30
SUPER = 65160 - 65160 % 1448
"""Payload of a full super-segment at MSS 1448."""

Loop = Callable[[Tun, Namespace, float], object]

SENDER = """
import socket, sys
s = socket.create_connection(("10.77.255.2", 5001))
block = memoryview(bytes(1 << 20))
try:
    while True: s.send(block)
except OSError: pass
"""
RECEIVER = """
import socket
l = socket.socket(); l.setsockopt(1, 2, 1); l.setsockopt(1, 8, 64 << 20)
l.bind(("10.77.0.1", 5001)); l.listen(); print("ready", flush=True)
c, _ = l.accept(); block = bytearray(1 << 20)
while c.recv_into(block): pass
"""
CLIENT = """
import socket, select
ep = select.epoll(); live = {}; n = 0
def start():
    global n
    s = socket.socket(); s.setblocking(False); n += 1
    s.connect_ex((f"10.77.{n % 199 + 1}.{n // 199 % 250 + 1}", 80)); live[s.fileno()] = s
    ep.register(s.fileno(), select.EPOLLOUT)
for _ in range(WIDTH): start()
while True:
    for fd, mask in ep.poll():
        live.pop(fd).close(); start()
"""


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of octets, not complemented."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def template(
    src: bytes, dst: bytes, sport: int, dport: int, flags: int, *, options: bytes = b"", payload: int = 0, gso: int = 0
) -> bytearray:
    """vnet, IP and TCP headers with a partial checksum; sequence and acknowledgment numbers are filled in later."""
    tcp_len = 20 + len(options) + payload
    vnet = struct.pack("=BBHHHH", 1, 1 if gso else 0, 40 + len(options), gso, 20, 16)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + tcp_len, 0, 0x4000, 64, 6, 0, src, dst)
    ip = ip[:10] + struct.pack(">H", ~checksum(ip) & 0xFFFF) + ip[12:]
    pseudo = checksum(src + dst + struct.pack(">HH", 6, tcp_len))
    offset = (20 + len(options)) // 4 << 4
    tcp = struct.pack(">HHIIBBHHH", sport, dport, 0, 0, offset, flags, 65535, pseudo, 0)
    return bytearray(vnet + ip + tcp + options)


def wait_readable(fd: int, until: float) -> bool:
    """Whether something can be read before the monotonic time `until`."""
    return bool(select.select([fd], [], [], max(0.0, until - time.monotonic()))[0])


class Meter:
    """Wall and processor time of a loop."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def report(self, **counts: float) -> dict[str, float]:
        wall, cpu = time.monotonic() - self.wall, time.process_time() - self.cpu
        rates: dict[str, float] = {"seconds": round(wall, 2), "cpu_share": round(cpu / wall, 2)}
        for name, count in counts.items():
            if name == "bytes":
                rates["gbit_per_s"] = round(count * 8 / wall / 1e9, 2)
                rates["gbit_per_cpu_s"] = round(count * 8 / cpu / 1e9, 2)
            else:
                rates[f"{name}_per_s"] = round(count / wall)
        return rates


def receive_bulk(tun: Tun, namespace: Namespace, seconds: float) -> dict[str, float]:
    """(a) The kernel sends; every super-segment is acknowledged as it comes."""
    fd = tun.fd
    sender = namespace.popen([sys.executable, "-c", SENDER])
    end = time.monotonic() + seconds + 5
    read, write, unpack_from, pack_into = os.read, os.write, struct.unpack_from, struct.pack_into
    total = packets = skipped = 0
    expected = 0
    answer = bytearray()
    meter: Meter | None = None
    while wait_readable(fd, end):
        try:
            while True:
                data = read(fd, READ_SIZE)
                sport, _, seq, _, offset, flags = unpack_from(">HHIIBB", data, TCP_AT)
                if flags & SYN:
                    options = bytes((2, 4, 1448 >> 8, 1448 & 255, 1, 3, 3, 14))
                    reply = template(US, KERNEL, 5001, sport, SYN | ACK, options=options)
                    expected = seq + 1 & 0xFFFFFFFF
                    pack_into(">II", reply, TCP_AT + 4, 0xFFFFFF00, expected)
                    write(fd, reply)
                    answer = template(US, KERNEL, 5001, sport, ACK)
                    meter = Meter()
                    end = time.monotonic() + seconds
                    continue
                length = len(data) - TCP_AT - (offset >> 4) * 4
                if length > 0:
                    # Only data in order counts; what the device's queue dropped is acknowledged unseen.
                    if seq == expected:
                        total += length
                    else:
                        skipped += 1
                    packets += 1
                    expected = seq + length & 0xFFFFFFFF
                    pack_into(">II", answer, TCP_AT + 4, 0xFFFFFF01, expected)
                    write(fd, answer)
                if not packets & 255 and time.monotonic() > end:
                    break
        except BlockingIOError:
            pass
        if time.monotonic() > end:
            break
    assert meter is not None, "the kernel never connected"
    result = meter.report(bytes=total, super_segments=packets)
    result["mean_super_segment"] = round(total / max(packets, 1))
    result["out_of_order"] = skipped
    stop(sender)
    return result


def open_by_hand(tun: Tun, seconds: float) -> tuple[int, int]:
    """Connect to the kernel's listener: its acknowledgment number to use and its window scale."""
    syn = template(US, KERNEL, 7000, 5001, SYN, options=bytes((2, 4, 1448 >> 8, 1448 & 255, 1, 3, 3, 14)))
    struct.pack_into(">I", syn, TCP_AT + 4, 999)
    tun.write(bytes(syn))
    end = time.monotonic() + seconds
    while wait_readable(tun.fd, end):
        data = tun.read()
        if data[VNET_LEN + 9] == 6 and data[TCP_AT + 13] & SYN:
            options = data[TCP_AT + 20 :]
            at = options.find(bytes((3, 3)))
            return int.from_bytes(data[TCP_AT + 4 : TCP_AT + 8]) + 1 & 0xFFFFFFFF, options[at + 2]
    raise TimeoutError("no SYN-ACK from the kernel")


def send_bulk(tun: Tun, namespace: Namespace, seconds: float) -> dict[str, dict[str, float]]:
    """(b) Super-segments into a kernel receiver: as its window allows, then without regard (all duplicates)."""
    receiver = namespace.popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE)
    assert receiver.stdout is not None
    receiver.stdout.readline()
    fd = tun.fd
    peer, scale = open_by_hand(tun, 3)
    ack = template(US, KERNEL, 7000, 5001, ACK)
    struct.pack_into(">II", ack, TCP_AT + 4, 1000, peer)
    tun.write(bytes(ack))
    head = template(US, KERNEL, 7000, 5001, ACK | PSH, payload=SUPER, gso=1448)
    payload = memoryview(bytes(SUPER))
    read, writev, unpack_from, pack_into = os.read, os.writev, struct.unpack_from, struct.pack_into
    una = nxt = edge = written = stalls = 0  # Offsets from the first octet, 1000.
    edge = 65535
    progress = time.monotonic()
    meter = Meter()
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        while nxt + SUPER <= edge:
            pack_into(">II", head, TCP_AT + 4, nxt + 1000 & 0xFFFFFFFF, peer)
            writev(fd, (head, payload))
            nxt += SUPER
            written += 1
        try:
            while True:
                data = read(fd, READ_SIZE)
                acked, _, window = unpack_from(">IHH", data, TCP_AT + 8)
                # The window's edge only matters here, not the order of the acknowledgments.
                moved = (acked - 1000 - una & 0xFFFFFFFF) if (acked - 1000 - una & 0x80000000) == 0 else 0
                if moved:
                    una += moved
                    progress = now
                edge = una + (window << scale)
        except BlockingIOError:
            pass
        if nxt + SUPER > edge:
            wait_readable(fd, now + 0.01)
        if now - progress > 0.05:
            nxt, progress = una, now
            stalls += 1
    windowed = meter.report(bytes=una, super_segments=written)
    windowed["stalls"] = stalls
    pack_into(">II", head, TCP_AT + 4, una + 1000 - SUPER & 0xFFFFFFFF, peer)
    meter, written, end = Meter(), 0, time.monotonic() + seconds / 2
    while time.monotonic() < end:
        for _ in range(64):
            writev(fd, (head, payload))
        written += 64
        try:
            while True:
                read(fd, READ_SIZE)
        except BlockingIOError:
            pass
    blind = meter.report(bytes=written * SUPER, super_segments=written)
    stop(receiver)
    return {"windowed": windowed, "write_only_dropped": blind}


def connections(tun: Tun, namespace: Namespace, seconds: float) -> dict[str, float]:
    """(c) The kernel connects and closes; SYN and FIN are answered from templates. A connection is a FIN answered."""
    client = namespace.popen([sys.executable, "-c", CLIENT.replace("WIDTH", "128")])
    fd = tun.fd
    read, write, unpack_from, pack_into = os.read, os.write, struct.unpack_from, struct.pack_into
    syn_ack = template(US, KERNEL, 80, 0, SYN | ACK, options=bytes((2, 4, 1448 >> 8, 1448 & 255)))
    fin_ack = template(US, KERNEL, 80, 0, FIN | ACK)
    done = packets = 0
    meter = Meter()
    end = time.monotonic() + seconds
    while wait_readable(fd, end) and time.monotonic() < end:
        try:
            for _ in range(1024):
                data = read(fd, READ_SIZE)
                packets += 1
                flags = data[TCP_AT + 13]
                if not flags & (SYN | FIN):
                    continue
                reply = syn_ack if flags & SYN else fin_ack
                sport, dport, seq = unpack_from(">HHI", data, TCP_AT)
                source = data[VNET_LEN + 16 : VNET_LEN + 20]
                # Every destination is us: the answer's source and both checksums move with it.
                delta = (source[2] << 8 | source[3]) - (US[2] << 8 | US[3])
                ip_sum, tcp_sum = (SYN_IP, SYN_TCP) if flags & SYN else (FIN_IP, FIN_TCP)
                ip_sum = (ip_sum - delta - 1) % 0xFFFF + 1
                tcp_sum = (tcp_sum + delta - 1) % 0xFFFF + 1
                pack_into(">H4s", reply, VNET_LEN + 10, ip_sum, source)
                pack_into(">HHII", reply, TCP_AT, dport, sport, 5000 if flags & SYN else 5001, seq + 1 & 0xFFFFFFFF)
                pack_into(">H", reply, TCP_AT + 16, tcp_sum)
                write(fd, reply)
                if flags & FIN:
                    done += 1
        except BlockingIOError:
            pass
    result = meter.report(connections=done, packets=packets)
    result["connections_per_cpu_s"] = round(result["connections_per_s"] / max(result["cpu_share"], 0.01))
    stop(client)
    return result


def sums(head: bytearray) -> tuple[int, int]:
    """The IP and the partial TCP checksum field of a template."""
    return struct.unpack_from(">H", head, VNET_LEN + 10)[0], struct.unpack_from(">H", head, TCP_AT + 16)[0]


SYN_IP, SYN_TCP = sums(template(US, KERNEL, 80, 0, SYN | ACK, options=bytes(4)))
FIN_IP, FIN_TCP = sums(template(US, KERNEL, 80, 0, FIN | ACK))


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End a program of ours."""
    child.kill()
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def in_namespace(loop: Loop, mtu: int, seconds: float) -> object:
    """One run on a TUN and a kernel of its own."""
    with Namespace("ceiling") as namespace, Tun(namespace, mtu=mtu) as tun:
        namespace.set_sysctl("net.ipv4.ip_local_port_range", (10000, 65000))
        for sysctl in ("tcp_rmem", "tcp_wmem"):
            namespace.set_sysctl(f"net.ipv4.{sysctl}", (4096, 1 << 20, 64 << 20))
        tun.add_address("10.77.0.1/16")
        return loop(tun, namespace, seconds)


def main() -> int:
    """Run the three loops one after another, each on a TUN of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each loop")
    parser.add_argument("--mtu", type=int, default=1500)
    arguments = parser.parse_args()
    if missing := probe():
        print(missing, file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    results: dict[str, object] = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "mtu": arguments.mtu,
    }
    loops: list[tuple[str, Loop]] = [
        ("receive_bulk", receive_bulk), ("send_bulk", send_bulk), ("connections", connections),
    ]  # fmt: skip
    for name, loop in loops:
        results[name] = [in_namespace(loop, arguments.mtu, arguments.seconds) for _ in range(arguments.repeat)]
    print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
