"""MIGRATION.md is run: every snippet, every number in its text, every name that it points at."""

from __future__ import annotations

import functools
import importlib
import json
import re
from pathlib import Path

import migration_lessons as course
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

TEXT = course.read_document()
LESSONS = {lesson.name: lesson for lesson in course.lessons(TEXT)}
WITNESS = json.loads(Path(course.WITNESS).read_text())
KERAS = 3 if getattr(tf.keras, "__version__", "2").startswith("3.") else 2
SECTIONS = """Flags
Placeholders and sessions
Variable scopes and `AUTO_REUSE`
`tf.layers`
RNN-cell classes
`get_collection` and `UPDATE_OPS`
`tf.train.Saver`
Restoring a TF1 checkpoint by name
Optimizers
`resize_bilinear`
`tf.where`
`tf.contrib.resampler`
Feed dicts
Summaries and logging
Retracing and side effects
How to compare numbers
Keras 2"""
ACCURACY = 1e-6  # of the largest value: two float32 computations of one formula

each_lesson = pytest.mark.parametrize("name", LESSONS)


@functools.cache
def answer(name: str, kind: str) -> dict[str, np.ndarray]:
    return course.run(LESSONS[name], kind)


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert course.distance(one, other) <= ACCURACY * course.scale(one)


def has_addons() -> bool:
    try:
        importlib.import_module("tensorflow_addons")
    except ImportError:
        return False
    return True


def test_the_course_has_its_sections_in_order():
    sections = list(dict.fromkeys(lesson.section for lesson in LESSONS.values()))
    for number, (section, title) in enumerate(zip(sections, SECTIONS.splitlines()), 1):
        assert section.startswith(f"{number}. {title}")
    assert len(sections) == len(SECTIONS.splitlines())


def test_every_code_block_is_run():
    assert course.unknown_fences(TEXT) == []


@pytest.mark.parametrize(
    "block",
    [
        "```python\nx = 1\n```",
        "```python tf2\nx = 1\n```",  # outside of a lesson
        "<!-- lesson: a -->\n```\nx = 1\n```",
        "<!-- lesson: a -->\n```python tf3\nx = 1\n```",
        "<!-- lesson: a -->\n```python tf2\nx = 1\n```\n```python tf2\nx = 1\n```",
        "<!-- lesson: a -->\n## Title\n```python tf1\nx = 1\n```",
        "<!-- lesson: a -->\n~~~python tf1\nx = 1\n~~~",
        "<!-- lesson: a -->\n  ```python tf1\nx = 1\n  ```",
        "    x = 1",
        "<pre>x = 1</pre>",
    ],
)
def test_a_block_that_would_not_be_run_is_found(block):
    assert len(course.unknown_fences(TEXT + "\n# End\n" + block)) == 1


@each_lesson
def test_lesson_is_complete(name):
    assert {"tf1", "tf2", "naive"} <= set(LESSONS[name].blocks)
    title = re.escape(LESSONS[name].section)
    section = re.search(rf"(?ms)^## {title}$(.*?)(?=^##? )", course.words(TEXT)).group(1)
    assert len(re.findall(r"(?m)^\*\*In this port:\*\* .*`", section)) == 1


@each_lesson
def test_tf2_gives_the_numbers_of_tf1(name):
    assert_equal(answer(name, "tf1"), answer(name, "tf2"))


@each_lesson
def test_naive_is_off_by_what_the_text_says(name):
    measured = course.distance(answer(name, "tf1"), answer(name, "naive"))
    stated = course.stated_distance(LESSONS[name], KERAS)
    assert course.same_to_two_digits(measured, stated), f"measured {measured:.6g}, stated {stated}"
    if KERAS == 3:  # some naive versions still worked with Keras 2
        assert measured > 0.03 * course.scale(answer(name, "tf1"))  # section 16 says so


@each_lesson
def test_tf1_gives_the_numbers_of_tensorflow_1_12(name):
    assert WITNESS["tensorflow"] == "1.12.0"
    recorded = course.as_arrays(WITNESS["results"][f"{name} tf1"])
    assert_equal(recorded, answer(name, "tf1"))
    for kind in LESSONS[name].blocks:
        if kind.startswith("tf1 "):
            assert_equal(recorded, course.as_arrays(WITNESS["results"][f"{name} {kind}"]))


