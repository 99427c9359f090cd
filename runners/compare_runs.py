"""Compares two experiment folders, each the original's or this port's, as text and as an HTML page.

    python runners/compare_runs.py RUN_A RUN_B [--out=report/]

It uses argparse instead of absl's flags: it takes two positional arguments and no flag of the experiments.
"""

from __future__ import annotations

from os.path import expanduser
from pathlib import Path

from physics_models.errors import CommandParser, ExperimentError, run_command
from physics_models.experiment import write_atomically
from physics_models.run_log import RunLog, read_log
from runners.compare import arrays, logs
from runners.compare.report import Report, as_html, as_text, read_both

PARTS = ("log.txt", "checkpoint", "outputs.npz", "extra_outputs.npz", *arrays.PICTURES)


def compare_runs(first: str | Path, second: str | Path) -> Report:
    """Compares two experiment folders; the report says what a folder lacks.

    Raises:
      ExperimentError: a folder does not exist or holds nothing of an experiment.
    """
    folders = (Path(first), Path(second))
    for folder in folders:
        if not folder.is_dir():
            raise ExperimentError(f"{folder}: no such folder; give the save_dir of an experiment")
        if not any((folder / part).exists() for part in PARTS) and not any(folder.glob("*.index")):
            raise ExperimentError(f"{folder}: not an experiment: no log.txt, checkpoint, outputs or pictures in it")
    log_a, log_b, notes = read_both(folders, "log.txt", read_log)
    both = (log_a or RunLog(), log_b or RunLog())
    sections = [
        logs.flags_section(both, notes),
        logs.losses_section(both),
        logs.parameters_section(both),
        logs.speed_section(both),
        arrays.checkpoint_section(folders),
        arrays.outputs_section(folders),
        arrays.objects_section(folders),
        arrays.pictures_section(folders),
    ]
    return Report(str(first), str(second), sections)


def write_report(report: Report, folder: str | Path) -> None:
    """Writes `report.html` and `report.txt` into `folder`, made if need be; ExperimentError if it cannot be."""
    def write(name: str, text: str) -> None:
        write_atomically(Path(folder) / name, lambda file: file.write(text.encode("utf-8", "replace")))

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write("report.html", as_html(report))
        write("report.txt", as_text(report))
    except OSError as error:
        raise ExperimentError(f"--out={folder}: cannot be written to ({error.strerror or error})") from error


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; a mistake becomes one line on stderr and exit code 1."""
    parser = CommandParser(
        prog="compare_runs.py",
        description="Compares two experiment folders, each the original's or this port's: flags, loss curves, "
        "learned parameters, speed, checkpoints, outputs frame by frame, and pictures.",
    )
    parser.add_argument("run_a", metavar="RUN_A", type=expanduser, help="an experiment's save_dir")
    parser.add_argument("run_b", metavar="RUN_B", type=expanduser, help="another's")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=expanduser,
        help="also write DIR/report.html (one file that needs no network) and DIR/report.txt",
    )
    options = parser.parse_args(arguments)

    def run() -> list[str]:
        report = compare_runs(options.run_a, options.run_b)
        written = []
        if options.out:
            write_report(report, options.out)
            written = ["", f"Written: {Path(options.out) / 'report.html'} and report.txt beside it"]
        return [*as_text(report).splitlines(), *written]

    run_command(run)


if __name__ == "__main__":
    main()
