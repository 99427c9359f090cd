"""Random settings, against what witness.py computed one sequence at a time with scikit-image 0.17.2."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from data_gen import generators
from data_gen.resample import cell_centres, enlarge, extended, samples, shrink_extended

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "witness.json").read_text())
WITNESSED = RECORDED["generators"]
GOLDEN = np.load(HERE.parent / "golden" / "generators.npz")
NAMES = {"spring": "spring_balls", "mnist": "spring_mnist", "3bp": "3_body_problem", "ball": "falling_bouncing_ball"}


def test_all_kinds_and_long_sequences_are_witnessed():
    for kind in NAMES:
        lengths = [case["seq_len"] for case in WITNESSED if case["kind"] == kind]
        assert len(lengths) >= 10
        assert kind == "mnist" or max(lengths) > 30


@pytest.mark.parametrize("number", range(len(WITNESSED)))
def test_equal_to_the_witness(number, tmp_path, splits):
    case = WITNESSED[number]
    settings = {"img_size": [case["side"]] * 2, "vx0_max": case["vx"], "vy0_max": case["vy"]}
    physics = ("dt", "ode_steps", "radius", "k", "equil", "g", "m")
    settings.update({name: case[name] for name in physics if name in case})
    if case["kind"] != "ball":
        settings["color"] = case["color"]
    if case["kind"] == "mnist":
        settings.update(digits=GOLDEN["digits"], background=GOLDEN["background"])
        settings["cifar_background"] = case["background"]
    np.random.seed(case["seed"])
    path = str(tmp_path / "data.npz")
    generate = getattr(generators, f"generate_{NAMES[case['kind']]}_dataset")
    generate(path, case["sequences"] - 2, 1, 1, case["seq_len"], **settings)
    assert np.random.rand(3).tolist() == case["rng_after"]
    assert hashlib.sha256(np.ascontiguousarray(splits(path)).tobytes()).hexdigest() == case["frames_sha256"]


@pytest.mark.parametrize("case", RECORDED["resize"], ids=lambda case: f"{case['source']}-{case['output']}")
def test_resize_equals_scikit_image_to_the_last_bit(case):
    source, output = case["source"], case["output"]
    image = np.random.RandomState(source).rand(1, source, source).astype(case["dtype"])
    if output > source:
        result = enlarge(image, output)
    else:
        scale = source // output
        centres = cell_centres(scale, output)
        rows, cols = samples(source, output) if scale == 5 else (centres, centres)
        result = shrink_extended(extended(image, scale), scale, rows, cols)
    assert result.dtype == image.dtype
    assert hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest() == case["sha256"]
