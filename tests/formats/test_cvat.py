"""CVAT 1.1 XML: the files of CVAT itself, its rules of import, tracks, and files from strangers."""

from __future__ import annotations

import io
import itertools
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kpwidget as kp
from kpwidget.cli import main
from kpwidget.dataset import Dataset, ImageState
from kpwidget.formats import LossError, detect_format, xml_text
from kpwidget.schema import Category, FormatError, Schema

SHARED = Path(__file__).resolve().parents[3] / "shared"
EXAMPLES = SHARED / "format-examples"
REAL = SHARED / "data" / "cvat-skeleton"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the example files of ../shared are not here"
)
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="CVAT's own test files of ../shared are not here"
)

SVG = (
    '&lt;line data-node-from="7" data-node-to="3" data-type="edge"&gt;&lt;/line&gt;'
    '&lt;circle cx="50" cy="20" data-node-id="7" data-label-name="head"&gt;&lt;/circle&gt;'
    '&lt;circle cx="65" cy="10" data-node-id="3" data-label-name="tip"&gt;&lt;/circle&gt;'
)
LABELS = f"""<labels>
  <label><name>bolt</name><color>#112233</color><type>skeleton</type><svg>{SVG}</svg></label>
  <label><name>tip</name><color>#00ff00</color><type>points</type><parent>bolt</parent></label>
  <label><name>head</name><color>#ff0000</color><type>points</type><parent>bolt</parent></label>
  <label><name>car</name><color>#0000ff</color><type>rectangle</type></label>
</labels>"""
HEAD = '<points label="head" outside="0" occluded="0" points="1.5,2.25"/>'
TIP = '<points label="tip" outside="0" occluded="1" points="3,4"/>'
SKELETON = f'<skeleton label="bolt" source="manual" z_order="0">{HEAD}{TIP}</skeleton>'
IMAGE = f'<image id="0" name="a.png" width="64" height="48">{SKELETON}</image>'


def document(body: str = IMAGE, meta: str = f"<meta><task>{LABELS}</task></meta>") -> str:
    return f"<annotations><version>1.1</version>{meta}{body}</annotations>"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "annotations.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def points(dataset: Dataset) -> list[list[list[float]]]:
    return [instance.raw.tolist() for instance in dataset.instances]


