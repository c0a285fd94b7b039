"""Faults planted in real labels: how many of them the checks find, and what they find besides.

``python -m benchmarks.planted [FOLDER]``, the folder having coco-mini, coco-people, ... (default:
``../shared/data``). Without it there is nothing to measure, and it says so.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kpwidget as kp
from kpwidget import quality
from kpwidget.quality.drift import Drift, offsets_from_others
from kpwidget.quality.intervals import wilson
from kpwidget.quality.labels import flip_pairs_of, labels_of

SEED = 20261122
MINI = "coco-mini/person_keypoints_train2017.json"
FILES = (
    MINI,
    "coco-people/test_coco.json",
    "animal-ap10k/test_ap10k.json",
    "tracks-posetrack18/test_posetrack18_val.json",
)
N_PLANTED = 10


def read(values: dict[str, Any]) -> kp.Dataset:
    """Dataset of the content of a COCO file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        return kp.read(path, format="coco")


def keys(found: pd.DataFrame) -> set[tuple[str, str | None, str | None]]:
    rows = found[found["severity"] != "note"]
    return set(zip(rows["check"], rows["instance"], rows["keypoint"], strict=True))


def score(name: str, planted: set[Any], found: set[Any], before: set[Any]) -> str:
    """Recall, and what is found that was neither planted nor there before."""
    caught, false = planted & found, found - planted - before
    low, high = wilson(len(caught), len(planted))
    return (
        f"{name:<44} found {len(caught):>3} of {len(planted):>3} "
        f"(95 %: {low:.2f} to {high:.2f}), false alarms {len(false)}"
    )


def flags(text: str, before: set[Any], rng: np.random.Generator) -> Iterator[str]:
    """Contradictions, ten of each kind."""
    names = kp.schemas.get("coco17").keypoints
    for kind in (
        "visibility 0.5",
        "v = 0 with x, y",
        "labeled at (0, 0)",
        "outside",
        "num_keypoints",
    ):
        values = json.loads(text)
        sizes = {image["id"]: image["width"] for image in values["images"]}
        people = [a for a in values["annotations"] if a["num_keypoints"]]
        planted = set()
        for i in rng.choice(len(people), N_PLANTED, replace=False):
            points, uid = people[i]["keypoints"], f"coco:{people[i]['id']}"
            k = int(rng.choice([k for k in range(17) if points[3 * k + 2] == 2]))
            keypoint: str | None = names[k]
            if kind == "visibility 0.5":
                points[3 * k + 2] = 0.5
            elif kind == "v = 0 with x, y":
                points[3 * k + 2] = 0
                people[i]["num_keypoints"] -= 1
            elif kind == "labeled at (0, 0)":
                points[3 * k : 3 * k + 2] = [0, 0]
            elif kind == "outside":
                points[3 * k] = sizes[people[i]["image_id"]] + int(rng.integers(1, 40))
            else:
                people[i]["num_keypoints"] += 1
                keypoint = None
            planted.add(("visibility", uid, keypoint))
        found = keys(quality.check(read(values), "visibility"))
        yield score(f"flags: {kind}", planted, found, before)


def hidden(text: str, before: set[Any]) -> str:
    """Every occluded keypoint called visible: those off their own mask can be known."""
    values = json.loads(text)
    names = kp.schemas.get("coco17").keypoints
    planted = set()
    for person in values["annotations"]:
        points = person["keypoints"]
        for k in range(17):
            if points[3 * k + 2] == 1:
                points[3 * k + 2] = 2
                planted.add(("occlusion", f"coco:{person['id']}", names[k]))
    return score(
        "masks: occluded called visible",
        planted,
        keys(quality.check(read(values), "occlusion")),
        before,
    )


def moved(text: str, before: set[Any], rng: np.random.Generator) -> str:
    """A visible keypoint of 30 people moved by 10 sigma*s in any direction."""
    dataset = read(json.loads(text))
    [labels] = labels_of(dataset)
    names, planted = labels.category.keypoints, set()
    for i in rng.choice(len(labels.rows), 30, replace=False).tolist():
        k = int(rng.choice(np.flatnonzero(labels.points[i, :, 2] == 2)))
        turn, far = rng.uniform(0, 2 * np.pi), 10 * labels.sigmas[k] * labels.size[i]
        x, y = labels.points[i, k, :2] + far * np.array([np.cos(turn), np.sin(turn)])
        dataset.instance(labels.uid(i)).set_keypoint(k, x, y)
        planted.add(("occlusion", labels.uid(i), names[k]))
    return score(
        "masks: moved by 10 sigma*s", planted, keys(quality.check(dataset, "occlusion")), before
    )


def swaps(text: str, before: set[Any], rng: np.random.Generator, n_runs: int = 20) -> Iterator[str]:
    """A pair of three people swapped, again and again: any pair, and one that is wide apart."""
    for least in (0.0, 2.0):
        planted, found = set(), set()
        for run in range(n_runs):
            dataset = read(json.loads(text))
            [labels] = labels_of(dataset)
            pairs, names = flip_pairs_of(labels.category.schema), labels.category.keypoints
            way = np.diff(labels.points[:, pairs, :2], axis=2)[:, :, 0]
            unit = labels.sigmas[pairs].max(axis=1) * labels.size[:, None]
            able = np.argwhere(np.hypot(way[..., 0], way[..., 1]) > least * unit)
            for i, p in able[rng.choice(len(able), 3, replace=False)].tolist():
                points, pair = labels.points[i].copy(), pairs[p].tolist()
                points[pair] = points[pair[::-1]]
                dataset.instance(labels.uid(i)).set_keypoints(points)
                planted.add((run, "sides", labels.uid(i), names[pair[0]]))
            found |= {(run, *one) for one in keys(quality.check(dataset, "sides")) - before}
        what = f", {least:g} sigma*s apart" if least else ""
        yield score(f"sides: a pair swapped{what}", planted, found, set())


