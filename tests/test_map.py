"""The map, the cheat sheet and the differences: every name and line that they give, of the original and of the port."""

from __future__ import annotations

import functools
import importlib
import json
import re
from pathlib import Path

import migration_lessons as course
import numpy as np
import port_lines
import pytest
from absl import flags
from original_lines import FACTS

ROOT = Path(__file__).parents[1]
ORIGINAL = json.loads(FACTS.read_text("utf-8"))
LINK = re.compile(rf"\[`(\w+\.\w+):(\d+)`\]\(https://github\.com/{ORIGINAL['repository']}/blob/(\w+)/(\S+?)#L(\d+)\)")
MAP, CHEAT_SHEET, DIFFERENCES = "docs/migration/map.md", "docs/migration/cheat_sheet.md", "docs/differences.md"
PAGES = (*course.PAGES, MAP, CHEAT_SHEET, DIFFERENCES, "docs/table1.md")
OTHER_COMMANDS = ("runners.fit_positions", "runners.plot_run", "runners.reproduce_paper", "runners.run_benchmark")
PACKAGES = ("nn", "physics_models", "data_gen", "runners")


def table(page: str, title: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell, without its two head lines."""
    (part,) = re.findall(rf"(?ms)^#+ {re.escape(title)}$(.*?)(?=^#+ |\Z)", course.words(course.read_page(page)))
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Lines of the original


@functools.cache
def known_lines() -> set[tuple[str, str]]:
    """(file, line) of all facts; a file by its name alone, which is unique in the original."""
    places = [f"{name['file']}:{name['line']}" for name in ORIGINAL["names"]]
    places += [place for found in ORIGINAL["uses"].values() for place in found] + list(ORIGINAL["lines"])
    return {tuple(place.split("/")[-1].split(":")) for place in places}


def original_references(text: str) -> list[tuple[str, str]]:
    """Each `base.py:152` of a page, and each `:153` that follows one."""
    found = []
    for name, line in re.findall(r"`((?:\w+\.(?:py|md))?):(\d+)`", re.sub(r"`\w+/[\w/]+\.py:\d+`", "", text)):
        found.append((name or found[-1][0], line))
    return found


def test_the_files_of_the_original_have_names_of_their_own():
    files = {name["file"] for name in ORIGINAL["names"]}
    assert len({file.split("/")[-1] for file in files}) == len(files) == 12


@pytest.mark.parametrize("page", PAGES)
def test_every_line_of_the_original_is_a_fact(page):
    assert set(original_references(course.read_page(page))) - known_lines() == set()


@pytest.mark.parametrize("page", [MAP, CHEAT_SHEET])
def test_a_link_leads_to_the_line_that_it_shows(page):
    links = LINK.findall(course.read_page(page))
    assert len(links) == len(re.findall(r"\[`\w+\.\w+:\d+`\]", course.read_page(page))) > 20
    for name, line, commit, path, anchor in links:
        assert (commit, path.split("/")[-1], anchor) == (ORIGINAL["commit"], name, line)


def test_the_original_uses_none_of_what_the_appendix_says_that_it_does_not_use():
    absent = (
        "tf.contrib", "tf.summary", "tf.layers.batch_norm", "tf.nn.dynamic_rnn", "tf.nn.static_rnn", "tf.app.run",
        "tf.nn.rnn_cell.BasicLSTMCell", "tf.keras.layers", "tf.keras.optimizers", "tf.Print", "tf.log",
        "tf.cond", "tf.while_loop", "tf.train.init_from_checkpoint", "tf.estimator",
    )  # fmt: skip
    assert [use for use in ORIGINAL["uses"] if use.startswith(absent)] == []


# Lines of the port


@pytest.mark.parametrize("page", port_lines.PAGES)
def test_every_name_of_the_port_stands_on_its_line(page):
    """If this fails after code has moved: PYTHONPATH=. python tests/port_lines.py."""
    text = course.read_page(page)
    assert len(port_lines.references(text)) == len(re.findall(r"\[`\w+/[\w/]+\.py:\d+`\]", text))
    assert port_lines.wrong(text) == []


def test_a_name_on_another_line_is_found_and_brought_up_to_date():
    text = "[`nn/cells.py:1`](../nn/cells.py#L1) `ODECell.call`"
    assert port_lines.wrong(text) and port_lines.wrong(port_lines.updated(text)) == []
    assert port_lines.wrong(port_lines.updated(text).replace("ODECell", "OtherCell"))


def look_up(name: str) -> object:
    """The module, class, function or attribute behind a dotted name."""
    path, *parts = name.split(".")
    found = importlib.import_module(path)
    for part in parts:
        path = f"{path}.{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_and_every_file_of_this_port_exists(page):
    text = course.words(course.read_page(page))
    for name in set(re.findall(rf"`((?:{'|'.join(PACKAGES)})\.[\w.]+?)`", text)):
        if not name.endswith((".py", ".md")):
            look_up(name)
    originals = {name["file"] for name in ORIGINAL["names"]}
    paths = set(re.findall(rf"`((?:{'|'.join(PACKAGES)}|tests|docs)/[\w./]*)`", text)) - originals
    paths |= {str(Path(page).parent / link) for link in re.findall(r"\]\(([\w./]+)(?:#\S*)?\)", text)}
    assert [path for path in paths if not (ROOT / path).resolve().exists()] == []


# The map


def test_every_file_of_the_original_is_mapped():
    rows = {code(row[0])[0]: code(row[1]) for row in table(MAP, "Files")}
    assert set(rows) == {name["file"] for name in ORIGINAL["names"]}
    for targets in rows.values():
        assert targets and all((ROOT / path).is_file() for path in targets)


def test_every_name_of_the_original_is_mapped():
    mapped, text = {}, course.read_page(MAP)
    for link, name, target in re.findall(r"(?m)^\| (\[`\S+:\d+`\]\(https\S+\)) \| `(\S+)` \| (.*) \|$", text):
        (path, line) = LINK.match(link).group(4, 5)
        mapped[path, int(line), name] = target
    assert len(ORIGINAL["names"]) == 78
    assert set(mapped) == {(name["file"], name["line"], name["name"]) for name in ORIGINAL["names"]}
    for target in mapped.values():
        assert port_lines.references(target) or target.startswith("none, because ")


@functools.cache
def command_flags() -> dict[str, dict]:
    """The type and default of each flag of run_physics.py by name; other tests may have imported other commands."""
    importlib.import_module("runners.run_physics")
    modules = flags.FLAGS.flags_by_module_dict()
    own = [name for name in modules if name.startswith("runners.") and name not in OTHER_COMMANDS]
    every = [flag for name in own for flag in modules[name]]
    return {f.name: {"type": f.flag_type().removesuffix(" enum"), "default": f.default} for f in every}


def test_every_flag_of_the_original_is_mapped():
    rows = {code(row[0])[0][2:]: row[1:] for row in table(MAP, "Flags")}
    kinds = {"boolean": "bool", "integer": "int"}
    uses = {"boolean": "bool", "float": "float", "integer": "integer", "string": "string"}
    defined = {kind: len(ORIGINAL["uses"][f"tf.app.flags.DEFINE_{use}"]) for kind, use in uses.items()}
    assert len(rows) == sum(defined.values()) == 24
    assert {kind: [row[0] for row in rows.values()].count(kind) for kind in defined} == defined
    stated = {name: (kinds.get(kind, kind), json.loads(default)) for name, (kind, default) in rows.items()}
    assert stated == {name: tuple(command_flags()[name].values()) for name in rows}


def test_every_flag_of_this_port_is_listed():
    original = {code(row[0])[0][2:] for row in table(MAP, "Flags")}
    rows = {name[2:]: row[1] for row in table(DIFFERENCES, "Added: flags of this port") for name in code(row[0])}
    own = {name: flag["default"] for name, flag in command_flags().items() if name not in original}
    assert {name: json.loads(default) for name, default in rows.items()} == own


def spread(cell: str) -> list[str]:
    """`a` … `a_2` as a, a_1, a_2; `b[0]` … `b[2]` as b[0], b[1], b[2]; a single name as it is."""
    names = code(cell)
    if "…" not in cell:
        return names[:1]
    (first, number, end), (_, last, _) = (re.fullmatch(r"(.*?)[_[]?(\d*)(\]?)", name).groups() for name in names)
    numbers = range(int(number or 0), int(last) + 1)
    return [f"{first}[{i}]" if end else f"{first}_{i}" if i else first for i in numbers]


@functools.cache
def network(task: str, optimizer: str = "rmsprop", **settings):
    from physics_models.physics_net import PhysicsNet
    from physics_models.tasks import get_task

    net = PhysicsNet(get_task(task, settings.pop("cell_type", "")), **settings)
    net.build_optimizer(1e-3, optimizer)
    return net


@pytest.mark.parametrize("task", ["spring_color", "3bp_color", "bouncing_balls"])
def test_every_variable_of_the_original_is_mapped(task):
    net, found = network(task), set()
    variables = {**net.named_variables(), **net.optimizer.named_variables()}
    for row in table(MAP, "Variables"):
        names, targets = spread(row[0]), spread(row[1])
        assert len(names) == len(targets)
        for name, target in zip(names, targets):
            if "_ode_cell" in name and net.task.cell_type not in name:
                continue
            for one in ["net/decoder/logsigma"] if "NAME" in name else [name]:
                owner = eval(target.replace("NAME", one), {"net": net})
                name = name.replace("NAME", one)
                parts = [""] if name in variables else ["/kernel", "/bias"]
                for part in parts:
                    value = getattr(owner, part[1:]) if part else owner
                    assert variables[name + part] is value
                    found.add(name + part)
    trained = set(net.variables_by_name(trainable_only=True))
    slots = {f"{name}/{slot}" for name in trained for slot in ("RMSProp", "RMSProp_1")}
    shown = {f"net/decoder/logsigma/{slot}" for slot in ("RMSProp", "RMSProp_1")}
    assert found == (set(variables) - slots) | shown


def test_the_shapes_in_the_table_of_variables():
    variables = network("spring_color").variables_by_name()
    checked = 0
    for row in table(MAP, "Variables"):
        names = spread(row[0])
        if names[0].startswith("net/") and "gravity" not in names[0] and "bouncing" not in names[0]:
            ends = [names[0], names[-1]] if len(names) > 1 else names
            shapes = [list(variables.get(f"{name}/kernel", variables.get(name)).shape) for name in ends]
            assert [json.loads(shape) for shape in re.findall(r"\[[^\]]*\]", row[2])] == shapes
            checked += 1
    assert checked == 10


def test_the_variables_of_other_settings():
    nets = {
        "NAME/Momentum": network("spring_color", "momentum"), "NAME/Adam": network("spring_color", "adam"),
        "beta1_power": network("spring_color", "adam"), "net/init_vel/dense": network("spring_color", alt_vel=True),
        "net/encoder/conv2d_transpose": None, "net.cell.stack[0]": network("spring_color", cell_type="lstm"),
    }  # fmt: skip
    rows = table(MAP, "Variables of other settings")
    assert len(rows) == len(nets)
    for row in rows:
        names, targets = code(row[0]), code(row[1])
        net = nets[(names or targets)[0]]
        for target in targets if net else []:
            owner = eval(target.replace("NAME", "net/decoder/logsigma"), {"net": net})
            named = {**net.named_variables(), **net.optimizer.named_variables()}
            assert any(getattr(owner, "kernel", owner) is variable for variable in named.values())
            for name in names:
                name = name.replace("NAME", "net/decoder/logsigma")
                assert name in named or f"{name}/kernel" in named
    kernel = network("spring_color", alt_vel=True).variables_by_name()["net/init_vel/dense/kernel"]
    assert kernel.shape == [6, 2]


# The cheat sheet


def test_the_cheat_sheet_is_a_page_whose_uses_stand_on_their_lines():
    rows = [row for row in table(CHEAT_SHEET, "Cheat sheet: TensorFlow 1 → 2") if LINK.search(row[1])]
    assert 25 <= len(rows) <= 30
    for api, links, _, target in rows:
        places = {f"{path}:{line}" for _, _, _, path, line in LINK.findall(links)}
        assert places and (port_lines.references(target) or target.startswith("none"))
        for token in code(api):
            token = re.split(r"[*(]", token)[0].replace("sess.", "self.sess.")
            uses = [set(found) for use, found in ORIGINAL["uses"].items() if use.startswith(token)]
            assert not uses or places & set.union(*uses), f"{token} is not used at {places}"
    shown = " ".join(code(" ".join(row[0] for row in rows)))
    for use in "Session placeholder layers get_variable train.Saver assign where variable_scope image.resize".split():
        assert f"tf.{use}" in shown


def test_the_table_of_optimizers():
    from nn.optimizers import OPTIMIZERS

    rows = {row[0]: row for row in table(CHEAT_SHEET, "Cheat sheet: TensorFlow 1 → 2") if len(row) == 5}
    rows = {name: row for name, row in rows.items() if name in {rule.__name__ for rule in OPTIMIZERS.values()}}
    assert len(rows) == 4
    for rule in OPTIMIZERS.values():
        starts = [float(n) for n in re.findall(r"\d", rows[rule.__name__][1].split(";")[0])]
        assert starts == list(rule.slot_starts)
    keras = importlib.import_module("tensorflow").keras.optimizers
    for name, keras_name in (("RMSProp", "RMSprop"), ("Adam", "Adam")):
        assert float(rows[name][3].split(",")[0]) == getattr(keras, keras_name)().epsilon
    np.testing.assert_equal([rows["RMSProp"][2][:5], rows["Adam"][2][:4]], ["1e-10", "1e-8"])


# The differences

KINDS_OF_DIFFERENCE = (
    "Kept as in the original's code",
    "Broken in the original: repaired",
    "Equal numbers, less work",
    "Other behaviour",
)


def functions(path: str) -> set[str]:
    return set(re.findall(r"(?m)^def (test_\w+)\(", (ROOT / path).read_text(encoding="utf-8")))


def test_every_difference_is_shown_by_a_test():
    shown = set()
    for kind in KINDS_OF_DIFFERENCE:
        for row in table(DIFFERENCES, kind):
            assert len(row) == 6 and all(row), row
            assert original_references(row[2]) or row[2] == "–", row
            for reference in code(row[5]):
                path, name = reference.replace("D::", "tests/test_differences.py::").split("::")
                assert name in functions(path), reference
                shown.add((path, name))
    file = "tests/test_differences.py"
    assert {(file, name) for name in functions(file)} == {each for each in shown if each[0] == file}


# The README and the pages

DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))


def test_the_readme_is_short_and_its_first_screen_has_commands_picture_and_table():
    lines = course.read_page("README.md").splitlines()
    assert len(lines) <= 200
    first = "\n".join(lines[:60])
    assert first.count("```\n") >= 4 and "![" in first and "\n|---|" in first
    titles = [line[3:] for line in lines if line.startswith("## ")]
    readers = ["Compare with the original", "The commands of the original", "Teach, and learn", "Your own video"]
    assert [title for title in titles if title in readers] == readers


@pytest.mark.parametrize("page", ["README.md", "MIGRATION.md", *DOCS])
def test_every_link_to_a_file_or_section_leads_somewhere(page):
    for path, anchor in re.findall(r"\]\((?!https?:)([\w./-]*)(?:#([\w-]+))?\)", course.words(course.read_page(page))):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            titles = re.findall(r"(?m)^#+ (.*)$", course.words(target.read_text("utf-8")))
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{path}#{anchor}"
