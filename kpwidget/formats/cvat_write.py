"""Datasets to CVAT 1.1 XML, for images and for video."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset
from kpwidget.formats import Loss, WriteReport, count, write_file
from kpwidget.formats.cvat_boxes import boxes_of_images, boxes_of_track
from kpwidget.formats.cvat_labels import label_elements, read_labels
from kpwidget.formats.losses import lost_values, unheld_marks
from kpwidget.formats.xml_text import attribute, parse_xml, xml_of
from kpwidget.formats.yolo_rows import size_of
from kpwidget.schema import Category, FormatError, _show

__all__ = ["cvat_images_losses", "cvat_video_losses", "write_cvat_images", "write_cvat_video"]

_KEPT: Final = "cvat"
"""Field of images, instances and the dataset under which the reader keeps what else a file has."""

_NAME: Final = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_FRAME: Final = re.compile(r"(?:.*[/\\])?frame_([0-9]{1,15})\.\w+", re.DOTALL)
_MAX_NUMBER: Final = 10**15
_ID_OF_TRACK: Final = re.compile(r'<track\b[^>]*?\sid="([0-9]{1,15})"')
_OF_IMAGE: Final = ("id", "name", "width", "height")


def cvat_images_losses(dataset: Dataset) -> list[Loss]:
    """What CVAT for images could not hold.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    keeps = ("skeletons", "colors", "image ids")
    return _losses(dataset, keeps, _numbers(dataset)[1], boxes_of_images(dataset))


def cvat_video_losses(dataset: Dataset) -> list[Loss]:
    """What CVAT for video could not hold.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
        Also the file names of images, which are frames with a number, and sizes that differ.
    """
    frames, lost = _frames(dataset)
    named = [
        state.file_name
        for state, frame in zip(dataset._images, frames, strict=True)
        if not state.file_name.startswith(f"frame_{frame:06d}.")
    ]
    if named:
        text = f"the file names of {count(len(named), 'image')}, which are frames with a number"
        lost.append(Loss("file_name", len(named), text, tuple(map(repr, named[:3]))))
    sizes = [state.recorded_size for state in dataset._images]
    n = sum(size is not None for size in sizes)
    if n and len(set(sizes)) > 1:
        text = f"the sizes of {count(n, 'image')}: a video has one for all frames"
        lost.append(Loss("image size", n, text))
    tracks, following = _tracks(dataset, frames), _following(frames)
    n = sum(len(track.rows) for track in tracks if track.is_renamed)
    if n:
        text = (
            f"the track_id of {count(n, 'instance')}, which is no whole number, or that of another "
            "category's or of two instances in one frame"
        )
        lost.append(Loss("track_id", n, text))
    n = int(np.count_nonzero(dataset._table.n_labeled_of(dataset._table.live_rows()) == 0))
    if n:
        text = f"{count(n, 'instance')} without a labeled keypoint, which are as if absent"
        lost.append(Loss("instances", n, text))
    held = _held_tracks(dataset)
    boxed = [
        row
        for track in tracks
        if boxes_of_track(dataset, track.rows, held(track), following) is not None
        for row in track.rows.values()
    ]
    return _losses(dataset, ("skeletons", "colors", "image ids", "tracks"), lost, boxed)


def _losses(
    dataset: Dataset, keeps: Sequence[str], more: Sequence[Loss], boxed: Collection[int]
) -> list[Loss]:
    n_kept = sum(_KEPT in (state.extra or ()) for state in dataset._images if state.text is None)
    losses = lost_values(
        dataset,
        {*keeps, "occluded", "unlabeled locations", "image sizes"},
        kept_image_fields={_KEPT: n_kept},
        kept_instance_fields=(_KEPT,),
        kept_bboxes=boxed,
        kept_category_fields=("color",),
        lost_extra=[key for key in dataset.extra if key != _KEPT],
    )
    return [*more, *losses]


