"""The exceptions: one tree, a class for each error type."""

from __future__ import annotations

import inspect

import pytest

from axon_port.client import errors
from axon_port.client.errors import AxonPortError, CommandError, WorkerGone, command_error
from axon_port.wire.errors import ERROR_TYPES


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_each_error_type_is_a_class_of_its_name(error_type: str) -> None:
    frame = {"error_type": error_type, "message": "so it is", "retryable": True, "details": [1], "retry_after_ms": 5}
    error = command_error({**frame, "usage": {"requests": 1}, "messages": [], "agent_id": "a"})
    assert type(error).__name__ == error_type
    assert type(error) is getattr(errors, error_type)
    assert (error.error_type, error.message, error.retryable) == (error_type, "so it is", True)
    assert (error.details, error.retry_after_ms, error.agent_id) == ([1], 5, "a")
    assert (error.usage, error.messages) == ({"requests": 1}, [])
    assert str(error) == f"{error_type}: so it is"


def test_an_error_type_of_a_later_version_is_a_plain_command_error() -> None:
    error = command_error({"error_type": "TooTired", "message": "zzz", "retryable": True})
    assert type(error) is CommandError
    assert error.error_type == "TooTired"
    assert error.retryable


def test_everything_is_below_one_class_and_stands_in_the_picture() -> None:
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert all(issubclass(kind, AxonPortError) for kind in classes)
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in classes if kind.__name__ not in errors.__doc__] == []


def test_a_dead_worker_s_error_is_another_one_for_each_caller() -> None:
    error = errors.ProtocolViolation("it said hello", -9)
    again = error.again()
    assert again is not error
    assert (type(again), again.message, again.status) == (errors.ProtocolViolation, "it said hello", -9)


def test_only_a_worker_that_had_started_makes_a_call_worth_trying_again() -> None:
    assert WorkerGone("gone").retryable
    assert not errors.WorkerNotStarted("no such program").retryable
