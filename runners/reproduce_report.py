"""reproduction.md and .json: the measured runs beside the paper's numbers."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from physics_models.errors import ExperimentError
from physics_models.tasks import get_task

PAPER = {
    "spring_color": {"k": 4.26, "l": 6.17},
    "mnist_spring_color": {"k": 2.18, "l": 12.24},
    "3bp_color": {"g": 65.7, "m": 0.95},
}
UNLEARNED = {"m"}  # the cell holds it fixed
PICTURES = {
    "future": "Figure 2: the truth, Physics+IG and the LSTM on the same encoder and decoder, frames after the input",
    "ssim": "structural similarity of the predicted frames",
    "positions": "distance from the true positions",
    "appearances": "Figure 4: contents, masks and their product, a row an object",
    "layers": "one frame: the frame and the encoder's masks; its reconstruction and the decoder's masks; mask·contents",
}


def number(value: float | None, digits: int = 3) -> str:
    """`value` with so many significant digits, or a dash."""
    return "–" if value is None else f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def against(value: float | None, true: float) -> str:
    """`value`, and how far it is off `true` in percent; or a dash."""
    if value is None:
        return "–"
    percent = round(100 * (value / true - 1), 1) + 0.0  # no minus before a zero
    return f"{number(value, 4)} ({percent:+.1f} %)"


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def groups(entries: list[tuple[Path, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Entries by the folder of their variant, such as `spring_color` and `spring_color-cured`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, entry in entries:
        found.setdefault(path.parent.name, []).append(entry)
    return found


def median(values: Iterable[float]) -> float | None:
    """The median, None of nothing."""
    values = list(values)
    return statistics.median(values) if values else None


def parameter_rows(name: str, runs: list[dict[str, Any]]) -> list[list[str]]:
    """True, paper's, raw and calibrated value of each learned parameter: the median over the seeds."""
    found = [run for run in runs if run["found"]]
    if not found:
        return []
    rows, task = [], found[0]["task"]
    for parameter, true in found[0]["true"].items():
        if parameter in UNLEARNED or parameter not in found[0]["parameters"]:
            continue
        raw = median(run["parameters"][parameter] for run in found)
        calibrated = median(run["calibrated"][parameter] for run in found)
        errors = [against(value, true) for value in (raw, calibrated)]
        paper = against(PAPER.get(task, {}).get(parameter), true)
        minutes = f'{median(run["wall_s"] / 60 for run in found):.0f} min'
        rows.append([name, parameter, number(true), paper, *errors, f"{len(found)} of {len(runs)}", minutes])
    return rows


def stretch_rows(name: str, runs: list[dict[str, Any]]) -> list[list[str]]:
    """By what factor the decoder's grid and the network stretch lengths, and the losses: the median over the seeds."""
    found = [run for run in runs if run["found"] and "length_scale" in run]
    if not found:
        return []
    side = get_task(found[0]["task"]).img_size
    expected = 1.0 if found[0]["calibrated_coords"] else side / (side - 1)
    losses = [number(median(run["losses"][f"{loss}_loss"] for run in found)) for loss in ("pred", "extrap", "recons")]
    measured = median(run["length_scale"] for run in found)
    return [[name, str(len(found)), number(expected, 5), number(measured, 5), *losses]]


def seed_rows(runs: list[dict[str, Any]]) -> list[list[str]]:
    """One row a seed: parameters, losses, position errors, SSIM, wall time, seeds tried."""
    rows = []
    for run in runs:
        tried, minutes = str(run["seeds_tried"]), f"{run['wall_s'] / 60:.1f}"
        if not run["found"]:
            rows.append([str(run["seed"]), "objects not found", *["–"] * 9, tried, minutes])
            continue
        learned = ", ".join(f"{n} {number(v, 4)}" for n, v in run["parameters"].items() if n not in UNLEARNED) or "–"
        losses, error = run["losses"], run.get("position_error", {})
        pred = run["pred_steps"]
        rows.append([
            str(run["seed"]), learned,
            *(number(losses[f"{name}_loss"]) for name in ("pred", "extrap", "recons")),
            *(number(error.get(part)) for part in ("encoded", "predicted", "extrapolated")),
            number(run.get("length_scale"), 5),
            number(sum(run["ssim"][:pred]) / pred), number(sum(run["ssim"][pred:]) / len(run["ssim"][pred:])),
            tried, minutes,
        ])  # fmt: skip
    return rows


