"""The notebooks of docs: whole, small, in step with the code; and, as a slow test, run from top to bottom."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MIGRATION, PHYSICS = (ROOT / "docs" / f"{name}.ipynb" for name in ("tf1_to_tf2", "physics_from_video"))
PACKAGES = ("nn", "physics_models", "data_gen", "runners")
MAX_BYTES, MAX_PICTURE_BYTES = 400_000, 60_000
each_notebook = pytest.mark.parametrize("path", [MIGRATION, PHYSICS], ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


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


@each_notebook
def test_it_was_run_from_top_to_bottom_without_an_error(path):
    cells = code_cells(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name", "stdout") == "stdout" for output in outputs), "a warning was committed"


@each_notebook
def test_it_is_small_and_carries_nothing_of_a_machine(path):
    text = path.read_text("utf-8")
    assert len(text.encode()) < MAX_BYTES
    notebook = json.loads(text)
    shown = [output.get("data", {}) for cell in code_cells(notebook) for output in cell["outputs"]]
    pictures = [data["image/png"] for data in shown if "image/png" in data]
    assert len(pictures) >= 2
    assert max(map(len, pictures)) < MAX_PICTURE_BYTES
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(not cell["metadata"] for cell in notebook["cells"])
    for cell in notebook["cells"]:
        words = source(cell) + "".join(map(json.dumps, [o for o in cell.get("outputs", []) if "data" not in o]))
        assert not re.search(r"/(home|root|tmp|usr|work|Users)/", words)


@each_notebook
def test_its_code_is_python_3_9_and_everything_that_it_takes_from_the_project_exists(path):
    names, modules = [], {}
    for cell in code_cells(read(path)):
        tree = ast.parse(source(cell), feature_version=(3, 9))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
                names += [(node.module, alias.name) for alias in node.names]
                modules |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names if "." not in node.module}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                names.append((modules[node.value.id], node.attr))
    assert len(names) > 7
    for module, name in names:
        found = hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")
        assert found, f"{module}.{name}"


@each_notebook
def test_its_contents_are_its_sections_each_with_an_exercise_and_its_answer(path):
    cells = [source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "markdown"]
    listed = re.findall(r"^\d\. (.*)$", cells[0], re.M)
    text = "\n".join(cells)
    assert len(listed) == 6 and re.findall(r"^## \d\. (.*)$", text, re.M) == listed
    for number, part in enumerate(re.split(r"(?m)^## ", text)[1:], 1):
        assert f"*Exercise {number}.*" in part
        answer = r"(?s)<details><summary>Answer</summary>\n\n```python\n.*?```\n```text\n.*?```.*</details>"
        assert re.search(answer, part)


@each_notebook
def test_the_files_and_lines_that_it_points_at_exist(path):
    text = "\n".join(source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
    files = re.findall(r"`(?:python )?([\w/.]+\.(?:md|py|ipynb))`", text)
    assert files and all((ROOT / file).is_file() for file in files)
    facts = read(ROOT / "tests" / "golden" / "original_lines.json")
    places = [f"{name['file']}:{name['line']}" for name in facts["names"]] + list(facts["lines"])
    places += [place for found in facts["uses"].values() for place in found]
    lines = set(re.findall(r"`(\w+\.(?:py|md):\d+)`", text))
    assert lines and lines <= {place.split("/")[-1] for place in places}


def run_first_cell(path: Path, folder: Path, pythonpath: str = "", repository: str = "") -> subprocess.CompletedProcess:
    """Without site-packages (`-S`): the cell needs none, and an installation of the project is not found there."""
    (first, *_) = code_cells(read(path))
    code = source(first).replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"')
    code = code.replace('"-m", "pip", "install"', '"-m", "pip", "--version"') + "\nprint(ROOT)"
    environment = {**os.environ, "PYTHONPATH": pythonpath}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@each_notebook
def test_its_first_cell_finds_the_project_or_says_how_to_get_it(path, tmp_path):
    """In a clone, installed, and on a machine that has neither."""
    for folder, pythonpath in ((ROOT / "docs", ""), (tmp_path, str(ROOT))):
        assert run_first_cell(path, folder, pythonpath).stdout.strip() == str(ROOT)
    neither = run_first_cell(path, tmp_path)
    assert neither.returncode == 1 and len(neither.stderr.strip().splitlines()) == 1 and "REPOSITORY" in neither.stderr


@each_notebook
def test_a_wrong_address_is_said_in_one_line(path, tmp_path):
    done = run_first_cell(path, tmp_path, repository=str(tmp_path / "nowhere"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"git cannot clone {tmp_path / 'nowhere'}")


@each_notebook
def test_its_first_cell_runs_a_second_time_after_it_has_cloned(path, tmp_path):
    """It finds its own clone, and does not clone again."""
    for file in ("tests/golden/blocks.npz", "physics_models/physics_net.py"):
        (tmp_path / "paig" / file).parent.mkdir(parents=True)
        (tmp_path / "paig" / file).touch()
    done = run_first_cell(path, tmp_path, repository=str(tmp_path / "nowhere"))
    assert done.stdout.strip() == str(tmp_path / "paig"), done.stderr


@pytest.mark.slow
@each_notebook
def test_its_first_cell_clones_the_project(path, tmp_path):
    """As a hosted notebook does; installing is left out."""
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("this is no clone")
    done = run_first_cell(path, tmp_path, repository=f"file://{ROOT}")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(tmp_path / "paig"), done.stderr


@pytest.mark.slow
@each_notebook
def test_it_runs_and_says_what_it_said_and_so_do_the_answers(path):
    """Every cell, its assertions among them: golden values, objects found, k and l."""
    # Here and not above: the other tests need no Jupyter.
    from execute_notebook import ANSWER, execute

    committed = [said(cell) for cell in code_cells(read(path))]
    expected = {}
    for cell in read(path)["cells"]:
        answer = ANSWER.search(source(cell)) if cell["cell_type"] == "markdown" else None
        if answer:
            expected[answer.group(1)] = answer.group(2)
    found = []
    for cell in code_cells(execute(path, answers=True)):
        if cell["source"] in expected:
            lines = "".join(output.get("text", "") for output in cell["outputs"]).splitlines(keepends=True)
            printed = "".join(line for line in lines if not line.startswith("WARNING:"))
            assert printed == expected.pop(cell["source"])
        else:
            found.append(said(cell))
    assert found == committed and not expected
