"""What moves in a video, found in its frames alone (NumPy): where N objects are, and which is which.

It assumes what the model assumes: N compact objects of fixed looks move before a fixed background, and each appears
once per frame. No label and no color model enters. The steps:

1. `find_scene`: the background is the per-pixel median; pixels that differ from it much are moving, little: still.
2. `find_blobs`: connected moving pixels. A frame is *clear* if it has exactly N blobs; in the others objects touch or
   hide each other.
3. `cluster_looks`, `name_blobs`: k-means on what the blobs look like, under the constraint that each kind of object
   appears exactly once per frame. `ratio` says whether the looks tell the objects apart; where they do not,
   `nn.tracking` keeps names within a sequence.

Frames are float32 [F, H, H, C] in [0, 1]. Positions are (x, y) in pixels; pixel i has its middle at i + 0.5.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np

BACKGROUND_FRAMES = 500  # random frames of which the median is taken
# The fifth largest difference of a frame is what its brightest object differs by; where the object has fewer pixels,
# half of the largest.
BRIGHT_PIXELS, BRIGHT_SHARE = 5, 0.5
MOVING, STILL = 0.15, 0.1  # of that difference: above a pixel is moving, below it is still
NOISE_QUANTILE, NOISE_FACTOR = 0.8, 3.0  # of the differences; a pixel moves if it differs by that many times as much
NOISE_LIMITS = 0.5  # of the largest difference: the noise raises the threshold up to there
MIN_BLOB = 3  # pixels
WEAK = 0.02  # of the summed square of a frame's strongest blob: below it is a shadow or noise
ROUNDS, STARTS = 20, 10  # of the k-means
# Measured on shapes of one brightness, noise of 0 to 25 grey levels: ratio 1.5 to 140, ambiguous at most 1 % where
# looks differ; 1.07 to 1.5, 12 % to 17 % where they are the same. (Noise takes the ratio towards 1, but not the share.)
DISTINCT_RATIO, AMBIGUOUS, AMBIGUOUS_GAP = 2.0, 0.03, 0.25
MAX_NAMED = 6  # objects; all N! assignments are compared
MIN_CLEAR = 0.05  # share of the frames: fewer of some number of blobs say nothing
CLUSTERED = 2000  # clear frames that looks are clustered on
# Measured on the same videos and more, with 1 to 4 objects: 0.96 to 0.997 at the true number, at most 0.81 elsewhere;
# 0.87 to 0.89 for a filmed apple on a string.
SURE_AGREEMENT = 0.85
FIXED_LOOKS = 0.5  # agreement below which what moves has no fixed looks; filmed: a turning paper star 0.72, a leaf 0.22
TINY = 1e-12


class Scene(NamedTuple):
    """The fixed part of a video. Differences are norms over the channels."""

    background: np.ndarray  # [H, H, C] in [0, 1]
    bright: float  # difference of the objects' brightest pixels
    moving_above: float  # pixels that differ more belong to an object
    still_below: float  # pixels that differ less belong to the background
    noise: float  # mean squared difference of a still frame, summed over its pixels and channels


class Blobs(NamedTuple):
    """M connected groups of moving pixels, in the order of their frames."""

    frame: np.ndarray  # [M], index of the frame
    centre: np.ndarray  # [M, 2], (x, y) in pixels
    look: np.ndarray  # [M, D], the difference from the background in a window about the centre


class Kinds(NamedTuple):
    """What tells N objects apart."""

    looks: np.ndarray  # [N, D], the mean look of each
    share: float  # of the frames that have exactly N blobs
    agreement: float  # of the blobs' looks with their kind's mean: 1 − squared distance / summed square
    ratio: float  # mean cost of the second best naming of a frame by that of the best; infinite for one object
    ambiguous: float  # share of frames in which these two costs differ by under a quarter of what they do in the median

    @property
    def distinct(self) -> bool:
        """Whether a single frame tells which object is which."""
        return self.ratio >= DISTINCT_RATIO or self.ambiguous <= AMBIGUOUS


def find_scene(frames: np.ndarray, random: np.random.RandomState) -> Scene:
    """The `Scene` of `frames` [F, H, H, C]."""
    some = frames[random.permutation(len(frames))[:BACKGROUND_FRAMES]]
    background = np.median(some, axis=0).astype(np.float32)
    squares = np.square(some - background).sum(-1)
    flat = np.sqrt(squares).reshape(len(some), -1)
    fifth = np.partition(flat, -BRIGHT_PIXELS, axis=1)[:, -BRIGHT_PIXELS]
    bright = float(np.median(np.maximum(fifth, BRIGHT_SHARE * flat.max(axis=1))))
    spread = NOISE_FACTOR * float(np.quantile(flat, NOISE_QUANTILE))
    # Objects that cover more than a fifth of the frame must not pass for noise.
    noise = min(spread, NOISE_LIMITS * bright)
    moving, still = max(MOVING * bright, noise, TINY), max(STILL * bright, noise, TINY)
    at_rest = squares[np.sqrt(squares) < still]
    return Scene(background, bright, moving, still, float(at_rest.mean() * flat.shape[1]) if at_rest.size else 0.0)


def connect(moving: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The true pixels of bool `moving` [F, H, W] as arrays (frame, row, column, component), each [pixels].

    Pixels of one frame that touch, also by a corner, have the same component: the smallest index of its pixels.
    """
    frame, row, column = np.nonzero(moving)
    count, height, width = moving.shape
    index = np.full((count, height + 1, width + 2), -1)
    index[frame, row, column + 1] = np.arange(len(frame))
    ends = [index[frame, row + down, column + 1 + right] for down, right in ((0, 1), (1, -1), (1, 0), (1, 1))]
    start = np.concatenate([np.nonzero(end >= 0)[0] for end in ends])
    end = np.concatenate([end[end >= 0] for end in ends])
    component = np.arange(len(frame))
    while True:
        low = np.minimum(component[start], component[end])
        new = component.copy()
        np.minimum.at(new, component[start], low)
        np.minimum.at(new, component[end], low)
        new = new[new]
        if np.array_equal(new, component):
            return frame, row, column, component
        component = new