def sequence(
    pose: np.ndarray, rng: np.random.Generator, n: int = 80
) -> tuple[kp.Dataset, set[Any]]:
    """A real pose that walks, with noise of 1 px, whole pixels, five twitches, five jumps."""
    images = {f"clip/{i:04}.png": np.zeros((2, 2), np.uint8) for i in range(n)}
    dataset = kp.Dataset.from_images(images, kp.schemas.get("coco17"))
    for state in dataset._images:
        state.recorded_size = (4000, 4000)
    t = np.arange(n)[:, None]
    phase = rng.uniform(0, 2 * np.pi, 17)
    path = (
        pose[None, :, :2]
        + 1000
        + np.stack([3.0 * t + 15 * np.sin(t / 8 + phase), 8 * np.sin(t / 8 + 2 * phase)], axis=2)
    )
    path += rng.normal(0, 1.0, path.shape) + rng.normal(0, 3.0, (n, 1, 2))
    planted = set()
    for k, kind in zip(rng.choice(17, 10, replace=False), ["twitch", "jump"] * 5, strict=True):
        at, turn = int(rng.integers(8, n - 8)), rng.uniform(0, 2 * np.pi)
        shift = (15 if kind == "twitch" else 25) * np.array([np.cos(turn), np.sin(turn)])
        path[at : at + 1 if kind == "twitch" else None, k] += shift
        planted.add((f"clip/{at:04}.png", kp.schemas.get("coco17").keypoints[k], kind))
    for i in range(n):
        dataset.add_instance(i, keypoints=np.round(path[i]), track_id=1)
    return dataset, planted


def jitters(text: str, rng: np.random.Generator) -> Iterator[str]:
    dataset = read(json.loads(text))
    full = [p for p in dataset.keypoints() if (p[:, 2] > 0).all()]
    planted_all, found_all, n_series = set(), set(), 0
    sds = []
    for i in range(10):
        clip, planted = sequence(full[i % len(full)], rng)
        found = quality.jitter(clip)
        sds += found.estimates["sd_px"].tolist()
        n_series += 17
        planted_all |= {(i, *one) for one in planted}
        events = found.events
        found_all |= {
            (i, *one)
            for one in zip(events["image"], events["keypoint"], events["kind"], strict=True)
        }
    yield score("jitter: twitches of 15 px, jumps of 25 px", planted_all, found_all, set())
    expected = float(np.hypot(1.0, 1 / np.sqrt(12)))
    yield f"jitter: noise of {expected:.2f} px measured as {np.mean(sds):.2f} ({n_series} series)"


def drifts(text: str, rng: np.random.Generator, n_runs: int = 100) -> Iterator[str]:
    """One keypoint moved from the middle on, images in an order that is shuffled."""
    dataset = read(json.loads(text))
    [labels] = labels_of(dataset)
    names = labels.category.keypoints
    for size in (0.0, 1.0, 2.0, 4.0):
        n_found = n_other = 0
        for run in range(n_runs):
            images = rng.permutation(np.unique(labels.images))
            place = np.argsort(images)[np.searchsorted(np.unique(labels.images), labels.images)]
            order = np.argsort(place, kind="stable")
            points = labels.points.copy()
            late = place >= len(images) // 2
            shift = size * labels.sigmas[5] * labels.size[late]
            points[late, 5, 0] += shift
            moved = labels._replace(points=points)
            one = Drift.of_differences(
                offsets_from_others(moved)[order],
                [labels.file_name(i) for i in order.tolist()],
                names,
                labels.sigmas,
                float(np.median(labels.size)),
                is_anchored=False,
                rng=run,
            )
            found = {f.keypoint for f in quality.drift_findings([one]) if f.severity != "note"}
            n_found += names[5] in found
            n_other += bool(found - {names[5]})
        yield (
            f"drift: {names[5]} by {size:g} sigma*s from the middle of {len(images)} images: found "
            f"in {n_found} of {n_runs} orders; another keypoint in {n_other}"
        )


def untouched(folder: Path) -> Iterator[str]:
    """What is found in the files as they are, notes counted only."""
    for name in FILES:
        dataset = kp.read(folder / name)
        found = quality.check(dataset)
        counts = found.groupby(["check", "severity"]).size().to_dict()
        yield f"untouched {name}: {len(dataset.instances)} instances: " + (
            ", ".join(f"{n} {check} {kind}s" for (check, kind), n in counts.items()) or "nothing"
        )
        for row in found[found["severity"] != "note"].itertuples():
            yield f"    {row.severity} {row.image} {row.instance} {row.keypoint}: {row.reason}"


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    if not (folder / MINI).is_file():
        print(f"nothing to measure: {folder / MINI} is not there; give the folder that has it")
        return 0
    text = (folder / MINI).read_text(encoding="utf-8")
    before = keys(quality.check(read(json.loads(text))))
    rng = np.random.default_rng(SEED)
    print(f"{MINI}, seed {SEED}; {len(before)} findings before anything is planted")
    for line in (
        *flags(text, before, rng),
        hidden(text, before),
        moved(text, before, rng),
        *swaps(text, before, rng),
        *jitters(text, rng),
        *drifts(text, rng),
        *untouched(folder),
    ):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
