from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import detect_format
from kpwidget.schema import FormatError
from tests.formats.examples import EDGES, EXAMPLES, NAMES, needs_examples

h5py = pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[sleap]")


def writing() -> None:
    pytest.importorskip("ndx_pose", reason="ndx-pose is not installed: kpwidget[sleap]")


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """A file as ndx-pose has it, made by h5py: two images, one with one instance."""
    path = tmp_path / "labels.nwb"
    with h5py.File(path, "w") as opened:
        opened.attrs["nwb_version"] = "2.8.0"
        behavior = opened.create_group("processing/behavior")
        training = behavior.create_group("PoseTraining")
        training.attrs["neurodata_type"] = "PoseTraining"
        video = training.create_group("source_videos/video_0")
        video.attrs["neurodata_type"] = "ImageSeries"
        video["external_file"] = ["/far/a.png", "/far/b.png"]
        skeletons = behavior.create_group("Skeletons")
        skeletons.attrs["neurodata_type"] = "Skeletons"
        skeletons["fly/nodes"], skeletons["fly/edges"] = ["head", "tail", "wing"], [[0, 1], [1, 2]]
        frame = training.create_group("training_frames/frame_0")
        frame["source_video"] = h5py.SoftLink(video.name)
        frame.attrs["source_video_frame_index"] = 1
        one = frame.create_group("skeleton_instances/instance_0")
        one["fly"] = h5py.SoftLink(skeletons["fly"].name)
        one["node_locations"] = [[1.5, 2], [3, 4], [np.nan, np.nan]]
        one["node_visibility"] = [True, False, False]
    return path


def opened(path: Path) -> Any:
    return h5py.File(path, "r+")


FRAME = "processing/behavior/PoseTraining/training_frames/frame_0"


@needs_examples
def test_example_is_what_the_notes_say() -> None:
    dataset = kp.read(EXAMPLES / "nwb/example.nwb", images=EXAMPLES / "images")
    assert [image.file_name for image in dataset.images] == ["img1.png", "img2.png"]
    assert dataset.images[0].open().size == (64, 48)
    assert dataset.categories[0].keypoints == NAMES
    assert dataset.categories[0].schema.skeleton == EDGES
    nan = [np.nan, np.nan, 0]
    one, two = (instance.keypoints for instance in dataset.instances)
    np.testing.assert_array_equal(one, [[10.5, 8.25, 2], nan, nan, [50.5, 40, 2]])
    np.testing.assert_array_equal(two, [[30, 20, 2], [33, 18, 2], [28, 18, 2], [40, 30, 2]])


def test_node_that_is_not_visible_and_has_a_location_is_occluded(file: Path) -> None:
    dataset = kp.read(file)
    assert detect_format(file) == "nwb"
    assert [image.file_name for image in dataset.images] == ["a.png", "b.png"]
    assert dataset.categories[0].schema.skeleton == [[1, 2], [2, 3]]
    [instance] = dataset.images["b.png"].instances
    expected = [[1.5, 2, 2], [3, 4, 1], [np.nan, np.nan, 0]]
    np.testing.assert_array_equal(instance.keypoints, expected)


def test_what_is_written_pynwb_reads(tiny_dataset: Dataset, tmp_path: Path) -> None:
    writing()  # it takes some seconds to import
    from pynwb import NWBHDF5IO

    path = tmp_path / "out.nwb"
    kp.write(tiny_dataset, path, format="nwb", allow_loss=True)
    with NWBHDF5IO(str(path), "r") as stream:
        behavior = stream.read().processing["behavior"]
        skeleton = behavior["Skeletons"].skeletons["animal"]
        assert list(skeleton.nodes[:]) == list(NAMES)
        assert skeleton.edges[:].tolist() == [[0, 1], [0, 2], [0, 3]]
        training = behavior["PoseTraining"]
        [video] = training.source_videos.image_series.values()
        assert list(video.external_file[:]) == ["a.png", "b.png", "c.png"]
        [frame] = training.training_frames.training_frames.values()
        assert (frame.source_video, int(frame.source_video_frame_index)) == (video, 0)
        animal, bolt = frame.skeleton_instances.skeleton_instances.values()
        expected = [[10.5, 8.25], [12, 7], [np.nan, np.nan], [50.5, 40]]
        np.testing.assert_array_equal(animal.node_locations[:], expected)
        assert animal.node_visibility[:].tolist() == [True, False, False, True]
        assert animal.skeleton is skeleton
        assert bolt.skeleton.name == "bolt"
    again = kp.read(path)
    assert [len(image.instances) for image in again.images] == [2, 0, 0]
    for before, after in zip(tiny_dataset.instances, again.instances, strict=True):
        np.testing.assert_array_equal(before.keypoints, after.keypoints)


