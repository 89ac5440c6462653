"""Many endpoints, one machine: tables, sockets, processes."""
