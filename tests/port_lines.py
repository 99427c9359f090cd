"""Names of this port in the pages, each with the line that it stands on: found, checked and brought up to date.

A reference is a link to a line followed by the name: [`nn/cells.py:66`](../../nn/cells.py#L66) `ODECell`. After code
has moved,

    PYTHONPATH=. python tests/port_lines.py

writes the lines of all pages again; tests/test_map.py fails where one is wrong.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/migration/map.md", "docs/migration/cheat_sheet.md", "docs/differences.md")
FILE = r"(?:nn|data_gen|physics_models|runners)/[\w/]+\.py"
REFERENCE = re.compile(rf"\[`({FILE}):(\d+)`\]\(((?:\.\./)*)(\S+?)#L(\d+)\) `([\w.]+)`")


class Reference(NamedTuple):
    file: str
    line: int
    name: str


@functools.cache
def lines_of(file: str) -> dict[str, int]:
    """The line of every function, class, method and module-level name of a file."""
    found: dict[str, int] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[prefix + node.name] = node.lineno
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                        if isinstance(name, ast.Name):
                            found.setdefault(prefix + name.id, node.lineno)

    visit(ast.parse((ROOT / file).read_text("utf-8")).body, "")
    return found


def references(text: str) -> list[Reference]:
    """All references of a page, the link's line where it differs from the one that is shown."""
    found = []
    for file, line, _, path, anchor, name in REFERENCE.findall(text):
        found.append(Reference(file, int(line) if path == file and anchor == line else -1, name))
    return found


def wrong(text: str) -> list[Reference]:
    """The references of a page whose name is not in the file, or not on that line."""
    return [r for r in references(text) if lines_of(r.file).get(r.name) != r.line]


def updated(text: str) -> str:
    """The page with every line as it is now; a `KeyError` for a name that is gone."""

    def link(match: re.Match) -> str:
        file, _, up, _, _, name = match.groups()
        line = lines_of(file)[name]
        return f"[`{file}:{line}`]({up}{file}#L{line}) `{name}`"

    return REFERENCE.sub(link, text)


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(updated(path.read_text("utf-8")), "utf-8")
