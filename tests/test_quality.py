"""Agreement, sigmas and merge candidates against numbers worked by hand and other programs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib import colors

import kpwidget as kp
from kpwidget.quality import Agreement

N = 10


def dataset(
    schema: kp.Schema, points: Sequence[np.ndarray], annotator: str = "anna", side: float = 100
) -> kp.Dataset:
    """One instance an image, of an area of side x side."""
    images = {f"{i}.png": np.zeros((1, 1)) for i in range(len(points))}
    ds = kp.Dataset.from_images(images, schema, annotator=annotator)
    for i, xy in enumerate(points):
        ds.add_instance(i, keypoints=xy, bbox=(0, 0, side, side), uid=str(i))
    return ds


def with_pass(ds: kp.Dataset, points: Sequence[np.ndarray], name: str = "second") -> kp.Dataset:
    again = ds.start_pass(name, annotator="ben")
    for i, xy in enumerate(points):
        again.add_instance(i, keypoints=xy)
    report = ds.add_pass(again, name)
    assert (report.n_added, report.unmatched, report.unmatched_other) == (len(points), (), ())
    return ds


def row_of(table: object, keypoint: str) -> dict[str, object]:
    [row] = table[table.keypoint == keypoint].to_dict("records")  # type: ignore[index, attr-defined]
    return row  # type: ignore[no-any-return]


# --- sigmas -------------------------------------------------------------------------------------


def test_sigma_by_hand() -> None:
    # Without edges the frame is the image's. Ten instances of 100 x 100 px, the second point 3 px
    # to the right and to the left in turn: sum |p1 - p2|^2 / 2 = 45, one degree goes to the offset
    # (0).
    schema = kp.Schema("two", ["a", "b"])
    first = [np.array([[20, 20], [60, 60]], float)] * N
    second = [xy + np.array([[3 * (-1) ** i, 0], [0, 0]]) for i, xy in enumerate(first)]
    table = kp.quality.measure_sigmas(with_pass(dataset(schema, first), second))
    row = row_of(table, "a")
    assert row["n"] == N
    assert row["sigma"] == pytest.approx(math.sqrt(45 / 10_000 / 9))
    assert row["sigma_total"] == pytest.approx(math.sqrt(45 / 10_000 / 10))
    # The median of an exponential is ln 2 of its mean.
    assert row["sigma_median"] == pytest.approx(math.sqrt(4.5 / 10_000 / math.log(2)))
    # Chi-square with 18 degrees of freedom, table: 8.231 and 31.526.
    assert row["sigma_low"] == pytest.approx(row["sigma"] * math.sqrt(18 / 31.526), rel=1e-4)
    assert row["sigma_high"] == pytest.approx(row["sigma"] * math.sqrt(18 / 8.231), rel=1e-4)
    assert row_of(table, "b")["sigma"] == 0
    assert table["source"].tolist() == ["measured", "measured"]


def test_a_constant_offset_is_no_scatter() -> None:
    schema = kp.Schema("two", ["a", "b"])
    rng = np.random.default_rng(0)
    first = [np.array([[20, 20], [60, 60]], float)] * 40
    noise = rng.normal(0, 2, (40, 2, 2))
    without, with_one = (
        kp.quality.measure_sigmas(
            with_pass(dataset(schema, first), list(np.array(first) + noise + [[by, 0], [0, 0]]))
        )
        for by in (0, 12)
    )
    assert with_one["sigma"].tolist() == pytest.approx(without["sigma"].tolist())
    # 12 px between two are 6 from the mean for each: 2 * 36 more in the sum of squares.
    more = with_one["sigma_total"][0] ** 2 - without["sigma_total"][0] ** 2
    mean = float(noise[:, 0, 0].mean())
    assert more == pytest.approx((72 + 12 * mean) / 10_000, rel=1e-6)


def test_sigmas_of_three_people_with_gaps_are_those_of_least_squares() -> None:
    # Oracle: numpy's least squares of the model place = instance + person + noise.
    schema = kp.Schema("two", ["a", "b"])
    rng = np.random.default_rng(1)
    n = 30
    truth = rng.uniform(20, 80, (n, 1, 2, 2))
    places = truth + rng.normal(0, 2, (n, 3, 2, 2)) + [[[0, 0]], [[4, 1]], [[-3, 2]]]
    is_there = rng.random((n, 3)) < 0.8
    is_there[:, 0] = True
    ds = dataset(schema, list(places[:, 0]))
    for j, name in ((1, "second"), (2, "third")):
        again = ds.start_pass(name, annotator=name)
        for i in np.flatnonzero(is_there[:, j]).tolist():
            again.add_instance(i, keypoints=places[i, j])
        ds.add_pass(again, name)
    table = kp.quality.measure_sigmas(ds)
    used = is_there.sum(axis=1) > 1
    i, j = np.nonzero(is_there & used[:, None])
    design = np.zeros((len(i), n + 3))
    design[np.arange(len(i)), i] = design[np.arange(len(i)), n + j] = 1
    values = places[i, j, 0] / 100
    fit = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    dof = len(i) - np.linalg.matrix_rank(design)
    expected = math.sqrt(((values - fit) ** 2).sum() / dof)
    assert table["n"].tolist() == [int(used.sum())] * 2
    assert table["sigma"][0] == pytest.approx(expected, rel=1e-9)


def test_too_few_instances_have_no_sigma_but_a_fallback() -> None:
    schema = kp.Schema("two", ["a", "b"])
    first = [np.array([[20, 20], [60, 60]], float)] * 9
    ds = with_pass(dataset(schema, first), [xy + 1 for xy in first])
    table = kp.quality.measure_sigmas(ds)
    assert table["sigma"].isna().all()
    assert set(table["source"]) == {"not enough data"}
    table = kp.quality.measure_sigmas(ds, fallback=0.05)
    assert table["sigma"].tolist() == [0.05, 0.05]
    assert set(table["source"]) == {"fallback"}
    with pytest.raises(ValueError, match=r"expected a number above 0, or 2 of them, got \[1.0\]"):
        kp.quality.measure_sigmas(ds, fallback=[1.0])


def test_measured_sigmas_make_a_schema() -> None:
    schema = kp.Schema("two", ["a", "b"])
    rng = np.random.default_rng(2)
    first = list(rng.uniform(0, 99, (N, 2, 2)))
    ds = with_pass(dataset(schema, first), [xy + rng.normal(0, 2, (2, 2)) for xy in first])
    table = kp.quality.measure_sigmas(ds)
    made = kp.Schema("two", ["a", "b"], sigmas=table["sigma"].tolist(), sigma_source="measured")
    assert made.sigmas is not None
    assert list(made.sigmas) == table["sigma"].tolist()
    assert made.sigma_source == "measured"


# --- agreement ----------------------------------------------------------------------------------


def limbs(n: int, seed: int = 0) -> tuple[kp.Schema, np.ndarray, np.ndarray]:
    """A limb of 50 px in n directions, and its directions."""
    schema = kp.Schema("limb", ["shoulder", "elbow"], [(1, 2)], sigmas=[0.05, 0.05])
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    start = np.full((n, 2), 60.0)
    return schema, np.stack([start, start + 50 * along], axis=1), along


def test_an_offset_along_the_limb_is_told_whatever_the_pose() -> None:
    schema, truth, along = limbs(20)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)  # clockwise on the screen: y is down
    second = truth.copy()
    second[:, 1] += 6 * along
    second[:, 0] += 2 * across
    # A little scatter, the same in all directions, of the mean 0.
    second[:, :, 0] += np.tile([0.5, -0.5], 10)[:, None]
    result = kp.quality.agreement(with_pass(dataset(schema, list(truth)), list(second)))
    elbow = row_of(result.keypoints, "elbow")
    assert (elbow["verdict"], elbow["limb"], elbow["n"]) == ("two conventions", "shoulder", 20)
    assert elbow["along"] == pytest.approx(6, abs=0.3)
    assert elbow["across"] == pytest.approx(0, abs=0.5)  # the limb itself is turned by both
    assert elbow["offset_px"] == pytest.approx(6, abs=0.3)
    assert elbow["along_low"] < 6 < elbow["along_high"]
    shoulder = row_of(result.keypoints, "shoulder")
    # The limb at the shoulder comes from the elbow, so that clockwise is the other way around.
    assert shoulder["across"] == pytest.approx(-2, abs=0.3)
    assert shoulder["along"] == pytest.approx(0, abs=0.3)
    assert "elbow: two conventions: the second is away by 5.9 px" in str(result)
    assert str(result).endswith("no flip pairs: left-right swaps were not looked for")


def test_the_interval_of_an_offset_by_hand() -> None:
    # Offsets of +-2 px around 5 px in x: sd = 2 * sqrt(10/9), t(9, .975) = 2.262, table.
    schema = kp.Schema("two", ["a", "b"])
    first = [np.array([[20, 20], [60, 60]], float)] * N
    second = [xy + np.array([[5 + 2 * (-1) ** i, 0], [0, 0]]) for i, xy in enumerate(first)]
    result = kp.quality.agreement(with_pass(dataset(schema, first), second))
    a = row_of(result.keypoints, "a")
    half = 2.262 * 2 * math.sqrt(10 / 9) / math.sqrt(10)
    assert (a["limb"], a["along"]) == ("", pytest.approx(5))
    assert a["along_low"] == pytest.approx(5 - half, abs=1e-3)
    assert a["along_high"] == pytest.approx(5 + half, abs=1e-3)
    assert a["sd_along"] == pytest.approx(2 * math.sqrt(10 / 9))
    # 2 px of scatter between two people are sqrt(2) for each; one degree of ten goes to the offset.
    assert a["offset_sigma"] == pytest.approx(5 / (math.sqrt(2) * math.sqrt(10 / 9)))


def test_chance_is_that_of_all_ways_to_turn_the_images_around() -> None:
    # Oracle: Hotelling's T^2 of each of the 2^10 ways, by its definition.
    schema = kp.Schema("two", ["a", "b"])
    rng = np.random.default_rng(5)
    first = np.full((N, 2, 2), 50.0)
    first[:, 1] += 30
    offsets = rng.normal(0, 2, (N, 2)) + np.array((1.2, 0))
    second = first.copy()
    second[:, 0] += offsets
    result = kp.quality.agreement(with_pass(dataset(schema, list(first)), list(second)))

    def hotelling(values: np.ndarray) -> float:
        mean = values.mean(axis=0)
        return float(N * mean @ np.linalg.solve(np.cov(values.T), mean))

    ways = itertools.product((1, -1), repeat=N)
    all_ways = [hotelling(np.array(signs)[:, None] * offsets) for signs in ways]
    expected = np.mean(np.array(all_ways) >= hotelling(offsets) - 1e-9)
    assert 0.01 < expected < 0.5
    assert row_of(result.keypoints, "a")["p"] == pytest.approx(expected, abs=0.02)


def test_a_hard_point_scatters_more_than_its_sigma() -> None:
    schema, truth, _ = limbs(40)
    noise = np.random.default_rng(3).normal(0, 1, truth.shape) * [[[0.5], [15.0]]]
    result = kp.quality.agreement(with_pass(dataset(schema, list(truth)), list(truth + noise)))
    assert result.keypoints["verdict"].tolist() == ["fine", "hard point"]
    elbow = row_of(result.keypoints, "elbow")
    # One person's share of 15 px in each of two dimensions, in units of 100 px: .15.
    assert elbow["sigma"] == pytest.approx(0.15, rel=0.2)
    assert elbow["sigma_schema"] == 0.05
    assert "above 0.050, the schema's own" in str(elbow["reason"])


def test_without_sigmas_a_point_is_hard_against_the_others() -> None:
    schema = kp.Schema("five", list("abcde"))
    first = np.random.default_rng(4).uniform(0, 99, (40, 5, 2))
    noise = np.random.default_rng(5).normal(0, 1, first.shape)
    noise[:, 4] *= 6
    result = kp.quality.agreement(with_pass(dataset(schema, list(first)), list(first + noise)))
    assert result.keypoints["verdict"].tolist() == ["fine"] * 4 + ["hard point"]


def test_swaps_are_listed_and_taken_out_first() -> None:
    schema = kp.Schema(
        "face", ["nose", "left_eye", "right_eye"], [(1, 2), (1, 3)],
        flip_pairs=[("left_eye", "right_eye")],
    )  # fmt: skip
    first = np.tile([[50, 60], [70, 40], [30, 40]], (20, 1, 1)).astype(float)
    second = first + np.random.default_rng(6).normal(0, 1, first.shape)
    second[[3, 7]] = second[[3, 7]][:, [0, 2, 1]]
    result = kp.quality.agreement(with_pass(dataset(schema, list(first)), list(second)))
    assert result.swaps[["uid", "set", "left", "right"]].values.tolist() == [
        ["3", "second", "left_eye", "right_eye"],
        ["7", "second", "left_eye", "right_eye"],
    ]
    assert result.swaps["straight_px"].round(-1).tolist() == [40, 40]
    assert result.keypoints["n_swapped"].tolist() == [0, 2, 2]
    assert result.keypoints["n"].tolist()[1:] == [18, 18]
    assert set(result.keypoints["verdict"]) == {"fine"}
    assert result.keypoints["sd_along"].max() < 2  # 40 px of two swaps would be more
    assert str(result).endswith("left-right swaps: 2")


def test_pairs_are_those_of_the_built_in_schema_where_a_file_has_none() -> None:
    coco = kp.schemas.get("coco17")
    assert coco.layout is not None
    schema = kp.Schema("person", coco.keypoints, coco.skeleton)  # what a COCO file says of it
    first = np.tile(100 * coco.layout, (12, 1, 1))
    second = first.copy()
    second[4, [5, 6]] = second[4, [6, 5]]
    result = kp.quality.agreement(dataset(schema, list(first)), dataset(schema, list(second)))
    assert result.swaps[["uid", "left", "right"]].values.tolist() == [
        ["4", "left_shoulder", "right_shoulder"]
    ]
    assert "no flip pairs" not in str(result)


def test_points_that_lie_on_one_another_are_not_called_swapped() -> None:
    schema = kp.Schema("profile", ["left", "right"], flip_pairs=[("left", "right")])
    first = np.tile([[50, 50], [51, 50]], (200, 1, 1)).astype(float)
    second = first + np.random.default_rng(7).normal(0, 3, first.shape)
    ds = dataset(schema, list(first))
    again = dataset(schema, list(second), "ben")
    result = kp.quality.agreement(ds, again)
    assert result.n_instances == 200
    assert len(result.swaps) <= 2


def test_a_pass_may_have_any_name_and_nothing_in_common() -> None:
    schema, truth, along = limbs(12)
    second = truth + 3 * along[:, None] * [[[0], [1]]]
    ds = with_pass(dataset(schema, list(truth)), list(second), "labels")
    elbow = row_of(kp.quality.agreement(ds).keypoints, "elbow")
    assert elbow["offset_px"] == pytest.approx(3)
    other = dataset(schema, list(truth + 900))
    result = kp.quality.agreement(ds, other)
    assert (result.n_instances, len(result.unmatched)) == (0, 24)
    assert set(result.keypoints["verdict"]) == {"not enough data"}
    kp.plot_agreement(result)


def test_categories_of_one_name_are_told_apart() -> None:
    one, two = (kp.Schema(name, ["a", "b"], sigmas=[0.1, 0.1]) for name in ("x", "y"))
    images = {f"{i}.png": np.zeros((1, 1)) for i in range(N)}
    categories = [kp.Category(1, one, "same"), kp.Category(2, two, "same")]
    ds = kp.Dataset.from_images(images, categories)
    for i in range(N):
        ds.add_instance(i, categories[0], [(0, 0), (10, 0)], bbox=(0, 0, 100, 100))
        ds.add_instance(i, categories[1], [(0, 0), (50, 0)], bbox=(0, 0, 100, 100))
    found = kp.quality.merge_candidates(ds, categories[1])
    assert found["distance_px"].tolist() == [50, 50]


def test_nine_instances_are_not_enough() -> None:
    schema, truth, _ = limbs(9)
    result = kp.quality.agreement(with_pass(dataset(schema, list(truth)), list(truth + 20)))
    assert result.keypoints["verdict"].tolist() == ["not enough data"] * 2
    assert result.keypoints[["along", "offset_px", "p", "sigma"]].isna().all(axis=None)
    assert result.keypoints["reason"][0] == "9 instances, 10 are needed"


def test_flags_are_counted_and_compared() -> None:
    # The ten units of Krippendorff, Computing Krippendorff's alpha-reliability, section A: .095.
    one, other = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    schema = kp.Schema("two", ["a", "b"])

    def flagged(flags: Sequence[int]) -> list[np.ndarray]:
        return [np.array([[20, 20, 1 + flag], [60, 60, 2]], float) for flag in flags]

    result = kp.quality.agreement(with_pass(dataset(schema, flagged(one)), flagged(other)))
    a = row_of(result.flags, "a")
    assert (a["n"], a["n_agree"], a["share"]) == (10, 6, 0.6)
    assert a["alpha"] == pytest.approx(0.095, abs=5e-4)
    assert (a["v11"], a["v12"], a["v21"], a["v22"]) == (5, 3, 1, 1)
    # Wilson's interval of 6 of 10: 0.3127 to 0.8318.
    assert (a["share_low"], a["share_high"]) == (
        pytest.approx(0.3127, abs=1e-4),
        pytest.approx(0.8318, abs=1e-4),
    )
    b = row_of(result.flags, "b")
    assert b["share"] == 1
    assert math.isnan(b["alpha"])  # type: ignore[arg-type]


def test_two_datasets_agree_as_a_pass_does_and_unmatched_instances_are_listed() -> None:
    schema, truth, _ = limbs(12)
    other = truth + np.random.default_rng(8).normal(0, 1, truth.shape)
    of_pass = kp.quality.agreement(with_pass(dataset(schema, list(truth)), list(other)))
    first, second = dataset(schema, list(truth)), dataset(schema, list(other), "ben")
    first.add_instance(0, keypoints=truth[0] + 500, uid="alone")
    second.add_instance(1, keypoints=truth[1] - 500, uid="else")
    first.add_instance(0, bbox=(0, 0, 9, 9), uid="a box, no label")
    result = kp.quality.agreement(first, second)
    assert result.names == ("first", "second")
    assert result.unmatched.values.tolist() == [["alone", "first"], ["else", "second"]]
    numbers = ["along", "across", "sigma", "p"]
    np.testing.assert_allclose(result.keypoints[numbers], of_pass.keypoints[numbers])


def test_the_same_labels_twice_are_fine() -> None:
    schema, truth, _ = limbs(12)
    result = kp.quality.agreement(dataset(schema, list(truth)), dataset(schema, list(truth)))
    assert result.keypoints["verdict"].tolist() == ["fine", "fine"]
    assert result.keypoints["offset_px"].tolist() == [0, 0]
    assert result.keypoints["sigma"].tolist() == [0, 0]
    assert result.keypoints["reason"].tolist() == ["offset 0.0 px", "offset 0.0 px"]


def test_what_cannot_be_compared_is_refused_in_words() -> None:
    schema, truth, _ = limbs(10)
    ds = dataset(schema, list(truth))
    with pytest.raises(ValueError, match=r"nobody has labeled this dataset a second time"):
        kp.quality.agreement(ds)
    with_pass(ds, list(truth))
    with_pass(ds, list(truth), "third")
    with pytest.raises(ValueError, match=r"2 passes: say which of \['second', 'third'\]"):
        kp.quality.agreement(ds)
    with pytest.raises(KeyError, match="there is no pass 'x'; there are 'second', 'third'"):
        kp.quality.agreement(ds, "x")
    with pytest.raises(ValueError, match="another schema: category 'two' there lacks 'shoulder'"):
        kp.quality.agreement(ds, dataset(kp.Schema("two", ["a", "b"]), list(truth)))


# --- merge candidates ---------------------------------------------------------------------------


def test_points_closer_than_two_sigmas_are_candidates() -> None:
    # sigma .05 of 100 px are 5 px: a and b, 8 px apart, are 1.6, c is 40 px from b, 8.
    schema = kp.Schema("three", ["a", "b", "c"], sigmas=[0.05, 0.02, 0.05])
    points = [np.array([[10, 10], [18, 10], [58, 10]], float)] * N
    table = kp.quality.merge_candidates(dataset(schema, points))
    assert table[["keypoint", "nearest", "n", "is_candidate"]].values.tolist() == [
        ["a", "b", 10, True],
        ["b", "a", 10, True],
        ["c", "b", 10, False],
    ]
    assert table["distance_sigma"].tolist() == pytest.approx([1.6, 1.6, 8])
    assert table["distance_px"].tolist() == pytest.approx([8, 8, 40])
    assert table["verdict"].tolist() == ["merge or redefine", "merge or redefine", "apart"]


def test_the_interval_of_a_median_is_that_of_the_ranks() -> None:
    # n = 10: ranks 2 and 9 have a coverage of 97.9 %, the usual table (3 and 8: 89 %).
    schema = kp.Schema("two", ["a", "b"], sigmas=[0.1, 0.1])
    points = [np.array([[0, 0], [10 * i, 0]], float) for i in range(1, 11)]
    row = kp.quality.merge_candidates(dataset(schema, points)).iloc[0]
    assert (row["distance_sigma_low"], row["distance_sigma_high"]) == (2, 9)


def test_merge_candidates_say_what_they_lack() -> None:
    schema = kp.Schema("two", ["a", "b"])
    points = [np.array([[20, 20], [60, 60]], float)] * 9
    ds = dataset(schema, points)
    with pytest.raises(ValueError, match=r"label a pass .* or give sigmas="):
        kp.quality.merge_candidates(ds)
    with pytest.raises(ValueError, match="expected 2 values"):
        kp.quality.merge_candidates(ds, sigmas=[0.1])
    table = kp.quality.merge_candidates(ds, sigmas=[0.1, 0.1])
    assert set(table["verdict"]) == {"not enough data"}
    assert not table["is_candidate"].any()


# --- figures ------------------------------------------------------------------------------------


def planted() -> Agreement:
    schema, truth, along = limbs(30)
    second = truth + np.random.default_rng(9).normal(0, 0.5, truth.shape)
    second[:, 1] += 6 * along
    return kp.quality.agreement(with_pass(dataset(schema, list(truth)), list(second)))


def test_plot_agreement_draws_the_offset_along_the_limb_of_the_figure() -> None:
    result = planted()
    layout = np.array([[0, 0], [0, 1]], float)
    ax = kp.plot_agreement(result, layout=layout)
    [arrows] = [artist for artist in ax.collections if artist.get_gid() == "arrows"]
    elbow = row_of(result.keypoints, "elbow")
    # Along the limb is down in this figure, and 6 px of the side of 100 are drawn larger.
    assert abs(arrows.U[1]) < 0.1 * arrows.V[1]
    factor = int(ax.get_title().split("offsets ")[1].split(" ")[0])
    side = math.sqrt(0.05 * 0.84)  # the figure fills the unit square but for a margin, a line
    assert arrows.V[1] == pytest.approx(factor * elbow["along"] / 100 * side, rel=0.02)
    [ellipses] = [artist for artist in ax.collections if artist.get_gid() == "ellipses"]
    assert len(ellipses.get_paths()) == 2
    tip = ellipses.get_paths()[1].vertices[:-1].mean(axis=0)
    [points] = [artist for artist in ax.collections if artist.get_gid() == "keypoints"]
    start = np.asarray(points.get_offsets())[1]
    np.testing.assert_allclose(tip - start, (arrows.U[1], arrows.V[1]), atol=1e-6)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "two conventions (1)",
        "fine (1)",
    ]


def test_plot_agreement_of_too_few_draws_no_arrow() -> None:
    schema, truth, _ = limbs(9)
    ax = kp.plot_agreement(
        kp.quality.agreement(with_pass(dataset(schema, list(truth)), list(truth + 1)))
    )
    [arrows] = [artist for artist in ax.collections if artist.get_gid() == "arrows"]
    assert len(arrows.U) == 0
    [points] = [artist for artist in ax.collections if artist.get_gid() == "keypoints"]
    assert {colors.to_hex(c) for c in points.get_facecolors()} == {"#ffffff"}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["not enough data (2)"]


def test_plot_sigmas_draws_values_intervals_and_the_schema() -> None:
    schema = kp.Schema("two", ["a", "$b_1$"], sigmas=[0.03, 0.04], sigma_source="borrowed")
    rng = np.random.default_rng(10)
    first = rng.uniform(0, 99, (20, 2, 2))
    second = first + rng.normal(0, 2, first.shape)
    ds = with_pass(dataset(schema, list(first)), list(second))
    table = kp.quality.measure_sigmas(ds)
    ax = kp.plot_sigmas(table, schema=schema)
    artists = {artist.get_gid(): artist for artist in ax.collections}
    offsets = np.asarray(artists["sigmas"].get_offsets())
    assert offsets[:, 0].tolist() == table["sigma"].tolist()
    ends = [segment[:, 0].tolist() for segment in artists["intervals"].get_segments()]
    assert ends == table[["sigma_low", "sigma_high"]].values.tolist()
    assert np.asarray(artists["schema"].get_offsets())[:, 0].tolist() == [0.03, 0.04]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "$b_1$"]
    with pytest.raises(ValueError, match="other keypoints than the table"):
        kp.plot_sigmas(table, schema=kp.Schema("x", ["a"], sigmas=[0.1]))


def test_plot_sigmas_says_where_there_is_not_enough() -> None:
    schema = kp.Schema("two", ["a", "b"])
    first = [np.array([[20, 20], [60, 60]], float)] * 4
    ds = with_pass(dataset(schema, first), [xy + 1 for xy in first])
    ax = kp.plot_sigmas(kp.quality.measure_sigmas(ds))
    [labels] = [artist for artist in ax.artists if artist.get_gid() == "missing"]
    assert labels.get_texts() == ["not enough data: 4 instances"] * 2
    ax.figure.canvas.draw()
