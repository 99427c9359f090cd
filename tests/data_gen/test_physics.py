"""What physics promises of the trajectories."""

from functools import partial

import numpy as np
import pytest

from data_gen import initial_states, physics
from data_gen.recipes import RECIPES, make_dataset


def spring_start(n=200, seed=0):
    np.random.seed(seed)
    return initial_states.spring_pair(n, 32, 2, 6, 8.0, 8.0)


def bodies_start(n=100, seed=0):
    np.random.seed(seed)
    return initial_states.three_bodies(n, 36, 2.0, 2.0)


SPRING = partial(physics.spring_acceleration, k=4, equil=6)
GRAVITY = partial(physics.gravity_acceleration, g=60, m=1.0)


@pytest.mark.parametrize(("start", "acceleration"), [(spring_start(), SPRING), (bodies_start(), GRAVITY)])
def test_momentum_is_kept(start, acceleration):
    result = physics.simulate(start.pos, start.vel, 20, 0.3, 10, acceleration)
    momentum = result.vel.sum(axis=2)
    np.testing.assert_allclose(momentum, momentum[:, :1].repeat(20, axis=1), atol=1e-9)
    centre = result.pos.mean(axis=2)
    elapsed = 0.3 * np.arange(20)[:, None]
    expected = centre[:, :1] + elapsed * momentum[:, :1] / start.pos.shape[0]
    np.testing.assert_allclose(centre, expected, atol=1e-8)


def spring_energy(result, k=4, equil=6):
    length = np.linalg.norm(result.pos[:, :, 0] - result.pos[:, :, 1], axis=-1)
    return 0.5 * (result.vel**2).sum(axis=(2, 3)) + 0.5 * k * (length - 2 * equil) ** 2


def gravity_energy(result, g=60):
    energy = 0.5 * (result.vel**2).sum(axis=(2, 3))
    for i, j in ((0, 1), (1, 2), (0, 2)):
        energy -= g / np.linalg.norm(result.pos[:, :, i] - result.pos[:, :, j], axis=-1)
    return energy


@pytest.mark.parametrize(
    ("start", "acceleration", "energy"),
    [(spring_start(), SPRING, spring_energy), (bodies_start(), GRAVITY, gravity_energy)],
)
def test_energy_drift_falls_with_the_sub_steps(start, acceleration, energy):
    """The integration is of first order: ten times the sub-steps, a tenth of the error."""

    def close(pos, frame):
        return physics.objects_within(pos, 3)

    drift = []
    for ode_steps in (40, 400):
        result = physics.simulate(start.pos, start.vel, 8, 0.3, ode_steps, acceleration, reject=close)
        total = energy(result)
        drift.append(np.median(np.abs(total - total[:, :1]).max(axis=1)))
    assert 0 < drift[1] < drift[0] / 7


def test_a_ball_falls_by_g_t_squared_over_two():
    start = physics.simulate(
        np.array([[[5.0], [3.0]]]), np.zeros((1, 2, 1)), 6, 0.2, 1000, partial(physics.falling_acceleration, g=9.8)
    )
    np.testing.assert_allclose(start.pos[0, :, 0, 1], 3 + 4.9 * (0.2 * np.arange(6)) ** 2, atol=0.01)
    np.testing.assert_array_equal(start.pos[0, :, 0, 0], 5.0)


def test_reflection_is_symmetric():
    """A mirrored start gives the mirrored path, and bouncing keeps speed and stays inside."""
    np.random.seed(3)
    start = initial_states.bouncing_pair(100, 32, 2, 8.0, 8.0)
    run = partial(
        physics.simulate,
        seq_len=30,
        dt=0.3,
        ode_steps=10,
        acceleration=partial(physics.falling_acceleration, g=0),
        reflect=partial(physics.reflect_at_walls, radius=2, side=32),
    )
    path, mirrored = run(start.pos, start.vel), run(32 - start.pos, -start.vel)
    np.testing.assert_allclose(mirrored.pos, 32 - path.pos, atol=1e-9)
    np.testing.assert_allclose(mirrored.vel, -path.vel, atol=1e-9)
    assert path.pos.min() >= 2 and path.pos.max() <= 30
    np.testing.assert_allclose(np.abs(path.vel), np.abs(path.vel[:, :1]).repeat(30, axis=1))
    assert (np.sign(path.vel[:, 0]) != np.sign(path.vel[:, -1])).any()


