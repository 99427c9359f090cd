"""Compares two experiment folders, each the original's or this port's, as text and as an HTML page.

    python runners/compare_runs.py RUN_A RUN_B [--out=report/]

Standard argparse instead of absl's flags: it takes two positional arguments and no flag of the experiments.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import BinaryIO

from physics_models.command import OneLineParser, fail, run
from physics_models.errors import ExperimentError
from physics_models.run_log import RunLog, read_log
from physics_models.save_dir import write_atomically
from runners import compare_arrays, compare_logs
from runners.compare_report import Report, as_html, as_text, read_both

PARTS = ("log.txt", "checkpoint", "outputs.npz", "extra_outputs.npz", *compare_arrays.PICTURES)


def check_folders(folders: tuple[Path, Path]) -> None:
    """Raises ExperimentError unless each folder exists and holds something of an experiment."""
    for folder in folders:
        if not folder.is_dir():
            raise ExperimentError(f"{folder}: no such folder; give the save_dir of an experiment")
        if not any((folder / part).exists() for part in PARTS):
            raise ExperimentError(f"{folder}: not an experiment: no log.txt, checkpoint, outputs or pictures in it")


def compare_runs(first: str | Path, second: str | Path) -> Report:
    """Compares two experiment folders.

    Args:
      first: run A's folder.
      second: run B's.

    Returns:
      The report; what a folder lacks is said in it.

    Raises:
      ExperimentError: a folder does not exist or holds nothing of an experiment.
    """
    folders = (Path(first), Path(second))
    check_folders(folders)
    log_a, log_b, notes = read_both(folders, "log.txt", read_log)
    logs = (log_a or RunLog([]), log_b or RunLog([]))
    sections = [
        compare_logs.flags_section(logs, notes),
        compare_logs.losses_section(logs),
        compare_logs.parameters_section(logs),
        compare_logs.speed_section(logs),
        compare_arrays.checkpoint_section(folders),
        compare_arrays.outputs_section(folders),
        compare_arrays.objects_section(folders),
        compare_arrays.pictures_section(folders),
    ]
    return Report(str(first), str(second), sections)


def write_report(report: Report, folder: str | Path) -> None:
    """Writes `report.html` and `report.txt` into `folder`, made if it is missing; nothing else changes.

    Raises:
      ExperimentError: the folder cannot be made or written to.
    """
    page, text = as_html(report), as_text(report)
    folder = make_folder(folder)
    try:
        for name, content in (("report.html", page), ("report.txt", text)):
            data = content.encode("utf-8", "replace")
            write_atomically(folder / name, functools.partial(_write, data))
    except OSError as error:
        raise ExperimentError(f"--out={folder}: cannot be written ({error.strerror or error})") from error


def make_folder(folder: str | Path) -> Path:
    """Makes the report's folder if it is missing; ExperimentError if that cannot be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExperimentError(f"--out={folder}: cannot be made ({error.strerror or error})") from error
    return Path(folder)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; a mistake becomes one line on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    folders = (Path(options.run_a), Path(options.run_b))
    try:
        check_folders(folders)
        if options.out:
            make_folder(options.out)  # before the work, which takes seconds
    except ExperimentError as error:
        fail(error)
    run(functools.partial(_report_lines, folders, options.out))


def _write(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _report_lines(folders: tuple[Path, Path], out: str | None) -> list[str]:
    report = compare_runs(*folders)
    lines = as_text(report).splitlines()
    if out:
        write_report(report, out)
        lines += ["", f"Written: {Path(out) / 'report.html'} and report.txt beside it"]
    return lines


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="compare_runs.py",
        description="Compares two experiment folders, each the original's or this port's: flags, loss curves, "
        "learned parameters, speed, checkpoints, outputs frame by frame, and pictures.",
    )
    parser.add_argument("run_a", metavar="RUN_A", help="an experiment's save_dir")
    parser.add_argument("run_b", metavar="RUN_B", help="another's")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="also write DIR/report.html (one file that needs no network) and DIR/report.txt",
    )
    return parser


if __name__ == "__main__":
    main()
