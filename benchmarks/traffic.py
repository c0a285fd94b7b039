"""What goes over the websocket when the pointer moves and when it clicks."""

from __future__ import annotations

import numpy as np

from tests.browser.frames import Frame
from tests.browser.notebook import Notebook

from .rig import (
    Rig,
    Target,
    annotator_cells,
    annotator_target,
    peer_cells,
    show_annotator,
    show_peer,
)
from .table import Row, bounded, told

LIMIT_CLICK_BYTES = 700

#: Labeled points in the image: name in the table -> schema and number of people.
POINTS = {"1 point": ("four_point", 0), "17 points": ("coco17", 1), "1700 points": ("coco17", 100)}


def _sent(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.direction == "sent"]


def _moves(rig: Rig, notebook: Notebook, target: Target, n: int) -> tuple[float, float]:
    """Frames up and down per pointer move."""
    _rest(notebook)
    for _ in range(n):
        notebook.page.mouse.move(*target.somewhere(rig.rng))
        notebook.page.wait_for_timeout(25)  # ipycanvas sends a move every 20 ms at most
    notebook.page.wait_for_timeout(300)
    frames = notebook.frames()
    up = len(_sent(frames))
    return up / n, (len(frames) - up) / n


def _clicks(rig: Rig, notebook: Notebook, target: Target, n: int) -> list[list[Frame]]:
    """Frames of each click, until 300 ms after it; the move before it is not counted."""
    found = []
    for _ in range(n):
        target.settle()
        notebook.page.mouse.move(*target.somewhere(rig.rng))
        _rest(notebook)
        notebook.page.mouse.down()
        notebook.page.mouse.up()
        notebook.page.wait_for_timeout(300)
        target.settle()
        found.append(notebook.frames())
    return found


def _rest(notebook: Notebook) -> None:
    notebook.page.wait_for_timeout(300)
    notebook.clear_frames()


def measure_messages(rig: Rig) -> list[Row]:
    """Websocket frames per pointer move and per click, and the bytes of the click."""
    n_moves, n_clicks = rig.samples(60, 20), rig.samples(20, 4)
    with rig.notebook(peer_cells()) as raw:
        peer = show_peer(raw)
        peer_moves = _moves(rig, raw, peer, n_moves)
        peer_clicks = _clicks(rig, raw, peer, n_clicks)
    rows: list[Row] = []
    for points, (schema, n_people) in POINTS.items():
        photo = rig.photo(640, 480)
        with rig.notebook(annotator_cells(photo, n_people, schema)) as notebook:
            stage = show_annotator(notebook)
            target = annotator_target(stage)
            if not n_people:
                notebook.page.mouse.click(*target.somewhere(rig.rng))
                stage.wait_settled()
            notebook.page.wait_for_timeout(3000)  # the poster is made after two seconds of rest
            up, down = _moves(rig, notebook, target, n_moves)
            clicks = _clicks(rig, notebook, target, n_clicks)
        sent = [_sent(frames) for frames in clicks]
        received = [[f for f in frames if f.direction == "received"] for frames in clicks]
        rows += [
            bounded(
                f"frames up per move, {points}",
                "",
                [up],
                0,
                peer=[peer_moves[0]],
                statistic="max",
                note=f"{n_moves} moves; down {down:g} (peer {peer_moves[1]:g})",
            ),
            bounded(
                f"frames up per click, {points}",
                "",
                [len(frames) for frames in sent],
                1,
                peer=[len(_sent(frames)) for frames in peer_clicks],
                statistic="max",
                note="the most of any click",
            ),
            bounded(
                f"bytes up per click, {points}",
                "B",
                [sum(frame.size for frame in frames) for frames in sent],
                LIMIT_CLICK_BYTES,
                peer=[sum(frame.size for frame in _sent(frames)) for frames in peer_clicks],
                statistic="max",
                note="the most of any click",
            ),
            told(
                f"bytes down per click, {points}",
                "B",
                [sum(frame.size for frame in frames) for frames in received],
                peer=[
                    sum(f.size for f in frames if f.direction == "received")
                    for frames in peer_clicks
                ],
                note=f"{np.median([len(frames) for frames in received]):g} frames",
            ),
        ]
    return rows
