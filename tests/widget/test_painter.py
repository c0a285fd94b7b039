"""What is sent to ipycanvas: batches that are whole, checked, and nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ipycanvas.canvas import COMMANDS, Canvas
from PIL import Image

from kpwidget.schema import INSTANCE_COLORS, Schema
from kpwidget.widget.painter import (
    LAYERS,
    LOOK,
    Figures,
    Painter,
    View,
    draw_poster,
    figures,
    rgb,
)

NAMES = {code: name for name, code in COMMANDS.items()}
ATTRIBUTES = {code: name for name, code in Canvas.ATTRS.items()}
VIEW = View(2.0, 10.0, 20.0, 1.0, 400.0, 300.0)


@dataclass
class Command:
    layer: str
    name: str
    args: list[Any]


class Recorder:
    """Takes the place of the manager's `send` and reads what ipycanvas's front end would read."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.batches: list[list[Command]] = []
        self.names = {
            f"IPY_MODEL_{canvas.model_id}": name
            for canvas, name in zip(painter.canvases, [*LAYERS, "source"], strict=True)
        }
        painter._manager.send = self.take

    def take(self, metadata: Any, buffers: list[Any]) -> None:
        commands = json.loads(bytes(buffers[0]))
        left = list(buffers[1:])
        layer = "none selected"
        read: list[Command] = []
        for command in commands:
            name = NAMES[command[0]]
            args = command[1] if len(command) > 1 else []
            if name == "switchCanvas":
                layer = self.names[args[0]]
                continue
            if name == "set":
                read.append(Command(layer, f"{ATTRIBUTES[args[0]]}=", [args[1]]))
                continue
            n = command[2] if len(command) > 2 else 0
            mine, left = left[:n], left[n:]
            arrays = [
                np.frombuffer(mine[arg["idx"]], arg["dtype"]).reshape(arg["shape"])
                if isinstance(arg, dict)
                else arg
                for arg in args
            ]
            read.append(Command(layer, name, arrays))
        assert left == [], "buffers that no command reads"
        self.batches.append(read)

    @property
    def last(self) -> list[Command]:
        return self.batches[-1]

    def of(self, name: str) -> list[Command]:
        return [command for command in self.last if command.name == name]


@pytest.fixture
def painter():
    made = Painter()
    made.open()
    yield made
    made.close()


@pytest.fixture
def recorder(painter: Painter) -> Recorder:
    return Recorder(painter)


@pytest.fixture
def schema() -> Schema:
    return Schema(
        "face",
        ["top", "left", "right", "bottom"],
        [(1, 2), (1, 3), (2, 4), (3, 4)],
        flip_pairs=[("left", "right")],
        colors=["#010203", "#112233", "#445566", "#778899"],
    )


def face(x: float, y: float, flags: tuple[int, int, int, int] = (2, 2, 1, 2)) -> np.ndarray:
    points = np.array([(x, y - 5), (x - 5, y), (x + 5, y), (x, y + 5)], np.float64)
    shown = np.where(np.array(flags)[:, None] > 0, points, np.nan)
    return np.concatenate([shown, np.array(flags, np.float64)[:, None]], axis=1)


def paint(
    painter: Painter, what: Figures, view: View = VIEW, *, is_active: bool = False, n: int = 7
) -> None:
    with painter.batch(n):
        painter.paint_figures(
            "active" if is_active else "skeletons", what, view, is_active=is_active
        )


def floats_of(command: Command) -> list[np.ndarray]:
    """The coordinates of a command: its float32 arrays."""
    return [a for a in command.args if isinstance(a, np.ndarray) and a.dtype == np.float32]


