"""reproduction.md and .json: the measured runs beside the paper's numbers."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from physics_models.errors import ExperimentError
from physics_models.experiment import write_atomically
from physics_models.tasks import get_task
from runners.reproduce.shapes import MADE

Entry = dict[str, Any]  # of one run, as `measure.measure_run` gives it

PAPER = {  # its Table 1
    "spring_color": {"k": 4.26, "l": 6.17},
    "mnist_spring_color": {"k": 2.18, "l": 12.24},
    "3bp_color": {"g": 65.7, "m": 0.95},
}
UNLEARNED = {"m"}  # the cell holds it fixed
LOSSES = ("pred", "extrap", "recons")
MEASURED = ("encoded px", "predicted px", "extrapolated px", "stretch", "SSIM predicted", "SSIM extrapolated")
PICTURES = {
    "future": "Figure 2: the truth, Physics+IG and the LSTM on the same encoder and decoder, frames after the input",
    "ssim": "structural similarity of the predicted frames",
    "positions": "distance from the true positions",
    "appearances": "Figure 4: contents, masks and their product, a row per object",
}
HEADING = """# The paper's results, run again

Written by `PYTHONPATH=. python runners/reproduce_paper.py --task=TASK --seeds=0,1,2` from the runs that it trained;
only the paper's numbers (its Table 1) are typed in by hand. All runs had help that the paper does not have: training
in stages, and what the column *help* names; supervision by motion is computed from the frames alone
([discovery.md](discovery.md)). Those called `-corrected` had `--vel_encoder=gauss_newton --calibrated_coords`, too.
Each seed was run once. *Raw* is the learned value; in *calibrated*, lengths are divided by the scale of the decoder's
grid, which is *stretch expected* ([table1.md](table1.md)). *Stretch measured*: encoded lengths over true ones.
Positions are in pixels. Losses are squared errors per frame on the test file, as in the log: `pred` of the predicted
frames that the training's loss has, `extrap` of the later ones, `recons` of the reconstruction. Time is that of the
runs' logs, whatever else ran on the machine. *Objects found* is judged by the reconstruction. Digits are the data
file's; those of this project's own runs are drawn ([data.md](data.md)). Made with
"""


def number(value: float | None, digits: int = 3) -> str:
    """`value` with so many significant digits, or a dash."""
    return "–" if value is None else f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def words(parameters: dict[str, float]) -> str:
    """Parameters with four significant digits, or a dash for none."""
    return ", ".join(f"{name} {number(value, 4)}" for name, value in parameters.items()) or "–"


def with_error(value: float | None, true: float) -> str:
    """`value`, and how far it is from `true` in percent; or a dash."""
    if value is None:
        return "–"
    percent = round(100 * (value / true - 1), 1) + 0.0  # no minus before a zero
    return f"{number(value, 4)} ({percent:+.1f} %)"


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a Markdown table; all `rows` have the same columns."""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)] if rows else []
    return [f"| {' | '.join(line)} |" for line in cells]


def write_entry(file: Path, entry: Entry | list[Entry]) -> None:
    """Write the entry of one run, or the list of all, atomically; its folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(entry, indent=1)
    write_atomically(file, lambda out: out.write(f"{text}\n".encode()))


def read_entry(file: Path, use: Callable[[Entry], Any]) -> Entry:
    """The entry in `file`; `ExperimentError` if it cannot be read, or if `use`, what a page takes of it, fails."""
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        use(entry)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ExperimentError(f"{file}: damaged ({what}); delete it, and the run is measured again") from error
    return entry


def replace_section(report: Path, heading: str, text: str, *tables: list[dict[str, str]]) -> None:
    """Replace what follows `heading` on the page `report` by `text` and `tables`; the page is made if need be."""
    report.parent.mkdir(parents=True, exist_ok=True)
    before = report.read_text(encoding="utf-8").split(heading)[0] if report.is_file() else ""
    page = "\n".join([f"{before}{heading}\n", f"{text}\n", *("\n".join([*table(rows), ""]) for rows in tables)])
    write_atomically(report, lambda file: file.write(page.encode()))


def parameter_rows(name: str, runs: list[Entry]) -> list[dict[str, str]]:
    """A row per learned parameter: true, the paper's, raw and calibrated value; medians over the seeds."""
    found, rows = [run for run in runs if run["found"]], []
    for parameter, true in found[0]["true"].items() if found else ():
        if parameter in UNLEARNED or parameter not in found[0]["parameters"]:
            continue
        values = (statistics.median(run[kind][parameter] for run in found) for kind in ("parameters", "calibrated"))
        raw, calibrated = (with_error(value, true) for value in values)
        rows.append({
            "runs": name, "parameter": parameter, "true": number(true),
            "paper": with_error(PAPER.get(found[0]["task"], {}).get(parameter), true),
            "ours, raw": raw, "ours, calibrated": calibrated, "objects found": f"{len(found)} of {len(runs)}",
            "time": f"{statistics.median(run['wall_s'] / 60 for run in found):.0f} min", "help": given_help(found),
        })  # fmt: skip
    return rows


