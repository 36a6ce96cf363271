"""Plain and streamed answers, tools and histories over the real clients (PROTOCOL.md, sections 7 to 10)."""

from typing import Any

import pytest

from tests.kit import Worker, succeeded, texts
from tests.kit.messages import parts
from tests.kit.providers import Interface, Provider, Usage
from tests.kit.providers.answers import make_answer

from . import asked
from .scenes import LOOKUP, MODELS, Kind, agent_on, chunks_of, end_of, endpoint, lookup_calls

# ---------------------------------------------------------------- answers


def test_a_run_asks_once_and_answers_with_what_the_service_said(
    worker: Worker, server: Provider, interface: Interface
) -> None:
    """clause: MODEL-ENDPOINT, MODEL-KEY"""
    server.say(text="Oslo is in Norway.")
    answer = succeeded(worker.run(agent_on(worker, server), "Where is Oslo?"))
    assert (answer["result"], answer["status"]) == ("Oslo is in Norway.", "complete")
    (request,) = server.requests
    assert asked.user_texts(interface, request) == ["Where is Oslo?"]
    sent_key = request.headers.get("authorization", "").removeprefix("Bearer ")
    others = (request.headers.get("x-api-key"), request.headers.get("x-goog-api-key"))
    assert server.api_key in (sent_key, *others)


def test_creating_an_agent_makes_no_request(worker: Worker, server: Provider) -> None:
    """clause: MODEL-NAME"""
    agent_on(worker, server)
    assert server.requests == []


