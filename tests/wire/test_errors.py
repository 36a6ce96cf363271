"""The table of errors: each type, whether it is retryable, and what the texts say."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from axon_port.wire import errors
from axon_port.wire.errors import ERROR_TYPES, ErrorType, WireError, invalid_command, invalid_fields, retryable_status

RETRYABLE: dict[ErrorType, bool] = {
    "FrameTooLarge": False,
    "InvalidJSON": False,
    "TruncatedFrame": False,
    "InvalidCommand": False,
    "UnknownCommand": False,
    "DuplicateId": False,
    "UnknownToolCall": False,
    "Overloaded": True,
    "ShuttingDown": True,
    "AgentNotFound": False,
    "AgentExists": False,
    "InvalidAgent": False,
    "ImportNotAllowed": False,
    "CapabilityNotAllowed": False,
    "InvalidHistory": False,
    "InvalidDeps": False,
    "ModelHTTPError": False,
    "ModelConnectionError": True,
    "ModelTimeout": True,
    "UnexpectedModelBehavior": False,
    "ContentFilter": False,
    "ValidationError": False,
    "UsageLimitExceeded": False,
    "ToolError": False,
    "ToolRetriesExceeded": False,
    "Timeout": True,
    "Cancelled": False,
    "ParentGone": False,
    "ResultTooLarge": False,
    "InternalError": False,
}


class Fields(BaseModel):
    """A stand-in for a command."""

    model_config = ConfigDict(strict=True, extra="forbid")

    number: int = 0
    inner: dict[str, int] = {}


def fields_error(value: object, *prefix: str | int) -> WireError:
    with pytest.raises(ValidationError) as caught:
        Fields.model_validate(value)
    return invalid_fields(caught.value, prefix=prefix)


def test_the_table_holds_every_error_type_of_the_protocol_and_no_other() -> None:
    """clause: ERR-TYPES"""
    assert set(ERROR_TYPES) == set(RETRYABLE)
    assert len(ERROR_TYPES) == len(set(ERROR_TYPES))


@pytest.mark.parametrize(("error_type", "retryable"), RETRYABLE.items())
def test_each_error_type_says_whether_it_is_retryable(error_type: ErrorType, retryable: bool) -> None:
    """clause: ERR-RETRYABLE"""
    error = WireError(error_type, "why")
    assert error.retryable is retryable
    assert (error.error_type, error.message, str(error)) == (error_type, "why", "why")
    assert error.details is None
    assert error.retry_after_ms is None


def test_one_error_can_say_otherwise() -> None:
    error = WireError("ModelHTTPError", "busy", details={"status_code": 429}, retryable=True, retry_after_ms=1500)
    assert error.retryable
    assert (error.details, error.retry_after_ms) == ({"status_code": 429}, 1500)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529, 599])
def test_a_status_that_may_pass_is_retryable(status: int) -> None:
    """clause: ERR-HTTP"""
    assert retryable_status(status)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 410, 413, 422, 424, 426, 451, 499, 600])
def test_a_status_that_stays_is_not_retryable(status: int) -> None:
    """clause: ERR-HTTP"""
    assert not retryable_status(status)


@pytest.mark.parametrize(
    ("loc", "text"),
    [(["model"], "model: is wrong"), (["tools", 0, "name"], "tools.0.name: is wrong"), ([], "is wrong")],
)
def test_the_message_of_a_wrong_field_names_its_place(loc: list[str | int], text: str) -> None:
    error = invalid_command(loc, "is wrong")
    assert (error.error_type, error.message) == ("InvalidCommand", text)
    assert error.details == [{"loc": loc, "msg": "is wrong", "type": "value_error"}]


def test_each_wrong_field_is_told_and_its_value_is_not() -> None:
    """clause: ENV-FIELDS, ENV-NO-ECHO"""
    error = fields_error({"number": "sk-secret", "inner": {"a": "sk-secret"}, "other": "sk-secret"})
    assert error.message == "number: Input should be a valid integer"
    assert error.details == [
        {"loc": ["number"], "msg": "Input should be a valid integer", "type": "int_type"},
        {"loc": ["inner", "a"], "msg": "Input should be a valid integer", "type": "int_type"},
        {"loc": ["other"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"},
    ]
    assert "secret" not in f"{error} {error.details}"


def test_a_prefix_says_where_the_fields_stand() -> None:
    error = fields_error({"number": None}, "model_settings")
    assert error.details[0]["loc"] == ["model_settings", "number"]
    assert error.message.startswith("model_settings.number: ")


def test_no_more_faults_are_told_than_anybody_reads() -> None:
    error = fields_error({f"unknown_{number}": 1 for number in range(1000)})
    assert len(error.details) == errors.MAX_REPORTED_FAULTS


def test_a_key_of_the_parent_is_told_shortened() -> None:
    error = fields_error({"k" * 100_000: 1})
    assert error.details[0]["loc"] == ["k" * errors.MAX_LOC_TEXT]
    assert len(error.message) < 1000


@pytest.mark.parametrize("name", ["~", "~x", "~text", "tilde~"])
def test_a_key_of_the_parent_is_told_whatever_it_is_called(name: str) -> None:
    assert fields_error({name: 1}).details[0]["loc"] == [name]
