"""What moves in a video, and the supervision by it: on made frames whose truth is known."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from physics_models import discovery, motion
from physics_models.discovery import Discovery
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS
from runners.reproduce.shapes import draw_shapes, drift

SIDE = 32
PLUS, DISC, BAR = "plus", "disc", "bar"


def made_video(shapes, sequences=40, steps=8, noise=0.0, margin=5.0, side=SIDE):
    """(frames uint8 [S, T, H, H, 1], positions [S, T, N, 2]) of grey shapes of one brightness."""
    positions = drift(sequences, steps, len(shapes), side, margin, speed=1.5)
    return draw_shapes(positions, shapes, side, noise=noise), positions


def to_float(frames):
    return (frames / 255.0).astype(np.float32)


def errors(found: Discovery, positions: np.ndarray) -> np.ndarray:
    """Distances [clear frames, N] of the centres from the truth, under the best single naming of all frames."""
    clear = np.isfinite(found.centres).all((2, 3))
    every = [found.centres[clear][:, list(order)] - positions[clear] for order in permutations(range(found.n_objs))]
    away = [np.linalg.norm(difference - np.median(difference, axis=0), axis=-1) for difference in every]
    return min(away, key=lambda distance: distance.mean())


def at(*places: tuple[float, float]) -> np.ndarray:
    """Positions [1, 1, N, 2]."""
    return np.array(places, float)[None, None]


@pytest.mark.parametrize("noise", [0.0, 5.0, 25.0])
@pytest.mark.parametrize("shapes", [[PLUS], [PLUS, DISC], [DISC, PLUS, BAR], [PLUS, DISC, BAR, "pole"]], ids=len)
def test_objects_are_found_and_named_right_in_every_clear_frame(shapes, noise):
    frames, positions = made_video(shapes, noise=noise, side=48 if len(shapes) == 4 else SIDE)
    found = discovery.discover(frames, len(shapes), to_float)
    assert found.kinds.distinct
    assert errors(found, positions).max() < 1.0
    assert found.clear > 0.15
    assert motion.estimate_n_objs(found.counts)[0] == len(shapes)
    assert not any("warning" in line for line in discovery.describe(found))


def test_colors_are_no_condition_but_an_rgb_video_is_as_good():
    frames, positions = made_video([PLUS, DISC])
    colored = np.concatenate([frames, frames // 2, 255 - frames], axis=-1)
    found = discovery.discover(colored, 2, to_float)
    assert found.kinds.distinct and errors(found, positions).max() < 1.0


def test_frames_in_which_objects_touch_or_hide_each_other_have_no_centres():
    frames, _ = made_video([PLUS, DISC])
    scene = motion.find_scene(to_float(frames.reshape(-1, SIDE, SIDE, 1)), np.random.RandomState(0))
    apart, touching, hidden = [(8, 8), (24, 24)], [(8, 8), (13, 8)], [(8, 8), (8, 8)]
    some = np.concatenate([draw_shapes(at(*places), [PLUS, DISC], SIDE)[0] for places in (apart, touching, hidden)])
    blobs = motion.find_blobs(to_float(some), scene)
    np.testing.assert_array_equal(motion.count_blobs(blobs, 3), [2, 1, 1])
    np.testing.assert_allclose(blobs.centre[:2], apart, atol=0.1)


def test_a_frame_without_anything_is_not_clear():
    frames, _ = made_video([PLUS, DISC])
    frames[:2] = 0
    found = discovery.discover(frames, 2, to_float)
    assert np.isnan(found.centres[:2]).all() and np.isfinite(found.centres[2:]).any()


def test_an_object_partly_outside_the_frame_is_where_its_visible_part_is():
    frames, positions = made_video([DISC], margin=0.0)
    found = discovery.discover(frames, 1, to_float)
    inside = ((positions > 4) & (positions < SIDE - 4)).all((2, 3))
    clear = np.isfinite(found.centres).all((2, 3))
    away = np.linalg.norm(found.centres - positions, axis=-1)[..., 0]
    assert away[clear & inside].max() < 0.5 and away[clear].max() < 3.0
    assert ((found.centres[clear] > 0) & (found.centres[clear] < SIDE)).all()


def test_connected_pixels_touch_by_sides_or_corners_within_one_frame():
    picture = ["#...#", ".#.##", "....#", "##..."]
    moving = np.array([[[pixel == "#" for pixel in row] for row in picture]] * 2)
    moving[1, 0, 0] = False
    frame, row, column, component = motion.connect(moving)
    sizes = [sorted(np.unique(component[frame == i], return_counts=True)[1]) for i in (0, 1)]
    assert sizes == [[2, 2, 4], [1, 2, 4]]
    spiral = np.array([[0, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool)
    assert len(np.unique(motion.connect(spiral[None])[3])) == 1


def test_a_look_does_not_depend_on_where_the_object_is():
    frames, _ = made_video([PLUS])
    scene = motion.find_scene(to_float(frames.reshape(-1, SIDE, SIDE, 1)), np.random.RandomState(0))
    some = np.concatenate([draw_shapes(at(place), [PLUS], SIDE)[0] for place in [(10, 10), (21, 17), (20.5, 12.25)]])
    looks = motion.find_blobs(to_float(some), scene).look
    np.testing.assert_allclose(looks[1], looks[0], atol=1e-5)
    assert np.square(looks[2] - looks[0]).sum() < 0.1 * np.square(looks[0]).sum()  # other parts of pixels are covered


@pytest.mark.parametrize(("true", "given"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_a_wrong_number_of_objects_is_suspected(true, given):
    found = discovery.discover(made_video([PLUS, DISC, BAR][:true])[0], given, to_float)
    warning = next(line for line in discovery.describe(found) if "warning" in line)
    assert f"exactly {true} moving object" in warning and f"--n_objs={given}" in warning
    if given > true:
        assert found.kinds is None and np.isnan(found.centres).all()


@pytest.mark.parametrize("noise", [0.0, 5.0])
@pytest.mark.parametrize("shapes", [[DISC, DISC], [DISC, DISC, PLUS], [BAR, BAR, BAR]], ids=" ".join)
def test_objects_of_one_look_are_reported_as_such(shapes, noise):
    found = discovery.discover(made_video(shapes, 80, noise=noise)[0], len(shapes), to_float)
    assert found.kinds.ratio < motion.DISTINCT_RATIO and not found.kinds.distinct
    assert any("look the same" in line for line in discovery.describe(found))


def test_tracking_keeps_names_within_a_sequence_also_across_gaps_and_crossings():
    truth = drift(50, 12, 3, 64, 6.0, speed=2.0)
    random = np.random.RandomState(0)
    mixed = np.stack([[frame[random.permutation(3)] for frame in sequence] for sequence in truth])
    mixed[:, 5] = np.nan  # a frame that is not clear
    tracked = motion.track(mixed)
    assert np.isnan(tracked[:, 5]).all()
    right = []
    for sequence, true in zip(np.delete(tracked, 5, 1), np.delete(truth, 5, 1)):
        right.append(any(np.allclose(sequence[:, list(order)], true) for order in permutations(range(3))))
    assert np.mean(right) > 0.85  # where two objects collide and reflect in the same step none can tell


def test_nothing_depends_on_chance():
    frames, _ = made_video([PLUS, DISC], noise=5.0)
    first, second = (discovery.discover(frames, 2, to_float) for _ in range(2))
    np.testing.assert_array_equal(first.centres, second.centres)


def test_the_picture_shows_looks_and_centres(tmp_path):
    frames, _ = made_video([PLUS, DISC])
    found = discovery.discover(frames, 2, to_float)
    discovery.save_picture(found, to_float(frames[:5, 0]), tmp_path / "objects.png")
    pixels = np.asarray(Image.open(tmp_path / "objects.png"))
    tile = discovery.TILE + 2
    assert pixels.shape == (tile, 7 * tile, 3)
    colored = (np.ptp(pixels.astype(int), axis=-1) > 60).reshape(tile, 7, tile).any((0, 2))
    assert not colored[:2].any() and colored[2:].all()  # the marks; everything else is grey


def test_the_supervision_is_whole_in_the_first_half_and_gone_from_seventy_percent_on():
    assert [discovery.fade(done) for done in (0.0, 0.5, 0.7, 1.0)] == [1.0, 1.0, 0.0, 0.0]
    assert discovery.fade(0.6) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def two_objects():
    """A video of a bar and a disc: its discovery, some frames, and perfect masks and positions for them."""
    frames, _ = made_video([BAR, DISC])
    found = discovery.discover(frames, 2, to_float)
    clear = np.argwhere(np.isfinite(found.centres).all((2, 3)))[:6]
    some = to_float(frames[clear[:, 0], clear[:, 1]])
    centres = found.centres[clear[:, 0], clear[:, 1]]
    middles = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1) + 0.5
    nearest = np.square(middles - centres[:, :, None, None]).sum(-1).argmin(1)
    masks = np.eye(3, dtype=np.float32)[np.where(some[..., 0] > found.scene.moving_above, nearest, 2)]
    return found, some, masks, centres


def loss_of(two_objects, masks=None, positions=None, found=None):
    found_, some, perfect, centres = two_objects
    masks = perfect if masks is None else masks
    positions = centres if positions is None else positions
    return float(
        discovery.motion_loss(
            tf.constant(some), tf.constant(masks), tf.constant(positions.reshape(len(some), -1)),
            tf.constant(centres), (found or found_)._replace(counts=np.array([2])),
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


def test_where_objects_look_the_same_each_frame_has_its_best_naming(two_objects):
    found, _, masks, centres = two_objects
    same = found._replace(kinds=found.kinds._replace(ratio=1.2, ambiguous=0.15))
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
        loss = discovery.motion_loss(tf.constant(some), wrong, tf.zeros([len(some), 4]), unknown, found)
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
    found = Discovery(scene, motion.Kinds(looks, 10.0, 0.0), np.array([2]), np.zeros([0]), 2)
    return places, frames, found


@pytest.mark.parametrize("brightness", [1.0, 0.2])
def test_found_objects_contribute_and_copied_or_missing_ones_do_not(brightness):
    net = PhysicsNet(TASKS["spring_color"])
    places, frames, found = two_squares(net, brightness)

    def judge(positions):
        net.encoder = lambda _: SimpleNamespace(positions=tf.constant(positions, tf.float32))
        return discovery.object_contributions(net, frames, found)

    verdict = judge(places)
    assert verdict.found and verdict.explained == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(verdict.contributions, [1.0, 1.0], atol=0.02)
    assert not judge(np.tile(places[:, :2], [1, 2])).found  # both at the first object
    missing = judge([[8.0, 8.0, 60.0, 60.0], [22.0, 6.0, 60.0, 60.0]])  # the second outside the frame
    assert not missing.found and missing.explained > 0.4
    without_looks = discovery.object_contributions(net, frames, found._replace(kinds=None))
    assert not without_looks.found


def test_noise_is_no_reason_to_find_nothing():
    net = PhysicsNet(TASKS["spring_color"])
    places, frames, found = two_squares(net)
    noise = np.random.RandomState(0).normal(0.0, 0.1, frames.shape).astype(np.float32)
    net.encoder = lambda _: SimpleNamespace(positions=tf.constant(places))
    scene = found.scene._replace(noise=float(np.square(noise).sum((1, 2, 3)).mean()))
    verdict = discovery.object_contributions(net, frames + noise, found._replace(scene=scene))
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
    found = two_squares(PhysicsNet(TASKS["spring_color"]))[2]._replace(kinds=None)
    verdict = discovery.object_contributions(net, frames, found)
    still = np.square(frames).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(verdict.explained, 1.0 - error([0, 1, 2]) / still, rtol=1e-4)
    gains = [error([1, 2]) - error([0, 1, 2]), error([0, 2]) - error([0, 1, 2])]
    np.testing.assert_allclose(verdict.contributions * still / 2, gains, rtol=1e-3)
