from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import LossError, detect_format
from kpwidget.schema import FormatError
from tests.formats.examples import DATA, EDGES, EXAMPLES, NAMES, needs_data, needs_examples

sio = pytest.importorskip("sleap_io", reason="sleap-io is not installed: kpwidget[sleap]")
h5py = pytest.importorskip("h5py")

FLIES = DATA / "tracks-sleap-flies/centered_pair_predictions.slp"


@needs_examples
def test_example_is_what_the_notes_say() -> None:
    dataset = kp.read(EXAMPLES / "sleap/example.slp")
    assert [image.file_name for image in dataset.images] == ["img1.png", "img2.png"]
    assert dataset.images[0].open().size == (64, 48)
    assert dataset.categories[0].keypoints == NAMES
    assert dataset.categories[0].schema.skeleton == EDGES
    user, predicted = dataset.instances
    np.testing.assert_array_equal(
        user.keypoints,
        [[10.5, 8.25, 2], [np.nan, np.nan, 0], [np.nan, np.nan, 0], [50.5, 40, 2]],
    )
    assert user.raw[1].tolist() == [12, 7, 0]  # not visible, with its location in the file
    assert (user.track_id, user.score) == ("a1", None)
    np.testing.assert_array_equal(
        predicted.keypoints, [[30, 20, 2], [33, 18, 2], [28, 18, 2], [40, 30, 2]]
    )
    assert predicted.score == pytest.approx(0.85, abs=1e-6)
    assert predicted.source == "model:sleap"


@needs_data
def test_real_file_has_the_numbers_of_its_tables() -> None:
    with h5py.File(FLIES) as file:
        instances, points = file["instances"][()], file["pred_points"][()]
        # Before format 1.1 the centre of the first pixel was 0.5: sleap-io takes that off.
        shift = 0.5 if file["metadata"].attrs["format_id"] < 1.1 else 0.0
        n_frames, n_tracks = len(file["frames"]), len(file["tracks_json"])
    dataset = kp.read(FLIES)
    assert (len(dataset), len(dataset.instances)) == (n_frames, len(instances)) == (1100, 2274)
    assert len({instance.track_id for instance in dataset.instances}) == n_tracks == 27
    is_there = points["visible"] & ~np.isnan(points["x"])
    found = dataset.keypoints().reshape(-1, 3)
    assert np.count_nonzero(found[:, 2]) == np.count_nonzero(is_there)
    expected = np.stack([points["x"], points["y"]], axis=1)[is_there]
    np.testing.assert_allclose(found[found[:, 2] > 0, :2].sum(0), (expected - shift).sum(0))
    assert dataset.images[3].file_name == "centered_pair_low_quality.mp4/000003.png"


@needs_examples
def test_example_comes_through_and_sleap_reads_it(tmp_path: Path) -> None:
    dataset = kp.read(EXAMPLES / "sleap/example.slp")
    kp.write(dataset, tmp_path / "out.slp", format="sleap")
    before, after = (
        sio.load_slp(str(path), open_videos=False)
        for path in (EXAMPLES / "sleap/example.slp", tmp_path / "out.slp")
    )
    assert after.videos[0].filename == before.videos[0].filename
    for one, other in zip(before[0].instances, after[0].instances, strict=True):
        assert type(one) is type(other)
        np.testing.assert_array_equal(one.points["xy"], other.points["xy"])
        np.testing.assert_array_equal(one.points["visible"], other.points["visible"])
        assert (one.track is None) == (other.track is None)
    assert detect_format(tmp_path / "out.slp") == "sleap"
    assert kp.roundtrip(EXAMPLES / "sleap/example.slp")


def test_frames_of_videos_and_flip_pairs_come_through(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(LossError, match="2 keypoints with visibility 1"):
        kp.write(tiny_dataset, tmp_path / "out.slp", format="sleap")
    assert list(tmp_path.iterdir()) == []
    kp.write(tiny_dataset, tmp_path / "out.slp", format="sleap", allow_loss=True)
    again = kp.read(tmp_path / "out.slp")
    assert [c.schema.flip_pairs for c in again.categories] == [(("left_eye", "right_eye"),), ()]
    assert [image.file_name for image in again.images] == ["a.png", "b.png", "c.png"]
    skeleton = sio.Skeleton(["a", "b"], name="fly")
    video = sio.Video("/elsewhere/fly.mp4", open_backend=False)
    instance = sio.Instance.from_numpy(np.array([[1.0, 2], [np.nan, np.nan]]), skeleton=skeleton)
    frame = sio.LabeledFrame(video=video, frame_idx=12, instances=[instance])
    sio.save_slp(sio.Labels([frame]), str(tmp_path / "fly.slp"), verbose=False)
    kp.write(kp.read(tmp_path / "fly.slp"), tmp_path / "fly2.slp", format="sleap")
    [frame] = sio.load_slp(str(tmp_path / "fly2.slp"), open_videos=False)
    assert (frame.video.filename, frame.frame_idx) == ("fly.mp4", 12)


@pytest.mark.parametrize("data", [b"", b"no such thing", b"\x89HDF\r\n\x1a\n" + b"videos_json" * 9])
def test_files_that_are_none_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.slp"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"is no HDF5 file|cannot be read as HDF5"):
        kp.read(path)


def test_hdf5_of_others_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "labels.slp", "w") as file:
        file.create_dataset("videos_json", data=np.zeros(3))
        file.create_dataset("instances", data=np.zeros(3))
    with pytest.raises(FormatError, match="cannot be read by sleap-io"):
        kp.read(tmp_path / "labels.slp")


def fill(file: Any) -> None:
    """Claim a gigabyte of fill values in a file of a kilobyte."""
    file.create_dataset("instances", (10**9,), "u1", chunks=(10**6,))


def link(file: Any) -> None:
    file["points"] = h5py.ExternalLink("/etc/other.h5", "/points")


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "points", (3,))
    file.create_virtual_dataset("points", layout)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(fill, "/instances has 1000000000 values", id="fill"),
        pytest.param(link, "'points' in / is a link to another file", id="link"),
        pytest.param(virtual, "/points stands in another file", id="virtual"),
    ],
)
def test_files_are_looked_at_before_sleap_io_opens_them(
    make: Any, told: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "labels.slp", "w") as file:
        file["videos_json"] = np.zeros(3)
        make(file)
    with pytest.raises(FormatError, match=told):
        kp.read(tmp_path / "labels.slp")