def write_cvat_images(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write a dataset as CVAT for images 1.1.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The XML file, replaced in one go.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If a name has characters that XML cannot hold.

    Notes
    -----
    As CVAT 2's own export: all points of a skeleton, in the order of its label, those that are
    unlabeled with ``outside="1"``. Coordinates have two decimals, more where they are needed to
    give the number back. CVAT imports it into a task that has these labels and images of these
    names. Shapes and attributes that were read from a CVAT file are written again; of bboxes those
    alone that were a rectangle there, in the group of the skeleton.
    """
    from tqdm.auto import tqdm

    notes: list[str] = []
    unknown: list[str] = []
    with dataset.lock:
        text = _Skeletons(dataset)
        boxes = boxes_of_images(dataset)
        chunks = [*_head(dataset, "annotation", None, None)]
        numbers, _ = _numbers(dataset)
        bar = tqdm(dataset._images, "writing annotations", unit="image", delay=1.0, leave=False)
        for i, state in enumerate(bar):
            where = f"image {_show(state.file_name)}"
            kept = _kept(state.extra if state.text is None else None, where)
            size = size_of(dataset, i)
            if size is None:
                unknown.append(where)
            head = f'  <image id="{numbers[i]}" name={attribute(state.file_name, "image")}'
            if size is not None:
                head += f' width="{size[0]}" height="{size[1]}"'
            chunks.append(f"{head}{_attributes(kept, (), _OF_IMAGE, where)}>\n")
            for row in dataset._table.rows_of_image[i]:
                chunks.append(text.of(row, ""))
                if row in boxes:
                    chunks.append(f"    {xml_of(boxes[row])}\n")
            for shape in _elements(kept.get("shapes"), where):
                chunks.append(f"    {shape}\n")
            chunks.append("  </image>\n")
        chunks.append("</annotations>\n")
        if unknown:
            notes.append(
                f"{count(len(unknown), 'image')} written without width and height, which neither "
                f"their files nor their labels tell: {', '.join(unknown[:3])}"
            )
        notes.extend(unheld_marks(dataset, "CVAT"))
        n_images, n_instances = len(dataset.images), len(dataset.instances)
    write_file(path, (chunk.encode() for chunk in chunks))
    return WriteReport(Path(path), "cvat-images", n_images, n_instances, 0, tuple(notes))


def write_cvat_video(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write a dataset as CVAT for video 1.1.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The XML file, replaced in one go.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If a name has characters that XML cannot hold.

    Notes
    -----
    The images are the frames, by the number in their names (``frame_000010.png``) if all have one,
    else by their order. Instances with the same track_id are a track, one without is a track of
    one frame; after its last frame, and before a gap, a track has a keyframe with all points
    outside, as CVAT ends it. An instance is a keyframe unless its source is 'interpolated' and it
    was not edited and follows another one. Bboxes are written of tracks that were read with a track
    of rectangles.
    """
    from tqdm.auto import tqdm

    with dataset.lock:
        frames, _ = _frames(dataset)
        sizes = {state.recorded_size for state in dataset._images}
        text = _Skeletons(dataset)
        size = sizes.pop() if len(sizes) == 1 else None
        chunks = [*_head(dataset, "interpolation", sorted(frames), size)]
        kept = _kept(dataset.extra, "the dataset")
        following, held = _following(frames), _held_tracks(dataset)
        tracks = _tracks(dataset, frames)
        for track in tqdm(tracks, "writing tracks", unit="track", delay=1.0, leave=False):
            chunks.extend(_track(dataset, track, held(track), text, following))
            boxes = boxes_of_track(dataset, track.rows, held(track), following)
            if boxes is not None:
                chunks.append(f"  {xml_of(boxes)}\n")
        for element in _elements(kept.get("tracks_of_other_shapes"), "the dataset"):
            chunks.append(f"  {element}\n")
        chunks.append("</annotations>\n")
        notes = tuple(unheld_marks(dataset, "CVAT"))
        n_images, n_instances = len(dataset.images), len(dataset.instances)
    write_file(path, (chunk.encode() for chunk in chunks))
    return WriteReport(Path(path), "cvat-video", n_images, n_instances, 0, notes)


# --- numbers ------------------------------------------------------------------------------------


def _numbers(dataset: Dataset) -> tuple[list[int], list[Loss]]:
    """Id of each image, and what is lost: theirs if they are whole numbers, else 0, 1, ..."""
    ids = [state.id for state in dataset._images]
    numbers = [number for number in ids if isinstance(number, int) and 0 <= number < _MAX_NUMBER]
    if len(numbers) == len(ids):
        return numbers, []
    text = f"the ids of {count(len(ids), 'image')}: expected whole numbers of at most 15 digits"
    return list(range(len(ids))), [Loss("image id", len(ids), text)]


def _frames(dataset: Dataset) -> tuple[list[int], list[Loss]]:
    """Frame of each image, and what is lost of the ids."""
    found = [_FRAME.fullmatch(state.file_name) for state in dataset._images]
    frames = [int(match[1]) for match in found if match]
    if len(set(frames)) < len(found):
        frames = list(range(len(found)))
    n = sum(s.id != frame for s, frame in zip(dataset._images, frames, strict=True))
    text = f"the ids of {count(n, 'image')} (read again, they are the numbers of the frames)"
    return frames, [Loss("image id", n, text)] if n else []


def _following(frames: Sequence[int]) -> dict[int, int | None]:
    """Return the next of each frame."""
    in_order = sorted(frames)
    return dict(itertools.zip_longest(in_order, in_order[1:]))


@dataclass
class _Track:
    """Rows of a track by frame."""

    number: int
    category: int
    rows: dict[int, int] = field(default_factory=dict)
    is_renamed: bool = False


def _tracks(dataset: Dataset, frames: Sequence[int]) -> list[_Track]:
    """Tracks of the instances, in the order in which they begin."""
    table = dataset._table
    rows = table.live_rows()
    columns = [table.column(name, rows).tolist() for name in ("image", "category", "track_id")]
    tracks: list[_Track] = []
    known: dict[tuple[str, int], _Track] = {}
    owner: dict[int, _Track] = {}
    unnumbered: list[_Track] = []
    for row, image, category, track_id in zip(rows, *columns, strict=True):
        frame = frames[image]
        key = (repr(track_id), category)  # a file may have anything for a track_id
        track = None if track_id is None else known.get(key)
        if track is None or frame in track.rows:
            is_number = type(track_id) is int and 0 <= track_id < _MAX_NUMBER
            is_free = is_number and track_id not in owner
            track = _Track(track_id if is_free else -1, category)
            tracks.append(track)
            if is_free:
                owner[track_id] = track
            else:
                track.is_renamed = track_id is not None
                unnumbered.append(track)
            if track_id is not None:
                known.setdefault(key, track)
        track.rows[frame] = row
    taken = owner.keys() | _kept_numbers(dataset) if unnumbered else set()
    free = (number for number in itertools.count() if number not in taken)
    for track in unnumbered:
        track.number = next(free)
    return tracks


def _kept_numbers(dataset: Dataset) -> set[int]:
    """Numbers of all tracks that the reader has kept something of, whatever they are of."""
    kept = _kept(dataset.extra, "the dataset")
    tracks, others = kept.get("tracks"), kept.get("tracks_of_other_shapes")
    tracks = tracks if isinstance(tracks, dict) else {}
    texts = [one.get("boxes") for one in tracks.values() if isinstance(one, dict)]
    texts += others if isinstance(others, list) else []
    found = (_ID_OF_TRACK.match(text) for text in texts if isinstance(text, str))
    numbers = [one[1] for one in found if one] + [str(number) for number in tracks]
    return {int(number) for number in numbers if re.fullmatch("[0-9]{1,15}", number)}


def _held_tracks(dataset: Dataset) -> Callable[[_Track], dict[str, Any]]:
    """Return what finds what the reader has kept of a track."""
    of_track = _kept(dataset.extra, "the dataset").get("tracks")
    of_track = of_track if isinstance(of_track, dict) else {}
    return lambda track: _kept(
        {_KEPT: of_track.get(str(track.number), {})}, f"track {track.number}"
    )


def _track(
    dataset: Dataset,
    track: _Track,
    kept: Mapping[str, Any],
    text: _Skeletons,
    following: Mapping[int, int | None],
) -> Iterator[str]:
    """Parts of a ``<track>``; `following` has the next of each frame."""
    table = dataset._table
    where = f"track {track.number}"
    label = attribute(dataset.categories[track.category].name, "category")
    others = _attributes(kept, (("source", "manual"),), ("id", "label"), where)
    yield f'  <track id="{track.number}" label={label}{others}>\n'
    absent = kept.get("absent")
    parts: dict[int, str] = {}
    for frame, element in absent.items() if isinstance(absent, dict) else ():
        is_frame = isinstance(frame, str) and frame.isascii() and frame.isdigit()
        if is_frame and int(frame) in following:  # the dataset may be a part of another
            parts[int(frame)] = f"    {next(_elements([element], where))}\n"
    # After a gap, which ends with a keyframe, CVAT shows nothing before the next keyframe.
    continued = {following.get(frame) for frame in track.rows}
    for frame, row in track.rows.items():
        is_made = table.value(row, "source") == "interpolated" and row not in table.edited
        is_made = is_made and frame in continued
        parts[frame] = text.of(row, "0" if is_made else "1", f' frame="{frame}"')
        after = following.get(frame)
        if after is not None and after not in track.rows:
            parts.setdefault(after, text.of(row, "1", f' frame="{after}"', is_gone=True))
    for frame in sorted(parts):
        yield parts[frame]
    for element in _elements(kept.get("elements"), where):
        yield f"    {element}\n"
    yield "  </track>\n"


# --- skeletons ----------------------------------------------------------------------------------


class _Skeletons:
    """Makes the text of skeletons, of templates for each keypoint and visibility."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        table = dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        categories = table.column("category", rows)
        self._xy: dict[int, tuple[list[str], bytes]] = {}
        for c, category in enumerate(dataset.categories):
            own = rows[categories == c]
            points = table.raw_keypoints_of(c, own)
            n = category.n_keypoints
            texts = _decimals(points[..., :2])
            flags = np.where(points[..., 2] == 1, 1, np.where(points[..., 2] > 0, 2, 0))
            data = flags.astype(np.uint8).tobytes()
            for i, row in enumerate(own.tolist()):
                self._xy[row] = (texts[2 * n * i : 2 * n * (i + 1)], data[n * i : n * (i + 1)])
        self._names = [
            [attribute(name, "keypoint") for name in c.keypoints] for c in dataset.categories
        ]
        self._labels = [attribute(c.name, "category") for c in dataset.categories]
        self._templates: dict[tuple[int, str], list[list[str]]] = {}

    def of(self, row: int, keyframe: str, frame: str = "", *, is_gone: bool = False) -> str:
        """Text of the skeleton of a row.

        Parameters
        ----------
        row : int
        keyframe : {'', '0', '1'}
            Empty in a file for images.
        frame : str
            The attribute of a video.
        is_gone : bool
            Whether all points are outside: the end of a track.
        """
        table = self._dataset._table
        xy, flags = self._xy[row]
        category = table.category(row)
        head = f' keyframe="{keyframe}"' if keyframe else f" label={self._labels[category]}"
        extra = None if is_gone or table.text(row) is not None else table.value(row, "extra")
        if extra and _KEPT in extra:
            return self._with_extra(row, extra, keyframe, f"{frame}{head}")
        usual = ' z_order="0"' if keyframe else ' source="manual" z_order="0"'
        if is_gone:  # an occluded point stays one, as in CVAT's own files
            flags = bytes(3 if v == 1 else 0 for v in flags)
        templates = self._templates.get((category, keyframe))
        if templates is None:
            templates = self._templates[category, keyframe] = [
                [
                    self._point(category, k, v, keyframe, {}, "\0")
                    .replace("%", "%%")
                    .replace("\0", "%s,%s")
                    for v in range(4)
                ]
                for k in range(len(flags))
            ]
        template = "".join([of[v] for of, v in zip(templates, flags, strict=True)])
        return f"    <skeleton{frame}{head}{usual}>\n{template % tuple(xy)}    </skeleton>\n"

    def _point(
        self, category: int, k: int, v: int, keyframe: str, kept: Any, xy: str, where: str = ""
    ) -> str:
        """Text of a point; `v` is the visibility, and 3 for one that is outside and occluded."""
        usual = {} if keyframe else {"source": "manual"}
        if keyframe:
            usual["keyframe"] = keyframe
        flags = f' outside="{int(v in (0, 3))}"'
        if "occluded" not in kept.get("attributes", ()):
            flags += f' occluded="{int(v in (1, 3))}"'
        others = _attributes(kept, tuple(usual.items()), ("label", "outside", "points"), where)
        inner = "".join(f"        {e}\n" for e in _elements(kept.get("elements"), where))
        return (
            f"      <points label={self._names[category][k]}{others}{flags} "
            f'points="{xy}">\n{inner}      </points>\n'
        )

    def _with_extra(self, row: int, extra: Mapping[str, Any], keyframe: str, head: str) -> str:
        xy, flags = self._xy[row]
        category = self._dataset._table.category(row)
        where = f"instance {self._dataset._table.value(row, 'uid')!r}"
        kept = _kept(extra, where)
        usual = (("z_order", "0"),) if keyframe else (("source", "manual"), ("z_order", "0"))
        of_points = kept.get("points")
        of_points = of_points if isinstance(of_points, dict) else {}
        of_skeleton = ("label", "frame", "keyframe")
        parts = [f"    <skeleton{head}{_attributes(kept, usual, of_skeleton, where)}>\n"]
        for k, name in enumerate(self._dataset.categories[category].keypoints):
            own = _kept({_KEPT: of_points.get(name, {})}, where)
            held = own.get("attributes")
            if flags[k] and isinstance(held, dict):  # 'occluded' is of one that was outside
                own = {**own, "attributes": {n: v for n, v in held.items() if n != "occluded"}}
            at = f"{xy[2 * k]},{xy[2 * k + 1]}"
            parts.append(self._point(category, k, flags[k], keyframe, own, at, where))
        parts.extend(f"      {element}\n" for element in _elements(kept.get("elements"), where))
        return "".join([*parts, "    </skeleton>\n"])


def _decimals(values: NDArray[np.float64]) -> list[str]:
    """Text of numbers: two decimals, as CVAT writes, or as many as give the number back."""
    flat = values.ravel()
    texts = [f"{value:.2f}" for value in flat.tolist()]
    for i in np.flatnonzero(np.rint(flat * 100) / 100 != flat).tolist():
        texts[i] = np.format_float_positional(flat[i], min_digits=2)
    return texts


# --- what a file had besides --------------------------------------------------------------------


def _kept(fields: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """What the reader has kept, which may have come back from another file."""
    kept = (fields or {}).get(_KEPT, {})
    if not isinstance(kept, dict):
        raise ValueError(f"{where}: extra[{_KEPT!r}] is {_show(kept)}, expected a dict; remove it")
    return kept


def _attributes(
    kept: Mapping[str, Any], usual: Sequence[tuple[str, str]], own: Sequence[str], where: str
) -> str:
    """Text of attributes: the usual ones, and those that were kept in their place or besides.

    Those in `own` are written by the caller, and cannot stand there twice.
    """
    given = kept.get("attributes", {})
    wrong = not isinstance(given, dict) or not all(
        isinstance(k, str) and isinstance(v, str) and _NAME.fullmatch(k) and k not in own
        for k, v in given.items()
    )
    if wrong:
        raise ValueError(
            f"{where}: 'attributes' in extra[{_KEPT!r}] is {_show(given)}, expected names and "
            f"texts, and not {', '.join(own)}; remove it"
        )
    merged = {**dict(usual), **given}
    return "".join(f" {name}={attribute(value, where)}" for name, value in merged.items())


def _elements(texts: Any, where: str) -> Iterator[str]:
    """Elements that were kept as text, each read again: it must be one, and be whole."""
    for text in texts if isinstance(texts, list) else []:
        try:
            yield xml_of(parse_xml(text if isinstance(text, str) else "", where))
        except FormatError as error:
            raise ValueError(
                f"{where}: {_show(text)} in extra[{_KEPT!r}] is no element that can be written; "
                f"remove it ({error})"
            ) from error


# --- the beginning of a file --------------------------------------------------------------------


def _head(
    dataset: Dataset, mode: str, frames: Sequence[int] | None, size: tuple[int, int] | None
) -> Iterator[str]:
    """Parts of a file before images or tracks."""
    kept = _kept(dataset.extra, "the dataset")
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield f"  {_meta(dataset, kept.get('meta'), mode, frames, size)}\n"
    for element in _elements(kept.get("others"), "the dataset"):
        yield f"  {element}\n"


def _meta(
    dataset: Dataset,
    stored: Any,
    mode: str,
    frames: Sequence[int] | None,
    size: tuple[int, int] | None,
) -> str:
    """Text of ``<meta>``: that of the file, its labels made anew if the categories are others."""
    if stored is None:
        root = ET.Element("meta")
        ET.SubElement(root, "task")
    else:
        root = parse_xml(next(_elements([stored], "the dataset")), "the dataset")
    task = next((child for tag in ("task", "job", "project") for child in root.iter(tag)), root)
    is_changed = stored is None

    def put(parent: ET.Element, tag: str, value: str) -> None:
        nonlocal is_changed
        element = root.find(f".//{tag}")
        if element is None:
            element = ET.SubElement(parent, tag)
        if (element.text or "").strip() != value:
            element.text = value
            is_changed = True

    put(task, "mode", mode)
    if stored is None:
        put(task, "size", str(len(dataset.images)))
    if frames:
        gaps = {b - a for a, b in itertools.pairwise(frames)}
        step = math.gcd(*gaps) if gaps else 1
        put(task, "size", str((frames[-1] - frames[0]) // step + 1))
        put(task, "start_frame", str(frames[0]))
        put(task, "stop_frame", str(frames[-1]))
        put(task, "frame_filter", "" if step == 1 else f"step={step}")
    if size is not None:
        original = root.find(".//original_size")
        if original is None:
            original = ET.SubElement(task, "original_size")
        put(original, "width", str(size[0]))
        put(original, "height", str(size[1]))
    if _told(read_labels(root, [], [])) != _told(dataset.categories):
        labels = root.find(".//labels")
        labels = ET.SubElement(task, "labels") if labels is None else labels
        for label in list(labels):
            has_part = label.find("parent") is not None or label.find("svg") is not None
            if has_part or label.findtext("type", "").strip() == "skeleton":
                labels.remove(label)
        labels.extend(label_elements(dataset.categories))
        is_changed = True
    if is_changed:
        ET.indent(root, "  ", 1)
    return xml_of(root)


def _told(categories: Sequence[Category]) -> list[Any]:
    """What labels say of categories."""
    return [(c.name, c.keypoints, c.schema.skeleton, c.schema.colors) for c in categories]
