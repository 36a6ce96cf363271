"""gRPC beside the BEAM: a grpc.aio server, and its asyncio client."""
# grpcio is there with the extra `bench` only.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportMissingModuleSource=false, reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, Final

import orjson

from tests.bench import scenes
from tests.bench.driver import Event
from tests.bench.peers.base import ALL_OPS, Served
from tests.bench.task import Op, PeerFailed

SERVICE: Final = "bench.Agents"

_LONGEST: Final = 64 << 20
OPTIONS: Final = [("grpc.max_receive_message_length", _LONGEST), ("grpc.max_send_message_length", _LONGEST)]


class RpcConnection:
    """One channel; its calls are tasks of an event loop that turns while the driver waits."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._found: list[Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._requests: dict[tuple[Op, int], bytes] = {}
        self._failure: BaseException | None = None
        self._something: asyncio.Event | None = None
        self._loop.run_until_complete(self._open(address))

    async def _open(self, address: str) -> None:
        import grpc.aio

        self._something = asyncio.Event()
        self._channel: Any = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._ping: Any = self._channel.unary_unary(f"/{SERVICE}/Ping")
        self._run: Any = self._channel.unary_unary(f"/{SERVICE}/Run")
        self._stream: Any = self._channel.unary_stream(f"/{SERVICE}/Stream")
        self._converse: Any = self._channel.stream_stream(f"/{SERVICE}/Converse")

    def close(self) -> None:
        self._loop.run_until_complete(self._channel.close())
        self._loop.close()

    def prepare(self, op: Op, size: int) -> None:
        question: dict[str, Any] = {"op": op, "size": size, "prompt": scenes.prompt(op, size)}
        if op == "history":
            question["history"] = scenes.history(size)
        self._requests[op, size] = orjson.dumps({} if op == "ping" else question)

    def send(self, number: int, op: Op, size: int) -> None:
        request = self._requests[op, size]
        match op:
            case "ping":
                work = self._asked(number, self._ping, request)
            case "stream":
                work = self._streamed(number, request)
            case "tool":
                work = self._conversed(number, request)
            case _:
                work = self._asked(number, self._run, request)
        self._begin(work)

    def answer(self, event: Event) -> None:
        self._answers.pop(event.id).set_result(orjson.dumps({"result": scenes.TOOL_RESULT}))

    def events(self) -> list[Event]:
        self._loop.run_until_complete(self._heard())
        if self._failure is not None:
            raise PeerFailed(str(self._failure)) from self._failure
        found, self._found = self._found, []
        return found

    async def _heard(self) -> None:
        assert self._something is not None
        await self._something.wait()
        self._something.clear()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure
            self._wake()

    def _tell(self, event: Event) -> None:
        self._found.append(event)
        self._wake()

    def _wake(self) -> None:
        assert self._something is not None
        self._something.set()

    async def _asked(self, number: int, method: Any, request: bytes) -> None:
        orjson.loads(await method(request))
        self._tell(Event("done", number))

    async def _streamed(self, number: int, request: bytes) -> None:
        async for message in self._stream(request):
            assert "delta" in orjson.loads(message)
            self._tell(Event("delta", number))
        self._tell(Event("done", number))

    async def _conversed(self, number: int, request: bytes) -> None:
        call = self._converse()
        await call.write(request)
        async for message in call:
            if "call" in orjson.loads(message):
                answered = self._answers[number] = self._loop.create_future()
                self._tell(Event("call", number))
                await call.write(await answered)
        self._tell(Event("done", number))


class Rpc(Served[RpcConnection]):
    name: ClassVar[str] = "grpc"
    title: ClassVar[str] = "grpc.aio"
    ops: ClassVar[frozenset[Op]] = ALL_OPS
    needs: ClassVar[tuple[str, ...]] = ("grpc",)

    def start(self) -> None:
        process = self.spawn_python("rpc.py")
        assert process.stdout is not None
        self.connection = RpcConnection(f"127.0.0.1:{int(process.stdout.readline())}")

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        super().stop()
