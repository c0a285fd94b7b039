"""Where people who have labeled the same instances agree: offsets, scatter, flags, sigmas."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget.dataset import Dataset
from kpwidget.quality.double import (
    DoubleLabels,
    Floats,
    Swap,
    double_labels,
    limb_frames,
    turned,
    without_swaps,
)
from kpwidget.quality.intervals import wilson
from kpwidget.quality.labels import flip_pairs_of
from kpwidget.schema import Category, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "agreement", "measure_sigmas", "merge_candidates"]

LEAST: Final = 10
"""Instances below which nothing is said: with 10 a sigma is known to within a third
(docs/quality.md)."""

LEVEL: Final = 0.05
"""How often a verdict about all keypoints together is wrong where there is nothing to find."""

_SMALLEST: Final = 0.5
"""Offsets smaller than this share of one person's scatter are no convention of their own."""

_MANY: Final = 2.0
"""Without sigmas in the schema a point is hard if it scatters so many times as much as the middle
one."""

_N_FLIPS: Final = 4999
_CHUNK: Final = 500

VERDICTS: Final = ("two conventions", "hard point", "fine", "not enough data")


@dataclass(frozen=True)
class Agreement:
    """What two label sets of the same instances agree about; made by `agreement`.

    Attributes
    ----------
    schema : Schema
    names : tuple of (str, str)
        What the two are called. Offsets go from the first to the second.
    n_instances : int
        How many both have.
    keypoints : pandas.DataFrame
        One row a keypoint: keypoint; verdict ('two conventions', 'hard point', 'fine' or 'not
        enough data') and reason, in words; limb, the keypoint that the limb comes from (empty: the
        image's x axis is taken); n and n_images, of instances where both have labeled it and the
        limb; along and across, the mean offset along the limb and at right angles to it (clockwise
        on the screen), each with its 95 % interval (_low, _high); sd_along, sd_across and
        correlation of single offsets, the scatter ellipse; offset_px, length of the mean offset;
        offset_sigma, the same in units of one person's scatter; p, how often chance gives an offset
        like this to any of the keypoints; sigma with its 95 % interval, the scatter as an OKS
        sigma; sigma_schema; n_swapped. In pixels at `scale_px`; NaN where there are fewer than 10
        instances.
    scale_px : float
        Root of the area of the middle instance: what is measured relative to size is told for this
        one.
    swaps : pandas.DataFrame
        Left-right pairs labeled the other way around, which were taken out first: uid, image, set,
        left, right, straight_px, crossed_px.
    flags : pandas.DataFrame
        One row a keypoint: n; n_agree; share with its 95 % interval (Wilson; 3/n for none
        or all); alpha
        (Krippendorff's, nominal; NaN where only one flag was ever used); counts v00 to v22, first
        flag, second flag.
    unmatched : pandas.DataFrame
        uid and set of instances that only one of two datasets has.
    """

    schema: Schema
    names: tuple[str, str]
    n_instances: int
    keypoints: pd.DataFrame
    scale_px: float
    swaps: pd.DataFrame
    flags: pd.DataFrame
    unmatched: pd.DataFrame

    def __str__(self) -> str:
        """Say it in words: what stands out, and how many keypoints do not."""
        table = self.keypoints
        lines = [f"{self.n_instances} instances, {self.names[0]!r} against {self.names[1]!r}"]
        for verdict in ("two conventions", "hard point"):
            for row in table[table.verdict == verdict].itertuples():
                lines.append(f"{row.keypoint}: {verdict}: {row.reason}")
        for verdict in ("fine", "not enough data"):
            n = int((table.verdict == verdict).sum())
            if n:
                lines.append(f"{verdict}: {n} of {len(table)} keypoints")
        for found, what in (
            (self.swaps, "left-right swaps"),
            (self.unmatched, "unmatched instances"),
        ):
            if len(found):
                lines.append(f"{what}: {len(found)}")
        if not len(flip_pairs_of(self.schema)):
            lines.append("the schema has no flip pairs: left-right swaps were not looked for")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the table of keypoints for notebooks."""
        shown = ["keypoint", "verdict", "n", "offset_px", "offset_sigma", "sigma", "reason"]
        html: str = self.keypoints[shown].round(3).to_html(index=False, escape=True)
        return html


def agreement(
    first: Dataset,
    second: Dataset | str | None = None,
    category: str | int | Category | None = None,
    *,
    rng: np.random.Generator | int | None = 0,
) -> Agreement:
    """Where two people place the same points, and with what flags.

    Parameters
    ----------
    first : Dataset
    second : Dataset or str, optional
        The labels of another person; or the name of a pass of `first`, which may be left out if it
        has one only.
    category : str, int or Category, optional
        May be left out if there is one category only.
    rng : numpy.random.Generator or int, default 0
        Turns the signs of the offsets around; a number makes a generator.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If there is no pass or several and none is named, or the schemas differ.

    Notes
    -----
    An offset is the second place less the first one, turned into the frame of a limb and divided by
    the root of the instance's area (that of `first`), so that offsets of different poses and sizes
    can be put together. Its mean is what two people understand differently, its scatter what a
    person cannot tell.

    *Two conventions*: the mean is not chance, and at least half of one person's scatter. Chance is
    told by turning the offsets of whole images around at random: if both mean the same place, an
    offset is as likely as its opposite. The statistic is Hotelling's, the largest over all
    keypoints, so that in one of twenty datasets without a difference any keypoint is accused. *Hard
    point*: the scatter is larger than the schema's sigma (or, without sigmas, twice that of the
    middle keypoint), by the lower bound of an interval that holds for all keypoints together
    (Bonferroni).

    Left and right exchanged is taken out before, and listed: it is neither. What is measured when
    one person labels twice is that person's scatter, not what people disagree about.
    """
    import pandas as pd

    if second is None:
        names = first.passes.names
        if len(names) > 1:
            raise ValueError(f"there are {len(names)} passes: say which of {names}, second=...")
        second = names[0] if names else None
    labels = double_labels(first, second, category)
    xy, swaps = without_swaps(labels)
    schema = labels.schema
    limbs, units = limb_frames(schema, xy)
    with np.errstate(invalid="ignore"):
        apart = (xy[:, 1] - xy[:, 0]) / np.sqrt(labels.area)[:, None, None]
    offsets_of = turned(apart, units)
    is_used = cast(NDArray[np.bool_], np.isfinite(offsets_of).all(axis=2))
    n = is_used.sum(axis=0)
    areas = labels.area[~np.isnan(labels.area)]
    scale = float(np.median(np.sqrt(areas))) if len(areas) else np.nan
    enough = n >= LEAST
    sigmas = _sigma_table(labels, xy, units)
    generator = np.random.default_rng(rng)
    images = np.unique(labels.images, return_inverse=True)[1] if labels.images else np.empty(0, int)
    chance = _chance(offsets_of, is_used & enough, images, generator)
    reference = _reference(schema, sigmas["sigma"].to_numpy(), enough)
    why = "twice the middle keypoint's" if schema.sigmas is None else "the schema's own"
    bound = _sigma_interval(sigmas, 2 * LEVEL / max(int(enough.sum()), 1))[0]
    n_swapped = [sum(name in (s.left, s.right) for s in swaps) for name in schema.keypoints]
    rows = []
    for k, name in enumerate(schema.keypoints):
        offsets = scale * offsets_of[is_used[:, k], k]
        row: dict[str, Any] = {
            "keypoint": name,
            "limb": schema.keypoints[limbs[k]] if limbs[k] >= 0 else "",
            "n": int(n[k]),
            "n_images": len(np.unique(images[is_used[:, k]])),
            **_offset(offsets if enough[k] else offsets[:0]),
            "p": chance[k],
            **{key: sigmas[key][k] for key in ("sigma", "sigma_low", "sigma_high")},
            "sigma_schema": np.nan if schema.sigmas is None else float(schema.sigmas[k]),
            "n_swapped": n_swapped[k],
        }
        row["offset_sigma"] = row["offset_px"] / (scale * row["sigma"]) if row["sigma"] else np.nan
        row["verdict"], row["reason"] = _verdict(row, bound[k], reference[k], why)
        rows.append(row)
    order = ["keypoint", "verdict", "reason", "limb", "n", "n_images"]
    table = pd.DataFrame(rows)
    unmatched = [(uid, labels.names[i]) for i, uids in enumerate(labels.unmatched) for uid in uids]
    return Agreement(
        schema,
        (labels.names[0], labels.names[1]),
        len(labels.uids),
        table[[*order, *(column for column in table if column not in order)]],
        scale,
        pd.DataFrame([asdict(swap) for swap in swaps], columns=list(Swap.__annotations__)),
        _flag_table(labels),
        pd.DataFrame(unmatched, columns=["uid", "set"]),
    )


def measure_sigmas(
    first: Dataset,
    second: Dataset | str | None = None,
    category: str | int | Category | None = None,
    *,
    fallback: ArrayLike | None = None,
) -> pd.DataFrame:
    """OKS sigmas of a schema's keypoints, from instances that were labeled more than once.

    Parameters
    ----------
    first, second, category
        As of `agreement`; without `second`, all passes are used together.
    fallback : float or array_like of shape (n_keypoints,), optional
        What stands for the keypoints that too few instances have. NaN by default.

    Returns
    -------
    pandas.DataFrame
        One row a keypoint: keypoint; n, instances that at least two people have labeled; sigma with
        its 95 % interval (sigma_low, sigma_high); sigma_median, the same from the median, which a
        few gross errors do not move; sigma_total, the scatter and the constant offsets between
        people together; source ('measured', 'fallback' or 'not enough data': fewer than 10
        instances).
        ``Schema(..., sigmas=table["sigma"].tolist(), sigma_source="measured")`` takes it.

    Raises
    ------
    ValueError
        If nobody has labeled anything twice, the schemas differ, or `fallback` has another length.

    Notes
    -----
    ``sigma^2 = sum_i sum_j |r_ij|^2 / (s_i^2 * degrees of freedom)``: r are the distances from the
    mean of the people who have labeled instance i, s the root of its area. It is E[d^2 / s^2] in
    two dimensions together, with n - 1 in the place of n, as COCO defines its sigmas. Constant
    offsets between people, in the limb's frame, are taken out first (each costs one degree), else
    two conventions would look like a hard point; so are left-right swaps.

    The interval is that of a chi-square with two degrees for each of these, fewer where the squares
    scatter more than those of normal offsets do (Satterthwaite's degrees, from their variance).
    """
    labels = double_labels(first, second, category)
    xy, _ = without_swaps(labels)
    _, units = limb_frames(labels.schema, xy)
    table = _sigma_table(labels, xy, units)
    instead = np.full(len(table), np.nan)
    if fallback is not None:
        given = np.asarray(fallback, np.float64)
        if given.shape not in ((), instead.shape) or not (given > 0).all():
            raise ValueError(
                f"fallback: expected a number above 0, or {len(table)} of them, got "
                f"{given.tolist()}"
            )
        instead[:] = given
    is_measured = table["sigma"].notna()
    table["source"] = np.where(
        is_measured, "measured", "not enough data" if fallback is None else "fallback"
    )
    table["sigma"] = table["sigma"].where(is_measured, instead)
    return table.drop(columns=["dof"])


def merge_candidates(
    first: Dataset,
    category: str | int | Category | None = None,
    *,
    sigmas: ArrayLike | None = None,
) -> pd.DataFrame:
    """Keypoints that lie closer to another one than people can place them.

    Parameters
    ----------
    first : Dataset
        All its instances count, also those that were labeled once.
    category : str, int or Category, optional
        May be left out if there is one category only.
    sigmas : array_like of shape (n_keypoints,), optional
        How far people scatter. By default as `measure_sigmas` finds, else the schema's. NaN: not
        known.

    Returns
    -------
    pandas.DataFrame
        One row a keypoint, with the other one nearest to it in units of sigma times the root of the
        area, the larger sigma of the two: keypoint, nearest, n (instances with both), distance_px
        (the median), distance_sigma with its 95 % interval (_low, _high, of the median),
        is_candidate (closer than 2), verdict ('merge or redefine', 'apart' or 'not enough data').
        Sorted, the closest first.

    Raises
    ------
    ValueError
        If no sigmas are known, or not one for each keypoint.
    """
    import pandas as pd

    index = first._category_index(category)
    chosen = first._categories[index]
    schema = chosen.schema
    if sigmas is None and len(first.passes):
        sigmas = measure_sigmas(first, None, chosen)["sigma"]
    known = schema.sigmas if sigmas is None else sigmas
    if known is None:
        raise ValueError(
            "how far people scatter is not known: label a pass (ds.start_pass), or give sigmas="
        )
    spread = np.asarray(known, np.float64)
    if spread.shape != (schema.n_keypoints,):
        raise ValueError(f"sigmas: expected {schema.n_keypoints} values, got shape {spread.shape}")
    with first.lock:
        used = first.select(category=chosen)
        area = used.to_pandas()["area"].to_numpy(np.float64)
        xy = used.keypoints()[..., :2]
    size = np.sqrt(np.where(area > 0, area, np.nan))
    rows = []
    for k, name in enumerate(schema.keypoints):
        distances = np.linalg.norm(xy - xy[:, k, None], axis=2)
        unit = size[:, None] * np.maximum(spread, spread[k])
        relative = distances / unit
        relative[:, k] = np.nan
        is_used = np.isfinite(relative)
        n = is_used.sum(axis=0)
        medians = [
            float(np.median(relative[u, j])) if u.any() else np.inf for j, u in enumerate(is_used.T)
        ]
        enough = np.where(n >= LEAST, medians, np.inf)
        j = int(np.argmin(enough if np.isfinite(enough).any() else medians))
        is_said = n[j] >= LEAST
        low, high = _median_interval(relative[is_used[:, j], j]) if is_said else (np.nan, np.nan)
        rows.append(
            {
                "keypoint": name,
                "nearest": schema.keypoints[j] if n[j] else "",
                "n": int(n[j]),
                "distance_px": float(np.median(distances[is_used[:, j], j])) if n[j] else np.nan,
                "distance_sigma": medians[j] if is_said else np.nan,
                "distance_sigma_low": low,
                "distance_sigma_high": high,
                "is_candidate": bool(is_said and medians[j] < 2),
                "verdict": ("merge or redefine" if medians[j] < 2 else "apart")
                if is_said
                else "not enough data",
            }
        )
    found = pd.DataFrame(rows)
    return found.sort_values("distance_sigma", kind="stable", ignore_index=True)


# --- positions ----------------------------------------------------------------------------------


def _offset(offsets: Floats) -> dict[str, float]:
    """Mean and scatter of offsets of shape (n, 2), with 95 % intervals of the mean (Student)."""
    keys = ("along", "along_low", "along_high", "across", "across_low", "across_high", "sd_along",
            "sd_across", "correlation", "offset_px")  # fmt: skip
    n = len(offsets)
    if not n:
        return dict.fromkeys(keys, np.nan)
    from scipy.special import stdtrit

    mean, sd = offsets.mean(axis=0), offsets.std(axis=0, ddof=1)
    half = stdtrit(n - 1, 0.975) * sd / np.sqrt(n)
    product = ((offsets - mean).prod(axis=1)).sum() / (n - 1)
    correlation = product / sd.prod() if sd.prod() > 0 else 0.0
    values = (mean[0], mean[0] - half[0], mean[0] + half[0],
              mean[1], mean[1] - half[1], mean[1] + half[1],
              sd[0], sd[1], correlation, np.hypot(*mean))  # fmt: skip
    return {key: float(value) for key, value in zip(keys, values, strict=True)}


def _chance(
    offsets: Floats,
    is_used: NDArray[np.bool_],
    images: NDArray[np.int64],
    rng: np.random.Generator,
) -> Floats:
    """How often offsets turned around at random, image by image, give any keypoint as much.

    The statistic of a keypoint is ``-log p`` of Hotelling's test that the mean is 0, which in two
    dimensions is ``-(n - 2) / 2 * log(1 - a)`` with ``a = S' Q^-1 S / n``, S the sum of the offsets
    and Q the sum of their outer products, which does not change when they are turned around.
    """
    n = is_used.sum(axis=0)
    found = np.full(len(n), np.nan)
    tested = np.flatnonzero(n > 2)
    if not len(tested):
        return found
    values = np.where(is_used[..., None], offsets, 0.0)[:, tested]
    inverse = np.linalg.pinv(np.einsum("nki,nkj->kij", values, values), hermitian=True)
    of_image = np.zeros((int(images.max()) + 1, *values.shape[1:]))
    np.add.at(of_image, images, values)

    def statistic(sums: Floats) -> Floats:
        a = np.einsum("bki,kij,bkj->bk", sums, inverse, sums) / n[tested]
        logs: Floats = np.log1p(-np.clip(a, 0, 1 - 1e-12))
        return cast(Floats, -(n[tested] - 2) / 2 * logs)

    observed = statistic(of_image.sum(axis=0)[None])[0]
    n_more = np.zeros(len(tested))
    for start in range(0, _N_FLIPS, _CHUNK):
        signs = rng.choice([-1.0, 1.0], (min(_CHUNK, _N_FLIPS - start), len(of_image)))
        largest = statistic(np.tensordot(signs, of_image, axes=1)).max(axis=1)
        n_more += (largest[:, None] >= observed - 1e-9).sum(axis=0)
    found[tested] = (1 + n_more) / (1 + _N_FLIPS)
    return found


def _reference(schema: Schema, sigmas: Floats, enough: NDArray[np.bool_]) -> Floats:
    """What the scatter of each keypoint is called large against."""
    if schema.sigmas is not None:
        return np.asarray(schema.sigmas, np.float64)
    middle = float(np.median(sigmas[enough])) if enough.any() else np.nan
    return np.full(len(sigmas), _MANY * middle)


def _verdict(row: dict[str, Any], bound: float, reference: float, why: str) -> tuple[str, str]:
    if row["n"] < LEAST:
        return "not enough data", f"{row['n']} instances, {LEAST} are needed"
    size = f"{row['offset_px']:.1f} px"
    if math.isfinite(row["offset_sigma"]):  # two copies do not scatter
        size += f", {row['offset_sigma']:.1f} times one person's scatter"
    if row["p"] < LEVEL and row["offset_sigma"] >= _SMALLEST:
        limb = f", along the limb from {row['limb']!r}" if row["limb"] else ""
        parts = f"{row['along']:+.1f} px{limb}, {row['across']:+.1f} px across"
        return "two conventions", f"the second is away by {size}: {parts}"
    if bound > reference:
        return "hard point", (
            f"sigma {row['sigma']:.3f} ({row['sigma_low']:.3f} to {row['sigma_high']:.3f}), above "
            f"{reference:.3f}, {why}"
        )
    return "fine", f"offset {size}"


# --- sigmas -------------------------------------------------------------------------------------


def _sigma_table(labels: DoubleLabels, xy: Floats, units: Floats) -> pd.DataFrame:
    """Sigma, interval and degrees of freedom of each keypoint."""
    import pandas as pd

    # Places relative to the mean of an instance, in the frame of the limb and by its size.
    is_labeled = np.isfinite(xy[..., 0]) & ~np.isnan(labels.area)[:, None, None]
    is_labeled &= np.isfinite(units[:, None, :, 0])
    is_labeled &= is_labeled.sum(axis=1, keepdims=True) > 1
    count = is_labeled.sum(axis=1)
    with np.errstate(invalid="ignore"):
        places = turned(xy, units[:, None]) / np.sqrt(labels.area)[:, None, None, None]
        mean = np.where(is_labeled[..., None], places, 0).sum(axis=1) / count[..., None]
    places = np.where(is_labeled[..., None], places - mean[:, None], 0.0)
    rows = []
    for k, name in enumerate(labels.schema.keypoints):
        used = is_labeled[:, :, k].any(axis=1)
        rows.append({"keypoint": name, **_sigma(places[used, :, k], is_labeled[used, :, k])})
    table = pd.DataFrame(rows)
    table["sigma_low"], table["sigma_high"] = _sigma_interval(table, 0.05)
    return table


def _sigma(places: Floats, is_there: NDArray[np.bool_]) -> dict[str, float]:
    """Sigma from places (n_instances, n_people, 2) around the mean of each instance."""
    n, count = len(places), is_there.sum(axis=1)
    if n < LEAST:
        values = dict.fromkeys(("sigma", "sigma_median", "sigma_total", "dof"), np.nan)
        return {"n": n, **values}
    from scipy.special import chdtri

    # People's offsets by least squares: p_ij = c_i + o_j + noise, the instances' c_i taken out.
    shares = is_there / count[:, None]
    normal = np.diag(is_there.sum(axis=0).astype(float)) - is_there.T.astype(float) @ shares
    offsets = np.linalg.pinv(normal, hermitian=True) @ places.sum(axis=0)
    rank = int(np.linalg.matrix_rank(normal, hermitian=True))
    expected = (offsets - (shares @ offsets)[:, None]) * is_there[..., None]
    squares = ((places - expected) ** 2).sum(axis=(1, 2))
    of_instance = count - 1
    dof = float(of_instance.sum() - rank)
    total = (places**2).sum() / of_instance.sum()
    variance = squares.sum() / dof
    # Satterthwaite: the degrees of a chi-square that scatters as the squares do.
    mean_square = squares.mean()
    scatter = squares.var(ddof=1) / n
    effective = 2 * mean_square**2 / scatter if scatter > 0 else np.inf
    medians = chdtri(2 * of_instance, 0.5) / 2
    return {
        "n": n,
        "sigma": float(np.sqrt(variance)),
        "sigma_median": float(np.sqrt(np.median(squares / medians))),
        "sigma_total": float(np.sqrt(total)),
        "dof": min(2 * dof, effective),
    }


def _sigma_interval(table: pd.DataFrame, level: float) -> tuple[Floats, Floats]:
    """Bounds that hold with the probability 1 - level, half of it on either side."""
    from scipy.special import chdtri

    sigma, dof = table["sigma"].to_numpy(), table["dof"].to_numpy()
    # scipy.special counts from above, and loads much faster than scipy.stats.
    low, high = (sigma * np.sqrt(dof / chdtri(dof, q)) for q in (level / 2, 1 - level / 2))
    return low, high


def _median_interval(values: Floats) -> tuple[float, float]:
    """95 % interval of a median, from ranks (binomial)."""
    from scipy.special import bdtr

    ordered = np.sort(values)
    n = len(ordered)
    ranks = bdtr(np.arange(n + 1), n, 0.5)
    lower = max(int(np.searchsorted(ranks, 0.025)) - 1, 0)
    return float(ordered[lower]), float(ordered[n - 1 - lower])


# --- flags --------------------------------------------------------------------------------------


def _flag_table(labels: DoubleLabels) -> pd.DataFrame:
    """Agreement on visibility, by keypoint."""
    import pandas as pd

    both = labels.is_there[:, :2].all(axis=1)
    first, second = (labels.keypoints[both, i, :, 2].astype(np.int64) for i in (0, 1))
    rows = []
    for k, name in enumerate(labels.schema.keypoints):
        counts = np.zeros((3, 3), np.int64)
        np.add.at(counts, (first[:, k], second[:, k]), 1)
        n, n_agree = int(counts.sum()), int(np.trace(counts))
        low, high = wilson(n_agree, n) if n else (np.nan, np.nan)
        cells = {f"v{i}{j}": int(counts[i, j]) for i in range(3) for j in range(3)}
        rows.append(
            {
                "keypoint": name,
                "n": n,
                "n_agree": n_agree,
                "share": n_agree / n if n else np.nan,
                "share_low": low,
                "share_high": high,
                "alpha": _alpha(counts),
                **cells,
            }
        )
    return pd.DataFrame(rows)


def _alpha(counts: NDArray[np.int64]) -> float:
    """Krippendorff's alpha for nominal data of two people without gaps, from their cross table."""
    values = counts.sum(axis=0) + counts.sum(axis=1)
    n_values = int(values.sum())
    expected = n_values * (n_values - 1) - int((values * (values - 1)).sum())
    if not expected:
        return float("nan")
    observed = 2 * (counts.sum() - np.trace(counts))
    return float(1 - (n_values - 1) * observed / expected)
