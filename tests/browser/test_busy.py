"""A busy kernel: clicks show at once, and every edit arrives in order, each once.

The clicks are real mouse events of the browser. A cell keeps the kernel busy until the test lets it
go, so that all clicks are made while it is busy, however fast the machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kpwidget.schema import Schema

from .conftest import OpenNotebook
from .labeling import (
    DOTS,
    POINTS,
    Hold,
    click_all,
    grid,
    held,
    ink_colors,
    leave,
    painted_colors,
    rgba,
    wait_painted,
    wait_ready,
)
from .notebook import Comms, Notebook
from .server import NO_SUBSHELLS, JupyterServer
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

N = 120
PLACES = grid(N)
#: Seven instances of 17 points and one more point.
N_LABELED = [17] * 7 + [1]

COLORS = [rgba(color) for color in Schema("dots", [f"p{i}" for i in range(1, 18)]).colors]

MAKE = DOTS + "ds = dataset()\na = kp.Annotator(ds)\n"


@pytest.fixture(params=[False, True], ids=["lock free", "lock held"])
def hold(request: pytest.FixtureRequest, jupyter: JupyterServer) -> Iterator[Hold]:
    made = Hold(jupyter.root, with_lock=request.param)
    yield made
    made.close()


def expect_shown(stage: Stage, points: list[tuple[float, float]]) -> None:
    """Every clicked point is on the screen in its colour, inked or painted."""
    leave(stage)
    stage.wait_frames()
    shown = zip(ink_colors(stage, points), painted_colors(stage, points), strict=True)
    assert [ink if ink[3] else paint for ink, paint in shown] == [
        COLORS[i % 17] for i in range(len(points))
    ]


def expect_inked(stage: Stage, points: list[tuple[float, float]]) -> None:
    """Every clicked point is there in its colour, drawn by the browser alone."""
    leave(stage)
    stage.wait_frames()
    assert ink_colors(stage, points) == [COLORS[i % 17] for i in range(len(points))]


def expect_arrived(nb: Notebook, stage: Stage, clicked: list[tuple[float, float]]) -> None:
    """In the dataset are exactly the clicked points, in the order of the clicks."""
    stage.wait_settled(timeout=120_000)
    assert nb.kernel_eval("[i.n_labeled for i in ds.instances]") == N_LABELED
    came = nb.kernel_eval(POINTS)
    assert len(came) == N
    for point, xy in zip(came, clicked, strict=True):
        assert point == pytest.approx(xy, abs=0.01)
    steps = [f"place p{i % 17 + 1}" for i in range(N)]
    assert nb.kernel_eval("seen") == [["edit", label] for label in steps]
    assert stage.next_keypoint == "p2"
    wait_painted(stage, clicked)


def test_page_whose_messages_go_to_a_subshell(notebook: OpenNotebook, hold: Hold) -> None:
    nb = notebook([MAKE + "a", hold.cell])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    # An edit that is answered: from now on there is a subshell for this page.
    stage.click_image(600, 440)
    stage.press("Control+z")
    stage.wait_settled()
    assert nb.frames("sent", "comm_msg")[-1].subshell_id is not None
    nb.kernel_exec("seen.clear()")

    with held(nb, hold, 1):
        clicked = click_all(stage, PLACES)
        assert stage.next_keypoint == "p2"
        if hold.with_lock:
            assert stage.pending == N
            expect_inked(stage, clicked)
            assert "kernel busy" in stage.output.locator(".kpwidget-saved").inner_text()
        else:
            # The subshell takes them while the cell still runs.
            expect_arrived(nb, stage, clicked)
    expect_arrived(nb, stage, clicked)


@pytest.mark.parametrize(
    ("comms", "kernel"),
    [
        pytest.param("perCommTarget", "python3", id="subshell per target"),
        pytest.param("perComm", "python3", id="subshell per comm"),
        pytest.param("disabled", "python3", id="subshells off"),
        pytest.param("perCommTarget", NO_SUBSHELLS, id="kernel without subshells"),
    ],
)
def test_fresh_page_in_a_kernel_that_is_busy_from_the_start(
    notebook: OpenNotebook, jupyter: JupyterServer, comms: Comms, kernel: str
) -> None:
    """No message of the page has been answered yet when the clicks begin."""
    hold = Hold(jupyter.root, with_lock=False)
    nb = notebook([MAKE + "display(a)\n" + hold.cell], comms=comms, kernel=kernel)
    try:
        with held(nb, hold, 0):
            stage = nb.widget()
            stage.wait_data("next-keypoint", "p1")
            clicked = click_all(stage, PLACES)
            assert stage.next_keypoint == "p2"
            expect_shown(stage, clicked)
            if comms == "disabled" or kernel == NO_SUBSHELLS:
                assert stage.pending == N
                expect_inked(stage, clicked)
        expect_arrived(nb, stage, clicked)
    finally:
        hold.close()
