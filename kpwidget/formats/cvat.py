"""CVAT 1.1 XML, for images and for video: `read_cvat_images`, `read_cvat_video` and the writers.

A point that is outside is unlabeled, one that is occluded is occluded; else it is visible (CVAT's
own rule, cvat/apps/dataset_manager/bindings.py). What is no skeleton, and what of skeletons has no
place in a dataset, is kept as text under ``extra['cvat']`` and written back. The one rectangle in
the group of the one skeleton is its bbox: CVAT's skeletons have none, and people group the two.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from xml.etree import ElementTree as ET

import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.core import ImageState
from kpwidget.dataset.image_files import IMAGE_SUFFIXES, image_locator
from kpwidget.dataset.table import Bbox
from kpwidget.dataset.values import MAX_COORDINATE
from kpwidget.formats import Problems, check_told, count, keypoints_of, settle, with_schemas
from kpwidget.formats.cvat_boxes import bbox_of, bboxes_of_track, group_of, numbers_of, whole_of
from kpwidget.formats.cvat_labels import read_labels
from kpwidget.formats.cvat_write import (
    cvat_images_losses,
    cvat_video_losses,
    write_cvat_images,
    write_cvat_video,
)
from kpwidget.formats.xml_text import iter_xml, parse_xml, xml_of
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = [
    "cvat_images_losses",
    "cvat_video_losses",
    "is_cvat_images",
    "is_cvat_video",
    "read_cvat_images",
    "read_cvat_video",
    "write_cvat_images",
    "write_cvat_video",
]

MAX_FRAMES: Final = 200_000
"""Frames without a skeleton that a file may promise: an hour of video has some 100,000."""

_N_LOOKED_AT: Final = 100_000  # elements before the first image or track: labels
_OF_SKELETON: Final = {"source": "manual", "z_order": "0"}  # what most have, as CVAT writes it
_OF_POINTS: Final = {"source": "manual"}


def is_cvat_images(path: Path) -> bool:
    """Whether a file is CVAT XML for images.

    Parameters
    ----------
    path : Path
    """
    return _kind(path) == "images"


def is_cvat_video(path: Path) -> bool:
    """Whether a file is CVAT XML for video.

    Parameters
    ----------
    path : Path
    """
    return _kind(path) == "video"


def _kind(path: Path) -> Literal["images", "video"] | None:
    """Which of the two a file is, by its first image or track, else by the task's mode."""
    mode = None
    try:
        for i, (event, element, depth) in enumerate(iter_xml(path, os.fspath(path))):
            if (depth == 1 and element.tag != "annotations") or i > _N_LOOKED_AT:
                return None
            if depth == 2 and event == "start" and element.tag in ("image", "track"):
                return "images" if element.tag == "image" else "video"
            if element.tag == "mode" and event == "end":
                mode = element.text
    except (FormatError, OSError):
        return None
    return "video" if mode == "interpolation" else "images"


def read_cvat_images(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
) -> Dataset:
    """Dataset in a file of CVAT for images 1.1.

    Parameters
    ----------
    path : str or os.PathLike
        The XML file.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. Default: the folder of the file, and ``images`` in it.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema or mapping of str to Schema, optional
        Flip pairs, sigmas and order for the keypoints, which CVAT lacks: one for all categories, or
        by their name. It has to have the same keypoints.

    Returns
    -------
    Dataset
        A skeleton is an instance with the uid ``cvat:<image id>:<number of the skeleton>``, x and y
        in image pixels as the file has them. A point that is outside keeps its location in
        `Instance.raw`. The one rectangle that shares a ``group_id`` with the one skeleton of the
        image is its bbox. Other boxes, shapes and tags are text in the ``extra['cvat']`` of their
        image.

    Raises
    ------
    FormatError
        If the file is no such XML or elements are bad, naming every one.
    ValueError
        If `schema` has other keypoints.

    Warns
    -----
    UserWarning
        If there are other shapes, rectangles in a group with skeletons that are the bbox of none,
        edges that cannot be used, or records were skipped.
    """
    reader = _Reader(Path(path), images, allow_outside)
    reader.read("image", reader.image)
    return settle(reader.dataset(schema), reader.where, reader.problems, reader.warned, on_error)


