"""A trained network as a TF SavedModel, which TensorFlow alone loads and runs.

    python -m physics_models.export RUN_DIR OUT_DIR

RUN_DIR is the folder of an experiment, this port's or the original's; OUT_DIR a new folder.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from physics_models.command import OneLineParser, run
from physics_models.errors import ExperimentError

if TYPE_CHECKING:
    import tensorflow as tf

    from physics_models.physics_net import PhysicsNet


def exported(net: PhysicsNet) -> tf.Module:
    """`net` as functions of tensors, to be saved: `encode`, `predict`, `parameters` and `task`.

    `encode`: frames [B, T, H, H, C] in [0, 1] → positions [B, T, 2N] (pixels). `predict`: frames and a number of
    steps → the frames that follow the last one, [B, steps, H, H, C], and their positions [B, steps, 2N].
    `parameters`: the learned physical parameters by name. `task`: the row of the task table, as JSON.
    """
    import tensorflow as tf

    task, side = net.task, net.task.img_size
    frames_spec = tf.TensorSpec([None, None, side, side, net.channels], tf.float32, "frames")
    module = tf.Module()
    module.weights = list(net.variables_by_name().values())  # what is saved

    @tf.function(input_signature=[frames_spec], autograph=False)
    def encode(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"positions": net.encode(frames)[0]}

    @tf.function(input_signature=[frames_spec, tf.TensorSpec([], tf.int32, "steps")], autograph=False)
    def predict(frames: tf.Tensor, steps: tf.Tensor) -> dict[str, tf.Tensor]:
        last = frames[:, -task.input_steps :]
        state = net.initial_state(net.encode(last)[0])
        positions = net.positions(net.rollout(state, steps))[:, 1:]
        (predicted,) = net.decode(positions)
        return {"frames": predicted, "positions": positions}

    @tf.function(input_signature=[], autograph=False)
    def parameters() -> dict[str, tf.Tensor]:
        return {name: tf.identity(value) for name, value in net.cell.parameters().items()}

    @tf.function(input_signature=[], autograph=False)
    def task_as_json() -> tf.Tensor:
        return tf.constant(json.dumps({**asdict(task), "channels": net.channels}))

    module.encode, module.predict, module.parameters, module.task = encode, predict, parameters, task_as_json
    return module


def export(source: str | Path, dest: str | Path) -> list[str]:
    """Write the network of the experiment in `source` as a SavedModel into the folder `dest`; whole, or not at all.

    Returns what to tell the user. Raises `ExperimentError` for what `load_network` cannot load, and for a `dest`
    that exists and is not empty, or cannot be written.
    """
    import tensorflow as tf

    from physics_models.checkpoints import reason
    from physics_models.library import load_network

    dest = Path(dest).resolve()
    check_dest(dest)
    net = load_network(source)
    scratch = None
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}."))
        module = exported(net)
        tf.saved_model.save(module, str(scratch), signatures={"serving_default": module.predict})
        synchronise_all(scratch)
        scratch.chmod(0o755)
        os.rename(scratch, dest)  # replaces an empty folder, and nothing else
    except (OSError, tf.errors.OpError) as error:
        raise ExperimentError(f"{dest}: cannot be written ({reason(error)})") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    size = f"{net.task.img_size}, {net.task.img_size}, {net.channels}"
    return [
        f"{dest}: task {net.task.name}; with TensorFlow alone:",
        f'  model = tf.saved_model.load("{dest}")',
        f"  model.predict(frames, 100)  # float32 [B, at least {net.task.input_steps}, {size}] in [0, 1], and steps",
        "  model.parameters()",
    ]


def check_dest(dest: Path) -> None:
    """Raise `ExperimentError` unless `dest` is free, or an empty folder."""
    there = next(path for path in (dest, *dest.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ExperimentError(f"{dest}: {there} is a file; give another folder")
    if there == dest and any(dest.iterdir()):
        raise ExperimentError(f"{dest}: exists and is not empty; give a new folder")


def synchronise_all(folder: Path) -> None:
    """Have the disk hold every file below `folder`."""
    from physics_models.save_dir import synchronise

    for path in sorted(folder.rglob("*"), reverse=True):
        synchronise(path)
    synchronise(folder)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = OneLineParser(
        prog="python -m physics_models.export", description="A trained network as a TF SavedModel."
    )
    parser.add_argument("source", metavar="RUN_DIR", help="folder of an experiment, this port's or the original's")
    parser.add_argument("dest", metavar="OUT_DIR", help="folder to write, new or empty")
    options = parser.parse_args(arguments)
    run(lambda: export(options.source, options.dest))


if __name__ == "__main__":
    main()
