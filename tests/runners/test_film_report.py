"""The files of a film's report."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from data_gen.film import Film
from physics_models.film_results import Findings, Known
from runners.film import report


@pytest.mark.parametrize("name", ["a.mp4", 'swing, "left".mp4'])
def test_positions_are_read_back_under_their_columns(tmp_path, name):
    """Whatever the film is called; a frame at 600 frames per second has its own time after half an hour."""
    seconds = 1800 + np.arange(20) / 600
    film = Film(name, np.zeros((20, 8, 8, 3), np.uint8), seconds, 2.0, (0.0, -8.0), (0, 4, 8, 8), 0.0, np.arange(20))
    places = np.stack([np.linspace(1, 6, 20), np.full(20, 5.0)], 1)[:, None]
    known = Known(meters_per_pixel=0.01)
    results = report.Results("fall", [film], [places], None, None, [], Findings([], []), known, 1.0)
    report._csv(results, tmp_path / "positions.csv")
    with open(tmp_path / "positions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and {row["film"] for row in rows} == {name}
    np.testing.assert_allclose([float(row["t_s"]) for row in rows], seconds, atol=1e-5)
    np.testing.assert_allclose([float(row["x_px"]) for row in rows], 2 * places[:, 0, 0], rtol=1e-5)
    assert {float(row["y_px"]) for row in rows} == {2.0} and {float(row["y_m"]) for row in rows} == {0.02}
