"""timewait: a user-space TCP that behaves like Linux and runs on a clock you own."""

__version__ = "0.1.0"
