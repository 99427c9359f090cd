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
from physics_models.pendulum_net import PendulumNet
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import PENDULUMS, TASKS, Task, get_task

ENCODER_STAGES = {  # of every network with objects
    "frames encoded": "[B·(L+P), H, H, C]",
    "U-Net, logits": "[B·(L+P), H, H, N]",
    "enc_masks": "[B·(L+P), H, H, N+1]",
    "masked_objects": "[N, B·(L+P), H, H, C]",
    "location net, in": "[N·B·(L+P), G·G·C]",
    "location net, out": "[N·B·(L+P), 2]",
}
STAGES = {  # from input to prediction
    "input": "[B, T, H, H, C]",
    **ENCODER_STAGES,
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
PENDULUM_STAGES = {  # the same of PendulumNet, which has an angle where PhysicsNet has a position
    "input": "[B, T, H, H, C]",
    "torques": "[B, T-1]",
    **ENCODER_STAGES,
    "enc_pos": "[B, L+P, N]",
    "initial angle": "[B, N]",
    "initial speed": "[B, N]",
    "cell, new angle": "[B, N]",
    "pos_vel_seq": "[B, P+E+1, 2N]",
    "decoder, angles": "[B·(L+P+P+E), N]",
    "templates": "[N, H, H, 1]",
    "contents": "[N, H, H, C]",
    "background": "[1, H, H, C]",
    "spatial transformer, in": "[B·(L+P+P+E), H, H, 1+C]",
    "spatial transformer, out": "[B·(L+P+P+E), H, H, 1+C]",
    "decoder, frames": "[B·(L+P+P+E), H, H, C]",
    "recons_out": "[B, L+P, H, H, C]",
    "output": "[B, P+E, H, H, C]",
}


def stages(task: Task) -> dict[str, str]:
    """The stages of the task's network, with their shapes as symbols."""
    return PENDULUM_STAGES if task.name in PENDULUMS else STAGES


def shape_tour(task: Task, batch_size: int = 100, color: bool = True, alt_vel: bool = False) -> list[str]:
    """The symbols' values and the table of `task`, for `batch_size` sequences of its training length."""
    values = ", ".join(f"{symbol} = {value}" for symbol, value in symbols(task, batch_size, color, alt_vel).items())
    return [values, "", *markdown(stages(task), {task.name: trace(task, batch_size, color, alt_vel)})]


def symbols(task: Task, batch_size: int, color: bool = True, alt_vel: bool = False) -> dict[str, int]:
    """The numbers behind the letters in `stages`, at the training length."""
    side, inputs, predicted = task.img_size, task.input_steps, task.pred_steps
    every = {
        "B": batch_size, "T": task.train_len, "L": inputs, "P": predicted, "E": task.train_len - inputs - predicted,
        "H": side, "S": side // 2, "C": 3 if color else 1, "N": task.n_objs,
        "G": side if side < SHALLOW_BELOW else side // 2, "V": inputs - 1 if alt_vel else inputs,
    }  # fmt: skip
    used = "".join(stages(task).values())
    return {symbol: value for symbol, value in every.items() if symbol in used}


def trace(task: Task, batch_size: int, color: bool = True, alt_vel: bool = False) -> dict[str, list[int]]:
    """The shape of each of the `stages`, read off the tensors of a network with the decoder of `nn.plain`."""
    if not 1 <= batch_size <= 1000:
        raise ExperimentError(f"--batch_size={batch_size}: must lie between 1 and 1000")
    if task.name in PENDULUMS and alt_vel:
        raise ExperimentError(f"--alt_vel: task {task.name} has no velocity net; leave it out")
    if task.name in PENDULUMS:
        net = PendulumNet(task, color)
    else:
        net = PhysicsNet(task, color, alt_vel=alt_vel, decoder_type="conv_st_decoder_plain")
    net.build(net.frame_shape)
    specs, found = [tf.TensorSpec([batch_size, task.train_len, *net.frame_shape[2:]])], {}
    if task.name in PENDULUMS:
        specs.append(tf.TensorSpec([batch_size, task.train_len - 1]))
    tf.function(lambda *batch: found.update(walk(net, batch)), autograph=False).get_concrete_function(*specs)
    return {stage: list(found[stage].shape) for stage in stages(task)}


def walk(net: PhysicsNet, batch: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
    """Run `net`, which is of no use afterwards, on frames [B, T, H, H, C], and torques; the tensors of all stages."""
    parts = (net.encoder, net.encoder.unet, *net.encoder.location_net[::2], net.cell, net.decoder)
    calls = [record(part, "call") for part in parts] + [record(net.decoder, "sprites")]
    of_pendulum = isinstance(net, PendulumNet)
    start = [(net, "initial_state")] if of_pendulum else [(net.init_vel.net[0], "call"), (net.init_vel, "call")]
    start = [record(*function) for function in start]
    with mock.patch.object(plain, "spatial_transformer", plain.spatial_transformer):  # puts it back
        calls.append(record(plain, "spatial_transformer"))
        out = net(batch if of_pendulum else batch[0])
    encoder, unet, loc_in, loc_out, cell, decoder, sprites, pasted = (each[-1] for each in calls)
    found = {
        "input": batch[0], "frames encoded": encoder[0], "U-Net, logits": unet[1], "location net, in": loc_in[0],
        "location net, out": loc_out[1], "spatial transformer, in": pasted[0], "spatial transformer, out": pasted[1],
        "decoder, frames": decoder[1], **out._asdict(), **sprites[1]._asdict(),
    }  # fmt: skip
    if of_pendulum:
        angle, speed = start[0][-1][1]
        parts = {"torques": batch[1], "initial angle": angle, "initial speed": speed, "cell, new angle": cell[1][0]}
        return {**found, **parts, "decoder, angles": decoder[0]}
    velocity_in, velocities = (each[-1] for each in start)
    parts = {"velocity net, in": velocity_in[0], "initial velocities": velocities[1], "cell, new positions": cell[1][0]}
    return {**found, **parts, "decoder, positions": decoder[0]}


def record(owner: Any, name: str) -> list[tuple[Any, Any]]:
    """A list that gets (first argument, result) of every call of the function `name` of `owner` from now on."""
    function, calls = getattr(owner, name), []

    def recorded(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        calls.append((next(iter((*args, *options.values())), None), result))  # Keras 3 passes by name
        return result

    setattr(owner, name, recorded)
    return calls


def markdown(formulas: Mapping[str, str], columns: Mapping[str, Mapping[str, list[int]]]) -> list[str]:
    """A Markdown table: a row for each stage, with its shape in `formulas`, and those of each of `columns`."""
    rows = [["stage", "shape", *columns], ["---"] * (2 + len(columns))]
    rows += [[stage, text, *(str(shapes[stage]) for shapes in columns.values())] for stage, text in formulas.items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the command."""
    parser = CommandParser(prog="python -m physics_models.shape_tour", description=__doc__.split("\n")[0])
    parser.add_argument("--task", required=True, help=f"one of {', '.join((*TASKS, *PENDULUMS))}")
    parser.add_argument("--batch_size", type=int, default=100, help="sequences in the batch; 100 by default")
    values = {"choices": ("true", "false"), "type": str.lower, "const": "true", "nargs": "?"}
    parser.add_argument("--color", default="true", help="RGB frames", **values)
    parser.add_argument("--nocolor", dest="color", action="store_const", const="false", help="grey frames")
    parser.add_argument("--alt_vel", default="false", help="linear velocity encoder", **values)
    options = parser.parse_args(arguments)
    switches = [word == "true" for word in (options.color, options.alt_vel)]
    run_command(lambda: shape_tour(get_task(options.task), options.batch_size, *switches))


if __name__ == "__main__":
    main()
