"""axon-port: pydantic-ai agents under OTP supervision, one process behind one port.

Importing this package imports nothing else, not even of the standard library: what lies in the working directory
must not be taken for it (see `__main__`).
"""

__version__ = "0.1.0"
