"""What films show before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen.film import Film
from physics_models.errors import ExperimentError
from physics_models.motion import Scene
from runners.film.look import blob_areas, check_one_place


def film(name: str, grey: int, timed: bool = True) -> Film:
    """Twenty frames of one brightness."""
    seconds = np.arange(20) / 30 if timed else None
    frames = np.full((20, 16, 16, 3), grey, np.uint8)
    return Film(name, frames, seconds, 1.0, (0.0, 0.0), (0, 0, 16, 16), 0.0, np.arange(20))


def test_films_of_one_system_show_one_place_with_or_without_times():
    check_one_place([film("a.mp4", 100), film("b.mp4", 110)])
    with pytest.raises(ExperimentError, match=r"b\.mp4: another background than a\.mp4"):
        check_one_place([film("a.mp4", 100), film("b.mp4", 140)])
    with pytest.raises(ExperimentError, match="--fps"):
        check_one_place([film("a.mp4", 100), film("b.mp4", 100, timed=False)])


def test_areas_are_of_one_object_and_of_frames_that_show_all():
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[:2, 2:5, 2:5] = 255  # nine pixels
    frames[0, 10:13, 9:14] = 255  # fifteen
    scene = Scene(np.zeros((16, 16, 3), np.float32), bright=1.7, moving_above=0.3, still_below=0.2, noise=0.0)
    assert blob_areas(frames, scene, 2).tolist() == [12.0]
    assert blob_areas(frames, scene, 1).tolist() == [9.0]
    assert blob_areas(frames, scene, 3).size == 0