def test_videos_come_through_and_sleap_io_reads_them(tmp_path: Path) -> None:
    writing()
    import sleap_io as sio

    skeleton = sio.Skeleton(["a", "b"], name="fly")
    video = sio.Video("/elsewhere/fly.mp4", open_backend=False)
    user = sio.Instance.from_numpy(np.array([[1.0, 2], [np.nan, np.nan]]), skeleton=skeleton)
    sio.save_slp(
        sio.Labels([sio.LabeledFrame(video=video, frame_idx=n, instances=[user]) for n in (7, 12)]),
        str(tmp_path / "fly.slp"), verbose=False,
    )  # fmt: skip
    dataset = kp.read(tmp_path / "fly.slp")
    kp.write(dataset, tmp_path / "fly.nwb", format="nwb")  # nothing is lost
    names = [image.file_name for image in kp.read(tmp_path / "fly.nwb").images]
    assert names == ["fly.mp4/000007.png", "fly.mp4/000012.png"]
    labels = sio.load_nwb(str(tmp_path / "fly.nwb"))
    assert [(f.video.filename, f.frame_idx) for f in labels] == [("fly.mp4", 7), ("fly.mp4", 12)]
    np.testing.assert_array_equal(labels[1][0].numpy(), [[1, 2], [np.nan, np.nan]])


def test_estimates_are_tracks_with_scores(file: Path) -> None:
    with opened(file) as found:
        del found["processing/behavior/PoseTraining"]
        track = found.create_group("processing/behavior/track=left")
        track.attrs["neurodata_type"] = "PoseEstimation"
        track["original_videos"] = ["/far/fly.mp4"]
        track["skeleton"] = h5py.SoftLink("/processing/behavior/Skeletons/fly")
        track["head/data"], track["head/confidence"] = [[1, 2.5], [2, 3.5]], [0.5, 0.75]
        track["head/timestamps"] = [0.1, 0.2]
        track["tail/data"], track["tail/confidence"] = [[4.0, 5], [np.nan, np.nan]], [1.0, 0.9]
        track["tail/starting_time"] = 0.1
        track["tail/starting_time"].attrs["rate"] = 5.0  # 0.1 s and 0.3 s
    dataset = kp.read(file)
    names = ["fly.mp4/000000.png", "fly.mp4/000001.png"]
    assert [image.file_name for image in dataset.images] == names  # nothing at 0.3 s
    nan = [np.nan, np.nan, 0]
    expected = [[[1, 2.5, 2], [4, 5, 2], nan], [[2, 3.5, 2], nan, nan]]
    np.testing.assert_array_equal(dataset.keypoints(), expected)
    assert [i.track_id for i in dataset.instances] == ["left"] * 2
    assert [i.score for i in dataset.instances] == [0.75, 0.75]  # means of what is there
    assert dataset.instances[1].extra["keypoint_scores"] == [0.75, 0, 0]
    assert dataset.instances[0].source == "model:nwb"


