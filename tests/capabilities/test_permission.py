"""What a frame may name under which `--allow-capability`, in every disguise; and that nothing was started.

A disguised MCP server is a script that leaves a file behind. Each spec is refused, or, where it is accepted, a run
follows; in either case the file must not be there.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import SharedWorker
from tests.kit import REPOSITORY, Frame, Worker, failed, succeeded

from .conftest import capable

HTTP = "http://127.0.0.1:9/mcp"
TRACE = "started"
SPECS = [
    "BatchModelRequests",
    "Caching",
    "Citations",
    "FileUnderstanding",
    "ImageGeneration",
    "IncludeToolReturnSchemas",
    "Instrumentation",
    "LocalWorkspace",
    "NativeTool",
    "PrefixTools",
    "RaiseContentFilterError",
    "ReinjectSystemPrompt",
    "SetToolMetadata",
    "Thinking",
    "ToolSearch",
    "WebFetch",
    "WebSearch",
    "XSearch",
]
NO_SPECS = [
    "Toolset",
    "PrepareTools",
    "PrepareOutputTools",
    "ProcessHistory",
    "ProcessEventStream",
    "Hooks",
    "Capability",
    "SelectModel",
    "ResolveModelId",
    "UseThreadExecutor",
    "ThreadExecutor",
    "WrapperCapability",
    "CombinedCapability",
    "DynamicCapability",
    "HandleDeferredToolCalls",
    "NativeOrLocalTool",
    "AbstractCapability",
    "RunGuard",
    "_Approved",
    "MCP:stdio",
    "mcp",
    "Mcp",
    "builtins",
    "os",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a script that says that it was started, also where an address seems to point."""
    folder = tmp_path_factory.mktemp("place")
    for script in (folder / "evil.py", folder / "http:" / "127.0.0.1:9" / "evil.py"):
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"open({str(folder / TRACE)!r}, 'w')\n")
    return folder


@pytest.fixture(scope="module")
def holder(place: Path) -> Iterator[SharedWorker]:
    """Holds a worker that may use every capability, servers over HTTP among them, and start none."""
    shared = SharedWorker(lambda: capable("MCP", *SPECS, *NO_SPECS[:-10], cwd=place, pythonpath=[REPOSITORY]))
    yield shared
    shared.end()


