"""The browser tests' own tools do what the other tests rely on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from .conftest import OpenNotebook
from .frames import decode_v1
from .kernel import KernelError, KernelTimeoutError
from .notebook import App
from .proxy import Proxy
from .server import REPOSITORY

# A widget that answers each click's message, and shows the answer.
ECHO = '''
import threading, anywidget, traitlets
seen, threads = [], []
class Echo(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const button = document.createElement("button");
      button.className = "echo";
      button.textContent = "send";
      button.dataset.sent = button.dataset.answered = 0;
      button.addEventListener("click", () => {
        const n = Number(button.dataset.sent) + 1;
        button.dataset.sent = n;
        button.dataset.start = performance.now();
        model.send({ kind: "ping", n });
      });
      model.on("msg:custom", (message) => {
        button.dataset.took = performance.now() - Number(button.dataset.start);
        button.dataset.answered = message.n;
      });
      el.append(button);
    }
    export default { render };
    """
    def __init__(self):
        super().__init__()
        self.on_msg(self._answer)
    def _answer(self, _, content, buffers):
        seen.append(content["n"])
        threads.append(threading.current_thread() is threading.main_thread())
        self.send({"kind": "pong", "n": content["n"]})
echo = Echo()
echo
'''

# The least that meets the stage's DOM contract: a red image with a blue dot in an own canvas under
# the ink, a green dot in the ink, and presses recorded in image pixels.
FAKE_STAGE = '''
import anywidget, traitlets
class Fake(anywidget.AnyWidget):
    presses = traitlets.List().tag(sync=True)
    typed = traitlets.List().tag(sync=True)
    wheels = traitlets.List().tag(sync=True)
    _esm = """
    function render({ model, el }) {
      const names = ["nose", "tail"], [scale, tx, ty] = [2.5, 12, 7.25], [w, h] = [500, 300];
      el.innerHTML = `<div class="kpwidget-stage" tabindex="0" data-lm-suppress-shortcuts="true"
          style="position: relative; width: ${w}px; height: ${h}px; overflow: hidden"
          data-scale="${scale}" data-tx="${tx}" data-ty="${ty}" data-image="a b.png"
          data-category="cat" data-next-keypoint="nose" data-active-instance="" data-pending="0">
          <canvas class="under"></canvas><canvas class="kpwidget-ink"></canvas></div>
        <ul class="kpwidget-stack"><li data-instance="u:1">1 2/2</li></ul>
        <ul class="kpwidget-keypoints"><li data-keypoint="nose" data-visibility="2">nose</li>
          <li data-keypoint="tail" data-visibility="0">tail</li></ul>`;
      const root = el.querySelector(".kpwidget-stage"), dpr = devicePixelRatio;
      const paint = (name, color, x, y, background) => {
        const canvas = el.querySelector(name), c = canvas.getContext("2d");
        [canvas.width, canvas.height] = [w * dpr, h * dpr];
        canvas.style.cssText = `position: absolute; inset: 0; width: ${w}px; height: ${h}px`;
        c.scale(dpr, dpr);
        if (background) { c.fillStyle = background; c.fillRect(0, 0, w, h); }
        c.fillStyle = color;
        c.fillRect(tx + scale * x - 5, ty + scale * y - 5, 10, 10);
      };
      paint(".under", "#0000ff", 40, 50, "#ff0000");
      paint(".kpwidget-ink", "#00ff00", 80, 50, null);
      const add = (trait, value) => {
        model.set(trait, [...model.get(trait), value]);
        model.save_changes();
      };
      const at = (e) => {
        const box = el.querySelector(".kpwidget-ink").getBoundingClientRect();
        return [(e.clientX - box.left - tx) / scale, (e.clientY - box.top - ty) / scale];
      };
      for (const type of ["pointerdown", "pointerup"])
        root.addEventListener(type, (e) => {
          root.focus({ preventScroll: true });
          add("presses", [type, ...at(e), e.button, e.shiftKey]);
          if (type === "pointerup") {
            root.dataset.pending = "1";
            setTimeout(() => {
              root.dataset.nextKeypoint = names[(names.indexOf(root.dataset.nextKeypoint) + 1) % 2];
              root.dataset.pending = "0";
            }, 100);
          }
        });
      root.addEventListener("keydown", (e) => {
        add("typed", [e.key, e.ctrlKey]);
        e.preventDefault();
        e.stopPropagation();
      });
      root.addEventListener("wheel", (e) => {
        add("wheels", [...at(e), e.deltaY, e.ctrlKey]);
        e.preventDefault();
      });
    }
    export default { render };
    """
