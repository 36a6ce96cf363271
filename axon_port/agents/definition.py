"""An agent as the parent defined it, ready to be run (PROTOCOL.md, CMD-CREATE-AGENT).

Building one is blocking (imports, schemas) and happens on a thread; what comes out is immutable and shared by all
its runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import anyio
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.usage import UsageLimits

from axon_port.agents.allow import Allowed
from axon_port.agents.bench import Toolset
from axon_port.agents.capabilities import build_capabilities
from axon_port.agents.imported import imported_agent, own_models, own_tools
from axon_port.agents.models import Lease, ModelFactory
from axon_port.agents.output import OUTPUT_TOOL, StructuredOutput, structured_output
from axon_port.agents.recordings import Recordings
from axon_port.agents.schemas import Schema, SchemaCache
from axon_port.agents.settings import check_model_settings
from axon_port.agents.sole import sole_capability
from axon_port.agents.sources import ModelSource, build_models
from axon_port.agents.templates import Template, parse_template, system_prompt_function
from axon_port.agents.tools import ToolSpec, compile_tools
from axon_port.agents.tracing import Instrumentation
from axon_port.wire import commands
from axon_port.wire.errors import WireError

BUILDING_THREADS: Final = 256
"""Agents built at once. Their own, as that of `PREPARING_THREADS`: an import that hangs holds its thread for good, and
anyio's forty would be those of every agent, every run and the tools of every module."""

PREPARING_THREADS: Final = 64
"""Runs at once whose own model or output is made ready."""


@dataclass(frozen=True)
class Workshop:
    """What agents are built with; one for each worker."""

    allowed: Allowed
    recordings: Recordings
    models: ModelFactory = field(default_factory=ModelFactory)
    schemas: SchemaCache = field(default_factory=SchemaCache)
    instrumentation: Instrumentation | None = None
    """What runs are traced with, where they are."""
    building: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(BUILDING_THREADS))
    """The threads on which agents are built."""
    preparing: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(PREPARING_THREADS))
    """The threads on which the model and the output of a single run are."""


@dataclass(frozen=True)
class AgentDefinition:
    """One agent. `command` holds the defaults that a run can replace, and nothing that was compiled."""

    agent_id: str
    command: commands.CreateAgent
    imported: Agent[Any, Any] | None
    model: ModelSource
    lease: Lease
    capabilities: tuple[AbstractCapability[Any], ...]
    tools: Mapping[str, ToolSpec]
    instructions: tuple[Template, ...]
    system_prompt: tuple[Template, ...]
    output: StructuredOutput | None
    deps_schema: Schema | None

    @cached_property
    def agent(self) -> Agent[Any, Any]:
        """pydantic-ai's. Made for the first run: it is larger than all the rest, and of ten thousand agents few may
        ever run."""
        return self.imported or _new_agent(self)

    @cached_property
    def toolset(self) -> Toolset:
        """Its tools, for all its runs."""
        return Toolset(self.tools)

    @property
    def has_foreign_tools(self) -> bool:
        """Whether tools may run that are not on our bench."""
        return self.command.module is not None or bool(self.capabilities)

    @property
    def label(self) -> str:
        return self.model.label

    @property
    def tool_names(self) -> list[str]:
        return list(self.tools)


def build_agent(command: commands.CreateAgent, workshop: Workshop, lease: Lease) -> AgentDefinition:
    """The agent of a command, whose models are on this lease. Blocking.

    Raises `WireError`: `InvalidAgent`, `ImportNotAllowed`, …
    """
    if command.model_settings is not None:
        check_model_settings(command.model_settings)
    system_prompt = templates(command.system_prompt)
    output = None
    if command.output_schema is not None:
        output = build_output(command.output_schema, command.output_mode, workshop)
    tools = compile_tools(
        command.tools, timeout_ms=command.tool_timeout_ms, schemas=workshop.schemas, allowed=workshop.allowed
    )
    if output is not None and output.mode == "tool" and any(spec.name == OUTPUT_TOOL for spec in tools):
        raise WireError("InvalidAgent", f"a tool is called {OUTPUT_TOOL!r} like the output tool: rename it")
    capabilities = build_capabilities(command.capabilities, workshop.allowed)
    if command.module is None:
        imported = None
        model = build_models(command.model, lease, workshop.recordings)
    else:
        imported = imported_agent(command, system_prompt, workshop.allowed)
        model = own_models(imported, command.module, lease)
        if twice := own_tools(imported) & {spec.name for spec in tools}:
            raise WireError("InvalidAgent", f"{command.module} has a tool {min(twice)!r} of its own: rename yours")
    return AgentDefinition(
        agent_id=command.agent_id,
        # What has been compiled is not kept twice: an agent may be one of ten thousand.
        command=command.model_copy(update={"tools": [], "model": None, "instructions": None, "system_prompt": None}),
        imported=imported,
        model=model,
        lease=lease,
        capabilities=tuple(capabilities),
        tools={spec.name: spec for spec in tools},
        instructions=templates(command.instructions),
        system_prompt=system_prompt,
        output=output,
        deps_schema=None
        if command.deps_schema is None
        else workshop.schemas.compile(command.deps_schema, "`deps_schema`"),
    )


def build_output(schema: Any, mode: Any, workshop: Workshop) -> StructuredOutput:
    """Raises `WireError` `InvalidAgent` for a schema that is none."""
    return structured_output(workshop.schemas.compile(schema, "`output_schema`"), mode or "tool")


def templates(texts: str | Sequence[str] | None) -> tuple[Template, ...]:
    """Raises `WireError` `InvalidAgent` for a broken one."""
    if texts is None:
        return ()
    return tuple(parse_template(text) for text in ([texts] if isinstance(texts, str) else texts))


def usage_limits(*given: commands.UsageLimits | None) -> UsageLimits:
    """pydantic-ai's limits, merged key by key; later ones win."""
    merged: dict[str, Any] = {}
    for limits in given:
        if limits is not None:
            merged.update(limits.model_dump(exclude_unset=True))
    if (cost := merged.get("cost_limit")) is not None:
        # As it was written: costs are decimals, and a float of 0.3 lies below theirs.
        merged["cost_limit"] = Decimal(repr(cost))
    return UsageLimits(**merged)


def retry_budgets(command: commands.CreateAgent) -> Any:
    """pydantic-ai's budgets, for those that were given; None where none was."""
    given = {"tools": command.retries, "output": command.result_retries}
    return {name: budget for name, budget in given.items() if budget is not None} or None


def _new_agent(definition: AgentDefinition) -> Agent[Any, Any]:
    agent: Agent[Any, Any] = Agent(
        name=definition.agent_id,
        deps_type=object,
        end_strategy=definition.command.end_strategy or "graceful",
        capabilities=None if definition.has_foreign_tools else [sole_capability(definition.toolset)],
    )
    for template in definition.system_prompt:
        agent.system_prompt(system_prompt_function(template))
    return agent
