"""`{{variables}}`: paths into deps, values as text, one error for each side's mistake."""

from typing import Any

import pytest

from axon_port.agents.templates import parse_template
from axon_port.wire.errors import WireError

DEPS: dict[str, Any] = {
    "name": "Ada",
    "customer": {
        "name": "Bob",
        "tags": ["a", "b"],
        "none": None,
        "yes": True,
        "big": 2**70,
        "x-y": "dash",
        "ü": "umlaut",
    },
    "items": [{"id": 7}, "second"],
    "braces": "{{name}}",
    "html": "<b>&\"'</b>",
    "empty": "",
    "surrogate": ["\ud800"],
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("no variables", "no variables"),
        ("{{name}}", "Ada"),
        ("{{ name }}", "Ada"),
        ("{{\n\tname\n}}", "Ada"),
        ("Hello {{name}}, {{name}}!", "Hello Ada, Ada!"),
        ("{{name}}{{customer.name}}", "AdaBob"),
        ("{{customer.tags.1}}", "b"),
        ("{{items.0.id}}", "7"),
        ("{{items.1}}", "second"),
        ("{{customer.tags}}", '["a","b"]'),
        ("{{items.0}}", '{"id":7}'),
        ("{{customer.none}} {{customer.yes}} {{customer.big}}", f"null true {2**70}"),
        ("{{customer.x-y}} {{customer.ü}}", "dash umlaut"),
        ("{{empty}}", ""),
        ("{{surrogate}}", '["\ufffd"]'),
        ("{name} {} }} { {", "{name} {} }} { {"),
        ("{{{name}}}", "{Ada}"),
        ('{"json": {"a": 1}}', '{"json": {"a": 1}}'),
    ],
)
def test_a_variable_is_a_path_into_the_deps(text: str, rendered: str) -> None:
    """clause: TPL-VARIABLE"""
    assert parse_template(text).render(DEPS) == rendered


def test_a_value_is_neither_escaped_nor_expanded_again() -> None:
    """clause: TPL-VALUE"""
    assert parse_template("{{braces}}").render(DEPS) == "{{name}}"
    assert parse_template("{{html}}").render(DEPS) == "<b>&\"'</b>"


@pytest.mark.parametrize(
    "path",
    [
        "nobody",
        "customer.nobody",
        "name.first",
        "items.2",
        "items.-1",
        "items.one",
        f"items.{'1' * 5000}",
        "customer.tags.name",
        "items.0.id.x",
    ],
)
def test_a_missing_value_is_told_by_its_path(path: str) -> None:
    """clause: TPL-MISSING"""
    with pytest.raises(WireError) as caught:
        parse_template(f"Hello {{{{{path}}}}}").render(DEPS)
    error = caught.value
    assert (error.error_type, error.message) == (
        "InvalidDeps",
        f"a template needs {path!r}, which the deps do not have",
    )
    assert error.details == {"variable": path}


@pytest.mark.parametrize("deps", [None, {}, [], "text", 5])
def test_deps_of_any_kind_can_lack_a_value(deps: Any) -> None:
    assert parse_template("plain").render(deps) == "plain"
    with pytest.raises(WireError, match="which the deps do not have"):
        parse_template("{{name}}").render(deps)


@pytest.mark.parametrize("key", ["__class__", "keys", "__init__.__globals__"])
def test_a_path_never_reaches_an_attribute(key: str) -> None:
    with pytest.raises(WireError):
        parse_template(f"{{{{{key}}}}}").render({"a": 1})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{{", 0),
        ("{{}}", 0),
        ("{{ }}", 0),
        ("{{a", 0),
        ("{{a}", 0),
        ("{{a b}}", 0),
        ("{{a.}}", 0),
        ("{{.a}}", 0),
        ("{{a..b}}", 0),
        ("{{#if a}}", 0),
        ("fine {{name}} then {{", 19),
        ("{{ok}} {{not ok}}", 7),
    ],
)
def test_braces_that_are_no_variable_break_a_template(text: str, place: int) -> None:
    """clause: TPL-BROKEN"""
    with pytest.raises(WireError) as caught:
        parse_template(text)
    error = caught.value
    assert error.error_type == "InvalidAgent"
    assert error.message == f"the template is broken at character {place}: write {{{{name}}}} or {{{{name.part}}}}"
