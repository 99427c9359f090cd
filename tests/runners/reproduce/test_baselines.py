"""reproduce_paper.py --figures: what it runs, measures, and says; a baseline that wins is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from command import run_command, run_main
from one_command import load_command
from PIL import Image

from data_gen.iterators import load_frames
from data_gen.recipes import RECIPES
from physics_models import checkpoints
from physics_models.experiment import write_marker
from physics_models.physics_net import PhysicsNet
from physics_models.staged import settings_for
from physics_models.tasks import get_task
from physics_models.video_lstm import VideoLSTM
from runners.reproduce import baselines, figures
from runners.reproduce.measure import DataFiles
from runners.run_base import FLAGS

ROOT = Path(__file__).parents[3]
RUN = {
    "task": "3bp_color", "model": "physics", "seed": 0, "found": True, "stack": "TensorFlow 2", "wall_s": 600.0,
    "steps": "1000 + 6000 + 1500", "weights": 2433601, "input_steps": 4, "pred_steps": 12,
    "losses": {"pred_loss": 2.0, "extrap_loss": 30.0, "recons_loss": 0.5}, "ssim": [0.9] * 12 + [0.5] * 24,
    "parameters": {"g": 66.0, "m": 1.0}, "true": {"g": 60.0, "m": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def command():
    return load_command("reproduce_paper")


def losses(pred: float, extrap: float, recons: float) -> dict[str, float]:
    return {"pred_loss": pred, "extrap_loss": extrap, "recons_loss": recons}


def write_entry(folder: Path, **changes) -> Path:
    """An entry below `folder`, and its frames: the truth is black, each model has a grey of its own."""
    entry = {**RUN, **changes}
    path = folder / entry["task"] / entry["model"] / f"seed{entry['seed']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry))
    grey = 40 * (1 + list(baselines.MODELS).index(entry["model"])) % 256
    predicted = np.full([len(entry["ssim"]), 36, 36, 3], grey, np.uint8)
    np.savez(path.with_suffix(".npz"), truth=np.zeros_like(predicted), predicted=predicted)
    return path


# What is run


def test_every_model_takes_as_many_steps_on_the_same_data(command, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(command, "run_and_show", lambda arguments: calls.append(arguments[2:]) or (0, ""))
    monkeypatch.setattr(baselines, "measure", lambda name, task, seed, *_, **__: {**RUN, "model": name, "seed": seed})
    monkeypatch.setattr(baselines, "draw", lambda *_: {})
    given = [f"--experiments={tmp_path}", "--autoencoder_steps=7", "--joint_batch=4", "--supervision=none"]
    for _ in range(2):  # what is measured is not run again
        assert run_main(command.main, ["--figures", "--task=3bp_color", "--seeds=0,1", *given]).code == 0
    assert len(calls) == 2 * len(baselines.MODELS) == 14
    steps = settings_for("3bp_color")
    for name, arguments in zip(baselines.MODELS, calls):
        shared = {"--task=3bp_color", "--color=true", "--schedule=staged", "--joint_batch=4", "--seed=0"}
        assert shared <= set(arguments) and f"--save_dir={tmp_path}/figures/3bp_color/{name}/seed0" in arguments
        if name == "video-lstm":
            assert f"--joint_steps={7 + steps.joint.steps}" in arguments
            assert not [a for a in arguments if re.match("--(autoencoder|positions|supervision)", a)]
        else:
            assert {"--autoencoder_steps=7", "--supervision=none"} <= set(arguments)
            assert f"--positions_steps={steps.positions.steps}" in arguments  # also where they are fewer by default


@pytest.mark.parametrize("name", baselines.MODELS)
def test_the_flags_of_a_model_are_flags_of_run_physics(command, name):
    with flagsaver.flagsaver():
        FLAGS(["test", *baselines.flags(name, settings_for("spring_color"))])
        changed = {each for each in baselines.SET_HERE if FLAGS[each].value != FLAGS[each].default}
    wanted = {
        "physics": set(), "physics-corrected": {"vel_encoder", "calibrated_coords"},
        "interaction-network": {"cell_type"}, "lstm": {"cell_type"}, "video-lstm": {"model"},
        "black-box-decoder": {"decoder_type"}, "separate-gradients": {"separate_gradients"},
    }  # fmt: skip
    assert changed == wanted[name]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--figures", "--all"], "--figures"),
        (["--figures", "--discovery"], "--figures"),
        (["--figures", "--legacy"], "--figures"),
        (["--figures", "--task=spring_color_half"], "--task=spring_color_half"),
        (["--figures", "--cell_type=lstm"], "--cell_type: this command sets it"),
        (["--figures", "--collect"], "holds no measured run, <task>/<model>/seed<N>.json"),
    ],
)
def test_mistakes_are_one_line(tmp_path, command, arguments, named):
    ended = run_main(command.main, [*arguments, f"--experiments={tmp_path}"])
    assert (ended.code, ended.out) == (1, "") and named in ended.err and ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_models_are_trained_measured_and_shown(command, tmp_path, small_data, monkeypatch, without_graphs):
    """Through run_physics.py, with a few steps: a model that has no positions and one whose stages always go on."""
    monkeypatch.setattr(baselines, "MODELS", {n: baselines.MODELS[n] for n in ("video-lstm", "black-box-decoder")})

    def run(arguments):
        ended = run_command("paig-run-physics", *arguments[2:])
        return ended.code, ended.err.splitlines()[-1]

    monkeypatch.setattr(command, "run_and_show", run)
    steps = [f"--{stage}_steps=1" for stage in ("autoencoder", "positions", "joint")]
    steps += ["--joint_batch=2", "--recurrent_units=8"]
    places = [f"--experiments={tmp_path / 'runs'}", f"--report_dir={tmp_path}", f"--data_dir={small_data}"]
    ended = run_main(command.main, ["--figures", "--task=spring_color", "--seeds=3", *steps, *places])
    assert (ended.code, ended.out) == (0, f"report: {tmp_path}/baselines.md\n"), ended.err
    entries = json.loads((tmp_path / "baselines.json").read_text())
    assert [(e["model"], e["steps"]) for e in entries] == [("video-lstm", "2"), ("black-box-decoder", "1 + 1 + 1")]
    assert all(e["found"] and len(e["ssim"]) == 26 and e["sequences"] == 2 for e in entries)
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "pictures").iterdir()}
    assert sizes["baselines_spring_color_frames.png"] == (12 * 34 * 3, 3 * 34 * 3)
    assert "baselines_spring_color_ssim.png" in sizes


# What is measured


def test_a_run_is_measured_on_the_test_file(tmp_path, small_data, without_graphs):
    recipe, settings = RECIPES["spring_color"], settings_for("spring_color")
    files = DataFiles(small_data / recipe.train_file, small_data / recipe.test_file, recipe.physics)
    frames = load_frames(files.test, ("test",))["test"]
    task = get_task("spring_color")
    nets = {
        "video-lstm": VideoLSTM(task, recurrent_units=8),
        "physics": PhysicsNet(task),
        "physics-corrected": PhysicsNet(task, vel_encoder="gauss_newton", calibrated_coords=True),
    }
    nets["video-lstm"].build(None)
    nets["video-lstm"].deconvs[-1].bias.assign([-0.5, 0.5, 1.5])  # frames beyond [0, 1]
    counts = {}
    for name, net in nets.items():
        folder = tmp_path / name / "seed0"
        folder.mkdir(parents=True)
        checkpoints.save(folder, net.variables_by_name(), {"iteration": 0})
        write_marker(folder, {}, net.get_config())
        entry = baselines.measure(name, "spring_color", 0, folder, files, settings, found=True)
        outputs = net(net.to_float(tf.constant(frames)))
        error = np.square(np.array(outputs.output) - frames[:, 4:] / np.float32(255)).sum((2, 3, 4))
        assert entry["losses"]["pred_loss"] == pytest.approx(error[:, :6].mean(), rel=1e-4)
        assert entry["true"] == {"k": 4.0, "l": 6.0} and set(entry["parameters"]) <= {"k", "l"}
        with np.load(folder.with_suffix(".npz")) as arrays:
            np.testing.assert_array_equal(arrays["truth"], frames[0, 4:])
            np.testing.assert_allclose(arrays["predicted"] / 255, np.clip(outputs.output[0], 0, 1), atol=0.51 / 255)
        shown = np.square(np.clip(outputs.output, 0, 1) - frames[:, 4:] / np.float32(255))
        np.testing.assert_allclose(entry["mse"], shown.mean((0, 2, 3, 4)), rtol=1e-4)
        counts[name] = entry["weights"]
        lost = baselines.measure(name, "spring_color", 0, folder, files, settings, found=False)
        assert not lost["found"] and "losses" not in lost and lost["steps"] == entry["steps"]
    assert counts["physics"] == 1736537 == counts["physics-corrected"] + 11202  # the velocity net is not in use
    assert counts["video-lstm"] == sum(int(np.prod(v.shape)) for v in nets["video-lstm"].trainable_variables)


# What the page says


def test_the_best_is_bold_and_a_baseline_that_wins_is_named(tmp_path, command):
    runs = tmp_path / "figures"
    write_entry(runs)
    write_entry(runs, seed=1, losses=losses(4.0, 10.0, 0.7), ssim=[0.8] * 36, wall_s=1200.0)
    write_entry(runs, model="physics-corrected", found=False)
    write_entry(runs, model="lstm", losses=losses(3.5, 15.0, 0.6), ssim=[0.95] * 12 + [0.4] * 24, parameters={})
    write_entry(runs, model="separate-gradients", losses=losses(9.0, 40.0, 0.4), ssim=[0.7] * 12 + [0.3] * 24)
    (tmp_path / "baselines.md").write_text("# Mine\n\nwords\n\n## Results\n\nformer\n")
    ended = run_main(command.main, ["--figures", "--collect", f"--experiments={tmp_path}"])
    assert (ended.code, ended.out) == (0, f"report: {tmp_path}/baselines.md\n")
    page = (tmp_path / "baselines.md").read_text()
    assert page.startswith("# Mine\n\nwords\n\n## Results\n") and "former" not in page
    lines = page.splitlines()
    own = "0.85 | **0.65** | **3** | 20 | **0.6** | g 66 (+10.0 %) | 2,433,601 | 1000 + 6000 + 1500 | 15 | 2 of 2 |"
    assert f"| Physics + inverse graphics | {own}" in lines
    assert "| LSTM + inverse graphics | **0.95** | 0.4 | 3.5 | **15** | 0.6 | – |" in page
    assert "| Physics + inverse graphics, corrected | – | – | – | – | – | – | – |" in page
    won = "LSTM + inverse graphics in SSIM predicted, extrap; Separate gradients in recons"
    assert f"Better than Physics + inverse graphics: **{won}**." in lines
    assert "Better than Physics + inverse graphics, corrected" not in page  # it has no numbers
    ablations = page.split("Ablations:")[1].split("###")[0]
    assert "| Separate gradients | 0.7 | 0.3 | 9 | 40 | **0.4** |" in ablations and "LSTM" not in ablations
    rows = page.split("### Every run")[1]
    assert rows.count("\n| 3bp_color |") == 5 and rows.count("objects not found") == 1
    assert [entry["seed"] for entry in json.loads((tmp_path / "baselines.json").read_text())] == [0, 1, 0, 0, 0]


def test_where_no_baseline_wins_the_page_says_that(tmp_path, command):
    write_entry(tmp_path / "figures")
    write_entry(tmp_path / "figures", model="lstm", losses=losses(2.5, 31.0, 0.5), ssim=[0.9] * 12 + [0.4] * 24)
    run_main(command.main, ["--figures", "--collect", f"--experiments={tmp_path}"])
    page = (tmp_path / "baselines.md").read_text()
    assert "Better than Physics + inverse graphics: no baseline and no ablation in any column." in page


def test_a_loss_that_is_no_number_is_not_better_than_any(tmp_path, command):
    write_entry(tmp_path / "figures", flags=["--supervision=none"])
    broken = losses(float("nan"), float("inf"), 0.9)
    write_entry(tmp_path / "figures", model="lstm", losses=broken, ssim=[0.1] * 36, flags=["--supervision=none"])
    run_main(command.main, ["--figures", "--collect", f"--experiments={tmp_path}"])
    page = (tmp_path / "baselines.md").read_text()
    assert "Better than Physics + inverse graphics: no baseline and no ablation in any column." in page
    assert "**nan**" not in page and "| nan | inf |" in page
    assert "not supervised" in page and "supervised by" not in page  # as the entries' flags say


def test_figure_2_has_the_truth_above_and_the_ssim_its_training_range(tmp_path, command, monkeypatch):
    curves = []
    monkeypatch.setattr(figures, "curves", lambda *arguments: curves.append(arguments))
    runs = tmp_path / "figures"
    write_entry(runs, found=False)
    write_entry(runs, seed=1)
    write_entry(runs, model="video-lstm", ssim=[0.4] * 36)
    write_entry(runs, model="video-lstm", seed=1, ssim=[0.2] * 36)
    run_main(command.main, ["--figures", "--collect", f"--experiments={tmp_path}"])
    with Image.open(tmp_path / "pictures" / "baselines_3bp_color_frames.png") as picture:
        assert picture.size == (12 * 38 * 3, 3 * 38 * 3)
        pixels = np.asarray(picture.convert("L"))
    assert [int(pixels[row * 38 * 3 + 57, 57]) for row in range(3)] == [0, 40, 200]  # truth, physics, VideoLSTM
    page = (tmp_path / "baselines.md").read_text()
    assert "frames 4, 7, 10, 14, 17, 20, 23, 26, 29, 33, 36, 39 of one test sequence" in page
    assert "from top to bottom: truth, Physics + inverse graphics (seed 1), VideoLSTM (seed 0)." in page
    ((series, first, what, path, trained_to),) = curves
    assert (first, what, trained_to, Path(path).name) == (4, "SSIM", 16, "baselines_3bp_color_ssim.png")
    np.testing.assert_allclose(series["VideoLSTM"], [0.3] * 36)  # the mean over the seeds
    assert list(series) == ["Physics + inverse graphics", "VideoLSTM"]


def test_figure_2_shows_the_seeds_whose_frames_are_there(tmp_path, command):
    runs = tmp_path / "figures"
    write_entry(runs).with_suffix(".npz").unlink()
    write_entry(runs, seed=1)
    write_entry(runs, model="lstm").with_suffix(".npz").unlink()
    write_entry(runs, task="spring_color", true={"k": 4.0}, parameters={"k": 4.0}).with_suffix(".npz").unlink()
    assert run_main(command.main, ["--figures", "--collect", f"--experiments={tmp_path}"]).code == 0
    page = (tmp_path / "baselines.md").read_text()
    assert "from top to bottom: truth, Physics + inverse graphics (seed 1)." in page
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"baselines_{end}.png" for end in ("3bp_color_frames", "3bp_color_ssim", "spring_color_ssim")}


def test_the_training_range_is_shaded(tmp_path):
    pictures = []
    for trained_to in (None, 10, 20):
        figures.curves({"one": [0.5] * 26}, 4, "SSIM", f"{tmp_path}/{trained_to}.png", trained_to)
        with Image.open(tmp_path / f"{trained_to}.png") as picture:
            pictures.append(np.asarray(picture.convert("L")))
    grey = [np.flatnonzero(pixels[200] == 235).size for pixels in pictures]  # a row below the curve
    assert grey[0] == 0 < grey[1] < grey[2]


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({**RUN, "model": "other"}), json.dumps({**RUN, "losses": {}})])
def test_a_damaged_entry_is_named_and_the_page_stays(tmp_path, command, text):
    write_entry(tmp_path / "figures").write_text(text)
    (tmp_path / "baselines.md").write_text("mine")
    ended = run_main(command.main, ["--figures", "--collect", f"--experiments={tmp_path}"])
    assert (ended.code, ended.out) == (1, "") and "seed0.json: damaged" in ended.err.splitlines()[-1]
    assert (tmp_path / "baselines.md").read_text() == "mine"


def test_the_results_in_docs_follow_from_their_entries():
    text = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    entries = json.loads((ROOT / "docs" / "baselines.json").read_text(encoding="utf-8"))
    there = [line for line in text.splitlines() if line.startswith(("| ", "Better than"))]
    made = [line for line in baselines.results(entries).splitlines() if line.startswith(("| ", "Better than"))]
    assert len(made) > len(entries) and [line for line in there if line in made] == made