def read_cvat_video(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
) -> Dataset:
    """Dataset in a file of CVAT for video 1.1.

    Parameters
    ----------
    path : str or os.PathLike
        The XML file.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        Where the frames are as image files, ``frame_000010.png``. Default: the folder of the file,
        and ``images`` in it.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema or mapping of str to Schema, optional
        Flip pairs, sigmas and order for the keypoints, which CVAT lacks: one for all categories, or
        by their name. It has to have the same keypoints.

    Returns
    -------
    Dataset
        Every frame of the task is an image, its id the number of the frame. A skeleton of a track
        that is not all outside is an instance with the uid ``cvat:<track>:<frame>`` and the
        `track_id` of the track; its `source` is 'interpolated' where none of its points is a
        keyframe. The one track of rectangles that shares a ``group_id`` with the one track of
        skeletons is its bboxes. Where a track is absent, and tracks of other shapes, are in
        ``dataset.extra['cvat']``.

    Raises
    ------
    FormatError
        If the file is no such XML or elements are bad, naming every one.
    ValueError
        If `schema` has other keypoints.

    Warns
    -----
    UserWarning
        If there are other shapes, rectangles in a group with skeletons that are the bbox of none,
        edges that cannot be used, or records were skipped.
    """
    reader = _Reader(Path(path), images, allow_outside)
    reader.read("track", reader.track)
    reader.add_frames()
    return settle(reader.dataset(schema), reader.where, reader.problems, reader.warned, on_error)


@dataclass(slots=True)
class _Shape:
    """A skeleton as it stands in the file."""

    where: str
    uid: str
    image: int  # id
    label: str
    points: dict[str, tuple[float, float, int]]
    extra: dict[str, Any]
    track: int | None = None
    is_interpolated: bool = False
    bbox: Bbox | None = None