def test_names_that_nwb_forbids_are_a_loss_and_those_of_hdf5_refused(tmp_path: Path) -> None:
    writing()
    image = {"a.png": np.zeros((4, 4, 3), np.uint8)}
    dataset = Dataset.from_images(image, [kp.Schema("a/b", ["x"]), kp.Schema("a_b", ["x"])])
    dataset.add_instance("a.png", "a/b", [[1, 2, 2]])
    with pytest.raises(kp.formats.LossError, match="name of 2 categories.*'a/b' to 'a_b'"):
        kp.write(dataset, tmp_path / "out.nwb", format="nwb")
    kp.write(dataset, tmp_path / "out.nwb", format="nwb", allow_loss=True)
    assert [c.name for c in kp.read(tmp_path / "out.nwb").categories] == ["a_b", "a_b_"]
    odd = Dataset.from_images(image, kp.Schema("x", ["a\0"]))
    with pytest.raises(ValueError, match="HDF5 has no text with NUL"):
        kp.write(odd, tmp_path / "odd.nwb", format="nwb")
    assert [path.name for path in tmp_path.iterdir()] == ["out.nwb"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(
            lambda one: one.__setitem__("node_locations", np.zeros((2, 2))),
            r"shapes \(2, 2\) and \(3,\), and a skeleton of 3 nodes", id="shape",
        ),
        pytest.param(
            lambda one: one.create_dataset("node_locations", (10**9, 2), "f8", chunks=(10**6, 2)),
            r"shapes \(1000000000, 2\)", id="huge",
        ),
        pytest.param(
            lambda one: one.create_dataset("node_locations", data=np.full((3, 2), 1e300)),
            "nowhere in an image", id="far",
        ),
        pytest.param(
            lambda one: one.__setitem__("node_locations", h5py.ExternalLink("other.h5", "/x")),
            "is a link to another file", id="link",
        ),
    ],
)  # fmt: skip
def test_bad_instances_are_named(make: Any, told: str, file: Path) -> None:
    with opened(file) as found:
        one = found[f"{FRAME}/skeleton_instances/instance_0"]
        del one["node_locations"]
        make(one)
    with pytest.raises(FormatError, match=told):
        kp.read(file)


def test_files_that_claim_more_than_they_hold_are_refused(file: Path, tmp_path: Path) -> None:
    with opened(file) as found:
        series = found["processing/behavior/PoseTraining/source_videos/video_0"]
        del series["external_file"]
        series.create_dataset("external_file", (10**8,), h5py.string_dtype(), chunks=(10**6,))
    with pytest.raises(FormatError, match="external_file has 100000000 values"):
        kp.read(file)
    with opened(file) as found:
        del found["processing/behavior/Skeletons"]
    with pytest.raises(FormatError, match="cannot be read as NWB|has no poses"):
        kp.read(file)
    (tmp_path / "none.nwb").write_bytes(b"no such thing")
    with pytest.raises(FormatError, match="is no HDF5 file"):
        kp.read(tmp_path / "none.nwb")


def test_texts_that_are_one_long_text_many_times_are_refused(tmp_path: Path) -> None:
    from kpwidget.formats.hdf5 import texts

    with h5py.File(tmp_path / "long.h5", "w") as file:
        names = file.create_dataset("names", (40,), h5py.string_dtype())
        names[:] = ["x" * 1_000_000] * 40
        assert len(texts(names)) == 40  # the file has them all
        short = file.create_dataset("short", (3,), h5py.string_dtype("ascii", 5))
        short[:] = [b"a", b"bc", b""]
        assert texts(short) == ["a", "bc", ""]
        with pytest.raises(ValueError, match="expected texts"):
            texts(file.create_dataset("numbers", data=[1, 2]))


@pytest.mark.parametrize(
    "place",
    ["processing", "processing/behavior/PoseTraining/source_videos",
     "processing/behavior/PoseTraining/training_frames", "processing/behavior/Skeletons/fly/nodes"],
)  # fmt: skip
def test_nothing_is_read_of_another_file(place: str, file: Path, tmp_path: Path) -> None:
    (tmp_path / "other.h5").write_bytes(file.read_bytes())
    with opened(file) as found:
        del found[place]
        found[place] = h5py.ExternalLink("other.h5", place)
    with pytest.raises(FormatError, match="is a link to another file"):
        kp.read(file)


def test_links_within_the_file_are_followed_and_loops_refused(file: Path) -> None:
    with opened(file) as found:
        fly = found["processing/behavior/Skeletons/fly"]
        found["names"] = fly["nodes"]
        del fly["nodes"]
        found["on"] = h5py.SoftLink("/names")
        fly["nodes"] = h5py.SoftLink("/./on")
    assert kp.read(file).categories[0].keypoints == ("head", "tail", "wing")
    with opened(file) as found:
        del found["names"]
        found["names"] = h5py.SoftLink("/on")
    with pytest.raises(FormatError, match="a link to another file, or a loop"):
        kp.read(file)


