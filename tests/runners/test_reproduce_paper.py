"""reproduce_paper.py: what it runs and reports."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from command import run_main
from one_command import load_command

from data_gen.iterators import load_frames
from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted
from physics_models.staged import Stage
from runners.reproduce import discovery
from runners.reproduce.report import with_error, write_report
from runners.reproduce.shapes import MADE
from runners.run_base import FLAGS

ROOT = Path(__file__).resolve().parents[2]
RUN = {
    "task": "spring_color", "seed": 0, "found": True, "stack": "TensorFlow 2",
    "true": {"k": 4.0, "l": 6.0}, "input_steps": 4, "pred_steps": 6,
    "wall_s": 600.0, "losses": {"pred_loss": 2.0, "extrap_loss": 30.0, "recons_loss": 0.5},
    "parameters": {"k": 4.4, "l": 6.2}, "calibrated": {"k": 4.4, "l": 6.0}, "ssim": [0.9] * 26, "mse": [0.01] * 26,
    "calibrated_coords": False, "length_scale": 1.033,
    "position_error": {"encoded": 0.2, "predicted": 0.4, "extrapolated": 2.0, "per_step": [0.4] * 26},
}  # fmt: skip


@pytest.fixture(scope="module")
def command():
    return load_command("reproduce_paper")


@pytest.fixture
def flags(command):
    """Sets flags for one test."""
    with flagsaver.flagsaver():
        yield lambda *arguments: FLAGS(["test", *arguments])


def write_entry(folder: Path, variant: str, **changes) -> Path:
    entry = {**RUN, **changes}
    path = folder / variant / f"seed{entry['seed']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry))
    return path


def test_report_holds_the_runs_and_the_papers_numbers(tmp_path):
    runs, docs = tmp_path / "runs", tmp_path / "docs"
    write_entry(runs, "spring_color")
    write_entry(runs, "spring_color", seed=1, parameters={"k": 4.2, "l": 6.4}, calibrated={"k": 4.2, "l": 6.2})
    write_entry(runs, "spring_color", seed=2, found=False)
    write_entry(runs, "spring_color-calibrated", length_scale=1.0005, calibrated_coords=True)
    write_entry(runs, "grey_shapes", task="grey_shapes", parameters={"k": 3.0, "l": 5.0})
    (runs / "spring_color" / "seed0_future.png").write_bytes(b"a picture")
    corrected = {"vel_encoder": "gauss_newton", "calibrated_coords": True, "supervision": "none"}
    write_entry(runs, "corrected", **corrected)
    text, by = write_report(runs, docs).read_text(), "supervision by motion, faded out"
    assert "| 10 min | stages alone; both corrections |" in text
    assert f"| spring_color | k | 4 | 4.26 (+6.5 %) | 4.3 (+7.5 %) | 4.3 (+7.5 %) | 2 of 3 | 10 min | {by} |" in text
    assert f"| spring_color | l | 6 | 6.17 (+2.8 %) | 6.3 (+5.0 %) | 6.1 (+1.7 %) | 2 of 3 | 10 min | {by} |" in text
    assert "| spring_color | 2 | 1.0323 | 1.033 | 2 | 30 | 0.5 |" in text
    assert "| spring_color-calibrated | 1 | 1 | 1.0005 | 2 | 30 | 0.5 |" in text
    assert "| grey_shapes | 1 | 1.0323 | 1.033 | 2 | 30 | 0.5 |" in text
    assert "| 0 | k 4.4, l 6.2 | 2 | 30 | 0.5 | 0.2 | 0.4 | 2 | 1.033 | 0.9 | 0.9 | 10.0 |" in text
    assert "| 2 | objects not found |" in text
    assert with_error(5.9999, 6.0) == "6 (+0.0 %)"
    assert "(pictures/spring_color_future.png)" in text and "spring_color_ssim.png" not in text
    assert (docs / "pictures" / "spring_color_future.png").read_bytes() == b"a picture"
    assert [entry["seed"] for entry in json.loads((docs / "reproduction.json").read_text())] == [0, 0, 0, 1, 2, 0]


def test_the_report_in_docs_follows_from_its_entries(tmp_path):
    """The entries in docs/reproduction.json give the tables of docs/reproduction.md, and README's rows stand there."""
    entries = json.loads((ROOT / "docs" / "reproduction.json").read_text(encoding="utf-8"))
    for entry in entries:
        corrected = entry.get("vel_encoder") == "gauss_newton" and entry["calibrated_coords"]
        write_entry(tmp_path, entry["task"] + ("-corrected" if corrected else ""), **entry)
    text = write_report(tmp_path, tmp_path).read_text(encoding="utf-8")
    there = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")

    def rows(report):
        return [line for line in report.splitlines() if line.startswith("| ") and "---" not in line]

    assert len(rows(text)) > len(entries)
    assert rows(text) == rows(there)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = [line for line in rows(readme.split("## Results")[1].split("## ")[0]) if "paper" not in line]
    assert len(results) >= 8 and set(results) <= set(rows(there))
    assert json.loads((tmp_path / "reproduction.json").read_text()) == entries


