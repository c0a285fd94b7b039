"""The kpwidget command: exit codes, the demo's folder and server, what the doctor finds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kpwidget import __version__, cli

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As after `pip install kpwidget`: notebooks inside the package, no checkout around it."""
    package = tmp_path / "site-packages" / "kpwidget"
    (package / "notebooks").mkdir(parents=True)
    for name in ("01_quickstart.ipynb", "02_more.ipynb"):
        (package / "notebooks" / name).write_text(json.dumps(NOTEBOOK))
    monkeypatch.setattr(cli, "__file__", str(package / "cli.py"))
    monkeypatch.chdir(tmp_path)
    return package


def labextensions(prefix: Path, **versions: str) -> Path:
    """A prefix with these front ends; ``manager`` stands for the one of ipywidgets."""
    for name, version in versions.items():
        name = {"manager": "@jupyter-widgets/jupyterlab-manager"}.get(name, name)
        folder = prefix / "share" / "jupyter" / "labextensions" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))
    return prefix


# --- the command --------------------------------------------------------------------------------


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"kpwidget {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param([], id="no command"),
        pytest.param(["annotate"], id="unknown command"),
        pytest.param(["demo", "--port", "eight"], id="port not a number"),
    ],
)
def test_bad_arguments_cannot_run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert "usage: kpwidget" in capsys.readouterr().err


def test_the_command_is_installed() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="kpwidget")
    assert entry.load() is cli.main


# --- demo ---------------------------------------------------------------------------------------


def test_demo_without_jupyterlab_names_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jupyterlab" else real(name)
    )
    assert cli.main(["demo"]) == 2
    error = capsys.readouterr().err
    assert "the demo needs jupyterlab, not installed" in error
    assert f'{sys.executable} -m pip install "kpwidget[demo]"' in error


def test_demo_in_a_checkout_opens_notebooks_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_quickstart.ipynb").write_text(json.dumps(NOTEBOOK))
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "kpwidget" / "cli.py"))
    monkeypatch.chdir(tmp_path)
    assert cli.prepare_notebooks(None) == tmp_path / "notebooks"
    assert not (tmp_path / "kpwidget-demo").exists()


def test_demo_copies_the_packaged_notebooks(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = cli.prepare_notebooks(None)
    assert target == tmp_path / "kpwidget-demo"
    names = ["01_quickstart.ipynb", "02_more.ipynb"]
    assert sorted(path.name for path in target.iterdir()) == names
    for name in names:
        assert (target / name).read_bytes() == (installed / "notebooks" / name).read_bytes()
    assert f"copied to {target}: 01_quickstart.ipynb, 02_more.ipynb" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_demo_keeps_what_is_there_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "work" / "01_quickstart.ipynb"
    mine.parent.mkdir()
    mine.write_text("my own labels")
    assert cli.prepare_notebooks(Path("work")) == tmp_path / "work"
    assert mine.read_text() == "my own labels"
    out = capsys.readouterr().out
    assert f"kept as they are in {tmp_path / 'work'}: 01_quickstart.ipynb" in out
    assert "copied to" in out
    assert "02_more.ipynb" in out


def test_demo_with_incomplete_installation_cannot_run(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed / "notebooks" / "01_quickstart.ipynb").unlink()
    assert cli.main(["demo", "--no-browser"]) == 2
    assert "no 01_quickstart.ipynb in" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_demo_into_a_place_that_is_no_folder_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    assert cli.main(["demo", "--dir", "taken"]) == 2
    error = capsys.readouterr().err
    assert f"cannot put the notebooks into {tmp_path / 'taken'}" in error
    assert "--dir DIR" in error


@contextmanager
def running_demo(folder: Path, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real server on notebooks in `folder`; stopped as Ctrl+C stops it."""
    folder.mkdir()
    (folder / "01_quickstart.ipynb").write_text(json.dumps(NOTEBOOK))
    runtime = folder.parent / "runtime"
    environ = {k: v for k, v in os.environ.items() if k not in ("BROWSER", "DISPLAY")}
    environ |= {"JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_CONFIG_DIR": str(runtime), **env}
    root = Path(cli.__file__).resolve().parent.parent
    environ["PYTHONPATH"] = str(root)
    code = "import sys; from kpwidget import cli; cli.serve(cli.Path(sys.argv[1]), None, True)"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-u", "-c", code, str(folder)],
            env=environ, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield server
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(45)
            finally:
                server.kill()


def wait_for(path: Path, text: str, timeout: float = 60) -> str:
    """Content of a file once it has `text`."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if path.exists() and text in path.read_text(errors="replace"):
            return path.read_text(errors="replace")
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in {path}:\n{path.read_text() if path.exists() else ''}")


def test_demo_opens_the_browser_at_the_notebook(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    log = tmp_path / "log"
    with running_demo(tmp_path / "demo", log, BROWSER=str(browser)) as server:
        url = wait_for(tmp_path / "opened", "\n").strip()
        assert url.startswith("http://127.0.0.1:")
        assert "/lab/tree/01_quickstart.ipynb?token=" in url
        with urllib.request.urlopen(url, timeout=20) as page:  # the token lets us in
            assert page.status == 200
            assert "JupyterLab" in page.read().decode()
        contents = url.replace("/lab/tree/", "/api/contents/")
        with urllib.request.urlopen(contents, timeout=20) as reply:
            assert json.load(reply)["path"] == "01_quickstart.ipynb"
        wait_for(log, "Opened the quickstart in the browser")
    assert server.returncode == 0, log.read_text()


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"BROWSER": "/nonexistent/browser"}, id="browser that does not start"),
        pytest.param({}, id="no display, no BROWSER"),
    ],
)
def test_demo_prints_the_address_when_no_browser_opens(tmp_path: Path, env: dict[str, str]) -> None:
    if sys.platform in ("darwin", "win32"):
        pytest.skip("there is always a default browser to try on this system")
    path = tmp_path / "bin"  # no browser on the PATH either
    path.mkdir()
    log = tmp_path / "log"
    with running_demo(tmp_path / "demo", log, PATH=str(path), **env):
        said = wait_for(log, "Stop with Ctrl+C.")
    before, _, after = said.partition("No browser could be opened. Open this address yourself:\n")
    assert before
    assert after.strip().startswith("http://127.0.0.1:")
    assert "/lab/tree/01_quickstart.ipynb?token=" in after


