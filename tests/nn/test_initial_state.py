"""The initial state fitted to positions under the physics (`--vel_encoder=gauss_newton`)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from data_gen.recipes import RECIPES, make_dataset
from nn.cells import CELLS
from nn.initial_state import fitted_state
from physics_models.tasks import TASKS


@pytest.mark.parametrize(("name", "parameters"), [("spring_color", [4.0, 6.0]), ("3bp_color", [60.0])])
def test_fitted_state_recovers_every_state_that_made_a_trajectory(name, parameters, tmp_path):
    """The true physics from the start of generated sequences: positions of bodies that really move so."""
    task = TASKS[name]
    make_dataset(name, str(tmp_path / "data.npz"), RECIPES[name].train_len, (100, 1, 1))
    with np.load(tmp_path / "data.npz") as data:
        start = [tf.constant(data[f"train_{part}"][:, 0].reshape(100, -1)) for part in ("pos", "vel")]
    cell = CELLS[task.cell_type](task.n_objs, task.img_size)
    cell.build(((None, 2 * task.n_objs), (None, 2 * task.n_objs)))
    for variable, value in zip(cell.trainable_variables, parameters):
        variable.assign(np.log(value))
    positions, velocities = start
    sequence = [positions]
    for _ in range(task.input_steps - 1):
        positions, velocities = cell((positions, velocities))
        sequence.append(positions)
    found_positions, found_velocities = fitted_state(cell, tf.stack(sequence, axis=1))
    assert np.abs(found_positions - positions).max() < 0.02  # pixels
    assert np.abs(found_velocities - velocities).max() < 0.02  # pixels per unit of time


def test_fitted_state_carries_gradients_to_positions_and_parameters():
    cell = CELLS["spring_ode_cell"](2, 32)
    cell.build(((None, 4), (None, 4)))
    cell.log_l.assign(1.5)
    positions = tf.constant([[[10.0, 10.0, 20.0, 22.0], [10.5, 10.2, 20.0, 21.0], [11.0, 10.9, 19.0, 20.0]]])

    def velocity_sum(log_k: float) -> tf.Tensor:
        cell.log_k.assign(log_k)
        return tf.reduce_sum(fitted_state(cell, positions, 6)[1] * [[1.0, 2.0, 3.0, 4.0]])

    numeric = (float(velocity_sum(1.02)) - float(velocity_sum(0.98))) / 0.04
    with tf.GradientTape() as tape:
        tape.watch(positions)
        loss = velocity_sum(1.0)
    by_log_k, by_positions = tape.gradient(loss, [cell.trainable_variables[0], positions])
    assert float(by_log_k) == pytest.approx(numeric, rel=0.1)
    assert np.abs(by_positions).max() > 0.1
