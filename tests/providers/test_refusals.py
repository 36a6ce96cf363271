"""The service answers, and says no: statuses, headers and bodies (PROTOCOL.md, ERR-*)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.kit import Frame, Worker, failed, succeeded
from tests.kit.providers import Interface, Provider, html_page

from .scenes import MODELS, Kind, agent_on, end_of

STATUSES = {
    400: False,
    401: False,
    403: False,
    404: False,
    408: True,
    409: True,
    413: False,
    425: True,
    429: True,
    500: True,
    503: True,
    529: True,
}
"""Each status, and whether the same command may succeed later."""


def error_of(worker: Worker, server: Provider, kind: Kind, **fields: Any) -> Frame:
    """The `ModelHTTPError` of a run."""
    return failed(end_of(worker, kind, agent_on(worker, server), **fields), "ModelHTTPError")


def test_each_status_is_told_and_said_to_be_final_or_not(worker: Worker, server: Provider, kind: Kind) -> None:
    """clause: ERR-HTTP, ERR-RETRYABLE, MODEL-RETRY
    fault: G58
    """
    agent = agent_on(worker, server)
    for number, (status, retryable) in enumerate(STATUSES.items(), start=1):
        server.fail(status, message="no, and no again")
        error = failed(end_of(worker, kind, agent), "ModelHTTPError")
        details = error["details"]
        assert (details["status_code"], details["model"]) == (status, MODELS[server.interface])
        assert error["retryable"] is retryable, status
        assert "no, and no again" in str(details["body"])
        assert "no, and no again" in error["message"]
        assert "retry_after_ms" not in error
        assert len(server.requests) == number, "one attempt is made where there is no `retry`"


SOON = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
PAST = "Wed, 21 Oct 2015 07:28:00 GMT"

HEADERS: dict[str, tuple[Mapping[str, str], int, int]] = {
    "seconds": ({"retry-after": "7"}, 7000, 7000),
    "none": ({"retry-after": "0"}, 0, 0),
    "date": ({"retry-after": SOON}, 1, 3_600_000),
    "date of the past": ({"retry-after": PAST}, 0, 0),
}


def test_when_to_come_back_is_told_in_milliseconds(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: ERR-HTTP
    fault: G58
    """
    agent = agent_on(worker, server)
    for status in (429, 503):
        for name, (headers, least, most) in HEADERS.items():
            server.fail(status, headers=headers)
            error = failed(end_of(worker, either, agent), "ModelHTTPError")
            assert least <= error["retry_after_ms"] <= most, (status, name)


def test_a_time_to_come_back_that_is_none_is_left_out(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: ERR-HTTP"""
    server.fail(429, headers={"retry-after": "when the moon is full"})
    assert "retry_after_ms" not in error_of(worker, server, either)


def test_a_page_of_five_megabytes_is_cut(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: ERR-BOUNDS
    fault: G58
    """
    server.fail(502, body=html_page(5_000_000))
    error = error_of(worker, server, either)
    assert error["details"]["status_code"] == 502
    assert "Bad Gateway" in str(error["details"]["body"])
    assert len(str(error)) < 20_000
    assert error["retryable"] is True


def test_a_small_page_is_kept(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: ERR-BOUNDS"""
    server.fail(403, body="<html>blocked by the proxy</html>")
    error = error_of(worker, server, either)
    assert error["details"]["status_code"] == 403
    assert "blocked by the proxy" in str(error["details"]["body"])


def test_a_body_of_any_kind_is_an_error_of_that_status(
    worker: Worker, server: Provider, interface: Interface, either: Kind
) -> None:
    """clause: ERR-HTTP"""
    agent, otherwise = agent_on(worker, server), dict[bytes, str]()
    for body in (b"", b"null", b"[1, 2]", b'"no"', b"17", b'{"error": null}', b'{"error": "no"}', b"\xff\xfe\x00"):
        server.fail(400, body=body)
        error = end_of(worker, either, agent)
        if body == b"\xff\xfe\x00" and interface == "google":
            continue  # its client fails to decode the body before it looks at the status
        if error["error_type"] != "ModelHTTPError" or error["details"]["status_code"] != 400:
            otherwise[body] = error["error_type"]
    assert otherwise == {}


def test_a_large_object_in_the_body_does_not_hide_the_status(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: ERR-BOUNDS"""
    server.fail(400, body={"error": {"message": "no", "padding": ["x" * 1000] * 1000}})
    error = error_of(worker, server, either)
    assert "400" in error["message"]
    assert len(str(error)) < 100_000


def test_a_redirect_is_not_followed(worker: Worker, server: Provider, second: Provider, either: Kind) -> None:
    """clause: MODEL-HTTP"""
    agent = agent_on(worker, server)
    for number, status in enumerate((301, 302, 307, 308), start=1):
        server.fail(status, headers={"location": f"{second.base_url}/chat/completions"})
        assert end_of(worker, either, agent)["type"] == "error"
        assert second.requests == []
        assert len(server.requests) == number


def test_an_error_inside_a_stream_ends_it(worker: Worker, server: Provider) -> None:
    """clause: EVT-ERROR"""
    server.fail(529, after=1, message="too much at once")
    error = worker.collect(worker.start_stream(agent_on(worker, server)))[-1]
    assert error["type"] == "error"
    assert error["error_type"] in {"ModelHTTPError", "ModelConnectionError"}
    assert error["retryable"] is True
    assert "too much at once" in error["message"]


def test_an_answer_that_the_filter_withheld_is_an_error_of_its_own(
    worker: Worker, server: Provider, either: Kind
) -> None:
    """clause: ERR-TYPES"""
    server.say(text="", finish="content_filter")
    error = failed(end_of(worker, either, agent_on(worker, server)), "ContentFilter")
    assert error["retryable"] is False
    assert "body" not in error["message"]


def test_after_a_refusal_the_run_can_be_taken_up_again(worker: Worker, server: Provider, kind: Kind) -> None:
    """clause: RUN-RESUME, EVT-ERROR"""
    server.fail(503)
    server.say(text="now I can")
    agent = agent_on(worker, server)
    error = failed(end_of(worker, kind, agent, "my question"), "ModelHTTPError")
    assert error["usage"]["requests"] in {0, 1}
    answer = succeeded(worker.ask(kind, agent_id=agent, message_history=error["messages"]))
    assert answer["result"] == "now I can"
    assert server.requests[1].json == server.requests[0].json


def test_a_refusal_with_messages_none_has_none(worker: Worker, server: Provider, either: Kind) -> None:
    """clause: EVT-ERROR"""
    server.fail(400)
    error = failed(end_of(worker, either, agent_on(worker, server), messages="none"), "ModelHTTPError")
    assert "messages" not in error
    assert "usage" in error
