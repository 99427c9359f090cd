"""How well the stage `autoencoder` finds the objects: seed by seed, with and without supervision by motion.

    python runners/reproduce/discovery.py --folder=DIR [--videos=spring_color,3bp_color,…] [--seeds=0,1] [--list]

Videos are made in DIR/videos, results are added to DIR/discovery.json; what is there already is not made again.
`ok` is the share of test frames in which every object is within 1.5 px of the truth, after each object's median offset
and one naming for all frames; `ok_unnamed` lets every frame have its own naming.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_gen.iterators import DataIterator
from data_gen.recipes import RECIPES, make_dataset
from physics_models import motion
from physics_models.errors import CommandParser, ExperimentError, run_command
from physics_models.experiment import write_atomically
from physics_models.physics_net import PhysicsNet
from physics_models.staged import SUPERVISIONS, Stage, StagedTraining, encode_all, settings_for
from physics_models.tasks import TASKS
from runners.reproduce.shapes import draw_shapes, drift

SPLITS, SIZES = ("train", "valid", "test"), (2000, 200, 300)
WITHIN = 1.5  # pixels
STRAIGHT = {"side": 36, "margin": 5.0, "speed": 1.5}  # of videos without forces: frame, walls, pixels per step


@dataclass(frozen=True)
class Video:
    """What a video shows: a task's own data, or grey shapes on a spring, or (`straight`) without forces."""

    task: str
    shapes: tuple[str, ...] = ()
    noise: float = 0.0  # standard deviation, grey levels
    straight: bool = False
    sequences: int = SIZES[0]


VIDEOS = {
    **{task: Video(task) for task in TASKS},
    "disc_plus": Video("spring_color", ("disc", "plus")),
    "disc_plus_noise5": Video("spring_color", ("disc", "plus"), noise=5.0),
    "bar_ring_noise5": Video("spring_color", ("bar", "ring"), noise=5.0),
    "square_wedge_noise5": Video("spring_color", ("square", "wedge"), noise=5.0),
    "disc_square_noise25": Video("spring_color", ("disc", "square"), noise=25.0),
    "disc_plus_60": Video("spring_color", ("disc", "plus"), noise=5.0, sequences=60),
    "spring_color_60": Video("spring_color", sequences=60),
    "one_wedge_noise5": Video("spring_color", ("wedge",), noise=5.0, straight=True),
    "four_shapes": Video("spring_color", ("disc", "plus", "bar", "pole"), straight=True),
    "same_discs": Video("spring_color", ("disc", "disc")),
    "three_same_discs": Video("spring_color", ("disc",) * 3, straight=True),
}


def make_video(name: str, file: Path) -> None:
    """Write the video `name` of `VIDEOS` with its true positions, as `data_gen` writes its files."""
    video, recipe = VIDEOS[name], RECIPES[VIDEOS[name].task]
    sizes, seed = (video.sequences, *SIZES[1:]), 100 + sorted(VIDEOS).index(name)
    if not video.shapes:
        make_dataset(video.task, str(file), recipe.train_len, sizes)
        return
    arrays: dict[str, np.ndarray] = {}
    if not video.straight:
        made = file.with_name(f"{file.stem}_trajectories.npz")
        physics = {"k": 3, "equil": 5, "radius": 4, "vx0_max": 6.0, "vy0_max": 6.0}
        make_dataset(video.task, str(made), recipe.train_len, sizes, seed=seed, **physics)
        with np.load(made) as archive:
            arrays = {f"{split}_pos": archive[f"{split}_pos"] for split in SPLITS}
    for number, (split, size) in enumerate(zip(SPLITS, sizes)):
        if video.straight:
            way = drift(size, recipe.train_len, len(video.shapes), seed=seed + 1000 * number, **STRAIGHT)
            arrays[f"{split}_pos"] = way.astype(np.float32)
        side = STRAIGHT["side"] if video.straight else recipe.img_size
        frames = draw_shapes(arrays[f"{split}_pos"], video.shapes, int(side), noise=video.noise, seed=number)
        arrays[f"{split}_x"] = frames
    np.savez_compressed(file, **arrays)


def measure(net: PhysicsNet, frames: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How well `net` encodes uint8 `frames` [S, T, H, H, C] whose objects are at `truth` [S, T, N, 2]."""
    found = encode_all(net, frames).reshape(truth.shape)
    named, unnamed = [], []
    for order in motion.orders(truth.shape[2]):
        away = found[:, :, order] - truth
        unnamed.append(np.linalg.norm(away, axis=-1).max(-1))
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
    return {**measure(net, arrays["test_x"][:, seen], arrays["test_pos"][:, seen]), "cpu_seconds": round(seconds)}


def main(arguments: Sequence[str] | None = None) -> list[str]:
    """Make what is missing of videos × seeds; returns the table."""
    parser = CommandParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--videos", default="spring_color,3bp_color,disc_plus_noise5")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--supervision", default="motion", choices=SUPERVISIONS)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--list", action="store_true", help="only print what there is")
    flags = parser.parse_args(arguments)
    unknown = set(flags.videos.split(",")) - set(VIDEOS)
    if unknown:
        raise ExperimentError(f"--videos: no video {min(unknown)}; there are {', '.join(VIDEOS)}")
    (flags.folder / "videos").mkdir(parents=True, exist_ok=True)
    table = flags.folder / "discovery.json"
    results = json.loads(table.read_text()) if table.is_file() else {}
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for seed in () if flags.list else map(int, flags.seeds.split(",")):
        for name in flags.videos.split(","):
            key = f"{name} seed {seed} {flags.supervision} {flags.steps}x{flags.batch}"
            if key in results:
                continue
            file = flags.folder / "videos" / f"{name}.npz"
            if not file.is_file():
                make_video(name, file)
            save_dir = flags.folder / key.replace(" ", "-")
            stage = Stage(flags.steps, flags.batch, 1e-3)
            results[key] = run(file, name, seed, flags.supervision, stage, save_dir)
            text = json.dumps(results, indent=1).encode()
            write_atomically(table, lambda out, text=text: out.write(text))
    return [f"{key}: " + ", ".join(f"{n} {v:.4g}" for n, v in row.items()) for key, row in results.items()]


if __name__ == "__main__":
    run_command(main)
