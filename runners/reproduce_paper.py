"""Train and measure what the paper reports, and write reproduction.md with tables and pictures.

PYTHONPATH=. python runners/reproduce_paper.py --task=spring_color --seeds=0,1,2,3,4
PYTHONPATH=. python runners/reproduce_paper.py --all
PYTHONPATH=. python runners/reproduce_paper.py --discovery --seeds=0,1 --supervision=none
PYTHONPATH=. python runners/reproduce_paper.py --control --task=pendulum --seeds=0,1,2
PYTHONPATH=. python runners/reproduce_paper.py --legacy --task=spring_color --seeds=0,1,2,3,4 --epochs=20
PYTHONPATH=. python runners/reproduce_paper.py --figures --seeds=0,1

Each seed is a run of run_physics.py with --schedule=staged in `<experiments>/<task>/seed<N>`, and its numbers are
kept in seed<N>.json beside it: a measured run is not run again, an interrupted one is resumed. Flags of
run_physics.py that are given here go to every run; with `--vel_encoder=gauss_newton --calibrated_coords` the folder is
`<task>-corrected`. Beside the original's tasks there are videos of grey shapes of equal brightness:
`grey_shapes`, another pair on a spring for each seed; `same_shapes` and `same_bodies`, whose objects look the same.

`--discovery` trains the stage `autoencoder` alone, on videos whose true positions are known, and writes into
discovery.md how well the objects are found. `--legacy` trains as the original's README says, without stages, and writes
into legacy_run.md which objects each seed finds; with more `--epochs` the runs go on where they were. `--control`
trains the pendulum, plays the episodes of `run_control.py`, and writes control.md; `--datapoints` trains with fewer
sequences. `--figures` trains the paper's model, its baselines and ablations, on `--task` or on three tasks, in
`<experiments>/figures/<task>/<model>/seed<N>`, and writes baselines.md with the paper's Figure 2.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from data_gen.recipes import EVERY_RECIPE, RECIPES
from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted
from physics_models.tasks import PENDULUMS, get_task
from runners import run_base, run_physics, staged_run
from runners.reproduce import baselines, control, discovery, legacy, shapes
from runners.reproduce.measure import DataFiles, describe_run, measure_run
from runners.reproduce.report import read_entry, write_entry, write_report
from runners.run_base import FLAGS, PATH, logger

DEFAULT_VIDEOS = "spring_color,bouncing_balls,3bp_color,spring_color_half,disc_plus_noise5,square_wedge_noise5"

flags.DEFINE_string("seeds", "", "seeds, with commas between; by default one to five, by task")
flags.DEFINE_bool("all", False, "all tasks")
flags.DEFINE_bool("discovery", False, "how well the stage autoencoder finds objects, on --videos")
flags.DEFINE_string("videos", DEFAULT_VIDEOS, f"discovery: of {', '.join(discovery.VIDEOS)}")
flags.DEFINE_bool("legacy", False, "train --task as the original's README says, and measure which objects are found")
flags.DEFINE_bool("control", False, "train --task, a pendulum, and measure the control of it")
flags.DEFINE_bool("figures", False, "Figure 2: the paper's model, baselines and ablations, on --task or on three")
flags.DEFINE_bool("collect", False, "train nothing: write the report of the measured runs")
flags.DEFINE(PATH, "experiments", "experiments/paper", "folder of the runs")
flags.DEFINE(PATH, "report_dir", "", "folder of the report; by default that of the runs")

SEEDS = {
    "spring_color": 3, "spring_color_half": 2, "bouncing_balls": 2, "3bp_color": 3, "mnist_spring_color": 1,
    "grey_shapes": 5, "same_shapes": 2, "same_bodies": 2,
}  # fmt: skip
GREY_SIZES = (2000, 200, 300)  # sequences of the splits
# Every other flag of run_physics.py goes on to the runs.
SET_HERE = ("schedule", "seed", "save_dir", "color", "resume", "use_ckpt", "ckpt_dir", "test_mode", "overwrite")
VARIANTS = {(True, True): "-corrected", (True, False): "-gn", (False, True): "-calibrated", (False, False): ""}


def main(argv: list[str]) -> None:
    """Train what is missing, measure what is not yet measured, and write the report."""
    chosen = FLAGS.all + bool(FLAGS.task or FLAGS.figures) + FLAGS.discovery
    if chosen != 1 or (FLAGS.legacy and (FLAGS.figures or not FLAGS.task)):
        raise ExperimentError(f"--task, --all, --discovery, --figures: give one of them; tasks: {', '.join(SEEDS)}")
    for name in (*SET_HERE, *(baselines.SET_HERE if FLAGS.figures else ())):
        if FLAGS[name].present:
            raise ExperimentError(f"--{name}: this command sets it for each run; leave it out")
    if not re.fullmatch(r"(\d+(,\d+)*)?", FLAGS.seeds):
        raise ExperimentError(f"--seeds={FLAGS.seeds}: must be whole numbers with commas between")
    if FLAGS.discovery + FLAGS.legacy + FLAGS.control + FLAGS.figures > 1:
        raise ExperimentError("--discovery, --legacy, --control, --figures: choose one")
    if not FLAGS.figures and (FLAGS["model"].present or FLAGS.decoder_type == "black_box"):
        raise ExperimentError("--model, --decoder_type=black_box: with --figures alone, which compares models")
    unused = [flag for flag in flags_for_runs() if flag[2:].split("=")[0] not in discovery.FLAGS_USED]
    if FLAGS.discovery and unused:
        raise ExperimentError(f"{unused[0]}: --discovery does not use it")
    if FLAGS.control != (FLAGS.task in PENDULUMS):
        raise ExperimentError(f"--control: goes with --task={' or --task='.join(PENDULUMS)}")
    if FLAGS.task and FLAGS.task not in (*SEEDS, *PENDULUMS):
        raise ExperimentError(f"--task={FLAGS.task}: no such task; choose one of {', '.join(SEEDS)}")
    seeds = list(map(int, FLAGS.seeds.split(","))) if FLAGS.seeds else []
    if (FLAGS.control or FLAGS.legacy) and not seeds and not FLAGS.collect:
        raise ExperimentError(f"--{'control' if FLAGS.control else 'legacy'}: needs --seeds, as in 0,1,2")
    run_base.log_to_console()
    run_base.choose_device()
    try:
        report = run_and_report(seeds)
    except Interrupted as interrupted:
        print(f"{interrupted}; to continue: the same command", file=sys.stderr, flush=True)
        sys.exit(interrupted.exit_code)
    print(f"report: {report}")


def run_and_report(seeds: list[int]) -> Path:
    """Do what the flags ask for, and return the path of the report. `Interrupted` if a signal ends it."""
    if FLAGS.discovery:
        return discover(seeds or [0, 1, 2])
    if FLAGS.control:
        return control_pendulum(FLAGS.task, seeds)
    if FLAGS.figures:
        return compare_models([FLAGS.task] if FLAGS.task else baselines.TASKS, seeds or baselines.SEEDS)
    if FLAGS.legacy:
        return train_as_the_original(FLAGS.task, seeds)
    for task in [] if FLAGS.collect else SEEDS if FLAGS.all else [FLAGS.task]:
        for seed in seeds or range(SEEDS[task]):
            reproduce(task, seed)
    return write_report(Path(FLAGS.experiments), Path(FLAGS.report_dir or FLAGS.experiments))


def discover(seeds: list[int]) -> Path:
    """Train and measure the stage `autoencoder` on `--videos`, and write discovery.md."""
    folder, stage = Path(FLAGS.experiments) / "discovery", staged_run.settings_from_flags(get_task("spring_color"))
    if not FLAGS.collect:
        discovery.run_all(folder, FLAGS.videos.split(","), seeds, FLAGS.supervision, stage.autoencoder)
    report = Path(FLAGS.report_dir or FLAGS.experiments) / "discovery.md"
    discovery.write_runs(folder, report)
    return report


def train_as_the_original(task: str, seeds: list[int]) -> Path:
    """Train `task` with the original's settings for each seed, measure it, and write legacy_run.md."""
    if task not in RECIPES:
        raise ExperimentError(f"--task={task}: give one of {', '.join(RECIPES)} with --legacy")
    folder, report = Path(FLAGS.experiments) / "legacy", Path(FLAGS.report_dir or FLAGS.experiments) / "legacy_run.md"
    files = files_of(task)
    for seed in [] if FLAGS.collect else seeds:
        place = folder / task / f"seed{seed}"
        check_flags_of_runs(place.parent)
        run_physics_for(place, seed, legacy.flags(task))
        entry = legacy.measure(task, seed, place, files)  # a row for each number of epochs
        write_entry(place.with_name(f"seed{seed}_{entry['epochs']}.json"), {**entry, "flags": flags_that_count()})
    legacy.write_runs(folder, report)
    return report


