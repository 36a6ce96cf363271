"""The connections behind agents: shared, and closed when nobody needs them (PROTOCOL.md, MODEL-HTTP)."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.kit import Worker, succeeded
from tests.kit.providers import Interface, Provider

from .scenes import FEW_TOKENS, agent_on, endpoint

PATIENCE_S = 30.0


class Counting(Provider):
    """A service that knows how many connections are open."""

    def __init__(self, interface: Interface) -> None:
        self._count = threading.Condition()
        self._open = 0
        self.begun = 0
        """How many there were."""
        super().__init__(interface)

    def connection_begins(self, connection: socket.socket) -> None:
        super().connection_begins(connection)
        with self._count:
            self._open += 1
            self.begun += 1

    def connection_is_over(self, connection: socket.socket) -> None:
        super().connection_is_over(connection)
        with self._count:
            self._open -= 1
            self._count.notify_all()

    @property
    def open(self) -> int:
        """How many are open now."""
        with self._count:
            return self._open

    def wait_all_closed(self) -> None:
        """Returns as soon as no connection is open."""
        with self._count:
            assert self._count.wait_for(lambda: self._open == 0, PATIENCE_S), f"{self._open} are still open"


@pytest.fixture
def counting(worker: Worker, interface: Interface) -> Iterator[Counting]:
    """A service of this interface."""
    with Counting(interface) as provider:
        yield provider


def test_runs_of_one_endpoint_share_a_connection(worker: Worker, counting: Counting) -> None:
    """clause: MODEL-HTTP"""
    counting.say(times=6)
    for _ in range(2):
        agent = agent_on(worker, counting)
        for _ in range(3):
            succeeded(worker.run(agent))
    assert counting.begun == 1


def test_the_connections_of_a_deleted_agent_are_closed(worker: Worker, counting: Counting) -> None:
    """clause: AGENT-DELETE"""
    counting.say()
    agent = agent_on(worker, counting)
    succeeded(worker.run(agent))
    assert counting.open == 1
    succeeded(worker.ask("delete_agent", agent_id=agent))
    counting.wait_all_closed()


def test_the_connections_of_a_replaced_agent_are_closed(worker: Worker, counting: Counting) -> None:
    """clause: AGENT-EXISTS"""
    counting.say()
    agent = agent_on(worker, counting)
    succeeded(worker.run(agent))
    script = {"script": [{"text": "hi"}]}
    succeeded(worker.ask("create_agent", agent_id=agent, model=script, replace=True))
    counting.wait_all_closed()
    assert succeeded(worker.run(agent))["result"] == "hi"


def test_a_run_under_way_keeps_its_connection_when_its_agent_is_deleted(worker: Worker, counting: Counting) -> None:
    """clause: AGENT-DELETE"""
    counting.stall(before="headers", text="still here")
    agent = agent_on(worker, counting)
    run = worker.start_run(agent)
    counting.wait_for_request().wait_stalled()
    succeeded(worker.ask("delete_agent", agent_id=agent))
    counting.release()
    assert succeeded(worker.terminal(run))["result"] == "still here"
    counting.wait_all_closed()


def test_the_connections_of_a_model_for_one_run_are_closed(worker: Worker, counting: Counting) -> None:
    """clause: MODEL-HTTP"""
    counting.say()
    agent = worker.agent([{"text": "hi"}])
    succeeded(worker.run(agent, model=endpoint(counting), model_settings=FEW_TOKENS))
    counting.wait_all_closed()
    assert counting.begun == 1


def test_an_agent_that_is_deleted_leaves_the_connection_to_another_of_its_endpoint(
    worker: Worker, counting: Counting
) -> None:
    """clause: AGENT-DELETE"""
    counting.say(text="still here", times=2)
    first, second = agent_on(worker, counting), agent_on(worker, counting)
    succeeded(worker.run(first))
    succeeded(worker.ask("delete_agent", agent_id=first))
    assert succeeded(worker.run(second))["result"] == "still here"


def test_the_end_of_the_worker_closes_all_connections(interface: Interface) -> None:
    """clause: LIFE-EOF"""
    with Counting(interface) as counting:
        with Worker() as worker:
            counting.say()
            succeeded(worker.run(agent_on(worker, counting)))
            assert counting.open == 1
        counting.wait_all_closed()
