"""Finding and repairing losses: the scoreboard, RACK, recovery, spurious timeouts."""