class _Reader:
    """Reads one file in pieces, and collects what is wrong."""

    def __init__(self, path: Path, images: Any, allow_outside: bool) -> None:
        self.where = os.fspath(path)
        self.problems = Problems()
        self.warned: list[str] = []
        self._path = path
        self._allow_outside = allow_outside
        self._images = images
        self._meta: ET.Element | None = None
        self._extra: dict[str, Any] = {}
        self._states: dict[int, ImageState] = {}
        self._shapes: list[_Shape] = []
        self._tracks: dict[int, dict[str, Any]] = {}
        self._absent: set[int] = set()  # frames in which a track is
        self._others: Counter[str] = Counter()
        self._other_tracks: list[tuple[str, str | None, str]] = []  # kind, group, text
        self._of_group: dict[str, list[int]] = {}  # numbers of tracks of skeletons
        self._unpaired: dict[str, None] = {}  # where a rectangle is grouped, but the bbox of none

    def read(self, tag: str, take: Any) -> None:
        """Go through the file; `take` gets every element called `tag` below the outermost."""
        wrong = {"image": "track", "track": "image"}[tag]
        root: ET.Element | None = None
        for event, element, depth in iter_xml(self._path, self.where, "reading annotations"):
            if depth == 1:
                root = element if root is None else root
                if root.tag != "annotations":
                    raise FormatError.from_problems(
                        self.where,
                        [f"not a CVAT file: expected <annotations>, got <{_short(root.tag)}>"],
                    )
            if depth != 2 or event != "end" or root is None:
                continue
            if element.tag == tag:
                take(element)
            elif element.tag == wrong:
                raise FormatError.from_problems(
                    self.where,
                    [
                        f"has <{wrong}>, expected <{tag}>: read it with "
                        f"format='cvat-{'video' if wrong == 'track' else 'images'}'"
                    ],
                )
            elif element.tag == "meta":
                self._meta = element
            elif element.tag != "version":
                self._extra.setdefault("others", []).append(xml_of(element))
            root.clear()
        if self._meta is not None:
            self._extra = {"meta": xml_of(self._meta), **self._extra}

    # --- images ---

    def image(self, element: ET.Element) -> None:
        """Take an ``<image>``."""
        known = dict(element.attrib)
        given, name = known.pop("id", None), known.pop("name", None)
        where = f"image {_show(name)} (id {_show(given)})"
        number = whole_of(given)
        size = self._size(known.pop("width", None), known.pop("height", None), where)
        if number is None or number in self._states:
            self.problems.append(f"{where}: expected an id of its own, a whole number")
            return
        if not name:
            self.problems.append(f"{where}: expected a name")
            return
        own: dict[int, _Shape] = {}
        for i, child in enumerate(element):
            if child.tag == "skeleton":
                place = f"{where}: skeleton {i + 1}"
                shape = self._skeleton(child, place, f"cvat:{number}:{i + 1}", number)
                if shape is not None:
                    own[i] = shape
        boxes = self._give_boxes(element, own, where)
        self._shapes.extend(own.values())
        others = [c for i, c in enumerate(element) if c.tag != "skeleton" and i not in boxes]
        self._others.update(child.tag for child in others)
        shapes = [xml_of(child) for child in others]
        kept = {
            **({"attributes": known} if known else {}),
            **({"shapes": shapes} if shapes else {}),
        }
        self._states[number] = ImageState(
            number, name, None, recorded_size=size, extra={"cvat": kept} if kept else None
        )

    def _give_boxes(self, element: ET.Element, own: Mapping[int, _Shape], where: str) -> set[int]:
        """Give the skeletons of an image the box of their group; return where these boxes stand."""
        members: dict[str, dict[str, list[int]]] = {}
        for i, child in enumerate(element):
            group = group_of(child)
            if group is not None and child.tag in ("skeleton", "box"):
                members.setdefault(group, {}).setdefault(child.tag, []).append(i)
        given = set()
        for group, of in members.items():
            skeletons, boxes = of.get("skeleton", []), of.get("box", [])
            bbox = bbox_of(element[boxes[0]]) if boxes else None
            if len(skeletons) == len(boxes) == 1 and bbox is not None and skeletons[0] in own:
                shape = own[skeletons[0]]
                shape.bbox, shape.extra["box"] = bbox, xml_of(element[boxes[0]])
                given.add(boxes[0])
            elif skeletons and boxes:
                self._unpaired[f"{where}: group {_show(group)}"] = None
        return given

    def _size(self, width: Any, height: Any, where: str) -> tuple[int, int] | None:
        if width is None and height is None:
            return None
        size = (whole_of(width), whole_of(height))
        if not (size[0] and size[1]):
            self.problems.append(
                f"{where}: is {_show(width)} x {_show(height)} px, expected whole numbers above 0"
            )
            return None
        return (size[0], size[1])

    def _skeleton(
        self, element: ET.Element, where: str, uid: str, image: int, label: str | None = None
    ) -> _Shape | None:
        """Return a skeleton with its points, None if something is wrong with it."""
        label = element.get("label", "") if label is None else label
        handled = ("label", "frame", "keyframe")
        extra: dict[str, Any] = _rest(element, handled, _OF_SKELETON)
        points: dict[str, tuple[float, float, int]] = {}
        of_points: dict[str, Any] = {}
        found = Problems()
        for child in element:
            if child.tag == "attribute":
                continue
            if child.tag != "points":
                found.append(f"has <{_short(child.tag)}>, expected <points>")
                continue
            name = child.get("label", "")
            if name in points:
                found.append(f"has the point {_show(name)} twice")
                continue
            point = _point(child, name, found)
            points[name] = point
            # One that is outside can be occluded as well, which a visibility does not say.
            said = ("occluded",) if point[2] or child.get("occluded") == "0" else ()
            rest = _rest(child, ("label", "outside", "points", "keyframe", *said), _OF_POINTS)
            if rest:
                of_points[name] = rest
        if len(found):
            self.problems.append(f"{where} ({_show(label)}): {'; '.join(found)}")
            return None
        if of_points:
            extra["points"] = of_points
        return _Shape(where, uid, image, label, points, extra)

    # --- video ---

    def track(self, element: ET.Element) -> None:
        """Take a ``<track>``."""
        given, label = element.get("id"), element.get("label", "")
        where = f"track {_show(given)} ({_show(label)})"
        number = whole_of(given)
        tags = Counter(child.tag for child in element)
        group = group_of(element)
        if not tags["skeleton"]:
            kind = next(iter(tags), "nothing")
            grouped = group if kind == "box" else None
            self._other_tracks.append((f"track of {kind}", grouped, xml_of(element)))
            return
        if number is None or number in self._tracks:
            self.problems.append(f"{where}: expected an id of its own, a whole number")
            return
        if tags["track"]:
            _flatten(element)
        kept: dict[str, Any] = _rest(element, ("id", "label"), {"source": "manual"})
        self._tracks[number] = kept
        frames: set[int] = set()
        n_before = len(self._shapes)
        last: _Shape | None = None
        for child in element:
            if child.tag != "skeleton":
                if child.tag != "attribute":
                    self.problems.append(f"{where}: has <{_short(child.tag)}> beside skeletons")
                continue
            frame = whole_of(child.get("frame"))
            place = f"{where}: frame {_show(child.get('frame'))}"
            if frame is None or frame in frames:
                self.problems.append(f"{place}: expected a whole number, each frame once")
                continue
            frames.add(frame)
            shape = self._skeleton(child, place, f"cvat:{number}:{frame}", frame, label)
            if shape is None:
                continue
            flags = {part.get("keyframe", "1") for part in child.iter("points")}
            is_keyframe = "1" in (flags or {child.get("keyframe", "1")})
            if shape.points and all(v == 0 for _, _, v in shape.points.values()):
                self._absent.add(frame)
                if is_keyframe and not _ends(last, shape):
                    kept.setdefault("absent", {})[str(frame)] = xml_of(child)
                last = None
                continue
            last = shape
            shape.track, shape.is_interpolated = number, not is_keyframe
            if is_keyframe and "0" in flags:  # of some points only
                held = shape.extra.setdefault("points", {})
                for part in child.iter("points"):
                    if part.get("keyframe") == "0":
                        own = held.setdefault(part.get("label", ""), {})
                        own.setdefault("attributes", {})["keyframe"] = "0"
            self._shapes.append(shape)
        if frames and frames <= self._absent and len(self._shapes) == n_before:
            del self._tracks[number]  # there is no instance to write it again with
            self._other_tracks.append(("track that is nowhere", None, xml_of(element)))
        elif group is not None:
            self._of_group.setdefault(group, []).append(number)

    def _give_tracks(self) -> None:
        """Give the tracks of skeletons the boxes of the one track of their group; keep the rest."""
        n_of_group = Counter(group for _, group, _ in self._other_tracks)
        of_track: dict[int | None, dict[int, _Shape]] = {}
        for shape in self._shapes:
            of_track.setdefault(shape.track, {})[shape.image] = shape
        for kind, group, text in self._other_tracks:
            numbers = self._of_group.get(group, []) if group is not None else []
            bboxes = None
            if len(numbers) == n_of_group[group] == 1:
                bboxes = bboxes_of_track(parse_xml(text, self.where))
            if bboxes is not None:
                shapes = of_track.get(numbers[0], {})  # it may have nothing but problems
                shown = {frame: bbox for frame, bbox in bboxes.items() if bbox is not None}
                for frame in shown.keys() & shapes.keys():
                    shapes[frame].bbox = shown[frame]
                self._absent.update(bboxes)
                kept = self._tracks[numbers[0]]
                kept["boxes"] = text
                if alone := sorted(shown.keys() - shapes.keys()):
                    kept["boxes_alone"] = alone
                continue
            if numbers:
                self._unpaired[f"tracks {numbers[:3]}: group {_show(group)}"] = None
            self._others[kind] += 1
            self._extra.setdefault("tracks_of_other_shapes", []).append(text)

    def add_frames(self) -> None:
        """Make an image of every frame of the task, and of those that have a skeleton."""
        self._give_tracks()
        frames = self._absent.union(shape.image for shape in self._shapes)
        size = None
        if self._meta is not None:
            frames |= set(self._frames_of(self._meta))
            sizes = self._meta.find(".//original_size")
            if sizes is not None:
                width, height = sizes.findtext("width"), sizes.findtext("height")
                size = self._size(width, height, "original_size")
        names = self._names_of(frames)
        for frame in sorted(frames):
            self._states[frame] = ImageState(frame, names[frame], None, recorded_size=size)
        # What is said of a track that needs no saying is left out.
        kept = {str(number): held for number, held in self._tracks.items() if held}
        if kept:
            self._extra["tracks"] = kept

    def _frames_of(self, meta: ET.Element) -> Iterable[int]:
        """Frames that the task says it has."""
        start, stop = (whole_of(meta.findtext(f".//{tag}_frame")) for tag in ("start", "stop"))
        size = whole_of(meta.findtext(".//size"))
        text = (meta.findtext(".//frame_filter") or "").strip()
        step = whole_of(text.removeprefix("step=")) if text else 1
        if start is None or not step or (stop is None and size is None):
            return ()
        frames = range(start, (start + size * step if size is not None else (stop or 0) + 1), step)
        if len(frames) > MAX_FRAMES:
            self.warned.append(
                f"the task says that it has {len(frames):,} frames, more than {MAX_FRAMES:,}: "
                "those with a skeleton are read"
            )
            return ()
        return frames

    def _names_of(self, frames: set[int]) -> dict[int, str]:
        """File name of each frame: that of the file that is there, else with the ending .png."""
        names = {frame: f"frame_{frame:06d}.png" for frame in frames}
        there: list[str] = []
        if isinstance(self._images, Mapping):
            there += self._images
        else:
            for folder in self._folders():
                if os.path.isdir(folder):
                    there += os.listdir(folder)
        for name in there:
            found = re.fullmatch(r"frame_([0-9]{1,15})(\.\w+)", name)
            if found and found[2].lower() in IMAGE_SUFFIXES and int(found[1]) in names:
                names[int(found[1])] = name
        return names

    # --- what comes out ---

    def _folders(self) -> Any:
        """Where image files are looked for."""
        if self._images is not None:
            is_list = isinstance(self._images, list | tuple | Mapping)
            return self._images if is_list else [self._images]
        parent = self._path.parent
        return [parent, *(p for p in [parent / "images"] if p.is_dir())]

    def dataset(self, schema: Schema | Mapping[str, Schema] | None) -> Dataset:
        """Return what was read."""
        categories = with_schemas(self._categories(), schema, self.where)
        dataset = Dataset(categories)
        if self._extra:
            dataset.extra["cvat"] = self._extra
        locate = image_locator(self._folders(), self._allow_outside)
        for state in self._states.values():
            state.data = locate(state.file_name)
            dataset._add_image(state)
        place = {number: i for i, number in enumerate(self._states)}
        index = {category.name: i for i, category in enumerate(categories)}
        shapes = [s for s in self._shapes if self._fits(s, index, categories)]
        n_keypoints = sum(categories[index[s.label]].n_keypoints for s in shapes)
        check_told(n_keypoints, sum(len(s.points) for s in shapes), self.where)
        of_category: dict[int, list[_Shape]] = {}
        for shape in shapes:
            of_category.setdefault(index[shape.label], []).append(shape)
        bbox = [(np.nan,) * 4 if s.bbox is None else s.bbox for s in shapes]
        extra, track_id = np.empty((2, len(shapes)), object)
        extra[:] = [{"cvat": s.extra} if s.extra else None for s in shapes]
        track_id[:] = [s.track for s in shapes]
        source = np.empty(len(shapes), object)
        source[:] = ["interpolated" if s.is_interpolated else "imported" for s in shapes]
        dataset._table.extend(
            uids=[s.uid for s in shapes],
            image=np.array([place[s.image] for s in shapes], np.int64),
            category=np.array([index[s.label] for s in shapes], np.int64),
            keypoints={
                i: keypoints_of(categories[i], [s.points for s in own])
                for i, own in of_category.items()
            },
            bbox=np.array(bbox, float).reshape(-1, 4),
            extra=extra,
            track_id=track_id,
            source=source,
        )
        if self._unpaired:
            self.warned.append(
                f"rectangles of {count(len(self._unpaired), 'group')} with skeletons are the bbox "
                "of none (expected one skeleton and one rectangle that is not turned in a group): "
                + "; ".join(list(self._unpaired)[:3])
            )
        if self._others:
            kinds = ", ".join(f"{n:,} {_short(tag)}" for tag, n in self._others.most_common(10))
            self.warned.append(
                f"{count(sum(self._others.values()), 'shape')} besides skeletons ({kinds}): kept "
                "for writing, and not shown"
            )
        return dataset

    def _categories(self) -> list[Category]:
        if self._meta is not None and self._meta.find(".//label") is not None:
            found: list[str] = []
            categories = read_labels(self._meta, found, self.warned)
            self.problems.extend(found)
            return categories
        names: dict[str, dict[str, None]] = {}
        for shape in self._shapes:
            names.setdefault(shape.label, {}).update(dict.fromkeys(shape.points))
        if names:
            self.warned.append(
                "has no labels: keypoints are in the order in which they come, without a skeleton"
            )
        categories = []
        for name, keypoints in names.items():
            try:
                schema = Schema(name, list(keypoints))
            except FormatError as error:
                self.problems.extend(error.problems)
                continue
            categories.append(Category(len(categories) + 1, schema, name))
        return categories

    def _fits(self, shape: _Shape, index: Mapping[str, int], categories: list[Category]) -> bool:
        """Whether the label of a skeleton has these points; else it is said."""
        number = index.get(shape.label)
        if number is None:
            listed = ", ".join(map(_show, list(index)[:20])) or "none that can be used"
            self.problems.append(
                f"{shape.where}: label {_show(shape.label)}, expected one of the skeletons' "
                f"labels: {listed}"
            )
            return False
        own = categories[number].schema._index
        unknown = [name for name in shape.points if name not in own]
        if unknown:
            self.problems.append(
                f"{shape.where} ({_show(shape.label)}): has no keypoint "
                f"{', '.join(map(_show, unknown[:5]))}; expected "
                f"{', '.join(map(_show, categories[number].keypoints[:20]))}"
            )
        return not unknown


