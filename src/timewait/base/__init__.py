"""Numbers, time, randomness and errors: the standard library only, and no state."""
