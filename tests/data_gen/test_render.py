"""Frames: fast paths equal the slow ones, and the pictures show what the positions say."""

from functools import partial

import numpy as np
import pytest

from data_gen import initial_states, physics
from data_gen.digits import SCALE, DigitPainter
from data_gen.recipes import RECIPES, make_dataset
from data_gen.render import DISC_SCALE, DiscStamps, disc_canvas, render_discs
from data_gen.resample import (
    enlarge,
    extended,
    gaussian_taps,
    mirrored,
    mix,
    samples,
    shrink,
    shrink_extended,
    smooth,
    to_uint8,
)


def painted_whole(pos, radius, side, color):
    """Frames drawn disc by disc on full canvases, each shrunk as a whole; pos [F, N, 2]."""
    centre = np.trunc(pos * DISC_SCALE).astype(int)
    groups = [[j] for j in range(pos.shape[1])] if color else [list(range(pos.shape[1]))]
    frames = np.zeros((len(pos), side, side, 3 if color else 1), np.uint8)
    for i, group in enumerate(groups):
        canvas = disc_canvas(centre[:, group], radius * DISC_SCALE, side * DISC_SCALE)
        frames[..., 2 - i if color else 0] = to_uint8(shrink(canvas, DISC_SCALE))
    return frames


def test_stamps_equal_whole_canvases_for_random_settings():
    random = np.random.RandomState(0)
    for i in range(24):
        side, radius = random.randint(10, 40), random.choice([0.7, 1, 2, 2.5, 3, 5])
        n_objs, color = random.randint(1, 4), bool(i % 2)
        pos = random.uniform(-radius, side + radius, (1, 8, n_objs, 2))  # also cut off by the edge
        frames = render_discs(pos, radius, side, color)
        assert frames.shape == (1, 8, side, side, 3 if color else 1)
        np.testing.assert_array_equal(frames[0], painted_whole(pos[0], radius, side, color))


def test_grey_discs_that_overlap_are_not_added_up():
    pos = np.array([[[[10.0, 10.0], [11.0, 10.0]]]])
    frame = render_discs(pos, 3, 24, False)[0, 0]
    np.testing.assert_array_equal(frame, painted_whole(pos[0], 3, 24, False)[0])
    assert frame.max() == 254 or frame.max() == 255


def test_a_disc_is_where_scikit_image_puts_it():
    """Pixels nearer than the radius (never at it) to the centre, in canvas pixels."""
    canvas = disc_canvas(np.array([[[12, 9]]]), 5, 24)[0]
    rows, cols = np.nonzero(canvas)
    expected = [(r, c) for r in range(24) for c in range(24) if ((r - 9) / 5) ** 2 + ((c - 12) / 5) ** 2 < 1]
    assert list(zip(rows, cols)) == expected


def test_random_placement_against_each_stamp_alone():
    """A stamp at an inner centre equals the stamp at a centre ten canvas pixels further on, moved by a pixel."""
    stamps = DiscStamps(2, 40)
    random = np.random.RandomState(1)
    centre = random.randint(100, 200, (20, 2))
    np.testing.assert_array_equal(stamps(centre), stamps(centre + 10 * random.randint(0, 9, (20, 2))))
    assert len(stamps.stamps) <= 20


def test_filter_mirrors_and_sums_to_one():
    for scale in (2, 5, 10):
        taps = gaussian_taps(scale)
        assert abs(2 * sum(taps) - taps[-1] - 1) < 1e-14
        assert len(taps) - 1 == int(4 * (scale - 1) / 2 + 0.5)
    np.testing.assert_array_equal(mirrored(-3, 10, 4), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0])
    constant = np.full((1, 40, 40), 0.7, np.float32)
    np.testing.assert_allclose(shrink(constant, 10), 0.7, rtol=1e-6)


