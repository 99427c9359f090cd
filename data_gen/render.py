"""Frames of discs, equal bit for bit to the original's, which painted each at ten times its size and shrank it.

A disc on a black canvas depends only on its integer centre there: its picture is computed once and copied.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from data_gen import resample

DISC_SCALE = 10
CHUNK = 256


def disc_mask(rows: np.ndarray, cols: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Bool [n, E, F]: pixels inside the circle, for rows [n, E], cols [n, F], centre [n, 2] = (col, row)."""
    down = ((rows - centre[:, 1:2]) / radius) ** 2
    across = ((cols - centre[:, 0:1]) / radius) ** 2
    return down[:, :, None] + across[:, None, :] < 1


class DiscStamps:
    """Pictures of one disc at any integer canvas centre, each computed once: `stamps` uint8 [M, K, K], K = `cells`."""

    def __init__(self, radius: float, side: int) -> None:
        self.radius, self.side = radius * DISC_SCALE, side
        self.reach = len(resample.gaussian_taps(DISC_SCALE)) - 1
        self.span = int(np.ceil(self.radius)) + self.reach  # no pixel further away feels the disc
        self.cells = min(side, 2 * self.span // DISC_SCALE + 2)
        # Centres from -margin to size + margin matter; those further out show nothing, and look alike.
        self.margin = self.span + DISC_SCALE
        self.stamps = np.zeros((0, self.cells, self.cells), np.uint8)
        self.stamp_of = np.full((side * DISC_SCALE + 2 * self.margin,) * 2, -1)  # (col, row) -> number of its stamp

    def corner(self, centre: np.ndarray) -> np.ndarray:
        """First pixel of the stamp along each axis, for integer canvas centres (any shape)."""
        return np.clip((centre - self.span) // DISC_SCALE, 0, self.side - self.cells)

    def __call__(self, centre: np.ndarray) -> np.ndarray:
        """Stamps uint8 [M, K, K] of integer canvas centres [M, 2] = (col, row)."""
        # Away from the edges a stamp depends on the centre's place in its cell only: take the first such cell.
        size, border = self.side * DISC_SCALE, (self.span // DISC_SCALE + 2) * DISC_SCALE
        inner = (centre >= border) & (centre < size - border - DISC_SCALE)
        place = np.where(inner, border + centre % DISC_SCALE, np.clip(centre, -self.margin, size + self.margin - 1))
        col, row = (place + self.margin).T
        missing = np.unique(place[self.stamp_of[col, row] < 0], axis=0)
        if len(missing):
            self.stamp_of[tuple((missing + self.margin).T)] = len(self.stamps) + np.arange(len(missing))
            parts = [self._compute(missing[i : i + CHUNK]) for i in range(0, len(missing), CHUNK)]
            self.stamps = np.concatenate([self.stamps, *parts])
        return self.stamps[self.stamp_of[col, row]]

    def _compute(self, centre: np.ndarray) -> np.ndarray:
        start = self.corner(centre) * DISC_SCALE - self.reach
        index = resample.mirrored(start, self.cells * DISC_SCALE + 2 * self.reach, self.side * DISC_SCALE)
        mask = disc_mask(index[:, 1], index[:, 0], centre, self.radius).astype(np.float32)
        cells = resample.cell_centres(DISC_SCALE, self.cells)
        return resample.to_uint8(resample.shrink_extended(mask, DISC_SCALE, cells, cells))


def disc_canvas(centre: np.ndarray, radius: float, side: int, background: np.ndarray | float = 0.0) -> np.ndarray:
    """Full float32 canvases [n, side, side] with discs of value 1 at centres [n, N, 2], on 0 or [side, side]."""
    canvas = np.empty((len(centre), side, side), np.float32)
    canvas[:] = background
    line = np.broadcast_to(np.arange(side), (len(centre), side))
    for j in range(centre.shape[1]):
        canvas[disc_mask(line, line, centre[:, j], radius)] = 1
    return canvas


def draw_whole(centre: np.ndarray, radius: float, side: int, background: np.ndarray | float = 0.0) -> np.ndarray:
    """Grey frames uint8 [n, H, H] the slow way: whole canvases of discs at canvas centres [n, N, 2], shrunk."""
    frames = np.empty((len(centre), side, side), np.uint8)
    for i in range(0, len(centre), 16):
        canvas = disc_canvas(centre[i : i + 16], radius * DISC_SCALE, side * DISC_SCALE, background)
        frames[i : i + 16] = resample.to_uint8(resample.shrink(canvas, DISC_SCALE))
    return frames


def render_discs(pos: np.ndarray, radius: float, side: int, color: bool) -> np.ndarray:
    """Frames uint8 [S, T, H, H, C] of discs at `pos` [S, T, N, 2] (pixels), on black.

    With `color` C is 3 and object j is in channel 2 - j.
    """
    centres = (pos * DISC_SCALE).astype(np.int64)  # truncation towards zero, as int() does
    frames = np.zeros((*pos.shape[:2], side, side, 3 if color else 1), np.uint8)
    stamps = DiscStamps(radius, side)
    grid = np.arange(stamps.cells)
    for first in range(0, len(pos), CHUNK):
        part = frames[first : first + CHUNK].reshape(-1, side, side, frames.shape[-1])
        centre = centres[first : first + CHUNK].reshape(-1, pos.shape[2], 2)
        corner = stamps.corner(centre)
        for j in range(pos.shape[2]):
            rows, cols = corner[:, j, 1, None, None] + grid[:, None], corner[:, j, 0, None, None] + grid
            place = np.arange(len(part))[:, None, None], rows, cols, 2 - j if color else 0
            part[place] = np.maximum(part[place], stamps(centre[:, j]))
        if not color:  # where two stamps share pixels, the sum is rounded differently
            shared = np.zeros(len(part), dtype=bool)
            for i, j in combinations(range(pos.shape[2]), 2):
                shared |= (np.abs(corner[:, i] - corner[:, j]) < stamps.cells).all(axis=1)
            part[shared, :, :, 0] = draw_whole(centre[shared], radius, side)
    return frames


def render_before_pictures(pos: np.ndarray, radius: float, side: int, pictures: np.ndarray) -> np.ndarray:
    """Grey frames uint8 [S, T, H, H, 1] of discs [S, T, N, 2] before pictures [S, s, s, 1], a sequence each."""
    frames = np.empty((*pos.shape[:2], side, side, 1), np.uint8)
    for i, centre in enumerate((pos * DISC_SCALE).astype(np.int64)):
        (behind,) = resample.background_canvas(pictures[i], side * DISC_SCALE)
        frames[i, ..., 0] = draw_whole(centre, radius, side, behind)
    return frames


def render_discs_at_frame_scale(pos: np.ndarray, radius: float, side: int) -> np.ndarray:
    """Grey frames uint8 [S, T, H, H, 1] of single balls [S, T, 1, 2], not smoothed (falling_ball)."""
    frames = resample.to_uint8(disc_canvas(pos.astype(np.int64).reshape(-1, 1, 2), radius, side))
    return frames.reshape(*pos.shape[:2], side, side, 1)
