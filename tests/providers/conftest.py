"""One worker for all tests, since importing the clients takes seconds, and a loopback service for each test."""

from collections.abc import Iterator

import pytest

from tests.kit import Worker
from tests.kit.providers import INTERFACES, Interface, Provider

from .scenes import KINDS, Kind


class Shared:
    """A worker for many tests; one that breaks the contract is replaced."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def lend(self) -> Iterator[Worker]:
        """Lends the worker, after which the invariants must hold and nothing be in flight."""
        if self._worker is None or self._worker.returncode is not None:
            self._worker = Worker().__enter__()
        worker = self._worker
        worker.forget()
        yield worker
        try:
            worker.check()
            inflight = worker.ask("ping")["result"]["inflight"]
            assert inflight == 0, f"{inflight} runs are left in flight"
        except BaseException:
            self._worker = None
            worker.kill()
            worker.release()
            raise

    def end(self) -> None:
        """Ends the worker in an orderly way, which is a test too."""
        if self._worker is not None:
            self._worker.__exit__(None, None, None)


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    """Holds the worker."""
    held = Shared()
    yield held
    held.end()


@pytest.fixture
def worker(shared: Shared) -> Iterator[Worker]:
    """A worker with default options, and no key in its environment."""
    yield from shared.lend()


@pytest.fixture(params=INTERFACES)
def interface(request: pytest.FixtureRequest) -> Interface:
    """Each of the four interfaces."""
    return request.param


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Both ways of running an agent."""
    return request.param


@pytest.fixture
def either(interface: Interface) -> Kind:
    """One of the two ways, where it matters little: each of them on half of the interfaces."""
    return "stream" if interface in {"openai_responses", "google"} else "run"


@pytest.fixture
def server(worker: Worker, interface: Interface) -> Iterator[Provider]:
    """A service of this interface, from which everything that was queued has to be asked for."""
    with Provider(interface, api_key="sk-beside-the-base-url-0001") as provider:
        yield provider
        provider.assert_drained()


@pytest.fixture
def second(worker: Worker) -> Iterator[Provider]:
    """A service of another kind, for lists of models."""
    with Provider("openai_chat", api_key="sk-of-the-second-one-0002") as provider:
        yield provider
        provider.assert_drained()
