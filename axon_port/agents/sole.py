"""The one capability of an agent whose tools are all ours, with its one toolset.

pydantic-ai puts two capabilities into every agent, the search for tools and the queue of what is enqueued, and gives it
a toolset for functions. At two dozen points of a run it asks each capability, with a copy of the run's context, and
where there are two of anything it starts a task for each. Such an agent has no function and nothing to search for:
joined into one, these are a sixth less to call in a run, a quarter in one with a tool call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, cast

from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability, ToolSearch
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.tools import AgentNativeTool, RunContext
from pydantic_ai.toolsets import AbstractToolset

from axon_port.agents.bench import Toolset

_JOINABLE: Final = frozenset({"before_model_request", "get_ordering", "get_serialization_name"})
"""What a capability may define to be joined: anything else could be meant for it alone."""


@dataclass
class OnlyToolset(ToolSearch[Any]):
    """Puts a toolset in the place of all others, and searches nothing."""

    toolset: Toolset = field(kw_only=True)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        return self.toolset

    def get_native_tools(self) -> list[AgentNativeTool[Any]]:
        return []

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        for kind in _others():
            request_context = await kind.before_model_request(self, ctx, request_context)
        return request_context


def sole_capability(toolset: Toolset) -> AbstractCapability[Any]:
    """An agent's only capability. One that cannot be joined is beside it: pydantic-ai sees to that by itself."""
    return _joined()(toolset=toolset)


@cache
def _joined() -> type[OnlyToolset]:
    return cast("type[OnlyToolset]", type("SoleCapability", (OnlyToolset, *_others()), {}))


@cache
def _others() -> tuple[type[AbstractCapability[Any]], ...]:
    """What pydantic-ai puts into every agent besides the search for tools, as far as it can be joined."""
    kinds = [type(one) for one in Agent().root_capability.capabilities if not isinstance(one, ToolSearch)]
    return tuple(kind for kind in kinds if _defined_by(kind) <= _JOINABLE)


def _defined_by(kind: type[AbstractCapability[Any]]) -> set[str]:
    """What a capability does, and what it has: nobody would make its fields."""
    return {name for name in vars(kind) if name[0] != "_" or name in {"__init__", "__annotations__"}}
