"""Bytes to values and back, without state: IP, TCP, UDP, ICMP, the virtio-net header and pcapng."""
