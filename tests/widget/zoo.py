"""A small dataset in which everything differs that a viewer can ask for, and queries for it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kpwidget as kp
from kpwidget.dataset import Dataset

#: A name that would run code if it were taken for markup.
HOSTILE = "<img src=x onerror=alert(1)>.png"
#: File names and sizes of the images, in the order of the dataset.
IMAGES = {
    "b/Beach.png": (64, 48),
    "a/axe.png": (32, 24),
    "c/empty.png": (100, 10),
    HOSTILE: (40, 40),
    "a/axe2.png": (64, 48),
}


def picture(width: int, height: int, value: int = 90) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def zoo(folder: Path) -> Dataset:
    """Five images with five instances, read from a COCO file and then added to.

    ========  =====  ========  =======  =====  =========  ======  =======
    uid       image  category  labeled  score  annotator  size    note
    ========  =====  ========  =======  =====  =========  ======  =======
    whole     0      face      4        0.9    ada        10      1 occluded
    stick     0      stick     2        0.2    bob        34.64   box 30 x 40
    dot       1      face      1        0.5    bob        1
    (crowd)   3      face      2                          12      box 16 x 9
    bare      4      stick     0        0.7    cy
    ========  =====  ========  =======  =====  =========  ======  =======
    """
    for name, (width, height) in IMAGES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(width, height))
    labels = {
        "images": [
            {"id": 10 + i, "file_name": name, "width": size[0], "height": size[1]}
            for i, (name, size) in enumerate(IMAGES.items())
        ],
        "categories": [
            {
                "id": 1,
                "name": "face",
                "keypoints": ["top", "left", "right", "bottom"],
                "skeleton": [[1, 2], [1, 3]],
            },
            {"id": 2, "name": "stick", "keypoints": ["head", "tip"], "skeleton": [[1, 2]]},
        ],
        "annotations": [
            {
                "id": 5,
                "image_id": 13,
                "category_id": 1,
                "iscrowd": 1,
                "bbox": [0, 0, 16, 9],
                "area": 144,
                "keypoints": [3, 4, 1, 5, 6, 2, 0, 0, 0, 0, 0, 0],
                "num_keypoints": 2,
            }
        ],
    }
    (folder / "labels.json").write_text(json.dumps(labels))
    dataset = kp.read(folder / "labels.json")
    whole = [[10, 10, 2], [5, 15, 1], [15, 15, 2], [10, 20, 2]]
    dataset.add_instance(0, "face", whole, uid="whole", score=0.9, annotator="ada")
    dataset.add_instance(
        0, "stick", [[0, 0, 2], [30, 40, 2]], uid="stick", score=0.2, annotator="bob", track_id=7
    )
    dataset.add_instance(1, "face", {"top": (7, 8)}, uid="dot", score=0.5, annotator="bob")
    dataset.add_instance(4, "stick", uid="bare", score=0.7, annotator="cy")
    return dataset


def query(**changes: Any) -> dict[str, Any]:
    """A query as the browser sends it: everything, but for what is given."""
    everything = {
        "text": "",
        "category": "",
        "keypoint": "",
        "visibility": "labeled",
        "annotator": "",
        "instances": [0, None],
        "labeled": [0, None],
        "size": [0, None],
        "score": None,
        "picked": False,
        "sort": "position",
        "descending": False,
    }
    return {**everything, **changes}
