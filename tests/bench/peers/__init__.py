"""Who is measured."""

from __future__ import annotations

from typing import Final

from tests.bench.peers.axon import Axon
from tests.bench.peers.base import Peer
from tests.bench.peers.beam import Beam
from tests.bench.peers.in_process import InProcess
from tests.bench.peers.mcp import Mcp
from tests.bench.peers.pipes import CEcho, JsonEcho, PythonEcho
from tests.bench.peers.rpc import Rpc
from tests.bench.peers.web import Web

PEERS: Final[tuple[type[Peer], ...]] = (Axon, Beam, InProcess, CEcho, PythonEcho, JsonEcho, Web, Rpc, Mcp)
"""In the order of the report."""

__all__ = ["PEERS", "Peer"]
