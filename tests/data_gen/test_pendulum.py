"""The pendulum of section 4.2: its pictures, its motion in both environments, and its data files."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from data_gen import pendulum
from data_gen.errors import DataError
from data_gen.pendulum import CANVAS, ENVIRONMENTS, MAX_SPEED, ROD, GymnasiumPendulum, PendulumPixels, render_pendulum
from data_gen.recipes import make_dataset

SIDE = 64


def red(frame: np.ndarray) -> np.ndarray:
    """How much of each pixel the rod covers: what is missing of green, less what is missing of red (the axle)."""
    frame = frame / 255.0
    return frame[..., 0] - frame[..., 1]


@pytest.mark.parametrize("angle", (0.0, 0.5, 2.0, -2.9))
def test_the_rod_has_its_length_width_and_direction(angle):
    """Length 120 and width 20 of 260 pixels; half a disc of radius 10 is hidden by the axle. Up is 0, left positive."""
    cover = red(render_pendulum(np.array([angle]), SIDE)[0])
    scale = SIDE / CANVAS
    assert cover.sum() == pytest.approx((ROD * 20 - np.pi * 100 / 2) * scale**2, rel=0.01)
    middles = np.arange(SIDE) + 0.5 - SIDE / 2
    x, y = (cover * middles).sum() / cover.sum(), (cover * middles[:, None]).sum() / cover.sum()
    assert np.arctan2(-x, -y) == pytest.approx(angle, abs=0.005)


@functools.cache
def authors() -> dict[str, np.ndarray]:
    """Frames and a motion of PendulumPixels-v0 in seuqaj114/planet, commit 9f30910, drawn by Pillow 13.0."""
    with np.load(Path(__file__).parents[1] / "golden" / "pendulum_pixels.npz") as file:
        return {name: file[name] for name in file}


def test_frames_are_those_of_the_authors_environment():
    """Mean difference 0.36 grey levels of 255; 0.51 if all rods are turned by 0.01 rad, 0.50 if they are 22 wide."""
    golden = authors()
    away = np.abs(render_pendulum(golden["angles"], SIDE).astype(float) - golden["frames"])
    assert away.mean() < 0.4 and away.mean((1, 2, 3)).max() < 0.7


def test_motion_and_rewards_are_those_of_the_authors_environment():
    """Sixty steps, the limits of speed and torque included."""
    golden, world = authors(), PendulumPixels()
    world.state = golden["states"][0].copy()
    assert np.abs(golden["states"][:, 1]).max() == MAX_SPEED and np.abs(golden["torques"]).max() > 2.0
    for torque, reward, state in zip(golden["torques"], golden["rewards"], golden["states"][1:]):
        assert world.step(torque) == pytest.approx(reward, abs=1e-12)
        assert world.state == pytest.approx(state, abs=1e-9)


def test_frames_are_white_with_a_black_axle():
    frame = render_pendulum(np.array([np.pi]), SIDE)[0]
    assert (frame[:16] == 255).all() and (frame[31:33, 31:33] == 0).all()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_both_environments_show_the_same_angle(name):
    world = ENVIRONMENTS[name](side=SIDE)
    world.state = np.array([0.8, 0.0])
    cover = red(world.frame())
    middles = np.arange(SIDE) + 0.5 - SIDE / 2
    x, y = (cover * middles).sum(), (cover * middles[:, None]).sum()
    assert np.arctan2(-x, -y) == pytest.approx(0.8, abs=0.02)


def test_a_torque_leaves_no_mark_in_gymnasiums_pictures():
    world = GymnasiumPendulum(side=SIDE)
    world.state = np.array([0.3, 0.0])
    before = world.frame()
    world.step(2.0)
    world.state = np.array([0.3, 0.0])
    assert np.array_equal(world.frame(), before)


def test_the_motion_is_gymnasiums():
    """`advance`, which plans are made with, and the environment itself, the limit of the speed included."""
    world, random = GymnasiumPendulum(gravity=1.4, side=SIDE), np.random.RandomState(0)
    world.state, fastest = np.array([2.0, 7.0]), 0.0
    for torque in random.uniform(-2, 2, 60):
        wanted = world.advance(*world.state, torque, 14.0)
        reward = -(pendulum.wrap(world.state[0]) ** 2 + 0.1 * world.state[1] ** 2 + 0.001 * torque**2)
        assert world.step(torque) == pytest.approx(reward)
        assert world.state == pytest.approx(wanted, rel=1e-6)
        fastest = max(fastest, abs(world.state[1]))
    assert fastest == MAX_SPEED


def test_a_small_swing_has_its_period():
    """√(3g/2) radians per second about the lowest point: 60 frames at g = 10 are 1.85 periods."""
    angle, speed, angles = np.pi + 0.01, 0.0, []
    for _ in range(60):
        angles.append(angle - np.pi)
        angle, speed = PendulumPixels.advance(angle, speed, 0.0, 10.0)
    crossings = np.nonzero(np.diff(np.sign(angles)))[0]
    assert np.diff(crossings).mean() * pendulum.DT == pytest.approx(np.pi / np.sqrt(15.0), rel=0.03)


def test_a_positive_torque_turns_to_the_left_and_the_limit_comes_after_the_move():
    world = PendulumPixels()
    world.state = np.array([np.pi, 0.0])
    world.step(5.0)  # as much as 2
    assert world.state == pytest.approx([np.pi + 0.05 * 0.3, 0.3])
    angle, speed = PendulumPixels.advance(np.pi / 2, MAX_SPEED, 0.0, 10.0)
    assert (angle, speed) == pytest.approx((np.pi / 2 + 0.05 * (MAX_SPEED + 0.75), MAX_SPEED))


def test_the_reward_counts_from_the_goal():
    assert PendulumPixels.reward(np.array([0.3, np.pi + 0.3]), 0.0, 0.0, 0.3) == pytest.approx([1.0, 0.0], abs=1e-12)
    assert GymnasiumPendulum.reward(0.3, 2.0, 1.0, -0.1) == pytest.approx(-(0.16 + 0.4 + 0.001))


@pytest.mark.parametrize("angle, gravity, held", [
    (0.0, 1, True), (0.4, 1, True), (0.42, 1, False), (np.pi - 0.4, 1, True), (0.42, 0.9, True),
])  # fmt: skip
def test_only_some_goals_can_be_held(angle, gravity, held):
    assert (abs(np.sin(angle)) <= pendulum.largest_held(10.0 * gravity)) == held
    torque = -1.5 * 10.0 * gravity * np.sin(angle) / 3.0
    assert (abs(torque) <= 2.0) == held


@pytest.mark.parametrize("task", ("pendulum", "pendulum_gymnasium"))
def test_a_data_file(tmp_path, task):
    make_dataset(task, str(tmp_path / "a.npz"), 4, (6, 2, 3))
    with np.load(tmp_path / "a.npz") as file:
        data, meta = {name: file[name] for name in file}, json.loads(str(file["meta"]))
    assert data["train_x"].shape == (6, 4, 64, 64, 3) and data["train_x"].dtype == np.uint8
    assert data["test_pos"].shape == data["test_vel"].shape == (3, 4, 1, 2)
    assert data["valid_actions"].shape == (2, 3) and np.abs(data["train_actions"]).max() <= 2.0
    assert meta["task"] == task and meta["physics"]["g"] == 10.0
    # Action t leads from frame t to frame t + 1: the angles of the tips follow from the first one.
    world = ENVIRONMENTS[meta["physics"]["environment"]]
    angle = pendulum.tip_angle(data["train_pos"][:, :, 0], 64)
    arm = data["train_pos"][:, 0, 0] - 32.0
    speed = (data["train_vel"][:, 0, 0, 0] * arm[:, 1] - data["train_vel"][:, 0, 0, 1] * arm[:, 0]) / (arm**2).sum(1)
    now = angle[:, 0]
    for t in range(3):
        now, speed = world.advance(now, speed, data["train_actions"][:, t], 10.0)
        assert np.abs(pendulum.wrap(now - angle[:, t + 1])).max() < 1e-4
    # And the frames show these angles.
    cover = red(data["train_x"][:, 3])
    middles = np.arange(64) + 0.5 - 32
    shown = np.arctan2(-(cover * middles).sum((1, 2)), -(cover * middles[:, None]).sum((1, 2)))
    assert np.abs(pendulum.wrap(shown - angle[:, 3])).max() < 0.05


def test_gravity_of_a_data_file_is_a_setting(tmp_path):
    make_dataset("pendulum", str(tmp_path / "a.npz"), 3, (4, 1, 1), g=14.0)
    make_dataset("pendulum", str(tmp_path / "b.npz"), 3, (4, 1, 1))
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert np.array_equal(a["train_pos"][:, 0], b["train_pos"][:, 0])
        assert not np.array_equal(a["train_pos"][:, 2], b["train_pos"][:, 2])


def test_without_gymnasium_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(DataError, match=r"\[control\]"):
        GymnasiumPendulum()