# --- the view -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param((math.nan, 0, 0, 1, 10, 10), "finite", id="scale is NaN"),
        pytest.param((1, math.inf, 0, 1, 10, 10), "finite", id="offset is infinite"),
        pytest.param((0, 0, 0, 1, 10, 10), "scale", id="scale 0"),
        pytest.param((-1, 0, 0, 1, 10, 10), "scale", id="negative scale"),
        pytest.param((1, 0, 0, 0, 10, 10), "pixel ratio", id="pixel ratio 0"),
        pytest.param((1, 0, 0, 1, 0, 10), "size", id="no width"),
        pytest.param((1, 0, 0, 1, 10, 1e6), "size", id="too high"),
        pytest.param((1, 1e300, 0, 1, 10, 10), "offset", id="offset beyond all screens"),
    ],
)
def test_a_view_that_cannot_be_painted_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        View(*values)


def test_device_pixels_are_css_pixels_times_the_pixel_ratio():
    # x: (10 + 2 * 30) * 1.5, y: (20 + 2 * 40) * 1.5
    view = View(2.0, 10.0, 20.0, 1.5, 400.0, 300.0)
    assert view.to_device(np.array([(30.0, 40.0)])).tolist() == [[105.0, 150.0]]


# --- figures --------------------------------------------------------------------------------------


def test_figures_hold_labeled_points_with_their_colour_and_side(schema):
    shapes = figures([face(20, 20, (2, 0, 1, 2))], [0], [None], [schema])
    assert shapes.xy.tolist() == [[20, 15], [25, 20], [20, 25]]
    assert shapes.visibility.tolist() == [2, 1, 2]
    assert shapes.side.tolist() == [0, 2, 0]
    assert shapes.color.tolist() == [[1, 2, 3], [0x44, 0x55, 0x66], [0x77, 0x88, 0x99]]


def test_figures_hold_edges_whose_both_ends_are_labeled_in_the_instances_colour(schema):
    shapes = figures([face(20, 20, (2, 0, 1, 2))], [1], [None], [schema])
    assert shapes.edges.tolist() == [[[20, 15], [25, 20]], [[25, 20], [20, 25]]]
    assert shapes.edge_color.tolist() == [list(rgb(INSTANCE_COLORS[1]))] * 2


def test_figures_of_several_schemas_and_boxes(schema):
    stick = Schema("stick", ["head", "tip"], [(1, 2)])
    bar = np.array([(1.0, 2.0, 2.0), (3.0, 4.0, 2.0)])
    n = len(INSTANCE_COLORS)
    shapes = figures(
        [face(20, 20), bar, face(40, 40)],
        [0, 1, n],
        [None, (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)],
        [schema, stick, schema],
    )
    assert len(shapes.xy) == 10
    assert len(shapes.edges) == 9
    assert shapes.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert shapes.box_color.tolist() == [list(rgb(INSTANCE_COLORS[k])) for k in (1, 0)]


def test_figures_of_nothing_are_empty():
    shapes = figures([], [], [], [])
    assert shapes.xy.shape == (0, 2)
    assert shapes.edges.shape == (0, 2, 2)


# --- batches --------------------------------------------------------------------------------------


def test_a_batch_is_one_message_that_ends_with_its_number(painter, recorder, schema):
    paint(painter, figures([face(20, 20)], [0], [None], [schema]), n=41)
    assert len(recorder.batches) == 1
    last = recorder.last[-1]
    assert (last.layer, last.name, last.args) == ("active", "line_width=", [41.0])


def test_every_batch_selects_its_canvas_first(painter, recorder):
    for n in (1, 2):
        with painter.batch(n):
            painter.clear("active")
    assert [command.layer for command in recorder.batches[1]] == ["active"] * 3
    assert [command.name for command in recorder.batches[1]] == [
        "resetTransform",
        "clear",
        "line_width=",
    ]


def test_an_exception_inside_sends_nothing_and_leaves_nothing_behind(painter, recorder):
    def fail() -> None:
        with painter.batch(1):
            painter.clear("skeletons")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    manager = painter._manager
    assert recorder.batches == []
    assert manager._caching is False
    assert (manager._commands_cache, manager._buffers_cache) == ([], [])
    assert manager._current_canvas is None
    with painter.batch(2):
        painter.clear("active")
    assert [command.layer for command in recorder.last] == ["active"] * 3


