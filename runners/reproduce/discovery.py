"""How well the stage `autoencoder` finds the objects: seed by seed, with and without supervision by motion.

`ok` is the share of test frames in which every object is within 1.5 px of the truth, after each object's median offset
and one naming for all frames; `ok_unnamed` lets every frame have its own naming, after one offset for all
objects, so that it can be the smaller one.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_gen.files import SPLITS
from data_gen.iterators import DataIterator
from data_gen.recipes import RECIPES, make_dataset
from physics_models import motion
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.staged import Stage, StagedTraining, encode_all, settings_for
from physics_models.tasks import TASKS
from runners import machine
from runners.reproduce.report import read_entry, replace_section, write_entry
from runners.reproduce.shapes import SPRING, Made, draw_shapes, drift, make_shapes, write_video
from runners.run_base import logger

SIZES = (2000, 200, 300)  # sequences of the splits
WITHIN = 1.5  # pixels
ENOUGH = 0.97  # of `ok`
RATE = settings_for("spring_color").autoencoder.rate  # the default
RESULTS = "discovery.json"
# Of the flags of run_physics.py those that count here.
FLAGS_USED = ("supervision", "autoencoder_steps", "autoencoder_batch", "autoencoder_rate", "device")
HEADING = "## Every run"
EXPLANATION = """Written by `PYTHONPATH=. python runners/reproduce_paper.py --discovery`; `--videos`, `--seeds`,
`--supervision`, `--autoencoder_steps` and `--autoencoder_batch` choose the rows, and what is measured already is kept.
`_noise5` and `_noise25` have noise of 5 and 25 grey levels, `disc_plus_60` of 5, the others none; `_60` has 60 training
sequences, the others 2000. The shapes are grey, of equal brightness. A number per seed. *ok*: share of test frames in
which every object is within 1.5 px of the truth, after each object's median offset and one naming for all frames;
*unnamed*: with each frame's best naming, after one mean offset for all objects; *3 px*: as ok, within 3 px. CPU
seconds: median."""
KINDS = {"ok": "ok", "unnamed": "ok_unnamed", "3 px": "within_3_px"}  # columns
STRAIGHT = {"side": 36, "margin": 5.0, "speed": 1.5}  # of videos without forces: frame, walls, pixels per step


@dataclass(frozen=True)
class Video:
    """What a video shows: a task's own data, or grey shapes on a spring, or (`straight`) without forces."""

    task: str
    shapes: tuple[str, ...] = ()
    noise: float = 0.0  # standard deviation, grey levels
    straight: bool = False
    sequences: int = SIZES[0]
    seed: int = 0  # of the shapes' motion; a task's own data have the recipe's


VIDEOS = {
    **{task: Video(task) for task in TASKS},
    "disc_plus": Video("spring_color", ("disc", "plus"), seed=103),
    "disc_plus_noise5": Video("spring_color", ("disc", "plus"), noise=5.0, seed=105),
    "bar_ring_noise5": Video("spring_color", ("bar", "ring"), noise=5.0, seed=101),
    "square_wedge_noise5": Video("spring_color", ("square", "wedge"), noise=5.0, seed=114),
    "disc_square_noise25": Video("spring_color", ("disc", "square"), noise=25.0, seed=106),
    "disc_plus_60": Video("spring_color", ("disc", "plus"), noise=5.0, sequences=60, seed=104),
    **{f"{task}_60": Video(task, sequences=60) for task in ("spring_color", "spring_color_half", "bouncing_balls")},
    "one_wedge_noise5": Video("spring_color", ("wedge",), noise=5.0, straight=True, seed=109),
    "four_shapes": Video("spring_color", ("disc", "plus", "bar", "pole"), straight=True, seed=107),
    "same_discs": Video("spring_color", ("disc", "disc"), seed=110),
    "three_same_discs": Video("spring_color", ("disc",) * 3, straight=True, seed=115),
}


def make_video(name: str, file: Path) -> None:
    """Write the video `name` of `VIDEOS` with its true positions, as `data_gen` writes its files."""
    video, recipe = VIDEOS[name], RECIPES[VIDEOS[name].task]
    sizes = (video.sequences, *SIZES[1:])
    if not video.shapes:
        make_dataset(video.task, str(file), recipe.train_len, sizes)
    elif not video.straight:
        made = Made(video.task, SPRING, (video.shapes,), video.noise)
        make_shapes(file, made, 0, recipe.train_len, sizes, video.seed)
    else:
        side, count = int(STRAIGHT["side"]), len(video.shapes)
        frames, positions = {}, {}
        for number, (split, size) in enumerate(zip(SPLITS, sizes)):
            positions[split] = drift(size, recipe.train_len, count, seed=video.seed + 1000 * number, **STRAIGHT)
            frames[split] = draw_shapes(positions[split], video.shapes, side, noise=video.noise, seed=number)
        write_video(file, frames, positions)