def test_finished_runs_are_not_run_again_and_given_flags_go_to_the_runs(tmp_path, monkeypatch, command, flags):
    calls = []

    def run(arguments):
        calls.append(arguments)
        (tmp_path / "spring_color-corrected").mkdir()
        return 1, "error: objects not found: 3.0% of what moves is explained"

    monkeypatch.setattr(command, "run_and_show", run)
    given = ["--calibrated_coords=True", "--joint_steps=7", "--vel_encoder=gauss_newton"]
    flags(f"--experiments={tmp_path}", "--task=spring_color", *given)
    command.reproduce("spring_color", 3)
    command.reproduce("spring_color", 3)
    assert len(calls) == 1
    assert {f"--save_dir={tmp_path}/spring_color-corrected/seed3", "--seed=3", "--schedule=staged"} <= set(calls[0])
    assert {"--color=true", "--resume=true", "--task=spring_color"} <= set(calls[0])
    assert sorted(command.flags_for_runs()) == given == sorted(calls[0][-3:])  # and none that was not given
    entry = json.loads((tmp_path / "spring_color-corrected" / "seed3.json").read_text())
    assert entry["found"] is False and entry["supervision"] == "motion"
    assert sorted(entry["flags"]) == given  # and not the folder of the data, which changes nothing


def test_a_run_that_had_other_flags_is_not_taken_for_measured(tmp_path, monkeypatch, command, flags):
    monkeypatch.setattr(command, "run_and_show", lambda arguments: (1, "error: objects not found: 3.0%"))
    (tmp_path / "spring_color").mkdir()
    flags(f"--experiments={tmp_path}", "--task=spring_color", "--joint_steps=7", f"--data_dir={tmp_path}")
    command.reproduce("spring_color", 3)
    flags(f"--experiments={tmp_path}", "--task=spring_color", "--joint_steps=8")
    with pytest.raises(ExperimentError, match="that run had --joint_steps=7"):
        command.reproduce("spring_color", 3)
    with pytest.raises(ExperimentError, match=r"seed3\.json: that run had --joint_steps=7"):
        command.reproduce("spring_color", 4)  # the report has one row for both
    numbers = tmp_path / "spring_color" / "seed3.json"
    entry = json.loads(numbers.read_text())
    numbers.write_text(json.dumps({name: entry[name] for name in entry if name != "flags"}))
    command.reproduce("spring_color", 3)  # of an earlier version: not known
    numbers.write_text("{")
    with pytest.raises(ExperimentError, match="damaged"):
        command.reproduce("spring_color", 3)


def test_a_training_that_fails_otherwise_stops_with_its_reason(tmp_path, monkeypatch, command, flags):
    monkeypatch.setattr(command, "run_and_show", lambda arguments: (1, "error: no space left"))
    flags(f"--experiments={tmp_path}")
    with pytest.raises(ExperimentError, match=r"seed0.*no space left"):
        command.reproduce("spring_color", 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["--discovery"], ["--task=3bp_color"], ["--legacy", "--task=3bp_color"], ["--figures", "--task=3bp_color"]],
)
def test_a_signal_stops_the_command_with_its_code(tmp_path, monkeypatch, command, arguments):
    def stopped(*_):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(discovery, "make_video", lambda name, file: None)
    monkeypatch.setattr(discovery, "run", stopped)
    monkeypatch.setattr(command, "run_and_show", lambda arguments: (143, "stopped by SIGTERM and saved; … --resume"))
    ended = run_main(command.main, [*arguments, "--seeds=0", f"--experiments={tmp_path}"])
    assert ended.code == 143 and ended.err.splitlines()[-1] == "stopped by SIGTERM; to continue: the same command"


def test_collect_trains_and_measures_nothing(tmp_path, monkeypatch, command):
    monkeypatch.setattr(command, "run_and_show", lambda arguments: pytest.fail("a training"))
    monkeypatch.setattr(command, "measure_run", lambda *arguments: pytest.fail("a measurement"))
    entry = write_entry(tmp_path, "spring_color")
    (tmp_path / "spring_color" / "seed1").mkdir()
    ended = run_main(command.main, ["--task=spring_color", "--seeds=0,1", "--collect", f"--experiments={tmp_path}"])
    assert ended.code == 0
    assert [path.name for path in sorted(entry.parent.iterdir())] == ["seed0.json", "seed1"]
    assert len(json.loads((tmp_path / "reproduction.json").read_text())) == 1


