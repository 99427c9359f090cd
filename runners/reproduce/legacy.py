"""The original's command as it stands, seed by seed: which objects it finds, and what it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_gen.iterators import load_frames
from data_gen.recipes import RECIPES
from physics_models import checkpoints, motion
from physics_models.errors import ExperimentError
from physics_models.experiment import LOG, write_atomically
from physics_models.library import load_network
from physics_models.physics_net import PhysicsNet
from physics_models.run_log import read_log
from physics_models.staged import encode_all, settings_for, train_on_positions
from physics_models.tasks import Task
from runners.plots import Figure, default_style
from runners.reproduce.discovery import WITHIN
from runners.reproduce.measure import DataFiles, describe_run, true_parameters
from runners.reproduce.report import PAPER, number, read_entry, replace_section, words, write_entry
from runners.side_by_side import RECOMMENDED

BATCH, FOUND = 100, 0.9  # sequences per step; share of the frames
HEADING = "## Every run"
EXPLANATION = f"""Written by `PYTHONPATH=. python runners/reproduce_paper.py --legacy --task=TASK --seeds=0 --epochs=20`
and the like. Losses: of the test file. *In place*: for each true object, the share of test frames in which one and the
same object of the network is within {WITHIN} px of it, after a constant offset; an object is *found* from {FOUND} on.
*Apart*: the largest distance of the offsets of two objects from each other, px. *Fitted*: what a new velocity net and
cell learn from the positions that this run encodes, where it found all objects (the stage `positions` of
`--schedule=staged`); *aligned*: from these positions less each object's offset, which the true positions give. Time is
that of the logs, whatever else ran on the machine. Made with"""


def flags(task: str) -> list[str]:
    """The flags of the original's README for `task`, but for epochs, seed and folder."""
    rate, weight = RECOMMENDED[task]
    given = {
        "task": task, "model": "PhysicsNet", "batch_size": BATCH, "autoencoder_loss": weight, "base_lr": rate,
        "anneal_lr": "true", "color": "true", "eval_every_n_epochs": 10, "print_interval": 100, "debug": "false",
        "use_ckpt": "false",
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in given.items()]


class Match(NamedTuple):
    """How the objects of a network go with the true ones."""

    shares: list[float]  # of the frames in which the true object is within 1.5 px of the network's, less its offset
    offsets: np.ndarray  # [N, 2], the network's less the true position, median, px; in the order of the network

    @property
    def apart(self) -> float:
        """The largest distance of two offsets from each other, px."""
        return float(np.linalg.norm(self.offsets[:, None] - self.offsets, axis=-1).max())


def match(encoded: np.ndarray, true: np.ndarray) -> Match:
    """Match positions `encoded` to the `true` ones, [S, T, N, 2], under the naming whose shares add up to most."""
    matches = []
    for order in map(list, motion.orders(true.shape[2])):
        away, offsets = encoded[:, :, order] - true, np.zeros_like(true[0, 0])
        offsets[order] = median = np.median(away, axis=(0, 1))
        near = np.linalg.norm(away - median, axis=-1) < WITHIN
        matches.append(Match(near.mean((0, 1)).tolist(), offsets))
    return max(matches, key=lambda each: sum(each.shares))


def measure(task: str, seed: int, folder: Path, files: DataFiles) -> dict[str, Any]:
    """The entry of a run in `folder` that has come to its end."""
    net = load_network(folder)
    seen = net.task.input_steps + net.task.pred_steps
    with np.load(files.test, allow_pickle=False) as archive:
        true = archive["test_pos"][:, :seen] if "test_pos" in archive.files else None
    matched: dict[str, Any] = {"in_place": [], "found": False}
    if true is not None:  # the published files have no positions
        encoded = encode_all(net, load_frames(files.test, ("test",))["test"][:, :seen]).reshape(true.shape)
        matched = describe_match(net, match(encoded, true), files.train)
    log = read_log(folder / LOG)
    return {
        **describe_run(task, seed, folder), **matched,
        "epochs": checkpoints.load(folder).progress["epoch"],
        "losses": log.evaluations("test")[-1].losses, "parameters": net.parameters(),
        "true": true_parameters(files), "logged": [[each.epoch, each.parameters] for each in log.evaluations("valid")],
    }  # fmt: skip