def measure(net: PhysicsNet, frames: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How well `net` encodes uint8 `frames` [S, T, H, H, C] whose objects are at `truth` [S, T, N, 2]."""
    found = encode_all(net, frames).reshape(truth.shape)
    common = found.mean((0, 1, 2)) - truth.mean((0, 1, 2))
    named, unnamed = [], []
    for order in motion.orders(truth.shape[2]):
        away = found[:, :, order] - truth
        unnamed.append(np.linalg.norm(away - common, axis=-1).max(-1))
        named.append(np.linalg.norm(away - np.median(away, axis=(0, 1)), axis=-1).max(-1))
    best = min(named, key=lambda distance: float(np.minimum(distance, truth.max()).mean()))
    return {
        "ok": float((best < WITHIN).mean()), "within_3_px": float((best < 3.0).mean()),
        "median_error": float(np.median(best)), "ok_unnamed": float((np.min(unnamed, axis=0) < WITHIN).mean()),
    }  # fmt: skip


def run(file: Path, name: str, seed: int, supervision: str, stage: Stage, save_dir: Path) -> dict[str, Any]:
    """Train the stage `autoencoder` on the video in `file`, and measure it on the test split."""
    with np.load(file) as archive:
        arrays = {key: archive[key] for key in archive.files if key.endswith(("_x", "_pos"))}
    task = TASKS[VIDEOS[name].task]
    n_objs, side, channels = arrays["train_pos"].shape[2], *arrays["train_x"].shape[-2:]
    if n_objs != task.n_objs:
        task = replace(task, cell_type="lstm", n_objs=n_objs)
    tf.keras.utils.set_random_seed(seed)
    net = PhysicsNet(replace(task, img_size=side), color=channels == 3)
    data = {split: DataIterator(arrays[f"{split}_x"], seed=seed) for split in SPLITS}
    settings = replace(settings_for(task.name), autoencoder=stage, supervision=supervision)
    save_dir.mkdir(parents=True, exist_ok=True)
    begin = time.process_time()
    training = StagedTraining(net, data, save_dir, settings, seed=seed, schedule="autoencoder", print_interval=200)
    training.run()
    seconds = time.process_time() - begin
    seen = slice(0, training.seen)
    found = measure(net, arrays["test_x"][:, seen], arrays["test_pos"][:, seen])
    return {**found, "cpu_seconds": round(seconds), "stack": machine.describe(machine.stack())}


def run_all(folder: Path, names: Sequence[str], seeds: Sequence[int], supervision: str, stage: Stage) -> None:
    """Train and measure what is missing of `names` × `seeds` in `folder`/discovery.json; the videos are made there."""
    unknown = set(names) - set(VIDEOS)
    if unknown:
        raise ExperimentError(f"--videos: no video {min(unknown)}; there are {', '.join(VIDEOS)}")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name in names:
            key = f"{name} seed {seed} {supervision} {stage.steps}x{stage.batch}"
            key += f"@{stage.rate:g}" if stage.rate != RATE else ""
            if key in read_results(folder):
                logger.info("%s: measured already", key)
                continue
            file = folder / "videos" / f"{name}.npz"
            if not file.is_file():
                make_video(name, file)
            entry = run(file, name, seed, supervision, stage, folder / key.replace(" ", "-"))
            logger.info("%s: %s", key, entry)
            # What is there now: another command may have added to it.
            write_entry(folder / RESULTS, {**read_results(folder), key: entry})


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """What was measured, by video, seed, supervision, and size of the stage with its rate if it is not the default."""
    file = folder / RESULTS
    return read_entry(file, lambda results: results.items()) if file.is_file() else {}


def write_runs(folder: Path, report: Path) -> None:
    """Replace the section `HEADING` of the page `report` by the tables of all that was measured in `folder`."""
    groups: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for key, entry in read_results(folder).items():
        name, seed, supervision, size = re.fullmatch(r"(\S+) seed (\d+) (\S+) (\S+)", key).groups()
        groups.setdefault((name, supervision, size), {})[int(seed)] = entry
    if not groups:
        raise ExperimentError(f"{folder}: holds no measured run")
    rows = []
    for name, supervision, size in sorted(groups, key=lambda group: (list(VIDEOS).index(group[0]), *group[1:])):
        entries = [entry for _, entry in sorted(groups[name, supervision, size].items())]
        seeds = ", ".join(str(seed) for seed in sorted(groups[name, supervision, size]))
        enough = sum(entry["ok"] >= ENOUGH for entry in entries)
        steps = size.replace("x", " × ").replace("@", ", rate ")
        rows.append({
            "video": name, "supervision": supervision, "steps × frames": steps, "seeds": seeds,
            "ok ≥ .97": f"{enough} of {len(entries)}",
            **{kind: " ".join(f"{entry[key]:.3f}" for entry in entries) for kind, key in KINDS.items()},
            "CPU s": f"{statistics.median(entry['cpu_seconds'] for entry in entries):.0f}",
        })  # fmt: skip
    stacks = "; ".join(sorted({entry["stack"] for group in groups.values() for entry in group.values()}))
    replace_section(report, HEADING, f"{EXPLANATION} Made with {stacks}.", rows)
