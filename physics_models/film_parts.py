"""Which part of a film shows the motion: a flight between hand, floor and the frame's edge, a swing between rests.

Tracks are `physics_models.fit.Track`: positions [T, 2] of one body in pixels at the times [T].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FEWEST = 12  # frames of a part that is cut out of a film
SEED = 7  # frames of the shortest piece of a flight
NOISES, OFF = 4.0, 0.4  # a frame leaves a piece by more than so many standard deviations, and so many pixels
OTHER, DIFFERENT = 0.5, 0.3  # another piece of that share of the best one's height must not differ by so much
RESTS_LONG = 0.05  # share of a film: a shorter rest at its beginning is left in
LEAVES, BLOCK = 6.0, 5  # standard deviations of the residuals; by so many more frames are bad than good


class Piece(NamedTuple):
    """Frames `first` to `last` (left out) with one constant acceleration [2]."""

    first: int
    last: int
    bend: np.ndarray
    height: float  # pixels between the parabola's middle and its chord


def noise(positions: np.ndarray, times: np.ndarray) -> float:
    """Standard deviation of `positions` [T, 2] from parabolas through 7 frames; the median over the film."""
    spreads = [
        np.square(_parabola(positions[i : i + SEED], times[i : i + SEED])[1]).sum() / (2 * SEED - 6)
        for i in range(len(times) - SEED + 1)
    ]
    return float(np.sqrt(np.median(spreads)))


def _parabola(positions: np.ndarray, times: np.ndarray, at: np.ndarray | None = None) -> tuple:
    """The acceleration [2] of the best parabola, its residuals [T, 2], and its places at the times `at`."""
    middle = times.mean()
    basis = np.stack([np.ones_like(times), times - middle, np.square(times - middle) / 2], 1)
    found = np.linalg.lstsq(basis, positions, rcond=None)[0]
    t = (times if at is None else at) - middle
    return found[2], positions - basis @ found, np.stack([np.ones_like(t), t, t * t / 2], 1) @ found


def pieces(positions: np.ndarray, times: np.ndarray) -> list[Piece]:
    """The pieces of a film, each as long as one parabola follows it; the one that bends most comes first."""
    limit, count = max(NOISES * noise(positions, times), OFF), len(times)
    found: list[Piece] = []
    for seed in range(count - SEED + 1):
        if any(p.first <= seed and seed + SEED <= p.last for p in found):
            continue
        first, last = seed, seed + SEED
        if np.abs(_parabola(positions[first:last], times[first:last])[1]).max() > limit:
            continue
        while True:
            near = np.array([i for i in (first - 1, last) if 0 <= i < count], int)
            places = _parabola(positions[first:last], times[first:last], times[near])[2]
            next_ones = near[np.abs(places - positions[near]).max(1) < limit]
            if not next_ones.size:
                break
            first, last = min(first, next_ones.min()), max(last, next_ones.max() + 1)
        bend = _parabola(positions[first:last], times[first:last])[0]
        height = float(np.linalg.norm(bend)) * (times[last - 1] - times[first]) ** 2 / 8
        found.append(Piece(first, last, bend, height))
    return sorted(found, key=lambda piece: -piece.height)


def flight(positions: np.ndarray, times: np.ndarray) -> tuple[slice, str]:
    """The longest flight, and why there is none ("" if there is one)."""
    found = pieces(positions, times) if len(times) > SEED else []
    if not found:
        return slice(0, len(times)), ""
    best = found[0]
    for other in found[1:]:
        if other.height > OTHER * best.height and not (other.first >= best.first and other.last <= best.last):
            if np.linalg.norm(other.bend - best.bend) > DIFFERENT * np.linalg.norm(best.bend):
                return slice(0, len(times)), "the acceleration is not the same all the time"
    # A frame next to a bounce or a hand may show both.
    return slice(best.first + (best.first > 0), best.last - (best.last < len(times))), ""


def swing(positions: np.ndarray, times: np.ndarray) -> slice:
    """From the end of a rest at the beginning to the end of the film, of whose last rest a third as long is kept.

    The whole film, where that is less than `FEWEST` frames: the body may jump from rest to rest.
    """
    limit, count = max(NOISES * noise(positions, times), OFF), len(times)
    short = max(int(RESTS_LONG * count), SEED)

    def moves(places: np.ndarray) -> np.ndarray:
        return np.nonzero(np.abs(places - np.median(places[:short], axis=0)).max(1) > limit)[0]

    ahead, back = moves(positions), moves(positions[::-1])
    first = int(ahead[0]) if ahead.size and ahead[0] > short else 0
    last = count - int(back[0]) if back.size else count
    part = slice(first, min(count, last + (last - first) // 3))
    return part if part.stop - part.start >= FEWEST else slice(0, count)


def followed(residuals: np.ndarray) -> slice:
    """The film without a beginning and an end where most residuals [T, 2] are large: what a hand does before."""
    size = np.abs(residuals).max(1)
    bad = np.where(size > max(LEAVES * 1.4826 * float(np.median(size)), OFF), 1, -1)

    def longest(bad: np.ndarray) -> int:
        sums = np.cumsum(bad)
        return int(sums.argmax()) + 1 if sums.max() >= BLOCK else 0

    return slice(longest(bad), len(bad) - longest(bad[::-1]))
