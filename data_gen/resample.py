"""`skimage.transform.resize` of version 0.17, equal bit for bit, with NumPy alone.

To shrink by a whole factor, `resize(…, anti_aliasing=True)` applies a Gaussian (sigma (factor - 1) / 2, cut at 4
sigma, mirrored at the edges) along the rows, then the columns, each result stored in the canvas's dtype, and
then interpolates between pixels at the centre of each cell. To enlarge it interpolates only.

Truncation to uint8 shows the last bit. So every sum here is made of element-wise operations in SciPy's order: no
BLAS, and no np.exp, whose last bit depends on the NumPy version and the CPU.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import NamedTuple

import numpy as np

# scikit-image 0.17 finds the source coordinate a·i + b of output pixel i by a singular value decomposition, and so
# with rounding errors. On a float32 canvas they vanish; on the digits' float64 canvas they decide last bits. What
# NumPy 1.19's OpenBLAS gives on x86 CPUs is listed here for digits in frames of 32, 36 and 64 pixels, in units of
# 2**-60: (source, output) sizes -> deviations of (a, b) along x and (a, b) along y.
_UNIT = 2.0**-60
_DEVIATIONS = {
    (22, 110): (-32, 640, 32, -4480),
    (32, 160): (-32, 5760, 0, -2432),
    (160, 32): (-2048, 0, 1024, -49152),
    (32, 180): (32, -2432, 64, -4480),
    (180, 36): (0, 24576, 0, -16384),
    (32, 320): (0, 2880, 0, 832),
    (320, 64): (1024, -65536, 1024, 0),
}


class Samples(NamedTuple):
    """Where the output pixels of one axis lie between source pixels: value = (1 - frac)·low + frac·high."""

    low: np.ndarray
    high: np.ndarray
    frac: np.ndarray


def samples(source: int, output: int) -> tuple[Samples, Samples]:
    """The samples along y and x of an image of `source` pixels a side resized to `output` pixels a side."""
    a, b = source / output, source / output * 0.5 - 0.5
    ax, bx, ay, by = (_UNIT * units for units in _DEVIATIONS.get((source, output), (0, 0, 0, 0)))
    index = np.arange(output)
    return _samples_at((a + ay) * index + (b + by)), _samples_at((a + ax) * index + (b + bx))


def _samples_at(position: np.ndarray) -> Samples:
    low, high = np.floor(position), np.ceil(position)
    return Samples(low.astype(np.int64), high.astype(np.int64), position - low)


def cell_centres(scale: int, count: int) -> Samples:
    """Samples at the centres of `count` cells of `scale` pixels, without rounding errors."""
    return _samples_at(np.arange(count) * scale + (scale - 1) / 2)


@cache
def gaussian_taps(scale: int) -> tuple[float, ...]:
    """Weights of offsets -R…0 of the anti-aliasing filter (it is symmetric)."""
    sigma = (scale - 1) / 2
    reach = int(4 * sigma + 0.5)
    # Decimal's exp is correctly rounded everywhere.
    half = [float(Decimal(-0.5 / (sigma * sigma) * x * x).exp()) for x in range(-reach, 1)]
    total = sum(half + half[-2::-1])
    return tuple(value / total for value in half)


def mirrored(start: np.ndarray | int, length: int, size: int) -> np.ndarray:
    """Indices start … start + length - 1 (last axis), folded into [0, size) by mirroring at the edge pixels."""
    index = np.asarray(start)[..., None] + np.arange(length)
    period = 2 * (size - 1)
    return np.abs((index + size - 1) % period - (size - 1))


def smooth(lines: np.ndarray, axis: int, scale: int, at: np.ndarray) -> np.ndarray:
    """`lines`, extended by the filter's reach, filtered along `axis` at positions `at` [M] of the original; float64."""
    taps = gaussian_taps(scale)
    reach = len(taps) - 1
    lines = np.ascontiguousarray(lines, np.float64)  # `take` would copy anything else at each call
    centre = at + reach
    total = lines.take(centre, axis) * taps[-1]
    before, after = np.empty_like(total), np.empty_like(total)  # reused: fresh memory costs more than the sums
    for k in range(-reach, 0):
        lines.take(centre + k, axis, out=before, mode="clip")
        lines.take(centre - k, axis, out=after, mode="clip")
        before += after
        before *= taps[reach + k]
        total += before
    return total


def shrink_extended(canvas: np.ndarray, scale: int, rows: Samples, cols: Samples) -> np.ndarray:
    """Shrink [n, E, F], extended by the filter's reach on each side, to [n, rows, cols] of the same dtype."""
    dtype = canvas.dtype
    tall = smooth(canvas, 1, scale, np.concatenate([rows.low, rows.high])).astype(dtype)
    small = smooth(tall, 2, scale, np.concatenate([cols.low, cols.high])).astype(dtype).astype(np.float64)
    return interpolate(small, rows, cols).astype(dtype)


def interpolate(grid: np.ndarray, rows: Samples, cols: Samples) -> np.ndarray:
    """Bilinear values [n, rows, cols] in scikit-image's order; `grid` holds all low, then all high rows and columns."""
    top, bottom = np.split(mix(*np.split(grid, 2, axis=2), cols.frac), 2, axis=1)
    return mix(top, bottom, rows.frac[:, None])


def mix(low: np.ndarray, high: np.ndarray, frac: np.ndarray) -> np.ndarray:
    """The value between `low` and `high`, `frac` of the way."""
    return (1 - frac) * low + frac * high


def extended(canvas: np.ndarray, scale: int) -> np.ndarray:
    """Canvas [n, S, S] with the filter's reach of mirrored pixels on each side."""
    reach = len(gaussian_taps(scale)) - 1
    index = mirrored(-reach, canvas.shape[1] + 2 * reach, canvas.shape[1])
    return canvas[:, index][:, :, index]


def shrink(canvas: np.ndarray, scale: int) -> np.ndarray:
    """`resize(canvas, …, anti_aliasing=True)` by a whole factor: [n, S, S] float32 -> [n, S/scale, S/scale]."""
    centres = cell_centres(scale, canvas.shape[1] // scale)
    return shrink_extended(extended(canvas, scale), scale, centres, centres)


def enlarge(image: np.ndarray, output: int) -> np.ndarray:
    """`resize(image, (output, output))` of a smaller float64 image [n, s, s] -> [n, output, output]."""
    source = image.shape[1]
    rows, cols = samples(source, output)
    fold = mirrored(-1, source + 2, source)  # coordinates reach from -1 to `source`
    down, across = (fold[np.concatenate([axis.low, axis.high]) + 1] for axis in (rows, cols))
    return np.clip(interpolate(image[:, down][:, :, across], rows, cols), image.min(), image.max())


def background_canvas(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture uint8 [s, s, C] enlarged to [C, side, side], darkened by 0.2, clipped to [0, 1], float64."""
    channels = np.moveaxis(picture / 255.0, 2, 0)
    return np.ascontiguousarray(np.clip(enlarge(channels, side) - 0.2, 0, 1))


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8 by truncation, multiplied in the frames' own dtype."""
    return (frames * frames.dtype.type(255)).astype(np.uint8)
