"""From the hand to the screen: clicks and drags against a control page and raw ipycanvas."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from .rig import (
    Hand,
    Rig,
    Target,
    annotator_cells,
    annotator_target,
    peer_cells,
    show_annotator,
    show_peer,
)
from .table import Row, compare, told

#: Milliseconds until a press without any effect is given up.
TIMEOUT = 2000

#: Milliseconds of rest before each press: what the last one caused on the machine is over by then.
REST = 100

LIMIT_CLICK = 1.3
LIMIT_DRAG = 0.95

#: A cell that keeps the kernel busy; the second holds the lock of the interpreter, so that no other
#: thread of the kernel runs either, once the kernel has told that it is busy. A signal ends both.
SLEEP = "import time\ntime.sleep(3600)"
HOLD = "import ctypes, time\ntime.sleep(2)\nctypes.PyDLL(None).sleep(3600)"


def press(rig: Rig, target: Target, rest: float = REST) -> dict[str, float] | None:
    """Milliseconds from a press to the frame that shows it; None when none did in time."""
    page = target.page
    target.settle()
    x, y = target.somewhere(rig.rng)
    page.mouse.move(x, y)
    # The phase of the display is left to chance.
    page.wait_for_timeout(rest + rig.rng.uniform(0, 17))
    page.evaluate(
        "([s, x, y, t]) => window.kpBench.arm(s, x, y, t)", [target.canvas, x, y, TIMEOUT]
    )
    page.mouse.down()
    found: dict[str, float] | None = page.evaluate("() => window.kpBench.result")
    page.mouse.up()
    return found


def _clicks(
    rig: Rig, ours: Target, floor: Target, peer: Target | None, n: int, rest: float, n_peer: int
) -> dict[str, list[dict[str, float]]]:
    """Interleaved presses on all three; the first of each is for warming up."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "floor": [], "peer": []}
    for i in range(n + 1):
        turns: list[tuple[str, Target]] = [("ours", ours), ("floor", floor)]
        if i % 2:
            turns.reverse()
        if peer and i <= n_peer:
            turns.append(("peer", peer))
        for name, target in turns:
            sample = press(rig, target, rest)
            if sample is None:
                raise RuntimeError(f"click {i} on {name}: nothing changed within {TIMEOUT} ms")
            if i:
                found[name].append(sample)
    return found


def _rows(name: str, found: dict[str, list[dict[str, float]]], peer_text: str = "") -> list[Row]:
    def of(who: str, what: str) -> list[float]:
        return [sample[what] for sample in found[who]]

    return [
        compare(
            name,
            "ms",
            of("ours", "frame"),
            of("floor", "frame"),
            LIMIT_CLICK,
            peer=of("peer", "frame"),
            peer_text=peer_text,
        ),
        told(
            f"{name}: until that frame is painted",
            "ms",
            of("ours", "painted"),
            of("floor", "painted"),
            peer=of("peer", "painted"),
        ),
    ]


