"""The shape of every tensor between a batch and its prediction: start here.

Images are NHWC. The table has B = 100 sequences of the training length T; of their frames L go in, P are predicted in
the loss, and E = T − L − P beyond it. H × H pixels and C channels a frame, N objects, templates of S = H / 2 pixels.
docs/shapes.md shows it with each shape as a formula, and says what happens between the stages;
`python -m physics_models.shape_tour --task=spring_color` prints one task's.

Run this file to print the tables of docs/shapes.md: `PYTHONPATH=. python tests/test_documented_shapes.py`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from golden_data import net_file

from physics_models import shape_tour
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import PENDULUMS, TASKS, Task
from physics_models.video_lstm import VideoLSTM

# Balls and springs: bouncing_balls, spring_color and spring_color_half. Grey: spring_color with --color=false.
DOCUMENTED = """
stage                    | balls and springs     | 3bp_color             | mnist_spring_color    | grey
input                    | [100, 12, 32, 32, 3]  | [100, 20, 36, 36, 3]  | [100, 12, 64, 64, 3]  | [100, 12, 32, 32, 1]
frames encoded           | [1000, 32, 32, 3]     | [1600, 36, 36, 3]     | [1000, 64, 64, 3]     | [1000, 32, 32, 1]
U-Net, logits            | [1000, 32, 32, 2]     | [1600, 36, 36, 3]     | [1000, 64, 64, 2]     | [1000, 32, 32, 2]
enc_masks                | [1000, 32, 32, 3]     | [1600, 36, 36, 4]     | [1000, 64, 64, 3]     | [1000, 32, 32, 3]
masked_objects           | [2, 1000, 32, 32, 3]  | [3, 1600, 36, 36, 3]  | [2, 1000, 64, 64, 3]  | [2, 1000, 32, 32, 1]
location net, in         | [2000, 3072]          | [4800, 3888]          | [2000, 3072]          | [2000, 1024]
location net, out        | [2000, 2]             | [4800, 2]             | [2000, 2]             | [2000, 2]
enc_pos                  | [100, 10, 4]          | [100, 16, 6]          | [100, 10, 4]          | [100, 10, 4]
velocity net, in         | [200, 8]              | [300, 8]              | [200, 6]              | [200, 8]
initial velocities       | [100, 4]              | [100, 6]              | [100, 4]              | [100, 4]
cell, new positions      | [100, 4]              | [100, 6]              | [100, 4]              | [100, 4]
pos_vel_seq              | [100, 9, 8]           | [100, 17, 12]         | [100, 10, 8]          | [100, 9, 8]
decoder, positions       | [1800, 4]             | [3200, 6]             | [1900, 4]             | [1800, 4]
templates                | [2, 16, 16, 1]        | [3, 18, 18, 1]        | [2, 32, 32, 1]        | [2, 16, 16, 1]
contents                 | [2, 16, 16, 3]        | [3, 18, 18, 3]        | [2, 32, 32, 3]        | [2, 16, 16, 1]
background               | [1, 32, 32, 3]        | [1, 36, 36, 3]        | [1, 64, 64, 3]        | [1, 32, 32, 1]
spatial transformer, in  | [1800, 16, 16, 4]     | [3200, 18, 18, 4]     | [1900, 32, 32, 4]     | [1800, 16, 16, 2]
spatial transformer, out | [1800, 32, 32, 4]     | [3200, 36, 36, 4]     | [1900, 64, 64, 4]     | [1800, 32, 32, 2]
decoder, frames          | [1800, 32, 32, 3]     | [3200, 36, 36, 3]     | [1900, 64, 64, 3]     | [1800, 32, 32, 1]
recons_out               | [100, 10, 32, 32, 3]  | [100, 16, 36, 36, 3]  | [100, 10, 64, 64, 3]  | [100, 10, 32, 32, 1]
output                   | [100, 8, 32, 32, 3]   | [100, 16, 36, 36, 3]  | [100, 9, 64, 64, 3]   | [100, 8, 32, 32, 1]
"""
# Three of these tensors have other shapes in the original. It stacks the masked objects on the batch axis, object after
# object. Its mask has three equal channels, and it pastes one object at a time into encoded or predicted frames: b.
ORIGINAL = """
stage                    | balls and springs     | 3bp_color             | mnist_spring_color
masked_objects           | [2000, 32, 32, 3]     | [4800, 36, 36, 3]     | [2000, 64, 64, 3]
spatial transformer, in  | [b, 16, 16, 6]        | [b, 18, 18, 6]        | [b, 32, 32, 6]
spatial transformer, out | [b, 32, 32, 6]        | [b, 36, 36, 6]        | [b, 64, 64, 6]
"""

# Section 4.2 of the paper: an angle where the others have positions, the torques beside the frames.
PENDULUM = """
stage                    | pendulums             | pendulum, grey
input                    | [100, 14, 64, 64, 3]  | [100, 14, 64, 64, 1]
torques                  | [100, 13]             | [100, 13]
frames encoded           | [1000, 64, 64, 3]     | [1000, 64, 64, 1]
U-Net, logits            | [1000, 64, 64, 1]     | [1000, 64, 64, 1]
enc_masks                | [1000, 64, 64, 2]     | [1000, 64, 64, 2]
masked_objects           | [1, 1000, 64, 64, 3]  | [1, 1000, 64, 64, 1]
location net, in         | [1000, 3072]          | [1000, 1024]
location net, out        | [1000, 2]             | [1000, 2]
enc_pos                  | [100, 10, 1]          | [100, 10, 1]
initial angle            | [100, 1]              | [100, 1]
initial speed            | [100, 1]              | [100, 1]
cell, new angle          | [100, 1]              | [100, 1]
pos_vel_seq              | [100, 12, 2]          | [100, 12, 2]
decoder, angles          | [2100, 1]             | [2100, 1]
templates                | [1, 64, 64, 1]        | [1, 64, 64, 1]
contents                 | [1, 64, 64, 3]        | [1, 64, 64, 1]
background               | [1, 64, 64, 3]        | [1, 64, 64, 1]
spatial transformer, in  | [2100, 64, 64, 4]     | [2100, 64, 64, 2]
spatial transformer, out | [2100, 64, 64, 4]     | [2100, 64, 64, 2]
decoder, frames          | [2100, 64, 64, 3]     | [2100, 64, 64, 1]
recons_out               | [100, 10, 64, 64, 3]  | [100, 10, 64, 64, 1]
output                   | [100, 11, 64, 64, 3]  | [100, 11, 64, 64, 1]
"""

# Of the paper's baselines and of its black-box decoder: what PhysicsNet does not have. docs/baselines.md shows it.
BASELINES = """
stage                                     | spring_color          | 3bp_color
interaction network, pairs of states      | [100, 2, 8]           | [100, 6, 8]
interaction network, effects of the pairs | [100, 2, 50]          | [100, 6, 50]
interaction network, states and effects   | [100, 2, 54]          | [100, 3, 54]
interaction network, changes of velocity  | [100, 2, 2]           | [100, 3, 2]
black-box decoder, positions              | [1800, 4]             | [3200, 6]
black-box decoder, maps                   | [1800, 8, 8, 64]      | [3200, 9, 9, 64]
black-box decoder, frames                 | [1800, 32, 32, 3]     | [3200, 36, 36, 3]
VideoLSTM, maps of the frames             | [1000, 4, 4, 128]     | [1600, 5, 5, 128]
VideoLSTM, codes                          | [100, 10, 256]        | [100, 16, 256]
VideoLSTM, memory of the LSTM             | [100, 2048]           | [100, 2048]
VideoLSTM, next code                      | [100, 256]            | [100, 256]
VideoLSTM, maps of the codes              | [1800, 4, 4, 128]     | [3200, 5, 5, 128]
VideoLSTM, recons_out                     | [100, 10, 32, 32, 3]  | [100, 16, 36, 36, 3]
VideoLSTM, output                         | [100, 8, 32, 32, 3]   | [100, 16, 36, 36, 3]
"""

COLUMNS = {"bouncing_balls": 0, "spring_color": 0, "spring_color_half": 0, "3bp_color": 1, "mnist_spring_color": 2}
GREY = 3
DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "shapes.md"
# spring_color_half is the network of spring_color.
each_task = pytest.mark.parametrize(
    "task", [pytest.param(t, marks=pytest.mark.slow) if t == "spring_color_half" else t for t in TASKS]
)
traced = functools.cache(shape_tour.trace)


def trace(task: Task, batch_size: int, color: bool = True, alt_vel: bool = False) -> dict[str, list[int]]:
    """Each network once, also where arguments are left at their defaults."""
    return traced(task, batch_size, color, alt_vel)


def column(number: int, table: str = DOCUMENTED) -> dict[str, list[int]]:
    """One column of a table: the numbers of each stage's shape."""
    rows = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()[1:]]
    return {stage: [int(n) for n in re.findall(r"\d+", cells[number])] for stage, *cells in rows}


