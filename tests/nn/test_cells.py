"""The physics engine against the original's numbers, and against physics that is known in closed form."""

from __future__ import annotations

import golden_data
import numpy as np
import pytest
import tensorflow as tf

from nn.cells import CELLS, BouncingODECell, GravityODECell, LSTMCell, SpringODECell
from physics_models.base import tf_variable

LEARNED = {"log_k": 0.7, "log_l": 1.5, "log_g": 3.5}  # the golden values' parameters
GOLDEN = ("bouncing_ode_cell", "spring_ode_cell", "gravity_ode_cell")


@pytest.mark.parametrize("case", GOLDEN)
def test_cell_equals_the_original(case):
    """Five calls in a row. Close encounters throw bodies far: each value is compared relatively to its own size."""
    golden = golden_data.blocks_file()[case]
    cell = CELLS[case](golden["pos"].shape[1] // 2)
    learned = {n: tf_variable(v) for n, v in cell.named_weights().items() if f"grad_{n}" in golden}
    assert {id(tf_variable(v)) for v in cell.trainable_variables} == {id(v) for v in learned.values()}
    for name, variable in learned.items():
        variable.assign(LEARNED[name])
    start = tf.constant(golden["pos"]), tf.constant(golden["vel"])
    with tf.GradientTape() as tape:
        tape.watch(start)
        state, states = start, []
        for _ in range(5):
            state = cell(state)
            states.append(tf.concat(state, axis=-1))
        output = tf.stack(states, axis=1)
        loss = tf.reduce_sum(output * golden["cotangent"])
    grad_pos, grad_vel, *grad_learned = tape.gradient(loss, [*start, *learned.values()])
    np.testing.assert_allclose(output, golden["output"], rtol=1e-4, atol=1e-4)
    golden_data.assert_close(grad_pos, golden["grad_pos"])
    golden_data.assert_close(grad_vel, golden["grad_vel"])
    for name, gradient in zip(learned, grad_learned):
        np.testing.assert_allclose(gradient, golden[f"grad_{name}"], rtol=1e-4)


def test_time_steps_and_starting_parameters():
    steps = {"bouncing_ode_cell": 0.3, "spring_ode_cell": 0.3, "gravity_ode_cell": 0.5}
    for name, dt in steps.items():
        cell = CELLS[name](3 if name.startswith("gravity") else 2)
        weights = {n: float(tf_variable(v).numpy()) for n, v in cell.named_weights().items()}
        assert weights.pop("dt_x") == pytest.approx(dt)
        assert set(weights.values()) <= {0.0}


def test_a_spring_at_rest_stays_and_momentum_is_kept():
    cell = SpringODECell(2)
    cell.log_l.assign(np.log(6.0))
    rest = tf.constant([[10.0, 16.0, 22.0, 16.0]]), tf.zeros([1, 4])
    for now, before in zip(cell(rest), rest):
        np.testing.assert_allclose(now, before, atol=1e-5)
    pulled = tf.constant([[8.0, 16.0, 24.0, 15.0]]), tf.constant([[1.0, 0.0, 0.5, 0.25]])
    _, velocities = cell(pulled)
    np.testing.assert_allclose(velocities[:, :2] + velocities[:, 2:], [[1.5, 0.25]], atol=1e-6)
    assert velocities[0, 0] > 1.0 and velocities[0, 2] < 0.5  # longer than 12: drawn together


def test_gravity_is_blind_to_which_body_is_which():
    cell = GravityODECell(3)
    random = np.random.RandomState(0)
    positions, velocities = random.uniform(8, 28, (4, 3, 2)), random.standard_normal((4, 3, 2))

    def after(order):
        state = (tf.constant(x[:, order].reshape(4, 6), tf.float32) for x in (positions, velocities))
        return [x.numpy().reshape(4, 3, 2) for x in cell(tuple(state))]

    for one, other in zip(after([0, 1, 2]), after([2, 0, 1])):
        np.testing.assert_allclose(one[:, [2, 0, 1]], other, atol=1e-5)


def test_a_ball_keeps_its_speed_at_a_wall():
    cell = BouncingODECell(2)
    state = tf.constant([[29.5, 5.0, 2.5, 2.5]]), tf.constant([[8.0, 1.0, -8.0, -4.0]])
    positions, velocities = cell(state)
    # 0.3·8 = 2.4 further, mirrored at 30 and at 2: 29.5 → 31.9 → 28.1; 2.5 → 0.1 → 3.9; 2.5 → 1.3 → 2.7.
    np.testing.assert_allclose(positions, [[28.1, 5.3, 3.9, 2.7]], atol=1e-5)
    np.testing.assert_allclose(velocities, [[-8.0, 1.0, 8.0, 4.0]])


def test_the_lstm_moves_by_its_readout_and_remembers():
    cell = LSTMCell(2, recurrent_units=5, lstm_layers=2)
    state = cell.initial_state(tf.fill([3, 4], 16.0), tf.zeros([3, 4]))
    assert all(not np.any(memory) for memory in tf.nest.flatten(state[2:]))
    after = cell(state)
    np.testing.assert_allclose(after[1], after[0] - state[0], atol=1e-6)
    assert all(np.any(memory) for memory in tf.nest.flatten(after[2:]))
    cell.readout.kernel.assign(tf.zeros([5, 4]))
    cell.readout.bias.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(cell(state)[1], np.tile([1.0, 2.0, 3.0, 4.0], (3, 1)), rtol=1e-6)
