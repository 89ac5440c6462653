"""packetdrill scripts: read, run on a host in virtual or real time, and written from records."""