def control_pendulum(task: str, seeds: list[int]) -> Path:
    """Train `task` for each seed, play the episodes, and write control.md."""
    folder, report = Path(FLAGS.experiments) / "control", Path(FLAGS.report_dir or FLAGS.experiments) / "control.md"
    for seed in [] if FLAGS.collect else seeds:
        sequences = FLAGS.datapoints or control.ALL
        place = folder / f"{task}-{sequences}" / f"seed{seed}"
        if not measured(place.with_suffix(".json")):
            if not run_physics_for(place, seed, [f"--task={task}", "--color=true", "--schedule=staged"]):
                raise ExperimentError(f"{place}: the pendulum was not found; leave out the seed")
        control.measure(task, seed, sequences, place, files_of(task).test, flags_that_count())
    if not FLAGS.collect:
        control.measure_references(control.ENVIRONMENT[task], folder)
    control.write_runs(folder, report)
    return report


def compare_models(tasks: Sequence[str], seeds: Sequence[int]) -> Path:
    """Train and measure what is missing of every model, task and seed, and write baselines.md."""
    if not set(tasks) <= set(baselines.TASKS):
        raise ExperimentError(f"--task={FLAGS.task}: give one of {', '.join(baselines.TASKS)} with --figures")
    folder, report = Path(FLAGS.experiments) / "figures", Path(FLAGS.report_dir or FLAGS.experiments) / "baselines.md"
    for seed, task, name in [] if FLAGS.collect else itertools.product(seeds, tasks, baselines.MODELS):
        place = folder / task / name / f"seed{seed}"
        if measured(place.with_suffix(".json")):
            continue
        settings = staged_run.settings_from_flags(get_task(task), "mlp")
        arguments = [f"--task={task}", "--color=true", *baselines.flags(name, settings)]
        unused = () if baselines.MODELS[name].staged else baselines.OF_POSITIONS
        found = run_physics_for(place, seed, arguments, unused)
        entry = baselines.measure(name, task, seed, place, files_of(task), settings, found)
        write_entry(place.with_suffix(".json"), {**entry, "flags": flags_that_count()})
    baselines.write_page(folder, report)
    return report


