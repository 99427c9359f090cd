"""Control of a pendulum from pixels (section 4.2 of the paper): swing it up, and hold it, with a learned model.

PYTHONPATH=. python runners/run_control.py --save_dir=<a run of run_physics.py --task=pendulum> --episodes=20
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from os.path import expanduser
from pathlib import Path
from typing import Any

import physics_models  # noqa: F401  isort: skip, it imports TensorFlow without its start-up messages
import numpy as np
from PIL import Image

from data_gen.errors import DataError
from data_gen.pendulum import ENVIRONMENTS, largest_held
from physics_models import viz
from physics_models.errors import CommandParser, ExperimentError, reporting
from physics_models.experiment import make_folder, write_atomically
from physics_models.library import load_network
from physics_models.pendulum_net import PendulumNet
from runners.control.episodes import Episode, FromPixels, play, reference, see_angle, summary
from runners.plots import Figure, default_style

CONTROLLERS = ("pixels", "state", "programming", "random", "none")
ENVIRONMENT = {"pendulum": "pendulum", "pendulum_gymnasium": "gymnasium"}  # by task


def flags() -> CommandParser:
    """The command line."""
    parser = CommandParser(
        prog="run_control.py", allow_abbrev=False,
        description="Model-predictive control by the cross-entropy method, in the space of encoded states. Prints the "
        "returns and writes control_*.json, control_*.gif (camera, and what the model expected) and control_*.png.",
    )  # fmt: skip
    flag = parser.add_argument
    flag("--save_dir", type=expanduser, required=True, help="a run of run_physics.py --task=pendulum; results go there")
    flag("--env", choices=list(ENVIRONMENTS), help="the authors', or Gymnasium's; by default that of the run")
    flag("--episodes", type=int, default=20, help="number of episodes (default: 20)")
    flag("--goal", default="0", help="angle to reach, radians from upright; or a picture, as the camera sees it there")
    flag("--gravity", type=float, default=1.0, metavar="FACTOR", help="of the environment, times 10 m/s²")
    flag("--told", choices=["true", "false"], default="true", help="whether the controller is told that factor")
    flag("--controller", choices=CONTROLLERS, default="pixels", help="pixels, or one to compare with: needs no run")
    flag("--seed", type=int, default=0, help="of the first episode; the next ones count on")
    return parser


def main() -> None:
    """The command."""
    options = flags().parse_args()
    with reporting():
        try:
            for line in control(options):
                print(line, flush=True)
        except DataError as error:
            raise ExperimentError(str(error)) from error
    sys.exit(0)


def control(options: argparse.Namespace) -> list[str]:
    """Play the episodes and write the results; returns the command's output."""
    if options.episodes < 1 or not 0 < options.gravity < math.inf:
        raise ExperimentError(f"--episodes={options.episodes}, --gravity={options.gravity}: must be above 0")
    if not 0 <= options.seed <= 2**32 - options.episodes:
        raise ExperimentError(f"--seed={options.seed}: must lie between 0 and 4294967295, for every episode")
    folder, net = Path(options.save_dir), None
    if options.controller == "pixels":
        net = load_pendulum(folder)
    of_run = ENVIRONMENT[net.task.name] if net else None
    environment = options.env or of_run or "pendulum"
    goal = goal_angle(options.goal, net)
    check_goal(goal, options.gravity)
    make_folder(folder)
    entry, episodes = run_episodes(
        net, environment, options.controller, range(options.seed, options.seed + options.episodes), goal,
        options.gravity, options.told == "true", progress=True,
    )  # fmt: skip
    if of_run not in (None, environment):
        print(f"--env={environment}: the run has learned from pictures of --env={of_run}", file=sys.stderr)
    stem, text = folder / file_stem(entry), json.dumps(entry, indent=1)
    write_atomically(f"{stem}.json", lambda file: file.write(text.encode()))
    plot_returns(entry, Path(f"{stem}.png"))
    if net is not None:
        viz.gif(f"{stem}.gif", [viz.gallery(np.stack(pair), 2) for pair in episodes[0].controller.views])
    error = f" ± {entry['standard_error']:.1f}" if entry["standard_error"] is not None else ""
    known = f"g {entry['g']:.3f}, a {entry['a']:.3f}; " if net is not None else ""
    return [
        f"{environment}, {options.controller}, goal {entry['goal']:.3f} rad, gravity × {options.gravity:g}: {known}"
        f"return {entry['mean']:.1f}{error} over {options.episodes} episodes; written to {stem}.*"
    ]


