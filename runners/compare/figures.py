"""The pictures of a comparison: curves of both runs in one plot, and rows of frames."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from physics_models.viz import gallery, to_image
from runners.compare.report import COLOUR_A, COLOUR_B
from runners.plots import Figure, MaxNLocator, default_style

STYLES = {  # A's line is broader, as B's may lie on it
    "A": {"color": COLOUR_A, "linewidth": 2.6},
    "B": {"color": COLOUR_B, "linewidth": 1.4, "linestyle": "--"},
    "A - B": {"color": "#4a5058"},
}


class Panel(NamedTuple):
    """One small plot of curves [(x, y), …] by the names of STYLES."""

    title: str
    x_label: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


@default_style()
def draw_panels(panels: list[Panel]) -> bytes:
    """The panels as an SVG, three in a row; an axis whose values differ by more than 10 times is logarithmic."""
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(14, 3.4 * rows))
    figure.subplots_adjust(0.05, 0.16 / rows, 0.99, 1 - 0.1 / rows, wspace=0.2, hspace=0.32)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, 3, i + 1)
        values: list[float] = []
        for name, curve in panel.curves.items():
            points = np.array(curve, np.float64).reshape(-1, 2)
            points = points[np.isfinite(points).all(axis=1)]
            axes.plot(*points.T, marker="." if len(points) < 30 else "", label=name, **STYLES[name])
            values += points[:, 1].tolist()
        axes.set(title=panel.title, xlabel=panel.x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", useOffset=False)
        if values and max(values) > 10 * min(values) > 0:
            axes.set_yscale("log")
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def draw_frames(frames: np.ndarray, columns: int) -> bytes:
    """Frames [n, H, W, C] in [0, 1] as a PNG of `columns` columns, enlarged to about 500 pixels if it is narrower."""
    image = to_image(gallery(np.nan_to_num(frames), columns))
    factor = max(1, 500 // image.width)
    buffer = io.BytesIO()
    image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
