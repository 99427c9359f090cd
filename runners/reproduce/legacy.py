"""The original's command as it stands, seed by seed: which objects it finds, and what it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.iterators import load_frames
from physics_models import checkpoints, motion
from physics_models.errors import ExperimentError
from physics_models.experiment import LOG
from physics_models.library import load_network
from physics_models.run_log import read_log
from physics_models.staged import encode_all
from runners.reproduce.discovery import WITHIN
from runners.reproduce.measure import DataFiles, describe_run
from runners.reproduce.report import number, replace_section
from runners.side_by_side import RECOMMENDED

BATCH, FOUND = 100, 0.9  # sequences per step; share of the frames
HEADING = "## Every run"
EXPLANATION = f"""Written by `PYTHONPATH=. python runners/reproduce_paper.py --legacy`. Losses: of the test file. *in
place*: for each true object, the share of test frames in which one and the same object of the network is within
{WITHIN} px of it, after a constant offset; an object is *found* from {FOUND} on. Time is that of the logs, whatever
else ran on the machine. Made with"""


def flags(task: str) -> list[str]:
    """The flags of the original's README for `task`, but for epochs, seed and folder."""
    rate, weight = RECOMMENDED[task]
    given = {
        "task": task, "model": "PhysicsNet", "batch_size": BATCH, "autoencoder_loss": weight, "base_lr": rate,
        "anneal_lr": "true", "color": "true", "eval_every_n_epochs": 10, "print_interval": 100, "debug": "false",
        "use_ckpt": "false",
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in given.items()]


def in_place(encoded: np.ndarray, true: np.ndarray) -> list[float]:
    """The share of frames in which each object of `true` is within 1.5 px of where `encoded` has it; [S, T, N, 2].

    After each object's median offset, under the naming in which the shares add up to most.
    """
    best: list[float] = []
    for order in motion.orders(true.shape[2]):
        away = encoded[:, :, order] - true
        distance = np.linalg.norm(away - np.median(away, axis=(0, 1)), axis=-1)
        best = max(best, (distance < WITHIN).mean((0, 1)).tolist(), key=sum)
    return best


def measure(task: str, seed: int, folder: Path, files: DataFiles) -> dict[str, Any]:
    """The entry of a run in `folder` that has come to its end."""
    net = load_network(folder)
    seen = net.task.input_steps + net.task.pred_steps
    with np.load(files.test, allow_pickle=False) as archive:
        true = archive["test_pos"][:, :seen] if "test_pos" in archive.files else None
    shares: list[float] = []
    if true is not None:  # the published files have no positions
        encoded = encode_all(net, load_frames(files.test, ("test",))["test"][:, :seen]).reshape(true.shape)
        shares = in_place(encoded, true)
    return {
        **describe_run(task, seed, folder), "found": bool(shares) and min(shares) >= FOUND,
        "epochs": checkpoints.load(folder).progress["epoch"],
        "losses": read_log(folder / LOG).evaluations("test")[-1].losses,
        "parameters": net.parameters(), "in_place": shares,
    }  # fmt: skip


def columns(shares: list[float]) -> dict[str, str]:
    """The columns of the page that need true positions; dashes without."""
    if not shares:
        return {"in place": "–", "found": "–"}
    found = sum(share >= FOUND for share in shares)
    return {"in place": ", ".join(f"{share:.2f}" for share in shares), "found": f"{found} of {len(shares)}"}


def write_runs(folder: Path, report: Path) -> None:
    """Replace the table of the page `report` by that of all measured runs in `folder`."""
    entries = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/seed*.json"))]
    if not entries:
        raise ExperimentError(f"{folder}: holds no measured run; give --seeds, as in 0,1,2")
    rows = [
        {
            "task": run["task"], "seed": str(run["seed"]), "epochs": str(run["epochs"]),
            **{name: number(run["losses"][f"eval_{name}_loss"]) for name in ("recons", "pred", "extrap")},
            **columns(run["in_place"]),
            "learned": ", ".join(f"{name} {number(value, 4)}" for name, value in run["parameters"].items()),
            "minutes": f"{run['wall_s'] / 60:.0f}",
        }
        for run in entries
    ]  # fmt: skip
    stacks = "; ".join(sorted({run["stack"] for run in entries}))
    replace_section(report, HEADING, f"{EXPLANATION} {stacks}.", rows)
