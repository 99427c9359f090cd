"""The pictures of a comparison: curves of both runs in one plot, sequences and sprites as rows of frames."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from physics_models.viz import gallery, sigmoid, to_image
from runners.compare.report import COLOUR_A, COLOUR_B
from runners.plots import Figure, MaxNLocator, default_style

MAX_POINTS = 1500
STYLES: dict[str, dict[str, Any]] = {
    "A": {"color": COLOUR_A, "linestyle": "-", "linewidth": 2.6, "label": "A"},  # broader: B may lie on it
    "B": {"color": COLOUR_B, "linestyle": "--", "linewidth": 1.4, "label": "B"},
    "A - B": {"color": "#4a5058", "linestyle": "-", "linewidth": 1.6},
}


class Panel(NamedTuple):
    """One small plot of curves [(x, y), …] by the names of STYLES; the y axis starts at zero with `from_zero`."""

    title: str
    x_label: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: bool = False
    from_zero: bool = False


@default_style({"svg.hashsalt": "compare_runs", "svg.fonttype": "path"})
def draw_panels(panels: list[Panel], columns: int = 3) -> bytes:
    """The panels in a grid, as an SVG whose letters are outlines (the same on every machine)."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(11.2, height := 2.7 * rows))
    figure.subplots_adjust(0.05, 0.5 / height, 0.99, 1 - 0.3 / height, wspace=0.22, hspace=0.45)
    for i, panel in enumerate(panels):
        _draw(figure.add_subplot(rows, columns, i + 1), panel)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def draw_sequence(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> bytes:
    """One sequence as a PNG of four rows, each [K, H, W, C]: truth, A, B, and |A - B| scaled to its maximum."""
    apart = np.abs(first.astype(np.float64) - second)
    rows = [truth, first, second, apart / max(float(np.max(apart)), 1e-12)]
    return draw_frames(np.concatenate(rows), len(truth))


def draw_sprites(contents: np.ndarray, templates: np.ndarray) -> bytes:
    """The learned objects as a PNG: their colours above their masks.

    `contents` [N, S, S, C] and `templates` [N, S, S, 1] are those of `extra_outputs.npz`, before the sigmoid; the
    background's logit is 1.
    """
    masks = np.repeat(templates.astype(np.float64) - 1.0, contents.shape[-1], axis=-1)
    logits = np.clip(np.concatenate([contents, masks]), -60, 60)
    return draw_frames(sigmoid(logits), len(contents))


def draw_frames(frames: np.ndarray, columns: int) -> bytes:
    """Frames [n, H, W, C] in [0, 1] as a PNG of `columns` columns."""
    buffer = io.BytesIO()
    to_image(gallery(np.nan_to_num(frames), columns)).save(buffer, "PNG")
    return buffer.getvalue()


def _draw(axes: Any, panel: Panel) -> None:
    values: list[float] = []
    for name, curve in panel.curves.items():
        points = np.array([point for point in curve if np.all(np.isfinite(point))], np.float64).reshape(-1, 2)
        points = points[:: max(1, -(-len(points) // MAX_POINTS))]
        if len(points):
            axes.plot(*points.T, marker="o" if len(points) < 30 else "", markersize=3.5, **STYLES[name])
            values += points[:, 1].tolist()
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.x_label, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e3e6e9", linewidth=0.7)
    if panel.logarithmic and values and max(values) > 5 * min(values) > 0:
        axes.set_yscale("log")
    elif panel.from_zero:
        axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
