"""Each generator gives the original's frames bit for bit, and draws as many random numbers."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from data_gen import generators
from data_gen.errors import DataError

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "generators.npz")
SPLITS = ("train", "valid", "test")

SPRING = {"img_size": [32, 32], "radius": 2, "dt": 0.3, "k": 4, "equil": 6, "vx0_max": 8.0, "vy0_max": 8.0}
CASES = {
    "bouncing_ball_positions": ("bouncing_ball", (4, 2, 2, 20, 10.0), {}),
    "falling_ball": ("falling_ball", (8, 1, 1, 8), {}),
    "falling_bouncing_ball": ("falling_bouncing_ball", (8, 1, 1, 20), {}),
    "falling_bouncing_ball_g0": (
        "falling_bouncing_ball",
        (8, 1, 1, 20),
        {"g": 0.0, "vx0_max": 8.0, "vy0_max": 8.0, "radius": 2},
    ),
    "spring_color_sl12": ("spring_balls", (16, 2, 2, 12), {**SPRING, "color": True}),
    "spring_gray_sl12": (
        "spring_balls",
        (8, 1, 1, 12),
        {**SPRING, "radius": 3, "k": 3, "equil": 5, "vx0_max": 4.0, "vy0_max": 4.0},
    ),
    "3bp_color_sl20": (
        "3_body_problem",
        (8, 1, 1, 20),
        {
            "img_size": [36, 36],
            "radius": 2,
            "dt": 0.5,
            "g": 60,
            "m": 1.0,
            "vx0_max": 2.0,
            "vy0_max": 2.0,
            "color": True,
        },
    ),
    "spring_mnist_color_sl12": (
        "spring_mnist",
        (8, 1, 1, 12),
        {
            "img_size": [64, 64],
            "dt": 0.3,
            "k": 2,
            "equil": 12,
            "vx0_max": 8.0,
            "vy0_max": 8.0,
            "color": True,
            "cifar_background": True,
            "digits": GOLDEN["digits"],
            "background": GOLDEN["background"],
        },
    ),
}


def generator(name):
    return getattr(generators, f"generate_{name}_dataset")


def test_every_golden_case_is_tested():
    named = {key.split("/")[0] for key in GOLDEN.files} - {"digits", "background"}
    assert named == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_original(case, tmp_path):
    """And each file carries the states and the metadata."""
    name, arguments, settings = CASES[case]
    np.random.seed(0)
    generator(name)(str(tmp_path / "data.npz"), *arguments, **settings)
    np.testing.assert_array_equal(np.random.rand(3), GOLDEN[f"{case}/rng_after"])
    n_objs = {"3_body_problem": 3, "spring_balls": 2, "spring_mnist": 2}.get(name, 1)
    with np.load(tmp_path / "data.npz", allow_pickle=False) as made:
        for split, size in zip(SPLITS, arguments):
            expected = GOLDEN[f"{case}/{split}_x"]
            assert made[f"{split}_x"].dtype == expected.dtype
            np.testing.assert_array_equal(made[f"{split}_x"], expected)
            for kind in ("pos", "vel"):
                assert made[f"{split}_{kind}"].shape == (size, arguments[3], n_objs, 2)
                assert made[f"{split}_{kind}"].dtype == np.float32
        assert made["meta"].shape == () and made["meta"].dtype.kind == "U"


SHARED = ["dest", "train_set_size", "valid_set_size", "test_set_size", "seq_len"]
SPRING_ARGUMENTS = (
    "img_size=None radius=3 dt=0.3 k=3 equil=5 vx0_max=0.0 vy0_max=0.0 color=False cifar_background=False ode_steps=10"
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bouncing_ball", "box_size"),
        ("falling_ball", "img_size=None radius=3 dt=0.15 g=9.8 ode_steps=10"),
        (
            "falling_bouncing_ball",
            "img_size=None radius=3 dt=0.3 g=9.8 vx0_max=0.0 vy0_max=0.0 cifar_background=False ode_steps=10",
        ),
        ("spring_balls", SPRING_ARGUMENTS),
        ("spring_mnist", SPRING_ARGUMENTS),
        ("3_body_problem", SPRING_ARGUMENTS.replace("k=3 equil=5", "g=9.8 m=1.0")),
    ],
)
def test_signatures_are_the_originals(name, expected):
    parameters = inspect.signature(generator(name)).parameters.values()
    written = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters]
    wanted = SHARED + expected.split()
    assert written[: len(wanted)] == wanted


def test_public_collision_functions():
    size = [32, 32]
    pos, vel = generators.compute_wall_collision(np.array([1.0, 31.5]), np.array([-3.0, 2.0]), 2, size)
    np.testing.assert_array_equal(pos, [3.0, 28.5])
    np.testing.assert_array_equal(vel, [3.0, -2.0])
    pos, vel = generators.compute_wall_collision(np.array([16.0, 16.0]), np.array([-3.0, 2.0]), 2, size)
    np.testing.assert_array_equal((pos, vel), ([16.0, 16.0], [-3.0, 2.0]))
    for place, expected in (((2.0, 16.0), True), ((2.1, 29.9), False), ((16.0, 30.0), True), ((31.0, 9.0), True)):
        assert generators.verify_wall_collision(np.array(place), np.zeros(2), 2, size) is expected
    poss = [np.array([3.0, 4.0]), np.array([20.0, 20.0]), np.array([6.0, 8.0])]
    assert generators.verify_object_collision(poss, 5.0)
    assert not generators.verify_object_collision(poss, 4.9)


@pytest.mark.parametrize(
    "changed",
    [
        {"equil": 40},
        {"radius": 0},
        {"radius": float("nan")},
        {"dt": 0.0},
        {"ode_steps": 0},
        {"seq_len": -3},
        {"train_set_size": 0},
        {"test_set_size": 1.5},
        {"img_size": [32, 48]},
        {"img_size": [0, 0]},
        {"img_size": 7.5},
        {"vx0_max": float("inf")},
        {"cifar_background": True},
    ],
    ids=str,
)
def test_bad_arguments_are_explained(changed, tmp_path, monkeypatch):
    monkeypatch.setattr("data_gen.dataset.MAX_REJECTED_IN_A_ROW", 3000)
    sizes = {"train_set_size": 2, "valid_set_size": 1, "test_set_size": 1, "seq_len": 5}
    with pytest.raises(DataError, match=next(iter(changed)).split("_set")[0]) as error:
        generators.generate_spring_balls_dataset(str(tmp_path / "data.npz"), **{**sizes, **SPRING, **changed})
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_impossible_systems_end_after_a_bounded_number_of_attempts(tmp_path, monkeypatch):
    monkeypatch.setattr("data_gen.dataset.MAX_REJECTED_IN_A_ROW", 3000)
    path = str(tmp_path / "data.npz")
    for name, seq_len, settings in (
        ("falling_ball", 40, {}),
        ("3_body_problem", 4, {"radius": 17}),
        ("spring_balls_half", 4, {"equil": 40}),
    ):
        with pytest.raises(DataError, match="attempts in a row"):
            generator(name)(path, 1, 1, 1, seq_len, **settings)


def test_blocks_of_attempts_change_nothing(tmp_path, splits, monkeypatch):
    """Attempts are drawn in blocks, but as many random numbers are used as by drawing one at a time."""
    results = []
    for block in (1, 7, 4096):
        monkeypatch.setattr("data_gen.dataset.FIRST_BLOCK", block)
        monkeypatch.setattr("data_gen.dataset.LARGEST_BLOCK", block)
        for name, extra in (("spring_balls", {"equil": 6}), ("3_body_problem", {"img_size": [48, 48]})):
            np.random.seed(5)
            path = str(tmp_path / f"{name}{block}.npz")
            generator(name)(path, 3, 1, 1, 6, radius=2, vx0_max=3.0, vy0_max=2.0, **extra)
            results.append((name, splits(path), np.random.rand(3)))
    for name, frames, after in results[2:]:
        first = next(result for result in results if result[0] == name)
        np.testing.assert_array_equal(frames, first[1])
        np.testing.assert_array_equal(after, first[2])
