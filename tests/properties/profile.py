"""How all properties are run: the same every time, and bounded."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def bounded(examples: int, **more: Any) -> settings:
    """Deterministic, without a deadline for one example, without a database."""
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    return settings(
        derandomize=True, max_examples=examples, deadline=None, database=None, suppress_health_check=checks, **more
    )


SURROGATES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"])
ANY_TEXT = st.text(st.one_of(st.characters(), SURROGATES), max_size=20)
"""Any text that a Python program can hold, lone surrogates included."""

UNICODE = st.text(max_size=20)

INTEGERS = st.one_of(
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**400]),
)
ESCAPED = st.characters(max_codepoint=0x1F)
"""Characters that take up to six bytes as JSON."""

ESCAPED_OR_NOT = st.one_of(ESCAPED, st.characters(exclude_categories=["Cs"]))


def _repeated(text: str, times: int) -> str:
    return (text * times)[:256]


LONG_IDS = st.builds(_repeated, st.text(ESCAPED_OR_NOT, min_size=1, max_size=8), st.integers(1, 256))
"""Legal ids, most of them long."""

IDS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(min_size=1, max_size=256))


def json_values(text: st.SearchStrategy[str], floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """JSON values with these texts and decimals."""
    leaves = st.one_of(st.none(), st.booleans(), INTEGERS, floats, text)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(text, inner, max_size=5)),
        max_leaves=20,
    )
