"""Act on one stage of the annotator as a user would, and read the state its DOM tells."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import FloatRect, Locator, Page, expect

Button = Literal["left", "middle", "right"]
Modifier = Literal["Alt", "Control", "ControlOrMeta", "Meta", "Shift"]

#: Milliseconds to wait for a state of the page.
WAIT = 30_000.0

# Everything the contract says about the root, and where the ink is, in one round trip.
_READ = """(root) => {
  const inks = root.querySelectorAll('.kpwidget-ink');
  const box = inks.length === 1 ? inks[0].getBoundingClientRect() : null;
  return {
    data: {...root.dataset},
    inks: inks.length,
    box: box && [box.left, box.top, box.width, box.height],
    window: [innerWidth, innerHeight],
    dpr: devicePixelRatio,
    hasFocus: root.contains(document.activeElement),
  };
}"""

# Who would get a press at this point of the window; null when it is the root or a part of it.
_COVER = """(root, [x, y]) => {
  const hit = document.elementFromPoint(x, y);
  if (hit && root.contains(hit)) return null;
  return hit ? hit.outerHTML.slice(0, 200) : 'nothing: the point is outside the window';
}"""

# Centre the root in what scrolls, and wait until two frames show it at the same place.
_SCROLL = """(root) => new Promise((resolve) => {
  root.scrollIntoView({block: 'center', inline: 'nearest'});
  let last = null;
  const look = () => {
    const box = root.getBoundingClientRect();
    const now = [box.left, box.top, box.width, box.height].join();
    if (now === last) resolve(); else { last = now; requestAnimationFrame(look); }
  };
  requestAnimationFrame(look);
})"""

_TWO_FRAMES = """() => new Promise((resolve) =>
  requestAnimationFrame(() => requestAnimationFrame(() => resolve())))"""

_REPLACED = "the root is no longer on the page"

# The display output of a cell that holds the root; rows of the lists may stand outside the root.
_SCOPE = "xpath=ancestor::*[contains(concat(' ', @class, ' '), ' jp-OutputArea-child ')][1]"


class Viewport(NamedTuple):
    """The image point (x, y) lies at (tx + scale * x, ty + scale * y) CSS px in the ink."""

    scale: float
    tx: float
    ty: float


class Box(NamedTuple):
    """A rectangle in CSS px of the page's window."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class StackRow:
    """A row of the label stack."""

    instance: str
    text: str


@dataclass(frozen=True)
class KeypointRow:
    """A row of the keypoint list; `visibility` is the text of ``data-visibility``."""

    keypoint: str
    visibility: str
    text: str


@dataclass(frozen=True)
class Grab:
    """A screenshot of the ink's rectangle.

    Attributes
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        Red, green, blue in device pixels.
    origin : tuple of float
        Where the array's outer top-left corner is, in device pixels from the ink's.
    """

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    origin: tuple[float, float]
    viewport: Viewport
    dpr: float

    def to_device(self, x: float, y: float) -> tuple[float, float]:
        """Point of the array, in device pixels, where the image point (x, y) lies."""
        scale, tx, ty = self.viewport
        return (
            (tx + scale * x) * self.dpr - self.origin[0],
            (ty + scale * y) * self.dpr - self.origin[1],
        )

    def at(self, x: float, y: float) -> tuple[int, int, int]:
        """Red, green, blue of the device pixel that holds the image point (x, y)."""
        column, row = (int(np.floor(v)) for v in self.to_device(x, y))
        height, width = self.pixels.shape[:2]
        if not (0 <= column < width and 0 <= row < height):
            raise AssertionError(
                f"image point ({x:g}, {y:g}) is device pixel ({column}, {row}) of the ink, "
                f"outside its visible {width} x {height}"
            )
        red, green, blue = (int(v) for v in self.pixels[row, column])
        return red, green, blue