def find_blobs(frames: np.ndarray, scene: Scene) -> Blobs:
    """The `Blobs` in `frames` [F, H, H, C] that are neither too small (`MIN_BLOB`) nor too weak (`WEAK`)."""
    difference = frames - scene.background
    strength = np.sqrt(np.square(difference).sum(-1))
    frame, row, column, component = connect(strength > scene.moving_above)
    size = np.bincount(component, minlength=len(component))
    energy = np.bincount(component, np.square(strength[frame, row, column]), len(component))
    strongest = np.zeros(len(frames))
    np.maximum.at(strongest, frame, energy[component])
    kept = (size[component] >= MIN_BLOB) & (energy[component] >= WEAK * strongest[frame])
    frame, row, column, component = frame[kept], row[kept], column[kept], component[kept]
    first, blob = np.unique(component, return_index=True, return_inverse=True)[1:]
    # Pixels that an object covers in part count in part; the square would favour the brighter side.
    weight = np.minimum(strength[frame, row, column] / (0.5 * scene.bright), 1.0)
    middles = np.stack([column, row], axis=1) + 0.5
    total = np.bincount(blob, weight, len(first))
    centre = np.stack([np.bincount(blob, weight * axis, len(first)) / total for axis in middles.T], axis=1)
    look = windows(difference[frame, row, column], middles - centre[blob], blob, len(first), frames.shape[1] // 2)
    return Blobs(frame[first], centre.astype(np.float32), look)


def windows(pixels: np.ndarray, offset: np.ndarray, blob: np.ndarray, count: int, side: int) -> np.ndarray:
    """Pixels [n, C] drawn into one window per blob, [count, side·side·C], bilinearly.

    `offset` [n, 2] is the place (x, y) of a pixel from the middle of the window of `blob` [n].
    """
    place = offset + side / 2 - 0.5
    corner = np.floor(place).astype(int)
    drawn = np.zeros((count * side * side, pixels.shape[1]), np.float32)
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at = corner + step
        weight = np.prod(1.0 - np.abs(place - at), axis=1)
        inside = ((at >= 0) & (at < side)).all(axis=1)
        cell = ((blob * side + at[:, 1]) * side + at[:, 0])[inside]
        for channel, values in enumerate(pixels[inside].T):
            drawn[:, channel] += np.bincount(cell, weight[inside] * values, len(drawn))
    return drawn.reshape(count, side * side * pixels.shape[1])


def count_blobs(blobs: Blobs, n_frames: int) -> np.ndarray:
    """How many blobs each of the frames has, [n_frames]."""
    return np.bincount(blobs.frame, minlength=n_frames)


def of_clear_frames(blobs: Blobs, counts: np.ndarray, n_objs: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres [K, N, 2] and looks [K, N, D] of the K frames that have exactly N blobs; `counts` as `count_blobs`."""
    chosen = (counts == n_objs)[blobs.frame]
    centres, looks = blobs.centre[chosen], blobs.look[chosen]
    return centres.reshape(-1, n_objs, 2), looks.reshape(-1, n_objs, looks.shape[1])


def find_kinds(blobs: Blobs, counts: np.ndarray, random: np.random.RandomState) -> dict[int, Kinds]:
    """The `Kinds` for every number of objects N that at least `MIN_CLEAR` of the frames show; `counts` [frames]."""
    found = {}
    for n_objs in range(1, MAX_NAMED + 1):
        share = float((counts == n_objs).mean())
        if share >= MIN_CLEAR:
            found[n_objs] = cluster_looks(of_clear_frames(blobs, counts, n_objs)[1][:CLUSTERED], share, random)
    return found


def estimate_n_objs(kinds: dict[int, Kinds]) -> int:
    """The number of objects whose looks agree best; 0 where there are no `kinds`.

    Objects that touch or hide each other make a frame's number of blobs smaller, but then the blobs look different
    from frame to frame.
    """
    return max(kinds, key=lambda n_objs: kinds[n_objs].agreement, default=0)


def orders(n_objs: int) -> np.ndarray:
    """All N! assignments, int [N!, N]: entry j is the number of the blob that is object j."""
    return np.array(list(permutations(range(n_objs))))


def naming_costs(looks: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The summed squared distances of each assignment of `looks` [F, N, D] to `kinds` [N, D]: [F, N!].

    Less the squares of `looks`, which are the same for all assignments of a frame.
    """
    count, n_objs, size = looks.shape
    cost = np.square(kinds).sum(-1) - 2.0 * looks.reshape(-1, size) @ kinds.T  # [F·N, kind]
    return cost.reshape(count, n_objs, n_objs)[:, orders(n_objs), np.arange(n_objs)].sum(-1)


def name_blobs(looks: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Which blob is which kind, int [F, N], for `looks` [F, N, D] of clear frames and `kinds` [N, D]."""
    return orders(len(kinds))[naming_costs(looks, kinds).argmin(1)]


def cluster_looks(looks: np.ndarray, share: float, random: np.random.RandomState) -> Kinds:
    """The `Kinds` in `looks` [F, N, D] of clear frames, which are a `share` of all.

    k-means under the constraint that each kind appears once per frame. It starts from the blobs of one random
    frame, which are N different objects; the best of several starts is taken.
    """
    count, n_objs, size = looks.shape
    flat = looks.reshape(-1, size)
    best_cost, best = np.inf, looks[0]
    for _ in range(STARTS):
        kinds, order = looks[random.randint(count)], None
        for _ in range(ROUNDS):
            before, order = order, name_blobs(looks, kinds)
            if np.array_equal(order, before):
                break
            kinds = np.eye(n_objs, dtype=np.float32)[order.argsort(1).reshape(-1)].T @ flat / count
        cost = naming_costs(looks, kinds).min(1).mean()
        if cost < best_cost:
            best_cost, best = cost, kinds
    squares = np.square(looks).sum((1, 2))
    agreement = 1.0 - float((best_cost + squares.mean()) / max(squares.mean(), TINY))
    if n_objs == 1:
        return Kinds(best, share, agreement, np.inf, 0.0)
    costs = squares[:, None] + np.partition(naming_costs(looks, best), 1, axis=1)[:, :2]
    first, second = costs.mean(0)
    gap = costs[:, 1] - costs[:, 0]
    ambiguous = float((gap < AMBIGUOUS_GAP * np.median(gap)).mean())
    return Kinds(best, share, agreement, float(second / max(first, TINY)), ambiguous)
