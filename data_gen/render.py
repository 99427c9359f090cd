"""Frames of discs, equal bit for bit to the original's, which painted each at ten times its size and shrank it.

A disc on a black canvas depends only on its integer centre there: its picture is computed once and copied.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

from data_gen.resample import cell_centres, gaussian_taps, mirrored, shrink, shrink_extended, to_uint8

DISC_SCALE = 10
CHUNK = 256


def disc_mask(rows: np.ndarray, cols: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Bool [n, E, F]: pixels inside the circle, for rows [n, E], cols [n, F], centre [n, 2] = (col, row)."""
    down = ((rows - centre[:, 1:2]) / radius) ** 2
    across = ((cols - centre[:, 0:1]) / radius) ** 2
    return down[:, :, None] + across[:, None, :] < 1


class DiscStamps:
    """Pictures of one disc at any integer canvas centre, each computed once.

    Attributes:
        cells: side K of a stamp in pixels.
        stamps: uint8 [M, K, K], those computed so far.

    Args:
        radius: in frame pixels.
        side: frame side H.
        scale: enlargement of the canvas.
    """

    def __init__(self, radius: float, side: int, scale: int = DISC_SCALE) -> None:
        self.radius, self.side, self.scale = radius * scale, side, scale
        self.reach = len(gaussian_taps(scale)) - 1
        self.span = int(np.ceil(self.radius)) + self.reach  # no pixel further away feels the disc
        self.cells = min(side, 2 * self.span // scale + 2)
        # Beyond this distance from the edges the stamp depends on the centre's place in its cell only.
        self.border = -(-self.span // scale) * scale + scale
        self.stamps = np.zeros((0, self.cells, self.cells), np.uint8)
        self.row_of = np.full((0,), -1)

    def corner(self, centre: np.ndarray) -> np.ndarray:
        """First pixel of the stamp along each axis, for integer canvas centres (any shape)."""
        return np.clip((centre - self.span) // self.scale, 0, self.side - self.cells)

    def _same_place(self, centre: np.ndarray) -> np.ndarray:
        """Replace inner centres by the one of the same place in its cell next to the border."""
        size = self.side * self.scale
        inner = (centre >= self.border) & (centre < size - self.border - self.scale)
        return np.where(inner, self.border + (centre - self.border) % self.scale, centre)

    def __call__(self, centre: np.ndarray) -> np.ndarray:
        """Stamps uint8 [M, K, K] of integer canvas centres [M, 2] = (col, row)."""
        low = -self.span - self.scale  # centres further out show nothing; they all look alike
        width = self.side * self.scale - 2 * low
        place = np.clip(self._same_place(centre), low, low + width - 1) - low
        keys, inverse = np.unique(place[:, 0] * width + place[:, 1], return_inverse=True)
        if len(self.row_of) == 0:
            self.row_of = np.full(width * width, -1)
        new = keys[self.row_of[keys] < 0]
        if len(new):
            self.row_of[new] = len(self.stamps) + np.arange(len(new))
            centres = np.stack([new // width, new % width], axis=1) + low
            parts = [self._compute(centres[i : i + CHUNK]) for i in range(0, len(new), CHUNK)]
            self.stamps = np.concatenate([self.stamps, *parts])
        return self.stamps[self.row_of[keys][inverse.reshape(-1)]]

    def _compute(self, centre: np.ndarray) -> np.ndarray:
        length = self.cells * self.scale + 2 * self.reach
        start = self.corner(centre) * self.scale - self.reach
        index = mirrored(start, length, self.side * self.scale)
        mask = disc_mask(index[:, 1], index[:, 0], centre, self.radius).astype(np.float32)
        cells = cell_centres(self.scale, self.cells)
        return to_uint8(shrink_extended(mask, self.scale, cells, cells))


def disc_canvas(centre: np.ndarray, radius: float, side: int, background: np.ndarray | None) -> np.ndarray:
    """Full float32 canvases [n, side, side] with discs of value 1 at centres [n, N, 2]."""
    n = len(centre)
    canvas = np.zeros((n, side, side), np.float32)
    if background is not None:
        canvas[:] = background
    line = np.broadcast_to(np.arange(side), (n, side))
    for j in range(centre.shape[1]):
        canvas[disc_mask(line, line, centre[:, j], radius)] = 1
    return canvas


def render_discs(
    pos: np.ndarray,
    radius: float,
    side: int,
    color: bool,
    background: Callable[[int], np.ndarray] | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Frames of discs at the given positions.

    Args:
        pos: [S, T, N, 2] pixels.
        radius: pixels.
        side: H.
        color: True: [.., 3], object j in channel 2 - j; False: one channel for all.
        background: sequence number -> canvas [10·H, 10·H] behind its discs (grey frames only); None is black.
        progress: called with the number of sequences finished.

    Returns:
        uint8 [S, T, H, H, 3 or 1].
    """
    sequences, steps, n_objs = pos.shape[:3]
    centre = (pos * DISC_SCALE).astype(np.int64)  # truncation towards zero, as int() does
    frames = np.zeros((sequences, steps, side, side, 3 if color else 1), np.uint8)
    stamps = DiscStamps(radius, side)
    for first in range(0, sequences, CHUNK):
        part = frames[first : first + CHUNK].reshape(-1, side, side, frames.shape[-1])
        places = centre[first : first + CHUNK].reshape(-1, n_objs, 2)
        if background is None:
            _stamp_discs(part, places, stamps, color)
            if not color and n_objs > 1:
                _redraw(part, places, stamps, _overlapping(places, stamps))
        else:
            for s in range(first, min(first + CHUNK, sequences)):
                every = np.arange((s - first) * steps, (s - first + 1) * steps)
                _redraw(part, places, stamps, every, background(s))
        if progress is not None:
            progress(min(first + CHUNK, sequences))
    return frames


def _stamp_discs(frames: np.ndarray, places: np.ndarray, stamps: DiscStamps, color: bool) -> None:
    each = np.arange(len(frames))[:, None, None]
    grid = np.arange(stamps.cells)
    for j in range(places.shape[1]):
        corner = stamps.corner(places[:, j])
        rows = corner[:, 1, None, None] + grid[:, None]
        cols = corner[:, 0, None, None] + grid
        channel = 2 - j if color else 0
        place = each, rows, cols, channel
        frames[place] = np.maximum(frames[place], stamps(places[:, j]))


def _overlapping(places: np.ndarray, stamps: DiscStamps) -> np.ndarray:
    """Frames in which two stamps share pixels: there the sum is rounded differently, so they are redrawn."""
    corner = stamps.corner(places)
    shared = np.zeros(len(places), dtype=bool)
    for i in range(places.shape[1]):
        for j in range(i):
            shared |= (np.abs(corner[:, i] - corner[:, j]) < stamps.cells).all(axis=1)
    return np.nonzero(shared)[0]


def _redraw(
    frames: np.ndarray,
    places: np.ndarray,
    stamps: DiscStamps,
    which: np.ndarray,
    background: np.ndarray | None = None,
) -> None:
    size = stamps.side * DISC_SCALE
    for i in range(0, len(which), 16):
        some = which[i : i + 16]
        canvas = disc_canvas(places[some], stamps.radius, size, background)
        frames[some, :, :, 0] = to_uint8(shrink(canvas, DISC_SCALE))


def render_balls_at_frame_scale(pos: np.ndarray, radius: float, side: int) -> np.ndarray:
    """Grey frames uint8 [S, T, H, H, 1] of single balls [S, T, 1, 2], not smoothed (falling_ball)."""
    centre = pos.astype(np.int64).reshape(-1, 1, 2)
    frames = to_uint8(disc_canvas(centre, radius, side, None))
    return frames.reshape(pos.shape[:2] + (side, side, 1))
