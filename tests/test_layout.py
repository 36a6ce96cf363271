"""The order of the house: which room may know what. The import graph is the architecture, so it is walked here."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "axon_port"
MODULES = sorted(path.relative_to(REPOSITORY) for path in PACKAGE.rglob("*.py"))
LONGEST = 450

IO = frozenset(
    {
        *(
            "anyio",
            "asyncio",
            "trio",
            "socket",
            "select",
            "selectors",
            "ssl",
            "subprocess",
            "threading",
            "multiprocessing",
        ),
        *(
            "os",
            "io",
            "sys",
            "pathlib",
            "shutil",
            "tempfile",
            "fcntl",
            "signal",
            "time",
            "logging",
            "concurrent",
            "queue",
        ),
    }
)
"""What reaches outside, waits or knows a clock."""

READERS_ROOM = (
    "axon_port.worker.reader",
    "axon_port.worker.intake",
    "axon_port.worker.exchanges",
    "axon_port.worker.serve",
)


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """Every module that a file imports, wherever in it, or those that its own import imports; `from a import b`
    counts as both `a` and `a.b`."""
    tree = ast.parse((REPOSITORY / path).read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.parts[1] if len(path.parts) > 2 else ""


def under(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def in_room(*rooms: str) -> list[Path]:
    return [path for path in MODULES if room(path) in rooms]


@pytest.mark.parametrize("path", in_room("wire"), ids=name_of)
def test_the_wire_knows_bytes_and_rules_only(path: Path) -> None:
    for module in imports(path):
        assert module.split(".")[0] not in IO, f"{path} imports {module}"
        assert not under(module, "pydantic_ai", "axon_port.agents", "axon_port.worker"), f"{path} imports {module}"
        assert not under(module, "axon_port") or module == "axon_port" or under(module, "axon_port.wire"), (
            f"{path} imports {module}"
        )


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) != "agents"], ids=name_of)
def test_pydantic_ai_is_known_in_the_agents_room_only(path: Path) -> None:
    found = [module for module in imports(path) if under(module, "pydantic_ai", "pydantic_graph")]
    assert found == []


TELEMETRY = ("axon_port/worker/telemetry.py", "axon_port/worker/exported.py")


@pytest.mark.parametrize("path", [path for path in MODULES if path.as_posix() not in TELEMETRY], ids=name_of)
def test_the_sdk_of_telemetry_is_known_where_it_was_asked_for(path: Path) -> None:
    theirs = ("opentelemetry.sdk", "opentelemetry.exporter")
    ours = ("axon_port.worker.telemetry", "axon_port.worker.exported")
    assert [module for module in imports(path) if under(module, *theirs)] == []
    assert [module for module in imports(path, at_once=True) if under(module, *ours)] == []


@pytest.mark.parametrize("path", in_room("agents"), ids=name_of)
def test_agents_know_no_pipe(path: Path) -> None:
    for module in imports(path):
        assert not under(module, "axon_port.worker", "axon_port.cli"), f"{path} imports {module}"


@pytest.mark.parametrize("path", in_room("client"), ids=name_of)
def test_the_client_knows_the_wire_only(path: Path) -> None:
    for module in imports(path):
        if under(module, "axon_port"):
            assert under(module, "axon_port.wire", "axon_port.client"), f"{path} imports {module}"


@pytest.mark.parametrize("name", ["session", "errors", "results"])
def test_the_client_s_session_does_no_io(name: str) -> None:
    for module in imports(Path("axon_port/client") / f"{name}.py"):
        assert module.split(".")[0] not in IO, f"{name} imports {module}"


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in ("agents", "worker", "wire")], ids=name_of)
def test_no_room_of_the_worker_knows_the_parent_s_side(path: Path) -> None:
    for module in imports(path):
        assert not under(module, "axon_port.client", "axon_port.doctor"), f"{path} imports {module}"


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in ("agents", "worker", "wire")], ids=name_of)
def test_no_room_knows_the_command_line(path: Path) -> None:
    for module in imports(path):
        assert not under(module, "axon_port.cli", "axon_port.demo", "axon_port.__main__"), f"{path} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_longer_than_anybody_reads(path: Path) -> None:
    assert len((REPOSITORY / path).read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_module_says_what_it_owns(path: Path) -> None:
    tree = ast.parse((REPOSITORY / path).read_text())
    assert ast.get_docstring(tree)


def test_imports_go_round_nowhere() -> None:
    names = {name_of(path): path for path in MODULES}
    graph = {
        name: {module for module in imports(path, at_once=True) if module in names and module != name}
        for name, path in names.items()
    }
    # A module that imports from its own package's name imports its __init__, which imports nothing.
    assert not [module for name in graph for module in graph[name] if name.startswith(f"{module}.") and graph[module]]
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name in done:
            return
        for module in graph[name]:
            walk(module, (*way, name))
        done.add(name)

    for name in graph:
        walk(name, ())


LIGHT = ["axon_port", "axon_port.cli", "axon_port.client", *(name_of(path) for path in in_room("wire")), *READERS_ROOM]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_what_reads_does_not_import_pydantic_ai(module: str) -> None:
    source = (
        f"import sys, {module}\n"
        "found = sorted(name for name in sys.modules if name.split('.')[0] in ('pydantic_ai', 'openai', 'anthropic'))\n"
        "print(found)"
    )
    assert printed(source) == "[]"


def test_a_worker_imports_nothing_of_what_the_other_commands_need() -> None:
    source = (
        "import sys, axon_port.cli, axon_port.worker.serve, axon_port.worker.dispatch\n"
        "ours = ('client', 'commands', 'importing', 'doctor', 'completion', 'demo', 'shell', 'terminal')\n"
        "print([name for name in sys.modules if f'{name}.'.startswith(tuple(f'axon_port.{one}.' for one in ours))])"
    )
    assert printed(source) == "[]"


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    source = "import sys, axon_port; print(sorted(name for name in sys.modules if name.startswith('axon_port')))"
    assert printed(source) == "['axon_port']"


def printed(source: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()
