"""`--allow-import` against real workers: prefixes, attributes, and what an allowed module has merely imported."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import SharedWorker
from tests.kit import REPOSITORY, Worker, failed, succeeded
from tests.kit.messages import tool_returns

IMPORTED = "imported.txt"
EVIL = f"""
from pathlib import Path
Path(__file__).parent.joinpath({IMPORTED!r}).write_text(__name__) if Path(__file__).parent.joinpath("armed").exists() \
else None
def steal(): return "stolen"
async def steal_later(): return "stolen"
class Thief:
    def __call__(self): return "stolen"
    def steal(self): return "stolen"
    @classmethod
    def of_class(cls): return "stolen"
    @staticmethod
    def of_nobody(): return "stolen"
thief = Thief()
"""
GOOD = """
import builtins, functools, operator, os, subprocess, types
from os import system, getcwd
from subprocess import Popen, run
from evil import Thief, steal, steal_later, thief
import evil
bound = thief.steal
of_class = Thief.of_class
of_nobody = Thief.of_nobody
partial = functools.partial(steal)
partial_of_system = functools.partial(os.system, "true")
partial_method = functools.partial(thief.steal)
getter = operator.attrgetter("__globals__")
caller = operator.methodcaller("steal")
evaluate = eval
execute = exec
compiled = compile
opened = open
imported = __import__
cached = functools.lru_cache(steal)
method_of_text = "".join
kind = type
text = "not callable"
number = 5
nothing = None

def own(): return "own"
async def own_later(): return "own"
own_lambda = lambda: "own"
class Own:
    def __call__(self) -> str: return "own"
    def method(self) -> str: return "own"
