"""Writes a trained network as a TF SavedModel, which TensorFlow alone loads and runs.

    python -m physics_models.export RUN_DIR OUT_DIR

RUN_DIR is the folder of an experiment, this port's or the original's; OUT_DIR a new folder.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from os.path import expanduser
from pathlib import Path

import tensorflow as tf

from physics_models.errors import CommandParser, run_command
from physics_models.library import load_network, traced
from physics_models.memory_files import copy_out, memory_folder
from physics_models.pendulum_net import PendulumNet
from physics_models.physics_net import PhysicsNet
from physics_models.tf1_checkpoint import write_folder


def exported(net: PhysicsNet) -> tf.Module:
    """`net` as functions of tensors, to be saved: `encode`, `predict`, `parameters` and `task`.

    `encode`: frames [B, T, H, H, C] in [0, 1] → positions [B, T, 2N] (pixels). `predict`: frames and a number of
    steps → the frames that follow the last one, [B, steps, H, H, C], and their positions [B, steps, 2N].
    `parameters`: the learned physical parameters by name. `task`: the row of the task table, as JSON.
    """
    module, (roll_out, decode) = tf.Module(), traced(net)
    module.weights = list(net.variables_by_name().values())  # what is saved

    @tf.function(input_signature=roll_out.input_signature[:1], autograph=False)
    def encode(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"positions": net.encode(frames)[0]}

    @tf.function(input_signature=roll_out.input_signature, autograph=False)
    def predict(frames: tf.Tensor, steps: tf.Tensor) -> dict[str, tf.Tensor]:
        positions = roll_out(frames, steps)
        return {"frames": decode(positions), "positions": positions}

    @tf.function(input_signature=[], autograph=False)
    def parameters() -> dict[str, tf.Tensor]:
        return {name: tf.identity(value) for name, value in net.cell.parameters().items()}

    @tf.function(input_signature=[], autograph=False)
    def task_as_json() -> tf.Tensor:
        return tf.constant(json.dumps({**asdict(net.task), "channels": net.channels}))

    module.encode, module.predict, module.parameters, module.task = encode, predict, parameters, task_as_json
    return module


def export(source: str | Path, dest: str | Path) -> list[str]:
    """Write the network of the experiment in `source` as a SavedModel into the folder `dest`; whole, or not at all.

    Returns the command's output. Raises `ExperimentError` as `load_network` and `write_folder` do.
    """
    net = load_network(source)
    module = exported(net)
    signatures = {"serving_default": module.predict}

    def write(folder: Path) -> None:
        with memory_folder() as memory:
            tf.saved_model.save(module, memory, signatures=signatures)
            copy_out(memory, folder)

    write_folder(dest, write)
    shape = f"[B, at least {net.task.input_steps}, {net.task.img_size}, {net.task.img_size}, {net.channels}]"
    of_angles = isinstance(net, PendulumNet)
    pattern = set("[\\") & set(str(Path(dest).resolve()))
    return [
        f"{dest}: task {net.task.name}; with TensorFlow alone:",
        f"  model = tf.saved_model.load({str(dest)!r})",
        f"  model.predict(frames, 100)  # float32 {shape} in [0, 1], and steps",
        *(["  # positions are the pendulum's angles; it moves without torque"] if of_angles else []),
        "  model.parameters()",
        *(["note: TensorFlow does not load from a path with [ or \\ in it: rename it first"] if pattern else []),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the command."""
    parser = CommandParser(prog="python -m physics_models.export", description=__doc__.split("\n")[0])
    source, dest = "folder of an experiment, this port's or the original's", "folder to write, new or empty"
    parser.add_argument("source", metavar="RUN_DIR", type=expanduser, help=source)
    parser.add_argument("dest", metavar="OUT_DIR", type=expanduser, help=dest)
    options = parser.parse_args(arguments)
    run_command(lambda: export(options.source, options.dest))


if __name__ == "__main__":
    main()
