"""TF1's update rules: against TF1's own optimizers, which TensorFlow still carries, and against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nn.optimizers import OPTIMIZERS, clip_elementwise

RATE = 0.05
STEPS = 7
TF1 = {
    "rmsprop": tf.compat.v1.train.RMSPropOptimizer,
    "adam": tf.compat.v1.train.AdamOptimizer,
    "momentum": lambda rate: tf.compat.v1.train.MomentumOptimizer(rate, 0.9),
    "sgd": tf.compat.v1.train.GradientDescentOptimizer,
}
random = np.random.RandomState(0)
START = {"a/kernel": random.standard_normal((3, 4)).astype("f4"), "b": np.float32(0.5)}
GRADIENTS = [
    {name: (scale * random.standard_normal(value.shape)).astype("f4") for name, value in START.items()}
    for scale in (1e-3, 1.0, 0.3, 1e-2, 1.0, 0.0, 0.1)
]


def tf1_run(rule: str) -> list[dict[str, np.ndarray]]:
    """The variables and slots, by name, after each step of TF1's own optimizer."""
    states = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        with tf.compat.v1.variable_scope("", use_resource=True):
            variables = {n: tf.compat.v1.get_variable(n, initializer=value) for n, value in START.items()}
        feeds = {name: tf.compat.v1.placeholder(tf.float32, value.shape) for name, value in START.items()}
        step = TF1[rule](RATE).apply_gradients([(feeds[name], variables[name]) for name in START])
        session.run(tf.compat.v1.global_variables_initializer())
        for gradients in GRADIENTS:
            session.run(step, {feeds[name]: gradients[name] for name in START})
            everything = tf.compat.v1.global_variables()
            states.append({v.op.name: value for v, value in zip(everything, session.run(everything))})
    return states


def our_run(rule: str) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The same of ours; and what slots there are before the first step."""
    variables = {name: tf.Variable(value) for name, value in START.items()}
    optimizer = OPTIMIZERS[rule](variables, RATE)
    slots = {name: v for name, v in optimizer.named_variables().items() if name != "base_lr"}
    before = {name: v.numpy() for name, v in slots.items()}
    states = []
    for gradients in GRADIENTS:
        optimizer.apply([tf.constant(gradients[name]) for name in variables])
        states.append({name: v.numpy() for name, v in {**variables, **slots}.items()})
    return states, before


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_steps_and_slots_equal_tf1s(rule):
    wanted, (found, _) = tf1_run(rule), our_run(rule)
    for step, (ours, theirs) in enumerate(zip(found, wanted)):
        assert set(ours) == set(theirs)
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-6, atol=1e-9, err_msg=f"{step} {name}")


def test_the_tables_keys():
    assert set(OPTIMIZERS) == {"rmsprop", "adam", "momentum", "sgd"}


def test_where_the_slots_start():
    starts = {rule: our_run(rule)[1] for rule in OPTIMIZERS}
    assert all((starts["rmsprop"][f"{name}/RMSProp"] == 1).all() for name in START)
    assert starts["adam"].pop("beta1_power") == np.float32(0.9)
    assert starts["adam"].pop("beta2_power") == np.float32(0.999)
    rest = [starts["rmsprop"][f"{name}/RMSProp_1"] for name in START]
    assert not any(np.any(slot) for slot in [*rest, *starts["adam"].values(), *starts["momentum"].values()])
    assert starts["sgd"] == {}


def test_the_first_rmsprop_step_by_hand():
    variable = tf.Variable([1.0, 1.0])
    OPTIMIZERS["rmsprop"]({"v": variable}, 0.1).apply([tf.constant([0.5, 0.0])])
    np.testing.assert_allclose(variable, [1 - 0.1 * 0.5 / np.sqrt(0.9 + 0.1 * 0.25 + 1e-10), 1.0], rtol=1e-6)


def test_rmsprops_epsilon_stands_under_the_root():
    variable = tf.Variable(0.0)
    optimizer = OPTIMIZERS["rmsprop"]({"v": variable}, 0.1)
    optimizer.slots["v/RMSProp"].assign(0.0)
    optimizer.apply([tf.constant(1e-6)])
    np.testing.assert_allclose(variable, -0.1 * 1e-6 / np.sqrt(0.1 * 1e-12 + 1e-10), rtol=1e-5)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_variable_without_a_gradient_stays(rule):
    variables = {name: tf.Variable(value) for name, value in START.items()}
    optimizer = OPTIMIZERS[rule](variables, RATE)
    optimizer.apply([None, tf.constant(0.7)])
    np.testing.assert_array_equal(variables["a/kernel"], START["a/kernel"])
    assert variables["b"].numpy() != START["b"]
    starts = dict(zip(optimizer.slot_names, optimizer.slot_starts))
    for slot, start in starts.items():
        assert (optimizer.slots[f"a/kernel/{slot}"].numpy() == start).all()


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_the_rate_can_change_without_a_new_trace(rule):
    variable = tf.Variable(1.0)
    optimizer = OPTIMIZERS[rule]({"v": variable}, RATE)
    step = tf.function(lambda gradient: optimizer.apply([gradient]))
    moves = []
    for rate in (RATE, 0.0, 10 * RATE):
        optimizer.rate.assign(rate)
        before = variable.numpy()
        step(tf.constant(1.0))
        moves.append(before - variable.numpy())
    assert moves[0] > 0 and moves[1] == 0 and moves[2] > 5 * moves[0]
    assert step.experimental_get_tracing_count() == 1


def test_clipping_is_element_by_element():
    clipped, none = clip_elementwise([tf.constant([-3.0, -0.5, 0.5, 7.0]), None])
    np.testing.assert_array_equal(clipped, [-1.0, -0.5, 0.5, 1.0])
    assert none is None


def test_the_rate_cannot_be_replaced_by_another_object():
    """A traced step would go on with the old one."""
    optimizer = OPTIMIZERS["sgd"]({"w": tf.Variable(1.0)}, RATE)
    with pytest.raises(AttributeError):
        optimizer.rate = 0.1
