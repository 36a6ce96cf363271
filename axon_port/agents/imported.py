"""Agents written in Python, and refined by a parent's fields (PROTOCOL.md, CMD-MODULE).

The imported agent is shared with whoever else imports it, so a copy is refined: tools and instructions are added at
each run, the rest replaces.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

from pydantic_ai import Agent
from pydantic_ai.toolsets import FunctionToolset

from axon_port.agents.allow import Allowed
from axon_port.agents.models import Lease
from axon_port.agents.sources import ModelSource, named_model
from axon_port.agents.templates import Template, system_prompt_function
from axon_port.wire import commands
from axon_port.wire.errors import WireError


def imported_agent(
    command: commands.CreateAgent, system_prompt: Sequence[Template], allowed: Allowed
) -> Agent[Any, Any]:
    """Blocking: it imports. Raises `WireError`: `ImportNotAllowed`, `InvalidAgent`."""
    reference = command.module or ""
    found = allowed.load(reference)
    if not isinstance(found, Agent):
        raise WireError("InvalidAgent", f"{reference} is a {type(found).__name__}, not a pydantic-ai Agent")
    agent = copy.copy(cast("Agent[Any, Any]", found))
    if command.end_strategy is not None:
        agent.end_strategy = command.end_strategy
    if command.system_prompt is not None:
        # pydantic-ai can add system prompts to an agent and has no way to replace them.
        replaced: dict[str, Any] = {
            "_system_prompts": (),
            "_system_prompt_functions": [],
            "_system_prompt_dynamic_functions": {},
        }
        for name, value in replaced.items():
            setattr(agent, name, value)
        for template in system_prompt:
            agent.system_prompt(system_prompt_function(template))
    return agent


def own_models(agent: Agent[Any, Any], reference: str, lease: Lease) -> ModelSource:
    """The model that an imported agent was made with. Blocking. Raises `WireError` `InvalidAgent`."""
    label = f"module:{reference}"
    if agent.model is None:
        return ModelSource((), label)
    if isinstance(agent.model, str):
        return ModelSource((named_model(agent.model, lease),), label)
    return ModelSource((agent.model,), label)


def own_tools(agent: Agent[Any, Any]) -> set[str]:
    """The names of an agent's own tools, as far as they are known before a run: those of its functions."""
    toolsets = [toolset for toolset in agent.toolsets if isinstance(toolset, FunctionToolset)]
    return {name for toolset in toolsets for name in toolset.tools}
