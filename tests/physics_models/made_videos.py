"""Videos of grey shapes whose true positions are known."""

from __future__ import annotations

import numpy as np

from runners.reproduce.shapes import draw_shapes, drift

SIDE = 32


def made_video(shapes, sequences=40, steps=8, noise=0.0, margin=5.0, side=SIDE):
    """(frames uint8 [S, T, H, H, 1], positions [S, T, N, 2]) of grey shapes of one brightness."""
    positions = drift(sequences, steps, len(shapes), side, margin, speed=1.5)
    return draw_shapes(positions, shapes, side, noise=noise), positions


def to_float(frames):
    return (frames / 255.0).astype(np.float32)
