"""What watches a training: Keras's callbacks, and TensorBoard's summaries."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import STEPS

from physics_models.summaries import Summaries


class Notes(tf.keras.callbacks.Callback):
    """Notes every call that a training makes."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        assert set(logs) == {"loss"} and np.isfinite(float(logs["loss"]))
        self.calls.append(batch)

    def on_test_end(self, logs=None):
        assert {name for name in logs if name.endswith("_loss")} == {
            "eval_pred_loss", "eval_extrap_loss", "eval_recons_loss"
        }  # fmt: skip
        self.calls.append(logs["split"])

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_callbacks_are_called_in_order(net, data, tmp_path):
    notes = Notes()
    net.callbacks = [notes]
    net.train(data, tmp_path, epochs=2, batch_size=4)
    first, second = range(STEPS), range(STEPS, 2 * STEPS)
    assert notes.calls == ["valid", "begin", *first, "valid", *second, "valid", "test", "end"]


def test_the_scalars_page_of_tensorboard_lists_the_summaries(net, data, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import plugin_event_accumulator

    net.callbacks = [Summaries(net, tmp_path, print_interval=2)]
    net.train(data, tmp_path, epochs=2, batch_size=4, print_interval=100)
    (file,) = (tmp_path / "tb").iterdir()
    events = plugin_event_accumulator.EventAccumulator(str(file)).Reload()
    losses = {f"{split}/eval_{kind}_loss" for split in ("valid", "test") for kind in ("pred", "extrap", "recons")}
    found = set(events.PluginTagToContent("scalars"))
    assert found == losses | {"train/loss", "train/rate", "parameters/sigma"}
    assert [event.step for event in events.Tensors("train/loss")] == [0, 2, 4]
    assert [event.step for event in events.Tensors("valid/eval_pred_loss")] == [0, STEPS, 2 * STEPS]
    rates = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("train/rate")]
    assert rates == pytest.approx([2e-4] * 3)  # of two epochs, both are from int(0.75 * 2) = 1 on
