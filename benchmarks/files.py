"""Reading and writing files of the size of COCO against what people use for it."""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.util
import inspect
import itertools
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import kpwidget
from kpwidget.formats import FORMATS
from tests.browser.server import REPOSITORY

from .columns import READERS, Cost
from .rig import Rig
from .synthetic import QUICK_TRAIN, QUICK_VAL, TRAIN, VAL, Shape, made_coco
from .table import Row, against_peer, compare

#: The largest ratios: of time and of peak memory against pycocotools with columns, of time against
#: a copy of the file, against ultralytics' convert_coco, and of other formats against COCO.
LIMIT_READ_TRAIN, LIMIT_MEMORY, LIMIT_READ_VAL = 0.25, 0.45, 0.4
LIMIT_SAVE, LIMIT_YOLO, LIMIT_FORMATS = 2.0, 0.8, 3.0


def _missing(package: str, options: str = "") -> str:
    """Say that a peer is not installed; empty if it is."""
    if importlib.util.find_spec(package) is not None:
        return ""
    return f"not installed: pip install {options}{package}"


def _said(shape: Shape) -> str:
    return f"{shape.n_megabytes:g} MB"


def _warm(path: Path) -> None:
    """Have the whole file in the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            continue


def _in_turn(
    actions: Mapping[str, Callable[[], float]], n: int, n_dropped: int = 1
) -> dict[str, list[float]]:
    """Samples of all actions in turn; which is first alternates, the first of each is dropped."""
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for i in range(n + n_dropped):
        for name in list(actions)[:: 1 if i % 2 else -1]:
            gc.collect()
            value = actions[name]()
            if i >= n_dropped:
                samples[name].append(value)
    return samples


def _check_same(found: Mapping[str, Mapping[str, float]]) -> None:
    """Raise RuntimeError if two readers did not read the same numbers."""
    for name, ours in found["ours"].items():
        if not np.isclose(ours, found["peer"][name], rtol=1e-9):
            raise RuntimeError(
                f"sum of {name}: kpwidget read {ours!r}, pycocotools {found['peer'][name]!r}"
            )


# -- reading --------------------------------------------------------------------------------


def _resident_megabytes(pid: int) -> float:
    """Memory resident in a process and all that it started; shared pages count for each."""
    kibibytes = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                kibibytes = int(line.split()[1])
        started = [
            int(child)
            for file in Path(f"/proc/{pid}/task").glob("*/children")
            for child in file.read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0.0
    return kibibytes * 1024 / 1e6 + sum(map(_resident_megabytes, started))


def _cost_apart(reader: str, path: Path) -> Cost:
    """Cost in a process of its own, the memory of processes that it starts included."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.columns", reader, str(path)],
        cwd=REPOSITORY,
        env=os.environ | {"TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
    ) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _resident_megabytes(process.pid))
            time.sleep(0.01)
        answer, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{reader} could not read {path}; it says why above")
    cost = Cost(**json.loads(answer))
    # The process itself knows its peak exactly; between two looks may lie one of the sum.
    return replace(cost, megabytes=max(peak, cost.megabytes))


def measure_read_train(rig: Rig) -> list[Row]:
    """Time and peak memory in fresh processes."""
    shape = QUICK_TRAIN if rig.is_quick else TRAIN
    path = made_coco(shape, rig.made)
    missing = _missing("pycocotools")
    _warm(path)
    costs: dict[str, list[Cost]] = {"ours": [], "peer": []}
    for i in range(rig.samples(5, 2)):
        for reader in ("ours", "peer")[:: 1 if i % 2 else -1]:
            if reader == "ours" or not missing:
                costs[reader].append(_cost_apart(reader, path))
    if not missing:
        _check_same({reader: found[0].sums for reader, found in costs.items()})
    return [
        against_peer(
            f"read {_said(shape)} of COCO: {what}",
            unit,
            [getattr(cost, field) for cost in costs["ours"]],
            [getattr(cost, field) for cost in costs["peer"]],
            limit,
            missing=missing,
            note="pycocotools with columns",
        )
        for what, unit, field, limit in (
            ("time", "s", "seconds", LIMIT_READ_TRAIN),
            ("peak memory", "MB", "megabytes", LIMIT_MEMORY),
        )
    ]