def test_a_painter_has_a_manager_of_its_own(painter):
    other = Painter()
    other.open()
    try:
        assert painter._manager is not other._manager
        assert {canvas._canvas_manager for canvas in painter.canvases} == {painter._manager}
    finally:
        other.close()


def test_canvases_do_not_announce_themselves(painter):
    assert len(painter.canvases) == 5
    assert not any(canvas._send_client_ready_event for canvas in painter.canvases)


def test_layers_grow_in_steps_and_never_shrink(painter):
    canvas = painter.canvases[LAYERS.index("active")]
    assert painter.grow("active", 300.2, 10)
    assert (canvas.width, canvas.height) == (512, 256)
    assert not painter.grow("active", 512, 256)
    assert not painter.grow("active", 5, 5)
    assert (canvas.width, canvas.height) == (512, 256)
    assert painter.grow("active", 513, 1e9)
    assert (canvas.width, canvas.height) == (768, 8192)


# --- what is painted ------------------------------------------------------------------------------


def test_markers_by_side_and_flag_halo_before_fill(painter, recorder, schema):
    flags_of_two = [face(20, 20, (2, 2, 2, 1)), face(60, 60, (1, 1, 1, 2))]
    paint(painter, figures(flags_of_two, [0, 1], [None, None], [schema, schema]))
    names = [c.name for c in recorder.last if not c.name.endswith("=")]
    assert names == [
        "resetTransform",
        "clear",
        "strokeStyledLineSegments",
        *("fillCircles", "fillRects", "fillPolygons"),
        *("fillStyledCircles", "fillStyledRects", "fillStyledPolygons"),
        *("strokeCircles", "strokeRects", "strokePolygons"),
        *("strokeStyledCircles", "strokeStyledRects", "strokeStyledPolygons"),
    ]
    paint(painter, figures(flags_of_two, [0, 1], [None, None], [schema, schema]), is_active=True)
    active = [c.name for c in recorder.last if not c.name.endswith("=")]
    # The edges of the active instance alone have a halo.
    assert active == [*names[:2], "strokeLineSegments", *names[2:]]


def test_a_circle_lies_where_the_viewport_puts_it(painter, recorder, schema):
    only_top = figures([face(20, 20, (2, 0, 0, 0))], [0], [None], [schema])
    paint(painter, only_top, View(2.0, 10.0, 20.0, 1.5, 400.0, 300.0))
    (halo,), (dot,) = recorder.of("fillCircles"), recorder.of("fillStyledCircles")
    # Image (20, 15), CSS (50, 50), device (75, 75).
    assert [halo.args[0].tolist(), halo.args[1].tolist()] == [[75.0], [75.0]]
    assert halo.args[2] == pytest.approx(1.5 * (LOOK["radius"] + LOOK["haloWidth"]))
    assert dot.args[2] == pytest.approx(1.5 * LOOK["radius"])
    assert dot.args[3].tolist() == [1, 2, 3]


def test_a_square_and_a_diamond_have_the_shapes_of_the_ink(painter, recorder, schema):
    shapes = figures([face(20, 20, (0, 2, 2, 0))], [0], [None], [schema])
    paint(painter, shapes, is_active=True)
    square, diamond = recorder.of("fillStyledRects")[0], recorder.of("fillStyledPolygons")[0]
    # view.ts: a square of 0.9 radius each way, a diamond of 1.25 radius; radius 5 when active.
    assert square.args[0].tolist() == [40.0 - 4.5]
    assert square.args[1].tolist() == [60.0 - 4.5]
    assert square.args[2] == square.args[3] == 9.0
    corners = [[60.0, 53.75], [66.25, 60.0], [60.0, 66.25], [53.75, 60.0]]
    assert floats_of(diamond)[0].reshape(4, 2).tolist() == corners


