"""The JSON-Schema-Test-Suite as data: its cases, and which of them refer to other documents.

The suite lies beside the repository and is no part of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urldefrag, urljoin

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT.parent / "shared" / "json-schema-test-suite" / "draft2020-12"
OWN_METASCHEMAS = "https://json-schema.org/draft/2020-12/"
"""What lies below is known to every validator and not fetched."""

REFERENCES = ("$ref", "$dynamicRef", "$schema")
DATA = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose values are no schemas, whatever they look like."""


@dataclass(frozen=True)
class Group:
    """One schema, and instances with the verdict on each."""

    file: str
    name: str
    schema: Any
    tests: tuple[dict[str, Any], ...]

    @property
    def is_remote(self) -> bool:
        """Whether it needs a document that is not in it."""
        schemas = list(_schemas(self.schema, ""))
        here = {urldefrag(base).url for base, _ in schemas}
        targets = (
            urldefrag(_joined(base, value)).url
            for base, schema in schemas
            for keyword in REFERENCES
            if isinstance(value := schema.get(keyword), str)
        )
        return any(target not in here and not target.startswith(OWN_METASCHEMAS) for target in targets)


def groups() -> list[Group]:
    """Every group of the suite, in the order of its files; empty where there is no suite."""
    return [
        Group(path.name, group["description"], group["schema"], tuple(group["tests"]))
        for path in sorted(SUITE.glob("*.json"))
        for group in json.loads(path.read_text("utf-8"))
    ]


def _schemas(value: Any, base: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object that may be a schema, with its base URI."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _schemas(item, base)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        identity = fields.get("$id")
        if isinstance(identity, str):
            base = _joined(base, identity)
        yield base, fields
        for keyword, item in fields.items():
            if keyword not in DATA:
                yield from _schemas(item, base)


def _joined(base: str, reference: str) -> str:
    # urljoin knows no base of another kind than a path: a fragment of a URN would lose it.
    return urldefrag(base).url + reference if reference.startswith("#") else urljoin(base, reference)