def test_unfolded_reflection_is_a_straight_line():
    """The bouncing balls' positions equal a straight line folded at the walls."""
    np.random.seed(4)
    start = initial_states.bouncing_pair(50, 32, 2, 8.0, 8.0)
    path = physics.simulate(
        start.pos,
        start.vel,
        30,
        0.3,
        10,
        partial(physics.falling_acceleration, g=0),
        reflect=partial(physics.reflect_at_walls, radius=2, side=32),
    )
    elapsed = 0.3 * np.arange(30)[:, None, None]
    straight = start.pos.transpose(2, 0, 1)[:, None] + elapsed * start.vel.transpose(2, 0, 1)[:, None]
    folded = 28 - np.abs((straight - 2) % 56 - 28) + 2
    np.testing.assert_allclose(path.pos, folded, atol=1e-9)


@pytest.mark.parametrize("task", ["spring_color", "spring_color_half", "3bp_color"])
def test_no_wall_contact_where_nothing_reflects(task, tmp_path, splits):
    recipe = RECIPES[task]
    make_dataset(task, str(tmp_path / "data.npz"), recipe.test_len, (10, 1, 1))
    pos = splits(tmp_path / "data.npz", "pos")
    radius = recipe.physics["radius"]
    assert pos.min() > radius and pos.max() < recipe.img_size - radius


def test_bodies_keep_their_distance(tmp_path, splits):
    make_dataset("3bp_color", str(tmp_path / "data.npz"), 20, (20, 5, 5))
    pos = splits(tmp_path / "data.npz", "pos")
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert np.linalg.norm(pos[:, :, i] - pos[:, :, j], axis=-1).min() > 3


def test_half_plane_rule(tmp_path, splits):
    """In the first ten frames every ball's disc lies in the left half; later some are in the right one."""
    make_dataset("spring_color_half", str(tmp_path / "data.npz"), 30, (60, 5, 5))
    pos, frames = splits(tmp_path / "data.npz", "pos"), splits(tmp_path / "data.npz")
    assert pos[:, :10, :, 0].max() < 14
    right = frames[:, :, :, 18:].max(axis=(2, 3, 4)) > 0  # two pixels of blur beside the disc
    assert not right[:, :10].any()
    assert right[:, 10:].any(axis=1).mean() > 0.3
    assert (pos[:, 12:, :, 0] > 16).any()
    lengths = np.linalg.norm(pos[:, 0, 0] - pos[:, 0, 1], axis=-1)
    assert lengths.min() > 6 and lengths.max() < 18  # 2·equil·[0.5, 1.5)


def test_saved_velocities_are_those_of_the_positions(tmp_path, splits):
    """With many sub-steps the positions move by velocity times dt."""
    make_dataset("bouncing_balls", str(tmp_path / "data.npz"), 12, (20, 2, 2), ode_steps=10)
    pos, vel = splits(tmp_path / "data.npz", "pos"), splits(tmp_path / "data.npz", "vel")
    same = (np.sign(vel[:, 1:]) == np.sign(vel[:, :-1])).all(axis=(2, 3))
    np.testing.assert_allclose((pos[:, 1:] - pos[:, :-1])[same], 0.3 * vel[:, :-1][same], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vel, axis=-1), 8.0, atol=1e-5)


def test_random_settings_against_plain_loops():
    """Vectorised forces and tests equal loops over single initial_states."""
    random = np.random.RandomState(7)
    for _ in range(30):
        n_objs = random.randint(2, 5)
        pos, vel = random.uniform(0, 30, (n_objs, 2, 6)), random.normal(0, 5, (n_objs, 2, 6))
        g, m, k, equil, radius = random.uniform(0.5, 10, 5)
        gravity = physics.gravity_acceleration(pos, vel, g, m)
        spring = physics.spring_acceleration(pos[:2], vel[:2], k, equil)
        walls, close = physics.touches_wall(pos, radius, 30, 25), physics.objects_within(pos, radius)
        for a in range(6):
            points = pos[:, :, a]
            for i in range(n_objs):
                others = [points[i] - points[j] for j in range(n_objs) if j != i]
                pull = -g * m * m * sum(d / np.linalg.norm(d) ** 3 for d in others)
                np.testing.assert_allclose(gravity[i, :, a], pull, rtol=1e-9, atol=1e-12)
            d = points[0] - points[1]
            force = k * (np.linalg.norm(d) - 2 * equil) * d / np.linalg.norm(d)
            np.testing.assert_allclose(spring[:, :, a], [-force, force], rtol=1e-9)
            assert walls[a] == any(
                x - radius <= 0 or x + radius >= 30 or y - radius <= 0 or y + radius >= 25 for x, y in points
            )
            gaps = [np.linalg.norm(points[i] - points[j]) for i in range(n_objs) for j in range(i)]
            assert close[a] == (min(gaps) <= radius)
