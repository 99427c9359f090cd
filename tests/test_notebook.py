"""docs/tf1_to_tf2.ipynb: whole, small, in step with the code; and, as a slow test, run from top to bottom."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tf1_to_tf2.ipynb"
PACKAGES = ("nn", "physics_models", "data_gen", "runners")
MAX_BYTES, MAX_PICTURE_BYTES = 400_000, 60_000


def read() -> dict:
    return json.loads(NOTEBOOK.read_text("utf-8"))


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def said(cell: dict) -> str:
    """What a cell prints and shows, numbers masked: two machines round differently."""
    parts = []
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        parts += ["<picture>"] if "image/png" in output.get("data", {}) else ["".join(text)]
    text = re.sub(r"-?\d+(\.\d*)?(e[+-]\d+)?%?", "#", "".join(parts))
    return re.sub(r"\s+", " ", text).strip()


def test_it_was_run_from_top_to_bottom_without_an_error():
    cells = code_cells(read())
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name", "stdout") == "stdout" for output in outputs), "a warning was committed"


def test_it_is_small_and_carries_nothing_of_a_machine():
    text = NOTEBOOK.read_text("utf-8")
    assert len(text.encode()) < MAX_BYTES
    notebook = json.loads(text)
    shown = [output.get("data", {}) for cell in code_cells(notebook) for output in cell["outputs"]]
    pictures = [data["image/png"] for data in shown if "image/png" in data]
    assert len(pictures) >= 8
    assert max(map(len, pictures)) < MAX_PICTURE_BYTES
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(not cell["metadata"] for cell in notebook["cells"])
    for cell in notebook["cells"]:
        words = source(cell) + "".join(map(json.dumps, [o for o in cell.get("outputs", []) if "data" not in o]))
        assert not re.search(r"/(home|root|tmp|usr|work|Users)/", words)


def test_its_code_is_python_3_9_and_everything_that_it_imports_exists():
    names = []
    for cell in code_cells(read()):
        for node in ast.walk(ast.parse(source(cell), feature_version=(3, 9))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
                names += [(node.module, alias.name) for alias in node.names]
    assert len(names) > 10
    for module, name in names:
        found = hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")
        assert found, f"{module}.{name}"


def test_its_contents_are_its_sections():
    cells = read()["cells"]
    listed = re.findall(r"^\d\. (.*)$", source(cells[0]), re.M)
    sections = re.findall(r"^## \d\. (.*)$", "\n".join(map(source, cells)), re.M)
    assert len(listed) == 8 and sections == listed


def test_the_files_that_it_points_at_exist():
    root = NOTEBOOK.parents[1]
    text = "\n".join(source(cell) for cell in read()["cells"] if cell["cell_type"] == "markdown")
    files = re.findall(r"`(?:python )?([\w/.]+\.(?:md|py))", text)
    assert {"MIGRATION.md", "docs/shapes.md", "runners/run_physics.py"} <= set(files)
    assert all((root / file).is_file() for file in files)


@pytest.mark.slow
def test_it_runs_and_says_what_it_said():
    """Every cell, its assertions among them: golden values, objects found, k and l."""
    # Here and not above: the other tests need no Jupyter.
    from execute_notebook import execute

    committed = [said(cell) for cell in code_cells(read())]
    assert [said(cell) for cell in code_cells(execute())] == committed
