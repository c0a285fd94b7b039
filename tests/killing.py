"""A process that edits until it is killed: what it had acknowledged by then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import kpwidget as kp


def last_acknowledged(script: str, path: Path, least: int = 25) -> int:
    """Number of the last edit that a script has called done before it was killed.

    Parameters
    ----------
    script : str
        Gets the path as its argument, and prints "done" and a number after each edit.
    path : Path
    least : int
        It is killed after this one.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(kp.__file__).resolve().parents[1])},
    )
    assert process.stdout is not None
    last = -1
    for line in process.stdout:
        last = int(line.split()[1])
        if last >= least:
            break
    process.send_signal(signal.SIGKILL)
    for line in process.stdout:
        if line.endswith("\n"):
            last = int(line.split()[1])
    process.wait()
    process.stdout.close()
    return last
