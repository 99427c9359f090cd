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
from runners.control.planning import CrossEntropyPlanner, Model
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


def test_the_planner_swings_up_and_holds():
    """From hanging down: within 0.2 rad of upright in each of the last ten of 80 steps; not with g = 14 for 10."""
    worst = {}
    for g in (10.0, 14.0):
        world, planner = PendulumPixels(), CrossEntropyPlanner(Model(PendulumPixels, g))
        world.state, rewards = np.array([np.pi, 0.5]), []
        for _ in range(80):
            rewards.append(world.step(planner.torque(*world.state)))
        worst[g] = min(rewards[-10:])
    assert worst[10.0] > 1 - 0.2 / np.pi and worst[14.0] < 0.5 and rewards[0] < 0.1


def test_a_plan_is_worth_its_rewards_and_the_state_that_it_ends_in(quick_control):
    model = Model(PendulumPixels, 9.0, 1.1)
    planner, state, expected = CrossEntropyPlanner(model, goal=0.3), (2.0, 1.0), 0.0
    assert planner.after.model == model and planner.after.goal == 0.3
    plan = np.linspace(-1.0, 2.0, planner.horizon)
    for step, torque in enumerate(plan):
        expected += 0.99**step * PendulumPixels.reward(*state, torque, 0.3)
        state = PendulumPixels.advance(*state, torque, 9.0, 1.1)
    end = planner.after.value(*map(np.asarray, state))
    assert end > 0.5
    assert planner.returns(2.0, 1.0, plan[None])[0] == pytest.approx(expected + 0.99**planner.horizon * end)


def test_dynamic_programming_is_as_good_and_blind_controllers_are_not():
    returns = {}
    for name in ("programming", "state", "random", "none"):
        make = reference(name, "pendulum", 1.0, 0.0)
        returns[name] = [play(PendulumPixels(), make(seed), seed, 0.0).total for seed in range(4)]
    assert returns["programming"] == pytest.approx(returns["state"], abs=2.5)
    assert np.mean(returns["state"]) > np.mean(returns["random"]) + 8
    assert np.mean(returns["state"]) > np.mean(returns["none"]) + 8


def test_a_goal_is_held_and_with_the_torque_reversed_it_is_not():
    """The planner holds 0.3 rad: measured 0.003 rad off. Planned for torques of the other sign: 2.5."""
    away = {}
    for a in (1.0, -1.0):
        world, planner = PendulumPixels(), CrossEntropyPlanner(Model(PendulumPixels, 10.0, a), goal=0.3)
        world.state = np.array([0.3, 0.0])
        for _ in range(30):
            world.step(planner.torque(*world.state))
        away[a] = abs(wrap(world.state[0] - 0.3))
    assert away[1.0] < 0.1 and away[-1.0] > 1.0


def test_the_controller_plans_with_what_it_sees(net, quick_control, monkeypatch):
    """Encoded angles count from the learned upright; the speed is that of the frames and torques before."""
    world = PendulumPixels(gravity=1.4, side=16)
    world.state = np.array([2.0, 1.0])
    drawn, torques = [], [1.5, -2.0, 0.5, 2.0, -1.0]
    monkeypatch.setattr(episodes, "see_angle", lambda net, frame: wrap(world.state[0] + 0.2))
    monkeypatch.setattr(episodes, "draw_angle", lambda net, angle: drawn.append(angle) or np.zeros((16, 16, 3)))
    controller, seen = FromPixels(net, "pendulum", 0.0, 0, told=1.4, record=True), []
    assert controller.model.g == pytest.approx(14.0) and controller.model.a == 1.0
    monkeypatch.setattr(controller.planner, "torque", lambda *state: seen.append(state) or torques[len(seen) - 1])
    for step in range(5):
        true = world.state.copy()
        world.step(controller.torque(world))
        assert wrap(seen[-1][0] - true[0]) == pytest.approx(0.0, abs=1e-3)
        speed = 0.0 if step == 0 else true[1]  # one frame shows no speed
        assert seen[-1][1] == pytest.approx(speed, abs=1e-3)
        if step:
            assert wrap(drawn[-1] - 0.2 - world.state[0]) == pytest.approx(0.0, abs=1e-3)
    assert len(controller.views) == 5 and controller.views[0][0].shape == controller.views[1][1].shape == (16, 16, 3)


def test_the_same_seed_gives_the_same_episode(net, quick_control):
    twice = [run_episodes(net, "pendulum", "pixels", range(3, 5))[0]["returns"] for _ in range(2)]
    assert twice[0] == twice[1] and twice[0][0] != twice[0][1]


def test_the_command_writes_what_it_prints(run, quick_control):
    ended = run_command("paig-run-control", f"--save_dir={run}", "--episodes=2", "--goal=0.1", "--gravity=1.2")
    assert ended.code == 0, ended.err
    entry = json.loads(Path(run, "control_pendulum_pixels_goal0.1_gravity1.2.json").read_text("utf-8"))
    assert (entry["controller"], entry["goal"], entry["gravity"], len(entry["returns"])) == ("pixels", 0.1, 1.2, 2)
    assert f"return {entry['mean']:.1f} ± {entry['standard_error']:.1f}" in ended.out
    assert "g 10.000, a 1.000" in ended.out


