"""NWB: poses in Neurodata Without Borders files, by the extension ndx-pose (``kpwidget[sleap]``).

Labels are a ``PoseTraining``, what a model has made ``PoseEstimation`` (https://github.com/rly/
ndx-pose, spec/ndx-pose.extensions.yaml; as sleap-io writes them, too). A file is read by h5py:
sleap-io does not read lists of images, and both it and pynwb run through whatever a file holds.
"""

from __future__ import annotations

import datetime
import itertools
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset
from kpwidget.dataset.image_files import IMAGE_SUFFIXES
from kpwidget.dataset.values import MAX_COORDINATE
from kpwidget.formats import Loss, WriteReport, check_told, count, made_by, needed, write_file
from kpwidget.formats.gathered import SCORES, Gathered, OnError, progress
from kpwidget.formats.hdf5 import MAGIC, attribute, check_magic, child, members, small, texts
from kpwidget.formats.losses import N_EXAMPLES, lost_values
from kpwidget.formats.sleap import KEY, frames_of, image_names, lost_frames
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["is_nwb", "nwb_losses", "read_nwb", "write_nwb"]

_LOOK: Final = 1 << 20
_MAX_NUMBERS: Final = 1_000_000  # of estimates, beyond those that the file has bytes for
_MIN_BYTES: Final = 100  # that a frame or an instance has in the file: it is a group of its own
_TRAINING: Final = "/processing/behavior/PoseTraining"
_MAX_COMPACT: Final = 4000  # keypoints of 16 bytes; HDF5 has 64 KiB for what stands in a header
_SKELETONS: Final = "/processing/behavior/Skeletons"


