"""The command line: options, subcommands, exit statuses (PROTOCOL.md, OPT-*).

Without a subcommand it serves frames. Only `--help`, `--version` and the subcommands write text to stdout; where
stderr was joined to the frames, even a usage error leaves as a frame.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn

from axon_port import __version__
from axon_port.worker.options import Options

EX_USAGE: Final = 64
EX_SOFTWARE: Final = 70

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
MIN_FRAME_BYTES: Final = 512
MAX_FRAME_BYTES: Final = 2**32 - 1
PREFIX: Final = "AXON_PORT_"


_LACKING: Final = re.compile(r"argument (--\S+): expected one argument")
_MISTAKEN: Final = re.compile(r"invalid choice: '(?P<choice>[^']*)'|unrecognized arguments: (?P<option>\S+)")
"""What argparse says of an option without its value, and of a word that it does not know."""


class UsageError(Exception):
    """Wrong arguments; the text says what is wrong and what to type."""


def subparsers(action: argparse.Action) -> Mapping[str, argparse.ArgumentParser]:
    """The commands of an action by name; empty for one that has none."""
    choices: Any = action.choices
    return choices if action.nargs == argparse.PARSER else {}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}{self._proposal(message)}")

    def demand_known(self, arguments: Sequence[str]) -> None:
        """Argparse would take what follows a mistyped option for a command, and complain of that."""
        known = {"--", *self._words()}
        for word in arguments:
            if word.startswith("--") and word.partition("=")[0] not in known:
                self.error(f"unrecognized arguments: {word}")

    def _proposal(self, message: str) -> str:
        """What to type instead, where that can be guessed."""
        if lacking := _LACKING.search(message):
            metavars = [action.metavar for action in self._actions if lacking[1] in action.option_strings]
            return f": write {lacking[1]} {metavars[0]}" if metavars else ""
        found = _MISTAKEN.search(message)
        if found is None:
            return ""
        word = (found["choice"] or found["option"] or "").partition("=")[0]
        near = get_close_matches(word, sorted(self._words()), 1)
        return f": did you mean {near[0]}?" if near else ""

    def _words(self) -> set[str]:
        """Everything that can be typed here and in the subcommands."""
        words: set[str] = set()
        for action in self._actions:
            words.update(action.option_strings, map(str, action.choices or ()))
            for parser in subparsers(action).values():
                words |= parser._words() if isinstance(parser, _Parser) else set()
        return words


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the command line; its exit status."""
    try:
        parser = _parser()
        parser.demand_known(arguments)
        parsed = parser.parse_args(_with_environment(arguments, environment))
    except UsageError as error:
        nouse_stdio = "--nouse-stdio" in arguments or _YES.get(
            environment.get(f"{PREFIX}NOUSE_STDIO", "").lower(), False
        )
        _complain(f"{error} (axon-port --help lists the options)", nouse_stdio=nouse_stdio)
        return EX_USAGE
    if parsed.command is not None:
        return _subcommand(parsed)
    return _serve(parsed)


def _serve(parsed: argparse.Namespace) -> int:
    try:
        from axon_port.agents.allow import import_prefixes
        from axon_port.worker.serve import NoRecord, serve
        from axon_port.worker.stdio import BadDescriptor
    except Exception as error:  # noqa: BLE001  whatever a broken library raises when it is imported
        return _cannot_start(error, parsed)
    try:
        options = Options(
            max_frame_bytes=parsed.max_frame_bytes,
            max_inflight=parsed.max_inflight,
            max_tool_calls=parsed.max_tool_calls,
            drain_timeout=parsed.drain_timeout,
            log_level=parsed.log_level,
            nouse_stdio=parsed.nouse_stdio,
            allow_import=import_prefixes(parsed.allow_import),
            allow_capability=tuple(parsed.allow_capability),
            allow_recordings=parsed.allow_recordings,
            record=parsed.record,
        )
        serve(options)
    except (BadDescriptor, NoRecord, ValueError) as error:
        _complain(str(error), nouse_stdio=parsed.nouse_stdio)
        return EX_USAGE
    except Exception as error:  # noqa: BLE001  no descriptor and no thread is left for it
        return _cannot_start(error, parsed)


