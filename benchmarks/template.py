"""How long a person takes to be placed: click by click, or by a template whose points are moved.

Both are scripted in the annotator itself, on real people, and timed by one model of the hand: a
movement over the distance D to a target of width W takes log2(D / W + 1) / RATE seconds (Fitts' law
in Shannon's form, ISO/TS 9241-411), whether the button is down or up. So the ratio of the two times
does not depend on the rate. Real hands drag more slowly than they point, which is in favour of the
template here, as are these: keys cost nothing, the box is dragged around the keypoints exactly, and
who labels sees at once which points are fine.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpwidget import schemas
from tests.browser.notebook import Notebook
from tests.browser.stage import Stage

from .rig import STAGE_HEIGHT, Rig
from .table import Row, told

#: Bits per second; mice reach 3.7 to 4.9 (Soukoreff and MacKenzie, "Towards a standard for pointing
#: device evaluation", Int. J. Human-Computer Studies 61 (2004) 751-789).
RATE = 4.5
#: Width of what is grabbed, twice HIT_RADIUS of js/src/input.ts, in CSS px.
GRAB = 16.0
#: A COCO keypoints file and a folder `images` beside it.
PEOPLE = Path(
    os.environ.get("KPWIDGET_PEOPLE")
    or Path(__file__).parents[2] / "shared" / "data" / "coco-people" / "test_coco.json"
)

_SETUP = """
import pathlib
import kpwidget as kp
truth = kp.read({path!r}, images={images!r})
def show(image, learns):
    global ds, a
    ds = kp.Dataset.from_images(
        [pathlib.Path({images!r}) / one.file_name for one in truth.images],
        kp.schemas.get("coco17"))
    for one in truth.instances:
        if learns and one.image.index != image:
            ds.add_instance(one.image.index, keypoints=one.raw)
    a = kp.Annotator(ds, image=image, height={height})
    return a
"""


@dataclass
class Person:
    """A labeled person.

    Attributes
    ----------
    image : int
        Position of the image in the file.
    keypoints : ndarray of shape (17, 3)
        (x, y, visibility) in image pixels; 0 where not labeled.
    fine : ndarray of shape (17,)
        How far a point may be off, in image pixels: COCO's sigma times the root of the area, which
        is the standard deviation of people who label the same point (cocodataset.org).
    """

    image: int
    keypoints: NDArray[np.float64]
    fine: NDArray[np.float64]


def read_people(path: Path) -> list[Person]:
    """People of a COCO file of whom more than half of the keypoints are labeled."""
    coco = json.loads(path.read_text())
    index = {image["id"]: i for i, image in enumerate(coco["images"])}
    sigmas = np.asarray(schemas.get("coco17").sigmas)
    return [
        Person(
            index[one["image_id"]],
            np.array(one["keypoints"], dtype=float).reshape(-1, 3),
            sigmas * math.sqrt(one["area"]),
        )
        for one in coco["annotations"]
        if one["num_keypoints"] > len(sigmas) / 2
    ]


@dataclass
class Hand:
    """A mouse on the stage whose movements are timed by the model."""

    stage: Stage
    #: Where the image's corner and the mouse are, in CSS px of the window.
    corner: tuple[float, float]
    at: tuple[float, float]
    #: CSS px per image px.
    scale: float
    seconds: float = 0.0
    #: Movements made.
    n: int = field(default=0)

    def move(self, x: float, y: float, width: float) -> None:
        """Move to the image point (x, y), to hit something of `width` CSS px."""
        px = float(round(self.corner[0] + self.scale * x))
        py = float(round(self.corner[1] + self.scale * y))
        distance = math.hypot(px - self.at[0], py - self.at[1])
        self.seconds += math.log2(distance / max(width, 1.0) + 1) / RATE
        self.n += 1
        self.stage.page.mouse.move(px, py)
        self.at = px, py

    def drag(self, x: float, y: float, width: float) -> None:
        """The same with the button down."""
        self.stage.page.mouse.down()
        self.move(x, y, width)
        self.stage.page.mouse.up()


def _frame(person: Person) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xy = person.keypoints[person.keypoints[:, 2] > 0, :2]
    return xy.min(axis=0), xy.max(axis=0)


def _zoom(stage: Stage, person: Person) -> None:
    """Make the person as large as the stage allows, as who labels does."""
    stage.press("f")
    low, high = _frame(person)
    middle = (low + high) / 2
    box, (scale, tx, ty) = stage.ink_box, stage.viewport
    at = middle * scale + (tx, ty)
    room = np.minimum(at, np.array((box.width, box.height)) - at) - 24
    factor = float((room / np.maximum((high - low) / 2 * scale, 1)).min())
    for _ in range(max(0, math.floor(math.log(factor, 1.15)))):
        before = stage.viewport.scale
        stage.wheel(*middle.tolist(), -100)
        stage.wait_until("(root, k) => Number(root.dataset.scale) > k", before)


def _begin(stage: Stage) -> Hand:
    """A hand in the middle of the stage."""
    box, (scale, tx, ty) = stage.ink_box, stage.viewport
    at = box.left + box.width / 2, box.top + box.height / 2
    stage.page.mouse.move(*at)
    return Hand(stage, (box.left + tx, box.top + ty), at, scale)


def _click_all(stage: Stage, person: Person) -> Hand:
    hand = _begin(stage)
    for (x, y, visibility), fine in zip(person.keypoints, person.fine, strict=True):
        if not visibility:
            stage.press("s")
            continue
        hand.move(x, y, 2 * fine * hand.scale)
        stage.page.mouse.click(*hand.at)
    return hand


def _adjust(notebook: Notebook, stage: Stage, person: Person) -> tuple[Hand, dict[str, float]]:
    """Drop the template and move what is not fine; how that went."""
    hand = _begin(stage)
    low, high = _frame(person)
    n = notebook.kernel_eval("len(ds.instances)")
    stage.press("t")
    hand.move(*low, GRAB)
    hand.drag(*high, GRAB)
    notebook.wait_python(f"len(ds.instances) == {n + 1}")
    for_box = hand.seconds
    dropped = np.array(notebook.kernel_eval("ds.instances[-1].raw.tolist()"))
    is_labeled = person.keypoints[:, 2] > 0
    off = np.linalg.norm(dropped[:, :2] - person.keypoints[:, :2], axis=1)
    is_fine = is_labeled & (off <= person.fine)
    for k in np.flatnonzero(~is_fine):
        hand.move(*dropped[k, :2], GRAB)
        if is_labeled[k]:
            hand.drag(*person.keypoints[k, :2], 2 * person.fine[k] * hand.scale)
        else:
            stage.press("Delete")
    moved = max(1, int((~is_fine).sum()))
    return hand, {
        "fine": float(is_fine.sum() / is_labeled.sum()),
        "box": for_box,
        "each": (hand.seconds - for_box) / moved,
    }


def _check(notebook: Notebook, stage: Stage, person: Person, what: str) -> None:
    """Whether the person is labeled as in the file, as far as the mouse's whole CSS px allow."""
    stage.wait_settled()
    placed = np.array(notebook.kernel_eval("ds.instances[-1].raw.tolist()"))
    is_labeled = person.keypoints[:, 2] > 0
    off = np.linalg.norm(placed[:, :2] - person.keypoints[:, :2], axis=1)
    allowed = np.maximum(person.fine, 2 / stage.viewport.scale)
    if ((placed[:, 2] > 0) != is_labeled).any() or (off > allowed)[is_labeled].any():
        raise AssertionError(f"{what}: placed {placed.tolist()}, not {person.keypoints.tolist()}")


