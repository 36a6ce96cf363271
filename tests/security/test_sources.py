"""No road from data to code in the package itself: no pickle, no yaml, no eval, no shell, no template engine."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import REPOSITORY

MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "dbm", "yaml", "ruamel",
    "jsonpickle", "code", "codeop", "runpy", "imp", "pkgutil", "zipimport", "xml", "lxml", "jinja2", "mako",
    "multiprocessing", "pty", "importlib.util", "importlib.machinery",
}  # fmt: skip
"""What makes code or objects of data, or starts them."""

CALLS = {"eval", "exec", "compile", "__import__", "execfile"}

ATTRIBUTES = {"system", "popen", "create_subprocess_shell", "getoutput", "getstatusoutput"}
"""What has a shell read a text."""

MAY = {
    # The one place where a name becomes a module: under the allow-list.
    ("agents/allow.py", "import_module"),
    # A provider's module that pydantic-ai brings along; the name is a constant.
    ("agents/providers.py", "import_module"),
}
"""What is done with a reason, by file and name."""

FILES = sorted((REPOSITORY / "axon_port").rglob("*.py"))


def roads(path: Path) -> Iterator[str]:
    """Everything in a file that could make code of data."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (f"import {name.name}" for name in names if _is_listed(name.name))
            case ast.ImportFrom(module=module, names=names):
                whole = [module or "", *(f"{module}.{name.name}" for name in names)]
                yield from (f"import {name}" for name in whole if _is_listed(name))
                yield from (name.name for name in names if name.name in ATTRIBUTES | CALLS)
            case ast.Name(id=name) if name in CALLS:
                yield name
            case ast.Name(id="import_module") | ast.Attribute(attr="import_module"):
                yield "import_module"
            case ast.Attribute(attr=name, value=ast.Name(id="os" | "subprocess" | "asyncio")) if name in ATTRIBUTES:
                yield name
            case ast.keyword(arg="shell"):
                yield "shell="
            case _:
                continue


def _is_listed(name: str) -> bool:
    return name in MODULES or name.partition(".")[0] in MODULES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_data_becomes_code(path: Path) -> None:
    """fault: H67"""
    where = path.relative_to(REPOSITORY / "axon_port").as_posix()
    assert [road for road in roads(path) if (where, road) not in MAY] == []


def test_the_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "import pickle, yaml\nfrom yaml import load\nfrom importlib import import_module as find\n"
        "eval('1')\nimportlib.import_module('x')\nos.system('x')\nsubprocess.run('x', shell=True)\n"
    )
    found = set(roads(source))
    assert found >= {"import pickle", "import yaml", "eval", "import_module", "system", "shell="}
