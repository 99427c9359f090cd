"""Control of the pendulum, measured: what is learned with how many sequences, and the returns in every case."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_gen.files import open_npz
from data_gen.iterators import load_frames
from data_gen.pendulum import tip_angle, wrap
from physics_models.errors import ExperimentError
from physics_models.pendulum_net import PendulumNet
from physics_models.staged import encode_all
from runners import machine
from runners.control.episodes import draw_true, see_angle
from runners.reproduce.measure import describe_run
from runners.reproduce.report import first_stage, number, read_entry, replace_section, with_error, write_entry
from runners.run_base import logger
from runners.run_control import ENVIRONMENT, load_pendulum, run_episodes

ALL = 5000  # sequences
EPISODES = 20
TRUE = {"g": 10.0, "a": 1.0}
REFERENCES = ("none", "random", "state", "programming")
NAMES = {
    "pixels": "pixels, learned", "none": "no action", "random": "random actions", "state": "true state, same planner",
    "programming": "true state, dynamic programming",
}  # fmt: skip
HEADING = "## Every run"
EXPLANATION = f"""Written by `PYTHONPATH=. python runners/reproduce_paper.py --control --task=pendulum --seeds=0,1,2`,
the same with `--task=pendulum_gymnasium`, and with `--seeds=0 --datapoints=100` (300, 1000). All runs had help that the
paper does not name: training in stages, the first of them {{}}. *angle*: root mean square of
encoded less true angles of the test file, after one offset; *upright*: that offset less the learned `angle_0`, by which
the controller is wrong. Returns are means over {EPISODES} episodes (seeds 0 to {EPISODES - 1}) and their standard
errors. In percent: how far from the true g = 10, a = 1. The second table is of seed 0 and all sequences. Made with"""


class Case(NamedTuple):
    """One way to play: a row of the table for each controller."""

    goal: float = 0.0
    gravity: float = 1.0
    told: bool = True
    picture: bool = False  # the goal is shown


CASES = (
    Case(), Case(gravity=1.4), Case(gravity=1.4, told=False), Case(goal=0.3), Case(goal=0.3, picture=True),
    Case(gravity=0.5), Case(goal=-0.4), Case(goal=np.pi), Case(gravity=2.0),
)  # fmt: skip


def angle_errors(net: PendulumNet, test_file: Path) -> dict[str, float]:
    """How far encoded angles (radians) of the test file's L + P frames are from the true ones.

    `angle_error`: root mean square, after one offset; `upright_error`: that offset less the learned `angle_0`.
    """
    seen = net.task.input_steps + net.task.pred_steps
    with open_npz(test_file) as archive:
        true = tip_angle(archive["test_pos"][:, :seen, 0], net.task.img_size)
    away = encode_all(net, load_frames(test_file, ("test",))["test"][:, :seen])[..., 0] - true
    offset = np.angle(np.exp(1j * away).mean())
    return {
        "angle_error": float(np.sqrt(np.square(wrap(away - offset)).mean())),
        "upright_error": float(wrap(offset - net.cell.angle_0.numpy())),
    }


def play(net: PendulumNet | None, environment: str, controller: str, case: Case) -> dict[str, Any]:
    """The entry of one case; with a `picture` the goal is read from a frame, and the true angle is counted from."""
    aimed = None
    if case.picture and net is not None:
        frame = draw_true(environment, case.goal, net.task.img_size)
        aimed = float(see_angle(net, frame) - net.cell.angle_0.numpy())
    entry = run_episodes(
        net, environment, controller, range(EPISODES), case.goal, case.gravity, case.told, aimed_at=aimed
    )[0]
    logger.info("%s, %s, %s: %.1f", environment, controller, case, entry["mean"])
    return {**entry, "picture": case.picture, "stack": machine.describe(machine.stack())}


def measure(task: str, seed: int, sequences: int, folder: Path, test_file: Path, flags: list[str]) -> None:
    """Write the entry of the run in `folder`, trained with `flags`: what it learned, and its returns, case by case.

    Every case for seed 0 with all sequences, else the first. Cases that are there already are not played again: delete
    the entries where the planner has changed.
    """
    file, entry = folder.with_suffix(".json"), {}
    if file.is_file():
        entry = read_entry(file, run_row)
    done = [Case(*(played[name] for name in Case._fields)) for played in entry.get("cases", [])]
    missing = [case for case in (CASES if seed == 0 and sequences == ALL else CASES[:1]) if case not in done]
    if not missing:
        return
    net = load_pendulum(folder)
    entry = entry or {
        **describe_run(task, seed, folder), "flags": flags, "sequences": sequences, "parameters": net.parameters(),
        **angle_errors(net, test_file), "cases": [],
    }  # fmt: skip
    for case in missing:
        entry["cases"].append(play(net, ENVIRONMENT[task], "pixels", case))
        write_entry(file, entry)


def measure_references(environment: str, folder: Path) -> None:
    """Write the entries of the controllers to compare with, `<folder>/<environment>-<controller>.json`, once."""
    for controller in REFERENCES:
        file = folder / f"{environment}-{controller}.json"
        if file.is_file():
            continue
        cases = [case for case in CASES if not case.picture and (case.told or controller == "state")]
        cases = cases[:1] if controller in ("none", "random") else cases
        write_entry(file, {"cases": [play(None, environment, controller, case) for case in cases]})


def describe(entry: dict[str, Any]) -> str:
    """Goal and gravity of a case, in words."""
    told = "" if entry["gravity"] == 1.0 else ", told" if entry["told"] else ", not told"
    goal = "upright" if entry["goal"] == 0 else f"{entry['goal']:.2f} rad" + ", as a picture" * entry["picture"]
    return f"goal {goal}, gravity × {entry['gravity']:g}{told}"


def run_row(run: dict[str, Any]) -> dict[str, str]:
    """The row of one run: what it learned, and its return in the first case."""
    return {
        "data": run["task"], "sequences": str(run["sequences"]), "seed": str(run["seed"]),
        **{name: with_error(run["parameters"][name], true) for name, true in TRUE.items()},
        "angle, rad": number(run["angle_error"]), "upright, rad": number(run.get("upright_error")),
        "return": with_standard_error(run["cases"][0]), "minutes": f"{run['wall_s'] / 60:.0f}",
    }  # fmt: skip


def case_cells(entry: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Environment, case, controller and return of each case; not of a controller from pixels with fewer episodes."""
    whole = [each for each in entry["cases"] if each["controller"] != "pixels" or len(each["seeds"]) == EPISODES]
    return [
        (each["environment"], describe(each), NAMES[each["controller"]], with_standard_error(each)) for each in whole
    ]


