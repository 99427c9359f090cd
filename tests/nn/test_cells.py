"""The physics engine against the original's numbers, and against physics that is known in closed form."""

from __future__ import annotations

import functools

import golden_data
import numpy as np
import pytest
import tensorflow as tf

from nn.cells import (
    CELLS,
    BouncingODECell,
    GravityODECell,
    InteractionNetworkCell,
    LSTMCell,
    SpringODECell,
    spring_acceleration,
)
from physics_models.base import tf_variable


def built(cell_class: type, n_objs: int = 2, **settings: int) -> tf.keras.layers.Layer:
    """A cell with its variables."""
    cell = cell_class(n_objs, **settings)
    cell.build(((None, 2 * n_objs), (None, 2 * n_objs)))
    return cell


LEARNED = {"log_k": 0.7, "log_l": 1.5, "log_g": 3.5}  # the golden values' parameters
GOLDEN = ("bouncing_ode_cell", "spring_ode_cell", "gravity_ode_cell")


@pytest.mark.parametrize("case", GOLDEN)
def test_cell_equals_the_original(case):
    """Five calls in a row. Close encounters throw bodies far: each value is compared relatively to its own size."""
    golden = golden_data.blocks_file()[case]
    cell = built(CELLS[case], golden["pos"].shape[1] // 2)
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
        cell = built(CELLS[name], 3 if name.startswith("gravity") else 2)
        weights = {n: float(tf_variable(v).numpy()) for n, v in cell.named_weights().items()}
        assert weights.pop("dt_x") == pytest.approx(dt)
        assert set(weights.values()) <= {0.0}


def test_a_spring_at_rest_stays_and_momentum_is_kept():
    cell = built(SpringODECell)
    cell.log_l.assign(np.log(6.0))
    rest = tf.constant([[10.0, 16.0, 22.0, 16.0]]), tf.zeros([1, 4])
    for now, before in zip(cell(rest), rest):
        np.testing.assert_allclose(now, before, atol=1e-5)
    pulled = tf.constant([[8.0, 16.0, 24.0, 15.0]]), tf.constant([[1.0, 0.0, 0.5, 0.25]])
    _, velocities = cell(pulled)
    np.testing.assert_allclose(velocities[:, :2] + velocities[:, 2:], [[1.5, 0.25]], atol=1e-6)
    assert velocities[0, 0] > 1.0 and velocities[0, 2] < 0.5  # longer than 12: drawn together


# Two objects at one point, together and with different velocities; 1e-7, 1e-6, 1e-5, 1e-3 and 3 pixels apart.
CLOSE = np.float32([[0, 0, 0, 0], [0, 0, 0, 0], [1e-7, 0, 0, 0], [0, 0, 0, 1e-6], [6e-6, 8e-6, 0, 0], [1e-3, 0, 0, 0],
                    [0, 0, 3, 0]])  # fmt: skip
CLOSE_VELOCITIES = np.float32([[1, 2, 1, 2], [1, 2, 1.5, 2], *[[1, 2, 1, 2]] * 5])


@functools.cache
def gradients_of_rollout() -> tf.types.experimental.GenericFunction:
    """Gradients of all positions on a rollout of so many calls, to its start and to what is learned.

    The positions are weighed differently: what moves both objects alike is not what grows with 1/(r + 1e-4).
    """
    cell, start = built(SpringODECell), (tf.constant(CLOSE), tf.constant(CLOSE_VELOCITIES))

    @tf.function(autograph=False)
    def gradients(calls):
        with tf.GradientTape() as tape:
            tape.watch(start)
            states = tf.scan(lambda state, _: cell(state), tf.range(calls), initializer=start)
            loss = tf.reduce_sum(states[0] * [1.0, 2.0, -3.0, 4.0])
        return tape.gradient(loss, [*start, *map(tf_variable, cell.trainable_variables)])

    return gradients


@pytest.mark.parametrize("calls", [1, 4, 26, 100])
def test_objects_at_one_point_have_finite_gradients(calls):
    """The original's are NaN from the first call on. Without the gradient stopped at one point they grow, 1.3e11 after
    one call, and overflow in the fourth; now the largest, after 100 calls from 1e-7 pixels apart, is 2.8e9.
    """
    gradients = gradients_of_rollout()(tf.constant(calls))
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() < 1e10  # far from an overflow
    assert all(np.any(gradient) for gradient in gradients[2:])


def test_objects_close_to_each_other_move_as_in_the_original():
    """Its lines, in NumPy; the mended gradient leaves the values as they are."""
    positions, velocities = np.split(CLOSE, 2, axis=1), np.split(CLOSE_VELOCITIES, 2, axis=1)
    h = np.float32(0.3) / np.float32(5)
    for _ in range(5):
        norm = np.sqrt(np.sum(np.square(positions[0] - positions[1]), axis=-1, keepdims=True))
        force = (norm - np.float32(2)) * (positions[0] - positions[1]) / (norm + np.float32(1e-4))
        velocities = [velocities[0] - h * force, velocities[1] + h * force]
        positions = [xy + h * v for xy, v in zip(positions, velocities)]
    found = built(SpringODECell)((tf.constant(CLOSE), tf.constant(CLOSE_VELOCITIES)))
    np.testing.assert_allclose(found[0], np.concatenate(positions, axis=1), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found[1], np.concatenate(velocities, axis=1), rtol=1e-4)
    apart = np.linalg.norm(found[0][:, :2] - found[0][:, 2:], axis=1)
    assert apart[0] == 0.0 and (np.diff(apart[2:]) > 0).all()  # the nearer, the later they part


def test_gravity_is_blind_to_which_body_is_which():
    cell = built(GravityODECell, 3)
    random = np.random.RandomState(0)
    positions, velocities = random.uniform(8, 28, (4, 3, 2)), random.standard_normal((4, 3, 2))

    def after(order):
        state = (tf.constant(x[:, order].reshape(4, 6), tf.float32) for x in (positions, velocities))
        return [x.numpy().reshape(4, 3, 2) for x in cell(tuple(state))]

    for one, other in zip(after([0, 1, 2]), after([2, 0, 1])):
        np.testing.assert_allclose(one[:, [2, 0, 1]], other, atol=1e-5)


def test_the_walls_are_the_originals_for_every_position():
    """Positions from −100 to 100, speeds up to 400: by the original's own cell, five sub-steps.

    From far outside a ball is mirrored at the upper wall and then, in the same sub-step, at the lower one.
    """
    golden = golden_data.load("bouncing_grid")
    positions, velocities = built(BouncingODECell)((tf.constant(golden["pos"]), tf.constant(golden["vel"])))
    assert golden["pos"].min() <= -100 and golden["pos"].max() >= 100
    np.testing.assert_allclose(positions, golden["pos_after"], atol=1e-4)
    np.testing.assert_array_equal(velocities, golden["vel_after"])


def test_walls_stand_at_the_frames_edges():
    cell = built(BouncingODECell, img_size=64)
    positions, velocities = cell((tf.constant([[29.5, 5.0, 61.5, 2.5]]), tf.constant([[8.0, 1.0, 8.0, -8.0]])))
    np.testing.assert_allclose(positions, [[31.9, 5.3, 60.1, 3.9]], atol=1e-5)
    np.testing.assert_allclose(velocities, [[8.0, 1.0, -8.0, 8.0]])


def test_a_ball_keeps_its_speed_at_a_wall():
    cell = built(BouncingODECell)
    state = tf.constant([[29.5, 5.0, 2.5, 2.5]]), tf.constant([[8.0, 1.0, -8.0, -4.0]])
    positions, velocities = cell(state)
    # 0.3·8 = 2.4 further, mirrored at 30 and at 2: 29.5 → 31.9 → 28.1; 2.5 → 0.1 → 3.9; 2.5 → 1.3 → 2.7.
    np.testing.assert_allclose(positions, [[28.1, 5.3, 3.9, 2.7]], atol=1e-5)
    np.testing.assert_allclose(velocities, [[-8.0, 1.0, 8.0, 4.0]])


def test_the_lstm_moves_by_its_readout_and_remembers():
    cell = built(LSTMCell, recurrent_units=5, lstm_layers=2)
    state = cell.initial_state(tf.fill([3, 4], 16.0), tf.zeros([3, 4]))
    assert all(not np.any(memory) for memory in tf.nest.flatten(state[2:]))
    after = cell(state)
    np.testing.assert_allclose(after[1], after[0] - state[0], atol=1e-6)
    assert all(np.any(memory) for memory in tf.nest.flatten(after[2:]))
    cell.readout.kernel.assign(tf.zeros([5, 4]))
    cell.readout.bias.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(cell(state)[1], np.tile([1.0, 2.0, 3.0, 4.0], (3, 1)), rtol=1e-6)


def test_objects_just_apart_keep_the_originals_gradient():
    """1.5e-6 pixels apart their direction turns with a sideways move: by (r − 2l) / (r + 1e-4) per pixel and r."""
    apart = 1.5e-6
    positions = tf.constant([[[10.0, 10.0], [10.0, 10.0]]], tf.float64) + [[[apart, 0.0], [0.0, 0.0]]]
    with tf.GradientTape() as tape:
        tape.watch(positions)
        sideways = spring_acceleration(positions, tf.constant(1.0, tf.float64), tf.constant(1.0, tf.float64))[0, 0, 1]
    found = tape.gradient(sideways, positions)[0, 0, 1]
    np.testing.assert_allclose(found, -(apart - 2.0) / (apart + 1e-4), rtol=1e-4)


# The interaction network


def pair_by_pair(cell, positions, velocities):
    """The interaction network as its paper writes it, in NumPy: a loop over receivers, and over senders."""

    def through(net, x):
        for i, layer in enumerate(net):
            x = x @ layer.kernel.numpy() + layer.bias.numpy()
            x = np.maximum(x, 0.0) if i < len(net) - 1 else x
        return x

    half = cell.img_size / 2
    states = np.concatenate([positions / half - 1.0, velocities / half], axis=-1)  # [N, 4]
    after = velocities.copy()
    for i in range(cell.n_objs):
        effect = np.zeros(50)
        for j in set(range(cell.n_objs)) - {i}:
            effect += through(cell.relation_net, np.concatenate([states[i], states[j]]))
        after[i] += through(cell.object_net, np.concatenate([states[i], effect]))
    return positions + after, after


@pytest.mark.parametrize("n_objs", [2, 3])
def test_the_interaction_network_sums_the_effects_of_every_other_object(n_objs):
    tf.keras.utils.set_random_seed(0)
    cell = built(InteractionNetworkCell, n_objs, img_size=20)
    for layer in (*cell.relation_net, *cell.object_net):  # biases start at zero
        layer.bias.assign(tf.random.normal(layer.bias.shape))
    random = np.random.RandomState(0)
    positions, velocities = random.rand(5, n_objs, 2) * 20, random.randn(5, n_objs, 2) * 5
    found = cell(tuple(tf.constant(x.reshape(5, -1), tf.float32) for x in (positions, velocities)))
    for wanted, one in zip(zip(*map(pair_by_pair, [cell] * 5, positions, velocities)), found):
        np.testing.assert_allclose(one, np.reshape(wanted, [5, -1]), rtol=1e-3, atol=1e-3)
    assert cell.parameters() == {} and cell.named_weights()["dt_x"] is cell.dt_x


def test_an_interaction_network_that_says_nothing_leaves_objects_on_straight_lines():
    cell = built(InteractionNetworkCell)
    cell.object_net[-1].kernel.assign(tf.zeros([100, 2]))
    positions, velocities = tf.constant([[1.0, 2.0, 3.0, 4.0]]), tf.constant([[0.5, -1.0, 0.0, 2.0]])
    moved, after = cell(cell.initial_state(positions, velocities))
    np.testing.assert_array_equal(after, velocities)
    np.testing.assert_array_equal(moved, positions + velocities)
