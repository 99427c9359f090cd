"""Position error, SSIM, calibrated parameters, and a whole run measured."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import metrics

from data_gen.iterators import load_frames
from data_gen.recipes import RECIPES
from physics_models import checkpoints
from physics_models.experiment import write_marker
from physics_models.physics_net import PhysicsNet, Rollout
from physics_models.staged import Stage
from physics_models.tasks import TASKS
from runners.reproduce import measure
from runners.reproduce.measure import calibrate, frame_errors, length_scale, match_objects, squared_errors

random = np.random.RandomState(0)


def test_position_error_is_blind_to_order_and_offset_only():
    true = random.rand(4, 6, 3, 2) * 30
    offset = random.rand(3, 2)
    network = (true + offset)[:, :, [2, 0, 1]]
    match = match_objects(network, true)
    assert squared_errors(network, true, match).max() < 1e-24
    assert match.order == (1, 2, 0)  # object 0 of the truth is object 1 of the network
    np.testing.assert_allclose(match.offset, offset)
    network[..., 0] += 3.0
    assert squared_errors(network, true, match_objects(network, true)).max() < 1e-24
    np.testing.assert_allclose(squared_errors(network, true, match), np.full(6, 9.0))


def test_objects_of_one_look_are_named_anew_in_each_sequence():
    true = random.rand(6, 8, 3, 2) * 30
    encoded = true[:, :5] + [1.0, -2.0]
    encoded[::2] = encoded[::2][:, :, [2, 0, 1]]
    named = measure.name_by_sequence(true, encoded)
    np.testing.assert_allclose(named[:, :5] + [1.0, -2.0], encoded)
    np.testing.assert_array_equal(named[1::2], true[1::2])
    assert named.shape == true.shape and not np.array_equal(named[0], true[0])


def test_position_error_in_pixels():
    true = random.rand(50, 8, 2, 2) * 30
    moved = true.copy()
    moved[::2, :, :, 0] += 2.0  # ±1 pixel about the mean offset of one
    moved[:, 3:] += np.where(np.arange(50) % 4 < 2, 3.0, -3.0)[:, None, None, None] * [0.0, 1.0]  # ±3, across
    found = squared_errors(moved, true, match_objects(moved, true))
    np.testing.assert_allclose(found, [1, 1, 1, 10, 10, 10, 10, 10], rtol=1e-2)


def test_length_scale():
    true = random.rand(20, 5, 2, 2) * 30
    assert length_scale(true * 32 / 31 + [1.0, -2.0], true) == pytest.approx(32 / 31)


def witness(predicted, true):
    """SSIM at each step by scikit-image, with the window, the constants and the covariances of Wang et al. 2004."""
    settings = {
        "data_range": 1.0, "channel_axis": -1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False,
    }  # fmt: skip
    pairs = zip(np.float64(predicted), np.float64(true))
    values = [[metrics.structural_similarity(a, b, **settings) for a, b in zip(*pair)] for pair in pairs]
    return np.mean(values, axis=0)


def test_ssim_equals_scikit_image(small_data):
    frames = load_frames(small_data / RECIPES["spring_color"].test_file, ("test",))["test"] / np.float32(255)
    later = frames[:, 1:5]
    assert 0.5 < min(frame_errors(later, frames[:, :4])["ssim"]) < 0.99
    np.testing.assert_allclose(frame_errors(later, frames[:, :4])["ssim"], witness(later, frames[:, :4]), atol=1e-5)
    noise, grey = (np.float32(random.rand(2, 3, 36, 40, 1)) for _ in range(2))
    for part in (0.02, 0.3):
        mixed = (1 - part) * grey + part * noise
        np.testing.assert_allclose(frame_errors(mixed, grey)["ssim"], witness(mixed, grey), atol=1e-5)


def test_frame_errors_per_step():
    true = np.zeros([2, 3, 16, 16, 3], np.float32)
    predicted = true.copy()
    predicted[:, 1] = 0.5
    errors = frame_errors(predicted, true)
    np.testing.assert_allclose(errors["mse"], [0.0, 0.25, 0.0])
    assert errors["ssim"][0] == errors["ssim"][2] == 1.0 > errors["ssim"][1]


def test_calibrate_removes_the_stretch_of_the_grid():
    stretched = {"k": 4.0, "l": 6 * 32 / 31, "g": 60 * (32 / 31) ** 3, "m": 1.0}
    assert calibrate(stretched, 32) == pytest.approx({"k": 4.0, "l": 6.0, "g": 60.0, "m": 1.0})


def test_time_without_pauses(tmp_path):
    lines = [
        "2026-01-01 10:00:00,000 - tf - stage - autoencoder: begins at step 0, seed 0",
        "2026-01-01 10:02:00,500 - tf - stage - autoencoder iter=20 loss=1",
        "--task=spring_color",
        "2026-01-01 15:00:00,000 - tf - stage - positions: begins at step 0, seed 1",
        "2026-01-01 15:01:00,000 - tf - stage - positions: done",
    ]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    entry = measure.describe_run("spring_color", 4, tmp_path)
    assert (entry["wall_s"], entry["found"], entry["seed"]) == (180.5, False, 4)


def test_slow_steps_are_no_pauses(tmp_path):
    """A line every 13 minutes, and a night."""
    lines = [f"2026-01-01 {10 + 13 * n // 60}:{13 * n % 60:02}:00,000 - tf - train - iter={n}" for n in range(9)]
    (tmp_path / "log.txt").write_text("\n".join([*lines, "2026-01-02 10:00:00,000 - tf - device: CPU"]))
    assert measure.describe_run("mnist_spring_color", 0, tmp_path)["wall_s"] == 8 * 13 * 60


def test_a_run_is_measured_with_baseline_and_pictures(tmp_path, small_data, without_graphs):
    folder = tmp_path / "spring_color" / "seed0"
    folder.mkdir(parents=True)
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(TASKS["spring_color"])
    checkpoints.save(folder, net.variables_by_name(), {"iteration": 0})
    write_marker(folder, {}, net.get_config())
    recipe = RECIPES["spring_color"]
    files = measure.DataFiles(small_data / recipe.train_file, small_data / recipe.test_file, recipe.physics)
    result = measure.measure_run("spring_color", 0, folder, files, Stage(2, 4, 1e-3))
    assert result["true"] == {"k": 4.0, "l": 6.0} and result["parameters"] == pytest.approx({"k": 1.0, "l": 1.0})
    assert result["calibrated"]["l"] == pytest.approx(31 / 32)
    assert len(result["ssim"]) == len(result["lstm"]["ssim"]) == len(result["position_error"]["per_step"]) == 26
    # The baseline has the same encoder and decoder.
    assert result["losses"]["recons_loss"] == pytest.approx(result["lstm"]["losses"]["recons_loss"])
    assert result["losses"]["pred_loss"] != result["lstm"]["losses"]["pred_loss"]
    # A loss is the squared error of a frame: its mse times its 32·32·3 numbers.
    for network in (result, result["lstm"]):
        assert network["losses"]["pred_loss"] == pytest.approx(np.mean(network["mse"][:6]) * 3072, rel=1e-4)
        assert network["losses"]["extrap_loss"] == pytest.approx(np.mean(network["mse"][6:]) * 3072, rel=1e-4)
    sizes = {path.name: Image.open(path).size for path in folder.parent.glob("*.png")}
    assert sizes == {
        "seed0_appearances.png": (3 * 18 * 6, 2 * 18 * 6), "seed0_future.png": (12 * 34 * 3, 3 * 34 * 3),
        "seed0_positions.png": (450, 270), "seed0_ssim.png": (450, 270),
    }  # fmt: skip


def test_the_baseline_of_objects_that_look_the_same_keeps_their_names_too(monkeypatch):
    net = PhysicsNet(TASKS["spring_color"], track_objects=True)
    net.build(net.frame_shape)
    monkeypatch.setattr(measure, "train_on_positions", lambda *arguments: ())
    frames = np.zeros([1, 10, 32, 32, 3], np.uint8)
    assert measure.lstm_baseline(net, frames, Stage(1, 1, 1e-3)).track_objects


class Stub:
    """A network that sees an object where the frame says."""

    task = TASKS["spring_color"]

    def to_float(self, frames):
        return tf.cast(frames, tf.float32)

    def eval_step(self, frames):
        positions = frames[..., 0, 0, :] * [1.0, 2.0, 3.0, 4.0]  # [B, T, 4]
        losses = dict.fromkeys(measure.LOSSES, tf.reduce_mean(frames))
        states = tf.concat([positions[:, 3:], positions[:, 3:]], axis=-1)
        return losses, Rollout(positions[:, :10], None, None, states, None, frames[:, 4:])

    positions = PhysicsNet.positions


def test_sequences_of_the_last_small_batch_count_by_their_number(monkeypatch):
    monkeypatch.setattr(measure, "BATCH", 2)
    frames = np.broadcast_to(np.uint8([1, 2, 6]).reshape(3, 1, 1, 1, 1), [3, 12, 11, 11, 1])
    outputs = measure.evaluate(Stub(), frames)
    assert outputs.accuracy["losses"] == pytest.approx(dict.fromkeys(measure.LOSSES, 3.0))
    assert outputs.encoded.shape == (3, 10, 2, 2) and outputs.predicted.shape == (3, 8, 2, 2)
    np.testing.assert_array_equal(outputs.encoded[2, 0], [[6, 12], [18, 24]])
    np.testing.assert_array_equal(outputs.predicted[1, 7], [[2, 4], [6, 8]])
    assert outputs.accuracy["ssim"] == pytest.approx([1.0] * 8) and outputs.accuracy["mse"] == [0.0] * 8
