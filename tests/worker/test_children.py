"""The worker's descendants, each of these tests in a process of its own."""

import json
import os
import signal
from typing import Any

import pytest

from tests.kit.processes import wait_for_end

from .programs import run_program

BIRTH = """
import json, os, signal, subprocess, sys, time
from axon_port.worker import children

def child(source, *how):
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, **dict(how))
    return process, process.stdout.readline().decode().strip()

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
"""


def outcome(source: str) -> Any:
    done = run_program(BIRTH + source)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def test_a_process_without_children_has_no_descendants() -> None:
    assert outcome("children.end_descendants(); print(json.dumps(sorted(children.descendants())))") == []


def test_a_child_that_ends_itself_in_good_order_may() -> None:
    """clause: LIFE-CHILDREN"""
    source = """
process, _ = child(SLEEPER)
assert children.descendants() == {process.pid}
children.end_descendants()
print(json.dumps(process.wait()))
"""
    assert outcome(source) == -signal.SIGTERM


def test_a_child_that_ignores_the_request_is_killed() -> None:
    """clause: LIFE-CHILDREN"""
    source = """
process, _ = child(STUBBORN)
children.end_descendants()
print(json.dumps(process.wait()))
"""
    assert outcome(source) == -signal.SIGKILL


@pytest.mark.parametrize("session", ["True", "False"])
def test_a_grandchild_whose_parent_has_ended_is_found_and_ended(session: str) -> None:
    """clause: LIFE-CHILDREN"""
    source = f"""
children.adopt_orphans()
start = "p = subprocess.Popen([sys.executable, '-c', %r], start_new_session={session})" % SLEEPER
parent = f"import subprocess, sys; {{start}}; print(p.pid, flush=True)"
process, line = child(parent)
process.wait()
grandchild = int(line)
assert grandchild in children.descendants(), children.descendants()
children.end_descendants()
print(json.dumps(grandchild))
"""
    assert wait_for_end(outcome(source), 10)


def test_a_child_that_is_dead_and_not_waited_for_is_none() -> None:
    source = """
process, _ = child("print('up', flush=True)")
os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
print(json.dumps(sorted(children.descendants())))
"""
    assert outcome(source) == []


def test_a_process_with_a_name_that_looks_like_its_state_is_read_right() -> None:
    source = """
process, _ = child("import ctypes; ctypes.CDLL(None).prctl(15, b') Z 1 (', 0, 0, 0); " + SLEEPER)
found = children.descendants()
children.end_descendants()
print(json.dumps([sorted(found), process.pid]))
"""
    found, pid = outcome(source)
    assert found == [pid]


def test_other_processes_are_left_alone() -> None:
    ours = os.getpid()
    source = f"children.end_descendants(); print(json.dumps({ours} in children.descendants()))"
    assert outcome(source) is False
    os.kill(ours, 0)


def test_a_process_is_the_same_one_when_its_parent_has_ended() -> None:
    """The process that watches over the worker has to know its children by what they were before it died.

    clause: LIFE-CHILDREN
    """
    source = """
start = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', %r])" % SLEEPER
process, line = child(start + "; print(p.pid, flush=True); sys.stdin.read()", ("stdin", subprocess.PIPE))
before = children.process_of(int(line))
children.adopt_orphans()
process.stdin.close()
process.wait()
after = children.process_of(int(line))
children.end_descendants()
print(json.dumps([before == after, len({before, after}), before.parent == process.pid, after.parent == os.getpid()]))
"""
    assert outcome(source) == [True, 1, True, True]
