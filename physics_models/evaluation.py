"""How well a trained network does, in numbers that can be held against the paper: positions, frames, parameters."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
SSIM_K1, SSIM_K2 = 0.01, 0.03


class Match(NamedTuple):
    """Which of the network's objects is which of the true ones, and where it draws it.

    The network numbers the objects as it likes, and where in its template a ball lies it chooses, too: one
    constant offset for each object says nothing about the dynamics.
    """

    order: tuple[int, ...]  # object j of the truth is object order[j] of the network
    offset: np.ndarray  # [N, 2], network − truth, pixels


class PositionError(NamedTuple):
    """Positions of the network against true ones, in pixels."""

    rms: float  # root of the mean squared distance, over sequences, steps and objects
    per_step: np.ndarray  # [T], the same at each step


def match_objects(positions: np.ndarray, true: np.ndarray) -> Match:
    """The order and the constant offsets that bring `positions` closest to `true`, both [S, T, N, 2] pixels.

    Raises `ValueError` for unequal shapes.
    """
    positions, true = np.asarray(positions, np.float64), np.asarray(true, np.float64)
    if positions.shape != true.shape:
        raise ValueError(f"positions {positions.shape} and true ones {true.shape} differ in shape")
    n_objs = true.shape[2]
    best: tuple[float, Match] | None = None
    for order in itertools.permutations(range(n_objs)):
        difference = positions[:, :, list(order)] - true
        offset = difference.mean(axis=(0, 1))
        squared = np.square(difference - offset).sum(axis=-1).mean()
        if best is None or squared < best[0]:
            best = (squared, Match(order, offset))
    assert best is not None  # there is at least one order
    return best[1]


def position_error(positions: np.ndarray, true: np.ndarray, match: Match | None = None) -> PositionError:
    """Distances between `positions` and `true` ones [S, T, N, 2] under `match` (by default their own best)."""
    match = match or match_objects(positions, true)
    difference = np.asarray(positions, np.float64)[:, :, list(match.order)] - match.offset - true
    squared = np.square(difference).sum(axis=-1)
    return PositionError(float(np.sqrt(squared.mean())), np.sqrt(squared.mean(axis=(0, 2))))


def length_scale(predicted: np.ndarray, true: np.ndarray) -> float:
    """The factor s that best explains `predicted` = s·`true` + offset, positions [S, T, N, 2] in the same order."""
    p = predicted - predicted.mean(axis=(0, 1))
    t = true - true.mean(axis=(0, 1))
    return float((p * t).sum() / np.square(t).sum())


def gaussian_window() -> np.ndarray:
    """The 11 weights of SSIM's separable window, sigma 1.5 pixels; they sum to one."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-np.square(offsets) / (2 * SSIM_SIGMA**2))
    return weights / weights.sum()


def _blur(images: np.ndarray) -> np.ndarray:
    """Gaussian means [..., H − 10, W − 10] of every full 11×11 window of `images` [..., H, W]."""
    window = gaussian_window()
    for axis in (-2, -1):
        images = np.lib.stride_tricks.sliding_window_view(images, SSIM_WINDOW, axis=axis) @ window
    return images


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity [...] of frames `a`, `b` [..., H, W, C] in [0, 1] (Wang et al. 2004).

    11×11 Gaussian window (sigma 1.5), K1 = 0.01, K2 = 0.03, population covariances; mean over all full windows
    and over the channels. Raises `ValueError` for frames under 11 pixels.
    """
    if min(a.shape[-3:-1]) < SSIM_WINDOW:
        raise ValueError(f"frames of {a.shape[-3]}×{a.shape[-2]} pixels: SSIM needs at least 11×11")
    a, b = (np.moveaxis(np.asarray(x, np.float64), -1, -3) for x in (a, b))
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    index /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return index.mean(axis=(-3, -2, -1))


class FrameErrors(NamedTuple):
    """Predicted against true frames at each step [T]."""

    ssim: np.ndarray
    mse: np.ndarray  # mean over H, W, C
    squared_error: np.ndarray  # sum over H, W, C: the losses' unit


def frame_errors(predicted: np.ndarray, true: np.ndarray) -> FrameErrors:
    """SSIM and errors of frames [S, T, H, W, C] in [0, 1] at each step, averaged over sequences."""
    squared = np.square(np.asarray(predicted, np.float64) - true)
    similarity = np.stack([ssim(predicted[:, t], true[:, t]).mean() for t in range(true.shape[1])])
    return FrameErrors(similarity, squared.mean(axis=(0, 2, 3, 4)), squared.sum(axis=(2, 3, 4)).mean(axis=0))


def calibrate(parameters: dict[str, float], img_size: int) -> dict[str, float]:
    """Learned `parameters` without the stretch of the original's sampling grid.

    The grid puts pixel i at position i·H/(H − 1) (H = `img_size`), so that all lengths come out too large by
    s = H/(H − 1): l is divided by s and g (length³ per time²) by s³. k and m have no length in them.
    """
    shrink = (img_size - 1) / img_size
    powers = {"l": 1, "g": 3}
    return {name: value * shrink ** powers.get(name, 0) for name, value in parameters.items()}