def write_runs(folder: Path, report: Path) -> None:
    """Replace the tables of the page `report` by those of all entries in `folder`."""
    runs = [
        read_entry(path, lambda run: (run_row(run), case_cells(run), run["stack"]))
        for path in sorted(folder.glob("*/seed*.json"))
    ]
    runs.sort(key=lambda run: (run["task"], run["sequences"], run["seed"]))
    others = [read_entry(path, case_cells) for path in sorted(folder.glob("*-*.json"))]
    if not runs:
        raise ExperimentError(f"{folder}: holds no measured run; give --seeds, as in 0,1,2")
    cases: dict[tuple[str, str], dict[str, str]] = {}
    whole = [run for run in runs if (run["seed"], run["sequences"]) == (0, ALL)]
    for entry in (*whole, *others):
        for environment, case, controller, text in case_cells(entry):
            cases.setdefault((environment, case), {}).setdefault(controller, text)
    table = [
        {"environment": environment, "case": case, **{name: found.get(name, "–") for name in NAMES.values()}}
        for (environment, case), found in cases.items()
    ]
    stacks = "; ".join(sorted({run["stack"] for run in runs}))
    text = f"{EXPLANATION.format(first_stage(runs))} {stacks}."
    replace_section(report, HEADING, text, list(map(run_row, runs)), table)


def with_standard_error(case: dict[str, Any]) -> str:
    """Mean return and its standard error."""
    return f"{case['mean']:.1f} ± {case['standard_error']:.1f}"
