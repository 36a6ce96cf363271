"""The calls of one run that wait on the parent, from the frame that asks to the answer or the `tool_cancel`
(PROTOCOL.md, CALL-*)."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from axon_port.agents.host import Answer, ArgumentsCheck, Broken, Call, Decision
from axon_port.wire import codec
from axon_port.wire.errors import WireError
from axon_port.worker.calls import Waiting, Wanted
from axon_port.worker.exchanges import Exchange
from axon_port.worker.services import RunServices
from axon_port.worker.spans import Asked, RunSpans

CancelReason = Literal["cancelled", "timeout", "finished"]

BROKEN_SECONDS: Final = 0.1
"""How long the place of a call that ends its run stays taken. The run is torn down meanwhile, and asks nothing more."""


class OpenCalls:
    """Asks the parent, at most `max_tool_calls` tools at a time, and tells it of every call that nobody waits for."""

    def __init__(self, exchange: Exchange, agent_id: str, services: RunServices, spans: RunSpans) -> None:
        self._exchange = exchange
        self._agent_id = agent_id
        self._services = services
        self._spans = spans
        self._open: dict[str, Waiting] = {}
        self._slots = asyncio.Semaphore(services.max_tool_calls)
        self._parent_gone = False
        self._over = False

    def __bool__(self) -> bool:
        """Whether anything still waits on the parent. What it has answered may not have been taken up yet."""
        return any(not waiting.answered.done() for waiting in self._open.values())

    def parent_gone(self) -> None:
        """Nothing that is asked from now on can be answered."""
        self._parent_gone = True

    def new_call_id(self) -> str:
        """A number for a call of this run, whoever answers it."""
        return self._services.calls.new_call_id(self._exchange.id)

    async def tool(self, call: Call) -> Answer:
        """Have the parent run a tool. Raises `TimeoutError` when `call.timeout` passed, `WireError` as `_ask` does."""
        with self._spans.asking("tool_call", call) as asked:
            await self._slots.acquire()
            broken = False
            try:
                answer = await self._ask(call, "tool_result", asked, timeout=call.timeout)
                broken = isinstance(answer, Broken)
                return answer
            finally:
                if broken:
                    asyncio.get_running_loop().call_later(BROKEN_SECONDS, self._slots.release)
                else:
                    self._slots.release()

    async def approval(self, call: Call, faults: ArgumentsCheck) -> Decision:
        """Have somebody decide on a call. Raises `WireError` as `_ask` does."""
        with self._spans.asking("approval_request", call) as asked:
            return await self._ask(call, "approval", asked, faults=faults)

    def cancel_all(self) -> None:
        """The run was ended: nothing that it asked is waited for, and it asks nothing more."""
        self._over = True
        self._cancel_open("cancelled")

    def close(self) -> None:
        """The run has ended."""
        self._over = True
        self._cancel_open("finished")
        self._services.calls.end(self._exchange.id)

    def _cancel_open(self, reason: CancelReason) -> None:
        for waiting in list(self._open.values()):
            self._cancel(waiting, reason)

    async def _ask(
        self,
        call: Call,
        wanted: Wanted,
        asked: Asked,
        *,
        timeout: float | None = None,
        faults: ArgumentsCheck | None = None,
    ) -> Any:
        """Raises `WireError` `ResultTooLarge` for a call that no frame holds, `ParentGone` after the end of input."""
        payload = self._payload(call, wanted, asked, timeout)
        await self._services.admission.room()
        if self._parent_gone:
            raise parent_gone()
        if self._over:
            # Its task is cancelled, or was left behind: somebody's code may wait here for as long as it likes.
            await asyncio.get_running_loop().create_future()
        waiting = self._services.calls.wait_for(self._exchange.id, call.call_id, wanted, faults)
        try:
            self._exchange.send(payload)
            # From now on it has to be cancelled. Whoever answers waits for the loop.
            self._open[call.call_id] = waiting
            asked.sent()
            # The answer may take days, and the call be long.
            del payload
            await asyncio.wait([waiting.answered], timeout=timeout)
            if not waiting.answered.done():
                self._cancel(waiting, "timeout")
                raise TimeoutError
            return asked.answered(waiting.answered.result())
        finally:
            # Still open only where the run was torn down around the call; `cancel_all` has done so otherwise.
            if not waiting.answered.done():
                self._cancel(waiting, "finished")
            self._forget(waiting)

    def _payload(self, call: Call, wanted: Wanted, asked: Asked, timeout: float | None) -> bytes:
        frame: dict[str, Any] = {
            "type": "tool_call" if wanted == "tool_result" else "approval_request",
            "id": self._exchange.id,
            "call_id": call.call_id,
            "agent_id": self._agent_id,
            "name": call.name,
            "args": call.args,
            **asked.fields,
        }
        if timeout is not None:
            frame["timeout_ms"] = round(timeout * 1000)
        # Redacted before it is measured: what stands for a short key is longer than the key.
        payload = self._exchange.keys.payload(codec.encode(frame))
        limit = self._services.max_frame_bytes
        if len(payload) > limit:
            message = (
                f"a call of tool {call.name[:256]!r} takes {len(payload)} bytes, a frame at most {limit}: raise "
                "--max-frame-bytes"
            )
            raise WireError("ResultTooLarge", message, details={"length": len(payload), "max_frame_bytes": limit})
        return payload

    def _cancel(self, waiting: Waiting, reason: CancelReason) -> None:
        """Tell the parent that nobody waits for this call any more; once, and not where it has answered."""
        if self._forget(waiting) and not waiting.answered.done():
            frame = {"type": "tool_cancel", "id": self._exchange.id, "call_id": waiting.call_id, "reason": reason}
            self._exchange.send(codec.encode(frame))

    def _forget(self, waiting: Waiting) -> bool:
        self._services.calls.forget(waiting)
        return self._open.pop(waiting.call_id, None) is not None


def parent_gone() -> WireError:
    """The error of what only the parent could have answered."""
    return WireError("ParentGone", "the input has ended: the parent cannot answer this run's tool calls any more")
