"""What films show before anything is trained: their frames, and what moves in them."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from data_gen.film import Film, FilmSettings, read_films
from physics_models import discovery, motion
from physics_models.errors import ExperimentError

SAME_PLACE = 0.1  # mean difference of two films' backgrounds, of the brightness, above which the camera has moved
SOME = 300  # frames that areas are taken from

note = logging.getLogger("tf.note")


class Look(NamedTuple):
    """Films, and what moves in them."""

    films: list[Film]
    frames: np.ndarray  # uint8 [F, H, H, 3] of all films, to train on; F is a multiple of a sequence's frames
    moving: dict[int, motion.Kinds]  # by number of objects


def look(path: str, settings: FilmSettings, seen: int) -> Look:
    """Read the films at `path`; sequences have `seen` frames.

    Raises `DataError` for what cannot be read, `ExperimentError` for films that do not belong together.
    """
    films = read_films(path, settings)
    for film in films:
        note.info("%s: %d frames of %d×%d, %s", film.name, *film.frames.shape[:3], clock(film))
    check_one_place(films)
    frames = np.concatenate([f.frames[discovery.spread_out(f.frames, len(f.frames) // seen * seen)] for f in films])
    return Look(films, frames, discovery.scan(frames, lambda part: np.float32(part / 255.0))[1])


def blob_areas(frames: np.ndarray, scene: motion.Scene, n_objs: int) -> np.ndarray:
    """Areas of an object (square pixels), one for each of some uint8 `frames` [F, H, H, 3] that show `n_objs` blobs."""
    some = frames[:: max(len(frames) // SOME, 1)] / np.float32(255.0)
    moving = np.sqrt(np.square(some - scene.background).sum(-1)) > scene.moving_above
    counts = motion.count_blobs(motion.find_blobs(some, scene), len(some))
    return moving.sum((1, 2))[counts == n_objs] / max(n_objs, 1)


def clock(film: Film) -> str:
    """Length of a film, in words."""
    if film.seconds is None:
        return "no time stamps: results are per frame; give --fps"
    span = film.seconds[-1] - film.seconds[0]
    return f"{span:.2f} s, {(len(film.seconds) - 1) / span:.4g} frames per second"


def check_one_place(films: list[Film]) -> None:
    """Raise `ExperimentError` unless all films show the same background, and all or none have time stamps."""
    backgrounds = [np.median(film.frames[:: max(len(film.frames) // 50, 1)], axis=0) / 255.0 for film in films]
    for film, background in zip(films[1:], backgrounds[1:]):
        if np.abs(background - backgrounds[0]).mean() > SAME_PLACE:
            raise ExperimentError(f"{film.name}: another background than {films[0].name}; run the films one by one")
        if (film.seconds is None) != (films[0].seconds is None):
            raise ExperimentError(f"{film.name}: not all films have time stamps; give --fps")
