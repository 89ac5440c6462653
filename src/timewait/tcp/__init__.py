"""One TCP endpoint without I/O: segments, calls and time come in, segments and events go out."""
