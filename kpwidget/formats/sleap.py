"""SLEAP ``.slp`` files, read and written by sleap-io (``kpwidget[sleap]``).

An image is a frame of a video or one of a list of image files. What SLEAP has no place for is said
in `sleap_losses`: above all that a keypoint is occluded.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.values import MAX_COORDINATE
from kpwidget.formats import Loss, WriteReport, count, made_by, needed, write_file
from kpwidget.formats.gathered import SCORES, Gathered, Item, OnError, instances_by_image, progress
from kpwidget.formats.hdf5 import MAGIC, check_hdf5
from kpwidget.formats.losses import N_EXAMPLES, lost_values
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["is_sleap", "read_sleap", "sleap_losses", "write_sleap"]

KEY: Final = "sleap"
"""Of `extra` of images: the video that it is a frame of, and the number of the frame."""

_LOOK: Final = 1 << 20


def is_sleap(path: Path) -> bool:
    """Whether this is an HDF5 file with the tables of SLEAP.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        head = file.read(_LOOK)
    return head.startswith(MAGIC) and (b"videos_json" in head or path.suffix == ".slp")


# --- reading ------------------------------------------------------------------------------------


def read_sleap(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
) -> Dataset:
    """Dataset in a SLEAP file.

    Parameters
    ----------
    path : str or os.PathLike
        The ``.slp`` file. Videos are not opened.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. Frame 12 of ``mice.mp4`` is the image ``mice.mp4/000012.png``.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.

    Returns
    -------
    Dataset
        A skeleton is a category, a track the `track_id`. A predicted instance has a score, and
        those of its keypoints in ``extra['keypoint_scores']``; its source is ``'model:sleap'``. A
        keypoint that is not visible is unlabeled, its location is in `Instance.raw`.

    Raises
    ------
    FormatError
        If sleap-io cannot read the file, or instances are bad, naming every one.
    ImportError
        If sleap-io is not installed.
    """
    sio = needed("sleap_io", "kpwidget[sleap]", "reading .slp files")
    path = Path(path)
    gathered = Gathered(path, on_error)
    check_hdf5(path, needed("h5py", "kpwidget[sleap]", "reading .slp files"))
    try:
        labels = sio.load_slp(os.fspath(path), open_videos=False)
    except Exception as error:  # whatever sleap-io and h5py raise on a file that is none
        raise FormatError.from_problems(
            os.fspath(path),
            [f"cannot be read by sleap-io ({type(error).__name__}: {str(error)[:200]})"],
        ) from error
    categories = _categories(labels, gathered)
    index = {id(skeleton): c for c, skeleton in enumerate(labels.skeletons)}
    names = image_names([_file_of(video) for video in labels.videos])
    frames = sorted(
        labels.labeled_frames, key=lambda f: (labels.videos.index(f.video), int(f.frame_idx))
    )
    of_frame = {(id(f.video), int(f.frame_idx)): f for f in frames}
    for video, name in zip(labels.videos, names, strict=True):
        listed = isinstance(name, list)
        numbers = (
            range(len(name)) if listed
            else sorted(n for v, n in of_frame if v == id(video))
        )  # fmt: skip
        for n in progress(numbers, "reading instances", "image"):
            file_name = name[n] if listed else f"{name}/{n:06d}.png"
            extra = None if listed else {KEY: {"video": name, "frame": n}}
            try:
                image = gathered.image(file_name, None if listed else _size(video), extra=extra)
            except KeyError:
                gathered.problems.append(f"image {_show(file_name)}: stands in the file twice")
                continue
            found = of_frame.pop((id(video), n), None)
            for j, instance in enumerate(found.instances if found is not None else ()):
                _put(instance, f"{file_name} instance {j + 1}", image, index, gathered)
    for frame in of_frame.values():
        gathered.problems.append(f"frame {frame.frame_idx}: its list of images is shorter")
    return gathered.dataset(categories, images, path, allow_outside=allow_outside)


def _categories(labels: Any, gathered: Gathered) -> list[Category]:
    categories: list[Category] = []
    problems: list[str] = []
    for skeleton in labels.skeletons:
        name = skeleton.name or "object"
        names = list(skeleton.node_names)
        try:
            schema = Schema(
                name, names, [(names[a], names[b]) for a, b in skeleton.edge_inds],
                flip_pairs=sorted(
                    tuple(sorted((node.name for node in pair.nodes), key=names.index))
                    for pair in skeleton.symmetries
                ),
            )  # fmt: skip
        except FormatError as error:
            problems += error.problems
            continue
        categories.append(Category(len(categories) + 1, schema, name))
    if problems or not categories:
        raise FormatError.from_problems(gathered.where, problems or ["has no skeleton"])
    return categories


def _file_of(video: Any) -> Any:
    source: Any = getattr(video, "source_video", None)
    is_packed = isinstance(video.filename, str) and isinstance(
        getattr(source, "filename", None), str
    )
    return source.filename if is_packed else video.filename  # packed: it stands in the .slp file