own_instance = Own()
own_bound = own_instance.method
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of which `good` alone is allowed."""
    root = tmp_path_factory.mktemp("modules")
    files = {
        "evil.py": EVIL,
        "good/__init__.py": GOOD,
        "good/inner/__init__.py": "def own(): return 'own'\n",
        "good/inner/deep.py": "def own(): return 'own'\n",
        "good_evil.py": EVIL,
        "goodx/__init__.py": EVIL,
        "goo.py": EVIL,
        "Good.py": EVIL,
        "evil_pkg/__init__.py": EVIL,
        "evil_pkg/good.py": EVIL,
    }
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


@pytest.fixture(scope="module")
def holder(folder: Path) -> Iterator[SharedWorker]:
    """Holds a worker that may import `good`."""
    shared = SharedWorker(lambda: Worker("--allow-import", "good", pythonpath=[folder, REPOSITORY]))
    yield shared
    shared.end()


@pytest.fixture
def worker(holder: SharedWorker, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """That worker."""
    yield from holder.lend(request)


def with_tool(worker: Worker, reference: str) -> dict[str, Any]:
    """The answer to an agent with this function as its tool."""
    tool = {"name": "f", "handler": {"python": reference}}
    model = {"script": [{"tool_calls": [{"name": "f"}]}, {"text": "done"}]}
    return worker.ask("create_agent", agent_id="a", model=model, tools=[tool], replace=True)


def with_module(worker: Worker, reference: str) -> dict[str, Any]:
    """The answer to an agent of this module."""
    return worker.ask("create_agent", agent_id="a", module=reference, replace=True)


@pytest.mark.parametrize(
    "reference",
    ["good:own", "good:own_later", "good:own_lambda", "good:own_bound", "good.inner:own",
     "good.inner.deep:own"],
)  # fmt: skip
def test_what_is_defined_at_or_below_the_prefix_is_let_in(worker: Worker, reference: str) -> None:
    """clause: SEC-IMPORT, SEC-FUNCTION, TOOL-PYTHON"""
    succeeded(with_tool(worker, reference))
    ((_, content, _),) = tool_returns(succeeded(worker.run("a"))["messages"])
    assert content == "own"


@pytest.mark.parametrize(
    "module", ["evil", "good_evil", "goodx", "goo", "Good", "evil_pkg.good", "evil_pkg", "os", "builtins", "sys",
               "axon_port.cli", "pydantic_ai", "importlib", "g\u043eod", "\uff47ood"]
)  # fmt: skip
def test_what_is_not_below_the_prefix_is_not_imported(worker: Worker, folder: Path, module: str) -> None:
    """clause: SEC-IMPORT
    fault: H61
    """
    (folder / "armed").touch()
    try:
        for answer in (with_tool(worker, f"{module}:steal"), with_module(worker, f"{module}:agent")):
            refusal = failed(answer, "ImportNotAllowed")
            assert refusal["details"] == {"module": module, "flag": "--allow-import"}
            assert f"--allow-import {module}" in refusal["message"]
        assert not (folder / IMPORTED).exists()
    finally:
        (folder / "armed").unlink()


@pytest.mark.parametrize(
    "reference",
    ["good", "good:", ":own", "good.own", "good:a.b", "good:own.__globals__", "good:own:steal", "good:evil.steal",
     "..good:own", ".good:own", "good.:own", "good..inner:own", "good/../evil:steal", "good:own\n", "\ngood:own",
     "good :own", "good: own", "good:own ", "good\0:own", "good:own()", "good:own,evil:steal", "good-evil:own",
     "good:1", "1:good", ""],
)  # fmt: skip
def test_another_form_than_one_module_and_one_attribute_is_refused(worker: Worker, reference: str) -> None:
    """clause: SEC-IMPORT, CMD-MODULE
    fault: H61
    """
    failed(with_tool(worker, reference), "InvalidCommand")
    failed(with_module(worker, reference), "InvalidCommand")


@pytest.mark.parametrize(
    "name",
    ["steal", "steal_later", "system", "getcwd", "Popen", "run", "Thief", "thief", "bound", "of_class", "of_nobody",
     "partial", "partial_of_system", "partial_method", "getter", "caller", "evaluate", "execute", "compiled", "opened",
     "imported", "cached", "method_of_text", "kind", "__class__", "__init__", "__getattribute__", "__setattr__",
     "__delattr__", "__reduce__", "__reduce_ex__", "__dir__", "__format__", "__init_subclass__", "__subclasshook__",
     "__eq__", "__repr__", "__sizeof__", "__str__", "__hash__"],
)  # fmt: skip
def test_what_an_allowed_module_has_merely_imported_or_inherited_is_refused(worker: Worker, name: str) -> None:
    """clause: SEC-FUNCTION
    fault: H61
    """
    refusal = failed(with_tool(worker, f"good:{name}"), "ImportNotAllowed")
    assert refusal["details"]["flag"] == "--allow-import"


@pytest.mark.parametrize(
    "name",
    [
        "text",
        "number",
        "nothing",
        "own_instance",
        "evil",
        "os",
        "missing",
        "__builtins__",
        "__dict__",
        "__loader__",
        "__spec__",
    ],
)
def test_what_is_no_function_is_none(worker: Worker, name: str) -> None:
    """clause: SEC-FUNCTION, AGENT-INVALID"""
    failed(with_tool(worker, f"good:{name}"), "InvalidAgent")


@pytest.mark.parametrize("name", ["own", "text", "evil", "thief", "Own", "missing", "__builtins__", "__class__"])
def test_what_is_no_agent_is_none(worker: Worker, name: str) -> None:
    """clause: CMD-MODULE"""
    failed(with_module(worker, f"good:{name}"), "InvalidAgent")


def test_a_prefix_below_a_package_does_not_allow_the_package(folder: Path) -> None:
    """clause: SEC-IMPORT"""
    with Worker("--allow-import", "good.inner", pythonpath=[folder, REPOSITORY]) as worker:
        failed(with_tool(worker, "good:own"), "ImportNotAllowed")
        succeeded(with_tool(worker, "good.inner:own"))
        succeeded(with_tool(worker, "good.inner.deep:own"))


def test_a_run_cannot_name_code(worker: Worker) -> None:
    """clause: SEC-IMPORT, ENV-FIELDS"""
    succeeded(with_tool(worker, "good:own"))
    fields: list[dict[str, Any]] = [{"module": "good:agent"}, {"tools": []}, {"capabilities": []}]
    for field in fields:
        failed(worker.run("a", **field), "InvalidCommand")
    failed(worker.run("a", model="good:own"), "InvalidAgent")