def measure_clicks(rig: Rig) -> list[Row]:
    """Click to changed frame: idle, with latency, with a busy kernel."""
    n, n_peer = rig.samples(200, 12), rig.samples(60, 6)
    photo = rig.photo(640, 480)
    rows: list[Row] = []
    with ExitStack() as stack:
        notebook = stack.enter_context(rig.notebook(annotator_cells(photo)))
        stage = show_annotator(notebook)
        ours = annotator_target(stage)
        raw = stack.enter_context(rig.notebook(peer_cells()))
        peer = show_peer(raw)
        box = stage.ink_box
        floor = stack.enter_context(rig.floor(box.width, box.height))
        rows += _rows("click to frame", _clicks(rig, ours, floor, peer, n, REST, n_peer))

        for label, code in (("kernel asleep in a cell", SLEEP), ("GIL held", HOLD)):
            for busy in (notebook, raw):
                busy.page.evaluate(
                    "([p, i, code]) => window.kpTest.panel(p).content.widgets[i].model"
                    ".sharedModel.setSource(code)",
                    [busy.path, 2, code],
                )
                busy.start(2)
                busy.wait_busy()
            notebook.page.wait_for_timeout(3000)
            # Nothing is acknowledged now, so there is nothing to wait for.
            deaf = Target(ours.page, ours.canvas, ours.area, lambda: None)
            found = _clicks(rig, deaf, floor, None, n, REST, 0)
            answer = press(rig, peer)
            text = "none in 2 s" if answer is None else f"{answer['frame']:.0f} ms"
            rows += _rows(f"click to frame, {label}", found, text)
            for busy in (notebook, raw):
                rig.server.api("POST", f"/api/kernels/{busy.kernel_id}/interrupt")
                busy.wait_idle()
            stage.wait_settled()

    with ExitStack() as stack:
        proxy = stack.enter_context(rig.proxy())
        notebook = stack.enter_context(rig.notebook(annotator_cells(photo), proxy=proxy))
        stage = show_annotator(notebook)
        raw = stack.enter_context(rig.notebook(peer_cells(), proxy=proxy))
        peer = show_peer(raw)
        box = stage.ink_box
        floor = stack.enter_context(rig.floor(box.width, box.height))
        proxy.delay = 0.1
        found = _clicks(rig, annotator_target(stage), floor, peer, n, 2 * REST, n_peer)
        rows[2:2] = _rows("click to frame, +100 ms each way", found)
        proxy.delay = 0.0
    return rows


def measure_drag(rig: Rig) -> list[Row]:
    """Frames per second while a point is dragged for two seconds, 125 mouse events a second."""
    seconds, rate = 2.0, 125
    n = rig.samples(20, 3)
    photo = rig.photo(640, 480)
    with ExitStack() as stack:
        notebook = stack.enter_context(rig.notebook(annotator_cells(photo)))
        stage = show_annotator(notebook)
        raw = stack.enter_context(rig.notebook(peer_cells()))
        peer = show_peer(raw)
        box = stage.ink_box
        floor = stack.enter_context(rig.floor(box.width, box.height))
        ours = annotator_target(stage)
        # The point to drag: placed now, pressed anew where the last drag left it.
        left, top, _, bottom = ours.area
        at = (round(left), round((top + bottom) / 2))
        stage.page.mouse.click(*at)
        stage.wait_settled()
        stage.page.wait_for_timeout(500)

        def drag(target: Target, n_drag: int) -> float:
            left, _, right, _ = target.area
            steps = int(seconds * rate)
            y = at[1] if target is ours else round((target.area[1] + target.area[3]) / 2)
            x = np.linspace(round(left), round(right), steps + 1)
            if n_drag % 2:
                x = x[::-1]
            target.settle()
            target.page.wait_for_timeout(300)
            target.page.evaluate("([s, y]) => window.kpBench.watchRow(s, y)", [target.canvas, y])
            hands[id(target)].drag([(float(v), float(y)) for v in x], seconds)
            watch = target.page.evaluate("() => window.kpBench.unwatchRow()")
            times: Sequence[float] = watch["times"]
            if len(times) < 2:
                raise RuntimeError(f"a drag on {target.canvas} changed {len(times)} frames")
            return 1000 * (len(times) - 1) / (times[-1] - times[0])

        hands = {id(t): Hand(rig.port, t.page) for t in (ours, floor, peer)}
        rates: dict[str, list[float]] = {"ours": [], "floor": [], "peer": []}
        for i in range(n):
            turns = [("ours", ours), ("floor", floor)]
            if i % 2:
                turns.reverse()
            if i < 4:
                turns.append(("peer", peer))
            for name, target in turns:
                rates[name].append(drag(target, i))
        for hand in hands.values():
            hand.close()
    return [
        compare(
            "drag: frames per second",
            "/s",
            rates["ours"],
            rates["floor"],
            LIMIT_DRAG,
            higher_is_better=True,
            peer=rates["peer"],
            note=f"drags of {seconds:g} s, {seconds * np.median(rates['floor']):.0f} frames each",
        )
    ]