def reproduce(task: str, seed: int) -> None:
    """Train and measure one seed of one task, unless its numbers are there already."""
    variant = VARIANTS[FLAGS.vel_encoder == "gauss_newton", FLAGS.calibrated_coords]
    folder = Path(FLAGS.experiments) / f"{task}{variant}" / f"seed{seed}"
    numbers = folder.with_suffix(".json")
    if measured(numbers):
        return
    if made := shapes.MADE.get(task):
        files = make_grey(made, seed, run_base.data_folder() / task)
    else:
        files = files_of(task)
    if train(task, seed, folder, files):
        stage = staged_run.settings_from_flags(get_task(made.task if made else task), "mlp").positions
        entry = measure_run(task, seed, folder, files, stage)
    else:
        entry = describe_run(task, seed, folder)
    write_entry(numbers, {**entry, "supervision": FLAGS.supervision, "flags": flags_that_count()})
    logger.info("%s: written", numbers)


def measured(file: Path) -> bool:
    """Whether the entry `file` is there; `ExperimentError` if a run beside it had other flags than are given now."""
    check_flags_of_runs(file.parent)
    if not file.is_file():
        return False
    logger.info("%s: measured already", file)
    return True


def check_flags_of_runs(folder: Path) -> None:
    """Raise `ExperimentError` if a measured run in `folder`, beside which others will stand, had other flags."""
    for file in sorted(folder.glob("seed*.json")):
        before = read_entry(file, lambda entry: entry.get("flags")).get("flags")
        if before not in (None, flags_that_count()):
            given = " ".join(before) or "no flags that change it"
            raise ExperimentError(f"{file}: that run had {given}; give the same, or another folder as --experiments")


