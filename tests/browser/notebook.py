"""A notebook open in JupyterLab or Notebook 7, driven as a user would, awaited by its states."""

from __future__ import annotations

import copy
import json
import time
import urllib.parse
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from .frames import Direction, Frame, FrameRecorder
from .kernel import KernelClient, Where
from .proxy import Proxy
from .server import JupyterServer
from .stage import Stage

App = Literal["lab", "notebook"]
Theme = Literal["light", "dark"]
#: JupyterLab's setting for comm messages in kernel subshells; the second is its default.
Comms = Literal["disabled", "perCommTarget", "perComm"]

#: Seconds to wait for a page, a kernel or a cell.
OPEN_SECONDS = 90.0
RUN_SECONDS = 60.0
POLL_MILLISECONDS = 25.0

_THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

# The front end's own objects tell its state exactly; window.jupyterapp is there because the server
# was started with expose_app_in_browser.
_SCRIPT = """
window.kpTest = {
  runs: {},
  panel(path) {
    const app = window.jupyterapp;
    if (!app || !app.shell) return null;
    for (const widget of app.shell.widgets('main'))
      if (widget.context && widget.context.path === path && widget.content?.widgets) return widget;
    return null;
  },
  state(path) {
    const panel = this.panel(path);
    const kernel = panel?.sessionContext?.session?.kernel;
    return {
      app: Boolean(window.jupyterapp),
      panel: Boolean(panel),
      ready: Boolean(panel && panel.context.isReady && panel.sessionContext.isReady),
      kernel: kernel?.id ?? null,
      connection: kernel?.connectionStatus ?? null,
      status: kernel?.status ?? null,
      splash: Boolean(document.querySelector('#jupyterlab-splash')),
      theme: document.body?.dataset.jpThemeName ?? null,
      dialog: document.querySelector('.jp-Dialog')?.textContent ?? null,
    };
  },
  start(path, index) {
    const notebook = this.panel(path).content;
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    const run = {done: false, error: null};
    this.runs[index] = run;
    window.jupyterapp.commands.execute('notebook:run-cell').then(
      () => { run.done = true; },
      (error) => { run.done = true; run.error = String(error); },
    );
  },
  // As after loading: no document, nothing stored, no run known. What is still in the way comes
  // back.
  async empty() {
    for (const widget of [...window.jupyterapp.shell.widgets('main')])
      if (widget.context) widget.dispose();
    localStorage.clear();
    sessionStorage.clear();
    this.runs = {};
    document.activeElement?.blur();
    return document.querySelector('.jp-Dialog, .kpwidget, .kpwidget-stage')?.className ?? null;
  },
  outputs(path, index) {
    const cell = this.panel(path).content.widgets[index];
    return cell ? (cell.model.toJSON().outputs ?? []) : null;
  },
};
"""

_READY = """([path, theme, idle]) => {
  const s = window.kpTest.state(path);
  return s.ready && s.connection === 'connected' && (!idle || s.status === 'idle') && !s.splash
    && s.theme === theme;
}"""


class CellError(AssertionError):
    """A cell that should run raised."""


