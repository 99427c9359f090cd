"""Positions that the decoder refines: those at which it drew the frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from physics_models.physics_net import PhysicsNet
from physics_models.refine import refine_positions
from physics_models.tasks import TASKS


@pytest.mark.parametrize("n_objs", [1, 2])
def test_the_places_where_the_decoder_drew_the_frames_are_found_again(n_objs):
    tf.keras.utils.set_random_seed(0)
    task = replace(TASKS["bouncing_balls"], n_objs=n_objs)
    net = PhysicsNet(task, calibrated_coords=True)
    net.build(net.frame_shape)
    random = np.random.RandomState(0)
    corners = np.array([9.0, 10.0, 23.0, 22.0])[: 2 * n_objs]  # apart from each other
    true = np.float32(corners + random.uniform(-2, 2, (5, 2 * n_objs)))
    frames = np.uint8(np.round(255 * net.decoder(tf.constant(true)).numpy()))
    begun = true + random.choice([-0.5, 0.5], true.shape)
    np.testing.assert_allclose(refine_positions(net, frames, begun), true, atol=0.05)
