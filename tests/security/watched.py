"""A worker under watch: every audit event that a frame has no business to cause is written down.

Usage: `python -m tests.security.watched REPORT [OPTION…]`; the options are the worker's. REPORT gets one line of JSON
for each event that no rule allows:

- running the code of a module, or loading an extension, that lies neither in the standard library nor among the
  installed packages nor in this repository's `axon_port`, or that nothing here needs (`UNNEEDED`); looking for one
  of these or for one whose name holds `MARK`. Packages look for helpers that are not there: that alone is nothing;
- opening a file for writing, or one outside these places and a few of the system (`SYSTEM`);
- starting a process in any way, or forking, but for the worker's own guardian;
- connecting, binding to a port, or looking up a name;
- running or compiling code in which `MARK` stands; unpickling.
"""

import json
import os
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

MARK = "axon_canary"
"""Stands in every hostile text that would be code."""

UNNEEDED = frozenset({"antigravity", "this", "turtle", "turtledemo", "idlelib", "tkinter", "pdb", "wave", "cgitb"})
"""Modules of the standard library that nothing imports unless a frame can name it."""

PLACES = tuple(
    str(Path(place).resolve()) + "/"
    for place in (
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        Path(sysconfig.get_path("stdlib")).with_name(f"python{sys.version_info[0]}{sys.version_info[1]}.zip"),
        Path(__file__).resolve().parents[2] / "axon_port",
    )
)

SYSTEM = (
    "/proc/",
    "/sys/fs/cgroup/",
    "/dev/null",
    "/dev/urandom",
    "/etc/ssl/",
    "/usr/lib/ssl/",
    "/usr/share/zoneinfo/",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/usr/lib/os-release",
)

GUARDIAN = ("axon_port", "worker", "guardian.py")

SETTINGS = frozenset({"pyproject.toml"})
"""Looked for in the working directory by installed packages (logfire), whatever the frames say."""

STARTS = frozenset(
    {
        "subprocess.Popen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "pickle.find_class",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "webbrowser.open",
    }
)

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Arguments = tuple[Any, ...]


def is_hostile(event: str, arguments: Arguments) -> bool:
    """Whether an event must not happen."""
    match event:
        case "import":
            name, filename = str(arguments[0]), arguments[1]
            unneeded = name.partition(".")[0] in UNNEEDED or MARK in name
            return unneeded or (filename is not None and not _is_in_its_place(filename))
        case "open":
            return _is_hostile_open(*arguments)
        case "exec" | "compile":
            return _is_hostile_code(arguments[0])
        case "socket.bind":
            return not _is_probe(arguments[1])
        case "os.fork":
            return not _is_the_guardian()
        case _:
            return event in STARTS


def _is_hostile_open(path: Any, _mode: Any, flags: Any) -> bool:
    if isinstance(path, int) or os.fsdecode(path) in SETTINGS:
        return False
    if os.fsdecode(path) != "/dev/null" and isinstance(flags, int) and flags & WRITING:
        return True
    return not _is_in_its_place(path) and not os.path.realpath(path).startswith(SYSTEM)


def _is_in_its_place(path: Any) -> bool:
    return f"{os.path.realpath(path)}/".startswith(PLACES)


def _is_hostile_code(code: Any) -> bool:
    if isinstance(code, str | bytes):
        return MARK in (code if isinstance(code, str) else code.decode("utf-8", "replace"))
    filename = getattr(code, "co_filename", "<none>")
    if filename.startswith("<"):
        return MARK in repr((getattr(code, "co_names", ()), getattr(code, "co_consts", ())))
    return not _is_in_its_place(filename) or not UNNEEDED.isdisjoint(Path(filename).with_suffix("").parts[-2:])


def _is_the_guardian() -> bool:
    """Whether the worker makes the process that watches over it, before it reads a frame."""
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if Path(frame.f_code.co_filename).parts[-3:] == GUARDIAN and frame.f_code.co_name == "__init__":
            return True
        frame = frame.f_back
    return False


def _is_probe(address: Any) -> bool:
    """Whether somebody only asks whether there is IPv6: port 0 of the loopback."""
    return address[:2] == ("::1", 0)


def watch(report: int) -> None:
    """Writes down what must not happen, from now on."""
    local = threading.local()

    def hear(event: str, arguments: Arguments) -> None:
        if getattr(local, "busy", False):
            return  # what this function itself causes
        local.busy = True
        try:
            if is_hostile(event, arguments):
                line = json.dumps([event, [repr(argument)[:300] for argument in arguments[:3]]])
                os.write(report, line.encode() + b"\n")
        finally:
            local.busy = False

    sys.addaudithook(hear)


def main(report: str, options: list[str]) -> None:
    """Becomes a worker under watch."""
    from axon_port.__main__ import main as start

    descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.argv = ["axon-port", *options]
    watch(descriptor)
    start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