@pytest.mark.parametrize("is_group", [True, False])
@pytest.mark.parametrize("name", ["nodes", "edges"])
def test_group_or_type_in_place_of_values_is_refused(name: str, is_group: bool, file: Path) -> None:
    with opened(file) as found:
        fly = found["processing/behavior/Skeletons/fly"]
        del fly[name]
        fly[name] = found["/processing"] if is_group else np.dtype("f8")
    with pytest.raises(FormatError, match="expected a dataset, got the <HDF5"):
        kp.read(file)


def test_instances_that_are_one_many_times_are_refused(file: Path) -> None:
    with opened(file) as found:
        of_frame = found[f"{FRAME}/skeleton_instances"]
        for i in range(1, 400):  # a link has some 30 bytes
            of_frame[f"instance_{i}"] = of_frame["instance_0"]
        for i in range(1, 20):
            found[f"{FRAME[:-1]}{i}"] = found[FRAME]
    with pytest.raises(FormatError, match="more frames and instances than the file has bytes for"):
        kp.read(file)


def test_estimates_of_one_of_ten_thousand_nodes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "estimates.nwb"
    with h5py.File(path, "w") as found:
        found.attrs["nwb_version"] = "2.8.0"
        track = found.create_group("processing/behavior/track")
        track.attrs["neurodata_type"] = "PoseEstimation"
        track["original_videos"] = ["fly.mp4"]
        track["nodes"] = [f"n{i}" for i in range(10_000)]
        track.create_dataset("n0/data", data=np.zeros((300_000, 2)), compression=9)  # 72 GB
        track["n0/starting_time"] = 0.0
    assert path.stat().st_size < 1_000_000
    with pytest.raises(FormatError, match="3,000,000,000 keypoints, of which it tells of 300,000"):
        kp.read(path)


@pytest.mark.parametrize("ending", ["nwb", "slp"])
def test_frames_that_were_renamed_stay_images_of_their_own(ending: str, tmp_path: Path) -> None:
    writing()
    pytest.importorskip("sleap_io", reason="sleap-io is not installed: kpwidget[sleap]")
    frames = {"mice.mp4/000003.png": 3, "other.png": 3, "mice.mp4/000004.png": 4}
    content = {
        "images": [
            {"id": i, "file_name": name, "sleap": {"video": "mice.mp4", "frame": n}}
            for i, (name, n) in enumerate(frames.items(), 1)
        ],
        "categories": [{"id": 1, "name": "mouse", "keypoints": ["nose"], "skeleton": []}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "keypoints": [10 * i, 5, 2]} for i in (1, 2)
        ],
    }
    (tmp_path / "in.json").write_text(json.dumps(content))
    out = tmp_path / f"out.{ending}"
    report = kp.write(kp.read(tmp_path / "in.json"), out, format=None, allow_loss=True)
    told = {loss.what: loss.examples for loss in report.losses}
    assert told["images"] == ("mice.mp4/000004.png",)  # has no instance
    assert told["sleap"] == ("other.png",)
    found = kp.read(out).instances
    assert {i.image.file_name: i.keypoints[0, 0] for i in found} == {
        "mice.mp4/000003.png": 10, "other.png": 20,
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["nwb", "slp"])
def test_a_link_is_written_through_and_permissions_stay(ending: str, tmp_path: Path) -> None:
    writing()
    pytest.importorskip("sleap_io", reason="sleap-io is not installed: kpwidget[sleap]")
    dataset = Dataset.from_images({"a.png": np.zeros((9, 9, 3), np.uint8)}, kp.Schema("s", ["p"]))
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / f"real.{ending}", tmp_path / f"link.{ending}"
    kp.write(dataset, real, format=None)
    real.chmod(0o640)
    link.symlink_to(real)
    dataset.add_instance("a.png", keypoints={"p": (3, 4)})
    kp.write(dataset, link, format=None)
    assert link.is_symlink()
    assert len(kp.read(real).instances) == 1
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in real.parent.iterdir()] == [real.name]
    with pytest.raises(FileNotFoundError, match="make it first"):
        kp.write(dataset, tmp_path / "none" / f"a.{ending}", format=None)
