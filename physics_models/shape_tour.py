"""One batch through the network, stage by stage: the shape of each tensor, as symbols and as numbers.

    python -m physics_models.shape_tour --task=spring_color [--batch_size=100] [--color=false] [--alt_vel]

The numbers are read off the network's own tensors while TensorFlow traces it for a batch of that size; nothing is
computed. docs/shapes.md holds the tables of every task.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from physics_models.command import OneLineParser, run
from physics_models.errors import ExperimentError
from physics_models.tasks import TASKS, Task, get_task

if TYPE_CHECKING:
    from physics_models.physics_net import PhysicsNet

MAX_BATCH = 1000  # sequences
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

Shape = tuple
Row = tuple  # (stage, symbolic shape, actual shape)


def shape_tour(task: Task, batch_size: int = 100, color: bool = True, alt_vel: bool = False) -> list[str]:
    """The tour of `task` on `batch_size` sequences of its training length: what the symbols stand for, and a table.

    Raises `ExperimentError` for a `batch_size` out of 1 … 1000.
    """
    import tensorflow as tf

    from physics_models.physics_net import PhysicsNet

    if not 1 <= batch_size <= MAX_BATCH:
        raise ExperimentError(f"--batch_size={batch_size}: must lie between 1 and {MAX_BATCH}")
    net = PhysicsNet(task, color=color, alt_vel=alt_vel)
    frames = tf.TensorSpec([batch_size, task.train_len, task.img_size, task.img_size, net.channels])
    values = ", ".join(f"{symbol} = {value}" for symbol, value in symbols(task, batch_size, net.channels).items())
    rows: list[Row] = []
    tf.function(lambda traced: rows.extend(walk(net, traced)), autograph=False).get_concrete_function(frames)
    return [values, "", *markdown([("stage", "shape", task.name), ("---", "---", "---"), *rows])]


def symbols(task: Task, batch_size: int, channels: int) -> dict[str, int]:
    """The numbers behind the letters of the symbolic shapes, at the training length."""
    unseen = task.train_len - task.input_steps - task.pred_steps
    return {
        "B": batch_size, "T": task.train_len, "L": task.input_steps, "P": task.pred_steps, "E": unseen,
        "H": task.img_size, "S": task.img_size // 2, "C": channels, "N": task.n_objs,
    }  # fmt: skip


def walk(net: PhysicsNet, frames: Any) -> list[Row]:
    """Run `net` on `frames` [B, T, H, H, C], and read the shape of every stage off its tensors."""
    from nn import decoders

    location, velocity = net.encoder.location_net, net.init_vel.net
    with contextlib.ExitStack() as stack:

        def seen(owner: Any, name: str) -> list[tuple[Any, Any]]:
            return stack.enter_context(watch(owner, name))

        encoder, unet = seen(net.encoder, "call"), seen(net.encoder.unet, "call")
        locate_in, locate_out = seen(location[0], "call"), seen(location[-1], "call")
        velocity_in, velocities = seen(velocity[0], "call"), seen(net.init_vel, "call")
        sprites, paste = seen(net.decoder, "sprites"), seen(decoders, "axis_aligned_paste")
        rollout = net(frames)

    pooled = "H·H·C" if net.encoder.shallow else "(H/2)·(H/2)·C"
    differences = "2(L−1)" if net.init_vel.alt_vel else "2L"
    learned = sprites[0][1]
    stages = [
        ("input", "[B, T, H, H, C]", frames),
        ("frames encoded", "[B·(L+P), H, H, C]", encoder[0][0]),
        ("U-Net logits", "[B·(L+P), H, H, N]", unet[0][1]),
        ("encoder masks, the background last (`enc_masks`)", "[B·(L+P), H, H, N+1]", rollout.enc_masks),
        ("masked objects (`masked_objects`)", "[N, B·(L+P), H, H, C]", rollout.masked_objects),
        ("location net, in: objects stacked, flattened", f"[N·B·(L+P), {pooled}]", locate_in[0][0]),
        ("location net, out", "[N·B·(L+P), 2]", locate_out[0][1]),
        ("encoded positions (`enc_pos`)", "[B, L+P, 2N]", rollout.enc_pos),
        ("velocity net, in: objects stacked", f"[N·B, {differences}]", velocity_in[0][0]),
        ("initial velocities", "[B, 2N]", velocities[0][1]),
        ("initial state and each step's (`pos_vel_seq`)", "[B, P+E+1, 4N]", rollout.pos_vel_seq),
        ("templates", "[N, S, S, 1]", learned.templates),
        ("contents", "[N, S, S, C]", learned.contents),
        ("background", "[1, H, H, C]", learned.background),
        ("paste, in: template and contents", "[N, S, S, 1+C]", paste[0][0]),
        ("paste, out: rows, channels, columns", "[N, B·(L+P+P+E), H, 1+C, H]", paste[0][1]),
        ("reconstructions (`recons_out`)", "[B, L+P, H, H, C]", rollout.recons_out),
        ("predictions (`output`)", "[B, P+E, H, H, C]", rollout.output),
    ]
    return [(stage, symbolic, str(list(tensor.shape))) for stage, symbolic, tensor in stages]


@contextlib.contextmanager
def watch(owner: Any, name: str) -> Iterator[list[tuple[Any, Any]]]:
    """While this lasts, list (first argument, result) of every call of the function `name` of `owner`."""
    function: Callable[..., Any] = getattr(owner, name)
    calls = []

    def watched(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        calls.append((next(iter((*args, *options.values())), None), result))  # Keras 3 passes by name
        return result

    own = vars(owner).get(name)
    setattr(owner, name, watched)
    try:
        yield calls
    finally:
        if own is None:
            delattr(owner, name)  # a method: the class's comes back
        else:
            setattr(owner, name, own)


def markdown(rows: list[Row]) -> list[str]:
    """A Markdown table of `rows`."""
    return [f"| {' | '.join(row)} |" for row in rows]


def boolean(word: str) -> bool:
    """A flag's value as absl's flags take it: true, false, 1 or 0."""
    if word.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"{word} is neither true nor false")
    return BOOLEANS[word.lower()]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = OneLineParser(
        prog="python -m physics_models.shape_tour",
        description="Prints the shape of each tensor between input and prediction, for one batch.",
    )
    parser.add_argument("--task", required=True, help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--batch_size", type=int, default=100, help="sequences in the batch; 100 by default")
    for name, default, what in (("color", True, "RGB frames"), ("alt_vel", False, "linear velocity encoder")):
        parser.add_argument(f"--{name}", type=boolean, nargs="?", const=True, default=default, help=what)
        parser.add_argument(f"--no{name}", dest=name, action="store_false", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    run(lambda: shape_tour(get_task(options.task), options.batch_size, options.color, options.alt_vel))


if __name__ == "__main__":
    main()
