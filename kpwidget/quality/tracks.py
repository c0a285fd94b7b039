"""`tracks_of`: which instances are the same object through a clip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.combine import clip_of
from kpwidget.quality.labels import Labels

__all__ = ["Members", "tracks_of"]


class Members(NamedTuple):
    """Instances of a track: their places among the labels, and frames of the clip, rising."""

    places: NDArray[np.int64]
    frames: NDArray[np.int64]


def tracks_of(labels: Labels, is_sequence: bool) -> tuple[dict[str, dict[str, Members]], str]:
    """Instances of each track of each clip.

    Parameters
    ----------
    labels : Labels
    is_sequence : bool
        That instances without a track id are one track.

    Returns
    -------
    tracks : dict of clip to dict of track to Members
        With three or more instances. A clip is the images of one folder whose names differ in the
        number at their end.
    problem : str
        What was left out and why, in words; empty if nothing.
    """
    dataset = labels.dataset
    ids = dataset._table.column("track_id", labels.rows).tolist()
    if is_sequence:
        ids = ["" if identity is None else identity for identity in ids]
    n_nameless = sum(identity is None for identity in ids)
    problem = ""
    if n_nameless:
        problem = (
            f"{n_nameless:,} of {len(ids):,} instances have no track_id, so which belong together "
            "through a sequence is not known; where each image shows the same one use "
            "kpwidget.quality.jitter(ds, is_sequence=True)"
        )
        if n_nameless == len(ids):
            return {}, problem
    clip_of_image, frame_of_image, n_of_clip = [], [], dict[str, int]()
    for state in dataset._images:
        clip = "/".join(part for part in clip_of(state.file_name) if part)
        clip_of_image.append(clip)
        frame_of_image.append(n_of_clip.get(clip, 0))
        n_of_clip[clip] = frame_of_image[-1] + 1
    members: dict[str, dict[str, list[int]]] = {}
    for i, (image, identity) in enumerate(zip(labels.images.tolist(), ids, strict=True)):
        if identity is not None:
            of_clip = members.setdefault(clip_of_image[image], {})
            of_clip.setdefault(str(identity), []).append(i)
    found: dict[str, dict[str, Members]] = {}
    for clip, of_clip in members.items():
        for track, places in of_clip.items():
            order = np.array(places)[np.argsort(labels.images[places], kind="stable")]
            frames = np.array([frame_of_image[image] for image in labels.images[order].tolist()])
            again = np.flatnonzero(np.diff(frames) == 0)
            if len(again):
                name = labels.file_name(int(order[again[0]]))
                twice = f"left out: track {track!r}, which is twice in image {name!r}"
                problem = f"{problem}; {twice}" if problem else twice
            elif len(order) >= 3:
                found.setdefault(clip, {})[track] = Members(order, frames)
    return found, problem
