"""README's table and setup.py say the same of every Python from 3.8 to 3.14."""

from __future__ import annotations

import ast
import re

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from tiny_run import ROOT

SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
REQUIRED = [Requirement(text) for text in ast.literal_eval(re.search(r"install_requires=(\[.*?\])", SETUP, re.S)[1])]
PYTHONS = SpecifierSet(re.search(r'python_requires="(.*?)"', SETUP)[1])


@pytest.mark.parametrize("minor", range(8, 15))
def test_a_python(minor):
    """Where it is not supported no TensorFlow is asked for: pip would name that instead of the Python."""
    version = f"3.{minor}"
    found = [r for r in REQUIRED if not r.marker or r.marker.evaluate({"python_version": version})]
    names = {r.name: str(r.specifier) for r in found}
    rows = re.findall(r"^\| (3\.\d+)(?: – (3\.\d+))? \| (2\.\d+)", README, re.M)
    row = [tf for low, high, tf in rows if int(low[2:]) <= minor <= int((high or low)[2:])]
    if version not in PYTHONS:
        assert "tensorflow" not in names and not row
        assert f"3.{minor}" in re.search(r"^Not on Python (.*?)\n\n", README, re.M | re.S)[1]
        return
    assert len(row) == 1 and row[0] in SpecifierSet(names["tensorflow"])
    assert ("tensorflow-addons" in names) == (row == ["2.15"])
