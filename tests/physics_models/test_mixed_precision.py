"""`--mixed_precision`: the U-Net's convolutions in bfloat16, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task

TASKS = ("spring_color", pytest.param("mnist_spring_color", marks=pytest.mark.slow))  # one of each U-Net


def first_losses(**options) -> tuple[PhysicsNet, np.ndarray]:
    """The losses of three training steps, and what one evaluation gives after them."""
    task = replace(get_task("spring_color"), img_size=16)
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(task, autoencoder_loss=3.0, **options)
    net.build_optimizer(3e-4)
    net.cell.log_k.assign(-3.0)  # a weak spring: untrained, the objects start at one point, and amplify rounding
    frames = tf.random.stateless_uniform([2, 12, task.img_size, task.img_size, 3], [0, 1])
    losses = []
    for _ in range(3):  # without a graph: to make one takes longer than three small steps
        loss, gradients = net.loss_and_gradients(frames)
        net.update(gradients)
        losses.append(float(loss))
    evaluated = net.compute_losses(frames, net(frames))
    return net, np.array([*losses, *(float(loss) for loss in evaluated.values())])


def test_losses_are_those_of_the_plain_step():
    _, plain = first_losses()
    net, found = first_losses(mixed_precision=True)
    np.testing.assert_allclose(found, plain, rtol=1e-3)
    assert found[2] < found[0]  # it learns
    assert int(net.skipped_steps) == 0


@pytest.mark.parametrize("task_name", TASKS)
def test_mixed_precision_is_in_the_convolutions_alone(task_name):
    task = get_task(task_name)
    net = PhysicsNet(task, mixed_precision=True)
    assert {v.dtype for v in net.variables_by_name().values()} == {tf.float32}
    shape = [2, task.train_len, task.img_size, task.img_size, 3]
    step = tf.function(net.loss_and_gradients, autograph=False).get_concrete_function(tf.TensorSpec(shape))
    convolutions = [op for op in step.graph.get_operations() if op.type.startswith("Conv2D")]
    kinds = [op.outputs[0].dtype for op in convolutions if op.type == "Conv2D"]
    assert kinds == [tf.bfloat16] * (len(kinds) - 1) + [tf.float32]
    products = [op for op in step.graph.get_operations() if "MatMul" in op.type]
    assert {op.outputs[0].dtype for op in products} == {tf.float32}
    loss, gradients = step.structured_outputs
    assert {loss.dtype, *(g.dtype for g in gradients if g is not None)} == {tf.float32}