def evaluate(formula: str, values: dict[str, int]) -> list[int]:
    """The numbers of a shape such as [B·(L+P), 2N]."""
    formula = re.sub(r"(\d)(?=[A-Z])", r"\1*", formula.replace("·", "*"))
    return eval(formula, {"__builtins__": {}}, values)


def baseline_shapes(task: Task) -> list[list[int]]:
    """The shapes of `BASELINES`, in its order, read off the tensors of the three networks: 100 training sequences."""
    interaction = PhysicsNet(replace(task, cell_type="interaction_network"))
    black_box, video = PhysicsNet(task, decoder_type="black_box"), VideoLSTM(task)
    for net in (interaction, black_box, video):
        net.build(net.frame_shape)
    cell, decoder = interaction.cell, black_box.decoder
    layers = (cell.relation_net[0], cell.relation_net[-1], cell.object_net[0], cell.object_net[-1], decoder.deconvs[0])
    pairs, effects, objects, changes, maps = (shape_tour.record(layer, "call") for layer in layers)
    decoded, steps = shape_tour.record(decoder, "call"), shape_tour.record(video, "step")
    reads, of_codes = (shape_tour.record(layer, "call") for layer in (video.convs[-1], video.deconvs[0]))
    found: list[tf.Tensor] = []

    def walk(frames: tf.Tensor) -> None:
        interaction(frames), black_box(frames)
        seen = video(frames)
        _, (code, memories) = steps[-1]
        found.extend([
            pairs[-1][0], effects[-1][1], objects[-1][0], changes[-1][1], decoded[-1][0], maps[-1][0], decoded[-1][1],
            reads[-1][1], seen.codes, memories[0][0], code, of_codes[-1][0], seen.recons_out, seen.output,
        ])  # fmt: skip

    spec = tf.TensorSpec([100, task.train_len, *video.frame_shape[2:]])
    tf.function(walk, autograph=False).get_concrete_function(spec)
    return [list(tensor.shape) for tensor in found]


