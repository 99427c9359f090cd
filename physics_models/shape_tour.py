"""One batch through the network, stage by stage: the shape of each tensor, as symbols and as numbers.

    python -m physics_models.shape_tour --task=spring_color [--batch_size=100] [--color=false] [--alt_vel]

The numbers are read off the network's own tensors while TensorFlow traces it; nothing is computed. docs/shapes.md has
all tasks side by side, and says what the symbols are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest import mock

import tensorflow as tf

from nn import plain
from nn.encoders import SHALLOW_BELOW
from physics_models.errors import CommandParser, ExperimentError, run_command
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, Task

STAGES = {  # from input to prediction
    "input": "[B, T, H, H, C]",
    "frames encoded": "[B·(L+P), H, H, C]",
    "U-Net, logits": "[B·(L+P), H, H, N]",
    "enc_masks": "[B·(L+P), H, H, N+1]",
    "masked_objects": "[N, B·(L+P), H, H, C]",
    "location net, in": "[N·B·(L+P), G·G·C]",
    "location net, out": "[N·B·(L+P), 2]",
    "enc_pos": "[B, L+P, 2N]",
    "velocity net, in": "[N·B, 2V]",
    "initial velocities": "[B, 2N]",
    "cell, new positions": "[B, 2N]",
    "pos_vel_seq": "[B, P+E+1, 4N]",
    "decoder, positions": "[B·(L+P+P+E), 2N]",
    "templates": "[N, S, S, 1]",
    "contents": "[N, S, S, C]",
    "background": "[1, H, H, C]",
    "spatial transformer, in": "[B·(L+P+P+E), S, S, 1+C]",
    "spatial transformer, out": "[B·(L+P+P+E), H, H, 1+C]",
    "decoder, frames": "[B·(L+P+P+E), H, H, C]",
    "recons_out": "[B, L+P, H, H, C]",
    "output": "[B, P+E, H, H, C]",
}


def shape_tour(task: Task, batch_size: int = 100, color: bool = True, alt_vel: bool = False) -> list[str]:
    """The symbols' values and the table of `task`, for `batch_size` sequences of its training length."""
    values = ", ".join(f"{symbol} = {value}" for symbol, value in symbols(task, batch_size, color, alt_vel).items())
    return [values, "", *markdown({task.name: trace(task, batch_size, color, alt_vel)})]


def symbols(task: Task, batch_size: int, color: bool = True, alt_vel: bool = False) -> dict[str, int]:
    """The numbers behind the letters of `STAGES`, at the training length."""
    side, inputs, predicted = task.img_size, task.input_steps, task.pred_steps
    return {
        "B": batch_size, "T": task.train_len, "L": inputs, "P": predicted, "E": task.train_len - inputs - predicted,
        "H": side, "S": side // 2, "C": 3 if color else 1, "N": task.n_objs,
        "G": side if side < SHALLOW_BELOW else side // 2, "V": inputs - 1 if alt_vel else inputs,
    }  # fmt: skip


def trace(task: Task, batch_size: int, color: bool = True, alt_vel: bool = False) -> dict[str, list[int]]:
    """The shape of every stage of `STAGES`, read off the tensors of a network with the decoder of `nn.plain`."""
    if not 1 <= batch_size <= 1000:
        raise ExperimentError(f"--batch_size={batch_size}: must lie between 1 and 1000")
    net = PhysicsNet(task, color, alt_vel=alt_vel, decoder_type="conv_st_decoder_plain")
    net.build(net.frame_shape)
    spec, tensors = tf.TensorSpec([batch_size, task.train_len, *net.frame_shape[2:]]), []
    tf.function(lambda frames: tensors.extend(walk(net, frames)), autograph=False).get_concrete_function(spec)
    return {stage: list(tensor.shape) for stage, tensor in zip(STAGES, tensors)}


def walk(net: PhysicsNet, frames: tf.Tensor) -> list[tf.Tensor]:
    """Run `net`, which is of no use afterwards, on `frames` [B, T, H, H, C]; the tensors of all `STAGES`, in order."""
    parts = (net.encoder, net.encoder.unet, *net.encoder.location_net[::2], net.init_vel.net[0], net.init_vel)
    calls = [record(part, "call") for part in (*parts, net.cell, net.decoder)] + [record(net.decoder, "sprites")]
    with mock.patch.object(plain, "spatial_transformer", plain.spatial_transformer):  # puts it back
        calls.append(record(plain, "spatial_transformer"))
        out = net(frames)
    encoder, unet, loc_in, loc_out, velocity_in, init_vel, cell, decoder, sprites, pasted = [c[-1] for c in calls]
    return [
        frames, encoder[0], unet[1], out.enc_masks, out.masked_objects, loc_in[0], loc_out[1], out.enc_pos,
        velocity_in[0], init_vel[1], cell[1][0], out.pos_vel_seq, decoder[0], *sprites[1][:3], *pasted, decoder[1],
        out.recons_out, out.output,
    ]  # fmt: skip


def record(owner: Any, name: str) -> list[tuple[Any, Any]]:
    """A list that gets (first argument, result) of every call of the function `name` of `owner` from now on."""
    function, calls = getattr(owner, name), []

    def recorded(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        calls.append((next(iter((*args, *options.values())), None), result))  # Keras 3 passes by name
        return result

    setattr(owner, name, recorded)
    return calls


def markdown(columns: Mapping[str, Mapping[str, list[int]]]) -> list[str]:
    """A Markdown table: a row for each stage, with its symbols, and a column of shapes for each of `columns`."""
    rows = [["stage", "shape", *columns], ["---"] * (2 + len(columns))]
    rows += [[stage, STAGES[stage], *(str(shapes[stage]) for shapes in columns.values())] for stage in STAGES]
    return [f"| {' | '.join(row)} |" for row in rows]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the command."""
    parser = CommandParser(prog="python -m physics_models.shape_tour", description=__doc__.split("\n")[0])
    parser.add_argument("--task", required=True, help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--batch_size", type=int, default=100, help="sequences in the batch; 100 by default")
    values = {"choices": ("true", "false"), "type": str.lower, "const": "true", "nargs": "?"}
    parser.add_argument("--color", default="true", help="RGB frames", **values)
    parser.add_argument("--nocolor", dest="color", action="store_const", const="false", help="grey frames")
    parser.add_argument("--alt_vel", default="false", help="linear velocity encoder", **values)
    options = parser.parse_args(arguments)
    if options.task not in TASKS:
        parser.error(f"--task={options.task}: choose one of {', '.join(TASKS)}")
    switches = [word == "true" for word in (options.color, options.alt_vel)]
    run_command(lambda: shape_tour(TASKS[options.task], options.batch_size, *switches))


if __name__ == "__main__":
    main()
