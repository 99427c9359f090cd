"""Runs the notebooks of docs from top to bottom: `python tests/execute_notebook.py` writes their outputs anew."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTEBOOKS = (DOCS / "tf1_to_tf2.ipynb", DOCS / "physics_from_video.ipynb")
ANSWER = re.compile(r"(?s)<details>.*?```python\n(.*?)```\n```text\n(.*?)```")


def execute(path: Path, answers: bool = False) -> nbformat.NotebookNode:
    """The notebook with the outputs of a new kernel, and nothing in it that depends on machine or time.

    With `answers` those of its exercises run too, each in a cell of its own after the exercise. Raises nbclient's
    `CellExecutionError` where a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    for place, cell in reversed(list(enumerate(notebook.cells))):
        answer = ANSWER.search(cell.source) if answers and cell.cell_type == "markdown" else None
        if answer:
            notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(answer.group(1)))
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # TensorFlow's and the kernel's own messages go to stderr
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def rewrite(path: Path) -> None:
    """Put the executed notebook in the place of `path`, whole or not at all."""
    text = nbformat.writes(execute(path)) + "\n"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


if __name__ == "__main__":
    for notebook in map(Path, sys.argv[1:]) if sys.argv[1:] else NOTEBOOKS:
        rewrite(notebook)