def quietly(path: Path, **options: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kp.read(path, **options)


# The ground truth of ../shared/formats.md.
FIRST = [[10.5, 8.25, 2], [12, 7, 1], [0, 0, 0], [50.5, 40, 2]]
SECOND = [[30, 20, 2], [33, 18, 2], [28, 18, 1], [40, 30, 1]]


@needs_examples
def test_file_of_cvat_for_images_has_the_ground_truth_and_is_written_byte_for_byte(
    tmp_path: Path,
) -> None:
    path = EXAMPLES / "cvat-images" / "annotations.xml"
    dataset = kp.read(path)
    assert [(i.file_name, i.id, i.size) for i in dataset.images] == [
        ("img1.png", 0, (64, 48)),
        ("img2.png", 1, (64, 48)),
    ]
    (category,) = dataset.categories
    assert (category.name, category.keypoints) == (
        "animal",
        ("nose", "left_eye", "right_eye", "tail"),
    )
    assert category.schema.skeleton == [[1, 2], [1, 3], [1, 4]]
    assert category.schema.colors == ("#33ddff",) * 4
    assert category.schema.layout is not None
    assert category.schema.layout.tolist() == [[0.5, 0.2], [0.65, 0.1], [0.35, 0.1], [0.5, 0.9]]
    assert points(dataset) == [FIRST, SECOND]
    assert [i.image.file_name for i in dataset.instances] == ["img1.png"] * 2
    kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    assert (tmp_path / "out.xml").read_text().split() == path.read_text().split()
    assert (tmp_path / "out.xml").read_bytes().rstrip() == path.read_bytes().rstrip()


@needs_examples
def test_file_of_cvat_for_video_has_tracks_with_keyframes_and_is_written_byte_for_byte(
    tmp_path: Path,
) -> None:
    path = EXAMPLES / "cvat-video" / "annotations.xml"
    dataset = kp.read(path)
    assert [(i.file_name, i.id, i.size) for i in dataset.images] == [
        (f"frame_{n:06d}.png", n, (64, 48)) for n in range(4)
    ]
    assert [(i.image.id, i.track_id, i.source) for i in dataset.instances] == [
        (0, 0, "imported"),
        (1, 0, "interpolated"),
        (2, 0, "imported"),
    ]
    # Read off the file; in frame 3 all points are outside.
    assert points(dataset) == [
        FIRST,
        [[11.5, 9.25, 2], [13, 8, 1], [0, 0, 0], [50.5, 40, 2]],
        [[12.5, 10.25, 1], [14, 9, 2], [9, 9, 2], [50.5, 40, 2]],
    ]
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    assert (tmp_path / "out.xml").read_bytes().rstrip() == path.read_bytes().rstrip()


@needs_real
def test_files_of_cvat_itself_have_as_much_as_an_independent_parse_and_lose_nothing() -> None:
    path = REAL / "for_images" / "train.xml"
    tree = ET.parse(path)
    with pytest.warns(UserWarning, match="4 shapes besides skeletons"):
        dataset = kp.read(path)
    assert len(dataset.images) == len(tree.findall("image")) == 2
    assert len(dataset.instances) == len(tree.findall("image/skeleton")) == 2
    flags = Counter(e.get("outside") for e in tree.iterfind("image/skeleton/points"))
    assert int((dataset.keypoints()[..., 2] == 0).sum()) == flags["1"] == 2
    assert dataset.categories[0].schema.skeleton == [[3, 2], [1, 4]]
    image = REAL / "for_images" / "images" / "img0.jpg"
    assert dataset.images["img0.jpg"].path == image.resolve()

    path = REAL / "for_video" / "annotations.xml"
    tree = ET.parse(path)
    with pytest.warns(UserWarning, match="3 shapes besides skeletons"):
        dataset = kp.read(path)
    # start 10, step 3, 4 frames; points in tracks of their own within the track
    assert [image.id for image in dataset.images] == [10, 13, 16, 19]
    assert len(dataset.instances) == len(tree.findall("track/skeleton")) == 3
    outside = [e for e in tree.iterfind("track/track/points") if e.get("outside") == "1"]
    assert [e.get("frame") for e in outside] == ["13"]  # and it does not come back in 16
    assert dataset.keypoints()[:, 2, 2].tolist() == [2, 0, 0]
    image = REAL / "for_video" / "images" / "frame_000013.png"
    assert dataset.images[1].path == image.resolve()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert kp.roundtrip(path)
        assert kp.roundtrip(REAL / "for_images" / "train.xml")


@needs_real
def test_shapes_that_are_no_skeletons_are_written_again(tmp_path: Path) -> None:
    for name, kind in (("for_images/train.xml", "images"), ("for_video/annotations.xml", "video")):
        out = tmp_path / f"{kind}.xml"
        kp.write(quietly(REAL / name), out, format=f"cvat-{kind}")
        before, after = (ET.parse(path).getroot() for path in (REAL / name, out))
        for tag in ("box", "polyline", "polygon", "image/points", "attribute", "label", "segment"):
            old, new = (
                [(e.attrib, (e.text or "").strip()) for e in root.iterfind(f".//{tag}")]
                for root in (before, after)
            )
            assert old == new, tag


def test_file_is_told_by_its_content(tmp_path: Path) -> None:
    video = '<track id="0" label="x"/>'
    empty = "<meta><task><mode>{}</mode></task></meta>"
    assert detect_format(written(tmp_path, document())) == "cvat-images"
    assert detect_format(written(tmp_path, document(video))) == "cvat-video"
    text = document("", empty.format("interpolation"))
    assert detect_format(written(tmp_path, text)) == "cvat-video"
    text = document("", empty.format("annotation"))
    assert detect_format(written(tmp_path, text)) == "cvat-images"


def test_order_of_keypoints_is_that_of_the_circles_and_colors_go_by_name(tmp_path: Path) -> None:
    dataset = kp.read(written(tmp_path, document()))
    (category,) = dataset.categories
    assert category.keypoints == ("head", "tip")
    assert category.schema.colors == ("#ff0000", "#00ff00")
    assert category.schema.skeleton == [[1, 2]]  # nodes 7 and 3
    assert points(dataset) == [[[1.5, 2.25, 2], [3, 4, 1]]]


def test_schema_brings_what_labels_lack(tmp_path: Path) -> None:
    path = written(tmp_path, document())
    schema = Schema("x", ["tip", "head"], [(1, 2)], flip_pairs=[("tip", "head")])
    dataset = kp.read(path, schema={"bolt": schema})
    assert dataset.categories[0].schema == schema
    assert points(dataset) == [[[3, 4, 1], [1.5, 2.25, 2]]]
    with pytest.raises(ValueError, match="expected those of category 'bolt'"):
        kp.read(path, schema=Schema("y", ["tip", "nut"]))
    with pytest.raises(ValueError, match="there is no category 'nut', there are 'bolt'"):
        kp.read(path, schema={"nut": schema})


def test_outside_wins_and_the_place_of_the_point_is_kept(tmp_path: Path) -> None:
    body = IMAGE.replace('outside="0" occluded="1"', 'outside="1" occluded="1"')
    dataset = kp.read(written(tmp_path, document(body)))
    assert np.isnan(dataset.instances[0].keypoints[1, :2]).all()
    assert dataset.instances[0].raw[1].tolist() == [3, 4, 0]
    kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    (tip,) = ET.parse(tmp_path / "out.xml").iterfind(".//points[@label='tip']")
    assert (tip.get("outside"), tip.get("occluded"), tip.get("points")) == ("1", "1", "3.00,4.00")
    dataset.instances[0].set_keypoint("tip", 5, 6)
    kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    (tip,) = ET.parse(tmp_path / "out.xml").iterfind(".//points[@label='tip']")
    assert (tip.get("outside"), tip.get("occluded"), tip.get("points")) == ("0", "0", "5.00,6.00")


def test_file_without_labels_is_read_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="has no labels: keypoints are in the order"):
        dataset = kp.read(written(tmp_path, document(meta="")))
    assert dataset.categories[0].keypoints == ("head", "tip")
    assert len(dataset.instances) == 1


