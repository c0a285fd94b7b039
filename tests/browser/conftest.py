"""One Jupyter server and one Chromium for all browser tests; a kernel of its own for each.

A test finds JupyterLab as it is after loading: on a new page, or on one that an earlier test has
left without a trace, which is quicker by seconds. `fresh=True` asks for a new page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from .browser import find_browser, launch_arguments
from .notebook import App, Comms, Notebook, Theme
from .proxy import Proxy
from .server import JupyterServer

_OPENED = pytest.StashKey[list[Notebook]]()
_FAILED = pytest.StashKey[bool]()
#: What a page is made for; another of the same kind can be opened in it.
PageKind = tuple[Theme, float, Comms, bool]
_HERE = Path(__file__).parent


class OpenNotebook(Protocol):
    """What the fixture `notebook` gives."""

    def __call__(
        self,
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
        server: JupyterServer | None = None,
        fresh: bool = False,
    ) -> Notebook:
        """Write a notebook, open it and wait until its kernel is idle; see `Notebook`.

        It lies on the server of the session unless another one is given.
        """


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder; pages load slowly on a loaded machine."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(400))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show page, console and server log of a test that failed."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    if call.when == "call" and report.failed:
        opened: list[Notebook] = item.stash.get(_OPENED, [])
        for number, notebook in enumerate(opened):
            report.sections.append((f"page {number}", _describe(notebook, number)))
            report.sections.append(("jupyter server log", notebook.server.log_tail()))
    return report


def _describe(notebook: Notebook, number: int) -> str:
    folder = Path(tempfile.mkdtemp(prefix="kpwidget-failed-"))
    try:
        notebook.page.screenshot(path=folder / f"page{number}.png", timeout=10_000)
        shown = f"screenshot: {folder / f'page{number}.png'}"
    except PlaywrightError as error:
        shown = f"no screenshot: {error}"
    return "\n".join([notebook.path, shown, "console:", *notebook.console[-40:]])


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """One Jupyter server for the session."""
    server = JupyterServer(tmp_path_factory.mktemp("jupyter"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[JupyterServer]:
    """A Jupyter server of this test alone, which may stop and start it."""
    server = JupyterServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium for the session; each page has a context of its own."""
    executable = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=launch_arguments(), headless=True
        )
        yield browser
        browser.close()


@pytest.fixture
def proxy(jupyter: JupyterServer) -> Iterator[Proxy]:
    """Proxy in front of the server, without delay at first; give it to `notebook`."""
    with Proxy(jupyter.port) as running:
        yield running


@pytest.fixture(scope="session")
def used_pages() -> dict[PageKind, Page]:
    """Pages with JupyterLab and no notebook, left by earlier tests."""
    return {}


@pytest.fixture
def notebook(
    request: pytest.FixtureRequest,
    jupyter: JupyterServer,
    chromium: Browser,
    used_pages: dict[PageKind, Page],
) -> Iterator[OpenNotebook]:
    """Open notebooks; after the test they are closed and their kernels shut down."""
    opened: list[Notebook] = []
    kinds: list[PageKind | None] = []
    request.node.stash[_OPENED] = opened

    def open_notebook(
        cells: Sequence[str] | None = None,
        *,
        app: App = "lab",
        dpr: float = 1.0,
        theme: Theme = "light",
        comms: Comms = "perCommTarget",
        has_touch: bool = False,
        proxy: Proxy | None = None,
        server: JupyterServer | None = None,
        fresh: bool = False,
        **options: Any,
    ) -> Notebook:
        is_common = app == "lab" and proxy is None and server is None
        kind = (theme, dpr, comms, has_touch) if is_common else None
        page = used_pages.pop(kind, None) if kind and cells is not None and not fresh else None
        made = Notebook(
            server or jupyter, chromium, cells, app=app, dpr=dpr, theme=theme, comms=comms,
            has_touch=has_touch, proxy=proxy, page=page, **options,
        )  # fmt: skip
        opened.append(made)
        kinds.append(kind)
        made.open()
        return made

    yield open_notebook
    has_failed = request.node.stash.get(_FAILED, False)
    for made, kind in zip(opened, kinds, strict=True):
        can_stay = kind is not None and kind not in used_pages and not has_failed
        page = made.release() if can_stay else None
        if kind is not None and page is not None:
            used_pages[kind] = page
        else:
            made.close()
    jupyter.shut_down_kernels()
    for made in opened:
        (made.server.root / made.path).unlink(missing_ok=True)