def _rest(element: ET.Element, handled: Iterable[str], usual: Mapping[str, str]) -> dict[str, Any]:
    """Attributes of an element that are neither handled nor as usual, and its <attribute>s."""
    others = {
        key: value
        for key, value in element.attrib.items()
        if key not in handled and usual.get(key) != value
    }
    rest: dict[str, Any] = {"attributes": others} if others else {}
    named = [xml_of(child) for child in element if child.tag == "attribute"]
    return {**rest, "elements": named} if named else rest


def _point(element: ET.Element, name: str, found: Problems) -> tuple[float, float, int]:
    """(x, y, visibility) of a ``<points>``; what is wrong is added."""
    flags = []
    for key in ("outside", "occluded"):
        flag = element.get(key)
        if flag not in ("0", "1"):
            got = "missing" if flag is None else _show(flag)
            found.append(f"point {_show(name)}: {key!r} is {got}, expected '0' or '1'")
        flags.append(flag == "1")
    text = element.get("points", "")
    numbers = numbers_of(text.split(",", 2) if len(text) < 1000 else [])
    if numbers is None or len(numbers) != 2:
        found.append(
            f"point {_show(name)}: 'points' is {_show(text)}, expected x,y: two numbers, at most "
            f"{MAX_COORDINATE:g}"
        )
        return (0.0, 0.0, 0)
    return (numbers[0], numbers[1], 0 if flags[0] else 1 if flags[1] else 2)