def measure_read_val(rig: Rig) -> list[Row]:
    """Time in this process, again and again."""
    shape = QUICK_VAL if rig.is_quick else VAL
    path = made_coco(shape, rig.made)
    missing = _missing("pycocotools")
    images = rig.folder / "no images"
    images.mkdir(exist_ok=True)
    sums: dict[str, dict[str, float]] = {}

    def timed(reader: str) -> float:
        start = time.perf_counter()
        _whole, columns = READERS[reader](path, images)
        took = 1000 * (time.perf_counter() - start)
        sums[reader] = {name: float(column.sum()) for name, column in columns.items()}
        return took

    readers = ["ours"] if missing else ["ours", "peer"]
    samples = _in_turn({r: partial(timed, r) for r in readers}, rig.samples(15, 3))
    if not missing:
        _check_same(sums)
    return [
        against_peer(
            f"read {_said(shape)} of COCO",
            "ms",
            samples["ours"],
            samples.get("peer", []),
            LIMIT_READ_VAL,
            missing=missing,
            note="pycocotools with columns",
        )
    ]


# -- writing --------------------------------------------------------------------------------


def measure_save_train(rig: Rig) -> list[Row]:
    """``ds.save()`` after an edit against a copy of the file that is on the disk as well."""
    shape = QUICK_TRAIN if rig.is_quick else TRAIN
    folder = rig.folder / "save"
    (folder / "images").mkdir(parents=True)
    path = folder / "labels.json"
    shutil.copyfile(made_coco(shape, rig.made), path)
    dataset = kpwidget.open(path, images=folder / "images")
    instances = dataset.instances
    rng = random.Random(1)

    def save() -> float:
        instance = instances[rng.randrange(len(instances))]
        instance.set_keypoint(rng.randrange(17), rng.randrange(300), rng.randrange(300))
        start = time.perf_counter()
        dataset.save()
        return 1000 * (time.perf_counter() - start)

    def copy() -> float:
        target = folder / "copy.json"
        start = time.perf_counter()
        shutil.copyfile(path, target)
        descriptor = os.open(target, os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)
        took = 1000 * (time.perf_counter() - start)
        target.unlink()
        return took

    samples = _in_turn({"ours": save, "floor": copy}, rig.samples(9, 3))
    shutil.rmtree(folder)
    return [
        compare(
            f"save {_said(shape)} of COCO after an edit",
            "ms",
            samples["ours"],
            samples["floor"],
            LIMIT_SAVE,
            note="copy and fsync",
        )
    ]


