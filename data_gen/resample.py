"""`skimage.transform.resize` of version 0.17, equal bit for bit, with NumPy alone.

To shrink by a whole factor, `resize(…, anti_aliasing=True)` applies a Gaussian (sigma (factor - 1) / 2, cut at 4
sigma, mirrored at the edges) along the rows, then the columns, each result stored in the canvas's dtype, and
then interpolates between pixels at the centre of each cell. To enlarge it interpolates only.

Where an area is constant, the value times 255 may lie exactly on a whole number, and truncation to uint8 shows
the last bit. So every sum here is made of element-wise operations in SciPy's order: no BLAS, and no np.exp,
whose last bit depends on the NumPy version and the CPU.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import NamedTuple

import numpy as np

# scikit-image 0.17 finds the source coordinate a·i + b of output pixel i by a singular value decomposition, and
# so with rounding errors. On a float32 canvas they vanish; on the digits' float64 canvas they decide last
# bits. What NumPy 1.19's OpenBLAS gives on x86 CPUs with AVX2 or AVX-512 is listed here, in units of 2**-60:
# (source, output) sizes -> deviations of (a, b) along x and (a, b) along y. Sizes not listed have none.
_UNIT = 2.0**-60
_DEVIATIONS = {
    (22, 110): (-32, 640, 32, -4480),
    (32, 160): (-32, 5760, 0, -2432),
    (160, 32): (-2048, 0, 1024, -49152),
    (32, 180): (32, -2432, 64, -4480),
    (180, 36): (0, 24576, 0, -16384),
    (32, 200): (96, 2112, -32, 6208),
    (200, 40): (0, 32768, -1024, 32768),
    (32, 220): (32, -512, 0, -10752),
    (220, 44): (0, -16384, 0, 0),
    (32, 240): (128, -256, 0, 3840),
    (240, 48): (-2048, 16384, -3072, 65536),
    (32, 250): (0, 6208, -32, 8256),
    (250, 50): (1024, 32768, 0, -65536),
    (32, 260): (80, -256, -16, -256),
    (260, 52): (0, -49152, 0, 32768),
    (32, 280): (16, -256, -16, -256),
    (280, 56): (1024, -16384, 2048, -98304),
    (32, 300): (-48, -2688, 16, -10880),
    (300, 60): (-1024, 32768, 1024, -32768),
    (32, 320): (0, 2880, 0, 832),
    (320, 64): (1024, -65536, 1024, 0),
    (32, 340): (16, -192, 48, -16576),
    (340, 68): (-2048, -16384, -1024, 32768),
    (32, 360): (-16, 1856, -16, -4288),
    (360, 72): (1024, -16384, 0, -98304),
    (32, 380): (0, 6272, -32, -1920),
    (380, 76): (0, 49152, 0, 32768),
    (32, 400): (16, 1088, -32, -960),
    (400, 80): (4096, -65536, 1024, -65536),
    (32, 420): (0, 3968, -16, -128),
    (420, 84): (2048, -131072, 1024, 0),
    (32, 440): (-16, -5376, -16, -1280),
    (440, 88): (2048, 0, 1024, -65536),
    (32, 450): (16, -3840, 16, -14080),
    (450, 90): (-2048, 65536, 1024, -65536),
    (32, 480): (32, 1920, -16, 1920),
    (480, 96): (-1024, 32768, -1024, -65536),
    (32, 500): (0, 0, 16, -12288),
    (500, 100): (0, 65536, 0, 0),
    (32, 560): (32, -4224, -8, -128),
    (560, 112): (-1024, 65536, -1024, 0),
    (32, 600): (16, 2752, 8, -3392),
    (600, 120): (2048, -131072, 2048, -131072),
    (32, 640): (-16, 6528, 0, -1664),
    (640, 128): (1024, -32768, 0, 0),
}


class Samples(NamedTuple):
    """Where the output pixels of one axis lie between source pixels: value = (1 - frac)·low + frac·high."""

    low: np.ndarray
    high: np.ndarray
    frac: np.ndarray


def samples(source: int, output: int) -> tuple[Samples, Samples]:
    """The samples along y and x of an image of `source` pixels a side resized to `output` pixels a side."""
    a, b = source / output, source / output * 0.5 - 0.5
    deviation = [_UNIT * units for units in _DEVIATIONS.get((source, output), (0, 0, 0, 0))]
    return (
        _samples(a + deviation[2], b + deviation[3], output),
        _samples(a + deviation[0], b + deviation[1], output),
    )


def _samples(a: float, b: float, output: int) -> Samples:
    position = a * np.arange(output) + b
    low, high = np.floor(position), np.ceil(position)
    return Samples(low.astype(np.int64), high.astype(np.int64), position - low)


def cell_centres(scale: int, count: int) -> Samples:
    """Samples at the centres of `count` cells of `scale` pixels, without rounding errors."""
    position = np.arange(count) * scale + (scale - 1) / 2
    low, high = np.floor(position), np.ceil(position)
    return Samples(low.astype(np.int64), high.astype(np.int64), position - low)


@cache
def gaussian_taps(scale: int) -> tuple[float, ...]:
    """Weights of offsets -R…0 of the anti-aliasing filter (it is symmetric); (1.0,) for scale 1."""
    sigma = (scale - 1) / 2
    if sigma == 0:
        return (1.0,)
    reach = int(4 * sigma + 0.5)
    # Decimal's exp is correctly rounded everywhere; np.exp differs between NumPy versions in the last bit.
    half = [float(Decimal(-0.5 / (sigma * sigma) * x * x).exp()) for x in range(-reach, 1)]
    total = sum(half + half[-2::-1])
    return tuple(value / total for value in half)


def mirrored(start: np.ndarray | int, length: int, size: int) -> np.ndarray:
    """Indices start … start + length - 1 (last axis), folded into [0, size) by mirroring at the edge pixels."""
    index = np.asarray(start)[..., None] + np.arange(length)
    period = 2 * (size - 1)
    return np.abs((index + size - 1) % period - (size - 1))


def smooth(lines: np.ndarray, axis: int, scale: int, at: np.ndarray) -> np.ndarray:
    """Filter along an axis that is already extended by the filter's reach; only at the positions asked for.

    Args:
        lines: array whose `axis` has the reach R more entries on both sides.
        axis: which.
        scale: sets the filter.
        at: positions [M], counted without the extension.

    Returns:
        float64, `axis` of length M.
    """
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
    top, bottom = np.split(small, 2, axis=1)
    (top_left, top_right), (bottom_left, bottom_right) = (np.split(row, 2, axis=2) for row in (top, bottom))
    return interpolate(top_left, top_right, bottom_left, bottom_right, rows.frac[:, None], cols.frac).astype(dtype)


def interpolate(
    top_left: np.ndarray,
    top_right: np.ndarray,
    bottom_left: np.ndarray,
    bottom_right: np.ndarray,
    down: np.ndarray,
    across: np.ndarray,
) -> np.ndarray:
    """Bilinear value of four neighbours, in scikit-image's order; `down` and `across` broadcast with them."""
    top = (1 - across) * top_left + across * top_right
    bottom = (1 - across) * bottom_left + across * bottom_right
    return (1 - down) * top + down * bottom


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
    top, bottom = (image[:, fold[index + 1]] for index in (rows.low, rows.high))
    left, right = fold[cols.low + 1], fold[cols.high + 1]
    four = (top[:, :, left], top[:, :, right], bottom[:, :, left], bottom[:, :, right])
    result = interpolate(*four, rows.frac[:, None], cols.frac)
    return np.clip(result, image.min(), image.max())


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8 by truncation, multiplied in the frames' own dtype."""
    return (frames * frames.dtype.type(255)).astype(np.uint8)