def describe_match(net: PhysicsNet, matched: Match, train_file: Path) -> dict[str, Any]:
    """What an entry says of `matched`; where all objects are found, with what the positions in `train_file` teach."""
    entry: dict[str, Any] = {"in_place": matched.shares, "found": min(matched.shares) >= FOUND}
    if entry["found"]:
        frames = load_frames(train_file, ("train",))["train"][:, : net.task.input_steps + net.task.pred_steps]
        encoded = encode_all(net, frames)
        aligned = encoded - matched.offsets.ravel().astype(encoded.dtype)
        entry |= {"apart": matched.apart, "fitted": fit(net.task, encoded), "aligned": fit(net.task, aligned)}
    return entry


def fit(task: Task, positions: np.ndarray) -> dict[str, float]:
    """What a new velocity net and cell learn from `positions` [S, L + P, 2N], px; seed 0."""
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(task)
    for _ in train_on_positions(net, positions, settings_for(task.name).positions, np.random.RandomState(0)):
        pass
    return net.parameters()


def columns(run: dict[str, Any]) -> dict[str, str]:
    """The columns of the page that need true positions; dashes without."""
    shares, found = run["in_place"], sum(share >= FOUND for share in run["in_place"])
    return {
        "in place": ", ".join(f"{share:.2f}" for share in shares) or "–",
        "found": f"{found} of {len(shares)}" if shares else "–", "apart": number(run.get("apart")),
    }  # fmt: skip


def histories(runs: list[dict[str, Any]]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """What the `runs` of one task learned, parameter by parameter: label → (epochs, values), the longest run of a seed.

    Beside them what the paper learned and what is true, at the first and the last epoch.
    """
    longest = {run["seed"]: run for run in sorted(runs, key=lambda run: run["epochs"]) if run.get("logged")}
    shown: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for run in longest.values():
        epochs = [epoch for epoch, _ in run["logged"]]
        for name in run["true"]:
            logs = [logged[key] for _, logged in run["logged"] for key in logged if key.endswith(f"/log_{name}")]
            if len(logs) == len(epochs):
                shown.setdefault(name, {})[f"seed {run['seed']}"] = epochs, np.exp(logs).tolist()
    for name, lines in shown.items():
        ends, task = [0, max(epochs[-1] for epochs, _ in lines.values())], runs[0]["task"]
        beside = {"paper": PAPER.get(task, {}).get(name), "true": runs[0]["true"][name]}
        lines.update({label: (ends, [value, value]) for label, value in beside.items() if value is not None})
    return shown


@default_style()
def draw(runs: list[dict[str, Any]], path: Path) -> bool:
    """Write the learned parameters of one task's `runs` by epoch to `path`; False if no run has logged any."""
    shown = histories(runs)
    if not shown:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(4.5 * len(shown), 3), dpi=90, layout="tight")
    for axes, (name, lines) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items()):
        for label, (epochs, values) in lines.items():
            style = {"paper": "k:", "true": "k--"}.get(label, "-")
            axes.plot(epochs, values, style, label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend(fontsize=7)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    return True


def run_row(run: dict[str, Any]) -> dict[str, str]:
    """The row of one run."""
    return {
        "task": run["task"], "seed": str(run["seed"]), "epochs": str(run["epochs"]),
        **{name: number(run["losses"][f"eval_{name}_loss"]) for name in ("recons", "pred", "extrap")},
        **columns(run), "learned": words(run["parameters"]),
        "fitted": words(run.get("fitted", {})), "aligned": words(run.get("aligned", {})),
        "minutes": f"{run['wall_s'] / 60:.0f}",
    }  # fmt: skip


def order(run: dict[str, Any]) -> tuple[int, int, int]:
    """Where a run stands among the others on the page."""
    return list(RECIPES).index(run["task"]), run["seed"], run["epochs"]


def write_runs(folder: Path, report: Path) -> None:
    """Replace the results on the page `report` by those of all measured runs in `folder`.

    Beside it, a picture per task, and the entries as .json.
    """
    entries = [
        read_entry(path, lambda run: (order(run), run_row(run), histories([run]), run["stack"]))
        for path in folder.glob("*/seed*.json")
    ]
    if not entries:
        raise ExperimentError(f"{folder}: holds no measured run; give --seeds, as in 0,1,2")
    entries.sort(key=order)
    text = f"{EXPLANATION} {'; '.join(sorted({run['stack'] for run in entries}))}."
    for task in dict.fromkeys(run["task"] for run in entries):
        picture = f"pictures/legacy_{task}.png"
        if draw([run for run in entries if run["task"] == task], report.parent / picture):
            text += f"\n\n![what {task} learned, by epoch]({picture})"
    write_entry(report.with_suffix(".json"), entries)
    replace_section(report, HEADING, text, list(map(run_row, entries)))