def _cannot_start(error: Exception, parsed: argparse.Namespace) -> int:
    _complain(f"the worker cannot start: {error!r}", nouse_stdio=parsed.nouse_stdio)
    return EX_SOFTWARE


def _subcommand(parsed: argparse.Namespace) -> int:
    try:
        status = _run_subcommand(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. What is still buffered must not fail when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run_subcommand(parsed: argparse.Namespace) -> int:
    match parsed.command:
        case "pack":
            from axon_port.shell import pack

            return pack(sys.stdin.buffer, sys.stdout.buffer)
        case "unpack":
            from axon_port.shell import unpack

            return unpack(sys.stdin.buffer, sys.stdout.buffer)
        case "schema":
            from axon_port.wire.schema import print_schema

            return print_schema(sys.stdout)
        case "doctor":
            from axon_port.doctor import doctor

            return doctor(
                sys.stdout,
                as_json=parsed.json,
                modules=parsed.modules,
                endpoints=parsed.endpoint,
                ask_endpoints=parsed.endpoints,
            )
        case "completion":
            from axon_port.completion import SHELLS, commands_of

            sys.stdout.write(SHELLS[parsed.shell](commands_of(_parser())))
            return 0
        case "replay":
            from axon_port.records.replay import replay

            return replay(Path(parsed.file), parsed.option, sys.stdout, timed=parsed.timed, as_json=parsed.json)
        case "timeline":
            from axon_port.records.timeline import timeline

            return timeline(Path(parsed.file), sys.stdout)
        case _:
            from axon_port.demo import demo

            return demo(sys.stdout)


def _parser() -> _Parser:
    parser = _Parser(
        prog="axon-port",
        description="Serves pydantic-ai agents to a parent process, over frames of {packet, 4} on stdin and stdout.",
        epilog="Each option can be set by the environment as well: --max-inflight is AXON_PORT_MAX_INFLIGHT, "
        "and so on; the command line wins. Lists are separated by commas there. Exit status: 0 orderly end, "
        "64 wrong arguments, 65 the input broke off inside a frame, 70 a fault of the worker.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"axon-port {__version__}")
    _worker_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("demo", help="show what crosses the pipe, with the scripted model: no key, no network")
    _doctor_options(
        commands.add_parser("doctor", help="whether a worker could serve here, and with what", allow_abbrev=False)
    )
    commands.add_parser("pack", help="a line of JSON in, a frame out")
    commands.add_parser("unpack", help="a frame in, a line of JSON out")
    commands.add_parser("schema", help="print the JSON Schema of all commands and events")
    completion = commands.add_parser("completion", help="print what a shell needs to complete this command line")
    completion.add_argument("shell", choices=("bash", "fish", "zsh"), help="bash, fish or zsh")
    _record_commands(commands)
    return parser


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    add: Any = parser.add_argument
    add("--json", action="store_true", help="for programs: one object, with all checks")
    add(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="whether this module is imported without printing (repeatable)",
    )
    add("--endpoints", action="store_true", help="ask the endpoints that the environment names whether they answer")
    add(
        "--endpoint",
        action="append",
        default=[],
        metavar="URL",
        help="whether anything answers there (repeatable); no key is sent",
    )


def _record_commands(commands: Any) -> None:
    replay = commands.add_parser("replay", help="play a record to a fresh worker and say where the answers differ")
    replay.add_argument("file", metavar="FILE", help="what --record has written")
    replay.add_argument("--timed", action="store_true", help="send nothing earlier than in the record")
    replay.add_argument("--json", action="store_true", help="the differences as JSON")
    replay.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="OPTION",
        help="for the worker, like --option=--allow-import=tools (repeatable); limits are taken from the record",
    )
    timeline = commands.add_parser("timeline", help="make a page of HTML of a record, on stdout")
    timeline.add_argument("file", metavar="FILE", help="what --record has written")


def _worker_options(parser: argparse.ArgumentParser) -> None:
    defaults = Options()
    add: Any = parser.add_argument
    add(
        "--max-frame-bytes",
        type=_number(MIN_FRAME_BYTES, MAX_FRAME_BYTES),
        default=defaults.max_frame_bytes,
        metavar="N",
        help="the longest frame, in and out (default: 64 MiB)",
    )
    add(
        "--max-inflight",
        type=_number(1),
        default=defaults.max_inflight,
        metavar="N",
        help="runs and streams under way at once; more are refused as Overloaded (default: %(default)s)",
    )
    add(
        "--max-tool-calls",
        type=_number(1),
        default=defaults.max_tool_calls,
        metavar="N",
        help="tool calls of one run that wait on the parent at once (default: %(default)s)",
    )
    add(
        "--drain-timeout",
        type=_seconds,
        default=defaults.drain_timeout,
        metavar="SECONDS",
        help="how long runs may go on after the end of the input (default: %(default)g)",
    )
    add(
        "--log-level",
        choices=LEVELS,
        default=defaults.log_level,
        metavar="LEVEL",
        help="the least level of log frames: debug, info, warning, error, critical (default: %(default)s)",
    )
    add("--nouse-stdio", action="store_true", help="frames on descriptors 3 (in) and 4 (out), as Erlang's nouse_stdio")
    add(
        "--allow-import",
        action="append",
        default=[],
        metavar="PREFIX",
        help="let frames name modules at or below this dotted prefix (repeatable; default: none)",
    )
    add(
        "--allow-capability",
        action="append",
        default=[],
        metavar="NAME",
        help="let frames name this pydantic-ai capability, or MCP:stdio (repeatable; default: none)",
    )
    add(
        "--allow-recordings",
        metavar="FOLDER",
        help="let frames name files in this folder, to keep models' answers in and to give them from (default: none)",
    )
    add(
        "--record",
        metavar="FILE",
        help="write every frame of both directions to this file, without secrets (default: none)",
    )


_FLAGS: Final = (
    "max_frame_bytes",
    "max_inflight",
    "max_tool_calls",
    "drain_timeout",
    "log_level",
    "allow_recordings",
    "record",
)
_LISTS: Final = ("allow_import", "allow_capability")
_YES: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def _with_environment(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The arguments, with what the environment says before them: later ones win, lists add up."""
    words: list[str] = []
    for name in _FLAGS:
        if value := environment.get(PREFIX + name.upper()):
            words.append(f"--{name.replace('_', '-')}={value}")
    for name in _LISTS:
        for value in environment.get(PREFIX + name.upper(), "").split(","):
            if value.strip():
                words.append(f"--{name.replace('_', '-')}={value.strip()}")
    said = environment.get(f"{PREFIX}NOUSE_STDIO", "").lower()
    if said not in _YES:
        raise UsageError(f"{PREFIX}NOUSE_STDIO is {said!r}: write 1 or 0")
    if _YES[said]:
        words.append("--nouse-stdio")
    return [*words, *arguments]


def _number(least: int, most: int | None = None) -> Any:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            limits = f"from {least} to {most}" if most is not None else f"of at least {least}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}")
        return value

    return number


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return value


def _complain(message: str, *, nouse_stdio: bool) -> None:
    """One line on stderr; a frame where stderr was joined to the frames."""
    from axon_port.worker.stdio import joined_to_frames

    if not joined_to_frames(2, nouse_stdio=nouse_stdio):
        print(f"axon-port: {message}", file=sys.stderr)
        return
    import json

    from axon_port.wire.framing import encode_frame

    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = message.encode(errors="replace").decode()
    frame = {"type": "log", "timestamp": timestamp, "level": "error", "logger": "stderr", "message": text}
    # Not by our codec: what it is made of may be what is broken.
    os.write(2, encode_frame(json.dumps(frame).encode()))