def measure_template(rig: Rig) -> list[Row]:
    """Both ways for every person, with the mean pose of the other images and without."""
    if not PEOPLE.is_file():
        return [
            Row(
                "one person of 17 points by template",
                None,
                "s",
                note=f"not measured: no COCO keypoints file at {PEOPLE}; name one in "
                "KPWIDGET_PEOPLE, with its pictures in `images` beside it",
            )
        ]
    people = read_people(PEOPLE)
    images = sorted({person.image for person in people})[: rig.samples(99, 1)]
    setup = _SETUP.format(path=str(PEOPLE), images=str(PEOPLE.parent / "images"),
                          height=STAGE_HEIGHT)  # fmt: skip
    found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    clicked: dict[int, Hand] = {}
    cells = [setup, *(f"show({image}, {learns})" for image in images for learns in found)]
    with rig.notebook(cells) as notebook:
        notebook.run(0)
        for n, (image, learns) in enumerate((i, b) for i in images for b in found):
            notebook.run(n + 1)
            stage = notebook.widget(n)
            stage.wait_until(
                "(root) => root.dataset.image && !root.classList.contains('is-loading')"
            )
            stage.scroll_into_view()
            stage.focus()
            enough = notebook.kernel_eval("len(ds.instances)") >= 5
            if learns and not enough:
                continue
            if learns:
                notebook.wait_python("a.templates and a.templates[0] is not None")
            for person in (one for one in people if one.image == image):
                _zoom(stage, person)
                if id(person) not in clicked:
                    clicked[id(person)] = _click_all(stage, person)
                    _check(notebook, stage, person, "click order")
                    notebook.kernel_exec("ds.instances[-1].remove()", on="beside")
                dropped, told_of = _adjust(notebook, stage, person)
                _check(notebook, stage, person, "template")
                notebook.kernel_exec("ds.instances[-1].remove()", on="beside")
                found[learns].append({"click": clicked[id(person)], "drop": dropped, **told_of})
    return [_row(name, found[learns]) for learns, name in
            ((True, "mean pose"), (False, "schema's figure")) if found[learns]]  # fmt: skip


def _row(name: str, found: list[dict[str, Any]]) -> Row:
    share, box, each = (np.mean([one[what] for one in found]) for what in ("fine", "box", "each"))
    even = (np.mean([one["click"].seconds for one in found]) - box) / each
    moves = [np.mean([one[way].n for one in found]) for way in ("drop", "click")]
    return told(
        f"one person by template ({name})",
        "s",
        [one["drop"].seconds for one in found],
        [one["click"].seconds for one in found],
        note=f"floor: click order; {100 * share:.0f} % of the template's points are within COCO's "
        f"sigma; {moves[0]:.1f} movements against {moves[1]:.1f}; as quick as clicks where "
        f"{even:.1f} points are to be moved; {RATE} bits/s",
    )
