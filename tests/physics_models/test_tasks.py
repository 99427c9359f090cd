"""The task table, and the recipes of its data."""

from __future__ import annotations

import pytest

from data_gen.recipes import RECIPES
from nn.cells import CELLS
from physics_models.errors import ExperimentError
from physics_models.tasks import TASKS, get_task

# As the original has it: cell, T train, T test, L, P, H, N, coord_units, folder, stem before and after the length.
ROWS = """
bouncing_balls bouncing_ode_cell 12 30 4 6 32 2 8 bouncing color_bounce_vx8_vy8 _r2
spring_color spring_ode_cell 12 30 4 6 32 2 8 spring_color color_spring_vx8_vy8 _r2_k4_e6
spring_color_half spring_ode_cell 12 30 4 6 32 2 8 spring_color_half color_spring_vx4_vy4 _r2_k4_e6_halfpane
3bp_color gravity_ode_cell 20 40 4 12 36 3 12 3bp_color color_3bp_vx2_vy2 _r2_g60_m1_dt05
mnist_spring_color spring_ode_cell 12 30 3 7 64 2 8 mnist_spring_color color_mnist_spring_vx8_vy8 _r2_k2_e12
""".split("\n")[1:-1]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split()[0])
def test_a_row_is_the_originals(row):
    name, cell, *numbers, folder, stem, ending = row.split()
    t = get_task(name)
    found = [t.train_len, t.test_len, t.input_steps, t.pred_steps, t.img_size, t.n_objs, t.coord_units]
    assert (t.name, t.cell_type, found) == (name, cell, [int(number) for number in numbers])
    recipe = RECIPES[name]
    assert recipe.train_file == f"{folder}/{stem}_sl{t.train_len}{ending}.npz"
    assert recipe.test_file == f"{folder}/{stem}_sl{t.test_len}{ending}.npz"
    assert (recipe.train_len, recipe.test_len, recipe.img_size) == (t.train_len, t.test_len, t.img_size)


def test_there_are_no_other_rows():
    assert list(TASKS) == [row.split()[0] for row in ROWS] and set(RECIPES) == set(TASKS)
    assert {task.cell_type for task in TASKS.values()} <= set(CELLS)


def test_an_unknown_task_is_named_with_the_choices():
    with pytest.raises(ExperimentError) as raised:
        get_task("spring_colour")
    assert "--task=spring_colour" in str(raised.value) and all(name in str(raised.value) for name in TASKS)
    assert "\n" not in str(raised.value)


def test_a_cell_type_replaces_the_rows():
    assert get_task("3bp_color", "lstm").cell_type == "lstm"
    assert TASKS["3bp_color"].cell_type == "gravity_ode_cell"


@pytest.mark.parametrize(("name", "least"), [("spring_color", 11), ("3bp_color", 17), ("mnist_spring_color", 11)])
def test_a_sequence_needs_more_than_l_plus_p_frames(name, least):
    get_task(name).check_frames(least, "video.npz")
    with pytest.raises(ExperimentError, match=f"video.npz.* {least - 1} .*{least}"):
        get_task(name).check_frames(least - 1, "video.npz")
