"""Where things stand in the original: tests/golden/original_lines.json, which the pages and their tests refer to.

Facts only, by file and line: every function, class, method and module-level table ("names"), every use of TensorFlow's
API and of a session ("uses"), and one identifier or word on each other line that a page names ("lines"). With a clone
of seuqaj114/paig at the commit below:

    python tests/original_lines.py CLONE

writes the file again; the table LINES is checked against the clone.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "tests" / "golden" / "original_lines.json"
COMMIT = "6d99b1d8829095143b2c450d1aa0b499f331b0d5"
LINES = """
README.md:34 base_lr
README.md:37 70%
README.md:38 1000
README.md:68 eval_recons_loss
nn/datasets/generators.py:16 seed
nn/datasets/generators.py:195 rgb2gray
nn/datasets/generators.py:397 cifar_img
nn/datasets/generators.py:400 digits
nn/datasets/iterators.py:18 shuffle
nn/datasets/iterators.py:32 start_idx
nn/datasets/iterators.py:38 num_examples
nn/datasets/iterators.py:45 start_idx
nn/datasets/iterators.py:46 start_idx
nn/datasets/iterators.py:53 load
nn/network/base.py:83 restore_dir
nn/network/base.py:88 rmtree
nn/network/base.py:100 restore
nn/network/base.py:101 base_lr
nn/network/base.py:124 setFormatter
nn/network/base.py:125 addHandler
nn/network/base.py:148 epochs
nn/network/base.py:150 epochs_completed
nn/network/base.py:165 save_every_n_epochs
nn/network/base.py:166 save
nn/network/base.py:168 eval
nn/network/base.py:182 X
nn/network/physics_models.py:124 pred_loss
nn/network/physics_models.py:126 recons_loss
nn/network/physics_models.py:149 dyn_optimizer
nn/network/physics_models.py:155 apply_gradients
nn/network/physics_models.py:157 cell
nn/network/physics_models.py:174 ones_like
nn/network/physics_models.py:249 template
nn/network/physics_models.py:267 stn
nn/network/physics_models.py:268 split
nn/network/physics_models.py:277 background_mask
nn/network/physics_models.py:288 tvs
nn/network/physics_models.py:298 decoder
nn/network/physics_models.py:316 pred_steps
nn/network/physics_models.py:318 rollout_cell
nn/network/physics_models.py:321 decoder
nn/network/physics_models.py:329 network_vars
nn/network/physics_models.py:340 test_iterator
nn/network/physics_models.py:370 figsize
nn/network/stn.py:60 Print
nn/network/stn.py:63 width_f
nn/network/stn.py:223 transformer
nn/utils/misc.py:24 code
runners/run_physics.py:26 model_classes
runners/run_physics.py:29 data_file
runners/run_physics.py:30 bouncing_balls
runners/run_physics.py:40 spring_color_half
runners/run_physics.py:57 __main__
runners/run_physics.py:66 initialize_graph
runners/run_physics.py:78 Model
runners/run_physics.py:85 initialize_graph
"""


def dotted(node: ast.AST) -> str:
    """`tf.nn.relu` of its tree; empty for anything but a chain of attributes."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def names_of(tree: ast.Module) -> list[tuple[str, int]]:
    """Functions, classes, methods and module-level names, with their lines."""
    found = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.append((node.name, node.lineno))
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            found += [(f"{node.name}.{method.name}", method.lineno) for method in methods]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, node.lineno))
    return found


def uses_of(tree: ast.Module) -> list[tuple[str, int]]:
    """The API of TensorFlow and the session's calls, with their lines; a method's name does not follow a call."""
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node not in inner]
    named = [(dotted(node), node.end_lineno) for node in chains]
    starts = ("tf.", "self.sess.", "self.saver.", "self.optimizer.")
    return [(name, line) for name, line in named if name.startswith(starts)]


def collect(clone: Path) -> dict:
    """The facts of a clone; an `AssertionError` if one of LINES is not true of it."""
    names, uses = [], {}
    for path in sorted(clone.glob("[nr]*/**/*.py")):
        file = path.relative_to(clone).as_posix()
        tree = ast.parse(path.read_text("utf-8"))
        names += [{"name": name, "file": file, "line": line} for name, line in names_of(tree)]
        for name, line in uses_of(tree):
            uses.setdefault(name, set()).add((file, line))
    lines = dict(line.split(" ") for line in LINES.split("\n") if line)
    for place, word in lines.items():
        file, line = place.split(":")
        text = (clone / file).read_text("utf-8").splitlines()[int(line) - 1]
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text), f"{place}: no {word}"
    places = {name: [f"{file}:{line}" for file, line in sorted(found)] for name, found in sorted(uses.items())}
    return {"repository": "seuqaj114/paig", "commit": COMMIT, "names": names, "uses": places, "lines": lines}


def write(facts: dict) -> None:
    parts = []
    for key, value in facts.items():
        if isinstance(value, dict):
            entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            parts.append(f'"{key}": {{\n{entries}\n}}')
        elif isinstance(value, list):
            parts.append(f'"{key}": [\n' + ",\n".join(map(json.dumps, value)) + "\n]")
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    FACTS.write_text("{" + ",\n".join(parts) + "}\n", "utf-8")


if __name__ == "__main__":
    write(collect(Path(sys.argv[1])))
