"""Tools: from data to a toolset, and from a model's call to whoever runs it."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import date
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import BinaryContent, ModelMessage, ModelRequest, ToolReturn, ToolReturnPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import DeferredToolRequests

from axon_port.agents.allow import Allowed
from axon_port.agents.bench import ToolBench, Toolset
from axon_port.agents.deferral import ARGS_AFTER_APPROVAL
from axon_port.agents.ends import ToolFault
from axon_port.agents.functions import portable
from axon_port.agents.history import PLAIN
from axon_port.agents.host import Broken, Call, Decision, Failed, Retry, Returned
from axon_port.agents.schemas import SchemaCache
from axon_port.agents.script import ScriptedModel
from axon_port.agents.sole import sole_capability
from axon_port.agents.tools import ToolSpec, compile_tools
from axon_port.wire.commands import Tool, Turn
from axon_port.wire.errors import WireError
from tests.agents import functions

from .stand_ins import Desk, run_async

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
HERE = "tests.agents.functions"


def compiled(*tools: dict[str, Any], timeout_ms: int | None = None) -> tuple[ToolSpec, ...]:
    models = [
        Tool.model_validate({"name": "look", **({} if "handler" in tool else {"parameters": NUMBER}), **tool})
        for tool in tools
    ]
    return compile_tools(models, timeout_ms=timeout_ms, schemas=SchemaCache(), allowed=Allowed((HERE,)))


def python(function: str, **fields: Any) -> dict[str, Any]:
    return {"handler": {"python": f"{HERE}:{function}"}, **fields}


def refused(*tools: dict[str, Any]) -> WireError:
    with pytest.raises(WireError) as caught:
        compiled(*tools)
    return caught.value


class Bench:
    """One run of a scripted model with these tools."""

    def __init__(
        self, tools: Sequence[dict[str, Any]], turns: Sequence[dict[str, Any]], *, retries: int = 1, **how: Any
    ) -> None:
        self.desk = Desk()
        self._specs = {spec.name: spec for spec in compiled(*tools, **how)}
        self._turns = [Turn.model_validate(turn) for turn in turns]
        self._retries = retries
        self.threads = anyio.CapacityLimiter(10)
        self.messages: list[ModelMessage] = []
        self.output: Any = None

    async def go(self) -> None:
        ToolBench(self._specs, self.desk, self.threads).take_calls()
        agent = Agent(
            ScriptedModel(self._turns, None),
            output_type=[str, DeferredToolRequests],
            retries={"tools": self._retries},
            capabilities=[sole_capability(Toolset(self._specs))],
        )
        result = await agent.run("go")
        self.output, self.messages = result.output, result.all_messages()

    def run(self) -> "Bench":
        run_async(self.go)
        return self

    @property
    def returns(self) -> list[tuple[str, Any]]:
        """What the model was told of its calls: the outcome and the content."""
        parts = [part for message in self.messages if isinstance(message, ModelRequest) for part in message.parts]
        return [(part.outcome, part.content) for part in parts if isinstance(part, ToolReturnPart)]


def calling(*args: Any, name: str = "look") -> list[dict[str, Any]]:
    """A turn that makes calls, and one that ends the run."""
    return [{"tool_calls": [{"name": name, "args": one} for one in args]}, {"text": "done"}]


def test_a_tool_is_defined_as_the_parent_wrote_it() -> None:
    (spec,) = compiled(
        {
            "description": "Looks.",
            "parameters": NUMBER,
            "timeout_ms": 1500,
            "retries": 3,
            "sequential": True,
            "strict": True,
        }
    )
    definition = spec.definition
    assert (definition.name, definition.description) == ("look", "Looks.")
    assert definition.parameters_json_schema == NUMBER
    assert (definition.sequential, definition.strict) == (True, True)
    assert (spec.timeout, spec.retries, spec.handler, spec.may_defer) == (1.5, 3, "parent", False)


def test_a_default_time_is_for_the_tools_that_have_none() -> None:
    assert [spec.timeout for spec in compiled({}, {"name": "other", "timeout_ms": 10}, timeout_ms=500)] == [0.5, 0.01]


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"required": []}, {"required": [], "type": "object", "properties": {}}),
    ],
)
def test_parameters_that_do_not_say_so_are_those_of_an_object(parameters: Any, sent: Any) -> None:
    before = dict(parameters)
    (spec,) = compiled({"parameters": parameters})
    assert spec.definition.parameters_json_schema == sent
    assert parameters == before


UNUSABLE: list[tuple[list[dict[str, Any]], str]] = [
    (
        [{"parameters": {"type": "array"}}],
        "`parameters` of tool 'look' must be the schema of an object: arguments have names",
    ),
    ([{}, {}], "two tools are called 'look': a tool's name is its own"),
    ([{"name": "x" * 300, "parameters": {"type": "array"}}], f"`parameters` of tool '{'x' * 256}' must be"),
    ([{"parameters": {"properties": 5}}], "`parameters` of tool 'look' is no usable JSON Schema: "),
    ([python("missing")], f"module {HERE} has no attribute 'missing'"),
    ([python("ERRORS")], f"{HERE}:ERRORS is not a function"),
]


@pytest.mark.parametrize(("tools", "message"), UNUSABLE)
def test_a_tool_that_cannot_work_is_an_invalid_agent(tools: list[dict[str, Any]], message: str) -> None:
    """clause: AGENT-INVALID, TOOL-PARAMETERS"""
    error = refused(*tools)
    assert error.error_type == "InvalidAgent"
    assert error.message.startswith(message)


def test_a_function_outside_the_allowed_modules_is_refused() -> None:
    assert refused({"handler": {"python": "os:getcwd"}}).error_type == "ImportNotAllowed"


def test_a_functions_parameters_are_taken_from_its_signature() -> None:
    (spec,) = compiled(python("add"))
    schema = spec.definition.parameters_json_schema
    assert set(schema["properties"]) == {"a", "b"}
    assert schema["required"] == ["a"]
    assert spec.definition.description == "Adds two numbers."
    (spec,) = compiled(python("add", description="Mine.", parameters=NUMBER))
    assert (spec.definition.description, spec.definition.parameters_json_schema) == ("Mine.", NUMBER)


def test_ten_thousand_tools_are_compiled() -> None:
    assert len(compiled(*({"name": f"tool_{number}"} for number in range(10_000)))) == 10_000


@pytest.mark.parametrize(
    ("fields", "defers"),
    [
        ({}, False),
        ({"handler": "deferred", "parameters": NUMBER}, True),
        ({"requires_approval": True}, False),
        ({"requires_approval": True, "approval": "deferred"}, True),
    ],
)
def test_a_tool_says_whether_a_run_can_end_with_its_call_open(fields: dict[str, Any], defers: bool) -> None:
    assert compiled(fields)[0].may_defer is defers


def test_faults_of_arguments_are_told_without_the_arguments() -> None:
    (spec,) = compiled({})
    assert spec.faults({"n": 1}) == []
    (fault,) = spec.faults({"n": 1.5})
    assert (fault["loc"], fault["type"]) == (["n"], "type")
    assert set(fault) == {"loc", "msg", "type"}


ANSWERS: list[tuple[Any, tuple[str, Any]]] = [
    (Returned({"x": [1, None]}), ("success", {"x": [1, None]})),
    (Returned(None), ("success", None)),
    (Returned("text"), ("success", "text")),
    (Failed("no luck"), ("failed", "no luck")),
]


@pytest.mark.parametrize(("answer", "told"), ANSWERS, ids=repr)
def test_the_parents_answer_reaches_the_model(answer: Any, told: tuple[str, Any]) -> None:
    bench = Bench([{}], calling({"n": 7}))
    bench.desk.answer = lambda _call: answer
    bench.run()
    assert bench.desk.calls == [Call("1", "look", {"n": 7})]
    assert bench.returns == [told]
    assert bench.output == "done"


def test_calls_that_are_made_together_go_out_together() -> None:
    """clause: TOOL-PARALLEL"""
    bench = Bench([{}], calling({"n": 1}, {"n": 2}, {"n": 3}))
    together = asyncio.Event()

    async def answer(call: Call) -> Returned:
        if len(bench.desk.calls) == 3:
            together.set()
        await together.wait()
        return Returned(call.args["n"])

    bench.desk.answer = answer
    bench.run()
    assert [call.call_id for call in bench.desk.calls] == ["1", "2", "3"]
    assert bench.returns == [("success", 1), ("success", 2), ("success", 3)]


def test_calls_of_two_steps_never_share_an_id() -> None:
    """clause: CALL-ID"""
    turns = [*calling({"n": 1})[:1], *calling({"n": 2})]
    bench = Bench([{}], turns).run()
    assert [call.call_id for call in bench.desk.calls] == ["1", "2"]


@pytest.mark.parametrize("args", [{"n": "x"}, {}, {"n": 1.5}, "{broken", [1], None, "[]"])
def test_arguments_that_do_not_fit_go_back_to_the_model_and_to_nobody_else(args: Any) -> None:
    """clause: TOOL-VALIDATED"""
    bench = Bench([{}], [*calling(args)[:1], *calling({"n": 1})]).run()
    assert [call.args for call in bench.desk.calls] == [{"n": 1}]
    assert [outcome for outcome, _ in bench.returns] == ["retried", "success"]
    assert bench.desk.happened == ["tool_called", "tool_answered"]


def test_a_retry_costs_the_tools_budget() -> None:
    """clause: TOOL-RETRIES"""
    turns = [*calling({"n": 1})[:1], *calling({"n": 2})]
    bench = Bench([{}], turns)
    bench.desk.answer = lambda call: Retry("once more") if call.args["n"] == 1 else Returned("fine")
    bench.run()
    assert [outcome for outcome, _ in bench.returns] == ["retried", "success"]
    spent = Bench([{}], turns)
    spent.desk.answer = lambda _call: Retry("once more")
    with pytest.raises(UnexpectedModelBehavior, match="exceeded max retries"):
        spent.run()


def test_a_failed_call_costs_nothing() -> None:
    bench = Bench([{"retries": 0}], [*calling({"n": 1})[:1]] * 5 + [{"text": "done"}])
    bench.desk.answer = lambda _call: Failed("no luck")
    assert [outcome for outcome, _ in bench.run().returns] == ["failed"] * 5


@pytest.mark.parametrize(("of_the_tool", "of_the_agent", "calls"), [(None, 2, 3), (0, 2, 1), (3, 0, 4)])
def test_a_tools_own_budget_wins(of_the_tool: int | None, of_the_agent: int, calls: int) -> None:
    tool = {} if of_the_tool is None else {"retries": of_the_tool}
    bench = Bench([tool], calling({"n": 1})[:1] * 9, retries=of_the_agent)
    bench.desk.answer = lambda _call: Retry("once more")
    with pytest.raises(UnexpectedModelBehavior, match="exceeded max retries"):
        bench.run()
    assert len(bench.desk.calls) == calls
    assert bench.desk.happened.count("tool_failed") == calls


def test_an_error_of_the_parent_ends_the_run() -> None:
    """clause: TOOL-ERROR"""
    bench = Bench([{}], calling({"n": 1}))
    bench.desk.answer = lambda _call: Broken("out of order", {"code": 5})
    with pytest.raises(ToolFault) as caught:
        bench.run()
    error = caught.value
    assert (error.error_type, error.message, error.details) == ("ToolError", "out of order", {"code": 5})
    assert bench.desk.happened == ["tool_called", "tool_failed"]


def test_a_call_that_is_not_answered_in_time_is_tried_again() -> None:
    """clause: TOOL-TIMEOUT"""
    bench = Bench([{"timeout_ms": 1500}], [*calling({"n": 1})[:1], *calling({"n": 2})])

    async def answer(call: Call) -> Returned:
        if call.args["n"] == 1:
            raise TimeoutError
        return Returned("fine")

    bench.desk.answer = answer
    bench.run()
    assert bench.desk.calls[0].timeout == 1.5
    assert bench.returns[0] == ("retried", "the tool did not answer within 1500 ms")
    assert bench.desk.happened == ["tool_called", "tool_timed_out", "tool_called", "tool_answered"]


ASKING = {"requires_approval": True}


def test_a_call_that_was_approved_is_made() -> None:
    """clause: TOOL-APPROVAL"""
    bench = Bench([ASKING], calling({"n": 1})).run()
    assert bench.desk.asked == bench.desk.calls == [Call("1", "look", {"n": 1})]
    assert bench.returns == [("success", "fine")]


def test_a_person_may_put_other_arguments_in_place() -> None:
    """clause: TOOL-APPROVAL-ARGS"""
    bench = Bench([ASKING], calling({"n": 1}))
    bench.desk.decision = lambda _call, faults: (
        Decision(True, args={"n": 2}) if not faults({"n": 2}) else Decision(False)
    )
    bench.run()
    assert bench.desk.calls == [Call("1", "look", {"n": 2})]


def test_a_person_is_asked_with_a_check_of_the_arguments() -> None:
    bench = Bench([ASKING], calling({"n": 1}))
    found: list[Any] = []

    def decide(_call: Call, faults: Any) -> Decision:
        found.extend(faults({"n": "x"}))
        return Decision(True)

    bench.desk.decision = decide
    bench.run()
    assert [fault["loc"] for fault in found] == [["n"]]


@pytest.mark.parametrize(("message", "told"), [("not now", "not now"), (None, "The tool call was denied.")])
def test_a_refusal_is_what_the_model_sees(message: str | None, told: str) -> None:
    """clause: TOOL-REFUSED"""
    bench = Bench([ASKING], calling({"n": 1}))
    bench.desk.decision = lambda _call, _faults: Decision(False, message)
    bench.run()
    assert bench.desk.calls == []
    assert bench.returns == [("denied", told)]


def test_a_deferred_call_is_made_by_nobody() -> None:
    """clause: DEFER-TOOL"""
    bench = Bench([{"handler": "deferred", "parameters": NUMBER}], calling({"n": 1})).run()
    assert isinstance(bench.output, DeferredToolRequests)
    assert [part.tool_name for part in bench.output.calls] == ["look"]
    assert bench.desk.calls == []


def test_approval_comes_before_deferral() -> None:
    bench = Bench([{"handler": "deferred", "parameters": NUMBER, **ASKING}], calling({"n": 1}))
    bench.desk.decision = lambda _call, _faults: Decision(True, args={"n": 2})
    bench.run()
    (part,) = bench.output.calls
    assert bench.output.metadata[part.tool_call_id] == {ARGS_AFTER_APPROVAL: {"n": 2}}


def test_an_approval_can_be_deferred_itself() -> None:
    """clause: DEFER-APPROVAL"""
    bench = Bench([{**ASKING, "approval": "deferred"}], calling({"n": 1})).run()
    assert [part.tool_name for part in bench.output.approvals] == ["look"]
    assert bench.desk.asked == []


@pytest.mark.parametrize(
    ("name", "args", "value"), [("add", {"a": 1, "b": 2}, 3), ("add", {"a": 1}, 2), ("add_later", {"a": 1}, 2)]
)
def test_a_function_is_called_with_its_arguments(name: str, args: Any, value: Any) -> None:
    """clause: TOOL-PYTHON"""
    bench = Bench([python(name)], calling(args)).run()
    assert bench.returns == [("success", value)]
    assert bench.desk.happened == ["tool_called", "tool_answered"]
    assert bench.desk.calls == []


ARGS = {"double": 4, "words": "a,b", "amount": "0.1", "day": "2026-11-29"}


@pytest.mark.parametrize("approved", [False, True])
def test_what_annotations_make_of_arguments_is_for_the_function_alone(approved: bool) -> None:
    """clause: TOOL-PYTHON, TOOL-APPROVAL"""
    bench = Bench([python("annotated", requires_approval=approved)], calling(ARGS)).run()
    assert bench.returns == [("success", [8, ["a", "b"], "0.2", 2026])]
    assert [call.args for call in bench.desk.asked] == [ARGS] * approved


def test_arguments_that_a_signature_refuses_go_back_to_the_model_with_the_place() -> None:
    """clause: TOOL-VALIDATED"""
    bench = Bench([python("annotated")], calling({**ARGS, "day": 5})).run()
    ((outcome, faults),) = bench.returns
    assert (outcome, [fault["loc"] for fault in faults]) == ("retried", [["day"]])


def test_what_a_function_tells_the_program_is_in_the_messages() -> None:
    bench = Bench([python("with_metadata")], calling({"metadata": 1})).run()
    (part,) = [part for message in bench.messages for part in message.parts if isinstance(part, ToolReturnPart)]
    assert (part.content, part.metadata) == ("fine", {"found": 1})


@pytest.mark.parametrize("name", ["with_odd_metadata", "with_odd_content"])
def test_whatever_of_a_return_no_message_can_hold_ends_the_run_with_the_tools_error(name: str) -> None:
    """clause: TOOL-RAISES"""
    with pytest.raises(ToolFault):
        Bench([python(name)], calling({})).run()


def test_a_plain_function_runs_in_a_thread_and_a_coroutine_on_the_loop() -> None:
    """clause: TOOL-THREADS"""
    tools = [python("thread_name"), python("async_thread_name", name="other")]
    turns = [{"tool_calls": [{"name": "look"}, {"name": "other"}]}, {"text": "done"}]
    (_, in_thread), (_, on_loop) = Bench(tools, turns).run().returns
    assert in_thread != on_loop


@pytest.mark.parametrize("where", ["raises", "raises_on_the_loop"])
@pytest.mark.parametrize(
    "name",
    [
        "ValueError",
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "CancelledError",
        "StopIteration",
        "MemoryError",
        "BaseExceptionGroup",
        "TimeoutError",
    ],
)
def test_whatever_a_function_raises_ends_the_run_and_nothing_else(name: str, where: str) -> None:
    """clause: TOOL-RAISES"""
    bench = Bench([python(where)], calling({"name": name}))
    with pytest.raises(ToolFault) as caught:
        bench.run()
    assert caught.value.error_type == "ToolError"
    assert caught.value.message.startswith("tool look raised ")
    assert "secret" not in caught.value.message
    assert bench.desk.happened == ["tool_called", "tool_failed"]


@pytest.mark.parametrize("where", ["raises", "raises_on_the_loop"])
@pytest.mark.parametrize(
    ("name", "outcome", "text"), [("ModelRetry", "retried", "once more"), ("ToolFailed", "failed", "gave up")]
)
def test_what_pydantic_ai_has_a_meaning_for_keeps_it(where: str, name: str, outcome: str, text: str) -> None:
    """clause: TOOL-RAISES"""
    bench = Bench([python(where)], calling({"name": name})).run()
    assert bench.returns == [(outcome, text)]


@pytest.mark.parametrize("name", ["hangs", "hangs_on_the_loop"])
def test_a_function_that_hangs_is_not_waited_for(name: str) -> None:
    """clause: TOOL-THREADS"""
    functions.release.clear()
    try:
        bench = Bench([python(name, timeout_ms=50)], calling({})).run()
    finally:
        functions.release.set()
    assert bench.returns == [("retried", "the tool did not answer within 50 ms")]
    abandoned = ["tool_abandoned"] if name == "hangs" else []
    assert bench.desk.happened == ["tool_called", *abandoned, "tool_timed_out"]


async def given_up(run: "asyncio.Task[None]") -> None:
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def until_one_waits(threads: anyio.CapacityLimiter) -> None:
    while not threads.statistics().tasks_waiting:
        await anyio.lowlevel.checkpoint()


def test_a_function_that_was_given_up_keeps_its_thread_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """clause: TOOL-THREADS"""
    functions.release.clear()
    functions.started.clear()
    threads = anyio.CapacityLimiter(1)
    hung, withdrawn = (Bench([python("hangs")], calling({})) for _ in range(2))
    patient = Bench([python("add")], calling({"a": 1}))
    hung.threads = withdrawn.threads = patient.threads = threads

    async def main() -> None:
        hanging = asyncio.create_task(hung.go())
        try:
            assert await asyncio.to_thread(functions.started.wait, 20)
            await given_up(hanging)
            functions.started.clear()
            waiting = asyncio.create_task(withdrawn.go())
            await until_one_waits(threads)
            await given_up(waiting)
            waiting = asyncio.create_task(patient.go())
            await until_one_waits(threads)
        finally:
            functions.release.set()
        await waiting

    run_async(main)
    assert "all 1 threads for functions are taken" in caplog.text
    assert patient.returns == [("success", 2)]
    assert not functions.started.is_set(), "a call that nobody waited for any more was made"


def test_a_run_that_is_cancelled_does_not_wait_for_its_functions() -> None:
    functions.release.clear()
    functions.started.clear()
    bench = Bench([python("hangs")], calling({}))

    async def main() -> None:
        task = asyncio.create_task(bench.go())
        assert await asyncio.to_thread(functions.started.wait, 20)
        task.cancel()
        try:
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            functions.release.set()

    run_async(main)


def test_what_a_function_raises_when_its_run_is_cancelled_is_told_in_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    functions.started.clear()
    bench = Bench([python("stumbles_on_the_loop")], calling({}))

    async def main() -> None:
        task = asyncio.create_task(bench.go())
        assert await asyncio.to_thread(functions.started.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.DEBUG, "axon_port.tools"):
        run_async(main)
    assert [text for _, _, text in caplog.record_tuples if text.startswith("a tool that was given up ended with")]


def test_arguments_that_a_person_gives_to_a_function_are_checked_by_its_signature() -> None:
    """clause: TOOL-APPROVAL-ARGS"""
    (spec,) = compiled(python("add", requires_approval=True))
    assert spec.faults({"a": 1, "b": 2}) == []
    (fault,) = spec.faults({"a": "sk-secret", "b": 2})
    assert (fault["loc"], fault["type"]) == (["a"], "int_parsing")
    assert "secret" not in str(fault)


def test_the_tools_of_a_run_are_listed_once_for_each_budget() -> None:
    seen: list[ModelRequestParameters] = []

    class Watched(ScriptedModel):
        async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> Any:
            seen.append(model_request_parameters)
            return await super().request(messages, model_settings, model_request_parameters)

    async def main() -> None:
        specs = {spec.name: spec for spec in compiled({}, {"name": "other"})}
        ToolBench(specs, Desk(), anyio.CapacityLimiter(1)).take_calls()
        only = sole_capability(Toolset(specs))
        agent = Agent(Watched([Turn.model_validate(turn) for turn in calling({"n": 1})], None), capabilities=[only])
        await agent.run("go")

    run_async(main)
    assert [[tool.name for tool in parameters.function_tools] for parameters in seen] == [["look", "other"]] * 2


LIKE_CONTENT = {"kind": "binary", "data": "AAAA", "media_type": "image/png"}
PICTURE = BinaryContent(b"\0", media_type="image/png")


@pytest.mark.parametrize("value", [LIKE_CONTENT, [1, {"a": (None, LIKE_CONTENT)}]], ids=repr)
def test_json_of_a_function_that_looks_like_content_is_marked_as_json(value: Any) -> None:
    """clause: TOOL-PYTHON, RUN-HISTORY"""
    assert portable(value) == ToolReturn(value, metadata=PLAIN)


@pytest.mark.parametrize(
    "value", ["plain", {"a": 1}, PICTURE, [PICTURE, LIKE_CONTENT], [date(2026, 1, 2), LIKE_CONTENT]], ids=repr
)
def test_what_is_content_or_does_not_look_like_it_is_left_alone(value: Any) -> None:
    """clause: TOOL-PYTHON, RUN-HISTORY"""
    assert portable(value) is value
