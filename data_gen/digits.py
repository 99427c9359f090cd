"""Frames of two digits over a picture, equal bit for bit to the original's (spring_mnist).

The original pastes the digits, five times enlarged, over the enlarged picture (both float64, the digit as alpha,
digit j in colour channel j) and shrinks the canvas. Shrinking is linear, so here each digit adds its own change
to the shrunk picture, with matrix products; where the result times 255 is so close to a whole number that
rounding could decide, the pixel is computed again in the original's order of operations. (The original also clips
to the range of the filtered canvas, which changes no uint8: all 256 levels are tested.)
"""

from __future__ import annotations

import numpy as np

from data_gen import resample
from data_gen.resample import background_canvas, enlarge, gaussian_taps, mirrored, mix, smooth, to_uint8

SCALE = 5
BORDER = 3  # pixels cut off each side of a 28 x 28 digit
NEAR_WHOLE = 1e-7  # grey levels; the matrix products are good to about 1e-12


class DigitPainter:
    """Draws frames [H, H, C] of `digits` uint8 [N, 28, 28] at given positions.

    `picture` uint8 [s, s, 3] is behind them, or None for black. With `color` C is 3, and digit j is in channel j.
    """

    def __init__(self, digits: np.ndarray, side: int, picture: np.ndarray | None, color: bool) -> None:
        channels = 3 if color else 1
        size = side * SCALE
        inner = digits[:, BORDER:-BORDER, BORDER:-BORDER] / 255.0
        self.alphas = np.concatenate([enlarge(digit[None], inner.shape[1] * SCALE) for digit in inner])
        self.backdrop = np.zeros((channels, size, size)) if picture is None else background_canvas(picture, size)
        self.canvas = self.backdrop.copy()  # digits are painted here, and taken away after each frame
        self.rows, self.cols = resample.samples(size, side)
        self.down, self.across = shrinking_matrix(self.rows, size), shrinking_matrix(self.cols, size)
        value = resample.shrink_extended(resample.extended(self.canvas, SCALE), SCALE, self.rows, self.cols)
        self.empty_approx, self.empty_frame = 255 * value, to_uint8(value)

    def __call__(self, pos: np.ndarray) -> np.ndarray:
        """Frame uint8 [H, H, C] of digits centred at pos [N, 2] in pixels."""
        size, height = self.canvas.shape[1], self.alphas.shape[1]
        corners = np.rint(pos * SCALE).astype(np.int64)[:, ::-1] - height // 2
        approx = self.empty_approx.copy()
        changed = np.zeros(approx.shape, dtype=bool)
        painted = []
        for j, (row, col) in enumerate(corners):
            rows, cols = (slice(max(start, 0), max(min(start + height, size), 0)) for start in (row, col))
            inside = j, slice(rows.start - row, rows.stop - row), slice(cols.start - col, cols.stop - col)
            window = self.canvas[:, rows, cols]
            painted.append((window, self.backdrop[:, rows, cols]))
            change = window.copy()
            np.multiply(change, 1 - self.alphas[inside], out=window)
            window[j % len(window)] += self.alphas[inside]
            np.subtract(window, change, out=change)
            cells = cells_reached(rows, len(self.rows.low)), cells_reached(cols, len(self.cols.low))
            # Two products are small enough for OpenBLAS to stay in one thread: on a busy machine more take far longer.
            halves = np.split(self.down[cells[0], rows], [(cells[0].stop - cells[0].start) // 2])
            part = np.concatenate([half @ change for half in halves], axis=-2) @ self.across[cells[1], cols].T
            approx[(slice(None), *cells)] += 255 * part
            changed[(slice(None), *cells)] |= part != 0
        frame = np.where(changed, approx.astype(np.uint8), self.empty_frame)
        near_whole = (np.abs(approx - np.rint(approx)) < NEAR_WHOLE) & (approx > 0.5)  # near 0 it is 0 in any case
        doubtful = np.nonzero(changed & near_whole)
        if len(doubtful[0]):
            frame[doubtful] = to_uint8(self._exact_values(*doubtful))
        for window, backdrop in painted:
            window[:] = backdrop
        return np.moveaxis(frame, 0, 2)

    def _exact_values(self, channel: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Values [P] of single frame pixels (channel, i, j), each [P], by the original's operations."""
        size = self.canvas.shape[1]
        reach = len(gaussian_taps(SCALE)) - 1
        rows = mirrored(self.rows.low[i] - reach, 2 * reach + 2, size)
        cols = mirrored(self.cols.low[j] - reach, 2 * reach + 2, size)
        area = self.canvas[channel[:, None, None], rows[:, :, None], cols[:, None, :]]
        four = smooth(smooth(area, 1, SCALE, np.arange(2)), 2, SCALE, np.arange(2))
        each = np.arange(len(i))
        below, right = (self.rows.high - self.rows.low)[i], (self.cols.high - self.cols.low)[j]
        top = mix(four[:, 0, 0], four[each, 0, right], self.cols.frac[j])
        return mix(top, mix(four[each, below, 0], four[each, below, right], self.cols.frac[j]), self.rows.frac[i])


def shrinking_matrix(positions: resample.Samples, size: int) -> np.ndarray:
    """Filter and interpolation along one axis as a matrix [H, size]."""
    reach = len(gaussian_taps(SCALE)) - 1
    eye = np.eye(size)[mirrored(-reach, size + 2 * reach, size)]
    return mix(*(smooth(eye, 0, SCALE, at) for at in (positions.low, positions.high)), positions.frac[:, None])


def cells_reached(span: slice, side: int) -> slice:
    """Frame pixels that feel the canvas pixels of `span`."""
    reach = len(gaussian_taps(SCALE)) - 1 + SCALE
    return slice(max((span.start - reach) // SCALE, 0), min((span.stop + reach) // SCALE + 1, side))


def render_digits(
    pos: np.ndarray, digits: np.ndarray, side: int, picture: np.ndarray | None, color: bool
) -> np.ndarray:
    """Frames uint8 [S, T, H, H, C] of digits centred at pos [S, T, N, 2]; see `DigitPainter`."""
    painter = DigitPainter(digits, side, picture, color)
    frames = np.empty((*pos.shape[:2], side, side, 3 if color else 1), np.uint8)
    for i, sequence in enumerate(pos):
        for t, places in enumerate(sequence):
            frames[i, t] = painter(places)
    return frames
