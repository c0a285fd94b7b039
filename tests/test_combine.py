"""Datasets taken apart and put together. Expected values are worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpwidget.dataset import Dataset, ImageState
from kpwidget.dataset.combine import split_images
from kpwidget.schema import Schema

SCHEMA = Schema("bolt", ["head", "tip"], [(1, 2)])


def dataset_of(*file_names: str) -> Dataset:
    """Images of 100 x 80 px without files, with the ids 1, 2, ..."""
    dataset = Dataset(SCHEMA, annotator="ada")
    for i, name in enumerate(file_names):
        dataset._add_image(ImageState(i + 1, name, None, recorded_size=(100, 80)))
    return dataset


def frames(n: int) -> Dataset:
    return dataset_of(*(f"{i:03}.png" for i in range(n)))


# --- split --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "parts", "sizes"),
    [
        pytest.param(10, {"train": 0.8, "val": 0.2}, [8, 2], id="no remainder"),
        # 7 * 0.5 = 3.5, 7 * 0.3 = 2.1, 7 * 0.2 = 1.4: the one image left goes to the half.
        pytest.param(7, {"a": 0.5, "b": 0.3, "c": 0.2}, [4, 2, 1], id="largest remainder"),
        # 5.8 and 14.2
        pytest.param(20, {"a": 0.29, "b": 0.71}, [6, 14], id="rounded up"),
        # 0.29 * 100 is below 29 in binary.
        pytest.param(100, {"a": 0.29, "b": 0.71}, [29, 71], id="binary fractions"),
        pytest.param(3, {"a": 0.5, "b": 0.5}, [2, 1], id="equal remainders go by name"),
        pytest.param(10, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, [4, 3, 3], id="thirds"),
        pytest.param(5, {"all": 1}, [5], id="one part"),
        pytest.param(0, {"a": 0.5, "b": 0.5}, [0, 0], id="no images"),
    ],
)
def test_sizes_are_by_largest_remainder(n: int, parts: dict[str, float], sizes: list[int]) -> None:
    split = split_images(frames(n), parts)
    assert list(split) == list(parts)
    assert [len(indices) for indices in split.values()] == sizes
    assert sorted(i for indices in split.values() for i in indices) == list(range(n))
    assert all(indices == sorted(indices) for indices in split.values())


def test_same_seed_same_images_whatever_the_order() -> None:
    dataset = frames(50)
    split = split_images(dataset, {"train": 0.8, "val": 0.2}, seed=3)
    assert split_images(dataset, {"val": 0.2, "train": 0.8}, seed=3) == split
    assert split_images(dataset, {"train": 0.8, "val": 0.2}, seed=4) != split
    backwards = dataset_of(*(image.file_name for image in reversed(list(dataset.images))))
    other = split_images(backwards, {"train": 0.8, "val": 0.2}, seed=3)
    names = [{dataset.images[i].file_name for i in split[part]} for part in split]
    assert [{backwards.images[i].file_name for i in other[part]} for part in other] == names
    assert split["val"] != list(range(40, 50)), "not shuffled"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param(
            {"a": 0.8, "b": 0.3},
            r"^cannot split: the ratios 0.8 \+ 0.3 have the sum 1.1, expected 1$",
            id="sum",
        ),
        pytest.param(
            {"a": 0, "b": -0.5, "c": float("nan")},
            "part 'a' is 0, expected a ratio above 0; part 'b' is -0.5, expected a ratio above 0; "
            "part 'c' is nan",
            id="not positive",
        ),
        pytest.param({"a": 0.5, "b": ["000.png"]}, "part 'b' is .*while other parts are", id="mix"),
        pytest.param({"a": "000.png"}, "part 'a' is '000.png', expected a ratio, a list", id="str"),
    ],
)
def test_wrong_ratios_are_refused(parts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_images(frames(4), parts)


@pytest.mark.parametrize("parts", [{}, None, 0.8, {1: 0.5, 2: 0.5}])
def test_parts_are_a_mapping_by_name(parts: Any) -> None:
    with pytest.raises(TypeError, match="^(names of )?parts are"):
        split_images(frames(4), parts)


def test_lists_of_images_by_name_position_or_itself() -> None:
    dataset = frames(5)
    parts = {"val": ["001.png", np.int64(3)], "test": [dataset.images[0]], "train": "rest"}
    assert split_images(dataset, parts) == {"val": [1, 3], "test": [0], "train": [2, 4]}


def test_all_that_is_wrong_with_lists_is_named_at_once() -> None:
    parts = {"a": ["000.png", "x.png"], "b": [0, 9, 1, 1], "c": None}
    with pytest.raises(ValueError, match="^cannot split: ") as caught:
        split_images(frames(9), parts)  # type: ignore[arg-type]
    assert str(caught.value).removeprefix("cannot split: ").split("; ") == [
        "part 'a': no image has the file name 'x.png'",
        "there are '000.png', '001.png', '002.png', ...",
        "image '000.png' is in 'a' and 'b'",
        "part 'b': there is no image 9: there are 9 images",
        "image '001.png' is twice in part 'b'",
        "part 'c' is None, expected a ratio, a list of images or 'rest'",
        "7 images in no part: '002.png', '003.png', '004.png', '005.png', '006.png' and 2 more",
        "name them or give a part as 'rest'",
    ]
    with pytest.raises(ValueError, match="parts 'a' and 'b' are all 'rest'"):
        split_images(frames(2), {"a": "rest", "b": "rest"})


def test_groups_stay_together_and_sizes_come_near() -> None:
    # Five folders of ten: four to train, one to val.
    dataset = dataset_of(*(f"clip{c}/{i}.png" for c in range(5) for i in range(10)))
    for seed in range(5):
        split = split_images(dataset, {"train": 0.8, "val": 0.2}, seed, "folder")
        assert [len(indices) for indices in split.values()] == [40, 10]
        folders = [{i // 10 for i in indices} for indices in split.values()]
        assert folders[0].isdisjoint(folders[1])
    seen = {split_images(dataset, {"train": 0.8, "val": 0.2}, s, "folder")["val"][0] // 10
            for s in range(20)}  # fmt: skip
    assert len(seen) > 1, "the seed chooses among the groups"


def test_groups_of_unequal_size_go_where_most_is_lacking() -> None:
    # Sizes 6, 3, 2, 1 for targets 8 and 4: 6 to a; 3 to b (lacks 4, a 2); 2 to a; 1 to b.
    sizes = {"w": 6, "x": 3, "y": 2, "z": 1}
    dataset = dataset_of(*(f"{g}_{i}.png" for g, n in sizes.items() for i in range(n)))
    split = split_images(dataset, {"a": 2 / 3, "b": 1 / 3}, group=lambda i: i.file_name[0])
    assert split == {"a": [*range(6), 9, 10], "b": [6, 7, 8, 11]}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        pytest.param("folder", [0, 0, 0, 0, 1, 2], id="folder"),
        pytest.param("clip", [0, 0, 1, 2, 3, 4], id="clip"),
        pytest.param(lambda image: image.id % 2, [0, 1, 0, 1, 0, 1], id="callable"),
    ],
)
def test_what_is_one_group(group: Any, expected: list[int]) -> None:
    # walk_1 and walk (2) are one clip, run-3 another; 7.png in b is not the walk in a.
    names = ["a/walk_1.png", "a/walk (2).jpg", "a/run-3.png", "a/still.png", "b\\walk_4.png",
             "walk5.png"]  # fmt: skip
    dataset = dataset_of(*names)
    n = len(set(expected))
    together = split_images(dataset, {f"p{i}": 1 / n for i in range(n)}, group=group)
    found = {frozenset(indices) for indices in together.values()}
    assert found == {frozenset(np.flatnonzero(np.equal(expected, g)).tolist()) for g in range(n)}


def test_groups_by_name_and_what_is_wrong_with_groups() -> None:
    dataset = frames(4)
    groups = {"000.png": 1, "001.png": 2, "002.png": 1, "003.png": 2}
    split = split_images(dataset, {"a": 0.5, "b": 0.5}, group=groups)
    assert {tuple(indices) for indices in split.values()} == {(0, 2), (1, 3)}
    with pytest.raises(ValueError, match="2 images without a group: '002.png', '003.png'"):
        split_images(dataset, {"a": 1}, group=dict(list(groups.items())[:2]))
    with pytest.raises(ValueError, match=r"2 parts need as many groups, and there are 1: .*\(4 im"):
        split_images(dataset, {"a": 0.5, "b": 0.5}, group="clip")
    with pytest.raises(ValueError, match="group is 'folder', 'clip'.*not 'video'"):
        split_images(dataset, {"a": 1}, group="video")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the group of image '000.png' is \\[\\]"):
        split_images(dataset, {"a": 1}, group=lambda image: [])  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="group 1 has '000.png' in 'a' and '002.png' in 'b'$"):
        split_images(dataset, {"a": [0, 1, 3], "b": [2]}, group=groups)
