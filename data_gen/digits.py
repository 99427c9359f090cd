"""Frames of two digits over a picture, equal bit for bit to the original's (spring_mnist).

The original pastes the digits, five times enlarged, over the enlarged picture (both float64, the digit as alpha,
digit j in colour channel j) and shrinks the canvas. Shrinking is linear, so here each digit adds its own change
to the shrunk picture, with matrix products; where the result times 255 is so close to a whole number that
rounding could decide, the pixel is computed again in the original's order of operations. (The original also
clips to the range of the filtered canvas. That would act on last bits of constant areas only, and there it changes
no uint8: all 256 levels were tried at all sizes listed in `resample`.)
"""

from __future__ import annotations

from typing import Callable

import numpy as np

from data_gen.resample import (
    Samples,
    enlarge,
    extended,
    gaussian_taps,
    interpolate,
    mirrored,
    samples,
    shrink_extended,
    smooth,
    to_uint8,
)

SCALE = 5
BORDER = 3  # pixels cut off each side of a 28 x 28 digit
BACKGROUND_DIMMED_BY = 0.2
NEAR_WHOLE = 1e-7  # grey levels; the matrix products are good to about 1e-12


def background_canvas(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture uint8 [s, s, C] enlarged to [C, side, side], 0.2 darker, clipped to [0, 1], float64."""
    channels = np.moveaxis(picture / 255.0, 2, 0)
    return np.clip(enlarge(channels, side) - BACKGROUND_DIMMED_BY, 0, 1)


def digit_alphas(digits: np.ndarray) -> np.ndarray:
    """Digits uint8 [N, 28, 28] without their border, enlarged to [N, 110, 110], float64."""
    inner = digits[:, BORDER:-BORDER, BORDER:-BORDER] / 255.0
    return np.stack([enlarge(digit[None], inner.shape[1] * SCALE)[0] for digit in inner])


class DigitPainter:
    """Draws frames of digits at given positions.

    Args:
        digits: uint8 [N, 28, 28].
        side: H.
        picture: uint8 [s, s, 3] behind the digits, or None for black.
        color: True: C = 3, digit j in channel j; False: C = 1.
    """

    def __init__(self, digits: np.ndarray, side: int, picture: np.ndarray | None, color: bool) -> None:
        channels = 3 if color else 1
        size = side * SCALE
        self.alphas = digit_alphas(digits)
        self.backdrop = np.zeros((channels, size, size)) if picture is None else background_canvas(picture, size)
        self.rows, self.cols = samples(size, side)
        self.colors = np.eye(channels)[np.arange(len(digits)) % channels]  # [N, C]
        self.full_change = self.colors[:, :, None, None] - self.backdrop  # by an opaque digit, anywhere
        self.down, self.across = shrinking_matrix(self.rows, size), shrinking_matrix(self.cols, size)

        value = shrink_extended(extended(self.backdrop, SCALE), SCALE, self.rows, self.cols)
        self.backdrop_approx, self.backdrop_frame = 255 * value, to_uint8(value)

    def __call__(self, pos: np.ndarray) -> np.ndarray:
        """Frame uint8 [H, H, C] of digits centred at pos [N, 2] in pixels."""
        corners = np.rint(pos * SCALE).astype(np.int64)[:, ::-1] - self.alphas.shape[1] // 2
        approx = self.backdrop_approx.copy()
        changed = np.zeros(approx.shape, dtype=bool)
        for rows, cols, change in self._changes(corners):
            cells = cells_reached(rows, len(self.rows.low)), cells_reached(cols, len(self.cols.low))
            part = product_in_halves(self.down[cells[0], rows], change) @ self.across[cells[1], cols].T
            approx[(slice(None), *cells)] += 255 * part
            changed[(slice(None), *cells)] |= part != 0
        frame = np.where(changed, approx.astype(np.uint8), self.backdrop_frame)
        near_whole = (np.abs(approx - np.rint(approx)) < NEAR_WHOLE) & (approx > 0.5)  # near 0 it is 0 in any case
        doubtful = np.nonzero(changed & near_whole)
        if len(doubtful[0]):
            frame[doubtful] = to_uint8(self._exact_values(corners, *doubtful))
        return np.moveaxis(frame, 0, 2)

    def _changes(self, corners: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
        """For each digit the part of the canvas that it covers (rows, cols) and its change there [C, h, w]."""
        size, height = self.backdrop.shape[1], self.alphas.shape[1]
        changes: list[tuple[slice, slice, np.ndarray]] = []
        for alpha, full_change, (row, col) in zip(self.alphas, self.full_change, corners):
            rows, cols = (slice(max(start, 0), max(min(start + height, size), 0)) for start in (row, col))
            change = full_change[:, rows, cols].copy()
            for earlier_rows, earlier_cols, earlier in changes:
                (here_r, there_r), (here_c, there_c) = overlap(rows, earlier_rows), overlap(cols, earlier_cols)
                change[:, here_r, here_c] -= earlier[:, there_r, there_c]
            change *= alpha[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col]
            changes.append((rows, cols, change))
        return changes

    def _exact_values(self, corners: np.ndarray, channel: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Values [P] of single frame pixels (channel, i, j), each [P], by the original's operations."""
        size = self.backdrop.shape[1]
        reach = len(gaussian_taps(SCALE)) - 1
        rows = mirrored(self.rows.low[i] - reach, 2 * reach + 2, size)
        cols = mirrored(self.cols.low[j] - reach, 2 * reach + 2, size)
        canvas = self._canvas_at(corners, channel[:, None, None], rows[:, :, None], cols[:, None, :])
        four = smooth(smooth(canvas, 1, SCALE, np.arange(2)), 2, SCALE, np.arange(2))
        each = np.arange(len(i))
        below, right = (self.rows.high - self.rows.low)[i], (self.cols.high - self.cols.low)[j]
        neighbours = four[:, 0, 0], four[each, 0, right], four[each, below, 0], four[each, below, right]
        return interpolate(*neighbours, self.rows.frac[i], self.cols.frac[j])

    def _canvas_at(self, corners: np.ndarray, channel: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Values of the full canvas at index arrays that broadcast together."""
        value = self.backdrop[channel, rows, cols]
        height = self.alphas.shape[1]
        for alpha, color, (row, col) in zip(self.alphas, self.colors, corners):
            inside = (rows >= row) & (rows < row + height) & (cols >= col) & (cols < col + height)
            a = np.where(inside, alpha[(rows - row) % height, (cols - col) % height], 0)
            value = a * color[channel] + (1 - a) * value
        return value


def shrinking_matrix(positions: Samples, size: int) -> np.ndarray:
    """Filter and interpolation along one axis as a matrix [H, size]."""
    reach = len(gaussian_taps(SCALE)) - 1
    eye = np.eye(size)[mirrored(-reach, size + 2 * reach, size)]
    low, high = smooth(eye, 0, SCALE, positions.low), smooth(eye, 0, SCALE, positions.high)
    return (1 - positions.frac[:, None]) * low + positions.frac[:, None] * high


def product_in_halves(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, in two products small enough for OpenBLAS to stay in one thread.

    Its threads wait for each other busily: on a machine with other work they take hundreds of times longer.
    """
    middle = len(left) // 2
    return np.concatenate([left[:middle] @ right, left[middle:] @ right], axis=-2)


def cells_reached(span: slice, side: int) -> slice:
    """Frame pixels that feel the canvas pixels of `span`."""
    reach = len(gaussian_taps(SCALE)) - 1 + SCALE
    return slice(max((span.start - reach) // SCALE, 0), min((span.stop + reach) // SCALE + 1, side))


def overlap(first: slice, second: slice) -> tuple[slice, slice]:
    """The common part of two spans, counted from the start of each."""
    start, stop = max(first.start, second.start), max(min(first.stop, second.stop), 0)
    stop = max(start, stop)
    return slice(start - first.start, stop - first.start), slice(start - second.start, stop - second.start)


def render_digits(
    pos: np.ndarray,
    digits: np.ndarray,
    side: int,
    picture: np.ndarray | None,
    color: bool,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Frames uint8 [S, T, H, H, C] of digits centred at pos [S, T, N, 2]; see `DigitPainter`."""
    painter = DigitPainter(digits, side, picture, color)
    frames = np.empty(pos.shape[:2] + (side, side, 3 if color else 1), np.uint8)
    for i, sequence in enumerate(pos):
        for t, places in enumerate(sequence):
            frames[i, t] = painter(places)
        if progress is not None:
            progress(i + 1)
    return frames
