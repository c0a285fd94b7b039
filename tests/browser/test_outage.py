"""Connection or server lost, and a tab opened twice: every click arrives once and in order."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import POINTS, Hold, click_all, leave, wait_painted, wait_ready
from .notebook import Notebook
from .proxy import Proxy
from .server import JupyterServer
from .stage import WAIT, Stage
from .test_journal import MAKE, kill

pytestmark = pytest.mark.timeout(300)

KEPT = "Object.keys(sessionStorage).filter((key) => key.startsWith('kpwidget'))"


def row(y: float, n: int) -> list[tuple[float, float]]:
    """`n` image points beside one another."""
    return [(100 + 40 * k, y) for k in range(n)]


def wait_kept(stage: Stage) -> None:
    """Wait until every edit is acknowledged and on disk."""
    stage.wait_settled(timeout=60_000)
    saved = stage.output.locator(".kpwidget-saved")
    expect(saved).to_have_attribute("data-state", "kept", timeout=WAIT)


def check_points(nb: Notebook, clicked: list[tuple[float, float]]) -> None:
    """The dataset has one instance with these points in the order of their clicks."""
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in clicked]
    assert nb.kernel_eval("len(ds.instances)") == 1


def placed(n: int) -> list[list[str]]:
    """What `seen` of the kernel holds after `n` clicks that arrived once and in order."""
    return [["edit", f"place p{k + 1}"] for k in range(n)]


def open_twice(nb: Notebook) -> Notebook:
    """Duplicate the tab of a notebook that has edits in its outbox."""
    twin = nb.duplicate()
    # JupyterLab loads it once more, in a workspace of its own.
    twin.page.wait_for_function("(p) => kpTest.panel(p)?.context.isReady", arg=nb.path)
    kept = nb.page.evaluate(KEPT)
    assert (len(kept), twin.page.evaluate(KEPT)) == (1, kept)
    return twin


def sent_edits(nb: Notebook, client: str) -> set[int]:
    """Numbers of the edits of a client that a page has sent."""
    messages = [frame.custom for frame in nb.frames("sent", "comm_msg")]
    return {
        edit["seq"]
        for message in messages
        if message and message["kind"] == "edits" and message["client"] == client
        for edit in message["edits"]
    }


def click_unanswered(nb: Notebook, stage: Stage, proxy: Proxy, n: int) -> list[tuple[float, float]]:
    """Click `n` points that Python takes while its answers do not reach the page."""
    proxy.mute()
    before = nb.kernel_eval(f"len({POINTS})")
    clicked = click_all(stage, row(200, n))
    nb.wait_python(f"len({POINTS}) == {before + n}")
    assert stage.pending == n
    return clicked


def test_connection_lost_and_found(notebook: OpenNotebook, proxy: Proxy) -> None:
    nb = notebook([MAKE], proxy=proxy)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    clicked = click_all(stage, row(100, 3))
    wait_kept(stage)

    clicked += click_unanswered(nb, stage, proxy, 3)
    proxy.cut()
    nb.page.wait_for_function("(p) => kpTest.state(p).connection !== 'connected'", arg=nb.path)
    clicked += click_all(stage, row(300, 4))
    assert stage.pending == 7
    proxy.restore()
    nb.reconnect()
    wait_kept(stage)
    assert stage.next_keypoint == "p11"
    check_points(nb, clicked)
    assert nb.kernel_eval("seen") == placed(10)
    assert nb.page.evaluate(KEPT) == []

    # The journal has each once, too.
    nb.restart_kernel()
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    expect(nb.output(0)).to_contain_text("10 edits of 1 instance restored from", timeout=WAIT)
    stage.wait_next("p11")
    check_points(nb, clicked)


@pytest.mark.parametrize("reload", [True, False], ids=["reload", "same-page"])
def test_server_stopped_and_started_again(
    notebook: OpenNotebook, own_server: JupyterServer, reload: bool
) -> None:
    with Proxy(own_server.port) as proxy:
        nb = notebook([MAKE], server=own_server, proxy=proxy)
        nb.run(0)
        stage = nb.widget()
        wait_ready(stage)
        clicked = click_all(stage, row(100, 3))
        wait_kept(stage)
        instance = stage.active_instance
        nb.save()

        clicked += click_unanswered(nb, stage, proxy, 3)
        port = own_server.port
        own_server.end()
        nb.forget_kernel()
        nb.page.wait_for_function("(p) => kpTest.state(p).connection !== 'connected'", arg=nb.path)
        clicked += click_all(stage, row(300, 4))
        assert stage.pending == 7

        proxy.cut()
        own_server.start()
        assert own_server.port == port
        proxy.restore()
        nb.console.clear()
        if reload:
            nb.reload(save=False)
        else:
            nb.change_kernel()
        assert len(nb.page.evaluate(KEPT)) == 1
        nb.run(0)
        stage = nb.widget()
        wait_ready(stage)
        expect(nb.output(0)).to_contain_text("6 edits of 1 instance restored from", timeout=WAIT)
        wait_kept(stage)
        stage.wait_next("p11")
        assert stage.active_instance == instance
        check_points(nb, clicked)
        assert nb.kernel_eval("seen") == placed(10)[6:]
        assert nb.page.evaluate(KEPT) == []
        leave(stage)
        wait_painted(stage, clicked)
        assert not [line for line in nb.console if line.startswith("uncaught")]


def test_tab_opened_twice_while_the_kernel_is_busy(
    notebook: OpenNotebook, jupyter: JupyterServer
) -> None:
    hold = Hold(jupyter.root, with_lock=True)
    nb = notebook([MAKE, hold.cell], fresh=True)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    clicked = click_all(stage, row(100, 3))
    wait_kept(stage)
    nb.save()

    nb.start(1)
    hold.wait(nb)
    clicked += click_all(stage, row(200, 3))
    twin = open_twice(nb)
    client = nb.page.evaluate(KEPT)[0].rsplit(":")[-1]
    # What is clicked after the copy was made is in the first tab only.
    nb.page.bring_to_front()
    clicked += click_all(stage, row(300, 2))
    assert stage.pending == 5
    hold.release()

    twin.page.bring_to_front()
    twin.wait_ready()
    copy = twin.widget()
    wait_ready(copy)
    for shown in (stage, copy):
        wait_kept(shown)
        shown.wait_next("p9")
    copy.wait_data("active-instance", stage.active_instance or "")
    # Both have sent the three that the storage was copied with.
    assert sent_edits(nb, client) == {1, 2, 3, 4, 5, 6, 7, 8}
    assert sent_edits(twin, client) == {4, 5, 6}
    check_points(nb, clicked)
    assert nb.kernel_eval("seen") == placed(8)
    assert [tab.page.evaluate(KEPT) for tab in (nb, twin)] == [[], []]

    # Each tab goes on with numbers of its own.
    clicked += click_all(copy, row(350, 2))
    stage.wait_next("p11")
    nb.page.bring_to_front()
    clicked += click_all(stage, row(400, 1))
    for shown in (stage, copy):
        wait_kept(shown)
        shown.wait_next("p12")
    check_points(nb, clicked)
    assert nb.kernel_eval("seen") == placed(11)
    hold.close()


def test_tab_opened_twice_and_the_kernel_killed(
    notebook: OpenNotebook, jupyter: JupyterServer
) -> None:
    hold = Hold(jupyter.root, with_lock=True)
    nb = notebook([MAKE, hold.cell], fresh=True)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    clicked = click_all(stage, row(100, 3))
    wait_kept(stage)
    nb.save()
    pid = nb.kernel_eval("__import__('os').getpid()")
    nb.start(1)
    hold.wait(nb)
    clicked += click_all(stage, row(200, 3))
    twin = open_twice(nb)
    client = nb.page.evaluate(KEPT)[0].rsplit(":")[-1]
    nb.page.bring_to_front()
    clicked += click_all(stage, row(300, 2))
    kill(nb, pid)
    assert stage.pending == 5

    # The second tab, loaded anew, brings what it has a copy of,
    twin.page.bring_to_front()
    twin.reload(save=False)
    twin.run(0)
    expect(twin.output(0)).to_contain_text("3 edits of 1 instance restored from", timeout=WAIT)
    copy = twin.widget()
    wait_ready(copy)
    wait_kept(copy)
    copy.wait_next("p7")
    check_points(nb, clicked[:6])
    twin.save()

    # and the first one has the same and two more.
    nb.page.bring_to_front()
    nb.clear_frames()
    nb.reload(save=False)
    stage = nb.widget()
    wait_ready(stage)
    for shown in (stage, copy):
        wait_kept(shown)
        shown.wait_next("p9")
    assert sent_edits(twin, client) == {4, 5, 6}
    assert sent_edits(nb, client) == {4, 5, 6, 7, 8}
    check_points(nb, clicked)
    assert nb.kernel_eval("seen") == placed(8)[3:]
    assert [tab.page.evaluate(KEPT) for tab in (nb, twin)] == [[], []]
    hold.close()