SEED_HEAD = [
    "seed", "learned", "pred", "extrap", "recons", "encoded px", "predicted px", "extrapolated px",
    "stretch", "SSIM predicted", "SSIM extrapolated", "seeds tried", "minutes",
]  # fmt: skip
STRETCH_HEAD = ["runs", "seeds", "stretch expected", "stretch measured", "pred", "extrap", "recons"]
PARAMETER_HEAD = ["runs", "parameter", "true", "paper", "ours, raw", "ours, calibrated", "objects found", "time"]


def read_entries(experiments: Path) -> list[tuple[Path, dict[str, Any]]]:
    """All measured runs below `experiments`: (path of the entry, entry), by task, variant and seed.

    Raises `ExperimentError` for an entry of which no row can be made, and where there is none.
    """
    paths = [path for path in experiments.glob("*/seed*.json") if re.fullmatch(r"seed-?\d+", path.stem)]
    entries = []
    for path in sorted(paths, key=lambda p: (p.parent.name, int(p.stem[4:]))):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            # What the report takes of an entry, so that a damaged one is found before anything is written.
            entry["stack"], parameter_rows("", [entry]), stretch_rows("", [entry]), seed_rows([entry])
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise ExperimentError(f"{path}: damaged ({what}); delete it, and the run is measured again") from error
        entries.append((path, entry))
    if not entries:
        raise ExperimentError(f"{experiments}: holds no measured run, <task>/seed<N>.json")
    return entries


def write_report(experiments: Path, report_dir: Path) -> Path:
    """Write `reproduction.md`, `reproduction.json` and `pictures/` from all entries below `experiments`.

    Raises `ExperimentError` as `read_entries` does, before anything is written.
    """
    from physics_models.save_dir import write_atomically

    entries = read_entries(experiments)
    pictures = report_dir / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    lines = [
        "# The paper's results, run again",
        "",
        "Written by `PYTHONPATH=. python runners/reproduce_paper.py` from the runs that it trained; no number is typed",
        "in by hand but the paper's (its Table 1). All runs are `--schedule=staged`; those called `-cured` have",
        "`--vel_encoder=gauss_newton --calibrated_coords` besides. Positions in pixels, losses of the test file as in",
        "the log (squared error a frame), *stretch*: encoded lengths over true ones, time as the runs' logs have it,",
        "whatever else ran on the machine. Made with",
        f"{'; and with '.join(sorted({entry['stack'].replace(';', ',') for _, entry in entries}))}.",
        "",
        "## Learned parameters, median over the seeds that found the objects",
        "",
    ]
    by_variant = groups(entries)
    lines += table(PARAMETER_HEAD, (row for name, runs in by_variant.items() for row in parameter_rows(name, runs)))
    lines += ["", "## Stretch of lengths, and losses, median over the same seeds", ""]
    lines += table(STRETCH_HEAD, (row for name, runs in by_variant.items() for row in stretch_rows(name, runs)))
    for name, runs in by_variant.items():
        lines += ["", f"## {name}", "", *table(SEED_HEAD, seed_rows(runs))]
        first = next((p for p, e in entries if p.parent.name == name and e["found"]), None)
        for kind, caption in PICTURES.items():
            if first is None:
                break
            source = first.with_name(f"{first.stem}_{kind}.png")
            if source.is_file():
                shutil.copyfile(source, pictures / f"{name}_{kind}.png")
                lines += ["", f"![{caption}](pictures/{name}_{kind}.png)", "", f"*{caption} ({first.stem})*"]
    text, data = "\n".join(lines) + "\n", json.dumps([entry for _, entry in entries], indent=1) + "\n"
    report = report_dir / "reproduction.md"
    write_atomically(report, lambda file: file.write(text.encode()))
    write_atomically(report_dir / "reproduction.json", lambda file: file.write(data.encode()))
    return report
