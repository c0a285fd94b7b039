"""A COCO file as numpy columns, by kpwidget and by pycocotools.

``python -m benchmarks.columns ours|peer FILE`` does it once in a process of its own and prints what
it cost as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64] | NDArray[np.int64]]


@dataclass(frozen=True)
class Cost:
    """What reading a file once took.

    Attributes
    ----------
    seconds : float
        Imports are over before.
    megabytes : float
        The most memory that was resident in the process (10^6 bytes), those it started left out.
    sums : dict of str to float
        Of each column: both readers must agree.
    """

    seconds: float
    megabytes: float
    sums: dict[str, float]


def read_ours(path: Path, images: Path) -> tuple[object, Columns]:
    """Return kpwidget's dataset and its columns; `images` may be an empty folder."""
    import kpwidget

    dataset = kpwidget.read(path, images=images)
    table = dataset._table
    rows = table.live_rows()
    return dataset, {
        "keypoints": table.raw_keypoints_of(0, rows),
        "bbox": table.column("bbox", rows),
        "area": table.column("area", rows),
        "id": table.column("id", rows),
        "image": table.column("image", rows),
    }


def read_peer(path: Path, images: Path) -> tuple[object, Columns]:
    """Return pycocotools' COCO and the same columns made of its dicts."""
    from pycocotools.coco import COCO  # type: ignore[import-untyped]

    with contextlib.redirect_stdout(io.StringIO()):  # it says how long it took
        coco = COCO(str(path))
    annotations = list(coco.anns.values())
    n = len(annotations)
    index_of = {image_id: i for i, image_id in enumerate(coco.imgs)}
    return coco, {
        "keypoints": np.array([a["keypoints"] for a in annotations], float).reshape(n, -1, 3),
        "bbox": np.array([a["bbox"] for a in annotations], float),
        "area": np.array([a["area"] for a in annotations], float),
        "id": np.array([a["id"] for a in annotations], np.int64),
        "image": np.array([index_of[a["image_id"]] for a in annotations], np.int64),
    }


READERS: dict[str, Callable[[Path, Path], tuple[object, Columns]]] = {
    "ours": read_ours,
    "peer": read_peer,
}


def _peak_megabytes() -> float:
    # The kernel's ru_maxrss is handed on to a started program, so a large parent would count.
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _import_for(reader: str) -> None:
    if reader == "ours":
        from kpwidget import read  # noqa: F401
    else:
        from pycocotools.coco import COCO  # noqa: F401


def cost(reader: str, path: Path) -> Cost:
    """Read once, in this process."""
    _import_for(reader)
    with tempfile.TemporaryDirectory() as images:
        start = time.perf_counter()
        whole, columns = READERS[reader](path, Path(images))
        seconds = time.perf_counter() - start
    del whole
    megabytes = _peak_megabytes()
    return Cost(seconds, megabytes, {name: float(c.sum()) for name, c in columns.items()})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(cost(sys.argv[1], Path(sys.argv[2])))))
