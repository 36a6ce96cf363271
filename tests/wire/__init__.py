"""The wire without I/O: bytes and rules."""
