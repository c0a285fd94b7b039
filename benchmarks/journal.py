"""What the journal adds to an edit, and what a long session costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from kpwidget import open as open_labels
from kpwidget.dataset import Dataset, Instance
from kpwidget.schema import Schema

from .rig import Rig
from .table import Row, compare

#: Milliseconds that an edit may take beyond one bare append and fsync.
MOST_EXTRA = 0.3
#: The last hundred edits of a session against its first hundred.
MOST_GROWTH = 1.2
MOST_BYTES = 500

PIXELS = np.zeros((48, 64), np.uint8)


def _resident_megabytes() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        raise RuntimeError("resident memory is read from /proc, which this system does not have")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024 / 1e6


def _begun(folder: Path) -> tuple[Dataset, Instance]:
    folder.mkdir(parents=True)
    schema = Schema("s", [f"k{k}" for k in range(17)])
    images = {f"{i}.png": PIXELS for i in range(40)}
    dataset = open_labels(folder / "labels.json", images, schema)
    return dataset, dataset.add_instance(0, keypoints=np.full((17, 3), 2.0))


def measure_journal(rig: Rig) -> list[Row]:
    """An edit with the journal and a bare append with fsync, in turn, in one folder."""
    folder = rig.folder / "journal"
    _, instance = _begun(folder)
    [log] = (folder / "labels.kpwidget").glob("*.log")
    ours: list[float] = []
    floor: list[float] = []
    descriptor = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    before = log.stat().st_size
    n = rig.samples(1000, 100)
    for i in range(n):
        begin = time.perf_counter()
        instance.set_keypoint(i % 17, i + 0.123456789, i / 7)
        ours.append(1000 * (time.perf_counter() - begin))
        line = bytes(200)
        begin = time.perf_counter()
        os.write(descriptor, line)
        os.fsync(descriptor)
        floor.append(1000 * (time.perf_counter() - begin))
    os.close(descriptor)
    size = (log.stat().st_size - before) / n
    limit = 1 + MOST_EXTRA / float(np.median(floor))
    return [
        compare("an edit with the journal (floor + 0.3 ms)", "ms", ours, floor, limit),
        compare("bytes in the journal, an edit", "B", [size] * 3, [MOST_BYTES] * 3, 1.0),
    ]


def measure_session(rig: Rig) -> list[Row]:
    """Four hours of labeling: 20,000 edits, the last hundred against the first."""
    dataset, _ = _begun(rig.folder / "session")
    took: list[float] = []
    n = rig.samples(20_000, 500)
    memory: list[float] = []
    for i in range(n):
        image = dataset.images[(i // 170) % 40]
        begin = time.perf_counter()
        if i % 17 == 0:
            instance = dataset.add_instance(image, keypoints=np.full((17, 3), 2.0))
        instance.set_keypoint(i % 17, i % 64, i % 48)
        took.append(1000 * (time.perf_counter() - begin))
        if i in (n // 10, n - 1):
            memory.append(_resident_megabytes())
    # The very first ones open the file and warm up.
    start = n // 20
    return [
        compare(
            f"last 100 of {n:,} edits (floor: 100 near the first)",
            "ms", took[-100:], took[start : start + 100], MOST_GROWTH,
        ),
        compare(
            f"memory after {n:,} edits (floor: after a tenth)",
            "MB", memory[1:] * 3, memory[:1] * 3, MOST_GROWTH,
        ),
    ]  # fmt: skip
