"""Every notebook runs from top to bottom in a fresh kernel, offline, in less than a minute."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SECONDS = 60

WIDGET = "application/vnd.jupyter.widget-view+json"

# In the kernel every look-up of a name fails, so that nothing can be downloaded unseen.
OFFLINE = """
import socket

def _refuse(host, *args, **kwargs):
    raise OSError(f"this notebook must run offline, but it looked for {host!r}")

socket.getaddrinfo = _refuse
"""

each_notebook = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS]
)


def execute(path: Path, folder: Path) -> tuple[Any, float]:
    """The notebook with its outputs, run in `folder`, and how long that took in seconds."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    start = time.monotonic()
    client.execute()
    seconds = time.monotonic() - start
    del notebook.cells[0]
    return notebook, seconds


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a notebook once for all tests of it; gives notebook, seconds and its folder."""
    known: dict[Path, tuple[Any, float, Path]] = {}

    def run(path: Path) -> tuple[Any, float, Path]:
        if path not in known:
            folder = tmp_path_factory.mktemp(path.stem)
            copy = shutil.copy(path, folder)
            before = os.environ.get("PYTHONPATH")
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), before]))
            try:
                known[path] = (*execute(Path(copy), folder), folder)
            finally:
                if before is None:
                    del os.environ["PYTHONPATH"]
                else:
                    os.environ["PYTHONPATH"] = before
        return known[path]

    return run


def output_types(cell: Any) -> set[str]:
    """MIME types that a cell displays."""
    return {mime for output in cell.outputs for mime in output.get("data", {})}


def text_of(cell: Any) -> str:
    """Plain text that a cell prints or returns."""
    return "".join(
        str(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for output in cell.outputs
    )


def test_the_notebook_that_the_demo_opens_is_there(tmp_path: Path) -> None:
    from kpwidget.cli import FIRST_NOTEBOOK, prepare_notebooks

    copied = prepare_notebooks(tmp_path)
    assert sorted(path.name for path in copied.iterdir()) == [path.name for path in NOTEBOOKS]
    assert FIRST_NOTEBOOK in [path.name for path in NOTEBOOKS]


@each_notebook
def test_outputs_are_stripped(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.source for cell in code if cell.outputs or cell.execution_count] == []
    assert "widgets" not in notebook.metadata


@each_notebook
@pytest.mark.timeout(2 * SECONDS)
def test_runs_offline_in_less_than_a_minute(path: Path, executed: Any) -> None:
    notebook, seconds, _ = executed(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert [o for cell in code for o in cell.outputs if o.get("name") == "stderr"] == []
    assert seconds < SECONDS


@each_notebook
@pytest.mark.timeout(2 * SECONDS)
def test_a_static_picture_follows_each_widget(path: Path, executed: Any) -> None:
    notebook, _, _ = executed(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shows_widget = [WIDGET in output_types(cell) for cell in code]
    shows_picture = ["image/png" in output_types(cell) for cell in code]
    followed = [
        picture
        for widget, picture in zip(shows_widget, [*shows_picture[1:], False], strict=True)
        if widget
    ]
    if not followed:
        pytest.skip("shows no widget")
    assert all(followed)


@pytest.mark.timeout(2 * SECONDS)
def test_quickstart_without_a_click_says_what_to_do_and_writes_coco(executed: Any) -> None:
    from pycocotools.coco import COCO

    notebook, _, folder = executed(REPOSITORY / "notebooks" / "01_quickstart.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(WIDGET in output_types(cell) for cell in code) == 1
    said = "\n".join(text_of(cell) for cell in code)
    assert "No instance yet: click in the picture above" in said
    assert text_of(code[-1]) == "True"  # what was read back equals what was written
    coco = COCO(str(folder / "labels.json"))
    [annotation] = coco.loadAnns(coco.getAnnIds())
    # The four points of the cell that labels by code: three visible, one occluded.
    assert annotation["num_keypoints"] == 4
    assert annotation["keypoints"][:12] == [224, 121, 2, 248, 103, 2, 202, 100, 2, 281, 118, 1]
    assert coco.loadCats(annotation["category_id"])[0]["name"] == "person"


@pytest.mark.timeout(2 * SECONDS)
def test_quality_finds_the_faults_it_has_planted_and_no_other(executed: Any) -> None:
    notebook, _, _ = executed(REPOSITORY / "notebooks" / "05_quality.ipynb")
    said = {c.source: text_of(c) for c in notebook.cells if c.cell_type == "code"}
    all_checks, repaired, events = (
        next(text for source, text in said.items() if source.startswith(beginning))
        for beginning in ("pd.set_option", "kp.quality.repair", "jitter.events")
    )
    planted = ("left_eye", "right_ankle", "None", "left_hip", "nose")
    table = [line.split() for line in all_checks.split("\n\n")[0].splitlines()[1:]]
    assert [row[5] for row in table] == list(planted)
    assert "left_eye" not in repaired
    assert "right_ankle" in repaired
    assert re.findall(r"walk_(\d+)\.png +(\w+) +(\w+)", events) == [
        ("020", "left_wrist", "twitch"),
        ("040", "right_knee", "jump"),
    ]
    everything = "\n".join(said.values())
    assert re.findall(r"(\w+): (two conventions|hard point)", everything) == [
        ("left_hip", "two conventions")
    ]
    [anna, ben] = map(float, re.findall(r"(?:anna|ben): p ([\d.]+)", everything))
    assert anna < 0.05 < ben
