"""Compares two experiment folders, each the original's or this port's, as text and as an HTML page.

    python runners/compare_runs.py RUN_A RUN_B [--out=report/]

It uses argparse instead of absl's flags: it takes two positional arguments and no flag of the experiments.
"""

from __future__ import annotations

from os.path import expanduser
from pathlib import Path

from physics_models import checkpoints
from physics_models.errors import CommandParser, ExperimentError, run_command
from physics_models.experiment import LOG, write_atomically
from physics_models.run_log import RunLog, read_log
from runners.compare import arrays, logs
from runners.compare.report import Report, Section, as_html, as_text, read_both

ARRAYS = (  # title, file, its reader, what makes a summary and blocks of both
    ("Checkpoints", "checkpoint", lambda path: checkpoints.load(path.parent), arrays.compare_checkpoints),
    ("Outputs", "outputs.npz", arrays.load_outputs, arrays.compare_outputs),
    ("Objects", "extra_outputs.npz", arrays.load_learned, arrays.compare_objects),
)


def compare_runs(first: str | Path, second: str | Path) -> Report:
    """Compares two experiment folders; the report says what a folder lacks.

    Raises:
      ExperimentError: a folder does not exist or holds nothing of an experiment.
    """
    folders = (Path(first), Path(second))
    for folder in folders:
        if not folder.is_dir():
            raise ExperimentError(f"{folder}: no such folder; give the save_dir of an experiment")
        parts = (LOG, *(row[1] for row in ARRAYS), *arrays.PICTURES)
        if not any((folder / part).exists() for part in parts) and not any(folder.glob("*.index")):
            raise ExperimentError(f"{folder}: not an experiment: no log.txt, checkpoint, outputs or pictures in it")
    log_a, log_b, notes = read_both(folders, LOG, read_log)
    sections = logs.sections((log_a or RunLog(), log_b or RunLog()))
    sections[0].blocks[:0] = notes
    for title, part, reader, compare in ARRAYS:
        a, b, notes = read_both(folders, part, reader)
        sections.append(Section(title, *(("not compared", notes) if notes else compare(a, b))))
    sections.append(Section("Pictures", *arrays.list_pictures(folders)))
    return Report(str(first), str(second), sections)


def write_report(report: Report, folder: str | Path) -> None:
    """Writes `report.html` and `report.txt` into `folder`, made if need be; ExperimentError if it cannot be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in (("report.html", as_html(report)), ("report.txt", as_text(report))):
            data = text.encode("utf-8", "replace")
            write_atomically(Path(folder) / name, lambda file, data=data: file.write(data))
    except OSError as error:
        raise ExperimentError(f"--out={folder}: cannot be written to ({error.strerror or error})") from error


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; a mistake becomes one line on stderr and exit code 1."""
    parser = CommandParser(
        prog="compare_runs.py",
        description="Compares two experiment folders: logs, checkpoints, outputs frame by frame, and pictures.",
    )
    parser.add_argument("run_a", metavar="RUN_A", type=expanduser, help="an experiment's save_dir")
    parser.add_argument("run_b", metavar="RUN_B", type=expanduser, help="another's")
    out = "also write DIR/report.html (one file) and DIR/report.txt"
    parser.add_argument("--out", metavar="DIR", type=expanduser, help=out)
    options = parser.parse_args(arguments)

    def run() -> list[str]:
        report = compare_runs(options.run_a, options.run_b)
        lines = as_text(report).splitlines()
        if options.out:
            write_report(report, options.out)
            lines += ["", f"Written: {Path(options.out) / 'report.html'} and report.txt beside it"]
        return lines

    run_command(run)


if __name__ == "__main__":
    main()
