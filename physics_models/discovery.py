"""What moves in the training frames: found with `physics_models.motion`, described for the log, drawn.

The paper finds objects by the reconstruction alone, and not with every seed. What is found here supervises the first
steps of the stage `autoencoder` (`physics_models.supervision`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from physics_models import motion, viz
from physics_models.experiment import write_atomically

SAMPLE = 2500  # random frames that background, looks and counts are taken from
CHUNK = 1000  # frames at a time
COMPARED = 32  # pixels, side of the frames that are compared with each other
CROWD, ALIKE = 0.3, 3.0  # share of the frames; two are alike below so many times the squared distance of some
APART, FEWEST = 0.6, 8  # of the largest squared distance; frames in which the object has left its place
PICTURE_FRAMES, TILE = 5, 192  # of objects.png; side of each in pixels
PALETTE = np.array([[230, 60, 60], [60, 130, 255], [70, 200, 80], [240, 200, 40], [200, 90, 220], [60, 210, 220]]) / 255
UNNAMED = np.array([[1.0, 0.6, 0.1]])

ToFloat = Callable[[np.ndarray], np.ndarray]


class Discovery(NamedTuple):
    """What moves in the training frames."""

    scene: motion.Scene
    every: dict[int, motion.Kinds]  # for each number of objects that enough frames of a sample show
    centres: np.ndarray  # [S, T, N, 2] in pixels, NaN where the frame is not clear
    n_objs: int

    @property
    def kinds(self) -> motion.Kinds | None:
        """Of the N objects; None without enough clear frames."""
        return self.every.get(self.n_objs)

    @property
    def clear(self) -> float:
        """Share of the frames of the sample that have exactly N blobs, where these are enough."""
        return self.kinds.share if self.kinds else 0.0


def scan(flat: np.ndarray, to_float: ToFloat) -> tuple[motion.Scene, dict[int, motion.Kinds]]:
    """What `discover` finds in a sample of uint8 `flat` [F, H, H, C'], before it names the objects in all frames."""
    random = np.random.RandomState(0)
    sample = to_float(flat[random.permutation(len(flat))[:SAMPLE]])
    scene = motion.find_scene(sample, random)
    blobs = motion.find_blobs(sample, scene)
    return scene, motion.find_kinds(blobs, motion.count_blobs(blobs, len(sample)), random)


def spread_out(frames: np.ndarray, count: int) -> np.ndarray:
    """Indices [`count`] of uint8 `frames` [F, H, H, C], with repetitions, no more than `CROWD` of them of one place.

    Of a motion that comes to rest most frames show the object at one place, and their median is no background. There,
    frames in which it has left that place are the larger part.
    """
    step = max(frames.shape[1] // COMPARED, 1)
    flat = frames[:, ::step, ::step].reshape(len(frames), -1) / np.float32(255.0)
    flat -= flat.mean(0)
    squares = np.square(flat).sum(1)
    apart = squares[:, None] + squares - 2.0 * flat @ flat.T
    alike = apart < ALIKE * np.quantile(apart[np.triu_indices(len(frames), 1)], CROWD**2 / 2)
    away, crowd = apart[alike.sum(1).argmax()], alike[alike.sum(1).argmax()]
    far = ~crowd & (away > APART * np.quantile(away[~crowd], 0.9)) if not crowd.all() else ~crowd
    if crowd.mean() < CROWD or far.sum() < FEWEST:
        return np.arange(count) % len(frames)
    shares = 1.0 / alike.sum(1)
    for some, share in ((far, 1.0), (crowd, 0.25), (~crowd & ~far, 0.35)):
        shares[some] *= share / max(shares[some].sum(), 1e-9)
    ends = np.cumsum(shares)
    return np.searchsorted(ends / ends[-1], (np.arange(count) + 0.5) / count).clip(0, len(frames) - 1)


def discover(frames: np.ndarray, n_objs: int, to_float: ToFloat) -> Discovery:
    """Find the moving objects in uint8 `frames` [S, T, H, H, C'].

    `to_float` makes float32 [F, H, H, C] in [0, 1] of uint8 [F, H, H, C']. Depends on the frames alone.
    """
    flat = frames.reshape(-1, *frames.shape[2:])
    scene, every = scan(flat, to_float)
    centres = np.full((len(flat), n_objs, 2), np.nan, np.float32)
    for start in range(0, len(flat) if n_objs in every else 0, CHUNK):
        part = to_float(flat[start : start + CHUNK])
        blobs = motion.find_blobs(part, scene)
        clear = motion.count_blobs(blobs, len(part))
        places, looks = motion.of_clear_frames(blobs, clear, n_objs)
        order = motion.name_blobs(looks, every[n_objs].looks)
        here = start + np.nonzero(clear == n_objs)[0]
        centres[here] = np.take_along_axis(places, order[:, :, None], axis=1)
    return Discovery(scene, every, centres.reshape(*frames.shape[:2], n_objs, 2), n_objs)


def describe_count(every: dict[int, motion.Kinds]) -> str:
    """The most likely number of objects, and how sure it is, in a line."""
    likely = motion.estimate_n_objs(every)
    if not likely:
        return "no number of moving objects from 1 to 6 is seen in 5 % of the frames"
    others = [kinds.agreement for n_objs, kinds in every.items() if n_objs != likely]
    sure = "" if every[likely].agreement >= motion.SURE_AGREEMENT else "; this is not sure"
    second = f", with any other number to {max(others):.0%} at most" if others else ""
    return (
        f"{likely} moving object{'s' * (likely != 1)}: {every[likely].share:.0%} of the frames show just so many, and "
        f"their looks agree to {every[likely].agreement:.0%}{second}{sure}"
    )


def describe(found: Discovery) -> list[str]:
    """What was found, in lines for the log."""
    n_objs, kinds = found.n_objs, found.kinds
    objects = f"{n_objs} moving object{'s' * (n_objs != 1)}"
    lines = [f"{found.clear:.1%} of the frames are clear: exactly {objects} apart from each other"]
    likely = motion.estimate_n_objs(found.every)
    if likely != n_objs or found.every[likely].agreement < motion.SURE_AGREEMENT:
        lines.append(f"warning: {describe_count(found.every)}; --n_objs={n_objs}")
    if kinds is not None and kinds.agreement < motion.FIXED_LOOKS:
        lines.append(f"warning: what moves looks different from frame to frame (agreement {kinds.agreement:.0%})")
    if kinds is None:
        reason = f"more than {motion.MAX_NAMED} objects" if n_objs > motion.MAX_NAMED else "too few clear frames"
        lines.append(f"warning: no supervision by motion: {reason}")
    elif not kinds.distinct:
        lines.append(
            f"the objects look the same (ratio {kinds.ratio:.2f}): single frames do not tell which is which"
        )
    elif n_objs > 1:
        lines.append(f"the objects look different (ratio {kinds.ratio:.3g})")
    return lines


def save_picture(found: Discovery, frames: np.ndarray, path: str | Path) -> None:
    """Write objects.png: the N mean looks, then five of `frames` [F, H, H, C] with their blobs' centres.

    Colors name the objects in clear frames; elsewhere the marks are orange.
    """
    background = found.scene.background
    side, channels = background.shape[0], background.shape[-1]
    tiles, marks = [], []
    if found.kinds is not None:
        window, border = side // 2, side // 4
        for look in found.kinds.looks:
            tile = np.broadcast_to(background.mean((0, 1)), background.shape).copy()
            tile[border : border + window, border : border + window] += look.reshape(window, window, channels)
            tiles.append(tile)
            marks.append([])
    blobs = motion.find_blobs(frames[:PICTURE_FRAMES], found.scene)
    counts = motion.count_blobs(blobs, len(frames[:PICTURE_FRAMES]))
    for index, frame in enumerate(frames[:PICTURE_FRAMES]):
        places, looks = blobs.centre[blobs.frame == index], blobs.look[blobs.frame == index]
        if found.kinds is not None and counts[index] == found.n_objs:
            places, colors = places[motion.name_blobs(looks[None], found.kinds.looks)[0]], PALETTE
        else:
            colors = UNNAMED
        tiles.append(frame)
        marks.append(zip(np.resize(colors, (len(places), 3)), places))
    scale = max(TILE // side, 1)
    large = np.repeat(np.repeat(np.repeat(np.stack(tiles), scale, 1), scale, 2), 3 // channels, -1)
    for tile, marked in zip(large, marks):
        for color, (x, y) in marked:
            column, row, arm = int(x * scale), int(y * scale), scale
            tile[max(row - arm, 0) : row + arm + 1, column] = color
            tile[row, max(column - arm, 0) : column + arm + 1] = color
    sheet = viz.to_image(viz.gallery(large, len(large)))
    write_atomically(path, lambda file: sheet.save(file, "PNG"))
