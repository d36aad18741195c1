"""Promise: a worker that is told to stop hears it at once, whatever its main thread waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The main thread waits for a message that never comes, and the signal does not interrupt it there:
# it is blocked in that thread, so that the system gives it to another one.
DEAF = """
import os, signal, threading
from worker.signals import hear

def heard():
    os.write(1, b"heard")
    os._exit(0)

signal.signal(signal.SIGUSR2, lambda number, frame: None)
hear({signal.SIGUSR2}, heard)
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
threading.Timer(0.2, os.kill, (os.getpid(), signal.NUMBER)).start()
os.read(os.pipe()[0], 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_is_heard_while_the_main_thread_is_deaf() -> None:
    script = DEAF.replace("NUMBER", "SIGUSR2")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"heard"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_other_signals_are_left_to_their_own_handlers() -> None:
    handled = "signal.signal(signal.SIGUSR1, lambda n, f: os._exit(7))\n"
    script = DEAF.replace("NUMBER", "SIGUSR1").replace("hear({", f"{handled}hear({{")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (7, b""), done.stderr
