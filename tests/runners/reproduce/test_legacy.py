"""The original's command, seed by seed: what counts as found, and what the page says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import run_main
from one_command import load_command

from data_gen.recipes import RECIPES
from physics_models.physics_net import PhysicsNet
from physics_models.staged import Stage, StagedSettings
from physics_models.tasks import TASKS
from runners.reproduce import legacy
from runners.reproduce.measure import DataFiles
from runners.reproduce.report import table, write_entry
from runners.run_base import FLAGS

ROOT = Path(__file__).parents[3]


def test_an_object_that_no_position_follows_is_not_found():
    random = np.random.RandomState(0)
    true = random.uniform(4, 28, (20, 10, 2, 2))
    encoded = true[:, :, ::-1] + [1.0, -2.0]  # other names, another place in the template
    assert legacy.in_place(encoded, true) == [1.0, 1.0]
    encoded[:, :, 0] = 16.0  # the network's first object, the truth's second, stays where it is
    found = legacy.in_place(encoded, true)
    assert found[0] == 1.0 and found[1] < 0.1
    encoded[:, :, 0] = encoded[:, :, 1]  # both follow one object
    assert sorted(legacy.in_place(encoded, true))[0] < 0.1


def test_without_true_positions_there_are_dashes():
    assert legacy.columns([]) == {"in place": "–", "found": "–"}
    assert legacy.columns([0.95, 0.2]) == {"in place": "0.95, 0.20", "found": "1 of 2"}


def test_the_original_s_flags_and_the_page(tmp_path, monkeypatch):
    command, calls = load_command("reproduce_paper"), []
    monkeypatch.setattr(command, "run_and_show", lambda arguments: calls.append(arguments) or (0, ""))
    entry = {
        "task": "spring_color", "seed": 3, "epochs": 20, "stack": "TensorFlow 2", "wall_s": 480.0,
        "losses": {"eval_recons_loss": 9.1, "eval_pred_loss": 20.0, "eval_extrap_loss": 31.0},
        "parameters": {"k": 1.13, "l": 3.1}, "in_place": [0.98, 0.31], "fitted": {"k": 4.3, "l": 6.2},
    }  # fmt: skip
    monkeypatch.setattr(legacy, "measure", lambda *_: entry)
    (tmp_path / "legacy_run.md").write_text("# Mine\n\n## Every run\n\nold\n")
    arguments = ["--legacy", "--task=spring_color", "--seeds=3", "--epochs=20", f"--experiments={tmp_path}"]
    assert run_main(command.main, arguments).code == 0
    wanted = ["batch_size=100", "autoencoder_loss=3.0", "base_lr=0.0006", "color=true", "seed=3", "epochs=20"]
    assert {f"--{each}" for each in wanted} <= set(calls[0])
    assert not any("schedule" in argument for argument in calls[0])
    page = (tmp_path / "legacy_run.md").read_text()
    assert page.startswith("# Mine\n\n## Every run\n") and "old" not in page
    row = "| spring_color | 3 | 20 | 9.1 | 20 | 31 | 0.98, 0.31 | 1 of 2 | k 1.13, l 3.1 | k 4.3, l 6.2 | 8 |"
    assert row in page and json.loads((tmp_path / "legacy" / "spring_color" / "seed3_20.json").read_text()) == {
        **entry, "flags": []
    }  # fmt: skip


def test_what_was_learned_is_drawn_beside_the_truth_and_the_paper(tmp_path):
    run = {
        "task": "spring_color", "seed": 1, "true": {"k": 4.0, "l": 6.0}, "stack": "TensorFlow 2", "wall_s": 60.0,
        "losses": {"eval_recons_loss": 9.1, "eval_pred_loss": 20.0, "eval_extrap_loss": 31.0}, "in_place": [],
    }  # fmt: skip
    cell = "net/spring_ode_cell/log_"
    log = [[epoch, {f"{cell}k": np.log(1 + epoch), f"{cell}l": 0.0, "net/decoder/logsigma": 1.0}] for epoch in (0, 1)]
    short = {**run, "epochs": 20, "parameters": {"k": 2.0, "l": 1.0}, "logged": log[:1]}
    long = {**run, "epochs": 100, "parameters": {"k": 2.0, "l": 1.0}, "logged": log}
    shown = legacy.histories([long, short])
    assert list(shown) == ["k", "l"] and list(shown["k"]) == ["seed 1", "paper", "true"]
    np.testing.assert_allclose(shown["k"]["seed 1"], ([0, 1], [1.0, 2.0]))
    assert shown["k"]["paper"] == ([0, 1], [4.26, 4.26]) and shown["l"]["true"] == ([0, 1], [6.0, 6.0])
    for entry in (long, short):
        write_entry(tmp_path / "runs" / "spring_color" / f"seed1_{entry['epochs']}.json", entry)
    legacy.write_runs(tmp_path / "runs", tmp_path / "legacy_run.md")
    page = (tmp_path / "legacy_run.md").read_text()
    assert "(pictures/legacy_spring_color.png)" in page
    assert (tmp_path / "pictures" / "legacy_spring_color.png").is_file()
    assert page.index("| spring_color | 1 | 20 |") < page.index("| spring_color | 1 | 100 |")
    assert json.loads((tmp_path / "legacy_run.json").read_text()) == json.loads(json.dumps([short, long]))


def test_the_rows_in_docs_follow_from_their_entries():
    entries = json.loads((ROOT / "docs" / "legacy_run.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "legacy_run.md").read_text(encoding="utf-8").split(legacy.HEADING)[1]
    assert [line for line in page.splitlines() if line.startswith("| ")] == table(list(map(legacy.run_row, entries)))


@pytest.mark.parametrize("text", ["{", "[]", '{"task": "spring_color", "seed": 0, "epochs": 20}'])
def test_a_damaged_entry_is_named_and_the_page_stays(tmp_path, text):
    folder = tmp_path / "legacy" / "spring_color"
    folder.mkdir(parents=True)
    (folder / "seed0_20.json").write_text(text)
    (tmp_path / "legacy_run.md").write_text("mine")
    arguments = ["--legacy", "--collect", "--task=spring_color", f"--experiments={tmp_path}"]
    ended = run_main(load_command("reproduce_paper").main, arguments)
    assert ended.code == 1 and "seed0_20.json: damaged" in ended.err.splitlines()[-1]
    assert (tmp_path / "legacy_run.md").read_text() == "mine"


def test_without_a_seed_there_is_nothing_to_report(tmp_path):
    command = load_command("reproduce_paper")
    given = ["--legacy", "--task=spring_color", f"--experiments={tmp_path}"]
    ended = run_main(command.main, given)
    assert ended.code == 1 and "--seeds" in ended.err.splitlines()[-1] and not list(tmp_path.iterdir())
    ended = run_main(command.main, [*given, "--collect"])
    assert ended.code == 1 and "--seeds" in ended.err.splitlines()[-1]


def test_a_new_cell_is_fitted_to_what_the_network_encodes(tmp_path, monkeypatch):
    """Three steps of it, towards positions in which nothing moves: the spring becomes weaker."""
    net, recipe = PhysicsNet(TASKS["spring_color"]), RECIPES["spring_color"]
    recipe.generator(str(tmp_path / "train.npz"), 8, 4, 4, 12, **recipe.physics)
    still = np.tile([8.0, 16.0, 24.0, 16.0], (8, 10, 1)).astype(np.float32)
    monkeypatch.setattr(legacy, "encode_all", lambda given, frames: still[: len(frames)] if given is net else None)
    monkeypatch.setattr(legacy, "settings_for", lambda task: StagedSettings(*[Stage(3, 4, 0.1)] * 3, 1.0))
    files = DataFiles(tmp_path / "train.npz", tmp_path / "test.npz", recipe.physics)
    fitted = legacy.fit_to_positions(net, files, 0)
    assert fitted["k"] < 1.0


@pytest.mark.slow
def test_a_run_is_trained_measured_and_continued(tmp_path):
    command, recipe = load_command("reproduce_paper"), RECIPES["spring_color"]
    for file, length in ((recipe.train_file, 12), (recipe.test_file, 30)):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        recipe.generator(str(tmp_path / file), 8, 4, 4, length, **recipe.physics)
    given = ["--legacy", "--task=spring_color", "--seeds=0", f"--experiments={tmp_path}", f"--data_dir={tmp_path}"]
    for epochs in (1, 2):
        assert run_main(command.main, [*given, "--batch_size=4", f"--epochs={epochs}"]).code == 0
        entry = json.loads((tmp_path / "legacy" / "spring_color" / f"seed0_{epochs}.json").read_text())
        assert entry["epochs"] == epochs and len(entry["in_place"]) == 2
    with np.load(tmp_path / recipe.test_file) as file:
        published = {name: file[name] for name in file if name.endswith("_x")}
    np.savez(tmp_path / recipe.test_file, **published)
    assert run_main(command.main, [*given, "--batch_size=4", "--epochs=3"]).code == 0
    page = (tmp_path / "legacy_run.md").read_text()
    assert "| – | – |" in page and "(pictures/legacy_spring_color.png)" in page
    FLAGS.unparse_flags()
