"""A worker process and its parent in one object: the test kit's centre.

    with Worker() as worker:
        agent = worker.agent([{"text": "hello"}])
        assert succeeded(worker.run(agent))["result"] == "hello"

Everything sent and received is in `worker.log`. Leaving the block is a test of its own: the input is closed,
the worker has to end in an orderly way, and the whole conversation has to keep the invariants of
`invariants.Envelope`. A test that means something else ends the worker itself (`wait_exit`, `kill`) or says
`at_exit="kill"`. Every wait ends with the event, with `WorkerGone` when the worker's output has ended, or
with `TimeoutError`; both show the end of the conversation.

One thread may use a `Worker` at a time.
"""

import itertools
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar

from . import launch
from .channels import Channel, Ends, Pump, end_input, open_channel
from .frames import Decoder, Frame, NotAFrame, encode, loads
from .inbox import ANY, Inbox
from .invariants import TERMINAL, Envelope
from .processes import kill, processes_with, wait_for_end

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "axon_port")
TIMEOUT = 30.0
SHOWN_ENTRIES = 12
MARK = "KIT_WORKER"
SECRETS = ("_API_KEY", "_TOKEN", "_SECRET")

T = TypeVar("T")
Wanted = str | Callable[[Frame], bool] | None


class WorkerGone(AssertionError):
    """The worker's output ended before what was waited for came."""


class Entry(NamedTuple):
    """One line of the conversation as the parent saw it."""

    direction: Literal["sent", "received"]
    frame: Frame