def test_shrink_against_plain_loops():
    random = np.random.RandomState(2)
    for scale, cells in ((5, 4), (10, 3), (4, 5)):
        canvas = random.rand(1, cells * scale, cells * scale)
        half = gaussian_taps(scale)
        taps, reach = list(half) + list(half[-2::-1]), len(half) - 1
        size = cells * scale

        def at(index, size=size):
            index = abs(index) % (2 * size - 2)
            return min(index, 2 * size - 2 - index)

        def smoothed(r, c, canvas=canvas, taps=taps, reach=reach, at=at):
            return sum(
                taps[i] * taps[j] * canvas[0, at(r + i - reach), at(c + j - reach)]
                for i in range(len(taps))
                for j in range(len(taps))
            )

        small = shrink(canvas, scale)
        for r in range(cells):
            for c in range(cells):
                middle_r, middle_c = r * scale + (scale - 1) / 2, c * scale + (scale - 1) / 2
                corners = [
                    smoothed(int(y), int(x))
                    for y in (np.floor(middle_r), np.ceil(middle_r))
                    for x in (np.floor(middle_c), np.ceil(middle_c))
                ]
                np.testing.assert_allclose(small[0, r, c], np.mean(corners), rtol=1e-12)


def test_enlarge_interpolates_and_mirrors():
    ramp = np.arange(6.0)[None, :, None] * np.ones((1, 1, 6)) / 10
    large = enlarge(ramp, 30)
    place = (np.arange(30) + 0.5) / 5 - 0.5
    expected = np.where(place < 0, -place, np.where(place > 5, 10 - place, place)) / 10
    np.testing.assert_allclose(large[0], np.repeat(expected[:, None], 30, axis=1), atol=1e-12)


def test_sample_positions_are_the_cell_centres():
    """The original's rounding errors, which are reproduced, are below 1e-12 pixels."""
    for source, output in ((320, 64), (32, 320), (22, 110), (240, 48), (35, 7)):
        for axis in samples(source, output):
            exact = (np.arange(output) + 0.5) * source / output - 0.5
            np.testing.assert_allclose(axis.low + axis.frac, exact, atol=1e-12)
            assert ((axis.high - axis.low == 1) | (axis.frac == 0)).all()


@pytest.mark.parametrize("task", ["bouncing_balls", "spring_color", "spring_color_half", "3bp_color"])
def test_centroids_equal_the_positions(task, tmp_path, splits):
    """Each colour's centre of brightness lies within 0.1 px of the saved position, for balls inside the frame."""
    recipe = RECIPES[task]
    make_dataset(task, str(tmp_path / "data.npz"), recipe.train_len, (30, 3, 3))
    frames, pos = splits(tmp_path / "data.npz"), splits(tmp_path / "data.npz", "pos")
    places = np.arange(recipe.img_size) + 0.5
    checked = 0
    for j in range(pos.shape[2]):
        light = frames[..., 2 - j].astype(float)
        total = light.sum(axis=(2, 3))
        centroid = np.stack([(light.sum(axis=2) * places).sum(-1), (light.sum(axis=3) * places).sum(-1)], -1)
        inside = ((pos[:, :, j] > 4.5) & (pos[:, :, j] < recipe.img_size - 4.5)).all(-1)
        assert (total > 0).all()
        assert np.abs(centroid / total[..., None] - pos[:, :, j])[inside].max() < 0.1
        checked += inside.sum()
    assert checked > 200


