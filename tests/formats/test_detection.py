"""Which format a file or folder is of, and what is said of those that are of none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import kpwidget as kp
from kpwidget.formats import detect_format
from kpwidget.schema import FormatError

# As Supervisely's SDK writes it: the keys of an annotation of one image.
ANNOTATION = {
    "description": "",
    "size": {"height": 48, "width": 64},
    "tags": [],
    "objects": [{"classTitle": "animal", "geometryType": "graph", "nodes": {}}],
}
# Label Studio's "JSON_MIN", as its documentation shows it.
MIN = [{"image": "/data/a.png", "id": 1, "kp": [{"x": 1, "y": 2, "keypointlabels": ["nose"]}]}]
CONFIG = '<?xml version="1.0"?>\n<!-- mine -->\n<View><Image name="i" value="$image"/></View>'


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("is_project", [True, False])
def test_part_of_a_supervisely_project_is_told_with_the_project(
    is_project: bool, tmp_path: Path
) -> None:
    file = written(tmp_path / "animals" / "ds0" / "ann" / "a.png.json", ANNOTATION)
    project = "which has a meta.json"
    if is_project:
        written(tmp_path / "animals" / "meta.json", {"classes": []})
        project = repr(str(tmp_path / "animals"))
    for path, what in [(file, "the annotation of one image"), (file.parents[1], "a dataset")]:
        with pytest.raises(FormatError) as caught:
            kp.read(path)
        expected = f"{path}: is {what} of a Supervisely project; pass the folder of the project, "
        assert str(caught.value) == expected + project


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param(
            "label_config.xml", CONFIG, "labeling configuration of Label Studio.* pass the JSON",
            id="Label Studio's config",
        ),
        pytest.param("min.json", MIN, "JSON-MIN of Label Studio.* export the", id="JSON-MIN"),
        pytest.param("a.zip", "PK", "is an archive; unpack it", id="archive"),
        pytest.param("a.py", "x = 1", "a Python file has no labels.*read_metainfo", id="Python"),
    ],
)  # fmt: skip
def test_file_that_is_no_labels_file_is_named_with_what_to_pass_instead(
    name: str, content: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=said):
        kp.read(written(tmp_path / name, content))


def test_label_studio_file_whose_first_task_is_large_is_told(tmp_path: Path) -> None:
    # Label Studio's export has 'data' behind 'annotations'.
    region = {"type": "choices", "from_name": "c", "to_name": "i", "value": {"choices": ["x" * 99]}}
    task = {"id": 1, "annotations": [{"id": 1, "result": [region] * 1000}], "data": {"image": "a"}}
    path = written(tmp_path / "tasks.json", [task])
    assert path.stat().st_size > 2 * 65_536
    assert detect_format(path) == "label-studio"


def test_folder_that_no_format_fits_names_its_labels_files(tmp_path: Path) -> None:
    written(tmp_path / "annotations.xml", "<annotations></annotations>")
    with pytest.raises(ValueError, match=r"fits this folder; name a file in it: 'annotations.xml'"):
        kp.read(tmp_path)


def test_parquet_far_below_a_folder_does_not_make_it_a_dataset(
    tmp_path: Path, tiny_dataset: kp.Dataset
) -> None:
    pytest.importorskip("pyarrow")
    labels = tmp_path / "projects" / "mine" / "labels"
    kp.write(tiny_dataset, labels, format="parquet", partition_by="category", allow_loss=True)
    assert detect_format(labels) == detect_format(labels.parent) == "parquet"
    with pytest.raises(ValueError, match="no format fits this folder"):
        detect_format(tmp_path)


def test_labelme_files_in_folders_within_folders_are_told(tmp_path: Path) -> None:
    written(tmp_path / "day 1" / "left" / "a.json", {"shapes": [], "imagePath": "a.png"})
    assert detect_format(tmp_path) == "labelme"


def test_folder_of_two_formats_names_both(tmp_path: Path) -> None:
    written(tmp_path / "data.yaml", "path: .\ntrain: images\nnames: [a]\nkpt_shape: [2, 3]\n")
    written(tmp_path / "a.json", {"shapes": [], "imagePath": "a.png"})
    with pytest.raises(ValueError, match=r"fits several formats; .*'yolo-pose' .*, 'labelme' "):
        detect_format(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        detect_format(tmp_path)
