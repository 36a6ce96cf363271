"""Producers that wait for room, on real pipes: in order, one after the other, and never for ever."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from axon_port.worker.admission import Admission
from axon_port.worker.outbox import HIGH_BYTES, INLINE_BYTES, LOW_BYTES, Outbox

from .rig import SECONDS, pipe, run_async
from .test_outbox import writing


def test_a_producer_waits_above_the_high_mark_and_goes_on_below_the_low_one() -> None:
    """clause: OUT-MARKS"""
    with pipe() as ends, writing(ends) as (outbox, _):
        admission = Admission(outbox)

        async def main() -> None:
            await admission.room()
            outbox.put(b"x" * (HIGH_BYTES * 2))
            assert not outbox.has_room
            producer = asyncio.create_task(admission.room())
            await asyncio.sleep(0)
            assert not producer.done()
            await asyncio.to_thread(ends.read_payload)
            await producer
            assert outbox.has_room
            assert outbox.waiting_bytes <= LOW_BYTES

        run_async(main)


def test_a_producer_goes_on_where_the_room_came_without_the_writer_s_thread(tmp_path: Path) -> None:
    """Small frames that were gathered leave by the thread that put them. clause: OUT-MARKS"""
    frame = bytes(INLINE_BYTES - 4)

    async def main(outbox: Outbox) -> None:
        admission = Admission(outbox)
        with outbox.gathered():
            for _ in range(HIGH_BYTES // len(frame) + 1):
                outbox.put(frame)
            waiting = asyncio.ensure_future(admission.room())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting

    # A file takes everything at once.
    with (tmp_path / "out").open("wb") as file:
        outbox = Outbox(file.fileno(), lambda: None, lambda: None)
        run_async(lambda: main(outbox))
        outbox.break_off()


def test_a_producer_that_waits_goes_on_when_nobody_reads_any_more() -> None:
    with pipe() as ends, writing(ends) as (outbox, _):
        admission = Admission(outbox)

        async def main() -> None:
            outbox.put(b"x" * (HIGH_BYTES * 2))
            producer = asyncio.create_task(admission.room())
            await asyncio.sleep(0)
            ends.close_read()
            await producer
            await admission.room()

        run_async(main)


def test_a_producer_goes_on_where_the_room_came_while_it_asked() -> None:
    with pipe() as ends, writing(ends) as (outbox, _):
        admission = Admission(outbox)
        when_room = outbox.when_room

        def late(callback: Any) -> None:
            # Between the look at the mark and the entry in the list, the parent reads everything.
            ends.read_payload()
            assert outbox.flush(SECONDS)
            when_room(callback)

        outbox.when_room = late

        async def main() -> None:
            outbox.put(b"x" * (HIGH_BYTES * 2))
            await admission.room()

        run_async(main)


def test_producers_that_waited_go_on_one_after_the_other() -> None:
    """clause: OUT-MARKS"""
    length, count = 2 * 2**20, 40
    with pipe() as ends, writing(ends) as (outbox, _):
        admission = Admission(outbox)
        order: list[int] = []
        most: list[int] = []

        async def produce(number: int) -> None:
            await admission.room()
            await asyncio.sleep(0)  # as a run's task ends before its callback sends
            order.append(number)
            outbox.put(number.to_bytes(4, "big") + b"x" * length)
            most.append(outbox.waiting_bytes)

        async def main() -> None:
            outbox.put(b"x" * (HIGH_BYTES * 2))
            producers = [asyncio.create_task(produce(number)) for number in range(count)]
            await asyncio.sleep(0)
            producers[1].cancel()
            found = await asyncio.to_thread(ends.read_payloads, count)
            await asyncio.gather(*producers, return_exceptions=True)
            assert [int.from_bytes(payload[:4], "big") for payload in found[1:]] == order

        run_async(main)
        assert order == [0, *range(2, count)]
        assert max(most) <= HIGH_BYTES + length + 8


def test_a_producer_whose_loop_has_ended_does_not_hold_the_writer() -> None:
    with pipe() as ends, writing(ends) as (outbox, _):
        admission = Admission(outbox)

        async def main() -> None:
            outbox.put(b"x" * (HIGH_BYTES * 2))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await admission.room()

        run_async(main)
        outbox.put(b"after the loop")
        assert ends.read_payloads(2)[1] == b"after the loop"
        assert outbox.flush(SECONDS)