fake = Fake()
fake
'''

BOTH = pytest.mark.parametrize("app", ["lab", "notebook"])


@BOTH
def test_app_runs_a_cell_in_this_python_and_can_import_the_repository(
    notebook: OpenNotebook, app: App
) -> None:
    nb = notebook(["import sys\nx = 6 * 7\nprint('in', sys.executable)\nx"], app=app)
    nb.run(0)
    assert nb.text(0) == f"in {sys.executable}\n42"
    assert (nb.cell_count(), nb.active_cell()) == (1, 0)
    assert str(REPOSITORY) in nb.kernel_eval("sys.path")
    assert nb.page.locator(".jp-Notebook").count() == 1
    assert ("/notebooks/" in nb.page.url) == (app == "notebook")
    assert nb.state()["dialog"] is None


def test_kernel_eval_gives_values_and_errors(notebook: OpenNotebook) -> None:
    nb = notebook(["import numpy as np\na = np.array([[1.5, np.nan]])\nname = 'caf\\u00e9 \"x\"'"])
    nb.run_all()
    assert repr(nb.kernel_eval("a")) == "[[1.5, nan]]"
    assert nb.kernel_eval("{'name': name, 'n': np.int64(3)}") == {"name": 'café "x"', "n": 3}
    nb.kernel_exec("b = a[0, 0] * 2")
    assert nb.kernel_eval("b", on="main") == 3.0
    with pytest.raises(KernelError, match="NameError: name 'missing'"):
        nb.kernel_eval("missing")
    # None of it shows in the notebook: the next cell is number 2.
    nb.run(0)
    assert nb.kernel_eval("get_ipython().execution_count") == 3


def test_kernel_eval_works_beside_a_running_cell_and_waits_on_main(notebook: OpenNotebook) -> None:
    nb = notebook(["import time\nstop = False\nprint('go')\nwhile not stop: time.sleep(0.01)"])
    nb.start(0)
    nb.wait_text(0, "go")  # a front end may take the end of a request beside it for idle
    assert nb.kernel_eval("stop") is False
    with pytest.raises(KernelTimeoutError, match="asked on 'main'"):
        nb.kernel_eval("stop", timeout=0.5, on="main")
    nb.kernel_exec("stop = True", on="beside")
    nb.wait_done(0)
    assert nb.kernel_eval("stop", on="main") is True


@BOTH
def test_page_comes_back_after_a_reload_with_its_kernel_and_widgets(
    notebook: OpenNotebook, app: App
) -> None:
    nb = notebook([ECHO], app=app, fresh=True)
    nb.run(0)
    nb.page.locator("button.echo").click()
    nb.wait_python("seen == [1]")
    kernel = nb.kernel_id
    nb.reload()
    assert nb.kernel_id == kernel
    nb.page.locator("button.echo").click()
    nb.wait_python("seen == [1, 1]")


def test_proxy_delay_is_in_the_round_trip_of_a_message(
    notebook: OpenNotebook, proxy: Proxy
) -> None:
    nb = notebook([ECHO], proxy=proxy)
    nb.run(0)
    button = nb.page.locator("button.echo")

    def round_trip(n: int) -> float:
        button.click()
        nb.page.wait_for_function(
            "(n) => document.querySelector('.echo').dataset.answered == n", arg=n
        )
        return float(button.get_attribute("data-took") or "nan") / 1000

    fast = min(round_trip(n) for n in (1, 2, 3))
    proxy.delay = 0.1
    slow = min(round_trip(n) for n in (4, 5, 6))
    assert fast < 0.2
    assert 0.2 <= slow < fast + 0.35
    assert nb.kernel_eval("seen") == [1, 2, 3, 4, 5, 6]
    assert proxy.bytes_up > 1000 < proxy.bytes_down


def test_page_reconnects_after_the_proxy_was_cut(notebook: OpenNotebook, proxy: Proxy) -> None:
    nb = notebook([ECHO], proxy=proxy)
    nb.run(0)
    assert proxy.n_connections > 0
    proxy.cut()
    nb.page.wait_for_function(
        "(p) => window.kpTest.state(p).connection !== 'connected'", arg=nb.path
    )
    assert nb.kernel_eval("seen") == []  # the test's own client does not go through the proxy
    proxy.restore()
    nb.reconnect()
    nb.page.locator("button.echo").click()
    nb.wait_python("seen == [1]")


def test_frames_are_decoded(notebook: OpenNotebook) -> None:
    nb = notebook([ECHO])
    nb.run(0)
    nb.clear_frames()
    nb.page.locator("button.echo").click()
    nb.wait_python("seen == [1]")
    nb.page.wait_for_function("document.querySelector('.echo').dataset.answered == 1")
    # The test's own client made the kernel tell everybody that it was busy; that is left out.
    own = {f.message["header"]["session"] for f in nb.frames("sent")}
    heard = {f.message["parent_header"].get("session") for f in nb.frames("received")}
    assert heard <= own
    sent = nb.frames("sent", "comm_msg")
    assert [frame.custom for frame in sent] == [{"kind": "ping", "n": 1}]
    assert sent[0].message["channel"] == "shell"
    assert len(sent[0].payload) == sent[0].size > 200
    answers = [f for f in nb.frames("received", "comm_msg") if f.custom]
    assert [frame.custom for frame in answers] == [{"kind": "pong", "n": 1}]
    assert answers[0].message["parent_header"]["msg_id"] == sent[0].message["header"]["msg_id"]
    assert answers[0].time > sent[0].time


def test_frame_that_is_no_jupyter_message_is_an_error() -> None:
    with pytest.raises(ValueError, match="not the v1"):
        decode_v1(b"\x01" * 40)


@pytest.mark.parametrize("dpr", [1, 2])
@BOTH
def test_stage_reads_the_dom_and_the_pixels(
    notebook: OpenNotebook, app: App, dpr: int, tmp_path: Path
) -> None:
    nb = notebook([FAKE_STAGE], app=app, dpr=dpr)
    nb.run(0)
    stage = nb.widget()
    assert stage.viewport == (2.5, 12.0, 7.25)
    assert stage.ink_box[2:] == (500, 300)
    assert (stage.image, stage.category, stage.next_keypoint) == ("a b.png", "cat", "nose")
    assert (stage.active_instance, stage.pending) == ("", 0)
    assert [(r.instance, r.text) for r in stage.stack()] == [("u:1", "1 2/2")]
    assert [(r.keypoint, r.visibility) for r in stage.keypoints()] == [("nose", "2"), ("tail", "0")]
    assert stage.keypoint_row("tail").inner_text() == "tail"
    assert stage.stack_row("u:1").count() == 1

    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert [stage.pixel(40, 50), stage.pixel(80, 50), stage.pixel(60, 50)] == [blue, green, red]
    bare = stage.grab(ink=False)
    assert [bare.at(40, 50), bare.at(80, 50)] == [blue, red]
    assert stage.pixel(80, 50) == green
    # The dot spans 10 CSS px, at 40 * 2.5 + 12 - 5 from the left, in device pixels.
    is_blue = (bare.pixels == blue).all(axis=2)
    columns = is_blue.any(axis=0).nonzero()[0] + bare.origin[0]
    assert abs(columns[0] - 107 * dpr) <= 1 >= abs(columns[-1] + 1 - 117 * dpr)
    stage.screenshot(tmp_path / "widget.png")
    with Image.open(tmp_path / "widget.png") as image:
        assert image.width >= 500 * dpr


@BOTH
def test_stage_acts_at_the_image_point_asked_for(notebook: OpenNotebook, app: App) -> None:
    # Cells above and below, and a low window: the stage has to be scrolled to.
    nb = notebook(
        [*["print('x\\n' * 40)"] * 2, FAKE_STAGE, "print('x\\n' * 40)"], app=app, height=450
    )
    nb.run_all()
    stage = nb.widget()

    clicked = stage.click_image(33.3, 44.4)
    nb.wait_python("len(fake.presses) == 2")
    stage.wait_next("tail")
    stage.wait_settled()
    down, up = nb.kernel_eval("fake.presses")
    assert (down[0], up[0], *down[3:]) == ("pointerdown", "pointerup", 0, False)
    assert down[1:3] == pytest.approx(clicked, abs=1e-6) == up[1:3]
    assert clicked == pytest.approx((33.3, 44.4), abs=0.5 / 2.5 + 1e-6)

    stage.click_image(10, 20, button="right", modifiers=["Shift"])
    nb.wait_python("len(fake.presses) == 4")
    assert nb.kernel_eval("fake.presses[2][3:]") == [2, True]

    start, end = stage.drag((10, 20), (100, 90))
    nb.wait_python("len(fake.presses) == 6")
    presses = nb.kernel_eval("fake.presses")
    assert presses[4][1:3] == pytest.approx(start, abs=1e-6)
    assert presses[5][1:3] == pytest.approx(end, abs=1e-6)

    stage.wheel(60, 60, -120, ctrl=True)
    nb.wait_python("fake.wheels")
    assert nb.kernel_eval("fake.wheels[0][2:]") == [-120, True]

    assert stage.has_focus
    stage.press("Control+z")
    nb.wait_python("['z', True] in fake.typed")
    assert nb.cell_count() == 4

    nb.page.locator(".jp-Notebook .jp-Cell").first.click()
    with pytest.raises(AssertionError, match="would not reach the stage"):
        stage.press("s")
    with pytest.raises(AssertionError, match="is not on the stage"):
        stage.click_image(5000, 50)


@BOTH
def test_messages_reach_the_kernel_beside_a_running_cell_or_after_it(
    notebook: OpenNotebook, app: App
) -> None:
    nb = notebook([ECHO, "import time\nprint('go')\nt = time.time()\ntime.sleep(3)"], app=app)
    nb.run(0)
    nb.start(1)
    nb.wait_text(1, "go")
    began = time.monotonic()
    for _ in range(20):
        nb.page.locator("button.echo").click()
    assert time.monotonic() - began < 3, "the clicks were not made while the cell ran"
    nb.wait_done(1)
    nb.wait_python("len(seen) == 20")
    # In which order, and in which thread, is the widget's business; none may be lost or doubled.
    assert sorted(nb.kernel_eval("seen")) == list(range(1, 21))
