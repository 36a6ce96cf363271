"""logfire stays out of a worker that nobody asked for it (PROTOCOL.md, RUN-LOGFIRE)."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from axon_port.worker.imports import wants_logfire
from axon_port.worker.options import Options
from tests.kit import REPOSITORY
from tests.kit.worker import PROGRAM

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("logfire") is None, reason="pydantic-ai is installed here without logfire"
)

CREATE = b'{"type":"create_agent","id":1,"agent_id":"a","model":"test"}'
SECONDS = 120

DEEP_INSIDE = "logfire._internal.utils"
"""Python tells of attempts too; this is only imported where the first has succeeded."""


def imported_by_a_worker(*options: str, **variables: str) -> set[str]:
    """The names of the modules that a worker imported until its end, as Python tells them: parts of packages, too."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGFIRE_")}
    run = subprocess.run(
        [*PROGRAM, *options],
        cwd=REPOSITORY,
        env={**environment, "PYTHONPATH": str(REPOSITORY), "PYTHONPROFILEIMPORTTIME": "1", **variables},
        input=len(CREATE).to_bytes(4, "big") + CREATE,
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert b'"agent_id":"a"' in run.stdout
    told = run.stderr + run.stdout
    return {line.rpartition(b"|")[2].strip().decode() for line in told.splitlines() if b"import time:" in line}


def in_python(program: str, **variables: str) -> None:
    """Runs a program in a fresh interpreter."""
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=SECONDS, check=True)


def test_a_worker_that_nobody_asked_for_it_imports_no_logfire() -> None:
    """clause: RUN-LOGFIRE"""
    modules = imported_by_a_worker()
    assert "pydantic_ai" in modules
    assert DEEP_INSIDE not in modules


def test_a_worker_whose_environment_names_it_imports_logfire() -> None:
    """clause: RUN-LOGFIRE"""
    assert DEEP_INSIDE in imported_by_a_worker(LOGFIRE_SEND_TO_LOGFIRE="false")


def test_whoever_lets_code_in_may_want_it() -> None:
    """clause: RUN-LOGFIRE"""
    assert wants_logfire(Options(allow_import=("tools",)), {})
    assert wants_logfire(Options(), {"LOGFIRE_TOKEN": "x"})
    assert not wants_logfire(Options(), {"OPENAI_API_KEY": "x"})


def test_afterwards_it_can_be_imported_and_nothing_is_left_in_the_environment() -> None:
    in_python("""
import os, sys
from axon_port.worker.imports import without_logfire
before = dict(os.environ)
with without_logfire():
    import pydantic_ai
assert "logfire" not in sys.modules
assert dict(os.environ) == before
import logfire
assert logfire.__version__
""")


def test_who_has_imported_it_or_chosen_plugins_already_keeps_that() -> None:
    in_python("""
import sys, logfire
from axon_port.worker.imports import without_logfire
with without_logfire():
    assert sys.modules["logfire"] is logfire
""")
    in_python(
        """
import os, sys
from axon_port.worker.imports import without_logfire
with without_logfire():
    assert os.environ["PYDANTIC_DISABLE_PLUGINS"] == "another"
    assert "logfire" not in sys.modules
""",
        PYDANTIC_DISABLE_PLUGINS="another",
    )