def _convert_coco() -> Callable[..., None]:
    """Return ultralytics' convert_coco, out of its source: importing the package needs torch."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent

    def silent(iterable: Iterable[Any], **_options: object) -> Iterable[Any]:
        return iterable

    logger = logging.getLogger("ultralytics")
    logger.setLevel(logging.WARNING)
    names: dict[str, Any] = {
        "Path": Path,
        "np": np,
        "json": json,
        "os": os,
        "defaultdict": defaultdict,
        "LOGGER": logger,
        "TQDM": silent,
    }
    for file, wanted in (
        ("utils/files.py", ["increment_path"]),
        ("data/converter.py", ["coco91_to_coco80_class", "convert_coco"]),
    ):
        body = [
            node
            for node in ast.parse((root / file).read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name in wanted
        ]
        if len(body) != len(wanted):
            raise RuntimeError(f"{root / file}: expected functions {wanted}, got {len(body)}")
        lazily = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
        module = ast.fix_missing_locations(ast.Module([lazily, *body], []))
        exec(compile(module, str(root / file), "exec"), names)
    convert: Callable[..., None] = names["convert_coco"]
    return convert


def _counts(folder: Path) -> str:
    files = list((folder / "labels").rglob("*.txt"))  # beside them may be lists of images
    lines = sum(path.read_bytes().count(b"\n") for path in files)
    return f"{len(files)} files with {lines} lines"


def measure_yolo(rig: Rig) -> list[Row]:
    """From a COCO file to YOLO labels, reading included on both sides."""
    shape = QUICK_VAL if rig.is_quick else VAL
    missing = _missing("ultralytics", "--no-deps ")
    folder = rig.folder / "yolo"
    source, images = folder / "annotations", folder / "images"
    source.mkdir(parents=True)
    images.mkdir()
    path = source / "person_keypoints.json"
    shutil.copyfile(made_coco(shape, rig.made), path)
    convert = None if missing else _convert_coco()
    counts: dict[str, str] = {}
    numbers = itertools.count()

    def timed(name: str, act: Callable[[Path], object]) -> float:
        # Nothing is deleted between the samples, and all that was written before is on disk: a
        # file system that is still busy with either takes several times as long to make files.
        target = folder / f"{name}{next(numbers)}"
        os.sync()
        start = time.perf_counter()
        act(target)
        took = 1000 * (time.perf_counter() - start)
        counts[name] = _counts(target)
        return took

    def ours(target: Path) -> None:
        dataset = kpwidget.read(path, images=images)
        kpwidget.write(dataset, target, format="yolo-pose", images="leave", allow_loss=True)

    actions = {"ours": lambda: timed("ours", ours)}
    if convert is not None:
        actions["peer"] = lambda: timed(
            "peer",
            lambda target: convert(
                str(source), save_dir=str(target), use_keypoints=True, cls91to80=False
            ),
        )
    samples = _in_turn(actions, rig.samples(9, 3))
    shutil.rmtree(folder)
    said = "; ".join(f"{name} {count}" for name, count in counts.items())
    return [
        against_peer(
            f"{_said(shape)} of COCO to YOLO pose",
            "ms",
            samples["ours"],
            samples.get("peer", []),
            LIMIT_YOLO,
            missing=missing,
            note=f"ultralytics' convert_coco; {said}",
        )
    ]


def _without_a_file(dataset: kpwidget.Dataset) -> kpwidget.Dataset:
    """Return the same images and instances, from no file of which a writer could copy parts."""
    made = dataset._without_instances()
    for image in made._images:
        image.extra, image.text = None, None
    table, rows = dataset._table, dataset._table.live_rows()
    names = ("id", "bbox", "area", "iscrowd")
    made._table.extend(
        uids=table.uids(rows),
        image=table.column("image", rows),
        category=table.column("category", rows),
        keypoints={c: table.raw_keypoints_of(c, rows) for c in range(len(dataset.categories))},
        source="imported",
        **{name: table.column(name, rows) for name in names},
    )
    return made


def measure_write_formats(rig: Rig) -> list[Row]:
    """Writing a dataset that came from no file in each format against writing it as COCO."""
    shape = QUICK_VAL if rig.is_quick else VAL
    folder = rig.folder / "formats"
    folder.mkdir()
    dataset = _without_a_file(kpwidget.read(made_coco(shape, rig.made)))
    numbers = itertools.count()

    def timed(name: str) -> float:
        row = FORMATS[name]
        writer = getattr(importlib.import_module(row.module), row.writer)
        has_images = "images" in inspect.signature(writer).parameters
        leave: dict[str, Any] = {"images": "leave"} if has_images else {}
        target = folder / str(next(numbers)) / "labels"
        target.parent.mkdir()
        os.sync()
        start = time.perf_counter()
        kpwidget.write(dataset, target, format=name, allow_loss=True, **leave)
        return 1000 * (time.perf_counter() - start)

    missing = {name: _missing(row.needs) if row.needs else "" for name, row in FORMATS.items()}
    there = [name for name in FORMATS if not missing[name]]
    samples = _in_turn({name: partial(timed, name) for name in there}, rig.samples(7, 3))
    shutil.rmtree(folder)
    note = f"COCO; {len(dataset.instances):,} instances"
    return [
        Row(f"write {name}", None, "ms", peer_text=missing[name])
        if missing[name]
        else compare(
            f"write {name}", "ms", samples[name], samples["coco"], LIMIT_FORMATS, note=note
        )
        for name in FORMATS
        if name != "coco"
    ]
