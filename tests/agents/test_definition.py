"""An agent of a parent's fields, by data or refined from an imported one."""

from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RunUsage

from axon_port.agents.allow import Allowed
from axon_port.agents.definition import AgentDefinition, Workshop, build_agent, usage_limits
from axon_port.agents.recordings import Recordings
from axon_port.agents.settings import check_model_settings
from axon_port.wire import commands
from axon_port.wire.commands import parse_command
from axon_port.wire.errors import WireError
from tests.agents import functions

HERE = "tests.agents.functions"


def workshop(folder: Path | None = None) -> Workshop:
    allowed = Allowed((HERE,), recordings=folder)
    return Workshop(allowed, Recordings(allowed, lambda value: value))


def built(**fields: Any) -> AgentDefinition:
    command = cast(commands.CreateAgent, parse_command({"type": "create_agent", "id": 1, "agent_id": "a", **fields}))
    shop = workshop()
    return build_agent(command, shop, shop.models.lease())


UNUSABLE: list[tuple[str, Any]] = [
    ("extra_body", 5),
    ("extra_headers", {"X-\n": "1"}),
    ("extra_headers", {"X": "1\r\n"}),
    ("extra_headers", {"X": "\u00fc"}),
    ("timeout", -1),
    ("timeout", 0),
]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_a_setting_that_no_request_can_be_made_with_is_refused(name: str, value: Any) -> None:
    """clause: MODEL-SETTINGS"""
    with pytest.raises(WireError) as caught:
        check_model_settings({name: value})
    assert caught.value.error_type == "InvalidCommand"
    assert caught.value.details[0]["loc"] == ["model_settings", name]


def test_settings_that_can_be_used_are_taken() -> None:
    check_model_settings({"extra_body": {"seed": 1}, "extra_headers": {"X-Tenant": "a b"}, "timeout": 0.5})


@pytest.mark.parametrize("retries", [0, 2, None])
def test_a_clients_own_retries_are_refused(retries: Any) -> None:
    """clause: MODEL-SETTINGS"""
    with pytest.raises(WireError, match="use `retry`") as caught:
        check_model_settings({"temperature": 0.5, "max_retries": retries})
    assert caught.value.error_type == "InvalidCommand"
    assert caught.value.details[0]["loc"] == ["model_settings", "max_retries"]


def test_a_setting_of_the_wrong_type_is_named_and_an_unknown_one_passed_on() -> None:
    """clause: MODEL-SETTINGS"""
    check_model_settings({"temperature": 0.5, "frobnication": 3})
    with pytest.raises(WireError) as caught:
        check_model_settings({"temperature": "hot"})
    assert caught.value.details[0]["loc"] == ["model_settings", "temperature"]


def test_an_imported_agent_is_refined_in_a_copy() -> None:
    """clause: AGENT-REFINE"""
    before = functions.desk.end_strategy
    late = built(module=f"{HERE}:desk", end_strategy="exhaustive")
    assert late.agent.end_strategy == "exhaustive"
    assert functions.desk.end_strategy == before != "exhaustive"
    assert built(module=f"{HERE}:desk").agent.end_strategy == before


def test_a_model_that_an_imported_agent_only_names_is_made() -> None:
    """clause: CMD-MODULE"""
    made = built(module=f"{HERE}:desk")
    (model,) = made.model.sources
    assert isinstance(model, TestModel)
    assert made.label == f"module:{HERE}:desk"


def test_a_recording_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """clause: RECORDING-ALLOWED"""
    shop = workshop(tmp_path / "gone")
    with pytest.raises(WireError, match="'answers' cannot be written: No such file or directory") as caught:
        shop.recordings.open("answers")
    assert caught.value.error_type == "InvalidAgent"


def test_what_costs_as_much_as_it_may_is_within_the_limit() -> None:
    """clause: RUN-LIMITS"""
    limits = usage_limits(commands.UsageLimits(cost_limit=0.3), commands.UsageLimits(request_limit=None))
    assert (limits.cost_limit, limits.request_limit) == (Decimal("0.3"), None)
    limits.check_cost(RunUsage(cost=Decimal("0.3")))
    assert usage_limits(commands.UsageLimits(cost_limit=0.3), commands.UsageLimits(cost_limit=None)).cost_limit is None