def page_tables() -> list[str]:
    """The tables of docs/shapes.md, from the networks' own tensors."""
    columns = {
        "bouncing_balls, spring_color, spring_color_half": trace(TASKS["spring_color"], 100),
        "3bp_color": trace(TASKS["3bp_color"], 100),
        "mnist_spring_color": trace(TASKS["mnist_spring_color"], 100),
        "spring_color, grey": trace(TASKS["spring_color"], 100, False),
    }
    pendulum = {"pendulum, pendulum_gymnasium": trace(PENDULUMS["pendulum"], 100)}
    tables = (shape_tour.STAGES, columns), (shape_tour.PENDULUM_STAGES, pendulum)
    return ["\n".join(shape_tour.markdown(*each)) for each in tables]


@each_task
def test_every_tensor_has_its_documented_shape(task):
    assert trace(TASKS[task], 100) == column(COLUMNS[task])


def test_grey_frames_have_their_documented_shapes():
    assert trace(TASKS["spring_color"], 100, False) == column(GREY)


@pytest.mark.parametrize(
    ("number", "task", "color"),
    [
        (0, "pendulum", True),
        pytest.param(0, "pendulum_gymnasium", True, marks=pytest.mark.slow),
        pytest.param(1, "pendulum", False, marks=pytest.mark.slow),
    ],
)
def test_the_pendulums_have_their_documented_shapes(number, task, color):
    assert trace(PENDULUMS[task], 100, color) == column(number, PENDULUM)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "task"), [(0, "spring_color"), (1, "3bp_color")])