def test_widths_follow_the_look_and_the_pixel_ratio(painter, recorder, schema):
    shapes = figures([face(20, 20)], [0], [(5.0, 6.0, 20.0, 30.0)], [schema])
    paint(painter, shapes, View(1.0, 0.0, 0.0, 2.0, 400.0, 300.0), is_active=True)
    widths = [command.args[0] for command in recorder.of("line_width=")]
    edge, halo = LOOK["activeEdgeWidth"], LOOK["edgeHaloWidth"]
    box, ring = LOOK["boxWidth"], LOOK["ringWidth"]
    expected = [edge + 2 * halo, edge, box + 2 * halo, box, ring + 2 * LOOK["haloWidth"], ring]
    assert widths == pytest.approx([*(2 * width for width in expected), 7])


def test_a_box_lies_where_the_viewport_puts_it(painter, recorder, schema):
    paint(painter, figures([face(20, 20)], [0], [(5.0, 6.0, 20.0, 30.0)], [schema]))
    (box,) = recorder.of("strokeStyledRects")
    assert [arg.tolist() for arg in box.args[:4]] == [[20.0], [32.0], [40.0], [60.0]]


def test_what_is_out_of_sight_is_left_out(painter, recorder, schema):
    far = [face(20, 20), face(5000, 20), face(20, -5000)]
    paint(painter, figures(far, [0, 1, 2], [None] * 3, [schema] * 3))
    assert [len(command.args[0]) for command in recorder.of("fillStyledCircles")] == [2]
    (lines,) = recorder.of("strokeStyledLineSegments")
    assert floats_of(lines)[0].size == 4 * 4


def test_an_edge_across_the_screen_is_painted_though_both_ends_are_off_it(painter, recorder):
    stick = Schema("stick", ["head", "tip"], [(1, 2)])
    ends = np.array([(-500.0, 50.0, 2.0), (900.0, 50.0, 2.0)])
    paint(painter, figures([ends], [0], [None], [stick]))
    (line,) = recorder.of("strokeStyledLineSegments")
    assert floats_of(line)[0].ravel().tolist() == [-990.0, 120.0, 1810.0, 120.0]
    assert recorder.of("fillCircles") == []


def test_nothing_at_all_only_wipes(painter, recorder):
    paint(painter, Figures())
    assert [command.name for command in recorder.last] == ["resetTransform", "clear", "line_width="]


def test_a_picture_is_painted_in_device_pixels_on_a_wiped_layer(painter, recorder):
    with painter.batch(3):
        painter.paint_picture("detail", 1, 2, 30, 40, smooth=False)
    (draw,) = recorder.of("drawImage")
    assert draw.layer == "detail"
    assert recorder.names[draw.args[0]] == "source"
    assert draw.args[1:5] == [1, 2, 30, 40]
    assert recorder.of("image_smoothing_enabled=")[0].args == [False]
    names = [command.name for command in recorder.last]
    assert names.index("clear") < names.index("drawImage")


@pytest.mark.parametrize(
    "place",
    [(math.nan, 0, 1, 1), (0, math.inf, 1, 1), (0, 0, 0, 1), (0, 0, 1, -1)],
)
def test_a_picture_without_a_place_is_refused_before_anything_is_sent(painter, recorder, place):
    with pytest.raises(ValueError, match="finite place"), painter.batch(3):
        painter.paint_picture("image", *place, smooth=True)
    assert recorder.batches == []