def files_of(task: str) -> DataFiles:
    """The data files of a task of the original."""
    recipe, folder = EVERY_RECIPE[task], run_base.data_folder()
    return DataFiles(folder / recipe.train_file, folder / recipe.test_file, recipe.physics)


def make_grey(made: shapes.Made, seed: int, folder: Path) -> DataFiles:
    """The files of the grey shapes of this seed; made in `folder` where they are missing."""
    number, recipe = seed % len(made.shapes), RECIPES[made.task]
    files = []
    for seq_len, sizes in ((recipe.train_len, GREY_SIZES), (recipe.test_len, (10, 10, GREY_SIZES[2]))):
        file = folder / f"{'_'.join(made.shapes[number])}_sl{seq_len}.npz"
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shapes.make_shapes(file, made, number, seq_len, sizes, seed=1000 * seq_len + number)
        files.append(file)
    return DataFiles(*files, {**recipe.physics, **made.physics})


def train(task: str, seed: int, folder: Path, files: DataFiles) -> bool:
    """Run run_physics.py to its end; False if it does not find the objects."""
    if made := shapes.MADE.get(task):
        as_in = get_task(made.task)
        of_task = ["--task=custom", f"--data_file={files.train}", f"--test_data_file={files.test}"]
        of_task += [f"--{name}={getattr(as_in, name)}" for name in ("cell_type", "n_objs", "input_steps", "pred_steps")]
    else:
        of_task = [f"--task={task}", "--color=true"]
    return run_physics_for(folder, seed, [*of_task, "--schedule=staged"])


def run_physics_for(folder: Path, seed: int, arguments: list[str], unused: Sequence[str] = ()) -> bool:
    """Start or resume run_physics.py in `folder`, with the flags given here but `unused`.

    False if it does not find the objects. Raises `Interrupted` if a signal stopped it, `ExperimentError` if it failed.
    """
    command = [
        sys.executable, run_physics.__file__, *arguments, f"--seed={seed}", f"--save_dir={folder}", "--resume=true",
        *flags_for_runs(unused),
    ]  # fmt: skip
    logger.info("running: %s", " ".join(command))
    exit_code, last = run_and_show(command)
    if exit_code - 128 in set(signal.Signals):
        raise Interrupted(exit_code - 128)
    if exit_code and "objects not found" not in last:
        raise ExperimentError(f"{folder}: training ended with: {last.removeprefix('error: ') or exit_code}")
    return exit_code == 0


def run_and_show(command: list[str]) -> tuple[int, str]:
    """Exit code and last line on stderr of `command`, whose stderr is shown as it comes.

    SIGTERM to this process goes on to the command, which saves and ends.
    """
    last = ""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        for line in process.stderr or ():
            last = line.strip() or last
            with contextlib.suppress(OSError):  # where nobody reads stderr any more
                sys.stderr.write(line)
    except KeyboardInterrupt:  # the terminal sends it to the command, too
        process.communicate()
        raise
    finally:
        exit_code = process.wait()
        signal.signal(signal.SIGTERM, before)
    return exit_code, last


def flags_that_count() -> list[str]:
    """Those of `flags_for_runs` that may change what a run gives."""
    free = tuple(f"--{name}=" for name in run_base.RESUME_MUTABLE_FLAGS)
    return [flag for flag in flags_for_runs() if not flag.startswith(free)]


def flags_for_runs(unused: Sequence[str] = ()) -> list[str]:
    """The flags of run_physics.py that were given here, but for the `unused`, as arguments."""
    left_out = (*SET_HERE, "task", *unused)
    defined = [flag for module in (run_base, run_physics, staged_run) for flag in FLAGS.get_flags_for_module(module)]
    return [f"--{flag.name}={flag.value}" for flag in defined if flag.present and flag.name not in left_out]


if __name__ == "__main__":
    run_base.run(main)