def test_what_is_written_follows_the_rules_of_cvats_importer(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    # ../shared/formats.md 3.3: load_anno of cvat/apps/dataset_manager/formats/cvat.py
    for kind in ("images", "video"):
        out = tmp_path / f"{kind}.xml"
        kp.write(tiny_dataset, out, format=f"cvat-{kind}", allow_loss=True)
        root = ET.parse(out).getroot()
        assert root.findtext("version") == "1.1"
        skeletons = root.findall(".//skeleton")
        assert len(skeletons) == {"images": 2, "video": 4}[kind]  # two ends of tracks
        for skeleton in skeletons:
            assert len(skeleton) in (4, 2), "all points, also those that are unlabeled"
            for part in skeleton:
                assert part.tag == "points"
                assert part.get("outside") in ("0", "1")
                assert part.get("occluded") in ("0", "1")
                assert (part.get("keyframe") in ("0", "1")) is (kind == "video")
                x, y = part.get("points", "").split(",")
                assert x == f"{float(x):.2f}" or len(x.split(".")[1]) > 2
                assert y == f"{float(y):.2f}"
        names = {(e.findtext("parent"), e.findtext("name")) for e in root.iterfind(".//label")}
        assert {(None, "animal"), ("animal", "tail"), (None, "bolt"), ("bolt", "tip")} <= names
        types = {e.findtext("type") for e in root.iterfind(".//label")}
        assert types == {"skeleton", "points"}


def test_what_is_lost_is_named_and_refused_until_allowed(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    tiny_dataset.add_instance("b.png", "bolt", [[1, 2], [3, 4]], bbox=(1, 1, 5, 5), score=0.5)
    with pytest.raises(LossError) as caught:
        kp.write(tiny_dataset, tmp_path / "out.xml", format="cvat-images")
    losses = {loss.what: loss.text for loss in caught.value.losses}
    assert losses == {
        "bbox": "the bbox of 1 instance",
        "score": "the scores of 1 instance",
        "flip_pairs": "the flip pairs of 1 category",
        "category id": "the ids of 1 category (read again, they are 1, 2, ...)",
    }
    assert not (tmp_path / "out.xml").exists()
    with pytest.raises(LossError, match="the file names of 3 images, which are frames"):
        kp.write(tiny_dataset, tmp_path / "out.xml", format="cvat-video")


@pytest.mark.parametrize("kind", ["images", "video"])
def test_text_of_any_kind_comes_back(kind: str, tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "a&b;\"'", "%s,%s {0}", "Käfer 虫"]
    schema = Schema("<b>%d</b>", names, [(1, 2), (2, 4)])
    dataset = Dataset.from_images({"frame_000003.png": np.zeros((9, 9))}, schema)
    dataset.add_instance(0, keypoints=[[1, 2, 2], [3, 4, 1], [0.1, 1e-7, 2], [8, 8.125, 2]])
    before = points(dataset)
    kp.write(dataset, tmp_path / "out.xml", format=f"cvat-{kind}", allow_loss=True)
    again = kp.read(tmp_path / "out.xml")
    assert again.categories[0].keypoints == tuple(names)
    assert again.categories[0].name == "<b>%d</b>"
    assert again.categories[0].schema == schema
    assert points(again) == before


@pytest.mark.parametrize("kind", ["images", "video"])
@pytest.mark.parametrize("name", [" bolt ", "a\rb", "a\r\n\tb"], ids=["spaces", "return", "lines"])
def test_spaces_and_line_ends_of_names_come_back(name: str, kind: str, tmp_path: Path) -> None:
    schema = Schema(name, [f"{name}1", f"{name}2"], [(1, 2)], colors=["#112233", "#445566"])
    dataset = Dataset.from_images({"frame_000000.png": np.zeros((9, 9))}, schema)
    dataset.add_instance(0, keypoints=[[1, 2, 2], [3, 4, 1]])
    kp.write(dataset, tmp_path / "out.xml", format=f"cvat-{kind}", allow_loss=True)
    again = kp.read(tmp_path / "out.xml")
    assert again.categories[0].schema == schema
    assert points(again) == [[[1, 2, 2], [3, 4, 1]]]


def test_labels_without_a_figure_are_replaced_when_the_category_is_another(tmp_path: Path) -> None:
    labels = (
        "<labels><label><name>bolt</name><type>skeleton</type></label><label><name>head</name>"
        "<type>points</type><parent>bolt</parent></label></labels>"
    )
    body = (
        f'<image id="0" name="a.png" width="9" height="9"><skeleton label="bolt">{HEAD}</skeleton>'
    )
    path = written(tmp_path, document(f"{body}</image>", f"<meta><task>{labels}</task></meta>"))
    dataset = kp.read(path)
    dataset.rename_category("bolt", "nail")
    kp.write(dataset, path, format="cvat-images")
    again = kp.read(path)
    assert [(c.name, c.keypoints) for c in again.categories] == [("nail", ("head",))]
    assert points(again) == [[[1.5, 2.25, 2]]]


def test_what_cvat_says_besides_is_lost_with_a_word_if_it_came_through_coco(tmp_path: Path) -> None:
    path = written(tmp_path, document(IMAGE.replace('z_order="0"', 'z_order="5"')))
    kp.write(quietly(path), tmp_path / "out.json", allow_loss=True)
    with pytest.raises(LossError, match="the field 'cvat' of 1 instance"):
        kp.write(kp.read(tmp_path / "out.json"), tmp_path / "out.xml", format="cvat-images")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e100, 1e100)] * 2), min_size=2, max_size=2))
def test_no_digit_of_a_coordinate_is_lost(xy: list[tuple[float, float]]) -> None:
    from kpwidget.formats.cvat_write import _decimals

    texts = _decimals(np.array(xy))
    assert [float(text) for text in texts] == [value for pair in xy for value in pair]
    assert all(len(text.partition(".")[2]) >= 1 for text in texts)
    assert not any("e" in text for text in texts)


# --- tracks -------------------------------------------------------------------------------------


