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
        assert measured > 100 * ACCURACY * course.scale(answer(name, "tf1"))


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