def given_help(runs: list[Entry]) -> str:
    """What `runs` had that the paper does not have."""
    kinds = {run.get("supervision", "motion") for run in runs}
    parts = ["supervision by motion, faded out"] * ("motion" in kinds) + ["stages alone"] * ("none" in kinds)
    corrected = {"fitted state": runs[0].get("vel_encoder") == "gauss_newton", "grid": runs[0]["calibrated_coords"]}
    names = [name for name, given in corrected.items() if given]
    return "; ".join([*parts, *(["both corrections"] if len(names) == 2 else [f"corrected: {each}" for each in names])])


def first_stage(runs: list[Entry]) -> str:
    """How the first stage of `runs` was supervised, by the flags that they had."""
    free = {"--supervision=none" in (run.get("flags") or ()) for run in runs}
    if free == {True}:
        return "not supervised"
    return "supervised by motion, faded out" + ", but for runs with `--supervision=none`" * (True in free)


def stretch_rows(name: str, runs: list[Entry]) -> list[dict[str, str]]:
    """By what factor the decoder's grid and the network stretch lengths, and the losses; medians over the seeds."""
    found = [run for run in runs if run["found"] and "length_scale" in run]
    if not found:
        return []
    task = found[0]["task"]
    side = get_task(MADE[task].task if task in MADE else task).img_size
    return [{
        "runs": name, "seeds": str(len(found)),
        "stretch expected": number(1.0 if found[0]["calibrated_coords"] else side / (side - 1), 5),
        "stretch measured": number(statistics.median(run["length_scale"] for run in found), 5),
        **{loss: number(statistics.median(run["losses"][f"{loss}_loss"] for run in found)) for loss in LOSSES},
    }]  # fmt: skip


def seed_row(run: Entry) -> dict[str, str]:
    """The row of one run: parameters, losses, position errors, SSIM, time."""
    learned, values = "objects not found", dict.fromkeys((*LOSSES, *MEASURED))
    if run["found"]:
        learned = words({name: value for name, value in run["parameters"].items() if name not in UNLEARNED})
        errors, steps = run.get("position_error", {}), run["pred_steps"]
        values = {loss: run["losses"][f"{loss}_loss"] for loss in LOSSES} | dict(zip(MEASURED, (
            *map(errors.get, ("encoded", "predicted", "extrapolated")), run.get("length_scale"),
            statistics.fmean(run["ssim"][:steps]), statistics.fmean(run["ssim"][steps:]),
        )))  # fmt: skip
    return {
        "seed": str(run["seed"]), "learned": learned,
        **{name: number(value, 5 if name == "stretch" else 3) for name, value in values.items()},
        "minutes": f"{run['wall_s'] / 60:.1f}",
    }  # fmt: skip


def all_rows(run: Entry) -> None:
    """Make all that the report takes of one run, so that a damaged entry is found before anything is written."""
    run["stack"].replace(";", ","), parameter_rows("", [run]), stretch_rows("", [run]), seed_row(run)


def read_entries(experiments: Path) -> dict[str, dict[Path, Entry]]:
    """All measured runs below `experiments`: by the name of their folder, such as `spring_color-corrected`, and seed.

    Raises `ExperimentError` for an entry of which no row can be made, and where there is none.
    """
    paths = [path for path in experiments.glob("*/seed*.json") if re.fullmatch(r"seed-?\d+", path.stem)]
    entries: dict[str, dict[Path, Entry]] = {}
    for path in sorted(paths, key=lambda path: (path.parent.name, int(path.stem[4:]))):
        entries.setdefault(path.parent.name, {})[path] = read_entry(path, all_rows)
    if not entries:
        raise ExperimentError(f"{experiments}: holds no measured run, <task>/seed<N>.json")
    return entries


def write_report(experiments: Path, report_dir: Path) -> Path:
    """Write `reproduction.md`, `reproduction.json` and `pictures/` from all entries that `read_entries` finds."""
    entries = read_entries(experiments)
    runs = {name: list(by_path.values()) for name, by_path in entries.items()}
    everything, pictures = sum(runs.values(), []), report_dir / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    stacks = sorted({entry["stack"].replace(";", ",") for entry in everything})
    lines = [f"{HEADING}{'; and with '.join(stacks)}.", "", "## Learned parameters, median over the seeds"]
    lines += ["", *table([row for name in runs for row in parameter_rows(name, runs[name])])]
    lines += ["", "## Stretch of lengths, and losses, median over the same seeds", ""]
    lines += table([row for name in runs for row in stretch_rows(name, runs[name])])
    for name, by_path in entries.items():
        lines += ["", f"## {name}", "", *table([seed_row(entry) for entry in by_path.values()])]
        found = [path for path, entry in by_path.items() if entry["found"]]
        for kind, caption in PICTURES.items():
            source = found[0].with_name(f"{found[0].stem}_{kind}.png") if found else None
            if source and source.is_file():
                shutil.copyfile(source, pictures / f"{name}_{kind}.png")
                lines += ["", f"![{caption}](pictures/{name}_{kind}.png)", "", f"*{caption} ({found[0].stem})*"]
    files = {"reproduction.md": "\n".join(lines), "reproduction.json": json.dumps(everything, indent=1)}
    for name, text in files.items():
        write_atomically(report_dir / name, lambda file, text=text: file.write(f"{text}\n".encode()))
    return report_dir / "reproduction.md"
