"""Made COCO files of the size of person_keypoints_train2017 and _val2017, the same every time.

``python -m benchmarks.synthetic [FOLDER]`` makes them without measuring anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Stands in the file: a file of another edition is made again.
EDITION = 1

#: Annotations that are made and written at a time.
CHUNK = 8192

#: (width, height) of images: the five commonest of COCO 2017.
SIZES = np.array([(640, 480), (640, 427), (480, 640), (427, 640), (500, 375)])
LONGEST = 640

LICENSES = (
    ("http://creativecommons.org/licenses/by-nc-sa/2.0/", "Attribution-NonCommercial-ShareAlike"),
    ("http://creativecommons.org/licenses/by-nc/2.0/", "Attribution-NonCommercial License"),
    ("http://creativecommons.org/licenses/by-nc-nd/2.0/", "Attribution-NonCommercial-NoDerivs"),
    ("http://creativecommons.org/licenses/by/2.0/", "Attribution License"),
    ("http://creativecommons.org/licenses/by-sa/2.0/", "Attribution-ShareAlike License"),
    ("http://creativecommons.org/licenses/by-nd/2.0/", "Attribution-NoDerivs License"),
    ("http://flickr.com/commons/usage/", "No known copyright restrictions"),
    ("http://www.usa.gov/copyright.shtml", "United States Government Work"),
)

#: As COCO 2017 writes its category, skeleton with 1-based pairs.
CATEGORIES = (
    '"categories": [{"supercategory": "person","id": 1,"name": "person","keypoints": ["nose",'
    '"left_eye","right_eye","left_ear","right_ear","left_shoulder","right_shoulder","left_elbow",'
    '"right_elbow","left_wrist","right_wrist","left_hip","right_hip","left_knee","right_knee",'
    '"left_ankle","right_ankle"],"skeleton": [[16,14],[14,12],[17,15],[15,13],[12,13],[6,12],'
    "[7,13],[6,7],[6,8],[7,9],[8,10],[9,11],[2,3],[1,2],[1,3],[2,4],[3,5],[4,6],[5,7]]}]"
)

#: A standing person: where each keypoint is in the bbox, x and y in [0, 1].
PERSON = np.array(
    [
        *((0.50, 0.10), (0.54, 0.07), (0.46, 0.07), (0.60, 0.09), (0.40, 0.09)),
        *((0.72, 0.22), (0.28, 0.22), (0.82, 0.38), (0.18, 0.38), (0.84, 0.52), (0.16, 0.52)),
        *((0.64, 0.52), (0.36, 0.52), (0.65, 0.74), (0.35, 0.74), (0.66, 0.95), (0.34, 0.95)),
    ]
)
NO_KEYPOINTS = ",".join(["0"] * 51)

#: Text of every number of hundredths up to the longest side, as Python writes it, and of integers.
HUNDREDTHS = [repr(n / 100) for n in range(100 * LONGEST + 1)]
INTEGERS = [str(n) for n in range(LONGEST + 1)]


@dataclass(frozen=True)
class Shape:
    """How much of everything a made file has.

    Attributes
    ----------
    name : str
        Of the file, without ending.
    n_images, n_images_used : int
        All images, and those with an annotation.
    n_annotations, n_labeled, n_crowds : int
        All annotations, those with a labeled keypoint, and the crowds.
    n_vertices : float
        Mean number of polygon vertices of an annotation that is no crowd: sets the size.
    n_megabytes : float
        Size of the file in 10^6 bytes, within 1 %.
    seed : int
    """

    name: str
    n_images: int
    n_images_used: int
    n_annotations: int
    n_labeled: int
    n_crowds: int
    n_vertices: float
    n_megabytes: float
    seed: int


#: Counts as in COCO 2017; in its validation file 2,693 images have people. Crowds are about 1.5 %.
TRAIN = Shape("train", 64_115, 64_115, 262_465, 149_813, 3_900, 89.7, 418.0, 1)
VAL = Shape("val", 5_000, 2_693, 11_004, 6_352, 165, 34.2, 10.0, 2)
#: For ``--quick``: a sixteenth of each.
QUICK_TRAIN = Shape("quick-train", 4_007, 4_007, 16_404, 9_363, 244, 89.7, 26.1, 3)
QUICK_VAL = Shape("quick-val", 312, 168, 688, 397, 10, 34.2, 0.625, 4)

#: The small dataset that an edit in the large one is held against; as many instances an image.
SMALL = Shape("small", 244, 244, 1_000, 571, 15, 89.7, 1.63, 5)


def default_folder() -> Path:
    """Where made files are kept: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "kpwidget-benchmarks"


def made_coco(shape: Shape, folder: Path) -> Path:
    """File of a shape, made if it is not there.

    Raises
    ------
    RuntimeError
        If its size comes out more than 1 % off.
    """
    path = folder / f"{shape.name}.json"
    head = _head(shape)
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(head)) == head:
                return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for piece in _pieces(shape):
            file.write(piece)
    megabytes = partial.stat().st_size / 1e6
    if abs(megabytes / shape.n_megabytes - 1) > 0.01:
        raise RuntimeError(
            f"{partial}: expected {shape.n_megabytes} MB within 1 %, got {megabytes:.2f}; "
            f"change n_vertices of {shape.name!r} in {__file__}"
        )
    partial.replace(path)
    return path


