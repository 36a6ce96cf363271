"""What the command line lets in: prefixes by whole components, functions by where they are defined."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from axon_port.agents.allow import Allowed, import_prefixes
from axon_port.wire.commands import parse_command
from axon_port.wire.errors import WireError

FILES = {
    "axgood/__init__.py": (
        "def top(): ...\nclass Callable:\n    def __call__(self): ...\ninstance = Callable()\nnumber = 5\n"
    ),
    "axgood/inner/__init__.py": "def below(): ...\n",
    "axgood/borrowed.py": (
        "import functools, operator, os\n"
        "from os import system\nfrom subprocess import Popen\nfrom axgood_evil import steal\nfrom axgood import top\n"
        "partial = functools.partial(os.system)\ngetter = operator.attrgetter('__globals__')\nprinter = print\n"
    ),
    "axgood/exits.py": "raise SystemExit(3)\n",
    "axgood/fails.py": "raise ValueError('at import')\n",
    "axgood/lacks.py": "object().nothing\n",
    "axgood/syntax.py": "def (:\n",
    "axgood_evil.py": "ran = True\ndef steal(): ...\n",
    "axgoodness.py": "def steal(): ...\n",
    "axevil/__init__.py": "",
    "axevil/axgood.py": "def steal(): ...\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, source in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.startswith(("axgood", "axevil"))]:
        del sys.modules[name]


GOOD = Allowed(("axgood",))


def refusal(reference: str, allowed: Allowed = GOOD) -> WireError:
    with pytest.raises(WireError) as caught:
        allowed.function(reference)
    return caught.value


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("good", True),
        ("good.evil", True),
        ("good.a.b.c", True),
        ("good_evil", False),
        ("goodness", False),
        ("goo", False),
        ("evil.good", False),
        ("evilgood", False),
        ("Good", False),
        ("good-evil", False),
        ("", False),
        (".good", False),
        ("..good", False),
    ],
)
def test_a_prefix_counts_whole_components(module: str, allowed: bool) -> None:
    """clause: SEC-IMPORT"""
    assert Allowed(("good",)).module(module) is allowed


@pytest.mark.parametrize(
    ("module", "allowed"),
    [("a.b", True), ("a.b.c", True), ("a", False), ("a.bc", False), ("a.c", False), ("x", True), ("b", False)],
)
def test_a_prefix_can_have_several_components_and_there_can_be_several(module: str, allowed: bool) -> None:
    assert Allowed(("a.b", "x")).module(module) is allowed


def test_nothing_is_allowed_by_default() -> None:
    assert not Allowed().module("os")
    assert refusal("os:getcwd", Allowed()).error_type == "ImportNotAllowed"


@pytest.mark.parametrize(
    "reference", ["axgood:top", "axgood.inner:below", "axgood:Callable", "axgood:instance", "axgood.borrowed:top"]
)
def test_what_is_defined_under_a_prefix_is_loaded(reference: str) -> None:
    assert callable(GOOD.function(reference))
    assert GOOD.load(reference) is GOOD.function(reference)


@pytest.mark.parametrize(
    "reference", ["axgood_evil:steal", "axgoodness:steal", "axevil.axgood:steal", "os:system", "builtins:eval"]
)
def test_what_is_not_under_a_prefix_is_refused_before_it_is_imported(reference: str) -> None:
    """clause: SEC-IMPORT"""
    module = reference.partition(":")[0]
    was_there = module in sys.modules
    error = refusal(reference)
    assert error.error_type == "ImportNotAllowed"
    assert error.message == f"module {module} may not be imported: start the worker with --allow-import {module}"
    assert error.details == {"module": module, "flag": "--allow-import"}
    assert (module in sys.modules) is was_there


@pytest.mark.parametrize("name", ["system", "Popen", "steal", "partial", "getter", "printer"])
def test_what_an_allowed_module_has_merely_imported_is_not_allowed(name: str) -> None:
    """clause: SEC-FUNCTION"""
    assert refusal(f"axgood.borrowed:{name}").error_type == "ImportNotAllowed"


@pytest.mark.parametrize("name", ["functools", "operator", "os"])
def test_a_module_inside_a_module_is_no_function(name: str) -> None:
    error = refusal(f"axgood.borrowed:{name}")
    assert (error.error_type, error.message) == ("InvalidAgent", f"axgood.borrowed:{name} is not a function")


def test_what_cannot_be_called_is_no_function() -> None:
    assert refusal("axgood:number").message == "axgood:number is not a function"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("axgood:missing", "module axgood has no attribute 'missing'"),
        (
            "axgood.missing:x",
            "module axgood.missing cannot be imported: ModuleNotFoundError(\"No module named 'axgood.missing'\")",
        ),
        ("axgood.fails:x", "module axgood.fails cannot be imported: ValueError('at import')"),
    ],
)
def test_a_reference_that_leads_nowhere_is_an_invalid_agent(reference: str, message: str) -> None:
    error = refusal(reference)
    assert (error.error_type, error.message) == ("InvalidAgent", message)


@pytest.mark.parametrize("module", ["exits", "syntax"])
def test_a_module_that_cannot_be_imported_is_an_invalid_agent_however_it_fails(module: str) -> None:
    error = refusal(f"axgood.{module}:x")
    assert error.error_type == "InvalidAgent"
    assert error.message.startswith(f"module axgood.{module} cannot be imported: ")


def test_a_module_that_misses_an_attribute_at_import_is_not_said_to_lack_the_one_asked_for() -> None:
    assert refusal("axgood.lacks:x").message.startswith("module axgood.lacks cannot be imported: ")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "os",
        "os:",
        ":x",
        "os.path:join.__globals__",
        "good:attribute.of",
        "good:__class__.__base__",
        "..good:x",
        ".good:x",
        "good.:x",
        "good..evil:x",
        "good/../evil:x",
        "good :x",
        "good: x",
        "good:x\n",
        "good\n:x",
        "good:x:y",
        "1good:x",
        "good:1x",
        "good-evil:x",
        "good:x()",
        "good\x00:x",
    ],
)
@pytest.mark.parametrize("field", ["module", "handler"])
def test_what_is_no_reference_is_an_invalid_command(reference: str, field: str) -> None:
    """clause: SEC-IMPORT"""
    fields = {"model": "test", "tools": [{"name": "t", "handler": {"python": reference}}]}
    extra = fields if field == "handler" else {"module": reference}
    with pytest.raises(WireError) as caught:
        parse_command({"type": "create_agent", "id": 1, "agent_id": "a", **extra})
    assert caught.value.error_type == "InvalidCommand"


def test_a_capability_is_allowed_by_its_name_alone() -> None:
    """clause: SEC-CAPABILITY"""
    allowed = Allowed((), frozenset({"MCP:stdio", "WebSearch"}))
    allowed.demand_capability("WebSearch")
    for name in ("MCP", "websearch", "Web", ""):
        with pytest.raises(WireError) as caught:
            allowed.demand_capability(name)
        error = caught.value
        assert error.error_type == "CapabilityNotAllowed"
        assert error.message == f"capability {name} is not allowed: start the worker with --allow-capability {name}"
        assert error.details == {"capability": name, "flag": "--allow-capability"}


def test_prefixes_of_the_command_line_are_dotted_names() -> None:
    assert import_prefixes(["a", "a.b", "_x1", "ünicode"]) == ("a", "a.b", "_x1", "ünicode")
    assert import_prefixes([]) == ()


@pytest.mark.parametrize("prefix", ["", ".", "a.", ".a", "a..b", "a b", "a-b", "1a", "a:b", "a/b", "*", "a\n"])
def test_a_prefix_that_is_no_dotted_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="is no dotted module name"):
        import_prefixes(["fine", prefix])
