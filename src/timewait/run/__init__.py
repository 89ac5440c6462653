"""Programs on hosts: what runs on a world, in virtual time or in real time."""
