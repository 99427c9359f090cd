"""The pictures of a comparison: curves of both runs in one plot, and matched sequences as strips."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np

from runners.compare_report import COLOUR_A, COLOUR_B

MAX_POINTS = 1500
# A is the broader line, so that it shows where B lies on it.
STYLE_A = {"color": COLOUR_A, "linestyle": "-", "linewidth": 2.6, "label": "A"}
STYLE_SINGLE = {"color": "#4a5058", "linestyle": "-", "linewidth": 1.6}
STYLE_B = {"color": COLOUR_B, "linestyle": "--", "linewidth": 1.4, "label": "B"}


class Panel(NamedTuple):
    """One small plot: two curves of (x, y), either of them possibly empty.

    `level_a`, `level_b` stand for a run that knows only the value: a line across the panel. With `single`,
    `curve_a` belongs to neither run alone, and is grey. `from_zero` starts the y axis there.
    """

    title: str
    x_label: str
    curve_a: list[tuple[float, float]]
    curve_b: list[tuple[float, float]]
    level_a: float | None = None
    level_b: float | None = None
    logarithmic: bool = False
    single: bool = False
    from_zero: bool = False


def draw_panels(panels: list[Panel], columns: int = 3) -> bytes:
    """The panels in a grid, as an SVG whose letters are outlines (the same on every machine)."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(11.2 if columns > 1 else 7, 2.7 * rows), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels):
        _draw(axes, panel)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "compare_runs", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    values = []
    for curve, level, style in (
        (panel.curve_a, panel.level_a, STYLE_SINGLE if panel.single else STYLE_A),
        (panel.curve_b, panel.level_b, STYLE_B),
    ):
        points = np.array([point for point in curve if np.all(np.isfinite(point))], np.float64).reshape(-1, 2)
        points = points[:: max(1, -(-len(points) // MAX_POINTS))]
        if len(points):
            marker = "o" if len(points) < 30 else ""
            axes.plot(points[:, 0], points[:, 1], marker=marker, markersize=3.5, **style)
        elif level is not None and np.isfinite(level):
            axes.axhline(level, **style)
        values += list(points[:, 1])
    if panel.logarithmic and values and min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
    elif panel.from_zero and values and max(values) > 0:
        axes.set_ylim(0, 1.08 * max(values))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.x_label, fontsize=9)
    axes.tick_params(labelsize=8)
    if axes.get_yscale() == "linear":
        axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(color="#e3e6e9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)


def draw_sequence(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> bytes:
    """One matched sequence as a PNG of four rows: truth, A, B, and |A - B| stretched to its own maximum.

    Args:
      truth: [k, H, W, C] in [0, 1], the frames that both runs predict.
      first: [k, H, W, C], A's prediction of them.
      second: [k, H, W, C], B's.
    """
    apart = np.abs(first.astype(np.float64) - second)
    rows = [truth, first, second, apart / max(float(np.max(apart)), 1e-12)]
    return _png(np.concatenate(rows), len(truth))


def draw_sprites(contents: np.ndarray, templates: np.ndarray) -> bytes:
    """What a run learned of its objects, as a PNG: their colours above their masks.

    Args:
      contents: [N, S, S, C] before the sigmoid, as in `extra_outputs.npz`.
      templates: [N, S, S, 1], logits of the mask against the background's constant logit 1.
    """
    masks = np.repeat(templates.astype(np.float64) - 1.0, contents.shape[-1], axis=-1)
    logits = np.concatenate([contents, masks])
    return _png(1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60))), len(contents))


def draw_background(background: np.ndarray) -> bytes:
    """A learned background [1, H, H, C] in [0, 1] as a PNG."""
    return _png(background, 1)


def _png(frames: np.ndarray, columns: int) -> bytes:
    from physics_models.pictures import gallery, to_image

    buffer = io.BytesIO()
    to_image(gallery(np.nan_to_num(frames), columns)).save(buffer, "PNG")
    return buffer.getvalue()
