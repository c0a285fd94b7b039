"""`plot_agreement` and `plot_sigmas`: where people place points, and how exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray

from kpwidget.plotting.marks import NEUTRAL, draw_edges, new_axes
from kpwidget.plotting.skeleton import Layout, schema_layout
from kpwidget.plotting.statistics import _keypoint_axis
from kpwidget.plotting.text import PLAIN, Labels, one_line, set_title
from kpwidget.schema import Schema

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_agreement", "plot_sigmas"]

#: Colour of each verdict (Okabe & Ito, told apart by the colour-blind) and how wide its arrow is.
_LOOKS: Final = {
    "two conventions": ("#D55E00", 2.4),
    "hard point": ("#0072B2", 1.2),
    "fine": ("#606060", 1.2),
    "not enough data": ("#A0A0A0", 0.0),
}
#: Root of the 95 % quantile of a chi-square with two degrees of freedom: radius of the ellipse.
_RADIUS: Final = 2.4477
#: The largest arrow and ellipse, as a share of the figure, and how much larger than true they may
#: be.
_REACH: Final = 0.16
_SCALES: Final = (1, 2, 5, 10, 20, 50, 100)


class AgreementLike(Protocol):
    """What `kpwidget.quality.agreement` gives, as far as it is drawn."""

    schema: Schema
    names: tuple[str, str]
    n_instances: int
    keypoints: pd.DataFrame
    scale_px: float


def plot_agreement(
    agreement: AgreementLike,
    *,
    layout: Layout = "auto",
    ax: Axes | None = None,
    arrow_kw: Mapping[str, Any] | None = None,
    ellipse_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw on the figure of the schema how far two people are apart, and how much they scatter.

    Parameters
    ----------
    agreement : kpwidget.quality.Agreement
    layout : 'auto', array_like of shape (n_keypoints, 2), or data, default 'auto'
        As of `plot_schema`.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    arrow_kw : mapping, optional
        For the arrows (`matplotlib.quiver.Quiver`).
    ellipse_kw : mapping, optional
        For the ellipses (`matplotlib.collections.PolyCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        An arrow from each keypoint to where the second person places it on average, turned with the
        limb, and around its tip the ellipse that has 95 % of single offsets if they are normal.
        Both are larger than they were by what the title says. A long arrow with a small ellipse is
        two conventions, no arrow with a large one a hard point; these have names. y down, no ticks.
        The artists' ``gid`` are ``arrows``, ``ellipses``, ``keypoints``.
    """
    schema, table = agreement.schema, agreement.keypoints
    xy = schema_layout(schema, layout)
    if ax is None:
        ax = new_axes(5.2, 5.2)
    draw_edges(ax, xy[schema.edges], [NEUTRAL] * len(schema.edges), {"alpha": 0.5}, scale=0.6)
    # One pixel of the middle instance in the layout, whose box stands for that of the instance.
    side = float(np.sqrt(np.maximum(np.ptp(xy, axis=0), 0.05).prod()))
    pixel = side / agreement.scale_px if agreement.scale_px > 0 else 0.0
    axes = _limb_axes(schema, xy, table["limb"].tolist())
    offsets = table[["along", "across"]].to_numpy(np.float64) * pixel
    is_known = cast(NDArray[np.bool_], np.isfinite(offsets).all(axis=1))
    vectors = np.einsum("kij,ki->kj", axes, np.nan_to_num(offsets))
    outlines = _ellipses(table, axes) * pixel
    largest = max(
        (float(np.hypot(*(vectors[k] + outlines[k]).T).max()) for k in np.flatnonzero(is_known)),
        default=0.0,
    )
    factor = max((s for s in _SCALES if s * largest <= _REACH), default=1) if largest else 1
    verdicts = table["verdict"].tolist()
    colors = [_LOOKS[verdict][0] for verdict in verdicts]
    chosen = np.flatnonzero(is_known)
    tips = xy + factor * vectors
    ellipses = PolyCollection([tips[k] + factor * outlines[k] for k in chosen])
    faces = [(*_rgb(colors[k]), 0.22) for k in chosen]
    style: dict[str, Any] = {"facecolor": faces, "edgecolor": [colors[k] for k in chosen]}
    ellipses.set(
        **style | {"linewidth": 0.8, "zorder": 2.2, "gid": "ellipses"} | dict(ellipse_kw or {})
    )
    ax.add_collection(ellipses, autolim=False)
    is_hollow = [colors[k] if is_known[k] else "white" for k in range(len(xy))]
    ax.scatter(xy[:, 0], xy[:, 1], s=16, c=is_hollow, edgecolors=colors, zorder=3, gid="keypoints")
    arrows: dict[str, Any] = {
        "angles": "xy", "scale_units": "xy", "scale": 1.0, "units": "dots", "zorder": 4,
        "color": [colors[k] for k in chosen], "width": 2.0 * ax.figure.dpi / 72, "gid": "arrows",
        "headwidth": 3.5, "headlength": 4.0, "headaxislength": 3.6,
    }  # fmt: skip
    moved = factor * vectors[chosen]
    starts = xy[chosen]
    ax.quiver(starts[:, 0], starts[:, 1], moved[:, 0], moved[:, 1], **arrows | dict(arrow_kw or {}))
    _name(ax, schema, tips, verdicts)
    low, high = np.minimum(xy, tips).min(axis=0), np.maximum(xy, tips).max(axis=0)
    margin = _REACH / 2 + 0.04
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(high[1] + margin, low[1] - margin)
    ax.set_aspect("equal")
    ax.set_axis_off()
    times = f"{factor} times as large as they are" if factor > 1 else "to scale"
    set_title(
        ax,
        f"from {one_line(agreement.names[0])} to {one_line(agreement.names[1])}: "
        f"{agreement.n_instances:,} instances, offsets {times}",
    )
    _draw_key(ax, verdicts)
    return ax


