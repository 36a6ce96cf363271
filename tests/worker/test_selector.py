"""When the loop looks at its descriptors."""

import asyncio
import os
import selectors

import pytest

from axon_port.worker import selector as selectors_of_ours
from axon_port.worker import serve
from axon_port.worker.selector import LOOK_SECONDS, Selector


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[Selector, Clock, int]:
    """A selector of a pipe with something to read, a clock, and the descriptor."""
    clock = Clock()
    monkeypatch.setattr(selectors_of_ours, "time", clock)
    read_end, write_end = os.pipe()
    os.write(write_end, b"x")
    selector = Selector()
    selector.register(read_end, selectors.EVENT_READ)
    return selector, clock, read_end


def found(selector: Selector, timeout: float | None) -> list[int]:
    return [key.fd for key, _ in selector.select(timeout)]


def test_who_has_something_else_to_do_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    selector, clock, fd = watched(monkeypatch)
    assert found(selector, 0) == [fd]
    assert found(selector, 0) == []
    clock.now += LOOK_SECONDS
    assert found(selector, 0) == [fd]
    assert found(selector, -1) == []


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_who_has_nothing_else_to_do_looks_at_once(monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    selector, _, fd = watched(monkeypatch)
    assert found(selector, 0) == [fd]
    assert found(selector, timeout) == [fd]
    assert found(selector, 0) == []


def test_a_loop_that_is_always_busy_still_hears() -> None:
    heard = asyncio.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        loop.add_reader(read_end, heard.set)
        os.write(write_end, b"x")
        while not heard.is_set():  # noqa: ASYNC110  the loop is not to be idle
            await asyncio.sleep(0)
        loop.remove_reader(read_end)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Selector())) as runner:
        runner.run(asyncio.wait_for(main(), 30))


def test_the_loop_of_the_worker_is_its_threads_also_where_none_runs() -> None:
    loop = serve._new_loop(lambda: None)  # pyright: ignore[reportPrivateUsage]
    try:
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