def video(schema: Schema, n: int = 6) -> Dataset:
    pixels = np.zeros((48, 64), np.uint8)
    dataset = Dataset([Category(1, schema, "bolt")])
    for i in range(n):
        name = f"frame_{i:06d}.png"
        dataset._add_image(ImageState(i, name, pixels, recorded_size=(64, 48)))
    return dataset


def keyframes(path: Path) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Of each track (id, [(frame, keyframe, outside of its points)])."""
    return [
        (
            track.get("id", ""),
            [
                (
                    s.get("frame", ""),
                    s.get("keyframe", ""),
                    "".join(p.get("outside", "") for p in s),
                )
                for s in track.iterfind("skeleton")
            ],
        )
        for track in ET.parse(path).iterfind("track")
    ]


def test_track_ends_where_it_has_no_instance_and_goes_on_after_a_gap(tmp_path: Path) -> None:
    dataset = video(Schema("bolt", ["head", "tip"], [(1, 2)]))
    for frame in (1, 2, 4, 5):
        dataset.add_instance(frame, keypoints=[[frame, 2, 2], [3, 4, 2]], track_id=7)
    dataset.add_instance(5, keypoints=[[9, 9, 2], [8, 8, 0]])  # no track
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    assert keyframes(tmp_path / "out.xml") == [
        ("7", [("1", "1", "00"), ("2", "1", "00"), ("3", "1", "11"), ("4", "1", "00"),
               ("5", "1", "00")]),
        ("0", [("5", "1", "01")]),
    ]  # fmt: skip
    again = kp.read(tmp_path / "out.xml")
    assert [(i.image.id, i.track_id) for i in again.instances] == [
        (1, 7), (2, 7), (4, 7), (5, 7), (5, 0),
    ]  # fmt: skip
    assert len(again.images) == 6


def test_edited_interpolated_frame_becomes_a_keyframe(tmp_path: Path) -> None:
    dataset = video(Schema("bolt", ["head", "tip"]))
    for frame in (3, 4, 5):
        source = "imported" if frame == 3 else "interpolated"
        xy = [[frame, 2, 2], [3, 4, 2]]
        dataset.add_instance(frame, keypoints=xy, track_id=1, source=source)
    out = tmp_path / "out.xml"
    kp.write(dataset, out, format="cvat-video")
    assert [k for _, k, _ in keyframes(out)[0][1]] == ["1", "0", "0"]
    again = kp.read(out)
    again.instances[1].set_keypoint("head", 20, 21)
    kp.write(again, out, format="cvat-video")
    assert [k for _, k, _ in keyframes(out)[0][1]] == ["1", "1", "0"]


def test_track_ids_that_do_not_fit_get_a_number_and_are_counted(tmp_path: Path) -> None:
    dataset = video(Schema("bolt", ["head", "tip"]))
    for frame, track_id in ((0, 3), (0, 3), (1, "x"), (2, "x"), (1, -1)):
        dataset.add_instance(frame, keypoints=[[1, 2], [3, 4]], track_id=track_id)
    with pytest.raises(LossError, match="the track_id of 4 instances"):
        kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video", allow_loss=True)
    found = [(track, len(frames)) for track, frames in keyframes(tmp_path / "out.xml")]
    # one instance each and the end of its track; "x" is one track
    assert sorted(found) == [("0", 2), ("1", 3), ("2", 2), ("3", 2)]


def test_track_ids_of_any_kind_are_tracks(tmp_path: Path) -> None:
    dataset = video(Schema("bolt", ["head", "tip"]), 4)
    for frame in range(4):
        dataset.add_instance(frame, keypoints=[[1, 2], [3, 4]])
    records = json.loads(b"".join(kp.write(dataset, tmp_path / "a.json").content))
    for record, track_id in zip(records["annotations"], ([1], [1], {"a": 1}, True), strict=True):
        record["track_id"] = track_id
    (tmp_path / "a.json").write_text(json.dumps(records))
    report = kp.write(
        kp.read(tmp_path / "a.json"), tmp_path / "out.xml", format="cvat-video", allow_loss=True
    )
    assert {loss.what: loss.n for loss in report.losses}["track_id"] == 4
    found = kp.read(tmp_path / "out.xml").instances
    assert [instance.track_id for instance in found] == [0, 0, 1, 2]


def test_instance_without_a_labeled_keypoint_is_lost_in_a_video_with_a_word(tmp_path: Path) -> None:
    dataset = video(Schema("bolt", ["head", "tip"]))
    dataset.add_instance(1, keypoints=[[1, 2], [3, 4]], track_id=0)
    dataset.add_instance(3, track_id=0)
    with pytest.raises(LossError, match="1 instance without a labeled keypoint"):
        kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video", allow_loss=True)
    assert len(kp.read(tmp_path / "out.xml").instances) == 1


def test_absent_keyframes_that_say_more_than_an_end_are_kept(tmp_path: Path) -> None:
    def skeleton(frame: int, outside: int, xy: str) -> str:
        parts = "".join(
            f'<points label="{name}" keyframe="1" outside="{outside}" occluded="0" points="{xy}"/>'
            for name in ("head", "tip")
        )
        return f'<skeleton frame="{frame}" keyframe="1" z_order="0">{parts}</skeleton>'

    frames = [skeleton(0, 1, "5,5"), skeleton(1, 0, "1,1"), skeleton(2, 1, "9,9")]
    body = f'<track id="4" label="bolt" source="manual">{"".join(frames)}</track>'
    dataset = kp.read(written(tmp_path, document(body)))
    assert [i.image.id for i in dataset.instances] == [1]
    out = tmp_path / "out.xml"
    kp.write(dataset, out, format="cvat-video")
    assert keyframes(out) == [("4", [("0", "1", "11"), ("1", "1", "00"), ("2", "1", "11")])]
    places = [p.get("points") for p in ET.parse(out).iterfind(".//points[@label='tip']")]
    assert places == ["5,5", "1.00,1.00", "9,9"]
    part = dataset.split({"first": [dataset.images[1].file_name], "rest": "rest"})["first"]
    kp.write(part, out, format="cvat-video")
    assert keyframes(out) == [("4", [("1", "1", "00")])], "the others are not in this part"


@pytest.mark.parametrize("name", ["cvat-images", "cvat-video", "label-studio"])
def test_commands_convert_tell_and_certify(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1.5, 2.25, 2, 3, 4, 1]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{**record, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 1, "name": "bolt", "keypoints": ["head", "tip"]}],
    }
    source = tmp_path / "labels.json"
    source.write_text(json.dumps(content))
    target = tmp_path / "out" / ("tasks.json" if name == "label-studio" else "annotations.xml")
    target.parent.mkdir()
    convert = ["convert", str(source), str(target), "--to", name]
    assert main(convert) == 1, "something would be lost"
    assert not target.exists()
    assert main([*convert, "--allow-loss"]) == 0
    assert main(["roundtrip", str(target)]) == 0
    capsys.readouterr()
    assert main(["info", "--json", str(target)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["images"]["n"], told["instances"]["n"]) == (name, 1, 1)
    assert told["keypoints"] == {"visible": 1, "occluded": 1, "unlabeled": 0}


# --- strangers ----------------------------------------------------------------------------------

BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise("abcdefghi"))
    + "]>"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BOMB + document("&i;"), "has a document type or entities", id="bomb"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + document("&x;"),
            "has a document type or entities",
            id="external entity",
        ),
        pytest.param(document("<a>" * 60 + "</a>" * 60), "more than 50 elements", id="deep"),
        pytest.param(document()[:-20], "not well-formed XML: unclosed", id="cut off"),
        pytest.param(b"\xff\xfe<\x00a", "XML", id="half of UTF-16"),
        pytest.param('<?xml version="1.0" encoding="x-no"?><annotations/>', "XML", id="encoding"),
        pytest.param("<html/>", "expected <annotations>, got <html>", id="another root"),
        pytest.param("", "not well-formed XML", id="empty"),
        pytest.param(
            document('<track id="0"/>'), "read it with format='cvat-video'", id="video as images"
        ),
        pytest.param(
            document(IMAGE.replace("1.5,2.25", "nan,2")),
            r"'points' is 'nan,2', expected x,y",
            id="NaN",
        ),
        pytest.param(document(IMAGE.replace("1.5,2.25", "1e400,2")), "expected x,y", id="1e400"),
        pytest.param(
            document(IMAGE.replace("1.5,2.25", "1e200,2")), "at most 1e\\+100", id="1e200"
        ),
        pytest.param(document(IMAGE.replace("1.5,2.25", "")), "'points' is ''", id="no points"),
        pytest.param(
            document(IMAGE.replace("1.5,2.25", "1,2;3,4")), "'points' is '1,2;3,4'", id="two points"
        ),
        pytest.param(
            document(IMAGE.replace(' occluded="1"', "")), "'occluded' is missing", id="no occluded"
        ),
        pytest.param(
            document(IMAGE.replace('outside="0"', 'outside="yes"')),
            "expected '0' or '1'",
            id="flag",
        ),
        pytest.param(
            document(IMAGE.replace('width="64"', 'width="0"')), "is '0' x '48' px", id="0 px"
        ),
        pytest.param(
            document(IMAGE.replace('width="64"', 'width="1e9"')),
            "whole numbers above 0",
            id="1e9 px",
        ),
        pytest.param(
            document(IMAGE.replace('id="0"', "")), "expected an id of its own", id="no id"
        ),
        pytest.param(document(IMAGE + IMAGE), "expected an id of its own", id="id twice"),
        pytest.param(document(IMAGE.replace('name="a.png"', "")), "expected a name", id="no name"),
        pytest.param(
            document(IMAGE.replace('label="bolt"', 'label="car"')),
            "label 'car', expected one of the skeletons' labels: 'bolt'",
            id="unknown label",
        ),
        pytest.param(
            document(IMAGE.replace('"tip"', '"nut"')),
            "has no keypoint 'nut'; expected 'head', 'tip'",
            id="unknown point",
        ),
        pytest.param(
            document(IMAGE.replace('"tip"', '"head"')),
            "has the point 'head' twice",
            id="point twice",
        ),
        pytest.param(
            document().replace("data-label-name", "data-label-id"),
            "has no 'data-label-name'",
            id="svg",
        ),
        pytest.param(
            document().replace(SVG, "&lt;circle"),
            "label 'bolt': svg: not well-formed",
            id="broken svg",
        ),
        pytest.param(
            document().replace(SVG, "&lt;!DOCTYPE a []&gt;"),
            "label 'bolt': svg",
            id="bomb in the svg",
        ),
    ],
)
def test_bad_file_is_refused_in_words(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FormatError, match=message) as caught:
        kp.read(path, format="cvat-images")
    assert str(path) in str(caught.value)


def test_all_problems_are_named_at_once_and_can_be_skipped(tmp_path: Path) -> None:
    bad = SKELETON.replace("1.5,2.25", "x").replace('occluded="1"', 'occluded="2"')
    body = IMAGE.replace("</image>", f"{bad}{SKELETON.replace('bolt', 'nut')}</image>")
    path = written(tmp_path, document(body))
    with pytest.raises(FormatError) as caught:
        kp.read(path)
    first, second, _ = caught.value.problems
    assert "image 'a.png' (id '0'): skeleton 2 ('bolt'): point 'head': 'points' is 'x'" in first
    assert "point 'tip': 'occluded' is '2', expected '0' or '1'" in first
    assert "skeleton 3: label 'nut'" in second
    with pytest.warns(UserWarning, match="left out, 2 problems"):
        dataset = kp.read(path, on_error="skip")
    assert len(dataset.instances) == 1
    assert len(dataset.skipped) == 2


def test_task_that_promises_a_billion_frames_is_not_believed(tmp_path: Path) -> None:
    track = (
        '<track id="0" label="bolt"><skeleton frame="8" keyframe="1">'
        + (HEAD + TIP).replace("<points", '<points keyframe="1"')
        + "</skeleton></track>"
    )
    meta = (
        "<meta><task><size>999999999999</size><start_frame>0</start_frame>"
        f"<stop_frame>999999999998</stop_frame>{LABELS}</task></meta>"
    )
    with pytest.warns(UserWarning, match="999,999,999,999 frames, more than 200,000"):
        dataset = kp.read(written(tmp_path, document(track, meta)))
    assert [image.id for image in dataset.images] == [8]


def test_small_file_that_would_be_a_huge_dataset_is_refused(tmp_path: Path) -> None:
    frames = "".join(f'<skeleton frame="{i}" keyframe="1"/>' for i in range(5000))
    point = '<points frame="0" outside="0" occluded="0" points="1,1"/>'
    parts = "".join(f'<track label="{i}">{point}</track>' for i in range(3000))
    body = f'<track id="0" label="x">{frames}{parts}</track>'
    with pytest.raises(FormatError, match="15,000,000 keypoints, of which it tells of 3,000"):
        quietly(written(tmp_path, document(body, meta="")))


def test_file_name_cannot_lead_out(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    path = written(tmp_path / "labels", document(IMAGE.replace("a.png", "../a.png")))
    with pytest.raises(ValueError, match="leads out"):
        kp.read(path).images[0].open()


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(7, id="number"),
        pytest.param({"attributes": {"x><script": "1"}}, id="name of an attribute"),
        pytest.param({"attributes": {"x": 1}}, id="number as text"),
        pytest.param({"attributes": {"name": "b.png"}}, id="attribute that is there already"),
        pytest.param({"shapes": ["<box/></image><evil/>"]}, id="two elements"),
        pytest.param({"shapes": [BOMB + "<box>&i;</box>"]}, id="bomb"),
        pytest.param({"shapes": [{"a": 1}]}, id="no text"),
    ],
)
def test_what_another_file_says_was_kept_is_not_written_unseen(kept: Any, tmp_path: Path) -> None:
    dataset = Dataset(Schema("bolt", ["head", "tip"]))
    dataset._add_image(
        ImageState(1, "a.png", None, recorded_size=(64, 48), extra={"cvat": kept})
    )  # fmt: skip
    with pytest.raises(ValueError, match="'cvat'"):
        kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    assert not (tmp_path / "out.xml").exists()


def test_name_that_xml_cannot_hold_is_refused(tmp_path: Path) -> None:
    dataset = Dataset(Schema("bolt", ["head", "tip"]))
    dataset._add_image(ImageState(1, "a\x01.png", None, recorded_size=(64, 48)))
    with pytest.raises(ValueError, match="characters that XML cannot hold"):
        kp.write(dataset, tmp_path / "out.xml", format="cvat-images")


# --- rectangles in the group of a skeleton ------------------------------------------------------

GROUPED = SKELETON.replace("<skeleton ", '<skeleton group_id="4" ')
BOX = (
    '<box label="car" source="manual" occluded="0" xtl="0.30" ytl="1.10" xbr="40.10" ybr="9" '
    'z_order="1" group_id="4"><attribute name="id">7</attribute></box>'
)


def image_of(*shapes: str) -> str:
    return document(f'<image id="0" name="a.png" width="64" height="48">{"".join(shapes)}</image>')


def check_rectangles_stay(path: Path, said: str, besides: str, form: str) -> None:
    """Rectangles are told to be the bbox of no instance, and are written again as they are."""
    with pytest.warns(UserWarning, match=said), pytest.warns(UserWarning, match=besides):
        dataset = kp.read(path)
    assert {instance.bbox_source for instance in dataset.instances} == {"derived"}
    kp.write(dataset, path.with_name("out.xml"), format=form)
    assert boxes_in(path.with_name("out.xml")) == boxes_in(path)


def boxes_in(path: Path) -> list[dict[str, str]]:
    """Attributes of the boxes of a file, by a parse of its own."""
    return [element.attrib for element in ET.parse(path).iter("box")]


def bboxes(dataset: Dataset) -> list[Any]:
    return [(i.image.id, i.bbox, i.bbox_source) for i in dataset.instances]


def test_rectangle_in_the_group_of_a_skeleton_is_its_bbox_and_is_written_as_it_was(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, image_of(BOX, GROUPED))
    dataset = kp.read(path)  # nothing is left to warn of
    (bolt,) = dataset.instances
    # xbr - xtl and ybr - ytl
    assert bolt.bbox == pytest.approx((0.3, 1.1, 39.8, 7.9), abs=1e-12)
    assert bolt.bbox_source == "given"
    kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    assert boxes_in(tmp_path / "out.xml") == boxes_in(path)
    assert bboxes(kp.read(tmp_path / "out.xml")) == bboxes(dataset)

    bolt.set_bbox((2, 3, 10, 11.5))
    kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    corners = {"xtl": "2.00", "ytl": "3.00", "xbr": "12.00", "ybr": "14.50"}
    assert boxes_in(tmp_path / "out.xml") == [{**boxes_in(path)[0], **corners}]
    assert kp.read(tmp_path / "out.xml").instances[0].bbox == (2, 3, 10, 11.5)

    bolt.set_bbox(None)
    kp.write(dataset, tmp_path / "out.xml", format="cvat-images")
    assert boxes_in(tmp_path / "out.xml") == []
    dataset.undo()
    with pytest.raises(LossError, match="the bbox of 1 instance"):
        kp.write(dataset, tmp_path / "video.xml", format="cvat-video")
    dataset.add_instance("a.png", "bolt", keypoints={"tip": (1, 1)}, bbox=(0, 0, 4, 4))
    with pytest.raises(LossError, match="the bbox of 1 instance"):  # no rectangle to write it as
        kp.write(dataset, tmp_path / "out.xml", format="cvat-images")


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param((GROUPED, BOX, BOX), id="two rectangles"),
        pytest.param((GROUPED, GROUPED, BOX), id="two skeletons"),
        pytest.param((GROUPED, BOX.replace("<box", '<box rotation="30.00"')), id="turned"),
        pytest.param((GROUPED, BOX.replace('"0.30"', '"50"')), id="corners exchanged"),
        pytest.param((GROUPED, BOX.replace('"0.30"', '"nan"')), id="no number"),
    ],
)
def test_rectangle_that_cannot_be_the_bbox_of_its_group_stays_a_shape_and_it_is_told(
    shapes: tuple[str, ...], tmp_path: Path
) -> None:
    path = written(tmp_path, image_of(*shapes))
    said = r"rectangles of 1 group with .* the bbox of none .*: image 'a.png' \(id '0'\): group '4'"
    check_rectangles_stay(path, said, "besides", "cvat-images")


def test_rectangle_of_another_group_or_of_none_stays_a_shape(tmp_path: Path) -> None:
    none = [text.replace('group_id="4"', 'group_id="0"') for text in (GROUPED, BOX)]
    path = written(tmp_path, image_of(*none, BOX))
    with pytest.warns(UserWarning, match="2 shapes besides skeletons") as caught:
        dataset = kp.read(path)
    assert "the bbox of none" not in str(caught[0].message)
    assert dataset.instances[0].bbox_source == "derived"


def video_of(*boxes: str, others: str = "") -> str:
    """Three frames of a skeleton; with `boxes`, a track of these in its group."""
    skeletons = [
        f'<skeleton frame="{n}" z_order="0">{HEAD}{TIP}</skeleton>'.replace(
            "<points ", f'<points keyframe="{int(n != 1)}" '
        )
        for n in range(3)
    ]
    body = f'<track id="0" label="bolt" source="manual" group_id="4">{"".join(skeletons)}</track>'
    if boxes:
        body += f'<track id="1" label="car" source="manual" group_id="4">{"".join(boxes)}</track>'
    task = f"<task><size>5</size><start_frame>0</start_frame><stop_frame>4</stop_frame>{LABELS}"
    return document(body + others, f"<meta>{task}</task></meta>")


def box_of(frame: int, keyframe: int = 1, outside: int = 0, right: str = "40.10") -> str:
    return (
        f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" occluded="0" xtl="0.30" '
        f'ytl="1.10" xbr="{right}" ybr="9.00" z_order="0"></box>'
    )


def test_track_of_rectangles_in_the_group_of_a_track_is_its_bboxes_and_is_written_as_it_was(
    tmp_path: Path,
) -> None:
    boxes = (box_of(0), box_of(1, 0, right="30.30"), box_of(2, outside=1), box_of(3))
    path = written(tmp_path, video_of(*boxes))
    dataset = kp.read(path)
    # In frame 2 the rectangle is outside; in frame 3 it is alone, for the skeleton ends with 2.
    assert [i.bbox_source for i in dataset.instances] == ["given", "given", "derived"]
    assert dataset.instances[1].bbox == pytest.approx((0.3, 1.1, 30, 7.9), abs=1e-12)
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    assert boxes_in(tmp_path / "out.xml") == boxes_in(path)
    assert bboxes(kp.read(tmp_path / "out.xml")) == bboxes(dataset)


def test_bboxes_of_a_track_that_were_edited_are_keyframes_and_so_are_those_after_them(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, video_of(box_of(0), box_of(1, 0), box_of(2, 0)))
    dataset = kp.read(path)
    first, second, third = dataset.instances
    second.set_bbox((1, 2, 3, 4))
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    written_boxes = boxes_in(tmp_path / "out.xml")
    assert [box["keyframe"] for box in written_boxes] == ["1", "1", "1"]
    assert [box["xbr"] for box in written_boxes] == ["40.10", "4.00", "40.10"]
    assert kp.read(tmp_path / "out.xml").instances[1].bbox == (1, 2, 3, 4)

    first.set_bbox(None)
    third.remove()
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    assert [box["outside"] for box in boxes_in(tmp_path / "out.xml")] == ["1", "0", "1"]
    (track,) = ET.parse(tmp_path / "out.xml").findall("track[box]")
    assert track.attrib == {"id": "1", "label": "car", "source": "manual", "group_id": "4"}


def test_bbox_after_the_last_rectangle_of_its_track_is_one_more_and_ends_it(tmp_path: Path) -> None:
    dataset = kp.read(written(tmp_path, video_of(box_of(0), box_of(1, outside=1))))
    dataset.instances[2].set_bbox((1, 2, 3, 4))
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    found = [(b["frame"], b["outside"], b["xbr"]) for b in boxes_in(tmp_path / "out.xml")]
    expected = [("0", "0", "40.10"), ("1", "1", "40.10"), ("2", "0", "4.00"), ("3", "1", "4.00")]
    assert found == expected
    assert bboxes(kp.read(tmp_path / "out.xml")) == bboxes(dataset)


def test_track_of_rectangles_in_a_group_with_another_one_stays_a_track(tmp_path: Path) -> None:
    other = f'<track id="2" label="car" group_id="4">{box_of(0)}</track>'
    path = written(tmp_path, video_of(box_of(0), others=other))
    said = r"rectangles of 1 group .* tracks \[0\]: group '4'"
    check_rectangles_stay(path, said, "2 track of box", "cvat-video")


def test_first_rectangle_of_a_part_is_a_keyframe(tmp_path: Path) -> None:
    # As its skeleton: CVAT imports keyframes alone, and shows nothing before the first.
    path = written(tmp_path, video_of(box_of(0), box_of(1, 0), box_of(2)))
    names = [image.file_name for image in kp.read(path).images]
    part = kp.read(path).split({"rest": names[:1], "part": names[1:]})["part"]
    kp.write(part, tmp_path / "out.xml", format="cvat-video")
    found = [(box["frame"], box["keyframe"]) for box in boxes_in(tmp_path / "out.xml")]
    assert found == [("1", "1"), ("2", "1")]


def test_rectangles_in_the_group_of_a_track_that_cannot_be_used(tmp_path: Path) -> None:
    text = video_of(box_of(0)).replace('points="', 'points="at ')
    with pytest.raises(FormatError, match="'points' is 'at 1.5,2.25', expected x,y"):
        kp.read(written(tmp_path, text))


def test_rectangle_that_was_alone_stays_when_its_skeleton_is_added_without_a_bbox(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, video_of(*(box_of(n) for n in range(4))))
    dataset = kp.read(path)  # the skeleton ends with frame 2
    dataset.add_instance(3, "bolt", keypoints={"tip": (1, 1)}, track_id=0)
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    assert boxes_in(tmp_path / "out.xml") == boxes_in(path)


def test_new_track_has_neither_the_number_nor_the_rectangles_of_another(tmp_path: Path) -> None:
    other = f'<track id="3" label="car">{box_of(0)}</track>'
    path = written(tmp_path, video_of(box_of(0), box_of(1), box_of(2), others=other))
    dataset = quietly(path)
    dataset.instances[0].remove()
    for _ in range(2):
        dataset.add_instance(0, "bolt", keypoints={"tip": (1, 1)})
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    tracks = ET.parse(tmp_path / "out.xml").findall("track")
    # 0 is the skeleton, 1 its rectangles, 3 another shape.
    assert [track.get("id") for track in tracks] == ["0", "1", "2", "4", "3"]
    for instance in dataset.instances[:-2]:
        instance.remove()
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    tracks = ET.parse(tmp_path / "out.xml").findall("track")
    assert [(track.get("id"), track.get("group_id")) for track in tracks] == [
        ("2", None), ("4", None), ("3", None)
    ]  # fmt: skip


# --- tracks with gaps ---------------------------------------------------------------------------


def test_interpolated_instance_after_one_that_was_removed_is_a_keyframe(tmp_path: Path) -> None:
    # CVAT imports keyframes alone: after one that is outside it shows nothing before the next.
    path = written(tmp_path, video_of().replace('points keyframe="1"', 'points keyframe="0"'))
    dataset = kp.read(path)
    assert {instance.source for instance in dataset.instances} == {"interpolated"}
    dataset.instances[1].remove()
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    skeletons = ET.parse(tmp_path / "out.xml").findall("track/skeleton")
    found = [(e.get("frame"), e[0].get("keyframe"), e[0].get("outside")) for e in skeletons]
    assert found == [("0", "1", "0"), ("1", "1", "1"), ("2", "1", "0"), ("3", "1", "1")]


def test_track_that_is_outside_in_all_frames_is_written_again(tmp_path: Path) -> None:
    path = written(tmp_path, video_of(box_of(0)).replace('outside="0"', 'outside="1"'))
    with pytest.warns(UserWarning, match="1 track that is nowhere, 1 track of box"):
        dataset = kp.read(path)
    assert (len(dataset.images), len(dataset.instances)) == (5, 0)
    kp.write(dataset, tmp_path / "out.xml", format="cvat-video")
    before, after = (
        [ET.canonicalize(ET.tostring(e), strip_text=True) for e in ET.parse(file).iter("track")]
        for file in (path, tmp_path / "out.xml")
    )
    assert len(before) == 2
    assert after == before


def test_a_long_attribute_is_not_begun_anew_with_every_16_kib() -> None:
    file = xml_text._InPieces(io.BytesIO(bytes(10 << 20)))
    pieces = [len(piece) for piece in iter(lambda: file.read(16 << 10), b"")]
    assert sum(pieces) == 10 << 20
    # 32 pieces are 512 KiB, and each after that makes it a 32nd more: ln(20) / ln(33 / 32) = 97.
    assert len(pieces) < 140
