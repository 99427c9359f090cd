"""Control of a pendulum: the planners on true states, the controller that sees frames, and the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command import run_command

from data_gen.pendulum import PendulumPixels, render_pendulum, wrap
from physics_models import experiment
from physics_models.pendulum_net import PendulumNet
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import PENDULUMS, TASKS
from runners.control import episodes
from runners.control.episodes import FromPixels, play, reference
from runners.control.planning import CrossEntropyPlanner, DynamicProgramming, Model
from runners.run_control import run_episodes

TASK = dataclasses.replace(PENDULUMS["pendulum"], img_size=16)


def save(net: PhysicsNet, folder) -> str:
    """An experiment of `net` as it is at first."""
    net.build_optimizer(1e-3)
    experiment.make_folder(folder)
    experiment.write_marker(folder, {}, net.get_config())
    net.save(folder, {"run": 0, "seed": 0, "data": 0, "epoch": 0})
    return str(folder)


@pytest.fixture(scope="module")
def net() -> PendulumNet:
    tf.keras.utils.set_random_seed(0)
    net = PendulumNet(TASK)
    net.variables_by_name()
    net.cell.log_g.assign(np.log(10.0))
    net.cell.angle_0.assign(0.2)
    return net


@pytest.fixture(scope="module")
def run(net, tmp_path_factory) -> str:
    return save(net, tmp_path_factory.mktemp("control") / "run")


@pytest.fixture
def quick(monkeypatch):
    """Short episodes, few plans."""
    monkeypatch.setattr(PendulumPixels, "steps", 4)
    monkeypatch.setattr(CrossEntropyPlanner, "horizon", 5)
    monkeypatch.setattr(CrossEntropyPlanner, "samples", 20)
    monkeypatch.setattr(CrossEntropyPlanner, "elites", 4)


def test_the_planner_swings_up_and_holds():
    """From hanging down: the reward of the last ten of 80 steps is nearly 1 each."""
    world, planner = PendulumPixels(), CrossEntropyPlanner(Model(PendulumPixels, 10.0))
    world.state, rewards = np.array([np.pi, 0.5]), []
    for _ in range(80):
        rewards.append(world.step(planner.torque(*world.state)))
    assert min(rewards[-10:]) > 0.97 and rewards[0] < 0.1


def test_dynamic_programming_is_as_good_and_blind_controllers_are_not(monkeypatch):
    monkeypatch.setattr(DynamicProgramming, "sweeps", 150)
    returns = {}
    for name in ("programming", "state", "random", "none"):
        make = reference(name, "pendulum", 1.0, 0.0)
        returns[name] = [play(PendulumPixels(), make(seed), seed, 0.0).total for seed in range(4)]
    assert returns["programming"] == pytest.approx(returns["state"], abs=2.5)
    assert np.mean(returns["state"]) > np.mean(returns["random"]) + 8
    assert np.mean(returns["state"]) > np.mean(returns["none"]) + 8


def test_a_goal_is_held_and_a_wrong_gravity_is_not(monkeypatch):
    """The planner holds 0.3 rad; planned for half the gravity, it does not."""
    away = {}
    for g in (10.0, 5.0):
        world, planner = PendulumPixels(), CrossEntropyPlanner(Model(PendulumPixels, g), goal=0.3)
        world.state = np.array([0.3, 0.0])
        for _ in range(12):
            world.step(planner.torque(*world.state))
        away[g] = abs(wrap(world.state[0] - 0.3))
    assert away[10.0] < 0.03 < away[5.0]


def test_the_controller_plans_with_what_it_sees(net, quick, monkeypatch):
    """Encoded angles count from the learned upright; the speed is that of the frames and torques before."""
    world = PendulumPixels(side=16)
    world.state = np.array([2.0, 1.0])
    monkeypatch.setattr(episodes, "see_angle", lambda net, frame: wrap(world.state[0] + 0.2))
    controller, seen = FromPixels(net, "pendulum", 0.0, 0, told=1.4), []
    assert controller.model.g == pytest.approx(14.0) and controller.model.a == 1.0
    monkeypatch.setattr(controller.planner, "torque", lambda *state: seen.append(state) or 1.0)
    for _ in range(5):
        true = world.state.copy()
        world.step(controller.torque(world))
        assert wrap(seen[-1][0] - true[0]) == pytest.approx(0.0, abs=1e-3)
    assert seen[0][1] == 0.0 and seen[-1][1] == pytest.approx(true[1], abs=2e-2)
    assert len(controller.views) == 5 and controller.views[0][0].shape == controller.views[1][1].shape == (16, 16, 3)


def test_the_same_seed_gives_the_same_episode(net, quick):
    twice = [run_episodes(net, "pendulum", "pixels", range(3, 5))[0]["returns"] for _ in range(2)]
    assert twice[0] == twice[1] and twice[0][0] != twice[0][1]


def test_the_command_writes_what_it_prints(run, quick):
    ended = run_command("paig-run-control", f"--save_dir={run}", "--episodes=2", "--goal=0.1", "--gravity=1.2")
    assert ended.code == 0, ended.err
    entry = json.loads(Path(run, "control.json").read_text("utf-8"))
    assert entry["goal"] == 0.1 and entry["gravity"] == 1.2 and len(entry["returns"]) == 2
    assert f"return {entry['mean']:.1f} ± {entry['standard_error']:.1f}" in ended.out
    assert "g 10.000, a 1.000" in ended.out


def test_a_goal_may_be_a_picture(run, quick, tmp_path, monkeypatch):
    from PIL import Image

    picture = tmp_path / "goal.png"
    Image.fromarray(render_pendulum(np.array([0.1]), 64)[0]).save(picture)
    asked = []
    monkeypatch.setattr("runners.run_control.see_angle", lambda net, frame: asked.append(frame.shape) or 0.5)
    ended = run_command("paig-run-control", f"--save_dir={run}", "--episodes=1", f"--goal={picture}")
    assert ended.code == 0, ended.err
    assert asked == [(16, 16, 3)] and "goal 0.300 rad" in ended.out  # 0.5 less the learned upright, 0.2


@pytest.mark.parametrize("flags, words", [
    (["--goal=0.9"], ["0.90", "cannot be held", "0.41"]),
    (["--goal=2", "--gravity=0.5"], ["2.00", "cannot be held"]),
    (["--goal=no_such.png"], ["no_such.png", "neither"]),
    (["--episodes=0"], ["--episodes=0"]),
    (["--gravity=0"], ["--gravity=0"]),
    (["--controller=random", "--goal=no_such.png"], ["needs --controller=pixels"]),
])  # fmt: skip
def test_mistakes_are_one_line(run, flags, words):
    ended = run_command("paig-run-control", f"--save_dir={run}", *flags)
    assert ended.code == 1 and ended.err.count("\n") == 1
    assert all(word in ended.err for word in words), ended.err


def test_a_run_of_another_task_is_named(tmp_path):
    task = dataclasses.replace(TASKS["spring_color"], img_size=16)
    folder = save(PhysicsNet(task, color=True), tmp_path / "springs")
    ended = run_command("paig-run-control", f"--save_dir={folder}")
    assert ended.code == 1 and "spring_color" in ended.err and ended.err.count("\n") == 1


def test_an_environment_that_is_not_installed_is_named(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    ended = run_command("paig-run-control", f"--save_dir={run}", "--env=gymnasium")
    assert ended.code == 1 and "[control]" in ended.err and ended.err.count("\n") == 1