class Worker:
    """One worker process, from its start to its end."""

    def __init__(
        self,
        *options: str,
        stdin: Channel = "pipe",
        stdout: Channel | Literal["stdin"] = "pipe",
        stderr: Channel | Literal["stdout"] = "pipe",
        nouse_stdio: bool | Literal["variable"] = False,
        env: Mapping[str, str | None] | None = None,
        pythonpath: Sequence[Path] = (),
        cwd: Path = REPOSITORY,
        at_exit: Literal["eof", "kill"] = "eof",
        timeout: float = TIMEOUT,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """Says how to start the worker; entering the block starts it.

        With `nouse_stdio` the option (or its variable) is given and the channels named stdin and stdout stand
        on descriptors 3 and 4; 0 is then /dev/null, and whatever is written to 1 is found in `stray`.
        `stdout="stdin"` puts one socket or terminal on both. An `env` value of None removes the variable;
        provider keys and AXON_PORT_ variables of our own environment never get through.
        """
        self._command = [*program, *options, *(["--nouse-stdio"] if nouse_stdio is True else [])]
        self._channels = (stdin, stdout, stderr)
        self._nouse_stdio = nouse_stdio is not False
        self._mark = f"{MARK}={uuid.uuid4()}"
        switch = {"AXON_PORT_NOUSE_STDIO": "1"} if nouse_stdio == "variable" else {}
        self._env = scrubbed_environment({**switch, **(env or {})}, pythonpath, self._mark)
        self._cwd = cwd
        self._at_exit = at_exit
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._inbox = Inbox()
        self._decoder = Decoder()
        self._sent_bytes = Decoder()
        self._envelope = Envelope()
        self._broken: NotAFrame | None = None
        self._ended = True
        self._listening = True
        self._stderr = bytearray()
        self._stray = bytearray()
        self._input: int | None = None
        self._output: int | None = None
        self._shared = stdout == "stdin"
        self.log: list[Entry] = []
        """The whole conversation."""
        self.longest_frame = 0
        """The bytes of the longest payload received so far."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._end_and_check()
        except BaseException as problem:
            self._explain(problem)
            raise
        finally:
            if error is not None:
                self._explain(error)
            self.kill()
            self.release()

    # ---------------------------------------------------------------- its process

    def start(self) -> None:
        """Starts the process; returns without waiting for `ready`."""
        stdin, stdout, stderr = self._channels
        if isinstance(stdin, Path):
            self._note_raw(stdin.read_bytes())
            self._envelope.input_closed()
        into = open_channel(stdin, towards_worker=True)
        out = into if stdout == "stdin" else open_channel(stdout, towards_worker=False)
        error = out if stderr == "stdout" else open_channel(stderr, towards_worker=False)
        stray = open_channel("pipe", towards_worker=False) if self._nouse_stdio else None
        self._process = self._spawn(into, out, error, stray)
        for ends in {id(ends): ends for ends in (into, out, error, stray) if ends is not None}.values():
            ends.close_worker_end()
        self._input, self._output = into.parent, out.parent
        if self._input is not None:
            os.set_blocking(self._input, False)
        self._error = None if error is out else error.parent
        self._stray_end = stray.parent if stray is not None else None
        self._ended = self._output is None
        sinks = {
            self._output: self._take_frames,
            self._error: self._take_stderr,
            self._stray_end: self._take_stray,
        }
        self._pump = Pump({descriptor: sink for descriptor, sink in sinks.items() if descriptor is not None})
        self._pump.start()

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def stderr(self) -> str:
        """What has come on stderr so far."""
        return self._stderr.decode("utf-8", "replace")

    @property
    def stray(self) -> bytes:
        """What has come on descriptor 1 of a worker whose frames are on 3 and 4."""
        return bytes(self._stray)

    def wait_exit(self, timeout: float | None = None) -> int:
        """The exit status, when the process has ended and all its output has been read."""
        seconds = self._seconds(timeout)
        if not wait_for_end(self.pid, seconds):
            raise TimeoutError(f"the worker has not ended within {seconds} s\n{self.describe()}")
        status = self._process.wait()
        if isinstance(self._channels[1], Path):
            self._take_frames(self._channels[1].read_bytes())
        self.wait_end_of_output(timeout)
        return status

    def wait_end_of_output(self, timeout: float | None = None) -> None:
        """Returns when the worker's output has ended, which any process that holds its descriptor delays."""
        self._wait(lambda: self._ended, "the end of the output", timeout)

    def signal(self, number: int) -> None:
        """Sends a signal to the worker alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends the worker's process group by force, if it is still there; what it had not answered is
        forgiven.
        """
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        for survivor in self.survivors():
            kill(survivor)

    def survivors(self) -> list[int]:
        """Running processes that came from this worker: its children and theirs, and itself."""
        return processes_with(self._mark)

    # ---------------------------------------------------------------- sending

    def send(self, command: Mapping[str, Any]) -> None:
        """Sends one command, which has to be answered if it is of a kind that is."""
        with self._changed:
            self._envelope.sent(command)
            self.log.append(Entry("sent", dict(command)))
        self._write(encode(command))

    def send_raw(self, data: bytes, *, noted: bool = True) -> None:
        """Sends bytes as they are; commands found in them may be answered, whatever way they were cut.

        Whole frames need not be `noted`: the kit does not look into them, and the test says what to `expect`.
        """
        if noted:
            with self._changed:
                self._note_raw(data)
        self._write(data)

    def expect(self, command: Mapping[str, Any]) -> None:
        """The worker may find this command in raw bytes that the kit cannot read."""
        with self._changed:
            self._envelope.sent(command, surely=False)

    def submit(self, kind: str, **fields: Any) -> Any:
        """Sends a command with a fresh id, or the `id` given, and returns the id."""
        command = {"type": kind, "id": next(self._numbers), **fields}
        self.send(command)
        return command["id"]

    def close_stdin(self) -> None:
        """The worker reads the end of its input."""
        assert self._input is not None, "there is no input to close"
        with self._changed:
            self._envelope.input_closed()
        end_input(self._input, shared=self._shared)
        self._input = None

    def close_stdout(self) -> None:
        """Nobody reads the worker's output any more."""
        assert self._output is not None, "there is no output to close"
        self._pump.pause(self._output)
        os.close(self._output)
        self._output = None
        self._listening = False
        with self._changed:
            self._ended = True

    def stop_reading(self) -> None:
        """Leaves what the worker writes in the pipe."""
        assert self._output is not None
        self._pump.pause(self._output)

    def resume_reading(self) -> None:
        """Reads on."""
        assert self._output is not None
        self._pump.resume(self._output)

    # ---------------------------------------------------------------- receiving

    def recv(self, timeout: float | None = None) -> Frame:
        """The next frame that has not been taken and is no log."""
        return self.wait_for(lambda frame: frame.get("type") != "log", timeout=timeout)

    def wait_for(self, wanted: Wanted = None, *, of: Any = ANY, timeout: float | None = None) -> Frame:
        """Takes the first frame of a type, or that a predicate accepts, and with the id if one is given."""
        search = self._inbox.search(_accepts(wanted), of)

        what = wanted if isinstance(wanted, str) else "a frame"
        return self._wait(search, what if of is ANY else f"{what} with id {of!r}", timeout)

    def terminal(self, of: Any, timeout: float | None = None) -> Frame:
        """The `result` or `error` with this id."""
        return self.wait_for(lambda frame: frame.get("type") in TERMINAL, of=of, timeout=timeout)

    def collect(self, of: Any, timeout: float | None = None) -> list[Frame]:
        """All frames with this id but logs, up to and with the terminal one."""
        frames: list[Frame] = []
        while not frames or frames[-1]["type"] not in TERMINAL:
            frames.append(self.wait_for(lambda frame: frame.get("type") != "log", of=of, timeout=timeout))
        return frames

    def forget(self) -> None:
        """Drops what has come and has not been taken; it stays in the log."""
        with self._changed:
            self._inbox.clear()

    @property
    def frames(self) -> list[Frame]:
        """Everything received so far, logs included."""
        with self._changed:
            return [frame for direction, frame in self.log if direction == "received"]

    @property
    def logs(self) -> list[Frame]:
        """The `log` frames received so far."""
        return [frame for frame in self.frames if frame.get("type") == "log"]

    @property
    def ready(self) -> Frame:
        """The first frame, waited for if need be; it is never among those that `recv` and `wait_for` take."""
        self._wait(lambda: self.frames, "ready", None)
        return self.frames[0]

    def wait_for_log(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first log frame of the whole conversation that a predicate accepts; it is not taken.

        What user code writes to a descriptor is read by a thread of its own: its logs may come after the answer.
        """
        return self._wait(lambda: next((log for log in self.logs if wanted(log)), None), "a log", None)

    def wait_for_stderr(self, text: str) -> None:
        """Returns when a text stands in what has come on stderr."""
        self._wait(lambda: text in self.stderr, f"{text!r} on stderr", None)

    # ---------------------------------------------------------------- commands

    def request(self, command: Mapping[str, Any], timeout: float | None = None) -> Frame:
        """Sends a command and returns its terminal frame."""
        self.send(command)
        return self.terminal(command["id"], timeout)

    def ask(self, kind: str, **fields: Any) -> Frame:
        """The terminal frame of a command with a fresh id."""
        return self.terminal(self.submit(kind, **fields))

    def agent(self, script: Sequence[Mapping[str, Any]] | None = None, **fields: Any) -> str:
        """Creates an agent with a scripted model, or what `fields` say, under a fresh name, which is
        returned.
        """
        model = {} if script is None else {"model": {"script": list(script)}}
        name = f"agent-{next(self._numbers)}"
        answer = self.ask("create_agent", **{"agent_id": name, **model, **fields})
        return str(succeeded(answer)["result"]["agent_id"])

    def run(self, agent_id: str, prompt: Any = "go", **fields: Any) -> Frame:
        """The terminal frame of a run."""
        return self.ask("run", agent_id=agent_id, prompt=prompt, **fields)

    def start_run(self, agent_id: str, prompt: Any = "go", **fields: Any) -> Any:
        """Sends a `run` and returns its id."""
        return self.submit("run", agent_id=agent_id, prompt=prompt, **fields)

    def start_stream(self, agent_id: str, prompt: Any = "go", **fields: Any) -> Any:
        """Sends a `stream` and returns its id."""
        return self.submit("stream", agent_id=agent_id, prompt=prompt, **fields)

    def answer(self, call: Mapping[str, Any], **outcome: Any) -> None:
        """Sends the `tool_result` for a `tool_call`."""
        self.send({"type": "tool_result", "id": call["id"], "call_id": call["call_id"], **outcome})

    def decide(self, request: Mapping[str, Any], *, approved: bool, **more: Any) -> None:
        """Sends the `approval` for an `approval_request`."""
        self.send(
            {
                "type": "approval",
                "id": request["id"],
                "call_id": request["call_id"],
                "approved": approved,
                **more,
            }
        )

    # ---------------------------------------------------------------- invariants

    def check(self, *, finished: bool = True) -> None:
        """Asserts the envelope's invariants; when `finished`, also that nothing is left unanswered."""
        with self._changed:
            problems, unanswered = list(self._envelope.problems), self._envelope.unanswered()
        if self._broken is not None:
            problems.append(str(self._broken))
        if finished and unanswered:
            problems.append(f"never answered: {unanswered[:20]}")
        if finished and self._decoder.pending:
            problems.append(f"the output ends inside a frame, after {self._decoder.pending} bytes of it")
        assert not problems, "\n".join(problems)

    def forgive(self, of: Any) -> None:
        """The command need not be answered: the worker may have ended before it read it."""
        with self._changed:
            self._envelope.forgive(of)

    def describe(self) -> str:
        """The end of the conversation, for people."""
        with self._changed:
            last = self.log[-SHOWN_ENTRIES:]
        lines = [f"  {direction:8} {frame!r:.600}" for direction, frame in last]
        return "\n".join(
            [
                f"worker {self.pid}, status {self.returncode}; it said last:",
                *lines,
                f"stderr: {self.stderr[-2000:]}",
            ]
        )

    # ---------------------------------------------------------------- inside

    def _spawn(self, into: Ends, out: Ends, error: Ends, stray: Ends | None) -> subprocess.Popen[bytes]:
        command, plan = self._command, dict[int, int | None]()
        stdin, stdout, stderr = into.worker, out.worker, error.worker
        if stray is not None:
            plan |= {3: stdin, 4: stdout}
            stdin, stdout = subprocess.DEVNULL, stray.worker
        plan |= {n: None for n, descriptor in enumerate((stdin, stdout, stderr)) if descriptor is None}
        if plan:
            text = ",".join(f"{target}={'-' if source is None else source}" for target, source in plan.items())
            command = [sys.executable, "-I", "-S", launch.__file__, text, *command]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            pass_fds=[source for source in plan.values() if source is not None],
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )

    def _end_and_check(self) -> None:
        running = self._process.poll() is None
        if running and self._at_exit == "eof":
            if self._input is not None:
                self.close_stdin()
            status = self.wait_exit()
            assert status == 0, f"the worker ended with status {status}"
            assert not self.frames or self.frames[-1]["type"] == "goodbye", "it went without a goodbye"
        elif not running:
            self.wait_end_of_output()
        heard_out = self._ended and self._listening and self.frames != []
        self.check(finished=heard_out and self._process.returncode in (0, 65))

    def release(self) -> None:
        """Closes our descriptors, once the process has gone."""
        self._pump.stop()
        for descriptor in {self._input, self._output, self._error, self._stray_end} - {None}:
            assert descriptor is not None
            os.close(descriptor)
        self._input = self._output = self._error = self._stray_end = None

    def _explain(self, error: BaseException) -> None:
        if not isinstance(error, WorkerGone | TimeoutError | NotAFrame):
            error.add_note(self.describe())
        for problem in self._envelope.problems:
            error.add_note(f"against the contract: {problem}")

    def _write(self, data: bytes) -> None:
        assert self._input is not None, "the input has been closed"
        rest, deadline = memoryview(data), time.monotonic() + self._timeout
        poll = select.poll()
        poll.register(self._input, select.POLLOUT)
        while rest:
            try:
                rest = rest[os.write(self._input, rest) :]
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not poll.poll(left * 1000):
                    raise TimeoutError(f"the worker does not read\n{self.describe()}") from None
            except (BrokenPipeError, ConnectionResetError) as problem:
                raise WorkerGone(f"the worker has closed its input\n{self.describe()}") from problem

    def _note_raw(self, data: bytes) -> None:
        for payload in filter(None, self._payloads_sent(data)):
            try:
                command = loads(payload)
            except NotAFrame:
                continue
            self._envelope.sent(command, surely=False)
            self.log.append(Entry("sent", command))

    def _payloads_sent(self, data: bytes) -> list[bytes]:
        try:
            return list(self._sent_bytes.feed(data))
        except NotAFrame:
            return []  # the test has broken the framing on purpose

    def _take_frames(self, data: bytes) -> None:
        with self._changed:
            if not data:
                self._ended = True
            try:
                for payload in self._decoder.feed(data):
                    self.longest_frame = max(self.longest_frame, len(payload))
                    self._take(loads(payload))
            except NotAFrame as problem:
                self._broken = problem
            self._changed.notify_all()

    def _take(self, frame: Frame) -> None:
        self._envelope.received(frame)
        self.log.append(Entry("received", frame))
        if frame.get("type") != "ready":
            self._inbox.add(frame)

    def _take_stderr(self, data: bytes) -> None:
        with self._changed:
            self._stderr += data
            self._changed.notify_all()

    def _take_stray(self, data: bytes) -> None:
        self._stray += data

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    def _wait(self, found: Callable[[], T | None], what: str, timeout: float | None) -> T:
        seconds = self._seconds(timeout)
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                value = found()
                if value:
                    return value
                if self._broken is not None:
                    raise NotAFrame(f"{self._broken}\n{self.describe()}")
                if self._ended:
                    raise WorkerGone(f"the worker's output ended without {what}\n{self.describe()}")
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{what} did not come within {seconds} s\n{self.describe()}")


def succeeded(frame: Frame) -> Frame:
    """The frame, which has to be a `result`."""
    assert frame["type"] == "result", f"not a result: {frame!r:.2000}"
    return frame


def failed(frame: Frame, error_type: str) -> Frame:
    """The frame, which has to be an `error` of this type."""
    assert frame["type"] == "error", f"not an error: {frame!r:.2000}"
    assert frame["error_type"] == error_type, f"not {error_type}: {frame!r:.2000}"
    return frame


def texts(frames: Sequence[Frame], kind: str = "text") -> list[Any]:
    """The data of the chunks of one kind."""
    return [frame["data"] for frame in frames if frame["type"] == "chunk" and frame["kind"] == kind]


def _accepts(wanted: Wanted) -> Callable[[Frame], bool]:
    if isinstance(wanted, str):
        return lambda frame: frame.get("type") == wanted
    return wanted or (lambda _: True)


def scrubbed_environment(changes: Mapping[str, str | None], pythonpath: Sequence[Path], mark: str) -> dict[str, str]:
    """Our own environment without keys, options of the worker and telemetry, with the changes and the mark."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AXON_PORT_", "OTEL_")) and not name.endswith(SECRETS)
    }
    name, _, value = mark.partition("=")
    chosen: dict[str, str | None] = {**inherited, name: value, **changes}
    if pythonpath:
        chosen["PYTHONPATH"] = os.pathsep.join(map(str, pythonpath))
    return {name: value for name, value in chosen.items() if value is not None}
