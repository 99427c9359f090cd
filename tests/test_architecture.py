"""docs/architecture.md holds: imports go one way, without circles or detours, and no file is too long."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "nn": {"nn"},
    "data_gen": {"data_gen"},
    "physics_models": {"physics_models", "nn"},
    "runners": {"runners", "physics_models", "data_gen"},
}
MAX_LINES = 350
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    """The dotted names of modules, and of what is taken from them, that are imported anywhere in `tree`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ALLOWED}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {name_of(path): ast.parse(path.read_text("utf-8")) for path in FILES}


@pytest.mark.parametrize("name", TREES)
def test_imports_go_one_way(name):
    packages = {imported.split(".")[0] for imported in imports(TREES[name])}
    assert packages <= ALLOWED[name.split(".")[0]]


@pytest.mark.parametrize("name", [n for n in TREES if n.startswith("runners") and "'__main__'" in ast.dump(TREES[n])])
def test_commands_import_tensorflow_through_physics_models(name):
    """So that it finds its oneDNN operations switched on, which the package does."""
    found = [node for node in TREES[name].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    roots = [(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0] for node in found]
    assert next(root for root in roots if root in ("tensorflow", "keras", "nn", "runners", "physics_models")) == (
        "physics_models"
    )


@pytest.mark.parametrize("name", TREES)
def test_no_import_of_ours_or_of_tensorflow_hides_in_a_function(name):
    hidden = []
    for function in ast.walk(TREES[name]):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            hidden += imports(function)
            hidden += [a.name for node in ast.walk(function) if isinstance(node, ast.Import) for a in node.names
                       if a.name == "tensorflow"]  # fmt: skip
    if name == "physics_models":  # imports TensorFlow with its start-up messages hidden
        hidden.remove("tensorflow")
    if name == "data_gen.sources":  # downloads MNIST and CIFAR-10; all else there works without TensorFlow
        hidden.remove("tensorflow")
    assert hidden == []


def test_there_is_no_circle():
    graph = {name: imports(tree) & set(TREES) - {name} for name, tree in TREES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=[name_of(path) for path in FILES])
def test_no_file_is_too_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_the_page_names_every_module_and_no_other():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("| package |") : page.index("## One batch")]
    for row in table.splitlines()[2:6]:
        package, listed = (re.findall(r"`([\w.]+)`", cell) for cell in row.strip("|").split("|")[:2])
        ours = {path.stem for path in (ROOT / package[0]).glob("*.py")} - {"__init__", "__main__", "errors"}
        assert set(listed) == ours