class Stage:
    """One ``.kpwidget-stage`` of a page.

    Image points are in full-resolution image pixels, client points in CSS px of the page's window.

    Parameters
    ----------
    page : Page
        The page it is on.
    root : Locator
        Its root element.
    """

    def __init__(self, page: Page, root: Locator) -> None:
        self.page = page
        self.root = root
        self.ink = root.locator(".kpwidget-ink")
        #: The cell output that holds the root, the label stack and the keypoint list.
        self.output = root.locator(_SCOPE)

    # What the DOM says

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = self.root.evaluate(_READ)
        if state["inks"] != 1:
            raise AssertionError(f".kpwidget-stage has {state['inks']} .kpwidget-ink, expected 1")
        return state

    def _viewport(self, state: dict[str, Any]) -> Viewport:
        names = ("scale", "tx", "ty")
        try:
            view = Viewport(*(float(state["data"][name]) for name in names))
        except (KeyError, ValueError):
            came = {name: state["data"].get(name) for name in names}
            raise AssertionError(f"data-scale, -tx, -ty are {came}, expected numbers") from None
        if not all(np.isfinite(view)) or view.scale <= 0:
            raise AssertionError(f"the root says {view}, expected finite numbers, scale > 0")
        return view

    def wait_until(self, predicate: str, arg: Any = None, timeout: float = WAIT) -> None:
        """Wait until a predicate of the root holds.

        After a reload Notebook 7 may display an output a second time, which makes a new root.

        Parameters
        ----------
        predicate : str
            JavaScript function ``(root, arg) => boolean``.
        arg : any
            What JSON can hold.
        timeout : float
            Milliseconds for one root; 30,000 by default.
        """
        script = f"""([root, arg]) => {{
          if (!root.isConnected) throw new Error({_REPLACED!r});
          return ({predicate})(root, arg);
        }}"""
        while True:
            try:
                handle = self.root.element_handle()
                self.page.wait_for_function(script, arg=[handle, arg], timeout=timeout)
                return
            except PlaywrightError as error:
                if _REPLACED not in str(error):
                    raise

    def data(self, name: str) -> str | None:
        """Value of the root's attribute ``data-<name>``; None where it is missing."""
        return self.root.get_attribute(f"data-{name}")

    @property
    def viewport(self) -> Viewport:
        """How image pixels lie on the ink."""
        return self._viewport(self._read())

    @property
    def ink_box(self) -> Box:
        """Where the ink is in the window."""
        return Box(*self._read()["box"])

    @property
    def image(self) -> str | None:
        """File name of the image shown."""
        return self.data("image")

    @property
    def category(self) -> str | None:
        """Name of the category."""
        return self.data("category")

    @property
    def next_keypoint(self) -> str | None:
        """Name of the keypoint that the next click places."""
        return self.data("next-keypoint")

    @property
    def active_instance(self) -> str | None:
        """Uid of the instance being placed or edited; None or empty where there is none."""
        return self.data("active-instance")

    @property
    def pending(self) -> int:
        """Edits not acknowledged."""
        value = self.data("pending")
        if value is None or not value.isdigit():
            raise AssertionError(f"data-pending is {value!r}, expected a whole number")
        return int(value)

    @property
    def has_focus(self) -> bool:
        """Whether the root or an element in it has the focus."""
        return bool(self._read()["hasFocus"])

    def stack(self) -> list[StackRow]:
        """Rows of the label stack, in order."""
        found = self.output.locator(".kpwidget-stack [data-instance]").evaluate_all(
            "(rows) => rows.map((row) => [row.dataset.instance, row.textContent])"
        )
        return [StackRow(*row) for row in found]

    def keypoints(self) -> list[KeypointRow]:
        """Rows of the keypoint list, in order."""
        found = self.output.locator(
            ".kpwidget-keypoints [data-keypoint][data-visibility]"
        ).evaluate_all(
            "(rows) => rows.map((row) =>"
            " [row.dataset.keypoint, row.dataset.visibility, row.textContent])"
        )
        return [KeypointRow(*row) for row in found]

    def stack_row(self, instance: str) -> Locator:
        """Row of an instance in the label stack."""
        return self.output.locator(f".kpwidget-stack [data-instance={json.dumps(instance)}]")

    def keypoint_row(self, keypoint: str) -> Locator:
        """Row of a keypoint in the keypoint list."""
        return self.output.locator(f".kpwidget-keypoints [data-keypoint={json.dumps(keypoint)}]")

    # Waiting for a state

    def wait_data(self, name: str, value: str, timeout: float = WAIT) -> None:
        """Wait until ``data-<name>`` of the root is `value`; `timeout` is in milliseconds."""
        expect(self.root).to_have_attribute(f"data-{name}", value, timeout=timeout)

    def wait_next(self, keypoint: str, timeout: float = WAIT) -> None:
        """Wait until the next keypoint is the one named."""
        self.wait_data("next-keypoint", keypoint, timeout)

    def wait_settled(self, timeout: float = WAIT) -> None:
        """Wait until every edit is acknowledged."""
        self.wait_data("pending", "0", timeout)

    def wait_frames(self) -> None:
        """Wait until the browser has shown what is drawn now."""
        self.page.evaluate(_TWO_FRAMES)

    # Where things are

    def to_client(self, x: float, y: float) -> tuple[float, float]:
        """Client point of the image point (x, y)."""
        state = self._read()
        scale, tx, ty = self._viewport(state)
        return state["box"][0] + tx + scale * x, state["box"][1] + ty + scale * y

    def to_image(self, x_client: float, y_client: float) -> tuple[float, float]:
        """Image point at a client point."""
        state = self._read()
        scale, tx, ty = self._viewport(state)
        return (
            (x_client - state["box"][0] - tx) / scale,
            (y_client - state["box"][1] - ty) / scale,
        )

    def scroll_into_view(self) -> None:
        """Bring the middle of the stage to the middle of what scrolls."""
        self.root.evaluate(_SCROLL)

    def reach(self, x: float, y: float) -> tuple[float, float]:
        """Client point, whole CSS px, nearest to the image point (x, y); scrolls there if needed.

        A mouse acts on whole CSS px; `to_image` of the result is the image point really meant.

        Raises
        ------
        AssertionError
            If a press there would not reach the stage.
        """
        for attempt in range(2):
            px, py = (float(round(v)) for v in self.to_client(x, y))
            cover = self.root.evaluate(_COVER, [px, py])
            if cover is None:
                return px, py
            if attempt == 0:
                self.scroll_into_view()
        raise AssertionError(
            f"image point ({x:g}, {y:g}), client ({px:g}, {py:g}), is not on the stage; there: "
            f"{cover}"
        )

    # Acting

    @contextmanager
    def held(self, *modifiers: Modifier) -> Iterator[None]:
        """Keep keys down."""
        for key in modifiers:
            self.page.keyboard.down(key)
        try:
            yield
        finally:
            for key in reversed(modifiers):
                self.page.keyboard.up(key)

    def click_image(
        self, x: float, y: float, button: Button = "left", modifiers: Sequence[Modifier] = ()
    ) -> tuple[float, float]:
        """Click near the image point (x, y); the image point really clicked comes back."""
        px, py = self.reach(x, y)
        clicked = self.to_image(px, py)
        with self.held(*modifiers):
            self.page.mouse.click(px, py, button=button)
        return clicked

    def hover(self, x: float, y: float) -> tuple[float, float]:
        """Move the mouse near the image point (x, y); the image point reached comes back."""
        px, py = self.reach(x, y)
        self.page.mouse.move(px, py)
        return self.to_image(px, py)

    def drag(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        steps: int = 10,
        button: Button = "left",
        modifiers: Sequence[Modifier] = (),
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Drag between two image points; the image points really pressed and released come back."""
        a = self.reach(*start)
        b = self.reach(*end)
        if a != self.reach(*start):
            raise AssertionError(f"image points {start} and {end} are not in the window together")
        points = self.to_image(*a), self.to_image(*b)
        with self.held(*modifiers):
            self.page.mouse.move(*a)
            self.page.mouse.down(button=button)
            self.page.mouse.move(*b, steps=steps)
            self.page.mouse.up(button=button)
        return points

    def wheel(self, x: float, y: float, delta: float, ctrl: bool = False) -> None:
        """Turn the wheel by `delta` CSS px (positive: down) over the image point (x, y)."""
        self.hover(x, y)
        keys: list[Modifier] = ["Control"] if ctrl else []
        with self.held(*keys):
            self.page.mouse.wheel(0, delta)

    def focus(self) -> None:
        """Focus the root, as Tab would."""
        self.root.focus()

    def press(self, key: str) -> None:
        """Press a key, such as ``"s"`` or ``"Control+z"``.

        Raises
        ------
        AssertionError
            If the stage has not the focus, as then the key would go to the notebook.
        """
        if not self.has_focus:
            at = self.page.evaluate("document.activeElement?.outerHTML.slice(0, 200)")
            raise AssertionError(f"{key!r} would not reach the stage, the focus is at {at}")
        self.page.keyboard.press(key)

    # What is to be seen

    def hide_ink(self) -> None:
        """Hide the ink, so that only what Python painted is seen."""
        self.ink.evaluate("(ink) => { ink.style.visibility = 'hidden'; }")

    def show_ink(self) -> None:
        """Show the ink again."""
        self.ink.evaluate("(ink) => { ink.style.visibility = ''; }")

    def screenshot(self, path: str | Path) -> None:
        """Write a PNG of the whole widget, the lists included."""
        self.scroll_into_view()
        self.output.screenshot(path=path)

    def grab(self, ink: bool = True) -> Grab:
        """Pixels of the part of the ink's rectangle that is in the window, with the ink or without.

        The page's carets and CSS animations are left as they are.
        """
        from PIL import Image

        self.scroll_into_view()
        if not ink:
            self.hide_ink()
        try:
            self.wait_frames()
            state = self._read()
            png = self.page.screenshot(animations="allow", caret="initial", scale="device")
        finally:
            if not ink:
                self.show_ink()
        shot = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        dpr = float(state["dpr"])
        left, top, width, height = (v * dpr for v in state["box"])
        x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
        x1 = min(shot.shape[1], int(np.ceil(left + width)))
        y1 = min(shot.shape[0], int(np.ceil(top + height)))
        return Grab(shot[y0:y1, x0:x1].copy(), (x0 - left, y0 - top), self._viewport(state), dpr)

    def pixel(self, x: float, y: float, ink: bool = True) -> tuple[int, int, int]:
        """Red, green, blue on the screen at the image point (x, y), with the ink or without."""
        return self.grab(ink).at(x, y)

    def bounding_box(self) -> FloatRect:
        """Where the root is in the window, CSS px."""
        box = self.root.bounding_box()
        if box is None:
            raise AssertionError("the stage is not displayed")
        return box