@pytest.fixture
def worker(holder: SharedWorker, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """That worker."""
    yield from holder.lend(request)


def try_spec(worker: Worker, spec: Any) -> Frame:
    """The refusal of a spec, or the end of a run that used it."""
    model = {"script": [{"text": "done"}]}
    made = worker.ask("create_agent", agent_id="disguised", model=model, capabilities=[spec], replace=True)
    return made if made["type"] == "error" else worker.run("disguised", timeout_ms=20_000)


def disguises(script: str) -> list[Any]:
    """Every way found to name a server that is no address. The tests say what each was meant to get past."""
    command = {"mcpServers": {"a": {"command": sys.executable, "args": [script]}}}
    hidden = {"name": "MCP", "arguments": {"url": script}}
    return [
        {"MCP": {"url": script}},
        {"MCP": script},
        {"MCP": [script]},
        {"MCP": {"url": [script]}},
        {"MCP": {"url": {"url": script}}},
        {"MCP": {"url": f"file://{script}"}},
        {"MCP": {"url": f"http://{script}"}},
        {"MCP": {"url": f"httpx://{script}"}},
        {"MCP": {"url": f"https:{script}"}},
        {"MCP": {"url": f"http://[{script}"}},
        {"MCP": {"url": "evil.py"}},
        {"MCP": {"url": "./evil.py"}},
        {"MCP": {"url": command}},
        {"MCP": command},
        {"MCP": {"url": HTTP, "local": script}},
        {"MCP": {"url": HTTP, "local": command}},
        {"MCP": {"url": HTTP, "local": {"url": HTTP, **command}}},
        {"MCP": {"url": HTTP, "native": script}},
        {"MCP": {"url": HTTP, "native": {"url": script}}},
        {"PrefixTools": {"prefix": "p", "capability": {"MCP": script}}},
        {"PrefixTools": {"prefix": "p", "capability": {"MCP": {"url": script}}}},
        {"PrefixTools": {"prefix": "p", "capability": {"MCP": {"url": HTTP, "local": command}}}},
        {"PrefixTools": {"prefix": "p", "capability": hidden}},
        {"PrefixTools": {"prefix": "p", "capability": [hidden]}},
        {"PrefixTools": {"prefix": "p", "capability": {"name": "MCP", "arguments": [script]}}},
        {"PrefixTools": {"prefix": "p", "capability": {"arguments": [script], "name": "MCP"}}},
        {"PrefixTools": {"prefix": "p", "capability": {"PrefixTools": {"prefix": "q", "capability": hidden}}}},
        {
            "PrefixTools": {
                "prefix": "p",
                "capability": {"name": "PrefixTools", "arguments": {"prefix": "q", "capability": hidden}},
            }
        },
    ]


@pytest.mark.parametrize("number", range(len(disguises(""))))
def test_a_server_that_is_no_address_is_not_started(worker: Worker, place: Path, number: int) -> None:
    """clause: SEC-MCP, SEC-CAPABILITY
    fault: H61
    """
    answer = try_spec(worker, disguises(str(place / "evil.py"))[number])
    assert not (place / TRACE).exists(), "a process was started"
    assert answer["type"] == "error"
    assert answer["error_type"] in {"CapabilityNotAllowed", "InvalidAgent"}, answer
    if answer["error_type"] == "CapabilityNotAllowed":
        assert answer["details"] == {"capability": "MCP:stdio", "flag": "--allow-capability"}


def test_an_address_is_no_file_whatever_lies_in_the_working_directory(worker: Worker, place: Path) -> None:
    """clause: SEC-MCP
    fault: H61
    """
    try_spec(worker, {"MCP": {"url": "http://127.0.0.1:9/evil.py"}})
    assert not (place / TRACE).exists(), "a process was started"


@pytest.mark.parametrize("script", ["evil.js", "evil.sh", "evil"])
def test_a_script_of_another_kind_is_no_address_either(worker: Worker, script: str) -> None:
    """clause: SEC-MCP"""
    failed(try_spec(worker, {"MCP": {"url": script}}), "CapabilityNotAllowed")


def test_processes_alone_do_not_allow_servers() -> None:
    """Neither implies the other. clause: SEC-MCP"""
    with capable("MCP:stdio") as worker:
        for spec in ({"MCP": HTTP}, {"MCP": "evil.py"}):
            answer = failed(try_spec(worker, spec), "CapabilityNotAllowed")
            assert answer["details"] == {"capability": "MCP", "flag": "--allow-capability"}


# ---------------------------------------------------------------- names


def nested(name: str) -> list[Any]:
    """Each way to name a capability inside another."""
    return [
        {"PrefixTools": {"prefix": "p", "capability": name}},
        {"PrefixTools": {"prefix": "p", "capability": {name: {}}}},
        {"PrefixTools": {"prefix": "p", "capability": {name: "x"}}},
        {"PrefixTools": {"prefix": "p", "capability": {"name": name, "arguments": None}}},
        {"PrefixTools": {"prefix": "p", "capability": {"name": name, "arguments": {}}}},
        {"PrefixTools": {"prefix": "p", "capability": {"name": name, "arguments": ["x"]}}},
        {"PrefixTools": {"prefix": "p", "capability": {"PrefixTools": {"prefix": "q", "capability": name}}}},
    ]


def test_each_capability_needs_its_own_permission() -> None:
    """clause: SEC-CAPABILITY, CAP-SPECS"""
    with capable("PrefixTools") as worker:
        for name in [each for each in [*SPECS, "MCP"] if each != "PrefixTools"]:
            forms: list[Any] = [name, {name: {}}, {name: "x"}, {name: ["x"]}, {name: None}, *nested(name)]
            for spec in forms:
                answer = failed(try_spec(worker, spec), "CapabilityNotAllowed")
                assert answer["details"] == {"capability": name, "flag": "--allow-capability"}
                assert f"--allow-capability {name}" in answer["message"]


def test_nothing_is_allowed_unless_it_is_said() -> None:
    """clause: SEC-CAPABILITY"""
    with Worker() as worker:
        for name in [*SPECS, "MCP", *NO_SPECS]:
            failed(try_spec(worker, {name: {}}), "CapabilityNotAllowed")


@pytest.mark.parametrize("name", NO_SPECS[:-10])
def test_what_is_no_spec_is_unknown_even_where_it_is_allowed(worker: Worker, name: str) -> None:
    """Functions, toolsets and modules cannot be named by data. clause: CAP-SPECS"""
    forms: list[Any] = [name, {name: {}}, {name: "os:system"}, *nested(name)]
    for spec in forms:
        failed(try_spec(worker, spec), "InvalidAgent")


def test_an_agent_that_was_refused_is_not_there(worker: Worker) -> None:
    """clause: AGENT-ATOMIC"""
    failed(
        worker.ask("create_agent", agent_id="refused", model="test", capabilities=["Thinking", {"MCP": "evil.py"}]),
        "CapabilityNotAllowed",
    )
    listed = succeeded(worker.ask("list_agents"))["result"]["agents"]
    assert "refused" not in {each["agent_id"] for each in listed}


MISFITS: list[Any] = [
    {"MCP": {}},
    {"MCP": None},
    {"MCP": {"url": HTTP, "nonsense": 1}},
    {"MCP": {"url": HTTP, "allowed_tools": 5}},
    {"MCP": {"url": HTTP, "allowed_tools": "add"}},
    {"MCP": {"url": HTTP, "tool_prefix": 5}},
    {"MCP": {"url": HTTP, "id": 5}},
    {"MCP": {"url": HTTP, "headers": 5}},
    {"MCP": {"url": HTTP, "headers": {"a": 5}}},
    {"MCP": {"url": HTTP, "authorization_token": 5}},
    {"MCP": {"url": HTTP, "native": {"url": HTTP, "id": "x"}}},
    {"PrefixTools": {"prefix": "p"}},
    {"PrefixTools": {"prefix": 5, "capability": "Thinking"}},
    {"PrefixTools": {"prefix": "p", "capability": 5}},
    {"Thinking": {"effort": "nonsense"}},
    {"Thinking": {"effort": {}}},
    {"WebSearch": {"local": "nonsense"}},
    {"WebFetch": {"allowed_domains": 5}},
    {"NativeTool": {"kind": "nonsense"}},
    {"NativeTool": {}},
    {"LocalWorkspace": 5},
    {"Instrumentation": {"version": 99}},
    {"BatchModelRequests": {"max_wait": "nonsense"}},
    {"FileUnderstanding": {"fallback_subagent_model": 5}},
    {"IncludeToolReturnSchemas": {"tools": 5}},
    {"SetToolMetadata": {"tools": 5}},
    {"ToolSearch": {"strategy": "nonsense"}},
    {"Caching": {"retention": "nonsense"}},
    {"XSearch": {"from_date": "nonsense"}},
    {"ImageGeneration": {"size": 5}},
]


@pytest.mark.parametrize("spec", MISFITS, ids=repr)
def test_arguments_that_do_not_fit_are_refused_when_the_agent_is_made(worker: Worker, spec: Any) -> None:
    """clause: CAP-SPECS, AGENT-INVALID"""
    answer = worker.ask("create_agent", agent_id="misfit", model="test", replace=True, capabilities=[spec])
    failed(answer, "InvalidAgent")