def test_a_box_that_is_no_number_is_refused_before_anything_is_sent(painter, recorder):
    boxes = Figures(boxes=np.array([(math.nan, 0, 1, 1)]), box_color=np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        paint(painter, boxes)
    assert recorder.batches == []


def check_arrays(commands: list[Command]) -> None:
    """What kills the front end of ipycanvas: other types, NaN, and radii of 0 and less."""
    for command in commands:
        for arg in command.args:
            if isinstance(arg, np.ndarray):
                is_color = arg.dtype == np.uint8
                assert is_color or arg.dtype == np.float32, command.name
                assert arg.size > 0
                assert np.isfinite(arg).all(), command.name
            elif isinstance(arg, float | int):
                assert math.isfinite(arg), command.name
        if "Circles" in command.name:
            assert command.args[2] > 0


coordinate = st.one_of(
    st.floats(-100, 500), st.floats(allow_nan=False, allow_infinity=False), st.just(math.nan)
)
point = st.tuples(coordinate, coordinate, st.sampled_from([0, 1, 2]))
views = st.builds(
    View,
    st.floats(0.02, 64),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
    st.sampled_from([1.0, 1.25, 2.0, 3.0]),
    st.floats(10, 4000),
    st.floats(10, 4000),
)
finite = st.floats(allow_nan=False, allow_infinity=False)
boxes = st.one_of(st.none(), st.tuples(finite, finite, st.floats(0, 1e300), st.floats(0, 1e300)))


@pytest.fixture(scope="module")
def shared():
    painter = Painter()
    painter.open()
    yield Recorder(painter)
    painter.close()


@settings(deadline=None)
@given(
    instances=st.lists(st.tuples(st.lists(point, min_size=4, max_size=4), boxes), max_size=4),
    view=views,
)
def test_whatever_a_file_holds_only_sound_arrays_are_sent(shared, instances, view):
    schema = Schema("face", ["top", "left", "right", "bottom"], [(1, 2), (1, 3), (2, 4), (3, 4)])
    arrays = [np.array(points, np.float64) for points, _ in instances]
    n = len(instances)
    shapes = figures(arrays, list(range(n)), [box for _, box in instances], [schema] * n)
    for is_active in (False, True):
        paint(shared.painter, shapes, view, is_active=is_active)
        check_arrays(shared.last)
        shared.batches.clear()


def test_a_hundred_people_are_one_message_of_some_kilobytes(painter):
    schema = Schema("person", [f"k{i}" for i in range(17)], [(i, i + 1) for i in range(1, 17)])
    rng = np.random.default_rng(0)
    people = [
        np.concatenate([rng.uniform(0, 140, (17, 2)), np.full((17, 1), 2.0)], axis=1)
        for _ in range(100)
    ]
    sent: list[int] = []
    painter._manager.send = lambda _, buffers: sent.append(
        sum(memoryview(buffer).nbytes for buffer in buffers)
    )
    paint(painter, figures(people, list(range(100)), [None] * 100, [schema] * 100))
    assert len(sent) == 1
    assert sent[0] < 100_000


# --- the still picture ----------------------------------------------------------------------------


def test_a_poster_shows_the_points_where_they_are(schema):
    picture = Image.new("RGB", (100, 100), (200, 200, 200))
    shapes = figures([face(50, 50, (2, 2, 2, 2))], [0], [(20.0, 20.0, 60.0, 60.0)], [schema])
    draw_poster(picture, [(shapes, True)], 1.0)
    for (x, y), color in zip(shapes.xy, shapes.color, strict=True):
        assert picture.getpixel((int(x), int(y))) == tuple(color)
    assert picture.getpixel((20, 50)) == rgb(INSTANCE_COLORS[0])
    assert picture.getpixel((5, 5)) == (200, 200, 200)


def test_a_poster_shows_an_occluded_point_as_a_ring(schema):
    picture = Image.new("RGB", (100, 100), (200, 200, 200))
    shapes = figures([face(50, 50, (1, 0, 0, 0))], [0], [None], [schema])
    draw_poster(picture, [(shapes, True)], 1.0)
    assert picture.getpixel((50, 45)) == (200, 200, 200)
    ring = {picture.getpixel((50 + dx, 45)) for dx in range(2, 6)}
    assert (1, 2, 3) in ring