def _flatten(track: ET.Element) -> None:
    """Put the points of tracks within a track into its skeletons, as CVAT's newer files have it.

    The older ones (those of CVAT's datumaro) have a track per point beside the skeletons. A point
    that is not told of in a frame is outside there.
    """
    skeletons = {child.get("frame"): child for child in track if child.tag == "skeleton"}
    parts = [child for child in track if child.tag == "track"]
    track[:] = [child for child in track if child.tag != "track"]
    for part in parts:
        for point in part:
            skeleton = skeletons.get(point.get("frame"))
            if point.tag == "points" and skeleton is not None:
                point.attrib.pop("frame", None)
                point.attrib.pop("z_order", None)  # a skeleton has one for all of its points
                point.set("label", part.get("label", ""))
                skeleton.append(point)
    for skeleton in skeletons.values():
        for key in ("points", "outside", "occluded"):  # of all points together
            skeleton.attrib.pop(key, None)


def _ends(last: _Shape | None, absent: _Shape) -> bool:
    """Whether a skeleton that is outside says no more than that the one before it was the last.

    Its points are where they were; those that were occluded are so still. The writer makes it.
    """
    if (
        last is None
        or absent.extra.keys() - {"points"}
        or last.points.keys() != absent.points.keys()
    ):
        return False
    held = absent.extra.get("points", {})
    return all(
        absent.points[name][:2] == (x, y)
        and held.get(name, {}) == ({"attributes": {"occluded": "1"}} if v == 1 else {})
        for name, (x, y, v) in last.points.items()
    )


def _short(tag: str) -> str:
    return tag if len(tag) <= 40 and tag.isprintable() else _show(tag)
