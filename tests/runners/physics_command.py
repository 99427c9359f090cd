"""Runs `run_physics.py` for the tests as a user does, and reads what it logs in the original's formats."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import golden_data
import numpy as np
import tf1_graph
from command import Ended

from data_gen.recipes import RECIPES
from physics_models.physics_net import PhysicsNet

ROOT = Path(__file__).resolve().parents[2]
NUMBER = r"(?:\d+\.\d+(?:e[-+]\d+)?|\d+e[-+]\d+)"  # a positive float as Python prints it
SIGNED = rf"-?{NUMBER}"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tf - (.*)")
TRAIN = re.compile(rf"train - iter=(\d+) train_loss=({NUMBER})")
EVAL = re.compile(
    rf"(valid|test) - epoch=(\d+) eval_extrap_loss=({NUMBER}) eval_pred_loss=({NUMBER}) eval_recons_loss=({NUMBER})"
)
SCALARS = re.compile(rf"\[\('net/[a-z_/]+:0', {SIGNED}\)(?:, \('net/[a-z_/]+:0', {SIGNED}\))*\]")


class Log(NamedTuple):
    """The lines of a log.txt by kind, in order."""

    commands: list[list[str]]  # arguments
    train: list[tuple[int, float]]  # iteration, loss
    evals: list[tuple[str, int, dict[str, float]]]  # split, epoch, losses by name
    scalars: list[dict[str, float]]  # trained scalars, before every evaluation
    order: str  # one letter a message: c(ommand), t(rain), p(arameters), v(alid), e(nd test)
    others: list[str]  # lines of no kind that the original writes


def run_there(*flags: str, folder: Path = ROOT, **environment: str) -> Ended:
    """Run the command as a user types it: in a process of its own, in `folder`, with TensorFlow's log level not set."""
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "runners/run_physics.py", *flags],
        cwd=folder,
        env={**inherited, "PYTHONPATH": ".", **environment},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def read_log(path: Path) -> Log:
    """A log.txt, in the formats that tools for the original's logs go by."""
    log, order = Log([], [], [], [], "", []), []
    for line in path.read_text(encoding="utf-8").splitlines():
        start = LINE.fullmatch(line)
        if not start:
            if order and order[-1] == "c" and line.startswith("--"):
                log.commands[-1].append(line)
            else:
                log.others.append(line)
            continue
        message = start[1]
        train, evaluation = TRAIN.fullmatch(message), EVAL.fullmatch(message)
        if train:
            log.train.append((int(train[1]), float(train[2])))
            order.append("t")
        elif evaluation:
            losses = dict(zip(("extrap", "pred", "recons"), map(float, evaluation.groups()[2:])))
            log.evals.append((evaluation[1], int(evaluation[2]), losses))
            order.append("v" if evaluation[1] == "valid" else "e")
        elif SCALARS.fullmatch(message):
            log.scalars.append({n: float(v) for n, v in re.findall(rf"\('([^']+)', ({SIGNED})\)", message)})
            order.append("p")
        elif message.endswith("run_physics.py"):
            log.commands.append([message])
            order.append("c")
        else:
            log.others.append(line)
    return log._replace(order="".join(order))


def write_data(folder: Path, task: str, length: str, frames: np.ndarray, train: int | None = None) -> Path:
    """Put `frames` [S, T, H, H, C] where `--data_dir=folder` looks for the `train` or `test` length file of `task`.

    All three splits hold them; the training split only the first `train`, if given.
    """
    file = folder / getattr(RECIPES[task], f"{length}_file")
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, train_x=frames[:train], valid_x=frames, test_x=frames)
    return file


def save_as_tf1(folder: Path, task: str, optimizer: str | None = "rmsprop") -> PhysicsNet:
    """A checkpoint in TF1's format, by TF1's Saver, of the golden weights; without slots if there is no `optimizer`."""
    net = golden_data.make_net(task)
    if optimizer:
        net.build_optimizer(float(golden_data.net_file(task)["lr"]), optimizer)
    weights = net.variables_by_name()
    arrays = {name: v.numpy() for name, v in {**weights, **net.optimizer.named_variables()}.items()}
    folder.mkdir()
    if optimizer:
        tf1_graph.save(folder, {name: tuple(v.shape) for name, v in weights.items()}, optimizer, arrays)
        return net
    tf1_graph.save_weights(folder, {name: arrays[name] for name in weights})
    return net
