"""The Elixir client, held to its own gates: format, warnings, and its tests, which start workers of this checkout."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.beam.programs import environment, needed
from tests.kit import REPOSITORY

PROJECT = REPOSITORY / "examples" / "elixir"
TIMEOUT = 600.0
"""Its tests take below a minute on two quiet cores; this is for a machine that has other things to do."""

WITHOUT_A_CODEC = """
:code.del_path(:jiffy)

if AxonPort.Codec.available() == [] do
  told =
    try do
      AxonPort.Supervisor.start_link(name: Without)
    rescue
      error in RuntimeError -> error.message
    end

  true = told =~ "extra_applications"
  {:error, checks} = AxonPort.PythonEnv.check()
  %{status: :failed, advice: advice} = Enum.find(checks, &(&1.name == :codec))
  true = told =~ advice
end
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: mix writes beside the sources."""
    copy = tmp_path_factory.mktemp("mix") / "elixir"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns("_build", "deps", "__pycache__"))
    return copy


def mix(project: Path, *arguments: str) -> None:
    """A task of mix, which has to succeed. It finds the worker by its interpreter, and needs no network."""
    env = environment(
        AXON_PORT_PYTHON=sys.executable,
        MIX_ENV="test",
        MIX_HOME=str(project / ".mix"),
        LC_ALL="C.UTF-8",
        ERL_CRASH_DUMP_SECONDS="0",
    )
    done = subprocess.run(
        [needed("mix"), *arguments],
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")


def test_the_client_is_formatted(project: Path) -> None:
    mix(project, "format", "--check-formatted")


def test_the_client_compiles_without_a_warning(project: Path) -> None:
    mix(project, "compile", "--warnings-as-errors")


def test_a_node_without_a_codec_is_told_before_it_needs_one(project: Path) -> None:
    """As in a release that names none. Newer nodes always have one."""
    mix(project, "run", "--no-start", "-e", WITHOUT_A_CODEC)


def test_the_client_passes_its_tests(project: Path) -> None:
    mix(project, "test", "--warnings-as-errors")
