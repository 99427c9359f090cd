"""Position error, SSIM and calibrated parameters."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import metrics

from physics_models.evaluation import calibrate, frame_errors, length_scale, match_objects, position_error, ssim

random = np.random.RandomState(0)


def test_position_error_is_blind_to_order_and_offset_only():
    true = random.rand(4, 6, 3, 2) * 30
    offset = random.rand(3, 2)
    network = (true + offset)[:, :, [2, 0, 1]]
    match = match_objects(network, true)
    assert position_error(network, true).rms < 1e-12
    assert match.order == (1, 2, 0)  # object 0 of the truth is object 1 of the network
    np.testing.assert_allclose(match.offset, offset)
    network[..., 0] += 3.0
    assert position_error(network, true).rms < 1e-12
    assert position_error(network, true, match).rms == pytest.approx(3.0)


def test_position_error_in_pixels():
    true = random.rand(50, 8, 2, 2) * 30
    moved = true.copy()
    moved[::2, :, :, 0] += 2.0  # ±1 pixel about the mean offset of one
    found = position_error(moved, true)
    assert found.rms == pytest.approx(1.0)
    np.testing.assert_allclose(found.per_step, np.ones(8))


def test_position_error_rejects_unequal_shapes():
    with pytest.raises(ValueError, match="differ in shape"):
        position_error(np.zeros([1, 2, 2, 2]), np.zeros([1, 3, 2, 2]))


def test_length_scale():
    true = random.rand(20, 5, 2, 2) * 30
    assert length_scale(true * 32 / 31 + [1.0, -2.0], true) == pytest.approx(32 / 31)


@pytest.mark.parametrize("shape", [(32, 32, 3), (36, 40, 1)])
def test_ssim_equals_scikit_image(shape):
    a, b = random.rand(2, *shape)
    b = 0.7 * a + 0.3 * b
    witness, full = metrics.structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim(a, b) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-12)
    assert ssim(a, b) == pytest.approx(witness, abs=1e-12)


def test_ssim_of_equal_and_of_small_frames():
    a = random.rand(2, 3, 16, 16, 3)
    np.testing.assert_allclose(ssim(a, a), np.ones([2, 3]))
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a[..., :8, :, :], a[..., :8, :, :])


def test_frame_errors_per_step():
    true = np.zeros([2, 3, 16, 16, 3])
    predicted = true.copy()
    predicted[:, 1] = 0.5
    errors = frame_errors(predicted, true)
    np.testing.assert_allclose(errors.mse, [0.0, 0.25, 0.0])
    np.testing.assert_allclose(errors.squared_error, [0.0, 0.25 * 16 * 16 * 3, 0.0])
    assert errors.ssim[0] == errors.ssim[2] == 1.0 > errors.ssim[1]


def test_calibrate_takes_the_grids_stretch_off():
    stretched = {"k": 4.0, "l": 6 * 32 / 31, "g": 60 * (32 / 31) ** 3, "m": 1.0}
    assert calibrate(stretched, 32) == pytest.approx({"k": 4.0, "l": 6.0, "g": 60.0, "m": 1.0})
