"""The kpwidget command: exit codes, the demo, the doctor, and what is done to labels files."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kpwidget import __version__, cli, schemas

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


def test_demo_in_a_checkout_leaves_its_notebooks_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkout"
    tracked = root / "notebooks" / "01_quickstart.ipynb"
    tracked.parent.mkdir(parents=True)
    tracked.write_text(json.dumps(NOTEBOOK))
    (root / "pyproject.toml").touch()
    shutil.copyfile(Path(__file__).parents[1] / ".gitignore", root / ".gitignore")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    monkeypatch.setattr(cli, "__file__", str(root / "kpwidget" / "cli.py"))
    monkeypatch.chdir(tmp_path)
    target = cli.prepare_notebooks(None)
    assert target == root / "kpwidget-demo"
    (target / "01_quickstart.ipynb").write_text("worked in")
    assert tracked.read_text() == json.dumps(NOTEBOOK)
    said = ["git", "status", "--porcelain", "--untracked-files=all"]
    status = subprocess.run(said, cwd=root, check=True, capture_output=True, text=True).stdout
    assert "01_quickstart.ipynb" in status  # added, as in the checkout
    assert "kpwidget-demo" not in status


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


# --- labels files -------------------------------------------------------------------------------


def image(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 100, "height": 80, "license": 1}


def bolt(number: int, image_id: int, *keypoints: float, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": 1, "keypoints": list(keypoints),
            "num_keypoints": sum(v > 0 for v in keypoints[2::3]), "bbox": [1, 1, 50, 50],
            "area": 2500, "iscrowd": 0, **more}  # fmt: skip


BOLT = {"id": 1, "name": "bolt", "keypoints": ["head", "tip"], "skeleton": [[1, 2]]}


def labels(path: Path, **changes: Any) -> Path:
    """Three images, two of them with one bolt each, that ``a.png`` has a file of."""
    path.parent.mkdir(exist_ok=True)
    content = {
        "images": [image(1, "a.png"), image(2, "b.png"), image(3, "c.png")],
        "annotations": [bolt(1, 1, 2, 3, 2, 4, 5, 1), bolt(2, 2, 6, 7, 2, 0, 0, 0, note="x")],
        "categories": [BOLT],
        **changes,
    }
    path.write_text(json.dumps(content))
    Image.new("RGB", (100, 80)).save(path.parent / "a.png")
    return path


def run(*argv: object) -> int:
    return cli.main([str(part) for part in argv])


def run_json(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any]]:
    """Exit code, and what was said as JSON."""
    code = run(*argv, "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is (code == 0)
    return code, said


def test_info_tells_what_is_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = labels(tmp_path / "labels.json")
    assert run("info", path) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        f"file            {path} ({path.stat().st_size} bytes)",
        "format          coco",
        "images          3 (1 found, 2 missing): no file 'b.png', 'c.png'",
        "instances       2 in 2 images",
        "category        'bolt' (id 1): 2 instances, 2 keypoints, 1 edge: head, tip",
        "keypoints       2 visible, 1 occluded, 1 unlabeled",
        "unknown fields  images: license (3)",
        "unknown fields  annotations: note (1)",
    ]
    code, said = run_json(capsys, "info", path)
    assert code == 0
    missing = ["b.png", "c.png"]
    assert said["images"] == {"n": 3, "found": 1, "missing": missing, "folder": None}
    assert said["keypoints"] == {"visible": 2, "occluded": 1, "unlabeled": 1}
    assert said["unknown_fields"] == {"images": {"license": 3}, "annotations": {"note": 1}}
    assert said["categories"] == [
        {"id": 1, "name": "bolt", "keypoints": ["head", "tip"], "n_edges": 1, "n_instances": 2}
    ]


def test_info_tells_of_many_categories_with_the_same_keypoints_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json")
    content = json.loads(path.read_text())
    (bolt,) = content["categories"]
    content["categories"] += [dict(bolt, id=2 + i, name=f"bolt {i}") for i in range(9)]
    content["annotations"][0]["category_id"] = 5
    path.write_text(json.dumps(content))
    assert run("info", path) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "categor" in line] == [
        "categories      10 with the same 2 keypoints, 1 edge: head, tip; "
        "2 of them with instances: 'bolt' 1, 'bolt 3' 1"
    ]


@pytest.mark.parametrize("name", ["labels.json", "annotations/labels.json"])
def test_info_hints_at_the_folder_of_missing_images(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / name)
    (tmp_path / "empty").mkdir()
    folder = tmp_path / "photos"
    folder.mkdir()
    (path.parent / "a.png").rename(folder / "a.png")
    assert run("info", path) == 0
    assert f"{folder} has such files: pass --images {folder}\n" in capsys.readouterr().out
    assert run_json(capsys, "info", path)[1]["images"]["folder"] == str(folder)
    assert run("info", path, "--images", folder) == 0
    assert "pass --images" not in capsys.readouterr().out


def test_convert_from_a_folder_says_where_the_images_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json", images=[image(1, "a.png")], annotations=[])
    yolo = tmp_path / "yolo"
    assert run("convert", path, yolo, "--to", "yolo-pose", "--allow-loss") == 0
    assert "relative to" not in capsys.readouterr().out
    back = tmp_path / "back.json"
    assert run("convert", yolo, back, "--to", "coco") == 0
    note = f"file names of images are relative to {yolo}: pass --images {yolo} with {back}"
    assert note in capsys.readouterr().out
    assert run_json(capsys, "info", back, "--images", yolo)[1]["images"]["found"] == 1
    assert run("convert", yolo, yolo / "back.json", "--to", "coco") == 0
    assert "relative to" not in capsys.readouterr().out
    assert run_json(capsys, "info", yolo / "back.json")[1]["images"]["found"] == 1


def test_what_strangers_named_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2Jx\u202egnp.\ud800"
    name = evil.removesuffix("\ud800")  # half of a pair is no name of a category
    category = {**BOLT, "name": name, "keypoints": ["a\nb", "t\x07"]}
    path = labels(tmp_path / "labels.json", images=[image(1, evil), image(2, "b")],
                  categories=[category])  # fmt: skip
    assert run("info", path) == 0
    assert run("check", path, "--images", tmp_path) == 1
    assert run("roundtrip", path) == 0
    text = capsys.readouterr().out
    assert "\\x1b[2Jx\\u202egnp.\\ud800" in text
    assert not {"\x1b", "\x07", "\u202e", "\ud800"} & set(text)
    assert "a\nb" not in text
    assert run_json(capsys, "info", path)[1]["categories"][0]["name"] == name


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["info", "none.json"], "none.json: there is no such file", id="missing"),
        pytest.param(["info", "bad.json"], "bad.json", id="no JSON"),
        pytest.param(["info", "notes.txt"], "no format has files that end in '.txt'", id="ending"),
        pytest.param(["info", "x.json", "--format", "voc"], "unknown format 'voc'", id="format"),
        pytest.param(
            ["info", "broken.json"], "annotation 2 .*'image_id' is 9, no image has", id="records"
        ),
        pytest.param(
            ["convert", "x.json", "x.json", "--to", "coco"], "x.json: is the source", id="source"
        ),
        pytest.param(
            ["convert", "x.json", "notes.txt", "--to", "coco"], "exists already.*--overwrite",
            id="exists",
        ),
        pytest.param(
            ["convert", "x.json", "y.json", "--to", "coco", "--split", "a=.5,b=.5"],
            "format 'coco' has no parts; kpwidget split", id="no parts",
        ),
        pytest.param(
            ["split", "x.json", "--parts", "a=.5,b=.4", "-o", "parts"],
            r"the ratios 0.5 \+ 0.4 have the sum 0.9, expected 1", id="sum",
        ),
        pytest.param(
            ["split", "x.json", "--parts", "a=@no.txt,b=rest", "-o", "parts"],
            "--parts a=@no.txt: expected @FILE, a text file with the file name of one image per "
            r"line; 'no.txt' cannot be read \(No such file", id="list",
        ),
        pytest.param(
            ["convert", "x.json", "yolo", "--to", "yolo-pose", "--allow-loss"],
            "the files of 2 images are missing; pass --images DIR to say where they are, or "
            "--image-files leave to write labels only", id="image files",
        ),
        pytest.param(
            ["info", "notes.txt"], "pass --format, one of: 'coco' ", id="options of the shell"
        ),
        pytest.param(
            ["info", "broken.json"], "--on-error skip leaves them out", id="on error"
        ),
        pytest.param(
            ["info", "x.json", "--format", "yolo-pose"],
            r"is no YOLO data file \(data.yaml\): expected keys such as 'kpt_shape', 'names' "
            "and 'train', got 'images', .*; COCO files are read with --format coco", id="no YOLO",
        ),
        pytest.param(
            ["info", "nothing.json"], "holds {}, an empty object: no labels. A COCO", id="object"
        ),
        pytest.param(
            ["info", "empty.json"], "is an empty list; .* as COCO results it would be no pred",
            id="list",
        ),
        pytest.param(
            ["info", "list.json"], "is a list; .* --format coco-results and --ground-truth FILE",
            id="a list",
        ),
        pytest.param(["merge", "x.json", "-o", "y.json"], "two files or more", id="one file"),
        pytest.param(
            ["merge", "x.json", "other.json", "-o", "y.json"],
            "category 'bolt' has 2 keypoints here and 1 there .*--rename bolt='another name'",
            id="categories",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_message(
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    labels(tmp_path / "x.json")
    labels(tmp_path / "broken.json", annotations=[bolt(2, 9, 1, 1, 2, 2, 2, 2)])
    labels(
        tmp_path / "other.json", annotations=[], categories=[{**BOLT, "keypoints": ["hole"],
                                                              "skeleton": []}]
    )  # fmt: skip
    (tmp_path / "bad.json").write_text("{oops")
    for name, text in {"nothing": "{}", "empty": "[]", "list": "[1]"}.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "notes.txt").write_text("notes")
    before = sorted(tmp_path.iterdir())
    assert run(*argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kpwidget: ")
    assert re.search(message, said.err, re.DOTALL)
    assert "Traceback" not in said.err
    code, as_json = run_json(capsys, *argv)
    assert code == 2
    assert re.search(message, as_json["error"], re.DOTALL)
    assert sorted(tmp_path.iterdir()) == before, "nothing was written"


@pytest.mark.parametrize("parts", ["train", "train=", "train=x", "a=.5,a=.5", "../a=1", "a=.5,,"])
def test_parts_are_checked_when_they_are_read(
    parts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["split", "x.json", "--parts", parts, "-o", "out"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "argument --parts" in said
    assert "@FILE" in said or parts not in ("train", "train=")


def test_check_lists_all_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = labels(
        tmp_path / "labels.json",
        annotations=[
            bolt(1, 1, 200, 3, 2, 4, 5, 1),
            bolt(2, 9, 1, 1, 2, 2, 2, 2),
            bolt(3, 2, 1, 1, 2),
            bolt(4, 2, 0, 0, 0, 0, 0, 0),
        ],
    )
    assert run("check", path) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("reading: annotation 2 (number 2 in the file): 'image_id' is 9")
    assert out[1].startswith("reading: annotation 3 (number 3 in the file): 'keypoints' has 3")
    assert out[2:] == [
        "image 'a.png', instance 'coco:1', keypoint 'head': (200, 3) is outside the image of "
        "100 x 80 px",
        "problem: 2 errors on reading",
        "problem: 1 keypoint outside the image",
        "note: 1 instance without a labeled keypoint",
        f"{path}: 3 images, 2 instances, 3 problems",
    ]
    code, said = run_json(capsys, "check", path)
    assert code == 1
    kinds = [problem["kind"] for problem in said["problems"]]
    assert kinds == ["error on reading"] * 2 + ["keypoint outside the image"]
    assert said["problems"][2]["keypoint"] == "head"
    assert [(note["instance"], note["level"]) for note in said["notes"]] == [("coco:4", "note")]
    assert run("check", path, "--limit", "1") == 1
    assert "... and 2 more (--limit 0 shows all)" in capsys.readouterr().out


def test_check_counts_what_is_mostly_nothing_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [bolt(i, 1, 0, 0, 0, 0, 0, 0, bbox=[1, 1, 99.004, 50]) for i in (1, 2)]
    path = labels(tmp_path / "labels.json", annotations=boxes)
    assert run("check", path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: 2 instances without a labeled keypoint",
        f"{path}: 3 images, 2 instances, no problem",
    ]


def test_check_of_a_good_file_finds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json")
    assert run("check", path) == 0
    assert capsys.readouterr().out == f"{path}: 3 images, 2 instances, no problem\n"


def test_check_quality_tells_each_finding_once_and_fails_for_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json", annotations=[bolt(1, 1, 200, 3, 2, 4, 5, 1)])
    assert run("check", path, "--quality") == 1
    out = capsys.readouterr().out
    assert out.startswith(
        "error (visibility): image 'a.png', instance 'coco:1', keypoint 'head': (200, 3) is outside"
    )
    assert out.count("outside the image") == 1
    assert "1 instance, 1 error, 3 notes" in out
    code, said = run_json(capsys, "check", path, "--quality")
    assert (code, said["problems"]) == (1, [])
    assert [one["severity"] for one in said["findings"]].count("error") == 1
    assert said["findings"][0]["value"] == 100


def test_check_quality_does_not_fail_for_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json", annotations=[bolt(1, 1, 200, 3, 1, 4, 5, 1)])
    assert run("check", path) == 1
    assert run("check", path, "--quality") == 0
    assert "warning (visibility): image 'a.png'" in capsys.readouterr().out


def test_check_with_images_looks_at_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json")
    Image.new("RGB", (60, 80)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    code, said = run_json(capsys, "check", path, "--images", tmp_path)
    assert code == 1
    found = {problem["image"]: problem["what"] for problem in said["problems"]}
    assert found["b.png"] == "the labels say 100 x 80 px, the file is 60 x 80 px"
    assert set(found) == {"b.png", "c.png"}
    (tmp_path / "c.png").unlink()
    assert run("check", path, "--images", tmp_path) == 1
    assert "image 'c.png': there is no such file" in capsys.readouterr().out


def test_check_of_a_file_that_is_no_labels_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"images": 3, "categories": []}')
    assert run("check", path) == 1
    assert "reading: not a COCO file: 'images' is int, expected a list" in capsys.readouterr().out


def test_roundtrip_certifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = labels(tmp_path / "labels.json")
    assert run("roundtrip", path) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path} (coco): nothing lost, the same bytes",
        "32 fields compared, every value the same; --all shows all",
    ]
    assert run("roundtrip", path, "--all") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3 + 32
    code, said = run_json(capsys, "roundtrip", path, "--to", "yolo-pose")
    assert (code, said["is_identical"]) == (1, False)
    lost = {field["field"]: field["n_lost"] for field in said["fields"]}
    assert (lost["annotation field 'note'"], lost["instances"]) == (1, 0)


def test_convert_says_what_would_be_lost_and_writes_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = labels(tmp_path / "labels.json"), tmp_path / "yolo"
    argv = ["convert", path, target, "--to", "yolo-pose", "--image-files", "leave"]
    assert run(*argv) == 1
    said = capsys.readouterr()
    assert "not written, format 'yolo-pose' has no place for all of it" in said.err
    assert "'note'" in said.err
    assert "--allow-loss" in said.err
    assert not target.exists()
    code, refused = run_json(capsys, *argv)
    assert code == 1
    assert any("'note'" in loss["text"] for loss in refused["losses"])
    code, report = run_json(capsys, *argv, "--allow-loss", "--split", "train=.67,val=.33")
    assert (code, report["n_images"], report["n_instances"]) == (0, 3, 2)
    assert {loss["what"] for loss in report["losses"]} >= {"note"}
    found = sorted(p.relative_to(target).as_posix() for p in target.rglob("labels/*/*.txt"))
    # a: 2/100, 3/80, 2 and 4/100, 5/80, 1; box 1..51 of 100 and of 80.
    (line,) = next(target.rglob("a.txt")).read_text().splitlines()
    assert line.split()[0] == "0"
    assert [float(word) for word in line.split()[1:]] == pytest.approx(
        [0.26, 0.325, 0.5, 0.625, 0.02, 0.0375, 2, 0.04, 0.0625, 1]
    )
    assert [name.rpartition("/")[2] for name in found] == ["a.txt", "b.txt"]
    assert run(*argv, "--allow-loss") == 2, "it is there now"


def test_schema_gives_what_the_labels_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco17 = schemas.get("coco17")
    person = {"id": 1, "name": "person", "keypoints": list(coco17.keypoints), "skeleton": []}
    path = labels(tmp_path / "labels.json", images=[image(1, "a.png")], categories=[person],
                  annotations=[bolt(1, 1, *[3, 4, 2] * 17)])  # fmt: skip
    argv = ["--to", "yolo-pose", "--allow-loss"]
    assert run("convert", path, tmp_path / "plain", *argv) == 0
    said = capsys.readouterr().out
    assert "the keypoints are those of 'coco17', which has flip pairs" in said
    assert "--schema coco17" in said
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(coco17.to_metadata()))
    for i, schema in enumerate(["coco17", mine]):
        assert run("convert", path, tmp_path / f"yolo{i}", *argv, "--schema", schema) == 0
        assert "flip_idx" in (tmp_path / f"yolo{i}" / "data.yaml").read_text()
    assert "flip_idx" not in capsys.readouterr().out
    assert run("info", path, "--schema", "coco18") == 2
    assert "expected a built-in schema (coco17, " in capsys.readouterr().err


def test_convert_leaves_out_bad_records_when_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json", annotations=[bolt(1, 1, 2, 3, 2, 4, 5, 1),
                                                         bolt(2, 9, 1, 1, 2, 2, 2, 2)])  # fmt: skip
    target = tmp_path / "out.json"
    assert run("convert", path, target, "--to", "coco") == 2
    assert not target.exists()
    capsys.readouterr()
    assert run("convert", path, target, "--to", "coco", "--on-error", "skip") == 0
    said = capsys.readouterr()
    assert "kpwidget: warning:" in said.err
    assert "1 bad record left out" in said.err
    assert "3 images and 1 instance written as coco" in said.out
    assert target.exists()


def test_merge_writes_both_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = labels(tmp_path / "one" / "labels.json")
    second = labels(
        tmp_path / "two" / "labels.json",
        images=[image(1, "a.png"), image(2, "d.png")],
        annotations=[bolt(1, 1, 2, 3, 2, 4, 5, 1), bolt(2, 2, 9, 9, 2, 8, 8, 2)],
    )
    out = tmp_path / "both.json"
    code, said = run_json(capsys, "merge", first, second, "-o", out)
    assert (code, said["n_images"], said["n_instances"]) == (0, 4, 3)
    assert said["merged"][0]["duplicates"] == [{"ours": "coco:1", "theirs": "coco:1"}]
    content = json.loads(out.read_text())
    assert [(i["id"], i["file_name"]) for i in content["images"]] == [
        (1, "a.png"), (2, "b.png"), (3, "c.png"), (4, "d.png"),
    ]  # fmt: skip
    assert [(a["id"], a["image_id"]) for a in content["annotations"]] == [(1, 1), (2, 2), (3, 4)]
    # The same annotation with another location: ours is kept, and the command says so.
    labels(second, annotations=[bolt(1, 1, 2.5, 3, 2, 4, 5, 1)])
    assert run("merge", first, second, "-o", out, "--overwrite") == 1
    said_text = capsys.readouterr().out
    assert "1 conflict, same uid and other values:" in said_text
    assert "'coco:1' in image 'a.png': keypoints differ; kept as here" in said_text
    assert run("merge", first, second, "-o", out, "--overwrite", "--on-conflict", "both") == 0
    assert len(json.loads(out.read_text())["annotations"]) == 3


def test_split_writes_a_file_for_each_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labels(tmp_path / "labels.json", images=[image(i, f"{i}.png") for i in range(1, 11)])
    out = tmp_path / "parts"
    argv = ["split", path, "--parts", "train=.8,val=.2", "--seed", "3", "-o", out]
    code, said = run_json(capsys, *argv)
    assert (code, [part["n_images"] for part in said["parts"]]) == (0, [8, 2])
    names = {
        part: [i["file_name"] for i in json.loads((out / f"{part}.json").read_text())["images"]]
        for part in ("train", "val")
    }
    assert sorted(names["train"] + names["val"]) == sorted(f"{i}.png" for i in range(1, 11))
    assert run(*argv) == 2
    assert "train.json" in capsys.readouterr().err
    assert run(*argv, "--overwrite") == 0
    listed = tmp_path / "val.txt"
    listed.write_text("3.png\n\n7.png\n")
    capsys.readouterr()
    argv = ["split", path, "--parts", f"val=@{listed},train=rest", "-o", tmp_path / "listed"]
    assert run(*argv) == 0
    val = json.loads((tmp_path / "listed" / "val.json").read_text())
    assert [i["file_name"] for i in val["images"]] == ["3.png", "7.png"]
    assert "8 images and 2 instances written as coco" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["yolo", "yolo/data.yaml"])
def test_split_of_a_format_that_is_a_folder(tmp_path: Path, source: str) -> None:
    path = labels(tmp_path / "labels.json", annotations=[bolt(1, 1, 2, 3, 2, 4, 5, 1)])
    for name in ("b", "c"):
        Image.new("RGB", (100, 80)).save(tmp_path / f"{name}.png")
    assert run("convert", path, tmp_path / "yolo", "--to", "yolo-pose", "--allow-loss") == 0
    out = tmp_path / "parts"
    assert run("split", tmp_path / source, "--parts", "one=.67,two=.33", "-o", out) == 0
    assert sorted(p.name for p in out.rglob("*.png")) == ["a.png", "b.png", "c.png"]
    assert sorted(p.name for p in out.iterdir()) == ["one", "two"]
    assert len(list(out.rglob("a.txt"))) == 1


def test_split_of_predictions(tmp_path: Path) -> None:
    truth, path = labels(tmp_path / "labels.json"), tmp_path / "net.json"
    entry = {"category_id": 1, "keypoints": [1.5, 2, 0.5, 0, 0, 0], "score": 0.5}
    path.write_text(json.dumps([{"image_id": i, **entry} for i in (1, 2, 2)]))
    out = tmp_path / "parts"
    argv = ["--ground-truth", truth, "--parts", "one=.5,two=.5", "-o", out]
    assert run("split", path, *argv) == 0
    first, second = (json.loads((out / f"{name}.json").read_text()) for name in ("one", "two"))
    assert sorted(found["image_id"] for found in first + second) == [1, 2, 2]
    assert all(found.items() >= entry.items() for found in first + second)


def test_merge_refuses_to_rename_what_no_file_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [labels(tmp_path / name / "labels.json") for name in ("one", "two", "three")]
    for files in (paths, paths[:2]):
        argv = ["merge", *files, "-o", tmp_path / "all.json", "--rename"]
        assert run(*argv, "blot=x") == 2
        assert "no file after the first has the category 'blot'" in capsys.readouterr().err
        assert not (tmp_path / "all.json").exists()
        assert run(*argv, "bolt=x") == 0
        (tmp_path / "all.json").unlink()


def test_split_keeps_clips_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{clip}/{clip}_{i}.png" for clip in "abcd" for i in range(5)]
    path = labels(tmp_path / "labels.json", annotations=[],
                  images=[image(i + 1, name) for i, name in enumerate(names)])  # fmt: skip
    out = tmp_path / "parts"
    argv = ["split", path, "--parts", "train=.75,val=.25", "--group", "clip", "-o", out]
    assert run(*argv) == 0
    val = json.loads((out / "val.json").read_text())
    assert len({i["file_name"][0] for i in val["images"]}) == 1
    assert len(val["images"]) == 5