def test_a_run_asks_for_a_whole_answer_and_a_stream_for_a_streamed_one(
    worker: Worker, server: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: MODEL-REQUEST"""
    server.say()
    succeeded(end_of(worker, kind, agent_on(worker, server)))
    assert asked.is_streamed(interface, server.requests[0]) == (kind == "stream")


def test_a_run_without_max_tokens_asks_for_a_whole_answer_too(
    worker: Worker, server: Provider, interface: Interface
) -> None:
    """But Anthropic's client, which asks for one whose length nobody bounded as a stream.

    clause: MODEL-REQUEST
    """
    server.say()
    succeeded(worker.run(worker.agent(model=endpoint(server))))
    if interface != "anthropic":
        assert not asked.is_streamed(interface, server.requests[0])


def test_a_stream_sends_each_piece_as_a_chunk(worker: Worker, server: Provider) -> None:
    """clause: STREAM-SEQ, STREAM-STEP, STREAM-TEXT"""
    server.say(chunks=["Oslo ", "is in ", "Norway."])
    frames = worker.collect(worker.start_stream(agent_on(worker, server)))
    assert chunks_of(frames) == [(0, 1, "text", "Oslo "), (1, 1, "text", "is in "), (2, 1, "text", "Norway.")]
    assert succeeded(frames[-1])["result"] == "Oslo is in Norway."


def test_a_stream_may_ask_for_no_chunks_at_all(worker: Worker, server: Provider) -> None:
    """clause: STREAM-EVENTS"""
    server.say(text="unheard")
    frames = worker.collect(worker.start_stream(agent_on(worker, server), events=[]))
    assert [frame["type"] for frame in frames] == ["result"]
    assert frames[-1]["result"] == "unheard"


def test_thinking_comes_before_the_text_in_chunks_and_in_messages(worker: Worker, server: Provider) -> None:
    """clause: STREAM-EVENTS"""
    server.say(thinking="first I think", chunks=["then ", "I speak"])
    frames = worker.collect(worker.start_stream(agent_on(worker, server), events=["text", "thinking"]))
    assert "".join(texts(frames, "thinking")) == "first I think"
    assert "".join(texts(frames, "text")) == "then I speak"
    kinds = [kind for _, _, kind, _ in chunks_of(frames)]
    assert kinds == sorted(kinds, reverse=True), "thinking after text"
    (part,) = parts(succeeded(frames[-1])["messages"], "thinking")
    assert part["content"] == "first I think"


def test_thinking_is_in_the_messages_of_a_run(worker: Worker, server: Provider) -> None:
    """clause: RUN-MESSAGES"""
    server.say(thinking="hm", text="yes")
    answer = succeeded(worker.run(agent_on(worker, server)))
    assert answer["result"] == "yes"
    assert [part["content"] for part in parts(answer["messages"], "thinking")] == ["hm"]


def test_usage_is_what_the_service_counted(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: RUN-USAGE"""
    server.say(usage=Usage(input=120, output=30, cached=20, reasoning=10))
    usage = succeeded(end_of(worker, either, agent_on(worker, server)))["usage"]
    counted = {key: usage[key] for key in ("requests", "input_tokens", "output_tokens", "total_tokens")}
    assert counted == {"requests": 1, "input_tokens": 120, "output_tokens": 30, "total_tokens": 150}
    assert usage["cache_read_tokens"] == 20


def test_usage_adds_up_over_the_requests_of_a_run(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: RUN-USAGE"""
    server.say(tool_calls=lookup_calls("a"), usage=Usage(input=10, output=1))
    server.say(usage=Usage(input=20, output=2))
    run = worker.submit(either, agent_id=agent_on(worker, server, tools=[LOOKUP]), prompt="go")
    worker.answer(worker.wait_for("tool_call", of=run), result=1)
    usage = succeeded(worker.terminal(run))["usage"]
    assert (usage["requests"], usage["input_tokens"], usage["output_tokens"], usage["tool_calls"]) == (2, 30, 3, 1)


def test_an_answer_without_usage_is_an_answer(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: RUN-USAGE"""
    server.say(text="free", usage=None)
    answer = succeeded(end_of(worker, either, agent_on(worker, server)))
    assert answer["result"] == "free"
    assert answer["usage"]["requests"] == 1


def test_instructions_and_system_prompt_reach_the_service(
    worker: Worker, server: Provider, interface: Interface
) -> None:
    """clause: TPL-VARIABLE"""
    server.say()
    agent = agent_on(
        worker, server, instructions="You help {{name}}.", system_prompt="You are brief.", deps={"name": "Ada"}
    )
    succeeded(worker.run(agent))
    told = asked.system_text(interface, server.requests[0])
    assert "You help Ada." in told
    assert "You are brief." in told


def test_model_settings_reach_the_service(worker: Worker, server: Provider, interface: Interface) -> None:
    """clause: MODEL-SETTINGS, RUN-OVERRIDES"""
    server.say()
    agent = agent_on(worker, server, model_settings={"max_tokens": 1000})
    succeeded(worker.run(agent, model_settings={"max_tokens": 77}))
    body = server.bodies[0]
    limits = [
        body.get("max_tokens"),
        body.get("max_completion_tokens"),
        body.get("max_output_tokens"),
        body.get("generationConfig", {}).get("maxOutputTokens"),
    ]
    assert 77 in limits
    assert 1000 not in limits


def test_a_run_may_name_another_endpoint(worker: Worker, server: Provider, second: Provider) -> None:
    """clause: RUN-OVERRIDES"""
    server.say(text="first")
    second.say(text="second")
    agent = agent_on(worker, server)
    assert succeeded(worker.run(agent, model=endpoint(second)))["result"] == "second"
    assert succeeded(worker.run(agent))["result"] == "first"


def test_an_endpoint_without_a_prefix_is_asked_for_chat_completions(worker: Worker) -> None:
    """clause: MODEL-ENDPOINT"""
    with Provider("openai_chat") as server:
        server.say(text="hello")
        model = {"name": "llama3.2:3b", "base_url": server.base_url}
        assert succeeded(worker.run(worker.agent(model=model)))["result"] == "hello"
        assert server.bodies[0]["model"] == "llama3.2:3b"
        assert server.requests[0].headers["authorization"] == "Bearer no-key-given"


# ---------------------------------------------------------------- tools


def test_a_tool_is_described_to_the_service(worker: Worker, server: Provider, interface: Interface) -> None:
    """clause: TOOL-PARAMETERS"""
    server.say()
    succeeded(worker.run(agent_on(worker, server, tools=[LOOKUP])))
    ((name, (description, schema)),) = asked.tools(interface, server.requests[0]).items()
    assert (name, description) == ("lookup", "Finds an order.")
    assert schema["properties"] == {"q": {"type": "string"}}
    assert schema["required"] == ["q"]


def test_parallel_calls_in_several_rounds_are_answered_by_the_parent(
    worker: Worker, server: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: TOOL-PARALLEL, CALL-ANSWER, STREAM-LOOP"""
    server.say(text="I look.", tool_calls=lookup_calls("a", "b", "c"))
    server.say(tool_calls=lookup_calls("d", "e"))
    server.say(text="done")
    run = worker.submit(kind, agent_id=agent_on(worker, server, tools=[LOOKUP]), prompt="go")
    answered: dict[str, Any] = {}
    for count in (3, 2):
        open_calls = [worker.wait_for("tool_call", of=run) for _ in range(count)]
        for call in reversed(open_calls):
            query = call["args"]["q"]
            answered[query] = {"for": query, "hits": [1, None, "ü"]} if query != "b" else "plain text"
            worker.answer(call, result=answered[query])
    frames = worker.collect(run)
    assert succeeded(frames[-1])["result"] == "done"
    if kind == "stream":
        assert "".join(data for _, step, _, data in chunks_of(frames) if step == 3) == "done"
    assert [len(asked.calls(interface, request)) for request in server.requests] == [0, 3, 5]
    for request in server.requests[1:]:
        made = asked.calls(interface, request)
        assert [call_id for call_id, _ in asked.tool_returns(interface, request)] == [call_id for call_id, _, _ in made]
        told = dict(asked.tool_returns(interface, request))
        assert {args["q"]: told[call_id] for call_id, _, args in made} == {
            args["q"]: answered[args["q"]] for _, _, args in made
        }


def test_calls_and_returns_are_chunks_of_a_stream(worker: Worker, server: Provider) -> None:
    """clause: STREAM-TOOLS, STREAM-STEP"""
    server.say(tool_calls=lookup_calls("a", "b"))
    server.say(text="done")
    agent = agent_on(worker, server, tools=[LOOKUP])
    run = worker.start_stream(agent, events=["tool_call", "tool_return", "text"])
    calls = [worker.wait_for("tool_call", of=run) for _ in range(2)]
    for call in calls:
        worker.answer(call, result=call["args"]["q"] * 2)
    chunks = chunks_of(worker.collect(run))
    ids = {call["args"]["q"]: call["call_id"] for call in calls}
    told = [data for _, step, kind, data in chunks if kind == "tool_call" and step == 1]
    assert sorted((call["args"]["q"], call["call_id"]) for call in told) == sorted(ids.items())
    returned = [(data["content"], data["call_id"]) for _, _, kind, data in chunks if kind == "tool_return"]
    assert sorted(returned) == [("aa", ids["a"]), ("bb", ids["b"])]
    assert "".join(data for _, step, kind, data in chunks if kind == "text" and step == 2) == "done"


@pytest.mark.parametrize("word", ["retry", "failed"])
def test_a_failure_is_told_to_the_service(worker: Worker, server: Provider, interface: Interface, word: str) -> None:
    """clause: CMD-TOOL-RESULT"""
    server.say(tool_calls=lookup_calls("a"))
    server.say(text="I see")
    run = worker.start_run(agent_on(worker, server, tools=[LOOKUP]))
    worker.answer(worker.wait_for("tool_call", of=run), **{word: "the shop is closed"})
    assert succeeded(worker.terminal(run))["result"] == "I see"
    ((_, told),) = asked.tool_returns(interface, server.requests[1])
    assert "the shop is closed" in str(told)


def test_wrong_arguments_go_back_to_the_service_and_not_to_the_parent(
    worker: Worker, server: Provider, interface: Interface, either: Kind
) -> None:
    """clause: TOOL-VALIDATED"""
    server.say(tool_calls=[{"name": "lookup", "args": {"q": 7}}])
    server.say(tool_calls=lookup_calls("seven"))
    server.say(text="done")
    run = worker.submit(either, agent_id=agent_on(worker, server, tools=[LOOKUP]), prompt="go")
    call = worker.wait_for("tool_call", of=run)
    assert call["args"] == {"q": "seven"}
    worker.answer(call, result=1)
    succeeded(worker.terminal(run))
    ((_, told),) = asked.tool_returns(interface, server.requests[1])
    assert "q" in str(told)
    assert "string" in str(told)


@pytest.mark.parametrize("interface", ["openai_chat", "openai_responses"])
def test_arguments_that_are_no_json_go_back_to_the_service(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: TOOL-VALIDATED
    fault: G59
    """
    server.say(tool_calls=[{"name": "lookup", "args": '{"q": "a'}])
    server.say(tool_calls=lookup_calls("a"))
    server.say(text="done")
    run = worker.submit(either, agent_id=agent_on(worker, server, tools=[LOOKUP]), prompt="go")
    call = worker.wait_for("tool_call", of=run)
    assert call["args"] == {"q": "a"}
    worker.answer(call, result=1)
    assert succeeded(worker.terminal(run))["result"] == "done"


def test_a_call_of_a_tool_that_does_not_exist_goes_back_to_the_service(
    worker: Worker, server: Provider, either: Kind
) -> None:
    """clause: TOOL-UNKNOWN
    fault: G59
    """
    server.say(tool_calls=[{"name": "teleport", "args": {}}])
    server.say(text="sorry")
    agent = agent_on(worker, server, tools=[LOOKUP])
    assert succeeded(end_of(worker, either, agent))["result"] == "sorry"


def test_two_hundred_calls_of_one_answer_are_all_made(worker: Worker, server: Provider, interface: Interface) -> None:
    """clause: TOOL-PARALLEL
    fault: G59
    """
    server.say(tool_calls=lookup_calls(*map(str, range(200))))
    server.say(text="done")
    run = worker.start_run(agent_on(worker, server, tools=[LOOKUP]))
    for _ in range(200):
        call = worker.wait_for("tool_call", of=run)
        worker.answer(call, result=int(call["args"]["q"]))
    succeeded(worker.terminal(run))
    assert [content for _, content in asked.tool_returns(interface, server.requests[1])] == list(range(200))


# ---------------------------------------------------------------- histories


def test_a_conversation_goes_on_with_the_messages_given_back(
    worker: Worker, server: Provider, interface: Interface, kind: Kind
) -> None:
    """clause: RUN-HISTORY"""
    server.say(thinking="hm", tool_calls=lookup_calls("a"))
    server.say(text="first answer")
    server.say(text="second answer")
    agent = agent_on(worker, server, tools=[LOOKUP])
    run = worker.submit(kind, agent_id=agent, prompt="first question")
    worker.answer(worker.wait_for("tool_call", of=run), result={"found": True})
    first = succeeded(worker.terminal(run))
    second = succeeded(end_of(worker, kind, agent, "second question", message_history=first["messages"]))
    assert second["result"] == "second answer"
    request = server.requests[2]
    assert asked.user_texts(interface, request) == ["first question", "second question"]
    assert [content for _, content in asked.tool_returns(interface, request)] == [{"found": True}]
    assert "first answer" in request.body.decode()


def test_a_history_of_one_interface_is_understood_by_another(worker: Worker, server: Provider) -> None:
    """clause: RUN-HISTORY"""
    server.say(thinking="hm", tool_calls=lookup_calls("a"))
    server.say(text="first answer")
    run = worker.start_run(agent_on(worker, server, tools=[LOOKUP]), "first question")
    worker.answer(worker.wait_for("tool_call", of=run), result=17)
    history = succeeded(worker.terminal(run))["messages"]
    for other in MODELS:
        with Provider(other) as elsewhere:
            elsewhere.say(text="carried on")
            agent = agent_on(worker, elsewhere, tools=[LOOKUP])
            assert succeeded(worker.run(agent, "next", message_history=history))["result"] == "carried on"
            (request,) = elsewhere.requests
            # Thinking that an interface did not write itself may stand between the two as a text.
            said = asked.user_texts(other, request)
            assert (said[0], said[-1]) == ("first question", "next")
            assert [content for _, content in asked.tool_returns(other, request)] == [17]


def test_many_runs_of_one_endpoint_do_not_mix(worker: Worker, server: Provider, interface: Interface) -> None:
    """clause: ENV-ORDER"""
    server.respond(lambda request: make_answer(text=f"to {asked.user_texts(interface, request)[-1]}"))
    agent = agent_on(worker, server)
    runs = {worker.start_run(agent, f"prompt {number}"): number for number in range(50)}
    for run, number in runs.items():
        assert succeeded(worker.terminal(run))["result"] == f"to prompt {number}"