def test_the_baselines_have_their_documented_shapes(number, task):
    assert baseline_shapes(TASKS[task]) == list(column(number, BASELINES).values())


def test_the_page_of_the_baselines_has_these_shapes():
    lines = [[cell.strip() for cell in line.split("|")] for line in BASELINES.strip().splitlines()]
    lines.insert(1, ["---"] * 3)
    assert "\n".join(f"| {' | '.join(line)} |" for line in lines) in (DOCS / "baselines.md").read_text("utf-8")


@each_task
def test_the_original_has_the_same_tensors(task):
    shapes, original = column(COLUMNS[task]), column(COLUMNS[task], ORIGINAL)
    n_objs, frames, *image = shapes["masked_objects"]
    assert [n_objs * frames, *image] == original["masked_objects"]
    for stage in ("spatial transformer, in", "spatial transformer, out"):
        _, *size, planes = shapes[stage]
        assert [*size, planes + 2] == original[stage]


def assert_formulas_hold(task: Task, batch_size: int, color: bool = True, alt_vel: bool = False) -> None:
    values = shape_tour.symbols(task, batch_size, color, alt_vel)
    wanted = {stage: evaluate(formula, values) for stage, formula in shape_tour.stages(task).items()}
    assert trace(task, batch_size, color, alt_vel) == wanted


@each_task
def test_the_formulas_give_the_shapes(task):
    assert_formulas_hold(TASKS[task], 100)


def test_the_formulas_give_those_of_a_pendulum():
    assert_formulas_hold(PENDULUMS["pendulum"], 100)


def test_the_formulas_give_those_of_grey_frames_and_the_linear_velocity_net():
    assert_formulas_hold(TASKS["mnist_spring_color"], 100, False, True)


@pytest.mark.slow
def test_a_training_step_predicts_no_frame_beyond_the_loss():
    """E = 0 in every formula."""
    task = TASKS["3bp_color"]
    task = replace(task, train_len=task.input_steps + task.pred_steps)
    assert shape_tour.symbols(task, 3)["E"] == 0
    assert_formulas_hold(task, 3)


@each_task
def test_the_golden_tensors_have_these_shapes(task):
    """The arrays that the original computed, of four sequences."""
    golden, shapes = net_file(task), column(COLUMNS[task])
    for name in ("input", "enc_pos", "pos_vel_seq"):
        assert list(golden[name].shape) == [4, *shapes[name][1:]], name
    for name in ("enc_masks", "recons_out", "output"):  # of the first frames alone
        assert list(golden[name].shape[1:]) == shapes[name][1:], name
    for name in ("templates", "contents"):
        assert list(golden[name].shape) == shapes[name], name
    assert list(golden["background_content"].shape) == shapes["background"]


def test_the_page_has_these_tables():
    page = PAGE.read_text("utf-8")
    for table in page_tables():
        assert f"\n\n{table}\n\n" in page


if __name__ == "__main__":
    print("\n\n".join(page_tables()))
