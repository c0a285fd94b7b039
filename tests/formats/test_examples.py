"""Every example folder, by the command line: told apart, described, certified, converted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kpwidget.cli import main
from tests.formats.examples import EXAMPLES, needs_examples

PLACES = {
    "deeplabcut": "deeplabcut",
    "deeplabcut/labeled-data/clip/CollectedData_labeler.csv": "deeplabcut",
    "deeplabcut-single": "deeplabcut",
    "supervisely": "supervisely",
    "labelme": "labelme",
    "labelme/img1.json": "labelme",
    "via/via_project.json": "via",
    "via/via_annotations.json": "via",
    "datumaro": "datumaro",
    "datumaro-cvat-fork/annotations/train.json": "datumaro",
    "huggingface": "parquet",
    "huggingface-imagefolder": "huggingface",
    "sleap/example.slp": "sleap",
    "nwb/example.nwb": "nwb",
}
NEEDS = {"parquet": "pyarrow", "sleap": "sleap_io", "nwb": "ndx_pose"}
N_INSTANCES = {"deeplabcut-single": 1}


@needs_examples
@pytest.mark.parametrize("place", PLACES)
def test_command_line_knows_it(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = PLACES[place]
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = str(EXAMPLES / place)
    assert main(["info", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == name
    assert told["instances"]["n"] == N_INSTANCES.get(place, 2)
    if name != "parquet":  # the example is in the layout of Hugging Face, which is only read
        assert main(["roundtrip", path, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["ok"]
    target = tmp_path / "out.json"
    assert main(["convert", path, str(target), "--to", "coco", "--json"]) == 0
    written = json.loads(target.read_text())
    assert len(written["annotations"]) == N_INSTANCES.get(place, 2)
    back = tmp_path / "back"
    arguments = ["convert", str(target), str(back), "--to", name, "--format", "coco"]
    code = main([*arguments, "--images", str(EXAMPLES / "images"), "--allow-loss"])
    message = capsys.readouterr().err
    assert code == 0 or "are missing" in message, message
