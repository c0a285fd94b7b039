"""The quickstart, by mouse and keys: label a person, fix mistakes, write COCO, read it back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import leave, wait_ready
from .notebook import App, Notebook
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

BOTH = pytest.mark.parametrize("app", ["lab", "notebook"])

# Grace Hopper (512 x 600) comes with matplotlib, the other two with scikit-image.
SETUP = """
import pathlib, shutil, tempfile
import kpwidget as kp
folder = pathlib.Path(tempfile.mkdtemp())
names = ["grace_hopper", "astronaut", "chelsea"]
photos = [shutil.copy(path, folder) for path in kp.samples.sample_images(names).values()]
schemas = [kp.schemas.get("coco17"), kp.schemas.get("four_point")]
ds = kp.Dataset.from_images(photos, schema=schemas)
a = kp.Annotator(ds)
a
"""

#: Where the keypoints are clicked in the first photograph, in image pixels.
PLACES = {
    "nose": (280, 210),
    "left_eye": (312, 178),
    "right_eye": (258, 178),
    "left_ear": (352, 190),
    "right_ear": (222, 190),
    "left_shoulder": (430, 380),
    "right_shoulder": (130, 370),
    "left_elbow": (460, 470),
    "right_elbow": (90, 470),
    "left_wrist": (420, 530),
    "right_wrist": (130, 530),
    "left_hip": (370, 560),
    "right_hip": (190, 560),
    "left_knee": (350, 585),
    "right_knee": (210, 585),
    "left_ankle": (330, 590),
    "right_ankle": (240, 590),
}

COCO17 = list(PLACES)


class Story:
    """The annotator on the page, its dataset in the kernel, and what should be in it."""

    def __init__(self, nb: Notebook) -> None:
        self.nb = nb
        self.stage: Stage = nb.widget()

    def settle(self) -> None:
        self.stage.wait_settled()

    def points(self, instance: int = 0) -> dict[str, list[float]]:
        """x, y, visibility of the labeled points of an instance, as Python has them."""
        self.settle()
        found: dict[str, list[float]] = self.nb.kernel_eval(
            f"(lambda i: {{n: p for n, p in zip(i.category.keypoints, i.keypoints.tolist())"
            f" if p[2]}})(ds.instances[{instance}])"
        )
        return found

    def ask(self, expression: str) -> Any:
        self.settle()
        return self.nb.kernel_eval(expression)

    def label_at_cursor(self) -> str:
        return self.stage.root.locator(".kpwidget-cursor").inner_text()


def is_at(point: list[float], xy: tuple[float, float], visibility: int = 2) -> bool:
    """Whether a point of the dataset is what was clicked; 0.01 image px is the bound."""
    return point[:2] == pytest.approx(xy, abs=0.01) and point[2] == visibility


@BOTH
def test_quickstart(notebook: OpenNotebook, app: App) -> None:
    nb = notebook(
        [
            SETUP,
            "annotation = ds.keypoints('coco17')[0]\nprint(annotation.tolist())",
            """