def test_the_environment_is_that_of_the_run(run, quick_control, tmp_path):
    task = dataclasses.replace(PENDULUMS["pendulum_gymnasium"], img_size=16)
    folder = save(PendulumNet(task), tmp_path / "gymnasium")
    ended = run_command("paig-run-control", f"--save_dir={folder}", "--episodes=1")
    assert ended.code == 0 and ended.out.startswith("gymnasium, pixels") and "--env" not in ended.err
    ended = run_command("paig-run-control", f"--save_dir={folder}", "--episodes=1", "--env=pendulum")
    assert ended.code == 0 and ended.out.startswith("pendulum, pixels") and "pictures of --env=gymnasium" in ended.err


def test_a_goal_may_be_a_picture(run, quick_control, tmp_path, monkeypatch):
    from PIL import Image

    picture = tmp_path / "goal.png"
    Image.fromarray(render_pendulum(np.array([0.1]), 64)[0]).save(picture)
    asked = []
    monkeypatch.setattr("runners.run_control.see_angle", lambda net, frame: asked.append(frame.shape) or 0.5)
    ended = run_command("paig-run-control", f"--save_dir={run}", "--episodes=1", f"--goal={picture}")
    assert ended.code == 0, ended.err
    assert asked == [(16, 16, 3)] and "goal 0.300 rad" in ended.out  # 0.5 less the learned upright, 0.2


@pytest.mark.parametrize("flags, words", [
    (["--goal=0.9"], ["0.90", "cannot be held", "|sin(angle)| up to 0.40", "0.41"]),
    (["--goal=-0.9"], ["-0.90", "cannot be held"]),
    (["--goal=2", "--gravity=0.5"], ["2.00", "cannot be held"]),
    (["--goal=no_such.png"], ["no_such.png", "neither"]),
    (["--goal={folder}"], ["neither"]),
    (["--episodes=0"], ["--episodes=0"]),
    (["--seed=-1"], ["--seed=-1"]),
    (["--seed=4294967295", "--episodes=2"], ["--seed=4294967295"]),
    (["--gravity=0"], ["--gravity=0"]),
    (["--controller=random", "--goal=no_such.png"], ["needs --controller=pixels"]),
])  # fmt: skip
def test_mistakes_are_one_line(run, flags, words):
    ended = run_command("paig-run-control", f"--save_dir={run}", *(flag.format(folder=run) for flag in flags))
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


def test_what_a_controller_is_told(net, quick_control, monkeypatch):
    """The factor of gravity, or 1; the environment has it anyway. Rewards count from the goal, plans from the aim."""
    made = []
    monkeypatch.setattr("runners.run_control.FromPixels", lambda *arguments, **more: made.append(arguments) or Still())
    monkeypatch.setattr("runners.run_control.play", lambda world, controller, seed, goal: (
        made.append((world.g, goal)) or episodes.Episode(0.0, controller)))  # fmt: skip
    run_episodes(net, "pendulum", "pixels", range(1), goal=0.3, gravity=1.4, told=True)
    run_episodes(net, "pendulum", "pixels", range(1), goal=0.3, gravity=1.4, told=False, aimed_at=0.31)
    assert [call[2:] for call in made[::2]] == [(0.3, 0, 1.4), (0.31, 0, 1.0)]
    assert made[1::2] == [(14.0, 0.3)] * 2
    for told, g in ((True, 14.0), (False, 10.0)):
        assert reference("state", "pendulum", 1.4, 0.0, told)(0).planner.model.g == g


class Still:
    """Gives no torque."""

    def torque(self, world: PendulumPixels) -> float:
        return 0.0


def test_returns_count_from_the_goal_and_their_error_is_of_the_mean():
    world = PendulumPixels()
    totals = [play(world, Still(), 0, goal).total for goal in (0.0, 0.3)]
    assert totals[0] != totals[1]
    assert episodes.summary([1.0, 2.0, 4.0])["standard_error"] == pytest.approx(0.881917)


def test_torques_at_random_do_not_repeat_the_start():
    world, starts, torques = PendulumPixels(), [], []
    for seed in range(40):
        world.reset(np.random.RandomState(seed))
        starts.append(world.state[0])
        torques.append(reference("random", "pendulum", 1.0, 0.0)(seed).torque(world))
    assert abs(np.corrcoef(starts, torques)[0, 1]) < 0.5


def test_a_grey_network_is_shown_grey(quick_control, tmp_path):
    ended = run_command("paig-run-control", f"--save_dir={save(PendulumNet(TASK, color=False), tmp_path / 'grey')}",
                        "--episodes=1")  # fmt: skip
    assert ended.code == 0, ended.err


def test_a_picture_that_is_not_square_is_refused(run, tmp_path):
    from PIL import Image

    Image.new("RGB", (30, 20)).save(tmp_path / "wide.png")
    ended = run_command("paig-run-control", f"--save_dir={run}", f"--goal={tmp_path / 'wide.png'}")
    assert ended.code == 1 and "30×20" in ended.err and ended.err.count("\n") == 1
