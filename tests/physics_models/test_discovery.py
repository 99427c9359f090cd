"""What moves in a video: on made frames whose truth is known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from made_videos import SIDE, made_video, to_float
from PIL import Image

from physics_models import discovery, motion
from physics_models.discovery import Discovery
from runners.reproduce.shapes import draw_shapes

PLUS, DISC, BAR = "plus", "disc", "bar"


def errors(found: Discovery, positions: np.ndarray) -> np.ndarray:
    """Distances [clear frames, N] of the centres from the truth, under the best single naming of all frames."""
    clear = np.isfinite(found.centres).all((2, 3))
    every = [found.centres[clear][:, list(order)] - positions[clear] for order in permutations(range(found.n_objs))]
    away = [np.linalg.norm(difference - np.median(difference, axis=0), axis=-1) for difference in every]
    return min(away, key=lambda distance: distance.mean())


def at(*places: tuple[float, float]) -> np.ndarray:
    """Positions [1, 1, N, 2]."""
    return np.array(places, float)[None, None]


@pytest.mark.parametrize("noise", [0.0, pytest.param(5.0, marks=pytest.mark.slow), 25.0])
@pytest.mark.parametrize("shapes", [[PLUS], [PLUS, DISC], [DISC, PLUS, BAR], [PLUS, DISC, BAR, "pole"]], ids=len)
def test_objects_are_found_and_named_right_in_every_clear_frame(shapes, noise):
    frames, positions = made_video(shapes, noise=noise, side=48 if len(shapes) == 4 else SIDE)
    found = discovery.discover(frames, len(shapes), to_float)
    assert found.kinds.distinct
    assert errors(found, positions).max() < 1.0
    assert found.clear > 0.15
    assert motion.estimate_n_objs(found.every) == len(shapes)
    assert found.kinds.agreement > motion.SURE_AGREEMENT
    assert not any("warning" in line for line in discovery.describe(found))


def test_of_more_than_six_objects_or_an_unsure_number_there_is_a_warning():
    frames, _ = made_video([PLUS, DISC])
    found = discovery.discover(frames, 7, to_float)
    assert found.kinds is None and np.isnan(found.centres).all()
    assert any("no supervision by motion: more than 6 objects" in line for line in discovery.describe(found))
    unsure = {2: found.every[2]._replace(agreement=motion.SURE_AGREEMENT - 0.01)}
    lines = discovery.describe(found._replace(every=unsure, n_objs=2))
    assert len([line for line in lines if "warning" in line and "not sure" in line]) == 1


def test_colors_are_no_condition_but_an_rgb_video_is_as_good():
    frames, positions = made_video([PLUS, DISC])
    colored = np.concatenate([frames, frames // 2, 255 - frames], axis=-1)
    found = discovery.discover(colored, 2, to_float)
    assert found.kinds.distinct and errors(found, positions).max() < 1.0


def test_of_an_object_of_four_pixels_noise_does_not_count_as_moving():
    random = np.random.RandomState(0)
    frames = np.full((40, SIDE, SIDE, 3), 0.5, np.float32) + random.normal(0, 0.005, (40, SIDE, SIDE, 3))
    corners = random.randint(0, SIDE - 1, (40, 2))
    for frame, (y, x) in zip(frames, corners):
        frame[y : y + 2, x : x + 2, 0] += 0.2
    scene = motion.find_scene(frames.astype(np.float32), np.random.RandomState(0))
    moving = np.linalg.norm(frames - scene.background, axis=-1) > scene.moving_above
    assert 4 * 40 <= moving.sum() < 4.4 * 40


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
    assert f"{true} moving object" in warning and f"--n_objs={given}" in warning
    if given > true:
        assert found.kinds is None and np.isnan(found.centres).all()


def test_what_has_no_fixed_looks_is_reported():
    frames, _ = made_video([DISC], sequences=80)
    for dark_frames in (0.0, 0.4):
        dark = np.random.RandomState(0).uniform(size=(*frames.shape[:2], 1, 1, 1)) < dark_frames
        some = np.uint8(128.0 + np.where(dark, -0.5, 0.5) * frames)
        warned = dark_frames > 0
        lines = discovery.describe(discovery.discover(some, 1, to_float))
        assert any("from frame to frame" in line for line in lines) == warned


def test_where_the_number_is_not_sure_it_says_so():
    sure, unsure = (motion.Kinds(np.zeros([2, 1]), 0.3, agreement, 10.0, 0.0) for agreement in (0.95, 0.7))
    assert "not sure" not in discovery.describe_count({2: sure, 1: unsure})
    assert "not sure" in discovery.describe_count({2: unsure})
    assert "no number" in discovery.describe_count({})
    still = np.full([4, 8, SIDE, SIDE, 1], 90, np.uint8)
    assert discovery.scan(still.reshape(-1, SIDE, SIDE, 1), to_float)[1] == {}


@pytest.mark.parametrize("noise", [0.0, 5.0])
@pytest.mark.parametrize("shapes", [[DISC, DISC], [DISC, DISC, PLUS], [BAR, BAR, BAR]], ids=" ".join)
def test_objects_of_one_look_are_reported_as_such(shapes, noise):
    found = discovery.discover(made_video(shapes, 80, noise=noise)[0], len(shapes), to_float)
    assert found.kinds.ratio < motion.DISTINCT_RATIO and not found.kinds.distinct
    assert any("look the same" in line for line in discovery.describe(found))


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


def test_a_weak_shadow_is_no_object():
    """A hundredth of the object's summed square, as on the film of an apple; and an object of half the contrast is."""
    frames, positions = made_video([DISC])
    other = draw_shapes(positions[:, ::-1] * [1, 0] + [0, 27], [DISC], SIDE)
    found = [motion.estimate_n_objs(discovery.discover(np.maximum(frames, np.uint8(other * share)), 1, to_float).every)
             for share in (0.1, 0.5)]  # fmt: skip
    assert found == [1, 2]


def test_an_object_that_comes_to_rest_is_no_background():
    """A disc that swings four times and then rests for three quarters of the film: the median shows it at rest."""
    t = np.arange(200.0)
    x = 16 + np.where(t < 50, 12 * np.exp(-t / 25) * np.cos(0.5 * t), 0.0)
    y, place = np.mgrid[:SIDE, :SIDE] + 0.5
    strength = np.clip(3.5 - np.hypot(place - x[:, None, None] * SIDE / 32, y - SIDE / 2), 0, 1)[..., None]
    frames = (255 * (0.3 + 0.5 * strength * [1.0, 0.5, 0.2])).astype(np.uint8)
    frames += np.random.RandomState(0).randint(0, 3, frames.shape).astype(np.uint8)
    middle = np.s_[SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1]
    chosen = discovery.spread_out(frames, 200)
    assert np.median(frames[chosen], axis=0)[middle].mean() < 85 < 120 < np.median(frames, axis=0)[middle].mean()
    steady = frames[:50]
    assert discovery.spread_out(steady, 50).tolist() == list(range(50))
