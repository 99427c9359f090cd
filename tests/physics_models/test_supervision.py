"""Supervision by motion: its loss on perfect and wrong masks and positions, and the verdict on what was found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from made_videos import SIDE, made_video, to_float

from physics_models import discovery, motion, supervision
from physics_models.discovery import Discovery
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS


def test_the_supervision_is_whole_in_the_first_half_and_gone_from_seventy_percent_on():
    assert [supervision.fade(done) for done in (0.0, 0.5, 0.7, 1.0)] == [1.0, 1.0, 0.0, 0.0]
    assert supervision.fade(0.6) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def two_objects():
    """A video of a bar and a disc: its discovery, some frames, and perfect masks and positions for them."""
    frames, _ = made_video(["bar", "disc"])
    found = discovery.discover(frames, 2, to_float)
    clear = np.argwhere(np.isfinite(found.centres).all((2, 3)))[:6]
    some = to_float(frames[clear[:, 0], clear[:, 1]])
    centres = found.centres[clear[:, 0], clear[:, 1]]
    middles = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1) + 0.5
    nearest = np.square(middles - centres[:, :, None, None]).sum(-1).argmin(1)
    masks = np.eye(3, dtype=np.float32)[np.where(some[..., 0] > found.scene.moving_above, nearest, 2)]
    return found, some, masks, centres


def certain(found: Discovery, **changes) -> Discovery:
    """`found`, with all frames clear."""
    return found._replace(every={found.n_objs: found.kinds._replace(share=1.0, **changes)})


def loss_of(two_objects, masks=None, positions=None, found=None):
    found_, some, perfect, centres = two_objects
    masks = perfect if masks is None else masks
    positions = centres if positions is None else positions
    return float(
        supervision.motion_loss(
            tf.constant(some), tf.constant(masks), tf.constant(positions.reshape(len(some), -1)),
            tf.constant(centres), certain(found or found_),
        )
    )  # fmt: skip


def test_the_loss_is_zero_for_perfect_masks_and_positions_and_punishes_each_fault(two_objects):
    _, _, masks, centres = two_objects
    assert loss_of(two_objects) == pytest.approx(0.0, abs=1e-4)
    assert loss_of(two_objects, positions=centres + np.float32(2)) == pytest.approx(0.3 * 16, rel=1e-3)  # 2 · 2 · 2²
    even = np.full_like(masks, 1 / 3)
    assert loss_of(two_objects, masks=even) == pytest.approx((5.0 + 1.0) * np.log(3), rel=1e-3)
    assert loss_of(two_objects, masks=masks[..., [1, 0, 2]]) > 20.0  # names exchanged
    assert loss_of(two_objects, masks=np.eye(3, dtype=np.float32)[np.full(masks.shape[:3], 2)]) > 20.0  # all background


@pytest.mark.parametrize("side, weight", [(2, 16.0), (4, 1.0), (6, 1.0)])
def test_of_a_small_object_the_still_pixels_weigh_more(side, weight):
    """Masks that are half open everywhere; the object is a square."""
    frames = np.zeros([1, SIDE, SIDE, 1], np.float32)
    frames[:, 6 : 6 + side, 6 : 6 + side] = 1.0
    centres = np.full([1, 1, 2], 6 + side / 2, np.float32)
    scene = motion.Scene(np.zeros([SIDE, SIDE, 1], np.float32), 1.0, 0.25, 0.1, 0.0)
    found = Discovery(scene, {1: motion.Kinds(np.ones([1, 1]), 1.0, 1.0, np.inf, 0.0)}, centres[None], 1)
    masks, positions = np.full([1, SIDE, SIDE, 2], 0.5, np.float32), tf.constant(centres[:, 0])
    loss = supervision.motion_loss(tf.constant(frames), tf.constant(masks), positions, tf.constant(centres), found)
    assert float(loss) == pytest.approx((5.0 + weight) * np.log(2), rel=1e-3)


def test_where_objects_look_the_same_each_frame_has_its_best_naming(two_objects):
    found, _, masks, centres = two_objects
    same = certain(found, ratio=1.2, ambiguous=0.15)
    swapped, places = masks.copy(), centres.copy()
    swapped[::2], places[::2] = masks[::2][..., [1, 0, 2]], centres[::2][:, ::-1]
    assert loss_of(two_objects, swapped, places) > 10.0
    assert loss_of(two_objects, swapped, places, same) == pytest.approx(0.0, abs=1e-4)
    assert loss_of(two_objects, swapped, centres, same) > 10.0  # masks and positions must agree


def test_frames_that_are_not_clear_teach_the_background_alone(two_objects):
    found, some, masks, centres = two_objects
    unknown = tf.fill(centres.shape, np.float32(np.nan))
    wrong = tf.Variable(masks[..., [1, 0, 2]])
    with tf.GradientTape() as tape:
        loss = supervision.motion_loss(tf.constant(some), wrong, tf.zeros([len(some), 4]), unknown, found)
    assert float(loss) == pytest.approx(0.0, abs=1e-4)
    assert np.isfinite(tape.gradient(loss, wrong)).all()


# The outcome


def two_squares(net: PhysicsNet, brightness: float = 1.0) -> tuple[np.ndarray, np.ndarray, Discovery]:
    """Positions [2, 4], frames of a blue and a green square at them, and what a discovery of them would be.

    The decoder of `net` is made to draw these. The green square has the given `brightness`.
    """
    net.variables_by_name()
    blob = np.full([2, 16, 16, 1], -20.0, np.float32)
    blob[:, 7:9, 7:9] = 20.0  # a template pixel is two frame pixels wide at sigma 1
    contents = np.full([2, 16, 16, 3], -20.0, np.float32)
    contents[0, ..., 2] = 20.0
    contents[1, ..., 1] = 20.0 if brightness == 1.0 else np.log(brightness / (1.0 - brightness))
    net.decoder.sprites = lambda: SimpleNamespace(
        templates=tf.constant(blob), contents=tf.constant(contents), background=tf.zeros([1, 32, 32, 3]),
        sigma=tf.constant(1.0),
    )  # fmt: skip
    places = np.float32([[8.0, 8.0, 20.0, 24.0], [22.0, 6.0, 9.0, 9.0]])
    frames = net.decoder(places).numpy()
    looks = np.sqrt(np.square(frames).sum((1, 2)).mean(0)[[2, 1]])[:, None]
    scene = motion.Scene(np.zeros([32, 32, 3], np.float32), 1.0, 0.25, 0.1, noise=0.0)
    found = Discovery(scene, {2: motion.Kinds(looks, 1.0, 1.0, 10.0, 0.0)}, np.zeros([0]), 2)
    return places, frames, found


@pytest.mark.parametrize("brightness", [1.0, 0.2])
def test_found_objects_contribute_and_copied_or_missing_ones_do_not(brightness):
    net = PhysicsNet(TASKS["spring_color"])
    places, frames, found = two_squares(net, brightness)

    def judge(positions):
        net.encoder = lambda _: SimpleNamespace(positions=tf.constant(positions, tf.float32))
        return supervision.object_contributions(net, frames, found)

    verdict = judge(places)
    assert verdict.found and verdict.explained == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(verdict.contributions, [1.0, 1.0], atol=0.02)
    assert not judge(np.tile(places[:, :2], [1, 2])).found  # both at the first object
    missing = judge([[8.0, 8.0, 60.0, 60.0], [22.0, 6.0, 60.0, 60.0]])  # the second outside the frame
    assert not missing.found and missing.explained > 0.4
    without_looks = supervision.object_contributions(net, frames, found._replace(every={}))
    assert not without_looks.found


def test_a_decoder_without_layers_is_judged_by_the_whole():
    places, frames, found = two_squares(PhysicsNet(TASKS["spring_color"]))
    net = PhysicsNet(TASKS["spring_color"], decoder_type="black_box")
    net.encoder = lambda _: SimpleNamespace(positions=tf.constant(places))

    def judge(decoded):
        net.decoder.call = lambda _: tf.constant(decoded)
        return supervision.object_contributions(net, frames, found)

    perfect, still = judge(frames), judge(np.zeros_like(frames))
    assert perfect.found and perfect.explained == pytest.approx(1.0, abs=1e-3)
    assert not still.found and still.explained == pytest.approx(0.0, abs=1e-3)
    assert str(perfect).startswith("100.0% of what moves is explained; a black-box decoder")


def test_noise_is_no_reason_to_find_nothing():
    net = PhysicsNet(TASKS["spring_color"])
    places, frames, found = two_squares(net)
    noise = np.random.RandomState(0).normal(0.0, 0.1, frames.shape).astype(np.float32)
    net.encoder = lambda _: SimpleNamespace(positions=tf.constant(places))
    scene = found.scene._replace(noise=float(np.square(noise).sum((1, 2, 3)).mean()))
    verdict = supervision.object_contributions(net, frames + noise, found._replace(scene=scene))
    assert scene.noise > 10.0 and verdict.found and verdict.explained == pytest.approx(1.0, abs=0.05)


def test_contributions_where_masks_are_half_transparent():
    """Without an object, the masks of the others share out what was its own."""
    random = np.random.RandomState(0)
    masks = random.dirichlet([1.0, 1.0, 1.0], [4, 32, 32]).astype("f4").transpose(3, 0, 1, 2)[..., None]
    contents, frames = random.rand(3, 4, 32, 32, 3).astype("f4"), random.rand(4, 32, 32, 3).astype("f4")

    def error(kept: list[int]) -> float:
        image = (masks[kept] * contents[kept]).sum(0) / masks[kept].sum(0)
        return np.square(frames - image).sum((1, 2, 3)).mean()

    layers = SimpleNamespace(masks=tf.constant(masks), contents=tf.constant(contents))
    net = SimpleNamespace(
        encoder=lambda _: SimpleNamespace(positions=None), decoder=SimpleNamespace(layers=lambda _: layers)
    )
    found = two_squares(PhysicsNet(TASKS["spring_color"]))[2]._replace(every={})
    verdict = supervision.object_contributions(net, frames, found)
    still = np.square(frames).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(verdict.explained, 1.0 - error([0, 1, 2]) / still, rtol=1e-4)
    gains = [error([1, 2]) - error([0, 1, 2]), error([0, 2]) - error([0, 1, 2])]
    np.testing.assert_allclose(verdict.contributions * still / 2, gains, rtol=1e-3)