def _head(shape: Shape) -> bytes:
    licenses = ",".join(
        f'{{"url": "{url}","id": {i},"name": "{name}"}}'
        for i, (url, name) in enumerate(LICENSES, 1)
    )
    return (
        f'{{"info": {{"description": "Synthetic, in the layout of COCO 2017: {shape.name}, edition '
        f'{EDITION}","url": "http://cocodataset.org","version": "1.0","year": 2017,"contributor": '
        f'"{shape}","date_created": "2017/09/01"}},"licenses": [{licenses}],"images": ['
    ).encode()


def _pieces(shape: Shape) -> Iterator[bytes]:
    rng = np.random.default_rng(shape.seed)
    yield _head(shape)
    n = shape.n_images
    ids = rng.choice(np.arange(9, 9 + 9 * n), n, replace=False)
    sizes = SIZES[rng.choice(len(SIZES), n, p=[0.35, 0.3, 0.15, 0.1, 0.1])]
    yield ",".join(_image_records(rng, ids, sizes)).encode()
    yield b'],"annotations": ['
    # One annotation for each image that is used, the others anywhere, in no order.
    used = rng.permutation(n)[: shape.n_images_used]
    more = rng.choice(used, shape.n_annotations - len(used))
    images = rng.permutation(np.concatenate([used, more]))
    numbers = rng.choice(np.arange(183_000, 183_000 + 8 * len(images)), len(images), replace=False)
    # At most one crowd an image, so that its id can be made of the image's, as COCO's are. They
    # stand at the end, as in COCO's files.
    _, first = np.unique(images, return_index=True)
    crowds = rng.choice(first, shape.n_crowds, replace=False)
    people = np.setdiff1d(np.arange(len(images)), crowds)
    is_labeled = np.zeros(len(people), bool)
    is_labeled[rng.choice(len(people), shape.n_labeled, replace=False)] = True
    comma = ""
    for start in range(0, len(people), CHUNK):
        chosen = people[start : start + CHUNK]
        at = images[chosen]
        records = _people(
            rng,
            ids[at],
            sizes[at],
            numbers[chosen],
            is_labeled[start : start + CHUNK],
            shape.n_vertices,
        )
        yield (comma + ",".join(records)).encode()
        comma = ","
    yield (comma + ",".join(_crowd(rng, int(ids[i]), sizes[i]) for i in images[crowds])).encode()
    yield f"],{CATEGORIES}}}".encode()


def _image_records(
    rng: np.random.Generator, ids: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Iterator[str]:
    n = len(ids)
    columns = zip(
        ids.tolist(),
        sizes.tolist(),
        rng.integers(1, 9, n).tolist(),
        (np.datetime64("2013-11-14T12:00:00") + rng.integers(0, 900_000, n)).astype(str).tolist(),
        rng.integers(1, 10, n).tolist(),
        rng.integers(1000, 9000, n).tolist(),
        rng.integers(10**9, 10**10, n).tolist(),
        rng.integers(0, 16**10, n).tolist(),
        strict=True,
    )
    for number, (width, height), rights, date, farm, server, photo, secret in columns:
        yield (
            f'{{"license": {rights},"file_name": "{number:012}.jpg","coco_url": '
            f'"http://images.cocodataset.org/train2017/{number:012}.jpg","height": {height},'
            f'"width": {width},"date_captured": "{date.replace("T", " ")}","flickr_url": '
            f'"http://farm{farm}.staticflickr.com/{server}/{photo}_{secret:010x}_z.jpg",'
            f'"id": {number}}}'
        )


def _people(
    rng: np.random.Generator,
    image_ids: NDArray[np.int64],
    sizes: NDArray[np.int64],
    numbers: NDArray[np.int64],
    is_labeled: NDArray[np.bool_],
    n_vertices: float,
) -> list[str]:
    """Records of annotations with polygons, in image pixels."""
    n = len(numbers)
    # Half extents, by far the most people are small; then a centre that keeps them inside.
    half = sizes * np.minimum(0.49, rng.lognormal(-2.4, 0.7, (n, 1)) * [0.6, 1.0] + 0.01)
    centre = half + rng.random((n, 2)) * (sizes - 2 * half)
    # Vertices around the centre; a few annotations are of two parts.
    spread = 0.6
    wanted = rng.lognormal(np.log(n_vertices) - spread**2 / 2, spread, n)
    counts = np.maximum(np.rint(wanted).astype(np.int64), 4)
    starts = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(n), counts)
    turn = (np.arange(len(owner)) - starts[owner] + rng.random(len(owner))) / counts[owner]
    lobes = 1 + 0.25 * np.sin(2 * np.pi * (3 * turn + rng.random(n)[owner]))
    reach = lobes * rng.uniform(0.7, 0.8, len(owner))
    way = np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=1)
    xy = np.round(100 * (centre[owner] + half[owner] * reach[:, None] * way)).astype(np.int64)
    xy = np.clip(xy, 0, 100 * sizes[owner])
    low = np.minimum.reduceat(xy, starts[:-1])
    extent = np.maximum.reduceat(xy, starts[:-1]) - low
    following = np.arange(1, len(owner) + 1)
    following[starts[1:] - 1] = starts[:-1]
    cross = xy[:, 0] * xy[following, 1] - xy[following, 0] * xy[:, 1]
    areas = np.abs(np.add.reduceat(cross, starts[:-1])) / 2 / 10_000
    is_parted = (counts >= 12) & (rng.random(n) < 0.2)
    numerals = list(map(HUNDREDTHS.__getitem__, xy.ravel().tolist()))
    keypoints, n_keypoints = _keypoints(rng, low / 100, extent / 100, sizes, is_labeled)
    boxes = map(HUNDREDTHS.__getitem__, np.concatenate([low, extent], axis=1).ravel().tolist())
    columns = zip(
        (2 * starts[:-1]).tolist(),
        (2 * starts[1:]).tolist(),
        is_parted.tolist(),
        areas.tolist(),
        keypoints,
        n_keypoints.tolist(),
        image_ids.tolist(),
        numbers.tolist(),
        zip(boxes, boxes, boxes, boxes, strict=True),
        strict=True,
    )
    records = []
    for start, end, parted, area, points, n_points, image, number, bbox in columns:
        if parted:
            middle = start + (end - start) // 4 * 2
            polygons = f"[{','.join(numerals[start:middle])}],[{','.join(numerals[middle:end])}]"
        else:
            polygons = f"[{','.join(numerals[start:end])}]"
        records.append(
            f'{{"segmentation": [{polygons}],"num_keypoints": {n_points},"area": {area!r},'
            f'"iscrowd": 0,"keypoints": [{points}],"image_id": {image},"bbox": [{",".join(bbox)}],'
            f'"category_id": 1,"id": {number}}}'
        )
    return records


