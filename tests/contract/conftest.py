"""Workers that tests share, each checked after every test and replaced where a test has spoilt it."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Worker

FAILED = pytest.StashKey[bool]()
CONTRACT = Path(__file__).parent


def python_worker_with(*options: str, **how: Any) -> Worker:
    """A worker that may import the fixture package."""
    return Worker("--allow-import", "fixtures_pkg", *options, pythonpath=[CONTRACT], **how)


class SharedWorker:
    """A worker for many tests."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self._worker: Worker | None = None

    def get(self) -> Worker:
        """A running worker, with nothing unread."""
        if self._worker is not None and self._worker.returncode is not None:
            self.discard()
        if self._worker is None:
            self._worker = self._make().__enter__()
        self._worker.forget()
        return self._worker

    def discard(self) -> None:
        """Ends the worker by force."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.kill()
            worker.release()

    def end(self) -> None:
        """Ends the worker in an orderly way, which is a test too."""
        if self._worker is not None:
            self._worker.__exit__(None, None, None)

    def lend(self, request: pytest.FixtureRequest) -> Iterator[Worker]:
        """Lends the worker to a test, after which the invariants must hold and nothing be in flight."""
        worker = self.get()
        yield worker
        if request.node.stash.get(FAILED, False):
            self.discard()
            return
        try:
            worker.check()
            inflight = worker.ask("ping")["result"]["inflight"]
            assert inflight == 0, f"{inflight} runs are left in flight"
        except BaseException:
            self.discard()
            raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the conversation of a test that has failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Worker):
                report.sections.append(("conversation", value.describe()))
    return report


@pytest.fixture(scope="session")
def shared_worker() -> Iterator[SharedWorker]:
    """Holds the worker with default options."""
    shared = SharedWorker(Worker)
    yield shared
    shared.end()


@pytest.fixture(scope="session")
def shared_python_worker() -> Iterator[SharedWorker]:
    """Holds the worker that may import the fixture package."""
    shared = SharedWorker(python_worker_with)
    yield shared
    shared.end()


@pytest.fixture
def worker(shared_worker: SharedWorker, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker with default options."""
    yield from shared_worker.lend(request)


@pytest.fixture
def python_worker(shared_python_worker: SharedWorker, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker that may import the fixture package."""
    yield from shared_python_worker.lend(request)