def is_nwb(path: Path) -> bool:
    """Whether this is an HDF5 file with the marks of NWB.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        head = file.read(_LOOK)
    return head.startswith(MAGIC) and (b"nwb_version" in head or path.suffix.lower() == ".nwb")


# --- reading ------------------------------------------------------------------------------------


def read_nwb(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
) -> Dataset:
    """Dataset of the poses in an NWB file.

    Parameters
    ----------
    path : str or os.PathLike
        The ``.nwb`` file. Videos are not opened.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. Frame 12 of ``mice.mp4`` is the image ``mice.mp4/000012.png``.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`. What is wrong with skeletons always raises.
    allow_outside : bool, default False
        See `kpwidget.read`.

    Returns
    -------
    Dataset
        A skeleton is a category. Of labels (``PoseTraining``) a node with a location is visible, or
        occluded where ``node_visibility`` is false, as ndx-pose has it. Of estimates
        (``PoseEstimation``) a container is a track, `track_id` its name; the score of an instance
        is the mean of its confidences, which are in ``extra['keypoint_scores']``.

    Raises
    ------
    FormatError
        If the file has no poses, links to other files, claims far more than it holds, or has bad
        instances, naming every one.
    ImportError
        If h5py is not installed.
    """
    h5py = needed("h5py", "kpwidget[sleap]", "reading NWB files")
    path = Path(path)
    where = os.fspath(path)
    gathered = Gathered(path, on_error)
    check_magic(path)
    try:
        with h5py.File(path, "r") as file:
            found = _Poses(file, h5py)
            categories = _categories(found.skeletons, where)
            found.put(gathered, categories)
    except FormatError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError,
            OverflowError) as error:  # fmt: skip
        raise FormatError.from_problems(
            where, [f"cannot be read as NWB ({type(error).__name__}: {str(error)[:200]})"]
        ) from error
    return gathered.dataset(categories, images, path, allow_outside=allow_outside)


def _categories(skeletons: Mapping[str, tuple[list[str], Any]], where: str) -> list[Category]:
    categories: list[Category] = []
    problems: list[str] = []
    for path, (nodes, edges) in skeletons.items():
        name = path.rpartition("/")[2]
        try:
            # COCO's numbers, so that one that is no node is told as any other wrong one.
            schema = Schema(name, nodes, [(int(a) + 1, int(b) + 1) for a, b in edges])
        except FormatError as error:
            problems += error.problems
            continue
        categories.append(Category(len(categories) + 1, schema, name))
    if problems or not categories:
        raise FormatError.from_problems(
            where, problems or ["has no poses: expected a Skeleton of ndx-pose in 'processing'"]
        )
    return categories


class _Poses:
    """The containers of ndx-pose in a file, and what they point to, by its path in the file."""

    def __init__(self, file: Any, h5py: Any) -> None:
        self._file, self._h5py = file, h5py
        self.skeletons: dict[str, tuple[list[str], Any]] = {}
        self._videos: dict[str, Any] = {}
        self._trainings: list[Any] = []
        self._estimates: list[Any] = []
        self._n_left = int(file.id.get_filesize()) // _MIN_BYTES
        for name in ("acquisition", "processing"):
            top = self._child(file, name)
            for group in self._groups(top).values() if top is not None else ():
                self._add(group)
                for inner in self._groups(group).values():
                    self._add(inner)

    def _child(self, group: Any, name: str) -> Any:
        return child(group, name, self._h5py)

    def _groups(self, group: Any) -> dict[str, Any]:
        """Groups in a group, those with a number in its order."""
        found, _ = members(group, self._h5py)
        return {
            name: found[name]
            for name in sorted(found, key=_in_order)
            if isinstance(found[name], self._h5py.Group)
        }

    def _add(self, group: Any) -> None:
        kind = attribute(group, "neurodata_type")
        if kind == "PoseTraining":
            self._trainings.append(group)
            for video in self._groups(self._child(group, "source_videos")).values():
                self._add(video)
        elif kind == "PoseEstimation":
            self._estimates.append(group)
            if (
                self._child(group, "nodes") is not None
            ):  # before ndx-pose 0.2 it is its own skeleton
                self._add_skeleton(group)
        elif kind == "Skeletons":
            for skeleton in self._groups(group).values():
                self._add_skeleton(skeleton)
        elif kind == "ImageSeries" and self._child(group, "external_file") is not None:
            names = texts(self._child(group, "external_file"))
            listed = all(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names)
            dimension = self._child(group, "dimension")
            size = [0, 0] if dimension is None else small(dimension).tolist()
            self._videos[group.name] = (names if listed else names[0], size)

    def _add_skeleton(self, group: Any) -> None:
        given = self._child(group, "edges")
        edges = np.zeros((0, 2), int) if given is None else small(given)
        nodes = texts(self._child(group, "nodes"))
        self.skeletons[group.name] = (nodes, edges.reshape(-1, 2).tolist())

    def put(self, gathered: Gathered, categories: Sequence[Category]) -> None:
        """Add images and instances."""
        for container in self._estimates:  # videos that only they name
            of_other = self._video_of(container)
            if of_other is not None:
                self._videos.setdefault(of_other, (of_other, [0, 0]))
        order = {path: v for v, path in enumerate(self._videos)}
        index = {path: c for c, path in enumerate(self.skeletons)}
        names = image_names([files for files, _ in self._videos.values()])
        frames: _Frames = {}
        for training in self._trainings:
            of_frames = self._groups(self._child(training, "training_frames")).items()
            self._take(len(of_frames), training)
            for name, frame in progress(of_frames, "reading instances", "image"):
                inside, paths = members(frame, self._h5py)
                video = next((order[path] for path in paths if path in order), None)
                n = attribute(frame, "source_video_frame_index")
                if video is None or n is None:
                    gathered.problems.append(
                        f"{_show(name)}: has no source_video with the number of the frame in it, "
                        "expected both: images inside of an NWB file are not read"
                    )
                    continue
                instances = self._groups(inside.get("skeleton_instances"))
                self._take(len(instances), frame)
                found = frames.setdefault((video, int(n)), [])
                for key, group in instances.items():
                    try:
                        c, keypoints = self._labels(group, index, categories)
                        found.append((f"{name}:{key}", c, keypoints, {}))
                    except ValueError as error:
                        gathered.problems.append(f"{_show(name)} {_show(key)}: {error}")
        self._put_estimates(frames, order, index, categories)
        for v, (listed, (_, size)) in enumerate(zip(names, self._videos.values(), strict=True)):
            _put_video(frames, v, listed, (int(size[0]), int(size[1])), gathered)
        for (v, n), left in frames.items():
            if left:
                gathered.problems.append(
                    f"frame {n} of {list(order)[v]}: its list of images is shorter"
                )

    def _take(self, n: int, group: Any) -> None:
        """Raise ValueError when a file has more frames and instances than it has room for."""
        self._n_left -= n
        if self._n_left < 0:
            raise ValueError(
                f"{group.name} has more frames and instances than the file has bytes for; expected "
                f"at least {_MIN_BYTES} for each"
            )

    def _labels(
        self, group: Any, index: Mapping[str, int], categories: Sequence[Category]
    ) -> tuple[int, NDArray[Any]]:
        """Category and keypoints of an instance; raises ValueError in words."""
        inside, paths = members(group, self._h5py)
        c = next((index[path] for path in paths if path in index), -1)
        locations, is_visible = inside.get("node_locations"), inside.get("node_visibility")
        k = categories[c].n_keypoints if c >= 0 else 0
        shapes = [getattr(one, "shape", None) for one in (locations, is_visible)]
        if c < 0 or shapes[0] != (k, 2) or shapes[1] not in (None, (k,)):
            raise ValueError(
                f"has node_locations and node_visibility of the shapes {shapes[0]} and "
                f"{shapes[1]}, and {'no skeleton' if c < 0 else f'a skeleton of {k} nodes'}; "
                "expected (n_nodes, 2) and (n_nodes,)"
            )
        points = np.empty((k, 3))
        points[:, :2] = small(locations)
        points[:, 2] = 2 if is_visible is None else np.where(small(is_visible), 2, 1)
        points[np.isnan(points).any(axis=1)] = 0
        return c, points

    def _video_of(self, container: Any) -> str | None:
        """Path of the video that a model has looked at, in this file or else anywhere."""
        inside, paths = members(container, self._h5py)
        if "original_videos" in inside and not paths & self._videos.keys():
            return next(iter(texts(inside["original_videos"])), None)
        return next((path for path in paths if path in self._videos), None)

    def _put_estimates(
        self, frames: _Frames, order: Mapping[str, int], index: Mapping[str, int],
        categories: Sequence[Category],
    ) -> None:  # fmt: skip
        """Add what models have made; a frame is a time at which any track of its video has one."""
        found: dict[int, list[tuple[str, int, dict[int, _Series]]]] = {}
        n_left = _MAX_NUMBERS + int(self._file.id.get_filesize())
        for group in self._estimates:
            video = self._video_of(group)
            paths = members(group, self._h5py)[1] | {group.name}
            c = next((index[path] for path in paths if path in index), None)
            if video is None or c is None:
                raise ValueError(f"{group.name} has no source_video, or no skeleton")
            series: dict[int, _Series] = {}
            for name, one in self._groups(group).items():
                if name in categories[c].keypoints:
                    parts = {part: self._child(one, part) for part in _OF_SERIES}
                    n_left -= getattr(parts["data"], "size", None) or 0
                    if n_left < 0:
                        raise ValueError(f"{group.name} has more points than the file has bytes")
                    series[categories[c].schema.index(name)] = _series(parts)
            found.setdefault(order[video], []).append((group.name, c, series))
        n_told = [
            [len(times) for times, _, _ in s.values()] for of in found.values() for _, _, s in of
        ]
        at_most = (
            max(n, default=0) * categories[c].n_keypoints
            for n, (_, c, _) in zip(n_told, itertools.chain(*found.values()), strict=True)
        )
        check_told(sum(at_most), sum(map(sum, n_told)), os.fspath(self._file.filename))
        for v, tracks in found.items():
            every = [times for _, _, series in tracks for times, _, _ in series.values()]
            union = np.unique(np.concatenate([np.zeros(0), *every]))
            for path, c, series in tracks:
                own = np.unique(np.concatenate([np.zeros(0), *(s[0] for s in series.values())]))
                points = np.full((len(own), categories[c].n_keypoints, 3), np.nan)
                for i, (times, xy, confidence) in series.items():
                    at = np.searchsorted(own, times)
                    points[at, i, :2], points[at, i, 2] = xy, confidence
                is_there = ~np.isnan(points[:, :, :2]).any(axis=2)
                numbers = np.searchsorted(union, own)
                for row in np.flatnonzero(is_there.any(axis=1)).tolist():
                    n = int(numbers[row])
                    values = _of_estimate(points[row], path.rpartition("/")[2])
                    frames.setdefault((v, n), []).append((f"{path}:{n}", c, *values))


_Frames = dict[tuple[int, int], list[tuple[str, int, NDArray[Any], dict[str, Any]]]]
"""Instances (uid, category, keypoints, columns) by video and 0-based number of the frame."""

_Labels = tuple[NDArray[Any], NDArray[Any]]
"""Locations, NaN where not labeled, and visibility of the instances of a category."""

_OF_SERIES: Final = ("data", "timestamps", "starting_time", "confidence")

_Series = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _in_order(name: str) -> tuple[str, int, str]:
    """Key by which ``frame_2`` comes before ``frame_10``."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :][:18] or 0), name


def _series(parts: Mapping[str, Any]) -> _Series:
    """Times in units of 10 µs, locations and confidences of a node, of its `_OF_SERIES`."""
    data = small(parts["data"])
    n = len(data)
    if data.shape != (n, 2):
        name = parts["data"].name
        raise ValueError(f"{name} has the shape {data.shape}, expected (n, 2)")
    if parts["timestamps"] is not None:
        times = small(parts["timestamps"])
    else:
        start = small(parts["starting_time"])
        rate = float(attribute(parts["starting_time"], "rate") or 1.0)
        times = float(start) + np.arange(n) / rate
    given = parts["confidence"]
    confidence = np.full(n, np.nan) if given is None else small(given)
    return np.round(times * 1e5), data.astype(np.float64), confidence


def _of_estimate(points: NDArray[Any], track: str) -> tuple[NDArray[Any], dict[str, Any]]:
    """Keypoints and columns of an instance that a model has made."""
    is_there = ~np.isnan(points[:, :2]).any(axis=1)
    scores = np.where(is_there, points[:, 2], 0.0)
    keypoints = np.where(is_there[:, None], points, 0.0)
    keypoints[:, 2] = np.where(is_there, 2, 0)
    values: dict[str, Any] = {"source": "model:nwb", "track_id": track.removeprefix("track=")}
    if np.isfinite(scores).all():
        values["score"] = float(scores[is_there].mean())
        values["extra"] = {SCORES: scores.tolist()}
    return keypoints, values


def _put_video(
    frames: _Frames, v: int, name: str | list[str], size: tuple[int, int],
    gathered: Gathered,
) -> None:  # fmt: skip
    """Add the images of a video or list of images, and what is in them."""
    listed = isinstance(name, list)
    known = size if not listed and min(size) > 0 and max(size) < 2**31 else None
    for n in range(len(name)) if listed else sorted(n for of, n in frames if of == v):
        file_name = name[n] if listed else f"{name}/{n:06d}.png"
        instances = frames.pop((v, n), ())
        extra = None if listed else {KEY: {"video": name, "frame": n}}
        try:
            image = gathered.image(file_name, known, extra=extra)
        except KeyError:
            gathered.problems.append(f"image {_show(file_name)}: stands in the file twice")
            continue
        for at, c, keypoints, values in instances:
            if not (np.abs(keypoints) <= MAX_COORDINATE).all():
                gathered.problems.append(f"{at}: has a point that is nowhere in an image")
            else:
                gathered.instance(f"nwb:{at}", image, c, keypoints, **values)


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(("occluded", "skeletons", "image sizes"))


def nwb_losses(dataset: Dataset) -> list[Loss]:
    """What the labels of an NWB file have no place for.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    with dataset.lock:
        lost = lost_values(dataset, _KEPT, kept_fields=(KEY,)) + lost_frames(dataset)
        given = [category.name for category in dataset.categories]
        renamed = [
            f"{old!r} to {new!r}"
            for old, new in zip(given, _group_names(given), strict=True)
            if old != new
        ]
        if renamed:
            text = f"the name of {count(len(renamed), 'category')}, which would be changed"
            lost.append(Loss("categories", len(renamed), text, tuple(renamed[:N_EXAMPLES])))
        n = sum(state.is_done for state in dataset._images)
        if n:
            lost.append(Loss("done", n, f"that {count(n, 'image')} would be done"))
        return lost


def write_nwb(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write the labels of a dataset as an NWB file. Image files are not copied.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The ``.nwb`` file, replaced in one go.

    Returns
    -------
    WriteReport

    Raises
    ------
    ImportError
        If pynwb or ndx-pose are not installed; sleap-io brings both.
    ValueError
        If there is no category, or a name has a character that HDF5 cannot hold.

    Notes
    -----
    A ``PoseTraining`` in the module ``behavior``: images that were frames of a video are so again,
    all others are one list of image files. Times are the numbers of frames, for a dataset knows
    none. pynwb makes the file and h5py the instances: pynwb takes 16 ms for each, and longer the
    more there are.
    """
    pynwb = needed("pynwb", "kpwidget[sleap]", "writing NWB files")
    ndx_pose = needed("ndx_pose", "kpwidget[sleap]", "writing NWB files")
    h5py = needed("h5py", "kpwidget[sleap]", "writing NWB files")
    target = Path(path)
    with dataset.lock:
        _check_texts(dataset, target)
        names = _group_names([category.name for category in dataset.categories])
        sizes, listed, places = frames_of(dataset)
        videos = {name: ([name], size or (0, 0)) for name, size in sizes.items()}
        if listed:
            videos[""] = (listed, (0, 0))
        times = {name: sorted({n for of, n in places if of == name}) for name in videos}
        order = {name: v for v, name in enumerate(videos)}
        points, instances = _labels_of(dataset)
        frames = [
            (order[name], n, of_image)
            for (name, n), of_image in zip(places, instances, strict=True)
            if of_image
        ]
        schemas = [category.schema for category in dataset.categories]
        n_images = len(dataset.images)
    file = pynwb.NWBFile(
        session_description="Keypoints, written by kpwidget", identifier=str(uuid.uuid4()),
        session_start_time=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    behavior = file.create_processing_module("behavior", "keypoints of images")
    behavior.add(ndx_pose.Skeletons(skeletons=[
        ndx_pose.Skeleton(
            name=name, nodes=list(schema.keypoints),
            edges=schema.edges.astype(np.uint8 if schema.n_keypoints <= 256 else np.uint32),
        )
        for name, schema in zip(names, schemas, strict=True)
    ]))  # fmt: skip
    behavior.add(ndx_pose.PoseTraining(source_videos=ndx_pose.SourceVideos(image_series=[
        pynwb.image.ImageSeries(
            name=f"video_{order[name]}", format="external", external_file=files, dimension=size,
            unit="NA", starting_frame=np.arange(len(files)),
            timestamps=np.array(times[name], np.float64),
        )
        for name, (files, size) in videos.items()
    ])))  # fmt: skip

    def make(made: Path) -> None:
        with pynwb.NWBHDF5IO(os.fspath(made), "w") as stream:
            stream.write(file)
        with h5py.File(made, "r+", libver=("v108", "v108")) as opened:
            _write_frames(opened, frames, points, [f"{_SKELETONS}/{name}" for name in names], h5py)

    write_file(target, made_by(make, ".nwb"))
    return WriteReport(target, "nwb", n_images, sum(len(of) for _, _, of in frames))


def _check_texts(dataset: Dataset, target: Path) -> None:
    if not dataset.categories:
        raise ValueError(f"{target}: the dataset has no categories; NWB needs one")
    every = [state.file_name for state in dataset._images]
    every += [name for c in dataset.categories for name in (c.name, *c.keypoints)]
    bad = [text for text in every if not re.fullmatch(r"[^\0\ud800-\udfff]*", text)]
    if bad:
        raise ValueError(
            f"{target}: HDF5 has no text with NUL or half a surrogate pair, as "
            f"{', '.join(map(_show, bad[:N_EXAMPLES]))} have; rename them"
        )


def _group_names(names: Sequence[str]) -> list[str]:
    """Names that groups of HDF5 and objects of NWB may have, each once."""
    found: list[str] = []
    for name in names:
        made = re.sub(r"[/:]", "_", name)
        made = made if made.strip(".") else "skeleton"
        while made in found:
            made += "_"
        found.append(made)
    return found


def _labels_of(dataset: Dataset) -> tuple[list[_Labels], list[list[tuple[int, int]]]]:
    """Labels of each category, and of each image's instances the category and the place in them."""
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    category, place = table.column("category", rows), np.zeros(len(rows), np.int64)
    points: list[_Labels] = []
    for c in range(len(dataset.categories)):
        chosen = np.flatnonzero(category == c)
        place[chosen] = np.arange(len(chosen))
        raw = table.raw_keypoints_of(c, rows[chosen])
        locations, flags = raw[:, :, :2].astype(np.float64, "C"), raw[:, :, 2]
        locations[flags == 0] = np.nan
        points.append((locations, (flags != 0) & (flags != 1)))
    found: list[list[tuple[int, int]]] = [[] for _ in dataset._images]
    images = table.column("image", rows).tolist()
    for image, c, i in zip(images, category.tolist(), place.tolist(), strict=True):
        found[image].append((c, i))
    return points, found


def _write_frames(
    file: Any, frames: Sequence[tuple[int, int, list[tuple[int, int]]]],
    points: Sequence[_Labels], skeletons: Sequence[str], h5py: Any,
) -> None:  # fmt: skip
    """Add the frames and instances: one of each kind is filled in memory and copied.

    With every part of it held open this takes half as long as to copy it first and fill the copy.
    """
    h5a, h5d, h5t = h5py.h5a, h5py.h5d, h5py.h5t

    def typed(parent: Any, name: str, kind: str, space: str = "ndx-pose") -> Any:
        group = parent.create_group(name)
        group.attrs.update(namespace=space, neurodata_type=kind, object_id=str(uuid.uuid4()))
        return group

    def identify(attribute: Any) -> None:
        text[()] = str(uuid.uuid4())
        attribute.write(text, of_text)

    text = np.empty((), h5py.string_dtype())
    # Given, as h5py takes longer to find out what an array is made of than to write it.
    of_text, of_number, of_count, of_flag = (
        h5t.py_create(np.dtype(kind)) for kind in (text.dtype, np.float64, np.uint32, bool)
    )
    everywhere, videos = h5py.h5s.ALL, f"{_TRAINING}/source_videos".encode()
    top = typed(file[_TRAINING], "training_frames", "TrainingFrames")
    with h5py.File(
        "templates", "w", libver=("v108", "v108"), driver="core", backing_store=False
    ) as templates:
        parts = []
        for c, (skeleton, (_, flags)) in enumerate(zip(skeletons, points, strict=True)):
            one = typed(templates, f"instance_{c}", "SkeletonInstance")
            one[skeleton.rpartition("/")[2]] = h5py.SoftLink(skeleton)
            one.attrs["id"] = np.uint32(0)
            n_points, layout = flags.shape[1], h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            if n_points <= _MAX_COMPACT:
                layout.set_layout(h5d.COMPACT)
            parts.append((
                h5a.open(one.id, b"object_id"),
                h5a.open(one.id, b"id"),
                *(
                    h5d.create(one.id, name, kind, h5py.h5s.create_simple(shape), layout)
                    for name, kind, shape in (
                        (b"node_locations", of_number, (n_points, 2)),
                        (b"node_visibility", of_flag, (n_points,)),
                    )
                ),
            ))  # fmt: skip
        frame = typed(templates, "frame", "TrainingFrame")
        frame.attrs["source_video_frame_index"] = np.uint32(0)
        of_video = h5a.open(frame.id, b"source_video_frame_index")
        inside = typed(frame, "skeleton_instances", "SkeletonInstances")
        ids = [h5a.open(group.id, b"object_id") for group in (frame, inside)]
        bar = progress(frames, "writing instances", "image")
        for f, (video, n, instances) in enumerate(bar):
            name = b"frame_%d" % f
            for one in ids:
                identify(one)
            of_video.write(np.array(n, np.uint32), of_count)
            h5py.h5o.copy(templates.id, b"frame", top.id, name)
            made = h5py.h5g.open(top.id, name)
            made.links.create_soft(b"source_video", b"%s/video_%d" % (videos, video))
            made = h5py.h5g.open(made, b"skeleton_instances")
            for j, (c, i) in enumerate(instances):
                one, number, locations, is_visible = parts[c]
                identify(one)
                number.write(np.array(j, np.uint32), of_count)
                locations.write(everywhere, everywhere, points[c][0][i], of_number)
                is_visible.write(everywhere, everywhere, points[c][1][i], of_flag)
                h5py.h5o.copy(templates.id, b"instance_%d" % c, made, b"instance_%d" % j)