class Notebook:
    """A notebook on a page of its own, in a browser context of its own.

    Parameters
    ----------
    server : JupyterServer
        Where the notebook lies.
    browser : Browser
        Where to open it.
    cells : sequence of str, optional
        Source of the code cells; the first has index 0.
    path : str, optional
        An existing notebook to open in a further page, instead of `cells`.
    app : str
        ``"lab"`` or ``"notebook"``.
    width, height : int
        Size of the window in CSS px.
    dpr : float
        Device pixel ratio.
    theme : str
        ``"light"`` or ``"dark"``.
    proxy : Proxy, optional
        Open the page through it.
    comms : str
        Whether widget messages ask for kernel subshells; Notebook 7 knows its default only.
    kernel : str
        Name of the kernel specification.
    has_touch : bool
        Whether the screen takes touches.
    page : Page, optional
        What `release` of a notebook with the same theme, dpr, comms and has_touch gave, to open
        this one in.
    """

    def __init__(
        self,
        server: JupyterServer,
        browser: Browser,
        cells: Sequence[str] | None = None,
        *,
        path: str | None = None,
        app: App = "lab",
        width: int = 1280,
        height: int = 900,
        dpr: float = 1.0,
        theme: Theme = "light",
        proxy: Proxy | None = None,
        comms: Comms = "perCommTarget",
        kernel: str = "python3",
        has_touch: bool = False,
        page: Page | None = None,
    ) -> None:
        if (cells is None) == (path is None):
            raise TypeError("give either the cells of a new notebook or the path of an old one")
        if app == "notebook" and comms != "perCommTarget":
            raise ValueError(
                f"comms={comms!r} is a setting of JupyterLab that Notebook 7 does not heed; use "
                "kernel=NO_SUBSHELLS for a kernel without subshells"
            )
        self.server = server
        self.app: App = app
        self.path = path if path is not None else f"{uuid.uuid4().hex[:12]}.ipynb"
        self.console: list[str] = []
        self._theme: Theme = theme
        self._base = (proxy or server).url
        # Each page its own workspace: Lab would else open the last test's tabs again.
        self._workspace = uuid.uuid4().hex[:12]
        self._client: KernelClient | None = None
        if cells is not None:
            self._write(cells, kernel)
        server.set_setting("@jupyterlab/apputils-extension:themes", {"theme": _THEMES[theme]})
        server.set_setting(
            "@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": comms}
        )
        self._is_used = page is not None
        if page is None:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                device_scale_factor=dpr,
                color_scheme=theme,
                has_touch=has_touch,
            )
            context.add_init_script(_SCRIPT)
            page = context.new_page()
        else:
            page.set_viewport_size({"width": width, "height": height})
        self.page: Page = page
        self.context: BrowserContext = page.context
        self._listen()

    def _listen(self) -> None:
        self.page.on("console", self._note_message)
        self.page.on("pageerror", self._note_error)
        self.recorder = FrameRecorder(self.page)

    def _note_message(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")

    def _note_error(self, error: PlaywrightError) -> None:
        self.console.append(f"uncaught: {error}")

    def _write(self, cells: Sequence[str], kernel: str) -> None:
        document = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {
                "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"},
                "language_info": {"name": "python"},
            },
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{index}",
                    "metadata": {},
                    "execution_count": None,
                    "outputs": [],
                    "source": source,
                }
                for index, source in enumerate(cells)
            ],
        }
        (self.server.root / self.path).write_text(json.dumps(document))

    # Opening and closing

    @property
    def url(self) -> str:
        """Address of the notebook in its application, with the token."""
        path = urllib.parse.quote(self.path)
        query = urllib.parse.urlencode({"token": self.server.token})
        if self.app == "lab":
            return f"{self._base}/lab/workspaces/{self._workspace}/tree/{path}?{query}"
        return f"{self._base}/notebooks/{path}?{query}"

    def open(self) -> None:
        """Open the page and wait until its kernel is connected and idle."""
        if self._is_used:
            self.page.evaluate(
                "(path) => { window.jupyterapp.commands.execute('docmanager:open', {path}); }",
                self.path,
            )
        else:
            self.page.goto(self.url, wait_until="domcontentloaded")
        self.wait_ready()
        if self.app == "lab":
            # The file browser takes a third of a narrow window.
            self.page.evaluate("window.jupyterapp.shell.collapseLeft()")

    def state(self) -> dict[str, Any]:
        """What the front end says of the notebook and its kernel."""
        state: dict[str, Any] = self.page.evaluate("(p) => window.kpTest.state(p)", self.path)
        return state

    def wait_ready(self, idle: bool = True, timeout: float = OPEN_SECONDS) -> None:
        """Wait until the notebook is shown and its kernel connected, and idle if asked for."""
        self._wait(
            _READY, [self.path, _THEMES[self._theme], idle], timeout, "the notebook is ready"
        )

    def _wait(self, script: str, argument: Any, timeout: float, what: str) -> None:
        try:
            self.page.wait_for_function(script, arg=argument, timeout=1000 * timeout)
        except PlaywrightTimeoutError:
            console = "\n  ".join(self.console[-15:]) or "nothing"
            raise AssertionError(
                f"{self.path} in {self.app}: waited {timeout:g} s until {what}. Its state is "
                f"{self.state()}; the console said:\n  {console}"
            ) from None

    def reload(self, save: bool = True, idle: bool = True) -> None:
        """Reload the page and wait until the notebook is back with its kernel connected.

        Parameters
        ----------
        save : bool
            Save the notebook before, so that its outputs come back.
        idle : bool
            Wait until the kernel is idle, too; False while a cell runs on.
        """
        if save:
            self.save()
        if self._is_used:
            # The layout that Lab has stored may still be that of the notebook before.
            self.page.goto(self.url, wait_until="domcontentloaded")
        else:
            self.page.reload(wait_until="domcontentloaded")
        self.wait_ready(idle)
        if self.app == "lab":
            self.page.evaluate("window.jupyterapp.shell.collapseLeft()")

    def duplicate(self) -> Notebook:
        """Open the page again in another tab, with a copy of its session storage.

        The new tab does not wait for the kernel; `close` of this notebook closes it, too.
        """
        twin = copy.copy(self)
        twin.console = []
        twin._client = None
        with self.context.expect_page() as opened:
            # As for a tab that is duplicated, Chromium copies the storage.
            self.page.evaluate("() => { window.open(location.href); }")
        twin.page = opened.value
        twin._listen()
        return twin

    def save(self) -> None:
        """Save the notebook."""
        self.page.evaluate("(p) => window.kpTest.panel(p).context.save()", self.path)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, in CSS px."""
        self.page.set_viewport_size({"width": width, "height": height})

    def close(self) -> None:
        """Close the page and the kernel client; the kernel runs on."""
        self.forget_kernel()
        self.context.close()

    def release(self) -> Page | None:
        """Close the notebook and give its page for another one, if it is as good as a new page.

        Loading JupyterLab costs several seconds of processor time, opening a notebook in it one.
        None if the page cannot be had: `close` it.
        """
        if self.app != "lab" or len(self.context.pages) != 1:
            return None
        if any(line.startswith("uncaught") for line in self.console):
            return None
        self.forget_kernel()
        try:
            if self.page.evaluate("window.kpTest.empty()") is not None:
                return None
        except PlaywrightError:  # another page than JupyterLab's is there, or none
            return None
        self.page.remove_listener("console", self._note_message)
        self.page.remove_listener("pageerror", self._note_error)
        self.recorder.stop()
        self.page.mouse.move(0, 0)
        return self.page

    # Cells

    def _outputs(self, index: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] | None = self.page.evaluate(
            "([p, i]) => window.kpTest.outputs(p, i)", [self.path, index]
        )
        if found is None:
            raise IndexError(f"cell {index}: the notebook has {self.cell_count()} cells")
        return found

    def start(self, index: int) -> None:
        """Run a cell by the application's command, without waiting for its end."""
        if not 0 <= index < self.cell_count():
            raise IndexError(f"cell {index}: the notebook has {self.cell_count()} cells")
        self.page.evaluate("([p, i]) => window.kpTest.start(p, i)", [self.path, index])

    def wait_done(self, index: int, timeout: float = RUN_SECONDS) -> None:
        """Wait until a cell started with `start` has run and its outputs are there.

        Raises
        ------
        CellError
            If it raised.
        """
        self._wait(
            "(i) => window.kpTest.runs[i]?.done", index, timeout, f"cell {index} has been run"
        )
        error = self.page.evaluate("(i) => window.kpTest.runs[i].error", index)
        if error is not None:
            raise CellError(f"cell {index} could not be run: {error}")
        for output in self._outputs(index):
            if output["output_type"] == "error":
                trace = "\n".join(output["traceback"])
                raise CellError(
                    f"cell {index} raised {output['ename']}: {output['evalue']}\n{trace}"
                )

    def run(self, index: int, timeout: float = RUN_SECONDS) -> None:
        """Run a cell and wait for its end; CellError if it raises."""
        self.start(index)
        self.wait_done(index, timeout)

    def run_all(self, timeout: float = RUN_SECONDS) -> None:
        """Run every cell in order; CellError at the first that raises."""
        for index in range(self.cell_count()):
            self.run(index, timeout)

    def text(self, index: int) -> str:
        """Text in a cell's outputs: streams, plain-text results and errors, in order."""
        parts: list[str] = []
        for output in self._outputs(index):
            if output["output_type"] == "stream":
                value = output["text"]
            elif output["output_type"] == "error":
                value = f"{output['ename']}: {output['evalue']}\n"
            else:
                value = output["data"].get("text/plain", "")
            parts.append("".join(value) if isinstance(value, list) else value)
        return "".join(parts)

    def wait_text(self, index: int, text: str, timeout: float = RUN_SECONDS) -> None:
        """Wait until the text of a cell's outputs contains `text`."""
        deadline = time.monotonic() + timeout
        while text not in (came := self.text(index)):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"cell {index}: waited {timeout:g} s for {text!r} in its output, which is "
                    f"{came!r}"
                )
            self.page.wait_for_timeout(POLL_MILLISECONDS)

    def cell_count(self) -> int:
        """Count the notebook's cells."""
        count: int = self.page.evaluate(
            "(p) => window.kpTest.panel(p).content.widgets.length", self.path
        )
        return count

    def active_cell(self) -> int:
        """Index of the active cell."""
        index: int = self.page.evaluate(
            "(p) => window.kpTest.panel(p).content.activeCellIndex", self.path
        )
        return index

    def sources(self) -> list[str]:
        """Source of each cell, to see that no key changed one."""
        found: list[str] = self.page.evaluate(
            "(p) => window.kpTest.panel(p).content.widgets.map("
            "(c) => c.model.sharedModel.getSource())",
            self.path,
        )
        return found

    def press(self, key: str) -> None:
        """Press a key, wherever the focus is."""
        self.page.keyboard.press(key)

    # The kernel

    @property
    def kernel_id(self) -> str:
        """Id of the notebook's kernel."""
        sessions = self.server.api("GET", "/api/sessions")
        for session in sessions:
            if session["path"] == self.path and session["kernel"]:
                return str(session["kernel"]["id"])
        raise AssertionError(f"{self.path} has no kernel; the server's sessions: {sessions}")

    @property
    def kernel(self) -> KernelClient:
        """A client of the notebook's kernel, apart from the page's."""
        if self._client is None:
            self._client = KernelClient(self.server.connection_file(self.kernel_id))
        return self._client

    def forget_kernel(self) -> None:
        """Close the kernel client; the next one is of the kernel that the notebook has then."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def kernel_eval(self, expression: str, timeout: float = 30.0, on: Where = "beside") -> Any:
        """Value of a Python expression in the notebook's kernel; see `KernelClient.evaluate`."""
        return self.kernel.evaluate(expression, timeout, on)

    def kernel_exec(self, code: str, timeout: float = 30.0, on: Where = "main") -> None:
        """Run Python code in the notebook's kernel, outside any cell."""
        self.kernel.execute(code, timeout, on)

    def wait_python(self, expression: str, timeout: float = 30.0, on: Where = "beside") -> Any:
        """Wait until a Python expression in the notebook's kernel is true; its value comes back.

        The page goes on meanwhile, and what it tells is recorded.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            value = self.kernel_eval(expression, max(left, 0.1), on)
            if value:
                return value
            if left <= 0:
                raise AssertionError(
                    f"waited {timeout:g} s until {expression} is true in the kernel; "
                    f"it is {value!r}"
                )
            self.page.wait_for_timeout(POLL_MILLISECONDS)

    def wait_busy(self, timeout: float = RUN_SECONDS) -> None:
        """Wait until the front end knows that the kernel is busy.

        It takes the end of a request in a subshell, such as `kernel_eval`, for the kernel's being
        idle, also while a cell runs. So prove a running cell by what it prints.
        """
        self._wait(
            "(p) => window.kpTest.state(p).status === 'busy'", self.path, timeout, "it is busy"
        )

    def wait_idle(self, timeout: float = RUN_SECONDS) -> None:
        """Wait until the front end knows that the kernel is idle and connected."""
        self.wait_ready(timeout=timeout)

    def reconnect(self) -> None:
        """Connect to the kernel again by the application's command, and wait until it is.

        JupyterLab does so by itself, too, but waits up to a minute before it tries.
        """
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:reconnect-to-kernel')")
        self.wait_ready()

    def restart_kernel(self) -> None:
        """Restart the kernel and wait until it is connected and idle again."""
        self.page.evaluate(
            "(p) => window.kpTest.panel(p).sessionContext.session.kernel.restart()", self.path
        )
        self.wait_ready()
        if self._client is not None:
            self._client.forget_subshell()

    def change_kernel(self, name: str = "python3") -> None:
        """Start another kernel for the notebook and wait until it is connected and idle.

        JupyterLab learns by itself, too, that the server does not know the session any more, but
        asks only every ten seconds.
        """
        self.page.evaluate(
            """async ([p, name]) => {
              await window.jupyterapp.serviceManager.sessions.refreshRunning();
              await window.kpTest.panel(p).sessionContext.changeKernel({name});
            }""",
            [self.path, name],
        )
        self.wait_ready()
        self.forget_kernel()

    # What is shown

    def widget(self, n: int = 0) -> Stage:
        """Return the n-th stage on the page, waiting until it is displayed."""
        root = self.page.locator(".kpwidget-stage").nth(n)
        try:
            root.wait_for(state="visible")
        except PlaywrightTimeoutError:
            outputs = [self.text(i) for i in range(self.cell_count())]
            console = "\n  ".join(self.console[-15:]) or "nothing"
            raise AssertionError(
                f"no {n + 1}. .kpwidget-stage on the page; the cells' output is {outputs}; the "
                f"console said:\n  {console}"
            ) from None
        return Stage(self.page, root)

    def output(self, index: int) -> Any:
        """Locator of a cell's output area."""
        cells = self.page.locator(".jp-Notebook .jp-Cell.jp-CodeCell")
        return cells.nth(index).locator(".jp-Cell-outputArea")

    # Traffic

    def frames(
        self, direction: Direction | None = None, msg_type: str | None = None
    ) -> list[Frame]:
        """Frames on the kernel's websocket since the page was opened or `clear_frames`, in order.

        Each has ``direction``, ``size``, ``time``, ``message`` and shortcuts such as ``msg_type``.
        What the kernel tells the page of the test's own requests, such as `kernel_eval`, is left
        out.
        """
        own = None if self._client is None else self._client.session_id
        return [
            frame
            for frame in self.recorder.frames(direction, msg_type)
            if own is None or frame.message["parent_header"].get("session") != own
        ]

    def clear_frames(self) -> None:
        """Forget the frames recorded so far."""
        self.recorder.clear()
