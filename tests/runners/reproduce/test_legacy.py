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
from runners.reproduce.report import table, write_entry
from runners.run_base import FLAGS

ROOT = Path(__file__).parents[3]


def test_an_object_that_no_position_follows_is_not_found():
    random = np.random.RandomState(0)
    true = random.uniform(4, 28, (20, 10, 2, 2))
    encoded = true[:, :, ::-1] + [1.0, -2.0]  # other names, another place in the template
    matched = legacy.match(encoded, true)
    assert matched.shares == [1.0, 1.0] and matched.apart < 1e-9
    np.testing.assert_allclose(matched.offsets, [[1.0, -2.0]] * 2)
    apart = legacy.match(encoded + [[0.0, 3.0], [4.0, 0.0]], true)  # each object at a place of its own in its template
    assert apart.shares == [1.0, 1.0] and apart.apart == pytest.approx(5.0)
    np.testing.assert_allclose(apart.offsets, [[1.0, 1.0], [5.0, -2.0]])  # by the network's names
    encoded[:, :, 0] = 16.0  # the network's first object, the truth's second, stays where it is
    found = legacy.match(encoded, true).shares
    assert found[0] == 1.0 and found[1] < 0.1
    encoded[:, :, 0] = encoded[:, :, 1]  # both follow one object
    assert sorted(legacy.match(encoded, true).shares)[0] < 0.1


def test_without_true_positions_there_are_dashes():
    assert legacy.columns({"in_place": []}) == {"in place": "–", "found": "–", "apart": "–"}
    found = {"in_place": [0.95, 0.2], "apart": 4.33}
    assert legacy.columns(found) == {"in place": "0.95, 0.20", "found": "1 of 2", "apart": "4.33"}


def test_the_original_s_flags_and_the_page(tmp_path, monkeypatch):
    command, calls = load_command("reproduce_paper"), []
    monkeypatch.setattr(command, "run_and_show", lambda arguments: calls.append(arguments) or (0, ""))
    entry = {
        "task": "spring_color", "seed": 3, "epochs": 20, "stack": "TensorFlow 2", "wall_s": 480.0,
        "losses": {"eval_recons_loss": 9.1, "eval_pred_loss": 20.0, "eval_extrap_loss": 31.0},
        "parameters": {"k": 1.13, "l": 3.1}, "in_place": [0.98, 0.31], "fitted": {"k": 4.3, "l": 6.2},
        "aligned": {"k": 4.1}, "apart": 4.334,
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
    row = "| spring_color | 3 | 20 | 9.1 | 20 | 31 | 0.98, 0.31 | 1 of 2 | 4.33 "
    row += "| k 1.13, l 3.1 | k 4.3, l 6.2 | k 4.1 | 8 |"
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


def test_what_the_positions_teach_is_measured_with_and_without_the_offsets(monkeypatch):
    """By three steps each. The offsets are what keeps the objects apart: without them they are at one place."""
    offsets = np.array([[6.0, 0.0], [-6.0, 0.0]])
    positions = np.tile([16.0, 16.0, 16.0, 16.0], (8, 10, 1)) + offsets.ravel()
    seen = []
    train = legacy.train_on_positions
    monkeypatch.setattr(legacy, "load_frames", lambda *_: {"train": np.zeros([8, 12, 32, 32, 3], np.uint8)})
    monkeypatch.setattr(legacy, "encode_all", lambda net, frames: positions[:, : frames.shape[1]].astype(np.float32))
    monkeypatch.setattr(legacy, "settings_for", lambda task: StagedSettings(*[Stage(3, 4, 0.1)] * 3, 1.0))
    monkeypatch.setattr(legacy, "train_on_positions", lambda *given: (seen.append(given[1]), train(*given))[1])
    entry = legacy.describe_match(PhysicsNet(TASKS["spring_color"]), legacy.Match([1.0, 0.95], offsets), None)
    np.testing.assert_array_equal(seen, [positions, np.full_like(positions, 16.0)])
    assert entry["found"] and entry["apart"] == 12.0
    assert entry["fitted"]["k"] < 1.0 and entry["fitted"] != entry["aligned"]  # they do not move: a weaker spring
    entry = legacy.describe_match(None, legacy.Match([1.0, 0.2], offsets), None)
    assert entry == {"in_place": [1.0, 0.2], "found": False}


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
