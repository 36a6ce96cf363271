"""One run of an agent, from the parent's fields to its outcome (PROTOCOL.md, RUN-*).

`run` and `stream` take the same path: a plain run of the agent's graph, with a tap in the model's line. What a run
leaves behind when it fails or is cancelled can be asked for at any time with `leftover`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import anyio
import anyio.to_thread
from pydantic import ConfigDict, TypeAdapter
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    RetryFeedbackPart,
    ToolReturnPart,
)
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRun
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import RunUsage
from pydantic_graph import End

from axon_port.agents import definition as definitions
from axon_port.agents import strays, tracing
from axon_port.agents.attachments import UnusableAttachment, field_of
from axon_port.agents.bench import ToolBench, Toolset
from axon_port.agents.deferral import DeferredEnd, call_args, deferred_results, open_calls
from axon_port.agents.definition import AgentDefinition, Workshop
from axon_port.agents.ends import ToolFault
from axon_port.agents.failures import wire_error
from axon_port.agents.guard import RunGuard
from axon_port.agents.history import check_closed, dump_history, parse_history, resumable
from axon_port.agents.host import Host
from axon_port.agents.lines import Line, chain
from axon_port.agents.output import OUTPUT_TOOL, StructuredOutput
from axon_port.agents.prompts import user_content
from axon_port.agents.script import ScriptedModel
from axon_port.agents.settings import check_model_settings
from axon_port.agents.sources import ModelSource, build_models
from axon_port.agents.tap import RunTap
from axon_port.agents.templates import Template
from axon_port.agents.usage import usage_fields
from axon_port.wire import commands
from axon_port.wire.codec import JsonText
from axon_port.wire.errors import WireError, invalid_command
from axon_port.wire.events import shortened

_logger = logging.getLogger("axon_port.agents")

_RETURNS = TypeAdapter[list[ToolReturnPart]](list[ToolReturnPart], config=ConfigDict(ser_json_bytes="base64"))
"""Bytes are base64, as in `messages`."""

Priority = Literal["asap", "when_idle"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run ended with, as JSON values."""

    result: Any
    status: Literal["complete", "deferred"]
    run_id: str
    deferred: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a run had done so far: messages a next run can go on from, and what they cost."""

    messages: JsonText | None
    usage: dict[str, Any]
    run_id: str | None


class Execution:
    """One run. Call `run` once; `leftover` and `enqueue` whenever."""

    def __init__(
        self,
        definition: AgentDefinition,
        command: commands.RunFields,
        host: Host,
        workshop: Workshop,
        threads: anyio.CapacityLimiter,
    ) -> None:
        self._definition = definition
        self._command = command
        self._workshop = workshop
        self._lease = workshop.models.lease()
        self._usage = RunUsage()
        self._agent_run: AgentRun[Any, Any] | None = None
        self._output: StructuredOutput | None = definition.output
        self._bench = ToolBench(definition.tools, host, threads)
        self._tap = RunTap(host, self._output, streaming=isinstance(command, commands.Stream))
        self._host = host
        self._prompts: list[tuple[commands.Prompt, Priority]] = []
        self._given: list[tuple[tuple[str, ...], Any]] = []
        self._over = False
        self._ending: asyncio.Task[None] | None = None

    async def run(self) -> Outcome:
        """Run to the end.

        Raises `WireError` for input that cannot be used, and whatever pydantic-ai raises: failures.py knows what it
        means to a parent.
        """
        try:
            async with strays.ended():
                return await self._run()
        except UnusableAttachment as error:
            raise self._blamed(error) from error
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if wire_error(error) is None and self._definition.has_foreign_tools:
                raise _foreign_fault(error) from error
            raise
        finally:
            await self._lease.end()

    async def _run(self) -> Outcome:
        command, defaults = self._command, self._definition.command
        deps = self._deps()
        instructions = self._instructions(deps)
        history = parse_history(command.message_history) if command.message_history is not None else None
        prompt = None if command.prompt is None else user_content(command.prompt)
        self._given += [(("prompt",), prompt), (("message_history",), history)]
        if command.model_settings is not None:
            check_model_settings(command.model_settings)
        results = None
        if command.deferred_results is not None:
            results = deferred_results(command.deferred_results, history or [])
        elif history is not None:
            check_closed(history, prompted=prompt is not None)
        settings = {**(defaults.model_settings or {}), **(command.model_settings or {})}
        await self._choose_output()
        model = self._line(await self._models())
        agent = self._definition.agent
        self._bench.take_calls()
        async with agent.iter(
            prompt,
            output_type=self._output_type(),
            message_history=history,
            deferred_tool_results=results,
            model=model,
            instructions=instructions,
            deps=deps,
            model_settings=cast("ModelSettings | None", settings or None),
            usage_limits=definitions.usage_limits(defaults.usage_limits, command.usage_limits),
            usage=self._usage,
            retries=definitions.retry_budgets(defaults),
            metadata={**(defaults.metadata or {}), **(command.metadata or {})} or None,
            toolsets=self._toolsets(),
            capabilities=self._capabilities(),
        ) as agent_run:
            self._agent_run = agent_run
            for queued, priority in self._prompts:
                self.enqueue(queued, priority)
            await self._drive(agent, agent_run)
            self._over = True
        return self._outcome(agent_run)

    def enqueue(self, prompt: commands.Prompt, priority: Priority) -> bool:
        """Add to the run while it is under way: False where it has ended.

        `asap`: with its next model request; `when_idle`: when it would otherwise end. In the last request of a run
        either leads to one more. Raises `WireError` for a prompt that is none.
        """
        content = user_content(prompt)
        if self._over:
            return False
        if self._agent_run is None:
            self._prompts.append((prompt, priority))
            return True
        items = [content] if isinstance(content, str) else content
        try:
            self._agent_run.enqueue(*items, priority=priority)
        except UserError:
            # pydantic-ai has closed the queue: the run just ended.
            return False
        self._given.append((("enqueue", "prompt"), content))
        return True

    def _blamed(self, error: UnusableAttachment) -> WireError:
        """Names the place in the command. What stands in none came from a tool."""
        place = field_of(error.attachment, self._given)
        if place is None:
            return ToolFault(f"what a tool gave is of no use: {error.message}")
        return invalid_command(place, error.message)

    @property
    def begun(self) -> bool:
        """Whether the run's input was in order and the agent has begun."""
        return self._agent_run is not None

    def leftover(self) -> Leftover:
        """Messages and usage up to now, half answers left out."""
        run = self._agent_run
        wanted = self._command.messages
        messages = None if wanted == "none" else dump_history(self._resumable(everything=wanted == "all"))
        return Leftover(messages, usage_fields(self._usage), None if run is None else run.run_id)

    def _resumable(self, *, everything: bool) -> list[ModelMessage]:
        if (run := self._agent_run) is None:
            return unbegun(self._command)
        messages = run.all_messages()
        since = 0 if everything else len(messages) - len(run.new_messages())
        return resumable(messages, since, answered=self._bench.answered, pending=run.pending_messages)

    def _messages(self, *, selection: str | None = None) -> Sequence[ModelMessage]:
        if self._agent_run is None:
            return []
        everything = (selection or self._command.messages) == "all"
        return self._agent_run.all_messages() if everything else self._agent_run.new_messages()

    def _deps(self) -> Any:
        command, defaults = self._command, self._definition.command
        given = command.given("deps")
        deps = command.deps if given else defaults.deps
        schema = self._definition.deps_schema
        if schema is not None:
            if not given and not defaults.given("deps"):
                raise WireError("InvalidDeps", "this agent needs `deps`, and neither it nor the run has any")
            if faults := schema.silent_faults(deps):
                raise WireError("InvalidDeps", f"`deps` do not meet `deps_schema`: {faults[0]['msg']}", details=faults)
        for template in self._definition.system_prompt:
            template.render(deps)
        return deps

    def _instructions(self, deps: Any) -> list[str] | None:
        given = self._command.instructions
        texts: Sequence[Template] = self._definition.instructions if given is None else definitions.templates(given)
        return [template.render(deps) for template in texts] or None

    async def _choose_output(self) -> None:
        schema = self._command.output_schema
        if schema is None:
            return
        mode = self._definition.command.output_mode
        self._output = await anyio.to_thread.run_sync(
            definitions.build_output, schema, mode, self._workshop, limiter=self._workshop.preparing
        )
        self._tap.expect(self._output)

    def _output_type(self) -> Any:
        target: Any = None if self._output is None else self._output.output_type
        if not self._may_defer():
            return target
        own: Any = target or self._definition.agent.output_type
        return [*own, DeferredToolRequests] if isinstance(own, list) else [own, DeferredToolRequests]

    def _toolsets(self) -> list[Toolset] | None:
        # Besides what is foreign. Otherwise the agent has the only one.
        definition = self._definition
        return [definition.toolset] if definition.tools and definition.has_foreign_tools else None

    def _may_defer(self) -> bool:
        return any(spec.may_defer for spec in self._definition.tools.values())

    async def _models(self) -> ModelSource:
        if self._command.model is None:
            return self._definition.model
        building = asyncio.create_task(
            anyio.to_thread.run_sync(
                build_models,
                self._command.model,
                self._lease,
                self._workshop.recordings,
                limiter=self._workshop.preparing,
            )
        )
        try:
            return await asyncio.shield(building)
        except asyncio.CancelledError:
            # The thread goes on, and puts on the lease what it builds.
            building.add_done_callback(self._end_lease)
            raise

    def _end_lease(self, building: asyncio.Task[Any]) -> None:
        if not building.cancelled():
            building.exception()  # asyncio complains of one that nobody took
        self._ending = building.get_loop().create_task(self._lease.end())

    def _capabilities(self) -> list[AbstractCapability[Any]] | None:
        ours = self._workshop.instrumentation
        observers = [] if ours is None else tracing.observers(self._definition.agent, ours)
        if self._may_defer() or self._definition.has_foreign_tools:
            observers.append(DeferredEnd(self._close, lambda part: self._hear_tool(FunctionToolResultEvent(part))))
        if not self._definition.has_foreign_tools:
            return observers or None
        guard = RunGuard(self._bench, self._definition.command.tool_timeout_ms)
        return [*observers, guard, *self._definition.capabilities]

    def _close(self) -> None:
        self._over = True

    def _line(self, source: ModelSource) -> Model | None:
        if not source.sources:
            return None
        command, defaults = self._command, self._definition.command
        idle_ms = command.idle_timeout_ms or defaults.idle_timeout_ms
        idle = None if idle_ms is None else idle_ms / 1000
        retry = command.retry or defaults.retry
        lines = [Line(self._model(one), self._tap, idle_timeout=idle, retry=retry) for one in source.sources]
        return chain(lines, self._tap)

    def _model(self, source: Model | commands.Script) -> Model:
        if isinstance(source, commands.Script):
            return ScriptedModel(source.script, self._output)
        return source if self._workshop.instrumentation is None else tracing.bare(source)

    async def _drive(self, agent: Agent[Any, Any], agent_run: AgentRun[Any, Any]) -> None:
        watched = self._host.wants("tool_call") or self._host.wants("tool_return")
        node = agent_run.next_node
        while not isinstance(node, End) and agent_run.result is None:
            if agent.is_model_request_node(node):
                self._tap.begin_step()
                self._bench.begin_step()
            elif watched and agent.is_call_tools_node(node):
                async with node.stream(agent_run.ctx) as events:
                    async for event in events:
                        self._hear_tool(event)
            node = await agent_run.next(node)  # pyright: ignore[reportArgumentType]

    def _hear_tool(self, event: Any) -> None:
        if isinstance(event, FunctionToolCallEvent):
            part = event.part
            data = {"name": part.tool_name, "args": call_args(part), "call_id": self._bench.call_id(part.tool_call_id)}
            self._tap.tell("tool_call", data)
        elif isinstance(event, FunctionToolResultEvent):
            part = event.part
            data = {
                "name": part.tool_name,
                "content": _json_content(part),
                "call_id": self._bench.call_id(part.tool_call_id),
            }
            self._tap.tell("tool_return", data)

    def _outcome(self, agent_run: AgentRun[Any, Any]) -> Outcome:
        result = agent_run.result
        if result is None:
            raise RuntimeError("the run ended without a result")
        run_id = agent_run.run_id
        output: Any = result.output
        if isinstance(output, DeferredToolRequests):
            return Outcome(None, "deferred", run_id, {"calls": open_calls(output)})
        return Outcome(output, "complete", run_id)

    def final_messages(self, status: str) -> JsonText | None:
        """The messages of a run that ended, as its command asked for them."""
        if self._command.messages == "none" and status == "complete":
            return None
        return dump_history(self._messages())

    def usage(self) -> dict[str, Any]:
        return usage_fields(self._usage)

    def retries(self) -> tuple[int, int]:
        """How often the model was asked again, for a tool call and for the output."""
        tools = output = 0
        for message in self._messages(selection="new"):
            for part in message.parts:
                if isinstance(part, RetryFeedbackPart) or _is_retried_output(part):
                    output += 1
                elif isinstance(part, ToolReturnPart) and part.outcome == "retried":
                    tools += 1
        return tools, output


def unbegun(command: commands.RunFields) -> list[ModelMessage]:
    """What a run that had not begun leaves of its messages: those that it was given, where all of them are wanted."""
    if command.messages != "all" or command.message_history is None:
        return []
    try:
        return parse_history(command.message_history)
    except WireError:
        # Had it begun, that would have been its end.
        return []


def _foreign_fault(error: BaseException) -> ToolFault:
    """For what an imported agent or a capability does wrong: an MCP server that cannot be reached, for one."""
    _logger.error("what the agent brings with it failed: %s", type(error).__name__, exc_info=error)
    said = shortened(str(error), 500) or type(error).__name__
    return ToolFault(f"what the agent brings with it failed: {type(error).__name__}: {said}")


def _is_retried_output(part: object) -> bool:
    return isinstance(part, ToolReturnPart) and part.outcome == "retried" and part.tool_name == OUTPUT_TOOL


def _json_content(part: ToolReturnPart) -> Any:
    return _RETURNS.dump_python([part], mode="json")[0]["content"]
