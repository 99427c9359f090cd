"""The course is run: every snippet of MIGRATION.md and docs/migration/, and every number in its text."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import re
from pathlib import Path

import migration_lessons as course
import numpy as np
import pytest
import tensorflow as tf

LESSONS = {lesson.name: lesson for lesson in course.lessons()}
WITNESS = json.loads(Path(course.WITNESS).read_text())
KERAS = 3 if getattr(tf.keras, "__version__", "2").startswith("3.") else 2
SECTIONS = [
    "1. Two programs side by side", "2. Sessions and placeholders", "3. Variable scopes", "4. Numerical validation",
    "5. Optimizers", "6. Checkpoints", "7. tf.function", "8. Keras 3", "A workflow for a port of your own",
]  # fmt: skip
ACCURACY = 1e-6  # of the largest value: two float32 computations of one formula
PACKAGES = {"addons": "tensorflow_addons", "tensorboard": "tensorboard"}


def with_blocks(*kinds: str) -> list[str]:
    return [name for name, lesson in LESSONS.items() if any(kind in lesson.blocks for kind in kinds)]


each_comparison = pytest.mark.parametrize("name", with_blocks("tf1", "tf1 keras2"))
each_answer = pytest.mark.parametrize("name", with_blocks("answer", "answer keras2"))


@functools.cache
def answer(name: str, kind: str) -> dict[str, np.ndarray] | str:
    return course.run(LESSONS[name], kind)


def recorded(name: str) -> dict[str, np.ndarray]:
    """What TensorFlow 1.12 computed."""
    (kind,) = [kind for kind in LESSONS[name].blocks if kind.startswith("tf1")]
    return course.as_arrays(WITNESS["results"][f"{name} {kind}"])


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert course.distance(one, other) <= ACCURACY * course.scale(one)


# The pages


def headings(page: str) -> list[str]:
    return re.findall(r"(?m)^## (.*)$", course.words(course.read_page(page)))


def test_the_course_has_its_sections_in_order():
    found = [re.sub(r" \(minutes .*\)$", "", heading) for heading in headings(course.COURSE)]
    assert found == SECTIONS


def test_the_course_fits_an_hour():
    assert len(course.read_page(course.COURSE).splitlines()) <= 700


@pytest.mark.parametrize("page", course.PAGES)
def test_lines_of_prose_are_short(page):
    long = [line for line in course.words(course.read_page(page)).splitlines() if len(line) > 100]
    assert [line for line in long if not line.startswith("|")] == []


@pytest.mark.parametrize("page", course.PAGES)
def test_every_code_block_is_run(page):
    assert course.unknown_fences(course.read_page(page)) == []


@pytest.mark.parametrize(
    "block",
    [
        "```python\nx = 1\n```",
        "**TensorFlow 2**\n```python tf2\nx = 1\n```",  # outside of a lesson
        "<!-- lesson: a -->\n```\nx = 1\n```",
        "<!-- lesson: a -->\n**TensorFlow 2**\n```python tf3\nx = 1\n```",
        "<!-- lesson: a -->\n```python tf2\nx = 1\n```",  # without its caption
        "<!-- lesson: a -->\n**TensorFlow 2**\n```python tf1\nx = 1\n```",
        "<!-- lesson: a -->\n" + 2 * "**TensorFlow 2**\n```python tf2\nx = 1\n```\n",
        "<!-- lesson: a -->\n## Title\n**TensorFlow 1**\n```python tf1\nx = 1\n```",
        "<!-- lesson: a -->\n~~~python tf1\nx = 1\n~~~",
        "<!-- lesson: a -->\n  ```python tf1\nx = 1\n  ```",
        "    x = 1",
        "<pre>x = 1</pre>",
    ],
)
def test_a_block_that_would_not_be_run_is_found(block):
    assert len(course.unknown_fences(course.read_page(course.COURSE) + "\n# End\n" + block)) == 1


@pytest.mark.parametrize("page", course.PAGES)
def test_every_section_with_a_lesson_names_its_place_in_the_port(page):
    parts = re.split(r"(?m)^## ", course.words(course.read_page(page)))[1:]
    for part in parts:
        if "<!-- lesson:" in part and not part.startswith(SECTIONS[-1]):
            assert len(re.findall(r"(?m)^\*\*In this port:\*\* ", part)) == 1, part.splitlines()[0]


def test_every_section_of_the_course_opens_with_the_original_and_ends_with_an_exercise():
    parts = re.split(r"(?m)^## ", course.words(course.read_page(course.COURSE)))[1:-1]
    for number, part in enumerate(parts, 1):
        opening = part.split("\n\n")[1]
        assert "original" in opening and re.search(r"`\w+\.py:\d+`", opening), opening
        assert f"**Exercise {number}.**" in part and part.count("<details>") == part.count("</details>") > 0
        assert part.rstrip().endswith("</details>")


# The lessons


@each_comparison
def test_lesson_is_complete(name):
    blocks = LESSONS[name].blocks
    assert "wrong" in blocks and any(kind.startswith("tf2") for kind in blocks)


@each_comparison
def test_tf1_gives_the_numbers_of_tensorflow_1_12(name):
    if "tf1" in LESSONS[name].blocks:
        assert_equal(recorded(name), answer(name, "tf1"))
    elif KERAS == 2:
        assert_equal(recorded(name), answer(name, "tf1 keras2"))
    else:
        with pytest.raises(AttributeError, match="not available with Keras 3"):
            answer(name, "tf1 keras2")


@each_comparison
def test_tf2_gives_the_numbers_of_tf1(name):
    for kind in LESSONS[name].blocks:
        if not kind.startswith("tf2"):
            continue
        package = PACKAGES.get(kind.partition(" ")[2])
        if package is None or importlib.util.find_spec(package):
            assert_equal(recorded(name), answer(name, kind))
        else:
            with pytest.raises(Exception, match=r"(?i)tensorflow_addons|TensorBoard is not installed"):
                answer(name, kind)


@each_comparison
def test_wrong_differs_by_what_the_text_says(name):
    measured = course.distance(recorded(name), answer(name, "wrong"))
    stated = course.stated_distance(LESSONS[name], KERAS)
    assert course.same_to_two_digits(measured, stated), f"measured {measured:.6g}, stated {stated}"


@pytest.mark.parametrize("name", with_blocks("error"))
def test_a_mistake_raises_what_the_text_says(name):
    with pytest.raises(Exception) as error:
        answer(name, "error")
    assert type(error.value).__name__ == course.stated_failure(LESSONS[name])


@each_answer
def test_an_exercise_prints_its_expected_output(name):
    lesson = LESSONS[name]
    outputs = {kind: code for kind, (_, code) in lesson.outputs.items()}
    wanted = outputs.get("output", outputs.get(f"output keras{KERAS}"))
    if "answer" in lesson.blocks:
        assert answer(name, "answer") == wanted
        return
    assert WITNESS["results"][f"{name} answer keras2"] == wanted
    if KERAS == 2:
        assert answer(name, "answer keras2") == wanted
    else:
        with pytest.raises(AttributeError, match="not available with Keras 3"):
            answer(name, "answer keras2")


def test_the_witness_is_tensorflow_1_12_which_has_no_compat_v1():
    assert (WITNESS["tensorflow"], WITNESS["python"], WITNESS["compat.v1"]) == ("1.12.0", "3.6.15", False)
    kinds = {f"{name} {kind}" for name, lesson in LESSONS.items() for kind in lesson.blocks}
    assert set(WITNESS["results"]) == {kind for kind in kinds if " tf1" in kind or "answer keras2" in kind}


def test_the_first_block_that_differs():
    lesson, names = LESSONS["goldens"], {"np": np}
    exec(lesson.blocks["given"][1], names)
    golden, right, wrong = recorded("goldens"), answer("goldens", "tf2"), answer("goldens", "wrong")
    assert names["first_difference"](golden, right) is None
    stated = re.search(r"first block that differs is \*\*(\w+)\*\*", lesson.prose).group(1)
    assert names["first_difference"](golden, wrong) == stated
    mean = float(re.search(r"differ by only \*\*([\d.]+)\*\*", lesson.prose).group(1))
    measured = np.abs(golden["mask"].mean(axis=(0, 1, 2)) - wrong["mask"].mean(axis=(0, 1, 2))).max()
    assert course.same_to_two_digits(measured, mean)
