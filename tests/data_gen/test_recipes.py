"""`make_dataset` and the table of recipes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_gen import generators
from data_gen.errors import DataError
from data_gen.files import save_dataset
from data_gen.recipes import RECIPES, make_dataset, settings_of

SIZES = (6, 2, 3)
BALLS = [task for task in RECIPES if task != "mnist_spring_color"]


def test_tasks_lengths_and_file_names_are_the_originals():
    assert {task: (r.train_len, r.test_len, r.img_size) for task, r in RECIPES.items()} == {
        "bouncing_balls": (12, 30, 32),
        "spring_color": (12, 30, 32),
        "spring_color_half": (12, 30, 32),
        "3bp_color": (20, 40, 36),
        "mnist_spring_color": (12, 30, 64),
    }
    assert [r.train_file for r in RECIPES.values()] == [
        "bouncing/color_bounce_vx8_vy8_sl12_r2.npz",
        "spring_color/color_spring_vx8_vy8_sl12_r2_k4_e6.npz",
        "spring_color_half/color_spring_vx4_vy4_sl12_r2_k4_e6_halfpane.npz",
        "3bp_color/color_3bp_vx2_vy2_sl20_r2_g60_m1_dt05.npz",
        "mnist_spring_color/color_mnist_spring_vx8_vy8_sl12_r2_k2_e12.npz",
    ]
    for recipe in RECIPES.values():
        assert recipe.test_file == recipe.train_file.replace(f"sl{recipe.train_len}", f"sl{recipe.test_len}")


def test_file_names_state_the_settings():
    for recipe in RECIPES.values():
        for part in recipe.train_file[:-4].split("_"):
            marks = {"vx": "vx0_max", "vy": "vy0_max", "k": "k", "e": "equil", "g": "g", "m": "m"}
            for mark, name in marks.items():
                if part[len(mark) :].isdigit() and part.startswith(mark):
                    assert recipe.physics[name] == int(part[len(mark) :])


def test_default_seeds_of_the_two_files_differ():
    for recipe in RECIPES.values():
        assert recipe.default_seed(recipe.train_len) != recipe.default_seed(recipe.test_len)


@pytest.mark.parametrize("task", BALLS)
def test_frames_meta_and_picture(task, tmp_path, splits):
    path = tmp_path / "new" / "folder" / "data.npz"
    result = make_dataset(task, str(path), 12, SIZES)
    recipe = RECIPES[task]
    with np.load(path, allow_pickle=False) as made:
        for split, size in zip(("train", "valid", "test"), SIZES):
            assert made[f"{split}_x"].shape == (size, 12, recipe.img_size, recipe.img_size, 3)
            assert made[f"{split}_x"].dtype == np.uint8
        meta = json.loads(str(made["meta"]))
    assert meta["task"] == task and meta["seed"] == recipe.default_seed(12) and meta["version"] == 1
    assert meta["accepted"] == 11 == result["accepted"] and meta["attempts"] == result["attempts"] >= 11
    assert {name: meta["physics"][name] for name in recipe.physics} == recipe.physics
    assert meta["physics"]["seq_len"] == 12 and meta["physics"]["img_size"] == recipe.img_size
    assert result["seconds"] > 0
    picture = path.with_name("data_samples.jpg")
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size == (12 * (recipe.img_size + 1), 10 * (recipe.img_size + 1))


@pytest.mark.parametrize("task", BALLS)
def test_a_dataset_is_a_function_of_task_settings_and_seed(task, tmp_path, splits):
    np.random.seed(99)
    before = np.random.get_state()
    paths = [str(tmp_path / f"{i}.npz") for i in range(4)]
    make_dataset(task, paths[0], 4, SIZES, seed=5)
    state = np.random.get_state()
    assert state[2:] == before[2:] and (state[1] == before[1]).all()
    np.random.rand(7)
    make_dataset(task, paths[1], 4, SIZES, seed=5)
    make_dataset(task, paths[2], 4, SIZES, seed=6)
    make_dataset(task, paths[3], 4, SIZES, seed=5, dt=0.2)
    contents = [open(path, "rb").read() for path in paths]
    assert contents[0] == contents[1]
    for other in (2, 3):
        assert (splits(paths[other]) != splits(paths[0])).any()


def test_more_sequences_start_with_the_same(tmp_path, splits):
    make_dataset("spring_color", str(tmp_path / "a.npz"), 12, SIZES, seed=5)
    make_dataset("spring_color", str(tmp_path / "b.npz"), 12, (60, 2, 3), seed=5)
    np.testing.assert_array_equal(splits(tmp_path / "a.npz"), splits(tmp_path / "b.npz")[:11])


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match=str(path)):
        make_dataset("spring_color", str(path), 12, SIZES)
    assert path.read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1
    make_dataset("spring_color", str(path), 12, SIZES, overwrite=True)
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("task", "changed", "named"),
    [
        ("spring", {}, "spring_color"),
        ("spring_color", {"g": 3}, "setting g"),
        ("spring_color", {"train_set_size": 3}, "train_set_size"),
        ("spring_color", {"split_sizes": (3, 3)}, "split_sizes"),
        ("spring_color", {"seed": -1}, "seed"),
        ("spring_color", {"seed": 2**32}, "seed"),
        ("spring_color", {"seed": 1.5}, "seed"),
        ("spring_color", {"img_size": -32}, "img_size"),
        ("pendulum", {"img_size": 0}, "img_size"),
        ("pendulum", {"img_size": -3}, "img_size"),
        ("pendulum", {"img_size": 600}, "img_size"),  # its picture has 260 pixels: at 600 some would have no source
        ("spring_color_half", {"half_frames": 0}, "half_frames"),
        ("mnist_spring_color", {"digits": "/no/such/file.npz"}, "/no/such/file.npz"),
    ],
)
def test_mistakes_are_explained(task, changed, named, tmp_path):
    arguments = {"split_sizes": SIZES, **changed}
    with pytest.raises(DataError, match=named) as error:
        make_dataset(task, str(tmp_path / "data.npz"), 12, **arguments)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_settings_of_names_all_of_a_recipe():
    for task, recipe in RECIPES.items():
        assert {"img_size", *recipe.physics} <= set(settings_of(task))


def test_unwritable_places_are_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="data.npz"):
        make_dataset("spring_color", str(tmp_path / "file" / "data.npz"), 12, SIZES)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="folder.npz"):
        make_dataset("spring_color", str(tmp_path / "folder.npz"), 12, SIZES, overwrite=True)


def test_save_dataset_is_atomic(tmp_path):
    path = tmp_path / "data.npz"
    save_dataset(str(path), {"a": np.arange(3), "meta": {"b": 1}})
    content = path.read_bytes()

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        save_dataset(str(path), {"a": np.zeros(10**6), "b": Broken()})
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["meta"])) == {"b": 1}


def test_a_killed_run_leaves_no_half_file(tmp_path):
    """It is killed after its first array."""
    code = (
        "import os, signal, sys\n"
        "import numpy as np\n"
        "from data_gen.recipes import make_dataset\n"
        "write = np.lib.format.write_array\n"
        "def killed(*arguments, **settings):\n"
        "    write(*arguments, **settings)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "np.lib.format.write_array = killed\n"
        "make_dataset('bouncing_balls', sys.argv[1], 12, (6, 2, 3))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(generators.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data.npz")], env=environment)
    assert done.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".data.npz.") and left.endswith(".part")


def test_a_picture_left_without_its_data_stops_nothing_and_is_kept(tmp_path, caplog):
    """`run_physics.py` makes its missing data this way; the generators themselves write both, as the original."""
    picture = tmp_path / "data_samples.jpg"
    picture.write_bytes(b"mine")
    make_dataset("spring_color", str(tmp_path / "data.npz"), 5, (2, 1, 1))
    assert picture.read_bytes() == b"mine" and (tmp_path / "data.npz").exists()
    assert f"{picture} exists and is kept" in caplog.text
    generators.generate_spring_balls_dataset(str(tmp_path / "data.npz"), 2, 1, 1, 5, radius=2)
    assert picture.read_bytes() != b"mine"
