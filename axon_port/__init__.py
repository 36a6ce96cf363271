"""axon-port: pydantic-ai agents under OTP supervision, one process behind one port.

Importing this package imports nothing else: the worker answers its first ping before pydantic-ai is there.
"""

from typing import Final

__version__: Final = "0.1.0"