@pytest.mark.parametrize("name", [name for name in LESSONS if "tf1 keras2" in LESSONS[name].blocks])
def test_the_api_that_keras_3_took_away(name):
    if KERAS == 2:
        assert_equal(answer(name, "tf1"), answer(name, "tf1 keras2"))
    else:
        with pytest.raises(AttributeError, match="not available with Keras 3"):
            answer(name, "tf1 keras2")


@pytest.mark.parametrize("name", [name for name in LESSONS if "tf1 contrib" in LESSONS[name].blocks])
def test_contrib_is_gone(name):
    with pytest.raises(AttributeError, match="contrib"):
        answer(name, "tf1 contrib")


@pytest.mark.parametrize("name", [name for name in LESSONS if "tf2 addons" in LESSONS[name].blocks])
def test_tensorflow_addons(name):
    if has_addons():
        assert_equal(answer(name, "tf1"), answer(name, "tf2 addons"))
    else:
        with pytest.raises(ImportError, match="tensorflow_addons"):
            answer(name, "tf2 addons")


@pytest.mark.parametrize("name", [name for name in LESSONS if "loud" in LESSONS[name].blocks])
def test_a_loud_mistake_raises_what_the_text_says(name):
    with pytest.raises(Exception) as error:
        answer(name, "loud")
    assert type(error.value).__name__ == course.stated_failure(LESSONS[name])


def test_the_first_block_that_differs():
    lesson, names = LESSONS["goldens"], {}
    exec(lesson.blocks["given"][1], names)
    golden, right, wrong = (answer("goldens", kind) for kind in ("tf1", "tf2", "naive"))
    assert names["first_difference"](golden, right) is None
    stated = re.search(r"first block that differs is \*\*(\w+)\*\*", lesson.prose).group(1)
    assert names["first_difference"](golden, wrong) == stated
    mean = float(re.search(r"mean masks differ by \*\*([\d.]+)\*\*", lesson.prose).group(1))
    measured = np.abs(golden["mask"].mean(axis=(0, 1, 2)) - wrong["mask"].mean(axis=(0, 1, 2))).max()
    assert course.same_to_two_digits(measured, mean)


# The map