def test_the_report_lies_with_the_runs_by_default(tmp_path, command):
    arguments = ["--all", "--collect", f"--experiments={tmp_path / 'runs'}"]
    write_entry(tmp_path / "runs", "spring_color")
    for more, folder in (["--report_dir=" + str(tmp_path / "report")], "report"), ([], "runs"):
        ended = run_main(command.main, [*arguments, *more])
        assert (ended.code, ended.out) == (0, f"report: {tmp_path / folder / 'reproduction.md'}\n")
        assert "| spring_color | k | 4 |" in (tmp_path / folder / "reproduction.md").read_text(encoding="utf-8")
        assert (tmp_path / "runs" / "reproduction.md").is_file() == (folder == "runs")


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("seed0.json", "{", "seed0.json"),
        ("seed0.json", "[]", "seed0.json"),
        ("seed0.json", json.dumps({**RUN, "losses": {}}), "seed0.json"),
        ("seed0.json", json.dumps({**RUN, "true": {"k": 0}}), "seed0.json"),
        ("seedling.json", "{}", "runs"),
    ],
)
def test_a_damaged_entry_is_named_and_the_report_stays(tmp_path, command, name, text, named):
    (tmp_path / "runs" / "spring_color").mkdir(parents=True)
    (tmp_path / "runs" / "spring_color" / name).write_text(text)
    (tmp_path / "reproduction.json").write_text("mine")
    arguments = ["--all", "--collect", f"--experiments={tmp_path / 'runs'}", f"--report_dir={tmp_path}"]
    ended = run_main(command.main, arguments)
    assert (ended.code, ended.out) == (1, "")
    error = ended.err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path / 'runs'}") and named in error
    assert (tmp_path / "reproduction.json").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reproduction.json", "runs"]


def test_stderr_of_a_training_is_shown_and_a_signal_goes_on_to_it(capfd, command):
    writes = "import sys; print('one', file=sys.stderr); print('error: two', file=sys.stderr); sys.exit(3)"
    assert command.run_and_show([sys.executable, "-c", writes]) == (3, "error: two")
    assert capfd.readouterr().err == "one\nerror: two\n"
    waits = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    assert command.run_and_show([sys.executable, "-c", waits])[0] == -signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--task"),
        (["--all", "--task=3bp_color"], "--all"),
        (["--task=nothing"], "--task=nothing"),
        (["--all", "--seeds=1,x"], "--seeds=1,x"),
        (["--task=3bp_color", "--seed=3"], "--seed"),
        (["--task=3bp_color", "--overwrite"], "--overwrite"),
        (["--task=3bp_color", "--model=VideoLSTM"], "--model"),
        (["--task=3bp_color", "--decoder_type=black_box"], "--decoder_type"),
        (["--discovery", "--optimizer=adam"], "--optimizer=adam: --discovery does not use it"),
        (["--task=3bp_color", "--device=gpu:77"], "--device=gpu:77"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, command, arguments, named):
    monkeypatch.chdir(tmp_path)
    ended = run_main(command.main, arguments)
    assert (ended.code, ended.out) == (1, "")
    assert named in ended.err and ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_to_collect_is_one_line(tmp_path, command):
    ended = run_main(command.main, ["--all", "--collect", f"--experiments={tmp_path}"])
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: {tmp_path}: holds no measured run, <task>/seed<N>.json\n"


def test_discovery_is_measured_once_and_its_tables_replace_the_old_ones(tmp_path, monkeypatch):
    entry = {"ok": 0.98, "ok_unnamed": 0.99, "within_3_px": 1.0, "cpu_seconds": 70, "stack": "TensorFlow 2"}
    runs = []
    monkeypatch.setattr(discovery, "make_video", lambda name, file: None)
    monkeypatch.setattr(discovery, "run", lambda file, name, seed, *more: runs.append((name, seed)) or entry)
    for seeds in ([0], [0, 1]):
        discovery.run_all(tmp_path, ["spring_color", "same_discs"], seeds, "motion", Stage(600, 32, 1e-3))
    assert runs == [("spring_color", 0), ("same_discs", 0), ("spring_color", 1), ("same_discs", 1)]
    page = tmp_path / "discovery.md"
    page.write_text(f"What was measured.\n\n{discovery.HEADING}\n\nold\n")
    discovery.write_runs(tmp_path, page)
    text = page.read_text()
    assert text.startswith(f"What was measured.\n\n{discovery.HEADING}\n") and "old" not in text
    row = "| spring_color | motion | 600 × 32 | 0, 1 | 2 of 2 | 0.980 0.980 | 0.990 0.990 | 1.000 1.000 | 70 |"
    assert row in text.splitlines()
    discovery.run_all(tmp_path, ["same_discs"], [0], "motion", Stage(600, 32, 1e-4))
    discovery.write_runs(tmp_path, tmp_path / "new" / "discovery.md")
    text = (tmp_path / "new" / "discovery.md").read_text()
    assert "| same_discs | motion | 600 × 32, rate 0.0001 | 0 | 1 of 1 |" in text and row in text.splitlines()
    with pytest.raises(ExperimentError, match="--videos.*nothing"):
        discovery.run_all(tmp_path, ["nothing"], [0], "motion", Stage(600, 32, 1e-3))
    for damaged in ("{", "[]"):
        (tmp_path / discovery.RESULTS).write_text(damaged)
        with pytest.raises(ExperimentError, match=discovery.RESULTS):
            discovery.write_runs(tmp_path, page)


