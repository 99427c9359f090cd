"""The paper's black-box baseline: an LSTM in place of the physics, on the same encoder and decoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf

from physics_models.physics_net import PhysicsNet
from physics_models.staged import ANNEAL_AT, ANNEAL_BY, Stage, encode_all, position_step


def lstm_baseline(net: PhysicsNet, frames: np.ndarray, stage: Stage, seed: int = 0) -> PhysicsNet:
    """A network with LSTM dynamics that sees and draws as the trained `net` does.

    Its dynamics and velocity net are fitted, as in the stage `positions`, to what `net` encodes from uint8 `frames`
    [S, ≥ L + P, H, H, C]; encoder and decoder are copied and stay.
    """
    tf.keras.utils.set_random_seed(seed)
    black_box = PhysicsNet(
        replace(net.task, cell_type="lstm"),
        color=net.channels == 3,
        autoencoder_loss=net.autoencoder_loss,
        calibrated_coords=net.decoder.calibrated,
    )
    learned = net.variables_by_name()
    for name, variable in black_box.variables_by_name().items():
        if name.split("/")[1] in ("encoder", "decoder"):
            variable.assign(learned[name])
    black_box.build_optimizer(stage.rate)
    encoded = encode_all(net, frames[:, : net.task.input_steps + net.task.pred_steps])
    train, random = position_step(black_box), np.random.RandomState(seed)
    for step in range(stage.steps):
        if step == int(ANNEAL_AT * stage.steps):
            black_box.optimizer.rate.assign(stage.rate / ANNEAL_BY)
        train(tf.constant(encoded[random.randint(0, len(encoded), stage.batch)]))
    return black_box