from pycocotools.coco import COCO
report = kp.write(ds, folder / "labels.json", format="coco")
coco = COCO(folder / "labels.json")
back = kp.read(folder / "labels.json", images=folder)
""",
        ],
        app=app,
        width=1280,
        height=900,
        fresh=True,
    )
    nb.run(0)
    story = Story(nb)
    stage = story.stage
    wait_ready(stage)
    assert (stage.image, stage.category) == ("grace_hopper.jpg", "coco17")
    assert stage.next_keypoint == "nose"
    assert (stage.active_instance, stage.stack()) == ("", [])
    assert [row.keypoint for row in stage.keypoints()] == COCO17

    place_seventeen(story)
    make_and_take_back_mistakes(story)
    zoom_and_drag(story)
    choose_and_change(story)
    work_with_two_categories(story)
    go_through_the_images(story)
    write_and_read_back(story)


def place_seventeen(story: Story) -> None:
    """Every keypoint in order: one by Shift, one by right click, one skipped."""
    stage = story.stage
    clicked: dict[str, tuple[float, float]] = {}
    flags = {"left_ear": 1, "right_ear": 1}
    for i, (name, place) in enumerate(PLACES.items()):
        assert stage.next_keypoint == name
        stage.hover(*place)
        # The name at the cursor, in its colour, before anything is clicked.
        assert story.label_at_cursor() == name
        if name == "right_elbow":
            stage.press("s")
        elif name == "left_ear":
            clicked[name] = stage.click_image(*place, modifiers=["Shift"])
        elif name == "right_ear":
            clicked[name] = stage.click_image(*place, button="right")
        else:
            clicked[name] = stage.click_image(*place)
        after = COCO17[(i + 1) % 17]
        assert stage.next_keypoint == after, "the next name waits for the kernel"
        # The mouse has not moved since.
        assert story.label_at_cursor() == after
        story.settle()
        points = story.points()
        assert set(points) == set(clicked)
        if name in clicked:
            assert is_at(points[name], clicked[name], flags.get(name, 2))
    assert story.nb.page.locator(".jp-Menu, .lm-Menu:visible").count() == 0
    assert story.ask("[len(ds.instances), ds.instances[0].is_finished]") == [1, True]
    assert story.ask("ds.instances[0].image.file_name") == "grace_hopper.jpg"
    uid = story.ask("ds.instances[0].uid")
    # It stays active; the next click would start another.
    assert (stage.active_instance, stage.next_keypoint) == (uid, "nose")
    assert [row.instance for row in stage.stack()] == [uid]
    assert "16/17" in stage.stack()[0].text
    rows = {row.keypoint: row.visibility for row in stage.keypoints()}
    assert rows == {name: str(flags.get(name, 2)) for name in COCO17} | {"right_elbow": "0"}
    # The next cell shows the same numbers.
    story.nb.run(1)
    shown = json.loads(story.nb.text(1).replace("nan", "NaN"))
    assert all(is_at(shown[COCO17.index(n)], xy, flags.get(n, 2)) for n, xy in clicked.items())
    assert shown[8][2] == 0
    assert shown[8][0] != shown[8][0]  # NaN


def make_and_take_back_mistakes(story: Story) -> None:
    """Backspace, undo and redo, down to nothing and up again; Esc leaves; Enter finishes."""
    stage = story.stage
    stage.focus()
    before = story.points()
    assert len(before) == 16
    stage.press("Backspace")
    assert stage.next_keypoint == "right_ankle"
    assert set(story.points()) == set(before) - {"right_ankle"}
    stage.press("Control+z")
    assert story.points() == before
    # 16 points, 1 skip: everything is taken back, and nothing is left; one more changes nothing.
    for _ in range(17):
        stage.press("Control+z")
    assert story.ask("len(ds.instances)") == 0
    assert (stage.next_keypoint, stage.active_instance, stage.stack()) == ("nose", "", [])
    for _ in range(17):
        stage.press("Control+Shift+z")
    assert story.points() == before
    assert (stage.next_keypoint, story.ask("ds.instances[0].is_finished")) == ("nose", True)
    assert stage.active_instance == story.ask("ds.instances[0].uid")

    # A second instance: two points, finished early by Enter.
    first = stage.click_image(60, 60)
    second = stage.click_image(90, 50)
    assert stage.next_keypoint == "right_eye"
    stage.press("Enter")
    assert stage.next_keypoint == "nose"
    points = story.points(1)
    assert is_at(points["nose"], first)
    assert is_at(points["left_eye"], second)
    assert story.ask("[i.is_finished for i in ds.instances]") == [True, True]
    # A third is left as it is by Esc: it stays, unfinished.
    stage.click_image(60, 120)
    stage.press("Escape")
    assert (stage.active_instance, stage.next_keypoint) == ("", "nose")
    assert story.ask("[i.is_finished for i in ds.instances]") == [True, True, False]
    assert stage.has_focus
    for _ in range(2):  # the third Esc at the latest gives up the focus
        story.nb.press("Escape")
    assert not stage.has_focus
    stage.focus()
    # The bin in its row removes it; undo brings it back; Delete removes it for good.
    third = story.ask("ds.instances[2].uid")
    stage.stack_row(third).get_by_role("button", name="Remove").click()
    assert story.ask("len(ds.instances)") == 2
    stage.press("Control+z")
    assert story.ask("[i.uid for i in ds.instances][2]") == third
    stage.stack_row(third).click()
    assert (stage.active_instance, stage.next_keypoint) == (third, "left_eye")
    leave(stage)
    stage.press("Delete")
    assert story.ask("len(ds.instances)") == 2


def zoom_and_drag(story: Story) -> None:
    """Zoom by the wheel at the cursor, drag a point there, nudge it, pan, fit, 1:1."""
    stage = story.stage
    fitted = stage.viewport
    stage.stack_row(story.ask("ds.instances[0].uid")).click()
    x, y, _ = story.points()["nose"]
    at = stage.to_client(x, y)
    scale = fitted.scale
    for notch in range(8):
        stage.wheel(x, y, -100)
        stage.wait_until("(root, old) => Number(root.dataset.scale) > old", scale)
        scale = stage.viewport.scale
        assert scale == pytest.approx(fitted.scale * 1.15 ** (notch + 1))
    # What was under the cursor is still there.
    assert stage.to_client(x, y) == pytest.approx(at, abs=1.0)
    assert scale > 2.5
    start, end = stage.drag((x, y), (x + 21.3, y + 9.7))
    moved = story.points()["nose"]
    # The point moves by as much as the mouse, wherever in the dot it was taken.
    assert is_at(moved, (x + end[0] - start[0], y + end[1] - start[1]))
    stage.press("ArrowRight")
    stage.press("Shift+ArrowDown")
    stage.press("Control+Shift+ArrowLeft")
    nudged = story.points()["nose"]
    assert is_at(nudged, (moved[0] + 1 - 0.1, moved[1] + 10))
    for _ in range(3):
        stage.press("Control+z")
    assert story.points()["nose"] == moved
    # Space and drag pans: nothing is placed, the image goes along with the mouse.
    before, n = stage.viewport, story.ask("sum(i.n_labeled for i in ds.instances)")
    box = stage.ink_box
    stage.page.mouse.move(box.left + 200, box.top + 200)
    stage.page.keyboard.down("Space")
    stage.page.mouse.down()
    stage.page.mouse.move(box.left + 240, box.top + 170, steps=4)
    stage.page.mouse.up()
    stage.page.keyboard.up("Space")
    after = stage.viewport
    assert (after.scale, after.tx - before.tx, after.ty - before.ty) == pytest.approx(
        (before.scale, 40, -30)
    )
    assert story.ask("sum(i.n_labeled for i in ds.instances)") == n
    stage.press("0")
    assert stage.viewport.scale == 1
    stage.press("f")
    assert stage.viewport == pytest.approx(fitted)
    for _ in range(60):
        if stage.viewport.scale >= 8:
            break
        stage.wheel(256, 300, -100)
    assert stage.viewport.scale >= 8
    # A placed point at this scale is as exact as the mouse.
    stage.keypoint_row("right_elbow").click()
    assert stage.next_keypoint == "right_elbow"
    clicked = stage.click_image(255.3, 301.7)
    assert is_at(story.points()["right_elbow"], clicked)
    assert clicked == pytest.approx((255.3, 301.7), abs=0.5 / 8 + 0.01)
    stage.press("f")
    assert stage.viewport == pytest.approx(fitted)


def choose_and_change(story: Story) -> None:
    """A keypoint by its row and by digits; V, Delete, the eye and the lock; a box by B."""
    stage = story.stage
    x, y = PLACES["left_hip"]
    stage.keypoint_row("left_hip").click()
    assert stage.next_keypoint == "left_hip"
    clicked = stage.click_image(x - 20, y - 15)
    assert is_at(story.points()["left_hip"], clicked)
    stage.press("1")
    stage.press("3")
    stage.wait_next("right_hip")
    clicked = stage.click_image(200, 540)
    assert is_at(story.points()["right_hip"], clicked)
    stage.press("2")
    stage.wait_next("left_eye")  # after the pause in which a second digit could have come

    x, y, _ = story.points()["left_shoulder"]
    stage.hover(x, y)
    stage.press("v")
    assert story.points()["left_shoulder"] == [x, y, 1]
    stage.press("v")
    assert story.points()["left_shoulder"] == [x, y, 2]
    stage.press("Delete")
    assert "left_shoulder" not in story.points()
    assert stage.next_keypoint == "left_shoulder"
    stage.press("Control+z")
    assert story.points()["left_shoulder"] == [x, y, 2]
    # Ctrl+click selects it without moving it or placing another.
    n = story.ask("sum(i.n_labeled for i in ds.instances)")
    stage.click_image(x, y, modifiers=["Control"])
    stage.press("ArrowUp")
    assert story.points()["left_shoulder"] == [x, y - 1, 2]
    assert story.ask("sum(i.n_labeled for i in ds.instances)") == n
    stage.press("Control+z")
    stage.press("Escape")

    uid = story.ask("ds.instances[0].uid")
    row = stage.stack_row(uid)
    row.get_by_role("button", name="Lock").click()
    expect(row.get_by_role("button", name="Unlock")).to_be_visible()
    before = story.points()
    stage.drag((x, y), (x - 60, y - 60))
    stage.hover(x, y)
    stage.press("Delete")
    assert story.points() == before, "a locked instance was changed"
    row.get_by_role("button", name="Unlock").click()
    row.get_by_role("button", name="Hide").click()
    expect(row.get_by_role("button", name="Show")).to_be_visible()
    assert story.points() == before
    row.get_by_role("button", name="Show").click()
    expect(row.get_by_role("button", name="Hide")).to_be_visible()

    row.click()
    derived = story.ask("ds.instances[0].bbox")
    assert story.ask("ds.instances[0].bbox_source") == "derived"
    stage.press("b")
    start, end = stage.drag((50, 30), (480, 596))
    box = [start[0], start[1], end[0] - start[0], end[1] - start[1]]
    assert story.ask("list(ds.instances[0].bbox)") == pytest.approx(box, abs=0.01)
    assert story.ask("ds.instances[0].bbox_source") == "given"
    stage.press("Control+z")
    assert story.ask("ds.instances[0].bbox") == derived
    stage.press("Control+Shift+z")
    assert story.ask("list(ds.instances[0].bbox)") == pytest.approx(box, abs=0.01)


def work_with_two_categories(story: Story) -> None:
    """The other category by the list in the toolbar: its names, its instance, its row."""
    stage = story.stage
    stage.output.get_by_title("Category of new instances").select_option("four_point")
    assert (stage.category, stage.next_keypoint) == ("four_point", "top")
    assert [row.keypoint for row in stage.keypoints()] == ["top", "left", "right", "bottom"]
    clicked = [stage.click_image(*xy) for xy in [(60, 300), (40, 330), (80, 330), (60, 360)]]
    assert story.ask("[i.category.name for i in ds.instances]") == [
        "coco17",
        "coco17",
        "four_point",
    ]
    points = story.points(2)
    assert [points[n][:2] for n in ("top", "left", "right", "bottom")] == [
        pytest.approx(xy, abs=0.01) for xy in clicked
    ]
    assert story.ask("ds.instances[2].is_finished") is True
    # Back to the person by its row: its keypoints are listed again.
    stage.stack_row(story.ask("ds.instances[0].uid")).click()
    assert (stage.category, len(stage.keypoints())) == ("coco17", 17)
    stage.press("]")
    stage.press("]")
    assert stage.active_instance == story.ask("ds.instances[2].uid")
    stage.press("PageUp")
    assert stage.active_instance == story.ask("ds.instances[1].uid")


def go_through_the_images(story: Story) -> None:
    """Done, next, the jump box, next unlabeled; undo goes to the image that it changes."""
    stage = story.stage
    progress = stage.output.locator(".kpwidget-progress")
    expect(progress).to_have_text("0 of 3 images done")
    stage.press("d")
    expect(progress).to_have_text("1 of 3 images done")
    assert story.ask("[i.status for i in ds.images]") == ["done", "unlabeled", "unlabeled"]
    stage.press("n")
    stage.wait_data("image", "astronaut.png")
    assert (stage.active_instance, stage.stack()) == ("", [])
    assert story.ask("a.image.file_name") == "astronaut.png"
    stage.wait_next("nose")
    clicked = stage.click_image(220, 110)
    assert story.ask("ds.instances[3].image.file_name") == "astronaut.png"
    assert is_at(story.points(3)["nose"], clicked)
    stage.press("Enter")
    assert story.ask("ds.images[1].status") == "started"
    jump = stage.output.get_by_role("textbox")
    jump.click()
    jump.fill("chels")
    jump.press("Enter")
    stage.wait_data("image", "chelsea.png")
    assert stage.has_focus
    stage.press("p")
    stage.wait_data("image", "astronaut.png")
    jump.click()
    jump.fill("1")
    jump.press("Enter")
    stage.wait_data("image", "grace_hopper.jpg")
    stage.press("u")
    stage.wait_data("image", "chelsea.png")
    # The last steps were finish and nose on the second image: undo shows it there.
    stage.press("Control+z")
    stage.wait_data("image", "astronaut.png")
    assert story.ask("[len(ds.instances), ds.instances[3].is_finished]") == [4, False]
    stage.press("Control+Shift+z")
    assert story.ask("ds.instances[3].is_finished") is True


def write_and_read_back(story: Story) -> None:
    """One line writes COCO; pycocotools loads it; ds reads back equal."""
    nb = story.nb
    story.settle()
    nb.run(2)
    assert nb.kernel_eval("ds.differences(back)") == []
    annotations = nb.kernel_eval("coco.loadAnns(coco.getAnnIds())")
    assert nb.kernel_eval("[c['name'] for c in coco.loadCats(coco.getCatIds())]") == [
        "coco17",
        "four_point",
    ]
    assert [a["num_keypoints"] for a in annotations] == nb.kernel_eval(
        "[i.n_labeled for i in ds.instances]"
    )
    expected = nb.kernel_eval(
        "[[v for p in i.keypoints.tolist() for v in (p if p[2] else (0, 0, 0))]"
        " for i in ds.instances]"
    )
    assert [a["keypoints"] for a in annotations] == expected
    assert nb.kernel_eval("ds.keypoints('coco17').shape == back.keypoints('coco17').shape")
