"""Pictures and datasets to try things on, without a download.

Photographs that installed packages bring along, a labelled dataset drawn on the spot, and
photograph-like noise for tests and benchmarks. Coordinates are in image pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kpwidget.dataset import Dataset

# name: (package, file inside it, how to get the package)
_PHOTOGRAPHS = {
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "matplotlib"),
    "astronaut": ("skimage", "data/astronaut.png", '"kpwidget[demo]"'),
    "chelsea": ("skimage", "data/chelsea.png", '"kpwidget[demo]"'),
}

# A front view of COCO's 17 keypoints, facing the camera, so the person's left is at larger x:
# x from the middle line and y from the top of the head, both in body heights.
_STANCE = {
    "nose": (0.0, 0.075),
    "left_eye": (0.02, 0.06),
    "right_eye": (-0.02, 0.06),
    "left_ear": (0.045, 0.07),
    "right_ear": (-0.045, 0.07),
    "left_shoulder": (0.11, 0.19),
    "right_shoulder": (-0.11, 0.19),
    "left_elbow": (0.16, 0.34),
    "right_elbow": (-0.16, 0.34),
    "left_wrist": (0.18, 0.48),
    "right_wrist": (-0.18, 0.48),
    "left_hip": (0.07, 0.5),
    "right_hip": (-0.07, 0.5),
    "left_knee": (0.08, 0.73),
    "right_knee": (-0.08, 0.73),
    "left_ankle": (0.085, 0.96),
    "right_ankle": (-0.085, 0.96),
}
_ARMS = ("left_elbow", "right_elbow", "left_wrist", "right_wrist")

_LIMB_COLOR = (60, 64, 72)
_JOINT_COLOR = (250, 250, 245)
_HEAD_COLOR = (214, 178, 150)


def sample_images(names: str | Iterable[str] | None = None) -> dict[str, Path]:
    """Photographs on this machine, by name.

    Parameters
    ----------
    names : str or iterable of str, optional
        Out of 'grace_hopper' (comes with matplotlib), 'astronaut' and 'chelsea' (come with
        scikit-image). None stands for all that the installed versions ship.

    Returns
    -------
    dict of str to pathlib.Path
        In the order asked for. 'grace_hopper' is a JPEG of 512x600 pixels, 'astronaut' a PNG of
        512x512, 'chelsea' (a cat) a PNG of 451x300.

    Raises
    ------
    ValueError
        If a name is not one of these.
    ImportError
        If a package that ships one of them is not installed.
    FileNotFoundError
        If a photograph is asked for by name that the installed version does not ship.
    """
    asked = [names] if isinstance(names, str) else None if names is None else list(names)
    unknown = [name for name in asked or () if name not in _PHOTOGRAPHS]
    if unknown:
        raise ValueError(
            f"sample_images: there is no {', '.join(map(repr, unknown))}; "
            f"choose from {', '.join(map(repr, _PHOTOGRAPHS))}"
        )
    paths: dict[str, Path] = {}
    for name in _PHOTOGRAPHS if asked is None else asked:
        package, inside, requirement = _PHOTOGRAPHS[name]
        # Located, not imported: the packages take a second to load and only the file is wanted.
        spec = find_spec(package)
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        if not folders:
            raise ImportError(
                f"sample_images: {name!r} comes with {package}, which is not installed; "
                f"pip install {requirement}"
            )
        path = next((p for p in (Path(f, inside) for f in folders) if p.is_file()), None)
        if path is not None:
            paths[name] = path
        elif asked is not None:
            raise FileNotFoundError(
                f"sample_images: the installed {package} does not ship {name!r} "
                f"(looked for {inside} in {', '.join(folders)}); leave it out"
            )
    return paths


def sample_dataset(n: int = 6, seed: int = 0) -> Dataset:
    """A labelled dataset of stick figures, drawn on the spot.

    Parameters
    ----------
    n : int
        Number of images, at least 1. Each has 640x480 pixels, one figure, and every third image a
        second one. Named 'figure_000.png' and so on; the images live in memory.
    seed : int
        Same seed, same dataset.

    Returns
    -------
    Dataset
        Category 'person' with COCO's 17 keypoints, which stand exactly where the joints were
        drawn. Ankles below the lower edge are unlabeled, a wrist behind the back is occluded.

    Raises
    ------
    ValueError
        If `n` is below 1.
    """
    from kpwidget import schemas
    from kpwidget.dataset import Dataset
    from kpwidget.schema import Category

    if n < 1:
        raise ValueError(f"sample_dataset: expected n >= 1, got {n}")
    schema = schemas.get("coco17")
    width, height = 640, 480
    pictures: dict[str, NDArray[np.uint8]] = {}
    figures: dict[str, list[NDArray[np.float64]]] = {}
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        name = f"figure_{index:03d}.png"
        picture = made_photo(width, height, seed=int(rng.integers(2**31)))
        # A pale backdrop lets the figure stand out.
        picture = (picture // 3 + np.uint8(140)).astype(np.uint8)
        poses = []
        middles = (0.3, 0.7) if index % 3 == 2 else (0.5,)
        for middle in middles:
            pose = _pose(schema.keypoints, rng, middle * width, height)
            _draw_figure(picture, pose, schema.edges)
            poses.append(pose)
        pictures[name] = picture
        figures[name] = poses
    dataset = Dataset.from_images(pictures, Category(1, schema, "person"))
    with dataset.transaction("sample figures"):
        for name, poses in figures.items():
            for pose in poses:
                dataset.add_instance(name, "person", keypoints=pose, source="imported")
    return dataset


def made_photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with the statistics of a noisy photograph: light, texture, edges, grain.

    Parameters
    ----------
    width, height : int
        Size in pixels, each at least 1.
    seed : int
        Same seed and size, same picture.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB. As a JPEG of quality 90 about 0.2 bytes a pixel, as a PNG about 1.6.

    Raises
    ------
    ValueError
        If a side is below 1.
    """
    from PIL import Image

    if width < 1 or height < 1:
        raise ValueError(f"made_photo: expected width and height >= 1, got {width} and {height}")
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, width, dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, np.newaxis]

    # Texture the same in all channels, of equal strength at each scale as in natural images
    # (amplitude falling with frequency, Field 1987), made small and enlarged.
    texture = np.zeros((height, width), dtype=np.float32)
    for cell in (128, 32, 8, 2):
        grid = (max(2, height // cell + 1), max(2, width // cell + 1))
        coarse = Image.fromarray(rng.normal(0, 7, grid).astype(np.float32))
        texture += np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))

    picture = np.empty((height, width, 3), dtype=np.uint8)
    tops, bottoms = rng.uniform(110, 220, 3), rng.uniform(50, 150, 3)
    n_shapes = 7
    centers = rng.uniform(0.1, 0.9, (n_shapes, 2))
    radii = rng.uniform(0.04, 0.2, (n_shapes, 2))
    colors = rng.uniform(20, 235, (n_shapes, 3))
    shapes = [
        ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
        for (cx, cy), (rx, ry) in zip(centers, radii, strict=True)
    ]
    for channel in range(3):
        light = (
            tops[channel] + (bottoms[channel] - tops[channel]) * y + 15 * np.sin(5 * x + channel)
        )
        plane = light.astype(np.float32)
        for color, shape in zip(colors, shapes, strict=True):
            plane[shape] = 0.35 * plane[shape] + np.float32(0.65 * color[channel])
        plane += texture
        plane += rng.standard_normal((height, width), dtype=np.float32) * np.float32(2.5)
        picture[..., channel] = np.clip(plane, 0, 255)
    return picture