def test_two_commands_of_discovery_keep_each_other_s_results(tmp_path, monkeypatch):
    def run(file, name, seed, *more):
        if seed == 0:
            discovery.run_all(tmp_path, [name], [1], "motion", Stage(600, 32, 1e-3))
        return {"seed": seed}

    monkeypatch.setattr(discovery, "make_video", lambda name, file: None)
    monkeypatch.setattr(discovery, "run", run)
    discovery.run_all(tmp_path, ["spring_color"], [0], "motion", Stage(600, 32, 1e-3))
    assert [entry["seed"] for entry in discovery.read_results(tmp_path).values()] == [1, 0]


def test_found_positions_are_measured_up_to_offsets_and_names(monkeypatch):
    """3 of 4 frames are right, but for an offset of each object; in one of these the names are exchanged."""
    truth = np.random.RandomState(0).uniform(8, 24, (10, 4, 2, 2))
    truth[:, :, 1] = (truth[:, :, 0] + 12) % 24 + 4
    found = truth + [[0.3, -0.2], [-0.3, 0.2]]
    found[:, 1] = found[:, 1, ::-1]
    found[:, 3, 1] += [2.5, 0.0]
    for given in (found, found[:, :, ::-1] + 5.0):  # the network's names and place are its own
        monkeypatch.setattr(discovery, "encode_all", lambda net, frames, given=given: given.reshape(10, 4, 4))
        measured = discovery.measure(None, None, truth)
        assert (measured["ok"], measured["within_3_px"], measured["ok_unnamed"]) == (0.5, 0.75, 0.75)


@pytest.mark.parametrize("name", ["disc_plus_60", "spring_color_60", "four_shapes"])
def test_a_video_of_discovery_holds_its_objects_and_number_of_sequences(tmp_path, monkeypatch, name):
    monkeypatch.setattr(discovery, "SIZES", (2000, 3, 2))
    monkeypatch.setitem(discovery.VIDEOS, "four_shapes", replace(discovery.VIDEOS["four_shapes"], sequences=4))
    discovery.make_video(name, tmp_path / "video.npz")
    with np.load(tmp_path / "video.npz") as archive:
        sizes = [len(archive[f"{split}_x"]) for split in ("train", "valid", "test")]
        assert sizes == [discovery.VIDEOS[name].sequences, 3, 2] and sizes[0] in (4, 60)
        frames, positions = archive["test_x"], archive["test_pos"]
    assert positions.shape == (2, 12, len(discovery.VIDEOS[name].shapes) or 2, 2)
    column, row = positions[0, 0, 0].astype(int)
    assert frames[0, 0, row, column].max() > 100  # something bright at the first object's place


def test_the_grey_shapes_are_made_once_and_trained_on_as_a_users_video(tmp_path, monkeypatch, command, flags):
    calls = []
    monkeypatch.setattr(command, "run_and_show", lambda arguments: calls.append(arguments) or (1, "objects not found"))
    monkeypatch.setattr(command, "GREY_SIZES", (3, 2, 2))
    flags(f"--experiments={tmp_path}", f"--data_dir={tmp_path}")
    command.reproduce("grey_shapes", 1)
    made = MADE["grey_shapes"]
    files = command.make_grey(made, 1, tmp_path / "grey_shapes")
    frames = {name: load_frames(path, ("test",))["test"] for name, path in zip(("train", "test"), files[:2])}
    assert frames["train"].shape == (2, 12, 32, 32, 1) and frames["test"].shape == (2, 30, 32, 32, 1)
    assert {"--task=custom", f"--data_file={files.train}", f"--test_data_file={files.test}"} <= set(calls[0])
    assert files.physics["k"] == 3 and files.train.name == "bar_ring_sl12.npz"
    command.reproduce("grey_shapes", 6)  # the same pair
    assert len(list((tmp_path / "grey_shapes").glob("*.npz"))) == 2
    assert json.loads((tmp_path / "grey_shapes" / "seed1.json").read_text())["found"] is False