def image_names(files: Sequence[str | Sequence[str]]) -> list[str | list[str]]:
    """Names of the images of videos: folders that all have in common are left out.

    Parameters
    ----------
    files : sequence of str or sequence of str
        For each video its file, or those of a list of images.

    Returns
    -------
    list of str or list of str
        A name of its own for each video, or the names of its images.
    """
    names: list[str | list[str]] = []
    for given in files:
        if not isinstance(given, str) and isinstance(given, list | tuple):
            texts = [str(item).replace("\\", "/") for item in given]
            folders = zip(*(text.split("/")[:-1] for text in texts), strict=False)
            n = sum(1 for _ in itertools.takewhile(lambda of: len(set(of)) == 1, folders))
            names.append(["/".join(text.split("/")[n:]) for text in texts])
            continue
        base = str(given).replace("\\", "/").rpartition("/")[2] or "video"
        while base in names:
            base = f"{base}_"
        names.append(base)
    return names


def _size(video: Any) -> tuple[int, int] | None:
    shape = (video.backend_metadata or {}).get("shape")
    if isinstance(shape, list | tuple) and len(shape) == 4 and shape[1] and shape[2]:
        return int(shape[2]), int(shape[1])
    return None


def _put(instance: Any, at: str, image: int, index: Mapping[int, int], gathered: Gathered) -> None:
    points = instance.points
    xy = np.asarray(points["xy"], np.float64)
    is_there = ~np.isnan(xy).any(axis=1)
    if not (np.abs(xy[is_there]) <= MAX_COORDINATE).all():
        gathered.problems.append(f"{at}: has a point that is nowhere in an image")
        return
    c = index.get(id(instance.skeleton))
    if c is None:
        gathered.problems.append(f"{at}: its skeleton is none of the file")
        return
    keypoints = np.zeros((len(xy), 3))
    keypoints[is_there, :2] = xy[is_there]
    keypoints[is_there & np.asarray(points["visible"], bool), 2] = 2
    values: dict[str, Any] = {}
    if instance.track is not None:
        values["track_id"] = str(instance.track.name)
    if "score" in (points.dtype.names or ()):
        values["source"] = "model:sleap"
        score = float(instance.score)
        if math.isfinite(score):
            values["score"] = score
        scores = [float(s) if math.isfinite(s) else 0.0 for s in points["score"]]
        values["extra"] = {SCORES: scores}
    gathered.instance(f"sleap:{at}", image, c, keypoints, **values)


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("image sizes", "unlabeled locations", "skeletons", "flip pairs", "tracks", "scores")
)


def sleap_losses(dataset: Dataset) -> list[Loss]:
    """What a SLEAP file has no place for.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    with dataset.lock:
        table = dataset._table
        rows = table.live_rows()
        lost = lost_values(dataset, _KEPT, kept_fields=(KEY,), kept_instance_fields=(SCORES,))
        lost += lost_frames(dataset)
        tracks = table.column("track_id", rows).tolist()
        n = sum(track is not None and not isinstance(track, str) for track in tracks)
        if n:
            text = f"the track_id of {count(n, 'instance')} would become text"
            lost.append(Loss("track_id", n, text))
        n = sum(
            SCORES in (extra or ()) and score != score
            for extra, score in zip(
                table.column("extra", rows).tolist(), table.column("score", rows).tolist(),
                strict=True,
            )
        )  # fmt: skip
        if n:
            text = f"the scores of the keypoints of {count(n, 'instance')} that has none itself"
            lost.append(Loss(SCORES, n, text))
        n = sum(state.is_done for state in dataset._images)
        if n:
            lost.append(Loss("done", n, f"that {count(n, 'image')} would be done"))
        return lost


def write_sleap(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write a dataset as a SLEAP file. Image files are not copied.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The ``.slp`` file, replaced in one go.

    Returns
    -------
    WriteReport

    Raises
    ------
    ImportError
        If sleap-io is not installed.

    Notes
    -----
    Images that were frames of a video are so again; all others are one list of image files, named
    as in the dataset. An instance with a score is a predicted one. An occluded keypoint becomes
    visible, for SLEAP takes one that is not visible for absent.
    """
    sio = needed("sleap_io", "kpwidget[sleap]", "writing .slp files")
    target = Path(path)
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{target}: the dataset has no categories; SLEAP needs one")
        skeletons = [_skeleton(sio, c.schema, c.name) for c in dataset.categories]
        videos, places = _videos(sio, dataset)
        tracks: dict[str, Any] = {}
        frames = []
        n_instances = 0
        for place, of in zip(
            places, progress(instances_by_image(dataset), "writing instances", "image"), strict=True
        ):
            instances = [_instance(sio, dataset, item, skeletons, tracks) for item in of]
            n_instances += len(instances)
            if instances:
                video, n = place
                frames.append(sio.LabeledFrame(video=video, frame_idx=n, instances=instances))
        n_images = len(dataset.images)
    labels = sio.Labels(
        labeled_frames=frames, videos=videos, skeletons=skeletons, tracks=list(tracks.values())
    )

    def make(made: Path) -> None:
        sio.save_slp(labels, os.fspath(made), embed=False, verbose=False)

    write_file(target, made_by(make, ".slp"))
    return WriteReport(target, "sleap", n_images, n_instances)


