"""Measurements: what the stack does per second and per connection, beside what a bare loop can do here."""