def _keypoints(
    rng: np.random.Generator,
    low: NDArray[np.float64],
    extent: NDArray[np.float64],
    sizes: NDArray[np.int64],
    is_labeled: NDArray[np.bool_],
) -> tuple[list[str], NDArray[np.int64]]:
    """Text and number of labeled ones of the keypoints in each bbox, whole image pixels."""
    n, n_keypoints = len(low), len(PERSON)
    visibility = rng.choice(3, (n, n_keypoints), p=[0.3, 0.1, 0.6])
    visibility[np.arange(n), rng.integers(n_keypoints, size=n)] = 2  # at least one is labeled
    visibility[~is_labeled] = 0
    place = PERSON + rng.normal(0, 0.04, (n, n_keypoints, 2))
    xy = low[:, None] + extent[:, None] * np.clip(place, 0, 1)
    keypoints = np.empty((n, n_keypoints, 3), np.int64)
    keypoints[..., :2] = np.clip(np.round(xy), 0, sizes[:, None] - 1)
    keypoints[visibility == 0] = 0
    keypoints[..., 2] = visibility
    texts = [
        ",".join(map(INTEGERS.__getitem__, row)) if labeled else NO_KEYPOINTS
        for row, labeled in zip(keypoints.reshape(n, -1).tolist(), is_labeled.tolist(), strict=True)
    ]
    return texts, np.count_nonzero(visibility, axis=1)


def _crowd(rng: np.random.Generator, image_id: int, size: NDArray[np.int64]) -> str:
    """Record of a crowd: an uncompressed RLE, down the columns, first the run of zeros."""
    width, height = size.tolist()
    left = int(rng.integers(0, width // 2))
    n_columns = int(rng.integers(20, width - left))
    middle = height / 2 + np.cumsum(rng.normal(0, 1, n_columns))
    top = np.clip(middle - height / 6 - rng.integers(0, 9, n_columns), 0, height - 2)
    top = top.astype(np.int64)
    bottom = np.clip(middle + height / 6 + rng.integers(0, 9, n_columns), top + 1, height - 1)
    bottom = bottom.astype(np.int64)
    zeros = top.copy()
    zeros[0] += left * height
    zeros[1:] += height - bottom[:-1]
    runs = np.stack([zeros, bottom - top], axis=1).ravel().tolist()
    runs.append(width * height - sum(runs))
    bbox = [left, int(top.min()), n_columns, int(bottom.max() - top.min())]
    return (
        f'{{"segmentation": {{"counts": [{",".join(map(str, runs))}],"size": [{height},{width}]}},'
        f'"num_keypoints": 0,"area": {int((bottom - top).sum())},"iscrowd": 1,"keypoints": '
        f'[{NO_KEYPOINTS}],"image_id": {image_id},"bbox": [{",".join(map(str, bbox))}],'
        f'"category_id": 1,"id": {900_100_000_000 + image_id}}}'
    )


if __name__ == "__main__":
    for shape in (TRAIN, VAL):
        made = made_coco(shape, Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder())
        sys.stdout.write(f"{made} {made.stat().st_size / 1e6:.2f} MB\n")