# --- doctor -------------------------------------------------------------------------------------


def test_doctor_reports_as_json_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["version"] == __version__
    statuses = {check["name"]: check["status"] for check in report["checks"]}
    assert {"Python", "ipycanvas", "anywidget", "widget bundle", "kernel"} <= set(statuses)
    assert report["ok"] is ("problem" not in statuses.values())
    assert code == (0 if report["ok"] else 1)

    assert cli.main(["doctor"]) == code
    printed = capsys.readouterr().out
    for check in report["checks"]:
        assert check["found"] in printed


def test_doctor_finds_nothing_wrong_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "server_prefixes", set)  # whatever else runs on this machine
    code = cli.main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    problems = [check for check in checks if check["status"] == "problem"]
    assert problems == []
    assert code == 0


def test_doctor_finds_a_package_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.13.3" if name == "ipycanvas" else real(name)
    )
    found = {check.name: check for check in cli.check_packages()}
    assert found["ipycanvas"].status == "problem"
    assert found["ipycanvas"].found == "0.13.3, needs <0.15,>=0.14.3"
    assert found["ipycanvas"].hint.endswith('-m pip install "ipycanvas<0.15,>=0.14.3"')
    assert found["anywidget"].status == "ok"


def test_doctor_finds_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "anywidget":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {check.name: check for check in cli.check_packages()}
    assert found["anywidget"].status == "problem"
    assert found["anywidget"].found == "not installed, needs <0.12,>=0.11"


@pytest.mark.parametrize(
    ("js", "status", "found"),
    [
        pytest.param(None, "problem", "no widget.js in", id="missing"),
        pytest.param("", "problem", "no widget.js in", id="empty"),
        pytest.param("x" * 1500, "ok", "widget.js 1.5 kB", id="there"),
    ],
)
def test_doctor_looks_at_the_bundle(
    installed: Path, js: str | None, status: str, found: str
) -> None:
    static = installed / "widget" / "static"
    static.mkdir(parents=True)
    (static / "widget.css").write_text("a")
    if js is not None:
        (static / "widget.js").write_text(js)
    check = cli.check_bundle()
    assert check.status == status
    assert found in check.found


def test_doctor_finds_a_missing_front_end(tmp_path: Path) -> None:
    here = importlib.metadata.version("anywidget")
    prefix = labextensions(tmp_path, manager="5.0.16", anywidget=here)
    found = cli.find_labextensions([prefix / "share" / "jupyter" / "labextensions"])
    checks = {check.name: check for check in cli.check_front_ends(prefix, found)}
    assert checks["front end anywidget"].status == "ok"
    assert checks["front end @jupyter-widgets/jupyterlab-manager"].status == "ok"
    missing = checks["front end ipycanvas"]
    assert missing.status == "problem"
    assert f"{prefix}/bin/python -m pip install" in missing.hint
    assert "JupyterHub" in missing.hint


def test_doctor_finds_a_front_end_of_another_version(tmp_path: Path) -> None:
    prefix = labextensions(tmp_path, manager="5.0.16", anywidget="0.9.21", ipycanvas="0.14.99")
    found = cli.find_labextensions([prefix / "share" / "jupyter" / "labextensions"])
    checks = {check.name: check for check in cli.check_front_ends(prefix, found)}
    assert checks["front end anywidget"].status == "problem"
    assert "0.9.21" in checks["front end anywidget"].found
    assert checks["front end ipycanvas"].status == "ok", "a patch version makes no difference"


def test_doctor_looks_into_the_environment_of_a_server_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    hub = labextensions(tmp_path / "hub", manager="5.0.16")
    monkeypatch.setattr(cli, "server_prefixes", lambda: {hub, Path(sys.prefix)})
    checks = list(cli.check_servers())
    assert [(check.name, check.status) for check in checks] == [
        ("front end anywidget (Jupyter server)", "problem"),
        ("front end ipycanvas (Jupyter server)", "problem"),
        ("Jupyter server", "note"),
    ]
    assert f"{hub}/bin/python -m pip install" in checks[0].hint


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux tells where a process lives")
def test_doctor_knows_the_server_that_started_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    python = tmp_path / "hub" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    # Its command line is all that is looked at: a venv's interpreter, and a word of Jupyter.
    with subprocess.Popen(
        [str(python), "-c", "import sys; sys.stdin.read()", "jupyter-lab"], stdin=subprocess.PIPE
    ) as server:
        # The system shows a command line only a moment after the process is there.
        wait_for(Path(f"/proc/{server.pid}/cmdline"), "jupyter-lab")
        monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
        assert cli.server_prefixes() == {tmp_path / "hub"}
        assert server.stdin is not None
        server.stdin.close()
    assert cli.server_prefixes() == set(), "ended: not among the running ones"


@pytest.mark.parametrize(
    ("version", "status", "found"),
    [
        pytest.param("7.4.0", "ok", "also while a cell runs", id="subshells"),
        pytest.param("6.29.5", "note", "edits wait until the running cell is done", id="none"),
    ],
)
def test_doctor_tells_about_subshells(
    version: str, status: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    check = cli.check_subshells()
    assert check.status == status
    assert found in check.found