def plot_sigmas(
    sigmas: pd.DataFrame,
    *,
    schema: Schema | None = None,
    ax: Axes | None = None,
    point_kw: Mapping[str, Any] | None = None,
    line_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw measured sigmas with their intervals.

    Parameters
    ----------
    sigmas : pandas.DataFrame
        From `kpwidget.quality.measure_sigmas`.
    schema : Schema, optional
        Its sigmas are drawn beside them.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    point_kw, line_kw : mapping, optional
        For the points (`matplotlib.collections.PathCollection`) and the lines of the intervals
        (`matplotlib.collections.LineCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        Keypoints down, sigma to the right. What was not measured is hollow, or says how many
        instances there are. The artists' ``gid`` are ``sigmas``, ``intervals``, ``schema``.

    Raises
    ------
    ValueError
        If the schema has other keypoints, or no sigmas.
    """
    names = [str(name) for name in sigmas["keypoint"]]
    n = len(names)
    if schema is not None and (list(schema.keypoints) != names or schema.sigmas is None):
        raise ValueError(
            f"schema {one_line(schema.name)!r} has "
            + ("no sigmas" if schema.sigmas is None else "other keypoints than the table")
        )
    if ax is None:
        ax = new_axes(5.6, min(max(0.2 * n, 1.0), 40.0) + 1.1)
    rows = np.arange(n)
    values = sigmas["sigma"].to_numpy(np.float64)
    is_measured = (sigmas["source"] == "measured").to_numpy()
    lines: dict[str, Any] = {"color": "#303030", "linewidth": 1.4, "gid": "intervals"}
    ax.hlines(
        rows[is_measured],
        sigmas["sigma_low"].to_numpy()[is_measured],
        sigmas["sigma_high"].to_numpy()[is_measured],
        **lines | dict(line_kw or {}),
    )
    handles = []
    if schema is not None and schema.sigmas is not None:
        source = f" ({one_line(schema.sigma_source)})" if schema.sigma_source else ""
        handles.append(
            ax.scatter(
                schema.sigmas, rows, marker="|", s=90, color="#0072B2", linewidths=2, gid="schema",
                label=f"schema{source}",
            )
        )  # fmt: skip
    given = np.isfinite(values)
    points: dict[str, Any] = {
        "s": 26, "color": "#D55E00", "zorder": 3, "gid": "sigmas",
        "label": "measured, 95 % interval",
        "facecolor": ["#D55E00" if m else "white" for m in is_measured[given]],
    }  # fmt: skip
    if "color" in dict(point_kw or {}):
        del points["facecolor"]
    handles.insert(0, ax.scatter(values[given], rows[given], **points | dict(point_kw or {})))
    _keypoint_axis(ax, names)
    shown = [values[given], sigmas["sigma_high"].to_numpy(np.float64)[is_measured]]
    if schema is not None and schema.sigmas is not None:
        shown.append(np.asarray(schema.sigmas))
    highest = float(np.nanmax(np.concatenate([*shown, [0.0]])))
    ax.set_xlim(0, 1.08 * highest if highest > 0 else 1.0)
    missing = np.flatnonzero(~given)
    if len(missing):
        x = 0.02 * ax.get_xlim()[1]
        texts = [f"not enough data: {sigmas['n'].iloc[k]} instances" for k in missing]
        labels = Labels(
            np.array([(x, k) for k in missing]), texts, ax.transData, size=7, color="#404040",
            halo="#ffffff", gap=0, align="left",
        )  # fmt: skip
        labels.set(gid="missing")
        ax.add_artist(labels)
    ax.set_xlabel("sigma (share of the root of the area)")
    set_title(ax, "how exactly people place each keypoint", pad=22)
    ax.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False,
        fontsize=8, borderaxespad=0.2,
    )  # fmt: skip
    return ax


def _limb_axes(
    schema: Schema, xy: NDArray[np.float64], limbs: Sequence[str]
) -> NDArray[np.float64]:
    """For each keypoint the directions along its limb and across, in the layout: (n, 2, 2)."""
    axes = np.tile(np.eye(2), (len(xy), 1, 1))
    for k, name in enumerate(limbs):
        if not name:
            continue
        limb = xy[k] - xy[schema.index(name)]
        length = float(np.hypot(*limb))
        if length > 0:
            along = limb / length
            axes[k] = along, (-along[1], along[0])
    return axes


def _ellipses(table: pd.DataFrame, axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outlines of the scatter of single offsets around their mean, in pixels: (n, 48, 2)."""
    sd = np.nan_to_num(table[["sd_along", "sd_across"]].to_numpy(np.float64))
    correlation = np.nan_to_num(table["correlation"].to_numpy(np.float64))
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = _RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # The root (Cholesky) of the covariance takes the circle to the ellipse.
    root = np.zeros((len(sd), 2, 2))
    root[:, 0, 0] = sd[:, 0]
    root[:, 1, 0] = correlation * sd[:, 1]
    root[:, 1, 1] = np.sqrt(np.maximum(1 - correlation**2, 0)) * sd[:, 1]
    return np.asarray(np.einsum("pj,kij,kil->kpl", circle, root, axes))


def _rgb(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color)


def _name(ax: Axes, schema: Schema, tips: NDArray[np.float64], verdicts: Sequence[str]) -> None:
    """Name what stands out."""
    named = [
        k for k, verdict in enumerate(verdicts) if verdict in ("two conventions", "hard point")
    ]
    if not named:
        return
    texts = [one_line(schema.keypoints[k]) for k in named]
    labels = Labels(
        tips[named], texts, ax.transData, size=8, color="#101010", halo="#ffffff", gap=9,
        is_sparse=len(named) > 20,
    )  # fmt: skip
    labels.set(gid="names", clip_on=False)
    ax.add_artist(labels)


def _draw_key(ax: Axes, verdicts: Sequence[str]) -> None:
    """Say what the colours are, and how many keypoints have each."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=6, markeredgecolor=color,
               markerfacecolor=color if width else "white",
               label=f"{verdict} ({verdicts.count(verdict)})")
        for verdict, (color, width) in _LOOKS.items()
        if verdict in verdicts
    ]  # fmt: skip
    legend = ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False,
        fontsize=8,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set(**PLAIN)