def file_stem(entry: dict[str, Any]) -> str:
    """The name of the files of an entry, without ending: another one for every case, whatever the episodes."""
    parts = ["control", entry["environment"], entry["controller"]]
    parts += [f"goal{entry['goal']:g}"] if entry["goal"] else []
    parts += [f"gravity{entry['gravity']:g}"] if entry["gravity"] != 1.0 else []
    return "_".join([*parts, *([] if entry["told"] else ["untold"])])


def check_goal(goal: float, gravity: float) -> None:
    """Raise `ExperimentError` for a goal where the largest torque does not hold the pendulum."""
    largest = largest_held(10.0 * gravity)
    if abs(math.sin(goal)) > largest:
        raise ExperimentError(
            f"--goal: {goal:.2f} rad cannot be held: the largest torque holds |sin(angle)| up to {largest:.2f}, "
            f"{math.asin(largest):.2f} rad from upright or from hanging down"
        )


def run_episodes(
    net: PendulumNet | None, environment: str, controller: str, seeds: range, goal: float = 0.0, gravity: float = 1.0,
    told: bool = True, progress: bool = False, aimed_at: float | None = None,
) -> tuple[dict[str, Any], list[Episode]]:
    """Play an episode for each of `seeds`; returns what is recorded of them, and the episodes.

    Rewards count from `goal`; the controller aims at `aimed_at` where that is given. Raises `DataError` for an
    environment that is not installed.
    """
    world = ENVIRONMENTS[environment](gravity, net.task.img_size if net else 64)
    make = reference(controller, environment, gravity, goal, told) if net is None else None
    episodes = []
    for seed in seeds:
        aim = goal if aimed_at is None else aimed_at
        known = gravity if told else 1.0
        acting = make(seed) if make else FromPixels(net, environment, aim, seed, known, record=not episodes)
        episodes.append(play(world, acting, seed, goal))
        if progress:
            print(f"episode {len(episodes)} of {len(seeds)}: return {episodes[-1].total:.1f}", file=sys.stderr)
    learned = {} if net is None else net.parameters()
    setting = {
        "environment": environment, "controller": controller, "goal": goal, "gravity": gravity, "told": told,
        "seeds": list(seeds), **learned,
    }  # fmt: skip
    return {**setting, **summary([episode.total for episode in episodes])}, episodes


def load_pendulum(folder: Path) -> PendulumNet:
    """The network of a run; `ExperimentError` if it is not of a pendulum."""
    net = load_network(folder)
    if not isinstance(net, PendulumNet):
        raise ExperimentError(f"{folder}: a run of task {net.task.name}; give one of --task=pendulum")
    return net


def goal_angle(goal: str, net: PendulumNet | None) -> float:
    """The angle that `goal` names or shows, radians from upright; `ExperimentError` if it is neither."""
    try:
        angle = float(goal)
    except ValueError:
        angle = angle_of_picture(Path(expanduser(goal)), net)
    if not math.isfinite(angle):
        raise ExperimentError(f"--goal={goal}: give an angle in radians, or a picture")
    return angle


def angle_of_picture(path: Path, net: PendulumNet | None) -> float:
    """The angle that `net` reads from a picture of the pendulum."""
    if net is None:
        raise ExperimentError(f"--goal={path}: a picture needs --controller=pixels")
    side = net.task.img_size
    try:
        picture = Image.open(path).convert("RGB")
    except Exception as error:  # Pillow raises a dozen kinds for damage
        raise ExperimentError(f"--goal={path}: neither an angle in radians nor a picture ({error})") from error
    if picture.width != picture.height:
        raise ExperimentError(f"--goal={path}: {picture.width}×{picture.height} pixels; give a square, as the camera's")
    picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    return float(see_angle(net, np.asarray(picture)) - net.cell.angle_0.numpy())


@default_style()
def plot_returns(entry: dict[str, Any], path: Path) -> None:
    """A plot of the return of each episode, and their mean."""
    figure = Figure(figsize=(5, 3), dpi=90, layout="tight")
    axes = figure.add_subplot()
    axes.plot(entry["seeds"], entry["returns"], "o")
    axes.axhline(entry["mean"], color="grey", linewidth=1)
    axes.set(xlabel="episode (seed)", ylabel="return", title=f"{entry['environment']}, {entry['controller']}")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


if __name__ == "__main__":
    main()