def _pose(
    names: tuple[str, ...], rng: np.random.Generator, middle: float, height: int
) -> NDArray[np.float64]:
    """Keypoints of shape (17, 3), image pixels, of one figure standing at x = `middle`."""
    body = rng.uniform(0.75, 1.1) * height  # above 1: the feet are out of the picture
    top = 0.04 * height
    places = dict(_STANCE)
    for name in _ARMS:
        dx, dy = rng.uniform(-0.03, 0.03), rng.uniform(-0.05, 0.05)
        places[name] = (places[name][0] + dx, places[name][1] + dy)
    xy = np.array([places[name] for name in names]) * body + (middle, top)
    # Hundredths of a pixel: clicks are not whole numbers either, and this reads well in a table.
    pose = np.column_stack([np.round(xy, 2), np.full(len(names), 2.0)])
    if rng.random() < 0.5:
        pose[names.index("left_wrist"), 2] = 1
    pose[pose[:, 1] > height - 1] = (np.nan, np.nan, 0)
    return pose


def _draw_figure(
    picture: NDArray[np.uint8], pose: NDArray[np.float64], edges: NDArray[np.integer]
) -> None:
    """Draw limbs and joints into the picture; occluded joints get no dot."""
    labeled = pose[:, 2] > 0
    face = pose[:5, :2]
    _fill_near(picture, face[0] - (0, 4), face[0] + (0, 1), 0.95 * np.ptp(face[:, 0]), _HEAD_COLOR)
    for a, b in edges:
        if labeled[a] and labeled[b]:
            _fill_near(picture, pose[a, :2], pose[b, :2], 3.0, _LIMB_COLOR)
    for x, y, visibility in pose:
        if visibility == 2:
            _fill_near(picture, np.array([x, y]), np.array([x, y]), 4.0, _JOINT_COLOR)


def _fill_near(
    picture: NDArray[np.uint8],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
    color: tuple[int, int, int],
) -> None:
    """Fill every pixel whose centre lies within `radius` image pixels of the line start-end."""
    height, width = picture.shape[:2]
    low = np.floor(np.minimum(start, end) - radius).astype(int)
    high = np.ceil(np.maximum(start, end) + radius).astype(int)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high + 1, (width, height))
    if left >= right or top >= bottom:
        return
    # The centre of the pixel in column 10 is x = 10.5.
    centers = np.stack(
        np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5), axis=-1
    )
    along = end - start
    length2 = float(along @ along)
    t = np.clip(((centers - start) @ along) / length2, 0, 1) if length2 else 0.0
    nearest = start + np.asarray(t)[..., np.newaxis] * along
    near = np.sum((centers - nearest) ** 2, axis=-1) <= radius**2
    picture[top:bottom, left:right][near] = color
