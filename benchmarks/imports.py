"""Time to import kpwidget against the widget libraries it stands on."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.browser.server import REPOSITORY

from .rig import Rig
from .table import Row, compare

LIMIT = 1.5

FLOOR = "import ipywidgets, ipycanvas, numpy"
OURS = {
    "import kpwidget": "import kpwidget",
    "import kpwidget, its classes used": (
        "import kpwidget; kpwidget.Annotator, kpwidget.Dataset, kpwidget.Schema, kpwidget.read"
    ),
}


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    return time.perf_counter() - start


def measure_imports(rig: Rig) -> list[Row]:
    """Fresh interpreters in turn, start and end of the interpreter included."""
    n = rig.samples(15, 5)
    times: dict[str, list[float]] = {code: [] for code in (FLOOR, *OURS.values())}
    for i in range(n + 1):
        for code, found in times.items():
            seconds = _seconds(code)
            if i:  # the first run fills the disk cache and writes .pyc files
                found.append(1000 * seconds)
    return [compare(name, "ms", times[code], times[FLOOR], LIMIT) for name, code in OURS.items()]