def _skeleton(sio: Any, schema: Schema, name: str) -> Any:
    nodes = [sio.Node(keypoint) for keypoint in schema.keypoints]
    return sio.Skeleton(
        nodes=nodes,
        edges=[sio.Edge(nodes[a], nodes[b]) for a, b in schema.edges.tolist()],
        symmetries=[
            sio.Symmetry([nodes[schema.index(a)], nodes[schema.index(b)]])
            for a, b in schema.flip_pairs
        ],
        name=name,
    )


def frames_of(
    dataset: Dataset,
) -> tuple[dict[str, tuple[int, int] | None], list[str], list[tuple[str, int]]]:
    """Which frame of which video each image is.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.

    Returns
    -------
    videos : dict of str to (width, height) or None
        By their files, with the size in pixels of their first frame here.
    listed : list of str
        Names of all other images: one list of image files.
    places : list of (str, int)
        For each image the file of its video, empty for the list, and the 0-based number of the
        frame.
    """
    videos: dict[str, tuple[int, int] | None] = {}
    listed: list[str] = []
    places: list[tuple[str, int]] = []
    for i, state in enumerate(dataset._images):
        given = ImageInfo(dataset, i).extra.get(KEY)
        frame = given if isinstance(given, Mapping) else {}
        name, n = frame.get("video"), frame.get("frame")
        # One that was renamed would have its old name again, or be one with another image.
        if (
            isinstance(name, str) and isinstance(n, int) and 0 <= n < 2**31
            and state.file_name == f"{name}/{n:06d}.png" and image_names([name]) == [name]
        ):  # fmt: skip
            videos.setdefault(name, state.recorded_size)
            places.append((name, n))
        else:
            places.append(("", len(listed)))
            listed.append(state.file_name)
    return videos, listed, places


def lost_frames(dataset: Dataset) -> list[Loss]:
    """What `frames_of` has no place for: frames without an instance, or with another name.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.
    """
    table = dataset._table
    labeled = set(table.column("image", table.live_rows()).tolist())
    empty, renamed = [], []
    for i, (name, _) in enumerate(frames_of(dataset)[2]):
        file_name = dataset._images[i].file_name
        if name and i not in labeled:
            empty.append(file_name)
        elif not name and KEY in ImageInfo(dataset, i).extra:
            renamed.append(file_name)
    found = []
    if empty:
        text = f"{count(len(empty), 'image')} without an instance: a video has frames by its labels"
        found.append(Loss("images", len(empty), text, tuple(empty[:N_EXAMPLES])))
    if renamed:
        text = (
            f"of which video {count(len(renamed), 'image')} would be a frame: the name is another"
        )
        found.append(Loss(KEY, len(renamed), text, tuple(renamed[:N_EXAMPLES])))
    return found


def _videos(sio: Any, dataset: Dataset) -> tuple[list[Any], list[tuple[Any, int]]]:
    """Videos, and for each image the video and the number of its frame."""
    sizes, listed, places = frames_of(dataset)
    videos: dict[str, Any] = {}
    for name, size in sizes.items():
        shape = {"shape": (1, size[1], size[0], 3)} if size else {}
        videos[name] = sio.Video(name, backend_metadata=shape, open_backend=False)
    if listed:
        # As sleap-io writes it of a list whose images it has opened; it reads no other.
        metadata: dict[str, Any] = {
            "type": "ImageVideo", "filename": listed[0], "filenames": listed, "grayscale": False,
            "fps": None,
        }  # fmt: skip
        first = next(s.recorded_size for s in dataset._images if s.file_name == listed[0])
        if first is not None:
            width, height = first
            metadata |= {
                "shape": [len(listed), height, width, 3], "height_": height, "width_": width,
                "channels_": 3,
            }  # fmt: skip
        videos[""] = sio.Video(listed, backend_metadata=metadata, open_backend=False)
    return list(videos.values()), [(videos[name], n) for name, n in places]


def _instance(
    sio: Any, dataset: Dataset, item: Item, skeletons: Sequence[Any], tracks: dict[str, Any]
) -> Any:
    table = dataset._table
    skeleton = skeletons[item.category]
    points = np.array(item.points, np.float64)
    is_labeled = points[:, 2] != 0
    is_nowhere = (points == 0).all(axis=1)
    xy = np.where(is_nowhere[:, None], np.nan, points[:, :2])
    given, score = table.value(item.row, "track_id"), table.value(item.row, "score")
    track = None
    if given is not None:
        track = tracks.setdefault(str(given), sio.Track(str(given)))
    if score is None:
        made = sio.Instance.from_numpy(xy, skeleton=skeleton, track=track)
    else:
        extra = table.value(item.row, "extra")
        scores = extra.get(SCORES) if isinstance(extra, Mapping) else None
        if not (isinstance(scores, list) and len(scores) == len(points)):
            scores = [1.0] * len(points)
        made = sio.PredictedInstance.from_numpy(
            xy, skeleton=skeleton, track=track, score=score, point_scores=np.array(scores)
        )
    made.points["xy"] = xy
    made.points["visible"] = is_labeled
    return made
