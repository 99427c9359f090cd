"""Tests of the kinds of faults that users of neighbouring projects reported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from names import NAMES

# tiny_run.py, a training that takes seconds, and one_command.py serve these tests too.
sys.path += [str(Path(__file__).resolve().parents[1] / room) for room in ("trust", "runners")]


@pytest.fixture(params=NAMES)
def folder(request, tmp_path) -> Path:
    """A folder of an odd name that is not there yet."""
    return tmp_path / request.param


@pytest.fixture
def one_network(monkeypatch) -> None:
    """Every command of a test gets the same network, which is built and traced once."""
    from runners import run_physics

    build, networks = run_physics.build, []

    def build_once(task, seed=None, track_objects=False):
        if not networks:
            networks.append(build(task, seed, track_objects))
        return networks[0]

    monkeypatch.setattr(run_physics, "build", build_once)
