"""The command line: options, subcommands, exit statuses (PROTOCOL.md, OPT-*).

Without a subcommand it serves frames. Only `--help`, `--version` and the subcommands write text to stdout; where
stderr was joined to the frames, even a usage error leaves as a frame.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from axon_port import __version__
from axon_port.advice import AdvisingParser, UsageError
from axon_port.statuses import EX_SOFTWARE, EX_USAGE
from axon_port.wire.words import LEVELS, timestamp
from axon_port.worker.options import Options

MIN_FRAME_BYTES: Final = 512
MAX_FRAME_BYTES: Final = 2**32 - 1
PREFIX: Final = "AXON_PORT_"


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the command line; its exit status."""
    parser = _parser()
    try:
        parser.demand_known(arguments)
        # Without variables at first: a wrong one is to stop a worker, and nobody who asks for help.
        parsed = _parsed(parser, arguments)
        if parsed.command is None:
            said = list(_said_by(environment))
            parser.demand_each(said)
            parsed = _parsed(parser, [*(word for _, word in said), *arguments])
    except UsageError as error:
        if parser.is_command(*arguments[:1]):
            # No worker was meant, so there are no frames that text could spoil, whatever stderr was joined to.
            _print_complaint(str(error))
            return EX_USAGE
        nouse_stdio = "--nouse-stdio" in arguments or _YES.get(
            environment.get(f"{PREFIX}NOUSE_STDIO", "").lower(), False
        )
        _complain(str(error), nouse_stdio=nouse_stdio)
        return EX_USAGE
    if parsed.command is not None:
        return _command(parser, parsed, arguments)
    if os.isatty(0) and os.isatty(2) and not parsed.nouse_stdio:
        from axon_port.terminal import advise_who_types

        advise_who_types()
    return _serve(parsed)


def _parsed(parser: AdvisingParser, words: Sequence[str]) -> argparse.Namespace:
    parsed, leftover = parser.parse_known_args(words)
    if leftover:
        parser.leftover(leftover, parsed.command)
    return parsed


def _command(parser: AdvisingParser, parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    if arguments[0] != parsed.command:
        _print_complaint(parser.misplaced(arguments[0], parsed.command))
        return EX_USAGE
    from axon_port.commands import run_command

    return run_command(parsed, parser)


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
    if threading.active_count() > 1:
        # Those that were started already may not be able to end: the C library opens a file for that.
        os._exit(EX_SOFTWARE)
    return EX_SOFTWARE


def _parser() -> AdvisingParser:
    parser = AdvisingParser(
        prog="axon-port",
        description="Serves pydantic-ai agents to a parent process, over frames of {packet, 4} on stdin and stdout.",
        epilog="Each option can be set by the environment as well: --max-inflight is AXON_PORT_MAX_INFLIGHT, "
        "and so on; the command line wins. Lists are separated by commas there. Exit status: 0 orderly end, "
        "64 wrong arguments, 65 the input broke off inside a frame, 70 a fault of the worker.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"axon-port {__version__}")
    _worker_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=AdvisingParser)

    def add(name: str, text: str, example: str) -> argparse.ArgumentParser:
        description = f"{text[0].upper()}{text[1:]}."
        return commands.add_parser(
            name, help=text, description=description, epilog=f"Example: {example}", allow_abbrev=False
        )

    through = "axon-port pack < commands.jsonl | axon-port | axon-port unpack"
    add("demo", "show what crosses the pipe, with the scripted model: no key, no network", "axon-port demo")
    doctor = add("doctor", "whether a worker could serve here, and with what", "axon-port doctor --import shop.tools")
    _doctor_options(doctor)
    add("pack", "a line of JSON in, a frame out", through)
    add("unpack", "a frame in, a line of JSON out", through)
    add("schema", "print the JSON Schema of all commands and events", "axon-port schema > schema.json")
    source = "source <(axon-port completion bash)"
    completion = add("completion", "print what a shell needs to complete this command line", source)
    completion.add_argument("shell", choices=("bash", "fish", "zsh"), help="bash, fish or zsh")
    text = "play a record to a fresh worker and say where the answers differ"
    _replay_options(add("replay", text, "axon-port replay monday.jsonl"))
    text, example = "make a page of HTML of a record, on stdout", "axon-port timeline monday.jsonl > monday.html"
    add("timeline", text, example).add_argument("file", metavar="FILE", help="what --record has written")
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


def _replay_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what --record has written")
    parser.add_argument("--timed", action="store_true", help="send nothing earlier than in the record")
    parser.add_argument("--json", action="store_true", help="the differences as JSON")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="OPTION",
        help="for the worker, like --option=--allow-import=tools (repeatable); limits are taken from the record",
    )


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
        choices=tuple(LEVELS),
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


def _said_by(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the environment says: the variable, and the argument to stand before the others. Later ones win, lists
    add up."""
    for name in _FLAGS:
        if value := environment.get(PREFIX + name.upper()):
            yield PREFIX + name.upper(), f"--{name.replace('_', '-')}={value}"
    for name in _LISTS:
        for value in environment.get(PREFIX + name.upper(), "").split(","):
            if value.strip():
                yield PREFIX + name.upper(), f"--{name.replace('_', '-')}={value.strip()}"
    said = environment.get(f"{PREFIX}NOUSE_STDIO", "").lower()
    if said not in _YES:
        raise UsageError(f"{PREFIX}NOUSE_STDIO is {said!r}: write 1 or 0")
    if _YES[said]:
        yield f"{PREFIX}NOUSE_STDIO", "--nouse-stdio"


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
        _print_complaint(message)
        return
    import json

    from axon_port.wire.framing import encode_frame

    text = message.encode(errors="replace").decode()
    frame = {"type": "log", "timestamp": timestamp(time.time()), "level": "error", "logger": "stderr", "message": text}
    # Not by our codec: what it is made of may be what is broken.
    os.write(2, encode_frame(json.dumps(frame).encode()))


def _print_complaint(message: str) -> None:
    # Where stderr is missing, `print` would take stdout, and write among the frames.
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
        print(f"axon-port: {message}", file=sys.stderr)
