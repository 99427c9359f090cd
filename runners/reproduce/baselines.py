"""The paper's baselines and ablations: Figure 2, SSIM by frame, and their numbers side by side (section 4.1).

Every model is trained by run_physics.py on the same data, in steps of the same number and size. The models with
positions go through the three stages of --schedule=staged; VideoLSTM, which has no positions, trains with the joint
stage's loss, batch and rate for as many steps as the stages `autoencoder` and `joint` have together.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_gen.iterators import load_frames
from physics_models.base import BaseNet
from physics_models.errors import ExperimentError
from physics_models.experiment import save_npz
from physics_models.library import load_network
from physics_models.staged import STAGES, StagedSettings
from physics_models.viz import gallery
from runners.reproduce import figures
from runners.reproduce.measure import DataFiles, describe_run, predict_frames, true_parameters
from runners.reproduce.report import (
    UNLEARNED,
    Entry,
    first_stage,
    number,
    read_entry,
    replace_section,
    table,
    with_error,
    write_entry,
)


class Model(NamedTuple):
    """One row of the comparison."""

    label: str
    kind: str  # "physics", "black box" or "ablation"
    flags: tuple[str, ...]  # of run_physics.py
    staged: bool = True  # whether it has positions, and so the stages
    judged: bool = True  # whether its decoder tells if the objects are found


MODELS = {
    "physics": Model("Physics + inverse graphics", "physics", ()),
    "physics-corrected": Model(
        "Physics + inverse graphics, corrected", "physics", ("--vel_encoder=gauss_newton", "--calibrated_coords=true")
    ),
    "interaction-network": Model("IN + inverse graphics", "black box", ("--cell_type=interaction_network",)),
    "lstm": Model("LSTM + inverse graphics", "black box", ("--cell_type=lstm",)),
    "video-lstm": Model("VideoLSTM", "black box", ("--model=VideoLSTM",), staged=False, judged=False),
    "black-box-decoder": Model("Black-box decoder", "ablation", ("--decoder_type=black_box",), judged=False),
    "separate-gradients": Model("Separate gradients", "ablation", ("--separate_gradients=true",)),
}
TASKS = ("3bp_color", "spring_color", "bouncing_balls")
SEEDS = (0, 1)
SET_HERE = ("model", "cell_type", "decoder_type", "vel_encoder", "calibrated_coords", "separate_gradients")
# Flags of run_physics.py that a model without positions does not take, or that `flags` sets for it.
OF_POSITIONS = (
    "supervision", "joint_steps", "alt_vel", "encoder_type", "mixed_precision",
    *(f"{stage}_{part}" for stage in STAGES[:2] for part in ("steps", "batch", "rate")),
)  # fmt: skip

HEADING = "## Results"
EXPLANATION = """Written by `PYTHONPATH=. python runners/reproduce_paper.py --figures` from the runs that it trained.
All models but VideoLSTM had help that the paper does not have: training in stages, the first of them {}. Numbers are
of the test file, medians over the seeds that found the objects. SSIM (structural similarity, 1 at best) is the mean
over the frames of the training's loss (*predicted*) and over those beyond (*extrapolated*); losses are squared errors
per frame, as in the log. The best of a column is bold. *Learned* parameters are raw, with their distance from the true
ones. *Weights* are the trained numbers that the model uses, *steps* those of the three stages; *minutes* are those of
the logs, whatever else ran on the machine; *seeds*: how many found the objects, or, where nothing tells, how many
there are. Made with"""
# column → (whether more is better, its value in an entry)
MEASURES = {
    "SSIM predicted": (True, lambda run: statistics.fmean(run["ssim"][: run["pred_steps"]])),
    "SSIM extrapolated": (True, lambda run: statistics.fmean(run["ssim"][run["pred_steps"] :])),
    "pred": (False, lambda run: run["losses"]["pred_loss"]),
    "extrap": (False, lambda run: run["losses"]["extrap_loss"]),
    "recons": (False, lambda run: run["losses"]["recons_loss"]),
}


# One run


def flags(name: str, settings: StagedSettings) -> list[str]:
    """The flags of run_physics.py for the model `name`: as many steps as `settings` has, whatever the model."""
    model, (objects, positions, joint) = MODELS[name], (getattr(settings, stage).steps for stage in STAGES)
    steps = f"--positions_steps={positions}" if model.staged else f"--joint_steps={objects + joint}"
    # A line in the log often enough that `describe_run` takes no slow step for a pause.
    return ["--schedule=staged", "--print_interval=20", *model.flags, steps]


def steps_of(name: str, settings: StagedSettings) -> str:
    """The steps of the stages that the model `name` goes through, as the page shows them."""
    objects, positions, joint = (getattr(settings, stage).steps for stage in STAGES)
    return f"{objects} + {positions} + {joint}" if MODELS[name].staged else str(objects + joint)


def measure(
    name: str, task: str, seed: int, folder: Path, files: DataFiles, settings: StagedSettings, found: bool
) -> Entry:
    """The entry of the run in `folder`; the frames that it predicts for one sequence go beside it, `<folder>.npz`.

    A run that has not found the objects has neither numbers nor frames.
    """
    entry = {**describe_run(task, seed, folder), "model": name, "found": found, "steps": steps_of(name, settings)}
    if not found:
        return entry
    net, frames = load_network(folder), load_frames(files.test, ("test",))["test"]
    accuracy, batches = predict_frames(net, frames)
    truth = net.to_float(frames[:1])[0, net.task.input_steps :]
    pictures = {"truth": truth, "predicted": np.clip(batches[0].output[0], 0.0, 1.0)}
    save_npz(folder.with_suffix(".npz"), {key: np.uint8(np.round(255 * value)) for key, value in pictures.items()})
    return {
        **entry, **accuracy, "parameters": net.parameters(), "true": true_parameters(files), "weights": weights(net),
        "input_steps": net.task.input_steps, "pred_steps": net.task.pred_steps, "sequences": len(frames),
    }  # fmt: skip


def weights(net: BaseNet) -> int:
    """How many trained numbers `net` uses: not those of a velocity net that the fitted initial state replaces."""
    unused = "net/init_vel/" if getattr(net, "vel_encoder", "mlp") != "mlp" else None
    named = net.variables_by_name(trainable_only=True).items()
    return sum(int(np.prod(v.shape)) for name, v in named if not (unused and name.startswith(unused)))


# The page


def read_entries(folder: Path) -> dict[Path, Entry]:
    """All measured runs `<task>/<model>/seed<N>.json` in `folder`: in the order of `TASKS`, of `MODELS`, and by seed.

    Raises `ExperimentError` for an entry that cannot be read, and where there is none.
    """
    paths = folder.glob("*/*/seed*.json")
    entries = {path: read_entry(path, lambda entry: (order(entry), results([entry]))) for path in paths}
    if not entries:
        raise ExperimentError(f"{folder}: holds no measured run, <task>/<model>/seed<N>.json")
    return dict(sorted(entries.items(), key=lambda item: order(item[1])))


def order(run: Entry) -> tuple[int, int, int]:
    """Where a run stands among the others on the page."""
    return TASKS.index(run["task"]), list(MODELS).index(run["model"]), run["seed"]


def by_model(entries: list[Entry], task: str) -> dict[str, list[Entry]]:
    """The entries of `task` by model, in the order of `MODELS`."""
    runs = {name: [e for e in entries if (e["task"], e["model"]) == (task, name)] for name in MODELS}
    return {name: of_model for name, of_model in runs.items() if of_model}


def medians(runs: list[Entry]) -> dict[str, float | None]:
    """The median of each of the `MEASURES` over the seeds that found the objects; None if none did."""
    found = [run for run in runs if run["found"]]
    values = {name: list(map(value, found)) for name, (_, value) in MEASURES.items()}
    return {name: float(np.median(of_seeds)) if found else None for name, of_seeds in values.items()}  # or nan


def is_number(value: float | None) -> bool:
    """Whether a measure is there, and finite."""
    return value is not None and math.isfinite(value)


def best(rows: dict[str, dict[str, float | None]]) -> dict[str, str]:
    """For each of the `MEASURES` the model that is best in it, of the `medians` of each model in `rows`."""
    winners = {}
    for measure, (more, _) in MEASURES.items():
        values = {name: row[measure] for name, row in rows.items() if is_number(row[measure])}
        if values:
            winners[measure] = (max if more else min)(values, key=values.__getitem__)
    return winners


def learned(runs: list[Entry]) -> str:
    """The medians of the learned parameters and how far they are from the true ones; a dash where there are none."""
    found = [run for run in runs if run["found"]]
    names = [name for name in found[0]["parameters"] if name not in UNLEARNED] if found else []
    values = {name: statistics.median(run["parameters"][name] for run in found) for name in names}
    return ", ".join(f"{name} {with_error(values[name], found[0]['true'][name])}" for name in names) or "–"


def rows(models: dict[str, list[Entry]]) -> list[dict[str, str]]:
    """The rows of a table, one for each of `models`; the best of each column is bold."""
    numbers = {name: medians(runs) for name, runs in models.items()}
    winners, lines = best(numbers), []
    for name, runs in models.items():
        found = [run for run in runs if run["found"]]
        shown = {measure: number(value) for measure, value in numbers[name].items()}
        lines.append({
            "model": MODELS[name].label,
            **{m: f"**{text}**" if winners.get(m) == name else text for m, text in shown.items()},
            "learned": learned(runs), "weights": f"{found[0]['weights']:,}" if found else "–",
            "steps": ", ".join(sorted({run["steps"] for run in runs})),
            "minutes": f"{statistics.median(run['wall_s'] / 60 for run in found or runs):.0f}",
            "seeds": f"{len(found)} of {len(runs)}" if MODELS[name].judged else str(len(runs)),
        })  # fmt: skip
    return lines


def better(row: dict[str, float | None], than: dict[str, float | None]) -> list[str]:
    """The `MEASURES` in which the medians `row` are better than those of another model."""
    both = [m for m in MEASURES if is_number(row[m]) and than[m] is not None]
    ahead = {m: row[m] > than[m] if MEASURES[m][0] else row[m] < than[m] for m in both}
    return [m for m in both if ahead[m] or not is_number(than[m])]


def verdict(models: dict[str, list[Entry]]) -> str:
    """Which baselines and ablations are better than the physics, raw or corrected, and in what: from the numbers."""
    numbers, sentences = {name: medians(runs) for name, runs in models.items()}, []
    for physics in (name for name in numbers if MODELS[name].kind == "physics"):
        if numbers[physics]["pred"] is None:
            continue
        others = [name for name in numbers if MODELS[name].kind != "physics"]
        wins = {name: better(numbers[name], numbers[physics]) for name in others}
        ahead = [f"{MODELS[name].label} in {', '.join(won)}" for name, won in wins.items() if won]
        found = f"**{'; '.join(ahead)}**" if ahead else "no baseline and no ablation in any column"
        sentences.append(f"Better than {MODELS[physics].label}: {found}.")
    return "\n".join(sentences) or "No run with physics has found its objects: there is nothing to compare with."


def results(entries: list[Entry], pictures: dict[str, list[str]] | None = None) -> str:
    """What stands below the heading: for each task its `pictures` (lines), the table, who is best; then every run."""
    stacks = "; and with ".join(sorted({entry["stack"].replace(";", ",") for entry in entries}))
    lines = [f"{EXPLANATION.format(first_stage([e for e in entries if MODELS[e['model']].staged]))} {stacks}."]
    for task in TASKS:
        models = by_model(entries, task)
        if not models:
            continue
        compared = {name: runs for name, runs in models.items() if MODELS[name].kind != "ablation"}
        ablated = {name: runs for name, runs in models.items() if MODELS[name].kind == "ablation" or name == "physics"}
        lines += ["", f"### {task}", *(pictures or {}).get(task, []), "", verdict(models)]
        lines += ["", "Models:", "", *table(rows(compared))] if compared else []
        lines += ["", "Ablations:", "", *table(rows(ablated))] if set(ablated) - {"physics"} else []
    lines += ["", "### Every run", "", *table([seed_row(entry) for entry in entries])]
    return "\n".join(lines)


def seed_row(run: Entry) -> dict[str, str]:
    """The row of one run."""
    return {
        "task": run["task"], "model": MODELS[run["model"]].label, "seed": str(run["seed"]),
        **{name: number(value) for name, value in medians([run]).items()},
        "learned": learned([run]) if run["found"] else "objects not found", "minutes": f"{run['wall_s'] / 60:.1f}",
    }  # fmt: skip


def draw(entries: dict[Path, Entry], folder: Path) -> dict[str, list[str]]:
    """Write the pictures of each task into `folder`; their lines on the page, which lies above it, by task.

    `baselines_<task>_frames.png` is Figure 2: the truth above, a row for each model, of its first seed that found the
    objects and whose frames are still there. `baselines_<task>_ssim.png` shows SSIM by frame, means over the seeds, the
    training range shaded.
    """
    lines = {}
    for task in TASKS:
        found = {path: run for path, run in entries.items() if run["task"] == task and run["found"]}
        if not found:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        models = by_model(list(found.values()), task)
        curves = {
            MODELS[name].label: np.mean([run["ssim"] for run in runs], axis=0).tolist() for name, runs in models.items()
        }
        first: dict[str, Path] = {}
        for path, run in found.items():
            if path.with_suffix(".npz").is_file():
                first.setdefault(run["model"], path)
        shown, captions, one = {}, {}, next(iter(found.values()))
        for name, path in first.items():
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                shown.setdefault("truth", arrays["truth"])
                shown[f"{MODELS[name].label} (seed {found[path]['seed']})"] = arrays["predicted"]
        if shown:
            steps = np.unique(np.linspace(0, len(shown["truth"]) - 1, figures.FRAMES_SHOWN).round().astype(int))
            frames = np.concatenate([frames[steps] for frames in shown.values()]) / 255.0
            figures.save_png(f"{folder}/baselines_{task}_frames.png", gallery(frames, len(steps)), 3)
            numbers = ", ".join(str(step + one["input_steps"]) for step in steps)
            which = f"Figure 2, frames {numbers} of one test sequence, from top to bottom"
            captions["frames"] = f"{which}: {', '.join(shown)}"
        seen = one["input_steps"] + one["pred_steps"]
        figures.curves(curves, one["input_steps"], "SSIM", f"{folder}/baselines_{task}_ssim.png", seen)
        captions["ssim"] = f"SSIM by frame; the frames before {seen} are in the training's loss"
        lines[task] = [
            line for kind, caption in captions.items()
            for line in ("", f"![{task}, {kind}]({folder.name}/baselines_{task}_{kind}.png)", "", f"*{caption}.*")
        ]  # fmt: skip
    return lines


def write_page(folder: Path, report: Path) -> None:
    """Replace the results on the page `report` by those of all measured runs in `folder`, with pictures and a .json."""
    entries: dict[Path, Any] = read_entries(folder)
    pictures = draw(entries, report.parent / "pictures")
    write_entry(report.with_suffix(".json"), list(entries.values()))
    replace_section(report, HEADING, results(list(entries.values()), pictures), [])