def digit_positions(n=12, seed=0, side=64):
    np.random.seed(seed)
    start = initial_states.spring_pair(300, side, 11, 8, 8.0, 8.0)
    spring = partial(physics.spring_acceleration, k=2, equil=8)
    inside = lambda pos, frame: physics.touches_wall(pos, 2, side)  # noqa: E731
    pos = physics.simulate(start.pos, start.vel, 4, 0.3, 10, spring, reject=inside).pos
    return pos.reshape(-1, 2, 2)[:: len(pos) * 4 // n][:n]


def painted_digits(painter, pos):
    """The original's way: the whole canvas, pasted, filtered, sampled and clipped."""
    np.testing.assert_array_equal(painter.canvas, painter.backdrop)  # no digit of an earlier frame is left
    size = painter.backdrop.shape[1]
    canvas = np.moveaxis(painter.backdrop, 0, 2).copy()
    colors = np.eye(len(painter.backdrop))[np.arange(len(pos)) % len(painter.backdrop)]
    for alpha, color, (x, y) in zip(painter.alphas, colors, pos):
        row, col = round(y * SCALE) - 55, round(x * SCALE) - 55
        rows, cols = slice(max(row, 0), min(row + 110, size)), slice(max(col, 0), min(col + 110, size))
        a = alpha[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col, None]
        canvas[rows, cols] = a * color + (1 - a) * canvas[rows, cols]
    canvas = np.moveaxis(canvas, 2, 0)
    whole, every = extended(canvas, SCALE), np.arange(size)
    filtered = smooth(smooth(whole, 1, SCALE, every), 2, SCALE, every)
    value = shrink_extended(whole, SCALE, painter.rows, painter.cols)
    return np.moveaxis(to_uint8(np.clip(value, filtered.min(), filtered.max())), 0, 2)


def flat_picture():
    """Areas of one colour, where last bits decide."""
    return np.kron(np.random.RandomState(3).randint(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def opaque_digits():
    """Thick strokes of full brightness, so that whole pixels are exactly 1 or 0."""
    digits = np.zeros((2, 28, 28), np.uint8)
    digits[0, 8:20, 8:20] = 255
    digits[1, 5:23, 12:17] = 255
    return digits


@pytest.mark.parametrize("pictured", ["photograph", "flat", "bright", "black"])
@pytest.mark.parametrize("drawn", ["mnist", "opaque"])
def test_digits_equal_whole_canvases(pictured, drawn, mnist_digits, photograph):
    picture = {
        "photograph": photograph,
        "flat": flat_picture(),
        "bright": np.full((32, 32, 3), 255, np.uint8),
        "black": None,
    }[pictured]
    digits = mnist_digits if drawn == "mnist" else opaque_digits()
    painter = DigitPainter(digits, 64, picture, True)
    for places in [*digit_positions(3), np.array([[3.0, 4.0], [60.0, 61.0]]), np.array([[30.0, 30.0], [34.0, 31.0]])]:
        np.testing.assert_array_equal(painter(places), painted_digits(painter, places))


def test_digits_of_other_sizes_and_grey(mnist_digits):
    for side, picture, color in ((48, flat_picture(), True), (50, None, False), (37, flat_picture(), True)):
        painter = DigitPainter(mnist_digits, side, picture, color)
        for places in digit_positions(2, side=side):
            frame = painter(places)
            assert frame.shape == (side, side, 3 if color else 1)
            np.testing.assert_array_equal(frame, painted_digits(painter, places))


def test_clipping_to_the_filtered_range_changes_no_frame():
    """The original clips; the painter does not. It could act in constant areas only: here are all of them."""
    taps = gaussian_taps(SCALE)
    for side in (36, 48, 64, 80, 96, 128):
        rows, cols = samples(side * SCALE, side)
        for level in np.concatenate([np.arange(256) / 255.0, np.clip(np.arange(256) / 255.0 - 0.2, 0, 1)]):
            filtered = level
            for _ in range(2):
                filtered, value = filtered * taps[-1], filtered
                for weight in taps[:-1]:
                    filtered += (value + value) * weight
            line = mix(filtered, filtered, cols.frac)
            sampled = mix(line, line, rows.frac[:, None])
            np.testing.assert_array_equal(to_uint8(sampled), to_uint8(np.clip(sampled, filtered, filtered)))


def test_digits_do_not_depend_on_the_order_of_sums_in_matrix_products(mnist_digits):
    """Errors a thousand times those of any BLAS change no pixel."""
    painter = DigitPainter(mnist_digits, 64, flat_picture(), True)
    frames = [painter(places) for places in digit_positions()]
    random = np.random.RandomState(4)
    for matrix in (painter.down, painter.across):
        matrix *= 1 + 1e-12 * random.uniform(-1, 1, matrix.shape)
    for frame, places in zip(frames, digit_positions()):
        np.testing.assert_array_equal(painter(places), frame)