ROOT = Path(course.ROOT)
FILES = """runners/run_base.py runners/run_physics.py nn/network/base.py nn/network/physics_models.py
nn/network/cells.py nn/network/blocks.py nn/network/stn.py nn/datasets/generators.py nn/datasets/iterators.py
nn/utils/math.py nn/utils/misc.py nn/utils/viz.py"""
NAMES = """BaseNet PhysicsNet PhysicsNet.conv_encoder PhysicsNet.vel_encoder PhysicsNet.conv_st_decoder OPTIMIZERS CELLS
COORD_UNITS ode_cell bouncing_ode_cell spring_ode_cell gravity_ode_cell lstm unet shallow_unet variable_from_network
stn batch_transformer generate_bouncing_ball_dataset generate_falling_ball_dataset
generate_falling_bouncing_ball_dataset generate_spring_balls_dataset generate_spring_mnist_dataset
generate_3_body_problem_dataset compute_wall_collision verify_wall_collision verify_object_collision DataIterator
next_batch get_iterators sigmoid log_metrics classes_in_module rgb2gray zipdir gallery gif"""
FLAGS = """epochs batch_size save_dir use_ckpt ckpt_dir base_lr anneal_lr optimizer save_every_n_epochs
eval_every_n_epochs print_interval debug test_mode task model recurrent_units lstm_layers cell_type encoder_type
decoder_type autoencoder_loss alt_vel color datapoints"""
OTHER_COMMANDS = ("runners.fit_positions", "runners.plot_run", "runners.reproduce_paper", "runners.run_benchmark")
ROOMS = ("nn", "physics_models", "data_gen", "runners")


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell, without its two head lines."""
    (part,) = re.findall(rf"(?ms)^#+ {re.escape(title)}$(.*?)(?=^#+ |\Z)", course.words(TEXT))
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def look_up(name: str) -> object:
    """The module, class, function or attribute behind a dotted name."""
    path, *parts = name.split(".")
    found = importlib.import_module(path)
    for part in parts:
        path = f"{path}.{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
    return found


DOTTED = sorted(set(re.findall(rf"`((?:{'|'.join(ROOMS)})\.[\w.]+?)`", course.words(TEXT))) - {"nn.conv2d"})
PATHS = sorted(set(re.findall(rf"`((?:{'|'.join(ROOMS)}|tests|docs)/[\w./]*)`", course.words(TEXT))))


@pytest.mark.parametrize("name", [name for name in DOTTED if not name.endswith(".py")])
def test_every_name_of_this_port_in_the_text_exists(name):
    look_up(name)


def test_every_file_in_the_text_exists():
    originals = set(FILES.split())
    assert [path for path in PATHS if path not in originals and not (ROOT / path).exists()] == []


def test_every_file_of_the_original_is_mapped():
    rows = {code(row[0])[0]: code(row[1]) for row in table("Files")}
    assert set(rows) == set(FILES.split())
    for targets in rows.values():
        assert targets
        assert all((ROOT / path).is_file() for path in targets)


def test_every_name_of_the_original_is_mapped():
    rows = [(code(row[0]), row[1]) for row in table("Classes, functions and tables")]
    mapped = {name: target for names, target in rows for name in names}
    assert set(NAMES.split()) <= set(mapped)
    for target in mapped.values():
        assert code(target) or target.startswith("none: ")
        for name in code(target):
            look_up(name)


@functools.cache
def command_flags() -> dict[str, dict]:
    """The type and default of each flag of run_physics.py by name; other tests may have imported other commands."""
    importlib.import_module("runners.run_physics")
    modules = flags.FLAGS.flags_by_module_dict()
    own = [name for name in modules if name.startswith("runners.") and name not in OTHER_COMMANDS]
    return {f.name: {"type": f.flag_type(), "default": f.default} for name in own for f in modules[name]}


def test_every_flag_of_the_original_is_mapped():
    rows = {code(row[0])[0][2:]: row[1:] for row in table("Flags")}
    assert set(rows) == set(FLAGS.split()) and len(rows) == 24
    kinds = {"boolean": "bool", "integer": "int"}
    stated = {name: (kinds.get(kind, kind), json.loads(default)) for name, (kind, default) in rows.items()}
    assert stated == {name: tuple(command_flags()[name].values()) for name in rows}


def test_every_flag_of_this_port_is_listed():
    rows = {name[2:]: row[1] for row in table("Added: flags of this port") for name in code(row[0])}
    own = {name: flag["default"] for name, flag in command_flags().items() if name not in FLAGS.split()}
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
def network(task: str):
    from physics_models.physics_net import PhysicsNet
    from physics_models.tasks import get_task

    net = PhysicsNet(get_task(task))
    net.build_optimizer(1e-3, "rmsprop")
    return net


@pytest.mark.parametrize("task", ["spring_color", "3bp_color", "bouncing_balls"])
def test_every_variable_of_the_original_is_mapped(task):
    net, found = network(task), set()
    variables = {**net.named_variables(), **net.optimizer.named_variables()}
    for row in table("Variables"):
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
    for row in table("Variables"):
        names = spread(row[0])
        if names[0].startswith("net/") and "gravity" not in names[0] and "bouncing" not in names[0]:
            ends = [names[0], names[-1]] if len(names) > 1 else names
            shapes = [list(variables.get(f"{name}/kernel", variables.get(name)).shape) for name in ends]
            assert [json.loads(shape) for shape in re.findall(r"\[[^\]]*\]", row[2])] == shapes
            checked += 1
    assert checked == 10


# The differences

KINDS_OF_DIFFERENCE = (
    "Paper and code disagree: the code is kept",
    "Broken in the original: repaired",
    "Equal numbers, less work",
    "Other behaviour",
)


def functions(path: str) -> set[str]:
    return set(re.findall(r"(?m)^def (test_\w+)\(", (ROOT / path).read_text(encoding="utf-8")))


def test_every_difference_is_shown_by_a_test():
    shown = set()
    for kind in KINDS_OF_DIFFERENCE:
        for row in table(kind):
            assert len(row) == 6 and all(row), row
            for reference in code(row[5]):
                path, name = reference.replace("D::", "tests/test_differences.py::").split("::")
                assert name in functions(path), reference
                shown.add((path, name))
    file = "tests/test_differences.py"
    assert {(file, name) for name in functions(file)} == {each for each in shown if each[0] == file}
